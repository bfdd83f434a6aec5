//! The heap: its control block, how it is made, and who may use it when.
//!
//! Guarantees
//! * The control block, the bits and the granules lie in the memory that the program gives, and nowhere else.
//! * While the heap is locked, or a collection is under way, nothing is allocated, and nothing is freed but by
//!   finalisers. A callback that jumped away leaves the collection as it was: kn_traced_collect_start begins anew,
//!   kn_traced_collect_abandon gives it up; kn_traced_collect_end goes on behind a finaliser, and refuses to where
//!   something was not marked.
//!
//! ```text
//!   mem | KnTraced: first Area, configuration, mark stack | bits | granules …                 |
//!   kn_traced_add_area                                    | Area | bits | granules …          |
//!
//!   phase    IDLE --collect_start--> MARKING --collect_end--> FINALISING --> IDLE (and slices to sweep)
//! ```
//! Costs: the control block has 600 bytes on 32-bit targets, 1100 on 64-bit ones.

use core::ffi::CStr;
use core::ptr::null_mut;

use super::area::{Area, Areas, Granule};
use super::config::{KnTracedConfig, KnTracedShort, CONFIG_FLAGS, KN_TRACED_INTERIOR, KN_TRACED_STRESS};
use super::mark::Word;
use super::zero::{copy, zero};
use crate::heap::bits::WORD_BITS;
use crate::heap::KnStatus;
use crate::port::{report, Callback};

/// How many blocks can wait to be looked into before the bits have to remember them.
pub(super) const STACK: usize = 64;

/// A scope is open: blocks are transient, and placed at the top. No flag of an allocation has this value.
pub(super) const GATE_TOP: u32 = 0x100;
/// There is more to do than to find room.
pub(super) const GATE_SLOW: u32 = 0x200;
/// Granules of the first area have not the usual size, which the shortest way takes for granted.
pub(super) const GATE_UNUSUAL: u32 = 0x400;
/// The heap is locked, or a collection is under way; GATE_SLOW is set, too.
pub(super) const GATE_CLOSED: u32 = 0x800;
/// The logarithm of the usual granule's bytes.
pub(super) const USUAL: u32 = 4;

/// See [`KnTraced::look_generally`].
type LookFn = unsafe fn(*mut KnTraced, *const Word, *const Word) -> bool;
/// See [`KnTraced::survey_short`].
type SurveyFn = unsafe fn(*mut KnTraced, &mut KnTracedShort);

/// A heap of traced memory. What is used most lies first: Thumb has shorter instructions for that.
#[repr(C, align(8))]
pub struct KnTraced {
    /// What an allocation must know: [`GATE_TOP`], [`GATE_SLOW`], …; 0 as a rule.
    pub(super) gate: u32,
    /// What the last allocation gave.
    pub(super) newest: *mut u8,
    /// Phase of the collection.
    pub(super) phase: Phase,
    pub(super) locks: u32,
    pub(super) scopes: u32,
    pub(super) lasting: u32,
    /// Blocks whose finaliser is still to run.
    pub(super) finalisers: usize,
    /// Collections ended.
    pub(super) collections: usize,
    /// Bytes allocated since the last one, by all but the short ways.
    pub(super) since: usize,
    /// From so many on an allocation collects first; the largest number: never.
    pub(super) limit: usize,
    /// The block that is being moved: a collection meanwhile must not free it.
    pub(super) resized: *mut u8,
    /// Blocks that wait to be looked into: how many places of the stack they take.
    pub(super) waiting: usize,
    /// A callback that is inside a collection, and one of the program's that collects.
    pub(super) inside: Callback,
    pub(super) collecting: Callback,
    /// Looks at words, and into what they lead to; None: the usual way, for one area without a trace function, where a
    /// pointer into a block does not hold it.
    pub(super) look: Option<LookFn>,
    /// How often a collection was given up.
    pub(super) abandoned: usize,
    /// Finds out what a report of a failure tells. Both are linked only if something sets them.
    pub(super) survey: Option<SurveyFn>,
    /// For the area to begin at a multiple of 8 bytes.
    pub(super) reserved: usize,
    /// The first area; the others follow it.
    pub(super) area: Area,
    pub(super) config: KnTracedConfig,
    pub(super) stack: [*mut u8; STACK],
}

/// How far a collection is.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle = 0,
    Marking = 1,
    Finalising = 2,
}

impl KnTraced {
    /// A heap in `bytes` bytes at `mem`; null: too small, or a configuration that makes no sense.
    ///
    /// # Safety
    /// `mem` is null or valid for `bytes` bytes that nobody else uses as long as the heap is used; `config` is null
    /// or valid for a read.
    pub unsafe fn create(mem: *mut u8, bytes: usize, config: *const KnTracedConfig) -> *mut KnTraced {
        // SAFETY: the caller's word.
        unsafe {
            let heap = Self::make(mem, bytes, config, CONFIG_FLAGS);
            if !heap.is_null() {
                (*heap).survey = Some(Self::survey_short);
                if (*heap).config.trace.is_some() || (*heap).config.flags & KN_TRACED_INTERIOR != 0 {
                    (*heap).look = Some(Self::look_generally);
                }
            }
            heap
        }
    }

