//! The Rust crate disk-chan 0.3.0, which this library re-imagines: one process, no end of a channel, and a ring that
//! drops silently, so it gets as many pages as all messages take.

use std::path::Path;

use anyhow::Result;
use disk_chan_original::Producer;
use tokio::runtime::{Builder, Runtime};

use super::{Peer, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::Spec;

/// What ends a consumer.
const STOP: [u8; 1] = [0];

pub struct Original {
    runtime: Runtime,
    first: Producer,
    /// Producers that are not done.
    left: std::sync::atomic::AtomicUsize,
    consumers: usize,
    dir: std::path::PathBuf,
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().build()?)
}

impl Original {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Original> {
        let (runtime, dir) = (runtime()?, dir.join("channel"));
        let page = (spec.size * 65_535).clamp(1 << 16, 1 << 30);
        let a_page = (page / spec.size).min(65_535) as u64;
        let pages = (spec.messages / a_page + 4) as usize;
        let first = runtime.block_on(disk_chan_original::new(&dir, page as u32, pages))?;
        let left = std::sync::atomic::AtomicUsize::new(spec.producers);
        Ok(Original { runtime, first, left, consumers: spec.consumers, dir })
    }
}

impl Original {
    /// Open what was written there; the last of the messages must not have been the one that ends a consumer.
    pub fn reopen(spec: &Spec, dir: &Path) -> Result<Original> {
        Original::create(spec, dir)
    }
}

impl Peer for Original {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let (runtime, mut producer) = (runtime()?, self.first.clone());
        Ok(Box::new(move || {
            runtime.block_on(async {
                while let Some(message) = maker.next() {
                    producer.send(message).await?;
                }
                if self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                    for _ in 0..self.consumers {
                        producer.send(STOP).await?;
                    }
                }
                Ok(())
            })
        }))
    }

    fn consumer<'a>(&'a self, group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let mut consumer = self.runtime.block_on(self.first.subscribe(group))?;
        let runtime = runtime()?;
        Ok(Box::new(move || {
            runtime.block_on(async {
                loop {
                    match consumer.recv().await {
                        Some(message) if message == STOP => return Ok(()),
                        Some(message) => checker.check(message)?,
                        None => consumer.next_page().await?,
                    }
                }
            })
        }))
    }

    fn disk_bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return 0 };
        entries.filter_map(|e| e.ok()?.metadata().ok()).map(|m| m.blocks() * 512).sum()
    }
}
