//! Sending: one message, gathered, in batches, in place; all or nothing each time.

mod common;
use common::*;
use std::io::IoSlice;

fn lossless(t: &Temp, max_pages: u64, messages: u32, stall_timeout_ms: u32) -> Channel {
    let o = Options { max_pages, max_messages_per_page: messages, ..retain(RETAIN_UNREAD) };
    open(t.chan(), &Options { stall_timeout_ms, ..o })
}

/// Writes into a reservation.
fn reserve(p: &mut Producer, content: &[u8]) -> Result<()> {
    let data = p.reserve(content.len(), 0)?;
    assert!(!data.is_null() && data as usize % 8 == 0);
    // SAFETY: so many bytes are reserved, and nobody else writes there.
    unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), data, content.len()) };
    Ok(())
}

#[test]
fn s049_lengths_from_empty_to_the_largest() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let max = info(&channel).max_message as usize;
    assert!(max >= 32 << 10);
    let lengths = [0, 1, 2, 7, 8, 9, 100, 4095, 4096, max - 1, max, max, 0, max];
    for (i, len) in lengths.into_iter().enumerate() {
        let content = vec![i as u8 + 1; len];
        p.send(&content, 0).unwrap();
        assert!(bytes(&take(&mut c)) == content);
    }
    take_nothing(&mut c);
}

/// [S137]
#[test]
fn s016_too_big_leaves_the_channel_untouched() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    send_numbers(&mut p, 0..3);
    let before = info(&channel);
    let max = before.max_message as usize;
    let big = vec![0; max * 2];
    for len in [max + 1, max * 2] {
        assert_eq!(code(p.send(&big[..len], -1)), DC_E_TOO_BIG);
        assert_eq!(code(p.send_vectored(&[IoSlice::new(&big[..len])], -1)), DC_E_TOO_BIG);
    }
    for len in [max + 1, 1 << 32, (1 << 32) + 8, usize::MAX / 2, usize::MAX - 7, usize::MAX] {
        assert_eq!(code(p.reserve(len, -1)), DC_E_TOO_BIG);
    }
    let halves = [IoSlice::new(&big[..max]), IoSlice::new(&big[..1])];
    assert_eq!(code(p.send_vectored(&halves, -1)), DC_E_TOO_BIG);
    assert_eq!(info(&channel), before);
    take_numbers(&mut c, 0..3);
    send(&mut p, 3);
    take_numbers(&mut c, 3..4);
}

#[test]
fn s015_timeouts_below_minus_one() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let part = [IoSlice::new(b"x")];
    let (mut n, mut m) = (0, Message::default());
    assert_eq!(code(p.send(b"x", -2)), DC_E_ARGUMENT);
    assert_eq!(code(p.send_vectored(&part, i32::MIN)), DC_E_ARGUMENT);
    assert_eq!(code(p.send_batch(&part, -2, &mut n)), DC_E_ARGUMENT);
    assert_eq!(code(p.reserve(1, -2)), DC_E_ARGUMENT);
    assert_eq!(code(p.sync(-2)), DC_E_ARGUMENT);
    assert_eq!(recv(&mut c, &mut m, -2), DC_E_ARGUMENT);
    assert_eq!(code(channel.sync(-2)), DC_E_ARGUMENT);
    assert_eq!(code(channel.maintain(-2)), DC_E_ARGUMENT);
    assert_eq!(info(&channel).messages, 0);
}

#[test]
fn s050_parts_become_one_message() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let parts = [&b"one"[..], b"", b"-", b"two"].map(IoSlice::new);
    p.send_vectored(&parts, 0).unwrap();
    assert_eq!(bytes(&take(&mut c)), b"one-two");
    // More than IOV_MAX: nothing here is the kernel's business.
    let content: Vec<u8> = (0..3000).map(|i| (i * 7) as u8).collect();
    let many: Vec<_> = content.chunks(1).map(IoSlice::new).collect();
    p.send_vectored(&many, 0).unwrap();
    assert_eq!(bytes(&take(&mut c)), content);
    p.send_vectored(&[], 0).unwrap();
    assert_eq!(bytes(&take(&mut c)), b"");
    take_nothing(&mut c);
}

/// [S51 S63]
#[test]
fn s065_a_batch_sends_a_prefix() {
    let t = Temp::new();
    let channel = lossless(&t, 2, 16, 0);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let numbers: Vec<_> = (0..100u64).map(u64::to_le_bytes).collect();
    let messages: Vec<_> = numbers.iter().map(|n| IoSlice::new(n)).collect();
    let (mut sent, mut taken) = (77, 0);
    p.send_batch(&[], 0, &mut sent).unwrap();
    assert_eq!(sent, 0);
    p.send_batch(&messages[..5], 0, &mut sent).unwrap();
    assert_eq!(sent, 5);
    let mut total = sent;
    loop {
        sent = 77;
        let result = p.send_batch(&messages[total..], 0, &mut sent);
        total += sent;
        assert!(sent <= 32 && info(&channel).messages <= 32);
        if total == 100 {
            result.unwrap();
            break;
        }
        assert_eq!(code(result), DC_AGAIN);
        assert_eq!(code(p.send_batch(&messages[total..][..1], 0, &mut sent)), DC_AGAIN);
        assert_eq!(sent, 0);
        take_numbers(&mut c, taken..total as u64);
        taken = total as u64;
        take_nothing(&mut c);
    }
    take_numbers(&mut c, taken..100);
}

