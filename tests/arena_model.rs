//! Scopes and arenas against a model of them: random nests, every block layout, callbacks of all manners.
//!
//! `KNOLL_OPS` sets how many operations the long runs do together, `KNOLL_SEED` where they begin. A
//! failure prints the run's seed and the fewest operations that repeat it; with `KNOLL_SHIELD=1` every
//! run is done in a child process, so that a crash is shrunk too. What is compared is told in
//! `nest/src/world/mod.rs`.

use knoll::heap::KnLayout;
use knoll_graph::tuning::{Tuning, DEFAULT, EAGER, LAZY, MANUAL, SLICED, SLICED_LAZY, TINY, TORTURE, WHEN_FULL};
use knoll_nest::plan::Plan;
use knoll_nest::tally::Tally;
use knoll_nest::world::Setup;
use knoll_shadow::layouts;
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// Operations of a run: many short ones, because they shrink fast.
const LENGTH: usize = 1000;
/// Whether each call verifies the whole heap, which takes its time.
const FULLY: bool = cfg!(feature = "checks-full");

/// A quarter of the long runs.
fn long_runs(cells: bool, unruly: bool, tunings: &[Tuning]) -> Tally {
    let begun = Instant::now();
    let usual = match (cfg!(miri), FULLY) {
        (true, _) => 1_200,
        (false, true) => 200_000,
        (false, false) => 1_600_000,
    };
    let operations = setting("KNOLL_OPS", usual) / 4;
    let first = setting("KNOLL_SEED", 1);
    let layouts: Vec<KnLayout> = layouts!().collect();
    let runs = if cfg!(miri) { (operations / 60).max(2) } else { (operations / LENGTH).max(layouts.len()) };
    let mut total = Tally::default();
    for number in 0..runs {
        let seed = first + number;
        let setup = Setup {
            layout: layouts[seed % layouts.len()],
            bytes: [60_000, 24_000, 200_000, 60_000, 9_000][seed / 4 % if cells { 4 } else { 5 }],
            tuning: tunings[seed / layouts.len() % tunings.len()],
            cells,
            unruly,
            seed: seed as u64,
            verify_every: if cfg!(miri) { 16 } else { 8 },
        };
        let plan = Plan { setup, seed: seed as u64, operations: operations.div_ceil(runs) };
        match plan.run() {
            Ok(tally) => total.add(&tally),
            Err(why) => panic!("{why}\nrepeat with KNOLL_SEED={first} KNOLL_OPS={}", operations * 4),
        }
    }
    println!("{runs} runs from seed {first} in {:.1?}: {total}", begun.elapsed());
    assert!(total.operations >= operations && total.entered > 0 && total.exact > 0);
    total
}

#[test]
fn raw_memory_follows_its_model() {
    let total = long_runs(false, false, &[MANUAL]);
    if !cfg!(miri) {
        assert!(total.rewinds > 0 && total.refusals > 0 && total.cleanups > 0 && total.with_others > 0);
        // Every end, but those of resets, is to the exact fingerprint of the beginning.
        assert!(total.exact > total.rewinds + total.entered / 2);
    }
}

#[test]
fn cells_in_arenas_follow_their_model() {
    let total = long_runs(true, false, &[MANUAL]);
    if !cfg!(miri) {
        assert!(total.escapes > 0 && total.raw_escapes > 0 && total.promoted > 0 && total.weak > 0);
        assert!(total.destroyed > 0 && total.released > 0 && total.kept_open > 0);
    }
}

#[test]
fn collections_in_between_follow_their_model() {
    let tunings = [DEFAULT, EAGER, SLICED, LAZY, SLICED_LAZY, TINY, WHEN_FULL, TORTURE];
    let total = long_runs(true, false, &tunings);
    assert!(cfg!(miri) || total.escapes > 0 && total.promoted > 0 && total.released > 0);
}

#[test]
fn unruly_callbacks_follow_their_model() {
    let total = long_runs(true, true, &[MANUAL, MANUAL, DEFAULT, SLICED_LAZY]);
    assert!(cfg!(miri) || total.destroyed > 0 && total.cleanups > 0);
}
