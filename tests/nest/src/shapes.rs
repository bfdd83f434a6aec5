//! Configurations of scopes and arenas, each with a name that its reports must give.

use knoll::arena::{
    KN_ARENA_CHECK_LEAVE, KN_ARENA_CHECK_STORES, KN_ARENA_FIXED, KN_ARENA_POISON, KN_ARENA_SITES, KN_ARENA_ZERO,
    KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE, KN_ESCAPE_REFUSE,
};
use std::ffi::CStr;

/// One configuration. Budgets are fractions of the heap.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// For reports.
    pub name: &'static CStr,
    /// `KN_ARENA_…`.
    pub flags: u32,
    /// `KN_ESCAPE_…`.
    pub policy: u32,
    /// The budget is the heap's size divided by this; 0: none.
    pub budget: usize,
    /// The soft budget, likewise.
    pub soft: usize,
    /// The least growth in bytes; 0: the default.
    pub step: usize,
}

const PLAIN: Shape = Shape { name: c"plain", flags: 0, policy: KN_ESCAPE_NULL, budget: 0, soft: 0, step: 0 };

/// All of them; the likelier ones several times.
pub static SHAPES: [Shape; 16] = [
    PLAIN,
    PLAIN,
    Shape { name: c"plain two", ..PLAIN },
    Shape { name: c"poison", flags: KN_ARENA_POISON, ..PLAIN },
    Shape { name: c"zero", flags: KN_ARENA_ZERO, ..PLAIN },
    Shape { name: c"fixed", flags: KN_ARENA_FIXED, ..PLAIN },
    Shape { name: c"tight", budget: 24, ..PLAIN },
    Shape { name: c"budget", budget: 6, soft: 20, ..PLAIN },
    Shape { name: c"soft", soft: 30, step: 64, ..PLAIN },
    Shape { name: c"checked", flags: KN_ARENA_CHECK_LEAVE, ..PLAIN },
    Shape { name: c"checked poison", flags: KN_ARENA_CHECK_LEAVE | KN_ARENA_POISON, ..PLAIN },
    Shape { name: c"sites", flags: KN_ARENA_SITES, ..PLAIN },
    Shape { name: c"promote", policy: KN_ESCAPE_PROMOTE, ..PLAIN },
    Shape { name: c"promote checked", policy: KN_ESCAPE_PROMOTE, flags: KN_ARENA_CHECK_LEAVE, ..PLAIN },
    Shape { name: c"refuse", policy: KN_ESCAPE_REFUSE, ..PLAIN },
    Shape { name: c"big steps", step: 1500, flags: KN_ARENA_SITES | KN_ARENA_POISON, ..PLAIN },
];

/// Stores that escape are told to the error hook at once.
pub static LOUD: Shape = Shape { name: c"loud", flags: KN_ARENA_CHECK_STORES, ..PLAIN };
