//! A thread's cache: a page or a few of each class attached to it, from which it takes small blocks.
//!
//! - Taking a block touches the cache, a word of bits, and nothing else: not the block, not the page's
//!   record. Giving one back touches the record and the word. Neither takes a lock.
//! - The lowest free block of the current word is taken, so a page is used from its beginning and what
//!   was never used is never resident.
//! - A signal handler that interrupts this thread may take and give: the words change by single
//!   instructions, and while the cache itself changes ([`Cache::busy`]) the general heap serves instead.
//! - A thread's end detaches its pages, whose free blocks serve other threads from then on; afterwards
//!   the general heap serves what the thread still asks for. In the child of a fork the pages of threads
//!   that did not come along are detached.
//!
//! ```text
//!   thread --> Cache | current: by request / 16 | cursors: by class |
//!                           |                      word ----> 0…0110100 of the page's free bits
//!                           +--------------------> base ----> block of the word's bit 0
//!                                                  size, page
//! ```
//! Costs: take about 18 instructions, give about 20 (x86-64, checks included); when a word is used up the
//! next one is looked for; when a page is, the process heap's lock is taken once. 3.2 KB a thread.

use core::ptr::{null_mut, NonNull};
use core::sync::atomic::compiler_fence;

use super::bits::{self, WORD};
use super::classes::{aligned_size, class_of, size_of_class, CLASSES, GRANULE, LARGEST_SMALL};
use super::hardened::{self, Keep, HARDENED};
use super::page::{Given, Page, WAITING};
use super::pages::{self, Found};
use super::process;
use super::records::{LINE, MOST_LINES};
use super::space;
use super::sync::{AtomicUsize, Ordering};
use crate::heap::KnStatus;
use crate::port::{self, Errno, Key};

/// Requests up to here find their cursor by the cache's table, larger ones their class by that of `classes`.
const TABLED: usize = 1024;

/// Where the next block of a class comes from.
#[repr(C)]
pub(super) struct Cursor {
    /// A word of the page's free bits, or one that is always 0.
    word: *const AtomicUsize,
    /// The block of the word's bit 0.
    base: *mut u8,
    size: usize,
    /// Null: no page is attached.
    page: *mut Page,
    /// Pages that stay attached although they were used up, the last one first; null: none.
    others: [*mut Page; MOST_OTHERS],
}

/// Pages of a class that a thread has besides the current one: few blocks of a page would make it change
/// pages often.
const MOST_OTHERS: usize = 1;
const fn others(size: usize) -> usize {
    if size <= 128 {
        0
    } else {
        MOST_OTHERS
    }
}

/// What a thread has.
#[repr(C)]
pub(super) struct Cache {
    /// The cursor for a request, by its granules.
    current: [*mut Cursor; TABLED / GRANULE + 1],
    cursors: [Cursor; CLASSES],
    /// Always 0: the word of a cursor that has no page.
    none: AtomicUsize,
    /// Set while the cache changes.
    busy: AtomicUsize,
    /// The thread's identity: the owner of its pages.
    thread: usize,
    /// All caches, under the lock.
    next: *mut Cache,
    previous: *mut Cache,
    /// What the hardened build keeps.
    keep: [Keep; HARDENED as usize],
}

const LINES: usize = size_of::<Cache>().div_ceil(LINE);
const _: () = assert!(LINES <= MOST_LINES);

/// Where malloc, in assembly, finds what [`take`] and [`next`] look for.
#[cfg(knoll_quick)]
pub(crate) mod place {
    use super::{Cache, Cursor};
    use core::mem::offset_of;

    pub(crate) const CURRENT: usize = offset_of!(Cache, current);
    pub(crate) const WORD: usize = offset_of!(Cursor, word);
    pub(crate) const BASE: usize = offset_of!(Cursor, base);
    pub(crate) const SIZE: usize = offset_of!(Cursor, size);
}

/// The cache of a thread that has ended but for other libraries' destructors.
const ENDED: usize = 4;

/// Calls back when a thread that has a cache ends.
static AT_END: Key = Key::new();

/// The calling thread's cache; None: it has none yet, or none any more.
#[inline(always)]
fn mine() -> Option<*mut Cache> {
    let cache = port::cache();
    (cache.addr() > ENDED).then_some(cache.cast())
}

/// What the hardened build keeps for the calling thread; None: nothing, or another build.
#[inline(always)]
pub(super) fn keep() -> Option<*const Keep> {
    // SAFETY: the thread's own cache.
    mine().filter(|_| HARDENED).map(|cache| unsafe { &raw const (*cache).keep }.cast())
}

