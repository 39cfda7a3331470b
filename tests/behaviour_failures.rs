//! Failures from outside: a flush that fails, a file cut while it is mapped, a small stack.

mod common;
use common::*;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether this process's flushes fail. The tests that set it run in processes of their own.
static FAILING: AtomicBool = AtomicBool::new(false);

fn flush(call: libc::c_long, fd: libc::c_int) -> libc::c_int {
    // SAFETY: the system call behind the function that stands in front of libc's; errno is this
    // thread's own.
    unsafe {
        if FAILING.load(SeqCst) {
            *libc::__errno_location() = libc::EIO;
            return -1;
        }
        libc::syscall(call, fd) as libc::c_int
    }
}

/// Stands in front of libc's.
#[no_mangle]
extern "C" fn fdatasync(fd: libc::c_int) -> libc::c_int {
    flush(libc::SYS_fdatasync, fd)
}

/// Stands in front of libc's.
#[no_mangle]
extern "C" fn fsync(fd: libc::c_int) -> libc::c_int {
    flush(libc::SYS_fsync, fd)
}

/// Whether this process gets no kernel lock, and cannot read the boot id.
static REFUSING: AtomicBool = AtomicBool::new(false);

fn refuse(errno: libc::c_int) -> libc::c_int {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Stands in front of libc's.
#[no_mangle]
extern "C" fn fcntl(fd: libc::c_int, command: libc::c_int, argument: usize) -> libc::c_int {
    if REFUSING.load(SeqCst) && command == libc::F_OFD_SETLK {
        // SAFETY: this command comes with a lock.
        let lock = unsafe { &*(argument as *const libc::flock) };
        if i32::from(lock.l_type) == libc::F_WRLCK {
            return refuse(libc::ENOLCK);
        }
    }
    // SAFETY: the system call behind the function that stands in front of libc's.
    unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) as libc::c_int }
}

/// Stands in front of libc's.
#[no_mangle]
extern "C" fn open64(
    path: *const libc::c_char,
    flags: libc::c_int,
    mode: libc::c_uint,
) -> libc::c_int {
    // SAFETY: a path is terminated.
    let boot_id = unsafe { std::ffi::CStr::from_ptr(path) }.to_bytes().ends_with(b"boot_id");
    if boot_id && REFUSING.load(SeqCst) {
        return refuse(libc::EIO);
    }
    // SAFETY: the system call behind the function that stands in front of libc's.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as libc::c_int }
}

#[test]
fn child_role() {
    play(|role, args| match role {
        "fail to flush" => fail_to_flush(args[0]),
        "be refused" => be_refused(args[0]),
        "guard" => guard(args[0]),
        other => panic!("{other}"),
    });
}

fn bus_handler() -> usize {
    // SAFETY: only asks.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut action), 0);
        action.sa_sigaction
    }
}

fn fail_to_flush(path: &str) {
    let channel = open(path, &Options { durability: SYNC_ALWAYS, ..Options::default() });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    send_numbers(&mut p, 0..5);
    FAILING.store(true, SeqCst);
    fails(p.send(&5u64.to_le_bytes(), -1), DC_E_POISONED, path);
    // Never tried again into a false success.
    FAILING.store(false, SeqCst);
    assert_eq!(code(p.send(b"x", -1)), DC_E_POISONED);
    assert_eq!(code(p.sync(-1)), DC_E_POISONED);
    assert_eq!(code(channel.sync(-1)), DC_E_POISONED);
    assert_eq!(info(&channel).poisoned, 1);
    // Receiving goes on.
    take_numbers(&mut c, 0..5);
    mark("poisoned", "");
    told();
}

/// [S64] For every process, until all have closed.
#[test]
fn s023_a_failed_flush_poisons_the_channel() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut child = Child::start("fail to flush", &[t.chan().to_str().unwrap()]);
    child.expect("poisoned");
    assert_eq!(code(p.send(b"x", 0)), DC_E_POISONED);
    assert_eq!(info(&channel).poisoned, 1);
    take_numbers(&mut subscribe(&channel, Some("h"), 0), 0..5);
    child.tell();
    child.succeed();
    // Not all have closed.
    let second = reopen(t.chan(), 0);
    assert_eq!(code(second.producer().unwrap().send(b"x", 0)), DC_E_POISONED);
    drop((p, channel, second));
    let channel = reopen(t.chan(), 0);
    assert_eq!(info(&channel).poisoned, 0);
    send(&mut channel.producer().unwrap(), 6);
    let mut o = subscribe(&channel, None, 0);
    take_numbers(&mut o, 0..5);
    // Whether 5 was sent is unknown; it is not torn.
    let last = take_number(&mut o);
    assert!(last == 6 || (last == 5 && take_number(&mut o) == 6));
}

