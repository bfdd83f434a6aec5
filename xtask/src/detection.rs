//! `cargo xtask detection`: programs that misuse memory in 116 ways, and which of them a malloc catches.
//!
//! - `fixtures/detection/*.c` are the programs: a fault each, most of them at 8, 4096 and 262144 bytes.
//!   `detection.h` says what they print. The list is in the manner of the suites that hardened mallocs
//!   are compared with; every program is our own.
//! - A fault is *caught* when the process is killed after it, or the malloc says so on standard error.
//!   It is *prevented* when it came to nothing by the malloc's doing: a request refused, an address
//!   that does not come back soon, contents that are gone. Both count. *Harmless* is what nobody noticed
//!   and changed no other block; it does not count, nor does what was *missed*.
//! - Each program also runs without its fault: whoever finds something then has given a false alarm.
//! - On Knoll, as it is and with the feature `hardened`, every double free and every invalid free must be
//!   caught, by Knoll's own line on standard error and abort.
//! - `fixtures/preload_conform.c` passes on the hardened library too: it keeps malloc's contract.
//! - `--rivals` adds libc's malloc and those of Debian's mallocs that are installed.

use crate::fixture;
use crate::util::{self, announce, new_table, note, program, root, run as run_aloud, work_dir, Tally};
use anyhow::{bail, Context, Result};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `cargo xtask detection`.
#[derive(clap::Args)]
pub struct Args {
    /// Also libc's malloc, mimalloc, jemalloc and tcmalloc, as far as they are installed
    #[arg(long)]
    rivals: bool,
    /// Only the groups whose name contains this; nothing is demanded then
    #[arg(long)]
    only: Option<String>,
    /// Name each program and its outcome
    #[arg(long)]
    each: bool,
}

/// Programs of one source file.
struct Group {
    name: &'static str,
    /// The file's name, with its extension.
    source: &'static str,
    tests: &'static [&'static str],
    sizes: &'static [usize],
    /// Whether Knoll must catch all of them.
    all: bool,
}

/// A small block, a block of a page, a large one.
const SIZES: &[usize] = &[8, 4096, 256 << 10];
/// Programs that have a size of their own.
const ONE: &[usize] = &[64];

const GROUPS: &[Group] = &[
    Group {
        name: "double free",
        source: "double_free.c",
        tests: &["at_once", "one_between", "after_others", "by_two_threads", "after_reuse"],
        sizes: SIZES,
        all: true,
    },
    Group {
        name: "invalid free",
        source: "invalid_free.c",
        tests: &["interior", "misaligned", "in_stack", "in_static_data", "unmapped", "near_null", "too_high"],
        sizes: SIZES,
        all: true,
    },
    Group {
        name: "overflow",
        source: "overflow.c",
        tests: &["by_one", "by_eight", "by_a_page", "into_the_next", "then_realloc", "then_exit"],
        sizes: SIZES,
        all: false,
    },
    Group {
        name: "underflow",
        source: "underflow.c",
        tests: &["by_one", "by_eight", "by_a_page", "into_the_one_before", "then_realloc", "then_exit"],
        sizes: SIZES,
        all: false,
    },
    Group {
        name: "write after free",
        source: "after_free.c",
        tests: &["then_reuse", "into_a_link"],
        sizes: SIZES,
        all: false,
    },
    Group {
        name: "zero size",
        source: "zero_size.c",
        tests: &[
            "read_malloc",
            "read_calloc_count",
            "read_calloc_size",
            "read_realloc",
            "read_aligned",
            "read_posix",
            "write_malloc",
            "write_calloc_count",
            "write_calloc_size",
            "write_realloc",
            "write_aligned",
            "write_posix",
        ],
        sizes: ONE,
        all: false,
    },
    Group {
        name: "reuse",
        source: "reuse.c",
        tests: &["at_once", "soon", "by_another_size"],
        sizes: SIZES,
        all: false,
    },
    Group { name: "zeroing", source: "zeroing.c", tests: &["in_the_freed", "in_the_next"], sizes: SIZES, all: false },
    Group {
        name: "mismatch",
        source: "mismatch.cc",
        tests: &["array_as_object", "object_as_array", "object_as_smaller", "wrong_size", "wrong_aligned_size"],
        sizes: ONE,
        all: false,
    },
    Group {
        name: "other",
        source: "other.c",
        tests: &["product", "negative", "alignment", "realloc_of_freed", "realloc_inside", "race"],
        sizes: ONE,
        all: false,
    },
];

