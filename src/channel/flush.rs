//! Durability: many producers share one flush.
//!
//! The durable position is the first one that is not published, or not on stable storage. Whoever needs
//! it to move takes the flush lock and flushes for everybody who published before; the others sleep on
//! the count of flushes. A flush that failed is never tried again into a false success: the channel is
//! poisoned for every process. Whoever dies between the kernel's error and the poisoning leaves
//! `FLUSHING` set: the next one dirties the range anew before it trusts a flush.

mod behind;

use std::time::Duration;

use self::behind::Behind;
use super::handles::Handle;
use super::pages::{Page, Pinned};
use super::{Deadline, Shared};
use crate::engine::abandoned::Watch;
use crate::engine::durable;
use crate::engine::page::Look;
use crate::error::{fail, Error, Result, DC_AGAIN, DC_E_CORRUPT, DC_E_POISONED};
use crate::layout::control::{
    ABANDONED, DURABLE, DURABLE_THEN, FLUSHED, LOCK_FLUSH, LOCK_FLUSH_BESIDE, MARK, NAMED, POISONED,
};
use crate::layout::{page_of, position, slot_of};
use crate::options::{CHECKSUM_OFF, SYNC_NONE};
use crate::sync::{planted, AcqRel, Acquire, Memory, Relaxed, SeqCst};
use crate::sys::{clock, futex, lock};

/// Who waits for a flush, which says what may end its wait.
#[derive(Clone, Copy)]
pub(crate) enum Waiter<'a> {
    /// A send whose message is placed: nothing but the flush.
    Placed,
    /// A call on the channel: a signal handler.
    Channel,
    /// A call on a handle: a signal handler or an interrupt.
    Handle(&'a Handle),
}

impl Shared {
    /// Everything before this position is on stable storage.
    pub(crate) fn durable(&self) -> u64 {
        self.ctl.load(DURABLE, Acquire)
    }

    /// Everything before this position of a doubtful page was on stable storage at the machine crash.
    pub(crate) fn certain(&self) -> u64 {
        self.durable().max(self.ctl.load(DURABLE_THEN, Acquire))
    }

    /// Whether flushes are to be expected.
    pub(crate) fn is_flushed(&self) -> bool {
        self.durability != SYNC_NONE || self.ctl.load(FLUSHED, Relaxed) != 0
    }

