/* A workflow in the Lisp of examples/lisp: an interpreter of its own, the prelude, the script, and out.
 *
 * Its objects are counted cells: Knoll's, on the heap of the workflow, or in its scope (scope_cells.h), or those of
 * plain_cells.h over any malloc. In a scope nothing is released at the end: the heap with the cells, the types that were
 * registered on it, the counts and the cycles go with the scope. Without one the interpreter lets go of everything, and
 * a collection finds the rings. */
#include "memory.h"
#include "runtime.h"
#include "tables.h"

#include <lisp.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const runtime_name = "lisp";
const char *const runtime_scripts[] = {
    "accounts", "words", "shelf", "sorting", "queens", "streams", "derive", "inner", "tape", "grid",
};
const unsigned runtime_script_count = sizeof runtime_scripts / sizeof runtime_scripts[0];

#ifdef PLAIN_CELLS_H
const bool runtime_leaves_nothing = true;
#else
const bool runtime_leaves_nothing = false;
#endif

static Lisp lisp;

/* ---------------------------------------------------------------- the always-active tables */

static String *string_of(Value value)
{
    if (type_of(value) != lisp.types.string) {
        fail_about(&lisp, "not a string", value);
    }
    return value;
}

static const char *table_of(Value value)
{
    if (type_of(value) != lisp.types.symbol) {
        fail_about(&lisp, "not the name of a table", value);
    }
    return ((Symbol *)value)->name->text;
}

/* (remember 'table "name" "value") */
static Value lisp_remember(Lisp *self, size_t count, Value *arguments)
{
    String *name = string_of(arguments[1]), *value = string_of(arguments[2]);
    (void)count;
    if (!remember(table_of(arguments[0]), name->text, name->length, value->text, value->length)) {
        fail_about(self, "cannot remember", name);
    }
    return GC_ref(self->unspecified);
}

/* (recall 'table "name"): a string, or #f */
static Value lisp_recall(Lisp *self, size_t count, Value *arguments)
{
    String *name = string_of(arguments[1]);
    size_t length;
    const char *value = recall(table_of(arguments[0]), name->text, name->length, &length);
    (void)count;
    return value != NULL ? new_string(self, value, length) : truth(self, false);
}

static const Builtin functions[] = { { "remember", lisp_remember, 3, 3 }, { "recall", lisp_recall, 2, 2 } };

/* Makes a global variable; takes the reference. */
static void define_global(const char *name, Value value)
{
    Symbol *symbol;
    push(&lisp, value);
    symbol = intern(&lisp, name, strlen(name));
    push(&lisp, symbol);
    GC_assign(&symbol->value, lisp.stack[lisp.top - 2]);
    drop(&lisp, 2);
}

static bool define_globals(uint32_t workflow)
{
    size_t i;
    if (setjmp(lisp.top_level) != 0) {
        return false;
    }
    for (i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        define_global(functions[i].name, new_builtin(&lisp, &functions[i]));
    }
    define_global("workflow", new_integer(&lisp, workflow));
    return true;
}

/* ---------------------------------------------------------------- running a source */

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

/* Evaluates the next expression of a source; false: there is none. An error ends its expression, and counts. */
static bool run_next(Source *source)
{
    bool more;
    if (setjmp(lisp.top_level) != 0) {
        fprintf(stderr, "error: %s:%u:%u: %s\n", source->name, (unsigned)lisp.line, (unsigned)lisp.column, lisp.message);
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

static void run_source(Source *source)
{
    source->line = source->column = 1;
    while (run_next(source)) {
    }
}

bool runtime_run(const char *path, uint32_t workflow)
{
    static Source source;
    static const char *text;
    static int file;
#if !defined(PLAIN_CELLS_H) && !defined(SCOPE_CELLS_H)
    static const KnGcConfig collector = { .flags = KN_GC_COLLECT_WHEN_FULL };
    GC_configure(&collector);
#endif
    if (!lisp_open(&lisp) || !define_globals(workflow)) {
        fprintf(stderr, "%s: no memory for the Lisp\n", path);
        return false;
    }
    memset(&source, 0, sizeof source);
    text = prelude;
    source.name = "prelude";
    source.hidden = true;
    source.read = read_text;
    source.context = &text;
    run_source(&source);

    file = open(path, O_RDONLY);
    if (file < 0) {
        fprintf(stderr, "%s: cannot open\n", path);
        return false;
    }
    memset(&source, 0, sizeof source);
    source.name = path;
    source.read = read_file;
    source.context = &file;
    run_source(&source);
    close(file);
    return lisp.errors == 0;
}

void runtime_close(void)
{
    lisp_close(&lisp);
    GC_runOrc();
}
