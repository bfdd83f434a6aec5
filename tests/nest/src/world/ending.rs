//! The end of an arena, or of its tail, as the model sees it: what must have run, what escapes, what goes.
//!
//! The library ends arenas from the innermost on, and calls back in between. The model follows: when a
//! callback belongs to an arena further out, those further in are over, and are settled then; the rest is
//! settled when the call returns.

use super::{seal, slot_of, Ending, Found, World};
use crate::kinds::KINDS;
use crate::model::{Aid, Holder, Home, Id, Item};
use knoll::arena::{KnEscape, KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE, KN_ESCAPE_REFUSE};
use std::collections::HashMap;
use std::ffi::CStr;
use std::ptr::null_mut;

impl World {
    /// The whole of an arena is about to end.
    pub(super) fn whole(&self, aid: Aid) -> Ending {
        if self.endings.borrow().is_empty() {
            self.copies.borrow_mut().clear();
        }
        Ending { aid, begun: false, fatal: true, items: 0, cleanups: 0, tentatives: 0, found: Found::default() }
    }

    /// A callback of an arena came: all further in are over.
    pub(super) fn reached(&self, aid: Aid) {
        loop {
            let last = self.endings.borrow().last().map(|ending| ending.aid);
            match last {
                None => return self.fail(|| format!("a callback of arena {aid}, which does not end")),
                Some(last) if last == aid => return,
                Some(_) => self.settle(),
            }
        }
    }

    /// Whether cleanups of the ending part wait, and the newest of its cells that was not destroyed.
    pub(super) fn left_of(&self, aid: Aid) -> (bool, Option<Id>) {
        let endings = self.endings.borrow();
        let Some(ending) = endings.iter().rev().find(|ending| ending.aid == aid) else { return (false, None) };
        let model = self.model.borrow();
        let cells = model.cells_of(aid, ending.items);
        let waits = |&&id: &&Id| KINDS[model.nodes[id].kind].seen && !model.nodes[id].destroyed;
        (model.arenas[aid].cleanups.len() > ending.cleanups, cells.iter().rev().find(waits).copied())
    }

    /// A cell of the arena that is newer than this one, has a destroy hook, and was not destroyed.
    pub(super) fn unseen(&self, aid: Aid, id: Id) -> Option<Id> {
        self.left_of(aid).1.filter(|&newest| newest > id)
    }

    /// What the library says of an escape besides what is compared later.
    pub(super) fn check_escape(&self, aid: Aid, escape: &KnEscape) {
        let text = |text: *const std::ffi::c_char| match text.is_null() {
            true => None,
            // SAFETY: names live as long as what they name.
            false => Some(unsafe { CStr::from_ptr(text) }),
        };
        let model = self.model.borrow();
        let arena = &model.arenas[aid];
        let target = model.cells_of(aid, 0).into_iter().find(|&id| model.nodes[id].at.addr() == escape.target.addr());
        let mut wrong = Vec::new();
        let mut expect = |right: bool, what: &str| {
            if !right {
                wrong.push(what.to_owned());
            }
        };
        expect(text(escape.arena) == Some(arena.shape.name), "arena");
        expect(escape.slot.addr() == escape.holder.addr() + escape.offset, "offset");
        match target {
            None => expect(false, "target"),
            Some(id) => {
                let node = &model.nodes[id];
                expect(text(escape.target_type) == Some(KINDS[node.kind].name), "target_type");
                expect(escape.target_size >= KINDS[node.kind].bytes(node.length), "target_size");
            }
        }
        if escape.holder.addr() == self.roots.addr() {
            expect(text(escape.holder_type) == Some(super::callbacks::RANGE), "holder_type");
        } else {
            let of = |node: &&crate::model::Node| !node.dead && node.at.addr() == escape.holder.addr();
            match model.nodes.iter().rev().find(of) {
                None => expect(false, "holder"),
                Some(node) => {
                    let kind = &KINDS[node.kind];
                    expect(text(escape.holder_type) == Some(kind.name), "holder_type");
                    let named = kind.refs.iter().position(|&offset| offset as usize == escape.offset);
                    let name = named.and_then(|index| kind.names.get(index)).copied();
                    expect(text(escape.field) == name, "field");
                }
            }
        }
        drop(model);
        if !wrong.is_empty() {
            self.fail(|| format!("an escape of arena {aid} tells a wrong {}", wrong.join(", ")));
        }
    }

