//! `cargo xtask micropython`: MicroPython's interpreter, unmodified, on Knoll's traced heap, against its own tests.
//!
//! - MicroPython 1.25 is Debian's source package ([`source`]); nothing of it is in this repository, and nothing in it
//!   is changed: `micropython/knoll` is a folder for its `USER_C_MODULES`.
//! - The same tests must pass on Knoll's heap as on MicroPython's own: of the groups `basics micropython extmod` and
//!   others on the unix port, threads without a lock on the interpreter included, and `basics micropython float` on
//!   the firmware for Cortex-M3, in our emulator. What fails is listed by name, on both sides.
//! - That the swap is real is seen in the binaries: none of the functions of MicroPython's collector is left in them.
//!   That a function which a later MicroPython adds cannot slip through is tried with one planted.
//! - A port that CMake builds, a small one of our own, gets the heap as the ports do that make builds. Its heap grows
//!   by itself (`MICROPY_GC_SPLIT_HEAP_AUTO`).
//! - `--quick`, in `make test`: Knoll's side alone, and the other only for tests that fail.

pub mod build;
pub mod source;
mod suite;

use crate::localise::Symbols;
use crate::util::{self, announce, note, Tally};
use anyhow::{bail, Context, Result};
use build::{Heap, Variant};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use suite::{Comparison, Machine, Outcome};

/// Options of `cargo xtask micropython`.
#[derive(clap::Args)]
pub struct Args {
    /// Knoll's side alone, and a part of the firmware's tests
    #[arg(long)]
    quick: bool,
    /// Only on this port: unix, single, coverage, firmware
    #[arg(long, value_name = "PORT")]
    only: Option<String>,
    /// Fetch MicroPython's source, build both sides, say where they are, and run nothing
    #[arg(long)]
    build: bool,
    /// Pack libknoll.a for an interpreter on this target into dist/micropython/TARGET, and do nothing else
    #[arg(long, value_name = "TARGET")]
    library: Option<String>,
}

/// `target/micropython`, made if missing: the source, what is built of it, and the tests' results.
pub fn folder() -> Result<PathBuf> {
    let path = util::target_dir().join("micropython");
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if let Some(target) = &args.library {
        let archive = build::package(target, &util::root().join("dist/micropython").join(target))?;
        note(util::root_relative(&archive));
        return Ok(());
    }
    if args.build {
        return build_all();
    }
    let ports = if args.quick { QUICK } else { PORTS };
    let chosen: Vec<&Port> =
        ports.iter().filter(|port| args.only.as_ref().is_none_or(|only| only == port.name)).collect();
    if chosen.is_empty() {
        bail!("no such port; there are {}", ports.iter().map(|port| port.name).collect::<Vec<_>>().join(", "));
    }
    let mut tests = Totals::default();
    let mut tally = Tally::default();
    for port in &chosen {
        announce(format!("{}: {}", port.name, port.what));
        if args.quick {
            port.quickly(&mut tests, &mut tally)?;
        } else {
            port.on_both(&mut tests, &mut tally)?;
        }
        let knoll = port.build(Heap::Knoll)?;
        if !port.settings.contains(&LTO) {
            tally.record(format!("{}: nothing of MicroPython's collector is linked", port.name), is_swapped(&knoll));
        }
    }
    if chosen.iter().any(|port| port.name == "unix") {
        tally.record("a function of py/gc.c that Knoll does not know stops the build", unknown_is_refused());
        tally.record("a port that CMake builds", cmake_port_runs());
    }
    tests.finish(tally)
}

/// Builds what other commands measure, and says where it is.
fn build_all() -> Result<()> {
    announce("MicroPython, with its own heap and with Knoll's");
    note(util::root_relative(&source::source()?));
    for heap in [Heap::Stock, Heap::Knoll] {
        note(util::root_relative(&build::unix(heap)?));
        note(util::root_relative(&build::firmware(heap, None, 0)?));
    }
    Ok(())
}

// ---------------------------------------------------------------- what is run

/// A port of MicroPython, and which of its tests run on it.
struct Port {
    name: &'static str,
    what: &'static str,
    groups: &'static [&'static str],
    /// Tests whose path has one of these in it are not run, and why.
    without: &'static [(&'static str, &'static str)],
    /// In the emulator; else as a process.
    firmware: bool,
    /// Variables for make beside the usual ones.
    settings: &'static [&'static str],
}

const LTO: &str = "CFLAGS_EXTRA=-flto";
/// Terminals and the clock: they fail now and then on a busy machine, on either heap.
const TERMINALS: (&str, &str) = ("cmdline/repl_", "types into a terminal against the clock");

