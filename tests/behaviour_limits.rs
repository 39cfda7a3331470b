//! Limits, the library thread's absence, observers that may only read, and memory.

mod common;
use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn s031_send_and_receive_never_allocate() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let mut o = subscribe(&channel, None, 0);
    let parts = [std::io::IoSlice::new(b"12345678"); 2];
    let mut out = [std::mem::MaybeUninit::uninit(); 2];
    let (mut m, mut n) = (Message::default(), 0);
    let mut round = || {
        p.send(b"12345678", 0).unwrap();
        p.send_vectored(&parts, 0).unwrap();
        p.send_batch(&parts, 0, &mut n).unwrap();
        p.reserve(8, 0).unwrap();
        p.commit(8).unwrap();
        assert_eq!(recv(&mut c, &mut m, 0), DC_OK);
        assert_eq!(recv(&mut c, &mut m, 0), DC_OK);
        c.nack().unwrap();
        c.recv_batch(&mut out, 0, &mut n).unwrap();
        c.ack(ALL).unwrap();
        while recv(&mut c, &mut m, 0) == DC_OK {
            c.ack(m.position).unwrap();
        }
        while recv(&mut o, &mut m, 0) == DC_OK {}
    };
    // The first look ahead starts the library thread, which is the system's to allocate for.
    (0..100).for_each(|_| round());
    for n in 0..300 {
        let before = ALLOCATIONS.get();
        round();
        assert_eq!(ALLOCATIONS.get() - before, 0, "in round {n}");
    }
}

/// [S20 S11]
#[test]
fn s120_1024_handles_a_channel() {
    if !many_descriptors() {
        eprintln!("skipped: too few descriptors");
        return;
    }
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut all: Vec<_> = (0..1024).map(|_| channel.producer().unwrap()).collect();
    fails(channel.producer(), DC_E_LIMIT, "1024");
    assert_eq!(code(all[0].try_clone()), DC_E_LIMIT);
    assert_eq!(code(channel.subscribe(None, &Default::default())), DC_E_LIMIT);
    assert_eq!(info(&channel).producers, 1024);
    send(&mut all[1023], 1);
    all[500] = {
        all.swap_remove(500);
        channel.producer().unwrap()
    };
    send(&mut all[500], 2);
    drop(all);
    assert_eq!(info(&channel).producers, 0);
    take_numbers(&mut subscribe(&channel, Some("g"), 0), 1..3);
}

/// [S20 S11]
#[test]
fn s120_254_consumers_a_group() {
    if !many_descriptors() {
        eprintln!("skipped: too few descriptors");
        return;
    }
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut all: Vec<_> = (0..254).map(|_| subscribe(&channel, Some("g"), 0)).collect();
    fails(channel.subscribe(Some(b"g"), &Default::default()), DC_E_LIMIT, "254");
    assert_eq!(code(all[0].try_clone()), DC_E_LIMIT);
    assert_eq!(group_info(&channel, "g").consumers, 254);
    for n in 0..254 {
        send(&mut p, n);
        take_first(&mut all[n as usize * 101 % 254], n);
    }
    all.swap_remove(7);
    all.push(subscribe(&channel, Some("g"), 0));
    subscribe(&channel, Some("other"), 0);
}

/// [S143] At once, each with a live consumer: none waits for another.
#[test]
fn s120_seventy_groups_at_once() {
    if !many_descriptors() {
        eprintln!("skipped: too few descriptors");
        return;
    }
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut all: Vec<_> =
        (0..70).map(|g| subscribe(&channel, Some(&g.to_string()), ACK_NEXT)).collect();
    for n in 0..100 {
        send(&mut p, n);
        all.iter_mut().for_each(|c| take_firsts(c, n..n + 1));
    }
}

