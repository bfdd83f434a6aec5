//! A collector and its model: each operation is done to both, and then they must agree.
//!
//! What is required
//! * After every operation: a cell whose count has become zero is dead, unless destruction is lazy;
//!   the destroy callback ran exactly once for each dead cell and for no other; without a collection
//!   only cells with a count of zero have died.
//! * In a destroy callback: the payload is as the program left it; fields that refer to acyclic cells
//!   are untouched; fields that refer to cyclic ones are untouched in a cell that dies by its count and
//!   null in one that dies as a member of a cycle.
//! * Every few operations ([`World::verify`]): each cell that the program reaches is alive, its payload,
//!   type and size are right and its count is exactly the number of references to it, between slices too.
//! * After a full collection, and when slices have come to an end: exactly the cells that
//!   [`Model::collect`] leaves are alive.
//! * At the end: no cell is left, and the heap is as it was before the first.

use crate::collector::Collector;
use crate::hooks::{Callbacks, Entered};
use crate::kinds::{Descriptors, COUNT, KINDS, SHARED, UNTRACED};
use crate::model::{Id, Model, State};
use crate::op::Op;
use crate::plan::Setup;
use crate::tally::Tally;
use crate::tuning::Tuning;
use knoll_shadow::random::Random;
use std::cell::{Cell, RefCell};
use std::ptr;

mod callbacks;
mod verify;

/// Variables of a program.
pub const VARS: usize = 16;
/// Operations that callbacks may do during one operation.
const ALLOWANCE: u32 = 12;
/// A number in a variant slot, which no collector may take for a reference.
const NUMBER: usize = 0x1235;

/// See the head of this file.
pub struct World<C: Collector> {
    gc: C,
    setup: Setup,
    types: [u32; COUNT],
    /// Last to go: the collector refers to them.
    _descriptors: Descriptors,
    model: RefCell<Model>,
    /// What the variables hold, as memory.
    vars: Vec<Cell<*mut u8>>,
    /// And as nodes.
    held: RefCell<Vec<Option<Id>>>,
    pins: RefCell<Vec<Id>>,
    tuning: Cell<Tuning>,
    /// Whether collections may start by themselves.
    enabled: Cell<bool>,
    /// Whether the operation that is being done may collect.
    collecting: Cell<bool>,
    /// Whether a collection in slices may be in progress.
    open: Cell<bool>,
    /// Whether the program itself has filled the heap.
    filled: Cell<bool>,
    /// Whether memory was short when the collection began.
    tight: Cell<bool>,
    /// Whether memory for cells under consideration was short since the last full collection.
    short: Cell<bool>,
    /// Whether there has been a slice, which may have left cells waiting.
    stepped: Cell<bool>,
    /// Whether a collection could begin when the operation did.
    begun: Cell<bool>,
    /// Whether cells waited for their destruction when the operation began.
    waiting: Cell<bool>,
    /// Whether cells may have been dropped without being registered.
    leaky: Cell<bool>,
    /// Cells whose last reference the program itself has given up in this operation.
    dropped: RefCell<Vec<Id>>,
    allowance: Cell<u32>,
    /// Callbacks that run.
    depth: Cell<u32>,
    random: RefCell<Random>,
    failure: RefCell<Option<String>>,
    tally: RefCell<Tally>,
}

impl<C: Collector> World<C> {
    /// A world without cells; None if its memory is too small for one.
    pub fn new(setup: &Setup) -> Option<World<C>> {
        let gc = C::create(setup)?;
        let descriptors = Descriptors::new(&Callbacks::of::<C>(), setup.mute);
        let mut types = [0; COUNT];
        for (kind, id) in types.iter_mut().enumerate().filter(|(kind, _)| setup.kinds >> kind & 1 == 1) {
            // SAFETY: the descriptors live as long as the collector.
            *id = unsafe { gc.register(descriptors.of(kind)) };
            if *id == 0 {
                return None;
            }
        }
        let tuning = setup.tunings[0];
        gc.configure(&tuning.config()).ok()?;
        Some(World {
            gc,
            setup: setup.clone(),
            types,
            _descriptors: descriptors,
            model: RefCell::default(),
            vars: vec![Cell::new(ptr::null_mut()); VARS],
            held: RefCell::new(vec![None; VARS]),
            pins: RefCell::default(),
            tuning: Cell::new(tuning),
            enabled: Cell::new(true),
            collecting: Cell::new(false),
            open: Cell::new(tuning.slice > 0),
            filled: Cell::new(false),
            tight: Cell::new(false),
            short: Cell::new(tuning.visited_limit > 0),
            stepped: Cell::new(false),
            begun: Cell::new(false),
            waiting: Cell::new(false),
            leaky: Cell::new(tuning.is_arc()),
            dropped: RefCell::default(),
            allowance: Cell::new(0),
            depth: Cell::new(0),
            random: RefCell::new(Random::new(setup.seed)),
            failure: RefCell::default(),
            tally: RefCell::default(),
        })
    }

