//! Faults that other collectors have or had, each as a test that it is not in this one.
//!
//! | where | what |
//! | --- | --- |
//! | Nim 1.6, 2.2 | `GC_partialCollect` leaves a freed cell among the roots |
//! | Nim#22256 | the threshold overflows while the collector is disabled |
//! | Nim#22927, nimskull#1106, QuickJS#494 | a destructor re-enters the collector |
//! | nimskull#1100 | a ring of three is not found |
//! | Nim#24199, #18131, std's `Rc`, dumpster, bacon_rajan_cc | a long list overflows the stack: dropped, or only traced |
//! | Grain | the children behind a tag are not released (boxed rationals) |
//! | a prototype of this one | a cell that a truncated search has seen is no root any more: churn leaks |
//! | CWE-190 | a count wraps |
//! | wasmtime#9669 | memory used again without releasing what it referred to |

use knoll::counted::{self, Counted, KnGcConfig, KnTracer, KnType, KN_GC_FIXED_THRESHOLD, KN_IMMORTAL};
use knoll::heap::{KnHeap, KnLayout, KnStatus};
use knoll_shadow::arena::Arena;
use knoll_shadow::numbers::{config, stats_of};
use knoll_shadow::random::Random;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::null_mut;

const WORD: usize = size_of::<*mut u8>();

/// Something that a destroy callback does.
type Besides = Box<dyn FnMut(*mut u8)>;

thread_local! {
    /// Destroy callbacks that ran.
    static DESTROYED: Cell<usize> = const { Cell::new(0) };
    /// What the next destroy callback does besides.
    static BESIDES: RefCell<Option<Besides>> = const { RefCell::new(None) };
}

unsafe extern "C" fn destroy(cell: *mut c_void) {
    DESTROYED.set(DESTROYED.get() + 1);
    if let Some(mut besides) = BESIDES.take() {
        besides(cell.cast());
    }
}

/// Reports its two references only while the word behind them is not 0.
unsafe extern "C" fn trace(cell: *mut c_void, tracer: *mut KnTracer) {
    // SAFETY: a cell of the type `TAGGED`.
    unsafe {
        let cell = cell.cast::<u8>();
        if cell.add(2 * WORD).cast::<u32>().read() != 0 {
            counted::visit(tracer, cell.cast());
            counted::visit(tracer, cell.add(WORD).cast());
        }
    }
}

const OFFSETS: [u32; 2] = [0, WORD as u32];
/// Two references.
static PAIR: KnType = KnType {
    name: c"pair".as_ptr(),
    size: 2 * WORD as u32,
    ref_count: 2,
    ref_offsets: OFFSETS.as_ptr(),
    destroy: Some(destroy),
    ..KnType::PLAIN
};
/// Two references that count only while a tag says so.
static TAGGED: KnType = KnType {
    name: c"tagged".as_ptr(),
    size: 2 * WORD as u32 + 8,
    destroy: Some(destroy),
    trace: Some(trace),
    ..KnType::PLAIN
};

/// A heap with its collector and the type `PAIR`.
struct Cells {
    state: *mut Counted,
    heap: *mut KnHeap,
    pair: u32,
    before: usize,
    arena: Arena,
}

// SAFETY, in all of it: the state and its cells live as long as the arena.
impl Cells {
    fn new(bytes: usize) -> Cells {
        DESTROYED.set(0);
        let arena = Arena::new(bytes, 0);
        // SAFETY: the arena outlives the heap; the descriptor is static.
        unsafe {
            let heap = KnHeap::create(arena.start(), bytes, &config(KnLayout::Auto));
            let before = stats_of(heap).expect("stats").used;
            let state = Counted::of(heap);
            Cells { state, heap, pair: Counted::register(state, &raw const PAIR), before, arena }
        }
    }

    fn configured(bytes: usize, config: KnGcConfig) -> Cells {
        let cells = Cells::new(bytes);
        // SAFETY: the state is live.
        assert_eq!(unsafe { Counted::configure(cells.state, &config) }, KnStatus::Ok);
        cells
    }

    fn pair(&self) -> *mut u8 {
        // SAFETY: the type is registered.
        let cell = unsafe { Counted::new_cell(self.state, self.pair) };
        assert!(!cell.is_null());
        cell
    }

    /// `cell`'s reference number `field` counts one to `child`.
    fn link(&self, cell: *mut u8, field: usize, child: *mut u8) {
        // SAFETY: both are live; the field is one of the pair's.
        unsafe { counted::assign(cell.cast::<*mut u8>().add(field), child) };
    }

