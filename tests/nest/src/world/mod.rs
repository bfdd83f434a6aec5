//! A heap with its nests of scopes and arenas, driven from outside, and everything that must be true of it.
//!
//! After every operation:
//!
//! - what an arena, the heap or the collector gave lies inside the heap and overlaps nothing that is live;
//!   what was copied or grown has kept its contents;
//! - null is answered only for a budget, for a fixed size, or because the heap has no room; budgets hold;
//! - cleanups have run in reverse order, then destroy hooks in reverse order of birth, each once, inner
//!   scopes first; the report counts what there was;
//! - the escapes found at the end of an arena are those that the model knows, with holder, slot, offset,
//!   field and target; their slots hold null, or a copy of all that was reached;
//! - at the end of a scope the heap's used blocks are those of its beginning, but for what was allocated
//!   and freed outside in between ([`crate::model::Model::account`]); after a rewind those of the mark.
//!
//! Each [`World::verify`] holds besides: `check` says Ok for heap and cells; every byte of every
//! allocation is what was written last; every cell that the program reaches has its stamp, its fields and
//! exactly its count; weak slots, statistics and the count of escapes agree with the model.
//!
//! [`World::finish`] ends everything in order and demands the heap's first fingerprint back.

mod arenas;
mod callbacks;
mod cells;
mod ending;
mod memory;
mod verify;

use crate::kinds::{Descriptors, COUNT, KINDS};
use crate::model::{Aid, Id, Model, ROOTS, SLOTS, VARS, WEAKS};
use crate::op::Op;
use crate::prints::print_of;
use crate::tally::Tally;
use knoll::arena::{KnCleanup, KnRootRange, KnTentative, KnWeakSlot};
use knoll::capi::arena::{kn_roots_add, kn_roots_remove};
use knoll::counted::Counted;
use knoll::heap::{KnHeap, KnLayout, KnStatus};
use knoll_graph::tuning::Tuning;
use knoll_shadow::arena::Arena as Ground;
use knoll_shadow::contents;
use knoll_shadow::numbers::{config, stats_of};
use knoll_shadow::random::Random;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr::null_mut;

/// The heap, the collector, the manners of callbacks.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the heap keeps its blocks.
    pub layout: KnLayout,
    /// The heap's size.
    pub bytes: usize,
    /// The collector's configuration.
    pub tuning: Tuning,
    /// Whether counted cells are made at all.
    pub cells: bool,
    /// Whether callbacks do operations of their own.
    pub unruly: bool,
    /// For what callbacks do.
    pub seed: u64,
    /// Operations between two verifications.
    pub verify_every: usize,
}

/// An arena that ends, or the tail of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Which.
    aid: Aid,
    /// Whether it is the library's turn: those further out wait.
    begun: bool,
    /// Whether the arena goes too.
    fatal: bool,
    /// What goes: items, cleanups and tentative cells from these on.
    items: usize,
    cleanups: usize,
    tentatives: usize,
    found: Found,
}

/// What the end of an arena did, as the model sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    cleanups: usize,
    destroyed: usize,
    released: usize,
    dropped: usize,
    escapes: usize,
    promoted: usize,
    weak: usize,
}

/// A registered cleanup: the node that the library keeps, and whether it lies in its arena.
struct Waiting {
    node: *mut KnCleanup,
    inside: bool,
}

/// A tentative cell: the link that the library keeps.
struct Tentative {
    node: *mut KnTentative,
    id: Id,
    waits: bool,
}

/// See the module's head.
pub struct World {
    setup: Setup,
    heap: *mut KnHeap,
    state: *mut Counted,
    types: [u32; COUNT],
    /// The heap's print and bytes in use before anything was done.
    first: (u64, usize),
    total: usize,
    model: RefCell<Model>,
    vars: [Cell<*mut u8>; VARS],
    /// The named root range, and its registration.
    roots: *mut [*mut u8; ROOTS],
    range: *mut KnRootRange,
    weaks: [*mut KnWeakSlot; WEAKS],
    waiting: RefCell<Vec<Waiting>>,
    tentatives: RefCell<Vec<Tentative>>,
    /// What is being ended, the current one last.
    endings: RefCell<Vec<Ending>>,
    /// What has been settled of them while callbacks ran.
    settled: RefCell<Vec<Ending>>,
    /// Cells that were copied out of what is being ended, and their copies.
    copies: RefCell<HashMap<Id, Id>>,
    /// Changes of the print that operations inside the current one have accounted for.
    nested: Cell<u64>,
    /// Bytes that the collector held before the operation that is under way.
    held: Cell<usize>,
    /// The end of an arena has changed memory outside it.
    touched: Cell<bool>,
    ballast: RefCell<Vec<*mut u8>>,
    tuning: Cell<Tuning>,
    /// Cells that nobody reaches may be dead or alive.
    open: Cell<bool>,
    /// How deep in callbacks, and how many operations they may still do.
    depth: Cell<usize>,
    allowance: Cell<usize>,
    /// The world comes to its end: callbacks do nothing of their own any more.
    calm: Cell<bool>,
    random: RefCell<Random>,
    next_tag: Cell<usize>,
    failure: RefCell<Option<String>>,
    tally: RefCell<Tally>,
    _descriptors: Descriptors,
    ground: Ground,
}

