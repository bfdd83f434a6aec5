//! One region's allocation algorithm: bounded good fit with immediate merging.
//!
//! Guarantees
//! * Every operation takes a bounded number of steps, whatever the region's state; only the copying
//!   of a moved block's bytes depends on its size.
//! * Two free blocks never touch: what is given back joins its neighbours at once.
//! * A request that fails changes nothing. A block that is refused ([`KnStatus`]) changes nothing.
//! * A block whose list links were overwritten is never handed out: its bin is given up, the error
//!   hook is told, and the region stays usable.
//!
//! Design. A request of `size` granules is served from
//!
//! 1. the lowest non-empty bin whose every block is large enough (its first block);
//! 2. else, the first [`TRIES`] blocks of the bin that `size` itself belongs to.
//!
//! A small block is not cut so that a scrap of 1 or 2 granules remains while an unwanted scrap of
//! that size is free already: then the next larger bin serves. (On traces of Lua and Duktape this
//! saves 1–3 % of the heap; a program that does ask for such sizes still gets them.)
//!
//! The block is cut, and the rest goes back to a bin: behind it for requests from the bottom, before
//! it for requests from the top ([`allocate_top`]), which start at the region's end:
//!
//! ```text
//!   | resident | resident | free ……………………………………… | scope 2 | scope 1 | end
//!     allocate ->                                        <- allocate_top
//! ```
//!
//! When the rest of a cut block belongs to the same bin as before, it takes its place in the list.
//!
//! Costs on Cortex-M4: see docs/figures.md.
//!
//! Source: TLSF (Masmano et al., 2004) for the bins; the tries in the own bin are Zephyr's
//! `sys_heap`, here only when nothing larger is free; the double-ended use is that of Knuth's
//! "A-stack and B-stack".

use super::bins::{abandon, bin_of, find, find_in_words, highest, large_bin, least_in, link, link_called, link_small};
use super::bins::{names, pop, unlink, unlink_called, EXACT};
use super::bits::lowest;
use super::layout::{KnHeap, Layout, Link, Region, Tally, Used};
use super::status::KnStatus;
use super::CHECKED;
use crate::port;

/// How many blocks of the request's own bin are looked at when no larger bin has any.
const TRIES: usize = 3;

/// How many bins a 16-bit `previous` link can name.
const MOST_HEADS: usize = 128;

/// Scraps of up to this many granules are not made while others of their size are free.
const SCRAP: usize = 2;

/// Requests up to this many bytes have a bin of exactly their size.
const fn exact_bytes<L: Layout>() -> usize {
    EXACT * L::GRANULE - L::LEAD
}

/// No region of the layout holds a larger request than this.
const fn most_bytes<L: Layout>() -> usize {
    let most = (L::MOST - 1).saturating_mul(L::GRANULE);
    let limit = isize::MAX as usize - 2 * L::GRANULE;
    if most < limit {
        most
    } else {
        limit
    }
}

/// Granules for a request of `bytes`, header included; None when no region could hold it.
#[inline(always)]
pub(crate) fn granules<L: Layout>(bytes: usize) -> Option<usize> {
    if bytes <= const { exact_bytes::<L>() } {
        Some(small::<L>(bytes))
    } else if bytes <= const { most_bytes::<L>() } {
        Some(rounded::<L>(bytes))
    } else {
        None
    }
}

/// Granules for a request of at most [`exact_bytes`].
#[inline(always)]
fn small<L: Layout>(bytes: usize) -> usize {
    rounded::<L>(if L::LEAD == 0 { bytes.max(1) } else { bytes })
}

/// Granules for a request that cannot overflow.
#[inline(always)]
fn rounded<L: Layout>(bytes: usize) -> usize {
    (bytes + (L::LEAD + L::GRANULE - 1)) >> L::GRANULE.trailing_zeros()
}

/// Counts a block of `size` granules as used.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn count<L: Layout>(region: Region<L>, size: usize) {
    // SAFETY: tally and peak are in the control block.
    unsafe { note_peak(region, region.tally().read().plus(size)) };
}

/// Stores the tally, and the peak if it is one.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn note_peak<L: Layout>(region: Region<L>, tally: <L::Link as Link>::Tally) {
    // SAFETY: tally and peak are in the control block.
    unsafe {
        region.tally().write(tally);
        if tally > region.peak().read() {
            region.peak().write(tally);
        }
    }
}

