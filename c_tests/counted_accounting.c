/*
 * Accounting: the numbers add up at any time, the statistics as text, the dump of instances by type, the report of
 * garbage cycles, and who holds an object.
 *
 * Rows 39, 40 and 43 of the conformance table.
 */
#include "cells.h"

#include <stdio.h>
#include <string.h>

static Text text;

static void clear_text(void) {
    memset(&text, 0, sizeof text);
}

static void touch(void *object) {
    GC_unref(GC_ref(object));
}

/* ---- Row 39: total == occupied + free ---- */

/* Row 39: after every call of a random life; what is occupied is what cells take. */
COUNTED_TEST(total_is_occupied_and_free) {
    enum { COUNT = 60 };
    void *cells[COUNT] = {0};
    size_t payload[COUNT] = {0};
    size_t turn, asked = 0;
    for (turn = 0; turn < 600; turn++) {
        size_t i = random_below(COUNT);
        if (cells[i] == NULL) {
            uint32_t items = (uint32_t)random_below(40);
            cells[i] = new_row(1, items);
            if (cells[i] != NULL) {
                payload[i] = sizeof(Row) + items * sizeof(void *);
                asked += payload[i] + 8;
            }
        } else if (random_below(3) == 0) {
            touch(cells[i]);
        } else {
            GC_unref(cells[i]);
            cells[i] = NULL;
            asked -= payload[i] + 8;
        }
        (void)CHECK_EQ(GC_getTotalMem(), GC_getOccupiedMem() + GC_getFreeMem());
        (void)CHECK_GE(GC_getOccupiedMem(), asked);
        (void)CHECK_LE(GC_getOccupiedMem(), 2 * asked + 64 * COUNT);
        if (turn % 50 == 0) {
            KnGcStats stats = gc();
            KnHeapStats heap;
            (void)CHECK_EQ(stats.total, GC_getTotalMem());
            (void)CHECK_EQ(stats.occupied, GC_getOccupiedMem());
            (void)CHECK_EQ(stats.free, GC_getFreeMem());
            (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &heap), KN_OK);
            (void)CHECK_GE(heap.used, stats.occupied + stats.buffers);
        }
    }
    for (turn = 0; turn < COUNT; turn++) {
        GC_unref(cells[turn]);
    }
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
    (void)CHECK_EQ(GC_getTotalMem(), GC_getFreeMem());
}

/* Row 39: each cell is counted once, from its making to its freeing. */
COUNTED_TEST(occupied_follows_each_cell) {
    size_t occupied[20];
    Node *list = NULL;
    uint32_t i;
    for (i = 0; i < 20; i++) {
        occupied[i] = GC_getOccupiedMem();
        (void)CHECK_EQ(live_cells(), i);
        list = new_node(i, list, NULL);
        REQUIRE(list != NULL);
        (void)CHECK_GE(GC_getOccupiedMem(), occupied[i] + sizeof(Node) + 8);
    }
    while (list != NULL) {
        Node *next = GC_move(&list->left);
        GC_unref(list);
        list = next;
        (void)CHECK_EQ(GC_getOccupiedMem(), occupied[--i]);
        (void)CHECK_EQ(live_cells(), i);
    }
}

/* Row 39: the collector's own buffers are told apart, and are no part of total. */
COUNTED_TEST(buffers_are_apart) {
    enum { COUNT = 100 };
    static Node *nodes[COUNT];
    KnGcStats before, after;
    KnGcConfig config = {.threshold = 1000, .bytes_floor = SIZE_MAX};
    uint32_t i;
    configure(config);
    for (i = 0; i < COUNT; i++) {
        nodes[i] = new_node(i, NULL, NULL);
        REQUIRE(nodes[i] != NULL);
    }
    before = gc();
    for (i = 0; i < COUNT; i++) {
        touch(nodes[i]);
    }
    after = gc();
    (void)CHECK_EQ(after.roots, before.roots + COUNT);
    (void)CHECK_EQ(after.total, before.total);
    (void)CHECK_EQ(after.occupied, before.occupied);
    (void)CHECK_GE(after.buffers, before.buffers);
    (void)CHECK_GE(after.buffers, COUNT * 2);
    GC_runOrc();
    (void)CHECK_EQ(gc().occupied, before.occupied);
    for (i = 0; i < COUNT; i++) {
        GC_unref(nodes[i]);
    }
    (void)CHECK_EQ(gc().occupied, 0);
}

