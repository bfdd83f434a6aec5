//! Blocks that know their contents, and what must be true of each call that makes, resizes or frees one.
//!
//! - A block is aligned as was asked, at least to two words, as long as was asked, and meets no other live
//!   block of any thread.
//! - Every byte that `usable_size` promises is written; before the block goes, and in [`Model::verify`],
//!   every byte is read again.
//! - `calloc`'s bytes are zero, in memory that was used before too. `realloc` keeps what both sizes hold; one
//!   that fails changes nothing.
//! - A wrong pointer is refused: the error hook hears of it once, in the thread that passed it, with its
//!   address, and everything is as before.

use super::api::Api;
use super::claims::Claims;
use crate::contents;
use knoll::heap::KnStatus;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::{null_mut, NonNull};

/// What every block is aligned to.
pub const ALIGN: usize = 2 * size_of::<usize>();
/// Freed pointers that are remembered, to be freed once more.
const MEMORY: usize = 64;

/// One call. Blocks are named by slots: a call on an empty slot does nothing, so any part of a sequence of
/// calls is one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Call {
    /// `malloc` into a slot; what the slot held is freed first.
    Malloc {
        /// Where the block goes.
        slot: u16,
        /// How large.
        bytes: usize,
    },
    /// `calloc`, likewise.
    Calloc {
        /// Where the block goes.
        slot: u16,
        /// How many.
        count: usize,
        /// How large each.
        size: usize,
    },
    /// `aligned_alloc` to 2 to the power `shift` modulo 18, likewise.
    Aligned {
        /// Where the block goes.
        slot: u16,
        /// The logarithm of the alignment.
        shift: u8,
        /// How large.
        bytes: usize,
    },
    /// `realloc` of the slot's block; an empty slot passes null.
    Realloc {
        /// Whose block.
        slot: u16,
        /// The new size.
        bytes: usize,
    },
    /// `free` of the slot's block, or of null.
    Free {
        /// Whose block.
        slot: u16,
    },
    /// A call that must be refused.
    Wrong(Wrong),
}

/// A call that must be refused and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Wrong {
    /// `free` of one of the pointers freed last, unless it lies in a live block again.
    DoubleFree {
        /// How many frees ago.
        back: u8,
    },
    /// `realloc` of one of them.
    ReallocFreed {
        /// How many frees ago.
        back: u8,
        /// The new size.
        bytes: usize,
    },
    /// `free` or `realloc` of a pointer into a live block.
    Inside {
        /// Whose block.
        slot: u16,
        /// How far in, modulo the block's size.
        offset: usize,
        /// `realloc` instead of `free`.
        resize: bool,
    },
    /// `malloc`, `calloc` and `aligned_alloc` of this much below the largest number, and below the largest
    /// difference of pointers.
    Huge {
        /// The distance.
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
        slot: u16,
        /// The distance.
        below: u16,
    },
    /// `aligned_alloc` to what is no power of two.
    Crooked {
        /// The alignment; a power of two is made crooked.
        align: usize,
    },
}

/// A live block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Its address.
    pub at: NonNull<u8>,
    /// How long it was asked to be.
    pub bytes: usize,
    usable: usize,
    tag: usize,
}

// SAFETY: a block of the process heap may be used and freed by any thread.
unsafe impl Send for Block {}

// SAFETY: of its fields only the addresses of freed blocks are not Send, and nobody follows those.
unsafe impl Send for Model<'_> {}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls, those on empty slots included.
    pub calls: usize,
    /// Blocks given out.
    pub blocks: usize,
    /// Blocks resized.
    pub resized: usize,
    /// Wrong calls, all refused.
    pub refused: usize,
    /// Blocks that went from one thread to another.
    pub handed: usize,
    /// Blocks read through while they lived on.
    pub verified: usize,
}

impl Counts {
    /// Adds another thread's or run's.
    pub fn add(&mut self, other: Counts) {
        self.calls += other.calls;
        self.blocks += other.blocks;
        self.resized += other.resized;
        self.refused += other.refused;
        self.handed += other.handed;
        self.verified += other.verified;
    }
}

