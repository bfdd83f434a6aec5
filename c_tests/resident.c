/*
 * Always-active data: where it lies, what it may refer to, and the check that tells the chain when it refers to more.
 */
#include "cells.h"

#include <string.h>

#define WORD (sizeof(void *))

/* Always active. */
typedef struct Table {
    void *first, *second;
    uint32_t id, note;
} Table;

typedef struct Module {
    void *table;
    uint32_t id, count;
    void *imports[];
} Module;

typedef struct Board {
    void *owner;
    uint8_t bytes[1200]; /* larger than any cell of a page */
} Board;

static const uint32_t two_fields[] = {0, (uint32_t)WORD};
static const char *const table_names[] = {"first", "second"};
static const char *const module_names[] = {"table"};
static const char *const board_names[] = {"owner"};

static void destroy_table(void *object) {
    record_destroyed(((Table *)object)->id);
}

static const KnType table_descriptor = {"Table", sizeof(Table), KN_TYPE_RESIDENT, 2,    two_fields,
                                        destroy_table, NULL, table_names, NULL, NULL};
static const KnType module_descriptor = {"Module", offsetof(Module, imports), KN_TYPE_RESIDENT | KN_TYPE_ARRAY, 1,
                                         two_fields, NULL, NULL, module_names, NULL, NULL};
static const KnType board_descriptor = {"Board", sizeof(Board), KN_TYPE_RESIDENT, 1, two_fields, NULL, NULL,
                                        board_names, NULL, NULL};
static const KnType shared_descriptor = {"Shared", 16, KN_TYPE_SHARED, 0, NULL, NULL, NULL, NULL, NULL, NULL};

static KnTypeId table_type, module_type, board_type;

static void register_residents(void) {
    table_type = GC_registerType(&table_descriptor);
    module_type = GC_registerType(&module_descriptor);
    board_type = GC_registerType(&board_descriptor);
    (void)CHECK(table_type != 0 && module_type != 0 && board_type != 0);
}

static Table *new_table(uint32_t id) {
    Table *table = GC_new(table_type);
    if (table != NULL) {
        table->id = id;
    }
    return table;
}

static Module *new_module(uint32_t count) {
    return GC_newSized(module_type, offsetof(Module, imports) + count * WORD);
}

/* What the check answers, with its text. */
static KnStatus check_with(Text *text) {
    text->length = 0;
    return kn_resident_check(ground_heap(), take_text, text);
}

/* All is well: the check says so with a writer and without, and writes nothing. */
static void all_is_resident(void) {
    Text text;
    (void)CHECK_STATUS(check_with(&text), KN_OK);
    (void)CHECK_EQ(text.length, 0);
    (void)CHECK_STATUS(kn_resident_check(ground_heap(), NULL, NULL), KN_OK);
    (void)CHECK(all_is_sound());
}

/* One wrong reference is found, and told in a line that begins with these names. */
static void is_told(const char *names) {
    Text text;
    (void)CHECK_STATUS(check_with(&text), KN_E_RESIDENT);
    (void)CHECK_EQ(text_lines(&text), 1);
    (void)CHECK_EQ(strncmp(text.bytes, names, strlen(names)), 0);
    (void)CHECK_EQ(strncmp(text.bytes + strlen(names), ", at 0x", 7), 0);
    (void)CHECK_STATUS(kn_resident_check(ground_heap(), NULL, NULL), KN_E_RESIDENT);
    (void)CHECK(all_is_sound());
}

/* ---- Cells ---- */

/* No page holds both kinds: what is resident stays when the others' pages go. */
COUNTED_TEST(resident_cells_lie_apart) {
    enum { COUNT = 60, PAGE = 1024 };
    static void *resident[COUNT], *other[COUNT];
    size_t i, j, mixed = 0;
    register_residents();
    for (i = 0; i < COUNT; i++) {
        resident[i] = new_table(1);
        other[i] = new_mixed(2, NULL, NULL);
        REQUIRE(resident[i] != NULL && other[i] != NULL);
    }
    for (i = 0; i < COUNT; i++) {
        for (j = 0; j < COUNT; j++) {
            mixed += (uintptr_t)resident[i] / PAGE == (uintptr_t)other[j] / PAGE;
        }
    }
    (void)CHECK_EQ(mixed, 0);
    all_is_resident();
    for (i = 0; i < COUNT; i++) {
        GC_unref(resident[i]);
        GC_unref(other[i]);
    }
    (void)CHECK_EQ(destroyed_times(1), COUNT);
}

