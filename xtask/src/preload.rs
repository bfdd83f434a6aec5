//! `cargo xtask preload`: real programs with `LD_PRELOAD=libknoll.so`, next to the same without.
//!
//! - Those programs of `dropin::PROGRAMS` whose packages the other tests need as well; `cargo xtask dropin` runs all.
//!   Each does its job on libc's malloc and on Knoll, with the same result and proof that Knoll served it.
//! - The preload really happens: the library is mapped, the C programs see Knoll's own words at a
//!   double free, and its thread-local storage is what works in a library that is loaded late.
//! - `fixtures/preload_conform.c` checks malloc's contract edge by edge, memory used up included;
//!   `fixtures/preload_stress.c` threads and forks. Both also pass on libc's malloc: they are fair.
//! - `fixtures/counted_threads.c` counts objects in many threads, with fork and with ends of threads; it
//!   is linked with libknoll.so, and with libknoll.a, where malloc is libc's. `fixtures/counted_late.c`
//!   loads libknoll.so when its threads run already.
//! - A program that this machine lacks is named and counts as a failure.

use crate::dropin::{self, Program, Runner, PROGRAMS};
use crate::fixture::{compile, compile_with, is_fair, outcomes, output, record_all, success};
use crate::shared::check_storage;
use crate::util::{self, announce, note, program, work_dir, Tally};
use anyhow::{bail, Result};
use std::path::Path;

/// Options of `cargo xtask preload`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// How often the stress program runs on Knoll
    #[arg(long, default_value_t = 2)]
    stress: u32,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("libknoll.so as everybody's malloc");
    let library = util::build_shared()?;
    let work = work_dir("preload")?;
    let wanted = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let mut tally = Tally::default();

    let conform = compile("preload_conform", &work)?;
    let stress = compile("preload_stress", &work)?;
    if wanted("loaded") {
        tally.record("the library is loaded into a program that does not know it", is_loaded(&library));
        tally.record(
            "little thread-local storage, initial-exec, without __tls_get_addr",
            check_storage(&library).map(note),
        );
        tally.record("double free: Knoll's line on standard error, and abort", last_words(&conform, &library));
    }
    let programs: Vec<&Program> = PROGRAMS.iter().filter(|program| program.daily && wanted(program.name)).collect();
    if !programs.is_empty() {
        announce("real programs: first on libc's malloc, then on Knoll");
        let runner = Runner::new("preload", Some(&library))?;
        for program in programs {
            dropin::record(program, &runner, 1, &mut tally);
        }
    }
    if wanted("conform") {
        announce("malloc's contract, edge by edge: first libc's own, then Knoll");
        is_fair(&conform)?;
        record_all(&mut tally, "preload_conform", outcomes(&conform, &[], Some(&library)));
    }
    if wanted("stress") {
        announce("threads and forks: first libc's own, then Knoll");
        tally.record("preload_stress on libc's malloc", succeeds(&stress, None));
        for number in 1..=args.stress {
            tally.record(format!("preload_stress on Knoll, run {number}"), succeeds(&stress, Some(&library)));
        }
    }
    if wanted("counted") {
        announce("counted objects in threads: on libknoll.so, then on libknoll.a beside libc's malloc");
        for (kind, library) in [("so", &library), ("a", &util::build_static(None, &[])?)] {
            let program = compile_with("counted_threads", &work, kind, Some(library))?;
            let fixture = format!("counted_threads on libknoll.{kind}");
            let checks = outcomes(&program, &[], None);
            let named = |(name, outcome)| (format!(".{kind}: {name}"), outcome);
            record_all(&mut tally, &fixture, checks.map(|checks| checks.into_iter().map(named).collect()));
        }
        let late = compile("counted_late", &work)?;
        record_all(&mut tally, "counted_late", outcomes(&late, &[&library], None));
    }
    tally.finish()
}

fn is_loaded(library: &Path) -> Result<()> {
    let maps = success(output(&program("cat", ["/proc/self/maps"]), Some(library))?)?;
    if !maps.contains("libknoll.so") {
        bail!("cat has no libknoll.so among its mappings");
    }
    Ok(())
}

fn last_words(conform: &Path, library: &Path) -> Result<()> {
    let output = output(&program(conform, ["--double-free"]), Some(library))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = told.starts_with("knoll: double free") && told.ends_with(": a free block of 48 bytes\n");
    if output.status.success() || !line || told.lines().count() != 1 {
        bail!("{}: {told}", output.status);
    }
    note(told.trim());
    Ok(())
}

fn succeeds(path: &Path, library: Option<&Path>) -> Result<()> {
    let text = success(output(&program::<&str>(path, []), library)?)?;
    note(text.trim());
    Ok(())
}
