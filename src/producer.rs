//! The send path: claim, copy, publish, wake.
//!
//! In the steady state a send is one `fetch_add`, the copy, one compare-exchange, and one load that
//! finds nobody asleep. Nothing between claim and publication can block, allocate or panic.

use std::io::IoSlice;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::channel::flush::Waiter;
use crate::channel::handles::{Handle, Interrupter, Slept};
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
use crate::layout::page::{CLAIM_MAX, UNIT};
use crate::layout::position;
use crate::options::{PREPARED_ONLY, SIGBUS_GUARD, SYNC_ALWAYS};

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
    reservation: Option<Reservation>,
    /// Whether the next page was asked for.
    asked: bool,
}

/// A call's timeout, turned into a deadline when it first waits.
struct Until {
    timeout_ms: i32,
    deadline: Option<Deadline>,
}

impl Until {
    fn new(timeout_ms: i32) -> Until {
        Until { timeout_ms, deadline: None }
    }
    fn left(&mut self) -> Result<Duration> {
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => *self.deadline.insert(deadline(self.timeout_ms)?),
        };
        Ok(deadline.left())
    }
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
        let mut producer = Producer {
            shared,
            handle,
            page: None,
            sealed: 0,
            epoch,
            reached: 0,
            sent: 0,
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
            let at = position(page.number(), claim.slot);
            let sum = self.shared.checksum_of(at, data);
            let published = page.view.publish(claim.slot, data.len(), claim.unit, sum);
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
            if published {
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
            let published = Self::seal(&self.shared, page, claim, len);
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
        for message in messages {
            self.ready(message.len(), timeout_ms)?;
        }
        let before = self.sent;
        let mut result = Ok(());
        let mut until = Until::new(timeout_ms);
        while *sent < messages.len() && result.is_ok() {
            result = self.send_some(&messages[*sent..], &mut until, sent);
        }
        if self.sent != before {
            // One wake and one flush for all of them.
            self.sent(self.sent)?;
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
            match Self::seal(&self.shared, page, one, message.len()) {
                Some(at) => last = at,
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

    /// Room for a message of `len` bytes to be written in place. [`Producer::commit`] publishes it.
    pub fn reserve(&mut self, len: usize, timeout_ms: i32) -> Result<*mut u8> {
        self.ready(len, timeout_ms)?;
        let claim = self.claim_one(len.div_ceil(UNIT) as u64, &mut Until::new(timeout_ms))?;
        // The page goes with the reservation; the handle finds it again for its next send.
        let page = self.page.take().ok_or(Error::silent(DC_E_INTERNAL))?;
        let data = page.payload(claim.unit);
        self.reservation = Some(Reservation { page, claim, len });
        Ok(data)
    }

    /// Publish the reservation's first `len` bytes. [`DC_AGAIN`]: it was skipped, must be copied to a
    /// new place, and there is no room now; the reservation stays.
    pub fn commit(&mut self, len: usize) -> Result<()> {
        self.handle.check_fork()?;
        let Some(r) = self.reservation.take() else {
            return Err(fail!(
                DC_E_STATE,
                "dc_commit without a reservation: call dc_reserve first"
            ));
        };
        if len > r.len {
            let most = r.len;
            self.reservation = Some(r);
            return Err(fail!(DC_E_ARGUMENT, "len is {len}: at most the {most} bytes reserved"));
        }
        if let Some(at) = Self::seal(&self.shared, &r.page, r.claim, len) {
            self.leave_reservation(r);
            return self.sent(at);
        }
        // It was skipped: the same bytes, sent anew.
        if self.epoch & 1 == 1 {
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
        }
        // SAFETY: the reservation owns these bytes of its pinned page, and nobody reads a tombstone's.
        let data = unsafe { std::slice::from_raw_parts(r.page.payload(r.claim.unit), len) };
        let sent = self.send(data, 0);
        if sent.is_err_and(|e| e.code() == DC_AGAIN) {
            self.reservation = Some(r);
        }
        sent
    }

    /// Give the reservation back.
    pub fn abort(&mut self) -> Result<()> {
        self.handle.check_fork()?;
        let Some(r) = self.reservation.take() else {
            return Err(fail!(DC_E_STATE, "dc_abort without a reservation"));
        };
        r.page.view.bury(r.claim.slot);
        self.leave_reservation(r);
        // Readers may be waiting for this very slot.
        self.shared.message_made();
        Ok(())
    }

    fn leave_reservation(&mut self, r: Reservation) {
        if self.epoch & 1 == 1 {
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
        }
        if self.page.is_none() {
            self.page = Some(r.page);
        }
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

    /// Claim for one message.
    #[inline(always)]
    fn claim_one(&mut self, units: u64, until: &mut Until) -> Result<Claim> {
        self.claim(|_| (1, units), until).map(|(claim, _)| claim)
    }

    /// Claim the slots and units that `fit` a page, waiting for room; on success the epoch is odd.
    #[inline(always)]
    fn claim(
        &mut self,
        fit: impl Fn(&Page) -> (usize, u64),
        until: &mut Until,
    ) -> Result<(Claim, usize)> {
        let record = self.handle.record();
        // Bounded by the timeout: each round means a full page.
        loop {
            if let Some(page) = &self.page {
                let (count, units) = fit(page);
                // Before the claim, so that the readers behind it need not wait for the kernel.
                self.populate(page, self.reached + units + AHEAD)?;
                abandoned::enter(&self.shared.ctl, record, &mut self.epoch);
                if let Some(claim) = page.view.claim(count, units) {
                    self.reached = claim.unit + units;
                    if let Err(e) = self.populate(page, self.reached) {
                        for i in 0..count {
                            page.view.bury(claim.slot + i);
                        }
                        abandoned::leave(&self.shared.ctl, record, &mut self.epoch);
                        return Err(e);
                    }
                    if !self.asked {
                        self.look_ahead(claim);
                    }
                    return Ok((claim, count));
                }
                abandoned::leave(&self.shared.ctl, record, &mut self.epoch);
                self.sealed = page.number();
            }
            self.wait_for_page(until)?;
        }
    }

    /// Make payload writable up to a unit (or the end).
    #[inline(always)]
    fn populate(&self, page: &Page, end: u64) -> Result<()> {
        page.populate(end.min(page.view.geometry.units()))
            .map_err(|e| self.shared.os_dir(e, "write to a page of"))
    }

    /// Half-way through a page, have the next one prepared.
    fn look_ahead(&mut self, claim: Claim) {
        let geometry = &self.shared.geometry;
        if claim.slot >= geometry.slots / 2 || self.reached >= geometry.units() / 2 {
            self.asked = true;
            if let Some(page) = &self.page {
                // Without a thread, the next send or `dc_maintain` prepares it.
                let _ = self.shared.arc().start_worker();
                self.shared.ask_for_page(page.number() + 1);
            }
        }
    }

    fn turn_page(&mut self, prepared_only: bool) -> Result<()> {
        // The old page's pin goes first: its file may be the one to reuse.
        self.page = None;
        let page = self.shared.page_for_sending(self.sealed, prepared_only)?;
        page.prepare_to_write().map_err(|e| self.shared.os_dir(e, "write to a page of"))?;
        self.asked = false;
        self.reached = page.view.tail().units.min(page.view.geometry.units());
        self.page = Some(page);
        Ok(())
    }

    /// Go to the next page, waiting for room.
    #[cold]
    fn wait_for_page(&mut self, until: &mut Until) -> Result<()> {
        let prepared_only = self.shared.flags & PREPARED_ONLY != 0;
        // Bounded by the deadline.
        loop {
            match self.turn_page(prepared_only) {
                Err(e) if e.code() == DC_AGAIN => {}
                other => return other,
            }
            if self.handle.interrupted() {
                return Err(Error::silent(-libc::ECANCELED));
            }
            let room = || self.shared.has_room();
            let left = until.left()?;
            if prepared_only || left.is_zero() {
                if !self.handle.has_fd() || !self.handle.arm(room) {
                    return Err(Error::silent(DC_AGAIN));
                }
                if prepared_only {
                    return Err(Error::silent(DC_AGAIN));
                }
                continue;
            }
            self.shared.check_poison()?;
            if self.handle.sleep(left, room) == Slept::Signalled {
                return Err(Error::silent(-libc::EINTR));
            }
        }
    }

    /// Checksum and publish a claim whose payload is written; its position, or `None`: it was skipped.
    fn seal(shared: &User, page: &Page, claim: Claim, len: usize) -> Option<u64> {
        let at = position(page.number(), claim.slot);
        // SAFETY: the claim's bytes, written just now and by nobody else.
        let payload = unsafe { std::slice::from_raw_parts(page.payload(claim.unit), len) };
        let sum = shared.checksum_of(at, payload);
        page.view.publish(claim.slot, len, claim.unit, sum).then_some(at)
    }

    /// A message is published: wake who waits for it, and flush if every send is to.
    #[inline(always)]
    fn sent(&mut self, at: u64) -> Result<()> {
        self.sent = at;
        self.shared.message_made();
        if self.shared.flags & SIGBUS_GUARD != 0
            && self.page.as_ref().is_some_and(|p| p.file.lost())
        {
            return Err(self.lost());
        }
        if self.shared.durability == SYNC_ALWAYS {
            return self.shared.flush_to(at + 1, Deadline::Never, Waiter::Placed);
        }
        Ok(())
    }

    #[cold]
    fn lost(&mut self) -> Error {
        self.page = None;
        self.shared.poison();
        fail!(
            DC_E_CORRUPT,
            "{}: somebody cut a page file while it was mapped; the message is lost",
            self.shared.path.display()
        )
    }
}

/// Units made writable ahead of a claim, for those of other producers that may come before it.
const AHEAD: u64 = (64 << 10) / UNIT as u64;

/// How many of the messages, and units, a page takes in one claim.
fn fitting(page: &Page, messages: &[IoSlice<'_>]) -> (usize, u64) {
    let geometry = &page.view.geometry;
    let tail = page.view.tail();
    let (slots, room) = match tail.sealed(geometry) {
        true => (0, 0),
        false => (geometry.slots - tail.count as usize, geometry.units() - tail.units),
    };
    let (mut count, mut units) = (0, 0);
    for message in messages.iter().take(slots.clamp(1, CLAIM_MAX)) {
        let more = message.len().div_ceil(UNIT) as u64;
        if count > 0 && units + more > room {
            break;
        }
        count += 1;
        units += more;
    }
    (count, units)
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
