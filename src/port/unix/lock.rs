//! The lock of the process heap, and of the list of those who count.
//!
//! - All zeros is unlocked, so a static lock works before any start-up code.
//! - The heap's is held while the process forks. libc's fork then waits for locks of its own (stdio, name
//!   service) whose holders may be waiting for memory: so nobody waits for a fork longer than
//!   [`PATIENCE`], and who asked gets [`Busy`] instead of a deadlock.
//! - Nor does a signal handler wait that interrupts its own thread inside the lock.
//! - During a fork [`Futex::as_guest`] reads what the lock guards: the forking thread changes nothing,
//!   and does not let go before its guests have left.
//! - No kernel object and no list of waiters lives in the process: a child of fork releases with a store.
//!
//! ```text
//!   word:  0                      free
//!          identity of a thread   held by it
//!          the same + 1           held by it, and waited for
//! ```
//! Who holds it and that it is held are one word, so that a signal handler never sees the one without
//! the other. The three states are those of U. Drepper, "Futexes Are Tricky" (2011), mutex 2.
//!
//! Cost without contention: one compare-and-swap and one swap.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::thread;

const FREE: usize = 0;
/// Added to the holder's identity, which is even.
const WAITED_FOR: usize = 1;

/// How often a waiting thread looks again before it sleeps: a heap operation takes about as long.
const SPINS: u32 = 40;

/// Why the lock was not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// This thread holds it: a signal handler interrupted the heap.
    Mine,
    /// The process is being forked, and that takes long.
    Forking,
}

pub(crate) struct Futex {
    word: AtomicUsize,
    /// How often it was released to threads that wait: what they sleep on. The kernel compares 32 bits.
    wakes: AtomicU32,
    /// Its holder holds it only to keep everybody out while the process is copied.
    forking: AtomicBool,
    /// Threads inside [`Futex::as_guest`].
    guests: AtomicU32,
}

impl Futex {
    pub(crate) const fn new() -> Futex {
        Futex {
            word: AtomicUsize::new(FREE),
            wakes: AtomicU32::new(0),
            forking: AtomicBool::new(false),
            guests: AtomicU32::new(0),
        }
    }

    /// Takes the lock, and waits for it unless that could last for ever.
    #[inline(always)]
    pub(crate) fn acquire(&self) -> Result<(), Busy> {
        let me = thread::identity();
        match self.word.compare_exchange(FREE, me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(word) => self.wait(me, word),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, me: usize, mut word: usize) -> Result<(), Busy> {
        // Only this thread itself stores its identity there, so a match is no race.
        if word & !WAITED_FOR == me {
            return Err(Busy::Mine);
        }
        // A count that the compiler knows would be unrolled into a page of code.
        for _ in 0..core::hint::black_box(SPINS) {
            core::hint::spin_loop();
            if self.word.compare_exchange_weak(FREE, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
        let mut patience = PATIENCE;
        loop {
            let wakes = self.wakes.load(Ordering::Relaxed);
            // Others may be waiting too, whom this thread would not know of when it releases.
            let taken = if word == FREE { me | WAITED_FOR } else { word | WAITED_FOR };
            if let Err(now) = self.word.compare_exchange(word, taken, Ordering::AcqRel, Ordering::Relaxed) {
                word = now;
                continue;
            }
            if word == FREE {
                return Ok(());
            }
            if self.forking.load(Ordering::Relaxed) {
                if patience == 0 {
                    return Err(Busy::Forking);
                }
                patience -= 1;
            }
            // Who releases it from now on sees the mark, and changes the number that is slept on.
            sleep_while(&self.wakes, wakes);
            word = self.word.load(Ordering::Relaxed);
        }
    }

    /// As [`acquire`](Self::acquire), but waits for a fork however long it takes.
    pub(crate) fn acquire_patiently(&self) -> Result<(), Busy> {
        loop {
            match self.acquire() {
                Err(Busy::Forking) => {}
                outcome => return outcome,
            }
        }
    }

    /// Gives the lock up.
    ///
    /// # Safety
    /// This thread acquired it.
    #[inline(always)]
    pub(crate) unsafe fn release(&self) {
        if self.word.swap(FREE, Ordering::Release) & WAITED_FOR != 0 {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            wake_one(&self.wakes);
        }
    }

    /// True iff this thread holds the lock.
    pub(crate) fn held_by_me(&self) -> bool {
        self.word.load(Ordering::Relaxed) & !WAITED_FOR == thread::identity()
    }

    /// Before a fork: takes the lock and says what for; [`Busy::Mine`] if this thread holds it.
    pub(crate) fn begin_fork(&self) -> Result<(), Busy> {
        self.acquire_patiently()?;
        self.forking.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// After a fork, in the parent.
    ///
    /// # Safety
    /// [`begin_fork`](Self::begin_fork) took the lock in this thread.
    pub(crate) unsafe fn end_fork_in_parent(&self) {
        self.forking.store(false, Ordering::SeqCst);
        while self.guests.load(Ordering::SeqCst) != 0 {
            core::hint::spin_loop();
        }
        // SAFETY: the caller's word.
        unsafe { self.release() };
    }

    /// After a fork, in the child, whose only thread this is: guests exist in the parent alone.
    ///
    /// # Safety
    /// [`begin_fork`](Self::begin_fork) took the lock in the thread that this one is a copy of.
    pub(crate) unsafe fn end_fork_in_child(&self) {
        self.forking.store(false, Ordering::Relaxed);
        self.guests.store(0, Ordering::Relaxed);
        // SAFETY: the caller's word.
        unsafe { self.release() };
    }

    /// In the child of a fork that did not take the lock: frees it from a holder that does not exist
    /// here; true iff there was one.
    #[cfg(feature = "counted")]
    pub(crate) fn free_from_others(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let others = word != FREE && word & !WAITED_FOR != thread::identity();
        if others {
            self.word.store(FREE, Ordering::Relaxed);
        }
        others
    }

    /// Runs `look`, which only reads what the lock guards and does not wait, while a fork is under
    /// way; `None` when none is.
    pub(crate) fn as_guest<R>(&self, look: impl FnOnce() -> R) -> Option<R> {
        // The guest counts itself, then looks at the flag; the end of the fork clears the flag, then
        // looks at the count: one of them sees the other.
        self.guests.fetch_add(1, Ordering::SeqCst);
        let result = self.forking.load(Ordering::SeqCst).then(look);
        self.guests.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::super::console::Errno;
    use core::sync::atomic::AtomicU32;

    /// How often to sleep while the process forks.
    pub(super) const PATIENCE: u32 = 2;

    /// Sleeps for a millisecond, or until `word` is no longer `value`; may return early.
    pub(super) fn sleep_while(word: &AtomicU32, value: u32) {
        let _errno = Errno::keep();
        // Not for ever: the lock may pass to a fork without a word to those who sleep.
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: word and limit outlive the call; the kernel only reads them.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                value,
                &raw const limit,
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

    /// How often to let others run while the process forks.
    pub(super) const PATIENCE: u32 = 1000;

    /// Lets other threads run; the caller looks again.
    pub(super) fn sleep_while(_word: &AtomicU32, _value: u32) {
        // SAFETY: no conditions.
        unsafe { libc::sched_yield() };
    }

    /// Waiting threads look by themselves.
    pub(super) fn wake_one(_word: &AtomicU32) {}
}

use system::{sleep_while, wake_one, PATIENCE};
