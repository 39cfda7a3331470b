//! Several processes on one channel: exactly once in each group, and what happens when some are killed,
//! stopped or forked.

mod common;
use common::*;
use std::collections::HashMap;

#[test]
fn child_role() {
    play(|role, args| {
        let o = Options { flags: EXISTING, ..Options::default() };
        let channel = open(args[0], &o);
        let number_at = |i: usize| args[i].parse::<u64>().unwrap();
        match role {
            "produce" => {
                let mut p = channel.producer().unwrap();
                let id = number_at(1) as u32;
                for n in 0..number_at(2) {
                    p.send(&load(id, n, 16 + n as usize % 300), -1).unwrap();
                }
            }
            "consume" => consume(&channel, args[1], number_at(2)),
            "hold" => hold(&channel, number_at(1), number_at(2) as u32, number_at(3) as u32),
            "reserve" => reserve(&channel),
            "fork" => fork(args[0], args[1] == "raw"),
            "fork and die" => fork_and_die(args[0]),
            "threads" => threads(&channel, args[0]),
            other => panic!("{other}"),
        }
    });
}

/// Consumes until it is told that everything was sent and nothing is left; reports what it got.
fn consume(channel: &Channel, group: &str, quiet_ms: u64) {
    let mut c = subscribe(channel, Some(group), ACK_NEXT);
    mark("ready", "");
    let mut next: HashMap<u32, u64> = HashMap::new();
    let mut m = Message::default();
    let mut idle = 0;
    while idle < quiet_ms {
        match recv(&mut c, &mut m, 50) {
            DC_AGAIN => idle += 50,
            code => {
                assert_eq!((code, m.flags, m.deliveries), (DC_OK, 0, 1));
                let (id, n) = check_load(bytes(&m));
                assert!(n >= *next.get(&id).unwrap_or(&0), "out of order: {id} {n}");
                next.insert(id, n + 1);
                mark("got", format_args!("{id} {n}"));
                idle = 0;
            }
        }
    }
    mark("end", "");
}

fn reports_of(mut child: Child) -> Vec<String> {
    let mut got = Vec::new();
    while let Some(line) = child.expect_or_end("got", "end") {
        got.push(line);
    }
    child.succeed();
    got
}

/// 4 producer and 4 consumer processes in each of the groups.
fn four_by_four(groups: &[&str]) {
    const EACH: u64 = 1500;
    let t = Temp::new();
    let path = t.chan();
    let path = path.to_str().unwrap();
    let channel = open(path, &Options { max_messages_per_page: 100, ..retain(RETAIN_UNREAD) });
    let mut consumers: Vec<_> = groups
        .iter()
        .flat_map(|g| (0..4).map(move |_| (*g, Child::start("consume", &[path, g, "1500"]))))
        .collect();
    consumers.iter_mut().for_each(|(_, c)| drop(c.expect("ready")));
    let produce = |id: u64| Child::start("produce", &[path, &id.to_string(), &EACH.to_string()]);
    let producers: Vec<_> = (0..4).map(produce).collect();
    // Pipes must be read, or a consumer that reports would wait.
    let reports: Vec<(&str, Vec<String>)> = std::thread::scope(|s| {
        let handles: Vec<_> =
            consumers.into_iter().map(|(g, c)| s.spawn(move || (g, reports_of(c)))).collect();
        producers.into_iter().for_each(Child::succeed);
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    for group in groups {
        let mut all: Vec<&String> =
            reports.iter().filter(|r| r.0 == *group).flat_map(|r| &r.1).collect();
        let total = all.len();
        all.sort();
        all.dedup();
        assert_eq!((total, all.len()), (4 * EACH as usize, 4 * EACH as usize), "{group}");
        let g = group_info(&channel, group);
        assert_eq!((g.lag, g.unacked, g.lost), (0, 0, 0));
    }
}

#[test]
fn s076_four_by_four_processes_in_one_group() {
    four_by_four(&["g"]);
}

/// [S4]
#[test]
fn s076_four_by_four_processes_in_three_groups() {
    four_by_four(&["one", "two", "three"]);
}

/// Receives so many messages, under this acknowledging, and waits to be killed.
fn hold(channel: &Channel, count: u64, ack: u32, prefetch: u32) {
    let o = SubscribeOptions { ack, prefetch, flags: AUTO_NEXT_PAGE, ..Default::default() };
    let mut c = channel.subscribe(Some(b"g"), &o).unwrap();
    take_firsts(&mut c, 0..count);
    mark("holds", "");
    forever();
}

fn start_holder(t: &Temp, count: u64, ack: u32, prefetch: u32) -> Child {
    let [count, ack, prefetch] = [count, ack.into(), prefetch.into()].map(|n: u64| n.to_string());
    let mut child = Child::start("hold", &[t.chan().to_str().unwrap(), &count, &ack, &prefetch]);
    child.expect("holds");
    child
}

/// Takes every number once, in whatever order a death is noticed: those below `handed` were handed out
/// before and say so, the others were not.
fn take_all(c: &mut Consumer, numbers: std::ops::Range<u64>, handed: u64) {
    let mut left: Vec<u64> = numbers.collect();
    while !left.is_empty() {
        let m = take(c);
        let n = number(&m);
        let at =
            left.iter().position(|&l| l == n).unwrap_or_else(|| panic!("{n} again, or not sent"));
        left.remove(at);
        let expected = if n < handed { (MESSAGE_REDELIVERED, 2) } else { (0, 1) };
        assert_eq!((m.flags, m.deliveries), expected, "message {n}");
    }
    take_nothing(c);
}

/// [S129 S82]
#[test]
fn s081_a_killed_consumers_messages_come_again() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..10);
    let child = start_holder(&t, 3, ACK_MANUAL, 1);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_first(&mut c, 3);
    child.kill();
    let mut m = take(&mut c);
    while m.flags == 0 {
        // New ones, until the death is known.
        m = take(&mut c);
    }
    assert_eq!((number(&m), m.deliveries), (0, 2));
    take_again(&mut c, 1, 2);
    take_again(&mut c, 2, 2);
}

