//! A page: 64 KB of blocks of one size, and the protocol by which threads share it.
//!
//! - A page is *attached* to one thread's cache, or *detached*. The thread takes blocks and gives its own
//!   back by single instructions on the *free bits*; everybody else, and everybody while the page is
//!   detached, gives back by the *shared bits*, atomically. Only the owner takes.
//! - A block is live iff neither of its bits is set, so a block that is given twice is noticed by its bit,
//!   and the thread that the second call came from is told.
//! - The bits are all there is to know: nobody counts. Whoever lifts a word of shared bits to an eighth of
//!   it, or completes it, has the page looked at under the lock, and there its bits decide whether it is
//!   worth listing or empty. So an empty page is never forgotten, whichever thread frees last: it is empty
//!   when its last word is completed. And it is never given back twice.
//! - Before its bit is set a thread knows all that it needs of the page; afterwards it looks at the owner
//!   only, whose place never goes away: what it says then of another page is harmless.
//!
//! ```text
//!   space:   |     64 KB of blocks      |     64 KB of blocks      | …
//!   records: | owner size bits … 64 B   | owner size bits … 64 B   | …    (far away from the blocks)
//!                         |
//!                         +--> free bits: words of the owner
//!                         +--> shared bits: words of everybody
//!
//!              attach (lock)                        detach (exhausted, thread's end)
//!   DETACHED ----------------> owner: a cache -----------------------> DETACHED
//!      | an eighth is free: listed (lock)                                 |
//!      | all is free: unit given back (lock)                              |
//! ```
//! Costs: give by the owner ~20 instructions, by others one atomic operation more.

use super::bits::{self, WORD};
use super::classes::Divisor;
use super::sync::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of a page, and its alignment.
pub(super) const UNIT: usize = 64 << 10;
/// Owner of a page that is attached to nobody.
pub(super) const NOBODY: usize = 2;
/// Added to the owner while the shared bits wait for it.
pub(super) const WAITING: usize = 1;

/// What a unit of the space serves for.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Never used: what a record is before.
    #[expect(dead_code, reason = "a record begins as zeros")]
    Fresh = 0,
    /// Free, and its memory is the system's.
    Clean,
    /// Free, and perhaps resident.
    Dirty,
    /// A page of small blocks.
    Small,
    /// The first unit, or a later one, of a run that serves as one piece of memory.
    Run,
}

/// A unit's record. All zero: a unit that was never used, in which no address is a block.
#[repr(C, align(64))]
pub(super) struct Page {
    /// The identity of the thread that it is attached to, perhaps + [`WAITING`]; [`NOBODY`]; 0 when it is no
    /// page. The first field: the fast path of `free` compares it in place.
    pub owner: AtomicUsize,
    pub reciprocal: u64,
    pub limit: u32,
    /// Bytes of a block.
    pub size: u32,
    /// The free bits.
    pub words: AtomicPtr<AtomicUsize>,
    /// The shared bits.
    pub shared: AtomicPtr<AtomicUsize>,
    /// The last word of bits when all are set.
    pub last: usize,
    /// Links of the list that the unit is in: numbers of units + 1, 0 for none. Under the lock.
    pub next: u32,
    pub previous: u32,
    /// Blocks.
    pub capacity: u16,
    /// Words of each kind of bits.
    pub count: u8,
    pub class: u8,
    pub kind: Kind,
    /// In the list of pages of its class that a cache may attach. Under the lock.
    pub listed: bool,
}

/// What a block given back calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    Done,
    /// [`crate::hosted::pages::Pages::settle`] has to look at the page.
    Settle,
    /// It was free already.
    Twice,
}

impl Page {
    /// Blocks that have to be free before a detached page is worth attaching.
    ///
    /// # Safety
    /// It is a page.
    pub unsafe fn worth(this: *const Page) -> usize {
        // SAFETY: the caller's word.
        unsafe { ((*this).capacity as usize / 8).max(1) }
    }

    /// Lines of a record that holds so many words of bits.
    pub fn lines(count: usize) -> usize {
        (count * size_of::<usize>()).div_ceil(64)
    }

