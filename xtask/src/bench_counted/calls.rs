//! Single calls of the counted part (`benches/counted/calls.c`): in the emulator each by itself, on the host by
//! callgrind.

use super::peers;
use crate::bench::calls;
use crate::bench::valgrind::count_in_library;
use crate::size::Code;
use crate::util;
use anyhow::Result;
use std::collections::BTreeMap;

pub use crate::bench::calls::{Count, MACHINES};

/// What a firmware needs to count, and to collect.
const COUNTING: &[&str] = &["GC_registerType", "GC_new", "GC_ref", "GC_unref", "GC_assign", "GC_move"];
const COLLECTING: &[&str] = &["GC_runOrc", "GC_partialCollect", "GC_step", "GC_configure"];
const MANUAL: &[&str] = &["kn_heap_create", "kn_heap_malloc", "kn_heap_free", "kn_heap_realloc"];

/// The case that does nothing: what a process costs.
const NOTHING: &str = "nothing";

/// Every case on one machine.
pub fn emulated(machine: &str, target: &str) -> Result<BTreeMap<String, Count>> {
    let source = peers::sources().join("calls.c");
    Ok(calls::emulated(&source, &util::work_dir("bench-counted")?, machine, target)?.marks)
}

/// Each case on the host: instructions of an iteration in the library, what prepares it included.
pub fn on_the_host(names: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, f64>> {
    let program = util::work_dir("bench-counted")?.join("calls");
    calls::build_for_host(&peers::sources().join("calls.c"), &program)?;
    let run = |name: &str, count: u32| count_in_library(&program, &[name, &count.to_string()]);
    let idle = run(NOTHING, 0)?;
    let mut found = BTreeMap::new();
    for name in names {
        let count = if name.contains("1000") { 10 } else { 2000 };
        let instructions = run(&name, count)?.saturating_sub(idle);
        found.insert(name, instructions as f64 / f64::from(count));
    }
    Ok(found)
}

/// Code and constants that the counted part adds to the manual heap, in bytes, built for size: counting alone, and with
/// the collector.
pub fn code_size(target: &str) -> Result<(u64, u64)> {
    let code = Code::build(target, &[], true)?;
    let own = |sets: &[&[&str]]| code.closure(&sets.concat()).own;
    let manual = own(&[MANUAL]);
    Ok((own(&[MANUAL, COUNTING]) - manual, own(&[MANUAL, COUNTING, COLLECTING]) - manual))
}
