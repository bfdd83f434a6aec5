//! `cargo xtask proof`: libknoll.so as malloc, in every order of its threads' steps and under every wrong pointer.
//!
//! - The protocol by which threads share pages: the library's own files over loom's atomics, in every order of the
//!   steps of each scene; over shuttle's, in random orders of longer ones (`tests/loom`).
//! - That those models can fail: mistakes are planted in copies of the files, and each must be found.
//! - `libknoll.so` itself, loaded by the tests that `make test` runs on the linked library: random calls alone, in
//!   turns and in threads, against a model; each address within 64 KB of blocks of every kind to `free`, `realloc` and
//!   `usable_size`; each byte beside medium blocks spoiled.
//!
//! `--quick` leaves out the random orders and the planted mistakes. `--ops` sets the number of random calls (10^6;
//! KNOLL_OPS does it for the tests by themselves), `--seed` where they begin: 10^8 take some minutes.

use crate::util::{self, announce, build_shared, cargo, note, root, target_dir, Tally};
use anyhow::{bail, Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

/// Options of `cargo xtask proof`.
#[derive(clap::Args)]
pub struct Args {
    /// Half a minute: no random orders, no planted mistakes
    #[arg(long)]
    quick: bool,
    /// Random calls to libknoll.so
    #[arg(long)]
    ops: Option<u64>,
    /// Where the random calls begin
    #[arg(long)]
    seed: Option<u64>,
    /// Preemptions in one order of a scene, at most
    #[arg(long, default_value_t = 2)]
    preemptions: usize,
    /// Random orders of each scene
    #[arg(long, default_value_t = 1000)]
    schedules: usize,
}

/// A mistake in a copy of a file of `src/hosted`: what stands there, and what instead.
struct Planted {
    what: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

/// Each breaks a promise that `tests/loom/src/lib.rs` names.
const PLANTED: &[Planted] = &[
    Planted {
        what: "an empty page is not noticed",
        file: "page.rs",
        right: "if now == full || now.count_ones() as usize == worth {",
        wrong: "if now.count_ones() as usize == worth {",
    },
    Planted {
        what: "a thread sets its bit with a load and a store",
        file: "bits.rs",
        right: "let before = word.fetch_or(mask, Ordering::SeqCst);",
        wrong: "let before = word.load(Ordering::SeqCst);\n        word.store(before | mask, Ordering::SeqCst);",
    },
    Planted {
        what: "a bit is set without an order",
        file: "bits.rs",
        right: "let before = word.fetch_or(mask, Ordering::SeqCst);",
        wrong: "let before = word.fetch_or(mask, Ordering::Relaxed);",
    },
    Planted {
        what: "the owner collects bits without an order",
        file: "page.rs",
        right: "let given = others.swap(0, Ordering::SeqCst);",
        wrong: "let given = others.swap(0, Ordering::Relaxed);",
    },
    Planted {
        what: "the owner collects bits and leaves them",
        file: "page.rs",
        right: "let given = others.swap(0, Ordering::SeqCst);",
        wrong: "let given = others.load(Ordering::SeqCst);",
    },
    Planted {
        what: "a block freed by two threads is not told of",
        file: "page.rs",
        right: "each(mine.fetch_or(given, Ordering::Relaxed) & given, n, twice);",
        wrong: "mine.fetch_or(given, Ordering::Relaxed);",
    },
    Planted {
        what: "what the owner had free stays with a detached page",
        file: "page.rs",
        right: "each(others.fetch_or(free, Ordering::SeqCst) & free, n, twice);",
        wrong: "let _ = (free, others, &twice);",
    },
    Planted {
        what: "a page is not settled when it is detached",
        file: "pages.rs",
        right: "        self.settle(page);\n    }\n\n    /// Whether",
        wrong: "    }\n\n    /// Whether",
    },
    Planted {
        what: "an attached page is settled",
        file: "pages.rs",
        right: "(*page).kind != Kind::Small || (*page).owner.load(Order::SeqCst) != NOBODY",
        wrong: "(*page).kind != Kind::Small",
    },
    Planted { what: "a page is listed again", file: "pages.rs", right: "&& !(*page).listed {", wrong: "{" },
    Planted {
        what: "a page that goes back stays in its list",
        file: "pages.rs",
        right: "                if (*page).listed {\n                    list.remove(index);\n                }\n",
        wrong: "",
    },
];

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("the page protocol in every order of its steps (loom)");
    let mut exhaustive = models(&root().join("tests/loom"), "exhaustive");
    exhaustive.env("KNOLL_PREEMPTIONS", args.preemptions.to_string());
    util::run(&mut exhaustive)?;
    if !args.quick {
        announce("and in random ones, of longer scenes (shuttle)");
        let mut random = models(&root().join("tests/loom"), "random");
        util::run(random.env("KNOLL_SCHEDULES", args.schedules.to_string()))?;
        announce("mistakes planted in the protocol are found");
        planted()?;
    }
    let library = build_shared()?;
    announce("libknoll.so against the model, and under wrong pointers");
    let mut tests = cargo();
    tests.args(["test", "--quiet", "-p", "libknoll", "--test", "hosted_model", "--test", "hosted_faults"]);
    tests.args(["--", "--nocapture"]).env("KNOLL_LIBRARY", &library);
    for (name, number) in [("KNOLL_OPS", args.ops), ("KNOLL_SEED", args.seed)] {
        if let Some(number) = number {
            tests.env(name, number.to_string());
        }
    }
    util::run(&mut tests)
}

/// The command that runs one test of the models' package; both are features of it, too.
fn models(package: &Path, test: &str) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--manifest-path"]).arg(package.join("Cargo.toml"));
    command.args(["--features", test, "--test", test, "--", "--nocapture"]);
    command.env("CARGO_TARGET_DIR", target_dir().join("models"));
    command
}

/// Plants each mistake in a copy of the files, which the models must refuse, and must not refuse without.
fn planted() -> Result<()> {
    let copy = util::work_dir("models")?;
    let mut tally = Tally::default();
    for mistake in PLANTED {
        tally.record(mistake.what, plant(&copy, mistake));
    }
    tally.finish()
}

fn plant(copy: &Path, mistake: &Planted) -> Result<()> {
    let hosted = copy.join("src/hosted");
    let models_copy = copy.join("tests/loom");
    for (from, to) in [("src/hosted", &hosted), ("tests/loom", &models_copy)] {
        std::fs::create_dir_all(to)?;
        copy_files(&root().join(from), to)?;
    }
    let file = hosted.join(mistake.file);
    let text = std::fs::read_to_string(&file).with_context(|| mistake.file.to_owned())?;
    if text.matches(mistake.right).count() != 1 {
        bail!("{} has changed; xtask/src/proof.rs plants a mistake at `{}`", mistake.file, mistake.right);
    }
    std::fs::write(&file, text.replace(mistake.right, mistake.wrong))?;
    let mut command = models(&models_copy, "exhaustive");
    command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        bail!("not found");
    }
    let Some(found) = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1) else {
        bail!("it does not run: {text}");
    };
    note(format!("found: {}", found.trim()));
    Ok(())
}

/// Copies a directory, without what was built in it; a file that is as it was stays as old as it was.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_files(&path, &target)?;
        } else {
            let text = std::fs::read(&path)?;
            if std::fs::read(&target).is_ok_and(|old| old == text) {
                continue;
            }
            std::fs::write(&target, text)?;
        }
    }
    Ok(())
}
