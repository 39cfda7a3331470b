//! What is measured: workloads, who takes part in each, and what it is called.

use std::path::Path;

use crate::peer::PeerName::{
    self, Crossbeam, CrossbeamInline, DiskChan, Ours, OursNoChecksum, Raw,
};
use crate::run::{Spec, Workload};

/// A row of figures that are compared with each other.
pub struct Experiment {
    pub id: &'static str,
    pub title: String,
    pub unit: Unit,
    pub specs: Vec<Spec>,
}

/// What is told of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Million messages a second.
    Messages,
    /// Megabytes of payload a second.
    Bytes,
    /// Nanoseconds of a round trip, median.
    Nanoseconds,
}

const ALL: [PeerName; 5] = [Ours, OursNoChecksum, DiskChan, Crossbeam, CrossbeamInline];

fn spec(lib: &Path, peer: PeerName, size: usize, messages: u64) -> Spec {
    Spec {
        workload: Workload::Stream,
        peer,
        producers: 1,
        consumers: 1,
        groups: 1,
        size,
        batch: 1,
        messages,
        processes: false,
        pinned: true,
        lib: lib.to_path_buf(),
    }
}

fn experiment(id: &'static str, title: &str, unit: Unit, specs: Vec<Spec>) -> Experiment {
    Experiment { id, title: title.to_string(), unit, specs }
}

/// The experiments of `bench quick`; `scale` multiplies the numbers of messages.
pub fn quick(lib: &Path, scale: f64) -> Vec<Experiment> {
    let million = |n: f64| (n * 1e6 * scale) as u64;
    // Laps of the 16 pages enough for the first one, in which files are made, not to count for much.
    let one = |peer| spec(lib, peer, 100, million(if peer == DiskChan { 2.0 } else { 15.0 }));
    let bytes = |peer, size: usize, mib: u64| {
        spec(lib, peer, size, ((mib << 20) as f64 * scale) as u64 / size as u64)
    };
    vec![
        experiment(
            "stream",
            "1 producer, 1 consumer, 100 B, one message a call, threads",
            Unit::Messages,
            ALL.into_iter().chain([Raw]).map(one).collect(),
        ),
        experiment(
            "processes",
            "the same, two processes",
            Unit::Messages,
            [Ours, OursNoChecksum, Raw].map(|p| Spec { processes: true, ..one(p) }).into(),
        ),
        experiment(
            "batches",
            "the same in batches of 16, threads",
            Unit::Messages,
            [Ours, OursNoChecksum].map(|p| Spec { batch: 16, ..one(p) }).into(),
        ),
        experiment(
            "four",
            "4 producers, 4 consumers, one group, 100 B, threads",
            Unit::Messages,
            ALL.map(|p| Spec {
                producers: 4,
                consumers: 4,
                pinned: false,
                messages: million(2.0),
                ..one(p)
            })
            .into(),
        ),
        experiment(
            "store",
            "everything written to a fresh channel, then read, 100 B",
            Unit::Messages,
            [Ours, OursNoChecksum, DiskChan]
                .map(|p| Spec {
                    workload: Workload::WriteThenRead,
                    messages: million(5.0),
                    ..one(p)
                })
                .into(),
        ),
        experiment(
            "kib",
            "1 producer, 1 consumer, 1 KiB, threads",
            Unit::Bytes,
            [Ours, OursNoChecksum, DiskChan, Crossbeam, Raw]
                .map(|p| bytes(p, 1024, if p == DiskChan { 256 } else { 2048 }))
                .into(),
        ),
        experiment(
            "64kib",
            "1 producer, 1 consumer, 64 KiB, threads",
            Unit::Bytes,
            [Ours, OursNoChecksum, DiskChan, Crossbeam, Raw]
                .map(|p| bytes(p, 65_536, if p == DiskChan { 512 } else { 4096 }))
                .into(),
        ),
        experiment(
            "trip",
            "round trip of 64 B between two processes, spinning",
            Unit::Nanoseconds,
            [Ours, OursNoChecksum, Raw]
                .map(|p| Spec {
                    workload: Workload::RoundTrip,
                    processes: true,
                    producers: 1,
                    ..spec(lib, p, 64, million(0.2))
                })
                .into(),
        ),
    ]
}