impl World {
    /// A new world; None if its heap is too small.
    pub fn new(setup: &Setup) -> Option<World> {
        callbacks::install();
        callbacks::told();
        let ground = Ground::new(setup.bytes, 0);
        // SAFETY: the ground outlives the heap: both belong to the world. So everywhere below.
        let heap = unsafe { KnHeap::create(ground.start(), setup.bytes, &config(setup.layout)) };
        if heap.is_null() {
            return None;
        }
        let descriptors = Descriptors::new(callbacks::destroy);
        // SAFETY: the heap is live; the descriptors live as long as the world.
        let (first, total, state, types) = unsafe {
            let stats = stats_of(heap).ok()?;
            let first = (print_of(heap).ok()?, stats.used);
            let state = if setup.cells { Counted::of(heap) } else { null_mut() };
            let refused = |state: *mut Counted| {
                state.is_null() || Counted::configure(state, &setup.tuning.config()) != KnStatus::Ok
            };
            if setup.cells && refused(state) {
                return None;
            }
            let types = std::array::from_fn(|kind| match setup.cells {
                true => Counted::register(state, descriptors.of(kind)),
                false => 0,
            });
            (first, stats.total, state, types)
        };
        if setup.cells && types.contains(&0) {
            return None;
        }
        let roots = Box::into_raw(Box::new([null_mut(); ROOTS]));
        let range = Box::into_raw(Box::new(KnRootRange {
            start: roots.cast(),
            bytes: size_of::<[*mut u8; ROOTS]>(),
            name: callbacks::RANGE.as_ptr(),
            ..blank()
        }));
        // SAFETY: the range and its slots live as long as the world.
        let added = unsafe { kn_roots_add(heap, range) };
        assert_eq!(added, KnStatus::Ok, "kn_roots_add");
        Some(World {
            setup: setup.clone(),
            heap,
            state,
            types,
            first,
            total,
            model: RefCell::default(),
            vars: std::array::from_fn(|_| Cell::new(null_mut())),
            roots,
            range,
            weaks: std::array::from_fn(|_| Box::into_raw(Box::new(blank::<KnWeakSlot>()))),
            waiting: RefCell::default(),
            tentatives: RefCell::default(),
            endings: RefCell::default(),
            settled: RefCell::default(),
            copies: RefCell::default(),
            nested: Cell::new(0),
            held: Cell::new(0),
            touched: Cell::new(false),
            ballast: RefCell::default(),
            tuning: Cell::new(setup.tuning),
            open: Cell::new(setup.cells && !setup.tuning.is_manual()),
            depth: Cell::new(0),
            allowance: Cell::new(0),
            calm: Cell::new(false),
            random: RefCell::new(Random::new(setup.seed)),
            next_tag: Cell::new(1),
            failure: RefCell::default(),
            tally: RefCell::default(),
            _descriptors: descriptors,
            ground,
        })
    }

