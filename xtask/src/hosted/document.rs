//! What the runs came to, as tables for the terminal and as a page of docs/.

use super::{Column, Part, Report, Verdict};
use crate::util::{new_table, note, root_relative};
use anyhow::{Context, Result};
use comfy_table::Table;
use std::fmt::Write as _;
use std::path::Path;

/// What all parts said on all mallocs.
pub struct Findings<'a> {
    pub parts: &'a [&'a Part],
    pub columns: &'a [Column],
    pub refusals: Option<Table>,
}

const HEAD: &str = "\
# What libknoll.so promises as a malloc, checked

Each line of the first table is a C program, `xtask/fixtures/hosted_NAME.c`, whose head says what it checks; each ran on
Knoll and, unchanged, on the other mallocs. A check of what C, POSIX and the manual pages ask of every malloc passes or
fails; where they leave the answer open, what Knoll promises is a check on Knoll, and *open* on a malloc that does
otherwise. Written by one command:

    cargo xtask hosted --full --document --beside LIBRARY…

`cargo xtask hosted` is the same, shorter, and writes nothing; it is a step of `make test`. Kilobytes and per cent repeat
closely; times and numbers in a second are those of one machine, and stand here for comparison within their line.
";

const REFUSED: &str = "\
One process for each k: the k-th call of libknoll.so to mmap, munmap, mremap, madvise or mprotect fails with ENOMEM, or
all from the k-th on do. A run is bad if it crashes, if a request is NULL without ENOMEM, a block changes, `calloc` gives
what is not zero, `free` changes errno, if not everything can be had again at every size once the system gives, or if the
heap then finds itself unsound. (On libc's malloc no call can be refused by this means: it asks the system by other names.)
";

impl Findings<'_> {
    /// All tables, in Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.parts.is_empty() {
            let _ = write!(text, "## Checks\n\n{}\n\n{}", self.checks(), self.failures());
        }
        if let Some(table) = &self.refusals {
            let _ = write!(text, "## When the system refuses\n\n{REFUSED}\n{table}\n\n");
        }
        for (number, part) in self.parts.iter().enumerate() {
            if let Some(table) = self.figures(number) {
                let _ = write!(text, "## Figures of `{}`: {}\n\n{table}\n\n", part.name, part.what);
            }
        }
        text
    }

    /// Writes the page.
    pub fn write(&self, path: &Path) -> Result<()> {
        note(format!("writing {}", root_relative(path)));
        let text = format!("{HEAD}\n{}\n", self.text().trim_end());
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn header(&self, first: &[&str]) -> Vec<String> {
        let first = first.iter().map(|name| (*name).to_owned());
        first.chain(self.columns.iter().map(|column| column.name.clone())).collect()
    }

    fn checks(&self) -> Table {
        let mut table = new_table(self.header(&["program", "checks"]));
        for (number, part) in self.parts.iter().enumerate() {
            let reports = self.columns.iter().filter_map(|column| column.reports[number].as_ref());
            let most = reports.map(|report| report.checks.len()).max().unwrap_or(0);
            let cells =
                self.columns.iter().map(|column| column.reports[number].as_ref().map_or("stopped".into(), outcome));
            table.add_row([format!("`{}`: {}", part.name, part.what), most.to_string()].into_iter().chain(cells));
        }
        table
    }

    /// What failed, or stopped, on which malloc.
    fn failures(&self) -> String {
        let mut text = String::new();
        for column in self.columns {
            for (number, part) in self.parts.iter().enumerate() {
                let Some(report) = &column.reports[number] else {
                    let _ = writeln!(text, "- {}, `{}`: stopped in the middle.", column.name, part.name);
                    continue;
                };
                let bad = report.checks.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Bad));
                let names: Vec<&str> = bad.map(|(name, _)| name.as_str()).collect();
                if !names.is_empty() {
                    let shown = names.iter().take(6).copied().collect::<Vec<_>>().join("; ");
                    let more = names.len().saturating_sub(6);
                    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
                    let _ = writeln!(text, "- {}, `{}` fails: {shown}{rest}.", column.name, part.name);
                }
            }
        }
        if text.is_empty() {
            text
        } else {
            format!("{text}\n")
        }
    }

    fn figures(&self, number: usize) -> Option<Table> {
        let mut reports = self.columns.iter().filter_map(|column| column.reports[number].as_ref());
        let first = reports.find(|report| !report.figures.is_empty())?;
        let mut table = new_table(self.header(&["figure"]));
        for (name, _) in &first.figures {
            let cells = self.columns.iter().map(|column| {
                let figures = column.reports[number].as_ref().map_or(&[][..], |report| &report.figures);
                figures.iter().find(|(other, _)| other == name).map_or("-".to_owned(), |(_, value)| value.clone())
            });
            table.add_row(std::iter::once(name.clone()).chain(cells));
        }
        Some(table)
    }
}

/// A cell: how many passed, are open, failed.
fn outcome(report: &Report) -> String {
    let bad = report.count(|verdict| matches!(verdict, Verdict::Bad));
    let open = report.count(|verdict| matches!(verdict, Verdict::Open));
    let good = report.checks.len() - bad - open;
    match (open, bad) {
        (0, 0) => format!("{good}"),
        (_, 0) => format!("{good}, {open} open"),
        (0, _) => format!("{good}, {bad} failed"),
        _ => format!("{good}, {open} open, {bad} failed"),
    }
}
