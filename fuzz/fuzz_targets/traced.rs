//! Any operations on traced memory, held against the oracle of reachability: see `tests/trace/src/world/mod.rs`.
//!
//! The first bytes choose the configuration and what finalisers do.

#![no_main]

use knoll_trace::core::Core;
use knoll_trace::op::Op;
use knoll_trace::setup::Setup;
use knoll_trace::world::World;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    setup: u8,
    unruly: bool,
    seed: u8,
    operations: Vec<Op>,
}

fuzz_target!(|input: Input| {
    let setups = Setup::all();
    let chosen = setups[usize::from(input.setup) % setups.len()].clone();
    let setup = Setup { unruly: input.unruly, seed: u64::from(input.seed), verify_every: 1, ..chosen };
    let Some(world) = World::<Core>::new(&setup) else { panic!("no heap for {setup:?}") };
    for &op in &input.operations {
        if let Err(why) = world.run(op).and_then(|()| world.verify()) {
            panic!("{op:?}: {why}");
        }
    }
    if let Err(why) = world.finish() {
        panic!("at the end: {why}");
    }
});
