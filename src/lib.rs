//! Knoll: the memory manager for small language runtimes and firmware.
//!
//! One library, four ways to let memory go: free it, count it, scope it, trace it: [`heap`], on
//! which the others rest, [`counted`], [`arena`] and [`traced`]. On an operating system the first is also the malloc of whole programs (`hosted`), linked or preloaded.
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
//!   arena     scopes, free-standing arenas, resident blocks
//!     |
//!   counted   cells, types, counting, cycle collection
//!     |
//!   traced    mark and sweep, in memory of its own
//!     |
//!   port      what a platform supplies: memory, lock, default heap, error hook
//!     |-- hosted    on an operating system: the malloc of a process. Small blocks in pages of
//!     |             threads, medium ones in a heap that grows, large ones in mappings
//!   heap      manual memory: blocks, bins, regions
//! ```
//!
//! Features: `layout-map`, `layout-compact`, `layout-wide` (block layouts in the build), `counted`,
//! `arena`, `traced`, `checks-none`, `checks-full` (how much is verified), `small-code` (one copy of each list
//! operation), `capi` (an archive of its own), `libc-names`, `shared` (libknoll.so), `hardened` (a
//! malloc that makes mistakes harder to exploit), `grain`.

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
#[cfg(feature = "traced")]
pub mod traced;

/// An archive or shared object of its own must say what a panic does; there is no path to it.
#[cfg(feature = "capi")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
