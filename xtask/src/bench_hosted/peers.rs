//! The allocators that are measured, each as a library to preload, and the programs that measure them.

use crate::util;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Peer {
    Knoll,
    /// Nothing is preloaded.
    Glibc,
    Mimalloc,
    Mimalloc3,
    Jemalloc,
    Tcmalloc,
    Rpmalloc,
    Snmalloc,
}

use Peer::*;

impl Peer {
    pub const ALL: [Peer; 8] = [Knoll, Glibc, Mimalloc, Mimalloc3, Jemalloc, Tcmalloc, Rpmalloc, Snmalloc];

    /// As the tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Knoll => "knoll",
            Glibc => "glibc",
            Mimalloc => "mimalloc",
            Mimalloc3 => "mimalloc3",
            Jemalloc => "jemalloc",
            Tcmalloc => "tcmalloc",
            Rpmalloc => "rpmalloc",
            Snmalloc => "snmalloc",
        }
    }

    pub fn is_rival(self) -> bool {
        self != Knoll
    }

    /// Where it comes from.
    fn source(self) -> Source {
        match self {
            Knoll => Source::Here,
            Glibc => Source::Debian { package: "libc6", file: None },
            Mimalloc => Source::Debian { package: "libmimalloc2.0", file: Some("libmimalloc.so.2") },
            Jemalloc => Source::Debian { package: "libjemalloc2", file: Some("libjemalloc.so.2") },
            Tcmalloc => Source::Debian { package: "libtcmalloc-minimal4", file: Some("libtcmalloc_minimal.so.4") },
            Mimalloc3 => Source::Crate { name: "libmimalloc-sys", archive: "mimalloc" },
            Rpmalloc => Source::Crate { name: "rpmalloc-sys", archive: "rpmalloc" },
            Snmalloc => Source::Crate { name: "snmalloc-sys", archive: "snmallocshim-rust" },
        }
    }
}

enum Source {
    Here,
    /// A file among the system's libraries; none: what every process has.
    Debian {
        package: &'static str,
        file: Option<&'static str>,
    },
    /// An archive of C or C++ that the crate's build script makes.
    Crate {
        name: &'static str,
        archive: &'static str,
    },
}

/// `benches/hosted`.
pub fn sources() -> PathBuf {
    util::root().join("benches/hosted")
}

/// What is preloaded for each peer, and where that is from.
pub struct Libraries {
    files: BTreeMap<Peer, PathBuf>,
    /// Package and version.
    pub origins: BTreeMap<Peer, String>,
}

impl Libraries {
    /// Builds or finds those of the peers wanted.
    pub fn build(wanted: &[Peer], directory: &Path) -> Result<Libraries> {
        let mut libraries = Libraries { files: BTreeMap::new(), origins: BTreeMap::new() };
        let crates = wanted.iter().any(|peer| matches!(peer.source(), Source::Crate { .. }));
        let archives = if crates { build_crates()? } else { Vec::new() };
        for peer in wanted {
            let (file, origin) = match peer.source() {
                Source::Here => (Some(util::build_shared()?), "this repository".to_owned()),
                Source::Debian { package, file } => (file.map(system_library).transpose()?, debian_version(package)?),
                Source::Crate { name, archive } => {
                    let out = directory.join(format!("lib{}.so", peer.name()));
                    link(*peer, find_archive(&archives, archive)?, &out)?;
                    (Some(out), crate_version(name)?)
                }
            };
            libraries.origins.insert(*peer, origin);
            if let Some(file) = file {
                libraries.files.insert(*peer, file);
            }
        }
        Ok(libraries)
    }

    /// What LD_PRELOAD is to be for a peer; none: nothing.
    pub fn of(&self, peer: Peer) -> Option<&Path> {
        self.files.get(&peer).map(PathBuf::as_path)
    }

    /// The same as a word of a command line.
    pub fn word(&self, peer: Peer) -> String {
        self.of(peer).map_or_else(|| "-".to_owned(), |path| path.display().to_string())
    }
}

fn system_library(file: &str) -> Result<PathBuf> {
    let multiarch = util::capture(&mut util::program("gcc", ["-print-multiarch"]))?;
    let path = Path::new("/usr/lib").join(multiarch.trim()).join(file);
    path.canonicalize().with_context(|| format!("{}; tools/setup.sh says what is missing", path.display()))
}

