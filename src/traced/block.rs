//! A block that exists: its size, freeing it, and resizing it in place both ways.
//!
//! Guarantees
//! * Any address may be asked about. What is no start of a live block is refused: size 0, no change, and freeing
//!   or resizing it is told to the error hook.
//! * Shrinking always succeeds and gives whole granules back. Growing takes the free granules behind the block,
//!   if they suffice; what is new is zeroed. Flags stay, also when the block moves, and so does its side: a
//!   long-lived block stays at the bottom though a scope is open.
//!
//! ```text
//!   before   | block     |  free      | other |        resize to 5 granules
//!            h  s  s      0  0  0
//!   after    | block           | free | other |
//!            h  s  s  s  s   0
//! ```
//! Costs: a few instructions for each group of the block; a block that moves is copied.

use core::ptr::{copy_nonoverlapping, null_mut};

use super::area::{Area, Granule};
use super::config::*;
use super::heap::{KnTraced, Phase, GATE_SLOW};
use super::zero::zero;
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::report;

impl KnTraced {
    /// A live block; None: there is none. While finalisers run dead blocks count, too: they are intact.
    ///
    /// # Safety
    /// `heap` is live.
    #[inline(never)]
    unsafe fn known(heap: *mut KnTraced, block: *const u8) -> Option<Known> {
        // SAFETY: the caller's word.
        unsafe {
            let (area, start) = Self::find(heap, block).filter(|&(area, granule)| Area::is_live(area, granule))?;
            Some(Known { area, start, end: Area::end(area, start) })
        }
    }

    /// Bytes of a live block; 0: it is none.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn size(heap: *mut KnTraced, block: *const u8) -> usize {
        // SAFETY: the caller's word.
        unsafe { Self::known(heap, block).map_or(0, |known| (known.end - known.start) << Area::shift(known.area)) }
    }

    /// Flags of a live block, as it was allocated; 0: it is none.
    ///
    /// # Safety
    /// As [`KnTraced::size`].
    pub unsafe fn flags(heap: *mut KnTraced, block: *const u8) -> u32 {
        // SAFETY: the caller's word.
        unsafe { Self::known(heap, block).map_or(0, |known| Area::flags(known.area, known.start)) }
    }

    /// Lets a block not be looked into any more: false if it is no live one.
    ///
    /// # Safety
    /// As [`KnTraced::size`]; the block holds no pointers from now on.
    pub unsafe fn no_scan(heap: *mut KnTraced, block: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let Some(known) = Self::known(heap, block) else { return false };
            (*Area::group(known.area, known.start)).scan &= !(1 << (known.start % WORD_BITS));
            true
        }
    }

    /// Frees a block, without its finaliser.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it; the block is not used afterwards.
    #[inline(always)]
    pub unsafe fn free(heap: *mut KnTraced, block: *mut u8) {
        // SAFETY: the caller's word. The short way frees a block of the first area that ends in the group that it
        // begins in, where it is swept, and that has no finaliser.
        unsafe {
            let area = &raw mut (*heap).area;
            let Some(granule) = Area::granule(area, block.addr()) else { return Self::free_slowly(heap, block) };
            let word = granule / WORD_BITS;
            let place = granule % WORD_BITS;
            let group = &mut *(*area).groups.add(word);
            let behind = !group.tails() >> place >> 1;
            let bit = 1 << place;
            // The block's granules: up to the first one behind it.
            let all = (behind ^ behind.wrapping_sub(1)) << place;
            let open = (*heap).gate & GATE_SLOW == 0 && (*area).unswept == (*area).swept_from;
            if !open || behind == 0 || group.heads & bit == 0 || group.marks & all != 0 {
                return Self::free_slowly(heap, block);
            }
            group.heads &= !bit;
            group.scan &= !all;
            Area::lower_by_run(area, word, place, group.heads | group.scan);
        }
    }

    /// The same for any block, state and word.
    ///
    /// # Safety
    /// As [`KnTraced::free`].
    #[inline(never)]
    unsafe fn free_slowly(heap: *mut KnTraced, block: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let open = (*heap).phase == Phase::Idle && (*heap).locks == 0;
            if block.is_null() || !open && (*heap).phase != Phase::Finalising {
                return;
            }
            let Some(Known { area, start, end }) = Self::known(heap, block) else {
                let free = Self::find(heap, block).is_some_and(|(area, granule)| Area::is_free(area, granule));
                let status = if free { KnStatus::DoubleFree } else { KnStatus::Foreign };
                return report(status, block, c"kn_traced_free: no live block starts there");
            };
            if Area::flags(area, start) & KN_FINALISE != 0 {
                (*heap).finalisers -= 1;
            }
            Area::release(area, start, end);
        }
    }

    /// Resizes a block; null: there is no room, and the block is as it was.
    ///
    /// # Safety
    /// As [`KnTraced::free`], if the answer is another block or `size` is 0.
    #[inline(always)]
    pub unsafe fn realloc(heap: *mut KnTraced, block: *mut u8, size: usize, allow_move: bool) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if size != 0 && Self::resize_in_group(heap, block, size) {
                return block;
            }
            Self::realloc_slowly(heap, block, size, allow_move)
        }
    }

    /// Resizes a block of the first area that begins, ends and stays in one group, where it is swept, and that has no
    /// finaliser: whether it is one, and has room.
    ///
    /// # Safety
    /// As [`KnTraced::realloc`]; `size > 0`.
    #[inline(always)]
    unsafe fn resize_in_group(heap: *mut KnTraced, block: *mut u8, size: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let area = &raw mut (*heap).area;
            let shift = Area::shift(area);
            let Some(granule) = Area::granule(area, block.addr()) else { return false };
            let place = granule % WORD_BITS;
            let group = &mut *(*area).groups.add(granule / WORD_BITS);
            let behind = !group.tails() >> place >> 1;
            let had = behind ^ behind.wrapping_sub(1);
            let more = (size - 1) >> shift;
            let open = (*heap).gate & GATE_SLOW == 0 && (*area).unswept == (*area).swept_from;
            let inside = behind != 0 && more + place < WORD_BITS - 1;
            if !open || !inside || group.heads >> place & 1 == 0 || group.marks & (had << place) != 0 {
                return false;
            }
            let want = (2 << more) - 1;
            if want > had {
                let new = (want ^ had) << place;
                if group.free() & new != new {
                    return false;
                }
                group.scan |= new;
                let old_end = granule + lowest(behind) + 1;
                zero(Area::address(area, old_end), (granule + more + 1 - old_end) << shift);
            } else if want < had {
                group.scan &= !((want ^ had) << place);
                Area::lower_by_run(area, granule / WORD_BITS, place + more + 1, group.heads | group.scan);
            }
            true
        }
    }

    /// The same for any block, state and size.
    ///
    /// # Safety
    /// As [`KnTraced::realloc`].
    #[inline(never)]
    unsafe fn realloc_slowly(heap: *mut KnTraced, block: *mut u8, size: usize, allow_move: bool) -> *mut u8 {
        // SAFETY: the caller's word; `alloc_at` may collect, and the block is the program's, so it survives that.
        unsafe {
            if block.is_null() {
                return Self::alloc_slowly(heap, size, 0);
            }
            if size == 0 {
                Self::free_slowly(heap, block);
                return null_mut();
            }
            if (*heap).locks != 0 || (*heap).phase != Phase::Idle {
                return null_mut();
            }
            let Some(Known { area, start, end }) = Self::known(heap, block) else {
                report(KnStatus::Foreign, block, c"kn_traced_realloc: no live block starts there");
                return null_mut();
            };
            let shift = Area::shift(area);
            let flags = Area::flags(area, start);
            let want_end = start + granules(size, shift, flags);
            if want_end <= end {
                if want_end < end {
                    Area::release(area, want_end, end);
                }
                return block;
            }
            if Area::grow(area, end, want_end) {
                let more = (want_end - end) << shift;
                zero(Area::address(area, end), more);
                if (*heap).config.threshold != 0 {
                    (*heap).since += more;
                }
                return block;
            }
            if !allow_move {
                return null_mut();
            }
            let moved = if Self::in_scope(heap) && start < (*area).floor {
                Self::alloc_at(heap, size, flags, 0)
            } else {
                Self::alloc_slowly(heap, size, flags)
            };
            if !moved.is_null() {
                copy_nonoverlapping(block, moved, (end - start) << shift);
                Self::free_slowly(heap, block);
            }
            moved
        }
    }
}

