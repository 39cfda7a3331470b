//! Groups: finding, creating, deleting, their entries and who owns them.

use std::sync::Arc;
use std::time::Duration;

use super::group::Group;
use super::pages::map_apart;
use super::{Shared, User};
use crate::engine::cursor::GroupView;
use crate::engine::sleepers::FOR_MESSAGES;
use crate::error::{fail, Error, Result, DC_E_ARGUMENT, DC_E_BUSY, DC_E_CORRUPT, DC_E_LIMIT};
use crate::layout::control::{NAMED, WINDOW};
use crate::layout::group::{
    self, Cursor, CURSOR, DELETED, ENTRY_MAX, ENTRY_SIZE, FLOOR, LOCK_ENTRIES, NOBODY, RETURNED,
};
use crate::layout::{group_file_name, is_group_file, position, temporary_name, FIRST_PAGE};
use crate::options::GROUP_NAME_MAX;
use crate::sync::{Acquire, Memory, Mutex, Region, Relaxed, SeqCst};
use crate::sys::errno::Os;
use crate::sys::file::{self};
use crate::sys::map::Map;
use crate::sys::{clock, lock};

/// The groups of one open.
#[derive(Default)]
pub(crate) struct GroupCache {
    groups: Vec<Arc<Group>>,
    /// The group epoch whose directory listing `groups` holds in full.
    complete_at: Option<u64>,
}

/// How long to wait for whoever deletes a group: one that is suspended half-way keeps the name to itself.
pub(crate) struct Patience {
    until: u64,
    rounds: u32,
}

impl Patience {
    pub(crate) fn new(shared: &Shared) -> Patience {
        let stall = u64::from(shared.stall_timeout_ms) * 1_000_000;
        Patience { until: clock::now_ns() + stall, rounds: 0 }
    }

    /// Whether it was not needed so far.
    pub(crate) fn is_new(&self) -> bool {
        self.rounds == 0
    }

    /// Wait a moment, but not the first time; [`DC_E_BUSY`] at the end.
    pub(crate) fn wait(&mut self, name: &[u8]) -> Result<()> {
        // A few rounds even where the timeout is short: they may be of several deletions.
        if self.rounds > 50 && clock::now_ns() > self.until {
            return Err(fail!(
                DC_E_BUSY,
                "group \"{}\" is being deleted by a process that does not go on: try again later",
                name.escape_ascii()
            ));
        }
        if self.rounds > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.rounds += 1;
        Ok(())
    }
}

/// Check a group's name.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > GROUP_NAME_MAX || name.contains(&0) {
        return Err(fail!(
            DC_E_ARGUMENT,
            "a group's name has 1 to {GROUP_NAME_MAX} bytes, none of them NUL; this one has {}",
            name.len()
        ));
    }
    Ok(())
}

impl Shared {
    /// A group there is.
    pub(crate) fn find_group(&self, name: &[u8]) -> Result<Arc<Group>> {
        check_name(name)?;
        match self.open_group(name)? {
            Some(group) => Ok(group),
            None => Err(Error::os(
                libc::ENOENT,
                format_args!("{}: no group \"{}\"", self.path.display(), name.escape_ascii()),
            )),
        }
    }

    /// A group, created at `start` (a position) if there is none.
    pub(crate) fn find_or_create_group(
        &self,
        name: &[u8],
        start: impl Fn() -> Result<u64>,
    ) -> Result<Arc<Group>> {
        check_name(name)?;
        let mut patience = Patience::new(self);
        // Ends with the deletion that is in the way, or with the patience for it.
        loop {
            if let Some(group) = self.open_group(name)? {
                return Ok(group);
            }
            patience.wait(name)?;
            self.create_group(name, start()?)?;
        }
    }

    fn open_group(&self, name: &[u8]) -> Result<Option<Arc<Group>>> {
        let mut cache = self.groups.lock();
        cache.groups.retain(|g| !g.deleted());
        if let Some(g) = cache.groups.iter().find(|g| g.name == name) {
            return Ok(Some(g.clone()));
        }
        let file_name = group_file_name(name);
        let Some(group) = self.map_group(&file_name)? else {
            return Ok(None);
        };
        if group.name != name {
            return Err(fail!(
                DC_E_LIMIT,
                "group names \"{}\" and \"{}\" have the same 128-bit hash: choose another",
                name.escape_ascii(),
                group.name.escape_ascii()
            ));
        }
        let group = Arc::new(group);
        cache.groups.push(group.clone());
        Ok(Some(group))
    }

