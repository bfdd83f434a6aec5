//! The process heap's state, and what is done to it under the lock: medium blocks, the table of large ones,
//! and where memory that one of them does without goes.
//!
//! - Nothing here takes the lock or asks whose turn it is: `process` does.
//! - A medium block comes from the general heap, which grows by regions; a large one that the system refuses
//!   from a run of units of the space.
//! - A region or a run that nobody uses goes back to where it came from: the system, or the space.
//!
//! Cost: the general heap's, a search of at most 128 regions, and a few instructions.

use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use super::aside::{self, What};
use super::cache::Cache;
use super::hardened::{guard, HARDENED};
use super::mappings::{Large, Mappings};
use super::page::UNIT;
use super::pages::Pages;
use super::process::{BLOCK_ALIGN, HEAP, LARGE};
use super::regions::{Emptied, Regions};
use super::space;
use crate::heap::{KnHeap, KnStatus};
use crate::port::{self, Errno};

/// A large block that shrinks below this moves into the heap; the gap to `LARGE` avoids ping-pong.
const NO_LONGER_LARGE: usize = LARGE / 2;

/// What the lock guards.
pub(super) struct State {
    /// Null until the first allocation.
    pub heap: *mut KnHeap,
    pub regions: Regions,
    pub mappings: Mappings,
    pub pages: Pages,
    /// All threads' caches.
    pub caches: *mut Cache,
    /// The most bytes that were seen mapped at a time.
    pub peak: usize,
}

/// What [`State::realloc`] found.
pub(super) enum Resized {
    /// The answer: the block, in place or moved, or null.
    Done(*mut u8),
    /// It needs another block, at a multiple of `align`; its first `size` bytes are valid.
    Move { size: usize, align: usize },
}

impl State {
    pub(super) fn heap(&mut self) -> *mut KnHeap {
        if self.heap.is_null() {
            self.heap = self.regions.create(&mut self.pages.space);
            HEAP.store(self.heap, Ordering::Release);
        }
        self.heap
    }

    /// Does what was left aside. A block that finds no room in its table is left aside again.
    #[cold]
    pub(super) fn settle(&mut self) {
        let _errno = Errno::keep();
        aside::settle_all(|what| match what {
            What::Made(large) => {
                if !self.enter(large) {
                    aside::leave(what);
                }
            }
            What::Freed(at) => {
                // SAFETY: whoever left the note promised what `free` demands.
                if let Some(large) = unsafe { self.free(at) } {
                    let units = space::unit_of(large.span.base);
                    // SAFETY: the table gave it up.
                    unsafe {
                        match units {
                            None if HARDENED => guard::unmap(large.span),
                            None => port::unmap(large.span),
                            Some(page) => self.pages.space.give(space::index_of(page), large.span.bytes / UNIT),
                        }
                    }
                }
            }
        });
    }

    /// Enters a large block into the table; false without memory.
    #[inline(never)]
    pub(super) fn enter(&mut self, large: Large) -> bool {
        let room = self.mappings.reserve();
        if room {
            self.mappings.insert(large);
        }
        room
    }

    #[inline(always)]
    pub(super) fn medium(&mut self, align: usize, bytes: usize) -> *mut u8 {
        // Two requests of 0 bytes get different addresses.
        let bytes = bytes.max(1);
        let mut at = self.try_medium(align, bytes);
        if at.is_null() {
            let _errno = Errno::keep();
            let heap = self.heap();
            if heap.is_null() {
                return null_mut();
            }
            at = self.try_medium(align, bytes); // the heap may be new
            if at.is_null() && self.regions.grow(heap, &mut self.pages.space, bytes, align) {
                at = self.try_medium(align, bytes);
            }
        }
        if !at.is_null() {
            self.regions.took(at, bytes);
        }
        at
    }

    #[inline(always)]
    fn try_medium(&mut self, align: usize, bytes: usize) -> *mut u8 {
        if self.heap.is_null() {
            null_mut()
        } else if align <= BLOCK_ALIGN {
            // SAFETY: the process heap, under its lock.
            unsafe { KnHeap::malloc(self.heap, bytes) }
        } else {
            // SAFETY: as above.
            unsafe { KnHeap::aligned_alloc(self.heap, align, bytes) }
        }
    }

    /// Frees a block of the heap; a large block is taken out of the table and left to be unmapped.
    #[inline(always)]
    pub(super) unsafe fn free(&mut self, at: *mut u8) -> Option<Large> {
        if let Some(region) = self.regions.index_of(at) {
            // SAFETY: the process heap, under its lock; the caller's promise. It reports errors.
            unsafe {
                let bytes = KnHeap::usable_size(self.heap, at);
                if HARDENED {
                    at.write_bytes(0, bytes); // none if it is no used block
                }
                if KnHeap::free(self.heap, at) == KnStatus::Ok {
                    self.gave_back(region, bytes);
                }
            }
            return None;
        }
        self.remove_large(at)
    }

