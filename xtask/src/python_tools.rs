//! `cargo xtask python-tools`: what Knoll offers to MicroPython without being built into it.
//!
//! - `imports`: the unit tests of `knoll-imports` (`micropython/imports`), the checker of import rules; CPython alone.
//! - `ffi`: `knoll_ffi.py` and `libknoll.so` under MicroPython's unix port, as Debian's source gives it and with Knoll as
//!   its heap. Finalisers that raise leave by longjmp through the library's frames; nothing is lost by that.
//! - `natmod`: `knoll_heap.mpy`, the stateless part as a native module. The archive has no static, no absolute address and
//!   asks for nothing but the memory functions; the module runs on the unix port and, from memory, on the Cortex-M3
//!   firmware in Unicorn, there also in the form for Cortex-M0.
//!
//! MicroPython is built by [`crate::micropython`]; what is made here lies in `target/knoll/natmod`.

use crate::micropython::{build, source::source};
use crate::shared::readelf;
use crate::util::{self, announce, capture, cargo, note, program, root, work_dir, Tally};
use anyhow::{bail, ensure, Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `cargo xtask python-tools`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<Part>,
}

/// What is tested.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The checker of import rules
    Imports,
    /// The library loaded by MicroPython's ffi
    Ffi,
    /// The native module
    Natmod,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut tally = Tally::default();
    if wanted(Part::Imports) {
        imports(&mut tally)?;
    }
    if wanted(Part::Ffi) {
        ffi(&mut tally)?;
    }
    if wanted(Part::Natmod) {
        natmod(&mut tally)?;
    }
    tally.finish()
}

// ---------------------------------------------------------------- knoll-imports

fn imports(tally: &mut Tally) -> Result<()> {
    announce("knoll-imports: the import rules of a firmware");
    let mut tests = program("python3", ["-m", "unittest", "-v"]);
    tests.current_dir(root().join("micropython/imports")).env("PYTHONDONTWRITEBYTECODE", "1");
    // unittest reports on standard error, a line a test: `test_name (module.Class.test_name) ... ok`.
    let output = tests.stdin(Stdio::null()).output().context("python3 can't be run")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut count = 0;
    for line in text.lines() {
        let Some((test, outcome)) = line.split_once(" ... ") else { continue };
        let name = test.split_once('(').map_or(test, |(_, place)| place.trim_end_matches(')'));
        count += 1;
        tally.record(name, if outcome == "ok" { Ok(()) } else { Err(anyhow::anyhow!("{outcome}")) });
    }
    if !output.status.success() || count == 0 {
        bail!("{count} tests, {}\n{text}", output.status);
    }
    tally.record(
        "the application of micropython/app keeps the rules",
        check_application(&[]).map(|text| note(text.trim())),
    );
    tally.record("what its imports cost, measured under MicroPython with Knoll", measured_costs());
    Ok(())
}

/// `knoll-imports` on the application that the tests and `make run` run.
fn check_application(arguments: &[&str]) -> Result<String> {
    let mut command = program(root().join("micropython/imports/knoll-imports"), ["--strict"]);
    command.arg("micropython/imports/settings/app.toml").args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    capture(&mut command)
}

/// The script that measures is run, and its answers are taken: no cost is estimated any more.
fn measured_costs() -> Result<()> {
    let directory = work_dir("imports")?;
    let (script, answers) = (directory.join("measure.py"), directory.join("measured.json"));
    std::fs::write(&script, check_application(&["--measure"])?)?;
    let mut interpreter = Command::new(build::unix(build::Heap::Knoll)?);
    interpreter.env("MICROPYPATH", root().join("micropython/app")).arg(&script);
    std::fs::write(&answers, capture(&mut interpreter)?)?;
    let report = check_application(&["--json", "--cost", &answers.display().to_string()])?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let costs = report["costs"].as_array().context("no costs")?;
    let told = costs.iter().filter(|cost| cost["ram"].as_u64().is_some_and(|bytes| bytes > 0));
    let (mut measured, mut estimated) = (0, Vec::new());
    for cost in told {
        let loads = cost["loads"].as_array().map_or(0, Vec::len);
        if cost["measured"].as_u64() == Some(loads as u64) {
            measured += 1;
        } else {
            estimated.push(cost["statement"].to_string());
        }
    }
    ensure!(estimated.is_empty() && measured > 0, "{measured} are measured, not {}", estimated.join(", "));
    Ok(())
}

