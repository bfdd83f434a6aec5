//! What the callbacks of the types do: they look at their cell, tell the model, and do operations.

use super::{seal, slot_of, World, VARS};
use crate::collector::{Collector, KnTracer};
use crate::kinds::KINDS;
use crate::model::{Id, State};
use crate::plan;
use std::ptr;

impl<C: Collector> World<C> {
    /// The destroy callback of a cell.
    ///
    /// # Safety
    /// The collector calls it.
    pub unsafe fn destroyed(&self, cell: *mut u8) {
        let Some(id) = self.identify(cell) else { return };
        let by_count = self.model.borrow().count(id) == 0;
        {
            let model = self.model.borrow();
            let node = model.node(id);
            if node.state != State::Alive {
                return self.fail(|| self.name(id, "is destroyed once more"));
            }
            if node.mute {
                return self.fail(|| self.name(id, "has no destroy callback"));
            }
            if node.external > 0 {
                return self.fail(|| self.name(id, "is destroyed and the program holds it"));
            }
            // What holds it may have died unseen.
            if !by_count && !self.may_collect() && self.setup.mute == 0 {
                return self.fail(|| self.name(id, "is destroyed with a count above 0 and without a collection"));
            }
        }
        self.look_at_fields(id, cell, by_count);
        self.model.borrow_mut().node_mut(id).state = State::Dying;
        {
            let mut tally = self.tally.borrow_mut();
            *(if by_count { &mut tally.by_count } else { &mut tally.by_cycle }) += 1;
        }
        let kind = self.model.borrow().node(id).kind;
        if self.setup.unruly >> kind & 1 == 1 {
            self.depth.set(self.depth.get() + 1);
            self.misbehave(3);
            self.hand_on(id, cell);
            self.depth.set(self.depth.get() - 1);
        }
        self.model.borrow_mut().bury(id);
    }

    /// The fields of a dying cell; what a collection has cleared is cleared in the model.
    fn look_at_fields(&self, id: Id, cell: *mut u8, by_count: bool) {
        let mut model = self.model.borrow_mut();
        let node = model.node(id);
        let kind = &KINDS[node.kind];
        let (mut kept, mut cleared) = (0, Vec::new());
        for (field, child) in node.fields.iter().enumerate() {
            if kind.variant_field() == Some(field) && !node.turned {
                continue;
            }
            // SAFETY: the field lies in the payload of a cell that is being destroyed.
            let found = unsafe { slot_of(cell, kind.offset(field)).read() };
            let wanted = child.map_or(ptr::null_mut(), |child| model.node(child).at);
            let acyclic = child.is_none_or(|child| KINDS[model.node(child).kind].acyclic);
            match (acyclic, found == wanted) {
                (true, true) => {}
                (false, true) => kept += 1,
                (false, false) if found.is_null() => cleared.push(field),
                _ => {
                    return self
                        .fail(|| format!("field {field} of a dying {:?} is {found:?}, was {wanted:?}", kind.name))
                }
            }
        }
        // One that hangs off a cycle dies by its count when the cycle's references have gone.
        let in_cycle = !by_count && kept > 0 && self.setup.mute == 0 && model.is_on_cycle(id);
        let uncalled = by_count && !cleared.is_empty() && !self.may_collect();
        if in_cycle || uncalled || kept > 0 && !cleared.is_empty() {
            return self.fail(|| {
                let way = if by_count { "by its count" } else { "in a cycle" };
                format!("a {:?} dies {way} with {kept} references left and {} cleared", kind.name, cleared.len())
            });
        }
        for field in cleared {
            model.set(id, field, None);
        }
    }

    /// The trace callback of a variant cell.
    ///
    /// # Safety
    /// The collector calls it.
    pub unsafe fn traced(&self, cell: *mut u8, tracer: *mut KnTracer) {
        if self.setup.nosy {
            self.depth.set(self.depth.get() + 1);
            self.misbehave(1);
            self.depth.set(self.depth.get() - 1);
        }
        let tag = 8;
        // SAFETY: tag and slot of a variant lie here; the collector traces cells whose memory is theirs.
        unsafe {
            if cell.add(tag).cast::<u32>().read() == 1 {
                C::visit(tracer, slot_of(cell, tag as u32 + 8));
            }
        }
    }

    /// Up to `most` operations in a callback.
    fn misbehave(&self, most: usize) {
        // A verification draws nothing, so that a run is the same however often it is verified.
        if self.allowance.get() == 0 {
            return;
        }
        let count = self.random.borrow_mut().below(most + 1);
        for _ in 0..count {
            let op = plan::any(&mut self.random.borrow_mut());
            if self.allowance.get() > 0 && op.fits_callback() {
                self.allowance.set(self.allowance.get() - 1);
                self.tally.borrow_mut().in_callbacks += 1;
                self.perform(op);
            }
        }
    }

    /// A dying cell gives one of its children to the program, or takes one from it.
    fn hand_on(&self, id: Id, cell: *mut u8) {
        let (kind, fields, turned) = {
            let model = self.model.borrow();
            let node = model.node(id);
            (node.kind, node.fields.len(), node.turned)
        };
        if fields == 0 || self.allowance.get() == 0 {
            return;
        }
        let (field, var, way) = {
            let mut random = self.random.borrow_mut();
            (random.below(fields), random.below(VARS), random.below(3))
        };
        if KINDS[kind].variant_field() == Some(field) && !turned {
            return;
        }
        self.allowance.set(self.allowance.get() - 1);
        // SAFETY: the field lies in the payload.
        let slot = unsafe { slot_of(cell, KINDS[kind].offset(field)) };
        let child = self.held.borrow()[var];
        match way {
            0 => self.move_out(id, field, slot, var),
            1 if self.accepts(id, field, child) => {
                self.model.borrow_mut().set(id, field, child);
                // SAFETY: the variable keeps the cell alive; the slot is the dying cell's own.
                unsafe { self.gc.assign(slot, self.vars[var].get()) };
            }
            _ => {}
        }
    }

    /// Which cell this is, from its payload.
    fn identify(&self, cell: *mut u8) -> Option<Id> {
        // SAFETY: the collector calls with a cell of its own, whose type it knows.
        let kind = unsafe { self.gc.kind_of(cell) };
        let kind = self.types.iter().position(|&id| id == kind);
        let Some(kind) = kind else {
            self.fail(|| format!("the callback of {cell:?}, a cell of no type"));
            return None;
        };
        // SAFETY: the stamp lies in the payload.
        let (id, proof) = unsafe {
            let stamp = cell.add(KINDS[kind].stamp as usize).cast::<u32>();
            (stamp.read(), stamp.add(1).read())
        };
        let known = self.model.borrow().find(id).is_some_and(|node| node.at == cell && node.kind == kind);
        if !known || proof != seal(id) {
            self.fail(|| format!("the callback of {cell:?}, where no cell is: stamped {id} {proof:#x}"));
            return None;
        }
        Some(id)
    }
}
