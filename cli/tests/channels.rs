//! Making, showing, checking and removing channels and groups.

mod common;

use std::os::unix::fs::{FileExt, PermissionsExt};

use common::*;

#[test]
fn create_with_every_option() {
    let place = Place::with(&[
        "--page-size=128K",
        "--max-pages=unlimited",
        "--messages-per-page=100",
        "--retention=live",
        "--checksum=off",
        "--mode=640",
        "--stall-timeout=250ms",
        "--durability=always",
    ]);
    let info = place.json(&["info", "c", "--json"]);
    assert_eq!(info["page_size"], 128 << 10);
    assert_eq!(info["max_pages"], serde_json::Value::Null);
    assert_eq!(info["max_messages_per_page"], 100);
    assert_eq!(info["retention"], "live");
    assert_eq!(info["checksum"], false);
    let mode = place.channel().join("channel").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let mut superblock = [0; 4];
    let file = std::fs::File::open(place.channel().join("channel")).unwrap();
    file.read_exact_at(&mut superblock, 76).unwrap();
    assert_eq!(u32::from_le_bytes(superblock), 250);
}

#[test]
fn create_refuses_what_is_there() {
    let place = Place::with(&["--page-size=64K"]);
    place.send(b"kept\n");
    failed(&place.run(&["create", "c"], b""), 1, "is a channel already");
    assert_eq!(place.info().messages, 1);
    std::fs::create_dir(place.path().join("other")).unwrap();
    std::fs::write(place.path().join("other/file"), "x").unwrap();
    failed(&place.run(&["create", "other"], b""), 1, "neither empty nor a channel");
}

#[test]
fn wrong_command_lines_end_with_2() {
    let place = Place::with(&[]);
    for args in [
        &["create"][..],
        &["frobnicate"],
        &["create", "n", "--page-size=1X"],
        &["create", "n", "--retention=some"],
        &["create", "n", "--mode=9"],
        &["seek", "c", "g", "nowhere"],
        &["send", "c", "--nul", "--escape"],
        &["recv", "c", "g", "--follow", "--timeout=1"],
        &["recv", "c", "g", "--raw", "--nul"],
        &["recv", "c", "g", "--raw", "--positions"],
        &["recv", "c", "g", "--batch=0"],
        &["man", "frobnicate"],
    ] {
        let output = place.run(args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
    // Out of the library's range, which it says itself.
    failed(&place.run(&["create", "n", "--page-size=1K"], b""), 1, "64 KiB");
    assert!(!place.path().join("n").exists());
}

#[test]
fn no_channel_is_said_by_every_command() {
    let place = Place::empty();
    for args in [
        &["info", "c"][..],
        &["groups", "c"],
        &["send", "c"],
        &["recv", "c", "g"],
        &["tail", "c"],
        &["cat", "c"],
        &["seek", "c", "g", "latest"],
        &["delete-group", "c", "g"],
        &["verify", "c"],
        &["export", "c"],
        &["top", "c"],
    ] {
        failed(&place.run(args, b""), 1, "there is no channel at c; check the path");
        assert!(!place.channel().exists());
    }
}

#[test]
fn info_and_groups() {
    let place = Place::with(&["--json"]);
    place.send(b"one\ntwo\nthree\n");
    ok(&place.run(&["recv", "c", "b", "-n1"], b""));
    ok(&place.run(&["seek", "c", "a", "latest", "--create"], b""));
    let info = place.json(&["info", "c", "--json"]);
    assert_eq!((&info["messages"], &info["bytes"]), (&3.into(), &11.into()));
    assert_eq!(info["poisoned"], false);
    let shown = text(&ok(&place.run(&["info", "c"], b"")));
    assert!(shown.contains("messages          3 (11 B)"), "{shown}");
    let groups = place.json(&["groups", "c", "--json"]);
    assert_eq!(groups.as_array().unwrap().len(), 2);
    assert_eq!((&groups[0]["name"], &groups[0]["lag"]), (&"a".into(), &0.into()));
    assert_eq!((&groups[1]["name_hex"], &groups[1]["lag"]), (&"62".into(), &2.into()));
    for name in ["consumers", "position", "unacked", "redelivered", "lost"] {
        assert!(groups[1][name].is_u64(), "{name}");
    }
    let shown = text(&ok(&place.run(&["groups", "c"], b"")));
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn seek_and_delete() {
    let place = Place::with(&[]);
    place.send(b"0\n1\n2\n3\n4\n");
    failed(&place.run(&["seek", "c", "g", "latest"], b""), 1, "there is no group \"g\"");
    assert!(place.json(&["groups", "c", "--json"]).as_array().unwrap().is_empty());
    assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), b"0\n1\n2\n3\n4\n");
    let third = text(&ok(&place.run(&["cat", "c", "--positions"], b"")));
    let third = third.lines().nth(3).unwrap().split('\t').next().unwrap().to_string();
    for (to, expected) in [
        ("earliest", &b"0\n1\n2\n3\n4\n"[..]),
        ("last:2", b"3\n4\n"),
        (&third, b"3\n4\n"),
        ("last:1", b"4\n"),
    ] {
        ok(&place.run(&["seek", "c", "g", to], b""));
        assert_eq!(ok(&place.run(&["recv", "c", "g"], b"")), expected, "{to}");
    }
    ok(&place.run(&["seek", "c", "g", "latest"], b""));
    assert_eq!(place.run(&["recv", "c", "g"], b"").status.code(), Some(3));

    // While somebody is a consumer of the group it stays.
    let mut other = place.command(&["recv", "c", "g", "--follow"]).start();
    until("it has joined", || place.group("g").consumers == 1);
    failed(&place.run(&["delete-group", "c", "g"], b""), 1, "has consumers");
    signal(&other, rustix::process::Signal::TERM);
    assert_eq!(ended(&mut other), 128 + 15);
    ok(&place.run(&["delete-group", "c", "g"], b""));
    failed(&place.run(&["delete-group", "c", "g"], b""), 1, "there is no group");
}

#[test]
fn names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with(&[]);
    place.send(b"x\n");
    let name = std::ffi::OsStr::from_bytes(b"\xff\n");
    let output = place.command(&["recv", "c"]).arg(name).output().unwrap();
    assert_eq!(ok(&output), b"x\n");
    let groups = place.json(&["groups", "c", "--json"]);
    assert_eq!(groups[0]["name"], serde_json::Value::Null);
    assert_eq!(groups[0]["name_hex"], "ff0a");
    assert!(text(&ok(&place.run(&["groups", "c"], b""))).contains("\\xff\\n"));
}

