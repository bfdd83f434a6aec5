/*
 * Formatted text in arenas, through knoll/format.h: the same bytes as C99's printf, exact decimals, memory that ends.
 *
 * The fixed texts are compared on every machine. Where the C library is glibc, ten times 4000 random formats are compared
 * with its snprintf as well.
 */
#include "harness.h"
#include "knoll/format.h"

#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { HEAP_BYTES = 24 * 1024 };

/* What is in use in the arena. */
static size_t used(const KnArena *arena) {
    KnArenaStats stats;
    memset(&stats, 0, sizeof stats);
    (void)CHECK_STATUS(kn_arena_stats(arena, &stats), KN_OK);
    return stats.used;
}

static size_t rounded(size_t bytes) {
    return (bytes + 7) / 8 * 8;
}

/* A format that the compiler does not see, for those that it would warn of. */
static const char *unseen(const char *format) {
    return (const char *)((uintptr_t)format ^ opaque(0));
}

/* An arena of its own in a fresh heap, most of it for the taking. */
static KnArena *new_arena(void) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    return heap != NULL ? kn_arena_create(heap, NULL) : NULL;
}

/* A scope in a fresh heap that never has more than these bytes. */
static KnArena *new_scope(size_t bytes) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnArenaConfig config = {.name = "texts", .presize = bytes, .flags = KN_ARENA_FIXED};
    KnArena *arena = NULL;
    return heap != NULL && CHECK_STATUS(kn_arena_enter(heap, &config, &arena), KN_OK) ? arena : NULL;
}

static bool is_text(const char *expected, const char *actual) {
    bool same = actual != NULL && strcmp(expected, actual) == 0;
    if (!same) {
        printf("  expected \"%s\", got \"%s\"\n", expected, actual != NULL ? actual : "(NULL)");
    }
    return same;
}

#define GIVES(expected, ...) (void)CHECK(is_text((expected), kn_arena_printf(arena, __VA_ARGS__)))

TEST(integers) {
    KnArena *arena = new_arena();
    REQUIRE(arena != NULL);
    GIVES("0 1 -1 42", "%d %i %d %i", 0, 1, -1, 42);
    GIVES("2147483647 -2147483648", "%d %d", INT_MAX, INT_MIN);
    GIVES("4294967295 ffffffff FFFFFFFF 37777777777", "%u %x %X %o", ~0u, ~0u, ~0u, ~0u);
    GIVES("9223372036854775807 -9223372036854775808", "%lld %lli", LLONG_MAX, LLONG_MIN);
    GIVES("18446744073709551615 1777777777777777777777", "%llu %llo", ULLONG_MAX, ULLONG_MAX);
    GIVES("-1 255 -1 65535", "%hhd %hhu %hd %hu", -1, 255, -1, 65535);
    GIVES("1 2 -3 4 -5 6", "%zu %zx %td %ju %jd %lu", (size_t)1, (size_t)2, (ptrdiff_t)-3, (uintmax_t)4, (intmax_t)-5,
          6ul);
    GIVES("   42|42   |00042|+42| 42", "%5d|%-5d|%05d|%+d|% d", 42, 42, 42, 42, 42);
    GIVES("  +42|+0042|  042|0042 |-0042", "%+5d|%+05d|%5.3d|%-5.4d|%05d", 42, 42, 42, 42, -42);
    GIVES("0x2a 0X2A 052 0 0", "%#x %#X %#o %#x %#o", 42, 42, 42, 0, 0);
    GIVES("||0||  +|0x002a|  0x2a", "|%.0d|%#.0o|%.0u|%+3.0d|%#06x|%#6x", 0, 0, 0, 0, 42, 42);
    GIVES("   7|7   |007", "%*d|%*d|%.*d", 4, 7, -4, 7, 3, 7);
    GIVES("7", "%.*d", -1, 7);
    (void)CHECK(is_text("0007", kn_arena_printf(arena, unseen("%04.*d"), -1, 7)));
}

