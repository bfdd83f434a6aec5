//! The state of counted memory: one for each heap, or for each thread over the process heap.
//!
//! Guarantees
//! * A heap has no state until something is counted in it; then the state lies in a block of the heap,
//!   so a heap that is dropped whole takes it along.
//! * A state without living cells gives everything back when it is retired.
//!
//! ```text
//!   KnHeap.counted ---> Counted              thread slot ---> Counted   (process heap, one a thread)
//!                       | records (types)
//!                       | open[class] -> Page -> Page …   listed[class] -> pages with room
//!                       | roots, search (entries), waiting (dead cells)
//!                       | resident: the same of resident cells, when a type is
//! ```
//! Cost: less than 900 bytes on 64-bit targets, 450 on 32-bit ones, and 4 KB or 1 KB for each size class
//! in use.

#[cfg(unix)]
use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

use super::pages::{Page, Single, CLASSES};
use super::resident::Resident;
use super::roots::Roots;
use super::search::Search;
use super::settings::{KnGcConfig, Settings};
use super::types::{Record, INFERRED};
use crate::heap::KnHeap;
use crate::memory::Source;
use crate::port;

/// The state of counted memory over one heap, or of one thread over the process heap.
/// cbindgen:ignore
#[repr(C)]
pub struct Counted {
    /// Its place in the list of all states over the process heap.
    #[cfg(unix)]
    pub(crate) member: crate::hosted::collectors::Member,
    /// The page that each class allocates from, never null: `empty` where there is none.
    pub(super) open: [*mut Page; CLASSES],
    /// Pages with room that are not open.
    pub(super) listed: [*mut Page; CLASSES],
    /// The types; the first is none.
    pub(super) records: *mut Record,
    pub(super) types: u32,
    pub(super) type_room: u32,
    /// Types that the fast path of an allocation serves: all, or none when it has more to do.
    pub(super) ready: u32,
    /// A type with a trace callback is registered.
    pub(super) traced_types: bool,
    pub(super) disabled: bool,
    /// A root could not be remembered, for want of memory: only a look at everything finds it.
    pub(super) unlisted: bool,
    /// Collections that freed next to nothing, in a row.
    pub(super) futile: u32,
    /// Cells that an automatic collection looks at for each root, as a power of two.
    pub(super) reach: u32,
    pub(super) source: Source,
    pub(super) pages: *mut Page,
    pub(super) singles: *mut Single,
    /// Empty pages that are kept.
    pub(super) spare: *mut Page,
    pub(super) spares: usize,
    /// A page without room.
    pub(super) empty: Page,
    /// Bytes that the heap can hold; None: it grows.
    pub(super) capacity: Option<NonZeroUsize>,
    pub(super) page_bytes: usize,
    pub(super) single_bytes: usize,
    /// Bytes at which the whole graph is looked at.
    pub(super) grown: usize,
    /// Roots at which something is to be done.
    pub(super) trip: usize,
    pub(super) roots: Roots,
    /// The first of the cells that wait for destruction.
    pub(super) waiting: *mut u8,
    pub(super) pending: usize,
    /// A call destroys or searches.
    pub(super) busy: bool,
    /// The callback under way, if any.
    pub(super) callback: port::Callback,
    /// How many there were.
    pub(super) calls: usize,
    /// The cell whose destruction is under way.
    pub(super) running: *mut u8,
    pub(super) search: Search,
    pub(super) settings: Settings,
    pub(super) threshold: u32,
    /// What `KnGcStats` tells.
    pub(super) collections: usize,
    pub(super) steps: usize,
    pub(super) visited: usize,
    pub(super) freed: usize,
    pub(super) longest: usize,
    /// What resident cells need; null as long as no resident type is registered.
    pub(super) resident: *mut Resident,
}

impl Counted {
    /// The state of a heap, made when first needed; null iff there is no memory for it.
    ///
    /// # Safety
    /// `heap` is a live heap of this thread.
    pub unsafe fn of(heap: *mut KnHeap) -> *mut Counted {
        // SAFETY: the caller's word; nobody else writes the field.
        unsafe {
            #[cfg(unix)]
            if heap == crate::hosted::process_heap() {
                return if port::process_counted().is_null() { over_process() } else { port::process_counted().cast() };
            }
            if (*heap).counted.is_null() {
                (*heap).counted = Self::make(Source::new(heap)).cast();
            }
            (*heap).counted.cast()
        }
    }

