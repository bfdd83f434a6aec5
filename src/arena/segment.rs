//! Where an arena's memory comes from: segments in blocks of the heap.
//!
//! Guarantees
//! * A scope's newest block grows downwards as long as the heap is free there, so a scope is one block in the
//!   usual case. Another block is taken only when the neighbour below is used.
//! * Before the heap is asked, each budget around is; what was refused changes nothing.
//!
//! ```text
//!   heap:  … free | segment 3 | segment 2 | Segment, KnArena, data … |  end        one block, growing down
//!                   newest                  first
//!   a segment:     | Segment | data ->  at ……… | limit
//! ```
//! A free-standing arena's segments are blocks of their own, from wherever the heap has them.
//!
//! Cost: a segment is a block of the heap, or one that is extended; a header of 4 words.

use core::ffi::c_void;
use core::ptr::null_mut;

use super::arena::{innermost, HOLED, LEAVING, SCOPE, TOLD};
use super::config::KN_ARENA_FIXED;
use super::KnArena;
use crate::port::Callback;

/// The record at a segment's start.
#[repr(C, align(8))]
pub(super) struct Segment {
    /// The segment before it, null: none.
    pub older: *mut Segment,
    /// The lowest segment of the block that was taken before this one's; null: none. A segment in the parent's
    /// memory names itself. In a free-standing arena each is a block of its own: null, or itself if a reset
    /// had kept it.
    pub older_block: *mut Segment,
    /// Not in the first words, which the heap writes to when the block is free: so a reference that dangles
    /// still leads to a record without a seal.
    pub arena: *mut KnArena,
    /// Behind its last byte.
    pub limit: *mut u8,
}

/// A place in an arena's memory: what was in use when the next byte was this one.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub segment: *mut Segment,
    pub at: *mut u8,
    /// Bytes in use in the segments before.
    pub before: usize,
}

/// Bytes before a segment's data.
pub(super) const LEAD: usize = size_of::<Segment>();
/// Bytes before the data of an arena's first segment.
pub(super) const FIRST: usize = LEAD + size_of::<KnArena>();
/// The least bytes by which an arena grows, and the most, if the program does not say.
const LEAST_STEP: usize = if cfg!(target_pointer_width = "64") { 4096 } else { 256 };
const MOST_STEP: usize = LEAST_STEP * 16;
/// The largest granule of a block layout, less one.
const WHOLE_GRANULES: usize = 15;
/// The most bytes that an arena is asked for at once.
const MOST: usize = isize::MAX as usize / 2;

/// A size as a multiple of 8, which all of them are here.
#[inline(always)]
pub(super) fn round(bytes: usize) -> usize {
    (bytes + 7) & !7
}

/// A budget, which is counted in multiples of 8.
pub(super) fn budget(bytes: usize) -> usize {
    round(bytes.min(MOST))
}

impl Segment {
    /// Where its data begins, the arena's record excluded.
    ///
    /// # Safety
    /// `this` is a segment of a living arena.
    #[inline(always)]
    pub unsafe fn data(this: *mut Self) -> *mut u8 {
        // SAFETY: the caller's word.
        let lead = if unsafe { (*this).older.is_null() } { FIRST } else { LEAD };
        this.cast::<u8>().wrapping_add(lead)
    }

    /// Bytes that count against budgets.
    ///
    /// # Safety
    /// As [`Segment::data`].
    pub unsafe fn room(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        let limit = unsafe { (*this).limit };
        limit.addr() - this.addr() - LEAD
    }

    /// Whether the segment before it lies in the same block.
    ///
    /// # Safety
    /// As [`Segment::data`].
    pub unsafe fn is_joined(this: *mut Self) -> bool {
        // SAFETY: the caller's word; older segments are alive.
        unsafe {
            let older = (*this).older;
            !older.is_null() && (*this).older_block == (*older).older_block
        }
    }

    /// Whether an address lies in it.
    ///
    /// # Safety
    /// As [`Segment::data`].
    #[inline(always)]
    pub unsafe fn spans(this: *mut Self, address: usize) -> bool {
        // SAFETY: the caller's word.
        this.addr() <= address && address < unsafe { (*this).limit.addr() }
    }
}

