//! What the threads or processes of one run share besides the channel: a gate, counts, times.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{bail, ensure, Result};
use memmap2::MmapRaw;

/// Roles of a run at most.
pub const ROLES: usize = 256;

#[repr(C, align(128))]
struct Line(AtomicU64);

#[repr(C)]
struct Shared {
    ready: AtomicU32,
    open: AtomicU32,
    failed: AtomicU32,
    stopped: AtomicU32,
    ran_out: AtomicU32,
    begin: AtomicU64,
    counts: [Line; ROLES],
    ends: [AtomicU64; ROLES],
    /// By producer, one more than it made in all; 0: it is not done.
    made: [AtomicU64; ROLES],
}

/// A small file mapped by all of them.
pub struct Control {
    map: MmapRaw,
    /// Where the run keeps its files.
    pub dir: PathBuf,
}

/// Nanoseconds of the monotonic clock, the same in all processes.
pub fn now_ns() -> u64 {
    // SAFETY: the clock exists, and the kernel fills the struct.
    let t = unsafe {
        let mut t = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t);
        t
    };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Control {
    /// A new one in this directory.
    pub fn create(dir: &Path) -> Result<Control> {
        let path = dir.join("control");
        let _ = std::fs::remove_file(&path);
        File::create(&path)?.set_len(std::mem::size_of::<Shared>() as u64)?;
        Control::join(dir)
    }

    /// The one that another process created.
    pub fn join(dir: &Path) -> Result<Control> {
        let file = File::options().read(true).write(true).open(dir.join("control"))?;
        Ok(Control { map: MmapRaw::map_raw(&file)?, dir: dir.to_path_buf() })
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the file has this length, its zeros are a value, and everything in it is atomic.
        unsafe { &*self.map.as_ptr().cast::<Shared>() }
    }

    pub fn tell(&self, role: usize, count: u64) {
        self.shared().counts[role].0.store(count, SeqCst);
    }

    pub fn told(&self, role: usize) -> u64 {
        self.shared().counts[role].0.load(SeqCst)
    }

    /// A role is ready; it goes on when all are.
    pub fn ready_and_wait(&self) -> Result<()> {
        let shared = self.shared();
        shared.ready.fetch_add(1, SeqCst);
        while shared.open.load(SeqCst) == 0 {
            ensure!(shared.failed.load(SeqCst) == 0, "another role failed");
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Wait for all roles and let them go.
    pub fn let_go(&self, roles: u32) -> Result<()> {
        let shared = self.shared();
        let since = now_ns();
        while shared.ready.load(SeqCst) < roles {
            ensure!(shared.failed.load(SeqCst) == 0, "a role failed before it began");
            if now_ns() - since > 120_000_000_000 {
                bail!("only {} of {roles} roles came up in two minutes", shared.ready.load(SeqCst));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        // Everybody is asleep; what the last one did to get ready is over.
        std::thread::sleep(Duration::from_millis(5));
        shared.begin.store(now_ns(), SeqCst);
        shared.open.store(1, SeqCst);
        Ok(())
    }

    pub fn failed(&self) {
        self.shared().failed.store(1, SeqCst);
    }

    pub fn has_failed(&self) -> bool {
        self.shared().failed.load(SeqCst) != 0
    }

    /// Time is up: producers end.
    pub fn stop(&self) {
        self.shared().stopped.store(1, SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.shared().stopped.load(SeqCst) != 0
    }

    /// A producer had sent all that it was allowed to before its time was up.
    pub fn ran_out(&self) {
        self.shared().ran_out.store(1, SeqCst);
    }

    pub fn has_run_out(&self) -> bool {
        self.shared().ran_out.load(SeqCst) != 0
    }

    /// A producer is done: how many it made.
    pub fn made_all(&self, producer: usize, count: u64) {
        self.shared().made[producer].store(count + 1, SeqCst);
    }

    /// How many a producer made, once it is done.
    pub fn made_by(&self, producer: usize) -> Option<u64> {
        self.shared().made[producer].load(SeqCst).checked_sub(1)
    }

    /// How many the producers made together, once all are done.
    pub fn made(&self, producers: usize) -> Option<u64> {
        (0..producers).map(|p| self.made_by(p)).sum()
    }

    /// Nanoseconds when the gate opened; 0: it has not.
    pub fn begun(&self) -> u64 {
        self.shared().begin.load(SeqCst)
    }

    pub fn ended(&self, role: usize) {
        self.shared().ends[role].store(now_ns(), SeqCst);
    }

    /// Seconds from the start until the last of these roles had ended.
    pub fn seconds(&self, roles: std::ops::Range<usize>) -> f64 {
        let shared = self.shared();
        let end = roles.map(|r| shared.ends[r].load(SeqCst)).max().unwrap_or(0);
        end.saturating_sub(shared.begin.load(SeqCst)) as f64 / 1e9
    }
}
