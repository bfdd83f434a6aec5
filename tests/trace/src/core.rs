//! Knoll's traced heap, in memory between guards.
//!
//! Whatever the error hook is told in this thread makes the next operation fail: nothing that a world does is an error.

use crate::heap::{Heap, Hooks, Numbers, Run};
use crate::setup::{Ground, Setup};
use knoll::heap::{KnBlock, KnStatus, KN_BLOCK_USED};
use knoll::traced::{KnTraced, KnTracedConfig, KnTracedStats};
use knoll_shadow::arena::Arena;
use std::cell::RefCell;
use std::ffi::{c_char, c_void, CStr};
use std::ptr::without_provenance;
use std::sync::Once;

thread_local! {
    /// What the error hook was told first in this thread.
    static REPORT: RefCell<Option<String>> = const { RefCell::new(None) };
}

unsafe extern "C" fn note(status: KnStatus, at: *const c_void, what: *const c_char) {
    // SAFETY: the hook's texts live for ever.
    let what = unsafe { CStr::from_ptr(what) };
    REPORT.with_borrow_mut(|report| {
        report.get_or_insert_with(|| format!("{status:?} at {at:?}, {what:?}"));
    });
}

/// A heap and its memory.
pub struct Core {
    heap: *mut KnTraced,
    /// Each piece, and its granule.
    arenas: RefCell<Vec<(Arena, usize)>>,
    granule: usize,
}

