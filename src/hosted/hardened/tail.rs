//! The last word of each small block: what stands between it and the next one.
//!
//! - The word is made of a secret of the process, its own address, and how many of the block's bytes
//!   nobody asked for. Those hold a byte of the same secret. So one byte written behind what was asked for
//!   is noticed when the block is freed or resized: certainly if it is 0 or ASCII, else but for 1 in 128.
//! - A word whose block was freed says so. It changes by one atomic operation, so of two threads that free
//!   the same block one is told.
//! - Six of its bytes never change once they were written, so whoever frees a block looks at the word
//!   before it as well, which other threads may be writing at the moment: a byte written before a block is
//!   noticed too.
//! - A block that is free is zero from its beginning to that word: what was written to it since is noticed
//!   when it is handed out again.
//!
//! ```text
//!                 size of the block
//!   |<----------------------------------------->|
//!   | asked for ………………… | slack: 8x8x8x | tail |  next block …
//!                                        /      \
//!          low byte: 1 slack 6…0 | 1 slack 13…7 | six bytes of the secret, the last one over 127
//!   never used: all zero
//! ```
//! Costs: reading what is free when it is handed out, writing zeros to it when it is freed; else some 30
//! instructions a call.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::random;

/// Bytes of the word.
pub(super) const TAIL: usize = 8;
/// As much slack as no block has: it is free.
const FREED: usize = 0x3FFF;
/// Bits of the word that never change.
const FIXED: u64 = !0xFFFF;
/// Bits of the word that are always set: no byte of text, and no end of one, looks like it.
const HIGH: u64 = 0x8000_0000_0000_8080;

/// What every word is made of, beside its address. 0: not made yet.
static SECRET: AtomicUsize = AtomicUsize::new(0);

/// Makes the secret unless it is there.
pub(super) fn begin() {
    if SECRET.load(Ordering::Relaxed) == 0 {
        let mine = random::seed() | 1;
        let _ = SECRET.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A small block, used or not.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub at: *mut u8,
    /// Its class's size.
    pub size: usize,
}

/// What is wrong with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    /// It is free.
    Freed,
    /// Bytes behind it were written.
    Behind,
    /// Bytes before it were written.
    Before,
    /// It was written to while it was free.
    Since,
}

/// What a word at `address` is made of.
fn key(address: usize) -> u64 {
    let mixed = (SECRET.load(Ordering::Relaxed) ^ address) as u64;
    let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29) | HIGH
}

/// The word of a block with so much slack.
fn encoded(key: u64, slack: usize) -> u64 {
    let spread = (slack & 0x7F | (slack & 0x3F80) << 1) as u64;
    (key ^ spread) | HIGH
}

/// The slack that a word tells of; None: nobody has written it like that.
fn decoded(key: u64, word: u64) -> Option<usize> {
    if (word ^ key) & FIXED != 0 || word & HIGH != HIGH {
        return None;
    }
    let spread = (word ^ key) as usize & 0x7F7F;
    Some(spread & 0x7F | (spread & 0x7F00) >> 1)
}

/// The byte that slack holds.
fn filler(key: u64) -> u8 {
    (key >> 16) as u8 | 0x80
}

impl Block {
    fn tail(self) -> *const AtomicU64 {
        self.at.wrapping_add(self.size - TAIL).cast()
    }

    fn key(self) -> u64 {
        key(self.tail().addr())
    }

    fn load(self) -> u64 {
        // SAFETY: blocks lie in mapped memory, at multiples of 16, and are multiples of 16 long.
        unsafe { (*self.tail()).load(Ordering::Acquire) }
    }

    fn room(self) -> usize {
        self.size - TAIL
    }

    /// Makes a block that nobody uses one of `bytes`.
    ///
    /// # Safety
    /// The caller took the block, of more than `bytes` + [`TAIL`].
    #[inline(always)]
    pub(super) unsafe fn hand_out(self, bytes: usize) -> Result<(), Wrong> {
        let (key, word) = (self.key(), self.load());
        // SAFETY: the caller's own block.
        if (word != 0 && word != encoded(key, FREED)) || !unsafe { is_zero(self.at, self.room()) } {
            return Err(Wrong::Since);
        }
        // SAFETY: as above.
        unsafe { self.set(bytes, key) };
        Ok(())
    }

    /// Notes that the block is one of `bytes`.
    ///
    /// # Safety
    /// It is the caller's, and so long.
    unsafe fn set(self, bytes: usize, key: u64) {
        let slack = self.room() - bytes;
        // SAFETY: the caller's word.
        unsafe {
            self.at.add(bytes).write_bytes(filler(key), slack);
            (*self.tail()).store(encoded(key, slack), Ordering::Release);
        }
    }

    /// The bytes that were asked for, if nothing was written around them.
    ///
    /// # Safety
    /// Nobody else frees it meanwhile.
    #[inline(always)]
    pub(super) unsafe fn bytes(self) -> Result<usize, Wrong> {
        let (key, word) = (self.key(), self.load());
        let slack = match decoded(key, word) {
            Some(FREED) => return Err(Wrong::Freed),
            Some(slack) if slack <= self.room() => slack,
            None if word == 0 => return Err(Wrong::Freed),
            _ => return Err(Wrong::Behind),
        };
        let bytes = self.room() - slack;
        // SAFETY: inside the block.
        let filled = unsafe { core::slice::from_raw_parts(self.at.add(bytes), slack) };
        let filler = filler(key);
        if filled.iter().fold(0, |different, &byte| different | (byte ^ filler)) != 0 {
            return Err(Wrong::Behind);
        }
        Ok(bytes)
    }

