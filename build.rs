//! Tells the source what the target lacks and has.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(knoll_no_clz)");
    // Set by hand: no assembly in the small blocks' paths (ThreadSanitizer), and loom's atomics in models.
    println!("cargo:rustc-check-cfg=cfg(knoll_portable)");
    println!("cargo:rustc-check-cfg=cfg(loom)");
    // malloc has a path in assembly.
    println!("cargo:rustc-check-cfg=cfg(knoll_quick)");
    let set = |name: &str| env::var_os(name).is_some();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if env::var("TARGET").is_ok_and(|target| target.starts_with("x86_64-") && target.contains("-linux-"))
        && env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|width| width == "64")
        && set("CARGO_FEATURE_LIBC_NAMES")
        && !set("CARGO_CFG_MIRI")
        && !set("CARGO_FEATURE_HARDENED")
        && !["knoll_portable", "loom"].iter().any(|cfg| flags.contains(cfg))
    {
        println!("cargo:rustc-cfg=knoll_quick");
    }
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
}
