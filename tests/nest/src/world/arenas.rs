//! Scopes and free-standing arenas: their beginning and end, resets, marks.

use super::{blank, Ending, Found, World};
use crate::model::{Aid, Mark, Nest, Root, ROOTS, STANDING};
use crate::shapes::{Shape, SHAPES};
use knoll::arena::{
    KnArena, KnArenaConfig, KnArenaStats, KnLeaveReport, KN_ARENA_CHECK_LEAVE, KN_ARENA_FIXED, KN_ESCAPE_REFUSE,
    KN_RESET_FREE, KN_RESET_KEEP, KN_RESET_LIMIT,
};
use knoll::capi::arena::{
    kn_arena_alloc, kn_arena_create, kn_arena_destroy, kn_arena_enter, kn_arena_innermost, kn_arena_leave,
    kn_arena_mark, kn_arena_parent, kn_arena_reset, kn_arena_reset_to, kn_arena_rewind, kn_arena_stats,
    kn_arena_unwind,
};
use knoll::heap::KnStatus;
use std::ffi::{c_void, CStr};
use std::ptr::{self, null_mut};

/// What an arena may take beyond what is asked for: its record, a segment's header, rounding.
const SLACK: usize = 700;
/// What an arena without a presize begins with.
const BEGIN: usize = 2048;
/// Bytes of an arena's record that are certainly its own.
const RECORD: usize = size_of::<[usize; 8]>();

impl World {
    /// The statistics of an arena.
    pub(super) fn stats(&self, aid: Aid) -> KnArenaStats {
        let mut stats = std::mem::MaybeUninit::<KnArenaStats>::zeroed();
        let ptr = self.model.borrow().arenas[aid].ptr;
        // SAFETY: the arena is alive; all zero is a value of the structure.
        let (status, stats) = unsafe { (kn_arena_stats(ptr, stats.as_mut_ptr()), stats.assume_init()) };
        if status != KnStatus::Ok {
            self.fail(|| format!("statistics of arena {aid}: {status:?}"));
        }
        stats
    }

    /// Where the library has an arena.
    pub(super) fn ptr(&self, aid: Aid) -> *mut KnArena {
        self.model.borrow().arenas[aid].ptr
    }

    /// A new arena's record in the model, and its configuration.
    fn prepare(&self, shape: u8, presize: u16, depth: usize) -> (Aid, KnArenaConfig) {
        let shape: Shape = SHAPES[usize::from(shape) % SHAPES.len()];
        let mut model = self.model.borrow_mut();
        let aid = model.arenas.len();
        let part = |divisor: usize| self.total.checked_div(divisor).unwrap_or(0);
        let config = KnArenaConfig {
            name: shape.name.as_ptr(),
            presize: usize::from(presize) % (self.total / 6),
            budget: part(shape.budget),
            soft: part(shape.soft),
            step: shape.step,
            flags: shape.flags,
            policy: shape.policy,
            on_soft: Some(super::callbacks::soft),
            on_escape: Some(super::callbacks::escaped),
            context: ptr::without_provenance_mut::<c_void>(aid + 1),
        };
        model.arenas.push(Nest {
            ptr: null_mut(),
            shape,
            budget: config.budget,
            depth,
            alive: false,
            items: Vec::new(),
            cleanups: Vec::new(),
            marks: Vec::new(),
            tentatives: Vec::new(),
            print: 0,
            sharp: true,
            loose: false,
        });
        (aid, config)
    }

