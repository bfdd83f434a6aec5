//! A Rust program on Knoll: `Heap` as the global allocator of this test, and by itself.
//!
//! `PROGRAM` serves everything that this process allocates, the test harness and its threads
//! included. It gives the heap its memory at the first request, because Rust programs allocate
//! before `main`.

use knoll::heap::{Heap, KnHeap, KnStatus};
use knoll_shadow::numbers::stats_of;
use knoll_shadow::random::Random;
use std::alloc::{GlobalAlloc, Layout};
#[cfg(not(miri))]
use std::collections::{BTreeMap, VecDeque};
use std::sync::Once;

const BYTES: usize = if cfg!(miri) { 4 << 20 } else { 64 << 20 };

struct Program {
    heap: Heap,
    begun: Once,
}

// Not under Miri: a `Box` that a function was given must not be written to until that function
// returns, so no allocator in Rust may keep links in the freed memory of one (a rule about `Box`
// that rustc relaxes for allocators and Miri does not). There the heap is called directly.
#[cfg_attr(not(miri), global_allocator)]
static PROGRAM: Program = Program { heap: Heap::new(), begun: Once::new() };
static mut MEMORY: [u128; BYTES / 16] = [0; BYTES / 16];

impl Program {
    fn heap(&self) -> &Heap {
        self.begun.call_once(|| {
            // One region, or several where the layouts in this build can't address all of it in one.
            let piece = if cfg!(feature = "layout-wide") { BYTES } else { 480 << 10 };
            for number in 0..(BYTES / piece).min(16) {
                let memory = (&raw mut MEMORY).cast::<u8>().wrapping_add(number * piece);
                // SAFETY: once, and nobody else uses the static; the pieces do not overlap.
                let ready = unsafe { self.heap.init(memory, piece) };
                assert!(ready);
            }
        });
        &self.heap
    }
}

// SAFETY: every call goes to the heap.
unsafe impl GlobalAlloc for Program {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word; so below.
        unsafe { self.heap().alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.heap().dealloc(at, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.heap().alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.heap().realloc(at, layout, bytes) }
    }
}

fn sound() -> bool {
    // SAFETY: the heap is live and locked.
    PROGRAM.heap().with(|heap| unsafe { KnHeap::check(heap) }) == Some(KnStatus::Ok)
}

#[cfg(not(miri))]
fn owned(at: *const u8) -> bool {
    // SAFETY: the heap is live and locked.
    PROGRAM.heap().with(|heap| unsafe { KnHeap::contains(heap, at) }) == Some(true)
}

/// A heap of its own in memory of the program's.
fn heap_of(memory: &mut Vec<u64>, bytes: usize) -> Heap {
    memory.resize(bytes / 8, 0);
    let heap = Heap::new();
    // SAFETY: the memory outlives the heap in each test and is used by nothing else.
    assert!(unsafe { heap.init(memory.as_mut_ptr().cast(), bytes) });
    heap
}

#[test]
#[cfg(not(miri))]
fn a_program_of_maps_and_vectors_runs() {
    let rounds = 60_000;
    let mut random = Random::new(5);
    let mut map: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let mut queue = VecDeque::new();
    let mut sum = 0usize;
    for round in 0..rounds {
        let key = random.below(900);
        let value: Vec<u8> = (0..random.log_between(1, 600)).map(|i| (i + key) as u8).collect();
        assert!(owned(value.as_ptr()));
        sum += value.len();
        if let Some(old) = map.insert(key, value) {
            assert!(old.iter().enumerate().all(|(i, &byte)| byte == (i + key) as u8));
            sum -= old.len();
        }
        queue.push_back(format!("{round} and {key}"));
        if queue.len() > 200 {
            let text = queue.pop_front().expect("not empty");
            assert!(text.starts_with(&format!("{} and ", round - 200)));
        }
        if round % 5_000 == 0 {
            assert!(sound(), "after {round} rounds");
        }
    }
    assert_eq!(map.values().map(Vec::len).sum::<usize>(), sum);
    drop((map, queue));
    assert!(sound());
}

#[test]
fn a_vector_grows_in_place() {
    let mut memory = Vec::new();
    let heap = heap_of(&mut memory, 64 << 10);
    let mut layout = Layout::from_size_align(16, 8).expect("layout");
    // SAFETY: sizes are not 0 and each layout is the block's own.
    unsafe {
        let at = heap.alloc(layout);
        at.write_bytes(7, 16);
        while layout.size() < 32 << 10 {
            let bytes = layout.size() * 2;
            assert_eq!(heap.realloc(at, layout, bytes), at, "moved on growing to {bytes}");
            layout = Layout::from_size_align(bytes, 8).expect("layout");
        }
        assert!((0..16).all(|i| at.add(i).read() == 7));
        heap.dealloc(at, layout);
    }
}

