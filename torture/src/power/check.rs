//! Opens what a cut left, uses it as a program would, and compares it with what was promised.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use super::promise::{page_of, Promise, Sent, There};
use crate::abi::*;
use crate::driver::{fill, id_of};

/// What was there.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Right after the recovery.
    pub drained: BTreeMap<u64, Sent>,
    /// In the end: without what retention dropped for the message sent afterwards.
    pub messages: BTreeMap<u64, Sent>,
    /// Each group, and the first message it was handed.
    pub groups: Vec<(String, Option<u64>)>,
    pub slots: u64,
}

impl Found {
    pub fn last(&self) -> u64 {
        self.messages.last_key_value().map_or(0, |m| *m.0)
    }
}

/// How far a check has come: a second cut in the middle of it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    #[default]
    Opening,
    Groups,
    Sending,
    Syncing,
    Synced,
}

thread_local! {
    pub static STEP: std::cell::Cell<Step> = const { std::cell::Cell::new(Step::Opening) };
}

/// A handle that is closed when dropped.
struct Owned(Handle, unsafe extern "C" fn(Handle));

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by the library, closed once.
        unsafe { (self.1)(self.0) }
    }
}

pub struct Checker {
    pub lib: Lib,
    /// Ids of messages sent after a cut begin here.
    pub own_ids: u64,
}

/// Ids that no script uses.
pub const OWN_IDS: u64 = 1 << 40;
/// Bytes of each message sent after a cut.
pub const OWN_LEN: usize = 24;

impl Checker {
    fn ok(&self, code: i32, call: &str) -> Result<()> {
        self.lib.ok(code, call)
    }

    fn open(&self, path: &Path) -> Result<Option<Owned>> {
        let options = Options {
            flags: DC_EXISTING | DC_NO_THREAD,
            stall_timeout_ms: 20,
            ..Options::default()
        };
        match self.lib.open(path, &options) {
            Ok(handle) => Ok(Some(Owned(handle, self.lib.dc_close))),
            Err(code) if code == -libc::ENOENT => Ok(None),
            Err(code) => bail!("dc_open: {}", self.lib.why(code)),
        }
    }

    /// Check one state; the disk at `path` holds it.
    pub fn check(&self, path: &Path, promise: &Promise) -> Result<Found> {
        STEP.set(Step::Opening);
        let Some(channel) = self.open(path)? else {
            ensure!(promise.channel != There::Yes, "the channel is gone");
            self.make_anew(path)?;
            return Ok(Found::default());
        };
        ensure!(promise.channel != There::No, "a channel is there that was destroyed");
        let info = self.stats(&channel)?;
        let mut found = Found { slots: info.max_messages_per_page, ..Found::default() };
        let observer = self.observer(&channel)?;
        found.messages = self.drain(&observer, false)?;
        self.compare(promise, &found.messages)?;
        found.drained = found.messages.clone();
        ensure!(
            info.messages == found.messages.len() as u64,
            "stats say {} messages, {} were delivered",
            info.messages,
            found.messages.len()
        );
        STEP.set(Step::Groups);
        let groups = self.groups(&channel, promise, &mut found)?;
        self.go_on(&channel, promise, &mut found, &observer, &groups)?;
        drop((groups, observer, channel));
        self.again(path, &found, info.recoveries)?;
        Ok(found)
    }

    /// Where nothing is, a channel can be made.
    fn make_anew(&self, path: &Path) -> Result<()> {
        let options = Options {
            flags: DC_NO_THREAD,
            page_size: 65_536,
            max_messages_per_page: 4,
            ..Options::default()
        };
        let channel = self.lib.open(path, &options);
        let channel = channel
            .map_err(|code| anyhow::anyhow!("dc_open where nothing is: {}", self.lib.why(code)))?;
        let channel = Owned(channel, self.lib.dc_close);
        ensure!(self.stats(&channel)?.messages == 0, "a new channel has messages");
        Ok(())
    }

    fn stats(&self, channel: &Owned) -> Result<ChannelInfo> {
        let mut info = ChannelInfo::default();
        // SAFETY: a live handle, a valid struct.
        self.ok(unsafe { (self.lib.dc_channel_stats)(channel.0, &mut info) }, "dc_channel_stats")?;
        Ok(info)
    }

    fn observer(&self, channel: &Owned) -> Result<Owned> {
        self.subscribe(channel, None)
    }

