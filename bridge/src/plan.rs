//! The plan: which channel messages go to which sequence of the stream, written down before they are published.
//!
//! A publish may be on its way for long: through a server that was suspended, say. If it arrives after the bridge has
//! given it up and begun anew, it must not matter; so whatever is sent for a sequence, now or by an earlier run, has the
//! same content, because the plan is never changed. The plan also knows how far acknowledgements have come, which tells
//! a cluster that has lost something, and what a sequence held, which the cluster cannot say after a purge.
//!
//! A small file, written without being flushed: it has to outlive the process, not the machine.
//!
//! | offset | field |
//! |---|---|
//! | 0 | `DCBRIDGE`, version, UUID of the channel, creation time of the stream, epoch, acknowledged sequence and position, position up to which a gap was accepted, check |
//! | 4096 | 8,192 places of 32 bytes; sequence *s* has place *s* modulo 8,192: sequence, position before it, its last position, check |

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};

use crate::channel::Uuid;
use crate::fail::{Failure, Result, FAILURE, FENCED};

const MAGIC: &[u8; 8] = b"DCBRIDGE";
const VERSION: u64 = 1;
const HEAD: usize = 96;
const PLACES: u64 = 8192;
const PLACE: usize = 32;
const PLACES_AT: u64 = 4096;

/// What one sequence of the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub sequence: u64,
    pub previous: u64,
    pub last: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// When the stream was created, in nanoseconds; 0: no stream yet.
    pub created: u64,
    pub epoch: u64,
    /// The last sequence that was acknowledged to the channel, and its position.
    pub sequence: u64,
    pub position: u64,
    /// Whoever runs the bridge accepted that what lies before this position is not in the stream.
    pub accepted: u64,
}

pub struct Plan {
    file: File,
    path: PathBuf,
    uuid: Uuid,
    head: Head,
}

