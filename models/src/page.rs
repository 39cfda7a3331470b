//! Claim, publish, bury, seal (`engine/page.rs`): every message is found once, with its payload.

use loom::thread;

use crate::engine::page::{Look, PageView};
use crate::heap::{until_death, Fault, Mem, IMMORTAL};
use crate::layout::page::{slot_at, Geometry, BURIED_AT, ENDED_AT, TAIL_AT};
use crate::run::{check, check_deaths};
use crate::sync::{Memory, Relaxed};

pub(crate) const PAGE: u64 = 7;

/// The words of a page, all 0.
pub(crate) fn words(geometry: Geometry) -> Vec<(usize, u64)> {
    let slots = (0..=geometry.slots).flat_map(|i| [slot_at(i), slot_at(i) + 8]);
    let payload = (0..geometry.units() as usize).map(|unit| geometry.payload_at() + 8 * unit);
    [TAIL_AT, ENDED_AT, BURIED_AT]
        .into_iter()
        .chain(slots)
        .chain(payload)
        .map(|at| (at, 0))
        .collect()
}

pub(crate) fn view(mem: Mem, geometry: Geometry) -> PageView<Mem> {
    PageView { mem, number: PAGE, geometry }
}

/// Send a message of one unit as a producer does, at most `tries` times; where it went.
fn send(page: &PageView<Mem>, message: u32, tries: usize) -> Option<usize> {
    for _ in 0..tries {
        let claim = page.claim(1, 1)?;
        page.mem.store(
            page.geometry.payload_at() + 8 * claim.unit as usize,
            message.into(),
            Relaxed,
        );
        if page.publish(claim.slot, 8, claim.unit, message) {
            return Some(claim.slot);
        }
    }
    panic!("message {message} was skipped every time");
}

/// The message at a slot, with its payload checked against what the slot says of it.
pub(crate) fn message(page: &PageView<Mem>, slot: usize) -> Option<u32> {
    let Look::Message { len, unit, checksum } = page.look(slot) else {
        return None;
    };
    let payload = page.mem.load(page.geometry.payload_at() + 8 * unit as usize, Relaxed);
    assert_eq!((len, payload), (8, checksum.into()), "a message was seen before its payload");
    assert_ne!(checksum, 0, "a message was seen before its payload");
    Some(checksum)
}

fn all(page: &PageView<Mem>) -> Vec<u32> {
    let mut found: Vec<_> =
        (0..page.geometry.slots).filter_map(|slot| message(page, slot)).collect();
    found.sort_unstable();
    found
}

fn two_producers(fault: Fault) {
    check(3, move || {
        let geometry = Geometry { capacity: 16, slots: 2 };
        let mem = Mem::new(&words(geometry));
        let producers: Vec<_> = (1..=2)
            .map(|id| {
                let page = view(mem.actor(fault), geometry);
                thread::spawn(move || send(&page, id, 1))
            })
            .collect();
        let page = view(mem.actor(Fault::Unfenced), geometry);
        let early = [message(&page, 0), message(&page, 1)];
        for p in producers {
            assert!(p.join().unwrap().is_some(), "a page with room was sealed");
        }
        assert_eq!(all(&page), [1, 2]);
        assert_eq!(page.messages(), 2);
        for (slot, seen) in early.into_iter().enumerate() {
            assert!(seen.is_none() || seen == message(&page, slot), "a message changed");
        }
    });
}

#[test]
fn two_producers_are_both_found_once() {
    two_producers(Fault::Unfenced);
}

#[test]
#[should_panic(expected = "was skipped every time")]
fn two_producers_with_a_torn_claim() {
    two_producers(Fault::Torn(TAIL_AT));
}

#[test]
#[should_panic(expected = "before its payload")]
fn two_producers_with_a_relaxed_publication() {
    two_producers(Fault::Relaxed(slot_at(0)));
}

