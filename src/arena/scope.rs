//! Scopes: entered and left like a stack, at the heap's top end.
//!
//! Guarantees
//! * Want of memory, and a budget that is too small, show when a scope is entered: its presize is there.
//! * After leaving, the heap's free map is that of entering, but for what was allocated outside meanwhile.
//! * Leaving a scope leaves those inside it first. A wrong order is told and does no harm.
//! * Everything is a plain call: after a longjmp, or an exception of a language, [`unwind`] leaves what was
//!   jumped out of.
//!
//! ```text
//!   | … free … | scope 3 | scope 2: in use … | scope 1: in use … | end of the heap
//!                                 scope 3 carved out of what scope 2 has free:
//!   | … free … | scope 2: in use | scope 3 ……… | scope 1: in use … |
//! ```
//! Cost: a block of the heap taken and given back, or neither for a scope that fits into its parent;
//! leaving is O(blocks) when nothing but memory has to go.
//!
//! Source: regions as a stack (Tofte and Talpin, "Region-based Memory Management", 1997); two stacks in one
//! memory for what stays and what goes.

use core::ptr::null_mut;

use super::arena::{innermost, set_innermost, CARVED, HOLED, LEAVING, SCOPE, WHOLE};
use super::config::{KnArenaConfig, KnLeaveReport, FLAGS, KN_ARENA_CHECK_LEAVE, KN_ARENA_FIXED, KN_ESCAPE_REFUSE};
use super::end::Tail;
use super::segment::{budget, round, Segment, FIRST, LEAD};
use super::KnArena;
use crate::heap::{KnHeap, KnStatus};
use crate::memory::Source;
use crate::port;

/// What an arena without a presize begins with, and the least that a scope in its parent's memory has.
const BEGIN: usize = if cfg!(target_pointer_width = "64") { 2048 } else { 256 };

/// What is asked for without a configuration.
const DEFAULT: &KnArenaConfig = &KnArenaConfig::DEFAULT;

/// Why a configuration can't be served, if so.
pub(super) fn flaw(config: &KnArenaConfig) -> Option<KnStatus> {
    if config.flags & !FLAGS != 0 || config.policy > KN_ESCAPE_REFUSE {
        return Some(KnStatus::Invalid);
    }
    if config.presize > isize::MAX as usize / 2 {
        return Some(if config.budget != 0 { KnStatus::Budget } else { KnStatus::NoMemory });
    }
    (config.budget != 0 && config.presize > budget(config.budget)).then_some(KnStatus::Budget)
}

/// Bytes that an arena begins with.
pub(super) fn beginning(config: &KnArenaConfig) -> usize {
    if config.presize != 0 || config.flags & KN_ARENA_FIXED != 0 {
        return round(config.presize);
    }
    match config.budget {
        0 => BEGIN,
        bytes => BEGIN.min(budget(bytes)),
    }
}

impl KnArena {
    /// Enters a scope: `Ok` with the scope in `*out`, `NoMemory`, `Budget` or `Invalid`; then nothing has changed.
    ///
    /// # Safety
    /// `heap` is a live heap of this thread, `config` null or valid for a read, `out` for a write.
    #[inline(always)]
    pub unsafe fn enter(heap: *mut KnHeap, config: *const KnArenaConfig, out: *mut *mut KnArena) -> KnStatus {
        // SAFETY: the caller's word. The usual case: a presize that fits into the parent, and nothing special.
        unsafe {
            let config = if config.is_null() { &raw const *DEFAULT } else { config };
            let KnArenaConfig { presize, budget, flags, policy, .. } = *config;
            let plain = flags | u32::from(budget != 0) == 0 && policy <= KN_ESCAPE_REFUSE;
            let source = Source::of(heap);
            let outer = innermost(source);
            if plain && !outer.is_null() {
                let start = (*outer).at;
                let room = (*outer).end.addr() - start.addr();
                // Not 0 either: then the library's own beginning counts.
                if room > FIRST && presize.wrapping_sub(1) < room - FIRST {
                    out.write(Self::carve(outer, source, config, start, (*outer).end));
                    (*outer).end = start;
                    return KnStatus::Ok;
                }
            }
            Self::enter_slowly(heap, config, out)
        }
    }

