//! `cargo xtask grain`: Grain's runtime as a WebAssembly module, and its tests in Node.
//!
//! - The module is `libknoll` with the feature `grain` for wasm32, linked so that it exports the functions
//!   of `src/capi/grain_wasm.rs` and its memory. A test compares the list, and that nothing is imported.
//! - `tests/grain/*.test.mjs` are run on it, each with a fresh instance for each test. The last line is
//!   `N passed, N failed`; the cases are the tests.
//! - A module for speed and one for size are built; the tests run on both.
//! - Without `--check` it also prints how many bytes objects take, here and with Grain's own allocator.

use crate::header::exported_functions;
use crate::util::{self, announce, capture, note, program, root, toolchain_bin, work_dir, Library, Tally};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};

/// Options of `cargo xtask grain`.
#[derive(clap::Args)]
pub struct Args {
    /// Say no more than how each test went
    #[arg(long)]
    check: bool,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

const TARGET: &str = "wasm32-unknown-unknown";
/// The stack of the module, below its data, so that running out of it traps.
const STACK: &str = "65536";

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("Grain's runtime as a WebAssembly module");
    let node = capture(&mut program("node", ["--version"]));
    note(format!("node {}", node.context("Node is not installed; `tools/setup.sh node` installs it")?.trim()));
    let mut tally = Tally::default();
    for (name, small) in [("speed", false), ("size", true)] {
        let module = match build(small) {
            Ok(module) => module,
            Err(error) => {
                tally.record(format!("the module for {name}"), Err(error));
                continue;
            }
        };
        let bytes = std::fs::metadata(&module)?.len();
        note(format!("{}: {bytes} bytes, built for {name}", shown(&module)));
        tally.record(format!("{name}: no call panics"), no_panic(&module));
        announce(format!("The tests in Node, the module for {name}"));
        match tests(&module, args.only.as_deref()) {
            Err(error) => tally.record(format!("{name}: the tests"), Err(error)),
            Ok(outcomes) if outcomes.is_empty() => tally.record(format!("{name}: no test has run"), Err(no_test())),
            Ok(outcomes) => {
                for (test, outcome) in outcomes {
                    tally.record(format!("{test} [{name}]"), outcome);
                }
            }
        }
    }
    if !args.check {
        let mut figures = program("node", ["tests/grain/figures.mjs"]);
        figures.env("KNOLL_GRAIN_WASM", work_dir("grain")?.join("grain.wasm"));
        println!("\nBytes of memory for an object\n\n{}", capture(&mut figures)?);
    }
    tally.finish()
}

fn no_test() -> anyhow::Error {
    anyhow::anyhow!("a run without a test shows nothing")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The names that the module exports: those of the functions in `src/capi/grain_wasm.rs`.
fn exports() -> Result<Vec<String>> {
    let source = std::fs::read_to_string(root().join("src/capi/grain_wasm.rs")).context("src/capi/grain_wasm.rs")?;
    // The hook is for the library alone.
    Ok(exported_functions(&source).into_iter().filter(|name| name != "told").collect())
}

/// Builds the module and returns its path; beside it lies the same with the names of its functions.
fn build(small: bool) -> Result<PathBuf> {
    // Memory that grows has large regions: one layout, a third less code.
    let features = &["grain", "layout-wide"];
    let library = Library { target: Some(TARGET), features, no_default_features: true, small };
    let archive = library.archive()?;
    let module = work_dir("grain")?.join(if small { "grain-small.wasm" } else { "grain.wasm" });
    for (output, names) in [(named(&module), true), (module.clone(), false)] {
        let mut link = program(toolchain_bin()?.join("rust-lld"), ["-flavor", "wasm", "--no-entry", "--gc-sections"]);
        link.args(["-O2", "--stack-first", "-z"]).arg(format!("stack-size={STACK}"));
        link.args((!names).then_some("--strip-all"));
        for name in exports()? {
            link.arg(format!("--export={name}"));
        }
        capture(link.arg("-o").arg(output).arg(&archive))?;
    }
    Ok(module)
}

/// Where the module with names lies.
fn named(module: &Path) -> PathBuf {
    module.with_extension("names.wasm")
}

/// No function of the module is one that panics.
fn no_panic(module: &Path) -> Result<()> {
    let bytes = std::fs::read(named(module))?;
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if !has("knoll") {
        bail!("the module has no names to look at");
    }
    match ["core::panicking", "core9panicking", "core::fmt"].iter().find(|text| has(text)) {
        Some(found) => bail!("{found} is in it"),
        None => Ok(()),
    }
}

/// Runs the tests on a module; each with how it went.
fn tests(module: &Path, only: Option<&str>) -> Result<Vec<(String, Result<()>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/grain"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            files.push(path);
        }
    }
    files.sort();
    let mut outcomes = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.trim_end_matches(".test.mjs");
        // A file at a time, so that the report is flat.
        let mut node = program("node", ["--test-reporter=tap"]);
        if let Some(part) = only {
            node.arg(format!("--test-name-pattern={part}"));
        }
        node.arg(&file).env("KNOLL_GRAIN_WASM", module).current_dir(root());
        let output = node.output().with_context(|| util::display(&node))?;
        let report = String::from_utf8_lossy(&output.stdout);
        let found = read_tap(&report);
        let failed = found.iter().any(|(_, outcome)| outcome.is_err());
        if output.status.success() == failed || found.is_empty() && only.is_none() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{name}: {}\n{report}{errors}", output.status);
        }
        outcomes.extend(found.into_iter().map(|(test, outcome)| (format!("{name}: {test}"), outcome)));
    }
    Ok(outcomes)
}

/// The tests of a flat TAP report; what is indented behind one that failed says why.
fn read_tap(report: &str) -> Vec<(String, Result<()>)> {
    let mut outcomes = Vec::new();
    let mut lines = report.lines().peekable();
    while let Some(line) = lines.next() {
        let (passed, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => continue,
        };
        let name = rest.split_once(" - ").map_or(rest, |(_, name)| name);
        if name.contains(" # SKIP") {
            continue;
        }
        let mut why = Vec::new();
        while let Some(detail) = lines.next_if(|line| line.starts_with(' ')) {
            why.push(detail.trim());
        }
        let outcome = if passed { Ok(()) } else { Err(anyhow::anyhow!("\n{}", why.join("\n"))) };
        outcomes.push((name.replace("\\#", "#"), outcome));
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_with_its_failures() {
        let report = "TAP version 13\n# Subtest: a\nok 1 - a\n  ---\n  duration_ms: 1\n  ...\n\
                      not ok 2 - b, with - a dash\n  ---\n  error: 1 != 2\n  ...\nok 3 - c # SKIP test name\n1..3\n# pass 1\n";
        let outcomes = read_tap(report);
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes[0].0 == "a" && outcomes[0].1.is_ok());
        let (name, outcome) = &outcomes[1];
        assert_eq!(name, "b, with - a dash");
        assert!(outcome.as_ref().is_err_and(|error| error.to_string().contains("1 != 2")));
    }
}
