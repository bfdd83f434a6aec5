/* Functions of the Lisp that are written in C: numbers, comparison, lists, vectors, control.
 *
 * - Their arguments stay on the interpreter's stack while they run, so they are held, and so is all that
 *   can be reached from them as long as nothing is changed.
 * - Whoever is given a wrong argument says which value it was. */
#include "lisp.h"

#define ARGUMENTS Lisp *lisp, size_t count, Value *a
#define UNUSED ((void)lisp, (void)count, (void)a)

/* ---------------------------------------------------------------- what arguments must be */

int64_t integer_of(Lisp *lisp, Value value)
{
    if (type_of(value) != lisp->types.integer) {
        fail_about(lisp, "not a number", value);
    }
    return ((Integer *)value)->value;
}

size_t index_of(Lisp *lisp, Value value, size_t most)
{
    int64_t index = integer_of(lisp, value);
    if (index < 0 || (uint64_t)index > most) {
        fail_about(lisp, "out of range", value);
    }
    return (size_t)index;
}

static Pair *pair_of(Lisp *lisp, Value value)
{
    if (!is_pair(lisp, value)) {
        fail_about(lisp, "not a pair", value);
    }
    return value;
}

static Vector *vector_of(Lisp *lisp, Value value)
{
    if (type_of(value) != lisp->types.vector) {
        fail_about(lisp, "not a vector", value);
    }
    return value;
}

size_t push_list(Lisp *lisp, Value list)
{
    size_t count = 0;
    Value x;
    for (x = list; is_pair(lisp, x); x = rest(x), count++) {
        push(lisp, GC_ref(first(x)));
    }
    if (x != NULL) {
        fail_about(lisp, "not a list", list);
    }
    return count;
}

/* ---------------------------------------------------------------- numbers */

NO_RETURN static void too_large(Lisp *lisp)
{
    fail(lisp, "a number does not fit in 64 bits");
}

static int64_t sum(Lisp *lisp, int64_t a, int64_t b)
{
    if (b > 0 ? a > INT64_MAX - b : a < INT64_MIN - b) {
        too_large(lisp);
    }
    return a + b;
}

static int64_t difference(Lisp *lisp, int64_t a, int64_t b)
{
    if (b < 0 ? a > INT64_MAX + b : a < INT64_MIN + b) {
        too_large(lisp);
    }
    return a - b;
}

static int64_t product(Lisp *lisp, int64_t a, int64_t b)
{
    bool small = a == (int32_t)a && b == (int32_t)b;
    if (!small && a != 0 && b != 0) {
        if ((a == -1 && b == INT64_MIN) || (b == -1 && a == INT64_MIN)) {
            too_large(lisp);
        }
        if (a > 0 ? (b > INT64_MAX / a || b < INT64_MIN / a)
                  : (a != -1 && (b < INT64_MAX / a || b > INT64_MIN / a))) {
            too_large(lisp);
        }
    }
    return a * b;
}

static Value add(ARGUMENTS)
{
    int64_t result = 0;
    size_t i;
    for (i = 0; i < count; i++) {
        result = sum(lisp, result, integer_of(lisp, a[i]));
    }
    return new_integer(lisp, result);
}

static Value subtract(ARGUMENTS)
{
    int64_t result = count == 1 ? 0 : integer_of(lisp, a[0]);
    size_t i;
    for (i = count == 1 ? 0 : 1; i < count; i++) {
        result = difference(lisp, result, integer_of(lisp, a[i]));
    }
    return new_integer(lisp, result);
}

static Value multiply(ARGUMENTS)
{
    int64_t result = 1;
    size_t i;
    for (i = 0; i < count; i++) {
        result = product(lisp, result, integer_of(lisp, a[i]));
    }
    return new_integer(lisp, result);
}

static void operands(Lisp *lisp, Value *a, int64_t *x, int64_t *y)
{
    *x = integer_of(lisp, a[0]);
    *y = integer_of(lisp, a[1]);
    if (*y == 0) {
        fail_about(lisp, "division by zero", a[0]);
    }
    if (*x == INT64_MIN && *y == -1) {
        too_large(lisp);
    }
}

static Value quotient(ARGUMENTS)
{
    int64_t x, y;
    UNUSED;
    operands(lisp, a, &x, &y);
    return new_integer(lisp, x / y);
}

static Value remainder_of(ARGUMENTS)
{
    int64_t x, y;
    UNUSED;
    operands(lisp, a, &x, &y);
    return new_integer(lisp, x % y);
}

