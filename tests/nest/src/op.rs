//! One thing that a program does to a nest of scopes, arenas, blocks and cells.
//!
//! Arenas, blocks and cells are named by numbers that are taken modulo what there is, so any subsequence
//! of a run is again a run: what names nothing does nothing. That is what makes shrinking, fuzzing and
//! operations in callbacks work.

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// Enters a scope.
    Enter {
        /// Its configuration.
        shape: u8,
        /// Its presize in bytes, modulo a part of the heap.
        presize: u16,
    },
    /// Leaves a scope, and with it those inside.
    Leave {
        /// How many scopes further out than the innermost.
        out: u8,
    },
    /// Leaves all scopes inside one.
    Unwind {
        /// How many scopes out it is; beyond the outermost: all.
        out: u8,
    },
    /// Makes a free-standing arena.
    Create {
        /// Its configuration.
        shape: u8,
        /// Its presize in bytes, modulo a part of the heap.
        presize: u16,
    },
    /// Empties a free-standing arena.
    Reset {
        /// Which.
        arena: u8,
        /// What becomes of its capacity.
        mode: u8,
        /// How much of it stays.
        limit: u16,
    },
    /// Ends a free-standing arena.
    Destroy {
        /// Which.
        arena: u8,
    },
    /// Raw memory in an arena.
    Alloc {
        /// Which.
        arena: u8,
        /// How much.
        bytes: u16,
        /// By which function.
        how: u8,
    },
    /// Resizes raw memory in an arena.
    Resize {
        /// Which arena.
        arena: u8,
        /// Which of its allocations, counted from the last.
        item: u8,
        /// To how much.
        bytes: u16,
    },
    /// Remembers where an arena is.
    Mark {
        /// Which.
        arena: u8,
    },
    /// Goes back to where it was.
    Rewind {
        /// Which arena.
        arena: u8,
        /// How many marks ago.
        back: u8,
    },
    /// Registers a cleanup.
    Cleanup {
        /// In which arena.
        arena: u8,
        /// Whether its node lies in the arena.
        inside: bool,
    },
    /// A block of the heap; what the slot held is freed first.
    Malloc {
        /// Its name.
        slot: u8,
        /// How large.
        bytes: u16,
        /// By which function.
        how: u8,
    },
    /// Resizes a block of the heap.
    Realloc {
        /// Whose.
        slot: u8,
        /// To how much.
        bytes: u16,
    },
    /// Frees a block of the heap.
    Free {
        /// Whose.
        slot: u8,
    },
    /// A counted cell outside all arenas, into a variable.
    New {
        /// The variable.
        var: u8,
        /// The type.
        kind: u8,
        /// For a type with an array: how many elements.
        length: u8,
    },
    /// A cell in an arena, into a variable.
    NewIn {
        /// Which arena.
        arena: u8,
        /// The variable.
        var: u8,
        /// The type.
        kind: u8,
        /// For a type with an array: how many elements.
        length: u8,
    },
    /// A variable refers to what another one refers to.
    Copy {
        /// Read.
        from: u8,
        /// Written.
        to: u8,
    },
    /// A variable refers to nothing.
    Drop {
        /// The variable.
        var: u8,
    },
    /// `GC_assign` of a variable to a field.
    Store {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// What goes there.
        from: u8,
    },
    /// `GC_assign` of null to a field.
    Clear {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
    },
    /// A variable refers to what a field refers to.
    Fetch {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// The variable.
        to: u8,
    },
    /// `GC_assign` of a variable to a slot of the named root range.
    Root {
        /// The slot.
        root: u8,
        /// What goes there.
        from: u8,
    },
    /// A store to the root range that bypasses `GC_assign`: of a cell in an arena, or of null.
    RawRoot {
        /// The slot.
        root: u8,
        /// What goes there.
        from: u8,
    },
    /// A tentative cell of an arena.
    Tentative {
        /// Which arena.
        arena: u8,
        /// The type.
        kind: u8,
    },
    /// Keeps a tentative cell in a variable.
    Keep {
        /// Which of those there are.
        which: u8,
        /// The variable.
        var: u8,
    },
    /// A weak slot refers to something in an arena, or to nothing.
    Weak {
        /// The slot.
        slot: u8,
        /// Which arena.
        arena: u8,
        /// Which of what lies in it, counted from the last; 255: to nothing.
        item: u8,
    },
    /// Copies what a variable's cell reaches out of its arena.
    Promote {
        /// The variable.
        var: u8,
        /// Where the copy goes.
        to: u8,
    },
    /// A full collection.
    Collect,
    /// A slice of one.
    Step {
        /// How many cells it may visit.
        budget: u8,
    },
    /// The heap is filled until no block larger than this is free.
    Fill {
        /// In units of 8 bytes.
        leave: u8,
    },
    /// What filled the heap is freed.
    Drain,
}
