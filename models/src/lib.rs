//! Model checks: the protocols of `disk_chan` on a memory whose words are a checker's.
//!
//! The engine is written over the trait `Memory`. Here the very same files (`src/sync.rs`,
//! `src/layout`, `src/engine`) are compiled again and run on [`heap::Mem`]. Loom tries every
//! interleaving and every stale read that the C11 memory model allows, up to a bound of preemptions;
//! shuttle ([`schedules`]) draws schedules of more actors, as many as one likes.
//! What lies outside the engine (the few lines of `consumer` and `channel` that order its calls) is
//! repeated in the scenarios, beside the name of the function it repeats.
//!
//! A check that cannot fail shows nothing, so most have a twin that breaks the protocol on purpose
//! and must find the counterexample. The engine's files stay as they are: the breakage is a
//! [`heap::Fault`] of one actor's memory (an exchange torn in two, an ordering taken away), or the
//! scenario makes two calls in the wrong order.
//!
//! # What loom leaves out
//! * Loom takes SeqCst for AcqRel, except in fences. [`heap::Mem`] adds a SeqCst fence between a
//!   SeqCst write and the same actor's next SeqCst load, which is exactly the order that the engine's
//!   two Dekker arguments (S-SLEEP, S-SEEK) want. Neither of the two accesses gets it when it is not
//!   SeqCst itself.
//! * A read-modify-write always reads the newest value, whatever its ordering, so a Dekker built on
//!   two of them is right here even when relaxed. The twins therefore weaken loads.
//! * Kernel locks and futexes are no words: a lock is one word of its own outside of the fuse (see
//!   below), and a futex wait is one atomic look at its word.
//!
//! # Death
//! An actor can be given a fuse of so many memory operations; at its end it stops between two of them
//! for ever, as a killed process does. Each such check runs once for every possible length.
#![cfg(test)]

#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports)]
mod sync;

#[path = "../../src/layout/mod.rs"]
#[allow(dead_code, unused_imports)]
mod layout;

#[path = "../../src/engine/mod.rs"]
#[allow(dead_code, unused_imports)]
mod engine;

mod epochs;
mod flush;
mod group;
mod heap;
mod page;
mod run;
mod schedules;
mod seek;
mod sleep;
mod task;
mod window;
