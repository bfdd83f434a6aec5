//! `cargo xtask workflows`: the Lua and the Lisp run 1000 workflows each beside always-active tables that grow
//! (`examples/workflows`), on this machine and as Cortex-M4 firmware with a heap of 140 KB: with scopes, without, and on
//! newlib's malloc, rlsf and talc.
//!
//! - What the workflows print must be the same on every allocator and in every mode, byte for byte. A workflow that
//!   runs out of memory is counted; with scopes none may.
//! - After every workflow the largest free block is measured against all that is free. With scopes it may at no time
//!   be less than 97 %.
//! - The program itself compares the heap's fingerprint of enter and leave: but for always-active blocks the heap must
//!   be as it was. That, and a check of the whole heap, is after every workflow on Knoll.
//! - Instructions are counted by the emulator, exactly: two runs give the same figures.
//! - `--quick` runs 100 workflows, and a few with a watch on every write of Knoll. The whole run writes its tables into
//!   `docs/workflows.md`.
//!
//! ```text
//!   examples/workflows/*.c ──▶ a program for each language, allocator, machine ──▶ output  ──▶ all the same?
//!   examples/workflows/{lua,lisp}/* ──────┘                                  └──▶ figures ──▶ tables
//! ```

use crate::run::{build::LuaSources, grouped, same_output};
use crate::util::{self, announce, emu_binary, note, program, root, work_dir, Tally};
use anyhow::{bail, ensure, Context, Result};
use console::style;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `cargo xtask workflows`.
#[derive(clap::Args)]
pub struct Args {
    /// 100 workflows instead of 1000, and a few with every write of Knoll watched; docs/workflows.md stays as it is
    #[arg(long)]
    quick: bool,
    /// That many workflows
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
    /// One language alone
    #[arg(long)]
    language: Option<Language>,
}

/// Workflows in one run.
const ALL: usize = 1000;
const FEW: usize = 100;
/// With a watch, which takes eight times as long.
const WATCHED: usize = 20;
/// With scopes the largest free block is at least so much of all that is free, per mille.
const LEAST: u64 = 970;
/// The columns of the tables: after how many workflows.
const MOMENTS: [usize; 5] = [0, 1, 10, 100, 1000];

/// The device's heap; on 64 bit objects are twice as large.
const FIRMWARE_HEAP: usize = 140 * 1024;
const HOST_HEAP: usize = 2 * FIRMWARE_HEAP;
const FIRMWARE: &str = "thumbv7em-none-eabi";
/// More instructions than any run needs: one that is caught in a loop ends here.
const BUDGET: &str = "60G";
/// The program's exit status when a workflow failed.
const WORKFLOW_FAILED: i32 = 1;

const FOLDER: &str = "examples/workflows";
const DOCUMENT: &str = "docs/workflows.md";

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let count = args.count.unwrap_or(if args.quick { FEW } else { ALL });
    announce("Building: libknoll, rlsf, talc; Lua from the package lua-src, the Lisp of examples/lisp");
    let makings = Makings::find()?;
    let mut tally = Tally::default();
    let mut tables = Vec::new();
    let languages = args.language.map_or_else(|| vec![Language::Lua, Language::Lisp], |language| vec![language]);
    for language in languages {
        for machine in [Machine::M4, Machine::Host] {
            announce(format!("{}: {count} workflows on {}", language.title(), machine.title()));
            let ran = run_subjects(&makings, language, machine, count, args.quick, &mut tally);
            let table = tabulate(language, machine, count, &ran);
            println!("\n{table}");
            tables.push((heading(language, machine), table));
        }
    }
    tally.finish()?;
    if count == ALL && !args.quick {
        write_document(&tables)?;
    }
    Ok(())
}

/// Runs a language on a machine over everything there is; `watch`: also a few workflows with every write watched.
fn run_subjects(
    makings: &Makings,
    language: Language,
    machine: Machine,
    count: usize,
    watch: bool,
    tally: &mut Tally,
) -> Vec<(&'static Subject, Ran)> {
    let mut ran: Vec<(&Subject, Ran)> = Vec::new();
    for subject in SUBJECTS.iter().filter(|subject| subject.is_for(language, machine)) {
        let case = format!("{} [{}, {}", language.title(), subject.name, machine.title());
        let first = ran.first().map(|(_, first)| first);
        let outcome = makings.build(subject, language, machine).and_then(|built| {
            let this = built.execute(count, false)?;
            this.verify(subject, first)?;
            Ok((built, this))
        });
        let (built, this) = match outcome {
            Ok(both) => both,
            Err(error) => {
                tally.record(format!("{case}]"), Err(error));
                continue;
            }
        };
        tally.record(format!("{case}: {}]", this.in_short()), Ok(()));
        ran.push((subject, this));
        if watch && subject.scopes && machine == Machine::M4 {
            tally.record(format!("{case}, every write watched]"), built.execute(WATCHED, true).map(drop));
        }
    }
    ran
}

