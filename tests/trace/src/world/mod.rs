//! A program over a traced heap: it keeps pointers in variables, in a table of roots and in blocks, and knows what
//! there must be.
//!
//! What is compared:
//! * Blocks lie in an area, at a multiple of its granule, all zero, and never share memory. Each holds what was written
//!   until it is freed, resized or dead; what a resize adds is zero.
//! * After a collection exactly the reachable blocks are there, by the oracle of [`crate::model`]; the others have size 0.
//!   The trace hook is asked once about each reachable block that may hold pointers, and about no other.
//! * The finaliser is told once of each dead block that asked for it, while all dead blocks are as they were; it gets no
//!   memory, and may free dead blocks, live ones and its own.
//! * A request is refused only when no area has so many granules in one piece, after one collection, and with one
//!   report that tells so. It succeeds without a collection if there is room, in the first area that has; long-lived
//!   blocks within a word's worth of granules of the lowest such place, transient ones of the highest.
//! * A resize stays in place if it can; it fails only if it must, and then nothing has changed.
//! * Statistics, walk, holders, marks, and the checks of the heap itself agree with the model, at every verification.

mod callbacks;
mod verify;

use crate::heap::{Heap, Hooks, KN_FINALISE, KN_LONG_LIVED, KN_NO_SCAN, KN_TRACED_STRESS};
use crate::model::{aim, Block, Kind, Model, PINS, VARS, WORD};
use crate::op::Op;
use crate::setup::{Ground, Setup};
use crate::tally::Tally;
use knoll_shadow::random::Random;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Areas that a run may have.
const MOST_AREAS: usize = 6;
/// Locks, scopes and the like that a run may nest.
const DEEPEST: usize = 4;

/// What a collection must do.
struct Plan {
    /// What is reachable.
    reach: BTreeSet<usize>,
    /// Dead blocks whose finaliser is still to run.
    pending: BTreeSet<usize>,
    /// The finaliser has run, or the block has been freed by one.
    done: BTreeSet<usize>,
}

/// The program.
pub struct World<H: Heap> {
    heap: OnceCell<H>,
    setup: Setup,
    model: RefCell<Model>,
    plan: RefCell<Option<Plan>>,
    random: RefCell<Random>,
    tally: RefCell<Tally>,
    wrong: RefCell<Option<String>>,
    scopes: Cell<usize>,
    lasting: Cell<usize>,
    locks: Cell<usize>,
    declines: Cell<bool>,
    threshold: Cell<usize>,
    since: Cell<usize>,
    collections: Cell<usize>,
    /// How often the heap asked for a collection, and told that it is short of memory.
    asked: Cell<usize>,
    told: Cell<usize>,
    /// What it may be short of.
    request: Cell<(usize, u32)>,
    /// The block that is being resized: the program holds it until that is done.
    busy: Cell<usize>,
}

impl<H: Heap> World<H> {
    /// A program that has done nothing; None if its memory is too little for a heap.
    pub fn new(setup: &Setup) -> Option<Rc<World<H>>> {
        let world = Rc::new(World {
            heap: OnceCell::new(),
            setup: setup.clone(),
            model: RefCell::new(Model::new(setup)),
            plan: RefCell::new(None),
            random: RefCell::new(Random::new(setup.seed)),
            tally: RefCell::default(),
            wrong: RefCell::new(None),
            scopes: Cell::new(0),
            lasting: Cell::new(0),
            locks: Cell::new(0),
            declines: Cell::new(false),
            threshold: Cell::new(setup.threshold),
            since: Cell::new(0),
            collections: Cell::new(0),
            asked: Cell::new(0),
            told: Cell::new(0),
            request: Cell::new((0, 0)),
            busy: Cell::new(0),
        });
        let hooks: Hooks = callbacks::of(&world);
        let _ = world.heap.set(H::create(setup, &hooks)?);
        Some(world)
    }

    fn heap(&self) -> &H {
        self.heap.get().expect("the heap is made with the world")
    }

    /// Notes what is wrong; the first of it counts.
    fn complain(&self, what: impl FnOnce() -> String) {
        self.wrong.borrow_mut().get_or_insert_with(what);
    }

