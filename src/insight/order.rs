//! The largest first, without memory to sort in.
//!
//! * Of equal ones the lower number is first; each is told once.
//! * O(n) for each that is told.

/// The item with the largest value that was not told yet: its number, and the value.
pub(super) fn largest(
    items: impl Iterator<Item = (u32, usize)>,
    told: impl Fn(u32, usize) -> bool,
) -> Option<(u32, usize)> {
    items.filter(|&(n, value)| !told(n, value)).reduce(|best, item| {
        let before = item.1 > best.1 || item.1 == best.1 && item.0 < best.0;
        if before {
            item
        } else {
            best
        }
    })
}

/// What was told, when values do not change meanwhile: all up to the last one.
#[derive(Default)]
pub(super) struct Descending(Option<(u32, usize)>);

impl Descending {
    pub fn told(&self, n: u32, value: usize) -> bool {
        self.0.is_some_and(|(last, least)| value > least || value == least && n <= last)
    }

    pub fn tell(&mut self, n: u32, value: usize) {
        self.0 = Some((n, value));
    }
}

/// Numbers that there can be: the types of the process heap, and those of a heap of the thread's own.
#[cfg(unix)]
const NUMBERS: usize = 2 << 14;

/// What was told, when other threads change values meanwhile: 4 KB of bits.
#[cfg(unix)]
pub(super) struct Told([u32; NUMBERS / 32]);

#[cfg(unix)]
impl Default for Told {
    fn default() -> Told {
        Told([0; NUMBERS / 32])
    }
}

#[cfg(unix)]
impl Told {
    pub fn told(&self, n: u32, _value: usize) -> bool {
        self.0.get(n as usize / 32).is_none_or(|word| word & 1 << (n % 32) != 0)
    }

    pub fn tell(&mut self, n: u32, _value: usize) {
        if let Some(word) = self.0.get_mut(n as usize / 32) {
            *word |= 1 << (n % 32);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec;
    use std::vec::Vec;

    const VALUES: [usize; 7] = [3, 9, 0, 9, 4, 3, 3];

    fn items() -> impl Iterator<Item = (u32, usize)> {
        VALUES.iter().enumerate().map(|(n, &value)| (n as u32, value))
    }

    fn expected() -> Vec<(u32, usize)> {
        vec![(1, 9), (3, 9), (4, 4), (0, 3), (5, 3), (6, 3), (2, 0)]
    }

    #[test]
    fn each_once_and_the_largest_first() {
        let mut order = Descending::default();
        let mut found = Vec::new();
        while let Some((n, value)) = largest(items(), |n, value| order.told(n, value)) {
            order.tell(n, value);
            found.push((n, value));
        }
        assert_eq!(found, expected());
    }

    #[cfg(unix)]
    #[test]
    fn what_changes_is_told_once_too() {
        let mut told = Told::default();
        let mut found = Vec::new();
        while let Some((n, value)) =
            largest(items().map(|(n, value)| (n, value + found.len())), |n, value| told.told(n, value))
        {
            told.tell(n, value);
            found.push((n, value - found.len()));
        }
        assert_eq!(found, expected());
        assert!(told.told(NUMBERS as u32, 0) && !told.told(NUMBERS as u32 - 1, 0));
    }
}
