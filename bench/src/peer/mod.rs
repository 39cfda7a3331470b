//! Those who are measured: each a way to send and to receive messages, in threads or processes.

#[cfg(feature = "aeron")]
mod aeron;
mod crossbeam;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
mod limits;
#[cfg(feature = "lmdb")]
mod lmdb;
mod mq;
mod original;
mod ours;
mod raw;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
mod versions;
#[cfg(feature = "zeromq")]
mod zeromq;

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
const BUILT: [(&str, bool); 6] = [
    ("aeron", cfg!(feature = "aeron")),
    ("iceoryx2", cfg!(feature = "iceoryx2")),
    ("lmdb", cfg!(feature = "lmdb")),
    ("redis", cfg!(feature = "redis")),
    ("sqlite", cfg!(feature = "sqlite")),
    ("zeromq", cfg!(feature = "zeromq")),
];

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
        #[cfg(feature = "aeron")]
        PeerName::Aeron => Box::new(aeron::Aeron::create(spec, dir)?),
        #[cfg(feature = "iceoryx2")]
        PeerName::Iceoryx2 => Box::new(iceoryx2::Iceoryx2::at(spec, dir)?),
        #[cfg(feature = "lmdb")]
        PeerName::Lmdb => Box::new(lmdb::Lmdb::create(spec, dir)?),
        #[cfg(feature = "sqlite")]
        PeerName::Sqlite => Box::new(sqlite::Sqlite::create(spec, dir)?),
        #[cfg(feature = "zeromq")]
        PeerName::Zeromq => Box::new(zeromq::Zeromq::at(spec, dir)?),
        #[cfg(feature = "redis")]
        PeerName::Redis => Box::new(redis::Redis::create(spec, dir)?),
        #[allow(unreachable_patterns)]
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
        #[cfg(feature = "aeron")]
        PeerName::Aeron => Box::new(aeron::Aeron::join(spec, dir)?),
        #[cfg(feature = "iceoryx2")]
        PeerName::Iceoryx2 => Box::new(iceoryx2::Iceoryx2::at(spec, dir)?),
        #[cfg(feature = "lmdb")]
        PeerName::Lmdb => Box::new(lmdb::Lmdb::join(spec, dir)?),
        #[cfg(feature = "sqlite")]
        PeerName::Sqlite => Box::new(sqlite::Sqlite::join(spec, dir)?),
        #[cfg(feature = "zeromq")]
        PeerName::Zeromq => Box::new(zeromq::Zeromq::at(spec, dir)?),
        #[cfg(feature = "redis")]
        PeerName::Redis => Box::new(redis::Redis::join(spec, dir)?),
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

/// Bytes of disk of all files below a directory.
#[cfg(any(feature = "lmdb", feature = "redis", feature = "sqlite"))]
pub fn disk_of(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(|e| {
            let entry = e.ok()?;
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { disk_of(&entry.path()) } else { meta.blocks() * 512 })
        })
        .sum()
}
