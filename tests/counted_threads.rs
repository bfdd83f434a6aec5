//! Counted objects in threads: whose a cell is, what the end of a thread does, shared cells.
//!
//! The same from C, with fork, destructors of thread data and 10,000 threads, is in
//! xtask/fixtures/counted_threads.c. The process heap and the error hook are the whole process's, so
//! the tests take turns.

#![cfg(all(unix, feature = "counted"))]

use knoll::capi::accounting::*;
use knoll::capi::counted::*;
use knoll::capi::default::kn_heap_use;
use knoll::capi::heap::kn_heap_create;
use knoll::capi::insight::kn_heap_check;
use knoll::counted::{KnGcStats, KnType, KnTypeId, KN_TYPE_ACYCLIC, KN_TYPE_SHARED};
use knoll::heap::KnStatus;
use std::ffi::{c_char, c_void};
use std::ptr::{null_mut, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

/// One test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much to do: Miri is a thousand times slower, and full checks look at everything.
fn times(full: usize) -> usize {
    match (cfg!(miri), cfg!(feature = "checks-full")) {
        (true, _) => full.div_ceil(500),
        (_, true) => full.div_ceil(20),
        _ => full,
    }
}

// ---------------------------------------------------------------- cells

/// A cell that may be part of a cycle.
#[repr(C)]
struct Node {
    left: *mut Node,
    right: *mut Node,
    value: usize,
}

static MADE: AtomicUsize = AtomicUsize::new(0);
static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn node_destroyed(_object: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::Relaxed);
}

static FIELDS: [u32; 2] = [std::mem::offset_of!(Node, left) as u32, std::mem::offset_of!(Node, right) as u32];
static NODE: KnType = KnType {
    name: c"Node".as_ptr(),
    size: size_of::<Node>() as u32,
    ref_count: 2,
    ref_offsets: FIELDS.as_ptr(),
    destroy: Some(node_destroyed),
    ..KnType::PLAIN
};

static MESSAGES_GONE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn message_destroyed(_object: *mut c_void) {
    MESSAGES_GONE.fetch_add(1, Ordering::Relaxed);
}

static MESSAGE: KnType = KnType {
    name: c"Message".as_ptr(),
    size: 40,
    flags: KN_TYPE_SHARED | KN_TYPE_ACYCLIC,
    destroy: Some(message_destroyed),
    ..KnType::PLAIN
};

fn registered(descriptor: &'static KnType) -> KnTypeId {
    // SAFETY: a good descriptor that lives for ever.
    let id = unsafe { GC_registerType(descriptor) };
    assert_ne!(id, 0);
    id
}

fn node(id: KnTypeId) -> *mut Node {
    MADE.fetch_add(1, Ordering::Relaxed);
    NonNull::new(GC_new(id)).expect("memory").as_ptr().cast()
}

/// A ring of `count` nodes; the answer holds the only reference from outside.
fn ring(count: usize) -> *mut Node {
    let id = registered(&NODE);
    let first = node(id);
    let mut last = first;
    // SAFETY: live cells of this thread.
    unsafe {
        for value in 1..count {
            let next = node(id);
            (*next).value = value;
            (*last).right = next;
            last = next;
        }
        GC_assign((&raw mut (*last).right).cast(), first.cast());
    }
    first
}

fn let_go(object: *mut Node) {
    // SAFETY: a live cell of this thread, one of whose references ends.
    unsafe { GC_unref(object.cast()) };
}

fn stats() -> KnGcStats {
    let mut stats = KnGcStats::default();
    // SAFETY: room for the answer.
    assert_eq!(unsafe { GC_stats(&mut stats) }, KnStatus::Ok);
    assert_eq!(stats.total, stats.occupied + stats.free);
    stats
}

/// Every node has been destroyed.
fn all_nodes_gone() {
    assert_eq!(MADE.load(Ordering::Relaxed), DESTROYED.load(Ordering::Relaxed));
    assert_eq!(instances("Node"), 0);
}

