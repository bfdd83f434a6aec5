//! When cycles are looked for, and how far.
//!
//! Guarantees
//! * A collection starts by itself only where a reference is removed, never in an allocation (unless
//!   it is asked for) and never in a callback.
//! * A full collection ends with no root left, whatever destructors dropped meanwhile. A call of one from
//!   a callback does nothing.
//! * With slices no call visits more cells than configured. Without, an automatic collection visits a
//!   bounded number, unless memory in use has doubled since the whole graph was last looked at.
//!
//! ```text
//!   roots >= trip --> slices?  one step of a search over everything that the roots reach
//!                     grown?   full: roots' closure; if that is an eighth of all cells or more, sweep.rs
//!                     else     the newest 2,048 roots, a few cells for each: what stays undecided is deferred
//! ```
//! Policy: the seed's words. More than half of the visited cells freed: the threshold is the default
//! again; else it grows by half, to a bound. If all that was visited was garbage, it stays (Nim's keepThreshold).
//! Besides, when a collection frees less than an eighth, the next one waits for twice as many roots, and so on.
//!
//! Cost: a full collection is O(cells + edges reached); deciding is O(1).

use super::pages::PAGE;
use super::search::Phase;
use super::settings::{
    FIRST_REACH, KN_GC_COLLECT_WHEN_FULL, KN_GC_FIXED_THRESHOLD, KN_GC_STAY_DISABLED, MOST_CELLS, MOST_REACH,
    MOST_ROOTS,
};
use super::state::Counted;

/// Roots that are kept for the next look at everything; more need no list, that look finds them anyway.
const MOST_DEFERRED: usize = 4096;
/// Times that a full collection starts again because destructors left roots.
const ROUNDS: usize = 10_000;
/// The next collection waits for at most this power of two of roots more.
const MOST_FUTILE: u32 = 16;
/// Whole graphs up to this many cells are always searched from their roots.
const SMALL: usize = 4096;

