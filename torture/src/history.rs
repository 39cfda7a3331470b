//! What the operations of drivers say must hold, and whether a channel holds it.
//!
//! A [`History`] is fed the begin and the end of each call of any number of drivers and keeps, for every message,
//! whether it was sent, and for every group, whether the message must still be delivered, may be, or must
//! not. A call under way loosens what it may change; its end settles it; a process that dies in a call leaves it
//! loose. `check` opens the channel as a fresh process would, drains it, and compares (`check.rs`).

mod check;
mod drain;
mod groups;
mod script;

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};

use crate::abi::DC_OK;
use crate::trace::{Event, Outcome};
pub use check::Rules;
use groups::Group;
use script::{Op, Target};

/// Whether something is so: no, perhaps, yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tri {
    No,
    Maybe,
    Yes,
}

/// A message that was sent, or may have been.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: u64,
    pub len: u64,
    pub fate: Tri,
    /// Its place in the order of positions: of a batch only the last one's position is told. 0: not known.
    pub key: (u64, u64),
    /// Process and producer.
    pub from: (usize, usize),
    /// Its page is one of these (counted by `page_of`).
    pages: (u64, u64),
}

impl Sent {
    /// Its position, where it was told.
    pub fn position(&self) -> Option<u64> {
        (self.key.1 == u64::MAX).then_some(self.key.0)
    }
}

/// A driver's process.
#[derive(Clone, Debug, Default)]
struct Process {
    ops: Vec<Op>,
    alive: bool,
    in_call: Option<usize>,
    consumers: BTreeMap<usize, Consumer>,
    reserved: BTreeMap<usize, u64>,
    /// The messages of the call under way begin here.
    sending: usize,
    /// The group as a seek under way found it.
    before: Option<Group>,
}

#[derive(Clone, Debug)]
struct Consumer {
    group: Option<String>,
    ack: u64,
    /// Messages by index, in the order received.
    got: Vec<usize>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    max_pages: u64,
    retention: u64,
    /// Whether the channel is there.
    pub exists: Tri,
    pub messages: Vec<Sent>,
    index: BTreeMap<u64, usize>,
    groups: BTreeMap<String, Group>,
    processes: Vec<Process>,
    /// Whether the channel was opened under another boot id than before.
    pub rebooted: bool,
    /// The newest page known to be used, and one that the dead may have moved on to.
    newest: u64,
    newest_perhaps: u64,
    /// Numbers skipped by a reboot: the newest page before, the first after.
    skipped: Option<(u64, Option<u64>)>,
    /// Pages up to here may be gone; and before the send under way.
    dropped: u64,
    dropped_before: u64,
}

const RING: u64 = 1;
const LIVE: u64 = 2;
const ACK_NEXT: u64 = 1;
const ACK_RECEIVE: u64 = 3;

impl Default for History {
    fn default() -> History {
        History {
            max_pages: 16,
            retention: RING,
            exists: Tri::No,
            messages: Vec::new(),
            index: BTreeMap::new(),
            groups: BTreeMap::new(),
            processes: Vec::new(),
            rebooted: false,
            newest: 1,
            newest_perhaps: 1,
            skipped: None,
            dropped: 0,
            dropped_before: 0,
        }
    }
}

impl History {
    /// Another driver starts; its number is what `feed` wants.
    pub fn start(&mut self, script: &str) -> Result<usize> {
        let ops = script::parse(script)?;
        self.processes.push(Process { ops, alive: true, ..Process::default() });
        Ok(self.processes.len() - 1)
    }

    /// A driver has died, or ended: what it held is nobody's, and its last call stays open.
    pub fn died(&mut self, process: usize) {
        let dead = &mut self.processes[process];
        dead.alive = false;
        let Some(op) = dead.in_call else { return };
        match dead.ops[op] {
            Op::Recv { c, max } => {
                let Some(consumer) = dead.consumers.get(&c) else { return };
                if let Some(group) = consumer.group.as_ref().and_then(|g| self.groups.get_mut(g)) {
                    group.spend(max, consumer.ack == ACK_RECEIVE);
                }
            }
            Op::Send { count, .. } => {
                self.newest_perhaps = self.newest_perhaps.max(self.newest) + count
            }
            Op::Reserve { .. } | Op::Commit { .. } | Op::Producer => {
                self.newest_perhaps = self.newest_perhaps.max(self.newest) + 1;
            }
            _ => {}
        }
    }

