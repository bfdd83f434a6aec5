//! The process heap: its entry points. What they share is `state`, behind the lock.
//!
//! - Small blocks are the calling thread's `cache`'s business. What that can't serve, and what is larger,
//!   takes the lock once; system calls that need no shared state (making and unmaking a large mapping)
//!   stay outside it.
//! - When waiting for the lock could last for ever (`Busy`), the heap is done without: see `aside`.
//! - Before null is the answer, everything that can be given back to the system is, and the request is
//!   tried once more.

use core::cell::UnsafeCell;
use core::ptr::{copy_nonoverlapping, null_mut, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::aside::{self, What};
use super::cache;
use super::classes::LARGEST_SMALL;
use super::fork;
use super::hardened::{self, guard, HARDENED};
use super::mappings::{Large, Mappings};
use super::page::UNIT;
use super::pages::Pages;
use super::regions::Regions;
use super::space;
use super::state::{Resized, State};
use crate::heap::{KnHeap, KEPT_ALIGNMENT};
use crate::port::{self, Busy, Errno};

/// From this size on a block is a mapping of its own.
pub(crate) const LARGE: usize = 128 << 10;
#[cfg(knoll_quick)]
pub(crate) use super::cache::place;
pub(crate) use super::survey::{block_around, check, each_block, each_class, totals, Block, ClassTotals, Kind, Totals};

/// What every block is aligned to.
pub(crate) const BLOCK_ALIGN: usize = 2 * size_of::<usize>();
/// No object may be larger, or differences of pointers into it would overflow.
const LARGEST: usize = isize::MAX as usize;

struct Process(UnsafeCell<State>);

// SAFETY: `with_state` is the only access, and it holds the lock.
unsafe impl Sync for Process {}

static PROCESS: Process = Process(UnsafeCell::new(State {
    heap: null_mut(),
    regions: Regions::new(),
    mappings: Mappings::new(),
    pages: Pages::new(),
    caches: null_mut(),
    peak: 0,
}));

/// The heap once it is made, for those who only want to know it.
pub(super) static HEAP: AtomicPtr<KnHeap> = AtomicPtr::new(null_mut());

/// Runs `work` on the state under the lock, or says why that could last for ever.
pub(super) fn with_state<R>(work: impl FnOnce(&mut State) -> R) -> Result<R, Busy> {
    let (mut work, mut result) = (Some(work), None);
    with_state_called(&mut |state| result = work.take().map(|work| work(state)))?;
    result.ok_or(Busy::Mine)
}

/// One copy of what surrounds the work that is done rarely.
#[inline(never)]
fn with_state_called(work: &mut dyn FnMut(&mut State)) -> Result<(), Busy> {
    with_state_in_line(work)
}

/// [`with_state`], with the work and what surrounds it in line.
#[inline(always)]
fn with_state_in_line<R>(work: impl FnOnce(&mut State) -> R) -> Result<R, Busy> {
    let result = with_state_alone(work);
    if space::has_excess() {
        return_excess(None);
    }
    result
}

/// Runs `work` on the state under the lock, and nothing behind it.
#[inline(always)]
fn with_state_alone<R>(work: impl FnOnce(&mut State) -> R) -> Result<R, Busy> {
    port::with_lock(|| {
        // SAFETY: the lock is held and is not re-entrant, so this is the only reference.
        let state = unsafe { &mut *PROCESS.0.get() };
        if aside::any() {
            state.settle();
        }
        work(state)
    })
}

/// Lets the system have the memory of free units until no more than `kept` are resident (None: as many as
/// may be), outside the lock; true iff it got any.
#[cold]
#[inline(never)]
fn return_excess(kept: Option<usize>) -> bool {
    let mut last = None;
    let mut any = false;
    loop {
        let next = with_state_alone(|state| {
            if let Some(excess) = last {
                state.pages.space.cleaned(excess);
            }
            state.pages.space.excess(kept)
        });
        last = next.ok().flatten();
        let Some(excess) = last else { return any };
        excess.discard();
        any = true;
    }
}

/// Runs `work` on the pages of small blocks under the lock, or says why that could last for ever.
pub(super) fn with_pages<R>(work: impl FnOnce(&mut Pages) -> R) -> Result<R, Busy> {
    with_state(|state| work(&mut state.pages))
}

/// In the child of a fork, whose only thread holds the lock: nobody else came along.
pub(super) fn in_child() {
    // SAFETY: the lock is held.
    let state = unsafe { &mut *PROCESS.0.get() };
    cache::in_child(&mut state.caches, &mut state.pages);
}

/// Whether a heap is the one below the large blocks.
#[cfg(feature = "arena")]
#[inline(always)]
pub(crate) fn is_process_heap(heap: *mut KnHeap) -> bool {
    heap == HEAP.load(Ordering::Acquire)
}

/// The heap below the large blocks, made if it is not yet; null iff the system refuses memory.
pub(crate) fn process_heap() -> *mut KnHeap {
    let known = HEAP.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    fork::register_once();
    let _errno = Errno::keep();
    with_state(State::heap).unwrap_or(null_mut())
}

/// The pointer to an address in a block of any size, with the provenance of the memory that it lies in; null while
/// this very thread holds the lock.
#[cfg(all(miri, feature = "counted"))]
pub(crate) fn pointer_to(address: usize) -> *mut u8 {
    if let Some(at) = space::pointer_to(address) {
        return at;
    }
    with_state(|state| {
        let mut found = null_mut();
        state.mappings.each(&mut |large| {
            if address.wrapping_sub(large.span.start.addr()) < large.span.usable() {
                found = large.span.start.with_addr(address);
            }
            found.is_null()
        });
        match found.is_null() {
            // SAFETY: neither small nor large, so a block of this heap, and under its lock.
            true => unsafe { KnHeap::pointer_to(state.heap, address) },
            false => found,
        }
    })
    .unwrap_or(null_mut())
}

/// Runs `work` on a heap, under the lock iff it is the process heap: what others left aside is done
/// before. None iff waiting for the lock could last for ever; then `work` did not run.
pub(crate) fn exclusively<R>(heap: *mut KnHeap, work: impl FnOnce() -> R) -> Option<R> {
    if heap == HEAP.load(Ordering::Acquire) {
        with_state(|_| work()).ok()
    } else {
        Some(work())
    }
}

/// `bytes` of memory, or null.
#[inline(always)]
pub(crate) fn malloc(bytes: usize) -> *mut u8 {
    match malloc_quickly(bytes) {
        Some(at) => at.as_ptr(),
        None => malloc_slowly(bytes),
    }
}

/// [`malloc`], if the thread's cache has a block at hand.
#[inline(always)]
pub(crate) fn malloc_quickly(bytes: usize) -> Option<NonNull<u8>> {
    if HARDENED {
        return hardened::take_quickly(bytes);
    }
    cache::take(bytes)
}

/// [`malloc`], when the thread's cache has no block at hand.
#[inline(never)]
pub(crate) fn malloc_slowly(bytes: usize) -> *mut u8 {
    if HARDENED {
        return hardened::allocate(BLOCK_ALIGN, bytes).0;
    }
    if bytes <= LARGEST_SMALL {
        let at = cache::take_slowly(bytes);
        if !at.is_null() {
            return at;
        }
    }
    elsewhere(BLOCK_ALIGN, bytes).0
}

/// A block that is not small, or that no page had; and whether its bytes are known to be zero.
#[inline(never)]
pub(super) fn elsewhere(align: usize, bytes: usize) -> (*mut u8, bool) {
    let mut tried = false;
    loop {
        let found = match align.checked_add(bytes) {
            Some(sum) if sum < LARGE || align <= BLOCK_ALIGN && bytes < LARGE => (medium(align, bytes), false),
            _ => large(align, bytes),
        };
        let served = !found.0.is_null() || bytes > LARGEST || align > LARGEST / 2;
        if served || tried || !reclaim() {
            return found;
        }
        tried = true;
    }
}

/// Gives back to the system all that can be, because it refuses memory; true iff that was anything.
#[cold]
fn reclaim() -> bool {
    let _errno = Errno::keep();
    cache::flush();
    // Pages that the flush emptied may serve the request even if nothing went back to the system.
    return_excess(Some(0));
    let opened = HARDENED && guard::open_all();
    with_state(|state| state.give_back() || state.pages.space.free() != 0).unwrap_or(false) || opened
}

/// Gives back to the system what nobody uses, except about `keep` bytes; true iff that was anything.
pub(crate) fn trim(keep: usize) -> bool {
    let _errno = Errno::keep();
    cache::flush();
    let pages = return_excess(Some(keep / UNIT));
    with_state(|state| {
        let blocks = !state.heap.is_null() && state.regions.discard_holes(state.heap, keep);
        let regions = keep == 0 && state.give_back();
        pages || blocks || regions
    })
    .unwrap_or(false)
}

/// `count * size` zeroed bytes, or null.
#[inline(always)]
pub(crate) fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(size) else { return null_mut() };
    match calloc_quickly(bytes) {
        Some(at) => at.as_ptr(),
        None => calloc_slowly(bytes),
    }
}

