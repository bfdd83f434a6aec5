//! What of counted memory lies in a block of the heap.
//!
//! Guarantees
//! * Reads only, runs no callback, and decides nothing by what a block contains: a block is a page, a cell or
//!   the collector's own because the state has it in its lists.
//! * Shared cells are in no list and not found.
//!
//! ```text
//!   | Page | cells … |      -> Page: its living cells, type by type
//!   | Single | hdr | … |    -> Cell
//!   | roots … |             -> Own: the state itself, its tables
//! ```
//! Cost: O(pages), or O(cells with blocks of their own); of a page, O(cells of it squared).

use core::ptr::null;

use super::cell::{header, type_id, FREE, HEADER};
use super::pages::{Page, FIRST, PAGE, SINGLE_LEAD};
use super::state::Counted;
use super::types::KnTypeId;
use crate::heap::KnHeap;

/// What a block is to a state.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    /// Not of counted memory, or a shared cell.
    Nothing,
    /// A page of cells.
    Page(*const Page),
    /// The block of this cell's own.
    Cell(*const u8),
    /// The collector's own records.
    Own,
}

/// The first cell of a page from `object` on that is not free memory, or null.
///
/// # Safety
/// `page` is a live page, `object` one of its cells or where they end.
unsafe fn taken(page: *const Page, mut object: *const u8) -> *const u8 {
    // SAFETY: the caller's word.
    unsafe {
        let end = page.cast::<u8>().wrapping_add((*page).behind as usize);
        while object < end {
            if (*header(object)).word != FREE {
                return object;
            }
            object = object.wrapping_add((*page).cell as usize);
        }
    }
    null()
}

/// The first cell of a type in a page, and how many it has there; null: none.
///
/// # Safety
/// `page` is a live page, whose cells do not change meanwhile.
#[inline(never)]
unsafe fn of_type(page: *const Page, id: KnTypeId) -> (*const u8, usize) {
    let (mut first, mut count) = (null(), 0);
    // SAFETY: the caller's word.
    unsafe {
        let mut cell = taken(page, cells(page));
        while !cell.is_null() {
            if type_id(cell) == id {
                first = if count == 0 { cell } else { first };
                count += 1;
            }
            cell = taken(page, cell.wrapping_add((*page).cell as usize));
        }
    }
    (first, count)
}

/// Where a page's cells begin.
fn cells(page: *const Page) -> *const u8 {
    page.cast::<u8>().wrapping_add(FIRST + HEADER)
}

impl Counted {
    /// The state that the calling thread has over a heap; null: none. Unlike [`Counted::of`] makes none.
    ///
    /// # Safety
    /// `heap` is live and this thread's, or the process heap.
    pub(crate) unsafe fn known(heap: *mut KnHeap) -> *mut Counted {
        #[cfg(unix)]
        if heap == crate::hosted::process_heap() {
            return crate::port::process_counted().cast();
        }
        // SAFETY: the caller's word.
        unsafe { (*heap).counted.cast() }
    }

    /// What the block whose payload starts at `start` is to this state.
    ///
    /// # Safety
    /// `this` is a live state of this thread, or null.
    pub(crate) unsafe fn find(this: *mut Self, start: *const u8) -> Found {
        if this.is_null() {
            return Found::Nothing;
        }
        // SAFETY: the caller's word; lists hold live pages and cells.
        unsafe {
            let own =
                [this.cast::<u8>(), (*this).records.cast(), (*this).roots.list.cast(), (*this).search.entries.cast()];
            if own.iter().any(|&own| own.cast_const() == start) {
                return Found::Own;
            }
            if start.addr() % PAGE == 0 {
                let mut page = (*this).pages;
                while !page.is_null() {
                    if page.cast::<u8>().cast_const() == start {
                        return Found::Page(page);
                    }
                    page = (*page).all_next;
                }
            }
            let mut single = (*this).singles;
            while !single.is_null() {
                if single.cast::<u8>().cast_const() == start {
                    return Found::Cell(single.cast::<u8>().wrapping_add(SINGLE_LEAD));
                }
                single = (*single).next;
            }
        }
        Found::Nothing
    }

    /// The type with the number `n` in a page, in the order of their first cells, and how many cells it has
    /// there.
    ///
    /// # Safety
    /// `page` is what [`Counted::find`] answered, and nothing has changed since.
    #[inline(never)]
    pub(crate) unsafe fn type_in(page: *const Page, mut n: usize) -> Option<(KnTypeId, usize)> {
        // SAFETY: the caller's word.
        unsafe {
            let mut cell = taken(page, cells(page));
            while !cell.is_null() {
                let id = type_id(cell);
                let (first, count) = of_type(page, id);
                if first == cell {
                    if n == 0 {
                        return Some((id, count));
                    }
                    n -= 1;
                }
                cell = taken(page, cell.wrapping_add((*page).cell as usize));
            }
        }
        None
    }
}
