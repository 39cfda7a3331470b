//! What was asked of a channel and what the calls answered, kept in memory that outlives the process that
//! asked; and whether a fresh process finds exactly that.
//!
//! A message carries its id, and bytes that follow from it: any payload can be judged alone. What is
//! checked is what the header promises: a call that failed did nothing, one that succeeded did all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use anyhow::{bail, ensure, Context, Result};

use crate::abi::*;

/// One answer of the library.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A message: sent (at this position; 0: not known), not sent, or (after a flush that failed) unknown.
    Send { id: u64, code: i32, position: u64 },
    /// A group was asked for; it may exist even where the call failed later.
    Group { group: u8, code: i32 },
    /// A consumer of a group was handed a message.
    Handed { group: u8, by: u64, id: u64, position: u64 },
    /// It acknowledged what it was handed up to a position, or tried to.
    Ack { group: u8, by: u64, upto: u64, code: i32 },
    /// It gave back what it held, or tried to.
    Nack { group: u8, by: u64, code: i32 },
    /// The machine crashed, as far as the channel can tell: acknowledgements may be forgotten, and who
    /// had what in hand is.
    Crash,
    /// A group was deleted, or that failed, or it was moved: what is known of it is void.
    Forget { group: u8, code: i32 },
    /// The channel may be gone from here on.
    Destroy,
    /// What a call of the library answered.
    Answer { op: u32, code: i32 },
}

const EVENTS: usize = 1 << 18;
const TEXT: usize = 1 << 14;

#[repr(C)]
struct Memory {
    len: AtomicUsize,
    next_id: AtomicU64,
    text_len: AtomicUsize,
    text: [u8; TEXT],
    events: [Event; EVENTS],
}

/// The record of one case; shared with the processes forked from its maker.
pub struct Ledger(*mut Memory);

impl Ledger {
    pub fn new() -> Result<Ledger> {
        let (len, prot) = (std::mem::size_of::<Memory>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Ok(Ledger(at.cast()))
    }

    /// Forget everything.
    pub fn clear(&self) {
        let m = self.memory();
        m.len.store(0, SeqCst);
        m.text_len.store(0, SeqCst);
        m.next_id.store(1, SeqCst);
    }

    fn memory(&self) -> &Memory {
        // SAFETY: mapped for ever; what changes are atomics, and entries behind `len`.
        unsafe { &*self.0 }
    }

    /// The next message's id.
    pub fn id(&self) -> u64 {
        self.memory().next_id.fetch_add(1, SeqCst)
    }

    pub fn add(&self, event: Event) {
        let at = self.memory().len.load(SeqCst);
        assert!(at < EVENTS, "a case with too many events");
        // SAFETY: behind `len`, so nobody reads it; one process at a time writes.
        unsafe { (&raw mut (*self.0).events[at]).write(event) };
        self.memory().len.store(at + 1, SeqCst);
    }

    pub fn events(&self) -> &[Event] {
        &self.memory().events[..self.memory().len.load(SeqCst)]
    }

    /// Something is wrong; the case fails when it is over.
    pub fn complain(&self, text: &str) {
        let at = self.memory().text_len.load(SeqCst);
        let bytes = format!("{text}; ");
        let n = bytes.len().min(TEXT - at);
        // SAFETY: within the text; one process at a time writes.
        unsafe {
            let to = (&raw mut (*self.0).text).cast::<u8>().add(at);
            to.copy_from_nonoverlapping(bytes.as_ptr(), n);
        }
        self.memory().text_len.store(at + n, SeqCst);
    }

    /// What was complained of.
    pub fn complaints(&self) -> String {
        let text = &self.memory().text[..self.memory().text_len.load(SeqCst)];
        String::from_utf8_lossy(text).into_owned()
    }

    /// Run something in a process of its own; it fails if that fails, or ends by a signal.
    pub fn in_process(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        // SAFETY: the child runs `act` alone and ends.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                if let Err(e) = act() {
                    self.complain(&format!("{what}: {e:#}"));
                }
                // SAFETY: ends this process without the parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: our child.
                unsafe { libc::waitpid(pid, &mut status, 0) };
                let complaints = self.complaints();
                ensure!(status == 0, "{what}: {}; {complaints}", crate::pool::describe(status));
                ensure!(complaints.is_empty(), "{complaints}");
                Ok(())
            }
        }
    }
}

