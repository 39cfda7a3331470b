//! The receive path: what every consumer does; members of groups and observers differ in `member` and
//! `observer`.

mod adopt;
mod core;
mod member;
mod observer;
mod pace;
mod task;
mod waiting;

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::Arc;

use self::core::{Core, Step, Turn};
use crate::channel::handles::{Handle, Interrupter, Signal};
use crate::channel::{deadline, User};
use crate::engine::abandoned::Watch;
use crate::engine::sleepers::FOR_MESSAGES;
use crate::error::{fail, Result, DC_E_ARGUMENT, DC_E_CORRUPT, DC_E_STATE};
use crate::layout::control::KIND_CONSUMER;
use crate::options::*;
use member::Member;
use observer::Observer;

/// Receives messages: as a member of a group, or as an observer. One thread at a time.
pub struct Consumer {
    core: Core,
    source: Source,
    options: SubscribeOptions,
}

enum Source {
    Member(Box<Member>),
    Observer(Box<Observer>),
}

impl Source {
    /// Whether a receiving call might find something; changes nothing.
    fn ready(&self, core: &Core) -> bool {
        match self {
            Source::Member(m) => m.ready(core),
            Source::Observer(o) => o.ready(core),
        }
    }

    /// Whether the last step met a seek under way.
    fn held_up(&self) -> bool {
        matches!(self, Source::Member(m) if m.held_up())
    }
}

impl Consumer {
    pub(crate) fn new(
        shared: User,
        group: Option<&[u8]>,
        o: &SubscribeOptions,
    ) -> Result<Consumer> {
        let mut options = *o;
        check(&mut options)?;
        let source = match group {
            Some(name) => Source::Member(Box::new(Member::join(&shared, name, &options)?)),
            None => Source::Observer(Box::new(Observer::new(&shared, options.start)?)),
        };
        let tag = match &source {
            Source::Member(m) => m.group.tag,
            Source::Observer(_) => 0,
        };
        // On failure `source` gives its entry back as it is dropped.
        let handle = Handle::new(shared.clone(), FOR_MESSAGES, KIND_CONSUMER, tag)?;
        let mut core = Core {
            shared,
            handle,
            page: None,
            handed: false,
            auto_next_page: options.flags & AUTO_NEXT_PAGE != 0,
            watch: Watch::default(),
            redelivered: 0,
            corrupt: 0,
            deferred: 0,
            woken: false,
        };
        if let Source::Observer(observer) = &source {
            // From here on the page it starts in stays, whatever the ring does.
            core.turn_to(observer.at)?;
        }
        Ok(Consumer { core, source, options })
    }

    /// Another consumer of the same group; of an observer, another one at the same place.
    pub fn try_clone(&self) -> Result<Consumer> {
        self.core.handle.check_fork()?;
        let mut options = self.options;
        match &self.source {
            Source::Member(m) => {
                Consumer::new(self.core.shared.clone(), Some(&m.group.name), &options)
            }
            Source::Observer(observer) => {
                options.start = observer.at;
                Consumer::new(self.core.shared.clone(), None, &options)
            }
        }
    }

    /// Receive one message into `out`, where it lies.
    #[inline]
    pub fn recv(&mut self, out: &mut Message, timeout_ms: i32) -> Result<Received> {
        if let Some(message) = self.at_hand(timeout_ms) {
            *out = message;
            return Ok(Received::Message);
        }
        self.recv_any(out, timeout_ms)
    }

    /// The next message, where it is claimed and nothing is special; `None`: [`Consumer::recv_any`] knows.
    #[inline(always)]
    pub(crate) fn at_hand(&mut self, timeout_ms: i32) -> Option<Message> {
        match &mut self.source {
            Source::Member(m) if timeout_ms >= -1 && self.core.handle.check_fork().is_ok() => {
                m.at_hand(&mut self.core, true)
            }
            _ => None,
        }
    }

    pub(crate) fn recv_any(&mut self, out: &mut Message, timeout_ms: i32) -> Result<Received> {
        self.begin(timeout_ms)?;
        match self.step(out)? {
            Step::Message => Ok(Received::Message),
            Step::EndOfPage => Ok(Received::EndOfPage),
            Step::Lagged => Ok(Received::Lagged),
            Step::Nothing { pending } => self.recv_slow(out, timeout_ms, pending),
        }
    }

