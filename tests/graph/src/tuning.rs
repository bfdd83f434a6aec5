//! Configurations: what a run's collector is told, by name, and what the model may expect of it.

use crate::collector::{
    KnGcConfig, KN_GC_ARC, KN_GC_COLLECT_WHEN_FULL, KN_GC_FIXED_THRESHOLD, KN_GC_STAY_DISABLED, KN_GC_TORTURE,
};

/// A configuration with a name.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// For reports.
    pub name: &'static str,
    /// Flags of `KnGcConfig`.
    pub flags: u32,
    /// Roots at which a collection starts.
    pub threshold: u32,
    /// Cells that one call may visit.
    pub slice: u32,
    /// Most cells under consideration.
    pub visited_limit: u32,
    /// Most cells destroyed by a release.
    pub frees_per_unref: u32,
    /// Cells destroyed at an allocation.
    pub frees_per_new: u32,
    /// Growth in bytes at which a collection starts.
    pub bytes_floor: usize,
}

impl Tuning {
    const PLAIN: Tuning = Tuning {
        name: "default",
        flags: 0,
        threshold: 0,
        slice: 0,
        visited_limit: 0,
        frees_per_unref: 0,
        frees_per_new: 0,
        bytes_floor: 0,
    };

    /// What the collector is told.
    pub fn config(&self) -> KnGcConfig {
        KnGcConfig {
            flags: self.flags,
            threshold: self.threshold,
            threshold_bound: 0,
            slice: self.slice,
            visited_limit: self.visited_limit,
            frees_per_unref: self.frees_per_unref,
            frees_per_new: self.frees_per_new,
            bytes_floor: self.bytes_floor,
        }
    }

    /// Counting only.
    pub fn is_arc(&self) -> bool {
        self.flags & KN_GC_ARC != 0
    }

    /// A cell may live on for a while after its count has become zero.
    pub fn is_lazy(&self) -> bool {
        self.frees_per_unref != 0 || self.frees_per_new != 0
    }

    /// No collection starts by itself.
    pub fn is_manual(&self) -> bool {
        self.threshold >= MANUAL.threshold && self.bytes_floor == usize::MAX
    }

    /// A manual run leaves the collector disabled.
    pub fn stays_disabled(&self) -> bool {
        self.flags & KN_GC_STAY_DISABLED != 0
    }

    /// An allocation may collect even while the collector is disabled.
    pub fn collects_when_allocating(&self) -> bool {
        self.flags & (KN_GC_COLLECT_WHEN_FULL | KN_GC_TORTURE) != 0
    }
}

/// As nothing is configured: trial deletion at 128 roots, at once.
pub const DEFAULT: Tuning = Tuning::PLAIN;
/// Counting only.
pub const ARC: Tuning = Tuning { name: "arc", flags: KN_GC_ARC, ..Tuning::PLAIN };
/// Counting only, and destruction in small portions.
pub const ARC_LAZY: Tuning =
    Tuning { name: "arc lazy", flags: KN_GC_ARC, frees_per_unref: 2, frees_per_new: 1, ..Tuning::PLAIN };
/// A collection at every few roots.
pub const EAGER: Tuning = Tuning { name: "eager", threshold: 4, flags: KN_GC_FIXED_THRESHOLD, ..Tuning::PLAIN };
/// Automatic collections in small slices.
pub const SLICED: Tuning = Tuning { name: "sliced", slice: 5, threshold: 8, ..Tuning::PLAIN };
/// Automatic collections in larger slices.
pub const SLICED_WIDE: Tuning = Tuning { name: "sliced wide", slice: 64, threshold: 24, ..Tuning::PLAIN };
/// Destruction in small portions.
pub const LAZY: Tuning = Tuning { name: "lazy", frees_per_unref: 1, frees_per_new: 1, threshold: 16, ..Tuning::PLAIN };
/// Slices and portions.
pub const SLICED_LAZY: Tuning =
    Tuning { name: "sliced lazy", slice: 7, threshold: 8, frees_per_unref: 3, ..Tuning::PLAIN };
/// Hardly any cell may be considered at a time.
pub const TINY: Tuning = Tuning { name: "tiny", visited_limit: 8, threshold: 12, ..Tuning::PLAIN };
/// A few cells may be considered at a time.
pub const SMALL: Tuning = Tuning { name: "small", visited_limit: 64, threshold: 12, ..Tuning::PLAIN };
/// Slices of few cells under consideration.
pub const SLICED_TINY: Tuning =
    Tuning { name: "sliced tiny", slice: 3, visited_limit: 8, threshold: 6, ..Tuning::PLAIN };
/// Collections because the heap has grown.
pub const BYTES: Tuning = Tuning { name: "bytes", threshold: 1 << 20, bytes_floor: 256, ..Tuning::PLAIN };
/// Nothing happens by itself.
pub const MANUAL: Tuning = Tuning {
    name: "manual",
    flags: KN_GC_FIXED_THRESHOLD | KN_GC_STAY_DISABLED,
    threshold: 1 << 30,
    bytes_floor: usize::MAX,
    ..Tuning::PLAIN
};
/// A collection before memory is refused.
pub const WHEN_FULL: Tuning =
    Tuning { name: "when full", flags: KN_GC_COLLECT_WHEN_FULL, threshold: 1 << 20, ..Tuning::PLAIN };
/// A collection at each allocation.
pub const TORTURE: Tuning = Tuning { name: "torture", flags: KN_GC_TORTURE, ..Tuning::PLAIN };

/// The configurations between which a run may change, each set in turn.
pub const SETS: &[&[Tuning]] = &[
    &[ARC],
    &[ARC_LAZY],
    &[DEFAULT],
    &[EAGER],
    &[MANUAL],
    &[SLICED],
    &[SLICED_WIDE],
    &[LAZY],
    &[SLICED_LAZY],
    &[TINY],
    &[SMALL],
    &[SLICED_TINY],
    &[BYTES],
    &[WHEN_FULL],
    &[TORTURE],
    &[DEFAULT, SLICED, LAZY, TINY, EAGER, SLICED_LAZY, MANUAL, WHEN_FULL],
];
