//! What a platform supplies: the default heap's slot, its lock, memory that can grow, the error hook.
//!
//! # Guarantees
//! - [`default_heap`] is null on bare metal until [`use_heap`] was called; elsewhere it is null only
//!   when the system refuses memory.
//! - The default heap's lock (`with_default` on bare metal and WebAssembly, [`with_lock`] on Unix) is
//!   never held while the error hook is called: an error found under it is delivered after it was
//!   released, so the hook may allocate.
//! - [`report`] outside the lock calls the hook at once. Without a hook it does nothing.
//! - Nothing here allocates from a heap, and there is no initialised data: all statics are zero.
//!
//! # Design
//! ```text
//!              capi, heap, hosted
//!                      |
//!    port   report  default_heap  use_heap  counted  Lock
//!                      |
//!        +-------------+--------------+
//!      bare           unix           wasm
//!   slot + PRIMASK   TLS slot +     slot +
//!   or own hooks     futex, mmap    memory.grow
//! ```
//!
//! # Costs
//! A report, a slot access: a few loads. Bare metal: some ten instructions around each call on the
//! default heap to mask interrupts, and ten words of statics.

#[cfg(any(feature = "arena", feature = "counted", feature = "traced"))]
mod callback;
mod exclusive;
mod hook;
#[cfg(feature = "counted")]
mod resident;
#[cfg(any(feature = "arena", feature = "counted", feature = "traced"))]
mod stack;

#[cfg(not(any(unix, target_arch = "wasm32")))]
mod bare;
#[cfg(not(any(unix, target_arch = "wasm32")))]
use bare as platform;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;
#[cfg(all(target_arch = "wasm32", not(unix)))]
mod wasm;
#[cfg(all(target_arch = "wasm32", not(unix)))]
use wasm as platform;

#[cfg(not(unix))]
pub(crate) mod manual;

#[cfg(any(feature = "arena", feature = "counted", feature = "traced"))]
pub(crate) use callback::Callback;
pub(crate) use exclusive::Lock;
pub(crate) use hook::{report, set_error_hook};
#[cfg(feature = "counted")]
pub(crate) use platform::counted;
#[cfg(any(unix, feature = "counted"))]
pub(crate) use platform::set_counted;
#[cfg(all(feature = "arena", not(unix)))]
pub(crate) use platform::with_default;
pub(crate) use platform::{default_heap, set_lock, use_heap};
#[cfg(feature = "counted")]
pub(crate) use resident::{any_resident, expect_residents};
#[cfg(any(feature = "arena", feature = "counted", feature = "traced"))]
use stack::stack_pointer;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub(crate) use unix::map_at;
#[cfg(all(unix, feature = "libc-names"))]
pub(crate) use unix::set_errno;
#[cfg(unix)]
pub(crate) use unix::{
    alone, cache, discard, identity, map, page_bytes, process_lock, refuse, remap, set_cache, thread_heap, unmap,
    with_lock, Busy, Errno, Key, Span,
};
#[cfg(unix)]
pub(crate) use unix::{close, close_free, move_pages, protect, reserve};
#[cfg(all(unix, feature = "arena"))]
pub(crate) use unix::{held, scope, set_held, set_scope};
#[cfg(all(unix, feature = "counted"))]
pub(crate) use unix::{over_process_heap, process_counted, set_process_counted, Futex};

/// Enters the critical section that guards the default heap; the result brings the state before back.
pub(crate) type LockEnter = unsafe extern "C" fn() -> usize;
/// Leaves the critical section whose entry answered `state`.
pub(crate) type LockLeave = unsafe extern "C" fn(state: usize);