impl KnArena {
    /// Bytes in use.
    ///
    /// # Safety
    /// `this` is a living arena.
    #[inline(always)]
    pub(super) unsafe fn used(this: *const Self) -> usize {
        // SAFETY: the caller's word.
        unsafe { (*this).before + ((*this).at.addr() - Segment::data((*this).segment).addr()) }
    }

    /// Notes how much is in use, before it becomes less.
    ///
    /// # Safety
    /// As [`KnArena::used`].
    #[inline(always)]
    pub(super) unsafe fn note_peak(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe { (*this).high = (*this).high.max((*this).at) };
    }

    /// The most bytes in use so far.
    ///
    /// # Safety
    /// As [`KnArena::used`].
    pub(super) unsafe fn most(this: *const Self) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            let high = (*this).high.max((*this).at);
            (*this).peak.max((*this).before + (high.addr() - Segment::data((*this).segment).addr()))
        }
    }

    /// What alignment may waste more, if the same work is done in one block: it changes where segments begin.
    ///
    /// # Safety
    /// As [`KnArena::used`].
    #[inline(always)]
    pub(super) unsafe fn waste(this: *const Self) -> usize {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).slack == 0 {
                return 0;
            }
            Self::waste_of_segments(this)
        }
    }

    /// # Safety
    /// As [`KnArena::used`].
    #[cold]
    unsafe fn waste_of_segments(this: *const Self) -> usize {
        let mut bytes = 0;
        // SAFETY: segments are alive.
        unsafe {
            let mut segment = (*this).segment;
            while !segment.is_null() {
                bytes += (*this).slack;
                segment = (*segment).older;
            }
        }
        bytes
    }

    /// Leaves the segment that is open, for another one.
    ///
    /// # Safety
    /// As [`KnArena::used`].
    pub(super) unsafe fn close(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).peak = Self::most(this);
            (*this).high = null_mut();
        }
    }

    /// Makes a segment the one that allocations are served from.
    ///
    /// # Safety
    /// `segment` is a new segment of the arena, written.
    unsafe fn open(this: *mut Self, segment: *mut Segment) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).segment = segment;
            (*this).at = Segment::data(segment);
            (*this).end = (*segment).limit;
        }
    }

    /// Another segment with room for `bytes` bytes at a multiple of `align`: whether there is one.
    ///
    /// # Safety
    /// `this` is a living arena of this thread.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn grow(this: *mut Self, bytes: usize, align: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if Self::has(this, LEAVING) || bytes > MOST || align > MOST {
                return false;
            }
            let need = round(bytes) + LEAD + if align > 8 { align } else { 0 };
            if Self::has(this, HOLED) && Self::uncover(this, need - LEAD) {
                return true;
            }
            if (*this).flags & KN_ARENA_FIXED != 0 {
                Self::note_refusal(this, this);
                return false;
            }
            if !Self::has(this, SCOPE) && Self::take_spare(this, need - LEAD) {
                return true;
            }
            let step = match (*this).config.step {
                0 => round((*this).held / 4).clamp(LEAST_STEP, MOST_STEP),
                step => round(step.min(MOST)),
            };
            // Whole pieces of this size, as many as a step needs: what is left over would be lost.
            let piece = round(bytes).max(8);
            let whole = |step: usize| need.max(LEAD + step.saturating_sub(LEAD).div_ceil(piece) * piece);
            let mut wanted = whole(step);
            let mut grown = Self::take_segment(this, wanted);
            // Where memory ends smaller steps will do, not too small ones at first: each costs a header.
            while !grown && wanted > need {
                wanted = need.max(round(wanted / 2));
                grown = Self::take_segment(this, wanted);
            }
            #[cfg(feature = "counted")]
            let grown =
                grown || crate::counted::scoped::collect((*this).source.heap()) && Self::take_segment(this, need);
            if !grown {
                // For a budget? Then it is told which one.
                if let Some(refuser) = Self::refuser(this, Self::whole_granules(this, need) - LEAD) {
                    Self::note_refusal(this, refuser);
                }
                return false;
            }
            if Self::has(this, HOLED) {
                Self::uncover(this, need - LEAD);
            }
            Self::tell_soft(this);
            // What the program did there may have taken the segment.
            bytes + if align > 8 { align } else { 0 } <= (*this).end.addr() - (*this).at.addr()
        }
    }

    /// Hides from scopes inside what the newest segment has free, if there is a hole for them.
    ///
    /// # Safety
    /// `this` is a living arena.
    #[inline(always)]
    pub(super) unsafe fn hide(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if Self::has(this, HOLED) {
                (*this).end = (*this).at;
            }
        }
    }

    /// Shows as much of what is hidden from scopes inside as an allocation needs; whether there was so much.
    ///
    /// # Safety
    /// As [`KnArena::grow`]; the arena is one with a hole.
    unsafe fn uncover(this: *mut Self, bytes: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if bytes > (*(*this).segment).limit.addr() - (*this).at.addr() {
                return false;
            }
            // A scope that a hook left open may lie there all the same.
            let mut inner = innermost((*this).source);
            while !inner.is_null() && inner != this {
                if (*inner).outer == this && Segment::spans((*this).segment, inner.addr()) {
                    return false;
                }
                inner = (*inner).outer;
            }
            (*this).end = (*this).at.wrapping_add(bytes);
            true
        }
    }

    /// What a segment of so many bytes takes.
    ///
    /// # Safety
    /// `this` is a living arena.
    unsafe fn whole_granules(this: *const Self, bytes: usize) -> usize {
        // SAFETY: the caller's word.
        if unsafe { Self::has(this, SCOPE) } {
            (bytes + WHOLE_GRANULES) & !WHOLE_GRANULES
        } else {
            bytes
        }
    }

    /// Takes a segment of so many bytes: whether there was memory, and every budget allowed it.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    unsafe fn take_segment(this: *mut Self, bytes: usize) -> bool {
        // SAFETY: the block is new, or this arena's own with more before it.
        unsafe {
            // As a block that grows gets it: so that a budget is kept to the byte.
            let bytes = Self::whole_granules(this, bytes);
            if Self::refuser(this, bytes - LEAD).is_some() {
                return false;
            }
            let source = (*this).source;
            let block = (*this).block;
            let mut start = null_mut();
            let mut joined = false;
            if Self::has(this, SCOPE) {
                if !block.is_null() && block == (*this).segment && innermost(source) == this {
                    start = source.extend_front(block.cast(), bytes);
                    joined = !start.is_null();
                }
                if start.is_null() {
                    start = source.take_top(bytes);
                }
            } else {
                start = source.take(bytes);
            }
            if start.is_null() {
                return false;
            }
            let limit = if joined { block.cast() } else { start.wrapping_add(bytes) };
            let segment = start.cast::<Segment>();
            let older_block = match (Self::has(this, SCOPE), joined) {
                (false, _) => null_mut(),
                (true, true) => (*block).older_block,
                (true, false) => block,
            };
            segment.write(Segment { arena: this, older: (*this).segment, older_block, limit });
            Self::close(this);
            (*this).before = Self::used(this);
            (*this).block = segment;
            (*this).blocks += usize::from(!joined);
            Self::charge(this, Segment::room(segment));
            Self::open(this, segment);
            true
        }
    }

    /// The first arena around whose budget does not allow so many bytes more.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    pub(super) unsafe fn refuser(this: *mut Self, bytes: usize) -> Option<*mut KnArena> {
        let mut each = this;
        // SAFETY: scopes around are alive.
        unsafe {
            while !each.is_null() {
                let budget = (*each).config.budget;
                if budget != 0 && (*each).held.saturating_add(bytes) > budget {
                    return Some(each);
                }
                each = (*each).outer;
            }
        }
        None
    }

    /// Notes that an allocation was refused, and for whose budget.
    ///
    /// # Safety
    /// Both are living arenas.
    pub(super) unsafe fn note_refusal(this: *mut Self, refuser: *mut KnArena) {
        // SAFETY: the caller's word.
        unsafe {
            (*Self::books(this)).refused += 1;
            (*Self::books(this)).refused_by = Self::name(refuser);
        }
    }

    /// Counts bytes that are held, here and around.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    pub(super) unsafe fn charge(this: *mut Self, bytes: usize) {
        let mut each = this;
        // SAFETY: scopes around are alive.
        unsafe {
            while !each.is_null() {
                (*each).held += bytes;
                each = (*each).outer;
            }
        }
    }

    /// Takes back what was counted.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    pub(super) unsafe fn discharge(this: *mut Self, bytes: usize) {
        let mut each = this;
        // SAFETY: scopes around are alive.
        unsafe {
            while !each.is_null() {
                (*each).held = (*each).held.saturating_sub(bytes);
                each = (*each).outer;
            }
        }
    }

    /// Tells each arena around whose soft budget was passed, once.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    #[cold]
    pub(super) unsafe fn tell_soft(this: *mut Self) {
        let mut each = this;
        // SAFETY: scopes around are alive, and a hook must not leave them.
        unsafe {
            while !each.is_null() {
                let config = &(*each).config;
                if config.soft != 0 && (*each).held > config.soft && !Self::has(each, TOLD) {
                    (*each).state |= TOLD;
                    if let Some(hook) = (*each).config.on_soft {
                        let (held, context) = ((*each).held, (*each).config.context);
                        // So that it can't end what is growing.
                        Callback::run(&raw mut (*Self::books(this)).callback, || hook(each, held, context));
                    }
                }
                each = (*each).outer;
            }
        }
    }

    /// Takes a segment for `bytes` bytes from those that a reset kept.
    ///
    /// # Safety
    /// As [`KnArena::grow`].
    unsafe fn take_spare(this: *mut Self, bytes: usize) -> bool {
        // SAFETY: spare segments are this arena's, blocks of their own.
        unsafe {
            let mut link = &raw mut (*this).spare;
            while !(*link).is_null() {
                let segment = *link;
                if Segment::room(segment) >= bytes {
                    *link = (*segment).older;
                    Self::close(this);
                    (*this).before = Self::used(this);
                    (*segment).older = (*this).segment;
                    // As the mark of one that was kept.
                    (*segment).older_block = segment;
                    Self::open(this, segment);
                    return true;
                }
                link = &raw mut (*segment).older;
            }
            false
        }
    }

    /// Whether an address lies in one of the segments from the newest to `last`, or in the data of that one
    /// behind `at`.
    ///
    /// # Safety
    /// `this` is a living arena, `last` null or one of its segments.
    pub(super) unsafe fn spans(this: *const Self, last: *mut Segment, at: *mut u8, address: usize) -> bool {
        // SAFETY: segments are alive.
        unsafe {
            let mut segment = (*this).segment;
            while !segment.is_null() {
                if Segment::spans(segment, address) {
                    return segment != last || address >= at.addr();
                }
                if segment == last {
                    return false;
                }
                segment = (*segment).older;
            }
            false
        }
    }

    /// Starts the arena's first segment in memory that is its own, or its parent's.
    ///
    /// # Safety
    /// The memory from `segment` to `limit` is writable, and the record lies where it begins.
    #[inline(always)]
    pub(super) unsafe fn begin(this: *mut Self, segment: *mut Segment, limit: *mut u8, own: bool) {
        // SAFETY: the caller's word.
        unsafe {
            let older_block = if own { null_mut() } else { segment };
            segment.write(Segment { arena: this, older: null_mut(), older_block, limit });
            (*this).block = if own { segment } else { null_mut() };
            (*this).blocks = usize::from(own);
            (*this).segment = segment;
            (*this).at = segment.cast::<u8>().wrapping_add(FIRST);
            (*this).end = limit;
            (*this).held = limit.addr() - (*this).at.addr();
        }
    }

    /// Calls `visit` with each block of the heap that the arena holds: its start and where its data ends.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(crate) unsafe fn each_block(this: *const Self, visit: &mut dyn FnMut(*const c_void, usize)) {
        // SAFETY: segments are alive.
        unsafe {
            let mut segment = (*this).segment;
            if !Self::has(this, SCOPE) {
                for mut segment in [segment, (*this).spare] {
                    while !segment.is_null() {
                        visit(segment.cast_const().cast(), (*segment).limit.addr() - segment.addr());
                        segment = (*segment).older;
                    }
                }
                return;
            }
            let mut low: *mut Segment = null_mut();
            while !segment.is_null() {
                if low.is_null() {
                    low = segment;
                }
                if !Segment::is_joined(segment) {
                    if (*segment).older_block != segment {
                        visit(low.cast_const().cast(), (*segment).limit.addr() - low.addr());
                    }
                    low = null_mut();
                }
                segment = (*segment).older;
            }
        }
    }
}

const _: () = assert!(FIRST % 8 == 0 && LEAD % 8 == 0);
/// As arena.rs and docs/arena.md say.
const _: () = assert!(FIRST <= if cfg!(target_pointer_width = "64") { 400 } else { 208 });
