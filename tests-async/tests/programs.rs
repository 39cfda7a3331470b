//! Programs written for disk-chan 0.3.0, as they stand: what its README shows, and what its tests do.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;

const COUNT: usize = 5_000_000;
const THREADS: usize = 4;

/// Of 100 bytes.
fn message() -> String {
    "a".repeat(100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_tasks_send_and_four_receive() -> Result<(), std::io::Error> {
    const MESSAGE: &str = "test message";
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("path-to-channel");

    let tx = disk_chan::new(&path, 2_usize.pow(24), 16).await?;
    let rx = tx.subscribe(0).await?;

    let mut handles = Vec::new();
    for _ in 0..THREADS {
        let mut rx_c = rx.try_clone().await?;
        handles.push(tokio::spawn(async move {
            for _ in 0..COUNT / THREADS {
                loop {
                    match rx_c.recv().await {
                        Some(m) => {
                            assert_eq!(m, MESSAGE.as_bytes());
                            break;
                        }
                        None => rx_c.next_page().await.unwrap(),
                    }
                }
            }
        }));
    }
    for _ in 0..THREADS {
        let mut tx_c = tx.clone();
        handles.push(tokio::spawn(async move {
            for _ in 0..COUNT / THREADS {
                tx_c.send("test message").await.unwrap();
            }
        }));
    }
    for h in handles {
        h.await.unwrap();
    }
    Ok(())
}

/// Two worker threads, both taken by producers until the channel is full: they have to give way. Each message comes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_start_first_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let tx = disk_chan::new(dir.path().join("mpmc"), 2_u32.pow(24), 16).await.unwrap();
    let rx = tx.subscribe(0).await.unwrap();
    let barrier = Arc::new(tokio::sync::Barrier::new(2 * THREADS + 1));
    let seen: Arc<Vec<AtomicU64>> = Arc::new((0..COUNT / 64 + 1).map(|_| 0.into()).collect());
    let mut handles = Vec::new();
    for producer in 0..THREADS {
        let (mut tx_c, barrier_c) = (tx.clone(), barrier.clone());
        handles.push(tokio::spawn(async move {
            barrier_c.wait().await;
            let mut message = message().into_bytes();
            for i in 0..COUNT / THREADS {
                message[..8].copy_from_slice(&(i * THREADS + producer).to_le_bytes());
                tx_c.send(&message).await.unwrap();
            }
        }));
    }
    for _ in 0..THREADS {
        let mut rx_c = rx.try_clone().await.unwrap();
        let (barrier_c, seen) = (barrier.clone(), seen.clone());
        handles.push(tokio::spawn(async move {
            barrier_c.wait().await;
            let mut last = [None; THREADS];
            for _ in 0..COUNT / THREADS {
                let number = loop {
                    match rx_c.recv().await {
                        Some(m) => {
                            assert_eq!(&m[8..], &message().as_bytes()[8..]);
                            break usize::from_le_bytes(m[..8].try_into().unwrap());
                        }
                        None => rx_c.next_page().await.unwrap(),
                    }
                };
                let bit = 1 << (number % 64);
                assert_eq!(seen[number / 64].fetch_or(bit, SeqCst) & bit, 0, "{number} came twice");
                let producer = &mut last[number % THREADS];
                assert!(*producer < Some(number), "{number} came after {producer:?}");
                *producer = Some(number);
            }
        }));
    }
    barrier.wait().await;
    for h in handles {
        h.await.unwrap();
    }
    let count: u32 = seen.iter().map(|w| w.load(SeqCst).count_ones()).sum();
    assert_eq!(count as usize, COUNT);
}

#[tokio::test]
async fn one_task_sends_all_and_then_receives_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seq");
    let message = message();
    let mut tx = disk_chan::new(&path, 2_u32.pow(24), usize::MAX).await.unwrap();
    let mut rx = tx.subscribe(0).await.unwrap();

    for _ in 0..COUNT {
        tx.send(&message).await.unwrap();
    }
    for _ in 0..COUNT {
        loop {
            match rx.recv().await {
                Some(m) => {
                    assert_eq!(m, message.as_bytes());
                    break;
                }
                None => rx.next_page().await.unwrap(),
            }
        }
    }
}

/// What its documentation shows: one page, a producer that needs no `mut` to subscribe, all of its calls.
#[tokio::test]
async fn the_examples_of_its_documentation() -> Result<(), std::io::Error> {
    let dir = tempfile::tempdir()?;
    let foo = dir.path().join("foo").to_string_lossy().into_owned();
    let mut tx = disk_chan::new(foo.as_str(), 2_u32.pow(24), 1).await?;
    let mut rx = tx.subscribe(0).await?;
    let rx2 = rx.try_clone().await?;
    let mut tx2 = tx.try_clone().await?;
    tx.send("test").await?;
    tx2.send(String::from("test")).await?;
    let msg = loop {
        match rx.recv().await {
            Some(msg) => break msg,
            None => rx.next_page().await?,
        }
    };
    assert_eq!(msg, b"test");
    assert_eq!(rx2.recv().await, Some(&b"test"[..]));
    println!("{tx:?} {rx:?}");
    Ok(())
}

/// `use disk_chan::*`, as its tests have it, brings nothing that hides a name of the standard library.
#[tokio::test]
async fn everything_may_be_imported() -> Result<(), std::io::Error> {
    use disk_chan::*;
    fn is_send<T: Send + Sync>(_: &T) -> Option<()> {
        Some(())
    }
    let dir = tempfile::tempdir()?;
    let tx: Producer = new(dir.path(), 2_u32.pow(20), 4).await?;
    let rx: Consumer = tx.subscribe(3).await?;
    assert_eq!((is_send(&tx), is_send(&rx)), (Some(()), Some(())));
    assert!(is_send(&rx.recv()).is_some());
    assert!(is_send(&tx.clone().send("x")).is_some());
    assert!(is_send(&tx.subscribe(1)).is_some());
    assert!(is_send(&new(dir.path(), 1 << 20, 4)).is_some());
    Ok(())
}
