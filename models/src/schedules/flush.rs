//! Group commit (`engine/durable.rs`, `Shared::flush_to`, `try_flush`): several who send and have it flushed, by
//! themselves or by whoever is at it, on a disk that fails now and then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::thread::yield_now;

use super::Fates;
use crate::flush::{flush, File, Wrong, WORDS};
use crate::heap::{below, chance, Fault, Mem};
use crate::layout::control::{DURABLE, POISONED};
use crate::run::{caught, schedules};
use crate::sync::{Acquire, Memory};

const SENDERS: usize = 4;
const EACH: usize = 2;

/// The page file, what is published of it, and the locks.
struct Disk {
    file: File,
    published: u64,
    /// The flush lock's owner, and those who flush beside.
    lock: Option<usize>,
    beside: BTreeSet<usize>,
}

#[derive(Clone)]
struct World {
    disk: Arc<Mutex<Disk>>,
    fates: Fates,
    wrong: Wrong,
}

impl World {
    fn call<T>(&self, mem: &Mem, act: impl FnOnce(&mut Disk) -> T) -> T {
        mem.call();
        act(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `Shared::try_flush`: with the lock, or (its owner seems to be suspended) beside.
    fn try_flush(&self, mem: &Mem, me: usize) {
        let locked = self.call(mem, |d| {
            let free = d.lock.is_none_or(|owner| self.fates.dead(owner));
            if free {
                d.lock = Some(me);
            }
            free
        });
        if !locked {
            if !chance(if self.fates.stopped() { 2 } else { 12 }) {
                return yield_now();
            }
            self.call(mem, |d| d.beside.insert(me));
        }
        let to = self.call(mem, |d| d.published);
        let last = || {
            let alone = |d: &mut Disk| d.beside.iter().all(|&other| self.fates.dead(other));
            locked && self.call(mem, alone)
        };
        let file = |act: &mut dyn FnMut(&mut File)| self.call(mem, |d| act(&mut d.file));
        flush(mem, to, self.wrong, last, file);
        self.call(mem, |d| {
            d.beside.remove(&me);
            d.lock = d.lock.filter(|&owner| owner != me);
        });
    }

    /// Send, and `Shared::flush_to`; what was confirmed.
    fn send(&self, mem: &Mem, me: usize) -> u64 {
        let mut confirmed = 0;
        for _ in 0..EACH {
            let target = self.call(mem, |d| {
                d.file.append();
                d.published += 1;
                d.published
            });
            while mem.load(DURABLE, Acquire) < target {
                if mem.load(POISONED, Acquire) != 0 {
                    return confirmed;
                }
                self.try_flush(mem, me);
            }
            confirmed = target;
        }
        confirmed
    }
}

fn commit(wrong: Wrong) {
    let mem = Mem::stepped(&WORDS);
    let fates = Fates::draw(SENDERS, 50);
    let file = File::failing(below(3));
    let disk = Disk { file, published: 0, lock: None, beside: BTreeSet::new() };
    let world = World { disk: Arc::new(Mutex::new(disk)), fates: fates.clone(), wrong };
    let senders = (0..SENDERS)
        .map(|me| {
            let world = world.clone();
            fates.spawn(me, &mem, Fault::None, move |mem| world.send(&mem, me))
        })
        .collect();
    let done = fates.join(senders);
    let mem = mem.actor(Fault::None);
    let durable = mem.load(DURABLE, Acquire);
    let missing = world.call(&mem, |d| d.file.missing(durable as usize));
    assert_eq!(missing, 0, "confirmed, and not on the disk");
    assert!(done.iter().flatten().all(|&confirmed| confirmed <= durable), "not confirmed");
}

#[test]
fn what_is_confirmed_is_on_the_disk() {
    schedules(1500, || commit(Wrong::Nothing));
}

#[test]
#[should_panic(expected = "not on the disk")]
fn one_that_does_not_look_who_came_confirms_what_is_lost() {
    caught(|| commit(Wrong::Blunt));
}

#[test]
#[should_panic(expected = "not on the disk")]
fn flushes_that_nobody_sees_confirm_what_is_lost() {
    caught(|| commit(Wrong::Silent));
}

#[test]
#[should_panic(expected = "not on the disk")]
fn without_dirtying_anew_what_is_lost_is_confirmed() {
    caught(|| commit(Wrong::Trusting));
}
