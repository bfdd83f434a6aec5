//! What the heap calls: the program's collection, its finaliser, its trace hook, its ear for bad news.
//!
//! A callback must not unwind, so whatever it finds wrong it leaves with the world, which tells it at the end of the
//! operation.

use super::{Plan, World};
use crate::heap::{Heap, Hooks, KnTracedShort, KN_NO_SCAN};
use crate::model::{PINS, VARS};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::rc::Rc;

/// The callbacks for a world.
pub fn of<H: Heap>(world: &Rc<World<H>>) -> Hooks {
    Hooks {
        collect: collect::<H>,
        finalise: finalise::<H>,
        trace: world.setup.precise.then_some(trace::<H>),
        on_short: on_short::<H>,
        context: Rc::as_ptr(world).cast_mut().cast(),
    }
}

/// The world that a context is.
unsafe fn world<'a, H: Heap>(context: *mut c_void) -> &'a World<H> {
    // SAFETY: contexts are made in `of`, and the heap goes with its world.
    unsafe { &*context.cast::<World<H>>() }
}

unsafe extern "C" fn collect<H: Heap>(context: *mut c_void) {
    // SAFETY: a context of ours; so below.
    unsafe { world::<H>(context) }.asked_to_collect();
}

unsafe extern "C" fn finalise<H: Heap>(context: *mut c_void, block: *mut c_void) {
    // SAFETY: as above.
    unsafe { world::<H>(context) }.finalised(block.cast());
}

unsafe extern "C" fn trace<H: Heap>(context: *mut c_void, block: *mut c_void, size: usize) {
    // SAFETY: as above.
    unsafe { world::<H>(context) }.traced(block.addr(), size);
}

unsafe extern "C" fn on_short<H: Heap>(context: *mut c_void, report: *const KnTracedShort) {
    // SAFETY: as above; the report is valid during the call.
    unsafe { world::<H>(context).told_short(&*report) };
}

impl<H: Heap> World<H> {
    /// The heap asks.
    fn asked_to_collect(&self) {
        self.asked.set(self.asked.get() + 1);
        self.since.set(0);
        if !self.declines.get() {
            self.tally.borrow_mut().automatic += 1;
            self.collect();
        }
    }

    /// A collection.
    pub(super) fn collect(&self) {
        self.heap().start();
        self.mark_all();
        self.end_collection();
    }

    /// Marks what the program holds, in pieces.
    fn mark_all(&self) {
        let (vars, pins) = {
            let model = self.model.borrow();
            (model.vars, model.pins)
        };
        self.model.borrow_mut().blocks.values_mut().for_each(|block| block.asked = 0);
        self.heap().mark(&vars);
        let piece = 1 + self.random.borrow_mut().below(PINS);
        for part in pins.chunks(piece) {
            self.heap().mark(part);
        }
        self.heap().mark(&[]);
    }

    fn end_collection(&self) {
        let reach = self.model.borrow().reach();
        self.judge_tracing(&reach);
        let dead = |at: &usize| !reach.contains(at);
        let model = self.model.borrow();
        let pending =
            model.blocks.iter().filter(|(at, block)| dead(at) && block.is_finalised()).map(|(at, _)| *at).collect();
        drop(model);
        *self.plan.borrow_mut() = Some(Plan { reach, pending, done: BTreeSet::new() });
        self.heap().end();
        let Some(plan) = self.plan.borrow_mut().take() else { return };
        for at in &plan.pending {
            self.complain(|| format!("the dead block at {at:#x} was not finalised"));
        }
        let mut model = self.model.borrow_mut();
        let mut died = 0;
        model.blocks.retain(|at, block| {
            let size = self.heap().size(block.at.addr());
            let reached = plan.reach.contains(at);
            self.ensure(size == if reached { block.size() } else { 0 }, || {
                format!("after a collection {at:#x} has {size} of {} bytes; reachable: {reached}", block.size())
            });
            let told = self.heap().flags(block.at.addr());
            self.ensure(size == 0 || told == block.flags, || format!("{at:#x} has flags {told}, had {}", block.flags));
            died += usize::from(size == 0);
            size != 0
        });
        self.since.set(0);
        self.collections.set(self.collections.get() + 1);
        let mut tally = self.tally.borrow_mut();
        tally.collections += 1;
        tally.died += died;
    }

    /// How often the trace hook was asked about each block.
    fn judge_tracing(&self, reach: &BTreeSet<usize>) {
        if !self.setup.precise {
            return;
        }
        for (at, block) in &self.model.borrow().blocks {
            let expected = usize::from(reach.contains(at) && block.flags & KN_NO_SCAN == 0);
            self.ensure(block.asked == expected, || {
                format!("the block at {at:#x} was looked into {} times, not {expected}", block.asked)
            });
        }
    }

