//! `cargo xtask dist`: for each target `dist/TARGET/libknoll.a` and `knoll.h`, and `dist/SHA256SUMS`.
//!
//! The archives are localised and stripped (see [`crate::localise`]). `--check` builds them and
//! then verifies what the packages promise:
//!
//! - only `kn_*` and `GC_*` are global, and they are just the functions that the header declares;
//! - a bare target's archive needs nothing from outside; a hosted one only libc's functions;
//! - no symbol of `core::panicking` or `core::fmt` is in it: no call can panic or print;
//! - a bare target's archive has no initialised data and next to no zeroed data;
//! - libknoll.so exports these with a version and libc's names without (see [`crate::shared`]), needs only
//!   libc, has no constructor, and is no larger than the limits below;
//! - two Rust-built archives link into one program and both work, on the host and as firmware.

use crate::header::{declared_functions, headers};
use crate::localise::{is_public, localised_object, sizes, write_archive, Symbols};
use crate::shared;
use crate::size;
use crate::util::{self, announce, build_static, capture, note, program, root, toolchain_bin, work_dir, Tally};
use anyhow::{bail, Context, Result};
use object::Object as _;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct Args {
    /// Verify the archives too
    #[arg(long)]
    check: bool,
    /// Only the firmware targets
    #[arg(long)]
    firmware: bool,
    /// Only these targets
    #[arg(long = "target")]
    targets: Vec<String>,
    /// Where to put them
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

/// The targets that are packaged, and what each is for.
const TARGETS: &[(&str, &str)] = &[
    ("thumbv6m-none-eabi", "Cortex-M0, M0+, M1"),
    ("thumbv7m-none-eabi", "Cortex-M3"),
    ("thumbv7em-none-eabi", "Cortex-M4, M7; soft float ABI"),
    ("thumbv7em-none-eabihf", "Cortex-M4F, M7F; hard float ABI"),
    ("thumbv8m.main-none-eabi", "Cortex-M33; soft float ABI"),
    ("thumbv8m.main-none-eabihf", "Cortex-M33F; hard float ABI"),
    ("riscv32imac-unknown-none-elf", "RISC-V, 32 bit"),
    ("wasm32-unknown-unknown", "WebAssembly"),
    ("i686-unknown-linux-gnu", "Linux, 32 bit"),
    ("x86_64-unknown-linux-gnu", "Linux, 64 bit"),
];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(target, _)| !args.firmware || is_bare(target))
        .filter(|(target, _)| args.targets.is_empty() || args.targets.iter().any(|wanted| wanted == target))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
        bail!("no such target; there are {}", names.join(", "));
    }
    let dist = root().join(&args.out);
    let mut tally = Tally::default();
    for (target, what) in chosen {
        announce(format!("{target}: {what}"));
        let archive = package(target, &dist.join(target))?;
        let sizes = sizes(&archive)?;
        note(format!(
            "{}: {} bytes of code and constants, {} of data",
            shown(&archive),
            sizes.code,
            sizes.data + sizes.zeroed
        ));
        if args.check {
            verify(target, &archive, &mut tally);
        }
    }
    write_sums(&dist)?;
    if args.check {
        announce("libknoll.so");
        match util::build_shared() {
            Err(error) => tally.record("libknoll.so", Err(error)),
            Ok(shared) => verify_shared(&shared, &mut tally)?,
        }
        tally.record("archives as Cargo builds them would not pass", raw_is_refused());
        announce("Two archives built by Rust in one program");
        tally.record("on the host, run", two_archives_on_the_host());
        for cpu in ["m0", "m3", "m4"] {
            tally.record(format!("as firmware for Cortex-{}, run", cpu.to_uppercase()), two_archives_in_firmware(cpu));
        }
        return tally.finish();
    }
    Ok(())
}

/// Has the target no operating system below it?
fn is_bare(target: &str) -> bool {
    target.contains("-none-")
}

/// Builds, localises and packs one target; returns the archive.
pub fn package(target: &str, directory: &Path) -> Result<PathBuf> {
    let raw = build_static(Some(target), &[])?;
    let object = localised_object(&raw, target)?;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let archive = directory.join("libknoll.a");
    write_archive(&object, &archive)?;
    copy_headers(directory)?;
    Ok(archive)
}

/// `knoll.h`, and beside it the directory `knoll` with the dialects.
pub fn copy_headers(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory.join("knoll"))?;
    for header in headers()? {
        std::fs::copy(root().join("include").join(&header), directory.join(&header)).context(header)?;
    }
    Ok(())
}

