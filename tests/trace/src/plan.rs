//! A long run, repeatable from its seed: single operations at random, and phrases of them that make what chance alone
//! does not: lists, tables, webs, workflows, full heaps.
//!
//! The operations do not depend on what they do, so a run is a list, and its failures shrink
//! (`knoll_shadow::script`) by leaving operations out.

use crate::heap::Heap;
use crate::model::{PINS, VARS};
use crate::op::Op;
use crate::setup::Setup;
use crate::tally::Tally;
use crate::world::World;
use knoll_shadow::random::Random;
use knoll_shadow::script::{self, Stage};
use std::rc::Rc;

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
    pub fn run<H: Heap>(&self) -> Result<Tally, String> {
        script::run::<World<H>>(self, &self.setup, &self.operations())
    }

    /// The operations.
    pub fn operations(&self) -> Vec<Op> {
        let mut random = Random::new(self.seed);
        let mut operations = Vec::with_capacity(self.operations + 100);
        while operations.len() < self.operations {
            phrase(&mut random, &mut operations);
        }
        operations
    }
}

impl<H: Heap> Stage for World<H> {
    type Setup = Setup;
    type Op = Op;
    type Tally = Tally;
    type Home = Rc<World<H>>;

    fn open(setup: &Setup) -> Option<Rc<World<H>>> {
        World::new(setup)
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

    fn close(home: Rc<World<H>>) -> Result<Tally, String> {
        home.finish()
    }
}

fn byte(random: &mut Random) -> u8 {
    random.bits() as u8
}

fn var(random: &mut Random) -> u8 {
    random.below(VARS) as u8
}

/// Mostly small, now and then large.
fn bytes(random: &mut Random) -> u16 {
    match random.below(24) {
        0 => 0,
        1 => random.log_between(1000, 30_000) as u16,
        2..=6 => random.log_between(64, 2000) as u16,
        _ => random.between(1, 80) as u16,
    }
}

/// One operation at random.
pub fn any(random: &mut Random) -> Op {
    let [a, b, c, d, e, ..] = random.bits().to_le_bytes();
    let field = u16::from_le_bytes([b, c]);
    match random.below(200) {
        0..=49 => Op::New { var: a, kind: b, size: bytes(random), flags: c },
        50..=61 => Op::Copy { from: a, to: b },
        62..=71 => Op::Drop { var: a },
        72..=74 => Op::Aim { var: a, how: b },
        75..=114 => Op::Store { var: a, field, from: d, how: e },
        115..=116 => Op::Misplace { var: a, byte: field, from: d },
        117..=120 => Op::Clear { var: a, field },
        121..=130 => Op::Fetch { var: a, field, to: d },
        131..=138 => Op::Pin { pin: a, from: b % (VARS as u8 + 6) },
        139..=156 => Op::Resize { var: a, size: bytes(random), moves: d % 3 != 0 },
        157..=164 => Op::Free { var: a, dangle: b % 4 == 0 },
        165..=167 => Op::Collect,
        168 if a % 2 == 0 => Op::Flatten { var: b },
        168 => Op::Ask { what: a },
        169 => Op::Restart,
        170..=174 => Op::Step { granules: a },
        175..=178 => Op::Begin,
        179..=182 => Op::End,
        183 => Op::Lasting,
        184..=185 => Op::Passing,
        186 => Op::Lock,
        187..=190 => Op::Unlock,
        191 => Op::Mind { declines: a % 4 == 0 },
        192 if a % 8 == 0 => Op::Threshold { bytes: if b % 2 == 0 { 0 } else { u16::from(c) * 32 } },
        193 if a % 8 == 0 => Op::Area { which: b },
        194..=196 => Op::Probe { var: a, how: b },
        197..=198 => Op::Holders { var: a },
        _ => Op::Mind { declines: false },
    }
}

/// A few operations that belong together.
fn phrase(random: &mut Random, out: &mut Vec<Op>) {
    let kind = |random: &mut Random| if random.one_in(3) { byte(random) } else { 9 };
    match random.below(40) {
        // A list; half of them are closed to a ring, some are dropped.
        0..=4 => {
            let (first, last, next) = (var(random), var(random), var(random));
            let size = random.log_between(8, 100) as u16;
            out.push(Op::New { var: first, kind: 9, size, flags: byte(random) });
            out.push(Op::Copy { from: first, to: last });
            for _ in 1..random.log_between(2, 80) {
                out.push(Op::New { var: next, kind: kind(random), size, flags: byte(random) });
                out.push(Op::Store { var: next, field: 1 + random.below(7) as u16, from: last, how: 9 });
                out.push(Op::Copy { from: next, to: last });
                if random.one_in(8) {
                    out.push(any(random));
                }
            }
            if random.one_in(2) {
                out.push(Op::Store { var: first, field: 1, from: last, how: 9 });
            }
            if random.one_in(3) {
                out.push(Op::Collect);
            }
            if random.one_in(2) {
                out.extend([first, last, next].map(|var| Op::Drop { var }));
            }
        }
        // A table of many.
        5..=8 => {
            let (table, item) = (var(random), var(random));
            let count = random.log_between(4, 120) as u16;
            out.push(Op::New { var: table, kind: 9, size: count * 8, flags: byte(random) });
            for field in 0..count {
                out.push(Op::New { var: item, kind: byte(random), size: bytes(random) % 100, flags: byte(random) });
                out.push(Op::Store { var: table, field, from: item, how: byte(random) });
                if random.one_in(10) {
                    out.push(any(random));
                }
            }
            if random.one_in(2) {
                out.push(Op::Resize { var: table, size: count * 16, moves: true });
            }
            out.push(Op::Pin { pin: byte(random), from: table });
        }
        // Everything refers to everything.
        9..=11 => {
            let count = random.between(2, VARS);
            for var in 0..count as u8 {
                out.push(Op::New { var, kind: byte(random), size: bytes(random), flags: byte(random) });
            }
            for _ in 0..count * 3 {
                let (var, from) = (random.below(count) as u8, random.below(count) as u8);
                let field = random.below(8) as u16;
                out.push(Op::Store { var, field, from, how: byte(random) });
            }
            let left = random.below(count + 1);
            out.extend((left..count).map(|var| Op::Drop { var: var as u8 }));
        }
        // Blocks that hold others, and then no pointers any more.
        12..=14 => {
            for holder in 0..random.between(1, 8) as u8 {
                let (text, size) = (8 + holder, random.between(1, 300) as u16);
                out.push(Op::New { var: text, kind: holder % 3, size, flags: byte(random) });
                out.push(Op::New { var: holder, kind: 9, size: 30 + size, flags: byte(random) });
                out.push(Op::Store { var: holder, field: 1, from: text, how: byte(random) | 8 });
                out.push(Op::Drop { var: text });
                if random.one_in(2) {
                    out.push(Op::Flatten { var: holder });
                }
            }
            out.push(Op::Collect);
        }
        // A block that is resized again and again.
        15..=18 => {
            let grown = var(random);
            let mut size = random.between(1, 60);
            out.push(Op::New { var: grown, kind: kind(random), size: size as u16, flags: byte(random) });
            for _ in 0..random.between(2, 12) {
                size = match random.below(4) {
                    0 => size / 2,
                    1 => size + random.between(1, 20),
                    _ => (size * 2).min(9000),
                };
                out.push(Op::Resize { var: grown, size: size as u16, moves: !random.one_in(3) });
                if random.one_in(4) {
                    out.push(any(random));
                }
            }
        }
        // A workflow: transient blocks, and some in between that stay.
        19..=22 => {
            out.push(Op::Begin);
            for _ in 0..random.between(3, 30) {
                let flags = if random.one_in(6) { 4 } else { 8 };
                out.push(Op::New { var: var(random), kind: byte(random), size: bytes(random), flags });
                if flags == 4 {
                    out.push(Op::Pin { pin: random.below(PINS) as u8, from: var(random) });
                }
                if random.one_in(6) {
                    out.push(any(random));
                }
            }
            out.push(Op::End);
            if random.one_in(2) {
                out.extend((0..VARS as u8).map(|var| Op::Drop { var }));
                out.push(Op::Collect);
            }
        }
        // Memory ends: many of a size, then holes, then more.
        23..=25 => {
            let size = bytes(random).max(24);
            let holder = var(random);
            for _ in 0..random.log_between(8, 200) {
                let item = var(random);
                out.push(Op::New { var: item, kind: 9, size, flags: 8 });
                out.push(Op::Store { var: item, field: 1, from: holder, how: 9 });
                out.push(Op::Copy { from: item, to: holder });
                if random.one_in(12) {
                    out.push(any(random));
                }
            }
            for _ in 0..random.below(20) {
                out.push(Op::Fetch { var: holder, field: 1, to: var(random) });
                out.push(Op::Free { var: var(random), dangle: random.one_in(2) });
            }
        }
        // The sweep, and the program goes on between its steps.
        26..=28 => {
            out.push(Op::Collect);
            for _ in 0..random.between(2, 20) {
                out.push(Op::Step { granules: byte(random) % 80 });
                out.push(any(random));
                out.push(any(random));
            }
        }
        // The program lets go.
        29 => out.extend((0..VARS as u8).map(|var| Op::Drop { var })),
        30 => out.extend((0..PINS as u8).map(|pin| Op::Pin { pin, from: 255 })),
        31 => out.extend([Op::Unlock; 4]),
        32 => out.extend([Op::End, Op::End, Op::Passing, Op::End, Op::Passing]),
        _ => out.extend((0..8).map(|_| any(random))),
    }
}
