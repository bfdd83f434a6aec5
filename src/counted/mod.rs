//! Counted memory: cells that go when their last reference goes, cycles by trial deletion.
//!
//! Guarantees
//! * A cell has an 8-byte header right before its payload, on every target; it is born zeroed, aligned
//!   to 8 bytes, with a count of 1. A count that would not fit makes its cell immortal.
//! * A cell whose count reaches zero is destroyed at once (or within the configured budget): its
//!   `destroy` once, then its references, then its memory. No call recurses, whatever the data.
//! * Counts are exact at every moment, in the middle of a collection too: what the cycle collector
//!   subtracts on trial, it subtracts beside the cells. Only the whole-heap passes, which run no
//!   code of the program's, work in the headers, and put everything right before they end.
//! * Any set of cells whose references all come from within is garbage. So a collection may look at a
//!   part of the graph only: bounded slices and short memory make it later, never wrong.
//! * `destroy` and `trace` may call everything here, and may jump away.
//!
//! ```text
//!   program --GC_new--> allocate.rs, pages.rs   cells of one size in pages, larger ones in blocks
//!      |                cell.rs    the header: count, flags, type, seal
//!      |                types.rs   what the program says of its types; which can't be in a cycle
//!      +---GC_ref-----> count.rs   up, down, and what is out of the ordinary
//!                          | zero           | not zero, and a cycle is possible
//!                       destroy.rs       roots.rs     candidates, in order
//!                       the waiting          |
//!                          ^             collect.rs   when, and how much
//!                          |              /      \
//!                          +--- search.rs          sweep.rs
//!                          |    a part of the      all pages, in the headers:
//!                          |    graph, in steps    no memory needed
//!                          +---------'------------------'
//! ```
//! `trace.rs` finds a cell's references, `turn.rs` keeps callbacks and jumps in order, `touched.rs` counts cells
//! that are under search, `shared.rs` counts from any thread, `state.rs` holds it all together, `memory.rs` says
//! where it comes from, `settings.rs` has the configuration, `check.rs` verifies, `garbage.rs` finds cycles and
//! `lookup.rs` what lies in a block, for reports, `resident.rs` keeps always-active cells apart.
//!
//! Costs: docs/counted.md and docs/counted-figures.md.
//!
//! Glossary: a *cell* is a header and a payload; a *slot* is a pointer-sized field that holds a counted
//! reference or null; a *root* is a cell that lost a reference and may since be held by a cycle only.

mod allocate;
mod cell;
mod check;
mod collect;
mod count;
mod destroy;
mod garbage;
pub mod grain;
#[cfg(feature = "arena")]
mod judge;
mod lookup;
mod pages;
mod resident;
mod roots;
#[cfg(feature = "arena")]
pub(crate) mod scoped;
mod search;
mod settings;
mod shared;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod touched;
mod trace;
mod turn;
mod types;

pub use cell::KN_IMMORTAL;
pub use count::{
    add_ref, assign, count, dec_ref, dec_ref_ignore_zeros, drop_reuse, end, is_unique, release, size_of_cell, take,
    type_of,
};
pub use settings::{
    KnGcConfig, KnGcStats, KN_GC_ARC, KN_GC_COLLECT_WHEN_FULL, KN_GC_FIXED_THRESHOLD, KN_GC_STAY_DISABLED,
    KN_GC_TORTURE,
};
pub use state::Counted;
pub use trace::{visit, KnTracer};
pub use types::{KnType, KnTypeId, KN_TYPE_ACYCLIC, KN_TYPE_ARRAY, KN_TYPE_RESIDENT, KN_TYPE_SHARED};

pub(crate) use count::{first_root, special_ref, special_release, special_take};
pub(crate) use garbage::Piece;
#[cfg(feature = "arena")]
pub(crate) use judge::Reference;
pub(crate) use lookup::Found;
pub(crate) use pages::owner;
pub(crate) use state::current;
pub(crate) use trace::slots;
