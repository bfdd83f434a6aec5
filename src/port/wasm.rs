//! WebAssembly: the default heap lies in linear memory and grows by `memory.grow`.
//!
//! - One thread: no lock. A module with shared memory gives each thread a heap of its own.
//! - The default heap is made at the first call that needs it; `kn_init` puts another in its place.
//! - What `memory.grow` gives is never given back: WebAssembly has no way to.

use core::arch::wasm32::{memory_grow, memory_size};
#[cfg(feature = "counted")]
use core::ffi::c_void;
use core::ptr::{null_mut, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::hook::PENDING;
use super::{LockEnter, LockLeave};
use crate::heap::{KnHeap, KnHeapConfig, KnLayout, KnStatus};

/// A WebAssembly page.
const PAGE: usize = 64 << 10;
/// Room for a region's own records.
const OVERHEAD: usize = 16 << 10;
/// No step is larger unless one request needs it.
const LARGEST_STEP: usize = 256;

static DEFAULT: AtomicPtr<KnHeap> = AtomicPtr::new(null_mut());
static INSIDE: AtomicBool = AtomicBool::new(false);
/// The heap that `grow` made, the only one it makes larger.
static GROWING: AtomicPtr<KnHeap> = AtomicPtr::new(null_mut());

/// True inside [`locked`].
pub(super) fn locked_by_me() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

/// The default heap; null iff linear memory can't grow.
pub(crate) fn default_heap() -> *mut KnHeap {
    let heap = DEFAULT.load(Ordering::Relaxed);
    if heap.is_null() && grow(heap, 0, 1) {
        return DEFAULT.load(Ordering::Relaxed);
    }
    heap
}

/// The counted state of the default heap; null: none yet, or no heap yet.
#[cfg(feature = "counted")]
#[inline(always)]
pub(crate) fn counted() -> *mut c_void {
    let heap = DEFAULT.load(Ordering::Relaxed);
    if heap.is_null() {
        return null_mut();
    }
    // SAFETY: whoever made it the default keeps it alive while it is.
    unsafe { (*heap).counted }
}

/// The heap itself knows its state here.
#[cfg(feature = "counted")]
pub(crate) fn set_counted(_state: *mut c_void) {}

/// Makes `heap` the default one (null: the growing one) and returns the one before.
///
/// # Safety
/// `heap` is null or a heap that lives while it is the default.
pub(crate) unsafe fn use_heap(heap: *mut KnHeap) -> *mut KnHeap {
    let before = default_heap();
    let next = if heap.is_null() { GROWING.load(Ordering::Relaxed) } else { heap };
    DEFAULT.store(next, Ordering::Relaxed);
    before
}

/// Runs `work` on the default heap (null iff memory can't grow), then delivers an error that was found.
#[inline]
pub(crate) fn with_default<R>(work: impl FnOnce(*mut KnHeap) -> R) -> R {
    let heap = default_heap();
    locked(|| work(heap))
}

/// Runs `work`, then delivers an error that was found.
#[inline]
pub(super) fn locked<R>(work: impl FnOnce() -> R) -> R {
    INSIDE.store(true, Ordering::Relaxed);
    let result = work();
    // SAFETY: one thread, and `work` is over.
    let pending = unsafe { PENDING.take() };
    INSIDE.store(false, Ordering::Relaxed);
    if let Some(report) = pending {
        report.deliver();
    }
    result
}

/// The lock is not the program's business here.
pub(crate) fn set_lock(_functions: Option<(LockEnter, LockLeave)>) -> KnStatus {
    KnStatus::Unsupported
}

/// Makes room for `bytes` at a multiple of `align` in the growing heap; false: no memory, or `heap`
/// is not that heap.
#[cold]
pub(super) fn grow(heap: *mut KnHeap, bytes: usize, align: usize) -> bool {
    if heap != GROWING.load(Ordering::Relaxed) {
        return false;
    }
    // An eighth more: the heap looks in a bin whose every block fits.
    let needed = bytes
        .checked_add(bytes / 8)
        .and_then(|sum| sum.checked_add(align))
        .and_then(|sum| sum.checked_add(OVERHEAD))
        .map(|sum| sum.div_ceil(PAGE));
    let Some(needed) = needed else { return false };
    // As much as there is already, so that the number of regions grows with the logarithm.
    let mut pages = memory_size::<0>().clamp(1, LARGEST_STEP).max(needed);
    let mut before = memory_grow::<0>(pages);
    while before == usize::MAX && pages > needed {
        pages = (pages / 2).max(needed);
        before = memory_grow::<0>(pages);
    }
    if before == usize::MAX {
        return false;
    }
    let memory: *mut u8 = with_exposed_provenance_mut(before * PAGE);
    let length = (pages * PAGE).min(isize::MAX as usize);
    let config = KnHeapConfig { layout: KnLayout::Auto, flags: 0 };
    if !heap.is_null() {
        // SAFETY: fresh memory, given to the heap for ever.
        return unsafe { KnHeap::add_region(heap, memory, length, &config) } == KnStatus::Ok;
    }
    // SAFETY: as above.
    let made = unsafe { KnHeap::create(memory, length, &config) };
    GROWING.store(made, Ordering::Relaxed);
    DEFAULT.store(made, Ordering::Relaxed);
    !made.is_null()
}