    /// Settles the ending that is current: everything must have run; what was inside goes.
    pub(super) fn settle(&self) {
        let Some(ending) = self.endings.borrow().last().copied() else { return };
        let aid = ending.aid;
        if let (waits, Some(_)) | (waits @ true, None) = self.left_of(aid) {
            self.fail(|| format!("arena {aid} has ended, a cleanup waits: {waits}, or a destroy hook was not run"));
        }
        let cells = self.model.borrow().cells_of(aid, ending.items);
        self.drop_tentative();
        let mut found = self.endings.borrow().last().map_or(ending.found, |ending| ending.found);
        self.unreported(aid, &cells);
        self.unlinked(aid, &cells);
        for &id in &cells {
            found.released += self.model.borrow_mut().bury(id);
        }
        if !self.open.get() {
            let settled = self.model.borrow_mut().settle_doomed();
            if let Err(id) = settled {
                self.fail(|| self.name(id, "was released by the end of an arena and not destroyed"));
            }
        }
        if found.promoted + found.released + found.dropped > 0 {
            self.touched.set(true);
        }
        self.forget(aid, &ending, &cells, &mut found);
        {
            let mut tally = self.tally.borrow_mut();
            tally.destroyed += found.destroyed;
            tally.released += found.released;
            tally.escapes += found.escapes;
            tally.weak += found.weak;
        }
        if ending.fatal {
            let mut model = self.model.borrow_mut();
            let record: *mut u8 = model.arenas[aid].ptr.cast();
            if model.arenas[aid].depth > 0 {
                model.unclaim(record, 1);
            }
            model.arenas[aid].alive = false;
            model.scopes.retain(|&scope| scope != aid);
        }
        let mut endings = self.endings.borrow_mut();
        endings.pop();
        if let Some(next) = endings.last_mut() {
            next.begun = true;
        }
        drop(endings);
        self.settled.borrow_mut().push(Ending { found, ..ending });
    }

    /// The cells of the current ending that were tentative and not kept go, before anything else that is
    /// released.
    pub(super) fn drop_tentative(&self) {
        let Some(ending) = self.endings.borrow().last().copied() else { return };
        let dropped = self.model.borrow_mut().arenas[ending.aid].tentatives.split_off(ending.tentatives);
        for number in dropped {
            let (id, waits) = {
                let mut tentatives = self.tentatives.borrow_mut();
                let tentative = &mut tentatives[number];
                (tentative.id, std::mem::replace(&mut tentative.waits, false))
            };
            if waits {
                self.model.borrow_mut().unhold(id);
                if let Some(ending) = self.endings.borrow_mut().last_mut() {
                    ending.found.dropped += 1;
                }
            }
        }
        if !self.open.get() {
            self.model.borrow_mut().settle_unseen();
        }
    }