// SAFETY, in all of it: the heap lives as long as its arenas; the pointers are by the trait's contract.
impl Heap for Core {
    fn create(setup: &Setup, hooks: &Hooks) -> Option<Core> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| knoll::capi::errors::kn_on_error(Some(note)));
        REPORT.take();
        let (first, others) = setup.grounds.split_first()?;
        // The first area's granule is the heap's, unless the heap has one.
        let granule = if setup.granule == 0 { first.granule } else { setup.granule };
        let config = KnTracedConfig {
            granule,
            flags: setup.flags,
            slice: setup.slice,
            reserved: 0,
            threshold: setup.threshold,
            collect: Some(hooks.collect),
            finalise: Some(hooks.finalise),
            trace: hooks.trace,
            on_short: Some(hooks.on_short),
            context: hooks.context,
        };
        let arena = Arena::new(first.bytes, first.offset);
        // SAFETY: the arena lives as long as the heap.
        let heap = unsafe { KnTraced::create(arena.start(), arena.bytes(), &config) };
        if heap.is_null() {
            return None;
        }
        let granule = if granule == 0 { 16 } else { granule as usize };
        let core = Core { heap, arenas: RefCell::new(vec![(arena, granule)]), granule };
        others.iter().all(|ground| core.add_area(ground)).then_some(core)
    }

    fn add_area(&self, ground: &Ground) -> bool {
        let arena = Arena::new(ground.bytes, ground.offset);
        // SAFETY: the heap is live, the arena lives as long.
        let status = unsafe { KnTraced::add_area(self.heap, arena.start(), arena.bytes(), ground.granule) };
        let granule = if ground.granule == 0 { self.granule } else { ground.granule as usize };
        if status == KnStatus::Ok {
            self.arenas.borrow_mut().push((arena, granule));
        }
        status == KnStatus::Ok
    }

    fn alloc(&self, size: usize, flags: u32) -> *mut u8 {
        // SAFETY: the heap is live; so below.
        unsafe { KnTraced::alloc(self.heap, size, flags) }
    }

    unsafe fn free(&self, block: *mut u8) {
        // SAFETY: the caller's block.
        unsafe { KnTraced::free(self.heap, block) };
    }

    unsafe fn realloc(&self, block: *mut u8, size: usize, moves: bool) -> *mut u8 {
        // SAFETY: the caller's block.
        unsafe { KnTraced::realloc(self.heap, block, size, moves) }
    }

    fn size(&self, at: usize) -> usize {
        // SAFETY: as above.
        unsafe { KnTraced::size(self.heap, without_provenance(at)) }
    }

    fn flags(&self, at: usize) -> u32 {
        // SAFETY: as above.
        unsafe { KnTraced::flags(self.heap, without_provenance(at)) }
    }

    fn no_scan(&self, at: usize) -> bool {
        // SAFETY: as above.
        unsafe { KnTraced::no_scan(self.heap, without_provenance(at)) }
    }

    fn start(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::collect_start(self.heap) };
    }

    fn mark(&self, words: &[usize]) {
        // SAFETY: as above; words are what pointers are, to look at.
        unsafe { KnTraced::mark(self.heap, words.as_ptr().cast(), words.len()) };
    }

    fn is_marked(&self, at: usize) -> bool {
        // SAFETY: as above.
        unsafe { KnTraced::is_marked(self.heap, without_provenance(at)) }
    }

    fn end(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::collect_end(self.heap) };
    }

    fn step(&self, granules: usize) -> bool {
        // SAFETY: as above.
        unsafe { KnTraced::step(self.heap, granules) }
    }

    fn lock(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::lock(self.heap) };
    }

    fn unlock(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::unlock(self.heap) };
    }

    fn is_locked(&self) -> bool {
        // SAFETY: as above.
        unsafe { KnTraced::is_locked(self.heap) }
    }

    fn scope_begin(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::scope_begin(self.heap) };
    }

    fn scope_end(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::scope_end(self.heap) };
    }

    fn lasting_begin(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::lasting_begin(self.heap) };
    }

    fn lasting_end(&self) {
        // SAFETY: as above.
        unsafe { KnTraced::lasting_end(self.heap) };
    }

    fn is_transient(&self, at: usize) -> bool {
        // SAFETY: as above.
        unsafe { KnTraced::is_transient(self.heap, without_provenance(at)) }
    }

    fn set_threshold(&self, bytes: usize) {
        // SAFETY: as above.
        unsafe { KnTraced::set_threshold(self.heap, bytes) };
    }

    fn numbers(&self) -> Result<Numbers, String> {
        let mut stats = KnTracedStats::default();
        // SAFETY: as above.
        let status = unsafe { KnTraced::stats(self.heap, &mut stats) };
        if status != KnStatus::Ok {
            return Err(format!("stats: {status:?}"));
        }
        let KnTracedStats { total, used, free, largest_free, largest_block, blocks, .. } = stats;
        let KnTracedStats { one_granule, two_granules, finalisers, .. } = stats;
        let KnTracedStats { unswept, since_collection: since, collections, areas, scopes, .. } = stats;
        Ok(Numbers {
            total,
            used,
            free,
            largest_free,
            blocks,
            one_granule,
            two_granules,
            finalisers,
            largest_block,
            unswept,
            since,
            collections,
            areas,
            scopes,
        })
    }

    fn check(&self) -> Result<(), String> {
        // SAFETY: as above.
        let status = unsafe { KnTraced::check(self.heap) };
        if status != KnStatus::Ok {
            return Err(format!("check: {status:?}, {:?}", self.complaint()));
        }
        self.arenas.borrow().iter().try_for_each(|(arena, _)| arena.check_guards())
    }

    fn walk(&self) -> Result<Vec<Run>, String> {
        let mut runs = Vec::new();
        let mut visit = |block: &KnBlock| {
            runs.push(Run { at: block.start.addr(), size: block.size, used: block.state == KN_BLOCK_USED });
            true
        };
        // SAFETY: as above.
        let status = unsafe { KnTraced::walk(self.heap, &mut visit) };
        if status == KnStatus::Ok {
            Ok(runs)
        } else {
            Err(format!("walk: {status:?}"))
        }
    }

    fn holders(&self, at: usize) -> (usize, Vec<(usize, usize)>) {
        let mut found = Vec::new();
        let mut visit = |holder: *const c_void, slot: *const c_void| {
            found.push((holder.addr(), slot.addr()));
            true
        };
        // SAFETY: as above.
        let count = unsafe { KnTraced::holders(self.heap, without_provenance(at), &mut visit) };
        (count, found)
    }

    fn memories(&self) -> Vec<(usize, usize, usize)> {
        self.arenas.borrow().iter().map(|(arena, granule)| (arena.start().addr(), arena.bytes(), *granule)).collect()
    }

    fn complaint(&self) -> Option<String> {
        REPORT.take()
    }
}