    /// Notes that a block of so many bytes was freed in region number `region`.
    #[inline(always)]
    fn gave_back(&mut self, region: usize, bytes: usize) {
        if let Some(emptied) = self.regions.gave_back(self.heap, region, bytes) {
            self.let_go(emptied);
        }
    }

    /// Gives the memory of a region that is no longer the heap's back to where it came from.
    #[cold]
    fn let_go(&mut self, emptied: Emptied) {
        let Emptied { span } = emptied;
        // SAFETY: nobody uses the region any more.
        unsafe {
            match space::unit_of(span.base) {
                None => port::unmap(span),
                Some(page) => self.pages.space.give(space::index_of(page), span.bytes / UNIT),
            }
        }
    }

    /// Gives back to the system all that can be; true iff that was anything.
    #[cold]
    pub(super) fn give_back(&mut self) -> bool {
        let mut any = false;
        while let Some(emptied) = self.regions.take_empty(self.heap) {
            self.let_go(emptied);
            any = true;
        }
        any
    }

    /// A large block in units of the space; null without a run that is long enough.
    #[cold]
    pub(super) fn run(&mut self, align: usize, bytes: usize) -> *mut u8 {
        let Some(units) = bytes.max(1).checked_next_multiple_of(UNIT).map(|sum| sum / UNIT) else { return null_mut() };
        if align > UNIT || !self.mappings.reserve() {
            return null_mut();
        }
        let Some(first) = self.pages.space.take_run(units) else { return null_mut() };
        // SAFETY: the run is mapped, and the block's from now on.
        let base = unsafe { space::memory(first) };
        self.mappings.insert(Large { span: port::Span { base, bytes: units * UNIT, start: base }, align });
        base
    }

    /// Takes a large block out of the table.
    #[inline(never)]
    fn remove_large(&mut self, at: *mut u8) -> Option<Large> {
        let found = self.mappings.remove(at.addr());
        if found.is_none() {
            if aside::any() {
                // It may be a block that found no room in the table.
                aside::free(at);
            } else {
                port::report(KnStatus::Foreign, at, c"free");
            }
        }
        found
    }

    #[inline(never)]
    pub(super) unsafe fn usable_size(&self, at: *const u8) -> usize {
        if self.regions.index_of(at).is_some() {
            // SAFETY: the process heap, under its lock.
            return unsafe { KnHeap::usable_size(self.heap, at) };
        }
        self.mappings.find(at.addr()).map_or(0, |large| large.span.usable())
    }

    pub(super) unsafe fn realloc(&mut self, at: *mut u8, bytes: usize) -> Resized {
        let Some(region) = self.regions.index_of(at) else {
            // SAFETY: the caller's promise.
            return unsafe { self.realloc_large(at, bytes) };
        };
        // SAFETY: the process heap, under its lock.
        let size = unsafe { KnHeap::usable_size(self.heap, at) };
        if size == 0 {
            // SAFETY: as above; the heap says what is wrong with the pointer and changes nothing.
            return Resized::Done(unsafe { KnHeap::realloc(self.heap, at, bytes) });
        }
        // What it was asked to be a multiple of is not known, what it is a multiple of is.
        let align = 1 << at.addr().trailing_zeros();
        if bytes >= LARGE && bytes > size {
            return Resized::Move { size, align };
        }
        // SAFETY: as above; a live block.
        let to = unsafe { KnHeap::realloc(self.heap, at, bytes.max(1)) };
        if to.is_null() {
            return Resized::Move { size, align };
        }
        if to != at {
            self.regions.took(to, bytes);
            self.gave_back(region, size);
        }
        Resized::Done(to)
    }

    #[inline(never)]
    unsafe fn realloc_large(&mut self, at: *mut u8, bytes: usize) -> Resized {
        let Some(large) = self.mappings.find(at.addr()) else {
            port::report(KnStatus::Foreign, at, c"realloc");
            return Resized::Done(null_mut());
        };
        let Large { span, align } = large;
        let elsewhere = Resized::Move { size: span.usable(), align };
        if bytes < NO_LONGER_LARGE {
            return elsewhere;
        }
        if space::unit_of(span.base).is_some() {
            let fits = bytes <= span.bytes && bytes > span.bytes / 2;
            return if fits { Resized::Done(at) } else { elsewhere };
        }
        // The system moves to any page.
        let may_move = align <= port::page_bytes();
        // SAFETY: the table has the span, so it is mapped.
        let moved = unsafe {
            if HARDENED {
                guard::remap(span, bytes, may_move)
            } else {
                port::remap(span, bytes, may_move)
            }
        };
        let Some(moved) = moved else { return elsewhere };
        // One out, one in: the table's load stays.
        self.mappings.remove(at.addr());
        self.mappings.insert(Large { span: moved, align });
        Resized::Done(moved.start)
    }
}
