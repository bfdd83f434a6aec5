/* The reader: from the characters of a script to lists, symbols, numbers and strings.
 *
 *   datum:  symbol   -12   "a string\n"   #t   #f   #\a (its code)   ( datum … )   ( datum … . datum )
 *           #( datum … )   'datum   `datum   ,datum   ,@datum         ; to the end of the line
 *
 * - It never recurses: what is open waits on the interpreter's stack, each "(" or "'" as a mark that
 *   knows its place, so nesting is bounded by that stack alone.
 * - The first pair of each list knows its line and column; error messages come from there.
 * - After an error, nothing that was read of the datum is left. */
#include "lisp.h"

#include <string.h>

enum { LONGEST = 256 }; /* a symbol, a number, or a string in a script */

/* ---------------------------------------------------------------- characters */

/* The next character, not consumed; -1 at the end. */
static int peek(Source *source)
{
    if (source->at == source->have && !source->ended) {
        source->at = 0;
        source->have = source->read(source->context, source->piece, sizeof source->piece);
        source->ended = source->have == 0;
    }
    return source->ended ? -1 : (unsigned char)source->piece[source->at];
}

static int next(Source *source)
{
    int character = peek(source);
    if (character < 0) {
        return -1;
    }
    source->at++;
    if (character == '\n') {
        source->line++;
        source->column = 1;
    } else {
        source->column++;
    }
    return character;
}

static bool is_space(int character)
{
    return character == ' ' || character == '\n' || character == '\t' || character == '\r';
}

static bool ends_word(int character)
{
    return character < 0 || is_space(character) || (character != 0 && strchr("()'\";`,", character) != NULL);
}

static void skip_blanks(Source *source)
{
    for (;;) {
        int character = peek(source);
        if (character == ';') {
            while (character >= 0 && character != '\n') {
                character = next(source);
            }
        } else if (is_space(character)) {
            next(source);
        } else {
            return;
        }
    }
}

/* ---------------------------------------------------------------- what is open */

static const char list_mark[] = "(", vector_mark[] = "#(", dot_mark[] = ".";
static const char quote_mark[] = "'", quasiquote_mark[] = "`", unquote_mark[] = ",", splice_mark[] = ",@";

static bool is_mark(const Lisp *lisp, Value value, const char *mark)
{
    return type_of(value) == lisp->types.constant && ((Constant *)value)->name == mark;
}

/* The symbol that a quotation mark stands for, or NULL. */
static Symbol *quotation(const Lisp *lisp, Value value)
{
    return is_mark(lisp, value, quote_mark)        ? lisp->quote
           : is_mark(lisp, value, quasiquote_mark) ? lisp->quasiquote
           : is_mark(lisp, value, unquote_mark)    ? lisp->unquote
           : is_mark(lisp, value, splice_mark)     ? lisp->splice
                                                   : NULL;
}

static bool is_open(const Lisp *lisp, Value value)
{
    return is_mark(lisp, value, list_mark) || is_mark(lisp, value, vector_mark) || quotation(lisp, value) != NULL;
}

static void push_mark(Lisp *lisp, const char *name)
{
    Constant *mark = new_constant(lisp, name);
    mark->line = lisp->line;
    mark->column = lisp->column;
    push(lisp, mark);
}

NO_RETURN static void fail_at(Lisp *lisp, const Constant *mark, const char *what)
{
    lisp->line = mark->line;
    lisp->column = mark->column;
    fail(lisp, what);
}

/* ---------------------------------------------------------------- words and strings */

bool parse_integer(const char *text, size_t length, int64_t *out)
{
    bool minus = length > 0 && text[0] == '-';
    size_t i = minus ? 1 : 0;
    int64_t value = 0; /* negative: there is one more of these */
    if (i == length) {
        return false;
    }
    for (; i < length; i++) {
        int digit = text[i] - '0';
        if (digit < 0 || digit > 9 || value < (INT64_MIN + digit) / 10) {
            return false;
        }
        value = value * 10 - digit;
    }
    if (!minus && value == INT64_MIN) {
        return false;
    }
    *out = minus ? value : -value;
    return true;
}

static bool is_number(const char *text, size_t length)
{
    size_t sign = length > 1 && text[0] == '-' ? 1 : 0;
    return text[sign] >= '0' && text[sign] <= '9';
}

/* Pushes what a word is. False: only a mark, no datum yet. */
static bool read_word(Lisp *lisp, Source *source)
{
    char word[LONGEST];
    size_t length = 0;
    int64_t number;
    do {
        if (length == sizeof word) {
            fail(lisp, "a word is too long");
        }
        if (peek(source) < 0) {
            fail(lisp, "what begins here has no end");
        }
        word[length++] = (char)next(source);
        /* The character of #\( is a part of the word, whatever it is. */
    } while (!ends_word(peek(source)) || (length == 2 && word[0] == '#' && word[1] == '\\'));
    if (is_number(word, length)) {
        if (!parse_integer(word, length, &number)) {
            fail(lisp, "not a number, or too large");
        }
        push(lisp, new_integer(lisp, number));
    } else if (length == 1 && word[0] == '.') {
        push_mark(lisp, dot_mark);
        return false;
    } else if (length == 1 && word[0] == '#' && peek(source) == '(') {
        next(source);
        push_mark(lisp, vector_mark);
        return false;
    } else if (length == 2 && word[0] == '#' && (word[1] == 't' || word[1] == 'f')) {
        push(lisp, truth(lisp, word[1] == 't'));
    } else if (length == 3 && word[0] == '#' && word[1] == '\\') {
        push(lisp, new_integer(lisp, (unsigned char)word[2]));
    } else if (word[0] == '#') {
        fail(lisp, "# and then nothing that I know");
    } else {
        push(lisp, intern(lisp, word, length));
    }
    return true;
}

