//! The allocators that are measured, and how the benchmark's program is built with each.
//!
//! One program holds one allocator. The same C sources (`benches/embedded/*.c`) become a firmware for Cortex-M4 or
//! Cortex-M0 and, for quick figures that need no instruction counts, an i686 program: there too pointers have four
//! bytes and blocks are 8-byte aligned, so that every heap is laid out as on the device.

use crate::util::{self, Library};
use anyhow::{bail, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// An allocator under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Contender {
    /// Knoll's archive as shipped, the layout chosen by `kn_heap_create_with`.
    KnollMap,
    KnollCompact,
    KnollWide,
    /// Knoll built with one layout only: nothing is decided at run time.
    KnollOnlyMap,
    KnollOnlyCompact,
    Rlsf,
    Talc,
    Llff,
    NewlibNano,
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Machine {
    /// 32-bit program on the development machine.
    I686,
    /// Cortex-M4 in the emulator.
    M4,
    /// Cortex-M0 in the emulator.
    M0,
}

use Contender::{KnollCompact, KnollMap, KnollOnlyCompact, KnollOnlyMap, KnollWide, Llff, NewlibNano, Rlsf, Talc};

impl Contender {
    pub const ALL: [Contender; 9] =
        [KnollMap, KnollCompact, KnollWide, KnollOnlyMap, KnollOnlyCompact, Rlsf, Talc, Llff, NewlibNano];
    /// Knoll as shipped.
    pub const KNOLL: [Contender; 3] = [KnollMap, KnollCompact, KnollWide];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            KnollMap => "knoll-map",
            KnollCompact => "knoll-compact",
            KnollWide => "knoll-wide",
            KnollOnlyMap => "knoll-only-map",
            KnollOnlyCompact => "knoll-only-compact",
            Rlsf => "rlsf",
            Talc => "talc",
            Llff => "llff",
            NewlibNano => "newlib-nano",
        }
    }

    fn layout(self) -> Option<&'static str> {
        match self {
            KnollMap | KnollOnlyMap => Some("map"),
            KnollCompact | KnollOnlyCompact => Some("compact"),
            KnollWide => Some("wide"),
            Rlsf | Talc | Llff | NewlibNano => None,
        }
    }

    fn only_one_layout(self) -> bool {
        self.twin().is_some()
    }

    /// The allocator that uses memory in the same way and has the same code size: for Knoll built with one layout,
    /// Knoll as shipped in that layout.
    pub fn twin(self) -> Option<Contender> {
        match self {
            KnollOnlyMap => Some(KnollMap),
            KnollOnlyCompact => Some(KnollCompact),
            _ => None,
        }
    }

    /// The functions that make up init, malloc, free and realloc: what the code size is of.
    pub fn functions(self) -> [&'static str; 4] {
        match self {
            NewlibNano => ["_malloc_r", "_free_r", "_realloc_r", "malloc"],
            Rlsf | Talc | Llff => ["h_init", "h_malloc", "h_free", "h_realloc"],
            _ => ["kn_heap_create", "kn_heap_malloc", "kn_heap_free", "kn_heap_realloc"],
        }
    }
}

impl Machine {
    /// The Rust target.
    pub fn triple(self) -> &'static str {
        match self {
            Machine::I686 => "i686-unknown-linux-gnu",
            Machine::M4 => "thumbv7em-none-eabi",
            Machine::M0 => "thumbv6m-none-eabi",
        }
    }

    /// The emulator's and the firmware build's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::I686 => "i686",
            Machine::M4 => "m4",
            Machine::M0 => "m0",
        }
    }
}

/// `benches/embedded`.
pub fn sources() -> PathBuf {
    util::root().join("benches/embedded")
}

/// The allocator as an archive; `None` for newlib's, which comes with the C library. `small` builds it for code size.
fn archive(contender: Contender, machine: Machine, small: bool) -> Result<Option<PathBuf>> {
    let target = Some(machine.triple());
    if let Some(layout) = contender.layout() {
        let feature = format!("layout-{layout}");
        let library = match contender.only_one_layout() || small {
            true => Library { target, features: &[&feature], no_default_features: true, small },
            false => Library { target, ..Library::default() },
        };
        return library.archive().map(Some);
    }
    if contender == NewlibNano {
        return Ok(None);
    }
    // A target directory each: Cargo would otherwise overwrite one archive with the next.
    let mut directory = util::target_dir().join("knoll/rivals").join(contender.name());
    let mut command = util::cargo();
    command.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--manifest-path",
        "benches/embedded/rivals/Cargo.toml",
    ]);
    command.args(["--features", contender.name(), "--target", machine.triple()]);
    if small {
        directory.push("small");
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s");
    }
    command.env("CARGO_TARGET_DIR", &directory);
    util::run(&mut command)?;
    Ok(Some(directory.join(machine.triple()).join("release/librivals.a")))
}

