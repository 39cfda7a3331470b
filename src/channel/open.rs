//! Opening a channel's directory: what was asked against what is stored, the open lock, the mapping.
//!
//! Every open holds a shared lock (readers one of their own); it is taken exclusively only by one who has
//! to be alone: to recover, to end a poisoning, to finish a destruction.

use std::path::Path;
use std::time::Duration;

use super::handles::HandleTable;
use super::lifecycle::{create, directory_mode, finish_destroying};
use super::pages::map_apart;
use super::Shared;
use crate::error::{
    fail, Error, Result, DC_E_ARGUMENT, DC_E_BUSY, DC_E_CORRUPT, DC_E_FORMAT, DC_E_LIMIT,
    DC_E_MISMATCH, DC_E_UNSUPPORTED,
};
use crate::layout::control::{
    self, BOOT_ID, CHANNEL_LEN, FLUSHING, LOCK_MEMBERS, LOCK_OPEN, LOCK_READERS, MEMBERS, POISONED,
};
use crate::layout::superblock::{Reject, Superblock, SIZE, STATE_DESTROYED, STATE_LIVE, VERSION};
use crate::layout::{checksum_seed, is_temporary, CHANNEL_FILE};
use crate::options::*;
use crate::sync::{planted, AtomicU64, AtomicUsize, Memory, Mutex, Region, Relaxed, SeqCst};
use crate::sys::file::{self, Dir, Fd};
use crate::sys::{clock, fork, fs, lock, sigbus};

/// Page numbers reserved at a time: how many a machine crash skips at most.
pub(crate) const RESERVE: u64 = 1024;

pub(super) fn os(errno: i32, what: &str, path: &Path) -> Error {
    Error::os(errno, format_args!("cannot {what} {}", path.display()))
}

/// Check options that need no channel; fill in what a new channel would take.
fn check(o: &Options) -> Result<Superblock> {
    let or = |v: u64, default: u64| if v == 0 { default } else { v };
    let sb = Superblock {
        uuid: [0; 16],
        sequence: 1,
        page_size: or(o.page_size, 16 << 20).checked_next_multiple_of(4096).unwrap_or(u64::MAX),
        max_pages: or(o.max_pages, 16),
        slots: or(o.max_messages_per_page.into(), 65_535) as u32,
        retention: or(o.retention.into(), RETAIN_RING.into()) as u32,
        checksum: or(o.checksum.into(), CHECKSUM_ON.into()) as u32,
        stall_timeout_ms: or(o.stall_timeout_ms.into(), 1000) as u32,
        mode: or(o.mode.into(), 0o600) as u32,
        state: STATE_LIVE,
    };
    let bad = |name: &str, value: u64, range: &str| {
        Err(fail!(DC_E_ARGUMENT, "options.{name} is {value}: {range}"))
    };
    if o.page_size != 0 && !(64 << 10..=4 << 30).contains(&o.page_size) {
        return bad(
            "page_size",
            o.page_size,
            "it is 65,536 (64 KiB) to 4,294,967,296 (4 GiB) bytes",
        );
    }
    if sb.max_pages < 2 || (sb.max_pages > 1 << 32 && sb.max_pages != UNLIMITED) {
        return bad("max_pages", o.max_pages, "it is 2 to 2^32, or DC_UNLIMITED");
    }
    if sb.slots > 65_535 {
        return bad("max_messages_per_page", sb.slots.into(), "it is 1 to 65,535");
    }
    if sb.retention > 3 {
        return bad("retention", sb.retention.into(), "it is one of DC_RETAIN_...");
    }
    if sb.checksum > 2 {
        return bad("checksum", sb.checksum.into(), "it is DC_CHECKSUM_ON or DC_CHECKSUM_OFF");
    }
    if o.durability > 3 {
        return bad("durability", o.durability.into(), "it is one of DC_SYNC_...");
    }
    if sb.stall_timeout_ms > 60_000 {
        return bad("stall_timeout_ms", sb.stall_timeout_ms.into(), "it is at most 60,000");
    }
    if sb.mode > 0o777 || sb.mode & 0o600 != 0o600 {
        return bad("mode", sb.mode.into(), "it is permission bits, the owner's rw- included");
    }
    if o.flags & !OPEN_FLAGS != 0 {
        return bad("flags", o.flags.into(), "it has unknown bits");
    }
    let has = |f: u32| o.flags & f != 0;
    if has(NEW) && (has(EXISTING) || has(READ_ONLY)) {
        return bad("flags", o.flags.into(), "DC_NEW excludes DC_EXISTING and DC_READ_ONLY");
    }
    Ok(sb)
}