    /// Receive several messages of one page; `received` says how many.
    pub fn recv_batch(
        &mut self,
        out: &mut [MaybeUninit<Message>],
        timeout_ms: i32,
        received: &mut usize,
    ) -> Result<Received> {
        *received = 0;
        if out.is_empty() {
            return Err(fail!(DC_E_ARGUMENT, "max is 0: there is no room for a message"));
        }
        let most = out.len().min(BATCH_MAX);
        self.begin(timeout_ms)?;
        if let Source::Member(m) = &mut self.source {
            m.want(most);
        }
        let result = self.fill(&mut out[..most], timeout_ms, received);
        if let Source::Member(m) = &mut self.source {
            m.want(0);
        }
        result
    }

    fn fill(
        &mut self,
        out: &mut [MaybeUninit<Message>],
        timeout_ms: i32,
        received: &mut usize,
    ) -> Result<Received> {
        let mut message = Message::default();
        match self.recv_first(&mut message, timeout_ms) {
            Ok(Received::Message) => {}
            Ok(other) => return Ok(other),
            Err(e) => {
                if e.code() == DC_E_CORRUPT && message.position != 0 {
                    // Its position, for the caller to know what is missing.
                    out[0].write(message);
                }
                return Err(e);
            }
        }
        out[0].write(message);
        *received = 1;
        while *received < out.len() {
            if let Source::Member(m) = &mut self.source {
                if let Some(message) = m.at_hand(&mut self.core, false) {
                    out[*received].write(message);
                    *received += 1;
                    continue;
                }
            }
            if !self.more_at_hand() {
                break;
            }
            match self.step(&mut message) {
                Ok(Step::Message) => {
                    out[*received].write(message);
                    *received += 1;
                }
                Err(e) if e.code() == DC_E_CORRUPT => {
                    self.core.deferred = message.position;
                    break;
                }
                // It shows again in the next call.
                _ => break,
            }
        }
        Ok(Received::Message)
    }

    fn recv_first(&mut self, message: &mut Message, timeout_ms: i32) -> Result<Received> {
        match self.step(message)? {
            Step::Message => Ok(Received::Message),
            Step::EndOfPage => Ok(Received::EndOfPage),
            Step::Lagged => Ok(Received::Lagged),
            Step::Nothing { pending } => self.recv_slow(message, timeout_ms, pending),
        }
    }

    /// Whether the next step yields a message of the same page, and no report that would be lost.
    fn more_at_hand(&mut self) -> bool {
        match &mut self.source {
            Source::Member(m) => m.more_at_hand(&self.core),
            Source::Observer(o) => o.more_at_hand(&self.core),
        }
    }

    #[inline(always)]
    fn begin(&mut self, timeout_ms: i32) -> Result<()> {
        self.core.handle.check_fork()?;
        if timeout_ms < -1 {
            deadline(timeout_ms)?;
        }
        if let Source::Member(m) = &mut self.source {
            m.begin();
        }
        Ok(())
    }

    #[inline(always)]
    fn step(&mut self, out: &mut Message) -> Result<Step> {
        if self.core.deferred != 0 {
            let at = std::mem::take(&mut self.core.deferred);
            return Err(self.core.report_corrupt(at, out));
        }
        let step = match &mut self.source {
            Source::Member(m) => m.step(&mut self.core, out),
            Source::Observer(o) => o.step(&mut self.core, out),
        };
        match step {
            // The zeros that stand for a page cut away look like nothing, those for a group like a
            // group at its beginning.
            Ok(Step::Nothing { .. }) if self.core.lost() => Err(self.core.shared.cut()),
            Ok(step) if self.core.shared.guard => match self.intact() {
                Ok(()) => Ok(step),
                Err(e) => {
                    *out = Message::default();
                    Err(e)
                }
            },
            step => step,
        }
    }

    /// Fails where somebody cut a file whose words this handle goes by (known under the guard only).
    pub(crate) fn intact(&self) -> Result<()> {
        match &self.source {
            Source::Member(m) if m.group.lost() => Err(self.core.shared.cut()),
            _ => self.core.shared.intact(()),
        }
    }

