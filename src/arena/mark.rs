//! Marks: a place in an arena to come back to.
//!
//! Guarantees
//! * Rewinding ends what came after the mark as leaving a scope would, and gives back to the heap every block
//!   that was taken since: the footprint is that of the mark.
//! * What was allocated before a mark is not touched by rewinding, even if it was resized since.
//! * A mark of another arena, one that a reset ended, or that the last rewinding went back beyond, is refused.
//!
//! ```text
//!   | used | mark 1 | used | mark 2 | used | at        rewind(mark 1):  | used | at
//! ```
//! Cost: making a mark O(1); rewinding O(segments taken since), and what `end.rs` says.

use core::ffi::c_void;

use super::arena::{LEAVING, SCOPE, WHOLE};
use super::config::KnLeaveReport;
use super::end::Tail;
use super::segment::{Place, Segment};
use super::KnArena;
use crate::heap::KnStatus;

/// A place in an arena's life. The fields are the library's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnArenaMark {
    /// The segment.
    pub segment: *const c_void,
    /// The next free byte in it.
    pub at: *const c_void,
    /// Bytes in use before it.
    pub before: usize,
    /// The mark's number.
    pub tick: usize,
}

impl KnArenaMark {
    /// The mark of no arena.
    /// cbindgen:ignore
    pub const NONE: KnArenaMark = KnArenaMark { segment: core::ptr::null(), at: core::ptr::null(), before: 0, tick: 0 };
}

impl KnArena {
    /// The place that the arena has come to.
    ///
    /// # Safety
    /// `this` is a living arena of this thread.
    unsafe fn mark(this: *mut Self) -> KnArenaMark {
        // SAFETY: the caller's word.
        unsafe {
            let books = Self::books(this);
            (*books).tick += 1;
            // What lies before is not resized in place any more.
            (*this).floor = (*this).at;
            KnArenaMark {
                segment: (*this).segment.cast_const().cast(),
                at: (*this).at.cast_const().cast(),
                before: (*this).before,
                tick: (*books).tick,
            }
        }
    }

    /// The place that an arena has come to; a mark of nothing for what is no arena.
    ///
    /// # Safety
    /// `this` is null or an arena's memory.
    pub unsafe fn mark_of(this: *mut Self) -> KnArenaMark {
        // SAFETY: the caller's word.
        unsafe {
            if Self::is_alive(this) {
                Self::mark(this)
            } else {
                KnArenaMark::NONE
            }
        }
    }

    /// Goes back to a mark; `Order` if it is none of this arena's any more, or from a callback of its end.
    ///
    /// # Safety
    /// `this` is null or an arena's memory; nothing that was allocated since the mark is used afterwards.
    pub unsafe fn rewind(this: *mut Self, mark: KnArenaMark) -> KnStatus {
        // SAFETY: the caller's word; the mark's segment is followed only if it is one of the arena's.
        unsafe {
            if !Self::is_alive(this) || Self::is_calling(this) || Self::has(this, WHOLE) {
                return Self::refuse(this, c"kn_arena_rewind: no arena, or one that is ending");
            }
            let Some(place) = Self::place_of(this, mark) else {
                return Self::refuse(this, c"kn_arena_rewind: not a mark that can be gone back to");
            };
            if Self::has(this, SCOPE) {
                Self::leave_opened(this);
            }
            if !Self::is_plain(this) || Self::has(this, LEAVING) {
                Self::begin_end(this, false);
                Self::end_tail(this, Tail { place, tick: mark.tick, whole: false }, &mut KnLeaveReport::new());
            }
            Self::cut_back(this, place);
            (*this).state &= !LEAVING;
            (*this).floor = place.at;
            (*Self::books(this)).stale = (mark.tick, (*Self::books(this)).tick);
            KnStatus::Ok
        }
    }

    /// Where a mark is, if it can be gone back to.
    ///
    /// # Safety
    /// `this` is a living arena.
    unsafe fn place_of(this: *mut Self, mark: KnArenaMark) -> Option<Place> {
        // SAFETY: segments are alive.
        unsafe {
            let (after, last) = (*Self::books(this)).stale;
            let stale = after < mark.tick && mark.tick <= last;
            if mark.tick < (*Self::books(this)).first_tick.max(1) || mark.tick > (*Self::books(this)).tick || stale {
                return None;
            }
            let mut segment = (*this).segment;
            while !segment.is_null() && segment.cast_const().cast() != mark.segment {
                segment = (*segment).older;
            }
            if segment.is_null() {
                return None;
            }
            let end = if segment == (*this).segment { (*this).at } else { (*segment).limit };
            let offset = mark.at.addr().wrapping_sub(segment.addr());
            let at = segment.cast::<u8>().wrapping_add(offset);
            let within = at >= Segment::data(segment) && at <= end && offset % 8 == 0;
            within.then_some(Place { segment, at, before: mark.before })
        }
    }
}
