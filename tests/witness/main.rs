//! The witness: fingerprints, the largest free block, how fragmented a heap is, what pins it.
//!
//! What it says is held against the walk that verifies most ([`knoll::heap::KnHeap::walk`]), on every layout,
//! over one region and over three.

mod fingerprint;
mod ground;
mod json;
mod numbers;
mod schema;
