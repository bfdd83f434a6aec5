/*
 * Escapes: references from outside into an arena. GC_assign counts them; at leave each is told with its holder, slot and
 * target, and dealt with by policy. Raw stores are found where the program said that they may be.
 */
#include "arenas.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TOLD = 64, OUTSIDERS = 20, INSIDERS = 20 };

static struct {
    size_t count;
    KnEscape each[MOST_TOLD];
    size_t wrong_context;
} told;

static void on_escape(const KnEscape *escape, void *context) {
    if (told.count < MOST_TOLD) {
        told.each[told.count] = *escape;
    }
    told.count++;
    told.wrong_context += context != &told;
}

static KnArenaConfig telling(uint32_t policy, uint32_t flags) {
    KnArenaConfig config = named("workflow");
    memset(&told, 0, sizeof told);
    config.policy = policy;
    config.flags = flags;
    config.on_escape = on_escape;
    config.context = &told;
    return config;
}

/* What was told of this slot; NULL if nothing was. */
static const KnEscape *told_of(const void *slot) {
    size_t i;
    for (i = 0; i < told.count && i < MOST_TOLD; i++) {
        if (told.each[i].slot == slot) {
            return &told.each[i];
        }
    }
    return NULL;
}

/* ---- Counting ---- */

/* Only references from outside count, and they are taken back when they go. */
ARENA_TEST(assignments_from_outside_are_counted) {
    KnArena *scope = enter("counted");
    Pair *inside, *other, *holder = new_pair(1, NULL, NULL), *second = new_pair(2, NULL, NULL);
    REQUIRE(scope != NULL && holder != NULL && second != NULL);
    inside = pair_in(scope, 10, NULL, NULL);
    other = pair_in(scope, 11, NULL, NULL);
    REQUIRE(inside != NULL && other != NULL);
    (void)CHECK_EQ(stats_of(scope).escapes, 0);
    GC_assign(&inside->first, other);
    GC_assign(&other->first, inside);
    GC_assign(&inside->second, holder);
    (void)CHECK_EQ(stats_of(scope).escapes, 0);
    GC_assign(&holder->first, inside);
    (void)CHECK_EQ(stats_of(scope).escapes, 1);
    GC_assign(&holder->second, inside);
    GC_assign(&second->first, other);
    (void)CHECK_EQ(stats_of(scope).escapes, 3);
    /* The same again, another of the arena, one from outside, none. */
    GC_assign(&holder->first, inside);
    (void)CHECK_EQ(stats_of(scope).escapes, 3);
    GC_assign(&holder->first, other);
    (void)CHECK_EQ(stats_of(scope).escapes, 3);
    GC_assign(&holder->first, second);
    (void)CHECK_EQ(stats_of(scope).escapes, 2);
    GC_assign(&holder->second, NULL);
    (void)CHECK_EQ(stats_of(scope).escapes, 1);
    /* A holder that dies takes its references with it. */
    GC_assign(&holder->first, NULL);
    GC_unref(second);
    (void)CHECK_EQ(stats_of(scope).escapes, 0);
    (void)CHECK_EQ(GC_refcount(inside), KN_IMMORTAL);
    (void)CHECK_EQ(leave(scope).escapes, 0);
    GC_unref(holder);
}

/* ---- The report ---- */

