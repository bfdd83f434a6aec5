//! Instances by type: how many counted cells there are, in all heaps and threads.
//!
//! Guarantees
//! * Reads only, allocates nothing; the states of other threads are read while those go on, by atomic
//!   loads. So the lines may be of moments that lie apart; a type has one line at most, and the total is
//!   the sum of the lines.
//! * Counted are: on an operating system the states of all threads over the process heap (also of threads
//!   that ended and left cells), the shared cells, and the heap that the calling thread made its own;
//!   elsewhere the default heap.
//!
//! ```text
//!   [Heap] Node: #25; bytes: 1000
//!   [Heap] Leaf: #12; bytes: 192
//!   [Heap] total: #37; bytes: 1192
//! ```
//! Cost: O(types with cells x types x threads); types of a heap of the thread's own count squared. 5 KB
//! of stack on an operating system, elsewhere 200 bytes.
//!
//! Source: Nim's dumpNumberOfInstances.

#[cfg(unix)]
use core::sync::atomic::Ordering::Relaxed;

use super::order::largest;
#[cfg(not(unix))]
use super::order::Descending as Told;
#[cfg(unix)]
use super::order::Told;
use super::text::{name, number, Write};
use crate::counted::{Counted, KnType};
#[cfg(unix)]
use crate::hosted::collectors;
use crate::port;

/// A type's cells.
struct Line {
    cells: usize,
    bytes: usize,
    descriptor: *const KnType,
}

impl Line {
    const NONE: Line = Line { cells: 0, bytes: 0, descriptor: core::ptr::null() };

    fn add(&mut self, (cells, bytes): (usize, usize)) {
        self.cells = self.cells.wrapping_add(cells);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// Where cells are counted. Types are numbered: those of the process heap, then those of `own`.
struct Everywhere {
    process_types: u32,
    /// The state of a heap that is not the process heap; null: none.
    own: *mut Counted,
    own_types: u32,
}

impl Everywhere {
    fn new() -> Everywhere {
        #[cfg(unix)]
        let own = if port::thread_heap().is_null() { core::ptr::null_mut() } else { port::counted() };
        #[cfg(not(unix))]
        let own = port::counted();
        let own = own.cast::<Counted>();
        // SAFETY: null or the calling thread's state.
        let own_types = if own.is_null() { 0 } else { unsafe { Counted::known_types(own) - 1 } };
        #[cfg(unix)]
        let process_types = collectors::types();
        #[cfg(not(unix))]
        let process_types = 0;
        Everywhere { process_types, own, own_types }
    }

    fn numbers(&self) -> u32 {
        self.process_types + self.own_types
    }

    /// The line of a type.
    fn line(&self, number: u32) -> Line {
        if number < self.process_types {
            return self.process_line(number);
        }
        // SAFETY: a type of the calling thread's state.
        unsafe {
            let id = number - self.process_types + 1;
            let mut line = Line { descriptor: Counted::descriptor(self.own, id), ..Line::NONE };
            line.add(Counted::tally(self.own, id));
            if line.cells != 0 && self.is_of_process(line.descriptor) {
                return Line::NONE;
            }
            line
        }
    }

    /// The line of a type of the process heap, with its cells in a heap of the thread's own.
    #[cfg(unix)]
    fn process_line(&self, index: u32) -> Line {
        let mut line = Line { descriptor: collectors::type_at(index).cast(), ..Line::NONE };
        line.add((collectors::shared_count(index).load(Relaxed), collectors::shared_bytes(index).load(Relaxed)));
        // SAFETY: states in the list live while they are visited; the calling thread's own lives.
        unsafe {
            collectors::each(&mut |state| {
                let state = state.cast::<Counted>();
                if index + 1 < Counted::known_types(state) {
                    line.add(Counted::tally(state, index + 1));
                }
            });
            for id in 1..self.own_types + 1 {
                if Counted::descriptor(self.own, id) == line.descriptor {
                    line.add(Counted::tally(self.own, id));
                }
            }
        }
        line
    }

    #[cfg(unix)]
    fn is_of_process(&self, descriptor: *const KnType) -> bool {
        (0..self.process_types).any(|index| collectors::type_at(index).cast() == descriptor)
    }

    #[cfg(not(unix))]
    fn process_line(&self, _index: u32) -> Line {
        Line::NONE
    }

    #[cfg(not(unix))]
    fn is_of_process(&self, _descriptor: *const KnType) -> bool {
        false
    }
}

/// Writes a line for each type that has cells, by bytes descending, and a line with the total.
pub(crate) fn dump_instances(write: Write<'_>) {
    let everywhere = Everywhere::new();
    let mut told = Told::default();
    let mut total = Line::NONE;
    loop {
        let lines = (0..everywhere.numbers()).map(|number| (number, everywhere.line(number).bytes));
        let Some((number, bytes)) = largest(lines, |number, bytes| bytes == 0 || told.told(number, bytes)) else {
            break;
        };
        told.tell(number, bytes);
        let line = everywhere.line(number);
        total.add((line.cells, line.bytes));
        // SAFETY: descriptors are the program's, who keeps them.
        let going = write(b"[Heap] ") && unsafe { name((*line.descriptor).name, write) } && numbers(&line, write);
        if !going {
            return;
        }
    }
    let _ = write(b"[Heap] total") && numbers(&total, write);
}

/// The end of a line.
fn numbers(line: &Line, write: Write<'_>) -> bool {
    write(b": #")
        && number(line.cells, 10, write)
        && write(b"; bytes: ")
        && number(line.bytes, 10, write)
        && write(b"\n")
}