/// A live block's place.
struct Known {
    area: *mut Area,
    start: Granule,
    end: Granule,
}

/// Granules of a block of `size` bytes, `size > 0`.
#[inline(always)]
pub(super) fn granules(size: usize, shift: u32, flags: u32) -> usize {
    let least = if flags & KN_FINALISE != 0 { 2 } else { 1 };
    (((size - 1) >> shift) + 1).max(least)
}

impl Area {
    /// Whether no block takes the granule.
    ///
    /// # Safety
    /// `area` is live, `granule` below `count`.
    unsafe fn is_free(area: *const Area, granule: Granule) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*Area::group(area, granule)).free() & (1 << (granule % WORD_BITS)) != 0 }
    }

    /// Flags of a block.
    ///
    /// # Safety
    /// `area` is live, a block starts at `granule`.
    #[inline(never)]
    pub(super) unsafe fn flags(area: *const Area, granule: Granule) -> u32 {
        // SAFETY: behind the block's first granule there is another one, if only the fence's.
        unsafe {
            let group = &*Area::group(area, granule);
            let quiet = group.scan & (1 << (granule % WORD_BITS)) == 0;
            let second = &*Area::group(area, granule + 1);
            let finalise = second.tails() & second.marks & (1 << ((granule + 1) % WORD_BITS)) != 0;
            (u32::from(quiet) * KN_NO_SCAN) | (u32::from(finalise) * KN_FINALISE)
        }
    }

    /// Makes granules free.
    ///
    /// # Safety
    /// `area` is live; from `start` to `end` they are a block, or the end of one.
    pub(super) unsafe fn release(area: *mut Area, start: Granule, end: Granule) {
        // SAFETY: the caller's word.
        unsafe {
            Area::each_group(area, start, end, |group, bits| {
                group.heads &= !bits;
                group.scan &= !bits;
                group.marks &= !bits;
            });
            Area::lower(area, start / WORD_BITS, (end - 1) / WORD_BITS);
        }
    }

    /// Takes the granules from `end` to `new_end` for the block before them: whether they were free.
    ///
    /// # Safety
    /// `area` is live, a block ends before `end`, `end < new_end`.
    unsafe fn grow(area: *mut Area, end: Granule, new_end: Granule) -> bool {
        // SAFETY: the caller's word: granules up to `count` only.
        unsafe {
            if new_end > (*area).count {
                return false;
            }
            let mut free = true;
            Area::each_group(area, end, new_end, |group, bits| free &= group.free() & bits == bits);
            if free {
                Area::fill(area, end, new_end);
            }
            free
        }
    }

    /// Makes granules parts of a block.
    ///
    /// # Safety
    /// `area` is live, the granules are free.
    #[inline(never)]
    pub(super) unsafe fn fill(area: *mut Area, start: Granule, end: Granule) {
        // SAFETY: the caller's word.
        unsafe { Area::each_group(area, start, end, |group, bits| group.scan |= bits) }
    }
}