    /// An escape was reported: it must be one that the model knows, and its slot is as it must be.
    pub(super) fn take_escape(&self, aid: Aid, escape: &KnEscape) {
        let ours = |ending: &&Ending| ending.aid == aid;
        let first = self.endings.borrow().iter().rev().find(ours).map_or(0, |ending| ending.items);
        if escape.action != KN_ESCAPE_REFUSE {
            self.drop_tentative();
        }
        let (known, policy) = {
            let model = self.model.borrow();
            let cells = model.cells_of(aid, first);
            ([model.escapes(aid, &cells), model.links(aid, &cells)].concat(), model.arenas[aid].shape.policy)
        };
        let at_slot = |(holder, _): &&(Holder, Id)| self.slot_of(*holder).0.addr() == escape.slot.addr();
        let Some(&(holder, target)) = known.iter().find(at_slot) else {
            return self.fail(|| format!("an escape was reported that is none: {:?}", escape.slot));
        };
        let (slot, raw) = self.slot_of(holder);
        let at = self.model.borrow().nodes[target].at;
        // Nobody counts what is stored in older cells of the same arena.
        let link = matches!(holder, Holder::Field(id, _) if self.model.borrow().nodes[id].home == Home::In(aid));
        if escape.target.addr() != at.addr() || escape.raw && !raw && !link {
            self.fail(|| {
                let told = (escape.target, escape.raw);
                format!("the escape of {target} at {at:?} in {holder:?}, raw: {raw}, was reported as {told:?}")
            });
        }
        // SAFETY: a slot of the root range, or a field of a cell that the library has just found.
        let now = unsafe { slot.read() };
        match (escape.action, policy) {
            (KN_ESCAPE_REFUSE, KN_ESCAPE_REFUSE) if now == at => return,
            (KN_ESCAPE_NULL, policy) if now.is_null() => {
                if policy == KN_ESCAPE_PROMOTE && self.could_promote(aid, target) {
                    self.fail(|| format!("the escape of {target} in {holder:?} was not promoted"));
                }
                self.put(holder, None);
            }
            (KN_ESCAPE_PROMOTE, KN_ESCAPE_PROMOTE) if !now.is_null() => {
                let mut copies = self.copies.take();
                let copy = self.adopt(aid, target, now, &mut copies);
                self.copies.replace(copies);
                self.put(holder, copy);
                if let Some(ending) = self.endings.borrow_mut().last_mut() {
                    ending.found.promoted += 1;
                }
            }
            (action, _) => {
                self.fail(|| {
                    format!("the escape of {target} in {holder:?}: action {action}, policy {policy}, {now:?}")
                });
                self.put(holder, None);
            }
        }
        self.tally.borrow_mut().raw_escapes += usize::from(escape.raw);
        if matches!(holder, Holder::Root(_)) {
            self.model.borrow_mut().arenas[aid].loose = true;
        }
        if let Some(ending) = self.endings.borrow_mut().last_mut() {
            ending.found.escapes += 1;
        }
    }

    /// All has been reported: no slot that is sure to be alive may refer to what goes.
    fn unreported(&self, aid: Aid, cells: &[Id]) {
        let (left, reachable) = {
            let model = self.model.borrow();
            (model.escapes(aid, cells), model.reachable())
        };
        for (holder, target) in left {
            let sure = match holder {
                Holder::Root(_) => true,
                Holder::Field(id, _) => !self.model.borrow().is_outside(id) || reachable[id] || !self.open.get(),
            };
            if sure {
                self.fail(|| format!("the escape of {target} in {holder:?} was not reported"));
            }
            self.put(holder, None);
        }
    }

    /// What callbacks stored in older cells of an arena that was rewound is the program's own to forget.
    fn unlinked(&self, aid: Aid, cells: &[Id]) {
        let links = self.model.borrow().links(aid, cells);
        for (holder, _) in links {
            let (slot, _) = self.slot_of(holder);
            // SAFETY: a field of a living cell.
            unsafe { slot.write(null_mut()) };
            self.put(holder, None);
        }
    }

    /// Whether what is reached can be copied, as far as its types go and memory is not short.
    fn could_promote(&self, aid: Aid, root: Id) -> bool {
        let closure = self.closure(aid, root);
        let bytes: usize = {
            let model = self.model.borrow();
            let kind = |id: &Id| &KINDS[model.nodes[*id].kind];
            if !closure.iter().all(|id| kind(id).promotable()) {
                return false;
            }
            closure.iter().map(|id| kind(id).bytes(model.nodes[*id].length) + 64).sum()
        };
        self.ballast.borrow().is_empty() && self.largest() > 3 * bytes + 5000
    }

