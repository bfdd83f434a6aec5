//! The map layout: no header at all, 2 bits for each granule in a map beside the blocks.
//!
//! Guarantees
//! * A used block holds nothing but the user's bytes; the smallest block is one granule.
//! * [`Layout::inspect`] answers for the head of a used block only: a free block's head is a double
//!   free, an address inside a block of up to 12 granules is always refused.
//! * Size, state, and both neighbours' states come from one 32-bit load of the map for blocks of up
//!   to 12 granules, from two loads for larger ones.
//!
//! Design. A granule's code is 2 bits:
//!
//! ```text
//!   01  first of a used block whose left neighbour is used (or the region's start)
//!   11  first of a used block whose left neighbour is free
//!   10  first of a free block
//!   00  inside a block
//!
//!   used 3 granules | free 2 | used 1 | used 20 (0b10100) ...                    | end
//!   01   00   00    | 10 00  | 11     | 01 11 00 01 01 00 00 00 00 00 00 … 00    | 01
//!                                          ^mark ^ 8 digits: the size, 2 bits each
//! ```
//!
//! A used block that is longer than 12 granules keeps its size, as 16 bits, in the codes of its
//! third to tenth granule. Code 11 in the second granule says so: as a block's start it would
//! contradict its used left neighbour. Behind the last granule stands the code of a used block.
//!
//! Every change of state is the same exclusive-or, [`toggle`]: giving a block back turns its own
//! code from 01 to 10, or from 11 to 00 when it joins its left neighbour, which is `^ 11`; and the
//! code behind it from 01 to 11, or from 10 to 00 when it joins its right neighbour, which is
//! `^ 10`. Taking a block out of a free one, from its low end, its middle or its high end, whether
//! or not something is left over, is the same exclusive-or again.
//!
//! ```text
//!   free block, first granule:  | previous | next | size |  ..  |     16 bits each
//!               last granule:   |    ..    |  ..  |  ..  | size |     (one granule holds all four)
//! ```
//!
//! Costs: 1/32 of the region with 8-byte granules, 1/64 with 16-byte ones.

use super::bits::lowest;
use super::layout::{KnLayout, Layout, Region, Used};
use super::status::KnStatus;

/// The map layout with granules of `GRANULE` bytes.
pub(crate) struct Map<const GRANULE: usize>;

/// Used blocks of up to this many granules have no size in the map: the next block's code is
/// within the same 32-bit load.
const SHORT: usize = 12;
/// Codes of the `SHORT` granules behind the first.
const SHORT_CODES: u32 = (1 << (2 * SHORT)) - 1;

/// The map word that starts with the code of `granule`: its address and the shift within it.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn window<const G: usize>(region: Region<Map<G>>, granule: usize) -> (*mut u32, usize) {
    // SAFETY: the caller vouches for the region.
    let map = unsafe { (*region.this).map };
    (map.wrapping_add(granule >> 2).cast(), (granule & 3) * 2)
}

/// The code of one granule.
///
/// # Safety
/// `first <= granule <= end`.
#[inline(always)]
unsafe fn code<const G: usize>(region: Region<Map<G>>, granule: usize) -> u32 {
    // SAFETY: the map covers the granule.
    unsafe {
        let (at, shift) = window(region, granule);
        u32::from(at.cast::<u8>().read()) >> shift & 3
    }
}

/// Changes one granule's code by an exclusive-or with `10`.
///
/// # Safety
/// `first <= granule <= end`.
#[inline(always)]
unsafe fn flip<const G: usize>(region: Region<Map<G>>, granule: usize) {
    // SAFETY: the map covers the granule.
    unsafe {
        let (at, shift) = window(region, granule);
        let at = at.cast::<u8>();
        at.write(at.read() ^ (2 << shift));
    }
}

/// Makes `size` granules at `block` used if they are free and free if they are used.
///
/// # Safety
/// The granules are a used block, or lie within one free block; `block + size <= end`.
#[inline(always)]
unsafe fn toggle<const G: usize>(region: Region<Map<G>>, block: usize, size: usize) {
    // SAFETY: the map reaches three bytes beyond the code of `end`.
    unsafe {
        let (at, shift) = window(region, block);
        let word = u32::from_le(at.read_unaligned());
        if size <= SHORT {
            at.write_unaligned((word ^ (3 | 2 << (2 * size)) << shift).to_le());
        } else {
            at.write_unaligned((word ^ (15 | (size as u32) << 4) << shift).to_le());
            flip(region, block + size);
        }
    }
}

/// Why `inspect` refuses: `word` holds the codes from the block on.
#[cold]
#[inline(never)]
fn refusal(word: u32) -> KnStatus {
    if word & 3 == 2 {
        KnStatus::DoubleFree
    } else {
        KnStatus::Foreign
    }
}

impl<const G: usize> Layout for Map<G> {
    type Link = u16;
    const KIND: KnLayout = KnLayout::Map;
    const GRANULE: usize = G;
    const LEAD: usize = 0;
    const MOST: usize = 0xFFFF - 128;

    fn map_bytes(first: usize, end: usize) -> usize {
        // Codes for first ..= end, and three bytes that the last 32-bit load touches.
        (end >> 2) - (first >> 2) + 1 + 3
    }

