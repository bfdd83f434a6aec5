//! Whose a block is: what is known of it beside its place and size.
//!
//! Guarantees
//! * Reads only, and decides nothing by what a block contains: it is somebody's because their lists say so.
//! * Who is not known is `raw`: the program's own blocks, shared cells, and on an operating system what
//!   other threads count in the process heap.
//!
//! ```text
//!   block --> of a scope or an arena?   scope, arena      with its name
//!         --> always active?            resident          with its name
//!         --> of counted memory?        page, cell        with types
//!                                       collector         its own records
//!         --> else                      raw
//! ```
//! Cost: O(arenas' blocks + resident blocks + pages or cells with blocks of their own).

use core::ffi::c_char;
use core::ptr::null;

#[cfg(feature = "arena")]
use crate::arena::{self, KnArena};
#[cfg(feature = "counted")]
use crate::counted::{Counted, Found};
use crate::heap::KnHeap;
#[cfg(feature = "arena")]
use crate::memory::Source;

/// What is known of a block.
pub(super) struct Owner {
    /// One of the words above.
    pub kind: *const c_char,
    /// The name of a scope, an arena, or a resident block.
    pub name: *const c_char,
    /// The type of a cell.
    pub type_name: *const c_char,
    /// Where it was allocated.
    pub site: *const c_char,
    /// What it is to counted memory.
    #[cfg(feature = "counted")]
    pub found: Found,
}

impl Owner {
    const RAW: Owner = Owner {
        kind: c"raw".as_ptr(),
        name: null(),
        type_name: null(),
        site: null(),
        #[cfg(feature = "counted")]
        found: Found::Nothing,
    };

    /// Whose the used block of `bytes` bytes is whose payload starts at `start`.
    ///
    /// # Safety
    /// `heap` is live and this thread's, or the process heap; the block is one of its used ones.
    #[inline(never)]
    pub unsafe fn of(heap: *mut KnHeap, start: *const u8, bytes: usize) -> Owner {
        let mut owner = Owner::RAW;
        // SAFETY: the caller's word.
        unsafe {
            if !owner.arena(heap, start, bytes) && !owner.resident(heap, start, bytes) {
                owner.counted(heap, start);
            }
        }
        owner
    }

    /// Asks scopes and arenas; whether it is one's.
    ///
    /// # Safety
    /// As [`Owner::of`].
    #[cfg(feature = "arena")]
    unsafe fn arena(&mut self, heap: *mut KnHeap, start: *const u8, bytes: usize) -> bool {
        let mut found = false;
        // SAFETY: the caller's word; living arenas.
        unsafe {
            arena::each_arena(heap, &mut |info| {
                KnArena::each_block(info.arena, &mut |block, _| {
                    if block.addr().wrapping_sub(start.addr()) < bytes {
                        found = true;
                        self.kind = if info.depth == 0 { c"arena" } else { c"scope" }.as_ptr();
                        self.name = info.name;
                    }
                });
            });
        }
        found
    }

    #[cfg(not(feature = "arena"))]
    unsafe fn arena(&mut self, _heap: *mut KnHeap, _start: *const u8, _bytes: usize) -> bool {
        false
    }

    /// Asks the resident blocks; whether it is one.
    ///
    /// # Safety
    /// As [`Owner::of`].
    #[cfg(feature = "arena")]
    unsafe fn resident(&mut self, heap: *mut KnHeap, start: *const u8, bytes: usize) -> bool {
        let mut found = false;
        // SAFETY: the caller's word.
        unsafe {
            arena::always::each_block(Source::of(heap), &mut |payload, _, name| {
                if payload.addr().wrapping_sub(start.addr()) < bytes {
                    found = true;
                    self.kind = c"resident".as_ptr();
                    self.name = name;
                }
            });
        }
        found
    }

    #[cfg(not(feature = "arena"))]
    unsafe fn resident(&mut self, _heap: *mut KnHeap, _start: *const u8, _bytes: usize) -> bool {
        false
    }

    /// Asks counted memory.
    ///
    /// # Safety
    /// As [`Owner::of`].
    #[cfg(feature = "counted")]
    unsafe fn counted(&mut self, heap: *mut KnHeap, start: *const u8) {
        // SAFETY: the caller's word; registered descriptors stay.
        unsafe {
            let state = Counted::known(heap);
            self.found = Counted::find(state, start);
            match self.found {
                Found::Nothing => {}
                Found::Page(_) => self.kind = c"page".as_ptr(),
                Found::Own => self.kind = c"collector".as_ptr(),
                Found::Cell(cell) => {
                    self.kind = c"cell".as_ptr();
                    self.type_name = (*(*Counted::record_of(state, cell)).descriptor).name;
                }
            }
        }
    }

    #[cfg(not(feature = "counted"))]
    unsafe fn counted(&mut self, _heap: *mut KnHeap, _start: *const u8) {}

    /// Of a page: the type with the number `n` among those of its cells, and how many it has there.
    ///
    /// # Safety
    /// As [`Owner::of`], and nothing has changed since.
    #[cfg(feature = "counted")]
    pub unsafe fn cells(&self, heap: *mut KnHeap, n: usize) -> Option<(*const c_char, usize)> {
        let Found::Page(page) = self.found else { return None };
        // SAFETY: the caller's word; registered descriptors stay.
        unsafe {
            let (id, cells) = Counted::type_in(page, n)?;
            Some(((*Counted::descriptor(Counted::known(heap), id)).name, cells))
        }
    }

    #[cfg(not(feature = "counted"))]
    pub unsafe fn cells(&self, _heap: *mut KnHeap, _n: usize) -> Option<(*const c_char, usize)> {
        None
    }
}
