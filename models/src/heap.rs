//! Words for the models: loom's atomics, or plain ones with a choice of shuttle's before each access,
//! behind the engine's `Memory`; and what can go wrong with them.

mod steps;

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::Arc;

use loom::sync::atomic::{fence, AtomicU64};

use self::steps::Buffer;
pub(crate) use self::steps::{below, chance, step, Gate};
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

/// A word of loom's. Loom remembers only the last access of an atomic, and a thread that loads a word
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

/// Who chooses what happens next.
enum Words {
    Loom(BTreeMap<usize, Word>),
    /// Shuttle: a step, then the access. Only one thread runs at a time.
    Steps(BTreeMap<usize, std::sync::atomic::AtomicU64>),
}

/// One actor's way to the words. Clones are the same actor.
#[derive(Clone)]
pub(crate) struct Mem {
    words: Arc<Words>,
    /// Where this view of the words begins.
    base: usize,
    fault: Fault,
    fuse: Arc<AtomicUsize>,
    /// What the end of the fuse is when it is not death.
    gate: Option<Gate>,
    /// It made a SeqCst write that no fence has followed yet (loom).
    announced: Arc<AtomicBool>,
    /// Its stores that nobody sees yet (shuttle).
    buffer: Arc<Buffer>,
}

impl Mem {
    /// A memory with these words; every other one reads 0 and must not be written, so that a look over
    /// 1,024 records costs the checker nothing.
    pub(crate) fn new(words: &[(usize, u64)]) -> Mem {
        let words = words.iter().map(|&(at, value)| (at, Word::new(value))).collect();
        Mem::over(Words::Loom(words))
    }

    /// The same under shuttle.
    pub(crate) fn stepped(words: &[(usize, u64)]) -> Mem {
        let words = words.iter().map(|&(at, value)| (at, value.into())).collect();
        Mem::over(Words::Steps(words))
    }

    fn over(words: Words) -> Mem {
        Mem {
            words: Arc::new(words),
            base: 0,
            fault: Fault::None,
            fuse: Arc::new(AtomicUsize::new(IMMORTAL)),
            gate: None,
            announced: Arc::new(AtomicBool::new(false)),
            buffer: Arc::default(),
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
            base: self.base,
            fault,
            fuse: Arc::new(AtomicUsize::new(fuse)),
            gate: None,
            announced: Arc::new(AtomicBool::new(false)),
            buffer: Arc::default(),
        }
    }

    /// Another actor, which is stopped before its operation number `fuse` until the gate opens.
    pub(crate) fn stopped_at(&self, fault: Fault, fuse: usize, gate: &Gate) -> Mem {
        Mem { gate: Some(gate.clone()), ..self.mortal(fault, fuse) }
    }

    /// The same actor's view of the words from `base` on.
    pub(crate) fn at(&self, base: usize) -> Mem {
        Mem { base: self.base + base, ..self.clone() }
    }

    /// Burn the fuse by one operation. The counters are one actor's own: plain for the checkers.
    pub(crate) fn burn(&self) {
        match self.fuse.load(Relaxed) {
            IMMORTAL => {}
            0 => {
                self.fuse.store(IMMORTAL, Relaxed);
                // Stores that were made are made, whatever becomes of their maker.
                self.drain();
                match &self.gate {
                    Some(gate) if gate.pass() => {}
                    _ => resume_unwind(Box::new(Death)),
                }
            }
            left => self.fuse.store(left - 1, Relaxed),
        }
    }

    /// The actor does nothing any more.
    pub(crate) fn stop(&self) -> ! {
        resume_unwind(Box::new(Death))
    }

    /// A system call: one step, ordered like a fence.
    pub(crate) fn call(&self) {
        self.burn();
        step();
        self.drain();
    }

    /// What a word is, for the kernel (shuttle).
    pub(crate) fn peek(&self, at: usize) -> u64 {
        match &*self.words {
            Words::Loom(_) => unreachable!("a word of loom's"),
            Words::Steps(words) => words[&(self.base + at)].load(Relaxed),
        }
    }

    /// Make every store visible.
    pub(crate) fn drain(&self) {
        if let Words::Steps(words) = &*self.words {
            self.buffer.drain(words, usize::MAX);
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        match &*self.words {
            Words::Loom(words) => match words.get(&at) {
                Some(word) => word.pass(),
                None => panic!("the model has no word at {at}"),
            },
            Words::Steps(_) => unreachable!("a word of shuttle's"),
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
        let at = self.base + at;
        let torn = self.fault == Fault::Torn(at);
        if let Words::Steps(words) = &*self.words {
            return self.buffer.update(words, at, torn, change);
        }
        let word = self.word(at);
        let done = if torn {
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
        let order = self.order(at, order);
        let at = self.base + at;
        let word = match &*self.words {
            Words::Steps(words) => return self.buffer.load(words, at),
            Words::Loom(words) => match words.get(&at) {
                Some(word) => word.pass(),
                None => return 0,
            },
        };
        match order {
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
        let order = self.order(at, order);
        let at = self.base + at;
        if let Words::Steps(words) = &*self.words {
            return self.buffer.store(words, at, value, order == SeqCst);
        }
        match order {
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
            Fault::Blind(blind) if blind == self.base + at => Ok(self.swap(at, new, order)),
            Fault::Deaf(deaf) if deaf == self.base + at => Err(self.load(at, Acquire)),
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
