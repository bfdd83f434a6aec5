/*
 * The default heap: kn_init, kn_heap_use, and the calls without a heap.
 *
 * On bare metal there is none before kn_init; on an operating system there is the process heap. Both must hold, so
 * the tests put back what they found.
 */
#include "harness.h"

enum { HEAP_BYTES = 16 * 1024 };

TEST(init_makes_the_default_heap) {
    uint8_t *memory = take_memory(HEAP_BYTES, 8);
    KnHeap *found = kn_heap_default();
    uint8_t *block;
    REQUIRE(memory != NULL);
    (void)CHECK_STATUS(kn_init(memory, HEAP_BYTES), KN_OK);
    (void)CHECK(kn_heap_default() != NULL);
    (void)CHECK(kn_heap_default() != found);
    (void)CHECK(is_empty_and_whole(kn_heap_default()));
    block = kn_malloc(100);
    REQUIRE(block != NULL);
    (void)CHECK(block > memory && block + 100 <= memory + HEAP_BYTES);
    (void)CHECK_EQ(used_blocks(kn_heap_default()), 1);
    kn_free(block);
    (void)CHECK(is_empty_and_whole(kn_heap_default()));
    kn_heap_use(found);
}

TEST(init_refuses_bad_memory) {
    uint8_t *memory = take_memory(HEAP_BYTES, 0);
    KnHeap *found = kn_heap_default();
    KnHeap *heap;
    REQUIRE(memory != NULL);
    (void)CHECK_STATUS(kn_init(memory, HEAP_BYTES), KN_OK);
    heap = kn_heap_default();
    (void)CHECK_STATUS(kn_init(NULL, HEAP_BYTES), KN_E_INVALID);
    (void)CHECK_STATUS(kn_init(take_memory(32, 0), 32), KN_E_NO_MEMORY);
    /* The default heap is as it was. */
    (void)CHECK(kn_heap_default() == heap);
    (void)CHECK(is_empty_and_whole(heap));
    kn_heap_use(found);
}

TEST(use_changes_and_returns_the_default) {
    KnHeap *one = new_heap(HEAP_BYTES);
    KnHeap *other = new_heap(HEAP_BYTES);
    KnHeap *found = kn_heap_default();
    uint8_t *of_one, *of_other;
    REQUIRE(one != NULL && other != NULL);
    (void)CHECK(kn_heap_use(one) == found);
    (void)CHECK(kn_heap_default() == one);
    of_one = kn_malloc(500);
    (void)CHECK(kn_heap_use(other) == one);
    (void)CHECK(kn_heap_default() == other);
    of_other = kn_malloc(500);
    REQUIRE(of_one != NULL && of_other != NULL);
    (void)CHECK_EQ(used_blocks(one), 1);
    (void)CHECK_EQ(used_blocks(other), 1);
    (void)CHECK_GE(kn_heap_usable_size(one, of_one), 500);
    (void)CHECK_GE(kn_heap_usable_size(other, of_other), 500);
    (void)CHECK_EQ(kn_heap_usable_size(one, of_other), 0);
    kn_free(of_other);
    (void)CHECK(kn_heap_use(one) == other);
    kn_free(of_one);
    (void)CHECK(kn_heap_use(found) == one);
    (void)CHECK(kn_heap_default() == found);
    (void)CHECK(is_empty_and_whole(one));
    (void)CHECK(is_empty_and_whole(other));
}

/* Every call without a heap, on a heap of the current layout. */
TEST(each_call_uses_the_default_heap) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeap *found = kn_heap_use(heap);
    uint8_t *plain, *clear, *aligned, *resized;
    REQUIRE(heap != NULL);
    plain = kn_malloc(60);
    clear = kn_calloc(10, 20);
    aligned = kn_aligned_alloc(256, 70);
    resized = kn_realloc(NULL, 30);
    REQUIRE(plain != NULL && clear != NULL && aligned != NULL && resized != NULL);
    (void)CHECK(lies_in_memory(plain, 60) && lies_in_memory(clear, 200));
    (void)CHECK(lies_in_memory(aligned, 70) && lies_in_memory(resized, 30));
    (void)CHECK(holds_byte(clear, 200, 0));
    (void)CHECK(is_aligned(aligned, 256));
    (void)CHECK_GE(kn_usable_size(plain), 60);
    (void)CHECK_EQ(kn_usable_size(NULL), 0);
    (void)CHECK_EQ(used_blocks(heap), 4);
    fill_pattern(plain, 60, 1);
    fill_pattern(clear, 200, 2);
    fill_pattern(aligned, 70, 3);
    fill_pattern(resized, 30, 4);
    resized = kn_realloc(resized, 3000);
    REQUIRE(resized != NULL);
    (void)CHECK_PATTERN(resized, 30, 4);
    (void)CHECK(kn_realloc(resized, HEAP_BYTES) == NULL);
    (void)CHECK_PATTERN(resized, 30, 4);
    (void)CHECK(kn_malloc(opaque(SIZE_MAX)) == NULL);
    (void)CHECK(kn_malloc(HEAP_BYTES) == NULL);
    (void)CHECK(kn_calloc(opaque(SIZE_MAX / 2), 4) == NULL);
    (void)CHECK(kn_aligned_alloc(opaque(24), 70) == NULL);
    (void)CHECK_PATTERN(plain, 60, 1);
    (void)CHECK_PATTERN(clear, 200, 2);
    (void)CHECK_PATTERN(aligned, 70, 3);
    kn_free(NULL);
    kn_free(plain);
    kn_free(clear);
    kn_free(aligned);
    kn_free(resized);
    (void)CHECK(is_empty_and_whole(heap));
    kn_heap_use(found);
}

#if defined(KNOLL_WITHOUT_CHECKS)
#define THE_HOOK_MAY_ALLOCATE
#else
#define THE_HOOK_MAY_ALLOCATE , EACH_LAYOUT(the_hook_may_allocate)

/* Mistakes reach the hook, and the hook may use the default heap itself. */
static void *allocated_in_hook;

static void allocate_in_hook(KnStatus status, const void *where, const char *what) {
    (void)where;
    (void)what;
    (void)CHECK_STATUS(status, KN_E_DOUBLE_FREE);
    allocated_in_hook = kn_malloc(40);
}

TEST(the_hook_may_allocate) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeap *found = kn_heap_use(heap);
    void *block, *wall;
    REQUIRE(heap != NULL);
    block = kn_malloc(100);
    wall = kn_malloc(10);
    REQUIRE(block != NULL && wall != NULL);
    kn_free(block);
    EXPECT_ERROR(KN_E_DOUBLE_FREE, kn_free(block));
    allocated_in_hook = NULL;
    kn_on_error(allocate_in_hook);
    kn_free(block);
    (void)CHECK(allocated_in_hook != NULL);
    (void)CHECK_EQ(used_blocks(heap), 2);
    kn_free(allocated_in_hook);
    kn_free(wall);
    (void)CHECK(is_empty_and_whole(heap));
    kn_heap_use(found);
}

#endif

SUITE("default_heap", ONCE(init_makes_the_default_heap), ONCE(init_refuses_bad_memory),
      EACH_LAYOUT(use_changes_and_returns_the_default),
      EACH_LAYOUT(each_call_uses_the_default_heap) THE_HOOK_MAY_ALLOCATE)
