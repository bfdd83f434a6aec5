//! JSON, piece by piece: what reports for programs write with.
//!
//! Guarantees
//! * What is written is one JSON text in UTF-8 whatever the names in it are: quotation marks, backslashes and
//!   control characters are escaped, and bytes that are no UTF-8 are U+FFFD.
//! * Nothing is kept but two flags; each piece goes to the reader at once. After the reader wants no more,
//!   nothing is written.
//!
//! ```text
//!   open(b"{")   number(key!("free"), 24076)   string(key!("name"), c"ui")   close(b"}")
//!   {"free": 24076, "name": "ui"}
//! ```

use core::ffi::c_char;

use super::text::{number, Write};

/// The name of a member, as it stands before the value.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\": ").as_bytes()
    };
}
pub(super) use key;

/// An element of an array has no name.
pub(super) const ELEMENT: &[u8] = b"";

/// A JSON text that is being written.
pub(super) struct Json<'a> {
    write: Write<'a>,
    going: bool,
    /// What comes next is the first in its array or object.
    first: bool,
}

impl<'a> Json<'a> {
    pub fn new(write: Write<'a>) -> Json<'a> {
        Json { write, going: true, first: true }
    }

    /// Whether the reader wants more.
    pub fn going(&self) -> bool {
        self.going
    }

    fn put(&mut self, text: &[u8]) {
        self.going = self.going && (self.write)(text);
    }

    /// What stands before a value: a comma unless it is the first, and its name.
    #[inline(never)]
    fn begin(&mut self, key: &[u8]) {
        if !self.first {
            self.put(b", ");
        }
        self.first = false;
        if !key.is_empty() {
            self.put(key);
        }
    }

    /// Begins an array or object that is a value.
    #[inline(never)]
    pub fn open(&mut self, key: &[u8], bracket: &[u8]) {
        self.begin(key);
        self.put(bracket);
        self.first = true;
    }

    /// Ends it.
    #[inline(never)]
    pub fn close(&mut self, bracket: &[u8]) {
        self.put(bracket);
        self.first = false;
    }

    /// Begins a new line: only people see it.
    pub fn line(&mut self) {
        self.put(b"\n");
    }

    /// A value that is JSON already.
    #[inline(never)]
    pub fn literal(&mut self, key: &[u8], json: &[u8]) {
        self.begin(key);
        self.put(json);
    }

    #[inline(never)]
    pub fn number(&mut self, key: &[u8], value: usize) {
        self.begin(key);
        self.going = self.going && number(value, 10, self.write);
    }

    /// An address: JSON's numbers need not keep 64 bits.
    #[inline(never)]
    pub fn address(&mut self, key: &[u8], at: usize) {
        self.begin(key);
        self.put(b"\"0x");
        self.going = self.going && number(at, 16, self.write);
        self.put(b"\"");
    }

    /// A text that ends with a NUL; NULL is null.
    ///
    /// # Safety
    /// `text` is NULL or ends with a NUL.
    #[inline(never)]
    pub unsafe fn string(&mut self, key: &[u8], text: *const c_char) {
        self.begin(key);
        if text.is_null() {
            return self.put(b"null");
        }
        self.put(b"\"");
        let mut rest = text.cast::<u8>();
        // SAFETY: the caller's word; no step goes beyond the NUL.
        unsafe {
            while rest.read() != 0 && self.going {
                let plain = plain(rest);
                if plain != 0 {
                    self.put(core::slice::from_raw_parts(rest, plain));
                    rest = rest.add(plain);
                    continue;
                }
                self.escape(rest.read());
                rest = rest.add(1);
            }
        }
        self.put(b"\"");
    }

    /// A byte that can't stand in a string as it is.
    #[inline(never)]
    fn escape(&mut self, byte: u8) {
        match byte {
            b'"' => self.put(b"\\\""),
            b'\\' => self.put(b"\\\\"),
            0..0x20 => {
                self.put(if byte < 0x10 { b"\\u000" } else { b"\\u00" });
                self.going = self.going && number(usize::from(byte), 16, self.write);
            }
            _ => self.put(b"\\ufffd"),
        }
    }
}

/// How many bytes from `text` on can stand in a JSON string as they are.
///
/// # Safety
/// `text` ends with a NUL.
unsafe fn plain(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's word; a sequence that the NUL cuts short is none.
    unsafe {
        loop {
            match sequence(text.add(length)) {
                0 => return length,
                more => length += more,
            }
        }
    }
}

/// Bytes of the character at `text`; 0 at the NUL, at what must be escaped, and at what is no UTF-8.
///
/// # Safety
/// `text` ends with a NUL.
unsafe fn sequence(text: *const u8) -> usize {
    // SAFETY: a byte is read only if those before it are no NUL.
    unsafe {
        let byte = text.read();
        // The number of bytes, and the range of the second one: no overlong form, no surrogate, nothing
        // above U+10FFFF (The Unicode Standard, table 3-7).
        let (length, least, most) = match byte {
            b'"' | b'\\' => return 0,
            0x20..=0x7F => return 1,
            0xC2..=0xDF => (2, 0x80, 0xBF),
            0xE0 => (3, 0xA0, 0xBF),
            0xED => (3, 0x80, 0x9F),
            0xE1..=0xEF => (3, 0x80, 0xBF),
            0xF0 => (4, 0x90, 0xBF),
            0xF1..=0xF3 => (4, 0x80, 0xBF),
            0xF4 => (4, 0x80, 0x8F),
            _ => return 0,
        };
        let second = text.add(1).read();
        if second < least || second > most {
            return 0;
        }
        for n in 2..length {
            if text.add(n).read() & 0xC0 != 0x80 {
                return 0;
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn written(text: &[u8]) -> String {
        let mut text = text.to_vec();
        text.push(0);
        let mut found = Vec::new();
        let mut write = |piece: &[u8]| {
            found.extend_from_slice(piece);
            true
        };
        let mut json = Json::new(&mut write);
        // SAFETY: ends with a NUL.
        unsafe { json.string(ELEMENT, text.as_ptr().cast()) };
        assert!(json.going());
        String::from_utf8(found).expect("UTF-8")
    }

    #[test]
    fn what_strings_must_escape() {
        assert_eq!(written(b"plain name"), "\"plain name\"");
        assert_eq!(written(b""), "\"\"");
        assert_eq!(written(b"a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(written(b"\x01\x1f\n\t\x7f"), "\"\\u0001\\u001f\\u000a\\u0009\x7f\"");
    }

    #[test]
    fn utf8_stays_and_other_bytes_are_replaced() {
        let good = "Größe 高さ 𝄞 \u{10FFFF} \u{7FF} \u{800} \u{D7FF} \u{E000}";
        assert_eq!(written(good.as_bytes()), std::format!("\"{good}\""));
        for (bad, expected) in [
            (&b"\xC3"[..], "\\ufffd"),
            (b"\xC3A", "\\ufffdA"),
            (b"\xC0\x80", "\\ufffd\\ufffd"),
            (b"\xED\xA0\x80", "\\ufffd\\ufffd\\ufffd"),
            (b"\xF4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"),
            (b"\xE2\x82", "\\ufffd\\ufffd"),
            (b"\xFFx", "\\ufffdx"),
        ] {
            assert_eq!(written(bad), std::format!("\"{expected}\""), "{bad:x?}");
        }
    }

    #[test]
    fn commas_stand_between_values() {
        let mut found = Vec::new();
        let mut write = |piece: &[u8]| {
            found.extend_from_slice(piece);
            true
        };
        let mut json = Json::new(&mut write);
        json.open(ELEMENT, b"{");
        json.number(key!("a"), 1);
        json.open(key!("b"), b"[");
        json.close(b"]");
        json.open(key!("c"), b"[");
        json.address(ELEMENT, 0x1f);
        json.literal(ELEMENT, b"true");
        json.close(b"]");
        // SAFETY: NULL.
        unsafe { json.string(key!("d"), core::ptr::null()) };
        json.close(b"}");
        assert_eq!(found, b"{\"a\": 1, \"b\": [], \"c\": [\"0x1f\", true], \"d\": null}");
    }

    #[test]
    fn a_reader_that_has_enough_gets_no_more() {
        for most in 0..6 {
            let mut pieces = 0;
            let mut write = |_: &[u8]| {
                pieces += 1;
                pieces < most
            };
            let mut json = Json::new(&mut write);
            json.open(ELEMENT, b"[");
            for n in 0..20 {
                json.number(ELEMENT, n);
            }
            json.close(b"]");
            assert!(!json.going());
            assert_eq!(pieces, most.max(1));
        }
    }
}