/// How many programs there are.
const PROGRAMS: usize = 116;

/// The other mallocs: Debian's name of the library, found by the loader.
const RIVALS: &[(&str, &str)] =
    &[("mimalloc", "libmimalloc.so.2"), ("jemalloc", "libjemalloc.so.2"), ("tcmalloc", "libtcmalloc_minimal.so.4")];

/// A malloc under test.
struct Malloc {
    name: &'static str,
    /// What is preloaded; `None`: libc's own.
    preload: Option<OsString>,
    /// How many programs it must catch or prevent; `None`: a rival, of which nothing is demanded.
    least: Option<usize>,
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Killed, or told of, after the fault.
    Caught,
    Prevented,
    Harmless,
    Missed,
}

impl Outcome {
    fn counts(self) -> bool {
        matches!(self, Outcome::Caught | Outcome::Prevented)
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Caught => "caught",
            Outcome::Prevented => "prevented",
            Outcome::Harmless => "harmless",
            Outcome::Missed => "missed",
        }
    }
}

/// What a run of a program left behind.
struct Ran {
    told: String,
    errors: String,
    signal: Option<i32>,
    code: Option<i32>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce(format!("{PROGRAMS} programs that misuse memory"));
    let mallocs = mallocs(args.rivals)?;
    let work = work_dir("detection")?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let groups: Vec<&Group> = GROUPS.iter().filter(|group| wanted(group.name)).collect();
    let common = compile_common(&work)?;
    let programs = groups.iter().map(|group| compile(group, &common, &work)).collect::<Result<Vec<PathBuf>>>()?;

    let mut tally = Tally::default();
    let mut columns = Vec::new();
    for malloc in &mallocs {
        let mut counts = Vec::new();
        let mut alarms = Vec::new();
        for (group, path) in groups.iter().zip(&programs) {
            let mut outcomes = Vec::new();
            for (test, size) in group.programs() {
                let name = format!("{} {test} {size}", group.name);
                if let Err(error) = control(path, test, size, malloc) {
                    alarms.push(format!("{name}: {error:#}"));
                }
                let ran = once(path, test, size, malloc, false)?;
                let outcome = judge(&ran).with_context(|| format!("{}: {name}", malloc.name))?;
                if args.each {
                    let last = if ran.errors.is_empty() { &ran.told } else { &ran.errors };
                    let last = last.lines().last().unwrap_or_default();
                    note(format!("{}: {name}: {} ({last})", malloc.name, outcome.word()));
                }
                if malloc.least.is_some() && group.all {
                    tally.record(format!("{}: {name}", malloc.name), by_knoll(&ran));
                }
                outcomes.push(outcome);
            }
            counts.push(outcomes);
        }
        if malloc.least.is_some() {
            tally.record(format!("{}: no false alarm", malloc.name), none(&alarms));
        } else {
            alarms.iter().for_each(|alarm| note(format!("{}: false alarm: {alarm}", malloc.name)));
        }
        columns.push(counts);
    }
    print_table(&groups, &mallocs, &columns);
    for (malloc, column) in mallocs.iter().zip(&columns) {
        if let (Some(least), None) = (malloc.least, &args.only) {
            let found = column.iter().flatten().filter(|outcome| outcome.counts()).count();
            tally.record(format!("{}: {found} of {PROGRAMS}, {least} at least", malloc.name), at_least(found, least));
        }
    }
    if args.only.is_none() {
        let conform = fixture::compile("preload_conform", &work)?;
        let checks = fixture::outcomes(&conform, &[], Some(&hardened()?));
        fixture::record_all(&mut tally, "preload_conform on the hardened library", checks);
    }
    tally.finish()
}

