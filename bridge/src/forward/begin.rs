//! Where things stand: what the cluster has, what the channel has acknowledged, and whether the two agree.

use super::{Behind, Forward};
use crate::fail::{passing, Failure, Result, Trouble, BEHIND, FENCED, REFUSED};
use crate::parcel::{Epoch, Stored, HEADERS_MAX};
use crate::plan::Head;
use crate::stream::{self, Last, Seen};

/// How far the stream has come: its last sequence, and the position that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reached {
    sequence: u64,
    position: u64,
}

impl Forward {
    /// Ask the cluster, acknowledge what it has, and set everything up for what it has not.
    pub(super) async fn synchronise(&mut self) -> std::result::Result<(), Trouble> {
        let seen = match self.stream.look().await? {
            Some(seen) => seen,
            None => self.missing().await?,
        };
        stream::check(&seen.info, &self.config, &self.subject, &self.uuid)?;
        let most = self.cluster.client.server_info().max_payload;
        self.payload_max = stream::payload_max(&seen.info, most, HEADERS_MAX)?;
        if let Last::Ours(stored) = &seen.last {
            self.check_writer(stored, seen.last_sequence)?;
        }
        if seen.last == Last::Foreign {
            return Err(Failure::new(
                REFUSED,
                format_args!(
                    "message {} of stream {} was written by somebody else, and the bridge has to be the only writer: \
                     find out who publishes there, and give the bridge a stream of its own",
                    seen.last_sequence, self.config.stream.name
                ),
            )
            .into());
        }
        let reached = match self.agree(&seen) {
            Ok(reached) => reached,
            Err(failure) => self.decide(&seen, failure)?,
        };
        if self.started {
            self.settle(|parcel| parcel.sequence <= reached.sequence)?;
        } else {
            self.start(&seen, reached).await?;
        }
        // Replies to what was published before mean nothing any more.
        self.attempt += 1;
        self.parcels.iter_mut().for_each(|parcel| parcel.stored = false);
        Ok(())
    }

    /// There is no stream.
    async fn missing(&mut self) -> std::result::Result<Seen, Trouble> {
        let name = &self.config.stream.name;
        if self.plan.head().created != 0 && self.behind == Behind::Stop {
            return Err(self.lacks("the stream is gone").into());
        }
        if !self.config.stream.create {
            let text = "create it, or set stream.create";
            return Err(
                Failure::new(REFUSED, format_args!("there is no stream {name}: {text}")).into()
            );
        }
        let old =
            self.config.cluster.allow_old_server && self.cluster.check_version(false).is_err();
        self.stream.create(&self.config, &self.subject, &self.uuid, old).await?;
        self.stream
            .look()
            .await?
            .ok_or_else(|| passing("the stream was created and is not there yet"))
    }

    /// The last message is this channel's, and not of a bridge that has taken over.
    fn check_writer(&self, stored: &Stored, sequence: u64) -> Result<()> {
        let name = &self.config.stream.name;
        if stored.channel != self.uuid {
            return Err(Failure::new(
                REFUSED,
                format_args!(
                    "stream {name} belongs to channel {}, and this is channel {}: forward into a stream of its own",
                    stored.channel, self.uuid
                ),
            ));
        }
        let taken = stored.epoch.number > self.epoch.number
            || (stored.epoch.number == self.epoch.number
                && stored.epoch.writer != self.epoch.writer);
        if self.started && taken {
            return Err(Failure::new(
                FENCED,
                format_args!(
                    "another bridge has taken over: message {sequence} of stream {name} is of run {}, and this is run {}: \
                     leave only one of them running",
                    stored.epoch, self.epoch
                ),
            ));
        }
        Ok(())
    }

