/* Makes newlib take its own memory from the Knoll heap as well: printf's work space for doubles comes from
 * malloc. With these names defined, the linker has no reason to fetch newlib's malloc from libc, so the
 * firmware holds one allocator, as the firmware with newlib's does. Only for firmware. */
#include "lua_heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reent.h>

void *_malloc_r(struct _reent *reent, size_t bytes)
{
    void *at = lua_heap_allocate(bytes);
    if (at == NULL) {
        __errno_r(reent) = ENOMEM;
    }
    return at;
}

void _free_r(struct _reent *reent, void *at)
{
    (void)reent;
    if (at != NULL) {
        lua_heap_release(at);
    }
}

void *_realloc_r(struct _reent *reent, void *at, size_t bytes)
{
    void *to;
    if (at == NULL) {
        return _malloc_r(reent, bytes);
    }
    to = lua_heap_resize(at, bytes);
    if (to == NULL) {
        __errno_r(reent) = ENOMEM;
    }
    return to;
}

void *_calloc_r(struct _reent *reent, size_t count, size_t size)
{
    void *at;
    if (size != 0 && count > (size_t)-1 / size) {
        __errno_r(reent) = ENOMEM;
        return NULL;
    }
    at = _malloc_r(reent, count * size);
    return at != NULL ? memset(at, 0, count * size) : NULL;
}
