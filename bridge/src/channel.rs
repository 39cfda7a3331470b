//! Everything the bridge wants of a channel. Nothing else here knows the library.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use disk_chan::raw::error::{DC_AGAIN, DC_E_BUSY, DC_E_CORRUPT, DC_E_LIMIT, DC_E_TOO_BIG};
use disk_chan::raw::options::{
    last, ACK_MANUAL, AUTO_NEXT_PAGE, BATCH_MAX, EARLIEST, EXISTING, MESSAGE_REDELIVERED,
    RETAIN_UNREAD, SYNC_ALWAYS, SYNC_INTERVAL, SYNC_NONE, UNACKED_MAX,
};
use disk_chan::raw::{
    Channel, Consumer, Error, Message, Options, Producer, Received, SubscribeOptions,
};

use crate::config::Durability;
use crate::fail::{Failure, Result, FAILURE};

/// Messages that [`Source`] may hand out before the first of them is acknowledged.
pub const HELD_MAX: usize = UNACKED_MAX as usize;
/// Messages of one [`Source::read`] at most.
pub const READ_MAX: usize = BATCH_MAX;

pub type Uuid = [u8; 16];

/// 32 hexadecimal digits.
pub fn hex(uuid: &Uuid) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A failed call on the channel at `path`; the library keeps the sentence only until the thread's next failure.
fn failed(path: &Path, e: Error) -> Failure {
    let text = match e.text() {
        text if text.is_empty() => e.to_string(),
        text => text,
    };
    Failure::new(FAILURE, format_args!("channel {}: {text}", path.display()))
}

/// The channel's UUID, from where docs/FORMAT.md has it; the channel is open, so its superblock is sound.
fn uuid(path: &Path) -> Result<Uuid> {
    let bad = |why: &dyn std::fmt::Display| {
        Failure::new(
            FAILURE,
            format_args!("channel {}: cannot read its UUID: {why}", path.display()),
        )
    };
    let file = std::fs::File::open(path.join("channel")).map_err(|e| bad(&e))?;
    // Two copies; a damaged one is the other's to replace.
    for at in [0, 4096] {
        let mut block = [0; 32];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut block, at).map_err(|e| bad(&e))?;
        if block.starts_with(b"DISKCHAN") {
            return Ok(std::array::from_fn(|i| block[16 + i]));
        }
    }
    Err(bad(&"no superblock begins with DISKCHAN"))
}

fn options(durability: Durability) -> Options {
    let durability = match durability {
        Durability::None => SYNC_NONE,
        Durability::Interval => SYNC_INTERVAL,
        Durability::Always => SYNC_ALWAYS,
    };
    Options { durability, ..Options::default() }
}

/// What a look into the channel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many messages.
    Messages(usize),
    /// None now.
    Nothing,
    /// None before something is acknowledged.
    Full,
    /// Retention dropped messages that were not forwarded.
    Lagged,
    /// The message at this position is damaged, and was passed over.
    Damaged(u64),
}

/// What the metrics say of the channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Position after the newest message.
    pub end: u64,
    /// Messages not yet received by the group.
    pub lag: u64,
    /// Messages that retention dropped before the group received them.
    pub lost: u64,
    /// Live consumers of the group.
    pub consumers: u64,
}

/// A channel that is read as the only member of a group.
pub struct Source {
    channel: Channel,
    consumer: Consumer,
    group: String,
    path: std::path::PathBuf,
    pub uuid: Uuid,
    /// Whether nothing goes that the group has not acknowledged.
    pub keeps_unread: bool,
}

impl Source {
    pub fn open(path: &Path, group: &str) -> Result<Source> {
        let fail = |e| failed(path, e);
        let existing = Options { flags: EXISTING, ..options(Durability::None) };
        let channel = Channel::open(path, &existing).map_err(fail)?;
        let wanted = SubscribeOptions {
            start: EARLIEST,
            ack: ACK_MANUAL,
            max_unacked: UNACKED_MAX,
            flags: AUTO_NEXT_PAGE,
            ..SubscribeOptions::default()
        };
        let consumer = channel.subscribe(Some(group.as_bytes()), &wanted).map_err(fail)?;
        let info = channel.stats().map_err(fail)?;
        Ok(Source {
            uuid: uuid(path)?,
            keeps_unread: info.retention == u64::from(RETAIN_UNREAD),
            channel,
            consumer,
            group: group.to_string(),
            path: path.to_path_buf(),
        })
    }

