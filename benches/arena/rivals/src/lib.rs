//! What the programs need beside a peer: what they measure of themselves, and random numbers, as the programs of
//! `benches/counted` do.

#[path = "../../../counted/rivals/src/measure.rs"]
pub mod measure;
