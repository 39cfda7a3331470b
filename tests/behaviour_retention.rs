//! What is kept when a channel is full: the ring, the live, the unread; and how much disk that takes.

mod common;
use common::*;

/// Pages of 16 messages, 4 of them: what a full channel holds.
const FULL: u64 = 64;

/// [S2 S144]
#[test]
fn s102_a_ring_never_refuses_and_drops_the_oldest() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let _lagging = subscribe(&channel, Some("lagging"), 0);
    for n in 0..1000u64 {
        p.send(&n.to_le_bytes(), 0).unwrap();
        assert!((1..=FULL).contains(&info(&channel).messages));
    }
    let kept = info(&channel).messages;
    assert!(kept >= FULL - 16);
    let mut c = subscribe(&channel, Some("new"), 0);
    assert_eq!(group_info(&channel, "new").lag, kept);
    take_numbers(&mut c, 1000 - kept..1000);
    take_nothing(&mut c);
    assert_eq!(group_info(&channel, "new").lost, 0);
}

#[test]
fn s103_live_keeps_what_a_live_group_has_not_acknowledged() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_LIVE));
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let sent = send_until_full(&mut p, 0);
    assert!((FULL - 16..=FULL).contains(&sent));
    take_firsts(&mut c, 0..sent);
    // Received, but not acknowledged.
    assert_eq!(code(p.send(b"x", 50)), DC_AGAIN);
    c.ack(ALL).unwrap();
    let more = send_until_full(&mut p, sent);
    assert!(more > sent);
    take_firsts(&mut c, sent..more);
    take_nothing(&mut c);
    assert_eq!(consumer_info(&c).lost, 0);
}

/// A group without a live consumer holds nothing back, nor does a channel without groups.
#[test]
fn s103_live_drops_what_only_absent_groups_want() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_LIVE));
    let mut p = channel.producer().unwrap();
    (0..300u64).for_each(|n| p.send(&n.to_le_bytes(), 0).unwrap());
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let first = take_number(&mut c);
    let full = send_until_full(&mut p, 300);
    assert!(first >= 300 - FULL && full - first <= FULL);
    drop(c);
    let end = full + 200;
    send_numbers(&mut p, full..end);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    assert_eq!(receive(&mut c, &mut Message::default(), 0), DC_LAGGED);
    let kept = info(&channel).messages;
    take_numbers(&mut c, end - kept..end);
    take_nothing(&mut c);
    assert_eq!(group_info(&channel, "g").lost, end - kept - first);
}

/// [S63]
#[test]
fn s104_unread_keeps_all_even_with_no_group() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let sent = send_until_full(&mut p, 0);
    assert!((FULL - 16..=FULL).contains(&sent));
    assert_eq!(code(p.send(b"x", 50)), DC_AGAIN);
    assert_eq!(info(&channel).messages, sent);
    // Observers hold nothing, and free nothing.
    let mut observer = subscribe(&channel, None, 0);
    take_numbers(&mut observer, 0..sent);
    take_nothing(&mut observer);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_numbers(&mut c, 0..sent);
    take_nothing(&mut c);
    send(&mut p, sent);
    take_first(&mut c, sent);
}

/// The slowest group decides, whether its consumers live or not; deleting it lets go.
#[test]
fn s104_unread_waits_for_the_slowest_group() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let mut fast = subscribe(&channel, Some("fast"), ACK_NEXT);
    drop(subscribe(&channel, Some("slow"), ACK_MANUAL));
    let sent = send_until_full(&mut p, 0);
    take_numbers(&mut fast, 0..sent);
    take_nothing(&mut fast);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    let mut slow = subscribe(&channel, Some("slow"), ACK_MANUAL);
    take_numbers(&mut slow, 0..sent);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    slow.ack(ALL).unwrap();
    let more = send_until_full(&mut p, sent);
    assert!(more > sent);
    take_numbers(&mut fast, sent..more);
    take_nothing(&mut fast);
    drop(slow);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    channel.group_delete(b"slow").unwrap();
    send(&mut p, more);
    take_first(&mut fast, more);
}

/// Acknowledging one page makes room for one page, not less.
#[test]
fn s104_room_comes_with_each_page_acknowledged() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let (mut sent, mut taken) = (send_until_full(&mut p, 0), 0);
    for _ in 0..50 {
        take_firsts(&mut c, taken..taken + 16);
        let at = take_first(&mut c, taken + 16).position;
        c.ack(at).unwrap();
        taken += 17;
        let now = send_until_full(&mut p, sent);
        assert!((FULL - 32..=FULL).contains(&(now - taken)));
        sent = now;
    }
}

#[test]
fn s104_a_waiting_send_goes_on_after_each_acknowledgement() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    std::thread::scope(|s| {
        s.spawn(|| (0..20_000u64).for_each(|n| p.send(&n.to_le_bytes(), -1).unwrap()));
        take_firsts(&mut c, 0..20_000);
    });
    take_nothing(&mut c);
}

