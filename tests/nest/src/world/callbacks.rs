//! What the library calls: it finds the world that runs in this thread and tells it.
//!
//! A callback must not unwind, so whatever it finds wrong it leaves with the world, which tells it at the
//! end of the operation. An unruly world does operations of its own in its cleanups and destroy hooks.

use super::{seal, World};
use crate::kinds::KINDS;
use crate::model::{Aid, Home, Id};
use crate::op::Op;
use knoll::arena::{KnArena, KnEscape, KN_ESCAPE_REFUSE};
use knoll::counted;
use knoll::heap::KnStatus;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void, CStr};
use std::ptr;
use std::sync::Once;

/// The name of the root range.
pub(super) const RANGE: &CStr = c"program's roots";

thread_local! {
    /// The world that runs in this thread, or null.
    static CURRENT: Cell<*const World> = const { Cell::new(ptr::null()) };
}

/// While it lives, callbacks in this thread find the world; the one before comes back with its end.
pub(super) struct Entered(*const World);

impl Entered {
    pub(super) fn new(world: &World) -> Entered {
        Entered(CURRENT.replace(ptr::from_ref(world)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

thread_local! {
    /// What the error hook was told in this thread.
    static TOLD: RefCell<Vec<(KnStatus, String)>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn note(status: KnStatus, at: *const c_void, what: *const c_char) {
    // SAFETY: the hook's texts live for ever.
    let what = unsafe { CStr::from_ptr(what) };
    TOLD.with_borrow_mut(|told| told.push((status, format!("the error hook was told {status:?} at {at:?}, {what:?}"))));
}

/// What the error hook was told in this thread since the last call.
pub(super) fn told() -> Vec<(KnStatus, String)> {
    TOLD.take()
}

impl World {
    /// What the error hook was told of this kind was asked for.
    pub(super) fn forgive(&self, kind: KnStatus) {
        TOLD.with_borrow_mut(|told| told.retain(|(status, _)| *status != kind));
    }
}

/// From now on the error hook notes what it is told.
pub(super) fn install() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| knoll::capi::errors::kn_on_error(Some(note)));
}

fn world() -> &'static World {
    // SAFETY: worlds enter before they use the library, and live until they leave again.
    unsafe { &*CURRENT.get() }
}

pub(super) unsafe extern "C" fn destroy(cell: *mut c_void) {
    world().destroyed(cell.cast());
}

pub(super) unsafe extern "C" fn cleanup(context: *mut c_void) {
    world().cleaned(context.addr());
}

pub(super) unsafe extern "C" fn escaped(escape: *const KnEscape, context: *mut c_void) {
    // SAFETY: the library's record, alive during the call.
    world().escaped(unsafe { &*escape }, context.addr());
}

pub(super) unsafe extern "C" fn soft(arena: *mut KnArena, held: usize, context: *mut c_void) {
    world().told(arena, held, context.addr());
}

/// Operations in a row that a callback may do.
const PRANKS: usize = 3;

impl World {
    /// The destroy callback of a cell.
    fn destroyed(&self, cell: *mut u8) {
        // SAFETY: the library gives a cell that it destroys.
        let type_id = unsafe { counted::type_of(cell) };
        let Some(kind) = self.types.iter().position(|&id| id == type_id) else {
            return self.fail(|| format!("destroyed: {cell:?} is of type {type_id}"));
        };
        // SAFETY: the stamp lies in the payload.
        let (id, proof) = unsafe {
            let stamp = cell.add(KINDS[kind].stamp as usize).cast::<u32>();
            (stamp.read() as Id, stamp.add(1).read())
        };
        let known = {
            let model = self.model.borrow();
            model
                .nodes
                .get(id)
                .filter(|node| proof == seal(id) && node.at == cell)
                .map(|node| (node.home, node.destroyed))
        };
        let Some((home, before)) = known else {
            return self.fail(|| format!("destroyed: {cell:?} is stamped {id} {proof:#x}"));
        };
        if before {
            return self.fail(|| self.name(id, "was destroyed twice"));
        }
        // A collection takes away what garbage refers to outside before it is destroyed; the end of an arena
        // what dead cells that wait refer to in it.
        self.check_fields_or(id, |child| {
            let of = self.model.borrow().nodes[child].home;
            home == Home::Outside && !matches!(of, Home::In(aid) if !self.is_ending(aid))
        });
        self.model.borrow_mut().nodes[id].destroyed = true;
        match home {
            Home::Outside => {
                if self.model.borrow().count(id) > 0 && !self.open.get() && self.endings.borrow().is_empty() {
                    let reached = self.model.borrow().reachable()[id];
                    if reached {
                        self.fail(|| self.name(id, "was destroyed and is reached"));
                    }
                }
                // Which of the arenas that end it is released by, nobody tells: nothing is done then.
                if self.endings.borrow().is_empty() {
                    self.prank(true, None);
                }
                self.model.borrow_mut().bury(id);
            }
            Home::In(aid) => {
                self.reached(aid);
                let newer = self.unseen(aid, id);
                if let Some(newer) = newer {
                    self.fail(|| self.name(id, &format!("was destroyed before the newer cell {newer}")));
                }
                if let Some(ending) = self.endings.borrow_mut().last_mut() {
                    ending.found.destroyed += 1;
                }
                let waits = self.left_of(aid).0;
                if waits {
                    self.fail(|| self.name(id, "was destroyed before the last cleanup was run"));
                }
                self.prank(true, Some(aid));
            }
        }
    }

    /// The callback of a cleanup.
    fn cleaned(&self, number: usize) {
        let owner = {
            let model = self.model.borrow();
            model.arenas.iter().position(|arena| arena.alive && arena.cleanups.contains(&number))
        };
        let Some(aid) = owner else {
            return self.fail(|| format!("cleanup {number} was run, and does not wait"));
        };
        self.reached(aid);
        let last = self.model.borrow_mut().arenas[aid].cleanups.pop();
        if last != Some(number) {
            self.fail(|| format!("cleanup {number} was run before {last:?}"));
        }
        if let Some(ending) = self.endings.borrow_mut().last_mut() {
            ending.found.cleanups += 1;
        }
        self.tally.borrow_mut().cleanups += 1;
        self.prank(true, Some(aid));
    }

    /// An escape was found.
    fn escaped(&self, escape: &KnEscape, context: usize) {
        let Some(aid) = context.checked_sub(1) else {
            return self.fail(|| "an escape's context is wrong".to_owned());
        };
        // A leave that is refused has not begun.
        if escape.action != KN_ESCAPE_REFUSE {
            self.reached(aid);
        }
        self.check_escape(aid, escape);
        self.take_escape(aid, escape);
    }

    /// The soft budget was passed.
    fn told(&self, arena: *mut KnArena, held: usize, context: usize) {
        let model = self.model.borrow();
        let right = context.checked_sub(1).and_then(|aid: Aid| model.arenas.get(aid)).is_some_and(|nest| {
            // While it is entered the program does not know its address yet.
            (nest.ptr == arena || nest.ptr.is_null()) && nest.shape.soft > 0 && held > self.total / nest.shape.soft
        });
        drop(model);
        if !right {
            self.fail(|| format!("soft budget: {held} bytes held, context {context}"));
        }
    }

    /// What an unruly callback does: blocks always, cells and references when `graph`; in the arena that
    /// is being ended it asks for what it must not get.
    fn prank(&self, graph: bool, ending: Option<Aid>) {
        if self.allowance.get() == 0 || self.depth.get() > 2 {
            return;
        }
        self.depth.set(self.depth.get() + 1);
        let rewound = self.endings.borrow().last().is_some_and(|ending| !ending.fatal && ending.items > 0);
        let pranks = self.random.borrow_mut().below(PRANKS + 1);
        for _ in 0..pranks {
            let Some(left) = self.allowance.get().checked_sub(1) else { break };
            self.allowance.set(left);
            let op = crate::plan::any(&mut self.random.borrow_mut());
            let word = self.random.borrow_mut().bits() as u8;
            // What a callback lets go of may be destroyed when it has returned.
            self.touched.set(self.touched.get() || self.setup.cells);
            match op {
                Op::Malloc { .. } | Op::Realloc { .. } | Op::Free { .. } => self.perform(op),
                Op::Store { .. } if rewound => {}
                Op::New { .. } | Op::Copy { .. } | Op::Drop { .. } | Op::Store { .. } | Op::Clear { .. } if graph => {
                    self.perform(op);
                }
                Op::Fetch { .. } | Op::Root { .. } if graph => self.perform(op),
                Op::Alloc { .. } | Op::NewIn { .. } if graph => self.perform(op),
                // A scope of its own, inside the one that is being left.
                Op::Enter { .. } | Op::Leave { .. } if ending.is_some() => {
                    let depth = self.model.borrow().scopes.len();
                    self.perform(Op::Enter { shape: word, presize: 100 });
                    self.perform(Op::Alloc { arena: 0, bytes: 40, how: word });
                    self.perform(Op::Cleanup { arena: 0, inside: true });
                    if self.model.borrow().scopes.len() > depth {
                        self.perform(Op::Leave { out: 0 });
                    }
                }
                // What must be refused.
                _ if graph => ending.into_iter().for_each(|aid| self.abuse(aid)),
                _ => {}
            }
        }
        self.depth.set(self.depth.get() - 1);
    }
}
