//! The comparisons: of requests with the room there was, of reports, of the whole heap with the model.

use super::World;
use crate::heap::{Heap, KnTracedShort, Run, KN_FINALISE};
use crate::model::WORD;

/// What was free before a request.
pub(super) struct Before {
    runs: Vec<Run>,
    unswept: usize,
    /// A collection is due at the request.
    due: bool,
}

impl<H: Heap> World<H> {
    pub(super) fn unswept(&self) -> usize {
        match self.heap().numbers() {
            Ok(numbers) => numbers.unswept,
            Err(why) => {
                self.complain(|| why);
                0
            }
        }
    }

    /// The walk, in pieces: one for each area.
    fn runs(&self) -> Vec<Run> {
        self.heap().walk().unwrap_or_else(|why| {
            self.complain(|| why);
            Vec::new()
        })
    }

    /// Free bytes from an address on, if that can be told.
    pub(super) fn free_behind(&self, end: usize) -> Option<usize> {
        if self.unswept() != 0 {
            return None;
        }
        let areas = self.heap().memories();
        let area = |at: usize| areas.iter().position(|(start, bytes, _)| at > *start && at <= start + bytes);
        let behind = self.runs().into_iter().find(|run| run.at == end && area(end) == area(run.at + run.size));
        Some(behind.map_or(0, |run| if run.used { 0 } else { run.size }))
    }

    pub(super) fn room_before(&self) -> Before {
        let threshold = self.threshold.get();
        let due = self.is_stressed() || threshold != 0 && self.since.get() >= threshold;
        Before { runs: self.runs(), unswept: self.unswept(), due }
    }

    /// Free runs that have room for a request: the area's number, the first and the last place for it.
    fn places(&self, runs: &[Run], size: usize, flags: u32) -> Vec<(usize, usize, usize)> {
        let mut places = Vec::new();
        for run in runs.iter().filter(|run| !run.used) {
            let Some((area, granule)) = self.home(run.at, run.size) else { continue };
            let needed = self.rounded(size, granule, flags);
            if run.size >= needed {
                places.push((area, run.at, run.at + run.size - needed));
            }
        }
        places
    }

    /// Whether a request was met, or refused, as it must be; at the top or the bottom, if that is known.
    pub(super) fn judge_request(&self, at: *mut u8, size: usize, flags: u32, before: &Before, side: Option<bool>) {
        let (asked, told) = (self.asked.get(), self.told.get());
        let places = self.places(&before.runs, size, flags);
        self.ensure(asked <= 1 && told <= 1, || format!("{asked} collections, {told} reports for one request"));
        self.ensure(!before.due || asked == 1, || "a collection is due, and was not asked for".into());
        self.ensure(before.due || asked == 0 || places.is_empty() || before.unswept != 0, || {
            format!("a collection for {size} bytes, and there is room")
        });
        if at.is_null() {
            self.ensure(asked == 1 && told == 1, || {
                format!("{size} bytes are refused with {asked} collections and {told} reports")
            });
            let now = self.places(&self.runs(), size, flags);
            self.ensure(now.is_empty(), || format!("{size} bytes are refused, and there is room at {:#x}", now[0].1));
            self.tally.borrow_mut().refusals += 1;
            return;
        }
        self.ensure(told == 0, || "a report, and there is a block".into());
        if asked > 0 || before.unswept > 0 {
            return;
        }
        // Nothing has moved meanwhile: the place can be told but for a word's worth of granules on either side.
        let Some((area, granule)) = self.home(at.addr(), 1) else { return };
        let slack = 2 * 8 * WORD * granule;
        let Some(&(first, low, _)) = places.first() else {
            return self.complain(|| format!("{size} bytes at {at:p}, where there was no room"));
        };
        self.ensure(area == first, || format!("{size} bytes in area {area}, and there is room in area {first}"));
        let high = places.iter().filter(|place| place.0 == first).map(|place| place.2).max().unwrap_or(low);
        match side {
            Some(false) => {
                self.ensure(at.addr() <= low + slack, || format!("a lasting block at {at:p}, could be at {low:#x}"));
            }
            Some(true) => {
                self.ensure(at.addr() + slack >= high, || {
                    format!("a transient block at {at:p}, could be at {high:#x}")
                });
            }
            None => {}
        }
    }

    /// Whether a report of short memory is right.
    pub(super) fn judge_report(&self, report: &KnTracedShort) {
        let (size, flags) = self.request.get();
        let runs = self.runs();
        let free = |run: &&Run| !run.used;
        let sum: usize = runs.iter().filter(free).map(|run| run.size).sum();
        let largest = runs.iter().filter(free).map(|run| run.size).max().unwrap_or(0);
        self.ensure((report.request, report.free, report.largest) == (size, sum, largest), || {
            format!(
                "the report tells {} {} {}, not {size} {sum} {largest}",
                report.request, report.free, report.largest
            )
        });
        let mask = KN_FINALISE | crate::heap::KN_NO_SCAN;
        self.ensure(report.flags & mask == flags & mask, || format!("it tells flags {}, not {flags}", report.flags));
        // Used runs between free ones, the worst first.
        let mut harms = Vec::new();
        let areas = self.heap().memories();
        for (start, bytes, _) in areas {
            let inside: Vec<Run> =
                runs.iter().copied().filter(|run| run.at >= start && run.at < start + bytes).collect();
            let mut last: Option<Run> = None;
            let mut pinned = 0;
            let mut pin = 0;
            for run in inside {
                if run.used {
                    pin = if pinned == 0 { run.at } else { pin };
                    pinned += run.size;
                    continue;
                }
                if let (Some(last), true) = (last, pinned > 0) {
                    harms.push((last.size.min(run.size), pin, pinned));
                }
                last = Some(run);
                pinned = 0;
            }
        }
        harms.sort_unstable_by(|one, other| other.cmp(one));
        let told = &report.pins[..report.pin_count as usize];
        self.ensure(told.len() == harms.len().min(report.pins.len()), || {
            format!("{} pins are told of {}", told.len(), harms.len())
        });
        for (place, pin) in told.iter().enumerate() {
            let known = harms.contains(&(pin.harm, pin.start.addr(), pin.size));
            self.ensure(known && harms.get(place).is_some_and(|(harm, ..)| *harm == pin.harm), || {
                format!(
                    "pin {place} is {:#x}, {} bytes, harm {}; they are {harms:x?}",
                    pin.start.addr(),
                    pin.size,
                    pin.harm
                )
            });
        }
    }

