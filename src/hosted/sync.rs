//! The atomics of the page protocol: core's, or loom's where a model checks it.

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