/* Every field of it, for an ordinary holder. */
ARENA_TEST(the_report_names_everything) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, KN_ARENA_SITES));
    Pair *holder = new_pair(1, NULL, NULL), *inside;
    KnLeaveReport report;
    const KnEscape *escape;
    REQUIRE(scope != NULL && holder != NULL);
    inside = GC_newInHere(scope, pair_type);
    REQUIRE(inside != NULL);
    GC_assign(&holder->second, inside);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 1);
    (void)CHECK_EQ(report.nulled, 1);
    (void)CHECK_EQ(report.promoted, 0);
    (void)CHECK(holder->second == NULL);
    (void)CHECK_EQ(told.count, 1);
    (void)CHECK_EQ(told.wrong_context, 0);
    escape = &report.first;
    (void)CHECK(same_text(escape->arena, "workflow"));
    (void)CHECK(escape->holder == holder);
    (void)CHECK(same_text(escape->holder_type, "Pair"));
    (void)CHECK(escape->slot == &holder->second);
    (void)CHECK_EQ(escape->offset, offsetof(Pair, second));
    (void)CHECK(same_text(escape->field, "second"));
    (void)CHECK(escape->target == inside);
    (void)CHECK(same_text(escape->target_type, "Pair"));
    (void)CHECK_GE(escape->target_size, sizeof(Pair));
    (void)CHECK_LE(escape->target_size, sizeof(Pair) + 8);
    (void)CHECK(escape->site != NULL && strstr(escape->site, "arena_escapes.c:") != NULL);
    (void)CHECK_EQ(escape->action, KN_ESCAPE_NULL);
    (void)CHECK(!escape->raw);
    (void)CHECK(told.each[0].slot == escape->slot && told.each[0].target == escape->target);
    GC_unref(holder);
}

/* Fields without names, arrays, and what only a trace callback knows; without KN_ARENA_SITES no site. */
ARENA_TEST(every_kind_of_slot_is_found) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, 0));
    Mixed *mixed = new_mixed(1, NULL, NULL);
    Row *row = new_row(2, 8);
    Chest *chest = new_chest(3, 4);
    Node *node = new_node(4, NULL, NULL);
    Leaf *inside;
    KnLeaveReport report;
    REQUIRE(scope != NULL && mixed != NULL && row != NULL && chest != NULL && node != NULL);
    inside = leaf_in(scope, 10);
    REQUIRE(inside != NULL);
    GC_assign(&mixed->leaf, inside);
    GC_assign(&row->items[5], inside);
    GC_assign(&chest->slots[2], inside);
    GC_assign(&node->right, inside);
    (void)CHECK_EQ(stats_of(scope).escapes, 4);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 4);
    (void)CHECK_EQ(report.nulled, 4);
    (void)CHECK_EQ(told.count, 4);
    (void)CHECK(mixed->leaf == NULL && row->items[5] == NULL && chest->slots[2] == NULL && node->right == NULL);
    REQUIRE(told_of(&mixed->leaf) != NULL && told_of(&row->items[5]) != NULL && told_of(&chest->slots[2]) != NULL &&
            told_of(&node->right) != NULL);
    (void)CHECK(told_of(&mixed->leaf)->field == NULL);
    (void)CHECK_EQ(told_of(&mixed->leaf)->offset, offsetof(Mixed, leaf));
    (void)CHECK(same_text(told_of(&mixed->leaf)->holder_type, "Mixed"));
    (void)CHECK(told_of(&row->items[5])->holder == row);
    (void)CHECK_EQ(told_of(&row->items[5])->offset, (size_t)((uint8_t *)&row->items[5] - (uint8_t *)row));
    (void)CHECK(told_of(&chest->slots[2])->holder == chest);
    (void)CHECK(same_text(told_of(&chest->slots[2])->holder_type, "Chest"));
    (void)CHECK(same_text(told_of(&node->right)->field, "right"));
    (void)CHECK(same_text(told_of(&node->right)->target_type, "Leaf"));
    (void)CHECK(told_of(&node->right)->site == NULL);
    GC_unref(mixed);
    GC_unref(row);
    GC_unref(chest);
    GC_unref(node);
}

/* ---- Policies ---- */

