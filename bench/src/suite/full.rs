//! The experiments of `bench full`.

use std::path::Path;

use super::*;

/// Everything; `scale` multiplies the numbers of messages.
pub fn full(lib: &Path, scale: f64) -> Vec<Experiment> {
    let s = Scale { lib, scale };
    let mut all = streams(s);
    all.extend(sizes(s));
    all.extend(latencies(s));
    all.extend(durable(s));
    all.extend(resources(s));
    all.extend(scaling(s));
    all
}

fn streams(s: Scale) -> Vec<Experiment> {
    let apart = |p| Spec { processes: true, ..s.stream(p) };
    vec![
        Experiment::new("stream", STREAM, Unit::Messages, of(PeerName::ALL, |p| s.stream(p)))
            .at(Series::Size, 100)
            .note(
                "Producer and consumer each stay on a CPU of their own, but those of ZeroMQ, whose I/O \
                 threads do half of the work, and of Redis, whose server does. LMDB, SQLite and Redis \
                 take 1,000 messages a transaction or pipeline; the others one message a call.",
            ),
        Experiment::new(
            "processes",
            "1 producer, 1 consumer, 100 B, one message a call, two processes",
            Unit::Messages,
            of(PeerName::ALL, apart),
        ),
        Experiment::new(
            "batches",
            "1 producer, 1 consumer, 100 B, batches of 16, threads",
            Unit::Messages,
            of([Ours, OursNoChecksum, Aeron], |p| Spec { batch: 16, ..s.stream(p) }),
        )
        .note("`dc_send_batch` and `dc_recv_batch`; Aeron: `offer_block`, and polls of up to 128."),
        Experiment::new("four", FOUR, Unit::Messages, of(FOURS, |p| four(s, p)))
            .note("Eight threads on the machine's CPUs, not pinned."),
        Experiment::new("store", STORE, Unit::Messages, of(STORES, |p| store(s, p))).note(
            "Nothing is flushed. Ours: the page size of the README's rule, and pages enough. Redis: \
             half a million.",
        ),
        Experiment::new("tasks", TASKS, Unit::Messages, of(CRATES, |p| tasks(s, p))).note(RUST),
        Experiment::new(
            "tasks-in-turn",
            "5 million messages of 100 B sent and then received by one async task",
            Unit::Messages,
            of(CRATES, |p| tasks_in_turn(s, p)),
        )
        .note(RUST),
    ]
}

const TASKS: &str = "4 async tasks that send, 4 that receive, 5 million messages of 100 B";
const CRATES: [PeerName; 2] = [Ours, DiskChan];
const RUST: &str = "The program of disk-chan 0.3.0's own README and tests, from the opening of the channel on, through the Rust \
    crates, on a tokio runtime of as many threads as there are CPUs: the same source for both.";

fn tasks(s: Scale, peer: PeerName) -> Spec {
    let spec = s.spec(peer, 100, s.million(5.0));
    Spec { workload: Workload::Tasks, producers: 4, consumers: 4, pinned: false, ..spec }
}

fn tasks_in_turn(s: Scale, peer: PeerName) -> Spec {
    let spec = s.spec(peer, 100, s.million(5.0));
    Spec { workload: Workload::TasksInTurn, pinned: false, ..spec }
}

const FOURS: [PeerName; 12] = [
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
];
const STORES: [PeerName; 11] =
    [Ours, OursNoChecksum, DiskChan, Crossbeam, Aeron, Iceoryx2, Lmdb, Sqlite, Zeromq, Mq, Redis];

fn sizes(s: Scale) -> Vec<Experiment> {
    const LARGE: [PeerName; 8] =
        [Ours, OursNoChecksum, DiskChan, Crossbeam, CrossbeamInline, Aeron, Iceoryx2, Raw];
    const SWEPT: [PeerName; 6] = [Ours, OursNoChecksum, Crossbeam, CrossbeamInline, Aeron, Raw];
    let table = |id, title, size: usize| {
        Experiment::new(id, title, Unit::Bytes, of(LARGE, |p| s.bytes(p, size)))
            .at(Series::Size, size as u64)
    };
    let mut all = vec![
        table("kib", "1 producer, 1 consumer, 1 KiB, threads", 1024),
        table("64kib", "1 producer, 1 consumer, 64 KiB, threads", 65_536),
    ];
    for size in [16, 256, 4096, 16_384] {
        let (id, title) = (format!("size-{size}"), format!("messages of {size} B"));
        all.push(
            Experiment::new(&id, &title, Unit::Bytes, of(SWEPT, |p| s.bytes(p, size)))
                .at(Series::Size, size as u64)
                .rounds(3)
                .point_only(),
        );
    }
    all
}

