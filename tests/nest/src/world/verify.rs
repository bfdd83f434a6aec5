//! Comparing everything with the model, and the end of a world.

use super::{callbacks, World};
use crate::kinds::KINDS;
use crate::model::{Home, Id, Item, Model, ROOTS, SLOTS, STANDING, VARS};
use crate::op::Op;
use crate::tally::Tally;
use knoll::counted::{self, Counted};
use knoll::heap::{KnHeap, KnStatus};
use knoll_graph::tuning::MANUAL;
use knoll_shadow::contents;
use knoll_shadow::numbers::stats_of;
use std::collections::HashMap;
use std::ptr::null_mut;

impl World {
    /// Compares everything that the program reaches with the model.
    pub fn verify(&self) -> Result<(), String> {
        let _entered = callbacks::Entered::new(self);
        self.allowance.set(0);
        self.tally.borrow_mut().verifications += 1;
        // SAFETY: heap and state are live.
        let heap = unsafe { KnHeap::check(self.heap) };
        // SAFETY: as above.
        let cells = if self.setup.cells { unsafe { Counted::check(self.state) } } else { KnStatus::Ok };
        if heap != KnStatus::Ok || cells != KnStatus::Ok {
            return Err(format!("check: heap {heap:?}, cells {cells:?}, {:?}", callbacks::told()));
        }
        self.ground.check_guards()?;
        let model = self.model.borrow();
        for (slot, block) in model.blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            // SAFETY: a live block that was filled.
            unsafe { contents::compare(block.at, block.bytes, block.tag) }
                .map_err(|why| format!("block {slot}: {why}"))?;
        }
        for aid in model.open_arenas() {
            for (index, item) in model.arenas[aid].items.iter().enumerate() {
                if let Item::Raw { at, bytes, tag } = *item {
                    // SAFETY: live memory that was filled.
                    unsafe { contents::compare(at, bytes, tag) }
                        .map_err(|why| format!("arena {aid}, item {index} at {at:?}: {why}"))?;
                }
            }
        }
        let reachable = model.reachable();
        let counts = self.counts(&model, &reachable);
        for id in (0..model.nodes.len()).filter(|&id| reachable[id]) {
            self.verify_cell(&model, id, counts[id])?;
        }
        self.verify_slots(&model)?;
        let open: Vec<usize> = model.open_arenas().collect();
        drop(model);
        open.into_iter().try_for_each(|aid| self.verify_stats(aid))?;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// References to each cell: those that are sure, and those of cells that may be dead.
    fn counts(&self, model: &Model, reachable: &[bool]) -> Vec<(u32, u32)> {
        let mut counts = vec![(0, 0); model.nodes.len()];
        let mut look = |id: Id| {
            let sure = reachable[id] || !self.open.get();
            for &child in model.nodes[id].fields.iter().flatten() {
                let (certain, possible): &mut (u32, u32) = &mut counts[child];
                *(if sure { certain } else { possible }) += 1;
            }
        };
        model.present.iter().for_each(|&id| look(id));
        model.open_arenas().for_each(|aid| model.cells_of(aid, 0).into_iter().for_each(&mut look));
        model.present.iter().for_each(|&id| counts[id].0 += model.nodes[id].external);
        counts
    }

    fn verify_cell(&self, model: &Model, id: Id, (sure, maybe): (u32, u32)) -> Result<(), String> {
        let node = &model.nodes[id];
        if node.dead {
            return Err(self.name(id, "is dead and the program reaches it"));
        }
        let kind = &KINDS[node.kind];
        // SAFETY: the program reaches the cell, so it is alive.
        let (count, size, type_id) =
            unsafe { (counted::count(node.at), counted::size_of_cell(node.at), counted::type_of(node.at)) };
        let right = match node.home {
            Home::Outside => (sure..=sure + maybe).contains(&count),
            Home::In(_) => count == counted::KN_IMMORTAL,
        };
        if !right {
            return Err(self.name(id, &format!("has a count of {count}, and {sure} to {} references", sure + maybe)));
        }
        if type_id != self.types[node.kind] || size < kind.bytes(node.length) {
            return Err(self.name(id, &format!("is of type {type_id} and {size} bytes")));
        }
        if !self.is_stamped(node.at, node.kind, id) {
            return Err(self.name(id, "has lost its stamp"));
        }
        self.check_fields(id);
        Ok(())
    }

    fn verify_slots(&self, model: &Model) -> Result<(), String> {
        let at = |id: Option<Id>| id.map_or(null_mut(), |id| model.nodes[id].at);
        for (var, id) in model.vars.iter().enumerate() {
            if at(*id) != self.vars[var].get() {
                return Err(format!("variable {var} holds {:?}, was {:?}", self.vars[var].get(), at(*id)));
            }
        }
        for (index, root) in model.roots.iter().enumerate() {
            // SAFETY: one of the world's slots.
            let now = unsafe { self.roots.cast::<*mut u8>().add(index).read() };
            if now != at(root.to) {
                return Err(format!("root {index} holds {now:?}, was {:?}", at(root.to)));
            }
        }
        for (slot, weak) in model.weaks.iter().enumerate() {
            let wanted = weak.map_or(null_mut(), |(aid, item)| model.start_of(model.arenas[aid].items[item]));
            // SAFETY: the world's own slot.
            let now = unsafe { (*self.weaks[slot]).target };
            if now.cast() != wanted {
                return Err(format!("weak slot {slot} holds {now:?}, was {wanted:?}"));
            }
        }
        Ok(())
    }

