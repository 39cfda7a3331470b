//! Seek against claim (`Member::seek_locked` and `GroupView::claim`, S-SEEK): a group is moved only
//! while nobody holds anything of the old place.

use std::sync::Arc;

use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::engine::cursor::GroupView;
use crate::group::{claim, group, positions, END, FIRST};
use crate::heap::{check, check_deaths, until_death, Fault, Mem, IMMORTAL};
use crate::layout::group::{Cursor, Lease, SEEKING};
use crate::sync::{Acquire, Memory, Release, SeqCst};

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

/// `Member::seek_locked`, without what needs a channel. `look_first`: at the leases, before `SEEKING`.
fn seek(group: &GroupView<Mem>, me: usize, entries: usize, to: u64, look_first: bool) -> Sought {
    let busy = || (0..entries).any(|e| e != me && group.busy(e));
    let early = look_first && busy();
    group.0.swap(SEEKING, 1, SeqCst);
    let c = group.cursor();
    let sought = if early || (!look_first && busy()) {
        Sought::Busy
    } else {
        group.set_idle(me);
        if group.move_cursor(c, to) {
            Sought::Moved
        } else {
            Sought::Overtaken
        }
    };
    let _ = group.0.cas(SEEKING, 1, 0, SeqCst);
    sought
}

/// A seek, and a consumer that tries twice to claim one message.
fn seek_against_claim(fault: Fault, look_first: bool) {
    check(3, move || {
        let mem = group(2, 2);
        let view = GroupView(mem.actor(Fault::None));
        let consumer = thread::spawn(move || claim(&view, 1).or_else(|| claim(&view, 1)));
        let view = GroupView(mem.actor(fault));
        let sought = seek(&view, 0, 2, BACK, look_first);
        let got = consumer.join().unwrap();
        let from = if sought == Sought::Moved { BACK } else { FIRST };
        assert!(got.is_none() || got == Some(from), "held across a seek");
        let lease = got.map_or(Lease::Idle, |first| Lease::Held { first, count: 1 });
        assert_eq!(view.lease(1), lease);
        let at = view.cursor().position;
        assert_eq!(at, from + u64::from(got.is_some()), "held across a seek");
        assert!(look_first || sought != Sought::Overtaken, "overtaken by a claim it did not see");
    });
}

#[test]
fn a_seek_moves_nobodys_messages_and_is_not_overtaken() {
    seek_against_claim(Fault::None, false);
}

#[test]
#[should_panic(expected = "held across a seek")]
fn a_seek_that_looks_before_it_is_announced_moves_what_is_held() {
    seek_against_claim(Fault::None, true);
}

#[test]
#[should_panic(expected = "overtaken by a claim")]
fn a_seek_without_seqcst_is_overtaken() {
    seek_against_claim(Fault::Unfenced, false);
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
        let sought = seek(&seeker, 2, 3, FIRST, false);
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
