/*
 * Faults between the programs of scopes and arenas and the library: the proof that they can fail.
 *
 * As in counted.c the linker is told to --wrap each function below: a program that calls kn_arena_leave comes to
 * __wrap_kn_arena_leave here, and the library's own is __real_kn_arena_leave. Without a fault each call is passed on as
 * it is. The faults are such as a wrong library would show: memory that is not given back, an escape that is not
 * counted, a budget that is not kept.
 */
#include "knoll.h"

#define FAULTS "arena_faults.h"
#include "choose.h"

/* The declaration of the library's function and of ours. */
#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

static KnHeap *last_heap; /* of the last arena that was made */
static KnErrorFn hook;
static KnSoftFn soft;
static KnEscapeFn on_escape;

WRAPPED(void, kn_on_error, KnErrorFn wanted) {
    hook = wanted;
    __real_kn_on_error(wanted);
}

/* A block that nobody frees. */
static void leak(void) {
    void *lost = last_heap == NULL ? NULL : kn_heap_malloc(last_heap, 24);
    (void)lost;
}

/* ---- Configurations ---- */

static void soft_twice(KnArena *arena, size_t held, void *context) {
    soft(arena, held, context);
    soft(arena, held, context);
}

static void spoil_escape(KnEscape *escape) {
    escape->field = has(FAULT_field_lost) ? NULL : escape->field;
    escape->site = has(FAULT_site_lost) ? NULL : escape->site;
    escape->holder = has(FAULT_holder_lost) ? NULL : escape->holder;
    escape->offset = has(FAULT_offset_lost) ? 0 : escape->offset;
}

static void tell_spoiled(const KnEscape *escape, void *context) {
    KnEscape told = *escape;
    spoil_escape(&told);
    on_escape(&told, context);
    if (has(FAULT_escapes_told_twice)) {
        on_escape(&told, context);
    }
}

static const KnArenaConfig *spoiled(KnHeap *heap, const KnArenaConfig *given, KnArenaConfig *config) {
    last_heap = heap;
    if (given == NULL) {
        return NULL;
    }
    *config = *given;
    if (has(FAULT_presize_ignored) || (has(FAULT_presize_always_fits) && config->presize > 16384)) {
        config->presize = 0;
    } else if (has(FAULT_fixed_grows)) {
        config->flags &= ~(uint32_t)KN_ARENA_FIXED;
    } else if (has(FAULT_wipe_ignored)) {
        config->flags &= ~(uint32_t)(KN_ARENA_ZERO | KN_ARENA_POISON);
    } else if (has(FAULT_check_leave_ignored)) {
        config->flags &= ~(uint32_t)KN_ARENA_CHECK_LEAVE;
    } else if (has(FAULT_check_leave_always)) {
        config->flags |= KN_ARENA_CHECK_LEAVE;
    } else if (has(FAULT_check_stores_ignored)) {
        config->flags &= ~(uint32_t)KN_ARENA_CHECK_STORES;
    } else if (has(FAULT_flags_taken)) {
        config->flags &= 63;
    } else if (has(FAULT_step_ignored)) {
        config->step = 0;
        config->presize = config->presize == 0 ? 64 : config->presize;
    } else if (has(FAULT_budget_ignored)) {
        config->budget = 0;
    } else if (has(FAULT_budget_halved)) {
        config->budget /= 2;
    } else if (has(FAULT_soft_ignored)) {
        config->on_soft = NULL;
    } else if (has(FAULT_soft_repeats) && config->on_soft != NULL) {
        soft = config->on_soft;
        config->on_soft = soft_twice;
    } else if (has(FAULT_escapes_untold)) {
        config->on_escape = NULL;
    } else if (has(FAULT_policy_null)) {
        config->policy = KN_ESCAPE_NULL;
    } else if (has(FAULT_policy_refuse)) {
        config->policy = KN_ESCAPE_REFUSE;
    }
    if (config->on_escape != NULL) {
        on_escape = config->on_escape;
        config->on_escape = tell_spoiled;
    }
    return config;
}

