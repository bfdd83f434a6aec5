//! `cargo xtask c-tests`: the C tests over `knoll.h`, on the host and, the same sources, as firmware.
//!
//! - Each program of `c_tests/` is built and run once for each configuration below; the first
//!   failure stops nothing, and all failures are shown at the end with the end of their output.
//! - The firmware runs under the harness's watch: a write of Knoll outside its heaps, its statics
//!   and the stack is a failure; the deepest stack is measured.
//! - A reference allocator with one fault at a time stands in for Knoll afterwards, and for all else
//!   the library with one fault at a time (see [`faults`]): a test that catches none of the
//!   faults, or a fault that no test catches, is a failure of the tests themselves.
//! - Every row of `docs/conformance.md` must name tests that there are (see [`conformance`]).
//! - The last line is `N passed, N failed`: a case is a program in a configuration, a fault, or a
//!   test that must catch one.

mod conformance;
mod faults;
mod firmware;
mod mutants;
mod program;
mod traces;

use crate::util::{announce, build_shared, build_static, capture, new_table, note, program, root, work_dir, Tally};
use anyhow::{bail, Context, Result};
use program::Ended;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Options of `cargo xtask c-tests`; with neither `--host` nor `--firmware`, both.
#[derive(clap::Args)]
pub struct Args {
    /// On this machine: against libknoll.so and libknoll.a, sanitized, under Valgrind, and with faults
    #[arg(long)]
    host: bool,
    /// In the emulated Cortex-M0, M3 and M4
    #[arg(long)]
    firmware: bool,
    /// Only the programs whose name contains this
    #[arg(long, value_name = "PART")]
    filter: Option<String>,
}

/// The compiler's flags for every configuration.
const STRICT: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];
/// What programs are built of besides their own file; a [`Group`] says how many of them.
const COMMON: [&str; 5] =
    ["c_tests/traced.c", "c_tests/harness.c", "c_tests/shadow.c", "c_tests/cells.c", "c_tests/arenas.c"];

/// The program that plays the traces: it takes arguments, and takes longest.
const REPLAY: &str = "replay";
/// Of how many failures the output is shown.
const MOST_SHOWN: usize = 8;
/// The longest that a program may run, on the host or in the emulator.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let suite = Suite::find(args.filter.as_deref())?;
    let both = args.host == args.firmware;
    let mut tally = Tally::default();
    let mut outcomes = Vec::new();
    conformance::verify(&mut tally)?;
    if args.host || both {
        outcomes.extend(host(&suite, &mut tally)?);
    }
    if args.firmware || both {
        outcomes.extend(firmware::run_all(&suite, &mut tally)?);
    }
    if args.host || both {
        faults::run_all(&suite, &mut tally)?;
        mutants::run_all(&suite, &mut tally)?;
    }
    show_failures(&outcomes);
    show_table(&suite, &outcomes);
    show_smallest(&outcomes);
    tally.finish()
}

// ---------------------------------------------------------------- what there is to run

/// The programs and what they need.
struct Suite {
    /// Names of the programs: `c_tests/NAME.c`.
    programs: Vec<String>,
    /// The compact traces.
    traces: Vec<PathBuf>,
    /// No filter has left programs out.
    is_whole: bool,
}

impl Suite {
    fn find(filter: Option<&str>) -> Result<Suite> {
        let mut programs = Vec::new();
        for entry in std::fs::read_dir(root().join("c_tests"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let common = COMMON.iter().any(|file| path.ends_with(file));
            if path.extension().is_some_and(|end| end == "c")
                && !common
                && filter.is_none_or(|part| name.contains(part))
            {
                programs.push(name);
            }
        }
        programs.sort();
        if programs.is_empty() {
            bail!("no program in c_tests/ has {:?} in its name", filter.unwrap_or_default());
        }
        let traces = traces::compact_all(&root().join("traces"), &work_dir("c-tests/traces")?)?;
        Ok(Suite { programs, traces, is_whole: filter.is_none() })
    }

    /// Where a configuration's programs and logs go.
    fn directory(configuration: &str) -> Result<PathBuf> {
        work_dir(&format!("c-tests/{}", configuration.replace(' ', "-")))
    }
}

/// What a program is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// The manual heap.
    Heap,
    /// Counted objects.
    Counted,
    /// Scopes and arenas.
    Scoped,
    /// Always-active data.
    Resident,
    /// The witness of fragmentation.
    Witness,
    /// Traced memory.
    Traced,
    /// What a header does by itself, over arenas.
    Header,
}

