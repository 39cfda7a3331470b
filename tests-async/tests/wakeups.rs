//! How tasks are woken: by every message, from any process, whatever wakers do; and what it costs nobody.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use disk_chan::{Consumer, Producer};
use disk_chan_tests_async::{library_threads, play, poll_once, role, spin_on, Woken, LONG};
use pollster::block_on;

fn open(path: &Path) -> Producer {
    block_on(disk_chan::new(path, 64 << 10, 4)).unwrap()
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(waker)).is_ready()
}

fn consumers(tx: &Producer, count: usize) -> Vec<Consumer> {
    (0..count).map(|_| block_on(tx.subscribe(0)).unwrap()).collect()
}

/// The sender wakes it before its send is done: no thread stands between them.
#[test]
fn a_send_wakes_a_task_of_its_own_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = block_on(tx.subscribe(0)).unwrap();
    for i in 1..1000 {
        let (woken, waker) = Woken::new();
        let mut pending = rx.recv();
        assert!(!poll_with(&mut pending, &waker));
        assert_eq!(woken.count(), 0);
        block_on(tx.send([i as u8])).unwrap();
        assert!(woken.count() > 0, "message {i}");
        assert_eq!(block_on(pending), Some(&[i as u8][..]));
    }
}

/// A message wakes one task of the group, not all of them (unless the library thread, which looks ten times a second
/// for what was left lying, comes between).
#[test]
fn one_message_wakes_one_task() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let all = consumers(&tx, 50);
    let round = |tx: &mut Producer| {
        let mut pending: Vec<_> = all.iter().map(|rx| rx.recv()).collect();
        let wakers: Vec<_> = all.iter().map(|_| Woken::new()).collect();
        for (receive, (_, waker)) in pending.iter_mut().zip(&wakers) {
            assert!(!poll_with(receive, waker));
        }
        block_on(tx.send("x")).unwrap();
        let woken: Vec<usize> = (0..50).filter(|i| wakers[*i].0.count() > 0).collect();
        assert!(poll_with(&mut pending[woken[0]], &wakers[0].1));
        woken.len()
    };
    let woken: Vec<usize> = (0..20).map(|_| round(&mut tx)).collect();
    assert!(woken.contains(&1), "{woken:?}");
}

#[test]
fn a_wake_spent_on_a_dropped_receive_is_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let all = consumers(&tx, 2);
    for _ in 0..100 {
        let mut pending: Vec<_> = all.iter().map(|rx| rx.recv()).collect();
        let wakers = [Woken::new(), Woken::new()];
        for (receive, (_, waker)) in pending.iter_mut().zip(&wakers) {
            assert!(!poll_with(receive, waker));
        }
        block_on(tx.send("x")).unwrap();
        let first = wakers.iter().position(|(w, _)| w.count() > 0).unwrap();
        drop(pending.remove(first));
        assert!(wakers[1 - first].0.count() > 0, "nobody was told");
        assert_eq!(block_on(pending.remove(0)), Some(&b"x"[..]));
    }
}

/// A task that takes one of two messages leaves the other to somebody who is awake.
#[test]
fn a_wake_is_passed_on_where_more_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let all = consumers(&tx, 3);
    for _ in 0..100 {
        let mut pending: Vec<_> = all.iter().map(|rx| rx.recv()).collect();
        let wakers: Vec<_> = all.iter().map(|_| Woken::new()).collect();
        assert!(!poll_with(&mut pending[0], &wakers[0].1));
        block_on(tx.send("one")).unwrap();
        block_on(tx.send("two")).unwrap();
        // It comes too late to be woken by a send; it finds one of them all the same, and the third one waits.
        assert!(poll_with(&mut pending[1], &wakers[1].1));
        assert!(poll_with(&mut pending[2], &wakers[2].1));
        assert!(!poll_with(&mut pending[0], &wakers[0].1));
        block_on(tx.send("three")).unwrap();
        assert!(poll_with(&mut pending[0], &wakers[0].1));
    }
}

