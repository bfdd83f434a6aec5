//! `cargo xtask header`: `include/knoll.h` from the Rust source.
//!
//! - cbindgen renders types, constants and functions with their documentation (`cbindgen.toml`);
//!   this module adds what it has no word for: the introduction, the version, a heading for each
//!   chapter, and the names of the `KnStatus` values.
//! - A chapter is a file of `src/capi`, in the order of the `mod` lines of `src/capi/mod.rs`; its
//!   heading is the file's own `//!` head. The header has no prose that the source has not.
//! - `src/capi/NAME_inline.h`, where there is one, stands behind the last declaration of chapter
//!   NAME as it is: functions that the C compiler is to put in line are written in C.
//! - `--check` writes nothing and fails, with the difference, when the committed header is not
//!   what the source gives. It also compiles that header and each of `include/knoll` alone as C99,
//!   C11, C17, C++11 and C++17 with every warning an error, included twice, on the host and with
//!   the Arm compiler.

use crate::localise::is_public;
use crate::util::{announce, capture, note, program, root, version, work_dir, Tally};
use anyhow::{bail, Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask header`.
#[derive(clap::Args)]
pub struct Args {
    /// Compare instead of writing, and compile the header under every C and C++ dialect promised
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    announce("Generating include/knoll.h from src/capi");
    let fresh = generate()?;
    let committed = root().join("include/knoll.h");
    if args.check {
        let mut tally = Tally::default();
        tally.record("include/knoll.h is what the source gives", compare(&committed, &fresh));
        announce("Compiling each header alone, included twice, all warnings errors");
        for header in headers()? {
            let path = root().join("include").join(&header);
            for dialect in DIALECTS {
                tally.record(format!("{header}: {}", dialect.join(" ")), compile_alone(dialect, &path));
            }
        }
        announce("Sizes of the enumerations, by compiler and target");
        tally.record("every enumeration has 4 bytes on every target", compare_enum_sizes(&fresh));
        return tally.finish();
    }
    if std::fs::read_to_string(&committed).is_ok_and(|old| old == fresh) {
        note("unchanged");
        return Ok(());
    }
    std::fs::create_dir_all(root().join("include"))?;
    std::fs::write(&committed, &fresh)?;
    note(format!("wrote include/knoll.h: {} lines", fresh.lines().count()));
    Ok(())
}

/// The headers that are installed, as paths below `include`: `knoll.h`, then `knoll/*.h` by name.
pub fn headers() -> Result<Vec<String>> {
    let mut dialects = Vec::new();
    for entry in std::fs::read_dir(root().join("include/knoll")).context("include/knoll")? {
        let name = PathBuf::from(entry?.file_name());
        if name.extension().is_some_and(|extension| extension == "h") {
            dialects.push(format!("knoll/{}", name.display()));
        }
    }
    dialects.sort();
    dialects.insert(0, "knoll.h".to_owned());
    Ok(dialects)
}

// ---------------------------------------------------------------- generating

/// The text of `include/knoll.h`.
pub fn generate() -> Result<String> {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).map_err(anyhow::Error::msg)?;
    let (introduction, chapters) = read_chapters()?;
    config.header = Some(opening(&introduction));
    config.after_includes = Some(macros(&version()?)?);
    // libc declares its own names; the shared library only defines them.
    let functions = chapters.iter().flat_map(|chapter| &chapter.functions);
    config.export.exclude.extend(functions.filter(|name| !is_public(name)).cloned());
    let bindings = cbindgen::Builder::new()
        .with_crate_and_name(root(), "libknoll")
        .with_config(config)
        .generate()
        .context("cbindgen")?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text)?;
    Ok(with_chapters(&for_c_readers(&text), &chapters))
}

/// A file of `src/capi`: its heading, the functions it defines in their order, and the C text that
/// follows them in the header.
struct Chapter {
    heading: Vec<String>,
    functions: Vec<String>,
    in_line: Option<String>,
}

/// The introduction (the head of `src/capi/mod.rs`) and the chapters in the order of its `mod` lines.
fn read_chapters() -> Result<(Vec<String>, Vec<Chapter>)> {
    let directory = root().join("src/capi");
    let index = read(&directory.join("mod.rs"))?;
    let mut chapters = Vec::new();
    for line in index.lines() {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) else { continue };
        let source = read(&directory.join(format!("{name}.rs")))?;
        let in_line = directory.join(format!("{name}_inline.h"));
        let in_line = if in_line.exists() { Some(read(&in_line)?) } else { None };
        chapters.push(Chapter { heading: head(&source), functions: exported_functions(&source), in_line });
    }
    Ok((head(&index), chapters))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The `//!` head of a file up to its first `# ` section, which speaks to Rust readers.
fn head(source: &str) -> Vec<String> {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned());
    let mut head: Vec<String> = lines.take_while(|line| !line.starts_with("# ")).collect();
    while head.last().is_some_and(|line| line.trim().is_empty()) {
        head.pop();
    }
    head
}

/// The names after `extern "C" fn` in a source file.
pub fn exported_functions(source: &str) -> Vec<String> {
    let names = source.split("extern \"C\" fn ").skip(1).filter_map(|rest| rest.split_once('('));
    names.map(|(name, _)| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The comment at the top of the header.
fn opening(introduction: &[String]) -> String {
    let last = [
        "",
        "SPDX-License-Identifier: MIT OR Apache-2.0",
        "Generated by `make header` from src/capi: edit the source.",
    ];
    let lines = introduction.iter().map(String::as_str).chain(last);
    let body: String = lines.map(|line| format!(" * {}", for_c_reader(line)).trim_end().to_owned() + "\n").collect();
    format!("/*\n{body} */\n")
}

