//! A hint for who is in a hurry: whether there can be resident cells in the program.
//!
//! - Never false where there are some. Where it is true for want of a better answer, only time is lost: it stays true
//!   when the last heap with resident types has gone.
//!
//! Cost: a load; four bytes of zero-initialised data.

use core::sync::atomic::{AtomicU32, Ordering};

static EXPECTED: AtomicU32 = AtomicU32::new(0);

/// Not 0 iff a resident type was registered since the program started. (A number, to be combined with others.)
#[inline(always)]
pub(crate) fn any_resident() -> u32 {
    EXPECTED.load(Ordering::Relaxed)
}

/// A resident type is being registered. Before another thread can have a cell of it, its registration was seen.
pub(crate) fn expect_residents() {
    EXPECTED.store(1, Ordering::Relaxed);
}
