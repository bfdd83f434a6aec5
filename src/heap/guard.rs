//! What the feature `checks-full` adds to each call.
//!
//! Guarantees, with the feature
//! * Before each allocation the whole heap is verified; a contradiction is told to the error hook.
//! * Each block ends in a guard of [`PAD`] bytes: a write of one to eight bytes behind the block,
//!   or of one behind its requested size when that fills it, is found when the block is freed or
//!   resized.
//! * New memory is filled with `0xA5`, freed memory with `0xDD`.
//!
//! Without the feature every function here compiles to nothing.
//!
//! ```text
//!   | payload ……………………………………… | A5 guard bytes: address-dependent word, twice |
//!   ^ at                        ^ at + usable_size
//! ```

use super::layout::KnHeap;
use super::status::KnStatus;
use crate::port;

const FULL: bool = cfg!(feature = "checks-full");
/// Bytes of guard behind each block.
pub(crate) const PAD: usize = if FULL { 8 } else { 0 };

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

/// Verifies the heap before a call that changes it.
///
/// # Safety
/// `heap` is live.
#[inline(always)]
pub(crate) unsafe fn before(heap: *mut KnHeap) {
    if FULL {
        // SAFETY: the caller's word.
        let status = unsafe { KnHeap::check(heap) };
        if status != KnStatus::Ok {
            port::report(status, heap.cast(), status.name());
        }
    }
}

/// Sets the guard of a block that was allocated or resized.
///
/// # Safety
/// `at` is a used block of the heap, or null.
#[inline(always)]
pub(crate) unsafe fn fresh(heap: *mut KnHeap, at: *mut u8) {
    if FULL && !at.is_null() {
        // SAFETY: the block is `size` bytes long, guard included.
        unsafe {
            let size = KnHeap::block_size(heap, at);
            place(at, size).write_unaligned(word(at));
        }
    }
}

/// Verifies a used block's guard; anything that is not a used block passes, to be refused by name.
///
/// # Safety
/// `heap` is live.
#[inline(always)]
pub(crate) unsafe fn intact(heap: *mut KnHeap, at: *mut u8) -> KnStatus {
    if FULL {
        // SAFETY: the block is `size` bytes long, guard included.
        unsafe {
            let size = KnHeap::block_size(heap, at);
            if size >= PAD && place(at, size).read_unaligned() != word(at) {
                return KnStatus::Corrupt;
            }
        }
    }
    KnStatus::Ok
}

/// Verifies a block's guard and poisons its bytes before it is freed.
///
/// # Safety
/// `heap` is live; the block's bytes are not used any more.
#[inline(always)]
pub(crate) unsafe fn dying(heap: *mut KnHeap, at: *mut u8) -> KnStatus {
    if FULL {
        // SAFETY: the caller's word.
        unsafe {
            let status = intact(heap, at);
            if status == KnStatus::Ok {
                at.write_bytes(0xDD, KnHeap::block_size(heap, at));
            }
            return status;
        }
    }
    KnStatus::Ok
}

/// Where the guard of a block of `size` bytes stands.
fn place(at: *mut u8, size: usize) -> *mut u64 {
    at.wrapping_add(size - PAD).cast()
}

/// The guard of the block at `at`.
fn word(at: *mut u8) -> u64 {
    (at.addr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}
