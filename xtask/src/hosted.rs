//! `cargo xtask hosted`: libknoll.so as the malloc of a whole process, promise by promise.
//!
//! - Eight C programs check what a malloc owes its callers at every size, alignment and edge; memory
//!   that ends and is used again; forks; threads that come and go; signal handlers; memory that goes
//!   back to the system; a library that is loaded late. A ninth goes on while the system refuses it
//!   memory ([`refused`]).
//! - Each runs on Knoll and on libc's malloc. There a check of what every malloc must do has to pass
//!   too, or it would not be fair; what Knoll promises beyond C and POSIX is `open` there, not failed.
//! - `--full` runs the numbers of the promise (10,000 forks, 100,000 threads, every system call);
//!   without it the same programs run shorter, which takes most of a minute.
//! - At the end stand tables ([`document`]): checks for each malloc, and the figures that the programs
//!   measured. `--document` makes a page of docs/ of them.

mod document;
mod refused;

use crate::fixture::{compile, output};
use crate::util::{self, announce, capture, note, program, root_relative, work_dir, Tally};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of `cargo xtask hosted`.
#[derive(clap::Args)]
pub struct Args {
    /// As many forks, threads, megabytes and refused calls as are promised: some minutes
    #[arg(long)]
    full: bool,
    /// Only the programs whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Run on this malloc too, for comparison: a library as LD_PRELOAD takes it
    #[arg(long, value_name = "LIBRARY")]
    beside: Vec<PathBuf>,
    /// Write docs/hosted-promises.md: for a full run of everything
    #[arg(long, requires = "full", conflicts_with = "only")]
    document: bool,
}

/// A fixture, and what it gets as arguments.
struct Part {
    name: &'static str,
    what: &'static str,
    short: &'static [&'static str],
    full: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part { name: "sizes", what: "every size, every alignment, realloc from each to each", short: &[], full: &[] },
    Part { name: "edges", what: "overflow, nothing, errno, functions that tell", short: &[], full: &[] },
    Part {
        name: "limit",
        what: "memory used up at one size, used again at the others",
        short: &["16", "2"],
        full: &["32", "3"],
    },
    Part {
        name: "fork",
        what: "forks among threads that allocate, in handlers; vfork",
        short: &["500"],
        full: &["10000"],
    },
    Part {
        name: "threads",
        what: "threads that come and go; destructors; threads that only free",
        short: &["5000", "600000"],
        full: &["100000", "4000000"],
    },
    Part { name: "signals", what: "handlers that allocate and free", short: &["2"], full: &["30"] },
    Part {
        name: "return",
        what: "what stays resident when memory is freed",
        short: &["300", "20000"],
        full: &["600", "200000"],
    },
    Part { name: "late", what: "libknoll.so loaded by dlopen into threads that run", short: &[], full: &[] },
];

/// How a check went.
enum Verdict {
    Good,
    Bad,
    /// Another malloc does otherwise than Knoll promises, and may.
    Open,
}

/// What one run of a fixture said.
struct Report {
    checks: Vec<(String, Verdict)>,
    figures: Vec<(String, String)>,
    /// Standard error.
    told: String,
}

impl Report {
    fn count(&self, wanted: fn(&Verdict) -> bool) -> usize {
        self.checks.iter().filter(|(_, verdict)| wanted(verdict)).count()
    }
}

/// A malloc and the reports of the parts that ran on it; none where the program did not come to its end.
struct Column {
    name: String,
    library: Option<PathBuf>,
    reports: Vec<Option<Report>>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("libknoll.so as the malloc of a process, promise by promise");
    let knoll = util::build_shared()?;
    let work = work_dir("hosted")?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let parts: Vec<&Part> = PARTS.iter().filter(|part| wanted(part.name)).collect();
    let mut tally = Tally::default();
    let mut columns = vec![Column::new("Knoll", Some(&knoll)), Column::new("libc", None)];
    for library in &args.beside {
        columns.push(Column::new(&library.file_name().unwrap_or_default().to_string_lossy(), Some(library)));
    }
    for part in &parts {
        announce(format!("hosted_{}: {}", part.name, part.what));
        let fixture = compile(&format!("hosted_{}", part.name), &work)?;
        for (number, column) in columns.iter_mut().enumerate() {
            let begin = Instant::now();
            let report = column.once(part, &fixture, args.full, &knoll);
            let seconds = begin.elapsed().as_secs_f32();
            match number {
                0 => on_knoll(&mut tally, part, &report, seconds),
                1 => tally.record(format!("{}: fair, libc's malloc passes ({seconds:.1} s)", part.name), fair(&report)),
                _ => note(format!("{}: {}", column.name, summary(&report))),
            }
            column.reports.push(report.ok());
        }
    }
    let mut refusals = None;
    if wanted("refused") {
        announce("hosted_refused: the system refuses a call, or all from it on");
        tally.record("system calls go through libc's names, where they can be refused", imports(&knoll));
        refusals = Some(refused::run(&mut tally, &knoll, &work, args.full)?);
    }
    let findings = document::Findings { parts: &parts, columns: &columns, refusals };
    if args.document {
        findings.write(&util::root().join("docs/hosted-promises.md"))?;
    }
    println!("\n{}", findings.text());
    tally.finish()
}