// ---------------------------------------------------------------- what is run

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    Lua,
    Lisp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Machine {
    M4,
    Host,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Allocator {
    Knoll,
    Newlib,
    Rlsf,
    Talc,
}

/// What makes the Lisp's objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cells {
    /// Counted cells of Knoll.
    Knoll,
    /// Cells of Knoll in the workflow's scope itself (`scope_cells.h`): nothing goes before the leave, so that a heap
    /// that many times as large is needed.
    Scope { heaps: usize },
    /// Counting over any malloc (`plain_cells.c`).
    Plain,
}

/// A row of the tables.
struct Subject {
    name: &'static str,
    allocator: Allocator,
    scopes: bool,
    /// In the Lisp; `None`: the subject is for Lua alone.
    cells: Option<Cells>,
    /// For Lua, too?
    lua: bool,
}

/// The first is what the others must print the same as.
const SUBJECTS: &[Subject] = &[
    Subject { name: "Knoll, scopes", allocator: Allocator::Knoll, scopes: true, cells: Some(Cells::Knoll), lua: true },
    Subject {
        name: "Knoll, cells in the scope, 4 heaps",
        allocator: Allocator::Knoll,
        scopes: true,
        cells: Some(Cells::Scope { heaps: 4 }),
        lua: false,
    },
    Subject {
        name: "Knoll, counted cells without scopes",
        allocator: Allocator::Knoll,
        scopes: false,
        cells: Some(Cells::Knoll),
        lua: false,
    },
    Subject {
        name: "Knoll, malloc and free",
        allocator: Allocator::Knoll,
        scopes: false,
        cells: Some(Cells::Plain),
        lua: true,
    },
    Subject { name: "newlib", allocator: Allocator::Newlib, scopes: false, cells: Some(Cells::Plain), lua: true },
    Subject { name: "rlsf", allocator: Allocator::Rlsf, scopes: false, cells: Some(Cells::Plain), lua: true },
    Subject { name: "talc", allocator: Allocator::Talc, scopes: false, cells: Some(Cells::Plain), lua: true },
];

impl Subject {
    fn is_for(&self, language: Language, machine: Machine) -> bool {
        let spoken = match language {
            Language::Lua => self.lua,
            Language::Lisp => self.cells.is_some(),
        };
        spoken && (self.allocator != Allocator::Newlib || machine == Machine::M4)
    }

    fn file_name(&self) -> String {
        self.name.replace(", ", "-").replace(' ', "-").to_lowercase()
    }
}

impl Language {
    fn title(self) -> &'static str {
        match self {
            Language::Lua => "Lua",
            Language::Lisp => "Lisp",
        }
    }

    /// The folder of its scripts, which is also their ending.
    fn folder(self) -> &'static str {
        match self {
            Language::Lua => "lua",
            Language::Lisp => "lisp",
        }
    }
}

impl Machine {
    fn title(self) -> &'static str {
        match self {
            Machine::M4 => "the Cortex-M4",
            Machine::Host => "this machine",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Machine::M4 => "m4",
            Machine::Host => "host",
        }
    }

    fn heap(self) -> usize {
        match self {
            Machine::M4 => FIRMWARE_HEAP,
            Machine::Host => HOST_HEAP,
        }
    }
}

// ---------------------------------------------------------------- building

/// Everything that programs are built of, and what runs them.
struct Makings {
    emulator: PathBuf,
    lua: LuaSources,
    /// Lua, compiled for each machine.
    lua_archives: Vec<(Machine, PathBuf)>,
    /// Allocators for each machine; newlib's comes with the C library.
    allocators: Vec<(Allocator, Machine, PathBuf)>,
}

/// A program that has been built.
struct Built {
    /// None: it runs here.
    emulator: Option<PathBuf>,
    executable: PathBuf,
    /// It runs here, beside copies of the scripts; what it writes goes to `out` below.
    folder: PathBuf,
    language: Language,
    heap: usize,
    scopes: bool,
}

