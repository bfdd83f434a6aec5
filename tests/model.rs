//! The heap against its shadow: millions of operations, every layout, every kind of region.
//!
//! `KNOLL_OPS` sets how many operations the long runs do together, `KNOLL_SEED` where they
//! begin. A failure prints the run's seed and the fewest operations that repeat it. What is
//! compared after each operation is in `shadow/src/shadow.rs`.

use knoll::heap::{KnHeap, KnLayout, KnStatus};
use knoll_shadow::arena::Arena;
use knoll_shadow::layouts;
use knoll_shadow::numbers::{config, stats_of};
use knoll_shadow::op::{Misuse, Op};
use knoll_shadow::plan::Plan;
use knoll_shadow::random::{Random, Sizes};
use knoll_shadow::shadow::{Block, Ground, Shadow, Shape, ALIGN};
use knoll_shadow::shrink::replay;
use knoll_shadow::tally::Tally;
use proptest::prelude::*;
use std::time::Instant;

/// Whether this build refuses wrong pointers.
const CHECKED: bool = !cfg!(feature = "checks-none");
/// Whether each call verifies the whole heap, which takes its time.
const FULLY: bool = cfg!(feature = "checks-full");

/// A heap of one region.
fn heap(layout: KnLayout, bytes: usize, offset: usize) -> Shadow {
    let shapes = vec![Shape { bytes, offset }];
    Shadow::new(&Ground { layout, shapes, checked: CHECKED }).expect("heap")
}

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// The runs to do: sets of regions, and the sizes asked for in each.
fn grounds() -> Vec<(Vec<Shape>, Sizes)> {
    let shape = |bytes, offset| Shape { bytes, offset };
    let small = vec![
        vec![shape(512, 0)],
        vec![shape(777, 13)],
        vec![shape(2048, 8)],
        vec![shape(1500, 1), shape(600, 7), shape(901, 24)],
    ];
    if cfg!(miri) {
        // Miri takes milliseconds for an operation: each ground with one distribution, two in all.
        return small.into_iter().zip([Sizes::Tiny, Sizes::Mixed].into_iter().cycle()).collect();
    }
    let large = vec![
        vec![shape(4099, 1), shape(1500, 7), shape(9001, 24)],
        vec![shape(10_007, 5)],
        vec![shape(65_536, 0)],
        vec![shape(65_533, 63), shape(512, 4), shape(30_000, 9), shape(700, 3)],
        vec![shape(200_001, 3)],
        vec![shape(258_048, 32), shape(100_003, 1)],
        vec![shape(614_405, 17)],
    ];
    let all = [small, large].concat();
    all.iter().flat_map(|shapes| Sizes::ALL.map(|sizes| (shapes.clone(), sizes))).collect()
}

/// A quarter of the long runs.
fn long_runs(layout: KnLayout) {
    if !layouts!().any(|offered| offered == layout) {
        return println!("{layout:?} is not in this build");
    }
    let begun = Instant::now();
    let usual = match (cfg!(miri), FULLY) {
        (true, _) => 800,
        (false, true) => 1_000_000,
        (false, false) => 8_000_000,
    };
    let operations = setting("KNOLL_OPS", usual) / 4;
    let first_seed = setting("KNOLL_SEED", 1);
    let grounds = grounds();
    let runs = grounds.len();
    let mut total = Tally::default();
    for (index, (shapes, sizes)) in grounds.into_iter().enumerate() {
        let ground = Ground { layout, shapes, checked: CHECKED };
        let plan = Plan { ground, sizes, seed: (first_seed + index) as u64, operations: operations.div_ceil(runs) };
        match plan.run() {
            Ok(tally) => total.add(&tally),
            Err(why) => panic!("{why}\nrepeat with KNOLL_SEED={first_seed} KNOLL_OPS={}", operations * 4),
        }
    }
    println!("{layout:?}, {runs} runs from seed {first_seed} in {:.1?}: {total}", begun.elapsed());
    assert!(total.operations >= operations);
    if !cfg!(miri) {
        assert!(total.refusals > 0 && total.grown_in_place > 0 && total.grown_moved > 0);
        assert!(total.misuses > operations / if CHECKED { 60 } else { 200 } && total.verifications > runs);
    }
}

#[test]
fn map_layout_follows_its_shadow() {
    long_runs(KnLayout::Map);
}

#[test]
fn compact_layout_follows_its_shadow() {
    long_runs(KnLayout::Compact);
}

#[test]
fn wide_layout_follows_its_shadow() {
    long_runs(KnLayout::Wide);
}

#[test]
fn automatic_layout_follows_its_shadow() {
    long_runs(KnLayout::Auto);
}

