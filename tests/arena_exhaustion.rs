//! Memory runs out in scopes and arenas, at every single operation of a program.
//!
//! For each operation of a scenario the heap is filled just before it until no block larger than so many
//! bytes is left, so that its first, its second, or a later allocation is refused. Then the memory comes
//! back: at once, or only at the end. What was refused must have changed nothing, what was given must be
//! whole, and when all has ended the heap must have its first fingerprint (`nest/src/world/mod.rs`).

use knoll::heap::KnLayout;
use knoll_graph::tuning::{DEFAULT, MANUAL};
use knoll_nest::op::Op;
use knoll_nest::plan::Plan;
use knoll_nest::tally::Tally;
use knoll_nest::world::{Setup, World};
use knoll_shadow::layouts;
use knoll_shadow::script::replay;

/// What may be left, in units of 8 bytes: nothing; a small cell; a segment's header; more than a record.
const LEFT: [u8; 5] = [0, 6, 20, 60, 160];

fn setup(layout: KnLayout, cells: bool, seed: u64) -> Setup {
    Setup {
        layout,
        bytes: 40_000,
        tuning: if seed % 2 == 0 { MANUAL } else { DEFAULT },
        cells,
        unruly: seed % 3 == 0,
        seed,
        verify_every: if cfg!(miri) { 64 } else { 4 },
    }
}

/// A program without phases of want of its own.
fn program(setup: &Setup, seed: u64, length: usize) -> Vec<Op> {
    let mut program = Plan { setup: setup.clone(), seed, operations: length }.operations();
    program.retain(|op| !matches!(op, Op::Fill { .. } | Op::Drain));
    program.truncate(length);
    program
}

/// Fails each operation of a few programs.
fn exhaust(cells: bool, persistently: bool) {
    let (programs, length) = if cfg!(miri) { (1, 12) } else { (4, 70) };
    let mut total = Tally::default();
    for (number, layout) in layouts!().enumerate() {
        for round in 0..programs {
            let seed = 1000 + (number * programs + round) as u64;
            let setup = setup(layout, cells, seed);
            let program = program(&setup, seed, length);
            for index in (0..program.len()).step_by(if cfg!(miri) { 5 } else { 1 }) {
                for leave in LEFT.into_iter().take(if cfg!(miri) { 1 } else { LEFT.len() }) {
                    let mut failing = program.clone();
                    if !persistently {
                        failing.insert(index + 1, Op::Drain);
                    }
                    failing.insert(index, Op::Fill { leave });
                    match replay::<World>(&setup, &failing) {
                        Ok(tally) => total.add(&tally),
                        Err(why) => panic!("{layout:?}, seed {seed}, {leave} left at {index}: {why}\n{failing:?}"),
                    }
                }
            }
        }
    }
    println!("cells: {cells}, persistently: {persistently}: {total}");
    assert!(total.refusals > 0 && total.entered > 0);
}

#[test]
fn one_refusal_of_raw_memory_changes_nothing() {
    exhaust(false, false);
}

#[test]
fn nothing_is_lost_when_raw_memory_stays_short() {
    exhaust(false, true);
}

#[test]
fn one_refusal_with_cells_changes_nothing() {
    exhaust(true, false);
}

#[test]
fn nothing_is_lost_with_cells_when_memory_stays_short() {
    exhaust(true, true);
}
