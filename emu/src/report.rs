//! What a run found, as tables for people and as JSON for programs.
//!
//! Guarantees: both say the same; the JSON's field names are those of the structures below and
//! stay; a table has a row for each thing that was measured, even if it never happened.

use crate::fault::{End, State};
use crate::machine::Finished;
use crate::measure::{Measured, Measurement};
use crate::symbols::Place;
use comfy_table::{presets, CellAlignment, ContentArrangement, Row, Table, TableComponent};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Write;

/// Names and what was found under each, in order; a JSON object.
type Named<T> = Vec<(String, T)>;

fn as_object<T: Serialize, S: Serializer>(list: &Named<T>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(list.len()))?;
    for (name, value) in list {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// Everything about one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The ELF file.
    pub firmware: String,
    /// m0, m3 or m4.
    pub cpu: String,
    /// How it ended.
    pub end: Ending,
    /// The exit status of `knoll-emu`.
    pub status: i32,
    /// Instructions executed from reset to the end.
    pub instructions: u64,
    /// Calls of the symbols given to `--measure`.
    #[serde(serialize_with = "as_object")]
    pub measured: Named<Measurement>,
    /// Calls of the symbols given to `--exclude`.
    #[serde(serialize_with = "as_object")]
    pub excluded: Named<Measurement>,
    /// Marks, by name or else by id.
    #[serde(serialize_with = "as_object")]
    pub marks: Named<Measurement>,
    /// What the firmware said by `knoll_result`.
    #[serde(serialize_with = "as_object")]
    pub results: Named<i64>,
    /// With `--stack`.
    pub stack: Option<Stack>,
    /// With `--watch`.
    pub watch: Option<WatchReport>,
    /// `KNOLL_MARK_END`s without a BEGIN: a mistake in the firmware.
    pub unmatched_ends: u64,
    /// Wall time of the run.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug, Serialize)]
pub struct Ending {
    /// "exit", "budget", "fault" or "bad_write".
    pub kind: &'static str,
    /// For a fault, which: `FaultKind::name`.
    pub fault: Option<&'static str>,
    /// In words.
    pub message: String,
    /// For a bad write, the address.
    pub address: Option<u32>,
    /// r0 to r15, unless it exited.
    pub registers: Vec<u32>,
    /// Innermost first, unless it exited.
    pub backtrace: Vec<Place>,
}

/// The stack of the whole run.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// Deepest use in bytes.
    pub worst: u32,
    /// What the linker script gives it.
    pub size: u32,
}

/// What the write watch did.
#[derive(Debug, Serialize)]
pub struct WatchReport {
    /// Stores by Knoll that were checked.
    pub writes: u64,
}

impl Report {
    /// Puts together what a run found.
    pub fn of(firmware: &str, finished: &Finished, seconds: f64) -> Report {
        let named = |names: &[String], list: &[Measured]| {
            let both = names.iter().zip(list);
            both.map(|(name, measured)| (name.clone(), measured.measurement())).collect()
        };
        let mark_name = |id: &u32| finished.names.get(id).cloned().unwrap_or_else(|| id.to_string());
        let (meter, stack) = (&finished.meter, &finished.stack);
        Report {
            firmware: firmware.to_owned(),
            cpu: finished.cpu.to_string(),
            end: Ending::of(&finished.end),
            status: finished.end.status(),
            instructions: finished.instructions,
            measured: named(&finished.measured, &meter.symbols),
            excluded: named(&finished.excluded, &meter.excluded_symbols),
            marks: meter.marks.iter().map(|(id, measured)| (mark_name(id), measured.measurement())).collect(),
            results: finished.results.clone(),
            stack: finished.deepest.map(|worst| Stack { worst, size: stack.end - stack.start }),
            watch: finished.watched.map(|writes| WatchReport { writes }),
            unmatched_ends: meter.unmatched_ends,
            seconds,
        }
    }

