//! Waiting: how long, who wakes whom, what signals and interrupts do, and the descriptors in poll.

mod common;
use common::*;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::time::Instant;

#[test]
fn child_role() {
    play(|role, args| {
        let channel = reopen(args[0], EXISTING);
        match role {
            "echo" => {
                let mut c = subscribe(&channel, Some("there"), ACK_NEXT);
                let mut p = channel.producer().unwrap();
                mark("ready", "");
                let (mut m, mut n) = (Message::default(), 0);
                while n < 100 {
                    assert_eq!(recv(&mut c, &mut m, -1), DC_OK);
                    if number(&m) % 2 == 0 {
                        sleep_ms(n % 7);
                        send(&mut p, 2 * n + 1);
                        n += 1;
                    }
                }
            }
            "send" => {
                let mut p = channel.producer().unwrap();
                for n in 0..args[1].parse().unwrap() {
                    p.send(&u64::to_le_bytes(n), -1).unwrap();
                    if n % 10 == 0 {
                        sleep_ms(3);
                    }
                }
            }
            "take" => {
                let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
                for n in 0..args[1].parse().unwrap() {
                    take_first(&mut c, n);
                    if n % 200 == 0 {
                        sleep_ms(10);
                    }
                }
                take_nothing(&mut c);
            }
            "answer" => {
                let mut c = subscribe(&channel, Some("there"), ACK_NEXT);
                let mut p = channel.producer().unwrap();
                mark("ready", "");
                let mut m = Message::default();
                while recv(&mut c, &mut m, -1) == DC_OK {
                    // Its own answers are odd.
                    if number(&m) % 2 == 0 {
                        send(&mut p, number(&m) + 1);
                    }
                }
            }
            "take two" => {
                let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
                take_first(&mut c, 0);
                take_first(&mut c, 1);
                mark("taken", "");
                forever();
            }
            other => panic!("{other}"),
        }
    });
}

fn full(t: &Temp) -> (Channel, Producer, u64) {
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let sent = send_until_full(&mut p, 0);
    (channel, p, sent)
}

/// Runs a call in a thread, does something once that sleeps in the kernel, and returns its code.
fn while_waiting(call: impl FnOnce() -> i32 + Send, act: impl FnOnce(i32)) -> i32 {
    let id = AtomicI32::new(0);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| {
            id.store(tid(), SeqCst);
            call()
        });
        asleep(&id);
        act(id.load(SeqCst));
        waiter.join().unwrap()
    })
}

/// [S14]
#[test]
fn s034_timeouts() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut m = Message::default();
    for mut c in [subscribe(&channel, Some("g"), 0), subscribe(&channel, None, 0)] {
        (0..1000).for_each(|_| assert_eq!(recv(&mut c, &mut m, 0), DC_AGAIN));
        let start = Instant::now();
        (0..3).for_each(|_| assert_eq!(recv(&mut c, &mut m, 60), DC_AGAIN));
        assert!(start.elapsed().as_millis() >= 175);
    }
}

#[test]
fn s035_a_signal_handler_ends_a_receive() {
    handle_signal(libc::SIGUSR1);
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    for (group, timeout) in [(Some("g"), -1), (None, -1), (Some("g"), 60_000), (None, 60_000)] {
        let mut c = subscribe(&channel, group, 0);
        let call = || recv(&mut c, &mut Message::default(), timeout);
        assert_eq!(while_waiting(call, |id| signal_thread(id, libc::SIGUSR1)), -libc::EINTR);
    }
}

/// [S63]
#[test]
fn s035_a_signal_handler_ends_a_send() {
    handle_signal(libc::SIGUSR1);
    let t = Temp::new();
    let (channel, mut p, sent) = full(&t);
    for timeout in [-1, 60_000] {
        let call = || code(p.send(b"x", timeout));
        assert_eq!(while_waiting(call, |id| signal_thread(id, libc::SIGUSR1)), -libc::EINTR);
    }
    assert_eq!(info(&channel).messages, sent);
}

/// An ignored signal is no reason to return.
#[test]
fn s035_no_handler_no_eintr() {
    ignore_signal(libc::SIGUSR2);
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut c = subscribe(&channel, Some("g"), 0);
    let call = || recv(&mut c, &mut Message::default(), -1);
    let then = |id| {
        signal_thread(id, libc::SIGUSR2);
        sleep_ms(50);
        send(&mut channel.producer().unwrap(), 1);
    };
    assert_eq!(while_waiting(call, then), DC_OK);
}