/* Row 39: each heap has numbers of its own. */
COUNTED_TEST(each_heap_counts_for_itself) {
    KnHeap *other = new_heap(GROUND_BYTES / 4);
    Node *here = new_node(1, NULL, NULL);
    KnTypeId there_type;
    Node *there;
    KnHeap *found;
    size_t occupied = GC_getOccupiedMem();
    REQUIRE(other != NULL && here != NULL);
    found = kn_heap_use(other);
    (void)CHECK(found == ground_heap());
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
    there_type = GC_registerType(&node_descriptor);
    there = GC_new(there_type);
    REQUIRE(there != NULL);
    there->id = 2;
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK(kn_heap_use(found) == other);
    (void)CHECK_EQ(GC_getOccupiedMem(), occupied);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(here);
    (void)CHECK_EQ(destroyed_times(2), 0);
    (void)CHECK_EQ(live_cells(), 0);
    (void)kn_heap_use(other);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(there);
    (void)CHECK_EQ(destroyed_times(2), 1);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)CHECK(is_sound(other));
    (void)kn_heap_use(found);
}

/* ---- Row 40: statistics as text ---- */

static char statistics[2048];

/* The number behind `name: ` in the statistics; SIZE_MAX if there is none. */
static size_t value_of(const char *name) {
    const char *at = strstr(statistics, name);
    unsigned long value;
    if (!CHECK(at != NULL) || !CHECK(sscanf(at + strlen(name), ": %lu", &value) == 1)) {
        printf("    no number %s in:\n%s", name, statistics);
        return SIZE_MAX;
    }
    return value;
}

/* Row 40: one line for each number, as Nim's, and they are those of GC_stats. */
COUNTED_TEST(statistics_as_text) {
    Node *first = ring(3, 1);
    Node *kept = new_node(4, NULL, NULL);
    KnGcStats stats;
    size_t length;
    const char *line;
    REQUIRE(first != NULL && kept != NULL);
    let_knoll_write(statistics, sizeof statistics);
    GC_unref(first);
    GC_runOrc();
    touch(kept);
    stats = gc();
    length = GC_getStatistics(statistics, sizeof statistics);
    REQUIRE(length > 0 && length < sizeof statistics);
    (void)CHECK_EQ(strlen(statistics), length);
    for (line = statistics; *line != '\0'; line = strchr(line, '\n') + 1) {
        (void)CHECK(strncmp(line, "[GC] ", 5) == 0);
        REQUIRE(strchr(line, '\n') != NULL);
        (void)CHECK(strstr(line, ": ") != NULL && strstr(line, ": ") < strchr(line, '\n'));
    }
    (void)CHECK_EQ(value_of("[GC] total memory"), stats.total);
    (void)CHECK_EQ(value_of("[GC] occupied memory"), stats.occupied);
    (void)CHECK_EQ(value_of("[GC] collections"), stats.collections);
    (void)CHECK_GE(stats.collections, 1);
    (void)CHECK(strstr(statistics, "threshold") != NULL);
    (void)CHECK(strstr(statistics, "roots") != NULL);
    GC_unref(kept);
}

/* Row 40: snprintf's rule: the whole length is told, what fits is written, with a NUL, and nothing behind it. */
COUNTED_TEST(statistics_are_cut_off) {
    static char small[2048];
    size_t whole, bytes;
    let_knoll_write(statistics, sizeof statistics);
    let_knoll_write(small, sizeof small);
    whole = GC_getStatistics(NULL, 0);
    (void)CHECK_GE(whole, 40);
    REQUIRE(whole < sizeof small);
    (void)CHECK_EQ(GC_getStatistics(statistics, sizeof statistics), whole);
    for (bytes = 1; bytes <= whole + 1; bytes += bytes < 20 ? 1 : 17) {
        memset(small, '#', sizeof small);
        (void)CHECK_EQ(GC_getStatistics(small, bytes), whole);
        (void)CHECK_EQ(strlen(small), bytes - 1 < whole ? bytes - 1 : whole);
        (void)CHECK(memcmp(small, statistics, bytes - 1) == 0);
        (void)CHECK(holds_byte(small + bytes, sizeof small - bytes, '#'));
    }
}

