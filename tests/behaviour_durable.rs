//! Stable storage: what `durable` says, the three ways to get there, and what a crash of the machine
//! leaves. The crash is simulated: the closed channel is given another boot id.

mod common;
use common::*;
use std::time::{Duration, Instant};

#[test]
fn child_role() {
    play(|role, args| match role {
        "open" => {
            mark("opening", "");
            let channel = reopen(args[0], EXISTING);
            mark("open", info(&channel).recoveries);
            forever();
        }
        other => panic!("{other}"),
    });
}

fn durable(t: &Temp, durability: u32, flags: u32) -> Channel {
    open(t.chan(), &Options { durability, flags, sync_interval_ms: 20, ..small() })
}

#[test]
fn s054_sync_moves_durable_past_what_was_sent() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let (mut p, mut other) = (channel.producer().unwrap(), channel.producer().unwrap());
    // Nothing sent: nothing to wait for.
    p.sync(0).unwrap();
    for n in 0..60 {
        send(&mut p, n);
        send(&mut other, n);
        p.sync(LONG).unwrap();
        let i = info(&channel);
        assert!(i.durable > p.sent_position() && i.durable <= i.end);
    }
    channel.sync(-1).unwrap();
    assert_eq!(info(&channel).durable, info(&channel).end);
}

/// [S55] An unpublished message in front holds durability back; the timeout bounds the wait for it.
#[test]
fn s054_durable_stops_at_an_unpublished_message() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { stall_timeout_ms: 60_000, ..small() });
    let (mut p, mut holder) = (channel.producer().unwrap(), channel.producer().unwrap());
    send(&mut p, 0);
    holder.reserve(8, 0).unwrap();
    send(&mut p, 1);
    assert_eq!(code(p.sync(0)), DC_AGAIN);
    assert_eq!(code(p.sync(100)), DC_AGAIN);
    assert_eq!(code(channel.sync(100)), DC_AGAIN);
    assert!(info(&channel).durable <= p.sent_position());
    holder.commit(8).unwrap();
    p.sync(LONG).unwrap();
    assert!(info(&channel).durable > p.sent_position());
}

#[test]
fn s042_channel_sync_covers_everybodys() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let other = reopen(t.chan(), EXISTING);
    channel.sync(0).unwrap();
    send_numbers(&mut other.producer().unwrap(), 0..10);
    channel.sync(LONG).unwrap();
    assert_eq!(info(&channel).durable, info(&channel).end);
}

/// [S106 S55]
#[test]
fn s055_durable_is_an_asynchronous_commit() {
    let t = Temp::new();
    let channel = durable(&t, SYNC_INTERVAL, 0);
    let mut p = channel.producer().unwrap();
    for _ in 0..3 {
        send_numbers(&mut p, 0..100);
        until("it is durable", || info(&channel).durable > p.sent_position());
    }
}

/// [S90 S47] Nobody else flushes: durable moves when the program maintains.
#[test]
fn s106_interval_without_a_thread() {
    let t = Temp::new();
    let channel = durable(&t, SYNC_INTERVAL, NO_THREAD);
    let mut p = channel.producer().unwrap();
    send(&mut p, 0);
    sleep_ms(100);
    assert!(info(&channel).durable <= p.sent_position());
    until("it is durable", || {
        assert!([DC_OK, DC_AGAIN].contains(&code(channel.maintain(100))));
        info(&channel).durable > p.sent_position()
    });
}

/// [S63 S65 S52]
#[test]
fn s107_always_from_many_threads() {
    let t = Temp::new();
    let o = Options { durability: SYNC_ALWAYS, max_pages: 200, ..small() };
    let channel = open(t.chan(), &o);
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                let mut p = channel.producer().unwrap();
                for n in 0..60 {
                    send(&mut p, n);
                    assert!(info(&channel).durable > p.sent_position());
                }
                let mut sent = 0;
                p.send_batch(&[std::io::IoSlice::new(b"12345678"); 30], LONG, &mut sent).unwrap();
                assert!(info(&channel).durable > p.sent_position());
                p.reserve(100, 0).unwrap();
                p.commit(8).unwrap();
                assert!(info(&channel).durable > p.sent_position());
            });
        }
    });
    let i = info(&channel);
    assert_eq!((i.messages, i.durable), (6 * 91, i.end));
}

/// Two opens of one channel, each with its own way.
#[test]
fn s107_durability_is_of_the_open() {
    let t = Temp::new();
    let lazy = open(t.chan(), &small());
    let safe = durable(&t, SYNC_ALWAYS, 0);
    let (mut p, mut q) = (lazy.producer().unwrap(), safe.producer().unwrap());
    send_numbers(&mut p, 0..10);
    assert!(info(&lazy).durable <= p.sent_position());
    send(&mut q, 10);
    assert!(info(&lazy).durable > q.sent_position());
    send(&mut p, 11);
    take_numbers(&mut subscribe(&safe, Some("g"), ACK_NEXT), 0..12);
}

