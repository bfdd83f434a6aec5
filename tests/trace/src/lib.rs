//! What the tests of traced memory share: random graphs of blocks, and an oracle that says what is reachable.
//!
//! ```text
//!   setup ─ configurations ──┐
//!   op ──── one operation ───┴─► plan ── a run of many ──► world ── the heap, driven from outside
//!                                 │                          │
//!                                 └─ shrink: fewest          ├─ model: every block, its contents, what reaches it
//!                                    operations that fail    └─ heap: the heap asked for
//!                                                                ├─ core:  Knoll's
//!                                                                └─ naive: so simple that it is right, or with one of
//!                                                                          the faults
//! ```
//!
//! A [`world::World`] drives one heap as a program does that keeps its pointers in variables and in blocks. Next to it
//! it keeps a copy of what every block holds. What is reachable is read from the blocks' memory itself, word by word;
//! what is compared, and when, is told in [`world`].

pub mod core;
pub mod faults;
pub mod heap;
pub mod model;
pub mod naive;
pub mod op;
pub mod plan;
pub mod setup;
mod slots;
pub mod tally;
pub mod world;
