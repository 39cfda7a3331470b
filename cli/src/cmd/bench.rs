//! `bench`: how fast is a channel in this directory? Three answers in ten seconds: what one producer and one
//! consumer move, how long a message takes there and back, how many sends a second a disk confirms.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use disk_chan::raw::error::DC_AGAIN;
use disk_chan::raw::options::{AUTO_NEXT_PAGE, NEW, RETAIN_UNREAD, SYNC_ALWAYS};
use disk_chan::raw::{Channel, Consumer, Message, Options, Producer, Received, SubscribeOptions};
use serde::Serialize;

use super::{print_json, print_pairs, SIGNAL};
use crate::args::Bench;
use crate::fail::{Ended, Failure, Result, FAILURE, OK, USAGE};
use crate::progress::Progress;
use crate::signals::{Stop, SLICE};
use crate::units::{bytes, count, short};

/// The result by the names that scripts rely on: `cli/README.md`.
#[derive(Serialize)]
struct Figures {
    message_bytes: u64,
    messages_per_second: f64,
    bytes_per_second: f64,
    round_trip_median_ns: u64,
    round_trip_p99_ns: u64,
    durable_sends_per_second: f64,
}

/// A channel for the time being: it goes with the value, whatever happens.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn new(directory: &Path, name: &str) -> Temporary {
        let name = format!("disk-chan-bench-{}-{name}", std::process::id());
        Temporary { path: directory.join(name) }
    }

    fn open(&self, durability: u32) -> Result<Channel> {
        let options = Options {
            retention: RETAIN_UNREAD,
            durability,
            flags: NEW,
            page_size: 64 << 20,
            max_pages: 4,
            ..Options::default()
        };
        Ok(Channel::open(&self.path, &options)?)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = Channel::destroy(&self.path);
    }
}

pub fn run(args: &Bench) -> Ended {
    let stop = Stop::watch(|| {})?;
    let progress = Progress::of("measuring, seconds:", Some(args.time.as_secs()));
    let part = |share: f64| args.time.mul_f64(share);
    let message = vec![b'x'; usize::try_from(args.size).unwrap_or(usize::MAX).min(32 << 20)];
    if (message.len() as u64) < args.size {
        return Err(Failure::new(USAGE, "--size is at most 32M here"));
    }
    let rate = throughput(&args.directory, &message, part(0.5), &stop)?;
    progress.set(part(0.5).as_secs());
    let mut trips = round_trips(&args.directory, &message, part(0.3), &stop)?;
    progress.set(part(0.8).as_secs());
    let durable = durable(&args.directory, &message, part(0.2), &stop)?;
    progress.done();
    if stop.wanted() {
        return Ok(stop.code(OK));
    }
    trips.sort_unstable();
    let at = |share: f64| trips.get((trips.len() as f64 * share) as usize).copied().unwrap_or(0);
    let figures = Figures {
        message_bytes: args.size,
        messages_per_second: rate,
        bytes_per_second: rate * args.size as f64,
        round_trip_median_ns: at(0.5),
        round_trip_p99_ns: at(0.99),
        durable_sends_per_second: durable,
    };
    if args.json {
        return print_json(&figures);
    }
    let micros = |ns: u64| format!("{:.2} µs", ns as f64 / 1000.0);
    print_pairs(&[
        ("messages", format!("{} bytes each", count(args.size))),
        (
            "one producer, one consumer",
            format!("{} a second, {}/s", short(rate), bytes(figures.bytes_per_second as u64)),
        ),
        ("there and back", format!("{} median, {} at 99 %", micros(at(0.5)), micros(at(0.99)))),
        ("sends on stable storage", format!("{} a second", short(durable))),
    ])
}