TEST(texts_and_pointers) {
    KnArena *arena = new_arena();
    char not_ended[3] = {'a', 'b', 'c'};
    REQUIRE(arena != NULL);
    GIVES("", "%s", "");
    GIVES("a text", "a text");
    GIVES("100%", "%d%%", 100);
    GIVES("[knoll][     knoll][knoll     ]", "[%s][%10s][%-10s]", "knoll", "knoll", "knoll");
    GIVES("[kno][   kno][kno   ][]", "[%.3s][%6.3s][%-6.*s][%.0s]", "knoll", "knoll", 3, "knoll", "knoll");
    GIVES("abc", "%.3s", not_ended);
    GIVES("[x][  x][x  ]", "[%c][%3c][%-3c]", 'x', 'x', 'x');
    GIVES("(null) (nu", "%s %.3s", (const char *)opaque(0), (const char *)opaque(0));
    GIVES("0x0 0x1f2a |    0x1f2a|0x1f2a    |", "%p %p |%10p|%-10p|", (void *)0, (void *)0x1F2A, (void *)0x1F2A,
          (void *)0x1F2A);
}

TEST(exact_decimals) {
    const uint64_t bits = (uint64_t)0x7FF8 << 48;
    KnArena *arena = new_arena();
    double not_a_number;
    char *text;
    REQUIRE(arena != NULL);
    GIVES("0.000000 -0.000000 1.500000", "%f %f %f", 0.0, -0.0, 1.5);
    GIVES("0.1000000000000000055511151231257827021181583404541015625", "%.55f", 0.1);
    GIVES("0 2 2 4 -0 -2", "%.0f %.0f %.0f %.0f %.0f %.0f", 0.5, 1.5, 2.5, 3.5, -0.5, -1.5);
    GIVES("0.2 0.4 0.1 1.0 10.0", "%.1f %.1f %.1f %.1f %.1f", 0.25, 0.375, 0.05, 0.96, 9.96);
    GIVES("1000000000 999999999 100000000000000.0", "%.0f %.0f %.1f", 999999999.5, 999999998.75, 99999999999999.96875);
    GIVES("3. 3 3.0", "%#.0f %.0f %.1f", 3.0, 3.0, 3.0);
    GIVES("[  1.50][1.50  ][001.50][+1.50][ 1.50][-01.50]", "[%6.2f][%-6.2f][%06.2f][%+.2f][% .2f][%06.2f]", 1.5, 1.5,
          1.5, 1.5, 1.5, -1.5);
    GIVES("1267650600228229401496703205376.000000", "%f", 1267650600228229401496703205376.0);
    GIVES("0.00000000000000000000000000000078886090522101180541", "%.50f", 1.0 / 1267650600228229401496703205376.0);
    text = kn_arena_printf(arena, "%.0f", DBL_MAX);
    REQUIRE(text != NULL);
    (void)CHECK_EQ(strlen(text), 309);
    (void)CHECK(strncmp(text, "17976931348623157081452742373170435679807056752584", 50) == 0);
    text = kn_arena_printf(arena, "%.1100f", DBL_MIN * DBL_EPSILON); /* the least of all: 2^-1074 */
    REQUIRE(text != NULL);
    (void)CHECK_EQ(strlen(text), 1102);
    (void)CHECK(strncmp(text + 2 + 323, "49406564584124654417656879286822137236505980261", 47) == 0);
    (void)CHECK(strcmp(text + 2 + 1069, "6562500000000000000000000000000") == 0);
    GIVES("inf -inf INF +inf [   inf][inf   ]", "%f %f %F %+f [%06f][%-6f]", DBL_MAX * 2, -DBL_MAX * 2, DBL_MAX * 2,
          DBL_MAX * 2, DBL_MAX * 2, DBL_MAX * 2);
    memcpy(&not_a_number, &bits, sizeof bits);
    GIVES("nan NAN -nan [   nan]", "%f %F %f [%06f]", not_a_number, not_a_number, -not_a_number, not_a_number);
}

/* What is not offered is refused as a whole, wherever it stands. */
TEST(not_offered) {
    static const char *const formats[] = {"%", "ab%", "%e", "%d%g", "%a", "%n", "%ls", "%lc", "%hs", "%Lf", "%hf",
                                          "%5", "%.", "%-", "%l", "%zs", "%lp", "%y", "%l%"};
    KnArena *arena = new_arena();
    size_t before, i;
    REQUIRE(arena != NULL);
    before = used(arena);
    for (i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        KnText text;
        (void)CHECK(kn_arena_printf(arena, unseen(formats[i]), 1, 2, 3) == NULL);
        kn_text_begin(&text, arena);
        (void)CHECK(!kn_text_printf(&text, unseen(formats[i]), 1, 2, 3));
        (void)CHECK(kn_text_finish(&text) == NULL);
        (void)CHECK_EQ(used(arena), before);
    }
    /* More bytes than there can be. */
    (void)CHECK(kn_arena_printf(arena, unseen("%99999999999999999999999d"), 1) == NULL);
    (void)CHECK(kn_arena_printf(arena, unseen("%.99999999999999999999999d%d"), 1, 2) == NULL);
    (void)CHECK(kn_arena_printf(arena, unseen("%.99999999999999999999999f"), 1.0) == NULL);
    (void)CHECK_EQ(used(arena), before);
    GIVES("and on", "%s", "and on");
}

