//! Promoting: copies of cells in an arena, and of all in it that they refer to, as ordinary cells outside.
//!
//! Guarantees
//! * All or nothing: what has no memory, or a type whose cells can't be copied, leaves everything as it was.
//! * Shape is kept: what is shared in the arena is shared in the copy, cycles are cycles. References that lead
//!   outside lead to the same cells, counted once more.
//! * No code of the program's runs meanwhile. Types with destroy or trace are refused: only their own code
//!   knows what a copy of them is.
//!
//! ```text
//!   arena:   A --> B --> A        list of copies:  (A, A'), (B, B'), …        outside:  A' --> B' --> A'
//!            words hold the number in the list while it is made
//! ```
//! Cost: O(cells + references); three words of the heap for each cell, for the time of the call.
//!
//! Source: forwarding as in Cheney, "A nonrecursive list compacting algorithm", 1970, with the list beside.

use core::ptr::null_mut;

use super::segment::Segment;
use super::KnArena;
use crate::counted::{self, scoped};
use crate::heap::KnStatus;
use crate::memory::Source;

/// A cell and its copy.
#[derive(Clone, Copy)]
struct Copy {
    from: *mut u8,
    to: *mut u8,
    /// The word of `from` as it was.
    word: u32,
}

/// The list of copies.
pub(super) struct Copies {
    source: Source,
    list: *mut Copy,
    len: usize,
    room: usize,
    /// The first that has not been looked at.
    next: usize,
    /// Why nothing can be copied.
    status: KnStatus,
    made: bool,
}

impl Copies {
    pub fn new(source: Source) -> Copies {
        Copies { source, list: null_mut(), len: 0, room: 0, next: 0, status: KnStatus::Ok, made: false }
    }

    /// A new list for what escapes from an arena. One that is left, because a hook jumped away, is given up.
    ///
    /// # Safety
    /// `arena` is living.
    pub unsafe fn of(arena: *mut KnArena) -> Copies {
        // SAFETY: what hangs there was made.
        unsafe {
            let books = KnArena::books(arena);
            let mut copies = Copies::new((*arena).source);
            copies.list = (*books).copies.cast();
            copies.len = (*books).copied;
            copies.made = true;
            copies.end_of(arena);
            Copies::new((*arena).source)
        }
    }

    /// Leaves the list to be found if a hook jumps away.
    ///
    /// # Safety
    /// `arena` is living, the copies were made.
    pub unsafe fn hang(&self, arena: *mut KnArena) {
        // SAFETY: the caller's word.
        unsafe {
            let books = KnArena::books(arena);
            (*books).copies = self.list.cast();
            (*books).copied = self.len;
        }
    }

    /// Ends the list, and forgets that it hung there.
    ///
    /// # Safety
    /// As [`Copies::end`].
    pub unsafe fn end_of(&mut self, arena: *mut KnArena) {
        // SAFETY: the caller's word.
        unsafe {
            let books = KnArena::books(arena);
            (*books).copies = null_mut();
            (*books).copied = 0;
            self.end();
        }
    }

    /// Copy `n`.
    fn at(&self, n: usize) -> *mut Copy {
        debug_assert!(n < self.len);
        self.list.wrapping_add(n)
    }

    /// Enters a cell of the arena, and all in it that it leads to, or nothing, if that can't be copied.
    ///
    /// # Safety
    /// `arena` is living, `cell` an address in it.
    pub unsafe fn add(&mut self, arena: *mut KnArena, cell: *mut u8) -> KnStatus {
        let before = self.len;
        // SAFETY: the caller's word.
        unsafe {
            if self.enter(arena, cell) {
                while self.next < self.len && self.status == KnStatus::Ok {
                    let from = (*self.at(self.next)).from;
                    self.next += 1;
                    scoped::each_named(self.source.heap(), from, &mut |slot| {
                        let child = slot.read();
                        if !child.is_null() && scoped::is_scoped(child) {
                            self.enter(arena, child);
                        }
                    });
                }
            }
            let status = self.status;
            if status == KnStatus::Unsupported {
                for n in before..self.len {
                    let Copy { from, word, .. } = self.at(n).read();
                    scoped::restore(from, word);
                }
                self.len = before;
                self.next = before;
                self.status = KnStatus::Ok;
            }
            status
        }
    }

    /// Enters a cell if it is one of the arena's and not there yet; whether it is there now.
    ///
    /// # Safety
    /// As [`Copies::add`].
    unsafe fn enter(&mut self, arena: *mut KnArena, cell: *mut u8) -> bool {
        // SAFETY: a forwarded cell is one that was entered.
        unsafe {
            if self.status != KnStatus::Ok || !scoped::is_cell(cell) {
                return false;
            }
            if scoped::forwarded(cell).is_some() {
                return true;
            }
            if (*scoped::segment(cell).cast::<Segment>()).arena != arena {
                // A scope around keeps its cells.
                return false;
            }
            if !scoped::is_copyable(self.source.heap(), cell) {
                self.status = KnStatus::Unsupported;
                return false;
            }
            if self.len == self.room && !self.extend() {
                self.status = KnStatus::NoMemory;
                return false;
            }
            let number = self.len;
            self.len += 1;
            let word = scoped::forward(cell, number);
            self.at(number).write(Copy { from: cell, to: null_mut(), word });
            true
        }
    }

