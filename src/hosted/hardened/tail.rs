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
#[inline(always)]
fn key(address: usize) -> u64 {
    let mixed = (SECRET.load(Ordering::Relaxed) ^ address) as u64;
    let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29) | HIGH
}

/// The word of a block with so much slack.
#[inline(always)]
fn encoded(key: u64, slack: usize) -> u64 {
    let spread = (slack & 0x7F | (slack & 0x3F80) << 1) as u64;
    (key ^ spread) | HIGH
}

/// The slack that a word tells of; more than any if nobody has written it like that.
#[inline(always)]
fn decoded(key: u64, word: u64) -> usize {
    let spread = word ^ key;
    if spread & !0x7F7F != 0 {
        return usize::MAX;
    }
    (spread & 0x7F | (spread & 0x7F00) >> 1) as usize
}

/// Eight bytes of slack, all alike.
#[inline(always)]
fn filler(key: u64) -> u64 {
    (key >> 16 & 0xFF | 0x80) * 0x0101_0101_0101_0101
}

/// What was read of a used block, for what is done with it next.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    block: Block,
    key: u64,
    word: u64,
    /// What was asked for.
    pub bytes: usize,
}

impl Block {
    #[inline(always)]
    fn tail(self) -> *const AtomicU64 {
        self.at.wrapping_add(self.size - TAIL).cast()
    }

    #[inline(always)]
    fn key(self) -> u64 {
        key(self.tail().addr())
    }

    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: blocks lie in mapped memory, at multiples of 16, and are multiples of 16 long.
        unsafe { (*self.tail()).load(Ordering::Acquire) }
    }

    #[inline(always)]
    fn room(self) -> usize {
        self.size - TAIL
    }

    /// Makes a block that nobody uses one of `bytes`; false, and nothing is changed: it was written to.
    ///
    /// # Safety
    /// The caller took the block, which has room for `bytes` and [`TAIL`].
    #[inline(always)]
    pub(super) unsafe fn hand_out(self, bytes: usize) -> bool {
        let (key, word) = (self.key(), self.load());
        // SAFETY: the caller's own block.
        if (word != 0 && word != encoded(key, FREED)) || !unsafe { is_zero(self.at, self.room()) } {
            return false;
        }
        // SAFETY: as above.
        unsafe { self.set(bytes, key) };
        true
    }

    /// Notes that the block is one of `bytes`.
    ///
    /// # Safety
    /// It is the caller's, and so long.
    #[inline(always)]
    unsafe fn set(self, bytes: usize, key: u64) {
        let filler = filler(key);
        let mut place = bytes & !7;
        let used = (bytes & 7) as u32 * 8;
        // SAFETY: whole words of the block, up to its last one.
        unsafe {
            if used != 0 {
                let word = self.at.add(place).cast::<u64>();
                let mask = u64::MAX << used;
                word.write(((u64::from_le(word.read()) & !mask) | (filler & mask)).to_le());
                place += 8;
            }
            while place < self.room() {
                self.at.add(place).cast::<u64>().write(filler);
                place += 8;
            }
            (*self.tail()).store(encoded(key, self.room() - bytes), Ordering::Release);
        }
    }

    /// What a used block is, if nothing was written behind what was asked for.
    ///
    /// # Safety
    /// Nobody else frees it meanwhile.
    #[inline(always)]
    pub(super) unsafe fn see(self) -> Result<Seen, Wrong> {
        let (key, word) = (self.key(), self.load());
        let slack = decoded(key, word);
        if slack > self.room() {
            return Err(if slack == FREED || word == 0 { Wrong::Freed } else { Wrong::Behind });
        }
        let bytes = self.room() - slack;
        let filler = filler(key);
        let mut different = 0;
        let mut place = bytes & !7;
        let used = (bytes & 7) as u32 * 8;
        // SAFETY: whole words of the block, up to its last one.
        unsafe {
            if used != 0 {
                different = u64::from_le(self.at.add(place).cast::<u64>().read() ^ filler) >> used;
                place += 8;
            }
            while place < self.room() {
                different |= self.at.add(place).cast::<u64>().read() ^ filler;
                place += 8;
            }
        }
        if different != 0 {
            return Err(Wrong::Behind);
        }
        Ok(Seen { block: self, key, word, bytes })
    }

    /// Whether the word before the block is the tail of another one, or zero.
    ///
    /// # Safety
    /// Memory lies before it.
    #[inline(always)]
    pub(super) unsafe fn is_bounded_below(self) -> bool {
        let before = self.at.wrapping_sub(TAIL);
        // SAFETY: the caller's word; at a multiple of 8.
        let word = unsafe { (*before.cast::<AtomicU64>()).load(Ordering::Relaxed) };
        (word ^ key(before.addr())) & FIXED == 0 || word == 0
    }

    /// Looks at a block that nobody uses: false if it was written to.
    ///
    /// # Safety
    /// Memory of the heap; nobody takes it meanwhile.
    #[cfg(any(all(feature = "hardened", feature = "shared", target_os = "linux"), test))]
    pub(super) unsafe fn is_untouched(self) -> bool {
        let (key, word) = (self.key(), self.load());
        // SAFETY: the caller's word.
        (word == 0 || word == encoded(key, FREED)) && unsafe { is_zero(self.at, self.room()) }
    }

    /// What can be said of a block while other threads use the heap: false if its last word was written.
    #[cfg(any(all(feature = "hardened", feature = "shared", target_os = "linux"), test))]
    pub(super) fn has_tail(self) -> bool {
        let word = self.load();
        word == 0 || (word ^ self.key()) & FIXED == 0
    }
}

