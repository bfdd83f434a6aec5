//! The fingerprint of a heap: what it tells from what, and that it is the sum that it says it is.

use crate::ground::{grounds, step, Ground};
use knoll::heap::{KnHeap, KnLayout};
use knoll_shadow::layouts;
use knoll_shadow::random::Random;
use std::collections::{BTreeSet, HashMap};

#[test]
fn equal_exactly_where_the_used_blocks_are_equal() {
    let steps = if cfg!(miri) { 12 } else { 3_000 };
    let mut all = 0;
    grounds(|ground| {
        let mut random = Random::new(11);
        let mut live = Vec::new();
        let mut seen: HashMap<u64, BTreeSet<(usize, usize)>> = HashMap::new();
        for _ in 0..steps {
            step(&ground, &mut random, &mut live);
            let (number, used) = (ground.fingerprint(), ground.used());
            assert_ne!(number, 0);
            let same = seen.entry(number).or_insert_with(|| used.clone());
            assert_eq!(*same, used, "one number for two states");
        }
        let states: BTreeSet<_> = seen.values().cloned().collect();
        assert_eq!(states.len(), seen.len(), "two numbers for one state");
        all += seen.len();
    });
    assert!(all > if cfg!(miri) { 40 } else { 10_000 }, "{all} states");
}

#[test]
fn the_sum_of_the_blocks_own() {
    grounds(|ground| {
        let empty = ground.fingerprint();
        let mut random = Random::new(12);
        let mut live = Vec::new();
        for _ in 0..if cfg!(miri) { 8 } else { 400 } {
            step(&ground, &mut random, &mut live);
            let terms: Vec<u64> = live.iter().map(|&block| ground.term(block)).collect();
            assert!(!terms.contains(&0));
            let sum = terms.iter().fold(empty, |sum, term| sum.wrapping_add(*term));
            assert_eq!(ground.fingerprint(), sum);
        }
        while let Some(block) = live.pop() {
            // SAFETY: a block of this test's.
            unsafe { KnHeap::free(ground.heap, block) };
        }
        assert_eq!(ground.fingerprint(), empty);
    });
}

#[test]
fn order_payloads_and_new_regions_do_not_matter() {
    grounds(|mut ground| {
        let empty = ground.fingerprint();
        // SAFETY: a live heap, blocks that nobody else uses.
        unsafe {
            let blocks: Vec<_> = (0..6).map(|n| KnHeap::malloc(ground.heap, 24 + 40 * n)).collect();
            let full = ground.fingerprint();
            for order in [[0, 2, 4], [4, 0, 2], [2, 4, 0]] {
                for at in order {
                    KnHeap::free(ground.heap, blocks[at]);
                }
                let holes = ground.fingerprint();
                assert_ne!(holes, full);
                for at in [4, 0, 2] {
                    let again = KnHeap::malloc(ground.heap, 24 + 40 * at);
                    assert_eq!(again, blocks[at]);
                    again.write_bytes(0xA5, 24);
                }
                assert_eq!(ground.fingerprint(), full);
            }
            ground.add(4_000);
            assert_eq!(ground.fingerprint(), full);
            for block in blocks {
                KnHeap::free(ground.heap, block);
            }
            assert_eq!(ground.fingerprint(), empty);
        }
    });
}

#[test]
fn what_is_no_used_block_has_no_term() {
    grounds(|ground| {
        // SAFETY: a live heap; any address may be asked for.
        unsafe {
            let first = KnHeap::malloc(ground.heap, 100);
            let second = KnHeap::malloc(ground.heap, 100);
            assert_ne!(ground.term(first), ground.term(second));
            assert_ne!(ground.term(first), 0);
            let local = 0u64;
            let no_block = [std::ptr::null_mut(), (&raw const local).cast_mut().cast(), ground.heap.cast()];
            assert_eq!(no_block.map(|at| ground.term(at)), [0; 3]);
            if !cfg!(feature = "checks-none") {
                assert_eq!(ground.term(first.add(1)), 0);
                assert_eq!(ground.term(first.add(16)), 0);
                KnHeap::free(ground.heap, first);
                assert_eq!(ground.term(first), 0);
            }
        }
    });
}

#[test]
fn the_same_calls_in_two_regions_differ() {
    for layout in layouts!() {
        let ground = Ground::new(layout, if cfg!(miri) { &[1_200, 1_200] } else { &[4_000, 4_000] });
        let mut terms = BTreeSet::new();
        let mut count = 0;
        // SAFETY: a live heap.
        unsafe {
            loop {
                let block = KnHeap::malloc(ground.heap, 56);
                if block.is_null() {
                    break;
                }
                terms.insert(ground.term(block));
                count += 1;
            }
        }
        assert!(count > if cfg!(miri) { 10 } else { 80 }, "{count}");
        assert_eq!(terms.len(), count);
    }
}

#[test]
fn a_spoiled_heap_has_none() {
    if cfg!(miri) {
        return;
    }
    for layout in
        [KnLayout::Compact, KnLayout::Wide].into_iter().filter(|one| layouts!().any(|offered| offered == *one))
    {
        let ground = Ground::new(layout, &[4_000]);
        // SAFETY: a live heap; the bytes before the payload are the block's header.
        unsafe {
            let block = KnHeap::malloc(ground.heap, 56);
            block.sub(4).cast::<u32>().write(u32::MAX);
        }
        assert_eq!(ground.fingerprint(), 0);
    }
}
