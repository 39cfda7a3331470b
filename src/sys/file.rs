//! Open files. Every descriptor is closed on `exec`, and in forked children (see [`super::fork`]).

use std::ffi::{c_int, CStr};
use std::sync::atomic::{AtomicBool, Ordering};

pub use super::dir::{make_dir, remove_dir, sync_parent, Dir};
use super::errno::{self, retry, retry_len, Os};
use super::fork;
pub use super::random::{random_bytes, unique};

/// Allocation is restarted in pieces, down to this size, when signals interrupt it.
const SMALLEST_PIECE: u64 = 1 << 20;

/// What there is to know of a file.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Device of its file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Space it occupies, in units of 512 bytes.
    pub blocks: u64,
    /// Names it has.
    pub links: u64,
    /// A regular file.
    pub is_file: bool,
}

impl Stat {
    /// Of what lies at `path` in the directory `dir`; with `AT_EMPTY_PATH` and no path, of `dir` itself.
    ///
    /// Its times are not asked for: since Linux 6.13 a file whose time somebody has seen gets a finer one with
    /// the next write, however soon that comes, and every flush then writes its inode besides the data.
    pub(super) fn at(dir: c_int, path: &CStr, flags: c_int) -> Os<Stat> {
        const WANTED: libc::c_uint = libc::STATX_TYPE
            | libc::STATX_NLINK
            | libc::STATX_INO
            | libc::STATX_SIZE
            | libc::STATX_BLOCKS;
        // SAFETY: a struct of integers, for which zeros are a value.
        let mut s: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: `path` is NUL-terminated, `s` a valid buffer.
        retry(|| unsafe { libc::statx(dir, path.as_ptr(), flags, WANTED, &mut s) })?;
        Ok(Stat {
            dev: libc::makedev(s.stx_dev_major, s.stx_dev_minor),
            ino: s.stx_ino,
            size: s.stx_size,
            blocks: s.stx_blocks,
            links: s.stx_nlink.into(),
            is_file: libc::mode_t::from(s.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        })
    }

    /// Of an open file.
    pub(super) fn of(fd: c_int) -> Os<Stat> {
        Stat::at(fd, c"", libc::AT_EMPTY_PATH)
    }
}

fn offset(at: u64) -> Os<libc::off_t> {
    libc::off_t::try_from(at).map_err(|_| libc::EFBIG)
}

/// Refuse what lies beyond `RLIMIT_FSIZE`: the kernel would send SIGXFSZ besides.
fn within_limit(end: u64) -> Os<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    if known && limit.rlim_cur != libc::RLIM_INFINITY && end > limit.rlim_cur {
        return Err(libc::EFBIG);
    }
    Ok(())
}

/// An owned descriptor.
#[derive(Debug)]
pub struct Fd {
    raw: c_int,
    /// Of the process that opened it: in a forked child the number is closed, or somebody else's.
    generation: u64,
    /// A lock was taken through it (see `Drop`).
    locked: AtomicBool,
}

impl Fd {
    /// Own what `open` opens (with `O_CLOEXEC`); it returns the descriptor, or -1 and sets errno.
    pub(super) fn from_open(open: impl FnMut() -> c_int) -> Os<Fd> {
        let entry = fork::enter()?;
        let raw = retry(open)?;
        if let Err(e) = entry.register(raw) {
            // SAFETY: opened just above, and given to nobody.
            unsafe { libc::close(raw) };
            return Err(e);
        }
        Ok(Fd { raw, generation: fork::generation(), locked: AtomicBool::new(false) })
    }

    /// The descriptor; -1 in a forked child, where the number may mean something else by now.
    pub fn raw(&self) -> i32 {
        if fork::is_foreign(self.generation) {
            -1
        } else {
            self.raw
        }
    }

    /// Remember that a lock was taken.
    pub(super) fn set_locked(&self) {
        // Relaxed: read in `Drop`, which has the only reference.
        self.locked.store(true, Ordering::Relaxed);
    }

    /// Its length, identity and kind.
    pub fn stat(&self) -> Os<Stat> {
        Stat::of(self.raw())
    }

    /// Reserve `len` bytes at `off`, extending the file as needed and keeping what it holds. Where
    /// the file system cannot reserve, zeros are written beyond the file's end, and only there.
    pub fn allocate(&self, off: u64, len: u64) -> Os<()> {
        let end = off.checked_add(len).ok_or(libc::EFBIG)?;
        within_limit(end)?;
        let (mut at, mut piece) = (off, len);
        // Each round advances or halves the piece. At the smallest it only repeats: a signal storm
        // denser than the allocation of one piece stops any program.
        while at < end {
            let n = piece.min(end - at);
            let (from, count) = (offset(at)?, offset(n)?);
            // SAFETY: takes integers only.
            if unsafe { libc::fallocate(self.raw(), 0, from, count) } == 0 {
                at += n;
                continue;
            }
            match errno::last() {
                libc::EINTR => piece = (piece / 2).max(SMALLEST_PIECE),
                libc::EOPNOTSUPP => return self.write_zeros(at, end),
                e => return Err(e),
            }
        }
        Ok(())
    }

