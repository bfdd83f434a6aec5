//! Any operations on counted cells, held against the naive model: see `tests/graph/src/world/mod.rs`.
//!
//! The first bytes choose the configurations, the kinds of cells, the heap and what callbacks do.

#![no_main]

use knoll::heap::KnLayout;
use knoll_graph::core::Core;
use knoll_graph::kinds::{COUNT, UNTRACED};
use knoll_graph::naive::Fault;
use knoll_graph::op::Op;
use knoll_graph::plan::Setup;
use knoll_graph::tuning::SETS;
use knoll_graph::world::World;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    set: u8,
    layout: u8,
    pages: u8,
    traced: bool,
    mute: u16,
    unruly: u16,
    nosy: bool,
    operations: Vec<Op>,
}

fuzz_target!(|input: Input| {
    const ALL: u32 = (1 << COUNT) - 1;
    let tunings = SETS[usize::from(input.set) % SETS.len()];
    let torture = tunings.iter().any(|tuning| tuning.flags & knoll::counted::KN_GC_TORTURE != 0);
    let setup = Setup {
        layout: [KnLayout::Map, KnLayout::Compact, KnLayout::Wide][usize::from(input.layout % 3)],
        bytes: 24_000 + 1000 * usize::from(input.pages),
        tunings,
        kinds: if input.traced { ALL } else { UNTRACED },
        mute: u32::from(input.mute) & ALL,
        unruly: u32::from(input.unruly) & ALL,
        // In torture every allocation verifies, and then trace callbacks must only visit.
        nosy: input.nosy && !torture,
        seed: u64::from(input.mute ^ input.unruly),
        verify_every: 1,
        fault: Fault::None,
    };
    let Some(world) = World::<Core>::new(&setup) else { return };
    for &op in &input.operations {
        if let Err(why) = world.run(op).and_then(|()| world.verify()) {
            panic!("{op:?}: {why}");
        }
    }
    if let Err(why) = world.finish() {
        panic!("at the end: {why}");
    }
});