/// [S47 S90] The program does the library thread's work.
#[test]
fn s091_prepared_only() {
    let t = Temp::new();
    let o = Options { flags: PREPARED_ONLY | NO_THREAD, ..small() };
    let channel = open(t.chan(), &o);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let (mut sent, mut refused) = (0u64, 0);
    while sent < 200 {
        match code(p.send(&sent.to_le_bytes(), 0)) {
            DC_OK => {
                take_first(&mut c, sent);
                sent += 1;
            }
            code => {
                assert_eq!(code, DC_AGAIN);
                refused += 1;
                channel.maintain(LONG).unwrap();
            }
        }
    }
    assert!(refused >= 5, "{refused}");
    // Nothing is due any more, or soon nothing.
    until("nothing is due", || code(channel.maintain(0)) == DC_AGAIN);
}

/// [S91] With the library thread, the pages come by themselves.
#[test]
fn s091_prepared_only_with_the_thread() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { flags: PREPARED_ONLY, ..small() });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut sent = 0u64;
    until("all are sent", || {
        while sent < 300 && p.send(&sent.to_le_bytes(), 0).is_ok() {
            take_first(&mut c, sent);
            sent += 1;
        }
        sent == 300
    });
}

/// [S4]
#[test]
fn s005_observers_and_groups_do_not_touch_each_other() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut observers: Vec<_> = (0..5).map(|_| subscribe(&channel, None, 0)).collect();
    for n in 0..300 {
        send(&mut p, n);
        observers.iter_mut().for_each(|o| take_firsts(o, n..n + 1));
        take_first(&mut c, n);
    }
    observers.iter_mut().for_each(take_nothing);
    assert_eq!(channel.group_next(None).unwrap(), b"g");
    assert_eq!(code(channel.group_next(Some(b"g"))), -libc::ENOENT);
}

/// [S122]
#[test]
fn s005_read_only_observers_are_not_counted() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let reader = reopen(t.chan(), READ_ONLY);
    let _r = subscribe(&reader, None, 0);
    assert_eq!(info(&channel).consumers, 0);
    let o = subscribe(&channel, None, 0);
    assert_eq!(info(&channel).consumers, 1);
    drop(o);
    assert_eq!(info(&channel).consumers, 0);
}

/// It does not hinder a writer, a roll-over, or the end of the channel; a waiting one sees what comes.
#[test]
fn s122_a_read_only_observer_hinders_nobody() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..5);
    let reader = reopen(t.chan(), READ_ONLY);
    let mut tail = subscribe_at(&reader, None, LATEST);
    let mut c = subscribe_paged(&reader, None);
    let m = take_first(&mut c, 0);
    std::thread::scope(|s| {
        s.spawn(|| assert_eq!(take_number(&mut tail), 5));
        sleep_ms(50);
        send(&mut p, 5);
    });
    (6..1000u64).for_each(|n| p.send(&n.to_le_bytes(), 0).unwrap());
    assert_eq!(number(&m), 0);
    drop((p, channel));
    assert_eq!(code(Channel::destroy(&t.chan())), DC_E_BUSY);
    drop((c, tail, reader));
    Channel::destroy(&t.chan()).unwrap();
}

/// [S3] Handles go to other threads; a channel handle is used by many at once.
#[test]
fn s003_handles_move_and_channels_are_shared() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_pages: UNLIMITED, ..small() });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    for n in 0..20 {
        (p, c) = std::thread::spawn(move || {
            send(&mut p, n);
            take_first(&mut c, n);
            (p, c)
        })
        .join()
        .unwrap();
    }
    std::thread::scope(|s| {
        for id in 0..8u64 {
            let channel = &channel;
            s.spawn(move || {
                let name = format!("of {id}");
                for n in 0..20 {
                    send(&mut channel.producer().unwrap(), n);
                    take(&mut subscribe(channel, Some(&name), ACK_RECEIVE));
                    assert!(info(channel).messages >= 20);
                    assert_eq!(group_info(channel, &name).unacked, 0);
                    channel.group_next(None).unwrap();
                    channel.sync(LONG).unwrap();
                }
                channel.group_delete(name.as_bytes()).unwrap();
            });
        }
    });
    assert_eq!(info(&channel).messages, 20 + 160);
}
