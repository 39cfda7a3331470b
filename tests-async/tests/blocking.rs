//! What `disk_chan::blocking` promises beyond its examples.

use std::time::{Duration, Instant};

use disk_chan::blocking::*;
use disk_chan_tests_async::LONG;

const NOW: Option<Duration> = Some(Duration::ZERO);

/// Pages of 16 messages, 4 of them.
fn small(retention: Retention) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.page_size(64 << 10).max_messages_per_page(16).max_pages(4).retention(retention);
    options
}

fn numbers<'a>(messages: impl IntoIterator<Item = &'a Message<'a>>) -> Vec<u32> {
    messages.into_iter().map(|m| u32::from_le_bytes(m[..].try_into().unwrap())).collect()
}

#[test]
fn signals_do_not_end_a_wait() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let dir = tempfile::tempdir().unwrap();
    let channel = Channel::open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut consumer = channel.subscribe("g").unwrap();
    // SAFETY: always fine.
    let waiting = unsafe { libc::pthread_self() } as usize;
    let disturb = std::thread::spawn(move || {
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(2));
            // SAFETY: that thread lives until this one has ended.
            assert_eq!(unsafe { libc::pthread_kill(waiting as _, libc::SIGUSR1) }, 0);
        }
        producer.send("x").unwrap();
    });
    assert_eq!(&consumer.recv_timeout(LONG).unwrap()[..], b"x");
    disturb.join().unwrap();
}

#[test]
fn a_timeout_passes_and_not_too_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut consumer = Channel::open(dir.path()).unwrap().subscribe("g").unwrap();
    for timeout in [Duration::from_micros(1500), Duration::from_millis(30)] {
        let begin = Instant::now();
        assert_eq!(consumer.recv_timeout(timeout).unwrap_err().kind(), ErrorKind::Timeout);
        assert!(begin.elapsed() >= timeout);
    }
}

#[test]
fn what_a_ring_dropped_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let channel = small(Retention::Ring).open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut consumer = channel.observe().unwrap();
    for i in 0..200_u32 {
        producer.send(i.to_le_bytes()).unwrap();
    }
    // The page that it is in stays.
    let first = consumer.page(NOW).map(|m| numbers([&m.unwrap()])[0]).collect::<Vec<_>>();
    assert_eq!(first, (0..16).collect::<Vec<_>>());
    assert_eq!(consumer.recv().unwrap_err().kind(), ErrorKind::Lagged);
    let rest: Vec<_> = consumer.vecs(NOW).map(Result::unwrap).collect();
    assert_eq!(rest.last().unwrap()[..], 199_u32.to_le_bytes());
    assert_eq!(consumer.info().unwrap().lost as usize, 200 - 16 - rest.len());
}

#[test]
fn a_damaged_message_is_skipped_and_its_position_told() {
    let dir = tempfile::tempdir().unwrap();
    let channel = small(Retention::Unread).open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut positions = Vec::new();
    for i in 0..5_u64 {
        producer.send((0x1122_3344_5566_7700 + i).to_le_bytes()).unwrap();
        positions.push(producer.sent_position().unwrap());
    }
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for damaged in [1, 3] {
            let wanted = (0x1122_3344_5566_7700 + damaged as u64).to_le_bytes();
            if let Some(at) = bytes.windows(8).position(|w| w == wanted) {
                bytes[at + 2] ^= 1;
                use std::os::unix::fs::FileExt;
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&bytes[at..at + 8], at as u64).unwrap();
            }
        }
    }
    let mut one = channel.subscribe("one by one").unwrap();
    for (i, position) in positions.iter().enumerate() {
        match one.try_recv() {
            Ok(message) => assert_eq!(message.position(), *position),
            Err(e) => {
                assert_eq!((e.kind(), e.position()), (ErrorKind::Corrupt, Some(*position)));
                assert!(i == 1 || i == 3);
            }
        }
    }
    let mut batches = channel.subscribe("in batches").unwrap();
    let mut seen = Vec::new();
    loop {
        match batches.recv_batch(100, NOW) {
            Ok(batch) => seen.extend(batch.iter().map(|m| m.position())),
            Err(e) if e.kind() == ErrorKind::Corrupt => seen.push(e.position().unwrap()),
            Err(e) => break assert_eq!(e.kind(), ErrorKind::Timeout),
        }
    }
    assert_eq!(seen, positions);
}

#[test]
fn a_slot_held_for_too_long_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small(Retention::Unread);
    let channel = options.stall_timeout(Duration::from_millis(50)).open(dir.path()).unwrap();
    let (mut producer, mut other) = (channel.producer().unwrap(), channel.producer().unwrap());
    let mut consumer = channel.subscribe("g").unwrap();
    let mut slot = producer.reserve(100, None).unwrap();
    slot[..4].copy_from_slice(&1_u32.to_le_bytes());
    other.send(2_u32.to_le_bytes()).unwrap();
    assert_eq!(numbers([&consumer.recv_timeout(LONG).unwrap()]), [2]);
    slot.commit(4).unwrap();
    assert_eq!(numbers([&consumer.recv_timeout(LONG).unwrap()]), [1]);
    assert_eq!(consumer.try_recv().unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn a_slot_that_cannot_be_committed_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let channel = small(Retention::Unread).open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut consumer = channel.subscribe("g").unwrap();
    let e = producer.reserve(10, None).unwrap().commit(11).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    drop(producer.reserve(10, None).unwrap());
    // Nothing in front is waited for.
    producer.send(7_u32.to_le_bytes()).unwrap();
    assert_eq!(numbers([&consumer.try_recv().unwrap()]), [7]);
}

#[test]
fn a_batch_sends_what_there_is_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let channel = small(Retention::Unread).open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut consumer = channel.subscribe("g").unwrap();
    let all: Vec<[u8; 4]> = (0..500_u32).map(u32::to_le_bytes).collect();
    let (mut sent, mut seen) = (0, Vec::new());
    while sent < all.len() {
        match producer.send_batch(&all[sent..], NOW) {
            Ok(more) => {
                assert!(more > 0);
                sent += more;
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::Timeout),
        }
        seen.extend(numbers(&consumer.recv_batch(40, NOW).unwrap()));
    }
    seen.extend(consumer.vecs(NOW).map(|m| u32::from_le_bytes(m.unwrap().try_into().unwrap())));
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
}

#[test]
fn messages_of_a_page_are_held_while_the_ring_moves_on() {
    let dir = tempfile::tempdir().unwrap();
    let channel = small(Retention::Ring).open(dir.path()).unwrap();
    let mut producer = channel.producer().unwrap();
    let mut consumer = channel.subscribe("g").unwrap();
    for i in 0..16_u32 {
        producer.send(i.to_le_bytes()).unwrap();
    }
    let mut page = consumer.page(NOW);
    let held: Vec<Message> = page.by_ref().map(Result::unwrap).collect();
    assert!(page.is_over());
    for i in 100..300_u32 {
        producer.send(i.to_le_bytes()).unwrap();
    }
    assert_eq!(numbers(&held), (0..16).collect::<Vec<_>>());
    consumer.next_page().unwrap();
    assert_eq!(consumer.recv().unwrap_err().kind(), ErrorKind::Lagged);
    assert!(numbers([&consumer.recv().unwrap()])[0] > 200);
}
