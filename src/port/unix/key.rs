//! A pthread key: what calls a function at a thread's end.
//!
//! - Made when first needed, by whichever thread comes first, and never deleted.
//! - Making one does not allocate. Setting one may: glibc calls `calloc` for a thread's first key from
//!   the 33rd on, so no lock of the heap may be held.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What a pthread key calls at the end of a thread whose value is not null.
type AtEnd = unsafe extern "C" fn(*mut c_void);

/// The key. All zero: not made.
pub(crate) struct Key(pub(super) AtomicUsize);

impl Key {
    pub(crate) const fn new() -> Key {
        Key(AtomicUsize::new(0))
    }

    /// Makes the key unless it is there; false: the system has none left.
    pub(crate) fn make(&self, at_end: Option<AtEnd>) -> bool {
        if self.0.load(Ordering::Acquire) != 0 {
            return true;
        }
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: the key's place is valid, and the function lives as long as the process.
        if unsafe { libc::pthread_key_create(&mut key, at_end) } != 0 {
            return false;
        }
        let mine = key as usize + 1;
        if self.0.compare_exchange(0, mine, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: created above, and nobody else has seen it.
            unsafe { libc::pthread_key_delete(key) };
        }
        true
    }

    /// Sets the calling thread's value; false: the key is not made, or there is no memory.
    pub(crate) fn set(&self, value: *mut c_void) -> bool {
        match self.0.load(Ordering::Acquire) {
            0 => false,
            // SAFETY: the key was created and is never deleted.
            key => unsafe { libc::pthread_setspecific((key - 1) as libc::pthread_key_t, value) == 0 },
        }
    }
}
