//! Tells the source what the target lacks and has, and the linker how `libknoll.so` is made.

use std::env;
use std::path::Path;

/// Beside the linker's own rules: these sections go nowhere.
const DISCARD: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.comment) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(knoll_no_clz)");
    println!("cargo:rustc-check-cfg=cfg(knoll_layouts)");
    // More than one block layout in the build: then a region says which one it has.
    let layouts =
        ["MAP", "COMPACT", "WIDE"].iter().filter(|l| env::var_os(format!("CARGO_FEATURE_LAYOUT_{l}")).is_some());
    if layouts.count() > 1 {
        println!("cargo:rustc-cfg=knoll_layouts");
    }
    println!("cargo:rustc-check-cfg=cfg(knoll_small)");
    // Little code before few instructions: asked for by the feature, or by an optimisation for size.
    let level = env::var("OPT_LEVEL").unwrap_or_default();
    if level == "s" || level == "z" || env::var_os("CARGO_FEATURE_SMALL_CODE").is_some() {
        println!("cargo:rustc-cfg=knoll_small");
    }
    let target = env::var("TARGET").unwrap_or_default();
    // No count-leading-zeros instruction: Armv6-M, and RV32 without the Zbb extension.
    if target.starts_with("thumbv6m") || target.starts_with("riscv32im") {
        println!("cargo:rustc-cfg=knoll_no_clz");
    }
    // The M profile: interrupts are masked by PRIMASK.
    println!("cargo:rustc-check-cfg=cfg(knoll_cortex_m)");
    let m_profile = ["thumbv6m", "thumbv7m", "thumbv7em", "thumbv8m"];
    if m_profile.iter().any(|name| target.starts_with(name)) {
        println!("cargo:rustc-cfg=knoll_cortex_m");
    }
    // libknoll.so: no start-up files and so no constructor, nothing but libc, never unloaded because
    // fork handlers and other libraries' pointers lead into it. Nothing unwinds through it, so the
    // tables for that, a seventh of the file, are left out.
    if target.contains("-linux-") && env::var_os("CARGO_FEATURE_SHARED").is_some() {
        // Before 1.0 each minor version has a binary interface of its own.
        let number = |name| env::var(name).unwrap_or_default();
        let interface = match number("CARGO_PKG_VERSION_MAJOR").as_str() {
            "0" => format!("0.{}", number("CARGO_PKG_VERSION_MINOR")),
            major => major.to_owned(),
        };
        let discard = Path::new(&number("OUT_DIR")).join("discard.ld");
        std::fs::write(&discard, DISCARD).expect("OUT_DIR can be written to");
        for argument in [
            "-nostartfiles",
            "-nodefaultlibs",
            "-lc",
            &format!("-Wl,-soname,libknoll.so.{interface}"),
            "-Wl,-z,nodelete",
            "-Wl,-z,relro,-z,now,-z,noseparate-code",
            "-Wl,--no-eh-frame-hdr",
            "-T",
            &discard.display().to_string(),
        ] {
            println!("cargo:rustc-link-arg={argument}");
        }
    }
}