/* The slots hold a copy outside, the same one for the same target, and with it all that the target held. */
ARENA_TEST(policy_promote_copies) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_PROMOTE, 0));
    Pair *holder = new_pair(1, NULL, NULL), *other = new_pair(2, NULL, NULL), *inside, *copy;
    KnLeaveReport report;
    REQUIRE(scope != NULL && holder != NULL && other != NULL);
    inside = pair_in(scope, 10, NULL, NULL);
    REQUIRE(inside != NULL);
    inside->first = pair_in(scope, 11, NULL, NULL);
    inside->second = inside->first;
    REQUIRE(inside->first != NULL);
    GC_assign(&holder->first, inside);
    GC_assign(&holder->second, inside);
    GC_assign(&other->first, inside->first);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 3);
    (void)CHECK_EQ(report.nulled, 0);
    (void)CHECK_EQ(report.promoted, 3);
    (void)CHECK_EQ(report.counted, 3);
    (void)CHECK_EQ(told.count, 3);
    copy = holder->first;
    REQUIRE(copy != NULL);
    (void)CHECK_EQ(told_of(&holder->first)->action, KN_ESCAPE_PROMOTE);
    (void)CHECK_EQ(copy->id, 10);
    (void)CHECK(holder->second == copy);
    (void)CHECK_EQ(GC_refcount(copy), 2);
    REQUIRE(copy->first != NULL);
    (void)CHECK(copy->second == copy->first);
    (void)CHECK_EQ(((Pair *)copy->first)->id, 11);
    REQUIRE(other->first != NULL);
    (void)CHECK_EQ(((Pair *)other->first)->id, 11);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    GC_unref(holder);
    GC_unref(other);
    (void)CHECK_EQ(live_cells(), 0);
}

/* What can't be promoted is nulled, and the report says so. */
ARENA_TEST(policy_promote_nulls_what_it_can_not_copy) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_PROMOTE, 0));
    Pair *holder = new_pair(1, NULL, NULL);
    KnLeaveReport report;
    REQUIRE(scope != NULL && holder != NULL);
    GC_assign(&holder->first, node_in(scope, 10, NULL, NULL));
    GC_assign(&holder->second, pair_in(scope, 11, NULL, NULL));
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 2);
    (void)CHECK_EQ(report.nulled, 1);
    (void)CHECK_EQ(report.promoted, 1);
    (void)CHECK(holder->first == NULL);
    REQUIRE(told_of(&holder->first) != NULL && holder->second != NULL);
    (void)CHECK_EQ(told_of(&holder->first)->action, KN_ESCAPE_NULL);
    (void)CHECK_EQ(((Pair *)holder->second)->id, 11);
    GC_unref(holder);
}

/* Leave is refused, nothing has happened; without the escape it goes through. */
ARENA_TEST(policy_refuse_changes_nothing) {
    uint64_t print;
    KnArena *scope = enter_as(telling(KN_ESCAPE_REFUSE, 0)), *inner;
    Pair *holder = new_pair(1, NULL, NULL);
    Node *inside;
    Note note;
    KnLeaveReport report;
    size_t round;
    REQUIRE(scope != NULL && holder != NULL);
    (void)note_on_leave(scope, &note, 5);
    inside = node_in(scope, 10, NULL, NULL);
    REQUIRE(inside != NULL);
    GC_assign(&holder->first, inside);
    for (round = 0; round < 3; round++) {
        inner = round == 1 ? enter("inner") : NULL;
        print = fingerprint();
        errors_begin();
        (void)CHECK_STATUS(kn_arena_leave(scope, &report), KN_E_ESCAPE);
        errors_ignore();
        (void)CHECK_STATUS(report.status, KN_E_ESCAPE);
        (void)CHECK_GE(report.escapes, 1);
        (void)CHECK(report.first.slot == &holder->first);
        (void)CHECK(report.first.target == inside);
        (void)CHECK(holder->first == inside);
        (void)CHECK_EQ(destroyed_total(), 0);
        (void)CHECK_EQ(fingerprint(), print);
        (void)CHECK(kn_arena_innermost(ground_heap()) == (inner != NULL ? inner : scope));
        (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
        if (inner != NULL) {
            (void)leave(inner);
        }
    }
    GC_assign(&holder->first, NULL);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 0);
    (void)CHECK_EQ(destroyed_total(), 2);
    GC_unref(holder);
}

static jmp_buf trapped;
static struct {
    size_t count;
    KnStatus status;
} trap;

static void trap_hook(KnStatus status, const void *at, const char *what) {
    (void)at;
    (void)what;
    trap.count++;
    trap.status = status;
    longjmp(trapped, 1);
}

