//! Knoll: the memory manager for small language runtimes and firmware.
//!
//! Sizes are in bytes. A function that can fail for more than one reason returns a KnStatus, 0 or
//! negative, and gives its value through the last parameter; functions that allocate return a
//! pointer or NULL. No function prints, and none ends the program.
//!
//! A KnHeap is memory that you own; its control block lies in it, so to forget a heap is to reuse
//! the memory. A heap takes no lock: one thread or interrupt at a time. The functions without a
//! heap parameter act on the calling thread's default heap, under the platform's lock.

pub mod errors;

pub mod heap;

pub mod default;

pub mod process;

#[cfg(feature = "counted")]
pub mod counted;

#[cfg(feature = "counted")]
pub mod accounting;

#[cfg(feature = "counted")]
pub mod grain;

#[cfg(all(target_arch = "wasm32", feature = "grain"))]
pub mod grain_wasm;

#[cfg(feature = "arena")]
pub mod arena;

#[cfg(all(feature = "arena", feature = "counted"))]
pub mod arena_cells;

#[cfg(feature = "arena")]
pub mod resident;

#[cfg(feature = "traced")]
pub mod traced;

pub mod insight;

pub mod witness;

#[cfg(all(unix, feature = "libc-names"))]
pub mod libc_names;

#[cfg(all(unix, feature = "libc-names"))]
pub mod libc_info;
