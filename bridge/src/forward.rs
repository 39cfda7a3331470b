//! `forward`: a channel's group into a stream, effectively once and in order.
//!
//! One loop: read, give each parcel its sequence (`plan`), publish without waiting, and acknowledge to the channel what
//! the cluster has acknowledged. Whatever goes wrong (an error, a silence, a lost connection) leads to `synchronise`: ask
//! the cluster for its last message, take what it has off the list, and publish the rest again, each under the sequence it
//! had. The server takes a publish only directly behind the sequence that its header names; so nothing can be doubled,
//! left out or overtaken, however late a publish arrives. `docs/CLUSTER.md` has the argument in full.

mod acks;
mod begin;
mod letters;
mod packing;
mod rate;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::{FutureExt, StreamExt};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use self::letters::DeadLetters;
use self::rate::Rate;
use crate::backoff::{random, Backoff};
use crate::channel::{hex, Read, Source, HELD_MAX, READ_MAX};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::fail::{passing, Failure, Result, Trouble, FAILURE};
use crate::metrics::{Ages, Metrics};
use crate::parcel::{Epoch, Pack, Parcel};
use crate::plan::Plan;
use crate::stop::Stop;
use crate::stream::StreamAt;

/// Bytes in memory that the cluster has not acknowledged, at most (and a pack).
const BYTES_MAX: usize = 64 << 20;

/// What to do when the cluster lacks what was acknowledged to the channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Behind {
    /// End, and say so.
    #[default]
    Stop,
    /// Send again what the channel still has.
    Resend,
    /// Leave the gap, and go on after what was acknowledged.
    Skip,
}

pub struct Forward {
    config: Config,
    behind: Behind,
    source: Source,
    plan: Plan,
    cluster: Cluster,
    stream: StreamAt,
    metrics: Arc<Metrics>,
    stop: Stop,
    letters: Option<DeadLetters>,
    uuid: String,
    subject: String,
    epoch: Epoch,
    epoch_text: String,
    /// Where replies come in: `inbox.attempt.sequence`.
    inbox: String,
    replies: Subscriber,
    attempt: u64,
    /// Published and not acknowledged, in the order of their sequences.
    parcels: VecDeque<Parcel>,
    /// Made and not yet published.
    made: VecDeque<Parcel>,
    pack: Pack,
    pack_since: Option<Instant>,
    /// Channel messages in `parcels` and `made`, and their bytes.
    held: usize,
    held_bytes: usize,
    /// The last look into the channel found something.
    more: bool,
    /// It could not say, before something is acknowledged.
    full: bool,
    /// Position of the last message that has its place.
    assigned: u64,
    next_sequence: u64,
    /// Position of the last message read, and of the last one acknowledged.
    read: u64,
    acked: u64,
    payload_max: usize,
    started: bool,
    backoff: Backoff,
    ages: Ages,
    rate: Rate,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Ended {
    /// Everything that was read is acknowledged; the bridge was asked to end.
    Drained,
    /// It was asked to end, and the time for that is over.
    Late,
}

impl Forward {
    pub async fn open(
        config: Config,
        behind: Behind,
        metrics: Arc<Metrics>,
        stop: Stop,
    ) -> Result<Forward> {
        let source = Source::open(&config.channel.path, &config.channel.group)?;
        let uuid = hex(&source.uuid);
        let plan =
            Plan::open(&config.state(), &source.uuid, &config.channel.group, &config.stream.name)?;
        if source.consumers()? > 1 {
            let group = &config.channel.group;
            let text = "others are in it, and order needs that the bridge is alone: end them, or give it another group";
            return Err(Failure::new(FAILURE, format_args!("group {group}: {text}")));
        }
        if !source.keeps_unread {
            tracing::warn!("the channel drops old messages whether they were forwarded or not: what DC_RETAIN_UNREAD is for");
        }
        let subject = config.subject(&uuid).map_err(|e| Failure::new(FAILURE, e))?;
        let letters = match &config.forward.dead_letter {
            Some(path) => Some(DeadLetters::open(path)?),
            None => None,
        };
        let cluster =
            Cluster::connect(&config.cluster, "disk-chan-bridge forward", metrics.clone()).await?;
        cluster.check_version(config.cluster.allow_old_server)?;
        let inbox = cluster.client.new_inbox();
        let replies = cluster.client.subscribe(format!("{inbox}.>")).await;
        let replies =
            replies.map_err(|e| Failure::new(FAILURE, format_args!("cannot subscribe: {e}")))?;
        let backoff = Backoff::new(config.cluster.backoff_min.0, config.cluster.backoff_max.0);
        let epoch = Epoch { number: 0, writer: random() };
        Ok(Forward {
            stream: StreamAt::new(cluster.client.clone(), &config),
            rate: Rate::new(config.forward.rate),
            config,
            behind,
            source,
            plan,
            cluster,
            metrics,
            stop,
            letters,
            uuid,
            subject,
            epoch,
            epoch_text: String::new(),
            inbox,
            replies,
            attempt: 0,
            parcels: VecDeque::new(),
            made: VecDeque::new(),
            pack: Pack::default(),
            pack_since: None,
            held: 0,
            held_bytes: 0,
            more: false,
            full: false,
            assigned: 0,
            next_sequence: 1,
            read: 0,
            acked: 0,
            payload_max: 0,
            started: false,
            backoff,
            ages: Ages::default(),
        })
    }