/// `bytes` zeroed bytes, if the thread's cache has a block at hand.
#[inline(always)]
pub(crate) fn calloc_quickly(bytes: usize) -> Option<NonNull<u8>> {
    if HARDENED {
        return hardened::take_quickly(bytes);
    }
    let at = cache::take(bytes)?;
    // SAFETY: a new block of at least `bytes`, rounded up to granules, at a granule.
    unsafe { clear(at.as_ptr(), bytes) };
    Some(at)
}

/// Clears a small block; a call to do so would cost more than the work.
///
/// # Safety
/// The block holds `bytes` rounded up to 16, and its address is a multiple of 16.
#[inline(always)]
unsafe fn clear(at: *mut u8, bytes: usize) {
    // SAFETY: the caller's word.
    unsafe {
        if bytes > 64 {
            return at.write_bytes(0, bytes);
        }
        let granules = at.cast::<[u64; 2]>();
        granules.write([0; 2]);
        if bytes > 16 {
            granules.add(1).write([0; 2]);
            if bytes > 32 {
                // The last two overlap where the block has three.
                granules.add(bytes.div_ceil(16) - 2).write([0; 2]);
                granules.add(bytes.div_ceil(16) - 1).write([0; 2]);
            }
        }
    }
}

#[inline(never)]
pub(crate) fn calloc_slowly(bytes: usize) -> *mut u8 {
    let (at, zero) = if HARDENED {
        hardened::allocate(BLOCK_ALIGN, bytes)
    } else if bytes <= LARGEST_SMALL {
        (malloc_slowly(bytes), false)
    } else {
        elsewhere(BLOCK_ALIGN, bytes)
    };
    if !at.is_null() && !zero {
        // SAFETY: a new block of at least `bytes`.
        unsafe { at.write_bytes(0, bytes) };
    }
    at
}

