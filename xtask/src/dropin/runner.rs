//! Running a job on libc's malloc and on Knoll, and comparing.
//!
//! - The environment of a job is its own: Debian's programs first in `PATH`, an empty directory as home, no settings of
//!   whoever runs the test. `PROGRAMS` is where the jobs' files lie.
//! - Libc's malloc is preloaded for the run without Knoll, so that a program that is linked with another malloc (Debian's
//!   Redis with jemalloc) is compared with libc's as well.
//! - The peak is of the largest process of the job, as the kernel tells `time`; `time`, `timeout` and `env` are small and
//!   run without Knoll.

use super::debian;
use super::list::Program;
use crate::fixture;
use crate::util::{self, capture, program, root, work_dir};
use anyhow::{bail, ensure, Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// A run that lasts longer is a deadlock.
const LIMIT: &str = "300";
/// The name that the dynamic loader knows libc by.
const LIBC: &str = "libc.so.6";

/// What all programs need.
pub struct Runner {
    library: PathBuf,
    census: PathBuf,
    work: PathBuf,
    path: String,
}

/// What a run used.
#[derive(Clone, Copy)]
pub struct Used {
    pub peak_kb: u64,
    /// Seconds, of all processes, in the program and in the system.
    pub cpu: f64,
}

/// What both runs used.
pub struct Pair {
    pub libc: Used,
    pub knoll: Used,
    /// Programs that were started on Knoll.
    pub processes: usize,
}

impl Pair {
    pub fn peak_ratio(&self) -> f64 {
        self.knoll.peak_kb as f64 / self.libc.peak_kb.max(1) as f64
    }
}

/// A run, at its end.
struct Ran {
    output: Output,
    used: Used,
    census: Census,
}

impl Runner {
    /// Builds Knoll, unless another malloc is to be tested, and the census; `name` is the directory's.
    pub fn new(name: &str, other: Option<&Path>) -> Result<Runner> {
        let library = match other {
            Some(library) => library.canonicalize().with_context(|| format!("{}", library.display()))?,
            None => util::build_shared()?,
        };
        let work = work_dir(name)?;
        let census = fixture::compile_library("dropin_census", &work)?;
        let toolchain = capture(&mut program("rustc", ["--print", "sysroot"]))?;
        let inherited = std::env::var("PATH").unwrap_or_default();
        // Before what lies elsewhere, which may be a script that chooses among versions.
        let path = format!("/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:{}/bin:{inherited}", toolchain.trim());
        Ok(Runner { library, census, work, path })
    }

    /// Both runs must look the same, and Knoll must have served the second.
    pub fn compare(&self, program: &Program, rounds: u32) -> Result<Pair> {
        let path = match program.unpacked {
            Some(package) => format!("{}:{}", debian::unpacked(package, &self.work)?.display(), self.path),
            None => self.path.clone(),
        };
        for needed in program.needs {
            capture(util::program("sh", ["-c", &format!("command -v {needed}")]).env("PATH", &path))
                .with_context(|| format!("{needed} is not installed; tools/setup.sh dropin installs it"))?;
        }
        let name = self.library.file_name().unwrap_or_default().to_string_lossy();
        let mut pair: Option<Pair> = None;
        for _ in 0..rounds.max(1) {
            let libc = self.once(program, Path::new(LIBC), &path)?;
            let knoll = self.once(program, &self.library, &path)?;
            same(&libc.output, &knoll.output)?;
            libc.census.proves(program, LIBC)?;
            knoll.census.proves(program, &name)?;
            let this = Pair { libc: libc.used, knoll: knoll.used, processes: knoll.census.on(&name) };
            pair = Some(match pair {
                Some(best) => Pair { libc: best.libc.least(this.libc), knoll: best.knoll.least(this.knoll), ..best },
                None => this,
            });
        }
        pair.context("no rounds")
    }

    /// A job in an empty directory, on a malloc.
    fn once(&self, job: &Program, malloc: &Path, path: &str) -> Result<Ran> {
        let directory = self.work.join("here");
        let (figures, census) = (self.work.join("figures"), self.work.join("census"));
        for file in [&figures, &census] {
            if file.exists() {
                std::fs::remove_file(file)?;
            }
        }
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        let mut command = program("time", ["--quiet", "--format=%M %U %S", "--output"]);
        command.arg(&figures).args(["timeout", "--signal=KILL", LIMIT, "env"]);
        command.arg(format!("LD_PRELOAD={}:{}", self.census.display(), malloc.display()));
        command.args(["sh", "-e", "-c", job.line]);
        command.env_clear().env("PATH", path).env("HOME", &directory).env("TMPDIR", &directory);
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PROGRAMS", root().join("xtask/fixtures/programs")).env("KNOLL_CENSUS", &census);
        // Otherwise Python serves what is small itself.
        command.env("PYTHONMALLOC", "malloc");
        command.current_dir(&directory).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot run {}", util::display(&command)))?;
        Ok(Ran { output, used: Used::read(&figures)?, census: Census::read(&census)? })
    }
}

impl Used {
    /// What `time` wrote.
    fn read(path: &Path) -> Result<Used> {
        let text =
            std::fs::read_to_string(path).context("time wrote no figures; is Debian's package time installed?")?;
        let line = text.lines().last().unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let [peak, user, system] = words[..] else { bail!("time wrote {line}") };
        Ok(Used { peak_kb: peak.parse()?, cpu: user.parse::<f64>()? + system.parse::<f64>()? })
    }

    fn least(self, other: Used) -> Used {
        Used { peak_kb: self.peak_kb.min(other.peak_kb), cpu: self.cpu.min(other.cpu) }
    }
}

/// Exit status and both streams are equal, and there is something to compare.
fn same(libc: &Output, knoll: &Output) -> Result<()> {
    if !libc.status.success() {
        bail!("fails without Knoll: {}\n{}{}", libc.status, excerpt(&libc.stdout), excerpt(&libc.stderr));
    }
    if knoll.status != libc.status {
        bail!("{}\n{}\n{}", knoll.status, excerpt(&knoll.stdout), excerpt(&knoll.stderr));
    }
    for (name, with, without) in
        [("standard output", &knoll.stdout, &libc.stdout), ("standard error", &knoll.stderr, &libc.stderr)]
    {
        if with != without {
            bail!("{name} differs\n--- Knoll\n{}\n--- libc\n{}", excerpt(with), excerpt(without));
        }
    }
    ensure!(!libc.stdout.is_empty(), "printed nothing, so nothing was compared");
    Ok(())
}

/// The end: that is where a failure shows.
fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

// ---------------------------------------------------------------- whose malloc

/// What `fixtures/dropin_census.c` wrote down.
#[derive(Debug, Default)]
struct Census {
    /// Name of a program that was started, and where its `malloc` lies.
    started: Vec<(String, String)>,
    /// Name of a process that has ended, and the bytes that libc's malloc held.
    ended: Vec<(String, i64)>,
}

impl Census {
    fn read(path: &Path) -> Result<Census> {
        Census::parse(&std::fs::read_to_string(path).context("no census: nothing was preloaded")?)
    }

    fn parse(text: &str) -> Result<Census> {
        let mut census = Census::default();
        for line in text.lines() {
            // A program's name may have spaces; the numbers behind it have none.
            let mut words = line.rsplitn(3, ' ');
            let (value, head) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            match head.split_once(' ') {
                Some(("start", name)) => census.started.push((name.to_owned(), value.to_owned())),
                Some(("end", name)) => census.ended.push((name.to_owned(), value.parse()?)),
                _ => bail!("the census says {line}"),
            }
        }
        Ok(census)
    }

    fn on(&self, malloc: &str) -> usize {
        self.started.iter().filter(|(_, owner)| owner == malloc).count()
    }

    /// Each program that the job is about found this malloc; on Knoll nobody's memory is libc's.
    fn proves(&self, program: &Program, malloc: &str) -> Result<()> {
        for name in program.proves {
            let owners: Vec<&str> =
                self.started.iter().filter(|(started, _)| started == name).map(|(_, owner)| owner.as_str()).collect();
            ensure!(!owners.is_empty(), "{name} was never started with {malloc} preloaded");
            if let Some(other) = owners.iter().find(|owner| **owner != malloc) {
                bail!("{name} has the malloc of {other}, not of {malloc}");
            }
        }
        if malloc == LIBC {
            return Ok(());
        }
        match self.ended.iter().find(|(_, held)| *held > 0) {
            Some((name, held)) => bail!("{name} holds {held} bytes of libc's malloc"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_is_read() -> Result<()> {
        let census = Census::parse("start sh 7 libknoll.so\nstart a b 8 a.out\nend sh 9 0\nend sh 7 4096\n")?;
        assert_eq!((census.started.len(), census.on("libknoll.so")), (2, 1));
        assert_eq!(census.started[1], ("a b".to_owned(), "a.out".to_owned()));
        assert_eq!(census.ended, [("sh".to_owned(), 0), ("sh".to_owned(), 4096)]);
        assert!(Census::parse("nonsense\n").is_err());
        Ok(())
    }
}
