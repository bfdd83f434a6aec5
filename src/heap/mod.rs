//! Manual memory: the general heap.
//!
//! Guarantees
//! * Allocating and freeing take a bounded number of steps in each region, whatever its state.
//! * Payloads are aligned to 8 bytes, on 64-bit hosts to 16.
//! * Bad input changes nothing: a size that cannot be had answers null, a pointer that is not a
//!   used block's is reported to the error hook and refused.
//! * [`KnHeap::check`] answers `Ok` after every call, failed ones included.
//! * No lock, no static, no allocation elsewhere: a heap is exactly the memory it was given.
//!
//! Where what is:
//!
//! ```text
//!   heap.rs     KnHeap: regions in a chain, the calls of the C contract
//!   found.rs    a region is made
//!   request.rs  bytes to granules, counting
//!   search.rs   which free block serves
//!   allocate.rs the algorithm in one region: taking
//!   release.rs  and giving back, resizing
//!   bins.rs     free blocks by size
//!   layout.rs   the control block, and what a block layout must answer
//!   map.rs      layout: no header, a map beside the blocks     (up to 510 KB)
//!   header.rs   layouts: 4-byte and 8-byte headers             (up to 256 KB, 32 GB)
//!   check.rs    verifying, walking, statistics
//!   front.rs    a used block's start moved, for scopes
//!   fingerprint.rs  one number for all used blocks
//!   survey.rs   quick looks: the largest free block, how fragmented
//!   guard.rs    what `checks-full` adds
//!   global.rs   Heap: the same for Rust programs
//!   bits.rs     bit searches
//! ```
//!
//! Glossary: a *region* is one piece of the owner's memory; a *granule* is its unit, 8 or 16 bytes;
//! a *block* is a run of granules, used or free; a *bin* is the list of the free blocks of one size
//! class; a *head* is a bin's first block.

mod allocate;
mod bins;
pub(crate) mod bits;
mod check;
mod fingerprint;
mod found;
#[cfg(feature = "arena")]
mod front;
mod global;
mod guard;
mod header;
#[allow(clippy::module_inception)]
mod heap;
mod layout;
mod map;
mod release;
mod request;
mod search;
mod status;
mod survey;

pub use check::{KnBlock, KnHeapStats, KN_BLOCK_FREE, KN_BLOCK_USED};
pub use global::Heap;
#[cfg(unix)]
pub(crate) use heap::KEPT_ALIGNMENT;
pub use layout::{KnHeap, KnHeapConfig, KnLayout};
pub use status::KnStatus;
pub use survey::KnFragmentation;
pub(crate) use survey::{power, Extent, POWERS};

/// Whether records are verified before they are used: against double frees, foreign pointers, and
/// whatever a write beyond a block's end spoils.
pub(crate) const CHECKED: bool = !cfg!(feature = "checks-none");
/// Whether everything is verified at each call; see `guard.rs`.
pub(crate) const FULLY: bool = cfg!(feature = "checks-full");

/// Bytes of a granule in the small layouts, and the least alignment of every payload.
pub(crate) const GRANULE: usize = if cfg!(target_pointer_width = "64") { 16 } else { 8 };

pub(crate) type MapLayout = map::Map<GRANULE>;
pub(crate) type CompactLayout = header::Header<u16, GRANULE>;
pub(crate) type WideLayout = header::Header<u32, 16>;
