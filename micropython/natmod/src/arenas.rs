//! The part of knoll.h that is about arenas, for who wants it: feature `arena`, more than half of the code.

use crate::arena::{KnArena, KnArenaConfig, KnArenaStats, KN_RESET_KEEP};
use crate::heap::{KnHeap, KnStatus};
use core::ffi::c_void;

/// As in knoll.h; `config` is not NULL.
///
/// # Safety
/// As [`kn_heap_malloc`]; `config` is valid for a read.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_create(heap: *mut KnHeap, config: *const KnArenaConfig) -> *mut KnArena {
    // SAFETY: the caller's word.
    unsafe { KnArena::create(heap, &config.read()) }
}

/// As in knoll.h.
///
/// # Safety
/// `arena` is memory of a live heap, where an arena is or was.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_alloc(arena: *mut KnArena, size: usize) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { KnArena::alloc(arena, size).cast() }
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_arena_alloc`]; nothing in the arena is used afterwards.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_reset(arena: *mut KnArena) {
    // SAFETY: the caller's word.
    let _ = unsafe { KnArena::reset(arena, KN_RESET_KEEP, 0) };
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_arena_reset`].
#[no_mangle]
pub unsafe extern "C" fn kn_arena_destroy(arena: *mut KnArena) {
    // SAFETY: the caller's word.
    let _ = unsafe { KnArena::destroy(arena) };
}

/// As in knoll.h.
///
/// # Safety
/// As [`kn_arena_alloc`]; `out` is valid for a write.
#[no_mangle]
pub unsafe extern "C" fn kn_arena_stats(arena: *const KnArena, out: *mut KnArenaStats) -> KnStatus {
    // SAFETY: the caller's word.
    match unsafe { KnArena::stats_of(arena) } {
        Some(stats) => {
            // SAFETY: the caller's word.
            unsafe { out.write(stats) };
            KnStatus::Ok
        }
        None => KnStatus::Order,
    }
}
