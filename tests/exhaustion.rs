//! Memory runs out, at every single request of a program.
//!
//! For each request of a scenario the heap is filled to the last granule just before it, so that
//! it fails; what it answers, and what it leaves behind, is held against the shadow. Then the
//! memory comes back, or another region, and the program goes on to its end.

use knoll::heap::KnLayout;
use knoll_shadow::layouts;
use knoll_shadow::op::Op;
use knoll_shadow::random::Random;
use knoll_shadow::shadow::{Ground, Shadow, Shape};

/// Slots from here on hold what fills the heap.
const BALLAST: u32 = 1 << 20;

fn heap(layout: KnLayout, shapes: &[Shape]) -> Shadow {
    let checked = !cfg!(feature = "checks-none");
    Shadow::new(&Ground { layout, shapes: shapes.to_vec(), checked }).expect("heap")
}

/// A program: blocks of all kinds come, change and go.
fn scenario(length: u32) -> Vec<Op> {
    let mut random = Random::new(2);
    let mut program = Vec::new();
    for slot in 0..length {
        let bytes = random.log_between(4, 500);
        program.push(match random.below(5) {
            0 => Op::MallocTop { slot, bytes },
            1 => Op::Calloc { slot, count: bytes.div_ceil(6), size: 6 },
            2 => Op::Aligned { slot, shift: random.between(3, 8) as u8, bytes },
            _ => Op::Malloc { slot, bytes },
        });
        let other = random.below(slot as usize + 1) as u32;
        match random.below(4) {
            0 => program.push(Op::Free { slot: other }),
            1 => program.push(Op::Realloc { slot: other, bytes: random.log_between(2, 600) }),
            _ => {}
        }
    }
    program
}

/// Whether the operation may ask for memory.
fn asks(op: Op) -> bool {
    !matches!(op, Op::Free { .. } | Op::Misuse(_) | Op::AddRegion)
}

/// Whether it asks for memory even if the heap is full.
fn must_ask(op: Op, shadow: &Shadow) -> bool {
    match op {
        Op::Realloc { slot, bytes } => shadow.block(slot).is_none_or(|block| bytes > block.usable),
        other => asks(other),
    }
}

/// Takes all memory; the number of blocks that took.
fn fill(shadow: &mut Shadow) -> Result<u32, String> {
    let mut blocks = 0;
    loop {
        let bytes = shadow.stats().largest_free;
        let refusals = shadow.tally.refusals;
        shadow.apply(Op::Malloc { slot: BALLAST + blocks, bytes })?;
        if shadow.tally.refusals > refusals {
            return if bytes == 0 { Ok(blocks) } else { Err(format!("largest_free {bytes} refused")) };
        }
        blocks += 1;
    }
}

fn drain(shadow: &mut Shadow, blocks: u32) -> Result<(), String> {
    (0..blocks).try_for_each(|block| shadow.apply(Op::Free { slot: BALLAST + block }))
}

/// The heap is full at request `failing` and, if `for_good`, ever after.
fn run(layout: KnLayout, program: &[Op], failing: usize, for_good: bool) -> Result<bool, String> {
    let mut shadow = heap(layout, &[Shape { bytes: if cfg!(miri) { 4_000 } else { 40_000 }, offset: 3 }]);
    let mut failed = false;
    for (index, &op) in program.iter().enumerate() {
        if index != failing {
            shadow.apply(op)?;
            continue;
        }
        let ballast = fill(&mut shadow)?;
        if shadow.stats().free != 0 {
            // A header layout may leave nothing smaller than a granule: nothing is left.
            return Err(format!("{} bytes are free and not to be had", shadow.stats().free));
        }
        shadow.verify()?;
        let must_fail = must_ask(op, &shadow);
        let refusals = shadow.tally.refusals;
        shadow.apply(op)?;
        shadow.verify()?;
        failed = shadow.tally.refusals > refusals;
        if failed != must_fail {
            return Err(format!("{op:?} in a full heap: refused {failed}"));
        }
        if !for_good {
            drain(&mut shadow, ballast)?;
            let refusals = shadow.tally.refusals;
            if failed {
                shadow.apply(op)?;
            }
            if shadow.tally.refusals > refusals {
                return Err(format!("{op:?} is still refused with memory back"));
            }
        }
    }
    if !for_good && shadow.tally.refusals > usize::from(failed) + 1 {
        return Err(format!("{} refusals", shadow.tally.refusals));
    }
    shadow.finish(failing as u64)?;
    Ok(failed)
}