/// [S69] A consumer need not wait for the flush.
#[test]
fn s069_consumers_may_see_it_before_it_is_durable() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send(&mut p, 0);
    take_first(&mut subscribe(&channel, Some("g"), ACK_NEXT), 0);
    assert!(info(&channel).durable <= p.sent_position());
}

/// A channel whose machine crashed: `sent` loads, of which `synced` were confirmed; group "g" received
/// five. Its last position.
fn crash(t: &Temp, synced: u64, sent: u64, o: &Options) -> u64 {
    let channel = open(t.chan(), &Options { max_pages: 16, ..*o });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    for n in 0..sent {
        p.send(&load(1, n, 200), 0).unwrap();
        if n + 1 == synced {
            channel.sync(-1).unwrap();
        }
    }
    for _ in 0..5.min(sent) {
        take(&mut c);
    }
    let last = p.sent_position();
    drop((c, p, channel));
    crash_machine(t.chan());
    last
}

/// Everything a new group reads, in order.
fn read_all(channel: &Channel) -> Vec<u64> {
    let mut c = subscribe_at(channel, None, EARLIEST);
    let (mut all, mut m) = (Vec::new(), Message::default());
    loop {
        match recv(&mut c, &mut m, 0) {
            DC_OK => all.push(check_load(bytes(&m)).1),
            code => break assert_eq!(code, DC_AGAIN),
        }
    }
    assert!(all.windows(2).all(|w| w[0] < w[1]));
    all
}

/// [S6] It goes on, with positions never used before.
fn goes_on(t: &Temp, channel: &Channel, last: u64) {
    let mut p = channel.producer().unwrap();
    let mut c = subscribe_at(channel, None, LATEST);
    p.send(&load(9, 4711, 16), 0).unwrap();
    assert!(p.sent_position() > last);
    let m = take(&mut c);
    assert_eq!((check_load(bytes(&m)), m.position), ((9, 4711), p.sent_position()));
    assert_eq!(verify(t.chan()).corrupt, 0);
}

/// [S54 S129]
#[test]
fn s042_what_was_synced_is_there_after_a_crash() {
    for (synced, sent) in [(30, 50), (32, 48), (1, 1), (16, 17), (50, 50)] {
        let t = Temp::new();
        let last = crash(&t, synced, sent, &retain(RETAIN_UNREAD));
        let channel = reopen(t.chan(), EXISTING);
        assert_eq!(info(&channel).recoveries, 1);
        let all = read_all(&channel);
        assert!(all.starts_with(&(0..synced).collect::<Vec<_>>()), "{synced} {sent}: {all:?}");
        goes_on(&t, &channel, last);
        drop(channel);
        // Once is enough.
        assert_eq!(info(&reopen(t.chan(), EXISTING)).recoveries, 1);
    }
}

/// What was not synced may be missing; torn, it is never delivered, and it is counted.
#[test]
fn s115_torn_messages_are_discarded() {
    for torn in [&[49][..], &[40, 49], &[30], &[47, 48]] {
        let t = Temp::new();
        let last = crash(&t, 30, 50, &retain(RETAIN_UNREAD));
        torn.iter().for_each(|n| damage(t.chan(), &load(1, *n, 200), 100));
        let channel = reopen(t.chan(), EXISTING);
        let whole: Vec<u64> = (0..50).filter(|n| !torn.contains(n)).collect();
        assert_eq!(read_all(&channel), whole);
        assert_eq!(info(&channel).discarded, torn.len() as u64);
        goes_on(&t, &channel, last);
        assert_eq!(info(&channel).messages, whole.len() as u64 + 1);
    }
}

/// Damage to what was confirmed is no tearing: it is reported.
#[test]
fn s017_damage_below_the_durable_position_after_a_crash() {
    let t = Temp::new();
    crash(&t, 30, 30, &retain(RETAIN_UNREAD));
    damage(t.chan(), &load(1, 20, 200), 100);
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, None, 0);
    skip(&mut c, 20);
    assert_eq!(recv(&mut c, &mut Message::default(), 0), DC_E_CORRUPT);
    skip(&mut c, 9);
    take_nothing(&mut c);
    assert_eq!(info(&channel).discarded, 0);
}

/// [S111] Nobody can tell a torn one from a whole one: nothing beyond the durable position is delivered.
#[test]
fn s042_without_checksums_only_what_was_synced() {
    let t = Temp::new();
    let last = crash(&t, 30, 50, &Options { checksum: CHECKSUM_OFF, ..retain(RETAIN_UNREAD) });
    let channel = reopen(t.chan(), EXISTING);
    assert_eq!(read_all(&channel), (0..30).collect::<Vec<_>>());
    goes_on(&t, &channel, last);
}