/* A text takes what it needs, and when that is not there, nothing. */
TEST(exact_memory) {
    KnArena *arena = new_scope(256);
    size_t before, room;
    REQUIRE(arena != NULL);
    before = used(arena);
    GIVES("1234567", "%d", 1234567);
    (void)CHECK_EQ(used(arena), before + 8);
    GIVES("12345678", "%d", 12345678);
    (void)CHECK_EQ(used(arena), before + 8 + 16);
    for (room = 0; kn_arena_alloc(arena, 8) != NULL; room++) {
    }
    (void)CHECK_GE(room, 8);
    before = used(arena);
    (void)CHECK(kn_arena_printf(arena, "%s", "x") == NULL);
    (void)CHECK_EQ(used(arena), before);
    (void)CHECK_STATUS(kn_arena_leave(arena, NULL), KN_OK);
}

/* While nothing else is allocated, the text stays where it is, whatever is put. */
TEST(grows_in_place) {
    KnArena *arena = new_scope(4096);
    KnText text;
    const char *at;
    char *whole;
    size_t before;
    int i;
    REQUIRE(arena != NULL);
    before = used(arena);
    kn_text_begin(&text, arena);
    (void)CHECK_EQ(used(arena), before);
    (void)CHECK(kn_text_put(&text, "list:"));
    at = text.at;
    for (i = 0; i < 300; i++) {
        (void)CHECK(kn_text_printf(&text, " %d", i));
        (void)CHECK(text.at == at && at[text.length] == '\0');
    }
    (void)CHECK(kn_text_put_bytes(&text, "!?", 1));
    (void)CHECK_EQ(text.length, 5 + 10 * 2 + 90 * 3 + 200 * 4 + 1);
    whole = kn_text_finish(&text);
    REQUIRE(whole != NULL);
    (void)CHECK(whole == at);
    (void)CHECK(strncmp(whole, "list: 0 1 2 3", 13) == 0);
    (void)CHECK(strcmp(whole + strlen(whole) - 9, " 298 299!") == 0);
    /* The room that was left has gone back. */
    (void)CHECK_EQ(used(arena), before + rounded(strlen(whole) + 1));
    /* An empty text is one. */
    kn_text_begin(&text, arena);
    (void)CHECK(is_text("", kn_text_finish(&text)));
    (void)CHECK_STATUS(kn_arena_leave(arena, NULL), KN_OK);
}

/* With something else behind it the text moves; neither loses a byte. */
TEST(moves_when_it_must) {
    KnArena *arena = new_arena();
    KnText text;
    const char *whole;
    uint8_t *others[40];
    int i;
    REQUIRE(arena != NULL);
    kn_text_begin(&text, arena);
    for (i = 0; i < 40; i++) {
        others[i] = kn_arena_alloc(arena, 24);
        REQUIRE(others[i] != NULL);
        fill_pattern(others[i], 24, (uint32_t)i);
        (void)CHECK(kn_text_printf(&text, "%03d ", i));
        (void)CHECK_EQ(text.length, 4 * (i + 1));
    }
    whole = kn_text_finish(&text);
    REQUIRE(whole != NULL);
    for (i = 0; i < 40; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%03d ", i);
        (void)CHECK(strncmp(whole + 4 * i, number, 4) == 0);
        (void)CHECK_PATTERN(others[i], 24, (uint32_t)i);
    }
    (void)CHECK(whole[160] == '\0');
}