/// The version and the attribute macros, between the includes and the first declaration.
fn macros(version: &str) -> Result<String> {
    let numbers: Vec<&str> = version.split(['.', '-']).collect();
    let [major, minor, patch, ..] = numbers[..] else { bail!("version {version} has not three parts") };
    Ok(format!(
        r#"
/* The version of this header; kn_version() gives that of the library that is linked. */
#define KN_VERSION_MAJOR {major}
#define KN_VERSION_MINOR {minor}
#define KN_VERSION_PATCH {patch}
#define KN_VERSION_STRING "{version}"

/* What a compiler may know about a function; nothing where it does not understand. */
#if defined(__GNUC__)
#define KN_NODISCARD __attribute__((warn_unused_result))
#define KN_ATTR_MALLOC __attribute__((malloc))
#define KN_ATTR_ALLOC_SIZE(size) __attribute__((alloc_size(size)))
#define KN_ATTR_ALLOC_SIZE2(count, size) __attribute__((alloc_size(count, size)))
#define KN_ATTR_ALLOC_ALIGN(align) __attribute__((alloc_align(align)))
#else
#define KN_NODISCARD
#define KN_ATTR_MALLOC
#define KN_ATTR_ALLOC_SIZE(size)
#define KN_ATTR_ALLOC_SIZE2(count, size)
#define KN_ATTR_ALLOC_ALIGN(align)
#endif
#if defined(__clang__)
#define KN_NONNULL _Nonnull
#else
#define KN_NONNULL
#endif"#
    ))
}

