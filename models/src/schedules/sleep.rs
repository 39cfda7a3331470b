//! Sleep, wake, passing on, descriptors (`engine/sleepers.rs`, S-SLEEP): nobody sleeps beside a message that somebody
//! of the group could take.
//!
//! Where nobody is killed or stopped, a sleep ends by a wake alone, and shuttle reports it when all are
//! asleep. Where somebody is, sleeps are bounded, as in the library, and all must come to an end all the same.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::thread::{self, Thread};

use crate::engine::page::{Look, PageView};
use crate::engine::sleepers::{answer, ask, clear, told, BY_DESCRIPTOR, FOR_MESSAGES};
use crate::heap::{chance, Fault, Mem};
use crate::layout::control::{
    handle_at, member_at, ARMED, ASLEEP, SIGNAL, SLEEPERS, SLEEPING, TAG,
};
use crate::layout::page::Geometry;
use crate::page::{view, words};
use crate::run::{caught, caught_from, schedules};
use crate::sync::{AcqRel, Acquire, Memory, SeqCst};

use super::Fates;

const GEOMETRY: Geometry = Geometry { capacity: 8 * 6, slots: 6 };
const PRODUCERS: usize = 2;
/// Messages of each producer.
const EACH: usize = 2;
const TOTAL: u64 = (PRODUCERS * EACH) as u64;
/// Consumers: three of one group who sleep, and one of another who polls a descriptor.
const SLEEPY: usize = 3;
const POLLER: usize = 3;
/// Groups' tags; what a group took is a word of its own.
const TAGS: [u64; 2] = [5, 9];
const TAKEN: [usize; 2] = [8, 16];
/// The process whose library thread writes the descriptor.
const MEMBER: usize = 0;

/// How the protocol is broken.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A woken consumer does not pass on what it leaves.
    Keeps,
    /// A woken consumer that leaves without a message does not pass the wake on.
    Leaves,
    /// One who wakes a group repeats a round for that group only.
    OwnGroup,
    /// A descriptor is armed after the second look.
    ArmsLate,
    /// A descriptor counts as told only after it was written.
    TellsLate,
    Memory(Fault),
}

/// The kernel's wait queues, and the one descriptor.
#[derive(Clone, Default)]
struct Kernel(Arc<Mutex<Queues>>);

#[derive(Default)]
struct Queues {
    waiting: BTreeMap<usize, Vec<Waiter>>,
    readable: bool,
    /// Everything is received: whoever sleeps is to go home.
    over: [bool; 2],
    bounded: bool,
}

/// Somebody in a queue, for a group's messages. To be woken outside of the queues: that is a step of shuttle's.
struct Waiter {
    group: usize,
    woken: Arc<AtomicBool>,
    thread: Thread,
}

