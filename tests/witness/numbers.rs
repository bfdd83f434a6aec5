//! The numbers of the witness, against a walk.

use crate::ground::{grounds, step, Ground};
use knoll::capi::witness::{kn_fragmentation, kn_fragmentation_check, kn_heap_largest_free};
use knoll::heap::{KnFragmentation, KnHeap, KnLayout, KnStatus, KN_BLOCK_FREE};
use knoll_shadow::layouts;
use knoll_shadow::random::Random;
use std::ptr::{null, null_mut};

/// The numbers as a walk gives them, but for the payload of the largest block.
fn expected(ground: &Ground) -> KnFragmentation {
    let mut all = KnFragmentation::default();
    let mut together = 0;
    for region in ground.regions() {
        let mut largest = 0;
        for block in region {
            all.total += block.size;
            if block.state == KN_BLOCK_FREE {
                let power = (block.size.ilog2() as usize).min(23);
                all.free += block.size;
                all.holes += 1;
                all.histogram[power] += 1;
                all.histogram_bytes[power] += block.size;
                largest = largest.max(block.size);
            }
        }
        together += largest;
    }
    all.used = all.total - all.free;
    all.permille = if all.free == 0 { 1000 } else { (together as u128 * 1000 / all.free as u128) as u32 };
    all
}

fn fragmentation(ground: &Ground) -> KnFragmentation {
    let mut out = KnFragmentation::default();
    // SAFETY: a live heap of this thread.
    assert_eq!(unsafe { kn_fragmentation(ground.heap, &mut out) }, KnStatus::Ok);
    out
}

/// Sizes of the free blocks, largest first.
fn holes(ground: &Ground) -> Vec<usize> {
    let blocks = ground.blocks();
    let mut holes: Vec<usize> =
        blocks.iter().filter(|block| block.state == KN_BLOCK_FREE).map(|block| block.size).collect();
    holes.sort_unstable_by(|a, b| b.cmp(a));
    holes
}

#[test]
fn as_a_walk_finds_them() {
    let mut fragmented = 0;
    grounds(|ground| {
        let mut random = Random::new(21);
        let mut live = Vec::new();
        for _ in 0..if cfg!(miri) { 6 } else { 600 } {
            step(&ground, &mut random, &mut live);
            let found = fragmentation(&ground);
            let expected = expected(&ground);
            assert_eq!(KnFragmentation { largest_free: 0, ..found }, expected);
            fragmented += usize::from(found.permille < 900);
            // SAFETY: a live heap.
            let quick = unsafe { kn_heap_largest_free(ground.heap) };
            assert_eq!(quick, found.largest_free, "{:?}", holes(&ground));
            let largest = holes(&ground).first().copied().unwrap_or(0);
            // What is not payload: a header of 8 bytes, and a guard of 8.
            assert!(found.largest_free <= largest && found.largest_free + 16 >= largest, "{largest}");
        }
    });
    assert!(cfg!(miri) || fragmented > 500, "{fragmented} states were fragmented");
}

#[test]
fn the_largest_block_can_be_had_where_it_stands_first() {
    grounds(|ground| {
        let mut random = Random::new(22);
        let mut live = Vec::new();
        for _ in 0..if cfg!(miri) { 5 } else { 100 } {
            step(&ground, &mut random, &mut live);
        }
        // SAFETY: a live heap, a block of this test's.
        unsafe {
            let largest = kn_heap_largest_free(ground.heap);
            assert!(KnHeap::malloc(ground.heap, largest + 64).is_null());
            let block = KnHeap::malloc(ground.heap, largest);
            assert!(!block.is_null());
            assert!(kn_heap_largest_free(ground.heap) <= largest);
            KnHeap::free(ground.heap, block);
            assert_eq!(kn_heap_largest_free(ground.heap), largest);
        }
    });
}

