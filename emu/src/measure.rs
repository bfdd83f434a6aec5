//! Counting instructions: of calls of chosen functions, between marks, of all the run.
//!
//! Guarantees
//! - A call's count is every instruction from the callee's first to the last before the return
//!   address, callees included, those skipped by IT included. Nested and recursive calls each
//!   count whole, so the caller's count contains the callee's.
//! - A jump back to a function's first instruction is a loop, not a call: a call has a return
//!   address or a stack pointer of its own.
//! - What an excluded function executes is taken out of every measurement around it and shown
//!   apart.
//! - A call that never returns (longjmp past it, exit) is counted as abandoned, not measured.
//!
//! ```text
//!   total ────────────▶ counts blocks as they start
//!                 call: total before the callee's first block          (start)
//!                 ┌──────────── frame: symbol, return address, SP ────┐
//!   caller ── bl ─▶ callee … bl memcpy ─▶ (excluded) … bx lr ─▶ return address
//!                                                       total before this block (end)
//!   count = (end - start) - (excluded at end - excluded at start)
//! ```
//!
//! Costs: nothing for blocks that are neither an entry nor a return address; a few register
//! reads for those that are.

use crate::statistics::{Counts, Summary};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a frame on the shadow stack belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The measured symbol with this index.
    Symbol(usize),
    /// The excluded symbol with this index.
    Excluded(usize),
    /// A `KNOLL_MARK_CALL` with this id.
    Call(u32),
}

struct Frame {
    subject: Subject,
    return_to: u32,
    stack: u32,
    start: u64,
    excluded: u64,
    lowest: u32,
    arguments: [u32; 3],
}

/// A `KNOLL_MARK_BEGIN` that no END has closed yet.
struct OpenMark {
    id: u32,
    start: u64,
    excluded: u64,
}

/// The call that took most instructions, for finding out why.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct WorstCall {
    /// Which call it was, the first being 1.
    pub call: u64,
    /// r0, r1 and r2 when it was made.
    pub arguments: [u32; 3],
}

/// What was found about one measured thing.
#[derive(Default, Clone)]
pub struct Measured {
    counts: Counts,
    worst: u64,
    worst_call: WorstCall,
    calls: u64,
    excluded: u64,
    stack: u32,
    abandoned: u64,
}

/// A measurement, ready to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Instructions of each call or marked stretch, without the excluded ones.
    #[serde(flatten)]
    pub instructions: Summary,
    /// Instructions in excluded functions meanwhile, in all.
    pub excluded: u64,
    /// Deepest stack below the caller's, in bytes (0 unless asked for).
    pub stack: u32,
    /// Calls that never returned.
    pub abandoned: u64,
    /// The worst call.
    pub worst_call: WorstCall,
}

impl Measured {
    fn add(&mut self, instructions: u64, excluded: u64, stack: u32, arguments: [u32; 3]) {
        self.calls += 1;
        self.counts.add(instructions);
        self.excluded += excluded;
        self.stack = self.stack.max(stack);
        if self.calls == 1 || instructions > self.worst {
            self.worst = instructions;
            self.worst_call = WorstCall { call: self.calls, arguments };
        }
    }

    /// The figures so far.
    pub fn measurement(&self) -> Measurement {
        Measurement {
            instructions: self.counts.summary(),
            excluded: self.excluded,
            stack: self.stack,
            abandoned: self.abandoned,
            worst_call: self.worst_call,
        }
    }
}

/// A call that the journal noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The innermost mark that was open when it returned.
    pub mark: u32,
    /// The measured or excluded symbol.
    pub subject: Subject,
    /// r0, r1 and r2 when it was made.
    pub arguments: [u32; 3],
    /// Its instructions, callees included; excluded ones only in an excluded symbol's.
    pub instructions: u64,
}

/// All measuring of one run.
#[derive(Default)]
pub struct Meter {
    /// Each call of a measured or excluded symbol that returned while a mark was open, if that is asked for.
    pub journal: Option<Vec<Noted>>,
    frames: Vec<Frame>,
    open: Vec<OpenMark>,
    /// By index of measured symbol.
    pub symbols: Vec<Measured>,
    /// By index of excluded symbol.
    pub excluded_symbols: Vec<Measured>,
    /// By id of mark.
    pub marks: BTreeMap<u32, Measured>,
    /// Instructions in excluded functions so far.
    excluded: u64,
    /// How many frames are of excluded functions: only the outermost adds to `excluded`.
    excluded_depth: usize,
    /// `KNOLL_MARK_END`s without a BEGIN.
    pub unmatched_ends: u64,
    /// Lowest SP of the run.
    pub lowest: u32,
}