    fn fail(&self, e: Error) -> Failure {
        failed(&self.path, e)
    }

    /// Live consumers of the group, this one included: order needs that it is alone.
    pub fn consumers(&self) -> Result<u64> {
        Ok(self.figures()?.consumers)
    }

    pub fn figures(&self) -> Result<Figures> {
        let group = self.channel.group_stats(self.group.as_bytes()).map_err(|e| self.fail(e))?;
        // Position, lag and lost of the group; `end` costs a look at one page.
        let end = self.channel.stats().map_err(|e| self.fail(e))?.end;
        Ok(Figures { end, lag: group.lag, lost: group.lost, consumers: group.consumers })
    }

    /// The position up to which (not included) everything was acknowledged by those who were in the group before.
    /// Receives messages: [`Source::begin_at`] has to follow.
    pub fn floor(&mut self) -> Result<u64> {
        let cursor = self.channel.group_stats(self.group.as_bytes()).map_err(|e| self.fail(e))?;
        let mut floor = cursor.position;
        let mut message = Message::default();
        // What the dead left comes first, though not sorted; what is new begins at the cursor.
        for _ in 0..HELD_MAX {
            match self.consumer.recv(&mut message, 0) {
                Ok(Received::Message) => {
                    floor = floor.min(message.position);
                    if message.flags & MESSAGE_REDELIVERED == 0
                        && message.position >= cursor.position
                    {
                        break;
                    }
                }
                Ok(_) => {}
                Err(e) if [DC_AGAIN, DC_E_LIMIT].contains(&e.code()) => break,
                Err(e) if e.code() == DC_E_CORRUPT => {}
                Err(e) => return Err(self.fail(e)),
            }
        }
        Ok(floor)
    }

    /// The first message kept at or after a position.
    pub fn first_from(&self, position: u64) -> Result<Option<u64>> {
        let wanted = SubscribeOptions {
            start: position.max(EARLIEST),
            flags: AUTO_NEXT_PAGE,
            ..SubscribeOptions::default()
        };
        let mut observer = self.channel.subscribe(None, &wanted).map_err(|e| self.fail(e))?;
        let mut message = Message::default();
        loop {
            match observer.recv(&mut message, 0) {
                Ok(Received::Message) => return Ok(Some(message.position)),
                Ok(_) => {}
                Err(e) if e.code() == DC_AGAIN => return Ok(None),
                Err(e) if e.code() == DC_E_CORRUPT => return Ok(Some(message.position)),
                Err(e) => return Err(self.fail(e)),
            }
        }
    }

    /// Everything before this position is acknowledged, everything from it on is not, and comes in order.
    /// `false`: somebody else in the group holds messages.
    pub fn begin_at(&mut self, position: u64) -> Result<bool> {
        // What a power cut took is not awaited: its positions never come again.
        let end = self.channel.stats().map_err(|e| self.fail(e))?.end;
        match self.consumer.seek(position.clamp(EARLIEST, end.max(EARLIEST))) {
            Ok(()) => Ok(true),
            Err(e) if e.code() == DC_E_BUSY => Ok(false),
            Err(e) => Err(self.fail(e)),
        }
    }

