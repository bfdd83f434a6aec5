//! The proof that the C tests can fail: an allocator with faults in Knoll's place, and faults before Knoll.
//!
//! `c_tests/faulty/allocator.c` keeps the contract of the manual heap unless the variable `KNOLL_FAULT`
//! names one of the faults in `faults.h`. All other programs run on the library itself, with a file
//! between the two that has its faults in a header of its own: `c_tests/faulty/counted.c`, `arena.c`,
//! `resident.c` and `witness.c`; the traced heap has a naive one in its place, `traced.c`. Three things are verified:
//!
//! - without a fault every program passes, so a failure below is the fault's doing;
//! - each fault makes at least one program fail, be it by a crash or by no end;
//! - each test fails under at least one fault.
//!
//! A program is run with one fault after the other until all of its tests have failed once; what
//! is then not yet noticed by any program is tried on all.

use super::program::{self, Ended};
use super::{compile_all, link, source, work_off, Configuration, Group, Job, Suite, PLAIN, REPLAY, STRICT};
use crate::util::{announce, build_static, capture, note, program as command, Tally};
use anyhow::{bail, Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The programs on the reference allocator.
const REFERENCE: Configuration = Configuration { name: "reference", ..PLAIN };
/// The programs over counted objects; what they build is smaller, for the number of runs.
const COUNTED: Configuration = Configuration { name: "wrapped", flags: &["-O2", "-DKNOLL_WITH_FAULTS"], ..PLAIN };
/// The programs over arenas.
const SCOPED: Configuration = Configuration { name: "wrapped arenas", ..COUNTED };
/// The programs over always-active data.
const RESIDENT: Configuration = Configuration { name: "wrapped residents", ..COUNTED };
/// The program over the witness of fragmentation.
const WITNESS: Configuration = Configuration { name: "wrapped witness", ..COUNTED };
/// The programs over traced memory: on a naive heap.
const TRACED: Configuration = Configuration { name: "naive traced", ..COUNTED };
/// A program with a fault may go round in circles: the longest that one may take, and how many times what it takes
/// without a fault, but for a floor.
const LIMIT: Duration = Duration::from_secs(5);
const TIMES: u32 = 20;
const FLOOR: Duration = Duration::from_millis(500);
/// One trace is enough, the one with the fewest live blocks: the reference allocator is slow.
const TRACE: &str = "cjson-gateway";

/// What one program's runs have shown.
#[derive(Default)]
struct Shown {
    /// Its tests, and the fault that each was first seen to catch.
    tests: BTreeMap<String, Option<String>>,
    /// The faults that made it fail.
    caught: BTreeSet<String>,
}

/// Builds the programs with faults and runs them.
pub fn run_all(suite: &Suite, tally: &mut Tally) -> Result<()> {
    for group in [Group::Heap, Group::Counted, Group::Scoped, Group::Resident, Group::Witness, Group::Traced] {
        let part = Suite {
            programs: suite.programs.iter().filter(|name| Group::of(name) == group).cloned().collect(),
            traces: suite.traces.clone(),
            is_whole: suite.is_whole,
        };
        if !part.programs.is_empty() {
            run_part(&part, &Arc::new(Stand::of(group)?), tally)?;
        }
    }
    Ok(())
}

/// What the programs are linked with to have faults.
struct Stand {
    configuration: Configuration,
    /// The file that names the faults.
    faults: &'static str,
    /// The file that has them, and the object it becomes.
    source: &'static str,
    object: PathBuf,
    /// More for the linker.
    rest: Vec<String>,
}

impl Stand {
    fn of(group: Group) -> Result<Stand> {
        let (configuration, faults, source_path) = match group {
            Group::Heap | Group::Header => (REFERENCE, "c_tests/faulty/faults.h", "c_tests/faulty/allocator.c"),
            Group::Counted => (COUNTED, "c_tests/faulty/counted_faults.h", "c_tests/faulty/counted.c"),
            Group::Scoped => (SCOPED, "c_tests/faulty/arena_faults.h", "c_tests/faulty/arena.c"),
            Group::Resident => (RESIDENT, "c_tests/faulty/resident_faults.h", "c_tests/faulty/resident.c"),
            Group::Witness => (WITNESS, "c_tests/faulty/witness_faults.h", "c_tests/faulty/witness.c"),
            Group::Traced => (TRACED, "c_tests/faulty/traced_faults.h", "c_tests/faulty/traced.c"),
        };
        let object = Suite::directory(configuration.name)?.join("faulty.o");
        let mut rest = Vec::new();
        let mut wrapped = wrapped_names(&source(source_path)?);
        for part in included(&source(source_path)?) {
            wrapped.extend(wrapped_names(&source(&format!("c_tests/faulty/{part}"))?));
        }
        if !wrapped.is_empty() {
            rest.push(build_static(None, &[])?.display().to_string());
            rest.extend(wrapped.iter().map(|name| format!("-Wl,--wrap={name}")));
        }
        Ok(Stand { configuration, faults, source: source_path, object, rest })
    }

    fn compile(&self) -> Result<()> {
        let mut compile = command("gcc", STRICT);
        compile.args(["-O2", "-Iinclude", "-c", self.source, "-o"]).arg(&self.object);
        capture(&mut compile).map(drop)
    }

    fn link(&self, name: &str, executable: &Path) -> Result<()> {
        let mut command = link(name, &self.configuration, &self.object, executable)?;
        command.args(&self.rest);
        capture(&mut command).map(drop)
    }
}

/// Runs the programs without a fault and with each; notes what is not noticed.
fn run_part(suite: &Suite, stand: &Arc<Stand>, tally: &mut Tally) -> Result<()> {
    let faults = fault_names(&source(stand.faults)?);
    if faults.is_empty() {
        bail!("{} names no fault", stand.faults);
    }
    announce(format!("Can the C tests fail? {} faults, {}", faults.len(), stand.configuration.name));
    let begin = Instant::now();
    let directory = Suite::directory(stand.configuration.name)?;
    compile_all(suite, std::slice::from_ref(&stand.configuration))?;
    stand.compile()?;
    let trace = suite.traces.iter().find(|path| path.file_stem().is_some_and(|name| name == TRACE));
    let trace = trace.context("the trace for the reference allocator is missing")?;
    let all_shown: Arc<Mutex<BTreeMap<String, Shown>>> = Arc::default();
    let subject = |name: &String| Subject {
        name: name.clone(),
        directory: directory.clone(),
        trace: trace.clone(),
        stand: Arc::clone(stand),
    };
    let jobs = suite.programs.iter().map(|name| {
        let subject = subject(name);
        let (faults, all_shown) = (faults.clone(), Arc::clone(&all_shown));
        let work = move || {
            let outcome = subject.sharpen(&faults);
            let ended = outcome.map(|(ended, shown)| {
                lock(&all_shown).insert(subject.name.clone(), shown);
                ended
            });
            (ended, None)
        };
        Job { program: name.clone(), configuration: stand.configuration.name, work: Box::new(work) }
    });
    let jobs = jobs.collect();
    work_off(jobs, tally);

    let all_shown = std::mem::take(&mut *lock(&all_shown));
    for fault in &faults {
        let by = match all_shown.iter().find(|(_, shown)| shown.caught.contains(fault)) {
            Some((name, _)) => Some(name.clone()),
            None => all_shown.keys().find_map(|name| {
                let failed = subject(name).run(Some(fault), LIMIT).is_ok_and(|ended| ended.verdict().is_err());
                failed.then(|| name.clone())
            }),
        };
        match by {
            Some(name) => tally.record(format!("fault {fault}, noticed by {name}"), Ok(())),
            // A part of the programs need not notice everything.
            None if !suite.is_whole => {}
            None => tally.record(format!("fault {fault}"), Err(anyhow::anyhow!("no test notices it"))),
        }
    }
    let tests = all_shown.iter().flat_map(|(name, shown)| shown.tests.iter().map(move |test| (name, test)));
    let (mut count, mut blunt) = (0, 0);
    for (name, (test, caught)) in tests {
        count += 1;
        if caught.is_none() {
            blunt += 1;
            tally.record(format!("{name}: {test}"), Err(anyhow::anyhow!("it notices none of the faults")));
        }
    }
    if blunt == 0 {
        tally.record(format!("each of {count} tests notices a fault"), Ok(()));
    }
    note(format!("{:.1} s with faults", begin.elapsed().as_secs_f64()));
    Ok(())
}

/// A program that can have faults.
struct Subject {
    name: String,
    directory: PathBuf,
    trace: PathBuf,
    stand: Arc<Stand>,
}

impl Subject {
    /// Runs without a fault, and then with one after the other until each test has noticed one.
    fn sharpen(&self, faults: &[String]) -> Result<(Ended, Shown)> {
        self.stand.link(&self.name, &self.directory.join(&self.name))?;
        let begin = Instant::now();
        let right = self.run(None, LIMIT)?;
        let limit = (TIMES * begin.elapsed()).clamp(FLOOR, LIMIT);
        let mut shown = Shown::default();
        shown.tests.extend(right.report.tests.keys().map(|test| (test.clone(), None)));
        for fault in faults {
            if shown.tests.values().all(Option::is_some) {
                break;
            }
            let ended = self.run(Some(fault), limit)?;
            if ended.verdict().is_err() {
                shown.caught.insert(fault.clone());
            }
            for test in ended.report.failed() {
                if let Some(first) = shown.tests.get_mut(test) {
                    first.get_or_insert_with(|| fault.clone());
                }
            }
        }
        Ok((right, shown))
    }

    fn run(&self, fault: Option<&str>, limit: Duration) -> Result<Ended> {
        let mut command = Command::new(self.directory.join(&self.name));
        if self.name == REPLAY {
            command.arg(&self.trace);
        }
        command.env_remove("KNOLL_FAULT");
        if let Some(fault) = fault {
            command.env("KNOLL_FAULT", fault);
        }
        let log = self.directory.join(format!("{}.{}.log", self.name, fault.unwrap_or("right")));
        program::run(&mut command, &log, limit)
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The names in `FAULT(name, "what")`.
fn fault_names(header: &str) -> Vec<String> {
    let names = header.lines().filter_map(|line| line.strip_prefix("FAULT(")?.split_once(','));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The files beside a stand-in that it consists of: `#include "…"`, but for the library's header.
fn included(text: &str) -> Vec<&str> {
    let names = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    names.filter(|name| *name != "knoll.h").collect()
}

/// The names in `WRAPPED(type, name, …)`.
fn wrapped_names(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("WRAPPED(")?.split(", ").nth(1));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{fault_names, wrapped_names};

    #[test]
    fn wrapped_functions_are_named() {
        let text =
            "#define WRAPPED(type, name, ...)\nWRAPPED(void *, GC_ref, void *object) {\nWRAPPED(bool, GC_on, void)";
        assert_eq!(wrapped_names(text), ["GC_ref", "GC_on"]);
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(fault_names("/* FAULT(no, */\nFAULT(one, \"a\")\nFAULT(two, \"b, c\")\n"), ["one", "two"]);
    }
}
