//! No operating system: one default heap in memory that the firmware gives, guarded against interrupts.
//!
//! - Single core. Masking interrupts is what makes the default heap safe in both thread and handler
//!   code; heaps used through their own pointer take no lock.
//! - On Cortex-M the mask is PRIMASK, saved and restored, so calls nest and an already masked caller
//!   stays masked. Other cores mask nothing until [`set_lock`] gives functions for it.
//! - [`set_lock`] replaces the mask: BASEPRI, an RTOS's scheduler lock, a spin lock for two cores.
//!
//! Only atomic loads and stores are used: Cortex-M0 has no compare-and-swap.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::hook::PENDING;
use super::{LockEnter, LockLeave};
use crate::heap::{KnHeap, KnStatus};

static DEFAULT: AtomicPtr<KnHeap> = AtomicPtr::new(core::ptr::null_mut());
static INSIDE: AtomicBool = AtomicBool::new(false);
static ENTER: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static LEAVE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Sets the functions that guard the default heap; `None` brings the core's own mask back.
/// To be called before the heap is shared with interrupts.
pub(crate) fn set_lock(functions: Option<(LockEnter, LockLeave)>) -> KnStatus {
    let (enter, leave) = match functions {
        Some((enter, leave)) => (enter as *mut c_void, leave as *mut c_void),
        None => (core::ptr::null_mut(), core::ptr::null_mut()),
    };
    ENTER.store(enter, Ordering::Release);
    LEAVE.store(leave, Ordering::Release);
    KnStatus::Ok
}

fn enter() -> usize {
    let raw = ENTER.load(Ordering::Acquire);
    // SAFETY: `ENTER` holds null or what `set_lock` made from a `LockEnter`.
    match unsafe { core::mem::transmute::<*mut c_void, Option<LockEnter>>(raw) } {
        // SAFETY: whoever set the functions promised that they may be called at any time.
        Some(function) => unsafe { function() },
        None => mask::enter(),
    }
}

fn leave(state: usize) {
    let raw = LEAVE.load(Ordering::Acquire);
    // SAFETY: `LEAVE` holds null or what `set_lock` made from a `LockLeave`.
    match unsafe { core::mem::transmute::<*mut c_void, Option<LockLeave>>(raw) } {
        // SAFETY: as in `enter`; `state` came from its partner.
        Some(function) => unsafe { function(state) },
        None => mask::leave(state),
    }
}

/// True inside [`locked`].
pub(super) fn locked_by_me() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

/// The default heap; null until `kn_init` or `kn_heap_use`.
pub(crate) fn default_heap() -> *mut KnHeap {
    DEFAULT.load(Ordering::Acquire)
}

/// The counted state of the default heap; null: none yet, or no heap. To be asked by who may use the
/// heap: it is read without the lock.
#[cfg(feature = "counted")]
#[inline(always)]
pub(crate) fn counted() -> *mut c_void {
    let heap = default_heap();
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: whoever made it the default keeps it alive while it is.
    unsafe { (*heap).counted }
}

/// The heap itself knows its state here.
#[cfg(feature = "counted")]
pub(crate) fn set_counted(_state: *mut c_void) {}

/// Makes `heap` the default one (null: none) and returns the one before.
///
/// # Safety
/// `heap` is null or a heap that lives while it is the default.
pub(crate) unsafe fn use_heap(heap: *mut KnHeap) -> *mut KnHeap {
    let state = enter();
    let before = DEFAULT.load(Ordering::Relaxed);
    DEFAULT.store(heap, Ordering::Release);
    leave(state);
    before
}

/// Runs `work` on the default heap (null when there is none) inside the critical section, then
/// delivers an error that was found.
#[inline]
pub(crate) fn with_default<R>(work: impl FnOnce(*mut KnHeap) -> R) -> R {
    locked(|| work(DEFAULT.load(Ordering::Relaxed)))
}

/// Runs `work` inside the critical section, then delivers an error that was found.
#[inline]
pub(super) fn locked<R>(work: impl FnOnce() -> R) -> R {
    let state = enter();
    INSIDE.store(true, Ordering::Relaxed);
    let result = work();
    // SAFETY: still inside the critical section, which guards the slot.
    let pending = unsafe { PENDING.take() };
    INSIDE.store(false, Ordering::Relaxed);
    leave(state);
    if let Some(report) = pending {
        report.deliver();
    }
    result
}

/// The firmware's memory is what it is.
#[inline(always)]
pub(super) fn grow(_heap: *mut KnHeap, _bytes: usize, _align: usize) -> bool {
    false
}

/// Cortex-M: PRIMASK.
#[cfg(knoll_cortex_m)]
mod mask {
    use core::arch::asm;

    #[inline(always)]
    pub(super) fn enter() -> usize {
        let state: usize;
        // SAFETY: reads and sets the interrupt mask; no memory is touched, and the missing `nomem`
        // keeps the compiler from moving memory accesses out of the section.
        unsafe {
            asm!("mrs {0}, PRIMASK", "cpsid i", out(reg) state, options(nostack, preserves_flags));
        }
        state
    }

    #[inline(always)]
    pub(super) fn leave(state: usize) {
        // SAFETY: restores the mask that `enter` read.
        unsafe { asm!("msr PRIMASK, {0}", in(reg) state, options(nostack, preserves_flags)) }
    }
}

/// Other cores: the program gives its lock by `set_lock` if handlers use the default heap.
#[cfg(not(knoll_cortex_m))]
mod mask {
    #[inline(always)]
    pub(super) fn enter() -> usize {
        0
    }

    #[inline(always)]
    pub(super) fn leave(_state: usize) {}
}
