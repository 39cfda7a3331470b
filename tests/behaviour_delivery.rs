//! Delivery: exactly one consumer a group, acknowledging in three ways, and giving back.

mod common;
use common::*;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// [S76 S4 S48]
#[test]
fn s004_one_consumer_of_every_group() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_pages: 16, ..small() });
    let mut p = channel.producer().unwrap();
    let mut one = vec![subscribe(&channel, Some("one"), 0), subscribe(&channel, Some("one"), 0)];
    one.push(one[0].try_clone().unwrap());
    let mut two = vec![subscribe(&channel, Some("two"), ACK_MANUAL)];
    two.push(two[0].try_clone().unwrap());
    let mut observers = vec![subscribe(&channel, None, 0)];
    observers.push(observers[0].try_clone().unwrap());
    send_numbers(&mut p, 0..200);
    for group in [&mut one, &mut two] {
        let mut seen = [0; 200];
        let mut m = Message::default();
        for i in 0..100_000 {
            let many = group.len();
            if receive(&mut group[i % many], &mut m, 0) == DC_OK {
                seen[number(&m) as usize] += 1;
            }
            if seen.iter().sum::<u32>() == 200 {
                break;
            }
        }
        assert_eq!(seen, [1; 200]);
        group.iter_mut().for_each(take_nothing);
    }
    for o in &mut observers {
        take_numbers(o, 0..200);
        take_nothing(o);
    }
}

/// [S3 S76]
#[test]
fn s077_each_producers_messages_come_in_order() {
    const EACH: u64 = 20_000;
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_messages_per_page: 1000, ..retain(RETAIN_UNREAD) });
    let left = AtomicU64::new(4 * EACH);
    let consumers: Vec<_> = (0..4).map(|_| subscribe(&channel, Some("g"), ACK_NEXT)).collect();
    std::thread::scope(|s| {
        for id in 0..4 {
            let mut p = channel.producer().unwrap();
            s.spawn(move || {
                for n in 0..EACH {
                    p.send(&load(id, n, 16 + n as usize % 150), -1).unwrap();
                }
            });
        }
        for mut c in consumers {
            let left = &left;
            s.spawn(move || {
                let (mut next, mut m) = ([0; 4], Message::default());
                while left.load(SeqCst) > 0 {
                    match receive(&mut c, &mut m, 10) {
                        DC_AGAIN => continue,
                        code => assert_eq!((code, m.flags), (DC_OK, 0)),
                    }
                    let (id, n) = check_load(bytes(&m));
                    assert!(n >= next[id as usize]);
                    next[id as usize] = n + 1;
                    left.fetch_sub(1, SeqCst);
                }
                take_nothing(&mut c);
            });
        }
    });
    let g = group_info(&channel, "g");
    assert_eq!((g.lag, g.unacked, g.lost, g.redelivered), (0, 0, 0, 0));
}

#[test]
fn s078_the_next_receiving_call_acknowledges() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..10);
    let mut c = subscribe(&channel, Some("g"), 0);
    take_first(&mut c, 0);
    assert_eq!(consumer_info(&c).unacked, 1);
    take_first(&mut c, 1);
    assert_eq!(consumer_info(&c).unacked, 1);
    drop(c);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_again(&mut c, 1, 2);
    let mut out = [MaybeUninit::<Message>::uninit(); 20];
    let (mut received, mut total) = (0, 0);
    while total < 8 {
        c.recv_batch(&mut out, 0, &mut received).unwrap();
        for m in &out[..received] {
            // SAFETY: the first `received` were written.
            let m = unsafe { m.assume_init() };
            assert_eq!((m.flags, number(&m)), (0, 2 + total));
            total += 1;
        }
        assert_eq!(consumer_info(&c).unacked, received as u64);
    }
    // A receiving call that finds nothing acknowledges, too.
    take_nothing(&mut c);
    assert_eq!(group_info(&channel, "g").unacked, 0);
    drop(c);
    take_nothing(&mut subscribe(&channel, Some("g"), 0));
}

