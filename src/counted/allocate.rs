//! Cells are made and given back.
//!
//! Guarantees
//! * Taking and giving back a cell of a page is O(1), without a lock and without the heap's algorithm.
//! * A new cell is zeroed, aligned to 8, and has a count of 1; no collection starts here, unless it was asked
//!   for.
//! * When the heap has no room for a page, a cell gets a block of its own: a heap is used to its end.
//! * The memory of a dead cell says that it is dead, as long as it is a cell's.
//!
//! ```text
//!   GC_new --> record.open, a page with a free cell ----> done
//!               | no such type, no room, work to do
//!               v
//!             new_out_of_line --> pages.rs: another page ----> done
//!                                  | too large, or no memory for a page
//!                                  v
//!                                 a block of the heap, its record before the header
//! ```
//! Cost: O(size) in the usual case, instructions in docs/counted-figures.md; a block of the heap for a page's
//! worth of cells.

use core::ptr::null_mut;

use super::cell::{dead_single, header, CellHeader, FREE, HEADER, SINGLE};
use super::pages::{
    bytes_of, cell_bytes, class_for, page_of, single_of, Page, Single, DIRECT, PAGE, SINGLE_CLASS, SINGLE_LEAD,
};
use super::resident::Resident;
use super::state::Counted;
use super::types::{KnTypeId, Record, POISONED, RESIDENT_TYPE, SHARED_TYPE, VARIABLE};
use crate::heap::KnStatus;
use crate::port;

/// Zeroes a payload, two words at a time: a call of memset costs more than most payloads.
///
/// # Safety
/// `bytes` bytes at `at`, a multiple of 8, are writable, and `at` is aligned to 8.
#[inline(always)]
pub(super) unsafe fn clear(at: *mut u8, bytes: usize) {
    let mut at = at;
    // SAFETY: the caller's word.
    unsafe {
        if bytes & 8 != 0 {
            at.cast::<u64>().write(0);
            at = at.wrapping_add(8);
        }
        let mut left = bytes & !15;
        while left > 0 {
            at.cast::<[u64; 2]>().write([0; 2]);
            at = opaque(at.wrapping_add(16));
            left -= 16;
        }
    }
}

/// The same pointer, so that the compiler makes no call of memset and no copies of the loop around it.
#[inline(always)]
pub(super) fn opaque(at: *mut u8) -> *mut u8 {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm", target_arch = "aarch64"))]
    #[cfg(not(miri))]
    {
        let mut address = at.addr();
        // SAFETY: no instruction.
        unsafe { core::arch::asm!("/* {0} */", inout(reg) address, options(nomem, nostack, preserves_flags)) };
        at.with_addr(address)
    }

    #[cfg(any(
        miri,
        not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm", target_arch = "aarch64"))
    ))]
    core::hint::black_box(at)
}

impl Counted {
    /// A new cell of a type: zeroed, with a count of 1; null when there is no memory, or no such type.
    ///
    /// # Safety
    /// `this` is a live state of this thread.
    #[inline]
    pub unsafe fn new_cell(this: *mut Self, id: KnTypeId) -> *mut u8 {
        // SAFETY: the caller's word; records are those of live pages.
        unsafe {
            // Number 0 has a page without room.
            if id >= (*this).ready {
                return Self::new_out_of_line(this, id);
            }
            let record = Self::record(this, id);
            let page = (*record).open;
            let offset = (*page).free;
            if offset == 0 {
                return Self::new_out_of_line(this, id);
            }
            Self::take_from(page, offset, record, (*record).clear as usize)
        }
    }