/// How many bytes message `id` has: from 8 to `most`.
pub fn len_of(id: u64, most: usize) -> usize {
    8 + (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % (most - 7)
}

/// Message `id`.
pub fn payload(id: u64, most: usize) -> Vec<u8> {
    let fill = (0..len_of(id, most) as u64 - 8).map(|i| (id.wrapping_mul(31) + i * 7) as u8);
    id.to_le_bytes().into_iter().chain(fill).collect()
}

/// The id of a payload; an error where the bytes are not those of that message.
pub fn judge(bytes: &[u8], most: usize) -> Result<u64> {
    let id = bytes.get(..8).context("a message of less than 8 bytes")?;
    let id = u64::from_le_bytes(id.try_into()?);
    ensure!(bytes == payload(id, most), "message {id} has other bytes than were sent");
    Ok(id)
}

/// A group's name.
pub fn group_name(group: u8) -> std::ffi::CString {
    std::ffi::CString::new(vec![b'a' + group]).expect("a letter")
}

/// How a channel is opened and what its messages are like.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub options: Options,
    /// Bytes of a message at most.
    pub most: usize,
}

/// Drains the channel at `path` as a process that knows nothing of it, and compares.
pub struct Check<'a> {
    pub lib: &'a Lib,
    pub path: &'a Path,
    pub ledger: &'a Ledger,
    pub rules: Rules,
    /// Stores were lost, and DC_SIGBUS_GUARD said so: what was sent is there, and no more is known.
    pub guarded: bool,
}

