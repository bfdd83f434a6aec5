//! Garbage that nobody has collected yet, found without touching a header: for reports.
//!
//! Guarantees
//! * Counts, roots, slots, and a search under way are as before; no `destroy` is called. Trace callbacks
//!   are, as by `GC_check`; they must only call GC_visit.
//! * Finds what a full collection would free, and besides the cycles that counting alone leaks: those of
//!   KN_GC_ARC, and those of types that are acyclic by a wrong word.
//! * No recursion; one block of the heap, given back at the end. Without it nothing is told.
//!
//! ```text
//!   marks, found by the cell's address:   | cell | next | previous | piece, state | closing |
//!
//!   Count    every edge of every cell: its target's count - 1     `next` is the count
//!   Spread   count > 0: alive, and all that it reaches            `next` links what is pending
//!   Dive     depth first through what is left, from the roots on: an edge to a cell whose dive is under
//!            way closes a cycle; each edge unites the pieces of its ends
//!            stack:  top | listed | listed | open | listed | open |     `next` down, `previous` up
//!            a listed cell that is met again moves to the top, so that the open ones are the path
//!   Gather   the members of each piece, linked by `next`
//! ```
//! Costs: O(cells + edges), nearly; 32 bytes a cell on 64-bit targets, 27 on 32-bit ones.
//!
//! Sources: trial deletion as in search.rs; the dive is Tarjan's depth-first search ("Depth-first search
//! and linear graph algorithms", 1972) with the pending cells in a list instead of a cursor in each open
//! one, so that each trace callback runs once; pieces by union-find with path halving (Tarjan and van
//! Leeuwen, "Worst-case analysis of set union algorithms", 1984).

use core::ptr::null_mut;

use super::cell::{header, type_id, COUNT, DEAD, RUNNING, SEARCHED, SPECIAL, STATE};
use super::state::Counted;
use super::trace::{by_callback, is_traced, slot, slots};
use super::types::KnTypeId;
use crate::heap::KnStatus;

/// What is known of a cell.
#[repr(C)]
#[derive(Clone, Copy)]
struct Mark {
    /// Null: no mark is here.
    cell: *mut u8,
    next: u32,
    previous: u32,
    /// The number of a mark of the same piece, itself at first; and the state below it.
    piece: u32,
    /// The slot whose reference closed a cycle first in its dive, plus 1; 0: none did.
    closing: u32,
}

const STATE_BITS: u32 = 3;
const STATE_OF: u32 = (1 << STATE_BITS) - 1;
/// Not reached, by life or by a dive.
const UNSEEN: u32 = 0;
const ALIVE: u32 = 1;
/// Waits for destruction: what only it refers to is garbage, but it is not told itself.
const WAITING: u32 = 2;
const LISTED: u32 = 3;
const OPEN: u32 = 4;
const DONE: u32 = 5;
/// The first of a piece that has been shown.
const SHOWN: u32 = 6;

const NONE: u32 = u32::MAX;
/// Most marks: their numbers have to lie above the state.
const MOST: usize = (u32::MAX >> STATE_BITS) as usize;

/// How many cells of a type a piece has.
#[repr(C)]
#[derive(Clone, Copy)]
struct Kind {
    cells: u32,
    /// The type of this piece seen before this one; 0: none.
    next: KnTypeId,
}

/// Garbage cells that are connected, with a cycle among them.
pub(crate) struct Piece {
    kinds: *const Kind,
    first: KnTypeId,
    /// A cell whose slot of that number refers to a cell that leads back to it.
    pub closer: *mut u8,
    pub slot: usize,
}

impl Piece {
    /// The number of cells of each type in it.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (KnTypeId, usize)> + '_ {
        let mut id = self.first;
        core::iter::from_fn(move || {
            if id == 0 {
                return None;
            }
            // SAFETY: a chain of types of the state, whose table lives while the piece is shown.
            let Kind { cells, next } = unsafe { self.kinds.wrapping_add(id as usize).read() };
            let this = id;
            id = next;
            Some((this, cells as usize))
        })
    }
}

/// The marks of all cells of a state.
struct Marks {
    this: *mut Counted,
    marks: *mut Mark,
    /// Marks that the table holds; a third more than there are cells.
    room: usize,
    /// By type.
    kinds: *mut Kind,
    /// First of the cells whose dive has ended, and the last; linked by `previous`.
    done: u32,
    last_done: u32,
    /// Top of the dive's stack.
    top: u32,
    /// A cycle was met in this dive.
    closed: bool,
}

