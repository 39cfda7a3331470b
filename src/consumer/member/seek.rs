//! Moving a whole group.

use super::Member;
use crate::channel::group::Group;
use crate::consumer::adopt::settle_dead_seek;
use crate::consumer::{Core, Step};
use crate::error::{fail, Error, Result, DC_E_BUSY};
use crate::layout::group::{ENTRY_MAX, GAP, SEEKING};
use crate::sync::{Acquire, Memory, SeqCst};
use crate::sys::clock;

impl Member {
    pub(in crate::consumer) fn seek(&mut self, core: &mut Core, to: u64) -> Result<()> {
        let target = core.shared.resolve_start(to)?;
        let group = self.group.clone();
        let Some(_right) = group.try_seek() else {
            return Err(busy(&group));
        };
        if !self.seek_alone(target) {
            return Err(busy(&group));
        }
        self.seen_gap = group.mem().load(GAP, Acquire);
        core.drop_page();
        core.shared.joined();
        core.shared.wake_group(&group);
        core.shared.room_made();
        Ok(())
    }

    /// Move the group if nobody else alive holds anything. What the dead and this handle hold is
    /// forgotten with the old place, but only once the move is made: refused, a seek changes nothing.
    pub(in crate::consumer) fn seek_alone(&mut self, target: u64) -> bool {
        let group = self.group.clone();
        let mut dead = [0u64; 8];
        let moved = group.view.seek(target, || {
            for entry in 0..group.entries() {
                let mine = entry == self.entry || self.adopted.owns(entry);
                if mine || dead[entry / 64] >> (entry % 64) & 1 != 0 || !group.view.busy(entry) {
                    continue;
                }
                // An error says nothing about its owner: take it for alive.
                if !group.try_own(entry).unwrap_or(false) {
                    return false;
                }
                dead[entry / 64] |= 1 << (entry % 64);
            }
            // A machine crash must find the floor at or before the new place.
            group.lower_floor(target);
            true
        });
        if moved {
            // Whoever computed a floor before the move does not get to store it after.
            group.lower_floor(target);
        }
        for entry in (0..ENTRY_MAX).filter(|e| dead[e / 64] >> (e % 64) & 1 != 0) {
            if moved {
                group.view.forget(entry);
            }
            group.disown(entry);
        }
        if moved {
            self.forget();
        }
        // Not before: who finds it under way, and its owner dead, drops what it had not forgotten.
        group.view.end_seek();
        moved
    }

    pub(in crate::consumer) fn forget(&mut self) {
        self.group.view.forget(self.entry);
        self.adopted.forget(&self.group);
        (self.count, self.handed, self.acked, self.held) = (0, 0, 0, 0);
    }

    /// Whether the last claim or hop found a seek under way that has not ended.
    pub(in crate::consumer) fn held_up(&self) -> bool {
        self.seek_seen != 0 && self.group.mem().load(SEEKING, SeqCst) != 0
    }

    /// A claim found a seek under way: one whose owner died, or is suspended, does not hold it up. The
    /// seek's own move is a compare-exchange on what it saw, and fails if anybody claims meanwhile.
    #[cold]
    pub(in crate::consumer) fn end_stale_seek(&mut self, core: &Core) -> Result<Step> {
        let now = clock::now_ns();
        if self.seek_seen == 0 {
            self.seek_seen = now;
        }
        let alive = self.group.seek_under_way();
        let patience = if alive { u64::from(core.shared.stall_timeout_ms) } else { 10 };
        if now - self.seek_seen > patience * 1_000_000 {
            let seen = self.group.mem().load(SEEKING, SeqCst);
            let right = if alive { None } else { self.group.try_seek() };
            if right.is_some() {
                settle_dead_seek(core, &self.group)?;
            }
            if alive || right.is_some() {
                let _ = self.group.mem().cas(SEEKING, seen, 0, SeqCst);
                self.seek_seen = 0;
            }
        }
        Ok(Step::Nothing { pending: true })
    }
}

#[cold]
pub(in crate::consumer) fn busy(group: &Group) -> Error {
    fail!(
        DC_E_BUSY,
        "group \"{}\": other consumers hold messages; they must acknowledge or close first",
        group.name.escape_ascii()
    )
}
