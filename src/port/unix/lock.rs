//! The lock of the process heap.
//!
//! - All zeros is unlocked, so a static lock works before any start-up code.
//! - [`Futex::acquire`] answers false instead of waiting for ever when the calling thread holds the
//!   lock already: a signal handler that interrupts the heap gets no memory, but no deadlock either.
//! - No kernel object and no list of waiters lives in the process: a child of fork, which holds the
//!   lock by its parent's prepare handler, releases it with a store.
//!
//! Three states, after U. Drepper, "Futexes Are Tricky" (2011), mutex 2: free, held, held and waited
//! for. Cost without contention: one compare-and-swap, two stores, one swap.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::thread;

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;

/// How often a waiting thread looks again before it sleeps: a heap operation takes about as long.
const SPINS: u32 = 40;

pub(crate) struct Futex {
    state: AtomicU32,
    /// Who holds it, see [`thread::identity`]; 0: nobody.
    owner: AtomicUsize,
}

impl Futex {
    pub(crate) const fn new() -> Futex {
        Futex { state: AtomicU32::new(FREE), owner: AtomicUsize::new(0) }
    }

    /// Waits for the lock and takes it; false, at once, iff this thread holds it.
    #[inline]
    pub(crate) fn acquire(&self) -> bool {
        let me = thread::identity();
        if self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            // Only this thread itself stores its identity there, so a match is no race.
            if self.owner.load(Ordering::Relaxed) == me {
                return false;
            }
            self.wait();
        }
        self.owner.store(me, Ordering::Relaxed);
        true
    }

    #[cold]
    fn wait(&self) {
        // A count that the compiler knows would be unrolled into a page of code.
        for _ in 0..core::hint::black_box(SPINS) {
            core::hint::spin_loop();
            if self.state.load(Ordering::Relaxed) == FREE
                && self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
        }
        while self.state.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            sleep_while(&self.state, WAITED_FOR);
        }
    }

    /// Gives the lock up.
    ///
    /// # Safety
    /// This thread acquired it, or is the child of a fork in whose parent it did.
    #[inline]
    pub(crate) unsafe fn release(&self) {
        self.owner.store(0, Ordering::Relaxed);
        if self.state.swap(FREE, Ordering::Release) == WAITED_FOR {
            wake_one(&self.state);
        }
    }

    /// True iff this thread holds the lock.
    pub(crate) fn held_by_me(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == thread::identity()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::super::console::Errno;
    use core::sync::atomic::AtomicU32;

    /// Sleeps unless `word` is no longer `value`; may return early.
    pub(super) fn sleep_while(word: &AtomicU32, value: u32) {
        let _errno = Errno::keep();
        let no_time_limit = core::ptr::null::<libc::timespec>();
        // SAFETY: the word outlives the call; the kernel only reads it.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                value,
                no_time_limit,
            );
        }
    }

    /// Wakes one thread that sleeps on `word`.
    #[cold]
    pub(super) fn wake_one(word: &AtomicU32) {
        let _errno = Errno::keep();
        // SAFETY: the kernel uses the word's address only as a key.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use core::sync::atomic::AtomicU32;

    /// Lets other threads run; the caller looks again.
    pub(super) fn sleep_while(_word: &AtomicU32, _value: u32) {
        // SAFETY: no conditions.
        unsafe { libc::sched_yield() };
    }

    /// Waiting threads look by themselves.
    pub(super) fn wake_one(_word: &AtomicU32) {}
}

use system::{sleep_while, wake_one};
