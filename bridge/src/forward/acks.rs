//! What comes back: the cluster's answers, and what they acknowledge to the channel.

use async_nats::{Message, StatusCode};
use serde::Deserialize;

use super::Forward;
use crate::fail::{passing, Result, Trouble};
use crate::parcel::Parcel;
use crate::plan::Head;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Forward {
    /// One reply of the cluster.
    pub(super) fn heard(&mut self, reply: &Message) -> std::result::Result<(), Trouble> {
        let mut tail = reply.subject.as_str()[self.inbox.len()..].split('.').skip(1);
        let mut number = || tail.next().and_then(|t| t.parse::<u64>().ok());
        let (Some(attempt), Some(sequence)) = (number(), number()) else { return Ok(()) };
        if attempt != self.attempt {
            // Of a publish that was given up; the cluster has been asked since.
            return Ok(());
        }
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(passing("the stream has no leader, or the subject no stream"));
        }
        let answer: Answer = serde_json::from_slice(&reply.payload)
            .map_err(|e| passing(format_args!("an answer that is none: {e}")))?;
        if let Some(error) = answer.error {
            return Err(passing(format_args!(
                "the cluster refused sequence {sequence}: {} ({})",
                error.description, error.err_code
            )));
        }
        if answer.duplicate {
            // By its id, which a copy of this channel gives to other messages: only the stream itself says whose it is.
            self.metrics.duplicates.add(1);
            return Err(passing(format_args!("sequence {sequence} is said to be there already")));
        }
        if answer.seq != sequence {
            return Err(passing(format_args!("sequence {sequence} was stored as {}", answer.seq)));
        }
        let Some(first) = self.parcels.front().map(|p| p.sequence) else { return Ok(()) };
        if let Some(parcel) =
            sequence.checked_sub(first).and_then(|i| self.parcels.get_mut(i as usize))
        {
            parcel.stored = true;
        }
        Ok(())
    }

    /// Acknowledge to the channel what the cluster has stored without a gap.
    pub(super) fn acknowledge(&mut self) -> std::result::Result<(), Trouble> {
        if self.settle(|parcel| parcel.stored)? {
            self.metrics.progress();
        }
        self.metrics.in_flight.set(self.parcels.len() as u64);
        Ok(())
    }

    /// Take off the list, from the front, what is `done`, and acknowledge that to the channel; true: there was some.
    pub(super) fn settle(&mut self, done: impl Fn(&Parcel) -> bool) -> Result<bool> {
        let mut last = None;
        while self.parcels.front().is_some_and(&done) {
            let Some(parcel) = self.parcels.pop_front() else { break };
            self.account(&parcel);
            last = Some((parcel.sequence, parcel.last));
        }
        let Some((sequence, position)) = last else { return Ok(false) };
        self.acknowledge_to(sequence, position)?;
        self.backoff.reset();
        Ok(true)
    }

    fn account(&mut self, parcel: &Parcel) {
        self.held -= parcel.count;
        self.held_bytes -= parcel.payload.len();
        self.metrics.messages.add(parcel.count as u64);
        self.metrics.stream_messages.add(1);
        self.metrics.bytes.add(parcel.payload.len() as u64);
    }

    /// First written down, then told to the channel: a plan that is behind would not notice a cluster that is.
    fn acknowledge_to(&mut self, sequence: u64, position: u64) -> Result<()> {
        let head = Head { sequence, position, ..self.plan.head() };
        self.plan.set_head(head)?;
        self.source.ack(position)?;
        self.more |= std::mem::take(&mut self.full);
        self.acked = position;
        self.metrics.sequence.set(sequence);
        Ok(())
    }
}
