//! Counted cells and cells in arenas: allocation, references in all directions, collections, promotion.

use super::{blank, seal, slot_of, Tentative, World};
use crate::kinds::{COUNT, KINDS};
use crate::model::{Aid, Holder, Home, Id, Item, Root, ROOTS, VARS};
use crate::op::Op;
use knoll::arena::KnTentative;
use knoll::capi::arena_cells::{kn_arena_keep, kn_arena_promote, GC_newIn, GC_newInAt, GC_newSizedIn, GC_newTentative};
use knoll::counted::{self, Counted};
use knoll::heap::KnStatus;
use std::collections::{HashMap, HashSet};
use std::ptr::{self, null_mut};

/// Where a cell was made, as a program would say.
const SITE: &std::ffi::CStr = c"nest.c:1";

impl World {
    /// Operations on cells and references.
    pub(super) fn graph(&self, op: Op) {
        match op {
            Op::New { var, kind, length } => self.new_outside(var, kind, length),
            Op::Copy { from, to } => {
                let from = self.var(from);
                self.bind(to, from);
            }
            Op::Drop { var } => self.bind(var, None),
            Op::Store { var, field, from } => {
                let to = self.var(from);
                self.store(var, field, to);
            }
            Op::Clear { var, field } => self.store(var, field, None),
            Op::Fetch { var, field, to } => {
                let Some((_, id, field)) = self.field(var, field) else { return };
                let child = self.model.borrow().nodes[id].fields[field];
                let child = child.map(|child| (self.model.borrow().nodes[child].at, child));
                self.bind(to, child);
            }
            Op::Root { root, from } => self.root(root, from),
            Op::RawRoot { root, from } => self.raw_root(root, from),
            Op::Keep { which, var } => self.keep(which, var),
            Op::Promote { var, to } => self.promote(var, to),
            Op::Collect => {
                // SAFETY: the state is live; so everywhere in this file.
                unsafe { Counted::collect(self.state) };
                self.collected();
            }
            Op::Step { budget } => {
                self.open.set(true);
                // SAFETY: as above.
                if unsafe { Counted::step(self.state, usize::from(budget.max(1))) } && self.depth.get() == 0 {
                    // What the slices left for want of a new root, a full collection takes.
                    self.perform(Op::Collect);
                }
            }
            _ => {}
        }
    }

    /// A full collection was made. In a callback it does nothing.
    fn collected(&self) {
        if self.depth.get() > 0 {
            return;
        }
        // Cells with trace callbacks may be overlooked in small sets.
        let tuning = self.tuning.get();
        if !self.ballast.borrow().is_empty() || tuning.is_lazy() || tuning.visited_limit > 0 {
            self.open.set(true);
            return;
        }
        if tuning.is_manual() {
            self.open.set(false);
        }
        let collected = self.model.borrow_mut().collect();
        if let Err(id) = collected {
            self.fail(|| self.name(id, "is garbage and was not collected"));
        }
        // SAFETY: the state is live.
        let cells = unsafe { Counted::stats(self.state) }.cells;
        let present = self.model.borrow().present.len();
        if cells != present {
            self.fail(|| format!("{cells} cells are alive after a full collection, not {present}"));
        }
    }

    fn length(kind: usize, length: u8) -> usize {
        if KINDS[kind].array {
            usize::from(length % 9)
        } else {
            0
        }
    }

    fn new_outside(&self, var: u8, kind: u8, length: u8) {
        let kind = usize::from(kind) % COUNT;
        let length = Self::length(kind, length);
        // SAFETY: the state is live.
        let at = unsafe {
            match KINDS[kind].array {
                true => Counted::new_sized(self.state, self.types[kind], KINDS[kind].bytes(length)),
                false => Counted::new_cell(self.state, self.types[kind]),
            }
        };
        if at.is_null() {
            self.tally.borrow_mut().refusals += 1;
            return self.expect_full(5000);
        }
        let id = self.arrived(at, kind, length, Home::Outside);
        self.bind(var, Some((at, id)));
        // The variable counts by itself; the reference from birth is given up.
        self.release(at);
    }

