//! Traced memory: what no root reaches goes by itself, by mark and sweep.
//!
//! For runtimes whose values refer to each other freely: MicroPython's heap, a Lisp, a table of a language. The
//! program tells its roots, or just all words of its stack, and what can't be reached from them is freed.
//!
//! Guarantees
//! * A block that a root reaches by starts of blocks (or, if asked, by pointers into them) stays as it is; any
//!   other is gone after the collection, when its finaliser, if it has one, has run once.
//! * Nothing lies in front of a block or in it: three bits for each granule lie beside the memory.
//! * No call recurses; collecting needs no memory; each block is looked into once. All work but that of marking
//!   and of finalisers can be cut into slices.
//! * Transient blocks lie at the top and long-lived ones at the bottom, if the program says when a workflow
//!   begins and ends: then what a workflow leaves behind does not stand in the middle of free memory.
//!
//! ```text
//!   | control block | bits                | long-lived blocks   …   free   …  transient blocks |
//!                     head scan mark
//!                     3 bits a granule of 8, 16 or 32 bytes
//!
//!   allocate.rs   a block: hints and words of bits tell where free runs are       classes.rs, zero.rs
//!   block.rs      its size, freeing, resizing in place both ways
//!   mark.rs       from roots to all that is reachable; trace.rs: the loop in which most time goes
//!   sweep.rs      finalisers, then the dead become free, a word of bits at a time
//!   survey.rs     walk, numbers, check, who refers to whom, what pins
//!   heap.rs       the control block; area.rs: an area and its bits; config.rs: the C structures
//! ```
//! Costs: see each file. A heap of 140 KB with granules of 16 bytes has 3.3 KB of bits.
//!
//! Source: McCarthy's mark and sweep (1960); MicroPython's py/gc.c for the contract; lazy sweeping: Hughes, "A
//! semi-incremental garbage collection algorithm" (1982). See docs/traced.md.

mod allocate;
mod area;
mod block;
mod classes;
mod config;
mod heap;
mod mark;
mod survey;
mod sweep;
mod trace;
mod zero;

pub use config::{
    KnHolderFn, KnTracedCollectFn, KnTracedConfig, KnTracedFinaliseFn, KnTracedPin, KnTracedShort, KnTracedShortFn,
    KnTracedStats, KnTracedTraceFn, KN_FINALISE, KN_LONG_LIVED, KN_NO_SCAN, KN_TRACED_INTERIOR, KN_TRACED_PINS,
    KN_TRACED_STRESS,
};
pub use heap::KnTraced;
pub(crate) use survey::NOBODY;