    unsafe fn found(region: Region<Self>) {
        // SAFETY: the map covers both granules and is zero.
        unsafe {
            let (first, end) = (region.first(), region.end());
            let (at, shift) = window(region, first);
            at.cast::<u8>().write(2 << shift);
            let (at, shift) = window(region, end);
            let at = at.cast::<u8>();
            at.write(at.read() | 3 << shift);
        }
    }

    #[inline(always)]
    unsafe fn inspect(region: Region<Self>, block: usize) -> Result<Used, KnStatus> {
        // SAFETY: the map covers every granule of the region and three bytes more; what is read
        // in the blocks themselves is read at indices that were compared with the region's own.
        unsafe {
            let (at, shift) = window(region, block);
            let word = u32::from_le(at.read_unaligned()) >> shift;
            if word & 1 == 0 {
                return Err(refusal(word));
            }
            let codes = word >> 2 & SHORT_CODES;
            let (size, right_is_free);
            if codes & 3 != 3 {
                if codes == 0 {
                    return Err(KnStatus::Corrupt);
                }
                let behind = lowest(codes as usize);
                size = (behind >> 1) + 1;
                right_is_free = behind & 1 != 0;
            } else {
                size = (codes >> 2 & 0xFFFF) as usize;
                if size <= SHORT || size > region.end() - block {
                    return Err(KnStatus::Corrupt);
                }
                let behind = code(region, block + size);
                if behind != 1 && behind != 2 {
                    return Err(KnStatus::Corrupt);
                }
                right_is_free = behind == 2;
            }
            let right = if right_is_free { Self::free_size(region, block + size) } else { 0 };
            let left = if word & 2 != 0 {
                let left = usize::from(region.field(block, 0).wrapping_sub(1).read());
                let at = block.wrapping_sub(left);
                if !region.holds(at) || Self::free_size(region, at) != left {
                    return Err(KnStatus::Corrupt);
                }
                left
            } else {
                0
            };
            Ok(Used { size, left, right })
        }
    }

    #[inline(always)]
    unsafe fn take(region: Region<Self>, _block: usize, _whole: usize, at: usize, size: usize) {
        // SAFETY: the granules lie in one free block.
        unsafe { toggle(region, at, size) };
    }

    #[inline(always)]
    unsafe fn give(region: Region<Self>, block: usize, used: Used) {
        // SAFETY: the granules are one used block.
        unsafe { toggle(region, block, used.size) };
    }

    #[inline(always)]
    unsafe fn take_back(region: Region<Self>, block: usize, used: Used) {
        // SAFETY: the granules were given a moment ago.
        unsafe { toggle(region, block, used.size) };
    }

    #[inline(always)]
    unsafe fn resize(region: Region<Self>, block: usize, used: Used, size: usize) {
        // SAFETY: the block's own code stays; the code behind its old end and the one behind its
        // new end change by the same exclusive-or as in a toggle, and so do mark and digits.
        unsafe {
            flip(region, block + used.size);
            flip(region, block + size);
            let digits = |size: usize| {
                if size <= SHORT {
                    0
                } else {
                    12 | (size as u32) << 4
                }
            };
            let change = digits(used.size) ^ digits(size);
            let (at, shift) = window(region, block);
            let word = u32::from_le(at.read_unaligned());
            at.write_unaligned((word ^ change << shift).to_le());
        }
    }

    #[inline(always)]
    unsafe fn free_size(region: Region<Self>, block: usize) -> usize {
        // SAFETY: a free block's first granule holds its size.
        usize::from(unsafe { region.field(block, 2).read() })
    }

    #[inline(always)]
    unsafe fn set_free_size(region: Region<Self>, block: usize, size: usize) {
        // SAFETY: the first granule holds the size as its third number, and the last granule as
        // the number that ends it.
        unsafe {
            region.field(block, 2).write(size as u16);
            region.field(block + size, 0).wrapping_sub(1).write(size as u16);
        }
    }

    unsafe fn free_at_end(region: Region<Self>) -> usize {
        // SAFETY: the code of `end` says whether a free block lies before it.
        unsafe {
            let end = region.end();
            if code(region, end) == 3 {
                usize::from(region.field(end, 0).wrapping_sub(1).read())
            } else {
                0
            }
        }
    }

    unsafe fn measure(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus> {
        // SAFETY: the map covers the block's codes; the digits are compared with the region.
        unsafe {
            let (at, shift) = window(region, block);
            let word = u32::from_le(at.read_unaligned()) >> shift;
            let room = region.end() - block;
            let size = match (word & 3, word >> 2 & 3) {
                (0, _) => return Err(KnStatus::Corrupt),
                (2, _) => Self::free_size(region, block),
                (_, 3) => (word >> 4 & 0xFFFF) as usize,
                _ => (lowest((word >> 2 & SHORT_CODES) as usize) >> 1) + 1,
            };
            let free = word & 3 == 2;
            if size == 0 || size > room || code(region, block + size) == 0 {
                return Err(KnStatus::Corrupt);
            }
            // Nothing but a long used block's mark and digits may stand inside a block.
            let skip = if !free && size > SHORT { 10 } else { 1 };
            if (skip..size).any(|inside| code(region, block + inside) != 0) {
                return Err(KnStatus::Corrupt);
            }
            // What the neighbour's code says of this block.
            let behind = code(region, block + size);
            if free != (behind == 3) {
                return Err(KnStatus::Corrupt);
            }
            if free && usize::from(region.field(block + size, 0).wrapping_sub(1).read()) != size {
                return Err(KnStatus::Corrupt);
            }
            Ok((size, !free))
        }
    }
}
