//! The receive path: what every consumer does; members of groups and observers differ in `member` and
//! `observer`.

mod adopt;
mod member;
mod observer;

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::channel::handles::{Handle, Interrupter, Slept};
use crate::channel::pages::{Page, Pinned};
use crate::channel::{deadline, User};
use crate::engine::abandoned::Watch;
use crate::engine::page::Look;
use crate::engine::sleepers::FOR_MESSAGES;
use crate::error::{fail, Error, Result, DC_AGAIN, DC_E_ARGUMENT, DC_E_CORRUPT, DC_E_STATE};
use crate::layout::control::KIND_CONSUMER;
use crate::layout::{page_of, position, slot_of};
use crate::options::*;
use crate::sys::clock;
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
}

/// What members and observers share.
struct Core {
    shared: User,
    handle: Handle,
    /// The page whose messages the caller may hold pointers into.
    page: Option<Page>,
    /// Whether any message of it was handed out.
    handed: bool,
    auto_next_page: bool,
    /// The unpublished claim in front, if any.
    watch: Watch,
    redelivered: u64,
    corrupt: u64,
    /// A corrupt message met behind others of a batch, for the next receiving call to report; 0: none.
    deferred: u64,
    /// Somebody spent a wake on this handle: it passes it on if there is more than it takes.
    woken: bool,
}

