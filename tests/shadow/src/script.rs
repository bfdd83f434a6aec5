//! A run that is a list of operations, for the models whose operations do not depend on what they do: replayed in a new
//! world, in a child process if asked, and shrunk to the fewest operations that fail.
//!
//! With `KNOLL_SHIELD` in the environment everything runs in child processes, so that crashes are shrunk too.

use crate::shield::{self, Ending};
use crate::shrink::fewest;
use std::fmt::{Debug, Write};
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// What operations are done in: the library beside the model that says what must be true.
pub trait Stage: Sized {
    /// From what it is made.
    type Setup: Clone + Debug;
    /// What can be done.
    type Op: Copy + Debug;
    /// What was done.
    type Tally;
    /// What holds one.
    type Home: Deref<Target = Self>;

    /// A new one; None if its memory is too small.
    fn open(setup: &Self::Setup) -> Option<Self::Home>;
    /// Operations between two verifications: shrinking sets it to one.
    fn verify_every(setup: &mut Self::Setup) -> &mut usize;
    /// Does one operation; the error says what it got wrong.
    fn act(&self, op: Self::Op) -> Result<(), String>;
    /// Compares everything with the model.
    fn compare(&self) -> Result<(), String>;
    /// Takes it down, and looks whether anything is left.
    fn close(home: Self::Home) -> Result<Self::Tally, String>;
}

/// Runs the operations in a new world.
pub fn replay<S: Stage>(setup: &S::Setup, operations: &[S::Op]) -> Result<S::Tally, String> {
    let every = *S::verify_every(&mut setup.clone());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let Some(stage) = S::open(setup) else { return Err("no world in this memory".to_owned()) };
        for (index, &op) in operations.iter().enumerate() {
            stage.act(op).map_err(|why| format!("at {index}, {op:?}: {why}"))?;
            if index % every == 0 {
                stage.compare().map_err(|why| format!("after {index}, {op:?}: {why}"))?;
            }
        }
        S::close(stage).map_err(|why| format!("at the end: {why}"))
    }));
    outcome.unwrap_or_else(|_| Err("the library panicked".into()))
}

/// The same; the error tells also the fewest operations that show it, under the name of `plan`.
pub fn run<S: Stage>(plan: &dyn Debug, setup: &S::Setup, operations: &[S::Op]) -> Result<S::Tally, String> {
    let explain = |why: String| explain::<S>(plan, setup, operations, &why);
    if is_shielded() {
        shielded::<S>(setup, operations).map_err(explain)?;
    }
    replay::<S>(setup, operations).map_err(explain)
}

fn is_shielded() -> bool {
    std::env::var_os("KNOLL_SHIELD").is_some()
}

/// The same in a child process.
fn shielded<S: Stage>(setup: &S::Setup, operations: &[S::Op]) -> Result<(), String> {
    match shield::run(1, |_| u8::from(replay::<S>(setup, operations).is_err()))[0] {
        Ending::Returned(0) => Ok(()),
        Ending::Returned(_) => replay::<S>(setup, operations).map(|_| ()),
        ending => Err(format!("{ending:?}")),
    }
}

fn explain<S: Stage>(plan: &dyn Debug, setup: &S::Setup, operations: &[S::Op], why: &str) -> String {
    let mut text = format!("{plan:?}:\n  {why}\n");
    let mut strict = setup.clone();
    *S::verify_every(&mut strict) = 1;
    let again = |operations: &[S::Op]| match is_shielded() {
        true => shielded::<S>(&strict, operations),
        false => replay::<S>(&strict, operations).map(|_| ()),
    };
    let Some((fewest, why)) = fewest(operations, again) else {
        text += "  (the same operations pass when every one of them is verified)\n";
        return text;
    };
    let _ = writeln!(text, "shrunk to {} operations: {why}", fewest.len());
    for op in fewest.iter().take(80) {
        let _ = writeln!(text, "  Op::{op:?},");
    }
    text
}