impl Seen {
    /// The block's own size.
    #[inline(always)]
    pub(super) fn size(self) -> usize {
        self.block.size
    }

    /// Makes the block one of `bytes`, which it has room for.
    ///
    /// # Safety
    /// It is the caller's.
    pub(super) unsafe fn resize(self, bytes: usize) {
        // SAFETY: the caller's word.
        unsafe { self.block.set(bytes, self.key) }
    }

    /// Makes the block a free one, full of zeros; false: another thread did, since it was seen.
    ///
    /// # Safety
    /// Nobody uses it any more. `alone`: there is no other thread.
    #[inline(always)]
    pub(super) unsafe fn retire(self, alone: bool) -> bool {
        let Seen { block, key, word, .. } = self;
        let freed = encoded(key, FREED);
        // SAFETY: as in `load`.
        let tail = unsafe { &*block.tail() };
        if alone {
            tail.store(freed, Ordering::Relaxed);
        } else if tail.compare_exchange(word, freed, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        // SAFETY: this call has ended its life.
        unsafe { clear(block.at, block.room()) };
        true
    }
}

/// From here on the C library clears, whose call costs more for less.
const MUCH: usize = 256;

/// Clears so many bytes, 8 more than a multiple of 16.
///
/// # Safety
/// They are the caller's, and begin at a multiple of 16.
#[inline(always)]
unsafe fn clear(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if bytes > MUCH {
            return at.write_bytes(0, bytes);
        }
        let mut place = 0;
        while place < bytes - 8 {
            at.add(place).cast::<Pair>().write(Pair([0; 2]));
            place += 16;
        }
        at.add(place).cast::<u64>().write(0);
    }
}

/// 16 bytes at once.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Pair([u64; 2]);

/// Whether so many bytes, a multiple of 8, are all zero.
///
/// # Safety
/// They are readable, and begin at a multiple of 16.
#[inline(always)]
pub(super) unsafe fn is_zero(at: *const u8, bytes: usize) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let mut place = 0;
        while place + 64 <= bytes {
            if !is_line_zero(at.add(place)) {
                return false;
            }
            place += 64;
        }
        let mut any = 0;
        while place < bytes {
            any |= at.add(place).cast::<u64>().read();
            place += 8;
        }
        any == 0
    }
}

/// # Safety
/// 64 bytes are readable there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn is_line_zero(at: *const u8) -> bool {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_or_si128, _mm_setzero_si128,
    };
    let at = at.cast::<__m128i>();
    // SAFETY: the caller's word; every x86-64 has these instructions.
    unsafe {
        let first = _mm_or_si128(_mm_load_si128(at), _mm_load_si128(at.add(1)));
        let second = _mm_or_si128(_mm_load_si128(at.add(2)), _mm_load_si128(at.add(3)));
        let zero = _mm_cmpeq_epi8(_mm_or_si128(first, second), _mm_setzero_si128());
        _mm_movemask_epi8(zero) == 0xFFFF
    }
}

/// # Safety
/// 64 bytes are readable there.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn is_line_zero(at: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe { (*at.cast::<[u64; 8]>()).iter().fold(0, |any, &word| any | word) == 0 }
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

    fn see(block: Block) -> Seen {
        // SAFETY: a used block, of this thread alone.
        unsafe { block.see() }.unwrap_or_else(|wrong| panic!("{wrong:?}"))
    }

    fn bytes_of(block: Block) -> Result<usize, Wrong> {
        // SAFETY: a block of this thread alone.
        unsafe { block.see() }.map(|seen| seen.bytes)
    }

    #[test]
    fn a_block_lives_and_says_how_long_it_is() {
        let mut memory = Memory([0; 256]);
        let [_, block, next] = blocks(&mut memory);
        for bytes in 0..=56 {
            // SAFETY: blocks of the array, used by this thread alone.
            unsafe {
                assert_eq!(bytes_of(block), Err(Wrong::Freed));
                assert!(block.hand_out(bytes));
                assert_eq!(bytes_of(block), Ok(bytes));
                block.at.write_bytes(0x41, bytes);
                assert_eq!(bytes_of(block), Ok(bytes));
                assert!(next.is_bounded_below() && block.has_tail());
                see(block).resize(56 - bytes);
                assert_eq!(bytes_of(block), Ok(56 - bytes));
                let seen = see(block);
                assert!(seen.retire(bytes % 2 == 0) && !seen.retire(false));
                assert_eq!(bytes_of(block), Err(Wrong::Freed));
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
                    assert!(block.hand_out(bytes));
                    let was = block.at.add(offset).replace(value);
                    assert!(bytes_of(block) == Err(Wrong::Behind) || value == was, "{bytes} {offset} {value}");
                    block.at.add(offset).write(was);
                    assert!(see(block).retire(true));
                }
            }
        }
        for offset in 1..=6 {
            // SAFETY: as above.
            unsafe {
                assert!(before.hand_out(10));
                let byte = block.at.sub(offset);
                *byte ^= 0x40;
                assert!(!block.is_bounded_below());
                *byte ^= 0x40;
                assert!(see(before).retire(true));
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
                assert!(block.hand_out(20));
                assert!(see(block).retire(false));
                *block.at.add(offset) ^= 1;
                assert!(!block.is_untouched());
                assert!(!block.hand_out(20));
                *block.at.add(offset) ^= 1;
            }
        }
    }
}