    fn extend(&mut self) -> bool {
        // Numbers have to fit into a cell's word.
        if self.len >= 1 << 24 {
            return false;
        }
        let room = (self.room * 2).max(16);
        // SAFETY: the list is a block of the source's, or null.
        let list = unsafe { self.source.resize(self.list.cast(), room * size_of::<Copy>()) };
        if list.is_null() {
            return false;
        }
        self.list = list.cast();
        self.room = room;
        true
    }

    /// Makes all copies, each with a count of 1 that is the list's: whether there was memory for them.
    ///
    /// # Safety
    /// The cells' arena is living.
    pub unsafe fn make(&mut self) -> bool {
        let heap = self.source.heap();
        // SAFETY: the copies are as large as what they are copies of.
        unsafe {
            for n in 0..self.len {
                if self.status != KnStatus::Ok {
                    break;
                }
                let copy = self.at(n);
                (*copy).to = scoped::new_like(heap, (*copy).from);
                if (*copy).to.is_null() {
                    self.status = KnStatus::NoMemory;
                }
            }
            if self.status != KnStatus::Ok {
                return false;
            }
            for n in 0..self.len {
                let Copy { from, to, .. } = self.at(n).read();
                core::ptr::copy_nonoverlapping(from, to, scoped::size(heap, from));
                scoped::each_named(heap, from, &mut |slot| {
                    let child = slot.read();
                    if child.is_null() {
                        return;
                    }
                    let other: *mut *mut u8 = to.wrapping_add(slot.addr() - from.addr()).cast();
                    if !scoped::is_scoped(child) {
                        counted::add_ref(child);
                    } else if let Some(number) = scoped::forwarded(child) {
                        let own = (*self.at(number)).to;
                        other.write(counted::add_ref(own));
                    } else {
                        // A cell of a scope around: the copy's reference is one from outside.
                        KnArena::stored(other, child);
                    }
                });
            }
            self.made = true;
            true
        }
    }

    /// The copy of a cell, with one reference more; null if it has none.
    ///
    /// # Safety
    /// `cell` is an address in the arena.
    pub unsafe fn take(&self, cell: *mut u8) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if !self.made || !scoped::is_cell(cell) {
                return null_mut();
            }
            match scoped::forwarded(cell) {
                Some(number) if number < self.len => counted::add_ref((*self.at(number)).to),
                _ => null_mut(),
            }
        }
    }

    /// Puts the cells right again, and gives up the list and its references: copies that nobody took go.
    ///
    /// # Safety
    /// The arena is living.
    pub unsafe fn end(&mut self) {
        let heap = self.source.heap();
        // SAFETY: words as they were; copies that were not made whole are not seen by anybody.
        unsafe {
            for n in 0..self.len {
                let Copy { from, word, .. } = self.at(n).read();
                scoped::restore(from, word);
            }
            for n in 0..self.len {
                let to = (*self.at(n)).to;
                if to.is_null() {
                    continue;
                }
                if self.made {
                    counted::release(to);
                } else {
                    scoped::end_new(heap, to);
                }
            }
            self.source.give(self.list.cast());
            self.list = null_mut();
            self.len = 0;
            self.room = 0;
        }
    }
}

impl KnArena {
    /// A copy of a cell and of all in the arena that it leads to: `Ok` with the cell, whose reference is the
    /// caller's; `NoMemory`; `Unsupported` for a type with destroy or trace; `Foreign` if it is no cell of this
    /// arena. Then nothing has changed.
    ///
    /// # Safety
    /// `this` is null or an arena's memory, the 8 bytes before `root` can be read.
    pub unsafe fn promote(this: *mut Self, root: *mut u8) -> Result<*mut u8, KnStatus> {
        // SAFETY: the caller's word.
        unsafe {
            if !Self::is_alive(this) {
                return Err(Self::refuse(this, c"kn_arena_promote: no arena, or one that is no more"));
            }
            let inside = !root.is_null()
                && Self::contains(this, root)
                && scoped::is_cell(root)
                && scoped::forwarded(root).is_none();
            if !inside || (*scoped::segment(root).cast::<Segment>()).arena != this {
                return Err(KnStatus::Foreign);
            }
            let mut answer = Self::copy_out(this, root);
            if answer == Err(KnStatus::NoMemory) && scoped::collect((*this).source.heap()) {
                answer = Self::copy_out(this, root);
            }
            answer
        }
    }

    /// # Safety
    /// `root` is a cell of this arena.
    unsafe fn copy_out(this: *mut Self, root: *mut u8) -> Result<*mut u8, KnStatus> {
        let mut copies = Copies::new(
            // SAFETY: a living arena.
            unsafe { (*this).source },
        );
        // SAFETY: the caller's word.
        unsafe {
            let mut status = copies.add(this, root);
            let mut copy = null_mut();
            if status == KnStatus::Ok {
                copies.make();
                status = copies.status;
                copy = copies.take(root);
            }
            copies.end();
            if copy.is_null() {
                return Err(status);
            }
            Ok(copy)
        }
    }
}
