//! The hardened build (feature `hardened`): misuse of memory is noticed earlier, and what is not noticed
//! hits less.
//!
//! # Guarantees, beside those of every build
//! In every build a pointer that is no used block is refused, exactly, since what is free lies in bits apart
//! from all blocks: there is no link or header in or between small blocks that an overflow, or a write to
//! what was freed, could change. With the feature also:
//! - A byte written behind what was asked for, or within six bytes before it, is noticed when the block is
//!   freed or resized, or when the process ends; around a large block it is a fault at once (`tail`, `guard`).
//! - What is written to a freed block is noticed when the block is handed out again, or when the process
//!   ends; to a large one it is a fault at once.
//! - A freed block is full of zeros. Its address comes back after at least 32 or 256 other blocks, and then
//!   by chance (`delay`, `random`).
//! - Any use of a block of 0 bytes is a fault (`nothing`).
//! - A block freed with a size that is not its own is noticed (`free_sized`, C++'s `delete`).
//! - Between a block's last word and a page's records lies nothing to encode: six bytes of the word and the
//!   slack before it are made of a secret and the address, and verified.
//!
//! What is found is told to the error hook; without one it is one line on standard error, and abort. If the
//! hook returns, the block at fault stays as it is, for ever.
//!
//! # Design
//! ```text
//!      malloc, calloc, realloc, aligned_alloc, free, usable_size   (process.rs asks here first)
//!         |            |              |                 |
//!      nothing       tail           delay             guard
//!      0 bytes    each small     freed blocks      large blocks:
//!                  block's       that wait,        closed pages
//!                 last word      a thread each     around them
//!                         \        |
//!                     cache, pages, space: as ever, but any free bit instead of the lowest,
//!                     pages are cleared before they are used, every 64th unit is closed
//! ```
//! Blocks of 8 KB to 128 KB are the general heap's, which verifies its own headers; they are cleared when
//! they are freed, and their ends are guarded by the next header alone.
//!
//! # Costs
//! 8 bytes a block; writing zeros to what is freed and reading it when it is handed out; some 60
//! instructions a pair. The figures are those of `cargo xtask detection --cost`.

mod delay;
pub(super) mod guard;
mod nothing;
mod random;
mod tail;

use core::ffi::CStr;
use core::ptr::{copy_nonoverlapping, null_mut};

use super::cache;
use super::classes::{class_of, size_of_class, GRANULE};
use super::page::{Kind, Page, UNIT};
use super::pages::{self, Found};
use super::process;
use super::space;
use crate::heap::KnStatus;
use crate::port;

pub(super) use delay::Own;
use nothing::Given;
use tail::{Block, Wrong, TAIL};

/// Whether this is the hardened build.
pub(crate) const HARDENED: bool = cfg!(feature = "hardened");

#[cfg(all(feature = "hardened", not(target_pointer_width = "64")))]
compile_error!("the feature `hardened` needs a 64-bit target: a block's last word has 64 bits");

/// `bytes` at a multiple of `align`, a power of two, and whether they are known to be zero; null without memory.
#[inline(never)]
pub(super) fn allocate(align: usize, bytes: usize) -> (*mut u8, bool) {
    if bytes == 0 {
        let at = nothing::take(align);
        if !at.is_null() {
            return (at, true);
        }
    }
    if let Some(rounded) = bytes.checked_add(TAIL).and_then(|sum| cache::rounded(align, sum)) {
        let size = size_of_class(class_of(rounded));
        loop {
            let at = match cache::take(rounded) {
                Some(at) => at.as_ptr(),
                None => cache::take_slowly(rounded),
            };
            if at.is_null() {
                break;
            }
            // SAFETY: taken right now; the class has room for the bytes and the word.
            match unsafe { Block { at, size }.hand_out(bytes) } {
                Ok(()) => return (at, true),
                // Nobody gets it any more.
                Err(wrong) => tell(wrong, at, c"malloc"),
            }
        }
    }
    process::elsewhere(align, bytes)
}

