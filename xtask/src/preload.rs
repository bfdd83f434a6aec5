//! `cargo xtask preload`: real programs with `LD_PRELOAD=libknoll.so`, next to the same without.
//!
//! - Each case is a command that runs twice in a fresh directory; exit status, standard output and
//!   standard error must be equal, and the run on Knoll must not be killed.
//! - The preload really happens: the library is mapped, the C programs see Knoll's own words at a
//!   double free, and its thread-local storage is what works in a library that is loaded late.
//! - `fixtures/preload_conform.c` checks malloc's contract edge by edge, memory used up included;
//!   `fixtures/preload_stress.c` threads and forks. Both also pass on libc's malloc: they are fair.
//! - `fixtures/counted_threads.c` counts objects in many threads, with fork and with ends of threads; it
//!   is linked with libknoll.so, and with libknoll.a, where malloc is libc's. `fixtures/counted_late.c`
//!   loads libknoll.so when its threads run already.
//! - A program that this machine lacks is named and counts as a failure.

use crate::fixture::{compile, compile_with, is_fair, outcomes, output, record_all, success};
use crate::shared::check_storage;
use crate::util::{self, announce, capture, note, program, work_dir, Tally};
use anyhow::{bail, Context, Result};
use std::path::Path;
use std::process::Output;
use std::time::Instant;

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

/// A program to run with and without Knoll.
struct Case {
    name: &'static str,
    /// The programs that must be there.
    needs: &'static [&'static str],
    line: Line,
}

