/* The device's memory from another allocator: newlib's malloc, or one of those that benches/embedded measures.
 *
 * Its interface is that of the benchmark (benches/embedded/allocator.h): newlib's own functions on the memory that
 * `_sbrk` gives here, or h_malloc and its like from an adapter there. There are no scopes.
 *
 * How much is free, and how much of it in one piece, is measured from outside, in the same way for all of them:
 *
 * - The largest: by trying, with a binary search; each block found is freed at once.
 * - What is free: the memory less the allocator's records and what the live blocks take. What a block of a size
 *   takes was measured at the start, when the heap was fresh: the distance of two that lie side by side. Between
 *   two workflows only always-active blocks live, and those are small. */
#include "allocator.h"
#include "memory.h"

#include <mark.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned char memory[MEMORY_CAPACITY] __attribute__((aligned(4096)));
bool memory_scoped;

static size_t heap_bytes;
static size_t taken; /* by live always-active blocks */

/* What a block of each size takes, for sizes in steps of 4 bytes. */
enum { STEP = 4, MEASURED = 1024 };
static uint16_t footprints[MEASURED / STEP + 1];

#ifdef BENCH_LIBC
#include <errno.h>
#include <malloc.h>

const char *const memory_name = WORKFLOWS_ALLOCATOR;

/* Bytes of memory that malloc may have, and has asked for. What the C library takes for itself, the work space of its
 * printf, comes from the same malloc: that is how it is. */
static size_t limit = sizeof memory;
static size_t broken;

void *__wrap__sbrk(ptrdiff_t more);
void *__wrap__sbrk(ptrdiff_t more)
{
    void *at = memory + broken;
    if ((more > 0 && (size_t)more > limit - broken) || (more < 0 && (size_t)-more > broken)) {
        errno = ENOMEM;
        return (void *)-1;
    }
    broken += (size_t)more;
    return at;
}

/* Newlib asks for more memory than it needs while any is behind its last block. In its favour it gets all of the heap
 * at once and is told to keep it. */
static bool start(size_t bytes)
{
    void *all;
    size_t size = bytes;
    limit = bytes;
    if (broken > bytes || mallopt(M_TRIM_THRESHOLD, (int)MEMORY_CAPACITY * 2) == 0) {
        return false;
    }
    while ((all = malloc(size)) == NULL) {
        size -= 8;
    }
    free(all);
    return true;
}

static size_t records(void)
{
    return 0;
}
#else
const char *const memory_name = h_name;

/* The Rust adapters end here, by the name "fail", when they panic. */
void rival_panicked(const char *message) __asm__("fail");
void rival_panicked(const char *message)
{
    fprintf(stderr, "%s: %s\n", h_name, message);
    abort();
}

static bool start(size_t bytes)
{
    h_init(memory, bytes);
    return true;
}

static size_t records(void)
{
    return h_control_bytes();
}
#endif

static size_t footprint(size_t bytes)
{
    return bytes <= MEASURED ? footprints[(bytes + STEP - 1) / STEP] : bytes + footprints[0];
}

/* The heap is fresh: two blocks of a size lie side by side. */
static bool measure_footprints(void)
{
    size_t size;
    for (size = STEP; size <= MEASURED; size += STEP) {
        char *a = h_malloc(size), *b = h_malloc(size);
        size_t apart;
        if (a == NULL || b == NULL) {
            return false;
        }
        apart = a < b ? (size_t)(b - a) : (size_t)(a - b);
        if (apart < size || apart > size + 64) {
            return false;
        }
        footprints[size / STEP] = (uint16_t)apart;
        h_free(b, size);
        h_free(a, size);
    }
    footprints[0] = (uint16_t)(footprints[MEASURED / STEP] - MEASURED);
    return true;
}

bool memory_open(size_t bytes, bool scopes)
{
    memory_scoped = false;
    heap_bytes = bytes;
    return bytes <= sizeof memory && !scopes && start(bytes) && measure_footprints();
}

bool memory_enter(const char *name)
{
    (void)name;
    return true;
}

bool memory_leave(void)
{
    return true;
}

void *workflow_allocate(size_t bytes)
{
    return h_malloc(bytes > 0 ? bytes : 1);
}

void *workflow_resize(void *at, size_t old_bytes, size_t bytes)
{
    (void)old_bytes; /* where realloc is the C library's */
    return h_realloc(at, old_bytes, bytes);
}

void workflow_release(void *at, size_t bytes)
{
    (void)bytes; /* where free is the C library's */
    if (at != NULL) {
        h_free(at, bytes);
    }
}

void *always_allocate(AlwaysKind kind, size_t bytes)
{
    void *at = h_malloc(bytes);
    (void)kind;
    taken += at != NULL ? footprint(bytes) : 0;
    return at;
}

void always_release(AlwaysKind kind, void *at, size_t bytes)
{
    (void)kind;
    (void)bytes;
    if (at != NULL) {
        taken -= footprint(bytes);
        h_free(at, bytes);
    }
}

void always_set(void **field, void *block)
{
    *field = block;
}

void memory_figures(MemoryFigures *out)
{
    size_t most = 0, too_much = heap_bytes;
    while (too_much - most > 1) {
        size_t middle = most + (too_much - most) / 2;
        void *at = h_malloc(middle);
        if (at != NULL) {
            h_free(at, middle);
            most = middle;
        } else {
            too_much = middle;
        }
    }
    out->largest = most;
    out->free = heap_bytes - records() - taken;
}

size_t memory_most_held(void)
{
    return 0;
}

/* They have nothing to verify themselves with. */
void memory_verify(bool nothing_left)
{
    (void)nothing_left;
}

const char *memory_complaint(void)
{
    return NULL;
}
