//! Manual memory: a heap in memory that you own.
//!
//! Allocation is bounded good fit with immediate merging: malloc and free take a bounded number of
//! steps in each region, whatever the heap's state (source: TLSF, Masmano, Ripoll, Crespo, Real
//! 2004, with one flat level of bins). Payloads are aligned to 8 bytes, on 64-bit hosts to 16.

use core::ffi::c_void;

use crate::heap::{KnHeap, KnHeapConfig, KnStatus};

/// A heap made where the thread's default heap was: what that one counted is gone with it.
fn made(heap: *mut KnHeap) -> *mut KnHeap {
    #[cfg(unix)]
    if !heap.is_null() && heap == crate::port::thread_heap() {
        crate::port::set_counted(core::ptr::null_mut());
    }
    heap
}

/// Makes a heap in `bytes` bytes at `mem`, with any address and size.
///
/// Returns the heap, whose control block lies at the start of `mem`; NULL iff `mem` is NULL or too
/// small (512 bytes are enough everywhere).
/// Cost: O(bytes / 32) in the headerless layout, whose map is cleared, O(1) in the others; a control
/// block of 100 to 260 bytes on 32-bit targets and, in the headerless layout, 1/32 of the memory.
/// Ownership: the memory stays yours; to forget the heap is to reuse it. Threads: any, one at a time.
///
/// # Safety
/// `mem` is NULL or valid for reads and writes of `bytes` bytes that nobody else uses.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_create(mem: *mut c_void, bytes: usize) -> *mut KnHeap {
    // SAFETY: the caller's word.
    made(unsafe { KnHeap::create(mem.cast(), bytes, &KnHeapConfig::DEFAULT) })
}

/// Makes a heap as kn_heap_create does, with a chosen block layout; a NULL `config` chooses nothing.
///
/// Returns the heap; NULL iff the memory is too small or the layout is not in this build. Memory
/// beyond what the layout can address is left unused.
/// Cost, ownership, threads: as kn_heap_create.
///
/// # Safety
/// As kn_heap_create; `config` is NULL or valid for a read.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_create_with(
    mem: *mut c_void,
    bytes: usize,
    config: *const KnHeapConfig,
) -> *mut KnHeap {
    let config = read_config(config);
    match config {
        // SAFETY: the caller's word.
        Some(config) => made(unsafe { KnHeap::create(mem.cast(), bytes, &config) }),
        None => core::ptr::null_mut(),
    }
}

/// Adds `bytes` bytes at `mem` to a heap, as a region of their own.
///
/// Returns KN_OK; KN_E_INVALID iff `heap` is NULL or the memory is NULL or too small; then nothing
/// has changed. Regions are tried in the order in which they were added, and blocks never span two.
/// Cost: as kn_heap_create, and O(regions). Ownership: the memory stays yours but can't be taken
/// back from a living heap. Threads: exclusive.
///
/// # Safety
/// As kn_heap_create; `heap` is NULL or a live heap that nobody else uses during the call.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_add_region(heap: *mut KnHeap, mem: *mut c_void, bytes: usize) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe { kn_heap_add_region_with(heap, mem, bytes, core::ptr::null()) }
}

/// Adds a region as kn_heap_add_region does, with a block layout of its own.
///
/// Returns, cost, ownership, threads: as kn_heap_add_region; KN_E_INVALID also iff the layout is not
/// in this build.
///
/// # Safety
/// As kn_heap_add_region; `config` is NULL or valid for a read.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_add_region_with(
    heap: *mut KnHeap,
    mem: *mut c_void,
    bytes: usize,
    config: *const KnHeapConfig,
) -> KnStatus {
    let config = read_config(config);
    match config {
        // SAFETY: the caller's word.
        Some(config) if !heap.is_null() => unsafe { KnHeap::add_region(heap, mem.cast(), bytes, &config) },
        _ => KnStatus::Invalid,
    }
}

/// A configuration from C, whose layout can be any number; None when it is none that we know.
fn read_config(config: *const KnHeapConfig) -> Option<KnHeapConfig> {
    if config.is_null() {
        return Some(KnHeapConfig::DEFAULT);
    }
    // The layout is read as a number first: an enum of an unknown value must never exist.
    // SAFETY: the pointer is valid for a read, by the callers' contracts; the number is the first
    // field.
    let (layout, flags) = unsafe { (config.cast::<i32>().read(), (*config).flags) };
    KnHeapConfig::from_numbers(layout, flags)
}

/// Allocates at least `size` bytes, uninitialised.
///
/// Returns the block; NULL iff no free block is large enough, or `heap` is NULL. A size of 0 gives
/// a block of its own. Every size up to SIZE_MAX is answered.
/// Cost: O(regions), bounded; no header in the headerless layout, 4 or 8 bytes in the others, and
/// rounding to 8 bytes (16 on 64-bit hosts). Ownership: yours until kn_heap_free. Threads: exclusive.
///
/// # Safety
/// `heap` is NULL or a live heap that nobody else uses during the call.
///
/// cbindgen:postfix=KN_ATTR_MALLOC KN_ATTR_ALLOC_SIZE(2)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_malloc(heap: *mut KnHeap, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::malloc_in_line(heap, size).cast() }
}