/// The lowest bin whose every block is large enough for a request of `size` granules.
///
/// # Safety
/// `region` is live, `size > EXACT`.
#[inline(always)]
unsafe fn search_large<L: Layout>(region: Region<L>, size: usize) -> Option<usize> {
    // SAFETY: the caller's word.
    unsafe { find(region, large_bin(size - 1) + 1) }
}

/// A block of the request's own bin that happens to be large enough, and that bin, when no larger one
/// has any.
///
/// # Safety
/// As [`search_large`].
#[inline(always)]
unsafe fn search_own<L: Layout>(region: Region<L>, size: usize) -> Option<(usize, usize)> {
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
unsafe fn search_small<L: Layout>(region: Region<L>, size: usize) -> Option<usize> {
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
unsafe fn search<L: Layout>(region: Region<L>, size: usize) -> Option<(usize, usize)> {
    // SAFETY: a bin that was found is not empty.
    unsafe {
        let found = if size <= EXACT { search_small(region, size) } else { search_large(region, size) };
        match found {
            Some(bin) => Some((bin, region.head(bin).read().get())),
            None => search_own(region, size),
        }
    }
}

/// Tells of a spoiled list and gives its bin up.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[cold]
#[inline(never)]
unsafe fn spoiled<L: Layout>(region: Region<L>, bin: usize, block: usize) {
    // SAFETY: the bin belongs to the region.
    unsafe { abandon(region, bin) };
    port::report(KnStatus::Corrupt, region.granule(block), c"a free block was written to");
}

/// A block of at least `bytes` bytes from the bottom, here or in a later region, or null.
///
/// # Safety
/// `region` is live.
#[inline(always)]
pub(crate) unsafe fn allocate<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the block found is free and large enough.
    unsafe {
        // A request of nothing takes the long way, where it becomes one of a byte.
        if bytes.wrapping_sub(1) >= const { exact_bytes::<L>() } {
            return allocate_large(region, bytes);
        }
        let size = rounded::<L>(bytes);
        core::hint::assert_unchecked(0 < size && size <= EXACT);
        let Some(bin) = search_small(region, size) else {
            return super::heap::malloc_in_next(region.this, bytes);
        };
        if bin >= EXACT {
            return split_for_small(region, bin, size);
        }
        let Ok(block) = pop(region, bin) else {
            return again(region, bin, size);
        };
        L::take(region, block, bin + 1, block, size);
        if bin + 1 != size {
            link_small(region, block + size, bin + 1 - size);
        }
        count(region, size);
        region.granule(block)
    }
}

/// As [`allocate`], for requests of more than [`exact_bytes`].
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn allocate_large<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    if bytes == 0 {
        // SAFETY: the caller's word.
        return unsafe { allocate(region, 1) };
    }
    let size = rounded::<L>(bytes.min(const { most_bytes::<L>() }));
    // SAFETY: the block found is free and large enough.
    unsafe {
        match search_large(region, size) {
            Some(bin) => split(region, bin, size),
            None => allocate_own(region, bytes),
        }
    }
}

/// As [`allocate_large`], when no bin has blocks that are all large enough.
///
/// # Safety
/// `region` is live.
#[inline(never)]
unsafe fn allocate_own<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    // SAFETY: the block found is free and large enough.
    unsafe {
        if bytes <= const { most_bytes::<L>() } {
            let size = rounded::<L>(bytes);
            if let Some((bin, block)) = search_own(region, size) {
                let whole = L::free_size(region, block);
                let sound = !CHECKED || L::ends_agree(region, block, whole);
                if !sound || unlink_called(region, block).is_err() {
                    return again(region, bin, size);
                }
                take_called(region, block, whole, block, size);
                if whole != size {
                    link_called(region, block + size, whole - size);
                }
                count(region, size);
                return region.granule(block);
            }
        }
        super::heap::malloc_in_next(region.this, bytes)
    }
}