    /// Does one operation and looks at what must be true at once.
    pub fn run(&self, op: Op) -> Result<(), String> {
        let _entered = Entered::new(self);
        self.tally.borrow_mut().operations += 1;
        self.allowance.set(ALLOWANCE);
        self.dropped.borrow_mut().clear();
        let before = self.gc.numbers();
        self.waiting.set(before.pending > 0);
        // What a callback disables has begun all the same.
        self.begun.set(false);
        if matches!(op, Op::Collect | Op::Settle { .. }) {
            self.tight.set(!self.has_room());
            self.short.set(self.short.get() || self.tight.get());
        }
        self.begun.set(self.may_collect());
        self.perform(op);
        self.waiting.set(false);
        self.collecting.set(false);
        self.failure.borrow().clone().map_or(Ok(()), Err)?;
        self.gc.complaint().map_or(Ok(()), Err)?;
        let now = self.gc.numbers();
        let bound = match op {
            Op::Step { budget } => Some(usize::from(budget.max(1))),
            Op::Copy { .. } | Op::Drop { .. } | Op::Unpin { .. } | Op::Store { .. } | Op::Clear { .. } => {
                Some(self.tuning.get().slice as usize).filter(|&slice| slice > 0)
            }
            _ => None,
        };
        let quiet = self.allowance.get() == ALLOWANCE;
        if quiet && bound.is_some_and(|bound| now.longest > before.longest.max(bound)) {
            return Err(format!("visited {} cells, allowed are {}", now.longest, bound.unwrap_or(0)));
        }
        let ended = matches!(op, Op::Collect | Op::Settle { .. });
        if ended && !self.leaky.get() && !self.may_overlook(op) {
            return self.exact();
        }
        let lazy = self.setup.tunings.iter().any(Tuning::is_lazy);
        if now.pending == 0 && !self.open.get() || !lazy && !self.slices() {
            let settled = self.model.borrow_mut().settle_doomed();
            settled.map_err(|id| self.name(id, "has a count of 0 and was not destroyed"))?;
        } else if !lazy {
            let model = self.model.borrow();
            let late =
                |id: &&Id| model.node(**id).state != State::Dead && !model.node(**id).mute && model.count(**id) == 0;
            if let Some(&id) = self.dropped.borrow().iter().find(late) {
                return Err(self.name(id, "lost its last reference and was not destroyed at once"));
            }
        }
        Ok(())
    }

    /// Whether there is memory enough to consider all cells together.
    fn has_room(&self) -> bool {
        !self.filled.get() && self.gc.room() > 2048 + 64 * self.gc.numbers().cells
    }

    /// Whether garbage may be left: cells with trace callbacks need to be considered all together, and
    /// without memory for that slices come to an end all the same.
    fn may_overlook(&self, op: Op) -> bool {
        if op == Op::Collect && self.tuning.get().visited_limit == 0 && self.has_room() && !self.tight.get() {
            self.short.set(false);
        }
        self.short.get() && (op != Op::Collect || self.setup.kinds & !UNTRACED != 0)
    }

    /// Whether garbage may be destroyed in portions.
    fn slices(&self) -> bool {
        self.open.get() || self.stepped.get()
    }

    // ------------------------------------------------------------ operations

