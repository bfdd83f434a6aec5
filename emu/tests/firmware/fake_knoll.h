#include <stddef.h>

void fake_create(void *memory, size_t bytes);
void *fake_alloc(size_t bytes);
void fake_store(char *at);
void fake_copy(void *to, const void *from, size_t bytes);
void fake_fill(void *to, size_t bytes);
void fake_visit(void (*visit)(void *), void *context);