impl Makings {
    /// Finds or builds all of it.
    fn find() -> Result<Makings> {
        let host = util::host()?;
        let mut makings = Makings {
            emulator: emu_binary()?,
            lua: LuaSources::find()?,
            lua_archives: Vec::new(),
            allocators: Vec::new(),
        };
        for (machine, triple) in [(Machine::M4, FIRMWARE), (Machine::Host, &*host)] {
            makings.lua_archives.push((machine, makings.lua.archive(triple)?));
            let knoll = util::build_static((machine == Machine::M4).then_some(FIRMWARE), &[])?;
            makings.allocators.push((Allocator::Knoll, machine, knoll));
            // The benchmark's tables of rlsf, for blocks of 64 KB at most, would be no match for this heap.
            for (allocator, features) in [(Allocator::Rlsf, "rlsf-large"), (Allocator::Talc, "talc")] {
                makings.allocators.push((allocator, machine, build_rival(features, triple)?));
            }
        }
        Ok(makings)
    }

    fn build(&self, subject: &Subject, language: Language, machine: Machine) -> Result<Built> {
        let name = format!("workflows/{}-{}-{}", machine.file_name(), language.folder(), subject.file_name());
        let folder = work_dir(&name)?;
        copy_scripts(language, &folder)?;
        let executable = folder.join("workflows");
        let ours = |file: &str| root().join(FOLDER).join(file);
        let mut files = ["main.c", "tables.c"].map(ours).to_vec();
        let mut options: Vec<String> = ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"].map(String::from).to_vec();
        let mut include = |folder: &Path| options.push(format!("-I{}", folder.display()));
        for folder in ["include", "emu/firmware", "benches/embedded", FOLDER] {
            include(&root().join(folder));
        }
        match language {
            Language::Lua => {
                include(self.lua.folder());
                files.push(ours("lua_runtime.c"));
                let archive = self.lua_archives.iter().find(|(built_for, _)| *built_for == machine);
                files.extend(archive.map(|(_, path)| path.clone()));
            }
            Language::Lisp => {
                include(&root().join("examples/lisp"));
                files.push(ours("lisp_runtime.c"));
                files.extend(lisp_sources()?);
                let instead = match subject.cells {
                    Some(Cells::Plain) => Some("plain_cells.h"),
                    Some(Cells::Scope { .. }) => Some("scope_cells.h"),
                    Some(Cells::Knoll) | None => None,
                };
                if let Some(header) = instead {
                    options.extend(["-include".to_owned(), ours(header).display().to_string()]);
                }
                if subject.cells == Some(Cells::Plain) {
                    files.push(ours("plain_cells.c"));
                }
            }
        }
        let heap = match subject.cells {
            Some(Cells::Scope { heaps }) => heaps * machine.heap(),
            _ => machine.heap(),
        };
        options.push(format!("-DMEMORY_CAPACITY={heap}u"));
        files.push(ours(if subject.allocator == Allocator::Knoll { "memory_knoll.c" } else { "memory_rival.c" }));
        match subject.allocator {
            Allocator::Newlib => {
                let name = format!("-DWORKFLOWS_ALLOCATOR=\"{}\"", subject.name);
                options.extend(["-DBENCH_LIBC".to_owned(), name, "-Wl,--wrap=_sbrk".to_owned()]);
            }
            // Rust's archives for the host name it; nothing here unwinds.
            Allocator::Rlsf | Allocator::Talc if machine == Machine::Host => {
                options.push("-Wl,--defsym=rust_eh_personality=0".to_owned());
            }
            _ => {}
        }
        if machine == Machine::Host {
            // Before Rust's archives, which have some functions of that name, too.
            files.push("-lm".into());
        }
        let of = |(allocator, built_for, _): &&(Allocator, Machine, PathBuf)| {
            *allocator == subject.allocator && *built_for == machine
        };
        files.extend(self.allocators.iter().find(of).map(|(_, _, path)| path.clone()));
        match machine {
            Machine::M4 => {
                let mut build = program("sh", ["emu/firmware/build.sh", "m4"]);
                util::run(build.arg(&executable).args(files).arg("--").args(options))?;
            }
            Machine::Host => {
                let mut gcc = program("gcc", ["-std=gnu99"]);
                util::run(gcc.args(files).args(options).arg("-o").arg(&executable))?;
            }
        }
        let emulator = (machine == Machine::M4).then(|| self.emulator.clone());
        Ok(Built { emulator, executable, folder, language, heap, scopes: subject.scopes })
    }
}

