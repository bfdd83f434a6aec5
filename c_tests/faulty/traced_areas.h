/*
 * What the traced heap of traced.c is made of: areas with a byte for the state and one for the flags of each granule, kept
 * outside of the heap's memory; where blocks are and end; the sweep. For traced.c alone.
 */
enum { HEADER = 128, MOST_AREAS = 6, MOST_GREY = 1 << 16, WORD = sizeof(void *), MOST_HEAPS = 64 };
enum { FREE, HEAD, TAIL };
enum { MARKED = 16, DEAD = 32, NEW = 64 }; /* beside KN_FINALISE and KN_NO_SCAN */
enum { IDLE, MARKING, ENDING };

typedef struct Area {
    uint8_t *base, *state, *flags;
    size_t count, granule, cursor, floor;
    size_t low; /* no granule below is free */
} Area;

typedef struct Heap {
    Area areas[MOST_AREAS];
    size_t area_count;
    KnTracedConfig config;
    size_t locks, scopes, lasting, since, total_since, collections, freed, ticks;
    int phase;
    uint8_t *resized; /* the block that is being moved */
    bool draining;
    size_t abandoned;
    uintptr_t frame; /* of a call that is inside a hook of a collection; 0: none is */
} Heap;

static KnErrorFn hook;
static struct {
    Area *area;
    size_t granule;
} grey[MOST_GREY];
static size_t grey_count;

WRAPPED(void, kn_on_error, KnErrorFn wanted) {
    hook = wanted;
    __real_kn_on_error(wanted);
}

static void report(KnStatus status, const void *at) {
    if (hook != NULL && !(status == KN_E_ORDER && has(FAULT_order_unnoticed)) &&
        !(status != KN_E_ORDER && has(FAULT_free_silent))) {
        status = status == KN_E_DOUBLE_FREE && has(FAULT_free_foreign) ? KN_E_FOREIGN : status;
        hook(status, at, "the stand-in");
    }
}

static Heap *heap_of(const KnTraced *heap) {
    Heap *found;
    memcpy(&found, heap, sizeof found);
    return found;
}

static bool now(Heap *heap, Fault fault, size_t every) {
    return has(fault) && ++heap->ticks % every == 0;
}

static bool is_inside(const Heap *heap) {
    uint8_t here = 0;
    return heap->frame != 0 && (uintptr_t)&here < heap->frame;
}

/* ---- Areas ---- */

static bool make_area(Area *area, uint8_t *memory, size_t bytes, size_t granule, size_t header) {
    size_t pad;
    memset(area, 0, sizeof *area);
    header = bytes < 2000 && has(FAULT_create_too_small) ? 32 : header;
    if (bytes <= header) {
        return false;
    }
    pad = (granule - (uintptr_t)(memory + header) % granule) % granule;
    if (bytes < header + pad + granule) {
        return false;
    }
    area->base = memory + header + pad + (has(FAULT_unaligned) && granule > 8 ? WORD / 2 : 0);
    area->count = (bytes - header - pad) / granule - (has(FAULT_unaligned) || has(FAULT_last_granule));
    area->count += has(FAULT_create_too_small) && bytes < 1400;
    area->granule = granule;
    area->floor = SIZE_MAX;
    area->state = calloc(2, area->count + 1);
    area->flags = area->state + area->count + 1;
    area->cursor = area->count;
    return area->count > 0;
}

/* The area and granule of an address; false: none. */
static bool place_of(Heap *heap, uintptr_t at, Area **area, size_t *granule) {
    size_t i;
    for (i = 0; i < heap->area_count; i++) {
        *area = &heap->areas[i];
        if (at >= (uintptr_t)(*area)->base && at - (uintptr_t)(*area)->base < (*area)->count * (*area)->granule) {
            *granule = (at - (uintptr_t)(*area)->base) / (*area)->granule;
            return true;
        }
    }
    return false;
}

static uint8_t *address(const Area *area, size_t granule) {
    return area->base + granule * area->granule;
}

static size_t end_of(const Area *area, size_t granule) {
    do {
        granule++;
    } while (granule < area->count && area->state[granule] == TAIL);
    return granule;
}

/* The block that starts at the address, dead or alive. */
static bool head_at(Heap *heap, const void *at, Area **area, size_t *granule) {
    if (!place_of(heap, (uintptr_t)at, area, granule)) {
        return false;
    }
    while (has(FAULT_size_of_inside) && (*area)->state[*granule] == TAIL) {
        --*granule;
        at = address(*area, *granule);
    }
    return (*area)->state[*granule] == HEAD && address(*area, *granule) == at;
}

static bool live_at(Heap *heap, const void *at, Area **area, size_t *granule) {
    return head_at(heap, at, area, granule) &&
           (((*area)->flags[*granule] & DEAD) == 0 || has(FAULT_dead_alive));
}

static void vacate(Area *area, size_t from, size_t to) {
    memset(area->state + from, FREE, to - from);
    memset(area->flags + from, 0, to - from);
    area->low = from < to && from < area->low ? from : area->low;
}

static bool is_free(const Area *area, size_t from, size_t to) {
    for (; from < to; from++) {
        if (from >= area->count || area->state[from] != FREE) {
            return false;
        }
    }
    return true;
}

/* ---- Sweeping ---- */

static bool sweep(Heap *heap, size_t granules) {
    size_t i;
    for (i = 0; i < heap->area_count; i++) {
        Area *area = &heap->areas[i];
        for (; area->cursor < area->count; area->cursor++) {
            size_t at = area->cursor;
            if (granules-- == 0) {
                return false;
            }
            if (area->state[at] == HEAD && ((area->flags[at] & DEAD) != 0 ||
                                            ((area->flags[at] & NEW) != 0 && now(heap, FAULT_slice_loses, 9)))) {
                vacate(area, at, end_of(area, at));
                heap->freed++;
            }
        }
    }
    return true;
}

static void sweep_all(Heap *heap) {
    (void)sweep(heap, SIZE_MAX / 2);
}
