//! Turning pages as often as can be: 1, 2 and 3 messages a page, under many threads.

mod common;
use common::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Every message exactly once, each producer's in order.
fn turn(messages: u32, pages: u64, producers: u32, consumers: usize, each: u64, o: &Options) {
    let t = Temp::new();
    let o = Options { max_messages_per_page: messages, max_pages: pages, ..*o };
    let channel = open(t.chan(), &o);
    let received = AtomicU64::new(0);
    let total = u64::from(producers) * each;
    let join = || subscribe(&channel, Some("g"), ACK_NEXT);
    let consumers: Vec<_> = (0..consumers).map(|_| join()).collect();
    let seen: Vec<_> = (0..total).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|s| {
        for id in 0..producers {
            let mut p = channel.producer().unwrap();
            s.spawn(move || {
                for n in 0..each {
                    p.send(&load(id, n, 16 + (n % 5) as usize), -1).unwrap();
                }
            });
        }
        for mut c in consumers {
            let (received, seen) = (&received, &seen);
            s.spawn(move || {
                let mut next = vec![0; producers as usize];
                let (mut m, mut since) = (Message::default(), Instant::now());
                while received.load(SeqCst) < total {
                    match receive(&mut c, &mut m, 20) {
                        DC_AGAIN => {
                            assert!(since.elapsed() < Duration::from_secs(30), "nothing comes");
                            continue;
                        }
                        code => assert_eq!((code, m.flags, m.deliveries), (DC_OK, 0, 1)),
                    }
                    since = Instant::now();
                    let (id, n) = check_load(bytes(&m));
                    assert!(n >= next[id as usize], "out of order");
                    next[id as usize] = n + 1;
                    seen[(u64::from(id) * each + n) as usize].fetch_add(1, SeqCst);
                    received.fetch_add(1, SeqCst);
                }
                take_nothing(&mut c);
            });
        }
    });
    assert!(seen.iter().all(|n| n.load(SeqCst) == 1));
    let g = group_info(&channel, "g");
    assert_eq!((g.lag, g.unacked, g.lost, g.redelivered), (0, 0, 0, 0));
    assert_eq!(info(&channel).abandoned, 0);
    drop(channel);
    assert_eq!(verify(t.chan()).corrupt, 0);
}

#[test]
fn s076_three_messages_a_page() {
    turn(3, 4, 4, 4, 20_000, &retain(RETAIN_UNREAD));
}

#[test]
fn s076_one_message_a_page() {
    turn(1, 2, 3, 3, 2_000, &retain(RETAIN_UNREAD));
}

#[test]
fn s076_two_messages_a_page() {
    turn(2, 3, 2, 5, 5_000, &retain(RETAIN_UNREAD));
}

/// [S103] With a live group, the live retention loses nothing either.
#[test]
fn s103_three_messages_a_page() {
    turn(3, 4, 3, 3, 5_000, &retain(RETAIN_LIVE));
}

/// [S90]
#[test]
fn s090_three_messages_a_page_without_a_thread() {
    turn(3, 4, 3, 3, 5_000, &Options { flags: NO_THREAD, ..retain(RETAIN_UNREAD) });
}

/// [S5 S13] Observers and a ring that overtakes them: order is kept, and every loss is counted.
#[test]
fn s013_a_ring_of_tiny_pages_counts_every_loss() {
    const TOTAL: u64 = 20_000;
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_messages_per_page: 3, ..small() });
    let mut p = channel.producer().unwrap();
    let readers = [Some("one"), Some("two"), None, None];
    let readers: Vec<_> = readers.into_iter().map(|g| subscribe(&channel, g, ACK_NEXT)).collect();
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..TOTAL {
                send(&mut p, n);
                if n % 2000 == 0 {
                    sleep_ms(5);
                }
            }
        });
        for mut c in readers {
            s.spawn(move || {
                let (mut m, mut next, mut got) = (Message::default(), 0, 0);
                while next < TOTAL {
                    match recv(&mut c, &mut m, LONG) {
                        DC_LAGGED => continue,
                        code => assert_eq!(code, DC_OK),
                    }
                    assert!(number(&m) >= next);
                    next = number(&m) + 1;
                    got += 1;
                }
                take_nothing(&mut c);
                assert_eq!(got + consumer_info(&c).lost, TOTAL);
            });
        }
    });
}

/// [S59 S82] Consumers that give back, close and come again: nothing is lost, repeats say so.
#[test]
fn s059_giving_back_amid_traffic() {
    const TOTAL: u64 = 10_000;
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_messages_per_page: 5, ..retain(RETAIN_UNREAD) });
    drop(subscribe(&channel, Some("g"), 0));
    let mut p = channel.producer().unwrap();
    let acked: Vec<_> = (0..TOTAL).map(|_| AtomicU64::new(0)).collect();
    let fresh: Vec<_> = (0..TOTAL).map(|_| AtomicU64::new(0)).collect();
    let left = AtomicU64::new(TOTAL);
    std::thread::scope(|s| {
        s.spawn(|| (0..TOTAL).for_each(|n| p.send(&n.to_le_bytes(), -1).unwrap()));
        for id in 0..3 {
            let (channel, acked, fresh, left) = (&channel, &acked, &fresh, &left);
            s.spawn(move || {
                let mut seed = id + 1;
                let mut c = subscribe(channel, Some("g"), ACK_MANUAL);
                let (mut m, mut since) = (Message::default(), Instant::now());
                while left.load(SeqCst) > 0 {
                    if receive(&mut c, &mut m, 20) != DC_OK {
                        assert!(since.elapsed() < Duration::from_secs(30), "nothing comes");
                        continue;
                    }
                    since = Instant::now();
                    let n = number(&m) as usize;
                    assert_eq!(m.flags & MESSAGE_REDELIVERED != 0, m.deliveries > 1);
                    fresh[n].fetch_add(u64::from(m.flags == 0), SeqCst);
                    match random(&mut seed) % 40 {
                        0 => c.nack().unwrap(),
                        1 => {
                            drop(c);
                            c = subscribe(channel, Some("g"), ACK_MANUAL);
                        }
                        _ => {
                            c.ack(m.position).unwrap();
                            acked[n].fetch_add(1, SeqCst);
                            left.fetch_sub(1, SeqCst);
                        }
                    }
                }
            });
        }
    });
    assert!(acked.iter().all(|n| n.load(SeqCst) == 1), "acknowledged twice, or never");
    assert!(fresh.iter().all(|n| n.load(SeqCst) <= 1), "unflagged twice");
    let g = group_info(&channel, "g");
    assert_eq!((g.lag, g.unacked, g.lost), (0, 0, 0));
}
