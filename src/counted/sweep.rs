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
//! Cost: three passes over all cells; where the mark stack overflows, one pass more for each time.
//!
//! Source: JS_RunGC of QuickJS (Bellard), there over a list of all objects; the passes over pages are
//! those of Lins's local mark-scan with every cell as a root.

use core::ptr::null_mut;

use super::cell::{header, ACYCLIC, COUNT, DEAD, IMMORTAL, ONE, PURPLE, ROOT, SPECIAL, STATE};
use super::state::Counted;
use super::trace::{each_named, is_traced};
use crate::heap::KnStatus;
use crate::port;

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
    /// Finds all garbage and puts it before what waits for destruction: how many cells it looked at. A cell
    /// with fewer references counted than there are becomes immortal, and the error hook is told.
    ///
    /// # Safety
    /// No search is under way, nothing waits; [`Counted::enter`] was called.
    pub(super) unsafe fn sweep(this: *mut Self) -> usize {
        // SAFETY: the caller's word; slots of living cells hold cells or null.
        unsafe {
            let mut distrusted = null_mut();
            Self::each_cell(this, |cell| {
                if is_candidate((*header(cell)).word) {
                    Self::each_inner_slot(this, cell, |slot| {
                        let child = slot.read();
                        let word = (*header(child)).word;
                        if word & COUNT == 0 {
                            distrusted = child;
                            return Self::distrust(this, child);
                        }
                        (*header(child)).word = word - ONE;
                    });
                }
                true
            });
            Self::reach_all(this);
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
                    if word & STATE == UNSEEN {
                        Self::sever_garbage(this, cell);
                    } else {
                        (*header(cell)).word = word & !STATE;
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
            (*this).collections += 1;
            if !(*this).traced_types {
                Self::clear_roots(this);
            }
            (*this).unlisted &= (*this).traced_types;
            // The hook is the program's code: not before all is right again.
            if !distrusted.is_null() {
                port::report(KnStatus::Corrupt, distrusted, c"fewer references counted than there are");
            }
            seen
        }
    }

    /// Makes a cell immortal whose count can't be right.
    ///
    /// # Safety
    /// `cell` is a candidate.
    #[cold]
    #[inline(never)]
    unsafe fn distrust(this: *mut Self, cell: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if (*header(cell)).word & ROOT != 0 {
                Self::remove_root(this, cell);
            }
            (*header(cell)).word = IMMORTAL | ACYCLIC;
        }
    }

    /// Calls `visit` with each slot of a cell that refers to a candidate.
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
            each_named(record, cell, |slot| {
                let child = slot.read();
                if !child.is_null() && is_candidate((*header(child)).word) {
                    visit(slot);
                }
            });
        }
    }

    /// Removes the edges of a garbage cell that the collector looks at: their counts are gone already. What
    /// waits was found before it in this pass: nothing waited when the passes began.
    ///
    /// # Safety
    /// As [`Counted::sweep`].
    #[inline(always)]
    unsafe fn sever_garbage(this: *mut Self, cell: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            each_named(Self::record_of(this, cell), cell, |slot| {
                let child = slot.read();
                if !child.is_null() {
                    let word = (*header(child)).word;
                    if is_candidate(word) || word & DEAD == DEAD {
                        slot.write(null_mut());
                    }
                    // It may be held only by what a trace callback would tell of.
                    if (*this).traced_types && is_candidate(word) {
                        (*header(child)).word |= PURPLE;
                        (*this).unlisted = true;
                    }
                }
            });
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