    /// The same; null also if the configuration has `trace` or KN_TRACED_INTERIOR, and `on_short` is told the request alone.
    /// Whoever calls this one alone has no code for the remainder linked.
    ///
    /// # Safety
    /// As [`KnTraced::create`].
    pub unsafe fn create_plain(mem: *mut u8, bytes: usize, config: *const KnTracedConfig) -> *mut KnTraced {
        // SAFETY: the caller's word.
        unsafe {
            if !config.is_null() && (*config).trace.is_some() {
                return null_mut();
            }
            Self::make(mem, bytes, config, CONFIG_FLAGS & !KN_TRACED_INTERIOR)
        }
    }

    /// The heap, but for what its configuration asks of [`KnTraced::create`] alone.
    ///
    /// # Safety
    /// As [`KnTraced::create`].
    unsafe fn make(mem: *mut u8, bytes: usize, config: *const KnTracedConfig, flags: u32) -> *mut KnTraced {
        let padding = mem.addr().wrapping_neg() % align_of::<KnTraced>();
        let control = padding + size_of::<KnTraced>();
        if mem.is_null() || bytes <= control {
            return null_mut();
        }
        // SAFETY: the caller's word; the control block lies in the memory, and the area behind it.
        unsafe {
            let heap = mem.add(padding).cast::<KnTraced>();
            zero(heap.cast(), size_of::<KnTraced>());
            if !config.is_null() {
                copy(config.cast(), (&raw mut (*heap).config).cast(), size_of::<KnTracedConfig>());
            }
            let config = &mut (*heap).config;
            if config.granule == 0 {
                config.granule = 16;
            }
            let sound = config.flags & !flags == 0;
            let (granule, slice) = (config.granule, config.slice);
            let area = &raw mut (*heap).area;
            if !sound || !is_granule(granule) || !Area::lay_out(area, mem.add(control), bytes - control, granule, slice)
            {
                return null_mut();
            }
            Self::settle(heap);
            heap
        }
    }

