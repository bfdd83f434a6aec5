//! What there is, as the program knows it: arenas and what lies in them, blocks, cells, references.
//!
//! A node is a cell, inside or outside. A cell outside has as many references as the program holds and
//! as fields of cells that are not dead refer to it, wherever those lie; a cell inside has none, it lives
//! as long as its place. What a collection must leave is found by the naivest way: of the cells outside,
//! those that are reached from the program's references or from a cell inside an arena.
//!
//! An *escape* is a field that refers into an arena from outside: from a cell outside all arenas, from a
//! scope entered earlier, or from or to a free-standing arena that is not its own.

use crate::kinds::KINDS;
use crate::shapes::Shape;
use knoll::arena::{KnArena, KnArenaMark};
use std::collections::BTreeMap;

/// A node's number.
pub type Id = usize;
/// An arena's number; never used again.
pub type Aid = usize;

/// The program's variables.
pub const VARS: usize = 16;
/// Slots of the named root range.
pub const ROOTS: usize = 6;
/// Names of blocks.
pub const SLOTS: usize = 32;
/// Free-standing arenas at a time.
pub const STANDING: usize = 3;
/// Weak slots.
pub const WEAKS: usize = 8;

/// Where a cell lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Counted, in no arena.
    Outside,
    /// In this arena.
    In(Aid),
}

/// A cell.
#[derive(Debug)]
pub struct Node {
    /// The payload.
    pub at: *mut u8,
    /// The number of its kind.
    pub kind: usize,
    /// Where it lies.
    pub home: Home,
    /// Array elements.
    pub length: usize,
    /// What its fields refer to.
    pub fields: Vec<Option<Id>>,
    /// References held by variables, roots, tentative links.
    pub external: u32,
    /// References from fields of cells that are not dead.
    pub incoming: u32,
    /// Its memory belongs to the heap again, or to its arena.
    pub dead: bool,
    /// Its destroy callback has begun.
    pub destroyed: bool,
    place: usize,
}

/// What lies in an arena, in order of allocation.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// Raw memory: where, how much, filled with the contents of a tag.
    Raw {
        /// The first byte.
        at: *mut u8,
        /// How much.
        bytes: usize,
        /// Names the contents.
        tag: usize,
    },
    /// A cell.
    Cell(Id),
    /// Something else that the program keeps there.
    Other {
        /// The first byte.
        at: *mut u8,
        /// How much.
        bytes: usize,
    },
    /// What a resize has left behind.
    Gone {
        /// Where it began.
        at: *mut u8,
    },
}

/// A place to which an arena can go back.
#[derive(Clone, Copy)]
pub struct Mark {
    /// The library's.
    pub mark: KnArenaMark,
    /// How many items, cleanups, tentative cells there were.
    pub items: usize,
    /// As above.
    pub cleanups: usize,
    /// As above.
    pub tentatives: usize,
    /// The heap's print then, and what others have added since.
    pub print: u64,
    /// Whether the print is known, or was mixed with the collector's.
    pub sharp: bool,
    /// Whether scopes inside were open then, whose memory was held too.
    pub inner: bool,
    /// Statistics then: bytes used and held.
    pub used: usize,
    /// As above.
    pub held: usize,
}

/// An arena.
pub struct Nest {
    /// The library's.
    pub ptr: *mut KnArena,
    /// Its configuration.
    pub shape: Shape,
    /// Bytes that its memory may not exceed; 0: no budget.
    pub budget: usize,
    /// How many scopes lie around it and itself; 0: a free-standing arena.
    pub depth: usize,
    /// Whether it may be used.
    pub alive: bool,
    /// What lies in it.
    pub items: Vec<Item>,
    /// Cleanups that wait, by their numbers.
    pub cleanups: Vec<usize>,
    /// Marks that hold.
    pub marks: Vec<Mark>,
    /// Tentative cells that belong to it, by their numbers.
    pub tentatives: Vec<usize>,
    /// The heap's print before it was entered, and what others have added since.
    pub print: u64,
    /// Whether the print is known, or was mixed with the collector's.
    pub sharp: bool,
    /// A rewind has found references in named roots, which may have bypassed `GC_assign`: it does not count
    /// them back, so the count may be too large from then on.
    pub loose: bool,
}

