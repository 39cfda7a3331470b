//! The send path: claim, copy, publish, wake.
//!
//! In the steady state a send is one `fetch_add`, the copy, one compare-exchange, and one load that
//! finds nobody asleep. Nothing between claim and publication can block, allocate or panic.

mod claim;
mod reservation;

use std::io::IoSlice;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;

use self::claim::{fitting, Until};
use crate::channel::flush::Waiter;
use crate::channel::handles::task::Listener;
use crate::channel::handles::{Handle, Interrupter, Signal, Watch};
use crate::channel::pages::Page;
use crate::channel::{deadline, Deadline, User};
use crate::engine::abandoned::{self, register};
use crate::engine::page::Claim;
use crate::engine::sleepers::FOR_ROOM;
use crate::error::{
    fail, Error, Result, DC_AGAIN, DC_E_ARGUMENT, DC_E_CORRUPT, DC_E_INTERNAL, DC_E_STATE,
    DC_E_TOO_BIG,
};
use crate::layout::control::KIND_PRODUCER;
use crate::layout::page::UNIT;
use crate::layout::position;
use crate::options::SYNC_ALWAYS;
use crate::sync::planted;

/// Sends messages. One thread at a time.
pub struct Producer {
    shared: User,
    handle: Handle,
    /// The page sent to last; pinned.
    page: Option<Page>,
    /// The page found full; 0: none yet.
    sealed: u64,
    epoch: u64,
    /// Units of the page up to the end of this handle's last claim.
    reached: u64,
    sent: u64,
    /// Units of the page that are populated, and up to where a claim leaves some of them and asks for nothing:
    /// what [`Producer::send_at_hand`] goes by. 0: nothing is known of the page.
    populated: u64,
    ahead: u64,
    /// The slot at which the next page is asked for.
    ask_at: usize,
    /// Nothing about this handle needs more than [`Producer::send_at_hand`] does.
    plain: bool,
    reservation: Option<Reservation>,
    /// Whether the next page was asked for.
    asked: bool,
}

struct Reservation {
    page: Page,
    claim: Claim,
    len: usize,
}

impl Producer {
    pub(crate) fn new(shared: User) -> Result<Producer> {
        let handle = Handle::new(shared.clone(), FOR_ROOM, KIND_PRODUCER, 0)?;
        shared.arc().enlist();
        let epoch = register(&shared.ctl, handle.record());
        let plain = !shared.guard && shared.durability != SYNC_ALWAYS;
        let mut producer = Producer {
            shared,
            handle,
            page: None,
            sealed: 0,
            epoch,
            reached: 0,
            sent: 0,
            populated: 0,
            ahead: 0,
            ask_at: 0,
            plain,
            reservation: None,
            asked: false,
        };
        // A full disk shows here rather than at the first send; no room is no failure.
        match producer.turn_page(false) {
            Err(e) if e.code() != DC_AGAIN => Err(e),
            _ => Ok(producer),
        }
    }

    /// Another producer of the same channel.
    pub fn try_clone(&self) -> Result<Producer> {
        self.handle.check_fork()?;
        Producer::new(self.shared.clone())
    }

    /// Send one message.
    #[inline]
    pub fn send(&mut self, data: &[u8], timeout_ms: i32) -> Result<()> {
        if timeout_ms >= -1 && self.send_at_hand(data) {
            return Ok(());
        }
        self.send_any(data, timeout_ms)
    }

    /// What a send comes to nearly always: the page in hand has room that is populated. False: nothing was sent, and
    /// [`Producer::send_any`] knows why.
    #[inline(always)]
    fn send_at_hand(&mut self, data: &[u8]) -> bool {
        let units = data.len().div_ceil(UNIT) as u64;
        let Some(page) = &self.page else { return false };
        let usual = self.plain
            && self.reached + units <= self.ahead
            && self.reservation.is_none()
            && self.handle.check_fork().is_ok()
            && !self.shared.is_poisoned();
        if !usual {
            return false;
        }
        let record = self.handle.record();
        abandoned::enter(&self.shared.ctl, record, &mut self.epoch);
        let Some(claim) = page.view.claim(1, units) else {
            abandoned::leave(&self.shared.ctl, record, &mut self.epoch);
            return false;
        };
        self.reached = claim.unit + units;
        let published = if self.reached <= self.populated {
            let to = page.payload(claim.unit);
            // SAFETY: the claim owns these units, which are populated; `data` cannot overlap them.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
            Self::seal(&self.shared, page, claim, data)
        } else {
            // Others have claimed up to here meanwhile, beyond what this handle has seen populated.
            page.view.bury(claim.slot);
            None
        };
        abandoned::leave(&self.shared.ctl, record, &mut self.epoch);
        let Some(at) = published else { return false };
        self.sent = at;
        self.shared.message_made();
        if claim.slot >= self.ask_at {
            self.look_ahead(claim);
            self.note_room();
        }
        true
    }

