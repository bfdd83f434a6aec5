//! Which free block serves a request.
//!
//! Guarantees
//! * The answer takes a bounded number of steps: at most one look at each word of the bitmap and at
//!   [`TRIES`] blocks.
//! * The block is large enough; it is the first of the lowest bin whose every block is.
//!
//! Design. For a request of `size` granules:
//!
//! 1. the lowest non-empty bin whose every block is large enough (its first block);
//! 2. else, the first [`TRIES`] blocks of the bin that `size` itself belongs to.
//!
//! A small block is not cut so that a scrap of 1 or 2 granules remains while a scrap of that size is
//! free already: then a larger bin serves. (Programs that free such scraps unused, as Lua and
//! Duktape do, need up to 3 % less memory for it, see docs/layouts.md; one that asks for such sizes has no scraps lying about.)
//!
//! ```text
//!   request 3:   bins 3 [ ]   4 [x]   5 [ ]   6 [x] …      a scrap of 1 lies about: 6 serves, not 4
//! ```
//!
//! Source: TLSF (Masmano et al., 2004); the tries in the own bin are Zephyr's `sys_heap`, here only
//! when nothing larger is free; the rule on scraps is Knoll's own.

use super::bins::{bin_of, find, find_in_words, large_bin, EXACT};
use super::bits::lowest;
use super::layout::{Layout, Link, Region};

/// How many blocks of the request's own bin are looked at when no larger bin has any.
const TRIES: usize = 3;

/// Scraps of up to this many granules are not made while others of their size are free.
const SCRAP: usize = 2;

/// The lowest bin whose every block is large enough for a request of `size` granules.
///
/// # Safety
/// `region` is live, `size > EXACT`.
#[inline(always)]
pub(super) unsafe fn search_large<L: Layout>(region: Region<L>, size: usize) -> Option<usize> {
    // SAFETY: the caller's word.
    unsafe { find(region, large_bin(size - 1) + 1) }
}

/// A block of the request's own bin that happens to be large enough, and that bin, when no larger one
/// has any.
///
/// # Safety
/// As [`search_large`].
#[inline(always)]
pub(super) unsafe fn search_own<L: Layout>(region: Region<L>, size: usize) -> Option<(usize, usize)> {
    // SAFETY: links are followed inside the region.
    unsafe {
        let own = bin_of(size);
        if size <= EXACT || own >= usize::from((*region.this).bins) {
            return None;
        }
        let mut block = region.head(own).read().get();
        for _ in 0..TRIES {
            if block == 0 || !region.holds(block) {
                return None;
            }
            if L::free_size(region, block) >= size {
                return Some((own, block));
            }
            block = region.field(block, 1).read().get();
        }
        None
    }
}

/// The bin for a request of up to [`EXACT`] granules: its own, else the next larger one; but not one
/// that leaves a scrap of a size that lies about unwanted, if there is a larger one still.
///
/// # Safety
/// `region` is live, `0 < size <= EXACT`.
#[inline(always)]
pub(super) unsafe fn search_small<L: Layout>(region: Region<L>, size: usize) -> Option<usize> {
    let own = size - 1;
    // SAFETY: the own bin's bit is in the first word; a scrap of up to SCRAP granules has a bin.
    unsafe {
        let word = region.word(0).read() >> own;
        if word & 1 != 0 {
            return Some(own);
        }
        if word == 0 {
            return find_in_words(region, 1);
        }
        let scrap = lowest(word);
        if scrap > SCRAP || region.head(scrap - 1).read().get() == 0 {
            return Some(own + scrap);
        }
        let larger = word & (word - 1);
        if larger != 0 {
            return Some(own + lowest(larger));
        }
        Some(find_in_words(region, 1).unwrap_or(own + scrap))
    }
}

/// A block for a request of any size, and its bin.
///
/// # Safety
/// `region` is live, `size > 0`.
pub(super) unsafe fn search<L: Layout>(region: Region<L>, size: usize) -> Option<(usize, usize)> {
    // SAFETY: a bin that was found is not empty.
    unsafe {
        let found = if size <= EXACT { search_small(region, size) } else { search_large(region, size) };
        match found {
            Some(bin) => Some((bin, region.head(bin).read().get())),
            None => search_own(region, size),
        }
    }
}
