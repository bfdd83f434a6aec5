//! The header layouts: each block knows its own size and its left neighbour's.
//!
//! Guarantees
//! * `next.previous_size == size && used` holds for every used block: a double free, a pointer
//!   inside a block and a one-word overflow show when the block is freed.
//! * Both neighbours are reached from the header alone; there is no footer.
//!
//! ```text
//!   compact: 16 bits each, before a granule that starts with the payload
//!
//!    … | left size | size|used | payload …            | left size | size|used | payload
//!      ^ 8i - 4                ^ 8i (granule i)        ^ the next block's header
//!
//!   wide: the same with 32 bits each and granules of 16 bytes
//!
//!   free block:                | previous | next | …
//! ```
//!
//! A region's first block has left size 0, which names itself as its left neighbour: never free
//! while it is being freed. Behind the last block stands the header of a used block of size 0.
//!
//! Costs: 4 bytes (compact) or 8 bytes (wide) a block; freeing reads two headers and writes two.
//!
//! Source: the boundary tags of Knuth, TAOCP 1, 2.5; the 16-bit form is Zephyr's `sys_heap`.

use super::layout::{KnLayout, Layout, Link, Region, Used};
use super::status::KnStatus;
use super::CHECKED;

/// The header layout with fields of type `K` and granules of `GRANULE` bytes.
pub(crate) struct Header<K, const GRANULE: usize>(core::marker::PhantomData<K>);

/// The integers that can make a header.
pub(crate) trait HeaderField: Link {
    const KIND: KnLayout;
    /// The bit in the size field that says "used".
    const USED: usize;
}

impl HeaderField for u16 {
    const KIND: KnLayout = KnLayout::Compact;
    const USED: usize = 0x8000;
}

impl HeaderField for u32 {
    const KIND: KnLayout = KnLayout::Wide;
    const USED: usize = 0x8000_0000;
}

/// The left neighbour's size, in the header of `block`.
#[inline(always)]
fn left_size<K: HeaderField, const G: usize>(region: Region<Header<K, G>>, block: usize) -> *mut K {
    region.field(block, 0).wrapping_sub(2)
}

/// The size and the used bit, in the header of `block`.
#[inline(always)]
fn own_size<K: HeaderField, const G: usize>(region: Region<Header<K, G>>, block: usize) -> *mut K {
    region.field(block, 0).wrapping_sub(1)
}

impl<K: HeaderField, const G: usize> Layout for Header<K, G> {
    type Link = K;
    const KIND: KnLayout = K::KIND;
    const GRANULE: usize = G;
    const LEAD: usize = 2 * K::BYTES;
    // An index must be below BINS, a size below the used bit.
    const MOST: usize = K::USED - 1;

    const KNOWS_ALL: bool = false;

    fn map_bytes(_end: usize) -> usize {
        0
    }

    unsafe fn found(region: Region<Self>) {
        // SAFETY: both headers lie in the region: the last one ends where the region does.
        unsafe {
            let (first, end) = (region.first(), region.end());
            left_size(region, first).write(K::of(0));
            own_size(region, first).write(K::of(end - first));
            left_size(region, end).write(K::of(end - first));
            own_size(region, end).write(K::of(K::USED));
        }
    }

    #[inline(always)]
    unsafe fn inspect(region: Region<Self>, block: usize) -> Result<Used, KnStatus> {
        // SAFETY: the block's header is inside the region; the neighbours' are read only at
        // indices that were compared with the region's ends.
        unsafe {
            let own = own_size(region, block).read().get();
            if CHECKED && own & K::USED == 0 {
                return Err(KnStatus::Foreign);
            }
            let size = own & !K::USED;
            if CHECKED && !Self::ends_agree(region, block, size) {
                return Err(KnStatus::Corrupt);
            }
            let right = own_size(region, block + size).read().get();
            let left = left_size(region, block).read().get();
            Ok(Used { size, right_is_free: right & K::USED == 0, clue: left })
        }
    }

