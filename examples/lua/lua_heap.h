/* The memory one Lua state lives in: exactly `bytes` of it, from one allocator.
 *
 * One program (main.c), several allocators: knoll_alloc.c and newlib_alloc.c each implement this
 * interface, and the program is linked with one of them. Nothing here knows Lua.
 *
 * Every function is for one thread; none is for an interrupt. Sizes are bytes. */
#ifndef LUA_HEAP_H
#define LUA_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Heaps up to this many bytes can be had: a microcontroller's RAM, or four times it on a 64-bit host,
 * where Lua's pointers and therefore its objects are larger. */
#ifndef LUA_HEAP_CAPACITY
#define LUA_HEAP_CAPACITY (256u * 1024u)
#endif

/* What an allocator says of itself. */
typedef struct LuaHeapFigures {
    size_t used;   /* bytes in live blocks, as the allocator rounds them */
    size_t free;   /* bytes it could still give */
    size_t blocks; /* live blocks; 0 when it doesn't count them */
    size_t peak;   /* most bytes in live blocks at any time; 0 when it doesn't know */
} LuaHeapFigures;

/* A block seen by lua_heap_walk, in the order of addresses. */
typedef void (*LuaHeapVisit)(void *context, const void *start, size_t size, bool used);

/* "knoll", "newlib": the name the report gives. */
extern const char *const lua_heap_name;

/* The memory itself: where offsets in records count from. */
extern unsigned char lua_heap_memory[LUA_HEAP_CAPACITY];

/* Makes a heap of the first `bytes` of lua_heap_memory. False when that is too many or too few. Once. */
bool lua_heap_open(size_t bytes);

/* malloc, realloc and free. The first two return NULL, with nothing changed, when there is no memory. */
void *lua_heap_allocate(size_t bytes);
void *lua_heap_resize(void *at, size_t bytes);
void lua_heap_release(void *at);

/* Fills *out with what the allocator knows. */
void lua_heap_figures(LuaHeapFigures *out);

/* Visits every block, used and free. False when the allocator has no such walk; then nothing is visited. */
bool lua_heap_walk(LuaHeapVisit visit, void *context);

/* NULL when the heap is intact, else what is wrong with it. An allocator without a check says NULL. */
const char *lua_heap_complaint(void);

#endif
