//! A heap and, outside it, everything that must be true of it.
//!
//! After every operation:
//!
//! - a block lies inside one region, aligned, apart from every other live block, at least as
//!   large as asked for, `calloc`'s zeroed; `realloc` has kept the contents and the alignment;
//! - null is returned only if no free block could hold the request, bin rounding (1/8) allowed
//!   for, and never for a request up to `largest_free`;
//! - a refused call (no memory, misuse) has changed nothing;
//! - `stats` agrees with the shadow: blocks exactly, `used + free == total`, the peak.
//!
//! Each [`Shadow::verify`], which runs often enough to name the culprit and seldom enough to be
//! cheap, holds besides: `check` says Ok, `walk` shows exactly the live blocks and between them
//! free blocks that touch no other free block, every byte of every block is what was written
//! last, no byte beside the regions has changed.
//!
//! [`Shadow::finish`] frees all and demands a heap that no statistic and no walk can tell from
//! a new one.

use crate::arena::Arena;
use crate::contents;
use crate::numbers::{config, ensure, name, same, show, stats_of};
use crate::op::{Misuse, Op};
use crate::random::Random;
use crate::tally::Tally;
use knoll::heap::{KnBlock, KnHeap, KnHeapStats, KnLayout, KnStatus, KN_BLOCK_USED};
use std::collections::{BTreeMap, VecDeque};

/// Every block's least alignment: 16 on 64-bit hosts, 8 on 32-bit targets.
pub const ALIGN: usize = 2 * size_of::<usize>();
/// The most that a block takes besides what is usable: a header, a guard with `checks-full`.
const LEAD: usize = ALIGN;
/// `realloc` keeps alignments up to this.
const KEPT: usize = 64;
/// How many freed pointers are remembered for misuse.
const GRAVES: usize = 16;

/// One region to be: its size, and its address above a multiple of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// In bytes.
    pub bytes: usize,
    /// 0 to 63.
    pub offset: usize,
}

/// What heap to make.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The layout of all its regions.
    pub layout: KnLayout,
    /// Its first region, and those that [`Op::AddRegion`] adds.
    pub shapes: Vec<Shape>,
    /// Whether this build refuses wrong pointers; without `checks-none` it must.
    pub checked: bool,
}

/// A live block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The name the program gave it.
    pub slot: u32,
    /// Where it is.
    pub at: *mut u8,
    /// What was asked for.
    pub bytes: usize,
    /// What was given; all of it holds the contents of `tag`.
    pub usable: usize,
    /// The alignment asked for.
    pub align: usize,
    tag: usize,
}

/// What [`Shadow::layout_now`] sees: a block's address, size and whether it is used.
pub type Seen = (usize, usize, bool);

/// A heap with its shadow. See the module's head.
pub struct Shadow {
    heap: *mut KnHeap,
    ground: Ground,
    arenas: Vec<Arena>,
    spare: VecDeque<Arena>,
    blocks: Vec<Block>,
    by_slot: BTreeMap<u32, usize>,
    by_address: BTreeMap<usize, usize>,
    graves: VecDeque<*mut u8>,
    stats: KnHeapStats,
    usable_sum: usize,
    next_tag: usize,
    since_verified: usize,
    /// What happened so far.
    pub tally: Tally,
}

/// What an answer must be compared with.
struct Request {
    slot: u32,
    bytes: usize,
    align: usize,
}

impl Shadow {
    /// A heap in the first region; the others wait for [`Op::AddRegion`]. None if the heap says
    /// that the region is too small.
    pub fn new(ground: &Ground) -> Option<Shadow> {
        let arenas = ground.shapes.iter().map(|shape| Arena::new(shape.bytes, shape.offset)).collect();
        Shadow::over(ground.clone(), arenas, 1)
    }

    /// A heap in the first `regions` of these arenas.
    fn over(ground: Ground, arenas: Vec<Arena>, regions: usize) -> Option<Shadow> {
        let mut spare = VecDeque::from(arenas);
        let first = spare.pop_front()?;
        // SAFETY: the arena outlives the heap: both belong to the shadow.
        let heap = unsafe { KnHeap::create(first.start(), first.bytes(), &config(ground.layout)) };
        if heap.is_null() {
            return None;
        }
        let mut shadow = Shadow {
            heap,
            ground,
            arenas: vec![first],
            spare,
            blocks: Vec::new(),
            by_slot: BTreeMap::new(),
            by_address: BTreeMap::new(),
            graves: VecDeque::new(),
            // SAFETY: the heap is live, and so are the blocks that the shadow knows.
            stats: unsafe { stats_of(heap) }.ok()?,
            usable_sum: 0,
            next_tag: 0,
            since_verified: 0,
            tally: Tally::default(),
        };
        for _ in 1..regions {
            shadow.add_region().ok()?;
        }
        Some(shadow)
    }