    /// # Safety
    /// `source` is alive and this thread's.
    unsafe fn make(source: Source) -> *mut Counted {
        // SAFETY: a new block of the size of a state, which is all zero but for what is set.
        unsafe {
            let this = source.take(size_of::<Counted>()).cast::<Counted>();
            if this.is_null() {
                return this;
            }
            this.cast::<u8>().write_bytes(0, size_of::<Counted>());
            (&raw mut (*this).source).write(source);
            (*this).open = [&raw mut (*this).empty; CLASSES];
            // Number 0 is no type.
            (*this).types = 1;
            (*this).type_room = 8;
            (*this).records = source.take(8 * size_of::<Record>()).cast();
            if (*this).records.is_null() {
                source.give(this.cast());
                return null_mut();
            }
            (*this).records.cast::<u8>().write_bytes(0, size_of::<Record>());
            (*(*this).records).class = super::pages::SINGLE_CLASS;
            (*(*this).records).open = &raw mut (*this).empty;
            Self::configure(this, &KnGcConfig::default());
            this
        }
    }

    /// New cells of cyclic types are roots only when cycles are collected.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn adopt_mode(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            let arc = (*this).settings.arc();
            for id in 1..(*this).types {
                let record = Self::record(this, id);
                if arc || (*record).has(INFERRED) {
                    (*record).word |= super::cell::ACYCLIC;
                } else {
                    (*record).word &= !super::cell::ACYCLIC;
                }
                Record::poison(record, (*this).settings.has(super::settings::KN_GC_TORTURE));
            }
        }
    }

    /// Collects what can be collected, destroys what waits, and if no cell is left, gives all memory
    /// back, the state's own too: whether that was so. Then `this` is no longer valid.
    ///
    /// # Safety
    /// `this` is a live state of this thread, not in use by a call further up.
    pub unsafe fn retire(this: *mut Self) -> bool {
        // SAFETY: the caller's word; nothing refers to the blocks that are given back.
        unsafe {
            Self::collect(this);
            if Self::cells(this) != 0 {
                return false;
            }
            let source = (*this).source;
            #[cfg(unix)]
            if source.heap().is_null() && !crate::hosted::collectors::leave(this.cast()) {
                return false;
            }
            while !(*this).pages.is_null() {
                let page = (*this).pages;
                Self::drop_page(this, page);
            }
            source.give((*this).roots.list.cast());
            source.give((*this).search.entries.cast());
            source.give((*this).records.cast());
            source.give((*this).resident.cast());
            if !source.heap().is_null() {
                (*source.heap()).counted = null_mut();
            }
            if port::counted() == this.cast() {
                port::set_counted(null_mut());
            }
            source.give(this.cast());
            true
        }
    }

    /// Cells alive or waiting.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(super) unsafe fn cells(this: *mut Self) -> usize {
        // SAFETY: the caller's word.
        unsafe { (1..(*this).types).map(|id| (*Self::record(this, id)).live.load(Relaxed)).sum() }
    }
}

/// The state of the calling thread's default heap, made when first needed; null iff there is no heap
/// or no memory.
#[inline(always)]
pub(crate) fn current() -> *mut Counted {
    let state = port::counted().cast::<Counted>();
    if state.is_null() {
        return first();
    }
    state
}

/// Makes the calling thread's state.
#[cold]
#[inline(never)]
fn first() -> *mut Counted {
    #[cfg(unix)]
    {
        let own = port::thread_heap();
        if own.is_null() {
            return over_process();
        }
        // SAFETY: whoever made it the thread's default keeps it alive and to this thread.
        let state = unsafe { Counted::of(own) };
        port::set_counted(state.cast());
        state
    }
    #[cfg(not(unix))]
    {
        let heap = port::default_heap();
        if heap.is_null() {
            return null_mut();
        }
        // SAFETY: the default heap.
        unsafe { Counted::of(heap) }
    }
}

/// Makes the calling thread's state over the process heap.
#[cfg(unix)]
fn over_process() -> *mut Counted {
    // SAFETY: a state that is this thread's from now on.
    unsafe {
        let state = Counted::make(Source::new(null_mut()));
        if !state.is_null() && !crate::hosted::collectors::enroll(state.cast(), end_of_thread) {
            // Out of memory, or a signal handler that interrupted this very work.
            Counted::retire(state);
            return null_mut();
        }
        state
    }
}

/// What the end of a thread does with its state: cycles are collected, and if nothing is left alive
/// all memory goes back. Whether the state is gone.
#[cfg(unix)]
unsafe fn end_of_thread(state: *mut c_void) -> bool {
    // SAFETY: the thread's own state; no call of the library is under way.
    unsafe { Counted::retire(state.cast()) }
}

const _: () = assert!(size_of::<Counted>() < if cfg!(target_pointer_width = "64") { 900 } else { 450 });