/* The error hook is told, in the middle of leave; a program that goes on from there can leave again. */
ARENA_TEST(policy_trap_tells_the_hook) {
    static KnArena *scope;
    static Pair *holder;
    static uint64_t before;
    before = fingerprint();
    scope = enter_as(telling(KN_ESCAPE_TRAP, 0));
    REQUIRE(scope != NULL && kn_arena_alloc(scope, 3000) != NULL);
    /* As its target it may lie where the heap is no longer as it was. */
    holder = new_pair(1, NULL, NULL);
    REQUIRE(holder != NULL);
    GC_assign(&holder->first, pair_in(scope, 10, NULL, NULL));
    memset(&trap, 0, sizeof trap);
    if (setjmp(trapped) == 0) {
        kn_on_error(trap_hook);
        (void)kn_arena_leave(scope, NULL);
        (void)CHECK(!"leave came back from a trap");
    }
    kn_on_error(NULL);
    (void)CHECK_EQ(trap.count, 1);
    (void)CHECK_STATUS(trap.status, KN_E_ESCAPE);
    GC_assign(&holder->first, NULL);
    (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), NULL), KN_OK);
    (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    GC_unref(holder);
    GC_runOrc();
    if (gc().total == 0) {
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* ---- Raw stores ---- */

static void *table[6];
static KnRootRange range;

/* A store that bypassed GC_assign is found in always-active cells and blocks, and in memory that was named. */
ARENA_TEST(raw_stores_are_found_at_leave) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, KN_ARENA_CHECK_LEAVE));
    Pair *keeper = new_keeper(1), *inside;
    void **block = kn_resident_alloc(ground_heap(), 8 * sizeof(void *));
    KnLeaveReport report;
    const KnEscape *escape;
    size_t i;
    uint8_t *raw;
    REQUIRE(scope != NULL && keeper != NULL && block != NULL);
    let_knoll_write(table, sizeof table);
    let_knoll_write(&range, sizeof range);
    memset(&range, 0, sizeof range);
    memset(table, 0, sizeof table);
    for (i = 0; i < 8; i++) {
        block[i] = NULL;
    }
    range.start = table;
    range.bytes = sizeof table;
    range.name = "table";
    (void)CHECK_STATUS(kn_roots_add(ground_heap(), &range), KN_OK);
    inside = pair_in(scope, 10, NULL, NULL);
    raw = kn_arena_alloc(scope, 64);
    REQUIRE(inside != NULL && raw != NULL);
    keeper->second = inside;
    block[3] = inside;
    table[4] = inside;
    table[1] = raw;
    (void)CHECK_EQ(stats_of(scope).escapes, 0);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, 4);
    (void)CHECK_EQ(report.counted, 0);
    (void)CHECK_EQ(report.nulled, 3);
    (void)CHECK(keeper->second == NULL && table[4] == NULL && table[1] == NULL);
    escape = told_of(&keeper->second);
    REQUIRE(escape != NULL);
    (void)CHECK(escape->raw);
    (void)CHECK(escape->holder == keeper && same_text(escape->holder_type, "Keeper"));
    (void)CHECK(same_text(escape->field, "second"));
    escape = told_of(&table[4]);
    REQUIRE(escape != NULL);
    (void)CHECK(escape->raw && escape->holder == table);
    (void)CHECK(same_text(escape->holder_type, "table"));
    (void)CHECK_EQ(escape->offset, 4 * sizeof(void *));
    (void)CHECK(same_text(escape->target_type, "Pair"));
    escape = told_of(&table[1]);
    REQUIRE(escape != NULL);
    (void)CHECK(escape->target == raw && same_text(escape->target_type, "raw"));
    (void)CHECK_EQ(escape->target_size, 0);
    escape = told_of(&block[3]);
    REQUIRE(escape != NULL);
    (void)CHECK(escape->raw && escape->target == inside);
    /* The word of a block may be a number: it is told and stays. */
    (void)CHECK_EQ(escape->action, KN_ESCAPE_TELL);
    (void)CHECK(block[3] == inside);
    (void)CHECK_STATUS(kn_roots_remove(ground_heap(), &range), KN_OK);
    kn_resident_free(ground_heap(), block);
    GC_unref(keeper);
}

