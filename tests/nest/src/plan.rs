//! A long run, repeatable from its seed: single operations at random, and phrases of them that make what
//! chance alone does not: workflows in workflows, tables that grow, webs across scopes, marks in loops.
//!
//! The operations do not depend on what they do, so a run is a list, and its failures shrink
//! (`knoll_shadow::script`) by leaving operations out.

use crate::model::{SLOTS, VARS};
use crate::op::Op;
use crate::tally::Tally;
use crate::world::{Setup, World};
use knoll_shadow::random::Random;
use knoll_shadow::script::{self, Stage};

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On what.
    pub setup: Setup,
    /// Picks the operations.
    pub seed: u64,
    /// How many, at least.
    pub operations: usize,
}

impl Plan {
    /// Runs it. The error tells the seed, what went wrong and the fewest operations that show it.
    pub fn run(&self) -> Result<Tally, String> {
        script::run::<World>(self, &self.setup, &self.operations())
    }

    /// The operations.
    pub fn operations(&self) -> Vec<Op> {
        let mut random = Random::new(self.seed);
        let mut operations = Vec::with_capacity(self.operations + 100);
        // Short runs have a scope and an arena, too.
        let [shape, other, ..] = random.bits().to_le_bytes();
        operations.push(Op::Enter { shape, presize: 500 });
        operations.push(Op::Create { shape: other, presize: 100 });
        while operations.len() < self.operations {
            phrase(&mut random, &mut operations);
        }
        operations
    }
}

impl Stage for World {
    type Setup = Setup;
    type Op = Op;
    type Tally = Tally;
    type Home = Box<World>;

    fn open(setup: &Setup) -> Option<Box<World>> {
        World::new(setup).map(Box::new)
    }

    fn verify_every(setup: &mut Setup) -> &mut usize {
        &mut setup.verify_every
    }

    fn act(&self, op: Op) -> Result<(), String> {
        self.run(op)
    }

    fn compare(&self) -> Result<(), String> {
        self.verify()
    }

    fn close(home: Box<World>) -> Result<Tally, String> {
        (*home).finish()
    }
}

fn byte(random: &mut Random) -> u8 {
    random.bits() as u8
}

/// Mostly small, now and then large.
fn bytes(random: &mut Random) -> u16 {
    match random.below(16) {
        0 => 0,
        1 => random.log_between(200, 20_000) as u16,
        2..=5 => random.log_between(16, 1000) as u16,
        _ => random.between(1, 64) as u16,
    }
}

/// One operation at random.
pub fn any(random: &mut Random) -> Op {
    let [a, b, c, d, ..] = random.bits().to_le_bytes();
    let slot = a % SLOTS as u8;
    match random.below(200) {
        0..=9 => Op::Enter { shape: a, presize: if b % 3 == 0 { 0 } else { bytes(random) } },
        10..=17 => Op::Leave { out: if b % 8 == 0 { c % 4 } else { 0 } },
        18 => Op::Unwind { out: b % 4 },
        19..=20 => Op::Create { shape: a, presize: if b % 2 == 0 { 0 } else { bytes(random) } },
        21..=22 => Op::Reset { arena: a, mode: b, limit: bytes(random) },
        23 => Op::Destroy { arena: a },
        24..=48 => Op::Alloc { arena: a, bytes: bytes(random), how: b },
        49..=58 => Op::Resize { arena: a, item: if b % 4 == 0 { c } else { 0 }, bytes: bytes(random) },
        59..=63 => Op::Mark { arena: a },
        64..=66 => Op::Rewind { arena: a, back: if b % 3 == 0 { c } else { 0 } },
        67..=70 => Op::Cleanup { arena: a, inside: b % 2 == 0 },
        71..=82 => Op::Malloc { slot, bytes: bytes(random), how: b },
        83..=86 => Op::Realloc { slot, bytes: bytes(random) },
        87..=94 => Op::Free { slot },
        95..=106 => Op::New { var: a, kind: b, length: c },
        107..=128 => Op::NewIn { arena: a, var: b, kind: c, length: d },
        129..=134 => Op::Copy { from: a, to: b },
        135..=142 => Op::Drop { var: a },
        143..=164 => Op::Store { var: a, field: b, from: c },
        165..=167 => Op::Clear { var: a, field: b },
        168..=172 => Op::Fetch { var: a, field: b, to: c },
        173..=176 => Op::Root { root: a, from: b },
        177..=178 => Op::RawRoot { root: a, from: b },
        179..=181 => Op::Tentative { arena: a, kind: b },
        182 => Op::Keep { which: a, var: b },
        183..=187 => Op::Weak { slot: a, arena: b, item: c },
        188..=191 => Op::Promote { var: a, to: b },
        192 => Op::Collect,
        193..=195 => Op::Step { budget: b % 40 },
        196 => match d % 4 {
            0 => Op::Fill { leave: b },
            _ => Op::Drain,
        },
        _ => Op::Drain,
    }
}