/// Nothing is known to have failed on the disk, but this process cannot flush, join, or open.
fn be_refused(path: &str) {
    let o = Options { durability: SYNC_ALWAYS, checksum: CHECKSUM_OFF, ..small() };
    let channel = open(path, &Options { stall_timeout_ms: 100, ..o });
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..5);
    REFUSING.store(true, SeqCst);
    // The message is placed: a code that says it is not sent would be wrong.
    fails(p.send(&5u64.to_le_bytes(), -1), DC_E_POISONED, "not known");
    assert_eq!(info(&channel).poisoned, 0, "and the others go on");
    let (mut sent, more) = (9, 6u64.to_le_bytes());
    let batch = [std::io::IoSlice::new(&more)];
    assert_eq!(code(p.send_batch(&batch, -1, &mut sent)), DC_E_POISONED);
    assert_eq!(sent, 0);
    assert_eq!(code(channel.subscribe(Some(b"g"), &Default::default())), -libc::ENOLCK);
    REFUSING.store(false, SeqCst);
    send(&mut p, 7);
    drop((p, channel));
    let channel = open(path, &Options { durability: SYNC_NONE, ..o });
    send(&mut channel.producer().unwrap(), 8);
    drop(channel);
    // What only this moment cannot tell is no crash of the machine: that would cost the last message.
    REFUSING.store(true, SeqCst);
    fails(Channel::open(path.as_ref(), &o), -libc::EIO, "boot id");
    REFUSING.store(false, SeqCst);
    let channel = reopen(path, 0);
    assert_eq!(info(&channel).recoveries, 0);
    take_numbers(&mut subscribe(&channel, None, 0), 0..9);
}

/// What keeps a process from flushing or opening for a moment costs nothing that was sent.
#[test]
fn s064_a_process_that_is_refused_for_a_moment() {
    let t = Temp::new();
    Child::start("be refused", &[t.chan().to_str().unwrap()]).succeed();
}

/// Reads on in a page that is cut under its mapping.
fn guard(path: &str) {
    let before = bus_handler();
    let plain = reopen(path, EXISTING);
    assert_eq!(bus_handler(), before, "a handler without DC_SIGBUS_GUARD");
    drop(plain);
    let channel = reopen(path, EXISTING | SIGBUS_GUARD);
    assert_ne!(bus_handler(), before);
    let mut c = subscribe(&channel, None, 0);
    take_first(&mut c, 0);
    mark("reading", "");
    told();
    let mut m = Message::default();
    let codes: Vec<_> = (0..20).map(|_| recv(&mut c, &mut m, 0)).collect();
    assert!(codes.contains(&DC_E_CORRUPT), "{codes:?}");
}

/// [S92]
#[test]
fn s093_the_guard_turns_a_truncated_page_into_a_code() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..16);
    drop(channel);
    let mut child = Child::start("guard", &[t.chan().to_str().unwrap()]);
    child.expect("reading");
    for file in files(t.chan()).iter().filter(|f| f.to_str().unwrap().contains("page-")) {
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
    }
    child.tell();
    child.succeed();
}

#[test]
fn s136_stacks_of_64_kib() {
    let t = Temp::new();
    let path = t.chan();
    let everything = move || {
        let channel = open(&path, &small());
        let mut p = channel.producer().unwrap();
        let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
        c.fd().unwrap();
        for n in 0..100 {
            send(&mut p, n);
            take_first(&mut c, n);
            c.ack(ALL).unwrap();
        }
        c.nack().unwrap();
        c.seek(EARLIEST).unwrap();
        channel.sync(-1).unwrap();
        assert_eq!(verify(&path).corrupt, 0);
        info(&channel);
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(everything).unwrap().join().unwrap();
}

/// Claimed ahead: by default a batch while alone in the group, so nothing is left for one that joins;
/// with 1 nothing is.
#[test]
fn s114_prefetch() {
    for (prefetch, for_the_other) in [(1, 1), (4, 4), (0, 16)] {
        let t = Temp::new();
        let channel = open(t.chan(), &small());
        send_numbers(&mut channel.producer().unwrap(), 0..20);
        let o = SubscribeOptions { prefetch, flags: AUTO_NEXT_PAGE, ..Default::default() };
        let mut a = channel.subscribe(Some(b"g"), &o).unwrap();
        take_first(&mut a, 0);
        take_first(&mut subscribe_plain(&channel, "g", ACK_NEXT), for_the_other);
        // What was claimed ahead is handed out to nobody else, and counts as not yet received.
        assert_eq!(consumer_info(&a).unacked, 1);
    }
}
