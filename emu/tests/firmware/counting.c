/* Things to count: loops, recursion, calls through pointers, tail calls, jumps out, copying. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mark.h"

#define NOINLINE __attribute__((noinline, noclone))

/* Exactly 5 instructions: three, the addition, the return. */
NOINLINE int five(int n);
NOINLINE int five(int n)
{
    __asm__ volatile("nop\n\tnop\n\tnop");
    return n + 1;
}

/* In assembly, so that every CPU runs the same: 2 + 3 n instructions and no call. Its loop
 * jumps to its own first instruction. */
int loop(int n);
__asm__(".section .text.loop,\"ax\"\n"
        ".syntax unified\n"
        ".thumb\n.thumb_func\n.global loop\n.type loop, %function\n"
        "loop:\n\tsubs r0, r0, #1\n\tbpl loop\n\tbx lr\n"
        ".size loop, . - loop\n.text\n");

/* Recursive, 6 instructions a level, 5 at the last, in assembly again. */
int sum(int n);
__asm__(".section .text.sum,\"ax\"\n"
        ".syntax unified\n"
        ".thumb\n.thumb_func\n.global sum\n.type sum, %function\n"
        "sum:\n\tpush {r4, lr}\n\tcmp r0, #0\n\tbeq 1f\n\tsubs r0, r0, #1\n\tbl sum\n1:\tpop {r4, pc}\n"
        ".size sum, . - sum\n.text\n");

/* A tail call: 1 instruction, then five's 5. */
int tail(int n);
__asm__(".section .text.tail,\"ax\"\n"
        ".syntax unified\n"
        ".thumb\n.thumb_func\n.global tail\n.type tail, %function\n"
        "tail:\n\tb five\n"
        ".size tail, . - tail\n.text\n");

static jmp_buf out;
static volatile int deeper = 1;
NOINLINE void jumps_out(int n);
NOINLINE void jumps_out(int n)
{
    if (n == 0) {
        longjmp(out, 1);
    }
    if (deeper) {
        jumps_out(n - 1);
    }
    __asm__ volatile("");
}

static char from[300], to[300];
NOINLINE void copies(size_t bytes);
NOINLINE void copies(size_t bytes)
{
    memcpy(to, from, bytes);
    __asm__ volatile("" ::: "memory");
}

static int (*volatile pointer)(int) = five;
static int (*volatile other)(int) = loop;

/* Both calls are jumps. */
NOINLINE static int marked_tail(int n)
{
    KNOLL_MARK_CALL(13);
    return pointer(n);
}

static int order(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

NOINLINE static void work(void)
{
    static int numbers[500];
    unsigned random = 1;
    for (int i = 0; i < 500; i++) {
        random = random * 1664525u + 1013904223u;
        numbers[i] = (int)(random >> 8);
    }
    qsort(numbers, 500, sizeof *numbers, order);
    char *text = malloc(100);
    snprintf(text, 100, "%d %f %s", numbers[250], numbers[3] / 7.0, "text");
    puts(text);
    free(text);
}

int main(void)
{
    knoll_mark_name(1, "nothing");
    KNOLL_MARK_BEGIN(1);
    KNOLL_MARK_END(1);

    for (int i = 0; i < 10; i++) {
        KNOLL_MARK_BEGIN(2);
        __asm__ volatile("nop\n\tnop");
        KNOLL_MARK_BEGIN(3); /* 3 of its own between: two constants and the store, then b */
        __asm__ volatile("nop");
        KNOLL_MARK_END(3);
        KNOLL_MARK_END(2);
    }

    int result = 0;
    for (int i = 0; i < 20; i++) {
        KNOLL_MARK_CALL(10 + i % 2);
        result += pointer(i);
        result += five(i);
    }
    for (int i = 0; i < 20; i++) {
        KNOLL_MARK_CALL(12);
        result += other(i);
    }
    for (int i = 0; i < 5; i++) {
        result += marked_tail(i);
    }
    knoll_result("calls", result);

    result = loop(9) + sum(4) + tail(1);
    for (int i = 0; i < 3; i++) {
        if (setjmp(out) == 0) {
            jumps_out(i);
        }
    }
    five(0);
    copies(16);
    copies(300);
    work();

    uint64_t before = knoll_instructions();
    uint64_t after = knoll_instructions();
    knoll_result("clock runs", after > before);
    knoll_result("negative", -5000000000ll);
    knoll_result("again", 1);
    knoll_result("again", 2);
    return 0;
}