    fn release(&self, cell: *mut u8) {
        // SAFETY: the test owns a reference.
        unsafe { counted::release(cell) };
    }

    fn collect(&self) {
        // SAFETY: the state is live; so below.
        unsafe { Counted::collect(self.state) };
    }

    fn roots(&self) -> usize {
        // SAFETY: as above.
        unsafe { Counted::roots(self.state) }
    }

    fn alive(&self) -> usize {
        // SAFETY: as above.
        unsafe { Counted::stats(self.state) }.cells
    }

    fn check(&self) {
        // SAFETY: as above.
        unsafe {
            assert_eq!(Counted::check(self.state), KnStatus::Ok);
            assert_eq!(KnHeap::check(self.heap), KnStatus::Ok);
        }
        self.arena.check_guards().expect("guards");
    }

    /// A ring of so many, of which nothing is held.
    fn drop_ring(&self, length: usize) {
        let cells: Vec<*mut u8> = (0..length).map(|_| self.pair()).collect();
        for (index, &cell) in cells.iter().enumerate() {
            self.link(cell, 0, cells[(index + 1) % length]);
        }
        cells.into_iter().for_each(|cell| self.release(cell));
    }

    /// All cells have gone, all memory is back.
    fn finish(self) {
        self.check();
        assert_eq!(self.alive(), 0);
        // SAFETY: the state is live; it is not used any more.
        unsafe {
            assert!(Counted::retire(self.state));
            assert_eq!(stats_of(self.heap).expect("stats").used, self.before);
        }
    }
}

#[test]
fn a_root_below_the_limit_may_be_freed_after_a_partial_collection() {
    for kept in [1, 2, 5] {
        let cells = Cells::new(60_000);
        let holders: Vec<*mut u8> = (0..8).map(|_| cells.pair()).collect();
        // Each loses a reference and lives on.
        for &cell in &holders {
            // SAFETY: the cell is live.
            unsafe { counted::add_ref(cell) };
            cells.release(cell);
        }
        assert_eq!(cells.roots(), 8);
        // SAFETY: the state is live.
        unsafe { Counted::partial(cells.state, kept) };
        assert_eq!(cells.roots(), kept);
        // The cells go by their counts: those among the roots leave the list.
        for (gone, cell) in holders.into_iter().enumerate() {
            cells.release(cell);
            assert_eq!(DESTROYED.get(), gone + 1);
            cells.check();
        }
        assert_eq!(cells.roots(), 0);
        // What is allocated where they were is not touched by the next collection.
        let fresh: Vec<*mut u8> = (0..8).map(|_| cells.pair()).collect();
        cells.collect();
        // SAFETY: the cells are live.
        assert!(fresh.iter().all(|&cell| unsafe { counted::count(cell) } == 1));
        fresh.into_iter().for_each(|cell| cells.release(cell));
        cells.finish();
    }
}

#[test]
fn the_threshold_does_not_overflow_while_disabled() {
    let (count, bytes) = if cfg!(miri) { (150, 60_000) } else { (20_000, 4_000_000) };
    for threshold in [u32::MAX, u32::MAX / 2, 1] {
        let flags = if threshold == 1 { 0 } else { KN_GC_FIXED_THRESHOLD };
        let bytes_floor = usize::MAX;
        let cells = Cells::configured(bytes, KnGcConfig { flags, threshold, bytes_floor, ..KnGcConfig::default() });
        // SAFETY: the state is live.
        unsafe {
            Counted::disable(cells.state);
            Counted::disable(cells.state);
        }
        (0..count).for_each(|_| cells.drop_ring(1));
        assert_eq!((cells.alive(), DESTROYED.get()), (count, 0));
        // SAFETY: the state is live.
        unsafe { Counted::enable(cells.state) };
        cells.drop_ring(2);
        assert_eq!(DESTROYED.get() > count, threshold == 1, "threshold {threshold}");
        cells.collect();
        assert_eq!(DESTROYED.get(), count + 2);
        cells.finish();
    }
}

#[test]
fn a_destructor_may_drop_cycles_and_collect() {
    for length in [1, 2, 3, 7] {
        let cells = Cells::new(60_000);
        let state = cells.state;
        let other = [cells.pair(), cells.pair()];
        cells.link(other[0], 0, other[1]);
        cells.link(other[1], 1, other[0]);
        cells.release(other[1]);
        BESIDES.set(Some(Box::new(move |_| {
            // SAFETY: the state is live; the reference is the test's.
            unsafe {
                let depth = DESTROYED.get();
                counted::release(other[0]);
                Counted::collect(state);
                Counted::partial(state, 0);
                Counted::step(state, 100);
                // Nothing is destroyed inside a destructor.
                assert_eq!(DESTROYED.get(), depth);
                counted::release(Counted::new_cell(state, 1));
            }
        })));
        cells.drop_ring(length);
        cells.collect();
        // The ring, the cycle that its destructor dropped, and the cell that it made.
        assert_eq!(DESTROYED.get(), length + 2 + 1);
        assert_eq!(cells.roots(), 0);
        cells.finish();
    }
}

