//! A channel: one open of a directory, shared by the handles made from it.

pub(crate) mod flush;
pub(crate) mod group;
pub(crate) mod groups;
pub(crate) mod handles;
mod lifecycle;
mod open;
pub(crate) use open::RESERVE;
pub(crate) mod pages;
mod rewrite;
mod roll;
mod stats;
mod verify;
pub(crate) mod worker;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::consumer::Consumer;
use crate::engine::page::Look;
use crate::error::{fail, Error, Result, DC_E_ARGUMENT, DC_E_CORRUPT, DC_E_STATE};
use crate::layout::page::Geometry;
use crate::layout::{checksum, page_of, position, slot_of, Uuid};
use crate::options::{
    ChannelInfo, GroupInfo, Options, SubscribeOptions, VerifyInfo, CHECKSUM_ON, EARLIEST,
    LAST_BASE, SYNC_INTERVAL,
};
use crate::producer::Producer;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Region, Relaxed, SeqCst};
use crate::sys::file::{Dir, Fd};
use crate::sys::map::Map;
use crate::sys::{clock, fork};

/// One open of a channel; its handles keep it.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    /// The `channel` file: superblocks, shared state, and the locks of this open.
    pub(crate) file: Fd,
    map: Map,
    pub(crate) ctl: Region,
    pub(crate) uuid: Uuid,
    seed: u64,
    pub(crate) geometry: Geometry,
    pub(crate) max_pages: u64,
    pub(crate) retention: u32,
    pub(crate) checksum: u32,
    pub(crate) stall_timeout_ms: u32,
    mode: u32,
    pub(crate) durability: u32,
    sync_interval_ms: u32,
    pub(crate) flags: u32,
    pub(crate) read_only: bool,
    /// Read-only, and nobody has recovered the channel since the machine started.
    unrecovered: bool,
    pub(crate) guard: bool,
    pub(crate) member: usize,
    /// The process (see `sys::fork`) this open belongs to.
    pub(crate) generation: u64,
    high_water: AtomicU64,
    pages: Mutex<pages::PageCache>,
    groups: Mutex<groups::GroupCache>,
    handles: Mutex<handles::HandleTable>,
    preparing: Mutex<()>,
    /// Held by the thread that flushes, with what it knows of the unpublished claim in front.
    flushing: Mutex<crate::engine::abandoned::Watch>,
    /// Held by the thread that flushes beside a suspended flusher.
    beside: Mutex<()>,
    /// The page the library thread is asked to prepare; 0: none.
    wanted_page: AtomicU64,
    /// When a file was made for a page last, in coarse milliseconds.
    last_new_page: AtomicU64,
    /// When the last interval flush began, in coarse milliseconds.
    last_flush: AtomicU64,
    /// Public handles on this open.
    users: AtomicUsize,
}

impl Shared {
    /// The checksum of a payload at a position; 0 where the channel has none.
    #[inline(always)]
    pub(crate) fn checksum_of(&self, position: u64, payload: &[u8]) -> u32 {
        match self.checksum {
            CHECKSUM_ON => checksum(self.seed, position, payload),
            _ => 0,
        }
    }

    /// Whether somebody cut the channel file under its mapping (known under `DC_SIGBUS_GUARD` only).
    pub(crate) fn lost(&self) -> bool {
        self.map.lost()
    }

    /// Nothing that was made of the zeros in place of a cut file is a result.
    pub(crate) fn intact<T>(&self, value: T) -> Result<T> {
        if self.lost() {
            return Err(self.cut());
        }
        Ok(value)
    }

    #[cold]
    pub(crate) fn cut(&self) -> Error {
        fail!(
            DC_E_CORRUPT,
            "{}: somebody cut a file of the channel while it was mapped",
            self.path.display()
        )
    }

    pub(crate) fn os_dir(&self, errno: i32, what: &str) -> Error {
        Error::os(errno, format_args!("cannot {what} {}", self.path.display()))
    }

    /// The position after the newest message.
    pub(crate) fn end(&self) -> Result<u64> {
        let newest = self.newest();
        match self.pin(newest)? {
            pages::Pinned::Page(page) => Ok(position(newest, page.view.end_slot())),
            _ => Ok(position(newest.max(self.window().oldest), 0)),
        }
    }

    /// The position at which a reader begins that asked for `start`.
    pub(crate) fn resolve_start(&self, start: u64) -> Result<u64> {
        if start <= EARLIEST {
            return Ok(position(self.window().oldest, 0));
        }
        if start < LAST_BASE {
            return Ok(start.clamp(position(self.window().oldest, 0), (1 << 54) - 1));
        }
        let mut wanted = u64::MAX - start;
        let end = self.end()?;
        let (mut page, mut slot) = (page_of(end), slot_of(end));
        // Bounded: each round takes a page that exists.
        while wanted > 0 {
            if let pages::Pinned::Page(p) = self.pin(page)? {
                while slot > 0 && wanted > 0 {
                    slot -= 1;
                    wanted -= u64::from(matches!(p.view.look(slot), Look::Message { .. }));
                }
            }
            if wanted > 0 {
                let Some(before) = self.page_before(page)? else {
                    return Ok(position(self.window().oldest, 0));
                };
                page = before;
                if let pages::Pinned::Page(p) = self.pin(page)? {
                    slot = p.view.end_slot();
                }
            }
        }
        Ok(position(page, slot))
    }
}

/// A public handle's share of an open: the last one to go ends the library thread's work on it.
pub(crate) struct User(Arc<Shared>);