    /// Makes it a page of blocks that are all free, attached to nobody.
    ///
    /// # Safety
    /// The unit is the caller's, and the records are as long as [`Page::lines`] says.
    pub unsafe fn open(this: *mut Page, class: usize, size: usize, words: *mut u8, shared: *mut u8) {
        let capacity = UNIT / size.max(1);
        let count = capacity.div_ceil(WORD);
        let divisor = Divisor::new(size, capacity);
        // SAFETY: the caller's word.
        unsafe {
            let (free, others) = (words.cast::<AtomicUsize>(), shared.cast::<AtomicUsize>());
            (*this).last = usize::MAX >> (count * WORD - capacity);
            for n in 0..count {
                let all = if n + 1 == count { (*this).last } else { usize::MAX };
                free.add(n).write(AtomicUsize::new(all));
                others.add(n).write(AtomicUsize::new(0));
            }
            ((*this).reciprocal, (*this).limit, (*this).size) = (divisor.reciprocal, divisor.limit, size as u32);
            ((*this).capacity, (*this).count, (*this).class) = (capacity as u16, count as u8, class as u8);
            ((*this).next, (*this).previous, (*this).listed) = (0, 0, false);
            (*this).words.store(free, Ordering::Relaxed);
            (*this).shared.store(others, Ordering::Relaxed);
            (*this).kind = Kind::Small;
            (*this).owner.store(NOBODY, Ordering::Release);
        }
    }

