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
