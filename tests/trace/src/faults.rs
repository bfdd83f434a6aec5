//! What may be wrong with a traced heap: one thing each, now and then, planted into [`crate::naive`]'s.
//!
//! `tests/traced_faults.rs` runs the model with each of them, and the world must notice.

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The last byte of some blocks is not zero.
    Dirty,
    /// What a resize adds is not zeroed.
    DirtyGrowth,
    /// A resize that moves loses the last granule's contents.
    CopiesTooLittle,
    /// A resize that may not move does.
    MovesAlways,
    /// A resize forgets that the block holds no pointers.
    ForgetsFlat,
    /// A resize forgets the finaliser.
    ForgetsFinaliser,
    /// Some blocks take the last granule of the one before.
    Overlaps,
    /// The last word of a block is not looked at.
    SkipsLastWord,
    /// Only the first words of a block are looked at.
    SkipsFarWords,
    /// Blocks without pointers are looked into.
    ScansFlat,
    /// Marking goes only so deep.
    MarksShallow,
    /// The last root is not looked at.
    SkipsLastRoot,
    /// A pointer to a block's second granule holds it, or does not, the wrong way round.
    InteriorWrong,
    /// A pointer just behind a block holds it.
    EndHolds,
    /// Words across a boundary are looked at.
    Misaligned,
    /// A block that holds no pointers any more is looked into.
    IgnoresNoScan,
    /// A block is looked into twice.
    TracesTwice,
    /// Some dead blocks stay.
    KeepsGarbage,
    /// The last of the live blocks goes.
    SweepsLive,
    /// Some finalisers are called twice.
    FinalisesTwice,
    /// Some are not called.
    FinalisesNever,
    /// Finalisers of live blocks are called.
    FinalisesLive,
    /// Dead blocks are swept before the finalisers have run.
    FinalisesLate,
    /// Finalisers get memory.
    AllocatesInFinaliser,
    /// What finalisers free is swept once more.
    LosesFreed,
    /// A freed block's memory is lost.
    Leaks,
    /// A locked heap allocates.
    IgnoresLock,
    /// A locked heap frees.
    FreesLocked,
    /// Locks do not nest.
    LocksFlat,
    /// Nobody is asked to collect when memory is short.
    NeverAsks,
    /// The threshold is not looked at.
    IgnoresThreshold,
    /// In stress mode nothing is collected.
    Lazy,
    /// Some requests are refused though there is memory.
    GivesUp,
    /// The report tells the wrong size.
    ReportsWrong,
    /// The report's pins are not the best.
    PinsWrong,
    /// Nobody is told of a failure.
    TellsNobody,
    /// A block's size is what was asked for.
    SizeAsRequested,
    /// Blocks inside others have a size.
    SizeOfInside,
    /// The wrong flags.
    FlagsWrong,
    /// Everything is said to be marked.
    AllMarked,
    /// The number of blocks is wrong after a resize.
    MiscountsBlocks,
    /// The largest free run is not the largest.
    LargestWrong,
    /// A walk leaves out the last block.
    WalkShort,
    /// Free runs are told in pieces.
    WalkPieces,
    /// Steps say that there is no work left.
    StepLies,
    /// Not all holders are told.
    HoldersShort,
    /// Long-lived blocks are said to be transient.
    AllTransient,
    /// In a scope, long-lived blocks are placed at the top.
    LastingOnTop,
    /// In a scope, blocks are placed at the bottom.
    TransientBelow,
    /// A byte beside the area is written.
    WritesBeside,
    /// A collection writes into a block that lives on.
    Scribbles,
    /// A new area is not used.
    IgnoresArea,
    /// The granule of a further area is the first's.
    OneGranule,
}

impl Fault {
    /// All that are wrong.
    pub const ALL: [Fault; 53] = [
        Fault::Dirty,
        Fault::DirtyGrowth,
        Fault::CopiesTooLittle,
        Fault::MovesAlways,
        Fault::ForgetsFlat,
        Fault::ForgetsFinaliser,
        Fault::Overlaps,
        Fault::SkipsLastWord,
        Fault::SkipsFarWords,
        Fault::ScansFlat,
        Fault::MarksShallow,
        Fault::SkipsLastRoot,
        Fault::InteriorWrong,
        Fault::EndHolds,
        Fault::Misaligned,
        Fault::IgnoresNoScan,
        Fault::TracesTwice,
        Fault::KeepsGarbage,
        Fault::SweepsLive,
        Fault::FinalisesTwice,
        Fault::FinalisesNever,
        Fault::FinalisesLive,
        Fault::FinalisesLate,
        Fault::AllocatesInFinaliser,
        Fault::LosesFreed,
        Fault::Leaks,
        Fault::IgnoresLock,
        Fault::FreesLocked,
        Fault::LocksFlat,
        Fault::NeverAsks,
        Fault::IgnoresThreshold,
        Fault::Lazy,
        Fault::GivesUp,
        Fault::ReportsWrong,
        Fault::PinsWrong,
        Fault::TellsNobody,
        Fault::SizeAsRequested,
        Fault::SizeOfInside,
        Fault::FlagsWrong,
        Fault::AllMarked,
        Fault::MiscountsBlocks,
        Fault::LargestWrong,
        Fault::WalkShort,
        Fault::WalkPieces,
        Fault::StepLies,
        Fault::HoldersShort,
        Fault::AllTransient,
        Fault::LastingOnTop,
        Fault::TransientBelow,
        Fault::WritesBeside,
        Fault::Scribbles,
        Fault::IgnoresArea,
        Fault::OneGranule,
    ];
}
