//! Counted cells in arenas: made, and told apart from those outside.
//!
//! Guarantees
//! * A cell in an arena is zeroed, aligned to 8, and costs no count and no collection.
//! * A cell without references and callbacks costs its header; others a link as well, so that what they refer
//!   to outside is released when the arena ends, and their destroy is called.
//! * An assignment of a cell to a slot that outlives it is counted; one that takes it out is counted back.
//!
//! ```text
//!   slot in the same arena, or in a scope entered later:   inside, not counted
//!   any other slot:                                        an escape
//! ```
//! Cost: O(size) to make; an assignment with a cell of an arena O(scopes inside it), O(1) in its own segment.

use core::ffi::c_char;
use core::ptr::null_mut;

use super::arena::{HOOKS, LEAVING, UNSURE};
use super::config::{KN_ARENA_CHECK_STORES, KN_ARENA_SITES};
use super::segment::Segment;
use super::KnArena;
use crate::counted::scoped::{self, Shape};
use crate::heap::KnStatus;
use crate::port;

impl KnArena {
    /// A new cell of a type: as [`KnArena::new_cell`], by a straight path in the usual case.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn new_plain(this: *mut Self, id: u32) -> *mut u8 {
        // SAFETY: the caller's word; the cell lies in memory that the arena has.
        unsafe {
            if Self::is_alive(this) && (*this).flags & KN_ARENA_SITES == 0 {
                if let Some(plain) = scoped::Plain::of((*this).source.heap(), id) {
                    let at = (*this).at;
                    // An arena that is ending has no room.
                    if plain.bytes() <= (*this).end.addr() - at.addr() {
                        let cell = plain.make(at, (*this).segment.cast());
                        if !cell.is_null() {
                            if plain.is_linked() {
                                let books = Self::books(this);
                                plain.link(cell, (*books).cells);
                                (*books).cells = cell;
                            }
                            (*this).at = at.wrapping_add(plain.bytes());
                            return cell;
                        }
                    }
                }
            }
            Self::new_cell(this, id, 0, core::ptr::null())
        }
    }

    /// A new cell of a type, with at least `bytes` bytes of payload; null without memory, for a type that is
    /// none or can't be here, or when the arena is ending.
    ///
    /// # Safety
    /// `this` is null or an arena's memory; `site` is null or a text that lives for ever.
    #[inline(never)]
    pub unsafe fn new_cell(this: *mut Self, id: u32, bytes: usize, site: *const c_char) -> *mut u8 {
        // SAFETY: the caller's word; the cell lies in new memory of the arena.
        unsafe {
            if !Self::is_alive(this) || Self::has(this, LEAVING) {
                Self::refuse(this, c"GC_newIn: no arena, or one that is ending");
                return null_mut();
            }
            let sites = !site.is_null() && cfg!(target_pointer_width = "64") || (*this).flags & KN_ARENA_SITES != 0;
            let Some(shape) = Shape::of((*this).source.heap(), id, bytes, sites) else { return null_mut() };
            let mut again = false;
            loop {
                let at = Self::alloc(this, shape.bytes());
                if at.is_null() {
                    return at;
                }
                let cell = shape.make(at, (*this).segment.cast(), (*Self::books(this)).cells, site);
                if !cell.is_null() {
                    if shape.is_linked() {
                        (*Self::books(this)).cells = cell;
                        if shape.destroyed {
                            (*this).state |= HOOKS;
                        }
                    }
                    return cell;
                }
                // Too far into a very large segment: in another one, if it is the first time.
                (*this).at = at;
                Self::hide(this);
                if again || !Self::grow(this, shape.bytes(), 8) {
                    return null_mut();
                }
                again = true;
            }
        }
    }

    /// A cell of an arena is stored in a slot by GC_assign.
    ///
    /// # Safety
    /// `cell` is a cell in an arena.
    #[inline(always)]
    pub(crate) unsafe fn stored(slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_near(slot, cell) {
                Self::stored_far(slot, cell);
            }
        }
    }

    /// Whether a slot lies in the same segment as a cell, below which nothing else can lie that is not inside.
    ///
    /// # Safety
    /// As [`KnArena::stored`].
    #[inline(always)]
    unsafe fn is_near(slot: *mut *mut u8, cell: *mut u8) -> bool {
        // SAFETY: the way from a cell leads to its segment; a forwarded one has another number there.
        unsafe {
            scoped::forwarded(cell).is_none() && Segment::spans(scoped::segment(cell).cast::<Segment>(), slot.addr())
        }
    }

    /// [`KnArena::stored`] for a slot elsewhere.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn stored_far(slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: as there.
        unsafe {
            if scoped::forwarded(cell).is_some() {
                return;
            }
            let this = (*scoped::segment(cell).cast::<Segment>()).arena;
            if !Self::is_alive(this) || Self::has_inside(this, slot.addr()) {
                return;
            }
            (*Self::books(this)).escapes += 1;
            if (*this).flags & KN_ARENA_CHECK_STORES != 0 {
                port::report(KnStatus::Escape, slot.cast(), c"GC_assign: a reference into an arena, from outside");
            }
        }
    }

    /// Bytes of the payload of a cell in an arena; 0 if that is no more.
    ///
    /// # Safety
    /// As [`KnArena::stored`].
    pub(crate) unsafe fn size_of_cell(cell: *mut u8) -> usize {
        // SAFETY: as there.
        unsafe {
            let this = (*scoped::segment(cell).cast::<Segment>()).arena;
            if Self::is_alive(this) {
                scoped::size((*this).source.heap(), cell)
            } else {
                0
            }
        }
    }

    /// A reference to a cell of an arena leaves a slot.
    ///
    /// # Safety
    /// As [`KnArena::stored`].
    #[inline(always)]
    pub(crate) unsafe fn overwritten(slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: as there.
        unsafe {
            if !Self::is_near(slot, cell) {
                Self::overwritten_far(slot, cell);
            }
        }
    }

    /// [`KnArena::overwritten`] for a slot elsewhere.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn overwritten_far(slot: *mut *mut u8, cell: *mut u8) {
        // SAFETY: as there.
        unsafe {
            if scoped::forwarded(cell).is_some() {
                return;
            }
            let this = (*scoped::segment(cell).cast::<Segment>()).arena;
            if Self::is_alive(this) && !Self::has_inside(this, slot.addr()) {
                Self::lost(this);
            }
        }
    }

    /// A cell outside that held a reference to one in an arena is destroyed.
    ///
    /// # Safety
    /// As [`KnArena::stored`].
    pub(crate) unsafe fn dropped(cell: *mut u8) {
        // SAFETY: as there.
        unsafe {
            if scoped::forwarded(cell).is_some() {
                return;
            }
            let this = (*scoped::segment(cell).cast::<Segment>()).arena;
            if Self::is_alive(this) {
                Self::lost(this);
            }
        }
    }

    /// One reference from outside less.
    ///
    /// # Safety
    /// `this` is a living arena.
    unsafe fn lost(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            match (*Self::books(this)).escapes {
                // One that nobody counted: leaving has to look.
                0 => (*this).state |= UNSURE,
                escapes => (*Self::books(this)).escapes = escapes - 1,
            }
        }
    }
}