impl Meter {
    /// A meter for so many measured and excluded symbols.
    pub fn new(symbols: usize, excluded: usize) -> Meter {
        Meter {
            symbols: vec![Measured::default(); symbols],
            excluded_symbols: vec![Measured::default(); excluded],
            lowest: u32::MAX,
            ..Meter::default()
        }
    }

    /// A block starts at the entry of `subject`, reached by a call or by a jump. `before` is the
    /// total before it. Returns whether this is a new call and not a jump back to the entry.
    pub fn enter(
        &mut self,
        subject: Subject,
        by_call: bool,
        before: u64,
        return_to: u32,
        stack: u32,
        arguments: [u32; 3],
    ) -> bool {
        let same = |frame: &Frame| frame.subject == subject && frame.return_to == return_to && frame.stack == stack;
        if let Some(at) = self.frames.iter().position(same) {
            if !by_call {
                return false;
            }
            // The same call again, though the last one has not returned: someone jumped out of it.
            while self.frames.len() > at {
                if let Some(frame) = self.frames.pop() {
                    self.abandon(&frame);
                }
            }
        }
        self.abandon_below(stack);
        if let Subject::Excluded(_) = subject {
            self.excluded_depth += 1;
        }
        self.frames.push(Frame {
            subject,
            return_to,
            stack,
            start: before,
            excluded: self.excluded,
            lowest: stack,
            arguments,
        });
        true
    }

    /// A block starts at an address to which some open call returns.
    pub fn arrive(&mut self, address: u32, before: u64, stack: u32) {
        let returns = |frame: &Frame| frame.return_to == address && frame.stack == stack;
        let Some(first) = self.frames.iter().position(returns) else {
            return;
        };
        while self.frames.len() > first {
            let Some(frame) = self.frames.pop() else {
                return;
            };
            if returns(&frame) {
                self.close(&frame, before);
            } else {
                self.abandon(&frame);
            }
            if let Some(caller) = self.frames.last_mut() {
                caller.lowest = caller.lowest.min(frame.lowest);
            }
        }
    }

    fn close(&mut self, frame: &Frame, before: u64) {
        let whole = before - frame.start;
        let excluded = self.excluded - frame.excluded;
        let stack = frame.stack - frame.lowest;
        match frame.subject {
            Subject::Symbol(index) => {
                self.symbols[index].add(whole - excluded, excluded, stack, frame.arguments);
                self.note(frame, whole - excluded);
            }
            Subject::Call(id) => {
                self.marks.entry(id).or_default().add(whole - excluded, excluded, stack, frame.arguments)
            }
            Subject::Excluded(index) => {
                self.excluded_symbols[index].add(whole, 0, stack, frame.arguments);
                self.note(frame, whole);
                self.excluded_depth -= 1;
                if self.excluded_depth == 0 {
                    self.excluded += whole;
                }
            }
        }
    }

    fn note(&mut self, frame: &Frame, instructions: u64) {
        if let (Some(journal), Some(mark)) = (&mut self.journal, self.open.last()) {
            let (subject, arguments) = (frame.subject, frame.arguments);
            journal.push(Noted { mark: mark.id, subject, arguments, instructions });
        }
    }

    fn abandon(&mut self, frame: &Frame) {
        match frame.subject {
            Subject::Symbol(index) => self.symbols[index].abandoned += 1,
            Subject::Call(id) => self.marks.entry(id).or_default().abandoned += 1,
            Subject::Excluded(index) => {
                self.excluded_symbols[index].abandoned += 1;
                self.excluded_depth -= 1;
            }
        }
    }

    /// Drops frames whose stack is gone: someone jumped out past them.
    fn abandon_below(&mut self, stack: u32) {
        while self.frames.last().is_some_and(|frame| frame.stack < stack) {
            if let Some(frame) = self.frames.pop() {
                self.abandon(&frame);
            }
        }
    }

    /// SP was seen this low.
    #[inline]
    pub fn stack_at(&mut self, stack: u32) {
        self.lowest = self.lowest.min(stack);
        if let Some(frame) = self.frames.last_mut() {
            frame.lowest = frame.lowest.min(stack);
        }
    }

    /// Whether a mark is open.
    pub fn is_marking(&self) -> bool {
        !self.open.is_empty()
    }

    /// `KNOLL_MARK_BEGIN`: counting starts at this total.
    pub fn begin(&mut self, id: u32, total: u64) {
        self.open.push(OpenMark { id, start: total, excluded: self.excluded });
    }

    /// `KNOLL_MARK_END`: counting stopped at this total.
    pub fn end(&mut self, total: u64) {
        let Some(mark) = self.open.pop() else {
            self.unmatched_ends += 1;
            return;
        };
        let excluded = self.excluded - mark.excluded;
        let measured = self.marks.entry(mark.id).or_default();
        measured.add(total - mark.start - excluded, excluded, 0, [0; 3]);
    }