    fn subscribe(&self, channel: &Owned, group: Option<&str>) -> Result<Owned> {
        let options = SubscribeOptions {
            flags: DC_AUTO_NEXT_PAGE,
            ack: DC_ACK_RECEIVE,
            ..SubscribeOptions::default()
        };
        let name = group.map(|g| CString::new(g).expect("names have no NUL"));
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live handle; valid pointers during the call.
        let code = unsafe { (self.lib.dc_subscribe)(channel.0, name, &options, &mut handle) };
        self.ok(code, "dc_subscribe")?;
        Ok(Owned(handle, self.lib.dc_consumer_close))
    }

    /// Receive until there is nothing.
    fn drain(&self, consumer: &Owned, may_lag: bool) -> Result<BTreeMap<u64, Sent>> {
        let mut messages = BTreeMap::new();
        let mut last = 0;
        loop {
            let mut m = Message::default();
            // SAFETY: a live handle, a valid struct.
            match unsafe { (self.lib.dc_recv)(consumer.0, &mut m, 0) } {
                DC_OK => {}
                DC_AGAIN => return Ok(messages),
                DC_LAGGED if may_lag => continue,
                code => {
                    bail!("dc_recv after {last:#x}: {} at {:#x}", self.lib.why(code), m.position)
                }
            }
            ensure!(m.position > last, "{:#x} is delivered after {last:#x}", m.position);
            last = m.position;
            ensure!(
                m.flags == 0 && m.deliveries == 1,
                "{last:#x} is said to be delivered {} times",
                m.deliveries
            );
            // SAFETY: received just now.
            let payload = unsafe { m.payload() };
            let id = id_of(payload).with_context(|| {
                format!(
                    "{last:#x} is torn: {} bytes, {:02x?}",
                    m.len,
                    &payload[..payload.len().min(32)]
                )
            })?;
            messages.insert(last, Sent { id, len: m.len as u64 });
        }
    }

    /// What was delivered against what was sent.
    fn compare(&self, promise: &Promise, messages: &BTreeMap<u64, Sent>) -> Result<()> {
        let mut ids = std::collections::BTreeSet::new();
        for (at, m) in messages {
            let known = promise.sent.get(at).or_else(|| promise.somewhere.get(&m.id));
            ensure!(known == Some(m), "{at:#x} has {m:?}, sent there was {known:?}");
            ensure!(ids.insert(m.id), "message {} is delivered twice", m.id);
            ensure!(*at < promise.limit, "{at:#x} was not durable, and there are no checksums");
        }
        for at in &promise.required {
            ensure!(
                messages.contains_key(at),
                "{at:#x} was durable and is gone; {} are there: {:x?}",
                messages.len(),
                messages.keys().collect::<Vec<_>>()
            );
        }
        Ok(())
    }

    /// Every group goes on where it should.
    fn groups(
        &self,
        channel: &Owned,
        promise: &Promise,
        found: &mut Found,
    ) -> Result<Vec<(String, Owned)>> {
        let names = self.group_names(channel)?;
        for group in &promise.groups {
            let there = names.contains(&group.name);
            ensure!(there || group.there != There::Yes, "group {} is gone", group.name);
            ensure!(!there || group.there != There::No, "group {} is back", group.name);
        }
        let mut consumers = Vec::new();
        for name in names {
            let group = promise.groups.iter().find(|g| g.name == name);
            let group = group.with_context(|| format!("nobody made group {name}"))?;
            let consumer = self.subscribe(channel, Some(&name))?;
            let got = self.drain(&consumer, true)?;
            for (at, m) in &got {
                ensure!(found.messages.get(at) == Some(m), "{name} gets {at:#x}, others do not");
                ensure!(
                    *at >= group.low,
                    "{name} gets {at:#x} again, its acknowledgement was flushed"
                );
            }
            for at in found.messages.keys().filter(|at| **at >= group.high) {
                ensure!(
                    got.contains_key(at),
                    "{name} skips {at:#x}, not acknowledged; it gets {:x?}",
                    got.keys().collect::<Vec<_>>()
                );
            }
            let from = got.first_key_value().map(|m| *m.0);
            let gap = from.and_then(|f| found.messages.range(f..).find(|m| !got.contains_key(m.0)));
            ensure!(gap.is_none(), "{name} skips {:#x?}", gap.map(|g| *g.0));
            found.groups.push((name.clone(), from));
            consumers.push((name, consumer));
        }
        Ok(consumers)
    }

