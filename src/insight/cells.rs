//! Counted cells for people: the collector's numbers, who holds a cell, which cycles are garbage.
//!
//! Guarantees
//! * No count, root or reference is changed, no cell freed, no `destroy` called. Trace callbacks are.
//! * Only the search for garbage cycles needs memory, and says so when there is none.
//!
//! ```text
//!   [GC] total memory: 8192              Foo.parent at 0x20001a08 (count 2)
//!   [GC] occupied memory: 5120           Row[12] at 0x20002210 (count 1)
//!   …                                    references from elsewhere: 1
//!
//!   3 Foo and 1 Bar, closed by Foo.parent
//! ```
//! A field is named by the type's `ref_names`, without them by its offset: `Foo+8`; an element behind the
//! fields by its index; what only the trace callback knows is `Foo (traced)`.

use super::order::{largest, Descending};
use super::text::{name, number, Write};
use crate::counted::{self, Counted, KnGcStats, Piece, KN_IMMORTAL};
use crate::heap::KnStatus;

/// Writes each number of a state on a line of its own.
pub(crate) fn statistics(stats: &KnGcStats, write: Write<'_>) {
    let lines: [(&[u8], usize); 13] = [
        (b"total memory", stats.total),
        (b"occupied memory", stats.occupied),
        (b"free memory", stats.free),
        (b"collector's buffers", stats.buffers),
        (b"cells", stats.cells),
        (b"pending", stats.pending),
        (b"roots", stats.roots),
        (b"threshold", stats.threshold),
        (b"collections", stats.collections),
        (b"steps", stats.steps),
        (b"visited", stats.visited),
        (b"freed", stats.freed),
        (b"longest step", stats.longest),
    ];
    for (name, value) in lines {
        if !(write(b"[GC] ") && write(name) && write(b": ") && number(value, 10, write) && write(b"\n")) {
            return;
        }
    }
}

/// The state whose cells may refer to a cell; `state` for those that belong to none.
///
/// # Safety
/// `object` is a cell.
unsafe fn state_of(state: *mut Counted, object: *const u8) -> *mut Counted {
    // SAFETY: the caller's word.
    unsafe {
        #[cfg(feature = "arena")]
        if counted::scoped::is_scoped(object) {
            return state;
        }
        let owner = counted::owner(object);
        if owner.is_null() {
            state
        } else {
            owner
        }
    }
}

/// Writes a line for each reference that a cell of the same state holds to `object`, then how many there are
/// besides: `Ok`, or `Foreign` when `object` is no living cell.
///
/// # Safety
/// `object` is a cell of this thread or a shared one; `state` the calling thread's, or null: no cell but
/// shared ones. `write` does not change cells.
pub(crate) unsafe fn who_holds(state: *mut Counted, object: *const u8, write: Write<'_>) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        let count = counted::count(object);
        if count == 0 {
            return KnStatus::Foreign;
        }
        let state = state_of(state, object);
        let mut found = 0usize;
        let mut going = true;
        if !state.is_null() {
            Counted::every_cell(state, &mut |holder| {
                Counted::each_reference_of(state, holder, &mut |slot, child| {
                    if child.cast_const() == object {
                        found += 1;
                        going = going && holder_line(state, holder, slot, write);
                    }
                });
                going
            });
        }
        if going {
            going = write(b"references from elsewhere: ");
        }
        if going {
            let _ = match count {
                KN_IMMORTAL => write(b"not counted"),
                count => number((count as usize).saturating_sub(found), 10, write),
            } && write(b"\n");
        }
    }
    KnStatus::Ok
}

/// # Safety
/// `holder` is a cell of `state`, `slot` the number of one of its slots.
unsafe fn holder_line(state: *mut Counted, holder: *mut u8, slot: usize, write: Write<'_>) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        let going = slot_name(state, holder, slot, write) && write(b" at 0x") && number(holder.addr(), 16, write);
        going
            && match counted::count(holder) {
                KN_IMMORTAL => write(b" (immortal)\n"),
                count => write(b" (count ") && number(count as usize, 10, write) && write(b")\n"),
            }
    }
}

/// `Foo.parent`, `Foo+8`, `Foo[12]` or `Foo (traced)`.
///
/// # Safety
/// `holder` is a cell of `state`, `slot` the number of one of its slots.
#[inline(never)]
pub(super) unsafe fn slot_name(state: *mut Counted, holder: *mut u8, slot: usize, write: Write<'_>) -> bool {
    // SAFETY: the caller's word; registered descriptors are sound and stay.
    unsafe {
        let record = Counted::record_of(state, holder);
        let descriptor = (*record).descriptor;
        let fields = (*descriptor).ref_count as usize;
        if !name((*descriptor).name, write) {
            return false;
        }
        if slot >= counted::slots(record, holder) {
            return write(b" (traced)");
        }
        if slot >= fields {
            return write(b"[") && number(slot - fields, 10, write) && write(b"]");
        }
        if (*descriptor).ref_names.is_null() {
            return write(b"+") && number((*descriptor).ref_offsets.add(slot).read() as usize, 10, write);
        }
        write(b".") && name((*descriptor).ref_names.add(slot).read(), write)
    }
}

/// Writes a line for each piece of garbage with a cycle in it: `Ok`; `NoMemory` when there is none to find
/// out; `Corrupt` when the records contradict each other.
///
/// # Safety
/// `state` is the calling thread's. `write` does not change cells.
pub(crate) unsafe fn report_cycles(state: *mut Counted, write: Write<'_>) -> KnStatus {
    // SAFETY: the caller's word.
    unsafe {
        if Counted::check(state) != KnStatus::Ok {
            return KnStatus::Corrupt;
        }
        Counted::each_garbage_cycle(state, &mut |piece| piece_line(state, piece, write))
    }
}

/// `3 Foo and 1 Bar, closed by Foo.parent`.
///
/// # Safety
/// `piece` is one of `state`.
unsafe fn piece_line(state: *mut Counted, piece: &Piece, write: Write<'_>) -> bool {
    let mut left = piece.kinds().count();
    let mut told = Descending::default();
    // SAFETY: the caller's word.
    unsafe {
        while let Some((id, cells)) = largest(piece.kinds(), |id, cells| told.told(id, cells)) {
            told.tell(id, cells);
            left -= 1;
            let between: &[u8] = match left {
                0 => b"",
                1 => b" and ",
                _ => b", ",
            };
            let going = number(cells, 10, write)
                && write(b" ")
                && name((*Counted::descriptor(state, id)).name, write)
                && write(between);
            if !going {
                return false;
            }
        }
        write(b", closed by ") && slot_name(state, piece.closer, piece.slot, write) && write(b"\n")
    }
}
