//! Getting a place in a page: claiming, and turning pages when they are full.

use std::io::IoSlice;
use std::time::Duration;

use super::Producer;
use crate::channel::handles::Slept;
use crate::channel::pages::Page;
use crate::channel::{deadline, Deadline};
use crate::engine::abandoned;
use crate::engine::page::Claim;
use crate::error::{Error, Result, DC_AGAIN};
use crate::layout::page::{CLAIM_MAX, UNIT};
use crate::options::PREPARED_ONLY;

/// A call's timeout, turned into a deadline when it first waits.
pub(super) struct Until {
    timeout_ms: i32,
    deadline: Option<Deadline>,
}

impl Until {
    pub(super) fn new(timeout_ms: i32) -> Until {
        Until { timeout_ms, deadline: None }
    }
    pub(super) fn left(&mut self) -> Result<Duration> {
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => *self.deadline.insert(deadline(self.timeout_ms)?),
        };
        Ok(deadline.left())
    }
}

impl Producer {
    /// Claim for one message.
    #[inline(always)]
    pub(super) fn claim_one(&mut self, units: u64, until: &mut Until) -> Result<Claim> {
        self.claim(|_| (1, units), until).map(|(claim, _)| claim)
    }

    /// Claim the slots and units that `fit` a page, waiting for room; on success the epoch is odd.
    #[inline(always)]
    pub(super) fn claim(
        &mut self,
        fit: impl Fn(&Page) -> (usize, u64),
        until: &mut Until,
    ) -> Result<(Claim, usize)> {
        let record = self.handle.record();
        // Bounded by the timeout: each round means a full page.
        loop {
            if let Some(page) = &self.page {
                if self.shared.guard && page.file.lost() {
                    return Err(self.lost());
                }
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
                    self.note_room();
                    return Ok((claim, count));
                }
                abandoned::leave(&self.shared.ctl, record, &mut self.epoch);
                self.sealed = page.number();
            }
            self.wait_for_page(until)?;
        }
    }

    /// How far sends need to look at nothing but their claim: to where units have to be populated ahead, or the next
    /// page asked for.
    pub(super) fn note_room(&mut self) {
        let Some(page) = &self.page else { return };
        let geometry = &page.view.geometry;
        let units = geometry.units();
        self.populated = page.populated().min(units);
        let whole = self.populated == units;
        // Not so far that a message could be longer than the longest.
        let end = geometry.max_message() / UNIT as u64;
        self.ahead = if whole { end } else { self.populated.saturating_sub(AHEAD) };
        self.ask_at = usize::MAX;
        if !self.asked {
            self.ahead = self.ahead.min(units / 2);
            self.ask_at = geometry.slots / 2;
        }
    }

    /// Make payload writable up to a unit (or the end).
    #[inline(always)]
    pub(super) fn populate(&self, page: &Page, end: u64) -> Result<()> {
        page.populate(end.min(page.view.geometry.units()))
            .map_err(|e| self.shared.os_dir(e, "write to a page of"))
    }

    /// Half-way through a page, have the next one prepared.
    pub(super) fn look_ahead(&mut self, claim: Claim) {
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

    pub(super) fn turn_page(&mut self, prepared_only: bool) -> Result<()> {
        // The old page's pin goes first: its file may be the one to reuse.
        self.page = None;
        (self.populated, self.ahead) = (0, 0);
        let page = self.shared.page_for_sending(self.sealed, prepared_only)?;
        page.prepare_to_write().map_err(|e| self.shared.os_dir(e, "write to a page of"))?;
        self.asked = false;
        self.reached = page.view.tail().units.min(page.view.geometry.units());
        self.page = Some(page);
        Ok(())
    }

    /// Go to the next page, waiting for room.
    #[cold]
    pub(super) fn wait_for_page(&mut self, until: &mut Until) -> Result<()> {
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
}

/// Units made writable ahead of a claim, for those of other producers that may come before it.
pub(super) const AHEAD: u64 = (64 << 10) / UNIT as u64;

/// How many of the messages, and units, a page takes in one claim.
pub(super) fn fitting(page: &Page, messages: &[IoSlice<'_>]) -> (usize, u64) {
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
