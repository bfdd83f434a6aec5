//! The proof that the tests of `knoll/format.h` can fail: the header with one fault at a time.
//!
//! That header's functions are in line, so no library with faults can stand in their place, as it does for all else (see
//! [`super::faults`]). Instead copies of the header are made in each of which one place is wrong, and
//! `c_tests/format.c`, compiled with such a copy, must fail.
//!
//! - Each fault's text must be in the header exactly once: one that is not there any more is a failure, too.
//! - Without a fault the program passes; the ordinary run on the host shows that.

use super::{in_parallel, program, Suite, STRICT};
use crate::util::{announce, build_static, capture, program as command, root, Tally};
use anyhow::{bail, ensure, Context, Result};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The program whose tests must notice.
const PROGRAM: &str = "format";
const HEADER: &str = "include/knoll/format.h";
/// A text that never ends does not either.
const LIMIT: Duration = Duration::from_secs(5);

/// What is wrong; the text of the header; what stands there instead.
const FAULTS: &[(&str, &str, &str)] = &[
    ("a number has no sign", r#"value < 0 ? "-" : plus"#, "plus"),
    ("a blank is no flag", r"*at == '+' || (*at == ' ' && spec->plus == '\0')", "*at == '+'"),
    ("nothing is at the left", "spec->left = true;", ";"),
    ("nothing is filled with zeros", "spec->zero = true;", ";"),
    ("# is ignored", "spec->alternate = true;", ";"),
    ("X is x", "bool upper = letter == 'X';", "bool upper = false;"),
    ("octal is decimal", "letter == 'o' ? 8 : ", ""),
    ("a 0 of precision 0 is written", "if (first == end && least > 0)", "if (first == end)"),
    ("hh is nothing for signed numbers", "(signed char)va_arg", "va_arg"),
    ("h is nothing for unsigned numbers", "(unsigned short)va_arg", "va_arg"),
    ("a negative width is not to the left", "spec->left |= width < 0;", ""),
    ("a negative precision is one", "spec->has_precision = precision >= 0;", "spec->has_precision = true;"),
    ("a text pays no regard to its precision", "spec->has_precision ? spec->precision : SIZE_MAX));", "SIZE_MAX));"),
    (
        "a text is one blank short",
        "size_t lack = kn_format_lack_(spec, length);\n  kn_format_fill_(out, ' ', spec->left ? 0 : lack);",
        "size_t lack = kn_format_lack_(spec, length + 1);\n  kn_format_fill_(out, ' ', spec->left ? 0 : lack);",
    ),
    (
        "precision adds no zeros",
        "spec->precision > count ? spec->precision - count : 0",
        "spec->precision > count ? 0u : 0u",
    ),
    ("a pointer has no 0x", r#"spec, "0x", first"#, r#"spec, "", first"#),
    ("ties are rounded down", "(more || odd)", "more"),
    ("ties are rounded up", "(more || odd)", "true"),
    ("what is behind a tie is not seen", "more |= words[i] != 0;", ""),
    ("the least numbers are halved", "(exponent != 0 ? exponent : 1) - 1075", "exponent - 1075"),
    (
        "large numbers lose a carry",
        "if (carry != 0) {\n      words[--number->first] = carry;",
        "if (false) {\n      words[--number->first] = carry;",
    ),
    ("infinity is filled with zeros", "field.zero = false;", ""),
    ("the sign of zero is lost", "bits >> 63 != 0 ? '-'", "value < 0 ? '-'"),
    (
        "what is not offered is left out",
        "default: return false;\n  }\n}\n\n/* Formats",
        "default: return true;\n  }\n}\n\n/* Formats",
    ),
    ("a length before s is ignored", "if (length != '\\0') {\n    return false;\n  }", ""),
    ("no end of bytes is an end", "return offered && out.length < SIZE_MAX;", "return offered;"),
    ("one byte more than is needed", "kn_arena_alloc(arena, length + 1)", "kn_arena_alloc(arena, length + 9)"),
    ("the room that is left stays", "text->failed ? 0 : text->length + 1", "text->failed ? 0 : text->room"),
    ("a text that failed keeps its memory", "text->failed ? 0 : text->length + 1", "text->length + 1"),
    (
        "a put that fails is forgotten",
        "kn_text_reserve_(text, length)) {\n    text->failed = true;",
        "kn_text_reserve_(text, length)) {",
    ),
    ("only twice the room will do", "if (at == NULL && room > least)", "if (false)"),
    ("a text moves each time it grows", "text->at, text->room, room);\n  if", "text->at, text->room + 8, room);\n  if"),
];

/// Runs the program with each fault.
pub fn run_all(suite: &Suite, tally: &mut Tally) -> Result<()> {
    if !suite.programs.iter().any(|name| name == PROGRAM) {
        return Ok(());
    }
    announce(format!("Can {PROGRAM}.c fail? {} faults in {HEADER}", FAULTS.len()));
    let header = super::source(HEADER)?;
    let library = build_static(None, &[])?;
    let directory = Suite::directory("mutants")?;
    let work = |number: usize| (number, run(number, &header, &library, &directory));
    in_parallel((0..FAULTS.len()).collect(), work, |(number, outcome)| {
        let what = FAULTS[number].0;
        match outcome {
            Ok(false) => tally.record(format!("{HEADER}: {what}, noticed"), Ok(())),
            Ok(true) => tally.record(format!("{HEADER}: {what}"), Err(anyhow::anyhow!("no test notices it"))),
            Err(error) => tally.record(format!("{HEADER}: {what}"), Err(error)),
        }
    });
    Ok(())
}

/// Whether the program passes with a fault.
fn run(number: usize, header: &str, library: &Path, directory: &Path) -> Result<bool> {
    let (_, text, wrong) = FAULTS[number];
    let count = header.matches(text).count();
    ensure!(count == 1, "{text:?} is {count} times in {HEADER}");
    let own = directory.join(number.to_string());
    std::fs::create_dir_all(own.join("knoll")).context("a folder for the header")?;
    std::fs::copy(root().join("include/knoll.h"), own.join("knoll.h"))?;
    std::fs::write(own.join("knoll/format.h"), header.replacen(text, wrong, 1))?;
    let executable = own.join(PROGRAM);
    let mut compile = command("gcc", STRICT.iter().filter(|flag| !flag.starts_with("-W")));
    compile.arg("-w").arg("-I").arg(&own).args([
        "-Ic_tests",
        "c_tests/format.c",
        "c_tests/harness.c",
        "c_tests/shadow.c",
    ]);
    capture(compile.arg(library).arg("-o").arg(&executable))?;
    let ended = program::run(&mut Command::new(&executable), &own.join("log"), LIMIT)?;
    if ended.report.tests.is_empty() {
        bail!("it has run no test");
    }
    Ok(ended.verdict().is_ok())
}
