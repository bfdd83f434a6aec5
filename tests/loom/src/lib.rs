//! Models of how threads share pages of small blocks.
//!
//! The library's own files (`src/hosted/page.rs`, `pages.rs`, `cache.rs`, `bits.rs`) are compiled once more here, with
//! the atomics, the lock and the threads of a checker beneath them:
//!
//! | test | beneath | which orders of the threads' steps |
//! | --- | --- | --- |
//! | `exhaustive` | loom | all, or all with at most so many preemptions; stale values of relaxed loads, too |
//! | `random` | shuttle | random ones of longer scenes with more threads; `KNOLL_SCHEDULES` of each |
//! | `threads` | the system | as they come; under Miri with a seed each, where races show |
//!
//! ```text
//!   scenes.rs      what the threads do, and what must be true afterwards
//!      |
//!   hosted.rs      the library's files over stubs: space (a few units), records, process (the lock)
//!      |
//!   runtime        of each test: atomics, Mutex; threads and a word for each of them are alike (beneath.rs)
//! ```
//!
//! What must be true, in each order:
//! - No block is given out while it lives; and what a thread wrote into it is seen by its next owner.
//! - A page is attached to one cache at a time, in its list at most once, and given back once.
//! - A page is not given back while one of its blocks lives; when all are free and no thread has it, it was.
//!
//! Classes are 32 KB and 16 KB here, so that two or four blocks exhaust a page, and 992 bytes, for two words of bits.
