//! What happens to what is in an arena when it ends, or a part of it does.
//!
//! Guarantees
//! * Everything is done once, the newest first: cleanups, then the destroy callbacks of cells, then
//!   tentative objects and references to the outside are released, then what still refers inside is dealt
//!   with (`escape.rs`), then weak slots become NULL.
//! * Cleanups and callbacks find everything in the arena as it was; they may use every other memory, open
//!   and leave scopes of their own, and can't keep the arena from ending.
//! * One that jumps away leaves the arena ending: the next call that ends it goes on behind it.
//! * The same holds for leaving, resetting, rewinding and destroying: no way out skips a cleanup.
//!
//! ```text
//!   cleanups:  newest -> … -> | mark | -> …       a tail is what came after a mark; leaving: all
//!   cells:     newest -> … -> | mark | -> …       linked: those that refer to others, or have a destroy
//! ```
//! Cost: O(1) when there is nothing of the kind; else O(cleanups + linked cells + their references).

use core::ffi::c_void;

#[cfg(feature = "counted")]
use super::arena::HOOKS;
use super::arena::{BOOKED, LEAVING, NODES, SCOPE, UNSURE, WHOLE};
#[cfg(feature = "counted")]
use super::config::KN_ESCAPE_NULL;
use super::config::{KnLeaveReport, KN_ARENA_CHECK_LEAVE};
use super::segment::Place;
use super::KnArena;
use crate::heap::KnStatus;
use crate::port::Callback;

/// Something to be done when an arena ends; the memory is the program's, in the arena or not.
#[repr(C)]
pub struct KnCleanup {
    /// The library's.
    pub next: *mut KnCleanup,
    /// Called once, with `context`.
    pub run: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// Given to `run`.
    pub context: *mut c_void,
    /// The library's.
    pub order: usize,
}

/// The part of an arena that ends: what came behind a place and after a mark.
#[derive(Clone, Copy)]
pub(super) struct Tail {
    pub place: Place,
    /// The number of the mark.
    pub tick: usize,
    /// It is all of the arena.
    pub whole: bool,
}

impl Tail {
    /// All of an arena.
    ///
    /// # Safety
    /// `arena` is living.
    pub unsafe fn whole(arena: *mut KnArena) -> Tail {
        // SAFETY: the caller's word.
        Tail { place: unsafe { KnArena::beginning(arena) }, tick: 0, whole: true }
    }

    /// Whether an address lies in it.
    ///
    /// # Safety
    /// `arena` is the one that this is a tail of.
    #[inline(always)]
    pub unsafe fn spans(&self, arena: *const KnArena, address: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe { KnArena::spans(arena, self.place.segment, self.place.at, address) }
    }
}