#[test]
fn s081_a_waiting_consumer_notices_a_death() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..3);
    let child = start_holder(&t, 3, ACK_MANUAL, 0);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    std::thread::scope(|s| {
        s.spawn(|| take_agains(&mut c, 0..3, 2));
        sleep_ms(100);
        child.kill();
    });
    take_nothing(&mut c);
}

/// [S138] Nobody is left to notice: the next one to open does.
#[test]
fn s081_a_death_nobody_saw() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..5);
    drop(channel);
    start_holder(&t, 2, ACK_NEXT, 1).kill();
    let mut c = subscribe(&reopen(t.chan(), EXISTING), Some("g"), ACK_NEXT);
    // 0 was acknowledged by the call that received 1.
    take_all(&mut c, 1..5, 2);
}

fn prefetched(ack: u32, prefetch: u32, handed: u64) {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..40);
    start_holder(&t, handed, ack, prefetch).kill();
    let first = match ack {
        ACK_RECEIVE => handed,
        ACK_NEXT => handed - 1,
        _ => 0,
    };
    take_all(&mut subscribe(&channel, Some("g"), ACK_MANUAL), first..40, handed);
}

#[test]
fn s083_prefetched_by_a_killed_one() {
    prefetched(ACK_NEXT, 32, 3);
}

#[test]
fn s083_prefetched_by_a_killed_one_with_manual_acks() {
    prefetched(ACK_MANUAL, 32, 3);
}

/// [S80] At most once over a crash: what was received is not repeated; what was not is not lost.
#[test]
fn s083_prefetched_by_a_killed_one_acknowledging_on_receipt() {
    prefetched(ACK_RECEIVE, 32, 3);
}

#[test]
fn s083_prefetched_by_default() {
    prefetched(ACK_NEXT, 0, 5);
}

/// [S82] Killed again and again with the same messages: each time the count goes up.
#[test]
fn s082_deliveries_count_deaths() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..2);
    start_holder(&t, 2, ACK_MANUAL, 0).kill();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_again(&mut c, 0, 2);
    take_again(&mut c, 1, 2);
    drop(c);
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    take_again(&mut c, 0, 3);
    take_again(&mut c, 1, 3);
}

/// [S104]
#[test]
fn s084_a_stopped_worker_keeps_what_it_holds() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..4);
    let child = start_holder(&t, 2, ACK_MANUAL, 1);
    child.stop();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let sent = send_until_full(&mut p, 4);
    take_firsts(&mut c, 2..sent);
    assert_eq!(receive(&mut c, &mut Message::default(), 1200), DC_AGAIN);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    assert_eq!(group_info(&channel, "g").unacked, 2);
    child.kill();
    take_again(&mut c, 0, 2);
    take_again(&mut c, 1, 2);
    take_nothing(&mut c);
    send(&mut p, sent);
    take_first(&mut c, sent);
}

