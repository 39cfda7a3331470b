//! Ctrl-C and kill -9 with real processes: what was read is sent or counted, what was received is written or
//! comes again.

mod common;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use common::*;
use rustix::process::Signal;

/// A sender whose pipe the test holds at both ends: what it did not read, the test reads.
fn sender(place: &Place, args: &[&str]) -> (Running, std::fs::File, std::fs::File) {
    let (read, write): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
    let child = place.command(args).stdin(read.try_clone().unwrap()).start();
    (child, read.into(), write.into())
}

/// Every byte that went into the pipe is in a message, said to be unfinished, or still in the pipe.
#[test]
fn ctrl_c_during_send_loses_nothing_that_was_read() {
    let place = Place::with(&[]);
    for round in 0..8 {
        let (mut child, mut rest, mut to) = sender(&place, &["send", "c"]);
        let feeder = std::thread::spawn(move || {
            // Lines of many lengths, so that reading stops within one now and then.
            let mut all = Vec::new();
            for i in 0..20_000 {
                let line = format!("{i} {}\n", "x".repeat(i % 97));
                to.write_all(line.as_bytes()).unwrap();
                all.extend_from_slice(line.as_bytes());
            }
            all
        });
        let before = place.info();
        until("it sends", || place.info().messages > before.messages);
        std::thread::sleep(Duration::from_millis(round * 3));
        signal(&child, Signal::INT);
        // The rest goes nowhere but here.
        let code = ended(&mut child);
        let mut left = Vec::new();
        rest.read_to_end(&mut left).unwrap();
        let all = feeder.join().unwrap();
        let said = said(&mut child);
        if code == 0 {
            // It was done before.
            continue;
        }
        assert_eq!(code, 130, "{said}");
        let info = place.info();
        let sent = info.messages - before.messages;
        assert_eq!(
            number_before(&said, if sent == 1 { "message was" } else { "messages were" }),
            sent
        );
        let unfinished = match said.contains("unfinished") {
            true => number_before(&said, "bytes of an unfinished"),
            false => 0,
        };
        let bytes = info.bytes - before.bytes + sent + unfinished + left.len() as u64;
        assert_eq!(bytes, all.len() as u64, "{said}");
        let kept = ok(&place.run(&["tail", "c", "-n", &sent.to_string()], b""));
        assert!(all.starts_with(&kept) && all.ends_with(&left));
    }
}

#[test]
fn ctrl_c_while_the_channel_is_full_counts_what_is_left() {
    let place = Place::with(&["--page-size=64K", "--max-pages=2", "--retention=unread"]);
    let (mut child, _rest, mut to) = sender(&place, &["send", "c"]);
    let feeder = std::thread::spawn(move || to.write_all(&numbered(4000, 99)));
    let full = |last: &mut u64| {
        std::thread::sleep(Duration::from_millis(100));
        let now = place.info().messages;
        now > 0 && std::mem::replace(last, now) == now
    };
    let mut last = 0;
    until("the channel is full", || full(&mut last));
    signal(&child, Signal::INT);
    assert_eq!(ended(&mut child), 130);
    let said = said(&mut child);
    assert_eq!(number_before(&said, "messages were sent"), place.info().messages);
    assert!(said.contains("there was no room in time"), "{said}");
    // Not only the unfinished message is counted, but the whole ones too.
    let (_, whole) = said.split_once("messages were sent,").unwrap();
    assert!(number_before(whole, "read and not sent") > 0, "{said}");
    drop(_rest);
    let _ = feeder.join().unwrap();
}