/* Without the flag nobody looks; nor after the range was taken back. */
ARENA_TEST(raw_stores_are_looked_for_only_if_asked) {
    size_t round;
    let_knoll_write(table, sizeof table);
    let_knoll_write(&range, sizeof range);
    memset(&range, 0, sizeof range);
    range.start = table;
    range.bytes = sizeof table;
    range.name = "table";
    for (round = 0; round < 2; round++) {
        KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, round == 0 ? 0 : KN_ARENA_CHECK_LEAVE));
        void *inside;
        REQUIRE(scope != NULL);
        inside = kn_arena_alloc(scope, 40);
        REQUIRE(inside != NULL);
        if (round == 0) {
            (void)CHECK_STATUS(kn_roots_add(ground_heap(), &range), KN_OK);
        }
        table[0] = inside;
        (void)CHECK_EQ(leave(scope).escapes, 0);
        (void)CHECK_EQ(told.count, 0);
        (void)CHECK(table[0] == inside);
        table[0] = NULL;
        if (round == 0) {
            (void)CHECK_STATUS(kn_roots_remove(ground_heap(), &range), KN_OK);
        }
    }
}

/* An assignment that escapes is told when it is made. */
ARENA_TEST(stores_are_checked_at_once) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, KN_ARENA_CHECK_STORES));
    Pair *holder = new_pair(1, NULL, NULL), *inside, *other;
    REQUIRE(scope != NULL && holder != NULL);
    inside = pair_in(scope, 10, NULL, NULL);
    other = pair_in(scope, 11, NULL, NULL);
    REQUIRE(inside != NULL && other != NULL);
    GC_assign(&inside->first, other);
    GC_assign(&inside->second, holder);
    EXPECT_ERROR(KN_E_ESCAPE, GC_assign(&holder->first, inside));
    EXPECT_ERROR(KN_E_ESCAPE, GC_assign(&holder->second, inside));
    GC_assign(&holder->first, NULL);
    GC_assign(&holder->second, NULL);
    (void)CHECK_EQ(leave(scope).escapes, 0);
    GC_unref(holder);
}

/* ---- Scopes in scopes ---- */

/* From the outer scope into the inner one is an escape; from the inner one out is not. */
ARENA_TEST(from_outer_to_inner_is_an_escape) {
    KnArena *outer = enter("outer"), *inner;
    Pair *in_outer, *in_inner, *also_outer;
    List *list;
    KnLeaveReport report;
    REQUIRE(outer != NULL);
    in_outer = pair_in(outer, 1, NULL, NULL);
    also_outer = pair_in(outer, 2, NULL, NULL);
    list = list_in(outer, 3, 5);
    inner = enter_as(telling(KN_ESCAPE_NULL, 0));
    REQUIRE(inner != NULL && in_outer != NULL && also_outer != NULL && list != NULL);
    in_inner = pair_in(inner, 10, NULL, NULL);
    REQUIRE(in_inner != NULL);
    GC_assign(&in_inner->first, in_outer);
    GC_assign(&in_inner->second, also_outer);
    GC_assign(&in_outer->first, also_outer);
    (void)CHECK_EQ(stats_of(outer).escapes, 0);
    (void)CHECK_EQ(stats_of(inner).escapes, 0);
    GC_assign(&in_outer->second, in_inner);
    GC_assign(&list->items[4], in_inner);
    (void)CHECK_EQ(stats_of(inner).escapes, 2);
    (void)CHECK_EQ(stats_of(outer).escapes, 0);
    report = leave(inner);
    (void)CHECK_EQ(report.escapes, 2);
    (void)CHECK_EQ(report.nulled, 2);
    (void)CHECK(in_outer->second == NULL && list->items[4] == NULL);
    (void)CHECK(in_outer->first == also_outer);
    REQUIRE(told_of(&in_outer->second) != NULL);
    (void)CHECK(told_of(&in_outer->second)->holder == in_outer);
    (void)CHECK(same_text(told_of(&in_outer->second)->holder_type, "Pair"));
    (void)CHECK_EQ(leave(outer).escapes, 0);
}

