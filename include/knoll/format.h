/*
 * Knoll: formatted text in arenas, without libc.
 *
 *    char *line = kn_arena_printf(arena, "%-12s %6zu bytes", name, size);
 *
 *    KnText text;
 *    kn_text_begin(&text, arena);
 *    for (i = 0; i < count; i++) kn_text_printf(&text, "%s%d", i == 0 ? "" : ", ", values[i]);
 *    char *list = kn_text_finish(&text);         // NULL: memory ended somewhere on the way
 *
 * What it promises
 *  - What a format gives is what C99's printf gives in the C locale, byte for byte, for
 *      %d %i %u %x %X %o %c %s %p %f %F %%
 *    with the flags - + space # 0, a width and a precision (numbers or *), and the lengths hh h l ll z t j for integers.
 *    %p is 0x and hexadecimal digits, 0x0 for NULL; %s of NULL is (null), cut by its precision.
 *  - %f is exact: the decimal digits of the double's own value, rounded to nearest, ties to even, to any precision.
 *  - A text takes the bytes it needs and one for the NUL: it is measured before memory is taken.
 *  - All or nothing: a call that answers NULL or false has changed neither the arena nor the text. It does so iff there
 *    is no memory, the budget is used up, or the format has a conversion that is not offered: %e %g %a, %n, %ls %lc,
 *    L, or an incomplete one at its end.
 *  - Nothing is needed but <stdarg.h>, <stddef.h> and <stdint.h>, and what the compiler brings itself. C99 and C++11.
 *
 * A text grows in place as long as nothing else is allocated in its arena, and is copied otherwise; the room doubles, so
 * that putting n bytes costs O(n) either way. kn_text_finish gives back the room that is left.
 *
 * Cost: O(format + text), twice, for the measuring. %f works on the number in base 10^9: 500 bytes of stack, and O(e^2)
 * for an exponent e. KN_FORMAT_WITHOUT_FLOAT before the include leaves %f out (then it is not offered), and with it the
 * code: these functions are static, and each file that uses them has its own.
 *
 * Ownership: texts are the arena's and go with it. Threads and interrupts: the arena's.
 *
 * Source of the exact %f: the base 10^9 expansion that musl's printf has; here without floating-point arithmetic, which
 * most Cortex-M have not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef KNOLL_FORMAT_H
#define KNOLL_FORMAT_H

#include "../knoll.h"
#include <stdarg.h>

/* The compiler compares the arguments with the format. */
#if defined(__GNUC__)
#define KN_FORMAT_LIKE_PRINTF_(format, first) __attribute__((__format__(__printf__, format, first)))
#else
#define KN_FORMAT_LIKE_PRINTF_(format, first)
#endif

/* ---- Where the bytes go ---- */

/* Counts what is put; stores what has room. Without `at` it only measures. */
typedef struct KnFormatOut_ {
  char *at;
  size_t room;
  size_t length;
} KnFormatOut_;

/* What stands between % and the conversion's letter. */
typedef struct KnFormatSpec_ {
  size_t width;
  size_t precision;
  bool has_precision;
  bool left;
  bool zero;
  bool alternate;
  char plus; /* 0, or what stands before a number that is not negative: + or a space */
} KnFormatSpec_;

static inline void kn_format_byte_(KnFormatOut_ *out, char byte) {
  if (out->length < out->room) {
    out->at[out->length] = byte;
  }
  out->length += out->length < SIZE_MAX;
}

static inline void kn_format_bytes_(KnFormatOut_ *out, const char *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    kn_format_byte_(out, bytes[i]);
  }
}

/* The same byte many times; a width of billions is only counted. */
static inline void kn_format_fill_(KnFormatOut_ *out, char byte, size_t count) {
  while (count > 0 && out->length < out->room) {
    kn_format_byte_(out, byte);
    count--;
  }
  out->length = count > SIZE_MAX - out->length ? SIZE_MAX : out->length + count;
}

/* What a field of `length` bytes lacks to its width. */
static inline size_t kn_format_lack_(const KnFormatSpec_ *spec, size_t length) {
  return spec->width > length ? spec->width - length : 0;
}

static inline size_t kn_format_strlen_(const char *text, size_t most) {
  size_t length = 0;
  while (length < most && text[length] != '\0') {
    length++;
  }
  return length;
}

/* ---- Texts and numbers ---- */

