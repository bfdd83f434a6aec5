//! `cargo xtask reports`: what libknoll.so tells of itself, by a call, a variable, a signal, and as last words.
//!
//! - `fixtures/process_reports.c` checks `kn_process_*` and libc's figures against blocks that it has.
//! - `fixtures/own_malloc.c` has a malloc of its own before `__libc_malloc`, which is Knoll's.
//! - Real programs and the fixture run with `KNOLL_STATS` and `KNOLL_DUMP_SIGNAL` set: who ends by `exit` has
//!   a table whose rows make its sums, a child of fork has its own, a program that closed standard error has
//!   it, a file gets those of many processes whole, and whoever is not asked says nothing.
//! - Signals come while four threads allocate: each is answered, none stops the program.
//! - Each kind of wrong pointer: the process aborts, and its one line says what is known of the address.

use crate::fixture::{compile, compile_with, is_fair, outcomes, record_all};
use crate::util::{self, announce, note, program, work_dir, Tally};
use anyhow::{bail, ensure, Context, Result};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the command.
pub fn run() -> Result<()> {
    announce("What libknoll.so tells of itself");
    let library = util::build_shared()?;
    let work = work_dir("reports")?;
    let fixture = compile_with("process_reports", &work, "so", Some(&library))?;
    let mut tally = Tally::default();
    record_all(&mut tally, "process_reports", outcomes(&fixture, &[], None));

    let own = compile("own_malloc", &work)?;
    is_fair(&own)?;
    record_all(&mut tally, "own_malloc", outcomes(&own, &[], Some(&library)));

    let alone = |arguments: &[&str]| program(&fixture, arguments);
    let preloaded = |line: &str| {
        let mut command = program("sh", ["-c", line]);
        command.env("LD_PRELOAD", &library);
        command
    };
    announce("KNOLL_STATS");
    let own = tables(alone(&["--work"]).env("KNOLL_STATS", "1"));
    tally.record("linked: a table at the end", own.and_then(|tables| all_blocks(&tables, &[300])));
    let both = tables(alone(&["--work", "--fork"]).env("KNOLL_STATS", "1"));
    tally.record("a child of fork has its own", both.and_then(|tables| all_blocks(&tables, &[0, 300])));
    let closed = tables(preloaded("exec ls /").env("KNOLL_STATS", "1"));
    tally.record("preloaded: ls, which closes standard error", closed.and_then(|tables| how_many(&tables, 1)));
    let mut low = preloaded("ulimit -n 100; exec ls /");
    let low = tables(low.env("KNOLL_STATS", "1"));
    tally.record(
        "where no high number is allowed, what ls has closed is closed",
        low.and_then(|tables| how_many(&tables, 0)),
    );
    tally.record("a program whose standard error is another file by then", another_file(&preloaded, &work));
    tally.record("a file gets the tables of 20 processes", into_a_file(&preloaded, &work));
    for (what, value) in [("0", Some("0")), ("nothing", Some("")), ("not set", None)] {
        let mut command = alone(&["--work"]);
        value.map(|value| command.env("KNOLL_STATS", value));
        tally.record(format!("{what}: no word"), silent(&mut command));
    }
    let mut gone = preloaded("exec perl -e 'use POSIX; POSIX::_exit(0)'");
    tally.record("_exit: no word", silent(gone.env("KNOLL_STATS", "1")));

    announce("KNOLL_DUMP_SIGNAL");
    tally.record("four threads that allocate, 200 signals", signals(&mut alone(&["--signals"])));
    let mut handles = preloaded("exec perl -e '$SIG{USR1} = sub { print 1 }; kill USR1 => $$; print 2'");
    tally.record("a handler of the program's own stays", prints(handles.env("KNOLL_DUMP_SIGNAL", "10"), "12"));
    let mut ignores = preloaded("trap '' USR1; exec perl -e 'kill USR1 => $$; print 3'");
    tally.record("a signal that is ignored stays so", prints(ignores.env("KNOLL_DUMP_SIGNAL", "10"), "3"));
    for number in ["9", "65", "4294967306", "-10", "ten", ":", "1O", "99999999999999999999"] {
        let mut command = alone(&["--work"]);
        tally.record(format!("{number}: no word"), silent(command.env("KNOLL_DUMP_SIGNAL", number)));
    }

    announce("Last words");
    for (number, (mistake, words)) in MISTAKES.iter().enumerate() {
        let told = last_words(&mut alone(&["--wrong", &number.to_string()]), words);
        tally.record(*mistake, told);
    }
    tally.finish()
}

/// The mistakes of the fixture in their order: what they are, and how the line goes on after the address.
const MISTAKES: [(&str, &str); 7] = [
    ("a small block freed twice", ": a free block of 48 bytes"),
    ("a pointer into a small block", ": 16 bytes into a block of 48 bytes"),
    ("a medium block freed twice", ": a free block of "),
    ("a pointer into a medium block", ": 1600 bytes into a block of 20"),
    ("a pointer into a large block", ": 4096 bytes into a large block of 200704 bytes"),
    ("a pointer to a variable", "\n"),
    ("realloc of a pointer into a small block", ": 32 bytes into a block of 48 bytes"),
];

fn finished(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| util::display(command))
}

fn succeeded(command: &mut Command) -> Result<(String, String)> {
    let output = finished(command)?;
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "{}\n{out}{err}", output.status);
    Ok((out, err))
}

fn silent(command: &mut Command) -> Result<()> {
    let (_, err) = succeeded(command)?;
    ensure!(err.is_empty(), "said {err}");
    Ok(())
}

fn prints(command: &mut Command, expected: &str) -> Result<()> {
    let (out, err) = succeeded(command)?;
    ensure!(out == expected && err.is_empty(), "printed {out}, said {err}");
    Ok(())
}

