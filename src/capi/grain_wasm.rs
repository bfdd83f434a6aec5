//! The runtime of Grain as a WebAssembly module: Grain's names are the module's exports.
//!
//! # Guarantees
//! - The module imports nothing. It exports its `memory`, and the functions below.
//! - `malloc` is that of Grain's GC module: the answer is a multiple of 8, the counter word lies 8 bytes
//!   before it, the count is 1, the payload is zero. Without memory the answer is -1 and nothing has
//!   changed; before that, cyclic garbage was looked for.
//! - `incRef`, `decRef` and `decRefIgnoreZeros` take any value and return it; what is 0 or has one of its
//!   three lowest bits set is not counted.
//! - An object whose count gets to zero is freed at once, and its children are given up, without
//!   recursion. Cycles, which Grain leaks, are collected.
//! - A mistake (a count of zero, a pointer that is no object) changes nothing. It traps when the call is
//!   otherwise over, as Grain's `panic` does, and `errorText` says which it was; after `throwOnError(0)`
//!   it only leaves its number in `errorStatus`. A trap leaves everything usable.
//!
//! # Exports
//!
//! | from | functions |
//! | --- | --- |
//! | Grain's GC | `malloc free incRef decRef decRefIgnoreZeros` |
//! | Grain's Malloc | `rawMalloc rawFree getFreePtr`: the first two are its `malloc` and `free`, whose names GC's have |
//! | Knoll: cycles | `runOrc partialCollect prepareOrc enableOrc disableOrc step configure` |
//! | Knoll: insight | `refCount getTotalMem getOccupiedMem getFreeMem liveCells heapUsed check` |
//! | Knoll: mistakes | `errorStatus errorText errorAt throwOnError` |
//!
//! The functions bear the names they are exported under. One thread: WebAssembly without shared memory.

// The names are Grain's.
#![allow(non_snake_case)]

use core::ffi::{c_char, c_void};
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::Relaxed};

use crate::counted::{self, grain, Counted, KnGcConfig, KnGcStats, KN_GC_COLLECT_WHEN_FULL};
use crate::heap::{KnHeap, KnHeapStats, KnStatus, KN_BLOCK_FREE};
use crate::port;
use crate::port::manual as raw;

// ---------------------------------------------------------------- the start, and mistakes

/// The number of Grain's type; 0 before the first call.
static TYPE: AtomicU32 = AtomicU32::new(0);
/// The last mistake: its status, the pointer at fault, its text.
static STATUS: AtomicI32 = AtomicI32::new(0);
static AT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static TEXT: AtomicPtr<c_char> = AtomicPtr::new(null_mut());
/// There was a mistake in this call.
static FRESH: AtomicBool = AtomicBool::new(false);
/// Mistakes do not trap.
static QUIET: AtomicBool = AtomicBool::new(false);

/// The hook of the module: remembers.
unsafe extern "C" fn told(status: KnStatus, at: *const c_void, what: *const c_char) {
    STATUS.store(status as i32, Relaxed);
    AT.store(at.cast_mut(), Relaxed);
    TEXT.store(what.cast_mut(), Relaxed);
    FRESH.store(true, Relaxed);
}

/// Grain's type. At first use sets the hook and the collector's defaults; 0 without memory.
#[inline(always)]
fn grain_type() -> u32 {
    match TYPE.load(Relaxed) {
        0 => start(),
        id => id,
    }
}

#[cold]
#[inline(never)]
fn start() -> u32 {
    port::set_error_hook(Some(told));
    let state = counted::current();
    // SAFETY: the only thread's state, or null.
    unsafe {
        let id = grain::type_in(state);
        if id != 0 {
            Counted::configure(state, &KnGcConfig { flags: KN_GC_COLLECT_WHEN_FULL, ..KnGcConfig::default() });
            TYPE.store(id, Relaxed);
        }
        id
    }
}

/// Traps if the call that ends here was a mistake. The library is not in the middle of anything.
#[inline(always)]
fn answer<T>(value: T) -> T {
    if FRESH.load(Relaxed) {
        mistaken();
    }
    value
}

#[cold]
#[inline(never)]
fn mistaken() {
    FRESH.store(false, Relaxed);
    if !QUIET.load(Relaxed) {
        core::arch::wasm32::unreachable();
    }
}

/// -1 for null: how Grain says that there is no memory.
fn or_failed(at: *mut u8) -> *mut u8 {
    if at.is_null() {
        without_provenance_mut(usize::MAX)
    } else {
        at
    }
}