/// `bytes` at a multiple of `align`; null without memory or when `align` is no power of two.
#[inline]
pub(crate) fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
    if !align.is_power_of_two() {
        return null_mut();
    }
    if HARDENED {
        return hardened::allocate(align, bytes).0;
    }
    if let Some(rounded) = cache::rounded(align, bytes) {
        if let Some(at) = cache::take(rounded) {
            return at.as_ptr();
        }
        let at = cache::take_slowly(rounded);
        if !at.is_null() {
            return at;
        }
    }
    elsewhere(align, bytes).0
}

/// The block `at` made `bytes` long, in place or moved; null without memory, then it is as before.
/// Moving keeps the alignment that the block was asked for with, up to 64 where it is small. Null `at`
/// allocates.
///
/// # Safety
/// `at` is null or a block of this heap; after success only the result is used.
#[inline(always)]
pub(crate) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        match realloc_quickly(at, bytes) {
            Some(at) => at.as_ptr(),
            None => realloc_slowly(at, bytes),
        }
    }
}

/// [`realloc`], if the block is small and `bytes` are more than 0: where it lies, or in another small block.
///
/// # Safety
/// As [`realloc`].
#[inline(always)]
pub(crate) unsafe fn realloc_quickly(at: *mut u8, bytes: usize) -> Option<NonNull<u8>> {
    if HARDENED {
        return None;
    }
    // SAFETY: the caller's promise.
    let own = unsafe { cache::own_block(at)? };
    if stays(own.size(), bytes) {
        // SAFETY: no block begins at null.
        return Some(unsafe { NonNull::new_unchecked(at) });
    }
    if bytes == 0 {
        return None;
    }
    let size = own.size();
    let to = cache::take(cache::rounded(alignment_of(size), bytes)?)?;
    // SAFETY: a used block of `size` bytes, which the caller gives up, and another one of at least `bytes`.
    unsafe {
        copy_granules(at, to.as_ptr(), size.min(bytes));
        own.give();
    }
    Some(to)
}

/// Whether a small block of `size` bytes stays where it is when it is to have `bytes`: they fit, and fill
/// more than half of it, or a quarter of a block of at most 512 bytes.
#[inline(always)]
fn stays(size: usize, bytes: usize) -> bool {
    bytes <= size && bytes > if size <= 512 { size / 4 } else { size / 2 }
}

