//! What others do to the cells of a search: the program between two steps, and the rest of the library.
//!
//! Guarantees
//! * A cell of the set is counted as any other: its word lies in its entry, and is exact.
//! * GC_ref, GC_unref, GC_assign and GC_move mark it as touched: the search holds it for alive.
//! * One that dies leaves the set, and what it referred to is held for alive: it may wait with its references.
//! * A trace callback that jumps away ends the search; its roots are roots again.
//!
//! ```text
//!   | 1 | index | 10 … |  --index-->  entry: cell, word, trial        the write barrier is the sign bit,
//!                                                                     which counting looks at anyway
//! ```
//! Cost: O(1); O(slots) for a cell that dies, O(set) for a jump.

use core::ptr::null_mut;

use super::cell::{header, COUNT, ONE, PURPLE, ROOT, SEARCHED, SPECIAL, STATE};
use super::search::{Phase, COLOUR, GRAY};
use super::state::Counted;
use crate::heap::KnStatus;
use crate::port;

impl Counted {
    /// GC_ref on a cell of the set.
    ///
    /// # Safety
    /// `object` is a cell of this state whose word says SEARCHED.
    pub(super) unsafe fn searched_ref(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if let Some(index) = Self::entry_of(this, object, (*header(object)).word) {
                let entry = Self::entry(this, index);
                if (*entry).word & COUNT < COUNT - ONE {
                    (*entry).word = ((*entry).word & !PURPLE) + ONE;
                }
                Self::touched(this, object);
            }
        }
    }

    /// GC_unref on a cell of the set.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`].
    pub(super) unsafe fn searched_release(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let Some(index) = Self::entry_of(this, object, (*header(object)).word) else { return };
            let entry = Self::entry(this, index);
            if (*entry).word & COUNT <= ONE {
                Self::leave_search(this, object);
                return Self::die(this, object);
            }
            (*entry).word = ((*entry).word - ONE) | PURPLE;
            Self::touched(this, object);
            // The program works: so does the collector.
            if (*this).roots.len >= (*this).trip {
                Self::tripped(this);
            }
        }
    }

    /// The program has a cell of the set in its hands: it lives.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`].
    pub(super) unsafe fn touched(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let Some(index) = Self::entry_of(this, object, (*header(object)).word) else { return };
            if (*Self::entry(this, index)).word & COLOUR != GRAY {
                return;
            }
            if (*this).search.phase <= Phase::Blacken {
                (*this).search.total -= (*Self::entry(this, index)).trial as usize;
                return Self::revive_entry(this, index);
            }
            port::report(KnStatus::Order, object, c"a reference left a slot without GC_move while cells were searched");
        }
    }

    /// The word that a cell of the set had and will have.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`].
    pub(super) unsafe fn searched_word(this: *mut Self, object: *const u8) -> u32 {
        // SAFETY: the caller's word.
        unsafe {
            match Self::entry_of(this, object.cast_mut(), (*header(object)).word) {
                Some(index) => (*Self::entry(this, index)).word & COUNT,
                None => 0,
            }
        }
    }

    /// The word of a cell of the set, flags included.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`].
    pub(super) unsafe fn saved_word(this: *mut Self, object: *mut u8) -> u32 {
        // SAFETY: the caller's word.
        unsafe {
            match Self::entry_of(this, object, (*header(object)).word) {
                Some(index) => (*Self::entry(this, index)).word,
                None => 0,
            }
        }
    }

    /// Whether each entry's cell knows it.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn search_agrees(this: *mut Self) -> bool {
        // SAFETY: entries below `len` are live.
        unsafe {
            (*this).search.phase == Phase::Idle
                || (0..(*this).search.len).all(|index| {
                    let cell = (*Self::entry(this, index)).cell;
                    cell.is_null() || (*header(cell)).word == SEARCHED | (index as u32) << 5
                })
        }
    }

    /// Memory for entries, so that the passes over the heap have a mark stack; without it they do too.
    ///
    /// # Safety
    /// No search is under way.
    pub(super) unsafe fn prepare_entries(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            Self::grow_search(this);
        }
    }

    /// Bytes of the collector's own: roots, entries, types, the state.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn buffers(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            size_of::<Self>()
                + (*this).search.bytes()
                + (*this).roots.room * size_of::<*mut u8>()
                + (*this).type_room as usize * size_of::<super::types::Record>()
        }
    }

    /// Adds to, or takes from, the count of a cell of the set, unseen by the search.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`]; the count allows it.
    pub(super) unsafe fn adjust_searched(this: *mut Self, object: *mut u8, by: u32) {
        // SAFETY: the caller's word.
        unsafe {
            if let Some(index) = Self::entry_of(this, object, (*header(object)).word) {
                let entry = Self::entry(this, index);
                (*entry).word = (*entry).word.wrapping_add(by);
            }
        }
    }

    /// A cell is about to die, or ends: it leaves the set.
    ///
    /// # Safety
    /// As [`Counted::searched_ref`], or the cell is special in another way: then nothing happens.
    pub(super) unsafe fn leave_search(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let word = (*header(object)).word;
            if word & (SPECIAL | STATE) != SEARCHED {
                return;
            }
            let Some(index) = Self::entry_of(this, object, word) else { return };
            // It may wait: what it refers to is alive until it is destroyed. A trace callback finds the library
            // at work, so that what it calls does not search or destroy.
            // Its destroy may bring it back, to become garbage in this very search: then these lose a reference
            // that was not looked at.
            if (*this).search.phase <= Phase::Blacken {
                (*this).search.uncertain = true;
                let entered = Self::enter(this);
                Self::each_slot(this, object, |slot| Self::reach(this, slot));
                if entered {
                    Self::relinquish(this);
                }
            }
            let entry = Self::entry(this, index);
            if (*entry).word & COLOUR == GRAY {
                (*this).search.total -= (*entry).trial as usize;
                (*entry).trial = 0;
            }
            (*header(object)).word = (*entry).word & (COUNT | ROOT);
            (*entry).cell = null_mut();
            // If it was being scanned, the next one starts at its first slot.
            let scanned = match (*this).search.phase {
                Phase::Blacken => (*this).search.current as usize,
                _ => (*this).search.cursor,
            };
            if index == scanned {
                (*this).search.next_slot = 0;
            }
        }
    }

    /// Puts a search right whose trace callback was jumped away from: what was decided stands, what was
    /// not is given up, and its roots are roots again.
    ///
    /// # Safety
    /// No callback runs.
    pub(super) unsafe fn recover_search(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).search.in_callback && (*this).search.phase < Phase::Sever {
                for index in 0..(*this).search.len {
                    if !(*Self::entry(this, index)).cell.is_null() {
                        Self::give_word_back(this, index, true);
                    }
                }
                Self::end_search(this);
            }
            // A cell whose slots were removed in part is done again: null slots change nothing.
            (*this).search.in_callback = false;
        }
    }
}
