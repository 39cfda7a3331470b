//! What happened around one suspension, in the order it was noted, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use anyhow::{ensure, Result};

use crate::calls::Got;
use crate::payload::Load;
use crate::process::Note;

const ROWS: usize = 8192;

/// Who acts: senders are named by this in their messages, receivers in the log.
pub const PAST: u32 = 0;
pub const TARGET: u32 = 1;
pub const OTHERS: u32 = 2;
pub const AFTER: u32 = 3;

/// Groups of a scene: the target's, one of its own, and none (an observer).
pub const G: usize = 0;
pub const H: usize = 1;
pub const OBSERVER: usize = 2;
pub const NAMES: [&std::ffi::CStr; 2] = [c"g", c"h"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A send returned.
    Sent(Load),
    /// Somebody received.
    Got { who: u32, group: usize, got: Got },
    /// An acknowledgement returned.
    Acked { group: usize, load: Load },
}

struct Row {
    what: AtomicU64,
    sequence: AtomicU64,
    position: AtomicU64,
}

/// A call of those who go on, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Receive,
    Send,
    Open,
    Other,
}

/// Written by all processes of a point.
pub struct Log {
    rows: [Row; ROWS],
    count: AtomicU32,
    pub note: Note,
    /// By `Kind`: the longest call that waited, in nanoseconds.
    pub waited: [AtomicU64; 4],
    /// The longest call of all.
    pub longest: [AtomicU64; 4],
    /// Which call of those who go on is under way.
    pub call: AtomicU32,
    /// What the target's call returned.
    pub code: AtomicU32,
    /// What subscribing to a group that is being deleted returned.
    pub deleted: AtomicU32,
}

impl Log {
    pub fn add(&self, event: Event) {
        let row = &self.rows[self.count.fetch_add(1, SeqCst) as usize % ROWS];
        let (kind, who, group, load, flags, position) = match event {
            Event::Sent(load) => (1, 0, 0, load, 0, 0),
            Event::Got { who, group, got } => {
                let flags = u64::from(got.deliveries) << 1 | u64::from(got.flagged);
                (2, who, group, got.load, flags, got.position)
            }
            Event::Acked { group, load } => (3, 0, group, load, 0, 0),
        };
        row.sequence.store(load.sequence, SeqCst);
        row.position.store(position, SeqCst);
        let what = kind | u64::from(who) << 4 | (group as u64) << 8 | u64::from(load.sender) << 16;
        row.what.store(what | flags << 32, SeqCst);
    }

    pub fn events(&self) -> Vec<Event> {
        let rows = &self.rows[..(self.count.load(SeqCst) as usize).min(ROWS)];
        let event = |row: &Row| {
            let what = row.what.load(SeqCst);
            let load =
                Load { sender: (what >> 16 & 0xffff) as u32, sequence: row.sequence.load(SeqCst) };
            let group = (what >> 8 & 0xff) as usize;
            match what & 15 {
                1 => Some(Event::Sent(load)),
                2 => {
                    let (flagged, deliveries) = (what >> 32 & 1 != 0, (what >> 33) as u32);
                    let position = row.position.load(SeqCst);
                    let got = Got { load, position, flagged, deliveries };
                    Some(Event::Got { who: (what >> 4 & 15) as u32, group, got })
                }
                3 => Some(Event::Acked { group, load }),
                // Killed while it noted.
                _ => None,
            }
        };
        rows.iter().filter_map(event).collect()
    }

    pub fn full(&self) -> bool {
        self.count.load(SeqCst) as usize >= ROWS
    }
}

/// What may be otherwise, because of what the target was doing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Messages of the target's call: they may have been sent although nothing says so.
    pub sending: Vec<Load>,
    /// The target was killed in the middle of receiving from its group: it may have been handed messages
    /// that nobody noted.
    pub receiving: bool,
    /// Messages claimed ahead by one who was killed come late.
    pub unordered: bool,
    /// The target's group was moved.
    pub moved: bool,
    /// The target acknowledges on receipt: killed, it loses what it was handed.
    pub at_most_once: usize,
}

/// What a group was given.
#[derive(Default)]
struct Account {
    fresh: u32,
    times: u32,
    acked: bool,
}