    /// Makes it a unit in which no address is a block; its records, which the caller gives back.
    ///
    /// # Safety
    /// The page is detached and all of its blocks are free; under the lock.
    pub unsafe fn close(this: *mut Page, kind: Kind) -> (*mut u8, *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).owner.store(0, Ordering::Relaxed);
            ((*this).limit, (*this).kind, (*this).size) = (0, kind, 0);
            let words = (*this).words.swap(core::ptr::null_mut(), Ordering::Relaxed);
            let shared = (*this).shared.swap(core::ptr::null_mut(), Ordering::Relaxed);
            (words.cast(), shared.cast())
        }
    }

    /// Which of the page's blocks begins at `at`, an address in its unit; None: none does.
    ///
    /// # Safety
    /// A unit's record.
    #[inline(always)]
    pub unsafe fn index_of(this: *const Page, at: *const u8) -> Option<usize> {
        #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
        {
            let (rest, index): (u32, usize);
            // SAFETY: the caller's word. As `Divisor::divide`: the product's halves are remainder and quotient.
            unsafe {
                core::arch::asm!(
                    "mul dword ptr [{page} + {reciprocal}]",
                    page = in(reg) this,
                    reciprocal = const core::mem::offset_of!(Page, reciprocal),
                    inout("eax") u32::from(at.addr() as u16) => rest,
                    out("rdx") index,
                    options(nostack, readonly),
                );
                (rest < (*this).limit).then_some(index)
            }
        }
        // SAFETY: the caller's word. The space begins at a multiple of its unit.
        #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
        unsafe {
            Divisor::divide((*this).reciprocal, (*this).limit, at.addr() as u16)
        }
    }

    /// Where block `index` of the page begins.
    ///
    /// # Safety
    /// A unit's record, and one of its blocks.
    #[inline(always)]
    pub unsafe fn block(this: *const Page, index: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe { super::space::memory(super::space::index_of(this)).add(index * (*this).size as usize) }
    }

    /// Whether the page is attached to the calling thread, and nothing waits.
    ///
    /// # Safety
    /// A unit's record.
    #[inline(always)]
    pub unsafe fn is_mine(this: *const Page, me: usize) -> bool {
        #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable))))]
        {
            // SAFETY: compares the record's first field in place, which an atomic load would not.
            unsafe {
                core::arch::asm!(
                    "cmp qword ptr [{page}], {me}",
                    "jne {other}",
                    page = in(reg) this,
                    me = in(reg) me,
                    other = label { return false },
                    options(nostack, readonly),
                );
            }
            true
        }
        #[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64", not(any(miri, loom, knoll_portable)))))]
        {
            // SAFETY: the caller's word.
            unsafe { (*this).owner.load(Ordering::Relaxed) == me }
        }
    }

    /// Blocks whose shared bits are set.
    ///
    /// # Safety
    /// It is a page; under the lock.
    pub unsafe fn shared_count(this: *const Page) -> usize {
        // SAFETY: the caller's word: a page has so many words.
        unsafe {
            let shared = (*this).shared.load(Ordering::Relaxed);
            // The order of all threads: behind the owner, which `settle` has asked for.
            (0..(*this).count as usize).map(|n| (*shared.add(n)).load(Ordering::SeqCst).count_ones() as usize).sum()
        }
    }

    /// Whether block `index` is free.
    ///
    /// # Safety
    /// It is a page, and the block one of its blocks.
    pub unsafe fn is_free(this: *const Page, index: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            bits::is_set((*this).words.load(Ordering::Relaxed), index)
                || bits::is_set((*this).shared.load(Ordering::Relaxed), index)
        }
    }

    /// Gives block `index` back for a thread that does not own the page, or that nobody does.
    ///
    /// # Safety
    /// It is a page, and the block one of its blocks.
    #[inline(always)]
    pub unsafe fn give_shared(this: *const Page, index: usize, alone: bool) -> Given {
        // SAFETY: the caller's word. Behind the bit only the owner is looked at, by itself: no reference to
        // the record may be there, because others write it when the page is another one.
        unsafe {
            let (words, shared) = ((*this).words.load(Ordering::Relaxed), (*this).shared.load(Ordering::Relaxed));
            let full = if index / WORD + 1 == (*this).count as usize { (*this).last } else { usize::MAX };
            let worth = Self::worth(this).min(WORD / 8);
            if bits::is_set(words, index) {
                return Given::Twice;
            }
            let Some(now) = bits::share(shared, index, alone) else { return Given::Twice };
            let owner = (*this).owner.load(Ordering::SeqCst);
            if owner > NOBODY {
                if owner & WAITING == 0 {
                    // Lost against a thread that says the same, or that detaches the page and then looks at its bits.
                    let _ = (*this).owner.compare_exchange(owner, owner | WAITING, Ordering::SeqCst, Ordering::Relaxed);
                }
                return Given::Done;
            }
            if now == full || now.count_ones() as usize == worth {
                return Given::Settle;
            }
        }
        Given::Done
    }

    /// Attaches the page to the calling thread, which can take at least one block from it.
    ///
    /// # Safety
    /// It is detached; under the lock, so that nobody else attaches it.
    pub unsafe fn attach(this: *const Page, me: usize) {
        // SAFETY: the caller's word: now it is the caller's.
        unsafe {
            (*this).owner.store(me, Ordering::SeqCst);
            Self::collect(this, &mut |_| ());
        }
    }

    /// Makes the shared bits free bits; true iff there were some. Shows the number of each block that was
    /// given back by two threads at a time.
    ///
    /// # Safety
    /// The page is attached to the calling thread.
    pub unsafe fn collect(this: *const Page, twice: &mut dyn FnMut(usize)) -> bool {
        let mut any = false;
        // SAFETY: the caller's word: a page has so many words.
        unsafe {
            let (words, shared) = ((*this).words.load(Ordering::Relaxed), (*this).shared.load(Ordering::Relaxed));
            for n in 0..(*this).count as usize {
                let (mine, others) = (&*words.add(n), &*shared.add(n));
                if others.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let given = others.swap(0, Ordering::SeqCst);
                each(mine.fetch_or(given, Ordering::Relaxed) & given, n, twice);
                any = true;
            }
        }
        any
    }

    /// Detaches the page from its thread. What that had free becomes shared; `twice` as in
    /// [`Page::collect`]. The page has to be settled afterwards.
    ///
    /// # Safety
    /// The page is attached to the calling thread, or to one that is gone; under the lock.
    pub unsafe fn detach(this: *const Page, twice: &mut dyn FnMut(usize)) {
        // SAFETY: the caller's word: a page has so many words.
        unsafe {
            (*this).owner.store(NOBODY, Ordering::SeqCst);
            let (words, shared) = ((*this).words.load(Ordering::Relaxed), (*this).shared.load(Ordering::Relaxed));
            for n in 0..(*this).count as usize {
                let (mine, others) = (&*words.add(n), &*shared.add(n));
                if mine.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                // A signal handler may have given something back until now.
                let free = mine.swap(0, Ordering::AcqRel);
                // Both: a block that two threads gave back at a time.
                each(others.fetch_or(free, Ordering::SeqCst) & free, n, twice);
            }
        }
    }
}

/// Shows the numbers of the blocks whose bits are set in word `n`.
fn each(mut bits: usize, n: usize, show: &mut dyn FnMut(usize)) {
    while bits != 0 {
        show(n * WORD + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
