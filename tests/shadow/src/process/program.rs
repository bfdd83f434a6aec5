//! The calls of a long run, chosen from a seed: growth, churn and decay in turn, sizes of every kind.

use super::model::{Call, Model, Wrong};
use crate::random::Random;

/// Chooses one call after the other.
pub struct Program {
    random: Random,
    /// Chance of an allocation against a free, in percent.
    growth: usize,
    /// Calls left of this phase.
    left: usize,
    /// What is asked for mostly.
    mood: Mood,
    /// Where every second block is freed, and the oldest.
    cursor: usize,
}

#[derive(Clone, Copy)]
enum Mood {
    /// One size for all: pages fill up and empty.
    One(usize),
    /// Below a kilobyte.
    Small,
    /// Every class of the small pages.
    Classes,
    /// Around the limits at which the kind of block changes.
    Limits,
    /// Everything, a mebibyte too.
    Mixed,
}

impl Program {
    /// The same calls for the same seed and model.
    pub fn new(seed: u64) -> Program {
        Program { random: Random::new(seed), growth: 70, left: 0, mood: Mood::Mixed, cursor: 0 }
    }

    /// Random choices of the caller's own.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next call for `model`.
    pub fn next(&mut self, model: &Model) -> Call {
        if self.left == 0 {
            self.begin_phase(model);
        }
        self.left -= 1;
        let random = &mut self.random;
        let slots = model.slots();
        let slot = random.below(slots) as u16;
        if random.one_in(24) {
            return Call::Wrong(wrong(random, slot));
        }
        if random.one_in(7) {
            let from = model.block(usize::from(slot)).map_or(0, |block| block.bytes);
            let bytes = match random.below(4) {
                0 => from + random.below(64),
                1 => from - random.below(from + 1),
                2 => (from * 2).min(2 << 20),
                _ => self.mood.draw(random),
            };
            return Call::Realloc { slot, bytes };
        }
        if random.below(100) >= self.growth {
            self.cursor = (self.cursor + 2) % slots;
            return Call::Free { slot: if random.one_in(2) { self.cursor as u16 } else { slot } };
        }
        let bytes = self.mood.draw(random);
        match random.below(8) {
            0 => {
                let size = [1, 3, 8, 24][random.below(4)];
                Call::Calloc { slot, count: bytes / size, size }
            }
            1 => {
                // Wide alignments seldom: they take room.
                let widest = if random.one_in(8) { 17 } else { 9 };
                Call::Aligned { slot, shift: random.between(0, widest) as u8, bytes }
            }
            _ => Call::Malloc { slot, bytes },
        }
    }

    fn begin_phase(&mut self, model: &Model) {
        let random = &mut self.random;
        self.left = random.log_between(16, (model.slots() * 8).max(64));
        self.growth = [90, 75, 50, 50, 25, 5][random.below(6)];
        self.mood = match random.below(8) {
            0 => Mood::One(random.log_between(1, 8192)),
            1 => Mood::One(16 * random.between(1, 16)),
            2 | 3 => Mood::Small,
            4 | 5 => Mood::Classes,
            6 => Mood::Limits,
            _ => Mood::Mixed,
        };
    }
}

impl Mood {
    fn draw(self, random: &mut Random) -> usize {
        const LIMITS: [usize; 7] = [256, 1024, 8 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10];
        match self {
            Mood::One(bytes) => bytes,
            Mood::Small => random.below(1024),
            Mood::Classes => random.log_between(1, 8192),
            Mood::Limits => {
                let most = if random.one_in(8) { LIMITS.len() } else { 4 };
                LIMITS[random.below(most)] - 20 + random.below(40)
            }
            Mood::Mixed => match random.below(256) {
                0 => random.log_between(128 << 10, 2 << 20),
                1..=15 => random.log_between(8 << 10, 128 << 10),
                16..=20 => 0,
                21..=100 => Mood::Classes.draw(random),
                _ => Mood::Small.draw(random),
            },
        }
    }
}

fn wrong(random: &mut Random, slot: u16) -> Wrong {
    let (below, back) = (random.below(4096) as u16, random.below(64) as u8);
    match random.below(16) {
        0..=4 => Wrong::DoubleFree { back },
        5 | 6 => Wrong::ReallocFreed { back, bytes: random.below(9000) },
        7..=11 => Wrong::Inside { slot, offset: random.bits() as usize, resize: random.one_in(3) },
        12 => Wrong::Huge { below },
        13 => Wrong::Overflow { divisor: below },
        14 => Wrong::ReallocHuge { slot, below },
        _ => Wrong::Crooked { align: usize::from(below) },
    }
}