// ---------------------------------------------------------------- tables

/// A table of numbers, read.
struct Table {
    process: usize,
    bytes: usize,
    blocks: usize,
}

/// The tables in a text that consists of nothing else.
fn read_tables(text: &str) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for part in text.split("knoll ").skip(1) {
        tables.push(read_table(part).with_context(|| format!("in this table:\n{part}"))?);
    }
    ensure!(text.is_empty() || text.starts_with("knoll "), "something else before the first table:\n{text}");
    Ok(tables)
}

fn read_table(text: &str) -> Result<Table> {
    let numbers = |line: &str| -> Vec<usize> {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    let lines: Vec<&str> = text.lines().collect();
    let [first, heads, rows @ .., _] = &lines[..] else { bail!("too short") };
    // The version's three numbers come first.
    let [_, _, _, process, bytes, blocks, mapped, most] = numbers(first)[..] else { bail!("first line") };
    ensure!(heads.trim_start().starts_with("blocks of") && mapped <= most && bytes <= mapped, "first lines");
    let (sizes, kinds) = rows.split_at(rows.len().checked_sub(3).context("no sums")?);
    let [small, medium, large] = kinds else { bail!("no sums") };
    let (mut pages, mut live, mut used, mut free) = (0, 0, 0, 0);
    let mut before = 0;
    for row in sizes {
        let [size, in_pages, in_use, bytes_used, bytes_free] = numbers(row)[..] else { bail!("row {row}") };
        ensure!(size > before && in_pages > 0 && bytes_used == size * in_use && bytes_free % size == 0, "row {row}");
        ensure!(bytes_used + bytes_free <= in_pages << 16, "more than its pages hold: {row}");
        (before, pages, live) = (size, pages + in_pages, live + in_use);
        (used, free) = (used + bytes_used, free + bytes_free);
    }
    ensure!(small.contains("all small") && numbers(small) == [pages, live, used, free], "the sum of the rows: {small}");
    let ([more, medium_used, _], [most, large_used]) = (&numbers(medium)[..], &numbers(large)[..]) else {
        bail!("{medium} {large}")
    };
    ensure!(live + more + most == blocks && used + medium_used + large_used == bytes, "the sum of the kinds");
    Ok(Table { process, bytes, blocks })
}

/// What a command writes to standard error: tables.
fn tables(command: &mut Command) -> Result<Vec<Table>> {
    read_tables(&succeeded(command)?.1)
}

fn how_many(tables: &[Table], expected: usize) -> Result<()> {
    let processes: std::collections::BTreeSet<usize> = tables.iter().map(|table| table.process).collect();
    ensure!(tables.len() == expected && processes.len() == expected, "{} tables", tables.len());
    ensure!(tables.iter().all(|table| table.bytes >= table.blocks), "more blocks than bytes");
    Ok(())
}

/// Processes that use nothing but what the fixture allocates, and libc a little.
fn all_blocks(tables: &[Table], expected: &[usize]) -> Result<()> {
    how_many(tables, expected.len())?;
    for (table, &least) in tables.iter().zip(expected) {
        ensure!((least..least + 20).contains(&table.blocks), "{} blocks, not {least}", table.blocks);
    }
    Ok(())
}

/// The 20 children of a shell at once, into one file. The shell itself ends by _exit.
fn into_a_file(preloaded: &dyn Fn(&str) -> Command, work: &Path) -> Result<()> {
    let file = work.join("statistics");
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut shell = preloaded("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do ls / & done; wait");
    let (_, err) = succeeded(shell.env("KNOLL_STATS", &file))?;
    ensure!(err.is_empty(), "said {err}");
    how_many(&read_tables(&std::fs::read_to_string(&file)?)?, 20)
}

/// Perl closes everything and opens a file, which becomes standard error's number: nothing is written to it.
fn another_file(preloaded: &dyn Fn(&str) -> Command, work: &Path) -> Result<()> {
    let file = work.join("another");
    let mut perl = preloaded(
        "exec perl -e 'use POSIX; POSIX::close($_) for 2..1010; POSIX::open($ARGV[0], O_WRONLY|O_CREAT|O_TRUNC) == 2 \
         or exit 1; POSIX::write(2, \"mine\", 4)' \"$FILE\"",
    );
    silent(perl.env("KNOLL_STATS", "1").env("FILE", &file))?;
    let text = std::fs::read_to_string(&file)?;
    ensure!(text == "mine", "the file has {text}");
    Ok(())
}

// ---------------------------------------------------------------- signals, and last words

/// Every signal that came through is answered by a dump or by a word why there is none.
fn signals(command: &mut Command) -> Result<()> {
    let (out, err) = succeeded(command.env("KNOLL_DUMP_SIGNAL", "10"))?;
    ensure!(out.ends_with("\n0 failed\n"), "{out}");
    let beginning = |start: &str| err.matches(start).count();
    let (dumps, refused) = (beginning("knoll 0."), beginning("knoll: no report: this thread was interrupted"));
    note(format!("{dumps} dumps, {refused} inside the heap"));
    // A signal that is pending already is not delivered twice.
    ensure!((20..=200).contains(&(dumps + refused)) && dumps > 0, "{dumps} dumps, {refused} refused");
    Ok(())
}

/// The process aborts, after one line.
fn last_words(command: &mut Command, words: &str) -> Result<()> {
    let output = finished(command)?;
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    let (before, after) = line.split_once(" at 0x").with_context(|| format!("{}: {line}", output.status))?;
    let after = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    let aborted = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(6);
    if !aborted || !before.starts_with("knoll: ") || !after.starts_with(words) || line.lines().count() != 1 {
        bail!("{}: {line}", output.status);
    }
    note(line.trim());
    Ok(())
}