/// An allocator of `benches/embedded/rivals`, in a target directory of its own.
fn build_rival(features: &str, triple: &str) -> Result<PathBuf> {
    let directory = util::target_dir().join("knoll/rivals").join(features);
    let mut command = util::cargo();
    command.args(["build", "--quiet", "--release", "--locked"]);
    command.args(["--manifest-path", "benches/embedded/rivals/Cargo.toml"]);
    command.args(["--features", features, "--target", triple]);
    command.env("CARGO_TARGET_DIR", &directory);
    util::run(&mut command)?;
    Ok(directory.join(triple).join("release/librivals.a"))
}

fn copy_scripts(language: Language, to: &Path) -> Result<()> {
    let into = to.join(language.folder());
    std::fs::create_dir_all(&into)?;
    std::fs::create_dir_all(to.join("out"))?;
    for entry in std::fs::read_dir(root().join(FOLDER).join(language.folder()))? {
        let entry = entry?;
        std::fs::copy(entry.path(), into.join(entry.file_name()))?;
    }
    Ok(())
}

/// The Lisp, without its own program.
fn lisp_sources() -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(root().join("examples/lisp"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "c") && !path.ends_with("main.c") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

// ---------------------------------------------------------------- running

/// How a workflow left the heap. Number 0 is the heap before the first.
#[derive(Clone, Copy)]
struct Moment {
    fine: bool,
    free: u64,
    largest: u64,
}

impl Moment {
    fn permille(self) -> u64 {
        self.largest * 1000 / self.free.max(1)
    }
}

/// Instructions, as the emulator counts them.
#[derive(Clone, Copy, Deserialize)]
struct Instructions {
    mean: f64,
    worst: u64,
}

#[derive(Deserialize)]
struct Emulated {
    marks: Marks,
    results: Results,
}

#[derive(Clone, Copy, Deserialize)]
struct Marks {
    workflow: Instructions,
    end: Instructions,
}

#[derive(Clone, Copy, Deserialize)]
struct Results {
    #[serde(rename = "always-active bytes")]
    always_bytes: u64,
    #[serde(rename = "always-active blocks")]
    always_blocks: u64,
    #[serde(rename = "most held")]
    most_held: u64,
}

/// How a run went.
struct Ran {
    output: Vec<u8>,
    moments: Vec<Moment>,
    emulated: Option<Emulated>,
}

impl Built {
    fn execute(&self, count: usize, watch: bool) -> Result<Ran> {
        let figures = self.folder.join("out/figures.txt");
        let json = self.folder.join("out/emulator.json");
        for file in [&figures, &json] {
            let _ = std::fs::remove_file(file);
        }
        let mut words: Vec<String> =
            ["--heap", &self.heap.to_string(), "--count", &count.to_string()].map(String::from).to_vec();
        words.extend(["--figures", "out/figures.txt"].map(String::from));
        if self.scopes {
            words.push("--scopes".to_owned());
        }
        words.push(self.language.folder().to_owned());
        let mut command = match &self.emulator {
            None => program(&self.executable, &words),
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg("run").arg(&self.executable).args(["--cpu", "m4", "--budget", BUDGET, "--quiet"]);
                if watch {
                    command.arg("--watch");
                }
                command.arg("--dir").arg(&self.folder).arg("--json").arg(&json);
                command.args(words.iter().map(|word| format!("--arg={word}")));
                command
            }
        };
        command.current_dir(&self.folder).stdin(Stdio::null());
        let done = command.output().with_context(|| format!("cannot run {}", util::display(&command)))?;
        if !matches!(done.status.code(), Some(0 | WORKFLOW_FAILED)) {
            bail!("{}\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim_end());
        }
        let moments = read_moments(&figures)?;
        ensure!(moments.len() == count + 1, "{} of {count} workflows are on record", moments.len().saturating_sub(1));
        let emulated = match self.emulator {
            None => None,
            Some(_) => {
                let text = std::fs::read_to_string(&json).with_context(|| format!("no {}", json.display()))?;
                Some(serde_json::from_str(&text).with_context(|| format!("in {}", json.display()))?)
            }
        };
        Ok(Ran { output: done.stdout, moments, emulated })
    }
}

fn read_moments(path: &Path) -> Result<Vec<Moment>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
    let line = |line: &str| -> Option<Moment> {
        let mut numbers = line.split(' ').map(|word| word.parse::<u64>().ok());
        numbers.next()??;
        Some(Moment { fine: numbers.next()?? == 1, free: numbers.next()??, largest: numbers.next()?? })
    };
    text.lines().map(|text| line(text).with_context(|| format!("{}: {text}", path.display()))).collect()
}

