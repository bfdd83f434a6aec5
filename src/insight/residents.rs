//! Whether always-active data refers to nothing but itself, and if not, how: by names.
//!
//! Guarantees
//! * Every reference of a resident cell is looked at, however it came there, and every word of a resident block:
//!   a reference to a living cell that is not resident, immortal or shared is found, one into a scope or arena, and
//!   a cell's to what is no living cell.
//! * Each is told in a line of its own. What is before its comma is names only, the same in every run:
//! ```text
//!   Storage.cache -> Cache[3] -> Entry.owner -> Session: not resident, at 0x20004410
//!   Storage.cache -> Cache[3] -> Entry.key -> Key: in scope "sign_tx", at 0x2001f3e8, allocated at sign.c:40
//!   block "settings"+16 -> Session: not resident, at 0x20004410
//! ```
//! * A line begins with a resident cell that no other resident one holds; see chains.rs.
//! * Reads only, needs no memory, runs no code of the program's but trace callbacks, which must only call GC_visit.
//!
//! ```text
//!   residents.rs   the check; blocks, word by word
//!   chains.rs      cells, slot by slot; the chain that leads to a slot
//! ```
//! Costs: O(resident cells and their references), for blocks O(words) and for each word that could be the address of
//! a cell O(pages). For each cell of a chain that is told O(cells) more. 700 bytes of stack on 32-bit targets.

use core::ffi::c_char;

use super::text::{name, number, Write};
use crate::arena::{always, each_arena, KnArena};
#[cfg(feature = "counted")]
use crate::counted::{Counted, Reference};
use crate::heap::{KnHeap, KnStatus};
use crate::memory::Source;

/// Verifies a heap's always-active data: `Ok`; `Resident` when some of it refers to other data. With `write` each
/// such reference is told, without it the first one ends the search.
///
/// # Safety
/// `heap` is a live heap of this thread; `write` does not change cells.
pub(crate) unsafe fn check_residents(heap: *mut KnHeap, write: Option<Write<'_>>) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        let mut check = Check {
            heap,
            #[cfg(feature = "counted")]
            state: Counted::existing(Source::of(heap).heap()),
            write,
            sound: true,
        };
        #[cfg(feature = "counted")]
        let going = check.cells();
        #[cfg(not(feature = "counted"))]
        let going = true;
        if going {
            check.blocks();
        }
        if check.sound {
            KnStatus::Ok
        } else {
            KnStatus::Resident
        }
    }
}

/// A check under way.
pub(super) struct Check<'a> {
    heap: *mut KnHeap,
    /// Null: nothing was ever counted.
    #[cfg(feature = "counted")]
    pub(super) state: *mut Counted,
    pub(super) write: Option<Write<'a>>,
    pub(super) sound: bool,
}

impl Check<'_> {
    /// Text; false when the reader wants no more, or there is none.
    pub(super) fn text(&mut self, text: &[u8]) -> bool {
        self.write.as_mut().is_some_and(|write| write(text))
    }

    pub(super) fn number(&mut self, value: usize, base: usize) -> bool {
        self.write.as_mut().is_some_and(|write| number(value, base, *write))
    }

    /// A name that the program gave.
    ///
    /// # Safety
    /// As [`name`].
    pub(super) unsafe fn name(&mut self, text: *const c_char) -> bool {
        // SAFETY: the caller's word.
        self.write.as_mut().is_some_and(|write| unsafe { name(text, *write) })
    }

    /// `, at 0x20004410`.
    pub(super) fn at(&mut self, address: usize) -> bool {
        self.text(b", at 0x") && self.number(address, 16)
    }

    /// `: in scope "sign_tx", at 0x2001f3e8`.
    ///
    /// # Safety
    /// The check's heap is live and this thread's; so for all that follow.
    pub(super) unsafe fn in_arena(&mut self, address: usize) -> bool {
        // SAFETY: the caller's word. Names are the program's, and live as long as the arenas.
        unsafe {
            let Some((name, depth)) = arena_at(self.heap, address) else { return self.at(address) };
            let kind: &[u8] = if depth == 0 { b": in arena \"" } else { b": in scope \"" };
            self.text(kind) && self.name(name) && self.text(b"\"") && self.at(address)
        }
    }

    /// Looks at all words of resident blocks.
    ///
    /// # Safety
    /// As [`Check::in_arena`].
    unsafe fn blocks(&mut self) {
        // SAFETY: the caller's word. Blocks are zeroed when they are made.
        unsafe {
            #[cfg(feature = "counted")]
            let cells = if self.state.is_null() { 0..0 } else { Counted::extent(self.state) };
            let mut going = true;
            always::each_block(Source::of(self.heap), &mut |start, bytes, name| {
                for n in 0..bytes / size_of::<usize>() {
                    if !going {
                        return;
                    }
                    let value = start.cast::<usize>().wrapping_add(n).read();
                    let offset = n * size_of::<usize>();
                    #[cfg(feature = "counted")]
                    if cells.contains(&value) {
                        let cell = Counted::cell_at(self.state, value);
                        if !cell.is_null() && Counted::judge(cell) == Reference::Passing {
                            self.sound = false;
                            going = self.block(name, offset) && self.culprit(cell);
                            continue;
                        }
                    }
                    if arena_at(self.heap, value).is_some() {
                        self.sound = false;
                        going = self.block(name, offset)
                            && self.text(b"memory")
                            && self.in_arena(value)
                            && self.text(b"\n");
                    }
                }
            });
        }
    }

    /// `block "settings"+16 -> `.
    ///
    /// # Safety
    /// As [`Check::name`].
    unsafe fn block(&mut self, name: *const c_char, offset: usize) -> bool {
        // SAFETY: the caller's word.
        unsafe {
            self.text(b"block \"")
                && self.name(name)
                && self.text(b"\"+")
                && self.number(offset, 10)
                && self.text(b" -> ")
        }
    }
}

/// Name and depth of the innermost arena that an address lies in.
///
/// # Safety
/// `heap` is live and this thread's.
unsafe fn arena_at(heap: *mut KnHeap, address: usize) -> Option<(*const c_char, usize)> {
    let mut found = None;
    // SAFETY: the caller's word.
    unsafe {
        each_arena(heap, &mut |info| {
            if found.is_none() && KnArena::contains(info.arena, core::ptr::without_provenance(address)) {
                found = Some((info.name, info.depth));
            }
        });
    }
    found
}