/// [S16] The messages before the one that cannot be are sent, or none is; `sent` says which.
#[test]
fn s065_a_batch_with_one_too_big() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let big = vec![0; info(&channel).max_message as usize + 1];
    let messages = [&big[..1], &big[..2], &big, &big[..4]].map(IoSlice::new);
    let mut sent = 77;
    assert_eq!(code(p.send_batch(&messages, -1, &mut sent)), DC_E_TOO_BIG);
    assert!(sent <= 2);
    for len in 1..=sent {
        assert_eq!(take(&mut c).len, len);
    }
    take_nothing(&mut c);
    assert_eq!(info(&channel).messages, sent as u64);
}

#[test]
fn s065_batches_of_every_size_arrive_in_order() {
    let t = Temp::new();
    let channel = lossless(&t, 4, 64, 0);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut next = 0;
    for count in 1..=300u64 {
        let numbers: Vec<_> = (next..next + count).map(u64::to_le_bytes).collect();
        let messages: Vec<_> = numbers.iter().map(|n| IoSlice::new(n)).collect();
        let mut done = 0;
        while done < messages.len() {
            let mut sent = 0;
            let code = code(p.send_batch(&messages[done..], 0, &mut sent));
            assert_eq!(code, if done + sent == messages.len() { DC_OK } else { DC_AGAIN });
            take_numbers(&mut c, next + done as u64..next + (done + sent) as u64);
            take_nothing(&mut c);
            done += sent;
        }
        next += count;
    }
}

#[test]
fn s052_reserve_write_commit() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let max = info(&channel).max_message as usize;
    for (asked, kept) in [(100, 100), (100, 99), (100, 0), (0, 0), (max, max), (max, 5), (13, 13)] {
        let content = vec![b'a' + kept as u8 % 20; asked];
        reserve(&mut p, &content).unwrap();
        take_nothing(&mut c);
        p.commit(kept).unwrap();
        let m = take(&mut c);
        assert!(bytes(&m) == &content[..kept]);
        assert_eq!(m.position, p.sent_position());
    }
    take_nothing(&mut c);
}

#[test]
fn s053_an_aborted_reservation_leaves_nothing() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    send(&mut p, 0);
    let position = p.sent_position();
    p.reserve(64, 0).unwrap();
    p.abort().unwrap();
    assert_eq!(p.sent_position(), position);
    assert_eq!(code(p.abort()), DC_E_STATE);
    assert_eq!(code(p.commit(1)), DC_E_STATE);
    send(&mut p, 1);
    take_numbers(&mut c, 0..2);
    take_nothing(&mut c);
    let i = info(&channel);
    assert_eq!((i.messages, i.bytes, i.abandoned), (2, 16, 0));
    // Pages full of aborted reservations are gone past as well.
    for _ in 0..200 {
        p.reserve(64, 0).unwrap();
        p.abort().unwrap();
    }
    send(&mut p, 2);
    let mut m = Message::default();
    while receive(&mut c, &mut m, LONG) == DC_LAGGED {}
    assert_eq!(number(&m), 2);
    assert_eq!(group_info(&channel, "g").lost, 0);
}

/// [S24 S48]
#[test]
fn s068_a_reservation_excludes_other_sends_on_its_handle() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let part = [IoSlice::new(b"x")];
    let mut sent = 77;
    assert_eq!(code(p.commit(0)), DC_E_STATE);
    assert_eq!(code(p.abort()), DC_E_STATE);
    reserve(&mut p, &1u64.to_le_bytes()).unwrap();
    assert_eq!(code(p.send(b"x", 0)), DC_E_STATE);
    assert_eq!(code(p.send_vectored(&part, 0)), DC_E_STATE);
    assert_eq!(code(p.send_batch(&part, 0, &mut sent)), DC_E_STATE);
    assert_eq!(sent, 0);
    assert_eq!(code(p.reserve(8, 0)), DC_E_STATE);
    // Longer than reserved: the reservation stays.
    assert_eq!(code(p.commit(9)), DC_E_ARGUMENT);
    send(&mut p.try_clone().unwrap(), 2);
    p.commit(8).unwrap();
    take_numbers(&mut c, 1..3);
    take_nothing(&mut c);
}

