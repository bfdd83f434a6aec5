//! Any operations on scopes, arenas, blocks and cells, held against the model: see
//! `tests/nest/src/world/mod.rs`.
//!
//! The first bytes choose the heap, the collector's configuration and what callbacks do.

#![no_main]

use knoll::heap::KnLayout;
use knoll_graph::tuning::SETS;
use knoll_nest::op::Op;
use knoll_nest::world::{Setup, World};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    layout: u8,
    pages: u8,
    set: u8,
    cells: bool,
    unruly: bool,
    seed: u8,
    operations: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let setup = Setup {
        layout: [KnLayout::Map, KnLayout::Compact, KnLayout::Wide][usize::from(input.layout % 3)],
        bytes: 9_000 + 500 * usize::from(input.pages),
        tuning: SETS[usize::from(input.set) % SETS.len()][0],
        cells: input.cells,
        unruly: input.unruly,
        seed: input.seed.into(),
        verify_every: 1,
    };
    let Some(world) = World::new(&setup) else { return };
    for &op in &input.operations {
        if let Err(why) = world.run(op).and_then(|()| world.verify()) {
            panic!("{op:?}: {why}");
        }
    }
    if let Err(why) = world.finish() {
        panic!("at the end: {why}");
    }
});
