//! The ways to let memory go that are measured, and how each one's program is built.
//!
//! A peer is a program and a configuration of it. Each program is built twice: as measured, and with the count of live
//! nodes that proves the work was done.

use crate::bench::native::{gcc, link_knoll};
use crate::util;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Peer {
    /// Counting by the header's inline functions, everything else as it comes.
    Knoll,
    /// Counting by calls.
    KnollCall,
    /// Counting only: no roots, no collector.
    KnollArc,
    /// No call visits more than 2048 cells.
    KnollSliced,
    /// No call destroys more than 64 cells.
    KnollLazy,
    /// Both bounds.
    KnollBounded,
    CountGlibc,
    CountMimalloc,
    CountIterGlibc,
    CountIterMimalloc,
    NimArc,
    NimOrc,
    Dumpster,
    Bacon,
    Boehm,
    BoehmIncremental,
}

use Peer::*;

/// How a peer treats garbage in cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cycles {
    /// It finds and frees them.
    Freed,
    /// They leak: it does less work.
    Leaked,
}

impl Peer {
    pub const ALL: [Peer; 16] = [
        Knoll,
        KnollCall,
        KnollArc,
        KnollSliced,
        KnollLazy,
        KnollBounded,
        CountGlibc,
        CountIterGlibc,
        CountMimalloc,
        CountIterMimalloc,
        NimArc,
        NimOrc,
        Dumpster,
        Bacon,
        Boehm,
        BoehmIncremental,
    ];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Knoll => "knoll",
            KnollCall => "knoll-call",
            KnollArc => "knoll-arc",
            KnollSliced => "knoll-sliced",
            KnollLazy => "knoll-lazy",
            KnollBounded => "knoll-bounded",
            CountGlibc => "count-glibc",
            CountIterGlibc => "count-iter-glibc",
            CountMimalloc => "count-mimalloc",
            CountIterMimalloc => "count-iter-mimalloc",
            NimArc => "nim-arc",
            NimOrc => "nim-orc",
            Dumpster => "dumpster",
            Bacon => "bacon_rajan_cc",
            Boehm => "boehm",
            BoehmIncremental => "boehm-incremental",
        }
    }

    pub fn is_knoll(self) -> bool {
        matches!(self, Knoll | KnollCall | KnollArc | KnollSliced | KnollLazy | KnollBounded)
    }

    /// It counts references, and is not Knoll.
    pub fn is_counted_rival(self) -> bool {
        !self.is_knoll() && !self.is_scanning()
    }

    /// It counts nothing and finds references by scanning.
    pub fn is_scanning(self) -> bool {
        matches!(self, Boehm | BoehmIncremental)
    }

    pub fn cycles(self) -> Cycles {
        match self {
            KnollArc | CountGlibc | CountIterGlibc | CountMimalloc | CountIterMimalloc | NimArc => Cycles::Leaked,
            _ => Cycles::Freed,
        }
    }

    /// It releases or traces children by recursive calls, and needs a stack as deep as the data.
    pub fn recurses(self) -> bool {
        matches!(self, CountGlibc | CountMimalloc | NimArc | NimOrc | Dumpster | Bacon)
    }

    /// What it does at a step is decided by the steps before alone, and not by addresses or the clock.
    pub fn repeats(self) -> bool {
        !self.is_scanning()
    }

    /// Takes so long beside living nodes that it gets smaller programs.
    pub fn is_slow(self) -> bool {
        self == Bacon
    }

    /// The configuration that its program is told.
    pub fn configuration(self) -> &'static str {
        match self {
            KnollArc => "arc",
            KnollSliced => "sliced",
            KnollLazy => "lazy",
            KnollBounded => "bounded",
            BoehmIncremental => "incremental",
            _ => "",
        }
    }

    /// The name of the program that it shares with peers of other configurations.
    fn program(self) -> &'static str {
        match self {
            KnollArc | KnollSliced | KnollLazy | KnollBounded => Knoll.name(),
            BoehmIncremental => Boehm.name(),
            _ => self.name(),
        }
    }
}

/// `benches/counted`.
pub fn sources() -> PathBuf {
    util::root().join("benches/counted")
}

/// A peer's program in both builds.
#[derive(Clone)]
pub struct Built {
    pub measured: PathBuf,
    pub checked: PathBuf,
}

/// Builds a peer's program, if no other peer has had it built.
pub fn build(peer: Peer, directory: &Path) -> Result<Built> {
    let of = |check: bool| -> Result<PathBuf> {
        let out = directory.join(format!("{}{}", peer.program(), if check { ".check" } else { "" }));
        match peer {
            NimArc | NimOrc => nim(peer, check, &out)?,
            Dumpster | Bacon => rust(peer, check, &out)?,
            _ if peer.program() != peer.name() && out.exists() => {}
            _ => c(peer, check, &out)?,
        }
        Ok(out)
    };
    Ok(Built { measured: of(false)?, checked: of(true)? })
}

fn c(peer: Peer, check: bool, out: &Path) -> Result<()> {
    let mut command = gcc(&[&sources().join("programs.c"), &sources().join("measure.c")], out);
    let header = match peer {
        Boehm | BoehmIncremental => "boehm",
        _ if peer.is_knoll() => "knoll",
        _ => "malloc",
    };
    command.arg(format!("-DPEER=\"peers/{header}.h\""));
    if check {
        command.arg("-DPEER_CHECK");
    }
    match peer {
        KnollCall => drop(command.arg("-DPEER_CALL")),
        CountIterGlibc | CountIterMimalloc => drop(command.arg("-DPEER_ITERATIVE")),
        _ => {}
    }
    match peer {
        // Nothing refers to it by name: it replaces malloc.
        CountMimalloc | CountIterMimalloc => drop(command.args(["-Wl,--no-as-needed", "-lmimalloc"])),
        Boehm | BoehmIncremental => drop(command.arg("-lgc")),
        _ if peer.is_knoll() => link_knoll(&mut command)?,
        _ => {}
    }
    util::run(&mut command)
}

fn nim(peer: Peer, check: bool, out: &Path) -> Result<()> {
    let mut command = util::program("nim", ["c", "--hints:off", "--verbosity:0", "-d:danger"]);
    command.arg(if peer == NimOrc { "--mm:orc" } else { "--mm:arc" });
    if check {
        command.arg("-d:check");
    }
    command.arg(format!("--nimcache:{}.cache", out.display())).arg(format!("-o:{}", out.display()));
    util::run(command.arg(sources().join("nim/programs.nim")))
}

fn rust(peer: Peer, check: bool, out: &Path) -> Result<()> {
    let directory = util::target_dir().join("knoll/counted-rivals");
    let mut command = util::cargo();
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "benches/counted/rivals/Cargo.toml"]);
    let crate_name = if peer == Dumpster { "dumpster" } else { "bacon" };
    command.args(["--features", &format!("{crate_name}{}", if check { ",check" } else { "" })]);
    command.env("CARGO_TARGET_DIR", &directory);
    util::run(&mut command)?;
    std::fs::copy(directory.join("release/counted-rivals"), out).context("the built program")?;
    Ok(())
}