fn latencies(s: Scale) -> Vec<Experiment> {
    let paced = |p| Spec { pace: 500, ..s.spec(p, 100, s.million(10.0)) };
    vec![
        Experiment::new(
            "trip",
            TRIP,
            Unit::Nanoseconds,
            of([Ours, OursNoChecksum, Aeron, Iceoryx2, Raw], |p| s.trips(p, Wait::Spin, 200.0)),
        )
        .note("Each process on a CPU of its own. Raw: two words in shared memory."),
        Experiment::new(
            "trip-block",
            "round trip of 64 B between two processes, sleeping in a call",
            Unit::Nanoseconds,
            of([Ours, Aeron, Iceoryx2, Zeromq, Mq, Raw], |p| s.trips(p, Wait::Block, 8.0)),
        )
        .note(
            "Ours: `dc_recv` with a timeout, which looks for a while before it sleeps. Raw: a futex \
             in shared memory.",
        ),
        Experiment::new(
            "trip-sleep",
            "round trip of 64 B between two processes, the other one asleep for certain",
            Unit::Nanoseconds,
            of([Ours, Iceoryx2, Zeromq, Mq, Raw], |p| Spec {
                pause: 300,
                ..s.trips(p, Wait::Block, 3.0)
            }),
        )
        .note("As above, with a pause of 300 µs, untimed, before each."),
        Experiment::new(
            "trip-poll",
            "round trip of 64 B between two processes, sleeping in `poll`",
            Unit::Nanoseconds,
            of([Ours, Raw], |p| s.trips(p, Wait::Poll, 8.0)),
        )
        .note("Ours: the descriptor of `dc_consumer_fd`. Raw: an eventfd that both inherited."),
        Experiment::new(
            "roll-over",
            "time of each of 10 million sends, 100 B, two million a second",
            Unit::Tail,
            of([Ours, OursNoChecksum, CrossbeamInline, Aeron, Raw], paced),
        )
        .rounds(3)
        .note(
            "Making the message and two looks at the clock are part of each time; where a send takes \
             longer than 500 ns, the next ones follow at once. The producer waits, untimed, while \
             the consumer is more than 200,000 messages behind. Ours fills about 150 pages.",
        ),
    ]
}

/// A run of `producers`, each of whose calls returns when its `batch` of messages is on stable storage.
fn flushed(s: Scale, producers: usize, batch: usize) -> impl Fn(PeerName) -> Spec {
    let most = if batch > 1 { 8_000_000 } else { 400_000 };
    let (lib, seconds) = (s.lib.to_path_buf(), s.second());
    move |peer| Spec {
        workload: Workload::WriteThenRead,
        flush: true,
        producers,
        batch,
        seconds,
        pinned: false,
        ..Spec::new(&lib, peer, 100, most)
    }
}

fn durable(s: Scale) -> Vec<Experiment> {
    const DISKS: [PeerName; 5] = [Ours, Lmdb, Sqlite, Redis, Raw];
    let one = |id: &str, title: &str, producers| {
        Experiment::new(id, title, Unit::Durable, of(DISKS, flushed(s, producers, 1)))
            .at(Series::Committers, producers as u64)
    };
    let mut all = vec![
        one("durable-1", "1 producer, every message of 100 B flushed", 1).note(
            "Ours: `DC_SYNC_ALWAYS`. LMDB: a synchronous transaction a message. SQLite: WAL, \
             `synchronous=FULL`. Redis: `appendfsync always`. Raw: `fdatasync` over blocks that \
             were written before.",
        ),
        one("durable-8", "8 producers, every message of 100 B flushed", 8)
            .note("As above; raw: eight threads that flush one file."),
        Experiment::new(
            "durable-1000",
            "1 producer, 1,000 messages of 100 B a flush",
            Unit::Durable,
            of(DISKS, flushed(s, 1, 1000)),
        )
        .note("Ours: `dc_send_batch`, then `dc_sync`. The others: one transaction or pipeline."),
    ];
    for producers in [2, 4, 16] {
        let (id, title) = (
            format!("durable-{producers}"),
            format!("{producers} producers, every message flushed"),
        );
        all.push(one(&id, &title, producers).rounds(2).point_only());
    }
    all
}

