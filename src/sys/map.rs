//! Shared maps of files. Raw memory: other processes change it at any time, so nobody makes a
//! reference to it except to atomics and to bytes that a protocol has given away.

use std::ffi::c_int;

use memmap2::{MmapOptions, MmapRaw};

use super::errno::{self, Os};
use super::file::Fd;
use super::sigbus;

/// A shared map of the first bytes of a file, unmapped at the end.
pub struct Map {
    raw: MmapRaw,
    /// Of the SIGBUS guard, if guarded.
    slot: Option<usize>,
}

impl Map {
    /// Map `len` bytes, all of which the file has (else, and for none, `EINVAL`). With `guard`, a
    /// page that vanishes later reads as zeros instead of raising SIGBUS (see [`Map::lost`]).
    pub fn new(fd: &Fd, len: usize, writable: bool, guard: bool) -> Os<Map> {
        if len == 0 || fd.stat()?.size < len as u64 {
            return Err(libc::EINVAL);
        }
        let mut options = MmapOptions::new();
        options.len(len);
        let raw =
            if writable { options.map_raw(fd.raw()) } else { options.map_raw_read_only(fd.raw()) };
        let raw = raw.map_err(|e| e.raw_os_error().unwrap_or(libc::EINVAL))?;
        let mut map = Map { raw, slot: None };
        if guard {
            sigbus::install()?;
            // A full table is one more limit on the number of maps, which the kernel calls ENOMEM.
            let slot = sigbus::register(map.base() as usize, len).ok_or(libc::ENOMEM)?;
            map.slot = Some(slot);
        }
        Ok(map)
    }

    /// The first byte, aligned to a memory page.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }

    /// Bytes mapped.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Make every page of the range present and writable, with its place on disk: storing there
    /// raises no signal for lack of space afterwards. `ENOSPC` when there is no place. Kernels
    /// before 5.14 cannot; there, nothing is done.
    pub fn populate_write(&self, off: usize, len: usize) -> Os<()> {
        match self.advise(off, len, libc::MADV_POPULATE_WRITE) {
            Err(libc::EFAULT) => Err(libc::ENOSPC),
            other => other,
        }
    }

    fn advise(&self, off: usize, len: usize, advice: c_int) -> Os<()> {
        match off.checked_add(len) {
            Some(end) if end <= self.len() => {}
            _ => return Err(libc::EINVAL),
        }
        let before = off % sigbus::page_size();
        // SAFETY: `off` is within the map, and `before` at most `off`.
        let start = unsafe { self.base().add(off - before) };
        // Bounded: EAGAIN says that the kernel's locks were contended, EINTR that a signal came.
        for _ in 0..1_000 {
            // SAFETY: the range lies within our own map; populating changes no byte of it.
            if unsafe { libc::madvise(start.cast(), len + before, advice) } == 0 {
                return Ok(());
            }
            match errno::last() {
                libc::EAGAIN | libc::EINTR => continue,
                libc::EINVAL => return Ok(()),
                e => return Err(e),
            }
        }
        Err(libc::EAGAIN)
    }

    /// Whether the guard put zeros in place of a vanished page: nothing read from here counts.
    pub fn lost(&self) -> bool {
        self.slot.is_some_and(sigbus::lost)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // Before the range is unmapped, and may be somebody else's.
        if let Some(slot) = self.slot {
            sigbus::unregister(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::Temp;
    use super::*;

    #[test]
    fn maps_what_the_file_has() {
        let temp = Temp::new();
        let dir = temp.dir();
        let fd = dir.create_new("f").unwrap();
        fd.allocate(0, 20_000).unwrap();
        for (len, writable) in [(0, true), (20_001, true), (20_001, false)] {
            assert_eq!(Map::new(&fd, len, writable, false).err(), Some(libc::EINVAL));
        }
        let map = Map::new(&fd, 20_000, true, false).unwrap();
        assert_eq!(map.len(), 20_000);
        assert_eq!(map.populate_write(5_000, 15_000), Ok(()));
        assert_eq!(map.populate_write(5_000, 15_001), Err(libc::EINVAL));
        assert_eq!(map.populate_write(usize::MAX, 2), Err(libc::EINVAL));
        // SAFETY: within the map.
        unsafe { map.base().add(19_999).write_volatile(9) };
        let reader = dir.open_file("f", false).unwrap();
        let view = Map::new(&reader, 20_000, false, false).unwrap();
        // SAFETY: within the map.
        assert_eq!(unsafe { view.base().add(19_999).read_volatile() }, 9);
        assert!(Map::new(&reader, 20_000, true, false).is_err());
        assert!(!map.lost());
    }
}