/// Of many free blocks of one size class only so many are looked at.
#[test]
fn with_very_many_of_one_class_a_bound() {
    if cfg!(miri) {
        return;
    }
    let granule = if cfg!(target_pointer_width = "64") { 16 } else { 8 };
    for layout in layouts!() {
        let ground = Ground::new(layout, &[160 * 80 * granule]);
        let mut blocks = Vec::new();
        // SAFETY: a live heap, blocks of this test's.
        unsafe {
            // Sizes of 64 to 71 granules share a class, which these blocks are in whether a header comes on top or
            // not; the largest is freed first, so it comes last in its list.
            for n in 0..120 {
                let granules = if n == 0 { 70 } else { 65 };
                blocks.push(KnHeap::malloc(ground.heap, granules * granule - 8));
                KnHeap::malloc(ground.heap, 1);
            }
            while !KnHeap::malloc(ground.heap, 1).is_null() {}
            for block in blocks {
                assert!(!block.is_null());
                KnHeap::free(ground.heap, block);
            }
            let exact = fragmentation(&ground).largest_free;
            let quick = kn_heap_largest_free(ground.heap);
            assert!(quick < exact && exact - quick <= exact / 8, "{quick} of {exact}");
        }
    }
}

#[test]
fn full_and_empty_heaps_are_not_fragmented() {
    grounds(|ground| {
        let empty = fragmentation(&ground);
        assert_eq!((empty.used, empty.permille), (0, 1000));
        // SAFETY: a live heap.
        unsafe {
            while !KnHeap::malloc(ground.heap, 1).is_null() {}
            let full = fragmentation(&ground);
            assert_eq!((full.free, full.holes, full.largest_free, full.permille), (0, 0, 0, 1000));
            assert_eq!(kn_heap_largest_free(ground.heap), 0);
        }
    });
}

#[test]
fn bad_arguments_are_answered() {
    let mut out = KnFragmentation::default();
    let ground = Ground::new(KnLayout::Auto, &[4000]);
    // SAFETY: null is answered, and nothing is written.
    unsafe {
        assert_eq!(kn_heap_largest_free(null_mut()), 0);
        assert_eq!(kn_fragmentation(null_mut(), &mut out), KnStatus::Invalid);
        assert_eq!(kn_fragmentation(ground.heap, null_mut()), KnStatus::Invalid);
        assert_eq!(kn_fragmentation_check(null_mut(), 1, None, null_mut()), KnStatus::Invalid);
        assert_eq!(kn_fragmentation_check(ground.heap, 1001, None, null_mut()), KnStatus::Invalid);
        assert_eq!(kn_fragmentation_check(ground.heap, 1000, None, null_mut()), KnStatus::Ok);
        assert_eq!(knoll::capi::witness::kn_heap_fingerprint(null_mut()), 0);
        assert_eq!(knoll::capi::witness::kn_block_fingerprint(null_mut(), null()), 0);
    }
    assert_eq!(out, KnFragmentation::default());
}

#[test]
fn the_process_heap_under_its_lock() {
    if cfg!(miri) {
        return;
    }
    let heap = knoll::capi::default::kn_heap_default();
    let threads: Vec<_> = (0..2)
        .map(|seed| {
            std::thread::spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..20_000 {
                    let block = knoll::capi::default::kn_malloc(random.log_between(1, 4000));
                    // SAFETY: a block of this thread's.
                    unsafe { knoll::capi::default::kn_free(block) };
                }
            })
        })
        .collect();
    let mut out = KnFragmentation::default();
    // SAFETY: the process heap, whose lock these take.
    unsafe {
        for _ in 0..200 {
            assert_eq!(kn_fragmentation(heap, &mut out), KnStatus::Ok);
            assert_eq!(out.used + out.free, out.total);
            assert_ne!(knoll::capi::witness::kn_heap_fingerprint(heap), 0);
            assert!(kn_heap_largest_free(heap) <= isize::MAX as usize);
        }
    }
    for thread in threads {
        thread.join().expect("thread");
    }
}
