//! What there must be in the heap: every block, a copy of its contents, and what reaches it.
//!
//! The oracle follows every word there is: it reads the blocks' memory, and knows a block's address only from the table
//! of all blocks.

use crate::heap::{KN_FINALISE, KN_NO_SCAN};
use crate::setup::Setup;
use knoll_shadow::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// Variables.
pub const VARS: usize = 16;
/// Places in the table of roots.
pub const PINS: usize = 40;
/// Bytes of a word.
pub const WORD: usize = size_of::<usize>();

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: no pointers, and the heap is told so. There may be what looks like some.
    Flat,
    /// Text, and the heap is not told.
    Raw,
    /// Pointers anywhere.
    Node,
}

impl Kind {
    /// One of them.
    pub fn pick(number: u8) -> Kind {
        match number % 16 {
            0 | 1 => Kind::Flat,
            2 => Kind::Raw,
            _ => Kind::Node,
        }
    }
}

/// A block.
pub struct Block {
    /// Where it is.
    pub at: *mut u8,
    /// `KN_FINALISE`, `KN_NO_SCAN`.
    pub flags: u32,
    /// What it is for.
    pub kind: Kind,
    /// What lies in it.
    pub contents: Vec<u8>,
    /// Where the trace hook finds pointers.
    pub slots: BTreeSet<usize>,
    /// How often the trace hook was asked in this collection.
    pub asked: usize,
}

impl Block {
    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.contents.len()
    }

    /// Whether it is to be finalised.
    pub fn is_finalised(&self) -> bool {
        self.flags & KN_FINALISE != 0
    }

    /// A word of its memory.
    pub fn word(&self, byte: usize) -> usize {
        assert!(byte + WORD <= self.size());
        // SAFETY: inside the block, which is initialised.
        unsafe { self.at.add(byte).cast::<usize>().read_unaligned() }
    }

    /// Writes a word into its memory and its copy.
    pub fn put(&mut self, byte: usize, word: usize) {
        self.contents[byte..byte + WORD].copy_from_slice(&word.to_ne_bytes());
        // SAFETY: inside the block: the copy is as long.
        unsafe { self.at.add(byte).cast::<usize>().write_unaligned(word) };
    }

    /// Fills it from `from` on with noise.
    pub fn scribble(&mut self, from: usize, random: &mut Random) {
        for byte in &mut self.contents[from..] {
            *byte = random.bits() as u8;
        }
        // SAFETY: the block is as long as the copy.
        unsafe { self.at.add(from).copy_from_nonoverlapping(self.contents[from..].as_ptr(), self.size() - from) };
    }

    /// Fails when its memory is not what was written.
    pub fn verify(&self) -> Result<(), String> {
        // SAFETY: the block is this long and initialised.
        let found = unsafe { std::slice::from_raw_parts(self.at, self.size()) };
        if found == self.contents {
            return Ok(());
        }
        let wrong = (0..self.size()).find(|&i| found[i] != self.contents[i]).unwrap_or(0);
        let (found, was) = (found[wrong], self.contents[wrong]);
        Err(format!("byte {wrong} of {} of the block at {:p} is {found:#04x}, was {was:#04x}", self.size(), self.at))
    }
}

/// All blocks, by address, and the words that the program holds.
pub struct Model {
    /// The blocks that are not known to be dead.
    pub blocks: BTreeMap<usize, Block>,
    /// The program's variables.
    pub vars: [usize; VARS],
    /// Its table of roots.
    pub pins: [usize; PINS],
    /// A word inside a block holds it.
    pub interior: bool,
    /// Pointers are told by the hook.
    pub precise: bool,
}

impl Model {
    /// Nothing yet.
    pub fn new(setup: &Setup) -> Model {
        Model {
            blocks: BTreeMap::new(),
            vars: [0; VARS],
            pins: [0; PINS],
            interior: setup.flags & crate::heap::KN_TRACED_INTERIOR != 0,
            precise: setup.precise,
        }
    }

    /// The block that a word holds.
    pub fn held(&self, word: usize) -> Option<usize> {
        if !self.interior {
            return self.blocks.contains_key(&word).then_some(word);
        }
        let (&at, block) = self.blocks.range(..=word).next_back()?;
        (word < at + block.size()).then_some(at)
    }

    /// The block that is in a variable: one whose address it is.
    pub fn in_var(&self, var: u8) -> Option<usize> {
        let word = self.vars[usize::from(var) % VARS];
        self.blocks.contains_key(&word).then_some(word)
    }

    /// Every word that the program holds.
    pub fn roots(&self) -> impl Iterator<Item = usize> + '_ {
        self.vars.iter().chain(&self.pins).copied()
    }

    /// Every block that is reachable.
    pub fn reach(&self) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = self.roots().filter_map(|word| self.held(word)).collect();
        let mut pending: Vec<usize> = found.iter().copied().collect();
        while let Some(at) = pending.pop() {
            self.each_word(&self.blocks[&at], |word| {
                if let Some(next) = self.held(word) {
                    if found.insert(next) {
                        pending.push(next);
                    }
                }
            });
        }
        found
    }

    /// Every word of a block that the heap takes for a pointer.
    fn each_word(&self, block: &Block, mut meet: impl FnMut(usize)) {
        if block.flags & KN_NO_SCAN != 0 {
            return;
        }
        if self.precise {
            block.slots.iter().for_each(|&byte| meet(block.word(byte)));
        } else {
            (0..block.size() / WORD).for_each(|n| meet(block.word(n * WORD)));
        }
    }

    /// Whether two blocks, or a block and other bytes, share memory.
    pub fn overlap(&self, at: usize, size: usize) -> Option<usize> {
        let (&other, block) = self.blocks.range(..at + size).next_back()?;
        (other + block.size() > at).then_some(other)
    }
}

/// A word that points into a block of so many bytes, or beside it.
pub fn aim(at: usize, size: usize, how: u8) -> usize {
    match how % 16 {
        0 => at + size,
        1 => at + size - 1,
        2 => at + size + 1,
        3 => at + 1,
        4 => at + size / 2,
        5 => at.wrapping_sub(1),
        6 => at + WORD,
        7 => at + usize::from(how) * size / 256,
        _ => at,
    }
}
