/* A program over the fake libknoll; argv[1] says who writes where. */
#include <stdio.h>
#include <string.h>

#include "fake_knoll.h"
#include "mark.h"

static char heap[1024], mine[1024], other[1024];

static void visitor(void *context)
{
    memset(context, 9, 100); /* a callback writes where it likes */
    mine[5] = 1;
}

/* The name alone makes it Knoll's. */
void kn_named(char *at);
__attribute__((noinline)) void kn_named(char *at)
{
    *(volatile char *)at = 1;
}

__attribute__((noinline)) static void middle(const char *what)
{
    char local[16];
    if (strcmp(what, "store") == 0) {
        fake_store(mine + 3);
    } else if (strcmp(what, "copy") == 0) {
        fake_copy(mine, other, 200);
    } else if (strcmp(what, "fill") == 0) {
        fake_fill(mine, 300);
    } else if (strcmp(what, "named") == 0) {
        kn_named(mine);
    } else if (strcmp(what, "past") == 0) {
        fake_fill(heap + 1000, 25);
    } else if (strcmp(what, "forbidden") == 0) {
        knoll_watch_forbid(heap + 100, 8);
        fake_store(heap + 99);
        fake_store(heap + 108);
        fake_store(heap + 104);
    } else {
        fake_store(local);
        kn_named(heap);
        fake_visit(visitor, mine);
        fake_copy(heap + 8, mine, 200);
        fake_fill(heap, 1024);
        memcpy(mine, heap, 300);
        memset(other, 1, sizeof other);
        knoll_watch_allow(other, 10);
        fake_fill(other, 10);
        printf("%d\n", local[0]);
    }
}

int main(int argc, char **argv)
{
    knoll_watch_allow(heap, sizeof heap);
    fake_create(heap, sizeof heap);
    fake_alloc(8);
    middle(argc > 1 ? argv[1] : "good");
    return 0;
}