/// Messages a second that arrive.
fn throughput(directory: &Path, message: &[u8], time: Duration, stop: &Stop) -> Result<f64> {
    let temporary = Temporary::new(directory, "flow");
    let channel = temporary.open(0)?;
    let mut producer = channel.producer()?;
    let mut consumer = join(&channel)?;
    drop(channel);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<u64> {
            let mut sent = 0;
            // Looking at the clock costs as much as a small message.
            while sent % 64 != 0 || (begun.elapsed() < time && !stop.wanted()) {
                send(&mut producer, message, stop)?;
                sent += 1;
            }
            Ok(sent)
        });
        let mut received = 0u64;
        let mut sent = None;
        let mut sending = Some(sending);
        while sent != Some(received) {
            if receive(&mut consumer, 10)? {
                received += 1;
            } else if sending.as_ref().is_some_and(|s| s.is_finished()) {
                if let Some(thread) = sending.take() {
                    sent = Some(joined(thread.join())?);
                }
            } else if stop.wanted() && sending.is_none() {
                break;
            }
        }
        Ok(received as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Nanoseconds of each round trip, between two threads that sleep while they wait.
fn round_trips(directory: &Path, message: &[u8], time: Duration, stop: &Stop) -> Result<Vec<u64>> {
    let (there, back) = (Temporary::new(directory, "there"), Temporary::new(directory, "back"));
    let (there, back) = ((there.open(0)?, there), (back.open(0)?, back));
    let (mut ping, mut pong) = (there.0.producer()?, back.0.producer()?);
    let (mut at_there, mut at_back) = (join(&there.0)?, join(&back.0)?);
    let mut trips = Vec::new();
    let begun = Instant::now();
    let over = std::sync::atomic::AtomicBool::new(false);
    let ended = || over.load(std::sync::atomic::Ordering::SeqCst) || stop.wanted();
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || -> Result<()> {
            while !ended() {
                if receive(&mut at_there, SLICE.as_millis() as i32)? {
                    send(&mut pong, message, stop)?;
                }
            }
            Ok(())
        });
        let mut measure = || -> Result<()> {
            while begun.elapsed() < time && !stop.wanted() {
                let sent = Instant::now();
                send(&mut ping, message, stop)?;
                while !receive(&mut at_back, SLICE.as_millis() as i32)? {
                    if stop.wanted() || echo.is_finished() {
                        return Ok(());
                    }
                }
                trips.push(sent.elapsed().as_nanos() as u64);
            }
            Ok(())
        };
        let measured = measure();
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        joined(echo.join())?;
        measured
    })?;
    Ok(trips)
}

/// Sends a second, each confirmed by the disk.
fn durable(directory: &Path, message: &[u8], time: Duration, stop: &Stop) -> Result<f64> {
    let temporary = Temporary::new(directory, "durable");
    let channel = temporary.open(SYNC_ALWAYS)?;
    let (mut producer, mut consumer) = (channel.producer()?, join(&channel)?);
    drop(channel);
    let begun = Instant::now();
    let mut sent = 0u64;
    while begun.elapsed() < time && !stop.wanted() {
        send(&mut producer, message, stop)?;
        receive(&mut consumer, 0)?;
        sent += 1;
    }
    Ok(sent as f64 / begun.elapsed().as_secs_f64())
}

fn join(channel: &Channel) -> Result<Consumer> {
    let options = SubscribeOptions { flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    Ok(channel.subscribe(Some(b"bench"), &options)?)
}

fn send(producer: &mut Producer, message: &[u8], stop: &Stop) -> Result<()> {
    loop {
        match producer.send(message, SLICE.as_millis() as i32) {
            Ok(()) => return Ok(()),
            Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) && !stop.wanted() => {}
            Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) => {
                return Err(Failure::new(stop.code(FAILURE), ""))
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a message came.
fn receive(consumer: &mut Consumer, timeout_ms: i32) -> Result<bool> {
    let mut message = Message::default();
    match consumer.recv(&mut message, timeout_ms) {
        Ok(found) => Ok(found == Received::Message),
        Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// What a thread ended with.
fn joined<T>(ended: std::thread::Result<Result<T>>) -> Result<T> {
    ended.unwrap_or_else(|_| Err(Failure::new(FAILURE, "a measuring thread panicked")))
}