impl Group {
    /// Its programs: test and size.
    fn programs(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.tests.iter().flat_map(|&test| self.sizes.iter().map(move |&size| (test, size)))
    }
}

/// What is tested: Knoll, and the rivals if asked for.
fn mallocs(rivals: bool) -> Result<Vec<Malloc>> {
    let knoll = util::build_shared()?;
    let mut mallocs = vec![Malloc { name: "Knoll", preload: Some(knoll.into()), least: Some(50) }];
    mallocs.push(Malloc { name: "Knoll, hardened", preload: Some(hardened()?.into()), least: Some(97) });
    if rivals {
        mallocs.push(Malloc { name: "glibc", preload: None, least: None });
        for &(name, library) in RIVALS {
            if is_installed(library)? {
                mallocs.push(Malloc { name, preload: Some(library.into()), least: None });
            } else {
                note(format!("{name} is not installed; tools/setup.sh bench-hosted installs it"));
            }
        }
    }
    Ok(mallocs)
}

/// Builds the hardened libknoll.so and returns its path.
fn hardened() -> Result<PathBuf> {
    util::Library { features: &["hardened"], ..util::Library::default() }.shared()
}

/// True iff the loader finds a library to preload; it says so on standard error if not.
fn is_installed(library: &str) -> Result<bool> {
    let mut command = program::<&str>("true", []);
    let output = command.env("LD_PRELOAD", library).output().context("cannot run true")?;
    Ok(output.stderr.is_empty())
}

/// How C and C++ are compiled.
const FLAGS: &[&str] = &["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"];

/// Compiles what all programs share, and returns the object's path.
fn compile_common(work: &Path) -> Result<PathBuf> {
    let out = work.join("detection.o");
    let source = root().join("xtask/fixtures/detection/detection.c");
    run_aloud(program("cc", ["-std=c11", "-c"]).args(FLAGS).arg("-o").arg(&out).arg(source))?;
    Ok(out)
}

/// Compiles a group's programs, which are one file, and returns its path.
fn compile(group: &Group, common: &Path, work: &Path) -> Result<PathBuf> {
    let source = root().join("xtask/fixtures/detection").join(group.source);
    let out = work.join(source.file_stem().context("a source has a name")?);
    let mut compiler =
        if group.source.ends_with(".cc") { program("c++", ["-std=c++17"]) } else { program("cc", ["-std=c11"]) };
    run_aloud(compiler.args(FLAGS).arg("-o").arg(&out).arg(source).arg(common).arg("-ldl"))?;
    Ok(out)
}

/// Runs a program once.
fn once(path: &Path, test: &str, size: usize, malloc: &Malloc, control: bool) -> Result<Ran> {
    let mut command = Command::new(path);
    command.arg(test).arg(size.to_string()).args(control.then_some("--control"));
    command.env_remove("LD_PRELOAD").envs(malloc.preload.as_ref().map(|library| ("LD_PRELOAD", library)));
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", path.display()))?;
    Ok(Ran {
        told: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        signal: output.status.signal(),
        code: output.status.code(),
    })
}

/// A program without its fault comes to its end, and nobody complains.
fn control(path: &Path, test: &str, size: usize, malloc: &Malloc) -> Result<()> {
    let ran = once(path, test, size, malloc, true)?;
    if ran.code != Some(0) || !ran.errors.is_empty() {
        bail!("{}", ran.describe());
    }
    Ok(())
}

/// How a program with its fault ended; an error if it did not even come to the fault.
fn judge(ran: &Ran) -> Result<Outcome> {
    let last = ran.told.lines().last().unwrap_or_default();
    if last.starts_with("absent: ") {
        return Ok(Outcome::Missed);
    }
    if !ran.told.lines().any(|line| line == "fault") && !last.starts_with("prevented: ") {
        bail!("it never came to its fault: {}", ran.describe());
    }
    // One that goes round in circles was stopped by its own alarm: nobody noticed.
    if ran.signal == Some(SIGALRM) {
        return Ok(Outcome::Missed);
    }
    if ran.signal.is_some() || !ran.errors.is_empty() {
        return Ok(Outcome::Caught);
    }
    match last.split(':').next() {
        Some("prevented") => Ok(Outcome::Prevented),
        Some("harmless") => Ok(Outcome::Harmless),
        Some("missed") => Ok(Outcome::Missed),
        _ if ran.code != Some(0) => Ok(Outcome::Caught), // it has ended the process in a way of its own
        _ => bail!("it says nothing of how it went: {}", ran.describe()),
    }
}

