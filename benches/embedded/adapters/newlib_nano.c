/* newlib-nano's malloc on the driver's memory in place of the firmware's: linked with --wrap=_sbrk_r.
 *
 * Its state is the list of free blocks, the first break and mallinfo; a fresh heap forgets all three. The two words
 * that malloc itself needs count against the RAM budget.
 */
#include "../allocator.h"
#include <errno.h>
#include <malloc.h>
#include <reent.h>
#include <string.h>

const char h_name[8] = "nano";

extern void *__malloc_free_list;
extern char *__malloc_sbrk_start;
extern struct mallinfo __malloc_current_mallinfo;

enum { STATE_BYTES = 8 };

/* What the C library itself takes before the first heap: its streams. */
static char startup[2048] __attribute__((aligned(8)));
static char *next_byte = startup, *last_byte = startup + sizeof startup;

void *__wrap__sbrk_r(struct _reent *reent, ptrdiff_t bytes);

void *__wrap__sbrk_r(struct _reent *reent, ptrdiff_t bytes) {
    if (bytes > last_byte - next_byte) {
        reent->_errno = ENOMEM;
        return (void *)-1;
    }
    char *old = next_byte;
    next_byte += bytes;
    return old;
}

void h_init(void *memory, size_t bytes) {
    next_byte = memory;
    last_byte = next_byte + bytes - STATE_BYTES;
    __malloc_free_list = NULL;
    __malloc_sbrk_start = NULL;
    memset(&__malloc_current_mallinfo, 0, sizeof __malloc_current_mallinfo);
}

size_t h_control_bytes(void) { return STATE_BYTES; }

size_t h_map_bytes(void) { return 0; }