/// Holds a reservation until it is told to go on, and then commits it.
fn reserve(channel: &Channel) {
    let mut p = channel.producer().unwrap();
    let data = p.reserve(8, 0).unwrap();
    mark("reserved", "");
    told();
    // SAFETY: eight bytes are reserved, and nobody else writes there.
    unsafe { data.cast::<u64>().write(4711) };
    while code(p.commit(8)) == DC_AGAIN {
        sleep_ms(1);
    }
    send(&mut p, 4712);
}

fn start_reserver(t: &Temp) -> Child {
    let mut child = Child::start("reserve", &[t.chan().to_str().unwrap()]);
    child.expect("reserved");
    child
}

/// [S67]
#[test]
fn s130_stopped_inside_a_send() {
    let t = Temp::new();
    let o = Options { stall_timeout_ms: 200, ..retain(RETAIN_UNREAD) };
    let channel = open(t.chan(), &o);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    for round in 1..=3 {
        let mut child = start_reserver(&t);
        child.stop();
        // The others go on, over many pages.
        for n in 0..100 {
            send(&mut p, n);
            take_first(&mut c, n);
        }
        take_nothing(&mut c);
        child.tell();
        child.signal(libc::SIGCONT);
        // Exactly once, and in its producer's order.
        take_first(&mut c, 4711);
        take_first(&mut c, 4712);
        child.succeed();
        take_nothing(&mut c);
        assert_eq!(info(&channel).abandoned, round);
    }
}

/// [S140] The dead are not waited for, however long the stall timeout.
#[test]
fn s129_killed_inside_a_send() {
    let t = Temp::new();
    let o = Options { stall_timeout_ms: 60_000, ..retain(RETAIN_UNREAD) };
    let channel = open(t.chan(), &o);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    for n in 0..10 {
        let child = start_reserver(&t);
        send(&mut p, n);
        child.kill();
        take_first(&mut c, n);
        take_nothing(&mut c);
    }
    let i = info(&channel);
    assert_eq!((i.abandoned, i.producers), (10, 1));
}

/// [S105 S138]
#[test]
fn s105_what_was_sent_survives_a_kill() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    let path = t.chan();
    Child::start("produce", &[path.to_str().unwrap(), "1", "40"]).succeed();
    start_reserver(&t).kill();
    let channel = reopen(&path, EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    (0..40).for_each(|n| assert_eq!(check_load(bytes(&take(&mut c))), (1, n)));
    take_nothing(&mut c);
    // No machine crash: nothing to repair.
    assert_eq!(info(&channel).recoveries, 0);
    assert_eq!(verify(&path).corrupt, 0);
}

struct All {
    channel: Channel,
    p: Producer,
    c: Consumer,
    o: Consumer,
}

fn open_all(path: &str) -> All {
    let channel = reopen(path, EXISTING);
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    let mut o = subscribe(&channel, None, 0);
    c.fd().unwrap();
    send_numbers(&mut p, 0..3);
    take_first(&mut c, 0);
    take_first(&mut o, 0);
    All { channel, p, c, o }
}

fn every_call_is_forked(all: &mut All) -> bool {
    let All { channel, p, c, o } = all;
    let mut m = Message::default();
    let part = [std::io::IoSlice::new(b"x")];
    let mut out = [std::mem::MaybeUninit::uninit(); 4];
    [
        code(channel.stats()),
        code(channel.sync(0)),
        code(channel.group_stats(b"g")),
        code(channel.group_next(None)),
        code(channel.group_delete(b"g")),
        code(channel.maintain(0)),
        code(channel.producer()),
        code(channel.subscribe(Some(b"g"), &Default::default())),
        code(p.try_clone()),
        code(p.send(b"x", -1)),
        code(p.send_vectored(&part, -1)),
        code(p.send_batch(&part, -1, &mut 0)),
        code(p.reserve(1, -1)),
        code(p.commit(1)),
        code(p.abort()),
        code(p.sync(-1)),
        code(p.fd()),
        code(c.try_clone()),
        recv(c, &mut m, -1),
        code(c.recv_batch(&mut out, -1, &mut 0)),
        code(c.next_page()),
        code(c.ack(ALL)),
        code(c.nack()),
        code(c.seek(EARLIEST)),
        code(c.stats()),
        code(c.fd()),
        recv(o, &mut m, -1),
    ]
    .iter()
    .all(|code| *code == DC_E_FORKED)
}