/* ---- Scopes ---- */

WRAPPED(KnStatus, kn_arena_enter, KnHeap *heap, const KnArenaConfig *given, KnArena **out) {
    KnArenaConfig config;
    KnStatus status;
    if (given != NULL && given->presize != 0 && has(FAULT_presize_never_fits)) {
        return KN_E_NO_MEMORY;
    }
    status = __real_kn_arena_enter(heap, spoiled(heap, given, &config), out);
    if (status == KN_OK && has(FAULT_top_is_bottom)) {
        leak();
    }
    return status;
}

static void reverse_cleanups(void);

WRAPPED(KnStatus, kn_arena_leave, KnArena *scope, KnLeaveReport *out) {
    KnLeaveReport report;
    KnStatus status;
    memset(&report, 0, sizeof report);
    if (has(FAULT_leave_does_nothing) || (scope == NULL && has(FAULT_null_taken))) {
        return KN_OK;
    }
    reverse_cleanups();
    if (has(FAULT_order_silent)) {
        __real_kn_on_error(NULL);
    }
    status = __real_kn_arena_leave(scope, &report);
    __real_kn_on_error(hook);
    if (has(FAULT_leave_leaks)) {
        leak();
    } else if (has(FAULT_order_ignored) && status == KN_E_ORDER) {
        status = report.status = KN_OK;
    } else if (has(FAULT_other_lost)) {
        report.other = NULL;
    } else if (has(FAULT_suggestion_small)) {
        report.suggested /= 2;
    } else if (has(FAULT_peak_forgets)) {
        report.peak = report.used;
    } else if (has(FAULT_released_untold)) {
        report.released = 0;
    } else if (has(FAULT_name_lost)) {
        report.name = "?";
    } else if (has(FAULT_slot_dangles) && report.nulled > 0) {
        *(const void **)(uintptr_t)report.first.slot = report.first.target;
    }
    spoil_escape(&report.first);
    if (out != NULL) {
        *out = report;
    }
    return status;
}

WRAPPED(KnStatus, kn_arena_unwind, KnHeap *heap, KnArena *upto) {
    if (has(FAULT_unwind_does_nothing)) {
        return KN_OK;
    }
    return __real_kn_arena_unwind(heap, has(FAULT_unwind_leaves_all) ? NULL : upto);
}

WRAPPED(KnArena *, kn_arena_innermost, KnHeap *heap) {
    return has(FAULT_innermost_unknown) ? NULL : __real_kn_arena_innermost(heap);
}

WRAPPED(KnArena *, kn_arena_parent, const KnArena *arena) {
    return has(FAULT_parent_unknown) ? NULL : __real_kn_arena_parent(arena);
}

WRAPPED(const char *, kn_arena_name, const KnArena *arena) {
    return has(FAULT_name_lost) ? "?" : __real_kn_arena_name(arena);
}

WRAPPED(KnStatus, kn_arena_stats, const KnArena *arena, KnArenaStats *out) {
    KnStatus status = __real_kn_arena_stats(arena, out);
    if (status != KN_OK) {
        return arena == NULL && has(FAULT_null_taken) ? KN_OK : status;
    }
    out->depth -= has(FAULT_depth_wrong) ? 1 : 0;
    out->peak = has(FAULT_peak_forgets) ? out->used : out->peak;
    out->suggested = has(FAULT_suggestion_small) ? out->suggested / 2 : out->suggested;
    out->refused = has(FAULT_refused_untold) ? 0 : out->refused;
    out->refused_by = has(FAULT_refused_by_itself) && out->refused_by != NULL ? out->name : out->refused_by;
    out->escapes += has(FAULT_stores_overcounted) && out->escapes != 0;
    return status;
}

/* ---- Free-standing arenas ---- */

WRAPPED(KnArena *, kn_arena_create, KnHeap *heap, const KnArenaConfig *given) {
    KnArenaConfig config;
    return __real_kn_arena_create(heap, spoiled(heap, given, &config));
}