    /// Whether there was an I/O failure.
    #[inline(always)]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.ctl.load(POISONED, Acquire) != 0
    }

    /// [`DC_E_POISONED`] after an I/O failure.
    #[inline]
    pub(crate) fn check_poison(&self) -> Result<()> {
        if self.is_poisoned() || self.lost() {
            return Err(poisoned(self));
        }
        Ok(())
    }

    /// Wait until everything before `target` is on stable storage, flushing if nobody else does.
    pub(crate) fn flush_to(&self, target: u64, deadline: Deadline, by: Waiter<'_>) -> Result<()> {
        let (mut since, mut count) = (clock::now_ns(), None);
        let mut behind = Behind::new(self.durable(), since);
        // Bounded by the deadline; without one, by the stall timeout for each unpublished message and
        // for a flusher that is suspended.
        loop {
            let flushed = self.ctl.load(FLUSHED, Acquire) as u32;
            self.check_poison()?;
            if self.durable() >= target {
                return self.intact(());
            }
            if count != Some(flushed) {
                (since, count) = (clock::now_ns(), Some(flushed));
            }
            let stalls = (clock::now_ns() - since) / (u64::from(self.stall_timeout_ms) * 1_000_000);
            let (most, seen) = match self.try_flush(stalls)? {
                true if self.durable() >= target => return self.intact(()),
                // Somebody in front is between claim and publication.
                true => {
                    let now = clock::now_ns();
                    let pause = behind.pause(self.durable(), now);
                    if self.stands_still(now - behind.since) {
                        return Err(self.stuck());
                    }
                    (pause, self.ctl.load(FLUSHED, Acquire) as u32)
                }
                false => (Duration::from_millis(20), flushed),
            };
            if let Waiter::Handle(handle) = by {
                if handle.interrupted() {
                    return Err(Error::silent(-libc::ECANCELED));
                }
            }
            let slept = futex::wait(self.ctl.futex(FLUSHED), seen, most.min(deadline.left()));
            if matches!(slept, futex::Wake::Interrupted) && !matches!(by, Waiter::Placed) {
                return Err(Error::silent(-libc::EINTR));
            }
            if self.durable() < target && deadline.left().is_zero() {
                return Err(Error::silent(DC_AGAIN));
            }
        }
    }

    /// As [`Shared::flush_to`], for a message that is placed: no code may say that it was not sent. What
    /// keeps this process from flushing (no memory, no lock to be had) is waited out for the stall
    /// timeout; then it is unknown whether the message is durable, as after a flush that failed.
    pub(crate) fn flush_placed(&self, target: u64) -> Result<()> {
        let since = clock::now_ns();
        loop {
            match self.flush_to(target, Deadline::Never, Waiter::Placed) {
                Err(e) if e.code() != DC_E_POISONED => {
                    if clock::now_ns() - since > u64::from(self.stall_timeout_ms) * 1_000_000 {
                        return Err(fail!(
                            DC_E_POISONED,
                            "{}: a message was sent, but whether it is on stable storage is not \
                             known: {e}",
                            self.path.display()
                        ));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
    }

    /// Whether the durable position has not moved for longer than anything in its way can take.
    fn stands_still(&self, since: u64) -> bool {
        since > (3 * u64::from(self.stall_timeout_ms) + 1000) * 1_000_000
    }

    #[cold]
    fn stuck(&self) -> Error {
        fail!(
            DC_E_CORRUPT,
            "{}: the page at position {} ends where messages follow: nothing after it can be flushed",
            self.path.display(),
            self.durable()
        )
    }

    /// Flush what is published, unless somebody else is at it (false). One who is at it for `stalls`
    /// times the stall timeout is taken for suspended, and one more may flush beside: it finds
    /// `FLUSHING` set, dirties the range anew, and so trusts only its own flush; the first one's outcome
    /// still counts when it comes.
    fn try_flush(&self, stalls: u64) -> Result<bool> {
        let mut local = self.flushing.try_lock();
        let lock =
            |byte| lock::try_exclusive(&self.file, byte, 1).map_err(|e| self.os_dir(e, "lock"));
        let mut byte = LOCK_FLUSH;
        let mut _second = None;
        if local.is_none() || !lock(LOCK_FLUSH)? {
            local = None;
            byte = LOCK_FLUSH_BESIDE + stalls.min(64);
            _second = if stalls > 0 { self.beside.try_lock() } else { None };
            if _second.is_none() || !lock(byte)? {
                return Ok(false);
            }
        }
        let locked = byte == LOCK_FLUSH;
        let result = match &mut local {
            Some(watch) => self.flush(watch, locked),
            None => self.flush(&mut Watch::default(), locked),
        };
        lock::unlock(&self.file, byte, 1);
        self.ctl.add(FLUSHED, 1, SeqCst);
        futex::wake(self.ctl.futex(FLUSHED), i32::MAX);
        result.map(|()| true)
    }

    fn flush(&self, watch: &mut Watch, locked: bool) -> Result<()> {
        self.check_poison()?;
        let from = self.durable();
        let to = self.published(from, watch)?;
        if planted!("durable_early") {
            self.ctl.raise(DURABLE, to, AcqRel);
        }
        let write = |unsure| {
            if let Err(e) = self.flush_pages(from, to, unsure) {
                return Err(match e {
                    // Nothing failed on the disk; the next flush takes the same range again.
                    Ok(e) => e,
                    Err(errno) => {
                        if !planted!("failed_flush_forgiven") {
                            self.poison();
                        }
                        let why = crate::sys::errno::text(errno);
                        fail!(
                            DC_E_POISONED,
                            "{}: a flush failed ({why}): what was sent since position {from} may not \
                             be on stable storage; close the channel everywhere and reopen it",
                            self.path.display()
                        )
                    }
                });
            }
            if self.checksum == CHECKSUM_OFF {
                // Without checksums only the mark tells after a power cut what is whole: it must be on
                // the disk before anybody is told.
                self.ctl.raise(MARK, to, AcqRel);
                if self.file.sync_data().is_err() {
                    self.poison();
                    return Err(poisoned(self));
                }
            }
            Ok(())
        };
        // One who flushes beside holds a lock while it lives.
        let last = || {
            let beside = lock::held_by_other(&self.file, LOCK_FLUSH_BESIDE, 65);
            locked && self.beside.try_lock().is_some() && beside == Ok(false)
        };
        durable::flush(&self.ctl, from, to, write, last)
    }

    fn flush_pages(
        &self,
        from: u64,
        to: u64,
        unsure: bool,
    ) -> std::result::Result<(), std::result::Result<Error, i32>> {
        let last = page_of(to);
        let mut named = 0;
        let mut number = page_of(from).max(self.window().oldest);
        // Numbers only grow, but for damage: what was the newest page then may be far from it now.
        while number <= last.min(self.newest()) {
            match self.pin(number).map_err(Ok)? {
                Pinned::Page(page) => {
                    if unsure && !planted!("not_dirtied_anew") {
                        redirty(&page);
                    }
                    if !planted!("page_unflushed") {
                        let flushed = page.file.fd.sync_data();
                        if flushed.is_err() && planted!("flush_tried_again") {
                            page.file.fd.sync_data().map_err(Err)?;
                        } else {
                            flushed.map_err(Err)?;
                        }
                    }
                    named = number;
                    number += 1;
                }
                // Dropped meanwhile, or numbers skipped by a recovery.
                _ if number < last => {
                    number = self.page_after(number).map_err(Ok)?.max(number + 1);
                }
                _ => break,
            }
        }
        // Of those that exist: the last one may be yet to come.
        if self.ctl.load(NAMED, Acquire) < named {
            if !planted!("names_unflushed") {
                self.dir.sync().map_err(Err)?;
            }
            // The window goes along: names of dropped pages may be gone from the disk.
            self.file.sync_data().map_err(Err)?;
            self.ctl.raise(NAMED, named, AcqRel);
        }
        Ok(())
    }

    /// The first position from `from` on that is not published; claims of the dead are skipped.
    fn published(&self, from: u64, watch: &mut Watch) -> Result<u64> {
        let mut at = from.max(position(self.window().oldest, 0));
        // Bounded: each round passes a page, or settles a claim.
        loop {
            // Before the page is looked for: it may be made and filled just behind the look.
            let newest = self.newest();
            let Pinned::Page(page) = self.pin(page_of(at))? else {
                let oldest = self.window().oldest;
                if page_of(at) < oldest {
                    at = position(oldest, 0);
                    continue;
                }
                if page_of(at) < newest {
                    at = position(self.page_after(page_of(at))?.max(page_of(at) + 1), 0);
                    continue;
                }
                return Ok(at);
            };
            let slot = slot_of(at);
            let slot = slot + page.view.decided(slot, usize::MAX);
            at = position(page.number(), slot);
            match page.view.look(slot) {
                Look::Unpublished if !self.settle(&page, slot, watch) => return Ok(at),
                Look::End if page.number() < self.newest() => {
                    at = position(self.page_after(page.number())?, 0);
                }
                Look::End | Look::Free => return Ok(at),
                _ => {}
            }
        }
    }

    /// Deal with a claim that is not published: true: it is decided now. A claimer that is gone is known
    /// by the epochs; one that is suspended by the stall timeout.
    pub(crate) fn settle(&self, page: &Page, slot: usize, watch: &mut Watch) -> bool {
        // Nearly always its claimer is at work, and done before it could be asked for: all producers' records
        // are many cache lines, one of which it is writing to.
        for _ in 0..SETTLE_SPINS {
            for _ in 0..4 {
                std::hint::spin_loop();
            }
            if page.view.look(slot) != Look::Unpublished {
                return true;
            }
        }
        let now = clock::now_ns();
        let claimed = position(page.number(), page.view.claimed());
        watch.on(position(page.number(), slot), claimed, now);
        let patience = u64::from(self.stall_timeout_ms) * 1_000_000;
        let stalled = now - watch.since > patience && !planted!("stalled_for_ever");
        if !stalled && !watch.cleared(&self.ctl, |index| self.alive(index)) {
            return false;
        }
        if !self.read_only && page.view.bury(slot) {
            self.ctl.add(ABANDONED, 1, AcqRel);
        }
        true
    }

    /// An I/O failure: nobody's durability is known any more.
    pub(crate) fn poison(&self) {
        self.ctl.store(POISONED, 1, SeqCst);
        self.wake_everybody();
    }

    /// Put the acknowledgements of every group on stable storage.
    pub(crate) fn flush_groups(&self) -> Result<()> {
        for group in self.with_groups(self.window().groups, <[_]>::to_vec)? {
            group.raise_floor();
            if let Err(e) = group.fd.sync_data() {
                self.poison();
                let why = crate::sys::errno::text(e);
                return Err(fail!(
                    DC_E_POISONED,
                    "{}: flushing group \"{}\" failed ({why}); close the channel everywhere and reopen it",
                    self.path.display(),
                    group.name.escape_ascii()
                ));
            }
        }
        self.dir.sync().map_err(|e| {
            self.poison();
            self.os_dir(e, "flush")
        })
    }
}

/// Looks at an unpublished claim, a few pauses apart, before its claimer is looked for: some microseconds.
const SETTLE_SPINS: u32 = 32;

/// Touch every block of a page file, so that the kernel writes it again.
fn redirty(page: &Page) {
    let mem = &page.view.mem;
    for at in (0..mem.len()).step_by(4096) {
        // The compiler drops an addition that it can see to be of 0, and the write with it.
        mem.add(at, std::hint::black_box(0), AcqRel);
    }
}

#[cold]
fn poisoned(shared: &Shared) -> Error {
    fail!(
        DC_E_POISONED,
        "{}: an I/O failure made durability unknown: close the channel in every process and reopen it",
        shared.path.display()
    )
}
