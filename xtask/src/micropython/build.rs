//! MicroPython, built with its own heap or with Knoll's: the unix port, and the qemu port as firmware.
//!
//! - The source is never changed and never built in: each configuration has a directory of its own,
//!   `target/micropython/build/NAME`, in which make builds again what has changed, Knoll's archive included.
//! - Stock and Knoll differ in one thing: `USER_C_MODULES` names `micropython/` of this repository. What belongs to
//!   both, the configuration and the frozen application, is the same.
//! - Two runs of xtask may build the same at the same time: one waits until the other has done it.
//! - Knoll comes as an archive of one object like those of `cargo xtask dist`, with what an interpreter needs.
//!
//! ```text
//!   package() ──▶ lib/TARGET/libknoll.a ──┐
//!   source/ ──▶ mpy-cross ──▶ frozen code ──┐ │
//!   source/ ports/{unix,qemu} ──────────────┴─┴─▶ build/{unix,qemu}-{stock,knoll}…/
//! ```

use super::{folder, source::source};
use crate::dist::copy_headers;
use crate::localise::{localised_object_without_copies, write_archive};
use crate::util::{capture, display, note, program, root, Library};
use anyhow::{bail, Context, Result};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Whose heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heap {
    /// MicroPython's own collector.
    Stock,
    /// Knoll's traced heap.
    Knoll,
}

impl Heap {
    /// As in the names of directories and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Heap::Stock => "stock",
            Heap::Knoll => "knoll",
        }
    }
}

/// A build of a port that differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variant<'a> {
    /// Added to the name of its directory; empty for the usual one.
    pub name: &'a str,
    /// Variables for make, `NAME=value`.
    pub settings: &'a [&'a str],
}

/// The Rust target of the firmware, Cortex-M3.
const FIRMWARE_TARGET: &str = "thumbv7m-none-eabi";
/// What the qemu port gives its heap unless it is told otherwise.
const FIRMWARE_HEAP: u32 = 143_360;

/// Leaves out what needs libraries that MicroPython's source archive does not have; keeps the symbols.
const UNIX: [&str; 4] = ["MICROPY_PY_SSL=0", "MICROPY_PY_BTREE=0", "FROZEN_MANIFEST=", "STRIP="];

/// The interpreter of the unix port; returns `micropython`.
pub fn unix(heap: Heap) -> Result<PathBuf> {
    unix_variant(heap, Variant::default())
}

/// The same, configured otherwise.
pub fn unix_variant(heap: Heap, variant: Variant) -> Result<PathBuf> {
    let directory = directory("unix", heap, variant.name)?;
    let mut make = make("ports/unix", &directory)?;
    make.args(UNIX).args(variant.settings);
    add_heap(&mut make, heap, &crate::util::host()?)?;
    build(make, &directory, "micropython")
}

/// The firmware of the qemu port for the MPS2 board with a Cortex-M3, with the application of `micropython/app` frozen
/// in it; returns `firmware.elf`. `heap_bytes`: another size of the heap; `slice`: granules that a step of Knoll's
/// sweep looks at, 0 for all at once.
pub fn firmware(heap: Heap, heap_bytes: Option<u32>, slice: u32) -> Result<PathBuf> {
    let mut name =
        heap_bytes.filter(|bytes| *bytes != FIRMWARE_HEAP).map_or(String::new(), |bytes| format!("-{bytes}"));
    let mut settings = vec![format!("MICROPY_HEAP_SIZE={}", heap_bytes.unwrap_or(FIRMWARE_HEAP))];
    if slice > 0 && heap == Heap::Knoll {
        name.push_str(&format!("-slice{slice}"));
        settings.push(format!("KNOLL_SLICE={slice}"));
    }
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    firmware_variant(heap, Variant { name: &name, settings: &settings })
}

/// The same, configured otherwise.
pub fn firmware_variant(heap: Heap, variant: Variant) -> Result<PathBuf> {
    let cross = mpy_cross()?;
    let directory = directory("qemu", heap, variant.name)?;
    let mut make = make("ports/qemu", &directory)?;
    make.arg("BOARD=MPS2_AN385").arg(format!("MICROPY_MPYCROSS={}", cross.display()));
    // The port has no dependency on a compiler that is given to it.
    make.arg("MICROPY_MPYCROSS_DEPENDENCY=");
    make.arg(format!("FROZEN_MANIFEST={}", root().join("micropython/app/manifest.py").display()));
    make.args(variant.settings);
    add_heap(&mut make, heap, FIRMWARE_TARGET)?;
    build(make, &directory, "firmware.elf")
}

/// The compiler from Python to `.mpy` files.
pub fn mpy_cross() -> Result<PathBuf> {
    let directory = folder()?.join("build/mpy-cross");
    build(make("mpy-cross", &directory)?, &directory, "mpy-cross")
}

/// What of Knoll an interpreter needs: the traced heap; counted cells and arenas for the Python module, in the one
/// layout that fits pools of up to 256 KB.
const FEATURES: &[&str] = &["traced", "counted", "arena", "layout-compact"];

