//! A heap's configuration and numbers, asked for, compared, and shown.

use knoll::heap::{KnHeap, KnHeapConfig, KnHeapStats, KnLayout, KnStatus};

/// The configuration of a layout.
pub fn config(layout: KnLayout) -> KnHeapConfig {
    KnHeapConfig { layout, flags: 0 }
}

/// The statistics of a live heap.
///
/// # Safety
/// `heap` is live.
pub unsafe fn stats_of(heap: *mut KnHeap) -> Result<KnHeapStats, String> {
    let mut stats = KnHeapStats::default();
    // SAFETY: the caller's heap is live.
    let status = unsafe { KnHeap::stats(heap, &mut stats) };
    ensure(status == KnStatus::Ok, || format!("stats says {}", name(status)))?;
    Ok(stats)
}

fn numbers(stats: &KnHeapStats) -> [usize; 8] {
    let KnHeapStats { total, used, free, peak, largest_free, blocks, regions, overhead } = *stats;
    [total, used, free, peak, largest_free, blocks, regions, overhead]
}

pub(crate) fn same(one: &KnHeapStats, other: &KnHeapStats) -> bool {
    numbers(one) == numbers(other)
}

pub(crate) fn show(stats: &KnHeapStats) -> String {
    let [total, used, free, peak, largest, blocks, regions, overhead] = numbers(stats);
    format!(
        "[total {total} used {used} free {free} peak {peak} largest {largest} blocks {blocks} \
         regions {regions} overhead {overhead}]"
    )
}

pub(crate) fn name(status: KnStatus) -> &'static str {
    status.name().to_str().unwrap_or("?")
}

/// An error unless the condition holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(what())
    }
}
