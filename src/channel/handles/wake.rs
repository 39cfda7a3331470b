//! Waking: sleepers by their futex words, event descriptors by whoever owns them.

use std::sync::Arc;

use super::Signal;
use crate::channel::Shared;
use crate::engine::sleepers::{self, Set, FOR_MESSAGES};
use crate::layout::control::{handle_at, member_at, ASLEEP, HANDLES, MEMBER};
use crate::sync::{Acquire, Memory, Region, SeqCst};
use crate::sys::futex::{self};

impl Shared {
    /// Wake sleepers of a set: one of each group (all those that wait for room), and every armed
    /// descriptor; of one tag only, if given.
    #[cold]
    pub(crate) fn wake(&self, set: Set, tag: Option<u64>) {
        let mut tag = tag;
        // Bounded: each further round means that a sleeper came in during the last one. Those who had news
        // for it may have found the summary empty, whatever its group: that round is for all.
        while set.wake(&self.ctl, tag, |index| self.rouse(index), |index| self.signal(index)) {
            tag = None;
        }
    }

    /// Wake a sleeper whose bit was taken; false: nobody was asleep there.
    fn rouse(&self, index: usize) -> bool {
        let futex = self.ctl.futex(handle_at(index) + ASLEEP);
        sleepers::clear(&self.ctl, index) && futex::wake(futex, 1) > 0
    }

    /// Signal an armed descriptor or task: at once if it is ours, else by its process's library thread. It
    /// counts as told (no longer armed) just before it is written, by the process that writes it.
    fn signal(&self, index: usize) {
        let at = handle_at(index);
        let member = self.ctl.load(at + MEMBER, Acquire) as usize;
        if member == self.member {
            sleepers::told(&self.ctl, index);
            let signal = self.handles.lock().signals[index].clone();
            if let Some(signal) = signal {
                signal.raise();
            }
        } else if member < crate::layout::control::MEMBERS {
            sleepers::ask(&self.ctl, index);
            self.nudge(member);
        }
    }

    /// Wake the library thread of a member.
    pub(crate) fn nudge(&self, member: usize) {
        let at = member_at(member);
        self.ctl.add(at, 1, SeqCst);
        futex::wake(self.ctl.futex(at), 1);
    }

    /// Everybody must look again (poison).
    pub(crate) fn wake_everybody(&self) {
        for _ in 0..HANDLES {
            if !FOR_MESSAGES.any(&self.ctl) {
                break;
            }
            self.wake(FOR_MESSAGES, None);
        }
        self.wake(crate::engine::sleepers::FOR_ROOM, None);
    }

    /// The library thread's round: pass on signals, and make readable what should be.
    pub(in crate::channel) fn tend_descriptors(&self, scan: bool) {
        let signals: Vec<(usize, Arc<Signal>)> = {
            let table = self.handles.lock();
            let listening = |s: &Option<Arc<Signal>>| s.clone().filter(|s| s.listens());
            table.signals.iter().enumerate().filter_map(|(i, s)| Some((i, listening(s)?))).collect()
        };
        for (index, signal) in signals {
            let ready = || signal.watch.lock().as_ref().is_some_and(|ready| ready());
            let due = if self.read_only {
                signal.armed.load(SeqCst) && ready()
            } else {
                sleepers::answer(&self.ctl, index, scan, ready)
            };
            if due {
                signal.armed.store(false, SeqCst);
                signal.raise();
            }
        }
    }

    /// Whether any handle of this open has a descriptor, or tasks.
    pub(in crate::channel) fn has_listeners(&self) -> bool {
        self.handles.lock().signals.iter().flatten().any(|s| s.listens())
    }
}

/// The words of a channel that a sleeping library thread waits on.
pub(in crate::channel) fn wake_word(ctl: &Region, member: usize) -> *const u32 {
    ctl.futex(member_at(member))
}
