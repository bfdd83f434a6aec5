//! Who counts over the process heap: each thread a state of its own, all of them in one list.
//!
//! - A thread's state is made by `counted` when the thread first needs it, and enrolled here. The
//!   thread's end calls it back ([`Retire`]), so that what only cycles hold is collected.
//! - Other libraries' destructors of thread data may count after that: while cells are left, the call
//!   back comes once more in the next rounds of destructors.
//! - A state in which cells live on when its thread has ended stays in the list, so that dumps show them.
//! - The list's lock is not held while the process forks. Whoever changes the list leaves it readable at
//!   every moment, and the child, in which one thread lives, puts right what others did not finish.
//! - A thread that never counts costs nothing at its end.
//!
//! ```text
//!   FIRST --> | Member | state of thread 1 | <--> | Member | state of thread 2 | <--> null
//!                 a state begins with its Member, so the list needs no memory
//! ```
//! Cost: a lock and a few stores to enroll and to leave.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::fork;
use crate::port::{self, Errno, Futex, Key};

pub(crate) use super::types::{register_type, shared_bytes, shared_count, type_at, types};

/// Called when the state's thread ends, on that thread, with the process heap as its default heap:
/// collects, and if no cell is left calls [`leave`], gives the state's memory back and answers true.
/// After false it is called again in the next round.
pub(crate) type Retire = unsafe fn(*mut c_void) -> bool;

/// A state's place in the list: its first field. All zero: not in it.
#[repr(C)]
pub(crate) struct Member {
    next: AtomicPtr<Member>,
    previous: AtomicPtr<Member>,
    /// The identity of its thread; 0: the thread has ended, or did not come along into a child of fork.
    thread: AtomicUsize,
    /// How often its thread's end has called it back.
    rounds: AtomicUsize,
    retire: Option<Retire>,
}

/// Guards the list's links and the table of types.
static LOCK: Futex = Futex::new();
static FIRST: AtomicPtr<Member> = AtomicPtr::new(null_mut());
/// Its value is the thread's state, so that the thread's end tells of it.
static AT_END: Key = Key::new();

/// Runs `work` while no other thread looks at the list or changes it; `None`: this thread does so
/// itself, in a call that this one interrupted or came from. `work` must not wait for anything.
pub(crate) fn exclusively<R>(work: impl FnOnce() -> R) -> Option<R> {
    LOCK.acquire_patiently().ok()?;
    let result = work();
    // SAFETY: acquired above by this thread.
    unsafe { LOCK.release() };
    Some(result)
}

/// The calling thread's state over the process heap; null: none yet.
pub(crate) fn mine() -> *mut c_void {
    port::process_counted()
}

/// Makes `state` the calling thread's state over the process heap; false, and nothing is changed: no
/// memory, or a signal handler interrupted this very work.
///
/// # Safety
/// `state` begins with a [`Member`] of zeros, stays where it is until [`leave`], and the thread has none yet.
pub(crate) unsafe fn enroll(state: *mut c_void, retire: Retire) -> bool {
    fork::register_once();
    let _errno = Errno::keep();
    // Without the lock, since this may allocate.
    if !AT_END.make(Some(at_end)) || !AT_END.set(state) {
        return false;
    }
    let member = state.cast::<Member>();
    let entered = exclusively(|| {
        let first = FIRST.load(Ordering::Relaxed);
        // SAFETY: the caller's promise; the first member lives, since it is in the list.
        unsafe {
            (*member).retire = Some(retire);
            (*member).thread.store(port::identity(), Ordering::Relaxed);
            (*member).next.store(first, Ordering::Relaxed);
            FIRST.store(member, Ordering::Release);
            if !first.is_null() {
                (*first).previous.store(member, Ordering::Relaxed);
            }
        }
    });
    if entered.is_none() {
        AT_END.set(null_mut());
        return false;
    }
    port::set_process_counted(state);
    true
}

/// Takes the calling thread's state out of the list, so that its memory may go; a state that is not
/// [`mine`] is not in it. False, and nothing is changed, in a signal handler that interrupted this
/// thread's own work on the list.
///
/// # Safety
/// `state` is a state of the calling thread.
#[must_use]
pub(crate) unsafe fn leave(state: *mut c_void) -> bool {
    if mine() != state {
        return true;
    }
    let member = state.cast::<Member>();
    let left = exclusively(|| {
        // SAFETY: the state and its neighbours are in the list, which the lock keeps from changing.
        unsafe {
            let next = (*member).next.load(Ordering::Relaxed);
            let previous = (*member).previous.load(Ordering::Relaxed);
            let link = if previous.is_null() { &FIRST } else { &(*previous).next };
            link.store(next, Ordering::Release);
            if !next.is_null() {
                (*next).previous.store(previous, Ordering::Relaxed);
            }
        }
    });
    if left.is_some() {
        AT_END.set(null_mut());
        port::set_process_counted(null_mut());
    }
    left.is_some()
}

