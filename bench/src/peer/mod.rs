//! Those who are measured: each a way to send and to receive messages, in threads or processes.

mod crossbeam;
mod original;
mod ours;
mod raw;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::payload::{Checker, Maker};
use crate::run::Spec;

/// What a role does once the gate is open.
pub type Work<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// A channel as one process has it.
pub trait Peer: Sync {
    /// Get ready to send all that `maker` makes. Called by the thread that will.
    fn producer(&self, maker: Maker) -> Result<Work<'_>>;
    /// Get ready to receive, as a consumer of a group, until all is received.
    fn consumer<'a>(&'a self, group: usize, checker: Checker<'a>) -> Result<Work<'a>>;
    /// Get ready for one message to and fro: the first of the two begins. It is called with the number of round
    /// trips and returns the time of each in nanoseconds.
    fn round_trips(&self, _first: bool) -> Result<RoundTrips<'_>> {
        anyhow::bail!("has no round trips")
    }
    /// Bytes of disk it takes.
    fn disk_bytes(&self) -> u64 {
        0
    }
}

pub type RoundTrips<'a> = Box<dyn FnOnce(usize) -> Result<Vec<u64>> + 'a>;

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PeerName {
    Ours,
    OursNoChecksum,
    DiskChan,
    Crossbeam,
    CrossbeamInline,
    Raw,
}

impl PeerName {
    pub fn title(self) -> &'static str {
        match self {
            PeerName::Ours => "disk_chan (this library)",
            PeerName::OursNoChecksum => "this library, checksum off",
            PeerName::DiskChan => "disk-chan 0.3.0",
            PeerName::Crossbeam => "crossbeam-channel, `Vec<u8>`",
            PeerName::CrossbeamInline => "crossbeam-channel, inline",
            PeerName::Raw => "raw: memcpy, shared memory",
        }
    }
}

/// Make a channel below `dir`.
pub fn create(spec: &Spec, dir: &Path) -> Result<Box<dyn Peer>> {
    Ok(match spec.peer {
        PeerName::Ours | PeerName::OursNoChecksum => Box::new(ours::Ours::create(spec, dir)?),
        PeerName::DiskChan => Box::new(original::Original::create(spec, dir)?),
        PeerName::Crossbeam => Box::new(crossbeam::Crossbeam::<Vec<u8>>::create(spec)?),
        PeerName::CrossbeamInline => crossbeam::inline(spec)?,
        PeerName::Raw => Box::new(raw::Raw::at(spec, dir)?),
    })
}

/// Open, in another process, what was made there.
pub fn join(spec: &Spec, dir: &Path) -> Result<Box<dyn Peer>> {
    Ok(match spec.peer {
        PeerName::Ours | PeerName::OursNoChecksum => Box::new(ours::Ours::join(spec, dir)?),
        PeerName::Raw => Box::new(raw::Raw::at(spec, dir)?),
        other => anyhow::bail!("{} works in one process only", other.title()),
    })
}
