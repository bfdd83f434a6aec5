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
 * Without scopes the same requests go to the device's heap itself. (Compiled with scope_cells.h there is no heap in the
 * scope: the cells lie in the scope itself.)
 *
 * Either way the heap's fingerprint between two workflows must be what it was, but for always-active blocks: what those
 * add and take away is followed as it happens. */
#include "memory.h"
#include "tables.h"

#include <knoll.h>
#include <mark.h>

#include <stdio.h>

const char *const memory_name = "knoll";
unsigned char memory[MEMORY_CAPACITY] __attribute__((aligned(4096)));
bool memory_scoped;

/* In hundredths of the heap: what a workflow takes at enter, what it takes at a time when that is full, and the most it
 * may hold, so that always-active data finds room whatever a workflow does. */
enum { PRESIZE = 66, STEP = 6, BUDGET = 80 };

/* With scopes the largest free block is, between two workflows, at least so much of what is free. */
enum { LEAST_PERMILLE = 970 };

static KnHeap *heap;      /* the device's */
static KnHeap *work;      /* the workflow's */
static KnArena *scope;    /* of the workflow that runs, if it has one */
static size_t heap_bytes; /* the device's heap */
static size_t most_held;
static uint64_t fingerprint;  /* that the heap must have when no workflow runs */
static bool running;          /* a workflow */
static const char *complaint; /* the first */
static KnTypeId types[ALWAYS_TEXT + 1];

static bool register_types(void);

/* For scope_cells.h. */
KnArena *memory_scope(void);
KnTypeId memory_register(const KnType *type);

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
    knoll_watch_allow(&scope, sizeof scope); /* which kn_arena_enter fills in */
    memory_scoped = scopes;
    heap_bytes = bytes;
    heap = kn_heap_create(memory, bytes);
    if (heap == NULL || (scopes && !register_types())) {
        return false;
    }
    fingerprint = kn_heap_fingerprint(heap);
    return true;
}

/* ---------------------------------------------------------------- the workflow */

KnArena *memory_scope(void)
{
    return scope;
}

#ifdef SCOPE_CELLS_H
/* The cells lie in the scope itself. */
static KnHeap *make_work(size_t presize)
{
    (void)presize;
    return heap;
}
#else
static KnHeap *make_work(size_t presize)
{
    void *first = kn_arena_alloc(scope, presize);
    return first != NULL ? kn_heap_create(first, presize) : NULL;
}
#endif

static bool enter_scope(const char *name)
{
    KnArenaConfig config = { .name = name };
    config.presize = heap_bytes / 100 * PRESIZE;
    config.budget = heap_bytes / 100 * BUDGET;
    if (kn_arena_enter(heap, &config, &scope) != KN_OK) {
        scope = NULL;
        return false;
    }
    work = make_work(config.presize);
    return work != NULL;
}

bool memory_enter(const char *name)
{
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
        complain("a scope was not left as it should be");
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
    size_t step = heap_bytes / 100 * STEP;
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

/* With scopes entries and texts are counted cells of resident types, arrays are resident blocks. Names in parentheses
 * are Knoll's functions, whatever macros scope_cells.h makes of them. */
static const uint32_t entry_offsets[] = { offsetof(Entry, next), offsetof(Entry, value) };
static const char *const entry_names[] = { "next", "value" };
static const KnType text_type = { .name = "Text", .size = 1, .flags = KN_TYPE_RESIDENT };
static const KnType entry_type = {
    .name = "Entry",
    .size = sizeof(Entry),
    .flags = KN_TYPE_RESIDENT | KN_TYPE_ACYCLIC,
    .ref_count = 2,
    .ref_offsets = entry_offsets,
    .ref_names = entry_names,
};

KnTypeId memory_register(const KnType *type)
{
    uint64_t before = kn_heap_fingerprint(heap);
    KnTypeId id = (GC_registerType)(type);
    fingerprint += kn_heap_fingerprint(heap) - before;
    return id;
}

static bool register_types(void)
{
    kn_heap_use(heap);
    types[ALWAYS_ENTRY] = memory_register(&entry_type);
    types[ALWAYS_TEXT] = memory_register(&text_type);
    return types[ALWAYS_ENTRY] != 0 && types[ALWAYS_TEXT] != 0;
}

/* Resident memory comes from the device's heap, whatever the workflow's is. The terms of its blocks are what they
 * change in the fingerprint: a cell that finds room in a page changes nothing. */
static void *resident_allocate(AlwaysKind kind, size_t bytes)
{
    uint64_t before = kn_heap_fingerprint(heap);
    KnHeap *last = kn_heap_use(heap);
    void *at = kind == ALWAYS_ARRAY ? kn_resident_alloc(heap, bytes) : (GC_newSized)(types[kind], bytes);
    kn_heap_use(last);
    fingerprint += kn_heap_fingerprint(heap) - before;
    return at;
}

static void resident_release(AlwaysKind kind, void *at)
{
    uint64_t before = kn_heap_fingerprint(heap);
    KnHeap *last = kn_heap_use(heap);
    if (kind == ALWAYS_ARRAY) {
        kn_resident_free(heap, at);
    } else {
        GC_unref(at);
    }
    kn_heap_use(last);
    fingerprint += kn_heap_fingerprint(heap) - before;
}

void *always_allocate(AlwaysKind kind, size_t bytes)
{
    void *at;
    if (memory_scoped) {
        return resident_allocate(kind, bytes);
    }
    at = kn_heap_malloc(heap, bytes);
    if (at != NULL) {
        fingerprint += kn_block_fingerprint(heap, at);
    }
    return at;
}

void always_release(AlwaysKind kind, void *at, size_t bytes)
{
    (void)bytes;
    if (memory_scoped) {
        resident_release(kind, at);
    } else if (at != NULL) {
        fingerprint -= kn_block_fingerprint(heap, at);
        kn_heap_free(heap, at);
    }
}

/* By the barrier, which refuses what is not resident; the reference of who made the block becomes the field's. */
void always_set(void **field, void *block)
{
    *field = NULL;
    if (memory_scoped) {
        GC_assign(field, block);
        GC_unref(block);
    } else {
        *field = block;
    }
}

/* ---------------------------------------------------------------- looking at it */

static size_t put_error(void *context, const char *text, size_t length)
{
    (void)context;
    return fwrite(text, 1, length, stderr);
}

void memory_verify(bool nothing_left)
{
    KnStatus status = kn_heap_check(heap);
    if (status != KN_OK) {
        complain(kn_status_str(status));
    }
    if (memory_scoped && kn_resident_check(heap, put_error, NULL) != KN_OK) {
        complain("resident data refers to a workflow's");
    }
    if (memory_scoped && kn_fragmentation_check(heap, LEAST_PERMILLE, put_error, NULL) != KN_OK) {
        complain("what is free is in pieces; the blocks that divide it are above");
    }
    if (nothing_left && kn_heap_fingerprint(heap) != fingerprint) {
        complain("the heap is not as it was, and always-active data is not the reason");
    }
}

void memory_figures(MemoryFigures *out)
{
    KnHeapStats stats;
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
