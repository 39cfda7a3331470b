//! Dropping a page against groups that come or seek back (S-WINDOW: `Shared::evict`, `create_group`, `joined`,
//! with their own words): a lossless group keeps what it has not received.

use loom::thread;

use crate::engine::cursor::GroupView;
use crate::heap::{Fault, Mem};
use crate::layout::control::{Window, WINDOW};
use crate::layout::group::{entry_at, Cursor, CURSOR, ENTRIES, LEASE, NOBODY, SEEKING};
use crate::layout::{position, FIRST_PAGE};
use crate::run::check;
use crate::sync::{Acquire, Memory, Release, SeqCst};

/// Whether the group's file has its name, and whether somebody has the lock on seeking: words of the model.
const LINKED: usize = 8;
const RIGHT: usize = 16;

/// How the protocol is broken.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A new group is not announced.
    Silent,
    /// It is announced before it can be seen.
    EarlyBump,
    /// It does not look at the window again.
    NoSecondLook,
    /// A group that sought back is taken over the page.
    PassesOver,
}

fn memory(at: u64, linked: u64) -> Mem {
    let window = Window { oldest: FIRST_PAGE, groups: 0 };
    let cursor = Cursor { position: at, last: NOBODY };
    Mem::new(&[
        (WINDOW, window.pack()),
        (CURSOR, cursor.pack()),
        (SEEKING, 0),
        (ENTRIES, 1),
        (entry_at(0) + LEASE, 0),
        (LINKED, linked),
        (RIGHT, 0),
    ])
}

fn window(mem: &Mem) -> Window {
    Window::unpack(mem.load(WINDOW, Acquire))
}

/// `Shared::joined`.
fn joined(mem: &Mem) {
    loop {
        let w = window(mem);
        if mem.cas(WINDOW, w.pack(), w.joined().pack(), SeqCst).is_ok() {
            return;
        }
    }
}

/// `Shared::evict` of the first page, on which the group has a message, under `DC_RETAIN_UNREAD`.
fn evict(mem: &Mem, wrong: Wrong) {
    let group = GroupView(mem.clone());
    let (w, end) = (window(mem), position(FIRST_PAGE + 1, 0));
    if mem.load(LINKED, Acquire) != 0 {
        if group.floor() < end || window(mem) != w {
            return;
        }
        // `pass_over`: the group seeks back only now.
        let right = mem.cas(RIGHT, 0, 1, SeqCst).is_ok();
        let c = group.cursor();
        let behind = c.position >= end;
        if wrong == Wrong::PassesOver && !behind {
            group.move_cursor(c, end);
        }
        if right {
            mem.store(RIGHT, 0, Release);
        }
        if wrong != Wrong::PassesOver && right && !behind {
            return;
        }
    }
    let to = Window { oldest: FIRST_PAGE + 1, ..w };
    let _ = mem.cas(WINDOW, w.pack(), to.pack(), SeqCst);
}

/// `Shared::create_group`, at the oldest page.
fn create(mem: &Mem, wrong: Wrong) {
    let group = GroupView(mem.clone());
    let start = Cursor { position: position(window(mem).oldest, 0), last: NOBODY };
    mem.store(CURSOR, start.pack(), Release);
    if wrong == Wrong::EarlyBump {
        joined(mem);
    }
    mem.store(LINKED, 1, Release);
    if wrong != Wrong::Silent && wrong != Wrong::EarlyBump {
        joined(mem);
    }
    let (c, oldest) = (group.cursor(), position(window(mem).oldest, 0));
    if c.position < oldest && wrong != Wrong::NoSecondLook {
        group.move_cursor(c, oldest);
    }
}

fn new_group(wrong: Wrong) {
    check(4, move || {
        let mem = memory(0, 0);
        let its = mem.actor(Fault::None);
        let creator = thread::spawn(move || create(&its, wrong));
        evict(&mem.actor(Fault::None), wrong);
        creator.join().unwrap();
        let at = GroupView(mem.clone()).cursor().position;
        assert!(at >= position(window(&mem).oldest, 0), "a new group's page was dropped");
    });
}

#[test]
fn a_new_group_begins_at_a_page_there_is() {
    new_group(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "page was dropped")]
fn a_group_that_is_not_announced_loses_its_page() {
    new_group(Wrong::Silent);
}

#[test]
#[should_panic(expected = "page was dropped")]
fn a_group_announced_before_it_is_seen_loses_its_page() {
    new_group(Wrong::EarlyBump);
}

#[test]
#[should_panic(expected = "page was dropped")]
fn a_new_group_that_does_not_look_again_loses_its_page() {
    new_group(Wrong::NoSecondLook);
}

/// The group has received all of the page, and seeks back to its beginning (`Member::seek`).
fn seek_back(wrong: Wrong) {
    check(4, move || {
        let mem = memory(position(FIRST_PAGE + 1, 0), 1);
        let its = mem.actor(Fault::None);
        let seeker = thread::spawn(move || {
            let free = wrong == Wrong::PassesOver || its.cas(RIGHT, 0, 1, SeqCst).is_ok();
            let moved = free && GroupView(its.clone()).seek(position(FIRST_PAGE, 0), || true);
            if free {
                joined(&its);
                its.store(RIGHT, 0, Release);
            }
            moved
        });
        evict(&mem.actor(Fault::None), wrong);
        let moved = seeker.join().unwrap();
        let kept = window(&mem).oldest == FIRST_PAGE;
        let there = GroupView(mem.clone()).cursor().position == position(FIRST_PAGE, 0);
        assert!(!moved || !kept || there, "taken over a page that is kept");
    });
}

#[test]
fn a_group_that_seeks_back_is_not_taken_over_the_page() {
    seek_back(Wrong::Nothing);
}

#[test]
#[should_panic(expected = "taken over a page that is kept")]
fn a_group_passed_over_after_it_sought_back_loses_messages() {
    seek_back(Wrong::PassesOver);
}
