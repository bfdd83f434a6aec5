//! Counted cells against a naive model: a million operations, every configuration, every block layout.
//!
//! `KNOLL_OPS` sets how many operations the long runs do together, `KNOLL_SEED` where they begin. A
//! failure prints the run's seed and the fewest operations that repeat it; with `KNOLL_SHIELD=1` every
//! run is done in a child process, so that a crash is shrunk too. What is compared is told in
//! `graph/src/world/mod.rs`.

use knoll::counted::KN_GC_TORTURE;
use knoll::heap::KnLayout;
use knoll_graph::core::Core;
use knoll_graph::kinds::{COUNT, UNTRACED};
use knoll_graph::naive::Fault;
use knoll_graph::plan::{Plan, Setup};
use knoll_graph::tally::Tally;
use knoll_graph::tuning::SETS;
use knoll_shadow::layouts;
use std::time::Instant;

/// All kinds of cells.
const ALL: u32 = (1 << COUNT) - 1;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// What is mute and what is unruly in a run.
#[derive(Clone, Copy, Debug)]
struct Manners {
    mute: u32,
    unruly: u32,
    nosy: bool,
}

/// Operations of a run: many short ones, because they shrink fast.
const LENGTH: usize = 2500;

/// Every configuration with these manners, with callbacks and without, on every layout.
fn long_runs(manners: &[Manners]) {
    let begun = Instant::now();
    let usual = if cfg!(miri) { 2_000 } else { 3_000_000 };
    let operations = setting("KNOLL_OPS", usual) / 4;
    let first = setting("KNOLL_SEED", 1);
    let layouts: Vec<KnLayout> = layouts!().collect();
    // Miri takes a tenth of a second for an operation: few runs, of different configurations.
    let runs = if cfg!(miri) { (operations / 40).max(4) } else { (operations / LENGTH).max(SETS.len()) };
    let kinds_of = manners.len();
    let mut total = Tally::default();
    for number in 0..runs {
        let tunings = SETS[(5 * number + 2) % SETS.len()];
        let round = number / SETS.len();
        let manners = manners[round % manners.len()];
        let seed = first + number;
        let layout = layouts[seed % layouts.len()];
        let setup = Setup {
            layout,
            bytes: match layout {
                _ if cfg!(miri) => 30_000,
                KnLayout::Map => 60_000,
                _ if round % 3 == 0 => 60_000,
                _ => 200_000,
            },
            tunings,
            kinds: if round / kinds_of % 2 == 0 { ALL } else { UNTRACED },
            mute: manners.mute,
            unruly: manners.unruly,
            // In torture every allocation verifies, and then trace callbacks must only visit.
            nosy: manners.nosy && !tunings.iter().any(|tuning| tuning.flags & KN_GC_TORTURE != 0),
            seed: seed as u64,
            verify_every: 8,
            fault: Fault::None,
        };
        let plan = Plan { setup, seed: seed as u64, operations: operations.div_ceil(runs) };
        match plan.run::<Core>() {
            Ok(tally) => total.add(&tally),
            Err(why) => panic!("{why}\nrepeat with KNOLL_SEED={first} KNOLL_OPS={}", operations * 4),
        }
    }
    println!("{runs} runs from seed {first} in {:.1?}: {total}", begun.elapsed());
    assert!(total.operations >= operations && total.exact > 0);
    assert!(cfg!(miri) || total.by_count > 0 && total.by_cycle > 0);
}

const QUIET: Manners = Manners { mute: 0, unruly: 0, nosy: false };

#[test]
fn graphs_follow_their_model() {
    long_runs(&[QUIET, QUIET]);
}

#[test]
fn cells_without_callbacks_follow_their_model() {
    long_runs(&[Manners { mute: ALL, ..QUIET }, Manners { mute: 0x5a5a, ..QUIET }]);
}

#[test]
fn unruly_destructors_follow_their_model() {
    long_runs(&[Manners { unruly: ALL, ..QUIET }, Manners { unruly: 0x1234, mute: 0x21, ..QUIET }]);
}

#[test]
fn unruly_tracers_follow_their_model() {
    long_runs(&[Manners { nosy: true, ..QUIET }, Manners { nosy: true, unruly: ALL, ..QUIET }]);
}
