//! The map layout: no header at all, 2 bits for each granule in a map beside the blocks.
//!
//! Guarantees
//! * A used block holds nothing but the user's bytes; the smallest block is one granule.
//! * [`Layout::inspect`] answers for the head of a used block only: the head of a free block, any
//!   address inside a block, and any address that was never a block's are refused.
//! * Size, state, and both neighbours' states come from one 32-bit load of the map for blocks of up
//!   to 11 granules, from two for larger ones.
//!
//! Design. A granule's code is 2 bits:
//!
//! ```text
//!   01  first of a used block whose left neighbour is used (or the region's start)
//!   11  first of a used block whose left neighbour is free
//!   10  first of a free block
//!   00  inside a block
//!
//!   used 3 granules | free 2 | used 1 | used 20                            | …   | end
//!   01   00   00    | 10 00  | 11     | 01 11 10 00 00 00 … 00 00 00 00 00 | …   | 01
//!                                          ^  ^ 10 digits, codes 00 and 10
//!                                          mark
//! ```
//!
//! A used block of more than 11 granules says where it ends: its second granule has the *mark*, 11,
//! which as a block's start would contradict its used left neighbour, and the next ten hold, one
//! bit each, `(size - 12) / 8`: the next block's code is one of the eight from there on. The number's
//! odd bits stand behind its even ones, so that two instructions put it together. A block of 8,204
//! granules or more has all ten set, nothing in those eight, and its size in codes further on. A digit
//! never looks like the head of a used block. Behind the last granule stands the code of a used block.
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

use super::bins::EXACT;
use super::bits::lowest;
use super::layout::{KnLayout, Layout, Region, Used};
use super::status::KnStatus;
use super::CHECKED;

/// The map layout with granules of `GRANULE` bytes.
pub(crate) struct Map<const GRANULE: usize>;

/// Used blocks of up to this many granules need no digits: the next block's code is within the same
/// 32-bit load.
const SHORT: usize = 11;
/// Where the search for a longer block's end starts when its digits are all zero.
const LONG: usize = SHORT + 1;
/// Mark and digits of a longer block, all set, from its own code on.
const LONG_CODES: u32 = 0xAA_AAA0 | 12;
/// Codes of the `SHORT` granules behind the first.
const SHORT_CODES: u32 = (1 << (2 * SHORT)) - 1;
/// Digits that say "the size stands further on".
const HUGE: u32 = (1 << DIGITS) - 1;
const DIGITS: u32 = 10;
/// How far the number's odd bits are moved, to stand behind its even ones.
const APART: u32 = DIGITS - 1;
/// Granules behind a huge block's first, at least, where the word starts that holds its size.
const HUGE_SIZE_AT: usize = 16;
/// Granules behind a huge block's first where nothing is recorded any more.
const HUGE_END: usize = HUGE_SIZE_AT + 4 + 16;
/// The least size of a huge block.
const HUGE_SIZE: usize = LONG + ((HUGE as usize + 1) << 3);

/// The map word that starts with the code of the granule before `granule`: its address and the shift
/// within it. The map has a code for the granule "before the first" too, which is 00.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn window_before<const G: usize>(region: Region<Map<G>>, granule: usize) -> (*mut u32, usize) {
    // SAFETY: the caller vouches for the region.
    let map = unsafe { (*region.this).map };
    (map.wrapping_add(granule >> 2).cast(), (granule & 3) * 2)
}

/// The map word that starts with the code of `granule`.
///
/// # Safety
/// `region` is live.
#[inline(always)]
unsafe fn window<const G: usize>(region: Region<Map<G>>, granule: usize) -> (*mut u32, usize) {
    // SAFETY: the caller's word.
    unsafe { window_before(region, granule + 1) }
}

/// Reads a map word.
///
/// # Safety
/// `at` comes from [`window`] for a granule up to the region's end.
#[inline(always)]
unsafe fn load(at: *mut u32) -> u32 {
    // SAFETY: the map reaches three bytes beyond the code of `end`.
    u32::from_le(unsafe { at.read_unaligned() })
}