// ---------------------------------------------------------------- knoll_ffi.py

fn ffi(tally: &mut Tally) -> Result<()> {
    announce("knoll_ffi.py: libknoll.so from MicroPython, by its module ffi");
    let library = util::build_shared()?;
    for heap in [build::Heap::Stock, build::Heap::Knoll] {
        let mut tests = Command::new(build::unix(heap)?);
        tests.env("MICROPYPATH", root().join("micropython/ffi"));
        tests.arg(root().join("micropython/ffi/tests/test_knoll_ffi.py")).arg(&library);
        record_python(tally, &format!("ffi, MicroPython with {} heap", name(heap)), &mut tests);
    }
    let example = example("ffi", &library)?;
    let mut interpreter = Command::new(build::unix(build::Heap::Stock)?);
    interpreter.env("MICROPYPATH", root().join("micropython/ffi")).arg(example);
    let is_right = |text: &str| text.starts_with("2 0\n") && text.lines().count() == 2;
    tally.record("ffi: the program in README.md", expect(&mut interpreter, is_right));
    Ok(())
}

fn name(heap: build::Heap) -> &'static str {
    match heap {
        build::Heap::Stock => "its own",
        build::Heap::Knoll => "Knoll's",
    }
}

/// The first program in a folder's README.md, as a file, with the library's real path.
fn example(folder: &str, library: &Path) -> Result<PathBuf> {
    let readme = std::fs::read_to_string(root().join("micropython").join(folder).join("README.md"))?;
    let program = readme.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    let script = work_dir("readme")?.join(format!("{folder}.py"));
    let program = program.with_context(|| format!("micropython/{folder}/README.md has no program"))?;
    std::fs::write(&script, program.replace("libknoll.so", &library.display().to_string()))?;
    Ok(script)
}

/// A program whose output is as it should be.
fn expect(command: &mut Command, is_right: impl FnOnce(&str) -> bool) -> Result<()> {
    let text = capture(command)?;
    ensure!(is_right(&text), "it printed\n{text}");
    Ok(())
}

/// Runs a script of ours, which prints `ok NAME` or `FAILED NAME` and why for each test, and its sums at the end.
fn record_python(tally: &mut Tally, what: &str, command: &mut Command) {
    let output = match capture(command) {
        Ok(output) => output,
        Err(error) => return tally.record(what, Err(error)),
    };
    let count = |word: &str| output.lines().filter(|line| line.starts_with(word)).count();
    let sums = format!("{} passed, {} failed", count("ok test_"), count("FAILED test_"));
    // A script that ends in the middle has no sums.
    if count("ok test_") == 0 || output.lines().last() != Some(&sums) {
        return tally.record(what, Err(anyhow::anyhow!("it did not end as it should:\n{output}")));
    }
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(test) = line.strip_prefix("ok ") {
            tally.record(format!("{what}: {test}"), Ok(()));
        } else if let Some(test) = line.strip_prefix("FAILED ") {
            let mut why = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("ok ") && !line.starts_with("FAILED ")) {
                why.push(line);
            }
            tally.record(format!("{what}: {test}"), Err(anyhow::anyhow!("{}", why.join("\n"))));
        }
    }
}

// ---------------------------------------------------------------- knoll_heap.mpy

/// An architecture of MicroPython's native code, and how Rust makes objects for it that MicroPython can load.
struct Architecture {
    /// The directory of what is made.
    folder: &'static str,
    /// As MicroPython calls it.
    name: &'static str,
    /// Rust's target; `None`: the host.
    target: Option<&'static str>,
    /// Positions relative to the program counter, and not by two halves of an instruction each: `mpy_ld.py` knows no others.
    flags: &'static [&'static str],
    /// With arenas, or heaps alone in half the code.
    arenas: bool,
}

