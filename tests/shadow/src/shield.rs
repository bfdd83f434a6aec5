//! Numbered cases, each of which may crash or hang without taking the test along.
//!
//! On Unix the cases run in a forked child that notes each outcome in shared memory; when the
//! child dies, the case it was at is the culprit and a new child goes on with the next one.
//! A child has only the thread that forked, and locks that other threads held stay locked in it
//! for ever: so it prints nothing, not even for a panic, and an alarm ends it in any case.
//! Under Miri, and elsewhere, the cases run here: Miri stops at the first bad access.

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The case returned this number (below 250).
    Returned(u8),
    /// The process died in it or the library panicked.
    Crashed,
    /// It was not done after some seconds.
    Hung,
}

#[cfg(all(unix, not(miri)))]
mod forked {
    use super::Ending;
    use std::panic::{catch_unwind, AssertUnwindSafe};
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, PoisonError};

    const UNKNOWN: u8 = 255;
    const PANICKED: u8 = 254;
    const SECONDS: u32 = 10;

    /// One shielded run at a time: fewer locks are held when a child begins.
    static ALONE: Mutex<()> = Mutex::new(());
    /// Whether this process is such a child.
    static CHILD: AtomicBool = AtomicBool::new(false);

    /// Panics say nothing in a child. Set before any child is, since setting takes a lock.
    fn silence() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let aloud = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !CHILD.load(Ordering::SeqCst) {
                    aloud(panic);
                }
            }));
        });
    }

    /// Runs cases 0 to `cases - 1`.
    pub fn run(cases: usize, mut case: impl FnMut(usize) -> u8) -> Vec<Ending> {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        silence();
        let shared = Shared::new(cases);
        let mut endings = Vec::with_capacity(cases);
        let mut next = 0;
        while next < cases {
            // SAFETY: the child only computes, writes shared memory and leaves by `_exit`.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork failed");
            if child == 0 {
                work(&shared, next, cases, &mut case);
            }
            let mut status = 0;
            // SAFETY: waits for the child just made.
            let waited = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(waited, child, "waitpid failed");
            let reached = shared.reached().load(Ordering::SeqCst);
            for index in next..reached {
                endings.push(match shared.outcome(index).load(Ordering::SeqCst) {
                    PANICKED => Ending::Crashed,
                    value => Ending::Returned(value),
                });
            }
            next = reached;
            if reached < cases {
                let hung = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM;
                endings.push(if hung { Ending::Hung } else { Ending::Crashed });
                next += 1;
            }
        }
        endings
    }

    fn work(shared: &Shared, from: usize, cases: usize, case: &mut impl FnMut(usize) -> u8) -> ! {
        CHILD.store(true, Ordering::SeqCst);
        // SAFETY: plain system calls in a process of our own.
        unsafe {
            libc::signal(libc::SIGALRM, libc::SIG_DFL);
            libc::alarm(SECONDS);
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        }
        for index in from..cases {
            shared.reached().store(index, Ordering::SeqCst);
            if (index - from).is_multiple_of(256) {
                // SAFETY: a plain system call.
                unsafe { libc::alarm(SECONDS) };
            }
            let value = catch_unwind(AssertUnwindSafe(|| case(index))).unwrap_or(PANICKED);
            shared.outcome(index).store(value, Ordering::SeqCst);
        }
        shared.reached().store(cases, Ordering::SeqCst);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) }
    }

    /// A counter and one byte for each case, seen by parent and child.
    struct Shared {
        memory: *mut u8,
        bytes: usize,
    }

    impl Shared {
        fn new(cases: usize) -> Shared {
            let bytes = size_of::<AtomicUsize>() + cases;
            // SAFETY: a new mapping.
            let memory = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(memory, libc::MAP_FAILED, "mmap failed");
            let memory = memory.cast::<u8>();
            // SAFETY: the bytes after the counter are inside the mapping.
            unsafe { memory.add(size_of::<AtomicUsize>()).write_bytes(UNKNOWN, cases) };
            Shared { memory, bytes }
        }

        fn reached(&self) -> &AtomicUsize {
            // SAFETY: the mapping begins with a zeroed, aligned counter.
            unsafe { &*self.memory.cast::<AtomicUsize>() }
        }

        fn outcome(&self, case: usize) -> &AtomicU8 {
            let place = size_of::<AtomicUsize>() + case;
            assert!(place < self.bytes);
            // SAFETY: inside the mapping, as just asserted.
            unsafe { &*self.memory.add(place).cast::<AtomicU8>() }
        }
    }

    impl Drop for Shared {
        fn drop(&mut self) {
            // SAFETY: the mapping is this value's own.
            unsafe { libc::munmap(self.memory.cast(), self.bytes) };
        }
    }
}

#[cfg(all(unix, not(miri)))]
pub use forked::run;

/// Runs cases 0 to `cases - 1`.
#[cfg(not(all(unix, not(miri))))]
pub fn run(cases: usize, case: impl FnMut(usize) -> u8) -> Vec<Ending> {
    (0..cases).map(case).map(Ending::Returned).collect()
}
