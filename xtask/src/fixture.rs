//! The C programs of `xtask/fixtures`: compiled, run under a time limit on a malloc of choice, and read.
//!
//! - A fixture prints a line for each check, `ok NAME` or `FAILED NAME`, and at its end `N failed`;
//!   a run that ends without that line has stopped in the middle, which is an error of its own.
//! - A run that lasts longer than `LIMIT` is a deadlock and is killed.
//! - The malloc is what is preloaded; with nothing it is libc's own.

use crate::util::{self, program, root, run, Tally};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A run that lasts longer is a deadlock.
const LIMIT: &str = "600";

/// Compiles a fixture and returns the program's path.
pub fn compile(name: &str, work: &Path) -> Result<PathBuf> {
    compile_with(name, work, "libc", None)
}

/// Compiles a fixture under a name that says on what, and links it with Knoll if `library` is given.
pub fn compile_with(name: &str, work: &Path, on: &str, library: Option<&Path>) -> Result<PathBuf> {
    let out = work.join(format!("{name}-{on}"));
    let mut command = compiler(name, &out);
    if let Some(library) = library {
        let directory = library.parent().context("a library lies in a directory")?;
        command.arg(library).arg(format!("-Wl,-rpath,{}", directory.display()));
    }
    run(&mut command)?;
    Ok(out)
}

/// Compiles a fixture that is a library to preload, and returns its path.
pub fn compile_library(name: &str, work: &Path) -> Result<PathBuf> {
    let out = work.join(format!("{name}.so"));
    run(compiler(name, &out).args(["-shared", "-fPIC"]))?;
    Ok(out)
}

fn compiler(name: &str, out: &Path) -> Command {
    let source = root().join("xtask/fixtures").join(name).with_extension("c");
    let flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-o"];
    let mut command = program("cc", flags);
    command.arg(out).arg("-I").arg(root().join("include")).arg(source).arg("-ldl");
    command
}

/// Runs a command under a time limit, with the libraries given preloaded, in their order.
pub fn output<'a>(command: &Command, preload: impl IntoIterator<Item = &'a Path>) -> Result<Output> {
    let mut limited = program("timeout", ["--signal=KILL", LIMIT]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    let preload: Vec<&str> = preload.into_iter().filter_map(Path::to_str).collect();
    if preload.is_empty() {
        limited.env_remove("LD_PRELOAD");
    } else {
        limited.env("LD_PRELOAD", preload.join(":"));
    }
    limited.env("LC_ALL", "C").stdin(Stdio::null());
    limited.output().with_context(|| format!("cannot run {}", util::display(&limited)))
}

/// Exit status 0 and what was printed; an error shows both streams.
pub fn success(output: Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The checks that a fixture does, as it names them, and how they went.
pub fn outcomes(fixture: &Path, arguments: &[&Path], library: Option<&Path>) -> Result<Vec<(String, Result<()>)>> {
    outcomes_of(&program(fixture, arguments), library)
}

/// The same of a command that runs a fixture.
pub fn outcomes_of(fixture: &Command, library: Option<&Path>) -> Result<Vec<(String, Result<()>)>> {
    let output = output(fixture, library)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut checks = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("ok ") {
            checks.push((name.to_owned(), Ok(())));
        } else if let Some(name) = line.strip_prefix("FAILED ") {
            checks.push((name.to_owned(), Err(anyhow::anyhow!("see xtask/fixtures\n{told}"))));
        }
    }
    let failed = checks.iter().filter(|(_, outcome)| outcome.is_err()).count();
    if !text.ends_with(&format!("{failed} failed\n")) {
        bail!("stopped in the middle: {}\n{text}{told}", output.status);
    }
    Ok(checks)
}

/// All checks of a fixture pass on libc's own malloc.
pub fn is_fair(fixture: &Path) -> Result<()> {
    for (name, outcome) in outcomes(fixture, &[], None)? {
        outcome.with_context(|| format!("on libc's malloc, so the check is not fair: {name}"))?;
    }
    Ok(())
}

/// Notes the checks of a fixture, or why it did not come to its end.
pub fn record_all(tally: &mut Tally, fixture: &str, checks: Result<Vec<(String, Result<()>)>>) {
    match checks {
        Ok(checks) => checks.into_iter().for_each(|(name, outcome)| tally.record(name, outcome)),
        Err(error) => tally.record(fixture, Err(error)),
    }
}