/// Calls `visit` with each state in the list, its thread alive or not. Their threads go on meanwhile:
/// only what is atomic, and what its owner changes in [`exclusively`], may be read. `visit` must not
/// call the program, nor wait for anything.
pub(crate) fn each(visit: &mut dyn FnMut(*mut c_void)) {
    exclusively(|| {
        let mut member = FIRST.load(Ordering::Acquire);
        while !member.is_null() {
            visit(member.cast());
            // SAFETY: a member of the list, which the lock keeps from changing.
            member = unsafe { (*member).next.load(Ordering::Acquire) };
        }
    });
}

/// In the child of a fork: no thread but this one came along.
pub(super) fn in_child() {
    let unfinished = LOCK.free_from_others();
    let me = port::identity();
    let mut previous: *mut Member = null_mut();
    let mut member = FIRST.load(Ordering::Relaxed);
    while !member.is_null() {
        // SAFETY: the way forward leads through members at every moment.
        let here = unsafe { &*member };
        if here.thread.load(Ordering::Relaxed) != me {
            here.thread.store(0, Ordering::Relaxed);
        }
        if unfinished {
            here.previous.store(previous, Ordering::Relaxed);
        }
        previous = member;
        member = here.next.load(Ordering::Relaxed);
    }
    if unfinished {
        super::types::in_child();
    }
}

/// How often a state is called back at most. POSIX promises four rounds to those who set a key again;
/// in the last one sanitizers give up the thread.
const ROUNDS: usize = 3;

