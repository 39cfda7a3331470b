//! What is measured: workloads, who takes part in each, and what it is called.

mod full;
pub mod targets;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::peer::PeerName::{self, *};
use crate::spec::{Spec, Wait, Workload};

pub use full::full;

/// Figures that are compared with each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Experiment {
    pub id: String,
    pub title: String,
    /// What a reader has to know besides.
    pub note: String,
    pub unit: Unit,
    pub specs: Vec<Spec>,
    /// Rounds at most.
    pub rounds: usize,
    /// The plots that it is a point of, and where.
    pub points: Vec<(Series, u64)>,
    /// It has a table of its own.
    pub table: bool,
}

/// What is told of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Million messages a second.
    Messages,
    /// Megabytes of payload a second.
    Bytes,
    /// Million messages a second, in a run that time ends.
    Rate,
    /// Messages a second that are on stable storage.
    Durable,
    /// Nanoseconds, median.
    Nanoseconds,
    /// Nanoseconds that one send of 10,000 exceeds.
    Tail,
    /// Bytes of disk a message.
    Disk,
    /// Milliseconds.
    Opening,
    /// System calls a million messages.
    Calls,
}

/// A plot, by what its horizontal axis has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Series {
    Size,
    Producers,
    Consumers,
    Both,
    Groups,
    Committers,
}

impl Experiment {
    pub fn new(id: &str, title: &str, unit: Unit, specs: Vec<Spec>) -> Experiment {
        Experiment {
            id: id.to_string(),
            title: title.to_string(),
            note: String::new(),
            unit,
            specs,
            rounds: usize::MAX,
            points: Vec::new(),
            table: true,
        }
    }

    fn at(mut self, series: Series, x: u64) -> Experiment {
        self.points.push((series, x));
        self
    }

    fn rounds(self, rounds: usize) -> Experiment {
        Experiment { rounds, ..self }
    }

    fn note(self, note: &str) -> Experiment {
        Experiment { note: note.to_string(), ..self }
    }

    /// A point of a plot and nothing else.
    fn point_only(self) -> Experiment {
        Experiment { table: false, ..self }
    }
}

/// What specs are made from.
#[derive(Clone, Copy)]
struct Scale<'a> {
    lib: &'a Path,
    scale: f64,
}

impl Scale<'_> {
    fn million(self, n: f64) -> u64 {
        ((n * 1e6 * self.scale) as u64).max(100)
    }

    /// A run that time ends.
    fn second(self) -> f64 {
        self.scale.clamp(0.05, 1.0)
    }

    fn spec(self, peer: PeerName, size: usize, messages: u64) -> Spec {
        Spec::new(self.lib, peer, size, messages)
    }

    /// 1 to 1, 100 bytes, for about a second or less. Ours and raw: laps of the 16 pages enough for the first one, in
    /// which files are made, not to count for much.
    fn stream(self, peer: PeerName) -> Spec {
        let millions = match peer {
            Ours | OursNoChecksum | Raw => 20.0,
            Aeron => 12.0,
            CrossbeamInline => 6.0,
            Crossbeam | Lmdb => 3.0,
            DiskChan | Zeromq => 2.0,
            Iceoryx2 => 1.5,
            Sqlite => 1.0,
            Redis => 0.4,
            Mq => 0.2,
        };
        // Their own threads and servers have to run somewhere as well.
        let pinned = !matches!(peer, Zeromq | Redis);
        Spec { pinned, ..self.spec(peer, 100, self.million(millions)) }
    }

    /// 1 to 1, of a size; so many bytes that it takes about a second or less.
    fn bytes(self, peer: PeerName, size: usize) -> Spec {
        let stream = self.stream(peer).messages as f64;
        let most = match peer {
            DiskChan => 512.0,
            Ours | OursNoChecksum | Aeron | Raw if size > 4096 => 4096.0,
            _ => 2048.0,
        };
        let messages = (most * 1048576.0 * self.scale / size as f64).min(stream);
        self.spec(peer, size, messages.max(100.0) as u64)
    }

    fn trips(self, peer: PeerName, wait: Wait, thousands: f64) -> Spec {
        let count = self.million(thousands / 1000.0);
        let spec = self.spec(peer, 64, count);
        Spec { workload: Workload::RoundTrip, processes: true, wait, ..spec }
    }
}

