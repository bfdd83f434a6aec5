//! Knoll: the memory manager for small language runtimes and firmware.
//!
//! One library, four ways to let memory go: free it, count it, scope it, trace it. This version has
//! the first, [`heap`], on which the others rest, and the second, [`counted`].
//!
//! Guarantees
//! * `no_std`, no static in the core, no dependency but `libc` on hosted targets.
//! * No panic path: no call of this crate unwinds, prints, or ends the program (the hosted
//!   `libc-names` build excepted, which aborts on a double free unless a hook decides otherwise).
//! * The same source is a 64-bit shared library, a static archive for Cortex-M and RISC-V, and a
//!   WebAssembly module.
//!
//! ```text
//!   capi      the C ABI: include/knoll.h, a file for each chapter
//!     |-- insight   pictures and reports, for people
//!   counted   cells, types, counting, cycle collection
//!     |
//!   heap      manual memory: blocks, bins, regions
//!     |
//!   port      what a platform supplies: memory, lock, default heap, error hook
//!               (on an operating system with `hosted`: a heap that grows)
//! ```
//!
//! Features: `layout-map`, `layout-compact`, `layout-wide` (block layouts in the build), `counted`,
//! `checks-none`, `checks-full` (how much is verified), `small-code` (one copy of each list
//! operation), `capi` (an archive of its own), `libc-names`, `shared`.

#![no_std]

#[cfg(feature = "arena")]
pub mod arena;
pub mod capi;
#[cfg(feature = "counted")]
pub mod counted;
pub mod heap;
#[cfg(unix)]
mod hosted;
mod insight;
#[cfg(any(feature = "arena", feature = "counted"))]
mod memory;
mod port;

/// An archive or shared object of its own must say what a panic does; there is no path to it.
#[cfg(feature = "capi")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
