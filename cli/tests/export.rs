//! A stream takes every message from one channel to another, and a damaged one takes nothing that is not sound.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::*;

#[test]
fn there_and_back_through_a_pipe() {
    let place = Place::with(&["--page-size=64K", "--max-pages=8", "--retention=unread"]);
    place.send(&numbered(3000, 100));
    ok(&place.run(&["send", "c", "--length-prefixed"], b"\0\0\0\0\x03\0\0\0\0\n\xff"));
    let mut export = place.command(&["export", "c"]).start();
    let import = place
        .command(&["import", "d", "--create", "--sync"])
        .stdin(export.stdout.take().unwrap())
        .output()
        .unwrap();
    ok(&import);
    assert_eq!(ended(&mut export), 0);
    let all = ["--length-prefixed"];
    let there = ok(&place.run(&[&["cat", "c"][..], &all].concat(), b""));
    assert_eq!(ok(&place.run(&[&["cat", "d"][..], &all].concat(), b"")), there);
    let (c, d) = (place.json(&["info", "c", "--json"]), place.json(&["info", "d", "--json"]));
    for name in ["page_size", "max_pages", "max_messages_per_page", "retention", "checksum"] {
        assert_eq!(c[name], d[name], "{name}");
    }
    assert_eq!(d["durable"], d["end"]);
    failed(
        &place.run(&["import", "d", "--create"], &exported(&place, "c")),
        1,
        "where there is none",
    );
}

#[test]
fn through_files_and_into_what_is_there() {
    let place = Place::with(&["--page-size=64K"]);
    place.send(b"one\ntwo\n");
    ok(&place.run(&["export", "c", "--output", "f"], b""));
    ok(&place.run(&["import", "c", "--input", "f"], b""));
    assert_eq!(ok(&place.run(&["cat", "c"], b"")), b"one\ntwo\none\ntwo\n");
    // What is too large for the other channel is said, and where to go on.
    ok(&place.run(&["create", "big", "--page-size=256K"], b""));
    let big = [&b"small\n"[..], &vec![b'x'; 100_000], b"\n"].concat();
    ok(&place.run(&["send", "big"], &big));
    let output = place.run(&["import", "c"], &exported(&place, "big"));
    failed(&output, 1, "1 message was taken; --skip 1 imports the rest");
    // An empty channel has a stream as well.
    ok(&place.run(&["create", "e"], b""));
    ok(&place.run(&["import", "e"], &exported(&place, "e")));
    assert_eq!(place.json(&["info", "e", "--json"])["messages"], 0);
}

fn exported(place: &Place, channel: &str) -> Vec<u8> {
    ok(&place.run(&["export", channel], b""))
}

/// Import what may be damaged; what it said, after it was checked that it took `said` messages and they are sound.
fn import_damaged(place: &Place, stream: &[u8], what: &str) -> String {
    let before = place.info();
    let output = place.run(&["import", "c"], stream);
    let said = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 4)), "{what}: {output:?}");
    let taken = place.info().messages - before.messages;
    let were = if taken == 1 { "message was taken" } else { "messages were taken" };
    assert_eq!(number_before(&said, were), taken, "{what}: {said}");
    if taken > 0 {
        assert!(said.contains(&format!("--skip {taken} imports the rest")), "{what}: {said}");
        let kept = ok(&place.run(&["tail", "c", "-n", &taken.to_string()], b""));
        assert_eq!(kept, b"one\ntwo\n"[..taken as usize * 4], "{what}");
    }
    said
}

#[test]
fn damaged_or_cut_at_every_byte() {
    let place = Place::with(&["--page-size=64K"]);
    place.send(b"one\ntwo\n");
    let stream = exported(&place, "c");
    assert!(stream.len() < 150);
    for at in 0..stream.len() {
        let said = import_damaged(&place, &stream[..at], &format!("cut at {at}"));
        assert!(said.contains("the stream is cut off"), "cut at {at}: {said}");
        let mut damaged = stream.clone();
        damaged[at] ^= 0x41;
        import_damaged(&place, &damaged, &format!("damaged at {at}"));
    }
    let mut longer = stream.clone();
    longer.push(0);
    import_damaged(&place, &longer, "longer");
    import_damaged(&place, b"{\"json\": true}", "foreign");
    // Nothing of all this has harmed the channel, and the rest of an intact copy completes it.
    let before = place.info().messages;
    ok(&place.run(&["import", "c", "--skip=1"], &stream));
    assert_eq!(place.info().messages, before + 1);
    assert_eq!(ok(&place.run(&["tail", "c", "-n1"], b"")), b"two\n");
}

/// What is whole is taken while the rest is still to come, and Ctrl-C says how to go on.
#[test]
fn ctrl_c_during_import() {
    let place = Place::with(&["--page-size=64K"]);
    place.send(b"one\ntwo\n");
    let stream = exported(&place, "c");
    let mut child = place.command(&["import", "c"]).stdin(Stdio::piped()).start();
    child.stdin.as_mut().unwrap().write_all(&stream[..stream.len() - 30]).unwrap();
    until("the first message is taken", || place.info().messages == 3);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(ended(&mut child), 130);
    let said = said(&mut child);
    assert!(said.contains("interrupted; 1 message was taken; --skip 1 imports"), "{said}");
}
