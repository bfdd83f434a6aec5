/* Semihosting: how the firmware asks its host for input, output, files and an exit.
 *
 * The call is BKPT 0xAB with the operation in r0 and its argument in r1 (usually the address
 * of a block of words); the answer comes back in r0. Numbers and blocks are Arm's
 * ("Semihosting for AArch32 and AArch64", release 3.0).
 */
#ifndef KNOLL_SEMIHOSTING_H
#define KNOLL_SEMIHOSTING_H

#include <stdint.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITEC = 0x03,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_ISTTY = 0x09,
    SYS_SEEK = 0x0A,
    SYS_FLEN = 0x0C,
    SYS_REMOVE = 0x0E,
    SYS_CLOCK = 0x10,
    SYS_TIME = 0x11,
    SYS_ERRNO = 0x13,
    SYS_GET_CMDLINE = 0x15,
    SYS_HEAPINFO = 0x16,
    SYS_EXIT = 0x18,
    SYS_EXIT_EXTENDED = 0x20
};

/* Makes one semihosting call and returns its answer. */
static inline int32_t semihosting_call(uint32_t operation, const volatile void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const volatile void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory", "r2", "r3", "ip", "lr", "cc");
    return (int32_t)r0;
}

#endif
