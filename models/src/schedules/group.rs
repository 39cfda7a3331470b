//! Claims, hand-outs, acknowledgements, spills, adoption, seeks, page hops, and the floor (`engine/cursor.rs`,
//! `engine/held.rs`): `Member` without pages, over messages that are all there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shuttle::thread;

use crate::engine::cursor::{Claimed, GroupView};
use crate::heap::{below, chance, Fault, Mem};
use crate::layout::group::{
    entry_at, held_at, held_word, Cursor, Lease, CURSOR, ENTRIES, HELD_TOP, LEASE, NOBODY,
    PROGRESS, SEEKING,
};
use crate::run::{caught, schedules};
use crate::sync::{Acquire, Memory, SeqCst};

use super::Fates;

const CONSUMERS: usize = 4;
/// Messages, the first at `FIRST`; behind the third a page ends, and there is a gap to the next.
const FIRST: u64 = 100;
const PAGE_END: u64 = 103;
const NEXT: u64 = 200;
const END: u64 = 204;
/// Held words of an entry that the model has.
const PLACES: usize = 8;

/// How the protocol is broken.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A message is handed out before that is written down.
    LateProgress,
    /// A lease is let go of before its messages are in held words.
    IdleFirst,
    /// An entry is taken over by whoever finds it, without a lock.
    NoLock,
    /// The floor is read leases first.
    FloorLast,
    Memory(Fault),
}

/// What really happened, which no actor looks at.
#[derive(Default)]
struct Ghost {
    /// For each message: unflagged hand-outs, flagged ones, and whether its acknowledgement was begun and done.
    messages: BTreeMap<u64, [usize; 4]>,
    /// Who was handed it and has neither acknowledged nor died.
    holders: BTreeMap<u64, usize>,
    /// Owners of entries (the kernel's locks).
    locks: BTreeMap<usize, usize>,
    seeks: usize,
    gone: usize,
}

#[derive(Clone)]
struct World {
    ghost: Arc<Mutex<Ghost>>,
    fates: Fates,
    wrong: Wrong,
    seeks: bool,
}

impl World {
    fn ghost<T>(&self, act: impl FnOnce(&mut Ghost) -> T) -> T {
        act(&mut self.ghost.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// `Group::try_own`: a kernel lock; those of the dead are free.
    fn try_own(&self, mem: &Mem, me: usize, entry: usize) -> bool {
        mem.call();
        self.ghost(|g| match g.locks.get(&entry) {
            Some(&owner) if !self.fates.dead(owner) && self.wrong != Wrong::NoLock => false,
            _ => {
                g.locks.insert(entry, me);
                true
            }
        })
    }

    fn disown(&self, mem: &Mem, entry: usize) {
        mem.call();
        self.ghost(|g| g.locks.remove(&entry));
    }

    fn handed(&self, me: usize, at: u64, deliveries: u32) {
        self.ghost(|g| {
            if let Some(&other) = g.holders.get(&at) {
                assert!(self.fates.dead(other), "two live consumers hold one message");
            }
            let message = g.messages.entry(at).or_default();
            message[usize::from(deliveries > 1)] += 1;
            assert!(message[3] == 0 || g.seeks > 0, "handed out after its acknowledgement");
            assert!(message[0] <= 1 || g.seeks > 0, "handed out twice without a flag");
            g.holders.insert(at, me);
        });
    }

    /// Before the acknowledgement is written, and after.
    fn acked(&self, at: u64, done: bool) {
        self.ghost(|g| {
            g.messages.entry(at).or_default()[2 + usize::from(done)] = 1;
            g.holders.remove(&at);
        });
    }
}

/// `Member`: its own entry, and what it holds.
struct Member<'a> {
    world: &'a World,
    view: GroupView<Mem>,
    me: usize,
    entry: usize,
    first: u64,
    count: usize,
    handed: usize,
    acked: usize,
    aside: Vec<u64>,
}

impl Member<'_> {
    /// `Member::deliver`.
    fn deliver(&mut self) {
        let at = self.first + self.handed as u64;
        self.handed += 1;
        if self.world.wrong == Wrong::LateProgress {
            self.world.handed(self.me, at, 1);
        }
        self.view.set_progress(self.entry, self.handed, self.acked);
        if self.world.wrong != Wrong::LateProgress {
            self.world.handed(self.me, at, 1);
        }
    }

    /// `Member::ack_handed`, `finish`.
    fn ack(&mut self) {
        let of = |m: &Self| (m.first + m.acked as u64)..(m.first + m.handed as u64);
        let these = of(self);
        these.clone().for_each(|at| self.world.acked(at, false));
        if self.handed == self.count {
            self.view.set_progress(self.entry, self.count, self.count);
            self.view.set_idle(self.entry);
            self.count = 0;
        } else {
            self.view.set_progress(self.entry, self.handed, self.handed);
        }
        self.acked = self.handed;
        these.for_each(|at| self.world.acked(at, true));
        if self.count == 0 {
            (self.handed, self.acked) = (0, 0);
        }
    }

