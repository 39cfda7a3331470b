//! Figures, derived from positions and page counts: no counter is touched on the way of a message.

use std::sync::Arc;

use super::group::Group;
use super::pages::Pinned;
use super::Shared;
use crate::engine::page::Look;
use crate::error::Result;
use crate::layout::control::{ABANDONED, DISCARDED, POISONED, RECOVERIES};
use crate::layout::group::{Cursor, LOST, REDELIVERED};
use crate::layout::page::{BASE_AT, BYTES_AT};
use crate::layout::superblock::VERSION;
use crate::layout::{is_ours, page_of, position, slot_of};
use crate::options::{ChannelInfo, GroupInfo};
use crate::sync::{AcqRel, Acquire, Memory};

impl Shared {
    pub(crate) fn channel_info(&self) -> Result<ChannelInfo> {
        let (producers, consumers) = self.count_handles();
        let (messages, bytes) = self.contents(position(self.window().oldest, 0), true)?;
        Ok(ChannelInfo {
            page_size: self.geometry.capacity,
            max_pages: self.max_pages,
            max_messages_per_page: self.geometry.slots as u64,
            max_message: self.geometry.max_message(),
            retention: self.retention.into(),
            checksum: self.checksum.into(),
            format_version: VERSION.into(),
            oldest: position(self.window().oldest, 0),
            end: self.end()?,
            durable: self.durable(),
            messages,
            bytes,
            disk_bytes: self.disk_bytes()?,
            producers,
            consumers,
            abandoned: self.ctl.load(ABANDONED, Acquire),
            recoveries: self.ctl.load(RECOVERIES, Acquire),
            discarded: self.ctl.load(DISCARDED, Acquire),
            poisoned: u64::from(self.ctl.load(POISONED, Acquire) != 0),
        })
    }

    fn disk_bytes(&self) -> Result<u64> {
        let names = self.dir.list().map_err(|e| self.os_dir(e, "list"))?;
        let ours = names.iter().filter(|n| is_ours(n));
        Ok(ours.filter_map(|n| self.dir.stat_of(n).ok()).map(|s| s.blocks * 512).sum())
    }

    /// Messages from a position to the end, and (if asked) their bytes.
    pub(crate) fn contents(&self, from: u64, with_bytes: bool) -> Result<(u64, u64)> {
        let (mut messages, mut bytes) = (0, 0);
        let mut number = page_of(from).max(self.window().oldest);
        // Bounded: each round passes a page.
        while number <= self.newest() {
            let Pinned::Page(page) = self.pin(number)? else {
                let next = self.page_after(number)?;
                if next <= number {
                    break;
                }
                number = next;
                continue;
            };
            let slot = if number == page_of(from) { slot_of(from) } else { 0 };
            messages = u64::saturating_add(messages, page.view.messages_from(slot));
            if with_bytes {
                bytes = u64::saturating_add(bytes, self.bytes_of(&page.view));
            }
            number += 1;
        }
        Ok((messages, bytes))
    }

    fn bytes_of(&self, view: &crate::engine::page::PageView<crate::sync::Region>) -> u64 {
        let known = view.mem.load(BYTES_AT, Acquire);
        if known != 0 {
            return known - 1;
        }
        let (_, bytes, settled) = view.count(0, self.geometry.slots);
        if settled && !self.read_only {
            let _ = view.mem.cas(BYTES_AT, 0, bytes + 1, AcqRel);
        }
        bytes
    }

    /// Messages ever sent before a position, where known.
    pub(crate) fn messages_before(&self, at: u64) -> Result<Option<u64>> {
        let mut number = self.window().oldest;
        let mut count = None;
        while number <= page_of(at) && number <= self.newest() {
            let Pinned::Page(page) = self.pin(number)? else {
                break;
            };
            let base = page.view.mem.load(BASE_AT, Acquire);
            if base != 0 {
                count = Some(base - 1);
            }
            let Some(so_far) = count else { break };
            if number == page_of(at) {
                return Ok(Some(so_far.saturating_add(page.view.count(0, slot_of(at)).0)));
            }
            count = Some(so_far.saturating_add(page.view.messages()));
            number = self.page_after(number)?.max(number + 1);
        }
        Ok(count)
    }

    pub(crate) fn group_info(&self, group: &Arc<Group>) -> Result<GroupInfo> {
        // Before the entries: what is claimed meanwhile counts twice, and never not at all.
        let cursor = group.view.cursor();
        let position = cursor.position;
        let mut unacked = 0;
        let mut waiting = 0;
        for entry in 0..group.entries() {
            let (held, ahead) = self.entry_contents(group, entry, cursor)?;
            unacked += held;
            waiting += ahead;
        }
        if group.lost() {
            return Err(self.cut());
        }
        Ok(GroupInfo {
            position,
            lag: self.contents(position, false)?.0 + waiting,
            unacked,
            lost: group.mem().load(LOST, Acquire),
            redelivered: group.mem().load(REDELIVERED, Acquire),
            consumers: group.live_consumers() as u64,
        })
    }

    /// Messages an entry was handed and has not acknowledged, and those it claimed that nobody was
    /// handed yet; `c` was read before.
    pub(crate) fn entry_contents(
        &self,
        group: &Group,
        entry: usize,
        c: Cursor,
    ) -> Result<(u64, u64)> {
        let (mut handed_out, mut ahead) = (0, 0);
        if let Some((first, count)) = group.view.claimed(entry, c) {
            let (handed, acked) = group.view.progress(entry);
            if let Pinned::Page(page) = self.pin(page_of(first))? {
                for i in acked.min(count)..count {
                    if matches!(
                        page.view.look(slot_of(first) + i),
                        Look::Message { .. } | Look::Damaged
                    ) {
                        *(if i < handed { &mut handed_out } else { &mut ahead }) += 1;
                    }
                }
            }
        }
        for i in 0..group.view.held_top(entry) {
            match group.view.held(entry, i) {
                Some((_, 0)) => ahead += 1,
                Some(_) => handed_out += 1,
                None => {}
            }
        }
        Ok((handed_out, ahead))
    }
}