/// The benchmark's program with one allocator; `traces` is the assembly file that `traces::convert` wrote.
pub fn program(contender: Contender, machine: Machine, traces: &Path) -> Result<PathBuf> {
    let archive = archive(contender, machine, false)?;
    let out = util::work_dir(&format!("bench/{}", machine.name()))?.join(contender.name());
    let mut files: Vec<PathBuf> =
        ["driver.c", "blocks.c", "occupancy.c", "workloads.c"].iter().map(|file| sources().join(file)).collect();
    files.push(traces.to_owned());
    files.extend(archive);
    // Rust's objects say that they need no executable stack, newlib's say nothing.
    let mut options: Vec<String> = ["-Wall", "-Wextra", "-Werror", "-Wl,-z,noexecstack"].map(String::from).to_vec();
    if let Some(layout) = contender.layout() {
        files.push(sources().join("adapters/knoll.c"));
        options.push("-DBENCH_KNOLL".into());
        options.push(format!("-DBENCH_LAYOUT=KN_LAYOUT_{}", layout.to_uppercase()));
        options.push(format!("-I{}", util::root().join("include").display()));
    }
    if contender == NewlibNano {
        if machine == Machine::I686 {
            bail!("newlib-nano exists on the Cortex-M machines only");
        }
        files.push(sources().join("adapters/newlib_nano.c"));
        options.extend(["-DBENCH_LIBC".into(), "-Wl,--wrap=_sbrk_r".into()]);
    }
    if machine == Machine::I686 {
        let mut gcc = util::program("gcc", ["-m32", "-std=gnu11", "-O2", "-no-pie", "-Iemu/firmware", "-o"]);
        util::run(gcc.arg(&out).args(&files).args(&options))?;
    } else {
        options.push("--specs=nano.specs".into());
        let mut build = util::program("emu/firmware/build.sh", [machine.name()]);
        util::run(build.arg(&out).args(&files).arg("--").args(&options))?;
    }
    Ok(out)
}

/// Bytes of code and constants that init, malloc, free and realloc need, all they call included, `memcpy` and its
/// like left out; built for size (`-Os`, Rust's `opt-level = "s"`), Knoll with one layout.
pub fn code_size(contender: Contender, machine: Machine) -> Result<u64> {
    use object::{Object, ObjectSection, ObjectSymbol, SectionFlags};

    let out = util::work_dir(&format!("bench/{}", machine.name()))?.join(format!("{}.size", contender.name()));
    let cpu = format!("-mcpu=cortex-{}", machine.name());
    let mut link = util::program("arm-none-eabi-gcc", [&*cpu, "-mthumb", "-nostartfiles", "-nostdlib"]);
    link.args(["-Wl,--gc-sections", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments"]);
    for function in contender.functions() {
        link.arg(format!("-Wl,-u,{function}"));
    }
    link.arg(format!("-Wl,-e,{}", contender.functions()[0]));
    // What is not the allocator's: the driver's panic message, the system's break.
    link.args(["-Wl,--defsym=fail=0", "-Wl,--defsym=_sbrk=0"]);
    link.args(archive(contender, machine, true)?);
    link.args(["--specs=nano.specs", "-lc_nano", "-lgcc", "-o"]).arg(&out);
    util::run(&mut link)?;

    let bytes = std::fs::read(&out)?;
    let elf = object::File::parse(&*bytes)?;
    let counted: Vec<_> = elf
        .sections()
        .filter(|section| {
            let allocated = matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags & u64::from(object::elf::SHF_ALLOC) != 0);
            let name = section.name().unwrap_or_default();
            allocated && [".text", ".rodata", ".data"].iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    let all: u64 = counted.iter().map(|section| section.size()).sum();
    // Several names may stand for one function: each address counts once.
    let mut copying = std::collections::BTreeMap::new();
    for symbol in elf.symbols() {
        let name = symbol.name().unwrap_or_default();
        let inside = counted.iter().any(|section| symbol.section_index() == Some(section.index()));
        if inside && super::emulate::is_copying(name) {
            let size = copying.entry(symbol.address() & !1).or_insert(0);
            *size = symbol.size().max(*size);
        }
    }
    Ok(all - copying.values().sum::<u64>())
}
