//! Trial deletion on the whole heap, page by page, in the headers: for when memory is too short to
//! note which cells were seen, or when most cells would be.
//!
//! Guarantees
//! * Finds every garbage cycle of cells that are described by data; a cell with a trace callback counts as
//!   alive, and with it what it refers to.
//! * Needs no memory: a mark stack, if there is some, only saves time. No code of the program's runs.
//!
//! ```text
//!   1  for each edge: target's count - 1            what is left are references from outside
//!   2  count > 0: reached, its edges + 1, and so on over all that it reaches
//!   3  not reached: garbage; its edges are removed (their counts are gone already)
//! ```
//! Cost: three to four passes over all cells; where the mark stack overflows, one pass more for each time.
//!
//! Source: JS_RunGC of QuickJS (Bellard), there over a list of all objects; the passes over pages are
//! those of Lins's local mark-scan with every cell as a root.

use core::ptr::null_mut;

use super::cell::{header, ACYCLIC, COUNT, ONE, ROOT, SPECIAL, STATE};
use super::pages::owner;
use super::state::Counted;
use super::trace::{is_traced, slot, slots};

/// States of ordinary cells during the passes.
const UNSEEN: u32 = 0;
const REACHED: u32 = 1 << 3;
const SCANNED: u32 = 2 << 3;

/// A mark stack in memory that was there.
struct Stack {
    base: *mut *mut u8,
    len: usize,
    room: usize,
    overflowed: bool,
}

/// Whether a word is that of a cell that the passes look at.
#[inline(always)]
fn is_candidate(word: u32) -> bool {
    word & (SPECIAL | ACYCLIC) == 0
}

impl Counted {
    /// Finds all garbage and puts it before what waits for destruction: how many cells. None when a count
    /// is too small for the references there are; then nothing has changed.
    ///
    /// # Safety
    /// No search is under way; [`Counted::enter`] was called.
    pub(super) unsafe fn sweep(this: *mut Self) -> Option<usize> {
        // SAFETY: the caller's word; slots of living cells hold cells or null.
        unsafe {
            let mut edges = 0;
            let sound = Self::each_edge(this, usize::MAX, &mut |child| {
                if (*header(child)).word & COUNT == 0 {
                    return false;
                }
                (*header(child)).word -= ONE;
                edges += 1;
                true
            });
            if !sound {
                Self::each_edge(this, edges, &mut |child| {
                    (*header(child)).word += ONE;
                    true
                });
                return None;
            }
            Self::reach_all(this);
            Self::each_cell(this, |cell| {
                let word = (*header(cell)).word;
                if is_candidate(word) && word & STATE == UNSEEN {
                    Self::each_inner_slot(this, cell, |slot| slot.write(null_mut()));
                }
                true
            });
            let (mut seen, mut found) = (0, 0);
            Self::each_cell(this, |cell| {
                let word = (*header(cell)).word;
                if is_candidate(word) {
                    seen += 1;
                    // One with a trace callback may have lost all its references to what goes.
                    if word & STATE != UNSEEN && word & COUNT != 0 {
                        (*header(cell)).word = word & !STATE;
                        return true;
                    }
                    if word & ROOT != 0 {
                        Self::remove_root(this, cell);
                    }
                    Self::wait(this, cell);
                    found += 1;
                }
                true
            });
            (*this).visited += seen;
            (*this).freed += found;
            (*this).longest = (*this).longest.max(seen);
            (*this).collections += 1;
            if !(*this).traced_types {
                Self::clear_roots(this);
            }
            (*this).unlisted &= (*this).traced_types;
            Some(found)
        }
    }

    /// Calls `visit` with the target of each edge between two candidates, at most `most` times or until it
    /// answers false; always in the same order. Whether all were visited.
    ///
    /// # Safety
    /// As [`Counted::sweep`].
    unsafe fn each_edge(this: *mut Self, most: usize, visit: &mut dyn FnMut(*mut u8) -> bool) -> bool {
        let mut left = most;
        let mut whole = true;
        // SAFETY: the caller's word.
        unsafe {
            Self::each_cell(this, |cell| {
                if is_candidate((*header(cell)).word) {
                    Self::each_inner_slot(this, cell, |slot| {
                        if whole && left > 0 {
                            left -= 1;
                            whole = visit(slot.read());
                        }
                    });
                }
                whole && left > 0
            });
        }
        whole
    }

    /// Calls `visit` with each slot of a cell that refers to a candidate of this state.
    ///
    /// # Safety
    /// As [`Counted::sweep`]; `cell` is a candidate.
    #[inline(always)]
    unsafe fn each_inner_slot(this: *mut Self, cell: *mut u8, mut visit: impl FnMut(*mut *mut u8)) {
        // SAFETY: the caller's word.
        unsafe {
            let record = Self::record_of(this, cell);
            if (*this).traced_types && is_traced(record) {
                return;
            }
            for n in 0..slots(record, cell) {
                let slot = slot(record, cell, n);
                let child = slot.read();
                if !child.is_null() && is_candidate((*header(child)).word) && owner(child) == this {
                    visit(slot);
                }
            }
        }
    }

    /// The second pass.
    ///
    /// # Safety
    /// As [`Counted::sweep`].
    unsafe fn reach_all(this: *mut Self) {
        // SAFETY: the entries' memory is free while no search is under way.
        unsafe {
            if (*this).search.is_empty() {
                Self::prepare_entries(this);
            }
            let (base, room) = (*this).search.lend();
            let mut stack = Stack { base, len: 0, room, overflowed: false };
            Self::each_cell(this, |cell| {
                let word = (*header(cell)).word;
                let alive = || word & COUNT != 0 || (*this).traced_types && is_traced(Self::record_of(this, cell));
                if is_candidate(word) && word & STATE == UNSEEN && alive() {
                    Self::reach_from(this, cell, &mut stack);
                }
                true
            });
            while stack.overflowed {
                stack.overflowed = false;
                Self::each_cell(this, |cell| {
                    let word = (*header(cell)).word;
                    if is_candidate(word) && word & STATE == REACHED {
                        Self::reach_from(this, cell, &mut stack);
                    }
                    true
                });
            }
        }
    }

    /// Restores a living cell's edges, and those of all that it reaches as far as the stack holds.
    ///
    /// # Safety
    /// As [`Counted::sweep`].
    #[inline(always)]
    unsafe fn reach_from(this: *mut Self, cell: *mut u8, stack: &mut Stack) {
        let mut cell = cell;
        // SAFETY: the caller's word; the stack holds `room` cells.
        unsafe {
            loop {
                (*header(cell)).word = (*header(cell)).word & !STATE | SCANNED;
                Self::each_inner_slot(this, cell, |slot| {
                    let child = slot.read();
                    let word = (*header(child)).word + ONE;
                    if word & STATE != UNSEEN {
                        (*header(child)).word = word;
                        return;
                    }
                    (*header(child)).word = word | REACHED;
                    if stack.len == stack.room {
                        stack.overflowed = true;
                        return;
                    }
                    stack.base.wrapping_add(stack.len).write(child);
                    stack.len += 1;
                });
                if stack.len == 0 {
                    return;
                }
                stack.len -= 1;
                cell = stack.base.wrapping_add(stack.len).read();
            }
        }
    }
}