/// The status of the last mistake, 0 if there was none, and forgets that there was one. Text and pointer
/// stay.
#[no_mangle]
pub extern "C" fn errorStatus() -> i32 {
    STATUS.swap(0, Relaxed)
}

/// What the last mistake was: a text in UTF-8 that ends with a NUL; 0 before the first.
#[no_mangle]
pub extern "C" fn errorText() -> *const c_char {
    TEXT.load(Relaxed)
}

/// The pointer at fault.
#[no_mangle]
pub extern "C" fn errorAt() -> *const c_void {
    AT.load(Relaxed)
}

/// 0: mistakes leave their status and do not trap. Else, as at the start, they trap.
#[no_mangle]
pub extern "C" fn throwOnError(throw: u32) {
    QUIET.store(throw == 0, Relaxed);
}

/// May what lies at `at` be an object? Beyond the memory it cannot be looked at.
#[inline(always)]
fn is_inside(at: *const u8) -> bool {
    extern "C" {
        /// The linker's: the end of the module's own data.
        static __heap_base: u8;
    }
    let start = (&raw const __heap_base).addr();
    at.addr().wrapping_sub(start) < (core::arch::wasm32::memory_size::<0>() << 16) - start
}

/// Runs `work` on a value that may be an object: one that points outside the memory is a mistake.
#[inline(always)]
fn with_value<R>(value: *const u8, none: R, work: impl FnOnce() -> R) -> R {
    grain_type();
    let result = if !grain::layout::is_reference(value.addr()) || is_inside(value) {
        work()
    } else {
        port::report(KnStatus::Foreign, value, c"not an object: outside the memory");
        none
    };
    answer(result)
}

// ---------------------------------------------------------------- Grain: GC

/// An object of `size` bytes with a count of 1; -1 without memory.
#[no_mangle]
pub extern "C" fn malloc(size: usize) -> *mut u8 {
    let id = grain_type();
    if id == 0 {
        return or_failed(null_mut());
    }
    // SAFETY: the only thread's state, which is there since the type is.
    answer(or_failed(unsafe { Counted::new_sized(counted::current(), id, size) }))
}

/// Ends an object whatever its count; its children are not given up.
///
/// # Safety
/// The object is not used any more.
#[no_mangle]
pub unsafe extern "C" fn free(object: *mut u8) {
    // SAFETY: the caller's word.
    with_value(object, (), || unsafe { counted::end(object) });
}

/// One reference more.
///
/// # Safety
/// A value of the program.
#[no_mangle]
pub unsafe extern "C" fn incRef(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    with_value(value, value, || unsafe { grain::add_ref(value) })
}

/// One reference less; a count of zero is a mistake.
///
/// # Safety
/// A value of the program.
#[no_mangle]
pub unsafe extern "C" fn decRef(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    with_value(value, value, || unsafe { grain::release(value) })
}

/// One reference less; a count of zero is ignored.
///
/// # Safety
/// A value of the program.
#[no_mangle]
pub unsafe extern "C" fn decRefIgnoreZeros(value: *mut u8) -> *mut u8 {
    // SAFETY: the caller's word.
    with_value(value, value, || unsafe { grain::release_ignoring_zero(value) })
}

// ---------------------------------------------------------------- Grain: Malloc

/// `size` bytes without a count, uninitialised, 8-byte aligned; -1 without memory.
#[no_mangle]
pub extern "C" fn rawMalloc(size: usize) -> *mut u8 {
    grain_type();
    answer(or_failed(raw::malloc(size)))
}

/// Frees a block of `rawMalloc`.
///
/// # Safety
/// The block is not used any more.
#[no_mangle]
pub unsafe extern "C" fn rawFree(at: *mut u8) {
    grain_type();
    // SAFETY: the caller's word.
    unsafe { raw::free(at) };
    answer(());
}

/// The lowest free block of the heap, for debugging; 0: there is none. O(blocks before it).
#[no_mangle]
pub extern "C" fn getFreePtr() -> *const c_void {
    let mut found = core::ptr::null();
    let heap = port::default_heap();
    if !heap.is_null() {
        // SAFETY: the only thread's heap; the walk stops at the first free block.
        let _ = unsafe {
            KnHeap::walk(heap, &mut |block| {
                if block.state == KN_BLOCK_FREE {
                    found = block.start;
                }
                found.is_null()
            })
        };
    }
    found
}

