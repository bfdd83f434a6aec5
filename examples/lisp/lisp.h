/* A small Lisp whose every object is a counted cell of Knoll: what its parts know of each other.
 *
 *   script ──▶ reader.c ──▶ pairs ──▶ compile.c ──▶ Code ──▶ machine.c ──▶ a value ──▶ print.c
 *                  └──────────┴─── cells.c: all objects ────────┴── builtins.c, strings.c
 *
 * A value is a cell, or NULL: the empty list. Who owns a reference:
 *
 *   - A function that returns a Value gives the caller a reference, and one that is given values
 *     borrows them, unless its comment says otherwise.
 *   - An error leaves by longjmp. So a reference is owned by a field of a cell, by the interpreter's
 *     stack or by its frames, and by a local variable of C only where nothing can fail: what lies
 *     on the stack and in the frames is released on the way to the top level, and nothing leaks.
 *   - Fields of cells change by GC_assign alone, once the cell is made: that is the write barrier
 *     which collection in slices needs. */
#ifndef LISP_H
#define LISP_H

#include <knoll.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NO_RETURN __attribute__((noreturn))
#else
#define NO_RETURN
#endif

/* The machine counts in line; with LISP_CHECKED it calls the functions that verify each pointer. */
#ifdef LISP_CHECKED
#define GC_refInline GC_ref
#define GC_unrefInline GC_unref
#define GC_typeOfInline GC_typeOf
#endif

typedef void *Value;
typedef struct Lisp Lisp;

/* ---------------------------------------------------------------- the objects, each a cell */

typedef struct Pair {
    Value first, rest;
} Pair;

/* A pair that begins a list in the script: it knows where. */
typedef struct Spot {
    Pair pair;
    uint16_t line, column;
} Spot;

typedef struct Integer {
    int64_t value;
} Integer;

/* Bytes, and a zero behind them. Never changed once made. */
typedef struct String {
    uint32_t length;
    char text[];
} String;

/* One for each name. Declared acyclic: the table of symbols holds every symbol, so a cycle through
 * one is no garbage while the interpreter lives, and the collector need not look. */
typedef struct Symbol {
    String *name;
    Value value;   /* as a global variable */
    uint32_t form; /* which special form it names; 0: none */
} Symbol;

typedef struct Vector {
    size_t length;
    Value items[];
} Vector;

/* The variables of one call, or of one let. */
typedef struct Env {
    struct Env *parent;
    Value slots[];
} Env;

/* A lambda that was compiled: see compile.c for the words. */
typedef struct Code {
    Symbol *name; /* or NULL */
    Vector *constants;
    uint16_t parameters, slots; /* slots: parameters, the rest, inner definitions */
    uint16_t has_rest, length;
    uint16_t words[];
} Code;

typedef struct Closure {
    Code *code;
    Env *env;
} Closure;

/* Borrows its arguments; they stay on the stack while it runs. */
typedef Value (*Function)(Lisp *lisp, size_t count, Value *arguments);

typedef struct Builtin {
    const char *name;
    Function function; /* NULL: the machine's own, apply or eval */
    uint16_t least, most;
} Builtin;

/* #t, #f and others of which there is one; while reading also what is open: "(", "'". */
typedef struct Constant {
    const char *name;
    uint16_t line, column;
} Constant;

typedef struct TypeIds {
    KnTypeId pair, spot, integer, string, symbol, vector, env, code, closure, builtin, constant;
} TypeIds;

/* ---------------------------------------------------------------- the interpreter */

enum {
    STACK = 4096,     /* values */
    FRAMES = 1500,    /* calls that wait for another call's result */
    SMALL_LEAST = -16, /* integers of which one cell each is kept */
    SMALL_END = 240,
    BUCKETS = 127,
    MESSAGE = 160,
    NESTING = 64, /* of expressions, and of what is printed */
    MANY = 1000,  /* arguments */
    PRINTED = 300 /* most elements that are printed */
};

/* A closure that runs. Owns both references; `pc` points into the closure's code. */
typedef struct Frame {
    Closure *closure;
    Env *env;
    const uint16_t *pc;
} Frame;

/* Where a script comes from: `read` gives up to `room` bytes, 0 at the end. */
typedef struct Source {
    const char *name;
    size_t (*read)(void *context, char *into, size_t room);
    void *context;
    uint16_t line, column;
    bool hidden; /* errors are not in it, but in who calls its functions: nothing gets a place */
    bool ended;
    size_t at, have;
    char piece[256];
} Source;

struct Lisp {
    Value stack[STACK]; /* owned, below `top` */
    size_t top;
    Frame frames[FRAMES]; /* owned, below `depth` */
    size_t depth;
    TypeIds types;
    Value yes, no, unspecified, unassigned, end_of_file;
    Value symbols[BUCKETS]; /* lists of symbols */
    Value small[SMALL_END - SMALL_LEAST];
    Symbol *quote, *quasiquote, *unquote, *splice, *define, *lambda, *otherwise;
    uint16_t line, column; /* of what runs, or is read or compiled */
    uint32_t made;         /* cells, since the start */
    uint32_t errors;
    char message[MESSAGE];
    jmp_buf top_level;
};

/* ---------------------------------------------------------------- cells.c: objects and ownership */