WRAPPED(void, kn_arena_destroy, KnArena *arena) {
    reverse_cleanups();
    if (!has(FAULT_destroy_leaks)) {
        __real_kn_arena_destroy(arena);
    }
}

KnStatus __real_kn_arena_reset_to(KnArena *arena, uint32_t mode, size_t limit);

WRAPPED(void, kn_arena_reset, KnArena *arena) {
    if (has(FAULT_reset_does_nothing)) {
        return;
    }
    if (has(FAULT_reset_frees_all)) {
        (void)__real_kn_arena_reset_to(arena, KN_RESET_FREE, 0);
        return;
    }
    __real_kn_arena_reset(arena);
}

WRAPPED(KnStatus, kn_arena_reset_to, KnArena *arena, uint32_t mode, size_t limit) {
    if (has(FAULT_reset_does_nothing)) {
        return KN_OK;
    }
    if (mode <= KN_RESET_LIMIT && has(FAULT_reset_keeps_all)) {
        mode = KN_RESET_KEEP;
    } else if (mode <= KN_RESET_LIMIT && has(FAULT_reset_frees_all)) {
        mode = KN_RESET_FREE;
    }
    return __real_kn_arena_reset_to(arena, mode, limit);
}

WRAPPED(KnStatus, kn_arena_rewind, KnArena *arena, KnArenaMark mark) {
    KnStatus status;
    if (has(FAULT_rewind_does_nothing)) {
        return KN_OK;
    }
    status = __real_kn_arena_rewind(arena, mark);
    if (has(FAULT_rewind_leaks)) {
        leak();
    }
    return has(FAULT_marks_all_taken) ? KN_OK : status;
}

/* ---- Memory ---- */

WRAPPED(void *, kn_arena_alloc, KnArena *arena, size_t bytes) {
    static uint64_t spare[8];
    static size_t turn;
    void *at;
    if (has(FAULT_zero_is_null) && bytes == 0) {
        return NULL;
    }
    if (has(FAULT_alloc_fails) && ++turn % 50 == 0) {
        return NULL;
    }
    if (has(FAULT_alloc_wraps) && bytes > SIZE_MAX / 2) {
        bytes &= 0xFF;
    }
    if (has(FAULT_alloc_overlaps) && bytes > 8) {
        bytes -= 8;
    }
    at = __real_kn_arena_alloc(arena, bytes);
    return at == NULL && bytes <= 64 && has(FAULT_never_full) ? spare : at;
}

WRAPPED(void *, kn_arena_calloc, KnArena *arena, size_t count, size_t bytes) {
    void *at;
    if (has(FAULT_calloc_wraps)) {
        bytes *= count;
        count = 1;
    }
    at = __real_kn_arena_calloc(arena, count, bytes);
    if (at != NULL && count * bytes > 0 && has(FAULT_calloc_dirty)) {
        ((uint8_t *)at)[count * bytes - 1] = 1;
    }
    return at;
}

WRAPPED(void *, kn_arena_aligned_alloc, KnArena *arena, size_t align, size_t bytes) {
    bool is_power = align != 0 && (align & (align - 1)) == 0;
    if (has(FAULT_align_ignored) || (has(FAULT_bad_align_taken) && !is_power)) {
        align = 8;
    }
    return __real_kn_arena_aligned_alloc(arena, align, bytes);
}

WRAPPED(void *, kn_arena_resize, KnArena *arena, void *at, size_t old, size_t bytes) {
    if (at != NULL && bytes < SIZE_MAX / 8 && (has(FAULT_resize_moves) || has(FAULT_resize_loses))) {
        void *moved = __real_kn_arena_alloc(arena, bytes);
        if (moved != NULL) {
            memset(moved, 0, bytes);
            if (has(FAULT_resize_moves)) {
                memcpy(moved, at, old < bytes ? old : bytes);
            }
        }
        return moved;
    }
    if (at != NULL && has(FAULT_resize_stays)) {
        return at;
    }
    return __real_kn_arena_resize(arena, at, old, bytes);
}

