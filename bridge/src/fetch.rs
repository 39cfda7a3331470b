//! `fetch`: a stream into a channel, effectively once and in order.
//!
//! Where to go on is never asked of the cluster: the newest message of the channel says it (`trailer`). So the order is
//! commit to the channel, then acknowledge, and neither a crash in between nor a redelivery can double a message. The
//! consumer in the cluster is made anew at every start and after every trouble, right behind what the channel has; its
//! acknowledgements are for those who watch it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{pull, AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::{Info, RetentionPolicy};
use async_nats::jetstream::Message;
use futures_util::{FutureExt, StreamExt};

use crate::backoff::Backoff;
use crate::channel::{hex, Sent, Sink};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::fail::{passing, Failure, Result, Trouble, BEHIND, FAILURE, REFUSED};
use crate::metrics::Metrics;
use crate::parcel::{unpack, Stored};
use crate::plan::Plan;
use crate::stop::Stop;
use crate::stream::StreamAt;
use crate::trailer::{identity, Trailer, LEN, OVERSIZED};

pub struct Fetch {
    config: Config,
    sink: Sink,
    /// Held for its lock.
    _lock: Plan,
    cluster: Cluster,
    stream: StreamAt,
    metrics: Arc<Metrics>,
    stop: Stop,
    consumer: String,
    /// What the channel has.
    newest: Option<Trailer>,
    backoff: Backoff,
}

impl Fetch {
    pub async fn open(config: Config, metrics: Arc<Metrics>, stop: Stop) -> Result<Fetch> {
        let path = &config.channel.path;
        let sink = Sink::open(path, config.channel.durability)?;
        let lock = Plan::lock(&config.state(), &sink.uuid)?;
        let alone = "give fetch a channel of its own";
        let refuse = |why: &str| {
            Failure::new(REFUSED, format_args!("channel {} {why}: {alone}", path.display()))
        };
        if sink.others > 0 {
            return Err(refuse("has other producers"));
        }
        let newest = match sink.newest()? {
            Some(message) => Some(
                Trailer::of(&message)
                    .ok_or_else(|| refuse("has messages that fetch did not write"))?,
            ),
            None => None,
        };
        let cluster =
            Cluster::connect(&config.cluster, "disk-chan-bridge fetch", metrics.clone()).await?;
        cluster.check_version(config.cluster.allow_old_server)?;
        let own = format!("disk-chan-{}", hex(&sink.uuid));
        Ok(Fetch {
            stream: StreamAt::new(cluster.client.clone(), &config),
            backoff: Backoff::new(config.cluster.backoff_min.0, config.cluster.backoff_max.0),
            consumer: config.fetch.consumer.clone().unwrap_or(own),
            config,
            sink,
            _lock: lock,
            cluster,
            metrics,
            stop,
            newest,
        })
    }

