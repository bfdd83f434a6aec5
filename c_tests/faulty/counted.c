/*
 * Faults between the programs of counted objects and the library: the proof that they can fail.
 *
 * The linker is told to --wrap each function below (the list stands in WRAPPED, see xtask/src/c_tests/faults.rs): a
 * program that calls GC_unref comes to __wrap_GC_unref here, and the library's own is __real_GC_unref. Without a fault
 * each call is passed on as it is. The faults are such as a wrong library would show: a count that is not restored, a
 * root that is lost, a budget that is not kept.
 */
#include "knoll.h"

#define FAULTS "counted_faults.h"
#include "choose.h"

/* The declaration of the library's function and of ours. */
#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

static void *last_root;  /* the last cell that lost a reference and lives */
static void *last_block; /* of manual memory */
static bool disabled;
static KnGcConfig configured;

enum { ONE_REFERENCE = 32, HEADER_BYTES = 8 };

static uint32_t *counter(void *object) {
    return (uint32_t *)(void *)((uint8_t *)object - HEADER_BYTES);
}

static void use_much_stack(void) {
    volatile uint8_t room[8192];
    size_t i;
    for (i = 0; i < sizeof room; i += 64) {
        room[i] = 1;
    }
    room[0]++;
}

/* ---- Reporting ---- */

static KnErrorFn hook;

WRAPPED(void, kn_on_error, KnErrorFn wanted) {
    hook = wanted;
    __real_kn_on_error(has(FAULT_dead_is_silent) ? NULL : wanted);
}

/* ---- Types ---- */

enum { MOST_TYPES = 64 };
static struct {
    const KnType *given;
    KnType used;
} types[MOST_TYPES];
static size_t type_count;

static void call_destroy(size_t index, void *object) {
    const KnType *type = types[index].given;
    uint32_t i;
    if (has(FAULT_fields_gone_early)) {
        for (i = 0; i < type->ref_count; i++) {
            void **slot = (void **)(void *)((uint8_t *)object + type->ref_offsets[i]);
            void *held = *slot;
            *slot = NULL;
            GC_unref(held);
        }
    }
    type->destroy(object);
    if (has(FAULT_destroy_twice)) {
        type->destroy(object);
    }
}

/* A destroy callback does not know its type, so there is one for each. */
#define EIGHT(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#define ALL(X) EIGHT(X, 0) EIGHT(X, 1) EIGHT(X, 2) EIGHT(X, 3) EIGHT(X, 4) EIGHT(X, 5) EIGHT(X, 6) EIGHT(X, 7)
#define DESTROY(n)                                                                                                     \
    static void destroy_##n(void *object) {                                                                            \
        call_destroy(0##n, object);                                                                                    \
    }
ALL(DESTROY)
#define NAME(n) destroy_##n,
static void (*const destroys[MOST_TYPES])(void *) = {ALL(NAME)};

/* The descriptor with the fault in it; the same for the same, unless that is the fault. */
static const KnType *spoiled(const KnType *type) {
    size_t i = 0;
    while (i < type_count && (types[i].given != type || has(FAULT_register_copies))) {
        i++;
    }
    if (i == type_count) {
        if (type_count == MOST_TYPES) {
            return type;
        }
        type_count++;
    }
    types[i].given = type;
    types[i].used = *type;
    if (has(FAULT_children_stay)) {
        types[i].used.ref_count = 0;
        types[i].used.flags &= ~(uint32_t)KN_TYPE_ARRAY;
    } else if (has(FAULT_array_ignored)) {
        types[i].used.flags &= ~(uint32_t)KN_TYPE_ARRAY;
    } else if (has(FAULT_trace_ignored)) {
        types[i].used.trace = NULL;
    } else if (has(FAULT_acyclic_ignored)) {
        types[i].used.flags &= ~(uint32_t)KN_TYPE_ACYCLIC;
        types[i].used.ref_types = NULL;
        types[i].used.array_type = NULL;
    } else if (has(FAULT_all_acyclic)) {
        types[i].used.flags |= KN_TYPE_ACYCLIC;
    } else if (has(FAULT_shared_ignored)) {
        types[i].used.flags &= ~(uint32_t)KN_TYPE_SHARED;
    } else if (has(FAULT_destroy_never)) {
        types[i].used.destroy = NULL;
    } else if (type->destroy != NULL) {
        types[i].used.destroy = destroys[i];
    }
    return &types[i].used;
}

