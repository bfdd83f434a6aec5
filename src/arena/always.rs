//! Resident blocks: always-active raw memory, with a name.
//!
//! Guarantees
//! * A block is zeroed, aligned as any block of the heap, and comes from the heap's bottom end.
//! * All blocks of a heap can be found: for the scan that looks for references into a scope, for the check that
//!   always-active data refers to nothing else, and for the picture of what pins a heap.
//! * Only a block that is in the list is resized or given back. Any other pointer, one that was given back before
//!   included, is told to the error hook, and nothing has changed. Nothing is read at the pointer to find out.
//!
//! ```text
//!   KnHeap.held --> … <--> | Held | bytes | name | payload … | <--> …
//! ```
//! Over the process heap the list is the calling thread's: a block is given back by the thread that made it.
//!
//! Costs: 20 bytes a block on 32-bit targets, rounded up to 24; 40 on 64-bit ones, rounded up to 48. Making is the
//! heap's `malloc` and O(bytes); giving back and resizing are O(what is held for the heap).

use core::ffi::c_char;
use core::ptr::null_mut;

use super::arena::{each_held, hold, let_go, Held, HELD_BLOCK};
use crate::heap::{KnHeap, KnStatus};
use crate::memory::Source;
use crate::port;

/// What is before a block's payload.
#[repr(C, align(8))]
struct Always {
    link: Held,
    /// Bytes of the payload, as asked for.
    bytes: usize,
    /// For reports; null: "?".
    name: *const c_char,
}

/// Bytes before the payload, which stays aligned as the heap's blocks are.
const LEAD: usize = size_of::<Always>().next_multiple_of(if cfg!(target_pointer_width = "64") { 16 } else { 8 });

/// The payload of a block.
fn payload(block: *mut Always) -> *mut u8 {
    block.cast::<u8>().wrapping_add(LEAD)
}

/// A new block of zeros; null without memory.
///
/// # Safety
/// `heap` is a live heap of this thread; the name is null or lives as long as the block.
pub(crate) unsafe fn alloc(heap: *mut KnHeap, bytes: usize, name: *const c_char) -> *mut u8 {
    let Some(all) = bytes.checked_add(LEAD) else { return null_mut() };
    // SAFETY: the caller's word; the block holds what is written.
    unsafe {
        let source = Source::of(heap);
        let block = source.take(all).cast::<Always>();
        if block.is_null() {
            return null_mut();
        }
        let link = Held { next: null_mut(), previous: null_mut(), kind: HELD_BLOCK };
        block.write(Always { link, bytes, name });
        payload(block).write_bytes(0, bytes);
        hold(source, block.cast());
        payload(block)
    }
}

/// `count * size` zeroed bytes; null without memory or when that overflows.
///
/// # Safety
/// As [`alloc`].
pub(crate) unsafe fn calloc(heap: *mut KnHeap, count: usize, size: usize) -> *mut u8 {
    match count.checked_mul(size) {
        // SAFETY: the caller's word.
        Some(bytes) => unsafe { alloc(heap, bytes, core::ptr::null()) },
        None => null_mut(),
    }
}

/// The block made `bytes` long, what is new zeroed; null, when it is as it was. A null block is allocated.
///
/// # Safety
/// As [`free`], if the answer is not null.
pub(crate) unsafe fn realloc(heap: *mut KnHeap, at: *mut u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller's word; a block of the list is alive, and stays in no list while it may move.
    unsafe {
        if at.is_null() {
            return alloc(heap, bytes, core::ptr::null());
        }
        let source = Source::of(heap);
        let block = find(source, at);
        if block.is_null() {
            port::report(KnStatus::Foreign, at, c"kn_resident_realloc: no resident block of this heap");
            return null_mut();
        }
        let Some(all) = bytes.checked_add(LEAD) else { return null_mut() };
        let before = (*block).bytes;
        let_go(source, block.cast());
        let moved = source.resize(block.cast(), all).cast::<Always>();
        let block = if moved.is_null() { block } else { moved };
        hold(source, block.cast());
        if moved.is_null() {
            return null_mut();
        }
        (*block).bytes = bytes;
        if bytes > before {
            payload(block).wrapping_add(before).write_bytes(0, bytes - before);
        }
        payload(block)
    }
}

/// Gives a block back; null does nothing. `Foreign`, and the error hook is told, if it is none of this heap.
///
/// # Safety
/// `heap` is a live heap of this thread; nobody uses the block afterwards.
pub(crate) unsafe fn free(heap: *mut KnHeap, at: *mut u8) -> KnStatus {
    if at.is_null() {
        return KnStatus::Ok;
    }
    // SAFETY: the caller's word; a block of the list is alive.
    unsafe {
        let source = Source::of(heap);
        let block = find(source, at);
        if block.is_null() {
            port::report(KnStatus::Foreign, at, c"kn_resident_free: no resident block of this heap");
            return KnStatus::Foreign;
        }
        let_go(source, block.cast());
        source.give(block.cast());
        KnStatus::Ok
    }
}

/// The block with a payload at an address; null: none is.
///
/// # Safety
/// The source's heap is live and this thread's.
unsafe fn find(source: Source, at: *const u8) -> *mut Always {
    let mut found = null_mut();
    // SAFETY: the caller's word.
    unsafe {
        each_held(source, HELD_BLOCK, |link| {
            let block = link.cast::<Always>();
            if payload(block).cast_const() == at {
                found = block;
            }
        });
    }
    found
}

#[cfg(feature = "counted")]
impl super::KnArena {
    /// The heap, null for the process heap, whose always-active data must not refer into the arena.
    ///
    /// # Safety
    /// `this` is a living arena.
    pub(crate) unsafe fn heap(this: *const Self) -> *mut KnHeap {
        // SAFETY: the caller's word.
        unsafe { (*this).source.heap() }
    }
}

/// Calls `visit` with each block: payload, its bytes, name.
///
/// # Safety
/// As [`find`]; `visit` makes and frees no block.
pub(crate) unsafe fn each_block(source: Source, visit: &mut dyn FnMut(*mut u8, usize, *const c_char)) {
    // SAFETY: the caller's word; the list holds live blocks.
    unsafe {
        each_held(source, HELD_BLOCK, |link| {
            let block = link.cast::<Always>();
            visit(payload(block), (*block).bytes, (*block).name);
        });
    }
}
