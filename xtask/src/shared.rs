//! From the raw archive that Cargo builds to `libknoll.so`: the link, and what it promises.
//!
//! - Exported are the functions of `knoll.h` and libc's names, and nothing else: all that is in no list
//!   is hidden.
//! - `kn_*` and `GC_*` carry the version `KNOLL_x.y`, that of the binary interface, as the soname does: a
//!   program that was linked with one interface is not started with another.
//! - libc's names carry none. A reference to `malloc@GLIBC_2.2.5`, and each that libc and other libraries
//!   make is such a one, is bound to a definition without a version, but passes by one that has another.
//! - Only libc is needed. There are no start-up files, and so no constructor; what runs at the end of the
//!   process is one entry in `.fini_array`. Never unloaded: fork handlers and keys of threads lead into it.
//! - Nothing unwinds through it, so the tables for that, a seventh of the file, are left out.
//!
//! ```text
//!   libknoll.a (`cargo rustc --crate-type staticlib --features shared`)
//!        |  cc -shared, LLVM's linker
//!        |     plain.map     { malloc; free; ... local: *; }
//!        |     versioned.map KNOLL_x.y { kn_*; GC_*; }
//!   libknoll.so
//! ```
//!
//! Why Cargo does not link it: for a `cdylib` it gives the linker a list of its own, in which every
//! function has no version, and where that list names a function no second one is heard. GNU ld takes no
//! unnamed list beside a named one at all, so it is LLVM's linker, which comes with the toolchain.

use crate::header::exported_functions;
use crate::localise;
use crate::util::{self, capture, program, root, toolchain_bin};
use anyhow::{bail, Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The sources in which libc's names are defined.
const LIBC_NAMES: [&str; 2] = ["src/capi/libc_names.rs", "src/capi/libc_info.rs"];

/// Beside the linker's own rules: these sections go nowhere.
const DISCARD: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.comment) } } INSERT AFTER .text;\n";

/// Where and how everything lies in the file.
const FORM: [&str; 9] = [
    "-nostartfiles",
    "-nodefaultlibs",
    "-Wl,--gc-sections",
    "-Wl,--as-needed",
    "-Wl,--no-eh-frame-hdr",
    "-Wl,-z,defs",
    "-Wl,-z,nodelete",
    "-Wl,-z,noexecstack",
    "-Wl,-z,relro,-z,now,-z,noseparate-code",
];

/// The version of the public functions.
pub fn symbol_version() -> Result<String> {
    Ok(format!("KNOLL_{}", util::interface()?))
}

/// libc's names, all of them: the functions that keep their names, and the aliases.
pub fn libc_names() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for source in LIBC_NAMES.map(|source| root().join(source)) {
        let text = std::fs::read_to_string(&source).with_context(|| source.display().to_string())?;
        for definition in text.split("#[no_mangle]").skip(1) {
            names.extend(exported_functions(definition).into_iter().next());
        }
        let aliases = text.split("\"knoll_alias ").skip(1).filter_map(|rest| rest.split_once(','));
        names.extend(aliases.map(|(name, _)| name.to_owned()));
    }
    Ok(names)
}

/// Links the archive `raw`, which was built for `target` (`None`: the host), to `to`, which changes at one
/// moment: who runs it meanwhile has the one before.
pub fn link(raw: &Path, target: Option<&str>, to: &Path) -> Result<()> {
    let directory = to.parent().context("a library lies in a directory")?;
    // Several processes may link at once.
    let own = |name: &str| directory.join(format!("{name}.{}", std::process::id()));
    let (member, plain, versioned, discard, linked) =
        (own("knoll.o"), own("plain.map"), own("versioned.map"), own("discard.ld"), own("libknoll.so"));
    std::fs::write(&member, localise::own_member(raw)?)?;
    let names: Vec<String> = libc_names()?.into_iter().collect();
    std::fs::write(&plain, format!("{{ global: {}; local: *; }};\n", names.join("; ")))?;
    std::fs::write(&versioned, format!("{} {{ global: kn_*; GC_*; }};\n", symbol_version()?))?;
    std::fs::write(&discard, DISCARD)?;

    let mut link = compiler(target)?;
    link.arg("-shared").arg("-B").arg(toolchain_bin()?.join("gcc-ld")).arg("-fuse-ld=lld").args(FORM);
    link.arg(format!("-Wl,-soname,{}", util::soname()?));
    link.arg(format!("-Wl,--version-script={}", plain.display()));
    link.arg(format!("-Wl,--version-script={}", versioned.display()));
    link.arg("-T").arg(&discard).arg(&member).arg(raw).args(["-lc", "-o"]).arg(&linked);
    let outcome = capture(&mut link);
    for file in [&member, &plain, &versioned, &discard] {
        std::fs::remove_file(file)?;
    }
    outcome?;
    std::fs::rename(&linked, to).with_context(|| format!("cannot make {}", to.display()))
}

