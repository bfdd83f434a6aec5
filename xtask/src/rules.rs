//! `cargo xtask rules`: what the project promises about itself and a machine can verify.
//!
//! - Links in documents lead to files that are there.
//! - The manual of libknoll.so names each of libc's names that it exports.
//! - The C programs in README.md compile and print what they say.
//! - No package of the workspace, at any depth, is under a licence of the GPL family alone.
//! - No unfinished business is marked in the source, no test is switched off, no lint silenced wholesale,
//!   and no file names a directory of one developer's machine.

use crate::util::{self, announce, capture, note, program, root, work_dir, Tally};
use crate::{dist, shared};
use anyhow::{bail, Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Options of `cargo xtask rules`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<()> {
    announce("The rules of the house");
    let files = files()?;
    note(format!("{} files", files.len()));
    let mut tally = Tally::default();
    tally.record("links in documents lead somewhere", links(&files));
    tally.record("docs/hosted.md: every name of libc's", libc_names());
    tally.record("README.md: the C programs do what they say", readme_programs());
    tally.record("licences: nothing of the workspace is GPL", licences());
    tally.record("nothing is unfinished, switched off or silenced", forbidden(&files));
    tally.finish()
}

/// The files of the project: what git knows or would know, as paths from the root.
fn files() -> Result<Vec<PathBuf>> {
    let listed = capture(&mut program("git", ["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    Ok(listed.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn failures(found: Vec<String>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    bail!("{} found\n{}", found.len(), found.join("\n"))
}

/// `[text](target)` in Markdown, where the target is a file of this repository.
fn links(files: &[PathBuf]) -> Result<()> {
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(root().join(file))?;
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !root().join(file).parent().unwrap_or(root()).join(target).exists() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    failures(broken)
}

/// Whose malloc a program has is told name by name.
fn libc_names() -> Result<()> {
    let manual = std::fs::read_to_string(root().join("docs/hosted.md"))?;
    failures(shared::libc_names()?.into_iter().filter(|name| !manual.contains(&format!("`{name}`"))).collect())
}

/// What the C programs of README.md print, in their order.
const PRINTED: &[&str] = &[
    "still there: 99\ntold: double free\n",
    "collect\nbye, 2 of them\n",
    "3 notes, 1.25\nedit: session.draft held a note\nit is NULL now\nthe heap is as it was\n",
    "10 live, the newest 9000\nall else is in one piece\n",
];

/// The C programs of README.md, compiled with the archive and run.
fn readme_programs() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let blocks = readme.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next());
    let programs: Vec<&str> = blocks.filter(|block| block.contains("int main(")).collect();
    if programs.len() != PRINTED.len() {
        bail!("README.md has {} C programs", programs.len());
    }
    let directory = work_dir("readme")?;
    let archive = dist::package(&util::host()?, &directory)?;
    for (number, (text, expected)) in programs.iter().zip(PRINTED).enumerate() {
        let source = directory.join(format!("readme-{number}.c"));
        std::fs::write(&source, text)?;
        let output = directory.join(format!("readme-{number}"));
        let mut compile = program("gcc", ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]);
        util::run(compile.arg(&output).arg(&source).arg("-I").arg(&directory).arg(&archive))?;
        let printed = capture(&mut Command::new(&output))?;
        if printed != *expected {
            bail!("it printed\n{printed}");
        }
    }
    Ok(())
}

/// The licence of every package that the workspace builds, as Cargo knows it.
fn licences() -> Result<()> {
    let metadata = capture(&mut program("cargo", ["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none stated");
        let choices = licence.split(" OR ").map(|choice| choice.trim_matches(['(', ')']));
        let free = |choice: &str| !choice.contains("GPL") && choice != "none stated";
        if !choices.clone().any(free) {
            wrong.push(format!("{}: {licence}", package["name"]));
        }
    }
    note(format!("{} packages", packages.len()));
    failures(wrong)
}

/// Words that may not stand in any text of ours; in two halves, so that this file has none of them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("FIX", "ME"),
    ("TO", "DO"),
    ("XX", "X"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ig", "nore"),
    ("allow(dead", "_code"),
    ("allow(clippy", "::all"),
    ("/home", "/"),
    ("/work", "/main"),
    ("/tmp/", "knoll"),
];

fn forbidden(files: &[PathBuf]) -> Result<()> {
    let ours = |file: &&PathBuf| file.extension().is_none_or(|e| e != "lock" && e != "gz" && e != "csv" && e != "svg");
    let mut found = Vec::new();
    for file in files.iter().filter(ours) {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = FORBIDDEN.iter().map(|(a, b)| format!("{a}{b}")).find(|word| has_word(line, word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    failures(found)
}

/// Is the word in the line, not as a part of a longer one (digits to be filled in, the end of a temporary file's name)?
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let letters = word.chars().all(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        !letters || (!inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_only_when_they_stand_alone() {
        let word = concat!("TO", "DO");
        assert!(has_word(&format!("// {word}: later"), word));
        assert!(!has_word(&format!("mktemp a{word}b"), word));
        assert!(has_word(concat!("  todo", "!()"), concat!("todo", "!(")));
    }
}
