//! The end of a process with a corrupt heap, and `errno`.

use core::ffi::CStr;

use crate::hosted::report;

/// Writes what is wrong, and what is known of the address, to standard error and aborts.
#[cold]
pub(super) fn die(status: &CStr, what: &CStr, address: usize) -> ! {
    report::last_words(status, what, address);
    // SAFETY: takes nothing.
    unsafe { libc::abort() }
}

/// Puts `errno` back when dropped: what a system call inside an allocation that succeeds after all,
/// or inside `free`, must not leave behind.
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) fn keep() -> Errno {
        // SAFETY: the C library's own per-thread cell.
        Errno(unsafe { *errno() })
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: as in `keep`.
        unsafe { *errno() = self.0 }
    }
}

/// Sets `errno`.
#[cold]
#[cfg(feature = "libc-names")]
pub(crate) fn set_errno(value: i32) {
    // SAFETY: the C library's own per-thread cell.
    unsafe { *errno() = value }
}

#[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "hurd"))]
unsafe fn errno() -> *mut i32 {
    // SAFETY: no conditions; valid in every thread.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
unsafe fn errno() -> *mut i32 {
    // SAFETY: no conditions; valid in every thread.
    unsafe { libc::__errno() }
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
unsafe fn errno() -> *mut i32 {
    // SAFETY: no conditions; valid in every thread.
    unsafe { libc::__error() }
}
