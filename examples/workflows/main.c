/* A device that runs one workflow after another: loads a script, runs it, leaves. On the host and as firmware.
 *
 *     workflows [--heap BYTES] [--count N] [--scopes] [--figures FILE] FOLDER
 *
 * --heap     the device's heap: 140 KB unless told otherwise
 * --count    how many workflows: 1000 unless told otherwise
 * --scopes   each runs in a scope of Knoll
 * --figures  writes a line for each workflow: its number, 1 if it ended well or 0, the bytes that are free after it,
 *            and the largest request that succeeds then
 *
 * FOLDER holds the scripts; which of them a workflow runs is drawn by lot, always the same lots. Scripts insert into
 * the always-active tables now and then, in their middle. What they print is the same on every allocator, and so is
 * the last line: what the tables hold.
 *
 * Exit status: 0 done; 1 a workflow failed, for want of memory, say; 2 bad arguments or files; 3 not enough memory to
 * begin; 4 the heap was not as it should be. */
#include "memory.h"
#include "runtime.h"
#include "tables.h"

#include <mark.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, BAD_USE = 2, NO_MEMORY = 3, DAMAGED = 4 };

/* The harness counts the instructions of a whole workflow, enter and leave included, and of its end alone. */
enum { WORKFLOW = 1, END = 2 };

typedef struct Options {
    size_t heap;
    uint32_t count;
    bool scopes;
    const char *figures, *folder;
} Options;

static int complain(const char *what, const char *of)
{
    fprintf(stderr, "workflows: %s: %s\n", what, of);
    return BAD_USE;
}

static int parse(int count, char **words, Options *out)
{
    int i = 1;
    out->heap = sizeof memory;
    out->count = 1000;
    for (; i < count && words[i][0] == '-'; i++) {
        if (strcmp(words[i], "--scopes") == 0) {
            out->scopes = true;
        } else if (strcmp(words[i], "--heap") == 0 && i + 1 < count) {
            out->heap = (size_t)strtoul(words[++i], NULL, 0);
        } else if (strcmp(words[i], "--count") == 0 && i + 1 < count) {
            out->count = (uint32_t)strtoul(words[++i], NULL, 0);
        } else if (strcmp(words[i], "--figures") == 0 && i + 1 < count) {
            out->figures = words[++i];
        } else {
            return complain("unknown option, or its value is missing", words[i]);
        }
    }
    if (i + 1 != count) {
        return complain("expected one folder", i < count ? words[i + 1] : "none given");
    }
    out->folder = words[i];
    return DONE;
}

/* ---------------------------------------------------------------- the figures' file, without stdio's buffer */

static struct {
    int file; /* -1: none */
    bool failed;
    size_t used;
    char text[1024];
} figures = { .file = -1 };

static void flush_figures(void)
{
    if (figures.file >= 0 && write(figures.file, figures.text, figures.used) != (ssize_t)figures.used) {
        figures.failed = true;
    }
    figures.used = 0;
}

static void record(uint32_t workflow, bool fine)
{
    MemoryFigures now;
    memory_figures(&now);
    if (sizeof figures.text - figures.used < 64) {
        flush_figures();
    }
    figures.used += (size_t)snprintf(figures.text + figures.used, sizeof figures.text - figures.used, "%lu %d %lu %lu\n",
                                     (unsigned long)workflow, fine ? 1 : 0, (unsigned long)now.free,
                                     (unsigned long)now.largest);
}

/* ---------------------------------------------------------------- workflows */

/* Runs one and leaves; false: it failed. */
static bool run(const char *folder, uint32_t workflow)
{
    static uint32_t lot = 2026;
    char path[128];
    const char *name;
    bool fine;
    lot = lot * 1664525u + 1013904223u;
    name = runtime_scripts[(lot >> 20) % runtime_script_count];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, runtime_name);
    printf("-- workflow %lu: %s\n", (unsigned long)workflow, name);

    KNOLL_MARK_BEGIN(WORKFLOW);
    fine = memory_enter(name) && runtime_run(path, workflow);
    KNOLL_MARK_BEGIN(END);
    if (!memory_scoped) {
        runtime_close();
    }
    fine = memory_leave() && fine;
    KNOLL_MARK_END(END);
    KNOLL_MARK_END(WORKFLOW);
    return fine;
}

/* The C library takes work space for numbers when it first prints or reads one. That is no workflow's doing. */
static void warm_up(void)
{
    char text[64];
    volatile double number = strtod("1234567.8901234567e-30", NULL);
    snprintf(text, sizeof text, "%.17g %.14g", number * 1e200, number);
}

int main(int count, char **words)
{
    static char output[1024];
    static Options options;
    TableFigures tables;
    uint32_t workflow, failures = 0;
    int status = parse(count, words, &options);
    if (status != DONE) {
        return status;
    }
    setvbuf(stdout, output, _IOFBF, sizeof output);
    knoll_mark_name(WORKFLOW, "workflow");
    knoll_mark_name(END, "end");
    warm_up();
    if (!memory_open(options.heap, options.scopes) || !tables_open()) {
        fprintf(stderr, "workflows: not enough memory to begin\n");
        return NO_MEMORY;
    }
    if (options.figures != NULL) {
        figures.file = open(options.figures, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (figures.file < 0) {
            return complain("cannot create", options.figures);
        }
    }
    memory_verify(true);
    record(0, true);
    for (workflow = 1; workflow <= options.count; workflow++) {
        bool fine = run(options.folder, workflow);
        failures += fine ? 0 : 1;
        memory_verify(memory_scoped || runtime_leaves_nothing);
        record(workflow, fine);
        if (memory_complaint() != NULL) {
            fprintf(stderr, "workflows: after workflow %lu: %s\n", (unsigned long)workflow, memory_complaint());
            break;
        }
    }
    flush_figures();
    tables_figures(&tables);
    printf("-- always active: entries %lu, sum %08lx\n", (unsigned long)tables.entries, (unsigned long)tables.sum);
    fflush(stdout);
    knoll_result("always-active bytes", (int64_t)tables.bytes);
    knoll_result("always-active blocks", (int64_t)tables.blocks);
    knoll_result("most held", (int64_t)memory_most_held());
    if (figures.failed || (figures.file >= 0 && close(figures.file) != 0)) {
        return complain("cannot write", options.figures);
    }
    if (failures > 0) {
        fprintf(stderr, "workflows: %lu of %lu failed\n", (unsigned long)failures, (unsigned long)options.count);
    }
    return memory_complaint() != NULL ? DAMAGED : failures > 0 ? FAILED : DONE;
}
