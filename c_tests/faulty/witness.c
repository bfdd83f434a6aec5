/*
 * Faults between the program of the witness and the library: the proof that it can fail.
 *
 * As in counted.c the linker is told to --wrap each function below: a program that calls kn_fragmentation comes to
 * __wrap_kn_fragmentation here, and the library's own is __real_kn_fragmentation. Without a fault each call is passed
 * on as it is.
 */
#include "knoll.h"

#define FAULTS "witness_faults.h"
#include "choose.h"

/* The declaration of the library's function and of ours. */
#define WRAPPED(type, name, ...)                                                                                       \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

/* ---- Fingerprints ---- */

WRAPPED(uint64_t, kn_heap_fingerprint, KnHeap *heap) {
    static uint64_t calls;
    uint64_t number = __real_kn_heap_fingerprint(heap);
    if (heap == NULL) {
        return has(FAULT_fingerprint_of_nothing) ? 1 : number;
    }
    if (has(FAULT_fingerprint_misses_half)) {
        return number | 0xFFFF;
    }
    return has(FAULT_fingerprint_constant) ? 1 : has(FAULT_fingerprint_restless) ? number + ++calls : number;
}

WRAPPED(uint64_t, kn_block_fingerprint, KnHeap *heap, const void *block) {
    uint64_t term = __real_kn_block_fingerprint(heap, block);
    if (term == 0) {
        return has(FAULT_term_of_anything) ? 1 : 0;
    }
    return has(FAULT_term_constant) ? 7 : term;
}

/* ---- Numbers ---- */

WRAPPED(size_t, kn_heap_largest_free, KnHeap *heap) {
    size_t largest = __real_kn_heap_largest_free(heap);
    KnHeapStats stats = {0};
    if (has(FAULT_largest_is_free) && kn_heap_stats(heap, &stats) == KN_OK) {
        return stats.free;
    }
    return has(FAULT_largest_too_large) ? largest + 64 : largest;
}

WRAPPED(KnStatus, kn_fragmentation, KnHeap *heap, KnFragmentation *out) {
    KnStatus status = __real_kn_fragmentation(heap, out);
    size_t i;
    if (status != KN_OK) {
        return has(FAULT_null_taken) ? KN_OK : status;
    }
    out->free -= has(FAULT_free_short) ? 8 : 0;
    out->holes += has(FAULT_holes_miscounted);
    for (i = 0; i < 23 && has(FAULT_histogram_shifted); i++) {
        out->histogram[i] = out->histogram[i + 1];
    }
    if (has(FAULT_histogram_without_bytes)) {
        memcpy(out->histogram_bytes, out->histogram, sizeof out->histogram);
    }
    return status;
}

/* ---- JSON ---- */

static struct {
    char bytes[32768];
    size_t length;
} told;

static size_t keep(void *context, const char *text, size_t length) {
    (void)context;
    if (length > sizeof told.bytes - 1 - told.length) {
        length = sizeof told.bytes - 1 - told.length;
    }
    memcpy(told.bytes + told.length, text, length);
    told.length += length;
    told.bytes[told.length] = '\0';
    return length;
}

static void cut_out(char *at, size_t length) {
    memmove(at, at + length, strlen(at + length) + 1);
    told.length -= length;
}

/* Empties the strings that are members of that name, or makes each of them `word`, which is not longer. */
static void spoil_strings(const char *key, const char *word) {
    char *at = told.bytes;
    while ((at = strstr(at, key)) != NULL) {
        char *end;
        at += strlen(key);
        end = strchr(at, '"');
        if (end != NULL && (size_t)(end - at) >= strlen(word)) {
            memcpy(at, word, strlen(word));
            at += strlen(word);
            cut_out(at, (size_t)(end - at));
        }
    }
}

static void spoil(void) {
    char *at;
    if (has(FAULT_json_cut)) {
        at = strrchr(told.bytes, '}');
        cut_out(at, 1);
    } else if (has(FAULT_json_old)) {
        *(strstr(told.bytes, "\"version\": ") + 11) = '0';
    } else if (has(FAULT_json_not_escaped)) {
        while ((at = strchr(told.bytes, '\\')) != NULL) {
            cut_out(at, 1);
        }
    } else if (has(FAULT_json_all_raw)) {
        spoil_strings("\"kind\": \"", "raw");
    } else if (has(FAULT_json_without_names)) {
        spoil_strings("\"name\": \"", "");
    } else if (has(FAULT_json_without_types)) {
        spoil_strings("\"type\": \"", "");
    } else if (has(FAULT_json_harmless)) {
        for (at = told.bytes; (at = strstr(at, "\"harm\": ")) != NULL;) {
            at += 8;
            *at = '1';
            cut_out(at + 1, strspn(at + 1, "0123456789"));
        }
    } else if (has(FAULT_json_wrong_address)) {
        for (at = told.bytes; (at = strstr(at, "\"address\": \"0x")) != NULL;) {
            at += 14 + strspn(at + 14, "0123456789abcdef");
            at[-1] = '9';
        }
    } else if (has(FAULT_pins_missing) && (at = strstr(told.bytes, "{\"harm\": ")) != NULL) {
        char *next = strstr(at + 1, "{\"harm\": ");
        if (next != NULL) {
            cut_out(at, (size_t)(next - at));
        }
    }
}

WRAPPED(KnStatus, kn_dump_fragmentation, KnHeap *heap, KnWriteFn write, void *context) {
    KnStatus status;
    size_t at, piece, taken;
    if (heap == NULL || write == NULL) {
        status = __real_kn_dump_fragmentation(heap, write, context);
        return has(FAULT_null_taken) ? KN_OK : status;
    }
    if (has(FAULT_json_allocates) && kn_heap_malloc(heap, 1) == NULL) {
        return KN_E_NO_MEMORY;
    }
    told.length = 0;
    status = __real_kn_dump_fragmentation(heap, keep, NULL);
    spoil();
    for (at = 0; at < told.length; at += piece) {
        piece = told.length - at < 16 ? told.length - at : 16;
        taken = write(context, told.bytes + at, piece);
        if (taken < piece && !has(FAULT_json_goes_on)) {
            break;
        }
    }
    return status;
}

/* ---- The gate ---- */

WRAPPED(KnStatus, kn_fragmentation_check, KnHeap *heap, uint32_t least, KnWriteFn write, void *context) {
    KnStatus status;
    if (has(FAULT_check_is_mute)) {
        write = NULL;
    }
    if (has(FAULT_check_misreads) && least > 0 && least <= 1000) {
        least--;
    }
    status = __real_kn_fragmentation_check(heap, least, write, context);
    if (status == KN_E_INVALID) {
        return has(FAULT_null_taken) ? KN_OK : status;
    }
    return has(FAULT_check_sees_nothing) ? KN_OK : has(FAULT_check_sees_ghosts) ? KN_E_FRAGMENTED : status;
}
