/*
 * Counted cells: how they are born, counted, moved, assigned and destroyed.
 *
 * Rows 1 to 5 and 35 of the conformance table; besides zeroing, alignment, sizes, the header, counts that saturate,
 * and the inline versions, which must do what the functions do.
 */
#include "cells.h"

#include <string.h>

/* The header's first word, right before the payload: the count stands above five flags. */
enum { FLAG_BITS = 5, HEADER_BYTES = 8 };

static uint32_t counter_word(const void *object) {
    uint32_t word;
    memcpy(&word, (const uint8_t *)object - HEADER_BYTES, sizeof word);
    return word;
}

static void set_counter_word(void *object, uint32_t word) {
    memcpy((uint8_t *)object - HEADER_BYTES, &word, sizeof word);
}

/* Row 1: a new cell has the count 1, is no root, all zero, aligned, and of its type. */
COUNTED_TEST(new_cell) {
    size_t collections = gc().collections;
    Node *node = GC_new(node_type);
    Leaf *leaf = GC_new(leaf_type);
    REQUIRE(node != NULL && leaf != NULL);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(GC_refcount(leaf), 1);
    (void)CHECK_EQ(counter_word(node) >> FLAG_BITS, 1);
    (void)CHECK(holds_byte(node, GC_sizeOf(node), 0));
    (void)CHECK(holds_byte(leaf, GC_sizeOf(leaf), 0));
    (void)CHECK(is_aligned(node, 8) && is_aligned(leaf, 8));
    (void)CHECK_EQ(GC_typeOf(node), node_type);
    (void)CHECK_EQ(GC_typeOf(leaf), leaf_type);
    (void)CHECK(GC_isUnique(node));
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(live_cells(), 2);
    (void)CHECK_EQ(gc().collections, collections);
    GC_unref(node);
    GC_unref(leaf);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(destroyed_total(), 2);
}

/* Row 1: a cell is zeroed and has no past, whatever lay in its memory before. */
COUNTED_TEST(reused_memory_is_zeroed) {
    size_t turn, bytes;
    for (turn = 0; turn < 3; turn++) {
        for (bytes = sizeof(Row); bytes < 700; bytes += 1 + bytes / 6) {
            Row *row = GC_newSized(row_type, bytes);
            REQUIRE(row != NULL);
            (void)CHECK(holds_byte(row, GC_sizeOf(row), 0));
            (void)CHECK_EQ(GC_refcount(row), 1);
            /* Only the part before the references may be filled. */
            memset(row, 0xFF, sizeof(Row));
            GC_unref(row);
            (void)CHECK_EQ(GC_prepareOrc(), 0);
        }
        for (bytes = 0; bytes < 30; bytes++) {
            Leaf *leaf = new_leaf(1);
            REQUIRE(leaf != NULL);
            (void)CHECK_EQ(leaf->note, 0);
            memset(leaf, 0xFF, GC_sizeOf(leaf));
            GC_unref(leaf);
        }
    }
}

/* Row 1: sizes, alignment, and that no two cells share a byte. */
COUNTED_TEST(sizes_and_alignment) {
    static const KnType blob = {"Blob", 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL};
    KnTypeId blob_type = GC_registerType(&blob);
    enum { COUNT = 60 };
    uint8_t *cells[COUNT];
    size_t i, wanted = 0;
    REQUIRE(blob_type != 0);
    for (i = 0; i < COUNT; i++) {
        size_t bytes = i * i / 3;
        cells[i] = GC_newSized(blob_type, bytes);
        REQUIRE(cells[i] != NULL);
        (void)CHECK(is_aligned(cells[i], 8));
        (void)CHECK_GE(GC_sizeOf(cells[i]), bytes);
        (void)CHECK(lies_in_memory(cells[i] - HEADER_BYTES, HEADER_BYTES + GC_sizeOf(cells[i])));
        fill_pattern(cells[i], GC_sizeOf(cells[i]), (uint32_t)i);
        wanted += bytes + HEADER_BYTES;
    }
    for (i = 0; i < COUNT; i++) {
        (void)CHECK_PATTERN(cells[i], GC_sizeOf(cells[i]), (uint32_t)i);
        (void)CHECK_EQ(GC_refcount(cells[i]), 1);
    }
    (void)CHECK(all_is_sound());
    (void)CHECK_GE(GC_getOccupiedMem(), wanted);
    for (i = 0; i < COUNT; i++) {
        GC_unref(cells[(i * 7) % COUNT]);
    }
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
}

