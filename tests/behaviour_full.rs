//! A disk without a block to spare: a small tmpfs in a mount namespace of the child's own.

mod common;
use common::*;
use std::ffi::CString;
use std::io::Write;
use std::path::Path;

#[test]
fn child_role() {
    play(|role, args| match role {
        "join on a full disk" => join_on_a_full_disk(args[0]),
        other => panic!("{other}"),
    });
}

/// Mount a small tmpfs where only this thread sees it; false: not allowed to.
fn small_disk(at: &str) -> bool {
    let at = CString::new(at).unwrap();
    let (tmpfs, none) = (c"tmpfs".as_ptr(), std::ptr::null());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain system calls; all strings are terminated and outlive them.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(tmpfs, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(tmpfs, at.as_ptr(), tmpfs, 0, c"size=1m".as_ptr().cast()) == 0
    }
}

/// Take every block that is left.
fn fill(at: &Path) {
    let mut file = std::fs::File::create(at).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

fn join_on_a_full_disk(at: &str) {
    if !small_disk(at) {
        println!("SKIPPED: mounting a small disk needs root");
        return;
    }
    let at = Path::new(at);
    let channel = open(at.join("channel"), &small());
    let mut p = channel.producer().unwrap();
    let mut first = subscribe(&channel, Some("g"), ACK_NEXT);
    send_numbers(&mut p, 0..3);
    fill(&at.join("ballast"));
    let o = SubscribeOptions::default();
    for group in [&b"g"[..], b"another"] {
        assert_eq!(code(channel.subscribe(Some(group), &o)), -libc::ENOSPC);
    }
    take_numbers(&mut first, 0..3);
    std::fs::remove_file(at.join("ballast")).unwrap();
    channel.subscribe(Some(b"g"), &o).unwrap();
}

/// Another member needs a block of the group's file, which on a tmpfs even a look at a hole would take.
#[test]
fn s131_no_room_for_another_member() {
    let t = Temp::new();
    Child::start("join on a full disk", &[t.dir().to_str().unwrap()]).succeed();
}