/// Open the channel at `path` as the options say.
pub(super) fn open(path: &Path, o: &Options) -> Result<Shared> {
    let wanted = check(o)?;
    if path.as_os_str().is_empty() {
        return Err(fail!(DC_E_ARGUMENT, "the path is empty"));
    }
    let existing = o.flags & (EXISTING | READ_ONLY) != 0;
    let mut made = false;
    // Bounded in practice: each round follows a creation or destruction by somebody else.
    for _ in 0..1000 {
        let dir = match Dir::open(path) {
            Ok(dir) => dir,
            Err(libc::ENOENT) if !existing => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                let above = Dir::open(parent).map_err(|e| os(e, "create directory", path))?;
                refuse_network(path, &above)?;
                match file::make_dir(path, directory_mode(wanted.mode)) {
                    Ok(()) | Err(libc::EEXIST) => continue,
                    Err(e) => return Err(os(e, "create directory", path)),
                }
            }
            Err(libc::ENOTDIR) => return Err(not_a_channel(path, "is not a directory")),
            Err(e) => return Err(os(e, "open", path)),
        };
        refuse_network(path, &dir)?;
        match dir.open_file(CHANNEL_FILE, o.flags & READ_ONLY == 0) {
            Ok(file) => match open_file(path, dir, file, o, &wanted, made)? {
                Some(shared) => return Ok(shared),
                None => continue,
            },
            Err(libc::ENOENT) => {
                let names = dir.list().map_err(|e| os(e, "list", path))?;
                if names.iter().any(|n| n == CHANNEL_FILE) {
                    // Created just now.
                    continue;
                }
                if let Some(stranger) = names.iter().find(|n| !is_temporary(n)) {
                    let why = format!("is neither empty nor a channel (it has \"{stranger}\")");
                    return Err(not_a_channel(path, &why));
                }
                if existing {
                    return Err(os(libc::ENOENT, "find a channel in", path));
                }
                made |= create(path, &dir, &wanted)?;
            }
            Err(libc::EINVAL | libc::ELOOP) => {
                return Err(not_a_channel(path, "has a \"channel\" that is not a regular file"))
            }
            Err(e) => return Err(os(e, "open the channel file in", path)),
        }
    }
    Err(fail!(DC_E_BUSY, "{}: keeps being created and destroyed", path.display()))
}

fn refuse_network(path: &Path, dir: &Dir) -> Result<()> {
    match fs::refuse_network(dir.raw()).map_err(|e| os(e, "examine", path))? {
        None => Ok(()),
        Some(name) => Err(fail!(
            DC_E_UNSUPPORTED,
            "{} is on a network file system ({name}): a channel lives on a local one",
            path.display()
        )),
    }
}

pub(super) fn not_a_channel(path: &Path, why: &str) -> Error {
    fail!(DC_E_FORMAT, "{} {why}: nothing was changed", path.display())
}

/// Lock, check and map an open channel file; `None`: it is gone, look again.
fn open_file(
    path: &Path,
    dir: Dir,
    fd: Fd,
    o: &Options,
    wanted: &Superblock,
    made: bool,
) -> Result<Option<Shared>> {
    // Before the lock, so that a foreign or newer file is left alone in every way.
    let sb = read_superblock(path, &fd)?;
    let alone = join(path, &fd, o.flags & READ_ONLY != 0)?;
    let stat = fd.stat().map_err(|e| os(e, "stat", path))?;
    if !dir.stat_of(CHANNEL_FILE).is_ok_and(|s| s.ino == stat.ino) {
        return Ok(None);
    }
    if read_superblock(path, &fd)?.state == STATE_DESTROYED {
        if !alone {
            return Err(fail!(DC_E_BUSY, "{} is being destroyed", path.display()));
        }
        finish_destroying(path, &dir)?;
        return Ok(None);
    }
    if o.flags & NEW != 0 && !made {
        return Err(os(libc::EEXIST, "create a channel in", path));
    }
    compare(path, o, wanted, &sb)?;
    if stat.size < CHANNEL_LEN as u64 {
        return Err(fail!(
            DC_E_CORRUPT,
            "{}/{CHANNEL_FILE} has {} bytes instead of {CHANNEL_LEN}",
            path.display(),
            stat.size
        ));
    }
    let shared = map_shared(path, dir, fd, o, &sb)?;
    settle_in(&shared, alone)?;
    shared.with_member().map(Some)
}