    fn perform(&self, op: Op) {
        match op {
            Op::New { var, kind, length } => self.make(var.into(), kind.into(), length.into()),
            Op::Copy { from, to } => {
                let (from, to) = (usize::from(from) % VARS, usize::from(to) % VARS);
                let child = self.held.borrow()[from];
                self.bind(to, child);
                // SAFETY: both are variables; the first holds null or a cell that it keeps alive.
                unsafe { self.gc.assign(self.vars[to].as_ptr(), self.vars[from].get()) };
            }
            Op::Drop { var } => {
                let var = usize::from(var) % VARS;
                let cell = self.vars[var].replace(ptr::null_mut());
                self.bind(var, None);
                self.release(cell);
            }
            Op::Pin { var } => {
                let Some((cell, id)) = self.var(var) else { return };
                self.model.borrow_mut().hold(id);
                self.pins.borrow_mut().push(id);
                // SAFETY: the variable keeps the cell alive.
                unsafe { self.gc.add_ref(cell) };
            }
            Op::Unpin { pin } => {
                let mut pins = self.pins.borrow_mut();
                if pins.is_empty() {
                    return;
                }
                let pin = usize::from(pin) % pins.len();
                let id = pins.swap_remove(pin);
                drop(pins);
                let cell = self.model.borrow().node(id).at;
                self.model.borrow_mut().unhold(id);
                self.release(cell);
            }
            Op::Store { var, field, from } => {
                let Some((id, field, slot)) = self.field(var, field) else { return };
                let from = usize::from(from) % VARS;
                let child = self.held.borrow()[from];
                if self.accepts(id, field, child) {
                    self.model.borrow_mut().set(id, field, child);
                    // SAFETY: the slot is a field of a cell that is alive, and so is what it gets.
                    unsafe { self.gc.assign(slot, self.vars[from].get()) };
                }
            }
            Op::Move { var, field, from } => self.move_in(var, field, from.into()),
            Op::Fetch { var, field, to } => {
                let Some((id, field, slot)) = self.field(var, field) else { return };
                let to = usize::from(to) % VARS;
                let child = self.model.borrow().node(id).fields[field];
                self.bind(to, child);
                // SAFETY: the field holds null or a cell that it keeps alive.
                unsafe { self.gc.assign(self.vars[to].as_ptr(), slot.read()) };
            }
            Op::MoveOut { var, field, to } => {
                let Some((id, field, slot)) = self.field(var, field) else { return };
                self.move_out(id, field, slot, to.into());
            }
            Op::Clear { var, field } => {
                let Some((id, field, slot)) = self.field(var, field) else { return };
                self.model.borrow_mut().set(id, field, None);
                // SAFETY: the slot is a field of a cell that is alive.
                unsafe { self.gc.assign(slot, ptr::null_mut()) };
            }
            Op::Swap { var, field, other, place } => self.swap((var, field), (other, place)),
            Op::Turn { var } => self.turn(var),
            Op::Reuse { var } => self.reuse(var.into()),
            Op::Collect | Op::Partial { .. } | Op::Step { .. } | Op::Settle { .. } => self.manual(op),
            Op::Enable => {
                self.enabled.set(true);
                self.gc.enable();
            }
            Op::Disable => {
                self.enabled.set(false);
                self.gc.disable();
            }
            Op::Configure { which } => {
                let tuning = self.setup.tunings[usize::from(which) % self.setup.tunings.len()];
                // Whatever is in progress may come to its end.
                self.collecting.set(true);
                self.tuning.set(tuning);
                self.enabled.set(true);
                self.open.set(self.open.get() || tuning.slice > 0);
                self.leaky.set(self.leaky.get() || tuning.is_arc());
                self.short.set(self.short.get() || tuning.visited_limit > 0);
                if let Err(why) = self.gc.configure(&tuning.config()) {
                    self.fail(|| format!("configure: {why}"));
                }
            }
            Op::Fill { leave } => {
                self.filled.set(true);
                self.short.set(true);
                self.gc.fill(usize::from(leave) * 8);
            }
            Op::Drain => {
                self.filled.set(false);
                self.gc.drain();
            }
        }
    }

