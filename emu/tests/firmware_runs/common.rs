//! Building and running the firmware of `tests/firmware`.

use knoll_emu::machine::Finished;
use knoll_emu::Options;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Every processor that `build.sh` knows.
pub const CPUS: [&str; 4] = ["m0", "m3", "m4", "m4f"];

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `tests/firmware`.
pub fn source(name: &str) -> PathBuf {
    package().join("tests/firmware").join(name)
}

/// Runs a program that must succeed.
pub fn must(command: &mut Command) {
    let output = command.output().expect("the program can be started");
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Builds `tests/firmware/NAME.c` for a processor, once.
pub fn build(name: &str, cpu: &str) -> PathBuf {
    build_with(name, cpu, &[], &[])
}

/// Builds it with more sources and more arguments for the compiler, once for each set of them.
pub fn build_with(name: &str, cpu: &str, more: &[PathBuf], arguments: &[&str]) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let key = format!("{name} {cpu} {more:?} {arguments:?}");
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let number = built.len();
    built
        .entry(key)
        .or_insert_with(|| {
            let elf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{cpu}-{number}.elf"));
            must(
                Command::new(package().join("firmware/build.sh"))
                    .arg(cpu)
                    .arg(&elf)
                    .arg(source(&format!("{name}.c")))
                    .args(more)
                    .arg("--")
                    .args(["-Wall", "-Wextra", "-Werror"])
                    .args(arguments),
            );
            elf
        })
        .clone()
}

/// Builds `fake_knoll.c` into an archive named libknoll.a.
pub fn fake_knoll(folder: &Path, cpu: &str) -> PathBuf {
    let (object, archive) = (folder.join("fake_knoll.o"), folder.join("libknoll.a"));
    let float = if cpu == "m4f" { "-mfloat-abi=hard" } else { "-mfloat-abi=soft" };
    let cpu = cpu.trim_end_matches('f').replace('m', "-mcpu=cortex-m");
    must(
        Command::new("arm-none-eabi-gcc")
            .args([cpu.as_str(), float, "-mfpu=fpv4-sp-d16", "-mthumb", "-O2", "-g", "-ffunction-sections", "-c", "-o"])
            .arg(&object)
            .arg(source("fake_knoll.c")),
    );
    must(Command::new("arm-none-eabi-ar").arg("rcs").arg(&archive).arg(&object));
    archive
}

/// Options with arguments for the firmware (the program's name is added) and captured output.
pub fn options(arguments: &[&str]) -> Options {
    let mut argv = vec!["firmware".to_owned()];
    argv.extend(arguments.iter().map(|a| (*a).to_owned()));
    Options { arguments: argv, capture: true, ..Options::default() }
}

/// Runs a firmware.
pub fn run(elf: &Path, options: &Options) -> Finished {
    knoll_emu::run(elf, options).expect("the firmware can be run")
}

/// The names of the functions in a finished run's backtrace.
pub fn callers(finished: &Finished) -> Vec<String> {
    let state = finished.end.state().expect("the run did not exit by itself");
    state.backtrace.iter().map(|place| place.function.clone().unwrap_or_default()).collect()
}

/// The `knoll-emu` program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_knoll-emu"))
}
