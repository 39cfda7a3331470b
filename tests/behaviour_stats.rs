//! The figures: exact when nothing moves; and verify, which counts what lies on disk.

mod common;
use common::*;

/// [S41 S7 S6]
#[test]
fn s115_channel_figures_are_exact() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let i = info(&channel);
    assert_eq!((i.page_size, i.max_pages, i.max_messages_per_page), (64 << 10, 4, 16));
    assert_eq!((i.oldest, i.messages, i.bytes, i.producers, i.consumers), (i.end, 0, 0, 0, 0));
    assert_eq!((i.abandoned, i.recoveries, i.discarded, i.poisoned), (0, 0, 0, 0));
    let mut producers = [channel.producer().unwrap(), channel.producer().unwrap()];
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let observer = subscribe_paged(&channel, None);
    let i = info(&channel);
    assert_eq!((i.producers, i.consumers), (2, 2));
    let mut sum = 0;
    for n in 0..40 {
        let p = &mut producers[n % 2];
        p.send(&vec![1; n], 0).unwrap();
        sum += n as u64;
        let i = info(&channel);
        assert_eq!((i.messages, i.bytes), (n as u64 + 1, sum));
        assert!(i.end > p.sent_position() && i.oldest < i.end);
    }
    let oldest = info(&channel).oldest;
    (0..40).for_each(|n| assert_eq!(take(&mut c).len, n));
    take_nothing(&mut c);
    assert!(info(&channel).oldest >= oldest && info(&channel).messages <= 40);
    send_until_full(&mut producers[0], 0);
    assert!(info(&channel).oldest > oldest && info(&channel).messages <= 64);
    drop((observer, c, producers));
    let i = info(&channel);
    assert_eq!((i.producers, i.consumers), (0, 0));
}

/// Messages of no length, and sizes that need rounding, in the counts of bytes.
#[test]
fn s115_bytes_are_payload_bytes() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut total = 3;
    for len in [0, 1, 7, 8, 9, 100, 1000] {
        p.send(&vec![0; len], 0).unwrap();
        total += len as u64;
    }
    p.reserve(500, 0).unwrap();
    p.commit(3).unwrap();
    let (i, v) = (info(&channel), verify(t.chan()));
    assert_eq!((i.bytes, i.messages, v.bytes, v.messages), (total, 8, total, 8));
}

#[test]
fn s115_disk_bytes_are_what_the_files_take() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..200);
    // A page may be in preparation.
    until("the figures agree", || info(&channel).disk_bytes == disk_of(t.chan()));
}

#[test]
fn s117_consumer_figures_are_exact() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..20);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let mut o = subscribe(&channel, None, 0);
    let figures = |c: &Consumer| {
        let i = consumer_info(c);
        (i.lag, i.unacked, i.lost, i.redelivered, i.corrupt)
    };
    assert_eq!(figures(&c), (20, 0, 0, 0, 0));
    let last = (0..7).map(|n| take_first(&mut c, n).position).last().unwrap();
    assert_eq!(figures(&c), (13, 7, 0, 0, 0));
    assert!(consumer_info(&c).position > last);
    c.ack(last).unwrap();
    assert_eq!(figures(&c), (13, 0, 0, 0, 0));
    take_first(&mut c, 7);
    c.nack().unwrap();
    take_again(&mut c, 7, 2);
    assert_eq!(figures(&c), (12, 1, 0, 1, 0));
    c.ack(ALL).unwrap();
    take_numbers(&mut o, 0..5);
    assert_eq!(figures(&o), (15, 0, 0, 0, 0));
    send_numbers(&mut p, 20..1000);
    for (c, before) in [(&mut c, 8), (&mut o, 5)] {
        let (got, lagged, _) = drain(c);
        let i = consumer_info(c);
        assert_eq!((lagged, i.lost, i.lag), (1, 1000 - before - got, 0));
    }
}

const COUNT: u64 = 40;

fn text(n: u64) -> Vec<u8> {
    format!("message number {n:06}, and a tail to be damaged").into_bytes()
}

/// A closed channel of COUNT texts, a group that has read ten of them, and an empty group.
fn make_channel(t: &Temp, checksum: u32) {
    let channel = open(t.chan(), &Options { checksum, ..small() });
    let mut p = channel.producer().unwrap();
    (0..COUNT).for_each(|n| p.send(&text(n), 0).unwrap());
    let mut c = subscribe(&channel, Some("reader"), ACK_RECEIVE);
    skip(&mut c, 10);
    drop(subscribe(&channel, Some("empty"), 0));
}

