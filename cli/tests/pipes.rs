//! Messages through the program: formats, limits, timeouts, and pipes whose other end leaves.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::*;

#[test]
fn every_format_keeps_every_byte() {
    let place = Place::with(&[]);
    let messages = [&b"a\nb"[..], b"", b"\0\\n\\", b"last"];
    let prefixed: Vec<u8> =
        messages.iter().flat_map(|m| [&(m.len() as u32).to_le_bytes()[..], m].concat()).collect();
    ok(&place.run(&["send", "c", "--length-prefixed"], &prefixed));
    assert_eq!(ok(&place.run(&["recv", "c", "p", "--length-prefixed"], b"")), prefixed);
    let escaped = ok(&place.run(&["recv", "c", "e", "--escape"], b""));
    assert_eq!(text(&escaped), "a\\nb\n\n\\0\\\\n\\\\\nlast\n");
    ok(&place.run(&["send", "c", "--escape"], &escaped));
    assert_eq!(ok(&place.run(&["recv", "c", "p", "--length-prefixed"], b"")), prefixed);
    assert_eq!(ok(&place.run(&["recv", "c", "r", "--raw", "-n3"], b"")), b"a\nb\0\\n\\");
    ok(&place.run(&["seek", "c", "p", "latest"], b""));
    ok(&place.run(&["send", "c", "--nul"], b"x\ny\0\0z"));
    assert_eq!(ok(&place.run(&["recv", "c", "p", "--nul"], b"")), b"x\ny\0\0z\0");
}

/// What a format cannot keep apart is written as it is, and said once.
#[test]
fn newlines_in_lines_are_warned_of() {
    let place = Place::with(&[]);
    ok(&place.run(&["send", "c", "--nul"], b"a\nb\0c\nd\0plain"));
    let output = place.run(&["recv", "c", "g"], b"");
    failed(&output, 0, "holds newlines and reads like several: use --escape");
    assert_eq!(text(&output.stderr).lines().count(), 1);
    assert_eq!(output.stdout, b"a\nb\nc\nd\nplain\n");
    ok(&place.run(&["send", "c", "--length-prefixed"], b"\x02\0\0\0\0x"));
    failed(&place.run(&["tail", "c", "-n1", "--nul"], b""), 0, "holds NUL bytes");
}

#[test]
fn files_are_messages() {
    let place = Place::with(&["--page-size=64K"]);
    std::fs::write(place.path().join("one"), b"line\nline\n").unwrap();
    std::fs::write(place.path().join("two"), b"").unwrap();
    std::fs::write(place.path().join("big"), vec![0; 70_000]).unwrap();
    ok(&place.run(&["send", "c", "--sync", "--file", "one", "two"], b"not read"));
    let info = place.info();
    assert_eq!((info.messages, info.durable), (2, info.end));
    let output = place.run(&["send", "c", "--file", "one", "big", "two"], b"");
    failed(&output, 1, "big has more than 65,536 bytes");
    assert!(text(&output.stderr).contains("1 message was sent, 0 read"), "{output:?}");
    failed(&place.run(&["send", "c", "--file", "none"], b""), 1, "cannot read none");
    let received = ok(&place.run(&["recv", "c", "g", "--length-prefixed"], b""));
    assert_eq!(received, b"\x0a\0\0\0line\nline\n\0\0\0\0\x0a\0\0\0line\nline\n");
}

#[test]
fn what_does_not_fit_and_what_is_cut() {
    let place = Place::with(&["--page-size=64K"]);
    let big = [&b"one\n"[..], &vec![b'x'; 70_000], b"\ntwo\n"].concat();
    failed(
        &place.run(&["send", "c"], &big),
        1,
        "message 2 has 70,000 bytes, and at most 65,536 fit; 1 message was sent",
    );
    assert_eq!(place.info().messages, 1);
    failed(&place.run(&["send", "c", "--length-prefixed"], b"\0\0\x02\0"), 1, "has 131,072 bytes");
    let cut = b"\x01\0\0\0a\x05\0\0\0abc";
    failed(
        &place.run(&["send", "c", "--length-prefixed"], cut),
        4,
        "ends within a message, 7 bytes",
    );
    assert_eq!(ok(&place.run(&["cat", "c"], b"")), b"one\na\n");
}