const SIGALRM: i32 = 14;
const SIGABRT: i32 = 6;

/// Caught by Knoll's own line and abort, not by an accident.
fn by_knoll(ran: &Ran) -> Result<()> {
    if ran.signal != Some(SIGABRT) || !ran.errors.starts_with("knoll: ") || ran.errors.lines().count() != 1 {
        bail!("{}", ran.describe());
    }
    Ok(())
}

impl Ran {
    fn describe(&self) -> String {
        let end = match (self.signal, self.code) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit status {}", code.unwrap_or(-1)),
        };
        let lines: Vec<&str> = self.told.lines().chain(self.errors.lines()).collect();
        format!("{end}; {}", lines.join(" | "))
    }
}

fn none(alarms: &[String]) -> Result<()> {
    if alarms.is_empty() {
        return Ok(());
    }
    bail!("{}", alarms.join("\n"))
}

fn at_least(found: usize, least: usize) -> Result<()> {
    if found < least {
        bail!("too few");
    }
    Ok(())
}

/// A row for each group: what was caught or prevented, and what was harmless in brackets.
fn print_table(groups: &[&Group], mallocs: &[Malloc], columns: &[Vec<Vec<Outcome>>]) {
    let names = mallocs.iter().map(|malloc| malloc.name.to_owned());
    let mut table = new_table(["caught or prevented (harmless)".to_owned(), "of".to_owned()].into_iter().chain(names));
    let cell = |outcomes: &mut dyn Iterator<Item = &Outcome>| {
        let (mut found, mut harmless) = (0, 0);
        for outcome in outcomes {
            found += usize::from(outcome.counts());
            harmless += usize::from(*outcome == Outcome::Harmless);
        }
        if harmless == 0 {
            found.to_string()
        } else {
            format!("{found} ({harmless})")
        }
    };
    for (number, group) in groups.iter().enumerate() {
        let cells = columns.iter().map(|column| cell(&mut column[number].iter()));
        table.add_row([group.name.to_owned(), group.programs().count().to_string()].into_iter().chain(cells));
    }
    let all: usize = groups.iter().map(|group| group.programs().count()).sum();
    let cells = columns.iter().map(|column| cell(&mut column.iter().flatten()));
    table.add_row(["all".to_owned(), all.to_string()].into_iter().chain(cells));
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_programs_as_said() {
        assert_eq!(GROUPS.iter().map(|group| group.programs().count()).sum::<usize>(), PROGRAMS);
    }

    #[test]
    fn what_kills_before_the_fault_is_no_catch() {
        let ran = |told: &str, errors: &str, signal| Ran {
            told: told.to_owned(),
            errors: errors.to_owned(),
            signal,
            code: signal.map_or(Some(0), |_| None),
        };
        assert!(judge(&ran("", "", Some(11))).is_err());
        assert!(judge(&ran("control\n", "", Some(11))).is_err());
        assert!(judge(&ran("fault\n", "", Some(11))).unwrap() == Outcome::Caught);
        assert!(judge(&ran("fault\n", "", Some(SIGALRM))).unwrap() == Outcome::Missed);
        assert!(judge(&ran("fault\nmissed: all\n", "told of it\n", None)).unwrap() == Outcome::Caught);
        assert!(judge(&ran("fault\nprevented: zeros\n", "", None)).unwrap() == Outcome::Prevented);
        assert!(judge(&ran("fault\nharmless: zeros\n", "", None)).unwrap() == Outcome::Harmless);
        assert!(judge(&ran("fault\n", "", None)).is_err());
        assert!(by_knoll(&ran("fault\n", "knoll: double free at 0x10\n", Some(SIGABRT))).is_ok());
        assert!(by_knoll(&ran("fault\n", "", Some(11))).is_err());
    }
}
