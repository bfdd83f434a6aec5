//! `mark.h`: its offsets are the harness's, and every compiler that tests use takes it.

use crate::common::{must, source};
use knoll_emu::ports;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware")
}

#[test]
fn every_compiler_takes_it() {
    const ARM: [&str; 2] = ["-mcpu=cortex-m0", "-mthumb"];
    let compilers: [(&str, &[&str], &[&str]); 4] = [
        ("cc", &[], &["-std=c99"]),
        ("c++", &[], &["-std=c++11", "-x", "c++"]),
        ("arm-none-eabi-gcc", &ARM, &["-std=c99"]),
        ("arm-none-eabi-gcc", &ARM, &["-std=c++11", "-x", "c++"]),
    ];
    for (compiler, machine, language) in compilers {
        for level in ["-O0", "-O2"] {
            must(
                Command::new(compiler)
                    .args(machine)
                    .args(language)
                    .args([level, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
                    .arg(folder())
                    .arg(source("all_marks.h")),
            );
        }
    }
}

#[test]
fn ports_are_those_of_the_header() {
    let header = folder().join("mark.h");
    let text = std::fs::read_to_string(header).expect("the header");
    assert!(text.contains(&format!("#define KNOLL_HARNESS_BASE {:#X}u", ports::BASE).replace("0X", "0x")));
    let expected = [
        ("BEGIN", ports::BEGIN),
        ("CALL", ports::CALL),
        ("NAME", ports::NAME),
        ("RESULT", ports::RESULT),
        ("WATCH_ALLOW", ports::WATCH_ALLOW),
        ("WATCH_FORBID", ports::WATCH_FORBID),
        ("INSTRUCTIONS", ports::INSTRUCTIONS),
        ("END", ports::END),
    ];
    for (name, offset) in expected {
        let line = format!("KNOLL_HARNESS_{name} = 0x{offset:02X}");
        assert!(text.contains(&line), "{line}");
    }
}
