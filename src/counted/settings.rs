//! How a state collects, and the numbers it tells.
//!
//! * All zero is the default: cycles collected, adaptive threshold, at once, nothing lazy.
//! * A configuration with unknown flags is refused as a whole.

use super::state::Counted;
use crate::heap::KnStatus;

/// Counting only: no cell that is born under it becomes a root, cycles stay.
pub const KN_GC_ARC: u32 = 1;
/// The threshold stays what it is (Nim's nimFixedOrc).
pub const KN_GC_FIXED_THRESHOLD: u32 = 2;
/// A manual collection while the collector is disabled leaves it disabled.
pub const KN_GC_STAY_DISABLED: u32 = 4;
/// GC_new collects before it answers NULL.
pub const KN_GC_COLLECT_WHEN_FULL: u32 = 8;
/// A full collection and GC_check at each allocation; what is freed is overwritten. For tests.
pub const KN_GC_TORTURE: u32 = 16;

const FLAGS: u32 = KN_GC_ARC | KN_GC_FIXED_THRESHOLD | KN_GC_STAY_DISABLED | KN_GC_COLLECT_WHEN_FULL | KN_GC_TORTURE;

/// The threshold that Nim has, and that a good yield leads back to.
const THRESHOLD: u32 = 128;
/// Nim's with nimFixedOrc.
const FIXED_THRESHOLD: u32 = 10_000;
/// Most roots that an automatic collection looks at, and most cells: that bounds the pause.
pub(crate) const MOST_ROOTS: u32 = 2048;
pub(crate) const MOST_CELLS: usize = 8192;
/// For each root it looks at 2 to the power of this cells at first, and at most.
pub(crate) const FIRST_REACH: u32 = 1;
pub(crate) const MOST_REACH: u32 = 10;
/// Growth below which the whole graph is not looked at.
const FLOOR: usize = if cfg!(target_pointer_width = "64") { 1 << 20 } else { 64 << 10 };

/// How cells are destroyed and cycles collected; all zero asks for the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnGcConfig {
    /// KN_GC_ARC, KN_GC_FIXED_THRESHOLD, KN_GC_STAY_DISABLED, KN_GC_COLLECT_WHEN_FULL, KN_GC_TORTURE.
    pub flags: u32,
    /// Roots at which a collection starts; 0: 128, with KN_GC_FIXED_THRESHOLD 10,000.
    pub threshold: u32,
    /// How far the threshold may grow; 0: 2,048.
    pub threshold_bound: u32,
    /// Cells that one call may visit; 0: automatic collections are done at once.
    pub slice: u32,
    /// Most cells under consideration at a time; 0: as many as memory allows.
    pub visited_limit: u32,
    /// Most cells destroyed by one call that drops a reference; 0: all.
    pub frees_per_unref: u32,
    /// Cells destroyed of those that wait, at each allocation; 0: none, or 2 if frees_per_unref is set.
    pub frees_per_new: u32,
    /// Growth in bytes below which the heap is not looked at as a whole; 0: 1 MB on 64-bit targets, 64 KB
    /// or a quarter of the heap on others; SIZE_MAX: growth starts no collection.
    pub bytes_floor: usize,
}

/// What a state is doing and has done. Sizes in bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnGcStats {
    /// Memory of pages and of cells of their own: `occupied + free`.
    pub total: usize,
    /// What cells take, headers included.
    pub occupied: usize,
    /// What is left in pages, their records included.
    pub free: usize,
    /// The collector's own: roots, cells under consideration, types, the state itself; outside `total`.
    pub buffers: usize,
    /// Cells alive or waiting for destruction.
    pub cells: usize,
    /// Roots registered now.
    pub roots: usize,
    /// Cells that wait for destruction.
    pub pending: usize,
    /// The threshold, as the seed's rule moves it; 0 while disabled.
    pub threshold: usize,
    /// Roots at which the next collection starts: the threshold, more after collections in vain, 0 for the next
    /// root; SIZE_MAX while disabled.
    pub trigger: usize,
    /// Collections done.
    pub collections: usize,
    /// Slices done.
    pub steps: usize,
    /// Cells visited by all collections.
    pub visited: usize,
    /// Cells freed by collections.
    pub freed: usize,
    /// Most cells visited by one call since GC_configure.
    pub longest: usize,
}

/// The configuration as it is used.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub flags: u32,
    pub threshold: u32,
    pub bound: u32,
    pub slice: u32,
    pub visited_limit: u32,
    pub frees_per_release: u32,
    pub frees_per_new: u32,
    pub floor: usize,
}

impl Settings {
    /// The defaults for a heap that can hold so many bytes.
    pub fn of(config: &KnGcConfig, capacity: Option<usize>) -> Settings {
        let fixed = config.flags & KN_GC_FIXED_THRESHOLD != 0;
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        let threshold = or(config.threshold, if fixed { FIXED_THRESHOLD } else { THRESHOLD });
        let lazy = config.frees_per_unref != 0;
        let floor = if config.bytes_floor == 0 {
            FLOOR.min(capacity.map_or(usize::MAX, |bytes| bytes / 4))
        } else {
            config.bytes_floor
        };
        Settings {
            flags: config.flags,
            threshold,
            bound: or(config.threshold_bound, MOST_ROOTS).max(threshold),
            slice: config.slice,
            visited_limit: or(config.visited_limit, u32::MAX >> 6),
            frees_per_release: or(config.frees_per_unref, u32::MAX),
            frees_per_new: or(config.frees_per_new, if lazy { 2 } else { 0 }),
            floor,
        }
    }

    pub fn arc(&self) -> bool {
        self.flags & KN_GC_ARC != 0
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether an allocation has more to do than allocate.
    pub fn busy_new(&self) -> bool {
        self.frees_per_new != 0 || self.has(KN_GC_TORTURE)
    }
}

impl Counted {
    /// Changes how this state collects: `Ok`, or `Invalid` iff a flag is unknown; then all is as it was.
    /// A collection in slices that is under way goes on.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub unsafe fn configure(this: *mut Self, config: &KnGcConfig) -> KnStatus {
        if config.flags & !FLAGS != 0 {
            return KnStatus::Invalid;
        }
        // SAFETY: the caller's word.
        unsafe {
            let capacity = (*this).source.capacity();
            (*this).capacity = capacity.and_then(core::num::NonZeroUsize::new);
            let settings = Settings::of(config, capacity);
            (*this).settings = settings;
            (*this).threshold = settings.threshold;
            (*this).ready = if settings.busy_new() { 0 } else { (*this).types };
            (*this).futile = 0;
            (*this).reach = FIRST_REACH;
            (*this).longest = 0;
            Self::adopt_mode(this);
            Self::plan_growth(this);
            Self::set_trip(this);
        }
        KnStatus::Ok
    }
}