WRAPPED(char *, kn_arena_strdup, KnArena *arena, const char *text) {
    return has(FAULT_strdup_shares) ? (char *)(uintptr_t)text : __real_kn_arena_strdup(arena, text);
}

WRAPPED(char *, kn_arena_strndup, KnArena *arena, const char *text, size_t most) {
    return __real_kn_arena_strndup(arena, text, most + has(FAULT_strndup_long));
}

WRAPPED(void *, kn_arena_memdup, KnArena *arena, const void *from, size_t bytes) {
    uint8_t *copy = __real_kn_arena_memdup(arena, from, bytes);
    if (copy != NULL && bytes > 0 && has(FAULT_memdup_short)) {
        copy[bytes - 1] ^= 0xFF;
    }
    return copy;
}

WRAPPED(bool, kn_arena_contains, const KnArena *arena, const void *at) {
    return has(FAULT_contains_everything) || (__real_kn_arena_contains(arena, at) && !has(FAULT_contains_nothing));
}

WRAPPED(uint64_t, kn_heap_fingerprint, KnHeap *heap) {
    return has(FAULT_fingerprint_constant) ? 1 : __real_kn_heap_fingerprint(heap);
}

WRAPPED(uint64_t, kn_block_fingerprint, KnHeap *heap, const void *block) {
    return has(FAULT_term_zero) ? 0 : __real_kn_block_fingerprint(heap, block);
}

/* ---- Cleanups ---- */

enum { MOST_NODES = 64 };

static struct {
    KnArena *arena;
    KnCleanup *nodes[MOST_NODES];
    size_t count;
} added;

static struct {
    void (*run)(void *context);
    void *context;
} twice[MOST_NODES];
static size_t twice_count;

static void run_twice(void *context) {
    size_t i = (size_t)((uint8_t *)context - (uint8_t *)twice) / sizeof twice[0];
    twice[i].run(twice[i].context);
    twice[i].run(twice[i].context);
}

WRAPPED(KnStatus, kn_arena_on_leave, KnArena *arena, KnCleanup *node) {
    KnStatus status;
    if (node != NULL && node->run != NULL) {
        if (has(FAULT_cleanup_never)) {
            return KN_OK;
        }
        if (has(FAULT_cleanup_early)) {
            node->run(node->context);
            return KN_OK;
        }
        if (has(FAULT_cleanup_twice)) {
            size_t i = twice_count++ % MOST_NODES;
            twice[i].run = node->run;
            twice[i].context = node->context;
            node->run = run_twice;
            node->context = &twice[i];
        }
    }
    status = __real_kn_arena_on_leave(arena, node);
    if (status == KN_OK && has(FAULT_cleanups_in_order)) {
        if (added.arena != arena) {
            added.arena = arena;
            added.count = 0;
        }
        if (added.count < MOST_NODES) {
            added.nodes[added.count++] = node;
        }
    }
    return status == KN_E_ORDER && arena == NULL && has(FAULT_null_taken) ? KN_OK : status;
}

/* The last node does what the first was to do, and so on. */
static void reverse_cleanups(void) {
    size_t i;
    for (i = 0; i < added.count / 2; i++) {
        KnCleanup *low = added.nodes[i], *high = added.nodes[added.count - 1 - i], kept = *low;
        low->run = high->run;
        low->context = high->context;
        high->run = kept.run;
        high->context = kept.context;
    }
    added.count = 0;
    added.arena = NULL;
}

/* ---- Cells ---- */


static void *born(KnArena *arena, void *cell) {
    if (cell == NULL) {
        return arena != NULL && has(FAULT_any_type_taken) ? __real_kn_arena_calloc(arena, 1, 64) : NULL;
    }
    if (has(FAULT_cell_dirty)) {
        ((uint8_t *)cell)[GC_sizeOf(cell) - 1] = 1;
    }
    return cell;
}

