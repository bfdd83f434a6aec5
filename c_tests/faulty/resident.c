/*
 * Faults between the program of always-active data and the library: the proof that it can fail.
 *
 * As in counted.c the linker is told to --wrap each function below: a program that calls kn_resident_check comes to
 * __wrap_kn_resident_check here, and the library's own is __real_kn_resident_check. Without a fault each call is passed
 * on as it is.
 */
#include "knoll.h"

#define FAULTS "resident_faults.h"
#include "choose.h"

/* The declaration of the library's function and of ours. */
#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

static KnErrorFn hook;
static KnErrorFn quiet_hook; /* the hook without KN_E_RESIDENT or KN_E_FOREIGN */

static void only_others(KnStatus status, const void *at, const char *what) {
    if (hook != NULL && status != KN_E_RESIDENT && status != KN_E_FOREIGN) {
        hook(status, at, what);
    }
}

WRAPPED(void, kn_on_error, KnErrorFn wanted) {
    hook = wanted;
    quiet_hook = wanted == NULL ? NULL : only_others;
    __real_kn_on_error(wanted);
}

/* ---- Types and cells ---- */

static KnTypeId resident_types[16];
static size_t resident_count;

static bool is_resident(void *object) {
    KnTypeId type = object == NULL ? 0 : GC_typeOf(object);
    size_t i;
    for (i = 0; i < resident_count; i++) {
        if (type == resident_types[i]) {
            return true;
        }
    }
    return false;
}

WRAPPED(KnTypeId, GC_registerType, const KnType *given) {
    enum { MOST = 16 };
    static struct {
        const KnType *given;
        KnType used;
    } types[MOST];
    static size_t count;
    KnTypeId id;
    size_t i = 0;
    if (!has(FAULT_type_ignored)) {
        id = __real_GC_registerType(given);
    } else {
        while (i < count && types[i].given != given) {
            i++;
        }
        if (i == count && count < MOST) {
            count++;
        }
        i = i < MOST ? i : 0;
        types[i].given = given;
        types[i].used = *given;
        types[i].used.flags &= ~(uint32_t)KN_TYPE_RESIDENT;
        id = __real_GC_registerType(&types[i].used);
    }
    for (i = 0; i < resident_count && resident_types[i] != id;) {
        i++;
    }
    if ((given->flags & KN_TYPE_RESIDENT) != 0 && i == resident_count && resident_count < 16) {
        resident_types[resident_count++] = id;
    }
    return id;
}

WRAPPED(void *, GC_newIn, KnArena *arena, KnTypeId type) {
    void *object = __real_GC_newIn(arena, type);
    if (object == NULL && has(FAULT_scopes_take_residents)) {
        object = kn_arena_calloc(arena, 1, 64);
    }
    return object;
}

static bool is_on_the_stack(void **slot) {
    uintptr_t here = (uintptr_t)&slot, at = (uintptr_t)slot;
    return here - at < 65536 || at - here < 65536;
}

WRAPPED(void, GC_assign, void **slot, void *object) {
    void *before = *slot;
    uint32_t count = object == NULL ? 0 : GC_refcount(object);
    if (has(FAULT_assign_takes_all)) {
        *slot = GC_ref(object);
        GC_unref(before);
    } else if (has(FAULT_assign_refuses_silently)) {
        __real_kn_on_error(quiet_hook);
        __real_GC_assign(slot, object);
        __real_kn_on_error(hook);
    } else if (has(FAULT_assign_refuses_residents) && is_resident(object) && !is_on_the_stack(slot)) {
        hook(KN_E_RESIDENT, slot, "");
    } else if (has(FAULT_assign_refuses_lasting) && object != NULL && !is_resident(object) && count == KN_IMMORTAL) {
        hook(KN_E_RESIDENT, slot, "");
    } else {
        __real_GC_assign(slot, object);
        if (has(FAULT_assign_clears) && *slot != object) {
            *slot = NULL;
            GC_unref(before);
        }
    }
}

WRAPPED(void, GC_unref, void *object) {
    if (!has(FAULT_cells_stay) || !is_resident(object) || GC_refcount(object) != 1) {
        __real_GC_unref(object);
    }
}

/* ---- The check ---- */

