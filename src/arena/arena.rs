//! The record of an arena, and the lists in which a heap's arenas are found.
//!
//! Guarantees
//! * The record lies in the arena's own first segment: what an arena costs goes with it.
//! * A pointer to an arena that is no more is told from a living one as long as its memory is the heap's.
//!
//! ```text
//!   KnHeap.scope --> innermost scope --outer--> scope --outer--> … --> null
//!   KnHeap.held  --> arena | resident block | named roots --> …    (linked both ways)
//!
//!   first segment:  | Segment | KnArena | in use ……… | free ……… |
//!                                                     ^ at       ^ end
//! ```
//! Over the process heap both list heads are the calling thread's.
//!
//! Cost: 208 bytes on 32-bit targets, 400 on 64-bit ones, the first segment's header included; what is not
//! needed is not written.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use super::config::KnArenaConfig;
use super::end::KnCleanup;
use super::keep::{KnTentative, KnWeakSlot};
use super::segment::Segment;
use crate::heap::KnHeap;
use crate::memory::Source;
use crate::port::Callback;

/// What the record of a living arena is sealed with, mixed with its address. (A pattern that an instruction of
/// Thumb-2 can hold.)
const SEAL: usize = 0x5A5A_5A5A;

/// It is one of the heap's scopes; else it stands free.
pub(super) const SCOPE: u32 = 1;
/// It is being left: it serves no allocation.
pub(super) const LEAVING: u32 = 2;
/// Its soft budget was passed.
pub(super) const TOLD: u32 = 4;
/// Its first segment is part of its parent's memory.
pub(super) const CARVED: u32 = 8;
/// More references from outside went than were counted.
pub(super) const UNSURE: u32 = 16;
/// A cell in it has a destroy callback.
#[cfg(feature = "counted")]
pub(super) const HOOKS: u32 = 32;
/// A node of another arena's, or of named roots, lies in it.
pub(super) const NODES: u32 = 128;
/// Its books are open.
pub(super) const BOOKED: u32 = 256;
/// It took a segment while a scope inside had the rest of its newest one. From then on scopes inside lie in that
/// hole, or it would be left behind each time; what the arena's own newest segment has free is kept from them:
/// `end` hides it.
pub(super) const HOLED: u32 = 512;
/// All of it is ending, not what came after a mark.
pub(super) const WHOLE: u32 = 64;

/// What is held for a heap in a list: the kinds.
pub(crate) const HELD_ARENA: usize = 1;
pub(crate) const HELD_BLOCK: usize = 2;
pub(crate) const HELD_ROOTS: usize = 3;

/// A link of the list of what is held.
#[repr(C)]
pub(crate) struct Held {
    pub next: *mut Held,
    pub previous: *mut Held,
    /// One of the kinds.
    pub kind: usize,
}

/// What an arena has only if something other than memory is asked of it; all zero is a good start.
#[repr(C)]
pub(super) struct Books {
    /// The newest cell that refers to others or has a destroy.
    pub cells: *mut u8,
    /// While it is left: the next cell whose destroy is to be called.
    pub hooks: *mut u8,
    pub cleanups: *mut KnCleanup,
    pub tentative: *mut KnTentative,
    pub weak: *mut KnWeakSlot,
    pub escapes: usize,
    pub refused: usize,
    pub refused_by: *const c_char,
    /// The number of the newest mark, the first that is valid, and those that a rewind made invalid.
    pub tick: usize,
    pub first_tick: usize,
    pub stale: (usize, usize),
    pub callback: Callback,
    /// Copies of what escaped, while the program is told of it.
    pub copies: *mut u8,
    pub copied: usize,
    /// Memory of an older segment that scopes inside had, and the next one can have; null: none.
    pub hole: *mut u8,
    pub hole_end: *mut u8,
}

