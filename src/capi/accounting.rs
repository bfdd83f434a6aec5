//! Accounting: the numbers of counted memory, and reports for people: instances by type, garbage cycles, who
//! holds an object.
//!
//! These functions read only: no count, root or reference changes, no cell is freed, and no destroy callback
//! is called. Trace callbacks are, where references are looked for; in these calls they must only call
//! GC_visit. What is given to `write` is whole text in small pieces; it must not make, change or free cells.

use core::ffi::{c_char, c_void};

use super::insight::KnWriteFn;
use crate::counted::{Counted, KnGcStats};
use crate::heap::KnStatus;
use crate::insight;
use crate::port;

/// The calling thread's state; null: it has counted nothing yet.
fn state() -> *mut Counted {
    port::counted().cast()
}

/// Its numbers; without a state all 0.
fn stats() -> KnGcStats {
    let state = state();
    if state.is_null() {
        return KnGcStats::default();
    }
    // SAFETY: the calling thread's state.
    unsafe { Counted::stats(state) }
}

/// Bytes of the calling thread's counted memory: pages, and cells with blocks of their own.
///
/// Returns GC_getOccupiedMem() + GC_getFreeMem() at any time; 0 iff the thread has counted nothing yet. The
/// collector's own buffers and shared cells are no part of it.
/// Cost: O(types). Ownership: none. Threads: each its own, over its default heap.
/// Source: Nim's getTotalMem.
#[no_mangle]
pub extern "C" fn GC_getTotalMem() -> usize {
    stats().total
}

/// Bytes that cells take, with their headers, from their making to their freeing.
///
/// Returns 0 iff there is no cell.
/// Cost: O(types). Ownership: none. Threads: as GC_getTotalMem.
/// Source: Nim's getOccupiedMem.
#[no_mangle]
pub extern "C" fn GC_getOccupiedMem() -> usize {
    stats().occupied
}

/// Bytes of counted memory in which no cell lies: room in pages, and the pages' records.
///
/// Returns 0 iff there is no page.
/// Cost: O(types). Ownership: none. Threads: as GC_getTotalMem.
/// Source: Nim's getFreeMem.
#[no_mangle]
pub extern "C" fn GC_getFreeMem() -> usize {
    stats().free
}

/// Writes all numbers of the calling thread's counted memory to `out`.
///
/// Returns KN_OK; KN_E_INVALID iff `out` is NULL. All are 0 if the thread has counted nothing yet.
/// Cost: O(types). Ownership: none. Threads: as GC_getTotalMem.
///
/// # Safety
/// `out` is NULL or valid for a write.
#[no_mangle]
pub unsafe extern "C" fn GC_stats(out: *mut KnGcStats) -> KnStatus {
    if out.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe { out.write(stats()) };
    KnStatus::Ok
}

/// Writes the numbers of GC_stats as text to `buf`, cut off to `len` bytes, the last of them NUL: lines
/// `[GC] name: value`, sizes in bytes.
///
/// Returns the length of the whole text without the NUL, as snprintf does: less than `len` iff all of it was
/// written.
/// Cost: O(types). Ownership: none. Threads: as GC_getTotalMem.
/// Source: Nim's GC_getStatistics.
///
/// # Safety
/// `buf` is valid for writes of `len` bytes, or NULL and `len` 0.
#[no_mangle]
pub unsafe extern "C" fn GC_getStatistics(buf: *mut c_char, len: usize) -> usize {
    let room = if buf.is_null() { 0 } else { len };
    let mut length = 0usize;
    insight::statistics(&stats(), &mut |text| {
        let taken = text.len().min(room.saturating_sub(length));
        // SAFETY: `length + taken <= room`, unless nothing is taken.
        unsafe { buf.wrapping_add(length.min(room)).cast::<u8>().copy_from(text.as_ptr(), taken) };
        length += text.len();
        true
    });
    if room > 0 {
        // SAFETY: below `room`.
        unsafe { buf.wrapping_add(length.min(room - 1)).write(0) };
    }
    length
}