    /// Does one operation and holds the outcome against the model.
    pub fn run(&self, op: Op) -> Result<(), String> {
        let _entered = callbacks::Entered::new(self);
        self.allowance.set(if self.setup.unruly && !self.calm.get() { 24 } else { 0 });
        self.perform(op);
        if self.depth.get() == 0 {
            let settled = match self.open.get() {
                true => Ok(()),
                false => self.model.borrow_mut().settle_doomed(),
            };
            if let Err(id) = settled {
                self.fail(|| self.name(id, "has a count of 0 and was not destroyed"));
            }
        }
        if let Some((_, told)) = callbacks::told().pop() {
            self.fail(|| told);
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Does it, and accounts for what it changed in the heap.
    fn perform(&self, op: Op) {
        self.tally.borrow_mut().operations += 1;
        let inside = self.nested.replace(0);
        let (before, pages) = (self.print(), self.pages());
        let outer = self.held.replace(pages);
        let owner = self.act(op);
        let (after, ends) = (self.print(), matches!(op, Op::Leave { .. } | Op::Unwind { .. } | Op::Destroy { .. }));
        // Short of memory, an arena lets the collector give pages back.
        if owner.is_some() && !ends && self.pages() != pages {
            self.model.borrow_mut().blur();
        }
        self.held.set(outer);
        let change = after.wrapping_sub(before);
        self.model.borrow_mut().account(owner, change.wrapping_sub(self.nested.get()));
        self.nested.set(inside.wrapping_add(change));
    }

    /// Does it. Answers to which arena what it allocated belongs; None: to none, it is the program's own.
    fn act(&self, op: Op) -> Option<Aid> {
        let counts = self.setup.cells;
        match op {
            Op::Enter { shape, presize } => return self.enter(shape, presize),
            Op::Create { shape, presize } => return self.create(shape, presize),
            Op::Leave { out } => return self.leave(out.into()),
            Op::Unwind { out } => return self.unwind(out.into()),
            Op::Reset { arena, mode, limit } => return self.reset(arena, mode, limit.into()),
            Op::Destroy { arena } => return self.destroy(arena),
            Op::Alloc { arena, bytes, how } => return self.alloc(arena, bytes.into(), how),
            Op::Resize { arena, item, bytes } => return self.resize(arena, item.into(), bytes.into()),
            Op::Mark { arena } => return self.mark(arena),
            Op::Rewind { arena, back } => return self.rewind(arena, back.into()),
            Op::Cleanup { arena, inside } => return self.cleanup(arena, inside),
            Op::Malloc { slot, bytes, how } => self.malloc(slot, bytes.into(), how),
            Op::Realloc { slot, bytes } => self.realloc(slot, bytes.into()),
            Op::Free { slot } => self.free(slot),
            Op::Fill { leave } => self.fill(usize::from(leave) * 8),
            Op::Drain => self.drain(),
            Op::Weak { slot, arena, item } => self.weak(slot, arena, item),
            Op::NewIn { arena, var, kind, length } if counts => return self.new_in(arena, var, kind, length),
            Op::Tentative { arena, kind } if counts => self.tentative(arena, kind),
            _ if counts => self.graph(op),
            _ => {}
        }
        None
    }

    // ------------------------------------------------------------ blocks of the heap

    fn malloc(&self, slot: u8, bytes: usize, how: u8) {
        self.free(slot);
        let bytes = bytes % (self.total / 8);
        // SAFETY: the heap is live and used by this thread only; so below.
        let (at, align) = unsafe {
            match how % 8 {
                0 | 1 => (KnHeap::malloc_top(self.heap, bytes), 8),
                2 => {
                    let align = 16 << (how / 8 % 4);
                    (KnHeap::aligned_alloc(self.heap, align, bytes), align)
                }
                3 => (KnHeap::calloc(self.heap, 1, bytes), 8),
                _ => (KnHeap::malloc(self.heap, bytes), 8),
            }
        };
        if at.is_null() {
            self.tally.borrow_mut().refusals += 1;
            return self.expect_full(bytes + align);
        }
        if how % 8 == 3 {
            self.expect_zero(at, bytes);
        }
        let tag = self.fresh(at, bytes, align);
        self.model.borrow_mut().blocks[usize::from(slot) % SLOTS] = Some(crate::model::Block { at, bytes, tag });
    }

    fn realloc(&self, slot: u8, bytes: usize) {
        let slot = usize::from(slot) % SLOTS;
        let Some(block) = self.model.borrow().blocks[slot] else { return };
        let bytes = bytes % (self.total / 8);
        // SAFETY: the heap is live, and so is the block.
        let at = unsafe { KnHeap::realloc(self.heap, block.at, bytes) };
        if at.is_null() {
            self.tally.borrow_mut().refusals += 1;
            return self.expect_full(bytes);
        }
        self.expect_contents(at, block.bytes.min(bytes), block.tag);
        self.model.borrow_mut().unclaim(block.at, block.bytes);
        let tag = self.fresh(at, bytes, 8);
        self.model.borrow_mut().blocks[slot] = Some(crate::model::Block { at, bytes, tag });
    }

    fn free(&self, slot: u8) {
        let Some(block) = self.model.borrow_mut().blocks[usize::from(slot) % SLOTS].take() else { return };
        self.expect_contents(block.at, block.bytes, block.tag);
        self.model.borrow_mut().unclaim(block.at, block.bytes);
        // SAFETY: the heap is live, and so is the block.
        let status = unsafe { KnHeap::free(self.heap, block.at) };
        if status != KnStatus::Ok {
            self.fail(|| format!("free says {status:?}"));
        }
    }

    fn fill(&self, leave: usize) {
        loop {
            let largest = self.largest();
            if largest <= leave.max(32) {
                return;
            }
            // SAFETY: the heap is live.
            let at = unsafe { KnHeap::malloc(self.heap, largest) };
            if at.is_null() {
                return;
            }
            if let Err(why) = self.model.borrow_mut().claim(at, largest, None, self.is_open()) {
                self.fail(|| why);
            }
            self.ballast.borrow_mut().push(at);
        }
    }

    fn drain(&self) {
        for at in self.ballast.take() {
            self.model.borrow_mut().unclaim(at, 1);
            // SAFETY: a block of this heap.
            unsafe { KnHeap::free(self.heap, at) };
        }
    }

    // ------------------------------------------------------------ helpers

    /// The heap's used blocks, as one number.
    fn print(&self) -> u64 {
        // SAFETY: the heap is live.
        match unsafe { print_of(self.heap) } {
            Ok(print) => print,
            Err(why) => {
                self.fail(|| why);
                0
            }
        }
    }

    /// Whether cells that nobody reaches may be dead already: while a call destroys others, too.
    fn is_open(&self) -> bool {
        self.open.get() || self.depth.get() > 0
    }

    /// Bytes that the collector holds.
    fn pages(&self) -> usize {
        if !self.setup.cells {
            return 0;
        }
        // SAFETY: the state is live.
        let stats = unsafe { Counted::stats(self.state) };
        stats.total + stats.buffers
    }

    /// The largest free block that is sure to serve.
    fn largest(&self) -> usize {
        // SAFETY: the heap is live.
        unsafe { stats_of(self.heap) }.map_or(0, |stats| stats.largest_free)
    }

    /// Takes over memory: it must lie in the heap, aligned, and overlap nothing. Fills it; the tag.
    fn fresh(&self, at: *mut u8, bytes: usize, align: usize) -> usize {
        if !at.addr().is_multiple_of(align) || !self.ground.holds(at.addr(), bytes) {
            self.fail(|| format!("{bytes} bytes at {at:?}, aligned to {align}: outside the heap, or not aligned"));
            return 0;
        }
        if let Err(why) = self.model.borrow_mut().claim(at, bytes, None, self.is_open()) {
            self.fail(|| why);
        }
        let tag = self.next_tag.get();
        self.next_tag.set(tag + 1);
        // SAFETY: inside the ground; the library gave these bytes.
        unsafe { contents::write(at, bytes, tag) };
        tag
    }

    fn expect_contents(&self, at: *mut u8, bytes: usize, tag: usize) {
        // SAFETY: live memory that was filled when it was given.
        if let Err(why) = unsafe { contents::compare(at, bytes, tag) } {
            self.fail(|| format!("at {at:?}: {why}"));
        }
    }

    fn expect_zero(&self, at: *mut u8, bytes: usize) {
        // SAFETY: memory that the library has just given.
        let bytes = unsafe { std::slice::from_raw_parts(at, bytes) };
        if bytes.iter().any(|&byte| byte != 0) {
            self.fail(|| format!("{} bytes at {at:?} are not zero", bytes.len()));
        }
    }

    /// A request was refused: there must have been no room for it.
    fn expect_full(&self, bytes: usize) {
        let largest = self.largest();
        if largest > bytes + 64 && self.ballast.borrow().is_empty() && largest > bytes + bytes / 8 + 64 {
            self.fail(|| format!("{bytes} bytes refused, {largest} are free"));
        }
    }

    /// A variable's cell.
    fn var(&self, var: u8) -> Option<(*mut u8, Id)> {
        let var = usize::from(var) % VARS;
        self.model.borrow().vars[var].map(|id| (self.vars[var].get(), id))
    }

    fn fail(&self, why: impl FnOnce() -> String) {
        let why = why();
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(why);
        }
    }

    fn name(&self, id: Id, what: &str) -> String {
        let model = self.model.borrow();
        let node = &model.nodes[id];
        format!(
            "cell {id}, a {:?} {:?} at {:?} with {} + {} references, {what}",
            KINDS[node.kind].name, node.home, node.at, node.external, node.incoming
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; after this nobody uses the heap that knows of them.
        unsafe {
            kn_roots_remove(self.heap, self.range);
            drop(Box::from_raw(self.roots));
            drop(Box::from_raw(self.range));
            self.weaks.iter().for_each(|&weak| drop(Box::from_raw(weak)));
            for waiting in self.waiting.borrow().iter().filter(|waiting| !waiting.inside) {
                drop(Box::from_raw(waiting.node));
            }
            self.tentatives.borrow().iter().for_each(|tentative| drop(Box::from_raw(tentative.node)));
        }
    }
}

/// A node of the library's that the program has not used yet.
fn blank<T>() -> T {
    // SAFETY: the library's nodes are pointers, numbers and optional functions, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

/// The seal that proves a stamp.
fn seal(id: Id) -> u32 {
    (id as u32).wrapping_mul(0x9e37_79b1) ^ 0x5eed_0000
}

/// A field as a slot.
///
/// # Safety
/// The offset lies in the cell's payload.
unsafe fn slot_of(cell: *mut u8, offset: usize) -> *mut *mut u8 {
    // SAFETY: by the contract of this function.
    unsafe { cell.add(offset).cast() }
}
