//! The malloc of the process against a model: random calls, alone and in threads.
//!
//! `KNOLL_OPS` sets how many calls the two long runs do together (10^6, and 10^8 overnight), `KNOLL_SEED`
//! where they begin, `KNOLL_LIBRARY` the `libknoll.so` that they are made to, instead of the library linked
//! here. What is compared after each call is in `shadow/src/process/model.rs`.

#![cfg(unix)]

use knoll_shadow::process::claims::Claims;
use knoll_shadow::process::crew::{in_turns, Step};
use knoll_shadow::process::model::{Block, Counts, Model};
use knoll_shadow::process::program::Program;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Whether this build refuses wrong pointers.
const CHECKED: bool = !cfg!(feature = "checks-none");
/// Threads at a time.
const THREADS: usize = 4;

/// One test at a time: that the process heap is quiet is part of what is compared.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

/// Calls of one of the two long runs.
fn calls() -> usize {
    let usual = match (cfg!(miri), cfg!(feature = "checks-full")) {
        (true, _) => 1_000,
        (_, true) => 20_000,
        _ => 1_000_000,
    };
    setting("KNOLL_OPS", usual) / 2
}

fn seed() -> usize {
    setting("KNOLL_SEED", 1)
}

/// How to do a failed run again.
fn again() -> String {
    format!("repeat with KNOLL_SEED={} KNOLL_OPS={}", seed(), calls() * 2)
}

fn said(what: &str, begun: Instant, counts: Counts) {
    let Counts { calls, blocks, resized, refused, handed, verified } = counts;
    println!(
        "{what}, seed {}, {:.1?}: {calls} calls, {blocks} blocks, {resized} resized, {refused} refused, \
         {handed} handed over, {verified} read while they lived",
        seed(),
        begun.elapsed()
    );
}

#[test]
fn a_thread_alone_follows_the_model() {
    let _turn = turn();
    let (begun, calls) = (Instant::now(), calls());
    let claims = Claims::default();
    let mut total = Counts::default();
    // Few blocks and many: pages that fill and empty, and a heap that grows.
    let rounds = if cfg!(miri) { 1 } else { 20 };
    for round in 0..rounds {
        let slots = [40, 400, 3000, 10_000][round % 4].min(calls / 2 + 4);
        let mut model = Model::new(&claims, slots, true, CHECKED);
        let mut program = Program::new((seed() * 1000 + round) as u64);
        for number in 0..calls.div_ceil(rounds) {
            let call = program.next(&model);
            let mut done = model.apply(call);
            if number % 5000 == 4999 {
                done = done.and_then(|()| model.verify()).and_then(|()| model.check());
            }
            if let Err(why) = done {
                panic!("round {round}, call {number}, {call:x?}: {why}\n{}", again());
            }
        }
        let ended = model.verify().and_then(|()| model.finish()).and_then(|()| model.check());
        ended.unwrap_or_else(|why| panic!("at the end of round {round}: {why}\n{}", again()));
        total.add(model.counts);
    }
    said("alone", begun, total);
    assert!(total.calls >= calls);
    assert!(cfg!(miri) || !CHECKED || total.refused > calls / 60);
}

/// Nothing happens at the same time, so every double free is looked for, in whatever thread.
#[test]
fn threads_in_turns_follow_the_model() {
    let _turn = turn();
    let (begun, steps) = (Instant::now(), calls().div_ceil(20).max(400));
    let claims = Claims::default();
    let mut model = Model::new(&claims, if cfg!(miri) { 40 } else { 1000 }, true, CHECKED);
    let mut program = Program::new(seed() as u64);
    let mut left = steps;
    let done = in_turns(&mut model, THREADS, |model| {
        left = left.checked_sub(1)?;
        let thread = program.random().below(THREADS) as u8;
        Some(match program.random().below(1000) {
            0..=4 => Step::End(thread),
            5 => Step::Verify,
            _ => Step::By(thread, program.next(model)),
        })
    });
    let done = done.and_then(|()| model.verify()).and_then(|()| model.finish()).and_then(|()| model.check());
    done.unwrap_or_else(|why| panic!("{why}\n{}", again()));
    said("in turns", begun, model.counts);
    assert!(model.counts.calls > steps / 2);
}

