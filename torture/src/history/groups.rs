//! What a group's consumers were handed, acknowledged and gave back.

use anyhow::{bail, ensure, Context, Result};

use super::{Consumer, History, Sent, Tri, ACK_NEXT, ACK_RECEIVE};
use crate::trace::{Got, Outcome};

/// One message, to one group.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whether it must be delivered (again).
    pub need: Tri,
    /// How often it was handed out.
    pub handed: u32,
    /// A seek may have begun the count anew.
    pub anew: bool,
    /// The live consumer that has it.
    holder: Option<(usize, usize)>,
}

/// A group; `messages` goes along with those of the history.
#[derive(Clone, Debug)]
pub struct Group {
    pub exists: Tri,
    pub messages: Vec<Delivery>,
    /// Calls that ended in a death may have handed out so many messages, or acknowledged so many on receipt.
    pub spent: u64,
    pub lost: u64,
}

impl Default for Group {
    fn default() -> Group {
        Group { exists: Tri::No, messages: Vec::new(), spent: 0, lost: 0 }
    }
}

const FRESH: Delivery = Delivery { need: Tri::Yes, handed: 0, anew: false, holder: None };

impl Group {
    /// Subscribing may make it, with the messages that are in scope.
    pub fn create(&mut self, scope: &[Tri]) {
        if self.exists == Tri::Yes {
            return;
        }
        // Made by one that died, perhaps: with either scope. Or deleted by it, and made anew here.
        let perhaps = self.exists == Tri::Maybe;
        if perhaps {
            self.messages.iter_mut().for_each(|m| m.anew = true);
        }
        for (i, &need) in scope.iter().enumerate() {
            match self.messages.get_mut(i) {
                Some(old) if perhaps && old.need != need => old.need = Tri::Maybe,
                Some(old) if perhaps => old.need = need,
                Some(old) => *old = Delivery { need, ..FRESH },
                None => self.messages.push(Delivery { need, ..FRESH }),
            }
        }
        self.exists = Tri::Maybe;
    }

    /// One more message is being sent.
    pub fn sent(&mut self) {
        self.messages.push(FRESH);
    }

    pub fn spend(&mut self, messages: u64, on_receipt: bool) {
        if on_receipt {
            self.lost += messages;
        }
        self.spent += messages;
    }

    pub fn seek(&mut self, scope: &[Tri]) {
        for (delivery, &need) in self.messages.iter_mut().zip(scope) {
            *delivery = Delivery { need, ..FRESH };
        }
        (self.spent, self.lost) = (0, 0);
    }

    /// What was acknowledged may come again, all counts begin anew.
    pub fn reboot(&mut self) {
        for delivery in &mut self.messages {
            let need = delivery.need.max(Tri::Maybe);
            *delivery = Delivery { need, ..FRESH };
        }
    }

    /// A seek is under way: each message is as it was, or as it will be.
    pub fn loosen_seek(&mut self, scope: &[Tri]) {
        for (delivery, &need) in self.messages.iter_mut().zip(scope) {
            if delivery.need != need {
                delivery.need = Tri::Maybe;
            }
            delivery.anew = true;
        }
    }

    /// The first message that it surely needs; what may be gone with the pages up to `dropped` holds nothing back, nor
    /// does what was perhaps not sent, nor do as many as one who died may have acknowledged on receipt: those may be
    /// the first ones.
    pub fn floor<'a>(&self, messages: &'a [Sent], dropped: u64) -> Option<&'a Sent> {
        let all = self.messages.iter().zip(messages);
        let there = |m: &Sent| m.fate == Tri::Yes && m.pages.0 > dropped;
        let mut needed = all.filter(|(d, m)| d.need == Tri::Yes && there(m));
        needed.nth(self.lost as usize).map(|(_, m)| m)
    }

    /// Whether it can be handed out for the `deliveries`-th time now.
    pub fn counts(&mut self, message: usize, deliveries: u32) -> bool {
        let known = &self.messages[message];
        if deliveries == known.handed + 1 || (known.anew && deliveries <= known.handed + 1) {
            return true;
        }
        // A call that ended in a death had counted it.
        let more = u64::from(deliveries.saturating_sub(known.handed + 1));
        if deliveries > known.handed && more <= self.spent {
            self.spent -= more;
            return true;
        }
        false
    }
}

impl History {
    /// Messages that a consumer holds, up to the n-th one it received.
    fn held(&self, process: usize, c: usize, upto: usize) -> Vec<usize> {
        let Some(consumer) = self.processes[process].consumers.get(&c) else { return Vec::new() };
        let Some(group) = consumer.group.as_ref().and_then(|g| self.groups.get(g)) else {
            return Vec::new();
        };
        let limit = consumer.got.get(upto).map(|&m| self.messages[m].key);
        let held = consumer.got.iter().copied();
        held.filter(|&m| group.messages[m].holder == Some((process, c)))
            .filter(|&m| limit.is_none_or(|limit| self.messages[m].key <= limit))
            .collect()
    }

    fn group_of(&mut self, process: usize, c: usize) -> Option<&mut Group> {
        let name = self.processes[process].consumers.get(&c)?.group.clone()?;
        self.groups.get_mut(&name)
    }

