//! The graph as the program knows it, and what a collector must make of it.
//!
//! A node is a cell: where it is, what its fields refer to, how many references the program holds
//! itself. Its count is the one plus the other. Nodes stay after death, so that a second death shows.
//!
//! What a full collection leaves is found by the naivest algorithm there is ([`Model::garbage`]): of the
//! cells through which a cycle is possible, those that are reached neither from the program nor from
//! another cell are garbage; they die, what they held loses references, and so on until nothing is.

use crate::kinds::KINDS;

/// A node's number.
pub type Id = u32;

/// What has become of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may be used, if the program holds it or reaches it.
    Alive,
    /// Its destroy callback runs.
    Dying,
    /// Its memory belongs to the heap again.
    Dead,
}

/// One cell.
#[derive(Debug)]
pub struct Node {
    /// The payload.
    pub at: *mut u8,
    /// The number of its kind.
    pub kind: usize,
    /// Without a destroy callback: nobody sees it die.
    pub mute: bool,
    /// Bytes asked for.
    pub bytes: usize,
    /// Whether its variant slot holds a reference.
    pub turned: bool,
    /// What its fields refer to.
    pub fields: Vec<Option<Id>>,
    /// References held by variables and pins.
    pub external: u32,
    /// References from cells that are not dead.
    pub incoming: u32,
    /// What has become of it.
    pub state: State,
    /// Its place in the list of those not dead.
    place: usize,
}

/// All cells there ever were.
#[derive(Debug, Default)]
pub struct Model {
    nodes: Vec<Node>,
    /// Those not dead.
    present: Vec<Id>,
    /// Those whose count became zero and of which no death was seen.
    doomed: Vec<Id>,
}

impl Model {
    /// A new cell, which nobody refers to yet.
    pub fn add(&mut self, at: *mut u8, kind: usize, mute: bool, length: usize) -> Id {
        let id = self.nodes.len() as Id;
        self.nodes.push(Node {
            at,
            kind,
            mute,
            bytes: KINDS[kind].bytes(length),
            turned: false,
            fields: vec![None; KINDS[kind].fields(length)],
            external: 0,
            incoming: 0,
            state: State::Alive,
            place: self.present.len(),
        });
        self.present.push(id);
        id
    }

    /// A cell.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// A cell.
    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    /// A cell, if there ever was one with this number.
    pub fn find(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// Those not dead.
    pub fn present(&self) -> &[Id] {
        &self.present
    }

    /// The references to a cell.
    pub fn count(&self, id: Id) -> u32 {
        self.node(id).external + self.node(id).incoming
    }

    /// The program holds one reference more.
    pub fn hold(&mut self, id: Id) {
        self.node_mut(id).external += 1;
    }

    /// The program holds one reference less.
    pub fn unhold(&mut self, id: Id) {
        self.node_mut(id).external -= 1;
        self.doom(id);
    }

    /// A field refers to something else; what it referred to.
    pub fn set(&mut self, id: Id, field: usize, child: Option<Id>) -> Option<Id> {
        if let Some(child) = child {
            self.node_mut(child).incoming += 1;
        }
        let old = std::mem::replace(&mut self.node_mut(id).fields[field], child);
        if let Some(old) = old {
            self.node_mut(old).incoming -= 1;
            self.doom(old);
        }
        old
    }

    fn doom(&mut self, id: Id) {
        if self.count(id) == 0 && self.node(id).state != State::Dead {
            self.doomed.push(id);
        }
    }

    /// The cell is dead: its references are gone.
    pub fn bury(&mut self, id: Id) {
        let node = self.node_mut(id);
        node.state = State::Dead;
        let place = node.place;
        for child in std::mem::take(&mut node.fields).into_iter().flatten() {
            self.node_mut(child).incoming -= 1;
            self.doom(child);
        }
        self.present.swap_remove(place);
        if let Some(&moved) = self.present.get(place) {
            self.node_mut(moved).place = place;
        }
    }

    /// All cells with a count of zero must be dead. Those that die unseen are buried; the first that
    /// should have been seen and was not is the error.
    pub fn settle_doomed(&mut self) -> Result<(), Id> {
        while let Some(id) = self.doomed.pop() {
            if self.node(id).state == State::Dead || self.count(id) > 0 {
                continue;
            }
            if !self.node(id).mute {
                self.doomed.push(id);
                return Err(id);
            }
            self.bury(id);
        }
        Ok(())
    }

    /// For each cell, whether the program reaches it.
    pub fn reachable(&self) -> Vec<bool> {
        let starts = self.present.iter().copied().filter(|&id| self.node(id).external > 0);
        self.closure(starts.collect(), |_| true)
    }

    /// What is reached from some cells through cells that pass a test.
    fn closure(&self, mut open: Vec<Id>, through: impl Fn(&Node) -> bool) -> Vec<bool> {
        let mut seen = vec![false; self.nodes.len()];
        open.iter().for_each(|&id| seen[id as usize] = true);
        while let Some(id) = open.pop() {
            if !through(self.node(id)) {
                continue;
            }
            for &child in self.node(id).fields.iter().flatten() {
                if !std::mem::replace(&mut seen[child as usize], true) {
                    open.push(child);
                }
            }
        }
        seen
    }

    /// Whether a cell reaches itself.
    pub fn is_on_cycle(&self, id: Id) -> bool {
        let children: Vec<Id> = self.node(id).fields.iter().flatten().copied().collect();
        self.closure(children, |node| node.state != State::Dead)[id as usize]
    }

    /// The cells that a full collection frees at once: cyclic ones that nothing else holds.
    pub fn garbage(&self) -> Vec<Id> {
        let cyclic = |id: Id| !KINDS[self.node(id).kind].acyclic;
        let mut held: Vec<u32> = vec![0; self.nodes.len()];
        for &id in self.present.iter().filter(|&&id| cyclic(id)) {
            for &child in self.node(id).fields.iter().flatten() {
                held[child as usize] += 1;
            }
        }
        let outside = |&&id: &&Id| cyclic(id) && self.count(id) > held[id as usize];
        let kept =
            self.closure(self.present.iter().filter(outside).copied().collect(), |node| !KINDS[node.kind].acyclic);
        self.present.iter().copied().filter(|&id| cyclic(id) && !kept[id as usize]).collect()
    }

    /// A full collection was made: buries what nobody could see die. The error is a cell that should
    /// have been seen.
    pub fn collect(&mut self) -> Result<(), Id> {
        loop {
            self.settle_doomed()?;
            let garbage = self.garbage();
            if let Some(&id) = garbage.iter().find(|&&id| !self.node(id).mute) {
                return Err(id);
            }
            if garbage.is_empty() {
                return Ok(());
            }
            for id in garbage {
                if self.node(id).state != State::Dead {
                    self.bury(id);
                }
            }
        }
    }

    /// For each cell the references that are sure to be there, and those that may be: from a cell that
    /// nobody reaches and that may have died unseen, or, while `open`, may be about to.
    pub fn counts(&self, reachable: &[bool], open: bool) -> Vec<(u32, u32)> {
        let mut counts = vec![(0, 0); self.nodes.len()];
        for &id in &self.present {
            let node = self.node(id);
            let sure = reachable[id as usize] || !(node.mute || open);
            for &child in node.fields.iter().flatten() {
                let (certain, possible) = &mut counts[child as usize];
                *(if sure { certain } else { possible }) += 1;
            }
            counts[id as usize].0 += node.external;
        }
        counts
    }
}