static Value modulo(ARGUMENTS)
{
    int64_t x, y, result;
    UNUSED;
    operands(lisp, a, &x, &y);
    result = x % y;
    return new_integer(lisp, result != 0 && (result < 0) != (y < 0) ? result + y : result);
}

/* Are all neighbours in an order? The bits of `orders`: 1 less, 2 equal, 4 greater. */
static Value in_order(Lisp *lisp, size_t count, Value *a, unsigned orders)
{
    bool all = true;
    size_t i;
    for (i = 0; i + 1 < count; i++) {
        int64_t x = integer_of(lisp, a[i]), y = integer_of(lisp, a[i + 1]);
        all = all && (orders & (x < y ? 1u : x == y ? 2u : 4u)) != 0;
    }
    return truth(lisp, all);
}

static Value equal_numbers(ARGUMENTS)
{
    return in_order(lisp, count, a, 2);
}

static Value less(ARGUMENTS)
{
    return in_order(lisp, count, a, 1);
}

static Value greater(ARGUMENTS)
{
    return in_order(lisp, count, a, 4);
}

static Value at_most(ARGUMENTS)
{
    return in_order(lisp, count, a, 1 | 2);
}

static Value at_least(ARGUMENTS)
{
    return in_order(lisp, count, a, 2 | 4);
}

/* ---------------------------------------------------------------- comparison */

/* The same object, or numbers of the same value. */
static bool is_same(const Lisp *lisp, Value a, Value b)
{
    KnTypeId type = lisp->types.integer;
    return a == b || (type_of(a) == type && type_of(b) == type && ((Integer *)a)->value == ((Integer *)b)->value);
}

static bool same_bytes(const String *a, const String *b)
{
    uint32_t i;
    for (i = 0; a->length == b->length && i < a->length && a->text[i] == b->text[i]; i++) {
    }
    return a->length == b->length && i == a->length;
}

/* Two lists or vectors of which a part is still to be compared. */
typedef struct Rest {
    Value a, b;
    size_t next; /* element of two vectors; SIZE_MAX: a and b are what is left of two lists */
} Rest;

bool is_equal(Lisp *lisp, Value a, Value b)
{
    Rest open[NESTING];
    size_t depth = 0;
    for (;;) {
        KnTypeId type = type_of(a);
        bool pairs = is_pair(lisp, a) && is_pair(lisp, b);
        bool vectors = type == lisp->types.vector && type_of(b) == type;
        if (pairs || (vectors && ((Vector *)a)->length == ((Vector *)b)->length)) {
            if (depth == NESTING) {
                fail(lisp, "nested too deeply to be compared");
            }
            open[depth].a = pairs ? rest(a) : a;
            open[depth].b = pairs ? rest(b) : b;
            open[depth++].next = pairs ? SIZE_MAX : 0;
            if (pairs) {
                a = first(a);
                b = first(b);
                continue;
            }
        } else if (type == lisp->types.string && type_of(b) == type) {
            if (!same_bytes(a, b)) {
                return false;
            }
        } else if (!is_same(lisp, a, b)) {
            return false;
        }
        for (;; depth--) {
            Rest *last;
            if (depth == 0) {
                return true;
            }
            last = &open[depth - 1];
            if (last->next == SIZE_MAX) {
                a = last->a;
                b = last->b;
                depth--;
                break;
            }
            if (last->next < ((Vector *)last->a)->length) {
                a = ((Vector *)last->a)->items[last->next];
                b = ((Vector *)last->b)->items[last->next++];
                break;
            }
        }
    }
}

static Value same(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, is_same(lisp, a[0], a[1]));
}

static Value equal(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, is_equal(lisp, a[0], a[1]));
}

static Value not_true(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, a[0] == lisp->no);
}

/* ---------------------------------------------------------------- what something is */

static Value is_null(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, a[0] == NULL);
}

static Value is_a_pair(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, is_pair(lisp, a[0]));
}

static Value is_number(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, type_of(a[0]) == lisp->types.integer);
}

static Value is_symbol(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, type_of(a[0]) == lisp->types.symbol);
}

static Value is_string(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, type_of(a[0]) == lisp->types.string);
}

static Value is_vector(ARGUMENTS)
{
    UNUSED;
    return truth(lisp, type_of(a[0]) == lisp->types.vector);
}

static Value is_function(ARGUMENTS)
{
    KnTypeId type = type_of(a[0]);
    UNUSED;
    return truth(lisp, type == lisp->types.closure || type == lisp->types.builtin);
}

/* ---------------------------------------------------------------- lists */

