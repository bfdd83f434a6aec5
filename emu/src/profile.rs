//! Where the instructions go: how often each basic block ran.
//!
//! Guarantees: exact, nothing is sampled; a block's instructions are those that counting counts for it, so all blocks
//! together are the instructions of the stretch that was looked at.
//!
//! Costs: a hash map's entry for each block executed, and no block is counted the quick way: several times slower.

use crate::symbols::Symbols;
use rustc_hash::FxHashMap;
use serde::Serialize;

/// Executions and length of one block.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    times: u64,
    instructions: u64,
}

/// All blocks that ran while it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    blocks: FxHashMap<u32, Runs>,
}

/// What a function's own instructions are, callees left out, and its hottest blocks.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The function.
    pub function: String,
    /// Instructions executed in it.
    pub instructions: u64,
    /// Address, executions and instructions of its hottest blocks.
    pub blocks: Vec<(u32, u64, u64)>,
}

impl Profile {
    /// A block of so many instructions ran.
    pub fn add(&mut self, address: u32, instructions: u32) {
        let runs = self.blocks.entry(address).or_default();
        runs.times += 1;
        runs.instructions += u64::from(instructions);
    }

    /// The functions with most instructions, and of each the hottest blocks.
    pub fn hottest(&self, symbols: &Symbols, functions: usize, blocks: usize) -> Vec<Line> {
        let mut lines: FxHashMap<String, Line> = FxHashMap::default();
        for (address, runs) in &self.blocks {
            let name = symbols.function(*address).map_or_else(|| "?".to_owned(), |function| function.name.clone());
            let line = lines.entry(name).or_insert_with_key(|name| Line {
                function: name.clone(),
                instructions: 0,
                blocks: Vec::new(),
            });
            line.instructions += runs.instructions;
            line.blocks.push((*address, runs.times, runs.instructions));
        }
        let mut sorted: Vec<Line> = lines.into_values().collect();
        sorted.sort_by(|a, b| (b.instructions, &a.function).cmp(&(a.instructions, &b.function)));
        sorted.truncate(functions);
        for line in &mut sorted {
            line.blocks.sort_by_key(|(address, _, instructions)| (std::cmp::Reverse(*instructions), *address));
            line.blocks.truncate(blocks);
        }
        sorted
    }

    /// All instructions in it.
    pub fn total(&self) -> u64 {
        self.blocks.values().map(|runs| runs.instructions).sum()
    }
}