/// A scope or a free-standing arena.
#[repr(C, align(8))]
pub struct KnArena {
    /// The next free byte, and what is behind the last one: `KnArenaTop` in the C header.
    pub(super) at: *mut u8,
    pub(super) end: *mut u8,
    seal: usize,
    pub(super) state: u32,
    pub(super) flags: u32,
    /// The segment that `at` is in.
    pub(super) segment: *mut Segment,
    /// The heap block that was taken last, as its lowest segment; null: none.
    pub(super) block: *mut Segment,
    /// Allocations below it are not resized in place: a mark was made since.
    pub(super) floor: *mut u8,
    /// The highest that `at` has been in its segment, if it has been higher.
    pub(super) high: *mut u8,
    /// The scope around this one.
    pub(super) outer: *mut KnArena,
    pub(super) source: Source,
    /// Bytes in use in the segments before this one.
    pub(super) before: usize,
    /// The most bytes in use when another segment was the newest.
    pub(super) peak: usize,
    /// Bytes that it and the scopes in it can use, as counted against budgets.
    pub(super) held: usize,
    pub(super) blocks: usize,
    /// The largest alignment above 8 that was asked for: what it wastes depends on where the memory lies.
    pub(super) slack: usize,
    pub(super) config: KnArenaConfig,
    /// Written when first needed: see [`KnArena::books`].
    books: Books,
    /// Of a free-standing arena: segments that a reset kept, null: none; its link in the list of what is held.
    pub(super) spare: *mut Segment,
    pub(super) link: Held,
}

impl KnArena {
    /// Writes the record of a new arena, field by field: what is not needed yet costs nothing.
    ///
    /// # Safety
    /// `this` is writable, `config` valid for a read.
    #[inline(always)]
    pub(super) unsafe fn found(this: *mut Self, source: Source, config: *const KnArenaConfig, state: u32) {
        // SAFETY: the caller's word.
        unsafe {
            core::ptr::copy_nonoverlapping(config, &raw mut (*this).config, 1);
            (*this).flags = (*config).flags;
            (*this).seal = this.addr() ^ SEAL;
            (*this).state = state;
            (*this).floor = null_mut();
            (*this).high = null_mut();
            (*this).outer = null_mut();
            (&raw mut (*this).source).write(source);
            (*this).before = 0;
            (*this).peak = 0;
            (*this).slack = 0;
            if state & SCOPE == 0 {
                (*this).spare = null_mut();
                (&raw mut (*this).link).write(Held { next: null_mut(), previous: null_mut(), kind: HELD_ARENA });
            }
        }
    }

    /// What goes beyond memory.
    ///
    /// # Safety
    /// `this` is a living arena.
    #[inline(always)]
    pub(super) unsafe fn books(this: *const Self) -> *mut Books {
        // SAFETY: the caller's word; all zero is a good start.
        unsafe {
            let this = this.cast_mut();
            if (*this).state & BOOKED == 0 {
                Self::open_books(this);
            }
            &raw mut (*this).books
        }
    }

    /// # Safety
    /// As [`KnArena::books`].
    #[cold]
    #[inline(never)]
    unsafe fn open_books(this: *mut Self) {
        // SAFETY: as there.
        unsafe {
            (&raw mut (*this).books).write_bytes(0, 1);
            (*this).state |= BOOKED;
        }
    }

    /// Whether a pointer is a living arena.
    ///
    /// # Safety
    /// It is null, or memory that can be read.
    #[inline(always)]
    pub(super) unsafe fn is_alive(this: *const Self) -> bool {
        // SAFETY: the caller's word.
        !this.is_null() && this.addr() % align_of::<Self>() == 0 && unsafe { (*this).seal } == this.addr() ^ SEAL
    }

    /// Takes the seal away: the arena is no more, and has no room.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn unseal(this: *mut Self) {
        // SAFETY: the caller's word.
        unsafe {
            (*this).seal = 0;
            (*this).at = null_mut();
            (*this).end = null_mut();
        }
    }

    /// # Safety
    /// `this` is a living arena.
    #[inline(always)]
    pub(super) unsafe fn has(this: *const Self, state: u32) -> bool {
        // SAFETY: the caller's word.
        unsafe { (*this).state & state != 0 }
    }

    /// The name, for reports.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(crate) unsafe fn name(this: *const Self) -> *const c_char {
        // SAFETY: the caller's word.
        let name = unsafe { (*this).config.name };
        if name.is_null() {
            c"?".as_ptr()
        } else {
            name
        }
    }
}

/// The innermost scope of a heap.
///
/// # Safety
/// The source's heap is live and this thread's.
#[inline(always)]
pub(super) unsafe fn innermost(source: Source) -> *mut KnArena {
    #[cfg(unix)]
    if source.heap().is_null() {
        return crate::port::scope().cast();
    }
    // SAFETY: the caller's word.
    unsafe { (*source.heap()).scope.cast() }
}

