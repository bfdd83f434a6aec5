//! Random numbers and block sizes that a seed repeats exactly.
//!
//! xorshift64* (Vigna 2016): one word of state, no dependency, the same on every target.

/// A repeatable source of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Every seed is good, 0 included.
    pub fn new(seed: u64) -> Random {
        // One round of splitmix64, so that neighbouring seeds give unrelated sequences.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (((self.bits() >> 32) * limit as u64) >> 32) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Every power of two from `low` to `high` is as likely as every other.
    pub fn log_between(&mut self, low: usize, high: usize) -> usize {
        let octaves = (high / low).max(1).ilog2() as usize + 1;
        let floor = low << self.below(octaves);
        self.between(floor, (floor * 2 - 1).max(floor)).min(high)
    }
}

/// How large the blocks are that a run asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// 1 to 40 bytes: what language runtimes mostly ask for.
    Tiny,
    /// 8 to 256 bytes, uniform: workload (a) of the figures.
    Small,
    /// 8 bytes to 4 KB, log-uniform: workload (b) of the figures.
    Log,
    /// Powers of two and their neighbours, where rounding goes wrong first.
    Edges,
    /// 1/64 to 1/3 of the heap: where a bin holds few blocks.
    Large,
    /// All of the above, and now and then nothing or nearly the whole heap.
    Mixed,
}

impl Sizes {
    /// Every distribution.
    pub const ALL: [Sizes; 6] = [Sizes::Tiny, Sizes::Small, Sizes::Log, Sizes::Edges, Sizes::Large, Sizes::Mixed];

    /// One size for a heap of `heap` bytes.
    pub fn draw(self, random: &mut Random, heap: usize) -> usize {
        match self {
            Sizes::Tiny => random.between(1, 40),
            Sizes::Small => random.between(8, 256),
            Sizes::Log => random.log_between(8, 4096),
            Sizes::Edges => {
                let power = 1usize << random.between(0, (heap / 4).ilog2() as usize);
                (power + random.below(17)).saturating_sub(8)
            }
            Sizes::Large => random.between(heap / 64, heap / 3),
            Sizes::Mixed => match random.below(64) {
                0 => 0,
                1 => random.between(heap / 2, heap),
                2 | 3 => Sizes::Large.draw(random, heap),
                4..=15 => Sizes::Edges.draw(random, heap),
                16..=31 => Sizes::Log.draw(random, heap),
                32..=47 => Sizes::Small.draw(random, heap),
                _ => Sizes::Tiny.draw(random, heap),
            },
        }
    }
}
