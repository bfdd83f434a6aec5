//! Where cells lie: pages of equal cells, and blocks of their own for what is larger.
//!
//! Guarantees
//! * Empty pages go back to the heap, but for those that a class allocates from and, on 64-bit targets, a few
//!   that are kept; these too when an allocation finds no memory, and after a full collection of a heap that
//!   can't grow.
//! * A full page is left alone until an eighth of its cells is free again, so that a visit is worth it.
//! * Every cell of a state can be found without knowing a reference to it.
//!
//! ```text
//!   page, aligned to its size (4 KB; 1 KB on 32-bit targets):
//!   +------+------------+------------+------------+-- … --+---+
//!   | Page | hdr cell   | hdr cell   | free  ----------> free|   |   the heap's own header of the
//!   +------+------------+------------+------------+-- … --+---+   next block fits behind
//!   ^ address & -PAGE                 offset of the next free cell in `kind`
//!
//!   single:   | Single: neighbours, owner, bytes | hdr | payload … |     a block of the heap
//! ```
//! Cells of one page are 16 to 128 bytes in steps of 8, and on 64-bit targets to 512 in four steps an
//! octave, header included. Each size has two classes: cells of resident types lie in pages of their own, so
//! that a page tells of any address in it whether it is in a resident cell (see resident.rs).
//!
//! Source: free lists of a page as in mimalloc (Leijen, Zorn, de Moura, "Mimalloc: Free List Sharding in
//! Action", APLAS 2019), here with offsets and for one thread.

use core::ptr::null_mut;

use super::allocate::opaque;
use super::cell::{header, CellHeader, FREE, HEADER, SINGLE};
use super::resident::Resident;
use super::state::Counted;
use super::types::KnType;

const WORD64: bool = cfg!(target_pointer_width = "64");
/// Bytes of a page and its alignment; not more than an operating system's page.
pub(crate) const PAGE: usize = if WORD64 { 4096 } else { 1024 };
/// What a page leaves to the heap's header of the block behind it, so that pages lie side by side.
const MARGIN: usize = if WORD64 { 16 } else { 8 };
/// The largest cell that lies in a page.
const LARGEST: usize = if WORD64 { 512 } else { 128 };
/// Classes in steps of 8.
const FINE: usize = 15;
/// Number of size classes.
pub(crate) const CLASSES: usize = if WORD64 { FINE + 8 } else { FINE };
/// The first class of resident cells, of the same sizes as those from 0 on.
pub(crate) const RESIDENT_CLASS: u16 = CLASSES as u16;
/// Classes below this are served by a page.
pub(crate) const DIRECT: u16 = 2 * RESIDENT_CLASS;
/// The class of what is not.
pub(crate) const SINGLE_CLASS: u16 = u16::MAX;
/// Bytes before a page's first cell.
pub(super) const FIRST: usize = size_of::<Page>().next_multiple_of(8);
/// Empty pages that are kept on 64-bit targets, besides a sixteenth of all, as long as there are cells. On
/// others, where the heap is small, it saved nothing that examples/lisp could show.
const SPARES: usize = 16;
/// A full page is listed again when this part of its cells is free.
const WORTH: u32 = 8;
/// No page of this library starts with another word.
pub(super) const MAGIC: u32 = 0x4B6E_6F6C;

/// The record at a page's start.
#[repr(C)]
pub(crate) struct Page {
    pub(super) magic: u32,
    /// Offset of the first free cell, 0 when there is none.
    pub(super) free: u32,
    pub(super) used: u32,
    /// Offset of what is behind the last cell.
    pub(super) behind: u32,
    /// Bytes of a cell.
    pub(super) cell: u32,
    pub(super) class: u16,
    pub(super) listed: bool,
    /// When so many are used, something is to be done with the page.
    pub(super) wake: u32,
    pub(super) owner: *mut Counted,
    /// Neighbours in the list of pages with room, and in that of all.
    pub(super) next: *mut Page,
    pub(super) previous: *mut Page,
    pub(super) all_next: *mut Page,
    pub(super) all_previous: *mut Page,
}