/// A slot of the root range.
#[derive(Clone, Copy, Debug, Default)]
pub struct Root {
    /// What it refers to.
    pub to: Option<Id>,
    /// Stored without `GC_assign`.
    pub raw: bool,
}

/// A block of the heap.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The first byte.
    pub at: *mut u8,
    /// What was asked for.
    pub bytes: usize,
    /// Names the contents.
    pub tag: usize,
}

/// Who holds a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A field of a cell.
    Field(Id, usize),
    /// A slot of the root range.
    Root(usize),
}

/// Everything.
#[derive(Default)]
pub struct Model {
    /// All cells there ever were.
    pub nodes: Vec<Node>,
    /// Those outside that are not dead.
    pub present: Vec<Id>,
    /// All arenas there ever were.
    pub arenas: Vec<Nest>,
    /// The open scopes, outermost first.
    pub scopes: Vec<Aid>,
    /// Free-standing arenas.
    pub standing: [Option<Aid>; STANDING],
    /// Blocks of the heap.
    pub blocks: [Option<Block>; SLOTS],
    /// The program's variables.
    pub vars: [Option<Id>; VARS],
    /// The named root range.
    pub roots: [Root; ROOTS],
    /// What weak slots refer to: an item of an arena.
    pub weaks: [Option<(Aid, usize)>; WEAKS],
    /// Everything that is live: the first byte, the one behind the last, and whether it is a cell.
    spans: BTreeMap<usize, (usize, Option<Id>)>,
    /// Cells outside whose count became zero.
    doomed: Vec<Id>,
}

impl Model {
    /// Takes note of memory that the library gave, perhaps for a cell. Fails if it is in use.
    ///
    /// A cell outside that nobody reaches, and that nobody sees die, may have died if it is `open` whether
    /// garbage was collected: then it has.
    pub fn claim(&mut self, at: *mut u8, bytes: usize, cell: Option<Id>, open: bool) -> Result<(), String> {
        if bytes == 0 {
            return Ok(());
        }
        let (from, to) = (at.addr(), at.addr() + bytes);
        while let Some((&low, &(high, owner))) = self.spans.range(..to).next_back() {
            if high <= from {
                break;
            }
            let may_be_dead = |id: Id| {
                let node = &self.nodes[id];
                open && node.home == Home::Outside && !KINDS[node.kind].seen && !self.reachable()[id]
            };
            match owner {
                Some(id) if may_be_dead(id) => drop(self.bury(id)),
                _ => return Err(format!("{bytes} bytes at {at:?} overlap {} live bytes at {low:#x}", high - low)),
            }
        }
        self.spans.insert(from, (to, cell));
        Ok(())
    }

    /// The memory is not in use any more.
    pub fn unclaim(&mut self, at: *mut u8, bytes: usize) {
        if bytes > 0 {
            self.spans.remove(&at.addr());
        }
    }

