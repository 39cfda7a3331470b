//! The programs of disk-chan 0.3.0's README and tests, as they stand: once with that crate, once with this one in its
//! place, on the same tokio runtime. Each message is compared with what was sent; each consumer gets its share.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};

use crate::peer::PeerName;
use crate::spec::{Outcome, Spec, Workload};

/// Its program hangs where its ring overran a consumer: that is no figure.
const LIMIT: Duration = Duration::from_secs(120);
const PAGE_SIZE: u32 = 2_u32.pow(24);

/// The same source for both crates.
macro_rules! programs {
    ($module:ident, $disk_chan:path) => {
        mod $module {
            use $disk_chan as disk_chan;

            /// `tasks` tasks that send, and as many that receive.
            pub async fn many(
                path: std::path::PathBuf,
                tasks: usize,
                size: usize,
                each: u64,
            ) -> std::io::Result<()> {
                let tx = disk_chan::new(path, super::PAGE_SIZE, 16).await?;
                let rx = tx.subscribe(0).await?;
                let mut handles = Vec::new();
                for _ in 0..tasks {
                    let mut rx_c = rx.try_clone().await?;
                    handles.push(tokio::spawn(async move {
                        let expected = super::message(size);
                        for _ in 0..each {
                            loop {
                                match rx_c.recv().await {
                                    Some(m) => {
                                        assert_eq!(m, expected);
                                        break;
                                    }
                                    None => rx_c.next_page().await.unwrap(),
                                }
                            }
                        }
                    }));
                }
                for _ in 0..tasks {
                    let mut tx_c = tx.clone();
                    handles.push(tokio::spawn(async move {
                        let message = super::message(size);
                        for _ in 0..each {
                            tx_c.send(&message).await.unwrap();
                        }
                    }));
                }
                for handle in handles {
                    handle.await?;
                }
                Ok(())
            }

            /// One task that sends all, and then receives all; when it had sent.
            pub async fn in_turn(
                path: std::path::PathBuf,
                size: usize,
                count: u64,
            ) -> std::io::Result<std::time::Instant> {
                let mut tx = disk_chan::new(path, super::PAGE_SIZE, usize::MAX).await?;
                let mut rx = tx.subscribe(0).await?;
                let message = super::message(size);
                for _ in 0..count {
                    tx.send(&message).await?;
                }
                let sent = std::time::Instant::now();
                for _ in 0..count {
                    loop {
                        match rx.recv().await {
                            Some(m) => {
                                assert_eq!(m, message);
                                break;
                            }
                            None => rx.next_page().await?,
                        }
                    }
                }
                Ok(sent)
            }
        }
    };
}
programs!(ours, ::disk_chan);
programs!(original, ::disk_chan_original);

/// Of which no two bytes that follow each other are the same.
fn message(size: usize) -> Vec<u8> {
    (0..size).map(|i| b'a' + (i % 26) as u8).collect()
}

/// A run, start to end, on as many threads as there are CPUs.
pub fn run(spec: &Spec, dir: &Path) -> Result<Outcome> {
    ensure!(spec.producers == spec.consumers, "as many that send as receive");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let path = dir.join("channel");
    let begin = Instant::now();
    let whole = program(spec.clone(), path);
    // In a task, as all that does not wait is to run on the runtime's threads.
    let task = runtime.spawn(async move { tokio::time::timeout(LIMIT, whole).await });
    let Ok(sent) = runtime.block_on(task)? else {
        runtime.shutdown_background();
        bail!("still not done after {LIMIT:?}: it waits for messages that its ring has dropped")
    };
    let mut outcome = Outcome { seconds: begin.elapsed().as_secs_f64(), ..Outcome::default() };
    if let Some(sent) = sent? {
        outcome.writing = (sent - begin).as_secs_f64();
    }
    Ok(outcome)
}

async fn program(spec: Spec, path: PathBuf) -> std::io::Result<Option<Instant>> {
    let (tasks, size, count) = (spec.producers, spec.size, spec.messages);
    let each = count / tasks as u64;
    match (spec.peer, spec.workload) {
        (PeerName::DiskChan, Workload::Tasks) => {
            original::many(path, tasks, size, each).await.map(|()| None)
        }
        (PeerName::DiskChan, _) => original::in_turn(path, size, count).await.map(Some),
        (_, Workload::Tasks) => ours::many(path, tasks, size, each).await.map(|()| None),
        _ => ours::in_turn(path, size, count).await.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_run_with_both_crates() {
        for peer in [PeerName::Ours, PeerName::DiskChan] {
            for workload in [Workload::Tasks, Workload::TasksInTurn] {
                let dir = tempfile::tempdir().unwrap();
                let tasks = if workload == Workload::Tasks { 4 } else { 1 };
                let spec = Spec {
                    workload,
                    producers: tasks,
                    consumers: tasks,
                    ..Spec::new(Path::new("lib"), peer, 100, 4000)
                };
                let outcome = run(&spec, dir.path()).unwrap();
                assert!(outcome.seconds > outcome.writing);
            }
        }
    }
}
