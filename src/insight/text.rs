//! Text, piece by piece: what all reports write with.
//!
//! * Nothing is kept: each piece goes to the reader at once, who may say that it wants no more.
//! * Lines that are equal but for their numbers come from one place, so that programs can read them.

use core::ffi::c_char;

/// A writer of text; false when its reader wants no more.
pub(crate) type Write<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// The most digits that a number has, of those that anybody asks for.
const DIGITS: usize = if cfg!(target_pointer_width = "64") { 20 } else { 12 };

/// A number as text, to the base 10 or 16.
#[inline(never)]
pub(super) fn number(value: usize, base: usize, write: Write<'_>) -> bool {
    let mut text = [0u8; DIGITS];
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
#[inline(never)]
pub(super) unsafe fn name(name: *const c_char, write: Write<'_>) -> bool {
    if name.is_null() {
        return write(b"?");
    }
    let text = name.cast::<u8>();
    let mut length = 0;
    // SAFETY: up to the NUL at most.
    let text = unsafe {
        // Volatile, or the compiler makes a call of strlen of it, which bare metal has not.
        while text.add(length).read_volatile() != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text, length)
    };
    write(text)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn names_of_any_length() {
        for length in [0, 1, 2, 63, 200] {
            let mut text: Vec<u8> = (0..length).map(|n| b'a' + (n % 26) as u8).collect();
            let expected = String::from_utf8(text.clone()).unwrap();
            text.push(0);
            let mut found = Vec::new();
            // SAFETY: ends with a NUL.
            let going = unsafe {
                name(text.as_ptr().cast(), &mut |piece| {
                    found.extend_from_slice(piece);
                    true
                })
            };
            assert!(going && found == expected.as_bytes(), "{length}");
        }
        // SAFETY: NULL, and a name that ends with a NUL.
        unsafe {
            assert!(!name(c"name".as_ptr(), &mut |_| false));
            let mut found = Vec::new();
            assert!(name(core::ptr::null(), &mut |piece| {
                found.extend_from_slice(piece);
                true
            }));
            assert_eq!(found, b"?");
        }
    }
}
