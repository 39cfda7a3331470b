//! The protocols on the shared words: no I/O, no time, no knowledge of files. `docs/CONCURRENCY.md`
//! names every sync point quoted here (`S-...`) and argues why each protocol is right.

pub(crate) mod abandoned;
pub(crate) mod cursor;
pub(crate) mod durable;
pub(crate) mod held;
pub(crate) mod page;
pub(crate) mod sleepers;