#[test]
fn each_request_may_fail_and_the_program_goes_on() {
    let program = scenario(if cfg!(miri) { 7 } else { 160 });
    for layout in layouts!() {
        for for_good in [false, true] {
            let mut failures = 0;
            let requests = (0..program.len()).filter(|&index| asks(program[index]));
            let count = requests.clone().count();
            for failing in requests {
                match run(layout, &program, failing, for_good) {
                    Ok(failed) => failures += usize::from(failed),
                    Err(why) => panic!("{layout:?}, request {failing}, {:?}: {why}", program[failing]),
                }
            }
            println!("{layout:?}: {failures} of {count} requests failed, for good: {for_good}");
            assert!(failures * 10 >= count * 8, "{failures} of {count}");
        }
    }
}

/// The first region is too small; each refusal brings the next one, and then the call works.
#[test]
fn a_region_that_comes_late_is_used_at_once() {
    let program = scenario(if cfg!(miri) { 20 } else { 300 });
    for layout in layouts!() {
        let mut shapes = vec![Shape { bytes: 700, offset: 1 }];
        shapes.extend((0..60).map(|n| Shape { bytes: 1400 + 97 * n, offset: n * 5 % 64 }));
        let mut shadow = heap(layout, &shapes);
        let mut added = 0;
        for &op in &program {
            let refusals = shadow.tally.refusals;
            shadow.apply(op).unwrap_or_else(|why| panic!("{layout:?}, {op:?}: {why}"));
            if shadow.tally.refusals == refusals {
                continue;
            }
            let fresh = shadow.has_spare_region();
            shadow.apply(Op::AddRegion).and_then(|()| shadow.apply(op)).and_then(|()| shadow.verify()).expect("retry");
            assert!(fresh && shadow.tally.refusals == refusals + 1, "{layout:?}: {op:?} refused again");
            added += 1;
        }
        println!("{layout:?}: {added} regions came when needed");
        assert!(added > 0);
        shadow.finish(3).expect("like new");
    }
}

/// A heap that is full to the last granule gives back exactly what was taken.
#[test]
fn a_heap_is_filled_and_emptied_again_and_again() {
    for layout in layouts!() {
        let mut shadow = heap(layout, &[Shape { bytes: if cfg!(miri) { 1000 } else { 5000 }, offset: 9 }]);
        let mut last = None;
        for _ in 0..if cfg!(miri) { 2 } else { 50 } {
            let blocks = fill(&mut shadow).expect("fill");
            assert_eq!(shadow.stats().free, 0, "{layout:?}");
            assert!(last.is_none_or(|last| last == blocks), "{layout:?}: {last:?} blocks, then {blocks}");
            last = Some(blocks);
            drain(&mut shadow, blocks).expect("drain");
        }
        // The smallest blocks, to the last one, twice.
        let mut counts = [0; 2];
        for count in counts.iter_mut().take(if cfg!(miri) { 0 } else { 2 }) {
            while shadow.stats().largest_free > 0 {
                shadow.apply(Op::Malloc { slot: *count, bytes: 1 }).expect("malloc");
                *count += 1;
            }
            for slot in (0..*count).rev() {
                shadow.apply(Op::Free { slot }).expect("free");
            }
        }
        assert!(cfg!(miri) || counts[0] == counts[1] && counts[0] > 100, "{layout:?}: {counts:?}");
        shadow.finish(1).expect("like new");
    }
}
