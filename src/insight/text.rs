//! Text, piece by piece: what all reports write with.
//!
//! * Nothing is kept: each piece goes to the reader at once, who may say that it wants no more.
//! * Lines that are equal but for their numbers come from one place, so that programs can read them.

#[cfg(feature = "counted")]
use core::ffi::{c_char, CStr};

/// A writer of text; false when its reader wants no more.
pub(crate) type Write<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// A number as text.
pub(super) fn number(value: usize, base: usize, write: Write<'_>) -> bool {
    let mut text = [0u8; 24];
    let mut at = text.len();
    let mut rest = value;
    loop {
        at -= 1;
        let digit = (rest % base) as u8;
        if let Some(place) = text.get_mut(at) {
            *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        }
        rest /= base;
        if rest == 0 || at == 0 {
            break;
        }
    }
    write(text.get(at..).unwrap_or_default())
}

/// A name that the program gave; "?" for NULL.
///
/// # Safety
/// `name` is NULL or ends with a NUL.
#[cfg(feature = "counted")]
pub(super) unsafe fn name(name: *const c_char, write: Write<'_>) -> bool {
    if name.is_null() {
        return write(b"?");
    }
    // SAFETY: the caller's word.
    write(unsafe { CStr::from_ptr(name) }.to_bytes())
}