// ---------------------------------------------------------------- judging

impl Ran {
    /// The lowest share, and after which workflow.
    fn least(&self) -> (u64, usize) {
        let shares = self.moments.iter().enumerate().map(|(number, moment)| (moment.permille(), number));
        shares.min().unwrap_or((0, 0))
    }

    fn failed(&self) -> usize {
        self.moments.iter().filter(|moment| !moment.fine).count()
    }

    fn in_short(&self) -> String {
        let (least, at) = self.least();
        let failed = match self.failed() {
            0 => String::new(),
            failed => format!("; {failed} workflows ran out of memory"),
        };
        format!("at least {} in one piece, after workflow {at}{failed}", percent(least))
    }

    /// The output up to the first workflow that failed.
    fn sound_output(&self) -> &[u8] {
        let Some(first) = self.moments.iter().position(|moment| !moment.fine) else { return &self.output };
        let heading = format!("-- workflow {first}: ");
        let at = self.output.windows(heading.len()).position(|window| window == heading.as_bytes());
        &self.output[..at.unwrap_or(0)]
    }

    /// What must hold; `first` is the run that all others are compared with.
    fn verify(&self, subject: &Subject, first: Option<&Ran>) -> Result<()> {
        if let Some(first) = first {
            let sound = self.sound_output();
            let expected = if self.failed() == 0 { &first.output } else { &first.output[..sound.len()] };
            same_output(subject.name, expected, sound)?;
        }
        if subject.scopes {
            ensure!(self.failed() == 0, "{} workflows failed", self.failed());
            let (least, at) = self.least();
            let Moment { free, largest, .. } = self.moments[at];
            ensure!(
                least >= LEAST,
                "after workflow {at} the largest free block is {largest} of {free} bytes that are free"
            );
        }
        Ok(())
    }
}

fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

// ---------------------------------------------------------------- telling

fn heading(language: Language, machine: Machine) -> String {
    format!("### {} on {}", language.title(), machine.title())
}

fn tabulate(language: Language, machine: Machine, count: usize, ran: &[(&Subject, Ran)]) -> String {
    let mut header = vec![format!("{}, {} KB", language.title(), machine.heap() / 1024)];
    let moments: Vec<usize> = MOMENTS.iter().copied().filter(|&moment| moment <= count).collect();
    header
        .extend(moments.iter().map(|moment| if *moment == 0 { "before".to_owned() } else { format!("n = {moment}") }));
    header.extend(["least of all", "out of memory"].map(String::from));
    if machine == Machine::M4 {
        header.extend(["a workflow", "its end", "its end, at most"].map(String::from));
    }
    let mut table = util::new_table(header);
    for (subject, ran) in ran {
        let mut row = vec![subject.name.to_owned()];
        row.extend(moments.iter().map(|&moment| percent(ran.moments[moment].permille())));
        row.push(percent(ran.least().0));
        row.push(ran.failed().to_string());
        if let Some(emulated) = &ran.emulated {
            let Marks { workflow, end } = emulated.marks;
            row.extend([workflow.mean as u64, end.mean as u64, end.worst].map(grouped));
        }
        table.add_row(row);
    }
    let mut text = format!("{}\n\n{table}\n\n", heading(language, machine));
    if let Some((_, Ran { emulated: Some(emulated), .. })) = ran.first() {
        let Results { always_bytes, always_blocks, most_held } = emulated.results;
        let _ = writeln!(
            text,
            "At the end {} bytes are always active, in {} blocks; a scope held {} bytes at most.\n",
            grouped(always_bytes),
            grouped(always_blocks),
            grouped(most_held)
        );
    }
    text
}

/// Puts each table under its heading in the document, in place of the one that is there.
fn write_document(tables: &[(String, String)]) -> Result<()> {
    let path = root().join(DOCUMENT);
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("no {DOCUMENT}"))?;
    for (heading, table) in tables {
        let from = text.find(heading).with_context(|| format!("{DOCUMENT}: no heading {heading}"))?;
        let behind = from + heading.len();
        let to = text[behind..].find("\n#").map_or(text.len(), |at| behind + at + 1);
        text.replace_range(from..to, table);
    }
    std::fs::write(&path, text)?;
    note(format!("{} written: {DOCUMENT}", style("ok").green()));
    Ok(())
}