    /// The place of the n-th message received, as the driver counts.
    pub(super) fn nth(&self, process: usize, c: usize, n: i64) -> Option<usize> {
        let count = self.processes[process].consumers.get(&c)?.got.len() as i64;
        let n = if n < 0 { count + n } else { n };
        (0..count).contains(&n).then_some(n as usize)
    }

    pub(super) fn loosen_acks(&mut self, process: usize, c: usize, upto: usize, receiving: bool) {
        let ack = self.processes[process].consumers.get(&c).map(|c| c.ack);
        if receiving && ack != Some(ACK_NEXT) {
            return;
        }
        let held = self.held(process, c, upto);
        if let Some(group) = self.group_of(process, c) {
            held.into_iter().for_each(|m| group.messages[m].need = Tri::Maybe);
        }
    }

    pub(super) fn acknowledge(&mut self, process: usize, c: usize, upto: usize) {
        let held = self.held(process, c, upto);
        if let Some(group) = self.group_of(process, c) {
            for m in held {
                (group.messages[m].need, group.messages[m].holder) = (Tri::No, None);
            }
        }
    }

    pub(super) fn let_go(&mut self, process: usize, c: usize) {
        let held = self.held(process, c, usize::MAX);
        if let Some(group) = self.group_of(process, c) {
            held.into_iter().for_each(|m| group.messages[m].holder = None);
        }
    }

    pub(super) fn end_recv(&mut self, process: usize, c: usize, outcome: &Outcome) -> Result<()> {
        let consumer = self.consumer(process, c)?.clone();
        if consumer.ack == ACK_NEXT {
            self.acknowledge(process, c, usize::MAX);
        }
        for got in &outcome.received {
            let m = self.known(got)?;
            self.learn(m, got.position)?;
            if consumer.group.is_some() {
                self.handed_out(process, c, &consumer, m, got)?;
            } else {
                ensure!(got.flags == 0 && got.deliveries == 1, "an observer's message is flagged");
            }
            if let Some(consumer) = self.processes[process].consumers.get_mut(&c) {
                consumer.got.push(m);
            }
        }
        Ok(())
    }

    /// Which message it is, if it can be one.
    pub(super) fn known(&self, got: &Got) -> Result<usize> {
        let Got { id, len, position, .. } = *got;
        ensure!(got.whole, "the message at {position} is torn (its id would be {id}, {len} bytes)");
        let m = *self
            .index
            .get(&id)
            .with_context(|| format!("message {id} at {position} is invented"))?;
        let sent = &self.messages[m];
        ensure!(sent.len == len, "message {id} has {len} bytes, not {}", sent.len);
        ensure!(sent.fate != Tri::No, "message {id} at {position} was refused when it was sent");
        if let Some(known) = sent.position() {
            ensure!(position == known, "message {id} is at {position}, and was sent to {known}");
        }
        Ok(m)
    }

    /// A message was seen at a position: it is there.
    fn learn(&mut self, m: usize, position: u64) -> Result<()> {
        self.learn_skip(position);
        let page = self.page_of(position);
        // What comes before it in a batch of which the last one's position is told lies before it.
        let told = self.messages[m].key;
        if told.0 != 0 && told.1 != u64::MAX {
            let same = |s: &&mut Sent| s.key.0 == told.0 && s.key.1 < told.1;
            self.messages[..m].iter_mut().rev().take_while(same).for_each(|s| s.key.0 = position);
        }
        let message = &mut self.messages[m];
        (message.fate, message.key) = (Tri::Yes, (position, u64::MAX));
        message.pages = (page, page);
        self.newest = self.newest.max(page);
        Ok(())
    }

    fn handed_out(
        &mut self,
        process: usize,
        c: usize,
        consumer: &Consumer,
        m: usize,
        got: &Got,
    ) -> Result<()> {
        let (id, position) = (got.id, got.position);
        let alive: Vec<bool> = self.processes.iter().map(|p| p.alive).collect();
        let name = consumer.group.as_ref().context("a member")?;
        let group = self.groups.get_mut(name).context("a group that nobody made")?;
        ensure!(
            (got.flags == 1) == (got.deliveries > 1),
            "message {id}: flags {}, deliveries {}",
            got.flags,
            got.deliveries
        );
        let handed = group.messages[m].handed;
        if group.messages[m].need == Tri::No {
            bail!("message {id} at {position} was acknowledged, and comes again");
        }
        if let Some(holder) = group.messages[m].holder.filter(|h| alive[h.0]) {
            bail!(
                "message {id} at {position} is held by consumer {holder:?}, and comes to another"
            );
        }
        ensure!(
            group.counts(m, got.deliveries),
            "message {id} at {position} comes for time {}, and was handed out {handed} times",
            got.deliveries
        );
        let delivery = &mut group.messages[m];
        (delivery.handed, delivery.anew, delivery.need) = (got.deliveries, false, Tri::Yes);
        if consumer.ack == ACK_RECEIVE {
            (delivery.need, delivery.holder) = (Tri::No, None);
        } else {
            delivery.holder = Some((process, c));
        }
        Ok(())
    }
}