/// Serves a request from the low end of the first block of a bin of more than [`EXACT`] granules, all
/// of whose blocks are large enough.
///
/// # Safety
/// `bin` is not empty.
#[cfg_attr(not(feature = "small-code"), inline(always))]
#[cfg_attr(feature = "small-code", inline(never))]
unsafe fn split<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the block's size is certain before it is cut; its rest is linked again.
    unsafe {
        let block = region.head(bin).read().get();
        let whole = L::free_size(region, block);
        if CHECKED && (whole < size || !L::ends_agree(region, block, whole)) {
            return again(region, bin, size);
        }
        let rest = whole - size;
        if rest > EXACT && large_bin(rest) == bin {
            if !replace(region, bin, block, block + size) {
                return again(region, bin, size);
            }
            L::take(region, block, whole, block, size);
            L::set_free_size(region, block + size, rest);
        } else {
            if pop(region, bin).is_err() {
                return again(region, bin, size);
            }
            L::take(region, block, whole, block, size);
            if rest != 0 {
                link_here(region, block + size, rest);
            }
        }
        count(region, size);
        region.granule(block)
    }
}

/// Serves a small request from the first block of a bin of more than [`EXACT`] granules.
///
/// # Safety
/// `bin` is not empty.
#[inline(never)]
unsafe fn split_for_small<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        core::hint::assert_unchecked(0 < size && size <= EXACT);
        split(region, bin, size)
    }
}

/// Gives a spoiled bin up, tells of it, and serves the request without it.
///
/// # Safety
/// `region` is live and `bin` one of its bins.
#[cold]
#[inline(never)]
unsafe fn again<L: Layout>(region: Region<L>, bin: usize, size: usize) -> *mut u8 {
    // SAFETY: the caller's word. Each time there is a bin less.
    unsafe {
        spoiled(region, bin, region.head(bin).read().get());
        super::heap::malloc_in(region, super::guard::unpadded(size * L::GRANULE - L::LEAD))
    }
}

/// Takes a block that [`search`] found out of its bin.
///
/// # Safety
/// `block` is the head of `bin`, or a block of it.
#[inline(never)]
unsafe fn remove<L: Layout>(region: Region<L>, bin: usize, block: usize) -> Result<(), KnStatus> {
    // SAFETY: the caller's word.
    unsafe {
        if region.head(bin).read().get() == block {
            pop(region, bin).map(|_| ())
        } else {
            unlink(region, block)
        }
    }
}

/// Puts `other` in the place that `block` has at the head of `bin`; false if it is not the head or
/// its links are spoiled.
///
/// # Safety
/// `region` is live; `other` is a free granule.
#[inline(always)]
unsafe fn replace<L: Layout>(region: Region<L>, bin: usize, block: usize, other: usize) -> bool {
    // SAFETY: the links are followed only when they are this region's.
    unsafe {
        let previous = region.field(block, 0).read().get();
        let next = region.field(block, 1).read().get();
        if CHECKED && (previous != Region::<L>::BINS + bin || (next != 0 && !names(region, next, block))) {
            return false;
        }
        region.head(bin).write(L::Link::of(other));
        region.field(other, 0).write(L::Link::of(previous));
        region.field(other, 1).write(L::Link::of(next));
        if next != 0 {
            region.field(next, 0).write(L::Link::of(other));
        }
        true
    }
}

/// Cuts `size` granules at `at` out of the free block of `whole` granules at `block`, which is in
/// no bin any more, and links what is left on both sides.
///
/// # Safety
/// `block <= at` and `at + size <= block + whole`.
unsafe fn cut<L: Layout>(region: Region<L>, block: usize, whole: usize, at: usize, size: usize) -> *mut u8 {
    // SAFETY: the three parts lie within the free block.
    unsafe {
        take_called(region, block, whole, at, size);
        let (before, behind) = (at - block, block + whole - at - size);
        if before != 0 {
            link_called(region, block, before);
        }
        if behind != 0 {
            link_called(region, at + size, behind);
        }
        count(region, size);
        region.granule(at)
    }
}

/// A block of at least `bytes` bytes from as near the region's end as can be had in bounded time:
/// from the free block that touches the end, else from the high end of a block that fits.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn allocate_top<L: Layout>(region: Region<L>, bytes: usize) -> *mut u8 {
    let Some(size) = granules::<L>(bytes) else {
        return core::ptr::null_mut();
    };
    // SAFETY: as in `allocate`.
    unsafe {
        let last = L::free_at_end(region);
        if last >= size {
            let block = region.end() - last;
            if unlink_called(region, block).is_ok() {
                return cut(region, block, last, block + last - size, size);
            }
        }
        while let Some((bin, block)) = search(region, size) {
            let whole = L::free_size(region, block);
            let sound = !CHECKED || (whole >= size && L::ends_agree(region, block, whole));
            if !sound || remove(region, bin, block).is_err() {
                spoiled(region, bin, block);
                continue;
            }
            return cut(region, block, whole, block + whole - size, size);
        }
        core::ptr::null_mut()
    }
}