/* A put that finds no memory changes nothing; the end says that one failed, and gives the memory back. */
TEST(no_memory_for_more) {
    KnArena *arena = new_scope(400);
    KnText text;
    size_t before, length = 0;
    char long_one[601];
    REQUIRE(arena != NULL);
    memset(long_one, 'x', 600);
    long_one[600] = '\0';
    before = used(arena);
    kn_text_begin(&text, arena);
    (void)CHECK(!kn_text_put(&text, long_one));
    (void)CHECK(text.at == NULL && text.length == 0);
    (void)CHECK(kn_text_finish(&text) == NULL);
    (void)CHECK_EQ(used(arena), before);

    kn_text_begin(&text, arena);
    while (kn_text_printf(&text, "%d,", 1234)) {
        length += 5;
        REQUIRE(length < 600);
    }
    /* The room doubles, but where there is not so much, it takes the last byte there is. */
    (void)CHECK_GE(length, 300);
    (void)CHECK_EQ(text.length, length);
    (void)CHECK(strlen(text.at) == length && strncmp(text.at, "1234,1234,", 10) == 0);
    (void)CHECK(strcmp(text.at + length - 10, "1234,1234,") == 0);
    (void)CHECK(!kn_text_put(&text, long_one));
    (void)CHECK_EQ(text.length, length);
    (void)CHECK(kn_text_finish(&text) == NULL);
    (void)CHECK_EQ(used(arena), before);
    GIVES("enough again", "%s again", "enough");
    (void)CHECK_STATUS(kn_arena_leave(arena, NULL), KN_OK);
}

#ifdef __GLIBC__

enum { ROUNDS = 4000, MOST = 2048 };

/* A random format of one conversion, all of its lengths but for the integers' in `length`. */
static void random_format(char *format, const char *length, const char *letters) {
    static const char flags[] = "-+ #0";
    size_t i;
    *format++ = '%';
    for (i = 0; i < sizeof flags - 1; i++) {
        if (random_below(4) == 0) {
            *format++ = flags[i];
        }
    }
    if (random_below(2) == 0) {
        format += sprintf(format, "%u", 1 + (unsigned)random_below(30));
    }
    if (random_below(2) == 0) {
        format += sprintf(format, random_below(10) == 0 ? "." : ".%u", (unsigned)random_below(25));
    }
    format += sprintf(format, "%s", length);
    *format++ = letters[random_below(strlen(letters))];
    *format = '\0';
}

/* A number of any length, of either sign. */
static uintmax_t random_number(void) {
    uintmax_t number = (((uintmax_t)random_bits() << 32) | random_bits()) >> random_below(64);
    return random_below(8) == 0 ? 0 : random_below(3) == 0 ? 0 - number : number;
}

static double random_double(void) {
    uint64_t bits = ((uint64_t)random_bits() << 32) | random_bits();
    double number;
    switch (random_below(4)) {
        case 0: memcpy(&number, &bits, sizeof number); return number; /* any, most of them huge or tiny */
        case 1: return (double)(int64_t)random_number() / (double)((uint64_t)1 << random_below(40));
        case 2: return (double)random_below(100000) / 8 - 5000; /* ties */
        default: return (double)random_below(1000000000) / 1000;
    }
}

#define COMPARE(value)                                                                                                 \
    do {                                                                                                               \
        (void)snprintf(expected, sizeof expected, unseen(format), (value));                                            \
        agreed = agreed && is_text(expected, kn_arena_printf(arena, unseen(format), (value)));                         \
    } while (0)

/* Any conversion, any flags: what snprintf gives. */
TEST(as_snprintf) {
    KnArena *arena = new_arena();
    KnArenaMark mark;
    char format[64];
    static char expected[MOST];
    int round;
    REQUIRE(arena != NULL);
    mark = kn_arena_mark(arena);
    for (round = 0; round < ROUNDS; round++) {
        uintmax_t number = random_number();
        double real = random_double();
        bool agreed = true;
        random_format(format, "", "diuxXo");
        COMPARE((int)number);
        random_format(format, "hh", "diuxXo");
        COMPARE((int)number);
        random_format(format, "h", "diuxXo");
        COMPARE((int)number);
        random_format(format, "l", "diuxXo");
        COMPARE((long)number);
        random_format(format, "ll", "diuxXo");
        COMPARE((long long)number);
        random_format(format, "z", "diuxXo");
        COMPARE((size_t)number);
        random_format(format, "t", "diuxXo");
        COMPARE((ptrdiff_t)number);
        random_format(format, "j", "diuxXo");
        COMPARE(number);
        random_format(format, "", "fF");
        COMPARE(real);
        random_format(format, "", "s");
        COMPARE("a text of some length");
        (void)CHECK(agreed);
        (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    }
}

#define AS_SNPRINTF , ONCE(as_snprintf)
#else
#define AS_SNPRINTF
#endif

SUITE("format", ONCE(integers), ONCE(texts_and_pointers), ONCE(exact_decimals), ONCE(not_offered),
      EACH_LAYOUT(exact_memory), EACH_LAYOUT(grows_in_place), EACH_LAYOUT(moves_when_it_must),
      EACH_LAYOUT(no_memory_for_more) AS_SNPRINTF)
