/* Stands in for libjemalloc.so.2 where Debian's redis-server asks for it, so that its malloc is the one that is
 * measured and no other allocator sets itself up beside it. Redis asks these for statistics alone. */
#include <stddef.h>

int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length);
void malloc_stats_print(void (*write)(void *, const char *), void *argument, const char *options);
size_t nallocx(size_t size, int flags);

/* Nothing is known of any name. */
int mallctl(const char *name, void *old, size_t *old_length, void *new, size_t new_length) {
    (void)name, (void)old, (void)old_length, (void)new, (void)new_length;
    return 2;
}

void malloc_stats_print(void (*write)(void *, const char *), void *argument, const char *options) {
    (void)write, (void)argument, (void)options;
}

size_t nallocx(size_t size, int flags) {
    (void)flags;
    return (size + 15) & ~(size_t)15;
}