    /// Compares everything.
    pub fn verify(&self) -> Result<(), String> {
        self.tally.borrow_mut().verifications += 1;
        self.heap().check()?;
        let numbers = self.heap().numbers()?;
        let runs = self.runs();
        let model = self.model.borrow();
        model.blocks.values().try_for_each(|block| block.verify())?;
        let areas = self.heap().memories();
        self.compare_runs(&runs, &areas)?;

        // Every block of the model is in the walk; others are only there while the sweep has to come by.
        let used: Vec<Run> = runs.iter().copied().filter(|run| run.used).collect();
        let swept = numbers.unswept == 0;
        for (at, block) in &model.blocks {
            if !used.contains(&Run { at: *at, size: block.size(), used: true }) {
                return Err(format!("the walk does not tell of the block at {at:#x}"));
            }
        }
        if let (true, Some(run)) = (swept, used.iter().find(|run| !model.blocks.contains_key(&run.at))) {
            return Err(format!("the walk tells of {run:x?}, which is dead"));
        }

        let sum = |used: bool| runs.iter().filter(|run| run.used == used).map(|run| run.size).sum::<usize>();
        let largest = |used: bool| runs.iter().filter(|run| run.used == used).map(|run| run.size).max().unwrap_or(0);
        let of_model: usize = model.blocks.values().map(|block| block.size()).sum();
        let of_granules = |count: usize| {
            let is = |(at, block): &(&usize, &crate::model::Block)| {
                self.home(**at, block.size()).is_some_and(|(_, granule)| block.size() == count * granule)
            };
            model.blocks.iter().filter(is).count()
        };
        let wanted = [
            ("total", numbers.total, sum(true) + sum(false)),
            ("used", numbers.used, sum(true)),
            ("free", numbers.free, sum(false)),
            ("largest free", numbers.largest_free, largest(false)),
            ("collections", numbers.collections, self.collections.get()),
            ("areas", numbers.areas, areas.len()),
            ("scopes", numbers.scopes, self.scopes.get()),
            ("finalisers", numbers.finalisers, model.blocks.values().filter(|block| block.is_finalised()).count()),
            ("since the last collection", numbers.since, self.since.get()),
        ];
        let exact = [
            ("bytes of the model's", numbers.used, of_model),
            ("blocks", numbers.blocks, model.blocks.len()),
            ("of one granule", numbers.one_granule, of_granules(1)),
            ("of two granules", numbers.two_granules, of_granules(2)),
            ("largest block", numbers.largest_block, largest(true)),
        ];
        for (what, found, expected) in wanted.into_iter().chain(exact.into_iter().filter(|_| swept)) {
            if found != expected {
                return Err(format!("statistics: {what}: {found}, not {expected}"));
            }
        }
        if numbers.used < of_model {
            return Err(format!("statistics: used: {} of at least {of_model}", numbers.used));
        }
        for (at, block) in &model.blocks {
            let found = (self.heap().size(block.at.addr()), self.heap().flags(block.at.addr()));
            if found != (block.size(), block.flags) {
                return Err(format!("{at:#x}: size and flags {found:?}, not {:?}", (block.size(), block.flags)));
            }
            if self.scopes.get() == 0 && self.heap().is_transient(block.at.addr()) {
                return Err(format!("{at:#x} is transient, and no scope is open"));
            }
        }
        drop(model);
        self.wrong.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Runs follow each other without a gap, and free ones are as long as they can be.
    fn compare_runs(&self, runs: &[Run], areas: &[(usize, usize, usize)]) -> Result<(), String> {
        let area_of = |run: &Run| areas.iter().position(|(start, bytes, _)| run.at >= *start && run.at < start + bytes);
        for pair in runs.windows(2) {
            if area_of(&pair[0]) == area_of(&pair[1]) {
                if pair[0].at + pair[0].size != pair[1].at {
                    return Err(format!("the walk tells of {:x?} and then of {:x?}", pair[0], pair[1]));
                }
                if !pair[0].used && !pair[1].used {
                    return Err(format!("the walk tells of a free run in two pieces, at {:#x}", pair[1].at));
                }
            }
        }
        for (number, (start, bytes, granule)) in areas.iter().enumerate() {
            let last = runs.iter().rev().find(|run| area_of(run) == Some(number));
            let Some(last) = last else { return Err(format!("the walk tells nothing of area {number}")) };
            let end = last.at + last.size;
            // The granules end where the memory does, but for one and the bits of a word's worth of them.
            if end > start + bytes || start + bytes - end >= 2 * granule + 3 * WORD {
                return Err(format!("area {number} ends at {end:#x}, its memory at {:#x}", start + bytes));
            }
        }
        Ok(())
    }
}
