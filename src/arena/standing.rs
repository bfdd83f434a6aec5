//! Free-standing arenas: made, emptied and destroyed in any order.
//!
//! Guarantees
//! * Resetting and destroying do all that leaving a scope does: no cleanup is skipped.
//! * A reset keeps all memory, the presize only, or up to a limit, as asked; what is kept is used before the
//!   heap is asked again.
//!
//! ```text
//!   in use:  | first segment | --older-- | second | --- | newest |
//!   reset:   | first segment |            spare: | newest | --- | second |
//! ```
//! Cost: a block of the heap each; a reset is O(segments) and what `end.rs` says.

use core::ptr::null_mut;

use super::arena::{hold, let_go, LEAVING, SCOPE, WHOLE};
use super::config::{KnArenaConfig, KnLeaveReport, KN_RESET_FREE, KN_RESET_KEEP};
use super::scope::{beginning, flaw};
use super::segment::{budget, FIRST, LEAD};
use super::KnArena;
use crate::heap::{KnHeap, KnStatus};
use crate::memory::Source;

impl KnArena {
    /// Makes an arena; null without memory, or when the configuration can't be served.
    ///
    /// # Safety
    /// `heap` is a live heap of this thread.
    pub unsafe fn create(heap: *mut KnHeap, config: &KnArenaConfig) -> *mut KnArena {
        if flaw(config).is_some() {
            return null_mut();
        }
        // SAFETY: the caller's word; a new block.
        unsafe {
            let source = Source::of(heap);
            let bytes = beginning(config);
            let start = source.take(FIRST + bytes);
            if start.is_null() {
                return null_mut();
            }
            let this = start.wrapping_add(LEAD).cast::<KnArena>();
            Self::found(this, source, config, 0);
            Self::begin(this, start.cast(), start.wrapping_add(FIRST + bytes), true);
            (*this).config.budget = budget(config.budget);
            hold(source, &raw mut (*this).link);
            this
        }
    }

    /// Makes an arena empty: everything in it goes as if it was left. `Order` if it is no arena, or from one of
    /// its callbacks; `Invalid` for an unknown mode.
    ///
    /// # Safety
    /// `this` is null or an arena's memory; nothing in it is used afterwards.
    pub unsafe fn reset(this: *mut Self, mode: u32, limit: usize) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_alive(this) || Self::is_calling(this) {
                return Self::refuse(this, c"kn_arena_reset: no arena, or one that is ending");
            }
            if mode > super::KN_RESET_LIMIT {
                return KnStatus::Invalid;
            }
            if Self::has(this, SCOPE) {
                Self::leave_opened(this);
            }
            if !Self::is_plain(this) || Self::has(this, LEAVING) {
                Self::end_whole(this, &mut KnLeaveReport::new());
            }
            if Self::has(this, SCOPE) {
                Self::cut_back(this, Self::beginning(this));
            } else {
                let most = match mode {
                    KN_RESET_KEEP => usize::MAX,
                    KN_RESET_FREE => 0,
                    _ => limit,
                };
                Self::empty(this, most);
            }
            (*this).state &= !(LEAVING | WHOLE);
            (*Self::books(this)).first_tick = (*Self::books(this)).tick + 1;
            (*Self::books(this)).tick += 1;
            (*this).floor = null_mut();
            KnStatus::Ok
        }
    }

    /// Ends an arena; null does nothing. `Order` if it is none, or a scope, or from one of its callbacks.
    ///
    /// # Safety
    /// As [`KnArena::reset`].
    pub unsafe fn destroy(this: *mut Self) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            if this.is_null() {
                return KnStatus::Ok;
            }
            if !Self::is_alive(this) || Self::has(this, SCOPE) || Self::is_calling(this) {
                return Self::refuse(this, c"kn_arena_destroy: no free-standing arena, or one that is ending");
            }
            if !Self::is_plain(this) || Self::has(this, LEAVING) {
                Self::end_whole(this, &mut KnLeaveReport::new());
            }
            let_go((*this).source, &raw mut (*this).link);
            Self::unseal(this);
            Self::give_all(this);
            KnStatus::Ok
        }
    }
}
