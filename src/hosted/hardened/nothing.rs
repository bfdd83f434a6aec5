//! Blocks of 0 bytes: addresses that nobody may read or write.
//!
//! - Each is different from every other live block's, at a multiple of 64, or of up to a page if asked for.
//! - Using one is a fault of the processor, at once.
//! - Freeing one twice, or an address between two of them, is noticed, always.
//! - Its address does not come back at once: the search goes on from where the last one was found.
//! - Where there is none left, and no memory for the bits, the caller does without.
//!
//! ```text
//!   16 MB without any right:  |64|64|64|64| …          one mapping, never resident
//!   bits, 1: free              1  1  0  1  …           32 KB
//! ```
//! Cost: one atomic operation, and the search.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::port::{self, Errno};

const STRIDE: usize = 64;
const BLOCKS: usize = 1 << 18;
const WORD: usize = usize::BITS as usize;
const WORDS: usize = BLOCKS / WORD;
const BYTES: usize = BLOCKS * STRIDE;

/// Where the addresses begin; null: not mapped yet.
static BASE: AtomicPtr<u8> = AtomicPtr::new(null_mut());
/// The bits, once there is a base: 1 is free.
static BITS: AtomicPtr<AtomicUsize> = AtomicPtr::new(null_mut());
/// Where the next search begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// What an address is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    Done,
    /// It was free.
    Twice,
    /// Between two blocks.
    Inside,
    /// Not here at all.
    Elsewhere,
}

/// A block of 0 bytes at a multiple of `align`, a power of two; null: there is none.
pub(super) fn take(align: usize) -> *mut u8 {
    if align > STRIDE * WORD || (BASE.load(Ordering::Acquire).is_null() && !begin()) {
        return null_mut();
    }
    // Every first bit of a word is at a multiple of the largest alignment.
    let step = (align / STRIDE).max(1);
    let mask = if step >= WORD { 1 } else { usize::MAX / ((1 << step) - 1) };
    let (base, bits) = (BASE.load(Ordering::Relaxed), BITS.load(Ordering::Relaxed));
    let from = NEXT.fetch_add(1, Ordering::Relaxed);
    for n in 0..WORDS {
        let n = (from + n) % WORDS;
        // SAFETY: one of the words.
        let word = unsafe { &*bits.add(n) };
        loop {
            let free = word.load(Ordering::Relaxed) & mask;
            if free == 0 {
                break;
            }
            let bit = free.trailing_zeros() as usize;
            if word.fetch_and(!(1 << bit), Ordering::AcqRel) & 1 << bit != 0 {
                return base.wrapping_add((n * WORD + bit) * STRIDE);
            }
        }
    }
    null_mut()
}

/// Gives a block back, if it is one.
#[inline(always)]
pub(super) fn give(at: *const u8) -> Given {
    let Some(offset) = offset_of(at) else { return Given::Elsewhere };
    if offset % STRIDE != 0 {
        return Given::Inside;
    }
    let (n, bit) = (offset / STRIDE / WORD, offset / STRIDE % WORD);
    // SAFETY: one of the words, which are there once there is a base.
    let before = unsafe { (*BITS.load(Ordering::Acquire).add(n)).fetch_or(1 << bit, Ordering::AcqRel) };
    if before & 1 << bit != 0 {
        Given::Twice
    } else {
        Given::Done
    }
}

/// Whether an address lies among those of blocks of 0 bytes.
#[inline(always)]
pub(super) fn contains(at: *const u8) -> bool {
    offset_of(at).is_some()
}

#[inline(always)]
fn offset_of(at: *const u8) -> Option<usize> {
    let base = BASE.load(Ordering::Acquire).addr();
    let offset = at.addr().wrapping_sub(base);
    (base != 0 && offset < BYTES).then_some(offset)
}

/// Maps addresses and bits, both for ever; false without memory.
#[cold]
fn begin() -> bool {
    let _errno = Errno::keep();
    let Some(bits) = port::map(WORDS * size_of::<AtomicUsize>(), 1) else { return false };
    let Some(base) = super::guard::reserve(BYTES) else {
        // SAFETY: mapped above, and nobody has its address.
        unsafe { port::unmap(bits) };
        return false;
    };
    for n in 0..WORDS {
        // SAFETY: the mapping is so long.
        unsafe { bits.start.cast::<AtomicUsize>().add(n).write(AtomicUsize::new(usize::MAX)) };
    }
    // Of several threads that come here at a time one sets the bits, then the base.
    let first = BITS.compare_exchange(null_mut(), bits.start.cast(), Ordering::AcqRel, Ordering::Acquire).is_ok();
    if first {
        BASE.store(base.start, Ordering::Release);
        return true;
    }
    // SAFETY: mapped above, and nobody has their addresses.
    unsafe {
        port::unmap(bits);
        port::unmap(base);
    }
    // The other thread may not be through yet; then this request is served as one of a byte.
    !BASE.load(Ordering::Acquire).is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Miri knows no memory without rights.
    #[cfg(not(miri))]
    #[test]
    fn blocks_of_nothing() {
        const MOST: usize = STRIDE * WORD;
        let at: [*mut u8; 4] = [1, 64, 128, MOST].map(take);
        for (at, align) in at.iter().zip([64, 64, 128, MOST]) {
            assert!(!at.is_null() && at.addr() % align == 0 && contains(*at));
            assert_eq!(give(at.wrapping_add(8)), Given::Inside);
        }
        assert!(take(2 * MOST).is_null());
        for at in at {
            assert_eq!(give(at), Given::Done);
            assert_eq!(give(at), Given::Twice);
        }
        assert_eq!(give((&raw const NEXT).cast()), Given::Elsewhere);
    }
}
