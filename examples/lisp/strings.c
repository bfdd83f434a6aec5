/* Functions of the Lisp that are written in C: strings, symbols, output.
 *
 * A character is its code, a number. Strings never change, so they may be shared. */
#include "lisp.h"

#include <string.h>

#define ARGUMENTS Lisp *lisp, size_t count, Value *a
#define UNUSED ((void)lisp, (void)count, (void)a)

static String *string_of(Lisp *lisp, Value value)
{
    if (type_of(value) != lisp->types.string) {
        fail_about(lisp, "not a string", value);
    }
    return value;
}

static Symbol *symbol_of(Lisp *lisp, Value value)
{
    if (type_of(value) != lisp->types.symbol) {
        fail_about(lisp, "not a symbol", value);
    }
    return value;
}

static char character_of(Lisp *lisp, Value value)
{
    return (char)index_of(lisp, value, 255);
}

/* ---------------------------------------------------------------- strings */

static Value string_length(ARGUMENTS)
{
    UNUSED;
    return new_integer(lisp, (int64_t)string_of(lisp, a[0])->length);
}

static Value string_ref(ARGUMENTS)
{
    String *string = string_of(lisp, a[0]);
    size_t at = index_of(lisp, a[1], string->length);
    UNUSED;
    if (at == string->length) {
        fail_about(lisp, "out of range", a[1]);
    }
    return new_integer(lisp, (unsigned char)string->text[at]);
}

static Value substring(ARGUMENTS)
{
    String *string = string_of(lisp, a[0]);
    size_t end = count > 2 ? index_of(lisp, a[2], string->length) : string->length;
    size_t begin = index_of(lisp, a[1], end);
    return new_string(lisp, string->text + begin, end - begin);
}

static Value string_append(ARGUMENTS)
{
    size_t i, length = 0;
    String *made;
    for (i = 0; i < count; i++) {
        length += string_of(lisp, a[i])->length;
    }
    made = new_string(lisp, NULL, length);
    for (i = 0, length = 0; i < count; i++) {
        String *part = a[i];
        memcpy(made->text + length, part->text, part->length);
        length += part->length;
    }
    return made;
}

/* Less than, equal to or greater than 0, as memcmp. */
static int compare(Lisp *lisp, Value *a)
{
    String *x = string_of(lisp, a[0]), *y = string_of(lisp, a[1]);
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

static Value equal_strings(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, compare(lisp, a) == 0);
}

static Value less_string(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, compare(lisp, a) < 0);
}

static Value string_to_list(ARGUMENTS)
{
    String *string = string_of(lisp, a[0]);
    uint32_t i;
    UNUSED;
    for (i = 0; i < string->length; i++) {
        push(lisp, new_integer(lisp, (unsigned char)string->text[i]));
    }
    collect(lisp, string->length);
    return pop(lisp);
}

static Value list_to_string(ARGUMENTS)
{
    size_t i, length = push_list(lisp, a[0]);
    String *made;
    UNUSED;
    for (i = 0; i < length; i++) {
        character_of(lisp, lisp->stack[lisp->top - length + i]);
    }
    made = new_string(lisp, NULL, length);
    for (i = 0; i < length; i++) {
        made->text[i] = character_of(lisp, lisp->stack[lisp->top - length + i]);
    }
    drop(lisp, length);
    return made;
}

/* ---------------------------------------------------------------- symbols and numbers */

static Value string_to_symbol(ARGUMENTS)
{
    String *string = string_of(lisp, a[0]);
    UNUSED;
    return intern(lisp, string->text, string->length);
}

static Value symbol_to_string(ARGUMENTS)
{
    UNUSED;
    return GC_ref(symbol_of(lisp, a[0])->name);
}

static Value number_to_string(ARGUMENTS)
{
    char digits[24];
    size_t length = print_integer(integer_of(lisp, a[0]), digits);
    UNUSED;
    return new_string(lisp, digits, length);
}

static Value string_to_number(ARGUMENTS)
{
    String *string = string_of(lisp, a[0]);
    int64_t number;
    UNUSED;
    if (!parse_integer(string->text, string->length, &number)) {
        return truth(lisp, false);
    }
    return new_integer(lisp, number);
}

/* ---------------------------------------------------------------- output */

static Value display(ARGUMENTS)
{
    size_t i;
    for (i = 0; i < count; i++) {
        print(lisp, console, a[i], false);
    }
    return GC_ref(lisp->unspecified);
}

static Value write_quoted(ARGUMENTS)
{
    UNUSED;
    print(lisp, console, a[0], true);
    return GC_ref(lisp->unspecified);
}

static Value newline(ARGUMENTS)
{
    UNUSED;
    console.put(console.context, "\n", 1);
    return GC_ref(lisp->unspecified);
}

const Builtin string_builtins[] = {
    { "string-length", string_length, 1, 1 },
    { "string-ref", string_ref, 2, 2 },
    { "substring", substring, 2, 3 },
    { "string-append", string_append, 0, MANY },
    { "string=?", equal_strings, 2, 2 },
    { "string<?", less_string, 2, 2 },
    { "string->list", string_to_list, 1, 1 },
    { "list->string", list_to_string, 1, 1 },
    { "string->symbol", string_to_symbol, 1, 1 },
    { "symbol->string", symbol_to_string, 1, 1 },
    { "number->string", number_to_string, 1, 1 },
    { "string->number", string_to_number, 1, 1 },
    { "display", display, 1, MANY },
    { "write", write_quoted, 1, 1 },
    { "newline", newline, 0, 0 },
    { NULL, NULL, 0, 0 },
};