/// Room that comes within the grace is used.
#[test]
fn ctrl_c_while_the_channel_is_full_sends_what_finds_room() {
    let place = Place::with(&["--page-size=64K", "--max-pages=2", "--retention=unread"]);
    ok(&place.run(&["seek", "c", "g", "earliest", "--create"], b""));
    // Less than one read, more than the channel holds on top.
    let filled = place.run(&["send", "c", "--timeout=0"], &numbered(4000, 99));
    assert_eq!(filled.status.code(), Some(3));
    let before = place.info().messages;
    let mut child = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
    child.stdin.as_mut().unwrap().write_all(&numbered(100, 99)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "it waits for room");
    assert_eq!(
        ok(&place.run(&["recv", "c", "g", "--timeout=1"], b"")).len() as u64,
        (before + 100) * 100
    );
    assert_eq!(ended(&mut child), 130);
    assert!(said(&mut child).contains("interrupted: 100 messages were sent, 0 read and not sent"));
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_says_the_same() {
    let place = Place::with(&["--page-size=64K", "--max-pages=2", "--retention=unread"]);
    let filled = place.run(&["send", "c", "--timeout=0"], &numbered(4000, 99));
    assert_eq!(filled.status.code(), Some(3));
    let mut child = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
    child.stdin.as_mut().unwrap().write_all(&numbered(100, 99)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(100));
    let second = std::time::Instant::now();
    signal(&child, Signal::INT);
    assert_eq!(ended(&mut child), 130);
    assert!(second.elapsed() < Duration::from_secs(1));
    assert!(said(&mut child).contains("ended at once: 0 messages were sent, 100 read and not sent"));
}

/// A recv that is asked to end finishes what it began: nothing is lost, and nothing comes twice.
#[test]
fn ctrl_c_during_recv_loses_and_repeats_nothing() {
    // More than the rounds get through, so that each is ended in the middle.
    const COUNT: usize = 200_000;
    let place = Place::with(&[]);
    place.send(&numbered(COUNT, 8));
    let mut received = Vec::new();
    for round in 0..5 {
        let mut child = place.command(&["recv", "c", "g", "--follow", "--batch=3"]).start();
        let mut from = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        });
        until("it receives", || {
            place.group("g").consumers == 1 || child.try_wait().unwrap().is_some()
        });
        std::thread::sleep(Duration::from_millis(round));
        signal(&child, Signal::INT);
        assert_eq!(ended(&mut child), 130);
        received.extend(reader.join().unwrap());
    }
    assert!(place.group("g").lag > 0, "it was over before it was ended");
    received.extend(place.run(&["recv", "c", "g"], b"").stdout);
    assert!(received == numbered(COUNT, 8), "lost, or written twice");
    assert_eq!(place.group("g").redelivered, 0);
}

/// One that is stuck in a full pipe has acknowledged nothing of what it is writing.
#[test]
fn killed_while_it_writes() {
    let place = Place::with(&[]);
    place.send(&numbered(200, 1000));
    for kill in [Signal::KILL, Signal::INT] {
        let mut child = place.command(&["recv", "c", "g"]).start();
        // The batch is larger than the pipe.
        let pipe = child.stdout.as_ref().unwrap();
        until("the pipe is full", || rustix::io::ioctl_fionread(pipe).unwrap() > 60_000);
        signal(&child, kill);
        if kill == Signal::INT {
            std::thread::sleep(Duration::from_millis(50));
            assert!(child.try_wait().unwrap().is_none(), "the first one is a wish");
            signal(&child, kill);
        }
        assert_eq!(ended(&mut child), if kill == Signal::INT { 130 } else { -9 });
        let mut taken = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut taken).unwrap();
        assert!(numbered(200, 1000).starts_with(&taken) && taken.len() < 200_000);
    }
    // Nothing is missing, and all of it is known to have been handed out.
    assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), numbered(200, 1000));
    assert!(place.group("g").redelivered >= 200);
}

/// Killed anywhere, again and again: every message is written at least once.
#[test]
fn kill_9_of_recv_loses_nothing() {
    let place = Place::with(&[]);
    let count = 30_000;
    place.send(&numbered(count, 8));
    let mut seen = vec![false; count];
    let mut repeated = 0;
    let mut mark = |bytes: &[u8]| {
        // A line that was being written has no end.
        for line in bytes.split_inclusive(|&b| b == b'\n').filter(|l| l.ends_with(b"\n")) {
            let number: usize = text(line).trim().parse().unwrap();
            repeated += usize::from(std::mem::replace(&mut seen[number], true));
        }
    };
    let mut kills = 0;
    while place.json(&["groups", "c", "--json"])[0]["lag"] != 0 || kills < 20 {
        let mut child = place.command(&["recv", "c", "g", "--follow", "--batch=7"]).start();
        let mut from = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        });
        std::thread::sleep(Duration::from_micros(8_000 + kills * 700 % 9_000));
        signal(&child, Signal::KILL);
        assert_eq!(ended(&mut child), -9);
        mark(&reader.join().unwrap());
        kills += 1;
        assert!(kills < 500, "it does not get on");
    }
    mark(&place.run(&["recv", "c", "g"], b"").stdout);
    assert_eq!(seen.iter().position(|s| !s), None);
    eprintln!("{kills} kills, {repeated} of {count} written again");
}

/// Started to ignore a signal, as under nohup, it ignores it.
#[test]
fn what_is_ignored_stays_ignored() {
    let place = Place::with(&[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_disk-chan")]);
    command.args(["recv", "c", "g", "-f"]).current_dir(place.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).start();
    until("it receives", || place.group("g").consumers == 1);
    signal(&child, Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, Signal::TERM);
    assert_eq!(ended(&mut child), 143);
}
