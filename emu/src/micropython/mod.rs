//! MicroPython's own firmware (its port `qemu`, board MPS2-AN385: a Cortex-M3 with 4 MB) in the harness.
//!
//! | module | what it is about |
//! | --- | --- |
//! | [`firmware`] | its ELF file: memory, the heap's place, the collector's functions |
//! | [`board`] | a machine at the raw prompt: scripts in, output out; go back to where it was saved |
//! | [`figures`] | what a script's marks and the collector's calls cost |
//! | [`terminal`] | the serial port on this process's input and output, for `run-tests.py` and for people |
//!
//! Nothing in the firmware is changed for it, and it knows nothing of the harness. A script that wants to be measured
//! stores to the harness's registers (`machine.mem32`): see [`crate::ports`].

pub mod board;

pub mod figures;
pub mod firmware;
pub mod terminal;
