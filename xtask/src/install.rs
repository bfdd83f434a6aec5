//! `cargo xtask install`: Knoll as a C programmer finds it on a system.
//!
//! ```text
//!   PREFIX/include/knoll.h, knoll/*.h
//!   PREFIX/lib/libknoll.so.VERSION          stripped; libknoll.so and the soname are links to it
//!   PREFIX/lib/libknoll.a                   localised: only kn_* and GC_* are global
//!   PREFIX/lib/pkgconfig/knoll.pc
//!   PREFIX/lib/cmake/knoll/knollConfig.cmake, knollConfigVersion.cmake
//! ```
//!
//! `--check` installs into a directory of its own and then uses the package in each of the ways
//! that the README names: pkg-config, the archive, `find_package`, FetchContent from source, and
//! as firmware; each program is run and what it prints is compared.

use crate::localise::Symbols;
use crate::util::{self, announce, capture, note, program, root, soname, version, work_dir, Tally};
use crate::{dist, size};
use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `cargo xtask install`.
#[derive(clap::Args)]
pub struct Args {
    /// Where it will be found
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
    /// Put before the prefix while installing, as packagers need it
    #[arg(long, default_value = "")]
    destdir: String,
    /// Features of libknoll.so beside the default ones, as `hardened`
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Install into target/ and use the package in every way promised
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    if args.check {
        return check();
    }
    let features: Vec<&str> = args.features.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    install(&args.prefix, &args.destdir, &features)
}

fn install(prefix: &Path, destdir: &str, features: &[&str]) -> Result<()> {
    if !prefix.is_absolute() {
        bail!("PREFIX must be an absolute path, not {}", prefix.display());
    }
    let destination = PathBuf::from(format!("{destdir}{}", prefix.display()));
    announce(format!("Installing into {}", destination.display()));
    let library = destination.join("lib");
    for directory in ["include", "lib/pkgconfig", "lib/cmake/knoll"] {
        let path = destination.join(directory);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }

    let version = version()?;
    let full = format!("libknoll.so.{version}");
    let built = util::Library { features, ..util::Library::default() }.shared()?;
    size::strip(&built, &library.join(&full))?;
    for link in [soname()?, "libknoll.so".to_owned()] {
        let link = library.join(link);
        // A link cannot be overwritten, only replaced.
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(&full, &link)?;
    }
    let packed = work_dir("install")?;
    let archive = dist::package(&util::host()?, &packed)?;
    std::fs::copy(archive, library.join("libknoll.a"))?;
    dist::copy_headers(&destination.join("include"))?;

    let mut parts = version.split('.');
    let values = [
        ("@VERSION@", version.clone()),
        ("@MAJOR@", parts.next().unwrap_or_default().to_owned()),
        ("@MINOR@", parts.next().unwrap_or_default().to_owned()),
        ("@SONAME@", soname()?),
        ("@PREFIX@", prefix.display().to_string()),
    ];
    for (template, to) in [
        ("knoll.pc.in", "pkgconfig/knoll.pc"),
        ("knollConfig.cmake.in", "cmake/knoll/knollConfig.cmake"),
        ("knollConfigVersion.cmake.in", "cmake/knoll/knollConfigVersion.cmake"),
    ] {
        let mut text = std::fs::read_to_string(root().join("cmake").join(template)).context(template)?;
        for (name, value) in &values {
            text = text.replace(name, value);
        }
        std::fs::write(library.join(to), text)?;
    }
    for file in ["include/knoll.h", &format!("lib/{full}"), "lib/libknoll.a", "lib/pkgconfig/knoll.pc"] {
        note(format!("{}/{file}: {} bytes", prefix.display(), std::fs::metadata(destination.join(file))?.len()));
    }
    Ok(())
}

// ---------------------------------------------------------------- using what was installed

/// What `examples/c/quickstart.c` prints on every target.
const EXPECTED: &str = "still there: 99\ntold: double free\nused 0, blocks 0, check: ok\n";

/// What `examples/c/counted.c` prints.
const COUNTED: &str = "references to ada: 3\nburied without a collection: 0\n\
                       3 person and 2 list, closed by person.parent\nburied: 3, in use: 0 bytes, check: ok\n";

/// The examples that both libraries are used with, and what they print.
const EXAMPLES: [(&str, &str); 2] = [("quickstart", EXPECTED), ("counted", COUNTED)];

/// What `examples/c/server.c` prints, whose malloc is that of libknoll.so.
pub const SERVER: &str = "400000 answers, 206200000 bytes\ntheir memory went back to the system\n\
                      blocks of a process at rest: few, check: ok\n";

