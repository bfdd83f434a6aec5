//! The real programs, and the jobs that they do on libknoll.so.
//!
//! - A job is a line for the shell; what is longer lies in `fixtures/programs`, which the job knows as `$PROGRAMS`.
//! - What a job prints is the same at each run: no times, no addresses, no order that threads decide.
//! - Programs are chosen for how differently they ask for memory: many small objects, few large ones, threads, forks,
//!   heaps and pools of their own above malloc, libraries loaded late, aligned blocks.

/// A program and its job.
pub struct Program {
    /// By which `--only` finds it.
    pub name: &'static str,
    /// What it does, in some words.
    pub job: &'static str,
    /// What is run: a line for the shell.
    pub line: &'static str,
    /// The programs that must be there.
    pub needs: &'static [&'static str],
    /// The processes that must have been started, each with the malloc that is tested.
    pub proves: &'static [&'static str],
    /// Runs in `make test`: the other tests need its packages anyway.
    pub daily: bool,
    /// The peak of memory is to be at most libc's.
    pub target: bool,
    /// A package of Debian that is unpacked beside the system for it.
    pub unpacked: Option<&'static str>,
}

impl Program {
    /// A program that is run as it is named, and proves itself.
    const fn new(
        name: &'static str,
        job: &'static str,
        line: &'static str,
        programs: &'static [&'static str],
    ) -> Program {
        Program { name, job, line, needs: programs, proves: programs, daily: false, target: false, unpacked: None }
    }

    const fn daily(self) -> Program {
        Program { daily: true, ..self }
    }

    const fn target(self) -> Program {
        Program { target: true, ..self }
    }

    /// The processes that must be seen, where they are not the programs that the shell is told.
    const fn proves(self, processes: &'static [&'static str]) -> Program {
        Program { proves: processes, ..self }
    }

    const fn unpacked(self, package: &'static str) -> Program {
        Program { unpacked: Some(package), ..self }
    }
}

