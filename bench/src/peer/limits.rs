//! What a peer cannot do, in a sentence each: shown in the tables where its figure would be.

use super::PeerName::{self, *};
use crate::spec::{Spec, Wait, Workload};

/// Why this peer takes no part; `None`: it does.
pub fn cannot(spec: &Spec) -> Option<&'static str> {
    let keeps = match spec.workload {
        Workload::WriteThenRead | Workload::Open => keeps_nothing(spec.peer),
        _ => None,
    };
    let flushes = if spec.flush { flushes_nothing(spec.peer) } else { None };
    let apart = if spec.processes { one_process(spec.peer) } else { None };
    let trips = match (spec.workload, spec.peer, spec.wait) {
        (Workload::RoundTrip, DiskChan | Crossbeam | CrossbeamInline | Lmdb | Sqlite, _) => {
            Some("has no way for a process to wait for another")
        }
        (Workload::RoundTrip, Redis, _) => Some("a round trip would measure its server"),
        (Workload::RoundTrip, Aeron, Wait::Block | Wait::Poll) => {
            Some("its consumers poll: nothing wakes a process that sleeps")
        }
        (Workload::RoundTrip, Zeromq | Mq, Wait::Spin) => Some("its calls go to the kernel"),
        _ => None,
    };
    apart.or(flushes).or(keeps).or(trips).or(groups(spec)).or(batches(spec))
}

fn keeps_nothing(peer: PeerName) -> Option<&'static str> {
    match peer {
        Crossbeam | CrossbeamInline => Some("is in memory"),
        Aeron | Iceoryx2 => Some("keeps what is under way only"),
        Zeromq | Mq => Some("keeps a bounded queue in memory only"),
        _ => None,
    }
}

fn flushes_nothing(peer: PeerName) -> Option<&'static str> {
    match peer {
        DiskChan => Some("has no way to flush"),
        other => keeps_nothing(other),
    }
}

fn one_process(peer: PeerName) -> Option<&'static str> {
    match peer {
        DiskChan | Crossbeam | CrossbeamInline => Some("works in one process only"),
        _ => None,
    }
}

fn groups(spec: &Spec) -> Option<&'static str> {
    match spec.peer {
        Crossbeam | CrossbeamInline | Mq if spec.groups > 1 => {
            Some("has no groups: a message goes to one receiver")
        }
        DiskChan if spec.groups > 15 => Some("panics at its 16th group"),
        Zeromq if spec.groups > 1 => Some("PUB/SUB, its fan-out, drops messages"),
        Aeron | Iceoryx2 if spec.consumers > 1 => {
            Some("has no groups that share: every subscriber receives everything")
        }
        Lmdb if spec.consumers > 1 => {
            Some("a group would need a write transaction for every message received")
        }
        Raw if spec.producers + spec.consumers + spec.groups > 3 && !spec.flush => {
            Some("one producer, one consumer")
        }
        _ => None,
    }
}

fn batches(spec: &Spec) -> Option<&'static str> {
    match spec.peer {
        Crossbeam | CrossbeamInline | DiskChan if spec.batch > 1 => {
            Some("has no call for more than one message")
        }
        CrossbeamInline if ![16, 64, 100, 256, 1024, 4096].contains(&spec.size) => {
            Some("not measured with large messages, which it would copy through the stack")
        }
        Mq if spec.size > 8192 => Some("limited to 8 KiB a message by default"),
        _ => None,
    }
}
