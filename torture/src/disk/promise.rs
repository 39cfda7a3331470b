//! What must hold after a cut, from what the driver had been told by then.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, Context, Result};

use crate::abi::*;
use crate::driver;
use crate::trace::{Event, Outcome};

/// A message, and where it is: at `at`, where the driver was told, else above `above`.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub id: u64,
    pub len: u64,
    pub at: Option<u64>,
    above: u64,
}

impl Sent {
    /// The page it is in, or one before.
    fn page(&self) -> u64 {
        self.at.unwrap_or(self.above) >> 16
    }
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    exists: bool,
    /// Handed out and not acknowledged, and where it goes on.
    unacked: BTreeSet<u64>,
    next: u64,
    /// Nothing before this comes again: as of the last flush of acknowledgements.
    pub low: u64,
    /// It must be there, it must not.
    pub there: bool,
    pub gone: bool,
}

impl Group {
    /// Whether a message may not be skipped.
    pub fn needs(&self, at: u64) -> bool {
        at >= self.next || self.unacked.contains(&at)
    }

    /// Everything before is acknowledged.
    fn need(&self) -> u64 {
        self.unacked.first().map_or(self.next, |u| self.next.min(*u))
    }
}

#[derive(Clone, Debug, Default)]
struct Consumer {
    group: String,
    manual: bool,
    held: Vec<u64>,
}

/// Follows the driver; between two calls it is what must hold.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// The channel was made, and whoever made it was told.
    pub made: bool,
    /// In the order in which they were sent, by one producer.
    pub sent: Vec<Sent>,
    /// Of the call under way.
    pub perhaps: Vec<Sent>,
    /// So many of `sent` are on stable storage.
    confirmed: usize,
    /// Pages kept at most, in a ring.
    ring: Option<u64>,
    always: bool,
    pub highest: u64,
    pub groups: BTreeMap<String, Group>,
    consumers: BTreeMap<String, Consumer>,
    reserved: u64,
    /// The call under way, or the last one, may have turned pages of which nobody was told.
    turning: bool,
}

fn number(words: &[&str], at: usize) -> u64 {
    words.get(at).and_then(|w| w.parse().ok()).unwrap_or(0)
}

