//! Groups: names, order, figures, limits, where they start, and going back and forth.

mod common;
use common::*;

#[test]
fn child_role() {
    play(|role, args| match role {
        "join" => {
            let channel = reopen(args[0], EXISTING);
            let _all: Vec<_> = (0..3)
                .map(|_| {
                    let p = channel.producer().unwrap();
                    (p, subscribe(&channel, Some("g"), 0), subscribe(&channel, None, 0))
                })
                .collect();
            mark("joined", "");
            forever();
        }
        other => panic!("{other}"),
    });
}

/// Every byte but NUL is a byte like any other, and no name leads out of the directory.
#[test]
fn s119_names_are_any_bytes() {
    let all: Vec<u8> = (1..=255).collect();
    let names: Vec<&[u8]> = vec![
        b"a",
        b"A",
        b".",
        b"..",
        b"../evil",
        b"/etc/passwd",
        b"a/b",
        b"a\\b",
        b"%",
        b"%2f",
        b" ",
        b"\n",
        b"\x01",
        b"\xff",
        b"\xff\xfe",
        b"caf\xc3\xa9",
        b"group",
        b"channel",
        b"*",
        b"'; --",
        &all,
        &[b'/'; 255],
        &[b'.'; 255],
    ];
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let count = names.len() as u64;
    send_numbers(&mut channel.producer().unwrap(), 0..count);
    let join = |channel: &Channel, name: &[u8]| {
        let o = SubscribeOptions { ack: ACK_RECEIVE, flags: AUTO_NEXT_PAGE, ..Default::default() };
        channel.subscribe(Some(name), &o).unwrap()
    };
    for (i, name) in (0..).zip(&names) {
        take_numbers(&mut join(&channel, name), 0..i);
    }
    drop(channel);
    let channel = reopen(t.chan(), EXISTING);
    for (i, name) in (0..).zip(&names) {
        assert_eq!(channel.group_stats(name).unwrap().lag, count - i);
        assert_eq!(take_number(&mut join(&channel, name)), i);
    }
    assert_eq!(files(t.dir()).len(), 1);
    assert_eq!(verify(t.chan()).groups, count);
    names.iter().for_each(|name| channel.group_delete(name).unwrap());
    assert_eq!(code(channel.group_next(None)), -libc::ENOENT);
}

/// [S15]
#[test]
fn s119_empty_overlong_and_nul_names() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    for bad in [&b""[..], &[b'x'; 256], &[b'x'; 5000], b"a\0b"] {
        assert_eq!(code(channel.subscribe(Some(bad), &Default::default())), DC_E_ARGUMENT);
        assert_eq!(code(channel.group_stats(bad)), DC_E_ARGUMENT);
        assert_eq!(code(channel.group_delete(bad)), DC_E_ARGUMENT);
    }
    fails(channel.subscribe(Some(&[b'x'; 256]), &Default::default()), DC_E_ARGUMENT, "255");
    let _c = channel.subscribe(Some(&[b'x'; 255]), &Default::default()).unwrap();
    assert_eq!(channel.group_next(None).unwrap(), [b'x'; 255]);
}

/// [S8]
#[test]
fn s044_group_next_goes_in_byte_order() {
    let order: [&[u8]; 10] =
        [b"\x01", b"A", b"a", b"aa", b"b", b"b/", b"b0", b"z", b"\x80", b"\xff\x01"];
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    assert_eq!(code(channel.group_next(None)), -libc::ENOENT);
    for i in 0..order.len() {
        channel.subscribe(Some(order[i * 7 % order.len()]), &Default::default()).unwrap();
    }
    let mut after: Option<Vec<u8>> = None;
    for name in order {
        after = Some(channel.group_next(after.as_deref()).unwrap());
        assert_eq!(after.as_deref(), Some(name));
    }
    assert_eq!(code(channel.group_next(after.as_deref())), -libc::ENOENT);
    // After a name that is not there.
    assert_eq!(channel.group_next(Some(b"ab")).unwrap(), b"b");
}