fn resources(s: Scale) -> Vec<Experiment> {
    let variant = |spec: Spec, variant: &str| Spec { variant: variant.to_string(), ..spec };
    let default = Spec { default_pages: true, ..store(s, Ours) };
    let open = |p| Spec { workload: Workload::Open, ..store(s, p) };
    let few = Spec { messages: s.million(0.05), ..open(Ours) };
    let mut space = of([Ours, DiskChan, Lmdb, Sqlite], |p| store(s, p));
    space.insert(1, variant(default, "pages of the default size"));
    let mut opened = of([Ours, DiskChan, Lmdb, Sqlite], open);
    opened.insert(1, variant(few, "50,000 messages"));
    let steady = |p| {
        // Ours: more than the 16 pages hold, so that the first lap is over when counting begins. Fewer where each
        // message has system calls, which strace makes slow.
        let most = if matches!(p, Zeromq | Mq | Sqlite) { 0.03 } else { 3.0 };
        let messages = s.stream(p).messages.min(s.million(most));
        Spec { workload: Workload::Steady, messages, ..s.stream(p) }
    };
    vec![
        Experiment::new(
            "space",
            "disk for 5 million messages of 100 B, all files included",
            Unit::Disk,
            space,
        )
        .rounds(1),
        Experiment::new(
            "open",
            "a process opens a channel that holds 5 million messages of 100 B",
            Unit::Opening,
            opened,
        )
        .rounds(3)
        .note("Of a process that has not seen it before; what it then reads is checked."),
        Experiment::new(
            "steady",
            "system calls while messages of 100 B flow, 1 producer, 1 consumer, threads",
            Unit::Calls,
            of([Ours, CrossbeamInline, Aeron, Iceoryx2, Lmdb, Sqlite, Zeromq, Mq], steady),
        )
        .rounds(1)
        .note(
            "`strace -c -f` of a run and of one twice as long; what the longer one has more. It \
             slows the calls down, so that who sleeps when there is nothing to do sleeps more often.",
        ),
    ]
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Runs of a second in which everybody sends or receives what he can.
fn scaling(s: Scale) -> Vec<Experiment> {
    let timed = |p, producers, consumers, groups| Spec {
        producers,
        consumers,
        groups,
        seconds: s.second(),
        pinned: false,
        // The original makes its pages from this.
        ..s.spec(p, 100, if p == DiskChan { 8_000_000 } else { 1 << 40 })
    };
    let mut all = Vec::new();
    for n in [1, 4, 16] {
        let peers = [Ours, DiskChan, Aeron, Iceoryx2];
        let (id, title) = (format!("groups-{n}"), format!("1 producer, fan-out {n}"));
        let specs = of(peers, |p| timed(p, 1, 1, n));
        all.push(
            Experiment::new(&id, &title, Unit::Rate, specs)
                .at(Series::Groups, n as u64)
                .rounds(3)
                .point_only(),
        );
    }
    for n in [1, 2, 4, 8, 16, 32, 64] {
        for (series, name, producers, consumers) in [
            (Series::Producers, "producers", n, 1),
            (Series::Consumers, "consumers", 1, n),
            (Series::Both, "both", n, n),
        ] {
            if n == 1 && series != Series::Producers {
                continue;
            }
            let (id, title) = (
                format!("{name}-{n}"),
                format!("{}, {}", count(producers, "producer"), count(consumers, "consumer")),
            );
            let specs = of([Ours, CrossbeamInline], |p| timed(p, producers, consumers, 1));
            let mut point =
                Experiment::new(&id, &title, Unit::Rate, specs).at(series, n as u64).rounds(2);
            if n == 1 {
                point = point.at(Series::Consumers, 1).at(Series::Both, 1);
            }
            all.push(point.point_only());
        }
    }
    all
}
