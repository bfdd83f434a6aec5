//! The regions under the process heap: when it grows, which block lies where, when pages go back.
//!
//! - The first region is 1 MB. Each later one is as large as all before together, up to 1 GB
//!   (32 MB on 32-bit targets), so the number of regions stays small; when the system refuses that
//!   much, half is tried, down to what the request needs.
//! - Address space is mapped, memory is not used: a page is resident from its first touch on.
//! - A region, except the first, whose last block has gone, gives its pages back at once if at least
//!   256 KB were handed out of it since it last did; below that the system calls cost more than the
//!   memory is worth.
//! - Of what was freed elsewhere at most 4 MB + 1/32 of what was in use last time stays resident: then the
//!   inside of every free block of 64 KB and more goes back.
//! - When the system refuses a mapping, a region is made of free units of the space; as soon as it is
//!   empty they are free again.

use core::ptr::null_mut;

use super::page::UNIT;
use super::space::{self, Space};
use crate::heap::{KnBlock, KnHeap, KnHeapConfig, KnHeapStats, KnLayout, KnStatus, KN_BLOCK_FREE};
use crate::port::{self, Span};

/// Regions at most: with 1 GB each, 118 GB.
const MOST: usize = 128;
/// In a build without the wide layout no region can be larger than 511 KB, which the others can link, and
/// the heap below the large blocks no larger than 63 MB.
const WIDE: bool = cfg!(feature = "layout-wide");
/// The first region.
const FIRST_BYTES: usize = if WIDE { 1 << 20 } else { 508 << 10 };
/// No region is larger, unless one request needs it.
const LARGEST_BYTES: usize = match (WIDE, cfg!(target_pointer_width = "64")) {
    (true, true) => 1 << 30,
    (true, false) => 32 << 20,
    (false, _) => FIRST_BYTES,
};
/// An empty region's pages go back when this much was handed out since they last did.
const WORTH_RETURNING: usize = 256 << 10;
/// What may be free and resident, beside a share of what is in use.
const KEPT: usize = 4 << 20;
/// That share.
const KEPT_SHARE: usize = 32;
/// The inside of a free block goes back from this size on.
const LEAST_HOLE: usize = 64 << 10;
/// A region's own records are smaller: control block, bins, and the map, 1/64 of at most 511 KB.
const OVERHEAD: usize = 16 << 10;

/// One mapping that the heap manages.
#[derive(Clone, Copy)]
struct Region {
    base: *mut u8,
    bytes: usize,
    /// Blocks that are in use.
    live: usize,
    /// Bytes asked for since the pages last went back, saturating.
    handed_out: usize,
}

/// All regions, in the order they were mapped. All zero: none.
pub(super) struct Regions {
    list: [Region; MOST],
    count: usize,
    /// The sum of their sizes.
    total: usize,
    /// Bytes freed since the free blocks last gave back, and how many may be beside [`KEPT`].
    freed: usize,
    share: usize,
}

/// A region that was taken out of the heap.
pub(super) struct Emptied {
    pub span: Span,
}

impl Regions {
    pub(super) const fn new() -> Regions {
        let none = Region { base: null_mut(), bytes: 0, live: 0, handed_out: 0 };
        Regions { list: [none; MOST], count: 0, total: 0, freed: 0, share: 0 }
    }

    /// Makes the heap in a first region, of free units where the system refuses a mapping; null without
    /// memory.
    pub(super) fn create(&mut self, space: &mut Space) -> *mut KnHeap {
        let mut bytes = FIRST_BYTES;
        while bytes >= OVERHEAD * 2 {
            if let Some(span) = port::map(bytes, 1) {
                // SAFETY: fresh memory that belongs to the heap from now on.
                let heap = unsafe { KnHeap::create(span.base, span.bytes, &config()) };
                if heap.is_null() {
                    // SAFETY: mapped above; the heap did not take it.
                    unsafe { port::unmap(span) };
                } else {
                    self.note(span.base, span.bytes);
                }
                return heap;
            }
            bytes /= 2;
        }
        let Some(first) = space.take_run(1) else { return null_mut() };
        // SAFETY: the unit is mapped, and the heap's from now on.
        unsafe {
            let base = space::memory(first);
            let heap = KnHeap::create(base, UNIT, &config());
            if heap.is_null() {
                space.give(first, 1);
            } else {
                self.note(base, UNIT);
            }
            heap
        }
    }