impl Check<'_> {
    /// Everything the ledger says must be so, and the channel works.
    pub fn all(&self) -> Result<()> {
        self.verify()?;
        let channel = self.lib.open(self.path, &self.rules.options);
        let channel = channel.map_err(|code| anyhow::anyhow!("open: {}", self.lib.why(code)))?;
        let mut info = ChannelInfo::default();
        // SAFETY: a live handle, a valid struct.
        self.lib.ok(unsafe { (self.lib.dc_channel_stats)(channel, &mut info) }, "stats")?;
        ensure!(info.poisoned == 0, "poisoned after all have closed");
        let seen = self.observe(channel)?;
        if self.guarded {
            let there: BTreeSet<u64> = seen.values().copied().collect();
            for (id, code, position) in self.sends() {
                let kept = position >= info.oldest;
                ensure!(code != DC_OK || !kept || there.contains(&id), "message {id} is lost");
            }
            self.take_all(channel, 1)?;
            return self.works(channel, seen.keys().next_back().copied().unwrap_or(0));
        }
        self.compare(&seen, &info)?;
        ensure!(info.messages == seen.len() as u64, "stats count {} messages", info.messages);
        for group in 0..4 {
            self.group(channel, group, &seen).with_context(|| format!("group {group}"))?;
        }
        self.works(channel, seen.keys().next_back().copied().unwrap_or(0))?;
        // SAFETY: a live handle, closed once.
        unsafe { (self.lib.dc_close)(channel) };
        self.verify()
    }

    fn verify(&self) -> Result<()> {
        let mut info = VerifyInfo::default();
        // SAFETY: a valid path and struct.
        let code = unsafe { (self.lib.dc_verify)(c_path(self.path).as_ptr(), &mut info) };
        let destroyed = self.ledger.events().iter().any(|e| matches!(e, Event::Destroy));
        if code == -libc::ENOENT || destroyed && code == DC_E_BUSY {
            return Ok(());
        }
        self.lib.ok(code, "dc_verify")?;
        ensure!(self.guarded || info.corrupt == 0, "dc_verify: {info:?}");
        Ok(())
    }

    /// All messages by position.
    fn observe(&self, channel: Handle) -> Result<BTreeMap<u64, u64>> {
        let mut seen = BTreeMap::new();
        let consumer = self.subscribe(channel, None)?;
        for message in self.drain(consumer)? {
            let last = seen.keys().next_back().copied().unwrap_or(0);
            ensure!(message.position > last, "position {} after {last}", message.position);
            ensure!(message.flags == 0, "an observer's message is flagged");
            seen.insert(message.position, message.id);
        }
        // SAFETY: a live handle, closed once.
        unsafe { (self.lib.dc_consumer_close)(consumer) };
        Ok(seen)
    }

    fn subscribe(&self, channel: Handle, group: Option<u8>) -> Result<Handle> {
        let options = SubscribeOptions {
            start: DC_EARLIEST,
            ack: DC_ACK_MANUAL,
            max_unacked: 4096,
            flags: DC_AUTO_NEXT_PAGE,
            ..SubscribeOptions::default()
        };
        let (name, mut consumer) = (group.map(group_name), std::ptr::null_mut());
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        // SAFETY: all pointers are valid during the call.
        let code = unsafe { (self.lib.dc_subscribe)(channel, name, &options, &mut consumer) };
        self.lib.ok(code, "subscribe")?;
        Ok(consumer)
    }

    /// All there is to receive.
    fn drain(&self, consumer: Handle) -> Result<Vec<Got>> {
        let mut got = Vec::new();
        loop {
            let mut message = Message::default();
            // SAFETY: a live handle, a valid struct.
            match unsafe { (self.lib.dc_recv)(consumer, &mut message, 0) } {
                DC_OK => {}
                DC_LAGGED => continue,
                DC_E_CORRUPT if self.guarded => continue,
                DC_AGAIN => return Ok(got),
                DC_E_LIMIT => {
                    // SAFETY: a live handle.
                    let code = unsafe { (self.lib.dc_ack)(consumer, end_of(&got)) };
                    self.lib.ok(code, "ack")?;
                    continue;
                }
                code => bail!("recv: {} at {}", self.lib.why(code), message.position),
            }
            // SAFETY: valid until the next receiving call.
            let id = judge(unsafe { message.payload() }, self.rules.most)?;
            let Message { position, flags, deliveries, .. } = message;
            got.push(Got { id, position, flags, deliveries });
        }
    }

    fn compare(&self, seen: &BTreeMap<u64, u64>, info: &ChannelInfo) -> Result<()> {
        let sends: BTreeMap<u64, (i32, u64)> =
            self.sends().map(|(id, c, p)| (id, (c, p))).collect();
        let (mut ids, mut last) = (BTreeSet::new(), 0);
        for (&position, &id) in seen {
            ensure!(id > last, "message {id} after {last}: twice, or out of order");
            last = id;
            ids.insert(id);
            let (code, at) = *sends.get(&id).with_context(|| format!("{id} was never sent"))?;
            ensure!(
                code == DC_OK || code == DC_E_POISONED,
                "message {id} is there, though sending it was {}",
                self.lib.name(code)
            );
            let known = code == DC_OK && at != 0;
            ensure!(!known || at == position, "message {id} is at {position}, not {at}");
        }
        let first = ids.first().copied().unwrap_or(u64::MAX);
        for (&id, &(code, position)) in &sends {
            // One whose position is not known stays where an older one stayed.
            let kept = position >= info.oldest || position == 0 && id > first;
            ensure!(
                code != DC_OK || !kept || ids.contains(&id),
                "message {id} at {position} is lost"
            );
        }
        self.dropped_in_time(info)
    }

    /// A ring may have dropped what the bound on its pages asks for, a page made ahead included.
    fn dropped_in_time(&self, info: &ChannelInfo) -> Result<()> {
        let page = |p: u64| p >> 16;
        let bound = self.rules.options.max_pages.max(2);
        let first = self.sends().find(|&(_, code, at)| code == DC_OK && at != 0);
        let may_go = (page(info.end) + 2).saturating_sub(bound).max(first.map_or(0, |f| page(f.2)));
        ensure!(
            first.is_none() || info.recoveries > 0 || page(info.oldest) <= may_go,
            "page {} was dropped before its time",
            page(info.oldest) - 1
        );
        Ok(())
    }

    fn sends(&self) -> impl Iterator<Item = (u64, i32, u64)> + '_ {
        let events = self.ledger.events();
        let destroyed = events.iter().rposition(|e| matches!(e, Event::Destroy)).unwrap_or(0);
        events.iter().enumerate().filter_map(move |(i, e)| match *e {
            // As after a flush that failed: it may be there or not.
            Event::Send { id, position, .. } if i < destroyed => {
                Some((id, DC_E_POISONED, position))
            }
            Event::Send { id, code, position } => Some((id, code, position)),
            _ => None,
        })
    }

    /// A group is handed what it had not acknowledged, flagged if somebody had it in hand.
    fn group(&self, channel: Handle, group: u8, seen: &BTreeMap<u64, u64>) -> Result<()> {
        let mut story = Story::default();
        let (mut made, mut known) = (false, true);
        for event in self.ledger.events() {
            match *event {
                Event::Group { group: g, code } if g == group => made |= code == DC_OK,
                Event::Send { id, code: DC_OK, .. } => {
                    story.sent.insert(id);
                    if made && self.rules.options.retention == DC_RETAIN_UNREAD {
                        story.owed.insert(id);
                    }
                }
                Event::Handed { group: g, by, id, position } if g == group => {
                    story.handed.insert(id);
                    story.held.insert((id, by), position);
                }
                Event::Ack { group: g, by, upto, code } if g == group => {
                    let held = story.held.iter().filter(|h| h.0 .1 == by && *h.1 <= upto);
                    let held: Vec<u64> = held.map(|h| h.0 .0).collect();
                    let to = if code == DC_OK { &mut story.acked } else { &mut story.unsure };
                    to.extend(held);
                }
                Event::Nack { group: g, by, code } if g == group => {
                    let of_it = |h: &(u64, u64)| h.1 == by;
                    if code != DC_OK {
                        story.unsure.extend(story.held.keys().filter(|h| of_it(h)).map(|h| h.0));
                    }
                    story.held.retain(|h, _| !of_it(h));
                }
                Event::Crash => {
                    story.handed.clear();
                    story.held.clear();
                    story.unsure.append(&mut story.acked);
                }
                Event::Forget { group: g, code } if g == group => {
                    (made, known) = (false, code == DC_OK || code == -libc::ENOENT);
                    let sent = std::mem::take(&mut story.sent);
                    story = Story { sent, ..Story::default() };
                }
                Event::Destroy => known = false,
                _ => {}
            }
        }
        if !made || !known {
            return Ok(());
        }
        let got = self.take_all(channel, group)?;
        story.judge(&got, seen)
    }

    /// A new message is sent, flushed, and received by everybody, behind all others.
    fn works(&self, channel: Handle, last: u64) -> Result<()> {
        let lib = self.lib;
        let mut producer = std::ptr::null_mut();
        // A lossless channel has room once all is acknowledged, and somebody is there to do it.
        self.take_all(channel, 0)?;
        let bytes = payload(self.ledger.id(), self.rules.most);
        // SAFETY: live handles, valid pointers; each handle is closed once.
        unsafe {
            lib.ok((lib.dc_producer_open)(channel, &mut producer), "producer")?;
            lib.ok((lib.dc_send)(producer, bytes.as_ptr().cast(), bytes.len(), 0), "send")?;
            let at = (lib.dc_sent_position)(producer);
            ensure!(at > last, "a new message is at {at}, behind it {last}");
            lib.ok((lib.dc_sync)(producer, -1), "sync")?;
            lib.ok((lib.dc_channel_sync)(channel, -1), "channel_sync")?;
            let mut info = ChannelInfo::default();
            lib.ok((lib.dc_channel_stats)(channel, &mut info), "stats")?;
            ensure!(info.durable > at, "synced, and durable is {} where {at} is", info.durable);
            (lib.dc_producer_close)(producer);
            let observer = self.subscribe(channel, None)?;
            let found = self.drain(observer)?.last().is_some_and(|g| g.position == at);
            ensure!(found, "an observer does not receive the new message");
            (lib.dc_consumer_close)(observer);
            let got = self.take_all(channel, 0)?;
            ensure!(got.iter().any(|g| g.position == at), "a group does not receive it");
        }
        Ok(())
    }

    /// Have a group receive and acknowledge all there is.
    fn take_all(&self, channel: Handle, group: u8) -> Result<Vec<Got>> {
        let consumer = self.subscribe(channel, Some(group))?;
        let got = self.drain(consumer)?;
        // SAFETY: live handles; the second is closed once.
        unsafe {
            self.lib.ok((self.lib.dc_ack)(consumer, u64::MAX), "ack")?;
            (self.lib.dc_consumer_close)(consumer);
        }
        Ok(got)
    }
}