#[test]
fn every_alignment_is_kept_over_realloc() {
    let mut memory = Vec::new();
    let heap = heap_of(&mut memory, 256 << 10);
    // SAFETY: the heap is live.
    let fresh = heap.with(|heap| unsafe { stats_of(heap) }.expect("stats")).expect("begun");
    let mut blocks = Vec::new();
    for shift in 0..13 {
        let align = 1usize << shift;
        for bytes in [1, 24, align, 3 * align + 5] {
            let layout = Layout::from_size_align(bytes, align).expect("layout");
            // SAFETY: the size is not 0; the block is used within its layout.
            unsafe {
                let at = heap.alloc_zeroed(layout);
                assert!(!at.is_null() && at.addr() % align == 0, "{layout:?} at {at:?}");
                assert!((0..bytes).all(|i| at.add(i).read() == 0));
                at.write_bytes(shift as u8, bytes);
                // Something behind it, so that growing moves it.
                let wall = Layout::from_size_align(8, 8).expect("layout");
                blocks.push((heap.alloc(wall), wall));
                let at = heap.realloc(at, layout, bytes + 400);
                assert!(!at.is_null() && at.addr() % align == 0, "{layout:?} grew to {at:?}");
                assert!((0..bytes).all(|i| at.add(i).read() == shift as u8));
                blocks.push((at, Layout::from_size_align(bytes + 400, align).expect("layout")));
            }
        }
    }
    for (at, layout) in blocks {
        // SAFETY: each block with its layout, once.
        unsafe { heap.dealloc(at, layout) };
    }
    // SAFETY: the heap is live.
    let mut emptied = heap.with(|heap| unsafe { stats_of(heap) }.expect("stats")).expect("begun");
    assert!(emptied.peak > fresh.peak);
    emptied.peak = fresh.peak;
    assert_eq!(emptied, fresh);
}

#[test]
fn no_memory_is_an_answer() {
    let heap = Heap::new();
    let layout = Layout::from_size_align(8, 8).expect("layout");
    // SAFETY: a heap without memory; null is the answer.
    unsafe {
        assert!(heap.alloc(layout).is_null(), "before init");
        assert!(heap.with(|_| ()).is_none());
        let mut small = [0u8; 40];
        assert!(!heap.init(small.as_mut_ptr(), small.len()), "too small");
        assert!(heap.alloc(layout).is_null());
    }
    // SAFETY: the sizes are not 0, and null is the answer.
    unsafe {
        for bytes in [BYTES, isize::MAX as usize - 64] {
            let layout = Layout::from_size_align(bytes, 8).expect("layout");
            assert!(PROGRAM.alloc(layout).is_null() && PROGRAM.alloc_zeroed(layout).is_null());
        }
    }
    assert!(sound());
}

/// The standard library's own way to ask.
#[test]
#[cfg(not(miri))]
fn a_vector_that_cannot_grow_keeps_what_it_has() {
    let mut vector: Vec<u8> = vec![1, 2, 3];
    assert!(vector.try_reserve(BYTES).is_err(), "more than the heap has");
    assert!(vector.try_reserve(isize::MAX as usize - 64).is_err());
    assert_eq!(vector, [1, 2, 3]);
}

#[test]
fn a_second_region_serves_what_the_first_cannot() {
    let mut memory = Vec::new();
    let heap = heap_of(&mut memory, 1024);
    let large = Layout::from_size_align(3000, 8).expect("layout");
    let mut more = vec![0u64; 512];
    // SAFETY: as in `heap_of`; the block is given back with its layout.
    unsafe {
        assert!(heap.alloc(large).is_null());
        assert!(heap.init(more.as_mut_ptr().cast(), 4096));
        let at = heap.alloc(large);
        assert!(!at.is_null());
        at.write_bytes(0xaa, 3000);
        heap.dealloc(at, large);
    }
    // SAFETY: the heap is live.
    assert_eq!(heap.with(|heap| unsafe { stats_of(heap) }.expect("stats").regions), Some(2));
}

#[test]
fn threads_share_it() {
    let rounds = if cfg!(miri) { 30 } else { 40_000 };
    let worker = move |seed: u8| {
        let mut random = Random::new(seed.into());
        let mut kept = [(std::ptr::null_mut::<u8>(), 0); 32];
        for _ in 0..rounds {
            let (at, bytes) = &mut kept[random.below(32)];
            let layout = |bytes| Layout::from_size_align(bytes, 8).expect("layout");
            let wanted = random.between(1, 300);
            // SAFETY: each block is this thread's own, used and given back with its layout.
            unsafe {
                assert!((0..*bytes).all(|i| at.add(i).read() == seed));
                if at.is_null() {
                    *at = PROGRAM.alloc(layout(wanted));
                } else if random.one_in(3) {
                    PROGRAM.dealloc(*at, layout(*bytes));
                    (*at, *bytes) = (std::ptr::null_mut(), 0);
                    continue;
                } else {
                    *at = PROGRAM.realloc(*at, layout(*bytes), wanted);
                }
                assert!(!at.is_null());
                at.write_bytes(seed, wanted);
            }
            *bytes = wanted;
        }
        kept.iter().filter(|block| block.1 > 0).count()
    };
    let workers: Vec<_> = (1..5).map(|seed| std::thread::spawn(move || worker(seed))).collect();
    for worker in workers {
        assert!(worker.join().expect("a worker") > 0);
    }
    assert!(sound());
}