    /// `Member::spill`.
    fn spill(&mut self) {
        let mut at = 0;
        if self.world.wrong == Wrong::IdleFirst {
            self.view.set_idle(self.entry);
        }
        for i in self.acked..self.handed {
            let position = self.first + i as u64;
            assert!(self.view.put_held(self.entry, &mut at, held_word(position, 1)));
            self.aside.push(position);
        }
        if self.world.wrong != Wrong::IdleFirst {
            self.view.set_idle(self.entry);
        }
        (self.count, self.handed, self.acked) = (0, 0, 0);
    }

    /// `Member::ack` of everything put aside.
    fn ack_aside(&mut self) {
        let these = std::mem::take(&mut self.aside);
        these.iter().for_each(|&at| self.world.acked(at, false));
        self.view.drop_held(self.entry, u64::MAX);
        self.view.clear_held(self.entry);
        these.iter().for_each(|&at| self.world.acked(at, true));
    }

    /// `Member::find`: spill, then claim, or hop; false: there is nothing more.
    fn find(&mut self) -> bool {
        let c = self.view.cursor();
        if c.position == END {
            return false;
        }
        let claimed = if c.position == PAGE_END {
            self.view.hop(self.entry, c, NEXT)
        } else {
            let page_end = if c.position < PAGE_END { PAGE_END } else { END };
            let n = (1 + below(2)).min((page_end - c.position) as usize);
            if self.count > 0 {
                self.spill();
            }
            let claimed = self.view.claim(self.entry, c, n);
            if claimed == Claimed::Yes {
                (self.first, self.count, self.handed, self.acked) = (c.position, n, 0, 0);
            }
            claimed
        };
        if claimed == Claimed::Seeking {
            // `Member::end_stale_seek`: its owner is dead, or has been stopped for long.
            let stale = self.world.ghost(|g| g.locks.get(&SEEK).copied());
            if stale.is_none_or(|s| self.world.fates.dead(s)) || self.world.fates.stopped() {
                let _ = self.view.0.cas(SEEKING, 1, 0, SeqCst);
            }
            thread::yield_now();
        }
        true
    }

    /// `Member::adopt_one` and `redeliver_cold`: take over entries of the dead, hand out and acknowledge
    /// what they hold.
    fn adopt(&mut self) {
        for entry in (0..CONSUMERS).filter(|&e| e != self.entry) {
            if !self.view.busy(entry) || !self.world.try_own(&self.view.0, self.me, entry) {
                continue;
            }
            if let Lease::Held { first, count } = self.view.resolve(entry) {
                self.view.unfold(entry, first, count, |_| false);
            }
            while let Some((i, at, deliveries)) = self.view.next_held(entry, 0) {
                self.view.set_held(entry, i, held_word(at, deliveries + 1));
                self.world.handed(self.me, at, deliveries + 1);
                self.world.acked(at, false);
                self.view.set_held(entry, i, 0);
                self.world.acked(at, true);
            }
            self.view.clear_held(entry);
            self.world.disown(&self.view.0, entry);
        }
    }

    /// `Member::seek`, `seek_alone`, with nothing of its own in hand.
    fn seek(&mut self) {
        self.view.0.call();
        let alone = self.world.ghost(|g| {
            let free = g.locks.get(&SEEK).is_none_or(|&s| self.world.fates.dead(s));
            free.then(|| g.locks.insert(SEEK, self.me)).is_some()
        });
        if !alone {
            return;
        }
        let mut dead = Vec::new();
        let moved = self.view.seek(FIRST, || {
            (0..CONSUMERS).filter(|&e| e != self.entry).all(|entry| {
                if dead.contains(&entry) || !self.view.busy(entry) {
                    return true;
                }
                let own = self.world.try_own(&self.view.0, self.me, entry);
                if own {
                    dead.push(entry);
                }
                own
            }) && self.world.ghost(|g| {
                // From here on anything may come again.
                g.seeks += 1;
                true
            })
        });
        for entry in dead {
            if moved {
                self.view.forget(entry);
            }
            self.world.disown(&self.view.0, entry);
        }
        self.view.end_seek();
        self.world.disown(&self.view.0, SEEK);
    }
}

/// The lock on seeking, among those on entries.
const SEEK: usize = usize::MAX;

fn consume(world: &World, mem: Mem, me: usize) {
    let view = GroupView(mem);
    let mut m = Member {
        world,
        view,
        me,
        entry: me,
        first: 0,
        count: 0,
        handed: 0,
        acked: 0,
        aside: Vec::new(),
    };
    assert!(world.try_own(&m.view.0, me, me));
    let mut turns = 4 + below(4);
    let mut sought = !world.seeks || me > 1;
    loop {
        if m.handed < m.count {
            m.deliver();
            if chance(2) {
                m.ack();
            }
            continue;
        }
        if turns == 0 || !m.aside.is_empty() && chance(3) {
            if m.count > 0 {
                m.ack();
            }
            m.ack_aside();
        }
        if turns == 0 {
            break;
        }
        turns -= 1;
        if chance(3) {
            m.adopt();
        }
        if !sought && m.count == 0 && m.aside.is_empty() && chance(2) {
            sought = true;
            m.seek();
        }
        if !m.find() {
            turns = 0;
        }
    }
}