/// What a block of `size` bytes may have been asked to be aligned to, up to 64: its size is a multiple of it.
#[inline(always)]
pub(super) fn alignment_of(size: usize) -> usize {
    (size | KEPT_ALIGNMENT) & (size | KEPT_ALIGNMENT).wrapping_neg()
}

/// [`realloc`] of every other block.
///
/// # Safety
/// As [`realloc`].
#[inline(never)]
pub(crate) unsafe fn realloc_slowly(at: *mut u8, bytes: usize) -> *mut u8 {
    if HARDENED {
        // SAFETY: the caller's promise.
        return unsafe { hardened::realloc(at, bytes) };
    }
    let Some(size) = cache::size_at(at) else {
        // SAFETY: the caller's promise.
        return unsafe { realloc_elsewhere(at, bytes) };
    };
    if size == 0 {
        cache::refuse(at, c"realloc");
        return null_mut();
    }
    if stays(size, bytes) {
        return at;
    }
    if bytes > LARGEST {
        return null_mut();
    }
    // SAFETY: a used block of `size` bytes.
    unsafe { move_block(at, size, alignment_of(size), bytes) }
}

/// Copies from one small block to another; a call to do so would cost more than the work.
///
/// # Safety
/// Two blocks of at least `bytes` rounded up to 16, at multiples of 16.
#[inline(always)]
unsafe fn copy_granules(from: *const u8, to: *mut u8, bytes: usize) {
    if bytes > 48 {
        // SAFETY: the caller's word.
        return unsafe { copy_nonoverlapping(from, to, bytes) };
    }
    let mut done = 0;
    while done < bytes {
        // SAFETY: the caller's word. What was not written yet is copied as it is.
        unsafe { to.add(done).cast::<Granule>().write(from.add(done).cast::<Granule>().read()) };
        done += 16;
    }
}

/// 16 bytes, written or not.
type Granule = core::mem::MaybeUninit<[u64; 2]>;

/// [`realloc`] of what is not small.
///
/// # Safety
/// As [`realloc`].
#[inline(never)]
pub(super) unsafe fn realloc_elsewhere(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        return malloc(bytes);
    }
    if bytes > LARGEST {
        return null_mut();
    }
    let _errno = Errno::keep();
    loop {
        // SAFETY: the caller's promise.
        match with_state_in_line(|state| unsafe { state.realloc(at, bytes) }) {
            Ok(Resized::Done(to)) => return to,
            // SAFETY: the block is still the caller's, and `size` bytes of it are valid.
            Ok(Resized::Move { size, align }) => return unsafe { move_block(at, size, align, bytes) },
            // The heap may be in the middle of a change: nothing about the block can be known.
            Err(Busy::Mine) => return null_mut(),
            Err(Busy::Forking) => {}
        }
        // SAFETY: the caller's promise.
        if let Some(size) = unsafe { size_during_fork(at) }.filter(|&size| size != 0) {
            // SAFETY: as above.
            return unsafe { move_block(at, size, BLOCK_ALIGN, bytes) };
        }
        // The fork is over, or the pointer is none of ours: the lock's next holder says so.
    }
}

/// Gives `at`, whose `size` bytes are valid, a new block of `bytes` at a multiple of `align`. Without
/// memory a block that shrinks stays where it is; one that grows stays too, and the answer is null.
///
/// # Safety
/// `at` is a block of this heap with `size` valid bytes; after success only the result is used.
unsafe fn move_block(at: *mut u8, size: usize, align: usize, bytes: usize) -> *mut u8 {
    let to = aligned_alloc(align, bytes);
    if to.is_null() {
        return if bytes <= size { at } else { to };
    }
    // SAFETY: two different blocks; the lengths are theirs.
    unsafe {
        copy_nonoverlapping(at, to, size.min(bytes));
        free(at);
    }
    to
}

/// Frees `at`; null does nothing, and what is no block of this heap is reported.
///
/// # Safety
/// Nobody uses the block any more.
#[inline(always)]
pub(crate) unsafe fn free(at: *mut u8) {
    if HARDENED {
        // SAFETY: the caller's promise.
        return unsafe { hardened::free(at) };
    }
    // SAFETY: the caller's promise.
    unsafe {
        if !cache::give(at) {
            free_slowly(at);
        }
    }
}