/// Writes a map word.
///
/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn store(at: *mut u32, word: u32) {
    // SAFETY: the map reaches three bytes beyond the code of `end`.
    unsafe { at.write_unaligned(word.to_le()) };
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
        (u32::from(at.cast::<u8>().read()) >> shift) & 3
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

/// Mark and digits of a used block of `size` granules, as the codes from its first granule on.
#[inline(always)]
fn digits(size: usize) -> u32 {
    if size <= SHORT {
        return 0;
    }
    if size >= HUGE_SIZE {
        return LONG_CODES;
    }
    let number = ((size - LONG) >> 3) as u32;
    // Small sizes have two bits at most, and the compiler knows when it has one of those.
    let (even, odd) = if size <= EXACT { (1, 2) } else { (0x155, 0x2AA) };
    let spread = (number & even) | ((number & odd) << APART);
    12 | spread << 5
}

/// The number in the digits of `word`, the codes from the granule before a long block on.
#[inline(always)]
fn number(word: u32) -> u32 {
    let spread = (word >> 7) & ((1 << (2 * DIGITS - 1)) - 1);
    (spread | spread >> APART) & HUGE
}

/// The word of the map that holds the size of a huge block: 16 bits, one in each of 16 codes, the
/// odd ones behind the even ones.
///
/// # Safety
/// The block lies in the region and is at least [`HUGE_SIZE`] granules long.
#[inline(always)]
unsafe fn huge_word<const G: usize>(region: Region<Map<G>>, block: usize) -> *mut u32 {
    // A multiple of four granules is a whole byte of the map.
    // SAFETY: the caller's word.
    unsafe { window_before(region, (block + HUGE_SIZE_AT + 4) & !3).0 }
}

/// Writes or erases the size of a huge block, by an exclusive-or.
///
/// # Safety
/// As [`huge_word`].
#[cold]
#[inline(never)]
unsafe fn toggle_huge<const G: usize>(region: Region<Map<G>>, block: usize, size: usize) {
    // SAFETY: a huge block is longer than what it records.
    unsafe {
        let at = huge_word(region, block);
        let size = size as u32;
        store(at, load(at) ^ ((size & 0x5555) | (size & 0xAAAA) << 15) << 1);
    }
}

/// Reads the size of a huge block.
///
/// # Safety
/// As [`huge_word`].
#[inline(always)]
unsafe fn huge_size<const G: usize>(region: Region<Map<G>>, block: usize) -> usize {
    // SAFETY: a huge block is longer than what it records.
    let spread = unsafe { load(huge_word(region, block)) } >> 1;
    ((spread | spread >> 15) & 0xFFFF) as usize
}

/// Makes `size` granules at `block` used if they are free and free if they are used.
///
/// # Safety
/// The granules are a used block, or lie within one free block; `block + size <= end`.
#[cfg_attr(not(any(knoll_small, target_pointer_width = "64")), inline(always))]
#[cfg_attr(any(knoll_small, target_pointer_width = "64"), inline(never))]
unsafe fn toggle<const G: usize>(region: Region<Map<G>>, block: usize, size: usize) {
    // SAFETY: the map covers the granules and the one behind them.
    unsafe {
        let (at, shift) = window(region, block);
        if size <= SHORT {
            store(at, load(at) ^ (3 | 2 << (2 * size)) << shift);
        } else {
            store(at, load(at) ^ (3 | digits(size)) << shift);
            flip(region, block + size);
            if size >= HUGE_SIZE {
                toggle_huge(region, block, size);
            }
        }
    }
}

/// The size of the used block at `block`, and whether a free one follows; None when its codes are
/// contradictory. `word` holds the codes from the granule before the block on, `near` and `shift` say
/// where it was read. With `GIVE`, the block becomes free at once, by the exclusive-or of [`toggle`]
/// on the words at hand.
///
/// # Safety
/// `first <= block < end`.
#[cfg_attr(not(any(knoll_small, target_pointer_width = "64")), inline(always))]
#[cfg_attr(any(knoll_small, target_pointer_width = "64"), inline(never))]
unsafe fn extent<const G: usize, const GIVE: bool>(
    region: Region<Map<G>>,
    block: usize,
    near: *mut u32,
    shift: usize,
    word: u32,
) -> Option<(usize, bool)> {
    // SAFETY: the map covers what is compared with the region's end first.
    unsafe {
        let codes = word >> 4 & SHORT_CODES;
        if codes & 3 != 3 {
            if CHECKED && codes == 0 {
                return None;
            }
            let behind = lowest(codes as usize);
            if GIVE {
                store(near, load(near) ^ (12 | 32 << (behind & !1)) << shift);
            }
            return Some(((behind >> 1) + 1, behind & 1 != 0));
        }
        let from = LONG + ((number(word) as usize) << 3);
        let (far, far_shift) = window(region, block + from);
        let codes = load(far) >> far_shift & 0xFFFF;
        if codes == 0 {
            return extent_of_huge(region, block, GIVE);
        }
        let behind = lowest(codes as usize);
        if GIVE {
            store(near, load(near) ^ (word & LONG_CODES << 2 | 12) << shift);
            store(far, load(far) ^ 2 << (behind & !1) << far_shift);
        }
        Some((from + (behind >> 1), behind & 1 != 0))
    }
}

/// As [`extent`], for a block whose digits don't lead to its end: a huge one has them all set.
///
/// # Safety
/// `first <= block < end`.
#[cold]
#[inline(never)]
unsafe fn extent_of_huge<const G: usize>(region: Region<Map<G>>, block: usize, give: bool) -> Option<(usize, bool)> {
    // SAFETY: the map covers what is compared with the region's end first.
    unsafe {
        let (at, shift) = window_before(region, block);
        if number(load(at) >> shift) != HUGE || !region.holds(block + HUGE_SIZE - 1) {
            return None;
        }
        let size = huge_size(region, block);
        if size < HUGE_SIZE || !region.holds(block + size - 1) {
            return None;
        }
        let behind = code(region, block + size);
        if behind != 1 && behind != 2 {
            return None;
        }
        if give {
            toggle(region, block, size);
        }
        Some((size, behind == 2))
    }
}

/// Whether the second code of `word` is that of a used block's head. A mark looks like a head whose
/// left neighbour is free, but what stands before a mark is a used block's head.
#[inline(always)]
fn is_head(word: u32) -> bool {
    word & 4 != 0 && word & 9 != 9
}

impl<const G: usize> Layout for Map<G> {
    type Link = u16;
    const KIND: KnLayout = KnLayout::Map;
    const GRANULE: usize = G;
    const LEAD: usize = 0;
    const MOST: usize = 0xFF00 - 1;

    // The codes below `first` are 00.
    const KNOWS_ALL: bool = true;

    fn map_bytes(end: usize) -> usize {
        // Codes for 0 ..= end and the one before, and three bytes that the last 32-bit load touches.
        ((end + 1) >> 2) + 1 + 3
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
        // SAFETY: the map covers every granule of the region.
        unsafe {
            let (near, shift) = window_before(region, block);
            let word = load(near) >> shift;
            if CHECKED && !is_head(word) {
                return Err(KnStatus::Foreign);
            }
            extent::<G, false>(region, block, near, shift, word)
                .map(|(size, right_is_free)| Used { size, right_is_free, clue: word as usize })
                .ok_or(KnStatus::Corrupt)
        }
    }

    #[inline(always)]
    unsafe fn left(region: Region<Self>, block: usize, used: Used) -> Option<usize> {
        if used.clue & 8 == 0 {
            return Some(0);
        }
        // SAFETY: what the left neighbour says of itself is read only at an index of the region.
        unsafe {
            let size = usize::from(region.field(block, 0).wrapping_sub(1).read());
            let before = block.wrapping_sub(size);
            let sound = region.holds(before) && code(region, before) == 2 && Self::free_size(region, before) == size;
            (!CHECKED || (size != 0 && sound)).then_some(size)
        }
    }

    #[inline(always)]
    unsafe fn take(region: Region<Self>, _block: usize, _whole: usize, at: usize, size: usize) {
        // SAFETY: the granules lie in one free block.
        unsafe { toggle(region, at, size) };
    }

    #[inline(always)]
    unsafe fn give(region: Region<Self>, block: usize) -> Result<Used, KnStatus> {
        // SAFETY: the map covers every granule of the region.
        unsafe {
            let (near, shift) = window_before(region, block);
            let word = load(near) >> shift;
            if CHECKED && !is_head(word) {
                return Err(KnStatus::Foreign);
            }
            extent::<G, true>(region, block, near, shift, word)
                .map(|(size, right_is_free)| Used { size, right_is_free, clue: word as usize })
                .ok_or(KnStatus::Corrupt)
        }
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
            let (at, shift) = window(region, block);
            store(at, load(at) ^ (digits(used.size) ^ digits(size)) << shift);
            for size in [used.size, size] {
                if size >= HUGE_SIZE {
                    toggle_huge(region, block, size);
                }
            }
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

    #[inline(always)]
    unsafe fn ends_agree(region: Region<Self>, block: usize, size: usize) -> bool {
        // SAFETY: the last granule is read only if it is one of the region's.
        unsafe {
            region.spans(block, size) && usize::from(region.field(block + size, 0).wrapping_sub(1).read()) == size
        }
    }

    unsafe fn free_at_end(region: Region<Self>) -> usize {
        // SAFETY: the code of `end` says whether a free block lies before it.
        unsafe {
            let end = region.end();
            if code(region, end) != 3 {
                return 0;
            }
            let last = usize::from(region.field(end, 0).wrapping_sub(1).read());
            let block = end.wrapping_sub(last);
            let inside = block >= region.first() && region.holds(block);
            if inside && code(region, block) == 2 && Self::free_size(region, block) == last {
                last
            } else {
                0
            }
        }
    }

    unsafe fn begins_well(region: Region<Self>) -> bool {
        // SAFETY: the caller's word.
        unsafe { code(region, region.first()) != 3 }
    }

    unsafe fn measure(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus> {
        // SAFETY: sizes are compared with the region before they are followed.
        unsafe {
            let (at, shift) = window_before(region, block);
            let word = load(at) >> shift;
            let used = word & 4 != 0;
            let size = if used {
                extent::<G, false>(region, block, at, shift, word).map_or(0, |(size, _)| size)
            } else {
                Self::free_size(region, block)
            };
            if word & 12 == 0 || !region.spans(block, size) {
                return Err(KnStatus::Corrupt);
            }
            // What the code behind says of this block: only a free one makes it 11.
            let behind = code(region, block + size);
            if behind == 0 || used == (behind == 3) {
                return Err(KnStatus::Corrupt);
            }
            // Nothing but a long used block's mark and digits may stand inside a block.
            let skip = match used {
                true if size >= HUGE_SIZE => HUGE_END,
                true if size > SHORT => LONG,
                _ => 1,
            };
            if (skip..size).any(|inside| code(region, block + inside) != 0)
                || (used && size > SHORT && word >> 2 & 0xFF_FFFC != digits(size))
                || (!used && !Self::ends_agree(region, block, size))
            {
                return Err(KnStatus::Corrupt);
            }
            Ok((size, used))
        }
    }

    #[inline(always)]
    unsafe fn stride(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus> {
        // SAFETY: sizes are compared with the region before they are followed.
        unsafe {
            let (near, shift) = window_before(region, block);
            let word = load(near) >> shift;
            let used = word & 4 != 0;
            let size = if used {
                extent::<G, false>(region, block, near, shift, word).map_or(0, |(size, _)| size)
            } else if word & 8 != 0 {
                Self::free_size(region, block)
            } else {
                0
            };
            let sound = region.spans(block, size) && (used || Self::ends_agree(region, block, size));
            sound.then_some((size, used)).ok_or(KnStatus::Corrupt)
        }
    }
}