    pub(super) fn enter(&self, shape: u8, presize: u16) -> Option<Aid> {
        let outer = self.model.borrow().scopes.last().copied();
        let depth = self.model.borrow().scopes.len() + 1;
        if depth > 12 {
            return None;
        }
        let (aid, config) = self.prepare(shape, presize, depth);
        let (print, pages) = (self.print(), self.pages());
        let mut arena = null_mut();
        // SAFETY: the heap is live; so everywhere in this file.
        let status = unsafe { kn_arena_enter(self.heap, &config, &mut arena) };
        if status != KnStatus::Ok {
            if !arena.is_null() || self.print() != print && self.pages() == pages {
                self.fail(|| format!("entering failed with {status:?} and left something: {arena:?}"));
            }
            let bounded = self.is_bounded(outer, beginning(&config))
                || config.budget > 0 && config.budget < config.presize + SLACK;
            self.tally.borrow_mut().refusals += 1;
            match status {
                KnStatus::NoMemory => self.expect_room_for(beginning(&config)),
                KnStatus::Budget if bounded => {}
                _ => self.fail(|| format!("entering says {status:?}")),
            }
            return None;
        }
        let claimed = {
            let mut model = self.model.borrow_mut();
            let nest = &mut model.arenas[aid];
            (nest.ptr, nest.alive, nest.print) = (arena, true, print);
            model.scopes.push(aid);
            model.claim(arena.cast(), RECORD, None, self.is_open())
        };
        if let Err(why) = claimed {
            self.fail(|| format!("the record of a scope: {why}"));
        }
        self.tally.borrow_mut().entered += 1;
        // SAFETY: the arena is alive.
        let (innermost, parent) = unsafe { (kn_arena_innermost(self.heap), kn_arena_parent(arena)) };
        let around = outer.map_or(null_mut(), |outer| self.ptr(outer));
        if innermost != arena || parent.cast_const() != around.cast_const() {
            self.fail(|| format!("entered {arena:?} in {around:?}: innermost {innermost:?}, parent {parent:?}"));
        }
        let stats = self.stats(aid);
        if stats.depth != depth || stats.used != 0 && stats.used > SLACK || stats.presize != config.presize {
            self.fail(|| format!("entered with depth {}, used {}, presize {}", stats.depth, stats.used, stats.presize));
        }
        Some(aid)
    }

    pub(super) fn create(&self, shape: u8, presize: u16) -> Option<Aid> {
        let place = self.model.borrow().standing.iter().position(Option::is_none)?;
        let (aid, config) = self.prepare(shape, presize, 0);
        let (print, pages) = (self.print(), self.pages());
        // SAFETY: as above.
        let arena = unsafe { kn_arena_create(self.heap, &config) };
        if arena.is_null() {
            if self.print() != print && self.pages() == pages {
                self.fail(|| "creating failed and left something".to_owned());
            }
            self.tally.borrow_mut().refusals += 1;
            if config.budget == 0 || config.budget > config.presize + SLACK {
                self.expect_room_for(beginning(&config));
            }
            return None;
        }
        let mut model = self.model.borrow_mut();
        let nest = &mut model.arenas[aid];
        (nest.ptr, nest.alive, nest.print) = (arena, true, print);
        model.standing[place] = Some(aid);
        Some(aid)
    }

    /// The heap must have had no room for an arena's memory.
    fn expect_room_for(&self, bytes: usize) {
        let largest = self.largest();
        let need = bytes + SLACK;
        if largest > need + need / 8 {
            self.fail(|| format!("no memory for {bytes} bytes of an arena, {largest} are free"));
        }
    }

    /// Whether a budget or a fixed size may refuse so many bytes.
    fn is_bounded(&self, aid: Option<Aid>, bytes: usize) -> bool {
        let Some(aid) = aid else { return false };
        let chain: Vec<Aid> = {
            let model = self.model.borrow();
            let depth = model.arenas[aid].depth;
            match depth {
                0 => vec![aid],
                depth => model.scopes.iter().copied().filter(|&other| model.arenas[other].depth <= depth).collect(),
            }
        };
        let fixed = self.model.borrow().arenas[aid].shape.flags & KN_ARENA_FIXED != 0;
        fixed
            || chain.into_iter().any(|aid| {
                let budget = self.model.borrow().arenas[aid].budget;
                budget > 0 && self.stats(aid).held + bytes + SLACK + self.model.borrow().arenas[aid].shape.step > budget
            })
    }

