//! The same program under several executors: the library knows none of them.

use std::future::Future;
use std::sync::mpsc;

const COUNT: usize = 100_000;
const TASKS: usize = 3;
/// Of 4 pages of 1,000 messages at most: there is much waiting, on both sides.
const SIZE: usize = 64 << 10;

/// Producers first; `spawn` starts a task of the executor's.
async fn program<F>(spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F)
where
    F: Future,
{
    let dir = tempfile::tempdir().unwrap();
    let tx = disk_chan::new(dir.path().join("channel"), SIZE, 4).await.unwrap();
    let rx = tx.subscribe(0).await.unwrap();
    let (sum, sums) = mpsc::channel();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let mut tx_c = tx.clone();
        tasks.push(spawn(Box::pin(async move {
            for i in 0..COUNT {
                tx_c.send((i * TASKS + task).to_le_bytes()).await.unwrap();
            }
        })));
    }
    for _ in 0..TASKS {
        let (mut rx_c, sum) = (rx.try_clone().await.unwrap(), sum.clone());
        tasks.push(spawn(Box::pin(async move {
            let mut all = 0;
            for _ in 0..COUNT {
                all += loop {
                    match rx_c.recv().await {
                        Some(m) => break usize::from_le_bytes(m.try_into().unwrap()),
                        None => rx_c.next_page().await.unwrap(),
                    }
                };
            }
            sum.send(all).unwrap();
        })));
    }
    for task in tasks {
        task.await;
    }
    drop(sum);
    let n = COUNT * TASKS;
    assert_eq!(sums.iter().sum::<usize>(), n * (n - 1) / 2);
}

#[test]
fn tokio_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    runtime.block_on(program(tokio::spawn));
}

#[test]
fn tokio_with_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(program(tokio::spawn));
}

#[test]
fn smol_with_a_local_executor() {
    let executor = smol::Executor::new();
    smol::block_on(executor.run(program(|task| executor.spawn(task))));
}

#[test]
fn smol_with_its_own() {
    smol::block_on(program(smol::spawn));
}

/// A thread a task, each of which is parked by what blocks on its future.
#[test]
fn a_bare_block_on() {
    pollster::block_on(program(|task| {
        let thread = std::thread::spawn(|| pollster::block_on(task));
        let (done, ready) = smol::channel::bounded::<()>(1);
        std::thread::spawn(move || {
            thread.join().unwrap();
            drop(done);
        });
        async move { ready.recv().await.unwrap_err() }
    }));
}

/// One task for all, and no executor at all.
#[test]
fn everything_in_one_future() {
    use futures_util::stream::{FuturesUnordered, StreamExt};
    let dir = tempfile::tempdir().unwrap();
    pollster::block_on(async {
        let tx = disk_chan::new(dir.path(), SIZE, 4).await.unwrap();
        let rx = tx.subscribe(0).await.unwrap();
        let mut all: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = usize>>>> =
            FuturesUnordered::new();
        for _ in 0..TASKS {
            let (mut tx_c, mut rx_c) = (tx.clone(), rx.try_clone().await.unwrap());
            all.push(Box::pin(async move {
                for i in 0..COUNT {
                    tx_c.send(i.to_le_bytes()).await.unwrap();
                }
                0
            }));
            all.push(Box::pin(async move {
                let mut sum = 0;
                for _ in 0..COUNT {
                    sum += loop {
                        match rx_c.recv().await {
                            Some(m) => break usize::from_le_bytes(m.try_into().unwrap()),
                            None => rx_c.next_page().await.unwrap(),
                        }
                    };
                }
                sum
            }));
        }
        let mut sum = 0;
        while let Some(one) = all.next().await {
            sum += one;
        }
        assert_eq!(sum, TASKS * COUNT * (COUNT - 1) / 2);
    });
}
