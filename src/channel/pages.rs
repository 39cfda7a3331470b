//! The page files this process has mapped, and pins on them.
//!
//! A mapping outlives the page it was made for: files are reused, and finding them mapped and populated
//! is what makes a steady channel fast. A *pin* is a kernel read lock on the file (one for all handles
//! of this open), taken while any handle uses the page: whoever wants to reuse a file needs the write
//! lock and unlinks the file instead where it does not get it. Kernel locks end with their process, so
//! no pin outlives its owner.

mod cache;

use std::sync::Arc;

pub(crate) use self::cache::{map_apart, PageCache};
use super::Shared;
use crate::engine::page::PageView;
use crate::error::{fail, Error, Result, DC_E_BUSY, DC_E_CORRUPT};
use crate::layout::page::{Header, NUMBER_AT, UNIT, VERIFIED_AT};
use crate::layout::{control, page_name};
use crate::sync::{Acquire, AtomicUsize, Memory, Mutex, Region, Relaxed};
use crate::sys::errno::Os;
use crate::sys::file::Fd;
use crate::sys::map::Map;
use crate::sys::{fork, lock};

/// The byte of a page file that pins lock, beyond its end.
pub(crate) const LOCK_PIN: u64 = 1 << 40;
/// The byte whose lock is needed to ask for the write lock on the other one, so that nobody has that, not even for a
/// moment, on a file that is a page in use.
pub(crate) const LOCK_TAKE: u64 = LOCK_PIN + 1;
/// Payload is populated in pieces of this many bytes ahead of the writers.
const POPULATE_STEP: usize = 2 << 20;

/// A mapped page file.
pub(crate) struct PageFile {
    pub(crate) fd: Fd,
    map: Map,
    inode: u64,
    generation: u64,
    pins: Mutex<usize>,
    /// Bytes of the file, from `first` to `populated`, that may be written without a fault.
    first: AtomicUsize,
    populated: AtomicUsize,
}

impl PageFile {
    fn region(&self) -> Region {
        // SAFETY: the mapping is page-aligned, as long as said, and outlives every use: regions are
        // handed out inside `Page`, which keeps this file alive.
        unsafe { Region::new(self.map.base(), self.map.len()) }
    }

    fn pin(&self) -> Os<bool> {
        let mut pins = self.pins.lock();
        if *pins == 0 && !lock::try_shared(&self.fd, LOCK_PIN, 1)? {
            return Ok(false);
        }
        *pins += 1;
        Ok(true)
    }

    fn unpin(&self) {
        // In a forked child the lock is the parent's.
        if fork::is_foreign(self.generation) {
            return;
        }
        let mut pins = self.pins.lock();
        *pins -= 1;
        if *pins == 0 {
            lock::unlock(&self.fd, LOCK_PIN, 1);
        }
    }

    /// Make sure that the bytes up to `end` can be written without a fault that could be a signal.
    pub(crate) fn populate(&self, end: usize) -> Os<()> {
        let from = self.populated.load(Relaxed);
        if end <= from {
            return Ok(());
        }
        let to = end.next_multiple_of(POPULATE_STEP).min(self.map.len());
        if to <= from {
            return Ok(());
        }
        self.map.populate_write(from, to - from)?;
        self.populated.fetch_max(to, Relaxed);
        Ok(())
    }

    /// Whether another hand cut the file under the mapping (known under `DC_SIGBUS_GUARD` only).
    pub(crate) fn lost(&self) -> bool {
        self.map.lost()
    }
}

/// A page in use: its file is pinned while this lives.
pub(crate) struct Page {
    pub(crate) file: Arc<PageFile>,
    pub(crate) view: PageView<Region>,
    payload: *mut u8,
}

// SAFETY: the pointer is into a shared mapping that `file` keeps.
unsafe impl Send for Page {}
// SAFETY: as above; all access through it is by the protocols.
unsafe impl Sync for Page {}

impl Drop for Page {
    fn drop(&mut self) {
        self.file.unpin();
    }
}

impl Page {
    pub(crate) fn number(&self) -> u64 {
        self.view.number
    }

    /// Where a unit of payload lies.
    #[inline(always)]
    pub(crate) fn payload(&self, unit: u64) -> *mut u8 {
        debug_assert!(unit <= self.view.geometry.units());
        // SAFETY: units were checked against the geometry, whose payload is mapped to its end.
        unsafe { self.payload.add(unit as usize * UNIT) }
    }