/// Turns what Rust documentation says into what a C reader knows, in the generated comments and names.
fn for_c_readers(text: &str) -> String {
    let mut out = String::new();
    let mut comment: Option<Vec<String>> = None;
    let mut inside = "";
    for raw in text.lines() {
        // A structure's typedef ends with its name: up to there it has only its tag.
        match raw.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) {
            Some(name) => inside = name,
            None if raw.starts_with('}') => inside = "",
            None => {}
        }
        let line = for_c_reader(raw);
        let line = if !inside.is_empty() && uses(raw, inside) { with_tag(&line, inside) } else { line };
        match (&mut comment, line.trim_start()) {
            (None, "/**") => comment = Some(Vec::new()),
            (Some(lines), "*/") => {
                let indent = " ".repeat(line.find('*').map_or(0, |at| at - 1));
                out.push_str(&render_comment(lines, &indent));
                comment = None;
            }
            (Some(lines), inner) => lines.push(inner.trim_start_matches('*').trim_end().to_owned()),
            (None, "") if out.ends_with("\n\n") => {}
            (None, _) => {
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
    out
}

/// Does the line name the structure by its tag, other than to begin it?
fn uses(line: &str, name: &str) -> bool {
    !line.starts_with("typedef") && line.contains(&format!("struct {name} "))
}

/// The line with the structure's tag before its name.
fn with_tag(line: &str, name: &str) -> String {
    line.replacen(&format!("{name} "), &format!("struct {name} "), 1)
}

/// A documentation comment without its `# Safety` section (which tells the Rust caller what the C
/// reader has been told in the text); on one line when it is one.
fn render_comment(lines: &[String], indent: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut skipping = false;
    for line in lines {
        if line.starts_with(" # ") {
            skipping = line == " # Safety";
        }
        if !skipping {
            kept.push(line);
        }
    }
    while kept.last().is_some_and(|line| line.is_empty()) {
        kept.pop();
    }
    match kept[..] {
        [] => String::new(),
        [only] if indent.len() + only.len() < 92 => format!("{indent}/**{only} */\n"),
        _ => {
            let body: String = kept.iter().map(|line| format!("{indent} *{line}\n")).collect();
            format!("{indent}/**\n{body}{indent} */\n")
        }
    }
}

/// One line: Rust links lose their brackets, Rust paths of status values become C names.
fn for_c_reader(line: &str) -> String {
    let mut line = line.replace("[`", "`").replace("`]", "`");
    while let Some(at) = line.find("KnStatus::") {
        let rest = &line[at + "KnStatus::".len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        line = format!("{}KN_STATUS_{}{}", &line[..at], shouting(&rest[..end]), &rest[end..]);
    }
    // Every structure has a typedef of its name: uses need no tag.
    if !line.starts_with("typedef struct") {
        line = line.replace("struct Kn", "Kn");
    }
    // The values are named KN_OK and KN_E_NO_MEMORY, not KN_STATUS_…: shorter where they are read most.
    line.replace("KN_STATUS_OK", "KN_OK").replace("KN_STATUS_", "KN_E_")
}

/// `NoMemory` → `NO_MEMORY`.
fn shouting(name: &str) -> String {
    let mut out = String::new();
    for (index, letter) in name.chars().enumerate() {
        if index > 0 && letter.is_uppercase() {
            out.push('_');
        }
        out.extend(letter.to_uppercase());
    }
    out
}

/// Puts each chapter's heading before the documentation of its first function, and its C text behind
/// its last one; a chapter that declares none has neither.
fn with_chapters(text: &str, chapters: &[Chapter]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // What stands before a line, in the order of the chapters.
    let mut before: Vec<(usize, String)> = Vec::new();
    for chapter in chapters {
        let declared = chapter.functions.iter().filter_map(|name| lines.iter().position(|line| declares(line, name)));
        let declared: Vec<usize> = declared.collect();
        let (Some(&first), Some(&last)) = (declared.first(), declared.iter().max()) else { continue };
        let blank = |line: &&str| line.trim().is_empty();
        let start = lines[..first].iter().rposition(blank).map_or(0, |at| at + 1);
        let mut heading = format!("/* {}\n", "=".repeat(94));
        for line in &chapter.heading {
            let _ = writeln!(heading, "{}", format!(" * {}", for_c_reader(line)).trim_end());
        }
        let _ = write!(heading, " * {} */\n\n", "=".repeat(91));
        before.push((start, heading));
        if let Some(in_line) = &chapter.in_line {
            let end = lines[last..].iter().position(blank).map_or(lines.len(), |at| last + at);
            before.push((end, format!("\n{}\n", in_line.trim())));
        }
    }
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (_, text) in before.iter().filter(|(at, _)| *at == number) {
            out.push_str(text);
        }
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Is this the line of the header that declares the function?
fn declares(line: &str, name: &str) -> bool {
    !line.starts_with([' ', '*', '/', '#']) && declared_name(line) == Some(name)
}

/// The identifier before the first parenthesis.
fn declared_name(line: &str) -> Option<&str> {
    line.split_once('(')?.0.rsplit([' ', '*']).next()
}

/// The functions that a header declares and the library has; those in line are the header's own.
pub fn declared_functions(header: &str) -> BTreeSet<String> {
    let lines = header.lines().filter(|line| !line.starts_with([' ', '*', '/', '#']) && !line.starts_with("static "));
    lines.filter_map(declared_name).filter(|name| is_public(name)).map(str::to_owned).collect()
}

// ---------------------------------------------------------------- checking

/// Fails with a unified diff when the committed header is not the fresh one.
fn compare(committed: &Path, fresh: &str) -> Result<()> {
    let beside = work_dir("header")?.join("knoll.h");
    std::fs::write(&beside, fresh)?;
    if std::fs::read_to_string(committed).is_ok_and(|old| old == fresh) {
        return Ok(());
    }
    let diff = std::process::Command::new("diff").arg("-u").args([committed, &beside]).output()?;
    bail!("it is not: run `make header`\n{}", String::from_utf8_lossy(&diff.stdout))
}

/// The compilers and dialects in which the header must be clean.
const DIALECTS: &[&[&str]] = &[
    &["gcc", "-std=c99", "-x", "c"],
    &["gcc", "-std=c11", "-x", "c"],
    &["gcc", "-std=c17", "-x", "c"],
    &["gcc", "-m32", "-std=c99", "-x", "c"],
    &["g++", "-std=c++11", "-x", "c++"],
    &["g++", "-std=c++17", "-x", "c++"],
    &["clang", "-std=c99", "-x", "c"],
    &["clang", "-std=c++11", "-x", "c++"],
    &["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-std=c99", "-x", "c"],
    &["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-fno-short-enums", "-std=c11", "-x", "c"],
    &["arm-none-eabi-g++", "-mcpu=cortex-m4", "-mthumb", "-std=c++11", "-x", "c++"],
];

/// A translation unit of the header alone, twice; headers that bring their own needs compile so.
fn compile_alone(dialect: &[&str], header: &Path) -> Result<()> {
    let unit = work_dir("header")?.join("twice.c");
    std::fs::write(&unit, format!("#include \"{0}\"\n#include \"{0}\"\n", header.display()))?;
    let mut command = program(dialect[0], &dialect[1..]);
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
    if !dialect.contains(&"c++") {
        command.arg("-Wstrict-prototypes");
    }
    capture(command.arg(&unit)).map(drop)
}

/// Every enumeration that the header defines has 4 bytes in every compiler's eyes: the Arm
/// compilers' own choice for a plain `enum` is 1 byte or 4 by option, Rust's for `repr(C)` differs again.
fn compare_enum_sizes(header: &str) -> Result<()> {
    let names = enums(header);
    if names.is_empty() {
        bail!("the header defines no enumeration; is the pattern still right?");
    }
    let unit = work_dir("header")?.join("sizes.c");
    let mut source = format!("#include \"{}\"\n", root().join("include/knoll.h").display());
    for name in &names {
        // An array of negative size is an error in every dialect: a static assertion for C99.
        let _ = writeln!(source, "typedef char size_of_{name}[sizeof({name}) == 4 ? 1 : -1];");
        let _ = writeln!(source, "struct align_{name} {{ char c; {name} e; }};");
        let _ = writeln!(source, "typedef char offset_in_{name}[sizeof(struct align_{name}) == 8 ? 1 : -1];");
    }
    std::fs::write(&unit, source)?;
    let mut wrong = Vec::new();
    for dialect in DIALECTS {
        let mut command = program(dialect[0], &dialect[1..]);
        if let Err(error) = capture(command.arg("-fsyntax-only").arg(&unit)) {
            wrong.push(format!("{}: {error:#}", dialect.join(" ")));
        }
    }
    // Rust's side: the generated type is a fixed 32-bit integer only if the source says repr(i32).
    for name in &names {
        if !header.contains(&format!("typedef int32_t {name};")) {
            wrong.push(format!("{name} is not `#[repr(i32)]` in the source"));
        }
    }
    note(format!("{}: {} compilers", names.join(", "), DIALECTS.len()));
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

/// The names after `enum ` in the header.
fn enums(header: &str) -> Vec<String> {
    let mut names: Vec<String> = header
        .lines()
        .filter_map(|line| line.strip_prefix("enum "))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_speak_to_c_readers() {
        let generated =
            "/**\n * See [`KnStatus::NoMemory`].\n *\n * # Safety\n * Rust only.\n */\nvoid f(struct KnHeap *h);\n";
        assert_eq!(for_c_readers(generated), "/** See `KN_E_NO_MEMORY`. */\nvoid f(KnHeap *h);\n");
    }

    #[test]
    fn a_structure_refers_to_itself_by_its_tag() {
        let generated =
            "typedef struct KnA {\n  const struct KnA *const *a;\n  struct KnB *b;\n} KnA;\nvoid f(struct KnA *a);\n";
        let wanted = "typedef struct KnA {\n  const struct KnA *const *a;\n  KnB *b;\n} KnA;\nvoid f(KnA *a);\n";
        assert_eq!(for_c_readers(generated), wanted);
    }

    #[test]
    fn text_in_line_follows_its_chapter() {
        let chapter = |name: &str, in_line: Option<&str>| Chapter {
            heading: vec![name.to_owned()],
            functions: vec![format!("kn_{name}")],
            in_line: in_line.map(str::to_owned),
        };
        let text = "/** A. */\nvoid kn_a(int b,\n  int c);\n\n/** B. */\nvoid kn_b(void);\n\n#endif\n";
        let whole = with_chapters(text, &[chapter("a", Some("static int x;\n")), chapter("b", None)]);
        let places: Vec<usize> = ["int c);\n\nstatic int x;\n\n/* ==", " * b\n", "void kn_b(void);\n\n#endif"]
            .iter()
            .map(|part| whole.find(part).expect(part))
            .collect();
        assert!(places.is_sorted());
    }

    #[test]
    fn finds_declarations_by_their_whole_name() {
        assert!(declares("KN_NODISCARD void *kn_malloc(size_t size)", "kn_malloc"));
        assert!(!declares("KN_NODISCARD void *kn_malloc(size_t size)", "malloc"));
        assert!(!declares(" * kn_malloc(size_t size)", "kn_malloc"));
        let header = "void *kn_a(int);\nint b(void);\nstatic inline void kn_c(void) {\n}\n";
        assert_eq!(declared_functions(header).into_iter().collect::<Vec<_>>(), ["kn_a"]);
    }
}