    fn make(&self, var: usize, kind: usize, length: usize) {
        let allowed: Vec<usize> = (0..COUNT).filter(|kind| self.setup.kinds >> kind & 1 == 1).collect();
        let kind = allowed[kind % allowed.len()];
        let shape = &KINDS[kind];
        let length = if shape.array { length % 20 } else { 0 };
        let bytes = shape.bytes(length);
        // SAFETY: the types are registered.
        let cell = unsafe {
            match shape.array {
                true => self.gc.new_sized(self.types[kind], bytes),
                false => self.gc.new_cell(self.types[kind]),
            }
        };
        if cell.is_null() {
            self.tally.borrow_mut().refusals += 1;
            return;
        }
        // SAFETY: a new cell of this many bytes, which are initialised.
        let (count, size, content) = unsafe {
            let content = std::slice::from_raw_parts(cell, bytes);
            (self.gc.count(cell), self.gc.size(cell), content)
        };
        if cell.addr() % 8 != 0 || count != 1 || size < bytes || content.iter().any(|&byte| byte != 0) {
            self.fail(|| format!("a new {:?} at {cell:?} has count {count}, {size} bytes, {content:?}", shape.name));
        }
        let id = self.model.borrow_mut().add(cell, kind, self.setup.mute >> kind & 1 == 1, length);
        // SAFETY: a cell of this kind.
        unsafe { self.stamp(cell, kind, id) };
        self.bind(var % VARS, Some(id));
        let old = self.vars[var % VARS].replace(cell);
        self.release(old);
        let mut tally = self.tally.borrow_mut();
        tally.cells += 1;
        tally.most = tally.most.max(self.model.borrow().present().len());
    }

    fn move_in(&self, var: u8, field: u8, from: usize) {
        let Some((id, field, slot)) = self.field(var, field) else { return };
        let from = from % VARS;
        let Some(child) = self.held.borrow()[from] else { return };
        // A cell's only reference that moves into the cell itself is never removed: nobody would notice.
        if from == usize::from(var) % VARS || !self.accepts(id, field, Some(child)) {
            return;
        }
        self.model.borrow_mut().set(id, field, Some(child));
        self.bind(from, None);
        let cell = self.vars[from].replace(ptr::null_mut());
        // SAFETY: the slot is a field of a cell that is alive; a reference moves into it, empty.
        let old = unsafe {
            let old = self.gc.take(slot);
            slot.write(cell);
            old
        };
        self.release(old);
    }

    fn move_out(&self, id: Id, field: usize, slot: *mut *mut u8, to: usize) {
        let to = to % VARS;
        let Some(child) = self.model.borrow().node(id).fields[field] else { return };
        self.bind(to, Some(child));
        self.model.borrow_mut().set(id, field, None);
        // SAFETY: the slot is a field of a cell that is alive.
        let cell = unsafe { self.gc.take(slot) };
        let old = self.vars[to].replace(cell);
        self.release(old);
    }

    fn swap(&self, one: (u8, u8), two: (u8, u8)) {
        if self.open.get() {
            return;
        }
        let (Some(one), Some(two)) = (self.field(one.0, one.1), self.field(two.0, two.1)) else { return };
        let child = |at: &(Id, usize, *mut *mut u8)| self.model.borrow().node(at.0).fields[at.1];
        let (first, second) = (child(&one), child(&two));
        if self.accepts(one.0, one.1, second) && self.accepts(two.0, two.1, first) {
            let mut model = self.model.borrow_mut();
            // Counted once more while they change places.
            first.into_iter().chain(second).for_each(|id| model.hold(id));
            model.set(one.0, one.1, second);
            model.set(two.0, two.1, first);
            first.into_iter().chain(second).for_each(|id| model.unhold(id));
            // SAFETY: both are fields of cells that are alive.
            unsafe { ptr::swap(one.2, two.2) };
        }
    }

    fn turn(&self, var: u8) {
        let Some((cell, id)) = self.var(var) else { return };
        let (kind, turned) = {
            let model = self.model.borrow();
            (model.node(id).kind, model.node(id).turned)
        };
        let (Some(tag), Some(field)) = (KINDS[kind].variant, KINDS[kind].variant_field()) else { return };
        // SAFETY: tag and slot lie in the payload.
        let (tag, slot) = unsafe { (cell.add(tag as usize).cast::<u32>(), slot_of(cell, tag + 8)) };
        self.model.borrow_mut().node_mut(id).turned = !turned;
        // SAFETY: as above; the cell is alive.
        unsafe {
            if turned {
                self.model.borrow_mut().set(id, field, None);
                let old = self.gc.take(slot);
                tag.write(0);
                slot.write(ptr::without_provenance_mut(NUMBER));
                self.release(old);
            } else {
                slot.write(ptr::null_mut());
                tag.write(1);
            }
        }
    }