fn value(words: &[&str], key: &str) -> u64 {
    let found = words.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl Promise {
    /// After the lines that a driver of this script logged.
    pub fn after<'a>(script: &str, said: impl Iterator<Item = &'a str>) -> Result<Promise> {
        let lines: Vec<Vec<&str>> = script.lines().map(|l| l.split(' ').collect()).collect();
        let line = |op: usize| lines.get(op).context("a line that the script does not have");
        let (mut promise, mut under_way) = (Promise::default(), None);
        for said in said.filter(|l| *l != super::log::BEGINS) {
            match driver::event(said)? {
                Event::Begin { op } => under_way = Some(op),
                Event::End { op, outcome } => {
                    promise.ended(line(op)?, &outcome)?;
                    under_way = None;
                }
                event => bail!("no event of a driver: {event:?}"),
            }
        }
        if let Some(op) = under_way {
            promise.begun(line(op)?);
        }
        Ok(promise)
    }

    /// Of a call that never returned nothing and everything may have happened.
    fn begun(&mut self, words: &[&str]) {
        match words[0] {
            "send" | "batch" | "commit" => {
                let count = if words[0] == "batch" { number(words, 3) } else { 1 };
                let (first, len) = self.message(words);
                let above = self.highest;
                self.perhaps =
                    (first..first + count).map(|id| Sent { id, len, at: None, above }).collect();
                self.turning = true;
            }
            "reserve" => self.turning = true,
            "recv" => {
                let c = self.consumers.get(words[1]).cloned().unwrap_or_default();
                if !c.manual {
                    self.acknowledge(&c.group, &c.held);
                }
            }
            "ack" => {
                let c = self.consumers.get(words[1]).cloned().unwrap_or_default();
                self.acknowledge(&c.group, &c.held);
            }
            "subscribe" | "delete-group" => {
                let name = words[if words[0] == "subscribe" { 3 } else { 2 }];
                let group = self.groups.entry(name.to_string()).or_default();
                (group.there, group.gone) = (group.there && words[0] == "subscribe", false);
            }
            _ => {}
        }
    }

    /// Id and length of the (first) message of a line.
    fn message(&self, words: &[&str]) -> (u64, u64) {
        match words[0] {
            "batch" => (number(words, 2), number(words, 4)),
            "commit" => (self.reserved, number(words, 2)),
            _ => (number(words, 2), number(words, 3)),
        }
    }

    fn acknowledge(&mut self, group: &str, positions: &[u64]) {
        if let Some(group) = self.groups.get_mut(group) {
            group.unacked.retain(|at| !positions.contains(at));
        }
    }

    fn ended(&mut self, words: &[&str], outcome: &Outcome) -> Result<()> {
        self.turning = false;
        let fine = outcome.code == DC_OK;
        match words[0] {
            "open" if fine => {
                self.made = true;
                self.ring = (value(words, "retention") == 1).then(|| value(words, "pages"));
                self.always = value(words, "durability") == u64::from(DC_SYNC_ALWAYS);
            }
            "send" | "batch" | "commit" => self.sends(words, outcome),
            "reserve" => (self.reserved, self.turning) = (number(words, 2), true),
            "sync" if fine => self.confirmed = self.sent.len(),
            "channel-sync" if fine => {
                self.confirmed = self.sent.len();
                for group in self.groups.values_mut() {
                    (group.low, group.there, group.gone) =
                        (group.need(), group.exists, !group.exists);
                }
            }
            "stats" if fine => {
                let durable = *outcome.words.get(9).context("stats have too few words")?;
                let there = |s: &Sent| s.at.is_some_and(|at| at < durable);
                let known = self.sent.iter().rposition(there).map_or(0, |n| n + 1);
                self.confirmed = self.confirmed.max(known);
            }
            "subscribe" if fine => {
                let group = self.groups.entry(words[3].to_string()).or_default();
                (group.exists, group.gone) = (true, false);
                let manual = value(words, "ack") == u64::from(DC_ACK_MANUAL);
                let consumer = Consumer { group: words[3].to_string(), manual, held: Vec::new() };
                self.consumers.insert(words[1].to_string(), consumer);
            }
            "delete-group" if fine => {
                let group = self.groups.entry(words[2].to_string()).or_default();
                (group.exists, group.there) = (false, false);
            }
            "recv" => self.received(words[1], outcome),
            "ack" if fine => {
                let held = self.consumers.get_mut(words[1]).map(|c| std::mem::take(&mut c.held));
                let group = self.consumers.get(words[1]).map(|c| c.group.clone());
                self.acknowledge(&group.unwrap_or_default(), &held.unwrap_or_default());
            }
            "close-consumer" => drop(self.consumers.remove(words[1])),
            // Calls that may not fail are all that are left.
            "close" | "close-producer" | "next-page" => {}
            "maintain" if fine || outcome.code == DC_AGAIN => {}
            "producer" if fine => {}
            _ => bail!("while recording: {} answers {}", words.join(" "), outcome.code),
        }
        Ok(())
    }

    fn sends(&mut self, words: &[&str], outcome: &Outcome) {
        let (first, len) = self.message(words);
        for n in 0..outcome.sent {
            let at = (n + 1 == outcome.sent).then_some(outcome.position);
            self.sent.push(Sent { id: first + n, len, at, above: self.highest });
        }
        if outcome.sent > 0 {
            self.highest = outcome.position;
            if self.always {
                self.confirmed = self.sent.len();
            }
        }
        self.turning = outcome.code != DC_OK;
    }

    fn received(&mut self, handle: &str, outcome: &Outcome) {
        let Some(consumer) = self.consumers.get_mut(handle) else { return };
        let Some(group) = self.groups.get_mut(&consumer.group) else { return };
        if !consumer.manual {
            group.unacked.retain(|at| !consumer.held.contains(at));
            consumer.held.clear();
        }
        for got in &outcome.received {
            group.unacked.insert(got.position);
            group.next = group.next.max(got.position + 1);
            consumer.held.push(got.position);
        }
    }

    /// Retention keeps pages from this number on. (A call under way turns two at most.)
    pub fn kept(&self) -> u64 {
        let newest = (self.highest >> 16) + if self.turning { 2 } else { 0 };
        self.ring.map_or(0, |pages| (newest + 1).saturating_sub(pages))
    }

    /// What must be delivered.
    pub fn required(&self) -> impl Iterator<Item = &Sent> {
        let kept = self.kept();
        self.sent[..self.confirmed].iter().filter(move |s| s.page() >= kept)
    }
}
