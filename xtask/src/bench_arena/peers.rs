//! The ways to allocate in scopes that are measured, and how each one's program is built.

use super::programs::Program;
use crate::bench::native::{gcc, link_knoll};
use crate::util;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Peer {
    /// Scopes; allocation by the header's inline function.
    Knoll,
    /// Scopes; allocation by a call.
    KnollCall,
    /// Free-standing arenas; allocation by the header's inline function.
    KnollFree,
    /// Scopes on a heap in the program's own memory; allocation by the header's inline function.
    KnollOwn,
    /// Scopes; counted cells without references.
    KnollLeaf,
    /// Scopes; counted cells with references.
    KnollNode,
    /// `kn_malloc`, and each block freed by itself.
    KnollMalloc,
    Bumpalo,
    BumpScope,
    Obstack,
    Talloc,
    Apr,
    /// The C library's malloc, and each block freed by itself.
    Glibc,
}

use Peer::*;

impl Peer {
    pub const ALL: [Peer; 13] = [
        Knoll,
        KnollCall,
        KnollFree,
        KnollOwn,
        KnollLeaf,
        KnollNode,
        KnollMalloc,
        Bumpalo,
        BumpScope,
        Obstack,
        Talloc,
        Apr,
        Glibc,
    ];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Knoll => "knoll",
            KnollCall => "knoll-call",
            KnollFree => "knoll-free",
            KnollOwn => "knoll-own",
            KnollLeaf => "knoll-leaf",
            KnollNode => "knoll-node",
            KnollMalloc => "knoll-malloc",
            Bumpalo => "bumpalo",
            BumpScope => "bump-scope",
            Obstack => "obstack",
            Talloc => "talloc",
            Apr => "apr",
            Glibc => "glibc-malloc",
        }
    }

    /// An arena that is not Knoll's.
    pub fn is_rival(self) -> bool {
        matches!(self, Bumpalo | BumpScope | Obstack | Talloc | Apr)
    }

    /// It makes counted cells of one size, and nothing else.
    pub fn is_cells(self) -> bool {
        matches!(self, KnollLeaf | KnollNode)
    }

    /// Whether a program says something of it.
    pub fn does(self, program: Program) -> bool {
        match self {
            KnollLeaf | KnollNode => matches!(program, Program::Fixed | Program::Thousand),
            // It differs from `knoll` in nothing else.
            KnollCall => {
                matches!(program, Program::Fixed | Program::Sizes | Program::Thousand | Program::Bulk | Program::Mixed)
            }
            _ => true,
        }
    }
}

/// `benches/arena`.
pub fn sources() -> PathBuf {
    util::root().join("benches/arena")
}

/// Builds a peer's program.
pub fn build(peer: Peer, directory: &Path) -> Result<PathBuf> {
    let out = directory.join(peer.name());
    match peer {
        Bumpalo | BumpScope => rust(peer, &out)?,
        _ => c(peer, &out)?,
    }
    Ok(out)
}

fn c(peer: Peer, out: &Path) -> Result<()> {
    let counted = crate::bench_counted::peers::sources();
    let mut command = gcc(&[&sources().join("programs.c"), &counted.join("measure.c")], out);
    command.arg("-I").arg(counted);
    let header = match peer {
        Obstack => "obstack",
        Talloc => "talloc",
        Apr => "apr",
        Glibc | KnollMalloc => "malloc",
        _ => "knoll",
    };
    command.arg(format!("-DPEER=\"peers/{header}.h\""));
    match peer {
        KnollCall => drop(command.arg("-DPEER_CALL")),
        KnollFree => drop(command.arg("-DPEER_FREE_STANDING")),
        KnollOwn => drop(command.arg("-DPEER_OWN_HEAP")),
        KnollLeaf => drop(command.arg("-DPEER_LEAF")),
        KnollNode => drop(command.arg("-DPEER_NODE")),
        KnollMalloc => drop(command.arg("-DPEER_KNOLL")),
        Talloc => drop(command.args(packaged("talloc")?)),
        Apr => drop(command.args(packaged("apr-1")?)),
        _ => {}
    }
    if matches!(peer, Knoll | KnollCall | KnollFree | KnollOwn | KnollLeaf | KnollNode | KnollMalloc) {
        link_knoll(&mut command)?;
    }
    util::run(&mut command)
}

/// How a Debian library is compiled and linked with; `_GNU_SOURCE` the programs define themselves.
fn packaged(name: &str) -> Result<Vec<String>> {
    let text = util::capture(&mut util::program("pkg-config", ["--cflags", "--libs", name]))?;
    Ok(text.split_whitespace().filter(|word| *word != "-D_GNU_SOURCE").map(str::to_owned).collect())
}

fn rust(peer: Peer, out: &Path) -> Result<()> {
    let directory = util::target_dir().join("knoll/arena-rivals");
    let mut command = util::cargo();
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path", "benches/arena/rivals/Cargo.toml"]);
    command.args(["--features", peer.name()]).env("CARGO_TARGET_DIR", &directory);
    util::run(&mut command)?;
    std::fs::copy(directory.join("release/arena-rivals"), out).context("the built program")?;
    Ok(())
}
