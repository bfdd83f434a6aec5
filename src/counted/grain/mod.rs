//! Grain's heap objects as counted cells: one type for all, whose references follow from the first words.
//!
//! Guarantees
//! * [`TYPE`] is the type of every object: Grain's `malloc` is told a size and nothing else, and the tag is
//!   written afterwards.
//! * The collector and the release of children see exactly the values that refer to heap objects;
//!   immediates are never touched, nor written.
//! * An object may be looked at in any state of its making: its payload is born zeroed, and zero words
//!   have no references.
//! * Children of an object that dies are released iteratively, a rational's numbers too.
//! * [`add_ref`], [`release`] and [`release_ignoring_zero`] take any value, as Grain's `incRef`, `decRef`
//!   and `decRefIgnoreZeros` do, and return it.
//!
//! ```text
//!   header, 8 bytes          payload: what Grain calls the pointer
//!   [count, flags | type]    [tag | … | value | value | value]
//!   ^ "start address"        ^ userPtr     GC_visit for each value with value & 7 == 0, value != 0
//! ```
//! Costs: the type's callback is called once for each object that is visited; an acyclic look-up table
//! is not possible, since a lambda may close over itself.
//! Source: grain-lang/grain, `stdlib/runtime/gc.gr`, whose `decRefChildren` this does without recursion.

pub mod layout;

use core::ffi::c_void;

use super::trace::{visit, KnTracer};
use super::types::{KnType, KnTypeId};
use super::{dec_ref, dec_ref_ignore_zeros, size_of_cell, Counted};
use layout::is_reference;

/// The type of Grain's heap objects.
pub static TYPE: KnType = KnType { name: c"Grain".as_ptr(), trace: Some(trace), ..KnType::PLAIN };

/// Visits the references of an object.
///
/// # Safety
/// `object` is a cell of [`TYPE`], `tracer` what the collector gave.
unsafe extern "C" fn trace(object: *mut c_void, tracer: *mut KnTracer) {
    let words = object.cast::<usize>();
    // SAFETY: a cell of this type; all of its payload may be read, and was zeroed at birth.
    unsafe {
        for index in layout::references(words, size_of_cell(object.cast()) / size_of::<usize>()) {
            let slot = words.wrapping_add(index);
            if is_reference(slot.read()) {
                visit(tracer, slot.cast());
            }
        }
    }
}

/// The number of [`TYPE`] in a state, registered when it is not yet; 0 without memory.
///
/// Cost: O(types registered before it). Thread rule: the state's thread.
///
/// # Safety
/// `this` is a live state of this thread, or null.
pub unsafe fn type_in(this: *mut Counted) -> KnTypeId {
    if this.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe {
        // Registering takes a lock over the process heap; looking does not.
        let known = (1..(*this).types).find(|&id| (*Counted::record(this, id)).descriptor == &raw const TYPE);
        known.unwrap_or_else(|| Counted::register(this, &raw const TYPE))
    }
}

/// Grain's `incRef`: one reference more if the value refers to an object.
///
/// # Safety
/// `value` is immediate, null, or refers to an object of this thread.
#[inline]
pub unsafe fn add_ref(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if is_reference(value.addr()) {
            super::add_ref(value);
        }
    }
    value
}

/// Grain's `decRef`: one reference less if the value refers to an object; a count of zero is reported.
///
/// # Safety
/// As [`add_ref`].
#[inline]
pub unsafe fn release(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if is_reference(value.addr()) {
            dec_ref(value);
        }
    }
    value
}

/// Grain's `decRefIgnoreZeros`: as [`release`], but a count of zero is nobody's business.
///
/// # Safety
/// As [`add_ref`].
#[inline]
pub unsafe fn release_ignoring_zero(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        if is_reference(value.addr()) {
            dec_ref_ignore_zeros(value);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::counted::count;
    use crate::heap::{KnHeap, KnHeapConfig};
    use std::vec::Vec;

    /// An object of these words; it takes over the references among them.
    unsafe fn object(state: *mut Counted, words: &[*mut u8]) -> *mut u8 {
        // SAFETY: a live state of this thread; the object is as large as what is copied.
        unsafe {
            let at = Counted::new_sized(state, type_in(state), size_of_val(words));
            assert!(!at.is_null());
            at.cast::<*mut u8>().copy_from_nonoverlapping(words.as_ptr(), words.len());
            at
        }
    }

    /// A word that is no reference.
    fn number(value: usize) -> *mut u8 {
        core::ptr::without_provenance_mut(value)
    }

    fn with_state(test: impl FnOnce(*mut Counted)) {
        let mut memory: Vec<u128> = std::vec![0; 8 << 10];
        // SAFETY: the memory outlives the heap, which lives as long as the test.
        unsafe {
            let heap = KnHeap::create(memory.as_mut_ptr().cast(), 128 << 10, &KnHeapConfig::DEFAULT);
            let state = Counted::of(heap);
            test(state);
            assert_eq!(Counted::stats(state).cells, 0);
            assert!(Counted::retire(state));
        }
    }

    #[test]
    fn the_type_is_registered_once() {
        with_state(|state| {
            // SAFETY: a live state, here and below.
            let (first, again) = unsafe { (type_in(state), type_in(state)) };
            assert!(first != 0 && first == again);
            // SAFETY: null is allowed.
            assert_eq!(unsafe { type_in(core::ptr::null_mut()) }, 0);
        });
    }

    #[test]
    fn a_list_is_given_up_from_its_head_and_immediates_are_not_touched() {
        // SAFETY: objects of this state, each reference owned once.
        with_state(|state| unsafe {
            let mut list = object(state, &[number(2), number(3), number(3), number(3), number(0)]);
            for length in 0..500 {
                let element = [number(2), number(3), number(3), number(1), number(2), number(2 * length + 1), list];
                list = object(state, &element);
            }
            assert_eq!(count(list), 1);
            assert_eq!(add_ref(list), list);
            assert_eq!(release(list), list);
            assert_eq!(Counted::stats(state).cells, 501);
            assert_eq!(release_ignoring_zero(list), list);
            for value in [0, 1, 2, 7, usize::MAX] {
                let value = number(value);
                assert_eq!(release(release_ignoring_zero(add_ref(value))), value);
            }
        });
    }

    #[test]
    fn a_rational_gives_up_both_numbers_and_a_closure_over_itself_is_collected() {
        // SAFETY: as above; the slot lies in the lambda.
        with_state(|state| unsafe {
            let big = object(state, &[number(5), number(4), number(0)]);
            let rational = object(state, &[number(5), number(3), add_ref(big), big]);
            release(rational);
            assert_eq!(Counted::stats(state).cells, 0);
            let lambda = object(state, &[number(6), number(1), number(40), number(1), number(0)]);
            lambda.cast::<*mut u8>().add(4).write(add_ref(lambda));
            release(lambda);
            assert_eq!(Counted::stats(state).cells, 1);
            Counted::collect(state);
        });
    }
}