static inline void kn_format_text_(KnFormatOut_ *out, const KnFormatSpec_ *spec, const char *text, size_t length) {
  size_t lack = kn_format_lack_(spec, length);
  kn_format_fill_(out, ' ', spec->left ? 0 : lack);
  kn_format_bytes_(out, text, length);
  kn_format_fill_(out, ' ', spec->left ? lack : 0);
}

/* A number in parts: what stands before the digits, zeros that are no digits of it, the digits. */
static inline void kn_format_number_(KnFormatOut_ *out, const KnFormatSpec_ *spec, const char *prefix,
                                     const char *digits, size_t count) {
  size_t before = kn_format_strlen_(prefix, 2);
  size_t zeros = spec->has_precision && spec->precision > count ? spec->precision - count : 0;
  size_t length = zeros > SIZE_MAX - before - count ? SIZE_MAX : before + zeros + count;
  size_t lack = kn_format_lack_(spec, length);
  bool by_zeros = spec->zero && !spec->left && !spec->has_precision;
  kn_format_fill_(out, ' ', spec->left || by_zeros ? 0 : lack);
  kn_format_bytes_(out, prefix, before);
  kn_format_fill_(out, '0', by_zeros ? lack : zeros);
  kn_format_bytes_(out, digits, count);
  kn_format_fill_(out, ' ', spec->left ? lack : 0);
}

/* The digits of a number, behind `end`; returns the first. Dividing 64 bits is slow where there is no instruction. */
static inline char *kn_format_digits_(char *end, uintmax_t value, unsigned base, bool upper) {
  const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  for (; value > UINT32_MAX; value /= base) {
    *--end = digits[value % base];
  }
  for (uint32_t rest = (uint32_t)value; rest != 0; rest /= base) {
    *--end = digits[rest % base];
  }
  return end;
}

static inline void kn_format_unsigned_(KnFormatOut_ *out, const KnFormatSpec_ *spec, uintmax_t value, char letter,
                                       const char *sign) {
  char room[(sizeof(uintmax_t) * 8 + 2) / 3 + 1];
  char *end = room + sizeof room;
  bool upper = letter == 'X';
  char *first = kn_format_digits_(end, value, letter == 'o' ? 8 : letter == 'x' || upper ? 16 : 10, upper);
  const char *prefix = sign;
  size_t least = spec->has_precision ? spec->precision : 1;
  if (letter == 'o') {
    /* # makes the first digit a 0. */
    if (spec->alternate && (size_t)(end - first) >= least && (value != 0 || least == 0)) {
      *--first = '0';
    }
  } else if (spec->alternate && value != 0) {
    prefix = letter == 'x' ? "0x" : upper ? "0X" : sign;
  }
  if (first == end && least > 0) {
    *--first = '0';
  }
  kn_format_number_(out, spec, prefix, first, (size_t)(end - first));
}

static inline void kn_format_signed_(KnFormatOut_ *out, const KnFormatSpec_ *spec, intmax_t value) {
  char plus[2] = {spec->plus, '\0'};
  uintmax_t size = value < 0 ? (uintmax_t)0 - (uintmax_t)value : (uintmax_t)value;
  kn_format_unsigned_(out, spec, size, 'd', value < 0 ? "-" : plus);
}

static inline void kn_format_pointer_(KnFormatOut_ *out, const KnFormatSpec_ *spec, const void *at) {
  char room[sizeof(uintptr_t) * 2 + 1];
  char *end = room + sizeof room;
  char *first = kn_format_digits_(end, (uintptr_t)at, 16, false);
  if (first == end) {
    *--first = '0';
  }
  kn_format_number_(out, spec, "0x", first, (size_t)(end - first));
}

/* ---- %f ---- */

#ifndef KN_FORMAT_WITHOUT_FLOAT

/* 2^-1074 has 1074 digits behind the point, 120 words; 2^1024 has 35 words before it; and one for a carry. */
enum { KN_FORMAT_WORDS_ = 124, KN_FORMAT_RADIX_ = 1000000000, KN_FORMAT_RADIX_DIGITS_ = 9 };

/* A number in base 10^9, the highest word first: words[first..point) before the point, words[point..end) behind it. */
typedef struct KnFormatDecimal_ {
  uint32_t words[KN_FORMAT_WORDS_];
  unsigned first, point, end;
} KnFormatDecimal_;

