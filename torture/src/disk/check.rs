//! Opens the channel that a cut left, as the first after a reboot, and compares it with what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use super::promise::Promise;
use crate::abi::*;
use crate::driver::{fill, id_of};

/// An id that no script uses.
const NEW: u64 = 1 << 40;

/// A handle that is closed when dropped.
struct Owned(Handle, unsafe extern "C" fn(Handle));

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by the library, closed once.
        unsafe { (self.1)(self.0) }
    }
}

/// Messages by position: id and length.
type Messages = BTreeMap<u64, (u64, u64)>;

pub struct Checker<'a> {
    pub lib: &'a Lib,
    pub path: &'a Path,
    pub promise: &'a Promise,
}

impl Checker<'_> {
    fn open(&self, flags: u32) -> std::result::Result<Owned, i32> {
        let options = Options { flags: flags | DC_NO_THREAD, ..Options::default() };
        Ok(Owned(self.lib.open(self.path, &options)?, self.lib.dc_close))
    }

    fn subscribe(&self, channel: &Owned, group: Option<&CStr>) -> Result<Owned> {
        let flags = DC_AUTO_NEXT_PAGE;
        let options = SubscribeOptions { flags, ack: DC_ACK_RECEIVE, ..Default::default() };
        let (mut handle, name) =
            (std::ptr::null_mut(), group.map_or(std::ptr::null(), CStr::as_ptr));
        // SAFETY: a live handle; valid pointers during the call.
        let code = unsafe { (self.lib.dc_subscribe)(channel.0, name, &options, &mut handle) };
        self.lib.ok(code, "dc_subscribe")?;
        Ok(Owned(handle, self.lib.dc_consumer_close))
    }

    /// Receive until there is nothing: whole messages, once each, in order, none flagged.
    fn drain(&self, consumer: &Owned) -> Result<Messages> {
        let (mut messages, mut last) = (Messages::new(), 0);
        loop {
            let mut m = Message::default();
            // SAFETY: a live handle, a valid struct.
            match unsafe { (self.lib.dc_recv)(consumer.0, &mut m, 0) } {
                DC_OK => {}
                DC_AGAIN => return Ok(messages),
                DC_LAGGED => continue,
                code => bail!("dc_recv after {last:#x}: {}", self.lib.why(code)),
            }
            ensure!(m.position > last, "{:#x} comes after {last:#x}", m.position);
            last = m.position;
            ensure!(m.flags == 0 && m.deliveries == 1, "{last:#x} is flagged as redelivered");
            // SAFETY: received just now.
            let payload = unsafe { m.payload() };
            let id = id_of(payload).with_context(|| format!("{last:#x} is torn"))?;
            messages.insert(last, (id, payload.len() as u64));
        }
    }

    fn stats(&self, channel: &Owned) -> Result<ChannelInfo> {
        let mut info = ChannelInfo::default();
        // SAFETY: a live handle, a valid struct.
        let code = unsafe { (self.lib.dc_channel_stats)(channel.0, &mut info) };
        self.lib.ok(code, "dc_channel_stats")?;
        Ok(info)
    }

    /// Check it all.
    pub fn check(&self) -> Result<()> {
        let channel = match self.open(if self.promise.made { DC_EXISTING } else { 0 }) {
            Ok(channel) => channel,
            Err(code) => bail!("dc_open: {}", self.lib.why(code)),
        };
        let info = self.stats(&channel)?;
        let observer = self.subscribe(&channel, None)?;
        let mut found = self.drain(&observer)?;
        self.compare(&found)?;
        let count = found.len() as u64;
        ensure!(info.messages == count, "{count} came, stats say {}", info.messages);
        let groups = self.groups(&channel, &found)?;
        self.go_on(&channel, &observer, &groups, &mut found)?;
        drop((groups, observer, channel));
        self.again(&found, info.recoveries)
    }

    /// What came against what was sent.
    fn compare(&self, found: &Messages) -> Result<()> {
        let sent: BTreeMap<u64, _> =
            self.promise.sent.iter().chain(&self.promise.perhaps).map(|s| (s.id, s)).collect();
        let (mut ids, mut last) = (BTreeSet::new(), 0);
        for (at, (id, len)) in found {
            let known = sent.get(id).with_context(|| format!("{at:#x}: nobody sent {id}"))?;
            let right = known.len == *len && known.at.is_none_or(|sent| sent == *at);
            ensure!(right, "{at:#x} has {id} of {len} bytes, sent was {known:?}");
            ensure!(*id > last, "{id} comes after {last}");
            last = *id;
            ids.insert(*id);
        }
        let lost: Vec<_> = self.promise.required().filter(|s| !ids.contains(&s.id)).collect();
        ensure!(
            lost.is_empty(),
            "{} confirmed messages are gone, the first is {:x?}; ids that came: {ids:?}",
            lost.len(),
            lost[0]
        );
        Ok(())
    }

    fn names(&self, channel: &Owned) -> Result<Vec<CString>> {
        let (mut names, mut buffer) = (Vec::<CString>::new(), [0_u8; 256]);
        loop {
            let after = names.last().map_or(std::ptr::null(), |n| n.as_ptr());
            let (at, room) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: a live handle; valid pointers during the call.
            match unsafe { (self.lib.dc_group_next)(channel.0, after, at, room) } {
                DC_OK => names.push(CStr::from_bytes_until_nul(&buffer)?.to_owned()),
                code if code == -libc::ENOENT => return Ok(names),
                code => bail!("dc_group_next: {}", self.lib.why(code)),
            }
        }
    }

    /// Every group goes on where it may, and skips nothing.
    fn groups(&self, channel: &Owned, found: &Messages) -> Result<Vec<Owned>> {
        let names = self.names(channel)?;
        for (name, group) in &self.promise.groups {
            let there = names.iter().any(|n| n.to_bytes() == name.as_bytes());
            ensure!(there || !group.there, "group {name} is gone");
            ensure!(!there || !group.gone, "group {name} was deleted and is back");
        }
        let mut consumers = Vec::new();
        for name in names {
            let group = self.promise.groups.get(name.to_str()?);
            let group = group.with_context(|| format!("nobody made group {name:?}"))?;
            let consumer = self.subscribe(channel, Some(&name))?;
            let got = self.drain(&consumer)?;
            let first = got.first_key_value().map_or(u64::MAX, |(at, _)| *at);
            let low = group.low;
            ensure!(
                first >= low,
                "{name:?} gets {first:#x} again, all before {low:#x} was flushed"
            );
            let needed = |at: u64| group.needs(at) && at >> 16 >= self.promise.kept();
            let skipped = |at: &u64| (*at >= first || needed(*at)) && !got.contains_key(at);
            let skipped = found.keys().find(|at| skipped(at));
            ensure!(skipped.is_none(), "{name:?} skips {skipped:x?}, it begins with {first:#x}");
            let other = got.iter().find(|(at, m)| found.get(at) != Some(m));
            ensure!(other.is_none(), "{name:?} gets {other:x?}, others do not");
            consumers.push(consumer);
        }
        Ok(consumers)
    }

    /// It works: a new message has a new position, comes to everybody, and can be flushed.
    fn go_on(
        &self,
        channel: &Owned,
        observer: &Owned,
        groups: &[Owned],
        found: &mut Messages,
    ) -> Result<()> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live handle, a valid pointer.
        let code = unsafe { (self.lib.dc_producer_open)(channel.0, &mut handle) };
        self.lib.ok(code, "dc_producer_open")?;
        let producer = Owned(handle, self.lib.dc_producer_close);
        let payload: Vec<u8> = (0..100).map(|i| fill(NEW, i)).collect();
        // SAFETY: a live handle, a valid buffer.
        let code = unsafe { (self.lib.dc_send)(producer.0, payload.as_ptr().cast(), 100, 0) };
        self.lib.ok(code, "dc_send")?;
        // SAFETY: a live handle.
        let at = unsafe { (self.lib.dc_sent_position)(producer.0) };
        let before = self.promise.highest.max(found.last_key_value().map_or(0, |(at, _)| *at));
        ensure!(at > before, "position {at:#x} is used again, {before:#x} was");
        let new = Messages::from([(at, (NEW, 100))]);
        for consumer in std::iter::once(observer).chain(groups) {
            ensure!(self.drain(consumer)? == new, "a new message does not come");
        }
        // SAFETY: a live handle.
        self.lib.ok(unsafe { (self.lib.dc_channel_sync)(channel.0, -1) }, "dc_channel_sync")?;
        found.extend(new);
        // Retention may have made room.
        let oldest = self.stats(channel)?.oldest;
        found.retain(|at, _| *at >= oldest);
        Ok(())
    }

    /// A second open has nothing to recover and finds the same, and no structure is damaged.
    fn again(&self, found: &Messages, recoveries: u64) -> Result<()> {
        let channel = match self.open(DC_EXISTING) {
            Ok(channel) => channel,
            Err(code) => bail!("the second dc_open: {}", self.lib.why(code)),
        };
        let info = self.stats(&channel)?;
        ensure!(info.recoveries == recoveries, "the second open recovers again");
        let observer = self.subscribe(&channel, None)?;
        ensure!(self.drain(&observer)? == *found, "the second open finds other messages");
        drop((observer, channel));
        let (mut info, path) = (VerifyInfo::default(), c_path(self.path));
        // SAFETY: valid pointers during the call.
        self.lib.ok(unsafe { (self.lib.dc_verify)(path.as_ptr(), &mut info) }, "dc_verify")?;
        let sound = info.corrupt == 0 && info.torn == 0;
        ensure!(sound, "dc_verify: {} corrupt, {} torn", info.corrupt, info.torn);
        Ok(())
    }
}