/// Damage a payload in the first page: what `verify` finds, `recv` and `export` pass over.
#[test]
fn verify_and_what_is_damaged() {
    let place = Place::with(&["--page-size=64K"]);
    place.send(b"first\nsecond\nthird\n");
    let sound = place.json(&["verify", "c", "--json"]);
    assert_eq!((&sound["sound"], &sound["messages"]), (&true.into(), &3.into()));
    let path = place.channel().join("page-0000000001");
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|w| w == b"second").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"S", at as u64).unwrap();
    failed(&place.run(&["verify", "c"], b""), 4, "c is damaged");
    let output = place.run(&["verify", "c", "--json"], b"");
    assert_eq!(output.status.code(), Some(4));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["sound"], &found["corrupt"]), (&false.into(), &1.into()));
    for args in [&["recv", "c", "g"][..], &["cat", "c"], &["tail", "c"]] {
        let output = place.run(args, b"");
        failed(&output, 4, "is damaged and was passed over");
        assert_eq!(output.stdout, b"first\nthird\n");
    }
    assert_eq!(place.group("g").unacked, 0);
    let exported = place.run(&["export", "c"], b"");
    failed(&exported, 4, "is damaged");
    ok(&place.run(&["import", "d", "--create"], &exported.stdout));
    assert_eq!(ok(&place.run(&["cat", "d"], b"")), b"first\nthird\n");
}

#[test]
fn destroy() {
    let place = Place::with(&[]);
    failed(&place.run(&["destroy", "c"], b"y\n"), 2, "say --yes");
    assert!(place.channel().exists());
    let mut other = place.command(&["recv", "c", "g", "--follow"]).start();
    until("it is open", || place.info().consumers == 1);
    failed(&place.run(&["destroy", "c", "--yes"], b""), 1, "is open");
    signal(&other, rustix::process::Signal::INT);
    assert_eq!(ended(&mut other), 130);
    ok(&place.run(&["destroy", "c", "--yes"], b""));
    assert!(!place.channel().exists());
    std::fs::create_dir(place.path().join("other")).unwrap();
    std::fs::write(place.path().join("other/file"), "x").unwrap();
    failed(&place.run(&["destroy", "other", "--yes"], b""), 1, "not a channel");
    assert!(place.path().join("other/file").exists());
}

#[test]
fn bench_measures_and_leaves_nothing() {
    let place = Place::empty();
    let figures = place.json(&["bench", "--time=600ms", "--json"]);
    assert_eq!(figures["message_bytes"], 100);
    for name in ["messages_per_second", "bytes_per_second", "durable_sends_per_second"] {
        assert!(figures[name].as_f64().unwrap() > 0.0, "{name}");
    }
    let (median, p99) = (&figures["round_trip_median_ns"], &figures["round_trip_p99_ns"]);
    assert!(median.as_u64().unwrap() > 0 && p99.as_u64() >= median.as_u64());
    let mut child = place.command(&["bench", "--time=1m"]).start();
    until("it has begun", || place.path().read_dir().unwrap().count() > 0);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(ended(&mut child), 130);
    assert_eq!(said(&mut child), "");
    assert_eq!(place.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_it_says_about_itself() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&ok(&place.run(&["completions", shell], b"")));
        assert!(script.contains("delete-group"), "{shell}");
    }
    let page = text(&ok(&place.run(&["man"], b"")));
    assert!(page.contains(".TH DISK-CHAN 1") && page.contains("EXIT STATUS"), "{page}");
    let page = text(&ok(&place.run(&["man", "recv"], b"")));
    assert!(page.contains(".TH DISK-CHAN-RECV 1") && page.contains("EXIT STATUS"), "{page}");
    let help = text(&ok(&place.run(&["--help"], b"")));
    for code in ["0    done", "3    nothing", "4    something", "130  ended"] {
        assert!(help.contains(code), "{help}");
    }
}
