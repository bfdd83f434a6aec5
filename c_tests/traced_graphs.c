/*
 * Random graphs of blocks against a walk of the test's own: what it reaches must be there as it was, and nothing else;
 * each finaliser runs once; in every configuration, with areas, resizes, frees and scopes in between.
 */
#include "traced.h"

#include <string.h>

enum { MOST = 120, EDGES = 6, ROUNDS = 1500, PINNED = 8 };

/* A block of the test's; its first words are its edges, the remainder is a pattern. */
typedef struct Vertex {
    void *at;
    size_t bytes, edges;
    uint32_t flags, seed;
    size_t to[EDGES]; /* vertices; MOST: none */
    bool reached;
    size_t finalised, traced;
} Vertex;

static Vertex vertices[MOST];
static size_t pinned[PINNED]; /* vertices that are roots; MOST: none */
static size_t seeds, finalised_blocks;
static KnTraced *heap;

static Vertex *vertex_at(const void *at) {
    size_t i;
    for (i = 0; i < MOST; i++) {
        if (vertices[i].at == at) {
            return &vertices[i];
        }
    }
    return NULL;
}

static size_t random_vertex(void) {
    size_t number = random_below(MOST), i;
    for (i = 0; i < MOST; i++, number = (number + 1) % MOST) {
        if (vertices[number].at != NULL) {
            return number;
        }
    }
    return MOST;
}

static void set_roots(void) {
    size_t i;
    for (i = 0; i < PINNED; i++) {
        roots[7 * i] = pinned[i] == MOST ? NULL : vertices[pinned[i]].at;
    }
}

static void write_edges(Vertex *vertex) {
    size_t i;
    for (i = 0; i < vertex->edges; i++) {
        *slot(vertex->at, i) = vertex->to[i] == MOST ? NULL : vertices[vertex->to[i]].at;
    }
}

static bool holds_its_contents(const Vertex *vertex) {
    size_t i;
    for (i = 0; i < vertex->edges; i++) {
        if (*slot(vertex->at, i) != (vertex->to[i] == MOST ? NULL : vertices[vertex->to[i]].at)) {
            return false;
        }
    }
    return holds_pattern((uint8_t *)vertex->at + vertex->edges * WORD, vertex->bytes - vertex->edges * WORD,
                         vertex->seed);
}

static bool is_intact(const Vertex *vertex) {
    return kn_traced_size(heap, vertex->at) == vertex->bytes && holds_its_contents(vertex);
}

static void fill(Vertex *vertex) {
    write_edges(vertex);
    fill_pattern((uint8_t *)vertex->at + vertex->edges * WORD, vertex->bytes - vertex->edges * WORD, vertex->seed);
}

/* The walk: with a list of its own, over edges as the test knows them. */
static void reach(void) {
    size_t pending[MOST], count = 0, i;
    for (i = 0; i < MOST; i++) {
        vertices[i].reached = false;
        vertices[i].traced = 0;
    }
    for (i = 0; i < PINNED; i++) {
        if (pinned[i] != MOST && !vertices[pinned[i]].reached) {
            vertices[pinned[i]].reached = true;
            pending[count++] = pinned[i];
        }
    }
    while (count > 0) {
        const Vertex *vertex = &vertices[pending[--count]];
        for (i = 0; i < vertex->edges && (vertex->flags & KN_NO_SCAN) == 0; i++) {
            if (vertex->to[i] != MOST && !vertices[vertex->to[i]].reached) {
                vertices[vertex->to[i]].reached = true;
                pending[count++] = vertex->to[i];
            }
        }
    }
}

/* A vertex is gone: whoever led to it leads nowhere. */
static void forget(size_t gone) {
    size_t i, k;
    for (i = 0; i < MOST; i++) {
        for (k = 0; k < vertices[i].edges; k++) {
            if (vertices[i].to[k] == gone) {
                vertices[i].to[k] = MOST;
            }
        }
        if (vertices[i].at != NULL && i != gone) {
            write_edges(&vertices[i]);
        }
    }
    for (i = 0; i < PINNED; i++) {
        if (pinned[i] == gone) {
            pinned[i] = MOST;
        }
    }
    vertices[gone].at = NULL;
    vertices[gone].edges = 0;
}

