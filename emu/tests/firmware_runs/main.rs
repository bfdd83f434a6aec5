//! The harness with real firmware in it: small C programs from `tests/firmware`, built by
//! `firmware/build.sh` for every processor.

mod common;
mod counting;
mod faults;
mod header;
mod running;
mod watching;
