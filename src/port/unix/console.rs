//! The last words of a process with a corrupt heap, and `errno`.
//!
//! Nothing is formatted by a library and nothing allocates: the line is put together in a buffer on
//! the stack and written by one `write`, so it comes out whole beside other threads' output.

use core::ffi::CStr;

/// Room for the longest line: `knoll: ` + status + `: ` + what + ` at 0x` + 16 digits.
const LINE: usize = 160;

/// Writes `knoll: STATUS: WHAT at 0xADDRESS` to standard error and aborts; a WHAT that says no more
/// than the status is left out.
#[cold]
pub(super) fn die(status: &CStr, what: &CStr, address: usize) -> ! {
    let mut line = Line { text: [0; LINE], length: 0 };
    line.add(b"knoll: ");
    line.add(status.to_bytes());
    if what.to_bytes() != status.to_bytes() {
        line.add(b": ");
        line.add(what.to_bytes());
    }
    line.add(b" at 0x");
    line.add_hexadecimal(address);
    line.add(b"\n");
    // SAFETY: the buffer holds `length` bytes; abort takes nothing. A short or failed write is no
    // reason to do anything else than abort.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.text.as_ptr().cast(), line.length);
        libc::abort()
    }
}

struct Line {
    text: [u8; LINE],
    length: usize,
}

impl Line {
    fn add(&mut self, text: &[u8]) {
        for &byte in text {
            self.add_byte(byte);
        }
    }

    fn add_hexadecimal(&mut self, value: usize) {
        let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = (value >> (place * 4)) as u8 & 15;
            self.add_byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }

    /// What does not fit is left out.
    fn add_byte(&mut self, byte: u8) {
        if let Some(slot) = self.text.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }
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
