//! The process heap: the state behind the lock, and the entry points that take it.
//!
//! Each entry point takes the lock once and keeps system calls that need no shared state (making and
//! unmaking a large mapping) outside it. When waiting for the lock could last for ever (`Busy`), it
//! does without the heap: see `aside`.

use core::cell::UnsafeCell;
use core::ptr::{copy_nonoverlapping, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::aside::{self, What};
use super::fork;
use super::mappings::{Large, Mappings};
use super::regions::Regions;
use crate::heap::{KnHeap, KnStatus};
use crate::port::{self, Busy, Errno};

/// From this size on a block is a mapping of its own.
pub(crate) const LARGE: usize = 128 << 10;
/// A large block that shrinks below this moves into the heap; the gap to `LARGE` avoids ping-pong.
const NO_LONGER_LARGE: usize = LARGE / 2;
/// What every block is aligned to.
pub(crate) const BLOCK_ALIGN: usize = 2 * size_of::<usize>();
/// No object may be larger, or differences of pointers into it would overflow.
const LARGEST: usize = isize::MAX as usize;

/// What the lock guards.
struct State {
    /// Null until the first allocation.
    heap: *mut KnHeap,
    regions: Regions,
    mappings: Mappings,
}

struct Process(UnsafeCell<State>);

// SAFETY: `with_state` is the only access, and it holds the lock.
unsafe impl Sync for Process {}

static PROCESS: Process =
    Process(UnsafeCell::new(State { heap: null_mut(), regions: Regions::new(), mappings: Mappings::new() }));

/// The heap once it is made, for those who only want to know it.
static HEAP: AtomicPtr<KnHeap> = AtomicPtr::new(null_mut());

/// Runs `work` on the state under the lock, or says why that could last for ever.
#[inline(always)]
fn with_state<R>(work: impl FnOnce(&mut State) -> R) -> Result<R, Busy> {
    port::with_lock(|| {
        // SAFETY: the lock is held and is not re-entrant, so this is the only reference.
        let state = unsafe { &mut *PROCESS.0.get() };
        if aside::any() {
            state.settle();
        }
        work(state)
    })
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
#[inline]
pub(crate) fn malloc(bytes: usize) -> *mut u8 {
    if bytes < LARGE {
        small(BLOCK_ALIGN, bytes)
    } else {
        large(BLOCK_ALIGN, bytes).0
    }
}

/// `count * size` zeroed bytes, or null.
#[inline]
pub(crate) fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(size) else { return null_mut() };
    let (at, fresh) = if bytes < LARGE { (small(BLOCK_ALIGN, bytes), false) } else { large(BLOCK_ALIGN, bytes) };
    if !at.is_null() && !fresh {
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
    match align.checked_add(bytes) {
        None => null_mut(),
        Some(sum) if sum < LARGE => small(align, bytes),
        Some(_) => large(align, bytes).0,
    }
}

/// The block `at` made `bytes` long, in place or moved; null without memory, then it is as before.
/// Moving keeps the alignment that its address has. Null `at` allocates.
///
/// # Safety
/// `at` is null or a block of this heap; after success only the result is used.
pub(crate) unsafe fn realloc(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        return malloc(bytes);
    }
    if bytes > LARGEST {
        return null_mut();
    }
    let _errno = Errno::keep();
    loop {
        // SAFETY: the caller's promise.
        match with_state(|state| unsafe { state.realloc(at, bytes) }) {
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
#[inline]
pub(crate) unsafe fn free(at: *mut u8) {
    if at.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    match with_state(|state| unsafe { state.free(at) }) {
        Ok(None) => {}
        Ok(Some(large)) => {
            let _errno = Errno::keep();
            // SAFETY: the table of mappings gave it up, and the caller's promise.
            unsafe { port::unmap(large.span) };
        }
        Err(_) => aside::free(at),
    }
}

/// The bytes usable at `at`; 0 when it is null or no block of this heap.
///
/// # Safety
/// No other thread frees `at` meanwhile.
pub(crate) unsafe fn usable_size(at: *const u8) -> usize {
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
fn small(align: usize, bytes: usize) -> *mut u8 {
    fork::register_once();
    match with_state(|state| state.small(align, bytes)) {
        Ok(at) => at,
        Err(_) => aside::allocate(align, bytes),
    }
}

/// A mapping of its own, or, when the system refuses it, a block of the general heap; and whether its
/// bytes are known to be zero.
#[cold]
fn large(align: usize, bytes: usize) -> (*mut u8, bool) {
    if bytes > LARGEST || align > LARGEST / 2 {
        return (null_mut(), false);
    }
    fork::register_once();
    let _errno = Errno::keep();
    if let Some(span) = port::map(bytes.max(1), align) {
        let block = Large { span, align };
        let noted = match with_state(|state| state.enter(block)) {
            Ok(noted) => noted,
            Err(_) => aside::leave(What::Made(block)),
        };
        if noted {
            return (span.start, true);
        }
        // SAFETY: mapped above, and nobody has its address.
        unsafe { port::unmap(span) };
    }
    (with_state(|state| state.small(align, bytes)).unwrap_or(null_mut()), false)
}

/// What [`State::realloc`] found.
enum Resized {
    /// The answer: the block, in place or moved, or null.
    Done(*mut u8),
    /// It needs another block, at a multiple of `align`; its first `size` bytes are valid.
    Move { size: usize, align: usize },
}

impl State {
    fn heap(&mut self) -> *mut KnHeap {
        if self.heap.is_null() {
            self.heap = self.regions.create();
            HEAP.store(self.heap, Ordering::Release);
        }
        self.heap
    }

    /// Does what was left aside. A block that finds no room in its table is left aside again.
    #[cold]
    fn settle(&mut self) {
        let _errno = Errno::keep();
        aside::settle_all(|what| match what {
            What::Made(large) => {
                if !self.enter(large) {
                    aside::leave(what);
                }
            }
            What::Freed(at) => {
                // SAFETY: whoever left the note promised what `free` demands.
                if let Some(large) = unsafe { self.free(at) } {
                    // SAFETY: the table gave it up.
                    unsafe { port::unmap(large.span) };
                }
            }
        });
    }

    /// Enters a large block into the table; false without memory.
    #[inline(never)]
    fn enter(&mut self, large: Large) -> bool {
        let room = self.mappings.reserve();
        if room {
            self.mappings.insert(large);
        }
        room
    }

    #[inline(always)]
    fn small(&mut self, align: usize, bytes: usize) -> *mut u8 {
        // Two requests of 0 bytes get different addresses.
        let bytes = bytes.max(1);
        let mut at = self.try_small(align, bytes);
        if at.is_null() {
            let _errno = Errno::keep();
            let heap = self.heap();
            if heap.is_null() {
                return null_mut();
            }
            at = self.try_small(align, bytes); // the heap may be new
            if at.is_null() && self.regions.grow(heap, bytes, align) {
                at = self.try_small(align, bytes);
            }
        }
        if !at.is_null() {
            self.regions.took(at, bytes);
        }
        at
    }

    #[inline(always)]
    fn try_small(&mut self, align: usize, bytes: usize) -> *mut u8 {
        if self.heap.is_null() {
            null_mut()
        } else if align <= BLOCK_ALIGN {
            // SAFETY: the process heap, under its lock.
            unsafe { KnHeap::malloc(self.heap, bytes) }
        } else {
            // SAFETY: as above.
            unsafe { KnHeap::aligned_alloc(self.heap, align, bytes) }
        }
    }

    /// Frees a block of the heap; a large block is taken out of the table and left to be unmapped.
    #[inline(always)]
    unsafe fn free(&mut self, at: *mut u8) -> Option<Large> {
        if let Some(region) = self.regions.index_of(at) {
            // SAFETY: the process heap, under its lock; the caller's promise. It reports errors.
            if unsafe { KnHeap::free(self.heap, at) } == KnStatus::Ok {
                self.regions.gave_back(region);
            }
            return None;
        }
        self.remove_large(at)
    }

    /// Takes a large block out of the table.
    #[inline(never)]
    fn remove_large(&mut self, at: *mut u8) -> Option<Large> {
        let found = self.mappings.remove(at.addr());
        if found.is_none() {
            if aside::any() {
                // It may be a block that found no room in the table.
                aside::free(at);
            } else {
                port::report(KnStatus::Foreign, at, c"free");
            }
        }
        found
    }

    #[inline(never)]
    unsafe fn usable_size(&self, at: *const u8) -> usize {
        if self.regions.index_of(at).is_some() {
            // SAFETY: the process heap, under its lock.
            return unsafe { KnHeap::usable_size(self.heap, at) };
        }
        self.mappings.find(at.addr()).map_or(0, |large| large.span.usable())
    }

    unsafe fn realloc(&mut self, at: *mut u8, bytes: usize) -> Resized {
        let Some(region) = self.regions.index_of(at) else {
            // SAFETY: the caller's promise.
            return unsafe { self.realloc_large(at, bytes) };
        };
        // SAFETY: the process heap, under its lock.
        let size = unsafe { KnHeap::usable_size(self.heap, at) };
        if size == 0 {
            // SAFETY: as above; the heap says what is wrong with the pointer and changes nothing.
            return Resized::Done(unsafe { KnHeap::realloc(self.heap, at, bytes) });
        }
        // What it was asked to be a multiple of is not known, what it is a multiple of is.
        let align = 1 << at.addr().trailing_zeros();
        if bytes >= LARGE && bytes > size {
            return Resized::Move { size, align };
        }
        // SAFETY: as above; a live block.
        let to = unsafe { KnHeap::realloc(self.heap, at, bytes.max(1)) };
        if to.is_null() {
            return Resized::Move { size, align };
        }
        if to != at {
            self.regions.took(to, bytes);
            self.regions.gave_back(region);
        }
        Resized::Done(to)
    }

    #[inline(never)]
    unsafe fn realloc_large(&mut self, at: *mut u8, bytes: usize) -> Resized {
        let Some(large) = self.mappings.find(at.addr()) else {
            port::report(KnStatus::Foreign, at, c"realloc");
            return Resized::Done(null_mut());
        };
        let Large { span, align } = large;
        let elsewhere = Resized::Move { size: span.usable(), align };
        if bytes < NO_LONGER_LARGE {
            return elsewhere;
        }
        // The system moves to any page.
        let may_move = align <= port::page_bytes();
        // SAFETY: the table has the span, so it is mapped.
        let Some(moved) = (unsafe { port::remap(span, bytes, may_move) }) else { return elsewhere };
        // One out, one in: the table's load stays.
        self.mappings.remove(at.addr());
        self.mappings.insert(Large { span: moved, align });
        Resized::Done(moved.start)
    }
}