// ---------------------------------------------------------------- Knoll: cycles

/// Runs `work` on the state, if there is one.
fn with_state<R>(none: R, work: impl FnOnce(*mut Counted) -> R) -> R {
    if grain_type() == 0 {
        return none;
    }
    answer(work(counted::current()))
}

/// Collects all cyclic garbage.
#[no_mangle]
pub extern "C" fn runOrc() {
    // SAFETY: the only thread's state, here and below.
    with_state((), |state| unsafe { Counted::collect(state) });
}

/// Collects from the roots with an index of `limit` or more.
#[no_mangle]
pub extern "C" fn partialCollect(limit: usize) {
    // SAFETY: as above.
    with_state((), |state| unsafe { Counted::partial(state, limit) });
}

/// How many roots there are now: the limit of a later `partialCollect`.
#[no_mangle]
pub extern "C" fn prepareOrc() -> usize {
    // SAFETY: as above.
    with_state(0, |state| unsafe { Counted::roots(state) })
}

/// Automatic collections happen, as at the start.
#[no_mangle]
pub extern "C" fn enableOrc() {
    // SAFETY: as above.
    with_state((), |state| unsafe { Counted::enable(state) });
}

/// Automatic collections do not happen.
#[no_mangle]
pub extern "C" fn disableOrc() {
    // SAFETY: as above.
    with_state((), |state| unsafe { Counted::disable(state) });
}

/// Visits at most `budget` objects; 1: there is nothing left to do.
#[no_mangle]
pub extern "C" fn step(budget: usize) -> bool {
    // SAFETY: as above.
    with_state(true, |state| unsafe { Counted::step(state, budget) })
}

/// The collector's configuration: KN_GC_ flags, the threshold, the slice, the frees that one `decRef`
/// does; 0 for the default of each. The status: 0, or less for unknown flags.
#[no_mangle]
pub extern "C" fn configure(flags: u32, threshold: u32, slice: u32, freesPerUnref: u32) -> i32 {
    let config = KnGcConfig { flags, threshold, slice, frees_per_unref: freesPerUnref, ..KnGcConfig::default() };
    // SAFETY: as above.
    with_state(KnStatus::NoMemory as i32, |state| unsafe { Counted::configure(state, &config) } as i32)
}

// ---------------------------------------------------------------- Knoll: insight

/// An object's count; 0 of an immediate, and of an object that is gone.
///
/// # Safety
/// A value of the program.
#[no_mangle]
pub unsafe extern "C" fn refCount(value: *const u8) -> u32 {
    with_value(value, 0, || match grain::layout::is_reference(value.addr()) {
        // SAFETY: the caller's word.
        true => unsafe { counted::count(value) },
        false => 0,
    })
}

fn stats() -> KnGcStats {
    // SAFETY: as above.
    with_state(KnGcStats::default(), |state| unsafe { Counted::stats(state) })
}

/// Bytes of memory for objects: occupied and free.
#[no_mangle]
pub extern "C" fn getTotalMem() -> usize {
    stats().total
}

/// Bytes that objects take.
#[no_mangle]
pub extern "C" fn getOccupiedMem() -> usize {
    stats().occupied
}

/// Bytes that are ready for objects.
#[no_mangle]
pub extern "C" fn getFreeMem() -> usize {
    stats().free
}

/// Objects alive.
#[no_mangle]
pub extern "C" fn liveCells() -> usize {
    stats().cells
}

/// Bytes that used blocks of the heap take: objects, the collector's own, and `rawMalloc`'s.
#[no_mangle]
pub extern "C" fn heapUsed() -> usize {
    let mut numbers = KnHeapStats::default();
    let heap = port::default_heap();
    if !heap.is_null() {
        // SAFETY: the only thread's heap.
        let _ = unsafe { KnHeap::stats(heap, &mut numbers) };
    }
    numbers.used
}

/// Verifies every record of the heap and of the objects: 0, or a status.
#[no_mangle]
pub extern "C" fn check() -> i32 {
    let heap = port::default_heap();
    if heap.is_null() {
        return 0;
    }
    // SAFETY: the only thread's heap and state.
    unsafe {
        match KnHeap::check(heap) {
            KnStatus::Ok => with_state(KnStatus::Ok, |state| Counted::check(state)) as i32,
            bad => bad as i32,
        }
    }
}
