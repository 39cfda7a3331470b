//! Opening and destroying: what exists, what may, whose it is. A refusal creates and changes nothing.

mod common;
use common::*;
use std::os::unix::fs::MetadataExt;

fn open_fails(path: impl AsRef<std::path::Path>, o: &Options, code: i32) {
    let path = path.as_ref();
    fails(Channel::open(path, o), code, path.to_str().unwrap());
}

fn with_flags(flags: u32) -> Options {
    Options { flags, ..Options::default() }
}

#[test]
fn child_role() {
    play(|role, args| match role {
        "send one" => {
            let channel = open(args[0], &small());
            mark("open", "");
            told();
            send(&mut channel.producer().unwrap(), args[1].parse().unwrap());
        }
        "hold open" => {
            let _channel = reopen(args[0], EXISTING);
            mark("open", "");
            told();
        }
        "as nobody" => {
            let path = std::path::Path::new(args[0]);
            // SAFETY: plain integers.
            unsafe { assert_eq!((libc::setgid(65534), libc::setuid(65534)), (0, 0)) };
            open_fails(path, &Options::default(), -libc::EACCES);
            open_fails(path.with_file_name("other"), &Options::default(), -libc::EACCES);
            fails(Channel::destroy(path), -libc::EACCES, args[0]);
            assert_eq!(code(Channel::verify(path)), -libc::EACCES);
        }
        other => panic!("{other}"),
    });
}

/// [S96 S98 S99 S100 S41 S7]
#[test]
fn s038_default_options() {
    let t = Temp::new();
    let i = info(&open(t.chan(), &Options::default()));
    assert_eq!((i.page_size, i.max_pages, i.max_messages_per_page), (16 << 20, 16, 65_535));
    assert!(i.max_message >= 1 && i.max_message <= i.page_size);
    assert_eq!((i.retention, i.checksum), (RETAIN_RING.into(), CHECKSUM_ON.into()));
    assert!(i.format_version >= 1 && i.oldest != 0);
    assert_eq!((i.oldest, i.messages, i.bytes), (i.end, 0, 0));
}

#[test]
fn s015_options_out_of_range() {
    let t = Temp::new();
    let bad = |name: &str, change: &dyn Fn(&mut Options)| {
        let mut o = small();
        change(&mut o);
        fails(Channel::open(&t.chan(), &o), DC_E_ARGUMENT, name);
        assert!(!t.chan().exists());
    };
    for size in [1, (64 << 10) - 1, (4 << 30) + 1, u64::MAX] {
        bad("page_size", &|o| o.page_size = size);
    }
    for pages in [1, (1 << 32) + 1, u64::MAX - 1] {
        bad("max_pages", &|o| o.max_pages = pages);
    }
    bad("max_messages_per_page", &|o| o.max_messages_per_page = 65_536);
    bad("retention", &|o| o.retention = 4);
    bad("durability", &|o| o.durability = 4);
    bad("checksum", &|o| o.checksum = 3);
    bad("stall_timeout_ms", &|o| o.stall_timeout_ms = 60_001);
    bad("mode", &|o| o.mode = 0o1000000);
    bad("flags", &|o| o.flags = 64);
    bad("flags", &|o| o.flags = 1 << 31);
    bad("flags", &|o| o.flags = NEW | EXISTING);
    fails(Channel::open("".as_ref(), &small()), DC_E_ARGUMENT, "path");
    assert_eq!(code(Channel::destroy("".as_ref())), DC_E_ARGUMENT);
}

#[test]
fn s015_subscribe_options_out_of_range() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let bad = |name: &str, o: SubscribeOptions| {
        fails(channel.subscribe(Some(b"g"), &o), DC_E_ARGUMENT, name);
        assert_eq!(code(channel.group_stats(b"g")), -libc::ENOENT);
    };
    bad("ack", SubscribeOptions { ack: 4, ..Default::default() });
    bad("flags", SubscribeOptions { flags: 2, ..Default::default() });
    bad("max_unacked", SubscribeOptions { max_unacked: 4097, ..Default::default() });
    bad("prefetch", SubscribeOptions { prefetch: 256, ..Default::default() });
}

#[test]
fn s098_options_at_their_bounds() {
    let t = Temp::new();
    let o = Options { max_pages: 2, max_messages_per_page: 1, ..small() };
    drop(open(t.chan(), &o));
    Channel::destroy(&t.chan()).unwrap();
    let o = Options { max_pages: UNLIMITED, stall_timeout_ms: 60_000, ..Default::default() };
    let o = Options { max_messages_per_page: 65_535, page_size: 64 << 10, ..o };
    assert_eq!(info(&open(t.chan(), &o)).max_pages, UNLIMITED);
    Channel::destroy(&t.chan()).unwrap();
    drop(open(t.chan(), &Options { max_pages: 1 << 32, ..small() }));
}

