//! The checks of the counted part are checked: a naive collector passes them, and with any of its faults
//! planted it does not.
//!
//! See `graph/src/naive.rs` for the faults and `graph/src/world/mod.rs` for what is required.

use knoll::heap::KnLayout;
use knoll_graph::kinds::COUNT;
use knoll_graph::naive::{Fault, Naive};
use knoll_graph::plan::{Plan, Setup};
use knoll_graph::tally::Tally;
use knoll_graph::tuning::{Tuning, ARC, DEFAULT, EAGER, MANUAL};

fn plan(tunings: &'static [Tuning], fault: Fault, seed: u64, operations: usize) -> Plan {
    let setup = Setup {
        layout: KnLayout::Auto,
        bytes: 0,
        tunings,
        kinds: (1 << COUNT) - 1,
        mute: 0,
        unruly: 0,
        nosy: false,
        seed,
        verify_every: 8,
        fault,
    };
    Plan { setup, seed, operations }
}

/// The model is right about a collector that is right, callbacks that do anything included.
#[test]
fn the_naive_collector_passes() {
    let mut total = Tally::default();
    let sets: [&[Tuning]; 4] = [&[DEFAULT], &[ARC], &[EAGER], &[MANUAL, EAGER]];
    for (index, tunings) in sets.into_iter().enumerate() {
        for (round, (mute, unruly)) in [(0, 0), (0x5a5a, 0), (0, 0x3fff), (0x33, 0x3ff0)].into_iter().enumerate() {
            let mut plan =
                plan(tunings, Fault::None, (index * 4 + round) as u64, if cfg!(miri) { 150 } else { 12_000 });
            plan.setup.mute = mute;
            plan.setup.unruly = unruly;
            total.add(&plan.run::<Naive>().unwrap_or_else(|why| panic!("{why}")));
        }
    }
    println!("{total}");
    assert!(total.by_count > total.by_cycle && total.by_cycle > 0 && total.exact > 0 && total.in_callbacks > 0);
}

/// A model that notices nothing would prove nothing.
#[test]
fn every_planted_fault_is_noticed() {
    if cfg!(miri) {
        // Nothing here is Knoll's; the faults would stop Miri.
        return;
    }
    for fault in Fault::ALL {
        let tunings: &[Tuning] = if fault == Fault::CollectsInArc { &[ARC] } else { &[DEFAULT] };
        // Some are wrong now and then only.
        let why = (0..10).find_map(|seed| plan(tunings, fault, seed, 4000).run::<Naive>().err());
        let why = why.unwrap_or_else(|| panic!("{fault:?} was not noticed"));
        let shrunk = why.lines().find_map(|line| line.strip_prefix("shrunk to ")?.split(' ').next()?.parse().ok());
        println!("{fault:?}: {} (shrunk to {shrunk:?} operations)", why.lines().nth(1).unwrap_or_default().trim());
        assert!(shrunk.is_some_and(|shrunk: usize| shrunk <= 150), "{fault:?} does not shrink:\n{why}");
    }
}