    /// A collection in which nothing can be had, and marks are asked for.
    pub(super) fn collect_asking(&self, what: u8) {
        self.heap().start();
        self.ensure(self.heap().is_locked(), || "a heap that collects is not locked".into());
        self.refuses();
        let var = what % VARS as u8;
        if let Some((at, size)) = self.block_in(var) {
            let block = self.model.borrow().blocks[&at].at;
            // SAFETY: a block of this heap, and the call is without effect.
            let resized = unsafe { self.heap().realloc(block, size + 100, true) };
            self.ensure(resized.is_null(), || "a heap that collects resizes".into());
            // SAFETY: as above.
            unsafe { self.heap().free(block) };
        }
        self.ensure(!self.heap().step(1000), || "a step while a collection is under way".into());
        self.mark_all();
        let reach = self.model.borrow().reach();
        for (at, block) in &self.model.borrow().blocks {
            let marked = self.heap().is_marked(block.at.addr());
            self.ensure(marked == reach.contains(at), || format!("the block at {at:#x} is marked: {marked}"));
            let inside = block.at.addr() + (usize::from(what) % (block.size() - 1) + 1);
            self.ensure(!self.heap().is_marked(inside), || format!("what is inside {at:#x} is marked"));
        }
        self.end_collection();
    }

    /// Nothing can be allocated now.
    fn refuses(&self) {
        let (asked, told) = (self.asked.get(), self.told.get());
        let at = self.heap().alloc(10, 0);
        self.ensure(at.is_null(), || "a heap that collects allocates".into());
        self.ensure(self.asked.get() == asked && self.told.get() == told, || "and calls a hook for that".into());
    }

    fn finalised(&self, block: *mut u8) {
        let at = block.addr();
        let mut plan = self.plan.borrow_mut();
        let Some(plan) = plan.as_mut() else {
            return self.complain(|| format!("{at:#x} is finalised outside of a collection's end"));
        };
        let first = plan.done.is_empty();
        let known = plan.pending.remove(&at);
        self.ensure(known, || {
            let live = plan.reach.contains(&at);
            format!("{at:#x} is finalised; live: {live}, before: {}", plan.done.contains(&at))
        });
        plan.done.insert(at);
        self.tally.borrow_mut().finalised += 1;
        // All that is dead is as it was: the first time, and then some of it.
        let mut random = self.random.borrow_mut();
        {
            let model = self.model.borrow();
            for (other, dead) in &model.blocks {
                if *other == at || first || random.one_in(16) {
                    if let Err(why) = dead.verify() {
                        self.complain(|| format!("while {at:#x} is finalised: {why}"));
                    }
                }
            }
        }
        if random.one_in(8) {
            self.refuses();
        }
        if !self.setup.unruly {
            return;
        }
        // Its own block, another one that is dead, or one that lives.
        let mut model = self.model.borrow_mut();
        let victim = match random.below(6) {
            0 => Some(at),
            1 => model.blocks.keys().copied().find(|other| !plan.reach.contains(other)),
            2 => model.blocks.keys().copied().rfind(|other| !plan.reach.contains(other)),
            3 => {
                let var = random.below(VARS);
                let held = model.in_var(var as u8).filter(|held| *held != self.busy.get());
                if held.is_some() {
                    model.vars[var] = 0;
                }
                held
            }
            _ => None,
        };
        let Some(victim) = victim else { return };
        let Some(gone) = model.blocks.remove(&victim) else { return };
        plan.pending.remove(&victim);
        plan.done.insert(victim);
        self.tally.borrow_mut().freed += 1;
        // SAFETY: a block of this heap that nobody uses any more.
        unsafe { self.heap().free(gone.at) };
    }

    fn traced(&self, at: usize, size: usize) {
        let words: Vec<usize> = {
            let mut model = self.model.borrow_mut();
            let Some(block) = model.blocks.get_mut(&at) else {
                return self.complain(|| format!("what is no block is to be traced: {at:#x}"));
            };
            block.asked += 1;
            self.ensure(size == block.size(), || format!("{at:#x} is traced with {size} bytes"));
            block.slots.iter().map(|&byte| block.word(byte)).collect()
        };
        self.tally.borrow_mut().traced += 1;
        let half = words.len() / 2;
        self.heap().mark(&words[..half]);
        self.heap().mark(&words[half..]);
    }

    fn told_short(&self, report: &KnTracedShort) {
        self.told.set(self.told.get() + 1);
        self.judge_report(report);
    }
}