static void on_finalise(void *context, void *block) {
    Vertex *vertex = vertex_at(block);
    size_t i;
    (void)context;
    if (CHECK(vertex != NULL && "a block that is known")) {
        (void)CHECK(!vertex->reached && (vertex->flags & KN_FINALISE) != 0);
        (void)CHECK_EQ(++vertex->finalised, 1);
        (void)CHECK(holds_its_contents(vertex));
    }
    /* All dead blocks are as they were, those that were told of before, too. */
    for (i = finalised_blocks % 5; i < MOST; i += 5) {
        (void)CHECK(vertices[i].at == NULL || holds_its_contents(&vertices[i]));
    }
    finalised_blocks++;
    (void)CHECK(kn_traced_alloc(heap, 8, 0) == NULL);
}

static void on_collect(void *context) {
    size_t i, live = 0;
    (void)context;
    set_roots();
    reach();
    collect_now(heap);
    for (i = 0; i < MOST; i++) {
        if (vertices[i].at != NULL && vertices[i].reached) {
            live++;
            (void)CHECK(is_intact(&vertices[i]));
        }
    }
    for (i = 0; i < MOST; i++) {
        Vertex *vertex = &vertices[i];
        if (vertex->at != NULL && !vertex->reached) {
            (void)CHECK_EQ(kn_traced_size(heap, vertex->at), 0);
            (void)CHECK_EQ(vertex->finalised, (vertex->flags & KN_FINALISE) != 0);
            vertex->at = NULL;
            vertex->edges = 0;
        }
    }
    /* Blocks that are not looked into may have led to what is gone. */
    for (i = 0; i < MOST; i++) {
        Vertex *vertex = &vertices[i];
        size_t k;
        for (k = 0; k < vertex->edges; k++) {
            if (vertex->to[k] != MOST && vertices[vertex->to[k]].at == NULL) {
                vertex->to[k] = MOST;
                write_edges(vertex);
            }
        }
    }
    (void)CHECK_GE(numbers(heap).blocks, live);
    if (numbers(heap).unswept == 0) {
        (void)CHECK_EQ(numbers(heap).blocks, live);
    }
}

static void on_trace(void *context, void *block, size_t size) {
    Vertex *vertex = vertex_at(block);
    (void)context;
    if (CHECK(vertex != NULL && "a block that is known")) {
        (void)CHECK_EQ(size, vertex->bytes);
        (void)CHECK(vertex->reached && (vertex->flags & KN_NO_SCAN) == 0);
        (void)CHECK_EQ(++vertex->traced, 1);
        kn_traced_mark(heap, slot(block, 0), vertex->edges / 2);
        kn_traced_mark(heap, slot(block, vertex->edges / 2), vertex->edges - vertex->edges / 2);
    }
}

/* ---- What a round does ---- */

static void make(void) {
    static const uint32_t kinds[8] = {0, 0, 0, KN_FINALISE, KN_NO_SCAN, KN_LONG_LIVED, 0, KN_FINALISE | KN_LONG_LIVED};
    size_t number = 0, i;
    uint32_t flags = kinds[random_below(8)];
    size_t bytes = EDGES * WORD + random_below(random_below(10) == 0 ? 900 : 60);
    Vertex *vertex;
    uint8_t *at = kn_traced_alloc(heap, bytes, flags);
    if (at == NULL) {
        return;
    }
    while (number < MOST && vertices[number].at != NULL) {
        number++;
    }
    if (number == MOST) {
        kn_traced_free(heap, at);
        return;
    }
    vertex = &vertices[number];
    vertex->at = at;
    vertex->flags = flags & (KN_FINALISE | KN_NO_SCAN);
    vertex->bytes = kn_traced_size(heap, at);
    vertex->edges = 1 + random_below(EDGES);
    vertex->finalised = 0;
    vertex->seed = (uint32_t)seeds++;
    (void)CHECK_GE(vertex->bytes, bytes);
    (void)CHECK(holds_byte(at, vertex->bytes, 0));
    for (i = 0; i < EDGES; i++) {
        vertex->to[i] = i < vertex->edges ? random_vertex() : MOST;
    }
    fill(vertex);
    pinned[random_below(PINNED)] = number;
}

