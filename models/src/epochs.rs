//! Epochs (`engine/abandoned.rs`): claims of the gone are cleared, claims of the living are left alone.

use std::sync::Arc;

use loom::sync::atomic::AtomicBool;
use loom::thread;

use crate::engine::abandoned::{enter, leave, register, Watch};
use crate::engine::page::{Look, PageView};
use crate::heap::{until_death, Fault, Mem, IMMORTAL};
use crate::layout::control::{handle_at, EPOCH, KIND, KIND_PRODUCER};
use crate::layout::page::{Geometry, TAIL_AT};
use crate::layout::position;
use crate::page::{view, words, PAGE};
use crate::run::{check, check_deaths};
use crate::sync::{Acquire, Memory, Release};

const GEOMETRY: Geometry = Geometry { capacity: 16, slots: 2 };

/// Where the epoch turns odd and even in a send.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Odd from before the claim until after the publication.
    Real,
    /// Claim first.
    LateEnter,
    /// Even before the publication.
    EarlyLeave,
}

fn send(page: &PageView<Mem>, record: usize, epoch: &mut u64, order: Order) -> bool {
    let mem = &page.mem;
    if order != Order::LateEnter {
        enter(mem, record, epoch);
    }
    let claim = page.claim(1, 1).unwrap();
    if order == Order::LateEnter {
        enter(mem, record, epoch);
    }
    if order == Order::EarlyLeave {
        leave(mem, record, epoch);
    }
    let published = page.publish(claim.slot, 8, claim.unit, 1);
    if order != Order::EarlyLeave {
        leave(mem, record, epoch);
    }
    published
}

/// Two producers' records and a page.
fn memory() -> Mem {
    let mut all = words(GEOMETRY);
    for at in [handle_at(0), handle_at(1)] {
        all.extend([(at + KIND, KIND_PRODUCER), (at + EPOCH, 0)]);
    }
    Mem::new(&all)
}

/// A reader on its way through the page.
struct Reader {
    page: PageView<Mem>,
    watch: Watch,
    slot: usize,
    buried: usize,
    /// Takes the watch of one claim for that of all later ones, too.
    careless: bool,
}

impl Reader {
    fn new(mem: &Mem) -> Reader {
        let page = view(mem.actor(Fault::Unfenced), GEOMETRY);
        Reader { page, watch: Watch::default(), slot: 0, buried: 0, careless: false }
    }

    /// Look at one slot, as `Shared::settle` does before the stall timeout.
    fn step(&mut self, alive: impl Fn(usize) -> bool) {
        match self.page.look(self.slot) {
            Look::Unpublished => {}
            Look::Free | Look::End => return,
            _ => {
                self.slot += 1;
                return;
            }
        }
        let claimed = if self.careless { GEOMETRY.slots } else { self.page.claimed() };
        self.watch.on(position(PAGE, self.slot), position(PAGE, claimed), 1);
        if self.watch.cleared(&self.page.mem, alive) {
            self.buried += usize::from(self.page.bury(self.slot));
        }
    }
}

/// A producer sends, a reader looks meanwhile and may take it for dead only if it is: the lock on a
/// record goes with its owner.
fn watched(fault: Fault, order: Order, fuse: usize, sends: usize) {
    let mem = memory();
    let gone = Arc::new(AtomicBool::new(false));
    let page = view(mem.mortal(fault, fuse), GEOMETRY);
    let lock = gone.clone();
    let producer = thread::spawn(move || {
        let mut epoch = 0;
        let record = handle_at(0);
        let done = until_death(|| (0..sends).all(|_| send(&page, record, &mut epoch, order)));
        if done.is_none() {
            lock.store(true, Release);
        }
        done
    });
    let mut reader = Reader::new(&mem);
    for _ in 0..3 {
        reader.step(|_| !gone.load(Acquire));
    }
    let done = producer.join().unwrap();
    let live = done.is_none() || (done == Some(true) && reader.buried == 0);
    assert!(live, "a live producer's claim was buried");
    for _ in 0..2 * GEOMETRY.slots {
        reader.step(|_| done.is_some());
    }
    assert_eq!(reader.slot, reader.page.claimed(), "nobody clears the claim");
}