/// A storm of signals while messages pass: each call says -EINTR or what happened, nothing is lost.
#[test]
fn s035_nothing_is_lost_in_a_storm_of_signals() {
    handle_signal(libc::SIGUSR1);
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let (id, done) = (tid(), AtomicBool::new(false));
    std::thread::scope(|s| {
        s.spawn(|| {
            for n in 0..300 {
                send(&mut p, n);
                if n % 3 == 0 {
                    sleep_ms(1);
                }
            }
        });
        s.spawn(|| {
            while !done.load(SeqCst) {
                signal_thread(id, libc::SIGUSR1);
                sleep_ms(1);
            }
        });
        let (mut m, mut n) = (Message::default(), 0);
        while n < 300 {
            match recv(&mut c, &mut m, -1) {
                code if code == -libc::EINTR => continue,
                code => assert_eq!(code, DC_OK),
            }
            assert_eq!(number(&m), n);
            n += 1;
        }
        done.store(true, SeqCst);
    });
}

/// [S88]
#[test]
fn s036_interrupts_from_another_thread() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    for group in [Some("g"), None] {
        let mut c = subscribe_at(&channel, group, LATEST);
        let i = c.interrupter();
        let call = || recv(&mut c, &mut Message::default(), -1);
        assert_eq!(while_waiting(call, |_| i.interrupt().unwrap()), -libc::ECANCELED);
        take_nothing(&mut c);
        // It works as before.
        send(&mut channel.producer().unwrap(), 1);
        assert_eq!(take_number(&mut c), 1);
    }
}

/// [S36 S63]
#[test]
fn s056_a_producers_interrupt() {
    let t = Temp::new();
    let (channel, mut p, sent) = full(&t);
    let i = p.interrupter();
    let call = || code(p.send(b"x", -1));
    assert_eq!(while_waiting(call, |_| i.interrupt().unwrap()), -libc::ECANCELED);
    i.interrupt().unwrap();
    assert_eq!(code(p.send(b"x", -1)), -libc::ECANCELED);
    assert_eq!(code(p.send(b"x", 20)), DC_AGAIN);
    i.interrupt().unwrap();
    assert_eq!(code(p.send(b"x", 0)), -libc::ECANCELED);
    assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
    assert_eq!(info(&channel).messages, sent);
}

#[test]
fn s086_an_interrupt_waits_for_the_next_wait() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut m = Message::default();
    for group in [Some("g"), None] {
        let mut c = subscribe_at(&channel, group, LATEST);
        let i = c.interrupter();
        // Two are one.
        i.interrupt().unwrap();
        i.interrupt().unwrap();
        assert_eq!(recv(&mut c, &mut m, -1), -libc::ECANCELED);
        assert_eq!(recv(&mut c, &mut m, 20), DC_AGAIN);
        i.interrupt().unwrap();
        send(&mut p, 1);
        // There is a message: nothing would wait.
        assert_eq!(recv(&mut c, &mut m, -1), DC_OK);
        assert_eq!(recv(&mut c, &mut m, 0), -libc::ECANCELED);
        assert_eq!(recv(&mut c, &mut m, 0), DC_AGAIN);
        // An interrupt is its handle's own, and an interrupter outlives it harmlessly.
        i.interrupt().unwrap();
        drop(c);
        let _ = i.interrupt();
        let mut d = subscribe_at(&channel, group, LATEST);
        assert_eq!(recv(&mut d, &mut m, 20), DC_AGAIN);
    }
}

/// [S1 S145] Each sleeps until the other sends, 100 times.
#[test]
fn s034_processes_wake_each_other() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut child = Child::start("echo", &[t.chan().to_str().unwrap()]);
    let mut c = subscribe(&channel, Some("here"), ACK_NEXT);
    let mut p = channel.producer().unwrap();
    child.expect("ready");
    for n in 0..100 {
        send(&mut p, 2 * n);
        take_numbers(&mut c, 2 * n..2 * n + 2);
    }
    child.succeed();
}