/* ---- Row 43: instances by type ---- */

static size_t instances, instance_bytes;

/* Reads the line of a type into the two numbers above. */
static bool read_line_of(const char *type) {
    char head[64];
    unsigned long count = 0, bytes = 0;
    const char *at;
    (void)snprintf(head, sizeof head, "[Heap] %s: ", type);
    at = strstr(text.bytes, head);
    if (at == NULL || sscanf(at + strlen(head), "#%lu; bytes: %lu", &count, &bytes) != 2) {
        return false;
    }
    instances = count;
    instance_bytes = bytes;
    return true;
}

/* Row 43: each type with its count and bytes, the largest first, then the total. */
COUNTED_TEST(instances_by_type) {
    void *cells[40];
    size_t i, last = SIZE_MAX, sum = 0;
    const char *line;
    for (i = 0; i < 40; i++) {
        cells[i] = i < 25 ? (void *)new_node(1, NULL, NULL) : i < 37 ? (void *)new_leaf(2) : (void *)new_row(3, 200);
        REQUIRE(cells[i] != NULL);
    }
    clear_text();
    (void)CHECK_STATUS(kn_dump_instances(take_text, &text), KN_OK);
    (void)CHECK(read_line_of("Node"));
    (void)CHECK_EQ(instances, 25);
    (void)CHECK_GE(instance_bytes, 25 * sizeof(Node));
    (void)CHECK(read_line_of("Leaf"));
    (void)CHECK_EQ(instances, 12);
    (void)CHECK_GE(instance_bytes, 12 * sizeof(Leaf));
    (void)CHECK(read_line_of("Row"));
    (void)CHECK_EQ(instances, 3);
    (void)CHECK_GE(instance_bytes, 3 * 200 * sizeof(void *));
    (void)CHECK(!read_line_of("Tail"));
    for (line = text.bytes; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *bytes = strstr(line, "bytes: ");
        unsigned long value;
        REQUIRE(strchr(line, '\n') != NULL);
        (void)CHECK(strncmp(line, "[Heap] ", 7) == 0);
        if (bytes != NULL && bytes < strchr(line, '\n') && sscanf(bytes, "bytes: %lu", &value) == 1 &&
            strstr(line, "#") < bytes) {
            if (strchr(line, '\n')[1] != '\0') {
                (void)CHECK_LE(value, last);
                last = value;
                sum += value;
            }
        }
    }
    (void)CHECK_GE(sum, 25 * sizeof(Node) + 12 * sizeof(Leaf) + 3 * 200 * sizeof(void *));
    for (i = 0; i < 40; i++) {
        GC_unref(cells[i]);
    }
    clear_text();
    (void)CHECK_STATUS(kn_dump_instances(take_text, &text), KN_OK);
    (void)CHECK(!read_line_of("Node") && !read_line_of("Leaf") && !read_line_of("Row"));
    (void)CHECK_STATUS(kn_dump_instances(NULL, NULL), KN_E_INVALID);
}

/* ---- Beyond the table: cycles by name, and who holds an object ---- */

typedef struct Item {
    void *parent, *other;
    uint32_t id, note;
} Item;

static const uint32_t item_offsets[] = {offsetof(Item, parent), offsetof(Item, other)};
static const char *const item_names[] = {"parent", "other"};
static const KnType foo_descriptor = {"Foo", sizeof(Item), 0, 2, item_offsets, NULL, NULL, item_names, NULL, NULL};
static const KnType bar_descriptor = {"Bar", sizeof(Item), 0, 2, item_offsets, NULL, NULL, item_names, NULL, NULL};

