//! The clock is that of the C programs.

fn main() {
    println!("cargo::rerun-if-changed=../../counted/measure.c");
    println!("cargo::rerun-if-changed=../../counted/measure.h");
    cc::Build::new().file("../../counted/measure.c").std("c99").compile("measure");
}
