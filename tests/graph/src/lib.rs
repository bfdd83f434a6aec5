//! The proof of the counted part: random graphs, and what must be true of them.
//!
//! ```text
//!   kinds ── the types of the cells ─┐
//!   op ───── one operation ──────────┼─► plan ── a run of many, shrunk when it fails
//!   tuning ─ configurations ─────────┘     │
//!                                          ▼
//!                      collector ◄────── world ──────► model
//!                      (the trait)     (does both)   (nodes, edges, who must be alive)
//!                     ┌────┴────┐          ▲
//!                   core      naive ───────┘ hooks
//!                  (Knoll)   (with faults    (destroy and trace callbacks,
//!                             planted)        which do operations themselves)
//! ```
//!
//! A [`world::World`] drives one [`collector::Collector`] and keeps, outside of it, every cell, every
//! reference in a cell and every reference that the program holds. From that it knows which cells
//! must be alive, which must be dead, and what each count must be. The same world drives Knoll and
//! [`naive::Naive`], a collector so simple that it can be seen to be right, in which faults can be
//! planted: each of them the world must notice.

pub mod collector;
pub mod core;
pub mod hooks;
pub mod kinds;
pub mod model;
pub mod naive;
pub mod op;
pub mod plan;
pub mod tally;
pub mod tuning;
pub mod world;