/// A thread that has a state ends. The system has set the key to null.
unsafe extern "C" fn at_end(state: *mut c_void) {
    let _errno = Errno::keep();
    let member = state.cast::<Member>();
    // SAFETY: the key's value is the state of this thread that has not left, nor does it before `retire`.
    let round = unsafe {
        (*member).thread.store(0, Ordering::Relaxed);
        (*member).rounds.fetch_add(1, Ordering::Relaxed) + 1
    };
    // Where the thread's words are pthread keys, they may have been set to null before.
    port::set_process_counted(state);
    let gone = port::over_process_heap(|| {
        // SAFETY: as above.
        unsafe { (*member).retire.is_none_or(|retire| retire(state)) }
    });
    if !gone && round < ROUNDS {
        // Destructors that follow may let its cells go: once more in the next round.
        AT_END.set(state);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::boxed::Box;
    use std::collections::HashSet;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::vec::Vec;

    impl Member {
        fn none() -> Member {
            Member {
                next: AtomicPtr::new(null_mut()),
                previous: AtomicPtr::new(null_mut()),
                thread: AtomicUsize::new(0),
                rounds: AtomicUsize::new(0),
                retire: None,
            }
        }

        fn is_alive(&self) -> bool {
            self.thread.load(Ordering::Relaxed) != 0
        }
    }

    /// What `counted` has behind a Member, as far as these tests need it.
    #[repr(C)]
    struct State {
        member: Member,
        /// Cells that let themselves go one a round.
        cells: usize,
    }

    /// The list is the process's.
    fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    static RETIRED: AtomicUsize = AtomicUsize::new(0);
    static ROUNDS_SEEN: AtomicUsize = AtomicUsize::new(0);

    unsafe fn retire(state: *mut c_void) -> bool {
        ROUNDS_SEEN.fetch_add(1, Ordering::Relaxed);
        assert!(port::thread_heap().is_null() && port::counted() == state && mine() == state);
        let own = state.cast::<State>();
        // SAFETY: made by `enter`, and this thread's.
        unsafe {
            if (*own).cells > 0 {
                (*own).cells -= 1;
                return false;
            }
            assert!(leave(state));
            RETIRED.fetch_add(1, Ordering::Relaxed);
            drop(Box::from_raw(own));
            true
        }
    }

    /// The addresses that states of these tests have had; other tests count too.
    static OURS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    fn enter(cells: usize) -> *mut c_void {
        let state: *mut c_void = Box::into_raw(Box::new(State { member: Member::none(), cells })).cast();
        OURS.lock().unwrap().push(state.addr());
        // SAFETY: a new state, and the thread has none.
        assert!(unsafe { enroll(state, retire) });
        assert_eq!((mine(), port::counted()), (state, state));
        state
    }

    /// The addresses of all states of this module, and how many threads of theirs live.
    fn listed() -> (HashSet<usize>, usize) {
        let (mut found, mut alive) = (HashSet::new(), 0);
        let ours = OURS.lock().unwrap();
        each(&mut |state| {
            // SAFETY: in the list.
            let member = unsafe { &*state.cast::<Member>() };
            if ours.contains(&state.addr()) {
                alive += usize::from(member.is_alive());
                assert!(found.insert(state.addr()));
            }
        });
        (found, alive)
    }

    #[test]
    fn threads_come_and_go() {
        let _turn = turn();
        let (before, retired) = (listed().0, RETIRED.load(Ordering::Relaxed));
        let threads = if cfg!(miri) { 10 } else { 1000 };
        for _ in 0..threads / 10 {
            std::thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        let state = enter(0).addr();
                        let (found, alive) = listed();
                        assert!(found.contains(&state) && alive >= 1);
                    });
                }
            });
        }
        // A scope waits for its closures, not for the destructors of its threads.
        while RETIRED.load(Ordering::Relaxed) < retired + threads {
            std::thread::yield_now();
        }
        assert_eq!(listed().0, before);
    }

    #[test]
    fn cells_that_live_on_keep_their_state() {
        let _turn = turn();
        let before = listed().0;
        let rounds = ROUNDS_SEEN.load(Ordering::Relaxed);
        // Gone in the third round; never.
        let short = std::thread::spawn(|| enter(2).addr());
        let short = short.join().unwrap();
        assert!(!listed().0.contains(&short) || before.contains(&short));
        assert_eq!(ROUNDS_SEEN.load(Ordering::Relaxed), rounds + 3);
        let long = std::thread::spawn(|| AtomicPtr::new(enter(1000))).join().unwrap().into_inner();
        let (found, alive) = listed();
        assert_eq!((found.len(), alive), (before.len() + 1, 0));
        assert!(found.contains(&long.addr()));
        assert_eq!(ROUNDS_SEEN.load(Ordering::Relaxed), rounds + 3 + ROUNDS);
        // Its thread is gone; another one may stand in for it to tidy up.
        port::set_process_counted(long);
        // SAFETY: nobody else knows it.
        unsafe {
            assert!(leave(long));
            drop(Box::from_raw(long.cast::<State>()));
        }
        assert_eq!(listed().0, before);
    }

    #[test]
    fn a_heap_of_its_own_has_its_own_state() {
        let _turn = turn();
        let work = || {
            let mut memory = Vec::<u64>::with_capacity(512);
            let config = crate::heap::KnHeapConfig { layout: crate::heap::KnLayout::Auto, flags: 0 };
            let state = enter(0);
            // SAFETY: memory that lives as long as the heap is the default.
            unsafe {
                let heap = crate::heap::KnHeap::create(memory.as_mut_ptr().cast(), 4096, &config);
                assert!(port::counted() == state);
                port::use_heap(heap);
                assert!(port::counted().is_null() && mine() == state);
                (*heap).counted = heap.cast();
                port::set_counted(heap.cast());
                port::use_heap(null_mut());
                assert!(port::counted() == state);
                port::use_heap(heap);
                assert!(port::counted() == heap.cast() && mine() == state);
                // The thread ends with it, and its memory is gone before the destructors run.
            }
        };
        std::thread::spawn(work).join().unwrap();
    }

    #[test]
    fn the_child_of_a_fork_knows_who_is_gone() {
        let _turn = turn();
        let before = listed().0;
        let states = [enter_elsewhere(), enter_elsewhere()];
        // What is unfinished is the way back.
        let (_, held) = (LOCK.acquire_patiently(), LOCK.free_from_others());
        assert!(!held);
        // SAFETY: acquired above.
        unsafe { LOCK.release() };
        for state in states {
            // SAFETY: in the list, and nobody else has it.
            unsafe {
                assert!((*state).is_alive());
                (*state).previous.store(null_mut(), Ordering::Relaxed);
            }
        }
        std::thread::scope(|scope| {
            let other = scope.spawn(|| assert!(LOCK.acquire().is_ok()));
            other.join().unwrap();
        });
        in_child();
        assert!(states.iter().all(|&state| {
            // SAFETY: as above.
            unsafe { !(*state).is_alive() }
        }));
        for state in states {
            port::set_process_counted(state.cast());
            // SAFETY: as above.
            unsafe {
                assert!(leave(state.cast()));
                drop(Box::from_raw(state.cast::<State>()));
            }
        }
        assert_eq!(listed().0, before);
    }

    /// A member of the list whose thread's end does not call it back.
    fn enter_elsewhere() -> *mut Member {
        let enter = || {
            let state = enter(0);
            AT_END.set(null_mut());
            // SAFETY: this thread's own.
            unsafe { (*state.cast::<Member>()).thread.store(2, Ordering::Relaxed) };
            AtomicPtr::new(state.cast())
        };
        std::thread::spawn(enter).join().unwrap().into_inner()
    }
}