    /// Adds memory that is used when what came before is full.
    ///
    /// # Safety
    /// `heap` is live and nobody else uses it; `mem` as for [`KnTraced::create`].
    pub unsafe fn add_area(heap: *mut KnTraced, mem: *mut u8, bytes: usize, granule: u32) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let granule = if granule == 0 { (*heap).config.granule } else { granule };
            if mem.is_null() || !is_granule(granule) {
                return KnStatus::Invalid;
            }
            if (*heap).phase != Phase::Idle {
                return KnStatus::Order;
            }
            if Self::meets(heap, mem.addr(), bytes) {
                return KnStatus::Invalid;
            }
            let padding = mem.addr().wrapping_neg() % align_of::<Area>();
            let control = padding + size_of::<Area>();
            if bytes <= control {
                return KnStatus::NoMemory;
            }
            let place = mem.add(padding).cast::<Area>();
            zero(place.cast(), size_of::<Area>());
            if !Area::lay_out(place, mem.add(control), bytes - control, granule, (*heap).config.slice) {
                return KnStatus::NoMemory;
            }
            let mut last = &raw mut (*heap).area;
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            (*last).next = place;
            (*heap).look = Some(Self::look_generally);
            KnStatus::Ok
        }
    }

    /// Whether memory is the heap's already, in part at least, or none that can be.
    ///
    /// # Safety
    /// `heap` is live.
    unsafe fn meets(heap: *mut KnTraced, start: usize, bytes: usize) -> bool {
        let Some(last) = start.checked_add(bytes.saturating_sub(1)) else { return true };
        // SAFETY: the caller's word. The first area's record lies in the control block, another's where its memory begins.
        unsafe {
            Self::areas(heap).any(|area| {
                let first = area == &raw mut (*heap).area;
                let from = if first { heap.addr() } else { area.addr() };
                let to = (*area).base.addr() + (((*area).count << (*area).shift) - 1);
                start <= to && from <= last
            })
        }
    }

    /// Recomputes what the short way of an allocation depends on.
    ///
    /// # Safety
    /// `heap` is live.
    #[inline(never)]
    pub(super) unsafe fn settle(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        let heap = unsafe { &mut *heap };
        let threshold = heap.config.threshold;
        // No threshold is one that is never reached; stress, one that always is.
        heap.limit = if threshold == 0 { usize::MAX } else { threshold };
        if heap.config.flags & KN_TRACED_STRESS != 0 {
            heap.limit = 0;
        }
        heap.gate = if heap.area.shift == USUAL { 0 } else { GATE_UNUSUAL };
        if heap.scopes != 0 && heap.lasting == 0 {
            heap.gate |= GATE_TOP;
        }
        if heap.locks != 0 || heap.phase != Phase::Idle {
            heap.gate |= GATE_SLOW | GATE_CLOSED;
        }
        if heap.limit != usize::MAX {
            heap.gate |= GATE_SLOW;
        }
    }

    /// Tells the error hook.
    #[cold]
    #[inline(never)]
    pub(super) fn complain(status: KnStatus, at: *const u8, what: &'static CStr) {
        report(status, at, what);
    }

    /// The areas.
    ///
    /// # Safety
    /// `heap` is live.
    pub(super) unsafe fn areas(heap: *mut KnTraced) -> Areas {
        // SAFETY: the caller's word.
        unsafe { Areas::from(&raw mut (*heap).area) }
    }

    /// The area and granule that start at `block`; the area is null: there is none.
    ///
    /// # Safety
    /// `heap` is live.
    #[inline(never)]
    pub(super) unsafe fn find(heap: *mut KnTraced, block: *const u8) -> (*mut Area, Granule) {
        // SAFETY: the caller's word.
        unsafe {
            for area in Self::areas(heap) {
                let granule = Area::granule(area, block.addr());
                if granule < (*area).count {
                    return (area, granule);
                }
            }
        }
        (null_mut(), 0)
    }

    /// Locks the heap once more.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn lock(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            (*heap).locks = (*heap).locks.saturating_add(1);
            Self::settle(heap);
        }
    }

    /// Takes one lock off.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn unlock(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe { Self::close(heap, &raw mut (*heap).locks, c"kn_traced_unlock: it is not locked") }
    }

    /// Whether nothing can be allocated: locked, or a collection is under way.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn is_locked(heap: *mut KnTraced) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*heap).gate & GATE_CLOSED != 0 }
    }

    /// From now on blocks are transient: at the top.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn scope_begin(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            if (*heap).scopes == 0 {
                Self::forget_floor(heap);
            }
            (*heap).scopes = (*heap).scopes.saturating_add(1);
            Self::settle(heap);
        }
    }

    /// Ends the innermost scope.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn scope_end(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            Self::close(heap, &raw mut (*heap).scopes, c"kn_traced_scope_end: no scope is open");
            if (*heap).scopes == 0 {
                Self::forget_floor(heap);
            }
        }
    }

    /// No block is the open scope's.
    ///
    /// # Safety
    /// `heap` is live.
    unsafe fn forget_floor(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe { Self::areas(heap).for_each(|area| (*area).floor = usize::MAX) }
    }

    /// From now on blocks are long-lived, whatever scope is open.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn lasting_begin(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe {
            (*heap).lasting = (*heap).lasting.saturating_add(1);
            Self::settle(heap);
        }
    }

    /// Ends the innermost [`KnTraced::lasting_begin`].
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn lasting_end(heap: *mut KnTraced) {
        // SAFETY: the caller's word.
        unsafe { Self::close(heap, &raw mut (*heap).lasting, c"kn_traced_lasting_end: none was begun") }
    }

    /// Counts a depth down, or tells that it is none.
    ///
    /// # Safety
    /// `heap` is live, `depth` is one of its counts.
    unsafe fn close(heap: *mut KnTraced, depth: *mut u32, what: &'static CStr) {
        // SAFETY: the caller's word.
        unsafe {
            if *depth == 0 {
                return Self::complain(KnStatus::Order, heap.cast(), what);
            }
            *depth -= 1;
            Self::settle(heap);
        }
    }

    /// Whether the block lies where the open scope's blocks do.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn is_transient(heap: *mut KnTraced, block: *const u8) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let (area, granule) = Self::find(heap, block);
            !area.is_null() && granule >= (*area).floor
        }
    }

    /// Whether blocks are transient now.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn in_scope(heap: *const KnTraced) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*heap).gate & GATE_TOP != 0 }
    }

    /// How many dead blocks the sweep has freed since the last collection ended.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn freed(heap: *mut KnTraced) -> usize {
        // SAFETY: the caller's word.
        unsafe { Self::areas(heap).map(|area| (*area).freed).sum() }
    }

    /// Sets the bytes after which an allocation collects; 0: never.
    ///
    /// # Safety
    /// `heap` is live.
    pub unsafe fn set_threshold(heap: *mut KnTraced, bytes: usize) {
        // SAFETY: the caller's word.
        unsafe {
            (*heap).config.threshold = bytes;
            (*heap).since = 0;
            Self::settle(heap);
        }
    }
}

/// Whether granules may have so many bytes.
fn is_granule(bytes: u32) -> bool {
    matches!(bytes, 8 | 16 | 32)
}

// A granule has room for a word that refers to another block; what is zeroed is a multiple of 8 bytes.
const _: () = assert!(
    size_of::<usize>() <= 8 && WORD_BITS >= 32 && (size_of::<KnTraced>() | size_of::<KnTracedConfig>()) % 8 == 0
);
