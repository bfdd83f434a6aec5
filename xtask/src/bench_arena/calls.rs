//! Single calls of Knoll's scopes and arenas (`benches/arena/calls.c`): in the emulator each by itself, on the host the
//! calls of one function, by callgrind. What is in line the programs measure there.

use super::peers::sources;
use crate::bench;
use crate::bench::calls::{self, Count, Report};
use crate::bench::valgrind::count_calls;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// What a pair costs on a machine: the calls of these two cases together.
pub const PAIRS: [&str; 6] =
    ["empty", "outermost", "outermost of another heap", "presized", "nested in the parent", "nested beside the parent"];

/// Every case on one machine, and what the program says of its memory.
pub fn emulated(machine: &str, target: &str) -> Result<Report> {
    calls::emulated(&sources().join("calls.c"), &super::work_directory()?, machine, target)
}

/// Each case on the host: instructions of a call of the function that its name begins with.
pub fn on_the_host(names: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, f64>> {
    let program = super::work_directory()?.join("calls");
    calls::build_for_host(&sources().join("calls.c"), &program)?;
    let names: Vec<String> = names.into_iter().filter(|name| !name.ends_with(calls::IN_LINE)).collect();
    let found = bench::side_by_side(2, &names, Clone::clone, |name| {
        let function = name.split(' ').next().context("a case without a name")?;
        let count = if name.contains("1000") { 20 } else { 1000 };
        let (calls, instructions) = count_calls(&program, &[name, &count.to_string()], function)?;
        Ok(instructions as f64 / calls as f64)
    })?;
    Ok(names.into_iter().zip(found).collect())
}

/// The mean of a pair of calls.
pub fn pair(cases: &BTreeMap<String, f64>, which: &str) -> Option<f64> {
    Some(cases.get(&format!("kn_arena_enter {which}"))? + cases.get(&format!("kn_arena_leave {which}"))?)
}

/// The means alone.
pub fn means(cases: &BTreeMap<String, Count>) -> BTreeMap<String, f64> {
    cases.iter().map(|(name, count)| (name.clone(), count.mean)).collect()
}
