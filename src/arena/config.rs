//! What a program says of an arena, and what it is told: the structures of the C contract.
//!
//! * All zero is a good configuration: it grows as it must, and a reference that escapes becomes NULL.
//! * Names are the program's, and live as long as the arena; a missing one reads "?".
//! * Sizes are bytes that the program can use; what the library adds for itself is not in them, but for
//!   budgets' smallest steps.

use core::ffi::{c_char, c_void};

use super::KnArena;
use crate::heap::KnStatus;

/// The arena never holds more than its presize.
pub const KN_ARENA_FIXED: u32 = 1;
/// What is given back is overwritten with zeros.
pub const KN_ARENA_ZERO: u32 = 2;
/// What is given back is overwritten with 0xDB.
pub const KN_ARENA_POISON: u32 = 4;
/// Leaving looks for addresses of the arena in resident blocks and in named roots too.
pub const KN_ARENA_CHECK_LEAVE: u32 = 8;
/// A reference that escapes is told to the error hook when it is stored.
pub const KN_ARENA_CHECK_STORES: u32 = 16;
/// Every cell keeps the place in the program that made it.
pub const KN_ARENA_SITES: u32 = 32;

pub(super) const FLAGS: u32 = 63;

/// A slot outside that refers to a cell of the arena becomes NULL when the arena is left.
pub const KN_ESCAPE_NULL: u32 = 0;
/// The slot gets a copy of what it refers to.
pub const KN_ESCAPE_PROMOTE: u32 = 1;
/// The error hook is told; if it returns the program is stopped by a trap instruction.
pub const KN_ESCAPE_TRAP: u32 = 2;
/// Leaving is refused, and nothing changes.
pub const KN_ESCAPE_REFUSE: u32 = 3;
/// Only told: a word of raw memory that holds an address of the arena may be a number.
pub const KN_ESCAPE_TELL: u32 = 4;

/// kn_arena_reset_to: all memory stays with the arena.
pub const KN_RESET_KEEP: u32 = 0;
/// Memory beyond the presize goes back to the heap.
pub const KN_RESET_FREE: u32 = 1;
/// At most `limit` bytes stay, not less than the presize.
pub const KN_RESET_LIMIT: u32 = 2;

/// Told once when an arena, with the scopes in it, holds more than its soft budget.
pub type KnSoftFn = Option<unsafe extern "C" fn(arena: *mut KnArena, held: usize, context: *mut c_void)>;

/// Told of each escape that is found.
pub type KnEscapeFn = Option<unsafe extern "C" fn(escape: *const KnEscape, context: *mut c_void)>;

/// How an arena is to be; all zero, or a NULL pointer to it, asks for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnArenaConfig {
    /// Shown in every report; lives as long as the arena. NULL: "?".
    pub name: *const c_char,
    /// Bytes taken from the heap at once, in one piece.
    pub presize: usize,
    /// The most bytes that the arena and the scopes in it may hold, rounded up to 8; 0: no limit.
    pub budget: usize,
    /// Bytes held at which `on_soft` is told; 0: never.
    pub soft: usize,
    /// The least bytes by which it grows; 0: the library chooses.
    pub step: usize,
    /// KN_ARENA_FIXED, KN_ARENA_ZERO, KN_ARENA_POISON, KN_ARENA_CHECK_LEAVE, KN_ARENA_CHECK_STORES,
    /// KN_ARENA_SITES.
    pub flags: u32,
    /// What becomes of references that escape: one of KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE,
    /// KN_ESCAPE_TRAP, KN_ESCAPE_REFUSE.
    pub policy: u32,
    /// Told once when `soft` is passed; NULL: nobody.
    pub on_soft: KnSoftFn,
    /// Told of each escape; NULL: nobody. It must not enter or leave arenas.
    pub on_escape: KnEscapeFn,
    /// Given to both.
    pub context: *mut c_void,
}

impl KnArenaConfig {
    /// All defaults.
    /// cbindgen:ignore
    pub const DEFAULT: KnArenaConfig = KnArenaConfig {
        name: core::ptr::null(),
        presize: 0,
        budget: 0,
        soft: 0,
        step: 0,
        flags: 0,
        policy: KN_ESCAPE_NULL,
        on_soft: None,
        on_escape: None,
        context: core::ptr::null_mut(),
    };
}

