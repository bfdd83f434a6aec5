//! Giving blocks back and resizing them, in one region.
//!
//! Guarantees
//! * Two free blocks never touch: what is given back joins its neighbours at once.
//! * A block that is refused ([`KnStatus`]), and one that can't be resized here, is as it was.
//! * Every step but the sliding of a resized block's bytes is bounded.
//!
//! ```text
//!   release:  | free | used | free |     ->  | free                |
//!   resize:   | used | free        |     ->  | used      | free    |      into the right neighbour
//!             | free | used | free |     ->  | used           | free |    down over the left one
//! ```
//!
//! Costs on Cortex-M4: see docs/figures.md.
//!
//! Source: Knuth, TAOCP 1, 2.5, algorithm C, for the merging.

use super::allocate::take_called;
use super::bins::{link_called, link_here, unlink_called, unlink_here, unusual};
use super::layout::{Layout, Region, Tally, Used};
use super::request::{granules, note_peak};
use super::status::KnStatus;

/// Gives the used block at `block` back; its size, or why it is refused.
///
/// # Safety
/// `region` is live and `first <= block < end`.
#[inline(always)]
pub(crate) unsafe fn release<L: Layout>(region: Region<L>, block: usize) -> Result<usize, KnStatus> {
    // SAFETY: the neighbours are those that the records name, and are unlinked only when their
    // links agree.
    unsafe {
        let used = if const { unusual::<L>() } { give_called(region, block)? } else { L::give(region, block)? };
        let right = match L::right(region, block, used) {
            Some(right) if right == 0 || unlink_here(region, block + used.size).is_ok() => right,
            _ => {
                L::take_back(region, block, used);
                return Err(KnStatus::Corrupt);
            }
        };
        let left = match L::left(region, block, used) {
            Some(left) if left == 0 || unlink_here(region, block - left).is_ok() => left,
            _ => {
                if right != 0 {
                    link_called(region, block + used.size, right);
                }
                L::take_back(region, block, used);
                return Err(KnStatus::Corrupt);
            }
        };
        link_here(region, block - left, left + used.size + right);
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

/// [`Layout::give`], called.
///
/// # Safety
/// As [`Layout::give`].
#[inline(never)]
unsafe fn give_called<L: Layout>(region: Region<L>, block: usize) -> Result<Used, KnStatus> {
    // SAFETY: the caller's word.
    unsafe { L::give(region, block) }
}

/// Gives the used block at `block` room for `bytes` bytes where it is, taking from its right
/// neighbour or leaving to it; false, and nothing has changed, when there is not that much room.
///
/// # Safety
/// `region` is live and `first <= block < end`.
#[inline(always)]
pub(crate) unsafe fn resize<L: Layout>(region: Region<L>, block: usize, bytes: usize) -> Result<bool, KnStatus> {
    // SAFETY: as in `release`; what is linked as free lies behind what stays used.
    unsafe {
        let used = if const { unusual::<L>() } { inspect_called(region, block)? } else { L::inspect(region, block)? };
        let right = L::right(region, block, used).ok_or(KnStatus::Corrupt)?;
        let Some(size) = granules::<L>(bytes) else {
            return Ok(false);
        };
        let room = used.size + right;
        if size == used.size || size > room {
            return Ok(size == used.size);
        }
        if right != 0 {
            unlink_here(region, block + used.size)?;
        }
        L::resize(region, block, used, size);
        if room != size {
            link_here(region, block + size, room - size);
        }
        let tally = region.tally().read();
        if size < used.size {
            region.tally().write(tally.shrunk(used.size - size));
        } else {
            note_peak(region, tally.grown(size - used.size));
        }
        Ok(true)
    }
}

/// Gives the used block at `block` room for `bytes` bytes by sliding it down over its free left
/// neighbour, its bytes with it: the block's new place; null, and nothing has changed, when there is
/// not that much room or the place is no multiple of `align`.
///
/// # Safety
/// `region` is live and `first <= block < end`.
#[inline(never)]
pub(crate) unsafe fn slide<L: Layout>(
    region: Region<L>,
    block: usize,
    bytes: usize,
    align: usize,
) -> Result<*mut u8, KnStatus> {
    // SAFETY: as in `release`; what is linked as free lies behind what stays used.
    unsafe {
        let used = inspect_called(region, block)?;
        let (Some(left), Some(right)) = (L::left(region, block, used), L::right(region, block, used)) else {
            return Err(KnStatus::Corrupt);
        };
        let before = block - left;
        let room = left + used.size + right;
        let place = region.granule(before);
        let size = match granules::<L>(bytes) {
            Some(size) if left != 0 && size <= room && place.addr() & (align - 1) == 0 => size,
            _ => return Ok(core::ptr::null_mut()),
        };
        unlink_called(region, before)?;
        if right != 0 {
            if let Err(status) = unlink_called(region, block + used.size) {
                link_called(region, before, left);
                return Err(status);
            }
        }
        give_called(region, block)?;
        // Before anything is written behind the new block: its rest may begin inside the old one.
        let old = region.granule(block);
        core::ptr::copy(old, place, used.size * L::GRANULE - L::LEAD);
        take_called(region, before, room, before, size);
        if room != size {
            link_called(region, before + size, room - size);
        }
        note_peak(region, region.tally().read().grown(size - used.size));
        Ok(place)
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