/* False: no memory. Whatever happened, `lisp_close` is to be called then. */
bool lisp_open(Lisp *lisp);
/* Drops everything that the interpreter holds: the stack, globals, symbols. Cycles stay behind for
 * the collector. */
void lisp_close(Lisp *lisp);

/* Tells the top level what is wrong, with `culprit` printed behind it, and leaves by longjmp. */
NO_RETURN void fail_about(Lisp *lisp, const char *what, Value culprit);
NO_RETURN void fail(Lisp *lisp, const char *what);
/* Releases stack and frames. */
void unwind(Lisp *lisp);


/* All of these fail, by longjmp, when there is no memory. */
Value new_cell(Lisp *lisp, KnTypeId type, size_t bytes);
/* Takes both references, also when it fails. */
Value new_pair(Lisp *lisp, Value first, Value rest);
Value new_integer(Lisp *lisp, int64_t value);
/* `text` may be NULL: zeroes. It must not lie in a cell that nobody holds. */
String *new_string(Lisp *lisp, const char *text, size_t length);
/* All elements the empty list. */
Vector *new_vector(Lisp *lisp, size_t length);
Value new_builtin(Lisp *lisp, const Builtin *like);
Value new_constant(Lisp *lisp, const char *name);
/* With `first` and `rest` still empty: what was open where it says. */
Spot *new_spot(Lisp *lisp, uint16_t line, uint16_t column);
/* The topmost values become a list of them, in their order. */
void collect(Lisp *lisp, size_t count);
/* The symbol of this name, made when it is new. */
Symbol *intern(Lisp *lisp, const char *text, size_t length);

static inline KnTypeId type_of(Value value)
{
    return value == NULL ? 0 : GC_typeOfInline(value);
}

static inline bool is_pair(const Lisp *lisp, Value value)
{
    KnTypeId type = type_of(value);
    return type == lisp->types.pair || type == lisp->types.spot;
}

static inline Value first(Value pair)
{
    return ((Pair *)pair)->first;
}

static inline Value rest(Value pair)
{
    return ((Pair *)pair)->rest;
}

static inline Value truth(const Lisp *lisp, bool is)
{
    return GC_refInline(is ? lisp->yes : lisp->no);
}

/* Takes the reference. */
static inline void push(Lisp *lisp, Value value)
{
    if (lisp->top == STACK) {
        GC_unrefInline(value);
        fail(lisp, "the stack is full");
    }
    lisp->stack[lisp->top++] = value;
}

/* Gives the reference. */
static inline Value pop(Lisp *lisp)
{
    return lisp->stack[--lisp->top];
}

static inline void drop(Lisp *lisp, size_t count)
{
    while (count-- > 0) {
        GC_unrefInline(pop(lisp));
    }
}

/* ---------------------------------------------------------------- the other parts */

/* reader.c: the next datum of a script; `end_of_file` behind the last. */
Value read_datum(Lisp *lisp, Source *source);
/* The number that a text is, if it is one and fits in 64 bits. */
bool parse_integer(const char *text, size_t length, int64_t *out);

/* compile.c */
enum Operation {
    CONSTANT, /* k: push constant k */
    LOCAL,    /* depth, index: push a variable */
    GLOBAL,   /* k, line, column: push the value of the symbol k */
    SET_LOCAL, /* these three take the value from the stack and leave `unspecified` */
    SET_GLOBAL,
    DEFINE_GLOBAL,
    JUMP,               /* to */
    JUMP_IF_FALSE,      /* to; takes the value */
    JUMP_OR_DROP_FALSE, /* to: jump with a false value, else drop it */
    JUMP_OR_DROP_TRUE,  /* to: jump with a true value, else drop it */
    DROP,
    CLOSURE, /* k: push a closure of the code k over the environment that is current */
    CALL,    /* count, line, column: the function lies below its arguments */
    TAIL_CALL,
    RETURN,
    ENTER, /* count, slots: a new environment, its first variables from the stack */
    LEAVE,
    CONS,   /* quasiquote: first, rest */
    SPLICE, /* quasiquote: a list, rest */
};
Code *compile(Lisp *lisp, Value expression);
void compile_names(Lisp *lisp);

/* machine.c: compiles an expression and runs it. */
Value evaluate(Lisp *lisp, Value expression);

/* print.c */
typedef struct Sink {
    void (*put)(void *context, const char *text, size_t length);
    void *context;
} Sink;
/* As `display` prints it, or, quoted, as `write` does. Long and deep structures are cut short. */
void print(const Lisp *lisp, Sink sink, Value value, bool quoted);
/* To the standard output. */
extern const Sink console;
/* Decimal digits into `into`, which holds 24; returns how many. */
size_t print_integer(int64_t value, char *into);

/* builtins.c, strings.c: tables that end with a NULL name. */
extern const Builtin list_builtins[], string_builtins[];
int64_t integer_of(Lisp *lisp, Value value);
/* An integer from 0 to `most`. */
size_t index_of(Lisp *lisp, Value value, size_t most);
/* The elements of a list, pushed; fails when it is none. */
size_t push_list(Lisp *lisp, Value list);
bool is_equal(Lisp *lisp, Value a, Value b);

/* prelude.c: functions that are written in Lisp. */
extern const char prelude[];

#endif