/// [S58]
#[test]
fn s079_manual_acknowledging() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..20);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let at: Vec<_> = (0..10).map(|n| take_first(&mut c, n).position).collect();
    assert_eq!(consumer_info(&c).unacked, 10);
    assert_eq!(group_info(&channel, "g").unacked, 10);
    for (position, left) in [(at[4], 5), (at[4], 5), (at[0], 5)] {
        c.ack(position).unwrap();
        assert_eq!(consumer_info(&c).unacked, left);
        assert_eq!(group_info(&channel, "g").unacked, left);
    }
    assert_eq!(code(c.ack(0)), DC_E_ARGUMENT);
    drop(c);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    for n in 5..10 {
        assert_eq!(take_again(&mut c, n, 2).position, at[n as usize]);
    }
    let last = (10..20).map(|n| take_first(&mut c, n).position).last().unwrap();
    take_nothing(&mut c);
    assert_eq!(group_info(&channel, "g").unacked, 15);
    c.ack(last).unwrap();
    assert_eq!(group_info(&channel, "g").unacked, 0);
    drop(c);
    take_nothing(&mut subscribe(&channel, Some("g"), ACK_MANUAL));
}

/// [S149] Two consumers take turns: each holds every other message, acknowledged in the wrong order.
#[test]
fn s058_acknowledging_touches_only_ones_own() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..20);
    let mut a = subscribe_plain(&channel, "g", ACK_MANUAL);
    let mut b = subscribe_plain(&channel, "g", ACK_MANUAL);
    let mut at = Vec::new();
    for n in 0..20 {
        at.push(take_first(if n % 2 == 0 { &mut a } else { &mut b }, n).position);
    }
    assert_eq!(group_info(&channel, "g").unacked, 20);
    b.ack(at[19]).unwrap();
    assert_eq!(group_info(&channel, "g").unacked, 10);
    a.ack(at[9]).unwrap();
    assert_eq!(consumer_info(&a).unacked, 5);
    drop(a);
    for n in (10..20).step_by(2) {
        take_again(&mut b, n, 2);
    }
    take_nothing(&mut b);
    b.ack(ALL).unwrap();
    assert_eq!(group_info(&channel, "g").unacked, 0);
}

#[test]
fn s080_acknowledged_on_receipt() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..10);
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    take_first(&mut c, 0);
    take_first(&mut c, 1);
    assert_eq!(consumer_info(&c).unacked, 0);
    assert_eq!(group_info(&channel, "g").unacked, 0);
    c.nack().unwrap();
    drop(c);
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    take_firsts(&mut c, 2..10);
    take_nothing(&mut c);
}

/// [S82]
#[test]
fn s059_nack_gives_all_back_in_order_before_new_ones() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..40);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    c.nack().unwrap();
    // Over a page's end.
    let at: Vec<_> = (0..20).map(|n| take_first(&mut c, n).position).collect();
    c.ack(at[1]).unwrap();
    for deliveries in 2..4 {
        c.nack().unwrap();
        assert_eq!(consumer_info(&c).unacked, 0);
        for n in 2..20 {
            assert_eq!(take_again(&mut c, n, deliveries).position, at[n as usize]);
        }
    }
    take_firsts(&mut c, 20..40);
    c.ack(ALL).unwrap();
    take_nothing(&mut c);
    assert_eq!(consumer_info(&c).redelivered, 36);
    assert_eq!(group_info(&channel, "g").redelivered, 36);
    let mut next = subscribe(&channel, Some("h"), ACK_NEXT);
    take_first(&mut next, 0);
    next.nack().unwrap();
    take_again(&mut next, 0, 2);
    take_first(&mut next, 1);
}

/// A poison message: nobody can do it, and its count tells so.
#[test]
fn s082_deliveries_count_up() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 7..9);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_first(&mut c, 7);
    for deliveries in 2..200 {
        if deliveries % 3 == 0 {
            drop(c);
            c = subscribe(&channel, Some("g"), ACK_MANUAL);
        } else {
            c.nack().unwrap();
        }
        take_again(&mut c, 7, deliveries);
    }
    take_first(&mut c, 8);
}

/// [S21] A waiting consumer gets what another one's close gives back.
#[test]
fn s057_close_returns_what_it_held_at_once() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut a = subscribe_plain(&channel, "g", ACK_MANUAL);
    let mut b = subscribe_plain(&channel, "g", ACK_MANUAL);
    send(&mut channel.producer().unwrap(), 0);
    take_first(&mut a, 0);
    std::thread::scope(|s| {
        s.spawn(|| take_again(&mut b, 0, 2).len);
        sleep_ms(100);
        drop(a);
    });
    assert_eq!(group_info(&channel, "g").consumers, 1);
}