    /// A new cell, which nobody refers to yet.
    pub fn add(&mut self, at: *mut u8, kind: usize, length: usize, home: Home) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node {
            at,
            kind,
            home,
            length,
            fields: vec![None; KINDS[kind].fields(length)],
            external: 0,
            incoming: 0,
            dead: false,
            destroyed: false,
            place: self.present.len(),
        });
        if home == Home::Outside {
            self.present.push(id);
        }
        id
    }

    /// Whether a cell lies in no arena.
    pub fn is_outside(&self, id: Id) -> bool {
        self.nodes[id].home == Home::Outside
    }

    /// References to a cell outside.
    pub fn count(&self, id: Id) -> u32 {
        self.nodes[id].external + self.nodes[id].incoming
    }

    /// The program holds one reference more.
    pub fn hold(&mut self, id: Id) {
        self.nodes[id].external += 1;
    }

    /// The program holds one reference less.
    pub fn unhold(&mut self, id: Id) {
        self.nodes[id].external -= 1;
        self.doom(id);
    }

    /// A variable refers to something else. References to cells inside are not counted.
    pub fn bind(&mut self, var: usize, to: Option<Id>) {
        if let Some(id) = to.filter(|&id| self.is_outside(id)) {
            self.hold(id);
        }
        if let Some(old) = std::mem::replace(&mut self.vars[var], to).filter(|&id| self.is_outside(id)) {
            self.unhold(old);
        }
    }

    /// A field refers to something else.
    pub fn set(&mut self, id: Id, field: usize, to: Option<Id>) {
        if let Some(child) = to {
            self.nodes[child].incoming += 1;
        }
        if let Some(old) = std::mem::replace(&mut self.nodes[id].fields[field], to) {
            self.nodes[old].incoming -= 1;
            self.doom(old);
        }
    }

    fn doom(&mut self, id: Id) {
        if self.is_outside(id) && self.count(id) == 0 && !self.nodes[id].dead {
            self.doomed.push(id);
        }
    }

    /// A cell is dead: its references are gone. Answers how many led from inside to outside.
    pub fn bury(&mut self, id: Id) -> usize {
        self.nodes[id].dead = true;
        let (at, outside) = (self.nodes[id].at, self.is_outside(id));
        self.unclaim(at, 1);
        let mut released = 0;
        for child in std::mem::take(&mut self.nodes[id].fields).into_iter().flatten() {
            self.nodes[child].incoming -= 1;
            released += usize::from(!outside && self.is_outside(child));
            self.doom(child);
        }
        if outside {
            let place = self.nodes[id].place;
            self.present.swap_remove(place);
            if let Some(&moved) = self.present.get(place) {
                self.nodes[moved].place = place;
            }
        }
        released
    }

    /// All cells outside with a count of zero must be dead; the first that should have been seen to die
    /// and was not is the error.
    pub fn settle_doomed(&mut self) -> Result<(), Id> {
        while let Some(id) = self.doomed.pop() {
            if self.nodes[id].dead || self.count(id) > 0 {
                continue;
            }
            if KINDS[self.nodes[id].kind].seen {
                self.doomed.push(id);
                return Err(id);
            }
            self.bury(id);
        }
        Ok(())
    }

    /// Buries those whose count has become zero and which nobody sees die.
    pub fn settle_unseen(&mut self) {
        let mut seen = Vec::new();
        while let Some(id) = self.doomed.pop() {
            if self.nodes[id].dead || self.count(id) > 0 {
                continue;
            }
            if KINDS[self.nodes[id].kind].seen {
                seen.push(id);
            } else {
                self.bury(id);
            }
        }
        self.doomed = seen;
    }

    /// For each node: whether the program reaches it, itself or from inside an arena.
    pub fn reachable(&self) -> Vec<bool> {
        let mut open: Vec<Id> = self.present.iter().copied().filter(|&id| self.nodes[id].external > 0).collect();
        for aid in self.open_arenas() {
            open.extend(self.cells_of(aid, 0));
        }
        let mut seen = vec![false; self.nodes.len()];
        open.iter().for_each(|&id| seen[id] = true);
        while let Some(id) = open.pop() {
            for &child in self.nodes[id].fields.iter().flatten() {
                if !std::mem::replace(&mut seen[child], true) {
                    open.push(child);
                }
            }
        }
        seen
    }

    /// A full collection was made: buries what nobody could see die. The error is a cell that should have
    /// been seen.
    pub fn collect(&mut self) -> Result<(), Id> {
        self.settle_doomed()?;
        let reachable = self.reachable();
        let garbage: Vec<Id> = self.present.iter().copied().filter(|&id| !reachable[id]).collect();
        if let Some(&id) = garbage.iter().find(|&&id| KINDS[self.nodes[id].kind].seen) {
            return Err(id);
        }
        for id in garbage {
            self.bury(id);
        }
        self.settle_doomed()
    }

    /// Scopes and free-standing arenas that are not ended.
    pub fn open_arenas(&self) -> impl Iterator<Item = Aid> + '_ {
        let all = self.scopes.iter().copied().chain(self.standing.iter().flatten().copied());
        all.filter(|&aid| self.arenas[aid].alive)
    }

    /// The arena that a number names: mostly the innermost scope.
    pub fn pick(&self, number: u8) -> Option<Aid> {
        let (which, rest) = (number % 4, usize::from(number / 4));
        let standing = || {
            let all: Vec<Aid> = self.standing.iter().flatten().copied().collect();
            (!all.is_empty()).then(|| all[rest % all.len()])
        };
        let any = || (!self.scopes.is_empty()).then(|| self.scopes[rest % self.scopes.len()]);
        match which {
            0 | 1 => self.scopes.last().copied().or_else(standing),
            2 => any().or_else(standing),
            _ => standing().or_else(any),
        }
    }

    /// The cells in an arena from an item on.
    pub fn cells_of(&self, aid: Aid, from: usize) -> Vec<Id> {
        let cell = |item: &Item| match item {
            Item::Cell(id) => Some(*id),
            _ => None,
        };
        self.arenas[aid].items[from..].iter().filter_map(cell).collect()
    }

    /// Where an item begins.
    pub fn start_of(&self, item: Item) -> *mut u8 {
        match item {
            Item::Raw { at, .. } | Item::Other { at, .. } | Item::Gone { at } => at,
            Item::Cell(id) => self.nodes[id].at,
        }
    }

    /// Whether a reference from there into that arena is one that outlives it.
    pub fn is_escape(&self, from: Home, aid: Aid) -> bool {
        match from {
            Home::Outside => true,
            Home::In(holder) if holder == aid => false,
            Home::In(holder) => {
                let (holder, target) = (self.arenas[holder].depth, self.arenas[aid].depth);
                holder == 0 || target == 0 || holder < target
            }
        }
    }

    /// References to these cells of an arena from its other cells.
    pub fn links(&self, aid: Aid, cells: &[Id]) -> Vec<(Holder, Id)> {
        let mut inside = vec![false; self.nodes.len()];
        cells.iter().for_each(|&id| inside[id] = true);
        let others = self.cells_of(aid, 0).into_iter().filter(|&id| !inside[id]);
        let fields = others.flat_map(|id| {
            let fields = self.nodes[id].fields.iter().enumerate();
            fields.filter_map(move |(field, child)| child.map(|child| (Holder::Field(id, field), child)))
        });
        fields.filter(|&(_, child)| inside[child]).collect()
    }

    /// References from outside an arena to these of its cells.
    pub fn escapes(&self, aid: Aid, cells: &[Id]) -> Vec<(Holder, Id)> {
        let mut inside = vec![false; self.nodes.len()];
        cells.iter().for_each(|&id| inside[id] = true);
        let mut found = Vec::new();
        let mut look = |holder: Id| {
            for (field, child) in self.nodes[holder].fields.iter().enumerate() {
                if let Some(child) = child.filter(|&child| inside[child]) {
                    if self.is_escape(self.nodes[holder].home, aid) {
                        found.push((Holder::Field(holder, field), child));
                    }
                }
            }
        };
        self.present.iter().for_each(|&id| look(id));
        for other in self.open_arenas().filter(|&other| other != aid) {
            self.cells_of(other, 0).into_iter().for_each(&mut look);
        }
        for (index, root) in self.roots.iter().enumerate() {
            if let Some(id) = root.to.filter(|&id| inside[id]) {
                found.push((Holder::Root(index), id));
            }
        }
        found
    }

    /// Something has added to the heap's print. What goes back to an earlier state of its own undoes its
    /// own additions, and those of scopes inside it; all others it must bear.
    pub fn account(&mut self, owner: Option<Aid>, delta: u64) {
        if delta == 0 {
            return;
        }
        let depth = owner.map(|owner| self.arenas[owner].depth);
        let open: Vec<Aid> = self.open_arenas().collect();
        for aid in open {
            let arena = &mut self.arenas[aid];
            let inner = depth.is_some_and(|depth| depth > 0 && arena.depth > 0 && depth > arena.depth);
            if owner == Some(aid) || inner {
                continue;
            }
            arena.print = arena.print.wrapping_add(delta);
            for mark in &mut arena.marks {
                mark.print = mark.print.wrapping_add(delta);
            }
        }
    }

    /// An arena's memory and the collector's have changed at once: nobody can tell the prints apart.
    pub fn blur(&mut self) {
        let open: Vec<Aid> = self.open_arenas().collect();
        for aid in open {
            self.arenas[aid].sharp = false;
            self.arenas[aid].marks.iter_mut().for_each(|mark| mark.sharp = false);
        }
    }
}