/// Packs Knoll's archive for an interpreter on a target, and the headers beside it, into a directory.
pub fn package(target: &str, directory: &Path) -> Result<PathBuf> {
    // What is hot is in line whatever the level; a firmware has little room.
    let small = target.contains("-none-");
    let raw = Library { target: Some(target), features: FEATURES, no_default_features: true, small }.archive()?;
    let object = localised_object_without_copies(&raw, target)?;
    let _alone = alone(directory)?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let archive = directory.join("libknoll.a");
    let beside = directory.join("libknoll.a.new");
    write_archive(&object, &beside)?;
    // make compares times: what is the same stays.
    if std::fs::read(&beside).ok() != std::fs::read(&archive).ok() {
        std::fs::rename(&beside, &archive)?;
    } else {
        std::fs::remove_file(&beside)?;
    }
    copy_headers(directory)?;
    Ok(archive)
}

/// The archive that the builds of this folder link, packed once in each run of xtask.
fn library(target: &str) -> Result<PathBuf> {
    static PACKED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut packed = PACKED.lock().expect("nobody panics with it");
    if let Some(archive) = packed.get(target) {
        return Ok(archive.clone());
    }
    let archive = package(target, &folder()?.join("lib").join(target))?;
    packed.insert(target.to_owned(), archive.clone());
    Ok(archive)
}

/// Builds the unix port as far as the check of py/gc.c's functions, against a list of names.
pub fn check_symbols(known: &[String]) -> Result<()> {
    let directory = directory("unix", Heap::Knoll, "-symbols")?;
    let checked = directory.join("knoll/gc_symbols.checked");
    if checked.exists() {
        std::fs::remove_file(&checked)?;
    }
    let mut make = make("ports/unix", &directory)?;
    make.args(UNIX).arg(format!("KNOLL_GC={}", known.join(" "))).arg(&checked);
    add_heap(&mut make, Heap::Knoll, &crate::util::host()?)?;
    build(make, &directory, "knoll/gc_symbols.checked").map(drop)
}

/// A port for this machine that CMake builds, with Knoll's heap (`micropython/tests/cmake`); returns the interpreter,
/// which runs the text of its argument.
pub fn cmake_port() -> Result<PathBuf> {
    let directory = directory("cmake", Heap::Knoll, "")?;
    let library = library(&crate::util::host()?)?;
    let knoll = root().join("micropython");
    let _alone = alone(&directory)?;
    let mut configure = program("cmake", ["-S"]);
    configure.arg(knoll.join("tests/cmake")).arg("-B").arg(&directory);
    configure.arg(format!("-DMICROPY_DIR={}", source()?.display()));
    configure.arg(format!("-DUSER_C_MODULES={}", knoll.join("knoll/micropython.cmake").display()));
    configure.arg(format!("-DKNOLL_LIBRARY={}", library.display()));
    capture(&mut configure)?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    capture(program("cmake", ["--build"]).arg(&directory).args(["--parallel", &jobs]))?;
    Ok(directory.join("fixture"))
}

// ---------------------------------------------------------------- make

fn directory(port: &str, heap: Heap, variant: &str) -> Result<PathBuf> {
    Ok(folder()?.join("build").join(format!("{port}-{}{variant}", heap.name())))
}

/// make in a part of the source, for a directory elsewhere.
fn make(part: &str, directory: &Path) -> Result<Command> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut make = program("make", ["--no-print-directory", "--silent"]);
    make.arg(format!("--jobs={jobs}"))
        .arg("-C")
        .arg(source()?.join(part))
        .arg(format!("BUILD={}", directory.display()));
    // Whoever called xtask may be make itself, with settings of its own.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS", "LDFLAGS"] {
        make.env_remove(variable);
    }
    Ok(make)
}

/// Takes Knoll's folder in, with the library for the target.
fn add_heap(make: &mut Command, heap: Heap, target: &str) -> Result<()> {
    if heap == Heap::Knoll {
        make.arg(format!("USER_C_MODULES={}", root().join("micropython").display()));
        make.arg(format!("KNOLL_LIBRARY={}", library(target)?.display()));
    }
    Ok(())
}

/// Waits until no other process writes into the directory; until the answer is dropped none does.
fn alone(directory: &Path) -> Result<File> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let path = directory.with_file_name(format!("{name}.lock"));
    let parent = path.parent().context("a directory without a name")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            note(format!("another process builds {name}: waiting for it"));
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context(format!("cannot lock {}", path.display())),
    }
    Ok(file)
}

/// Runs make, its output into a log, and returns the file that it makes.
fn build(mut make: Command, directory: &Path, file: &str) -> Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let _alone = alone(directory)?;
    // make does not notice that it is told other settings.
    let settings = directory.with_extension("settings");
    let told = display(&make);
    if directory.exists() && std::fs::read_to_string(&settings).ok() != Some(told.clone()) {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::write(&settings, told)?;
    if !directory.join(file).exists() {
        note(format!("building MicroPython: {name}, up to half a minute"));
    }
    std::fs::create_dir_all(directory)?;
    let output = make.output().context("cannot run make; tools/setup.sh says what is missing")?;
    let text = [output.stdout, output.stderr].concat();
    let log = directory.with_extension("log");
    std::fs::write(&log, &text)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with("CC ") && !line.starts_with("GEN ")).collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        bail!("MicroPython, {name}: make failed ({}); {}\n{end}", output.status, crate::util::root_relative(&log));
    }
    Ok(directory.join(file))
}