fn check() -> Result<()> {
    let directory = work_dir("package")?;
    std::fs::remove_dir_all(&directory)?;
    std::fs::create_dir_all(&directory)?;
    let prefix = directory.join("prefix");
    let mut tally = Tally::default();
    tally.record("install", install(&prefix, "", &[]));
    let stage = directory.join("stage").display().to_string();
    tally.record("install with DESTDIR", install(Path::new("/usr"), &stage, &[]));
    announce("Using the package");
    tally.record("gcc with pkg-config, libknoll.so", with_pkg_config(&directory, &prefix));
    tally.record("gcc with pkg-config, a program's malloc", with_malloc(&directory, &prefix));
    tally.record("LD_PRELOAD", with_preload(&directory, &prefix));
    tally.record("gcc with libknoll.a", with_archive(&directory, &prefix));
    tally.record("g++ with libknoll.a", with_cplusplus(&directory, &prefix));
    tally.record("the versions of header, library and Cargo.toml are one", versions(&directory, &prefix));
    let found = format!("-DCMAKE_PREFIX_PATH={}", prefix.display());
    tally.record("CMake find_package", with_cmake(&directory.join("cmake-found"), &[&found], true));
    let fetched = format!("-DKNOLL_SOURCE={}", root().display());
    tally.record("CMake FetchContent from source", with_cmake(&directory.join("cmake-fetched"), &[&fetched], true));
    let prebuilt = format!("-DKNOLL_PREBUILT={}", work_dir("install")?.display());
    tally.record(
        "CMake FetchContent, prebuilt",
        with_cmake(&directory.join("cmake-prebuilt"), &[&fetched, &prebuilt], false),
    );
    tally.record("CMake FetchContent for Cortex-M4, linked", with_cmake_for_cortex_m4(&directory, &fetched));
    for cpu in ["m0", "m4"] {
        tally.record(format!("examples/firmware on Cortex-{}", cpu.to_uppercase()), firmware(&directory, cpu));
    }
    tally.finish()
}

/// Runs a program and compares what it prints.
pub fn prints(command: &mut Command, expected: &str) -> Result<()> {
    let printed = capture(command)?;
    if printed != expected {
        bail!("printed\n{printed}instead of\n{expected}");
    }
    Ok(())
}

fn gcc(compiler: &str, output: &Path, source: &str) -> Command {
    let mut command = program(compiler, ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]);
    command.arg(output).arg(root().join(source));
    command
}

/// Builds an example as pkg-config says, and compares what it prints.
fn by_pkg_config(example: &str, options: &[&str], expected: &str, directory: &Path, prefix: &Path) -> Result<()> {
    let mut ask = program("pkg-config", ["--cflags", "--libs", "knoll"]);
    let flags = capture(ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")))?;
    let output = directory.join(format!("{example}-with-pkg-config"));
    let mut compile = gcc("gcc", &output, &format!("examples/c/{example}.c"));
    util::run(compile.arg("-std=c11").args(options).args(flags.split_whitespace()))?;
    prints(Command::new(&output).env("LD_LIBRARY_PATH", prefix.join("lib")), expected)
}

fn with_pkg_config(directory: &Path, prefix: &Path) -> Result<()> {
    EXAMPLES.iter().try_for_each(|(example, expected)| by_pkg_config(example, &[], expected, directory, prefix))
}

/// Distributions link with `--as-needed`: a library whose malloc alone is used is needed.
fn with_malloc(directory: &Path, prefix: &Path) -> Result<()> {
    by_pkg_config("server", &["-O2", "-pthread", "-Wl,--as-needed"], SERVER, directory, prefix)
}

/// A program that knows nothing of Knoll prints the same on it, and its heap has something to tell.
fn with_preload(directory: &Path, prefix: &Path) -> Result<()> {
    let statistics = directory.join("statistics");
    let mut on_knoll = program("ls", ["-lR", "/usr/include/linux"]);
    on_knoll.env("LD_PRELOAD", prefix.join("lib").join(soname()?)).env("KNOLL_STATS", &statistics);
    let printed = capture(&mut on_knoll)?;
    prints(&mut program("ls", ["-lR", "/usr/include/linux"]), &printed)?;
    let told = std::fs::read_to_string(&statistics).context("no statistics were written: is it loaded?")?;
    if !told.starts_with(&format!("knoll {}, process ", version()?)) {
        bail!("these are no statistics:\n{told}");
    }
    Ok(())
}

fn with_archive(directory: &Path, prefix: &Path) -> Result<()> {
    for (example, expected) in EXAMPLES {
        let output = directory.join(format!("{example}-with-archive"));
        let mut compile = gcc("gcc", &output, &format!("examples/c/{example}.c"));
        util::run(compile.arg("-std=c11").arg("-I").arg(prefix.join("include")).arg(prefix.join("lib/libknoll.a")))?;
        prints(&mut Command::new(&output), expected)?;
    }
    Ok(())
}

/// The header from C++: the status is an enumeration there, and an allocation needs a cast.
fn with_cplusplus(directory: &Path, prefix: &Path) -> Result<()> {
    let source = directory.join("heap.cpp");
    std::fs::write(
        &source,
        "#include <knoll.h>\n#include <knoll/nim.h>\n#include <knoll/grain.h>\n#include <cstdio>\nalignas(16) static unsigned char memory[4096];\n\
         int main() {\n  KnHeap *heap = kn_heap_create(memory, sizeof memory);\n\
         \x20 auto *bytes = static_cast<char *>(kn_heap_malloc(heap, 10));\n  kn_heap_free(heap, bytes);\n\
         \x20 KnStatus status = kn_heap_check(heap);\n  std::puts(kn_status_str(status));\n\
         \x20 return bytes == nullptr || status != KN_OK;\n}\n",
    )?;
    let output = directory.join("with-cplusplus");
    let mut compile = program("g++", ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]);
    compile.arg(&output).arg(&source).arg("-I").arg(prefix.join("include"));
    util::run(compile.arg(prefix.join("lib/libknoll.a")))?;
    prints(&mut Command::new(&output), "ok\n")
}