/// Notes the innermost scope of a heap.
///
/// # Safety
/// As [`innermost`].
#[inline(always)]
pub(super) unsafe fn set_innermost(source: Source, scope: *mut KnArena) {
    #[cfg(unix)]
    if source.heap().is_null() {
        return crate::port::set_scope(scope.cast());
    }
    // SAFETY: the caller's word.
    unsafe { (*source.heap()).scope = scope.cast() };
}

/// The first of what is held for a heap.
///
/// # Safety
/// As [`innermost`].
pub(crate) unsafe fn held(source: Source) -> *mut Held {
    #[cfg(unix)]
    if source.heap().is_null() {
        return crate::port::held().cast();
    }
    // SAFETY: the caller's word.
    unsafe { (*source.heap()).held.cast() }
}

/// # Safety
/// As [`innermost`].
unsafe fn set_held(source: Source, first: *mut Held) {
    let first: *mut c_void = first.cast();
    #[cfg(unix)]
    if source.heap().is_null() {
        return crate::port::set_held(first);
    }
    // SAFETY: the caller's word.
    unsafe { (*source.heap()).held = first };
}

/// Puts a link into the list of what is held for a heap.
///
/// # Safety
/// As [`innermost`]; `link` is in no list, its kind set.
pub(crate) unsafe fn hold(source: Source, link: *mut Held) {
    // SAFETY: the caller's word; the list's links are alive.
    unsafe {
        let first = held(source);
        (*link).next = first;
        (*link).previous = null_mut();
        if !first.is_null() {
            (*first).previous = link;
        }
        set_held(source, link);
    }
}

/// Takes a link out of the list.
///
/// # Safety
/// `link` is in the list of this source.
pub(crate) unsafe fn let_go(source: Source, link: *mut Held) {
    // SAFETY: the caller's word.
    unsafe {
        let Held { next, previous, .. } = link.read();
        if previous.is_null() {
            set_held(source, next);
        } else {
            (*previous).next = next;
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
    }
}

/// Calls `visit` with each link of a kind.
///
/// # Safety
/// As [`innermost`]; `visit` may take out the link that it is given, no other.
pub(crate) unsafe fn each_held(source: Source, kind: usize, mut visit: impl FnMut(*mut Held)) {
    // SAFETY: the list's links are alive.
    unsafe {
        let mut link = held(source);
        while !link.is_null() {
            let next = (*link).next;
            if (*link).kind == kind {
                visit(link);
            }
            link = next;
        }
    }
}

/// The free-standing arena of a link of that kind.
pub(super) fn arena_of(link: *mut Held) -> *mut KnArena {
    link.wrapping_byte_sub(core::mem::offset_of!(KnArena, link)).cast()
}

/// Calls `visit` with each living arena of a heap: scopes from the innermost on, then the free-standing
/// ones.
///
/// # Safety
/// As [`innermost`].
pub(super) unsafe fn each(source: Source, mut visit: impl FnMut(*mut KnArena)) {
    // SAFETY: the lists hold living arenas.
    unsafe {
        let mut scope = innermost(source);
        while !scope.is_null() {
            let outer = (*scope).outer;
            visit(scope);
            scope = outer;
        }
        each_held(source, HELD_ARENA, |link| visit(arena_of(link)));
    }
}

/// What others are told of an arena.
pub(crate) struct ArenaInfo {
    pub name: *const c_char,
    /// 1: the outermost scope; 0: it stands free.
    pub depth: usize,
    pub arena: *mut KnArena,
}

/// The arena that a cell lies in; None: it lies in none.
///
/// # Safety
/// `cell` is a living cell.
#[cfg(feature = "counted")]
pub(crate) unsafe fn info_of(cell: *mut u8) -> Option<ArenaInfo> {
    use crate::counted::scoped;
    // SAFETY: the way from a cell leads to its segment.
    unsafe {
        if !scoped::is_scoped(cell) || scoped::forwarded(cell).is_some() {
            return None;
        }
        let arena = (*scoped::segment(cell).cast::<Segment>()).arena;
        KnArena::is_alive(arena).then(|| ArenaInfo { name: KnArena::name(arena), depth: KnArena::depth(arena), arena })
    }
}

/// Calls `visit` with each arena of a heap.
///
/// # Safety
/// `heap` is live and this thread's.
pub(crate) unsafe fn each_arena(heap: *mut KnHeap, visit: &mut dyn FnMut(&ArenaInfo)) {
    // SAFETY: the caller's word.
    unsafe {
        each(Source::of(heap), |arena| {
            visit(&ArenaInfo { name: KnArena::name(arena), depth: KnArena::depth(arena), arena });
        });
    }
}