    /// The heap itself, for a test that needs more than operations.
    pub fn heap(&self) -> *mut KnHeap {
        self.heap
    }

    /// The statistics after the last operation.
    pub fn stats(&self) -> &KnHeapStats {
        &self.stats
    }

    /// The regions that the heap has been given.
    pub fn arenas(&self) -> &[Arena] {
        &self.arenas
    }

    /// Whether a region waits to be added.
    pub fn has_spare_region(&self) -> bool {
        !self.spare.is_empty()
    }

    /// The live blocks, in no order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The block of a slot.
    pub fn block(&self, slot: u32) -> Option<&Block> {
        self.by_slot.get(&slot).map(|&index| &self.blocks[index])
    }

    /// The lowest slot in use: the oldest block, if slots are counted up.
    pub fn first_slot(&self) -> Option<u32> {
        self.by_slot.keys().next().copied()
    }

    /// The highest slot in use.
    pub fn last_slot(&self) -> Option<u32> {
        self.by_slot.keys().next_back().copied()
    }

    /// The first slot in use that is not below `slot`.
    pub fn slot_from(&self, slot: u32) -> Option<u32> {
        self.by_slot.range(slot..).next().map(|(&slot, _)| slot)
    }

    /// Does one operation and holds the outcome against the shadow.
    pub fn apply(&mut self, op: Op) -> Result<(), String> {
        self.tally.operations += 1;
        match op {
            Op::Malloc { slot, bytes } => {
                self.release(slot)?;
                // SAFETY: the heap is live and used by this thread only; so below.
                let at = unsafe { KnHeap::malloc(self.heap, bytes) };
                self.allocated(Request { slot, bytes, align: ALIGN }, at)?;
            }
            Op::MallocTop { slot, bytes } => {
                self.release(slot)?;
                // SAFETY: as for malloc.
                let at = unsafe { KnHeap::malloc_top(self.heap, bytes) };
                self.allocated(Request { slot, bytes, align: ALIGN }, at)?;
            }
            Op::Calloc { slot, count, size } => {
                self.release(slot)?;
                // SAFETY: as for malloc.
                let at = unsafe { KnHeap::calloc(self.heap, count, size) };
                let bytes = count.checked_mul(size).ok_or("calloc ops must not overflow")?;
                if !at.is_null() {
                    // SAFETY: the heap says that the block has this many bytes.
                    let zeroed = unsafe { std::slice::from_raw_parts(at, bytes) };
                    ensure(zeroed.iter().all(|&byte| byte == 0), || format!("calloc({count}, {size}) is not zero"))?;
                }
                self.allocated(Request { slot, bytes, align: ALIGN }, at)?;
            }
            Op::Aligned { slot, shift, bytes } => {
                self.release(slot)?;
                let align = 1usize << (shift % 16);
                // SAFETY: as for malloc.
                let at = unsafe { KnHeap::aligned_alloc(self.heap, align, bytes) };
                self.allocated(Request { slot, bytes, align: align.max(ALIGN) }, at)?;
            }
            Op::Realloc { slot, bytes } => self.resize(slot, bytes)?,
            Op::Free { slot } => self.release(slot)?,
            Op::Misuse(misuse) => self.misuse(misuse)?,
            Op::AddRegion => self.add_region()?,
        }
        self.since_verified += 1;
        // As many operations as blocks between two verifications: a constant cost for each.
        if self.since_verified > 16 + 2 * self.blocks.len() {
            self.verify()?;
        }
        Ok(())
    }

    /// Compares everything; see the module's head.
    pub fn verify(&mut self) -> Result<(), String> {
        self.since_verified = 0;
        self.tally.verifications += 1;
        // SAFETY: the heap is live.
        let status = unsafe { KnHeap::check(self.heap) };
        ensure(status == KnStatus::Ok, || format!("check says {}", name(status)))?;
        self.verify_walk()?;
        for block in &self.blocks {
            // SAFETY: the heap is live, and so are the blocks that the shadow knows.
            unsafe { contents::compare(block.at, block.usable, block.tag) }
                .map_err(|why| format!("{}: {why}", describe(block)))?;
        }
        for arena in self.arenas.iter().chain(&self.spare) {
            arena.check_guards()?;
        }
        Ok(())
    }