    pub async fn run(&mut self) -> Result<()> {
        loop {
            let why = match self.round().await {
                Ok(()) => {
                    tracing::info!("asked to end: everything that was taken is in the channel");
                    return Ok(());
                }
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(why)) => why,
            };
            self.metrics.retries.add(1);
            self.metrics.trouble(&why);
            let pause = self.backoff.next();
            self.cluster.try_another(self.backoff.attempts()).await;
            tracing::warn!(
                reason = why,
                pause_ms = pause.as_millis() as u64,
                "beginning behind what the channel has"
            );
            tokio::select! {
                _ = tokio::time::sleep(pause) => {}
                _ = self.cluster.back() => {}
                _ = self.stop.wanted() => return Ok(()),
            }
        }
    }

    async fn round(&mut self) -> std::result::Result<(), Trouble> {
        let mut turns = self.cluster.turns.clone();
        let turn = *turns.borrow_and_update();
        if !self.cluster.is_connected() {
            return Err(passing("not connected"));
        }
        let Some(info) = self.stream.info().await? else {
            return Err(passing(format_args!("there is no stream {}", self.config.stream.name)));
        };
        let id = self.check(&info)?;
        let start = self.start(&info);
        let mut messages = self.consume(start).await?;
        tracing::info!(sequence = start, consumer = self.consumer, "fetching");
        if info.state.last_sequence < start {
            self.metrics.progress();
        }
        let mut delivered = 0;
        loop {
            let first = tokio::select! { biased;
                _ = self.stop.wanted() => return Ok(()),
                _ = turns.wait_for(|now| *now != turn) => return Err(passing("the connection was lost")),
                message = messages.next() => message,
            };
            let mut taken = Vec::new();
            let mut next = first;
            // What has arrived already goes into the channel by one call.
            loop {
                match next {
                    Some(Ok(message)) => taken.push(message),
                    Some(Err(e)) => return Err(passing(format_args!("cannot fetch: {e}"))),
                    None => return Err(passing("the consumer is gone")),
                }
                if taken.len() >= self.config.fetch.batch {
                    break;
                }
                match messages.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
            self.commit(&taken, id, &mut delivered).await?;
        }
    }

    /// The stream is the one that filled the channel, and has what it had; its identity.
    fn check(&self, info: &Info) -> Result<u64> {
        let name = &self.config.stream.name;
        if info.config.retention != RetentionPolicy::Limits {
            return Err(Failure::new(
                REFUSED,
                format_args!(
                    "stream {name} has {:?} retention, under which messages go when they are acknowledged, \
                     and could not be fetched again after a power cut here: use Limits, or a mirror of it",
                    info.config.retention
                ),
            ));
        }
        let id = identity(name, info.created.unix_timestamp_nanos() as u64);
        let Some(newest) = self.newest else { return Ok(id) };
        let remedy = "fetch into a new channel";
        if newest.stream != id {
            let why = format_args!("stream {name} is not the one that filled the channel (it was created anew): {remedy}");
            return Err(Failure::new(REFUSED, why));
        }
        if info.state.last_sequence < newest.sequence {
            let why = format_args!(
                "stream {name} has come to sequence {}, and the channel has {}: the cluster has lost messages. Restore it, or {remedy}",
                info.state.last_sequence, newest.sequence
            );
            return Err(Failure::new(BEHIND, why));
        }
        Ok(id)
    }

    /// The first sequence to ask for.
    fn start(&self, info: &Info) -> u64 {
        let start = match self.newest {
            // The rest of a pack, or what is behind it.
            Some(newest) => newest.sequence + u64::from(newest.is_last()),
            None => self.config.fetch.start_sequence.max(1),
        };
        let first = info.state.first_sequence;
        if self.newest.is_some() && first > start {
            self.metrics.lost.add(first - start);
            tracing::error!(start, first, "the stream dropped messages that were not fetched");
        }
        start
    }

    /// A consumer right there.
    async fn consume(&self, start: u64) -> std::result::Result<pull::Stream, Trouble> {
        let stream = self.stream.handle().await?;
        // It may be at another place, or not exist.
        let _ = stream.delete_consumer(&self.consumer).await;
        let consumer = stream.create_consumer(pull::Config {
            durable_name: Some(self.consumer.clone()),
            description: Some("disk-chan-bridge fetch".into()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
            ack_policy: AckPolicy::All,
            ack_wait: Duration::from_secs(60),
            max_ack_pending: -1,
            ..pull::Config::default()
        });
        let failed = |e: &dyn std::fmt::Display| {
            passing(format_args!("cannot make consumer {}: {e}", self.consumer))
        };
        let consumer = consumer.await.map_err(|e| failed(&e))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(self.config.fetch.batch)
            .expires(Duration::from_secs(10))
            .heartbeat(Duration::from_secs(2))
            .messages();
        messages.await.map_err(|e| failed(&e))
    }

    /// Into the channel, then acknowledged.
    async fn commit(
        &mut self,
        taken: &[Message],
        id: u64,
        delivered: &mut u64,
    ) -> std::result::Result<(), Trouble> {
        let mut batch = Vec::new();
        let mut newest = self.newest;
        let (mut lag, mut fetched) = (0, 0);
        for message in taken {
            let info = message.info().map_err(|e| passing(format_args!("not of a stream: {e}")))?;
            // A delivery that was lost on the way shows in the consumer's own count.
            *delivered += 1;
            if info.consumer_sequence != *delivered {
                return Err(passing("a delivery was lost on the way"));
            }
            lag = info.pending;
            fetched += self.unpack(message, info.stream_sequence, id, &mut newest, &mut batch)?;
        }
        self.metrics.bytes.add(batch.iter().map(|m| (m.len() - LEN) as u64).sum());
        self.metrics.in_flight.set(taken.len() as u64);
        let count = batch.len() as u64;
        if !self.put(batch).await? {
            return Ok(());
        }
        self.newest = newest;
        if let Some(last) = taken.last() {
            last.ack().await.map_err(|e| passing(format_args!("cannot acknowledge: {e}")))?;
        }
        self.metrics.in_flight.set(0);
        self.metrics.lag.set(lag);
        self.metrics.messages.add(count);
        self.metrics.stream_messages.add(fetched);
        self.metrics.sequence.set(newest.map_or(0, |t| t.sequence));
        self.metrics.progress();
        self.backoff.reset();
        Ok(())
    }

    /// The channel messages of a stream message that are not there yet; 0: it was there, 1: it was not.
    fn unpack(
        &self,
        message: &Message,
        sequence: u64,
        id: u64,
        newest: &mut Option<Trailer>,
        batch: &mut Vec<Vec<u8>>,
    ) -> Result<u64> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(
                FAILURE,
                format_args!("message {sequence} of stream {} {why}", self.config.stream.name),
            )
        };
        if newest.is_some_and(|t| sequence < t.sequence || (sequence == t.sequence && t.is_last()))
        {
            self.metrics.duplicates.add(1);
            return Ok(0);
        }
        let stored = message.headers.as_ref().and_then(Stored::of);
        let count = stored.as_ref().map_or(1, |s| s.count);
        let oversized = stored.as_ref().is_some_and(|s| s.oversized.is_some());
        let payloads = unpack(&message.payload, count)
            .ok_or_else(|| wrong(&"is not the pack that its headers say it is"))?;
        if oversized {
            self.metrics.oversized.add(1);
            tracing::warn!(
                sequence,
                "a message was too large for the stream: an empty one stands for it"
            );
        }
        for (index, payload) in payloads.iter().enumerate() {
            let flags = if oversized { OVERSIZED } else { 0 };
            let trailer =
                Trailer { stream: id, sequence, index: index as u32, count: count as u32, flags };
            if newest.is_some_and(|t| t.sequence == sequence && t.index >= trailer.index) {
                continue;
            }
            if (payload.len() + LEN) as u64 > self.sink.max_message {
                return Err(wrong(&format_args!(
                    "has {} bytes, and the channel takes {} with {LEN} of its own: make the channel with larger pages",
                    payload.len(),
                    self.sink.max_message
                )));
            }
            batch.push(trailer.behind(payload));
            *newest = Some(trailer);
        }
        Ok(1)
    }

    /// Into the channel, waiting for room as long as it takes; false: the bridge was asked to end.
    async fn put(&mut self, mut batch: Vec<Vec<u8>>) -> std::result::Result<bool, Trouble> {
        let mut done = 0;
        while done < batch.len() {
            let sent = tokio::task::block_in_place(|| self.sink.send(&batch[done..], 100))?;
            match sent {
                Sent::Some(count) => {
                    if let Some(last) = batch[done..done + count].last() {
                        // From here on a crash, or a new round, goes on behind it.
                        self.newest = Trailer::of(last);
                    }
                    done += count;
                }
                Sent::TooBig => {
                    return Err(Failure::new(FAILURE, "a message does not fit the channel").into())
                }
            }
            if done < batch.len() {
                self.metrics.trouble("the channel is full: its groups have to acknowledge");
                if self.stop.is_wanted() {
                    return Ok(false);
                }
                tokio::task::yield_now().await;
            }
        }
        batch.clear();
        Ok(true)
    }
}
