//! What the world asks of a traced heap: Knoll's, or the naive one.

use crate::setup::{Ground, Setup};
pub use knoll::traced::{
    KnTracedPin, KnTracedShort, KN_FINALISE, KN_LONG_LIVED, KN_NO_SCAN, KN_TRACED_INTERIOR, KN_TRACED_STRESS,
};
use std::ffi::c_void;

/// What the heap calls.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// Memory is short, or the threshold is reached.
    pub collect: unsafe extern "C" fn(*mut c_void),
    /// A block with a finaliser is dead.
    pub finalise: unsafe extern "C" fn(*mut c_void, *mut c_void),
    /// The pointers of a block are asked for.
    pub trace: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize)>,
    /// A request can't be met.
    pub on_short: unsafe extern "C" fn(*mut c_void, *const KnTracedShort),
    /// Goes to each of them.
    pub context: *mut c_void,
}

/// The numbers that the world compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Bytes of all granules.
    pub total: usize,
    /// Bytes in blocks, the dead that are not swept included.
    pub used: usize,
    /// All others.
    pub free: usize,
    /// Bytes of the largest free run.
    pub largest_free: usize,
    /// How many blocks.
    pub blocks: usize,
    /// Of one granule.
    pub one_granule: usize,
    /// Of two granules.
    pub two_granules: usize,
    /// To be finalised.
    pub finalisers: usize,
    /// Bytes of the largest block.
    pub largest_block: usize,
    /// What the sweep has still before it: 0 iff nothing.
    pub unswept: usize,
    /// Bytes allocated since the last collection, if there is a threshold.
    pub since: usize,
    /// Collections that came to their end.
    pub collections: usize,
    /// Areas.
    pub areas: usize,
    /// Open scopes.
    pub scopes: usize,
}

/// A block or a free run, as a walk tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it starts.
    pub at: usize,
    /// Bytes.
    pub size: usize,
    /// It is a block.
    pub used: bool,
}

/// A traced heap in memory of its own. It may be called again from the hooks that it calls.
///
/// The pointers that are resized and freed are those of blocks: that is what each method's safety asks for.
#[allow(clippy::missing_safety_doc)]
pub trait Heap: Sized {
    /// A heap; None if its memory is too little.
    fn create(setup: &Setup, hooks: &Hooks) -> Option<Self>;
    /// One area more; false if it is refused.
    fn add_area(&self, ground: &Ground) -> bool;
    /// A new block or null.
    fn alloc(&self, size: usize, flags: u32) -> *mut u8;
    /// Gives a block back.
    unsafe fn free(&self, block: *mut u8);
    /// Resizes.
    unsafe fn realloc(&self, block: *mut u8, size: usize, moves: bool) -> *mut u8;
    /// Bytes of the block, 0 if there is none.
    fn size(&self, at: usize) -> usize;
    /// Flags of the block.
    fn flags(&self, at: usize) -> u32;
    /// The block holds no pointers from now on; false if there is none.
    fn no_scan(&self, at: usize) -> bool;
    /// A collection begins.
    fn start(&self);
    /// All that these words reach is marked.
    fn mark(&self, words: &[usize]);
    /// Whether a block is marked.
    fn is_marked(&self, at: usize) -> bool;
    /// A collection ends.
    fn end(&self);
    /// Sweeps on; true when nothing is left.
    fn step(&self, granules: usize) -> bool;
    /// One lock more.
    fn lock(&self);
    /// One lock less.
    fn unlock(&self);
    /// Whether there is a lock.
    fn is_locked(&self) -> bool;
    /// A scope begins.
    fn scope_begin(&self);
    /// A scope ends.
    fn scope_end(&self);
    /// Long-lived blocks from now on.
    fn lasting_begin(&self);
    /// No longer.
    fn lasting_end(&self);
    /// Whether the block lies on the transient side of the open scope.
    fn is_transient(&self, at: usize) -> bool;
    /// Another threshold.
    fn set_threshold(&self, bytes: usize);
    /// The numbers.
    fn numbers(&self) -> Result<Numbers, String>;
    /// Verifies everything, the memory beside the areas included.
    fn check(&self) -> Result<(), String>;
    /// Every block and free run.
    fn walk(&self) -> Result<Vec<Run>, String>;
    /// The blocks with words that hold this block's address, and those words' addresses; how many it says there are.
    fn holders(&self, at: usize) -> (usize, Vec<(usize, usize)>);
    /// The memory of each area: its start, its bytes, its granule.
    fn memories(&self) -> Vec<(usize, usize, usize)>;
    /// What the error hook was told since the last call.
    fn complaint(&self) -> Option<String>;
}