    /// Takes a page's first free cell.
    ///
    /// # Safety
    /// `offset` is where it lies, and the record that of its type.
    #[inline(always)]
    unsafe fn take_from(page: *mut Page, offset: u32, record: *mut Record, payload: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            let cell = page.cast::<u8>().wrapping_add(offset as usize);
            let object = cell.wrapping_add(HEADER);
            (*page).free = (*cell.cast::<CellHeader>()).kind;
            (*page).used += 1;
            (*record).one_more();
            let kind = (*record).kind ^ (object.addr() as u32) << 13;
            cell.cast::<CellHeader>().write(CellHeader { word: (*record).word, kind });
            clear(object, payload);
            object
        }
    }

    /// All that is not the usual case of [`Counted::new_cell`].
    ///
    /// # Safety
    /// As [`Counted::new_cell`].
    #[cold]
    #[inline(never)]
    unsafe fn new_out_of_line(this: *mut Self, id: KnTypeId) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            if !Self::knows(this, id) {
                return null_mut();
            }
            let size = Record::size(Self::record(this, id));
            Self::new_of_class(this, id, (*Self::record(this, id)).class, size)
        }
    }

    /// A new cell with a payload of at least `payload` bytes, and not less than the type's size.
    ///
    /// # Safety
    /// As [`Counted::new_cell`].
    pub unsafe fn new_sized(this: *mut Self, id: KnTypeId, payload: usize) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            if !Self::knows(this, id) || payload > i32::MAX as usize - 2 * PAGE {
                return null_mut();
            }
            let record = Self::record(this, id);
            let payload = payload.max(Record::size(record));
            if !(*record).has(SHARED_TYPE) && payload > Record::size(record) {
                Record::vary(record, &raw mut (*this).empty);
            }
            Self::new_of_class(this, id, SINGLE_CLASS, payload)
        }
    }

    /// Whether the type is known; the error hook is told if not.
    ///
    /// # Safety
    /// As [`Counted::new_cell`].
    pub(super) unsafe fn knows(this: *mut Self, id: KnTypeId) -> bool {
        // SAFETY: as there.
        let known = id != 0 && unsafe { id < (*this).types || Self::catch_up(this, id) };
        if !known {
            port::report(KnStatus::Invalid, null_mut(), c"GC_new: no such type");
        }
        known
    }

    /// # Safety
    /// As [`Counted::new_cell`], with a known type.
    unsafe fn new_of_class(this: *mut Self, id: KnTypeId, class: u16, payload: usize) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            if (*this).ready == 0 {
                Self::before_new(this);
            }
            if (*Self::record(this, id)).has(SHARED_TYPE) {
                return super::shared::new_shared(this, id, payload);
            }
            let mut object = Self::find_place(this, id, class, payload);
            if object.is_null() && Self::make_room(this) {
                object = Self::find_place(this, id, class, payload);
            }
            object
        }
    }

    /// As [`Counted::new_sized`], without running code of the program's: no collection, no lazy work.
    ///
    /// # Safety
    /// As there, with a type of this state that is not shared.
    #[cfg(feature = "arena")]
    pub(super) unsafe fn new_quietly(this: *mut Self, id: KnTypeId, payload: usize) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            let record = Self::record(this, id);
            if payload > Record::size(record).next_multiple_of(8) {
                Record::vary(record, &raw mut (*this).empty);
            }
            Self::find_place(this, id, SINGLE_CLASS, payload)
        }
    }

    /// # Safety
    /// As [`Counted::new_of_class`].
    unsafe fn find_place(this: *mut Self, id: KnTypeId, class: u16, payload: usize) -> *mut u8 {
        // SAFETY: as there.
        unsafe {
            let record = Self::record(this, id);
            // A varying type whose size is its least still lies in the page of that size.
            let class = if class == SINGLE_CLASS { class_for(payload, (*record).has(RESIDENT_TYPE)) } else { class };
            if class < DIRECT {
                let page = Self::page_with_room(this, usize::from(class));
                if !page.is_null() {
                    let cell = (*page).cell as usize;
                    if (*record).has(VARIABLE) {
                        (*record).count_bytes(cell, true);
                    }
                    return Self::take_from(page, (*page).free, record, cell - HEADER);
                }
            }
            Self::new_single(this, record, payload)
        }
    }

    /// A cell with a block of its own.
    ///
    /// # Safety
    /// The record is that of one of this state's types.
    #[cold]
    unsafe fn new_single(this: *mut Self, record: *mut Record, payload: usize) -> *mut u8 {
        let bytes = (payload + HEADER).next_multiple_of(8);
        // SAFETY: the block holds all that is written.
        unsafe {
            let single = (*this).source.take(size_of::<Single>() + bytes).cast::<Single>();
            if single.is_null() {
                return null_mut();
            }
            let _ = single.expose_provenance();
            let list = Self::list_of_singles(this, record);
            let next = list.read();
            single.write(Single { previous: null_mut(), next, owner: this, bytes: bytes as u32, root: 0 });
            if !next.is_null() {
                (*next).previous = single;
            }
            list.write(single);
            if (*record).has(RESIDENT_TYPE) {
                Resident::note_single((*this).resident, single);
            }
            (*this).single_bytes += size_of::<Single>() + bytes;
            // In place of a page's cell of another size.
            if !(*record).has(VARIABLE) && bytes != cell_bytes((*record).class, Record::size(record)) {
                Record::vary(record, &raw mut (*this).empty);
            }
            if (*record).has(VARIABLE) {
                (*record).count_bytes(bytes, true);
            }
            (*record).one_more();
            Self::note_growth(this);
            let object = single.cast::<u8>().wrapping_add(SINGLE_LEAD);
            let kind = (*record).kind ^ (object.addr() as u32) << 13 | SINGLE;
            header(object).write(CellHeader { word: (*record).word, kind });
            object.write_bytes(0, bytes - HEADER);
            object
        }
    }

    /// Gives the memory of a cell back.
    ///
    /// # Safety
    /// `object` is a cell of this state that nothing refers to, no root and not waiting; `record` is its
    /// type's.
    #[inline(always)]
    pub(super) unsafe fn give(this: *mut Self, object: *mut u8, record: *mut Record) {
        // SAFETY: the caller's word.
        unsafe {
            let head = header(object);
            (*record).one_less();
            if (*head).kind & SINGLE != 0 || (*record).has(VARIABLE | POISONED) {
                return Self::give_out_of_line(this, object, record);
            }
            Self::give_to_page(this, object);
        }
    }

    /// # Safety
    /// As [`Counted::give`], for a cell of a page.
    #[inline(always)]
    pub(super) unsafe fn give_to_page(this: *mut Self, object: *mut u8) {
        // SAFETY: the caller's word.
        unsafe {
            let page = page_of(object);
            header(object).write(CellHeader { word: FREE, kind: (*page).free });
            (*page).free = (object.addr() - HEADER - page.addr()) as u32;
            let used = (*page).used - 1;
            (*page).used = used;
            if used == (*page).wake {
                Self::page_changed(this, page);
            }
        }
    }

    /// # Safety
    /// As [`Counted::give`].
    #[cold]
    #[inline(never)]
    unsafe fn give_out_of_line(this: *mut Self, object: *mut u8, record: *mut Record) {
        // SAFETY: the caller's word.
        unsafe {
            let bytes = bytes_of(object);
            if (*record).has(VARIABLE) {
                (*record).count_bytes(bytes, false);
            }
            if (*record).has(POISONED) {
                object.write_bytes(0xDB, bytes - HEADER);
            }
            if (*header(object)).kind & SINGLE == 0 {
                return Self::give_to_page(this, object);
            }
            let single = single_of(object);
            let Single { previous, next, .. } = single.read();
            if previous.is_null() {
                Self::list_of_singles(this, record).write(next);
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*this).single_bytes -= size_of::<Single>() + bytes;
            header(object).write(CellHeader { word: FREE, kind: dead_single(object) });
            (*this).source.give(single.cast());
        }
    }
}
