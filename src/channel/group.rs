//! One group: its entries and who owns them, its floor, the right to move it.

use std::time::Duration;

use crate::engine::cursor::GroupView;
use crate::error::{fail, Error, Result, DC_E_LIMIT};
use crate::layout::group::{
    self, entry_at, CONSUMERS, CONSUMER_MAX, DELETED, ENTRIES, ENTRY_MAX, ENTRY_SIZE, FLOOR, GAP,
    LOCK_ENTRIES, LOCK_SEEK, LOST, ROLE, ROLE_OWN,
};
use crate::sync::{planted, AcqRel, Acquire, Memory, Mutex, Region, Release, SeqCst};
use crate::sys::errno::Os;
use crate::sys::file::Fd;
use crate::sys::map::Map;
use crate::sys::{fork, lock};

/// A mapped group.
pub(crate) struct Group {
    pub(crate) name: Vec<u8>,
    pub(crate) view: GroupView<Region>,
    /// What its consumers share a wake by.
    pub(crate) tag: u64,
    pub(crate) fd: Fd,
    pub(super) generation: u64,
    /// Entries that handles of this open own: the kernel's locks are this open's, not the handle's.
    pub(super) owned: Mutex<[u64; 8]>,
    /// Held, with the kernel's lock, by whoever moves the group against its consumers.
    pub(super) seeking: Mutex<()>,
    pub(super) map: Map,
}

impl Group {
    #[inline(always)]
    pub(crate) fn mem(&self) -> &Region {
        &self.view.0
    }

    /// Whether somebody cut the group's file under its mapping (known under `DC_SIGBUS_GUARD` only).
    pub(crate) fn lost(&self) -> bool {
        self.map.lost()
    }

    pub(crate) fn deleted(&self) -> bool {
        self.mem().load(DELETED, Acquire) != 0
    }

    /// Entries in use so far.
    pub(crate) fn entries(&self) -> usize {
        (self.mem().load(ENTRIES, Acquire) as usize).min(ENTRY_MAX)
    }

    /// The first position this group may still need.
    pub(crate) fn floor(&self) -> u64 {
        self.view.floor()
    }