/// Runs `work` in so many threads at the same time, and waits for their ends, destructors and all: a join
/// does, the end of a scope alone does not.
fn in_threads(count: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || work(number))).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

// ---------------------------------------------------------------- dumps

unsafe extern "C" fn to_text(context: *mut c_void, text: *const c_char, length: usize) -> usize {
    // SAFETY: `instances` gives a vector, the library `length` bytes.
    unsafe {
        let whole = &mut *context.cast::<Vec<u8>>();
        whole.extend_from_slice(std::slice::from_raw_parts(text.cast(), length));
    }
    length
}

/// How many cells of a type the dump over all heaps and threads tells of.
fn instances(name: &str) -> usize {
    let mut text = Vec::new();
    // SAFETY: a function that takes text, and its context.
    assert_eq!(unsafe { kn_dump_instances(Some(to_text), (&raw mut text).cast()) }, KnStatus::Ok);
    let text = String::from_utf8(text).unwrap();
    let head = format!("[Heap] {name}: #");
    let line = text.lines().find_map(|line| line.strip_prefix(&head));
    line.map_or(0, |rest| rest.split(';').next().unwrap().parse().unwrap())
}

// ---------------------------------------------------------------- each thread its own collector

#[test]
fn each_thread_collects_its_own() {
    let _turn = turn();
    in_threads(4, |number| {
        for n in 0..times(5000) {
            let_go(ring(1 + (n + number) % 12));
        }
        GC_runOrc();
        assert_eq!((stats().cells, stats().roots), (0, 0));
        assert_eq!(GC_check(), KnStatus::Ok);
    });
    all_nodes_gone();
}

#[test]
fn the_end_of_a_thread_collects_what_it_left() {
    let _turn = turn();
    in_threads(4, |number| {
        GC_disableOrc();
        for n in 0..times(2000) {
            let_go(ring(1 + (n + number) % 7));
        }
        assert!(stats().cells > 0);
    });
    all_nodes_gone();
}

#[test]
fn many_threads_one_after_the_other() {
    let _turn = turn();
    let before = stats();
    for number in 0..times(2000) {
        in_threads(1, |_| let_go(ring(number % 9 + 1)));
    }
    all_nodes_gone();
    assert_eq!(stats(), before);
}

#[test]
fn a_type_has_one_number_in_all_threads() {
    let _turn = turn();
    let here = registered(&NODE);
    in_threads(4, |number| {
        if number % 2 == 0 {
            registered(&MESSAGE);
        }
        assert_eq!(registered(&NODE), here);
    });
}

#[test]
fn dumps_tell_of_all_threads() {
    static HELD: KnType = KnType { name: c"Held".as_ptr(), size: 24, flags: KN_TYPE_ACYCLIC, ..KnType::PLAIN };
    let _turn = turn();
    const THREADS: usize = 3;
    let (full, told) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (full, told) = (&full, &told);
            scope.spawn(move || {
                let id = registered(&HELD);
                let cells: Vec<_> = (0..5 * (number + 1)).map(|_| GC_new(id)).collect();
                full.wait();
                told.wait();
                for cell in cells {
                    // SAFETY: cells of this thread that go once.
                    unsafe { GC_unref(cell) };
                }
            });
        }
        full.wait();
        assert_eq!(instances("Held"), 5 * THREADS * (THREADS + 1) / 2);
        told.wait();
    });
    assert_eq!(instances("Held"), 0);
}

/// Tables of types grow, states come and go, cells are counted, and all of it is looked at meanwhile.
#[test]
fn dumps_while_threads_count() {
    static MANY: [KnType; 200] =
        [const { KnType { name: c"Many".as_ptr(), size: 8, flags: KN_TYPE_ACYCLIC, ..KnType::PLAIN } }; 200];
    let _turn = turn();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..2 {
            let enough = &enough;
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    std::thread::spawn(move || {
                        for n in 0..times(100) {
                            let_go(ring(n % 5 + number));
                        }
                    })
                    .join()
                    .unwrap();
                }
            });
        }
        scope.spawn(|| {
            for descriptor in MANY.iter().take(times(200)) {
                // SAFETY: a type of this thread's.
                unsafe { GC_unref(GC_new(registered(descriptor))) };
            }
        });
        for _ in 0..times(500) {
            instances("Node");
        }
        enough.store(true, Ordering::Relaxed);
    });
    all_nodes_gone();
}