#[derive(Clone, Copy)]
struct Got {
    id: u64,
    position: u64,
    flags: u32,
    deliveries: u32,
}

fn end_of(got: &[Got]) -> u64 {
    got.iter().map(|g| g.position).max().unwrap_or(0)
}

/// What a group went through.
#[derive(Default)]
struct Story {
    sent: BTreeSet<u64>,
    /// Sent to a lossless channel after the group was made.
    owed: BTreeSet<u64>,
    /// Somebody had them in hand.
    handed: BTreeSet<u64>,
    /// Where those lie that a consumer holds, or held when it was closed: message, consumer.
    held: BTreeMap<(u64, u64), u64>,
    acked: BTreeSet<u64>,
    /// Their acknowledgement failed.
    unsure: BTreeSet<u64>,
}

impl Story {
    fn judge(&self, got: &[Got], seen: &BTreeMap<u64, u64>) -> Result<()> {
        let mut ids = BTreeSet::new();
        let mut last = 0;
        for m in got {
            ensure!(ids.insert(m.id), "message {} comes twice", m.id);
            ensure!(!self.acked.contains(&m.id), "message {} comes, though acknowledged", m.id);
            let (handed, flagged) = (self.handed.contains(&m.id), m.flags != 0);
            ensure!(handed == flagged, "message {}: handed {handed}, flagged {flagged}", m.id);
            ensure!(flagged == (m.deliveries > 1), "message {}: {} deliveries", m.id, m.deliveries);
            if !flagged {
                ensure!(m.position > last, "message {} after position {last}", m.id);
                last = m.position;
            }
        }
        let there = seen.values().filter(|id| self.sent.contains(id));
        for id in there.chain(&self.owed) {
            let fine = ids.contains(id) || self.acked.contains(id) || self.unsure.contains(id);
            ensure!(fine, "message {id} is lost to it");
        }
        Ok(())
    }
}