/* mantissa * 2^exponent, exactly. */
static inline void kn_format_expand_(KnFormatDecimal_ *number, uint64_t mantissa, int exponent) {
  uint32_t *words = number->words;
  number->point = number->end = exponent > 0 ? 40 : 3;
  number->first = number->point - 2;
  words[number->first] = (uint32_t)(mantissa / KN_FORMAT_RADIX_);
  words[number->first + 1] = (uint32_t)(mantissa % KN_FORMAT_RADIX_);
  while (exponent > 0) {
    int shift = exponent < 29 ? exponent : 29;
    uint32_t carry = 0;
    for (unsigned i = number->point; i-- > number->first;) {
      uint64_t product = ((uint64_t)words[i] << shift) + carry;
      words[i] = (uint32_t)(product % KN_FORMAT_RADIX_);
      carry = (uint32_t)(product / KN_FORMAT_RADIX_);
    }
    if (carry != 0) {
      words[--number->first] = carry;
    }
    exponent -= shift;
  }
  while (exponent < 0) {
    /* 10^9 = 2^9 * 5^9: what is shifted out of a word is a whole number of the next one's units. */
    int shift = exponent > -9 ? -exponent : 9;
    uint32_t carry = 0;
    for (unsigned i = number->first; i < number->end; i++) {
      uint32_t out = words[i] & ((1u << shift) - 1);
      words[i] = (words[i] >> shift) + carry;
      carry = ((uint32_t)KN_FORMAT_RADIX_ >> shift) * out;
    }
    if (carry != 0) {
      words[number->end++] = carry;
    }
    exponent += shift;
  }
}

/* Rounds to `precision` digits behind the point, to nearest, ties to even. */
static inline void kn_format_round_(KnFormatDecimal_ *number, size_t precision) {
  uint32_t *words = number->words;
  size_t behind = (size_t)(number->end - number->point) * KN_FORMAT_RADIX_DIGITS_;
  if (precision >= behind) {
    return;
  }
  unsigned at = number->point + (unsigned)(precision / KN_FORMAT_RADIX_DIGITS_);
  uint32_t unit = KN_FORMAT_RADIX_;
  for (size_t kept = precision % KN_FORMAT_RADIX_DIGITS_; kept > 0; kept--) {
    unit /= 10;
  }
  uint32_t rest = words[at] % unit;
  bool more = false;
  for (unsigned i = at + 1; i < number->end; i++) {
    more |= words[i] != 0;
  }
  bool odd = unit == (uint32_t)KN_FORMAT_RADIX_ ? words[at - 1] % 2 != 0 : words[at] / unit % 2 != 0;
  words[at] -= rest;
  number->end = at + 1;
  if (rest > unit / 2 || (rest == unit / 2 && (more || odd))) {
    if (number->first > 0) {
      words[--number->first] = 0; /* for the carry of 999… */
    }
    words[at] += unit;
    while (words[at] >= (uint32_t)KN_FORMAT_RADIX_) {
      words[at] -= (uint32_t)KN_FORMAT_RADIX_;
      words[--at]++;
    }
  }
}

/* The nine digits of a word. */
static inline void kn_format_word_(char *digits, uint32_t word) {
  for (unsigned i = KN_FORMAT_RADIX_DIGITS_; i-- > 0; word /= 10) {
    digits[i] = (char)('0' + word % 10);
  }
}