    /// Whether an arena is being ended, and so serves nothing.
    pub(super) fn is_ending(&self, aid: Aid) -> bool {
        self.endings.borrow().iter().any(|ending| ending.aid == aid && ending.begun)
    }

    /// An arena refused a request.
    pub(super) fn refused(&self, aid: Aid, bytes: usize) {
        self.tally.borrow_mut().refusals += 1;
        if self.is_ending(aid) {
            return self.forgive(KnStatus::Order);
        }
        if self.is_bounded(Some(aid), bytes) || !self.ballast.borrow().is_empty() {
            return;
        }
        self.expect_room_for(bytes);
    }

    // ------------------------------------------------------------ the end

    /// Raw stores into what is about to end, where nobody looks for them, are taken back.
    fn scrub(&self, aid: Aid) {
        if self.model.borrow().arenas[aid].shape.flags & KN_ARENA_CHECK_LEAVE != 0 {
            return;
        }
        for root in 0..ROOTS {
            let raw = {
                let model = self.model.borrow();
                let Root { to, raw } = model.roots[root];
                raw && to.is_some_and(|id| model.nodes[id].home == crate::model::Home::In(aid))
            };
            if raw {
                self.model.borrow_mut().roots[root] = Root::default();
                // SAFETY: one of the world's slots.
                unsafe { self.roots.cast::<*mut u8>().add(root).write(null_mut()) };
            }
        }
    }

    /// Whether an arena has escapes, for certain or possibly.
    fn escapes(&self, aid: Aid) -> usize {
        let model = self.model.borrow();
        model.escapes(aid, &model.cells_of(aid, 0)).len()
    }

    pub(super) fn leave(&self, out: usize) -> Option<Aid> {
        let scopes = self.model.borrow().scopes.clone();
        let last = scopes.len().checked_sub(1)?;
        let targets: Vec<Aid> = scopes[last - out % scopes.len()..].iter().rev().copied().collect();
        let outermost = *targets.last()?;
        if let Some(&ending) = targets.iter().find(|&&aid| self.is_ending(aid)) {
            self.abuse(ending);
            return None;
        }
        self.begin(&targets);
        let mut report = blank::<KnLeaveReport>();
        // SAFETY: the arena is alive.
        let status = unsafe { kn_arena_leave(self.ptr(outermost), &mut report) };
        if status != report.status {
            self.fail(|| format!("leave answers {status:?}, its report {:?}", report.status));
        }
        match status {
            KnStatus::Escape => return self.kept_open(&targets, &report),
            KnStatus::Ok if targets.len() == 1 => {}
            KnStatus::Order if targets.len() > 1 => {}
            _ => self.fail(|| format!("leaving {} scopes says {status:?}", targets.len())),
        }
        let text = |name: *const std::ffi::c_char| match name.is_null() {
            true => None,
            // SAFETY: names are static.
            false => Some(unsafe { CStr::from_ptr(name) }),
        };
        let names = {
            let model = self.model.borrow();
            (model.arenas[outermost].shape.name, model.arenas[targets[0]].shape.name)
        };
        let other = (targets.len() > 1).then_some(names.1);
        if text(report.name) != Some(names.0) || text(report.other) != other || report.children != targets.len() - 1 {
            self.fail(|| {
                format!(
                    "left {names:?} with {} others; the report names {:?}, {:?}, {} others",
                    targets.len() - 1,
                    text(report.name),
                    text(report.other),
                    report.children
                )
            });
        }
        if targets.len() > 1 {
            self.forgive(KnStatus::Order);
        }
        self.tally.borrow_mut().with_others += targets.len() - 1;
        let found = self.ended(&targets);
        let told = [report.cleanups, report.destroyed, report.released, report.dropped, report.escapes];
        let known = [found.cleanups, found.destroyed, found.released, found.dropped, found.escapes];
        let (slots, weak) = ([report.promoted, report.nulled], report.weak);
        if told != known || slots != [found.promoted, found.escapes - found.promoted] || weak != found.weak {
            self.fail(|| format!("the report says {told:?}, {slots:?}, {weak}; there were {found:?}"));
        }
        self.gone(&targets, outermost);
        Some(outermost)
    }

