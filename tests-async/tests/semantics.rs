//! Where disk-chan 0.3.0 loses, panics, hangs or deletes, this does not.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use disk_chan::{Consumer, Producer};
use disk_chan_tests_async::{play, poll_once, role};
use pollster::block_on;

const SIZE: u32 = 64 << 10;
/// Messages of 1,000 bytes that a page of [`SIZE`] holds.
const A_PAGE: usize = 65;

fn open(path: &Path) -> Producer {
    block_on(disk_chan::new(path, SIZE, 4)).unwrap()
}

fn numbered(i: usize) -> Vec<u8> {
    let mut message = vec![b'm'; 1000];
    message[..8].copy_from_slice(&i.to_le_bytes());
    message
}

fn number(message: &[u8]) -> usize {
    assert!(message[8..].iter().all(|b| *b == b'm'));
    usize::from_le_bytes(message[..8].try_into().unwrap())
}

async fn next(rx: &mut Consumer) -> usize {
    loop {
        match rx.recv().await {
            Some(m) => return number(m),
            None => rx.next_page().await.unwrap(),
        }
    }
}

/// Everything there is.
fn rest(rx: &mut Consumer) -> Vec<usize> {
    let mut all = Vec::new();
    loop {
        let mut found = rx.recv();
        match poll_once(&mut found) {
            std::task::Poll::Ready(Some(m)) => all.push(number(m)),
            std::task::Poll::Ready(None) => {
                drop(found);
                block_on(rx.next_page()).unwrap();
            }
            std::task::Poll::Pending => return all,
        }
    }
}

