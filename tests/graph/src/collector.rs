//! What the world asks of a collector: Knoll's counted part, or the naive one.

use crate::plan::Setup;
pub use knoll::counted::{
    KnGcConfig, KnTracer, KnType, KN_GC_ARC, KN_GC_COLLECT_WHEN_FULL, KN_GC_FIXED_THRESHOLD, KN_GC_STAY_DISABLED,
    KN_GC_TORTURE, KN_TYPE_ACYCLIC, KN_TYPE_ARRAY, KN_TYPE_SHARED,
};

/// The numbers that the world compares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Cells alive, those that wait for their destruction included, shared ones not.
    pub cells: usize,
    /// Cells that wait for their destruction.
    pub pending: usize,
    /// The most cells that one call has visited.
    pub longest: usize,
}

/// A collector. It may be called again from the callbacks that it calls.
///
/// The pointers that its methods take are payloads of cells that are alive, slots are fields of such
/// cells or variables of the program: that is what each method's safety asks for.
#[allow(clippy::missing_safety_doc)]
pub trait Collector: Sized {
    /// A collector in memory of its own; None if that memory is too small.
    fn create(setup: &Setup) -> Option<Self>;
    /// Registers a type; 0 if it is refused.
    unsafe fn register(&self, descriptor: *const KnType) -> u32;
    /// A new cell or null.
    unsafe fn new_cell(&self, kind: u32) -> *mut u8;
    /// A new cell with a payload of so many bytes, or null.
    unsafe fn new_sized(&self, kind: u32, bytes: usize) -> *mut u8;
    /// One reference more.
    unsafe fn add_ref(&self, cell: *mut u8);
    /// One reference less.
    unsafe fn release(&self, cell: *mut u8);
    /// Counts the new, stores it, releases the old.
    unsafe fn assign(&self, slot: *mut *mut u8, cell: *mut u8);
    /// What the slot holds; it holds null now.
    unsafe fn take(&self, slot: *mut *mut u8) -> *mut u8;
    /// The cell emptied if it had one reference; else null, and it is released.
    unsafe fn drop_reuse(&self, cell: *mut u8) -> *mut u8;
    /// How many references there are.
    unsafe fn count(&self, cell: *mut u8) -> u32;
    /// Bytes that may be used.
    unsafe fn size(&self, cell: *mut u8) -> usize;
    /// The type.
    unsafe fn kind_of(&self, cell: *mut u8) -> u32;
    /// From a trace callback: this slot holds a reference.
    unsafe fn visit(tracer: *mut KnTracer, slot: *mut *mut u8);
    /// A full collection.
    fn collect(&self);
    /// A collection of the roots from `limit` on.
    fn partial(&self, limit: usize);
    /// How many roots there are.
    fn roots(&self) -> usize;
    /// Automatic collection on.
    fn enable(&self);
    /// Automatic collection off.
    fn disable(&self);
    /// A slice; true when nothing is left to do.
    fn step(&self, budget: usize) -> bool;
    /// Another configuration.
    fn configure(&self, config: &KnGcConfig) -> Result<(), String>;
    /// What the error hook was told since the last call.
    fn complaint(&self) -> Option<String>;
    /// Verifies everything.
    fn check(&self) -> Result<(), String>;
    /// Numbers.
    fn numbers(&self) -> Numbers;
    /// Free memory: the largest piece of the heap, and what is empty between cells.
    fn room(&self) -> usize;
    /// Takes all memory but blocks of at most `leave` bytes.
    fn fill(&self, leave: usize);
    /// Gives back what [`Collector::fill`] took.
    fn drain(&self);
    /// All cells have gone: fails unless all memory is back as it was before.
    fn retire(&self) -> Result<(), String>;
}
