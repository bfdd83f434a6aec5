//! What the commands share: places, running a program aloud, building an artefact, summing up.
//!
//! - Every program that a command starts goes through [`run`] or [`capture`], so that the reader
//!   always sees what is done and a failure names the command line and its exit status.
//! - There is one way to build each artefact ([`build_shared`], [`build_static`], [`Library`],
//!   [`emu_binary`]); each returns a path that a build with other features or of another target
//!   does not overwrite.
//! - [`Tally`] collects named outcomes and prints the closing line `N passed, N failed`.

use crate::shared;
use anyhow::{bail, Context, Result};
use comfy_table::{presets, CellAlignment, Table};
use console::style;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library's version, as in the root `Cargo.toml` and in `KN_VERSION_STRING`.
pub fn version() -> Result<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    Ok(line.context("Cargo.toml names no version")?.trim_end_matches('"').to_owned())
}

/// The number of the binary interface. Before 1.0 each minor version has its own, as Cargo's rules say.
pub fn interface() -> Result<String> {
    let version = version()?;
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    Ok(if major == "0" { format!("0.{minor}") } else { major.to_owned() })
}

/// The name by which programs ask for the shared library.
pub fn soname() -> Result<String> {
    Ok(format!("libknoll.so.{}", interface()?))
}

/// The repository's root directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// Cargo's target directory of the root workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(set) => root().join(set),
        None => root().join("target"),
    }
}