/// What links programs of a target.
fn compiler(target: Option<&str>) -> Result<Command> {
    let host = util::host()?;
    let target = target.unwrap_or(&host);
    let architecture = target.split('-').next().unwrap_or_default();
    Ok(match (architecture, host.starts_with("x86_64-")) {
        _ if target == host => Command::new("cc"),
        ("i686", true) => program("cc", ["-m32"]),
        ("aarch64", _) => Command::new("aarch64-linux-gnu-gcc"),
        _ => bail!("no linker is known for {target}"),
    })
}

// ---------------------------------------------------------------- what it promises

/// The most thread-local storage: eight words. Static storage is short when a library is loaded late.
const MOST_STORAGE: u64 = 64;
/// A larger alignment makes `dlopen` fail on aarch64.
const MOST_ALIGNMENT: u64 = 32;

/// Thread-local storage that also a library that is loaded late can have, reached without a call.
pub fn check_storage(library: &Path) -> Result<String> {
    let segments = readelf("--segments", library)?;
    let line = segments.lines().map(str::trim).find(|line| line.starts_with("TLS "));
    // TLS offset virtual physical file-size memory-size flags align
    let words: Vec<&str> = line.context("no TLS segment")?.split_whitespace().collect();
    let [_, _, _, _, _, bytes, .., align] = words[..] else { bail!("not understood: {words:?}") };
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    let (bytes, align) = (number(bytes)?, number(align)?);
    if bytes > MOST_STORAGE || align > MOST_ALIGNMENT {
        bail!("{bytes} bytes aligned to {align}");
    }
    if readelf("--dyn-syms", library)?.contains("__tls_get_addr") {
        bail!("__tls_get_addr is needed");
    }
    let dynamic = readelf("--dynamic", library)?;
    for flag in ["STATIC_TLS", "NODELETE", "BIND_NOW"] {
        if !dynamic.contains(flag) {
            bail!("{flag} is missing");
        }
    }
    Ok(format!("{bytes} bytes of thread-local storage, initial-exec"))
}

/// The dynamic symbols: exactly the functions of `public` with the version, and libc's names without one.
pub fn check_symbols(library: &Path, public: &BTreeSet<String>) -> Result<()> {
    let version = symbol_version()?;
    let mut expected: BTreeSet<String> = libc_names()?;
    expected.extend(public.iter().map(|name| format!("{name}@@{version}")));
    let table = readelf("--dyn-syms", library)?;
    // number: value size type bind visibility section name
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = BTreeSet::new();
    for row in rows {
        if let [_, _, _, _, _, _, section, name, ..] = row[..] {
            if section != "UND" && section != "Ndx" {
                found.insert(name.to_owned());
            }
        }
    }
    let list = |names: Vec<&String>| names.iter().take(12).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let (others, missing) = (list(found.difference(&expected).collect()), list(expected.difference(&found).collect()));
    if !others.is_empty() || !missing.is_empty() {
        bail!("there but not expected: {others}; expected but not there: {missing}");
    }
    Ok(())
}

/// What `readelf` says of a library.
pub fn readelf(what: &str, library: &Path) -> Result<String> {
    capture(program("readelf", [what, "--wide"]).arg(library))
}