/// `dist/SHA256SUMS`, in the format of `sha256sum -c`, over every target that is there.
fn write_sums(dist: &Path) -> Result<()> {
    let mut lines = BTreeSet::new();
    for (target, _) in TARGETS {
        let headers = headers()?;
        for file in std::iter::once("libknoll.a").chain(headers.iter().map(String::as_str)) {
            let Ok(bytes) = std::fs::read(dist.join(target).join(file)) else { continue };
            let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            lines.insert((format!("{target}/{file}"), sum));
        }
    }
    let text: String = lines.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect();
    std::fs::write(dist.join("SHA256SUMS"), text)?;
    note(format!("{}: {} files", shown(&dist.join("SHA256SUMS")), lines.len()));
    Ok(())
}

// ---------------------------------------------------------------- what an archive promises

fn verify(target: &str, archive: &Path, tally: &mut Tally) {
    match Symbols::read(archive) {
        Err(error) => tally.record(format!("{target}: symbols"), Err(error)),
        Ok(symbols) => {
            tally.record(format!("{target}: only kn_* and GC_* are global"), only_public(&symbols));
            tally.record(format!("{target}: the functions are those of knoll.h"), as_declared(&symbols));
            tally.record(format!("{target}: nothing of core::panicking or core::fmt"), no_panic(&symbols));
            tally.record(format!("{target}: needs nothing it should not"), needs(target, &symbols));
        }
    }
    if target.starts_with("wasm") {
        tally.record(format!("{target}: links to a module that imports nothing"), links_to_module(archive));
    }
    if is_bare(target) {
        let statics = sizes(archive).and_then(|sizes| match (sizes.data, sizes.zeroed) {
            (0, 0..=STATICS) => Ok(()),
            (data, zeroed) => bail!("{data} bytes initialised, {zeroed} zeroed"),
        });
        tally.record(format!("{target}: no initialised data, at most {STATICS} bytes zeroed"), statics);
    }
}

/// All state hangs off a heap; the platform layer's default heap, its lock and the error hook are
/// the only statics of a bare target.
const STATICS: u64 = 64;

/// A WebAssembly module of all public functions; the linker refuses what is undefined.
fn links_to_module(archive: &Path) -> Result<()> {
    let module = work_dir("wasm")?.join("knoll.wasm");
    let mut link = program(toolchain_bin()?.join("rust-lld"), ["-flavor", "wasm", "--no-entry"]);
    for name in Symbols::read(archive)?.public() {
        link.arg(format!("--export={name}"));
    }
    capture(link.arg("-o").arg(&module).arg(archive))?;
    let bytes = std::fs::read(&module)?;
    match object::File::parse(&*bytes)?.imports()?.len() {
        0 => Ok(()),
        count => bail!("{count} imports"),
    }
}

fn none_of(what: &str, names: Vec<&String>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = names.iter().take(12).map(|name| name.as_str()).collect();
    bail!("{} {what}: {}", names.len(), shown.join(", "))
}

fn only_public(symbols: &Symbols) -> Result<()> {
    none_of("others", symbols.global.iter().filter(|name| !is_public(name)).collect())
}

/// The control: these checks are not blind. Cargo's own archive has other globals than ours, and
/// that of a library that panics shows it.
fn raw_is_refused() -> Result<()> {
    let target = "thumbv7em-none-eabi";
    if only_public(&Symbols::read(&build_static(Some(target), &[])?)?).is_ok() {
        bail!("no other global is found in Cargo's archive");
    }
    if no_panic(&Symbols::read(&second_archive(target)?)?).is_ok() {
        bail!("no panic is found in a library that has one");
    }
    Ok(())
}

fn as_declared(symbols: &Symbols) -> Result<()> {
    let declared = declared_functions(&std::fs::read_to_string(root().join("include/knoll.h"))?);
    if declared.is_empty() {
        bail!("knoll.h declares no function; is the pattern still right?");
    }
    none_of("declared but not there", declared.iter().filter(|name| !symbols.global.contains(*name)).collect())?;
    none_of("there but not declared", symbols.public().filter(|name| !declared.contains(*name)).collect())
}

/// Mangled names keep their path: `4core9panicking`, `4core3fmt`.
fn no_panic(symbols: &Symbols) -> Result<()> {
    let all = symbols.global.iter().chain(&symbols.local).chain(&symbols.undefined);
    none_of("of them", all.filter(|name| name.contains("9panicking") || name.contains("4core3fmt")).collect())
}