WRAPPED(KnTypeId, GC_registerType, const KnType *type) {
    static const KnType harmless = {"harmless", 16, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL};
    bool changes = has(FAULT_children_stay) || has(FAULT_array_ignored) || has(FAULT_trace_ignored) ||
                   has(FAULT_acyclic_ignored) || has(FAULT_all_acyclic) || has(FAULT_shared_ignored) ||
                   has(FAULT_destroy_never) || has(FAULT_destroy_twice) || has(FAULT_fields_gone_early) ||
                   has(FAULT_register_copies);
    if (has(FAULT_register_takes_bad)) {
        KnTypeId id;
        __real_kn_on_error(NULL);
        id = __real_GC_registerType(type);
        __real_kn_on_error(hook);
        return id != 0 ? id : __real_GC_registerType(&harmless);
    }
    return __real_GC_registerType(type != NULL && changes ? spoiled(type) : type);
}

/* ---- Cells ---- */

void __real_GC_unref(void *object);
void *__real_GC_ref(void *object);
void __real_GC_runOrc(void);
uint32_t __real_GC_refcount(const void *object);
size_t __real_GC_prepareOrc(void);

static void *born(void *object) {
    static size_t made;
    if (object == NULL) {
        return NULL;
    }
    if (has(FAULT_new_fails) && ++made % 60 == 0) {
        __real_GC_unref(object);
        return NULL;
    }
    if (has(FAULT_new_dirty)) {
        ((uint8_t *)object)[GC_sizeOf(object) - 1] = 1;
    } else if (has(FAULT_new_counts_two)) {
        (void)__real_GC_ref(object);
    } else if (has(FAULT_new_is_root)) {
        __real_GC_unref(__real_GC_ref(object));
    }
    return object;
}

static void before_birth(void) {
    if (has(FAULT_new_collects) && __real_GC_prepareOrc() > 0) {
        __real_GC_runOrc();
    } else if (has(FAULT_lazy_new_ignored) && configured.frees_per_unref != 0) {
        KnGcConfig greedy = configured;
        greedy.frees_per_new = 2 * (greedy.frees_per_new != 0 ? greedy.frees_per_new : 2);
        (void)GC_configure(&greedy);
    }
}

WRAPPED(void *, GC_new, KnTypeId type) {
    before_birth();
    return born(__real_GC_new(type));
}

WRAPPED(void *, GC_newSized, KnTypeId type, size_t bytes) {
    before_birth();
    if (has(FAULT_new_wraps) && bytes > SIZE_MAX / 2) {
        return born(__real_GC_newSized(type, bytes & 0xFF));
    }
    return born(__real_GC_newSized(type, has(FAULT_new_is_small) && bytes > 64 ? bytes - 32 : bytes));
}

WRAPPED(void *, GC_ref, void *object) {
    if (has(FAULT_ref_forgets) && object != NULL && __real_GC_refcount(object) == 3) {
        return object;
    }
    if (has(FAULT_ref_registers) && object != NULL) {
        (void)__real_GC_ref(object);
        (void)__real_GC_ref(object);
        __real_GC_unref(object);
        return object;
    }
    object = __real_GC_ref(object);
    return has(FAULT_ref_answers_null) ? NULL : object;
}

