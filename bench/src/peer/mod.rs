//! Those who are measured: each a way to send and to receive messages, in threads or processes.

mod crossbeam;
mod limits;
mod mq;
mod original;
mod ours;
mod raw;
mod versions;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use limits::cannot;
pub use versions::versions;

use crate::maker::Maker;
use crate::payload::Checker;
use crate::round_trip::Turns;
use crate::spec::{Spec, Wait, Workload};

/// What a role does once the gate is open.
pub type Work<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// A channel as one process has it.
pub trait Peer: Sync {
    /// Get ready to send all that `maker` makes. Called by the thread that will.
    fn producer<'a>(&'a self, maker: Maker<'a>) -> Result<Work<'a>>;
    /// Get ready to receive, as a consumer of a group, until all is received.
    fn consumer<'a>(&'a self, group: usize, checker: Checker<'a>) -> Result<Work<'a>>;
    /// Get ready for one message to and fro: the first of the two begins.
    fn round_trips(&self, _first: bool) -> Result<RoundTrips<'_>> {
        anyhow::bail!("has no round trips")
    }
    /// Bytes of disk it takes.
    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// Plays its turns, and returns the time of each.
pub type RoundTrips<'a> = Box<dyn FnOnce(Turns) -> Result<Vec<u64>> + 'a>;

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PeerName {
    Ours,
    OursNoChecksum,
    DiskChan,
    Crossbeam,
    CrossbeamInline,
    Aeron,
    Iceoryx2,
    Lmdb,
    Sqlite,
    Zeromq,
    Mq,
    Redis,
    Raw,
}

impl PeerName {
    pub const ALL: [PeerName; 13] = {
        use PeerName::*;
        [
            Ours,
            OursNoChecksum,
            DiskChan,
            Crossbeam,
            CrossbeamInline,
            Aeron,
            Iceoryx2,
            Lmdb,
            Sqlite,
            Zeromq,
            Mq,
            Redis,
            Raw,
        ]
    };

    pub fn title(self) -> &'static str {
        match self {
            PeerName::Ours => "disk_chan (this library)",
            PeerName::OursNoChecksum => "this library, checksum off",
            PeerName::DiskChan => "disk-chan 0.3.0",
            PeerName::Crossbeam => "crossbeam-channel, `Vec<u8>`",
            PeerName::CrossbeamInline => "crossbeam-channel, inline",
            PeerName::Aeron => "Aeron IPC",
            PeerName::Iceoryx2 => "iceoryx2",
            PeerName::Lmdb => "LMDB",
            PeerName::Sqlite => "SQLite",
            PeerName::Zeromq => "ZeroMQ ipc",
            PeerName::Mq => "POSIX message queue",
            PeerName::Redis => "Redis Streams",
            PeerName::Raw => "raw limit",
        }
    }

    /// Another version of this library, or no channel at all: not among those it is compared with.
    pub fn is_other(self) -> bool {
        !matches!(self, PeerName::Ours | PeerName::OursNoChecksum | PeerName::Raw)
    }

    /// The feature of this package that has to be on for it.
    pub fn feature(self) -> Option<&'static str> {
        Some(match self {
            PeerName::Aeron => "aeron",
            PeerName::Iceoryx2 => "iceoryx2",
            PeerName::Lmdb => "lmdb",
            PeerName::Sqlite => "sqlite",
            PeerName::Zeromq => "zeromq",
            PeerName::Redis => "redis",
            _ => return None,
        })
    }

    /// This program can run it.
    pub fn is_built(self) -> bool {
        self.feature().is_none_or(|feature| BUILT.contains(&(feature, true)))
    }
}

/// Which features this program was built with.
const BUILT: [(&str, bool); 0] = [];

/// Make a channel below `dir`.
pub fn create(spec: &Spec, dir: &Path) -> Result<Box<dyn Peer>> {
    Ok(match spec.peer {
        PeerName::Ours | PeerName::OursNoChecksum => Box::new(ours::Ours::create(spec, dir)?),
        PeerName::DiskChan => Box::new(original::Original::create(spec, dir)?),
        PeerName::Crossbeam => Box::new(crossbeam::Crossbeam::<Vec<u8>>::create(spec)?),
        PeerName::CrossbeamInline => crossbeam::inline(spec)?,
        PeerName::Mq => Box::new(mq::Mq::create(spec, dir)?),
        PeerName::Raw if spec.flush => Box::new(raw::flush::RawFlush::create(spec, dir)?),
        PeerName::Raw if sleeps(spec) => Box::new(raw::sleep::RawSleep::create(spec, dir)?),
        PeerName::Raw => Box::new(raw::Raw::at(spec, dir)?),
        other => anyhow::bail!("{} was not built into this program", other.title()),
    })
}

/// Open, in another process, what was made there.
pub fn join(spec: &Spec, dir: &Path) -> Result<Box<dyn Peer>> {
    Ok(match spec.peer {
        PeerName::Ours | PeerName::OursNoChecksum => Box::new(ours::Ours::join(spec, dir)?),
        PeerName::DiskChan => Box::new(original::Original::reopen(spec, dir)?),
        PeerName::Mq => Box::new(mq::Mq::join(spec, dir)?),
        PeerName::Raw if sleeps(spec) => Box::new(raw::sleep::RawSleep::join(spec, dir)?),
        PeerName::Raw => Box::new(raw::Raw::at(spec, dir)?),
        other => anyhow::bail!("{} works in one process only", other.title()),
    })
}

/// Load what a peer is made of, where that is no part of this program.
pub fn load(spec: &Spec) -> Result<()> {
    if matches!(spec.peer, PeerName::Ours | PeerName::OursNoChecksum) {
        crate::abi::Lib::load(&spec.lib)?;
    }
    Ok(())
}

fn sleeps(spec: &Spec) -> bool {
    spec.workload == Workload::RoundTrip && spec.wait != Wait::Spin
}
