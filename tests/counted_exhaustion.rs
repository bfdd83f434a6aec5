//! Memory runs out inside the collector: at the first root, in a growing list, in the middle of a search.
//!
//! A graph is built, the heap is filled until no block larger than so many bytes is left, for every
//! number of bytes in turn, so that each allocation of what follows is refused in some of the runs:
//! roots are registered, slices done, collections tried. Then the memory comes back. Nothing may be
//! lost: what the program holds is intact all the time, and the next collection finds every cycle.

use knoll::heap::KnLayout;
use knoll_graph::core::Core;
use knoll_graph::kinds::{COUNT, UNTRACED};
use knoll_graph::naive::Fault;
use knoll_graph::op::Op;
use knoll_graph::plan::{Plan, Setup};
use knoll_graph::tally::Tally;
use knoll_graph::tuning::{Tuning, DEFAULT, LAZY, SLICED, SMALL, TINY, WHEN_FULL};
use knoll_graph::world::World;
use knoll_shadow::layouts;
use knoll_shadow::script::replay;

const ALL: u32 = (1 << COUNT) - 1;

fn setup(layout: KnLayout, tunings: &'static [Tuning], kinds: u32) -> Setup {
    Setup {
        layout,
        bytes: 40_000,
        tunings,
        kinds,
        mute: 0,
        unruly: 0,
        nosy: false,
        seed: 1,
        verify_every: if cfg!(miri) { 64 } else { 4 },
        fault: Fault::None,
    }
}

/// What comes before memory ends, and what after that.
fn program(setup: &Setup, seed: u64, leave: u8) -> Vec<Op> {
    let length = if cfg!(miri) { 20 } else { 60 };
    let ours = |op: &Op| !matches!(op, Op::Fill { .. } | Op::Drain | Op::Configure { .. });
    let part = |seed, operations| Plan { setup: setup.clone(), seed, operations }.operations().into_iter().filter(ours);
    let mut program: Vec<Op> = part(seed, length).collect();
    program.push(Op::Fill { leave });
    program.extend(part(seed + 1, length));
    program.extend((0..8).map(|var| Op::Drop { var: var * 2 }));
    program.extend([Op::Step { budget: 3 }, Op::Partial { eighths: 4 }, Op::New { var: 1, kind: 2, length: 4 }]);
    program.extend([Op::Collect, Op::Drain, Op::Collect]);
    program.extend(part(seed + 2, length / 2));
    program
}

/// Each amount of memory that may be left, on each layout.
fn exhaust(tunings: &'static [Tuning]) {
    let mut total = Tally::default();
    for (number, layout) in layouts!().enumerate() {
        for kinds in [ALL, UNTRACED] {
            let setup = setup(layout, tunings, kinds);
            for leave in (0..=u8::MAX).step_by(if cfg!(miri) { 101 } else { 1 }) {
                let seed = 3 * u64::from(leave) + number as u64;
                match replay::<World<Core>>(&setup, &program(&setup, seed, leave)) {
                    Ok(tally) => total.add(&tally),
                    Err(why) => panic!("{layout:?}, {} bytes left, seed {seed}: {why}", u32::from(leave) * 8),
                }
            }
        }
    }
    println!("{}: {total}", tunings[0].name);
    assert!(total.refusals > 0 && total.by_cycle > 0 && total.exact > 0);
}

#[test]
fn nothing_is_lost_without_memory() {
    exhaust(&[DEFAULT]);
}

#[test]
fn nothing_is_lost_without_memory_in_slices() {
    exhaust(&[SLICED]);
}

#[test]
fn nothing_is_lost_without_memory_when_lazy() {
    exhaust(&[LAZY]);
}

#[test]
fn nothing_is_lost_without_memory_in_small_sets() {
    exhaust(&[TINY]);
    exhaust(&[SMALL]);
}

/// `GC_new` collects before it says that memory is out.
#[test]
fn nothing_is_lost_when_a_full_heap_collects() {
    exhaust(&[WHEN_FULL]);
}
