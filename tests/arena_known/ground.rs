//! A heap with scopes, cells and an error hook, for tests that do a few things by hand.

use knoll::arena::{KnArena, KnArenaConfig, KnArenaStats, KnCleanup, KnLeaveReport};
use knoll::capi::arena::{kn_arena_enter, kn_arena_leave, kn_arena_on_leave, kn_arena_stats};
use knoll::counted::{self, Counted, KnType};
use knoll::heap::{KnHeap, KnLayout, KnStatus};
use knoll_nest::prints::print_of;
use knoll_shadow::arena::Arena as Memory;
use knoll_shadow::numbers::{config, stats_of};
use std::cell::RefCell;
use std::ffi::{c_char, c_void, CStr};
use std::ptr::{null_mut, NonNull};
use std::sync::Once;

/// Bytes of a reference.
pub const WORD: usize = size_of::<*mut u8>();

/// What a destroy callback or a cleanup does.
pub type Action = Box<dyn FnMut(*mut u8)>;

thread_local! {
    /// What the error hook was told.
    static TOLD: RefCell<Vec<KnStatus>> = const { RefCell::new(Vec::new()) };
    /// Cells whose destroy callback ran.
    static DESTROYED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// What the next destroy callback does besides.
    static BESIDES: RefCell<Option<Action>> = const { RefCell::new(None) };
}

unsafe extern "C" fn note(status: KnStatus, _: *const c_void, _: *const c_char) {
    TOLD.with_borrow_mut(|told| told.push(status));
}

unsafe extern "C" fn destroy(cell: *mut c_void) {
    DESTROYED.with_borrow_mut(|destroyed| destroyed.push(cell.addr()));
    if let Some(mut besides) = BESIDES.take() {
        besides(cell.cast());
    }
}

unsafe extern "C" fn run(context: *mut c_void) {
    // SAFETY: the context of a cleanup of `Ground::cleanup`.
    unsafe { (*context.cast::<Action>())(null_mut()) };
}

/// What the error hook was told since the last call.
pub fn told() -> Vec<KnStatus> {
    TOLD.take()
}

/// Cells destroyed since the last call, by their addresses.
pub fn destroyed() -> Vec<usize> {
    DESTROYED.take()
}

/// The next destroy callback does this besides.
pub fn besides(action: impl FnMut(*mut u8) + 'static) {
    BESIDES.set(Some(Box::new(action)));
}

const OFFSETS: [u32; 2] = [0, WORD as u32];
/// Two references, and a destroy callback.
static NODE: KnType = KnType {
    name: c"node".as_ptr(),
    size: 2 * WORD as u32,
    ref_count: 2,
    ref_offsets: OFFSETS.as_ptr(),
    destroy: Some(destroy),
    ..KnType::PLAIN
};
/// Two references.
static PAIR: KnType = KnType {
    name: c"pair".as_ptr(),
    size: 2 * WORD as u32,
    ref_count: 2,
    ref_offsets: OFFSETS.as_ptr(),
    ..KnType::PLAIN
};

/// A heap and its collector.
pub struct Ground {
    pub heap: *mut KnHeap,
    pub state: *mut Counted,
    pub node: u32,
    pub pair: u32,
    bytes: usize,
    first: u64,
    cleanups: RefCell<Vec<(*mut KnCleanup, *mut Action)>>,
    memory: Memory,
}

// SAFETY, in all of it: heap and state live as long as the memory; arenas and cells are the tests' own.
impl Ground {
    pub fn new(bytes: usize) -> Ground {
        Ground::on(KnLayout::Auto, bytes)
    }

