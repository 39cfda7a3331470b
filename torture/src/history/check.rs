//! Opens a channel as a fresh process does, drains it, and compares with the history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use super::drain::{Channel, Consumer};
use super::{History, Sent, Tri};
use crate::abi::*;
use crate::driver::fill;
use crate::trace::Got;

/// Which guarantees apply.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The machine crashed: what lies at or behind `durable` may be missing, what was acknowledged may come
    /// again (unflagged), and groups may be missing whose creation was not flushed.
    pub power_cut: bool,
    pub durable: u64,
    /// Groups that must be there after a power cut.
    pub groups: BTreeSet<String>,
    /// The highest position used by then, whoever was told.
    pub used: u64,
    /// Chooses between ways to look.
    pub seed: u64,
}

/// What a check found, all being well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    pub messages: usize,
    pub delivered: usize,
}

/// The message that a check sends; no script uses its id.
const PROBE: u64 = 1 << 40;

impl History {
    /// Check the channel at `dir`, which nobody has open.
    pub fn check(&self, lib: &Lib, dir: &Path, rules: &Rules) -> Result<Found> {
        let mut history = self.clone();
        history.all_died();
        if history.exists == Tri::Yes && rules.seed % 4 == 0 {
            history.verify(lib, dir)?;
        }
        let flags = if history.exists == Tri::Yes { DC_EXISTING } else { 0 };
        let channel = Channel::open(lib, dir, flags)?;
        if history.exists != Tri::Yes && channel.stats()?.end == channel.stats()?.oldest {
            // Not there yet, or gone: it works as a new one.
            history = History { exists: Tri::Yes, ..History::default() };
        }
        let mut observer = channel.subscribe(None, SubscribeOptions::default())?;
        let seen = history.observe(&channel, &mut observer, rules)?;
        let mut found = Found { messages: seen.len(), delivered: 0 };
        let names = channel.groups()?;
        for (name, group) in &history.groups {
            let must =
                group.exists == Tri::Yes && (!rules.power_cut || rules.groups.contains(name));
            ensure!(!must || names.contains(name), "group {name} is gone");
        }
        let mut consumers = Vec::new();
        for name in &names {
            let mut consumer = subscribe(&channel, name, rules.seed)?;
            found.delivered += history.drain_group(&channel, name, &mut consumer, &seen, rules)?;
            consumers.push(consumer);
        }
        history.probe(&channel, observer, consumers, rules)?;
        for name in names.iter().filter(|_| rules.seed % 4 == 1) {
            let mut again = subscribe(&channel, name, rules.seed)?;
            let got = again.next(0).with_context(|| format!("group {name}, again"))?;
            ensure!(
                got.is_none(),
                "group {name}: what was acknowledged just now comes again: {got:?}"
            );
        }
        Ok(found)
    }

    fn verify(&self, lib: &Lib, dir: &Path) -> Result<()> {
        let mut info = VerifyInfo::default();
        // SAFETY: the path is NUL-terminated, the struct valid.
        let code = unsafe { (lib.dc_verify)(c_path(dir).as_ptr(), &mut info) };
        lib.ok(code, "dc_verify")?;
        ensure!(info.corrupt == 0, "dc_verify: {info:?}: {}", lib.why(code));
        Ok(())
    }

