/* The printer: what a value looks like.
 *
 * - It never recurses and allocates nothing: the containers that it is inside of stand in an array, and
 *   below NESTING of them, or behind PRINTED elements, it prints "..." instead. So a structure that contains
 *   itself prints as well. */
#include "lisp.h"

#include <stdio.h>
#include <string.h>

static void put_console(void *context, const char *text, size_t length)
{
    (void)context;
    fwrite(text, 1, length, stdout);
}

const Sink console = { put_console, NULL };

static void put(Sink sink, const char *text)
{
    sink.put(sink.context, text, strlen(text));
}

size_t print_integer(int64_t value, char *into)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[24];
    size_t count = 0, length = 0;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) {
        into[length++] = '-';
    }
    while (count > 0) {
        into[length++] = digits[--count];
    }
    into[length] = '\0';
    return length;
}

static void print_string(Sink sink, const String *string, bool quoted)
{
    size_t i;
    if (!quoted) {
        sink.put(sink.context, string->text, string->length);
        return;
    }
    put(sink, "\"");
    for (i = 0; i < string->length; i++) {
        char character = string->text[i];
        if (character == '"' || character == '\\' || character == '\n') {
            put(sink, "\\");
        }
        sink.put(sink.context, character == '\n' ? "n" : &character, 1);
    }
    put(sink, "\"");
}

static void print_function(Sink sink, const char *kind, const char *name)
{
    put(sink, kind);
    put(sink, name);
    put(sink, ">");
}

/* What has no elements. */
static void print_atom(const Lisp *lisp, Sink sink, Value value, bool quoted)
{
    const TypeIds *types = &lisp->types;
    KnTypeId type = type_of(value);
    if (value == NULL) {
        put(sink, "()");
    } else if (type == types->integer) {
        char digits[24];
        sink.put(sink.context, digits, print_integer(((Integer *)value)->value, digits));
    } else if (type == types->string) {
        print_string(sink, value, quoted);
    } else if (type == types->symbol) {
        print_string(sink, ((Symbol *)value)->name, false);
    } else if (type == types->constant) {
        put(sink, ((Constant *)value)->name);
    } else if (type == types->closure) {
        const Symbol *name = ((Closure *)value)->code->name;
        print_function(sink, "#<function ", name != NULL ? name->name->text : "without a name");
    } else if (type == types->builtin) {
        print_function(sink, "#<builtin ", ((Builtin *)value)->name);
    } else {
        put(sink, "#<internal>");
    }
}

/* A list or vector that is being printed. */
typedef struct Open {
    Vector *vector; /* or NULL: a list */
    Value list;     /* what is left of it */
    size_t next;
} Open;

/* The next element of what is open; false: there is none, and its end has been printed. */
static bool advance(const Lisp *lisp, Sink sink, Open *open, Value *element)
{
    bool begins = open->next++ == 0;
    if (open->vector != NULL) {
        if (open->next > open->vector->length) {
            put(sink, ")");
            return false;
        }
        *element = open->vector->items[open->next - 1];
    } else {
        if (open->list == NULL) {
            put(sink, ")");
            return false;
        }
        if (!is_pair(lisp, open->list)) {
            put(sink, " . ");
            *element = open->list;
            open->list = NULL;
            return true;
        }
        *element = first(open->list);
        open->list = rest(open->list);
    }
    put(sink, begins ? "" : " ");
    return true;
}

void print(const Lisp *lisp, Sink sink, Value value, bool quoted)
{
    Open open[NESTING];
    size_t depth = 0, printed = 0;
    for (;;) {
        bool is_vector = type_of(value) == lisp->types.vector;
        if (!is_vector && !is_pair(lisp, value)) {
            print_atom(lisp, sink, value, quoted);
        } else if (depth == NESTING) {
            put(sink, "...");
        } else {
            open[depth].vector = is_vector ? value : NULL;
            open[depth].list = is_vector ? NULL : value;
            open[depth].next = 0;
            depth++;
            put(sink, is_vector ? "#(" : "(");
        }
        while (depth > 0 && !advance(lisp, sink, &open[depth - 1], &value)) {
            depth--;
        }
        if (depth == 0) {
            return;
        }
        if (++printed > PRINTED) {
            put(sink, "...");
            return;
        }
    }
}
