/* The dump: a heap as text. What is used shows, what is free shows, and nothing is changed by looking. */
#include "harness.h"
#include "shadow.h"

#include <string.h>

enum { HEAP_BYTES = 16 * 1024, MOST_TEXT = 8192, MOST_LINE = 100 };

static struct {
    char text[MOST_TEXT];
    size_t length;
    size_t most; /* bytes that the writer takes in all */
    size_t refusals; /* calls of which it did not take everything */
} page;

static size_t write_page(void *context, const char *text, size_t length) {
    size_t room = page.most - page.length;
    size_t taken = length < room ? length : room;
    (void)CHECK(context == (void *)&page);
    page.refusals += taken < length;
    memcpy(page.text + page.length, text, taken);
    page.length += taken;
    return taken;
}

static void dump(KnHeap *heap, size_t most) {
    page.length = 0;
    page.most = most;
    page.refusals = 0;
    (void)CHECK_STATUS(kn_dump(heap, write_page, &page), KN_OK);
}

/* The cells of one kind in the map: in the lines whose last word is made of cells only. */
static size_t cells(char kind) {
    size_t count = 0, i = 0;
    while (i < page.length) {
        size_t end = i, word;
        while (end < page.length && page.text[end] != '\n') {
            end++;
        }
        for (word = end; word > i && strchr(".#+", page.text[word - 1]) != NULL; word--) {
        }
        if (word == i || page.text[word - 1] == ' ') {
            for (; word < end; word++) {
                count += page.text[word] == kind;
            }
        }
        i = end + 1;
    }
    return count;
}

TEST(free_and_used_memory_show) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    void *block;
    size_t all, bytes;
    REQUIRE(heap != NULL);
    dump(heap, MOST_TEXT);
    all = cells('.');
    (void)CHECK_GE(all, 16);
    (void)CHECK_EQ(cells('#') + cells('+'), 0);
    /* Three quarters of it in one block. */
    bytes = largest_allocation(heap);
    block = kn_heap_malloc(heap, bytes / 4 * 3);
    REQUIRE(block != NULL);
    dump(heap, MOST_TEXT);
    (void)CHECK_EQ(cells('#') + cells('+') + cells('.'), all);
    (void)CHECK_GE(cells('#'), all * 5 / 8);
    (void)CHECK_LE(cells('#') + cells('+'), all * 7 / 8);
    kn_heap_free(heap, block);
    block = kn_heap_malloc(heap, bytes);
    REQUIRE(block != NULL);
    dump(heap, MOST_TEXT);
    (void)CHECK_EQ(cells('.'), 0);
    kn_heap_free(heap, block);
    dump(heap, MOST_TEXT);
    (void)CHECK_EQ(cells('.'), all);
}

TEST(it_is_plain_text) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i, column = 0;
    REQUIRE(heap != NULL);
    for (i = 0; i < 60; i++) {
        (void)shadow_malloc(shadow, random_size(400));
    }
    for (i = 0; i < 20; i++) {
        shadow_free(shadow, random_below(shadow->count));
    }
    dump(heap, MOST_TEXT);
    (void)CHECK_GE(page.length, 100);
    (void)CHECK_LE(page.length, MOST_TEXT - 1);
    for (i = 0; i < page.length; i++) {
        column = page.text[i] == '\n' ? 0 : column + 1;
        (void)CHECK(page.text[i] == '\n' || (page.text[i] >= ' ' && page.text[i] <= '~'));
        (void)CHECK_LE(column, MOST_LINE);
    }
    (void)CHECK(page.length > 0 && page.text[page.length - 1] == '\n');
    (void)CHECK_GE(cells('#') + cells('+'), 4);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Two regions of one size, the second of them free: half of the map is. */
TEST(every_region_is_shown) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *memory = take_memory(HEAP_BYTES, 0);
    Shadow *shadow = shadow_of(heap);
    size_t all, i;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, HEAP_BYTES, current_config()), KN_OK);
    dump(heap, MOST_TEXT);
    all = cells('.');
    (void)CHECK_GE(all, 16);
    while (shadow_malloc(shadow, 200)) {
    }
    dump(heap, MOST_TEXT);
    (void)CHECK_GE(cells('#') + cells('+'), all * 7 / 8);
    for (i = shadow->count; i-- > 0;) {
        if (shadow->blocks[i].at >= memory && shadow->blocks[i].at < memory + HEAP_BYTES) {
            shadow_free(shadow, i);
        }
    }
    dump(heap, MOST_TEXT);
    (void)CHECK_GE(cells('.'), all * 3 / 8);
    (void)CHECK_LE(cells('.'), all * 5 / 8);
    shadow_verify(shadow);
}

/* A writer that takes less than it is given is not asked again. */
TEST(a_full_writer_ends_it) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t most, whole;
    REQUIRE(heap != NULL);
    dump(heap, MOST_TEXT);
    whole = page.length;
    for (most = 0; most < whole; most += 37) {
        page.length = 0;
        page.most = most;
        page.refusals = 0;
        (void)kn_dump(heap, write_page, &page);
        (void)CHECK_EQ(page.length, most);
        (void)CHECK_EQ(page.refusals, 1);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(null_is_refused) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_dump(NULL, write_page, &page), KN_E_INVALID);
    (void)CHECK_STATUS(kn_dump(heap, NULL, NULL), KN_E_INVALID);
}

SUITE("dump", EACH_LAYOUT(free_and_used_memory_show), EACH_LAYOUT(it_is_plain_text), EACH_LAYOUT(every_region_is_shown),
      EACH_LAYOUT(a_full_writer_ends_it), EACH_LAYOUT(null_is_refused))
