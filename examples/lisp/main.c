/* Runs one Lisp script, on the host or as firmware, and shows that it leaves nothing behind.
 *
 *     lisp [--heap BYTES] [--slice CELLS] [--lazy CELLS] [--torture] [--cycles] [--report FILE] SCRIPT
 *
 * --heap     in an array of that size, instead of the process heap (a firmware: instead of its whole array)
 * --slice    the cycle collector never visits more cells than this at a time
 * --lazy     releasing a reference never frees more cells than this at a time
 * --torture  at each allocation all garbage is collected and all counts are verified
 * --cycles   tells, on the standard error, which cycles were left when the interpreter had let go
 * --report   writes figures of the run, as one JSON object
 *
 * An error in the script is printed with its place, and the script goes on with the next expression.
 * Exit status: 0 done; 2 bad arguments or files; 3 not enough memory to begin; 4 a cell was left behind, a
 * count or a record is wrong, or Knoll had anything to complain about. */
#include "lisp.h"

#include <mark.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LISP_HEAP_CAPACITY
#define LISP_HEAP_CAPACITY (160u * 1024)
#endif
#ifdef __arm__
#define HAS_PROCESS_HEAP false
#else
#define HAS_PROCESS_HEAP true
#endif

enum { DONE = 0, BAD_USE = 2, NO_MEMORY = 3, DAMAGED = 4 };

typedef struct Options {
    size_t heap; /* 0: the process heap */
    KnGcConfig collector;
    bool cycles;
    const char *report, *script;
} Options;

static Lisp lisp;
static uint64_t memory[LISP_HEAP_CAPACITY / sizeof(uint64_t)];
static unsigned complaints;

/* The error hook: nothing in this program should make Knoll call it. */
static void on_error(KnStatus status, const void *where, const char *what)
{
    (void)where;
    complaints++;
    fprintf(stderr, "lisp: Knoll says: %s: %s\n", what, kn_status_str(status));
}

static int complain(const char *what, const char *of)
{
    fprintf(stderr, "lisp: %s: %s\n", what, of);
    return BAD_USE;
}

/* ---------------------------------------------------------------- arguments */

static bool number_behind(int count, char **words, int *at, unsigned long *out)
{
    char *end;
    if (*at + 1 >= count) {
        return false;
    }
    *out = strtoul(words[++*at], &end, 0);
    return *end == '\0' && *out > 0;
}

static int parse(int count, char **words, Options *out)
{
    int i = 1;
    unsigned long number = 0;
    out->heap = HAS_PROCESS_HEAP ? 0 : sizeof memory;
    out->collector.flags = KN_GC_COLLECT_WHEN_FULL;
    for (; i < count && words[i][0] == '-'; i++) {
        if (strcmp(words[i], "--heap") == 0 && number_behind(count, words, &i, &number)) {
            out->heap = number;
        } else if (strcmp(words[i], "--slice") == 0 && number_behind(count, words, &i, &number)) {
            out->collector.slice = (uint32_t)number;
        } else if (strcmp(words[i], "--lazy") == 0 && number_behind(count, words, &i, &number)) {
            out->collector.frees_per_unref = (uint32_t)number;
        } else if (strcmp(words[i], "--torture") == 0) {
            out->collector.flags |= KN_GC_TORTURE;
        } else if (strcmp(words[i], "--cycles") == 0) {
            out->cycles = true;
        } else if (strcmp(words[i], "--report") == 0 && i + 1 < count) {
            out->report = words[++i];
        } else {
            return complain("unknown option, or its value is missing", words[i]);
        }
    }
    if (i + 1 != count) {
        return complain("expected one script", i < count ? words[i + 1] : "none given");
    }
    if (out->heap > sizeof memory) {
        return complain("the heap is too large", words[0]);
    }
    out->script = words[i];
    return DONE;
}

/* ---------------------------------------------------------------- running a script */

/* Source.read over a file descriptor. */
static size_t read_file(void *context, char *into, size_t room)
{
    ssize_t got = read(*(int *)context, into, room);
    return got > 0 ? (size_t)got : 0;
}

/* Source.read over a text in memory: the context is what is left of it. */
static size_t read_text(void *context, char *into, size_t room)
{
    const char **text = context;
    size_t length = strlen(*text);
    length = length < room ? length : room;
    memcpy(into, *text, length);
    *text += length;
    return length;
}

static void tell_error(const Source *source)
{
    const Frame *frame = lisp.depth > 0 ? &lisp.frames[lisp.depth - 1] : NULL;
    const Symbol *name = frame != NULL ? frame->closure->code->name : NULL;
    printf("error: %s:%u:%u: %s%s%s%s\n", source->name, (unsigned)lisp.line, (unsigned)lisp.column,
           name != NULL ? "in " : "", name != NULL ? name->name->text : "", name != NULL ? ": " : "", lisp.message);
}