#[test]
fn a_destructor_may_bring_its_cell_back_once() {
    let cells = Cells::new(60_000);
    let cell = cells.pair();
    let child = cells.pair();
    cells.link(cell, 1, child);
    BESIDES.set(Some(Box::new(|cell| {
        // SAFETY: the cell is being destroyed; this keeps it.
        unsafe { counted::add_ref(cell) };
    })));
    cells.release(cell);
    // SAFETY: both live on.
    unsafe {
        assert_eq!((DESTROYED.get(), counted::count(cell), counted::count(child)), (1, 1, 2));
        assert_eq!(cell.cast::<*mut u8>().add(1).read(), child);
    }
    cells.check();
    cells.release(child);
    cells.release(cell);
    // Its own destructor ran before; the child's runs now.
    assert_eq!(DESTROYED.get(), 2);
    // A member of a cycle, too: its references to the cycle are gone.
    let ring = [cells.pair(), cells.pair()];
    cells.link(ring[0], 0, ring[1]);
    cells.link(ring[1], 0, ring[0]);
    ring.iter().for_each(|&cell| cells.release(cell));
    static BACK: std::sync::atomic::AtomicPtr<u8> = std::sync::atomic::AtomicPtr::new(null_mut());
    BESIDES.set(Some(Box::new(|cell| {
        // SAFETY: as above.
        BACK.store(unsafe { counted::add_ref(cell) }, std::sync::atomic::Ordering::SeqCst);
    })));
    cells.collect();
    let back = BACK.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!((DESTROYED.get(), cells.alive()), (4, 1));
    // SAFETY: it lives.
    unsafe {
        assert_eq!(counted::count(back), 1);
        assert!(back.cast::<*mut u8>().read().is_null());
    }
    cells.release(back);
    assert_eq!(DESTROYED.get(), 4);
    cells.finish();
}

#[test]
fn rings_of_every_length_are_found() {
    let longest = if cfg!(miri) { 20 } else { 300 };
    for visited_limit in [0, 8] {
        let cells = Cells::configured(400_000, KnGcConfig { visited_limit, ..KnGcConfig::default() });
        for length in 1..longest {
            DESTROYED.set(0);
            cells.drop_ring(length);
            cells.collect();
            assert_eq!((DESTROYED.get(), cells.alive(), cells.roots()), (length, 0, 0), "limit {visited_limit}");
        }
        cells.finish();
    }
}

/// A list that is dropped, and one that is only looked at, on a small stack.
#[test]
fn a_long_list_needs_no_stack() {
    let (length, bytes) = if cfg!(miri) { (200, 60_000) } else { (200_000, 16_000_000) };
    let work = move || {
        let cells = Cells::new(bytes);
        let mut list = null_mut();
        for _ in 0..length {
            let cell = cells.pair();
            cells.link(cell, 0, list);
            cells.release(list);
            list = cell;
        }
        // Traced from its head, and from its end.
        // SAFETY: the list is live.
        unsafe { counted::add_ref(list) };
        cells.release(list);
        cells.collect();
        assert_eq!((cells.alive(), DESTROYED.get(), cells.roots()), (length, 0, 0));
        // Closed to a ring, dropped and collected; another one only dropped.
        let mut last = list;
        // SAFETY: the list is live.
        while let Some(next) = std::ptr::NonNull::new(unsafe { last.cast::<*mut u8>().read() }) {
            last = next.as_ptr();
        }
        cells.link(last, 1, list);
        cells.release(list);
        assert_eq!(DESTROYED.get(), 0);
        cells.collect();
        assert_eq!(DESTROYED.get(), length);
        let mut list = null_mut();
        for _ in 0..length {
            let cell = cells.pair();
            cells.link(cell, 1, list);
            cells.release(list);
            list = cell;
        }
        cells.release(list);
        assert_eq!(DESTROYED.get(), 2 * length);
        cells.finish();
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).expect("thread").join().expect("no panic");
}