    #[inline(always)]
    unsafe fn left(region: Region<Self>, block: usize, used: Used) -> Option<usize> {
        // SAFETY: the left neighbour's header is read only at an index of the region.
        unsafe {
            let left = used.clue;
            let before = block.wrapping_sub(left);
            if CHECKED && !region.holds(before) {
                return None;
            }
            let own = own_size(region, before).read().get();
            if own & K::USED != 0 {
                return Some(0);
            }
            (!CHECKED || own == left).then_some(left)
        }
    }

    #[inline(always)]
    unsafe fn take(region: Region<Self>, block: usize, whole: usize, at: usize, size: usize) {
        // SAFETY: the headers written lie inside the free block or right behind it.
        unsafe {
            if at != block {
                left_size(region, at).write(K::of(at - block));
            }
            own_size(region, at).write(K::of(size | K::USED));
            let behind = at + size;
            // Of a block that is left over behind, link() writes the rest.
            left_size(region, behind).write(K::of(size));
            debug_assert!(behind <= block + whole);
        }
    }

    #[inline(always)]
    unsafe fn give(region: Region<Self>, block: usize) -> Result<Used, KnStatus> {
        // SAFETY: the block's own header. A size of 0 without the used bit is what a second free
        // of the block finds, should it have joined its left neighbour.
        unsafe {
            let used = Self::inspect(region, block)?;
            own_size(region, block).write(K::of(0));
            Ok(used)
        }
    }

    #[inline(always)]
    unsafe fn take_back(region: Region<Self>, block: usize, used: Used) {
        // SAFETY: the block's own header.
        unsafe { own_size(region, block).write(K::of(used.size | K::USED)) };
    }

    #[inline(always)]
    unsafe fn resize(region: Region<Self>, block: usize, used: Used, size: usize) {
        // SAFETY: both headers lie in what was the block and its free right neighbour, or right
        // behind them.
        unsafe {
            if used.right_is_free {
                // A stale header that a wrong free could find.
                own_size(region, block + used.size).write(K::of(0));
            }
            own_size(region, block).write(K::of(size | K::USED));
            left_size(region, block + size).write(K::of(size));
        }
    }

    #[inline(always)]
    unsafe fn free_size(region: Region<Self>, block: usize) -> usize {
        // SAFETY: the header of a block of this region.
        unsafe { own_size(region, block).read().get() & !K::USED }
    }

    #[inline(always)]
    unsafe fn set_free_size(region: Region<Self>, block: usize, size: usize) {
        // SAFETY: the block's own header and the one right behind it.
        unsafe {
            own_size(region, block).write(K::of(size));
            left_size(region, block + size).write(K::of(size));
        }
    }

    #[inline(always)]
    unsafe fn ends_agree(region: Region<Self>, block: usize, size: usize) -> bool {
        // SAFETY: the header behind is read only if it is in the region.
        unsafe { size.wrapping_sub(1) < region.end() - block && left_size(region, block + size).read().get() == size }
    }

    unsafe fn free_at_end(region: Region<Self>) -> usize {
        // SAFETY: the header behind the last block names it.
        unsafe {
            let last = left_size(region, region.end()).read().get();
            let block = region.end().wrapping_sub(last);
            if block >= region.first() && region.holds(block) && own_size(region, block).read().get() == last {
                last
            } else {
                0
            }
        }
    }

    unsafe fn begins_well(region: Region<Self>) -> bool {
        // SAFETY: the caller's word.
        unsafe { left_size(region, region.first()).read().get() == 0 }
    }

    unsafe fn measure(region: Region<Self>, block: usize) -> Result<(usize, bool), KnStatus> {
        // SAFETY: the size is compared with the region before the next header is read.
        unsafe {
            let own = own_size(region, block).read().get();
            let size = own & !K::USED;
            if size == 0 || size > region.end() - block || left_size(region, block + size).read().get() != size {
                return Err(KnStatus::Corrupt);
            }
            Ok((size, own & K::USED != 0))
        }
    }
}
