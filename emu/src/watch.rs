//! The write watch: Knoll may write to its heaps, its own statics and the stack, nowhere else.
//!
//! Guarantees
//! - Every store is seen, whatever instruction makes it. It is Knoll's when Knoll's code makes
//!   it, or memcpy, memmove, memset or a helper of the compiler that Knoll called or jumped to;
//!   a callback that Knoll calls writes on its own account. A helper that lies in libknoll*.a
//!   but is called by somebody else acts for that caller too.
//! - Knoll's code is what the linker script put into `.knoll_text` (the members of
//!   libknoll*.a) and every function whose name starts with `kn_` or `GC_`, or that lies in the
//!   Rust crate `knoll`.
//! - The first store outside stops the run and is shown with a backtrace.
//!
//! Costs: a binary search for each store made by Knoll.

use std::ops::Range;

/// A store where Knoll has no business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWrite {
    /// First byte stored to.
    pub address: u32,
    /// Bytes stored.
    pub bytes: u32,
    /// What was stored.
    pub value: u64,
}

/// Where Knoll may write.
#[derive(Debug, Default)]
pub struct Watch {
    /// Sorted, disjoint, not touching.
    allowed: Vec<Range<u64>>,
    /// Whether Knoll's code is running.
    pub acting: bool,
    /// How many of Knoll's stores were looked at.
    pub writes: u64,
}

/// Whether what a function writes is its caller's doing: the C library's memory functions, and
/// what compilers call behind the programmer's back.
pub fn acts_for_its_caller(name: &str) -> bool {
    const MEMORY: [&str; 5] = ["memcpy", "memmove", "memset", "mempcpy", "bzero"];
    MEMORY.contains(&name) || name.starts_with("__aeabi_") || name.starts_with("compiler_builtins::")
}

/// Whether a function is Knoll's by its name.
pub fn is_knoll_function(name: &str) -> bool {
    ["kn_", "GC_", "knoll::", "<knoll::"].iter().any(|start| name.starts_with(start))
}

impl Watch {
    /// Allows `bytes` bytes from `start`.
    pub fn allow(&mut self, start: u32, bytes: u32) {
        let mut range = u64::from(start)..u64::from(start) + u64::from(bytes);
        if range.is_empty() {
            return;
        }
        self.allowed.retain(|old| {
            let touches = old.start <= range.end && range.start <= old.end;
            if touches {
                range = old.start.min(range.start)..old.end.max(range.end);
            }
            !touches
        });
        let at = self.allowed.partition_point(|old| old.start < range.start);
        self.allowed.insert(at, range);
    }

    /// Forbids `bytes` bytes from `start`.
    pub fn forbid(&mut self, start: u32, bytes: u32) {
        let range = u64::from(start)..u64::from(start) + u64::from(bytes);
        let kept = self
            .allowed
            .iter()
            .flat_map(|old| [old.start..old.end.min(range.start), old.start.max(range.end)..old.end]);
        self.allowed = kept.filter(|part| !part.is_empty()).collect();
    }

    /// Whether a store is inside what is allowed.
    pub fn allows(&self, address: u32, bytes: u32) -> bool {
        let start = u64::from(address);
        let at = self.allowed.partition_point(|range| range.end <= start);
        self.allowed.get(at).is_some_and(|range| range.start <= start && start + u64::from(bytes) <= range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_split() {
        let mut watch = Watch::default();
        watch.allow(100, 10);
        watch.allow(120, 10);
        assert!(watch.allows(100, 10) && watch.allows(129, 1));
        assert!(!watch.allows(109, 2) && !watch.allows(110, 1) && !watch.allows(99, 1));
        watch.allow(110, 10);
        assert!(watch.allows(100, 30));
        watch.forbid(104, 4);
        assert!(watch.allows(100, 4) && watch.allows(108, 22));
        assert!(!watch.allows(103, 2) && !watch.allows(107, 1));
        watch.forbid(0, u32::MAX);
        assert!(!watch.allows(108, 1));
    }

    #[test]
    fn the_last_bytes_of_memory_can_be_allowed() {
        let mut watch = Watch::default();
        watch.allow(u32::MAX - 7, 8);
        assert!(watch.allows(u32::MAX - 3, 4));
    }

    #[test]
    fn helpers_by_all_their_names() {
        for name in ["memcpy", "__aeabi_memcpy4", "__aeabi_memclr8", "memset"] {
            assert!(acts_for_its_caller(name), "{name}");
        }
        assert!(!acts_for_its_caller("memcmp") && !acts_for_its_caller("strcpy"));
        assert!(is_knoll_function("GC_new") && !is_knoll_function("know"));
    }
}