#[test]
fn children_behind_a_tag_are_released() {
    let cells = Cells::new(60_000);
    // SAFETY: the descriptor is static; a tagged cell holds two references and a tag.
    unsafe {
        let tagged = Counted::register(cells.state, &raw const TAGGED);
        for in_cycle in [false, true] {
            let ratio = Counted::new_cell(cells.state, tagged);
            let slots = ratio.cast::<*mut u8>();
            slots.write(cells.pair());
            slots.add(1).write(cells.pair());
            ratio.add(2 * WORD).cast::<u32>().write(1);
            if in_cycle {
                cells.link(slots.read(), 0, ratio);
            }
            DESTROYED.set(0);
            cells.release(ratio);
            assert_eq!(DESTROYED.get(), if in_cycle { 0 } else { 3 });
            cells.collect();
            assert_eq!(DESTROYED.get(), 3);
        }
        // Without its tag it holds numbers, which nobody follows.
        let number = Counted::new_cell(cells.state, tagged);
        number.cast::<*mut u8>().write(std::ptr::without_provenance_mut(12_345));
        cells.release(number);
    }
    cells.finish();
}

/// Groups of nodes that refer to each other, edges and nodes replaced at random: after the collection
/// exactly the reachable nodes are alive, however small the sets were that were looked at.
#[test]
fn churn_leaves_exactly_what_is_reachable() {
    let (nodes, steps, bytes) = if cfg!(miri) { (32, 200, 60_000) } else { (2048, 120_000, 2_000_000) };
    let limits = [0, 8, 64].map(|visited_limit| KnGcConfig { visited_limit, ..KnGcConfig::default() });
    let sliced = KnGcConfig { slice: 16, threshold: 32, ..KnGcConfig::default() };
    let lazy = KnGcConfig { frees_per_unref: 4, ..KnGcConfig::default() };
    let mut counts = Vec::new();
    for config in limits.into_iter().chain([sliced, lazy]) {
        let cells = Cells::configured(bytes, config);
        let mut random = Random::new(191_381);
        let mut table: Vec<*mut u8> = (0..nodes).map(|_| cells.pair()).collect();
        for _ in 0..steps {
            let from = random.below(nodes);
            let to = from / 16 * 16 + random.below(16);
            if random.one_in(8) {
                let old = std::mem::replace(&mut table[from], cells.pair());
                cells.release(old);
            } else {
                cells.link(table[from], random.below(2), table[to]);
            }
        }
        cells.collect();
        let mut seen: std::collections::BTreeSet<usize> = std::collections::BTreeSet::new();
        let mut open = table.clone();
        while let Some(cell) = open.pop() {
            if seen.insert(cell.addr()) {
                // SAFETY: the table reaches the cell.
                let children = unsafe { cell.cast::<[*mut u8; 2]>().read() };
                open.extend(children.into_iter().filter(|child| !child.is_null()));
            }
        }
        assert_eq!((cells.alive(), cells.roots()), (seen.len(), 0), "{config:?}");
        counts.push(seen.len());
        table.into_iter().for_each(|cell| cells.release(cell));
        cells.collect();
        cells.finish();
    }
    println!("alive after churn: {counts:?}");
    assert!(counts[0] > nodes && counts.iter().all(|&count| count == counts[0]));
}

#[test]
fn a_count_never_wraps() {
    if cfg!(miri) {
        return;
    }
    let cells = Cells::new(60_000);
    let cell = cells.pair();
    // SAFETY: the cell is live, and for ever when its count is full.
    unsafe {
        for _ in 0..(1 << 26) + 5 {
            counted::add_ref(cell);
        }
        assert_eq!(counted::count(cell), KN_IMMORTAL);
        for _ in 0..(1 << 26) + 50 {
            counted::release(cell);
        }
        assert_eq!(counted::count(cell), KN_IMMORTAL);
    }
    cells.collect();
    cells.check();
    assert_eq!((DESTROYED.get(), cells.alive()), (0, 1));
}

#[test]
fn memory_used_again_has_released_what_it_referred_to() {
    let cells = Cells::new(60_000);
    let (cell, child) = (cells.pair(), cells.pair());
    cells.link(cell, 0, child);
    cells.release(child);
    // SAFETY: the cell is live.
    unsafe {
        counted::add_ref(cell);
        assert!(counted::drop_reuse(cell).is_null(), "it has two references");
        assert_eq!((counted::count(cell), DESTROYED.get()), (1, 0));
        assert_eq!(counted::drop_reuse(cell), cell);
        assert_eq!((counted::count(cell), DESTROYED.get()), (1, 2));
        assert_eq!(cell.cast::<[usize; 2]>().read(), [0, 0]);
    }
    assert_eq!(cells.alive(), 1);
    cells.release(cell);
    assert_eq!(DESTROYED.get(), 3);
    cells.finish();
}
