//! Running: output, arguments, files, exit status, budget, and what the program prints.

use crate::common::{build, build_with, options, program, run, CPUS};
use knoll_emu::fault::{End, STATUS_BUDGET, STATUS_FAULT, STATUS_HARNESS};
use knoll_emu::Options;
use std::fs;

#[test]
fn prints_and_exits() {
    for cpu in CPUS {
        let finished = run(&build("hello", cpu), &options(&["hello"]));
        assert!(matches!(finished.end, End::Exit(7)), "{cpu}: {}", finished.end);
        assert_eq!(finished.output, "hello, world\n0.333 3.0\n", "{cpu}");
        assert_eq!(finished.error, "hello, error\n", "{cpu}");
        assert_eq!(finished.cpu.to_string(), cpu.trim_end_matches('f'));
    }
}

#[test]
fn arguments_arrive_as_they_are() {
    let arguments = ["args", "plain", "two words", "", r#"quo"te"#, r"back\slash", "--dash", "ünïcödé"];
    let finished = run(&build("hello", "m0"), &options(&arguments));
    let expected: String = arguments.iter().map(|a| format!("[{a}]\n")).collect();
    assert_eq!(finished.output, expected);
    assert_eq!(finished.end.status(), arguments.len() as i32 + 1);
}

#[test]
fn reads_its_folder_and_writes_below_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("in.txt"), "abc\nsecond line\n").expect("a file to read");
    let with = |arguments: &[&str]| {
        let options = Options { folder: Some(folder.path().to_owned()), ..options(arguments) };
        run(&build("hello", "m3"), &options)
    };
    let expected = "16 bytes\nthird is c\n";
    assert_eq!(with(&["copy", "in.txt"]).output, format!("abc\nsecond line\n{expected}"));
    assert_eq!(with(&["copy", "in.txt", "out/copy.txt"]).output, expected);
    let copy = fs::read_to_string(folder.path().join("out/copy.txt")).expect("the copy");
    assert_eq!(copy, "abc\nsecond line\n");

    // ENOENT is 2, EACCES 13.
    assert_eq!(with(&["copy", "none.txt"]).output, "can't open none.txt: errno 2\n");
    assert_eq!(with(&["copy", "in.txt", "else.txt"]).output, "can't open else.txt: errno 13\n");
    assert_eq!(with(&["copy", "/etc/hostname"]).output, "can't open /etc/hostname: errno 13\n");
    assert_eq!(with(&["copy", "../in.txt"]).output, "can't open ../in.txt: errno 13\n");
    assert_eq!(with(&["copy", "in.txt", "out/../x"]).output, "can't open out/../x: errno 13\n");
    assert!(!folder.path().join("else.txt").exists());
    assert_eq!(with(&["remove", "in.txt"]).output, "-1 13\n");
    assert!(folder.path().join("in.txt").exists());
}

#[test]
fn symbolic_links_do_not_lead_out() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    fs::write(outside.path().join("secret"), "secret").expect("a file");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("link")).expect("a link");
    let options = Options { folder: Some(folder.path().to_owned()), ..options(&["copy", "link"]) };
    let finished = run(&build("hello", "m3"), &options);
    assert_eq!(finished.output, "can't open link: errno 13\n");
}

#[test]
fn without_a_folder_there_are_no_files() {
    let finished = run(&build("hello", "m0"), &options(&["copy", "in.txt"]));
    assert_eq!(finished.output, "can't open in.txt: errno 2\n");
}

#[test]
fn reads_standard_input() {
    let options = Options { input: Some(b"1\n20\n300\n".to_vec()), ..options(&["input"]) };
    assert_eq!(run(&build("hello", "m4"), &options).output, "sum 321\n");
}

#[test]
fn every_run_is_the_same() {
    let elf = build("hello", "m4");
    let (first, second) = (run(&elf, &options(&["time"])), run(&elf, &options(&["time"])));
    assert_eq!(first.output, second.output);
    assert_eq!(first.instructions, second.instructions);
    assert!(first.output.starts_with("1704067200 "));
}