impl Column {
    fn new(name: &str, library: Option<&Path>) -> Column {
        Column { name: name.to_owned(), library: library.map(Path::to_owned), reports: Vec::new() }
    }

    /// One run of one part; an error if it did not come to its end.
    fn once(&self, part: &Part, fixture: &Path, full: bool, knoll: &Path) -> Result<Report> {
        let mut command = program(fixture, if full { part.full } else { part.short });
        if part.name == "late" {
            command.arg(knoll);
        }
        let output = output(&command, self.library.as_deref())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut report = Report { checks: Vec::new(), figures: Vec::new(), told };
        for line in text.lines() {
            let (word, name) = line.split_once(' ').unwrap_or((line, ""));
            let verdict = match word {
                "ok" => Verdict::Good,
                "FAILED" => Verdict::Bad,
                "open" => Verdict::Open,
                "figure" => {
                    let (name, value) = name.split_once(": ").context("a figure has a value")?;
                    report.figures.push((name.to_owned(), value.to_owned()));
                    continue;
                }
                _ => continue,
            };
            report.checks.push((name.to_owned(), verdict));
        }
        let failed = report.count(|verdict| matches!(verdict, Verdict::Bad));
        if !text.ends_with(&format!("{failed} failed\n")) {
            let end: Vec<&str> = text.lines().rev().take(3).collect();
            bail!("stopped in the middle: {}; its last lines, from the end: {end:?}\n{}", output.status, report.told);
        }
        Ok(report)
    }
}

/// Each check of a run on Knoll is a case of its own.
fn on_knoll(tally: &mut Tally, part: &Part, report: &Result<Report>, seconds: f32) {
    match report {
        Ok(report) => {
            for (name, verdict) in &report.checks {
                let outcome = match verdict {
                    Verdict::Good => Ok(()),
                    _ => Err(anyhow::anyhow!("see xtask/fixtures/hosted_{}.c\n{}", part.name, report.told)),
                };
                tally.record(name, outcome);
            }
            note(format!("{} checks in {seconds:.1} s", report.checks.len()));
        }
        Err(error) => tally.record(format!("hosted_{}", part.name), Err(anyhow::anyhow!("{error:#}"))),
    }
}

/// On libc's malloc nothing may fail.
fn fair(report: &Result<Report>) -> Result<()> {
    let report = report.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    for (name, verdict) in &report.checks {
        match verdict {
            Verdict::Bad => bail!("the check is not fair: {name}\n{}", report.told),
            Verdict::Open => note(format!("open on libc's malloc: {name}")),
            Verdict::Good => {}
        }
    }
    Ok(())
}

fn summary(report: &Result<Report>) -> String {
    match report {
        Ok(report) => {
            let names = report.checks.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Bad));
            let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
            format!("{} of {} checks failed {names:?}", names.len(), report.checks.len())
        }
        Err(error) => format!("{error:#}").lines().next().unwrap_or_default().to_owned(),
    }
}

/// The calls that `refused` refuses are asked of libc by name, and by no other.
fn imports(knoll: &Path) -> Result<()> {
    let symbols = capture(program("readelf", ["--dyn-syms", "--wide"]).arg(knoll))?;
    let wanted = |line: &str, name: &str| line.contains(" UND ") && line.contains(&format!(" {name}@"));
    for name in ["mmap", "munmap", "mremap", "madvise"] {
        if !symbols.lines().any(|line| wanted(line, name)) {
            bail!("{} does not ask for {name}", root_relative(knoll));
        }
    }
    match symbols.lines().find(|line| ["mmap64", "sbrk", "brk"].iter().any(|name| wanted(line, name))) {
        Some(line) => bail!("it asks for {line}"),
        None => Ok(()),
    }
}
