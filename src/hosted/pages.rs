//! The pages of small blocks: making them, handing them to caches, giving them back.
//!
//! - All of it happens under the process heap's lock, which threads take once for a page, not for a block.
//! - A detached page is in its class's list from when an eighth of its blocks is free, so a thread that
//!   needs a page takes what others left before it takes memory.
//! - The list is searched from what was listed last: pages that empty go on emptying.
//! - Whoever can't have the lock says so ([`unsettled`]); the next who has it looks at all pages.
//!
//! Costs: O(1) a page; a system call when the space grows or returns memory.

use core::sync::atomic::{AtomicBool, Ordering};

use super::classes::{size_of_class, CLASSES};
use super::hardened::{self, HARDENED};
use super::page::{Given, Kind, Page, NOBODY, UNIT};
use super::records::Records;
use super::space::{self, List, Space};
use super::sync::Ordering as Order;

/// What the lock guards.
pub(super) struct Pages {
    pub space: Space,
    pub records: Records,
    /// For each class the detached pages that are worth attaching.
    listed: [List; CLASSES],
    /// Pages that there are.
    pub count: usize,
}

/// Set when a page should have been looked at, and the lock could not be had.
static UNSETTLED: AtomicBool = AtomicBool::new(false);

/// Has the next holder of the lock look at all pages.
pub(super) fn unsettled() {
    UNSETTLED.store(true, Ordering::Release);
}

/// What an address in the space is, as far as small blocks go.
pub(super) enum Found {
    /// Block `index` of a page begins there, used or free.
    Block(*mut Page, usize),
    /// Inside a page, where no block begins.
    Inside,
    /// In a unit that serves nothing at the moment.
    Unused,
}

/// What `at` is; None: small blocks have nothing to do with it.
#[inline(always)]
pub(super) fn find(at: *const u8) -> Option<Found> {
    let page = space::unit_of(at)?;
    // SAFETY: the record of a mapped unit.
    let (kind, index) = unsafe { ((*page).kind, Page::index_of(page, at)) };
    match (index, kind) {
        (Some(index), _) => Some(Found::Block(page, index)),
        (None, Kind::Small) => Some(Found::Inside),
        (None, Kind::Run) => None,
        (None, _) => Some(Found::Unused),
    }
}

impl Pages {
    pub(super) const fn new() -> Pages {
        Pages { space: Space::new(), records: Records::new(), listed: [List::EMPTY; CLASSES], count: 0 }
    }

    /// Attaches a page of the class to the calling thread; null without memory.
    #[inline(never)]
    pub(super) fn attach(&mut self, class: usize, me: usize) -> *mut Page {
        if UNSETTLED.load(Ordering::Relaxed) && UNSETTLED.swap(false, Ordering::Acquire) {
            self.settle_all();
        }
        let Some(list) = self.listed.get_mut(class) else { return core::ptr::null_mut() };
        let index = match list.first() {
            Some(index) => {
                // SAFETY: in that list, under the lock.
                unsafe {
                    list.remove(index);
                    (*space::record(index)).listed = false;
                }
                index
            }
            None => match self.open(class) {
                Some(index) => index,
                None => return core::ptr::null_mut(),
            },
        };
        // SAFETY: a page that is attached to nobody, under the lock.
        unsafe {
            let page = space::record(index);
            Page::attach(page, me);
            page
        }
    }

    /// Makes a page of the class.
    fn open(&mut self, class: usize) -> Option<usize> {
        let size = size_of_class(class);
        let lines = Page::lines((UNIT / size).div_ceil(usize::BITS as usize));
        let index = self.space.take()?;
        if HARDENED {
            // SAFETY: taken right now.
            unsafe { hardened::clear(index) };
        }
        let (free, others) = (self.records.take(lines), self.records.take(lines));
        // SAFETY: the unit and the records are new.
        unsafe {
            if free.is_null() || others.is_null() {
                if !free.is_null() {
                    self.records.give(free, lines);
                }
                self.space.give(index, 1);
                return None;
            }
            Page::open(space::record(index), class, size, free, others);
        }
        self.count += 1;
        Some(index)
    }

    /// Looks whether a page is worth listing or empty; anything else is none of its business.
    pub(super) fn settle(&mut self, page: *mut Page) {
        // SAFETY: records stay; under the lock a detached page stays detached.
        unsafe {
            if (*page).kind != Kind::Small || (*page).owner.load(Order::SeqCst) != NOBODY {
                return;
            }
            let free = Page::shared_count(page);
            let index = space::index_of(page);
            let Some(list) = self.listed.get_mut((*page).class as usize) else { return };
            if free == (*page).capacity as usize {
                if (*page).listed {
                    list.remove(index);
                }
                let lines = Page::lines((*page).count as usize);
                let (free, others) = Page::close(page, Kind::Dirty);
                self.records.give(free, lines);
                self.records.give(others, lines);
                self.space.give(index, 1);
                self.count -= 1;
            } else if free >= Page::worth(page) && !(*page).listed {
                (*page).listed = true;
                list.push(index);
            }
        }
    }

    /// Gives back a used block that no thread has a claim to, in the hardened build.
    pub(super) fn give(&mut self, at: *mut u8) {
        let Some(Found::Block(page, index)) = find(at) else { return };
        // SAFETY: a block of a page.
        if unsafe { Page::give_shared(page, index, false) } == Given::Settle {
            self.settle(page);
        }
    }

    /// Detaches a page of this thread, or of one that is gone.
    ///
    /// # Safety
    /// It is attached to that thread.
    pub(super) unsafe fn detach(&mut self, page: *mut Page) {
        // SAFETY: the caller's word.
        unsafe { Page::detach(page, &mut |index| super::cache::refuse(Page::block(page, index), c"free")) };
        self.settle(page);
    }

    /// Whether the lists of pages and the pages say the same.
    pub(super) fn lists_are_sound(&self) -> bool {
        let mut listed = 0;
        for (class, list) in self.listed.iter().enumerate() {
            let mut each = list.first();
            while let Some(index) = each {
                // SAFETY: listed units are mapped, under the lock.
                let page = unsafe { &*space::record(index) };
                listed += 1;
                if !page.listed || page.class as usize != class || listed > self.count {
                    return false;
                }
                each = (page.next as usize).checked_sub(1);
            }
        }
        let marked = (0..self.space.units()).filter(|&index| {
            // SAFETY: used units have records.
            let page = unsafe { &*space::record(index) };
            page.kind == Kind::Small && page.listed
        });
        marked.count() == listed
    }

    #[cold]
    fn settle_all(&mut self) {
        for index in 0..self.space.units() {
            // SAFETY: used units have records.
            self.settle(unsafe { space::record(index) });
        }
    }
}

/// Settles a page by taking the lock, or leaves it to the next who can.
#[cold]
#[inline(never)]
pub(super) fn settle(page: *mut Page) {
    if super::process::with_pages(|pages| pages.settle(page)).is_err() {
        unsettled();
    }
}
