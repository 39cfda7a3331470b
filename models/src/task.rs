//! Tasks that wait (`engine/sleepers.rs`, `channel/handles/task.rs`, S-SLEEP, S-TASK): nobody is pending on a published
//! message that no task of its group was woken for.

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::engine::page::{Look, PageView};
use crate::engine::sleepers::{clear, told, BY_TASK, FOR_MESSAGES};
use crate::heap::{Fault, Mem};
use crate::layout::control::{handle_at, ARMED, ASLEEP, SLEEPERS, SLEEPING};
use crate::layout::page::Geometry;
use crate::page::{view, words};
use crate::run::check;

const GEOMETRY: Geometry = Geometry { capacity: 16, slots: 2 };

/// The tasks' handles, of one group.
const ONE: usize = 0;
const TWO: usize = 1;

/// `Tasks`: whether a waker is registered, and whether one was called.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<(bool, bool)>>);

impl Tasks {
    fn register(&self) {
        *self.0.lock().unwrap() = (true, false);
    }

    fn wake(&self) {
        let mut tasks = self.0.lock().unwrap();
        if std::mem::take(&mut tasks.0) {
            tasks.1 = true;
        }
    }

    fn woken(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Register, arm, look.
    Real,
    /// The waker last.
    LateWaker,
    /// Look before it is armed.
    LookFirst,
}

/// `armed`: by what both are at the beginning, without their bits.
fn memory(armed: u64) -> Mem {
    let mut all = words(GEOMETRY);
    all.extend([(SLEEPERS, 0), (SLEEPING, 0)]);
    for index in [ONE, TWO] {
        all.extend([(handle_at(index) + ASLEEP, 0), (handle_at(index) + ARMED, armed)]);
    }
    Mem::new(&all)
}

/// `Handle::listen`; true: pending.
fn pend(page: &PageView<Mem>, tasks: &Tasks, index: usize, order: Order) -> bool {
    let ready = || page.look(0) != Look::Free;
    match order {
        Order::Real => {
            tasks.register();
            FOR_MESSAGES.arm(&page.mem, index, BY_TASK);
            !ready()
        }
        Order::LateWaker => {
            FOR_MESSAGES.arm(&page.mem, index, BY_TASK);
            let early = ready();
            tasks.register();
            !early
        }
        Order::LookFirst => {
            let early = ready();
            tasks.register();
            FOR_MESSAGES.arm(&page.mem, index, BY_TASK);
            !early
        }
    }
}

/// `Shared::wake`, `Shared::signal` of the same process.
fn wake(mem: &Mem, tasks: &[Tasks; 2], tag: Option<u64>) {
    let mut tag = tag;
    let signal = |index: usize| {
        told(mem, index);
        tasks[index].wake();
    };
    // Bounded: each further round means that somebody came in during the last one.
    while FOR_MESSAGES.wake(mem, tag, |index| clear(mem, index), signal) {
        tag = None;
    }
}

/// Publish, and `Shared::message_made`.
fn publish(page: &PageView<Mem>, tasks: &[Tasks; 2]) {
    let claim = page.claim(1, 1).unwrap();
    assert!(page.publish(claim.slot, 8, claim.unit, 1));
    if FOR_MESSAGES.any(&page.mem) {
        wake(&page.mem, tasks, None);
    }
}

fn one_task(task: Fault, publisher: Fault, order: Order) {
    check(3, move || {
        let mem = memory(0);
        let all = [Tasks::default(), Tasks::default()];
        let (page, own) = (view(mem.actor(task), GEOMETRY), all[ONE].clone());
        let task = thread::spawn(move || pend(&page, &own, ONE, order));
        publish(&view(mem.actor(publisher), GEOMETRY), &all);
        assert!(!task.join().unwrap() || all[ONE].woken(), "pending on a published message");
    });
}

#[test]
fn a_task_is_woken_or_sees_the_message() {
    one_task(Fault::None, Fault::None, Order::Real);
}

#[test]
#[should_panic(expected = "pending on a published message")]
fn a_publisher_without_seqcst_misses_a_task() {
    one_task(Fault::None, Fault::Unfenced, Order::Real);
}

#[test]
#[should_panic(expected = "pending on a published message")]
fn a_task_without_seqcst_misses_a_message() {
    one_task(Fault::Unfenced, Fault::None, Order::Real);
}

#[test]
#[should_panic(expected = "pending on a published message")]
fn a_waker_registered_after_the_look_is_not_called() {
    one_task(Fault::None, Fault::None, Order::LateWaker);
}

#[test]
#[should_panic(expected = "pending on a published message")]
fn a_look_before_the_arming_misses_a_message() {
    one_task(Fault::None, Fault::None, Order::LookFirst);
}

/// The signal of an earlier message comes late: it takes the new waker away, and the arming back.
#[test]
fn a_late_signal_costs_a_look_and_loses_nothing() {
    check(2, || {
        // Its bit is taken already.
        let mem = memory(BY_TASK);
        let all = [Tasks::default(), Tasks::default()];
        let (page, own) = (view(mem.actor(Fault::None), GEOMETRY), all[ONE].clone());
        let task = thread::spawn(move || pend(&page, &own, ONE, Order::Real));
        let (late, own) = (mem.actor(Fault::None), all[ONE].clone());
        let signal = thread::spawn(move || {
            told(&late, ONE);
            own.wake();
        });
        publish(&view(mem.actor(Fault::None), GEOMETRY), &all);
        signal.join().unwrap();
        assert!(!task.join().unwrap() || all[ONE].woken(), "pending on a published message");
    });
}

/// Two tasks of a group; the one that is woken for the message may be dropped at that moment: `Consumer::unlisten`.
fn dropped(passes_on: bool) {
    check(2, move || {
        let mem = memory(0);
        let all = [Tasks::default(), Tasks::default()];
        let page = view(mem.actor(Fault::None), GEOMETRY);
        assert!(pend(&page, &all[TWO], TWO, Order::Real));
        let (page, own) = (view(mem.actor(Fault::None), GEOMETRY), all.clone());
        let task = thread::spawn(move || {
            let pending = pend(&page, &own[ONE], ONE, Order::Real);
            // `Tasks::forget`; then it is gone, whether it was pending or saw the message.
            own[ONE].0.lock().unwrap().0 = false;
            let woken = FOR_MESSAGES.disarm(&page.mem, ONE);
            if woken && passes_on && page.look(0) != Look::Free {
                wake(&page.mem, &own, Some(0));
            }
            pending
        });
        publish(&view(mem.actor(Fault::None), GEOMETRY), &all);
        task.join().unwrap();
        assert!(all[TWO].woken(), "pending on a published message");
    });
}

#[test]
fn a_dropped_task_passes_its_wake_on() {
    dropped(true);
}

#[test]
#[should_panic(expected = "pending on a published message")]
fn a_dropped_task_that_keeps_its_wake_leaves_one_pending() {
    dropped(false);
}
