//! How Grain's compiler lays out heap objects: which words of one may hold references.
//!
//! Guarantees
//! * Every value of an array, tuple, record, variant (ADT) and lambda is found, and the two numbers of a
//!   rational. Strings, bytes and all other numbers have none.
//! * Nothing outside the object is named: a length that claims more than its payload holds is cut off.
//! * An object that is not written yet (first word 0), or whose tag is unknown, has none.
//!
//! ```text
//!   word      0     1           2         3             4       5
//!   variant   2     type hash   type tag  variant tag   n       value …
//!   record    3     type hash   type tag  n             value …
//!   lambda    6     arity       function  n             value …
//!   array     4     n           value …
//!   tuple     7     n           value …
//!   number    5     kind        …                       kind 3, a rational: numerator, denominator
//! ```
//! A word is as wide as a pointer; on 32-bit targets these are Grain's own bytes.
//! Source: grain-lang/grain, `docs/contributor/data_representations.md` and
//! `stdlib/runtime/unsafe/tags.gr` (tags), `compiler/src/codegen/compcore.re` (what is stored where).
//!
//! Cost: a load and a table look-up; one more load where there is a length.

use core::ops::Range;

/// First words of the objects that have references. Strings (1), bytes (8), and the numbers that are no
/// `Number` (9 to 12) have none.
mod tag {
    /// A variant of an enumeration: lists, options, what the program declares.
    pub(super) const VARIANT: usize = 2;
    /// A record.
    pub(super) const RECORD: usize = 3;
    /// An array.
    pub(super) const ARRAY: usize = 4;
    /// A `Number` that is no 31-bit integer; its kind is the second word.
    pub(super) const NUMBER: usize = 5;
    /// A function with what it closes over.
    pub(super) const LAMBDA: usize = 6;
    /// A tuple, or a box: a tuple of one.
    pub(super) const TUPLE: usize = 7;
}

/// The second word of a `Number` that is a rational: two references to big integers.
const RATIONAL: usize = 3;

/// The lowest bits of a value that refers to a heap object are 0, those of an immediate are not.
const IMMEDIATE: usize = 7;

/// Does the value refer to a heap object?
#[inline(always)]
pub const fn is_reference(value: usize) -> bool {
    value != 0 && value & IMMEDIATE == 0
}

/// The words of an object of `words` words that may hold references.
///
/// # Safety
/// `object` is aligned to a word and `words` words of it may be read.
pub unsafe fn references(object: *const usize, words: usize) -> Range<usize> {
    let word = |index: usize| {
        if index >= words {
            return 0;
        }
        // SAFETY: the caller's word; anything may stand there.
        unsafe { object.wrapping_add(index).read() }
    };
    let (length_at, first) = match word(0) {
        tag::VARIANT => (4, 5),
        tag::RECORD | tag::LAMBDA => (3, 4),
        tag::ARRAY | tag::TUPLE => (1, 2),
        tag::NUMBER if word(1) == RATIONAL => return 2..words.clamp(2, 4),
        _ => return 0..0,
    };
    let room = words.saturating_sub(first);
    first..first + word(length_at).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(object: &[usize]) -> Range<usize> {
        // SAFETY: as long as it says.
        unsafe { references(object.as_ptr(), object.len()) }
    }

    #[test]
    fn composite_values_name_their_elements_and_nothing_else() {
        assert_eq!(of(&[tag::VARIANT, 99, 1, 3, 2, 8, 16]), 5..7);
        assert_eq!(of(&[tag::RECORD, 99, 1, 3, 8, 16, 24]), 4..7);
        assert_eq!(of(&[tag::LAMBDA, 2, 40, 1, 8]), 4..5);
        assert_eq!(of(&[tag::ARRAY, 3, 8, 16, 24]), 2..5);
        assert_eq!(of(&[tag::TUPLE, 1, 8]), 2..3);
        assert_eq!(of(&[tag::ARRAY, 0]), 2..2);
        assert_eq!(of(&[tag::NUMBER, RATIONAL, 8, 16]), 2..4);
    }

    #[test]
    fn plain_values_have_no_references() {
        for first in [0, 1, 8, 9, 10, 11, 12, 13, usize::MAX] {
            assert_eq!(of(&[first, 2, 8, 16]), 0..0);
        }
        for number in [1, 2, 4, 5] {
            assert_eq!(of(&[tag::NUMBER, number, 8, 16]), 0..0);
        }
    }

    #[test]
    fn a_length_never_leads_outside_the_object() {
        for words in 0..8 {
            for first in 0..13 {
                let mut object = [usize::MAX; 8];
                object[0] = first;
                object[1] = if first == tag::NUMBER { RATIONAL } else { usize::MAX };
                let found = of(&object[..words]);
                assert!(found.is_empty() || found.end <= words, "tag {first}, {words} words: {found:?}");
            }
        }
    }

    #[test]
    fn immediates_are_told_from_references() {
        assert!(is_reference(8) && is_reference(0xFFFF_FFF8));
        for value in [0, 1, 2, 6, 7, 0x8001, usize::MAX] {
            assert!(!is_reference(value));
        }
    }
}