/// What one step found.
enum Step {
    Message,
    EndOfPage,
    Lagged,
    /// Nothing now; `pending`: a claim in front is not published yet.
    Nothing {
        pending: bool,
    },
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
        while *received < out.len() && self.more_at_hand() {
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
            // The zeros that stand for a page cut away look like nothing.
            Ok(Step::Nothing { .. }) if self.core.lost() => Err(fail!(
                DC_E_CORRUPT,
                "{}: somebody cut a file of the channel while it was mapped",
                self.core.shared.path.display()
            )),
            step => step,
        }
    }

    /// Wait for a message.
    #[cold]
    fn recv_slow(&mut self, out: &mut Message, timeout_ms: i32, pending: bool) -> Result<Received> {
        let until = deadline(timeout_ms)?;
        let mut pending = pending;
        let mut spins = if timeout_ms == 0 { 0 } else { SPINS };
        let mut armed = false;
        // Bounded by the deadline.
        loop {
            if self.core.handle.interrupted() {
                return Err(Error::silent(-libc::ECANCELED));
            }
            if spins > 0 {
                // Long enough for several messages to arrive: polling faster takes the producer's
                // cache lines away from it.
                for _ in 0..64 {
                    std::hint::spin_loop();
                }
                spins -= 1;
            } else if until.left().is_zero() {
                let (core, source) = (&self.core, &self.source);
                let news = !armed && core.handle.has_fd() && core.handle.arm(|| source.ready(core));
                if !news {
                    self.pass_wake_on();
                    return Err(Error::silent(DC_AGAIN));
                }
                // Once: should the news be gone again, the descriptor is readable for nothing.
                armed = true;
            } else {
                let most = if pending { Duration::from_millis(1) } else { Duration::from_secs(1) };
                let (core, source) = (&self.core, &self.source);
                match core.handle.sleep(most.min(until.left()), || source.ready(core)) {
                    Slept::Signalled => {
                        self.core.woken = true;
                        self.pass_wake_on();
                        return Err(Error::silent(-libc::EINTR));
                    }
                    Slept::Again { woken } => self.core.woken |= woken,
                }
            }
            match self.step(out)? {
                Step::Message => {
                    if self.core.woken && self.source.ready(&self.core) {
                        self.pass_wake_on();
                    }
                    self.core.woken = false;
                    return Ok(Received::Message);
                }
                Step::EndOfPage => return Ok(Received::EndOfPage),
                Step::Lagged => return Ok(Received::Lagged),
                Step::Nothing { pending: p } => pending = p,
            }
        }
    }

    /// A wake was spent on this handle, which does not take (all of) what it was for.
    fn pass_wake_on(&mut self) {
        if std::mem::take(&mut self.core.woken) {
            if let Source::Member(m) = &self.source {
                self.core.shared.wake_group(&m.group);
            }
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
        Ok(())
    }

    /// Give back everything this handle holds unacknowledged, for redelivery.
    pub fn nack(&mut self) -> Result<()> {
        self.core.handle.check_fork()?;
        let (core, member) = self.member("dc_nack")?;
        member.nack(core)
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
        }
    }

    /// This consumer's figures.
    pub fn stats(&self) -> Result<ConsumerInfo> {
        self.core.handle.check_fork()?;
        let info = match &self.source {
            Source::Member(m) => m.stats(&self.core)?,
            Source::Observer(o) => o.stats(&self.core)?,
        };
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

/// Pauses of a receiving call before it sleeps.
const SPINS: u32 = 32;

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

/// Where to go from a page.
enum Turn {
    /// The page is there.
    Here,
    /// The caller must say `next_page` first.
    EndOfPage,
    /// There is no such page (yet).
    Missing,
    /// Nothing in it can be trusted.
    Damaged,
}

impl Core {
    fn drop_page(&mut self) {
        self.page = None;
        self.handed = false;
    }

    /// Have the page of a position pinned.
    #[inline(always)]
    fn turn_to(&mut self, at: u64) -> Result<Turn> {
        match &self.page {
            Some(page) if page.number() == page_of(at) => Ok(Turn::Here),
            _ => self.turn_cold(at),
        }
    }

    #[cold]
    fn turn_cold(&mut self, at: u64) -> Result<Turn> {
        if self.page.is_some() {
            // What this handle needed of the page is acknowledged by now, or soon.
            self.shared.room_made();
            if self.must_ask() {
                return Ok(Turn::EndOfPage);
            }
            self.drop_page();
        }
        match self.shared.pin(page_of(at))? {
            Pinned::Page(page) => {
                self.page = Some(page);
                self.handed = false;
                Ok(Turn::Here)
            }
            Pinned::Missing => Ok(Turn::Missing),
            Pinned::Damaged => Ok(Turn::Damaged),
        }
    }

    /// Whether the caller may hold pointers that it has not given up.
    fn must_ask(&self) -> bool {
        self.handed && !self.auto_next_page
    }

    /// Fill in a message found at `at`, whose page is pinned. `Err`: it is corrupt.
    #[inline(always)]
    fn take(&mut self, at: u64, found: Look, deliveries: u32, out: &mut Message) -> Result<()> {
        let Some(page) = &self.page else {
            return Err(Error::silent(DC_AGAIN));
        };
        if let Look::Message { len, unit, checksum } = found {
            let data = page.payload(unit);
            // SAFETY: `look` checked the range against the page, which is pinned; what is published
            // is not written again while it is.
            let payload = unsafe { std::slice::from_raw_parts(data, len) };
            if self.shared.checksum_of(at, payload) == checksum && !self.lost() {
                let flags = if deliveries > 1 { MESSAGE_REDELIVERED } else { 0 };
                *out = Message { data, len, position: at, flags, deliveries };
                self.handed = true;
                return Ok(());
            }
        }
        Err(self.corrupt(at, out))
    }

    fn lost(&self) -> bool {
        self.shared.flags & SIGBUS_GUARD != 0
            && (self.shared.lost() || self.page.as_ref().is_some_and(|p| p.file.lost()))
    }

    #[cold]
    fn corrupt(&mut self, at: u64, out: &mut Message) -> Error {
        self.corrupt += 1;
        self.report_corrupt(at, out)
    }

    fn report_corrupt(&self, at: u64, out: &mut Message) -> Error {
        *out = Message { position: at, ..Message::default() };
        fail!(
            DC_E_CORRUPT,
            "{}: the message at position {at} (page {}, slot {}) does not match its checksum; it is \
             skipped",
            self.shared.path.display(),
            page_of(at),
            slot_of(at)
        )
    }

    /// A claim in front is not published: true when it is decided by now.
    #[cold]
    fn settle(&mut self, at: u64) -> bool {
        match &self.page {
            Some(page) if page.number() == page_of(at) => {
                self.shared.settle(page, slot_of(at), &mut self.watch)
            }
            _ => false,
        }
    }

    /// What lies at a position of the page in hand.
    fn look(&self, at: u64) -> Look {
        self.page.as_ref().map_or(Look::Free, |page| page.view.look(slot_of(at)))
    }

    /// A page is damaged: report it once, at the position where it was met.
    #[cold]
    fn damaged_page(&mut self, at: u64, out: &mut Message) -> Error {
        self.corrupt += 1;
        *out = Message { position: at, ..Message::default() };
        // The sentence is that of the failed look at the page.
        Error::silent(DC_E_CORRUPT)
    }

    fn coarse_now() -> u64 {
        clock::coarse_ms()
    }

    fn first_of(page: u64) -> u64 {
        position(page, 0)
    }
}