/// The sentence that the events contradict, if any.
pub fn check(events: &[Event], rules: &Rules) -> Result<()> {
    let mut sent: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut all: [BTreeMap<(u32, u64), Account>; 3] = Default::default();
    let mut next: BTreeMap<(usize, u32, u32), u64> = BTreeMap::new();
    let known: BTreeSet<_> = rules.sending.iter().map(|l| (l.sender, l.sequence)).collect();
    let everything: BTreeSet<_> = events
        .iter()
        .filter_map(|e| match e {
            Event::Sent(l) => Some((l.sender, l.sequence)),
            _ => None,
        })
        .collect();
    for event in events {
        match *event {
            Event::Sent(l) => drop(sent.insert((l.sender, l.sequence))),
            Event::Acked { group, load } => {
                all[group].entry((load.sender, load.sequence)).or_default().acked = true;
            }
            Event::Got { who, group, got } => {
                let key = (got.load.sender, got.load.sequence);
                let what = format!("{group} {who} {got:?}");
                ensure!(everything.contains(&key) || known.contains(&key), "invented: {what}");
                let account = all[group].entry(key).or_default();
                let free = group == G && rules.moved;
                let order = next.entry((group, who, got.load.sender)).or_default();
                if group == OBSERVER {
                    ensure!(got.load.sequence >= *order, "out of order: {what}, not {order}");
                    *order = got.load.sequence + 1;
                    continue;
                }
                if !free {
                    ensure!(!account.acked, "acknowledged, and again: {what}");
                    let unnoted = group == G && rules.receiving;
                    if got.flagged {
                        ensure!(account.times > 0 || unnoted, "flagged, handed to nobody: {what}");
                        let right = got.deliveries == account.times + 1;
                        ensure!(right || unnoted, "{} times before: {what}", account.times);
                    } else {
                        ensure!(account.times == 0, "twice: {what}");
                        let late = group == G && rules.unordered;
                        ensure!(
                            got.load.sequence >= *order || late,
                            "out of order: {what}, {order}"
                        );
                        *order = got.load.sequence + 1;
                    }
                }
                account.fresh += u32::from(!got.flagged);
                account.times += 1;
            }
        }
    }
    for (group, accounts) in all.iter().enumerate().take(OBSERVER) {
        let missing = |l: &&(u32, u64)| accounts.get(l).is_none_or(|a| a.times == 0);
        let missing: Vec<_> = sent.iter().filter(missing).collect();
        let excused = if group == G { rules.at_most_once } else { 0 };
        ensure!(missing.len() <= excused, "group {group} never got {missing:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(who: u32, sequence: u64, deliveries: u32) -> Event {
        let load = Load { sender: 0, sequence };
        let got = Got { load, position: sequence, flagged: deliveries > 1, deliveries };
        Event::Got { who, group: G, got }
    }

    fn sent(sequence: u64) -> Event {
        Event::Sent(Load { sender: 0, sequence })
    }

    fn in_h(event: &Event) -> Option<Event> {
        match *event {
            Event::Got { who, got, .. } if !got.flagged => Some(Event::Got { who, group: H, got }),
            _ => None,
        }
    }

    fn fails(events: &[Event], why: &str) {
        let error = check(events, &Rules::default()).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn each_promise_can_be_broken() {
        let mut fine = vec![sent(0), sent(1), got(1, 0, 1), got(2, 1, 1), got(2, 0, 2)];
        let other: Vec<_> = fine.iter().filter_map(in_h).collect();
        fine.extend(other);
        check(&fine, &Rules::default()).expect("nothing is wrong");
        fails(&[sent(0)], "never got");
        fails(&[got(1, 0, 1)], "invented");
        fails(&[sent(0), got(1, 0, 1), got(2, 0, 1)], "twice");
        fails(&[sent(0), got(1, 0, 2)], "handed to nobody");
        fails(&[sent(0), got(1, 0, 1), got(1, 0, 3)], "times before");
        fails(&[sent(0), sent(1), got(1, 1, 1), got(1, 0, 1)], "out of order");
        let acked = Event::Acked { group: G, load: Load { sender: 0, sequence: 0 } };
        fails(&[sent(0), got(1, 0, 1), acked, got(2, 0, 2)], "acknowledged");
    }

    #[test]
    fn events_come_back() {
        // SAFETY: atomics only.
        let log = unsafe { crate::process::SharedMemory::<Log>::zeroed() }.expect("memory");
        let load = Load { sender: 2, sequence: 1 << 40 };
        let events = [sent(7), got(3, 9, 5), Event::Acked { group: H, load }];
        events.iter().for_each(|e| log.add(*e));
        assert_eq!(log.events(), events);
    }
}
