/* Start-up: from the vector table to main, and from main's return to the host's exit status.
 *
 *   reset -> FPU on (m4f) -> .data copied from flash -> .bss cleared -> newlib's constructors
 *         -> stdout and stderr line-buffered in static memory (no malloc behind one's back)
 *         -> main(argc, argv) with the host's arguments -> exit
 *
 * Define KNOLL_NO_STDIO to leave standard output alone, for the smallest firmware.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "semihosting.h"

extern uint32_t __stack_top[], __data_load[], __data_start[], __data_end[];
extern uint32_t __bss_start[], __bss_end[];

int main(int argc, char **argv);
void __libc_init_array(void);
void _init(void);
void _fini(void);
void Reset_Handler(void);
void Default_Handler(void);

enum { ARGUMENT_BYTES = 1024, ARGUMENTS = 32 };

static char command_line[ARGUMENT_BYTES];
static char *arguments[ARGUMENTS + 1];

/* The host writes the command line as words parted by one blank, a word with blanks, quotes or
 * nothing in it between double quotes; a backslash takes the next character as it is. */
static int split_arguments(void)
{
    struct {
        char *text;
        uint32_t length;
    } block = {command_line, ARGUMENT_BYTES};
    int count = 0;
    char *from = command_line, *to = command_line;

    if (semihosting_call(SYS_GET_CMDLINE, &block) != 0) {
        return 0;
    }
    while (*from != '\0' && count < ARGUMENTS) {
        int quoted = 0;
        while (*from == ' ') {
            from++;
        }
        if (*from == '\0') {
            break;
        }
        arguments[count++] = to;
        for (; *from != '\0' && (quoted || *from != ' '); from++) {
            if (*from == '"') {
                quoted = !quoted;
            } else {
                if (*from == '\\' && from[1] != '\0') {
                    from++;
                }
                *to++ = *from;
            }
        }
        if (*from == ' ') {
            from++;
        }
        *to++ = '\0';
    }
    arguments[count] = NULL;
    return count;
}

__attribute__((noreturn, used)) static void start(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    memcpy(__data_start, __data_load, (size_t)((char *)__data_end - (char *)__data_start));
    memset(__bss_start, 0, (size_t)((char *)__bss_end - (char *)__bss_start));
    __libc_init_array();
#ifndef KNOLL_NO_STDIO
    static char out[BUFSIZ], err[128];
    setvbuf(stdout, out, _IOLBF, sizeof out);
    setvbuf(stderr, err, _IOLBF, sizeof err);
#endif
    int count = split_arguments();
    exit(main(count, arguments));
}

__attribute__((naked, noreturn)) void Reset_Handler(void)
{
    __asm__ volatile("bl start\n\tbkpt 0");
}

/* The harness raises no exceptions; this is for real hardware: stop in the debugger. */
void Default_Handler(void)
{
    for (;;) {
        __asm__ volatile("bkpt 0");
    }
}

void _init(void) {}
void _fini(void) {}

typedef union {
    void *stack;
    void (*handler)(void);
} Vector;

__attribute__((section(".vectors"), used)) static const Vector vectors[16] = {
    {.stack = __stack_top},
    {.handler = Reset_Handler},
    {.handler = Default_Handler}, /* NMI */
    {.handler = Default_Handler}, /* HardFault */
    {.handler = Default_Handler}, /* MemManage */
    {.handler = Default_Handler}, /* BusFault */
    {.handler = Default_Handler}, /* UsageFault */
    {.handler = Default_Handler},
    {.handler = Default_Handler},
    {.handler = Default_Handler},
    {.handler = Default_Handler},
    {.handler = Default_Handler}, /* SVCall */
    {.handler = Default_Handler},
    {.handler = Default_Handler},
    {.handler = Default_Handler}, /* PendSV */
    {.handler = Default_Handler}, /* SysTick */
};
