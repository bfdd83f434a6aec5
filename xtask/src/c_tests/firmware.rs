//! The C tests as firmware, in the emulated Cortex-M0, M3 and M4.
use super::{Outcome, Suite};
use crate::util::Tally;
use anyhow::Result;
pub fn run_all(_suite: &Suite, _tally: &mut Tally) -> Result<Vec<Outcome>> {
    Ok(Vec::new())
}