/* A free-standing arena: at reset and at its end. */
ARENA_TEST(free_standing_arenas_tell_as_well) {
    KnArenaConfig config = telling(KN_ESCAPE_NULL, 0);
    KnArena *arena = kn_arena_create(ground_heap(), &config);
    Pair *holder = new_pair(1, NULL, NULL);
    KnArenaMark mark;
    REQUIRE(arena != NULL && holder != NULL);
    GC_assign(&holder->first, pair_in(arena, 10, NULL, NULL));
    mark = kn_arena_mark(arena);
    GC_assign(&holder->second, pair_in(arena, 11, NULL, NULL));
    (void)CHECK_EQ(stats_of(arena).escapes, 2);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_EQ(told.count, 1);
    (void)CHECK(holder->first != NULL && holder->second == NULL);
    (void)CHECK_EQ(stats_of(arena).escapes, 1);
    kn_arena_reset(arena);
    (void)CHECK_EQ(told.count, 2);
    (void)CHECK(holder->first == NULL);
    (void)CHECK_EQ(stats_of(arena).escapes, 0);
    GC_assign(&holder->first, pair_in(arena, 12, NULL, NULL));
    kn_arena_destroy(arena);
    (void)CHECK_EQ(told.count, 3);
    (void)CHECK(holder->first == NULL);
    GC_unref(holder);
}

/* ---- Random stores against a shadow ---- */

ARENA_TEST(random_stores) {
    KnArena *scope = enter_as(telling(KN_ESCAPE_NULL, 0));
    Pair *outsiders[OUTSIDERS], *insiders[INSIDERS];
    KnLeaveReport report;
    size_t i, turn, escapes = 0;
    REQUIRE(scope != NULL);
    for (i = 0; i < OUTSIDERS; i++) {
        outsiders[i] = new_pair((uint32_t)i, NULL, NULL);
        insiders[i] = pair_in(scope, 100 + (uint32_t)i, NULL, NULL);
        REQUIRE(outsiders[i] != NULL && insiders[i] != NULL);
    }
    for (turn = 0; turn < 1000; turn++) {
        Pair *holder = random_below(3) == 0 ? insiders[random_below(INSIDERS)] : outsiders[random_below(OUTSIDERS)];
        Pair *target = NULL;
        void **slot = random_below(2) == 0 ? &holder->first : &holder->second;
        switch (random_below(3)) {
        case 0:
            target = insiders[random_below(INSIDERS)];
            break;
        case 1:
            target = outsiders[random_below(OUTSIDERS)];
            break;
        default:
            break;
        }
        if (!kn_arena_contains(scope, holder)) {
            escapes -= kn_arena_contains(scope, *slot);
            escapes += kn_arena_contains(scope, target);
        }
        GC_assign(slot, target);
        (void)CHECK_EQ(stats_of(scope).escapes, escapes);
    }
    (void)CHECK_GE(escapes, 5);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    report = leave(scope);
    (void)CHECK_EQ(report.escapes, escapes);
    (void)CHECK_EQ(report.nulled, escapes);
    (void)CHECK_EQ(told.count, escapes);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    for (i = 0; i < OUTSIDERS; i++) {
        (void)CHECK(outsiders[i]->first == NULL || ((Pair *)outsiders[i]->first)->id < OUTSIDERS);
        GC_unref(outsiders[i]);
    }
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

SUITE("arena_escapes", EACH_LAYOUT(assignments_from_outside_are_counted), EACH_LAYOUT(the_report_names_everything),
      EACH_LAYOUT(every_kind_of_slot_is_found), EACH_LAYOUT(policy_promote_copies),
      EACH_LAYOUT(policy_promote_nulls_what_it_can_not_copy), EACH_LAYOUT(policy_refuse_changes_nothing),
      EACH_LAYOUT(policy_trap_tells_the_hook), EACH_LAYOUT(raw_stores_are_found_at_leave),
      EACH_LAYOUT(raw_stores_are_looked_for_only_if_asked), EACH_LAYOUT(stores_are_checked_at_once),
      EACH_LAYOUT(from_outer_to_inner_is_an_escape), EACH_LAYOUT(free_standing_arenas_tell_as_well),
      EACH_LAYOUT(random_stores))