#[test]
fn s066_a_reservation_delays_readers_behind_it() {
    let t = Temp::new();
    let channel = lossless(&t, 4, 16, 60_000);
    let (mut a, mut b) = (channel.producer().unwrap(), channel.producer().unwrap());
    let mut c = subscribe(&channel, Some("g"), 0);
    reserve(&mut a, &0u64.to_le_bytes()).unwrap();
    send(&mut b, 1);
    assert_eq!(recv(&mut c, &mut Message::default(), 300), DC_AGAIN);
    a.commit(8).unwrap();
    take_numbers(&mut c, 0..2);
}

/// [S73]
#[test]
fn s068_close_aborts_the_reservation() {
    let t = Temp::new();
    let channel = lossless(&t, 4, 16, 60_000);
    let (mut a, mut b) = (channel.producer().unwrap(), channel.producer().unwrap());
    let mut c = subscribe(&channel, Some("g"), 0);
    reserve(&mut a, &0u64.to_le_bytes()).unwrap();
    send(&mut b, 1);
    drop(a);
    take_numbers(&mut c, 1..2);
    take_nothing(&mut c);
}

/// [S130]
#[test]
fn s067_a_stalled_reservation_is_skipped_and_committed_elsewhere() {
    let t = Temp::new();
    let channel = lossless(&t, 4, 16, 100);
    let (mut a, mut b) = (channel.producer().unwrap(), channel.producer().unwrap());
    let mut c = subscribe(&channel, Some("g"), 0);
    reserve(&mut a, &2u64.to_le_bytes()).unwrap();
    send(&mut b, 1);
    let first = take_first(&mut c, 1).position;
    a.commit(8).unwrap();
    let m = take_first(&mut c, 2);
    assert!(m.position > first);
    assert_eq!(m.position, a.sent_position());
    take_nothing(&mut c);
    let i = info(&channel);
    assert_eq!((i.abandoned, i.messages), (1, 2));
}

#[test]
fn s067_commit_without_room_keeps_the_reservation() {
    let t = Temp::new();
    let channel = lossless(&t, 2, 4, 100);
    let (mut a, mut b) = (channel.producer().unwrap(), channel.producer().unwrap());
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    reserve(&mut a, &1000u64.to_le_bytes()).unwrap();
    let count = send_until_full(&mut b, 0);
    assert_eq!(take_number(&mut c), 0);
    assert_eq!(code(a.commit(8)), DC_AGAIN);
    assert_eq!(code(a.commit(8)), DC_AGAIN);
    assert_eq!(code(a.send(b"x", 0)), DC_E_STATE);
    take_numbers(&mut c, 1..count);
    c.ack(ALL).unwrap();
    a.commit(8).unwrap();
    take_first(&mut c, 1000);
    take_nothing(&mut c);
    assert_eq!(code(a.abort()), DC_E_STATE);
}

/// [S6 S48]
#[test]
fn s055_sent_position_is_that_of_the_last_message() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), 0);
    let mut before = 0;
    assert_eq!(p.sent_position(), 0);
    for n in 0..100 {
        send(&mut p, n);
        assert!(p.sent_position() > before);
        before = p.sent_position();
        assert_eq!(take_first(&mut c, n).position, before);
    }
    assert_eq!(code(p.reserve(1 << 40, 0)), DC_E_TOO_BIG);
    assert_eq!(p.sent_position(), before);
    let mut clone = p.try_clone().unwrap();
    assert_eq!(clone.sent_position(), 0);
    send(&mut clone, 100);
    assert!(clone.sent_position() > before);
    assert_eq!(p.sent_position(), before);
    let mut sent = 0;
    p.send_batch(&[IoSlice::new(b"x"); 3], 0, &mut sent).unwrap();
    let mut m = take(&mut c);
    for _ in 0..3 {
        m = take(&mut c);
    }
    assert_eq!(m.position, p.sent_position());
}

/// [S34 S63 S104]
#[test]
fn s062_the_timeout_bounds_the_wait_for_room() {
    let t = Temp::new();
    let channel = lossless(&t, 2, 8, 0);
    let mut p = channel.producer().unwrap();
    let sent = send_until_full(&mut p, 0);
    let start = std::time::Instant::now();
    assert_eq!(code(p.send(&sent.to_le_bytes(), 150)), DC_AGAIN);
    assert!(start.elapsed().as_millis() >= 140);
    assert_eq!(code(p.reserve(8, 0)), DC_AGAIN);
    assert_eq!(info(&channel).messages, sent);
    let mut c = subscribe(&channel, None, 0);
    take_numbers(&mut c, 0..sent);
    take_nothing(&mut c);
}

/// [S3]
#[test]
fn s034_a_waiting_send_goes_on_when_there_is_room() {
    let t = Temp::new();
    let channel = lossless(&t, 2, 8, 0);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let sent = send_until_full(&mut p, 0);
    std::thread::scope(|s| {
        s.spawn(|| (4711..4713u64).for_each(|n| p.send(&n.to_le_bytes(), -1).unwrap()));
        sleep_ms(100);
        assert_eq!(info(&channel).messages, sent);
        take_numbers(&mut c, 0..sent);
        take_numbers(&mut c, 4711..4713);
    });
}