    /// `drop_reuse`: the cell is emptied and given again if the variable has the only reference.
    fn reuse(&self, var: usize) {
        let var = var % VARS;
        let Some(id) = self.held.borrow()[var] else { return };
        let cell = self.vars[var].replace(ptr::null_mut());
        let (kind, length, (sure, maybe)) = {
            let model = self.model.borrow();
            let node = model.node(id);
            let counts = model.counts(&model.reachable(), self.is_unsettled());
            (node.kind, node.fields.len() - KINDS[node.kind].fields(0), counts[id as usize])
        };
        self.bind(var, None);
        // SAFETY: the variable held the cell.
        let again = unsafe { self.gc.drop_reuse(cell) };
        if again.is_null() {
            // Shared cells may have got another reference meanwhile; in a callback nothing can be waited for.
            if sure + maybe == 1 && kind != SHARED && self.depth.get() == 0 {
                self.fail(|| self.name(id, "had one reference and was not given for reuse"));
            }
            return;
        }
        if sure > 1 || again != cell {
            return self.fail(|| self.name(id, "was given for reuse and is in use"));
        }
        {
            let mut model = self.model.borrow_mut();
            if model.node(id).state != State::Dead {
                if !model.node(id).mute {
                    drop(model);
                    return self.fail(|| self.name(id, "was given for reuse without its destruction"));
                }
                model.bury(id);
            }
        }
        let bytes = KINDS[kind].bytes(length);
        // SAFETY: the cell is ours, as new.
        let (count, clean) =
            unsafe { (self.gc.count(again), std::slice::from_raw_parts(again, bytes).iter().all(|&byte| byte == 0)) };
        if count != 1 || !clean {
            self.fail(|| format!("a cell given for reuse has count {count}; empty: {clean}"));
        }
        // A callback may have put something into the variable meanwhile.
        let fresh = self.model.borrow_mut().add(again, kind, self.setup.mute >> kind & 1 == 1, length);
        // SAFETY: the stamp and the variant slot lie in the payload.
        unsafe { self.stamp(again, kind, fresh) };
        self.bind(var, Some(fresh));
        let old = self.vars[var].replace(again);
        self.release(old);
    }

    fn manual(&self, op: Op) {
        let outer = self.collecting.replace(true);
        if !self.tuning.get().stays_disabled() {
            self.enabled.set(true);
        }
        match op {
            Op::Collect => {
                self.gc.collect();
                self.ended();
            }
            Op::Partial { eighths } => self.partial(eighths.into()),
            Op::Step { budget } => {
                self.open.set(true);
                self.stepped.set(true);
                if self.gc.step(usize::from(budget.max(1))) {
                    self.ended();
                }
            }
            Op::Settle { budget } => {
                let budget = usize::from(budget.max(1));
                let now = self.gc.numbers();
                let limit = 1000 + 40 * (now.cells + self.gc.roots());
                self.open.set(true);
                if (0..limit).any(|_| self.gc.step(budget)) {
                    self.ended();
                } else {
                    self.fail(|| format!("{limit} slices of {budget} do not come to an end of {now:?}"));
                }
            }
            _ => {}
        }
        self.collecting.set(outer);
    }

    /// Slices have come to an end; in a callback that is not so, whatever the collector says.
    fn ended(&self) {
        if self.depth.get() == 0 {
            self.open.set(self.tuning.get().slice > 0);
        }
    }

    fn partial(&self, eighths: usize) {
        let before = self.gc.roots();
        let limit = before * eighths / 8;
        let deaths = |tally: &Tally| tally.by_count + tally.by_cycle + tally.in_callbacks;
        let earlier = deaths(&self.tally.borrow());
        let cells = self.gc.numbers().cells;
        self.gc.partial(limit);
        let quiet = deaths(&self.tally.borrow()) == earlier && self.gc.numbers().cells == cells;
        let after = self.gc.roots();
        let decided = !self.short.get() && !self.open.get() && !self.tuning.get().is_arc();
        if quiet && decided && self.depth.get() == 0 && after != before.min(limit) {
            self.fail(|| format!("{after} roots after a partial collection of {before} from {limit} on"));
        }
    }