    fn ensure(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.complain(what);
        }
    }

    /// Does it.
    pub fn run(&self, op: Op) -> Result<(), String> {
        self.tally.borrow_mut().operations += 1;
        match op {
            Op::New { var, kind, size, flags } => self.new_block(var, kind, usize::from(size), flags),
            Op::Copy { from, to } => self.set_var(to, self.var(from)),
            Op::Drop { var } => self.set_var(var, 0),
            Op::Aim { var, how } => {
                if let Some((at, size)) = self.block_in(var) {
                    self.set_var(var, aim(at, size, how));
                }
            }
            Op::Store { var, field, from, how } => self.store(var, field, from, how),
            Op::Misplace { var, byte, from } => self.misplace(var, byte, from),
            Op::Clear { var, field } => self.write(var, field, 0),
            Op::Fetch { var, field, to } => self.fetch(var, field, to),
            Op::Pin { pin, from } => {
                let word = if usize::from(from) < VARS { self.var(from) } else { 0 };
                self.model.borrow_mut().pins[usize::from(pin) % PINS] = word;
            }
            Op::Resize { var, size, moves } => self.resize(var, usize::from(size), moves),
            Op::Free { var, dangle } => self.free(var, dangle),
            Op::Flatten { var } => self.flatten(var),
            Op::Collect => self.collect(),
            Op::Ask { what } => self.collect_asking(what),
            Op::Restart => {
                self.heap().start();
                let vars = self.model.borrow().vars;
                self.heap().mark(&vars[..VARS / 2]);
                self.collect();
            }
            Op::Step { granules } => self.step(usize::from(granules)),
            Op::Begin if self.scopes.get() < DEEPEST => {
                self.heap().scope_begin();
                self.scopes.set(self.scopes.get() + 1);
            }
            Op::End if self.scopes.get() > 0 => {
                self.heap().scope_end();
                self.scopes.set(self.scopes.get() - 1);
            }
            Op::Lasting if self.lasting.get() < DEEPEST => {
                self.heap().lasting_begin();
                self.lasting.set(self.lasting.get() + 1);
            }
            Op::Passing if self.lasting.get() > 0 => {
                self.heap().lasting_end();
                self.lasting.set(self.lasting.get() - 1);
            }
            Op::Lock if self.locks.get() < DEEPEST => {
                self.heap().lock();
                self.locks.set(self.locks.get() + 1);
            }
            Op::Unlock if self.locks.get() > 0 => {
                self.heap().unlock();
                self.locks.set(self.locks.get() - 1);
            }
            Op::Begin | Op::End | Op::Lasting | Op::Passing | Op::Lock | Op::Unlock => {}
            Op::Mind { declines } => self.declines.set(declines),
            Op::Threshold { bytes } => {
                self.heap().set_threshold(usize::from(bytes));
                self.threshold.set(usize::from(bytes));
                self.since.set(0);
            }
            Op::Area { which } => {
                if self.heap().memories().len() < MOST_AREAS {
                    let ground = Ground::extra(which);
                    let taken = self.heap().add_area(&ground);
                    self.ensure(taken || ground.bytes < 1000, || format!("{ground:?} is refused"));
                }
            }
            Op::Probe { var, how } => self.probe(var, how),
            Op::Holders { var } => self.holders(var),
        }
        self.ensure(self.heap().is_locked() == (self.locks.get() > 0), || "is_locked is wrong".into());
        if let Some(what) = self.heap().complaint() {
            self.complain(|| format!("the error hook was told: {what}"));
        }
        self.wrong.borrow_mut().take().map_or(Ok(()), Err)
    }

    // ------------------------------------------------------------ words

    fn var(&self, var: u8) -> usize {
        self.model.borrow().vars[usize::from(var) % VARS]
    }

    fn set_var(&self, var: u8, word: usize) {
        self.model.borrow_mut().vars[usize::from(var) % VARS] = word;
    }

    /// Address and size of the block in a variable.
    fn block_in(&self, var: u8) -> Option<(usize, usize)> {
        let model = self.model.borrow();
        let at = model.in_var(var)?;
        Some((at, model.blocks[&at].size()))
    }

    /// A word that points to the block in a variable, or near it, into another block.
    fn store(&self, var: u8, field: u16, from: u8, how: u8) {
        let word = match self.block_in(from) {
            Some((at, size)) => aim(at, size, how),
            None => self.var(from),
        };
        self.write(var, field, word);
    }

    fn write(&self, var: u8, field: u16, word: usize) {
        let mut model = self.model.borrow_mut();
        let Some(at) = model.in_var(var) else { return };
        let Some(block) = model.blocks.get_mut(&at) else { return };
        let place = usize::from(field) % (block.size() / WORD);
        if block.kind == Kind::Raw {
            return;
        }
        block.put(place * WORD, word);
        // Two in three are what the trace hook tells.
        if field % 3 != 0 {
            block.slots.insert(place * WORD);
        } else {
            block.slots.remove(&(place * WORD));
        }
    }

    fn misplace(&self, var: u8, byte: u16, from: u8) {
        let word = self.var(from);
        let mut model = self.model.borrow_mut();
        let Some(at) = model.in_var(var) else { return };
        let Some(block) = model.blocks.get_mut(&at) else { return };
        let place = usize::from(byte) % (block.size() - WORD + 1);
        if matches!(block.kind, Kind::Node | Kind::Flat) && place % WORD != 0 {
            block.put(place, word);
        }
    }

    fn fetch(&self, var: u8, field: u16, to: u8) {
        let model = self.model.borrow();
        let Some(at) = model.in_var(var) else { return };
        let block = &model.blocks[&at];
        let word = block.word(usize::from(field) % (block.size() / WORD) * WORD);
        drop(model);
        self.set_var(to, word);
    }

    // ------------------------------------------------------------ blocks

    fn limit(&self) -> usize {
        self.heap().memories().iter().map(|(_, bytes, _)| *bytes).max().unwrap_or(0) * 5 / 4
    }

    fn new_block(&self, var: u8, kind: u8, size: usize, flags: u8) {
        let kind = Kind::pick(kind);
        let size = size % self.limit();
        let mut flags = match flags % 16 {
            0..=3 => KN_FINALISE,
            4 | 5 => KN_LONG_LIVED,
            6 => KN_FINALISE | KN_LONG_LIVED,
            _ => 0,
        };
        if kind == Kind::Flat {
            flags |= KN_NO_SCAN;
        }
        let before = self.room_before();
        let at = self.request(size, flags, || self.heap().alloc(size, flags));
        let closed = size == 0 || self.locks.get() > 0;
        if closed {
            self.ensure(at.is_null() && self.asked.get() + self.told.get() == 0, || {
                format!("{size} bytes, {} locks: {at:p}, {} collections", self.locks.get(), self.asked.get())
            });
            self.forget(at);
            return;
        }
        let transient = flags & KN_LONG_LIVED == 0 && self.scopes.get() > 0 && self.lasting.get() == 0;
        self.judge_request(at, size, flags, &before, Some(transient));
        if at.is_null() {
            return;
        }
        let size = self.adopt(at, size, flags, kind);
        self.since.set(self.since.get() + if self.threshold.get() != 0 { size } else { 0 });
        if transient {
            self.ensure(self.heap().is_transient(at.addr()), || format!("the block at {at:p} is not transient"));
        }
        self.set_var(var, at.addr());
    }

    /// Gives back what must not have been given.
    fn forget(&self, at: *mut u8) {
        if !at.is_null() {
            // SAFETY: a block that nobody uses.
            unsafe { self.heap().free(at) };
        }
    }

    /// Calls for memory, with the counts of what the hooks are told set to 0.
    fn request<R>(&self, size: usize, flags: u32, call: impl FnOnce() -> R) -> R {
        self.asked.set(0);
        self.told.set(0);
        self.request.set((size, flags));
        call()
    }

    /// A new block: where it lies, that it is zero; fills it. Its size.
    fn adopt(&self, at: *mut u8, request: usize, flags: u32, kind: Kind) -> usize {
        let size = self.heap().size(at.addr());
        let Some((_, granule)) = self.home(at.addr(), size) else {
            self.complain(|| format!("the block of {size} bytes at {at:p} is in no area"));
            return size;
        };
        let expected = self.rounded(request, granule, flags);
        self.ensure(size == expected, || format!("{request} bytes at {at:p} have become {size}, not {expected}"));
        let mut model = self.model.borrow_mut();
        if let Some(other) = model.overlap(at.addr(), size) {
            self.complain(|| format!("{size} bytes at {at:p} overlap the block at {other:#x}"));
            return size;
        }
        // SAFETY: the block's bytes, which the heap has zeroed.
        let found = unsafe { std::slice::from_raw_parts(at, size) };
        self.ensure(found.iter().all(|byte| *byte == 0), || format!("{size} bytes at {at:p} are not all zero"));
        let flags = flags & (KN_FINALISE | KN_NO_SCAN);
        let told = self.heap().flags(at.addr());
        self.ensure(told == flags, || format!("the block at {at:p} has flags {told}, not {flags}"));
        let mut block = Block { at, flags, kind, contents: vec![0; size], slots: BTreeSet::new(), asked: 0 };
        // A part stays zero, as programs leave it.
        let mut random = self.random.borrow_mut();
        if !random.one_in(3) {
            block.scribble(0, &mut random);
        }
        model.blocks.insert(at.addr(), block);
        let mut tally = self.tally.borrow_mut();
        tally.blocks += 1;
        tally.most = tally.most.max(model.blocks.len());
        size
    }

    /// The area in which these bytes lie, aligned to its granule: its number and granule.
    fn home(&self, at: usize, size: usize) -> Option<(usize, usize)> {
        let inside = |(_, (start, bytes, granule)): &(usize, (usize, usize, usize))| {
            size > 0 && at >= *start && at + size <= start + bytes && at % granule == 0
        };
        let (number, (_, _, granule)) = self.heap().memories().into_iter().enumerate().find(inside)?;
        Some((number, granule))
    }

    /// Bytes that a request takes.
    fn rounded(&self, size: usize, granule: usize, flags: u32) -> usize {
        let least = if flags & KN_FINALISE != 0 { 2 * granule } else { granule };
        size.next_multiple_of(granule).max(least)
    }

    fn resize(&self, var: u8, size: usize, moves: bool) {
        let size = size % self.limit();
        let Some((at, old)) = self.block_in(var) else { return };
        let (block, flags) = {
            let model = self.model.borrow();
            (model.blocks[&at].at, model.blocks[&at].flags)
        };
        let Some((_, granule)) = self.home(at, old) else { return };
        let wanted = self.rounded(size, granule, flags);
        let neighbour = self.free_behind(at + old);
        let before = self.room_before();
        self.busy.set(at);
        // SAFETY: a block of this heap; what it answers is believed.
        let new = self.request(size, flags, || unsafe { self.heap().realloc(block, size, moves) });
        self.busy.set(0);
        if self.locks.get() > 0 {
            self.ensure(new.is_null(), || "a locked heap resizes".into());
            return;
        }
        if size == 0 {
            self.ensure(new.is_null(), || "a resize to nothing gives something".into());
            self.lose(at);
            return;
        }
        let fits = wanted <= old || neighbour.is_some_and(|room| wanted - old <= room);
        if fits {
            self.ensure(new == block, || format!("a resize from {old} to {size} bytes is not in place: {new:p}"));
        }
        if new.is_null() {
            self.tally.borrow_mut().refusals += 1;
            if moves {
                self.judge_request(new, size, flags, &before, None);
            } else {
                self.ensure(self.asked.get() + self.told.get() == 0, || "a resize in place asks for more".into());
            }
        } else if new == block {
            self.ensure(self.asked.get() == 0, || "a resize in place collects".into());
            self.ensure(self.heap().size(new.addr()) == wanted, || {
                format!("{} bytes, not {wanted}", self.heap().size(new.addr()))
            });
            let mut model = self.model.borrow_mut();
            let Some(mut resized) = model.blocks.remove(&at) else { return };
            if let Some(other) = model.overlap(at, wanted) {
                self.complain(|| format!("{wanted} bytes at {at:#x} overlap the block at {other:#x}"));
            }
            self.reshape(&mut resized, old, wanted);
            model.blocks.insert(at, resized);
            self.tally.borrow_mut().in_place += 1;
            if wanted > old && self.threshold.get() != 0 {
                self.since.set(self.since.get() + wanted - old);
            }
        } else {
            self.ensure(moves, || "a resize moves that must not".into());
            self.judge_request(new, size, flags, &before, None);
            self.moved(at, new, size);
            self.set_var(var, new.addr());
        }
    }

    /// A block was resized in place: what is new is zero.
    fn reshape(&self, block: &mut Block, old: usize, new: usize) {
        block.contents.resize(new, 0);
        block.slots.retain(|byte| byte + WORD <= new);
        if let Err(why) = block.verify() {
            self.complain(|| format!("resized from {old} to {new} bytes: {why}"));
        } else if new > old {
            block.scribble(old, &mut self.random.borrow_mut());
        }
    }

    fn moved(&self, from: usize, to: *mut u8, request: usize) {
        let size = self.heap().size(to.addr());
        let mut model = self.model.borrow_mut();
        let Some(mut block) = model.blocks.remove(&from) else { return };
        let Some((_, granule)) = self.home(to.addr(), size) else {
            return self.complain(|| format!("the block moved to {to:p} is in no area"));
        };
        let wanted = self.rounded(request, granule, block.flags);
        self.ensure(size == wanted, || format!("moved, a block has {size} bytes, not {wanted}"));
        if let Some(other) = model.overlap(to.addr(), size) {
            return self.complain(|| format!("{size} bytes at {to:p} overlap the block at {other:#x}"));
        }
        let told = self.heap().flags(to.addr());
        self.ensure(told == block.flags, || format!("moved, a block has flags {told}, not {}", block.flags));
        let gone = self.heap().size(block.at.addr());
        self.ensure(gone == 0 || size == 0, || format!("the block moved from {from:#x} is still there"));
        block.at = to;
        let old = block.size();
        self.reshape(&mut block, old, size);
        model.blocks.insert(to.addr(), block);
        self.tally.borrow_mut().moved += 1;
        self.since.set(self.since.get() + if self.threshold.get() != 0 { size } else { 0 });
    }

    /// A block is no more.
    fn lose(&self, at: usize) {
        self.model.borrow_mut().blocks.remove(&at);
        let size = self.heap().size(at);
        self.ensure(size == 0, || format!("the block at {at:#x} is freed and has {size} bytes"));
        self.tally.borrow_mut().freed += 1;
    }

    fn free(&self, var: u8, dangle: bool) {
        let Some((at, _)) = self.block_in(var) else { return };
        let block = self.model.borrow().blocks[&at].at;
        // SAFETY: a block of this heap.
        unsafe { self.heap().free(block) };
        if self.locks.get() > 0 {
            return;
        }
        self.lose(at);
        if !dangle {
            self.set_var(var, 0);
        }
    }

    fn flatten(&self, var: u8) {
        let at = self.var(var);
        let mut model = self.model.borrow_mut();
        let done = self.heap().no_scan(at);
        self.ensure(done == model.blocks.contains_key(&at), || format!("no_scan of {at:#x}: {done}"));
        if let Some(block) = model.blocks.get_mut(&at) {
            block.flags |= KN_NO_SCAN;
        }
    }

    // ------------------------------------------------------------ questions

    fn probe(&self, var: u8, how: u8) {
        let word = match self.block_in(var) {
            Some((at, size)) => aim(at, size, how),
            None => self.var(var),
        };
        let model = self.model.borrow();
        let expected = model.blocks.get(&word).map_or((0, 0), |block| (block.size(), block.flags));
        let found = (self.heap().size(word), self.heap().flags(word));
        self.ensure(found == expected, || format!("{word:#x} has size and flags {found:?}, not {expected:?}"));
        let known = model.blocks.contains_key(&word);
        self.ensure(self.heap().is_marked(word) == known, || "is_marked is wrong without a collection".into());
    }

    fn holders(&self, var: u8) {
        let Some((at, _)) = self.block_in(var) else { return };
        let model = self.model.borrow();
        let mut expected = Vec::new();
        for (start, block) in &model.blocks {
            if block.flags & KN_NO_SCAN != 0 {
                continue;
            }
            for byte in (0..block.size()).step_by(WORD).filter(|&byte| block.word(byte) == at) {
                expected.push((*start, start + byte));
            }
        }
        let (count, mut found) = self.heap().holders(at);
        found.sort_unstable();
        self.ensure(found == expected, || format!("{at:#x} has holders {found:x?}, not {expected:x?}"));
        self.ensure(count == expected.len(), || format!("{count} holders, not {}", expected.len()));
    }

    fn step(&self, granules: usize) {
        let before = self.unswept();
        let done = self.heap().step(granules);
        let after = self.unswept();
        self.ensure(after <= before && done == (after == 0), || {
            format!("a step of {granules} granules says {done}; unswept {before}, then {after}")
        });
        self.ensure(granules == 0 || before == 0 || after < before, || format!("a step of {granules} does nothing"));
    }

    fn is_stressed(&self) -> bool {
        self.setup.flags & KN_TRACED_STRESS != 0
    }

    /// The last collections: everything goes. Then what happened.
    pub fn finish(&self) -> Result<Tally, String> {
        while self.locks.get() > 0 {
            self.run(Op::Unlock)?;
        }
        self.verify()?;
        self.run(Op::Collect)?;
        self.verify()?;
        for var in 0..VARS as u8 {
            self.set_var(var, 0);
        }
        self.model.borrow_mut().pins = [0; PINS];
        self.run(Op::Collect)?;
        while self.unswept() > 0 {
            self.run(Op::Step { granules: 255 })?;
        }
        self.verify()?;
        let left = self.model.borrow().blocks.len();
        if left > 0 {
            return Err(format!("{left} blocks are left that nothing holds"));
        }
        Ok(self.tally.borrow().clone())
    }
}