    /// Adds a region in which a block of `bytes` at a multiple of `align` fits; false: no memory.
    pub(super) fn grow(&mut self, heap: *mut KnHeap, space: &mut Space, bytes: usize, align: usize) -> bool {
        if self.count == MOST {
            return false;
        }
        // A good-fit bin is an eighth of a power of two wide, and the heap looks in a bin whose every
        // block fits: an eighth more makes sure that it finds the new block.
        let Some(needed) = bytes
            .checked_add(bytes / 8)
            .and_then(|sum| sum.checked_add(align))
            .and_then(|sum| sum.checked_add(OVERHEAD))
        else {
            return false;
        };
        let mut size = self.total.clamp(FIRST_BYTES, LARGEST_BYTES).max(needed);
        loop {
            if let Some(span) = port::map(size, 1) {
                // SAFETY: fresh memory that belongs to the heap from now on; the caller's lock is held.
                let status = unsafe { KnHeap::add_region(heap, span.base, span.bytes, &config()) };
                if status == KnStatus::Ok {
                    self.note(span.base, span.bytes);
                    return true;
                }
                // SAFETY: mapped above; the heap did not take it.
                unsafe { port::unmap(span) };
                return false;
            }
            if size == needed {
                return self.grow_in_space(heap, space, needed);
            }
            size = (size / 2).max(needed);
        }
    }

    /// Adds a region made of free units.
    #[cold]
    fn grow_in_space(&mut self, heap: *mut KnHeap, space: &mut Space, needed: usize) -> bool {
        // More than is needed now, for a region that serves a while.
        let needed = needed.div_ceil(UNIT);
        let more = needed.saturating_mul(2).max(16);
        let found = space.take_run(more).map(|first| (first, more));
        let Some((first, units)) = found.or_else(|| Some((space.take_run(needed)?, needed))) else { return false };
        // SAFETY: the run is mapped, and the heap's from now on; the caller's lock is held.
        unsafe {
            let base = space::memory(first);
            if KnHeap::add_region(heap, base, units * UNIT, &config()) == KnStatus::Ok {
                self.note(base, units * UNIT);
                return true;
            }
            space.give(first, units);
        }
        false
    }

    fn note(&mut self, base: *mut u8, bytes: usize) {
        if let Some(slot) = self.list.get_mut(self.count) {
            *slot = Region { base, bytes, live: 0, handed_out: 0 };
            self.count += 1;
            self.total += bytes;
        }
    }

    /// The number of the region in which `at` lies.
    #[inline(never)]
    pub(super) fn index_of(&self, at: *const u8) -> Option<usize> {
        self.list.iter().take(self.count).position(|region| region.contains(at))
    }

    /// Counts the block `at`, of `bytes` asked, as used.
    #[inline(always)]
    pub(super) fn took(&mut self, at: *const u8, bytes: usize) {
        if let Some(region) = self.index_of(at).and_then(|index| self.list.get_mut(index)) {
            region.live += 1;
            region.handed_out = region.handed_out.saturating_add(bytes);
        }
    }

    /// Counts a block of region `index` as freed. Memory that is not needed goes back; a region to be let
    /// go is the answer.
    #[inline(always)]
    pub(super) fn gave_back(&mut self, heap: *mut KnHeap, index: usize, bytes: usize) -> Option<Emptied> {
        self.freed = self.freed.saturating_add(bytes);
        let region = self.list.get_mut(index)?;
        region.live = region.live.saturating_sub(1);
        if region.live == 0 && index != 0 {
            return self.emptied(heap, index);
        }
        if self.freed > KEPT + self.share {
            self.discard_holes(heap, 0);
        }
        None
    }