/// [`process::realloc`].
///
/// # Safety
/// As there.
pub(super) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    let block = match pages::find(at) {
        // SAFETY: a block of a page.
        Some(Found::Block(page, index)) => match unsafe { used(page, index, at, c"realloc") } {
            Some(block) => block,
            None => return null_mut(),
        },
        Some(_) => {
            cache::refuse(at, c"realloc");
            return null_mut();
        }
        // SAFETY: the caller's promise.
        None => return unsafe { realloc_elsewhere(at, bytes) },
    };
    // SAFETY: a used block of the caller's, with so many bytes asked for.
    unsafe {
        let Ok(before) = block.bytes() else { return null_mut() };
        let fits = bytes != 0 && bytes.checked_add(TAIL).is_some_and(|sum| sum <= block.size && sum > block.size / 2);
        if fits {
            block.resize(bytes);
            return at;
        }
        let to = process::aligned_alloc(process::kept_alignment(at, block.size), bytes);
        if to.is_null() {
            if bytes <= before && bytes != 0 {
                block.resize(bytes);
                return at;
            }
            return to;
        }
        copy_nonoverlapping(at, to, before.min(bytes));
        free(at);
        to
    }
}

/// [`realloc`] of what is not small.
///
/// # Safety
/// As [`process::realloc`].
unsafe fn realloc_elsewhere(at: *mut u8, bytes: usize) -> *mut u8 {
    if !nothing::contains(at) {
        // SAFETY: the caller's promise.
        return unsafe { process::realloc_elsewhere(at, bytes) };
    }
    let to = process::malloc(bytes);
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { free(at) };
    }
    to
}

/// [`process::free`].
///
/// # Safety
/// As there.
#[inline(never)]
pub(super) unsafe fn free(at: *mut u8) {
    let (page, index) = match pages::find(at) {
        Some(Found::Block(page, index)) => (page, index),
        Some(_) => return cache::refuse(at, c"free"),
        // SAFETY: the caller's promise.
        None => return unsafe { free_elsewhere(at) },
    };
    // SAFETY: a block of a page; the caller's promise.
    unsafe {
        let Some(block) = used(page, index, at, c"free") else { return };
        match block.retire(port::alone()) {
            Ok(()) => {}
            // Another thread was quicker.
            Err(wrong) => return tell(wrong, at, c"free"),
        }
        let next = match cache::own() {
            Some(own) => (*own).delay(at, block.size),
            None => at,
        };
        if !next.is_null() {
            cache::give(next);
        }
    }
}

/// [`free`] of what is not small.
///
/// # Safety
/// As [`process::free`].
unsafe fn free_elsewhere(at: *mut u8) {
    match nothing::give(at) {
        // SAFETY: the caller's promise.
        Given::Elsewhere => unsafe { process::free_elsewhere(at) },
        Given::Done => {}
        Given::Twice => port::refuse(KnStatus::DoubleFree, at, c"free"),
        Given::Inside => port::refuse(KnStatus::Foreign, at, c"free"),
    }
}

/// A used block, with nothing written around it; None: it was told of.
///
/// # Safety
/// A page's block, at `at`; nobody else frees it meanwhile.
#[inline(always)]
unsafe fn used(page: *mut Page, index: usize, at: *mut u8, what: &'static CStr) -> Option<Block> {
    // SAFETY: the caller's word.
    unsafe {
        if (*page).is_free(index) {
            cache::refuse(at, what);
            return None;
        }
        let block = Block { at, size: (*page).size as usize };
        let wrong = match block.bytes() {
            Err(wrong) => wrong,
            Ok(_) if index != 0 && !block.is_bounded_below() => Wrong::Before,
            Ok(_) if index == 0 && !is_first_bounded(at) => Wrong::Before,
            Ok(_) => return Some(block),
        };
        tell(wrong, at, what);
        None
    }
}

/// Whether nothing was written before the first block of a page, as far as can be said.
///
/// # Safety
/// Such a block.
#[cold]
unsafe fn is_first_bounded(at: *mut u8) -> bool {
    let before = at.wrapping_sub(TAIL);
    let Some(page) = space::unit_of(before) else { return true };
    let is_small = || {
        // SAFETY: the record of a mapped unit. Its page may go at any moment, and with it what lies there.
        unsafe { (&raw const (*page).kind).read_volatile() == Kind::Small }
    };
    // SAFETY: as above; a page's memory is readable, and its last word is a block's, or zero.
    !is_small() || unsafe { Block { at, size: 0 }.is_bounded_below() } || !is_small()
}

