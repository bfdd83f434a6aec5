//! Scopes and arenas: memory that goes all at once, when the work ends that it was for.
//!
//! Guarantees
//! * What is allocated in a scope or arena has no header, and costs no call in the usual case.
//! * When a scope is left the heap's free map is that of entering it, but for what was allocated outside.
//! * Nothing outside is left referring inside: references that GC_assign stored are counted, those that are
//!   there at the end are found, told, and made NULL, or dealt with as the program said.
//! * Cleanups and destroy callbacks run on every way out, and can't prevent it.
//! * Budgets, wrong orders and want of memory are answers, and leave everything sound.
//!
//! ```text
//!   low                                                                     high
//!   | resident, counted, malloc …  ->      free      <- | scope 2 | scope 1 |
//!                                                         innermost
//!   | … | arena's segment | … | another | …               free-standing arenas: wherever the heap has room
//! ```
//! Parts
//! ```text
//!   config.rs    what the program says and is told
//!   arena.rs     the record, and the lists of a heap's arenas
//!   segment.rs   memory: taken, grown, given back; budgets
//!   back.rs      memory given back
//!   allocate.rs  allocating, resizing, text
//!   scope.rs     enter, leave, unwind
//!   standing.rs  create, reset, destroy
//!   mark.rs      marks and rewinding
//!   end.rs       what happens to what is in an arena that ends
//!   cells.rs     counted cells in arenas
//!   escape.rs    references from outside: counted, found, dealt with
//!   promote.rs   a copy of a closed subgraph outside
//!   keep.rs      tentative objects, weak slots, named roots
//!   always.rs    resident blocks
//! ```
//!
//! Glossary: a *scope* is an arena of the heap's stack of arenas; a *free-standing arena* is in no such order; a
//! *segment* is a run of an arena's memory; a *mark* is a place to rewind to; to *escape* is to be referred to
//! from outside; *inside* is the arena, or a scope entered later.

mod allocate;
pub(crate) mod always;
#[allow(clippy::module_inception)]
mod arena;
mod back;
#[cfg(feature = "counted")]
mod cells;
mod config;
mod end;
mod escape;
mod keep;
mod mark;
#[cfg(feature = "counted")]
mod promote;
mod scope;
mod segment;
mod standing;

pub(crate) use arena::each_arena;
#[cfg(feature = "counted")]
pub(crate) use arena::info_of;
pub use arena::KnArena;
pub use config::{
    KnArenaConfig, KnArenaStats, KnEscape, KnEscapeFn, KnLeaveReport, KnSoftFn, KN_ARENA_CHECK_LEAVE,
    KN_ARENA_CHECK_STORES, KN_ARENA_FIXED, KN_ARENA_POISON, KN_ARENA_SITES, KN_ARENA_ZERO, KN_ESCAPE_NULL,
    KN_ESCAPE_PROMOTE, KN_ESCAPE_REFUSE, KN_ESCAPE_TELL, KN_ESCAPE_TRAP, KN_RESET_FREE, KN_RESET_KEEP, KN_RESET_LIMIT,
};
pub use end::KnCleanup;
pub(crate) use keep::{add_roots, remove_roots};
pub use keep::{KnRootRange, KnTentative, KnWeakSlot};
pub use mark::KnArenaMark;
