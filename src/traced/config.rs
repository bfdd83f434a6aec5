//! What a program says of a traced heap, and what it is told: the structures of the C contract.
//!
//! * All zero is a good configuration: granules of 16 bytes, every word of a block is looked at, one sweep
//!   after each collection, and collections only when the program starts them.
//! * Sizes are bytes. Callbacks get `context` first, and may be missing.

use core::ffi::c_void;

/// kn_traced_alloc: `finalise` is told once of the block when it is found dead.
pub const KN_FINALISE: u32 = 1;
/// kn_traced_alloc: the block holds no pointers and is never looked into.
pub const KN_NO_SCAN: u32 = 2;
/// kn_traced_alloc: the block is placed at the bottom also inside a scope.
pub const KN_LONG_LIVED: u32 = 4;

pub(super) const ALLOCATION_FLAGS: u32 = 7;

/// KnTracedConfig: a pointer into the inside of a block holds it too, not only one to its start.
pub const KN_TRACED_INTERIOR: u32 = 1;
/// KnTracedConfig: `collect` is called at every allocation, to find roots that the program forgot.
pub const KN_TRACED_STRESS: u32 = 2;

pub(super) const CONFIG_FLAGS: u32 = 3;

/// Told that memory is short, or that the threshold is reached: collects, with the program's own roots.
pub type KnTracedCollectFn = Option<unsafe extern "C" fn(context: *mut c_void)>;
/// Told of a dead block that was allocated with KN_FINALISE.
pub type KnTracedFinaliseFn = Option<unsafe extern "C" fn(context: *mut c_void, block: *mut c_void)>;
/// Marks the words of a block that are pointers, by kn_traced_mark.
pub type KnTracedTraceFn = Option<unsafe extern "C" fn(context: *mut c_void, block: *mut c_void, size: usize)>;
/// Told of an allocation that failed.
pub type KnTracedShortFn = Option<unsafe extern "C" fn(context: *mut c_void, report: *const KnTracedShort)>;
/// Told of a block, and the word in it that holds an address; false stops.
pub type KnHolderFn =
    Option<unsafe extern "C" fn(context: *mut c_void, holder: *const c_void, slot: *const c_void) -> bool>;

/// How a traced heap is to be; all zero, or a NULL pointer to it, asks for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnTracedConfig {
    /// Bytes of a granule, in which blocks are measured: 8, 16 or 32; 0: 16.
    pub granule: u32,
    /// KN_TRACED_INTERIOR, KN_TRACED_STRESS.
    pub flags: u32,
    /// Granules swept at a time, when memory is wanted; 0: kn_traced_collect_end sweeps everything.
    pub slice: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes allocated since the last collection at which `collect` is called; 0: never.
    pub threshold: usize,
    /// Collects, called from kn_traced_alloc and kn_traced_realloc; NULL: they answer NULL when memory is short.
    pub collect: KnTracedCollectFn,
    /// Told of dead blocks; may free blocks, gets no memory, and may jump away.
    pub finalise: KnTracedFinaliseFn,
    /// Precise marking; NULL: every word of a block may be a pointer.
    pub trace: KnTracedTraceFn,
    /// Told of an allocation that failed though memory was collected; NULL: nobody.
    pub on_short: KnTracedShortFn,
    /// Given to all of them.
    pub context: *mut c_void,
}

impl KnTracedConfig {
    /// All defaults.
    /// cbindgen:ignore
    pub const DEFAULT: KnTracedConfig = KnTracedConfig {
        granule: 0,
        flags: 0,
        slice: 0,
        reserved: 0,
        threshold: 0,
        collect: None,
        finalise: None,
        trace: None,
        on_short: None,
        context: core::ptr::null_mut(),
    };
}

/// Used blocks that stand side by side between two free runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnTracedPin {
    /// The first of them.
    pub start: *const c_void,
    /// Their bytes.
    pub size: usize,
    /// Bytes of the smaller of the two: they keep so many from joining a larger free run.
    pub harm: usize,
}

/// How many pins a report names.
pub const KN_TRACED_PINS: usize = 4;

/// Why an allocation failed. It lies on the stack: it is valid during the call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnTracedShort {
    /// Bytes asked for.
    pub request: usize,
    /// Free bytes, in all areas.
    pub free: usize,
    /// Bytes of the largest free run.
    pub largest: usize,
    /// The flags of the allocation.
    pub flags: u32,
    /// How many of `pins` are told.
    pub pin_count: u32,
    /// What stands between free runs, the most harmful first.
    pub pins: [KnTracedPin; KN_TRACED_PINS],
}

/// The numbers of a traced heap, in bytes where nothing else is said. Blocks count in whole granules.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnTracedStats {
    /// What blocks can use: `used + free`.
    pub total: usize,
    /// What blocks take, dead ones that are not yet swept included.
    pub used: usize,
    /// What no block takes.
    pub free: usize,
    /// The largest free run.
    pub largest_free: usize,
    /// The largest block.
    pub largest_block: usize,
    /// How many blocks there are; of them one granule large, and two.
    pub blocks: usize,
    /// Blocks of one granule.
    pub one_granule: usize,
    /// Blocks of two granules.
    pub two_granules: usize,
    /// Blocks whose finaliser is still to run.
    pub finalisers: usize,
    /// Allocated since the last collection; counted only while a threshold is set.
    pub since_collection: usize,
    /// What the sweep has still to look at.
    pub unswept: usize,
    /// Dead blocks that the sweep has freed since the last collection ended.
    pub freed: usize,
    /// Collections ended since the heap was made.
    pub collections: usize,
    /// How many areas the heap has.
    pub areas: usize,
    /// Scopes open.
    pub scopes: usize,
    /// Bytes of a granule of the first area.
    pub granule: usize,
}