/// The floor is below everything that is not acknowledged.
fn watch(world: &World, mem: Mem) {
    let view = GroupView(mem);
    for _ in 0..4 {
        let floor = if world.wrong == Wrong::FloorLast {
            let leases = (0..CONSUMERS).map(|e| view.entry_floor(e)).fold(u64::MAX, u64::min);
            leases.min(view.cursor().position)
        } else {
            view.floor()
        };
        world.ghost(|g| {
            let done = |at: &u64| g.messages.get(at).is_some_and(|m| m[2] == 1);
            let below = (FIRST..PAGE_END).chain(NEXT..END).filter(|&at| at < floor);
            assert!(g.seeks > 0 || below.clone().all(|at| done(&at)), "the floor passed a message");
        });
        thread::yield_now();
    }
}

fn group(wrong: Wrong, seeks: bool) {
    let start = Cursor { position: FIRST, last: NOBODY };
    let mut words = vec![(CURSOR, start.pack()), (SEEKING, 0), (ENTRIES, CONSUMERS as u64)];
    for entry in 0..=CONSUMERS {
        let at = entry_at(entry);
        words.extend([at + LEASE, at + PROGRESS, at + HELD_TOP].map(|at| (at, 0)));
        words.extend((0..PLACES).map(|i| (held_at(entry, i), 0)));
    }
    let mem = Mem::stepped(&words);
    let fates = Fates::draw(CONSUMERS, 60);
    let world = World { ghost: Arc::default(), fates: fates.clone(), wrong, seeks };
    let fault = if let Wrong::Memory(fault) = wrong { fault } else { Fault::None };
    let mut actors = Vec::new();
    for me in 0..CONSUMERS {
        let world = world.clone();
        actors.push(fates.spawn(me, &mem, fault, move |mem| consume(&world, mem, me)));
    }
    let (watcher, words) = (world.clone(), mem.actor(Fault::None));
    let floor = thread::spawn(move || watch(&watcher, words));
    let done = fates.join(actors);
    floor.join().unwrap();
    world.ghost(|g| g.gone = done.iter().filter(|d| d.is_none()).count());
    // One more consumer takes over what is left, and receives the rest.
    let view = GroupView(mem.actor(Fault::None));
    let mut last = Member {
        world: &world,
        view,
        me: CONSUMERS,
        entry: CONSUMERS,
        first: 0,
        count: 0,
        handed: 0,
        acked: 0,
        aside: Vec::new(),
    };
    world.ghost(|g| {
        let alive = |owner: &usize| done.get(*owner).is_some_and(Option::is_some);
        g.locks.retain(|_, owner| !alive(owner));
    });
    last.view.0.store(SEEKING, 0, SeqCst);
    last.adopt();
    while last.find() {
        while last.handed < last.count {
            last.deliver();
        }
        if last.count > 0 {
            last.ack();
        }
    }
    world.ghost(|g| {
        let all = (FIRST..PAGE_END).chain(NEXT..END);
        let seen =
            |at: u64| g.messages.get(&at).is_some_and(|m| m[3] == 1 || g.gone > 0 && m[2] == 1);
        assert!(all.clone().all(seen), "lost");
        let again = |at: u64| g.messages[&at][1] > 0;
        assert!(g.gone > 0 || g.seeks > 0 || !all.clone().any(again), "flagged without a death");
    });
    assert_eq!(last.view.0.load(CURSOR, Acquire) >> 10, END);
    assert_eq!(last.view.floor(), END, "the floor stays behind");
}

#[test]
fn each_message_is_acknowledged_once() {
    schedules(1500, || group(Wrong::Nothing, false));
}

#[test]
fn seeks_lose_nothing_and_no_two_hold_a_message() {
    schedules(1500, || group(Wrong::Nothing, true));
}

#[test]
#[should_panic(expected = "without a flag")]
fn progress_written_late_hides_a_delivery() {
    caught(|| group(Wrong::LateProgress, false));
}

#[test]
#[should_panic]
fn a_lease_let_go_first_is_lost() {
    caught(|| group(Wrong::IdleFirst, false));
}

#[test]
#[should_panic]
fn entries_taken_over_without_a_lock_have_two_owners() {
    caught(|| group(Wrong::NoLock, false));
}

#[test]
#[should_panic(expected = "the floor passed")]
fn a_floor_that_reads_leases_first_passes_a_message() {
    caught(|| group(Wrong::FloorLast, false));
}

#[test]
#[should_panic]
fn without_help_a_claim_is_lost() {
    caught(|| group(Wrong::Memory(Fault::Deaf(entry_at(0) + LEASE)), false));
}

#[test]
#[should_panic]
fn a_torn_cursor_gives_messages_twice() {
    caught(|| group(Wrong::Memory(Fault::Torn(CURSOR)), false));
}
