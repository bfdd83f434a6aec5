//! One thing that a program does to a heap, right or wrong.
//!
//! Blocks are named by slots that the program chooses, so any subsequence of a run is again a
//! run: what names an empty slot does nothing. That is what makes shrinking and fuzzing work.

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// `malloc` into a slot; what the slot held is freed first.
    Malloc {
        /// Where the block goes.
        slot: u32,
        /// How large.
        bytes: usize,
    },
    /// `malloc_top`, likewise.
    MallocTop {
        /// Where the block goes.
        slot: u32,
        /// How large.
        bytes: usize,
    },
    /// `calloc` of `count` times `size`, likewise.
    Calloc {
        /// Where the block goes.
        slot: u32,
        /// How many.
        count: usize,
        /// How large each.
        size: usize,
    },
    /// `aligned_alloc` to 2 to the power `shift` modulo 16, likewise.
    Aligned {
        /// Where the block goes.
        slot: u32,
        /// The logarithm of the alignment.
        shift: u8,
        /// How large.
        bytes: usize,
    },
    /// `realloc` of the slot's block; an empty slot passes null.
    Realloc {
        /// Whose block.
        slot: u32,
        /// The new size.
        bytes: usize,
    },
    /// `free` of the slot's block.
    Free {
        /// Whose block.
        slot: u32,
    },
    /// A call that must be refused.
    Misuse(Misuse),
    /// Gives the heap its next region, if one is left.
    AddRegion,
}

/// A call that must be refused and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Misuse {
    /// `free` of one of the pointers freed last.
    DoubleFree {
        /// How many frees ago, modulo those remembered.
        back: u8,
    },
    /// `realloc` of one of the pointers freed last.
    ReallocFreed {
        /// How many frees ago, modulo those remembered.
        back: u8,
        /// The new size.
        bytes: usize,
    },
    /// `free` of a pointer into a live block.
    Interior {
        /// Whose block.
        slot: u32,
        /// How far in, modulo the block's size.
        offset: usize,
    },
    /// `free` of a pointer into the region that begins no block, or outside the heap.
    Stray {
        /// How far from the first region's start, modulo its size and a bit.
        offset: usize,
    },
    /// `malloc`, `malloc_top`, `calloc` and `aligned_alloc` of this much below the largest number.
    Huge {
        /// The distance to `usize::MAX`.
        below: u16,
    },
    /// `calloc` whose product overflows.
    Overflow {
        /// The count is `usize::MAX / divisor + 2`, the size `divisor`.
        divisor: u16,
    },
    /// `realloc` of a live block to nearly `usize::MAX`.
    ReallocHuge {
        /// Whose block.
        slot: u32,
        /// The distance to `usize::MAX`.
        below: u16,
    },
    /// `aligned_alloc` with an alignment that is no power of two.
    CrookedAlign {
        /// The alignment; powers of two are made crooked.
        align: usize,
        /// How large.
        bytes: usize,
    },
    /// `aligned_alloc` to an alignment that no region can offer.
    WideAlign {
        /// How large.
        bytes: usize,
    },
}

impl Misuse {
    /// Whether the wrong thing is a pointer, not a size or an alignment.
    pub fn is_of_a_pointer(self) -> bool {
        matches!(
            self,
            Misuse::DoubleFree { .. } | Misuse::ReallocFreed { .. } | Misuse::Interior { .. } | Misuse::Stray { .. }
        )
    }
}

impl Op {
    /// The same operation with slots below `slots` and sizes below `bytes`: for operations that
    /// come from a fuzzer.
    #[must_use]
    pub fn tamed(self, slots: u32, limit: usize) -> Op {
        match self {
            Op::Malloc { slot, bytes } => Op::Malloc { slot: slot % slots, bytes: bytes % limit },
            Op::MallocTop { slot, bytes } => Op::MallocTop { slot: slot % slots, bytes: bytes % limit },
            Op::Calloc { slot, count, size } => {
                let size = size % limit;
                Op::Calloc { slot: slot % slots, count: count % (limit / size.max(1) + 1), size }
            }
            Op::Aligned { slot, shift, bytes } => {
                Op::Aligned { slot: slot % slots, shift: shift % 13, bytes: bytes % limit }
            }
            Op::Realloc { slot, bytes } => Op::Realloc { slot: slot % slots, bytes: bytes % limit },
            Op::Free { slot } => Op::Free { slot: slot % slots },
            Op::Misuse(Misuse::Interior { slot, offset }) => {
                Op::Misuse(Misuse::Interior { slot: slot % slots, offset })
            }
            Op::Misuse(Misuse::ReallocHuge { slot, below }) => {
                Op::Misuse(Misuse::ReallocHuge { slot: slot % slots, below })
            }
            Op::Misuse(Misuse::ReallocFreed { back, bytes }) => {
                Op::Misuse(Misuse::ReallocFreed { back, bytes: bytes % limit })
            }
            Op::Misuse(Misuse::WideAlign { bytes }) => Op::Misuse(Misuse::WideAlign { bytes: bytes % limit }),
            other => other,
        }
    }
}
