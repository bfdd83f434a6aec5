//! Garbage cycles of random graphs, found a second time by a naive search.

use super::ground::*;
use knoll::capi::counted::{GC_disableOrc, GC_runOrc};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What the report must say, found in another way: each piece of garbage with a cycle, by type.
fn naive(edges: &[[usize; 2]], kinds: &[usize], held: &[bool]) -> BTreeMap<[usize; 3], usize> {
    const NOBODY: usize = usize::MAX;
    let count = kinds.len();
    let mut alive = held.to_vec();
    let mut again = true;
    while again {
        again = false;
        for n in 0..count {
            let from_life = alive[n];
            for &to in edges[n].iter().filter(|&&to| from_life && to != NOBODY) {
                again |= !alive[to];
                alive[to] = true;
            }
        }
    }
    // What leads to a cycle of garbage or is one: what is left when those without garbage below go.
    let mut acyclic = alive.clone();
    again = true;
    while again {
        again = false;
        for n in 0..count {
            if !acyclic[n] && edges[n].iter().all(|&to| to == NOBODY || acyclic[to]) {
                acyclic[n] = true;
                again = true;
            }
        }
    }
    let mut piece: Vec<usize> = (0..count).collect();
    again = true;
    while again {
        again = false;
        for n in (0..count).filter(|&n| !alive[n]) {
            for &to in edges[n].iter().filter(|&&to| to != NOBODY && !alive[to]) {
                let least = piece[n].min(piece[to]);
                again |= piece[n] != least || piece[to] != least;
                piece[n] = least;
                piece[to] = least;
            }
        }
    }
    let mut found: BTreeMap<usize, ([usize; 3], bool)> = BTreeMap::new();
    for n in (0..count).filter(|&n| !alive[n]) {
        let entry = found.entry(piece[n]).or_default();
        entry.0[kinds[n]] += 1;
        entry.1 |= !acyclic[n];
    }
    let mut counts = BTreeMap::new();
    for (kinds, _) in found.into_values().filter(|&(_, cyclic)| cyclic) {
        *counts.entry(kinds).or_default() += 1;
    }
    counts
}

/// The numbers of a line, by type.
fn parse(line: &str) -> [usize; 3] {
    let (kinds, closer) = line.split_once(", closed by ").expect(line);
    assert!(closer.ends_with(".parent") || closer.ends_with(".other"), "{line}");
    let mut counts = [0; 3];
    let mut last = usize::MAX;
    for part in kinds.replace(" and ", ", ").split(", ") {
        let (count, name) = part.split_once(' ').expect(line);
        let count = count.parse().expect(line);
        assert!(count <= last, "{line}");
        last = count;
        counts[["Foo", "Bar", "Wrong"].iter().position(|&known| known == name).expect(line)] = count;
    }
    counts
}

#[test]
fn random_graphs_agree_with_a_naive_search() {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let mut told = 0;
    for round in 0..if cfg!(miri) { 6 } else { 400 } {
        let _ground = Ground::new(128 << 10);
        let ids = [&FOO, &BAR, &WRONG].map(register);
        GC_disableOrc();
        let count = 1 + random.below(if cfg!(miri) { 24 } else { 120 });
        let kinds: Vec<usize> = (0..count).map(|_| random.below(2)).collect();
        let cells: Vec<_> = kinds.iter().map(|&kind| new(ids[kind])).collect();
        let mut edges = vec![[usize::MAX; 2]; count];
        for _ in 0..random.below(if round % 2 == 0 { count } else { 3 * count }) {
            // In some rounds references lead nearby only: many pieces.
            let reach = if round % 4 < 2 { 5.min(count) } else { count };
            let (from, field) = (random.below(count), random.below(2));
            let to = (from / reach * reach + random.below(reach)).min(count - 1);
            if edges[from][field] == usize::MAX {
                edges[from][field] = to;
                put(cells[from], field, share(cells[to]));
            }
        }
        let live = if round % 3 == 0 { 0 } else { count / 30 + 1 };
        let mut held = vec![false; count];
        for _ in 0..live {
            held[random.below(count)] = true;
        }
        // A cell that nothing refers to goes at once, and its edges with it.
        let mut counts = vec![0; count];
        edges.iter().flatten().filter(|&&to| to != usize::MAX).for_each(|&to| counts[to] += 1);
        let mut gone: Vec<usize> = (0..count).filter(|&n| counts[n] == 0 && !held[n]).collect();
        while let Some(n) = gone.pop() {
            for to in std::mem::replace(&mut edges[n], [usize::MAX; 2]) {
                if to != usize::MAX {
                    counts[to] -= 1;
                    if counts[to] == 0 && !held[to] {
                        gone.push(to);
                    }
                }
            }
        }
        let expected = naive(&edges, &kinds, &held);
        for n in (0..count).filter(|&n| !held[n]) {
            unref(cells[n]);
        }
        let mut found = BTreeMap::new();
        let text = cycles();
        text.lines().for_each(|line| *found.entry(parse(line)).or_default() += 1);
        assert_eq!(found, expected, "round {round}");
        told += found.values().sum::<usize>();
        let garbage: usize = found.iter().map(|(kinds, times)| kinds.iter().sum::<usize>() * times).sum();
        let before = stats().cells;
        GC_runOrc();
        assert_eq!(before - stats().cells, garbage, "round {round}");
    }
    println!("{told} cycles told");
    assert!(cfg!(miri) || told > 800, "{told}");
}