/// [S46]
#[test]
fn s118_verify_counts_a_sound_channel() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    let before = fingerprint(t.chan());
    let v = verify(t.chan());
    assert_eq!((v.messages, v.bytes, v.groups), (COUNT, COUNT * text(0).len() as u64, 2));
    assert_eq!((v.corrupt, v.torn), (0, 0));
    assert!(v.pages == 3 || v.pages == 4);
    assert!(fingerprint(t.chan()) == before);
    // In use, too.
    let _channel = reopen(t.chan(), EXISTING);
    assert_eq!(verify(t.chan()).messages, COUNT);
    assert_eq!(code(Channel::verify(&t.dir().join("none"))), -libc::ENOENT);
}

/// [S46 S118 S61]
#[test]
fn s017_one_damaged_message_is_skipped_once() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    damage(t.chan(), &text(5), 20);
    damage(t.chan(), &text(20), 20);
    let v = verify(t.chan());
    assert_eq!((v.corrupt, v.messages), (2, COUNT - 2));
    let channel = reopen(t.chan(), EXISTING);
    for group in [Some("new"), None] {
        let mut c = subscribe_paged(&channel, group);
        let mut before = 0;
        for n in 0..COUNT {
            let mut m = Message::default();
            let code = receive(&mut c, &mut m, 0);
            assert!(m.position > before);
            before = m.position;
            if n == 5 || n == 20 {
                assert_eq!((code, m.data.is_null()), (DC_E_CORRUPT, true));
            } else {
                assert_eq!(code, DC_OK);
                assert_eq!(bytes(&m), text(n));
            }
        }
        take_nothing(&mut c);
        assert_eq!(consumer_info(&c).corrupt, 2);
    }
    // Acknowledged like any other: it does not come again.
    take_nothing(&mut subscribe(&channel, Some("new"), 0));
    assert_eq!(group_info(&channel, "new").unacked, 0);
}

#[test]
fn s017_a_batch_with_a_damaged_message() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    damage(t.chan(), &text(3), 20);
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("new"), ACK_NEXT);
    let mut out = [std::mem::MaybeUninit::<Message>::uninit(); 64];
    let (mut next, mut corrupt) = (0, 0);
    while next < COUNT {
        let mut received = 77;
        match said(c.recv_batch(&mut out, 0, &mut received)) {
            DC_E_CORRUPT => {
                assert_eq!((received, next), (0, 3));
                (next, corrupt) = (next + 1, corrupt + 1);
            }
            code => assert_eq!(code, DC_OK),
        }
        for m in &out[..received] {
            // SAFETY: the first `received` were written.
            assert_eq!(bytes(&unsafe { m.assume_init() }), text(next));
            next += 1;
        }
    }
    assert_eq!(corrupt, 1);
}

/// Without checksums nobody looks: the bytes are delivered as they are.
#[test]
fn s111_checksums_off() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_OFF);
    damage(t.chan(), &text(5), 20);
    assert_eq!(verify(t.chan()).corrupt, 0);
    let channel = reopen(t.chan(), EXISTING);
    assert_eq!(info(&channel).checksum, CHECKSUM_OFF.into());
    let mut c = subscribe(&channel, Some("new"), 0);
    skip(&mut c, COUNT);
    take_nothing(&mut c);
}

/// The version stands behind the magic of each superblock copy (docs/FORMAT.md).
#[test]
fn s018_a_newer_format_is_refused_and_left_alone() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    for at in [0, 4096] {
        overwrite(t.chan().join("channel"), at + 8, &[99]);
    }
    let before = fingerprint(t.chan());
    for flags in [0, EXISTING, READ_ONLY, NO_THREAD, PREPARED_ONLY, SIGBUS_GUARD] {
        let o = Options { flags, ..Options::default() };
        fails(Channel::open(&t.chan(), &o), DC_E_FORMAT, "99");
    }
    assert_eq!(code(Channel::verify(&t.chan())), DC_E_FORMAT);
    assert!(fingerprint(t.chan()) == before);
}

/// [S46 S109] Reading leaves no trace: not a byte, name or time of any file.
#[test]
fn s005_reading_changes_nothing_on_disk() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    let before = fingerprint(t.chan());
    let channel = reopen(t.chan(), READ_ONLY);
    let mut c = subscribe(&channel, None, 0);
    for n in 0..COUNT {
        assert_eq!(bytes(&take(&mut c)), text(n));
    }
    take_nothing(&mut c);
    info(&channel);
    group_info(&channel, "reader");
    drop((c, channel));
    assert!(fingerprint(t.chan()) == before);
}