    /// Hand up to `most` messages to `take`, without waiting.
    pub fn read(&mut self, most: usize, mut take: impl FnMut(u64, &[u8])) -> Result<Read> {
        let mut found = [const { MaybeUninit::<Message>::uninit() }; READ_MAX];
        let most = most.clamp(1, READ_MAX);
        let mut count = 0;
        match self.consumer.recv_batch(&mut found[..most], 0, &mut count) {
            Ok(Received::Message) => {}
            Ok(Received::Lagged) => return Ok(Read::Lagged),
            // Not under AUTO_NEXT_PAGE; harmless if it is.
            Ok(Received::EndOfPage) => return Ok(Read::Messages(0)),
            Err(e) if e.code() == DC_AGAIN => return Ok(Read::Nothing),
            // It counts a little more than was handed out, for a while: places without a message.
            Err(e) if e.code() == DC_E_LIMIT => return Ok(Read::Full),
            Err(e) if e.code() == DC_E_CORRUPT => {
                // SAFETY: on this code the first entry says which message it is.
                return Ok(Read::Damaged(unsafe { found[0].assume_init() }.position));
            }
            Err(e) => return Err(self.fail(e)),
        }
        for message in &found[..count] {
            // SAFETY: the call filled `count` of them.
            let message = unsafe { message.assume_init() };
            // SAFETY: valid and unchanged until this handle's next receiving call.
            let data = unsafe { std::slice::from_raw_parts(message.data, message.len) };
            take(message.position, data);
        }
        Ok(Read::Messages(count))
    }

    pub fn ack(&mut self, position: u64) -> Result<()> {
        self.consumer.ack(position).map_err(|e| failed(&self.path, e))
    }

    /// Readable while [`Source::read`] may find something; a duplicate of the handle's.
    pub fn fd(&mut self) -> Result<OwnedFd> {
        let fd = self.consumer.fd().map_err(|e| failed(&self.path, e))?;
        // SAFETY: the handle keeps it open, and lives.
        let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
        own.map_err(|e| Failure::io("cannot duplicate a descriptor", &e))
    }
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many of them; the others found no room.
    Some(usize),
    /// One can never fit a page of this channel.
    TooBig,
}

/// A channel that is written to.
pub struct Sink {
    channel: Channel,
    producer: Producer,
    path: std::path::PathBuf,
    pub uuid: Uuid,
    pub max_message: u64,
    /// Producers that were there before.
    pub others: u64,
}

impl Sink {
    /// The channel is created where there is none.
    pub fn open(path: &Path, durability: Durability) -> Result<Sink> {
        let fail = |e| failed(path, e);
        let channel = Channel::open(path, &options(durability)).map_err(fail)?;
        let info = channel.stats().map_err(fail)?;
        let producer = channel.producer().map_err(fail)?;
        Ok(Sink {
            uuid: uuid(path)?,
            max_message: info.max_message,
            others: info.producers,
            channel,
            producer,
            path: path.to_path_buf(),
        })
    }

    /// The newest message.
    pub fn newest(&self) -> Result<Option<Vec<u8>>> {
        let fail = |e| failed(&self.path, e);
        let wanted = SubscribeOptions {
            start: last(1),
            flags: AUTO_NEXT_PAGE,
            ..SubscribeOptions::default()
        };
        let mut observer = self.channel.subscribe(None, &wanted).map_err(fail)?;
        let mut message = Message::default();
        let mut newest = None;
        loop {
            match observer.recv(&mut message, 0) {
                Ok(Received::Message) => {
                    // SAFETY: valid until the observer's next receiving call.
                    let data = unsafe { std::slice::from_raw_parts(message.data, message.len) };
                    newest = Some(data.to_vec());
                }
                Ok(_) => {}
                Err(e) if e.code() == DC_AGAIN => return Ok(newest),
                Err(e) => return Err(fail(e)),
            }
        }
    }

    /// Send them in order, waiting for room at most so long.
    pub fn send(&mut self, messages: &[Vec<u8>], timeout_ms: i32) -> Result<Sent> {
        let parts: Vec<IoSlice<'_>> = messages.iter().map(|m| IoSlice::new(m)).collect();
        let mut sent = 0;
        match self.producer.send_batch(&parts, timeout_ms, &mut sent) {
            Ok(()) => Ok(Sent::Some(sent)),
            Err(e) if e.code() == DC_AGAIN => Ok(Sent::Some(sent)),
            Err(e) if e.code() == DC_E_TOO_BIG => Ok(Sent::TooBig),
            Err(e) => Err(failed(&self.path, e)),
        }
    }
}