impl Counted {
    /// Calls `visit` with each piece of garbage that holds a cycle, until it answers false: `Ok`, or
    /// `NoMemory` when there is none for the marks. Pieces come in the order of the oldest roots in them,
    /// those without a root last, in the order of cells.
    ///
    /// # Safety
    /// `this` is a live state of this thread; `visit` does not change cells.
    pub(crate) unsafe fn each_garbage_cycle(this: *mut Self, visit: &mut dyn FnMut(&Piece) -> bool) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let Some(mut marks) = Marks::make(this) else { return KnStatus::NoMemory };
            marks.count();
            marks.spread();
            marks.dive();
            marks.gather();
            marks.show(visit);
            (*this).source.give(marks.marks.cast());
        }
        KnStatus::Ok
    }

    /// [`Counted::each_cell`] for reports: one copy of it.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    pub(crate) unsafe fn every_cell(this: *mut Self, visit: &mut dyn FnMut(*mut u8) -> bool) {
        // SAFETY: the caller's word.
        unsafe { Self::each_cell(this, visit) };
    }

    /// Calls `visit` with each reference that a cell holds: the number of its slot, as [`slot`] counts them
    /// and the trace callback after them, and what it refers to. Of a dying cell only what data tells of:
    /// its callbacks expect a living one, or have done their work.
    ///
    /// # Safety
    /// `object` is a cell of this state, alive or waiting; `visit` does not change cells.
    pub(crate) unsafe fn each_reference_of(this: *mut Self, object: *mut u8, visit: &mut dyn FnMut(usize, *mut u8)) {
        // SAFETY: the caller's word.
        unsafe {
            let record = Self::record_of(this, object);
            let named = slots(record, object);
            let mut look = |n: usize, child: *mut u8| {
                if !child.is_null() {
                    visit(n, child);
                }
            };
            for n in 0..named {
                look(n, slot(record, object, n).read());
            }
            if (*this).traced_types && is_traced(record) && (*header(object)).word & DEAD != DEAD {
                let mut n = named;
                by_callback(record, object, &mut |slot| {
                    look(n, slot.read());
                    n += 1;
                });
            }
        }
    }
}