/* False: this double is none of 64 bits. */
static inline bool kn_format_double_(KnFormatOut_ *out, const KnFormatSpec_ *spec, double value, char letter) {
  uint64_t bits = 0;
  if (sizeof value != sizeof bits) {
    return false;
  }
  for (size_t i = 0; i < sizeof bits; i++) {
    ((unsigned char *)&bits)[i] = ((const unsigned char *)&value)[i];
  }
  char sign[2] = {bits >> 63 != 0 ? '-' : spec->plus, '\0'};
  int exponent = (int)(bits >> 52 & 0x7FF);
  uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
  if (exponent == 0x7FF) {
    KnFormatSpec_ field = *spec;
    const char *name = mantissa != 0 ? (letter == 'F' ? "NAN" : "nan") : letter == 'F' ? "INF" : "inf";
    field.has_precision = false;
    field.zero = false;
    kn_format_number_(out, &field, sign, name, 3);
    return true;
  }
  KnFormatDecimal_ number;
  size_t precision = spec->has_precision ? spec->precision : 6;
  mantissa |= exponent != 0 ? (uint64_t)1 << 52 : 0;
  kn_format_expand_(&number, mantissa, (exponent != 0 ? exponent : 1) - 1075);
  kn_format_round_(&number, precision);

  char digits[KN_FORMAT_RADIX_DIGITS_];
  unsigned first = number.first;
  while (first + 1 < number.point && number.words[first] == 0) {
    first++;
  }
  kn_format_word_(digits, number.words[first]);
  size_t skip = 0;
  while (skip + 1 < sizeof digits && digits[skip] == '0') {
    skip++;
  }
  size_t point = precision > 0 || spec->alternate;
  size_t before = (size_t)(number.point - first) * sizeof digits - skip;
  size_t length = before + point + (sign[0] != '\0');
  length = precision > SIZE_MAX - length ? SIZE_MAX : length + precision;
  size_t lack = kn_format_lack_(spec, length);

  kn_format_fill_(out, ' ', spec->left || spec->zero ? 0 : lack);
  kn_format_bytes_(out, sign, sign[0] != '\0');
  kn_format_fill_(out, '0', spec->zero && !spec->left ? lack : 0);
  kn_format_bytes_(out, digits + skip, sizeof digits - skip);
  while (++first < number.point) {
    kn_format_word_(digits, number.words[first]);
    kn_format_bytes_(out, digits, sizeof digits);
  }
  kn_format_bytes_(out, ".", point);
  for (unsigned i = number.point; i < number.end && precision > 0; i++) {
    size_t count = precision < sizeof digits ? precision : sizeof digits;
    kn_format_word_(digits, number.words[i]);
    kn_format_bytes_(out, digits, count);
    precision -= count;
  }
  kn_format_fill_(out, '0', precision);
  kn_format_fill_(out, ' ', spec->left ? lack : 0);
  return true;
}

#endif /* KN_FORMAT_WITHOUT_FLOAT */

/* ---- The format ---- */

/* A list of arguments whose address can be taken, whatever va_list is. */
typedef struct KnFormatArguments_ {
  va_list list;
} KnFormatArguments_;

/* A decimal number of the format; one that is too large is as large as can be. */
static inline const char *kn_format_count_(const char *at, size_t *count) {
  for (*count = 0; *at >= '0' && *at <= '9'; at++) {
    size_t digit = (size_t)(*at - '0');
    *count = *count > (SIZE_MAX - digit) / 10 ? SIZE_MAX : *count * 10 + digit;
  }
  return at;
}

/* Flags, width and precision; returns what follows them. */
static inline const char *kn_format_spec_(const char *at, KnFormatSpec_ *spec, KnFormatArguments_ *arguments) {
  const KnFormatSpec_ none = {0, 0, false, false, false, false, '\0'};
  *spec = none;
  for (;; at++) {
    if (*at == '-') {
      spec->left = true;
    } else if (*at == '0') {
      spec->zero = true;
    } else if (*at == '#') {
      spec->alternate = true;
    } else if (*at == '+' || (*at == ' ' && spec->plus == '\0')) {
      spec->plus = *at;
    } else if (*at != ' ') {
      break;
    }
  }
  if (*at == '*') {
    int width = va_arg(arguments->list, int);
    spec->left |= width < 0;
    spec->width = width < 0 ? (size_t)0 - (size_t)width : (size_t)width;
    at++;
  } else {
    at = kn_format_count_(at, &spec->width);
  }
  if (*at == '.') {
    spec->has_precision = true;
    if (at[1] == '*') {
      int precision = va_arg(arguments->list, int);
      spec->has_precision = precision >= 0;
      spec->precision = precision >= 0 ? (size_t)precision : 0;
      at += 2;
    } else {
      at = kn_format_count_(at + 1, &spec->precision);
    }
  }
  return at;
}

/* The lengths: H is hh, L is ll; 0 is none. */
static inline const char *kn_format_length_(const char *at, char *length) {
  *length = '\0';
  if (*at == 'h' || *at == 'l') {
    *length = at[1] == *at ? (*at == 'h' ? 'H' : 'L') : *at;
    return at + (at[1] == *at ? 2 : 1);
  }
  if (*at == 'z' || *at == 't' || *at == 'j') {
    *length = *at++;
  }
  return at;
}