WRAPPED(void *, GC_newIn, KnArena *arena, KnTypeId type) {
    return born(arena, has(FAULT_cell_outside) ? GC_new(type) : __real_GC_newIn(arena, type));
}

WRAPPED(void *, GC_newSizedIn, KnArena *arena, KnTypeId type, size_t bytes) {
    return born(arena, has(FAULT_cell_outside) ? GC_newSized(type, bytes)
                                               : __real_GC_newSizedIn(arena, type, bytes));
}

WRAPPED(void, GC_assign, void **slot, void *object) {
    if (has(FAULT_stores_uncounted)) {
        void *before = *slot;
        *slot = GC_ref(object);
        GC_unref(before);
        return;
    }
    __real_GC_assign(slot, object);
    if (has(FAULT_inside_counts_twice) && object != NULL && last_heap != NULL &&
        kn_arena_contains(__real_kn_arena_innermost(last_heap), slot)) {
        (void)GC_ref(object);
    }
}

WRAPPED(KnTypeId, GC_registerType, const KnType *given) {
    enum { MOST_TYPES = 32 };
    static struct {
        const KnType *given;
        KnType used;
    } types[MOST_TYPES];
    static size_t count;
    size_t i = 0;
    if (given == NULL || given->destroy == NULL || !has(FAULT_destroy_never)) {
        return __real_GC_registerType(given);
    }
    while (i < count && types[i].given != given) {
        i++;
    }
    if (i == count && count < MOST_TYPES) {
        types[count].given = given;
        types[count].used = *given;
        types[count].used.destroy = NULL;
        count++;
    }
    return __real_GC_registerType(i < count ? &types[i].used : given);
}

WRAPPED(KnStatus, kn_roots_add, KnHeap *heap, KnRootRange *range) {
    return has(FAULT_roots_ignored) && range != NULL ? KN_OK : __real_kn_roots_add(heap, range);
}

WRAPPED(KnStatus, kn_roots_remove, KnHeap *heap, KnRootRange *range) {
    return has(FAULT_roots_ignored) ? KN_OK : __real_kn_roots_remove(heap, range);
}

/* ---- What crosses the end ---- */

WRAPPED(KnStatus, kn_arena_promote, KnArena *arena, void *root, void **out) {
    KnStatus status;
    if (has(FAULT_promote_fails)) {
        return KN_E_NO_MEMORY;
    }
    if (has(FAULT_promote_shares) && out != NULL) {
        *out = root;
        return KN_OK;
    }
    status = __real_kn_arena_promote(arena, root, out);
    if (status == KN_OK && has(FAULT_promote_counts_two)) {
        (void)GC_ref(*out);
    } else if (status == KN_OK && has(FAULT_promote_loses)) {
        *(void **)*out = NULL;
    } else if (status != KN_OK && has(FAULT_promote_leaks)) {
        leak();
    } else if (status != KN_OK && has(FAULT_promote_takes_all)) {
        status = KN_OK;
    }
    return status;
}

WRAPPED(void *, GC_newTentative, KnArena *arena, KnTypeId type, KnTentative *node) {
    if (has(FAULT_tentative_inside)) {
        node->cell = __real_GC_newIn(arena, type);
        return node->cell;
    }
    return __real_GC_newTentative(arena, type, node);
}

WRAPPED(void *, kn_arena_keep, KnTentative *node) {
    void *cell;
    if (has(FAULT_keep_forgets)) {
        return node->cell;
    }
    cell = __real_kn_arena_keep(node);
    return has(FAULT_keep_counts) ? GC_ref(cell) : cell;
}

WRAPPED(KnStatus, kn_weak_set, KnWeakSlot *slot, KnArena *arena, void *target) {
    KnStatus status;
    if (slot != NULL && has(FAULT_weak_dangles)) {
        slot->target = target;
        return KN_OK;
    }
    status = __real_kn_weak_set(slot, arena, target);
    return has(FAULT_weak_takes_all) ? KN_OK : status;
}