    /// What the cluster has, if it is consistent with the plan; else what is wrong.
    fn agree(&self, seen: &Seen) -> Result<Reached> {
        let head = self.plan.head();
        if head.created != 0 && head.created != seen.created {
            return Err(self.lacks("the stream was deleted and created anew"));
        }
        let sequence = seen.last_sequence;
        let place = self.plan.place(sequence);
        let position = match (&seen.last, place) {
            (Last::Ours(stored), Some(place)) if stored.position != place.last => {
                return Err(Failure::new(
                    BEHIND,
                    format_args!(
                        "message {sequence} of stream {} ends with position {}, and the bridge had settled on {}: \
                         messages may be missing before it; compare stream and channel, remove the bridge's state ({}) \
                         and start it again with --when-behind resend or skip",
                        self.config.stream.name,
                        stored.position,
                        place.last,
                        self.config.state().display()
                    ),
                ));
            }
            (Last::Ours(stored), _) => stored.position,
            _ if sequence == 0 => 0,
            (_, Some(place)) => place.last,
            (_, None) if head.sequence == sequence => head.position,
            (_, None) => {
                return Err(self.lacks("its last message is gone (purged or aged out), and the bridge does not know which it was"));
            }
        };
        let expected = self.parcels.front().map_or(head.sequence, |first| first.sequence - 1);
        if sequence < expected.max(head.sequence) || position < head.position {
            return Err(self.lacks("it has less than was acknowledged to the channel"));
        }
        Ok(Reached { sequence, position })
    }

    /// The failure that somebody has to decide about.
    fn lacks(&self, why: &str) -> Failure {
        let head = self.plan.head();
        Failure::new(
            BEHIND,
            format_args!(
                "stream {}: {why}; acknowledged were sequence {} and position {}. Restore the stream if you can. Else start \
                 the bridge once with --when-behind resend (send again what the channel still has) or --when-behind skip \
                 (leave the gap, go on after what was acknowledged)",
                self.config.stream.name, head.sequence, head.position
            ),
        )
    }

    /// The cluster lacks something: what was said to do about it.
    fn decide(&mut self, seen: &Seen, failure: Failure) -> Result<Reached> {
        if self.behind == Behind::Stop || self.started || failure.code != BEHIND {
            return Err(failure);
        }
        tracing::warn!(reason = failure.text, decision = ?self.behind, "the cluster is behind");
        let head = self.plan.head();
        let position = match (&seen.last, self.behind) {
            (Last::Ours(stored), _) => stored.position,
            (_, Behind::Skip) => head.position,
            _ => 0,
        };
        self.plan.forget()?;
        let epoch = head.epoch;
        let accepted = if self.behind == Behind::Skip { head.position } else { 0 };
        self.plan.set_head(Head { epoch, accepted, ..Head::default() })?;
        Ok(Reached { sequence: seen.last_sequence, position })
    }

    /// The first time: place the group behind what the cluster has.
    async fn start(&mut self, seen: &Seen, reached: Reached) -> std::result::Result<(), Trouble> {
        let floor = self.source.floor()?;
        let head = self.plan.head();
        let mut begin = reached.position.max(head.accepted) + 1;
        // Was anything acknowledged that the cluster does not have? The plan would know, if it were complete.
        let first = self.source.first_from(begin)?;
        if let Some(first) = first.filter(|first| *first < floor) {
            match self.behind {
                Behind::Stop => {
                    let why = format!("the message at position {first} was acknowledged to the channel and is not in it");
                    return Err(self.lacks(&why).into());
                }
                Behind::Skip => begin = floor,
                Behind::Resend => {}
            }
            tracing::warn!(first, floor, decision = ?self.behind, "the cluster is behind what was acknowledged");
        }
        if !self.source.begin_at(begin)? {
            return Err(passing("somebody else in the group holds messages"));
        }
        let last = match &seen.last {
            Last::Ours(stored) => stored.epoch.number,
            _ => 0,
        };
        let number = last.max(head.epoch) + 1;
        self.epoch = Epoch { number, ..self.epoch };
        self.epoch_text = self.epoch.to_string();
        self.metrics.epoch.set(number);
        let Reached { sequence, position } = reached;
        let accepted = if self.behind == Behind::Skip { begin - 1 } else { head.accepted };
        self.plan.set_head(Head {
            created: seen.created,
            epoch: number,
            sequence,
            position,
            accepted,
        })?;
        (self.next_sequence, self.assigned) = (sequence + 1, position);
        (self.read, self.acked) = (begin - 1, begin - 1);
        self.metrics.sequence.set(sequence);
        self.started = true;
        Ok(())
    }
}
