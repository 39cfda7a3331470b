//! What must hold after a cut, from what the calls of a script had answered by then.
//!
//! A *tracker* goes through the calls: what was sent, what is confirmed as durable, what each group has not
//! acknowledged. Of the call under way nobody knows whether it happened, so there are two trackers: one to
//! which it has not happened, one to which it has. Before a cut the more careful one counts.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Disk;
use crate::abi::*;
use crate::trace::{Event, Outcome};

/// Words of the `channel` file (FORMAT.md, section 5).
const WINDOW: u64 = 8192;
const DURABLE: u64 = 8704;
const MARK: u64 = 8736;

pub fn page_of(position: u64) -> u64 {
    position >> 16
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    No,
    Maybe,
    Yes,
}

impl There {
    fn of(may_be_missing: bool, may_be_there: bool) -> There {
        match (may_be_missing, may_be_there) {
            (false, _) => There::Yes,
            (true, true) => There::Maybe,
            (true, false) => There::No,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: u64,
    pub len: u64,
}

/// What is said of a group after a cut.
#[derive(Clone, Debug)]
pub struct GroupPromise {
    pub name: String,
    pub there: There,
    /// Nothing before this comes again.
    pub low: u64,
    /// Nothing from here on is skipped.
    pub high: u64,
}

/// What must hold.
#[derive(Clone, Debug)]
pub struct Promise {
    pub channel: There,
    pub retention: u32,
    pub checksum: bool,
    pub max_pages: u64,
    /// What may be delivered, by position; and what may be at any.
    pub sent: BTreeMap<u64, Sent>,
    pub somewhere: BTreeMap<u64, Sent>,
    /// What must be delivered.
    pub required: Vec<u64>,
    /// Nothing at or beyond this is delivered.
    pub limit: u64,
    /// Positions up to this, and numbers of pages up to that, were used.
    pub highest: u64,
    pub highest_page: u64,
    pub groups: Vec<GroupPromise>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    exists: bool,
    unacked: BTreeSet<u64>,
    next: u64,
    /// Since acknowledgements were flushed for certain.
    low: u64,
    high: u64,
    was_missing: bool,
    was_there: bool,
    /// It began after the newest message when nobody could know which that was.
    vague: bool,
    /// Who made or deleted it was killed at it.
    doubtful: bool,
}

impl Group {
    /// Everything before this is acknowledged.
    fn need(&self) -> u64 {
        self.unacked.first().map_or(self.next, |u| self.next.min(*u))
    }

    fn flushed(&mut self) {
        (self.low, self.high) = (self.need(), self.need());
        let doubt = self.doubtful;
        (self.was_missing, self.was_there) = (!self.exists || doubt, self.exists || doubt);
    }

    fn note(&mut self) {
        if self.exists {
            if self.was_there {
                (self.low, self.high) = (self.low.min(self.need()), self.high.max(self.need()));
            } else {
                (self.low, self.high) = (self.need(), self.need());
            }
        }
        self.was_missing |= !self.exists || self.doubtful;
        self.was_there |= self.exists || self.doubtful;
    }
}

#[derive(Clone, Debug, Default)]
struct Consumer {
    group: Option<String>,
    ack: u32,
    got: Vec<u64>,
    held: Vec<u64>,
}

/// Goes through the calls of a script.
#[derive(Clone, Debug)]
pub struct Tracker {
    channel: There,
    retention: u32,
    checksum: u32,
    slots: u64,
    max_pages: u64,
    durability: BTreeMap<String, u32>,
    producers: BTreeMap<String, (String, u64)>,
    consumers: BTreeMap<String, Consumer>,
    reserved: BTreeMap<String, u64>,
    groups: BTreeMap<String, Group>,
    sent: BTreeMap<u64, Sent>,
    somewhere: BTreeMap<u64, Sent>,
    /// Everything before this is there.
    confirmed: u64,
    /// Known to be on the disk, from an earlier life.
    solid: BTreeSet<u64>,
    highest: u64,
    highest_page: u64,
    /// Whether a process that was killed may have made the channel.
    made_by_the_dead: bool,
    /// Messages may lie behind the last one known.
    vague_end: bool,
}

fn value(line: &[&str], key: &str) -> u64 {
    let found = line.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn number(line: &[&str], at: usize) -> u64 {
    line.get(at).and_then(|w| w.parse().ok()).unwrap_or(0)
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker {
            channel: There::No,
            retention: DC_RETAIN_RING,
            checksum: DC_CHECKSUM_ON,
            slots: 65_535,
            max_pages: 16,
            durability: BTreeMap::new(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            reserved: BTreeMap::new(),
            groups: BTreeMap::new(),
            sent: BTreeMap::new(),
            somewhere: BTreeMap::new(),
            confirmed: 0,
            solid: BTreeSet::new(),
            highest: 0,
            highest_page: 0,
            made_by_the_dead: false,
            vague_end: false,
        }
    }
}

impl Tracker {
    /// Another process goes on: nobody has a handle.
    fn next_process(&mut self) {
        self.producers.clear();
        self.consumers.clear();
        self.reserved.clear();
        self.durability.clear();
        self.made_by_the_dead = self.channel != There::Yes;
    }

    /// Everything before this position is there, and so is the channel.
    fn confirm(&mut self, position: u64) {
        self.confirmed = self.confirmed.max(position);
        if self.channel == There::Maybe {
            self.channel = There::Yes;
        }
    }

    /// The life after a cut, where this was found: messages by position, and where each group goes on.
    pub fn reborn(promise: &Promise, found: &super::check::Found) -> Tracker {
        let groups = found.groups.iter().map(|(name, first)| {
            let next = first.unwrap_or(promise.highest + 1);
            let mut group = Group { exists: true, next, ..Group::default() };
            group.flushed();
            (name.clone(), group)
        });
        Tracker {
            channel: There::Yes,
            retention: promise.retention,
            checksum: if promise.checksum { DC_CHECKSUM_ON } else { DC_CHECKSUM_OFF },
            max_pages: promise.max_pages,
            slots: found.slots,
            groups: groups.collect(),
            sent: found.drained.clone(),
            solid: found.drained.keys().copied().collect(),
            highest: promise.highest,
            highest_page: promise.highest_page,
            ..Tracker::default()
        }
    }

    /// The position after all that was sent.
    fn end(&self) -> u64 {
        self.highest.max(self.sent.last_key_value().map_or(65_535, |(at, _)| *at)) + 1
    }

    /// Apply a call that has returned.
    fn apply(&mut self, line: &str, outcome: &Outcome, disk: &Disk) {
        let words: Vec<&str> = line.split(' ').collect();
        let handle = words.get(1).map_or(String::new(), |w| w.to_string());
        match words[0] {
            "open" if outcome.code == DC_OK => self.opened(&words, handle),
            "destroy" if outcome.code == DC_OK => *self = Tracker::default(),
            "producer" => {
                self.producers.insert(handle, (words[2].to_string(), 0));
            }
            "reserve" if outcome.code == DC_OK => {
                self.reserved.insert(handle, number(&words, 2));
            }
            "send" | "sendv" | "batch" | "commit" => self.sends(&words, handle, outcome, disk),
            "sync" if outcome.code == DC_OK => {
                let last = self.producers.get(&handle).map_or(0, |p| p.1);
                self.confirm(last + 1);
            }
            "channel-sync" if outcome.code == DC_OK => {
                self.confirm(self.end());
                self.groups.values_mut().for_each(Group::flushed);
            }
            "subscribe" if outcome.code == DC_OK => self.subscribed(&words, handle),
            "recv" | "recv-batch" => self.received(&handle, outcome),
            "ack" if outcome.code == DC_OK => self.acknowledged(&handle, words[2]),
            "nack" | "close-consumer" => {
                if let Some(c) = self.consumers.get_mut(&handle) {
                    c.held.clear();
                }
            }
            "seek" if outcome.code == DC_OK => self.sought(&handle, words[2]),
            "delete-group" if outcome.code == DC_OK => {
                if let Some(g) = self.groups.get_mut(words[2]) {
                    (g.exists, g.doubtful) = (false, false);
                    g.unacked.clear();
                }
            }
            _ => {}
        }
        self.groups.values_mut().for_each(Group::note);
    }

    fn opened(&mut self, words: &[&str], handle: String) {
        if self.channel == There::No {
            let or = |key, default| match value(words, key) {
                0 => default,
                v => v,
            };
            self.retention = or("retention", 1) as u32;
            self.checksum = or("checksum", 1) as u32;
            self.slots = or("slots", 65_535);
            self.max_pages = or("pages", 16);
        }
        // Where another process may have made it, only a flush says that it stays.
        if self.channel == There::No && self.made_by_the_dead {
            self.channel = There::Maybe;
        } else if self.channel == There::No {
            self.channel = There::Yes;
        }
        self.durability.insert(handle, value(words, "durability") as u32);
    }

    fn sends(&mut self, words: &[&str], handle: String, outcome: &Outcome, disk: &Disk) {
        if outcome.sent == 0 {
            return;
        }
        let (first, len) = match words[0] {
            "batch" => (number(words, 2), number(words, 4)),
            "commit" => (self.reserved.remove(&handle).unwrap_or(0), number(words, 2)),
            _ => (number(words, 2), number(words, 3)),
        };
        for id in first..first + outcome.sent {
            let message = Sent { id, len };
            if id + 1 == first + outcome.sent {
                self.sent.insert(outcome.position, message);
            } else {
                // The call says where the last one is; where the others are, memory does.
                match find(disk, self.slots, id) {
                    Some(at) => drop(self.sent.insert(at, message)),
                    None => drop(self.somewhere.insert(id, message)),
                }
            }
        }
        self.highest = self.highest.max(outcome.position);
        if let Some((channel, last)) = self.producers.get_mut(&handle) {
            *last = outcome.position;
            if self.durability.get(channel) == Some(&DC_SYNC_ALWAYS) {
                self.confirm(outcome.position + 1);
            }
        }
    }

    fn subscribed(&mut self, words: &[&str], handle: String) {
        let group = (words[3] != "-").then(|| words[3].to_string());
        let ack = match value(words, "ack") {
            0 => DC_ACK_NEXT,
            ack => ack as u32,
        };
        if let Some(name) = &group {
            let start = match value(words, "start") {
                0 | DC_EARLIEST => 0,
                DC_LATEST => self.end(),
                position => position,
            };
            let g = self
                .groups
                .entry(name.clone())
                .or_insert_with(|| Group { was_missing: true, ..Group::default() });
            if !g.exists {
                (g.exists, g.next) = (true, start);
                g.vague = self.vague_end && start > 0;
            } else if g.doubtful {
                // Made here and now, or by the one that was killed.
                (g.next, g.vague) = (g.next.min(start), true);
            }
            g.doubtful = false;
        }
        self.consumers.insert(handle, Consumer { group, ack, ..Consumer::default() });
    }

    fn received(&mut self, handle: &str, outcome: &Outcome) {
        let Some(c) = self.consumers.get_mut(handle) else { return };
        let group = c.group.as_ref().and_then(|g| self.groups.get_mut(g));
        c.got.extend(outcome.received.iter().map(|m| m.position));
        let Some(g) = group else { return };
        if c.ack == DC_ACK_NEXT {
            for at in c.held.drain(..) {
                g.unacked.remove(&at);
            }
        }
        for m in &outcome.received {
            g.next = g.next.max(m.position + 1);
            if c.ack == DC_ACK_RECEIVE {
                g.unacked.remove(&m.position);
            } else {
                g.unacked.insert(m.position);
                c.held.push(m.position);
            }
        }
    }

    fn acknowledged(&mut self, handle: &str, which: &str) {
        let Some(c) = self.consumers.get_mut(handle) else { return };
        let Some(g) = c.group.as_ref().and_then(|g| self.groups.get_mut(g)) else { return };
        let n: i64 = which.parse().unwrap_or(0);
        let n = if n < 0 { n + c.got.len() as i64 } else { n };
        let Some(position) = usize::try_from(n).ok().and_then(|n| c.got.get(n)).copied() else {
            return;
        };
        c.held.retain(|at| {
            let done = *at <= position;
            if done {
                g.unacked.remove(at);
            }
            !done
        });
    }

    fn sought(&mut self, handle: &str, to: &str) {
        let end = self.end();
        let Some(c) = self.consumers.get_mut(handle) else { return };
        let Some(g) = c.group.as_ref().and_then(|g| self.groups.get_mut(g)) else { return };
        let (base, more) = to.split_once('+').unwrap_or((to, "0"));
        let more: u64 = more.parse().unwrap_or(0);
        // Also where it stood before, for as long as that is what is on the disk.
        g.vague |= base == "latest" && self.vague_end;
        g.next = match base {
            "earliest" => 0,
            "latest" => end,
            _ => match base.strip_prefix("got:").and_then(|n| n.parse::<usize>().ok()) {
                Some(n) => c.got.get(n).map_or(end, |at| at + more),
                None => base.parse().unwrap_or(0) + more,
            },
        };
        g.unacked.clear();
        c.held.clear();
    }
}

/// Where a message lies, by those who look into memory (FORMAT.md, section 6).
fn find(disk: &Disk, slots: u64, id: u64) -> Option<u64> {
    let payload = 4096 + (16 * (slots + 1)).next_multiple_of(4096);
    for (name, file) in disk.names().iter().rev() {
        let Some(page) = name.strip_prefix("page-").and_then(|n| u64::from_str_radix(n, 16).ok())
        else {
            continue;
        };
        let content = &disk.files.get(file)?.now;
        let word = |at: u64| {
            let mut bytes = [0; 8];
            content.read(at, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        for slot in 0..slots {
            let (first, second) = (word(4096 + 16 * slot), word(4104 + 16 * slot));
            let ours = first >> 34 == page & 0x3fff_ffff && first >> 32 & 3 == 1;
            if ours && word(payload + 8 * (second & 0xffff_ffff)) == id {
                return Some(page << 16 | slot);
            }
        }
    }
    None
}

/// Both trackers, and the script they are at.
#[derive(Clone)]
pub struct History {
    without: Tracker,
    with: Tracker,
    script: Vec<String>,
    /// How the calls of this script end.
    ends: BTreeMap<usize, Outcome>,
}

impl History {
    pub fn new(tracker: Tracker) -> History {
        History {
            with: tracker.clone(),
            without: tracker,
            script: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Whether there is, or may be, a channel.
    pub fn has_channel(&self) -> bool {
        self.without.channel != There::No || self.with.channel != There::No
    }

    /// The process is killed. Whether it destroyed the channel is seen on the disk; where it was sending,
    /// the message may be anywhere, if it is there at all.
    pub fn killed(&mut self, disk: &Disk) {
        const STATE: u64 = 80;
        let destroyed = disk.word("channel", STATE).is_none_or(|w| w >> 32 == 2);
        if self.with.channel == There::No && self.without.channel != There::No {
            match destroyed {
                true => self.without = self.with.clone(),
                false => self.with = self.without.clone(),
            }
        }
        let (with, without) = (&mut self.with, &mut self.without);
        with.sent.retain(|at, m| {
            let known = without.sent.contains_key(at);
            if !known {
                with.somewhere.insert(m.id, *m);
            }
            known
        });
        (with.confirmed, with.highest) = (without.confirmed, without.highest);
        without.somewhere = with.somewhere.clone();
        // Both know of every group, whichever of them is told next that the channel is destroyed.
        let names: Vec<String> = with.groups.keys().chain(without.groups.keys()).cloned().collect();
        for name in names {
            let of = |t: &Tracker| t.groups.get(&name).cloned();
            let (Some(one), Some(other)) = (of(with).or(of(without)), of(without).or(of(with)))
            else {
                continue;
            };
            let exists = |t: &Tracker| t.groups.get(&name).is_some_and(|g| g.exists);
            let doubtful = exists(with) != exists(without);
            for (tracker, group) in [(&mut *with, one), (&mut *without, other)] {
                let group = tracker.groups.entry(name.clone()).or_insert(group);
                group.doubtful |= doubtful;
                group.note();
            }
        }
        (self.with.vague_end, self.without.vague_end) = (true, true);
    }

    /// A process begins to work on a script; the one before is dead.
    pub fn process(&mut self, script: &str, events: &[Event]) {
        self.without.next_process();
        self.with.next_process();
        self.script = script.lines().map(String::from).collect();
        let end = |e: &Event| match e {
            Event::End { op, outcome } => Some((*op, outcome.clone())),
            _ => None,
        };
        self.ends = events.iter().filter_map(end).collect();
    }

    /// Follow an event that was just applied to the disk.
    pub fn apply(&mut self, event: &Event, disk: &Disk) {
        match event {
            Event::Begin { op } => {
                if let Some(outcome) = self.ends.get(op) {
                    self.with.apply(&self.script[*op], outcome, disk);
                }
            }
            Event::End { op, outcome } => {
                self.without.apply(&self.script[*op], outcome, disk);
                // Only a call that a kill cut short lets the two differ from here on.
                let line = self.script[*op].split(' ').next().unwrap_or("");
                if matches!(line, "batch") {
                    self.with.apply(&self.script[*op], outcome, disk);
                }
            }
            Event::Rename { to: name, .. } | Event::Link { to: name, .. } => {
                let number = name.strip_prefix("page-").map(|n| u64::from_str_radix(n, 16));
                if let Some(Ok(number)) = number {
                    for tracker in [&mut self.without, &mut self.with] {
                        tracker.highest_page = tracker.highest_page.max(number);
                    }
                }
            }
            _ => {}
        }
    }

    /// What must hold if the power goes now.
    pub fn promise(&self, disk: &Disk) -> Promise {
        let (a, b) = (&self.without, &self.with);
        let word = |at| disk.word("channel", at).unwrap_or(0);
        let (durable, mark, oldest) = (word(DURABLE), word(MARK), word(WINDOW) >> 26);
        let bound = a.confirmed.max(durable);
        let required = a
            .sent
            .keys()
            .filter(|at| (**at < bound || a.solid.contains(at)) && page_of(**at) >= oldest);
        let mut groups = Vec::new();
        let names: BTreeSet<&String> = a.groups.keys().chain(b.groups.keys()).collect();
        for name in names {
            let both: Vec<&Group> =
                [a.groups.get(name), b.groups.get(name)].into_iter().flatten().collect();
            let missing = both.len() < 2 || both.iter().any(|g| g.was_missing);
            let there = both.iter().any(|g| g.was_there);
            let known = || both.iter().filter(|g| g.was_there);
            groups.push(GroupPromise {
                name: name.clone(),
                there: There::of(missing, there),
                low: known().map(|g| g.low).min().unwrap_or(0),
                high: match both.iter().any(|g| g.vague) {
                    true => u64::MAX,
                    false => known().map(|g| g.high).max().unwrap_or(0).max(oldest << 16),
                },
            });
        }
        let mut sent = a.sent.clone();
        sent.extend(b.sent.iter().map(|(at, m)| (*at, *m)));
        let mut somewhere = a.somewhere.clone();
        somewhere.extend(b.somewhere.iter().map(|(id, m)| (*id, *m)));
        let solid = a.solid.last().map_or(0, |at| at + 1);
        let created = if a.channel == There::No { b } else { a };
        Promise {
            channel: if a.channel == b.channel { a.channel } else { There::Maybe },
            retention: created.retention,
            checksum: created.checksum == DC_CHECKSUM_ON,
            max_pages: created.max_pages,
            required: required.copied().collect(),
            limit: if created.checksum == DC_CHECKSUM_ON {
                u64::MAX
            } else {
                bound.max(mark).max(solid).max(b.confirmed)
            },
            sent,
            somewhere,
            highest: a.highest,
            highest_page: a.highest_page,
            groups,
        }
    }
}
