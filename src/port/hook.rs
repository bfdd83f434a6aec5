//! The error hook: who is told of corruption, double frees and foreign pointers.
//!
//! - [`report`] calls the hook at once unless the calling thread holds the default heap's lock; then
//!   the report waits in [`Pending`] and is delivered when the lock is released, so a hook may
//!   allocate, free or report itself.
//! - Of several reports inside one locked call the first is kept: it is the cause.
//! - A hook that is changed while another thread reports is called as it was or as it is, never torn.
//!
//! Cost: one load and a call; two words of zero-initialised data, and four for the pending report.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void, CStr};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::platform;
use crate::heap::KnStatus;

/// The hook of `kn_on_error`: what went wrong, the pointer at fault (may be null), and where it was
/// found, in English. The text lives for ever.
pub(crate) type ErrorHook = unsafe extern "C" fn(KnStatus, *const c_void, *const c_char);

/// The hook as a data pointer, because an atomic function pointer does not exist; null: none.
static HOOK: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Sets or, with `None`, removes the hook, for all threads.
pub(crate) fn set_error_hook(hook: Option<ErrorHook>) {
    let raw = hook.map_or(core::ptr::null_mut(), |function| function as *mut c_void);
    HOOK.store(raw, Ordering::Release);
}

/// The hook that is set.
fn error_hook() -> Option<ErrorHook> {
    let raw = HOOK.load(Ordering::Acquire);
    // SAFETY: `HOOK` holds null or what `set_error_hook` made from an `ErrorHook`; a nullable function
    // pointer and a data pointer have the same size and form on every supported target.
    unsafe { core::mem::transmute::<*mut c_void, Option<ErrorHook>>(raw) }
}

/// Tells the hook of an error: `at` is the pointer at fault or null, `what` names the place.
pub(crate) fn report(status: KnStatus, at: *const u8, what: &'static CStr) {
    let report = Report { status, at, what };
    if platform::locked_by_me() {
        // SAFETY: this thread holds the default heap's lock, which guards the slot.
        unsafe { PENDING.put(report) };
    } else {
        report.deliver();
    }
}

/// One error on its way to the hook.
#[derive(Clone, Copy)]
pub(super) struct Report {
    pub(super) status: KnStatus,
    pub(super) at: *const u8,
    pub(super) what: &'static CStr,
}

impl Report {
    /// Calls the hook; true iff there was one.
    pub(super) fn deliver(self) -> bool {
        match error_hook() {
            Some(hook) => {
                // SAFETY: whoever set the hook promised a function that may be called from any thread.
                unsafe { hook(self.status, self.at.cast(), self.what.as_ptr()) };
                true
            }
            None => false,
        }
    }
}

/// The report found while the default heap's lock is held. Guarded by that lock. All zero: none.
pub(super) struct Pending(UnsafeCell<Waiting>);

/// An `Option<Report>` whose `None` is all zero, so that it lies in zero-initialised data.
struct Waiting {
    status: KnStatus,
    at: *const u8,
    what: Option<&'static CStr>,
}

// SAFETY: every access is made with the default heap's lock held, which its methods demand.
unsafe impl Sync for Pending {}

pub(super) static PENDING: Pending =
    Pending(UnsafeCell::new(Waiting { status: KnStatus::Ok, at: core::ptr::null(), what: None }));

impl Pending {
    /// Keeps `report` unless one waits already.
    ///
    /// # Safety
    /// The caller holds the default heap's lock.
    unsafe fn put(&self, report: Report) {
        let Report { status, at, what } = report;
        // SAFETY: the lock makes this the only access.
        let slot = unsafe { &mut *self.0.get() };
        if slot.what.is_none() {
            *slot = Waiting { status, at, what: Some(what) };
        }
    }

    /// Takes the waiting report out.
    ///
    /// # Safety
    /// The caller holds the default heap's lock.
    #[inline]
    pub(super) unsafe fn take(&self) -> Option<Report> {
        // SAFETY: the lock makes this the only access.
        let slot = unsafe { &mut *self.0.get() };
        let what = slot.what.take()?;
        Some(Report { status: slot.status, at: slot.at, what })
    }
}
