//! What the process heap consists of: for statistics, dumps, checks, and what is said of a wrong pointer.
//!
//! - Everything is seen under the lock, so no page, region or mapping comes or goes meanwhile. Threads go
//!   on taking and giving blocks of the pages that they have: small blocks are a snapshot, in which each
//!   block is seen once, as it was at some moment.
//! - Nothing is allocated. In a signal handler that interrupted the heap in this very thread there is no
//!   answer, rather than a deadlock or a wrong one.
//!
//! Cost: totals O(pages × words of bits + large blocks), blocks and checks O(blocks).

use super::bits::{self, WORD};
use super::cache;
use super::classes::{size_of_class, CLASSES};
use super::page::{Kind as Unit, Page, NOBODY, UNIT};
use super::process;
use super::space;
use super::state::State;
use super::sync::Ordering;
use crate::heap::{KnBlock, KnHeap, KnHeapStats, KnStatus, KN_BLOCK_USED};

/// Sums over the process heap, in bytes where nothing else is said.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    /// What is mapped for small blocks and for records of any kind.
    pub space: usize,
    /// Pages of small blocks, and units that are free but perhaps resident.
    pub pages: usize,
    pub dirty: usize,
    /// Small blocks that are used, the bytes that they have, and free bytes in their pages.
    pub small_blocks: usize,
    pub small_bytes: usize,
    pub small_free: usize,
    /// The general heap: what its blocks take, and how many are used.
    pub medium_total: usize,
    pub medium_used: usize,
    pub medium_free: usize,
    pub medium_blocks: usize,
    /// Blocks with a mapping of their own.
    pub large_blocks: usize,
    pub large_bytes: usize,
    /// Regions of the general heap.
    pub regions: usize,
    /// Threads that have a cache.
    pub threads: usize,
    /// The most bytes that were ever mapped at a time.
    pub peak: usize,
}

/// One class of small blocks. Blocks are counted.
#[derive(Clone, Copy)]
pub(crate) struct ClassTotals {
    pub size: usize,
    pub pages: usize,
    pub live: usize,
    pub free: usize,
}

/// Where a block comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Small,
    Medium,
    Large,
}

/// A block of the process heap.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub at: *const u8,
    /// Bytes that can be used; of a medium block, what it takes.
    pub bytes: usize,
    pub kind: Kind,
    pub used: bool,
}

/// Free blocks of a page; a block that two threads give back at the moment may count twice.
///
/// # Safety
/// A page; under the lock.
#[inline(never)]
unsafe fn free_in(page: *const Page) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        let count = (*page).count as usize;
        let (own, shared) = ((*page).words.load(Ordering::Relaxed), (*page).shared.load(Ordering::Relaxed));
        (bits::count(own, count) + bits::count(shared, count)).min((*page).capacity as usize)
    }
}

/// Calls `visit` with each page of small blocks until it answers false; true iff it never did.
#[inline(never)]
fn each_page(state: &State, visit: &mut dyn FnMut(*mut Page) -> bool) -> bool {
    (0..state.pages.space.units()).all(|index| {
        // SAFETY: used units have records, which the lock keeps from changing.
        unsafe {
            let page = space::record(index);
            (*page).kind != Unit::Small || visit(page)
        }
    })
}

/// The sums; None: this very thread holds the lock.
pub(crate) fn totals() -> Option<Totals> {
    process::with_state(|state| {
        let mut sum = Totals {
            space: state.pages.space.bytes() + state.pages.records.total(),
            pages: state.pages.count,
            dirty: state.pages.space.dirty(),
            threads: cache::count(state.caches),
            ..Totals::default()
        };
        each_page(state, &mut |page| {
            // SAFETY: a page, under the lock.
            let (free, capacity, size) = unsafe { (free_in(page), (*page).capacity as usize, (*page).size as usize) };
            sum.small_blocks += capacity - free;
            sum.small_bytes += (capacity - free) * size;
            sum.small_free += free * size;
            true
        });
        if !state.heap.is_null() {
            let mut stats = KnHeapStats::default();
            // SAFETY: the process heap, under its lock.
            unsafe { KnHeap::stats(state.heap, &mut stats) };
            (sum.medium_total, sum.medium_used, sum.medium_free) = (stats.total, stats.used, stats.free);
            (sum.medium_blocks, sum.regions) = (stats.blocks, stats.regions);
        }
        state.mappings.each(&mut |large| {
            sum.large_blocks += 1;
            sum.large_bytes += large.span.bytes;
            true
        });
        let now = sum.space + state.regions.bytes() + sum.large_bytes;
        state.peak = state.peak.max(now);
        sum.peak = state.peak;
        sum
    })
    .ok()
}

/// Shows each class that has pages, in order of size; nothing while this very thread holds the lock.
pub(crate) fn each_class(visit: &mut dyn FnMut(ClassTotals)) {
    let mut sums = [const { ClassTotals { size: 0, pages: 0, live: 0, free: 0 } }; CLASSES];
    let _ = process::with_state(|state| {
        each_page(state, &mut |page| {
            // SAFETY: a page, under the lock.
            let (class, size, capacity, free) =
                unsafe { ((*page).class as usize, (*page).size as usize, (*page).capacity as usize, free_in(page)) };
            if let Some(sum) = sums.get_mut(class) {
                sum.size = size;
                sum.pages += 1;
                sum.free += free;
                sum.live += capacity - free;
            }
            true
        })
    });
    // Outside the lock: who looks may allocate.
    sums.into_iter().filter(|sum| sum.pages != 0).for_each(visit);
}

