//! The clock and the record of steps are those of the C programs.

fn main() {
    println!("cargo::rerun-if-changed=../measure.c");
    println!("cargo::rerun-if-changed=../measure.h");
    cc::Build::new().file("../measure.c").std("c99").compile("measure");
}