const ARM_FLAGS: &[&str] = &["-Crelocation-model=ropi", "-Ctarget-feature=+no-movt"];

/// The host's, when MicroPython knows it, and the firmware's; of Arm's an older core's code runs on a newer one.
const X64: Architecture = Architecture { folder: "x64", name: "x64", target: None, flags: &[], arenas: true };
const ARMV7M: Architecture = Architecture {
    folder: "armv7m",
    name: "armv7m",
    target: Some("thumbv7m-none-eabi"),
    flags: ARM_FLAGS,
    arenas: true,
};
const ARMV6M: Architecture =
    Architecture { folder: "armv6m", name: "armv6m", target: Some("thumbv6m-none-eabi"), ..ARMV7M };
const HEAP_ALONE: Architecture = Architecture { folder: "armv7m-heap", arenas: false, ..ARMV7M };

fn natmod(tally: &mut Tally) -> Result<()> {
    announce("knoll_heap.mpy: heaps and arenas as a native module of MicroPython");
    tally.record("its package: format and lints", lints());
    let script = root().join("micropython/natmod/tests/test_knoll_heap.py");
    if util::host()?.starts_with("x86_64-") {
        if let Some(module) = built(tally, &X64) {
            let mut tests = Command::new(build::unix(build::Heap::Stock)?);
            tests.env("MICROPYPATH", module.parent().context("a module lies in a directory")?).arg(&script);
            record_python(tally, "x64, unix port", &mut tests);
            let mut readme = Command::new(build::unix(build::Heap::Stock)?);
            readme.env("MICROPYPATH", module.parent().context("a module lies in a directory")?);
            readme.arg(example("natmod", Path::new(""))?);
            let is_right = |text: &str| text.trim().parse::<u32>().is_ok_and(|largest| largest > 7000);
            tally.record("natmod: the program in README.md", expect(&mut readme, is_right));
        }
    }
    let emulator = util::emu_binary()?;
    for architecture in [&ARMV7M, &ARMV6M, &HEAP_ALONE] {
        let Some(module) = built(tally, architecture) else { continue };
        let mut tests = Command::new(&emulator);
        tests.args(["mpy", "--quiet"]).arg(build::firmware(build::Heap::Stock, None, 0)?);
        tests.arg(from_memory(&module)?).arg(&script);
        record_python(tally, &format!("{}, Cortex-M3", architecture.folder), &mut tests);
    }
    Ok(())
}

fn lints() -> Result<()> {
    let manifest = root().join("micropython/natmod/Cargo.toml");
    for line in ["fmt --check", "clippy --quiet --release -- -D warnings"] {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut command = program(cargo().get_program(), [command, "--manifest-path"]);
        command.arg(&manifest).args(rest.split(' ')).env("CARGO_TARGET_DIR", work_dir("natmod/cargo")?.join("lints"));
        capture(&mut command)?;
    }
    Ok(())
}

/// Builds the archive and the module, and records whether each is what it should be; the module's path.
fn built(tally: &mut Tally, architecture: &Architecture) -> Option<PathBuf> {
    let mut module = None;
    let outcome = archive(architecture).and_then(|archive| {
        let made = link(&archive, architecture)?;
        stateless(&made.with_file_name("build").join("knoll.o"))?;
        note(format!("{}: {} bytes", util::root_relative(&made), std::fs::metadata(&made)?.len()));
        module = Some(made);
        Ok(())
    });
    tally.record(format!("{}: an archive without state, and a module", architecture.folder), outcome);
    module
}

