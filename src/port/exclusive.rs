//! The lock of a heap that a Rust program holds in a static (`heap::Heap`).
//!
//! - All of them are one lock, the default heap's: on bare metal the interrupt mask is one anyway; on
//!   Unix it is the lock that is held across fork, so a program whose global allocator is Knoll may
//!   fork with threads.
//! - An error found under it reaches the hook after it was released, so the hook may allocate.
//! - Not recursive: a Unix signal handler that allocates in the middle of an allocation of its own
//!   thread ends the process, where it would wait for ever.
//!
//! Cost: as the default heap's lock; no bytes of its own.

use super::platform;

/// See the module's head.
pub(crate) struct Lock(());

impl Lock {
    /// The lock, for one more heap.
    pub(crate) const fn new() -> Lock {
        Lock(())
    }

    /// Runs `work` while nobody else runs theirs, then delivers an error that was found.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        platform::locked(work)
    }
}