    /// Note durably-to-be what is acknowledged by now. A seek meanwhile makes it look again.
    pub(crate) fn raise_floor(&self) {
        // Bounded: a failed exchange means another flush or a seek.
        for _ in 0..1000 {
            let seen = self.mem().load(FLOOR, SeqCst);
            let (floor, seeks) = group::floor_of(seen);
            let acknowledged =
                if planted!("floor_too_far") { self.view.cursor().position } else { self.floor() };
            let to = group::floor_word(floor.max(acknowledged), seeks);
            if self.mem().cas(FLOOR, seen, to, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// A seek: the floor is at most `to` from here on.
    pub(crate) fn lower_floor(&self, to: u64) {
        // Bounded: a failed exchange means a flush.
        for _ in 0..1_000_000 {
            let seen = self.mem().load(FLOOR, SeqCst);
            let (floor, seeks) = group::floor_of(seen);
            let to = if planted!("seek_keeps_floor") { floor } else { to };
            let word = group::floor_word(floor.min(to), seeks + 1);
            if self.mem().cas(FLOOR, seen, word, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Whether somebody is seeking, of this open or another one.
    pub(crate) fn seek_under_way(&self) -> bool {
        self.seeking.try_lock().is_none()
            || lock::held_by_other(&self.fd, LOCK_SEEK, 1).unwrap_or(true)
    }

    /// Live consumers: entries that somebody owns as a consumer's own.
    pub(crate) fn live_consumers(&self) -> usize {
        (0..self.entries()).filter(|&e| self.is_consumer(e)).count()
    }

    fn is_consumer(&self, entry: usize) -> bool {
        self.mem().load(entry_at(entry) + ROLE, Acquire) == ROLE_OWN && self.owned_by_anyone(entry)
    }

    /// Whether a live consumer of any process owns an entry.
    pub(crate) fn owned_by_anyone(&self, entry: usize) -> bool {
        self.owned_here(entry)
            || lock::held_by_other(&self.fd, LOCK_ENTRIES + entry as u64, 1).unwrap_or(true)
    }

    /// Whether somebody holds all entries, as who deletes the group does.
    pub(crate) fn being_deleted(&self) -> bool {
        self.entries() < ENTRY_MAX
            && lock::held_by_other(&self.fd, LOCK_ENTRIES + ENTRY_MAX as u64 - 1, 1)
                .unwrap_or(false)
    }

    fn owned_here(&self, entry: usize) -> bool {
        self.owned.lock()[entry / 64] >> (entry % 64) & 1 != 0
    }

    /// Become the owner of an entry; false: somebody lives there.
    pub(crate) fn try_own(&self, entry: usize) -> Os<bool> {
        let mut owned = self.owned.lock();
        if owned[entry / 64] >> (entry % 64) & 1 != 0
            || !lock::try_exclusive(&self.fd, LOCK_ENTRIES + entry as u64, 1)?
        {
            return Ok(false);
        }
        owned[entry / 64] |= 1 << (entry % 64);
        Ok(true)
    }

    /// Give an entry up, with whatever it holds.
    pub(crate) fn disown(&self, entry: usize) {
        if fork::is_foreign(self.generation) {
            return;
        }
        let mut owned = self.owned.lock();
        owned[entry / 64] &= !(1 << (entry % 64));
        lock::unlock(&self.fd, LOCK_ENTRIES + entry as u64, 1);
    }

    /// The right to move the group without holding anything in it, alone among all processes; `None`:
    /// somebody else has it, for longer than it takes to drop a page.
    pub(crate) fn try_seek(&self) -> Option<Seek<'_>> {
        for round in 0..20 {
            if round > 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
            let Some(local) = self.seeking.try_lock() else {
                continue;
            };
            if lock::try_exclusive(&self.fd, LOCK_SEEK, 1).unwrap_or(false) {
                return Some(Seek { group: self, _local: local });
            }
        }
        None
    }

    /// Own an idle entry as a consumer.
    pub(crate) fn take_entry(&self) -> Result<usize> {
        let name = self.name.escape_ascii();
        let err = |e: i32| Error::os(e, format_args!("cannot add a consumer to group \"{name}\""));
        // Those beyond `ENTRIES` come last: the file is as long as it can get, its blocks come as entries
        // are used.
        for entry in 0..ENTRY_MAX {
            let known = entry < self.entries() || planted!("entry_unallocated");
            if known && self.view.busy(entry) || !self.try_own(entry).map_err(err)? {
                continue;
            }
            // Before anybody looks at it: a file system in memory makes a block for a hole that is read
            // through a mapping, and raises SIGBUS when it is full.
            if let Err(e) = self.fd.allocate(entry_at(entry) as u64, ENTRY_SIZE as u64) {
                self.disown(entry);
                let name = self.name.escape_ascii();
                return Err(Error::os(
                    e,
                    format_args!("cannot add a consumer to group \"{name}\""),
                ));
            }
            if self.view.busy(entry) {
                self.disown(entry);
                continue;
            }
            self.mem().store(entry_at(entry) + ROLE, ROLE_OWN, Release);
            self.mem().raise(ENTRIES, entry as u64 + 1, AcqRel);
            return Ok(entry);
        }
        Err(fail!(
            DC_E_LIMIT,
            "group \"{}\": all {ENTRY_MAX} entries hold messages of live or dead consumers",
            self.name.escape_ascii()
        ))
    }

    /// Count the live consumers and remember it; [`DC_E_LIMIT`] when there are too many.
    pub(crate) fn recount(&self) -> Result<()> {
        let live = self.live_consumers();
        self.mem().store(CONSUMERS, live as u64, Release);
        if live > CONSUMER_MAX {
            return Err(fail!(
                DC_E_LIMIT,
                "group \"{}\" has {CONSUMER_MAX} live consumers, the most there can be",
                self.name.escape_ascii()
            ));
        }
        Ok(())
    }

    /// Retention dropped `lost` messages in front of `to`.
    pub(crate) fn note_gap(&self, lost: u64, to: u64) {
        if lost > 0 {
            self.mem().add(LOST, lost, AcqRel);
            self.mem().raise(GAP, to, AcqRel);
        }
    }
}

/// The right to move a group.
pub(crate) struct Seek<'a> {
    group: &'a Group,
    _local: crate::sync::MutexGuard<'a, ()>,
}

impl Drop for Seek<'_> {
    fn drop(&mut self) {
        lock::unlock(&self.group.fd, LOCK_SEEK, 1);
    }
}
