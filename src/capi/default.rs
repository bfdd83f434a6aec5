//! The default heap: `kn_malloc` and its family, and which heap they use.
//!
//! | on | the default heap is | its lock |
//! | --- | --- | --- |
//! | bare metal | what `kn_init` or `kn_heap_use` gave; before that none | interrupts masked (PRIMASK on Cortex-M), or `kn_lock_use` |
//! | an operating system | the thread's own (`kn_heap_use`, `kn_init`), else the process heap | the process heap's |
//! | WebAssembly | one that grows with linear memory | none: one thread |

use core::ffi::c_void;

#[cfg(unix)]
use crate::hosted as memory;
#[cfg(not(unix))]
use crate::port::manual as memory;

use crate::heap::{KnHeap, KnHeapConfig, KnLayout, KnStatus};
use crate::port;

/// Enters the critical section that guards the default heap; the result goes to KnLockLeaveFn.
pub type KnLockEnterFn = Option<unsafe extern "C" fn() -> usize>;
/// Leaves the critical section: brings back the state that KnLockEnterFn found.
pub type KnLockLeaveFn = Option<unsafe extern "C" fn(state: usize)>;

/// Makes a heap in `mem` and makes it the default heap: of the program on bare metal, of the calling
/// thread on an operating system.
///
/// @return `KN_OK`; `KN_E_INVALID` iff `mem` is NULL; `KN_E_NO_MEMORY` iff `bytes` is too small for a heap.
///
/// Cost: O(1). Ownership: the heap uses `mem` until another default heap is set and its blocks are no
/// longer used. Thread and interrupt rule: on bare metal before interrupts use the default heap.
///
/// # Safety
/// `mem` points to `bytes` bytes that nobody else uses.
#[no_mangle]
pub unsafe extern "C" fn kn_init(mem: *mut c_void, bytes: usize) -> KnStatus {
    if mem.is_null() {
        return KnStatus::Invalid;
    }
    let config = KnHeapConfig { layout: KnLayout::Auto, flags: 0 };
    // SAFETY: the caller's promise.
    let heap = unsafe { KnHeap::create(mem.cast(), bytes, &config) };
    if heap.is_null() {
        return KnStatus::NoMemory;
    }
    // SAFETY: made above, and the caller's promise.
    unsafe { port::use_heap(heap) };
    KnStatus::Ok
}

/// The calling thread's default heap.
///
/// @return NULL iff there is none: on bare metal before `kn_init`, elsewhere when the system refuses memory.
///
/// Cost: O(1). Ownership: stays the library's. Thread and interrupt rule: the process heap of an operating
/// system is shared, and the `kn_heap_` functions take no lock: use them on it (statistics, walk,
/// check) only while no other thread allocates. The small and the large blocks of `kn_malloc` (up to
/// 8 KB, from 128 KB on) lie beside it and are no part of it: `kn_process_stats` and its kin tell of all.
#[no_mangle]
pub extern "C" fn kn_heap_default() -> *mut KnHeap {
    port::default_heap()
}

/// Makes `heap` the default one: of the program on bare metal, of the calling thread elsewhere. NULL
/// brings back the process heap, on bare metal none.
///
/// @return the default heap before, as `kn_heap_default` would have.
///
/// Cost: O(1). Ownership: `heap` must live until another is set. Blocks of the heap before are freed with
/// `kn_heap_free`, or while it is the default again; blocks of the process heap can be freed by
/// `kn_free` at any time. Thread and interrupt rule: a heap of a thread's own takes no lock and is for
/// this thread alone.
///
/// # Safety
/// `heap` is NULL or a heap that lives while it is the default.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_use(heap: *mut KnHeap) -> *mut KnHeap {
    // SAFETY: the caller's promise.
    unsafe { port::use_heap(heap) }
}