    fn map_group(&self, file_name: &str) -> Result<Option<Group>> {
        let err =
            |e: i32| Error::os(e, format_args!("cannot open {}/{file_name}", self.path.display()));
        let fd = match self.dir.open_file(file_name, !self.read_only) {
            Ok(fd) => fd,
            Err(libc::ENOENT) => return Ok(None),
            Err(libc::EINVAL | libc::ELOOP) => {
                let path = self.path.display();
                return Err(fail!(DC_E_CORRUPT, "{path}/{file_name} is not a regular file"));
            }
            Err(e) => return Err(err(e)),
        };
        let len = group::file_len(ENTRY_MAX);
        let damaged = |what: &str| {
            fail!(
                DC_E_CORRUPT,
                "{}/{file_name} {what}: remove it to forget the group's position",
                self.path.display()
            )
        };
        if fd.stat().map_err(err)?.size < len as u64 {
            return Err(damaged("is shorter than a group's file"));
        }
        let map = match map_apart(&self.dir, file_name, &fd, len, !self.read_only, self.guard) {
            Ok(map) => map,
            Err(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(err(e)),
        };
        // SAFETY: page-aligned, of this length, and kept by the group as long as its view.
        let mem = unsafe { Region::new(map.base(), map.len()) };
        let Some(name) = group::read_name(&mem, &self.uuid) else {
            return Err(damaged("is not a group's file of this channel"));
        };
        if mem.load(DELETED, Acquire) != 0 {
            if !self.read_only {
                self.finish_deleting(file_name).map_err(err)?;
            }
            return Ok(None);
        }
        let tag = xxhash_rust::xxh3::xxh3_64(&name) & (u64::MAX >> 1) | 1;
        let owned = Mutex::new([0; 8]);
        let view = GroupView(mem);
        Ok(Some(Group {
            name,
            view,
            tag,
            fd,
            generation: self.generation,
            seeking: Mutex::new(()),
            owned,
            map,
        }))
    }

    fn create_group(&self, name: &[u8], start: u64) -> Result<()> {
        let temporary = temporary_name(file::unique());
        let made = (|| -> Os<()> {
            let fd = self.dir.create_new(&temporary)?;
            lock::try_exclusive(&fd, super::pages::LOCK_PIN, 1)?;
            fd.chmod(self.mode)?;
            fd.set_len(group::file_len(ENTRY_MAX) as u64)?;
            fd.allocate(0, (group::HEADER + ENTRY_SIZE) as u64)?;
            let map = Map::new(&fd, group::file_len(ENTRY_MAX), true, self.guard)?;
            // SAFETY: page-aligned, of this length, used only while `map` lives.
            let mem = unsafe { Region::new(map.base(), map.len()) };
            group::write_header(&mem, &self.uuid, name);
            mem.store(CURSOR, Cursor { position: start, last: NOBODY }.pack(), Relaxed);
            mem.store(FLOOR, group::floor_word(start, 0), Relaxed);
            fd.sync_data()?;
            // Later on there is a page, whose maker has seen to it.
            if self.newest() == FIRST_PAGE && self.ctl.load(NAMED, Acquire) == 0 {
                self.sync_own_name()?;
            }
            match self.dir.rename_noreplace(&temporary, &group_file_name(name)) {
                // Somebody else created it, or a cleaner took the file: look again.
                Err(libc::EEXIST | libc::ENOENT) => self.dir.unlink(&temporary).or(Ok(())),
                other => other,
            }
        })();
        if let Err(e) = made {
            let _ = self.dir.unlink(&temporary);
            let name = name.escape_ascii();
            let path = self.path.display();
            return Err(Error::os(e, format_args!("{path}: cannot create group \"{name}\"")));
        }
        self.joined();
        // A page may have been dropped between choosing the start and joining: it was not kept for us.
        if let Some(group) = self.open_group(name)? {
            // Without it, whoever receives finds the page missing, and moves on.
            let still = group.try_seek();
            for _ in 0..1000 {
                let (c, oldest) = (group.view.cursor(), position(self.window().oldest, 0));
                if still.is_none() || c.position >= oldest || group.view.move_cursor(c, oldest) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Unlink the file of a deleted group, whose deleter may have died before it did.
    fn finish_deleting(&self, file_name: &str) -> Os<()> {
        // Under the lock of the deleted file, so that of several finishers one compares and unlinks.
        let fd = match self.dir.open_file(file_name, true) {
            Err(libc::ENOENT) => return Ok(()),
            opened => opened?,
        };
        if !lock::try_exclusive(&fd, LOCK_ENTRIES, ENTRY_MAX as u64)? {
            return Ok(());
        }
        let mut deleted = [0; 8];
        fd.read_at(&mut deleted, DELETED as u64)?;
        let same =
            self.dir.stat_of(file_name).is_ok_and(|s| fd.stat().is_ok_and(|f| f.ino == s.ino));
        if same && deleted != [0; 8] {
            self.dir.unlink(file_name)?;
        }
        Ok(())
    }

    /// A group or consumer is new, or a group moved back: whoever was deciding to drop a page decides
    /// again (S-WINDOW).
    pub(crate) fn joined(&self) {
        // Bounded: a failure means that somebody else moved the window.
        loop {
            let w = self.window();
            if self.ctl.cas(WINDOW, w.pack(), w.joined().pack(), SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Do something with all groups, complete as of group epoch `epoch`.
    pub(crate) fn with_groups<R>(
        &self,
        epoch: u64,
        act: impl FnOnce(&[Arc<Group>]) -> R,
    ) -> Result<R> {
        let mut cache = self.groups.lock();
        // First, or one that was deleted would stand for one made anew under its name.
        cache.groups.retain(|g| !g.deleted());
        if cache.complete_at != Some(epoch) {
            let names = self.dir.list().map_err(|e| self.os_dir(e, "list"))?;
            for file_name in names.iter().filter(|n| is_group_file(n)) {
                if cache.groups.iter().any(|g| group_file_name(&g.name) == *file_name) {
                    continue;
                }
                match self.map_group(file_name) {
                    Ok(Some(group)) => cache.groups.push(Arc::new(group)),
                    Ok(None) => {}
                    // A damaged group holds nothing back and is reported to whoever names it.
                    Err(e) if e.code() == DC_E_CORRUPT => {}
                    // One that cannot be looked at (no descriptors left, say) may hold back anything.
                    Err(e) => return Err(e),
                }
            }
            cache.complete_at = Some(epoch);
        }
        cache.groups.retain(|g| !g.deleted());
        Ok(act(&cache.groups))
    }

    /// Wake one consumer of a group, and all its descriptors.
    pub(crate) fn wake_group(&self, group: &Group) {
        self.wake(FOR_MESSAGES, Some(group.tag));
    }

    /// Leases of a group were given back: its consumers look for them.
    pub(crate) fn returned(&self, group: &Group) {
        group.mem().add(RETURNED, 1, SeqCst);
        self.wake_group(group);
        self.room_made();
    }
}

impl User {
    /// Delete a group; [`DC_E_BUSY`] while it has consumers.
    pub(crate) fn delete_group(&self, name: &[u8]) -> Result<()> {
        let group = self.find_group(name)?;
        let file_name = group_file_name(name);
        let err = |e: i32| {
            Error::os(e, format_args!("cannot delete {}/{file_name}", self.path.display()))
        };
        // A descriptor of our own, so that consumers of this very open are in the way as well.
        let fd = self.dir.open_file(&file_name, true).map_err(err)?;
        if !lock::try_exclusive(&fd, LOCK_ENTRIES, ENTRY_MAX as u64).map_err(err)? {
            return Err(fail!(
                DC_E_BUSY,
                "group \"{}\" has consumers: close them first",
                name.escape_ascii()
            ));
        }
        let inode = fd.stat().map_err(err)?.ino;
        let mapped = group.fd.stat().map_err(err)?.ino;
        if self.dir.stat_of(&file_name).map_err(err)?.ino != inode || mapped != inode {
            return Err(err(libc::ENOENT));
        }
        group.mem().store(DELETED, 1, SeqCst);
        self.dir.unlink(&file_name).map_err(err)?;
        self.joined();
        self.room_made();
        Ok(())
    }

    /// The names of all groups in byte order.
    pub(crate) fn group_names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for file_name in self.dir.list().map_err(|e| self.os_dir(e, "list"))? {
            if !is_group_file(&file_name) {
                continue;
            }
            let Ok(fd) = self.dir.open_file(&file_name, false) else {
                continue;
            };
            let mut header = [0; 2048];
            if fd.read_at(&mut header, 0).is_ok_and(|n| n == header.len()) {
                let len = (header[group::NAME_LEN_AT] as usize).min(GROUP_NAME_MAX);
                let name = &header[group::NAME_AT..group::NAME_AT + len];
                let deleted = header[DELETED..DELETED + 8] != [0; 8];
                if group_file_name(name) == file_name && !deleted {
                    names.push(name.to_vec());
                }
            }
        }
        names.sort();
        Ok(names)
    }
}