static Value cons(ARGUMENTS)
{
    UNUSED;
    return new_pair(lisp, GC_refInline(a[0]), GC_refInline(a[1]));
}

static Value car(ARGUMENTS)
{
    UNUSED;
    return GC_refInline(pair_of(lisp, a[0])->first);
}

static Value cdr(ARGUMENTS)
{
    UNUSED;
    return GC_refInline(pair_of(lisp, a[0])->rest);
}

static Value cadr(ARGUMENTS)
{
    UNUSED;
    return GC_refInline(pair_of(lisp, pair_of(lisp, a[0])->rest)->first);
}

static Value cddr(ARGUMENTS)
{
    UNUSED;
    return GC_refInline(pair_of(lisp, pair_of(lisp, a[0])->rest)->rest);
}

static Value set_car(ARGUMENTS)
{
    UNUSED;
    GC_assign(&pair_of(lisp, a[0])->first, a[1]);
    return GC_ref(lisp->unspecified);
}

static Value set_cdr(ARGUMENTS)
{
    UNUSED;
    GC_assign(&pair_of(lisp, a[0])->rest, a[1]);
    return GC_ref(lisp->unspecified);
}

static Value list(ARGUMENTS)
{
    size_t i;
    for (i = 0; i < count; i++) {
        push(lisp, GC_ref(a[i]));
    }
    collect(lisp, count);
    return pop(lisp);
}

static Value length(ARGUMENTS)
{
    int64_t elements = 0;
    Value x;
    UNUSED;
    for (x = a[0]; is_pair(lisp, x); x = rest(x)) {
        elements++;
    }
    if (x != NULL) {
        fail_about(lisp, "not a list", a[0]);
    }
    return new_integer(lisp, elements);
}

static Value append(ARGUMENTS)
{
    size_t i;
    Value result;
    if (count == 0) {
        return NULL;
    }
    push(lisp, GC_ref(a[count - 1]));
    for (i = count - 1; i-- > 0;) {
        size_t elements, at = lisp->top - 1;
        elements = push_list(lisp, a[i]);
        push(lisp, GC_ref(lisp->stack[at]));
        while (elements-- > 0) {
            Pair *pair = new_pair(lisp, NULL, NULL);
            pair->rest = pop(lisp);
            pair->first = pop(lisp);
            push(lisp, pair);
        }
        result = pop(lisp);
        drop(lisp, 1);
        push(lisp, result);
    }
    return pop(lisp);
}

static Value reverse(ARGUMENTS)
{
    Value x;
    UNUSED;
    push(lisp, NULL);
    for (x = a[0]; x != NULL; x = rest(x)) {
        Value begin = pair_of(lisp, x)->first;
        Pair *pair = new_pair(lisp, GC_ref(begin), NULL);
        pair->rest = pop(lisp);
        push(lisp, pair);
    }
    return pop(lisp);
}

static Value list_tail(ARGUMENTS)
{
    size_t skip = index_of(lisp, a[1], SIZE_MAX / 2);
    Value x = a[0];
    UNUSED;
    while (skip-- > 0) {
        x = pair_of(lisp, x)->rest;
    }
    return GC_ref(x);
}

/* The first pair of a list whose first (or whose first's first) is like the key. */
static Value search(Lisp *lisp, Value *a, bool (*like)(Lisp *, Value, Value), bool in_pairs)
{
    Value x;
    for (x = a[1]; x != NULL; x = rest(x)) {
        Value element = pair_of(lisp, x)->first;
        if (like(lisp, a[0], in_pairs ? pair_of(lisp, element)->first : element)) {
            return GC_ref(in_pairs ? element : x);
        }
    }
    return truth(lisp, false);
}

static bool alike(Lisp *lisp, Value a, Value b)
{
    return is_same(lisp, a, b);
}

static Value memq(ARGUMENTS)
{
    UNUSED;
    return search(lisp, a, alike, false);
}

static Value member(ARGUMENTS)
{
    UNUSED;
    return search(lisp, a, is_equal, false);
}

static Value assq(ARGUMENTS)
{
    UNUSED;
    return search(lisp, a, alike, true);
}

static Value assoc(ARGUMENTS)
{
    UNUSED;
    return search(lisp, a, is_equal, true);
}

/* ---------------------------------------------------------------- vectors */

static Value make_vector(ARGUMENTS)
{
    size_t i, length = index_of(lisp, a[0], SIZE_MAX / 4 / sizeof(Value));
    Vector *vector = new_vector(lisp, length);
    for (i = 0; count > 1 && i < length; i++) {
        vector->items[i] = GC_ref(a[1]);
    }
    return vector;
}

