//! The default heap's calls where there is no operating system: the general heap under the
//! platform's lock, and once more after the platform could make it larger.
//!
//! - Clearing for `calloc` happens outside the lock; the copy of a `realloc` that moves, inside.
//! - Without a default heap allocation answers null and `free` of anything but null reports it.

use core::ptr::null_mut;

use super::platform::{self, with_default};
use super::report;
use crate::heap::{KnHeap, KnStatus};

/// Runs `request` on the default heap, and again if it answers null and the heap could grow.
#[inline]
fn allocate(bytes: usize, align: usize, request: impl Fn(*mut KnHeap) -> *mut u8) -> *mut u8 {
    with_default(|heap| {
        if heap.is_null() {
            return null_mut();
        }
        let at = request(heap);
        if at.is_null() && bytes <= isize::MAX as usize && platform::grow(heap, bytes, align) {
            return request(heap);
        }
        at
    })
}

/// `bytes` of the default heap, or null.
pub(crate) fn malloc(bytes: usize) -> *mut u8 {
    // SAFETY: the default heap, under its lock.
    allocate(bytes, 1, |heap| unsafe { KnHeap::malloc(heap, bytes) })
}

/// `count * size` zeroed bytes of the default heap, or null.
pub(crate) fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(size) else { return null_mut() };
    let at = malloc(bytes);
    if !at.is_null() {
        // SAFETY: a new block of at least `bytes`.
        unsafe { at.write_bytes(0, bytes) };
    }
    at
}

/// `bytes` at a multiple of `align` of the default heap, or null.
pub(crate) fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
    if !align.is_power_of_two() {
        return null_mut();
    }
    // SAFETY: the default heap, under its lock.
    allocate(bytes, align, |heap| unsafe { KnHeap::aligned_alloc(heap, align, bytes) })
}

/// The block `at` made `bytes` long; null `at` allocates.
///
/// # Safety
/// `at` is null or a block of the default heap, and after success only the result is used.
pub(crate) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        return malloc(bytes);
    }
    with_default(|heap| {
        // SAFETY: the default heap, under its lock; any address may be asked for.
        if heap.is_null() || unsafe { KnHeap::usable_size(heap, at) } == 0 {
            report(KnStatus::Foreign, at, c"realloc");
            return null_mut();
        }
        // SAFETY: as above, and the caller's promise.
        let to = unsafe { KnHeap::realloc(heap, at, bytes) };
        if to.is_null() && bytes <= isize::MAX as usize && platform::grow(heap, bytes, 1) {
            // SAFETY: as above; a failed call left the block as it was.
            return unsafe { KnHeap::realloc(heap, at, bytes) };
        }
        to
    })
}

/// Frees the block `at`; null does nothing.
///
/// # Safety
/// Nobody uses the block any more. A pointer that is no block is reported.
pub(crate) unsafe fn free(at: *mut u8) {
    if at.is_null() {
        return;
    }
    with_default(|heap| {
        if heap.is_null() {
            report(KnStatus::Foreign, at, c"free");
        } else {
            // SAFETY: the default heap, under its lock; the caller's promise. Errors are reported.
            let _ = unsafe { KnHeap::free(heap, at) };
        }
    });
}

/// The bytes usable at `at`; 0 when it is no block.
///
/// # Safety
/// No handler frees `at` meanwhile.
pub(crate) unsafe fn usable_size(at: *const u8) -> usize {
    with_default(|heap| {
        if heap.is_null() || at.is_null() {
            return 0;
        }
        // SAFETY: the default heap, under its lock; any address may be asked for.
        unsafe { KnHeap::usable_size(heap, at) }
    })
}
