//! What stays connected with an arena from outside: tentative objects, weak slots, named roots.
//!
//! Guarantees
//! * A tentative object is an ordinary cell that goes when its arena ends, unless the program keeps it: then
//!   nothing moves and nothing is copied.
//! * A weak slot refers into an arena without being an escape, and is null as soon as what it refers to has
//!   gone. One that lies in the memory of an arena that ends is forgotten.
//! * Named roots are looked at when an arena's escapes are.
//!
//! ```text
//!   arena.tentative --> node --> node        node.cell --> an ordinary cell, with one reference
//!   arena.weak      --> slot --> slot        slot.target --> in the arena
//!   KnHeap.held     --> … roots …            start, bytes: words that may refer into arenas
//! ```
//! All nodes are the program's memory. Cost: O(1) to put in and take out.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use super::arena::{each, each_held, hold, let_go, Held, HELD_ROOTS, LEAVING, NODES};
use super::config::KnLeaveReport;
use super::end::Tail;
use super::KnArena;
use crate::heap::{KnHeap, KnStatus};
use crate::memory::Source;

/// A cell that goes with an arena unless it is kept. The fields but `cell` are the library's.
#[repr(C)]
pub struct KnTentative {
    /// The library's.
    pub next: *mut KnTentative,
    /// The library's.
    pub previous: *mut KnTentative,
    /// The cell; NULL: none, or it was kept or has gone.
    pub cell: *mut c_void,
    /// The library's: its arena, and the number of the mark before.
    pub arena: *mut KnArena,
    /// The library's.
    pub order: usize,
}

/// A reference into an arena that becomes NULL when its target goes. All zero before its first use.
#[repr(C)]
pub struct KnWeakSlot {
    /// The library's.
    pub next: *mut KnWeakSlot,
    /// The library's.
    pub previous: *mut KnWeakSlot,
    /// What it refers to, or NULL.
    pub target: *mut c_void,
    /// The library's.
    pub arena: *mut KnArena,
}

/// Words that may refer to cells: global variables of a module, a table.
#[repr(C)]
pub struct KnRootRange {
    /// The library's.
    pub next: *mut KnRootRange,
    /// The library's.
    pub previous: *mut KnRootRange,
    /// The library's.
    pub kind: usize,
    /// The first word, aligned as a pointer.
    pub start: *mut c_void,
    /// Bytes.
    pub bytes: usize,
    /// For reports; NULL: "?".
    pub name: *const c_char,
}

impl KnArena {
    /// Makes a weak slot refer to something in an arena, or to nothing.
    ///
    /// # Safety
    /// `slot` is all zero or was used here before; it stays where it is while it refers to something.
    pub unsafe fn set_weak(slot: *mut KnWeakSlot, this: *mut Self, target: *mut u8) -> KnStatus {
        // SAFETY: the caller's word.
        unsafe {
            let bad = !target.is_null() && !this.is_null() && !Self::contains(this, target);
            if slot.is_null() || bad {
                return KnStatus::Invalid;
            }
            if !target.is_null() && !this.is_null() && Self::has(this, LEAVING) {
                return Self::refuse(this, c"kn_weak_set: an arena that is ending");
            }
            Self::unlink_weak(slot);
            if this.is_null() || target.is_null() {
                return KnStatus::Ok;
            }
            let books = Self::books(this);
            slot.write(KnWeakSlot { next: (*books).weak, previous: null_mut(), target: target.cast(), arena: this });
            if !(*books).weak.is_null() {
                (*(*books).weak).previous = slot;
            }
            (*books).weak = slot;
            note_node((*this).source, slot.addr());
            KnStatus::Ok
        }
    }

    /// Takes a slot out of its arena's list and makes it null.
    ///
    /// # Safety
    /// As [`KnArena::set_weak`].
    unsafe fn unlink_weak(slot: *mut KnWeakSlot) {
        // SAFETY: slots of a living arena are linked.
        unsafe {
            let KnWeakSlot { next, previous, target, arena } = slot.read();
            if target.is_null() {
                return;
            }
            if previous.is_null() {
                (*Self::books(arena)).weak = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*slot).target = null_mut();
        }
    }

    /// Makes the weak slots null that refer to what ends.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn clear_weak(this: *mut Self, tail: Tail, report: &mut KnLeaveReport) {
        // SAFETY: slots are where they were set.
        unsafe {
            let mut slot = (*Self::books(this)).weak;
            while !slot.is_null() {
                let next = (*slot).next;
                if tail.whole || tail.spans(this, (*slot).target.addr()) {
                    Self::unlink_weak(slot);
                    report.weak += 1;
                }
                slot = next;
            }
        }
    }

    /// Whether a node lies in an arena that may end before this one: a scope inside it, or a free-standing one.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn ends_before(this: *const Self, node: usize) -> bool {
        let mut before = false;
        // SAFETY: the lists hold living arenas.
        unsafe {
            if Self::spans(this, null_mut(), null_mut(), node) {
                // In a scope that lies in its memory?
                each((*this).source, |other| {
                    before |= (*other).outer.cast_const() == this && Self::spans(other, null_mut(), null_mut(), node);
                });
                return before;
            }
            each((*this).source, |other| {
                let mut around = (*this).outer;
                while !around.is_null() && around != other {
                    around = (*around).outer;
                }
                before |= around.is_null() && Self::spans(other, null_mut(), null_mut(), node);
            });
        }
        before
    }

    /// Forgets the weak slots, tentative nodes and named roots that lie in memory that ends.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(super) unsafe fn forget_nodes(this: *mut Self, tail: Tail) {
        // SAFETY: the lists' nodes are where they were put.
        unsafe {
            let source = (*this).source;
            each(source, |other| {
                let mut slot = (*Self::books(other)).weak;
                while !slot.is_null() {
                    let next = (*slot).next;
                    if other != this && tail.spans(this, slot.addr()) {
                        Self::unlink_weak(slot);
                    }
                    slot = next;
                }
            });
            each_held(source, HELD_ROOTS, |link| {
                if tail.spans(this, link.addr()) {
                    let_go(source, link);
                }
            });
        }
    }
}

