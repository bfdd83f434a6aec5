//! Heaps of every layout, over one region and over three, and random lives in them.

use knoll::heap::{KnBlock, KnHeap, KnHeapConfig, KnLayout, KnStatus, KN_BLOCK_USED};
use knoll_shadow::layouts;
use knoll_shadow::random::Random;
use std::collections::BTreeSet;

/// A heap over regions of its own, and what it must be.
pub struct Ground {
    pub heap: *mut KnHeap,
    layout: KnLayout,
    /// The memory, at least as long as the heap.
    memory: Vec<Vec<u64>>,
}

impl Ground {
    pub fn new(layout: KnLayout, regions: &[usize]) -> Ground {
        let mut ground = Ground { heap: std::ptr::null_mut(), layout, memory: Vec::new() };
        for &bytes in regions {
            ground.add(bytes);
        }
        ground
    }

    pub fn add(&mut self, bytes: usize) {
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
        self.memory.push(memory);
    }

    pub fn fingerprint(&self) -> u64 {
        // SAFETY: a live heap of this thread.
        unsafe { KnHeap::fingerprint(self.heap) }
    }

    pub fn term(&self, block: *mut u8) -> u64 {
        // SAFETY: as in `fingerprint`.
        unsafe { KnHeap::block_fingerprint(self.heap, block) }
    }

    /// All blocks, as the walk that verifies most shows them.
    pub fn blocks(&self) -> Vec<KnBlock> {
        let mut blocks = Vec::new();
        let mut visit = |block: &KnBlock| {
            blocks.push(*block);
            true
        };
        // SAFETY: as in `fingerprint`; nothing changes.
        assert_eq!(unsafe { KnHeap::walk(self.heap, &mut visit) }, KnStatus::Ok);
        blocks
    }

    /// The same, region by region: blocks of one touch each other.
    pub fn regions(&self) -> Vec<Vec<KnBlock>> {
        let mut regions: Vec<Vec<KnBlock>> = Vec::new();
        for block in self.blocks() {
            match regions.last_mut() {
                Some(region)
                    if region.last().is_some_and(|last| last.start.addr() + last.size == block.start.addr()) =>
                {
                    region.push(block);
                }
                _ => regions.push(vec![block]),
            }
        }
        assert_eq!(regions.len(), self.memory.len());
        regions
    }

    /// Where the used blocks are, and how long.
    pub fn used(&self) -> BTreeSet<(usize, usize)> {
        let blocks = self.blocks();
        let used = blocks.iter().filter(|block| block.state == KN_BLOCK_USED);
        used.map(|block| (block.start.addr(), block.size)).collect()
    }
}

/// Every layout, over one region and over three.
pub fn grounds(mut test: impl FnMut(Ground)) {
    for layout in layouts!() {
        // Each granule that a walk looks at costs Miri microseconds.
        let size = if cfg!(miri) { 1_000 } else { 5_000 };
        test(Ground::new(layout, &[4 * size]));
        test(Ground::new(layout, &[size + 200, 2 * size, size]));
    }
}

/// One call of many: what it does to the blocks in `live`.
pub fn step(ground: &Ground, random: &mut Random, live: &mut Vec<*mut u8>) {
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