    /// The endings of these arenas, innermost first, are what callbacks may belong to.
    fn begin(&self, targets: &[Aid]) {
        targets.iter().for_each(|&aid| self.scrub(aid));
        let mut endings: Vec<Ending> = targets.iter().rev().map(|&aid| self.whole(aid)).collect();
        endings.iter_mut().next_back().into_iter().for_each(|innermost| innermost.begun = true);
        self.endings.borrow_mut().extend(endings);
    }

    /// The call has returned: what is not settled yet is.
    fn ended(&self, targets: &[Aid]) -> Found {
        let mut sum = Found::default();
        while self.endings.borrow().last().is_some_and(|ending| targets.contains(&ending.aid)) {
            self.settle();
        }
        let mut settled = self.settled.borrow_mut();
        settled.retain(|ending| {
            let ours = targets.contains(&ending.aid);
            if ours {
                sum.add(&ending.found);
            }
            !ours
        });
        sum
    }

    /// Scopes have gone: the heap's print must be that of the beginning, and what was done outside.
    fn gone(&self, targets: &[Aid], outermost: Aid) {
        let now = self.print();
        let model = self.model.borrow();
        let (known, sharp) = (model.arenas[outermost].print, model.arenas[outermost].sharp);
        let around = model.scopes.last().map_or(null_mut(), |&aid| model.arenas[aid].ptr);
        drop(model);
        self.tally.borrow_mut().left += targets.len();
        self.expect_print(now, known, sharp, || format!("scope {outermost} was left"));
        // SAFETY: the heap is live.
        let innermost = unsafe { kn_arena_innermost(self.heap) };
        if innermost != around {
            self.fail(|| format!("after a leave {innermost:?} is the innermost scope, not {around:?}"));
        }
    }

    /// What was ended gave back all its memory. What it released, or copied, changed memory outside: then
    /// the difference is the program's.
    fn expect_print(&self, now: u64, known: u64, sharp: bool, when: impl FnOnce() -> String) {
        // A collection under way may have gone on meanwhile.
        let collected = self.open.get() && self.pages() != self.held.get();
        if self.touched.replace(false) || !sharp || collected {
            let change = now.wrapping_sub(known);
            self.model.borrow_mut().account(None, change);
            self.nested.set(self.nested.get().wrapping_add(change));
        } else if now != known {
            self.fail(|| format!("{}, and the heap's used blocks are not those of its beginning", when()));
        } else {
            self.tally.borrow_mut().exact += 1;
        }
    }

    /// A leave was refused: nothing may have changed.
    fn kept_open(&self, targets: &[Aid], report: &KnLeaveReport) -> Option<Aid> {
        self.tally.borrow_mut().kept_open += 1;
        let untouched = {
            let mut endings = self.endings.borrow_mut();
            let from = endings.len() - targets.len();
            endings.split_off(from).iter().all(|ending| ending.found.cleanups + ending.found.destroyed == 0)
        };
        let refuses = |&&aid: &&Aid| self.model.borrow().arenas[aid].shape.policy == KN_ESCAPE_REFUSE;
        let escapes: usize = targets.iter().filter(refuses).map(|&aid| self.escapes(aid)).sum();
        if escapes == 0 || !untouched || report.cleanups + report.destroyed + report.nulled > 0 {
            self.fail(|| format!("a leave was refused with {escapes} escapes; nothing had changed: {untouched}"));
        }
        None
    }

