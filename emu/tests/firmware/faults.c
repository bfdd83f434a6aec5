/* Each way to do what a Cortex-M can't, two calls deep. */
#include <stdint.h>
#include <string.h>

#include "mark.h"

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint32_t sink;
extern const char flash_word[];
const char flash_word[4] = "abc";

NOINLINE static void read_unmapped(void) { sink = *(volatile uint32_t *)0x60000000; }
NOINLINE static void read_null(void) { sink = *(volatile uint32_t *)0; }
NOINLINE static void write_unmapped(void) { *(volatile uint32_t *)0x20700000 = 1; }
NOINLINE static void write_flash(void) { *(volatile char *)flash_word = 1; }
NOINLINE static void jump_unmapped(void)
{
    ((void (*)(void))0x70000001)();
    sink = 1;
}
NOINLINE static void not_thumb(void)
{
    ((void (*)(void))((uintptr_t)&read_null & ~(uintptr_t)1))();
    sink = 1;
}
NOINLINE static int stack_overflow(int depth)
{
    volatile char frame[200];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : stack_overflow(depth + 1) + frame[0];
}
NOINLINE static void unaligned(void)
{
    static uint32_t words[2];
    uint32_t *at = words;
    __asm__ volatile("add %0, #1" : "+l"(at)::"cc"); /* or the compiler loads byte by byte */
    sink = *(volatile uint32_t *)at;
}
NOINLINE static void unaligned_pair(void)
{
    static uint32_t words[4];
    register char *at __asm__("r2") = (char *)words + 2;
    __asm__ volatile("stmia r2!, {r0, r1}" : "+l"(at)::"memory");
}
NOINLINE static void invalid_instruction(void) { __asm__ volatile(".inst.n 0xde01"); }
NOINLINE static void breakpoint(void) { __asm__ volatile("bkpt 0x12"); }
NOINLINE static void exception(void) { __asm__ volatile("svc 0"); }
NOINLINE static void asleep(void) { __asm__ volatile("wfi"); }
NOINLINE static void endless_loop(void)
{
    for (;;) {
    }
}
NOINLINE static void bad_port(void) { knoll_harness_store(0x400, 5); }

NOINLINE static int middle(const char *what)
{
    static const struct {
        const char *name;
        void (*action)(void);
    } all[] = {
        {"read_unmapped", read_unmapped},
        {"read_null", read_null},
        {"write_unmapped", write_unmapped},
        {"write_flash", write_flash},
        {"jump_unmapped", jump_unmapped},
        {"not_thumb", not_thumb},
        {"unaligned", unaligned},
        {"unaligned_pair", unaligned_pair},
        {"invalid_instruction", invalid_instruction},
        {"breakpoint", breakpoint},
        {"exception", exception},
        {"asleep", asleep},
        {"endless_loop", endless_loop},
        {"bad_port", bad_port},
    };
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, what) == 0) {
            all[i].action();
            return 3;
        }
    }
    if (strcmp("stack_overflow", what) == 0) {
        return stack_overflow(0);
    }
    return 4;
}

/* --watch needs something to watch. */
void kn_nothing(void);
NOINLINE void kn_nothing(void) { __asm__ volatile(""); }

int main(int argc, char **argv)
{
    kn_nothing();
    int status = argc > 1 ? middle(argv[1]) : 5;
    sink = 0; /* so that the call above is no tail call */
    return status;
}
