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
//! - A block freed by `free_sized` or `free_aligned_sized` with a size that is not its own is noticed.
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
//! 8 bytes a block; writing zeros to what is freed and reading it when it is handed out; some 250
//! instructions more a pair of calls. A large block is two mappings more, and two system calls.

mod delay;
pub(super) mod guard;
mod nothing;
mod random;
mod tail;

use core::ffi::CStr;
use core::ptr::{copy_nonoverlapping, null_mut, NonNull};

use super::cache;
use super::classes::{class_of, size_of_class, GRANULE};
use super::page::{Kind, Page, UNIT};
use super::pages::{self, Found};
use super::process;
use super::space;
use crate::heap::KnStatus;
use crate::port;

pub(super) use delay::Keep;
use nothing::Given;
use tail::{Block, Seen, Wrong, TAIL};

/// Whether this is the hardened build.
pub(crate) const HARDENED: bool = cfg!(feature = "hardened");

#[cfg(all(feature = "hardened", not(target_pointer_width = "64")))]
compile_error!("the feature `hardened` needs a 64-bit target: a block's last word has 64 bits");

/// Requests up to here are served without a call, if the thread's cache has a block at hand.
const QUICK: usize = 512;

/// A small block of `bytes` zeroed bytes, if it can be had quickly.
#[inline(always)]
pub(super) fn take_quickly(bytes: usize) -> Option<NonNull<u8>> {
    if bytes.wrapping_sub(1) >= QUICK {
        return None;
    }
    let (at, size) = cache::take_with_size(bytes + TAIL)?;
    let block = Block { at: at.as_ptr(), size };
    // SAFETY: taken right now; the class has room for the bytes and the word.
    if unsafe { block.hand_out(bytes) } {
        return Some(at);
    }
    tell(Wrong::Since, block.at, c"malloc"); // nobody gets it any more
    None
}

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
            let at = cache::take_slowly(rounded);
            if at.is_null() {
                break;
            }
            // SAFETY: as in `take_quickly`.
            if unsafe { Block { at, size }.hand_out(bytes) } {
                return (at, true);
            }
            tell(Wrong::Since, at, c"malloc");
        }
    }
    process::elsewhere(align, bytes)
}

/// [`process::realloc`].
///
/// # Safety
/// As there.
pub(super) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    let seen = match pages::find(at) {
        // SAFETY: a block of a page; the caller's promise.
        Some(Found::Block(page, index)) => match unsafe { see(page, index, at, c"realloc") } {
            Some(seen) => seen,
            None => return null_mut(),
        },
        Some(_) => {
            cache::refuse(at, c"realloc");
            return null_mut();
        }
        // SAFETY: the caller's promise.
        None => return unsafe { realloc_elsewhere(at, bytes) },
    };
    let size = seen.size();
    // SAFETY: a used block of the caller's.
    unsafe {
        if bytes != 0 && bytes.checked_add(TAIL).is_some_and(|sum| sum <= size && sum > size / 2) {
            seen.resize(bytes);
            return at;
        }
        let to = process::aligned_alloc(process::alignment_of(size), bytes);
        if to.is_null() {
            if bytes > seen.bytes {
                return to;
            }
            seen.resize(bytes);
            return at;
        }
        copy_nonoverlapping(at, to, seen.bytes.min(bytes));
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
        let Some(seen) = see(page, index, at, c"free") else { return };
        if !seen.retire(port::alone()) {
            return tell(Wrong::Freed, at, c"free"); // another thread was quicker
        }
        let next = match cache::keep() {
            Some(keep) => (*keep).delay(at, seen.size()),
            None => at,
        };
        if !next.is_null() && !cache::give(next) {
            cache::give_slowly(next);
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
unsafe fn see(page: *mut Page, index: usize, at: *mut u8, what: &'static CStr) -> Option<Seen> {
    // SAFETY: the caller's word.
    unsafe {
        let block = Block { at, size: (*page).size as usize };
        let wrong = match block.see() {
            Err(wrong) => wrong,
            Ok(seen) if index != 0 && block.is_bounded_below() => return Some(seen),
            Ok(seen) if index == 0 && is_first_bounded(block) => return Some(seen),
            Ok(_) => Wrong::Before,
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
unsafe fn is_first_bounded(block: Block) -> bool {
    let Some(page) = space::unit_of(block.at.wrapping_sub(1)) else { return true };
    let is_small = || {
        // SAFETY: the record of a mapped unit. Its page may go at any moment, and with it what lies there.
        unsafe { (&raw const (*page).kind).read_volatile() == Kind::Small }
    };
    // SAFETY: as above; a page's memory is readable, and its last word is a block's, or zero.
    !is_small() || unsafe { block.is_bounded_below() } || !is_small()
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
            Some(if Page::is_free(page, index) { 0 } else { block.see().map_or(0, |seen| seen.bytes) })
        },
        Some(_) => Some(0),
        None => nothing::contains(at).then_some(0),
    }
}

/// Whether a block that is freed as one of `bytes` is one; told if not. Not exact for what is not small.
///
/// # Safety
/// As [`process::free`].
#[cfg(feature = "libc-names")]
pub(super) unsafe fn is_of_size(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's promise.
    let (size, exact) = unsafe {
        match usable_size(at) {
            Some(size) => (size, true),
            None => (process::usable_size(at), false),
        }
    };
    // What is no block is `free`'s to tell.
    let fits = size == 0 || bytes == size || (bytes < size && !exact);
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
    match cache::keep() {
        // SAFETY: the calling thread's own.
        Some(keep) => unsafe { (*keep).random.bit_of(free) },
        None => free.trailing_zeros() as usize,
    }
}

/// At which of `count` words the search in another page begins.
pub(super) fn choose_word(count: usize) -> usize {
    match cache::keep() {
        // SAFETY: the calling thread's own.
        Some(keep) => (unsafe { (*keep).random.next(16) } * count) >> 16,
        None => 0,
    }
}

/// Makes a unit that is to be a page, and served for something else, one of zeros.
///
/// # Safety
/// The unit is the caller's.
pub(super) unsafe fn clear(index: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if (*space::record(index)).kind == Kind::Dirty {
            space::memory(index).write_bytes(0, UNIT);
        }
    }
}

/// The process ends: looks for what was not noticed, as far as other threads let it.
#[cfg(all(feature = "hardened", feature = "shared", target_os = "linux"))]
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
#[cfg(all(feature = "hardened", feature = "shared", target_os = "linux"))]
unsafe fn look(block: Block, used: bool, alone: bool) -> Option<Wrong> {
    if !alone {
        return (!block.has_tail()).then_some(Wrong::Behind);
    }
    // SAFETY: the caller's word.
    unsafe {
        match block.see() {
            Ok(_) if used => None,
            Err(Wrong::Freed) if block.is_untouched() => None,
            Err(Wrong::Behind) if used => Some(Wrong::Behind),
            _ => Some(Wrong::Since),
        }
    }
}

const _: () = assert!(TAIL < GRANULE);