/// Notes that a node lies in arenas, if it does: it is forgotten when they end.
///
/// # Safety
/// The source's heap is live and this thread's.
unsafe fn note_node(source: Source, node: usize) {
    // SAFETY: the caller's word.
    unsafe {
        each(source, |arena| {
            if KnArena::spans(arena, null_mut(), null_mut(), node) {
                (*arena).state |= NODES;
            }
        });
    }
}

/// Names words that may refer into arenas; `Invalid` for a bad range.
///
/// # Safety
/// `heap` is a live heap of this thread; the node and its range stay until they are taken out.
pub(crate) unsafe fn add_roots(heap: *mut KnHeap, range: *mut KnRootRange) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        if range.is_null() || (*range).start.is_null() || (*range).start.addr() % align_of::<usize>() != 0 {
            return KnStatus::Invalid;
        }
        if has_roots(heap, range) {
            return KnStatus::Order;
        }
        (*range).kind = HELD_ROOTS;
        hold(Source::of(heap), range.cast::<Held>());
        note_node(Source::of(heap), range.addr());
        KnStatus::Ok
    }
}

/// Takes named words out; `Invalid` if they are not named.
///
/// # Safety
/// As [`add_roots`].
pub(crate) unsafe fn remove_roots(heap: *mut KnHeap, range: *mut KnRootRange) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        if !has_roots(heap, range) {
            return KnStatus::Invalid;
        }
        let_go(Source::of(heap), range.cast::<Held>());
        KnStatus::Ok
    }
}

/// # Safety
/// As [`add_roots`].
unsafe fn has_roots(heap: *mut KnHeap, range: *mut KnRootRange) -> bool {
    let mut found = false;
    // SAFETY: the caller's word.
    unsafe { each_held(Source::of(heap), HELD_ROOTS, |link| found |= link.cast() == range) };
    found
}

#[cfg(feature = "counted")]
impl KnArena {
    /// A cell outside, with one reference that is the arena's until it is kept; null without memory.
    ///
    /// # Safety
    /// `this` is null or an arena's memory; `node` is writable and stays while it has a cell.
    pub unsafe fn new_tentative(this: *mut Self, id: u32, node: *mut KnTentative) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe {
            if node.is_null() || !Self::is_alive(this) || Self::has(this, LEAVING) {
                Self::refuse(this, c"GC_newTentative: no arena, or one that is ending");
                return null_mut();
            }
            if Self::ends_before(this, node.addr()) {
                crate::port::report(KnStatus::Invalid, node.cast(), c"GC_newTentative: the node may end before");
                return null_mut();
            }
            let cell = crate::counted::scoped::new_outside((*this).source.heap(), id);
            if cell.is_null() {
                return cell;
            }
            let books = Self::books(this);
            let order = (*books).tick;
            node.write(KnTentative {
                next: (*books).tentative,
                previous: null_mut(),
                cell: cell.cast(),
                arena: this,
                order,
            });
            if !(*books).tentative.is_null() {
                (*(*books).tentative).previous = node;
            }
            (*books).tentative = node;
            cell
        }
    }

    /// Makes a tentative object's reference the caller's; null when there is none.
    ///
    /// # Safety
    /// `node` is null, all zero, or was given to [`KnArena::new_tentative`].
    pub unsafe fn keep(node: *mut KnTentative) -> *mut u8 {
        // SAFETY: nodes of a living arena are linked.
        unsafe {
            if node.is_null() || (*node).cell.is_null() {
                return null_mut();
            }
            let KnTentative { next, previous, cell, arena, .. } = node.read();
            if previous.is_null() {
                (*Self::books(arena)).tentative = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            (*node).cell = null_mut();
            cell.cast()
        }
    }

    /// Releases the tentative objects of a tail.
    ///
    /// # Safety
    /// As [`KnArena::end_tail`].
    pub(super) unsafe fn drop_tentative(this: *mut Self, tail: Tail, report: &mut KnLeaveReport) {
        // SAFETY: the list's nodes are where they were put.
        unsafe {
            let books = Self::books(this);
            while !(*books).tentative.is_null() && (tail.whole || (*(*books).tentative).order >= tail.tick) {
                let cell = Self::keep((*books).tentative);
                report.dropped += 1;
                crate::port::Callback::run(&raw mut (*books).callback, || crate::counted::release(cell));
            }
        }
    }
}