    /// Every message that is there, by its index, in order: against what must be, and the figures.
    fn observe(
        &self,
        channel: &Channel,
        observer: &mut Consumer,
        rules: &Rules,
    ) -> Result<BTreeMap<usize, u64>> {
        let all = observer.drain(|_| Ok(false))?;
        let stats = channel.stats()?;
        let mut seen = BTreeMap::new();
        let mut last: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut position = 0;
        for got in &all {
            let m = self.known(got)?;
            ensure!(got.position > position, "position {} after {position}", got.position);
            position = got.position;
            ensure!(seen.insert(m, position).is_none(), "message {} is there twice", got.id);
            ensure!(got.flags == 0 && got.deliveries == 1, "an observer's message is flagged");
            let from = self.messages[m].from;
            let before = last.insert(from, m);
            let ordered = before.is_none_or(|b| b < m);
            ensure!(ordered, "message {} comes behind a later one of its producer", got.id);
        }
        let first = all.first().map_or(u64::MAX, |g| g.position);
        for m in self.messages.iter().enumerate().filter(|(m, _)| !seen.contains_key(m)) {
            self.may_be_missing(m.1, first, rules)?;
        }
        self.prefixes(&seen)?;
        // Exact, but that each death in a call may leave one claim that was skipped uncounted.
        let (count, deaths) = (seen.len() as u64, self.in_calls() as u64);
        ensure!(
            (count..=count + deaths).contains(&stats.messages),
            "{} messages by the figures, {count} received",
            stats.messages
        );
        let bytes: u64 = seen.keys().map(|&m| self.messages[m].len).sum();
        ensure!(stats.bytes == bytes, "{} bytes by the figures, {bytes} received", stats.bytes);
        ensure!(
            stats.oldest <= first && stats.end > position,
            "{} received from {first} to {position}: {stats:?}",
            all.len()
        );
        ensure!(
            stats.poisoned == 0 && stats.durable <= stats.end.max(stats.durable.min(65536)),
            "{stats:?}"
        );
        ensure!(rules.power_cut || stats.recoveries == 0 || self.rebooted, "a recovery: {stats:?}");
        Ok(seen)
    }

    fn may_be_missing(&self, m: &Sent, first: u64, rules: &Rules) -> Result<()> {
        if m.fate != Tri::Yes || m.pages.0 <= self.dropped {
            // Pages go in order, and whole.
            let gone = m.fate == Tri::Yes && !rules.power_cut;
            let behind = gone && m.position().is_some_and(|p| p > first);
            ensure!(!behind, "message {} is missing, and older ones are there", m.id);
            return Ok(());
        }
        let durable = m.key.0 < rules.durable;
        ensure!(
            rules.power_cut && !durable,
            "message {} is lost (sent to {}, page {} or later; the pages up to {} may be gone)",
            m.id,
            m.key.0,
            m.pages.0,
            self.dropped
        );
        Ok(())
    }

    /// Of a batch under way a prefix is there.
    fn prefixes(&self, seen: &BTreeMap<usize, u64>) -> Result<()> {
        for pair in self.messages.windows(2).enumerate() {
            let (i, [a, b]) = pair else { continue };
            let batch = a.fate == Tri::Maybe
                && b.fate == Tri::Maybe
                && a.from == b.from
                && b.id == a.id + 1;
            let hole = batch && !seen.contains_key(&i) && seen.contains_key(&(i + 1));
            ensure!(
                !hole || a.pages.0 <= self.dropped,
                "message {} of a batch is there, {} is not",
                b.id,
                a.id
            );
        }
        Ok(())
    }

