//! What is run, and what it took.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::peer::PeerName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Producers and consumers at the same time.
    Stream,
    /// Everything is written, then everything is read.
    WriteThenRead,
    /// One message to and fro.
    RoundTrip,
    /// Everything is written, and opened by another process.
    Open,
    /// As `Stream`, but what is counted are system calls and page faults.
    Steady,
    /// Tasks of one tokio runtime that send, and as many that receive, through the Rust crates.
    Tasks,
    /// One task that sends all and then receives all.
    TasksInTurn,
}

/// How one waits for a message of a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    Spin,
    /// A call that blocks.
    Block,
    /// `poll` on a file descriptor.
    Poll,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub workload: Workload,
    pub peer: PeerName,
    /// What distinguishes it from other runs of the same peer in an experiment; told with its title.
    pub variant: String,
    pub producers: usize,
    /// Of each group.
    pub consumers: usize,
    pub groups: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages a call.
    pub batch: usize,
    /// Of all producers together; at most, where time ends them.
    pub messages: u64,
    /// How long producers go on; 0: until all messages are sent.
    pub seconds: f64,
    /// Nanoseconds from a send to the next, each of which is timed; 0: they are not.
    pub pace: u64,
    /// A call returns when its messages are on stable storage.
    pub flush: bool,
    pub wait: Wait,
    /// Microseconds that the first of a round trip sleeps before each, so that the other one sleeps for certain.
    pub pause: u64,
    /// Ours: pages of the default size, where messages are kept.
    pub default_pages: bool,
    /// Roles are processes instead of threads.
    pub processes: bool,
    /// Each role stays on one CPU.
    pub pinned: bool,
    pub lib: PathBuf,
}

/// What it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub seconds: f64,
    /// Of these: writing, where that came first.
    pub writing: f64,
    /// Nanoseconds of a round trip or a send: see [`SHARES`].
    pub percentiles: [u64; SHARES.len()],
    /// Bytes of disk that the channel took at its end, where it is on disk.
    pub disk_bytes: u64,
    /// Messages a second, where time ended the run.
    pub rate: f64,
    /// There: the slowest producer's and the slowest consumer's share of the mean.
    pub slowest: [f64; 2],
    /// Nanoseconds until a channel was open, and until a consumer was ready.
    pub opening: [u64; 2],
    /// Bytes of memory that opening it took.
    pub grown: u64,
    /// System calls and page faults a million messages.
    pub calls: f64,
    pub faults: f64,
}

/// The percentiles that are kept of times.
pub const SHARES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

impl Spec {
    /// One producer, one consumer, as threads.
    pub fn new(lib: &Path, peer: PeerName, size: usize, messages: u64) -> Spec {
        Spec {
            workload: Workload::Stream,
            peer,
            variant: String::new(),
            producers: 1,
            consumers: 1,
            groups: 1,
            size,
            batch: 1,
            messages,
            seconds: 0.0,
            pace: 0,
            flush: false,
            wait: Wait::Spin,
            pause: 0,
            default_pages: false,
            processes: false,
            pinned: true,
            lib: lib.to_path_buf(),
        }
    }

    pub fn title(&self) -> String {
        match self.variant.as_str() {
            "" => self.peer.title().to_string(),
            variant => format!("{}, {variant}", self.peer.title()),
        }
    }

    pub fn roles(&self) -> usize {
        self.producers + self.groups * self.consumers
    }

    /// What one producer makes.
    pub fn share(&self, producer: usize) -> u64 {
        let (n, p) = (self.messages, self.producers as u64);
        n / p + u64::from((producer as u64) < n % p)
    }

    pub fn producing(&self) -> Range<usize> {
        0..self.producers
    }

    pub fn consuming(&self) -> Range<usize> {
        self.producers..self.roles()
    }

    /// All messages are kept until the run is over.
    pub fn keeps(&self) -> bool {
        matches!(self.workload, Workload::WriteThenRead | Workload::Open)
    }
}
