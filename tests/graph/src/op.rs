//! One thing that a program does to a graph of counted cells.
//!
//! Cells are named by the program's variables that refer to them, fields by numbers that are taken
//! modulo a cell's fields, so any subsequence of a run is again a run: what names an empty variable
//! does nothing. That is what makes shrinking, fuzzing and operations in callbacks work.

/// One operation. Variables, fields and kinds are taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// A new cell into a variable; what that referred to is released.
    New {
        /// The variable.
        var: u8,
        /// The type.
        kind: u8,
        /// For a type with an array: how many elements.
        length: u8,
    },
    /// `assign` of one variable to another.
    Copy {
        /// Read.
        from: u8,
        /// Written.
        to: u8,
    },
    /// A variable's reference is released.
    Drop {
        /// The variable.
        var: u8,
    },
    /// `add_ref` that no variable shows.
    Pin {
        /// Whose cell.
        var: u8,
    },
    /// `release` of one of the pins.
    Unpin {
        /// Which, modulo the pins there are.
        pin: u8,
    },
    /// `assign` of a variable to a field.
    Store {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// What goes there.
        from: u8,
    },
    /// A variable's reference moves into a field, without counting.
    Move {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// What goes there and leaves here.
        from: u8,
    },
    /// `assign` of a field to a variable.
    Fetch {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// Where it goes.
        to: u8,
    },
    /// A field's reference moves into a variable, without counting.
    MoveOut {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
        /// Where it goes.
        to: u8,
    },
    /// `assign` of null to a field.
    Clear {
        /// The cell.
        var: u8,
        /// Its field.
        field: u8,
    },
    /// Two fields are exchanged behind the collector's back, unless it works in slices.
    Swap {
        /// A cell.
        var: u8,
        /// Its field.
        field: u8,
        /// The other cell.
        other: u8,
        /// Its field.
        place: u8,
    },
    /// A variant cell's slot becomes a number, or a reference again.
    Turn {
        /// The cell.
        var: u8,
    },
    /// If the cell has one reference it is used again, emptied; else released.
    Reuse {
        /// The variable.
        var: u8,
    },
    /// A full collection.
    Collect,
    /// A collection of the roots from a limit on.
    Partial {
        /// The limit, in eighths of the roots there are; above 8: beyond them.
        eighths: u8,
    },
    /// A slice.
    Step {
        /// How many cells it may visit.
        budget: u8,
    },
    /// Slices of this budget until nothing is left to do.
    Settle {
        /// How many cells each may visit.
        budget: u8,
    },
    /// Automatic collection on.
    Enable,
    /// Automatic collection off.
    Disable,
    /// Another of the run's configurations.
    Configure {
        /// Which, modulo those there are.
        which: u8,
    },
    /// The heap is filled until no block larger than this is free.
    Fill {
        /// In units of 8 bytes.
        leave: u8,
    },
    /// What filled the heap is freed.
    Drain,
}

impl Op {
    /// Whether a callback may do it: what is the program's own business at the top is left out.
    pub fn fits_callback(self) -> bool {
        !matches!(self, Op::Configure { .. } | Op::Fill { .. } | Op::Drain | Op::Settle { .. })
    }
}
