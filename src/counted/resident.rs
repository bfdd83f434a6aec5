//! Resident cells: always-active data, which lies apart and refers to nothing that goes before it.
//!
//! Guarantees
//! * Cells of a resident type lie in pages of their own, or in blocks of a list of their own; both come from
//!   the heap's bottom end and never from a page that other cells leave.
//! * A resident cell may refer to resident cells, to immortal ones and to shared ones: none of them goes with
//!   a workflow, and none lies in the way of what comes after it. [`allowed`] refuses every other, in words for
//!   the error hook; what raw stores bring about, `insight/residents.rs` finds.
//! * Whether an address lies in a resident cell is never decided by what memory happens to say: a page that looks
//!   like one of a resident class is looked up in the state's list before anything is refused.
//!
//! ```text
//!   Counted.resident --> Resident   open[class], listed[class]    classes CLASSES .. 2 x CLASSES
//!                                   singles -> Single -> Single …
//!                                   pages, blocks: the addresses between which they lie
//!
//!   GC_assign(slot, object)
//!      any resident type in this program? --no--> as ever
//!      object resident, immortal, shared? --yes-> as ever
//!      slot between those addresses?      --no--> as ever
//!      in a resident page, or block?      --no--> as ever
//!      refused: KN_RESIDENT, at the slot
//! ```
//! Costs: a program without resident types pays for the first question; of the others all but the last are O(1),
//! which is O(large resident cells) for slots between the lowest and the highest of them.

use core::ptr::null_mut;

use super::cell::{header, load_word, IMMORTAL, SHARED, SINGLE, SPECIAL, STATE};
#[cfg(not(miri))]
use super::pages::MAGIC;
use super::pages::{owner, page_of, Page, Single, CLASSES, PAGE, RESIDENT_CLASS};
use super::state::Counted;
use super::types::{Record, RESIDENT_TYPE};
use crate::heap::KnStatus;
use crate::port;

/// Addresses between which something lies, if it lies anywhere.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Span {
    pub low: usize,
    pub high: usize,
}

impl Span {
    pub const NOWHERE: Span = Span { low: usize::MAX, high: 0 };

    #[inline(always)]
    fn holds(self, address: usize) -> bool {
        (self.low..self.high).contains(&address)
    }

    /// Reaches over `bytes` bytes at an address from now on.
    pub fn reach(&mut self, address: usize, bytes: usize) {
        self.low = self.low.min(address);
        self.high = self.high.max(address.saturating_add(bytes));
    }
}

/// What a state keeps for its resident cells.
#[repr(C)]
pub(super) struct Resident {
    /// As those of the state, for the classes from [`RESIDENT_CLASS`] on.
    open: [*mut Page; CLASSES],
    listed: [*mut Page; CLASSES],
    singles: *mut Single,
    /// Where all that there ever was lay.
    pages: Span,
    blocks: Span,
}

impl Resident {
    /// Where the open page of a class is noted, counted from the first resident one. (By pointer, as all here:
    /// others point into it. Called, as all here: the program that has no resident type is not to pay for it.)
    ///
    /// # Safety
    /// `this` is a state's.
    #[cold]
    #[inline(never)]
    pub unsafe fn open(this: *mut Self, class: usize) -> *mut *mut Page {
        // SAFETY: computes an address.
        unsafe { (&raw mut (*this).open).cast::<*mut Page>() }.wrapping_add(class)
    }

    /// Where the list of pages with room begins.
    ///
    /// # Safety
    /// As [`Resident::open`].
    #[cold]
    #[inline(never)]
    pub unsafe fn listed(this: *mut Self, class: usize) -> *mut *mut Page {
        // SAFETY: computes an address.
        unsafe { (&raw mut (*this).listed).cast::<*mut Page>() }.wrapping_add(class)
    }

    /// Where the list of cells with blocks of their own begins.
    ///
    /// # Safety
    /// As [`Resident::open`].
    pub unsafe fn singles(this: *mut Self) -> *mut *mut Single {
        // SAFETY: computes an address.
        unsafe { &raw mut (*this).singles }
    }

    /// A page of resident cells was made.
    ///
    /// # Safety
    /// As [`Resident::open`].
    #[cold]
    #[inline(never)]
    pub unsafe fn note_page(this: *mut Self, page: *const Page) {
        // SAFETY: the caller's word.
        unsafe { (*this).pages.reach(page.addr(), PAGE) };
    }

    /// A resident cell with a block of its own was made.
    ///
    /// # Safety
    /// As [`Resident::open`].
    #[cold]
    #[inline(never)]
    pub unsafe fn note_single(this: *mut Self, single: *const Single) {
        // SAFETY: the caller's word.
        unsafe { (*this).blocks.reach(single.addr(), size_of::<Single>() + (*single).bytes()) };
    }
}

/// Whether a slot may come to refer to a cell; if not, the error hook was told. Without resident types it always may.
///
/// # Safety
/// `slot` can be read; `object` is null or a living cell.
pub(super) unsafe fn allowed(slot: *mut *mut u8, object: *mut u8) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        if port::any_resident() == 0 || object.is_null() {
            return true;
        }
        // A shared cell has no state, but then it lasts.
        let this = state_beside(object);
        if this.is_null() || (*this).resident.is_null() || lasts(object) || !holds(this, slot.cast()) {
            return true;
        }
        refuse(this, slot);
        false
    }
}