/// A reference from outside into an arena that ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnEscape {
    /// The arena's name.
    pub arena: *const c_char,
    /// The cell that holds the reference, or the start of the memory that does.
    pub holder: *const c_void,
    /// The holder's type, or the name of the root range or resident block.
    pub holder_type: *const c_char,
    /// Where the reference lies.
    pub slot: *const c_void,
    /// The same, in bytes from `holder`.
    pub offset: usize,
    /// The field's name, if the holder's type tells names; else NULL.
    pub field: *const c_char,
    /// What is referred to.
    pub target: *const c_void,
    /// Its type; "raw" for memory that is no cell.
    pub target_type: *const c_char,
    /// Bytes of its payload; 0 for memory that is no cell.
    pub target_size: usize,
    /// The place in the program that made it (KN_ARENA_SITES, GC_newInHere); NULL: not known.
    pub site: *const c_char,
    /// What was done: KN_ESCAPE_NULL, KN_ESCAPE_PROMOTE, KN_ESCAPE_TRAP, KN_ESCAPE_REFUSE, KN_ESCAPE_TELL.
    pub action: u32,
    /// It was certainly not stored by GC_assign: a word of raw memory, or none was counted.
    pub raw: bool,
}

impl KnEscape {
    /// No escape.
    /// cbindgen:ignore
    pub const NONE: KnEscape = KnEscape {
        arena: core::ptr::null(),
        holder: core::ptr::null(),
        holder_type: core::ptr::null(),
        slot: core::ptr::null(),
        offset: 0,
        field: core::ptr::null(),
        target: core::ptr::null(),
        target_type: core::ptr::null(),
        target_size: 0,
        site: core::ptr::null(),
        action: KN_ESCAPE_NULL,
        raw: false,
    };
}

/// What leaving an arena did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnLeaveReport {
    /// As the call answered.
    pub status: KnStatus,
    /// The arena's name; NULL when the pointer was none.
    pub name: *const c_char,
    /// The second party of an error: the inner scope that was open, the scope that is leaving. NULL: none.
    pub other: *const c_char,
    /// Inner scopes that were left first.
    pub children: usize,
    /// Cleanups that were run.
    pub cleanups: usize,
    /// Cells whose destroy was called.
    pub destroyed: usize,
    /// References to cells outside that were released.
    pub released: usize,
    /// Tentative objects that were released.
    pub dropped: usize,
    /// References from outside, as GC_assign counted them.
    pub counted: usize,
    /// Escapes that were found; those in slots that nobody named are only counted.
    pub escapes: usize,
    /// Slots that became NULL.
    pub nulled: usize,
    /// Slots that got a copy.
    pub promoted: usize,
    /// Weak slots that became NULL.
    pub weak: usize,
    /// Bytes in use at the end.
    pub used: usize,
    /// The most bytes in use at any time.
    pub peak: usize,
    /// Bytes held.
    pub held: usize,
    /// A presize with which the same work needs one block.
    pub suggested: usize,
    /// The first escape, if there is one.
    pub first: KnEscape,
}

impl KnLeaveReport {
    /// Nothing was done.
    #[must_use]
    pub const fn new() -> KnLeaveReport {
        KnLeaveReport {
            status: KnStatus::Ok,
            name: core::ptr::null(),
            other: core::ptr::null(),
            children: 0,
            cleanups: 0,
            destroyed: 0,
            released: 0,
            dropped: 0,
            counted: 0,
            escapes: 0,
            nulled: 0,
            promoted: 0,
            weak: 0,
            used: 0,
            peak: 0,
            held: 0,
            suggested: 0,
            first: KnEscape::NONE,
        }
    }
}

impl Default for KnLeaveReport {
    fn default() -> KnLeaveReport {
        KnLeaveReport::new()
    }
}

/// The numbers of an arena.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KnArenaStats {
    /// Its name.
    pub name: *const c_char,
    /// Bytes in use.
    pub used: usize,
    /// The most bytes in use so far, inner scopes in its memory included.
    pub peak: usize,
    /// Bytes held, with the scopes in it.
    pub held: usize,
    /// As configured.
    pub presize: usize,
    /// As configured; 0: none.
    pub budget: usize,
    /// A presize with which the same work needs one block.
    pub suggested: usize,
    /// Blocks of the heap that it holds.
    pub blocks: usize,
    /// References from outside, as GC_assign counted them.
    pub escapes: usize,
    /// Allocations that were refused for a budget.
    pub refused: usize,
    /// The name of the arena whose budget it was, the last time; NULL: none.
    pub refused_by: *const c_char,
    /// 1: the outermost scope; 0: a free-standing arena.
    pub depth: usize,
}