static Value read_string(Lisp *lisp, Source *source)
{
    char text[LONGEST];
    size_t length = 0;
    next(source);
    for (;;) {
        int character = next(source);
        if (character == '"') {
            return new_string(lisp, text, length);
        }
        if (character == '\\') {
            character = next(source);
            character = character == 'n' ? '\n' : character == 't' ? '\t' : character;
        }
        if (character < 0) {
            fail(lisp, "the string that begins here has no end");
        }
        if (length == sizeof text) {
            fail(lisp, "the string that begins here is too long");
        }
        text[length++] = (char)character;
    }
}

/* ---------------------------------------------------------------- lists and quotations */

/* Makes one pair of the two topmost values; with a mark, a pair that knows its place. */
static void join(Lisp *lisp, const Constant *mark)
{
    Pair *pair = mark != NULL ? &new_spot(lisp, mark->line, mark->column)->pair : new_pair(lisp, NULL, NULL);
    pair->rest = pop(lisp);
    pair->first = pop(lisp);
    push(lisp, pair);
}

/* What lies above stack[open] becomes a list and takes the mark's place. */
static void close_list(Lisp *lisp, size_t open)
{
    Value mark = lisp->stack[open];
    if (lisp->top >= open + 4 && is_mark(lisp, lisp->stack[lisp->top - 2], dot_mark)) {
        Value tail = pop(lisp);
        drop(lisp, 1);
        push(lisp, tail);
    } else {
        push(lisp, NULL);
    }
    while (lisp->top > open + 2) {
        if (is_mark(lisp, lisp->stack[lisp->top - 2], dot_mark)) {
            fail(lisp, "a . that is not before the last element");
        }
        join(lisp, lisp->top == open + 3 ? mark : NULL);
    }
    lisp->stack[open] = pop(lisp);
    GC_unref(mark);
}

static void close_vector(Lisp *lisp, size_t open)
{
    Value mark = lisp->stack[open];
    size_t i, length = lisp->top - open - 1;
    Vector *vector = new_vector(lisp, length);
    for (i = 0; i < length; i++) {
        vector->items[i] = lisp->stack[open + 1 + i];
    }
    lisp->top = open + 1;
    lisp->stack[open] = vector;
    GC_unref(mark);
}

/* A ")": closes what was opened last. */
static void close_last(Lisp *lisp, size_t base)
{
    size_t open = lisp->top;
    while (open > base) {
        Value value = lisp->stack[--open];
        if (is_mark(lisp, value, list_mark)) {
            close_list(lisp, open);
            return;
        }
        if (is_mark(lisp, value, vector_mark)) {
            close_vector(lisp, open);
            return;
        }
        if (quotation(lisp, value) != NULL) {
            fail_at(lisp, value, "nothing follows");
        }
    }
    fail(lisp, "a ) too many");
}

/* A datum is complete: the quotation marks in front of it are done as well. */
static void quote_last(Lisp *lisp, size_t base)
{
    Symbol *symbol;
    while (lisp->top >= base + 2 && (symbol = quotation(lisp, lisp->stack[lisp->top - 2])) != NULL) {
        Value mark = lisp->stack[lisp->top - 2];
        push(lisp, NULL);
        push(lisp, NULL);
        lisp->stack[lisp->top - 2] = lisp->stack[lisp->top - 3];
        lisp->stack[lisp->top - 3] = GC_ref(symbol);
        join(lisp, NULL);
        join(lisp, mark);
        lisp->stack[lisp->top - 2] = lisp->stack[lisp->top - 1];
        lisp->top--;
        GC_unref(mark);
    }
}

/* ---------------------------------------------------------------- reading */

Value read_datum(Lisp *lisp, Source *source)
{
    size_t base = lisp->top;
    for (;;) {
        int character;
        skip_blanks(source);
        lisp->line = source->hidden ? 0 : source->line;
        lisp->column = source->hidden ? 0 : source->column;
        character = peek(source);
        if (character < 0) {
            size_t open = lisp->top;
            while (open > base) {
                Value value = lisp->stack[--open];
                if (is_open(lisp, value)) {
                    fail_at(lisp, value, "what begins here has no end");
                }
            }
            return GC_ref(lisp->end_of_file);
        }
        if (character == '(') {
            next(source);
            push_mark(lisp, list_mark);
            continue;
        }
        if (character == '\'' || character == '`' || character == ',') {
            next(source);
            if (character == ',' && peek(source) == '@') {
                next(source);
                push_mark(lisp, splice_mark);
            } else {
                push_mark(lisp, character == '\'' ? quote_mark : character == '`' ? quasiquote_mark : unquote_mark);
            }
            continue;
        }
        if (character == ')') {
            next(source);
            close_last(lisp, base);
        } else if (character == '"') {
            push(lisp, read_string(lisp, source));
        } else if (!read_word(lisp, source)) {
            continue;
        }
        quote_last(lisp, base);
        if (lisp->top == base + 1) {
            return pop(lisp);
        }
    }
}