/// A block of at least `bytes` bytes whose address is a multiple of `align`, a power of two above
/// the granule; null when there is none.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn allocate_aligned<L: Layout>(region: Region<L>, align: usize, bytes: usize) -> *mut u8 {
    let slack = align / L::GRANULE - 1;
    let Some(size) = granules::<L>(bytes) else {
        return core::ptr::null_mut();
    };
    let Some(roomy) = size.checked_add(slack).filter(|all| *all < L::MOST) else {
        return core::ptr::null_mut();
    };
    // SAFETY: the aligned granule is at most `slack` behind the block's first one.
    unsafe {
        while let Some((bin, block)) = search(region, roomy) {
            let whole = L::free_size(region, block);
            let sound = !CHECKED || (whole >= roomy && L::ends_agree(region, block, whole));
            if !sound || remove(region, bin, block).is_err() {
                spoiled(region, bin, block);
                continue;
            }
            let place = region.granule(block).addr();
            let skip = (place.wrapping_neg() & (align - 1)) / L::GRANULE;
            return cut(region, block, whole, block + skip, size);
        }
        core::ptr::null_mut()
    }
}

/// [`link`] in line, or called in a build for little code.
///
/// # Safety
/// As [`link`].
#[inline(always)]
unsafe fn link_here<L: Layout>(region: Region<L>, block: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if cfg!(feature = "small-code") {
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
unsafe fn unlink_here<L: Layout>(region: Region<L>, block: usize) -> Result<(), KnStatus> {
    // SAFETY: the caller's word.
    unsafe {
        if cfg!(feature = "small-code") {
            unlink_called(region, block)
        } else {
            unlink(region, block)
        }
    }
}

/// Gives the used block at `block` back; its size, or why it is refused.
///
/// # Safety
/// `region` is live and `first <= block < end`.
#[inline(always)]
pub(crate) unsafe fn release<L: Layout>(region: Region<L>, block: usize) -> Result<usize, KnStatus> {
    // SAFETY: the neighbours are those that the records name, and are unlinked only when their
    // links agree.
    unsafe {
        let used = L::give(region, block)?;
        let before = block - used.left;
        if used.left != 0 {
            if let Err(status) = unlink_here(region, before) {
                L::take_back(region, block, used);
                return Err(status);
            }
        }
        if used.right != 0 {
            if let Err(status) = unlink_here(region, block + used.size) {
                L::take_back(region, block, used);
                if used.left != 0 {
                    link_here(region, before, used.left);
                }
                return Err(status);
            }
        }
        link_here(region, before, used.left + used.size + used.right);
        region.tally().write(region.tally().read().minus(used.size));
        Ok(used.size)
    }
}

/// [`Layout::inspect`], called: for where speed matters less than one more copy.
///
/// # Safety
/// As [`Layout::inspect`].
#[inline(never)]
unsafe fn inspect_called<L: Layout>(region: Region<L>, block: usize) -> Result<Used, KnStatus> {
    // SAFETY: the caller's word.
    unsafe { L::inspect(region, block) }
}

/// [`Layout::take`], called: for where speed matters less than one more copy.
///
/// # Safety
/// As [`Layout::take`].
#[inline(never)]
unsafe fn take_called<L: Layout>(region: Region<L>, block: usize, whole: usize, at: usize, size: usize) {
    // SAFETY: the caller's word.
    unsafe { L::take(region, block, whole, at, size) };
}

/// What [`resize`] did.
pub(crate) enum Resized {
    /// The block has the size, here; it may have moved down, its bytes with it.
    At(*mut u8),
    /// There is no room here: the block is as it was, and holds this many bytes.
    Elsewhere(usize),
}

/// Resizes the used block at `block`: in place, by taking from its right neighbour, or by sliding
/// down over its free left neighbour.
///
/// # Safety
/// `region` is live and `first <= block < end`.
pub(crate) unsafe fn resize<L: Layout>(
    region: Region<L>,
    block: usize,
    bytes: usize,
    align: usize,
) -> Result<Resized, KnStatus> {
    // SAFETY: as in `release`; what is linked as free lies behind what stays used.
    unsafe {
        let used = inspect_called(region, block)?;
        let here = Ok(Resized::At(region.granule(block)));
        let elsewhere = Ok(Resized::Elsewhere(used.size * L::GRANULE - L::LEAD));
        let Some(size) = granules::<L>(bytes) else {
            return elsewhere;
        };
        if size == used.size {
            return here;
        }
        let tally = region.tally().read();
        let room = used.size + used.right;
        if size <= room {
            if used.right != 0 {
                unlink_called(region, block + used.size)?;
            }
            L::resize(region, block, used, size);
            if room != size {
                link_called(region, block + size, room - size);
            }
            if size < used.size {
                region.tally().write(tally.shrunk(used.size - size));
            } else {
                note_peak(region, tally.grown(size - used.size));
            }
            return here;
        }
        let before = block - used.left;
        let room = used.left + room;
        let place = region.granule(before);
        if used.left == 0 || size > room || place.addr() & (align - 1) != 0 {
            return elsewhere;
        }
        unlink_called(region, before)?;
        if used.right != 0 {
            if let Err(status) = unlink_called(region, block + used.size) {
                link_called(region, before, used.left);
                return Err(status);
            }
        }
        L::give(region, block)?;
        // Before anything is written behind the new block: its rest may begin inside the old one.
        let old = region.granule(block);
        core::ptr::copy(old, place, used.size * L::GRANULE - L::LEAD);
        take_called(region, before, room, before, size);
        if room != size {
            link_called(region, before + size, room - size);
        }
        note_peak(region, tally.grown(size - used.size));
        Ok(Resized::At(place))
    }
}

/// Bytes that the used block at `block` holds; 0 when it is none.
///
/// # Safety
/// `region` is live and `first <= block < end`.
pub(crate) unsafe fn usable<L: Layout>(region: Region<L>, block: usize) -> usize {
    // SAFETY: the caller's word.
    match unsafe { inspect_called(region, block) } {
        Ok(used) => used.size * L::GRANULE - L::LEAD,
        Err(_) => 0,
    }
}

/// A size that a request of this many bytes is sure to get: a lower bound of the largest free block.
///
/// # Safety
/// `region` is live.
pub(crate) unsafe fn largest_free<L: Layout>(region: Region<L>) -> usize {
    // SAFETY: a head is a free block of this region.
    unsafe {
        match highest(region) {
            None => 0,
            Some(bin) => {
                let head = region.head(bin).read().get();
                let size = L::free_size(region, head).max(least_in(bin));
                size * L::GRANULE - L::LEAD
            }
        }
    }
}

/// Makes a region of the memory, or answers null if it is too small.
///
/// # Safety
/// `memory` is valid for writes of `bytes` bytes and nobody else uses them.
pub(crate) unsafe fn found<L: Layout>(memory: *mut u8, bytes: usize) -> *mut KnHeap {
    let skip = memory.addr().wrapping_neg() & (L::GRANULE.max(align_of::<KnHeap>()) - 1);
    let Some(bytes) = bytes.checked_sub(skip) else {
        return core::ptr::null_mut();
    };
    let most = L::MOST.saturating_mul(L::GRANULE);
    let bytes = bytes.min(most);
    let this = memory.wrapping_add(skip).cast::<KnHeap>();
    let region = Region::<L>::new(this);
    let all = bytes / L::GRANULE;
    // Any head that a spoiled 16-bit link can name must be in the region; see `bins::named_bin`.
    if all < 2 || (<L::Link as Link>::BYTES == 2 && bytes < Region::<L>::HEADS_AT + 2 * MOST_HEADS) {
        return core::ptr::null_mut();
    }
    // As many bins as the largest free block can need.
    let bins = bin_of(all) + 1;
    let heads_end = Region::<L>::HEADS_AT + bins * <L::Link as Link>::BYTES;
    let end = all;
    let map_bytes = L::map_bytes(end);
    let first = (heads_end + map_bytes + L::LEAD).div_ceil(L::GRANULE);
    if first >= end {
        return core::ptr::null_mut();
    }
    // SAFETY: control block, heads and map lie below the first block, which lies in the memory.
    unsafe {
        this.cast::<u8>().write_bytes(0, heads_end + map_bytes);
        (*this).first = first as u32;
        (*this).end = end as u32;
        (*this).layout = L::KIND as u8;
        (*this).bins = bins as u8;
        (*this).map = if map_bytes == 0 { core::ptr::null_mut() } else { this.cast::<u8>().wrapping_add(heads_end) };
        L::found(region);
        link(region, first, end - first);
    }
    this
}