/* A ring of three Foos and a Bar: Bar.other -> Foo.other -> Foo.other -> Foo, which Foo.parent closes. */
static Item *foos_and_a_bar(KnTypeId foo, KnTypeId bar) {
    Item *first = GC_new(bar);
    Item *last = first;
    int i;
    for (i = 0; i < 3 && last != NULL; i++) {
        last->other = GC_new(foo);
        last = last->other;
    }
    if (last == NULL) {
        GC_unref(first);
        return NULL;
    }
    last->parent = GC_ref(first);
    return first;
}

COUNTED_TEST(garbage_cycles_by_name) {
    KnTypeId foo = GC_registerType(&foo_descriptor), bar = GC_registerType(&bar_descriptor);
    Item *first = foos_and_a_bar(foo, bar);
    Node *small = ring(1, 1);
    Node *live = ring(2, 2);
    REQUIRE(first != NULL && small != NULL && live != NULL);
    touch(live);
    clear_text();
    (void)CHECK_STATUS(GC_reportCycles(take_text, &text), KN_OK);
    (void)CHECK_EQ(text_lines(&text), 0);
    GC_unref(first);
    GC_unref(small);
    clear_text();
    (void)CHECK_STATUS(GC_reportCycles(take_text, &text), KN_OK);
    (void)CHECK_EQ(text_lines(&text), 2);
    (void)CHECK(text_has(&text, "3 Foo and 1 Bar, closed by Foo.parent"));
    (void)CHECK(text_has(&text, "1 Node, closed by Node.left"));
    /* Nothing has been freed or changed. */
    (void)CHECK_EQ(live_cells(), 7);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(live), 2);
    (void)CHECK_EQ(GC_refcount(first), 1);
    (void)CHECK(all_is_sound());
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 2);
    clear_text();
    (void)CHECK_STATUS(GC_reportCycles(take_text, &text), KN_OK);
    (void)CHECK_EQ(text_lines(&text), 0);
    (void)CHECK_STATUS(GC_reportCycles(NULL, NULL), KN_E_INVALID);
    GC_unref(live);
}

COUNTED_TEST(who_holds_an_object) {
    KnTypeId foo = GC_registerType(&foo_descriptor);
    Node *object = new_node(1, NULL, NULL);
    Item *holder = GC_new(foo);
    Row *row = new_row(2, 3);
    Chest *chest = new_chest(3, 2);
    char address[64];
    REQUIRE(object != NULL && holder != NULL && row != NULL && chest != NULL);
    clear_text();
    (void)CHECK_STATUS(GC_whoHolds(object, take_text, &text), KN_OK);
    (void)CHECK_EQ(text_lines(&text), 1);
    (void)CHECK(text_has(&text, "1"));
    holder->parent = GC_ref(object);
    row->items[1] = GC_ref(object);
    chest->slots[1] = GC_ref(object);
    (void)GC_ref(holder);
    clear_text();
    (void)CHECK_STATUS(GC_whoHolds(object, take_text, &text), KN_OK);
    (void)CHECK_EQ(text_lines(&text), 4);
    (void)snprintf(address, sizeof address, "Foo.parent at 0x%lx (count 2)", (unsigned long)(uintptr_t)holder);
    (void)CHECK(text_has(&text, address));
    (void)CHECK(text_has(&text, "Row"));
    (void)CHECK(text_has(&text, "Chest"));
    (void)CHECK_EQ(GC_refcount(object), 4);
    (void)CHECK(all_is_sound());
    (void)CHECK_STATUS(GC_whoHolds(object, NULL, NULL), KN_E_INVALID);
    GC_unref(object);
    GC_unref(holder);
    GC_unref(holder);
    GC_unref(row);
    GC_unref(chest);
    (void)CHECK(destroyed_once(1, 3));
}

SUITE("counted_accounting", EACH_LAYOUT(total_is_occupied_and_free), EACH_LAYOUT(occupied_follows_each_cell),
      EACH_LAYOUT(buffers_are_apart), EACH_LAYOUT(each_heap_counts_for_itself), ONCE(statistics_as_text),
      ONCE(statistics_are_cut_off), ONCE(instances_by_type), ONCE(garbage_cycles_by_name), ONCE(who_holds_an_object))