/// What is run.
enum Line {
    Shell(&'static str),
    Python(&'static str),
}

const CASES: &[Case] = &[
    Case { name: "ls -lR /usr/include", needs: &["ls"], line: Line::Shell("ls -lR /usr/include") },
    Case { name: "git: init, commit 200 files, log, clone, fsck, gc", needs: &["git"], line: Line::Shell(GIT) },
    Case { name: "bash: 200 forks", needs: &["bash"], line: Line::Shell(FORKS) },
    Case { name: "bash: pipelines, arrays, strings", needs: &["bash"], line: Line::Shell(BASH) },
    Case { name: "sort and awk: 200000 lines", needs: &["sort", "awk"], line: Line::Shell(SORT) },
    Case { name: "tar and gzip: there and back", needs: &["tar", "gzip"], line: Line::Shell(TAR) },
    Case { name: "gcc: compile, link, run", needs: &["gcc"], line: Line::Shell(GCC) },
    Case { name: "python3: json, strings, 300000 objects", needs: &["python3"], line: Line::Python(PY_JSON) },
    Case { name: "python3: 16 threads", needs: &["python3"], line: Line::Python(PY_THREADS) },
    Case { name: "python3: multiprocessing", needs: &["python3"], line: Line::Python(PY_PROCESSES) },
    Case { name: "python3: fork in threads", needs: &["python3"], line: Line::Python(PY_FORK) },
    Case { name: "python3: sqlite3, zlib, hashlib", needs: &["python3"], line: Line::Python(PY_LIBRARIES) },
];

const GIT: &str = r#"
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git init -q -b main one && cd one
for i in $(seq 200); do seq $i $((i * 7)) > file$i; done
git add . && git commit -q -m first
for i in $(seq 1 5 200); do echo more >> file$i; done
git commit -q -a -m second
git log --stat | tail -n 45
cd .. && git clone -q --no-hardlinks one two && cd two && git log --oneline && git fsck --full && git gc -q
git diff HEAD~1 | tail -n 5
git grep -c 77 | tail -n 5
"#;

const FORKS: &str = r#"
bash -c 'for i in $(seq 200); do x=$( echo $((i * i)) ); s=$((s + x)); done; echo $s'
"#;

const BASH: &str = r#"
bash -c '
declare -A map; for i in $(seq 3000); do map[key$i]="value $i"; done; echo ${#map[@]} ${map[key77]}
text=; for i in $(seq 2000); do text+="line $i,"; done; echo ${#text} ${text//line/LINE} | md5sum
seq 20000 | while read n; do echo $((n % 97)); done | sort -n | uniq -c | md5sum'
"#;

const SORT: &str = r#"
seq 200000 | awk '{ print ($1 * 7919) % 200003, $1 }' | sort -n > sorted; md5sum < sorted
sort --parallel=4 -S 8M -k2,2nr sorted | md5sum
awk '{ count[$1 % 1009] += $2; name[$1] = $2 "x" } END { for (i = 0; i < 1009; i += 100) print i, count[i]; print length(name) }' sorted
"#;

const TAR: &str = r#"
mkdir d; for i in $(seq 300); do seq $i 2000 > d/$i; done
tar cf - d | gzip -9 | gzip -d | tar xf - -O | md5sum
"#;

const GCC: &str = r#"
cat > a.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
  char *text = NULL; size_t n = 0;
  for (int i = 0; i < 5000; i++) { text = realloc(text, n + 10); n += (size_t)sprintf(text + n, "%d,", i); }
  unsigned sum = 0; for (size_t i = 0; i < n; i++) sum = sum * 31 + (unsigned char)text[i];
  printf("%zu %u\n", n, sum); free(text); return 0;
}
END
gcc -O2 -g -Wall -c a.c && gcc a.o -o a && ./a && gcc -O3 -S -o - a.c | grep -c call
"#;

const PY_JSON: &str = r#"
import json, hashlib
tree = {str(i): {"list": list(range(i % 50)), "text": "x" * (i % 300), "none": None} for i in range(20000)}
text = json.dumps(tree)
back = json.loads(text)
assert back == tree
objects = [[i, str(i)] for i in range(300000)]
del objects[::2]
print(len(text), hashlib.sha256(text.encode()).hexdigest(), len(objects), sum(o[0] for o in objects))
"#;

const PY_THREADS: &str = r#"
import threading, queue
work, done = queue.Queue(), queue.Queue()
def worker():
    while (n := work.get()) is not None:
        done.put(sum(len(str(i) * (i % 40)) for i in range(n)))
threads = [threading.Thread(target=worker) for _ in range(16)]
for t in threads: t.start()
for n in range(400): work.put(n * 5)
for t in threads: work.put(None)
for t in threads: t.join()
print(sum(done.get() for _ in range(400)))
for _ in range(300):
    t = threading.Thread(target=lambda: bytearray(100000)); t.start(); t.join()
"#;

const PY_PROCESSES: &str = r#"
import multiprocessing, zlib
def work(n):
    return zlib.crc32(b"".join(str(i).encode() for i in range(n)))
if __name__ == "__main__":
    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(4) as pool:
            print(kind, sum(pool.map(work, range(0, 2000, 10))))
"#;

const PY_FORK: &str = r#"
import os, threading, warnings
warnings.simplefilter("ignore")
stop = threading.Event()
def churn():
    kept = []
    while not stop.is_set():
        kept.append(bytearray(len(kept) * 37 % 5000))
        if len(kept) > 500: kept = kept[::3]
threads = [threading.Thread(target=churn) for _ in range(4)]
for t in threads: t.start()
bad = 0
for n in range(60):
    pid = os.fork()
    if pid == 0:
        blocks = [bytearray(i * 11) for i in range(800)]
        os._exit(0 if sum(map(len, blocks)) == 11 * 799 * 400 else 1)
    bad += os.waitpid(pid, 0)[1] != 0
stop.set()
for t in threads: t.join()
print("bad children:", bad)
"#;

const PY_LIBRARIES: &str = r#"
import sqlite3, zlib, hashlib, re
base = sqlite3.connect(":memory:")
base.execute("create table t (a integer primary key, b text)")
base.executemany("insert into t (b) values (?)", ((hashlib.md5(str(i).encode()).hexdigest(),) for i in range(30000)))
base.execute("create index i on t (b)")
print(base.execute("select count(*), min(b), max(b) from t where b > '8'").fetchone())
text = "\n".join(row[0] for row in base.execute("select b from t order by b"))
packed = zlib.compress(text.encode(), 9)
assert zlib.decompress(packed).decode() == text
print(len(packed), len(re.findall(r"a[0-9]+b", text)))
"#;

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
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        let begin = Instant::now();
        let outcome = compare(case, &library, &work);
        tally.record(format!("{} ({:.1} s)", case.name, begin.elapsed().as_secs_f32()), outcome);
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

/// Both runs of a case, each in an empty directory of the same name, must look the same.
fn compare(case: &Case, library: &Path, work: &Path) -> Result<()> {
    for needed in case.needs {
        capture(&mut program("sh", ["-c", &format!("command -v {needed}")]))
            .with_context(|| format!("{needed} is not installed; tools/setup.sh says how"))?;
    }
    let alone = once(case, None, work)?;
    let knoll = once(case, Some(library), work)?;
    if !alone.status.success() {
        bail!("fails without Knoll: {}\n{}", alone.status, String::from_utf8_lossy(&alone.stderr));
    }
    if knoll.status != alone.status {
        bail!("{}, without Knoll {}\n{}", knoll.status, alone.status, String::from_utf8_lossy(&knoll.stderr));
    }
    for (name, with, without) in
        [("standard output", &knoll.stdout, &alone.stdout), ("standard error", &knoll.stderr, &alone.stderr)]
    {
        if with != without {
            bail!("{name} differs\n--- Knoll\n{}\n--- without\n{}", excerpt(with), excerpt(without));
        }
    }
    if alone.stdout.is_empty() {
        bail!("printed nothing, so nothing was compared");
    }
    Ok(())
}

fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().take(20).collect::<Vec<_>>().join("\n")
}

fn once(case: &Case, library: Option<&Path>, work: &Path) -> Result<Output> {
    let directory = work.join("here");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let mut command = match case.line {
        Line::Shell(script) => program("sh", ["-e", "-c", script]),
        Line::Python(script) => {
            // A file: processes that multiprocessing spawns read it again.
            std::fs::write(directory.join("main.py"), script)?;
            program("python3", ["main.py"])
        }
    };
    command.current_dir(&directory).env("PYTHONMALLOC", "malloc").env("PYTHONDONTWRITEBYTECODE", "1");
    output(&command, library)
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
