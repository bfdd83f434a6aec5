//! One thing that a program does with traced memory.
//!
//! Variables and fields are named by numbers that are taken modulo what there is, so any subsequence of a run is again
//! a run: what names nothing does nothing. That is what makes shrinking and fuzzing work.

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// A new block into a variable.
    New {
        /// Which variable.
        var: u8,
        /// What kind of block, see [`crate::model::Kind::pick`].
        kind: u8,
        /// How large, modulo the memory there is.
        size: u16,
        /// Its other flags.
        flags: u8,
    },
    /// A variable's word into another one.
    Copy {
        /// From which.
        from: u8,
        /// To which.
        to: u8,
    },
    /// A variable is cleared.
    Drop {
        /// Which.
        var: u8,
    },
    /// A variable that points to a block is made to point elsewhere in it, or beside it.
    Aim {
        /// Which.
        var: u8,
        /// Where to, see [`crate::model::aim`].
        how: u8,
    },
    /// A word into a field of a block.
    Store {
        /// The variable that points to the block.
        var: u8,
        /// Which of its words.
        field: u16,
        /// The variable with the word.
        from: u8,
        /// Where in its block it is to point.
        how: u8,
    },
    /// The same, but not on a word's boundary, which nobody need see.
    Misplace {
        /// The variable that points to the block.
        var: u8,
        /// At which byte.
        byte: u16,
        /// The variable with the word.
        from: u8,
    },
    /// A field is cleared.
    Clear {
        /// The variable that points to the block.
        var: u8,
        /// Which of its words.
        field: u16,
    },
    /// A field's word into a variable.
    Fetch {
        /// The variable that points to the block.
        var: u8,
        /// Which of its words.
        field: u16,
        /// To which variable.
        to: u8,
    },
    /// A variable's word into the table of roots, or nothing.
    Pin {
        /// Where in the table.
        pin: u8,
        /// The variable; clears the place when it is beyond the last.
        from: u8,
    },
    /// A block is resized.
    Resize {
        /// The variable that points to it.
        var: u8,
        /// To how many bytes, modulo the memory there is.
        size: u16,
        /// Whether it may move.
        moves: bool,
    },
    /// A block is freed by hand.
    Free {
        /// The variable that points to it.
        var: u8,
        /// The variable keeps its word, which dangles.
        dangle: bool,
    },
    /// A block holds no pointers from now on.
    Flatten {
        /// The variable that points to it.
        var: u8,
    },
    /// A collection.
    Collect,
    /// A collection in which questions are asked, and requests refused.
    Ask {
        /// What is asked.
        what: u8,
    },
    /// A collection is begun, and begun anew.
    Restart,
    /// A step of the sweep.
    Step {
        /// Of so many granules.
        granules: u8,
    },
    /// A scope begins.
    Begin,
    /// The innermost scope ends.
    End,
    /// Long-lived blocks from now on.
    Lasting,
    /// No longer.
    Passing,
    /// The heap is locked.
    Lock,
    /// The heap is unlocked.
    Unlock,
    /// The hook that collects declines, or no longer.
    Mind {
        /// It declines.
        declines: bool,
    },
    /// Another threshold.
    Threshold {
        /// Of so many bytes; 0: none.
        bytes: u16,
    },
    /// One area more.
    Area {
        /// Which: see [`crate::setup::Ground::extra`].
        which: u8,
    },
    /// Questions about a word.
    Probe {
        /// The variable.
        var: u8,
        /// Where in its block.
        how: u8,
    },
    /// Who holds a block?
    Holders {
        /// The variable that points to it.
        var: u8,
    },
}