WRAPPED(void, GC_unref, void *object) {
    static size_t turn;
    uint32_t count = object == NULL ? 0 : __real_GC_refcount(object);
    if (object == NULL) {
        __real_GC_unref(object);
        return;
    }
    if (has(FAULT_deep_stack)) {
        use_much_stack();
    }
    if (has(FAULT_unref_keeps_the_last) && count == 1) {
        return;
    }
    if (count > 1 && count != KN_IMMORTAL && (has(FAULT_roots_lost) || (has(FAULT_root_lost) && turn++ % 3 == 0))) {
        *counter(object) -= ONE_REFERENCE;
        return;
    }
    if (has(FAULT_immortal_dies) && count == KN_IMMORTAL) {
        GC_freeObject(object);
        return;
    }
    if (has(FAULT_recursive) && count == 1) {
        /* The first field first, as compilers make destructors. */
        void **fields = object;
        size_t bytes = GC_sizeOf(object), i;
        for (i = 0; i < 2 && (i + 1) * sizeof(void *) <= bytes; i++) {
            void *child = fields[i];
            if (((uintptr_t)child & 7) == 0 && child > (void *)65536 && GC_typeOf(child) != 0) {
                fields[i] = NULL;
                GC_unref(child);
            }
        }
    }
    __real_GC_unref(object);
    if (count > 1) {
        last_root = object;
    }
}

WRAPPED(void, GC_assign, void **slot, void *object) {
    if (has(FAULT_assign_old_first)) {
        __real_GC_unref(*slot);
        *slot = __real_GC_ref(object);
    } else if (has(FAULT_assign_keeps_old)) {
        *slot = __real_GC_ref(object);
    } else {
        __real_GC_assign(slot, object);
    }
}

WRAPPED(void *, GC_move, void **slot) {
    void *kept = *slot;
    void *object = __real_GC_move(slot);
    if (has(FAULT_move_keeps_source)) {
        *slot = kept;
    }
    return has(FAULT_move_counts) ? __real_GC_ref(object) : object;
}

WRAPPED(uint32_t, GC_refcount, const void *object) {
    uint32_t count = __real_GC_refcount(object);
    return has(FAULT_count_from_zero) && count > 0 ? count - 1 : count;
}

WRAPPED(bool, GC_isUnique, const void *object) {
    return has(FAULT_unique_always) || __real_GC_isUnique(object);
}

WRAPPED(void *, GC_dropReuse, void *object) {
    if (has(FAULT_reuse_never)) {
        __real_GC_unref(object);
        return NULL;
    }
    return __real_GC_dropReuse(object);
}

WRAPPED(void *, GC_decRefIgnoreZeros, void *object) {
    return has(FAULT_decref_ignore_reports) ? GC_decRef(object) : __real_GC_decRefIgnoreZeros(object);
}

WRAPPED(void *, GC_decRef, void *object) {
    if (has(FAULT_decref_answers_null)) {
        (void)__real_GC_decRef(object);
        return NULL;
    }
    return has(FAULT_decref_is_silent) ? __real_GC_decRefIgnoreZeros(object) : __real_GC_decRef(object);
}

WRAPPED(void, GC_freeObject, void *object) {
    if (has(FAULT_free_releases)) {
        __real_GC_unref(object);
    } else if (!has(FAULT_free_leaks)) {
        __real_GC_freeObject(object);
    }
}

WRAPPED(size_t, GC_sizeOf, const void *object) {
    size_t bytes = __real_GC_sizeOf(object);
    return has(FAULT_size_short) && bytes >= 8 ? bytes - 8 : bytes;
}

WRAPPED(KnTypeId, GC_typeOf, const void *object) {
    return has(FAULT_type_unknown) ? 0 : __real_GC_typeOf(object);
}

/* ---- The collector ---- */

WRAPPED(void, GC_disableOrc, void) {
    if (!has(FAULT_disable_ignored)) {
        disabled = true;
        __real_GC_disableOrc();
    }
}

WRAPPED(void, GC_enableOrc, void) {
    if (!has(FAULT_enable_ignored)) {
        disabled = false;
        __real_GC_enableOrc();
    }
}

void __real_GC_partialCollect(size_t limit);

WRAPPED(void, GC_runOrc, void) {
    if (has(FAULT_deep_stack)) {
        use_much_stack();
    }
    if (has(FAULT_run_does_nothing)) {
        return;
    }
    if (has(FAULT_run_stops_early)) {
        __real_GC_partialCollect(0);
        return;
    }
    __real_GC_runOrc();
    if (disabled && has(FAULT_run_stays_disabled)) {
        __real_GC_disableOrc();
    }
    if (last_root != NULL && __real_GC_refcount(last_root) != 0) {
        if (has(FAULT_run_loses_count)) {
            (void)__real_GC_ref(last_root);
        } else if (has(FAULT_run_frees_live)) {
            __real_GC_unref(last_root);
        }
    }
    last_root = NULL;
    if (has(FAULT_run_scribbles) && last_block != NULL) {
        *(uint8_t *)last_block ^= 0x55;
    }
}