#[test]
fn two_tasks_may_wait_for_one_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = block_on(tx.subscribe(0)).unwrap();
    let (mut a, mut b, mut c) = (rx.recv(), rx.recv(), rx.recv());
    let [(one, first), (two, second), (_, third)] = [Woken::new(), Woken::new(), Woken::new()];
    assert!(!poll_with(&mut a, &first));
    assert!(!poll_with(&mut b, &second));
    assert!(!poll_with(&mut c, &third));
    // It keeps nothing of the others'.
    drop(c);
    block_on(tx.send("x")).unwrap();
    assert!(one.count() > 0 && two.count() > 0);
    assert!(poll_with(&mut b, &second));
    assert!(!poll_with(&mut a, &first));
    let before = one.count();
    block_on(tx.send("y")).unwrap();
    assert!(one.count() > before);
    assert!(poll_with(&mut a, &first));
}

/// The last waker is the one that counts, and the old one is let go of.
#[test]
fn another_waker_takes_the_place_of_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = block_on(tx.subscribe(0)).unwrap();
    let mut pending = rx.recv();
    let (old, waker) = Woken::new();
    assert!(!poll_with(&mut pending, &waker));
    drop(waker);
    let (new, waker) = Woken::new();
    assert!(!poll_with(&mut pending, &waker));
    assert_eq!(Arc::strong_count(&old), 1);
    block_on(tx.send("x")).unwrap();
    assert!(old.count() == 0 && new.count() > 0);
    drop(pending);
    drop(waker);
    assert_eq!(Arc::strong_count(&new), 1);
}

#[test]
fn room_wakes_every_send_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    while poll_once(&mut tx.send([0; 1000])).is_ready() {}
    let mut others: Vec<Producer> = (0..5).map(|_| tx.clone()).collect();
    let wakers: Vec<_> = others.iter().map(|_| Woken::new()).collect();
    let mut sends: Vec<_> = others.iter_mut().map(|tx| tx.send([1; 1000])).collect();
    for (send, (_, waker)) in sends.iter_mut().zip(&wakers) {
        assert!(!poll_with(send, waker));
    }
    // The first page.
    while block_on(rx.recv()).is_some() {}
    block_on(rx.next_page()).unwrap();
    assert!(block_on(rx.recv()).is_some());
    for (send, (woken, waker)) in sends.iter_mut().zip(&wakers) {
        woken.wait(1);
        assert!(poll_with(send, waker));
    }
}

/// Ends with the test, however that ends.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Back and forth between two processes, both asleep.
#[test]
fn another_process_is_woken_by_every_message() {
    const TEST: &str = "another_process_is_woken_by_every_message";
    const COUNT: u32 = 300;
    let playing = role();
    let dir = tempfile::tempdir().unwrap();
    let path = playing.as_ref().map_or(dir.path().join("channel"), |(_, path)| path.clone());
    let mut tx = open(&path);
    // Groups of one each: what they are not meant to answer they pass over.
    let mut rx = block_on(tx.subscribe(playing.is_some() as usize)).unwrap();
    let answers = playing.is_some();
    let _child = (!answers).then(|| Kept(play(TEST, "answer", &path)));
    let mut turn = 0;
    if !answers {
        block_on(tx.send(0_u32.to_le_bytes())).unwrap();
    }
    while turn < COUNT {
        let number = loop {
            match block_on(rx.recv()) {
                Some(m) => break u32::from_le_bytes(m.try_into().unwrap()),
                None => block_on(rx.next_page()).unwrap(),
            }
        };
        // Odd numbers are answers.
        if (number % 2 == 1) != answers {
            turn = number + 1;
            block_on(tx.send(turn.to_le_bytes())).unwrap();
        }
    }
}