/// One thread's blocks.
pub struct Model<'a> {
    api: Api,
    claims: &'a Claims,
    slots: Vec<Option<Block>>,
    freed: VecDeque<*mut u8>,
    /// No other thread allocates: a pointer freed here stays free.
    alone: bool,
    /// The build looks for wrong pointers.
    checked: bool,
    /// What happened so far.
    pub counts: Counts,
    next_tag: usize,
}

/// An error unless the condition holds.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    holds.then_some(()).ok_or_else(what)
}

impl<'a> Model<'a> {
    /// A model of `slots` blocks at most. `alone`: no other thread uses the library; `checked`: the build
    /// looks for wrong pointers.
    pub fn new(claims: &'a Claims, slots: usize, alone: bool, checked: bool) -> Model<'a> {
        let (slots, counts) = (vec![None; slots], Counts::default());
        Model { api: Api::chosen(), claims, slots, freed: VecDeque::new(), alone, checked, counts, next_tag: 0 }
    }

    /// The call with sizes below `most`, for a fuzzer, whose numbers are any.
    pub fn tamed(call: Call, most: usize) -> Call {
        match call {
            Call::Malloc { slot, bytes } => Call::Malloc { slot, bytes: bytes % most },
            Call::Calloc { slot, count, size } => {
                let size = size % most;
                Call::Calloc { slot, count: count % (most / size.max(1) + 1), size }
            }
            Call::Aligned { slot, shift, bytes } => Call::Aligned { slot, shift, bytes: bytes % most },
            Call::Realloc { slot, bytes } => Call::Realloc { slot, bytes: bytes % most },
            other => other,
        }
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The block in a slot.
    pub fn block(&self, slot: usize) -> Option<&Block> {
        self.slots.get(slot)?.as_ref()
    }

    /// Does one call and looks at its result.
    pub fn apply(&mut self, call: Call) -> Result<(), String> {
        self.counts.calls += 1;
        match call {
            Call::Malloc { slot, bytes } => self.fill(slot, bytes, ALIGN, false, |api| (api.malloc)(bytes)),
            Call::Calloc { slot, count, size } => {
                let Some(bytes) = count.checked_mul(size) else {
                    return ensure((self.api.calloc)(count, size).is_null(), || "an overflow was given out".into());
                };
                self.fill(slot, bytes, ALIGN, true, |api| (api.calloc)(count, size))
            }
            Call::Aligned { slot, shift, bytes } => {
                let align = 1 << (shift % 18);
                self.fill(slot, bytes, align.max(ALIGN), false, |api| (api.aligned_alloc)(align, bytes))
            }
            Call::Realloc { slot, bytes } => self.resize(slot, bytes),
            Call::Free { slot } => match self.take(usize::from(slot)) {
                Some(block) => self.free(block),
                None => {
                    // SAFETY: null is no block.
                    unsafe { (self.api.free)(null_mut()) };
                    Ok(())
                }
            },
            Call::Wrong(wrong) => self.wrong(wrong),
        }
    }

    /// Takes a block out of its slot, for another thread.
    pub fn take(&mut self, slot: usize) -> Option<Block> {
        let count = self.slots.len();
        self.slots[slot % count].take()
    }

    /// Puts a block, of another thread perhaps, into a slot; what the slot held is freed first.
    pub fn put(&mut self, slot: usize, block: Block) -> Result<(), String> {
        self.counts.handed += 1;
        if let Some(old) = self.take(slot) {
            self.free(old)?;
        }
        let count = self.slots.len();
        self.slots[slot % count] = Some(block);
        Ok(())
    }

    /// Frees a block that has its contents still.
    pub fn free(&mut self, block: Block) -> Result<(), String> {
        self.intact(&block)?;
        self.claims.release(block.at.addr().get(), block.usable)?;
        if self.freed.len() == MEMORY {
            self.freed.pop_front();
        }
        self.freed.push_back(block.at.as_ptr());
        // SAFETY: a live block whose last use this is.
        unsafe { (self.api.free)(block.at.as_ptr().cast()) };
        Ok(())
    }

    /// Reads all live blocks through.
    pub fn verify(&mut self) -> Result<(), String> {
        for block in self.slots.iter().flatten() {
            self.intact(block)?;
        }
        self.counts.verified += self.slots.iter().flatten().count();
        Ok(())
    }

    /// Whether the library finds its own records in order, and, when this model is the only user, as many blocks
    /// in use as live here. With no thread in the middle of a call.
    pub fn check(&self) -> Result<(), String> {
        let status = (self.api.check)();
        ensure(status == KnStatus::Ok, || format!("the heap's check says {status:?}"))?;
        let (stats, live) = (self.api.stats(), self.slots.iter().flatten().count());
        let asked: usize = self.slots.iter().flatten().map(|block| block.bytes).sum();
        ensure(!self.alone || stats.blocks == live, || format!("{live} blocks live, and the numbers are {stats:?}"))?;
        ensure(!self.alone || stats.used >= asked, || format!("{asked} bytes live, and the numbers are {stats:?}"))
    }

    /// Frees everything.
    pub fn finish(&mut self) -> Result<(), String> {
        for slot in 0..self.slots.len() {
            if let Some(block) = self.take(slot) {
                self.free(block)?;
            }
        }
        Ok(())
    }

    fn intact(&self, block: &Block) -> Result<(), String> {
        let Block { at, bytes, usable, tag } = *block;
        // SAFETY: a live block is `usable` long, and all of it was written.
        unsafe { contents::compare(at.as_ptr(), usable, tag) }
            .map_err(|why| format!("a live block of {bytes} bytes at {at:p}: {why}"))?;
        let now = self.api.usable_wrong(at.as_ptr());
        ensure(now == usable, || format!("usable_size of {bytes} bytes at {at:p} was {usable}, is {now}"))
    }

    /// Enters a new block: its place, its size, its contents.
    fn adopt(&mut self, at: NonNull<u8>, bytes: usize, align: usize) -> Result<Block, String> {
        let address = at.addr().get();
        ensure(address.is_multiple_of(align), || format!("{bytes} bytes at {at:p}, which is no multiple of {align}"))?;
        let usable = self.api.usable_wrong(at.as_ptr());
        ensure(usable >= bytes.max(1), || format!("{usable} usable of {bytes} at {at:p}"))?;
        self.claims.take(address, usable)?;
        self.next_tag += 1;
        let tag = self.next_tag;
        // SAFETY: the block is `usable` long, and nobody else has it.
        unsafe { contents::write(at.as_ptr(), usable, tag) };
        Ok(Block { at, bytes, usable, tag })
    }

    fn fill(
        &mut self,
        slot: u16,
        bytes: usize,
        align: usize,
        zero: bool,
        ask: impl FnOnce(&Api) -> *mut c_void,
    ) -> Result<(), String> {
        if let Some(old) = self.take(usize::from(slot)) {
            self.free(old)?;
        }
        let at = NonNull::new(ask(&self.api).cast::<u8>()).ok_or_else(|| format!("no memory for {bytes} bytes"))?;
        if zero {
            // SAFETY: a new block of `bytes` bytes, which calloc has written.
            let given = unsafe { std::slice::from_raw_parts(at.as_ptr(), bytes) };
            ensure(given.iter().all(|&byte| byte == 0), || format!("calloc of {bytes} bytes at {at:p} is not zero"))?;
        }
        let block = self.adopt(at, bytes, align)?;
        self.counts.blocks += 1;
        let count = self.slots.len();
        self.slots[usize::from(slot) % count] = Some(block);
        Ok(())
    }

    fn resize(&mut self, slot: u16, bytes: usize) -> Result<(), String> {
        let Some(old) = self.take(usize::from(slot)) else {
            // SAFETY: null is no block, and allocates.
            return self.fill(slot, bytes, ALIGN, false, |api| unsafe { (api.realloc)(null_mut(), bytes) });
        };
        self.intact(&old)?;
        self.claims.release(old.at.addr().get(), old.usable)?;
        // SAFETY: a live block; only the result is used from now on.
        let at = unsafe { (self.api.realloc)(old.at.as_ptr().cast(), bytes) };
        let at =
            NonNull::new(at.cast::<u8>()).ok_or_else(|| format!("no memory for {bytes} bytes of {}", old.bytes))?;
        let kept = old.bytes.min(bytes);
        // SAFETY: realloc keeps the first bytes.
        unsafe { contents::compare(at.as_ptr(), kept, old.tag) }
            .map_err(|why| format!("realloc from {} to {bytes} bytes at {at:p}: {why}", old.bytes))?;
        let block = self.adopt(at, bytes, ALIGN)?;
        self.counts.resized += 1;
        let count = self.slots.len();
        self.slots[usize::from(slot) % count] = Some(block);
        Ok(())
    }

    /// One of the pointers freed last that is in no live block.
    fn gone(&self, back: u8) -> Option<*mut u8> {
        if !self.alone || self.freed.is_empty() {
            return None;
        }
        let at = self.freed[self.freed.len() - 1 - usize::from(back) % self.freed.len()];
        (!self.claims.holds(at.addr())).then_some(at)
    }

    /// `work` passes `at`, which is no block, and the hook hears of it.
    fn refused(&mut self, at: *mut u8, work: impl FnOnce(&Api)) -> Result<(), String> {
        let api = self.api;
        let told = api.told(|| work(&api));
        let known = [KnStatus::DoubleFree, KnStatus::Foreign];
        ensure(told.len() == 1 && told[0].1 == at.addr() && known.contains(&told[0].0), || {
            format!("{at:p} is no block, and the hook heard {told:x?}")
        })?;
        self.counts.refused += 1;
        Ok(())
    }

    fn wrong(&mut self, wrong: Wrong) -> Result<(), String> {
        match wrong {
            Wrong::DoubleFree { back } if self.checked => match self.gone(back) {
                Some(at) => self.refused(at, |api| api.free_wrong(at)),
                None => Ok(()),
            },
            Wrong::ReallocFreed { back, bytes } if self.checked => match self.gone(back) {
                Some(at) => self.refused(at, |api| {
                    assert!(api.realloc_wrong(at, bytes % (1 << 20)).is_null(), "a freed block was resized");
                }),
                None => Ok(()),
            },
            Wrong::Inside { slot, offset, resize } if self.checked => {
                let Some(block) = self.block(usize::from(slot) % self.slots.len()) else { return Ok(()) };
                if block.usable < 2 {
                    return Ok(());
                }
                let at = block.at.as_ptr().wrapping_add(1 + offset % (block.usable - 1));
                self.refused(at, |api| {
                    if resize {
                        let to = api.realloc_wrong(at, offset % 10_000);
                        assert!(to.is_null(), "a pointer into a block was resized");
                    } else {
                        api.free_wrong(at);
                    }
                    assert_eq!(api.usable_wrong(at), 0, "usable_size of a pointer into a block");
                })
            }
            Wrong::Huge { below } => {
                for most in [usize::MAX, isize::MAX as usize + 1, isize::MAX as usize] {
                    let bytes = most - usize::from(below);
                    let api = &self.api;
                    let given = [(api.malloc)(bytes), (api.calloc)(1, bytes), (api.aligned_alloc)(64, bytes)];
                    ensure(given.iter().all(|at| at.is_null()), || format!("{bytes:#x} bytes were given out"))?;
                }
                self.counts.refused += 1;
                Ok(())
            }
            Wrong::Overflow { divisor } => {
                let divisor = usize::from(divisor).max(2);
                let given = (self.api.calloc)(usize::MAX / divisor + 2, divisor);
                self.counts.refused += 1;
                ensure(given.is_null(), || format!("an overflow by {divisor} was given out"))
            }
            Wrong::ReallocHuge { slot, below } => {
                let Some(block) = self.block(usize::from(slot) % self.slots.len()) else { return Ok(()) };
                let block = *block;
                let bytes = usize::MAX - usize::from(below);
                // SAFETY: a live block, unchanged by the failure.
                let to = unsafe { (self.api.realloc)(block.at.as_ptr().cast(), bytes) };
                ensure(to.is_null(), || format!("{bytes:#x} bytes were given out"))?;
                self.counts.refused += 1;
                self.intact(&block)
            }
            Wrong::Crooked { align } => {
                let align = if align.is_power_of_two() { (align | 1) & !2 ^ 4 } else { align };
                let align = if align.is_power_of_two() { 24 } else { align };
                let given = (self.api.aligned_alloc)(align, 8);
                self.counts.refused += 1;
                ensure(given.is_null(), || format!("an alignment of {align} was accepted"))
            }
            Wrong::DoubleFree { .. } | Wrong::ReallocFreed { .. } | Wrong::Inside { .. } => Ok(()),
        }
    }
}