#[test]
fn s104_a_lossless_channel_moves_many_pages() {
    let t = Temp::new();
    let channel =
        open(t.chan(), &Options { page_size: 64 << 10, max_pages: 4, ..Default::default() });
    drop(channel);
    Channel::destroy(&t.chan()).unwrap();
    let o = Options {
        page_size: 64 << 10,
        max_pages: 4,
        retention: RETAIN_UNREAD,
        ..Default::default()
    };
    let channel = open(t.chan(), &o);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut p = channel.producer().unwrap();
    let (mut sent, mut got) = (0u64, 0u64);
    while got < 100_000 {
        sent = send_until_full(&mut p, sent);
        let mut m = Message::default();
        while receive(&mut c, &mut m, 0) == DC_OK {
            assert_eq!(number(&m), got);
            got += 1;
        }
    }
}

/// A group that joins while the ring turns is not given a page that is gone, nor robbed of its first.
#[test]
fn s104_a_group_made_anew_holds_back_like_any_other() {
    let t = Temp::new();
    let here = open(t.chan(), &retain(RETAIN_UNREAD));
    let there = open(t.chan(), &Options::default());
    let mut p = here.producer().unwrap();
    let mut c = subscribe(&here, Some("g"), ACK_RECEIVE);
    let mut late = subscribe(&there, Some("late"), ACK_RECEIVE);
    for n in 0..200 {
        send(&mut p, n);
        assert_eq!((take_number(&mut c), take_number(&mut late)), (n, n));
    }
    // The producer's open knows the group of this name that was.
    drop(late);
    there.group_delete(b"late").unwrap();
    let mut late = subscribe_at(&there, Some("late"), LATEST);
    for n in 200..300u64 {
        match p.send(&n.to_le_bytes(), 0) {
            Ok(()) => assert_eq!(take_number(&mut c), n),
            Err(e) => {
                assert_eq!(e.code(), DC_AGAIN);
                take_numbers(&mut late, 200..n);
                return;
            }
        }
    }
    panic!("pages were dropped that a group has not read");
}

#[test]
fn s104_groups_that_come_and_go_while_pages_turn() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_messages_per_page: 4, ..retain(RETAIN_UNREAD) });
    let mut c = subscribe(&channel, Some("steady"), ACK_NEXT);
    let mut p = channel.producer().unwrap();
    std::thread::scope(|s| {
        s.spawn(move || (0..6000u64).for_each(|n| p.send(&n.to_le_bytes(), -1).unwrap()));
        s.spawn(|| {
            for i in 0..60 {
                let name = format!("passing {i}");
                let mut c = subscribe(&channel, Some(&name), ACK_NEXT);
                let mut m = Message::default();
                let mut next = None;
                for _ in 0..20 {
                    match receive(&mut c, &mut m, 5) {
                        DC_OK => {
                            assert!(
                                next.is_none_or(|n| n == number(&m)),
                                "{next:?} {}",
                                number(&m)
                            );
                            next = Some(number(&m) + 1);
                        }
                        code => assert_eq!(code, DC_AGAIN),
                    }
                }
                assert_eq!(group_info(&channel, &name).lost, 0);
                drop(c);
                channel.group_delete(name.as_bytes()).unwrap();
            }
        });
        take_numbers(&mut c, 0..6000);
    });
}

#[test]
fn s099_unlimited_keeps_everything() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_pages: UNLIMITED, ..small() });
    send_numbers(&mut channel.producer().unwrap(), 0..3000);
    assert_eq!(info(&channel).messages, 3000);
    take_numbers(&mut subscribe(&channel, Some("g"), ACK_NEXT), 0..3000);
}

/// [S134] A page here takes 1 MiB and its table; all else is small beside eight of them.
#[test]
fn s121_disk_is_bounded() {
    const PAGE: u64 = 1 << 20;
    const MOST: u64 = (4 + 2 + 3) * (PAGE + 65_536) + (2 << 20);
    let t = Temp::new();
    let channel = open(t.chan(), &Options { page_size: PAGE, ..small() });
    let mut p = channel.producer().unwrap();
    let content = vec![7; 60_000];
    let mut pinned = Vec::new();
    for _ in 0..3 {
        (0..100).for_each(|_| p.send(&content, 0).unwrap());
        pinned.push(subscribe_paged(&channel, None));
        take(pinned.last_mut().unwrap());
    }
    for n in 0..600 {
        p.send(&content, 0).unwrap();
        if n % 50 == 0 {
            let disk = disk_of(t.chan());
            assert!(disk < MOST, "{disk}");
        }
    }
    assert!(info(&channel).disk_bytes < MOST);
}

/// [S6 S105] What was kept is there after everybody closed, with the same positions; new ones are higher.
#[test]
fn s105_what_was_sent_survives_closing() {
    let t = Temp::new();
    let mut at: Vec<u64> = Vec::new();
    for round in 0..3 {
        let channel = open(t.chan(), &small());
        assert_eq!(info(&channel).messages, 15 * round);
        let mut p = channel.producer().unwrap();
        for n in 15 * round..15 * (round + 1) {
            send(&mut p, n);
            assert!(at.last().is_none_or(|&last| p.sent_position() > last));
            at.push(p.sent_position());
        }
        let mut c = subscribe(&channel, None, 0);
        for (n, at) in (0..).zip(&at) {
            assert_eq!(take_first(&mut c, n).position, *at);
        }
        take_nothing(&mut c);
    }
}
