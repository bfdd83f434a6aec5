//! The programs with threads, and the real ones: how each is run on a peer and what it then says.
//!
//! - A program with threads says itself how long it took; a real one is run by `benches/hosted/run.c`, and what it prints
//!   must be what it prints on the C library's malloc.
//! - Redis is Debian's. It asks for jemalloc, in whose place a stand-in is loaded, so that every peer is measured without
//!   a second allocator beside it; redis-benchmark is its client.

use super::peers::{sources, Libraries, Peer, Tools};
use crate::bench::process::{finish, said, Outcome, Said};
use crate::util;
use anyhow::{bail, ensure, Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of `benches/hosted/threads.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threaded {
    Server,
    Handover,
    Generations,
}

/// In the programs that have two kinds of threads, so many of each.
pub const THREADS: u32 = 2;

impl Threaded {
    pub const ALL: [Threaded; 3] = [Threaded::Server, Threaded::Handover, Threaded::Generations];

    /// As the program knows it.
    pub fn name(self) -> &'static str {
        match self {
            Threaded::Server => "server",
            Threaded::Handover => "handover",
            Threaded::Generations => "generations",
        }
    }

    /// As the tables say it: what it is in the manner of.
    pub fn title(self) -> &'static str {
        match self {
            Threaded::Server => "server (larson)",
            Threaded::Handover => "handover (xmalloc)",
            Threaded::Generations => "generations (mstress)",
        }
    }

    fn rounds(self) -> u32 {
        match self {
            Threaded::Server => 80,
            Threaded::Handover => 160,
            Threaded::Generations => 60,
        }
    }

    /// Runs it; `part` of the usual work.
    pub fn run(self, tools: &Tools, preload: Option<&Path>, part: u32) -> Result<Outcome<Said>> {
        let rounds = (self.rounds() / part).max(1);
        let mut command = util::program(&tools.threads, [self.name(), &THREADS.to_string(), &rounds.to_string()]);
        said(plainly(finish(with_preload(&mut command, preload))?))
    }
}

/// A program that people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Real {
    Lua,
    Python,
    Sqlite,
    Redis,
}

use Real::*;

impl Real {
    pub const ALL: [Real; 4] = [Lua, Python, Sqlite, Redis];

    pub fn name(self) -> &'static str {
        match self {
            Lua => "lua",
            Python => "python",
            Sqlite => "sqlite",
            Redis => "redis",
        }
    }

    /// Runs it: processor time and peak of memory of the process. What it prints goes to a file of its own.
    pub fn run(self, tools: &Tools, libraries: &Libraries, peer: Peer) -> Result<Outcome<Said>> {
        let output = tools.run.with_extension(format!("{}.{}", peer.name(), self.name()));
        let outcome = match self {
            Redis => redis(tools, &libraries.word(peer), &output)?,
            _ => {
                let mut command = under_run(tools, &libraries.word(peer), &output);
                said(plainly(finish(self.line(&mut command))?))?
            }
        };
        let Outcome::Found(mut found) = outcome else { return Ok(outcome) };
        let of = |name: &str| found.numbers.get(name).copied().context("run said nothing");
        let (status, processor, peak) = (of("status")?, of("processor")?, of("peak_kb")?);
        if status != 0 {
            return Ok(Outcome::Failed(if status > 128 {
                format!("signal {}", status - 128)
            } else {
                format!("exit {status}")
            }));
        }
        (found.operations, found.nanoseconds, found.peak_kb) = (1, processor, peak);
        Ok(Outcome::Found(found))
    }

    /// Whether it printed on this peer what it printed on the C library's malloc.
    pub fn agrees(self, tools: &Tools, peer: Peer) -> Result<bool> {
        let printed = |peer: Peer| std::fs::read(tools.run.with_extension(format!("{}.{}", peer.name(), self.name())));
        Ok(self == Redis || printed(peer)? == printed(Peer::Glibc)?)
    }

    fn line(self, command: &mut Command) -> &mut Command {
        let script = |name: &str| sources().join("programs").join(name);
        match self {
            Lua => command.arg("lua5.4").arg(script("tables.lua")),
            Python => {
                // The order of a set of strings, and with it the memory, is random otherwise.
                command.env("PYTHONMALLOC", "malloc").env("PYTHONHASHSEED", "0");
                command.args(["python3", "-S"]).arg(script("objects.py"))
            }
            Sqlite => command.args(["sqlite3", ":memory:"]).arg(format!(".read {}", script("tables.sql").display())),
            Redis => command,
        }
    }
}

fn under_run(tools: &Tools, preload: &str, output: &Path) -> Command {
    let mut command = util::program(&tools.run, [preload]);
    command.arg(output).env_remove("LD_PRELOAD");
    command
}

fn with_preload<'a>(command: &'a mut Command, preload: Option<&Path>) -> &'a mut Command {
    match preload {
        Some(preload) => command.env("LD_PRELOAD", preload),
        None => command.env_remove("LD_PRELOAD"),
    }
}

/// A library that is preloaded and crashes has not run out of stack, as the counted programs would.
fn plainly<T>(outcome: Outcome<T>) -> Outcome<T> {
    match outcome {
        Outcome::Failed(why) if why.contains("SIGSEGV") => Outcome::Failed("SIGSEGV".into()),
        Outcome::Failed(why) if why.contains("abort") => Outcome::Failed("SIGABRT".into()),
        outcome => outcome,
    }
}

/// How much memory a process keeps when it has freed 300 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freer {
    Own,
    Other,
    Gone,
}

impl Freer {
    pub const ALL: [Freer; 3] = [Freer::Own, Freer::Other, Freer::Gone];

    /// As the program knows it.
    pub fn name(self) -> &'static str {
        match self {
            Freer::Own => "own",
            Freer::Other => "other",
            Freer::Gone => "gone",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Freer::Own => "by the thread that allocated",
            Freer::Other => "by another thread",
            Freer::Gone => "by another thread, the first has ended",
        }
    }

    pub fn run(self, tools: &Tools, preload: Option<&Path>) -> Result<Outcome<Said>> {
        said(plainly(finish(with_preload(&mut util::program(&tools.kept, [self.name()]), preload))?))
    }
}

/// Microseconds of a process of /bin/true in the best of some rounds, with nothing preloaded and with each peer.
pub fn startup(tools: &Tools, libraries: &Libraries, peers: &[Peer], rounds: u32) -> Result<(f64, Vec<f64>)> {
    let mut command = util::program(&tools.startup, [rounds.to_string(), "-".into()]);
    command.args(peers.iter().map(|peer| libraries.word(*peer))).env_remove("LD_PRELOAD");
    let text = util::capture(&mut command)?;
    let took: Result<Vec<f64>, _> =
        text.split_whitespace().map(|word| word.parse::<f64>().map(|ns| ns / 1000.0)).collect();
    let took = took?;
    ensure!(took.len() == peers.len() + 1, "startup said {text}");
    Ok((took[0], took[1..].to_vec()))
}

// ---------------------------------------------------------------- redis

/// The commands of redis-benchmark, each with values of two sizes.
const COMMANDS: &str = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,mset";
const VALUES: [&str; 2] = ["24", "700"];

/// A server and its client, once.
fn redis(tools: &Tools, preload: &str, output: &Path) -> Result<Outcome<Said>> {
    let socket = Socket(output.with_extension("socket"));
    let _ = std::fs::remove_file(&socket.0);
    let mut command = under_run(tools, preload, output);
    command.args(["redis-server", "--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket.0);
    command.env("LD_LIBRARY_PATH", &tools.stubs).current_dir(util::root()).stdin(Stdio::null());
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("cannot run redis-server")?;
    let served = socket.wait(&mut server).and_then(|()| socket.load());
    // Else it would wait for ever.
    if served.is_err() {
        let _ = socket.client("redis-cli", &["shutdown", "nosave"]);
        let _ = server.kill();
    }
    let output = server.wait_with_output()?;
    match served {
        Ok(()) => Ok(Outcome::Found(Said::read(&String::from_utf8_lossy(&output.stdout))?)),
        Err(why) => Ok(Outcome::Failed(format!("{why:#}").lines().next().unwrap_or_default().to_owned())),
    }
}

/// Where the server listens.
struct Socket(PathBuf);

impl Socket {
    fn client(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = util::program(program, ["-s"]);
        util::capture(command.arg(&self.0).args(arguments))
    }

    fn wait(&self, server: &mut Child) -> Result<()> {
        let begin = Instant::now();
        while !self.client("redis-cli", &["ping"]).is_ok_and(|said| said.trim() == "PONG") {
            if let Some(status) = server.try_wait()? {
                bail!("redis-server ended: {status}");
            }
            ensure!(begin.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn load(&self) -> Result<()> {
        for bytes in VALUES {
            let line = ["-q", "-P", "16", "-n", "50000", "-r", "30000", "-d", bytes, "-t", COMMANDS];
            self.client("redis-benchmark", &line).context("redis-benchmark failed")?;
        }
        let size = self.client("redis-cli", &["dbsize"])?;
        ensure!(size.trim().parse::<u64>().is_ok_and(|keys| keys > 50_000), "{size} keys in the end");
        // The server ends without an answer, which the client may call an error.
        let _ = self.client("redis-cli", &["shutdown", "nosave"]);
        Ok(())
    }
}
