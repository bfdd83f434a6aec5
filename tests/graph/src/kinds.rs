//! The types of cells that a run makes: every way in which a type can describe its references.
//!
//! | kind | references | cyclic |
//! | --- | --- | --- |
//! | leaf | none | no: nothing to refer to |
//! | pair, node, wide | named offsets: first, last, far away | yes |
//! | vector | an array behind a fixed part | yes |
//! | variant | one named; one that the trace callback reports while a tag says so | yes |
//! | box | one, but declared acyclic | no: the program's word |
//! | holder, carrier, table | only to leaves, to holders, an array of leaves | no: inferred |
//! | list | only to its own type | yes: inferred |
//! | foo, bar | only to each other | yes: inferred |
//! | shared | only to its own type, counted atomically | no |
//!
//! In each payload lies a stamp, 8 bytes that name the cell; it lies before, between or behind the
//! references.

use crate::collector::{KnType, KN_TYPE_ACYCLIC, KN_TYPE_ARRAY, KN_TYPE_SHARED};
use crate::hooks::Callbacks;
use std::ffi::CStr;
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
    /// What each named reference may refer to; empty: anything.
    pub only: &'static [Option<usize>],
    /// Where the tag of a variant slot lies; the slot is 8 bytes on.
    pub variant: Option<u32>,
    /// Whether an array of references follows.
    pub array: bool,
    /// What its elements may refer to.
    pub array_only: Option<usize>,
    /// `KN_TYPE_…`.
    pub flags: u32,
    /// Whether the collector must find that no cycle passes.
    pub acyclic: bool,
}

impl Kind {
    const PLAIN: Kind = Kind {
        name: c"leaf",
        size: 8,
        stamp: 0,
        refs: &[],
        only: &[],
        variant: None,
        array: false,
        array_only: None,
        flags: 0,
        acyclic: false,
    };

    /// Fields of a cell with `length` array elements.
    pub fn fields(&self, length: usize) -> usize {
        self.refs.len() + usize::from(self.variant.is_some()) + length
    }

    /// Where a field lies. Named references come first, then the variant slot, then the array.
    pub fn offset(&self, field: usize) -> u32 {
        match (self.refs.get(field), self.variant) {
            (Some(offset), _) => *offset,
            (None, Some(tag)) if field == self.refs.len() => tag + 8,
            _ => self.size + (field - self.fields(0)) as u32 * WORD,
        }
    }

    /// The number of the variant slot among the fields.
    pub fn variant_field(&self) -> Option<usize> {
        self.variant.map(|_| self.refs.len())
    }

    /// Whether a field may refer to a cell of the kind `child`.
    pub fn accepts(&self, field: usize, child: usize) -> bool {
        let only = match field < self.refs.len() {
            true => self.only.get(field).copied().flatten(),
            false if self.variant_field() == Some(field) => None,
            false => self.array_only,
        };
        only.is_none_or(|only| only == child)
    }

    /// Bytes of a payload with `length` array elements.
    pub fn bytes(&self, length: usize) -> usize {
        self.size as usize + length * WORD as usize
    }
}

/// The number of kinds.
pub const COUNT: usize = 14;
const LEAF: usize = 0;
const HOLDER: usize = 7;
const LIST: usize = 10;
const FOO: usize = 11;
const BAR: usize = 12;
/// The kind that is counted atomically.
pub const SHARED: usize = 13;
/// The kinds without a trace callback.
pub const UNTRACED: u32 = ((1 << COUNT) - 1) & !(1 << 5);

/// All kinds.
pub static KINDS: [Kind; COUNT] = [
    Kind { name: c"leaf", acyclic: true, ..Kind::PLAIN },
    Kind { name: c"pair", size: 2 * WORD + 8, stamp: 2 * WORD, refs: &[0, WORD], ..Kind::PLAIN },
    Kind { name: c"node", size: 8 + 3 * WORD, refs: &[8, 8 + WORD, 8 + 2 * WORD], ..Kind::PLAIN },
    Kind { name: c"wide", size: 200, stamp: 96, refs: &[192, 0], ..Kind::PLAIN },
    Kind { name: c"vector", array: true, flags: KN_TYPE_ARRAY, ..Kind::PLAIN },
    Kind { name: c"variant", size: 32, refs: &[24], variant: Some(8), ..Kind::PLAIN },
    Kind { name: c"box", size: 16, refs: &[8], flags: KN_TYPE_ACYCLIC, acyclic: true, ..Kind::PLAIN },
    Kind {
        name: c"holder",
        size: 2 * WORD + 8,
        stamp: 2 * WORD,
        refs: &[WORD, 0],
        only: &[Some(LEAF), Some(LEAF)],
        acyclic: true,
        ..Kind::PLAIN
    },
    Kind { name: c"carrier", size: 16, refs: &[8], only: &[Some(HOLDER)], acyclic: true, ..Kind::PLAIN },
    Kind { name: c"table", array: true, array_only: Some(LEAF), flags: KN_TYPE_ARRAY, acyclic: true, ..Kind::PLAIN },
    Kind { name: c"list", size: 8 + 2 * WORD, refs: &[8 + WORD, 8], only: &[Some(LIST), Some(LEAF)], ..Kind::PLAIN },
    Kind { name: c"foo", size: 16, refs: &[8], only: &[Some(BAR)], ..Kind::PLAIN },
    Kind {
        name: c"bar",
        size: 2 * WORD + 8,
        stamp: WORD,
        refs: &[0, WORD + 8],
        only: &[Some(FOO), Some(FOO)],
        ..Kind::PLAIN
    },
    Kind {
        name: c"shared",
        size: 16,
        refs: &[8],
        only: &[Some(SHARED)],
        flags: KN_TYPE_SHARED,
        acyclic: true,
        ..Kind::PLAIN
    },
];

/// The kinds as descriptors, which refer to each other and so stay where they are.
pub struct Descriptors {
    types: *mut [KnType; COUNT],
    /// The types of each kind's fields.
    fields: Vec<Vec<*const KnType>>,
}

impl Descriptors {
    /// Descriptors whose callbacks are those given; kinds in the mask `mute` have no destroy callback.
    pub fn new(callbacks: &Callbacks, mute: u32) -> Descriptors {
        let blank = [const { KnType::PLAIN }; COUNT];
        let types = Box::into_raw(Box::new(blank));
        // SAFETY: inside the array just made.
        let at = |kind: usize| unsafe { types.cast::<KnType>().add(kind).cast_const() };
        let of = |only: Option<usize>| only.map_or(ptr::null(), at);
        let fields: Vec<Vec<*const KnType>> =
            KINDS.iter().map(|kind| kind.only.iter().map(|only| of(*only)).collect()).collect();
        for (index, kind) in KINDS.iter().enumerate() {
            let descriptor = KnType {
                name: kind.name.as_ptr(),
                size: kind.size,
                flags: kind.flags,
                ref_count: kind.refs.len() as u32,
                ref_offsets: kind.refs.as_ptr(),
                destroy: (mute >> index & 1 == 0).then_some(callbacks.destroy),
                trace: kind.variant.map(|_| callbacks.trace),
                ref_types: if fields[index].is_empty() { ptr::null() } else { fields[index].as_ptr() },
                array_type: of(kind.array_only),
                ..KnType::PLAIN
            };
            // SAFETY: inside the array just made.
            unsafe { types.cast::<KnType>().add(index).write(descriptor) };
        }
        Descriptors { types, fields }
    }

    /// The descriptor of a kind.
    pub fn of(&self, kind: usize) -> *const KnType {
        assert!(kind < COUNT && self.fields.len() == COUNT);
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