const SINGLE: &str = "without threads; memory swept in steps; no buffer is looked into";
const OTHERWISE: &[&str] = &["MICROPY_PY_THREAD=0", "KNOLL_SLICE=64", "KNOLL_NO_SCAN_BUFFERS=1"];

const PORTS: &[Port] = &[
    Port {
        name: "unix",
        what: "the interpreter here, threads without a lock on it",
        groups: &[
            "basics",
            "micropython",
            "extmod",
            "float",
            "stress",
            "thread",
            "misc",
            "io",
            "import",
            "unicode",
            "cmdline",
            "ports/unix",
        ],
        without: &[TERMINALS, ("thread/stress_recurse", "overflows the C stack of its thread, on either heap")],
        firmware: false,
        settings: &[],
    },
    Port {
        name: "coverage",
        what: "the variant with every feature, its heap in four areas",
        groups: &["basics", "micropython", "extmod", "float", "stress", "misc", "io"],
        without: &[
            ("misc/cexample", "of modules in whose place Knoll's folder is"),
            ("heap/full", "wants a heap in one piece"),
        ],
        firmware: false,
        settings: &["VARIANT=coverage"],
    },
    Port {
        name: "single",
        what: SINGLE,
        groups: &["basics", "micropython", "extmod", "float", "stress", "misc", "io"],
        without: &[],
        firmware: false,
        settings: OTHERWISE,
    },
    Port {
        name: "firmware",
        what: "Cortex-M3 in the emulator, each of Knoll's writes watched",
        groups: &["basics", "micropython", "float"],
        without: &[],
        firmware: true,
        settings: &[],
    },
];

const QUICK: &[Port] = &[
    Port {
        name: "unix",
        what: "the interpreter here, threads without a lock on it",
        groups: &["basics", "micropython", "extmod", "thread"],
        without: &[
            ("select_poll_fd", "asks for a file descriptor that this system may not have"),
            ("thread/stress_", "long"),
        ],
        firmware: false,
        settings: &[],
    },
    Port { name: "single", what: SINGLE, groups: &["micropython"], without: &[], firmware: false, settings: OTHERWISE },
    Port {
        name: "firmware",
        what: "a part of the tests on Cortex-M3 in the emulator",
        groups: &["micropython"],
        without: &[],
        firmware: true,
        settings: &[],
    },
];

impl Port {
    /// The interpreter or the firmware.
    fn build(&self, heap: Heap) -> Result<PathBuf> {
        let named = if self.name == "unix" { String::new() } else { format!("-{}", self.name) };
        let variant = Variant { name: &named, settings: self.settings };
        if self.firmware {
            build::firmware(heap, None, 0)
        } else {
            build::unix_variant(heap, variant)
        }
    }

    fn machine(&self, heap: Heap) -> Result<Machine> {
        let built = self.build(heap)?;
        Ok(if self.firmware {
            Machine::Firmware { elf: built, emulator: util::emu_binary()?, watch: heap == Heap::Knoll }
        } else {
            Machine::Process(built)
        })
    }

    fn tests(&self) -> Result<Vec<String>> {
        let without: Vec<&str> = self.without.iter().map(|(word, _)| *word).collect();
        for (word, why) in self.without {
            note(format!("without {word}*: {why}"));
        }
        let mut tests = suite::tests(self.groups, &without)?;
        let own = suite::own_tests()?.into_iter();
        tests.extend(own.filter(|test| !without.iter().any(|word| test.contains(word))));
        Ok(tests)
    }

    /// Everything on MicroPython's heap and on Knoll's.
    fn on_both(&self, totals: &mut Totals, tally: &mut Tally) -> Result<()> {
        let compared = suite::compare(self.name, &self.tests()?, |heap| self.machine(heap))?;
        let row = |heap: Heap, outcome: &Outcome| {
            note(format!(
                "{}: {} tests passed ({} checks), {} failed, {} skipped",
                heap.name(),
                outcome.passed.len(),
                outcome.checks,
                outcome.failed.len(),
                outcome.skipped.len()
            ));
            if !outcome.failed.is_empty() {
                let names: Vec<String> = outcome.failed.iter().map(|test| suite::shown(test)).collect();
                note(format!("{}: failed: {}", heap.name(), names.join(", ")));
            }
        };
        row(Heap::Stock, &compared.stock);
        row(Heap::Knoll, &compared.knoll);
        self.judge(&compared, totals, tally);
        Ok(())
    }

