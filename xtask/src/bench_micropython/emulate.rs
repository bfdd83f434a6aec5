//! A firmware and its runs in the emulator.
//!
//! - A run boots the machine, sends the scripts one after the other to its prompt and ends; what the scripts do between
//!   marks is counted. The same scripts give the same counts.
//! - A script that raises, a fault, a store where none belongs: an error, with all that was printed.

use crate::micropython::build;
pub use crate::micropython::build::Heap;
use crate::util;
use anyhow::{Context, Result};
use object::{Object, ObjectSymbol, SymbolKind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// MicroPython's own size of the heap on this board.
pub const USUAL_HEAP: u32 = 143_360;
/// A heap for thousands of objects.
pub const LARGE_HEAP: u32 = 2 << 20;

/// In the order of the tables.
pub const HEAPS: [Heap; 2] = [Heap::Stock, Heap::Knoll];

/// A firmware that can be run.
pub struct Firmware {
    pub heap: Heap,
    elf: PathBuf,
    emulator: PathBuf,
}

/// What a run found.
#[derive(Debug, Deserialize)]
pub struct Figures {
    /// What the scripts printed.
    pub output: String,
    /// By the mark's number.
    pub marks: BTreeMap<u32, Stretch>,
}

/// What happened between a mark's beginnings and ends.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Stretch {
    pub instructions: u64,
    /// Of these, in the collector.
    pub collector: u64,
    /// The longest single stay in the collector.
    pub longest: u64,
    /// By entry point.
    pub calls: BTreeMap<String, Calls>,
}

/// Calls of one entry point of the collector.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Calls {
    #[serde(flatten)]
    pub summary: Summary,
    /// The longest, longest first.
    #[serde(default)]
    pub longest: Vec<u64>,
    /// For allocations, by size.
    #[serde(default)]
    pub sizes: BTreeMap<u32, Summary>,
}

/// Instructions of calls.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub p50: u64,
    pub total: u64,
}

impl Stretch {
    /// How often an entry point was called, and what it took.
    pub fn of(&self, entry: &str) -> Summary {
        self.calls.get(entry).map(|calls| calls.summary).unwrap_or_default()
    }
}

/// Both firmwares, with heaps of this size.
pub fn both(emulator: &Path, heap_bytes: u32) -> Result<Vec<Firmware>> {
    HEAPS.iter().map(|heap| firmware(*heap, emulator, heap_bytes)).collect()
}

/// One firmware.
pub fn firmware(heap: Heap, emulator: &Path, heap_bytes: u32) -> Result<Firmware> {
    sliced_firmware(heap, emulator, heap_bytes, 0)
}

/// The same, with collections that sweep so many granules at a time.
pub fn sliced_firmware(heap: Heap, emulator: &Path, heap_bytes: u32, slice: u32) -> Result<Firmware> {
    let elf = build::firmware(heap, Some(heap_bytes), slice)?;
    Ok(Firmware { heap, elf, emulator: emulator.to_path_buf() })
}

impl Firmware {
    /// Runs scripts of `benches/micropython`, by name, and others by path.
    pub fn run(&self, name: &str, scripts: &[PathBuf], options: &[&str]) -> Result<Figures> {
        let json = super::work_directory()?.join(format!("{}-{name}.json", self.heap.name()));
        let mut command = util::program(&self.emulator, ["mpy", "--quiet", "--json"]);
        command.arg(&json).args(options).arg(&self.elf).args(scripts);
        util::capture(&mut command)?;
        serde_json::from_slice(&std::fs::read(&json)?).context("the emulator's report")
    }
}

/// Bytes of a collector's functions, and of all code and constants of a firmware with nothing of Knoll but the heap.
pub fn code(heap: Heap) -> Result<(u64, u64)> {
    let elf = match heap {
        Heap::Stock => build::firmware(heap, Some(USUAL_HEAP), 0)?,
        Heap::Knoll => build::firmware_variant(heap, build::Variant { name: "-heap", settings: &["KNOLL_MODULE=0"] })?,
    };
    let bytes = std::fs::read(&elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let elf = object::File::parse(&*bytes)?;
    let mut by_address: BTreeMap<u64, u64> = BTreeMap::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition()) {
        if symbol.name().is_ok_and(|name| is_collectors(heap, name)) {
            // One function may have several names.
            let size = by_address.entry(symbol.address()).or_default();
            *size = symbol.size().max(*size);
        }
    }
    let end = elf.symbols().find(|symbol| symbol.name() == Ok("_etext")).context("no symbol _etext")?;
    Ok((by_address.values().sum(), end.address()))
}

/// Whether a function belongs to the collector. Finding the roots belongs to MicroPython's port in both.
fn is_collectors(heap: Heap, name: &str) -> bool {
    match heap {
        Heap::Stock => name.starts_with("gc_") && !name.starts_with("gc_helper") && name != "gc_collect",
        // Rust's own names have the crate's in them.
        Heap::Knoll => {
            ["kn_", "knoll_", "__wrap_"].iter().any(|start| name.starts_with(start)) || name.contains("5knoll")
        }
    }
}
