//! Claims, helping, adoption, the floor (`engine/cursor.rs`): each message is held once, whoever dies,
//! and the floor never passes one that is not acknowledged.

use std::sync::Arc;

use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::engine::cursor::{Claimed, GroupView};
use crate::heap::{until_death, Fault, Mem, IMMORTAL};
use crate::layout::group::{
    entry_at, held_at, held_word, Cursor, Lease, CURSOR, ENTRIES, HELD_TOP, LEASE, NOBODY,
    PROGRESS, SEEKING,
};
use crate::run::{check, check_deaths};
use crate::sync::{AcqRel, Acquire, Memory, Release};

/// The first message, and the position after the last.
pub(crate) const FIRST: u64 = 100;
pub(crate) const END: u64 = 102;

/// A group of so many entries that stands at `FIRST`.
pub(crate) fn group(entries: usize, counted: u64) -> Mem {
    let start = Cursor { position: FIRST, last: NOBODY };
    let mut words = vec![(CURSOR, start.pack()), (SEEKING, 0), (ENTRIES, counted)];
    for entry in 0..entries {
        let at = entry_at(entry);
        let its = [at + LEASE, at + PROGRESS, at + HELD_TOP, held_at(entry, 0), held_at(entry, 1)];
        words.extend(its.map(|at| (at, 0)));
    }
    Mem::new(&words)
}

/// Claim one message as `Member::find` does; its position.
pub(crate) fn claim(group: &GroupView<Mem>, entry: usize) -> Option<u64> {
    let c = group.cursor();
    if c.position >= END {
        return None;
    }
    (group.claim(entry, c, 1) == Claimed::Yes).then_some(c.position)
}

/// Acknowledge the whole claim, as `Member::finish`.
fn finish(group: &GroupView<Mem>, entry: usize) {
    group.set_progress(entry, 1, 1);
    group.set_idle(entry);
}

/// The positions of a lease.
pub(crate) fn positions(lease: Lease) -> Vec<u64> {
    match lease {
        Lease::Held { first, count } => (first..first + count as u64).collect(),
        Lease::Intended { .. } => panic!("undecided for ever"),
        Lease::Idle => Vec::new(),
    }
}

/// One consumer dies somewhere in its claim, another goes on, a third takes the dead one's entry over
/// (`Member::adopt_one`: once its lock is free) while the second is at work, or afterwards.
fn claims(first: Fault, second: Fault, adopter: Fault, fuse: usize) {
    let mem = group(2, 2);
    let gone = Arc::new(AtomicBool::new(false));
    let view = GroupView(mem.mortal(first, fuse));
    let lock = gone.clone();
    let mortal = thread::spawn(move || {
        let done = until_death(|| claim(&view, 0));
        if done.is_none() {
            lock.store(true, Release);
        }
        done
    });
    let view = GroupView(mem.actor(second));
    let other = thread::spawn(move || {
        let mut got = Vec::new();
        for _ in 0..2 {
            if let Some(at) = claim(&view, 1) {
                finish(&view, 1);
                got.push(at);
            }
        }
        got
    });
    let view = GroupView(mem.actor(adopter));
    let mut adopted = gone.load(Acquire).then(|| view.resolve(0));
    let lived = mortal.join().unwrap();
    if lived.is_none() && adopted.is_none() {
        adopted = Some(view.resolve(0));
    }
    let mut all = other.join().unwrap();
    all.extend(lived.flatten());
    all.extend(adopted.map(positions).unwrap_or_default());
    all.extend(view.cursor().position..END);
    all.sort_unstable();
    assert_eq!(all, [FIRST, FIRST + 1], "a message was lost or held twice");
}

#[test]
fn two_consumers_hold_each_message_once() {
    check(3, || claims(Fault::Unfenced, Fault::Unfenced, Fault::Unfenced, IMMORTAL));
}

