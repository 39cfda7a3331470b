//! Sleep and wake (`engine/sleepers.rs`, `Handle::sleep`, `Shared::wake`, S-SLEEP): nobody is asleep on
//! a published message.

use loom::thread;

use crate::engine::page::{Look, PageView};
use crate::engine::sleepers::{clear, FOR_MESSAGES};
use crate::heap::{until_death, Fault, Mem};
use crate::layout::control::{handle_at, ASLEEP, SLEEPERS, SLEEPING, TAG};
use crate::layout::page::Geometry;
use crate::page::{view, words};
use crate::run::check;
use crate::sync::{AcqRel, Memory, SeqCst};

const GEOMETRY: Geometry = Geometry { capacity: 16, slots: 2 };

/// The sleepers' handles.
const ONE: usize = 0;
const TWO: usize = 1;

/// The order in which a sleeper does its three things.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Flag, bit and summary, look.
    Real,
    /// Look before it is announced.
    LookFirst,
    /// The flag last.
    LateFlag,
}

fn memory(summary: u64) -> Mem {
    let mut all = words(GEOMETRY);
    all.extend([(SLEEPERS, 0), (SLEEPING, summary)]);
    all.extend([ONE, TWO].map(|index| (handle_at(index) + ASLEEP, 0)));
    // The other one's reads 0.
    all.push((handle_at(TWO) + TAG, 7));
    Mem::new(&all)
}

/// `Handle::sleep`, whose futex looks at the flag once more in the kernel; true: asleep. Only a waker ends
/// it here: the model has no clock.
fn sleep(page: &PageView<Mem>, index: usize, order: Order) -> bool {
    let (mem, at) = (&page.mem, handle_at(index) + ASLEEP);
    let ready = || page.look(0) != Look::Free;
    let waits = || mem.add(at, 0, AcqRel) == 1;
    let enter = || {
        mem.or(SLEEPERS, 1 << index, SeqCst);
        mem.or(SLEEPING, 1, SeqCst);
    };
    match order {
        Order::Real => {
            // Asleep, it does not come to what follows.
            let mut asleep = false;
            let _ = until_death(|| {
                FOR_MESSAGES.sleep(mem, index, || {
                    asleep = !ready() && waits();
                    if asleep {
                        mem.stop();
                    }
                })
            });
            asleep
        }
        Order::LookFirst => {
            let early = ready();
            mem.store(at, 1, SeqCst);
            enter();
            !early && waits()
        }
        Order::LateFlag => {
            enter();
            let ready = ready();
            mem.store(at, 1, SeqCst);
            !ready && waits()
        }
    }
}

/// `Shared::wake`; `once`: a round is not repeated.
fn wake(mem: &Mem, once: bool) {
    // Bounded: each further round means that a sleeper came in during the last one.
    while FOR_MESSAGES.wake(mem, None, |index| clear(mem, index), |_| ()) && !once {}
}

/// Publish, and `Shared::message_made`.
fn publish(page: &PageView<Mem>) {
    let claim = page.claim(1, 1).unwrap();
    assert!(page.publish(claim.slot, 8, claim.unit, 1));
    if FOR_MESSAGES.any(&page.mem) {
        wake(&page.mem, false);
    }
}

/// Nobody is left who would wake a sleeper.
fn nobody_sleeps(page: &PageView<Mem>, asleep: bool, index: usize) {
    let still = asleep && page.mem.add(handle_at(index) + ASLEEP, 0, AcqRel) == 1;
    assert!(!still, "asleep on a published message");
}

fn one_sleeper(sleeper: Fault, publisher: Fault, order: Order) {
    check(3, move || {
        let mem = memory(0);
        let page = view(mem.actor(sleeper), GEOMETRY);
        let sleeper = thread::spawn(move || sleep(&page, ONE, order));
        publish(&view(mem.actor(publisher), GEOMETRY));
        let asleep = sleeper.join().unwrap();
        nobody_sleeps(&view(mem.actor(Fault::None), GEOMETRY), asleep, ONE);
    });
}

#[test]
fn a_sleeper_is_woken_or_sees_the_message() {
    one_sleeper(Fault::None, Fault::None, Order::Real);
}

#[test]
#[should_panic(expected = "asleep on a published message")]
fn a_publisher_without_seqcst_misses_a_sleeper() {
    one_sleeper(Fault::None, Fault::Unfenced, Order::Real);
}

#[test]
#[should_panic(expected = "asleep on a published message")]
fn a_sleeper_without_seqcst_misses_a_message() {
    one_sleeper(Fault::Unfenced, Fault::None, Order::Real);
}

#[test]
#[should_panic(expected = "asleep on a published message")]
fn a_look_before_the_announcement_misses_a_message() {
    one_sleeper(Fault::None, Fault::None, Order::LookFirst);
}

#[test]
#[should_panic(expected = "asleep on a published message")]
fn a_flag_after_the_look_misses_a_waker() {
    one_sleeper(Fault::None, Fault::None, Order::LateFlag);
}

/// Two sleepers of different groups: both are woken.
#[test]
fn two_sleepers_are_both_woken() {
    check(2, || {
        let mem = memory(0);
        let sleepers = [ONE, TWO].map(|index| {
            let page = view(mem.actor(Fault::None), GEOMETRY);
            (index, thread::spawn(move || sleep(&page, index, Order::Real)))
        });
        publish(&view(mem.actor(Fault::None), GEOMETRY));
        let page = view(mem.actor(Fault::None), GEOMETRY);
        for (index, sleeper) in sleepers {
            nobody_sleeps(&page, sleeper.join().unwrap(), index);
        }
    });
}

/// A waker of earlier news finds the summary bit of an earlier sleep, and drops it, while a sleeper
/// comes in and a message is published.
fn stale_summary(once: bool) {
    check(2, move || {
        let mem = memory(1);
        let page = view(mem.actor(Fault::None), GEOMETRY);
        let sleeper = thread::spawn(move || sleep(&page, ONE, Order::Real));
        let page = view(mem.actor(Fault::None), GEOMETRY);
        let publisher = thread::spawn(move || publish(&page));
        wake(&mem.actor(Fault::None), once);
        let asleep = sleeper.join().unwrap();
        publisher.join().unwrap();
        nobody_sleeps(&view(mem.actor(Fault::None), GEOMETRY), asleep, ONE);
    });
}

#[test]
fn dropping_a_stale_summary_loses_no_sleeper() {
    stale_summary(false);
}

#[test]
#[should_panic(expected = "asleep on a published message")]
fn a_summary_restored_without_a_second_round_loses_one() {
    stale_summary(true);
}
