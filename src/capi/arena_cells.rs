//! Counted cells in arenas: made there, kept from there, copied out.
//!
//! GC_ref and GC_unref do nothing to such a cell, GC_refcount answers as for an immortal one. It may refer to
//! cells outside: those references count, and are released when the arena ends. References to it from outside
//! belong into slots that GC_assign writes, so that leaving knows of them.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

use crate::arena::{KnArena, KnTentative};
use crate::counted::KnTypeId;
use crate::heap::KnStatus;

/// Makes a cell of a type in an arena: zeroed, aligned to 8.
///
/// Returns NULL iff kn_arena_alloc would, or the type is none, shared or resident (the error hook is told).
/// Cost: O(size); 8 bytes, and 8 more if the type has references or callbacks. Ownership: the arena's. Threads:
/// exclusive.
///
/// # Safety
/// `arena` is NULL or an arena's memory.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn GC_newIn(arena: *mut KnArena, id: KnTypeId) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::new_plain(arena, id).cast() }
}

/// Makes a cell as GC_newIn does, with a payload of `bytes` bytes, or of the type's size if that is more.
///
/// Returns, ownership, threads: as GC_newIn. Cost: 16 bytes more on 64-bit targets, 8 on 32-bit ones.
///
/// # Safety
/// As GC_newIn.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn GC_newSizedIn(arena: *mut KnArena, id: KnTypeId, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::new_cell(arena, id, bytes, core::ptr::null()).cast() }
}

/// Makes a cell as GC_newSizedIn does, and notes the place in the program that made it, for reports of escapes:
/// see GC_newInHere.
///
/// Returns, ownership, threads: as GC_newIn. Cost: as GC_newSizedIn.
///
/// # Safety
/// As GC_newIn; `site` is NULL or a text that lives for ever.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn GC_newInAt(
    arena: *mut KnArena,
    id: KnTypeId,
    bytes: usize,
    site: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::new_cell(arena, id, bytes, site).cast() }
}

/// Makes an ordinary cell outside that goes when the arena ends, unless kn_arena_keep keeps it.
///
/// Returns the cell, whose count of 1 is the arena's; NULL iff GC_new would, or the arena is none or ending, or
/// the node lies in an arena that may end before (the error hook is told).
/// Cost: as GC_new, and O(arenas). Ownership: the node stays yours and where it is until the cell was kept or the
/// arena has ended. Threads: exclusive.
///
/// # Safety
/// As GC_newIn; `node` is NULL or writable.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn GC_newTentative(arena: *mut KnArena, id: KnTypeId, node: *mut KnTentative) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::new_tentative(arena, id, node).cast() }
}

/// Keeps a tentative object: the arena's reference is the caller's now, nothing is copied.
///
/// Returns the cell; NULL iff there is none, it was kept, or it has gone with its arena.
/// Cost: O(1). Ownership: the reference is the caller's. Threads: exclusive.
///
/// # Safety
/// `node` is NULL, all zero, or was given to GC_newTentative.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_keep(node: *mut KnTentative) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::keep(node).cast() }
}

/// Copies a cell out of an arena, with all in the arena that it leads to; what is shared or circular there is so
/// in the copy. References that lead outside lead to the same cells.
///
/// Returns KN_OK with the copy in `*out`: an ordinary cell with a count of 1. KN_E_NO_MEMORY; KN_E_UNSUPPORTED iff a
/// cell is of a type with destroy or trace, of which only its own code could make a copy; KN_E_FOREIGN iff `root`
/// is no cell of this arena; KN_E_ORDER for what is no arena; KN_E_INVALID for a NULL `out`. Then nothing has changed.
/// Cost: O(cells + references); three words of the heap a cell during the call. Ownership: the count is the
/// caller's. Threads: exclusive. Source: forwarding as in Cheney 1970.
///
/// # Safety
/// As GC_newIn; `root` is NULL or a cell, `out` NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_promote(arena: *mut KnArena, root: *mut c_void, out: *mut *mut c_void) -> KnStatus {
    if out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        out.write(null_mut());
        match KnArena::promote(arena, root.cast()) {
            Ok(copy) => {
                out.write(copy.cast());
                KnStatus::Ok
            }
            Err(status) => status,
        }
    }
}