    /// Whoever is alive still has died.
    pub fn all_died(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].alive {
                self.died(process);
            }
        }
    }

    /// What was told in one order had happened at the same time: acknowledgements may have made room for what was
    /// sent before them.
    pub fn at_once(&mut self) {
        self.dropped = self.dropped.max(self.droppable(self.newest.max(self.newest_perhaps)));
    }

    /// The machine was started anew, nothing was lost: groups go on at what they had acknowledged by the last
    /// flush, which is not followed here.
    pub fn reboot(&mut self) {
        self.rebooted = true;
        // A page that had been prepared stays, empty, and counts as one.
        self.newest_perhaps = self.newest.max(self.newest_perhaps) + 1;
        self.skipped = Some((self.newest_perhaps, None));
        for group in self.groups.values_mut() {
            group.reboot();
        }
    }

    /// Calls that are under way, or were when their process died.
    pub fn in_calls(&self) -> usize {
        self.processes.iter().filter(|p| p.in_call.is_some()).count()
    }

    /// The highest position that is known to have been used.
    pub fn highest(&self) -> u64 {
        self.messages.iter().map(|m| m.key.0).max().unwrap_or(0)
    }

    /// What happened next in a process. An error: what the call gave back cannot be.
    pub fn feed(&mut self, process: usize, event: &Event) -> Result<()> {
        match event {
            Event::Begin { op } => {
                self.processes[process].in_call = Some(*op);
                self.begin(process, self.op(process, *op)?)
            }
            Event::End { op, outcome } => {
                self.processes[process].in_call = None;
                let call = self.op(process, *op)?;
                self.end(process, call.clone(), outcome)
                    .with_context(|| format!("line {op}, {call:?}"))
            }
            _ => Ok(()),
        }
    }

    fn op(&self, process: usize, op: usize) -> Result<Op> {
        self.processes[process].ops.get(op).cloned().context("a line that the script does not have")
    }

    fn begin(&mut self, process: usize, op: Op) -> Result<()> {
        match op {
            Op::Open { max_pages, retention } => {
                if self.exists == Tri::No {
                    (self.max_pages, self.retention, self.exists) =
                        (max_pages, retention.max(1), Tri::Maybe);
                }
            }
            Op::Send { p, first, count, len } => self.begin_send(process, p, first, count, len),
            Op::Reserve { .. } | Op::Producer => self.may_roll(1),
            Op::Commit { p, len } => {
                // Without one the call is refused.
                if let Some(&id) = self.processes[process].reserved.get(&p) {
                    self.begin_send(process, p, id, 1, len);
                }
            }
            Op::Subscribe { group: Some(name), start, .. } => {
                let scope = self.scope(&start, None);
                self.groups.entry(name).or_default().create(&scope);
            }
            Op::Recv { c, .. } => self.loosen_acks(process, c, usize::MAX, true),
            Op::Ack { c, n } => {
                let upto = self.nth(process, c, n);
                if let Some(upto) = upto {
                    self.loosen_acks(process, c, upto, false);
                }
            }
            Op::Seek { c, to } => {
                let consumer = self.consumer(process, c)?.clone();
                let scope = self.scope(&to, Some(&consumer));
                if let Some(group) = consumer.group.and_then(|g| self.groups.get_mut(&g)) {
                    self.processes[process].before = Some(group.clone());
                    group.loosen_seek(&scope);
                }
            }
            Op::DeleteGroup { group } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    self.processes[process].before = Some(group.clone());
                    group.exists = group.exists.min(Tri::Maybe);
                }
            }
            Op::Destroy => self.exists = self.exists.min(Tri::Maybe),
            Op::Subscribe { .. }
            | Op::Nack { .. }
            | Op::Abort { .. }
            | Op::CloseConsumer { .. }
            | Op::Other => {}
        }
        Ok(())
    }

    fn end(&mut self, process: usize, op: Op, outcome: &Outcome) -> Result<()> {
        let fine = outcome.code == DC_OK;
        match op {
            Op::Open { .. } if fine => self.exists = Tri::Yes,
            Op::Send { count, .. } => {
                self.end_send(process, outcome.sent, count, outcome.position)?;
                let alone = self.processes.iter().all(|p| p.in_call.is_none() || !p.alive);
                if alone && outcome.sent == count && count > 0 {
                    // It went to the newest page there is.
                    self.newest_perhaps = self.newest;
                }
            }
            Op::Reserve { p, id } => {
                // Where it lies is not told.
                self.newest_perhaps = self.newest_perhaps.max(self.newest) + 1;
                if fine {
                    self.processes[process].reserved.insert(p, id);
                }
            }
            Op::Producer => self.newest_perhaps = self.newest_perhaps.max(self.newest) + 1,
            Op::Commit { p, .. } => {
                if self.processes[process].reserved.contains_key(&p) {
                    self.end_send(process, outcome.sent, 1, outcome.position)?;
                }
                if fine {
                    self.processes[process].reserved.remove(&p);
                }
            }
            Op::Abort { p } => drop(self.processes[process].reserved.remove(&p)),
            Op::Subscribe { c, group, ack, .. } if fine => {
                if let Some(group) = group.as_ref().and_then(|g| self.groups.get_mut(g)) {
                    group.exists = Tri::Yes;
                }
                let consumer = Consumer { group, ack, got: Vec::new() };
                self.processes[process].consumers.insert(c, consumer);
            }
            Op::Recv { c, .. } => self.end_recv(process, c, outcome)?,
            Op::Ack { c, n } if fine => {
                if let Some(upto) = self.nth(process, c, n) {
                    self.acknowledge(process, c, upto);
                }
            }
            Op::Nack { c } if fine => self.let_go(process, c),
            Op::CloseConsumer { c } => {
                self.let_go(process, c);
                self.processes[process].consumers.remove(&c);
            }
            Op::Seek { c, to } => {
                let consumer = self.consumer(process, c)?.clone();
                let scope = self.scope(&to, Some(&consumer));
                let before = self.processes[process].before.take();
                if let (Some(name), Some(mut before)) = (consumer.group, before) {
                    if fine {
                        before.seek(&scope);
                    }
                    self.groups.insert(name, before);
                }
            }
            Op::DeleteGroup { group: name } => {
                let before = self.processes[process].before.take();
                if fine {
                    self.groups.remove(&name);
                } else if outcome.code == -libc::ENOENT {
                    // One who died may have been about to make it.
                    let there = before.is_some_and(|group| group.exists == Tri::Yes);
                    ensure!(!there, "group {name} is gone");
                    self.groups.remove(&name);
                } else if let Some(group) = self.groups.get_mut(&name) {
                    group.exists = Tri::Yes;
                }
            }
            Op::Destroy if fine => {
                *self = History { processes: self.processes.clone(), ..History::default() }
            }
            Op::Destroy => self.exists = Tri::Yes,
            _ => {}
        }
        Ok(())
    }

    fn consumer(&self, process: usize, c: usize) -> Result<&Consumer> {
        self.processes[process].consumers.get(&c).context("a consumer that never subscribed")
    }

    fn begin_send(&mut self, process: usize, p: usize, first: u64, count: u64, len: u64) {
        self.may_roll(count);
        self.processes[process].sending = self.messages.len();
        for id in first..first + count {
            self.index.insert(id, self.messages.len());
            let (fate, key) = (Tri::Maybe, (0, 0));
            let pages = (self.newest, self.newest.max(self.newest_perhaps) + count);
            self.messages.push(Sent { id, len, fate, key, from: (process, p), pages });
            self.groups.values_mut().for_each(Group::sent);
        }
    }

    fn end_send(&mut self, process: usize, sent: u64, count: u64, position: u64) -> Result<()> {
        let from = self.processes[process].sending;
        for i in 0..count {
            let message = &mut self.messages[from + i as usize];
            message.fate = if i < sent { Tri::Yes } else { Tri::No };
            message.key = (position, if i + 1 == sent { u64::MAX } else { i });
        }
        if sent > 0 {
            self.learn_skip(position);
            let (last, page) = (from + sent as usize - 1, self.page_of(position));
            for message in &mut self.messages[from..=last] {
                message.pages.1 = page;
            }
            self.messages[last].pages = (page, page);
            let same = |m: &&Sent| m.from == self.messages[last].from && m.fate == Tri::Yes;
            let before = self.messages[..from].iter().rev().find(same);
            ensure!(
                before.is_none_or(|m| m.key.0 < position),
                "position {position} is not above the producer's one before"
            );
            self.newest = self.newest.max(page);
            if sent == count {
                self.dropped = self.dropped_before.max(self.droppable(self.newest));
            }
        }
        Ok(())
    }

    /// The page of a position, counted as if a reboot skipped no numbers.
    fn page_of(&self, position: u64) -> u64 {
        let page = position >> 16;
        match self.skipped {
            Some((before, first)) if page > before => before + 1 + page - first.unwrap_or(page),
            _ => page,
        }
    }

    /// The first page after a reboot shows where numbering goes on.
    fn learn_skip(&mut self, position: u64) {
        if let Some((before, first @ None)) = &mut self.skipped {
            *first = Some(position >> 16).filter(|page| page > before);
        }
    }

    /// A call is about to be made that may need so many new pages.
    fn may_roll(&mut self, pages: u64) {
        self.dropped_before = self.dropped;
        let newest = self.newest.max(self.newest_perhaps) + pages;
        self.dropped = self.dropped.max(self.droppable(newest));
    }

    /// The highest page that may go when `newest` is needed.
    fn droppable(&self, newest: u64) -> u64 {
        let most = newest.saturating_sub(self.max_pages);
        let lossless = self.retention > LIVE;
        if lossless && self.groups.is_empty() {
            return 0;
        }
        let holding = self.groups.iter().filter(|(name, group)| {
            let alive = |p: &Process| {
                p.alive && p.consumers.values().any(|c| c.group.as_ref() == Some(*name))
            };
            group.exists == Tri::Yes
                && (lossless || self.retention == LIVE && self.processes.iter().any(alive))
        });
        let needed =
            holding.filter_map(|(_, g)| g.floor(&self.messages, self.dropped).map(|m| m.pages.1));
        needed.map(|page| page.saturating_sub(1)).fold(most, u64::min)
    }

    /// Of each message, whether it lies at or behind a place. A message whose place is not known is perhaps.
    fn scope(&self, to: &Target, consumer: Option<&Consumer>) -> Vec<Tri> {
        let sent = |m: &Sent| match m.fate {
            Tri::Maybe => Tri::Maybe,
            _ => Tri::Yes,
        };
        let last = |n: u64| {
            let known: Vec<_> = self.messages.iter().filter(|m| m.fate == Tri::Yes).collect();
            let mut keys: Vec<_> = known.iter().map(|m| m.key).collect();
            keys.sort_unstable();
            keys.len()
                .checked_sub(n as usize)
                .map_or((0, 0), |at| keys.get(at).copied().unwrap_or((u64::MAX, 0)))
        };
        let from = match to {
            Target::Earliest => return self.messages.iter().map(|_| Tri::Yes).collect(),
            Target::Latest => last(0),
            Target::Last(n) => {
                // Those that were perhaps sent may be among the last ones.
                let unknown = self.messages.iter().filter(|m| m.fate == Tri::Maybe).count();
                let (all, none) = (last(n.saturating_sub(unknown as u64)), last(*n));
                let place = |m: &Sent| match m.fate {
                    Tri::Maybe => Tri::Maybe,
                    _ if m.key >= all => Tri::Yes,
                    _ if m.key >= none => Tri::Maybe,
                    _ => Tri::No,
                };
                return self.messages.iter().map(place).collect();
            }
            Target::Got(n, behind) => match consumer.and_then(|c| c.got.get(*n)) {
                Some(&m) if *behind => {
                    let (position, part) = self.messages[m].key;
                    (position, part.saturating_add(1))
                }
                Some(&m) => self.messages[m].key,
                None => last(0),
            },
        };
        // Behind a message whose key is (position, MAX) there is nothing of the same position.
        let behind = |key: (u64, u64)| match to {
            Target::Got(_, true) if from.1 == u64::MAX => key.0 > from.0,
            _ => key >= from,
        };
        let place = |m: &Sent| match sent(m) {
            Tri::Yes if behind(m.key) => Tri::Yes,
            Tri::Yes => Tri::No,
            other => other,
        };
        self.messages.iter().map(place).collect()
    }
}