/// Crash after crash: what each boot synced stays, with checksums and without.
#[test]
fn s042_crash_after_crash() {
    for checksum in [CHECKSUM_ON, CHECKSUM_OFF] {
        let t = Temp::new();
        let o = Options { max_pages: 64, checksum, ..retain(RETAIN_UNREAD) };
        let mut last = 0;
        for boot in 0..6 {
            let channel = open(t.chan(), &o);
            assert_eq!(info(&channel).recoveries, boot);
            assert_eq!(read_all(&channel), (0..20 * boot).collect::<Vec<_>>());
            let mut p = channel.producer().unwrap();
            (20 * boot..20 * boot + 20).for_each(|n| p.send(&load(1, n, 100), 0).unwrap());
            assert!(p.sent_position() > last);
            last = p.sent_position();
            p.sync(-1).unwrap();
            drop((p, channel));
            crash_machine(t.chan());
        }
    }
}

/// Acknowledgements that were not flushed may be repeated, never skipped; those that were, stay.
#[test]
fn s085_a_crash_repeats_but_never_skips() {
    let t = Temp::new();
    crash(&t, 30, 50, &retain(RETAIN_UNREAD));
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    // Five were received, four acknowledged.
    let first = check_load(bytes(&take(&mut c))).1;
    assert!(first <= 4, "{first}");
    for n in first + 1..30 {
        assert_eq!(check_load(bytes(&take(&mut c))).1, n);
    }
    drop(c);
    channel.sync(-1).unwrap();
    drop(channel);
    crash_machine(t.chan());
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let first = check_load(bytes(&take(&mut c))).1;
    assert!(first <= 29, "{first}");
    // Whole pages that were acknowledged and synced do not come again.
    assert!(first >= 16, "{first}");
}

/// What a consumer held by hand comes again after a crash; what it acknowledged beyond may, too.
#[test]
fn s085_holes_are_not_skipped() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    send_numbers(&mut channel.producer().unwrap(), 0..40);
    let mut a = subscribe_plain(&channel, "g", ACK_MANUAL);
    let mut b = subscribe_plain(&channel, "g", ACK_MANUAL);
    take_first(&mut a, 0);
    take_first(&mut a, 1);
    take_firsts(&mut b, 2..40);
    b.ack(ALL).unwrap();
    channel.sync(-1).unwrap();
    drop((a, b, channel));
    crash_machine(t.chan());
    let mut c = subscribe(&reopen(t.chan(), EXISTING), Some("g"), ACK_MANUAL);
    assert_eq!(take_number(&mut c), 0);
    assert_eq!(take_number(&mut c), 1);
}

/// Whether the recovery was finished: the boot id is this boot's again.
fn recovered(t: &Temp) -> bool {
    let words = std::fs::read(t.chan().join("channel")).unwrap();
    !words.windows(16).any(|w| w == b"an earlier boot.")
}

/// [S129] Killed at any moment of its recovery, and recovered again by the next to open.
#[test]
fn s129_killed_in_recovery() {
    let (mut partly, mut wholly) = (0, 0);
    for round in 0..24 {
        let t = Temp::new();
        let o = Options { checksum: 1 + round % 2, ..retain(RETAIN_UNREAD) };
        let last = crash(&t, 30, 50, &o);
        for attempt in 0..3 {
            let mut child = Child::start("open", &[t.chan().to_str().unwrap()]);
            child.expect("opening");
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(u64::from(round) * 130 + attempt * 40) {
                std::hint::spin_loop();
            }
            child.kill();
            if recovered(&t) {
                wholly += 1;
                break;
            }
            partly += 1;
        }
        let channel = reopen(t.chan(), EXISTING);
        assert!(info(&channel).recoveries >= 1);
        let all = read_all(&channel);
        assert!(all.starts_with(&(0..30).collect::<Vec<_>>()), "round {round}: {all:?}");
        let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
        assert!(check_load(bytes(&take(&mut c))).1 <= 4);
        goes_on(&t, &channel, last);
        drop((c, channel));
        // And a second crash, with what the first boot confirmed and the second one sent.
        crash_machine(t.chan());
        let channel = reopen(t.chan(), EXISTING);
        assert!(read_all(&channel).starts_with(&(0..30).collect::<Vec<_>>()), "round {round}");
    }
    // How many recoveries were cut short depends on the machine; that some were is what this shows.
    assert!(partly > 0, "{partly} {wholly}");
}

/// [S25] A live participant of another boot: two kernels share the directory.
#[test]
fn s025_two_kernels_on_one_directory() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    crash_machine(t.chan());
    assert_eq!(code(Channel::open(&t.chan(), &small())), DC_E_UNSUPPORTED);
    drop(channel);
    drop(reopen(t.chan(), EXISTING));
}