fn versions(directory: &Path, prefix: &Path) -> Result<()> {
    let source = directory.join("version.c");
    std::fs::write(
        &source,
        "#include <knoll.h>\n#include <stdio.h>\nint main(void) {\n  printf(\"%s %s %d.%d.%d\\n\", kn_version(), \
         KN_VERSION_STRING, KN_VERSION_MAJOR, KN_VERSION_MINOR, KN_VERSION_PATCH);\n  return 0;\n}\n",
    )?;
    let output = directory.join("version");
    let mut compile = program("gcc", ["-std=c99", "-o"]);
    compile.arg(&output).arg(&source).arg("-I").arg(prefix.join("include"));
    util::run(compile.arg("-L").arg(prefix.join("lib")).arg("-lknoll"))?;
    let version = version()?;
    let expected = format!("{version} {version} {}\n", version.split('-').next().unwrap_or_default());
    prints(Command::new(&output).env("LD_LIBRARY_PATH", prefix.join("lib")), &expected)
}

fn with_cmake(build: &Path, options: &[&str], has_malloc: bool) -> Result<()> {
    prints(&mut Command::new(build_with_cmake(build, options)?), EXPECTED)?;
    if has_malloc {
        prints(&mut Command::new(build.join("server")), SERVER)?;
    }
    Ok(())
}

/// Configures and builds `examples/cmake`; returns the program.
fn build_with_cmake(build: &Path, options: &[&str]) -> Result<PathBuf> {
    let mut configure = program("cmake", ["-Wno-dev", "-S", "examples/cmake", "-B"]);
    capture(configure.arg(build).args(options).args(["-DCMAKE_BUILD_TYPE=Release"]))?;
    note(format!("$ {}", util::display(&configure)));
    capture(program("cmake", ["--build"]).arg(build))?;
    Ok(build.join("quickstart"))
}

/// The Rust target is found from the processor that a toolchain file names.
fn with_cmake_for_cortex_m4(directory: &Path, fetched: &str) -> Result<()> {
    let toolchain = directory.join("cortex-m4.cmake");
    std::fs::write(
        &toolchain,
        "set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_SYSTEM_PROCESSOR cortex-m4)\nset(CMAKE_C_COMPILER arm-none-eabi-gcc)\n\
         set(CMAKE_C_FLAGS_INIT \"-mcpu=cortex-m4 -mthumb\")\nset(CMAKE_EXE_LINKER_FLAGS_INIT --specs=nosys.specs)\n",
    )?;
    let toolchain = format!("-DCMAKE_TOOLCHAIN_FILE={}", toolchain.display());
    let firmware = build_with_cmake(&directory.join("cmake-cortex-m4"), &[fetched, &toolchain])?;
    let symbols = Symbols::read(&firmware)?;
    if symbols.public().next().is_none() {
        bail!("no kn_ function is in {}", firmware.display());
    }
    Ok(())
}

fn firmware(directory: &Path, cpu: &str) -> Result<()> {
    let target = if cpu == "m0" { "thumbv6m-none-eabi" } else { "thumbv7em-none-eabi" };
    let archive = dist::package(target, &directory.join(target))?;
    let elf = directory.join(format!("firmware-{cpu}.elf"));
    let mut build = program("emu/firmware/build.sh", [cpu]);
    build.arg(&elf).arg(root().join("examples/firmware/main.c")).arg(&archive);
    util::run(build.args(["--", "-Wall", "-Wextra", "-Werror", "-I"]).arg(root().join("include")))?;
    let mut emulate = Command::new(util::emu_binary()?);
    let printed = capture(emulate.arg("run").arg(&elf).args(["--cpu", cpu]))?;
    if !printed.contains("all as it should be") {
        bail!("printed\n{printed}");
    }
    Ok(())
}