/// Anything done with a channel that may be anything: each call returns, and invents nothing.
fn survive(path: &std::path::Path) {
    let _ = Channel::verify(path);
    for flags in [READ_ONLY, 0] {
        let Ok(channel) = Channel::open(path, &Options { flags, ..Options::default() }) else {
            continue;
        };
        let internal = [
            code(channel.stats()),
            code(channel.group_stats(b"reader")),
            code(channel.group_next(None)),
        ];
        assert!(!internal.contains(&DC_E_INTERNAL));
        if let Ok(mut p) = channel.producer() {
            for _ in 0..40 {
                assert_ne!(code(p.send(b"after the damage", 0)), DC_E_INTERNAL);
            }
        }
        for group in [None, Some(&b"reader"[..]), Some(b"empty"), Some(b"fresh")] {
            let Ok(mut c) = channel.subscribe(group, &Default::default()) else {
                continue;
            };
            let mut m = Message::default();
            for _ in 0..2000 {
                match receive(&mut c, &mut m, 0) {
                    // Nothing longer was ever sent.
                    DC_OK => assert!(m.len < 100 && bytes(&m).iter().max() < Some(&255)),
                    DC_LAGGED | DC_E_CORRUPT => {}
                    code => {
                        assert_ne!(code, DC_E_INTERNAL);
                        break;
                    }
                }
            }
            let _ = c.seek(EARLIEST);
        }
    }
}

/// [S148] Bytes changed at random in every file, the heads of them above all.
#[test]
fn s132_flipped_bytes() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    let original = fingerprint(t.chan());
    let mut seed = 1;
    for _ in 0..40 {
        for _ in 0..random(&mut seed) % 4 + 1 {
            let (file, content, ..) = &original[random(&mut seed) as usize % original.len()];
            let reach = if random(&mut seed) & 1 == 1 { 8192 } else { content.len() };
            let at = random(&mut seed) as usize % reach.min(content.len() - 8);
            let blow =
                if random(&mut seed) & 1 == 1 { [0xFF; 8] } else { [random(&mut seed) as u8; 8] };
            overwrite(file, at, &blow[..random(&mut seed) as usize % 8 + 1]);
        }
        survive(&t.chan());
        for file in files(t.chan()) {
            std::fs::remove_file(file).unwrap();
        }
        original.iter().for_each(|(file, content, ..)| std::fs::write(file, content).unwrap());
    }
}

/// [S148]
#[test]
fn s132_truncated_files() {
    let t = Temp::new();
    make_channel(&t, CHECKSUM_ON);
    let original = fingerprint(t.chan());
    for (file, content, ..) in &original {
        for len in [0, 1, 8, 4096, 4097, content.len() / 2, content.len() - 1] {
            std::fs::write(file, &content[..len.min(content.len())]).unwrap();
            survive(&t.chan());
            for file in files(t.chan()) {
                std::fs::remove_file(file).unwrap();
            }
            original.iter().for_each(|(file, content, ..)| std::fs::write(file, content).unwrap());
        }
    }
}

/// [S43] A consumer stopped between moving the cursor and saying that it holds what it moved it over: its messages are
/// somebody's all the same. (FORMAT.md, section 7: the lease is *intended*, and the cursor names its entry.)
#[test]
fn s116_a_claim_half_made_counts() {
    use std::os::unix::fs::FileExt;
    const LEASE: u64 = 4096;
    let t = Temp::new();
    let path = t.chan();
    let channel = open(&path, &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let o = SubscribeOptions { ack: ACK_MANUAL, prefetch: 1, ..SubscribeOptions::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    p.send(b"one", 0).unwrap();
    take(&mut c);
    let i = group_info(&channel, "g");
    assert_eq!((i.lag, i.unacked), (0, 1));
    let name = |f: &std::path::PathBuf| f.file_name().unwrap().to_string_lossy().into_owned();
    let file = files(&path).into_iter().find(|f| name(f).starts_with("group-")).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut lease = [0; 8];
    file.read_exact_at(&mut lease, LEASE).unwrap();
    assert_eq!(lease[0] & 3, 2, "held");
    lease[0] ^= 3;
    file.write_all_at(&lease, LEASE).unwrap();
    file.write_all_at(&[0; 8], LEASE + 8).unwrap();
    let i = group_info(&channel, "g");
    assert_eq!((i.lag, i.unacked), (1, 0));
}