/// Operations on few slots and a small heap, so that proptest reaches and shrinks everything.
fn any_op(limit: usize) -> impl Strategy<Value = Op> {
    let slot = 0..12u32;
    let bytes = prop_oneof![4 => 0..80usize, 2 => 0..limit, 1 => (3..9u32).prop_map(|n| 1 << n)];
    let misuse = prop_oneof![
        any::<u8>().prop_map(|back| Misuse::DoubleFree { back }),
        (any::<u8>(), 0..90usize).prop_map(|(back, bytes)| Misuse::ReallocFreed { back, bytes }),
        (slot.clone(), any::<usize>()).prop_map(|(slot, offset)| Misuse::Interior { slot, offset }),
        any::<usize>().prop_map(|offset| Misuse::Stray { offset }),
        any::<u16>().prop_map(|below| Misuse::Huge { below }),
        any::<u16>().prop_map(|divisor| Misuse::Overflow { divisor }),
        (slot.clone(), any::<u16>()).prop_map(|(slot, below)| Misuse::ReallocHuge { slot, below }),
        (0..100usize, 0..90usize).prop_map(|(align, bytes)| Misuse::CrookedAlign { align, bytes }),
        (0..90usize).prop_map(|bytes| Misuse::WideAlign { bytes }),
    ];
    prop_oneof![
        6 => (slot.clone(), bytes.clone()).prop_map(|(slot, bytes)| Op::Malloc { slot, bytes }),
        2 => (slot.clone(), bytes.clone()).prop_map(|(slot, bytes)| Op::MallocTop { slot, bytes }),
        1 => (slot.clone(), 0..9usize, 0..60usize)
            .prop_map(|(slot, count, size)| Op::Calloc { slot, count, size }),
        1 => (slot.clone(), 0..10u8, bytes.clone())
            .prop_map(|(slot, shift, bytes)| Op::Aligned { slot, shift, bytes }),
        4 => (slot.clone(), bytes).prop_map(|(slot, bytes)| Op::Realloc { slot, bytes }),
        6 => slot.prop_map(|slot| Op::Free { slot }),
        2 => misuse.prop_map(Op::Misuse),
        1 => Just(Op::AddRegion),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 1500 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn short_runs_hold_after_every_operation(
        layout in prop::sample::select(layouts!().collect::<Vec<_>>()),
        bytes in 512..1400usize,
        offset in 0..64usize,
        operations in prop::collection::vec(any_op(600), 1..if cfg!(miri) { 25 } else { 120 }),
    ) {
        let shapes = vec![Shape { bytes, offset }, Shape { bytes: 640, offset: 64 - offset }];
        let ground = Ground { layout, shapes, checked: CHECKED };
        if let Err(why) = replay(&ground, &operations) {
            prop_assert!(false, "{why}");
        }
    }
}

/// `create` at every size and address: null below the least size, then a heap that works.
#[test]
fn every_region_size_and_address_works_or_is_refused() {
    let (sizes, step) = if cfg!(miri) { (700, 37) } else { (2100, 1) };
    for layout in layouts!() {
        let mut least = usize::MAX;
        for bytes in (0..sizes).step_by(step) {
            let arena = Arena::new(bytes, bytes * 7);
            // SAFETY: the arena outlives the heap; so below.
            let heap = unsafe { KnHeap::create(arena.start(), bytes, &config(layout)) };
            if heap.is_null() {
                assert!(bytes < 512, "{layout:?} refuses {bytes} bytes");
                arena.check_guards().expect("guards");
                continue;
            }
            least = least.min(bytes);
            // SAFETY: the heap is live.
            let stats = unsafe { stats_of(heap) }.expect("stats");
            assert!(stats.total + stats.overhead <= bytes && stats.free == stats.total);
            // SAFETY: the heap is live.
            unsafe {
                assert_eq!(KnHeap::check(heap), KnStatus::Ok, "{layout:?}, {bytes} bytes");
                let mut taken = Vec::new();
                while let Some(at) = std::ptr::NonNull::new(KnHeap::malloc(heap, 1)) {
                    at.write_bytes(0xff, KnHeap::usable_size(heap, at.as_ptr()));
                    taken.push(at);
                    assert!(taken.len() <= bytes, "more blocks than bytes");
                }
                let room = !taken.is_empty() || (FULLY && bytes < 512);
                assert!(room, "{layout:?}, {bytes} bytes: no room for one byte");
                assert_eq!(KnHeap::check(heap), KnStatus::Ok);
                for at in taken {
                    assert_eq!(KnHeap::free(heap, at.as_ptr()), KnStatus::Ok);
                }
                let whole = stats_of(heap).expect("stats").largest_free;
                assert!(!KnHeap::malloc(heap, whole).is_null(), "the largest block");
                assert_eq!(KnHeap::check(heap), KnStatus::Ok);
            }
            arena.check_guards().unwrap_or_else(|why| panic!("{layout:?}, {bytes} bytes: {why}"));
        }
        println!("{layout:?}: heaps from {least} bytes");
    }
}

/// Blocks from the top end lie above all others, and what is between stays in one piece.
#[test]
fn top_blocks_and_bottom_blocks_never_interleave() {
    for layout in layouts!() {
        let mut shadow = heap(layout, 16_384, 5);
        let mut random = Random::new(7);
        for slot in 0..60 {
            let bytes = random.between(1, 120);
            let op = if slot % 2 == 0 { Op::Malloc { slot, bytes } } else { Op::MallocTop { slot, bytes } };
            shadow.apply(op).and_then(|()| shadow.verify()).expect("apply");
        }
        let (bottom, top): (Vec<&Block>, Vec<&Block>) = shadow.blocks().iter().partition(|block| block.slot % 2 == 0);
        let highest = bottom.iter().map(|block| block.at.addr()).max().expect("blocks");
        let lowest = top.iter().map(|block| block.at.addr()).min().expect("blocks");
        assert!(highest < lowest, "{layout:?}: {highest:#x} from below, {lowest:#x} from the top");
        let free = shadow.layout_now().expect("walk").iter().filter(|block| !block.2).count();
        assert_eq!(free, 1, "{layout:?}: free pieces");
        shadow.finish(1).expect("like new");
    }
}

/// A block grows where it is while the memory behind it is free, and gives back what it loses.
#[test]
fn realloc_grows_and_shrinks_in_place() {
    for layout in layouts!() {
        let mut shadow = heap(layout, 8192, 0);
        shadow.apply(Op::Malloc { slot: 0, bytes: 24 }).expect("malloc");
        let at = shadow.block(0).expect("block").at;
        for bytes in (24..3000).step_by(56).chain((1..3000).rev().step_by(71)) {
            shadow.apply(Op::Realloc { slot: 0, bytes }).and_then(|()| shadow.verify()).expect("realloc");
            let block = shadow.block(0).expect("block");
            assert_eq!(block.at, at, "{layout:?}: moved at {bytes}");
            assert!(block.usable <= bytes + 3 * ALIGN, "{layout:?}: {} kept of {bytes}", block.usable);
        }
        shadow.finish(1).expect("like new");
    }
}

/// When nothing else is free, a block grows into the free block before it, contents moved.
#[test]
fn realloc_grows_into_the_left_neighbour_when_it_must() {
    for layout in layouts!() {
        let mut shadow = heap(layout, 4096, 0);
        let mut slot = 0;
        loop {
            // Two sizes: not every address is a multiple of 32.
            shadow.apply(Op::Malloc { slot, bytes: 200 + 16 * (slot as usize % 2) }).expect("malloc");
            if shadow.block(slot).is_none() {
                break;
            }
            slot += 1;
        }
        assert!(slot > 8, "{layout:?}: {slot} blocks of 200 bytes in 4 KB");
        // A block whose address happens to be more than usually aligned may have to stay.
        let least = |slot: &u32| shadow.block(*slot).map_or(64, |block| block.at.addr().trailing_zeros());
        let slot = (2..slot - 1).min_by_key(least).expect("a block");
        let before = *shadow.block(slot).expect("block");
        shadow.apply(Op::Free { slot: slot - 1 }).expect("free");
        shadow.apply(Op::Realloc { slot, bytes: 390 }).and_then(|()| shadow.verify()).expect("realloc");
        let after = shadow.block(slot).expect("block");
        assert!(after.at < before.at && after.usable >= 390, "{layout:?}: {after:?} of {before:?}");
        shadow.finish(1).expect("like new");
    }
}

/// Null, zero and one: the ends of every parameter.
#[test]
fn nothing_and_null_are_answered() {
    for layout in layouts!() {
        let arena = Arena::new(1024, 3);
        // SAFETY: the arena outlives the heap, and null is what is asked about.
        unsafe {
            assert!(KnHeap::create(std::ptr::null_mut(), 4096, &config(layout)).is_null());
            let heap = KnHeap::create(arena.start(), arena.bytes(), &config(layout));
            let before = stats_of(heap).expect("stats");
            assert_eq!(KnHeap::free(heap, std::ptr::null_mut()), KnStatus::Ok);
            assert_eq!(KnHeap::usable_size(heap, std::ptr::null()), 0);
            assert!(!KnHeap::contains(heap, std::ptr::null()));
            let outside = arena.start().wrapping_add(arena.bytes());
            assert!(!KnHeap::contains(heap, outside) && !KnHeap::contains(heap, arena.start().wrapping_sub(1)));
            assert!(KnHeap::aligned_alloc(heap, 0, 8).is_null());
            for small in [0, 1, 100] {
                let bad = Arena::new(128, 1);
                let status = KnHeap::add_region(heap, bad.start(), small, &config(layout));
                assert_ne!(status, KnStatus::Ok, "{layout:?}: a region of {small} bytes");
                bad.check_guards().expect("guards");
            }
            let status = KnHeap::add_region(heap, std::ptr::null_mut(), 4096, &config(layout));
            assert_ne!(status, KnStatus::Ok);
            assert_eq!(stats_of(heap).expect("stats").total, before.total);
            assert_eq!(KnHeap::check(heap), KnStatus::Ok);
        }
        arena.check_guards().expect("guards");
    }
}
