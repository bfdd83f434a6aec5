//! `docs/conformance.md`: which C tests show each row of the table of what counted objects must do.
//!
//! - Each row from 1 to [`ROWS`] is there once, and names at least one test as `file.c:test`.
//! - Each test named is listed in its file as one to run.

use super::source;
use crate::util::Tally;
use anyhow::{bail, ensure, Context, Result};

/// The rows of the table.
const ROWS: usize = 44;
const DOCUMENT: &str = "docs/conformance.md";

/// Verifies the document against the sources.
pub fn verify(tally: &mut Tally) -> Result<()> {
    let mut seen = [0; ROWS + 1];
    let mut tests = 0;
    let text = source(DOCUMENT)?;
    let mut outcome = Ok(());
    for (row, cases) in rows(&text) {
        if (1..=ROWS).contains(&row) {
            seen[row] += 1;
        }
        tests += cases.len();
        outcome = outcome.and_then(|()| verify_row(row, &cases).with_context(|| format!("{DOCUMENT}, row {row}")));
    }
    if let Some(row) = (1..=ROWS).find(|row| seen[*row] != 1) {
        outcome = outcome.and(Err(anyhow::anyhow!("{DOCUMENT} has row {row} {} times", seen[row])));
    }
    tally.record(format!("{ROWS} rows of {DOCUMENT} name {tests} tests"), outcome);
    Ok(())
}

fn verify_row(row: usize, cases: &[(String, String)]) -> Result<()> {
    if !(1..=ROWS).contains(&row) {
        bail!("there is no such row");
    }
    ensure!(!cases.is_empty(), "it names no test");
    for (file, test) in cases {
        let text = source(&format!("c_tests/{file}"))?;
        let listed = ["ONCE", "EACH_LAYOUT"].iter().any(|list| text.contains(&format!("{list}({test})")));
        ensure!(listed, "{file} lists no test {test}");
    }
    Ok(())
}

/// The rows of the Markdown table: their numbers, and the tests in their last cell.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<(String, String)>)> + '_ {
    text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let row = cells.next()?.trim().parse().ok()?;
        let last = cells.last()?.trim_end_matches(" |");
        let cases = last.split('`').filter_map(|word| word.split_once(".c:"));
        Some((row, cases.map(|(file, test)| (format!("{file}.c"), test.to_owned())).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn rows_are_read() {
        let text = "| # | rule | tests |\n| --- | --- | --- |\n| 7 | a rule | `one.c:first`, `two.c:second` |\nelse";
        let found: Vec<_> = rows(text).collect();
        let case = |file: &str, test: &str| (file.to_owned(), test.to_owned());
        assert_eq!(found, [(7, vec![case("one.c", "first"), case("two.c", "second")])]);
    }
}