    #[cold]
    fn emptied(&mut self, heap: *mut KnHeap, index: usize) -> Option<Emptied> {
        let region = self.list.get_mut(index)?;
        if space::unit_of(region.base).is_some() {
            return self.remove(heap, index);
        }
        if region.handed_out >= WORTH_RETURNING {
            region.discard();
        }
        None
    }

    /// Takes an empty region out of the heap, if there is one besides the first.
    #[cold]
    pub(super) fn take_empty(&mut self, heap: *mut KnHeap) -> Option<Emptied> {
        let index = (1..self.count).find(|&index| self.list.get(index).is_some_and(|region| region.live == 0))?;
        self.remove(heap, index)
    }

    fn remove(&mut self, heap: *mut KnHeap, index: usize) -> Option<Emptied> {
        let last = *self.list.get(self.count - 1)?;
        let slot = self.list.get_mut(index)?;
        let Region { base, bytes, .. } = *slot;
        // SAFETY: the process heap, under its lock; the region is not its first and has no block.
        if !unsafe { KnHeap::remove_region(heap, base) } {
            return None;
        }
        *slot = last;
        self.count -= 1;
        self.total -= bytes;
        Some(Emptied { span: Span { base, bytes, start: base } })
    }

    /// Gives back the whole pages inside free blocks, unless at most `keep` bytes were freed since that was
    /// last done; true iff there were any.
    #[cold]
    pub(super) fn discard_holes(&mut self, heap: *mut KnHeap, keep: usize) -> bool {
        // Full checks fill free memory with a pattern and look for it again.
        if cfg!(feature = "checks-full") || self.freed <= keep {
            return false;
        }
        let _errno = port::Errno::keep();
        let page = port::page_bytes();
        let mut any = false;
        let mut visit = |block: &KnBlock| {
            if block.state == KN_BLOCK_FREE && block.size >= LEAST_HOLE {
                // Links and sizes of a free block are at its ends.
                let start = block.start.cast::<u8>().cast_mut();
                let from = ((start.addr() + 64 + page - 1) & !(page - 1)) - start.addr();
                let to = ((start.addr() + block.size - 64) & !(page - 1)) - start.addr();
                if to > from {
                    // SAFETY: whole pages inside a free block, whose contents nobody needs.
                    unsafe { port::discard(start.add(from), to - from) };
                    any = true;
                }
            }
            true
        };
        let mut stats = KnHeapStats::default();
        // SAFETY: the process heap, under its lock.
        unsafe {
            KnHeap::walk(heap, &mut visit);
            KnHeap::stats(heap, &mut stats);
        }
        self.freed = 0;
        self.share = stats.used / KEPT_SHARE;
        any
    }

    /// The bytes of all regions.
    pub(super) fn bytes(&self) -> usize {
        self.total
    }
}

impl Region {
    #[inline(always)]
    fn contains(&self, at: *const u8) -> bool {
        at.addr().wrapping_sub(self.base.addr()) < self.bytes
    }

    /// Gives back all pages but those at both ends: an empty region is one free block, whose header and
    /// links follow the records at the beginning; its size, or the region's end mark, is in the last page.
    #[cold]
    fn discard(&mut self) {
        self.handed_out = 0;
        let _errno = port::Errno::keep();
        let page = port::page_bytes();
        let records = (OVERHEAD + page - 1) & !(page - 1);
        // Full checks fill free memory with a pattern and look for it again.
        if cfg!(feature = "checks-full") || self.bytes <= records + page {
            return;
        }
        // SAFETY: inside the region's mapping; the free block's inside is nobody's.
        unsafe { port::discard(self.base.add(records), self.bytes - records - page) };
    }
}

fn config() -> KnHeapConfig {
    KnHeapConfig { layout: if WIDE { KnLayout::Wide } else { KnLayout::Auto }, flags: 0 }
}