#[test]
fn each_message_is_held_once_wherever_a_consumer_dies() {
    check_deaths(3, 8, |fuse| claims(Fault::Unfenced, Fault::Unfenced, Fault::Unfenced, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn without_help_a_dead_claim_is_lost() {
    let deaf = Fault::Deaf(entry_at(0) + LEASE);
    check_deaths(3, 8, move |fuse| claims(Fault::Unfenced, deaf, Fault::Unfenced, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn an_adopter_that_stores_blindly_loses_what_was_helped() {
    let blind = Fault::Blind(entry_at(0) + LEASE);
    check_deaths(3, 8, move |fuse| claims(Fault::Unfenced, Fault::Unfenced, blind, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn a_relaxed_cursor_does_not_release_the_intent() {
    let relaxed = Fault::Relaxed(CURSOR);
    check_deaths(3, 8, move |fuse| claims(relaxed, Fault::Unfenced, Fault::Unfenced, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn a_torn_cursor_gives_a_message_twice() {
    check(3, || claims(Fault::Torn(CURSOR), Fault::Unfenced, Fault::Unfenced, IMMORTAL));
}

/// What the group still needs, read in some order.
type Floor = fn(&GroupView<Mem>) -> u64;

fn real(group: &GroupView<Mem>) -> u64 {
    group.floor()
}

/// Entries counted before the cursor is read.
fn entries_first(group: &GroupView<Mem>) -> u64 {
    let entries = group.0.load(ENTRIES, Acquire) as usize;
    let cursor = group.cursor().position;
    (0..entries).map(|e| group.entry_floor(e)).fold(cursor, u64::min)
}

/// Leases read before the cursor.
fn leases_first(group: &GroupView<Mem>) -> u64 {
    let entries = group.0.load(ENTRIES, Acquire) as usize;
    let leases = (0..entries).map(|e| group.entry_floor(e)).fold(u64::MAX, u64::min);
    leases.min(group.cursor().position)
}

/// A consumer joins (`Group::open_entry`) and claims while somebody reads the floor.
fn floor_and_join(floor: Floor, fault: Fault) {
    check(3, move || {
        let mem = group(2, 1);
        let view = GroupView(mem.actor(fault));
        let consumer = thread::spawn(move || {
            view.0.raise(ENTRIES, 2, AcqRel);
            let at = claim(&view, 1);
            view.set_progress(1, 1, 0);
            at
        });
        let view = GroupView(mem.actor(Fault::Unfenced));
        assert!(floor(&view) <= FIRST, "the floor passed an unacknowledged message");
        assert_eq!(consumer.join().unwrap(), Some(FIRST));
        assert_eq!(view.floor(), FIRST);
    });
}

#[test]
fn the_floor_stays_below_a_new_consumers_claim() {
    floor_and_join(real, Fault::Unfenced);
}

#[test]
#[should_panic(expected = "the floor passed")]
fn a_floor_that_counts_entries_first_passes_it() {
    floor_and_join(entries_first, Fault::Unfenced);
}

#[test]
#[should_panic(expected = "the floor passed")]
fn a_floor_that_reads_leases_first_passes_it() {
    floor_and_join(leases_first, Fault::Unfenced);
}

#[test]
#[should_panic(expected = "the floor passed")]
fn a_floor_behind_a_relaxed_cursor_passes_it() {
    floor_and_join(real, Fault::Relaxed(CURSOR));
}

/// A message is claimed, handed out and spilled (`Member::spill`), the next one claimed and
/// acknowledged by itself, then the first one (`Member::ack`).
fn spill(group: &GroupView<Mem>, idle_first: bool, acked: &AtomicBool) {
    assert_eq!(claim(group, 0), Some(FIRST));
    group.set_progress(0, 1, 0);
    if idle_first {
        group.set_idle(0);
    }
    assert!(group.put_held(0, &mut 0, held_word(FIRST, 1)));
    if !idle_first {
        group.set_idle(0);
    }
    assert_eq!(claim(group, 0), Some(FIRST + 1));
    group.set_progress(0, 1, 0);
    finish(group, 0);
    acked.store(true, Release);
    assert_eq!(group.drop_held(0, FIRST), 1);
    group.clear_held(0);
}

fn floor_and_spill(idle_first: bool) {
    check(3, move || {
        let mem = group(1, 1);
        let acked = Arc::new(AtomicBool::new(false));
        let view = GroupView(mem.actor(Fault::Unfenced));
        let tell = acked.clone();
        let consumer = thread::spawn(move || spill(&view, idle_first, &tell));
        let view = GroupView(mem.actor(Fault::Unfenced));
        let floor = view.floor();
        // Said before the acknowledgement is written.
        let least = if acked.load(Acquire) { END } else { FIRST };
        assert!(floor <= least, "the floor passed an unacknowledged message");
        consumer.join().unwrap();
        assert_eq!(view.floor(), END);
    });
}

#[test]
fn the_floor_stays_below_a_spilled_message() {
    floor_and_spill(false);
}

#[test]
#[should_panic(expected = "the floor passed")]
fn a_spill_that_lets_go_first_is_passed() {
    floor_and_spill(true);
}