    /// Frees all blocks in an order that the seed picks, then demands a heap like new.
    pub fn finish(mut self, seed: u64) -> Result<Tally, String> {
        self.verify()?;
        let mut random = Random::new(seed);
        while !self.blocks.is_empty() {
            let slot = self.blocks[random.below(self.blocks.len())].slot;
            self.release(slot)?;
        }
        self.verify()?;
        let emptied = (self.stats, self.layout_now()?);
        let regions = self.arenas.len();
        ensure(!emptied.1.is_empty() && emptied.1.iter().all(|block| !block.2), || {
            format!("an empty heap walks as {:x?}", emptied.1)
        })?;
        let arenas = self.arenas.into_iter().chain(self.spare).collect();
        let fresh = Shadow::over(self.ground, arenas, regions).ok_or("the heap cannot be made again")?;
        let walked = fresh.layout_now()?;
        ensure(emptied.1 == walked, || format!("emptied, it walks as {:x?}; new, as {walked:x?}", emptied.1))?;
        let like_new = KnHeapStats { peak: fresh.stats.peak, ..emptied.0 };
        ensure(same(&like_new, &fresh.stats), || {
            format!("emptied: {}; new: {}", show(&emptied.0), show(&fresh.stats))
        })?;
        Ok(self.tally)
    }

    /// What `walk` shows, in its order.
    pub fn layout_now(&self) -> Result<Vec<Seen>, String> {
        let mut seen = Vec::new();
        let limit = self.blocks.len() * 2 + 2 * self.arenas.len() + 8;
        // SAFETY: the heap is live; the visitor does not touch it.
        let status = unsafe {
            KnHeap::walk(self.heap, &mut |block: &KnBlock| {
                seen.push((block.start.addr(), block.size, block.state == KN_BLOCK_USED));
                seen.len() < limit
            })
        };
        ensure(status == KnStatus::Ok, || format!("walk says {}", name(status)))?;
        ensure(seen.len() < limit, || "the walk shows more blocks than there can be".into())?;
        Ok(seen)
    }

    fn verify_walk(&self) -> Result<(), String> {
        let seen = self.layout_now()?;
        let (mut used, mut largest) = (0, 0);
        let mut bytes = [0usize; 2];
        let mut last: Option<(usize, Seen)> = None;
        for &(start, size, is_used) in &seen {
            let region = self
                .region_of(start, size)
                .ok_or_else(|| format!("walk shows {size} bytes at {start:#x}, outside the regions"))?;
            if let Some((before, (at, length, was_used))) = last {
                ensure(before <= region, || "walk goes back to an earlier region".into())?;
                if before == region {
                    ensure(at + length == start, || format!("walk shows {at:#x}+{length} and then {start:#x}+{size}"))?;
                    ensure(was_used || is_used, || {
                        format!("two free blocks touch: {at:#x}+{length} and {start:#x}+{size}")
                    })?;
                }
            }
            last = Some((region, (start, size, is_used)));
            bytes[usize::from(is_used)] += size;
            if is_used {
                used += 1;
                let index = self.by_address.get(&start);
                let usable = index.map(|&index| self.blocks[index].usable);
                ensure(usable.is_some_and(|usable| (size - LEAD..=size).contains(&usable)), || {
                    format!("walk shows a used block {start:#x}+{size}; the shadow has {usable:?}")
                })?;
            } else {
                largest = largest.max(size);
            }
        }
        ensure(used == self.blocks.len(), || format!("walk shows {used} used blocks of {}", self.blocks.len()))?;
        let stats = &self.stats;
        ensure(bytes == [stats.free, stats.used], || {
            format!("walk counts {} free, {} used; stats: {}", bytes[0], bytes[1], show(stats))
        })?;
        ensure(stats.largest_free <= largest, || {
            format!("largest_free {} but the walk finds {largest}", stats.largest_free)
        })?;
        ensure(rounding(stats.largest_free) >= largest, || {
            format!("largest_free {} is far from the true {largest}", stats.largest_free)
        })
    }

