//! `knoll-emu mpy` and `mpy-serve` as programs, on MicroPython's firmware with Knoll's heap.
//!
//! That firmware is not built here: `KNOLL_MPY_FIRMWARE` names it, and `cargo test` alone leaves these tests out.
//! The step `micropython` of `cargo xtask test` builds it and runs them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const SCRIPT: &str = "\
from machine import mem32
import gc
print(6 * 7)
mem32[0xE0000000] = 7
lists = [bytearray(40) for _ in range(20)]
gc.collect()
mem32[0xE0000020] = 0
print(len(lists))
";

fn firmware() -> PathBuf {
    std::env::var_os("KNOLL_MPY_FIRMWARE").expect("KNOLL_MPY_FIRMWARE names MicroPython's firmware.elf").into()
}

fn command(name: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knoll-emu"));
    command.arg(name).args(options).arg(firmware());
    command
}

fn script(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("room for it");
    file
}

/// Runs `mpy` on a script.
fn scripted(options: &[&str], text: &str) -> Output {
    let file = script(text);
    command("mpy", options).arg(file.path()).output().expect("it can be started")
}

/// Runs `mpy-serve` with this typed.
fn typed(options: &[&str], text: &str) -> Output {
    let mut command = command("mpy-serve", options);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The number behind a label of standard error.
fn told(output: &Output, label: &str) -> u64 {
    let errors = text(&output.stderr);
    let line = errors.lines().find_map(|line| line.strip_prefix(label));
    line.unwrap_or_else(|| panic!("no {label:?} in {errors}")).trim().parse().expect("a number")
}

#[test]
fn a_script_is_measured_exactly() {
    let json = tempfile::NamedTempFile::new().expect("a file");
    let path = json.path().to_str().expect("a plain name");
    let mut seen = Vec::new();
    for options in [&["--json", path][..], &["--json", path], &["--json", path, "--watch"]] {
        let output = scripted(options, SCRIPT);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "42\n20\n".to_owned()));
        assert!(text(&output.stderr).starts_with("mark 7: "));
        let figures: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).expect("figures")).expect("JSON");
        assert_eq!(figures["is_knoll"], true);
        let mark = &figures["marks"]["7"];
        let number = |name: &str| mark[name].as_u64().expect(name);
        assert_eq!(number("times"), 1);
        assert!(number("longest") <= number("collector") && number("collector") < number("instructions"));
        assert_eq!(mark["calls"]["gc_collect"]["count"], 1);
        assert_eq!(mark["calls"]["gc_alloc"]["sizes"]["40"]["count"], 20);
        seen.push((number("instructions"), number("collector")));
    }
    assert!(seen.iter().all(|figures| *figures == seen[0]), "{seen:?}");
}

#[test]
fn globals_stay_from_script_to_script() {
    let (first, second) = (script("kept = 40\n"), script("print(kept + 2)\n"));
    let output = command("mpy", &["--quiet"]).args([first.path(), second.path()]).output().expect("it starts");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "42\n".to_owned()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn what_goes_wrong_in_a_script_is_said() {
    for (options, script, complaint) in [
        (&["--budget", "3M"][..], "while True: pass\n", "the budget of"),
        (&[], "print(1)\nraise ValueError('no')\n", "ValueError"),
    ] {
        let output = scripted(options, script);
        assert_eq!(output.status.code(), Some(125), "{script}");
        assert!(text(&output.stderr).contains(complaint), "{}", text(&output.stderr));
    }
    let missing = command("mpy", &[]).arg("no/such/script.py").output().expect("it can be started");
    assert_eq!(missing.status.code(), Some(125));
}

/// As run-tests.py does: the prompt without echo, a program, Ctrl-D.
#[test]
fn the_prompt_answers() {
    let one = typed(&["--watch", "--count"], "\x01print(6 * 7)\x04\x02");
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    assert!(text(&one.stdout).contains(">OK42\r\n\x04\x04>"), "{:?}", text(&one.stdout));
    assert!(told(&one, "stores by Knoll: ") > 100);
    let more = typed(&["--watch", "--count"], "\x01print(6 * 7)\x04\x01print([0] * 999)\x04\x02");
    assert!(told(&more, "instructions: ") > told(&one, "instructions: "));
    let quiet = typed(&[], "1 + 1\r");
    assert!(quiet.status.success() && quiet.stderr.is_empty());
    assert!(text(&quiet.stdout).contains("1 + 1\r\n2\r\n>>> "));
}

#[test]
fn after_a_bad_end_it_boots_again() {
    let output = typed(&["--budget", "3M"], "\x01while True: pass\x04");
    assert_eq!(output.status.code(), Some(124));
    let shown = text(&output.stdout);
    assert!(shown.contains("the machine stopped: stopped: the budget of"), "{shown:?}");
    assert_eq!(shown.matches("Type \"help()\"").count(), 2, "{shown:?}");
    assert!(text(&output.stderr).contains("mp_execute_bytecode"));
}
