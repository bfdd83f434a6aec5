//! C programs that are measured on the host: compiled alike, whatever they are linked with.

use crate::util::{self, Library};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// The command that builds a C program as all are compiled: calls into libraries go straight through the table of
/// addresses, so that no peer pays for the stubs of lazy binding.
pub fn gcc(sources: &[&Path], out: &Path) -> Command {
    let mut command = util::program("gcc", ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command.args(["-fno-plt", "-Wl,-z,now", "-o"]).arg(out);
    command.args(sources);
    command
}

/// Links `libknoll.so`, found again where it was built.
pub fn link_knoll(command: &mut Command) -> Result<()> {
    let library = Library::default().shared()?;
    let directory = library.parent().context("a library lies in a directory")?;
    command.arg("-I").arg(util::root().join("include")).arg("-L").arg(directory).arg("-lknoll");
    command.arg(format!("-Wl,-rpath,{}", directory.display()));
    Ok(())
}