    /// Follows the copy of a graph next to the original: the number of the root's copy.
    pub(super) fn adopt(&self, aid: Aid, root: Id, at: *mut u8, copies: &mut HashMap<Id, Id>) -> Option<Id> {
        let mut open = vec![(root, at)];
        let mut edges = Vec::new();
        let mut fresh = Vec::new();
        while let Some((id, at)) = open.pop() {
            if let Some(&copy) = copies.get(&id) {
                if self.model.borrow().nodes[copy].at != at {
                    self.fail(|| self.name(id, &format!("has two copies, the other at {at:?}")));
                }
                continue;
            }
            let (kind, length, fields) = {
                let node = &self.model.borrow().nodes[id];
                (node.kind, node.length, node.fields.clone())
            };
            if !self.is_stamped(at, kind, id) {
                self.fail(|| self.name(id, &format!("was not copied to {at:?}")));
                return None;
            }
            let copy = self.welcome(at, kind, length, Home::Outside);
            copies.insert(id, copy);
            fresh.push(copy);
            for (field, child) in fields.into_iter().enumerate() {
                let Some(child) = child else { continue };
                if self.model.borrow().nodes[child].home == Home::In(aid) {
                    // SAFETY: a field of the copy, which has the original's type.
                    open.push((child, unsafe { slot_of(at, KINDS[kind].offset(field)).read() }));
                    edges.push((copy, field, child));
                } else {
                    self.model.borrow_mut().set(copy, field, Some(child));
                }
            }
        }
        for (copy, field, child) in edges {
            let child = copies.get(&child).copied();
            self.model.borrow_mut().set(copy, field, child);
        }
        self.tally.borrow_mut().promoted += fresh.len();
        fresh.into_iter().for_each(|copy| self.check_fields(copy));
        copies.get(&root).copied()
    }

    /// A slot outside an arena refers to something else now, and the library did it.
    fn put(&self, holder: Holder, to: Option<Id>) {
        let mut model = self.model.borrow_mut();
        match holder {
            Holder::Field(id, field) => {
                // A reference into an arena was none that counts for the target, nor is it there any more.
                model.set(id, field, to);
            }
            Holder::Root(root) => {
                if let Some(id) = to {
                    model.hold(id);
                }
                model.roots[root] = crate::model::Root { to, raw: false };
            }
        }
    }

    /// Where a holder's slot lies, and whether the store bypassed `GC_assign`.
    fn slot_of(&self, holder: Holder) -> (*mut *mut u8, bool) {
        let model = self.model.borrow();
        match holder {
            Holder::Field(id, field) => {
                let node = &model.nodes[id];
                // SAFETY: the field lies in the cell.
                (unsafe { slot_of(node.at, KINDS[node.kind].offset(field)) }, false)
            }
            // SAFETY: one of the slots.
            Holder::Root(root) => (unsafe { self.roots.cast::<*mut u8>().add(root) }, model.roots[root].raw),
        }
    }

    /// Nothing refers to what has gone any more, and its memory is free.
    fn forget(&self, aid: Aid, ending: &Ending, cells: &[Id], found: &mut Found) {
        for (var, held) in self.model.borrow_mut().vars.iter_mut().enumerate() {
            if held.is_some_and(|id| cells.contains(&id)) {
                *held = None;
                self.vars[var].set(null_mut());
            }
        }
        let mut model = self.model.borrow_mut();
        let gone = model.arenas[aid].items.split_off(ending.items);
        for item in gone {
            if let Item::Raw { at, bytes, .. } | Item::Other { at, bytes } = item {
                model.unclaim(at, bytes);
            }
        }
        let mut dangling = None;
        for (slot, weak) in model.weaks.iter_mut().enumerate() {
            if weak.is_some_and(|(owner, item)| owner == aid && item >= ending.items) {
                *weak = None;
                found.weak += 1;
                // SAFETY: the world's own slot.
                let target = unsafe { (*self.weaks[slot]).target };
                if !target.is_null() {
                    dangling = Some(slot);
                }
            }
        }
        drop(model);
        if let Some(slot) = dangling {
            self.fail(|| format!("weak slot {slot} refers to what has gone with arena {aid}"));
        }
    }

    /// Whether a cell bears this stamp.
    pub(super) fn is_stamped(&self, at: *mut u8, kind: usize, id: Id) -> bool {
        if at.is_null() || !self.ground.holds(at.addr(), KINDS[kind].size as usize) {
            return false;
        }
        // SAFETY: inside the ground, all of which is initialised.
        let (stamp, proof) = unsafe {
            let stamp = at.add(KINDS[kind].stamp as usize).cast::<u32>();
            (stamp.read(), stamp.add(1).read())
        };
        stamp as Id == id && proof == seal(id)
    }
}
