//! The heap: its control block, how it is made, and who may use it when.
//!
//! Guarantees
//! * The control block, the bits and the granules lie in the memory that the program gives, and nowhere else.
//! * While the heap is locked, or a collection is under way, nothing is allocated, and nothing is freed but by
//!   finalisers. A callback that jumped away leaves the collection as it was: kn_traced_collect_start begins anew,
//!   kn_traced_collect_end goes on.
//!
//! ```text
//!   mem | KnTraced: first Area, configuration, mark stack | bits | granules …                 |
//!   kn_traced_add_area                                    | Area | bits | granules …          |
//!
//!   phase    IDLE --collect_start--> MARKING --collect_end--> FINALISING --> IDLE (and slices to sweep)
//! ```
//! Costs: the control block has 600 bytes on 32-bit targets, 1100 on 64-bit ones.

use core::ptr::null_mut;

use super::area::{Area, Areas, Granule};
use super::config::{KnTracedConfig, CONFIG_FLAGS, KN_TRACED_STRESS};
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
/// The logarithm of the usual granule's bytes.
pub(super) const USUAL: u32 = 4;

/// A heap of traced memory.
#[repr(C, align(8))]
pub struct KnTraced {
    /// The first area; the others follow it.
    pub(super) area: Area,
    /// What an allocation must know: [`GATE_TOP`], [`GATE_SLOW`]; 0 as a rule.
    pub(super) gate: u32,
    /// What the last short allocation gave.
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
    /// Bytes allocated since the last one, while there is a threshold.
    pub(super) since: usize,
    pub(super) config: KnTracedConfig,
    /// A callback of the program's that collects, and one that is inside a collection.
    pub(super) collecting: Callback,
    pub(super) inside: Callback,
    /// Blocks that wait to be looked into: where from.
    pub(super) waiting: usize,
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
        let mut config = if config.is_null() { KnTracedConfig::DEFAULT } else { unsafe { config.read() } };
        if config.granule == 0 {
            config.granule = 16;
        }
        let padding = mem.addr().wrapping_neg() % align_of::<KnTraced>();
        let control = padding + size_of::<KnTraced>();
        if mem.is_null() || config.flags & !CONFIG_FLAGS != 0 || bytes <= control {
            return null_mut();
        }
        let Some(shift) = shift_of(config.granule) else { return null_mut() };
        let slice = config.slice as usize;
        // SAFETY: the control block lies in the memory, and the area behind it.
        unsafe {
            let heap = mem.add(padding).cast::<KnTraced>();
            let Some(area) = Area::lay_out(mem.add(control), bytes - control, shift, slice) else { return null_mut() };
            heap.write_bytes(0, 1);
            (&raw mut (*heap).area).write(area);
            (&raw mut (*heap).config).write(config);
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
            let Some(shift) = shift_of(granule) else { return KnStatus::Invalid };
            if mem.is_null() {
                return KnStatus::Invalid;
            }
            if (*heap).phase != Phase::Idle {
                return KnStatus::Order;
            }
            let slice = (*heap).config.slice as usize;
            let padding = mem.addr().wrapping_neg() % align_of::<Area>();
            let control = padding + size_of::<Area>();
            if bytes <= control {
                return KnStatus::NoMemory;
            }
            let Some(area) = Area::lay_out(mem.add(control), bytes - control, shift, slice) else {
                return KnStatus::NoMemory;
            };
            let place = mem.add(padding).cast::<Area>();
            place.write(area);
            let mut last = &raw mut (*heap).area;
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            (*last).next = place;
            KnStatus::Ok
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
        let stress = heap.config.flags & KN_TRACED_STRESS != 0;
        let closed = heap.locks != 0 || heap.phase != Phase::Idle;
        heap.gate = if heap.area.shift == USUAL { 0 } else { GATE_UNUSUAL };
        if heap.scopes != 0 && heap.lasting == 0 {
            heap.gate |= GATE_TOP;
        }
        if closed || stress || heap.config.threshold != 0 {
            heap.gate |= GATE_SLOW;
        }
    }

    /// The areas.
    ///
    /// # Safety
    /// `heap` is live.
    pub(super) unsafe fn areas(heap: *mut KnTraced) -> Areas {
        // SAFETY: the caller's word.
        unsafe { Areas::from(&raw mut (*heap).area) }
    }

    /// The area and granule that start at `block`.
    ///
    /// # Safety
    /// `heap` is live.
    #[inline(always)]
    pub(super) unsafe fn find(heap: *mut KnTraced, block: *const u8) -> Option<(*mut Area, Granule)> {
        // SAFETY: the caller's word.
        unsafe {
            let mut areas = Self::areas(heap);
            areas.find_map(|area| Some((area, Area::granule(area, block.addr())?)))
        }
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
        unsafe { (*heap).locks != 0 || (*heap).phase != Phase::Idle }
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
    unsafe fn close(heap: *mut KnTraced, depth: *mut u32, what: &'static core::ffi::CStr) {
        // SAFETY: the caller's word.
        unsafe {
            if *depth == 0 {
                return report(KnStatus::Order, heap.cast(), what);
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
        unsafe { Self::find(heap, block).is_some_and(|(area, granule)| granule >= (*area).floor) }
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

/// The logarithm of a granule's bytes, if they are allowed.
fn shift_of(granule: u32) -> Option<u32> {
    matches!(granule, 8 | 16 | 32).then(|| granule.trailing_zeros())
}

// A granule has room for a word that refers to another block.
const _: () = assert!(size_of::<usize>() <= 8 && WORD_BITS >= 32);