/* Row 2: to copy a reference adds one; NULL does nothing. */
COUNTED_TEST(copy_adds_one) {
    Node *node = new_node(1, NULL, NULL);
    uint32_t count;
    REQUIRE(node != NULL);
    for (count = 2; count <= 100; count++) {
        (void)CHECK(GC_ref(node) == (void *)node);
        (void)CHECK_EQ(GC_refcount(node), count);
    }
    (void)CHECK(!GC_isUnique(node));
    (void)CHECK(GC_ref(NULL) == NULL);
    (void)CHECK_EQ(GC_refcount(NULL), 0);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    while (--count > 0) {
        (void)CHECK_EQ(GC_refcount(node), count);
        GC_unref(node);
    }
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* Row 3: to move a reference changes no count and empties the source. */
COUNTED_TEST(move_changes_no_count) {
    Node *node = new_node(1, NULL, NULL);
    Node *holder = new_node(2, node, NULL);
    void *slot = NULL;
    REQUIRE(node != NULL && holder != NULL);
    (void)CHECK(GC_move(&holder->left) == (void *)node);
    (void)CHECK(holder->left == NULL);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK(GC_move(&slot) == NULL);
    (void)CHECK(slot == NULL);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    /* Not destroyed with the holder that it has left. */
    GC_unref(holder);
    (void)CHECK_EQ(destroyed_times(1), 0);
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* Row 4: to destroy a reference takes one off; at zero the destructor runs, then the memory goes, at once. */
COUNTED_TEST(destroy_at_zero) {
    Node *node = new_node(1, NULL, NULL);
    size_t collections = gc().collections;
    REQUIRE(node != NULL);
    (void)GC_ref(node);
    GC_unref(node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(node);
    (void)CHECK_EQ(destroyed_total(), 1);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
    (void)CHECK_EQ(gc().collections, collections);
    GC_unref(NULL);
    (void)CHECK_EQ(destroyed_total(), 1);
}

/* The destructor of a parent: its children and its own memory are still there. */
static Node *seen_child;

static void destroy_parent(void *object) {
    Node *parent = object;
    record_destroyed(parent->id);
    seen_child = parent->left;
    (void)CHECK(parent->left != NULL && parent->right != NULL);
    (void)CHECK_EQ(((Node *)parent->left)->id, 11);
    (void)CHECK_EQ(GC_refcount(parent->left), 1);
    (void)CHECK_EQ(GC_refcount(parent->right), 2);
    (void)CHECK_EQ(destroyed_times(11), 0);
    (void)CHECK_EQ(GC_getOccupiedMem() > 0, 1);
}

/* Row 4: destructor first, then the children are let go, each of them once. */
COUNTED_TEST(children_go_with_their_parent) {
    static const uint32_t offsets[] = {offsetof(Node, left), offsetof(Node, right)};
    static const KnType parent_descriptor = {"Parent",       sizeof(Node), 0,    2,   offsets,
                                             destroy_parent, NULL,         NULL, NULL, NULL};
    KnTypeId parent_type = GC_registerType(&parent_descriptor);
    Node *kept = new_node(12, NULL, NULL);
    Node *child = new_node(11, new_leaf(13), NULL);
    Node *parent = GC_new(parent_type);
    REQUIRE(parent != NULL && child != NULL && kept != NULL && child->left != NULL);
    seen_child = NULL;
    parent->id = 10;
    parent->left = child;
    parent->right = GC_ref(kept);
    GC_unref(parent);
    (void)CHECK(seen_child == child);
    (void)CHECK_EQ(destroyed_total(), 3);
    (void)CHECK_EQ(destroyed_at(0), 10);
    (void)CHECK_EQ(destroyed_at(1), 11);
    (void)CHECK_EQ(destroyed_at(2), 13);
    (void)CHECK_EQ(GC_refcount(kept), 1);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(kept);
}

/* Row 5: the new is counted before the old is let go, so the same object is safe, and one that only the old holds. */
COUNTED_TEST(assign_counts_the_new_first) {
    Node *node = new_node(1, NULL, NULL);
    Node *inner = new_node(2, NULL, NULL);
    Node *outer = new_node(3, inner, NULL);
    void *local = node;
    REQUIRE(node != NULL && inner != NULL && outer != NULL);
    GC_assign(&local, node);
    (void)CHECK(local == (void *)node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(destroyed_total(), 0);
    GC_assign(&local, outer);
    (void)CHECK_EQ(destroyed_times(1), 1);
    (void)CHECK_EQ(GC_refcount(outer), 2);
    GC_unref(outer);
    /* local = local.left: outer dies, inner lives. */
    GC_assign(&local, inner);
    (void)CHECK(local == (void *)inner);
    (void)CHECK_EQ(destroyed_times(3), 1);
    (void)CHECK_EQ(destroyed_times(2), 0);
    (void)CHECK_EQ(GC_refcount(inner), 1);
    GC_assign(&local, NULL);
    (void)CHECK(local == NULL);
    (void)CHECK_EQ(destroyed_times(2), 1);
    GC_assign(&local, NULL);
    (void)CHECK_EQ(destroyed_total(), 3);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 35: n references need n releases, NULL is fine, and what is pinned survives every collection. */
COUNTED_TEST(pinned_cells_survive) {
    Node *first = ring(3, 1);
    Node *single = new_node(4, NULL, NULL);
    int i;
    REQUIRE(first != NULL && single != NULL);
    for (i = 0; i < 4; i++) {
        (void)GC_ref(first);
        (void)GC_ref(single);
    }
    for (i = 0; i < 4; i++) {
        GC_unref(first);
        GC_unref(single);
        GC_unref(NULL);
        GC_runOrc();
        (void)CHECK_EQ(destroyed_total(), 0);
        (void)CHECK_EQ(GC_refcount(first), (uint32_t)(5 - i));
        (void)CHECK_EQ(GC_refcount(single), (uint32_t)(4 - i));
    }
    GC_unref(single);
    (void)CHECK_EQ(destroyed_times(4), 1);
    GC_unref(first);
    (void)CHECK_EQ(destroyed_total(), 1);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 4);
    (void)CHECK(destroyed_once(1, 4));
}

/* The inline versions do what the functions do, also where they must call them. */
COUNTED_TEST(inline_versions) {
    Node *node = new_node(1, NULL, NULL);
    Node *other = new_node(2, NULL, NULL);
    Node *first = ring(2, 3);
    Leaf *leaf = new_leaf(5);
    void *slot = NULL;
    REQUIRE(node != NULL && other != NULL && first != NULL && leaf != NULL);
    (void)CHECK_EQ(GC_typeOfInline(node), node_type);
    (void)CHECK_EQ(GC_typeOfInline(leaf), leaf_type);
    (void)CHECK(GC_refInline(node) == (void *)node);
    (void)CHECK_EQ(GC_refcount(node), 2);
    (void)CHECK(GC_refInline(NULL) == NULL);
    GC_unrefInline(NULL);
    GC_unrefInline(node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_assignInline(&slot, node);
    (void)CHECK_EQ(GC_refcount(node), 2);
    GC_assignInline(&slot, node);
    (void)CHECK_EQ(GC_refcount(node), 2);
    GC_assignInline(&slot, other);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(GC_refcount(other), 2);
    (void)CHECK(GC_moveInline(&slot) == (void *)other);
    (void)CHECK(slot == NULL);
    (void)CHECK_EQ(GC_refcount(other), 2);
    GC_unrefInline(other);
    GC_unrefInline(other);
    GC_unrefInline(node);
    (void)CHECK_EQ(destroyed_total(), 2);
    (void)GC_refInline(leaf);
    GC_unrefInline(leaf);
    GC_unrefInline(leaf);
    (void)CHECK_EQ(destroyed_times(5), 1);
    GC_unrefInline(first);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 5));
    (void)CHECK_EQ(live_cells(), 0);
}

/* GC_dropReuse: a unique cell comes back empty and new, its children gone; one that others hold is only let go. */
COUNTED_TEST(drop_and_reuse) {
    Node *node = new_node(1, new_leaf(2), new_node(3, NULL, NULL));
    Node *reused;
    REQUIRE(node != NULL && node->left != NULL && node->right != NULL);
    reused = GC_dropReuse(node);
    (void)CHECK(reused == node);
    REQUIRE(reused != NULL);
    (void)CHECK(destroyed_once(1, 3));
    (void)CHECK(holds_byte(reused, GC_sizeOf(reused), 0));
    (void)CHECK_EQ(GC_refcount(reused), 1);
    (void)CHECK_EQ(live_cells(), 1);
    (void)GC_ref(reused);
    (void)CHECK(!GC_isUnique(reused));
    (void)CHECK(GC_dropReuse(reused) == NULL);
    (void)CHECK_EQ(GC_refcount(reused), 1);
    (void)CHECK(GC_dropReuse(NULL) == NULL);
    (void)CHECK(!GC_isUnique(NULL));
    reused->id = 4;
    GC_unref(reused);
    (void)CHECK_EQ(destroyed_times(4), 1);
}

/* A count that reaches the top stays there: the cell is immortal, and no number of releases frees it. */
COUNTED_TEST(full_counts_are_immortal) {
    Node *held = new_node(2, NULL, NULL);
    Node *node = new_node(1, held, NULL);
    uint32_t flags, i;
    REQUIRE(node != NULL && held != NULL);
    flags = counter_word(node) & ((1u << FLAG_BITS) - 1);
    /* As if there were as many references as a count of 26 bits can tell, but three. */
    set_counter_word(node, ((1u << 26) - 4) << FLAG_BITS | flags);
    (void)CHECK_EQ(GC_refcount(node), (1u << 26) - 4);
    for (i = 0; i < 10; i++) {
        (void)CHECK(GC_ref(node) == (void *)node);
        (void)GC_refInline(node);
    }
    (void)CHECK_EQ(GC_refcount(node), KN_IMMORTAL);
    for (i = 0; i < 1000; i++) {
        GC_unref(node);
        GC_unrefInline(node);
        (void)GC_decRef(node);
    }
    (void)CHECK_EQ(GC_refcount(node), KN_IMMORTAL);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(node->id, 1);
    (void)CHECK(node->left == held);
    (void)CHECK_EQ(GC_refcount(held), 1);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    /* Only GC_freeObject ends it; what it held is not let go by that. */
    GC_freeObject(node);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(held);
    (void)CHECK_EQ(destroyed_times(2), 1);
}

SUITE("counted_cells", EACH_LAYOUT(new_cell), EACH_LAYOUT(reused_memory_is_zeroed), EACH_LAYOUT(sizes_and_alignment),
      EACH_LAYOUT(copy_adds_one), EACH_LAYOUT(move_changes_no_count), EACH_LAYOUT(destroy_at_zero),
      EACH_LAYOUT(children_go_with_their_parent), EACH_LAYOUT(assign_counts_the_new_first),
      EACH_LAYOUT(pinned_cells_survive), EACH_LAYOUT(inline_versions), EACH_LAYOUT(drop_and_reuse),
      EACH_LAYOUT(full_counts_are_immortal))