    fn send_any(&mut self, data: &[u8], timeout_ms: i32) -> Result<()> {
        self.ready(data.len(), timeout_ms)?;
        let units = data.len().div_ceil(UNIT) as u64;
        let mut until = Until::new(timeout_ms);
        // Bounded by the timeout: each round means a full page or a claim that was taken for dead.
        loop {
            let claim = self.claim_one(units, &mut until)?;
            let page = in_hand(&self.page)?;
            let to = page.payload(claim.unit);
            // SAFETY: the claim owns these units, which were populated; `data` cannot overlap them.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
            let published = Self::seal(&self.shared, page, claim, data);
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
            if let Some(at) = published {
                return self.sent(at);
            }
        }
    }

    /// Send one message gathered from parts.
    pub fn send_vectored(&mut self, parts: &[IoSlice<'_>], timeout_ms: i32) -> Result<()> {
        let len = parts.iter().try_fold(0usize, |n, p| n.checked_add(p.len()));
        let len =
            len.ok_or_else(|| fail!(DC_E_ARGUMENT, "the parts' lengths overflow a size_t"))?;
        self.ready(len, timeout_ms)?;
        let mut until = Until::new(timeout_ms);
        loop {
            let claim = self.claim_one(len.div_ceil(UNIT) as u64, &mut until)?;
            let page = in_hand(&self.page)?;
            let mut to = page.payload(claim.unit);
            for part in parts {
                // SAFETY: as in `send`: the parts' lengths add up to what was claimed.
                unsafe {
                    std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                    to = to.add(part.len());
                }
            }
            let published = Self::seal(&self.shared, page, claim, payload(page, claim, len));
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
            if let Some(at) = published {
                return self.sent(at);
            }
        }
    }

    /// Send several messages in order; `sent` says how many were.
    pub fn send_batch(
        &mut self,
        messages: &[IoSlice<'_>],
        timeout_ms: i32,
        sent: &mut usize,
    ) -> Result<()> {
        *sent = 0;
        self.ready(messages.iter().map(|m| m.len()).max().unwrap_or(0), timeout_ms)?;
        let before = self.sent;
        let mut result = Ok(());
        let mut until = Until::new(timeout_ms);
        while *sent < messages.len() && result.is_ok() {
            result = self.send_some(&messages[*sent..], &mut until, sent);
        }
        if self.sent != before {
            // One wake and one flush for all of them.
            if let Err(e) = self.sent(self.sent) {
                // Which of them are sent, nobody knows.
                *sent = 0;
                return Err(e);
            }
        }
        result
    }

    /// Claim for as many as fit the page, publish in order; at the first that was skipped the rest of
    /// the claim is given back, or order within the producer would break.
    fn send_some(
        &mut self,
        messages: &[IoSlice<'_>],
        until: &mut Until,
        sent: &mut usize,
    ) -> Result<()> {
        let (claim, count) = self.claim(|page| fitting(page, messages), until)?;
        let page = in_hand(&self.page)?;
        let mut unit = claim.unit;
        let mut last = 0;
        let mut done = 0;
        for (i, message) in messages[..count].iter().enumerate() {
            let to = page.payload(unit);
            // SAFETY: as in `send`, for this message's part of the claim.
            unsafe { std::ptr::copy_nonoverlapping(message.as_ptr(), to, message.len()) };
            let one = Claim { slot: claim.slot + i, unit };
            match Self::seal(&self.shared, page, one, message) {
                Some(at) => last = at,
                None if planted!("batch_goes_on") => {}
                None => break,
            }
            done += 1;
            unit += message.len().div_ceil(UNIT) as u64;
        }
        for i in done..count {
            page.view.bury(claim.slot + i);
        }
        abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
        *sent += done;
        if last != 0 {
            self.sent = last;
            // The next part may have to wait for those who receive this one.
            self.shared.message_made();
        }
        Ok(())
    }

    /// Put everything this handle sent on stable storage.
    pub fn sync(&mut self, timeout_ms: i32) -> Result<()> {
        self.handle.check_fork()?;
        let deadline = deadline(timeout_ms)?;
        if self.sent == 0 {
            return self.shared.check_poison();
        }
        self.shared.flush_to(self.sent + 1, deadline, Waiter::Handle(&self.handle))
    }

    /// Position of the last message this handle sent; 0: none.
    pub fn sent_position(&self) -> u64 {
        self.sent
    }

    /// An event descriptor, armed by a send that returned [`DC_AGAIN`], readable once there may be room.
    pub fn fd(&mut self) -> Result<RawFd> {
        let shared = self.shared.arc().clone();
        self.handle.fd(Box::new(move || shared.has_room()))
    }

    /// A send found no room: have a task woken once there may be some; `Ok(true)`: there may be by now.
    pub(crate) fn listen(
        &mut self,
        listener: &mut Listener,
        id: &mut u64,
        waker: &Waker,
    ) -> Result<bool> {
        let shared = &self.shared;
        let watch = || {
            let shared = shared.arc().clone();
            Box::new(move || shared.has_room()) as Watch
        };
        self.handle.listen(listener, id, waker, watch, || shared.has_room() || shared.is_poisoned())
    }

    /// The task waits no more.
    pub(crate) fn unlisten(&mut self, listener: &mut Listener, id: &mut u64) {
        // All that wait for room are woken, so there is nothing to pass on.
        let _ = self.handle.unlisten(listener, id);
    }

    /// What keeps the descriptor.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        self.handle.signal.clone()
    }

    /// Interrupts this handle's waiting calls.
    pub fn interrupter(&self) -> Interrupter {
        self.handle.interrupter()
    }

    /// What every send checks first.
    #[inline(always)]
    fn ready(&mut self, len: usize, timeout_ms: i32) -> Result<()> {
        self.handle.check_fork()?;
        if timeout_ms < -1 {
            deadline(timeout_ms)?;
        }
        if len as u64 > self.shared.geometry.max_message() {
            return Err(fail!(
                DC_E_TOO_BIG,
                "a message of {len} bytes never fits a page of {}: at most {} bytes do",
                self.shared.path.display(),
                self.shared.geometry.max_message()
            ));
        }
        if self.reservation.is_some() {
            return Err(fail!(
                DC_E_STATE,
                "this producer holds a reservation: commit or abort it before another send"
            ));
        }
        self.shared.check_poison()
    }

    /// Checksum and publish a claim whose payload is written; its position, or `None`: it was skipped, or the
    /// page was cut meanwhile and the bytes may have gone nowhere.
    #[inline(always)]
    fn seal(shared: &User, page: &Page, claim: Claim, data: &[u8]) -> Option<u64> {
        if shared.guard && page.file.lost() {
            page.view.bury(claim.slot);
            return None;
        }
        let at = position(page.number(), claim.slot);
        let sum = shared.checksum_of(at, data);
        page.view.publish(claim.slot, data.len(), claim.unit, sum).then_some(at)
    }

    /// A message is published: wake who waits for it, and flush if every send is to.
    #[inline(always)]
    fn sent(&mut self, at: u64) -> Result<()> {
        self.sent = at;
        self.shared.message_made();
        if self.shared.guard
            && (self.shared.lost() || self.page.as_ref().is_some_and(|p| p.file.lost()))
        {
            return Err(self.lost());
        }
        if self.shared.durability == SYNC_ALWAYS {
            if planted!("placed_but_denied") {
                return self.shared.flush_to(at + 1, Deadline::Never, Waiter::Placed);
            }
            return self.shared.flush_placed(at + 1);
        }
        Ok(())
    }

    #[cold]
    fn lost(&mut self) -> Error {
        self.page = None;
        self.shared.poison();
        fail!(
            DC_E_CORRUPT,
            "{}: somebody cut a file of the channel while it was mapped; the message is lost",
            self.shared.path.display()
        )
    }
}

/// A claim's bytes.
fn payload(page: &Page, claim: Claim, len: usize) -> &[u8] {
    // SAFETY: written by the claim's owner, who is the caller, and by nobody else.
    unsafe { std::slice::from_raw_parts(page.payload(claim.unit), len) }
}

/// The page a claim was made in.
#[inline(always)]
fn in_hand(page: &Option<Page>) -> Result<&Page> {
    page.as_ref().ok_or(Error::silent(DC_E_INTERNAL))
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.handle.check_fork().is_ok() && self.reservation.is_some() {
            let _ = self.abort();
        }
    }
}

const _: fn() = || {
    fn send<T: Send>() {}
    send::<Producer>();
};