/// Sets the functions that guard the default heap on bare metal, for instance an RTOS's scheduler lock
/// or BASEPRI. Both NULL bring back the library's own: PRIMASK on Cortex-M, nothing on other cores.
///
/// @return `KN_OK`; `KN_E_INVALID` iff one of the two is NULL; `KN_E_UNSUPPORTED` iff the platform's
/// lock is not the program's business (an operating system, WebAssembly).
///
/// Cost: O(1). Ownership: the functions stay the caller's. Thread and interrupt rule: to be called before
/// handlers use the default heap.
#[no_mangle]
pub extern "C" fn kn_lock_use(enter: KnLockEnterFn, leave: KnLockLeaveFn) -> KnStatus {
    if enter.is_some() != leave.is_some() {
        return KnStatus::Invalid;
    }
    port::set_lock(enter.zip(leave))
}

/// Allocates `size` bytes of the default heap; 0 bytes get an address of their own.
///
/// @return NULL iff there is no default heap, no memory, or `size` is more than PTRDIFF_MAX. The block is
/// aligned to 16 bytes on 64-bit targets, to 8 on 32-bit ones.
///
/// Cost: O(1); on an operating system also a system call when the heap grows or `size` is 128 KB or more.
/// Ownership: the caller's, until `kn_free`. Thread and interrupt rule: any thread; handlers on bare metal
/// if the lock masks them; a POSIX signal handler gets NULL when it interrupted the heap itself.
#[no_mangle]
pub extern "C" fn kn_malloc(size: usize) -> *mut c_void {
    memory::malloc(size).cast()
}

/// Allocates `n * size` bytes of the default heap, all zero.
///
/// @return as `kn_malloc`; NULL also iff the product overflows.
///
/// Cost: O(bytes); memory fresh from the system is zero already. Ownership, thread and interrupt rule: as
/// `kn_malloc`. The clearing happens outside the lock.
#[no_mangle]
pub extern "C" fn kn_calloc(n: usize, size: usize) -> *mut c_void {
    memory::calloc(n, size).cast()
}

/// Makes a block of the default heap `size` bytes long, in place where it can; NULL `at` allocates.
///
/// @return the block, perhaps moved, its first bytes kept; NULL iff there is no memory or `at` is no block
/// (the error hook is told): then everything is as before.
///
/// Cost: O(1) in place, else O(bytes copied), with the lock held; a large block of an operating system
/// moves by its page tables. Ownership: after success only the result is valid. Thread and interrupt rule:
/// as `kn_malloc`.
///
/// # Safety
/// `at` is NULL or a block that nobody else uses meanwhile.
#[no_mangle]
pub unsafe extern "C" fn kn_realloc(at: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { memory::realloc(at.cast(), size) }.cast()
}

/// Allocates `size` bytes at a multiple of `align` of the default heap.
///
/// @return as `kn_malloc`; NULL also iff `align` is no power of two.
///
/// Cost: O(1), as `kn_malloc`. Ownership, thread and interrupt rule: as `kn_malloc`.
#[no_mangle]
pub extern "C" fn kn_aligned_alloc(align: usize, size: usize) -> *mut c_void {
    memory::aligned_alloc(align, size).cast()
}

/// Frees a block of the default heap; NULL does nothing. A pointer that is no block of it, or is free
/// already, goes to the error hook and changes nothing.
///
/// Cost: O(1); on an operating system also a system call for a block of 128 KB or more. Ownership: the
/// block is the library's again. Thread and interrupt rule: any thread may free what any thread allocated
/// from the process heap; `errno` is kept.
///
/// # Safety
/// Nobody uses the block any more.
#[no_mangle]
pub unsafe extern "C" fn kn_free(at: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { memory::free(at.cast()) }
}

/// The bytes that may be used at `at`, at least as many as were asked for.
///
/// @return 0 iff `at` is NULL or no block of the default heap; that is no error.
///
/// Cost: O(1). Ownership: unchanged. Thread and interrupt rule: as `kn_malloc`.
///
/// # Safety
/// Nobody frees the block meanwhile.
#[no_mangle]
pub unsafe extern "C" fn kn_usable_size(at: *const c_void) -> usize {
    // SAFETY: the caller's promise.
    unsafe { memory::usable_size(at.cast()) }
}
