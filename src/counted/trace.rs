//! A cell's references: by offsets, by the array behind them, by the type's trace callback.
//!
//! Guarantees
//! * Each slot is visited once. For types described by data alone no code of the program's runs.
//! * Arrays can be visited in parts, so one large cell needs not be one long step.
//!
//! ```text
//!   payload | a | ref | b | ref |  ref | ref | ref | … |
//!               ^ offsets  ^     ^ KN_TYPE_ARRAY: from `size` to the end
//! ```
//! Cost: O(slots).

use core::ffi::c_void;

use super::cell::HEADER;
use super::pages::bytes_of;
use super::state::Counted;
use super::types::{Record, ARRAY, DENSE};

/// A slot of a cell.
pub(crate) type Slot = *mut *mut u8;

/// What GC_visit is to do with a slot; made by the library for the time of one trace callback.
pub struct KnTracer {
    visit: unsafe fn(context: *mut c_void, slot: Slot),
    context: *mut c_void,
}

/// Passes a slot to a tracer: what a trace callback does with each.
///
/// # Safety
/// `tracer` is what the callback was given, `slot` lies in the cell or in memory that it owns.
pub unsafe fn visit(tracer: *mut KnTracer, slot: *mut *mut u8) {
    // SAFETY: the caller's word.
    unsafe {
        if !tracer.is_null() && !slot.is_null() {
            ((*tracer).visit)((*tracer).context, slot);
        }
    }
}

/// How many slots the type's data names in a cell.
///
/// # Safety
/// `record` is that of the cell's type.
#[inline(always)]
pub(crate) unsafe fn slots(record: *const Record, object: *const u8) -> usize {
    // SAFETY: the caller's word.
    unsafe {
        let fixed = (*record).references as usize;
        if !(*record).has(ARRAY) {
            return fixed;
        }
        #[cfg(feature = "arena")]
        if super::scoped::is_scoped(object) {
            let payload = super::scoped::payload(record, object.cast_mut());
            return fixed + (payload - Record::size(record)) / size_of::<usize>();
        }
        fixed + (bytes_of(object) - HEADER - Record::size(record)) / size_of::<usize>()
    }
}

/// Slot `n` of those.
///
/// # Safety
/// As [`slots`], and `n` is below it.
#[inline(always)]
pub(crate) unsafe fn slot(record: *const Record, object: *mut u8, n: usize) -> Slot {
    // SAFETY: the caller's word; registration verified the offsets.
    unsafe {
        let fixed = (*record).references as usize;
        let offset = if n < fixed {
            (*record).offsets.wrapping_add(n).read() as usize
        } else {
            Record::size(record) + (n - fixed) * size_of::<usize>()
        };
        object.wrapping_add(offset).cast()
    }
}

/// Whether the type has a trace callback.
///
/// # Safety
/// `record` is a type's.
#[inline(always)]
pub(crate) unsafe fn is_traced(record: *const Record) -> bool {
    // SAFETY: descriptors live as long as the heap.
    unsafe { (*(*record).descriptor).trace.is_some() }
}

/// Runs the type's trace callback with `visit` for each slot.
///
/// # Safety
/// `object` is a cell of the type. The callback may call the library, and may jump away: the caller holds
/// nothing that would be lost.
pub(crate) unsafe fn by_callback<F: FnMut(Slot)>(record: *const Record, object: *mut u8, visit: &mut F) {
    unsafe fn call<F: FnMut(Slot)>(context: *mut c_void, slot: Slot) {
        // SAFETY: the context is the closure below, which lives during the callback.
        unsafe { (*context.cast::<F>())(slot) }
    }
    // SAFETY: the caller's word.
    unsafe {
        if let Some(trace) = (*(*record).descriptor).trace {
            let mut tracer = KnTracer { visit: call::<F>, context: (&raw mut *visit).cast() };
            trace(object.cast(), &mut tracer);
        }
    }
}

/// Calls `visit` with each slot that the type's data names.
///
/// # Safety
/// As [`slots`].
#[inline(always)]
pub(crate) unsafe fn each_named(record: *const Record, object: *mut u8, mut visit: impl FnMut(Slot)) {
    // SAFETY: the caller's word; registration verified the offsets.
    unsafe {
        if (*record).has(DENSE) {
            let mut slot: Slot = object.wrapping_add((*record).first as usize).cast();
            let end = slot.wrapping_add((*record).references as usize);
            while slot != end {
                visit(slot);
                slot = slot.wrapping_add(1);
            }
        } else {
            let mut offset = (*record).offsets;
            let end = offset.wrapping_add((*record).references as usize);
            while offset != end {
                visit(object.wrapping_add(offset.read() as usize).cast());
                offset = offset.wrapping_add(1);
            }
        }
        if (*record).has(ARRAY) {
            for n in (*record).references as usize..slots(record, object) {
                visit(slot(record, object, n));
            }
        }
    }
}

impl Counted {
    /// Calls `visit` with every slot of a cell.
    ///
    /// # Safety
    /// As [`by_callback`]; `visit` does not free the cell.
    #[inline(always)]
    pub(super) unsafe fn each_slot(this: *mut Self, object: *mut u8, mut visit: impl FnMut(Slot)) {
        // SAFETY: the caller's word.
        unsafe {
            let record = Self::record_of(this, object);
            each_named(record, object, &mut visit);
            if (*this).traced_types && is_traced(record) {
                Self::call(this, || by_callback(record, object, &mut visit));
            }
        }
    }
}