impl User {
    fn new(shared: Arc<Shared>) -> User {
        shared.users.fetch_add(1, SeqCst);
        User(shared)
    }
    pub(crate) fn arc(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Clone for User {
    fn clone(&self) -> User {
        User::new(self.0.clone())
    }
}

impl Deref for User {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, SeqCst) == 1 && !fork::is_foreign(self.0.generation) {
            worker::leave(&self.0);
        }
    }
}

/// An open channel. Thread-safe; producers and consumers made from it stay usable after it is dropped.
pub struct Channel(User);

impl Channel {
    /// Open the channel at `path`, creating it where there is none (see [`Options::flags`]).
    pub fn open(path: &Path, options: &Options) -> Result<Channel> {
        let channel = Channel(User::new(Arc::new(open::open(path, options)?)));
        channel.0.intact(())?;
        let idle = channel.0.idle_maps();
        channel.0.pages.lock().provide(idle);
        if channel.0.durability == SYNC_INTERVAL && !channel.0.read_only {
            channel.0.arc().start_worker()?;
        }
        Ok(channel)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Remove the channel at `path`; fails while anybody has it open.
    pub fn destroy(path: &Path) -> Result<()> {
        lifecycle::destroy(path)
    }

    /// Check every structure and checksum of the channel at `path` without changing it.
    pub fn verify(path: &Path) -> Result<VerifyInfo> {
        verify::verify(path)
    }

    /// The channel's figures.
    pub fn stats(&self) -> Result<ChannelInfo> {
        self.check(false)?;
        self.0.channel_info().and_then(|info| self.0.intact(info))
    }

    /// Put everything published, and all acknowledgements, on stable storage.
    pub fn sync(&self, timeout_ms: i32) -> Result<()> {
        self.check(true)?;
        let deadline = deadline(timeout_ms)?;
        let end = self.0.end()?;
        self.0.flush_to(end, deadline, flush::Waiter::Channel)?;
        self.0.flush_groups()?;
        self.0.intact(())
    }

    /// A group's figures.
    pub fn group_stats(&self, name: &[u8]) -> Result<GroupInfo> {
        self.check(false)?;
        let group = self.0.find_group(name)?;
        self.0.group_info(&group).and_then(|info| self.0.intact(info))
    }

    /// The first group name after `after` in byte order; `-ENOENT` when there is none.
    pub fn group_next(&self, after: Option<&[u8]>) -> Result<Vec<u8>> {
        self.check(false)?;
        let next = |n: &Vec<u8>| after.is_none_or(|a| n.as_slice() > a);
        self.0.group_names()?.into_iter().find(next).ok_or(Error::silent(-libc::ENOENT))
    }

    /// Delete a group that has no consumers.
    pub fn group_delete(&self, name: &[u8]) -> Result<()> {
        self.check(true)?;
        self.0.delete_group(name)
    }

    /// Do the library thread's work that is due, waiting for the first of it at most `timeout_ms`.
    pub fn maintain(&self, timeout_ms: i32) -> Result<()> {
        self.check(true)?;
        worker::maintain(self.0.arc(), deadline(timeout_ms)?)
    }

    /// A new producer.
    pub fn producer(&self) -> Result<Producer> {
        self.check(true)?;
        Producer::new(self.0.clone()).and_then(|producer| self.0.intact(producer))
    }

    /// A new consumer of a group, or an observer where `group` is `None`.
    pub fn subscribe(&self, group: Option<&[u8]>, options: &SubscribeOptions) -> Result<Consumer> {
        self.check(group.is_some())?;
        let consumer = Consumer::new(self.0.clone(), group, options)?;
        consumer.intact().map(|()| consumer)
    }

    fn check(&self, writing: bool) -> Result<()> {
        if fork::is_foreign(self.0.generation) {
            return Err(handles::forked());
        }
        if writing && self.0.read_only {
            return Err(fail!(
                DC_E_STATE,
                "{}: opened with DC_READ_ONLY, which allows observers and stats only",
                self.0.path.display()
            ));
        }
        Ok(())
    }
}

/// When a call's timeout ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Do not wait.
    Now,
    /// At this time, in nanoseconds.
    At(u64),
    /// Never.
    Never,
}

impl Deadline {
    /// What is left of it; zero when it has passed.
    pub(crate) fn left(self) -> std::time::Duration {
        match self {
            Deadline::Now => std::time::Duration::ZERO,
            Deadline::At(t) => std::time::Duration::from_nanos(t.saturating_sub(clock::now_ns())),
            Deadline::Never => std::time::Duration::MAX,
        }
    }
}

/// The deadline of a timeout in milliseconds, as in `poll`.
#[inline]
pub(crate) fn deadline(timeout_ms: i32) -> Result<Deadline> {
    match timeout_ms {
        0 => Ok(Deadline::Now),
        -1 => Ok(Deadline::Never),
        ms if ms > 0 => Ok(Deadline::At(clock::now_ns() + ms as u64 * 1_000_000)),
        _ => Err(fail!(
            DC_E_ARGUMENT,
            "timeout_ms is {timeout_ms}: it is -1 (for ever), 0 (do not wait), or more"
        )),
    }
}

impl Shared {
    /// Tell the library thread that a page will be needed soon.
    pub(crate) fn ask_for_page(&self, number: u64) {
        if self.wanted_page.swap(number, Relaxed) != number {
            self.nudge(self.member);
        }
    }
}