#[test]
fn memory_is_as_large_as_the_linker_was_told() {
    let small = build_with("hello", "m0", &[], &["-Wl,--defsym=NEWLIB_HEAP_SIZE=0x4000"]);
    let got: u32 = run(&small, &options(&["memory"])).output.trim().parse().expect("a number");
    assert!((13_000..=16_000).contains(&got), "{got}");
    let whole = build_with("hello", "m0", &[], &["-Wl,--defsym=RAM_SIZE=0x40000", "-Wl,--defsym=STACK_SIZE=0x1000"]);
    let got: u32 = run(&whole, &options(&["memory"])).output.trim().parse().expect("a number");
    assert!((230_000..=256_000).contains(&got), "{got}");
}

#[test]
fn abort_is_an_exit() {
    assert_eq!(run(&build("hello", "m4"), &options(&["abort"])).end.status(), 128 + 6);
}

#[test]
fn stops_at_its_budget() {
    for cpu in CPUS {
        let elf = build("counting", cpu);
        let whole = run(&elf, &options(&[])).instructions;
        let budget = whole / 2;
        let stopped = run(&elf, &Options { budget: Some(budget), single_step: true, ..options(&[]) });
        assert!(matches!(stopped.end, End::Budget(..)), "{}", stopped.end);
        assert_eq!(stopped.end.status(), STATUS_BUDGET);
        assert!(stopped.instructions <= budget && stopped.instructions > budget - 200);
        assert!(stopped.single_steps.executed <= budget, "it really stopped");
        let enough = run(&elf, &Options { budget: Some(whole), ..options(&[]) });
        assert!(matches!(enough.end, End::Exit(0)), "{}", enough.end);
    }
}

#[test]
fn the_program_passes_the_status_on() {
    let elf = build("hello", "m0");
    let output = program().arg("run").arg(&elf).args(["--arg", "args", "--arg", "--x"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[args]\n[--x]\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let output = program().arg("run").arg(&elf).args(["--budget", "1k"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(STATUS_BUDGET));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the budget of 1000 instructions is used up"), "{text}");
    assert!(text.contains("Reset_Handler"), "{text}");

    let faults = build("faults", "m0");
    let output = program().arg("run").arg(&faults).args(["--arg", "breakpoint"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(STATUS_FAULT));
}

#[test]
fn the_program_says_what_is_wrong() {
    let wrong = |arguments: &[&str], expected: &str| {
        let output = program().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(STATUS_HARNESS), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "{arguments:?}: {text}");
    };
    let elf = build("hello", "m0").display().to_string();
    wrong(&["run", "/nonexistent.elf"], "can't read /nonexistent.elf");
    wrong(&["run", "/proc/self/exe"], "is no firmware: ");
    wrong(&["run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "is no firmware: ");
    wrong(&["run", &elf, "--cpu", "m9"], "want m0, m3, m4 or m4f");
    wrong(&["run", &elf, "--budget", "lots"], "'lots' is no number");
    wrong(&["run", &elf, "--measure", "kn_nowhere"], "no function 'kn_nowhere'");
    wrong(&["run", &elf, "--watch"], "nothing to watch");
}

#[test]
fn the_figures_come_as_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("figures.json");
    let output = program()
        .arg("run")
        .arg(build("counting", "m3"))
        .args(["--measure", "five,loop", "--exclude", "memcpy", "--stack", "--json"])
        .arg(&json)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for row in ["five", "mark nothing", "(excluded) memcpy", "negative", "-5000000000"] {
        assert!(text.contains(row), "{text}");
    }
    let figures: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).expect("the file")).expect("it is JSON");
    assert_eq!(figures["cpu"], "m3");
    assert_eq!(figures["end"]["kind"], "exit");
    assert_eq!(figures["measured"]["five"]["worst"], 5);
    assert_eq!(figures["marks"]["nothing"]["count"], 1);
    assert_eq!(figures["results"]["negative"], -5_000_000_000_i64);
    assert_eq!(figures["results"]["again"], 2);
    assert_eq!(figures["stack"]["size"], 65536);
}