/// A block of at least `bytes`, if it can be had in a few instructions; None: ask [`take_slowly`].
#[inline(always)]
pub(super) fn take(bytes: usize) -> Option<NonNull<u8>> {
    let cache = mine()?;
    // SAFETY: the thread's own cache; the table has an entry for each request up to its bound.
    unsafe {
        if bytes <= TABLED {
            return next(*(&raw const (*cache).current).cast::<*mut Cursor>().add(bytes.div_ceil(GRANULE)));
        }
        if bytes <= LARGEST_SMALL {
            return next((&raw mut (*cache).cursors).cast::<Cursor>().add(class_of(bytes)));
        }
    }
    None
}

/// As [`take`] for at most [`LARGEST_SMALL`] bytes, with the block's size.
#[inline(always)]
pub(super) fn take_with_size(bytes: usize) -> Option<(NonNull<u8>, usize)> {
    let cache = mine()?;
    // SAFETY: the thread's own cache.
    unsafe {
        let cursor = (&raw mut (*cache).cursors).cast::<Cursor>().add(class_of(bytes));
        next(cursor).map(|at| (at, (*cursor).size))
    }
}

/// The next block of the cursor's word; None: there is none.
///
/// # Safety
/// A cursor of the calling thread's cache.
#[inline(always)]
unsafe fn next(cursor: *mut Cursor) -> Option<NonNull<u8>> {
    // SAFETY: the caller's word; a cursor's word is readable always, and its blocks are there.
    unsafe {
        loop {
            let (word, base) =
                ((&raw const (*cursor).word).read_volatile(), (&raw const (*cursor).base).read_volatile());
            let free = (*word).load(Ordering::Relaxed);
            if free == 0 {
                return None;
            }
            let bit = if HARDENED { hardened::choose(free) } else { free.trailing_zeros() as usize };
            // False: a signal handler took it in between.
            if bits::take(word, bit) {
                if (&raw const (*cursor).word).read_volatile() == word {
                    return Some(NonNull::new_unchecked(base.add(bit * (*cursor).size)));
                }
                // A signal handler moved the cursor, so the base may be another word's.
                bits::give(word, bit);
            }
        }
    }
}

/// A block of at least `bytes`, at most [`LARGEST_SMALL`]; null: the general heap has to serve.
#[inline(never)]
pub(super) fn take_slowly(bytes: usize) -> *mut u8 {
    let class = class_of(bytes);
    let cache = match mine() {
        Some(cache) => cache,
        None => match Cache::make() {
            Some(cache) => cache,
            None => return null_mut(),
        },
    };
    // SAFETY: the thread's own cache.
    unsafe {
        let cursor = (&raw mut (*cache).cursors).cast::<Cursor>().add(class);
        loop {
            if let Some(at) = next(cursor) {
                return at.as_ptr();
            }
            if (*cache).busy.swap(1, Ordering::Relaxed) != 0 {
                return null_mut(); // a signal handler
            }
            let more = Cache::refill(cache, cursor, class);
            (*cache).busy.store(0, Ordering::Relaxed);
            if !more {
                return null_mut();
            }
        }
    }
}

/// Gives the block at `at` back, if it takes a few instructions; false: ask [`give_slowly`].
///
/// # Safety
/// Nobody uses the block any more.
#[inline(always)]
pub(super) unsafe fn give(at: *mut u8) -> bool {
    let Some(page) = space::unit_of(at) else { return false };
    // SAFETY: the record of a mapped unit; a page that is attached to this thread's cache is this thread's.
    unsafe {
        if !Page::is_mine(page, port::identity()) {
            return false;
        }
        match Page::index_of(page, at) {
            Some(index) => bits::give((*page).words.load(Ordering::Relaxed), index),
            None => false,
        }
    }
}

/// A used block of a page of the calling thread's.
#[derive(Clone, Copy)]
pub(super) struct Own {
    page: *mut Page,
    index: usize,
}

/// The used block at `at`, if its page is the calling thread's and nothing waits there.
///
/// # Safety
/// Nobody gives the block back meanwhile.
#[inline(always)]
pub(super) unsafe fn own_block(at: *const u8) -> Option<Own> {
    let page = space::unit_of(at)?;
    // SAFETY: the record of a mapped unit; a page that is attached to this thread is this thread's.
    unsafe {
        if !Page::is_mine(page, port::identity()) {
            return None;
        }
        let index = Page::index_of(page, at)?;
        (!bits::is_set((*page).words.load(Ordering::Relaxed), index)).then_some(Own { page, index })
    }
}

