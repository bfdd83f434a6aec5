//! What the check of always-active data asks of cells: which are resident, what a reference is worth, which cell an
//! address lies in.
//!
//! Guarantees
//! * Nothing is changed. An address is looked up, never followed; a reference out of a cell's slot is.
//!
//! ```text
//!   a slot's reference --> judge --> good | passing | dangling
//!   a word of a block  --> extent --> cell_at: pages, cells with blocks of their own
//! ```
//! Cost: O(1) for a reference, O(pages + large cells) for an address within the extent.

use core::ptr::null_mut;

use super::cell::{header, DEAD, HEADER};
use super::count::is_living;
use super::pages::{Page, FIRST, PAGE, SINGLE_LEAD};
use super::resident::{lasts, Span};
use super::state::Counted;
use super::types::RESIDENT_TYPE;

/// The cell of a page, used or not, whose payload an address lies in; null: none.
///
/// # Safety
/// `page` is a live one.
unsafe fn cell_of_page(page: *mut Page, address: usize) -> *mut u8 {
    // SAFETY: the caller's word.
    unsafe {
        let Page { behind, cell, .. } = page.read();
        let offset = address.wrapping_sub(page.addr());
        if offset < FIRST || offset >= behind as usize || cell == 0 {
            return null_mut();
        }
        let within = (offset - FIRST) % cell as usize;
        if within < HEADER {
            return null_mut();
        }
        page.cast::<u8>().wrapping_add(offset - within + HEADER)
    }
}

/// What a reference of a resident cell turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// To a cell that a resident one may refer to.
    Good,
    /// To a living cell that may go before.
    Passing,
    /// To no living cell.
    Dangling,
}

impl Counted {
    /// Whether a resident type is registered.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(crate) unsafe fn has_residents(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe { !(*this).resident.is_null() }
    }

    /// Whether a cell of this state is resident and alive.
    ///
    /// # Safety
    /// `object` is a cell of this state.
    pub(crate) unsafe fn is_active(this: *mut Self, object: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*Self::record_of(this, object)).has(RESIDENT_TYPE) && is_living(object) }
    }

    /// What a reference that a resident cell holds is worth.
    ///
    /// # Safety
    /// `object` was in a slot of a cell: the 8 bytes before it can be read.
    pub(crate) unsafe fn judge(object: *const u8) -> Reference {
        // SAFETY: the caller's word.
        unsafe {
            if !is_living(object) {
                Reference::Dangling
            } else if lasts(object) {
                Reference::Good
            } else {
                Reference::Passing
            }
        }
    }

    /// The addresses between which all cells of a state lie.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(crate) unsafe fn extent(this: *mut Self) -> core::ops::Range<usize> {
        let mut span = Span::NOWHERE;
        // SAFETY: the lists hold live pages and cells.
        unsafe {
            let mut page = (*this).pages;
            while !page.is_null() {
                span.reach(page.addr(), PAGE);
                page = (*page).all_next;
            }
            for first in [(*this).singles, Self::resident_singles(this)] {
                let mut single = first;
                while !single.is_null() {
                    span.reach(single.addr(), SINGLE_LEAD + (*single).bytes());
                    single = (*single).next;
                }
            }
        }
        span.low..span.high
    }

    /// The living cell whose payload an address lies in; null: in none of this state's. O(pages + large cells).
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(crate) unsafe fn cell_at(this: *mut Self, address: usize) -> *mut u8 {
        // SAFETY: the lists hold live pages and cells.
        unsafe {
            let mut object: *mut u8 = null_mut();
            let mut page = (*this).pages;
            while !page.is_null() && object.is_null() {
                object = cell_of_page(page, address);
                page = (*page).all_next;
            }
            for first in [(*this).singles, Self::resident_singles(this)] {
                let mut single = first;
                while !single.is_null() && object.is_null() {
                    let payload = single.cast::<u8>().wrapping_add(SINGLE_LEAD);
                    if address.wrapping_sub(payload.addr()) < (*single).bytes() - HEADER {
                        object = payload;
                    }
                    single = (*single).next;
                }
            }
            if object.is_null() || (*header(object)).word & DEAD == DEAD {
                return null_mut();
            }
            object
        }
    }
}