    /// Whether there is anything to show beyond an exit.
    pub fn is_worth_showing(&self) -> bool {
        let nothing = self.measured.is_empty()
            && self.marks.is_empty()
            && self.results.is_empty()
            && self.stack.is_none()
            && self.watch.is_none()
            && self.unmatched_ends == 0;
        !nothing || self.end.kind != "exit"
    }

    /// The report as text: what happened, then a table of figures, then results.
    pub fn text(&self, state: Option<&State>) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text, state);
        text
    }

    fn write(&self, out: &mut String, state: Option<&State>) -> std::fmt::Result {
        writeln!(out, "{} on {}: {}", self.firmware, self.cpu, self.end.message)?;
        if let Some(state) = state {
            write!(out, "{state}")?;
        }
        writeln!(
            out,
            "{} instructions in {:.2} s ({:.0} M/s)",
            grouped(self.instructions),
            self.seconds,
            self.instructions as f64 / self.seconds.max(1e-9) / 1e6
        )?;
        if let Some(stack) = &self.stack {
            let (worst, size) = (stack.worst, stack.size);
            writeln!(out, "stack: {worst} of {size} bytes at its deepest")?;
        }
        if let Some(watch) = &self.watch {
            let writes = grouped(watch.writes);
            match self.end.kind {
                "bad_write" => writeln!(out, "watch: {writes} stores by Knoll, the last a bad one")?,
                _ => writeln!(out, "watch: {writes} stores by Knoll, all where they may go")?,
            }
        }
        if self.unmatched_ends != 0 {
            writeln!(out, "{} KNOLL_MARK_ENDs had no BEGIN", self.unmatched_ends)?;
        }
        if !(self.measured.is_empty() && self.marks.is_empty() && self.excluded.is_empty()) {
            writeln!(out, "{}", self.figures())?;
        }
        if !self.results.is_empty() {
            let mut table = plain_table();
            table.set_header(["result", "value"]);
            for (name, value) in &self.results {
                table.add_row([name.clone(), value.to_string()]);
            }
            if let Some(column) = table.column_mut(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            writeln!(out, "{table}")?;
        }
        Ok(())
    }

    fn figures(&self) -> Table {
        let mut table = plain_table();
        let mut header = vec!["instructions of", "count", "mean", "p50", "p99", "worst", "total", "excluded"];
        if self.stack.is_some() {
            header.push("stack");
        }
        table.set_header(header);
        let groups = [("", &self.measured), ("mark ", &self.marks), ("(excluded) ", &self.excluded)];
        for (prefix, list) in groups {
            for (name, measurement) in list {
                let summary = &measurement.instructions;
                let mut cells = vec![
                    format!("{prefix}{name}"),
                    grouped(summary.count),
                    format!("{:.1}", summary.mean),
                    grouped(summary.p50),
                    grouped(summary.p99),
                    grouped(summary.worst),
                    grouped(summary.total),
                    grouped(measurement.excluded),
                ];
                if measurement.abandoned != 0 {
                    cells[1] += &format!(" + {} abandoned", measurement.abandoned);
                }
                if self.stack.is_some() {
                    cells.push(measurement.stack.to_string());
                }
                table.add_row(Row::from(cells));
            }
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl Ending {
    fn of(end: &End) -> Ending {
        let (kind, fault, address) = match end {
            End::Exit(_) => ("exit", None, None),
            End::Budget(..) => ("budget", None, None),
            End::Fault(kind, _) => ("fault", Some(kind.name()), None),
            End::BadWrite(write, _) => ("bad_write", None, Some(write.address)),
        };
        let state = end.state();
        Ending {
            kind,
            fault,
            message: end.to_string(),
            address,
            registers: state.map_or(Vec::new(), |state| state.registers.to_vec()),
            backtrace: state.map_or(Vec::new(), |state| state.backtrace.clone()),
        }
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A number with its thousands parted.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_parted() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1 000");
        assert_eq!(grouped(12_345_678), "12 345 678");
    }
}