impl Group {
    /// What the names of its programs begin with; all others are about the heap.
    const NAMES: [(Group, &'static [&'static str]); 6] = [
        (Group::Counted, &["counted_", "dialect_"]),
        (Group::Scoped, &["arena_"]),
        (Group::Resident, &["resident"]),
        (Group::Witness, &["witness"]),
        (Group::Traced, &["traced_"]),
        (Group::Header, &["format"]),
    ];

    fn of(program: &str) -> Group {
        let named = |names: &[&str]| names.iter().any(|start| program.starts_with(start));
        let group = Group::NAMES.iter().find(|(_, names)| named(names));
        group.map_or(Group::Heap, |(group, _)| *group)
    }
}

/// What this program is built of besides its own file.
fn common(program: &str) -> &'static [&'static str] {
    match Group::of(program) {
        Group::Traced => &COMMON[..3],
        Group::Heap | Group::Header => &COMMON[1..3],
        Group::Counted | Group::Resident => &COMMON[1..4],
        Group::Scoped | Group::Witness => &COMMON[1..],
    }
}

/// A program in a configuration, run.
struct Outcome {
    program: String,
    configuration: &'static str,
    /// How it ended; an error when it could not be built or started.
    ended: Result<Ended>,
    /// Deepest stack in bytes, where it is measured.
    stack: Option<u64>,
}

/// A program to link and run; the work is done on one of the workers.
struct Job {
    program: String,
    configuration: &'static str,
    work: Box<dyn FnOnce() -> (Result<Ended>, Option<u64>) + Send>,
}

/// Does the jobs, notes and says each outcome.
fn work_off(mut jobs: Vec<Job>, tally: &mut Tally) -> Vec<Outcome> {
    let order: Vec<&str> = jobs.iter().map(|job| job.configuration).collect();
    // The longest first, so that it is not left alone at the end.
    jobs.sort_by_key(|job| job.program != REPLAY);
    let mut outcomes = Vec::new();
    let work = |job: Job| {
        let (ended, stack) = (job.work)();
        Outcome { program: job.program, configuration: job.configuration, ended, stack }
    };
    in_parallel(jobs, work, |outcome| {
        let verdict = match &outcome.ended {
            Ok(ended) => ended.verdict(),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        tally.record(format!("{} [{}]", outcome.program, outcome.configuration), verdict);
        outcomes.push(outcome);
    });
    outcomes.sort_by_key(|outcome| order.iter().position(|configuration| *configuration == outcome.configuration));
    outcomes
}

/// Works on as many items at a time as there are processors; `done` is told of each, on this thread.
fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync, mut done: impl FnMut(R)) {
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get());
    let queue = Mutex::new(items.into_iter());
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (queue, work, send) = (&queue, &work, send.clone());
            scope.spawn(move || {
                while let Some(item) = { queue.lock().ok().and_then(|mut queue| queue.next()) } {
                    if send.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().for_each(&mut done);
    });
}

// ---------------------------------------------------------------- on the host

/// How the programs are compiled, linked and run on the host.
struct Configuration {
    name: &'static str,
    flags: &'static [&'static str],
    /// Against libknoll.so, or else libknoll.a with these features.
    shared: bool,
    features: &'static [&'static str],
    /// What the program runs under.
    under: &'static [&'static str],
}

const PLAIN: Configuration =
    Configuration { name: "libknoll.a", flags: &["-O2"], shared: false, features: &[], under: &[] };
