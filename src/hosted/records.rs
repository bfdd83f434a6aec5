//! Memory for records: pages' bits and threads' caches, apart from everybody's blocks.
//!
//! - Records lie in mappings of their own, so that no overflow of a block reaches one.
//! - What is given back serves requests of the same length; there are a few lengths only.
//! - Two records never share a cache line.
//!
//! ```text
//!   chunk:  | line | line | line | …            64 bytes a line; a record is some lines in a row
//!            \__ a page's bits __/
//! ```
//! Cost: a few instructions; a mapping for each chunk, which is a quarter as large as all before.

use core::ptr::null_mut;

use super::hardened::HARDENED;
use crate::port;

/// Bytes of a line.
pub(super) const LINE: usize = 64;
/// Lines of the longest record.
pub(super) const MOST_LINES: usize = if HARDENED { 144 } else { 72 };
/// The first chunk.
const FIRST: usize = 64 << 10;

/// All records. All zero: none.
pub(super) struct Records {
    /// For each number of lines the records that were given back.
    free: [*mut Free; MOST_LINES],
    /// What is left of the last chunk.
    rest: *mut u8,
    left: usize,
    /// Bytes of all chunks.
    total: usize,
}

struct Free {
    next: *mut Free,
}

impl Records {
    pub(super) const fn new() -> Records {
        Records { free: [null_mut(); MOST_LINES], rest: null_mut(), left: 0, total: 0 }
    }

    /// A record of so many lines, at a line's start; its contents are anything. Null without memory.
    pub(super) fn take(&mut self, lines: usize) -> *mut u8 {
        let Some(free) = self.free.get_mut(lines.wrapping_sub(1)) else { return null_mut() };
        let first = *free;
        if !first.is_null() {
            // SAFETY: a record that was given back, whose first word `give` wrote.
            *free = unsafe { (*first).next };
            return first.cast();
        }
        let bytes = lines * LINE;
        if self.left < bytes && !self.open() {
            return null_mut();
        }
        let at = self.rest;
        // SAFETY: the chunk has `left` bytes more.
        self.rest = unsafe { at.add(bytes) };
        self.left -= bytes;
        at
    }

    /// Maps a chunk; false without memory. What is left of the last one is left.
    #[cold]
    fn open(&mut self) -> bool {
        let _errno = port::Errno::keep();
        let wanted = (self.total / 4).max(FIRST);
        let Some(span) = port::map(wanted, LINE).or_else(|| port::map(FIRST, LINE)) else { return false };
        (self.rest, self.left) = (span.start, span.usable());
        self.total += span.bytes;
        true
    }

    /// Gives a record back.
    ///
    /// # Safety
    /// It came from [`Records::take`] with as many lines, and nobody uses it any more.
    pub(super) unsafe fn give(&mut self, at: *mut u8, lines: usize) {
        let Some(free) = self.free.get_mut(lines.wrapping_sub(1)) else { return };
        let record = at.cast::<Free>();
        // SAFETY: the caller's word: a record of at least a line.
        unsafe { record.write(Free { next: *free }) };
        *free = record;
    }

    /// Bytes mapped for records.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}