static inline intmax_t kn_format_next_signed_(char length, KnFormatArguments_ *arguments) {
  switch (length) {
    case 'H': return (signed char)va_arg(arguments->list, int);
    case 'h': return (short)va_arg(arguments->list, int);
    case 'l': return va_arg(arguments->list, long);
    case 'L': return va_arg(arguments->list, long long);
    case 'z': /* a signed type as wide as size_t */
    case 't': return va_arg(arguments->list, ptrdiff_t);
    case 'j': return va_arg(arguments->list, intmax_t);
    default: return va_arg(arguments->list, int);
  }
}

static inline uintmax_t kn_format_next_unsigned_(char length, KnFormatArguments_ *arguments) {
  switch (length) {
    case 'H': return (unsigned char)va_arg(arguments->list, unsigned);
    case 'h': return (unsigned short)va_arg(arguments->list, unsigned);
    case 'l': return va_arg(arguments->list, unsigned long);
    case 'L': return va_arg(arguments->list, unsigned long long);
    case 'z': /* an unsigned type as wide as ptrdiff_t */
    case 't': return va_arg(arguments->list, size_t);
    case 'j': return va_arg(arguments->list, uintmax_t);
    default: return va_arg(arguments->list, unsigned);
  }
}

/* One conversion. False: it is not offered. */
static inline bool kn_format_convert_(KnFormatOut_ *out, const KnFormatSpec_ *spec, char length, char letter,
                                      KnFormatArguments_ *arguments) {
  switch (letter) {
    case 'd':
    case 'i': kn_format_signed_(out, spec, kn_format_next_signed_(length, arguments)); return true;
    case 'u':
    case 'x':
    case 'X':
    case 'o': kn_format_unsigned_(out, spec, kn_format_next_unsigned_(length, arguments), letter, ""); return true;
#ifndef KN_FORMAT_WITHOUT_FLOAT
    case 'f':
    case 'F':
      return (length == '\0' || length == 'l') && kn_format_double_(out, spec, va_arg(arguments->list, double), letter);
#endif
    default: break;
  }
  if (length != '\0') {
    return false;
  }
  switch (letter) {
    case '%': kn_format_byte_(out, '%'); return true;
    case 'p': kn_format_pointer_(out, spec, va_arg(arguments->list, void *)); return true;
    case 'c': {
      char byte = (char)va_arg(arguments->list, int);
      kn_format_text_(out, spec, &byte, 1);
      return true;
    }
    case 's': {
      const char *text = va_arg(arguments->list, const char *);
      text = text != NULL ? text : "(null)";
      kn_format_text_(out, spec, text, kn_format_strlen_(text, spec->has_precision ? spec->precision : SIZE_MAX));
      return true;
    }
    default: return false;
  }
}

/* Formats to `at`, at most `room` bytes and no NUL. False: a conversion is not offered, or there is no end of bytes. */
static inline bool kn_format_to_(char *at, size_t room, size_t *length, const char *format, va_list given) {
  KnFormatOut_ out = {at, at != NULL ? room : 0, 0};
  KnFormatArguments_ arguments;
  bool offered = true;
  va_copy(arguments.list, given);
  while (*format != '\0' && offered) {
    if (*format != '%') {
      kn_format_byte_(&out, *format++);
      continue;
    }
    KnFormatSpec_ spec;
    char size;
    format = kn_format_length_(kn_format_spec_(format + 1, &spec, &arguments), &size);
    offered = kn_format_convert_(&out, &spec, size, *format, &arguments);
    format += offered;
  }
  va_end(arguments.list);
  *length = out.length;
  return offered && out.length < SIZE_MAX;
}

/* ---- A text at once ---- */

/**
 * Formats into memory of the arena: what is said above, with a NUL behind it.
 *
 * @return the text; NULL iff there is no memory, the budget is used up, the arena is being left, or a conversion is not
 * offered. Then nothing was allocated.
 */
KN_NODISCARD static inline char *kn_arena_vprintf(KnArena *arena, const char *format, va_list arguments)
    KN_FORMAT_LIKE_PRINTF_(2, 0);
KN_NODISCARD static inline char *kn_arena_vprintf(KnArena *arena, const char *format, va_list arguments) {
  size_t length = 0;
  if (!kn_format_to_(NULL, 0, &length, format, arguments)) {
    return NULL;
  }
  char *text = (char *)kn_arena_alloc(arena, length + 1);
  if (text != NULL) {
    size_t again;
    (void)kn_format_to_(text, length, &again, format, arguments);
    text[length] = '\0';
  }
  return text;
}