const HOST: &[Configuration] = &[
    Configuration { name: "libknoll.so", shared: true, ..PLAIN },
    PLAIN,
    Configuration {
        name: "full checks",
        flags: &["-O2", "-DKNOLL_WITH_FULL_CHECKS"],
        features: &["checks-full"],
        ..PLAIN
    },
    Configuration { name: "no checks", flags: &["-O2", "-DKNOLL_WITHOUT_CHECKS"], features: &["checks-none"], ..PLAIN },
    Configuration {
        name: "ASan+UBSan",
        flags: &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
        ..PLAIN
    },
    Configuration {
        name: "Valgrind",
        flags: &["-O1", "-DKNOLL_UNDER_VALGRIND"],
        under: &[
            "valgrind",
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--suppressions=c_tests/valgrind.supp",
        ],
        ..PLAIN
    },
];
/// Without checks a mistake is not noticed, and what it does is not defined.
const NEED_CHECKS: [&str; 3] = ["misuse", "counted_misuse", "arena_misuse"];

fn host(suite: &Suite, tally: &mut Tally) -> Result<Vec<Outcome>> {
    announce(format!("C tests on the host: {} programs, {} configurations", suite.programs.len(), HOST.len()));
    let begin = Instant::now();
    compile_all(suite, HOST)?;
    let mut jobs = Vec::new();
    for configuration in HOST {
        let library = match configuration.shared {
            true => build_shared()?,
            false => build_static(None, configuration.features)?,
        };
        let directory = Suite::directory(configuration.name)?;
        for name in &suite.programs {
            if NEED_CHECKS.contains(&name.as_str()) && configuration.features.contains(&"checks-none") {
                continue;
            }
            let executable = directory.join(name);
            let mut link = link(name, configuration, &library, &executable)?;
            let mut command = execute(&executable, configuration.under, arguments(name, suite, configuration.name));
            let log = directory.join(format!("{name}.log"));
            let work = move || {
                let ended = capture(&mut link).and_then(|_| program::run(&mut command, &log, LIMIT));
                (ended, None)
            };
            jobs.push(Job { program: name.clone(), configuration: configuration.name, work: Box::new(work) });
        }
    }
    let outcomes = work_off(jobs, tally);
    note(format!("{:.1} s on the host", begin.elapsed().as_secs_f64()));
    Ok(outcomes)
}

/// Where the object of a source lies; configurations with the same flags share it.
fn object(source: &str, flags: &[&str]) -> Result<PathBuf> {
    let name = Path::new(source).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let flags: Vec<&str> = flags.iter().map(|flag| flag.trim_start_matches('-')).collect();
    Ok(work_dir(&format!("c-tests/objects/{}", flags.join("+").replace(',', "_")))?.join(name + ".o"))
}

/// Compiles every source with the flags of each configuration.
fn compile_all(suite: &Suite, configurations: &[Configuration]) -> Result<()> {
    let mut commands = BTreeMap::new();
    for configuration in configurations {
        let own = suite.programs.iter().map(|name| format!("c_tests/{name}.c"));
        for source in own.chain(COMMON.iter().map(|common| (*common).to_owned())) {
            let object = object(&source, configuration.flags)?;
            let mut command = program("gcc", STRICT);
            command.args(configuration.flags).args(["-Iinclude", "-Ic_tests", "-c"]).arg(source).arg("-o").arg(&object);
            commands.insert(object, command);
        }
    }
    note(format!("gcc {} -O…: {} objects", STRICT.join(" "), commands.len()));
    let mut outcome = Ok(());
    let work = |mut command: Command| capture(&mut command);
    in_parallel(commands.into_values().collect(), work, |compiled| {
        if let Err(error) = compiled {
            outcome = Err(error);
        }
    });
    outcome
}

/// The command that links a program with a library, or with an object in its place.
fn link(name: &str, configuration: &Configuration, library: &Path, executable: &Path) -> Result<Command> {
    let mut command = Command::new("gcc");
    command.args(configuration.flags.iter().filter(|flag| flag.starts_with("-f")));
    command.arg(object(name, configuration.flags)?);
    for common in common(name) {
        command.arg(object(common, configuration.flags)?);
    }
    command.arg(library);
    if configuration.shared {
        let directory = library.parent().unwrap_or(Path::new("."));
        command.arg(format!("-Wl,-rpath,{}", directory.display()));
    }
    command.arg("-o").arg(executable);
    Ok(command)
}