/* Evaluates the next expression of a source; false: there is none. */
static bool run_next(Source *source)
{
    bool more;
    if (setjmp(lisp.top_level) != 0) {
        tell_error(source);
        unwind(&lisp);
        lisp.errors++;
        return true;
    }
    push(&lisp, read_datum(&lisp, source));
    more = lisp.stack[0] != lisp.end_of_file;
    if (more) {
        push(&lisp, evaluate(&lisp, lisp.stack[0]));
    }
    drop(&lisp, lisp.top);
    return more;
}

/* An error ends its expression only. */
static void run_source(Source *source)
{
    source->line = source->column = 1;
    while (run_next(source)) {
    }
}

/* ---------------------------------------------------------------- the end */

static size_t put_error(void *context, const char *text, size_t length)
{
    (void)context;
    return fwrite(text, 1, length, stderr);
}

/* `ended`: when the script had ended; `dropped`: when the interpreter had let go, so that cycles were left and
 * what waited for lazy destruction; `last`: when those were collected. The longest call is of the script's time, in which no collection was asked for in one go. */
static bool write_report(const Options *options, const KnGcStats *ended, const KnGcStats *dropped,
                         const KnGcStats *last)
{
    static char text[768];
    int file, length;
    length = snprintf(
        text, sizeof text,
        "{\"made\":%lu,\"errors\":%lu,\"pointer_bits\":%u,\"heap\":%lu,\n"
        " \"live_at_end\":%lu,\"occupied_at_end\":%lu,\"dropped\":%lu,\"left\":%lu,\n"
        " \"by_collection\":%lu,\"collections\":%lu,\"steps\":%lu,\"visited\":%lu,\"longest\":%lu}\n",
        (unsigned long)lisp.made, (unsigned long)lisp.errors, (unsigned)sizeof(void *) * 8,
        (unsigned long)options->heap, (unsigned long)ended->cells, (unsigned long)ended->occupied,
        (unsigned long)dropped->cells, (unsigned long)last->cells, (unsigned long)last->freed,
        (unsigned long)last->collections, (unsigned long)last->steps, (unsigned long)last->visited,
        (unsigned long)ended->longest);
    file = open(options->report, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) {
        return false;
    }
    length = (int)write(file, text, (size_t)length) - length;
    return close(file) == 0 && length == 0;
}

/* Lets go of everything; then all cells must be gone, and all records as they should be. */
static int finish(const Options *options)
{
    KnGcStats ended, dropped, last;
    KnStatus counted, heap;
    GC_stats(&ended);
    lisp_close(&lisp);
    GC_stats(&dropped);
    if (options->cycles) {
        GC_reportCycles(put_error, NULL);
    }
    GC_runOrc();
    GC_stats(&last);
    counted = GC_check();
    heap = kn_heap_check(kn_heap_default());
    printf("; cells left: %lu, counts: %s, heap: %s\n", (unsigned long)last.cells, kn_status_str(counted),
           kn_status_str(heap));
    fflush(stdout);
    if (options->report != NULL && !write_report(options, &ended, &dropped, &last)) {
        return complain("cannot write", options->report);
    }
    return last.cells == 0 && counted == KN_OK && heap == KN_OK && complaints == 0 ? DONE : DAMAGED;
}

int main(int count, char **words)
{
    static char output[1024];
    static Options options;
    static Source source;
    static const char *text = prelude;
    static int file;
    int status = parse(count, words, &options);
    if (status != DONE) {
        return status;
    }
    setvbuf(stdout, output, _IOFBF, sizeof output);
    kn_on_error(on_error);
    knoll_watch_allow(memory, sizeof memory);
    if ((options.heap != 0 && kn_init(memory, options.heap) != KN_OK) || GC_configure(&options.collector) != KN_OK) {
        fprintf(stderr, "lisp: not enough memory to begin\n");
        return NO_MEMORY;
    }
    if (!lisp_open(&lisp)) {
        status = finish(&options);
        return status == DONE ? NO_MEMORY : status;
    }
    source.name = "prelude";
    source.hidden = true;
    source.read = read_text;
    source.context = &text;
    run_source(&source);

    file = open(options.script, O_RDONLY);
    if (file < 0) {
        return complain("cannot open", options.script);
    }
    memset(&source, 0, sizeof source);
    source.name = options.script;
    source.read = read_file;
    source.context = &file;
    run_source(&source);
    close(file);
    status = finish(&options);
    knoll_result("script", (int64_t)knoll_instructions());
    return status;
}
