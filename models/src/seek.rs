//! Seek against claim (`Member::seek_locked` and `GroupView::claim`, S-SEEK): a group is moved only
//! while nobody holds anything of the old place.

use std::sync::Arc;

use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::engine::cursor::{Claimed, GroupView};
use crate::group::{claim, group, positions, END, FIRST};
use crate::heap::{until_death, Fault, Mem, IMMORTAL};
use crate::layout::group::{Cursor, Lease, SEEKING};
use crate::run::{check, check_deaths};
use crate::sync::{Acquire, Memory, Release, SeqCst};

/// Where the next page begins.
const NEXT: u64 = 200;

/// Where the seek goes.
const BACK: u64 = 50;

/// How a seek ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sought {
    /// Somebody holds something.
    Busy,
    /// Nobody did, and the cursor moved all the same.
    Overtaken,
    Moved,
}

/// What is wrong with a seek.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    /// It looks at the leases before `SEEKING` is set.
    LooksFirst,
    /// It tries again with a cursor that it read after the leases.
    Insists,
}

/// `Member::seek_alone`, without the dead.
fn seek(group: &GroupView<Mem>, me: usize, entries: usize, to: u64, wrong: Wrong) -> Sought {
    let busy = || (0..entries).any(|e| e != me && group.busy(e));
    let mut looks = 0;
    let moved = match wrong {
        Wrong::Nothing => {
            let moved = group.seek(to, || {
                looks += 1;
                !busy()
            });
            group.end_seek();
            moved
        }
        _ => {
            let early = wrong == Wrong::LooksFirst && busy();
            group.0.swap(SEEKING, 1, SeqCst);
            let alone = !early && (wrong == Wrong::LooksFirst || !busy());
            let moved = alone && (0..3).any(|_| group.move_cursor(group.cursor(), to));
            let _ = group.0.cas(SEEKING, 1, 0, SeqCst);
            moved
        }
    };
    match (moved, looks) {
        (true, ..=1) => Sought::Moved,
        (false, ..=1) => Sought::Busy,
        _ => Sought::Overtaken,
    }
}

/// A seek, and a consumer that tries twice to claim one message.
fn seek_against_claim(fault: Fault, wrong: Wrong) {
    check(3, move || {
        let mem = group(2, 2);
        let view = GroupView(mem.actor(Fault::None));
        let consumer = thread::spawn(move || claim(&view, 1).or_else(|| claim(&view, 1)));
        let view = GroupView(mem.actor(fault));
        let sought = seek(&view, 0, 2, BACK, wrong);
        let got = consumer.join().unwrap();
        let from = if sought == Sought::Moved { BACK } else { FIRST };
        assert!(got.is_none() || got == Some(from), "held across a seek");
        let lease = got.map_or(Lease::Idle, |first| Lease::Held { first, count: 1 });
        assert_eq!(view.lease(1), lease);
        let at = view.cursor().position;
        assert_eq!(at, from + u64::from(got.is_some()), "held across a seek");
        assert_ne!(sought, Sought::Overtaken, "overtaken by a claim it did not see");
    });
}

#[test]
fn a_seek_moves_nobodys_messages_and_is_not_overtaken() {
    seek_against_claim(Fault::None, Wrong::Nothing);
}

#[test]
#[should_panic(expected = "held across a seek")]
fn a_seek_that_looks_before_it_is_announced_moves_what_is_held() {
    seek_against_claim(Fault::None, Wrong::LooksFirst);
}

#[test]
#[should_panic(expected = "overtaken by a claim")]
fn a_seek_without_seqcst_is_overtaken() {
    seek_against_claim(Fault::Unfenced, Wrong::Nothing);
}

/// A consumer finds a seek that seems to be suspended, and does not wait for it
/// (`Member::end_stale_seek`); the seek goes on at any time.
fn overruled(wrong: Wrong) {
    check(3, move || {
        let mem = group(2, 2);
        let view = GroupView(mem.actor(Fault::None));
        let consumer = thread::spawn(move || {
            let c = view.cursor();
            let first = view.claim(1, c, 1);
            if first == Claimed::Seeking {
                let _ = view.0.cas(SEEKING, 1, 0, SeqCst);
                return claim(&view, 1);
            }
            (first == Claimed::Yes).then_some(c.position)
        });
        let view = GroupView(mem.actor(Fault::None));
        let sought = seek(&view, 0, 2, BACK, wrong);
        let got = consumer.join().unwrap();
        let at = view.cursor().position;
        let from = if at < FIRST { BACK } else { FIRST };
        assert!(got.is_none() || got == Some(from), "held across a seek");
        assert_eq!(at, from + u64::from(got.is_some()), "held across a seek");
        assert!(sought == Sought::Busy || from == BACK || got.is_some());
    });
}