/// [`process::usable_size`] of a small block or one of 0 bytes; None: it is neither.
///
/// # Safety
/// As there.
pub(super) unsafe fn usable_size(at: *const u8) -> Option<usize> {
    match pages::find(at) {
        // SAFETY: a block of a page; the caller's promise.
        Some(Found::Block(page, index)) => unsafe {
            let block = Block { at: at.cast_mut(), size: (*page).size as usize };
            Some(if (*page).is_free(index) { 0 } else { block.bytes().unwrap_or(0) })
        },
        Some(_) => Some(0),
        None => nothing::contains(at).then_some(0),
    }
}

/// Whether a block that is freed as one of `bytes` is one; told if not. Not exact for what is not small.
///
/// # Safety
/// As [`process::free`].
pub(super) unsafe fn is_of_size(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's promise.
    let fits = unsafe {
        match usable_size(at) {
            // C++ asks for a byte where nothing was asked for.
            Some(size) => size == bytes || size == 1 && bytes == 0,
            None => at.is_null() || bytes <= process::usable_size(at),
        }
    };
    if !fits {
        port::refuse(KnStatus::Invalid, at, c"freed with a size that is not its own");
    }
    fits
}

/// Tells what is wrong with a block.
#[cold]
fn tell(wrong: Wrong, at: *mut u8, what: &'static CStr) {
    let words = match wrong {
        Wrong::Freed => return cache::refuse(at, what),
        Wrong::Behind => c"bytes behind a block were written",
        Wrong::Before => c"bytes before a block were written",
        Wrong::Since => c"a block was written to after it was freed",
    };
    port::refuse(KnStatus::Corrupt, at, words);
}

// ---------------------------------------------------------------- what the core asks

/// One of a word's free blocks; there is one.
#[inline(always)]
pub(super) fn choose(free: usize) -> usize {
    match cache::own() {
        // SAFETY: the calling thread's own.
        Some(own) => unsafe { (*own).random.bit_of(free) },
        None => free.trailing_zeros() as usize,
    }
}

/// At which of `count` words a search begins; None: at the next one.
pub(super) fn choose_word(count: usize) -> Option<usize> {
    // SAFETY: the calling thread's own.
    let number = unsafe { (*cache::own()?).random.next(16) };
    Some((number * count) >> 16)
}

/// Makes a unit that is to be a page one of zeros.
///
/// # Safety
/// The unit is the caller's.
pub(super) unsafe fn clear(index: usize) {
    const PIECE: usize = 4096;
    // SAFETY: the caller's word. What is zero is only read, so it does not become resident.
    unsafe {
        let unit = space::memory(index);
        for piece in (0..UNIT).step_by(PIECE).map(|offset| unit.add(offset)) {
            if !tail::is_zero(piece, PIECE) {
                piece.write_bytes(0, PIECE);
            }
        }
    }
}

/// The process ends: looks for what was not noticed, as far as other threads let it.
#[cfg(feature = "hardened")]
pub(super) fn at_exit() {
    let alone = port::alone();
    let mut wrong = None;
    process::each_block(&mut |found| {
        if found.kind == process::Kind::Small {
            let block = Block { at: found.at.cast_mut(), size: found.bytes };
            // SAFETY: under the lock pages stay. Nobody takes or frees if there is no other thread.
            wrong = unsafe { look(block, found.used, alone) }.map(|wrong| (wrong, block.at));
        }
        wrong.is_none()
    });
    if let Some((wrong, at)) = wrong {
        tell(wrong, at, c"exit");
    }
}

/// # Safety
/// A block of a page; if `alone` nobody uses the heap meanwhile.
#[cfg(feature = "hardened")]
unsafe fn look(block: Block, used: bool, alone: bool) -> Option<Wrong> {
    if !alone {
        return (!block.has_tail()).then_some(Wrong::Behind);
    }
    // SAFETY: the caller's word.
    unsafe {
        match block.bytes() {
            Ok(_) if used => None,
            Err(Wrong::Freed) if block.is_untouched() => None,
            Err(Wrong::Behind) if used => Some(Wrong::Behind),
            _ => Some(Wrong::Since),
        }
    }
}

const _: () = assert!(TAIL < GRANULE);
