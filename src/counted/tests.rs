//! The shortest stories: a cell, a list, a cycle, a cycle in steps. The model test has the rest.

extern crate std;

use super::*;
use crate::heap::{KnHeap, KnHeapConfig, KnStatus};
use core::ptr::null_mut;

#[repr(C, align(4096))]
struct Memory([u8; 256 << 10]);

static OFFSETS: [u32; 2] = [0, size_of::<usize>() as u32];
static NODE: KnType = KnType {
    name: c"Node".as_ptr(),
    size: 3 * size_of::<usize>() as u32,
    ref_count: 2,
    ref_offsets: OFFSETS.as_ptr(),
    ..KnType::PLAIN
};

fn with_state(test: impl FnOnce(*mut Counted, KnTypeId)) {
    let mut memory = std::boxed::Box::new(Memory([0; 256 << 10]));
    // SAFETY: the memory lives until the test has ended.
    unsafe {
        let heap = KnHeap::create((&raw mut *memory).cast(), size_of::<Memory>(), &KnHeapConfig::DEFAULT);
        let state = Counted::of(heap);
        assert!(!state.is_null());
        let node = Counted::register(state, &NODE);
        assert_eq!(node, 1);
        test(state, node);
        assert_eq!(Counted::check(state), KnStatus::Ok);
        assert!(Counted::retire(state));
        assert_eq!(KnHeap::check(heap), KnStatus::Ok);
        let mut stats = Default::default();
        KnHeap::stats(heap, &mut stats);
        assert_eq!(stats.blocks, 0);
    }
}

/// Slot `n` of a node.
fn slot(node: *mut u8, n: usize) -> *mut *mut u8 {
    node.cast::<*mut u8>().wrapping_add(n)
}

#[test]
fn a_cell_goes_with_its_last_reference() {
    with_state(|state, node| {
        // SAFETY: cells of this state.
        unsafe {
            let cell = Counted::new_cell(state, node);
            assert_eq!(count(cell), 1);
            assert_eq!(add_ref(cell), cell);
            assert_eq!(count(cell), 2);
            release(cell);
            release(cell);
            assert_eq!(Counted::stats(state).cells, 0);
        }
    });
}

#[test]
fn a_list_goes_without_recursion() {
    with_state(|state, node| {
        // SAFETY: cells of this state.
        unsafe {
            let mut list = null_mut();
            for _ in 0..3000 {
                let cell = Counted::new_cell(state, node);
                slot(cell, 0).write(list);
                list = cell;
            }
            assert_eq!(Counted::stats(state).cells, 3000);
            release(list);
            assert_eq!(Counted::stats(state).cells, 0);
        }
    });
}

/// Makes a ring of so many nodes and gives it up.
unsafe fn ring(state: *mut Counted, node: KnTypeId, length: usize) {
    // SAFETY: cells of this state.
    unsafe {
        let first = Counted::new_cell(state, node);
        let mut last = first;
        for _ in 1..length {
            let cell = Counted::new_cell(state, node);
            slot(last, 0).write(cell);
            last = cell;
        }
        assign(slot(last, 0), first);
        release(first);
    }
}

#[test]
fn a_ring_is_collected() {
    for length in [1, 2, 3, 1000, 5000] {
        with_state(|state, node| {
            // SAFETY: cells of this state.
            unsafe {
                ring(state, node, length);
                assert_eq!(Counted::stats(state).cells, length);
                assert_eq!(Counted::roots(state), 1);
                Counted::collect(state);
                assert_eq!(Counted::stats(state).cells, 0);
                assert_eq!(Counted::roots(state), 0);
            }
        });
    }
}

#[test]
fn a_ring_is_collected_in_steps() {
    with_state(|state, node| {
        // SAFETY: cells of this state.
        unsafe {
            ring(state, node, 100);
            let mut steps = 0;
            while !Counted::step(state, 7) {
                assert_eq!(Counted::check(state), KnStatus::Ok);
                steps += 1;
            }
            assert!(steps > 50);
            assert_eq!(Counted::stats(state).cells, 0);
            assert!(Counted::stats(state).longest <= 7);
        }
    });
}

#[test]
fn a_ring_larger_than_the_set_is_collected() {
    with_state(|state, node| {
        // SAFETY: cells of this state.
        unsafe {
            let config = KnGcConfig { visited_limit: 16, ..KnGcConfig::default() };
            assert_eq!(Counted::configure(state, &config), KnStatus::Ok);
            let kept = Counted::new_cell(state, node);
            ring(state, node, 1000);
            Counted::collect(state);
            assert_eq!(Counted::stats(state).cells, 1);
            release(kept);
        }
    });
}

#[test]
fn a_root_that_a_scanned_cell_came_to_hold_is_not_forgotten() {
    with_state(|state, node| {
        // SAFETY: cells of this state.
        unsafe {
            let holder = Counted::new_cell(state, node);
            let held = Counted::new_cell(state, node);
            slot(holder, 0).write(held);
            for cell in [holder, held] {
                release(add_ref(cell));
            }
            assert_eq!(Counted::roots(state), 2);
            // Begun, by a search that could have scanned `held` before `holder` is in its set.
            assert!(!Counted::step(state, 2));
            assign(slot(held, 1), holder);
            release(holder);
            Counted::collect(state);
            assert_eq!(Counted::stats(state).cells, 0);
        }
    });
}