/// Allocates as kn_heap_malloc does, but from the top end of the memory: for what dies soon, so that
/// it never lies between blocks that stay.
///
/// Returns, ownership, threads: as kn_heap_malloc. Cost: O(regions), bounded.
///
/// # Safety
/// As kn_heap_malloc.
///
/// cbindgen:postfix=KN_ATTR_MALLOC KN_ATTR_ALLOC_SIZE(2)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_malloc_top(heap: *mut KnHeap, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::malloc_top(heap, size).cast() }
}

/// Allocates `n * size` bytes of zeros.
///
/// Returns the block; NULL iff the product overflows, no free block is large enough, or `heap` is
/// NULL. Cost: kn_heap_malloc's and O(n * size). Ownership, threads: as kn_heap_malloc.
///
/// # Safety
/// As kn_heap_malloc.
///
/// cbindgen:postfix=KN_ATTR_MALLOC KN_ATTR_ALLOC_SIZE2(2, 3)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_calloc(heap: *mut KnHeap, n: usize, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::calloc(heap, n, size).cast() }
}

/// Resizes a block to at least `size` bytes: in place, by taking from the free block behind it, by
/// sliding down over the free block before it, else by moving.
///
/// Returns the block, perhaps at another address, its contents kept up to the smaller size and its
/// alignment up to 64 bytes; NULL iff there is no room or `ptr` is no used block of the heap (the
/// error hook is told): then it is as it was. A NULL `ptr` allocates; a `size` of 0 leaves the
/// smallest block, it does not free.
/// Cost: bounded, and O(size) where the block moves. Ownership: the old address is gone when the
/// answer is not NULL. Threads: exclusive.
///
/// # Safety
/// As kn_heap_free.
///
/// cbindgen:postfix=KN_ATTR_ALLOC_SIZE(3)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_realloc(heap: *mut KnHeap, ptr: *mut c_void, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::realloc(heap, ptr.cast(), size).cast() }
}

/// Resizes as kn_heap_realloc does, to an address that is a multiple of `align`.
///
/// Returns the block; NULL iff there is no room, `align` is no power of two, or `ptr` is no used
/// block: then it is as it was. Cost, ownership, threads: as kn_heap_realloc.
///
/// # Safety
/// As kn_heap_free.
///
/// cbindgen:postfix=KN_ATTR_ALLOC_ALIGN(3) KN_ATTR_ALLOC_SIZE(4)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_aligned_realloc(
    heap: *mut KnHeap,
    ptr: *mut c_void,
    align: usize,
    size: usize,
) -> *mut c_void {
    if heap.is_null() || !align.is_power_of_two() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::aligned_realloc(heap, ptr.cast(), align, size).cast() }
}

/// Allocates at least `size` bytes at an address that is a multiple of `align`.
///
/// Returns the block; NULL iff `align` is no power of two, no free block of `size + align` bytes is
/// found, or `heap` is NULL. `size` need not be a multiple of `align`.
/// Cost: O(regions), bounded; no memory beyond the block: what precedes it is free again.
/// Ownership, threads: as kn_heap_malloc.
///
/// # Safety
/// As kn_heap_malloc.
///
/// cbindgen:postfix=KN_ATTR_MALLOC KN_ATTR_ALLOC_ALIGN(2) KN_ATTR_ALLOC_SIZE(3)
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_aligned_alloc(heap: *mut KnHeap, align: usize, size: usize) -> *mut c_void {
    if heap.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::aligned_alloc(heap, align, size).cast() }
}

/// Gives a block back; NULL is a no-op.
///
/// A pointer that is no used block of the heap (free already, foreign, inside a block) or whose
/// records were overwritten changes nothing; the error hook is told which.
/// Cost: O(regions), bounded. Ownership: the block is the heap's again. Threads: exclusive; an
/// interrupt handler may call it only on a heap that it alone uses.
///
/// # Safety
/// `heap` is NULL or a live heap that nobody else uses during the call; the block's bytes are not
/// used afterwards.
#[no_mangle]
pub unsafe extern "C" fn kn_heap_free(heap: *mut KnHeap, ptr: *mut c_void) {
    if heap.is_null() {
        return;
    }
    // SAFETY: the caller's word. The status went to the error hook.
    unsafe { KnHeap::free_in_line(heap, ptr.cast()) };
}

/// How many bytes a block holds: at least the size it was asked for.
///
/// Returns 0 iff `ptr` is NULL or no used block of the heap; reports nothing.
/// Cost: O(regions). Ownership: none. Threads: exclusive.
///
/// # Safety
/// As kn_heap_malloc.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn kn_heap_usable_size(heap: *mut KnHeap, ptr: *const c_void) -> usize {
    if heap.is_null() || ptr.is_null() {
        return 0;
    }
    // SAFETY: the caller's word.
    unsafe { KnHeap::usable_size(heap, ptr.cast()) }
}
