//! The limit of durable sends: `pwrite` and `fdatasync` over blocks of a file that were written before, so that a flush
//! has no metadata to write. Each producer has a part of the file of its own, which it writes again and again; nothing is
//! read back.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use crate::maker::Maker;
use crate::payload::Checker;
use crate::peer::{Peer, Work};
use crate::spec::Spec;

/// Bytes that each producer has.
const PART: usize = 16 << 20;

pub struct RawFlush {
    file: File,
    /// Producers that have begun.
    begun: std::sync::atomic::AtomicUsize,
    size: usize,
    batch: usize,
}

impl RawFlush {
    pub fn create(spec: &Spec, dir: &Path) -> Result<RawFlush> {
        let file = File::options().write(true).create_new(true).open(dir.join("blocks"))?;
        let zeros = vec![0; PART];
        for part in 0..spec.producers {
            file.write_all_at(&zeros, (part * PART) as u64)?;
        }
        file.sync_all()?;
        Ok(RawFlush { file, begun: Default::default(), size: spec.size, batch: spec.batch })
    }
}

impl Peer for RawFlush {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let part = self.begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst) * PART;
        Ok(Box::new(move || {
            let (mut at, mut many) = (0, Vec::with_capacity(self.size * self.batch));
            loop {
                many.clear();
                while many.len() < self.size * self.batch {
                    let Some(message) = maker.next() else { break };
                    many.extend_from_slice(message);
                }
                if many.is_empty() {
                    return Ok(());
                }
                if at + many.len() > PART {
                    at = 0;
                }
                self.file.write_all_at(&many, (part + at) as u64)?;
                self.file.sync_data()?;
                at += many.len();
            }
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, _checker: Checker<'a>) -> Result<Work<'a>> {
        Ok(Box::new(|| Ok(())))
    }
}