    // ------------------------------------------------------------ helpers

    /// Whether a collection may be in progress.
    fn may_collect(&self) -> bool {
        let tuning = self.tuning.get();
        let by_itself = self.enabled.get() && !tuning.is_arc() && !tuning.is_manual();
        let under_way = self.collecting.get() || self.open.get() || self.waiting.get() || self.begun.get();
        under_way || by_itself || tuning.collects_when_allocating()
    }

    /// Whether there may be garbage whose references have been removed, and which is not yet destroyed.
    fn is_unsettled(&self) -> bool {
        self.open.get() || self.waiting.get() || self.gc.numbers().pending > 0
    }

    /// A variable's cell.
    fn var(&self, var: u8) -> Option<(*mut u8, Id)> {
        let var = usize::from(var) % VARS;
        self.held.borrow()[var].map(|id| (self.vars[var].get(), id))
    }

    /// A field of a variable's cell that may hold a reference.
    fn field(&self, var: u8, field: u8) -> Option<(Id, usize, *mut *mut u8)> {
        let (cell, id) = self.var(var)?;
        let model = self.model.borrow();
        let node = model.node(id);
        if node.state == State::Dead {
            drop(model);
            self.fail(|| self.name(id, "is dead and the program holds it"));
            return None;
        }
        let field = usize::from(field).checked_rem(node.fields.len())?;
        if KINDS[node.kind].variant_field() == Some(field) && !node.turned {
            return None;
        }
        // SAFETY: the field lies in the payload.
        let slot = unsafe { slot_of(cell, KINDS[node.kind].offset(field)) };
        Some((id, field, slot))
    }

    fn accepts(&self, id: Id, field: usize, child: Option<Id>) -> bool {
        let model = self.model.borrow();
        child.is_none_or(|child| KINDS[model.node(id).kind].accepts(field, model.node(child).kind))
    }

    /// The model of a variable that is about to change.
    fn bind(&self, var: usize, child: Option<Id>) {
        let old = std::mem::replace(&mut self.held.borrow_mut()[var], child);
        let mut model = self.model.borrow_mut();
        child.into_iter().for_each(|id| model.hold(id));
        old.into_iter().for_each(|id| model.unhold(id));
        // What a callback drops waits.
        if let Some(id) = old.filter(|&id| model.count(id) == 0 && self.depth.get() == 0) {
            self.dropped.borrow_mut().push(id);
        }
    }

    fn release(&self, cell: *mut u8) {
        if !cell.is_null() {
            // SAFETY: the program gives up a reference that it has.
            unsafe { self.gc.release(cell) };
        }
    }

    /// Writes what a new cell holds.
    ///
    /// # Safety
    /// The cell is of this kind.
    unsafe fn stamp(&self, cell: *mut u8, kind: usize, id: Id) {
        let shape = &KINDS[kind];
        // SAFETY: the stamp and the variant slot lie in the payload.
        unsafe {
            let stamp = cell.add(shape.stamp as usize).cast::<u32>();
            stamp.write(id);
            stamp.add(1).write(seal(id));
            if let Some(field) = shape.variant_field() {
                slot_of(cell, shape.offset(field)).write(ptr::without_provenance_mut(NUMBER));
            }
        }
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
        let node = model.node(id);
        let (kind, external, incoming) = (KINDS[node.kind].name, node.external, node.incoming);
        format!("cell {id}, a {kind:?} at {:?} with {external} + {incoming} references, {what}", node.at)
    }
}

/// What proves a stamp.
fn seal(id: Id) -> u32 {
    id.wrapping_mul(0x9e37_79b1) ^ 0x5eed_0000
}

/// A field as a slot.
///
/// # Safety
/// The offset lies in the cell's payload.
unsafe fn slot_of(cell: *mut u8, offset: u32) -> *mut *mut u8 {
    // SAFETY: by the contract of this function.
    unsafe { cell.add(offset as usize).cast() }
}