    pub fn on(layout: KnLayout, bytes: usize) -> Ground {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| knoll::capi::errors::kn_on_error(Some(note)));
        told();
        destroyed();
        let memory = Memory::new(bytes, 0);
        // SAFETY: the memory outlives the heap; the descriptors are static.
        unsafe {
            let heap = KnHeap::create(memory.start(), bytes, &config(layout));
            assert!(!heap.is_null());
            let first = print_of(heap).expect("walk");
            let state = Counted::of(heap);
            let (node, pair) = (Counted::register(state, &raw const NODE), Counted::register(state, &raw const PAIR));
            Ground { heap, state, node, pair, bytes, first, cleanups: RefCell::default(), memory }
        }
    }

    /// The heap's used blocks as one number.
    pub fn print(&self) -> u64 {
        // SAFETY: the heap is live; so below.
        unsafe { print_of(self.heap) }.expect("walk")
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        // SAFETY: as above.
        unsafe { stats_of(self.heap) }.expect("stats").used
    }

    /// The whole of it, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The byte at an address of the heap's memory, whoever's it is.
    pub fn byte(&self, at: usize) -> u8 {
        assert!(self.memory.holds(at, 1));
        // SAFETY: inside the memory, all of which is initialised.
        unsafe { self.memory.start().with_addr(at).read() }
    }

    pub fn enter(&self, config: &KnArenaConfig) -> *mut KnArena {
        self.try_enter(config).expect("enter")
    }

    pub fn try_enter(&self, config: &KnArenaConfig) -> Result<*mut KnArena, KnStatus> {
        let mut arena = null_mut();
        // SAFETY: as above.
        match unsafe { kn_arena_enter(self.heap, config, &mut arena) } {
            KnStatus::Ok => Ok(arena),
            status => {
                assert!(arena.is_null());
                Err(status)
            }
        }
    }

    pub fn leave(&self, arena: *mut KnArena) -> KnLeaveReport {
        let mut report: KnLeaveReport = blank();
        // SAFETY: the test's arena, alive or not.
        let status = unsafe { kn_arena_leave(arena, &mut report) };
        assert_eq!(status, report.status);
        self.check();
        report
    }

    pub fn stats(&self, arena: *mut KnArena) -> KnArenaStats {
        let mut stats = std::mem::MaybeUninit::zeroed();
        // SAFETY: the arena is alive; all zero is a value of the structure.
        unsafe {
            assert_eq!(kn_arena_stats(arena, stats.as_mut_ptr()), KnStatus::Ok);
            stats.assume_init()
        }
    }

    /// Registers a cleanup.
    pub fn cleanup(&self, arena: *mut KnArena, action: impl FnMut() + 'static) -> KnStatus {
        let mut action = action;
        let action: Action = Box::new(move |_| action());
        let context = Box::into_raw(Box::new(action));
        // SAFETY: a node may be all zero; it lives as long as the ground.
        unsafe {
            let blank: KnCleanup = std::mem::zeroed();
            let node = Box::into_raw(Box::new(KnCleanup { run: Some(run), context: context.cast(), ..blank }));
            self.cleanups.borrow_mut().push((node, context));
            kn_arena_on_leave(arena, node)
        }
    }

    pub fn new_cell(&self, id: u32) -> *mut u8 {
        // SAFETY: the state is live.
        let cell = unsafe { Counted::new_cell(self.state, id) };
        assert!(!cell.is_null());
        cell
    }

    /// `GC_assign` to one of a cell's two references.
    pub fn link(&self, cell: *mut u8, field: usize, to: *mut u8) {
        // SAFETY: both are alive; the field is one of the cell's.
        unsafe { counted::assign(cell.cast::<*mut u8>().add(field), to) };
    }

    pub fn field(&self, cell: *mut u8, field: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { cell.cast::<*mut u8>().add(field).read() }
    }

    pub fn count(&self, cell: *mut u8) -> u32 {
        // SAFETY: the cell is alive.
        unsafe { counted::count(cell) }
    }

    pub fn release(&self, cell: *mut u8) {
        // SAFETY: the test owns a reference.
        unsafe { counted::release(cell) };
    }

    /// Gives blocks of the heap back.
    pub fn free(&self, blocks: Vec<NonNull<u8>>) {
        for block in blocks {
            // SAFETY: the heap is live.
            assert_eq!(unsafe { KnHeap::free(self.heap, block.as_ptr()) }, KnStatus::Ok);
        }
    }

    /// A full collection.
    pub fn collect(&self) {
        // SAFETY: the state is live.
        unsafe { Counted::collect(self.state) };
    }

    pub fn cells(&self) -> usize {
        // SAFETY: the state is live; so below.
        unsafe { Counted::stats(self.state) }.cells
    }

    pub fn check(&self) {
        // SAFETY: as above.
        unsafe {
            assert_eq!(KnHeap::check(self.heap), KnStatus::Ok);
            assert_eq!(Counted::check(self.state), KnStatus::Ok);
        }
        self.memory.check_guards().expect("guards");
    }

    /// All cells have gone, and all memory is back.
    pub fn finish(self) {
        self.check();
        assert_eq!(told(), [], "the error hook");
        // SAFETY: as above; the state is not used any more.
        unsafe {
            assert!(Counted::retire(self.state), "{} cells are left", self.cells());
        }
        assert_eq!(self.print(), self.first, "{} bytes are in use", self.used());
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for (node, action) in self.cleanups.take() {
            // SAFETY: made by `Box::into_raw`.
            unsafe {
                drop(Box::from_raw(node));
                drop(Box::from_raw(action));
            }
        }
    }
}

/// A report, or a node of the library's that was not used yet.
pub fn blank<T>() -> T {
    // SAFETY: they are pointers, numbers and optional functions, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

/// A configuration with a name.
pub fn named(name: &'static CStr) -> KnArenaConfig {
    KnArenaConfig { name: name.as_ptr(), ..KnArenaConfig::DEFAULT }
}

/// A name of the library's as text; "" for none.
pub fn text(name: *const c_char) -> &'static str {
    if name.is_null() {
        return "";
    }
    // SAFETY: names are static.
    unsafe { CStr::from_ptr(name) }.to_str().expect("a name")
}