impl Own {
    /// Bytes of the block.
    #[inline(always)]
    pub(super) fn size(self) -> usize {
        // SAFETY: the record of a page.
        unsafe { (*self.page).size as usize }
    }

    /// Gives it back.
    ///
    /// # Safety
    /// Nobody uses it any more, or has given it back since [`own_block`].
    #[inline(always)]
    pub(super) unsafe fn give(self) {
        // SAFETY: the page was this thread's, and stays so as long as the block is used.
        unsafe {
            bits::give((*self.page).words.load(Ordering::Relaxed), self.index);
        }
    }
}

/// Gives back a block of a page that others write, too, or refuses what is no used block of a page; false:
/// `at` is none of the pages' business.
///
/// # Safety
/// As [`give`].
#[inline]
pub(super) unsafe fn give_slowly(at: *mut u8) -> bool {
    let Some(page) = space::unit_of(at) else { return false };
    // SAFETY: the caller's word; the record of a mapped unit.
    unsafe {
        let Some(index) = Page::index_of(page, at) else { return give_nothing(at) };
        let owner = (*page).owner.load(Ordering::Relaxed);
        if owner & !WAITING == port::identity() {
            give_own(page, index);
            return true;
        }
        match Page::give_shared(page, index, port::alone()) {
            Given::Done => {}
            Given::Settle => pages::settle(page),
            Given::Twice => refuse(at, c"free"),
        }
        true
    }
}

/// Gives back a block of this thread's page after what other threads gave back to it.
///
/// # Safety
/// The page is attached to the calling thread's cache, and has such a block.
#[cold]
#[inline(never)]
unsafe fn give_own(page: *mut Page, index: usize) {
    // SAFETY: the caller's word.
    unsafe {
        collect(page);
        if !bits::give((*page).words.load(Ordering::Relaxed), index) {
            refuse(Page::block(page, index), c"free");
        }
    }
}

/// `at` is no block of a page: told, or, in a run of units, somebody else's to free.
#[cold]
#[inline(never)]
fn give_nothing(at: *mut u8) -> bool {
    let ours = pages::find(at).is_some();
    if ours {
        refuse(at, c"free");
    }
    ours
}

/// Takes over what other threads gave back into a page of this thread's.
///
/// # Safety
/// The page is attached to the calling thread's cache.
unsafe fn collect(page: *mut Page) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        (*page).owner.fetch_and(!WAITING, Ordering::SeqCst);
        Page::collect(page, &mut |index| refuse(Page::block(page, index), c"free"))
    }
}

/// Tells of a pointer into the space that is no used block.
#[cold]
pub(super) fn refuse(at: *const u8, what: &'static core::ffi::CStr) {
    let status = match pages::find(at) {
        Some(Found::Block(..) | Found::Unused) => KnStatus::DoubleFree,
        _ => KnStatus::Foreign,
    };
    port::refuse(status, at, what);
}

/// Bytes of the used block at `at`; None: in no page of small blocks, `Some(0)`: no used block.
#[inline(always)]
pub(super) fn size_at(at: *const u8) -> Option<usize> {
    match pages::find(at)? {
        // SAFETY: a block of a page.
        Found::Block(page, index) => unsafe {
            Some(if Page::is_free(page, index) { 0 } else { (*page).size as usize })
        },
        _ => Some(0),
    }
}

impl Cache {
    /// The calling thread's first cache; None: without memory, after the thread's end, or in a signal
    /// handler that interrupted this.
    #[cold]
    fn make() -> Option<*mut Cache> {
        if !port::cache().is_null() {
            return None;
        }
        super::fork::register_once();
        let cache = process::with_state(|state| {
            // While there is memory: the table of large blocks, so that runs can serve them when there is none.
            state.mappings.reserve();
            let cache = state.pages.records.take(LINES).cast::<Cache>();
            if !cache.is_null() {
                // SAFETY: a new record that is long enough; the list's members live.
                unsafe {
                    Cache::init(cache);
                    (*cache).next = state.caches;
                    if !state.caches.is_null() {
                        (*state.caches).previous = cache;
                    }
                    state.caches = cache;
                }
            }
            cache
        });
        let cache = cache.ok().filter(|cache| !cache.is_null())?;
        port::set_cache(cache.cast(), TABLED + 1);
        // This may allocate, and finds the cache then. Without it the cache would outlive its thread.
        let _errno = Errno::keep();
        if !AT_END.make(Some(at_end)) || !AT_END.set(cache.cast()) {
            end(cache);
            return None;
        }
        Some(cache)
    }