/// Two workers of a group answer; one is killed or stopped now and then, wherever it is between its wake
/// and its claim: the other one answers.
#[test]
fn s127_killed_sleepers() {
    let t = Temp::new();
    // Room for all that is sent: a worker that answers in the channel it works from, and redelivers what
    // a dead one held, would otherwise wait for room that only its own acknowledgement makes.
    let channel = open(t.chan(), &Options { max_pages: 80, ..retain(RETAIN_UNREAD) });
    let path = t.chan();
    let start = || {
        let mut child = Child::start("answer", &[path.to_str().unwrap()]);
        child.expect("ready");
        child
    };
    let mut workers = [start(), start()];
    let mut c = subscribe(&channel, Some("here"), ACK_NEXT);
    let mut p = channel.producer().unwrap();
    let mut seed = 3;
    for n in 0..400 {
        let victim = &mut workers[n as usize / 20 % 2];
        if n % 40 == 39 {
            victim.signal(libc::SIGSTOP);
        }
        send(&mut p, 2 * n);
        if n % 20 == 19 {
            std::thread::sleep(std::time::Duration::from_micros(random(&mut seed) as u64 % 300));
            std::mem::replace(victim, start()).kill();
        }
        // The answer may come twice, when its worker was killed before it could acknowledge.
        let (mut m, mut answered) = (Message::default(), false);
        while !answered {
            assert_eq!(recv(&mut c, &mut m, LONG), DC_OK, "no answer to {n}");
            answered = number(&m) == 2 * n + 1;
        }
    }
}

/// Room made in one process wakes a sender in another.
#[test]
fn s034_room_wakes_a_sender_in_another_process() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let child = Child::start("send", &[t.chan().to_str().unwrap(), "1000"]);
    for n in 0..1000 {
        if n % 100 == 0 {
            sleep_ms(20);
        }
        take_first(&mut c, n);
    }
    child.succeed();
}

/// An fd that looked readable settles once the consumer has found nothing.
fn settle(c: &mut Consumer) {
    let fd = c.fd().unwrap();
    for _ in 0..100 {
        if !readable(fd, 50) {
            return;
        }
        take_nothing(c);
    }
    panic!("it stays readable");
}

#[test]
fn s123_a_real_eventfd_of_the_handle() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut all = [subscribe(&channel, Some("g"), 0), subscribe(&channel, None, 0)];
    let mut p = channel.producer().unwrap();
    let fds = [all[0].fd().unwrap(), all[1].fd().unwrap(), p.fd().unwrap()];
    for fd in fds {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert!(target.to_str().unwrap().contains("eventfd"));
        // SAFETY: plain integers.
        assert!(unsafe { libc::fcntl(fd, libc::F_GETFD) } & libc::FD_CLOEXEC != 0);
    }
    assert_eq!([all[0].fd().unwrap(), all[1].fd().unwrap(), p.fd().unwrap()], fds);
    assert!(fds[0] != fds[1] && fds[1] != fds[2] && fds[0] != fds[2]);
}

/// [S90]
#[test]
fn s123_no_thread_no_fd() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { flags: NO_THREAD, ..small() });
    assert_eq!(code(subscribe(&channel, Some("g"), 0).fd()), DC_E_UNSUPPORTED);
    assert_eq!(code(channel.producer().unwrap().fd()), DC_E_UNSUPPORTED);
}

/// [S87] Level-triggered: one message an event.
#[test]
fn s124_level_triggered() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe_paged(&channel, Some("g"));
    let fd = c.fd().unwrap();
    settle(&mut c);
    let (mut m, mut n, mut sent) = (Message::default(), 0, 0);
    while n < 300 {
        if sent == n {
            send_numbers(&mut p, n..n + n % 5 + 1);
            sent += n % 5 + 1;
        }
        assert!(readable(fd, LONG));
        match recv(&mut c, &mut m, 0) {
            DC_END_OF_PAGE => c.next_page().unwrap(),
            DC_AGAIN => {}
            code => {
                assert_eq!((code, number(&m)), (DC_OK, n));
                n += 1;
            }
        }
    }
    settle(&mut c);
}

#[test]
fn s125_what_makes_it_readable() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..2);
    let mut c = subscribe_paged(&channel, Some("g"));
    let fd = c.fd().unwrap();
    // What was there before.
    assert!(readable(fd, LONG));
    take_numbers(&mut c, 0..1);
    assert!(readable(fd, LONG));
    take_numbers(&mut c, 1..2);
    settle(&mut c);
    // The end of a page.
    send_numbers(&mut p, 2..17);
    take_numbers(&mut c, 2..16);
    assert!(readable(fd, LONG));
    assert_eq!(recv(&mut c, &mut Message::default(), 0), DC_END_OF_PAGE);
    assert!(readable(fd, LONG));
    take_numbers(&mut c, 16..17);
    settle(&mut c);
    // An interrupt.
    c.interrupter().interrupt().unwrap();
    assert!(readable(fd, LONG));
    assert_eq!(recv(&mut c, &mut Message::default(), 0), -libc::ECANCELED);
    settle(&mut c);
    // A gap.
    send_numbers(&mut p, 17..300);
    let mut lagged = 0;
    loop {
        assert!(readable(fd, LONG), "before a call that finds something");
        let mut m = Message::default();
        match receive(&mut c, &mut m, 0) {
            DC_LAGGED => lagged += 1,
            code => {
                assert_eq!(code, DC_OK);
                if number(&m) == 299 {
                    break;
                }
            }
        }
    }
    assert_eq!(lagged, 1);
    settle(&mut c);
}