impl Waiter {
    fn end(self) {
        self.woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// The word of the descriptor's queue.
const DESCRIPTOR: usize = 1;
/// A consumer that is at work until its group has everything.
const WORK: usize = 2;

impl Kernel {
    fn with<T>(&self, act: impl FnOnce(&mut Queues) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sleep while `still`, checked and queued in one step.
    fn wait(&self, mem: &Mem, at: usize, group: usize, still: impl Fn(&Queues) -> bool) {
        mem.call();
        let woken = Arc::new(AtomicBool::new(false));
        let queued = self.with(|q| {
            let sleeps = still(q) && !q.over[group];
            if sleeps {
                let (woken, thread) = (woken.clone(), thread::current());
                q.waiting.entry(at).or_default().push(Waiter { group, woken, thread });
            }
            sleeps
        });
        while queued && !woken.load(SeqCst) {
            // `poll` is for ever; what cures a waker's death there is the scan.
            if at == DESCRIPTOR || !self.with(|q| q.bounded) {
                thread::park();
            } else if chance(8) {
                // The sleep's bound.
                let other = |w: &Waiter| !Arc::ptr_eq(&w.woken, &woken);
                self.with(|q| q.waiting.entry(at).or_default().retain(other));
                break;
            } else {
                thread::yield_now();
            }
        }
    }

    fn futex_wait(&self, mem: &Mem, at: usize, expected: u64, group: usize) {
        self.wait(mem, at, group, |_| mem.peek(at) == expected);
    }

    fn wake(&self, mem: &Mem, at: usize) -> bool {
        mem.call();
        let one = self.with(|q| {
            let queue = q.waiting.entry(at).or_default();
            (!queue.is_empty()).then(|| queue.remove(0))
        });
        one.map(Waiter::end).is_some()
    }

    /// Write the descriptor.
    fn signal(&self, mem: &Mem) {
        mem.call();
        self.with(|q| q.readable = true);
        self.wake(mem, DESCRIPTOR);
    }

    /// A group has received everything.
    fn over(&self, group: usize) {
        let mut all = Vec::new();
        self.with(|q| {
            q.over[group] = true;
            for queue in q.waiting.values_mut() {
                let (go, stay) = std::mem::take(queue).into_iter().partition(|w| w.group == group);
                *queue = stay;
                all.extend::<Vec<_>>(go);
            }
        });
        all.into_iter().for_each(Waiter::end);
    }
}

#[derive(Clone)]
struct World {
    kernel: Kernel,
    /// The descriptor's owner is the process of the wakers.
    own: bool,
    wrong: Wrong,
}

impl World {
    /// `Shared::wake`, `rouse`, `signal`.
    fn wake(&self, mem: &Mem, tag: Option<u64>) {
        let rouse =
            |index: usize| clear(mem, index) && self.kernel.wake(mem, handle_at(index) + ASLEEP);
        let signal = |index: usize| {
            if self.own {
                told(mem, index);
                self.kernel.signal(mem);
            } else {
                ask(mem, index);
                mem.add(member_at(MEMBER), 1, SeqCst);
                self.kernel.wake(mem, member_at(MEMBER));
            }
        };
        let mut tag = tag;
        while FOR_MESSAGES.wake(mem, tag, rouse, signal) {
            if self.wrong != Wrong::OwnGroup {
                tag = None;
            }
        }
    }

    /// Publish, and `Shared::message_made`.
    fn publish(&self, page: &PageView<Mem>, id: u32) {
        let Some(claim) = page.claim(1, 1) else { return };
        page.publish(claim.slot, 8, claim.unit, id);
        if FOR_MESSAGES.any(&page.mem) {
            self.wake(&page.mem, None);
        }
    }

    /// The producers are done, dead, or stopped: send the rest for them.
    fn finish(&self, page: &PageView<Mem>) {
        for slot in 0..TOTAL as usize {
            match page.look(slot) {
                Look::Unpublished => {
                    page.bury(slot);
                }
                Look::Free => self.publish(page, 99),
                _ => {}
            }
        }
        self.wake(&page.mem, None);
    }

    /// Take the group's next message if it is there.
    fn take(&self, page: &PageView<Mem>, group: usize) -> bool {
        let at = page.mem.load(TAKEN[group], Acquire);
        if at >= TOTAL || !ready(page, group) {
            return false;
        }
        let took = page.mem.cas(TAKEN[group], at, at + 1, AcqRel).is_ok();
        if took && at + 1 == TOTAL {
            self.kernel.over(group);
        }
        took
    }

    /// `Consumer::recv_slow` until the group has everything; the first one is at work with its first
    /// message for as long as that takes, the second one leaves for good once it was woken.
    fn consume(&self, page: &PageView<Mem>, index: usize) {
        let (mem, mut woken) = (&page.mem, false);
        let whole = self.kernel.with(|q| !q.bounded);
        let pass_on = |woken: &mut bool| {
            if std::mem::take(woken) {
                self.wake(mem, Some(TAGS[0]));
            }
        };
        while mem.load(TAKEN[0], Acquire) < TOTAL {
            if whole && woken && index == 1 && chance(2) {
                if self.wrong != Wrong::Leaves {
                    pass_on(&mut woken);
                }
                return;
            }
            if self.take(page, 0) {
                if self.wrong != Wrong::Keeps && woken && ready(page, 0) {
                    pass_on(&mut woken);
                }
                woken = false;
                if whole && index == 0 {
                    self.kernel.wait(mem, WORK, 0, |_| true);
                }
                continue;
            }
            woken |= FOR_MESSAGES.sleep(mem, index, || {
                if !ready(page, 0) {
                    self.kernel.futex_wait(mem, handle_at(index) + ASLEEP, 1, 0);
                }
            });
        }
    }

    /// A program's loop around `poll` and a receive that does not wait (`Handle::arm`).
    fn poll(&self, page: &PageView<Mem>) {
        let mem = &page.mem;
        while mem.load(TAKEN[1], Acquire) < TOTAL {
            if self.take(page, 1) {
                continue;
            }
            mem.call();
            self.kernel.with(|q| q.readable = false);
            let early = self.wrong == Wrong::ArmsLate && ready(page, 1);
            FOR_MESSAGES.arm(mem, POLLER, BY_DESCRIPTOR);
            let news = if self.wrong == Wrong::ArmsLate { early } else { ready(page, 1) };
            if !news {
                self.kernel.wait(mem, DESCRIPTOR, 1, |q| !q.readable);
            }
        }
    }

    /// The library thread of the descriptor's process (`worker::run`, `tend_descriptors`).
    fn tend(&self, page: &PageView<Mem>) {
        let mem = &page.mem;
        while mem.load(TAKEN[1], Acquire) < TOTAL {
            let word = mem.load(member_at(MEMBER), SeqCst);
            let scan = self.kernel.with(|q| q.bounded);
            if self.wrong == Wrong::TellsLate {
                if mem.swap(handle_at(POLLER) + SIGNAL, 0, SeqCst) != 0 {
                    self.kernel.signal(mem);
                    told(mem, POLLER);
                }
            } else if answer(mem, POLLER, scan, || ready(page, 1)) {
                self.kernel.signal(mem);
            }
            self.kernel.futex_wait(mem, member_at(MEMBER), word, 1);
        }
    }
}

/// Whether the group's next message is there, or it needs no more.
fn ready(page: &PageView<Mem>, group: usize) -> bool {
    let at = page.mem.load(TAKEN[group], Acquire);
    at >= TOTAL || !matches!(page.look(at as usize), Look::Free | Look::Unpublished)
}

fn sleep(wrong: Wrong, whole: bool) {
    let mut all = words(GEOMETRY);
    all.extend([
        (SLEEPERS, 0),
        (SLEEPING, 0),
        (TAKEN[0], 0),
        (TAKEN[1], 0),
        (member_at(MEMBER), 0),
    ]);
    for index in 0..=POLLER {
        let tag = TAGS[usize::from(index == POLLER)];
        all.push((handle_at(index) + TAG, tag));
        all.extend([ASLEEP, ARMED, SIGNAL].map(|at| (handle_at(index) + at, 0)));
    }
    let mem = Mem::stepped(&all);
    // The poller and its library thread are one process, which is to come to its end.
    let fates = if whole { Fates::none(7) } else { Fates::draw(7, 40).spare(POLLER..5) };
    // A process that writes its own descriptor is not killed without the poller.
    let world = World { kernel: Kernel::default(), own: whole && chance(2), wrong };
    world.kernel.with(|q| q.bounded = fates.any());
    let fault = if let Wrong::Memory(fault) = wrong { fault } else { Fault::None };
    let mut actors = Vec::new();
    for index in 0..7 {
        let world = world.clone();
        actors.push(fates.spawn(index, &mem, fault, move |mem| {
            let page = view(mem, GEOMETRY);
            match index {
                0..SLEEPY => world.consume(&page, index),
                POLLER => world.poll(&page),
                4 => world.tend(&page),
                _ => (0..EACH).for_each(|i| world.publish(&page, (10 * index + i) as u32)),
            }
        }));
    }
    if fates.any() {
        let rest = view(mem.actor(Fault::None), GEOMETRY);
        while !fates.over(5..7) {
            thread::yield_now();
        }
        world.finish(&rest);
    }
    fates.join(actors);
}

#[test]
fn nobody_sleeps_beside_a_message() {
    schedules(1500, || sleep(Wrong::Nothing, true));
}

#[test]
fn nobody_waits_for_the_dead_or_the_stopped() {
    schedules(1500, || sleep(Wrong::Nothing, false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_that_is_kept_leaves_a_sleeper() {
    caught(|| sleep(Wrong::Keeps, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_taken_away_leaves_a_sleeper() {
    caught(|| sleep(Wrong::Leaves, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_round_repeated_for_one_group_loses_another() {
    caught_from(1054, || sleep(Wrong::OwnGroup, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_descriptor_armed_late_is_never_readable() {
    caught(|| sleep(Wrong::ArmsLate, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_descriptor_told_late_is_never_readable_again() {
    caught(|| sleep(Wrong::TellsLate, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn torn_bits_lose_a_sleeper() {
    caught(|| sleep(Wrong::Memory(Fault::Torn(SLEEPERS)), true));
}