/// All of them: tools, languages, compilers, servers.
pub const PROGRAMS: &[Program] = &[
    // Tools of every day.
    Program::new("ls", "all of /usr/include, with details", "ls -lR /usr/include", &["ls"]).daily(),
    Program::new(
        "coreutils",
        "sort, join, shuf, split, factor, tsort, sums of 300000 lines",
        "sh -e $PROGRAMS/coreutils.sh",
        &["sort", "join", "shuf", "split", "factor", "tsort", "csplit", "pr", "b2sum"],
    )
    .daily(),
    Program::new("awk", "tables, then sort in threads, 200000 lines", "sh -e $PROGRAMS/sort.sh", &["sort", "awk"])
        .daily(),
    Program::new("tar", "300 files with gzip, there and back", "sh -e $PROGRAMS/tar.sh", &["tar", "gzip"]).daily(),
    Program::new(
        "grep",
        "grep, sed, find, diff, patch: a tree of 400 files",
        "sh -e $PROGRAMS/texts.sh",
        &["grep", "sed", "find", "diff"],
    )
    .daily(),
    Program::new("bash-forks", "300 forks", "bash $PROGRAMS/forks.bash", &["bash"]).daily(),
    Program::new("bash-strings", "pipelines, arrays, strings", "bash $PROGRAMS/strings.bash", &["bash"]).daily(),
    Program::new("git", "init, commit 200 files, log, clone, fsck, gc", "sh -e $PROGRAMS/git.sh", &["git"]).daily(),
    Program::new("make", "3000 rules, variables of 20000 words", "sh -e $PROGRAMS/make.sh", &["make"]).daily(),
    Program::new(
        "compress",
        "xz, zstd, bzip2, gzip, in threads",
        "sh -e $PROGRAMS/compress.sh",
        &["xz", "zstd", "bzip2"],
    ),
    Program::new("openssl", "ciphers, signatures, certificates, speed", "sh -e $PROGRAMS/openssl.sh", &["openssl"]),
    Program::new("bc", "functions in 600 digits", "bc -lq $PROGRAMS/numbers.bc < /dev/null", &["bc"]),
    Program::new("jq", "60000 objects grouped and sorted", "sh -e $PROGRAMS/jq.sh", &["jq"]),
    Program::new("gawk", "arrays of arrays, long strings, pipes", "gawk -f $PROGRAMS/gawk.awk", &["gawk"]),
    Program::new("xmllint", "60000 elements: XPath, validation, streams", "sh -e $PROGRAMS/xml.sh", &["xmllint"]),
    Program::new("vim", "40000 lines edited in batch, undone, redone", "sh -e $PROGRAMS/vim.sh", &["vim"]),
    Program::new(
        "emacs",
        "buffers, tables, byte compiler, in batch",
        "emacs -Q --batch -l $PROGRAMS/emacs.el",
        &["emacs"],
    ),
    // Languages.
    Program::new("python3-objects", "JSON, strings, 300000 objects", "python3 $PROGRAMS/objects.py", &["python3"])
        .daily()
        .target(),
    Program::new("python3-threads", "16 threads, then 300", "python3 $PROGRAMS/threads.py", &["python3"]).daily(),
    Program::new(
        "python3-processes",
        "multiprocessing by fork and spawn",
        "python3 $PROGRAMS/processes.py",
        &["python3"],
    )
    .daily(),
    Program::new(
        "python3-fork",
        "60 forks among 4 threads that allocate",
        "python3 $PROGRAMS/fork_in_threads.py",
        &["python3"],
    )
    .daily(),
    Program::new("python3-libraries", "sqlite3, zlib, hashlib", "python3 $PROGRAMS/libraries.py", &["python3"]).daily(),
    Program::new("perl", "hashes, sorting, patterns, closures, cycles", "perl $PROGRAMS/perl.pl", &["perl"]).daily(),
    Program::new("node", "buffers, maps, compression, 4 workers", "node $PROGRAMS/node.js", &["node"]).daily(),
    Program::new("lua", "tables, strings, coroutines", "lua5.4 $PROGRAMS/tables.lua", &["lua5.4"]).target(),
    Program::new("ruby", "small objects, 8 threads, compaction, fork", "ruby $PROGRAMS/ruby.rb", &["ruby"]),
    Program::new("php", "arrays, cycles, generators, compression", "php -n $PROGRAMS/arrays.php", &["php"]),
    Program::new(
        "guile",
        "Boehm's collector, bignums, threads",
        "guile --no-auto-compile $PROGRAMS/lists.scm",
        &["guile"],
    ),
    Program::new("tcl", "dictionaries, 60 interpreters, namespaces", "tclsh $PROGRAMS/tcl.tcl", &["tclsh"]),
    Program::new("prolog", "search, atoms, 6 threads", "swipl -q $PROGRAMS/queens.prolog", &["swipl"]),
    Program::new("erlang", "20000 processes, binaries, tables", "escript $PROGRAMS/messages.escript", &["escript"])
        .proves(&["messages.escript"]),
    Program::new("sbcl", "a moving collector beside foreign memory", "sbcl --script $PROGRAMS/forms.lisp", &["sbcl"]),
    Program::new(
        "java",
        "compiles and runs: 8 threads, direct buffers, streams",
        "java -Xmx256m -XX:-UsePerfData $PROGRAMS/Objects.java",
        &["java"],
    ),
    // Compilers and what belongs to them.
    Program::new("gcc", "compile, link, at link time too, run", "sh -e $PROGRAMS/gcc.sh", &["gcc"])
        .daily()
        .proves(&["gcc", "cc1", "as", "lto1", "a", "b"]),
    Program::new("g++", "compile and run: containers, exceptions, threads", "sh -e $PROGRAMS/gxx.sh", &["g++"])
        .daily()
        .proves(&["g++", "cc1plus", "as", "containers"]),
    Program::new("clang", "C++ compiled and run, LLVM, analyser", "sh -e $PROGRAMS/clang.sh", &["clang", "clang++"])
        .daily()
        .proves(&["clang", "containers"]),
    Program::new("rustc", "compile twice, run: collections, channels", "sh -e $PROGRAMS/rustc.sh", &["rustc"])
        .proves(&["rustc", "debug", "fast"])
        .unpacked("rustc"),
    Program::new("cargo", "build, test and run a workspace of two", "sh -e $PROGRAMS/cargo.sh", &["cargo"])
        .daily()
        .proves(&["cargo", "wide"]),
    Program::new(
        "cmake",
        "configure, build in two jobs, ctest",
        "sh -e $PROGRAMS/cmake.sh",
        &["cmake", "make", "ctest"],
    )
    .daily()
    .proves(&["cmake", "make", "ctest", "cc1", "main"]),
    Program::new("gdb", "breakpoints, stacks, types, Python", "sh -e $PROGRAMS/gdb.sh", &["gdb"])
        .proves(&["gdb", "debugged"]),
    Program::new(
        "binutils",
        "objdump, readelf, nm, ld, objcopy",
        "sh -e $PROGRAMS/binutils.sh",
        &["objdump", "readelf"],
    ),
    Program::new("cppcheck", "static analysis of C++", "sh -e $PROGRAMS/cppcheck.sh", &["cppcheck"]),
    Program::new("z3", "arrays, quantifiers, pigeons", "sh -e $PROGRAMS/z3.sh", &["z3"]),
    // Pages and pictures.
    Program::new(
        "ghostscript",
        "six pages drawn, as PDF, its text",
        "sh -e $PROGRAMS/ghostscript.sh",
        &["gs", "pdftotext"],
    ),
    Program::new("imagemagick", "large pictures, in threads", "sh -e $PROGRAMS/imagemagick.sh", &["convert-im6.q16"]),
    Program::new("graphviz", "three layouts as SVG", "sh -e $PROGRAMS/graphviz.sh", &["dot", "neato", "circo"]),
    Program::new("gnuplot", "surfaces, a fit, as SVG", "gnuplot $PROGRAMS/gnuplot.gp 2>&1", &["gnuplot"]),
    // Data and servers.
    Program::new(
        "sqlite3",
        "200000 rows on disk: joins, search, vacuum",
        "sqlite3 shop.db < $PROGRAMS/sqlite.sql",
        &["sqlite3"],
    )
    .target(),
    Program::new(
        "redis",
        "benchmark of 50 clients, BGSAVE by fork, restart from the dump",
        "sh -e $PROGRAMS/redis.sh",
        &["redis-server", "redis-benchmark", "redis-cli"],
    )
    .target(),
    Program::new("memcached", "8 clients, slabs, 4 threads", "sh -e $PROGRAMS/memcached.sh", &["memcached"]),
    Program::new(
        "nginx",
        "2 workers, gzip, a proxy, reloaded under curl",
        "sh -e $PROGRAMS/nginx.sh",
        &["nginx", "curl"],
    ),
    Program::new("mariadb", "InnoDB and Aria: tables, joins, changes", "sh -e $PROGRAMS/mariadb.sh", &["mariadbd"]),
];

#[cfg(test)]
mod tests {
    use super::PROGRAMS;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different_and_files_are_there() {
        let names: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        assert_eq!(names.len(), PROGRAMS.len());
        let folder = crate::util::root().join("xtask/fixtures/programs");
        for program in PROGRAMS {
            assert!(!program.proves.is_empty(), "{}", program.name);
            for file in program.line.split("$PROGRAMS/").skip(1) {
                let file = file.split(' ').next().unwrap_or_default();
                assert!(folder.join(file).exists(), "{file}");
            }
        }
    }
}