/// A reader decides that the claim was given up just when its owner publishes.
fn publish_against_bury(fault: Fault) {
    check(3, move || {
        let geometry = Geometry { capacity: 16, slots: 2 };
        let mem = Mem::new(&words(geometry));
        let page = view(mem.actor(Fault::Unfenced), geometry);
        let producer = thread::spawn(move || send(&page, 1, 2));
        let burier = view(mem.actor(fault), geometry);
        let buried = burier.look(0) == Look::Unpublished && burier.bury(0);
        let page = view(mem.actor(Fault::Unfenced), geometry);
        let at = producer.join().unwrap();
        assert_eq!(page.look(0) == Look::Tombstone, buried, "decided twice");
        assert_eq!(all(&page), [1], "lost or doubled");
        assert_eq!(at, Some(usize::from(buried)));
    });
}

#[test]
fn publish_against_bury_decides_once() {
    publish_against_bury(Fault::Unfenced);
}

#[test]
#[should_panic(expected = "decided twice")]
fn publish_against_a_torn_bury() {
    publish_against_bury(Fault::Torn(slot_at(0)));
}

/// Read on from slot 0 as a consumer would once no producer is left: what nobody will publish is
/// buried. The messages, and whether the page ended.
fn walk(page: &PageView<Mem>) -> (Vec<u32>, bool) {
    let mut found = Vec::new();
    for slot in 0..=page.geometry.slots {
        match page.look(slot) {
            Look::Message { .. } => found.extend(message(page, slot)),
            Look::Tombstone => {}
            Look::Unpublished => assert!(page.bury(slot)),
            Look::End => return (found, true),
            Look::Free => return (found, false),
            Look::Damaged => panic!("damaged"),
        }
    }
    panic!("a page without end");
}

/// Two claims in a page with payload for one: one crosses the end, and may die before it says so.
fn seal(fault: Fault, fuse: usize) {
    let geometry = Geometry { capacity: 8, slots: 3 };
    let mem = Mem::new(&words(geometry));
    let first = view(mem.actor(fault), geometry);
    let first = thread::spawn(move || send(&first, 1, 1));
    let second = view(mem.mortal(fault, fuse), geometry);
    let second = thread::spawn(move || until_death(|| send(&second, 2, 1)));
    let page = view(mem.actor(Fault::Unfenced), geometry);
    let ended = page.look(1) == Look::End;
    let sent = [first.join().unwrap(), second.join().unwrap().flatten()];
    let claims = page.tail().count;
    let (found, at_end) = walk(&page);
    assert!(claims <= 2 && sent.iter().flatten().count() <= 1, "the one unit was given out twice");
    assert_eq!(at_end, claims == 2, "who sealed the page died, and readers do not leave it");
    assert!(at_end || !ended, "the end was seen and went away");
    assert_eq!(found.len() as u64, page.messages(), "the count is wrong");
    let ids = sent.iter().zip(1..).filter_map(|(slot, id)| slot.map(|_| id));
    // Who died after its publication was not heard of.
    assert!(ids.clone().all(|id| found.contains(&id)), "lost");
    assert!(ids.count() == found.len() || fuse != IMMORTAL);
}

#[test]
fn a_sealed_page_ends_for_its_readers() {
    check(3, || seal(Fault::Unfenced, IMMORTAL));
}

#[test]
fn a_sealed_page_ends_wherever_its_sealer_dies() {
    check_deaths(2, 8, |fuse| seal(Fault::Unfenced, fuse));
}

#[test]
#[should_panic(expected = "was skipped every time")]
fn a_torn_claim_seals_nothing() {
    check(3, || seal(Fault::Torn(TAIL_AT), IMMORTAL));
}

/// A reader takes the sealer for dead (it was suspended) and buries the slot where the end mark goes.
#[test]
fn a_slow_sealer_does_not_spoil_the_count() {
    check(3, || {
        let geometry = Geometry { capacity: 8, slots: 3 };
        let mem = Mem::new(&words(geometry));
        let page = view(mem.actor(Fault::Unfenced), geometry);
        assert_eq!(send(&page, 1, 1), Some(0));
        let sealer = view(mem.actor(Fault::Unfenced), geometry);
        let sealer = thread::spawn(move || send(&sealer, 2, 1));
        if page.look(1) == Look::Unpublished {
            page.bury(1);
        }
        assert_eq!(sealer.join().unwrap(), None);
        assert_eq!(walk(&page), (vec![1], true));
        assert_eq!(page.messages(), 1, "the count is wrong");
    });
}
