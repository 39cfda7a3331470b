//! Writing a message in place.

use super::claim::Until;
use super::{payload, Producer, Reservation};
use crate::engine::abandoned;
use crate::error::{
    fail, Error, Result, DC_E_ARGUMENT, DC_E_CORRUPT, DC_E_INTERNAL, DC_E_POISONED, DC_E_STATE,
};
use crate::layout::page::UNIT;

impl Producer {
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

    /// Publish the reservation's first `len` bytes. Where it was skipped, it must be copied to a new place; whatever keeps
    /// it from that (`DC_AGAIN`, an interrupt, a full disk), the reservation stays.
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
        let data = payload(&r.page, r.claim, len);
        if let Some(at) = Self::seal(&self.shared, &r.page, r.claim, data) {
            self.leave_reservation(r);
            return self.sent(at);
        }
        if self.epoch & 1 == 1 {
            abandoned::leave(&self.shared.ctl, self.handle.record(), &mut self.epoch);
        }
        if self.shared.guard && r.page.file.lost() {
            return Err(self.lost());
        }
        // It was skipped: the same bytes, sent anew.
        let sent = self.send(data, 0);
        // Poisoned: whether it was sent may be unknown. Damaged: it is lost.
        if sent.is_err_and(|e| ![DC_E_POISONED, DC_E_CORRUPT].contains(&e.code())) {
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
}