/// [S59]
#[test]
fn s125_redelivery_makes_it_readable() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let join = || subscribe_plain(&channel, "g", ACK_MANUAL);
    let (mut a, mut b, mut c) = (join(), join(), join());
    send_numbers(&mut channel.producer().unwrap(), 0..2);
    take_first(&mut a, 0);
    take_first(&mut b, 1);
    settle(&mut c);
    let fd = c.fd().unwrap();
    drop(a);
    assert!(readable(fd, LONG));
    take_again(&mut c, 0, 2);
    settle(&mut c);
    b.nack().unwrap();
    assert!(readable(fd, LONG));
    take_again(&mut c, 1, 2);
    // Its own, too.
    c.nack().unwrap();
    assert!(readable(fd, LONG));
}

/// [S81]
#[test]
fn s125_a_death_makes_it_readable() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..2);
    let mut child = Child::start("take two", &[t.chan().to_str().unwrap()]);
    child.expect("taken");
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let fd = c.fd().unwrap();
    settle(&mut c);
    child.kill();
    let mut n = 0;
    while n < 2 {
        assert!(readable(fd, LONG));
        let mut m = Message::default();
        if recv(&mut c, &mut m, 0) == DC_OK {
            assert_eq!((number(&m), m.flags), (n, MESSAGE_REDELIVERED));
            n += 1;
        }
    }
}

fn polls(group: Option<&str>, flags: u32) {
    let t = Temp::new();
    let _writer = open(t.chan(), &Options { max_pages: 32, ..small() });
    let channel = reopen(t.chan(), flags);
    let mut c = subscribe_paged(&channel, group);
    let fd = c.fd().unwrap();
    settle(&mut c);
    let child = Child::start("send", &[t.chan().to_str().unwrap(), "200"]);
    let (mut m, mut n) = (Message::default(), 0);
    while n < 200 {
        assert!(readable(fd, LONG));
        match receive(&mut c, &mut m, 0) {
            DC_AGAIN => continue,
            code => assert_eq!((code, number(&m)), (DC_OK, n)),
        }
        n += 1;
    }
    child.succeed();
}

/// [S145]
#[test]
fn s124_woken_by_another_process() {
    polls(Some("g"), 0);
}

#[test]
fn s124_an_observer_woken_by_another_process() {
    polls(None, 0);
}

/// [S122]
#[test]
fn s124_a_read_only_observer_woken_by_another_process() {
    polls(None, READ_ONLY);
}

/// [S124]
#[test]
fn s126_a_producers_fd() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let fd = p.fd().unwrap();
    let (mut sent, mut taken) = (0, 0);
    for _ in 0..10 {
        // Its DC_AGAIN arms the fd.
        sent = send_until_full(&mut p, sent);
        for _ in 0..50 {
            if !readable(fd, 20) {
                break;
            }
            assert_eq!(code(p.send(b"x", 0)), DC_AGAIN);
        }
        assert!(!readable(fd, 0));
        take_numbers(&mut c, taken..sent);
        taken = sent;
        take_nothing(&mut c);
        assert!(readable(fd, LONG));
    }
    send_until_full(&mut p, sent);
    p.interrupter().interrupt().unwrap();
    assert!(readable(fd, LONG));
}

#[test]
fn s126_a_producers_fd_woken_by_another_process() {
    let t = Temp::new();
    let channel = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    let fd = p.fd().unwrap();
    let child = Child::start("take", &[t.chan().to_str().unwrap(), "1000"]);
    let mut n = 0u64;
    while n < 1000 {
        match code(p.send(&n.to_le_bytes(), 0)) {
            DC_AGAIN => assert!(readable(fd, LONG)),
            code => {
                assert_eq!(code, DC_OK);
                n += 1;
            }
        }
    }
    child.succeed();
}