impl Counted {
    /// Collects every cycle, destroys all that waits. While disabled it runs too, and enables (unless
    /// KN_GC_STAY_DISABLED). In a callback it does nothing.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub unsafe fn collect(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if Self::enter(this) {
                Self::note_manual(this);
                let mut used = 0;
                Self::full(this, &mut used);
                Self::finish(this, used);
            }
        }
    }

    /// Collects with the roots from index `limit` on only; those below stay.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub unsafe fn partial(this: *mut Self, limit: usize) {
        // SAFETY: the caller's word.
        unsafe {
            if Self::enter(this) {
                Self::note_manual(this);
                let mut used = 0;
                Self::run_search(this, usize::MAX, &mut used);
                if limit < (*this).roots.len {
                    Self::begin_search(this, limit, usize::MAX, usize::MAX);
                    Self::run_search(this, usize::MAX, &mut used);
                }
                Self::destroy_waiting(this, (*this).settings.frees_per_release);
                Self::finish(this, used);
            }
        }
    }

    /// The number of roots, as a limit for [`Counted::partial`].
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub unsafe fn roots(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        unsafe { (*this).roots.len }
    }

    /// Roots only accumulate from now on.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub unsafe fn disable(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).disabled = true;
            Self::set_trip(this);
        }
    }

    /// Collections start by themselves again; the next root may start one over what has accumulated.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub unsafe fn enable(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).disabled && (*this).roots.len >= (*this).settings.threshold as usize {
                (*this).grown = 0;
            }
            (*this).disabled = false;
            (*this).threshold = (*this).settings.threshold;
            (*this).futile = 0;
            Self::set_trip(this);
        }
    }

    /// Visits or destroys at most `budget` cells; whether nothing is left to do.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub unsafe fn step(this: *mut Self, budget: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::enter(this) {
                return false;
            }
            let mut used = 0;
            let begun = (*this).search.phase != Phase::Idle;
            if !begun && (*this).roots.len > 0 {
                Self::begin_search(this, 0, usize::MAX, usize::MAX);
            }
            let ended = Self::run_search(this, budget, &mut used);
            let before = (*this).pending;
            Self::destroy_waiting(this, (budget - used).min(u32::MAX as usize) as u32);
            used += before.saturating_sub((*this).pending).min(budget - used);
            (*this).steps += 1;
            // What could not be decided for want of memory would not be the next time either.
            let stuck = ended && (*this).search.truncated && (*this).search.found == 0;
            let done = ended && (*this).pending == 0 && ((*this).roots.len == 0 || stuck);
            Self::finish(this, used);
            done
        }
    }

    /// A manual run while disabled enables, says the seed.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    unsafe fn note_manual(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).disabled && !(*this).settings.has(KN_GC_STAY_DISABLED) {
                (*this).disabled = false;
                (*this).threshold = (*this).settings.threshold;
            }
        }
    }

    /// Ends what [`Counted::enter`] began.
    ///
    /// # Safety
    /// As there.
    unsafe fn finish(this: *mut Self, used: usize) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).longest = (*this).longest.max(used);
            Self::trim_roots(this);
            Self::set_trip(this);
            Self::relinquish(this);
        }
    }

    /// There are roots enough to do something.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn tripped(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).disabled || !Self::enter(this) {
                return;
            }
            let mut used = 0;
            if (*this).settings.slice > 0 {
                Self::slice(this, &mut used);
            } else {
                // One that was begun by steps.
                Self::run_search(this, usize::MAX, &mut used);
                if Self::has_grown(this) {
                    Self::grown_collection(this, &mut used);
                } else {
                    Self::automatic(this, &mut used);
                }
            }
            Self::finish(this, used);
        }
    }

    /// A part of a collection.
    ///
    /// # Safety
    /// [`Counted::enter`] was called.
    unsafe fn slice(this: *mut Self, used: &mut usize) {
        // SAFETY: the caller's word.
        unsafe {
            let slice = (*this).settings.slice as usize;
            if (*this).search.phase == Phase::Idle {
                Self::begin_search(this, 0, usize::MAX, usize::MAX);
            }
            (*this).steps += 1;
            if Self::run_search(this, slice, used) {
                Self::adapt(this, (*this).search.seen, (*this).search.found);
                Self::plan_growth(this);
            }
            let left = (slice - *used).min((*this).settings.frees_per_release as usize);
            let before = (*this).pending;
            Self::destroy_waiting(this, left as u32);
            *used += before.saturating_sub((*this).pending).min(left);
        }
    }

    /// The newest roots, not far around.
    ///
    /// # Safety
    /// As [`Counted::slice`].
    unsafe fn automatic(this: *mut Self, used: &mut usize) {
        // SAFETY: the caller's word.
        unsafe {
            let reach = 1 << (*this).reach;
            let most = (MOST_CELLS / reach).min(MOST_ROOTS as usize);
            let from = (*this).roots.deferred.max((*this).roots.len.saturating_sub(most));
            Self::begin_search(this, from, MOST_CELLS, reach);
            Self::run_search(this, usize::MAX, used);
            Self::adapt_reach(this);
            Self::adapt(this, (*this).search.seen, (*this).search.found);
            Self::destroy_waiting(this, (*this).settings.frees_per_release);
        }
    }

    /// Memory in use has doubled. If the roots there are can be decided by a short look, that was not
    /// because of cycles.
    ///
    /// # Safety
    /// As [`Counted::slice`].
    unsafe fn grown_collection(this: *mut Self, used: &mut usize) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).roots.len <= MOST_ROOTS as usize && !(*this).unlisted {
                Self::automatic(this, used);
                if !(*this).search.truncated || (*this).roots.len == 0 {
                    return Self::plan_growth(this);
                }
            }
            Self::full(this, used);
        }
    }

    /// Everything, until no root is left.
    ///
    /// # Safety
    /// As [`Counted::slice`].
    unsafe fn full(this: *mut Self, used: &mut usize) {
        // SAFETY: the caller's word.
        unsafe {
            for round in 0..ROUNDS {
                Self::destroy_waiting(this, u32::MAX);
                Self::run_search(this, usize::MAX, used);
                Self::destroy_waiting(this, u32::MAX);
                if round == 0 {
                    // What a search that was under way left undecided is an input of this one.
                    (*this).roots.deferred = 0;
                }
                if (*this).roots.len == 0 && !(*this).unlisted {
                    if round == 0 {
                        Self::adapt(this, 0, 0);
                    }
                    break;
                }
                let (visited, freed) = ((*this).visited, (*this).freed);
                let whole = Self::look_at_everything(this, used);
                Self::adapt(this, (*this).visited - visited, (*this).freed - freed);
                if whole {
                    (*this).roots.deferred = 0;
                } else if (*this).freed > freed {
                    // There is more memory now: those that stayed undecided have another chance.
                    (*this).roots.deferred = 0;
                } else if (*this).roots.deferred == (*this).roots.len || (*this).search.inputs == 0 {
                    break;
                }
            }
            if (*this).roots.len == 0 {
                (*this).futile = 0;
            }
            // In a heap that can't grow others may need the memory.
            if (*this).capacity.is_some() || Self::cells(this) == 0 {
                Self::drop_empty_pages(this);
            }
            Self::plan_growth(this);
        }
    }

    /// One round: from the roots, or if that would be most of the heap, the heap. Whether nothing that is
    /// garbage was left undecided.
    ///
    /// # Safety
    /// As [`Counted::slice`].
    unsafe fn look_at_everything(this: *mut Self, used: &mut usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).unlisted && (*this).traced_types {
                Self::list_unlisted(this);
            }
            let part = (Self::cells(this) / 8).max(SMALL);
            let traced = (*this).traced_types;
            if traced || !(*this).unlisted && (*this).roots.len <= part {
                let limit = if traced { usize::MAX } else { part };
                Self::begin_search(this, (*this).roots.deferred, limit, limit);
                Self::run_search(this, usize::MAX, used);
                if !(*this).search.truncated && (*this).roots.deferred == 0 && !(*this).unlisted {
                    return true;
                }
            }
            *used += Self::sweep(this);
            !traced
        }
    }

    /// A cell that stays a root, undecided.
    ///
    /// # Safety
    /// `object` is an ordinary cell of this state that is no root.
    pub(super) unsafe fn keep_root(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).roots.len >= MOST_DEFERRED && !(*this).traced_types && (*this).settings.slice == 0 {
                (*this).unlisted = true;
            } else if Self::push_root(this, object) {
                Self::defer_last_root(this);
            }
        }
    }

    // ------------------------------------------------------------------ policy

    /// # Safety
    /// `this` is a live state.
    unsafe fn adapt(this: *mut Self, visited: usize, freed: usize) {
        // SAFETY: the caller's word.
        unsafe {
            let Self { settings, .. } = &*this;
            if !settings.has(KN_GC_FIXED_THRESHOLD) {
                if visited == 0 || freed != visited {
                    (*this).threshold = if freed * 2 >= visited {
                        settings.threshold
                    } else {
                        (*this).threshold.saturating_add(((*this).threshold / 2).max(1)).min(settings.bound)
                    };
                }
                // A look that was too short is followed by a wider one.
                let wider = (*this).search.truncated && (*this).reach < MOST_REACH;
                let futile = if freed * 8 >= visited { 0 } else { (*this).futile + u32::from(!wider) };
                (*this).futile = futile.min(MOST_FUTILE);
            }
        }
    }

    /// How far around its roots the next automatic collection looks: farther if this one could not see
    /// enough, less far if little of what it saw was garbage.
    ///
    /// # Safety
    /// `this` is a live state, the last search an automatic one.
    unsafe fn adapt_reach(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            let (seen, found) = ((*this).search.seen, (*this).search.found);
            if (*this).search.truncated {
                if found * 8 < seen {
                    (*this).reach = ((*this).reach + 1).min(MOST_REACH);
                } else if found * 2 < seen {
                    (*this).reach = (*this).reach.saturating_sub(1);
                }
            } else if seen < (*this).search.inputs << (*this).reach >> 2 {
                (*this).reach = (*this).reach.saturating_sub(1).max(FIRST_REACH);
            }
        }
    }

    /// Sets the number of roots at which the next collection starts.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn set_trip(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).trip = if (*this).disabled {
                usize::MAX
            } else if (*this).search.phase != Phase::Idle {
                // In slices it goes on at every chance; the program's own steps are left alone.
                if (*this).settings.slice > 0 {
                    0
                } else {
                    ((*this).threshold as usize).saturating_mul(4)
                }
            } else if Self::has_grown(this) {
                0
            } else {
                let roots = ((*this).threshold as usize) << (*this).futile;
                (*this).roots.deferred.saturating_add(roots)
            };
        }
    }

    /// Bytes that cells occupy or could.
    ///
    /// # Safety
    /// `this` is a live state.
    unsafe fn bytes(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        unsafe { (*this).page_bytes + (*this).single_bytes - (*this).spares * PAGE }
    }

    /// # Safety
    /// `this` is a live state.
    unsafe fn has_grown(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe { Self::bytes(this) >= (*this).grown }
    }

    /// Memory was taken: is it time to look at everything? Without a root it is not.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn note_growth(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if Self::has_grown(this) {
                if (*this).roots.len == 0 && !(*this).unlisted {
                    Self::plan_growth(this);
                } else if !(*this).disabled {
                    (*this).trip = 0;
                }
            }
        }
    }

    /// Sets how much memory makes it time to look at everything: twice what is in use; where memory is
    /// limited, at most half of what is left.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn plan_growth(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            let bytes = Self::bytes(this);
            let floor = (*this).settings.floor;
            if floor == usize::MAX {
                (*this).grown = usize::MAX;
                return;
            }
            let mut step = bytes.max(floor);
            if let Some(capacity) = (*this).capacity {
                step = step.min((capacity.get().saturating_sub(bytes) / 2).max(floor / 4));
            }
            (*this).grown = bytes.saturating_add(step);
        }
    }

    /// Collects because memory is short, if that was asked for; whether it may have helped.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(super) unsafe fn make_room(this: *mut Self) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            // Cells that wait are garbage for certain, and pages without a cell are no use to other classes.
            let mut waited = Self::drop_empty_pages(this);
            if (*this).pending > 0 && !Self::is_inside(this) {
                waited = true;
                Self::drain(this, u32::MAX);
            }
            if (*this).settings.has(KN_GC_COLLECT_WHEN_FULL) && !Self::is_inside(this) {
                let disabled = (*this).disabled;
                let freed = (*this).freed;
                Self::collect(this);
                (*this).disabled = disabled;
                Self::set_trip(this);
                return waited || (*this).freed > freed;
            }
            waited
        }
    }

    /// A collection and a check, at each allocation of a torture run.
    ///
    /// # Safety
    /// As [`Counted::collect`].
    pub(super) unsafe fn torture(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            let disabled = (*this).disabled;
            Self::collect(this);
            (*this).disabled = disabled;
            Self::set_trip(this);
            if Self::check(this) != crate::heap::KnStatus::Ok {
                crate::port::report(
                    crate::heap::KnStatus::Corrupt,
                    this.cast(),
                    c"GC_check: counted memory is inconsistent",
                );
            }
        }
    }
}
