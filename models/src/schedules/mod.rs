//! More actors, and more of each, than loom can exhaust: schedules by chance, millions of them if asked
//! for, over sequentially consistent words with x86's store buffers (`heap/steps.rs`).
//!
//! In each schedule one actor may be killed before any of its accesses, or be stopped there while the others
//! come to their ends without it, and then be killed or go on.

mod files;
mod flush;
mod group;
mod page;
mod ring;
mod sleep;

use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};

use crate::heap::{below, chance, step, until_death, Fault, Gate, Mem};
use crate::sync::SeqCst;

/// Who is killed or stopped in this schedule, and how far it got.
#[derive(Clone)]
pub(crate) struct Fates {
    victim: usize,
    fuse: usize,
    stops: bool,
    gate: Gate,
    /// Actors whose kernel locks are free.
    gone: Arc<Vec<AtomicBool>>,
    /// Actors at their ends.
    ended: Arc<Vec<AtomicBool>>,
}

impl Fates {
    /// Draw for so many actors of at most `most` accesses. In one of three schedules nothing happens.
    pub(crate) fn draw(actors: usize, most: usize) -> Fates {
        let victim = if chance(3) { actors } else { below(actors) };
        Fates { victim, fuse: below(most), stops: chance(2), ..Fates::none(actors) }
    }

    /// Nothing happens to any of so many actors.
    pub(crate) fn none(actors: usize) -> Fates {
        let flags = || Arc::new((0..actors).map(|_| AtomicBool::new(false)).collect::<Vec<_>>());
        Fates {
            victim: actors,
            fuse: 0,
            stops: false,
            gate: Gate::default(),
            gone: flags(),
            ended: flags(),
        }
    }

    /// None of these is killed or stopped.
    pub(crate) fn spare(mut self, spared: std::ops::Range<usize>) -> Fates {
        if spared.contains(&self.victim) {
            self.victim = self.gone.len();
        }
        self
    }

    /// Whether somebody is to be killed or stopped.
    pub(crate) fn any(&self) -> bool {
        self.victim < self.gone.len()
    }

    /// Run actor number `index`; `None`: it died.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        index: usize,
        mem: &Mem,
        fault: Fault,
        act: impl FnOnce(Mem) -> T + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let mem = match (self.victim == index, self.stops) {
            (false, _) => mem.actor(fault),
            (true, false) => mem.mortal(fault, self.fuse),
            (true, true) => mem.stopped_at(fault, self.fuse, &self.gate),
        };
        let fates = self.clone();
        thread::spawn(move || {
            let done = until_death(|| act(mem.clone()));
            mem.drain();
            // The kernel frees the locks of the dead some time after their last store.
            step();
            fates.gone[index].store(done.is_none(), SeqCst);
            fates.ended[index].store(true, SeqCst);
            done
        })
    }

    /// Whether an actor's kernel locks are free.
    pub(crate) fn dead(&self, index: usize) -> bool {
        self.gone[index].load(SeqCst)
    }

    /// Whether somebody has been stopped, for as long as it takes the others.
    pub(crate) fn stopped(&self) -> bool {
        self.gate.stopped()
    }

    /// Whether anybody was to be stopped in this schedule.
    pub(crate) fn stopped_ever(&self) -> bool {
        self.stops && self.victim < self.gone.len()
    }

    /// Whether these actors are at their ends, or stopped.
    pub(crate) fn over(&self, actors: std::ops::Range<usize>) -> bool {
        actors.into_iter().all(|i| {
            self.ended[i].load(SeqCst) || (self.victim == i && self.stops && self.gate.stopped())
        })
    }

    /// Wait for all but the one that is stopped; then kill it or let it go on. What each came to.
    pub(crate) fn join<T>(&self, actors: Vec<JoinHandle<Option<T>>>) -> Vec<Option<T>> {
        let mut actors: Vec<_> = actors.into_iter().map(Some).collect();
        let mut done: Vec<_> = actors.iter().map(|_| None).collect();
        let waits = |i: usize| self.victim == i && self.stops;
        for i in
            (0..actors.len()).filter(|&i| !waits(i)).chain((0..actors.len()).filter(|&i| waits(i)))
        {
            if waits(i) {
                self.gate.open(chance(2));
            }
            if let Some(actor) = actors[i].take() {
                done[i] = actor.join().unwrap();
            }
        }
        done
    }
}
