//! Free blocks in bins: one doubly linked list a size class, and a bitmap of those in use.
//!
//! Guarantees
//! * A block of up to 32 granules is in the bin of exactly its size; a larger one in one of 8 bins
//!   for each power of two, so a bin's sizes differ by less than 1/8.
//! * [`find`] answers a bin of which *every* block is large enough.
//! * Linking and unlinking take a bounded number of steps, whatever the heap's state.
//! * A block's links are verified before they are followed: a block whose `previous` does not lead
//!   back to it is never unlinked.
//!
//! ```text
//!   words  ...0100010010     one bit a bin
//!   heads  [ 0 | i | 0 | j ... ]        0: empty
//!                |
//!                v
//!   block i: previous = BINS + 1 | next = m            block m: previous = i | next = 0
//! ```
//!
//! A first block's `previous` names its bin: to unlink a block takes no size computation.
//!
//! Source: two-level segregated fit (Masmano, Ripoll, Crespo, Real, 2004), with one flat level.

use super::bits::{log2, lowest, WORD_BITS};
use super::layout::{KnLayout, Layout, Link, Region};
use super::status::KnStatus;
use super::CHECKED;

/// Sizes up to this many granules have a bin each.
pub(crate) const EXACT: usize = 32;

/// The bin of a free block of `size` granules, without the cut at a region's last bin.
#[cfg_attr(not(knoll_small), inline(always))]
#[cfg_attr(knoll_small, inline(never))]
pub(crate) fn bin_of(size: usize) -> usize {
    if size <= EXACT {
        size - 1
    } else {
        large_bin(size)
    }
}

/// The bin of a size above [`EXACT`].
#[cfg_attr(not(knoll_small), inline(always))]
#[cfg_attr(knoll_small, inline(never))]
pub(crate) fn large_bin(size: usize) -> usize {
    let log = log2(size);
    (log << 3) + (size >> (log - 3)) - 16
}

/// The smallest size that belongs in `bin`.
pub(crate) fn least_in(bin: usize) -> usize {
    if bin < EXACT {
        bin + 1
    } else {
        (8 + (bin & 7)) << (((bin + 8) >> 3) - 3)
    }
}

/// The lowest bin from `bin` up that holds a block.
///
/// # Safety
/// `region` is live and `bin` below `WORDS * WORD_BITS`.
#[cfg_attr(not(knoll_small), inline(always))]
#[cfg_attr(knoll_small, inline(never))]
pub(crate) unsafe fn find<L: Layout>(region: Region<L>, bin: usize) -> Option<usize> {
    let n = bin / WORD_BITS;
    // SAFETY: the word index is below WORDS.
    let word = unsafe { region.word(n).read() } >> (bin % WORD_BITS);
    if word != 0 {
        return Some(bin + lowest(word));
    }
    // SAFETY: the caller's word.
    unsafe { find_in_words(region, n + 1) }
}

/// The lowest bin that holds a block, from word `n` of the bitmap up.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(crate) unsafe fn find_in_words<L: Layout>(region: Region<L>, mut n: usize) -> Option<usize> {
    while n < Region::<L>::WORDS {
        // SAFETY: the word index is below WORDS.
        let word = unsafe { region.word(n).read() };
        if word != 0 {
            return Some(n * WORD_BITS + lowest(word));
        }
        n += 1;
    }
    None
}

/// The highest bin that holds a block.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn highest<L: Layout>(region: Region<L>) -> Option<usize> {
    for n in (0..Region::<L>::WORDS).rev() {
        // SAFETY: the word index is below WORDS.
        let word = unsafe { region.word(n).read() };
        if word != 0 {
            return Some(n * WORD_BITS + log2(word));
        }
    }
    None
}

/// Puts a free block of `size` granules at the head of its bin and records its size.
///
/// # Safety
/// The granules are free, in no bin, and the layout's other records already say so.
#[inline(always)]
pub(crate) unsafe fn link<L: Layout>(region: Region<L>, block: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe { push(region, bin_of(size), block, size) };
}

/// Whether memory is plenty for all layouts' code in line, and this one is not the usual one there:
/// then its operations are called.
pub(crate) const fn unusual<L: Layout>() -> bool {
    cfg!(target_pointer_width = "64") && L::KIND as u8 != KnLayout::Wide as u8
}

/// [`link`], called: for where speed matters less than one more copy.
///
/// # Safety
/// As [`link`].
#[inline(never)]
pub(crate) unsafe fn link_called<L: Layout>(region: Region<L>, block: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe { link(region, block, size) };
}

/// [`unlink`], called: for where speed matters less than one more copy.
///
/// # Safety
/// As [`unlink`].
#[inline(never)]
pub(crate) unsafe fn unlink_called<L: Layout>(region: Region<L>, block: usize) -> Result<(), KnStatus> {
    // SAFETY: the caller's word.
    unsafe { unlink(region, block) }
}

/// [`link`] in line, or called in a build for little code.
///
/// # Safety
/// As [`link`].
#[inline(always)]
pub(crate) unsafe fn link_here<L: Layout>(region: Region<L>, block: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if const { cfg!(knoll_small) || unusual::<L>() } {
            link_called(region, block, size);
        } else {
            link(region, block, size);
        }
    }
}