#[test]
fn s083_prefetched_by_a_closed_one() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..40);
    let o = SubscribeOptions { prefetch: 32, flags: AUTO_NEXT_PAGE, ..Default::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    take_firsts(&mut c, 0..3);
    drop(c);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    take_again(&mut c, 2, 2);
    take_firsts(&mut c, 3..40);
    take_nothing(&mut c);
}

/// What a closed consumer was not handed of its claim is delivered before newer messages.
#[test]
fn s083_the_rest_of_a_claim_keeps_its_order() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..10);
    for first in 0..9 {
        // Alone in the group, it claims ahead.
        let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
        take_first(&mut c, first);
    }
    send_numbers(&mut p, 10..20);
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    take_firsts(&mut c, 9..20);
}

/// [S20]
#[test]
fn s113_max_unacked_is_a_limit() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..12);
    let o = SubscribeOptions { ack: ACK_MANUAL, max_unacked: 4, ..Default::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    let mut m = Message::default();
    let first = take_first(&mut c, 0).position;
    take_firsts(&mut c, 1..4);
    fails(c.recv(&mut m, 0), DC_E_LIMIT, "4");
    fails(c.recv(&mut m, -1), DC_E_LIMIT, "max_unacked");
    let mut received = 77;
    let mut out = [MaybeUninit::uninit(); 10];
    assert_eq!(said(c.recv_batch(&mut out, 0, &mut received)), DC_E_LIMIT);
    assert_eq!(received, 0);
    c.ack(first).unwrap();
    take_first(&mut c, 4);
    assert_eq!(recv(&mut c, &mut m, 0), DC_E_LIMIT);
    c.nack().unwrap();
    take_agains(&mut c, 1..5, 2);
    assert_eq!(recv(&mut c, &mut m, 0), DC_E_LIMIT);
    c.ack(ALL).unwrap();
    let mut total = 0;
    while total < 4 {
        c.recv_batch(&mut out, 0, &mut received).unwrap();
        total += received;
    }
    assert_eq!(total, 4);
    assert_eq!(said(c.recv_batch(&mut out, 0, &mut received)), DC_E_LIMIT);
}

#[test]
fn s113_the_default_holds_1024() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { page_size: 64 << 10, ..Options::default() });
    send_numbers(&mut channel.producer().unwrap(), 0..1100);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_numbers(&mut c, 0..1024);
    assert_eq!(recv(&mut c, &mut Message::default(), 0), DC_E_LIMIT);
    c.ack(ALL).unwrap();
    take_numbers(&mut c, 1024..1100);
}

/// What was given back by its sender, or taken for dead, is no message, and nobody holds it.
#[test]
fn s113_what_is_no_message_takes_no_room() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    for n in 0..4 {
        send(&mut p, n);
        p.reserve(8, 0).unwrap();
        p.abort().unwrap();
    }
    let o = SubscribeOptions { ack: ACK_MANUAL, max_unacked: 3, prefetch: 8, ..Default::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    let first = take_first(&mut c, 0).position;
    take_firsts(&mut c, 1..3);
    let mut m = Message::default();
    fails(c.recv(&mut m, 0), DC_E_LIMIT, "3 messages");
    assert_eq!(consumer_info(&c).unacked, 3);
    c.ack(first).unwrap();
    take_first(&mut c, 3);
    fails(c.recv(&mut m, 0), DC_E_LIMIT, "3 messages");
    c.ack(ALL).unwrap();
    take_nothing(&mut c);
}

/// [S24]
#[test]
fn s005_observers_have_nothing_to_acknowledge() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send(&mut channel.producer().unwrap(), 0);
    let mut c = subscribe(&channel, None, ACK_MANUAL);
    let at = take_first(&mut c, 0).position;
    assert_eq!(code(c.ack(at)), DC_E_STATE);
    assert_eq!(code(c.nack()), DC_E_STATE);
    assert_eq!(consumer_info(&c).unacked, 0);
    take_nothing(&mut c);
}
