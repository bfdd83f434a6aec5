//! Grain's heap objects, for knoll/grain.h: one type for all of them, whose references follow from the
//! object's first words.
//!
//! A value is a reference iff it is not 0 and its lowest three bits are 0. Arrays, tuples, records,
//! variants, lambdas and rationals have references; words are as wide as a pointer, so that on 32-bit
//! targets the layouts are those of Grain's compiler.

use crate::counted;

/// The type of Grain's heap objects on the calling thread's default heap, registered at its first use.
///
/// @return 0 iff there is no default heap or no memory. Objects are made with GC_newSized; before the
/// first word is written an object has no references.
///
/// Cost: O(types registered before it). Ownership: the descriptor is the library's. Thread and interrupt
/// rule: as GC_registerType.
#[no_mangle]
pub extern "C" fn GC_grainType() -> counted::KnTypeId {
    // SAFETY: the calling thread's own state, or null.
    unsafe { counted::grain::type_in(counted::current()) }
}
