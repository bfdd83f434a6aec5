//! Debian's packages unpacked beside the system, for programs that would be in the way if they were installed.
//!
//! - rustc: the toolchain's own brings jemalloc with it, so nothing preloaded serves it. Debian's has none, but installed
//!   it would stand in the way of the toolchain.
//! - Downloaded once, by `apt-get download`, which needs no rights; kept in the work directory.

use crate::util::{capture, note, program, run};
use anyhow::{ensure, Context, Result};
use std::path::{Path, PathBuf};

/// The directory of the programs of a package and of what it depends on that has a name like it.
pub fn unpacked(package: &str, work: &Path) -> Result<PathBuf> {
    let place = work.join(format!("debian-{package}"));
    let programs = place.join("usr/bin");
    if place.join("complete").exists() {
        return Ok(programs);
    }
    std::fs::create_dir_all(&place)?;
    let listed = capture(&mut program(
        "apt-cache",
        [
            "depends",
            "--recurse",
            "--no-suggests",
            "--no-recommends",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            package,
        ],
    ))?;
    let wanted: Vec<&str> =
        listed.lines().filter(|line| line.starts_with(package) || line.starts_with("libstd-rust")).collect();
    ensure!(!wanted.is_empty(), "Debian's lists have no package {package}; apt-get update reads them");
    note(format!("{} from Debian, unpacked into {}", wanted.join(", "), crate::util::root_relative(&place)));
    run(program("apt-get", ["download", "-q"]).args(&wanted).current_dir(&place))?;
    for entry in std::fs::read_dir(&place)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(program("dpkg", ["-x"]).arg(&file).arg(&place))?;
            std::fs::remove_file(&file).with_context(|| format!("{}", file.display()))?;
        }
    }
    std::fs::write(place.join("complete"), "")?;
    Ok(programs)
}