    /// Receive all that a group still has: against what it must have.
    fn drain_group(
        &self,
        channel: &Channel,
        name: &str,
        consumer: &mut Consumer,
        seen: &BTreeMap<usize, u64>,
        rules: &Rules,
    ) -> Result<usize> {
        let mut group =
            self.groups.get(name).with_context(|| format!("group {name} is invented"))?.clone();
        let before = channel.group_stats(name)?;
        // Retention takes a group over a page before the page goes.
        let due = |(&m, &at): &(&usize, &u64)| {
            group.messages[m].need == Tri::Yes && self.page_of(at) > self.dropped
        };
        let wanted = seen.iter().filter(due).count().saturating_sub(group.lost as usize);
        let short = |count| Ok(count < wanted || channel.group_stats(name)?.lag > 0);
        let all = consumer.drain(short).with_context(|| format!("group {name}"))?;
        let mut had = BTreeSet::new();
        let mut fresh: BTreeMap<(usize, usize), (usize, u64)> = BTreeMap::new();
        for got in &all {
            let m = self.known(got)?;
            let id = got.id;
            ensure!(
                seen.get(&m) == Some(&got.position),
                "group {name}: message {id} at {} is not there",
                got.position
            );
            ensure!(had.insert(m), "group {name}: message {id} comes twice");
            let acknowledged = group.messages[m].need == Tri::No;
            ensure!(
                !acknowledged || rules.power_cut,
                "group {name}: message {id} was acknowledged, or is out of its range"
            );
            ensure!(
                (got.flags == 1) == (got.deliveries > 1),
                "group {name}: message {id}: {got:?}"
            );
            let handed = group.messages[m].handed;
            let counted = if rules.power_cut {
                got.deliveries <= handed + 1
            } else {
                group.counts(m, got.deliveries)
            };
            ensure!(
                counted,
                "group {name}: message {id} comes for time {}, was handed out {handed} times",
                got.deliveries
            );
            if got.flags == 0 {
                let before = fresh.insert(self.messages[m].from, (m, got.position));
                let late = before.filter(|b| b.1 > got.position);
                ensure!(
                    late.is_none(),
                    "group {name}: message {id} comes unflagged behind {late:?}"
                );
            }
        }
        for (&m, position) in seen {
            if had.contains(&m) || group.messages[m].need != Tri::Yes {
                continue;
            }
            let gone = self.page_of(*position) <= self.dropped;
            ensure!(
                gone || group.lost > 0,
                "group {name}: message {} at {position} does not come",
                self.messages[m].id
            );
            group.lost -= u64::from(!gone);
        }
        if self.in_calls() == 0 && !rules.power_cut {
            let (lag, unacked) = (before.lag, before.unacked);
            ensure!(
                lag + unacked == all.len() as u64,
                "group {name}: {} came, of {before:?}",
                all.len()
            );
        }
        let after = channel.group_stats(name)?;
        ensure!(after.lag == 0 && after.unacked == 0, "group {name} drained: {after:?}");
        Ok(all.len())
    }

    /// The channel goes on: a new message comes to everybody, once, at a new position.
    fn probe<'a>(
        &self,
        channel: &Channel<'a>,
        mut observer: Consumer<'a>,
        mut consumers: Vec<Consumer<'a>>,
        rules: &Rules,
    ) -> Result<()> {
        let producer = channel.producer()?;
        for id in PROBE..PROBE + 1 + rules.seed % 8 / 6 {
            let payload: Vec<u8> = (0..8 + id % 50).map(|i| fill(id, i)).collect();
            let code = producer.send(&payload, 0);
            if code == DC_AGAIN && self.retention > super::LIVE && consumers.is_empty() {
                // Without a group nothing goes.
                return Ok(());
            }
            channel.lib.ok(code, "a new dc_send")?;
            let position = producer.position();
            let used = self.highest().max(rules.used);
            ensure!(position > used, "position {position} is used again, {used} was before");
            for consumer in consumers.iter_mut().chain([&mut observer]) {
                let got = consumer.wait()?.context("a new message does not come")?;
                let Got { position: at, id: seen, deliveries, whole, .. } = got;
                ensure!(
                    (at, seen, deliveries, whole) == (position, id, 1, true),
                    "a new message: {got:?}"
                );
                if let Some(more) = consumer.next(0)? {
                    bail!("behind a new message comes {more:?}");
                }
            }
        }
        Ok(())
    }
}

fn subscribe<'a>(channel: &Channel<'a>, name: &str, seed: u64) -> Result<Consumer<'a>> {
    let ack = if seed & 8 == 0 { DC_ACK_NEXT } else { DC_ACK_MANUAL };
    let flags = if seed & 16 == 0 { 0 } else { DC_AUTO_NEXT_PAGE };
    let prefetch = if seed & 32 == 0 { 0 } else { 1 + (seed >> 6) as u32 % 8 };
    channel.subscribe(
        Some(name),
        SubscribeOptions { ack, flags, prefetch, ..SubscribeOptions::default() },
    )
}
