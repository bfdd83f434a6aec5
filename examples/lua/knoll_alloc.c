/* The Lua state's memory from Knoll: one KnHeap over one array, nothing else.
 *
 * The same file serves the host program, linked to libknoll.so, and the firmware, linked to libknoll.a. */
#include "lua_heap.h"

#include <knoll.h>
#include <mark.h>

const char *const lua_heap_name = "knoll";

unsigned char lua_heap_memory[LUA_HEAP_CAPACITY] __attribute__((aligned(4096)));

static KnHeap *heap;
static const char *complaint; /* the first thing Knoll's error hook was told */

static void on_error(KnStatus status, const void *where, const char *what)
{
    (void)where;
    if (complaint == NULL) {
        complaint = what != NULL ? what : kn_status_str(status);
    }
}

bool lua_heap_open(size_t bytes)
{
    if (bytes > sizeof lua_heap_memory) {
        return false;
    }
    kn_on_error(on_error);
    knoll_watch_allow(lua_heap_memory, bytes);
    heap = kn_heap_create(lua_heap_memory, bytes);
    return heap != NULL;
}

void *lua_heap_allocate(size_t bytes)
{
    return kn_heap_malloc(heap, bytes);
}

void *lua_heap_resize(void *at, size_t bytes)
{
    return kn_heap_realloc(heap, at, bytes);
}

void lua_heap_release(void *at)
{
    kn_heap_free(heap, at);
}

void lua_heap_figures(LuaHeapFigures *out)
{
    KnHeapStats stats;
    if (kn_heap_stats(heap, &stats) == KN_OK) {
        out->used = stats.used;
        out->free = stats.free;
        out->blocks = stats.blocks;
        out->peak = stats.peak;
    }
}

typedef struct Walk {
    LuaHeapVisit visit;
    void *context;
} Walk;

static bool on_block(void *context, const KnBlock *block)
{
    const Walk *walk = context;
    walk->visit(walk->context, block->start, block->size, block->state == KN_BLOCK_USED);
    return true;
}

bool lua_heap_walk(LuaHeapVisit visit, void *context)
{
    Walk walk = { visit, context };
    return kn_heap_walk(heap, on_block, &walk) == KN_OK;
}

const char *lua_heap_complaint(void)
{
    if (complaint == NULL) {
        KnStatus status = kn_heap_check(heap);
        if (status != KN_OK) {
            complaint = kn_status_str(status);
        }
    }
    return complaint;
}