    /// Until the bridge is asked to end, or cannot go on.
    pub async fn run(&mut self) -> Result<()> {
        let fd = self.source.fd()?;
        // SAFETY: it is open, and owned by what it is registered in.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let ready = registered.map_err(|e| Failure::io("cannot watch the channel", &e.into()))?;
        loop {
            let trouble = match self.round(&ready).await {
                Ok(Ended::Drained) => {
                    tracing::info!(acknowledged = self.acked, "everything that was read is stored");
                    return Ok(());
                }
                Ok(Ended::Late) => {
                    tracing::warn!(
                        waiting = self.parcels.len(),
                        "ended with messages that are not acknowledged: they stay in the channel"
                    );
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            let why = match trouble {
                Trouble::Final(failure) => return Err(failure),
                Trouble::Passing(why) => why,
            };
            self.look_around()?;
            self.metrics.retries.add(1);
            self.metrics.trouble(&why);
            let pause = self.backoff.next();
            self.cluster.try_another(self.backoff.attempts()).await;
            tracing::warn!(
                reason = why,
                pause_ms = pause.as_millis() as u64,
                "asking the cluster where things stand"
            );
            tokio::select! {
                _ = tokio::time::sleep(pause) => {}
                _ = self.cluster.back() => {}
                _ = self.stop.late(self.config.forward.drain_timeout.0) => {}
            }
        }
    }

    async fn round(&mut self, ready: &AsyncFd<OwnedFd>) -> std::result::Result<Ended, Trouble> {
        let drain = self.config.forward.drain_timeout.0;
        if self.stop.is_late(drain) || (self.stop.is_wanted() && !self.started) {
            return Ok(Ended::Late);
        }
        let mut turns = self.cluster.turns.clone();
        let turn = *turns.borrow_and_update();
        if !self.cluster.is_connected() {
            return Err(passing("not connected"));
        }
        self.synchronise().await?;
        self.metrics.in_flight.set(self.parcels.len() as u64);
        tracing::info!(
            sequence = self.next_sequence - 1 - self.parcels.len() as u64,
            position = self.acked,
            epoch = self.epoch_text,
            again = self.parcels.len(),
            "the cluster has said where things stand"
        );
        for i in 0..self.parcels.len() {
            self.publish(i).await?;
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Some(parcel) = self.made.pop_front() {
                self.parcels.push_back(parcel);
                self.publish(self.parcels.len() - 1).await?;
            }
            let stopping = self.stop.is_wanted();
            if stopping {
                self.finish_or_drop_pack()?;
                if self.parcels.is_empty() && self.made.is_empty() {
                    return Ok(Ended::Drained);
                }
                if !self.made.is_empty() {
                    continue;
                }
            }
            let rest = self.rate.wait();
            let room = self.room();
            let may_read = room > 0 && rest.is_zero() && !stopping;
            // Replies may keep the loop busy: reading does not wait for them to pause.
            if self.more && may_read {
                self.more = self.fill(room)?;
                if !self.made.is_empty() {
                    continue;
                }
            }
            let linger = self.pack_since.map(|since| since + self.config.forward.pack_linger.0);
            let silence =
                self.parcels.front().map(|p| p.sent_at + self.config.cluster.answer_timeout.0);
            tokio::select! { biased;
                reply = self.replies.next() => {
                    let Some(reply) = reply else { return Err(passing("the connection was closed")) };
                    self.heard(&reply)?;
                    while let Some(Some(reply)) = self.replies.next().now_or_never() {
                        self.heard(&reply)?;
                    }
                    self.acknowledge()?;
                }
                _ = turns.wait_for(|now| *now != turn) => return Err(passing("the connection was lost")),
                _ = until(silence) => {
                    let waited = self.config.cluster.answer_timeout.0;
                    return Err(passing(format_args!("no acknowledgement within {waited:?}")));
                }
                _ = self.stop.wanted(), if !stopping => {}
                _ = self.stop.late(drain), if stopping => return Ok(Ended::Late),
                _ = until(linger) => self.finish_pack()?,
                _ = tick.tick() => self.look_around()?,
                guard = ready.readable(), if may_read => {
                    let mut guard = guard.map_err(|e| Failure::io("cannot watch the channel", &e))?;
                    self.more = self.fill(room)?;
                    if !self.more {
                        guard.clear_ready();
                    }
                }
                _ = tokio::time::sleep(rest), if !rest.is_zero() && !stopping => {}
            }
        }
    }

    /// How many messages may be read.
    fn room(&self) -> usize {
        let open = usize::from(self.pack.count > 0);
        if self.parcels.len() + self.made.len() + open > self.config.forward.window {
            return 0;
        }
        let messages = HELD_MAX - self.held - self.pack.count;
        // Were they all as large as can be, they should still fit.
        let bytes = BYTES_MAX.saturating_sub(self.held_bytes).div_ceil(self.payload_max.max(1));
        // Without packing each message takes a place of the window.
        let places = match self.config.forward.pack_messages {
            1 => self.config.forward.window - self.parcels.len() - self.made.len(),
            _ => messages,
        };
        messages.min(places).min(bytes).min(READ_MAX)
    }

    /// Read; false: there was nothing.
    fn fill(&mut self, room: usize) -> std::result::Result<bool, Trouble> {
        let mut found = Vec::new();
        let read =
            self.source.read(room, |position, data| found.push((position, data.to_vec())))?;
        for (position, data) in found {
            self.take(position, &data)?;
        }
        match read {
            Read::Messages(count) => {
                self.rate.take(count);
                Ok(true)
            }
            Read::Nothing => Ok(false),
            Read::Full => {
                self.full = true;
                Ok(false)
            }
            Read::Lagged => {
                let lost = self.source.figures()?.lost;
                self.metrics.lost.set(lost);
                tracing::error!(lost, "retention dropped messages that were not forwarded");
                Ok(true)
            }
            Read::Damaged(position) => {
                self.metrics.damaged.add(1);
                tracing::error!(position, "a damaged message is passed over");
                Ok(true)
            }
        }
    }

    async fn publish(&mut self, i: usize) -> std::result::Result<(), Trouble> {
        let parcel = &mut self.parcels[i];
        parcel.sent_at = Instant::now();
        let headers = parcel.headers(&self.config.stream.name, &self.uuid, &self.epoch_text);
        let reply = format!("{}.{}.{}", self.inbox, self.attempt, parcel.sequence);
        let payload = parcel.payload.clone();
        let sent = self.cluster.client.publish_with_reply_and_headers(
            self.subject.clone(),
            reply,
            headers,
            payload,
        );
        match tokio::time::timeout(self.config.cluster.answer_timeout.0, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(passing(format_args!("cannot publish: {e}"))),
            Err(_) => Err(passing("the connection takes nothing more")),
        }
    }

    /// Once a second: figures, and whether the bridge is still alone.
    fn look_around(&mut self) -> Result<()> {
        let figures = self.source.figures()?;
        if figures.consumers > 1 {
            let group = &self.config.channel.group;
            let text = "somebody else has joined it, and takes messages that would be missing in the stream: end them";
            return Err(Failure::new(FAILURE, format_args!("group {group}: {text}")));
        }
        let waiting = figures.lag + (self.held + self.pack.count) as u64;
        self.metrics.lag.set(waiting);
        self.metrics.lost.set(figures.lost);
        // `acked + 1` is after the last message that was acknowledged; with nothing waiting so is the end.
        let done = if waiting == 0 { figures.end } else { self.acked + 1 };
        let age = self.ages.note(Instant::now(), figures.end, done);
        self.metrics.oldest_age_ms.set(age.as_millis() as u64);
        if waiting == 0 {
            self.metrics.progress();
        }
        Ok(())
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