    fn write_zeros(&self, off: u64, end: u64) -> Os<()> {
        self.overwrite_with_zeros(off.max(self.stat()?.size), end)
    }

    /// Write zeros whatever is there, in pieces of a mebibyte: the kernel makes pages in memory for them many at a
    /// time, which it does not for faults.
    pub fn overwrite_with_zeros(&self, off: u64, end: u64) -> Os<()> {
        static ZEROS: [u8; 65_536] = [0; 65_536];
        let part = libc::iovec { iov_base: ZEROS.as_ptr().cast_mut().cast(), iov_len: ZEROS.len() };
        let parts = [part; 16];
        within_limit(end)?;
        let mut at = off;
        while at < end {
            let left = end - at;
            let count = (left / ZEROS.len() as u64).min(parts.len() as u64);
            if count == 0 {
                self.write_at(&ZEROS[..left as usize], at)?;
                return Ok(());
            }
            let from = offset(at)?;
            // SAFETY: the parts are static, and only read.
            let n = retry_len(|| unsafe {
                libc::pwritev(self.raw(), parts.as_ptr(), count as libc::c_int, from)
            })?;
            if n == 0 {
                return Err(libc::EIO);
            }
            at += n as u64;
        }
        Ok(())
    }

    /// `ftruncate`: cut the file, or lengthen it by a hole.
    pub fn set_len(&self, len: u64) -> Os<()> {
        within_limit(len)?;
        let len = offset(len)?;
        // SAFETY: takes integers only.
        retry(|| unsafe { libc::ftruncate(self.raw(), len) }).map(drop)
    }

