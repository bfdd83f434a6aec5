//! Comparing graph and model, and the end of a world.

use super::{seal, slot_of, World, NUMBER, VARS};
use crate::collector::Collector;
use crate::hooks::Entered;
use crate::kinds::{KINDS, SHARED};
use crate::model::{Id, Model, State};
use crate::op::Op;
use crate::tally::Tally;
use crate::tuning::DEFAULT;
use std::ptr;

impl<C: Collector> World<C> {
    /// A full collection was made.
    pub(super) fn exact(&self) -> Result<(), String> {
        let collected = self.model.borrow_mut().collect();
        collected.map_err(|id| self.name(id, "is garbage and was not collected"))?;
        self.tally.borrow_mut().exact += 1;
        let now = self.gc.numbers();
        let present = {
            let model = self.model.borrow();
            model.present().iter().filter(|&&id| model.node(id).kind != SHARED).count()
        };
        if now.cells != present || now.pending != 0 {
            return Err(format!("{now:?}, but {present} cells are alive after a full collection"));
        }
        match self.gc.roots() {
            0 => Ok(()),
            roots => Err(format!("{roots} roots after a full collection")),
        }
    }

    /// Compares everything that the program reaches with the model.
    pub fn verify(&self) -> Result<(), String> {
        let _entered = Entered::new(self);
        // A check is no time for callbacks to do anything.
        self.allowance.set(0);
        self.tally.borrow_mut().verifications += 1;
        let model = self.model.borrow();
        let reachable = model.reachable();
        let counts = model.counts(&reachable, self.is_unsettled());
        for &id in model.present().iter().filter(|&&id| reachable[id as usize]) {
            self.verify_cell(&model, id, counts[id as usize])?;
        }
        for (id, _) in reachable.iter().enumerate().filter(|(_, &reached)| reached) {
            if model.node(id as Id).state == State::Dead {
                return Err(self.name(id as Id, "is dead and the program reaches it"));
            }
        }
        for (var, id) in self.held.borrow().iter().enumerate() {
            let at = id.map_or(ptr::null_mut(), |id| model.node(id).at);
            if at != self.vars[var].get() {
                return Err(format!("variable {var} holds {:?}, was {at:?}", self.vars[var].get()));
            }
        }
        self.gc.check()
    }

    fn verify_cell(&self, model: &Model, id: Id, (sure, maybe): (u32, u32)) -> Result<(), String> {
        let node = model.node(id);
        let kind = &KINDS[node.kind];
        let cell = node.at;
        // SAFETY: the program reaches the cell, so it is alive.
        let (count, size, type_id) = unsafe { (self.gc.count(cell), self.gc.size(cell), self.gc.kind_of(cell)) };
        if !(sure..=sure + maybe).contains(&count) {
            return Err(self.name(id, &format!("has a count of {count}, and {sure} to {} references", sure + maybe)));
        }
        if type_id != self.types[node.kind] || size < node.bytes {
            return Err(self.name(id, &format!("is of type {type_id} and {size} bytes")));
        }
        // SAFETY: as above; the stamp lies in the payload.
        let (stamp, proof) = unsafe {
            let stamp = cell.add(kind.stamp as usize).cast::<u32>();
            (stamp.read(), stamp.add(1).read())
        };
        if stamp != id || proof != seal(id) {
            return Err(self.name(id, &format!("is stamped {stamp} {proof:#x}")));
        }
        for (field, child) in node.fields.iter().enumerate() {
            // SAFETY: as above; the field lies in the payload.
            let found = unsafe { slot_of(cell, kind.offset(field)).read() };
            let wanted = match child {
                Some(child) => model.node(*child).at.addr(),
                None if kind.variant_field() == Some(field) && !node.turned => NUMBER,
                None => 0,
            };
            if found.addr() != wanted {
                return Err(self.name(id, &format!("has {found:?} in field {field}, was {wanted:#x}")));
            }
        }
        Ok(())
    }

    /// The program lets go of everything: no cell may be left and no byte missing.
    pub fn finish(self) -> Result<Tally, String> {
        self.verify()?;
        self.perform(Op::Drain);
        if self.tuning.get().visited_limit > 0 && !self.leaky.get() {
            self.tuning.set(DEFAULT);
            self.gc.configure(&DEFAULT.config())?;
        }
        // Callbacks may fill variables again, but not for ever: their cells come to an end.
        for round in 0.. {
            for var in 0..VARS {
                self.run(Op::Drop { var: var as u8 })?;
            }
            while !self.pins.borrow().is_empty() {
                self.run(Op::Unpin { pin: 0 })?;
            }
            self.run(Op::Collect)?;
            let held = self.held.borrow().iter().any(Option::is_some) || !self.pins.borrow().is_empty();
            if !held {
                break;
            }
            if round == 1000 {
                return Err("callbacks make new cells without end".to_owned());
            }
        }
        // What filled the heap has gone now.
        for _ in 0..3 {
            if self.short.get() {
                self.run(Op::Collect)?;
            }
        }
        self.verify()?;
        self.break_cycles()?;
        let model = self.model.borrow();
        if let Some(&id) = model.present().first() {
            return Err(self.name(id, "is left at the end"));
        }
        drop(model);
        let _entered = Entered::new(&self);
        self.gc.check()?;
        self.gc.retire()?;
        Ok(self.tally.borrow().clone())
    }

    /// Cycles that no collector finds, by the program's choice, are broken by the program.
    fn break_cycles(&self) -> Result<(), String> {
        let left: Vec<Id> = self.model.borrow().present().to_vec();
        let entered = Entered::new(self);
        let cell = |id: Id| self.model.borrow().node(id).at;
        for &id in &left {
            self.model.borrow_mut().hold(id);
            // SAFETY: nothing has collected the cell, so it is alive; so below, since it is held.
            unsafe { self.gc.add_ref(cell(id)) };
        }
        for &id in &left {
            let (fields, kind) = {
                let model = self.model.borrow();
                (model.node(id).fields.len(), &KINDS[model.node(id).kind])
            };
            for field in 0..fields {
                if self.model.borrow_mut().set(id, field, None).is_some() {
                    // SAFETY: as above.
                    let old = unsafe { self.gc.take(slot_of(cell(id), kind.offset(field))) };
                    self.release(old);
                }
            }
        }
        for id in left {
            self.model.borrow_mut().unhold(id);
            self.release(cell(id));
        }
        drop(entered);
        // What destruction has put off, or callbacks have made.
        self.run(Op::Collect)?;
        let settled = self.model.borrow_mut().settle_doomed();
        settled.map_err(|id| self.name(id, "has a count of 0 and was not destroyed"))
    }
}