/// [S11 S8]
#[test]
fn s108_flags_say_what_must_exist() {
    let t = Temp::new();
    for flags in [EXISTING, READ_ONLY, EXISTING | READ_ONLY] {
        open_fails(t.chan(), &with_flags(flags), -libc::ENOENT);
        assert!(!t.chan().exists());
    }
    drop(reopen(t.chan(), NEW));
    open_fails(t.chan(), &with_flags(NEW), -libc::EEXIST);
    drop(reopen(t.chan(), EXISTING));
    drop(reopen(t.chan(), 0));
    Channel::destroy(&t.chan()).unwrap();
    drop(reopen(t.chan(), 0));
}

#[test]
fn s108_missing_parent_is_enoent() {
    let t = Temp::new();
    open_fails(t.dir().join("none/channel"), &small(), -libc::ENOENT);
    assert!(files(t.dir()).is_empty());
}

/// [S18]
#[test]
fn s110_foreign_directory_stays_as_it_is() {
    let t = Temp::new();
    std::fs::create_dir(t.chan()).unwrap();
    std::fs::write(t.chan().join("notes.txt"), "mine").unwrap();
    let before = fingerprint(t.chan());
    for flags in [0, EXISTING, NEW, READ_ONLY] {
        open_fails(t.chan(), &with_flags(flags), DC_E_FORMAT);
    }
    fails(Channel::destroy(&t.chan()), DC_E_FORMAT, "channel");
    assert_eq!(code(Channel::verify(&t.chan())), DC_E_FORMAT);
    assert_eq!(fingerprint(t.chan()), before);
}

#[test]
fn s110_a_foreign_file_named_channel() {
    let t = Temp::new();
    std::fs::create_dir(t.chan()).unwrap();
    for content in [&b""[..], b"mine", &[0xAB; 300_000]] {
        std::fs::write(t.chan().join("channel"), content).unwrap();
        let before = fingerprint(t.chan());
        assert!([DC_E_FORMAT, DC_E_CORRUPT].contains(&code(Channel::open(&t.chan(), &small()))));
        assert!(Channel::destroy(&t.chan()).is_err());
        assert_eq!(fingerprint(t.chan()), before);
    }
}

#[test]
fn s110_empty_directory_becomes_a_channel() {
    let t = Temp::new();
    std::fs::create_dir(t.chan()).unwrap();
    drop(open(t.chan(), &small()));
    drop(reopen(t.chan(), EXISTING));
}

#[test]
fn s135_a_file_is_no_channel() {
    let t = Temp::new();
    std::fs::write(t.chan(), "mine").unwrap();
    open_fails(t.chan(), &small(), DC_E_FORMAT);
    assert!(Channel::destroy(&t.chan()).is_err() && Channel::verify(&t.chan()).is_err());
    assert_eq!(std::fs::read(t.chan()).unwrap(), b"mine");
}

#[test]
fn s135_no_permission_is_eacces() {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root, to become somebody else");
        return;
    }
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    Child::start("as nobody", &[t.chan().to_str().unwrap()]).succeed();
    assert_eq!(files(t.dir()).len(), 1);
    drop(reopen(t.chan(), EXISTING));
}

/// [S19]
#[test]
fn s111_other_options_are_a_mismatch_that_names_them() {
    let t = Temp::new();
    let stored = Options { mode: 0o640, ..small() };
    let channel = open(t.chan(), &stored);
    send(&mut channel.producer().unwrap(), 7);
    let mismatch = |name: &str, o: Options| {
        fails(Channel::open(&t.chan(), &o), DC_E_MISMATCH, name);
    };
    mismatch("page_size", Options { page_size: 128 << 10, ..stored });
    for max_pages in [2, 8, UNLIMITED] {
        mismatch("max_pages", Options { max_pages, ..stored });
    }
    mismatch("max_messages_per_page", Options { max_messages_per_page: 17, ..stored });
    mismatch("retention", Options { retention: RETAIN_UNREAD, ..stored });
    mismatch("checksum", Options { checksum: CHECKSUM_OFF, ..stored });
    mismatch("mode", Options { mode: 0o600, ..stored });
    let i = info(&channel);
    assert_eq!((i.page_size, i.max_pages, i.messages), (64 << 10, 4, 1));
}

#[test]
fn s111_zero_adopts_what_is_stored() {
    let t = Temp::new();
    // Not a multiple of anything: rounding must not become a mismatch.
    let o = Options { page_size: 100_000, checksum: CHECKSUM_OFF, mode: 0o660, ..retain(3) };
    drop(open(t.chan(), &o));
    drop(open(t.chan(), &o));
    // What an opener wants for itself is not stored.
    drop(open(t.chan(), &Options { stall_timeout_ms: 77, durability: SYNC_ALWAYS, ..o }));
    let i = info(&open(t.chan(), &Options::default()));
    assert!((100_000..104_096).contains(&i.page_size));
    assert_eq!((i.max_pages, i.max_messages_per_page), (4, 16));
    assert_eq!((i.retention, i.checksum), (3, CHECKSUM_OFF.into()));
}

