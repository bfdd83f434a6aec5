//! The checks of traced memory are checked: a naive heap passes them, and with any of its faults planted it does not.
//!
//! See `trace/src/naive.rs` for the faults and `trace/src/world/mod.rs` for what is required.

use knoll_trace::faults::Fault;
use knoll_trace::naive::Naive;
use knoll_trace::plan::Plan;
use knoll_trace::setup::Setup;
use knoll_trace::tally::Tally;

fn plan(setup: &Setup, fault: Fault, unruly: bool, seed: u64, operations: usize) -> Plan {
    let setup = Setup { fault, unruly, seed, ..setup.clone() };
    Plan { setup, seed, operations }
}

/// The model is right about a heap that is right, finalisers that free included.
#[test]
fn the_naive_heap_passes() {
    let mut total = Tally::default();
    for (number, setup) in Setup::all().into_iter().enumerate() {
        if cfg!(miri) && number > 1 {
            break;
        }
        for unruly in [false, true] {
            let operations = if cfg!(miri) { 100 } else { 4000 };
            let plan = plan(&setup, Fault::None, unruly, number as u64, operations);
            total.add(&plan.run::<Naive>().unwrap_or_else(|why| panic!("{why}")));
        }
    }
    println!("{total}");
    assert!(total.died > 0 && total.finalised > 0);
}

/// A model that notices nothing would prove nothing.
#[test]
fn every_planted_fault_is_noticed() {
    if cfg!(miri) {
        // Nothing here is Knoll's; the faults would stop Miri.
        return;
    }
    let setups = Setup::all();
    for fault in Fault::ALL {
        // Some are wrong in some configurations, and now and then only.
        let runs = (0..4).flat_map(|round| setups.iter().map(move |setup| (round, setup)));
        let mut failed = runs
            .enumerate()
            .map(|(number, (round, setup))| plan(setup, fault, round % 2 == 0, number as u64, 2000).run::<Naive>());
        let why = failed.find_map(Result::err).unwrap_or_else(|| panic!("{fault:?} was not noticed"));
        let shrunk = why.lines().find_map(|line| line.strip_prefix("shrunk to ")?.split(' ').next()?.parse().ok());
        println!("{fault:?}: {} (shrunk to {shrunk:?} operations)", why.lines().nth(1).unwrap_or_default().trim());
        assert!(shrunk.is_some_and(|shrunk: usize| shrunk <= 150), "{fault:?} does not shrink:\n{why}");
    }
}
