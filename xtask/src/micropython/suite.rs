//! MicroPython's own tests, run by its own `tests/run-tests.py`, on the unix port and on the firmware in the emulator.
//!
//! - Which tests there are, what they must print, and which a port skips is MicroPython's to say. `unittest`, which its
//!   source archive lacks, is the small one in `micropython/tests`.
//! - The firmware is reached as a board would be: run-tests.py speaks to its serial port, which `knoll-emu mpy-serve`
//!   holds.
//! - The tests are dealt out to as many runs as there are cores: its own threads print into each other's lines.
//! - A test that fails is run again, alone with those that belong to it: some watch the clock, or a terminal, and fail
//!   on a busy machine. One that passes then is named as such, and has passed.
//! - The outcome is by name, so that two heaps can be compared ([`compare`]).

use super::{build::Heap, folder, source::source};
use crate::util::{note, program, root};
use anyhow::{bail, Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the tests run.
#[derive(Clone)]
pub enum Machine {
    /// An interpreter of the unix port.
    Process(PathBuf),
    /// Firmware in the emulator; `watch`: a write of Knoll's outside its heap is a failure.
    Firmware { elf: PathBuf, emulator: PathBuf, watch: bool },
}

/// What became of each test, by its path below `tests`.
#[derive(Default)]
pub struct Outcome {
    pub passed: BTreeSet<String>,
    pub failed: BTreeSet<String>,
    pub skipped: BTreeSet<String>,
    /// Single checks that the tests made, as run-tests.py counts them.
    pub checks: usize,
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.passed.extend(other.passed);
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.checks += other.checks;
    }
}

/// The tests of some groups (folders below `tests`), but for those whose path has one of the words in it.
pub fn tests(groups: &[&str], without: &[&str]) -> Result<Vec<String>> {
    let tests = source()?.join("tests");
    let mut found = Vec::new();
    for group in groups {
        let folder = tests.join(group);
        let entries = std::fs::read_dir(&folder).with_context(|| format!("no group {group}: {}", folder.display()))?;
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let path = format!("{group}/{name}");
            if name.ends_with(".py") && !without.iter().any(|word| path.contains(word)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Our own tests, in `micropython/tests/heap` and, of the Python module, `micropython/tests/module`.
pub fn own_tests() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for part in ["heap", "module"] {
        let folder = root().join("micropython/tests").join(part);
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let paths = entries.flatten().map(|entry| entry.path().display().to_string());
        found.extend(paths.filter(|path| path.ends_with(".py")));
    }
    found.sort();
    Ok(found)
}

/// Whether a test is one of them.
pub fn is_own(test: &str) -> bool {
    Path::new(test).starts_with(root().join("micropython/tests"))
}

/// Runs tests; `name` is that of the directory for what failed tests have printed.
pub fn run(machine: &Machine, name: &str, tests: &[String]) -> Result<Outcome> {
    let mut outcome = deal_out(machine, name, tests)?;
    let failed: Vec<String> = outcome.failed.iter().cloned().collect();
    for test in failed {
        let belonging: Vec<String> = tests.iter().filter(|other| family(other) == family(&test)).cloned().collect();
        let again = run_once(machine, name, &belonging)?;
        if again.passed.contains(&test) {
            note(format!("{name}: {test} failed among the others and passed alone"));
            outcome.failed.remove(&test);
            outcome.passed.insert(test);
        }
    }
    Ok(outcome)
}

/// A share of the tests for each core. What belongs together by name (`extmod/select_...`) stays together: such tests
/// may use the same port or file.
fn deal_out(machine: &Machine, name: &str, tests: &[String]) -> Result<Outcome> {
    let families: BTreeSet<&str> = tests.iter().map(|test| family(test)).collect();
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(families.len().max(1));
    let mut shares = vec![Vec::new(); count];
    for (number, belonging) in families.into_iter().enumerate() {
        shares[number % count].extend(tests.iter().filter(|test| family(test) == belonging).cloned());
    }
    std::thread::scope(|scope| {
        let runs: Vec<_> = shares.iter().map(|share| scope.spawn(move || run_once(machine, name, share))).collect();
        let mut sum = Outcome::default();
        for run in runs {
            sum.add(run.join().expect("run_once does not panic")?);
        }
        Ok(sum)
    })
}

fn family(test: &str) -> &str {
    test.split('_').next().unwrap_or(test)
}

fn run_once(machine: &Machine, name: &str, tests: &[String]) -> Result<Outcome> {
    let source = source()?;
    let results = folder()?.join("results").join(name);
    std::fs::create_dir_all(&results)?;
    let helpers = root().join("micropython/tests");
    let mut run = program("python3", [helpers.join("run_patiently.py")]);
    run.current_dir(source.join("tests")).env("PYTHONDONTWRITEBYTECODE", "1");
    run.arg(source.join("tests/run-tests.py")).args(["--keep-path", "--jobs", "1", "--result-dir"]).arg(&results);
    match machine {
        Machine::Process(interpreter) => {
            run.env("MICROPY_MICROPYTHON", interpreter);
            run.env("MICROPYPATH", format!(".frozen:{}:{}", helpers.display(), source.join("extmod").display()));
        }
        Machine::Firmware { elf, emulator, watch } => {
            let watch = if *watch { " --watch" } else { "" };
            let serve = format!("exec:exec {} mpy-serve{watch} {}", emulator.display(), elf.display());
            run.args(["--test-instance", &serve]);
        }
    }
    read(&mut run, tests)
}

/// Starts run-tests.py and reads what it says of each test.
fn read(run: &mut Command, tests: &[String]) -> Result<Outcome> {
    let output = run.args(tests).output().context("cannot run python3; tools/setup.sh says what is missing")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = Outcome::default();
    let mut ended = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(what), Some(test)) = (words.next(), words.next()) else { continue };
        match what {
            "pass" => outcome.passed.insert(test.to_owned()),
            "FAIL" => outcome.failed.insert(test.to_owned()),
            "skip" => outcome.skipped.insert(test.to_owned()),
            _ => false,
        };
        // `759 tests performed (20715 individual testcases)`
        if let Some((_, rest)) = line.split_once(" tests performed (") {
            ended = true;
            outcome.checks = rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        }
    }
    let told = outcome.passed.len() + outcome.failed.len() + outcome.skipped.len();
    if !ended || told != tests.len() {
        let error = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().chain(error.lines()).collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("run-tests.py told of {told} tests of {} ({}):\n{end}", tests.len(), output.status);
    }
    Ok(outcome)
}

