//! The library's files are compiled here with atomics of other makes, so without its assembly.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(loom, knoll_portable, knoll_quick)");
    println!("cargo:rustc-cfg=knoll_portable");
}