/// The state in whose resident cells a slot may lie that is to refer to a cell; null: none.
///
/// # Safety
/// `object` is a living cell.
unsafe fn state_beside(object: *mut u8) -> *mut Counted {
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return match crate::arena::info_of(object) {
                Some(info) => Counted::existing(crate::arena::KnArena::heap(info.arena)),
                None => null_mut(),
            };
        }
        owner(object)
    }
}

/// Tells the error hook of a slot that can't refer to what it was to.
///
/// # Safety
/// `this` is a live state of this thread.
#[cold]
unsafe fn refuse(this: *mut Counted, slot: *mut *mut u8) {
    let tell = || port::report(KnStatus::Resident, slot.cast(), c"GC_assign: a resident cell would refer to another");
    // SAFETY: the caller's word. The hook may jump away.
    unsafe { Counted::call(this, tell) };
}

/// Whether a resident cell may refer to this one.
///
/// # Safety
/// `object` is a living cell.
pub(super) unsafe fn lasts(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            return false;
        }
        let state = load_word(object) & (SPECIAL | STATE);
        state == IMMORTAL & (SPECIAL | STATE) || state == SHARED || is_resident(object)
    }
}

/// Whether a cell is a resident one.
///
/// # Safety
/// `object` is a cell.
unsafe fn is_resident(object: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let this = owner(object);
        !this.is_null() && (*Counted::record_of(this, object)).has(RESIDENT_TYPE)
    }
}

/// Whether an address lies in a resident cell of a state.
///
/// # Safety
/// `this` is a live state of this thread, and memory at `at` can be read.
pub(super) unsafe fn holds(this: *mut Counted, at: *const u8) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let resident = (*this).resident;
        if resident.is_null() {
            return false;
        }
        (*resident).blocks.holds(at.addr()) && in_block(this, at)
            || (*resident).pages.holds(at.addr()) && in_page(this, at)
    }
}

/// # Safety
/// As [`holds`], and the address is between those of resident pages.
unsafe fn in_page(this: *mut Counted, at: *const u8) -> bool {
    let page = page_of(at);
    // SAFETY: the caller's word: the page lies in memory, if it is one or not. The list holds live pages.
    unsafe {
        // No resident page looks otherwise. (Miri allows no look at what nobody wrote.)
        #[cfg(not(miri))]
        if (*page).magic != MAGIC || (*page).class < RESIDENT_CLASS || (*page).owner != this {
            return false;
        }
        let mut each = (*this).pages;
        while !each.is_null() && each != page {
            each = (*each).all_next;
        }
        !each.is_null() && (*each).class >= RESIDENT_CLASS
    }
}

/// # Safety
/// As [`holds`].
unsafe fn in_block(this: *mut Counted, at: *const u8) -> bool {
    // SAFETY: the list holds live cells.
    unsafe {
        let mut single = Counted::resident_singles(this);
        while !single.is_null() {
            if at.addr().wrapping_sub(single.addr()) < size_of::<Single>() + (*single).bytes() {
                return true;
            }
            single = (*single).next;
        }
        false
    }
}

impl Counted {
    /// Gets a state ready for resident cells; whether there is memory for that.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(super) unsafe fn prepare_residents(this: *mut Self) -> bool {
        // SAFETY: the caller's word; the block holds what is written.
        unsafe {
            if !(*this).resident.is_null() {
                return true;
            }
            let resident = (*this).source.take(size_of::<Resident>()).cast::<Resident>();
            if resident.is_null() {
                return false;
            }
            resident.write(Resident {
                open: [&raw mut (*this).empty; CLASSES],
                listed: [null_mut(); CLASSES],
                singles: null_mut(),
                pages: Span::NOWHERE,
                blocks: Span::NOWHERE,
            });
            (*this).resident = resident;
            port::expect_residents();
            true
        }
    }

    /// The first of the resident cells with blocks of their own.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn resident_singles(this: *mut Self) -> *mut Single {
        // SAFETY: the caller's word.
        unsafe {
            if (*this).resident.is_null() {
                null_mut()
            } else {
                (*(*this).resident).singles
            }
        }
    }

    /// Where the list begins in which cells of a type are that have blocks of their own.
    ///
    /// # Safety
    /// `this` is a live state, `record` one of its types'.
    pub(super) unsafe fn list_of_singles(this: *mut Self, record: *const Record) -> *mut *mut Single {
        // SAFETY: a resident type is registered only when the state is ready for it.
        unsafe {
            if (*record).has(RESIDENT_TYPE) {
                Resident::singles((*this).resident)
            } else {
                &raw mut (*this).singles
            }
        }
    }

    /// Whether resident cells, and none but they, lie where resident cells are to be.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(super) unsafe fn residents_agree(this: *mut Self) -> bool {
        // SAFETY: the caller's word; a cell that is no single one lies in a page.
        unsafe {
            let resident = (*this).resident;
            resident.is_null()
                || Self::each_cell(this, |object| {
                    let apart = if (*header(object)).kind & SINGLE != 0 {
                        (*resident).blocks.holds(object.addr()) && in_block(this, object)
                    } else {
                        (*resident).pages.holds(object.addr()) && (*page_of(object)).class >= RESIDENT_CLASS
                    };
                    apart == (*Self::record_of(this, object)).has(RESIDENT_TYPE)
                })
        }
    }
}

/// As docs/resident.md says.
const _: () = assert!(size_of::<Resident>() == if cfg!(target_pointer_width = "64") { 408 } else { 140 });
