//! Runs a Cortex-M firmware in Unicorn: exact instruction counts, a watch on every write,
//! faults with a backtrace.
//!
//! # Map
//! | module | what it is about |
//! | --- | --- |
//! | [`image`], [`symbols`], [`cpu`] | what the ELF file says |
//! | [`machine`], `hooks`, [`ports`] | the emulated part and the harness's registers in it |
//! | [`semihosting`], [`files`] | the firmware's system calls |
//! | `counting`, [`blocks`], [`decode`] | counting instructions by basic block |
//! | [`single_step`] | counting them one by one, to check the former |
//! | [`measure`], [`statistics`] | calls, marks and their figures |
//! | [`watch`] | where Knoll may write |
//! | [`fault`], [`backtrace`] | how a run ends, and who called whom |
//! | [`report`], [`profile`] | tables and JSON; where the instructions go |
//! | [`micropython`], [`serial`] | MicroPython's firmware: scripts, its tests, its figures |
//!
//! The built program contains Unicorn and so is under the GPL, version 2; see README.md.

pub mod backtrace;
pub mod blocks;
mod counting;
pub mod cpu;
pub mod decode;
pub mod fault;
pub mod files;
mod hooks;
pub mod image;
pub mod machine;
pub mod measure;
pub mod micropython;
pub mod ports;
pub mod profile;
pub mod report;
pub mod semihosting;
pub mod serial;
pub mod single_step;
pub mod statistics;
pub mod symbols;
pub mod watch;

use anyhow::Result;
use std::path::{Path, PathBuf};

/// What to do with a firmware.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The processor; by default the one in the file's attributes.
    pub cpu: Option<cpu::Cpu>,
    /// Stop before more instructions than this.
    pub budget: Option<u64>,
    /// The firmware's argv, the program's name included.
    pub arguments: Vec<String>,
    /// The folder it may read, and below `out/` write.
    pub folder: Option<PathBuf>,
    /// Functions whose calls are measured.
    pub measure: Vec<String>,
    /// Functions whose instructions are counted apart.
    pub exclude: Vec<String>,
    /// Watch Knoll's writes.
    pub watch: bool,
    /// Look at stores alone under the watch, at no load: much faster, but an unaligned LDM or LDRD goes unnoticed.
    pub stores_alone: bool,
    /// Find the deepest stack.
    pub stack: bool,
    /// Keep the firmware's output instead of printing it.
    pub capture: bool,
    /// Its standard input, instead of this process's.
    pub input: Option<Vec<u8>>,
    /// Count each instruction by a hook of its own as well: slow, a check of the other way.
    pub single_step: bool,
    /// Note each call of a measured function while a mark is open.
    pub journal: bool,
    /// Find out which blocks run how often while a mark is open: slow.
    pub profile: bool,
}

/// Loads and runs a firmware.
pub fn run(path: &Path, options: &Options) -> Result<machine::Finished> {
    machine::run(image::Image::load(path)?, options)
}
