//! Names for addresses: functions, source lines, and the functions a pattern names.
//!
//! Guarantees: Rust names are shown demangled and may be asked for in either form; an address
//! in no function is shown as a number, never guessed. Inlined functions are named by the
//! innermost one, since that is where the line is.

use addr2line::Context as Lines;
use anyhow::{Context, Result};
use gimli::{EndianArcSlice, RunTimeEndian};
use object::read::elf::ElfFile32;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Debug information as it is held here.
pub type Reader = EndianArcSlice<RunTimeEndian>;

/// A function of the firmware.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name, demangled.
    pub name: String,
    raw: String,
    /// Its code.
    pub range: Range<u32>,
}

/// Where some address is in the source.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: u32,
    /// The function, if it is in one.
    pub function: Option<String>,
    /// Source file, if debug information names it.
    pub file: Option<String>,
    /// Source line, if debug information names it.
    pub line: Option<u32>,
    /// How many frames in a row stand here: more than one in a recursion.
    pub times: u32,
}

/// All names of a firmware.
pub struct Symbols {
    functions: Vec<Function>,
    lines: Option<Lines<Reader>>,
    frames: gimli::DebugFrame<Reader>,
}

impl Symbols {
    pub(crate) fn of(elf: &ElfFile32) -> Result<Symbols> {
        let mut functions: Vec<Function> = elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                let raw = symbol.name().ok()?;
                let start = symbol.address() as u32 & !1;
                // "$t" and "$d" mark the start of code and of data; they name nothing.
                let nameless = raw.is_empty() || raw.starts_with('$');
                (!nameless).then(|| Function {
                    name: format!("{:#}", rustc_demangle::demangle(raw)),
                    raw: raw.to_owned(),
                    range: start..start.saturating_add(symbol.size() as u32),
                })
            })
            .collect();
        functions.sort_by(|a, b| (a.range.start, &a.raw).cmp(&(b.range.start, &b.raw)));
        // Hand-written assembly often gives no size: such a function reaches to the next one.
        let mut next = u32::MAX;
        for index in (0..functions.len()).rev() {
            let start = functions[index].range.start;
            if functions[index].range.is_empty() {
                functions[index].range.end = next;
            }
            if index > 0 && functions[index - 1].range.start < start {
                next = start;
            }
        }
        let section = |name: &str| -> Reader {
            let bytes =
                elf.section_by_name(name).and_then(|section| section.uncompressed_data().ok()).unwrap_or_default();
            EndianArcSlice::new(Arc::from(&*bytes), RunTimeEndian::Little)
        };
        let dwarf = gimli::Dwarf::load(|id| Ok::<_, gimli::Error>(section(id.name())))
            .context("debug information can't be read")?;
        let mut frames = gimli::DebugFrame::from(section(".debug_frame"));
        frames.set_address_size(4);
        Ok(Symbols { functions, lines: Lines::from_dwarf(dwarf).ok(), frames })
    }

    /// `.debug_frame`: how to undo each function's frame.
    pub(crate) fn frames(&self) -> &gimli::DebugFrame<Reader> {
        &self.frames
    }

    /// The function that an address is in.
    pub fn function(&self, address: u32) -> Option<&Function> {
        let end = self.functions.partition_point(|function| function.range.start <= address);
        // Aliases share a start: the one that sorts first is shown, so that it is always the same.
        self.functions[..end]
            .iter()
            .rev()
            .take_while(|function| function.range.start + 0x10_0000 > address)
            .filter(|function| function.range.contains(&address))
            .min_by_key(|function| (u32::MAX - function.range.start, &function.raw))
    }

    /// All functions a pattern names: a whole name, raw or demangled, or a prefix and `*`.
    pub fn matching(&self, pattern: &str) -> Vec<&Function> {
        let fits = |name: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        self.functions.iter().filter(|function| fits(&function.name) || fits(&function.raw)).collect()
    }

    /// Functions whose name satisfies a condition.
    pub fn named(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |function| wanted(&function.name))
    }

    /// What the source says about an address.
    pub fn place(&self, address: u32) -> Place {
        let mut place = Place {
            address,
            function: self.function(address).map(|f| f.name.clone()),
            file: None,
            line: None,
            times: 1,
        };
        let Some(lines) = &self.lines else {
            return place;
        };
        if let Ok(Some(location)) = lines.find_location(u64::from(address)) {
            place.file = location.file.map(str::to_owned);
            place.line = location.line;
        }
        if let Ok(mut frames) = lines.find_frames(u64::from(address)).skip_all_loads() {
            if let Ok(Some(frame)) = frames.next() {
                if let Some(name) = frame.function.and_then(|f| Some(f.demangle().ok()?.into_owned())) {
                    place.function = Some(name);
                }
            }
        }
        place
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#010x}", self.address)?;
        write!(out, "  {}", self.function.as_deref().unwrap_or("?"))?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(out, "  at {file}:{line}")?,
            (Some(file), None) => write!(out, "  at {file}")?,
            _ => {}
        }
        match self.times {
            1 => Ok(()),
            times => write!(out, "  ({times} times)"),
        }
    }
}