    /// # Safety
    /// `this` is memory for a cache.
    unsafe fn init(this: *mut Cache) {
        // SAFETY: the caller's word.
        unsafe {
            let none = &raw const (*this).none;
            (&raw mut (*this).none).write(AtomicUsize::new(0));
            (&raw mut (*this).busy).write(AtomicUsize::new(0));
            (*this).thread = port::identity();
            let cursors = (&raw mut (*this).cursors).cast::<Cursor>();
            for class in 0..CLASSES {
                let size = size_of_class(class);
                let others = [null_mut(); MOST_OTHERS];
                cursors.add(class).write(Cursor { word: none, base: null_mut(), size, page: null_mut(), others });
            }
            let current = (&raw mut (*this).current).cast::<*mut Cursor>();
            for granules in 0..=TABLED / GRANULE {
                current.add(granules).write(cursors.add(class_of(granules * GRANULE)));
            }
            ((*this).next, (*this).previous) = (null_mut(), null_mut());
            (&raw mut (*this).keep).write(core::array::from_fn(|_| Keep::new()));
        }
    }

    /// Finds the cursor a word with free blocks: in its page, or in another one; false without memory.
    ///
    /// # Safety
    /// The cursor of that class of the calling thread's cache, which is busy.
    unsafe fn refill(this: *mut Cache, cursor: *mut Cursor, class: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            if !(*cursor).page.is_null() && Self::look_around(this, cursor, class) {
                return true;
            }
            super::environment::look();
            // The page that was used up first goes, under the lock: until a page is detached nobody but its
            // owner may touch its words.
            let count = others(size_of_class(class));
            let others = (&raw mut (*cursor).others).cast::<*mut Page>();
            let last = if count == 0 { (*cursor).page } else { *others.add(count - 1) };
            let swap = |pages: &mut pages::Pages| {
                let page = pages.attach(class, port::identity());
                if !page.is_null() && !last.is_null() {
                    pages.detach(last);
                }
                page
            };
            let page = process::with_pages(swap).unwrap_or(null_mut());
            if page.is_null() {
                return false;
            }
            Self::point(cursor, &raw const (*this).none);
            for n in (1..count).rev() {
                *others.add(n) = *others.add(n - 1);
            }
            if count != 0 {
                *others = (*cursor).page;
            }
            (*cursor).page = page;
            Self::look_on(this, cursor, page)
        }
    }

    /// Finds the cursor a word with free blocks in one of its pages; false: there is none.
    ///
    /// # Safety
    /// As [`Cache::refill`]; a page is attached.
    unsafe fn look_around(this: *mut Cache, cursor: *mut Cursor, class: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let page = (*cursor).page;
            if Self::look_on(this, cursor, page) || Self::look_again(this, cursor, page) {
                return true;
            }
            for n in 0..others(size_of_class(class)) {
                let other = (&raw mut (*cursor).others).cast::<*mut Page>().add(n);
                let page = *other;
                if !page.is_null() && (Self::look_on(this, cursor, page) || Self::look_again(this, cursor, page)) {
                    *other = (*cursor).page;
                    (*cursor).page = page;
                    return true;
                }
            }
            false
        }
    }

    /// As [`Cache::look_on`], for what other threads gave back.
    ///
    /// # Safety
    /// As [`Cache::look_on`].
    unsafe fn look_again(this: *const Cache, cursor: *mut Cursor, page: *mut Page) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            (*page).owner.load(Ordering::Relaxed) & WAITING != 0 && collect(page) && Self::look_on(this, cursor, page)
        }
    }

    /// Changes the cursor's word, at just this moment for a signal handler.
    ///
    /// # Safety
    /// A cursor of the calling thread's cache.
    unsafe fn point(cursor: *mut Cursor, word: *const AtomicUsize) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the caller's word.
        unsafe { (&raw mut (*cursor).word).write_volatile(word) };
        compiler_fence(Ordering::SeqCst);
    }

    /// Moves the cursor to the next word of its page that has free blocks; false: there is none.
    ///
    /// # Safety
    /// The page is attached to the cursor's cache.
    unsafe fn look_on(this: *const Cache, cursor: *mut Cursor, page: *mut Page) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            let words = (*page).words.load(Ordering::Relaxed);
            let count = (*page).count as usize;
            let here = ((*cursor).word.addr().wrapping_sub(words.addr())) / size_of::<AtomicUsize>();
            let mut n = if here < count { here } else { count - 1 };
            if HARDENED && here >= count {
                n = hardened::choose_word(count);
            }
            for _ in 0..count {
                n = if n + 1 == count { 0 } else { n + 1 };
                if (*words.add(n)).load(Ordering::Relaxed) != 0 {
                    Self::point(cursor, &raw const (*this).none);
                    (*cursor).base = Page::block(page, n * WORD);
                    Self::point(cursor, words.add(n));
                    return true;
                }
            }
            false
        }
    }
}