// ---------------------------------------------------------------- shared cells

/// A reference to a shared cell.
struct Message(NonNull<c_void>);

// SAFETY: shared cells may be counted by any thread.
unsafe impl Send for Message {}
// SAFETY: as above.
unsafe impl Sync for Message {}

impl Message {
    fn new() -> Message {
        Message(NonNull::new(GC_new(registered(&MESSAGE))).expect("memory"))
    }
}

impl Clone for Message {
    fn clone(&self) -> Message {
        // SAFETY: a live shared cell.
        Message(NonNull::new(unsafe { GC_ref(self.0.as_ptr()) }).unwrap())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: this reference ends.
        unsafe { GC_unref(self.0.as_ptr()) };
    }
}

#[test]
fn shared_cells_are_counted_by_all_and_freed_by_the_last() {
    let _turn = turn();
    let gone = MESSAGES_GONE.load(Ordering::Relaxed);
    let count = times(64);
    let messages: Vec<Message> = (0..count).map(|_| Message::new()).collect();
    assert_eq!(instances("Message"), count);
    in_threads(4, |number| {
        let mut held = Vec::new();
        for n in 0..times(20_000) {
            held.push(messages[(n * 7 + number) % count].clone());
            if held.len() > 50 {
                held.swap_remove(n % 50);
            }
        }
    });
    // SAFETY: live cells.
    assert!(messages.iter().all(|message| unsafe { GC_refcount(message.0.as_ptr()) } == 1));
    assert_eq!(MESSAGES_GONE.load(Ordering::Relaxed), gone);
    // Each thread has all of them now; whoever is last frees.
    let shares: Vec<Mutex<Vec<Message>>> = (0..4).map(|_| Mutex::new(messages.clone())).collect();
    drop(messages);
    in_threads(4, |number| shares[number].lock().unwrap().clear());
    assert_eq!(MESSAGES_GONE.load(Ordering::Relaxed), gone + count);
    assert_eq!(instances("Message"), 0);
    stats();
}

#[test]
fn a_shared_cell_outlives_its_thread() {
    let _turn = turn();
    let gone = MESSAGES_GONE.load(Ordering::Relaxed);
    let message = std::thread::spawn(Message::new).join().unwrap();
    assert_eq!(instances("Message"), 1);
    // SAFETY: a live cell of 40 bytes.
    unsafe { message.0.cast::<[u8; 40]>().write([0xAB; 40]) };
    drop(message);
    assert_eq!((instances("Message"), MESSAGES_GONE.load(Ordering::Relaxed)), (0, gone + 1));
}

// ---------------------------------------------------------------- heaps of a thread's own

#[test]
fn a_heap_of_its_own_has_its_own_collector() {
    let _turn = turn();
    in_threads(3, |number| {
        let outside = ring(3);
        let bytes = 256 << 10;
        let mut memory = vec![0u64; bytes / 8];
        let place = memory.as_mut_ptr().cast::<c_void>();
        // SAFETY: the memory outlives the heap's use, and the heap is this thread's.
        unsafe {
            let heap = kn_heap_create(place, bytes);
            kn_heap_use(heap);
            assert_eq!(stats().cells, 0);
            let inside = ring(5);
            assert!((place.addr()..place.addr() + bytes).contains(&inside.addr()));
            for n in 0..times(2000) {
                let_go(ring(1 + (n + number) % 6));
            }
            kn_heap_use(null_mut());
            assert_eq!(stats().cells, 3);
            let_go(outside);
            GC_runOrc();
            assert_eq!(stats().cells, 0);
            kn_heap_use(heap);
            let_go(inside);
            GC_runOrc();
            assert_eq!(stats().cells, 0);
            assert_eq!((GC_check(), kn_heap_check(heap)), (KnStatus::Ok, KnStatus::Ok));
            kn_heap_use(null_mut());
            // Left to the end of the thread, beside a heap of its own in use.
            let_go(ring(4));
            kn_heap_use(heap);
            // Its memory goes first; the end of the thread does not look at it.
        }
    });
    all_nodes_gone();
}