#[test]
fn a_dropped_receive_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    for i in 0..1000 {
        let mut pending = rx.recv();
        assert!(poll_once(&mut pending).is_pending());
        // Before the message, and after it: woken, and dropped all the same.
        if i % 2 == 0 {
            drop(pending);
            block_on(tx.send(numbered(i))).unwrap();
        } else {
            block_on(tx.send(numbered(i))).unwrap();
            drop(pending);
        }
        assert_eq!(block_on(next(&mut rx)), i);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timing_out_loses_nothing() {
    const COUNT: usize = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let tx = open(dir.path());
    let mut rx = tx.subscribe(0).await.unwrap();
    let mut tx_c = tx.clone();
    let sender = tokio::spawn(async move {
        for i in 0..COUNT {
            tx_c.send(numbered(i)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut i = 0;
    let mut timeouts = 0;
    while i < COUNT {
        // Mostly too short.
        match tokio::time::timeout(Duration::from_micros(1), rx.recv()).await {
            Ok(Some(m)) => {
                assert_eq!(number(m), i);
                i += 1;
            }
            Ok(None) => rx.next_page().await.unwrap(),
            Err(_) => timeouts += 1,
        }
    }
    sender.await.unwrap();
    println!("{timeouts} timeouts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn select_works() {
    const COUNT: usize = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let tx = open(dir.path());
    let (mut one, mut other) = (tx.subscribe(1).await.unwrap(), tx.subscribe(2).await.unwrap());
    let mut tx_c = tx.clone();
    let sender = tokio::spawn(async move {
        for i in 0..COUNT {
            tx_c.send(numbered(i)).await.unwrap();
        }
    });
    let mut seen = [0, 0];
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    while seen != [COUNT, COUNT] {
        let turn = tokio::select! {
            message = one.recv() => match message {
                Some(m) => {
                    assert_eq!(number(m), seen[0]);
                    seen[0] += 1;
                    0
                }
                None => 1,
            },
            message = other.recv() => match message {
                Some(m) => {
                    assert_eq!(number(m), seen[1]);
                    seen[1] += 1;
                    0
                }
                None => 2,
            },
            _ = ticks.tick() => 0,
        };
        match turn {
            1 => one.next_page().await.unwrap(),
            2 => other.next_page().await.unwrap(),
            _ => {}
        }
    }
    sender.await.unwrap();
}

#[test]
fn a_pending_receive_may_be_polled_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let rx = block_on(tx.subscribe(0)).unwrap();
    let mut pending = rx.recv();
    for _ in 0..100 {
        assert!(poll_once(&mut pending).is_pending());
    }
    block_on(tx.send(numbered(7))).unwrap();
    assert_eq!(block_on(pending).map(number), Some(7));
}

#[test]
fn any_group_number_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    block_on(tx.send(numbered(5))).unwrap();
    for group in [0, 15, 16, 17, 1000, usize::MAX] {
        let mut rx = block_on(tx.subscribe(group)).unwrap();
        assert_eq!(rest(&mut rx), [5], "group {group}");
    }
}

#[test]
fn everything_may_be_dropped_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut tx = open(dir.path());
        let mut rx = block_on(tx.subscribe(0)).unwrap();
        // What the last round left.
        let left: Vec<usize> = if round == 0 { vec![] } else { (50..100).collect() };
        assert_eq!(rest(&mut rx), left);
        for i in 0..100 {
            block_on(tx.send(numbered(i))).unwrap();
        }
        for i in 0..50 {
            assert_eq!(block_on(next(&mut rx)), i);
        }
        // In an order that ends with a consumer, and one that ends with a producer.
        if round % 2 == 0 {
            drop(tx);
        }
    }
}

/// A message is acknowledged as it is received: whoever goes next gets the next one.
#[test]
fn what_was_received_does_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    for i in 0..10 {
        block_on(tx.send(numbered(i))).unwrap();
    }
    for i in 0..10 {
        let mut rx = block_on(tx.subscribe(0)).unwrap();
        assert_eq!(block_on(next(&mut rx)), i);
    }
}

#[test]
fn a_message_larger_than_a_page_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    block_on(tx.send(numbered(0))).unwrap();
    let e = block_on(tx.send(vec![0; SIZE as usize + 1])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert!(e.to_string().contains("never fits"), "{e}");
    block_on(tx.send(numbered(1))).unwrap();
    assert_eq!(rest(&mut rx), [0, 1]);
}

#[test]
fn other_sizes_at_reopening_are_an_error_and_delete_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    for i in 0..3 * A_PAGE {
        block_on(tx.send(numbered(i))).unwrap();
    }
    drop(tx);
    for (size, pages) in [(SIZE, 2), (2 * SIZE, 4), (SIZE, 5)] {
        let e = block_on(disk_chan::new(dir.path(), size, pages)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    }
    let mut rx = block_on(open(dir.path()).subscribe(0)).unwrap();
    assert_eq!(rest(&mut rx), (0..3 * A_PAGE).collect::<Vec<_>>());
}

/// What 0.3.0 left is not taken for a channel, and stays; its lock file means nothing here.
#[test]
fn a_directory_of_the_original_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".pid.lock", "data.0.bin"] {
        std::fs::write(dir.path().join(name), "77").unwrap();
    }
    let e = block_on(disk_chan::new(dir.path(), SIZE, 4)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidData, "{e}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn sizes_that_make_no_sense_are_errors_or_taken_as_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    for size in [-1, i32::MIN] {
        let e = block_on(disk_chan::new(&path, size, 4)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }
    let e = block_on(disk_chan::new(&path, usize::MAX, 4)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert!(!path.exists());
    let mut tx = block_on(disk_chan::new(&path, 100_u32, 0)).unwrap();
    block_on(tx.send(numbered(1))).unwrap();
}

/// Where nobody listens it is a ring: sends do not wait, the oldest go.
#[test]
fn a_ring_where_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    drop(block_on(tx.subscribe(0)).unwrap());
    let count = 20 * A_PAGE;
    for i in 0..count {
        let mut sent = tx.send(numbered(i));
        assert!(poll_once(&mut sent).is_ready(), "{i}");
    }
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    let left = rest(&mut rx);
    assert!((2 * A_PAGE..=4 * A_PAGE).contains(&left.len()), "{}", left.len());
    assert_eq!(left, (count - left.len()..count).collect::<Vec<_>>());
}

/// With a live consumer that lags, sends wait, and send nothing where they are dropped.
#[test]
fn a_send_waits_for_a_live_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    let mut sent = 0;
    let most = 10 * A_PAGE;
    while sent < most {
        let mut sending = tx.send(numbered(sent));
        if poll_once(&mut sending).is_pending() {
            assert!(poll_once(&mut sending).is_pending());
            break;
        }
        sent += 1;
    }
    assert!((3 * A_PAGE..=4 * A_PAGE).contains(&sent), "{sent}");
    // Another producer finds it as full, and its message is not sent either.
    assert!(poll_once(&mut tx.clone().send(numbered(9999))).is_pending());
    let waiting = std::thread::spawn(move || {
        block_on(tx.send(numbered(sent))).unwrap();
        tx
    });
    let all: Vec<usize> = (0..=sent).map(|_| block_on(next(&mut rx))).collect();
    assert_eq!(all, (0..=sent).collect::<Vec<_>>());
    let tx = waiting.join().unwrap();
    assert_eq!(rest(&mut rx), []);
    drop(tx);
}

