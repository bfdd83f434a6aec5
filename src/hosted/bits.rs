//! One bit for each block of a page: set while the block is free.
//!
//! - [`take`] and [`give`] are one instruction each that a signal handler of the same thread can't divide:
//!   whoever loses against a handler sees so and looks again. Other threads do not call them on the same
//!   bits; they use [`share`], which is one atomic operation for all threads.
//! - Each says whether the bit was as expected: a block that is given twice is noticed, always.
//!
//! ```text
//!   word 0                     word 1
//!   | 63 …             1  0 |  | 127 …              64 |   bit n: block n of the page
//! ```
//! x86-64 has `btr` and `bts` for it, without the `lock` prefix; other targets, Miri and builds with
//! `--cfg knoll_portable` (for ThreadSanitizer, which does not see assembly) use relaxed atomics.
//!
//! Cost: one instruction and a jump.

use super::sync::{AtomicUsize, Ordering};

/// Bits in a word.
pub(super) const WORD: usize = usize::BITS as usize;

/// Clears bit `bit` of the word; false: it was clear already.
///
/// # Safety
/// `word` is a word of a page that the calling thread owns, `bit` less than [`WORD`].
#[inline(always)]
pub(super) unsafe fn take(word: *const AtomicUsize, bit: usize) -> bool {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
    {
        // SAFETY: the caller's word.
        unsafe {
            core::arch::asm!(
                "btr qword ptr [{word}], {bit}",
                "jnc {clear}",
                word = in(reg) word,
                bit = in(reg) bit,
                clear = label { return false },
                options(nostack),
            );
        }
        true
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
    {
        // SAFETY: the caller's word.
        unsafe { (*word).fetch_and(!(1 << bit), Ordering::Relaxed) & 1 << bit != 0 }
    }
}

/// Sets bit `bit` of the words; false: it was set already.
///
/// # Safety
/// `words` are those of a page that the calling thread owns, and `bit` lies in them.
#[inline(always)]
pub(super) unsafe fn give(words: *const AtomicUsize, bit: usize) -> bool {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
    {
        // SAFETY: the caller's word; the instruction finds the word by itself.
        unsafe {
            core::arch::asm!(
                "bts qword ptr [{words}], {bit}",
                "jc {set}",
                words = in(reg) words,
                bit = in(reg) bit,
                set = label { return false },
                options(nostack),
            );
        }
        true
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
    {
        // SAFETY: the caller's word.
        unsafe { (*words.add(bit / WORD)).fetch_or(1 << (bit % WORD), Ordering::Relaxed) & 1 << (bit % WORD) == 0 }
    }
}

/// Sets bit `bit` of words that all threads set, and answers its word as it is then; None: the bit was set
/// already. `alone`: the process has one thread, so nobody else sets any.
///
/// # Safety
/// `bit` lies in the words.
#[inline(always)]
pub(super) unsafe fn share(words: *const AtomicUsize, bit: usize, alone: bool) -> Option<usize> {
    let mask = 1 << (bit % WORD);
    // SAFETY: the caller's word.
    unsafe {
        let word = &*words.add(bit / WORD);
        if alone {
            return give(words, bit).then(|| word.load(Ordering::Relaxed));
        }
        let before = word.fetch_or(mask, Ordering::SeqCst);
        (before & mask == 0).then_some(before | mask)
    }
}

/// Whether bit `bit` is set.
///
/// # Safety
/// `bit` lies in the words.
#[inline(always)]
pub(super) unsafe fn is_set(words: *const AtomicUsize, bit: usize) -> bool {
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
    {
        // SAFETY: the caller's word; the instruction finds the word by itself.
        unsafe {
            core::arch::asm!(
                "bt qword ptr [{words}], {bit}",
                "jnc {clear}",
                words = in(reg) words,
                bit = in(reg) bit,
                clear = label { return false },
                options(nostack, readonly),
            );
        }
        true
    }
    #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
    {
        // SAFETY: the caller's word.
        unsafe { (*words.add(bit / WORD)).load(Ordering::Relaxed) >> (bit % WORD) & 1 != 0 }
    }
}

/// The bits of the first `count` words that are set.
///
/// # Safety
/// There are as many words.
pub(super) unsafe fn count(words: *const AtomicUsize, count: usize) -> usize {
    // SAFETY: the caller's word.
    (0..count).map(|n| unsafe { (*words.add(n)).load(Ordering::Relaxed) }.count_ones() as usize).sum()
}