WRAPPED(void, GC_partialCollect, size_t limit) {
    if (has(FAULT_partial_takes_all) || (has(FAULT_partial_negative) && limit > SIZE_MAX / 2)) {
        limit = 0;
    }
    if (!has(FAULT_partial_does_nothing)) {
        __real_GC_partialCollect(limit);
    }
}

WRAPPED(size_t, GC_prepareOrc, void) {
    return has(FAULT_prepare_is_zero) ? 0 : __real_GC_prepareOrc() + has(FAULT_prepare_is_off);
}

WRAPPED(bool, GC_step, size_t budget) {
    if (has(FAULT_step_does_nothing)) {
        return true;
    }
    return __real_GC_step(has(FAULT_step_does_all) ? SIZE_MAX : budget) && !has(FAULT_step_never_done);
}

WRAPPED(KnStatus, GC_configure, const KnGcConfig *given) {
    KnGcConfig config;
    memset(&config, 0, sizeof config);
    if (given != NULL) {
        config = *given;
    }
    configured = config;
    if (has(FAULT_configure_ignored)) {
        return KN_OK;
    }
    if (has(FAULT_configure_takes_all)) {
        config.flags &= 31;
    } else if (has(FAULT_stay_disabled_ignored)) {
        config.flags &= ~(uint32_t)KN_GC_STAY_DISABLED;
    } else if (has(FAULT_fixed_adapts)) {
        config.flags &= ~(uint32_t)KN_GC_FIXED_THRESHOLD;
    } else if (has(FAULT_full_is_full)) {
        config.flags &= ~(uint32_t)KN_GC_COLLECT_WHEN_FULL;
    } else if (has(FAULT_torture_ignored)) {
        config.flags &= ~(uint32_t)KN_GC_TORTURE;
    } else if (has(FAULT_arc_collects)) {
        config.flags &= ~(uint32_t)KN_GC_ARC;
    } else if (has(FAULT_threshold_overflows) && config.threshold >= INT32_MAX) {
        config.threshold = 1;
    } else if (has(FAULT_never_by_itself)) {
        config.threshold = config.threshold_bound = INT32_MAX;
        config.bytes_floor = SIZE_MAX;
    } else if (has(FAULT_always_by_itself)) {
        config.threshold = 1;
        config.flags |= KN_GC_FIXED_THRESHOLD;
    } else if (has(FAULT_bytes_ignored)) {
        config.bytes_floor = SIZE_MAX;
    } else if (has(FAULT_lazy_ignored)) {
        config.frees_per_unref = 0;
    } else if (has(FAULT_slice_ignored)) {
        config.slice *= 5;
    }
    return __real_GC_configure(&config);
}

/* ---- Numbers and texts ---- */

WRAPPED(KnStatus, GC_stats, KnGcStats *out) {
    KnStatus status;
    if (out == NULL && has(FAULT_null_taken)) {
        return KN_OK;
    }
    status = __real_GC_stats(out);
    if (status == KN_OK) {
        out->cells += has(FAULT_cells_miscounted);
        if (has(FAULT_occupied_miscounted) && out->occupied >= 8) {
            out->occupied -= 8;
            out->free += 8;
        }
        out->total += has(FAULT_total_miscounted) ? 8 : 0;
        out->buffers = has(FAULT_buffers_untold) ? 0 : out->buffers;
        out->threshold = has(FAULT_threshold_untold) ? 128 : out->threshold;
        out->pending = has(FAULT_lazy_forgets) ? 0 : out->pending;
    }
    return status;
}

WRAPPED(size_t, GC_getOccupiedMem, void) {
    size_t bytes = __real_GC_getOccupiedMem();
    return has(FAULT_occupied_miscounted) && bytes >= 8 ? bytes - 8 : bytes;
}