fn check(bytes: &[u8]) -> u64 {
    // FNV-1a.
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

impl Plan {
    /// Open or create the plan of one group and stream; it is this process's until that ends.
    pub fn open(directory: &Path, uuid: &Uuid, group: &str, stream: &str) -> Result<Plan> {
        let name = format!("forward-{:016x}-{stream}", check(group.as_bytes()));
        Plan::open_file(directory, &name, uuid)
    }

    /// The same for the other direction, which needs the lock and no more.
    pub fn lock(directory: &Path, uuid: &Uuid) -> Result<Plan> {
        Plan::open_file(directory, "fetch", uuid)
    }

    fn open_file(directory: &Path, name: &str, uuid: &Uuid) -> Result<Plan> {
        let failed =
            |e: &std::io::Error| Failure::io(format!("state in {}", directory.display()), e);
        std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
        let path = directory.join(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| failed(&e))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let text = "another bridge of this machine is at work: end it first";
            return Err(Failure::new(FENCED, format_args!("state {}: {text}", path.display())));
        }
        let mut plan = Plan { file, path, uuid: *uuid, head: Head::default() };
        plan.read_head()?;
        Ok(plan)
    }

    fn failed(&self, e: &std::io::Error) -> Failure {
        Failure::io(format!("state {}", self.path.display()), e)
    }

    fn read_head(&mut self) -> Result<()> {
        let mut head = [0; HEAD];
        match self.file.read_exact_at(&mut head, 0) {
            // Just created.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(self.failed(&e)),
            Ok(()) => {}
        }
        let sound = head.starts_with(MAGIC)
            && word(&head, 8) == VERSION
            && word(&head, HEAD - 8) == check(&head[..HEAD - 8]);
        if !sound {
            // A power cut tore it: what it knew is found out from the cluster.
            tracing::warn!(state = %self.path.display(), "the bridge's state is damaged and begins anew");
            return self.forget();
        }
        if head[16..32] != self.uuid {
            let text = "belongs to another channel: remove it, if that channel is gone for good";
            return Err(Failure::new(
                FAILURE,
                format_args!("state {} {text}", self.path.display()),
            ));
        }
        self.head = Head {
            created: word(&head, 32),
            epoch: word(&head, 40),
            sequence: word(&head, 48),
            position: word(&head, 56),
            accepted: word(&head, 64),
        };
        Ok(())
    }

    pub fn head(&self) -> Head {
        self.head
    }

    pub fn set_head(&mut self, head: Head) -> Result<()> {
        if head == self.head {
            return Ok(());
        }
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[16..32].copy_from_slice(&self.uuid);
        let words = [head.created, head.epoch, head.sequence, head.position, head.accepted];
        bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
        for (i, value) in words.into_iter().enumerate() {
            bytes[32 + 8 * i..40 + 8 * i].copy_from_slice(&value.to_le_bytes());
        }
        let sum = check(&bytes[..HEAD - 8]);
        bytes[HEAD - 8..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&bytes, 0).map_err(|e| self.failed(&e))?;
        self.head = head;
        Ok(())
    }

    fn at(sequence: u64) -> u64 {
        PLACES_AT + sequence % PLACES * PLACE as u64
    }

    /// Write down what a sequence will hold.
    pub fn assign(&self, place: Place) -> Result<()> {
        let mut bytes = [0; PLACE];
        for (i, value) in [place.sequence, place.previous, place.last].into_iter().enumerate() {
            bytes[8 * i..8 * i + 8].copy_from_slice(&value.to_le_bytes());
        }
        let sum = check(&bytes[..24]);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&bytes, Plan::at(place.sequence)).map_err(|e| self.failed(&e))
    }

    /// What a sequence holds, if it was written down not long ago.
    pub fn place(&self, sequence: u64) -> Option<Place> {
        let mut bytes = [0; PLACE];
        self.file.read_exact_at(&mut bytes, Plan::at(sequence)).ok()?;
        let place =
            Place { sequence: word(&bytes, 0), previous: word(&bytes, 8), last: word(&bytes, 16) };
        (place.sequence == sequence && word(&bytes, 24) == check(&bytes[..24])).then_some(place)
    }

    /// Begin anew, with another stream or after a gap that was accepted.
    pub fn forget(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| self.failed(&e))?;
        self.head = Head::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Plan::open(dir.path(), &[7; 16], "g", "S");
        let mut plan = open().unwrap();
        assert_eq!((plan.head(), plan.place(5)), (Head::default(), None));
        let place = Place { sequence: 5, previous: 65_536, last: 65_540 };
        plan.assign(place).unwrap();
        let head = Head { created: 1, epoch: 2, sequence: 4, position: 65_536, accepted: 3 };
        plan.set_head(head).unwrap();
        assert_eq!(open().err().unwrap().code, FENCED, "two at once");
        drop(plan);
        let mut plan = open().unwrap();
        assert_eq!((plan.head(), plan.place(5)), (head, Some(place)));
        // The same place of the file, another sequence.
        assert_eq!(plan.place(5 + PLACES), None);
        plan.forget().unwrap();
        drop(plan);
        let plan = open().unwrap();
        assert_eq!((plan.head(), plan.place(5)), (Head::default(), None));
        drop(plan);
        // Another group and another stream have files of their own.
        let other = Plan::open(dir.path(), &[8; 16], "h", "S").unwrap();
        assert_eq!(other.head(), Head::default());
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let open = |uuid| Plan::open(dir.path(), &[uuid; 16], "g", "S");
        let mut plan = open(7).unwrap();
        let head = Head { created: 1, epoch: 2, sequence: 4, position: 65_536, accepted: 3 };
        plan.set_head(head).unwrap();
        plan.assign(Place { sequence: 5, previous: 1, last: 2 }).unwrap();
        let path = plan.path.clone();
        drop(plan);
        assert!(open(8).err().unwrap().text.contains("another channel"));
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&[9], Plan::at(5) + 8).unwrap();
        let plan = open(7).unwrap();
        assert_eq!((plan.head(), plan.place(5)), (head, None));
        drop(plan);
        file.write_all_at(&[9], 40).unwrap();
        assert_eq!(open(7).unwrap().head(), Head::default());
    }
}
