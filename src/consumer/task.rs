//! What a consumer does for tasks: it has them woken, and leaves nothing claimed with a consumer that others wait for.

use std::task::Waker;

use super::{Consumer, Source};
use crate::channel::handles::task::Listener;
use crate::error::Result;

impl Consumer {
    /// A receive found nothing: have a task woken when there is news; `Ok(true)`: there is some by now.
    pub(crate) fn listen(
        &mut self,
        listener: &mut Listener,
        id: &mut u64,
        waker: &Waker,
    ) -> Result<bool> {
        let (core, source) = (&self.core, &self.source);
        let watch = || match source {
            Source::Member(m) => m.watch(core),
            Source::Observer(o) => o.watch(core),
        };
        // What a seek is in front of is there, and not to be had: the library thread looks again.
        let ready = || !source.held_up() && source.ready(core);
        core.handle.listen(listener, id, waker, watch, ready)
    }

    /// The task waits no more; `took`: because it has a message.
    pub(crate) fn unlisten(&mut self, listener: &mut Listener, id: &mut u64, took: bool) {
        let woken = self.core.handle.unlisten(listener, id);
        if woken && (!took || self.source.ready(&self.core)) {
            if let Source::Member(m) = &self.source {
                self.core.shared.wake_group(&m.group);
            }
        }
    }

    /// Give back what was claimed ahead and not handed out: others of the group take it before what is new.
    pub(crate) fn give_back_ahead(&mut self) -> Result<()> {
        self.core.handle.check_fork()?;
        match &mut self.source {
            Source::Member(m) => m.give_back_ahead(&mut self.core),
            Source::Observer(_) => Ok(()),
        }
    }
}
