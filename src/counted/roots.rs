//! Roots: cells that lost a reference and live on, so a cycle may be all that holds them.
//!
//! Guarantees
//! * A cell is registered when a reference to it is removed, never when one is made; at most once; and
//!   only if its type can be part of a cycle.
//! * A registered cell that is freed leaves the list in O(1): its place is in its header.
//! * A root that memory is too short to register is not forgotten: the next full collection looks at
//!   everything.
//!
//! ```text
//!   list:  | r0 r1 r2 | r3 r4 r5 r6 |            kind of r4: | 4 | … type |
//!            deferred    fresh       len          the index's low 16 bits
//! ```
//! *Deferred* roots were looked at, but not far enough to tell; the next look at the whole graph has them.
//! With more than 65,536 roots, removal tries one more place for each 65,536 of them. A cell with a block of
//! its own has its index in the block's record.
//!
//! Source: the removal by an index in the cell is Nim's (lib/system/orc.nim); here it needs no field.

use core::ptr::null_mut;

use super::cell::{header, reseal, ACYCLIC, PURPLE, ROOT, SINGLE, SPECIAL};
use super::pages::single_of;
use super::state::Counted;

/// The list of roots.
#[repr(C)]
pub(crate) struct Roots {
    pub list: *mut *mut u8,
    pub len: usize,
    pub room: usize,
    /// The first so many were looked at by a collection that could not see enough.
    pub deferred: usize,
}

/// Roots for which there is room at first.
const FIRST_ROOM: usize = 32;
/// Room that is kept between collections.
const KEPT_ROOM: usize = 1024;

impl Counted {
    /// Registers a cell that is none of the roots; false for want of memory.
    ///
    /// # Safety
    /// `object` is an ordinary cell of this state.
    #[inline(always)]
    pub(super) unsafe fn push_root(this: *mut Self, object: *mut u8) -> bool {
        // SAFETY: the caller's word; the list has room for the entry.
        unsafe {
            let index = (*this).roots.len;
            if index == (*this).roots.room && !Self::grow_roots(this) {
                (*this).unlisted = true;
                return false;
            }
            (*this).roots.len = index + 1;
            let head = header(object);
            (*head).word |= ROOT;
            Self::place_root(this, index, object);
            true
        }
    }

    /// Puts a root in its place.
    ///
    /// # Safety
    /// `index` is a place of the list, `object` a cell.
    #[inline(always)]
    unsafe fn place_root(this: *mut Self, index: usize, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).roots.list.wrapping_add(index).write(object);
            let head = header(object);
            if (*head).kind & SINGLE != 0 {
                (*single_of(object)).root = index as u32;
            } else {
                (*head).kind = (*head).kind & 0xFFFF | (index as u32) << 16;
            }
        }
    }

    /// # Safety
    /// `this` is a live state.
    #[cold]
    #[inline(never)]
    unsafe fn grow_roots(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            // What little a search needs is taken in time: when memory is short it finds some of it.
            if (*this).search.is_empty() {
                Self::prepare_entries(this);
            }
            let mut room = (*this).roots.room.saturating_mul(2).max(FIRST_ROOM);
            loop {
                let list = (*this).source.resize((*this).roots.list.cast(), room * size_of::<*mut u8>());
                if !list.is_null() {
                    (*this).roots.list = list.cast();
                    (*this).roots.room = room;
                    return true;
                }
                // A little more may still be had.
                if room <= (*this).roots.room + 8 {
                    return false;
                }
                room = (*this).roots.room + 8;
            }
        }
    }

    /// The index of a registered cell, if it is one.
    ///
    /// # Safety
    /// `this` is a live state, the header at `object` can be read.
    pub(super) unsafe fn root_index(this: *mut Self, object: *const u8) -> Option<usize> {
        // SAFETY: the caller's word; indices below `len` are in the list.
        unsafe {
            let kind = (*header(object)).kind;
            let low = if kind & SINGLE != 0 { (*single_of(object)).root } else { kind >> 16 } as usize;
            let mut index = low;
            while index < (*this).roots.len {
                if (*this).roots.list.wrapping_add(index).read().cast_const() == object {
                    return Some(index);
                }
                index += 1 << 16;
            }
            None
        }
    }

    /// Takes a cell out of the list and puts its seal back. Its `word` is the caller's to change.
    ///
    /// # Safety
    /// `object` is a registered cell of this state.
    pub(super) unsafe fn remove_root(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word; every index used is below `len`.
        unsafe {
            let Some(mut hole) = Self::root_index(this, object) else { return };
            let list = (*this).roots.list;
            if hole < (*this).roots.deferred {
                (*this).roots.deferred -= 1;
                let last = (*this).roots.deferred;
                if last != hole {
                    Self::place_root(this, hole, list.wrapping_add(last).read());
                }
                hole = last;
            }
            (*this).roots.len -= 1;
            let last = (*this).roots.len;
            if last != hole {
                Self::place_root(this, hole, list.wrapping_add(last).read());
            }
            reseal(object);
        }
    }

    /// Registers the candidates that could not be, now that there may be memory.
    ///
    /// # Safety
    /// No search is under way.
    pub(super) unsafe fn list_unlisted(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).unlisted = !Self::each_cell(this, |cell| {
                let word = (*header(cell)).word;
                word & (SPECIAL | ACYCLIC | ROOT | PURPLE) != PURPLE || Self::push_root(this, cell)
            });
        }
    }

    /// The last root was looked at and could not be decided: it joins those in front, so that the next
    /// look has others.
    ///
    /// # Safety
    /// There is one.
    pub(super) unsafe fn defer_last_root(this: *mut Self) {
        // SAFETY: both indices are below `len`.
        unsafe {
            let list = (*this).roots.list;
            let last = (*this).roots.len - 1;
            let front = (*this).roots.deferred.min(last);
            let (a, b) = (list.wrapping_add(last).read(), list.wrapping_add(front).read());
            Self::place_root(this, front, a);
            Self::place_root(this, last, b);
            (*this).roots.deferred = front + 1;
        }
    }

    /// Takes the last root out of the list, its header as it is but for the seal.
    ///
    /// # Safety
    /// There is one.
    pub(super) unsafe fn pop_root(this: *mut Self) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            (*this).roots.len -= 1;
            (*this).roots.deferred = (*this).roots.deferred.min((*this).roots.len);
            let object = (*this).roots.list.wrapping_add((*this).roots.len).read();
            reseal(object);
            object
        }
    }

    /// Forgets all roots.
    ///
    /// # Safety
    /// No cell is under search.
    pub(super) unsafe fn clear_roots(this: *mut Self) {
        // SAFETY: what is in the list are cells.
        unsafe {
            for _ in 0..(*this).roots.len {
                let object = Self::pop_root(this);
                (*header(object)).word &= !ROOT;
            }
        }
    }

    /// Gives memory back that a long list needed.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn trim_roots(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).roots.len == 0 && (*this).roots.room > KEPT_ROOM {
                (*this).source.give((*this).roots.list.cast());
                (*this).roots.list = null_mut();
                (*this).roots.room = 0;
            }
        }
    }
}