    /// Takes over what an allocation returned, or makes sure that null was right.
    fn allocated(&mut self, request: Request, at: *mut u8) -> Result<(), String> {
        let Request { slot, bytes, align } = request;
        if at.is_null() {
            return self.refused(bytes, align);
        }
        self.tally.allocations += 1;
        let block = self.checked(slot, at, bytes, align)?;
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        unsafe { contents::write(at, block.usable, block.tag) };
        self.insert(block);
        self.settle(Change::Exact)
    }

    /// Builds the record of a block that the heap returned; fails if the heap must not.
    fn checked(&mut self, slot: u32, at: *mut u8, bytes: usize, align: usize) -> Result<Block, String> {
        ensure(at.addr().is_multiple_of(align), || format!("{at:?} is not aligned to {align}"))?;
        // SAFETY: the heap is live.
        let (usable, inside) = unsafe { (KnHeap::usable_size(self.heap, at), KnHeap::contains(self.heap, at)) };
        ensure(usable >= bytes, || format!("{usable} usable bytes of {bytes} at {at:?}"))?;
        ensure(inside, || format!("contains denies {at:?}"))?;
        self.region_of(at.addr(), usable).ok_or_else(|| format!("{usable} bytes at {at:?} leave the regions"))?;
        let address = at.addr();
        let before = self.by_address.range(..=address).next_back().map(|(_, &index)| index);
        let after = self.by_address.range(address..).next().map(|(_, &index)| index);
        for other in [before, after].into_iter().flatten() {
            let other = &self.blocks[other];
            let from = other.at.addr();
            ensure(address + usable <= from || from + other.usable <= address, || {
                format!("{usable} bytes at {at:?} overlap {}", describe(other))
            })?;
        }
        self.tally.saw_slack(usable - bytes);
        self.next_tag += 1;
        Ok(Block { slot, at, bytes, usable, align, tag: self.next_tag })
    }

    /// A null for a possible request: was there really no room, and has nothing changed?
    fn refused(&mut self, bytes: usize, align: usize) -> Result<(), String> {
        self.tally.refusals += 1;
        // What alignment may cost: the block's start, and a free block in front of it.
        let margin = if align > ALIGN { align + 4 * ALIGN } else { 0 };
        let least = self.stats.largest_free;
        ensure(least == 0 || bytes.saturating_add(margin) > least, || {
            format!("{bytes} bytes (align {align}) refused, largest_free is {least}")
        })?;
        if !self.worth_a_walk() {
            return self.unchanged();
        }
        let seen = self.layout_now()?;
        let largest = seen.iter().filter(|block| !block.2).map(|block| block.1).max().unwrap_or(0);
        ensure(largest <= rounding(bytes.saturating_add(margin)), || {
            format!("{bytes} bytes (align {align}) refused, a free block has {largest}")
        })?;
        if margin == 0 {
            self.tally.saw_refusal(bytes, largest);
        }
        self.unchanged()
    }

    /// `realloc` of the slot's block, or of null if it has none.
    fn resize(&mut self, slot: u32, bytes: usize) -> Result<(), String> {
        let Some(&old) = self.block(slot) else {
            // SAFETY: the heap is live.
            let at = unsafe { KnHeap::realloc(self.heap, std::ptr::null_mut(), bytes) };
            return self.allocated(Request { slot, bytes, align: ALIGN }, at);
        };
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        unsafe { contents::compare(old.at, old.usable, old.tag) }
            .map_err(|why| format!("before realloc, {}: {why}", describe(&old)))?;
        // SAFETY: the heap is live and the block is one of its own.
        let at = unsafe { KnHeap::realloc(self.heap, old.at, bytes) };
        // What the address had, a moved block has too.
        let align = KEPT.min(1 << old.at.addr().trailing_zeros());
        if at.is_null() {
            ensure(bytes > old.usable, || format!("shrinking {} refused", describe(&old)))?;
            return self.refused(bytes, align);
        }
        let align = if at == old.at { old.align } else { align };
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        unsafe { contents::compare(at, old.usable.min(bytes), old.tag) }
            .map_err(|why| format!("realloc of {} to {bytes}: {why}", describe(&old)))?;
        self.remove(slot);
        let block = self.checked(slot, at, bytes, align)?;
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        unsafe { contents::write(at, block.usable, block.tag) };
        self.insert(block);
        self.tally.saw_resize(old.at == at, bytes > old.usable);
        if at != old.at {
            self.bury(old.at);
        }
        self.settle(Change::Transient(block.usable))
    }