#[test]
fn a_heap_made_anew_in_the_same_place_starts_anew() {
    let _turn = turn();
    std::thread::spawn(|| {
        let bytes = 64 << 10;
        let mut memory = vec![0u64; bytes / 8];
        let place = memory.as_mut_ptr().cast::<c_void>();
        for _ in 0..3 {
            // SAFETY: the memory outlives the heap's use; nobody uses the heap before any more.
            unsafe {
                let heap = kn_heap_create(place, bytes);
                assert!(!heap.is_null());
                kn_heap_use(heap);
                assert_eq!(stats().cells, 0);
                let held = ring(4);
                assert_eq!(stats().cells, 4);
                let_go(held);
                GC_runOrc();
            }
        }
        // Once more while it is the default.
        // SAFETY: as above.
        assert!(!unsafe { kn_heap_create(place, bytes) }.is_null());
        assert_eq!(stats().cells, 0);
        let_go(ring(4));
        // SAFETY: as above.
        unsafe { kn_heap_use(null_mut()) };
    })
    .join()
    .unwrap();
    // The last ring went with its heap.
    MADE.fetch_sub(4, Ordering::Relaxed);
    all_nodes_gone();
}

// ---------------------------------------------------------------- what does not belong to its thread

/// A pointer that goes to another thread.
struct Foreign(*mut Node);

// SAFETY: what other threads do with it is refused, or needs no thread.
unsafe impl Send for Foreign {}

#[test]
fn a_cell_that_lives_when_its_thread_ends_stays() {
    static ORPHAN: KnType = KnType { name: c"Orphan".as_ptr(), size: 8, flags: KN_TYPE_ACYCLIC, ..KnType::PLAIN };
    let _turn = turn();
    let cell = std::thread::spawn(|| Foreign(GC_new(registered(&ORPHAN)).cast())).join().unwrap();
    assert!(!cell.0.is_null());
    assert_eq!(instances("Orphan"), 1);
    // SAFETY: the cell is alive, and nobody counts it any more.
    unsafe { assert_eq!((*cell.0).left.addr(), 0) };
}

/// A build with all checks tells when a thread counts another one's cell, and does not count.
#[test]
#[cfg(feature = "checks-full")]
fn a_cell_counted_by_another_thread_is_told() {
    use knoll::capi::errors::kn_on_error;

    static TOLD: Mutex<Vec<(KnStatus, usize)>> = Mutex::new(Vec::new());

    unsafe extern "C" fn listen(status: KnStatus, at: *const c_void, _what: *const c_char) {
        TOLD.lock().unwrap().push((status, at.addr()));
    }

    let _turn = turn();
    let cell = ring(1);
    kn_on_error(Some(listen));
    let misuses: [fn(*mut c_void); 3] = [
        |at| {
            // SAFETY: misuse is what is tested, here and below: it is refused.
            let _ = unsafe { GC_ref(at) };
        },
        // SAFETY: as above.
        |at| unsafe { GC_unref(at) },
        |at| {
            let mut slot = null_mut();
            // SAFETY: as above.
            unsafe { GC_assign(&mut slot, at) };
        },
    ];
    for misuse in misuses {
        let foreign = Foreign(cell);
        let work = move || {
            let foreign = foreign;
            misuse(foreign.0.cast());
        };
        std::thread::spawn(work).join().unwrap();
        assert_eq!(std::mem::take(&mut *TOLD.lock().unwrap()), [(KnStatus::Order, cell.addr())]);
    }
    // SAFETY: a live cell of this thread.
    assert_eq!(unsafe { GC_refcount(cell.cast()) }, 2);
    let_go(cell);
    GC_runOrc();
    kn_on_error(None);
    assert_eq!(*TOLD.lock().unwrap(), []);
    all_nodes_gone();
}