impl KnArena {
    /// Adds a cleanup: `Ok`, or `Invalid` for a bad node, one in memory that may end before the arena too, `Order` for an arena that is no more or ending.
    ///
    /// # Safety
    /// `this` is null or an arena's memory, `node` null or writable until it was run.
    pub unsafe fn on_leave(this: *mut Self, node: *mut KnCleanup) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_alive(this) || Self::has(this, LEAVING) {
                return Self::refuse(this, c"kn_arena_on_leave: no arena, or one that is ending");
            }
            if node.is_null() || (*node).run.is_none() || Self::ends_before(this, node.addr()) {
                return KnStatus::Invalid;
            }
            let books = Self::books(this);
            (*node).next = (*books).cleanups;
            (*node).order = (*books).tick;
            (*books).cleanups = node;
            KnStatus::Ok
        }
    }

    /// Whether nothing but memory has to go.
    ///
    /// # Safety
    /// `this` is a living arena.
    #[inline(always)]
    pub(super) unsafe fn is_plain(this: *const Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            (*this).flags & KN_ARENA_CHECK_LEAVE == 0 && (!Self::has(this, BOOKED) || Self::has_empty_books(this))
        }
    }

    /// [`KnArena::is_plain`] for one whose books are open.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    unsafe fn has_empty_books(this: *const Self) -> bool {
        // SAFETY: as there.
        unsafe {
            let books = Self::books(this);
            let nothing = (*books).cleanups.is_null()
                && (*books).cells.is_null()
                && (*books).tentative.is_null()
                && (*books).weak.is_null();
            nothing && (*books).escapes == 0 && !Self::has(this, UNSURE | NODES)
        }
    }

    /// Runs code of the program's, and leaves the scopes that it left open inside this one.
    ///
    /// # Safety
    /// `this` is a living arena whose state the next call may find.
    unsafe fn run(this: *mut Self, callback: impl FnOnce()) {
        // SAFETY: the caller's word.
        unsafe {
            Callback::run(&raw mut (*Self::books(this)).callback, callback);
            if Self::has(this, SCOPE) {
                Self::leave_opened(this);
            }
        }
    }

    /// Whether the call comes from one of the arena's callbacks: a cleanup, a hook, a destroy of its cells.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn is_calling(this: *const Self) -> bool {
        // SAFETY: the caller's word.
        unsafe { Self::has(this, BOOKED) && Callback::is_under_way(&raw const (*Self::books(this)).callback) }
    }

    /// Starts the end of a tail, or goes on with one that was jumped away from: no allocation is served from
    /// now on.
    ///
    /// # Safety
    /// `this` is a living arena that no call further up ends.
    pub(super) unsafe fn begin_end(this: *mut Self, whole: bool) {
        // SAFETY: the caller's word.
        unsafe {
            let books = Self::books(this);
            Self::note_peak(this);
            if !Self::has(this, LEAVING) {
                (*books).hooks = (*books).cells;
            }
            (*books).callback.forget();
            (*this).state |= LEAVING | if whole { WHOLE } else { 0 };
            (*this).end = (*this).at;
        }
    }

    /// Does all that is to be done before the memory of a tail goes.
    ///
    /// # Safety
    /// [`KnArena::begin_end`] was called.
    pub(super) unsafe fn end_tail(this: *mut Self, tail: Tail, report: &mut KnLeaveReport) {
        // SAFETY: nodes are the program's until they were run; linked cells are alive.
        unsafe {
            let books = Self::books(this);
            while !(*books).cleanups.is_null() && (tail.whole || (*(*books).cleanups).order >= tail.tick) {
                let KnCleanup { next, run, context, .. } = (*books).cleanups.read();
                (*books).cleanups = next;
                report.cleanups += 1;
                if let Some(run) = run {
                    Self::run(this, || run(context));
                }
            }
            #[cfg(feature = "counted")]
            {
                if Self::has(this, HOOKS) {
                    Self::destroy_cells(this, tail, report);
                }
                Self::drop_tentative(this, tail, report);
                let checks = (*this).flags & KN_ARENA_CHECK_LEAVE != 0 || Self::has(this, UNSURE);
                // Cells older than a mark may refer to what ends, and nobody counts that.
                if (*books).escapes != 0 || checks || !tail.whole {
                    Self::settle_escapes(this, tail, report, (*this).config.policy);
                }
                Self::release_cells(this, tail, report);
                if (*books).escapes != 0 && tail.whole {
                    // Stored meanwhile.
                    Self::settle_escapes(this, tail, report, KN_ESCAPE_NULL);
                }
            }
            #[cfg(not(feature = "counted"))]
            if (*this).flags & KN_ARENA_CHECK_LEAVE != 0 {
                Self::settle_escapes(this, tail, report, (*this).config.policy);
            }
            if !(*books).weak.is_null() {
                Self::clear_weak(this, tail, report);
            }
            if Self::has(this, NODES) {
                Self::forget_nodes(this, tail);
            }
        }
    }

    /// Calls the destroy of each cell in the tail, the newest first.
    ///
    /// # Safety
    /// As [`KnArena::end_tail`].
    #[cfg(feature = "counted")]
    unsafe fn destroy_cells(this: *mut Self, tail: Tail, report: &mut KnLeaveReport) {
        use crate::counted::scoped;
        // SAFETY: linked cells are alive.
        unsafe {
            let books = Self::books(this);
            while !(*books).hooks.is_null() && tail.spans(this, (*books).hooks.addr()) {
                let cell = (*books).hooks;
                (*books).hooks = scoped::next(cell);
                if let Some(destroy) = (*scoped::descriptor((*this).source.heap(), cell)).destroy {
                    report.destroyed += 1;
                    Self::run(this, || destroy(cell.cast()));
                }
            }
        }
    }

    /// Releases what the cells of the tail refer to outside. What is destroyed by that may store references in
    /// cells that were released already: then all are looked at again.
    ///
    /// # Safety
    /// As [`KnArena::end_tail`].
    #[cfg(feature = "counted")]
    unsafe fn release_cells(this: *mut Self, tail: Tail, report: &mut KnLeaveReport) {
        use crate::counted::scoped;
        // SAFETY: linked cells are alive, and stay in the list until all are released: after a callback that
        // jumps away this is done again. A slot is null before its reference goes.
        unsafe {
            let books = Self::books(this);
            let heap = (*this).source.heap();
            loop {
                let calls = scoped::calls(heap);
                let mut released = 0;
                let mut cell = (*books).cells;
                while !cell.is_null() && tail.spans(this, cell.addr()) {
                    Self::release_cell(this, cell, &mut released);
                    cell = scoped::next(cell);
                }
                report.released += released;
                if released == 0 || scoped::calls(heap) == calls {
                    (*books).cells = cell;
                    (*books).hooks = cell;
                    break;
                }
            }
            // A release may have run the program's code.
            if Self::has(this, SCOPE) {
                Self::leave_opened(this);
            }
        }
    }

    /// Releases what one cell refers to outside.
    ///
    /// # Safety
    /// `cell` is a linked cell of the arena.
    #[cfg(feature = "counted")]
    unsafe fn release_cell(this: *mut Self, cell: *mut u8, released: &mut usize) {
        use crate::counted::scoped;
        // SAFETY: as above.
        unsafe {
            let heap = (*this).source.heap();
            let mut drop = |slot: *mut *mut u8| {
                let child = slot.read();
                if child.is_null() {
                    return;
                }
                if scoped::is_scoped(child) {
                    Self::overwritten(slot, child);
                    slot.write(core::ptr::null_mut());
                    return;
                }
                slot.write(core::ptr::null_mut());
                *released += 1;
                Callback::run(&raw mut (*Self::books(this)).callback, || crate::counted::release(child));
            };
            scoped::each_named(heap, cell, &mut drop);
            if scoped::is_traced(heap, cell) {
                Self::run(this, || scoped::each_traced(heap, cell, &mut drop));
            }
        }
    }
}