/// Builds the archive.
fn archive(architecture: &Architecture) -> Result<PathBuf> {
    let mut directory = work_dir("natmod/cargo")?.join(architecture.folder);
    let mut command = cargo();
    command.args(["rustc", "--quiet", "--release", "--locked", "--manifest-path", "micropython/natmod/Cargo.toml"]);
    command.arg("--target-dir").arg(&directory);
    if let Some(target) = architecture.target {
        command.args(["--target", target]);
        directory.push(target);
    }
    if !architecture.arenas {
        command.args(["--no-default-features", "--features", "layout-map,small-code"]);
    }
    command.arg("--").args(architecture.flags);
    // The compiler warns of a target feature that has no stable name.
    capture(&mut command)?;
    Ok(directory.join("release/libknoll_natmod.a"))
}

/// What the library's own object may ask for: memory functions by their two families of names, and a core's division.
const ASKED_FOR: [&str; 9] = [
    "memcpy",
    "memmove",
    "memset",
    "__aeabi_memcpy",
    "__aeabi_memmove",
    "__aeabi_memset",
    "__aeabi_memclr",
    "__aeabi_memclr4",
    "__aeabi_uidiv",
];

/// No variable in the library's own object, and nothing asked for that `knoll_heap_native.c` does not give.
fn stateless(object: &Path) -> Result<()> {
    let mut wrong = BTreeSet::new();
    // [number] name type address offset size entry-size flags …
    for line in readelf("--sections", object)?.lines() {
        let words: Vec<&str> = line.split_once(']').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let [name, _, _, _, size, _, flags, ..] = words[..] else { continue };
        if flags.contains('W') && flags.contains('A') && !size.trim_start_matches('0').is_empty() {
            wrong.insert(format!("section {name}"));
        }
    }
    // number: value size type bind visibility section name
    let mut functions = 0;
    for line in readelf("--symbols", object)?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, kind, "GLOBAL", _, section, name] = words[..] else { continue };
        if section == "UND" && !ASKED_FOR.contains(&name) {
            wrong.insert(format!("needs {name}"));
        }
        functions += usize::from(kind == "FUNC" && name.starts_with("kn_"));
    }
    ensure!(wrong.is_empty(), "state, or what nobody gives: {}", wrong.into_iter().collect::<Vec<_>>().join(", "));
    ensure!(functions >= 7, "only {functions} public functions were found");
    Ok(())
}

/// Links the module with MicroPython's own tools.
fn link(archive: &Path, architecture: &Architecture) -> Result<PathBuf> {
    let directory = work_dir("natmod")?.join(architecture.folder);
    // The makefile does not know of headers.
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let mut make = program("make", ["-f"]);
    make.arg(root().join("micropython/natmod/Makefile")).current_dir(&directory);
    make.env("PYTHONDONTWRITEBYTECODE", "1");
    make.arg(format!("MPY_DIR={}", source()?.display()));
    make.arg(format!("MPY_CROSS={}", build::mpy_cross()?.display()));
    make.arg(format!("PYTHON={}", python_with_elftools()?));
    make.arg(format!("ARENA={}", u8::from(architecture.arenas)));
    make.args([format!("ARCH={}", architecture.name), format!("ARCHIVE={}", archive.display())]);
    capture(&mut make)?;
    Ok(directory.join("knoll_heap.mpy"))
}

/// A Python that has pyelftools: Debian's package belongs to Debian's own Python, which may not be the first one.
fn python_with_elftools() -> Result<&'static str> {
    let pythons = ["python3", "/usr/bin/python3"];
    let found = pythons.iter().find(|python| capture(&mut program(python, ["-c", "import elftools"])).is_ok());
    found.copied().context("pyelftools is missing; tools/setup.sh says how to get it")
}

/// A script after which the firmware, which has no files, can import the module.
fn from_memory(module: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(module)?;
    let literal: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let text = std::fs::read_to_string(root().join("micropython/natmod/tests/from_memory.py"))?;
    let mark = "_MODULE = MODULE\n";
    ensure!(text.contains(mark), "from_memory.py has no place for the module");
    let script = module.with_file_name("from_memory.py");
    std::fs::write(&script, text.replace(mark, &format!("_MODULE = b\"{literal}\"\n")))?;
    Ok(script)
}
