//! The malloc of a process, held against a model: `kn_malloc` and its family.
//!
//! ```text
//!   program ── the next call, from a seed ──► model ── slots of blocks that know their contents
//!   (or a fuzzer's bytes)                       │
//!                                               ├─ api: the library that is linked, or one that is loaded
//!                                               ├─ claims: which addresses are whose, in all threads
//!                                               └─ crew: threads that make the calls in turns
//! ```
//!
//! The library under test is the one linked with the test, or the file that `KNOLL_LIBRARY` names: the
//! same tests run on a `libknoll.so` as it is shipped.

pub mod api;
pub mod claims;
pub mod crew;
pub mod model;
pub mod program;
