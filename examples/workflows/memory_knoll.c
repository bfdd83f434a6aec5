/* The device's memory from Knoll: one KnHeap, its workflows in scopes or not.
 *
 * With scopes each workflow enters one, sized before the work begins, and makes a heap of its own in it:
 *
 *   bottom                                                                        top
 *   │ always-active data ▶ │               free                  │ ◀ more │ presize │
 *                                                                └─── the scope ────┘
 *                                                                 regions of one heap
 *
 * So what becomes garbage within the workflow is used again, as without a scope; when that heap is full it is
 * given more of the scope as a further region, up to the scope's budget; and at the end the scope goes, with
 * everything in it, whatever it was. What is always active is resident memory, at the other end.
 *
 * Without scopes the same requests go to the device's heap itself.
 *
 * Either way the heap's fingerprint is taken at enter and at leave: the heap must be as it was but for the
 * blocks of always_allocate and always_release, whose terms are added and subtracted as they happen. */
#include "memory.h"

#include <knoll.h>
#include <mark.h>

#include <stdio.h>

const char *const memory_name = "knoll";
unsigned char memory[MEMORY_CAPACITY] __attribute__((aligned(4096)));
bool memory_scoped;

/* What a workflow takes at enter and at a time later, as parts of the heap; and its most, so that always-active
 * data finds room whatever a workflow does. */
enum { PRESIZE_PART = 3, STEP_PART = 16, BUDGET_PART = 4, BUDGET_PARTS = 3 };

static KnHeap *heap;      /* the device's */
static KnHeap *work;      /* the workflow's */
static KnArena *scope;    /* of the workflow that runs, if it has one */
static size_t heap_bytes; /* the device's heap */
static size_t most_held;
static uint64_t fingerprint;  /* that the heap must have when the workflow has ended */
static bool running;          /* a workflow */
static const char *complaint; /* the first */

static void complain(const char *what)
{
    if (complaint == NULL) {
        complaint = what;
    }
}

static void on_error(KnStatus status, const void *where, const char *what)
{
    (void)where;
    complain(what != NULL ? what : kn_status_str(status));
}

bool memory_open(size_t bytes, bool scopes)
{
    if (bytes > sizeof memory) {
        return false;
    }
    kn_on_error(on_error);
    knoll_watch_allow(memory, bytes);
    memory_scoped = scopes;
    heap_bytes = bytes;
    heap = kn_heap_create(memory, bytes);
    return heap != NULL;
}

/* ---------------------------------------------------------------- the workflow */

static bool enter_scope(const char *name)
{
    KnArenaConfig config = { .name = name };
    void *first;
    config.presize = heap_bytes / PRESIZE_PART;
    config.budget = heap_bytes / BUDGET_PART * BUDGET_PARTS;
    if (kn_arena_enter(heap, &config, &scope) != KN_OK) {
        scope = NULL;
        return false;
    }
    first = kn_arena_alloc(scope, config.presize);
    work = first != NULL ? kn_heap_create(first, config.presize) : NULL;
    return work != NULL;
}

bool memory_enter(const char *name)
{
    fingerprint = kn_heap_fingerprint(heap);
    running = true;
    work = heap;
    if (memory_scoped && !enter_scope(name)) {
        return false;
    }
    kn_heap_use(work);
    return true;
}

/* A report of what a scope left behind must be empty: no workflow here gives its data away. */
static void leave_scope(void)
{
    KnLeaveReport report;
    if (kn_arena_leave(scope, &report) != KN_OK) {
        complain("a scope was not left as it should");
    } else if (report.escapes != 0 || report.children != 0) {
        complain("something escaped from a scope");
    }
    most_held = report.held > most_held ? report.held : most_held;
    scope = NULL;
}

bool memory_leave(void)
{
    if (!running) {
        return true;
    }
    running = false;
    kn_heap_use(heap);
    work = NULL;
    if (scope != NULL) {
        leave_scope();
    }
    return true;
}

/* The workflow's heap is full: gives it more of the scope, enough for a block of `bytes`. */
static bool grow(size_t bytes)
{
    size_t step = heap_bytes / STEP_PART;
    size_t more = bytes + bytes / 16 + 512; /* the region's own records, and their rounding */
    void *region;
    if (scope == NULL || bytes > heap_bytes) {
        return false;
    }
    more = more > step ? more : step;
    region = kn_arena_alloc(scope, more);
    return region != NULL && kn_heap_add_region(work, region, more) == KN_OK;
}

void *workflow_allocate(size_t bytes)
{
    void *at = kn_heap_malloc(work, bytes);
    return at == NULL && grow(bytes) ? kn_heap_malloc(work, bytes) : at;
}

void *workflow_resize(void *at, size_t old_bytes, size_t bytes)
{
    void *to = kn_heap_realloc(work, at, bytes);
    (void)old_bytes;
    return to == NULL && grow(bytes) ? kn_heap_realloc(work, at, bytes) : to;
}

void workflow_release(void *at, size_t bytes)
{
    (void)bytes;
    kn_heap_free(work, at);
}

/* ---------------------------------------------------------------- what is always active */

void *always_allocate(size_t bytes)
{
    void *at = memory_scoped ? kn_resident_alloc(heap, bytes) : kn_heap_malloc(heap, bytes);
    if (at != NULL) {
        fingerprint += kn_block_fingerprint(heap, at);
    }
    return at;
}

void always_release(void *at, size_t bytes)
{
    (void)bytes;
    if (at == NULL) {
        return;
    }
    fingerprint -= kn_block_fingerprint(heap, at);
    if (memory_scoped) {
        kn_resident_free(heap, at);
    } else {
        kn_heap_free(heap, at);
    }
}

/* ---------------------------------------------------------------- looking at it */

/* Asked between two workflows only: then the fingerprint and the whole heap are verified as well. */
void memory_figures(MemoryFigures *out)
{
    KnHeapStats stats;
    KnStatus status = kn_heap_check(heap);
    if (status != KN_OK) {
        complain(kn_status_str(status));
    }
    if (memory_scoped && kn_resident_check(heap, NULL, NULL) != KN_OK) {
        complain("resident data refers to a workflow's");
    }
    if (kn_heap_fingerprint(heap) != fingerprint) {
        complain("the heap is not as it was, and always-active data is not the reason");
    }
    out->free = out->largest = 0;
    if (kn_heap_stats(heap, &stats) == KN_OK) {
        out->free = stats.free;
        out->largest = stats.largest_free;
    }
}

size_t memory_most_held(void)
{
    return most_held;
}

const char *memory_complaint(void)
{
    return complaint;
}