fn needs(target: &str, symbols: &Symbols) -> Result<()> {
    let allowed: &[&str] = if is_bare(target) {
        &[]
    } else if target.starts_with("wasm") {
        // The linker's own, and the runtime's way to grow the memory is an instruction.
        &["__stack_pointer", "__linear_memory", "__indirect_function_table", "__heap_base", "__heap_end"]
    } else {
        LIBC
    };
    none_of("not allowed", symbols.undefined.iter().filter(|name| !allowed.contains(&name.as_str())).collect())
}

/// What the hosted archive may call: memory, locks and the mapping of pages.
const LIBC: &[&str] = &[
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "bcmp",
    "mmap",
    "mmap64",
    "munmap",
    "mremap",
    "madvise",
    "sysconf",
    "__errno_location",
    "__libc_single_threaded",
    "getpid",
    "abort",
    "write",
    "syscall",
    "sched_yield",
    "pthread_atfork",
    "__register_atfork",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "pthread_key_create",
    "pthread_setspecific",
    "pthread_getspecific",
    "pthread_key_delete",
    "pthread_self",
    "_GLOBAL_OFFSET_TABLE_",
    "__tls_get_addr",
    "___tls_get_addr",
    "__dso_handle",
];

// ---------------------------------------------------------------- what the shared library promises

/// The largest that libknoll.so may be, stripped, as a malloc and no more: without counted cells, arenas and
/// the layouts that a process heap does not use. The design asks 64 KB of the whole library: both miss it.
/// The pages of small blocks, what returns memory, and the reports came to what was below it.
const MALLOC_LIMIT: u64 = 74 * 1024;
/// The largest that the whole libknoll.so may be, stripped. Traced memory came to what was below 188 KB: 15.5 KB.
const SHARED_LIMIT: u64 = 204 * 1024;

/// Functions of libgc whose names begin as ours do. Preloaded under Guile, a function of ours with one of
/// these names would be called in place of libgc's.
const BOEHM: &[&str] = &[
    "GC_init",
    "GC_malloc",
    "GC_malloc_atomic",
    "GC_realloc",
    "GC_free",
    "GC_base",
    "GC_size",
    "GC_same_obj",
    "GC_gcollect",
    "GC_collect_a_little",
    "GC_enable",
    "GC_disable",
    "GC_is_disabled",
    "GC_is_marked",
    "GC_dump",
    "GC_debug_free",
    "GC_exclude_static_roots",
    "GC_get_heap_size",
    "GC_get_free_bytes",
    "GC_add_roots",
    "GC_clear_roots",
    "GC_register_finalizer",
    "GC_strdup",
    "GC_memalign",
    "GC_set_warn_proc",
    "GC_call_with_alloc_lock",
    "GC_start_mark_threads",
    "GC_posix_memalign",
    "GC_push_all",
    "GC_mark_and_push",
];

fn apart_from_boehm(declared: &BTreeSet<String>) -> Result<()> {
    let both: Vec<&str> = BOEHM.iter().copied().filter(|name| declared.contains(*name)).collect();
    if !both.is_empty() {
        bail!("{}", both.join(", "));
    }
    Ok(())
}

/// It must work before thread-local storage is set up and before main, and beside any program.
fn verify_shared(shared: &Path, tally: &mut Tally) -> Result<()> {
    let symbols = Symbols::read(shared)?;
    let dynamic = shared::readelf("--dynamic", shared)?;
    tally.record("libknoll.so: nothing of core::panicking or core::fmt", no_panic(&symbols));

    let libc_names = shared::libc_names()?;
    let declared = declared_functions(&std::fs::read_to_string(root().join("include/knoll.h"))?);
    tally.record(
        format!(
            "libknoll.so: exported are the {} functions of knoll.h as {}, {} libc names without a version, no more",
            declared.len(),
            shared::symbol_version()?,
            libc_names.len()
        ),
        shared::check_symbols(shared, &declared),
    );
    tally.record("libknoll.so: a function more or less would not pass", difference_is_refused(shared, &declared));

    tally.record(
        "libknoll.so: no name of the Boehm collector's, which programs call by itself",
        apart_from_boehm(&declared),
    );

    let lines_with = |tag: &str| dynamic.lines().filter(|line| line.contains(tag)).collect::<Vec<_>>();
    let needed = lines_with("(NEEDED)");
    let only_libc = match needed[..] {
        [line] if line.contains("[libc.so.") => Ok(()),
        _ => bail_with(needed.join(", ")),
    };
    tally.record("libknoll.so: needs libc and nothing else", only_libc);
    let soname = util::soname()?;
    let as_installed = match lines_with("(SONAME)")[..] {
        [line] if line.contains(&format!("[{soname}]")) => Ok(()),
        _ => bail_with(format!("not {soname}")),
    };
    tally.record(format!("libknoll.so: its name is {soname}"), as_installed);
    let constructors = [lines_with("INIT"), lines_with("(FINI)")].concat().join(", ");
    let none = if constructors.is_empty() { Ok(()) } else { bail_with(constructors) };
    tally.record("libknoll.so: no constructor", none);
    tally.record(
        "libknoll.so: at most eight words of initial-exec thread-local storage",
        shared::check_storage(shared).map(note),
    );

    let mut below = |what: &str, library: &Path, limit: u64| -> Result<()> {
        let bytes = size::stripped_bytes(library)?;
        let small = if bytes < limit { Ok(()) } else { bail_with(format!("{bytes} bytes")) };
        tally.record(format!("{what}: {bytes} bytes stripped, under {limit}"), small);
        Ok(())
    };
    below("libknoll.so", shared, SHARED_LIMIT)?;
    below("libknoll.so without counted cells and arenas", &util::build_malloc_only()?, MALLOC_LIMIT)
}