    /// The run is over, or goes on elsewhere: what is still open never returned.
    pub fn abandon_all(&mut self) {
        while let Some(frame) = self.frames.pop() {
            self.abandon(&frame);
        }
        for mark in std::mem::take(&mut self.open) {
            self.marks.entry(mark.id).or_default().abandoned += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Subject = Subject::Symbol(0);
    const SECOND: Subject = Subject::Symbol(1);
    const COPY: Subject = Subject::Excluded(0);

    fn call(meter: &mut Meter, subject: Subject, before: u64, return_to: u32, stack: u32) -> bool {
        meter.enter(subject, true, before, return_to, stack, [0; 3])
    }

    #[test]
    fn nested_calls_count_whole() {
        let mut meter = Meter::new(2, 1);
        assert!(call(&mut meter, FIRST, 100, 0x10, 1000));
        assert!(call(&mut meter, SECOND, 110, 0x20, 980));
        meter.arrive(0x20, 130, 980);
        meter.arrive(0x10, 150, 1000);
        assert_eq!(meter.symbols[0].measurement().instructions.total, 50);
        assert_eq!(meter.symbols[1].measurement().instructions.total, 20);
    }

    #[test]
    fn a_tail_call_returns_for_both() {
        let mut meter = Meter::new(2, 1);
        call(&mut meter, FIRST, 0, 0x10, 1000);
        assert!(meter.enter(SECOND, false, 5, 0x10, 1000, [0; 3]));
        meter.arrive(0x10, 12, 1000);
        assert_eq!(meter.symbols[0].measurement().instructions.total, 12);
        assert_eq!(meter.symbols[1].measurement().instructions.total, 7);
    }

    #[test]
    fn a_jump_to_the_entry_is_a_loop_and_a_second_call_is_not() {
        let mut meter = Meter::new(1, 0);
        call(&mut meter, FIRST, 0, 0x10, 1000);
        assert!(!meter.enter(FIRST, false, 5, 0x10, 1000, [0; 3]));
        assert!(call(&mut meter, FIRST, 20, 0x10, 1000), "the first one was jumped out of");
        meter.arrive(0x10, 30, 1000);
        let found = meter.symbols[0].measurement();
        assert_eq!((found.instructions.count, found.instructions.total, found.abandoned), (1, 10, 1));
    }

    #[test]
    fn the_same_address_deeper_is_no_return() {
        let mut meter = Meter::new(1, 0);
        call(&mut meter, FIRST, 0, 0x10, 1000);
        meter.arrive(0x10, 10, 900);
        assert_eq!(meter.symbols[0].measurement().instructions.count, 0);
        meter.abandon_all();
        assert_eq!(meter.symbols[0].measurement().abandoned, 1);
    }

    #[test]
    fn nested_excluded_functions_are_taken_out_once() {
        let mut meter = Meter::new(1, 1);
        call(&mut meter, FIRST, 0, 0x10, 1000);
        call(&mut meter, COPY, 10, 0x20, 990);
        call(&mut meter, COPY, 15, 0x30, 980);
        meter.arrive(0x30, 25, 980);
        meter.arrive(0x20, 40, 990);
        meter.arrive(0x10, 50, 1000);
        let found = meter.symbols[0].measurement();
        assert_eq!((found.instructions.total, found.excluded), (20, 30));
    }

    #[test]
    fn the_deepest_stack_of_a_callee_is_the_callers_too() {
        let mut meter = Meter::new(2, 0);
        call(&mut meter, FIRST, 0, 0x10, 1000);
        call(&mut meter, SECOND, 5, 0x20, 980);
        meter.stack_at(900);
        meter.arrive(0x20, 10, 980);
        meter.stack_at(970);
        meter.arrive(0x10, 12, 1000);
        assert_eq!(meter.symbols[0].measurement().stack, 100);
        assert_eq!(meter.symbols[1].measurement().stack, 80);
        assert_eq!(meter.lowest, 900);
    }

    #[test]
    fn marks_nest_and_an_end_too_many_is_noticed() {
        let mut meter = Meter::new(0, 0);
        meter.begin(1, 10);
        meter.begin(2, 20);
        meter.end(25);
        meter.end(40);
        meter.end(50);
        meter.begin(3, 60);
        meter.abandon_all();
        assert_eq!(meter.marks[&1].measurement().instructions.total, 30);
        assert_eq!(meter.marks[&2].measurement().instructions.total, 5);
        assert_eq!(meter.marks[&3].measurement().abandoned, 1);
        assert_eq!(meter.unmatched_ends, 1);
    }
}