    /// Frees the slot's block, if it has one.
    fn release(&mut self, slot: u32) -> Result<(), String> {
        let Some(&block) = self.block(slot) else { return Ok(()) };
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        unsafe { contents::compare(block.at, block.usable, block.tag) }
            .map_err(|why| format!("before free, {}: {why}", describe(&block)))?;
        // SAFETY: the heap is live and the block is one of its own.
        let status = unsafe { KnHeap::free(self.heap, block.at) };
        ensure(status == KnStatus::Ok, || format!("free of {} says {}", describe(&block), name(status)))?;
        self.remove(slot);
        if self.ground.checked {
            // SAFETY: the heap is live; a dead pointer is what is asked about.
            let left = unsafe { KnHeap::usable_size(self.heap, block.at) };
            ensure(left == 0, || format!("freed, {:?} still has {left} usable bytes", block.at))?;
        }
        self.bury(block.at);
        self.tally.frees += 1;
        self.settle(Change::Exact)
    }

    fn add_region(&mut self) -> Result<(), String> {
        let Some(arena) = self.spare.pop_front() else { return Ok(()) };
        let before = self.stats;
        // SAFETY: the arena outlives the heap.
        let status =
            unsafe { KnHeap::add_region(self.heap, arena.start(), arena.bytes(), &config(self.ground.layout)) };
        ensure(status == KnStatus::Ok, || format!("adding {arena} says {}", name(status)))?;
        let bytes = arena.bytes();
        self.arenas.push(arena);
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        self.stats = unsafe { stats_of(self.heap) }?;
        let (now, expected) = (&self.stats, before.regions + 1);
        ensure(
            now.regions == expected
                && now.used == before.used
                && now.blocks == before.blocks
                && now.total - before.total == now.free - before.free
                && now.total - before.total + now.overhead - before.overhead <= bytes
                && now.total > before.total,
            || format!("{bytes} bytes more: {} became {}", show(&before), show(now)),
        )
    }

    fn misuse(&mut self, misuse: Misuse) -> Result<(), String> {
        let heap = self.heap;
        if misuse.is_of_a_pointer() && !self.ground.checked {
            return Ok(());
        }
        let answer = match misuse {
            Misuse::DoubleFree { back } => {
                let Some(at) = self.grave(back) else { return Ok(()) };
                self.free_refused(at)
            }
            Misuse::ReallocFreed { back, bytes } => {
                let Some(at) = self.grave(back) else { return Ok(()) };
                // SAFETY: the heap is live; that the pointer is dead is the point.
                unsafe { KnHeap::realloc(heap, at, bytes) }.is_null()
            }
            Misuse::Interior { slot, offset } => {
                let Some(block) = self.block(slot) else { return Ok(()) };
                if block.usable < 2 {
                    return Ok(());
                }
                self.free_refused(block.at.wrapping_add(1 + offset % (block.usable - 1)))
            }
            Misuse::Stray { offset } => {
                let arena = &self.arenas[0];
                let at = arena.start().wrapping_add(offset % (arena.bytes() + 128)).wrapping_sub(64);
                if self.by_address.contains_key(&at.addr()) {
                    return Ok(());
                }
                self.free_refused(at)
            }
            Misuse::Huge { below } => {
                let bytes = usize::MAX - usize::from(below);
                // SAFETY: the heap is live; so below.
                let got = unsafe {
                    [
                        KnHeap::malloc(heap, bytes),
                        KnHeap::malloc_top(heap, bytes),
                        KnHeap::calloc(heap, 1, bytes),
                        KnHeap::calloc(heap, bytes, 1),
                        KnHeap::aligned_alloc(heap, 64, bytes),
                    ]
                };
                got.iter().all(|at| at.is_null())
            }
            Misuse::Overflow { divisor } => {
                let divisor = usize::from(divisor).max(2);
                // SAFETY: as above.
                unsafe { KnHeap::calloc(heap, usize::MAX / divisor + 2, divisor) }.is_null()
            }
            Misuse::ReallocHuge { slot, below } => {
                let at = self.block(slot).map_or(std::ptr::null_mut(), |block| block.at);
                // SAFETY: as above, and the block is live.
                unsafe { KnHeap::realloc(heap, at, usize::MAX - usize::from(below)) }.is_null()
            }
            Misuse::CrookedAlign { align, bytes } => {
                let align = if align.is_power_of_two() { align ^ (align << 1 | 3) } else { align };
                if align.is_power_of_two() {
                    return Ok(());
                }
                // SAFETY: as above.
                unsafe { KnHeap::aligned_alloc(heap, align, bytes) }.is_null()
            }
            Misuse::WideAlign { bytes } => {
                let align = 1usize << (usize::BITS - 1);
                // SAFETY: as above.
                unsafe { KnHeap::aligned_alloc(heap, align, bytes) }.is_null()
            }
        };
        ensure(answer, || format!("{misuse:?} was not refused"))?;
        self.tally.misuses += 1;
        self.unchanged()
    }

