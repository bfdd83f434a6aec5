//! The fingerprint of a heap: what it tells from what, and that it is the sum that it says it is.
//!
//! Each test runs on every layout, over one region and over three.

use knoll::heap::{KnBlock, KnHeap, KnHeapConfig, KnLayout, KnStatus, KN_BLOCK_USED};
use knoll_shadow::layouts;
use knoll_shadow::random::Random;
use std::collections::{BTreeSet, HashMap};

/// A heap over regions of its own, and what it must be.
struct Ground {
    heap: *mut KnHeap,
    layout: KnLayout,
    /// The memory, at least as long as the heap.
    regions: Vec<Vec<u64>>,
}

impl Ground {
    fn new(layout: KnLayout, regions: &[usize]) -> Ground {
        let mut ground = Ground { heap: std::ptr::null_mut(), layout, regions: Vec::new() };
        for &bytes in regions {
            ground.add(bytes);
        }
        ground
    }

    fn add(&mut self, bytes: usize) {
        let mut memory = vec![0u64; bytes / 8];
        let config = KnHeapConfig { layout: self.layout, flags: 0 };
        let start = memory.as_mut_ptr().cast();
        // SAFETY: the memory is kept with the heap, and nobody else uses it.
        unsafe {
            if self.heap.is_null() {
                self.heap = KnHeap::create(start, bytes, &config);
                assert!(!self.heap.is_null());
            } else {
                assert_eq!(KnHeap::add_region(self.heap, start, bytes, &config), KnStatus::Ok);
            }
        }
        self.regions.push(memory);
    }

    fn fingerprint(&self) -> u64 {
        // SAFETY: a live heap of this thread.
        unsafe { KnHeap::fingerprint(self.heap) }
    }

    fn term(&self, block: *mut u8) -> u64 {
        // SAFETY: as in `fingerprint`.
        unsafe { KnHeap::block_fingerprint(self.heap, block) }
    }

    /// The used blocks: what the fingerprint is to stand for.
    fn used(&self) -> BTreeSet<(usize, usize)> {
        let mut used = BTreeSet::new();
        let mut visit = |block: &KnBlock| {
            if block.state == KN_BLOCK_USED {
                used.insert((block.start.addr(), block.size));
            }
            true
        };
        // SAFETY: as in `fingerprint`; nothing changes.
        assert_eq!(unsafe { KnHeap::walk(self.heap, &mut visit) }, KnStatus::Ok);
        used
    }
}

/// Every layout, over one region and over three.
fn grounds(mut test: impl FnMut(Ground)) {
    for layout in layouts!() {
        test(Ground::new(layout, &[20_000]));
        test(Ground::new(layout, &[6_000, 9_000, 5_000]));
    }
}

/// One call of many: what it does to the blocks in `live`.
fn step(ground: &Ground, random: &mut Random, live: &mut Vec<*mut u8>) {
    let bytes = random.log_between(1, 900);
    let one = random.below(live.len().max(1));
    // SAFETY: a live heap, blocks that nobody else uses.
    unsafe {
        match random.below(6) {
            0 | 1 => live.push(KnHeap::malloc(ground.heap, bytes)),
            2 => live.push(KnHeap::malloc_top(ground.heap, bytes)),
            3 if !live.is_empty() => {
                let moved = KnHeap::realloc(ground.heap, live[one], bytes);
                if !moved.is_null() {
                    live[one] = moved;
                }
            }
            _ if !live.is_empty() => {
                assert_eq!(KnHeap::free(ground.heap, live.swap_remove(one)), KnStatus::Ok);
            }
            _ => {}
        }
    }
    live.retain(|block| !block.is_null());
}

#[test]
fn equal_exactly_where_the_used_blocks_are_equal() {
    let steps = if cfg!(miri) { 40 } else { 3_000 };
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
    assert!(all > if cfg!(miri) { 100 } else { 10_000 }, "{all} states");
}

#[test]
fn the_sum_of_the_blocks_own() {
    grounds(|ground| {
        let empty = ground.fingerprint();
        let mut random = Random::new(12);
        let mut live = Vec::new();
        for _ in 0..if cfg!(miri) { 20 } else { 400 } {
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
        let ground = Ground::new(layout, &[4_000, 4_000]);
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
        assert!(count > 80, "{count}");
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
