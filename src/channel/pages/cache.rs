//! The page files one open has mapped: found again by inode, kept while they are reused, dropped when
//! they are gone.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::PageFile;
use crate::channel::Shared;
use crate::error::{fail, Result, DC_E_CORRUPT};
use crate::layout::page::NUMBER_AT;
use crate::layout::page_name;
use crate::sync::{Acquire, AtomicUsize, Memory, Mutex, Relaxed};
use crate::sys::errno::Os;
use crate::sys::file::{Dir, Fd};
use crate::sys::map::Map;

/// Mappings kept though nobody uses them, on a channel without a bound on its pages.
const IDLE_MAPS: usize = 8;

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
    pub(in crate::channel) fn provide(&mut self, more: usize) {
        self.provided += more;
        self.files.reserve(self.provided - self.files.len().min(self.provided));
        self.stock.reserve(self.provided - self.stock.len().min(self.provided));
        self.restock();
    }

    /// The handles that asked for `less` files are gone.
    pub(in crate::channel) fn release(&mut self, less: usize) {
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
    pub(super) fn find_file(&self, number: u64) -> Result<Option<Arc<PageFile>>> {
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
        drop_gone(cache);
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

    /// Unmap files that lost their names and that nobody uses; true: there were some.
    pub(in crate::channel) fn unmap_gone(&self) -> bool {
        drop_gone(&mut self.pages.lock()) > 0
    }

    /// Mappings kept although nobody uses them.
    pub(in crate::channel) fn idle_maps(&self) -> usize {
        if self.max_pages > 64 {
            IDLE_MAPS
        } else {
            self.max_pages as usize + 2
        }
    }

    /// Take memory for the pages that one more handle can pin: one, and one of a reservation.
    pub(in crate::channel) fn provide_pages(&self) {
        self.pages.lock().provide(2);
    }

    /// The handle is gone.
    pub(in crate::channel) fn release_pages(&self) {
        self.pages.lock().release(2);
    }

    /// Map an open, unlinked or not yet linked file as page `number` for whoever prepares it.
    pub(in crate::channel) fn preparing(
        &self,
        fd: Fd,
        name: &str,
        number: u64,
    ) -> Result<Option<Arc<PageFile>>> {
        let mut cache = self.pages.lock();
        self.adopt_file(&mut cache, fd, name, number)
    }

    /// Forget a file that did not become a page.
    pub(in crate::channel) fn discard(&self, file: &Arc<PageFile>) {
        let mut cache = self.pages.lock();
        if let Some(i) = cache.files.iter().position(|f| Arc::ptr_eq(f, file)) {
            // `file` itself is the other share: its memory is not kept.
            drop(cache.files.swap_remove(i));
        }
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

fn idle(file: &Arc<PageFile>) -> bool {
    Arc::strong_count(file) == 1
}

fn drop_gone(cache: &mut PageCache) -> usize {
    let before = cache.files.len();
    for i in (0..before).rev() {
        let file = &cache.files[i];
        if idle(file) && file.fd.stat().map_or(true, |s| s.links == 0) {
            cache.remove(i);
        }
    }
    before - cache.files.len()
}