static void resize(void) {
    size_t number = pinned[random_below(PINNED)], old, bytes, i;
    bool moves = random_below(2) == 0;
    Vertex *vertex;
    uint8_t *at;
    if (number == MOST) {
        return;
    }
    vertex = &vertices[number];
    old = vertex->bytes;
    bytes = EDGES * WORD + random_below(400);
    at = kn_traced_realloc(heap, vertex->at, bytes, moves);
    if (at == NULL) {
        (void)CHECK(bytes > old && is_intact(vertex));
        return;
    }
    (void)CHECK(moves || at == vertex->at);
    (void)CHECK(bytes > old || at == vertex->at);
    if (at != vertex->at) {
        (void)CHECK_EQ(kn_traced_size(heap, vertex->at), 0);
    }
    vertex->at = at;
    vertex->bytes = kn_traced_size(heap, at);
    (void)CHECK_GE(vertex->bytes, bytes);
    (void)CHECK_EQ(kn_traced_flags(heap, at), vertex->flags);
    /* The edges of others that lead here, and the block's own, if it has moved. */
    for (i = 0; i < MOST; i++) {
        if (vertices[i].at != NULL && i != number) {
            write_edges(&vertices[i]);
        }
    }
    at += vertex->edges * WORD;
    i = (old < vertex->bytes ? old : vertex->bytes) - vertex->edges * WORD;
    (void)CHECK_PATTERN(at, i, vertex->seed);
    (void)CHECK(holds_byte(at + i, vertex->bytes - vertex->edges * WORD - i, 0));
    fill(vertex);
}

static void change(void) {
    size_t from = pinned[random_below(PINNED)], to = pinned[random_below(PINNED)];
    if (from != MOST) {
        Vertex *vertex = &vertices[from];
        vertex->to[random_below(vertex->edges)] = to;
        write_edges(vertex);
        pinned[random_below(PINNED)] = vertex->to[random_below(vertex->edges)];
    }
}

static void free_one(void) {
    size_t number = pinned[random_below(PINNED)];
    if (number != MOST) {
        void *at = vertices[number].at;
        kn_traced_free(heap, at);
        (void)CHECK_EQ(kn_traced_size(heap, at), 0);
        forget(number);
    }
}

static void play(KnTracedConfig config, size_t more_areas) {
    size_t i, round, scopes = 0;
    memset(vertices, 0, sizeof vertices);
    for (i = 0; i < PINNED; i++) {
        pinned[i] = MOST;
    }
    config.collect = on_collect;
    config.finalise = on_finalise;
    heap = heap_with(config, 1000 * WORD);
    REQUIRE(heap != NULL);
    for (i = 0; i < more_areas; i++) {
        void *memory = take_memory(3000, 3 + i);
        REQUIRE(memory != NULL);
        (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 3000, 8u << i), KN_OK);
    }
    for (round = 0; round < ROUNDS; round++) {
        size_t what = random_below(32);
        if (what < 14) {
            make();
        } else if (what < 18) {
            resize();
        } else if (what < 25) {
            change();
        } else if (what < 27) {
            free_one();
        } else if (what < 28) {
            on_collect(NULL);
        } else if (what < 29) {
            (void)kn_traced_step(heap, random_below(100));
        } else if (what < 30 && scopes == 0) {
            kn_traced_scope_begin(heap);
            scopes++;
        } else if (what < 31 && scopes > 0) {
            kn_traced_scope_end(heap);
            scopes--;
        } else {
            pinned[random_below(PINNED)] = MOST;
        }
        if (round % 16 == 0) {
            (void)CHECK(is_sound_traced(heap));
            for (i = 0; i < MOST; i++) {
                (void)CHECK(vertices[i].at == NULL || is_intact(&vertices[i]));
            }
        }
    }
    for (i = 0; i < PINNED; i++) {
        pinned[i] = MOST;
    }
    on_collect(NULL);
    while (!kn_traced_step(heap, 64)) {
    }
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK_EQ(numbers(heap).finalisers, 0);
}

TRACED_TEST(graphs) {
    play(usual_config(), 0);
}

TRACED_TEST(graphs_in_areas) {
    play(usual_config(), 3);
}

TRACED_TEST(graphs_held_by_their_inside) {
    KnTracedConfig config = usual_config();
    config.flags = KN_TRACED_INTERIOR;
    play(config, 1);
}

TRACED_TEST(graphs_swept_in_slices) {
    KnTracedConfig config = usual_config();
    config.slice = 10;
    play(config, 1);
}

TRACED_TEST(graphs_told_by_a_hook) {
    KnTracedConfig config = usual_config();
    config.trace = on_trace;
    config.slice = 70;
    play(config, 2);
}

TRACED_TEST(graphs_collected_all_the_time) {
    KnTracedConfig config = usual_config();
    config.flags = KN_TRACED_STRESS;
    play(config, 1);
}

TRACED_TEST(graphs_collected_by_threshold) {
    KnTracedConfig config = usual_config();
    config.threshold = 900;
    config.slice = 100;
    play(config, 0);
}

SUITE("traced_graphs", ONCE(graphs), ONCE(graphs_in_areas), ONCE(graphs_held_by_their_inside),
      ONCE(graphs_swept_in_slices), ONCE(graphs_told_by_a_hook), ONCE(graphs_collected_all_the_time),
      ONCE(graphs_collected_by_threshold))
