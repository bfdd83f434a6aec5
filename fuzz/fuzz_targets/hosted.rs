//! Any calls of `kn_malloc` and its family, in any of three threads, held against their model: see
//! `tests/shadow/src/process/`.
//!
//! The threads take turns, so a finding repeats. Each input begins with an empty process heap, but with the
//! pages and regions that earlier inputs have left.

#![no_main]

use knoll_shadow::process::claims::Claims;
use knoll_shadow::process::crew::{in_turns, Step};
use knoll_shadow::process::model::Model;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    /// Sizes are below 300, 9000, 140 thousand or a million.
    range: u8,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let most = [300, 9_000, 9_000, 140_000, 1_000_000][usize::from(input.range % 5)];
    let claims = Claims::default();
    let mut model = Model::new(&claims, 24, true, true);
    let mut steps = input.steps.iter().map(|step| match *step {
        Step::By(thread, call) => Step::By(thread, Model::tamed(call, most)),
        other => other,
    });
    let done = in_turns(&mut model, 3, |_| steps.next());
    if let Err(why) = done.and_then(|()| model.verify()).and_then(|()| model.finish()).and_then(|()| model.check()) {
        panic!("{why}");
    }
});
