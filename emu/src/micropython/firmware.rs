//! The firmware's ELF file: what of its memory is code, where its heap is, which functions are its collector.
//!
//! Guarantees
//! - Code and constants are read-only, to the page: a store to a null pointer ends the run as a fault. (The board has
//!   RAM at 0; a stray store there would go unnoticed.) All else up to the stack's top is RAM.
//! - The collector's functions are found by name, in both kinds of firmware: MicroPython's own `gc_*`, or `__wrap_gc_*`
//!   before which the linker's `--wrap` put Knoll. A firmware with neither is refused.
//!
//! ```text
//!   0           _etext   _ebss                       _estack
//!   ├───────────┼────────┼───────────────────────────┤
//!   │ code,     │ .data  │                      <─── │
//!   │ constants │ .bss   │  nothing            stack │
//!   └───────────┴────────┴───────────────────────────┘
//!    read-only    gc_heap lies in .bss
//! ```

use crate::cpu::Cpu;
use crate::image::Image;
use crate::symbols::Symbols;
use anyhow::{ensure, Context, Result};
use object::read::elf::{ElfFile32, ElfSymbol32, ProgramHeader};
use object::{Object, ObjectSymbol, SymbolKind};
use std::ops::Range;
use std::path::Path;

const PAGE: u32 = 0x1000;
/// More than any linker script of the port gives.
const MOST: u32 = 64 << 20;
/// What below the stack's top may be stack.
const STACK: u32 = 64 << 10;

/// What of MicroPython's collector other code calls, and the collection itself.
const ENTRY_POINTS: [&str; 14] = [
    "gc_alloc",
    "gc_free",
    "gc_realloc",
    "gc_collect",
    "gc_collect_start",
    "gc_collect_root",
    "gc_collect_end",
    "gc_sweep_all",
    "gc_nbytes",
    "gc_info",
    "gc_lock",
    "gc_unlock",
    "gc_is_locked",
    "gc_init",
];

/// What Knoll puts in place of functions above the collector, by the collector's function whose work it does, too.
const ABOVE: [(&str, &str); 9] = [
    ("__wrap_m_malloc", "gc_alloc"),
    ("__wrap_m_malloc0", "gc_alloc"),
    ("__wrap_m_realloc", "gc_realloc"),
    ("__wrap_m_free", "gc_free"),
    ("knoll_malloc_str", "gc_alloc"),
    ("knoll_malloc_vstr", "gc_alloc"),
    ("knoll_malloc_array", "gc_alloc"),
    ("knoll_malloc_name", "gc_alloc"),
    ("knoll_malloc_table", "gc_alloc"),
];

/// The name of the collector's function behind one of [`Firmware::collector`].
pub fn entry_point(name: &str) -> &str {
    let above = ABOVE.iter().find(|(above, _)| *above == name);
    above.map_or_else(|| name.trim_start_matches("__wrap_"), |(_, entry)| *entry)
}

/// A firmware and what the harness knows of it.
pub struct Firmware {
    /// What to load.
    pub image: Image,
    /// MicroPython's heap, with whatever the collector keeps in it.
    pub heap: Range<u32>,
    /// The names that the collector's entry points have in this firmware.
    pub collector: Vec<String>,
    /// Whether the collector is Knoll.
    pub is_knoll: bool,
}

impl Firmware {
    /// Reads the ELF file that MicroPython's build made.
    pub fn load(path: &Path) -> Result<Firmware> {
        let bytes = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        Firmware::parse(&bytes).with_context(|| format!("{} is no MicroPython for the MPS2 board", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Firmware> {
        let elf: ElfFile32 = ElfFile32::parse(bytes).context("not a 32-bit ELF file")?;
        let endian = elf.endian();
        let symbol = |name: &str| {
            let found = elf.symbols().find(|symbol| symbol.name() == Ok(name));
            found.with_context(|| format!("it has no symbol {name}"))
        };
        let address = |name: &str| symbol(name).map(|found| found.address() as u32);
        let (text_end, statics_end, top) = (address("_etext")?, address("_ebss")?, address("_estack")?);
        ensure!(text_end < statics_end && statics_end < top && top <= MOST, "code, statics and stack overlap");
        ensure!(statics_end + STACK < top, "no room for a stack");

        let mut pieces = Vec::new();
        for segment in elf.elf_program_headers() {
            let data = segment.data(endian, bytes).ok().context("a segment lies outside the file")?;
            if segment.p_type(endian) == object::elf::PT_LOAD && !data.is_empty() {
                let start = segment.p_paddr(endian);
                ensure!(start as usize + data.len() <= top as usize, "a segment ends beyond the memory");
                pieces.push((start, data.to_vec()));
            }
        }
        let word = |at: u32| {
            let (_, data) = pieces.iter().find(|(start, _)| *start == 0).context("nothing to load at 0")?;
            let four = data.get(at as usize..at as usize + 4).context("no vector table")?;
            Ok::<u32, anyhow::Error>(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        };
        let (stack_pointer, reset) = (word(0)?, word(4)?);
        ensure!(stack_pointer == top && reset & 1 == 1 && reset < text_end, "no vector table at 0");

        let symbols = Symbols::of(&elf)?;
        let exists = |name: &str| !symbols.matching(name).is_empty();
        let is_knoll = exists("__wrap_gc_alloc");
        let collector: Vec<String> = ENTRY_POINTS
            .iter()
            .map(|name| if exists(&format!("__wrap_{name}")) { format!("__wrap_{name}") } else { (*name).to_owned() })
            .chain(ABOVE.iter().map(|(name, _)| (*name).to_owned()))
            .filter(|name| exists(name))
            .collect();
        ensure!(collector.iter().any(|name| name.ends_with("gc_alloc")), "it has no function gc_alloc");
        let heap = symbol("gc_heap")?;
        let heap = heap.address() as u32..heap.address() as u32 + heap.size() as u32;
        let code_end = text_end & !(PAGE - 1);
        let image = Image {
            cpu: Cpu::of_elf(&elf),
            flash: 0..code_end,
            ram: code_end..top,
            stack_pointer,
            entry: reset & !1,
            stack: top - STACK..top,
            heap: 0..0,
            knoll_text: 0..0,
            knoll_statics: statics_of_knoll(&elf),
            symbols,
            pieces,
        };
        Ok(Firmware { image, heap, collector, is_knoll })
    }
}

/// Where the library's own variables lie. It is one object in the archive, so nobody else's are between them.
fn statics_of_knoll(elf: &ElfFile32) -> Range<u32> {
    let is_ours = |symbol: &ElfSymbol32| {
        symbol.kind() == SymbolKind::Data && symbol.name().is_ok_and(|name| name.contains("5knoll"))
    };
    let ranges = elf.symbols().filter(is_ours).map(|symbol| {
        let start = symbol.address() as u32;
        start..start + symbol.size() as u32
    });
    ranges.reduce(|all, one| all.start.min(one.start)..all.end.max(one.end)).unwrap_or(0..0)
}