    fn free_refused(&self, at: *mut u8) -> bool {
        // SAFETY: the heap is live; that the pointer is wrong is the point.
        unsafe { KnHeap::usable_size(self.heap, at) == 0 && KnHeap::free(self.heap, at) != KnStatus::Ok }
    }

    /// A pointer freed lately that begins no live block now.
    fn grave(&self, back: u8) -> Option<*mut u8> {
        let at = *self.graves.get(usize::from(back) % self.graves.len().max(1))?;
        (!self.by_address.contains_key(&at.addr())).then_some(at)
    }

    fn bury(&mut self, at: *mut u8) {
        self.graves.truncate(GRAVES - 1);
        self.graves.push_front(at);
    }

    fn insert(&mut self, block: Block) {
        self.by_slot.insert(block.slot, self.blocks.len());
        self.by_address.insert(block.at.addr(), self.blocks.len());
        self.usable_sum += block.usable;
        self.blocks.push(block);
    }

    fn remove(&mut self, slot: u32) {
        let Some(index) = self.by_slot.remove(&slot) else { return };
        let block = self.blocks.swap_remove(index);
        self.by_address.remove(&block.at.addr());
        self.usable_sum -= block.usable;
        if let Some(moved) = self.blocks.get(index) {
            self.by_slot.insert(moved.slot, index);
            self.by_address.insert(moved.at.addr(), index);
        }
    }

    /// Statistics after a change that the shadow has followed.
    fn settle(&mut self, change: Change) -> Result<(), String> {
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        let before = std::mem::replace(&mut self.stats, unsafe { stats_of(self.heap) }?);
        let now = &self.stats;
        let least = before.peak.max(now.used);
        let transient = match change {
            Change::Exact => 0,
            // Old and new block both existed for a moment.
            Change::Transient(usable) => usable + 4 * ALIGN,
        };
        // Each region has a peak of its own, and the heap's is their sum.
        let most = match self.arenas.len() {
            1 => least.max(before.used + transient),
            _ => least.max(before.peak + transient.max(now.used.saturating_sub(before.used))),
        };
        ensure(
            now.blocks == self.blocks.len()
                && now.used + now.free == now.total
                && now.used >= self.usable_sum
                && now.total == before.total
                && now.overhead == before.overhead
                && now.regions == self.arenas.len()
                && (least..=most).contains(&now.peak)
                && now.largest_free <= now.free,
            || {
                format!(
                    "the shadow has {} blocks of {} bytes, a peak of {least}; {} became {}",
                    self.blocks.len(),
                    self.usable_sum,
                    show(&before),
                    show(now)
                )
            },
        )
    }

    /// Statistics, and the walk of a small heap, after a call that must change nothing.
    fn unchanged(&mut self) -> Result<(), String> {
        // SAFETY: the heap is live, and so are the blocks that the shadow knows.
        let now = unsafe { stats_of(self.heap) }?;
        ensure(same(&now, &self.stats), || format!("refused, yet {} became {}", show(&self.stats), show(&now)))?;
        if self.worth_a_walk() {
            self.verify_walk()?;
        }
        Ok(())
    }

    /// Always in a small heap; the seldomer the more blocks there are.
    fn worth_a_walk(&self) -> bool {
        self.tally.operations.is_multiple_of(1 + self.blocks.len() / 64)
    }

    fn region_of(&self, at: usize, bytes: usize) -> Option<usize> {
        self.arenas.iter().position(|arena| arena.holds(at, bytes))
    }
}

/// How far `peak` may go.
enum Change {
    /// To the new `used`.
    Exact,
    /// A moving `realloc` holds both blocks: this many bytes beside what was used.
    Transient(usize),
}

/// The largest free block that a search for `bytes` may miss: bins are 1/8 wide.
fn rounding(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 8).saturating_add(2 * ALIGN)
}

fn describe(block: &Block) -> String {
    let Block { slot, at, bytes, usable, align, .. } = block;
    format!("block {slot} ({bytes} of {usable} bytes at {at:?}, align {align})")
}
