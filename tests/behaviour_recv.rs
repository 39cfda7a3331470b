//! Receiving: pages, batches, and pointers that stay good however far the ring moves on.

mod common;
use common::*;
use std::mem::MaybeUninit;

/// A batch call: what it said, and the messages.
fn batch(c: &mut Consumer, max: usize, timeout_ms: i32) -> (i32, Vec<Message>) {
    let mut out = vec![MaybeUninit::<Message>::uninit(); max];
    let mut received = 77;
    let code = said(c.recv_batch(&mut out, timeout_ms, &mut received));
    assert_eq!(code == DC_OK, received >= 1);
    // SAFETY: the first `received` were written.
    let taken = out[..received].iter().map(|m| unsafe { m.assume_init() });
    (code, taken.collect())
}

/// [S12]
#[test]
fn s070_every_length_is_aligned_and_not_null() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe_paged(&channel, Some("g"));
    for len in 0..200 {
        let content = vec![len as u8; len];
        p.send(&content, 0).unwrap();
        // `bytes` checks the pointer.
        assert_eq!(bytes(&take(&mut c)), content);
    }
}

#[test]
fn s012_the_end_of_a_page_is_told_until_next_page() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe_paged(&channel, Some("g"));
    let mut m = Message::default();
    send_numbers(&mut p, 0..40);
    for n in 0..40 {
        if n > 0 && n % 16 == 0 {
            assert_eq!(recv(&mut c, &mut m, 0), DC_END_OF_PAGE);
            assert_eq!(recv(&mut c, &mut m, -1), DC_END_OF_PAGE);
            c.next_page().unwrap();
        }
        assert_eq!(recv(&mut c, &mut m, 0), DC_OK);
        assert_eq!(number(&m), n);
    }
    assert_eq!(recv(&mut c, &mut m, 0), DC_AGAIN);
}

#[test]
fn s072_next_page_called_early_skips_nothing() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    for mut c in [subscribe_paged(&channel, Some("g")), subscribe_paged(&channel, None)] {
        let start = info(&channel).messages;
        c.next_page().unwrap();
        c.seek(LATEST).unwrap();
        send_numbers(&mut p, start..start + 30);
        for n in start..start + 30 {
            c.next_page().unwrap();
            c.next_page().unwrap();
            let mut m = Message::default();
            assert_eq!(receive(&mut c, &mut m, 0), DC_OK);
            assert_eq!(number(&m), n);
        }
        (0..10).for_each(|_| c.next_page().unwrap());
        take_nothing(&mut c);
    }
}

#[test]
fn s075_auto_next_page_moves_on_by_itself() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut m = Message::default();
    for n in 0..200 {
        send(&mut p, n);
        assert_eq!((recv(&mut c, &mut m, 0), number(&m)), (DC_OK, n));
    }
    send_numbers(&mut p, 200..250);
    for n in 200..250 {
        assert_eq!((recv(&mut c, &mut m, 0), number(&m)), (DC_OK, n));
    }
    assert_eq!(recv(&mut c, &mut m, 0), DC_AGAIN);
}

/// [S80] Whatever the ring did meanwhile, the last message received is there until the next call.
#[test]
fn s075_its_pointers_live_until_the_next_receiving_call() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    let mut m = Message::default();
    for round in 0..20 {
        (0..16).for_each(|n| p.send(&load(1, round * 300 + n, 2000), 0).unwrap());
        while recv(&mut c, &mut m, 0) == DC_LAGGED {}
        let kept = bytes(&m).to_vec();
        (16..300).for_each(|n| p.send(&load(1, round * 300 + n, 2000), 0).unwrap());
        assert!(bytes(&m) == kept);
        check_load(bytes(&m));
    }
}