    /// End the validity of the pointers into the page, and go on.
    pub fn next_page(&mut self) -> Result<()> {
        self.core.handle.check_fork()?;
        self.core.drop_page();
        Ok(())
    }

    /// Acknowledge every message this handle was handed, up to and including `position`.
    pub fn ack(&mut self, position: u64) -> Result<()> {
        self.core.handle.check_fork()?;
        let member = self.member("dc_ack")?.1;
        if position == 0 {
            return Err(fail!(DC_E_ARGUMENT, "dc_ack: position is 0, which no message has"));
        }
        member.ack(position);
        self.core.shared.room_made();
        self.intact()
    }

    /// Give back everything this handle holds unacknowledged, for redelivery.
    pub fn nack(&mut self) -> Result<()> {
        self.core.handle.check_fork()?;
        let (core, member) = self.member("dc_nack")?;
        member.nack(core)?;
        self.intact()
    }

    /// Move the whole group, or this observer, to the first message at or after `position`.
    pub fn seek(&mut self, position: u64) -> Result<()> {
        self.core.handle.check_fork()?;
        if position == 0 {
            return Err(fail!(
                DC_E_ARGUMENT,
                "dc_seek: position is 0: DC_EARLIEST is the beginning"
            ));
        }
        match &mut self.source {
            Source::Member(m) => m.seek(&mut self.core, position),
            Source::Observer(o) => o.seek(&mut self.core, position),
        }?;
        self.intact()
    }

    /// This consumer's figures.
    pub fn stats(&self) -> Result<ConsumerInfo> {
        self.core.handle.check_fork()?;
        let info = match &self.source {
            Source::Member(m) => m.stats(&self.core)?,
            Source::Observer(o) => o.stats(&self.core)?,
        };
        self.intact()?;
        let Core { redelivered, corrupt, .. } = self.core;
        Ok(ConsumerInfo { redelivered, corrupt, ..info })
    }

    /// An event descriptor, readable while a receiving call may find something.
    pub fn fd(&mut self) -> Result<RawFd> {
        let first = !self.core.handle.has_fd();
        let watch = match &self.source {
            Source::Member(m) => m.watch(&self.core),
            Source::Observer(o) => o.watch(&self.core),
        };
        let fd = self.core.handle.fd(watch)?;
        if first {
            let (core, source) = (&self.core, &self.source);
            core.handle.arm(|| source.ready(core));
        }
        Ok(fd)
    }

    /// What keeps the descriptor.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        self.core.handle.signal.clone()
    }

    /// Interrupts this handle's waiting calls.
    pub fn interrupter(&self) -> Interrupter {
        self.core.handle.interrupter()
    }

    fn member(&mut self, call: &str) -> Result<(&mut Core, &mut Member)> {
        match &mut self.source {
            Source::Member(m) => Ok((&mut self.core, m)),
            Source::Observer(_) => {
                Err(fail!(DC_E_STATE, "{call}: an observer acknowledges nothing"))
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.core.handle.check_fork().is_ok() {
            if let Source::Member(m) = &mut self.source {
                m.leave(&self.core);
            }
        }
    }
}

fn check(o: &mut SubscribeOptions) -> Result<()> {
    let bad = |name: &str, value: u32, range: &str| {
        Err(fail!(DC_E_ARGUMENT, "subscribe options: {name} is {value}: {range}"))
    };
    if o.ack > ACK_RECEIVE {
        return bad("ack", o.ack, "it is one of DC_ACK_...");
    }
    if o.max_unacked > UNACKED_MAX {
        return bad("max_unacked", o.max_unacked, "it is at most 4,096");
    }
    if o.prefetch > BATCH_MAX as u32 {
        return bad("prefetch", o.prefetch, "it is at most 255");
    }
    if o.flags & !AUTO_NEXT_PAGE != 0 {
        return bad("flags", o.flags, "it has unknown bits");
    }
    if o.ack == 0 {
        o.ack = ACK_NEXT;
    }
    if o.max_unacked == 0 {
        o.max_unacked = 1024;
    }
    Ok(())
}
