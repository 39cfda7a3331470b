//! Words for the model: loom's atomics behind the engine's `Memory`, and what can go wrong with them.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::Arc;

use loom::sync::atomic::{fence, AtomicU64};

use crate::sync::{AcqRel, Acquire, Memory, Ordering, Relaxed, Release, SeqCst};

/// What is wrong with one actor's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the protocol as it is.
    None,
    /// Accesses to the word are relaxed, and no fence stands in for it.
    Relaxed(usize),
    /// SeqCst is no more than AcqRel. No fault for the protocols that do not ask for more.
    Unfenced,
    /// A read-modify-write of the word is a load, and later a store.
    Torn(usize),
    /// A compare-exchange of the word stores without comparing.
    Blind(usize),
    /// A compare-exchange of the word does nothing and fails.
    Deaf(usize),
}

/// Operations until death.
pub(crate) const IMMORTAL: usize = usize::MAX;

/// The end of a fuse, thrown through the engine's frames: nothing of them runs any more.
struct Death;

/// A word of the model. Loom remembers only the last access of an atomic, and a thread that loads a word
/// before it changes it hides from loom that others loaded it in between: their order is never
/// tried. So every access goes through a turnstile first, where all accesses conflict.
struct Word {
    turnstile: AtomicU64,
    value: AtomicU64,
}

impl Word {
    fn new(value: u64) -> Word {
        Word { turnstile: AtomicU64::new(0), value: AtomicU64::new(value) }
    }

    /// The word, for one access.
    fn pass(&self) -> &AtomicU64 {
        self.turnstile.swap(0, Relaxed);
        &self.value
    }
}

/// One actor's way to the words. Clones are the same actor.
#[derive(Clone)]
pub(crate) struct Mem {
    words: Arc<BTreeMap<usize, Word>>,
    fault: Fault,
    fuse: Arc<AtomicUsize>,
    /// It made a SeqCst write that no fence has followed yet.
    announced: Arc<AtomicBool>,
}

impl Mem {
    /// A memory with these words; every other one reads 0 and must not be written, so that a look over
    /// 1,024 records costs the checker nothing.
    pub(crate) fn new(words: &[(usize, u64)]) -> Mem {
        let words = words.iter().map(|&(at, value)| (at, Word::new(value))).collect();
        Mem {
            words: Arc::new(words),
            fault: Fault::None,
            fuse: Arc::new(AtomicUsize::new(IMMORTAL)),
            announced: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Another actor on the same words.
    pub(crate) fn actor(&self, fault: Fault) -> Mem {
        self.mortal(fault, IMMORTAL)
    }

    /// Another actor on the same words, which dies before its operation number `fuse`.
    pub(crate) fn mortal(&self, fault: Fault, fuse: usize) -> Mem {
        Mem {
            words: self.words.clone(),
            fault,
            fuse: Arc::new(AtomicUsize::new(fuse)),
            announced: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Burn the fuse by one operation. The counters are one actor's own: plain for loom.
    fn burn(&self) {
        match self.fuse.load(Relaxed) {
            IMMORTAL => {}
            0 => resume_unwind(Box::new(Death)),
            left => self.fuse.store(left - 1, Relaxed),
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        match self.words.get(&at) {
            Some(word) => word.pass(),
            None => panic!("the model has no word at {at}"),
        }
    }

    /// What the ordering asked for comes to.
    fn order(&self, at: usize, asked: Ordering) -> Ordering {
        match self.fault {
            Fault::Relaxed(weak) if weak == at => Relaxed,
            Fault::Relaxed(_) | Fault::Unfenced if asked == SeqCst => AcqRel,
            _ => asked,
        }
    }

    /// A read-modify-write: whole, as `real` does it, or torn: `change` says what is stored, if anything.
    fn update(
        &self,
        at: usize,
        order: Ordering,
        change: impl Fn(u64) -> Option<u64>,
        real: impl Fn(&AtomicU64, Ordering) -> Result<u64, u64>,
    ) -> Result<u64, u64> {
        self.burn();
        let order = self.order(at, order);
        let word = self.word(at);
        let done = if self.fault == Fault::Torn(at) {
            let seen = word.load(Acquire);
            match change(seen) {
                Some(new) => {
                    self.word(at).store(new, Release);
                    Ok(seen)
                }
                None => Err(seen),
            }
        } else {
            real(word, order)
        };
        if done.is_ok() && order == SeqCst {
            self.announced.store(true, Relaxed);
        }
        done
    }

    fn set(
        &self,
        at: usize,
        order: Ordering,
        change: impl Fn(u64) -> u64,
        real: impl Fn(&AtomicU64, Ordering) -> u64,
    ) -> u64 {
        let whole = |word: &AtomicU64, order| Ok(real(word, order));
        let (Ok(was) | Err(was)) = self.update(at, order, |seen| Some(change(seen)), whole);
        was
    }
}

impl Memory for Mem {
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.burn();
        let Some(word) = self.words.get(&at) else {
            return 0;
        };
        let word = word.pass();
        match self.order(at, order) {
            SeqCst => {
                if self.announced.swap(false, Relaxed) {
                    fence(SeqCst);
                }
                word.load(Acquire)
            }
            AcqRel => word.load(Acquire),
            order => word.load(order),
        }
    }
    fn store(&self, at: usize, value: u64, order: Ordering) {
        self.burn();
        match self.order(at, order) {
            SeqCst => {
                self.word(at).store(value, Release);
                self.announced.store(true, Relaxed);
            }
            AcqRel => self.word(at).store(value, Release),
            order => self.word(at).store(value, order),
        }
    }
    fn cas(&self, at: usize, old: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        match self.fault {
            Fault::Blind(blind) if blind == at => Ok(self.swap(at, new, order)),
            Fault::Deaf(deaf) if deaf == at => Err(self.load(at, Acquire)),
            _ => self.update(
                at,
                order,
                |seen| (seen == old).then_some(new),
                |word, order| {
                    let failure = if order == Relaxed { Relaxed } else { Acquire };
                    word.compare_exchange(old, new, order, failure)
                },
            ),
        }
    }
    fn add(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.set(at, order, |seen| seen.wrapping_add(value), |w, o| w.fetch_add(value, o))
    }
    fn swap(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.set(at, order, |_| value, |w, o| w.swap(value, o))
    }
    fn or(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.set(at, order, |seen| seen | value, |w, o| w.fetch_or(value, o))
    }
    fn and(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.set(at, order, |seen| seen & value, |w, o| w.fetch_and(value, o))
    }
}

/// Run what may die on the way; `None`: it did.
pub(crate) fn until_death<T>(act: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Some(done),
        Err(e) if e.is::<Death>() => None,
        Err(e) => resume_unwind(e),
    }
}

/// Check a scenario in every execution with so many preemptions. `LOOM_MAX_PREEMPTIONS` overrides.
pub(crate) fn check(preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(preemptions));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    model.check(move || {
        count.fetch_add(1, Relaxed);
        scenario();
    });
    println!("{} executions", runs.load(Relaxed));
}

/// The same for every length of a fuse below `most`, which is past the actor's end.
pub(crate) fn check_deaths<S>(preemptions: usize, most: usize, scenario: S)
where
    S: Fn(usize) + Send + Sync + Clone + 'static,
{
    for fuse in 0..most {
        let scenario = scenario.clone();
        check(preemptions, move || scenario(fuse));
    }
}
