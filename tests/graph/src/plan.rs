//! A long run, repeatable from its seed: single operations at random, and phrases of them that make
//! what chance alone does not: rings, long chains, dense webs, trees, roots that come and go.
//!
//! The operations do not depend on what they do, so a run is a list, and its failures shrink
//! (`knoll_shadow::script`) by leaving operations out.

use crate::collector::Collector;
use crate::naive::Fault;
use crate::op::Op;
use crate::tally::Tally;
use crate::tuning::Tuning;
use crate::world::{World, VARS};
use knoll::heap::KnLayout;
use knoll_shadow::random::Random;
use knoll_shadow::script::{self, Stage};

/// The heap, the collector, the types.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the heap keeps its blocks.
    pub layout: KnLayout,
    /// The heap's size.
    pub bytes: usize,
    /// Configurations; the first is in force at the start.
    pub tunings: &'static [Tuning],
    /// Which kinds are made, as a mask.
    pub kinds: u32,
    /// Which kinds have no destroy callback.
    pub mute: u32,
    /// Which kinds' destroy callbacks do operations of their own.
    pub unruly: u32,
    /// Whether trace callbacks do.
    pub nosy: bool,
    /// For what callbacks do.
    pub seed: u64,
    /// Operations between two verifications.
    pub verify_every: usize,
    /// What the naive collector does wrong.
    pub fault: Fault,
}

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
    pub fn run<C: Collector>(&self) -> Result<Tally, String> {
        script::run::<World<C>>(self, &self.setup, &self.operations())
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

impl<C: Collector> Stage for World<C> {
    type Setup = Setup;
    type Op = Op;
    type Tally = Tally;
    type Home = Box<World<C>>;

    fn open(setup: &Setup) -> Option<Box<World<C>>> {
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

    fn close(home: Box<World<C>>) -> Result<Tally, String> {
        (*home).finish()
    }
}

/// One operation at random.
pub fn any(random: &mut Random) -> Op {
    let word = random.bits();
    let [a, b, c, d, ..] = word.to_le_bytes();
    let (var, field, from) = (a, b % 8, c);
    let budget = 1 + (b % 40);
    match random.below(100) {
        0..=15 => Op::New { var, kind: b, length: c },
        16..=23 => Op::Copy { from: a, to: b },
        24..=35 => Op::Drop { var },
        36..=39 => Op::Pin { var },
        40..=44 => Op::Unpin { pin: a },
        45..=62 => Op::Store { var, field, from },
        63..=66 => Op::Move { var, field, from },
        67..=74 => Op::Fetch { var, field, to: from },
        75..=78 => Op::MoveOut { var, field, to: from },
        79..=82 => Op::Clear { var, field },
        83..=84 => Op::Swap { var, field, other: c, place: d % 8 },
        85..=86 => Op::Turn { var },
        87 => Op::Reuse { var },
        88..=93 => Op::Step { budget },
        94 => Op::Partial { eighths: b % 10 },
        95 => match d % 8 {
            0 => Op::Enable,
            1 => Op::Disable,
            _ => Op::Configure { which: b },
        },
        96 => match d % 4 {
            0 => Op::Fill { leave: b },
            _ => Op::Drain,
        },
        97 => Op::Settle { budget },
        _ if d % 4 == 0 => Op::Collect,
        _ => Op::Step { budget: budget / 8 },
    }
}

/// A few operations that belong together.
fn phrase(random: &mut Random, out: &mut Vec<Op>) {
    let var = |random: &mut Random| random.below(VARS) as u8;
    let kind = |random: &mut Random| random.bits() as u8;
    match random.below(40) {
        // A chain; half of them are closed to a ring, some of these are dropped.
        0..=5 => {
            let (first, last, next) = (var(random), var(random), var(random));
            let uniform = random.one_in(2).then(|| kind(random));
            let length = random.log_between(2, 60);
            out.push(Op::New { var: first, kind: uniform.unwrap_or(1), length: 3 });
            out.push(Op::Copy { from: first, to: last });
            for _ in 1..length {
                let kind = uniform.unwrap_or_else(|| 1 + kind(random) % 5);
                let field = random.below(4) as u8;
                out.push(Op::New { var: next, kind, length: 3 });
                out.push(Op::Store { var: next, field, from: last });
                out.push(Op::Copy { from: next, to: last });
                if random.one_in(8) {
                    out.push(any(random));
                }
            }
            if random.one_in(2) {
                out.push(Op::Store { var: first, field: random.below(4) as u8, from: last });
            }
            if !random.one_in(4) {
                let drops = [first, last, next].map(|var| Op::Drop { var });
                out.extend(drops);
            }
        }
        // Everything refers to everything.
        6..=8 => {
            let count = random.between(2, VARS);
            for var in 0..count as u8 {
                out.push(Op::New { var, kind: 1 + kind(random) % 5, length: random.between(1, 9) as u8 });
            }
            for _ in 0..count * 3 {
                let (var, from) = (random.below(count) as u8, random.below(count) as u8);
                out.push(Op::Store { var, field: random.below(8) as u8, from });
            }
            let left = random.below(count + 1);
            out.extend((left..count).map(|var| Op::Drop { var: var as u8 }));
        }
        // Roots come and go.
        9..=11 => {
            for _ in 0..random.between(3, 30) {
                out.push(Op::Pin { var: var(random) });
                out.push(Op::Unpin { pin: random.bits() as u8 });
            }
        }
        // Slices, and the program goes on between them.
        12..=15 => {
            let budget = random.log_between(1, 32) as u8;
            for _ in 0..random.between(4, 40) {
                out.push(Op::Step { budget });
                if !random.one_in(3) {
                    out.push(any(random));
                }
            }
        }
        // A tree from the leaves up.
        16 => {
            for round in 0..random.between(2, 5) as u8 {
                for var in (0..VARS as u8 - 1).step_by(2 << round.min(2)) {
                    out.push(Op::New { var: 15, kind: 2, length: 0 });
                    out.push(Op::Move { var: 15, field: 0, from: var });
                    out.push(Op::Move { var: 15, field: 1, from: var + 1 });
                    out.push(Op::Copy { from: 15, to: var });
                }
            }
        }
        // The program lets go.
        17 => out.extend((0..VARS as u8).map(|var| Op::Drop { var })),
        18 => out.extend((0..20).map(|_| Op::Unpin { pin: 0 })),
        19 => out.push(Op::Collect),
        _ => out.extend((0..8).map(|_| any(random))),
    }
}
