//! Verifying: that all records of counted memory agree, and that no count is too small.
//!
//! Guarantees
//! * Finds: a page whose free cells do not add up, a list that is broken, a root whose place is wrong, a
//!   living cell that refers to a dead one, a cell with fewer references counted than there are.
//! * Leaves everything as it was; needs no memory. Trace callbacks run; they must only call GC_visit.
//!
//! ```text
//!   for each edge: its target's count - 1     (below zero: too small)
//!   then the same edges once more:    + 1
//! ```
//! Cost: two passes over all cells and references, one over pages and lists.

use core::sync::atomic::Ordering;

use super::cell::{header, link, COUNT, DEAD, ONE, ROOT, SEARCHED, SPECIAL, STATE};
use super::count::is_living;
use super::pages::owner;
use super::search::Phase;
use super::settings::KnGcStats;
use super::state::Counted;
use crate::heap::KnStatus;
use crate::memory;

impl Counted {
    /// Verifies everything: `Ok` or `Corrupt`. In a callback the references are left out.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub unsafe fn check(this: *mut Self) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let sound = Self::pages_agree(this)
                && Self::roots_agree(this)
                && Self::waiting_agree(this)
                && Self::search_agrees(this)
                && Self::records_agree(this)
                && Self::residents_agree(this)
                && (Self::is_inside(this) || Self::counts_suffice(this));
            if sound {
                KnStatus::Ok
            } else {
                KnStatus::Corrupt
            }
        }
    }

    /// # Safety
    /// As [`Counted::check`].
    unsafe fn roots_agree(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            (*this).roots.deferred <= (*this).roots.len
                && (*this).roots.len <= (*this).roots.room
                && (0..(*this).roots.len).all(|index| {
                    let object = (*this).roots.list.wrapping_add(index).read();
                    let registered = Self::word_of(this, object) & ROOT != 0;
                    registered && owner(object) == this && Self::root_index(this, object) == Some(index)
                })
        }
    }

    /// The word of a cell, wherever it is kept.
    ///
    /// # Safety
    /// `object` is a cell of this state.
    unsafe fn word_of(this: *mut Self, object: *mut u8) -> u32 {
        // SAFETY: the caller's word.
        unsafe {
            let word = (*header(object)).word;
            if word & (SPECIAL | STATE) == SEARCHED {
                Self::saved_word(this, object)
            } else {
                word
            }
        }
    }

    /// # Safety
    /// As [`Counted::check`].
    unsafe fn waiting_agree(this: *mut Self) -> bool {
        // SAFETY: each link is followed only from a cell that waits.
        unsafe {
            let mut object = (*this).waiting;
            let mut count = 0;
            while !object.is_null() {
                if (*header(object)).word & DEAD != DEAD || count == (*this).pending {
                    return false;
                }
                count += 1;
                let next = link(object);
                if next == 0 {
                    break;
                }
                object = memory::at((*this).source.heap(), next);
            }
            count == (*this).pending
        }
    }

    /// Living cells by type, as counted and as found.
    ///
    /// # Safety
    /// As [`Counted::check`].
    unsafe fn records_agree(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let mut found = 0usize;
            let known = Self::each_cell(this, |object| {
                let word = (*header(object)).word;
                found += 1;
                let id = super::cell::type_id(object);
                id != 0 && id < (*this).types && (word & SPECIAL != 0 || word >= ONE)
            });
            let counted: usize = (1..(*this).types)
                .map(|id| {
                    let record = Self::record(this, id);
                    // On bare metal shared cells are counted here, which are in no page.
                    let shared = (*record).has(super::types::SHARED_TYPE);
                    if shared {
                        0
                    } else {
                        (*record).live.load(Ordering::Relaxed)
                    }
                })
                .sum();
            known && found == counted
        }
    }

    /// # Safety
    /// As [`Counted::check`].
    unsafe fn counts_suffice(this: *mut Self) -> bool {
        // SAFETY: the caller's word. The second pass takes back what the first did.
        unsafe {
            let mut edges = 0;
            let sound = Self::each_reference(this, usize::MAX, |child| {
                let enough = Self::word_of(this, child) & COUNT != 0;
                if enough {
                    Self::adjust(this, child, ONE.wrapping_neg());
                    edges += 1;
                }
                enough
            });
            Self::each_reference(this, edges, |child| {
                Self::adjust(this, child, ONE);
                true
            });
            sound
        }
    }

    /// # Safety
    /// `child` is an ordinary cell of this state, or one under search.
    unsafe fn adjust(this: *mut Self, child: *mut u8, by: u32) {
        // SAFETY: the caller's word.
        unsafe {
            if (*header(child)).word & SPECIAL == 0 {
                (*header(child)).word = (*header(child)).word.wrapping_add(by);
            } else {
                Self::adjust_searched(this, child, by);
            }
        }
    }

    /// Calls `visit` with the target of each reference that a living cell holds, if its count is this
    /// state's to know, until it answers false or `most` were seen. Whether it never did.
    ///
    /// # Safety
    /// As [`Counted::check`].
    unsafe fn each_reference(this: *mut Self, most: usize, mut visit: impl FnMut(*mut u8) -> bool) -> bool {
        let mut left = most;
        let mut sound = true;
        // SAFETY: the caller's word.
        unsafe {
            Self::each_cell(this, |object| {
                if (*header(object)).word & DEAD == DEAD {
                    return true;
                }
                Self::each_slot(this, object, |slot| {
                    let child = slot.read();
                    if child.is_null() || !sound || left == 0 {
                        return;
                    }
                    if !is_living(child) {
                        sound = false;
                        return;
                    }
                    let word = (*header(child)).word;
                    let other = word & SPECIAL != 0 && word & (SPECIAL | STATE) != SEARCHED;
                    // Immortal and shared cells are not counted here; another state's are its own business.
                    if other || owner(child) != this {
                        return;
                    }
                    left -= 1;
                    sound = visit(child);
                });
                sound && left > 0
            });
        }
        sound
    }

    /// The numbers of a state.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub unsafe fn stats(this: *mut Self) -> KnGcStats {
        // SAFETY: the caller's word.
        unsafe {
            let total = (*this).page_bytes + (*this).single_bytes;
            let occupied = Self::occupied(this);
            KnGcStats {
                total,
                occupied,
                free: total.saturating_sub(occupied),
                buffers: Self::buffers(this),
                cells: Self::cells(this),
                roots: (*this).roots.len,
                pending: (*this).pending,
                threshold: if (*this).disabled { 0 } else { (*this).threshold as usize },
                trigger: (*this).trip,
                collections: (*this).collections,
                steps: (*this).steps,
                visited: (*this).visited,
                freed: (*this).freed,
                longest: (*this).longest,
            }
        }
    }

    /// Bytes that all cells of this state take.
    ///
    /// # Safety
    /// As [`Counted::stats`].
    unsafe fn occupied(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            (1..(*this).types)
                .map(|id| Self::record(this, id))
                .filter(|&record| !(*record).has(super::types::SHARED_TYPE))
                .map(|record| super::types::Record::occupied(record))
                .sum()
        }
    }

    /// Whether a search is under way.
    ///
    /// # Safety
    /// As [`Counted::stats`].
    pub unsafe fn is_searching(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*this).search.phase != Phase::Idle }
    }
}