fn batches(flags: u32) {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let o = SubscribeOptions { flags, ..Default::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    assert_eq!(code(c.recv_batch(&mut [], 0, &mut 0)), DC_E_ARGUMENT);
    assert_eq!(batch(&mut c, 100, 0).0, DC_AGAIN);
    send_numbers(&mut p, 0..50);
    let (mut next, mut ends) = (0, 0);
    while next < 50 {
        match batch(&mut c, 100, LONG) {
            (DC_END_OF_PAGE, _) => {
                assert_eq!(next % 16, 0);
                c.next_page().unwrap();
                ends += 1;
            }
            (code, messages) => {
                assert_eq!(code, DC_OK);
                assert!(messages.len() as u64 <= 16 - next % 16);
                for m in messages {
                    assert_eq!(number(&m), next);
                    next += 1;
                }
            }
        }
    }
    assert_eq!(ends, if flags == 0 { 3 } else { 0 });
    assert_eq!(batch(&mut c, 100, 0).0, DC_AGAIN);
    send_numbers(&mut p, 50..54);
    assert_eq!(number(&batch(&mut c, 1, 0).1[0]), 50);
    take_numbers(&mut c, 51..54);
}

/// [S74]
#[test]
fn s073_a_batch_never_crosses_a_page() {
    batches(0);
}

#[test]
fn s073_a_batch_under_auto_next_page() {
    batches(AUTO_NEXT_PAGE);
}

/// Every message of a batch stays as it is until the next call, in the middle of a page as well.
#[test]
fn s073_a_batch_of_an_observer() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, None, 0);
    (0..10).for_each(|n| p.send(&load(1, n, 900), 0).unwrap());
    let messages = batch(&mut c, 6, 0).1;
    assert_eq!(messages.len(), 6);
    (10..400).for_each(|n| p.send(&load(1, n, 900), 0).unwrap());
    for (n, m) in messages.iter().enumerate() {
        assert_eq!(check_load(bytes(m)), (1, n as u64));
    }
}

#[test]
fn s074_out_is_written_only_with_a_message() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe_paged(&channel, Some("g"));
    let fresh =
        || Message { len: 71, position: 72, flags: 73, deliveries: 74, ..Default::default() };
    let same = |m: &Message| {
        let fields = (m.data.is_null(), m.len, m.position, m.flags, m.deliveries);
        assert_eq!(fields, (true, 71, 72, 73, 74));
    };
    let mut m = fresh();
    assert_eq!(recv(&mut c, &mut m, 0), DC_AGAIN);
    assert_eq!(recv(&mut c, &mut m, 20), DC_AGAIN);
    c.interrupter().interrupt().unwrap();
    assert_eq!(recv(&mut c, &mut m, -1), -libc::ECANCELED);
    same(&m);
    // The ring drops most of them.
    send_numbers(&mut p, 0..200);
    let (mut lagged, mut ended) = (0, 0);
    loop {
        let mut m = fresh();
        let code = recv(&mut c, &mut m, 0);
        if code == DC_OK {
            continue;
        }
        same(&m);
        match code {
            DC_END_OF_PAGE => c.next_page().unwrap(),
            DC_LAGGED => lagged += 1,
            _ => break assert_eq!(code, DC_AGAIN),
        }
        ended += u32::from(code == DC_END_OF_PAGE);
    }
    assert!(lagged == 1 && ended >= 1);
}