/// Its task was woken, and it was killed before it took the message: another process's task is.
#[test]
fn a_process_killed_when_it_was_woken_keeps_nobody_asleep() {
    const TEST: &str = "a_process_killed_when_it_was_woken_keeps_nobody_asleep";
    if let Some((_, path)) = role() {
        let tx = open(&path);
        let rx = block_on(tx.subscribe(0)).unwrap();
        let (_, waker) = Woken::new();
        let mut pending = rx.recv();
        assert!(!poll_with(&mut pending, &waker));
        std::fs::write(path.with_extension("ready"), "").unwrap();
        loop {
            std::thread::sleep(LONG);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("channel");
    let mut tx = open(&path);
    // Its handle comes first, so it is woken first.
    let child = Kept(play(TEST, "pend", &path));
    while !path.with_extension("ready").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rx = block_on(tx.subscribe(0)).unwrap();
    let (woken, waker) = Woken::new();
    let mut pending = rx.recv();
    assert!(!poll_with(&mut pending, &waker));
    block_on(tx.send("x")).unwrap();
    drop(child);
    woken.wait(1);
    assert_eq!(block_on(pending), Some(&b"x"[..]));
}

/// Wakers that do what they should not: poll in place, send, subscribe, close.
#[test]
fn a_waker_may_use_the_channel() {
    struct Busy(Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Wake for Busy {
        fn wake(self: Arc<Self>) {
            let act = self.0.lock().unwrap().take();
            if let Some(act) = act {
                act();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = Arc::new(block_on(tx.subscribe(0)).unwrap());
    let mates = consumers(&tx, 1);
    for _ in 0..10 {
        let (rx_c, mut tx_c) = (rx.clone(), tx.clone());
        let busy = Busy(Mutex::new(Some(Box::new(move || {
            let _ = poll_once(&mut rx_c.recv());
            block_on(tx_c.send("y")).unwrap();
            drop(block_on(tx_c.subscribe(0)).unwrap());
        }))));
        let waker = Waker::from(Arc::new(busy));
        // `rx` is woken, and passes the wake on as its receive is dropped, when it is in use itself.
        let mut first = rx.recv();
        let mut pending = mates[0].recv();
        let (_, quiet) = Woken::new();
        assert!(!poll_with(&mut first, &quiet));
        assert!(!poll_with(&mut pending, &waker));
        block_on(tx.send("x")).unwrap();
        drop(first);
        drop(pending);
        while poll_once(&mut rx.recv()).is_ready() {}
    }
}

/// A panic of somebody's waker is not the sender's.
#[test]
fn a_waker_that_panics_does_not_undo_a_send() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = block_on(tx.subscribe(0)).unwrap();
    let mut pending = rx.recv();
    assert!(!poll_with(&mut pending, &Arc::new(Panics).into()));
    block_on(tx.send("x")).unwrap();
    assert_eq!(block_on(pending), Some(&b"x"[..]));
}

/// The library thread calls a waker that closes all there is of the channel.
#[test]
fn a_waker_called_by_the_library_may_close_everything() {
    const TEST: &str = "a_waker_called_by_the_library_may_close_everything";
    if let Some((_, path)) = role() {
        block_on(open(&path).send("x")).unwrap();
        return;
    }
    type Held = Option<(Producer, Consumer)>;
    struct Closes(Mutex<Held>, std::sync::mpsc::SyncSender<()>);
    impl Wake for Closes {
        fn wake(self: Arc<Self>) {
            let held = self.0.lock().unwrap().take();
            drop(held);
            self.1.send(()).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("channel");
    let tx = open(&path);
    let rx = block_on(tx.subscribe(0)).unwrap();
    let (closed, is_closed) = std::sync::mpsc::sync_channel(1);
    let closes = Arc::new(Closes(Mutex::new(None), closed));
    {
        let waker = closes.clone().into();
        let mut pending = std::mem::ManuallyDrop::new(rx.recv());
        assert!(!poll_with(&mut *pending, &waker));
    }
    *closes.0.lock().unwrap() = Some((tx, rx));
    assert!(play(TEST, "send", &path).wait().unwrap().success());
    is_closed.recv_timeout(LONG).unwrap();
    drop(closes);
    // Everything is closed, so that the channel may be destroyed.
    let begin = std::time::Instant::now();
    while let Err(e) = disk_chan::raw::Channel::destroy(&path) {
        // The thread ends its round first.
        assert!(begin.elapsed() < LONG, "{e:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn many_tasks_wait_without_threads() {
    const TEST: &str = "many_tasks_wait_without_threads";
    // Alone in its process, as threads are counted.
    let Some((_, path)) = role() else {
        let dir = tempfile::tempdir().unwrap();
        assert!(play(TEST, "wait", &dir.path().join("c")).wait().unwrap().success());
        return;
    };
    let tx = open(&path);
    let mut all = Vec::new();
    for group in 0..4 {
        all.extend((0..200).map(|_| block_on(tx.subscribe(group)).unwrap()));
    }
    let mut pending: Vec<_> = all.iter().map(|rx| rx.recv()).collect();
    let (woken, waker) = Woken::new();
    assert!(pending.iter_mut().all(|p| !poll_with(p, &waker)));
    assert_eq!(library_threads(), 1);
    assert_eq!(woken.count(), 0);
}

/// While nobody sleeps, a message takes no system call: any but the process's end would kill it.
#[test]
fn no_system_calls_while_nobody_sleeps() {
    const TEST: &str = "no_system_calls_while_nobody_sleeps";
    let Some((_, path)) = role() else {
        let dir = tempfile::tempdir().unwrap();
        let status = play(TEST, "flow", &dir.path().join("c")).wait().unwrap();
        assert!(status.success(), "{status}: a system call");
        return;
    };
    let mut tx = block_on(disk_chan::new(&path, 16_usize << 20, 4)).unwrap();
    let (rx, other) =
        block_on(async { (tx.subscribe(0).await.unwrap(), tx.subscribe(1).await.unwrap()) });
    let mut tx_c = tx.clone();
    // Once through everything that happens once.
    for _ in 0..100 {
        spin_on(tx.send([1; 100])).unwrap();
        spin_on(tx_c.send([1; 100])).unwrap();
    }
    for _ in 0..200 {
        assert!(spin_on(rx.recv()).is_some() && spin_on(other.recv()).is_some());
    }
    forbid_system_calls();
    for i in 0..10_000 {
        for tx in [&mut tx, &mut tx_c] {
            if !matches!(poll_once(&mut tx.send([i as u8; 100])), std::task::Poll::Ready(Ok(()))) {
                end(2);
            }
        }
        for rx in [&rx, &rx, &other, &other] {
            match poll_once(&mut rx.recv()) {
                std::task::Poll::Ready(Some(m)) if m == [i as u8; 100] => {}
                _ => end(3),
            }
        }
    }
    end(0);
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is needed any more.
    unsafe { libc::_exit(code) }
}

/// From here on every system call of this thread but `exit_group` kills the process.
fn forbid_system_calls() {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 0, 1, libc::SYS_exit_group as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps live during the calls; both concern this thread alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
            0
        );
    }
}

/// In a child made by `fork` the parent's handles say so, and wait for nothing.
#[test]
fn handles_are_dead_in_a_forked_child() {
    const TEST: &str = "handles_are_dead_in_a_forked_child";
    // Alone in its process, as the child has one thread only.
    let Some((_, path)) = role() else {
        let dir = tempfile::tempdir().unwrap();
        assert!(play(TEST, "fork", &dir.path().join("c")).wait().unwrap().success());
        return;
    };
    let mut tx = open(&path);
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    assert!(poll_once(&mut rx.recv()).is_pending());
    // SAFETY: the child calls nothing but what is tested here, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let dead = matches!(poll_once(&mut rx.recv()), std::task::Poll::Ready(None))
            && block_on(rx.next_page()).is_err()
            && matches!(poll_once(&mut tx.send("x")), std::task::Poll::Ready(Err(_)));
        drop((tx, rx));
        end(if dead { 0 } else { 1 });
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    block_on(tx.send("x")).unwrap();
    assert_eq!(block_on(rx.recv()), Some(&b"x"[..]));
}