fn execute(executable: &Path, under: &[&str], arguments: Vec<PathBuf>) -> Command {
    let mut command = match under.split_first() {
        Some((tool, options)) => {
            let mut command = program(tool, options);
            command.arg(executable);
            command
        }
        None => Command::new(executable),
    };
    command.args(arguments);
    command
}

/// What the replayer is to play; the smallest heaps are looked for once a word size, where it is fast.
fn arguments(name: &str, suite: &Suite, configuration: &str) -> Vec<PathBuf> {
    let mut arguments = Vec::new();
    if name == REPLAY {
        if configuration == "libknoll.a" {
            arguments.push("--smallest".into());
        }
        arguments.extend(suite.traces.iter().cloned());
    }
    arguments
}

// ---------------------------------------------------------------- telling

/// The ends of the outputs of what failed; beyond the first few, the list of failures has to do.
fn show_failures(outcomes: &[Outcome]) {
    let failed = |outcome: &&Outcome| !outcome.ended.as_ref().is_ok_and(|ended| ended.verdict().is_ok());
    for outcome in outcomes.iter().filter(failed).take(MOST_SHOWN) {
        let text = match &outcome.ended {
            Ok(ended) => std::fs::read_to_string(&ended.log).unwrap_or_default(),
            Err(error) => format!("{error:#}"),
        };
        announce(format!("{} [{}] failed", outcome.program, outcome.configuration));
        let telling: Vec<&str> = text.lines().filter(|line| !line.ends_with(" checks")).collect();
        for line in &telling[telling.len().saturating_sub(40)..] {
            eprintln!("    | {line}");
        }
    }
}

/// Program by configuration: the checks that were made, and the deepest stack.
fn show_table(suite: &Suite, outcomes: &[Outcome]) {
    let mut configurations: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !configurations.contains(&outcome.configuration) {
            configurations.push(outcome.configuration);
        }
    }
    let mut table = new_table(["program"]);
    table.set_header(std::iter::once("program").chain(configurations.iter().copied()).chain(["deepest stack"]));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    let cells: BTreeMap<_, _> =
        outcomes.iter().map(|each| ((each.program.as_str(), each.configuration), each)).collect();
    let (mut runs, mut checks) = (0, 0);
    for name in &suite.programs {
        let mut row = vec![name.clone()];
        let mut stack = None;
        for configuration in &configurations {
            row.push(match cells.get(&(name.as_str(), *configuration)) {
                Some(Outcome { ended: Ok(ended), stack: depth, .. }) => {
                    stack = stack.max(*depth);
                    runs += ended.report.runs;
                    checks += ended.report.checks;
                    let verdict = if ended.verdict().is_ok() { "ok" } else { "FAILED" };
                    format!("{verdict} {}", thousands(ended.report.checks))
                }
                Some(_) => "NOT BUILT".to_owned(),
                None => "-".to_owned(),
            });
        }
        row.push(stack.map_or("-".to_owned(), |bytes| format!("{} B", thousands(bytes))));
        table.add_row(row);
    }
    println!("\nThe C tests: checks made by each program in each configuration\n\n{table}\n");
    println!("{} test runs, {} checks", thousands(runs), thousands(checks));
}

/// The smallest heap of each trace, by layout.
fn show_smallest(outcomes: &[Outcome]) {
    for outcome in outcomes.iter().filter(|outcome| outcome.program == "replay") {
        let Ok(ended) = &outcome.ended else { continue };
        let text = std::fs::read_to_string(&ended.log).unwrap_or_default();
        let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["smallest", trace, layout, rest @ ..] = &words[..] {
                let ratio = if rest.get(2) == Some(&"=") { rest[3] } else { "none" };
                rows.entry(*trace).or_default().push(format!("{} {ratio}", layout.trim_end_matches(':')));
            }
        }
        if !rows.is_empty() {
            println!("\nSmallest heap in which a trace completes / peak live bytes, {}:", outcome.configuration);
            for (trace, ratios) in rows {
                println!("    {trace:<22} {}", ratios.join("   "));
            }
        }
    }
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text of a file of the tests.
fn source(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}
