//! A lock for a heap that a Rust program holds in a static.
//!
//! - Hosted: a spin lock of one byte; on bare metal the default heap's critical section, which is
//!   what makes thread code and interrupt handlers exclusive on one core.
//! - Not recursive: a heap never calls itself.
//!
//! Cost: one compare-and-swap and one store, or masking interrupts.

#[cfg(any(unix, target_arch = "wasm32"))]
use core::sync::atomic::{AtomicBool, Ordering};

/// See the module's head.
pub(crate) struct Lock {
    #[cfg(any(unix, target_arch = "wasm32"))]
    held: AtomicBool,
}

impl Lock {
    /// Not held.
    pub(crate) const fn new() -> Lock {
        Lock {
            #[cfg(any(unix, target_arch = "wasm32"))]
            held: AtomicBool::new(false),
        }
    }

    /// Runs `work` while nobody else runs theirs.
    #[cfg(any(unix, target_arch = "wasm32"))]
    pub(crate) fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        while self.held.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            core::hint::spin_loop();
        }
        let result = work();
        self.held.store(false, Ordering::Release);
        result
    }

    /// Runs `work` while nobody else runs theirs.
    #[cfg(not(any(unix, target_arch = "wasm32")))]
    pub(crate) fn with<R>(&self, work: impl FnOnce() -> R) -> R {
        let state = super::bare::enter();
        let result = work();
        super::bare::leave(state);
        result
    }
}