/// [`unlink`] in line, or called in a build for little code.
///
/// # Safety
/// As [`unlink`].
#[inline(always)]
pub(crate) unsafe fn unlink_here<L: Layout>(region: Region<L>, block: usize) -> Result<(), KnStatus> {
    // SAFETY: the caller's word.
    unsafe {
        if const { cfg!(knoll_small) || unusual::<L>() } {
            unlink_called(region, block)
        } else {
            unlink(region, block)
        }
    }
}

/// As [`link`], for blocks of up to [`EXACT`] granules.
///
/// # Safety
/// As [`link`]; `0 < size <= EXACT`.
#[inline(always)]
pub(crate) unsafe fn link_small<L: Layout>(region: Region<L>, block: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe {
        core::hint::assert_unchecked(0 < size && size <= EXACT);
        if const { cfg!(knoll_small) || unusual::<L>() } {
            link_called(region, block, size);
        } else {
            push(region, size - 1, block, size);
        }
    }
}

/// Puts a free block of `size` granules at the head of `bin` and records its size.
///
/// # Safety
/// As [`link`]; `bin` is the one of that size.
#[inline(always)]
unsafe fn push<L: Layout>(region: Region<L>, bin: usize, block: usize, size: usize) {
    // SAFETY: bin < bins, and the block's first granule holds two links in every layout.
    unsafe {
        L::set_free_size(region, block, size);
        let head = region.head(bin).read().get();
        region.field(block, 0).write(L::Link::of(Region::<L>::BINS + bin));
        region.field(block, 1).write(L::Link::of(head));
        region.head(bin).write(L::Link::of(block));
        if head != 0 {
            region.field(head, 0).write(L::Link::of(block));
        } else {
            let word = region.word(bin / WORD_BITS);
            word.write(word.read() | 1 << (bin % WORD_BITS));
        }
    }
}

/// The bin that a `previous` link names. With 16-bit links any such link names one of 128 heads, and
/// no region is too short for that many.
#[inline(always)]
fn named_bin<L: Layout>(previous: usize) -> usize {
    previous & if L::Link::BYTES == 2 { 127 } else { 255 }
}

/// Whether `next` is an index of the region whose block names `block` as its previous one.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(crate) unsafe fn names<L: Layout>(region: Region<L>, next: usize, block: usize) -> bool {
    // SAFETY: the link is read only in a block of this region.
    unsafe { next >= region.first() && region.holds(next) && region.field(next, 0).read().get() == block }
}

/// Takes a free block out of its bin, or changes nothing and says that its links are spoiled.
///
/// # Safety
/// `region` is live and `block` one of its indices.
#[inline(always)]
pub(crate) unsafe fn unlink<L: Layout>(region: Region<L>, block: usize) -> Result<(), KnStatus> {
    // SAFETY: `previous` and `next` are followed only after they are known to be a bin or an
    // index of this region.
    unsafe {
        let previous = region.field(block, 0).read().get();
        let next = region.field(block, 1).read().get();
        let toward = if previous >= Region::<L>::BINS {
            let bin = named_bin::<L>(previous);
            if CHECKED && L::Link::BYTES > 2 && bin >= usize::from((*region.this).bins) {
                return Err(KnStatus::Corrupt);
            }
            region.head(bin)
        } else if !CHECKED || region.holds(previous) {
            region.field(previous, 1)
        } else {
            return Err(KnStatus::Corrupt);
        };
        if CHECKED && toward.read().get() != block {
            return Err(KnStatus::Corrupt);
        }
        if next != 0 {
            if CHECKED && !names(region, next, block) {
                return Err(KnStatus::Corrupt);
            }
            region.field(next, 0).write(L::Link::of(previous));
        } else if previous >= Region::<L>::BINS {
            clear(region, named_bin::<L>(previous));
        }
        toward.write(L::Link::of(next));
        Ok(())
    }
}

/// Takes the first block of `bin` out, or answers that its links are spoiled.
///
/// # Safety
/// The bin is not empty.
#[cfg_attr(not(knoll_small), inline(always))]
#[cfg_attr(knoll_small, inline(never))]
pub(crate) unsafe fn pop<L: Layout>(region: Region<L>, bin: usize) -> Result<usize, KnStatus> {
    // SAFETY: a head is a block of this region: heads are in the control block, which user
    // memory does not border on from below.
    unsafe {
        let block = region.head(bin).read().get();
        let previous = region.field(block, 0).read().get();
        let next = region.field(block, 1).read().get();
        if CHECKED && previous != Region::<L>::BINS + bin {
            return Err(KnStatus::Corrupt);
        }
        if next != 0 {
            if CHECKED && !names(region, next, block) {
                return Err(KnStatus::Corrupt);
            }
            region.field(next, 0).write(L::Link::of(previous));
        } else {
            clear(region, bin);
        }
        region.head(bin).write(L::Link::of(next));
        Ok(block)
    }
}

/// Gives up the blocks of a bin whose list is spoiled, so that the heap stays usable.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[cold]
pub(crate) unsafe fn abandon<L: Layout>(region: Region<L>, bin: usize) {
    // SAFETY: the bin's head and bit are in the control block.
    unsafe {
        region.head(bin).write(L::Link::of(0));
        clear(region, bin);
    }
}

/// Marks `bin` empty.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[inline(always)]
unsafe fn clear<L: Layout>(region: Region<L>, bin: usize) {
    let word = region.word(bin / WORD_BITS);
    // SAFETY: the word index is below WORDS.
    unsafe { word.write(word.read() & !(1 << (bin % WORD_BITS))) };
}
