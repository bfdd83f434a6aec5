//! Knoll's counted part as a collector: a heap in an arena of its own, and the state over it.
//!
//! Whatever the error hook is told in this thread makes the next check fail: nothing that a world does
//! is an error.

use crate::collector::{Collector, KnGcConfig, KnTracer, KnType, Numbers};
use crate::plan::Setup;
use knoll::counted::{self, Counted};
use knoll::heap::{KnHeap, KnStatus};
use knoll_shadow::arena::Arena;
use knoll_shadow::numbers::{config, stats_of};
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void, CStr};
use std::sync::Once;

thread_local! {
    /// What the error hook was told first in this thread.
    static REPORT: RefCell<Option<String>> = const { RefCell::new(None) };
}

unsafe extern "C" fn note(status: KnStatus, at: *const c_void, what: *const c_char) {
    // SAFETY: the hook's texts live for ever.
    let what = unsafe { CStr::from_ptr(what) };
    REPORT.with_borrow_mut(|report| {
        report.get_or_insert_with(|| format!("the error hook was told {status:?} at {at:?}, {what:?}"));
    });
}

/// What the error hook was told in this thread since the last call.
pub fn report() -> Option<String> {
    REPORT.take()
}

/// A heap with counted cells.
pub struct Core {
    heap: *mut KnHeap,
    state: *mut Counted,
    /// Bytes in use before there was a state.
    baseline: usize,
    /// What fills the heap.
    ballast: RefCell<Vec<*mut u8>>,
    retired: Cell<bool>,
    arena: Arena,
}

impl Core {
    /// The heap below.
    pub fn heap(&self) -> *mut KnHeap {
        self.heap
    }

    /// The state.
    pub fn state(&self) -> *mut Counted {
        self.state
    }
}

// SAFETY, in all of it: heap and state live as long as the arena; the pointers are by the trait's contract.
impl Collector for Core {
    fn create(setup: &Setup) -> Option<Core> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| knoll::capi::errors::kn_on_error(Some(note)));
        report();
        let arena = Arena::new(setup.bytes, 0);
        // SAFETY: the arena outlives the heap.
        let heap = unsafe { KnHeap::create(arena.start(), setup.bytes, &config(setup.layout)) };
        if heap.is_null() {
            return None;
        }
        // SAFETY: the heap is new and live.
        let (baseline, state) = unsafe { (stats_of(heap).ok()?.used, Counted::of(heap)) };
        let retired = Cell::new(false);
        (!state.is_null()).then(|| Core { heap, state, baseline, ballast: RefCell::default(), retired, arena })
    }

    unsafe fn register(&self, descriptor: *const KnType) -> u32 {
        // SAFETY: the caller's; the state is live.
        unsafe { Counted::register(self.state, descriptor) }
    }

    unsafe fn new_cell(&self, kind: u32) -> *mut u8 {
        // SAFETY: the state is live.
        unsafe { Counted::new_cell(self.state, kind) }
    }

    unsafe fn new_sized(&self, kind: u32, bytes: usize) -> *mut u8 {
        // SAFETY: the state is live.
        unsafe { Counted::new_sized(self.state, kind, bytes) }
    }

    unsafe fn add_ref(&self, cell: *mut u8) {
        // SAFETY: the caller's.
        unsafe { counted::add_ref(cell) };
    }

    unsafe fn release(&self, cell: *mut u8) {
        // SAFETY: the caller's.
        unsafe { counted::release(cell) };
    }

    unsafe fn assign(&self, slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: the caller's.
        unsafe { counted::assign(slot, cell) };
    }

    unsafe fn take(&self, slot: *mut *mut u8) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { counted::take(slot) }
    }

    unsafe fn drop_reuse(&self, cell: *mut u8) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { counted::drop_reuse(cell) }
    }

    unsafe fn count(&self, cell: *mut u8) -> u32 {
        // SAFETY: the caller's.
        unsafe { counted::count(cell) }
    }

    unsafe fn size(&self, cell: *mut u8) -> usize {
        // SAFETY: the caller's.
        unsafe { counted::size_of_cell(cell) }
    }

    unsafe fn kind_of(&self, cell: *mut u8) -> u32 {
        // SAFETY: the caller's.
        unsafe { counted::type_of(cell) }
    }

    unsafe fn visit(tracer: *mut KnTracer, slot: *mut *mut u8) {
        // SAFETY: the caller's.
        unsafe { counted::visit(tracer, slot) };
    }

    fn collect(&self) {
        // SAFETY: the state is live; so below.
        unsafe { Counted::collect(self.state) };
    }

    fn partial(&self, limit: usize) {
        // SAFETY: as above.
        unsafe { Counted::partial(self.state, limit) };
    }

    fn roots(&self) -> usize {
        // SAFETY: as above.
        unsafe { Counted::roots(self.state) }
    }

    fn enable(&self) {
        // SAFETY: as above.
        unsafe { Counted::enable(self.state) };
    }

    fn disable(&self) {
        // SAFETY: as above.
        unsafe { Counted::disable(self.state) };
    }

    fn step(&self, budget: usize) -> bool {
        // SAFETY: as above.
        unsafe { Counted::step(self.state, budget) }
    }

    fn configure(&self, config: &KnGcConfig) -> Result<(), String> {
        // SAFETY: as above.
        match unsafe { Counted::configure(self.state, config) } {
            KnStatus::Ok => Ok(()),
            status => Err(format!("{status:?}")),
        }
    }

    fn complaint(&self) -> Option<String> {
        report()
    }

    fn check(&self) -> Result<(), String> {
        // SAFETY: as above.
        let (cells, heap) = unsafe { (Counted::check(self.state), KnHeap::check(self.heap)) };
        if cells != KnStatus::Ok || heap != KnStatus::Ok {
            return Err(format!("check: cells {cells:?}, heap {heap:?}, {:?}", report()));
        }
        self.arena.check_guards()
    }

    fn numbers(&self) -> Numbers {
        // SAFETY: as above.
        let stats = unsafe { Counted::stats(self.state) };
        Numbers { cells: stats.cells, pending: stats.pending, longest: stats.longest }
    }

    fn room(&self) -> usize {
        // SAFETY: heap and state are live.
        let (heap, cells) = unsafe { (stats_of(self.heap), Counted::stats(self.state)) };
        heap.map_or(0, |stats| stats.largest_free + cells.free)
    }

    fn fill(&self, leave: usize) {
        // SAFETY: the heap is live.
        unsafe {
            while let Ok(stats) = stats_of(self.heap) {
                if stats.largest_free <= leave.max(32) {
                    return;
                }
                let block = KnHeap::malloc(self.heap, stats.largest_free);
                if block.is_null() {
                    return;
                }
                self.ballast.borrow_mut().push(block);
            }
        }
    }

    fn drain(&self) {
        for block in self.ballast.take() {
            // SAFETY: a block of this heap.
            unsafe { KnHeap::free(self.heap, block) };
        }
    }

    fn retire(&self) -> Result<(), String> {
        // SAFETY: the state is live, and not used any more.
        let (gone, used) = unsafe {
            let gone = Counted::retire(self.state);
            (gone, stats_of(self.heap)?.used)
        };
        self.retired.set(gone);
        if !gone || used != self.baseline {
            return Err(format!("retired: {gone}; {used} bytes are in use, were {}", self.baseline));
        }
        report().map_or(Ok(()), Err)
    }
}