/// Shows each block, used and free, until `visit` answers false: small ones in order of address, then
/// medium, then large. `Ok`; `Corrupt` when a record contradicts another; `Unsupported` while this very
/// thread holds the lock. `visit` must not allocate.
pub(crate) fn each_block(visit: &mut dyn FnMut(Block) -> bool) -> KnStatus {
    let work = |state: &mut State| {
        let all = each_page(state, &mut |page| {
            // SAFETY: a page and its blocks, under the lock.
            unsafe {
                let (count, bytes) = ((*page).capacity as usize, (*page).size as usize);
                (0..count).all(|n| {
                    let used = !Page::is_free(page, n);
                    visit(Block { at: Page::block(page, n), bytes, kind: Kind::Small, used })
                })
            }
        });
        if !all {
            return KnStatus::Ok;
        }
        let mut more = true;
        if !state.heap.is_null() {
            let mut medium = |block: &KnBlock| {
                let used = block.state == KN_BLOCK_USED;
                more = visit(Block { at: block.start.cast(), bytes: block.size, kind: Kind::Medium, used });
                more
            };
            // SAFETY: the process heap, under its lock.
            let status = unsafe { KnHeap::walk(state.heap, &mut medium) };
            if status != KnStatus::Ok || !more {
                return status;
            }
        }
        state.mappings.each(&mut |large| {
            visit(Block { at: large.span.start, bytes: large.span.usable(), kind: Kind::Large, used: true })
        });
        KnStatus::Ok
    };
    process::with_state(work).unwrap_or(KnStatus::Unsupported)
}

/// The block, used or free, in which `at` lies; None: in none, or this very thread holds the lock.
pub(crate) fn block_around(at: *const u8) -> Option<Block> {
    let work = |state: &mut State| {
        if let Some(page) = space::unit_of(at) {
            // SAFETY: the record of a mapped unit, which the lock keeps from changing.
            unsafe {
                if (*page).kind == Unit::Small {
                    let n = (at.addr() % UNIT).checked_div((*page).size as usize)?;
                    let block = Page::block(page, n);
                    let (bytes, used) =
                        ((*page).size as usize, n < (*page).capacity as usize && !Page::is_free(page, n));
                    return Some(Block { at: block, bytes, kind: Kind::Small, used });
                }
            }
        }
        let mut found = None;
        let inside = |start: *const u8, bytes: usize| at.addr().wrapping_sub(start.addr()) < bytes;
        if !state.heap.is_null() {
            let mut medium = |block: &KnBlock| {
                let (start, used) = (block.start.cast::<u8>(), block.state == KN_BLOCK_USED);
                if inside(start, block.size) {
                    found = Some(Block { at: start, bytes: block.size, kind: Kind::Medium, used });
                }
                found.is_none()
            };
            // SAFETY: the process heap, under its lock.
            unsafe { KnHeap::walk(state.heap, &mut medium) };
        }
        state.mappings.each(&mut |large| {
            let (start, bytes) = (large.span.start, large.span.usable());
            if inside(start, bytes) {
                found = Some(Block { at: start, bytes, kind: Kind::Large, used: true });
            }
            found.is_none()
        });
        found
    };
    process::with_state(work).ok().flatten()
}

/// Verifies what does not change while other threads go on: records against lists, bits against
/// capacities, the general heap's blocks, the table. `Unsupported` while this very thread holds the lock.
pub(crate) fn check() -> KnStatus {
    let work = |state: &mut State| {
        let (mut pages, mut free) = (0, 0);
        for index in 0..state.pages.space.units() {
            // SAFETY: used units have records, under the lock.
            unsafe {
                let page = space::record(index);
                match (*page).kind {
                    Unit::Small => pages += 1,
                    Unit::Clean | Unit::Dirty => free += 1,
                    _ => {}
                }
                if (*page).kind == Unit::Small && !is_sound(page) {
                    return KnStatus::Corrupt;
                }
            }
        }
        if pages != state.pages.count || free != state.pages.space.free() || !state.pages.lists_are_sound() {
            return KnStatus::Corrupt;
        }
        let mut sound = true;
        state.mappings.each(&mut |large| {
            sound = !large.span.base.is_null() && large.span.base <= large.span.start && large.span.usable() != 0;
            sound
        });
        if !sound {
            return KnStatus::Corrupt;
        }
        match state.heap.is_null() {
            true => KnStatus::Ok,
            // SAFETY: the process heap, under its lock.
            false => unsafe { KnHeap::check(state.heap) },
        }
    };
    process::with_state(work).unwrap_or(KnStatus::Unsupported)
}

/// Whether a page's record says what its class means, and no bit stands for a block that it does not have.
///
/// # Safety
/// A page; under the lock.
unsafe fn is_sound(page: *const Page) -> bool {
    // SAFETY: the caller's word: a page has so many words, at least one.
    unsafe {
        let (size, count) = (size_of_class((*page).class as usize), (*page).count as usize);
        let capacity = UNIT / size;
        let all = usize::MAX >> (capacity.wrapping_neg() % WORD);
        if (*page).size as usize != size || (*page).capacity as usize != capacity || (*page).last != all {
            return false;
        }
        if count != capacity.div_ceil(WORD) {
            return false;
        }
        let owner = (*page).owner.load(Ordering::Relaxed);
        let last = (*(*page).words.load(Ordering::Relaxed).add(count - 1)).load(Ordering::Relaxed)
            | (*(*page).shared.load(Ordering::Relaxed).add(count - 1)).load(Ordering::Relaxed);
        last & !all == 0 && owner != 0 && (!(*page).listed || owner == NOBODY)
    }
}