    fn verify_stats(&self, aid: usize) -> Result<(), String> {
        let stats = self.stats(aid);
        let model = self.model.borrow();
        let nest = &model.arenas[aid];
        let live: usize = nest
            .items
            .iter()
            .map(|item| match *item {
                Item::Raw { bytes, .. } | Item::Other { bytes, .. } => bytes,
                Item::Cell(id) => KINDS[model.nodes[id].kind].bytes(model.nodes[id].length),
                Item::Gone { .. } => 0,
            })
            .sum();
        let (used, peak, held) = (stats.used, stats.peak, stats.held);
        if used < live
            || peak < used
            || held > stats.budget && stats.budget > 0
            || stats.budget != nest.budget.next_multiple_of(8)
            || stats.depth != nest.depth
        {
            return Err(format!(
                "arena {aid} at depth {}: {live} live, used {used}, peak {peak}, held {held}, budget {}",
                stats.depth, nest.budget
            ));
        }
        let cells = model.cells_of(aid, 0);
        let reachable = model.reachable();
        let (mut sure, mut all) = (0, 0);
        for (holder, _) in model.escapes(aid, &cells) {
            let (certain, counts) = match holder {
                crate::model::Holder::Root(root) => (true, !model.roots[root].raw),
                crate::model::Holder::Field(id, _) => (reachable[id] || !self.open.get(), true),
            };
            sure += usize::from(certain && counts);
            all += usize::from(counts);
        }
        if stats.escapes < sure || stats.escapes > all && !nest.loose {
            return Err(format!("arena {aid} counts {} escapes, there are {sure} to {all}", stats.escapes));
        }
        Ok(())
    }

    /// Ends everything in order: nothing may be left, and the heap must be as it was at first.
    pub fn finish(self) -> Result<Tally, String> {
        self.verify()?;
        self.run(Op::Drain)?;
        // What refuses to be left because of escapes is left when the program has let go of them.
        let scopes = self.model.borrow().scopes.len();
        for _ in 0..scopes {
            self.run(Op::Leave { out: 0 })?;
            if self.model.borrow().scopes.len() == scopes {
                break;
            }
        }
        self.calm.set(true);
        self.settle_collector()?;
        self.let_go()?;
        while !self.model.borrow().scopes.is_empty() {
            let before = self.model.borrow().scopes.len();
            self.run(Op::Leave { out: 0 })?;
            if self.model.borrow().scopes.len() == before {
                return Err("a scope without escapes refuses to be left".to_owned());
            }
        }
        self.verify()?;
        for place in 0..STANDING as u8 {
            self.run(Op::Destroy { arena: place })?;
        }
        for slot in 0..SLOTS as u8 {
            self.run(Op::Free { slot })?;
        }
        for weak in 0..self.weaks.len() as u8 {
            self.run(Op::Weak { slot: weak, arena: 0, item: u8::MAX })?;
        }
        self.verify()?;
        if self.setup.cells {
            self.let_go()?;
            self.retire()?;
        }
        let _entered = callbacks::Entered::new(&self);
        // SAFETY: the heap is live.
        let used = unsafe { stats_of(self.heap)? }.used;
        let (print, first) = (self.print(), self.first);
        if (print, used) != first {
            return Err(format!("at the end {used} bytes are in use, were {}", first.1));
        }
        self.ground.check_guards()?;
        Ok(self.tally.borrow().clone())
    }

    /// From now on every collection finds all garbage, and destroys it at once.
    fn settle_collector(&self) -> Result<(), String> {
        if self.setup.cells {
            self.tuning.set(MANUAL);
            // SAFETY: the state is live.
            let status = unsafe { Counted::configure(self.state, &MANUAL.config()) };
            if status != KnStatus::Ok {
                return Err(format!("configure: {status:?}"));
            }
        }
        Ok(())
    }

    /// The program lets go of all cells outside, and cells outside of all that lies in arenas.
    fn let_go(&self) -> Result<(), String> {
        if !self.setup.cells {
            return Ok(());
        }
        for root in 0..ROOTS as u8 {
            self.run(Op::RawRoot { root, from: VARS as u8 - 1 })?;
        }
        for var in 0..VARS as u8 {
            self.run(Op::Drop { var })?;
        }
        for root in 0..ROOTS as u8 {
            self.run(Op::Root { root, from: 0 })?;
        }
        while self.tentatives.borrow().iter().any(|tentative| tentative.waits) {
            self.run(Op::Keep { which: 0, var: 0 })?;
            self.run(Op::Drop { var: 0 })?;
        }
        self.run(Op::Collect)?;
        self.cut()
    }

    /// References into arenas from what is still alive outside become null.
    fn cut(&self) -> Result<(), String> {
        let _entered = callbacks::Entered::new(self);
        let reachable = self.model.borrow().reachable();
        let arenas: Vec<usize> = self.model.borrow().open_arenas().collect();
        for aid in arenas {
            let escapes = {
                let model = self.model.borrow();
                model.escapes(aid, &model.cells_of(aid, 0))
            };
            for (holder, _) in escapes {
                let crate::model::Holder::Field(id, field) = holder else { continue };
                if reachable[id] {
                    self.cut_field(id, field);
                }
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// No cell may be left, and the collector gives back what it took.
    fn retire(&self) -> Result<(), String> {
        self.run(Op::Collect)?;
        let _entered = callbacks::Entered::new(self);
        // Slices and portions: what waits is destroyed by further collections.
        let mut left: HashMap<Id, ()> = HashMap::new();
        for _ in 0..1000 {
            // SAFETY: the state is live.
            unsafe { Counted::collect(self.state) };
            // SAFETY: as above.
            if unsafe { Counted::stats(self.state) }.cells == 0 {
                break;
            }
        }
        // SAFETY: the state is live, and not used any more if it retires.
        if !unsafe { Counted::retire(self.state) } {
            left.extend(self.model.borrow().present.iter().map(|&id| (id, ())));
            return Err(format!("cells are left at the end: {:?}", left.keys()));
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}