    /// As [`KnArena::enter`], whatever is asked for.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    unsafe fn enter_slowly(heap: *mut KnHeap, config: *const KnArenaConfig, out: *mut *mut KnArena) -> KnStatus {
        // SAFETY: as there; the memory is the scope's own, or what its parent has free.
        unsafe {
            out.write(null_mut());
            if let Some(status) = flaw(&*config) {
                return status;
            }
            let bytes = beginning(&*config);
            let source = Source::of(heap);
            let outer = innermost(source);
            if !outer.is_null() && (*outer).state & (HOLED | LEAVING) == HOLED {
                if let Some(scope) = Self::carve_hole(outer, source, config, FIRST + bytes) {
                    (*scope).config.budget = budget((*config).budget);
                    out.write(scope);
                    return KnStatus::Ok;
                }
            }
            let entered = if !outer.is_null() && (*outer).end.addr() - (*outer).at.addr() >= FIRST + bytes {
                let start = (*outer).at;
                let end = Self::carved_end(start, (*outer).end, config);
                let scope = Self::carve(outer, source, config, start, end);
                (*outer).end = start;
                Ok(scope)
            } else {
                Self::enter_at_top(source, outer, config, bytes)
            };
            match entered {
                Ok(scope) => {
                    (*scope).config.budget = budget((*config).budget);
                    out.write(scope);
                    KnStatus::Ok
                }
                Err(status) => status,
            }
        }
    }

    /// Where a scope in its parent's memory ends: with it, or as its budget says.
    ///
    /// # Safety
    /// As [`KnArena::carve`].
    unsafe fn carved_end(start: *mut u8, end: *mut u8, config: *const KnArenaConfig) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let room = end.addr() - start.addr() - FIRST;
            let most = if (*config).flags & KN_ARENA_FIXED != 0 {
                round((*config).presize)
            } else if (*config).budget != 0 {
                budget((*config).budget)
            } else {
                room
            };
            start.wrapping_add(FIRST + room.min(most))
        }
    }

    /// Enters a scope with a block of its own.
    ///
    /// # Safety
    /// As [`KnArena::enter`].
    #[inline(never)]
    unsafe fn enter_at_top(
        source: Source,
        outer: *mut KnArena,
        config: *const KnArenaConfig,
        bytes: usize,
    ) -> Result<*mut KnArena, KnStatus> {
        // SAFETY: the caller's word.
        unsafe {
            let mut bytes = bytes;
            let asked = (*config).presize != 0 || (*config).flags & KN_ARENA_FIXED != 0;
            let start = loop {
                let refuser = if outer.is_null() { None } else { Self::refuser(outer, bytes) };
                let start = if refuser.is_none() { Self::take_first(source, FIRST + bytes) } else { null_mut() };
                if !start.is_null() {
                    break start;
                }
                // Nothing was asked for: less will do.
                if !asked && bytes != 0 {
                    bytes = (bytes / 4) & !7;
                    continue;
                }
                let Some(refuser) = refuser else { return Err(KnStatus::NoMemory) };
                Self::note_refusal(outer, refuser);
                return Err(KnStatus::Budget);
            };
            let this = start.wrapping_add(LEAD).cast::<KnArena>();
            Self::found(this, source, config, SCOPE);
            Self::begin(this, start.cast(), start.wrapping_add(FIRST + bytes), true);
            (*this).outer = outer;
            set_innermost(source, this);
            if !outer.is_null() {
                Self::charge(outer, (*this).held);
                Self::tell_soft(this);
            }
            Ok(this)
        }
    }

    /// The first block of a scope: at the top end, after a collection if memory is short.
    ///
    /// # Safety
    /// As [`KnArena::enter`].
    #[inline(always)]
    unsafe fn take_first(source: Source, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let start = source.take_top(bytes);
            #[cfg(feature = "counted")]
            if start.is_null() && crate::counted::scoped::collect(source.heap()) {
                return source.take_top(bytes);
            }
            start
        }
    }

    /// Makes a scope in what its parent's newest segment has free.
    ///
    /// # Safety
    /// As [`KnArena::enter`]; there is room.
    #[inline(always)]
    unsafe fn carve(
        outer: *mut KnArena,
        source: Source,
        config: *const KnArenaConfig,
        start: *mut u8,
        end: *mut u8,
    ) -> *mut KnArena {
        // SAFETY: the caller's word. The parent serves nothing from there until the scope is left.
        unsafe {
            let this = start.wrapping_add(LEAD).cast::<KnArena>();
            Self::found(this, source, config, SCOPE | CARVED);
            Self::begin(this, start.cast(), end, false);
            (*this).outer = outer;
            set_innermost(source, this);
            this
        }
    }

    /// Makes a scope in the hole of an older segment of its parent's, if there is room for so many bytes.
    ///
    /// # Safety
    /// As [`KnArena::enter`]; the parent has a hole, or had one that a scope has now.
    unsafe fn carve_hole(
        outer: *mut KnArena,
        source: Source,
        config: *const KnArenaConfig,
        bytes: usize,
    ) -> Option<*mut KnArena> {
        // SAFETY: the hole is the parent's, out of use.
        unsafe {
            let books = Self::books(outer);
            let (start, end) = ((*books).hole, (*books).hole_end);
            if start.is_null() || end.addr() - start.addr() < bytes {
                return None;
            }
            (*books).hole = null_mut();
            Some(Self::carve(outer, source, config, start, Self::carved_end(start, end, config)))
        }
    }

    /// Notes that a scope inside has left a hole in an older segment of its parent's.
    ///
    /// # Safety
    /// `base` is the first segment of the scope that is being left, carved out of `outer`.
    unsafe fn note_hole(outer: *mut KnArena, base: *mut Segment) {
        // SAFETY: the parent's segments are alive.
        unsafe {
            let mut host = (*outer).segment;
            while !host.is_null() && !Segment::spans(host, base.addr()) {
                host = (*host).older;
            }
            let books = Self::books(outer);
            let larger = (*books).hole.is_null()
                || !host.is_null()
                    && (*host).limit.addr() - base.addr() > (*books).hole_end.addr() - (*books).hole.addr();
            if !host.is_null() && larger {
                (*books).hole = base.cast();
                (*books).hole_end = (*host).limit;
            }
            (*outer).state |= HOLED;
            (*outer).end = (*outer).at;
        }
    }

    /// Leaves the innermost scope if nothing but memory has to go, and that is its parent's: whether that was so.
    ///
    /// # Safety
    /// As [`KnArena::leave`].
    #[inline(always)]
    pub unsafe fn leave_carved(this: *mut Self) -> bool {
        // SAFETY: as there.
        unsafe {
            if !Self::is_alive(this) || (*this).state != SCOPE | CARVED || (*this).flags & !KN_ARENA_FIXED != 0 {
                return false;
            }
            let outer = (*this).outer;
            let base = this.cast::<u8>().wrapping_sub(LEAD);
            // It needed no other segment, nor did its parent.
            if (*this).segment.cast() != base || (*outer).end != base || innermost((*this).source) != this {
                return false;
            }
            (*outer).high = (*outer).high.max((*this).high).max((*this).at);
            (*outer).end = (*(*outer).segment).limit;
            set_innermost((*this).source, outer);
            Self::unseal(this);
            true
        }
    }

    /// Leaves the innermost scope if nothing but memory has to go: whether that was so.
    ///
    /// # Safety
    /// As [`KnArena::leave`].
    #[inline(always)]
    pub unsafe fn leave_plain(this: *mut Self) -> bool {
        // SAFETY: as there.
        unsafe {
            if !Self::is_alive(this) {
                return false;
            }
            // A scope, with or without memory of its own, and nothing else.
            let plain = (*this).state & !CARVED == SCOPE && (*this).flags & KN_ARENA_CHECK_LEAVE == 0;
            if !plain || innermost((*this).source) != this {
                return false;
            }
            Self::note_peak(this);
            Self::go(this);
            true
        }
    }

    /// Takes the innermost scope out of the list and gives its memory back.
    ///
    /// # Safety
    /// `this` is the innermost scope; nothing in it is left to be done.
    #[inline(always)]
    unsafe fn go(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            let outer = (*this).outer;
            set_innermost((*this).source, outer);
            if !outer.is_null() {
                Self::return_to(this, outer);
            }
            Self::unseal(this);
            Self::give_all(this);
        }
    }

    /// Leaves a scope, those inside it first.
    ///
    /// # Safety
    /// `this` is null or memory that can be read; nothing in the scope is used afterwards.
    #[inline(never)]
    pub unsafe fn leave(this: *mut Self, report: &mut KnLeaveReport) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_alive(this) {
                report.status = Self::refuse(this, c"kn_arena_leave: no scope, or one that was left");
                return report.status;
            }
            report.name = Self::name(this);
            if !Self::has(this, SCOPE) {
                report.status = Self::refuse(this, c"kn_arena_leave: a free-standing arena, for kn_arena_destroy");
                return report.status;
            }
            report.status = KnStatus::Ok;
            report.status = Self::may_leave(this, report);
            if report.status != KnStatus::Ok {
                return report.status;
            }
            let inner = innermost((*this).source);
            if inner != this {
                report.other = Self::name(inner);
                report.status = KnStatus::Order;
                port::report(KnStatus::Order, this.cast(), c"kn_arena_leave: scopes inside it were open");
                Self::leave_inner(this, report);
            }
            Self::leave_one(this, report);
            report.status
        }
    }

    /// Whether a scope and those inside may be left: not from one of their own callbacks, and not against their
    /// policy.
    ///
    /// # Safety
    /// `this` is one of the open scopes.
    #[inline(never)]
    unsafe fn may_leave(this: *mut Self, report: &mut KnLeaveReport) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let mut each = innermost((*this).source);
            loop {
                if Self::is_calling(each) {
                    report.other = Self::name(each);
                    return Self::refuse(each, c"kn_arena_leave: from one of the scope's own callbacks");
                }
                if each == this {
                    break;
                }
                each = (*each).outer;
            }
            each = innermost((*this).source);
            loop {
                let refuses = (*each).config.policy == KN_ESCAPE_REFUSE && !Self::has(each, LEAVING);
                if refuses && Self::has_escapes(each, report) {
                    report.other = Self::name(each);
                    return KnStatus::Escape;
                }
                if each == this {
                    return KnStatus::Ok;
                }
                each = (*each).outer;
            }
        }
    }

    /// Leaves the scopes that a callback left open inside one.
    ///
    /// # Safety
    /// `this` is one of the open scopes.
    #[inline(always)]
    pub(super) unsafe fn leave_opened(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            if innermost((*this).source) != this {
                Self::leave_inner(this, &mut KnLeaveReport::new());
            }
        }
    }

    /// Leaves the scopes inside one.
    ///
    /// # Safety
    /// `this` is one of the open scopes.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn leave_inner(this: *mut Self, report: &mut KnLeaveReport) {
        // SAFETY: the caller's word.
        unsafe {
            loop {
                let inner = innermost((*this).source);
                if inner == this || inner.is_null() {
                    return;
                }
                let mut own = KnLeaveReport::new();
                Self::leave_one(inner, &mut own);
                report.children += 1 + own.children;
                report.cleanups += own.cleanups;
                report.destroyed += own.destroyed;
                report.released += own.released;
                report.dropped += own.dropped;
                if report.escapes == 0 && own.escapes != 0 {
                    report.first = own.first;
                }
                report.counted += own.counted;
                report.escapes += own.escapes;
                report.nulled += own.nulled;
                report.promoted += own.promoted;
                report.weak += own.weak;
            }
        }
    }

    /// Leaves the innermost scope.
    ///
    /// # Safety
    /// `this` is the innermost scope of its heap, and no call further up leaves it.
    #[inline(never)]
    unsafe fn leave_one(this: *mut Self, report: &mut KnLeaveReport) {
        // SAFETY: the caller's word.
        unsafe {
            Self::note_peak(this);
            report.used = Self::used(this);
            report.held = (*this).held;
            if !Self::is_plain(this) || Self::has(this, LEAVING) {
                Self::end_whole(this, report);
            }
            report.peak = Self::most(this);
            report.suggested = round(report.peak) + Self::waste(this);
            Self::go(this);
        }
    }

    /// All that [`KnArena::end_tail`] does, for the whole of an arena.
    ///
    /// # Safety
    /// `this` is a living arena that no call further up ends.
    #[inline(never)]
    pub(super) unsafe fn end_whole(this: *mut Self, report: &mut KnLeaveReport) {
        // SAFETY: the caller's word.
        unsafe {
            report.counted += (*Self::books(this)).escapes;
            Self::begin_end(this, true);
            Self::end_tail(this, Tail::whole(this), report);
        }
    }

    /// Gives its parent back what a scope had of it, and tells it the peak.
    ///
    /// # Safety
    /// `this` is the scope that is being left, `outer` its parent.
    #[inline(always)]
    unsafe fn return_to(this: *mut Self, outer: *mut KnArena) {
        // SAFETY: the caller's word.
        unsafe {
            let base = this.cast::<u8>().wrapping_sub(LEAD).cast::<Segment>();
            let host = (*outer).segment;
            if Self::has(this, CARVED) && (*this).segment == base && Segment::spans(host, base.addr()) {
                // The usual case: it lay in its parent's newest segment, and needed no other.
                (*outer).high = (*outer).high.max((*this).high);
                if !Self::has(outer, LEAVING) {
                    (*outer).end = (*host).limit;
                }
                return;
            }
            Self::return_more(this, outer);
        }
    }

    /// [`KnArena::return_to`] for a scope with memory of its own, or in an older segment of its parent's.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    unsafe fn return_more(this: *mut Self, outer: *mut KnArena) {
        // SAFETY: as there.
        unsafe {
            let used = Self::used(outer);
            (*outer).peak = Self::most(outer).max(used + FIRST + Self::most(this));
            (*outer).slack = (*outer).slack.max((*this).slack);
            let mut from_heap = (*this).held;
            if Self::has(this, CARVED) {
                let base = this.cast::<u8>().wrapping_sub(LEAD).cast::<Segment>();
                from_heap -= (*base).limit.addr() - base.addr() - FIRST;
                let host = (*outer).segment;
                if Self::has(outer, LEAVING) {
                    // Its memory goes as a whole, or back to a mark.
                } else if Segment::spans(host, base.addr()) {
                    (*outer).end = (*host).limit;
                } else {
                    Self::note_hole(outer, base);
                }
            }
            if from_heap != 0 {
                Self::discharge(outer, from_heap);
            }
        }
    }

    /// Leaves all scopes inside `upto`, or all of them if that is null. `Order` if it is no open scope, or from
    /// a callback of one that is being left; then nothing has changed.
    ///
    /// # Safety
    /// `heap` is a live heap of this thread, `upto` null or memory that can be read.
    pub unsafe fn unwind(heap: *mut KnHeap, upto: *mut KnArena) -> KnStatus {
        // SAFETY: the caller's word; the list holds living scopes.
        unsafe {
            let source = Source::of(heap);
            let mut each = innermost(source);
            while each != upto {
                if each.is_null() {
                    return Self::refuse(upto, c"kn_arena_unwind: not a scope that is open");
                }
                if Self::is_calling(each) {
                    return Self::refuse(each, c"kn_arena_unwind: from one of the scope's own callbacks");
                }
                each = (*each).outer;
            }
            while innermost(source) != upto {
                Self::leave_one(innermost(source), &mut KnLeaveReport::new());
            }
            KnStatus::Ok
        }
    }

    /// How many scopes a scope is in, itself included; 0 for a free-standing arena.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(crate) unsafe fn depth(this: *const Self) -> usize {
        let mut depth = 0;
        // SAFETY: scopes around are alive.
        unsafe {
            let mut each = this;
            while !each.is_null() && Self::has(each, SCOPE) {
                depth += 1;
                each = (*each).outer;
            }
        }
        depth
    }

    /// Tells of a call in the wrong order.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(at: *const Self, what: &'static core::ffi::CStr) -> KnStatus {
        port::report(KnStatus::Order, at.cast(), what);
        KnStatus::Order
    }
}

const _: () = assert!(WHOLE != LEAVING);