impl Marks {
    /// The marks of all cells, each with its count; None: no memory.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    unsafe fn make(this: *mut Counted) -> Option<Marks> {
        // SAFETY: the caller's word; the block holds what is written.
        unsafe {
            let mut cells = 0usize;
            Counted::every_cell(this, &mut |_| {
                cells += 1;
                true
            });
            let room = cells + cells / 3 + 1;
            if room > MOST {
                return None;
            }
            let types = (*this).types as usize;
            let bytes = room.checked_mul(size_of::<Mark>())?.checked_add(types * size_of::<Kind>())?;
            let marks = (*this).source.take(bytes).cast::<Mark>();
            if marks.is_null() {
                return None;
            }
            let kinds = marks.wrapping_add(room).cast::<Kind>();
            let table = Marks { this, marks, room, kinds, done: NONE, last_done: NONE, top: NONE, closed: false };
            for n in 0..room as u32 {
                table.mark(n).write(Mark { cell: null_mut(), next: 0, previous: NONE, piece: 0, closing: 0 });
            }
            for id in 0..types {
                kinds.wrapping_add(id).write(Kind { cells: 0, next: 0 });
            }
            Counted::every_cell(this, &mut |object| {
                let (state, next) = Self::standing(this, object);
                let n = table.place(object);
                let piece = n << STATE_BITS | state;
                table.mark(n).write(Mark { cell: object, next, previous: NONE, piece, closing: 0 });
                true
            });
            Some(table)
        }
    }

    /// State and count that a cell starts with.
    ///
    /// # Safety
    /// `object` is a cell of the state.
    unsafe fn standing(this: *mut Counted, object: *mut u8) -> (u32, u32) {
        // SAFETY: the caller's word.
        unsafe {
            let word = (*header(object)).word;
            if word & SPECIAL == 0 {
                return (UNSEEN, word >> 5);
            }
            match word & (SPECIAL | STATE) {
                SEARCHED => (UNSEEN, (Counted::saved_word(this, object) & COUNT) >> 5),
                DEAD if word & RUNNING != RUNNING => (WAITING, 0),
                // Immortal, or its destroy has it in its hands.
                _ => (UNSEEN, u32::MAX),
            }
        }
    }

    /// A mark by its number.
    #[inline(always)]
    fn mark(&self, n: u32) -> *mut Mark {
        self.marks.wrapping_add(n as usize)
    }

    /// The number of the mark that a cell has, or would have.
    ///
    /// # Safety
    /// The table is made.
    #[inline(never)]
    unsafe fn place(&self, object: *const u8) -> u32 {
        // Cells lie at multiples of 8; Fibonacci hashing, scaled to the room.
        let hash = ((object.addr() as u64) >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let mut n = ((hash * self.room as u64) >> 32) as u32;
        // SAFETY: numbers below `room`; some mark has no cell.
        unsafe {
            while !(*self.mark(n)).cell.is_null() && (*self.mark(n)).cell.cast_const() != object {
                n += 1;
                if n as usize == self.room {
                    n = 0;
                }
            }
        }
        n
    }

    /// The mark of a cell of this state; None: it belongs elsewhere.
    ///
    /// # Safety
    /// As [`Marks::place`].
    unsafe fn find(&self, object: *const u8) -> Option<u32> {
        // SAFETY: the caller's word.
        unsafe {
            let n = self.place(object);
            (!(*self.mark(n)).cell.is_null()).then_some(n)
        }
    }

    /// # Safety
    /// `n` is the number of a mark.
    #[inline(always)]
    unsafe fn state(&self, n: u32) -> u32 {
        // SAFETY: the caller's word.
        unsafe { (*self.mark(n)).piece & STATE_OF }
    }

    /// # Safety
    /// As [`Marks::state`].
    #[inline(always)]
    unsafe fn set_state(&self, n: u32, state: u32) {
        // SAFETY: the caller's word.
        unsafe { (*self.mark(n)).piece = (*self.mark(n)).piece & !STATE_OF | state }
    }

    /// Calls `visit` with each reference of a cell to one of this state: slot, and number of its mark.
    ///
    /// # Safety
    /// As [`Counted::each_reference_of`], and `n` is the number of a cell's mark.
    #[inline(never)]
    unsafe fn each_edge(&self, n: u32, visit: &mut dyn FnMut(usize, u32)) {
        // SAFETY: the caller's word.
        unsafe {
            Counted::each_reference_of(self.this, (*self.mark(n)).cell, &mut |slot, child| {
                if let Some(target) = self.find(child) {
                    visit(slot, target);
                }
            });
        }
    }

    /// Leaves in `next` of each cell the references that no slot of a cell accounts for.
    ///
    /// # Safety
    /// As [`Counted::each_garbage_cycle`], for all phases.
    unsafe fn count(&self) {
        // SAFETY: the caller's word.
        unsafe {
            for n in 0..self.room as u32 {
                if (*self.mark(n)).cell.is_null() {
                    continue;
                }
                self.each_edge(n, &mut |_, target| {
                    let mark = self.mark(target);
                    (*mark).next = (*mark).next.saturating_sub(1);
                });
            }
        }
    }

    /// Marks what is alive.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn spread(&self) {
        // SAFETY: the caller's word.
        unsafe {
            for n in 0..self.room as u32 {
                let Mark { cell, next, .. } = self.mark(n).read();
                if cell.is_null() || next == 0 || self.state(n) != UNSEEN {
                    continue;
                }
                self.set_state(n, ALIVE);
                (*self.mark(n)).next = NONE;
                let mut pending = n;
                while pending != NONE {
                    let here = pending;
                    pending = (*self.mark(here)).next;
                    self.each_edge(here, &mut |_, target| {
                        if self.state(target) == UNSEEN {
                            self.set_state(target, ALIVE);
                            (*self.mark(target)).next = pending;
                            pending = target;
                        }
                    });
                }
            }
        }
    }

    /// Dives from the roots, and from what they do not reach.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn dive(&mut self) {
        let this = self.this;
        // SAFETY: the caller's word.
        unsafe {
            for index in 0..(*this).roots.len {
                let root = (*this).roots.list.wrapping_add(index).read();
                if let Some(n) = self.find(root) {
                    self.dive_from(n);
                }
            }
            Counted::every_cell(this, &mut |object| {
                if let Some(n) = self.find(object) {
                    self.dive_from(n);
                }
                true
            });
        }
    }

    /// # Safety
    /// As [`Marks::count`].
    unsafe fn dive_from(&mut self, start: u32) {
        // SAFETY: the caller's word; the stack links marks.
        unsafe {
            if self.state(start) != UNSEEN {
                return;
            }
            self.set_state(start, LISTED);
            (*self.mark(start)).next = NONE;
            self.top = start;
            self.closed = false;
            while self.top != NONE {
                let here = self.top;
                if self.state(here) == LISTED {
                    self.set_state(here, OPEN);
                    let this = self.this;
                    Counted::each_reference_of(this, (*self.mark(here)).cell, &mut |slot, child| {
                        if let Some(target) = self.find(child) {
                            self.meet(here, slot, target);
                        }
                    });
                } else {
                    self.end_dive(here);
                }
            }
        }
    }

    /// An edge of the cell whose dive begins.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn meet(&mut self, here: u32, slot: usize, target: u32) {
        // SAFETY: the caller's word.
        unsafe {
            match self.state(target) {
                UNSEEN => self.put_above(here, target),
                LISTED => {
                    let Mark { next, previous, .. } = self.mark(target).read();
                    self.link(previous, next);
                    self.put_above(here, target);
                }
                OPEN if !self.closed => {
                    self.closed = true;
                    (*self.mark(here)).closing = slot as u32 + 1;
                }
                OPEN | DONE => {}
                _ => return,
            }
            let (one, other) = (self.representative(here), self.representative(target));
            let mark = self.mark(one);
            (*mark).piece = other << STATE_BITS | (*mark).piece & STATE_OF;
        }
    }

    /// Lists a cell right above an open one: what its earlier slots refer to stays before it.
    ///
    /// # Safety
    /// `here` is in the stack, `target` is not.
    unsafe fn put_above(&mut self, here: u32, target: u32) {
        // SAFETY: the caller's word.
        unsafe {
            self.set_state(target, LISTED);
            let above = (*self.mark(here)).previous;
            self.link(above, target);
            self.link(target, here);
        }
    }

    /// Makes two places of the stack neighbours; above NONE is the top's place.
    ///
    /// # Safety
    /// As [`Marks::count`].
    #[inline(never)]
    unsafe fn link(&mut self, above: u32, below: u32) {
        // SAFETY: the caller's word.
        unsafe {
            if above == NONE {
                self.top = below;
            } else {
                (*self.mark(above)).next = below;
            }
            if below != NONE {
                (*self.mark(below)).previous = above;
            }
        }
    }

    /// The open cell on top has nothing above it any more.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn end_dive(&mut self, here: u32) {
        // SAFETY: the caller's word.
        unsafe {
            self.link(NONE, (*self.mark(here)).next);
            self.set_state(here, DONE);
            (*self.mark(here)).next = NONE;
            if self.last_done == NONE {
                self.done = here;
            } else {
                (*self.mark(self.last_done)).previous = here;
            }
            (*self.mark(here)).previous = NONE;
            self.last_done = here;
        }
    }

    /// The cell that stands for the piece of another.
    ///
    /// # Safety
    /// As [`Marks::state`].
    #[inline(never)]
    unsafe fn representative(&self, n: u32) -> u32 {
        let mut n = n;
        // SAFETY: the caller's word; pieces name marks.
        unsafe {
            loop {
                let parent = (*self.mark(n)).piece >> STATE_BITS;
                if parent == n {
                    return n;
                }
                let beyond = (*self.mark(parent)).piece & !STATE_OF;
                (*self.mark(n)).piece = beyond | self.state(n);
                n = beyond >> STATE_BITS;
            }
        }
    }

    /// Links the members of each piece.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn gather(&self) {
        // SAFETY: the caller's word.
        unsafe {
            let mut n = self.done;
            while n != NONE {
                let first = self.representative(n);
                if first != n {
                    (*self.mark(n)).next = (*self.mark(first)).next;
                    (*self.mark(first)).next = n;
                }
                n = (*self.mark(n)).previous;
            }
        }
    }

    /// Shows each piece with a cycle.
    ///
    /// # Safety
    /// As [`Marks::count`].
    unsafe fn show(&self, visit: &mut dyn FnMut(&Piece) -> bool) {
        // SAFETY: the caller's word.
        unsafe {
            let mut n = self.done;
            while n != NONE {
                let first = self.representative(n);
                if self.state(first) != SHOWN {
                    self.set_state(first, SHOWN);
                    let piece = self.piece(first);
                    if !piece.closer.is_null() && !visit(&piece) {
                        return;
                    }
                    self.forget(piece.first);
                }
                n = (*self.mark(n)).previous;
            }
        }
    }

    /// Counts a piece.
    ///
    /// # Safety
    /// As [`Marks::count`]; no other piece's kinds are counted now.
    #[inline(never)]
    unsafe fn piece(&self, first: u32) -> Piece {
        let mut piece = Piece { kinds: self.kinds, first: 0, closer: null_mut(), slot: 0 };
        // SAFETY: the caller's word; cells have types of the state.
        unsafe {
            let mut n = first;
            while n != NONE {
                let Mark { cell, next, closing, .. } = self.mark(n).read();
                let id = type_id(cell);
                let kind = self.kinds.wrapping_add(id as usize);
                if (*kind).cells == 0 {
                    (*kind).next = piece.first;
                    piece.first = id;
                }
                (*kind).cells += 1;
                // The last one is that of the earliest dive.
                if closing != 0 {
                    piece.closer = cell;
                    piece.slot = closing as usize - 1;
                }
                n = next;
            }
        }
        piece
    }

    /// Counts start from zero again.
    ///
    /// # Safety
    /// `first` begins a chain of types.
    unsafe fn forget(&self, first: KnTypeId) {
        let mut id = first;
        while id != 0 {
            let kind = self.kinds.wrapping_add(id as usize);
            // SAFETY: the caller's word.
            unsafe {
                (*kind).cells = 0;
                id = (*kind).next;
            }
        }
    }
}