pub(super) fn read_superblock(path: &Path, fd: &Fd) -> Result<Superblock> {
    let mut copies = [[0; SIZE]; 2];
    for (i, copy) in copies.iter_mut().enumerate() {
        fd.read_at(copy, (i * SIZE) as u64).map_err(|e| os(e, "read the channel file in", path))?;
    }
    Superblock::newest(&copies[0], &copies[1]).map_err(|why| match why {
        Reject::NotOurs => not_a_channel(path, "has a \"channel\" file that is not a channel's"),
        Reject::Version(v) => fail!(
            DC_E_FORMAT,
            "{} has format version {v} or features unknown to this library, which knows version \
             {VERSION}: use a newer library",
            path.display()
        ),
        Reject::Damaged => {
            fail!(DC_E_CORRUPT, "{}: both superblocks are damaged", path.display())
        }
    })
}

/// Take the open lock. True: it is exclusive, because something is to be done that only one who is alone
/// may do (recovery, ending a poisoning or a destruction) and nobody else has the channel open.
fn join(path: &Path, fd: &Fd, read_only: bool) -> Result<bool> {
    let err = |e| os(e, "lock", path);
    let byte = if read_only { LOCK_READERS } else { LOCK_OPEN };
    // 10 s, then whoever recovers or destroys the channel is taken for suspended.
    for round in 0..10_000 {
        if lock::try_shared(fd, byte, 1).map_err(err)? {
            if read_only || !needs_solitude(path, fd)? {
                return Ok(false);
            }
            if lock::try_exclusive(fd, LOCK_OPEN, 1).map_err(err)? {
                return Ok(true);
            }
            if planted!("two_kernels") {
                return Ok(true);
            }
            // The others may be users of the channel, or on the same errand: they step back as well.
            if round >= 200 {
                return Ok(false);
            }
            lock::unlock(fd, LOCK_OPEN, 1);
            std::thread::sleep(Duration::from_micros(200 + file::unique() % 1000));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(fail!(DC_E_BUSY, "{}: another process recovers or destroys the channel", path.display()))
}

/// Whether somebody should be alone with the channel first.
fn needs_solitude(path: &Path, fd: &Fd) -> Result<bool> {
    let read = |at: usize, out: &mut [u8]| {
        fd.read_at(out, at as u64).map_err(|e| os(e, "read the channel file in", path))
    };
    let (mut boot, mut poisoned) = ([0; 16], [0; 8]);
    read(BOOT_ID, &mut boot)?;
    read(POISONED, &mut poisoned)?;
    let destroyed = read_superblock(path, fd)?.state == STATE_DESTROYED;
    Ok(destroyed || boot != this_boot(path)? || poisoned != [0; 8])
}

fn this_boot(path: &Path) -> Result<[u8; 16]> {
    clock::boot_id().map_err(|e| os(e, "read the boot id to open", path))
}

fn read_boot(ctl: &Region) -> [u8; 16] {
    let mut boot = [0; 16];
    ctl.read_bytes(BOOT_ID, &mut boot);
    boot
}

/// Whether the channel is what was asked for; zero adopts what is stored.
fn compare(path: &Path, o: &Options, wanted: &Superblock, sb: &Superblock) -> Result<()> {
    let differs = |name: &str, given: u64, wanted: u64, stored: u64| {
        if given == 0 || wanted == stored {
            return Ok(());
        }
        Err(fail!(
            DC_E_MISMATCH,
            "{}: the channel was created with {name} {stored}, not {wanted}: ask for that, or for 0",
            path.display()
        ))
    };
    differs("page_size", o.page_size, wanted.page_size, sb.page_size)?;
    differs("max_pages", o.max_pages, wanted.max_pages, sb.max_pages)?;
    let (given, slots) = (o.max_messages_per_page.into(), wanted.slots.into());
    differs("max_messages_per_page", given, slots, sb.slots.into())?;
    differs("retention", o.retention.into(), wanted.retention.into(), sb.retention.into())?;
    differs("checksum", o.checksum.into(), wanted.checksum.into(), sb.checksum.into())?;
    differs("mode", o.mode.into(), wanted.mode.into(), sb.mode.into())
}

fn map_shared(path: &Path, dir: Dir, file: Fd, o: &Options, sb: &Superblock) -> Result<Shared> {
    let read_only = o.flags & READ_ONLY != 0;
    let guard = o.flags & SIGBUS_GUARD != 0;
    if guard {
        sigbus::install().map_err(|e| os(e, "install the SIGBUS handler for", path))?;
    }
    let map = map_apart(&dir, CHANNEL_FILE, &file, CHANNEL_LEN, !read_only, guard)
        .map_err(|e| os(e, "map the channel file of", path))?;
    // SAFETY: page-aligned, of this length, and kept by the channel as long as the region.
    let ctl = unsafe { Region::new(map.base(), map.len()) };
    let or = |v: u32, default: u32| if v == 0 { default } else { v };
    Ok(Shared {
        path: path.to_path_buf(),
        dir,
        file,
        map,
        ctl,
        uuid: sb.uuid,
        seed: checksum_seed(&sb.uuid),
        geometry: sb.geometry(),
        max_pages: sb.max_pages,
        retention: sb.retention,
        checksum: sb.checksum,
        stall_timeout_ms: or(o.stall_timeout_ms, sb.stall_timeout_ms),
        mode: sb.mode,
        durability: or(o.durability, SYNC_NONE),
        sync_interval_ms: or(o.sync_interval_ms, 1000),
        flags: o.flags,
        read_only,
        unrecovered: read_only && read_boot(&ctl) != this_boot(path)?,
        guard,
        member: 0,
        generation: fork::generation(),
        last_new_page: AtomicU64::new(0),
        high_water: AtomicU64::new(0),
        pages: Mutex::new(Default::default()),
        groups: Mutex::new(Default::default()),
        handles: Mutex::new(HandleTable::new(read_only)),
        preparing: Mutex::new(()),
        flushing: Mutex::new(Default::default()),
        beside: Mutex::new(()),
        wanted_page: AtomicU64::new(0),
        last_flush: AtomicU64::new(0),
        users: AtomicUsize::new(0),
    })
}

/// Recover where the machine crashed, clear a poisoning that nobody is left of, take a member record.
fn settle_in(shared: &Shared, alone: bool) -> Result<()> {
    if shared.read_only {
        return Ok(());
    }
    let same_boot = read_boot(&shared.ctl) == this_boot(&shared.path)?;
    if alone {
        if !same_boot {
            crate::recover::recover(shared)?;
        }
        if shared.ctl.load(POISONED, SeqCst) != 0 {
            // What cannot be written anew (a disk that is still full, say) stays unknown: receiving goes on.
            let rewritten = planted!("not_rewritten") || super::rewrite::rewrite(shared).is_ok();
            if rewritten {
                shared.ctl.store(FLUSHING, 1, SeqCst);
                shared.ctl.store(POISONED, 0, SeqCst);
            }
        }
        let down = lock::try_shared(&shared.file, LOCK_OPEN, 1);
        if !down.map_err(|e| shared.os_dir(e, "lock"))? {
            return Err(fail!(DC_E_BUSY, "{}: cannot join the channel", shared.path.display()));
        }
    } else if !same_boot {
        return Err(fail!(
            DC_E_UNSUPPORTED,
            "{}: another kernel has the channel open: only processes of one machine can share it",
            shared.path.display()
        ));
    }
    Ok(())
}

impl Shared {
    /// Take a record by which other processes reach this one's library thread.
    pub(super) fn with_member(mut self) -> Result<Shared> {
        if self.read_only {
            return Ok(self);
        }
        // Not from the first one on: with a thousand opens each would try all the others' records.
        let first = file::unique() as usize % MEMBERS;
        for member in (first..MEMBERS).chain(0..first) {
            let taken = lock::try_exclusive(&self.file, LOCK_MEMBERS + member as u64, 1);
            if taken.map_err(|e| self.os_dir(e, "lock"))? {
                self.member = member;
                return Ok(self);
            }
        }
        Err(fail!(
            DC_E_LIMIT,
            "{}: the channel is open {MEMBERS} times, the most there can be",
            self.path.display()
        ))
    }

    /// Make sure that a page number is below the durable high-water mark: after a machine crash
    /// numbering goes on above it, so no position is ever used twice.
    pub(super) fn reserve_numbers(&self, number: u64) -> Result<()> {
        if number < self.high_water.load(Relaxed) {
            return Ok(());
        }
        // What is on disk is at least what was synced before a boot; within one boot the word counts.
        let mark = self.ctl.load(control::HIGH_WATER, SeqCst);
        let mark = if number < mark { mark } else { number + RESERVE };
        self.ctl.raise(control::HIGH_WATER, mark, SeqCst);
        if planted!("high_water_unflushed") {
            return Ok(());
        }
        if let Err(e) = self.file.sync_data() {
            self.poison();
            return Err(self.os_dir(e, "flush the channel file in"));
        }
        self.high_water.store(mark, Relaxed);
        Ok(())
    }
}