/// [S21]
#[test]
fn s045_delete_removes_a_group_nobody_uses() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..10);
    assert_eq!(code(channel.group_delete(b"g")), -libc::ENOENT);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_numbers(&mut c, 0..10);
    fails(channel.group_delete(b"g"), DC_E_BUSY, "g");
    drop(c);
    channel.group_delete(b"g").unwrap();
    assert_eq!(code(channel.group_delete(b"g")), -libc::ENOENT);
    assert_eq!(code(channel.group_stats(b"g")), -libc::ENOENT);
    // A new one of that name starts anew.
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_firsts(&mut c, 0..10);
}

/// [S115] Handles of other processes count; those of dead ones do not.
#[test]
fn s045_delete_is_busy_while_another_process_uses_it() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let _p = channel.producer().unwrap();
    let mut child = Child::start("join", &[t.chan().to_str().unwrap()]);
    child.expect("joined");
    assert_eq!(code(channel.group_delete(b"g")), DC_E_BUSY);
    let i = info(&channel);
    assert_eq!((i.producers, i.consumers, group_info(&channel, "g").consumers), (4, 6, 3));
    child.kill();
    let i = info(&channel);
    assert_eq!((i.producers, i.consumers, group_info(&channel, "g").consumers), (1, 0, 0));
    channel.group_delete(b"g").unwrap();
}

/// [S143 S43]
#[test]
fn s120_three_hundred_groups() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..3);
    let name = |g| format!("group {g}");
    for g in 0..300 {
        take_first(&mut subscribe(&channel, Some(&name(g)), ACK_RECEIVE), 0);
    }
    for g in (0..300).rev() {
        assert_eq!(group_info(&channel, &name(g)).lag, 2);
        take_first(&mut subscribe(&channel, Some(&name(g)), ACK_RECEIVE), 1);
    }
    fails(channel.group_stats(b"group 300"), -libc::ENOENT, "group 300");
    assert_eq!(verify(t.chan()).groups, 300);
}

#[test]
fn s116_group_figures_are_exact() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..30);
    let mut a = subscribe(&channel, Some("g"), ACK_MANUAL);
    let mut b = subscribe(&channel, Some("g"), ACK_MANUAL);
    let figures = || {
        let i = group_info(&channel, "g");
        (i.lag, i.unacked, i.lost, i.redelivered, i.consumers)
    };
    assert_eq!(figures(), (30, 0, 0, 0, 2));
    let mut last = 0;
    for n in 0..10 {
        last = take_first(if n % 2 == 0 { &mut a } else { &mut b }, n).position;
    }
    assert_eq!(figures(), (20, 10, 0, 0, 2));
    assert!(group_info(&channel, "g").position > last);
    a.ack(last).unwrap();
    assert_eq!(figures(), (20, 5, 0, 0, 2));
    b.nack().unwrap();
    // Given back: waiting again, for whoever takes it.
    assert_eq!(figures().0 + figures().1, 25);
    for n in (1..10).step_by(2) {
        take_again(&mut a, n, 2);
    }
    assert_eq!(figures(), (20, 5, 0, 5, 2));
    a.ack(ALL).unwrap();
    drop(b);
    drop(a);
    assert_eq!(figures(), (20, 0, 0, 5, 0));
    send_numbers(&mut p, 30..500);
    let (got, _, _) = drain(&mut subscribe(&channel, Some("g"), ACK_RECEIVE));
    assert_eq!(figures(), (0, 0, 490 - got, 5, 0));
}

/// A channel with 60 numbers and their positions.
fn sixty(t: &Temp) -> (Channel, Producer, Vec<u64>) {
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut positions = Vec::new();
    for n in 0..60 {
        send(&mut p, n);
        positions.push(p.sent_position());
    }
    (channel, p, positions)
}