static struct {
    char bytes[4096];
    size_t length;
} told;

static size_t take(void *context, const char *text, size_t length) {
    (void)context;
    if (length > sizeof told.bytes - told.length) {
        length = sizeof told.bytes - told.length;
    }
    memcpy(told.bytes + told.length, text, length);
    told.length += length;
    return length;
}

/* A line without all links but the last, or without its end. */
static void pass_on(const char *line, size_t length, KnWriteFn write, void *context) {
    static const char link[] = " -> ", site[] = ", allocated at ";
    size_t i, start = 0, next = 0;
    for (i = 0; has(FAULT_check_tells_no_chain) && i + 4 <= length; i++) {
        if (memcmp(line + i, link, 4) == 0) {
            start = next;
            next = i + 4;
        }
    }
    for (i = 0; has(FAULT_check_tells_no_site) && i + sizeof site - 1 <= length; i++) {
        if (memcmp(line + i, site, sizeof site - 1) == 0) {
            length = i;
        }
    }
    (void)write(context, line + start, length - start);
    (void)write(context, "\n", 1);
}

WRAPPED(KnStatus, kn_resident_check, KnHeap *heap, KnWriteFn write, void *context) {
    KnStatus status;
    size_t start = 0, end;
    if (has(FAULT_check_sees_nothing)) {
        return KN_OK;
    }
    if (write == NULL || has(FAULT_check_is_mute)) {
        status = __real_kn_resident_check(heap, NULL, NULL);
    } else {
        told.length = 0;
        status = __real_kn_resident_check(heap, take, NULL);
        for (end = 0; end < told.length; end++) {
            if (told.bytes[end] == '\n') {
                pass_on(told.bytes + start, end - start, write, context);
                start = end + 1;
                if (has(FAULT_check_tells_one)) {
                    break;
                }
            }
        }
    }
    return has(FAULT_check_sees_ghosts) && status == KN_OK ? KN_E_RESIDENT : status;
}

/* ---- Blocks ---- */

static void *spoiled(void *block, size_t bytes) {
    if (has(FAULT_block_dirty) && block != NULL && bytes > 0) {
        ((uint8_t *)block)[bytes - 1] = 1;
    }
    return block;
}

void *__real_kn_resident_alloc_named(KnHeap *heap, size_t bytes, const char *name);

static void *made(KnHeap *heap, size_t bytes, const char *name) {
    if (has(FAULT_block_at_top) && heap != NULL) {
        uint8_t *block = kn_heap_malloc_top(heap, bytes);
        if (block != NULL) {
            memset(block, 0, bytes);
        }
        return block;
    }
    if (has(FAULT_block_unlisted) && heap != NULL) {
        return kn_heap_calloc(heap, 1, bytes);
    }
    if (has(FAULT_block_wraps) && bytes > SIZE_MAX / 2) {
        bytes &= 0xFF;
    }
    return spoiled(__real_kn_resident_alloc_named(heap, bytes, name), bytes);
}

WRAPPED(void *, kn_resident_alloc_named, KnHeap *heap, size_t bytes, const char *name) {
    return made(heap, bytes, name);
}

WRAPPED(void *, kn_resident_alloc, KnHeap *heap, size_t bytes) {
    return made(heap, bytes, NULL);
}

WRAPPED(void, kn_resident_free, KnHeap *heap, void *block) {
    if (has(FAULT_block_unlisted) || has(FAULT_block_at_top)) {
        kn_heap_free(heap, block);
    } else if (has(FAULT_free_takes_all)) {
        __real_kn_on_error(quiet_hook);
        __real_kn_resident_free(heap, block);
        __real_kn_on_error(hook);
    } else if (!has(FAULT_free_leaks)) {
        __real_kn_resident_free(heap, block);
    }
}

WRAPPED(void *, kn_resident_realloc, KnHeap *heap, void *block, size_t bytes) {
    uint8_t *moved = __real_kn_resident_realloc(heap, block, bytes);
    if (moved != NULL && has(FAULT_realloc_forgets) && block != NULL) {
        memset(moved, 0, bytes);
    } else if (moved != NULL && has(FAULT_realloc_dirty) && bytes > 100) {
        moved[bytes - 1] = 1;
    }
    return moved;
}