    pub(super) fn new_in(&self, arena: u8, var: u8, kind: u8, length: u8) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        let way = kind / 7;
        let kind = usize::from(kind) % COUNT;
        let length = Self::length(kind, length);
        let (arena, id) = (self.model.borrow().arenas[aid].ptr, self.types[kind]);
        let bytes = KINDS[kind].bytes(length);
        // SAFETY: the arena is alive.
        let at = unsafe {
            match (KINDS[kind].array, way % 3) {
                (false, 0) => GC_newIn(arena, id),
                (false, 1) => GC_newInAt(arena, id, 0, SITE.as_ptr()),
                (true, 0) => GC_newInAt(arena, id, bytes, SITE.as_ptr()),
                _ => GC_newSizedIn(arena, id, bytes),
            }
        };
        let at: *mut u8 = at.cast();
        if at.is_null() {
            self.refused(aid, bytes);
            return Some(aid);
        }
        if self.is_ending(aid) {
            self.fail(|| format!("arena {aid} is being ended and gave a cell"));
        }
        let id = self.arrived(at, kind, length, Home::In(aid));
        self.model.borrow_mut().arenas[aid].items.push(Item::Cell(id));
        self.bind(var, Some((at, id)));
        Some(aid)
    }

    /// A new cell: empty, of its type, with one reference or none that counts. It is stamped.
    fn arrived(&self, at: *mut u8, kind: usize, length: usize, home: Home) -> Id {
        let bytes = KINDS[kind].bytes(length);
        self.expect_zero(at, bytes);
        // SAFETY: the cell is new.
        let (count, size, type_id) = unsafe { (counted::count(at), counted::size_of_cell(at), counted::type_of(at)) };
        let wanted = if home == Home::Outside { 1 } else { counted::KN_IMMORTAL };
        if count != wanted || size < bytes || type_id != self.types[kind] || !at.addr().is_multiple_of(8) {
            self.fail(|| format!("a new {:?} has count {count}, {size} bytes, type {type_id}", KINDS[kind].name));
        }
        self.welcome(at, kind, length, home)
    }

    /// A cell that the model did not know: it must overlap nothing, and is stamped.
    pub(super) fn welcome(&self, at: *mut u8, kind: usize, length: usize, home: Home) -> Id {
        let bytes = KINDS[kind].bytes(length);
        let mut model = self.model.borrow_mut();
        let id = model.add(at, kind, length, home);
        let claimed = model.claim(at, bytes, Some(id), self.is_open());
        drop(model);
        if let Err(why) = claimed {
            self.fail(|| why);
        }
        // SAFETY: the stamp lies in the payload.
        unsafe {
            let stamp = at.add(KINDS[kind].stamp as usize).cast::<u32>();
            stamp.write(id as u32);
            stamp.add(1).write(seal(id));
        }
        id
    }

    /// A variable refers to something else. References to cells outside are counted.
    pub(super) fn bind(&self, var: u8, to: Option<(*mut u8, Id)>) {
        let var = usize::from(var) % VARS;
        let outside = |id: Id| self.model.borrow().is_outside(id);
        if let Some((at, id)) = to {
            if outside(id) {
                // SAFETY: the cell is alive.
                unsafe { counted::add_ref(at) };
            }
        }
        let old = self.model.borrow().vars[var].filter(|&id| outside(id));
        self.model.borrow_mut().bind(var, to.map(|(_, id)| id));
        let before = self.vars[var].replace(to.map_or(null_mut(), |(at, _)| at));
        if old.is_some() {
            self.release(before);
        }
    }

    pub(super) fn release(&self, cell: *mut u8) {
        // SAFETY: the program gives up a reference that it has.
        unsafe { counted::release(cell) };
    }

    /// A field of a variable's cell.
    fn field(&self, var: u8, field: u8) -> Option<(*mut u8, Id, usize)> {
        let (cell, id) = self.var(var)?;
        let model = self.model.borrow();
        if model.nodes[id].dead {
            drop(model);
            self.fail(|| self.name(id, "is dead and the program holds it"));
            return None;
        }
        let field = usize::from(field).checked_rem(model.nodes[id].fields.len())?;
        Some((cell, id, field))
    }

    fn store(&self, var: u8, field: u8, to: Option<(*mut u8, Id)>) {
        let Some((cell, id, field)) = self.field(var, field) else { return };
        self.assign_field(cell, id, field, to);
    }

    fn assign_field(&self, cell: *mut u8, id: Id, field: usize, to: Option<(*mut u8, Id)>) {
        let offset = KINDS[self.model.borrow().nodes[id].kind].offset(field);
        // The model first: the release of the old reference may call back.
        self.model.borrow_mut().set(id, field, to.map(|(_, id)| id));
        // SAFETY: the field lies in the payload of a living cell; the other cell is alive.
        unsafe { counted::assign(slot_of(cell, offset), to.map_or(null_mut(), |(at, _)| at)) };
    }

    /// A field becomes null.
    pub(super) fn cut_field(&self, id: Id, field: usize) {
        let at = self.model.borrow().nodes[id].at;
        self.assign_field(at, id, field, None);
    }

    /// Cells among an arena's first items let go of those behind: the program's business before a rewind.
    pub(super) fn unlink(&self, aid: Aid, items: usize) {
        let links = {
            let model = self.model.borrow();
            model.links(aid, &model.cells_of(aid, items))
        };
        for (holder, _) in links {
            if let Holder::Field(id, field) = holder {
                self.cut_field(id, field);
            }
        }
    }

    fn root(&self, root: u8, from: u8) {
        let root = usize::from(root) % ROOTS;
        let to = self.var(from);
        let old = self.model.borrow().roots[root];
        // SAFETY: one of the world's slots.
        let slot = unsafe { self.roots.cast::<*mut u8>().add(root) };
        if old.raw {
            // What was not stored by GC_assign is not overwritten by it.
            // SAFETY: as above.
            unsafe { slot.write(null_mut()) };
        }
        {
            let mut model = self.model.borrow_mut();
            model.roots[root] = Root { to: to.map(|(_, id)| id), raw: false };
            if let Some((_, id)) = to {
                model.hold(id);
            }
            if let Some(id) = old.to.filter(|_| !old.raw) {
                model.unhold(id);
            }
        }
        // SAFETY: as above; the cell is alive.
        unsafe { counted::assign(slot, to.map_or(null_mut(), |(at, _)| at)) };
    }

    fn raw_root(&self, root: u8, from: u8) {
        let root = usize::from(root) % ROOTS;
        let to = self.var(from).filter(|&(_, id)| !self.model.borrow().is_outside(id));
        let old = self.model.borrow().roots[root];
        if old.to.is_some() && !old.raw {
            return;
        }
        self.model.borrow_mut().roots[root] = Root { to: to.map(|(_, id)| id), raw: to.is_some() };
        // SAFETY: one of the world's slots.
        unsafe { self.roots.cast::<*mut u8>().add(root).write(to.map_or(null_mut(), |(at, _)| at)) };
    }

    pub(super) fn tentative(&self, arena: u8, kind: u8) {
        let Some(aid) = self.model.borrow().pick(arena) else { return };
        let kind = usize::from(kind) % COUNT;
        let node = Box::into_raw(Box::new(blank::<KnTentative>()));
        let arena = self.model.borrow().arenas[aid].ptr;
        // SAFETY: the arena is alive; the link lives as long as the world.
        let at: *mut u8 = unsafe { GC_newTentative(arena, self.types[kind], node) }.cast();
        if at.is_null() {
            // SAFETY: made above; the library does not know it.
            drop(unsafe { Box::from_raw(node) });
            match self.is_ending(aid) {
                true => self.forgive(KnStatus::Order),
                false => self.expect_full(5000),
            }
            return;
        }
        let id = self.arrived(at, kind, 0, Home::Outside);
        let number = self.tentatives.borrow().len();
        self.tentatives.borrow_mut().push(Tentative { node, id, waits: true });
        let mut model = self.model.borrow_mut();
        model.hold(id);
        model.arenas[aid].tentatives.push(number);
    }

    fn keep(&self, which: u8, var: u8) {
        let waiting: Vec<usize> =
            self.tentatives.borrow().iter().enumerate().filter(|(_, one)| one.waits).map(|(index, _)| index).collect();
        let Some(&number) = waiting.get(usize::from(which) % waiting.len().max(1)) else { return };
        let (node, id) = (self.tentatives.borrow()[number].node, self.tentatives.borrow()[number].id);
        self.tentatives.borrow_mut()[number].waits = false;
        // SAFETY: the link of a cell that waits.
        let at: *mut u8 = unsafe { kn_arena_keep(node) }.cast();
        if at != self.model.borrow().nodes[id].at {
            return self.fail(|| self.name(id, &format!("was kept as {at:?}")));
        }
        self.bind(var, Some((at, id)));
        self.model.borrow_mut().unhold(id);
        self.release(at);
    }

    fn promote(&self, var: u8, to: u8) {
        let Some((at, id)) = self.var(var) else { return };
        let Home::In(aid) = self.model.borrow().nodes[id].home else { return };
        if self.is_ending(aid) {
            return;
        }
        let closure = self.closure(aid, id);
        let fits = closure.iter().all(|&id| KINDS[self.model.borrow().nodes[id].kind].promotable());
        let arena = self.model.borrow().arenas[aid].ptr;
        let mut out = null_mut();
        let (print, pages) = (self.print(), self.pages());
        // SAFETY: arena and cell are alive.
        let status = unsafe { kn_arena_promote(arena, at.cast(), &mut out) };
        match status {
            KnStatus::Ok if fits => {}
            KnStatus::Unsupported if !fits && (self.print() == print || self.pages() != pages) => return,
            KnStatus::NoMemory => {
                let bytes: usize =
                    closure.iter().map(|&id| 64 + KINDS[self.model.borrow().nodes[id].kind].size as usize).sum();
                return self.expect_full(5000 + 2 * bytes);
            }
            _ => return self.fail(|| self.name(id, &format!("promoted: {status:?}, fits: {fits}"))),
        }
        let copy = self.adopt(aid, id, out.cast(), &mut HashMap::new());
        // The originals are as they were.
        closure.iter().for_each(|&id| {
            if !self.is_stamped(self.model.borrow().nodes[id].at, self.model.borrow().nodes[id].kind, id) {
                self.fail(|| self.name(id, "was changed by a promotion"));
            }
            self.check_fields(id);
        });
        let Some(copy) = copy else { return };
        self.model.borrow_mut().hold(copy);
        self.bind(to, Some((out.cast(), copy)));
        self.model.borrow_mut().unhold(copy);
        self.release(out.cast());
    }

    /// What a cell reaches inside its arena, itself included.
    pub(super) fn closure(&self, aid: Aid, root: Id) -> HashSet<Id> {
        let model = self.model.borrow();
        let mut closure = HashSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if closure.insert(id) {
                let inside = |&&child: &&Id| model.nodes[child].home == Home::In(aid);
                open.extend(model.nodes[id].fields.iter().flatten().filter(inside));
            }
        }
        closure
    }

    /// The fields of a living cell are what the model says.
    pub(super) fn check_fields(&self, id: Id) {
        self.check_fields_or(id, |_| false);
    }

    /// The same; those that refer to certain cells may be null instead.
    pub(super) fn check_fields_or(&self, id: Id, null: impl Fn(Id) -> bool) {
        let wrong = {
            let model = self.model.borrow();
            let node = &model.nodes[id];
            let kind = &KINDS[node.kind];
            node.fields.iter().enumerate().find_map(|(field, child)| {
                // SAFETY: the field lies in the payload of a cell that lives.
                let found = unsafe { slot_of(node.at, kind.offset(field)).read() };
                let wanted = child.map_or(ptr::null_mut(), |child| model.nodes[child].at);
                let gone = found.is_null() && child.is_some_and(&null);
                (found != wanted && !gone).then(|| format!("has {found:?} in field {field}, was {wanted:?}"))
            })
        };
        if let Some(wrong) = wrong {
            self.fail(|| self.name(id, &wrong));
        }
    }
}
