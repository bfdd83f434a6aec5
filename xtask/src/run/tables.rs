//! The side-by-side report as tables.

use super::execute::{Counts, Measured, Report};
use crate::util;
use comfy_table::Table;
use console::style;

/// All that is known of one program at the end.
pub struct Column {
    pub title: &'static str,
    pub place: &'static str,
    pub report: Report,
    /// What one malloc could still give when most was live.
    pub largest_at_peak: u64,
    pub measured: Option<Measured>,
    /// Reallocs that did not move the block.
    pub in_place: Option<usize>,
    /// The smallest heap in which the script completes.
    pub smallest: Option<usize>,
}

/// A kind of call, and where its counts are.
pub type Kind = (&'static str, fn(&Measured) -> Counts);

/// The kinds of call, in the order in which reports name them.
pub const KINDS: [Kind; 3] = [
    ("malloc", |measured| measured.malloc),
    ("realloc", |measured| measured.realloc),
    ("free", |measured| measured.free),
];

/// 12345678 as "12 345 678".
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes as "12.3 KB".
pub fn kilobytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) {
        format!("{} KB", bytes / 1024)
    } else {
        format!("{:.1} KB", bytes as f64 / 1024.0)
    }
}

fn table(columns: &[&Column], first: &str) -> Table {
    let titles = columns.iter().map(|column| format!("{}, {}", column.title, column.place));
    util::new_table(std::iter::once(first.to_owned()).chain(titles))
}

fn row(table: &mut Table, name: &str, cells: impl IntoIterator<Item = String>) {
    table.add_row(std::iter::once(name.to_owned()).chain(cells));
}

/// Memory: peak, live, blocks, largest free, smallest heap.
pub fn memory(columns: &[Column]) -> String {
    let columns: Vec<&Column> = columns.iter().collect();
    let mut table = table(&columns, "Memory");
    let mut line = |name: &str, cell: &dyn Fn(&Column) -> String| {
        row(&mut table, name, columns.iter().map(|column| cell(column)));
    };
    let known = |bytes: u64| if bytes == 0 { "-".into() } else { grouped(bytes) };
    line("heap", &|column| kilobytes(column.report.heap));
    line("pointers", &|column| format!("{} bits", column.report.pointer_bits));
    line("calls: malloc", &|column| grouped(column.report.mallocs.into()));
    line("       realloc", &|column| grouped(column.report.reallocs.into()));
    line("         in place", &|column| column.in_place.map_or("-".into(), |count| grouped(count as u64)));
    line("       free", &|column| grouped(column.report.frees.into()));
    line("       refused", &|column| grouped(column.report.refused.into()));
    line("peak: live bytes", &|column| grouped(column.report.peak.live));
    line("      live blocks", &|column| grouped(column.report.peak.blocks.into()));
    line("      taken by them", &|column| known(column.report.peak.used));
    line("      largest free", &|column| grouped(column.largest_at_peak));
    line("end: live bytes", &|column| grouped(column.report.end.live));
    line("     live blocks", &|column| grouped(column.report.end.blocks.into()));
    line("     taken by them", &|column| grouped(column.report.end.used));
    line("     free", &|column| grouped(column.report.end.free));
    line("     largest free", &|column| grouped(column.report.end.largest));
    if columns.iter().any(|column| column.smallest.is_some()) {
        line("smallest heap", &|column| column.smallest.map_or("-".into(), |bytes| kilobytes(bytes as u64)));
    }
    table.to_string()
}

/// Instructions: of each call, and of the whole program.
pub fn instructions(columns: &[Column]) -> String {
    let measured: Vec<(&Column, &Measured)> =
        columns.iter().filter_map(|column| Some((column, column.measured.as_ref()?))).collect();
    let columns: Vec<&Column> = measured.iter().map(|(column, _)| *column).collect();
    let mut table = table(&columns, "Instructions");
    for (name, counts) in KINDS {
        let blank = " ".repeat(name.len());
        let mut line = |name: String, cell: &dyn Fn(Counts) -> String| {
            row(&mut table, &name, measured.iter().map(|(_, measured)| cell(counts(measured))));
        };
        line(format!("{name} mean"), &|counts| format!("{:.1}", counts.mean));
        line(format!("{blank} p99"), &|counts| grouped(counts.p99));
        line(format!("{blank} worst"), &|counts| grouped(counts.worst));
    }
    row(&mut table, "all of them", measured.iter().map(|(_, measured)| grouped(measured.allocator())));
    row(&mut table, "whole script", measured.iter().map(|(_, measured)| grouped(measured.instructions)));
    let share = |measured: &Measured| 100.0 * measured.allocator() as f64 / measured.instructions.max(1) as f64;
    row(&mut table, "allocator's share", measured.iter().map(|(_, measured)| format!("{:.2} %", share(measured))));
    table.to_string()
}

impl Measured {
    /// Instructions in all calls of the allocator together.
    pub fn allocator(&self) -> u64 {
        self.malloc.total + self.realloc.total + self.free.total
    }
}

/// A heading over a part of the report.
pub fn heading(text: &str) {
    println!("\n{}\n", style(text).bold().underlined());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(kilobytes(2048), "2 KB");
        assert_eq!(kilobytes(1536), "1.5 KB");
    }
}
