//! `cargo xtask counts-hosted`: the instruction counts of `libknoll.so` as malloc against `benches/hosted/counts.csv`.
//!
//! - Every operation of `benches/hosted/operations.c`, instructions inside the library alone: which memset the C library
//!   chooses depends on the processor. Exact and repeatable.
//! - Fails when a figure has become more than 2 % worse than in the table, or when the table's rows are not those that
//!   were measured. `--update` writes the table.

use super::operations::Operation;
use super::peers::{sources, Tools};
use super::{work_directory, LIBRARY};
use crate::bench::gate::{self, Figures};
use crate::bench::process::Outcome;
use crate::util;
use anyhow::{bail, Result};

pub use crate::bench::gate::Args;

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    util::announce("Counting malloc and free on libknoll.so, instruction by instruction");
    let library = util::build_shared()?;
    let (step, operations) = Tools::counting(&work_directory()?)?;
    let mut figures = Figures::new();
    for operation in Operation::ALL {
        match operation.count((&step, &operations), Some(&library), LIBRARY)? {
            Outcome::Found(counted) => figures.insert(format!("host,{},operation", operation.name()), counted.library),
            Outcome::Failed(why) => bail!("{}: {why}", operation.name()),
        };
    }
    gate::hold(&figures, &sources().join("counts.csv"), &args, "cargo xtask counts-hosted")
}
