//! A long run: phases of growth, churn and decay over one heap, repeatable from its seed.
//!
//! Fragmentation is made by phases that differ, not by uniform chance: a heap is filled, some
//! of it freed in some order (at random, oldest first, newest first, every second block), and
//! filled again with other lifetimes.

use crate::op::{Misuse, Op};
use crate::random::{Random, Sizes};
use crate::shadow::{Ground, Shadow};
use crate::shrink;
use crate::tally::Tally;
use std::fmt::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The heap.
    pub ground: Ground,
    /// What is asked for.
    pub sizes: Sizes,
    /// Picks everything else.
    pub seed: u64,
    /// How many operations.
    pub operations: usize,
}

/// Which live block goes.
#[derive(Clone, Copy)]
enum Order {
    Random,
    Oldest,
    Newest,
    EverySecond,
}

/// Chooses the operations of a [`Plan`], one after the other.
struct Program {
    random: Random,
    sizes: Sizes,
    next_slot: u32,
    /// Chance of an allocation against a free, in percent.
    growth: usize,
    order: Order,
    left: usize,
    refusals: usize,
    cursor: u32,
}

impl Plan {
    /// Runs it. The error tells the seed, what went wrong and the fewest operations that show it.
    pub fn run(&self) -> Result<Tally, String> {
        let mut shadow = Shadow::new(&self.ground).ok_or_else(|| format!("{self:?}: the first region is too small"))?;
        let mut program = Program::new(self);
        let mut done = Vec::with_capacity(self.operations);
        for _ in 0..self.operations {
            let op = program.next(&shadow);
            done.push(op);
            let applied = catch_unwind(AssertUnwindSafe(|| shadow.apply(op)));
            if let Err(why) = applied.unwrap_or_else(|_| Err("the library panicked".into())) {
                return Err(self.explain(&done, &why));
            }
        }
        shadow.finish(self.seed).map_err(|why| self.explain(&done, &why))
    }

    fn explain(&self, done: &[Op], why: &str) -> String {
        let mut text = format!("operation {} of {self:?}:\n  {why}\n", done.len());
        let Some((fewest, why)) = shrink::shrink(&self.ground, done) else {
            text += "  (the same operations pass when every one of them is verified)\n";
            return text;
        };
        let _ = writeln!(text, "shrunk to {} operations: {why}", fewest.len());
        for op in fewest.iter().take(60) {
            let _ = writeln!(text, "  {op:?}");
        }
        text
    }
}

impl Program {
    fn new(plan: &Plan) -> Program {
        Program {
            random: Random::new(plan.seed),
            sizes: plan.sizes,
            next_slot: 0,
            growth: 90,
            order: Order::Random,
            left: 64,
            refusals: 0,
            cursor: 0,
        }
    }

    fn next(&mut self, shadow: &Shadow) -> Op {
        if self.left == 0 || shadow.tally.refusals > self.refusals + 8 {
            self.turn(shadow);
        }
        self.left -= 1;
        let heap = shadow.stats().total;
        match self.random.below(256) {
            0..=7 => Op::Misuse(self.misuse(shadow)),
            8..=31 => Op::Realloc { slot: self.victim(shadow), bytes: self.sizes.draw(&mut self.random, heap) },
            32..=39 => self.nudge(shadow),
            40 if shadow.has_spare_region() => Op::AddRegion,
            _ if self.random.below(100) < self.growth || shadow.blocks().is_empty() => self.allocation(heap),
            _ => Op::Free { slot: self.victim(shadow) },
        }
    }

    /// Begins another phase.
    fn turn(&mut self, shadow: &Shadow) {
        let live = shadow.blocks().len();
        let full = shadow.tally.refusals > self.refusals + 8;
        self.growth = match self.random.below(4) {
            0 if !full => 90,
            1 if !full => 70,
            2 => 50,
            _ => 10,
        };
        self.order = match self.random.below(4) {
            0 => Order::Oldest,
            1 => Order::Newest,
            2 => Order::EverySecond,
            _ => Order::Random,
        };
        self.left = self.random.between(16, 64 + 2 * live);
        self.refusals = shadow.tally.refusals;
        self.cursor = 0;
    }

    fn allocation(&mut self, heap: usize) -> Op {
        let slot = self.next_slot;
        self.next_slot += 1;
        let bytes = self.sizes.draw(&mut self.random, heap);
        match self.random.below(16) {
            0 => {
                let size = self.random.between(1, 24);
                Op::Calloc { slot, count: bytes / size, size }
            }
            1 => Op::Aligned { slot, shift: self.random.between(0, 10) as u8, bytes },
            2 | 3 => Op::MallocTop { slot, bytes },
            _ => Op::Malloc { slot, bytes },
        }
    }

    /// `realloc` by a few bytes, as strings and tables grow.
    fn nudge(&mut self, shadow: &Shadow) -> Op {
        let slot = self.victim(shadow);
        let bytes = shadow.block(slot).map_or(8, |block| block.bytes);
        Op::Realloc { slot, bytes: (bytes + self.random.below(48)).saturating_sub(12) }
    }

    /// A live block's slot; any slot if there is none.
    fn victim(&mut self, shadow: &Shadow) -> u32 {
        let live = shadow.blocks();
        if live.is_empty() {
            return self.next_slot;
        }
        let slot = match self.order {
            Order::Random => None,
            Order::Oldest => shadow.first_slot(),
            Order::Newest => shadow.last_slot(),
            Order::EverySecond => {
                let slot = shadow.slot_from(self.cursor).and_then(|one| shadow.slot_from(one + 1));
                self.cursor = slot.map_or(0, |slot| slot + 1);
                slot
            }
        };
        slot.unwrap_or_else(|| live[self.random.below(live.len())].slot)
    }

    fn misuse(&mut self, shadow: &Shadow) -> Misuse {
        let random = &mut self.random;
        let slot = match shadow.blocks() {
            [] => 0,
            live => live[random.below(live.len())].slot,
        };
        let word = random.bits();
        match random.below(10) {
            0..=2 => Misuse::DoubleFree { back: word as u8 },
            3 => Misuse::ReallocFreed { back: word as u8, bytes: random.below(300) },
            4 => Misuse::Interior { slot, offset: (word >> 8) as usize },
            5 => Misuse::Stray { offset: (word >> 8) as usize },
            6 => match word % 3 {
                0 => Misuse::Huge { below: (word >> 16) as u16 },
                1 => Misuse::Overflow { divisor: (word >> 16) as u16 },
                _ => Misuse::ReallocHuge { slot, below: (word >> 16) as u16 },
            },
            7 => Misuse::CrookedAlign { align: random.below(200), bytes: random.below(64) },
            8 => Misuse::WideAlign { bytes: random.below(64) },
            // The most usual of all: the block next to a live one's start.
            _ => Misuse::Interior { slot, offset: random.below(64) },
        }
    }
}
