//! The page files this process has mapped, and pins on them.
//!
//! A mapping outlives the page it was made for: files are reused, and finding them mapped and populated
//! is what makes a steady channel fast. A *pin* is a kernel read lock on the file (one for all handles
//! of this open), taken while any handle uses the page: whoever wants to reuse a file needs the write
//! lock and unlinks the file instead where it does not get it. Kernel locks end with their process, so
//! no pin outlives its owner.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::Shared;
use crate::engine::page::PageView;
use crate::error::{fail, Error, Result, DC_E_BUSY, DC_E_CORRUPT};
use crate::layout::page::{slot_at, Header, NUMBER_AT, UNIT, VERIFIED_AT};
use crate::layout::{control, page_name};
use crate::sync::{Acquire, AtomicUsize, Memory, Mutex, Region, Relaxed};
use crate::sys::errno::Os;
use crate::sys::file::{Dir, Fd};
use crate::sys::map::Map;
use crate::sys::{fork, lock};

/// The byte of a page file that pins lock, beyond its end.
pub(crate) const LOCK_PIN: u64 = 1 << 40;
/// Mappings kept though nobody uses them, on a channel without a bound on its pages.
const IDLE_MAPS: usize = 8;
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

/// The mapped files of one open.
#[derive(Default)]
pub(crate) struct PageCache {
    files: Vec<Arc<PageFile>>,
    /// Memory for as many files as the handles there are can need, taken when they were made: turning
    /// a page allocates nothing.
    stock: Vec<Arc<MaybeUninit<PageFile>>>,
    provided: usize,
}

impl PageCache {
    /// Provide for `more` files at once.
    pub(super) fn provide(&mut self, more: usize) {
        self.provided += more;
        self.files.reserve(self.provided - self.files.len().min(self.provided));
        self.stock.reserve(self.provided - self.stock.len().min(self.provided));
        self.restock();
    }

    /// The handles that asked for `less` files are gone.
    pub(super) fn release(&mut self, less: usize) {
        self.provided -= less.min(self.provided);
        let wanted = self.provided.saturating_sub(self.files.len());
        self.stock.truncate(wanted);
    }

    fn restock(&mut self) {
        while self.stock.len() + self.files.len() < self.provided {
            self.stock.push(Arc::new_uninit());
        }
    }

    fn store(&mut self, file: PageFile) -> Arc<PageFile> {
        let mut place = self.stock.pop().unwrap_or_else(Arc::new_uninit);
        match Arc::get_mut(&mut place) {
            Some(empty) => {
                empty.write(file);
            }
            // Nobody else has an unused piece of stock.
            None => return Arc::new(file),
        }
        // SAFETY: written just above.
        unsafe { place.assume_init() }
    }

    /// Unmap a file that nobody uses, and keep its memory.
    fn remove(&mut self, index: usize) {
        let mut file = self.files.swap_remove(index);
        if Arc::get_mut(&mut file).is_none() {
            return;
        }
        let place = Arc::into_raw(file).cast_mut();
        // SAFETY: ours alone; dropped here, and from here on uninitialised memory of the same layout.
        unsafe {
            std::ptr::drop_in_place(place);
            self.stock.push(Arc::from_raw(place.cast::<MaybeUninit<PageFile>>()));
        }
    }
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

    fn find_file(&self, number: u64) -> Result<Option<Arc<PageFile>>> {
        let mut cache = self.pages.lock();
        if let Some(f) = cache.files.iter().find(|f| f.region().load(NUMBER_AT, Acquire) == number)
        {
            // The number may be that of a file that was never linked, or not any more: `pin` looks.
            let named = self.dir.stat_of(&page_name(number));
            if named.is_ok_and(|s| s.ino == f.inode) {
                return Ok(Some(f.clone()));
            }
        }
        let name = page_name(number);
        let fd = match self.dir.open_file(&name, !self.read_only) {
            Ok(fd) => fd,
            Err(libc::ENOENT) => return Ok(None),
            Err(libc::EINVAL | libc::ELOOP) => {
                let path = self.path.display();
                return Err(fail!(DC_E_CORRUPT, "{path}/{name} is not a regular file"));
            }
            Err(e) => return Err(self.os_page(e, "open", number)),
        };
        self.adopt_file(&mut cache, fd, &name, number)
    }

