//! Claim, publish, bury, seal (`engine/page.rs`, `engine/abandoned.rs`): producers that send in batches, and
//! readers that decide what is left undecided.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::abandoned::{enter, leave, register, Watch};
use crate::engine::page::{Look, PageView};
use crate::heap::{chance, Fault, Mem};
use crate::layout::control::{handle_at, EPOCH, KIND, KIND_PRODUCER};
use crate::layout::page::{slot_at, Geometry, TAIL_AT};
use crate::layout::position;
use crate::page::{message, view, words, PAGE};
use crate::run::{caught, schedules};
use crate::sync::{Memory, Relaxed};

use super::Fates;

const GEOMETRY: Geometry = Geometry { capacity: 8 * 9, slots: 8 };
const PRODUCERS: usize = 3;
const READERS: usize = 2;

/// How the protocol is broken.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    /// A batch goes on behind a message that was skipped.
    GoesOn,
    /// A producer does not say that it is between claim and publication.
    Silent,
    /// An actor's memory.
    Memory(Fault),
}

/// `Producer::send_some` until all are sent or the page is full; those that were, in order.
fn send(page: &PageView<Mem>, record: usize, mut ids: Vec<u32>, wrong: Wrong) -> Vec<u32> {
    let (mem, mut sent) = (&page.mem, Vec::new());
    let mut epoch = register(mem, record);
    while !ids.is_empty() {
        let count = ids.len().min(2);
        if wrong != Wrong::Silent {
            enter(mem, record, &mut epoch);
        }
        let Some(claim) = page.claim(count, count as u64) else {
            leave(mem, record, &mut epoch);
            break;
        };
        let mut done = Vec::new();
        for (i, &id) in ids[..count].iter().enumerate() {
            let unit = claim.unit + i as u64;
            mem.store(page.geometry.payload_at() + 8 * unit as usize, id.into(), Relaxed);
            if page.publish(claim.slot + i, 8, unit, id) {
                done.push(id);
            } else if wrong != Wrong::GoesOn {
                break;
            }
        }
        if wrong != Wrong::GoesOn {
            for i in done.len()..count {
                page.bury(claim.slot + i);
            }
        }
        leave(mem, record, &mut epoch);
        ids.retain(|id| !done.contains(id));
        sent.extend(done);
    }
    sent
}

/// What a reader saw: messages by slot, where it stopped, and live claims that it buried before their time.
type Seen = (BTreeMap<usize, u32>, usize, usize);

/// `Shared::settle` on the way through the page, as long as somebody may send.
fn read(page: &PageView<Mem>, fates: &Fates) -> Seen {
    let (mut seen, mut slot, mut early) = (BTreeMap::new(), 0, 0);
    let mut watch = Watch::default();
    loop {
        // Before the look: who ended by then has published what it ever will.
        let over = fates.over(0..PRODUCERS);
        match page.look(slot) {
            Look::Message { .. } => {
                seen.extend(message(page, slot).map(|id| (slot, id)));
                slot += 1;
            }
            Look::Tombstone => slot += 1,
            Look::Unpublished => {
                let claimed = position(PAGE, page.claimed());
                watch.on(position(PAGE, slot), claimed, 1);
                let cleared = watch.cleared(&page.mem, |index| !fates.dead(index));
                // The stall timeout passes at any time, and surely while somebody is stopped.
                let stalled = chance(if fates.stopped() { 2 } else { 20 });
                if (cleared || stalled) && page.bury(slot) {
                    early += usize::from(!stalled);
                }
                shuttle::thread::yield_now();
            }
            Look::End => return (seen, slot, early),
            Look::Free if over => return (seen, slot, early),
            Look::Free => shuttle::thread::yield_now(),
            Look::Damaged => panic!("damaged"),
        }
    }
}

fn page(wrong: Wrong) {
    let mut all = words(GEOMETRY);
    for index in 0..PRODUCERS {
        all.extend([(handle_at(index) + KIND, KIND_PRODUCER), (handle_at(index) + EPOCH, 0)]);
    }
    let mem = Mem::stepped(&all);
    let fates = Fates::draw(PRODUCERS + READERS, 60);
    let fault = if let Wrong::Memory(fault) = wrong { fault } else { Fault::Unfenced };
    let mut producers = Vec::new();
    for index in 0..PRODUCERS {
        let ids = (1..=3).map(|i| 10 * (index as u32 + 1) + i).collect();
        producers.push(fates.spawn(index, &mem, fault, move |mem| {
            let sent = send(&view(mem, GEOMETRY), handle_at(index), ids, wrong);
            (sent, Seen::default())
        }));
    }
    let known = Arc::new(fates.clone());
    for index in PRODUCERS..PRODUCERS + READERS {
        let fates = known.clone();
        let fault = if let Wrong::Memory(fault) = wrong { fault } else { Fault::Unfenced };
        producers.push(fates.clone().spawn(index, &mem, fault, move |mem| {
            (Vec::new(), read(&view(mem, GEOMETRY), &fates))
        }));
    }
    let done = fates.join(producers);
    let page = view(mem.actor(Fault::None), GEOMETRY);
    let last: BTreeMap<usize, u32> = (0..GEOMETRY.slots)
        .take_while(|&slot| page.look(slot) != Look::End)
        .filter_map(|slot| message(&page, slot).map(|id| (slot, id)))
        .collect();
    judge(&last, &done, fates.stopped_ever(), wrong);
}

/// Everything sent is there once and in order; every reader saw what there is up to where it stopped.
fn judge(
    last: &BTreeMap<usize, u32>,
    done: &[Option<(Vec<u32>, Seen)>],
    stopped: bool,
    wrong: Wrong,
) {
    let ids: Vec<u32> = last.values().copied().collect();
    for producer in 1..=PRODUCERS as u32 {
        let own: Vec<u32> = ids.iter().copied().filter(|id| id / 10 == producer).collect();
        assert!(own.windows(2).all(|two| two[0] < two[1]), "out of order or twice");
    }
    for (sent, (seen, upto, early)) in done.iter().flatten() {
        assert!(sent.iter().all(|id| ids.contains(id)), "lost");
        let there: BTreeMap<_, _> = last.range(..*upto).map(|(&slot, &id)| (slot, id)).collect();
        assert_eq!(*seen, there, "something was published behind a reader");
        let alive = !stopped && done.iter().all(Option::is_some);
        assert!(*early == 0 || !alive || wrong == Wrong::GoesOn, "a live claim was buried");
    }
}

#[test]
fn batches_are_found_once_and_in_order() {
    schedules(1500, || page(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "out of order or twice")]
fn a_batch_that_goes_on_behind_a_skipped_message_is_out_of_order() {
    caught(|| page(Wrong::GoesOn));
}

#[test]
#[should_panic(expected = "a live claim was buried")]
fn a_producer_without_an_epoch_is_taken_for_dead() {
    caught(|| page(Wrong::Silent));
}

#[test]
#[should_panic(expected = "lost")]
fn a_blind_publication_and_burial_lose_a_message() {
    caught(|| page(Wrong::Memory(Fault::Blind(slot_at(1)))));
}

#[test]
#[should_panic]
fn a_torn_claim_gives_a_slot_twice() {
    caught(|| page(Wrong::Memory(Fault::Torn(TAIL_AT))));
}