    fn group_names(&self, channel: &Owned) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut buffer = [0u8; 256];
        loop {
            let after = names.last().map(|n| CString::new(n.as_str()).expect("no NUL"));
            let after = after.as_ref().map_or(std::ptr::null(), |a| a.as_ptr());
            let (at, room) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: a live handle; valid pointers during the call.
            match unsafe { (self.lib.dc_group_next)(channel.0, after, at, room) } {
                DC_OK => {}
                code if code == -libc::ENOENT => return Ok(names),
                code => bail!("dc_group_next: {}", self.lib.why(code)),
            }
            let name = std::ffi::CStr::from_bytes_until_nul(&buffer)?;
            names.push(name.to_string_lossy().into_owned());
        }
    }

    /// The channel works: send, receive, flush.
    fn go_on(
        &self,
        channel: &Owned,
        promise: &Promise,
        found: &mut Found,
        observer: &Owned,
        groups: &[(String, Owned)],
    ) -> Result<()> {
        STEP.set(Step::Sending);
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live handle, a valid pointer.
        let code = unsafe { (self.lib.dc_producer_open)(channel.0, &mut handle) };
        self.ok(code, "dc_producer_open")?;
        let producer = Owned(handle, self.lib.dc_producer_close);
        let id = self.own_ids + found.messages.len() as u64;
        let payload: Vec<u8> = (0..OWN_LEN as u64).map(|i| fill(id, i)).collect();
        // SAFETY: a live handle, a valid buffer.
        let code = unsafe { (self.lib.dc_send)(producer.0, payload.as_ptr().cast(), OWN_LEN, 0) };
        let full = promise.retention == DC_RETAIN_UNREAD && groups.is_empty();
        if code == DC_AGAIN && full {
            return Ok(());
        }
        self.ok(code, "dc_send")?;
        // SAFETY: a live handle.
        let at = unsafe { (self.lib.dc_sent_position)(producer.0) };
        let page = page_of(at);
        ensure!(
            at > promise.highest && page > promise.highest_page && at > found.last(),
            "position {at:#x} is used again: {:#x} was, and page {:#x}",
            promise.highest,
            promise.highest_page
        );
        let new = BTreeMap::from([(at, Sent { id, len: OWN_LEN as u64 })]);
        ensure!(self.drain(observer, true)? == new, "a new message does not come");
        for (name, consumer) in groups {
            ensure!(self.drain(consumer, true)? == new, "a new message does not come to {name}");
        }
        found.messages.extend(new);
        STEP.set(Step::Syncing);
        // SAFETY: a live handle.
        self.ok(unsafe { (self.lib.dc_channel_sync)(channel.0, -1) }, "dc_channel_sync")?;
        STEP.set(Step::Synced);
        let info = self.stats(channel)?;
        ensure!(info.durable > at, "durable is {:#x} after a sync of {at:#x}", info.durable);
        // What retention dropped for the new page is gone.
        found.messages.retain(|at, _| page_of(*at) >= page_of(info.oldest));
        let count = found.messages.len() as u64;
        ensure!(info.messages == count, "stats say {} messages of {count}", info.messages);
        Ok(())
    }

    /// A second open has nothing to recover and finds the same; the check of all bytes finds nothing.
    fn again(&self, path: &Path, found: &Found, recoveries: u64) -> Result<()> {
        let channel = self.open(path)?.context("the channel is gone at the second open")?;
        let info = self.stats(&channel)?;
        ensure!(info.recoveries == recoveries, "the second open recovers again");
        let observer = self.observer(&channel)?;
        let messages = self.drain(&observer, true)?;
        ensure!(messages == found.messages, "the second open finds other messages");
        drop((observer, channel));
        let mut info = VerifyInfo::default();
        let path = c_path(path);
        // SAFETY: valid pointers during the call.
        self.ok(unsafe { (self.lib.dc_verify)(path.as_ptr(), &mut info) }, "dc_verify")?;
        let sound = info.corrupt == 0 && info.torn == 0;
        ensure!(sound, "dc_verify: {} corrupt, {} torn", info.corrupt, info.torn);
        ensure!(
            info.messages >= found.messages.len() as u64,
            "dc_verify counts {} messages of {}",
            info.messages,
            found.messages.len()
        );
        Ok(())
    }
}
