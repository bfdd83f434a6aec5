/* The Lua state's memory from newlib's own malloc: what firmware gets when nobody chooses an allocator.
 *
 * newlib asks `_sbrk` for memory and never gives it back; here `_sbrk` hands out lua_heap_memory, so the
 * allocator has the same bytes as Knoll has. Link with -Wl,--wrap=_sbrk: the start-up code's own _sbrk,
 * whatever it would give, is then not used.
 *
 * newlib's pages are 4096 bytes and it rounds its requests up to them: the array starts on such a
 * boundary, so that it loses nothing to that. */
#include "lua_heap.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

const char *const lua_heap_name = LUA_HEAP_NAME;

unsigned char lua_heap_memory[LUA_HEAP_CAPACITY] __attribute__((aligned(4096)));

/* Bytes of lua_heap_memory that malloc may have, and has asked for. What the C library takes before the
 * heap is opened, if anything, comes from there too. */
static size_t limit = sizeof lua_heap_memory;
static size_t broken;

void *__wrap__sbrk(ptrdiff_t more);
void *__wrap__sbrk(ptrdiff_t more)
{
    void *at = lua_heap_memory + broken;
    if ((more > 0 && (size_t)more > limit - broken) || (more < 0 && (size_t)-more > broken)) {
        errno = ENOMEM;
        return (void *)-1;
    }
    broken += (size_t)more;
    return at;
}

bool lua_heap_open(size_t bytes)
{
    if (bytes > sizeof lua_heap_memory || bytes < broken) {
        return false;
    }
    limit = bytes;
    return true;
}

void *lua_heap_allocate(size_t bytes)
{
    return malloc(bytes);
}

void *lua_heap_resize(void *at, size_t bytes)
{
    return realloc(at, bytes);
}

void lua_heap_release(void *at)
{
    free(at);
}

void lua_heap_figures(LuaHeapFigures *out)
{
    struct mallinfo info = mallinfo();
    out->used = (size_t)info.uordblks;
    out->free = (size_t)info.fordblks + (limit - broken);
    out->blocks = 0;
    out->peak = 0;
}

bool lua_heap_walk(LuaHeapVisit visit, void *context)
{
    (void)visit;
    (void)context;
    return false;
}

const char *lua_heap_complaint(void)
{
    return NULL;
}