/// What a test says that failed, for the message: the first line that differs.
pub fn first_difference(name: &str, test: &str) -> String {
    let Ok(folder) = folder() else { return String::new() };
    // run-tests.py's own way to name them.
    let base = test.replace("..", "_").replace("./", "").replace('/', "_");
    let read = |kind: &str| {
        let path = folder.join("results").join(name).join(format!("{base}.{kind}"));
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    };
    let (expected, got) = (read("exp"), read("out"));
    let mut lines = expected.lines().chain(std::iter::repeat("")).zip(got.lines());
    match lines.find(|(expected, got)| expected != got) {
        Some((expected, got)) => format!("\"{got}\" instead of \"{expected}\""),
        None => "it ends too early".to_owned(),
    }
}

// ---------------------------------------------------------------- two heaps

/// The same tests on both heaps.
pub struct Comparison {
    pub stock: Outcome,
    pub knoll: Outcome,
}

/// Runs the tests on both; `machines` makes each side's.
pub fn compare(port: &str, tests: &[String], machine: impl Fn(Heap) -> Result<Machine>) -> Result<Comparison> {
    let side = |heap: Heap| run(&machine(heap)?, &format!("{port}-{}", heap.name()), tests);
    Ok(Comparison { stock: side(Heap::Stock)?, knoll: side(Heap::Knoll)? })
}

impl Comparison {
    /// The tests that pass on MicroPython's own heap and not on Knoll's, skipped ones included.
    pub fn worse(&self) -> Vec<&String> {
        self.stock.passed.difference(&self.knoll.passed).collect()
    }

    /// The tests that pass on Knoll's heap and not on MicroPython's own.
    pub fn better(&self) -> Vec<&String> {
        self.knoll.passed.difference(&self.stock.passed).collect()
    }
}

/// A path as one names it in a list: below the folder of the tests it belongs to.
pub fn shown(test: &str) -> String {
    let own = root().join("micropython/tests/");
    Path::new(test).strip_prefix(&own).unwrap_or(Path::new(test)).display().to_string()
}