/// [S6]
#[test]
fn s007_positions_order_messages() {
    let t = Temp::new();
    let (channel, mut p, positions) = sixty(&t);
    let i = info(&channel);
    assert!(positions.windows(2).all(|w| w[0] < w[1]));
    assert!(i.oldest > 0 && i.oldest <= positions[0] && i.end > positions[59]);
    let mut c = subscribe(&channel, Some("g"), 0);
    for (n, at) in (0..).zip(&positions) {
        assert_eq!(take_first(&mut c, n).position, *at);
    }
    send_numbers(&mut p, 60..2000);
    let later = info(&channel);
    assert!(later.oldest > i.oldest && later.end > i.end && later.oldest < later.end);
}

/// Where reading starts, and the first number there.
fn starts(at: &[u64]) -> [(u64, u64); 7] {
    [
        (0, 0),
        (EARLIEST, 0),
        (at[20], 20),
        (at[15] + 1, 16),
        (last(1), 59),
        (last(25), 35),
        (last(1000), 0),
    ]
}

#[test]
fn s112_a_new_group_starts_where_it_says() {
    let t = Temp::new();
    let (channel, mut p, at) = sixty(&t);
    for (i, (start, first)) in starts(&at).into_iter().enumerate() {
        let name = format!("{i}");
        let mut c = subscribe_at(&channel, Some(&name), start);
        assert_eq!(group_info(&channel, &name).lag, 60 - first);
        take_numbers(&mut c, first..60);
    }
    for start in [LATEST, info(&channel).end] {
        let mut c = subscribe_at(&channel, Some(&format!("{start}")), start);
        take_nothing(&mut c);
    }
    send(&mut p, 60);
    take_first(&mut subscribe(&channel, Some(&format!("{LATEST}")), 0), 60);
}

#[test]
fn s112_an_observer_starts_where_it_says() {
    let t = Temp::new();
    let (_channel, mut p, at) = sixty(&t);
    let mut latest = Vec::new();
    for flags in [0, READ_ONLY] {
        let reader = reopen(t.chan(), flags);
        for (start, first) in starts(&at) {
            let mut c = subscribe_at(&reader, None, start);
            take_numbers(&mut c, first..60);
            take_nothing(&mut c);
        }
        latest.push(subscribe_at(&reader, None, LATEST));
        take_nothing(latest.last_mut().unwrap());
    }
    send(&mut p, 60);
    latest.iter_mut().for_each(|c| assert_eq!(take_number(c), 60));
}

/// The start is for a new group: one that exists goes on where it was.
#[test]
fn s112_an_old_group_goes_on_where_it_was() {
    let t = Temp::new();
    let (channel, _p, _) = sixty(&t);
    take_numbers(&mut subscribe(&channel, Some("g"), ACK_RECEIVE), 0..10);
    take_first(&mut subscribe_at(&channel, Some("g"), LATEST), 10);
    take_again(&mut subscribe_at(&channel, Some("g"), EARLIEST), 10, 2);
}

/// [S85] Its position outlives every process that used it.
#[test]
fn s112_a_groups_position_survives_closing() {
    let t = Temp::new();
    let (channel, p, _) = sixty(&t);
    take_numbers(&mut subscribe(&channel, Some("g"), ACK_NEXT), 0..26);
    drop(p);
    drop(channel);
    let channel = reopen(t.chan(), EXISTING);
    let g = group_info(&channel, "g");
    assert_eq!(g.lag + g.unacked, 35);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_again(&mut c, 25, 2);
    take_firsts(&mut c, 26..60);
    take_nothing(&mut c);
}