    /// Makes a used block one of `bytes`, which it has room for.
    ///
    /// # Safety
    /// It is the caller's.
    pub(super) unsafe fn resize(self, bytes: usize) {
        // SAFETY: the caller's word.
        unsafe { self.set(bytes, self.key()) }
    }

    /// Makes a used block a free one, full of zeros.
    ///
    /// # Safety
    /// Nobody uses it any more, if it is used at all.
    #[inline(always)]
    pub(super) unsafe fn retire(self, alone: bool) -> Result<(), Wrong> {
        // SAFETY: the caller's word.
        unsafe { self.bytes()? };
        let (key, word) = (self.key(), self.load());
        let freed = encoded(key, FREED);
        // SAFETY: as in `load`.
        let tail = unsafe { &*self.tail() };
        if alone {
            tail.store(freed, Ordering::Relaxed);
        } else if tail.compare_exchange(word, freed, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Wrong::Freed);
        }
        // SAFETY: this call has ended its life.
        unsafe { self.at.write_bytes(0, self.room()) };
        Ok(())
    }

    /// Whether the word before the block is the tail of another one. The block is not its page's first.
    ///
    /// # Safety
    /// Memory lies before it.
    #[inline(always)]
    pub(super) unsafe fn is_bounded_below(self) -> bool {
        let before = self.at.wrapping_sub(TAIL);
        // SAFETY: the caller's word; at a multiple of 8.
        let word = unsafe { (*before.cast::<AtomicU64>()).load(Ordering::Relaxed) };
        word == 0 || (word ^ key(before.addr())) & FIXED == 0
    }

    /// Looks at a block that nobody uses: has it been written to?
    ///
    /// # Safety
    /// Memory of the heap; nobody takes it meanwhile.
    pub(super) unsafe fn is_untouched(self) -> bool {
        let (key, word) = (self.key(), self.load());
        // SAFETY: the caller's word.
        (word == 0 || word == encoded(key, FREED)) && unsafe { is_zero(self.at, self.room()) }
    }

    /// What can be said of a block while other threads use the heap: false if its last word was written.
    pub(super) fn has_tail(self) -> bool {
        let word = self.load();
        word == 0 || (word ^ self.key()) & FIXED == 0
    }
}

/// Whether so many bytes, a multiple of 8, are all zero.
///
/// # Safety
/// They are readable, and begin at a multiple of 16.
#[inline(always)]
pub(super) unsafe fn is_zero(at: *const u8, bytes: usize) -> bool {
    // SAFETY: the caller's word.
    let words = unsafe { core::slice::from_raw_parts(at.cast::<u64>(), bytes / 8) };
    let (chunks, rest) = words.split_at(words.len() & !7);
    for chunk in chunks.chunks_exact(8) {
        if chunk.iter().fold(0, |any, &word| any | word) != 0 {
            return false;
        }
    }
    rest.iter().fold(0, |any, &word| any | word) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Memory([u8; 256]);

    fn blocks(memory: &mut Memory) -> [Block; 3] {
        begin();
        let at = memory.0.as_mut_ptr();
        [0, 64, 128].map(|offset| Block { at: at.wrapping_add(offset), size: 64 })
    }

    #[test]
    fn a_block_lives_and_says_how_long_it_is() {
        let mut memory = Memory([0; 256]);
        let [_, block, next] = blocks(&mut memory);
        for bytes in 0..=56 {
            // SAFETY: blocks of the array, used by this thread alone.
            unsafe {
                assert_eq!(block.bytes(), Err(Wrong::Freed));
                assert_eq!(block.hand_out(bytes), Ok(()));
                assert_eq!(block.bytes(), Ok(bytes));
                block.at.write_bytes(0x41, bytes);
                assert_eq!(block.bytes(), Ok(bytes));
                assert!(next.is_bounded_below() && block.has_tail());
                block.resize(56 - bytes);
                assert_eq!(block.bytes(), Ok(56 - bytes));
                assert_eq!(block.retire(bytes % 2 == 0), Ok(()));
                assert_eq!(block.retire(bytes % 2 == 0), Err(Wrong::Freed));
                assert!(block.is_untouched() && next.is_bounded_below());
            }
        }
    }

    #[test]
    fn each_byte_around_it_is_guarded() {
        let mut memory = Memory([0; 256]);
        let [before, block, _] = blocks(&mut memory);
        for bytes in 0..=56 {
            for (offset, value) in (bytes..64).flat_map(|offset| [(offset, 0), (offset, b'A'), (offset, 0x7F)]) {
                // SAFETY: as above.
                unsafe {
                    block.hand_out(bytes).unwrap();
                    let was = block.at.add(offset).replace(value);
                    assert!(matches!(block.bytes(), Err(Wrong::Behind)) || value == was, "{bytes} {offset} {value}");
                    block.at.add(offset).write(was);
                    block.retire(true).unwrap();
                }
            }
        }
        for offset in 1..=6 {
            // SAFETY: as above.
            unsafe {
                before.hand_out(10).unwrap();
                let byte = block.at.sub(offset);
                *byte ^= 0x40;
                assert!(!block.is_bounded_below());
                *byte ^= 0x40;
                before.retire(true).unwrap();
            }
        }
    }

    #[test]
    fn what_is_written_to_a_free_block_is_seen() {
        let mut memory = Memory([0; 256]);
        let [_, block, _] = blocks(&mut memory);
        for offset in 0..64 {
            // SAFETY: as above.
            unsafe {
                block.hand_out(20).unwrap();
                block.retire(false).unwrap();
                *block.at.add(offset) ^= 1;
                assert!(!block.is_untouched());
                assert_eq!(block.hand_out(20), Err(Wrong::Since));
                *block.at.add(offset) ^= 1;
            }
        }
    }
}
