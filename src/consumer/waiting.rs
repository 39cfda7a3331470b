//! Waiting for a message: pauses first, then sleep, until the deadline.

use std::time::Duration;

use super::core::Step;
use super::{Consumer, Source};
use crate::channel::deadline;
use crate::channel::handles::Slept;
use crate::error::{Error, Result, DC_AGAIN};
use crate::options::{Message, Received};

/// Pauses of a receiving call before it sleeps.
const SPINS: u32 = 32;

impl Consumer {
    /// Wait for a message, and pass on a wake that was spent on this handle if it leaves news behind, or
    /// takes none.
    #[cold]
    pub(super) fn recv_slow(
        &mut self,
        out: &mut Message,
        timeout_ms: i32,
        pending: bool,
    ) -> Result<Received> {
        let received = self.recv_waiting(out, timeout_ms, pending);
        let took = matches!(received, Ok(Received::Message));
        if std::mem::take(&mut self.core.woken) && (!took || self.source.ready(&self.core)) {
            if let Source::Member(m) = &self.source {
                self.core.shared.wake_group(&m.group);
            }
        }
        received
    }

    fn recv_waiting(
        &mut self,
        out: &mut Message,
        timeout_ms: i32,
        pending: bool,
    ) -> Result<Received> {
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
                    return Err(Error::silent(DC_AGAIN));
                }
                // Once: should the news be gone again, the descriptor is readable for nothing.
                armed = true;
            } else {
                let most = if pending { Duration::from_millis(1) } else { Duration::from_secs(1) };
                let (core, source) = (&self.core, &self.source);
                // What a seek is in front of is there, and not to be had.
                let ready = || !source.held_up() && source.ready(core);
                match core.handle.sleep(most.min(until.left()), ready) {
                    Slept::Signalled => {
                        self.core.woken = true;
                        return Err(Error::silent(-libc::EINTR));
                    }
                    Slept::Again { woken } => self.core.woken |= woken,
                }
            }
            match self.step(out)? {
                Step::Message => return Ok(Received::Message),
                Step::EndOfPage => return Ok(Received::EndOfPage),
                Step::Lagged => return Ok(Received::Lagged),
                Step::Nothing { pending: p } => pending = p,
            }
        }
    }
}