/* Below every scope: they come from the heap's bottom end, scopes from its top. */
COUNTED_TEST(resident_data_lies_below_scopes) {
    KnArena *scope = NULL;
    Table *table;
    void *block, *inside;
    register_residents();
    REQUIRE(kn_arena_enter(ground_heap(), NULL, &scope) == KN_OK);
    inside = GC_newIn(scope, node_type);
    table = new_table(1);
    block = kn_resident_alloc(ground_heap(), 100);
    (void)CHECK(inside != NULL && table != NULL && block != NULL);
    (void)CHECK((uintptr_t)table < (uintptr_t)inside && (uintptr_t)block < (uintptr_t)inside);
    EXPECT_ERROR(KN_E_INVALID, (void)CHECK(GC_newIn(scope, table_type) == NULL));
    (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
    GC_unref(table);
    kn_resident_free(ground_heap(), block);
}

/* GC_assign of `object` into `slot` is refused, and nothing has changed. */
static void is_refused(void *slot_of, void *object) {
    void **slot = slot_of;
    void *before = *slot;
    uint32_t count = GC_refcount(object);
    EXPECT_ERROR(KN_E_RESIDENT, GC_assign(slot, object));
    (void)CHECK(last_error_where() == (const void *)slot);
    (void)CHECK(*slot == before);
    (void)CHECK_EQ(GC_refcount(object), count);
}

static void is_taken(void *slot_of, void *object) {
    void **slot = slot_of;
    GC_assign(slot, object);
    (void)CHECK(*slot == object);
    GC_assign(slot, NULL);
    (void)CHECK(*slot == NULL);
}

COUNTED_TEST(other_cells_are_refused) {
    Table *table, *held;
    Module *module, *wide;
    Board *board;
    Node *node = new_node(1, NULL, NULL);
    void *outside = NULL;
    register_residents();
    table = new_table(2);
    held = new_table(3);
    module = new_module(3);
    wide = new_module(300);
    board = GC_new(board_type);
    REQUIRE(node != NULL && table != NULL && held != NULL && module != NULL && wide != NULL && board != NULL);
    is_refused(&table->first, node);
    is_refused(&table->second, node);
    is_refused(&module->table, node);
    is_refused(&module->imports[2], node);
    is_refused(&wide->imports[0], node);
    is_refused(&wide->imports[299], node);
    is_refused(&board->owner, node);
    GC_assign(&table->first, held);
    is_refused(&table->first, node);
    /* Others hold what they like, and residents each other. */
    is_taken(&outside, node);
    is_taken(&node->left, table);
    is_taken(&node->right, board);
    is_taken(&table->second, board);
    is_taken(&board->owner, table);
    is_taken(&wide->imports[299], module);
    all_is_resident();
    GC_unref(node);
    GC_unref(table);
    GC_unref(held);
    GC_unref(module);
    GC_unref(wide);
    GC_unref(board);
}

/* What never goes, or belongs to all threads, is no harm. */
COUNTED_TEST(immortal_and_shared_cells_are_taken) {
    Table *table;
    Leaf *leaf = new_leaf(1);
    void *shared;
    uint32_t *word;
    register_residents();
    table = new_table(2);
    shared = GC_new(GC_registerType(&shared_descriptor));
    REQUIRE(table != NULL && leaf != NULL && shared != NULL);
    is_refused(&table->first, leaf);
    /* As if it had been referred to 2^26 times. */
    word = (uint32_t *)(void *)leaf - 2;
    *word = (UINT32_C(0x3FFFFFF) << 5) | (*word & 31u);
    (void)GC_ref(leaf);
    (void)CHECK_EQ(GC_refcount(leaf), KN_IMMORTAL);
    GC_assign(&table->first, leaf);
    GC_assign(&table->second, shared);
    (void)CHECK(table->first == (void *)leaf && table->second == shared);
    all_is_resident();
    GC_assign(&table->first, NULL);
    GC_assign(&table->second, NULL);
    GC_unref(table);
    GC_unref(shared);
    GC_freeObject(leaf);
}

COUNTED_TEST(cells_of_scopes_are_refused) {
    KnArena *scope = NULL;
    KnArenaStats stats;
    Table *table;
    void *inside;
    register_residents();
    table = new_table(1);
    REQUIRE(table != NULL && kn_arena_enter(ground_heap(), NULL, &scope) == KN_OK);
    inside = GC_newIn(scope, node_type);
    REQUIRE(inside != NULL);
    is_refused(&table->first, inside);
    (void)CHECK_STATUS(kn_arena_stats(scope, &stats), KN_OK);
    (void)CHECK_EQ(stats.escapes, 0);
    (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
    GC_unref(table);
}

/* They are counted as others: the last reference destroys them, a cycle of them is garbage. */
COUNTED_TEST(resident_cells_die_as_others) {
    Table *one, *other;
    register_residents();
    one = new_table(1);
    other = new_table(2);
    REQUIRE(one != NULL && other != NULL);
    GC_assign(&one->first, other);
    GC_assign(&other->first, one);
    GC_unref(one);
    GC_unref(other);
    (void)CHECK_EQ(destroyed_total(), 0);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 2));
}