static Value vector(ARGUMENTS)
{
    Vector *made = new_vector(lisp, count);
    size_t i;
    for (i = 0; i < count; i++) {
        made->items[i] = GC_ref(a[i]);
    }
    return made;
}

static Value *element_of(Lisp *lisp, Value *a)
{
    Vector *vector = vector_of(lisp, a[0]);
    size_t index = index_of(lisp, a[1], vector->length);
    if (index == vector->length) {
        fail_about(lisp, "out of range", a[1]);
    }
    return &vector->items[index];
}

static Value vector_ref(ARGUMENTS)
{
    UNUSED;
    return GC_refInline(*element_of(lisp, a));
}

static Value vector_set(ARGUMENTS)
{
    UNUSED;
    GC_assign(element_of(lisp, a), a[2]);
    return GC_ref(lisp->unspecified);
}

static Value vector_length(ARGUMENTS)
{
    UNUSED;
    return new_integer(lisp, (int64_t)vector_of(lisp, a[0])->length);
}

static Value vector_to_list(ARGUMENTS)
{
    Vector *vector = vector_of(lisp, a[0]);
    size_t i;
    UNUSED;
    for (i = 0; i < vector->length; i++) {
        push(lisp, GC_ref(vector->items[i]));
    }
    collect(lisp, vector->length);
    return pop(lisp);
}

static Value list_to_vector(ARGUMENTS)
{
    size_t length = push_list(lisp, a[0]);
    Value made = vector(lisp, length, &lisp->stack[lisp->top - length]);
    UNUSED;
    drop(lisp, length);
    return made;
}

/* ---------------------------------------------------------------- control */

static Value error(ARGUMENTS)
{
    String *what = a[0];
    if (type_of(what) != lisp->types.string) {
        fail_about(lisp, "error", a[0]);
    }
    if (count == 1) {
        fail(lisp, what->text);
    }
    fail_about(lisp, what->text, a[1]);
}

static Value collect_garbage(ARGUMENTS)
{
    UNUSED;
    GC_runOrc();
    return GC_ref(lisp->unspecified);
}

const Builtin list_builtins[] = {
    { "+", add, 0, MANY },
    { "-", subtract, 1, MANY },
    { "*", multiply, 0, MANY },
    { "quotient", quotient, 2, 2 },
    { "remainder", remainder_of, 2, 2 },
    { "modulo", modulo, 2, 2 },
    { "=", equal_numbers, 1, MANY },
    { "<", less, 1, MANY },
    { ">", greater, 1, MANY },
    { "<=", at_most, 1, MANY },
    { ">=", at_least, 1, MANY },
    { "eq?", same, 2, 2 },
    { "equal?", equal, 2, 2 },
    { "not", not_true, 1, 1 },
    { "null?", is_null, 1, 1 },
    { "pair?", is_a_pair, 1, 1 },
    { "number?", is_number, 1, 1 },
    { "symbol?", is_symbol, 1, 1 },
    { "string?", is_string, 1, 1 },
    { "vector?", is_vector, 1, 1 },
    { "procedure?", is_function, 1, 1 },
    { "cons", cons, 2, 2 },
    { "car", car, 1, 1 },
    { "cdr", cdr, 1, 1 },
    { "cadr", cadr, 1, 1 },
    { "cddr", cddr, 1, 1 },
    { "set-car!", set_car, 2, 2 },
    { "set-cdr!", set_cdr, 2, 2 },
    { "list", list, 0, MANY },
    { "length", length, 1, 1 },
    { "append", append, 0, MANY },
    { "reverse", reverse, 1, 1 },
    { "list-tail", list_tail, 2, 2 },
    { "memq", memq, 2, 2 },
    { "member", member, 2, 2 },
    { "assq", assq, 2, 2 },
    { "assoc", assoc, 2, 2 },
    { "make-vector", make_vector, 1, 2 },
    { "vector", vector, 0, MANY },
    { "vector-ref", vector_ref, 2, 2 },
    { "vector-set!", vector_set, 3, 3 },
    { "vector-length", vector_length, 1, 1 },
    { "vector->list", vector_to_list, 1, 1 },
    { "list->vector", list_to_vector, 1, 1 },
    { "apply", NULL, 2, MANY },
    { "eval", NULL, 1, 1 },
    { "error", error, 1, 2 },
    { "collect-garbage", collect_garbage, 0, 0 },
    { NULL, NULL, 0, 0 },
};