WRAPPED(size_t, GC_getTotalMem, void) {
    return __real_GC_getTotalMem() + (has(FAULT_total_miscounted) ? 8 : 0);
}

WRAPPED(size_t, GC_getStatistics, char *text, size_t length) {
    size_t whole = __real_GC_getStatistics(text, length);
    size_t i;
    if (has(FAULT_statistics_differ)) {
        for (i = 0; i < whole && i < length; i++) {
            text[i] = text[i] >= '1' && text[i] <= '8' ? '9' : text[i];
        }
    }
    return has(FAULT_statistics_cut) && whole > length ? length : whole;
}

static struct {
    char bytes[8192];
    size_t length;
} caught;

static size_t catch(void *context, const char *text, size_t length) {
    (void)context;
    if (length > sizeof caught.bytes - caught.length) {
        length = sizeof caught.bytes - caught.length;
    }
    memcpy(caught.bytes + caught.length, text, length);
    caught.length += length;
    return length;
}

/* Writes the lines that were caught: from the last to the first, or without the first. */
static void write_lines(KnWriteFn write, void *context, bool upside_down) {
    size_t end = caught.length;
    if (!upside_down) {
        const char *first = memchr(caught.bytes, '\n', caught.length);
        if (first != NULL) {
            (void)write(context, first + 1, (size_t)(caught.bytes + caught.length - first - 1));
        }
        return;
    }
    while (end > 0) {
        size_t start = end - 1;
        while (start > 0 && caught.bytes[start - 1] != '\n') {
            start--;
        }
        (void)write(context, caught.bytes + start, end - start);
        end = start;
    }
}

WRAPPED(KnStatus, kn_dump_instances, KnWriteFn write, void *context) {
    KnStatus status;
    if (write == NULL && has(FAULT_null_taken)) {
        return KN_OK;
    }
    if (write == NULL || !(has(FAULT_dump_upside_down) || has(FAULT_dump_misses_one))) {
        return __real_kn_dump_instances(write, context);
    }
    caught.length = 0;
    status = __real_kn_dump_instances(catch, NULL);
    write_lines(write, context, has(FAULT_dump_upside_down));
    return status;
}

WRAPPED(KnStatus, GC_reportCycles, KnWriteFn write, void *context) {
    KnStatus status;
    if (write == NULL && has(FAULT_null_taken)) {
        return KN_OK;
    }
    if (write != NULL && has(FAULT_report_is_empty)) {
        return KN_OK;
    }
    status = __real_GC_reportCycles(write, context);
    if (has(FAULT_report_collects)) {
        __real_GC_runOrc();
    }
    return status;
}

WRAPPED(KnStatus, GC_whoHolds, const void *object, KnWriteFn write, void *context) {
    KnStatus status;
    if (write == NULL || !has(FAULT_holders_missing)) {
        return __real_GC_whoHolds(object, write, context);
    }
    caught.length = 0;
    status = __real_GC_whoHolds(object, catch, NULL);
    write_lines(write, context, false);
    return status;
}

WRAPPED(KnStatus, GC_check, void) {
    KnGcStats stats;
    if (has(FAULT_check_sees_nothing)) {
        return KN_OK;
    }
    if (has(FAULT_check_sees_ghosts) && __real_GC_stats(&stats) == KN_OK && stats.cells > 3) {
        return KN_E_CORRUPT;
    }
    return __real_GC_check();
}

/* ---- Manual memory ---- */

WRAPPED(void *, kn_malloc, size_t bytes) {
    void *block = __real_kn_malloc(bytes);
    last_block = block != NULL && bytes > 0 ? block : last_block;
    return block;
}

WRAPPED(void *, kn_calloc, size_t count, size_t bytes) {
    void *block = __real_kn_calloc(count, bytes);
    if (has(FAULT_calloc_dirty) && block != NULL && count * bytes > 0) {
        ((uint8_t *)block)[count * bytes - 1] = 1;
    }
    return block;
}

WRAPPED(void, kn_free, void *block) {
    if (last_block == block) {
        last_block = NULL;
    }
    if (!has(FAULT_manual_leaks)) {
        __real_kn_free(block);
    }
}