#[test]
fn a_live_claim_is_left_alone() {
    check(3, || watched(Fault::Unfenced, Order::Real, IMMORTAL, 2));
}

#[test]
fn a_dead_claim_is_cleared_wherever_its_owner_died() {
    check_deaths(2, 12, |fuse| watched(Fault::Unfenced, Order::Real, fuse, 2));
}

#[test]
#[should_panic(expected = "claim was buried")]
fn a_claim_before_the_epoch_is_buried() {
    check(3, || watched(Fault::Unfenced, Order::LateEnter, IMMORTAL, 1));
}

#[test]
#[should_panic(expected = "claim was buried")]
fn an_epoch_left_early_is_no_protection() {
    check(3, || watched(Fault::Unfenced, Order::EarlyLeave, IMMORTAL, 1));
}

#[test]
#[should_panic(expected = "claim was buried")]
fn a_relaxed_claim_does_not_show_the_epoch() {
    check(3, || watched(Fault::Relaxed(TAIL_AT), Order::Real, IMMORTAL, 1));
}

/// One producer publishes and another one claims while a reader's watch goes on from the one's slot to
/// the other's. The records are passed in the order of their numbers: the later claim has the first.
fn two_claims(careless: bool) {
    check(3, move || {
        let mem = memory();
        let (first, mut epoch) = (view(mem.actor(Fault::Unfenced), GEOMETRY), 0);
        enter(&first.mem, handle_at(1), &mut epoch);
        let claim = first.claim(1, 1).unwrap();
        let second = view(mem.actor(Fault::Unfenced), GEOMETRY);
        let second = thread::spawn(move || send(&second, handle_at(0), &mut 0, Order::Real));
        let mut reader = Reader::new(&mem);
        reader.careless = careless;
        reader.step(|_| true);
        let published = first.publish(claim.slot, 8, claim.unit, 1);
        leave(&first.mem, handle_at(1), &mut epoch);
        reader.step(|_| true);
        reader.step(|_| true);
        let both = published && second.join().unwrap() && reader.buried == 0;
        assert!(both, "a live producer's claim was buried");
    });
}

#[test]
fn a_watch_that_goes_on_spares_live_claims() {
    two_claims(false);
}

#[test]
#[should_panic(expected = "claim was buried")]
fn a_watch_that_goes_on_to_later_claims_buries_them() {
    two_claims(true);
}

/// A producer died in a send; the next owner of its record holds a reservation of its own for as long
/// as it likes, and must not be taken for the owner of the old claim.
fn reuse(reset: bool) {
    check(3, move || {
        let mem = memory();
        let record = handle_at(0);
        let dead = view(mem.actor(Fault::Unfenced), GEOMETRY);
        enter(&dead.mem, record, &mut 0);
        dead.claim(1, 1).unwrap();
        let mut reader = Reader::new(&mem);
        // The record's lock is the next owner's already.
        reader.step(|_| true);
        assert_eq!(reader.buried, 0);
        let next = view(mem.actor(Fault::Unfenced), GEOMETRY);
        let next = thread::spawn(move || {
            let mut epoch = if reset {
                next.mem.store(record + EPOCH, 0, Release);
                0
            } else {
                register(&next.mem, record)
            };
            assert_eq!(epoch % 2, 0, "an idle record looks busy");
            enter(&next.mem, record, &mut epoch);
            (next.claim(1, 1).unwrap(), next)
        });
        reader.step(|_| true);
        let (claim, next) = next.join().unwrap();
        reader.step(|_| true);
        assert_ne!(reader.page.look(0), Look::Unpublished, "the old claim waits for the new owner");
        assert!(
            next.publish(claim.slot, 8, claim.unit, 1) || !reset,
            "the new owner's claim was buried"
        );
    });
}

#[test]
fn a_reused_record_does_not_own_old_claims() {
    reuse(false);
}

#[test]
#[should_panic(expected = "waits for the new owner")]
fn a_record_that_starts_anew_owns_old_claims() {
    reuse(true);
}
