//! A titled table that is printed in the terminal and as Markdown, and the documents that such tables make.

use crate::util;
use anyhow::{Context, Result};
use comfy_table::{presets, CellAlignment, TableComponent};
use std::path::Path;

/// What stands behind a table that a command writes.
const END: &str = "<!-- end -->";

/// Rows of text under one heading.
pub struct Table {
    pub title: String,
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<S: Into<String>>(title: impl Into<String>, heading: impl IntoIterator<Item = S>) -> Table {
        Table { title: title.into(), heading: heading.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: impl Into<String>, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(name.into()).chain(cells).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For people at a terminal.
    pub fn terminal(&self) -> String {
        let mut table = self.drawn(presets::UTF8_HORIZONTAL_ONLY);
        table.remove_style(TableComponent::HorizontalLines).remove_style(TableComponent::MiddleIntersections);
        table.to_string()
    }

    /// For documents.
    pub fn markdown(&self) -> String {
        self.drawn(presets::ASCII_MARKDOWN).to_string()
    }

    /// Writes the table into a document, between the two marks that it has for it: `<!-- COMMAND -->` and `<!-- end -->`.
    pub fn renew(&self, path: &Path, command: &str) -> Result<()> {
        let shown = util::root_relative(path);
        let begin = format!("<!-- {command} -->\n");
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let (before, rest) = text.split_once(&begin).with_context(|| format!("{shown} has no mark for {command}"))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("{shown} has no mark behind {command}"))?;
        store(path, &format!("{before}{begin}{}\n{END}{after}", self.markdown()))
    }

    /// As a part of a document, under a heading of the level (`##`, …).
    pub fn section(&self, level: &str) -> String {
        format!("\n{level} {}\n\n{}\n", self.title, self.markdown())
    }

    fn drawn(&self, preset: &str) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_preset(preset).set_header(&self.heading);
        for row in &self.rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// Shows tables to people at a terminal.
pub fn print(tables: &[Table]) {
    for table in tables {
        println!("\n{}\n{}", table.title, table.terminal());
    }
}

/// How a document of figures begins: its head, and what was measured, where that is known.
pub fn head(text: &str, commit: &str) -> String {
    match commit {
        "" => text.to_owned(),
        commit => format!("{text}\nMeasured at commit `{commit}`.\n"),
    }
}

/// The lines, or a sentence in place of none.
pub fn lines_or(lines: &[String], none: &str) -> String {
    match lines {
        [] => none.to_owned(),
        lines => lines.join("\n"),
    }
}

/// Writes a document.
pub fn store(path: &Path, text: &str) -> Result<()> {
    util::note(format!("writing {}", util::root_relative(path)));
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