/** As kn_arena_vprintf, with the arguments themselves. */
KN_NODISCARD static inline char *kn_arena_printf(KnArena *arena, const char *format, ...) KN_FORMAT_LIKE_PRINTF_(2, 3);
KN_NODISCARD static inline char *kn_arena_printf(KnArena *arena, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = kn_arena_vprintf(arena, format, arguments);
  va_end(arguments);
  return text;
}

/* ---- A text piece by piece ---- */

/** A text that is being built. `at` may be read at any time: `length` bytes and a NUL, or NULL before the first. */
typedef struct KnText {
  KnArena *arena;
  char *at;
  size_t length;
  size_t room;    /* bytes at `at` */
  bool failed;    /* a call answered false; kn_text_finish will answer NULL */
} KnText;

/** Begins an empty text; takes no memory. What the structure held before is not looked at. */
static inline void kn_text_begin(KnText *text, KnArena *arena) {
  text->arena = arena;
  text->at = NULL;
  text->length = 0;
  text->room = 0;
  text->failed = false;
}

/* Room for `count` bytes more and the NUL: twice what there was, or, when there is not so much, just that. */
static inline bool kn_text_reserve_(KnText *text, size_t count) {
  enum { FIRST = 32 };
  if (count < text->room - text->length) {
    return true;
  }
  if (count >= SIZE_MAX - text->length) {
    return false;
  }
  size_t least = text->length + count + 1;
  size_t twice = text->room > SIZE_MAX / 2 ? SIZE_MAX : text->room == 0 ? (size_t)FIRST : text->room * 2;
  size_t room = twice > least ? twice : least;
  char *at = (char *)kn_arena_resize(text->arena, text->at, text->room, room);
  if (at == NULL && room > least) {
    room = least;
    at = (char *)kn_arena_resize(text->arena, text->at, text->room, room);
  }
  if (at == NULL) {
    return false;
  }
  text->at = at;
  text->room = room;
  return true;
}

/**
 * Puts `count` bytes to the end of the text; they may not lie in the text itself.
 *
 * @return false iff there is no memory: then the text is as it was, and kn_text_finish will answer NULL.
 */
static inline bool kn_text_put_bytes(KnText *text, const char *bytes, size_t count) {
  if (!kn_text_reserve_(text, count)) {
    text->failed = true;
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    text->at[text->length++] = bytes[i];
  }
  text->at[text->length] = '\0';
  return true;
}

/** Puts a text that ends with NUL. As kn_text_put_bytes otherwise. */
static inline bool kn_text_put(KnText *text, const char *more) {
  return kn_text_put_bytes(text, more, kn_format_strlen_(more, SIZE_MAX));
}

/** Puts what the format gives. @return as kn_text_put_bytes; false as well for a conversion that is not offered. */
static inline bool kn_text_vprintf(KnText *text, const char *format, va_list arguments) KN_FORMAT_LIKE_PRINTF_(2, 0);
static inline bool kn_text_vprintf(KnText *text, const char *format, va_list arguments) {
  size_t length = 0, again;
  if (!kn_format_to_(NULL, 0, &length, format, arguments) || !kn_text_reserve_(text, length)) {
    text->failed = true;
    return false;
  }
  (void)kn_format_to_(text->at + text->length, length, &again, format, arguments);
  text->length += length;
  text->at[text->length] = '\0';
  return true;
}

/** As kn_text_vprintf, with the arguments themselves. */
static inline bool kn_text_printf(KnText *text, const char *format, ...) KN_FORMAT_LIKE_PRINTF_(2, 3);
static inline bool kn_text_printf(KnText *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  bool put = kn_text_vprintf(text, format, arguments);
  va_end(arguments);
  return put;
}

/**
 * Ends the text and gives back the room behind it.
 *
 * @return the text with a NUL behind it, the arena's; NULL iff one of the calls answered false, or there is no memory for
 * an empty text: then the text's memory goes back to the arena, where nothing was allocated behind it.
 */
KN_NODISCARD static inline char *kn_text_finish(KnText *text) {
  char *whole = NULL;
  if (text->at == NULL && !text->failed) {
    (void)kn_text_put_bytes(text, "", 0);
  }
  if (text->at != NULL) {
    size_t size = text->failed ? 0 : text->length + 1;
    whole = (char *)kn_arena_resize(text->arena, text->at, text->room, size);
  }
  if (text->failed) {
    whole = NULL;
  }
  kn_text_begin(text, text->arena);
  return whole;
}

#endif /* KNOLL_FORMAT_H */
