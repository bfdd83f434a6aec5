/* The objects of the Lisp as types of Knoll, and who holds what.
 *
 * - Each type tells Knoll where its references lie, what they are called, and, where that is certain,
 *   which type they refer to. From this Knoll infers that integers, strings, constants and builtins
 *   can be in no cycle: such cells never trouble the collector.
 * - A cell that leaves no memory for a further one is an error of the script like any other.
 * - After lisp_close no reference is left: every cell is gone, but for those in cycles, which go with
 *   the next GC_runOrc. */
#include "lisp.h"

#include <string.h>

/* ---------------------------------------------------------------- the types */

#define FIELDS(object)                                                                   \
    .ref_count = (uint32_t)(sizeof object##_offsets / sizeof object##_offsets[0]),       \
    .ref_offsets = object##_offsets, .ref_names = object##_names

static const uint32_t pair_offsets[] = { offsetof(Pair, first), offsetof(Pair, rest) };
static const char *const pair_names[] = { "first", "rest" };

static const uint32_t symbol_offsets[] = { offsetof(Symbol, name), offsetof(Symbol, value) };
static const char *const symbol_names[] = { "name", "value" };

static const uint32_t env_offsets[] = { offsetof(Env, parent) };
static const char *const env_names[] = { "parent" };

static const uint32_t code_offsets[] = { offsetof(Code, name), offsetof(Code, constants) };
static const char *const code_names[] = { "name", "constants" };

static const uint32_t closure_offsets[] = { offsetof(Closure, code), offsetof(Closure, env) };
static const char *const closure_names[] = { "code", "env" };

static const KnType integer_type = { .name = "Integer", .size = sizeof(Integer) };
static const KnType string_type = { .name = "String", .size = sizeof(String) };
static const KnType builtin_type = { .name = "Builtin", .size = sizeof(Builtin) };
static const KnType constant_type = { .name = "Constant", .size = sizeof(Constant) };

static const KnType pair_type = { .name = "Pair", .size = sizeof(Pair), FIELDS(pair) };
static const KnType spot_type = { .name = "Spot", .size = sizeof(Spot), FIELDS(pair) };

static const KnType *const symbol_types[] = { &string_type, NULL };
static const KnType symbol_type = {
    .name = "Symbol", .size = sizeof(Symbol), .flags = KN_TYPE_ACYCLIC, FIELDS(symbol), .ref_types = symbol_types
};

static const KnType vector_type = { .name = "Vector", .size = sizeof(Vector), .flags = KN_TYPE_ARRAY };

static const KnType env_type;
static const KnType *const env_types[] = { &env_type };
static const KnType env_type = {
    .name = "Env", .size = sizeof(Env), .flags = KN_TYPE_ARRAY, FIELDS(env), .ref_types = env_types
};

static const KnType *const code_types[] = { &symbol_type, &vector_type };
static const KnType code_type = { .name = "Code", .size = sizeof(Code), FIELDS(code), .ref_types = code_types };

static const KnType *const closure_types[] = { &code_type, &env_type };
static const KnType closure_type = {
    .name = "Closure", .size = sizeof(Closure), FIELDS(closure), .ref_types = closure_types
};

static bool register_types(TypeIds *ids)
{
    ids->integer = GC_registerType(&integer_type);
    ids->string = GC_registerType(&string_type);
    ids->builtin = GC_registerType(&builtin_type);
    ids->constant = GC_registerType(&constant_type);
    ids->pair = GC_registerType(&pair_type);
    ids->spot = GC_registerType(&spot_type);
    ids->symbol = GC_registerType(&symbol_type);
    ids->vector = GC_registerType(&vector_type);
    ids->env = GC_registerType(&env_type);
    ids->code = GC_registerType(&code_type);
    ids->closure = GC_registerType(&closure_type);
    return ids->integer != 0 && ids->string != 0 && ids->builtin != 0 && ids->constant != 0 && ids->pair != 0 &&
           ids->spot != 0 && ids->symbol != 0 && ids->vector != 0 && ids->env != 0 && ids->code != 0 &&
           ids->closure != 0;
}

/* ---------------------------------------------------------------- the stack, and errors */

void unwind(Lisp *lisp)
{
    drop(lisp, lisp->top);
    while (lisp->depth > 0) {
        Frame *frame = &lisp->frames[--lisp->depth];
        GC_unref(frame->closure);
        GC_unref(frame->env);
    }
}

static void put_message(void *context, const char *text, size_t length)
{
    char *message = context;
    size_t used = strlen(message), room = MESSAGE - 1 - used;
    if (length > room) {
        length = room;
    }
    memcpy(message + used, text, length);
    message[used + length] = '\0';
}

static void begin_message(Lisp *lisp, const char *what)
{
    lisp->message[0] = '\0';
    put_message(lisp->message, what, strlen(what));
}

void fail(Lisp *lisp, const char *what)
{
    begin_message(lisp, what);
    longjmp(lisp->top_level, 1);
}

void fail_about(Lisp *lisp, const char *what, Value culprit)
{
    Sink sink = { put_message, NULL };
    sink.context = lisp->message;
    begin_message(lisp, what);
    put_message(lisp->message, ": ", 2);
    print(lisp, sink, culprit, true);
    longjmp(lisp->top_level, 1);
}

/* ---------------------------------------------------------------- making cells */

Value new_cell(Lisp *lisp, KnTypeId type, size_t bytes)
{
    Value cell = GC_newSized(type, bytes);
    if (cell == NULL) {
        fail(lisp, "not enough memory");
    }
    lisp->made++;
    return cell;
}

Value new_pair(Lisp *lisp, Value first, Value rest)
{
    Pair *pair = GC_new(lisp->types.pair);
    if (pair == NULL) {
        GC_unref(first);
        GC_unref(rest);
        fail(lisp, "not enough memory");
    }
    lisp->made++;
    pair->first = first;
    pair->rest = rest;
    return pair;
}

void collect(Lisp *lisp, size_t count)
{
    push(lisp, NULL);
    while (count-- > 0) {
        Pair *pair = new_pair(lisp, NULL, NULL);
        pair->rest = pop(lisp);
        pair->first = pop(lisp);
        push(lisp, pair);
    }
}

Value new_integer(Lisp *lisp, int64_t value)
{
    bool small = value >= SMALL_LEAST && value < SMALL_END;
    Value *kept = small ? &lisp->small[value - SMALL_LEAST] : NULL;
    Integer *made;
    if (small && *kept != NULL) {
        return GC_refInline(*kept);
    }
    made = new_cell(lisp, lisp->types.integer, sizeof *made);
    made->value = value;
    if (small) {
        *kept = GC_ref(made);
    }
    return made;
}

String *new_string(Lisp *lisp, const char *text, size_t length)
{
    String *made = new_cell(lisp, lisp->types.string, offsetof(String, text) + length + 1);
    made->length = (uint32_t)length;
    if (text != NULL) {
        memcpy(made->text, text, length);
    }
    return made;
}

Vector *new_vector(Lisp *lisp, size_t length)
{
    Vector *made;
    if (length > (size_t)-1 / 2 / sizeof(Value)) {
        fail(lisp, "not enough memory");
    }
    made = new_cell(lisp, lisp->types.vector, offsetof(Vector, items) + length * sizeof(Value));
    made->length = length;
    return made;
}

Value new_builtin(Lisp *lisp, const Builtin *like)
{
    Builtin *made = new_cell(lisp, lisp->types.builtin, sizeof *made);
    *made = *like;
    return made;
}

Value new_constant(Lisp *lisp, const char *name)
{
    Constant *made = new_cell(lisp, lisp->types.constant, sizeof *made);
    made->name = name;
    return made;
}

Spot *new_spot(Lisp *lisp, uint16_t line, uint16_t column)
{
    Spot *made = new_cell(lisp, lisp->types.spot, sizeof *made);
    made->line = line;
    made->column = column;
    return made;
}

/* ---------------------------------------------------------------- symbols */

Symbol *intern(Lisp *lisp, const char *text, size_t length)
{
    uint32_t hash = 2166136261u;
    Value *bucket, list;
    Symbol *made;
    Pair *entry;
    size_t i;
    for (i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    }
    bucket = &lisp->symbols[hash % BUCKETS];
    for (list = *bucket; list != NULL; list = rest(list)) {
        Symbol *symbol = first(list);
        if (symbol->name->length == length && memcmp(symbol->name->text, text, length) == 0) {
            return GC_ref(symbol);
        }
    }
    push(lisp, new_string(lisp, text, length));
    made = new_cell(lisp, lisp->types.symbol, sizeof *made);
    made->name = pop(lisp);
    made->value = GC_ref(lisp->unassigned);
    push(lisp, made);
    entry = new_pair(lisp, GC_ref(made), NULL);
    entry->rest = *bucket;
    *bucket = entry;
    return pop(lisp);
}

static void define_builtins(Lisp *lisp, const Builtin *table)
{
    for (; table->name != NULL; table++) {
        Symbol *symbol = intern(lisp, table->name, strlen(table->name));
        push(lisp, symbol);
        push(lisp, new_builtin(lisp, table));
        GC_assign(&symbol->value, lisp->stack[lisp->top - 1]);
        drop(lisp, 2);
    }
}

/* ---------------------------------------------------------------- opening and closing */

bool lisp_open(Lisp *lisp)
{
    memset(lisp, 0, sizeof *lisp);
    if (!register_types(&lisp->types) || setjmp(lisp->top_level) != 0) {
        return false;
    }
    lisp->yes = new_constant(lisp, "#t");
    lisp->no = new_constant(lisp, "#f");
    lisp->unspecified = new_constant(lisp, "#<unspecified>");
    lisp->unassigned = new_constant(lisp, "#<unassigned>");
    lisp->end_of_file = new_constant(lisp, "#<end of file>");
    lisp->quote = intern(lisp, "quote", 5);
    lisp->quasiquote = intern(lisp, "quasiquote", 10);
    lisp->unquote = intern(lisp, "unquote", 7);
    lisp->splice = intern(lisp, "unquote-splicing", 16);
    lisp->define = intern(lisp, "define", 6);
    lisp->lambda = intern(lisp, "lambda", 6);
    lisp->otherwise = intern(lisp, "else", 4);
    compile_names(lisp);
    define_builtins(lisp, list_builtins);
    define_builtins(lisp, string_builtins);
    return true;
}

static void let_go(Value *held)
{
    GC_unref(*held);
    *held = NULL;
}

void lisp_close(Lisp *lisp)
{
    size_t i;
    Value list;
    unwind(lisp);
    /* The values first: a symbol is held by the code of the functions which it names, and that ring
     * runs through a symbol, where the collector does not look. */
    for (i = 0; i < BUCKETS; i++) {
        for (list = lisp->symbols[i]; list != NULL; list = rest(list)) {
            Symbol *symbol = first(list);
            GC_assign(&symbol->value, NULL);
        }
    }
    for (i = 0; i < BUCKETS; i++) {
        let_go(&lisp->symbols[i]);
    }
    for (i = 0; i < SMALL_END - SMALL_LEAST; i++) {
        let_go(&lisp->small[i]);
    }
    GC_unref(lisp->quote);
    GC_unref(lisp->quasiquote);
    GC_unref(lisp->unquote);
    GC_unref(lisp->splice);
    GC_unref(lisp->define);
    GC_unref(lisp->lambda);
    GC_unref(lisp->otherwise);
    let_go(&lisp->yes);
    let_go(&lisp->no);
    let_go(&lisp->unspecified);
    let_go(&lisp->unassigned);
    let_go(&lisp->end_of_file);
}