/// Files of every kind, made by the first opener and by a later one.
fn modes_with(mode: u32, file_mode: u32, dir_mode: u32) {
    let t = Temp::new();
    let first = open(t.chan(), &Options { mode, ..small() });
    send_numbers(&mut first.producer().unwrap(), 0..20);
    let _group = subscribe(&first, Some("one"), 0);
    let second = reopen(t.chan(), 0);
    let mut c = subscribe(&second, Some("two"), 0);
    take_numbers(&mut c, 0..20);
    send_numbers(&mut second.producer().unwrap(), 20..400);
    assert_eq!(t.chan().metadata().unwrap().mode() & 0o7777, dir_mode);
    for file in files(t.chan()) {
        if let Ok(meta) = file.metadata() {
            assert_eq!(meta.mode() & 0o7777, file_mode, "{}", file.display());
        }
    }
}

#[test]
fn s101_every_file_has_the_stored_mode() {
    modes_with(0o664, 0o664, 0o775);
}

#[test]
fn s101_the_default_is_for_the_owner_alone() {
    modes_with(0, 0o600, 0o700);
}

/// [S21 S39 S1 S33]
#[test]
fn s040_destroy_is_busy_while_open_anywhere() {
    let t = Temp::new();
    let path = t.chan();
    let busy = || fails(Channel::destroy(&path), DC_E_BUSY, path.to_str().unwrap());
    let channel = open(&path, &small());
    busy();
    let mut p = channel.producer().unwrap();
    drop(channel);
    busy();
    // The handles made from it stay usable.
    send(&mut p, 1);
    drop(p);
    let mut child = Child::start("hold open", &[path.to_str().unwrap()]);
    child.expect("open");
    busy();
    child.tell();
    child.succeed();
    Channel::destroy(&path).unwrap();
    assert!(files(t.dir()).is_empty());
    fails(Channel::destroy(&path), -libc::ENOENT, path.to_str().unwrap());
}

#[test]
fn s040_destroy_after_a_kill_works() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    let mut child = Child::start("hold open", &[t.chan().to_str().unwrap()]);
    child.expect("open");
    child.kill();
    Channel::destroy(&t.chan()).unwrap();
    assert!(files(t.dir()).is_empty());
}

#[test]
fn s040_destroy_leaves_what_is_not_its_own() {
    let t = Temp::new();
    drop(open(t.chan(), &small()));
    let notes = t.chan().join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    // Whatever it says, the stranger's file stays.
    let _ = Channel::destroy(&t.chan());
    assert_eq!(std::fs::read(&notes).unwrap(), b"mine");
}

#[test]
fn s040_a_destroyed_channel_starts_anew() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..10);
    drop(channel);
    Channel::destroy(&t.chan()).unwrap();
    let channel = open(t.chan(), &Options { retention: RETAIN_UNREAD, ..small() });
    take_nothing(&mut subscribe(&channel, Some("g"), 0));
}

/// [S145] Eight processes open a channel that is not there: all get the same one.
#[test]
fn s001_processes_that_create_it_at_once_share_one() {
    let t = Temp::new();
    let path = t.chan();
    let start = |i: u64| Child::start("send one", &[path.to_str().unwrap(), &i.to_string()]);
    let mut children: Vec<_> = (0..8).map(start).collect();
    for child in &mut children {
        child.expect("open");
        child.tell();
    }
    children.into_iter().for_each(Child::succeed);
    let mut c = subscribe(&reopen(&path, EXISTING), None, 0);
    let mut seen: Vec<_> = (0..8).map(|_| take_number(&mut c)).collect();
    seen.sort();
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    take_nothing(&mut c);
}

/// [S24 S108]
#[test]
fn s109_read_only_channels_refuse_to_write() {
    let t = Temp::new();
    let writer = open(t.chan(), &small());
    send_numbers(&mut writer.producer().unwrap(), 0..3);
    let _member = subscribe(&writer, Some("g"), 0);
    let channel = reopen(t.chan(), READ_ONLY);
    assert_eq!(code(channel.producer()), DC_E_STATE);
    assert_eq!(code(channel.subscribe(Some(b"g"), &Default::default())), DC_E_STATE);
    assert_eq!(code(channel.group_delete(b"g")), DC_E_STATE);
    assert_eq!(code(channel.sync(0)), DC_E_STATE);
    assert_eq!(code(channel.maintain(0)), DC_E_STATE);
    assert_eq!(info(&channel).messages, 3);
    assert_eq!(group_info(&channel, "g").lag, 3);
    take_numbers(&mut subscribe(&channel, None, 0), 0..3);
}

/// [S9 S10] Each failure has its sentence, per thread; waiting in vain has none.
#[test]
fn s029_the_text_is_the_last_failure() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let e = channel.group_stats(b"nobody").unwrap_err();
    assert!(e.text().contains("nobody"));
    let mut c = subscribe(&channel, Some("g"), 0);
    let again = c.recv(&mut Message::default(), 0).unwrap_err();
    assert_eq!(again.code(), DC_AGAIN);
    assert!(again.text().contains("nobody"), "DC_AGAIN set a sentence");
    std::thread::spawn(move || assert_eq!(e.text(), "")).join().unwrap();
    assert!(format!("{e:?}").contains("ENOENT") || format!("{e:?}").contains("-2"));
    assert!(!e.to_string().is_empty());
}