/* ---- The check ---- */

/* A field written as C writes fields: what GC_assign would have refused. */
static void store(void *slot, void *object) {
    *(void **)slot = GC_ref(object);
}

COUNTED_TEST(raw_stores_are_found) {
    Table *table;
    Module *module;
    Board *board;
    Leaf *leaf = new_leaf(1);
    register_residents();
    table = new_table(2);
    module = new_module(4);
    board = GC_new(board_type);
    REQUIRE(leaf != NULL && table != NULL && module != NULL && board != NULL);
    all_is_resident();
    store(&table->second, leaf);
    is_told("Table.second -> Leaf: not resident");
    GC_assign(&table->second, NULL);
    all_is_resident();
    store(&module->imports[3], leaf);
    is_told("Module[3] -> Leaf: not resident");
    GC_assign(&module->imports[3], NULL);
    store(&board->owner, leaf);
    is_told("Board.owner -> Leaf: not resident");
    GC_assign(&board->owner, NULL);
    GC_assignInline(&table->first, leaf);
    is_told("Table.first -> Leaf: not resident");
    GC_assign(&table->first, NULL);
    all_is_resident();
    GC_unref(leaf);
    GC_unref(table);
    GC_unref(module);
    GC_unref(board);
}

/* The whole way is told, from the one that no other resident cell holds. */
COUNTED_TEST(the_chain_is_told) {
    Table *storage, *cache, *entry;
    Module *module;
    Leaf *leaf = new_leaf(1);
    Text text;
    register_residents();
    storage = new_table(2);
    cache = new_table(3);
    entry = new_table(4);
    module = new_module(3);
    REQUIRE(leaf != NULL && storage != NULL && cache != NULL && entry != NULL && module != NULL);
    GC_assign(&storage->second, module);
    GC_assign(&module->imports[1], cache);
    GC_assign(&cache->first, entry);
    store(&entry->first, leaf);
    is_told("Table.second -> Module[1] -> Table.first -> Table.first -> Leaf: not resident");
    /* A circle on the way, and one at its beginning. */
    GC_assign(&entry->second, cache);
    is_told("Table.second -> Module[1] -> Table.first -> Table.first -> Leaf: not resident");
    GC_assign(&cache->second, storage);
    (void)CHECK_STATUS(check_with(&text), KN_E_RESIDENT);
    (void)CHECK(text_has(&text, "Table.first -> Leaf: not resident"));
    /* Each wrong reference has a line. */
    store(&storage->first, leaf);
    (void)CHECK_STATUS(check_with(&text), KN_E_RESIDENT);
    (void)CHECK_EQ(text_lines(&text), 2);
    GC_assign(&storage->first, NULL);
    GC_assign(&entry->first, NULL);
    GC_assign(&cache->second, NULL);
    GC_assign(&entry->second, NULL);
    all_is_resident();
    GC_unref(leaf);
    GC_unref(storage);
    GC_unref(cache);
    GC_unref(entry);
    GC_unref(module);
}

/* Of a long chain both ends are told. */
COUNTED_TEST(a_long_chain_has_two_ends) {
    enum { COUNT = 50 };
    Module *top;
    Table *tables[COUNT];
    Leaf *leaf = new_leaf(1);
    Text text;
    size_t i;
    register_residents();
    top = new_module(1);
    REQUIRE(leaf != NULL && top != NULL);
    for (i = 0; i < COUNT; i++) {
        tables[i] = new_table(2);
        REQUIRE(tables[i] != NULL);
        GC_assign(i == 0 ? &top->imports[0] : &tables[i - 1]->first, tables[i]);
        GC_unref(tables[i]);
    }
    store(&tables[COUNT - 1]->second, leaf);
    (void)CHECK_STATUS(check_with(&text), KN_E_RESIDENT);
    (void)CHECK_EQ(text_lines(&text), 1);
    (void)CHECK(text_has(&text, "Module[0] -> (18 more) -> Table.first -> Table.first -> "));
    (void)CHECK(text_has(&text, "Table.first -> Table.second -> Leaf: not resident, at 0x"));
    GC_assign(&tables[COUNT - 1]->second, NULL);
    all_is_resident();
    GC_unref(leaf);
    GC_unref(top);
}