fn seeks(group: Option<&str>) {
    let t = Temp::new();
    let (channel, mut p, at) = sixty(&t);
    let mut c = subscribe(&channel, group, 0);
    assert_eq!(code(c.seek(0)), DC_E_ARGUMENT);
    for (to, first) in starts(&at).into_iter().skip(1).chain([(at[0], 0), (at[59], 59)]) {
        c.seek(to).unwrap();
        take_numbers(&mut c, first..(first + 20).min(60));
    }
    for to in [LATEST, info(&channel).end] {
        c.seek(to).unwrap();
        take_nothing(&mut c);
    }
    send(&mut p, 60);
    assert_eq!(take_number(&mut c), 60);
}

#[test]
fn s060_a_group_seeks() {
    seeks(Some("g"));
}

#[test]
fn s060_an_observer_seeks() {
    seeks(None);
}

/// What it held before a seek is the group's past: messages come from the new place on.
#[test]
fn s060_a_seek_ends_what_the_handle_held() {
    let t = Temp::new();
    let (channel, _p, at) = sixty(&t);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_numbers(&mut c, 0..10);
    c.seek(at[40]).unwrap();
    assert_eq!(consumer_info(&c).unacked, 0);
    let g = group_info(&channel, "g");
    assert_eq!((g.unacked, g.lag), (0, 20));
    take_numbers(&mut c, 40..60);
    take_nothing(&mut c);
}

/// [S21]
#[test]
fn s060_seek_is_busy_while_others_hold_messages() {
    let t = Temp::new();
    let (channel, _p, positions) = sixty(&t);
    let mut a = subscribe(&channel, Some("g"), ACK_MANUAL);
    let mut b = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_first(&mut a, 0);
    let at = take_first(&mut b, 1).position;
    assert_eq!(code(a.seek(EARLIEST)), DC_E_BUSY);
    take_first(&mut a, 2);
    b.ack(at).unwrap();
    // b lives, but holds nothing; it moves with the group.
    a.seek(positions[30]).unwrap();
    assert_eq!(take_number(&mut b), 30);
    assert_eq!(take_number(&mut a), 31);
}

#[test]
fn s060_seek_to_what_is_gone() {
    let t = Temp::new();
    let (channel, mut p, at) = sixty(&t);
    send_numbers(&mut p, 60..400);
    let mut c = subscribe_at(&channel, Some("g"), LATEST);
    c.seek(at[0]).unwrap();
    let (count, _, last) = drain(&mut c);
    assert_eq!((count, last), (info(&channel).messages, 399));
}

/// [S4] Acknowledged messages can be read again as long as they are kept.
#[test]
fn s060_a_lossless_channel_seeks_back() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    send_numbers(&mut channel.producer().unwrap(), 0..10);
    take_numbers(&mut c, 0..10);
    c.seek(EARLIEST).unwrap();
    assert_eq!(group_info(&channel, "g").lag, 10);
    take_numbers(&mut c, 0..10);
    take_nothing(&mut c);
}

/// The file of a channel's only group.
fn group_file(t: &Temp) -> std::path::PathBuf {
    let is_group = |p: &std::path::PathBuf| p.to_string_lossy().contains("/group-");
    files(t.chan()).into_iter().find(is_group).unwrap()
}

/// Locks bytes of a group's file, as one does who deletes the group, or seeks; until dropped.
fn lock_group(file: &std::path::Path, at: i64, len: i64) -> std::fs::File {
    use std::os::fd::AsRawFd;
    let f = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    // SAFETY: a zeroed flock is valid; the pointer is used during the call only.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as i16;
        (lock.l_start, lock.l_len) = (at, len);
        assert_eq!(libc::fcntl(f.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock), 0);
    }
    f
}