/// The record before the header of a cell with a block of its own.
#[repr(C, align(8))]
pub(crate) struct Single {
    pub(super) previous: *mut Single,
    pub(super) next: *mut Single,
    /// Null: a shared cell.
    pub(super) owner: *mut Counted,
    /// Bytes of header and payload.
    pub(super) bytes: u32,
    /// Its place among the roots, if it is one: so the seal stays.
    pub(super) root: u32,
}

impl Single {
    /// The record of a shared cell: in place of neighbours it has its type.
    pub(super) fn shared(descriptor: *const KnType, bytes: usize) -> Single {
        Single {
            previous: descriptor.cast_mut().cast(),
            next: null_mut(),
            owner: null_mut(),
            bytes: bytes as u32,
            root: 0,
        }
    }

    /// Bytes of header and payload.
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The type of a shared cell.
    pub(super) fn descriptor(&self) -> *const KnType {
        self.previous.cast()
    }
}

/// Bytes before a single cell's payload.
pub(crate) const SINGLE_LEAD: usize = size_of::<Single>() + HEADER;

/// The class of cells of so many bytes, header included.
pub(crate) const fn class_of(bytes: usize) -> u16 {
    if bytes > LARGEST {
        return SINGLE_CLASS;
    }
    if bytes <= 128 {
        return if bytes <= 16 { 0 } else { (bytes.div_ceil(8) - 2) as u16 };
    }
    let octave = (bytes - 1).ilog2() as usize;
    (FINE + (octave - 7) * 4 + ((bytes - 1 - (1 << octave)) >> (octave - 2))) as u16
}

/// The class of cells with a payload of so many bytes.
pub(crate) const fn class_for(payload: usize, resident: bool) -> u16 {
    let class = class_of(payload + HEADER);
    if resident && class != SINGLE_CLASS {
        class + RESIDENT_CLASS
    } else {
        class
    }
}

/// Bytes of a cell of a class.
pub(crate) const fn class_bytes(class: u16) -> usize {
    let class = if class < RESIDENT_CLASS { class } else { class - RESIDENT_CLASS } as usize;
    if class < FINE {
        return (class + 2) * 8;
    }
    let octave = 7 + (class - FINE) / 4;
    (1 << octave) + ((class - FINE) % 4 + 1) * (1 << (octave - 2))
}

/// Bytes of a cell of a class with a payload of so many.
pub(crate) fn cell_bytes(class: u16, payload: usize) -> usize {
    if class < DIRECT {
        class_bytes(class)
    } else {
        (payload + HEADER).next_multiple_of(8)
    }
}

/// The page of a cell that lies in one.
#[inline(always)]
pub(crate) fn page_of(object: *const u8) -> *mut Page {
    object.map_addr(|address| address & !(PAGE - 1)).cast_mut().cast()
}

/// The record of a cell with a block of its own.
#[inline(always)]
pub(crate) fn single_of(object: *const u8) -> *mut Single {
    object.wrapping_sub(SINGLE_LEAD).cast_mut().cast()
}

/// The state that a cell belongs to; null for a shared one.
///
/// # Safety
/// `object` is a cell.
#[inline(always)]
pub(crate) unsafe fn owner(object: *const u8) -> *mut Counted {
    // SAFETY: the caller's word.
    unsafe {
        if (*header(object)).kind & SINGLE == 0 {
            (*page_of(object)).owner
        } else {
            (*single_of(object)).owner
        }
    }
}

/// Bytes of header and payload.
///
/// # Safety
/// `object` is a cell.
#[inline(always)]
pub(crate) unsafe fn bytes_of(object: *const u8) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        if (*header(object)).kind & SINGLE == 0 {
            (*page_of(object)).cell as usize
        } else {
            (*single_of(object)).bytes()
        }
    }
}

/// The page that an address lies in if it is one, without knowing whether it is: an operating system's
/// page is as large, and on bare metal memory can be read.
///
/// # Safety
/// The memory at `object` can be read.
pub(crate) unsafe fn likely_page(object: *const u8) -> Option<*mut Counted> {
    let page = page_of(object);
    // SAFETY: as above.
    unsafe { ((*page).magic == MAGIC).then(|| (*page).owner) }
}

