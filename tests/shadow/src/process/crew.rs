//! One sequence of calls made by several threads in turns: each call in the thread that is named for it, the
//! next one when it has returned.
//!
//! Nothing runs at the same time, so a sequence repeats exactly; and yet blocks are freed by threads that did
//! not allocate them, threads end with blocks alive, and new ones find what they left.

use super::model::{Call, Model};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

/// What happens next.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Step {
    /// A thread makes a call.
    By(u8, Call),
    /// A thread ends, and a new one has its number.
    End(u8),
    /// All live blocks are read through, and the library checks its records.
    Verify,
}

/// One thread: where its calls go and its answers come from.
struct Member<'scope> {
    calls: Sender<Call>,
    answers: Receiver<Result<(), String>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Member<'scope> {
    fn hired<'env>(scope: &'scope Scope<'scope, 'env>, model: &'env Mutex<&mut Model>) -> Member<'scope> {
        let (calls, inbox) = channel();
        let (outbox, answers) = channel();
        let thread = scope.spawn(move || {
            for call in inbox {
                let done = model.lock().unwrap_or_else(PoisonError::into_inner).apply(call);
                if outbox.send(done).is_err() {
                    return;
                }
            }
        });
        Member { calls, answers, thread }
    }

    fn does(&self, call: Call) -> Result<(), String> {
        self.calls.send(call).map_err(|_| "the thread has ended".to_owned())?;
        self.answers.recv().unwrap_or_else(|_| Err("the thread panicked".to_owned()))
    }

    /// Waits for the thread's very end, where the library's destructor runs.
    fn ends(self) -> Result<(), String> {
        drop((self.calls, self.answers));
        self.thread.join().map_err(|_| "the thread panicked".to_owned())
    }
}

/// Does the steps that `next` names until it names none; `threads` of them are there at each time.
pub fn in_turns(model: &mut Model, threads: usize, mut next: impl FnMut(&Model) -> Option<Step>) -> Result<(), String> {
    let model = Mutex::new(model);
    std::thread::scope(|scope| {
        let mut crew: Vec<Member> = (0..threads).map(|_| Member::hired(scope, &model)).collect();
        let mut number = 0;
        loop {
            let step = next(&model.lock().unwrap_or_else(PoisonError::into_inner));
            let Some(step) = step else { break };
            let done = match step {
                Step::By(thread, call) => crew[usize::from(thread) % threads].does(call),
                Step::End(thread) => {
                    let new = Member::hired(scope, &model);
                    std::mem::replace(&mut crew[usize::from(thread) % threads], new).ends()
                }
                Step::Verify => {
                    let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
                    model.verify().and_then(|()| model.check())
                }
            };
            done.map_err(|why| format!("step {number}, {step:x?}: {why}"))?;
            number += 1;
        }
        crew.into_iter().try_for_each(Member::ends)
    })
}