#[test]
fn s130_a_deleter_suspended_half_way() {
    let t = Temp::new();
    let o = Options { stall_timeout_ms: 100, ..small() };
    let (here, there) = (open(t.chan(), &o), open(t.chan(), &o));
    drop(subscribe(&here, Some("g"), ACK_NEXT));
    let path = group_file(&t);
    let busy = |c: &Channel, name: &str| match c
        .subscribe(Some(name.as_bytes()), &Default::default())
    {
        Ok(_) => panic!("joined a group that is being deleted"),
        Err(e) => {
            assert_eq!((e.code(), e.text().contains("being deleted")), (DC_E_BUSY, true), "{e:?}")
        }
    };
    // Before it decided.
    let deleter = lock_group(&path, 1 << 32, 510);
    for channel in [&here, &there] {
        busy(channel, "g");
        drop(subscribe(channel, Some("other"), ACK_NEXT));
    }
    drop(deleter);
    drop(subscribe(&here, Some("g"), ACK_NEXT));
    // After it decided, before the name went.
    let deleter = lock_group(&path, 1 << 32, 510);
    std::os::unix::fs::FileExt::write_all_at(&deleter, &[1], 1192).unwrap();
    for channel in [&here, &there] {
        busy(channel, "g");
        drop(subscribe(channel, Some("other"), ACK_NEXT));
    }
    // Killed: the next one finishes it.
    drop(deleter);
    drop(subscribe(&there, Some("g"), ACK_NEXT));
    drop(subscribe(&here, Some("g"), ACK_NEXT));
}

/// How often this thread has gone to sleep.
fn sleeps() -> i64 {
    // SAFETY: integers, of which zeros are a value; a valid pointer.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_nvcsw
    }
}

#[test]
fn s130_a_suspended_seek_is_waited_for_asleep() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { stall_timeout_ms: 60_000, ..small() });
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    send(&mut channel.producer().unwrap(), 1);
    let seeker = lock_group(&group_file(&t), (1 << 32) - 1, 1);
    std::os::unix::fs::FileExt::write_all_at(&seeker, &[1], 1152).unwrap();
    let (before, mut m) = (sleeps(), Message::default());
    assert_eq!(code(c.recv(&mut m, 1000)), DC_AGAIN);
    assert!(sleeps() - before > 10, "asleep {} times in a second", sleeps() - before);
    // Killed, it is not waited for.
    drop(seeker);
    assert_eq!(take_number(&mut c), 1);
}

/// A seek back that was killed between its move and its end: what its owner held comes once.
#[test]
fn s060_a_seek_killed_half_way() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut holder = subscribe(&channel, Some("g"), ACK_MANUAL);
    for n in 0..4 {
        send(&mut p, n);
        take_first(&mut holder, n);
    }
    // As of now, where the locks are free.
    let dead = t.dir().join("dead");
    std::fs::create_dir(&dead).unwrap();
    for file in files(t.chan()) {
        std::fs::copy(&file, dead.join(file.file_name().unwrap())).unwrap();
    }
    let is_group = |p: &std::path::PathBuf| p.to_string_lossy().contains("/group-");
    let group = files(&dead).into_iter().find(is_group).unwrap();
    // FORMAT.md: the cursor is back at the first page's second slot, SEEKING is set.
    overwrite(&group, 1024, &(0x10001u64 << 10 | 1023).to_le_bytes());
    overwrite(&group, 1152, &1u64.to_le_bytes());
    let channel = open(&dead, &small());
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_again(&mut c, 0, 2);
    take_firsts(&mut c, 1..4);
    sleep_ms(300);
    take_nothing(&mut c);
}

/// What two had claimed ahead and were not handed comes unflagged, and so in order, whoever had which.
#[test]
fn s083_claimed_ahead_by_two_comes_in_order() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let o = SubscribeOptions { prefetch: 2, ack: ACK_MANUAL, ..Default::default() };
    let [mut first, mut second] = [(); 2].map(|()| channel.subscribe(Some(b"g"), &o).unwrap());
    send_numbers(&mut p, 0..4);
    take_first(&mut second, 0);
    take_first(&mut first, 2);
    drop((first, second));
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let all: Vec<_> = (0..4).map(|_| take(&mut c)).collect();
    let fresh: Vec<_> = all.iter().filter(|m| m.flags == 0).map(number).collect();
    assert_eq!(fresh, [1, 3]);
}