    /// The mapping of an open page file: the one there is, or a new one; `None`: its name went.
    fn adopt_file(
        &self,
        cache: &mut PageCache,
        fd: Fd,
        name: &str,
        number: u64,
    ) -> Result<Option<Arc<PageFile>>> {
        let stat = fd.stat().map_err(|e| self.os_page(e, "stat", number))?;
        if let Some(f) = cache.files.iter().find(|f| f.inode == stat.ino) {
            return Ok(Some(f.clone()));
        }
        let len = self.geometry.file_len();
        if stat.size < len {
            return Err(fail!(
                DC_E_CORRUPT,
                "{}: {} has {} bytes instead of {len}",
                self.path.display(),
                page_name(number),
                stat.size
            ));
        }
        let map = match map_apart(&self.dir, name, &fd, len as usize, !self.read_only, self.guard) {
            Ok(map) => map,
            Err(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(self.os_page(e, "map", number)),
        };
        self.trim(cache);
        let file = cache.store(PageFile {
            fd,
            map,
            inode: stat.ino,
            generation: self.generation,
            pins: Mutex::new(0),
            first: AtomicUsize::new(usize::MAX),
            populated: AtomicUsize::new(0),
        });
        cache.files.push(file.clone());
        Ok(Some(file))
    }

    /// Drop mappings of files that are gone, and the oldest idle ones beyond a bound.
    fn trim(&self, cache: &mut PageCache) {
        let idle = |f: &Arc<PageFile>| Arc::strong_count(f) == 1;
        for i in (0..cache.files.len()).rev() {
            let file = &cache.files[i];
            if idle(file) && file.fd.stat().map_or(true, |s| s.links == 0) {
                cache.remove(i);
            }
        }
        while cache.files.len() >= self.idle_maps() {
            let oldest = (0..cache.files.len())
                .filter(|&i| idle(&cache.files[i]))
                .min_by_key(|&i| cache.files[i].region().load(NUMBER_AT, Relaxed));
            match oldest {
                Some(i) => cache.remove(i),
                None => break,
            }
        }
    }

    /// Mappings kept although nobody uses them.
    pub(super) fn idle_maps(&self) -> usize {
        if self.max_pages > 64 {
            IDLE_MAPS
        } else {
            self.max_pages as usize + 2
        }
    }

    /// Take memory for the pages that one more handle can pin: one, and one of a reservation.
    pub(super) fn provide_pages(&self) {
        self.pages.lock().provide(2);
    }

    /// The handle is gone.
    pub(super) fn release_pages(&self) {
        self.pages.lock().release(2);
    }

    /// Map an open, unlinked or not yet linked file as page `number` for whoever prepares it.
    pub(super) fn preparing(
        &self,
        fd: Fd,
        name: &str,
        number: u64,
    ) -> Result<Option<Arc<PageFile>>> {
        let mut cache = self.pages.lock();
        self.adopt_file(&mut cache, fd, name, number)
    }

    /// Forget a file that did not become a page.
    pub(super) fn discard(&self, file: &Arc<PageFile>) {
        let mut cache = self.pages.lock();
        if let Some(i) = cache.files.iter().position(|f| Arc::ptr_eq(f, file)) {
            // `file` itself is the other share: its memory is not kept.
            drop(cache.files.swap_remove(i));
        }
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

/// Map a file through an open file description of its own. A mapping keeps its description alive, in a
/// forked child too, and with it the kernel locks taken through it: locks and mappings stay apart, so
/// that the locks of a killed process end although a child of it lives on.
pub(crate) fn map_apart(
    dir: &Dir,
    name: &str,
    fd: &Fd,
    len: usize,
    writable: bool,
    guard: bool,
) -> Os<Map> {
    let other = dir.open_file(name, writable)?;
    if other.stat()?.ino != fd.stat()?.ino {
        return Err(libc::ENOENT);
    }
    Map::new(&other, len, writable, guard)
}

/// Set the slot words of a page that nobody uses to zero.
pub(super) fn clear_slots(mem: &Region, count: usize) {
    for slot in 0..count {
        mem.store(slot_at(slot), 0, Relaxed);
        mem.store(slot_at(slot) + 8, 0, Relaxed);
    }
}