/// The control: the check of the symbols is not blind.
fn difference_is_refused(shared: &Path, declared: &BTreeSet<String>) -> Result<()> {
    let (mut more, mut less) = (declared.clone(), declared.clone());
    more.insert("kn_nothing".to_owned());
    less.pop_first();
    for wrong in [more, less] {
        if shared::check_symbols(shared, &wrong).is_ok() {
            bail!("{} functions pass, too", wrong.len());
        }
    }
    Ok(())
}

fn bail_with(what: String) -> Result<()> {
    bail!(what)
}

// ---------------------------------------------------------------- beside another Rust archive

const BOTH: &str = r#"#include "knoll.h"
#include <stdio.h>

uint32_t second_copy(uint8_t *to, const uint8_t *from, size_t count);

static uint64_t memory[256];

int main(void) {
  KnHeap *heap = kn_heap_create(memory, sizeof memory);
  uint8_t *from = heap ? kn_heap_malloc(heap, 100) : NULL;
  uint8_t *to = heap ? kn_heap_malloc(heap, 100) : NULL;
  if (from == NULL || to == NULL) return 1;
  for (unsigned i = 0; i < 100; i++) from[i] = (uint8_t)i;
  uint32_t sum = second_copy(to, from, 100);
  kn_heap_free(heap, from);
  kn_heap_free(heap, to);
  printf("sum %u\n", (unsigned)sum);
  return sum == 4950 && kn_heap_check(heap) == KN_OK ? 0 : 2;
}
"#;

/// The second archive, raw as Cargo builds it.
fn second_archive(target: &str) -> Result<PathBuf> {
    let build = work_dir("second_archive")?;
    let mut command = util::cargo();
    command.args(["build", "--quiet", "--release", "--target", target]);
    command.args(["--manifest-path", "xtask/fixtures/second_archive/Cargo.toml"]).env("CARGO_TARGET_DIR", &build);
    util::run(&mut command)?;
    Ok(build.join(target).join("release/libsecond_archive.a"))
}

fn two_archives_on_the_host() -> Result<()> {
    let target = util::host()?;
    let directory = work_dir("two_archives")?;
    let ours = package(&target, &directory.join(&target))?;
    let source = directory.join("both.c");
    std::fs::write(&source, BOTH)?;
    let program_path = directory.join("both");
    let mut link = program("gcc", ["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"]);
    link.arg(&program_path).arg(&source).arg("-I").arg(root().join("include"));
    util::run(link.arg(&ours).arg(second_archive(&target)?))?;
    capture(&mut std::process::Command::new(&program_path)).map(drop)
}

fn two_archives_in_firmware(cpu: &str) -> Result<()> {
    let target = match cpu {
        "m0" => "thumbv6m-none-eabi",
        "m3" => "thumbv7m-none-eabi",
        _ => "thumbv7em-none-eabi",
    };
    let directory = work_dir("two_archives")?;
    let ours = package(target, &directory.join(target))?;
    let source = directory.join("both.c");
    std::fs::write(&source, BOTH)?;
    let firmware = directory.join(format!("both-{cpu}.elf"));
    let mut link = program("emu/firmware/build.sh", [cpu]);
    link.arg(&firmware).arg(&source).arg(&ours).arg(second_archive(target)?);
    // A raw archive's assembly has no note about the stack; not ours to mend.
    util::run(
        link.args(["--", "-Wall", "-Wextra", "-Werror", "-Wl,--no-warn-execstack", "-I"]).arg(root().join("include")),
    )?;
    let mut emulate = std::process::Command::new(util::emu_binary()?);
    util::run(emulate.arg("run").arg(&firmware).args(["--cpu", cpu]))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