fn of<const N: usize>(peers: [PeerName; N], spec: impl Fn(PeerName) -> Spec) -> Vec<Spec> {
    peers.map(spec).into()
}

fn four(s: Scale, peer: PeerName) -> Spec {
    let messages = match peer {
        Ours | OursNoChecksum | CrossbeamInline => s.million(6.0),
        Mq | Redis | Sqlite => s.million(0.2),
        _ => s.million(2.0),
    };
    Spec { producers: 4, consumers: 4, pinned: false, messages, ..s.stream(peer) }
}

fn store(s: Scale, peer: PeerName) -> Spec {
    // A server that answers a pipeline of XADD takes long for five million.
    let messages = s.million(if peer == Redis { 0.5 } else { 5.0 });
    Spec { workload: Workload::WriteThenRead, messages, ..s.stream(peer) }
}

/// The experiments of `bench quick`; `scale` multiplies the numbers of messages.
pub fn quick(lib: &Path, scale: f64) -> Vec<Experiment> {
    const ALL: [PeerName; 5] = [Ours, OursNoChecksum, DiskChan, Crossbeam, CrossbeamInline];
    let s = Scale { lib, scale };
    let streams = ALL.into_iter().chain([Raw]).map(|p| s.stream(p)).collect();
    let apart = |p| Spec { processes: true, ..s.stream(p) };
    vec![
        Experiment::new("stream", STREAM, Unit::Messages, streams),
        Experiment::new(
            "processes",
            "the same, two processes",
            Unit::Messages,
            of([Ours, OursNoChecksum, Raw], apart),
        ),
        Experiment::new(
            "batches",
            "the same in batches of 16, threads",
            Unit::Messages,
            of([Ours, OursNoChecksum], |p| Spec { batch: 16, ..s.stream(p) }),
        ),
        Experiment::new("four", FOUR, Unit::Messages, of(ALL, |p| four(s, p))),
        Experiment::new(
            "store",
            STORE,
            Unit::Messages,
            of([Ours, OursNoChecksum, DiskChan], |p| store(s, p)),
        ),
        Experiment::new(
            "kib",
            "1 producer, 1 consumer, 1 KiB, threads",
            Unit::Bytes,
            of([Ours, OursNoChecksum, DiskChan, Crossbeam, Raw], |p| s.bytes(p, 1024)),
        ),
        Experiment::new(
            "64kib",
            "1 producer, 1 consumer, 64 KiB, threads",
            Unit::Bytes,
            of([Ours, OursNoChecksum, DiskChan, Crossbeam, Raw], |p| s.bytes(p, 65_536)),
        ),
        Experiment::new(
            "trip",
            TRIP,
            Unit::Nanoseconds,
            of([Ours, OursNoChecksum, Raw], |p| s.trips(p, Wait::Spin, 200.0)),
        ),
    ]
}

const STREAM: &str = "1 producer, 1 consumer, 100 B, one message a call, threads";
const FOUR: &str = "4 producers, 4 consumers, one group, 100 B, threads";
const STORE: &str = "5 million messages of 100 B written to a fresh channel, then read";
const TRIP: &str = "round trip of 64 B between two processes, spinning";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_ours_comes_first() {
        let full = full(Path::new("lib"), 1.0);
        for (i, experiment) in full.iter().enumerate() {
            assert!(full[..i].iter().all(|e| e.id != experiment.id), "{}", experiment.id);
            assert_eq!(experiment.specs[0].peer, Ours, "{}", experiment.id);
            assert_eq!(experiment.specs[0].variant, "", "{}", experiment.id);
        }
        for target in targets::TARGETS {
            assert!(full.iter().any(|e| e.id == target.experiment), "{}", target.experiment);
        }
    }

    #[test]
    fn a_small_scale_still_has_messages() {
        for experiment in full(Path::new("lib"), 0.0001).iter().chain(&quick(Path::new("l"), 0.0)) {
            assert!(experiment.specs.iter().all(|s| s.messages >= 16), "{}", experiment.id);
        }
    }
}