impl Counted {
    /// A page of a class with a free cell, which is now the open one; null when there is no memory.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn page_with_room(this: *mut Self, class: usize) -> *mut Page {
        // SAFETY: the caller's word; lists hold live pages.
        unsafe {
            let open = Self::open_slot(this, class).read();
            if (*open).free != 0 {
                return open;
            }
            // What is open is full now: it is left until there is room worth a visit.
            (*open).wake = (*open).used - (*open).used / WORTH - u32::from((*open).used != 0);
            let mut page = *Self::listed(this, class);
            if !page.is_null() {
                Self::unlist(this, page);
            } else {
                page = Self::new_page(this, class as u16);
                if page.is_null() {
                    page = Self::any_page(this, class as u16);
                }
                if page.is_null() {
                    Self::set_open(this, class, &raw mut (*this).empty);
                    return page;
                }
            }
            (*page).wake = 0;
            Self::set_open(this, class, page);
            page
        }
    }

    /// Where the open page of a class is noted. (By pointer: indexing could fail, for all the compiler knows.)
    ///
    /// # Safety
    /// `this` is a live state; resident classes only when there are resident types.
    unsafe fn open_slot(this: *mut Self, class: usize) -> *mut *mut Page {
        // SAFETY: the caller's word.
        unsafe {
            if class >= CLASSES {
                return Resident::open((*this).resident, class - CLASSES);
            }
            (&raw mut (*this).open).cast::<*mut Page>().wrapping_add(class)
        }
    }

    /// Where the list of a class begins.
    ///
    /// # Safety
    /// As [`Counted::open_slot`].
    unsafe fn listed(this: *mut Self, class: usize) -> *mut *mut Page {
        // SAFETY: the caller's word.
        unsafe {
            if class >= CLASSES {
                return Resident::listed((*this).resident, class - CLASSES);
            }
            (&raw mut (*this).listed).cast::<*mut Page>().wrapping_add(class)
        }
    }

    /// The page that a class allocates from.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn open_page(this: *mut Self, class: u16) -> *mut Page {
        // SAFETY: the caller's word.
        unsafe {
            if class < DIRECT {
                Self::open_slot(this, usize::from(class)).read()
            } else {
                &raw mut (*this).empty
            }
        }
    }

    /// Makes a page the one that a class, and so its types, allocate from.
    ///
    /// # Safety
    /// `page` has room, or is the empty one.
    #[inline(never)]
    unsafe fn set_open(this: *mut Self, class: usize, page: *mut Page) {
        // SAFETY: the caller's word.
        unsafe {
            Self::open_slot(this, class).write(page);
            for id in 1..(*this).types {
                let record = Self::record(this, id);
                if usize::from((*record).class) == class {
                    (*record).open = page;
                }
            }
        }
    }

    /// A page with a free cell that was not worth a visit, when there is no other.
    ///
    /// # Safety
    /// `this` is a live state.
    #[cold]
    unsafe fn any_page(this: *mut Self, class: u16) -> *mut Page {
        // SAFETY: the lists hold live pages.
        unsafe {
            let mut page = (*this).pages;
            while !page.is_null() && ((*page).class != class || (*page).free == 0 || (*page).used == 0) {
                page = (*page).all_next;
            }
            page
        }
    }

    /// Makes all cells of an empty page ready, to be taken in the order of their addresses.
    ///
    /// # Safety
    /// `page` is an empty page of a state, with the size of its cells.
    #[inline(never)]
    unsafe fn carve(page: *mut Page) {
        // SAFETY: the cells lie in the page.
        unsafe {
            let bytes = (*page).cell as usize;
            let last = PAGE - MARGIN - 2 * bytes;
            let mut offset = FIRST;
            let mut cell = page.cast::<u8>().wrapping_add(FIRST);
            // One more fits behind the cell at `offset`, as long as this holds.
            while offset <= last {
                offset += bytes;
                cell.cast::<CellHeader>().write(CellHeader { word: FREE, kind: offset as u32 });
                cell = opaque(cell.wrapping_add(bytes));
            }
            cell.cast::<CellHeader>().write(CellHeader { word: FREE, kind: 0 });
            let end = offset + bytes;
            (*page).free = FIRST as u32;
            (*page).behind = end as u32;
        }
    }

    /// # Safety
    /// `this` is a live state.
    unsafe fn new_page(this: *mut Self, class: u16) -> *mut Page {
        // SAFETY: the block is a page's size and nobody else's.
        unsafe {
            let spare = (*this).spare;
            // What is resident comes from the heap, which takes the lowest place that it finds.
            if !spare.is_null() && class < RESIDENT_CLASS {
                (*this).spare = (*spare).next;
                (*this).spares -= 1;
                (*spare).next = null_mut();
                // One of the same class is ready as it was left.
                if (*spare).class != class {
                    (*spare).class = class;
                    (*spare).cell = class_bytes(class) as u32;
                    Self::carve(spare);
                }
                Self::note_growth(this);
                return spare;
            }
            let page = (*this).source.take_aligned(PAGE, PAGE - MARGIN).cast::<Page>();
            if page.is_null() {
                return page;
            }
            let _ = page.expose_provenance();
            page.write(Page {
                magic: MAGIC,
                free: 0,
                used: 0,
                behind: FIRST as u32,
                cell: class_bytes(class) as u32,
                class,
                listed: false,
                wake: 0,
                owner: this,
                next: null_mut(),
                previous: null_mut(),
                all_next: (*this).pages,
                all_previous: null_mut(),
            });
            if !(*this).pages.is_null() {
                (*(*this).pages).all_previous = page;
            }
            (*this).pages = page;
            if class >= RESIDENT_CLASS {
                Resident::note_page((*this).resident, page);
            }
            Self::carve(page);
            (*this).page_bytes += PAGE;
            Self::note_growth(this);
            page
        }
    }

    /// # Safety
    /// `page` is one of this state's without a used cell, or all of its cells go.
    pub(super) unsafe fn drop_page(this: *mut Self, page: *mut Page) {
        // SAFETY: the lists hold live pages.
        unsafe {
            if (*page).listed {
                Self::unlist(this, page);
            }
            let Page { all_next, all_previous, .. } = page.read();
            if all_previous.is_null() {
                (*this).pages = all_next;
            } else {
                (*all_previous).all_next = all_next;
            }
            if !all_next.is_null() {
                (*all_next).all_previous = all_previous;
            }
            (*page).magic = 0;
            (*this).page_bytes -= PAGE;
            (*this).source.give(page.cast());
        }
    }

    /// Gives the empty pages back that classes keep to allocate from; whether there were any.
    ///
    /// # Safety
    /// `this` is a live state.
    pub(super) unsafe fn drop_empty_pages(this: *mut Self) -> bool {
        let mut any = false;
        // SAFETY: open pages are live, or the empty one, which is no state's.
        unsafe {
            while !(*this).spare.is_null() {
                let page = (*this).spare;
                (*this).spare = (*page).next;
                (*this).spares -= 1;
                Self::drop_page(this, page);
                any = true;
            }
            let classes = if (*this).resident.is_null() { CLASSES } else { 2 * CLASSES };
            for class in 0..classes {
                let page = Self::open_slot(this, class).read();
                if (*page).used == 0 && page != &raw mut (*this).empty {
                    Self::set_open(this, class, &raw mut (*this).empty);
                    Self::drop_page(this, page);
                    any = true;
                }
            }
        }
        any
    }

    /// # Safety
    /// `page` is in this state's list of its class.
    unsafe fn unlist(this: *mut Self, page: *mut Page) {
        // SAFETY: the lists hold live pages.
        unsafe {
            let Page { next, previous, class, .. } = page.read();
            if previous.is_null() {
                (*Self::listed(this, usize::from(class))) = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*page).next = null_mut();
            (*page).previous = null_mut();
            (*page).listed = false;
        }
    }

    /// A page that had no room has enough to be worth a visit, or one is empty.
    ///
    /// # Safety
    /// `page` is one of this state's.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn page_changed(this: *mut Self, page: *mut Page) {
        // SAFETY: the lists hold live pages.
        unsafe {
            let class = usize::from((*page).class);
            let open = (&raw mut (*this).open).cast::<*mut Page>().wrapping_add(class);
            // One cell that comes and goes in an open page ends here.
            if class >= CLASSES || open.read() != page {
                Self::page_has_room(this, page);
            }
        }
    }

    /// # Safety
    /// As [`Counted::page_changed`].
    #[inline(never)]
    unsafe fn page_has_room(this: *mut Self, page: *mut Page) {
        // SAFETY: the caller's word.
        unsafe {
            if Self::open_page(this, (*page).class) == page {
                return;
            }
            if (*page).used == 0 {
                return Self::retire_page(this, page);
            }
            Self::list_page(this, page);
        }
    }

    /// # Safety
    /// `page` is one of this state's with a free cell, neither open nor listed.
    unsafe fn list_page(this: *mut Self, page: *mut Page) {
        // SAFETY: the lists hold live pages.
        unsafe {
            let class = usize::from((*page).class);
            let first = *Self::listed(this, class);
            (*page).next = first;
            (*page).listed = true;
            (*page).wake = 0;
            if !first.is_null() {
                (*first).previous = page;
            }
            (*Self::listed(this, class)) = page;
        }
    }

    /// Keeps an empty page, or gives it back if enough are kept.
    ///
    /// # Safety
    /// `page` is an empty one of this state's that is not open.
    unsafe fn retire_page(this: *mut Self, page: *mut Page) {
        // SAFETY: the lists hold live pages.
        unsafe {
            let most = if WORD64 { SPARES + (*this).page_bytes / PAGE / 16 } else { 0 };
            if (*this).spares >= most || (*page).class >= RESIDENT_CLASS {
                return Self::drop_page(this, page);
            }
            if (*page).listed {
                Self::unlist(this, page);
            }
            (*page).next = (*this).spare;
            (*this).spare = page;
            (*this).spares += 1;
        }
    }

    /// Calls `visit` for every cell, waiting ones included, until it answers false; it may change
    /// headers and payloads, not make or free cells. Whether it came to the end.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    pub(crate) unsafe fn each_cell(this: *mut Self, mut visit: impl FnMut(*mut u8) -> bool) -> bool {
        // SAFETY: the lists hold live pages and cells.
        unsafe {
            let mut page = (*this).pages;
            while !page.is_null() {
                let Page { behind, cell, .. } = page.read();
                let mut object = page.cast::<u8>().wrapping_add(FIRST + HEADER);
                let end = page.cast::<u8>().wrapping_add(behind as usize);
                while object < end {
                    if (*header(object)).word != FREE && !visit(object) {
                        return false;
                    }
                    object = object.wrapping_add(cell as usize);
                }
                page = (*page).all_next;
            }
            let mut single = (*this).singles;
            let mut later = Self::resident_singles(this);
            loop {
                if single.is_null() {
                    single = later;
                    later = null_mut();
                    if single.is_null() {
                        return true;
                    }
                }
                let next = (*single).next;
                if !visit(single.cast::<u8>().wrapping_add(SINGLE_LEAD)) {
                    return false;
                }
                single = next;
            }
        }
    }

    /// Whether the pages' records agree with themselves: free cells as many as used ones leave.
    ///
    /// # Safety
    /// As [`Counted::each_cell`].
    pub(super) unsafe fn pages_agree(this: *mut Self) -> bool {
        // SAFETY: offsets are verified before they are followed.
        unsafe {
            let mut page = (*this).pages;
            while !page.is_null() {
                let Page { magic, free, used, behind, cell, owner, .. } = page.read();
                let room = (behind as usize).wrapping_sub(FIRST);
                if magic != MAGIC || owner != this || cell == 0 || behind as usize > PAGE || room % cell as usize != 0 {
                    return false;
                }
                let all = room / cell as usize;
                let mut offset = free as usize;
                let mut count = 0;
                while offset != 0 {
                    let fits = offset >= FIRST && offset < behind as usize && (offset - FIRST) % cell as usize == 0;
                    if !fits || count >= all {
                        return false;
                    }
                    let head = page.cast::<u8>().wrapping_add(offset).cast::<CellHeader>();
                    if (*head).word != FREE {
                        return false;
                    }
                    offset = (*head).kind as usize;
                    count += 1;
                }
                if count + used as usize != all {
                    return false;
                }
                page = (*page).all_next;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for bytes in 1..=LARGEST {
            let class = class_of(bytes);
            assert!(class < RESIDENT_CLASS && class_bytes(class) >= bytes, "{bytes}");
            assert_eq!(class_bytes(class + RESIDENT_CLASS), class_bytes(class));
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes}");
            assert_eq!(class_bytes(class) % 8, 0);
        }
        assert_eq!(class_of(LARGEST + 1), SINGLE_CLASS);
    }
}
