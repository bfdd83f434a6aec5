//! Traced memory against a naive oracle of reachability: every configuration, a million operations.
//!
//! `KNOLL_OPS` sets how many operations the long runs do together, `KNOLL_SEED` where they begin. A failure prints the
//! run's seed and the fewest operations that repeat it; with `KNOLL_SHIELD=1` every run is done in a child process, so
//! that a crash is shrunk too. What is compared is told in `trace/src/world/mod.rs`.

use knoll_trace::core::Core;
use knoll_trace::plan::Plan;
use knoll_trace::setup::Setup;
use knoll_trace::tally::Tally;
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// Operations of a run: many short ones, because they shrink fast.
const LENGTH: usize = if cfg!(miri) { 40 } else { 1500 };

/// A third of the long runs, on the configurations that `chosen` takes.
fn long_runs(unruly: bool, chosen: impl Fn(&Setup) -> bool) -> Tally {
    let begun = Instant::now();
    let operations = setting("KNOLL_OPS", if cfg!(miri) { 900 } else { 1_200_000 }) / 3;
    let first = setting("KNOLL_SEED", 1);
    let setups: Vec<Setup> = Setup::all().into_iter().filter(chosen).collect();
    let runs = (operations / LENGTH).max(if cfg!(miri) { 1 } else { setups.len() });
    let mut total = Tally::default();
    for number in 0..runs {
        let seed = first + number;
        let setup = Setup {
            unruly,
            seed: seed as u64,
            verify_every: if cfg!(miri) { 16 } else { 8 },
            // Under Miri there are few runs: their configurations shall differ.
            ..setups[5 * seed % setups.len()].clone()
        };
        let plan = Plan { setup, seed: seed as u64, operations: LENGTH };
        match plan.run::<Core>() {
            Ok(tally) => total.add(&tally),
            Err(why) => panic!("{why}\nrepeat with KNOLL_SEED={seed}"),
        }
    }
    println!("{runs} runs from seed {first} in {:.1?}: {total}", begun.elapsed());
    assert!(total.operations >= LENGTH && total.collections > 0 && total.died > 0);
    total
}

#[test]
fn words_are_followed() {
    let total = long_runs(false, |setup| !setup.precise);
    if !cfg!(miri) {
        assert!(total.finalised > 0 && total.refusals > 0 && total.automatic > 0 && total.freed > 0);
        assert!(total.in_place > 0 && total.moved > 0);
    }
}

#[test]
fn hooks_tell_the_pointers() {
    let total = long_runs(false, |setup| setup.precise);
    assert!(total.traced > 0);
}

#[test]
fn unruly_finalisers_are_followed() {
    let total = long_runs(true, |_| true);
    assert!(cfg!(miri) || total.finalised > 0 && total.freed > 0);
}