/// Forks with every handle open: dead in the child, alive in the parent, which loses nothing.
fn fork(path: &str, raw: bool) {
    let mut all = open_all(path);
    assert!(in_fork(raw, || every_call_is_forked(&mut all)), "a call did not say DC_E_FORKED");
    let All { channel, mut p, mut c, mut o } = all;
    let dead = (&channel, &p, &c, &o);
    assert!(in_fork(raw, || {
        // Closing there only frees memory.
        // SAFETY: this process ends before the originals are used again.
        unsafe {
            drop(std::ptr::read(dead.3));
            drop(std::ptr::read(dead.2));
            drop(std::ptr::read(dead.1));
            drop(std::ptr::read(dead.0));
        }
        true
    }));
    take_first(&mut c, 1);
    send(&mut p, 3);
    take_first(&mut c, 2);
    take_first(&mut c, 3);
    c.ack(ALL).unwrap();
    take_nothing(&mut c);
    take_firsts(&mut o, 1..4);
    let (i, g) = (info(&channel), group_info(&channel, "g"));
    assert_eq!((i.producers, g.consumers, g.unacked), (1, 1, 0));
    // A child opens anew, with a library thread of its own.
    assert!(in_fork(false, || {
        let mine = reopen(path, EXISTING);
        let mut c = subscribe(&mine, Some("child"), ACK_NEXT);
        take_firsts(&mut c, 0..4);
        let mut p = mine.producer().unwrap();
        send(&mut p, 100);
        c.fd().is_ok() && take_number(&mut c) == 100
    }));
    take_first(&mut c, 100);
    take_first(&mut o, 100);
}

/// The child lives on: the death of its parent must still be noticed.
fn fork_and_die(path: &str) {
    let _all = open_all(path);
    // SAFETY: the forked process does nothing but wait.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: plain integers; it ends by its alarm at the latest.
        unsafe { libc::alarm(20) };
        forever();
    }
    mark("forked", "");
    forever();
}

fn start_forker(t: &Temp, role: &str, how: &str) -> Child {
    Child::start(role, &[t.chan().to_str().unwrap(), how])
}

#[test]
fn s022_handles_are_dead_in_the_child() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    start_forker(&t, "fork", "").succeed();
}

#[test]
fn s022_a_raw_clone() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    start_forker(&t, "fork", "raw").succeed();
}

/// [S81]
#[test]
fn s022_a_child_does_not_keep_a_dead_parent_alive() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    let mut child = start_forker(&t, "fork and die", "");
    child.expect("forked");
    child.kill();
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut seen: Vec<_> = (0..3).map(|_| take_number(&mut c)).collect();
    seen.sort();
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(info(&channel).producers, 0);
}

/// At most one library thread, with all signals blocked; none under NO_THREAD, nor before it is needed.
fn threads(channel: &Channel, path: &str) {
    let silent = Options { flags: NO_THREAD | EXISTING, ..Default::default() };
    let silent = open(path, &silent);
    let mut p = silent.producer().unwrap();
    let mut c = subscribe(&silent, Some("g"), 0);
    for n in 0..200 {
        send(&mut p, n);
        take_first(&mut c, n);
    }
    assert!(library_threads().is_empty(), "NO_THREAD started one");
    let mut handles = vec![subscribe(channel, Some("g"), 0), subscribe(channel, None, 0)];
    let more: Vec<_> = (0..3).map(|_| reopen(path, EXISTING)).collect();
    handles.extend(more.iter().map(|ch| subscribe(ch, Some("h"), 0)));
    handles.iter_mut().for_each(|c| assert!(c.fd().unwrap() >= 0));
    until("the library thread starts", || library_threads().len() == 1);
    sleep_ms(50);
    let ids = library_threads();
    assert_eq!(ids.len(), 1);
    let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", ids[0])).unwrap();
    let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGCHLD] {
        assert!(blocked >> (signal - 1) & 1 == 1, "signal {signal} is not blocked");
    }
}

/// [S90]
#[test]
fn s089_one_library_thread_at_most() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    Child::start("threads", &[t.chan().to_str().unwrap()]).succeed();
}