#[test]
fn counts_and_timeouts() {
    let place = Place::with(&[]);
    let begun = Instant::now();
    let output = place.run(&["recv", "c", "g", "--timeout=300ms"], b"");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    place.send(&numbered(5, 1));
    assert_eq!(ok(&place.run(&["recv", "c", "g", "-n", "2"], b"")), b"0\n1\n");
    assert_eq!(ok(&place.run(&["recv", "c", "g", "-n", "0"], b"")), b"");
    let output = place.run(&["recv", "c", "g", "-n", "4", "--timeout=10ms"], b"");
    failed(&output, 3, "3 messages of 4 received");
    assert_eq!(output.stdout, b"2\n3\n4\n");
    assert_eq!((place.group("g").lag, place.group("g").unacked), (0, 0));
    // A message that comes during the wait is received at once.
    let child = place.command(&["recv", "c", "g", "-n1", "--timeout=20"]).spawn().unwrap();
    until("it waits", || place.group("g").consumers == 1);
    place.send(b"late\n");
    assert_eq!(ok(&child.wait_with_output().unwrap()), b"late\n");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn recv_starts_where_it_is_told() {
    let place = Place::with(&[]);
    place.send(&numbered(5, 1));
    let options = ["--start=last:2", "--prefetch=1", "--max-unacked=1", "--batch=1"];
    let args = [&["recv", "c", "g"][..], &options].concat();
    assert_eq!(ok(&place.run(&args, b"")), b"3\n4\n");
    ok(&place.run(&["seek", "c", "g", "earliest"], b""));
    let lines = text(&ok(&place.run(&["recv", "c", "g", "--positions"], b"")));
    let positions: Vec<u64> =
        lines.lines().map(|l| l.split_once('\t').unwrap().0.parse().unwrap()).collect();
    assert!(positions.len() == 5 && positions.is_sorted(), "{lines}");
}

#[test]
fn tail_and_cat_take_nothing() {
    let place = Place::with(&["--page-size=64K", "--max-pages=4"]);
    place.send(&numbered(20, 1));
    assert_eq!(ok(&place.run(&["tail", "c", "-n2"], b"")), b"18\n19\n");
    assert_eq!(ok(&place.run(&["tail", "c"], b"")), numbered(20, 1)[20..]);
    assert_eq!(ok(&place.run(&["cat", "c"], b"")), numbered(20, 1));
    assert!(place.json(&["groups", "c", "--json"]).as_array().unwrap().is_empty());
    // Over many pages.
    place.send(&numbered(2000, 100));
    let all = text(&ok(&place.run(&["cat", "c"], b"")));
    assert_eq!(all.lines().count() as u64, place.info().messages);
    assert!(all.ends_with("1999\n"));
}

#[test]
fn follow_writes_each_message_as_it_comes() {
    let place = Place::with(&[]);
    place.send(b"before\n");
    for args in [&["tail", "c", "-n1", "-f"][..], &["cat", "c", "-f"], &["recv", "c", "g", "-f"]] {
        let mut follower = place.command(args).start();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut sender = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
        let mut to = sender.stdin.take().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "before");
        for i in 0..3 {
            writeln!(to, "{i}").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), i.to_string());
        }
        drop(to);
        assert_eq!(ended(&mut sender), 0);
        signal(&follower, rustix::process::Signal::INT);
        assert_eq!(ended(&mut follower), 130, "{args:?}");
        assert_eq!(said(&mut follower), "");
        ok(&place.run(&["destroy", "c", "--yes"], b""));
        ok(&place.run(&["create", "c"], b""));
        place.send(b"before\n");
    }
}

/// `cat | head`: the end of the reader is the end, without a word.
#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let place = Place::with(&[]);
    place.send(&numbered(3000, 100));
    for args in [&["cat", "c"][..], &["tail", "c", "-n", "3000"], &["export", "c"]] {
        let mut child = place.command(args).start();
        let mut from = child.stdout.take().unwrap();
        from.read_exact(&mut [0; 10]).unwrap();
        drop(from);
        let code = if args[0] == "export" { 1 } else { 0 };
        assert_eq!(ended(&mut child), code, "{args:?}");
        let said = said(&mut child);
        assert_eq!(said.is_empty(), code == 0, "{args:?}: {said}");
    }
}

/// `recv | head`: what the pipe did not take is not acknowledged.
#[test]
fn recv_acknowledges_nothing_that_nobody_took() {
    let place = Place::with(&[]);
    place.send(&numbered(1000, 1000));
    let mut child = place.command(&["recv", "c", "g"]).start();
    let mut from = child.stdout.take().unwrap();
    from.read_exact(&mut [0; 10]).unwrap();
    drop(from);
    assert_eq!(ended(&mut child), 0);
    assert_eq!(said(&mut child), "");
    // The first batch is larger than a pipe.
    let group = place.group("g");
    assert_eq!((group.lag + group.unacked, group.consumers), (1000, 0));
    assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), numbered(1000, 1000));
}

/// Nothing is taken for a reader that left while there was nothing to read.
#[test]
fn recv_notices_that_its_reader_left() {
    let place = Place::with(&[]);
    for args in [&["recv", "c", "g", "--follow"][..], &["tail", "c", "-f"]] {
        let mut child = place.command(args).start();
        drop(child.stdout.take());
        assert_eq!(ended(&mut child), 0, "{args:?}");
    }
    place.send(b"kept\n");
    assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), b"kept\n");
}

#[test]
fn output_that_fails_acknowledges_nothing() {
    let place = Place::with(&[]);
    place.send(b"kept\n");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = place.command(&["recv", "c", "g"]).stdout(full).output().unwrap();
    failed(&output, 1, "cannot write to standard output");
    assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), b"kept\n");
}

/// `yes | send`: a lossless channel fills up, and what was sent and what was not is said exactly.
#[test]
fn a_full_channel_is_said_by_count() {
    let place = Place::with(&["--page-size=64K", "--max-pages=2", "--retention=unread"]);
    let mut yes = std::process::Command::new("yes").stdout(Stdio::piped()).start();
    let output = place
        .command(&["send", "c", "--timeout=200ms"])
        .stdin(yes.stdout.take().unwrap())
        .output()
        .unwrap();
    failed(&output, 3, "there was no room in time");
    assert_eq!(ended(&mut yes), -13);
    let said = text(&output.stderr);
    assert_eq!(number_before(&said, "messages were sent"), place.info().messages);
    assert!(number_before(&said, "read and not sent") > 0, "{said}");
    assert!(place.info().messages > 8000);
}

/// What retention dropped is said, and the rest comes.
#[test]
fn what_was_lost_is_said() {
    let place = Place::with(&["--page-size=64K", "--max-pages=2"]);
    ok(&place.run(&["seek", "c", "g", "latest", "--create"], b""));
    place.send(&numbered(5000, 100));
    let output = place.run(&["recv", "c", "g"], b"");
    failed(&output, 0, "retention dropped messages before they were read");
    let got = text(&output.stdout).lines().count() as u64;
    assert_eq!(number_before(&text(&output.stderr), "messages of this group") + got, 5000);
}
