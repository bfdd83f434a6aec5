//! Reports on counted memory: exact texts for small graphs, and random graphs against a naive search.
//!
//! | | |
//! | --- | --- |
//! | `ground.rs` | types of cells, a heap for each test, a reader of text |
//! | `numbers.rs` | statistics: what they tell, and snprintf's rule |
//! | `holders.rs` | who holds a cell |
//! | `cycles.rs` | garbage cycles, each piece with its line |
//! | `random.rs` | the same for random graphs |
//! | `instances.rs` | cells by type, in all threads |
//!
//! Each test has a heap of its own, which is its thread's default, but for those of the process heap.

#![cfg(feature = "counted")]

mod cycles;
mod ground;
mod holders;
mod instances;
mod numbers;
mod random;