/// What threads give each other: a queue for each, and what those that ended have left.
struct Exchange {
    queues: [Mutex<VecDeque<Block>>; THREADS],
    left: Mutex<Vec<Block>>,
}

impl Exchange {
    fn queue(&self, thread: usize) -> MutexGuard<'_, VecDeque<Block>> {
        self.queues[thread % THREADS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Vec<Block>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's life: it begins with blocks of the dead, gives and takes, and leaves blocks behind.
fn live(exchange: &Exchange, claims: &Claims, seed: u64, calls: usize) -> Result<Counts, String> {
    let mut program = Program::new(seed);
    let slots = [30, 300, 1500][program.random().below(3)];
    let mut model = Model::new(claims, slots, false, CHECKED);
    for slot in 0..slots / 2 {
        let Some(block) = exchange.left().pop() else { break };
        model.put(slot, block)?;
    }
    for number in 0..calls {
        let call = program.next(&model);
        model.apply(call).map_err(|why| format!("call {number}, {call:x?}: {why}"))?;
        let random = program.random();
        let (slot, peer) = (random.below(slots), random.below(THREADS));
        match random.below(12) {
            0 => {
                if let Some(block) = model.take(slot) {
                    exchange.queue(peer).push_back(block);
                }
            }
            1 => {
                let block = exchange.queue(peer).pop_front();
                if let Some(block) = block {
                    model.put(slot, block)?;
                }
            }
            // As much of the queue as there is, as a consumer does that only frees.
            2 if random.one_in(40) => {
                let blocks: Vec<Block> = exchange.queue(peer).drain(..).collect();
                for block in blocks {
                    model.counts.handed += 1;
                    model.free(block)?;
                }
            }
            _ => {}
        }
    }
    model.verify()?;
    for slot in 0..slots {
        if program.random().one_in(2) {
            exchange.left().extend(model.take(slot));
        }
    }
    model.finish()?;
    Ok(model.counts)
}

#[test]
fn threads_follow_the_model() {
    let _turn = turn();
    let (begun, calls) = (Instant::now(), calls());
    let claims = Claims::default();
    let exchange = Exchange { queues: Default::default(), left: Mutex::default() };
    let mut total = Counts::default();
    let rounds = if cfg!(miri) { 2 } else { (calls / 20_000).max(4) };
    for round in 0..rounds {
        let share = calls.div_ceil(rounds * THREADS);
        std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread| {
                let seed = ((seed() * 1000 + round) * THREADS + thread) as u64;
                let (exchange, claims) = (&exchange, &claims);
                scope.spawn(move || live(exchange, claims, seed, share))
            });
            for thread in threads {
                match thread.join() {
                    Ok(Ok(counts)) => total.add(counts),
                    Ok(Err(why)) => panic!("round {round}: {why}\n{}", again()),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        // Nobody is in the middle of a call.
        let quiet = Model::new(&claims, 4, false, CHECKED);
        quiet.check().unwrap_or_else(|why| panic!("after round {round}: {why}\n{}", again()));
    }
    let mut last = Model::new(&claims, 4, true, CHECKED);
    let mut rest: Vec<Block> = exchange.left().drain(..).collect();
    (0..THREADS).for_each(|thread| rest.extend(exchange.queue(thread).drain(..)));
    let ended = rest.into_iter().try_for_each(|block| last.free(block)).and_then(|()| last.check());
    ended.unwrap_or_else(|why| panic!("at the end: {why}\n{}", again()));
    said("in threads", begun, total);
    assert!(total.calls >= calls);
    assert!(cfg!(miri) || total.handed > calls / 30);
}