#[test]
fn an_overruled_seek_moves_nothing_that_was_claimed_since() {
    overruled(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "held across a seek")]
fn an_overruled_seek_that_insists_does() {
    overruled(Wrong::Insists);
}

/// Entry 0 claimed the message before the cursor and acknowledged it. Then: a seek back by entry 2, the
/// same claim again by entry 0, which may die in it; and a consumer that read the cursor before all that.
fn stale_helper(seeks: Fault, fuse: usize) {
    let mem = group(3, 3);
    let view = GroupView(mem.actor(Fault::None));
    assert_eq!(claim(&view, 0), Some(FIRST));
    view.set_progress(0, 1, 1);
    view.set_idle(0);
    assert_eq!(view.cursor(), Cursor { position: FIRST + 1, last: 0 });
    let gone = Arc::new(AtomicBool::new(false));

    let other = GroupView(mem.actor(Fault::None));
    let other = thread::spawn(move || claim(&other, 1));
    let seeker = GroupView(mem.actor(seeks));
    let again = GroupView(mem.mortal(Fault::None, fuse));
    let lock = gone.clone();
    let first = thread::spawn(move || {
        let sought = seek(&seeker, 2, 3, FIRST, Wrong::Nothing);
        let done = until_death(|| claim(&again, 0));
        if done.is_none() {
            lock.store(true, Release);
        }
        (sought, done)
    });
    let got = other.join().unwrap();
    let (sought, lived) = first.join().unwrap();
    let adopted = gone.load(Acquire).then(|| positions(view.resolve(0)));
    let mut all: Vec<_> = got.into_iter().chain(lived.flatten()).collect();
    all.extend(adopted.unwrap_or_default());
    all.extend(view.cursor().position..END);
    all.sort_unstable();
    match sought {
        Sought::Moved => assert_eq!(all, [FIRST, FIRST + 1], "lost or held twice"),
        _ => assert_eq!(all, [FIRST + 1], "lost or held twice"),
    }
}

#[test]
fn a_stale_helper_confirms_nothing() {
    check(2, || stale_helper(Fault::None, IMMORTAL));
    check_deaths(2, 8, |fuse| stale_helper(Fault::None, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn a_stale_helper_unseen_by_the_seek_confirms_what_never_was() {
    check_deaths(2, 8, |fuse| stale_helper(Fault::Unfenced, fuse));
}

/// The message was received, and the group stands behind it, at the end of the page. Then: a seek back by
/// entry 2, the same claim again by entry 0, which may die in it; and entry 1, which read the cursor before, goes on
/// to the next page: as `GroupView::hop`, or (`bare`) with nothing that a seek could see.
fn hop_against_seek(bare: bool, fuse: usize) {
    let mem = group(3, 3);
    let view = GroupView(mem.actor(Fault::None));
    assert_eq!(claim(&view, 0), Some(FIRST));
    view.set_progress(0, 1, 1);
    view.set_idle(0);
    let hopper = GroupView(mem.actor(Fault::None));
    let hopper = thread::spawn(move || {
        let c = hopper.cursor();
        if c.position == FIRST + 1 && bare {
            hopper.move_cursor(c, NEXT);
        } else if c.position == FIRST + 1 {
            hopper.hop(1, c, NEXT);
        }
    });
    let seeker = GroupView(mem.actor(Fault::None));
    let again = GroupView(mem.mortal(Fault::None, fuse));
    let first = thread::spawn(move || {
        let sought = seek(&seeker, 2, 3, FIRST, Wrong::Nothing);
        let still = seeker.cursor().position == FIRST;
        (sought, still.then(|| until_death(|| claim(&again, 0))))
    });
    hopper.join().unwrap();
    let (sought, done) = first.join().unwrap();
    if sought != Sought::Moved {
        return;
    }
    let mut all = match done {
        None => Vec::new(),
        Some(Some(lived)) => lived.into_iter().collect(),
        Some(None) => positions(view.resolve(0)),
    };
    all.extend(view.cursor().position..FIRST + 1);
    assert_eq!(all, [FIRST], "lost or held twice");
}

#[test]
fn a_hop_and_a_seek_lose_nothing() {
    check_deaths(2, 10, |fuse| hop_against_seek(false, fuse));
}

#[test]
#[should_panic(expected = "lost or held twice")]
fn a_hop_unseen_by_the_seek_does() {
    check_deaths(2, 10, |fuse| hop_against_seek(true, fuse));
}
