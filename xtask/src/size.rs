//! `cargo xtask size`: what Knoll costs in flash, function by function, and the size of libknoll.so.
//!
//! Sizes are read from the localised object (see [`crate::localise`]), not from a map file: the
//! *closure* of a function is the bytes of code and constants that a firmware pays which calls
//! only it, found by following relocations from section to section, as the linker's
//! `--gc-sections` does. Compiler intrinsics (`memcpy`, …) are counted apart: a C firmware has them.

use crate::localise::{is_public, localised_object};
use crate::util::{
    announce, build_malloc_only, build_shared, capture, new_table, note, program, toolchain_bin, work_dir, Library,
};
use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Options of `cargo xtask size`.
#[derive(clap::Args)]
pub struct Args {
    /// The firmware target that is measured
    #[arg(long, default_value = "thumbv7em-none-eabi")]
    target: String,
    /// Write the numbers as JSON to this file too
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// What every user of a manual heap needs; DESIGN's figure for code size is their common closure.
const CORE: &[&str] = &["kn_heap_create", "kn_heap_malloc", "kn_heap_free", "kn_heap_realloc"];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce(format!("Code size for {}, in bytes", args.target));
    let small = Code::build(&args.target, &[], true)?;
    let fast = Code::build(&args.target, &[], false)?;

    let mut table = new_table(["function", "own -Os", "closure -Os", "own -O3", "closure -O3"]);
    for (name, &section) in &small.functions {
        let own = |code: &Code| code.functions.get(name).map_or(0, |&section| code.sections[&section].size);
        table.add_row([
            name.clone(),
            small.sections[&section].size.to_string(),
            small.closure(&[name]).own.to_string(),
            own(&fast).to_string(),
            fast.closure(&[name]).own.to_string(),
        ]);
    }
    println!("{table}");

    let mut table = new_table(["create + malloc + free + realloc", "-Os", "-O3", "with memcpy … -Os"]);
    let mut figures = BTreeMap::new();
    for (name, features) in LAYOUTS {
        let code = Code::build(&args.target, features, true)?;
        let (small, fast) = (code.closure(CORE), Code::build(&args.target, features, false)?.closure(CORE));
        let total = small.own + small.intrinsics;
        table.add_row([(*name).to_owned(), small.own.to_string(), fast.own.to_string(), total.to_string()]);
        figures.insert(*name, [small.own, fast.own, total]);
    }
    println!("{table}");

    announce("libknoll.so");
    let bytes = stripped_bytes(&build_shared()?)?;
    note(format!("{bytes} bytes stripped"));
    for (what, features) in WITHOUT {
        let library = Library { features, no_default_features: true, ..Library::default() };
        note(format!("{} bytes without {what}", stripped_bytes(&library.shared()?)?));
    }
    note(format!("{} bytes as a malloc and no more, one layout", stripped_bytes(&build_malloc_only()?)?));
    if let Some(path) = args.json {
        let all = serde_json::json!({ "target": args.target, "core": figures, "libknoll.so": bytes });
        std::fs::write(&path, serde_json::to_string_pretty(&all)? + "\n")?;
    }
    Ok(())
}

/// What a firmware can choose among; the empty list is the default, all three layouts.
const LAYOUTS: &[(&str, &[&str])] = &[
    ("all layouts", &[]),
    ("headerless map only", &["layout-map"]),
    ("16-bit header only", &["layout-compact"]),
    ("32-bit header only", &["layout-wide"]),
    ("headerless map only, small-code", &["layout-map", "small-code"]),
    ("16-bit header only, small-code", &["layout-compact", "small-code"]),
];

/// What a program on an operating system may do without, and the features that are left.
const WITHOUT: &[(&str, &[&str])] = &[
    ("arenas", &["layout-map", "layout-compact", "layout-wide", "counted"]),
    ("counted cells", &["layout-map", "layout-compact", "layout-wide", "arena"]),
];

/// The size of a shared object without anything that is not needed to run it.
pub fn stripped_bytes(library: &Path) -> Result<u64> {
    let stripped = work_dir("size")?.join("libknoll.so");
    strip(library, &stripped)?;
    Ok(std::fs::metadata(&stripped)?.len())
}

/// Copies a shared object without anything that is not needed to run it.
pub fn strip(from: &Path, to: &Path) -> Result<()> {
    let sysroot = capture(&mut program("rustc", ["--print", "sysroot"]))?;
    let mut command = program(toolchain_bin()?.join("rust-objcopy"), ["--strip-unneeded"]);
    command.env("LD_LIBRARY_PATH", Path::new(sysroot.trim()).join("lib"));
    capture(command.arg(from).arg(to)).map(drop)
}

// ---------------------------------------------------------------- what reaches what

/// A section that is loaded into the device, and the sections it refers to.
struct Section {
    size: u64,
    intrinsic: bool,
    refers_to: HashSet<SectionIndex>,
}

/// The code of an object, section by section; each function has one of its own.
pub struct Code {
    sections: HashMap<SectionIndex, Section>,
    functions: BTreeMap<String, SectionIndex>,
}

/// Bytes reached from some functions.
pub struct Closure {
    /// Knoll's own.
    pub own: u64,
    /// `memcpy` and its like.
    pub intrinsics: u64,
}

impl Code {
    /// Builds the library for a target, with some of its layouts or all, and reads it.
    pub fn build(target: &str, layouts: &[&str], small: bool) -> Result<Code> {
        let library =
            Library { target: Some(target), features: layouts, no_default_features: !layouts.is_empty(), small };
        let object = localised_object(&library.archive()?, target)?;
        Code::read(&std::fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?)
    }

    fn read(bytes: &[u8]) -> Result<Code> {
        let file = object::File::parse(bytes)?;
        let mut code = Code { sections: HashMap::new(), functions: BTreeMap::new() };
        for section in file.sections() {
            let loaded = matches!(
                section.kind(),
                SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data
            );
            if !loaded {
                continue;
            }
            let name = section.name()?;
            let intrinsic = name.contains("compiler_builtins") || name.contains(".__aeabi") || name.contains(".mem");
            let mut refers_to = HashSet::new();
            for (_, relocation) in section.relocations() {
                if let RelocationTarget::Symbol(index) = relocation.target() {
                    refers_to.extend(file.symbol_by_index(index)?.section_index());
                }
            }
            code.sections.insert(section.index(), Section { size: section.size(), intrinsic, refers_to });
        }
        for symbol in file.symbols().filter(|symbol| symbol.is_global()) {
            if let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) {
                if is_public(name) {
                    code.functions.insert(name.to_owned(), section);
                }
            }
        }
        Ok(code)
    }

    /// What a program pays that calls these functions only.
    pub fn closure(&self, roots: &[impl AsRef<str>]) -> Closure {
        let mut pending: Vec<SectionIndex> =
            roots.iter().filter_map(|name| self.functions.get(name.as_ref()).copied()).collect();
        let mut reached = HashSet::new();
        while let Some(index) = pending.pop() {
            if let Some(section) = self.sections.get(&index) {
                if reached.insert(index) {
                    pending.extend(&section.refers_to);
                }
            }
        }
        let sum = |intrinsic| {
            let sections = reached.iter().map(|index| &self.sections[index]);
            sections.filter(|section| section.intrinsic == intrinsic).map(|section| section.size).sum()
        };
        Closure { own: sum(false), intrinsics: sum(true) }
    }
}