/// [`free`], when the block is not one of a page of the calling thread's.
///
/// # Safety
/// As [`free`].
#[inline(never)]
unsafe fn free_slowly(at: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        if !cache::give_slowly(at) {
            free_elsewhere(at);
        }
    }
}

/// Whether a block that is freed as one of `bytes` is one, as far as this build verifies it; told if not.
///
/// # Safety
/// As [`free`].
#[cfg(feature = "libc-names")]
#[inline(always)]
pub(crate) unsafe fn is_of_size(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: the caller's promise.
    !HARDENED || unsafe { hardened::is_of_size(at, bytes) }
}

/// [`free`] of what is not small.
///
/// # Safety
/// As [`free`].
#[inline(never)]
pub(super) unsafe fn free_elsewhere(at: *mut u8) {
    if at.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    match with_state_in_line(|state| unsafe { state.free(at) }) {
        Ok(None) => {}
        Ok(Some(large)) => {
            let _errno = Errno::keep();
            // SAFETY: the table of mappings gave it up, and the caller's promise.
            unsafe { unmap(large) };
        }
        Err(_) => aside::free(at),
    }
}

/// Lets the system, or the space, have a large block's memory.
///
/// # Safety
/// The table gave the block up, and nobody uses it.
unsafe fn unmap(large: Large) {
    // SAFETY: the caller's word.
    unsafe {
        match space::unit_of(large.span.base) {
            None if HARDENED => guard::unmap(large.span),
            None => port::unmap(large.span),
            Some(page) => {
                let units = large.span.bytes / UNIT;
                // Without the lock the units stay a run until the process ends.
                let _ = with_pages(|pages| pages.space.give(space::index_of(page), units));
            }
        }
    }
}

/// The bytes usable at `at`; 0 when it is null or no block of this heap.
///
/// # Safety
/// No other thread frees `at` meanwhile.
pub(crate) unsafe fn usable_size(at: *const u8) -> usize {
    // SAFETY: the caller's promise.
    let small = if HARDENED { unsafe { hardened::usable_size(at) } } else { cache::size_at(at) };
    if let Some(size) = small {
        return size;
    }
    if at.is_null() {
        return 0;
    }
    loop {
        // SAFETY: under the lock any address may be asked for.
        match with_state(|state| unsafe { state.usable_size(at) }) {
            Ok(size) => return size,
            Err(Busy::Mine) => return 0,
            Err(Busy::Forking) => {}
        }
        // SAFETY: the caller's promise.
        if let Some(size) = unsafe { size_during_fork(at) } {
            return size;
        }
    }
}

/// The bytes usable at `at` while another thread forks; `None` when none does.
///
/// # Safety
/// No other thread frees `at` meanwhile.
#[cold]
unsafe fn size_during_fork(at: *const u8) -> Option<usize> {
    // SAFETY: the forking thread changes nothing and keeps everybody else from changing the state and
    // from settling notes until its guests have left.
    port::process_lock()
        .as_guest(|| unsafe { aside::usable_size(at).unwrap_or_else(|| (*PROCESS.0.get()).usable_size(at)) })
}

/// A block of the general heap, which grows if it must; null without memory.
#[inline]
fn medium(align: usize, bytes: usize) -> *mut u8 {
    fork::register_once();
    match with_state_in_line(|state| state.medium(align, bytes)) {
        Ok(at) => at,
        Err(_) => aside::allocate(align, bytes),
    }
}

/// A mapping of its own, or, when the system refuses it, units of the space or a block of the general
/// heap; and whether its bytes are known to be zero.
#[cold]
fn large(align: usize, bytes: usize) -> (*mut u8, bool) {
    if bytes > LARGEST || align > LARGEST / 2 {
        return (null_mut(), false);
    }
    fork::register_once();
    let _errno = Errno::keep();
    let map = if HARDENED { guard::map } else { port::map };
    if let Some(span) = map(bytes.max(1), align) {
        let block = Large { span, align };
        let noted = match with_state(|state| state.enter(block)) {
            Ok(noted) => noted,
            Err(_) => aside::leave(What::Made(block)),
        };
        if noted {
            return (span.start, true);
        }
        // SAFETY: mapped above, and nobody has its address.
        unsafe { unmap(block) };
    }
    let refused = |state: &mut State| {
        let at = state.run(align, bytes);
        if at.is_null() {
            state.medium(align, bytes)
        } else {
            at
        }
    };
    (with_state(refused).unwrap_or(null_mut()), false)
}