/// Holds a page's messages while the ring wraps many times, then reads on: nothing changed under the
/// pointers, everything is either received or counted as lost, and the gap is told once.
fn slow_consumer(group: Option<&str>, ack: u32, flags: u32) {
    let t = Temp::new();
    let writer = open(t.chan(), &small());
    let channel = reopen(t.chan(), flags);
    let mut p = writer.producer().unwrap();
    let mut sent = 0;
    let mut send = |count| {
        for _ in 0..count {
            p.send(&load(1, sent, 3000), 0).unwrap();
            sent += 1;
        }
        sent
    };
    send(20);
    let o = SubscribeOptions { ack, ..Default::default() };
    let mut c = channel.subscribe(group.map(str::as_bytes), &o).unwrap();
    let kept: Vec<_> = (0..12).map(|_| take(&mut c)).collect();
    for _ in 0..40 {
        send(64);
        for (n, m) in kept.iter().enumerate() {
            assert_eq!(check_load(bytes(m)), (1, n as u64));
        }
    }
    let sent = send(0);
    let (mut received, mut expected, mut lagged) = (12, 12, 0);
    let mut m = Message::default();
    loop {
        match receive(&mut c, &mut m, 0) {
            DC_LAGGED => {
                lagged += 1;
                continue;
            }
            DC_AGAIN => break,
            code => assert_eq!(code, DC_OK),
        }
        let sequence = check_load(bytes(&m)).1;
        assert!(sequence >= expected);
        expected = sequence + 1;
        received += 1;
    }
    let lost = consumer_info(&c).lost;
    assert_eq!((expected, lagged, received + lost), (sent, 1, sent));
    assert!(lost > 0);
    if let Some(group) = group {
        assert_eq!(group_info(&channel, group).lost, lost);
    }
}

/// [S13 S144]
#[test]
fn s071_a_groups_slow_consumer() {
    slow_consumer(Some("g"), ACK_NEXT, 0);
}

#[test]
fn s071_a_slow_consumer_acknowledging_on_receipt() {
    slow_consumer(Some("g"), ACK_RECEIVE, 0);
}

#[test]
fn s071_a_slow_consumer_acknowledging_by_hand() {
    slow_consumer(Some("g"), ACK_MANUAL, 0);
}

/// [S5]
#[test]
fn s071_a_slow_observer() {
    slow_consumer(None, 0, 0);
}

/// [S122]
#[test]
fn s071_a_slow_read_only_observer() {
    slow_consumer(None, 0, READ_ONLY);
}

/// [S144] Several gaps, each told once, before the first message after it; every loss counted.
#[test]
fn s013_lagged_once_a_gap() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut all = [subscribe_paged(&channel, Some("g")), subscribe_paged(&channel, None)];
    let mut received = [0, 0];
    for round in 1..=5 {
        send_numbers(&mut p, (round - 1) * 500..round * 500);
        for (c, received) in all.iter_mut().zip(&mut received) {
            let mut m = Message::default();
            let (mut gaps, mut fresh) = (0, false);
            loop {
                match receive(c, &mut m, 0) {
                    DC_LAGGED => (gaps, fresh) = (gaps + 1, true),
                    DC_AGAIN => break,
                    code => {
                        assert_eq!(code, DC_OK);
                        *received += 1;
                        if std::mem::take(&mut fresh) {
                            assert_eq!(*received + consumer_info(c).lost, number(&m) + 1);
                        }
                    }
                }
            }
            assert_eq!(gaps, 1);
            assert_eq!(*received + consumer_info(c).lost, round * 500);
        }
    }
}

/// [S62] Receives that time out take nothing with them.
#[test]
fn s141_a_timed_out_receive_loses_no_message() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..30 {
                sleep_ms(3);
                send(&mut p, n);
            }
        });
        let (mut m, mut next) = (Message::default(), 0);
        while next < 30 {
            match receive(&mut c, &mut m, 1) {
                DC_OK => {
                    assert_eq!(number(&m), next);
                    next += 1;
                    c.interrupter().interrupt().unwrap();
                }
                code => assert!(code == DC_AGAIN || code == -libc::ECANCELED),
            }
        }
    });
}

#[test]
fn s034_a_waiting_receive_is_woken_by_a_send() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..3 {
                sleep_ms(100);
                send(&mut p, n);
            }
        });
        let mut m = Message::default();
        assert_eq!((recv(&mut c, &mut m, -1), number(&m)), (DC_OK, 0));
        assert_eq!((recv(&mut c, &mut m, LONG), number(&m)), (DC_OK, 1));
        assert_eq!(number(&batch(&mut c, 1, -1).1[0]), 2);
    });
}
