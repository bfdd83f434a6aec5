//! The types of cells that a run makes, inside and outside.
//!
//! | kind | references | destroy | promotable |
//! | --- | --- | --- | --- |
//! | leaf | none | no | yes |
//! | pair, wide | at both ends, far apart | no | yes |
//! | vector | an array behind a fixed part | no | yes |
//! | node | three, with names | yes | no |
//! | handle | none | yes | no |
//! | traced | one that the trace callback reports | no | no |
//!
//! In each payload lies a stamp, 8 bytes that name the cell.

use knoll::counted::{KnTracer, KnType, KN_TYPE_ARRAY};
use std::ffi::{c_char, c_void, CStr};
use std::ptr;

/// Bytes of a reference.
pub const WORD: u32 = size_of::<*mut u8>() as u32;

/// A type as the model knows it.
pub struct Kind {
    /// For reports.
    pub name: &'static CStr,
    /// Bytes, without an array.
    pub size: u32,
    /// Where the stamp lies.
    pub stamp: u32,
    /// Where the named references lie.
    pub refs: &'static [u32],
    /// Their names, or none.
    pub names: &'static [&'static CStr],
    /// Whether the trace callback reports a reference behind the stamp.
    pub traced: bool,
    /// Whether an array of references follows.
    pub array: bool,
    /// Whether it has a destroy callback.
    pub seen: bool,
}

impl Kind {
    const PLAIN: Kind =
        Kind { name: c"leaf", size: 8, stamp: 0, refs: &[], names: &[], traced: false, array: false, seen: false };

    /// Fields of a cell with `length` array elements.
    pub fn fields(&self, length: usize) -> usize {
        self.refs.len() + usize::from(self.traced) + length
    }

    /// Where a field lies.
    pub fn offset(&self, field: usize) -> usize {
        match self.refs.get(field) {
            Some(offset) => *offset as usize,
            None if self.traced => 8,
            None => self.size as usize + (field - self.refs.len()) * WORD as usize,
        }
    }

    /// Bytes of a payload with `length` array elements.
    pub fn bytes(&self, length: usize) -> usize {
        self.size as usize + length * WORD as usize
    }

    /// Whether a cell of it can be copied out of an arena.
    pub fn promotable(&self) -> bool {
        !self.seen && !self.traced
    }
}

/// The number of kinds.
pub const COUNT: usize = 7;

/// All kinds.
pub static KINDS: [Kind; COUNT] = [
    Kind { ..Kind::PLAIN },
    Kind { name: c"pair", size: 2 * WORD + 8, stamp: 2 * WORD, refs: &[0, WORD], ..Kind::PLAIN },
    Kind {
        name: c"node",
        size: 8 + 3 * WORD,
        refs: &[8, 8 + WORD, 8 + 2 * WORD],
        names: &[c"left", c"right", c"owner"],
        seen: true,
        ..Kind::PLAIN
    },
    Kind { name: c"wide", size: 200, stamp: 96, refs: &[192, 0], ..Kind::PLAIN },
    Kind { name: c"vector", array: true, ..Kind::PLAIN },
    Kind { name: c"handle", size: 16, seen: true, ..Kind::PLAIN },
    Kind { name: c"traced", size: 16, traced: true, ..Kind::PLAIN },
];

/// The kinds as descriptors, which stay where they are.
pub struct Descriptors {
    types: *mut [KnType; COUNT],
    names: Vec<Vec<*const c_char>>,
}

impl Descriptors {
    /// Descriptors with this destroy callback.
    pub fn new(destroy: unsafe extern "C" fn(*mut c_void)) -> Descriptors {
        let names: Vec<Vec<*const c_char>> =
            KINDS.iter().map(|kind| kind.names.iter().map(|name| name.as_ptr()).collect()).collect();
        let types = Box::new(std::array::from_fn(|index| {
            let kind: &Kind = &KINDS[index];
            KnType {
                name: kind.name.as_ptr(),
                size: kind.size,
                flags: if kind.array { KN_TYPE_ARRAY } else { 0 },
                ref_count: kind.refs.len() as u32,
                ref_offsets: kind.refs.as_ptr(),
                destroy: kind.seen.then_some(destroy),
                trace: kind.traced.then_some(trace),
                ref_names: if kind.names.is_empty() { ptr::null() } else { names[index].as_ptr() },
                ..KnType::PLAIN
            }
        }));
        Descriptors { types: Box::into_raw(types), names }
    }

    /// The descriptor of a kind.
    pub fn of(&self, kind: usize) -> *const KnType {
        assert!(kind < COUNT && self.names.len() == COUNT);
        // SAFETY: inside the array.
        unsafe { self.types.cast::<KnType>().add(kind) }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`; whoever registered them has gone.
        drop(unsafe { Box::from_raw(self.types) });
    }
}

unsafe extern "C" fn trace(cell: *mut c_void, tracer: *mut KnTracer) {
    // SAFETY: the callback of `traced`, whose slot lies behind its stamp.
    unsafe { knoll::counted::visit(tracer, cell.cast::<u8>().add(8).cast()) };
}
