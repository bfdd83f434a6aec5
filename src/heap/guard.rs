//! What the feature `checks-full` adds to each call.
//!
//! Guarantees, with the feature
//! * Before each call that changes the heap all of it is verified, guards included. A contradiction is
//!   told to the error hook, and the call is refused: null, or `Corrupt`.
//! * Each block ends in a guard of [`PAD`] bytes, whose overwriting [`KnHeap::check`] finds.
//! * Freed memory is filled with `0xDD`.
//!
//! Without the feature every function here compiles to nothing.
//!
//! ```text
//!   | payload ……………………………………… | guard: a word made of the address |
//!   ^ at                        ^ at + usable_size
//! ```

use super::layout::KnHeap;
use super::status::KnStatus;
use super::FULLY;
use crate::port;

/// Bytes of guard behind each block.
pub(crate) const PAD: usize = if FULLY { 8 } else { 0 };

/// The size to ask a region for.
#[inline(always)]
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.saturating_add(PAD)
}

/// What the user may use of a block of so many bytes.
#[inline(always)]
pub(crate) fn unpadded(bytes: usize) -> usize {
    bytes.saturating_sub(PAD)
}

/// Verifies the heap before a call that changes it; false if the call is to be refused.
///
/// # Safety
/// `heap` is live.
#[inline(always)]
pub(crate) unsafe fn before(heap: *mut KnHeap) -> bool {
    if !FULLY {
        return true;
    }
    // SAFETY: the caller's word.
    let status = unsafe { KnHeap::check(heap) };
    if status != KnStatus::Ok {
        port::report(status, heap.cast(), status.name());
    }
    status == KnStatus::Ok
}

/// Sets the guard of a block that was allocated or resized.
///
/// # Safety
/// `at` is a used block of the heap, or null.
#[inline(always)]
pub(crate) unsafe fn fresh(heap: *mut KnHeap, at: *mut u8) {
    if FULLY && !at.is_null() {
        // SAFETY: the block is `size` bytes long, guard included.
        unsafe {
            let size = KnHeap::block_size(heap, at);
            place(at, size).write_unaligned(word(at));
        }
    }
}

/// Whether the guard of the block of `size` bytes at `at`, guard included, is as it was set.
///
/// # Safety
/// The block lies in the heap.
#[inline(always)]
pub(crate) unsafe fn intact(at: *mut u8, size: usize) -> bool {
    // SAFETY: the caller's word.
    !FULLY || (size.checked_sub(PAD).is_some() && unsafe { place(at, size).read_unaligned() } == word(at))
}

/// Poisons a block's bytes before it is freed; anything that is not a used block is left alone.
///
/// # Safety
/// `heap` is live and sound; the block's bytes are not used any more.
#[inline(always)]
pub(crate) unsafe fn dying(heap: *mut KnHeap, at: *mut u8) {
    if FULLY {
        // SAFETY: the caller's word.
        unsafe { at.write_bytes(0xDD, KnHeap::block_size(heap, at)) };
    }
}

/// Where the guard of a block of `size` bytes stands.
fn place(at: *mut u8, size: usize) -> *mut u64 {
    at.wrapping_add(size - PAD).cast()
}

/// The guard of the block at `at`.
fn word(at: *mut u8) -> u64 {
    (at.addr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}