/// Verifies the calling thread's counted memory: pages, roots, what waits, and that no cell has a count
/// smaller than the number of references to it that cells hold.
///
/// Returns KN_OK; KN_E_CORRUPT iff something is contradictory. Reports nothing to the error hook. In a
/// destroy or trace callback counts are left out.
/// Cost: O(cells and references), twice. Ownership: none. Threads: as GC_getTotalMem.
#[no_mangle]
#[must_use]
pub extern "C" fn GC_check() -> KnStatus {
    let state = state();
    if state.is_null() {
        return KnStatus::Ok;
    }
    // SAFETY: the calling thread's state.
    unsafe { Counted::check(state) }
}

/// Writes how many cells of each type there are, and their bytes: `[Heap] Name: #count; bytes: n` by bytes
/// descending, then the sums as `[Heap] total: #count; bytes: n`.
///
/// Returns KN_OK; KN_E_INVALID iff `write` is NULL. Stops early when `write` takes less than it is given. On an
/// operating system all threads' cells in the process heap are counted, those that ended threads left, shared
/// cells, and the heap that the calling thread uses; elsewhere the default heap. Threads that go on may
/// make the lines tell of different moments.
/// Cost: O(types with cells x types x threads). Ownership: none; allocates nothing; 5 KB of stack on an
/// operating system, 200 bytes elsewhere. Threads: any.
/// Source: Nim's dumpNumberOfInstances.
///
/// # Safety
/// `write` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn kn_dump_instances(write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    // SAFETY: the caller's word.
    insight::dump_instances(&mut |text| unsafe { write(context, text.as_ptr().cast(), text.len()) == text.len() });
    KnStatus::Ok
}

/// Writes who holds a cell: a line `Foo.parent at 0x… (count 2)` for each reference to it that a cell has,
/// with the address and the count of that cell, then `references from elsewhere: 1`: those of the
/// program's variables, of fields no type tells of, of other threads.
///
/// Returns KN_OK; KN_E_INVALID iff a pointer is NULL; KN_E_FOREIGN iff `object` is no living cell. Stops early
/// when `write` takes less than it is given. A field is named by `ref_names`, without them by its offset as
/// `Foo+8`; an element of the array as `Foo[12]`; what the trace callback knows as `Foo (traced)`. For a
/// shared cell the calling thread's cells are looked at.
/// Cost: O(cells and references) of the heap. Ownership: none; allocates nothing. Threads: the cell's.
///
/// # Safety
/// `object` is NULL or a cell; `write` may be called with `context`.
#[no_mangle]
pub unsafe extern "C" fn GC_whoHolds(object: *const c_void, write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    if object.is_null() {
        return KnStatus::Invalid;
    }
    // SAFETY: the caller's word.
    unsafe {
        insight::who_holds(state(), object.cast(), &mut |text| {
            write(context, text.as_ptr().cast(), text.len()) == text.len()
        })
    }
}

/// Writes a line for each garbage cycle: cells that only hold each other, with all that only they hold:
/// `3 Foo and 1 Bar, closed by Foo.parent`. The types come by count descending; the reference is one that
/// leads back to a cell it came from, seen from the cell that lost a reference last held from outside.
///
/// Returns KN_OK; KN_E_INVALID iff `write` is NULL; KN_E_NO_MEMORY iff there is no memory to find out;
/// KN_E_CORRUPT iff GC_check answers so. Nothing is freed: GC_runOrc does that. Also told are cycles that no
/// collection frees: cells made under KN_GC_ARC, and types declared acyclic that are not. Stops early when
/// `write` takes less than it is given. Fields are named as by GC_whoHolds.
/// Cost: nearly O(cells and references) of the heap; while it runs a block of 32 bytes a cell on 64-bit
/// targets, 27 on 32-bit ones. Ownership: none. Threads: as GC_getTotalMem.
///
/// # Safety
/// `write` may be called with `context`; it does not jump away.
#[no_mangle]
pub unsafe extern "C" fn GC_reportCycles(write: KnWriteFn, context: *mut c_void) -> KnStatus {
    let Some(write) = write else {
        return KnStatus::Invalid;
    };
    let state = state();
    if state.is_null() {
        return KnStatus::Ok;
    }
    // SAFETY: the caller's word, and the calling thread's state.
    unsafe { insight::report_cycles(state, &mut |text| write(context, text.as_ptr().cast(), text.len()) == text.len()) }
}