    /// Make ready for a producer: the table, and some payload from where messages are being added.
    pub(crate) fn prepare_to_write(&self) -> Os<()> {
        let (file, geometry) = (&self.file, &self.view.geometry);
        let payload = geometry.payload_at();
        let tail = self.view.tail().units.min(geometry.units());
        let from = (payload + tail as usize * UNIT) & !4095;
        // What lies before the first producer's place is not needed, until the file is another page.
        if from < file.first.load(Relaxed) {
            file.map.populate_write(0, payload)?;
            file.populated.store(from, Relaxed);
            file.first.store(from, Relaxed);
        }
        self.populate((tail + (POPULATE_STEP / UNIT) as u64).min(geometry.units()))
    }

    /// Units from the first that this open has made writable.
    pub(crate) fn populated(&self) -> u64 {
        let bytes = self.file.populated.load(Relaxed);
        (bytes.saturating_sub(self.view.geometry.payload_at()) / UNIT) as u64
    }

    /// Make payload writable without faults up to a unit.
    #[inline(always)]
    pub(crate) fn populate(&self, end_unit: u64) -> Os<()> {
        let end = self.view.geometry.payload_at() + end_unit as usize * UNIT;
        if end <= self.file.populated.load(Relaxed) {
            return Ok(());
        }
        self.file.populate(end)
    }
}

/// What asking for a page gives.
pub(crate) enum Pinned {
    Page(Page),
    /// There is no such page: not made yet, dropped, or about to be.
    Missing,
    /// Its file is not a page of this channel (this thread's last error says what is wrong): nothing in
    /// it can be trusted, and it is gone as soon as retention drops it.
    Damaged,
}

impl Shared {
    /// Pin a page by its number.
    pub(crate) fn pin(&self, number: u64) -> Result<Pinned> {
        // A file that changes hands between finding and locking it is found anew; each round means
        // that the ring moved on, or that a page is just being linked.
        for round in 0..200 {
            if self.window().oldest > number {
                return Ok(Pinned::Missing);
            }
            let file = match self.find_file(number) {
                Ok(Some(file)) => file,
                Ok(None) => return Ok(Pinned::Missing),
                Err(e) if e.code() == DC_E_CORRUPT => return Ok(Pinned::Damaged),
                Err(e) => return Err(e),
            };
            if !file.pin().map_err(|e| self.os_page(e, "lock", number))? {
                if round > 20 {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
                continue;
            }
            let page = self.page_of_file(file, number);
            match self.dir.stat_of(&page_name(number)) {
                Ok(s) if s.ino == page.file.inode => {}
                Ok(_) | Err(libc::ENOENT) => continue,
                Err(e) => return Err(self.os_page(e, "stat", number)),
            }
            if self.window().oldest > number {
                return Ok(Pinned::Missing);
            }
            return match self.admit(page) {
                Ok(page) => Ok(Pinned::Page(page)),
                Err(e) if e.code() == DC_E_CORRUPT => Ok(Pinned::Damaged),
                Err(e) => Err(e),
            };
        }
        Err(fail!(
            DC_E_BUSY,
            "{}/{} is locked or replaced by a program that is not a user of the channel",
            self.path.display(),
            page_name(number)
        ))
    }

    fn page_of_file(&self, file: Arc<PageFile>, number: u64) -> Page {
        let region = file.region();
        let view = PageView { mem: region, number, geometry: self.geometry };
        let payload = region.pointer(self.geometry.payload_at());
        Page { file, view, payload }
    }

    /// Check that a pinned file carries its page, after a machine crash more thoroughly.
    fn admit(&self, page: Page) -> Result<Page> {
        let mem = &page.view.mem;
        if self.doubtful(&page) {
            if self.read_only {
                return Ok(page);
            }
            crate::recover::check_page(self, &page)?;
        }
        let number = mem.load(NUMBER_AT, Acquire);
        if number != page.number() || !Header::fits(mem, &self.uuid, &self.geometry) {
            return Err(fail!(
                DC_E_CORRUPT,
                "{}: the header of {} is not that of page {} of this channel: run a check with dc_verify",
                self.path.display(),
                page_name(page.number()),
                page.number()
            ));
        }
        Ok(page)
    }

    /// Whether a page was written before the last machine crash and not checked since.
    pub(crate) fn doubtful(&self, page: &Page) -> bool {
        let verified = page.view.mem.load(VERIFIED_AT, Acquire);
        self.unrecovered
            || page.number() < self.ctl.load(control::SUSPECT_BELOW, Acquire)
                && verified != self.ctl.load(control::RECOVERIES, Acquire)
    }

    /// The words of a file that is being prepared.
    pub(super) fn words(&self, file: &Arc<PageFile>) -> Region {
        file.region()
    }

    pub(super) fn os_page(&self, errno: i32, what: &str, number: u64) -> Error {
        Error::os(
            errno,
            format_args!("cannot {what} {}/{}", self.path.display(), page_name(number)),
        )
    }
}