    pub(super) fn unwind(&self, out: usize) -> Option<Aid> {
        let scopes = self.model.borrow().scopes.clone();
        let inside = out.min(scopes.len());
        let upto = scopes.len().checked_sub(inside + 1).map(|index| scopes[index]);
        let targets: Vec<Aid> = scopes[scopes.len() - inside..].iter().rev().copied().collect();
        if targets.iter().any(|&aid| self.is_ending(aid)) {
            return None;
        }
        self.begin(&targets);
        let ptr = upto.map_or(null_mut(), |aid| self.ptr(aid));
        // SAFETY: the heap is live, and so is the arena.
        let status = unsafe { kn_arena_unwind(self.heap, ptr) };
        if status != KnStatus::Ok {
            self.fail(|| format!("unwinding {} scopes says {status:?}", targets.len()));
        }
        self.ended(&targets);
        let outermost = *targets.last()?;
        self.gone(&targets, outermost);
        Some(outermost)
    }

    /// A free-standing arena that a number names.
    fn standing(&self, arena: u8) -> Option<(usize, Aid)> {
        let place = usize::from(arena) % STANDING;
        let aid = self.model.borrow().standing[place]?;
        (!self.is_ending(aid)).then_some((place, aid))
    }

    pub(super) fn reset(&self, arena: u8, mode: u8, limit: usize) -> Option<Aid> {
        let (_, aid) = self.standing(arena)?;
        let before = self.stats(aid);
        self.begin(&[aid]);
        self.endings.borrow_mut().iter_mut().next_back().into_iter().for_each(|ending| ending.fatal = false);
        let mode = u32::from(mode % 4);
        // SAFETY: the arena is alive.
        unsafe {
            match mode {
                3 => kn_arena_reset(self.ptr(aid)),
                mode if kn_arena_reset_to(self.ptr(aid), mode, limit) == KnStatus::Ok => {}
                mode => self.fail(|| format!("a reset by mode {mode} was refused")),
            }
        }
        self.ended(&[aid]);
        self.tally.borrow_mut().emptied += 1;
        self.touched.set(false);
        self.model.borrow_mut().arenas[aid].marks.clear();
        let now = self.stats(aid);
        let held = match mode {
            KN_RESET_FREE => now.held <= before.presize.max(BEGIN).next_multiple_of(8),
            KN_RESET_LIMIT => now.held <= before.presize.max(BEGIN).max(limit).next_multiple_of(8),
            _ => now.held == before.held,
        };
        if now.used > SLACK || !held || now.escapes != 0 {
            self.fail(|| {
                format!("reset by mode {mode}, limit {limit}: used {}, held {} of {}", now.used, now.held, before.held)
            });
        }
        const { assert!(KN_RESET_KEEP == 0 && KN_RESET_FREE == 1 && KN_RESET_LIMIT == 2) };
        Some(aid)
    }

    pub(super) fn destroy(&self, arena: u8) -> Option<Aid> {
        let (place, aid) = self.standing(arena)?;
        self.begin(&[aid]);
        // SAFETY: the arena is alive.
        unsafe { kn_arena_destroy(self.ptr(aid)) };
        self.ended(&[aid]);
        self.tally.borrow_mut().emptied += 1;
        let now = self.print();
        let (known, sharp) = {
            let mut model = self.model.borrow_mut();
            model.standing[place] = None;
            model.arenas[aid].alive = false;
            (model.arenas[aid].print, model.arenas[aid].sharp)
        };
        self.expect_print(now, known, sharp, || format!("arena {aid} was destroyed"));
        Some(aid)
    }

    // ------------------------------------------------------------ marks, cleanups, weak slots