    /// Turn a range into a hole of zeros; the length stays. Where the file system has no holes, zeros
    /// are written.
    pub fn punch_hole(&self, off: u64, len: u64) -> Os<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (from, count) = (offset(off)?, offset(len)?);
        // SAFETY: takes integers only.
        match retry(|| unsafe { libc::fallocate(self.raw(), mode, from, count) }) {
            Err(libc::EOPNOTSUPP) => {
                const ZEROS: [u8; 4096] = [0; 4096];
                for at in (off..off + len).step_by(ZEROS.len()) {
                    let n = (off + len - at).min(ZEROS.len() as u64);
                    self.write_at(&ZEROS[..n as usize], at)?;
                }
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// `fdatasync`.
    pub fn sync_data(&self) -> Os<()> {
        // SAFETY: takes an integer only.
        retry(|| unsafe { libc::fdatasync(self.raw()) }).map(drop)
    }

    /// `fsync`.
    pub fn sync_all(&self) -> Os<()> {
        // SAFETY: takes an integer only.
        retry(|| unsafe { libc::fsync(self.raw()) }).map(drop)
    }

    /// Set the permission bits, whatever the umask.
    pub fn chmod(&self, mode: u32) -> Os<()> {
        // SAFETY: takes integers only.
        retry(|| unsafe { libc::fchmod(self.raw(), mode as libc::mode_t) }).map(drop)
    }

    /// Fill `buf` from `at`; fewer bytes only at the file's end.
    pub fn read_at(&self, buf: &mut [u8], at: u64) -> Os<usize> {
        let mut done = 0;
        while done < buf.len() {
            let from = offset(at.checked_add(done as u64).ok_or(libc::EFBIG)?)?;
            let rest = &mut buf[done..];
            // SAFETY: writes at most `rest.len()` bytes to `rest`.
            let n = retry_len(|| unsafe {
                libc::pread(self.raw(), rest.as_mut_ptr().cast(), rest.len(), from)
            })?;
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    /// Write all of `buf` at `at`.
    pub fn write_at(&self, buf: &[u8], at: u64) -> Os<()> {
        within_limit(at.checked_add(buf.len() as u64).ok_or(libc::EFBIG)?)?;
        let mut done = 0;
        while done < buf.len() {
            let to = offset(at.checked_add(done as u64).ok_or(libc::EFBIG)?)?;
            let rest = &buf[done..];
            // SAFETY: reads at most `rest.len()` bytes of `rest`.
            let n = retry_len(|| unsafe {
                libc::pwrite(self.raw(), rest.as_ptr().cast(), rest.len(), to)
            })?;
            if n == 0 {
                return Err(libc::EIO);
            }
            done += n;
        }
        Ok(())
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if fork::is_foreign(self.generation) {
            return;
        }
        if *self.locked.get_mut() {
            // Closing frees the locks only with the last copy of the descriptor, and a child on its
            // way to `exec` or to its fork handler has one. We own the locks: free them now.
            super::lock::unlock(self, 0, 0);
        }
        fork::close(self.raw);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A directory of one test, removed at its end.
    pub struct Temp(pub PathBuf);

    impl Temp {
        pub fn new() -> Temp {
            let path = std::env::temp_dir().join(format!("disk_chan-{:x}", unique()));
            make_dir(&path, 0o700).unwrap();
            Temp(path)
        }

        pub fn dir(&self) -> Dir {
            Dir::open(&self.0).unwrap()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn allocate_extends_and_keeps_bytes() {
        let temp = Temp::new();
        let fd = temp.dir().create_new("a").unwrap();
        fd.write_at(b"hello", 3).unwrap();
        fd.allocate(0, 10_000).unwrap();
        let mut buf = [1; 10_001];
        assert_eq!(fd.read_at(&mut buf, 0), Ok(10_000));
        assert_eq!(&buf[..9], b"\0\0\0hello\0");
        assert!(buf[8..10_000].iter().all(|b| *b == 0));
        assert!(fd.stat().unwrap().blocks * 512 >= 10_000);
        assert_eq!(fd.allocate(u64::MAX, 2), Err(libc::EFBIG));
        fd.set_len(5).unwrap();
        assert_eq!(fd.read_at(&mut buf, 0), Ok(5));
        assert_eq!(fd.set_len(u64::MAX), Err(libc::EFBIG));
    }

    #[test]
    fn a_limit_on_file_sizes_is_a_code_and_no_signal() {
        let temp = Temp::new();
        let dir = temp.dir();
        let status = fork::tests::in_child(|| {
            let limit = libc::rlimit { rlim_cur: 4_096, rlim_max: 4_096 };
            // SAFETY: a valid rlimit.
            let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } == 0;
            let Ok(fd) = Dir::open(&temp.0).and_then(|dir| dir.create_new("f")) else {
                return 2;
            };
            let fits = fd.allocate(0, 4_096).is_ok() && fd.write_at(&[1], 4_095).is_ok();
            let refused = fd.allocate(0, 4_097) == Err(libc::EFBIG)
                && fd.write_at(&[1], 4_096) == Err(libc::EFBIG);
            c_int::from(!(limited && fits && refused))
        });
        assert_eq!(status, 0);
        assert_eq!(dir.stat_of("f").unwrap().size, 4_096);
    }

    /// What the kernel's clock for the times of files says now.
    fn coarse_now() -> (i64, i64) {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut t) };
        (t.tv_sec, t.tv_nsec)
    }

    #[test]
    fn looking_at_a_file_does_not_refine_its_times() {
        use std::os::unix::fs::MetadataExt;
        let temp = Temp::new();
        let dir = temp.dir();
        let fd = dir.create_new("a").unwrap();
        // Others who look at their files make the clock jump now and then: once it must be as expected.
        let coarse = (0..1_000).any(|_| {
            let before = coarse_now();
            fd.write_at(b"a", 0).unwrap();
            fd.stat().unwrap();
            dir.stat_of("a").unwrap();
            fd.write_at(b"b", 0).unwrap();
            let seen = std::fs::metadata(temp.0.join("a")).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
            (seen.mtime(), seen.mtime_nsec()) == before
        });
        assert!(coarse);
    }

    #[test]
    fn writing_zeros_starts_at_the_end_of_the_file() {
        let temp = Temp::new();
        let fd = temp.dir().create_new("a").unwrap();
        fd.write_at(&[7; 100_000], 0).unwrap();
        fd.write_zeros(10, 200_000).unwrap();
        let mut buf = vec![1; 200_001];
        assert_eq!(fd.read_at(&mut buf, 0), Ok(200_000));
        assert!(buf[..100_000].iter().all(|b| *b == 7));
        assert!(buf[100_000..200_000].iter().all(|b| *b == 0));
        fd.write_zeros(10, 20).unwrap();
        assert_eq!(fd.stat().unwrap().size, 200_000);
    }

    #[test]
    fn zeros_are_written_over_what_is_there() {
        let temp = Temp::new();
        let fd = temp.dir().create_new("a").unwrap();
        let len = (3 << 20) + 70_001;
        fd.write_at(&vec![7; len + 10], 0).unwrap();
        fd.overwrite_with_zeros(5, len as u64).unwrap();
        let mut buf = vec![1; len + 10];
        assert_eq!(fd.read_at(&mut buf, 0), Ok(len + 10));
        assert!(buf[..5].iter().chain(&buf[len..]).all(|b| *b == 7));
        assert!(buf[5..len].iter().all(|b| *b == 0));
    }
}
