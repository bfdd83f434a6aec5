//! What the tests of scopes and arenas share: random nests of them, and a model that says what must be true.
//!
//! ```text
//!   kinds ── types of cells ──┐
//!   shapes ─ configurations ──┤
//!   op ───── one operation ───┴─► plan ── a run of many ──► world ── the heap, driven from outside
//!                                  │                          │
//!                                  └─ shrink: fewest          ├─ model: what there must be
//!                                     operations that fail    └─ prints: the heap's used blocks as one number
//! ```
//!
//! A [`world::World`] drives one heap with its scopes, free-standing arenas, blocks and counted cells, and
//! keeps outside the heap what each of them is, holds and refers to. What is compared is told there.

pub mod kinds;
pub mod model;
pub mod op;
pub mod plan;
pub mod prints;
pub mod shapes;
pub mod tally;
pub mod world;