/// A few operations that belong together.
fn phrase(random: &mut Random, out: &mut Vec<Op>) {
    let var = |random: &mut Random| random.below(VARS) as u8;
    match random.below(24) {
        // A workflow, perhaps with others in it.
        0..=3 => {
            let depth = random.between(1, 4);
            for _ in 0..depth {
                out.push(Op::Enter { shape: byte(random), presize: bytes(random) });
                out.extend((0..random.between(1, 12)).map(|_| any(random)));
            }
            let left = random.below(depth + 1);
            out.extend((0..left).map(|_| Op::Leave { out: 0 }));
        }
        // A table that grows, and shrinks again.
        4..=5 => {
            let arena = byte(random);
            let mut size = random.between(1, 40);
            out.push(Op::Alloc { arena, bytes: size as u16, how: 15 });
            for _ in 0..random.between(2, 12) {
                size = if random.one_in(4) { size / 2 } else { (size * 2).min(4000) };
                out.push(Op::Resize { arena, item: 0, bytes: size as u16 });
                if random.one_in(5) {
                    out.push(Op::Mark { arena });
                }
            }
        }
        // Scratch memory in a loop.
        6..=7 => {
            let arena = byte(random);
            out.push(Op::Mark { arena });
            for _ in 0..random.between(2, 6) {
                for _ in 0..random.between(1, 8) {
                    out.push(Op::Alloc { arena, bytes: bytes(random), how: byte(random) });
                }
                if random.one_in(2) {
                    out.push(Op::NewIn { arena, var: var(random), kind: byte(random), length: byte(random) });
                }
                out.push(Op::Rewind { arena, back: 0 });
            }
        }
        // A web of cells inside, outside and further in.
        8..=11 => {
            for var in 0..VARS as u8 {
                let op = match random.below(3) {
                    0 => Op::New { var, kind: byte(random), length: byte(random) },
                    _ => Op::NewIn { arena: byte(random), var, kind: byte(random), length: byte(random) },
                };
                out.push(op);
            }
            for _ in 0..random.between(8, 40) {
                out.push(Op::Store { var: var(random), field: byte(random), from: var(random) });
            }
            if random.one_in(2) {
                out.push(Op::Promote { var: var(random), to: var(random) });
            }
            if random.one_in(2) {
                out.push(Op::Root { root: byte(random), from: var(random) });
            }
            let left = random.below(VARS + 1);
            out.extend((left..VARS).map(|var| Op::Drop { var: var as u8 }));
        }
        // Copies that can be made: cells without callbacks.
        12..=13 => {
            for var in 0..8 {
                out.push(Op::NewIn { arena: 0, var, kind: [0, 1, 3, 4][random.below(4)], length: byte(random) });
            }
            for _ in 0..random.between(4, 16) {
                out.push(Op::Store { var: random.below(8) as u8, field: byte(random), from: random.below(8) as u8 });
            }
            out.push(match random.below(3) {
                0 => Op::Root { root: byte(random), from: random.below(8) as u8 },
                _ => Op::Promote { var: random.below(8) as u8, to: 8 + random.below(8) as u8 },
            });
        }
        // The program lets go.
        14 => out.extend((0..VARS as u8).map(|var| Op::Drop { var })),
        15 => out.extend((0..6).map(|_| Op::Leave { out: 0 })),
        // Memory is short for a while.
        16 => {
            out.push(Op::Fill { leave: byte(random) });
            out.extend((0..random.between(1, 10)).map(|_| any(random)));
            out.push(Op::Drain);
        }
        _ => out.extend((0..8).map(|_| any(random))),
    }
}