fn debian_version(package: &str) -> Result<String> {
    let version = util::capture(&mut util::program("dpkg-query", ["-W", "-f", "${Version}", package]))?;
    Ok(format!("Debian's {package} {version}"))
}

fn crate_version(name: &str) -> Result<String> {
    let lock = std::fs::read_to_string(sources().join("rivals/Cargo.lock"))?;
    let rest = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).context("the crate's version")?.1;
    Ok(format!("crate {name} {}", rest.split('"').next().unwrap_or_default()))
}

/// Builds `rivals/`; the directories in which the build scripts have left their archives.
fn build_crates() -> Result<Vec<PathBuf>> {
    let mut command = util::cargo();
    command.args(["build", "--release", "--locked", "--manifest-path", "benches/hosted/rivals/Cargo.toml"]);
    command.args(["--quiet", "--message-format", "json"]);
    command.env("CARGO_TARGET_DIR", util::target_dir().join("knoll/hosted-rivals"));
    // rpmalloc has its malloc and free only when asked; the crate has no feature for it.
    command.env("CFLAGS", "-DENABLE_OVERRIDE=1");
    let mut directories = Vec::new();
    for line in util::capture(&mut command)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        for path in message["linked_paths"].as_array().into_iter().flatten().filter_map(|path| path.as_str()) {
            directories.push(PathBuf::from(path.trim_start_matches("native=")));
        }
    }
    Ok(directories)
}

fn find_archive(directories: &[PathBuf], name: &str) -> Result<PathBuf> {
    let mut paths = directories.iter().map(|directory| directory.join(format!("lib{name}.a")));
    paths.find(|path| path.exists()).with_context(|| format!("no lib{name}.a was built"))
}

/// The names that snmalloc's archive has with `sn_` before them. An alias costs no instruction.
const SNMALLOC_NAMES: [&str; 13] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "cfree",
    "free_sized",
    "free_aligned_sized",
];

fn link(peer: Peer, archive: PathBuf, out: &Path) -> Result<()> {
    let mut command = util::program("g++", ["-shared", "-pthread", "-Wl,-z,now", "-o"]);
    command.arg(out);
    if peer == Snmalloc {
        command.args(SNMALLOC_NAMES.map(|name| format!("-Wl,--defsym={name}=sn_{name}")));
    }
    command.arg("-Wl,--whole-archive").arg(archive).args(["-Wl,--no-whole-archive", "-latomic", "-ldl"]);
    util::run(&mut command)
}

/// The programs that measure.
pub struct Tools {
    pub step: PathBuf,
    pub operations: PathBuf,
    pub threads: PathBuf,
    pub kept: PathBuf,
    pub run: PathBuf,
    pub startup: PathBuf,
    /// Has the stand-in for libjemalloc.so.2.
    pub stubs: PathBuf,
}

impl Tools {
    pub fn build(directory: &Path) -> Result<Tools> {
        let build = |name: &str| -> Result<PathBuf> {
            let out = directory.join(name);
            compile(name, &out, &[])?;
            Ok(out)
        };
        let stubs = directory.join("stubs");
        std::fs::create_dir_all(&stubs)?;
        let file = "libjemalloc.so.2";
        compile("nojemalloc", &stubs.join(file), &["-shared", "-fPIC", &format!("-Wl,-soname,{file}")])?;
        Ok(Tools {
            step: build("step")?,
            operations: build("operations")?,
            threads: build("threads")?,
            kept: build("kept")?,
            run: build("run")?,
            startup: build("startup")?,
            stubs,
        })
    }

    /// What `cargo xtask counts-hosted` needs.
    pub fn counting(directory: &Path) -> Result<(PathBuf, PathBuf)> {
        let (step, operations) = (directory.join("step"), directory.join("operations"));
        compile("step", &step, &[])?;
        compile("operations", &operations, &[])?;
        Ok((step, operations))
    }
}

/// As programs are usually built, with call stubs, but with all symbols bound before they are measured.
fn compile(name: &str, out: &Path, more: &[&str]) -> Result<()> {
    let flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-Wl,-z,now", "-o"];
    let mut command = util::program("gcc", flags);
    command.arg(out).arg(sources().join(name).with_extension("c")).args(more);
    util::run(&mut command)
}
