//! A disk that fails in earnest: a file system on a loop device whose image lies on a full disk, so that
//! blocks it has promised cannot be written back. The kernel reports that once, to a flush, and forgets it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::disk::run;
use crate::abi::*;
use crate::ledger::{Check, Ledger, Rules};
use crate::session::{noted, Op, Session};

/// Two file systems, one on the other.
struct Disks {
    below: std::path::PathBuf,
    above: std::path::PathBuf,
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

impl Disks {
    fn new(scratch: &Path) -> Result<Disks> {
        let disks = Disks { below: scratch.join("below"), above: scratch.join("above") };
        std::fs::create_dir_all(&disks.below)?;
        std::fs::create_dir_all(&disks.above)?;
        run("mount", &["-t", "tmpfs", "-o", "size=40m", "tmpfs", name(&disks.below)])?;
        let image = disks.image();
        std::fs::File::create(&image)?.set_len(64 << 20)?;
        // Its own structures get their blocks now: a journal that cannot be written ends the whole file
        // system, and lost inodes are nothing that a library could cure.
        let whole = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-J", "size=4", "-E", whole, name(&image)])?;
        disks.mount()?;
        Ok(disks)
    }

    fn image(&self) -> std::path::PathBuf {
        self.below.join("image")
    }

    fn mount(&self) -> Result<()> {
        run("mount", &["-o", "loop", name(&self.image()), name(&self.above)])
    }

    /// Leave so many bytes for blocks that the image does not have yet.
    fn fill(&self, room: u64) -> Result<()> {
        let reserve = vec![1; room as usize];
        std::fs::write(self.below.join("reserve"), reserve)?;
        let mut ballast = std::fs::File::create(self.below.join("ballast"))?;
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
        Ok(std::fs::remove_file(self.below.join("reserve"))?)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        noted(run("umount", &["-l", name(&self.above)]));
        noted(run("umount", &["-l", name(&self.below)]));
    }
}

/// A flush fails, with room below for `room` bytes.
pub fn case(lib: &Lib, ledger: &Ledger, scratch: &Path, room: u64) -> Result<()> {
    let disks = Disks::new(scratch)?;
    let path = disks.above.join("channel");
    let options = Options { page_size: 256 << 10, max_pages: 8, ..Options::default() };
    let options = Options { flags: DC_NO_THREAD, ..options };
    let rules = Rules { options, most: 30_000 };
    let s = Session { lib, path: &path, ledger, rules, marks: false, guarded: false };
    let channel = s.open().context("open")?;
    let producer = s.producer(channel).context("producer")?;
    let mut consumer = s.subscribe(channel, Some(0), DC_AUTO_NEXT_PAGE).context("group")?;
    (0..5).for_each(|way| noted(s.send(producer, way, 0)));
    let sync = |s: &Session, producer| s.within(Op::sync, producer, -1, lib.dc_sync);
    lib.ok(sync(&s, producer), "the first sync")?;
    let durable = s.stats(channel).context("stats")?.durable;
    let witness = Witness::start(&s)?;
    disks.fill(room)?;
    for way in 0..60 {
        lib.ok(s.send(producer, way, 0), "a send to blocks that are promised")?;
    }
    let code = sync(&s, producer);
    ensure!(code == DC_E_POISONED, "syncing to a disk that fails: {}", lib.why(code));
    let info = s.stats(channel).context("stats")?;
    ensure!(info.poisoned == 1, "not poisoned");
    ensure!(info.durable <= durable, "durable went from {durable} to {}", info.durable);
    // The kernel has told the error and forgotten it: the library has not.
    for code in [sync(&s, producer), s.send(producer, 0, 0)] {
        ensure!(code == DC_E_POISONED, "then: {}", lib.why(code));
    }
    let code = s.receive(&mut consumer, 20, 0);
    ensure!(code == DC_OK, "receiving goes on, but: {}", lib.why(code));
    witness.end()?;
    s.end(Op::consumer_close, consumer.handle, lib.dc_consumer_close);
    s.end(Op::producer_close, producer, lib.dc_producer_close);
    s.end(Op::close, channel, lib.dc_close);
    // The disk works again; all that the failed flush covered is written anew.
    std::fs::remove_file(disks.below.join("ballast"))?;
    let channel = s.open().context("reopen")?;
    let producer = s.producer(channel).context("producer")?;
    lib.ok(s.send(producer, 0, 0), "a send after all have reopened")?;
    lib.ok(sync(&s, producer), "a sync after all have reopened")?;
    lib.ok(s.within(Op::channel_sync, channel, -1, lib.dc_channel_sync), "channel_sync")?;
    s.end(Op::producer_close, producer, lib.dc_producer_close);
    s.end(Op::close, channel, lib.dc_close);
    // What memory held is gone: only the disk tells.
    run("umount", &[name(&disks.above)])?;
    disks.mount()?;
    let check = Check { lib, path: &path, ledger, rules, guarded: false };
    ledger.in_process("a fresh process", || check.all())
}

/// Another process that has the channel open, and waits until the flush has failed.
struct Witness {
    pid: i32,
    go: OwnedFd,
    ready: OwnedFd,
}

impl Witness {
    fn start(s: &Session) -> Result<Witness> {
        let mut ends = [[0; 2]; 2];
        for pair in &mut ends {
            // SAFETY: room for two descriptors.
            ensure!(unsafe { libc::pipe(pair.as_mut_ptr()) } == 0, "pipe");
        }
        // SAFETY: opened just now, and with no other owner.
        let [[wait, go], [ready, tell]] =
            ends.map(|pair| pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        // SAFETY: the child plays its part and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(go);
            Witness::play(s, wait, tell);
            // SAFETY: ends this process without the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        drop((wait, tell));
        let witness = Witness { pid, go, ready };
        read(&witness.ready);
        Ok(witness)
    }

    fn play(s: &Session, wait: OwnedFd, tell: OwnedFd) {
        let opened = s.open().and_then(|channel| {
            let producer = s.producer(channel)?;
            Some((producer, s.subscribe(channel, None, DC_AUTO_NEXT_PAGE)?))
        });
        drop(tell);
        let Some((producer, mut observer)) = opened else {
            return s.ledger.complain("the witness cannot open the channel");
        };
        read(&wait);
        let code = s.send(producer, 0, 0);
        if code != DC_E_POISONED {
            s.ledger.complain(&format!("the witness sends: {}", s.lib.why(code)));
        }
        let code = s.receive(&mut observer, usize::MAX, 0);
        if code != DC_AGAIN {
            s.ledger.complain(&format!("the witness receives: {}", s.lib.why(code)));
        }
    }

    /// Let it go on to its end.
    fn end(self) -> Result<()> {
        drop(self.go);
        let mut status = 0;
        // SAFETY: our child.
        unsafe { libc::waitpid(self.pid, &mut status, 0) };
        ensure!(status == 0, "the witness: {}", crate::pool::describe(status));
        Ok(())
    }
}

/// Wait until the other end is closed.
fn read(end: &OwnedFd) {
    let mut byte = 0u8;
    // SAFETY: room for one byte.
    unsafe { libc::read(end.as_raw_fd(), (&raw mut byte).cast(), 1) };
}