/// `target/knoll/NAME`, made if missing: what the commands produce besides Cargo's own files.
pub fn work_dir(name: &str) -> Result<PathBuf> {
    let path = target_dir().join("knoll").join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Where the Unicorn harness is built: outside the tree, so that it survives a fresh clone.
pub fn emu_target_dir() -> PathBuf {
    match std::env::var_os("KNOLL_EMU_TARGET") {
        Some(set) => root().join(set),
        None => {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache/knoll/emu-target")
        }
    }
}

/// The triple of the machine this runs on.
pub fn host() -> Result<String> {
    let text = capture(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The LLVM tools (`rust-lld`, `rust-objcopy`) that come with the toolchain.
pub fn toolchain_bin() -> Result<PathBuf> {
    let sysroot = capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(host()?).join("bin"))
}

/// `cargo xtask where`.
pub fn print_places() -> Result<()> {
    println!("version   {}", version()?);
    println!("root      {}", root().display());
    println!("target    {}", target_dir().display());
    println!("emu       {}", emu_target_dir().display());
    println!("host      {}", host()?);
    println!("LLVM      {}", toolchain_bin()?.display());
    Ok(())
}

// ---------------------------------------------------------------- saying what is done

/// A heading: what the command does next.
pub fn announce(what: impl AsRef<str>) {
    eprintln!("{} {}", style("==>").green().bold(), style(what.as_ref()).bold());
}

/// A detail under the last heading.
pub fn note(what: impl AsRef<str>) {
    eprintln!("    {}", what.as_ref());
}

/// A path as one would type it from the root directory.
pub fn root_relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A command line as one would type it: settings first, paths under the root made relative.
pub fn display(command: &Command) -> String {
    let root = format!("{}/", root().display());
    let settings = command.get_envs().filter(|(name, _)| *name != "LD_LIBRARY_PATH");
    let settings = settings.filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
    let name = Path::new(command.get_program());
    // Cargo's own variable names it by its full path; nobody types that.
    let name = if name.ends_with("bin/cargo") { "cargo".into() } else { name.to_string_lossy() };
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    settings
        .chain(std::iter::once(name.into_owned()))
        .chain(words)
        .map(|word| word.replace(&root, ""))
        .map(|word| if word.contains([' ', '*', '"']) { format!("'{word}'") } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A table for the terminal that is also a table in Markdown; all columns but the first are numbers.
pub fn new_table(header: impl Into<comfy_table::Row>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

// ---------------------------------------------------------------- running programs

/// Runs a program in the root directory, its output on ours; says what it runs; fails with its status.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("    {}", style(format!("$ {}", display(command))).dim());
    in_root(command);
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("{} ({status})", display(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; on failure the error carries its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    in_root(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        bail!(
            "{} ({})\n{}{}",
            display(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn in_root(command: &mut Command) {
    if command.get_current_dir().is_none() {
        command.current_dir(root());
    }
}

fn not_started(command: &Command) -> String {
    format!("cannot run {}; tools/setup.sh says what is missing", command.get_program().to_string_lossy())
}

/// `cargo` with the workspace's toolchain.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Shorthand for a command with arguments: `program("gcc", ["-c", "a.c"])`.
pub fn program<S: AsRef<OsStr>>(name: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

// ---------------------------------------------------------------- building artefacts

/// What is built of the library, for which target and with which features.
#[derive(Clone, Debug, Default)]
pub struct Library<'a> {
    /// Rust target triple; `None`: the host.
    pub target: Option<&'a str>,
    /// Features beside the artefact's own (`capi` or `shared`).
    pub features: &'a [&'a str],
    /// Leave out the default features (all three block layouts); then `features` must name one.
    pub no_default_features: bool,
    /// Optimise for code size (`opt-level = "s"`) instead of speed.
    pub small: bool,
}

/// How the code of `libknoll.so` is made: what is hot asks to be in line itself, all else stays small.
const SHARED_CODE: &[&str] = &["-Copt-level=s"];

impl Library<'_> {
    /// Builds `libknoll.so` and returns its path; its soname lies beside it as a link, so that
    /// what was linked with `-L` on that directory also runs with it.
    pub fn shared(&self) -> Result<PathBuf> {
        let raw = self.build("shared", SHARED_CODE)?;
        let built = raw.with_file_name("libknoll.so");
        shared::link(&raw, self.target, &built)?;
        let link = built.with_file_name(soname()?);
        if !link.exists() {
            std::os::unix::fs::symlink("libknoll.so", &link).with_context(|| format!("{}", link.display()))?;
        }
        Ok(built)
    }

    /// Builds the raw static archive `libknoll.a` (not yet localised, see `dist`) and returns its path.
    pub fn archive(&self) -> Result<PathBuf> {
        self.build("capi", &[])
    }

    /// The archive as Cargo leaves it.
    fn build(&self, feature: &str, code: &[&str]) -> Result<PathBuf> {
        let features: Vec<&str> = std::iter::once(feature).chain(self.features.iter().copied()).collect();
        let mut name = features.join("+");
        if self.no_default_features {
            name.push_str("-bare");
        }
        if self.small {
            name.push_str("-small");
        }
        // Cargo gives every configuration's artefact the same name. In a directory of its own
        // it stays what it is while another process builds another.
        let directory = work_dir("build")?.join(self.target.unwrap_or("host")).join(name);

        let mut command = cargo();
        command.args(["rustc", "--quiet", "-p", "libknoll", "--lib", "--release"]);
        command.args(["--crate-type", "staticlib", "--features", &features.join(",")]);
        if self.no_default_features {
            command.arg("--no-default-features");
        }
        if self.small {
            command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s");
        }
        let mut built = directory.clone();
        if let Some(target) = self.target {
            command.args(["--target", target]);
            built.push(target);
        }
        built.extend(["release", "libknoll.a"]);
        command.arg("--target-dir").arg(&directory);
        if !code.is_empty() {
            command.arg("--").args(code);
        }
        run(&mut command)?;
        Ok(built)
    }
}

/// Builds the host's `libknoll.so` and returns its path.
pub fn build_shared() -> Result<PathBuf> {
    Library::default().shared()
}

/// Builds the host's `libknoll.so` as a malloc and no more, in the layout that it uses; returns its path.
pub fn build_malloc_only() -> Result<PathBuf> {
    Library { features: &["layout-wide"], no_default_features: true, ..Library::default() }.shared()
}

/// Builds `libknoll.a` for a target (`None`: the host) with features beside `capi`; returns its path.
pub fn build_static(target: Option<&str>, features: &[&str]) -> Result<PathBuf> {
    Library { target, features, ..Library::default() }.archive()
}

/// Builds the Unicorn harness and returns the path of `knoll-emu`. The first build takes a minute or two.
pub fn emu_binary() -> Result<PathBuf> {
    let directory = emu_target_dir();
    if !directory.join("release/knoll-emu").exists() {
        note("building the Unicorn harness for the first time: one to two minutes");
    }
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "emu/Cargo.toml"]);
    command.env("CARGO_TARGET_DIR", &directory);
    run(&mut command)?;
    Ok(directory.join("release/knoll-emu"))
}

// ---------------------------------------------------------------- summing up

/// Named outcomes of a command, and its closing line.
#[derive(Default)]
pub struct Tally {
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Tally {
    /// Notes the outcome of one case, and says it at once.
    pub fn record(&mut self, name: impl Into<String>, outcome: Result<()>) {
        let name = name.into();
        match outcome {
            Ok(()) => {
                eprintln!("    {} {name}", style("ok").green());
                self.passed.push(name);
            }
            Err(error) => {
                eprintln!("    {} {name}: {error:#}", style("FAILED").red().bold());
                self.failed.push(name);
            }
        }
    }

    /// Prints `N passed, N failed` alone on a line; an error that names the failed cases if there are any.
    pub fn finish(self) -> Result<()> {
        println!("{} passed, {} failed", self.passed.len(), self.failed.len());
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "));
    }
}