    pub(super) fn mark(&self, arena: u8) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        if self.is_ending(aid) {
            return None;
        }
        let stats = self.stats(aid);
        // SAFETY: the arena is alive.
        let mark = unsafe { kn_arena_mark(self.ptr(aid)) };
        let print = self.print();
        let inner = self.model.borrow().arenas[aid].depth > 0 && self.model.borrow().scopes.last() != Some(&aid);
        let nest = &mut self.model.borrow_mut().arenas[aid];
        nest.marks.push(Mark {
            inner,
            mark,
            items: nest.items.len(),
            cleanups: nest.cleanups.len(),
            tentatives: nest.tentatives.len(),
            print,
            sharp: true,
            used: stats.used,
            held: stats.held,
        });
        None
    }

    pub(super) fn rewind(&self, arena: u8, back: usize) -> Option<Aid> {
        let aid = self.model.borrow().pick(arena)?;
        let inner = self.model.borrow().arenas[aid].depth > 0 && self.model.borrow().scopes.last() != Some(&aid);
        if inner || self.is_ending(aid) {
            return None;
        }
        let (index, mark) = {
            let marks = &self.model.borrow().arenas[aid].marks;
            let index = marks.len().checked_sub(1)? - back % marks.len();
            (index, marks[index])
        };
        self.unlink(aid, mark.items);
        self.scrub(aid);
        let whole = self.whole(aid);
        let ending = Ending {
            begun: true,
            fatal: false,
            items: mark.items,
            cleanups: mark.cleanups,
            tentatives: mark.tentatives,
            ..whole
        };
        self.endings.borrow_mut().push(ending);
        // SAFETY: the arena is alive.
        let status = unsafe { kn_arena_rewind(self.ptr(aid), mark.mark) };
        if status != KnStatus::Ok {
            self.fail(|| format!("rewinding says {status:?}"));
        }
        self.ended(&[aid]);
        self.tally.borrow_mut().rewinds += 1;
        let stats = self.stats(aid);
        let inner_gone = mark.inner && stats.held <= mark.held;
        if stats.used != mark.used || stats.held != mark.held && !inner_gone {
            self.fail(|| {
                format!("rewound to {} of {} bytes, were {} of {}", stats.used, stats.held, mark.used, mark.held)
            });
        }
        // The mark itself still holds; its print as others have changed it meanwhile.
        let (known, sharp) = {
            let marks = &mut self.model.borrow_mut().arenas[aid].marks;
            marks.truncate(index + 1);
            (marks[index].print, marks[index].sharp)
        };
        if inner_gone {
            // What scopes inside held then has gone since.
            let print = self.print();
            let mark = &mut self.model.borrow_mut().arenas[aid].marks[index];
            (mark.print, mark.held, mark.inner) = (print, stats.held, false);
            self.touched.set(false);
            return Some(aid);
        }
        self.expect_print(self.print(), known, sharp, || format!("arena {aid} was rewound"));
        Some(aid)
    }

    /// What a callback must not get from an arena that is being ended.
    pub(super) fn abuse(&self, aid: Aid) {
        let scope = self.model.borrow().arenas[aid].depth > 0;
        let print = self.print();
        let mut report = blank::<KnLeaveReport>();
        // SAFETY: the arena is alive until it has ended.
        unsafe {
            if scope && kn_arena_leave(self.ptr(aid), &mut report) != KnStatus::Order {
                self.fail(|| format!("a scope that is being left was left again: {:?}", report.status));
            }
            if !kn_arena_alloc(self.ptr(aid), 8).is_null() {
                self.fail(|| "an arena that is being ended gave memory".to_owned());
            }
        }
        if self.print() != print {
            self.fail(|| "what was refused has changed the heap".to_owned());
        }
        self.forgive(KnStatus::Order);
    }
}

/// The most that an arena needs at first.
fn beginning(config: &KnArenaConfig) -> usize {
    if config.presize == 0 {
        BEGIN
    } else {
        config.presize
    }
}

impl Found {
    fn add(&mut self, other: &Found) {
        let Found { cleanups, destroyed, released, dropped, escapes, promoted, weak } = *other;
        self.cleanups += cleanups;
        self.destroyed += destroyed;
        self.released += released;
        self.dropped += dropped;
        self.escapes += escapes;
        self.promoted += promoted;
        self.weak += weak;
    }
}