/// Detaches all pages of the calling thread's cache, so that the empty ones go back.
pub(super) fn flush() {
    let Some(cache) = mine() else { return };
    // SAFETY: the thread's own cache.
    unsafe {
        if (*cache).busy.swap(1, Ordering::Relaxed) != 0 {
            return;
        }
        let _ = process::with_pages(|pages| detach_all(cache, pages));
        (*cache).busy.store(0, Ordering::Relaxed);
    }
}

/// # Safety
/// A cache of the calling thread, or of one that is gone; under the lock.
unsafe fn detach_all(cache: *mut Cache, pages: &mut pages::Pages) {
    let none = cache.wrapping_byte_add(core::mem::offset_of!(Cache, none)).cast::<AtomicUsize>();
    // SAFETY: the caller's word.
    for keep in unsafe { &(*cache).keep } {
        keep.release(&mut |at| pages.give(at));
    }
    for class in 0..CLASSES {
        // SAFETY: the caller's word. The owner is asked because a thread that is gone may have been stopped
        // anywhere.
        unsafe {
            let cursor = (&raw mut (*cache).cursors).cast::<Cursor>().add(class);
            (*cursor).word = none;
            let attached = [(*cursor).page, (*cursor).others[0]];
            (*cursor).page = null_mut();
            (*cursor).others = [null_mut(); MOST_OTHERS];
            for page in attached {
                if !page.is_null() && (*page).owner.load(Ordering::Relaxed) & !WAITING == (*cache).thread {
                    pages.detach(page);
                }
            }
        }
    }
}

/// The calling thread ends. The system has set the key to null.
unsafe extern "C" fn at_end(cache: *mut core::ffi::c_void) {
    let _errno = Errno::keep();
    end(cache.cast());
}

/// Detaches a cache's pages and gives up the cache.
fn end(cache: *mut Cache) {
    // SAFETY: the thread's own cache, which it does not use from here on.
    unsafe {
        (*cache).busy.store(1, Ordering::Relaxed);
        let gone = process::with_state(|state| {
            detach_all(cache, &mut state.pages);
            port::set_cache(core::ptr::without_provenance_mut(ENDED), 0);
            unlink(&mut state.caches, cache);
            state.pages.records.give(cache.cast(), LINES);
        });
        // The lock can't be had: the thread goes on with a cache that is busy for ever.
        let _ = gone;
    }
}

/// # Safety
/// The cache is in the list, under the lock.
unsafe fn unlink(first: &mut *mut Cache, cache: *mut Cache) {
    // SAFETY: the caller's word; members of the list live.
    unsafe {
        let (next, previous) = ((*cache).next, (*cache).previous);
        if previous.is_null() {
            *first = next;
        } else {
            (*previous).next = next;
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
    }
}

/// In the child of a fork, under the lock: gives up the caches of the threads that did not come along.
pub(super) fn in_child(caches: &mut *mut Cache, pages: &mut pages::Pages) {
    let me = mine().unwrap_or(null_mut());
    let mut cache = *caches;
    while !cache.is_null() {
        // SAFETY: members of the list live, and their threads don't.
        unsafe {
            let next = (*cache).next;
            if cache != me {
                detach_all(cache, pages);
                unlink(caches, cache);
                pages.records.give(cache.cast(), LINES);
            }
            cache = next;
        }
    }
}

/// How many caches there are, under the lock.
pub(super) fn count(mut cache: *mut Cache) -> usize {
    let mut count = 0;
    while !cache.is_null() {
        // SAFETY: members of the list live.
        cache = unsafe { (*cache).next };
        count += 1;
    }
    count
}

/// A request that small blocks may serve: with the alignment rounded in, if it is one that they have.
#[inline(always)]
pub(super) fn rounded(align: usize, bytes: usize) -> Option<usize> {
    if align <= GRANULE {
        return (bytes <= LARGEST_SMALL).then_some(bytes);
    }
    aligned_size(align, bytes)
}