/* A scope's cell in a resident one: its scope and its site are told. */
COUNTED_TEST(a_way_into_a_scope_is_told) {
    static const KnArenaConfig config = {.name = "sign_tx", .flags = KN_ARENA_SITES};
    KnArena *scope = NULL;
    Table *table;
    void *inside, *raw;
    void **block;
    register_residents();
    table = new_table(1);
    block = kn_resident_alloc_named(ground_heap(), 4 * WORD, "settings");
    REQUIRE(table != NULL && block != NULL && kn_arena_enter(ground_heap(), &config, &scope) == KN_OK);
    inside = GC_newInAt(scope, node_type, 0, "sign.c:40");
    raw = kn_arena_alloc(scope, 40);
    REQUIRE(inside != NULL && raw != NULL);
    table->first = inside;
    is_told("Table.first -> Node: in scope \"sign_tx\"");
    {
        Text text;
        (void)CHECK_STATUS(check_with(&text), KN_E_RESIDENT);
        (void)CHECK(text_has(&text, ", allocated at sign.c:40\n"));
    }
    table->first = NULL;
    all_is_resident();
    block[2] = raw;
    is_told(WORD == 8 ? "block \"settings\"+16 -> memory: in scope \"sign_tx\""
                      : "block \"settings\"+8 -> memory: in scope \"sign_tx\"");
    block[2] = NULL;
    (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
    all_is_resident();
    GC_unref(table);
    kn_resident_free(ground_heap(), block);
}

/* ---- Blocks ---- */

/* A word in a block that is an address in a cell counts, one that was does not. */
COUNTED_TEST(blocks_are_searched) {
    void **block = kn_resident_alloc_named(ground_heap(), 5 * WORD, "keys");
    Leaf *leaf = new_leaf(1), *wall = new_leaf(2);
    Table *table;
    register_residents();
    table = new_table(3);
    REQUIRE(block != NULL && leaf != NULL && wall != NULL && table != NULL);
    block[0] = table;
    block[1] = (void *)(uintptr_t)12345;
    all_is_resident();
    block[0] = leaf;
    is_told("block \"keys\"+0 -> Leaf: not resident");
    block[0] = (char *)leaf + 4;
    is_told("block \"keys\"+0 -> Leaf: not resident");
    block[0] = NULL;
    block[4] = leaf;
    is_told(WORD == 8 ? "block \"keys\"+32 -> Leaf: not resident" : "block \"keys\"+16 -> Leaf: not resident");
    GC_unref(leaf);
    all_is_resident();
    kn_resident_free(ground_heap(), block);
    GC_unref(wall);
    GC_unref(table);
}

COUNTED_TEST(blocks_are_zeroed_and_keep_their_contents) {
    KnHeap *heap = ground_heap();
    size_t before = used_blocks(heap), bytes;
    uint8_t *block;
    for (bytes = 0; bytes < 200; bytes += 13) {
        block = kn_resident_alloc(heap, bytes);
        REQUIRE(block != NULL);
        (void)CHECK(is_aligned(block, BLOCK_ALIGNMENT) && holds_byte(block, bytes, 0));
        fill_pattern(block, bytes, 7);
        kn_resident_free(heap, block);
        block = kn_resident_calloc(heap, bytes, 3);
        REQUIRE(block != NULL);
        (void)CHECK(holds_byte(block, 3 * bytes, 0));
        fill_pattern(block, 3 * bytes, 7);
        kn_resident_free(heap, block);
    }
    block = kn_resident_realloc(heap, NULL, 40);
    REQUIRE(block != NULL);
    fill_pattern(block, 40, 9);
    {
        /* In the way, so that it moves. */
        void *wall = kn_heap_malloc(heap, 1);
        block = kn_resident_realloc(heap, block, 900);
        REQUIRE(block != NULL && wall != NULL);
        CHECK_PATTERN(block, 40, 9);
        (void)CHECK(holds_byte(block + 40, 860, 0));
        kn_heap_free(heap, wall);
    }
    block = kn_resident_realloc(heap, block, 16);
    REQUIRE(block != NULL);
    CHECK_PATTERN(block, 16, 9);
    kn_resident_free(heap, block);
    kn_resident_free(heap, NULL);
    (void)CHECK_EQ(used_blocks(heap), before);
}

COUNTED_TEST(mistakes_with_blocks_change_nothing) {
    KnHeap *heap = ground_heap();
    uint8_t *one = kn_resident_alloc(heap, 50), *other = kn_resident_alloc(heap, 60);
    void *plain = kn_heap_malloc(heap, 70);
    uint8_t elsewhere[64] = {0};
    KnHeapStats before = {0}, after = {0};
    REQUIRE(one != NULL && other != NULL && plain != NULL);
    kn_resident_free(heap, other);
    fill_pattern(one, 50, 3);
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    EXPECT_ERROR(KN_E_FOREIGN, kn_resident_free(heap, other));
    EXPECT_ERROR(KN_E_FOREIGN, kn_resident_free(heap, one + 8));
    EXPECT_ERROR(KN_E_FOREIGN, kn_resident_free(heap, plain));
    EXPECT_ERROR(KN_E_FOREIGN, kn_resident_free(heap, elsewhere + 32));
    EXPECT_ERROR(KN_E_FOREIGN, (void)CHECK(kn_resident_realloc(heap, other, 10) == NULL));
    EXPECT_ERROR(KN_E_FOREIGN, (void)CHECK(kn_resident_realloc(heap, plain, 10) == NULL));
    /* Sizes that can't be. */
    (void)CHECK(kn_resident_alloc(heap, opaque(SIZE_MAX)) == NULL);
    (void)CHECK(kn_resident_alloc(heap, opaque(SIZE_MAX - 8)) == NULL);
    (void)CHECK(kn_resident_calloc(heap, opaque(SIZE_MAX / 2), 3) == NULL);
    (void)CHECK(kn_resident_realloc(heap, one, opaque(SIZE_MAX)) == NULL);
    (void)CHECK(kn_resident_realloc(heap, one, opaque((size_t)1 << 28)) == NULL);
    (void)CHECK(kn_resident_alloc(NULL, 8) == NULL && kn_resident_calloc(NULL, 1, 8) == NULL);
    (void)CHECK(kn_resident_realloc(NULL, one, 8) == NULL);
    kn_resident_free(NULL, one);
    (void)CHECK_STATUS(kn_resident_check(NULL, NULL, NULL), KN_E_INVALID);
    CHECK_PATTERN(one, 50, 3);
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_EQ(after.used, before.used);
    (void)CHECK_EQ(after.blocks, before.blocks);
    /* It is still known, or this would be a mistake too. */
    kn_resident_free(heap, one);
    kn_heap_free(heap, plain);
}

/* ---- What it is for ---- */

/* The rule of imports: modules that are always active import each other and modules in C, which are no cells. */
COUNTED_TEST(always_active_modules_import_each_other_only) {
    enum { TREZOR, UTILS, STORAGE, CACHE, COUNT };
    Module *modules[COUNT], *workflow;
    static const KnType workflow_descriptor = {"Workflow", offsetof(Module, imports), KN_TYPE_ARRAY, 1, two_fields,
                                               NULL, NULL, module_names, NULL, NULL};
    size_t i;
    register_residents();
    for (i = 0; i < COUNT; i++) {
        modules[i] = new_module(4);
        REQUIRE(modules[i] != NULL);
    }
    workflow = GC_newSized(GC_registerType(&workflow_descriptor), offsetof(Module, imports) + 4 * WORD);
    REQUIRE(workflow != NULL);
    GC_assign(&modules[TREZOR]->imports[0], modules[UTILS]);
    GC_assign(&modules[STORAGE]->imports[0], modules[CACHE]);
    GC_assign(&modules[CACHE]->imports[0], modules[UTILS]);
    GC_assign(&modules[UTILS]->imports[0], modules[TREZOR]);
    GC_assign(&workflow->imports[0], modules[STORAGE]);
    all_is_resident();
    is_refused(&modules[CACHE]->imports[1], workflow);
    all_is_resident();
    GC_unref(workflow);
    for (i = 0; i < COUNT; i++) {
        GC_unref(modules[i]);
    }
}

SUITE("resident", EACH_LAYOUT(resident_cells_lie_apart), EACH_LAYOUT(resident_data_lies_below_scopes),
      EACH_LAYOUT(other_cells_are_refused), EACH_LAYOUT(immortal_and_shared_cells_are_taken),
      EACH_LAYOUT(cells_of_scopes_are_refused), EACH_LAYOUT(resident_cells_die_as_others),
      EACH_LAYOUT(raw_stores_are_found), EACH_LAYOUT(the_chain_is_told), EACH_LAYOUT(a_long_chain_has_two_ends),
      EACH_LAYOUT(a_way_into_a_scope_is_told), EACH_LAYOUT(blocks_are_searched),
      EACH_LAYOUT(blocks_are_zeroed_and_keep_their_contents), EACH_LAYOUT(mistakes_with_blocks_change_nothing),
      EACH_LAYOUT(always_active_modules_import_each_other_only))