/// Bytes stay as they are until `next_page`, though the ring moves on.
#[test]
fn messages_stay_until_the_next_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    for i in 0..A_PAGE {
        block_on(tx.send(numbered(i))).unwrap();
    }
    let held: Vec<&[u8]> = (0..A_PAGE).map(|_| block_on(rx.recv()).unwrap()).collect();
    let mut other = block_on(rx.try_clone()).unwrap();
    for i in A_PAGE..20 * A_PAGE {
        block_on(tx.send(numbered(i))).unwrap();
        assert_eq!(block_on(next(&mut other)), i);
    }
    assert!(held.iter().enumerate().all(|(i, m)| number(m) == i));
    assert_eq!(block_on(rx.recv()), None);
    block_on(rx.next_page()).unwrap();
}

/// What one consumer claimed ahead while it was alone is not out of reach of those who come.
#[test]
fn an_idle_consumer_keeps_nothing_from_its_clones() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    for i in 0..60 {
        block_on(tx.send(numbered(i))).unwrap();
    }
    assert_eq!(block_on(next(&mut rx)), 0);
    let mut other = block_on(rx.try_clone()).unwrap();
    assert_eq!(rest(&mut other), (1..60).collect::<Vec<_>>());
    for i in 60..100 {
        block_on(tx.send(numbered(i))).unwrap();
        let consumer = if i % 2 == 0 { &mut rx } else { &mut other };
        assert_eq!(block_on(next(consumer)), i);
    }
}

#[test]
fn a_damaged_message_is_told_by_next_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut tx = open(dir.path());
    for i in 0..3 {
        block_on(tx.send(numbered(i))).unwrap();
    }
    let wanted = &numbered(1)[..];
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|w| w == wanted) {
            bytes[at + 500] ^= 1;
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&bytes[at + 500..at + 501], (at + 500) as u64).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let mut rx = block_on(tx.subscribe(0)).unwrap();
    assert_eq!(block_on(rx.recv()).map(number), Some(0));
    assert_eq!(block_on(rx.recv()), None);
    let e = block_on(rx.next_page()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidData, "{e}");
    let inner = e.get_ref().unwrap().downcast_ref::<disk_chan::blocking::Error>().unwrap();
    assert!(inner.position().is_some());
    assert_eq!(rest(&mut rx), [2]);
}

/// A page near 4 GiB can be opened again.
#[test]
fn a_page_of_four_gibibytes() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2 {
        let mut tx = match block_on(disk_chan::new(dir.path(), u32::MAX, 2)) {
            Ok(tx) => tx,
            Err(e) if e.kind() == ErrorKind::StorageFull => {
                println!("SKIPPED: no 4 GiB of room in {}", dir.path().display());
                return;
            }
            Err(e) => panic!("{e}"),
        };
        block_on(tx.send(numbered(i))).unwrap();
    }
    let tx = block_on(disk_chan::new(dir.path(), u32::MAX, 2)).unwrap();
    assert_eq!(rest(&mut block_on(tx.subscribe(0)).unwrap()), [0, 1]);
}

/// Three processes send, this one and two others receive; then two are killed at work.
#[test]
fn several_processes_open_one_path() {
    const TEST: &str = "several_processes_open_one_path";
    const EACH: usize = 2_000;
    if let Some((what, path)) = role() {
        let mut tx = open(&path);
        if let Some(from) = what.strip_prefix("send ") {
            let from: usize = from.parse().unwrap();
            (from..from + EACH).for_each(|i| block_on(tx.send(numbered(i))).unwrap());
        } else {
            // For ever: until it is killed.
            let mut rx = block_on(tx.subscribe(8)).unwrap();
            loop {
                block_on(next(&mut rx));
            }
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("channel");
    let tx = open(&path);
    let mut rx = block_on(tx.subscribe(7)).unwrap();
    let mut doomed: Vec<_> = (0..2).map(|_| play(TEST, "receive", &path)).collect();
    let senders: Vec<_> =
        (0..3).map(|i| play(TEST, &format!("send {}", i * EACH), &path)).collect();
    let mut all: Vec<usize> = Vec::new();
    for i in 0..3 * EACH {
        all.push(block_on(next(&mut rx)));
        if i == EACH {
            doomed.iter_mut().for_each(|child| child.kill().unwrap());
            doomed.iter_mut().for_each(|child| assert!(!child.wait().unwrap().success()));
        }
    }
    for mut child in senders {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(rest(&mut rx), []);
    all.sort_unstable();
    assert_eq!(all, (0..3 * EACH).collect::<Vec<_>>());
}
