//! What Knoll's proof is made of: the tests in `tests/` and the targets in `fuzz/` share it.
//!
//! ```text
//!   random ── sizes, seeds ──┐
//!   op ────── one operation ─┴─► plan ── a run of many ──► shadow ── the heap and what must be true of it
//!                                  │                          │
//!                                  └─ shrink: fewest          └─ arena: memory between guards
//!                                     operations that fail       shield: cases that may crash
//! ```
//!
//! A [`shadow::Shadow`] drives one [`knoll::heap::KnHeap`] and keeps, outside the heap, the
//! range and the contents of every live block. Whatever the heap answers is held against that.
//! [`process`] does the same for the malloc of a whole process. The models of counted cells, arenas and traced
//! memory (`tests/graph`, `tests/nest`, `tests/trace`) run by [`script`].

pub mod arena;
pub mod contents;
pub mod numbers;
pub mod op;
pub mod plan;
#[cfg(unix)]
pub mod process;
pub mod random;
pub mod script;
pub mod shadow;
pub mod shield;
pub mod shrink;
pub mod tally;

/// The layouts that the crate under test is built with, [`knoll::heap::KnLayout::Auto`] included: by the
/// features of the crate that calls, which are the library's own.
#[macro_export]
macro_rules! layouts {
    () => {
        [
            (cfg!(feature = "layout-map"), knoll::heap::KnLayout::Map),
            (cfg!(feature = "layout-compact"), knoll::heap::KnLayout::Compact),
            (cfg!(feature = "layout-wide"), knoll::heap::KnLayout::Wide),
            (true, knoll::heap::KnLayout::Auto),
        ]
        .into_iter()
        .filter_map(|(offered, layout)| offered.then_some(layout))
    };
}
