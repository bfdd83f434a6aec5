/*
 * What a Nim program asks of malloc, counted: linked with `-Wl,--wrap=malloc` and so on, so that each call of the program
 * passes here first, whichever malloc it then goes to.
 *
 *  - malloc_report prints to standard output what the program alone decides: these lines are equal on every malloc.
 *  - To standard error it prints what the allocator decides: whose malloc it is, bytes usable for the bytes asked, and
 *    the peak of the process's memory.
 *  - Each block is verified: aligned for every type, as large as asked, zeroed by calloc, filled with a pattern when it
 *    is new and when it is freed. A failure prints one line and ends the program with status 3.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t bytes);
void __real_free(void *at);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t bytes);
void __wrap_free(void *at);
void malloc_report(void);
long malloc_live(void);

static unsigned long mallocs, callocs, reallocs, frees, asked, usable;
static unsigned long live, most_live;

static void must(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "count_malloc: %s\n", what);
        _Exit(3);
    }
}

/* A new block: verified, counted. */
static void *took(void *at, size_t bytes) {
    must(at != NULL, "no memory");
    must((uintptr_t)at % (2 * sizeof(void *)) == 0, "a block is not aligned");
    must(malloc_usable_size(at) >= bytes, "a block is smaller than asked");
    asked += bytes;
    usable += malloc_usable_size(at);
    live++;
    if (live > most_live) {
        most_live = live;
    }
    return at;
}

void *__wrap_malloc(size_t bytes) {
    mallocs++;
    void *at = took(__real_malloc(bytes), bytes);
    memset(at, 0xA5, bytes);
    return at;
}

void *__wrap_calloc(size_t count, size_t size) {
    callocs++;
    unsigned char *at = took(__real_calloc(count, size), count * size);
    unsigned char any = 0;
    for (size_t i = 0; i < count * size; i++) {
        any |= at[i];
    }
    must(any == 0, "calloc's block is not zero");
    return at;
}

void *__wrap_realloc(void *at, size_t bytes) {
    if (at == NULL) {
        return __wrap_malloc(bytes);
    }
    reallocs++;
    live--;
    return took(__real_realloc(at, bytes), bytes);
}

void __wrap_free(void *at) {
    if (at == NULL) {
        return;
    }
    frees++;
    live--;
    memset(at, 0x5A, malloc_usable_size(at));
    __real_free(at);
}

long malloc_live(void) { return (long)live; }

void malloc_report(void) {
    struct rusage used;
    Dl_info owner = {0};
    printf("malloc %lu, calloc %lu, realloc %lu, free %lu\n", mallocs, callocs, reallocs, frees);
    printf("bytes asked %lu, most blocks alive %lu, alive now %lu\n", asked, most_live, live);
    fflush(stdout);
    getrusage(RUSAGE_SELF, &used);
    dladdr(dlsym(RTLD_DEFAULT, "malloc"), &owner);
    fprintf(stderr, "malloc of %s, usable bytes per byte asked %.3f, peak RSS %ld KB\n",
            owner.dli_fname ? owner.dli_fname : "?", (double)usable / (double)asked, used.ru_maxrss);
}
