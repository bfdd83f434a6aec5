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

use core::ptr::null_mut;

use super::area::{Area, Granule};
use super::classes::CLASSES;
use super::config::*;
use super::heap::{KnTraced, Phase, GATE_CLOSED, GATE_SLOW, GATE_TOP};
use super::zero::{copy, zero};
use crate::heap::bits::{lowest, WORD_BITS};
use crate::heap::KnStatus;
use crate::port::Callback;

impl KnTraced {
    /// The place of a live block; the area is null: there is none. While finalisers run dead blocks count, too: they are
    /// intact.
    ///
    /// # Safety
    /// `heap` is live.
    #[inline(never)]
    unsafe fn known(heap: *mut KnTraced, block: *const u8) -> (*mut Area, Granule) {
        // SAFETY: the caller's word.
        unsafe {
            let (area, start) = Self::find(heap, block);
            if area.is_null() || !Area::is_live(area, start) {
                return (null_mut(), start);
            }
            (area, start)
        }
    }

    /// Bytes of a live block; 0: it is none.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it.
    pub unsafe fn size(heap: *mut KnTraced, block: *const u8) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            let (area, start) = Self::known(heap, block);
            if area.is_null() {
                0
            } else {
                (Area::end(area, start) - start) << Area::shift(area)
            }
        }
    }

    /// Flags of a live block, as it was allocated; 0: it is none.
    ///
    /// # Safety
    /// As [`KnTraced::size`].
    pub unsafe fn flags(heap: *mut KnTraced, block: *const u8) -> u32 {
        // SAFETY: the caller's word.
        unsafe {
            let (area, start) = Self::known(heap, block);
            if area.is_null() {
                0
            } else {
                Area::flags(area, start)
            }
        }
    }

    /// Lets a block not be looked into any more: false if it is no live one.
    ///
    /// # Safety
    /// As [`KnTraced::size`]; the block holds no pointers from now on.
    pub unsafe fn no_scan(heap: *mut KnTraced, block: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let (area, start) = Self::known(heap, block);
            if !area.is_null() {
                (*Area::group(area, start)).scan &= !(1 << (start % WORD_BITS));
            }
            !area.is_null()
        }
    }

    /// Frees a block, without its finaliser.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it; the block is not used afterwards.
    #[inline(never)]
    pub unsafe fn free(heap: *mut KnTraced, block: *mut u8) {
        // SAFETY: the caller's word. The short way frees a block of the first area that ends in the group that it
        // begins in, where it is swept, and that has no finaliser.
        unsafe {
            let area = &raw mut (*heap).area;
            let granule = Area::granule(area, block.addr());
            let open = (*heap).gate & GATE_SLOW == 0 && (*area).unswept == (*area).swept_from;
            if open && granule < (*area).count {
                let word = granule / WORD_BITS;
                let place = granule % WORD_BITS;
                let group = &mut *(*area).groups.add(word);
                let (heads, scan) = (group.heads, group.scan);
                let behind = !(scan & !heads) >> place >> 1;
                // The block's granules: up to the first one behind it. The second one tells of a finaliser.
                let all = (behind ^ behind.wrapping_sub(1)) << place;
                if behind != 0 && heads >> place & 1 != 0 && group.marks >> place & 2 == 0 {
                    group.heads = heads & !all;
                    group.scan = scan & !all;
                    return Area::lower_by_run(area, word, place, (heads | scan) & !all);
                }
            }
            Self::resize_slowly(heap, block, 0, false);
        }
    }

    /// Resizes a block; null: there is no room, and the block is as it was, or it was to have no size, and is free.
    ///
    /// # Safety
    /// As [`KnTraced::free`], if the answer is another block or `size` is 0.
    #[inline(always)]
    pub unsafe fn realloc(heap: *mut KnTraced, block: *mut u8, size: usize, allow_move: bool) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if size == 0 {
                Self::free(heap, block);
                return null_mut();
            }
            Self::resize(heap, block, size, allow_move)
        }
    }

    /// The same, for a size that is not 0.
    ///
    /// # Safety
    /// As [`KnTraced::realloc`].
    #[inline(never)]
    unsafe fn resize(heap: *mut KnTraced, block: *mut u8, size: usize, allow_move: bool) -> *mut u8 {
        // SAFETY: the caller's word. The short way is for a block of the first area that begins, ends and stays in one
        // group, where it is swept, and that has no finaliser.
        unsafe {
            let area = &raw mut (*heap).area;
            let shift = Area::shift(area);
            let granule = Area::granule(area, block.addr());
            let open = (*heap).gate & GATE_SLOW == 0 && (*area).unswept == (*area).swept_from;
            let count = ((size - 1) >> shift) + 1;
            if open && granule < (*area).count && count < WORD_BITS {
                let place = granule % WORD_BITS;
                let group = &mut *(*area).groups.add(granule / WORD_BITS);
                let (heads, scan) = (group.heads, group.scan);
                // The bit behind the first granule tells of a finaliser.
                let plain = group.marks >> place & 2 == 0;
                // The block's granules; what changes is from the fewer to the more of these and those wanted.
                let behind = !(scan & !heads) >> place >> 1;
                let had = lowest(behind) + 1;
                let (less, more) = (had.min(count), had.max(count));
                if plain && heads >> place & 1 != 0 && behind != 0 && place + more < WORD_BITS {
                    let change = ((1 << (more - less)) - 1) << (place + less);
                    if count <= had {
                        group.scan = scan & !change;
                        if count != had {
                            Area::lower_by_run(area, granule / WORD_BITS, place + count, heads | group.scan);
                        }
                        return block;
                    }
                    if (heads | scan) & change == 0 {
                        group.scan = scan | change;
                        zero(Area::address(area, granule + had), (count - had) << shift);
                        return block;
                    }
                }
            }
            Self::resize_slowly(heap, block, size, allow_move)
        }
    }

    /// The same for any block, state and size; to resize to 0 is to free, and the answer is then of no use.
    ///
    /// # Safety
    /// As [`KnTraced::realloc`].
    #[inline(never)]
    unsafe fn resize_slowly(heap: *mut KnTraced, block: *mut u8, size: usize, allow_move: bool) -> *mut u8 {
        // SAFETY: the caller's word; an allocation may collect, and the block survives that.
        unsafe {
            if block.is_null() {
                return Self::alloc_in_group(heap, size, 0);
            }
            // A finaliser may free.
            let open = (*heap).gate & GATE_CLOSED == 0 || size == 0 && (*heap).phase == Phase::Finalising;
            if !open {
                return null_mut();
            }
            let (area, start) = Self::known(heap, block);
            if area.is_null() {
                return Self::unknown(heap, block, size);
            }
            let shift = Area::shift(area);
            let end = Area::end(area, start);
            let flags = Area::flags(area, start);
            let want_end = if size == 0 { start } else { start + granules(size, shift, flags) };
            if want_end <= end {
                if want_end < end {
                    if size == 0 && flags & KN_FINALISE != 0 {
                        (*heap).finalisers -= 1;
                    }
                    Area::release(area, want_end, end);
                }
                return block;
            }
            if Area::grow(area, end, want_end) {
                let more = (want_end - end) << shift;
                zero(Area::address(area, end), more);
                (*heap).since = (*heap).since.wrapping_add(more);
                return block;
            }
            if !allow_move {
                return null_mut();
            }
            let lasting = (*heap).gate & GATE_TOP != 0 && start < (*area).floor;
            // What a `collect` that jumped away left there is none any more.
            let nested = Callback::is_under_way(&raw const (*heap).collecting);
            let before = if nested { (*heap).resized } else { null_mut() };
            (*heap).resized = block;
            let moved = Self::alloc_in_group(heap, size, if lasting { flags | KN_LONG_LIVED } else { flags });
            (*heap).resized = before;
            if !moved.is_null() {
                copy(block, moved, (end - start) << shift);
                // The program may have freed it meanwhile: that is told.
                Self::free(heap, block);
            }
            moved
        }
    }

    /// What was freed or resized is no live block.
    ///
    /// # Safety
    /// `heap` is live.
    #[cold]
    #[inline(never)]
    unsafe fn unknown(heap: *mut KnTraced, block: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        let (area, granule) = unsafe { Self::find(heap, block) };
        if size != 0 {
            Self::complain(KnStatus::Foreign, block, c"kn_traced_realloc: no live block starts there");
        } else {
            // SAFETY: `find` gave a granule of the area.
            let free = !area.is_null() && unsafe { Area::is_free(area, granule) };
            let status = if free { KnStatus::DoubleFree } else { KnStatus::Foreign };
            Self::complain(status, block, c"kn_traced_free: no live block starts there");
        }
        null_mut()
    }
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
    #[inline(never)]
    pub(super) unsafe fn release(area: *mut Area, start: Granule, end: Granule) {
        // SAFETY: the caller's word.
        unsafe {
            Area::change(area, start, end, 0);
            Area::lower(area, start / WORD_BITS, (end - 1) / WORD_BITS, CLASSES);
        }
    }

    /// Takes the granules from `end` to `new_end` for the block before them: whether they were free.
    ///
    /// # Safety
    /// `area` is live, a block ends before `end`, `end < new_end`.
    unsafe fn grow(area: *mut Area, end: Granule, new_end: Granule) -> bool {
        // SAFETY: the caller's word. Beyond the area's end nothing is free.
        unsafe {
            if Area::free_end(area, end, new_end) < new_end {
                return false;
            }
            Area::occupy(area, end, new_end, 0);
            true
        }
    }
}