    /// Knoll's side; MicroPython's only for what fails there.
    fn quickly(&self, totals: &mut Totals, tally: &mut Tally) -> Result<()> {
        let tests = self.tests()?;
        let knoll = suite::run(&self.machine(Heap::Knoll)?, &format!("{}-knoll", self.name), &tests)?;
        note(format!("{} tests passed ({} checks), {} skipped", knoll.passed.len(), knoll.checks, knoll.skipped.len()));
        let failed: Vec<String> = knoll.failed.iter().cloned().collect();
        let stock = if failed.is_empty() {
            Outcome::default()
        } else {
            note(format!("{} failed: the same on MicroPython's own heap", failed.len()));
            suite::run(&self.machine(Heap::Stock)?, &format!("{}-stock", self.name), &failed)?
        };
        self.judge(&Comparison { stock, knoll }, totals, tally);
        Ok(())
    }

    fn judge(&self, compared: &Comparison, totals: &mut Totals, tally: &mut Tally) {
        totals.passed += compared.knoll.passed.len();
        for test in compared.better() {
            if compared.stock.failed.contains(test) {
                note(format!("only on Knoll's heap: {}", suite::shown(test)));
            }
        }
        // Of our own tests stock skips those of the module: they must pass on Knoll's whatever stock does.
        let own = compared.knoll.failed.iter().filter(|test| suite::is_own(test));
        let worse: BTreeSet<&String> = compared.worse().into_iter().chain(own).collect();
        totals.failed += worse.len();
        for test in &worse {
            let how = if compared.knoll.skipped.contains(*test) {
                "skipped".to_owned()
            } else {
                suite::first_difference(&format!("{}-knoll", self.name), test)
            };
            note(format!("{} on Knoll's heap only: {how}", suite::shown(test)));
        }
        let names: Vec<String> = worse.iter().map(|test| suite::shown(test)).collect();
        let same = if worse.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("these fail: {}", names.join(", "))) };
        tally.record(format!("{}: the tests that pass on MicroPython's heap pass on Knoll's", self.name), same);
    }
}

/// MicroPython's tests are counted one by one beside our own.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
}

impl Totals {
    fn finish(self, tally: Tally) -> Result<()> {
        println!("MicroPython's tests: {} passed on Knoll's heap, {} only on its own", self.passed, self.failed);
        println!("{} passed, {} failed", self.passed, self.failed);
        tally.finish()
    }
}

// ---------------------------------------------------------------- is it Knoll?

/// The functions of py/gc.c that `micropython/knoll` replaces.
fn redirected() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(util::root().join("micropython/knoll/replaced.txt"))?;
    let names: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("collector ")).map(str::to_owned).collect();
    if names.len() < 15 {
        bail!("replaced.txt names {} functions of the collector; is the pattern still right?", names.len());
    }
    Ok(names)
}

/// None of MicroPython's own is in the program, all of Knoll's that it needs are.
fn is_swapped(program: &Path) -> Result<()> {
    let symbols = Symbols::read(program)?;
    let has = |name: &str| symbols.global.contains(name) || symbols.local.contains(name);
    let left: Vec<String> = redirected()?.into_iter().filter(|name| has(name)).collect();
    if !left.is_empty() {
        bail!("still there: {}", left.join(", "));
    }
    for name in ["__wrap_gc_alloc", "__wrap_gc_collect_root", "kn_traced_alloc", "kn_traced_mark"] {
        if !has(name) {
            bail!("{name} is not there");
        }
    }
    Ok(())
}

/// Knoll's list without one name: to it, that function is one of a later MicroPython. That the whole list passes is
/// seen in each build.
fn unknown_is_refused() -> Result<()> {
    let planted = "gc_sweep_all";
    let known: Vec<String> = redirected()?.into_iter().filter(|name| name != planted).collect();
    match build::check_symbols(&known) {
        Ok(()) => bail!("{planted} was not noticed"),
        Err(error) if format!("{error:#}").contains(&format!("does not replace: {planted}")) => Ok(()),
        Err(error) => Err(error.context("another failure than the one planted")),
    }
}

/// A port that CMake builds has Knoll's heap, and runs.
fn cmake_port_runs() -> Result<()> {
    let built = build::cmake_port()?;
    is_swapped(&built)?;
    let printed = util::capture(&mut util::program(&built, [CMAKE_PROGRAM]))?;
    if printed.trim_end() != "12497500 500 True 1000000" {
        bail!("it prints {printed:?}");
    }
    Ok(())
}

const CMAKE_PROGRAM: &str = "\
import gc, knoll
numbers = [n for n in range(5000)]
with knoll.workflow():
    names = {str(n): n for n in range(500)}
gc.collect()
more = [bytearray(100000) for _ in range(10)]
print(sum(numbers), len(names), knoll.check(), sum(map(len, more)))
";
