/* Stands in for libknoll in tests of the write watch: a heap that may misbehave. */
#include "fake_knoll.h"

#include <string.h>

static char *heap;
static size_t bytes_left;
static int calls = 7; /* .data of its own */

/* No name that gives it away: only the archive does. */
__attribute__((noinline)) static void store(char *at, char value)
{
    *(volatile char *)at = value;
}

void fake_create(void *memory, size_t bytes)
{
    heap = memory;
    bytes_left = bytes;
    calls++;
    memset(memory, 0, bytes);
}

void *fake_alloc(size_t bytes)
{
    char *result = heap;
    heap += bytes;
    bytes_left -= bytes;
    store(result, 1);
    return result;
}

void fake_store(char *at)
{
    store(at, 2);
}

void fake_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    __asm__ volatile("" ::: "memory");
}

void fake_fill(void *to, size_t bytes)
{
    memset(to, 1, bytes); /* a tail call */
}

void fake_visit(void (*visit)(void *), void *context)
{
    visit(context);
    store((char *)&calls, 3);
}
