//! Open directories: the files of one are reached through its descriptor, so that renaming it, or a
//! change of the working directory, cannot lead elsewhere. Names are built without allocating.

use std::ffi::{c_char, c_int, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::errno::{retry, retry_len, Os};
use super::file::{Fd, Stat};
use super::fs::overwrite_in_place;

/// The longest name of a file (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// A name, NUL-terminated, on the stack.
struct Name([u8; NAME_MAX + 1]);

impl Name {
    fn new(name: &str) -> Os<Name> {
        if name.len() > NAME_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        if name.is_empty() || name.bytes().any(|b| b == 0 || b == b'/') {
            return Err(libc::EINVAL);
        }
        let mut bytes = [0; NAME_MAX + 1];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Name(bytes))
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("zeros follow the name")
    }
}

fn c_path(path: &Path) -> Os<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)
}

fn open_dir(path: &Path) -> Os<Fd> {
    let c = c_path(path)?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: `c` is NUL-terminated and outlives the call.
    Fd::from_open(|| unsafe { libc::open(c.as_ptr(), flags) })
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: Fd,
}

impl Dir {
    /// Open an existing directory.
    pub fn open(path: &Path) -> Os<Dir> {
        Ok(Dir { fd: open_dir(path)? })
    }

    /// The descriptor; -1 in a forked child.
    pub fn raw(&self) -> i32 {
        self.fd.raw()
    }

    /// Open an existing regular file; what is none (a symbolic link, a pipe, ...) is `EINVAL`.
    pub fn open_file(&self, name: &str, writable: bool) -> Os<Fd> {
        let access = if writable { libc::O_RDWR } else { libc::O_RDONLY };
        // O_NONBLOCK: opening a pipe somebody put here must not wait for its other end.
        let flags = access | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        match self.open_at(name, flags) {
            Err(libc::ELOOP | libc::EISDIR | libc::ENXIO) => Err(libc::EINVAL),
            Err(e) => Err(e),
            Ok(fd) if fd.stat()?.is_file => Ok(fd),
            Ok(_) => Err(libc::EINVAL),
        }
    }

    /// Create a file for reading and writing, mode 0600; `EEXIST` when the name is taken.
    pub fn create_new(&self, name: &str) -> Os<Fd> {
        let fd =
            self.open_at(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC)?;
        overwrite_in_place(fd.raw());
        Ok(fd)
    }

    fn open_at(&self, name: &str, flags: c_int) -> Os<Fd> {
        let name = Name::new(name)?;
        // SAFETY: `name` is NUL-terminated and outlives the call.
        Fd::from_open(|| unsafe { libc::openat(self.raw(), name.as_ptr(), flags, 0o600) })
    }

    /// Rename, unless `to` exists (`EEXIST`). Where the file system cannot do that in one step,
    /// a process killed in between leaves the file under both names.
    pub fn rename_noreplace(&self, from: &str, to: &str) -> Os<()> {
        let (from, to) = (Name::new(from)?, Name::new(to)?);
        let (dir, flags) = (self.raw(), libc::RENAME_NOREPLACE);
        // By number: older C libraries have no wrapper.
        // SAFETY: both names are NUL-terminated and outlive the call.
        let renamed = retry(|| unsafe {
            libc::syscall(libc::SYS_renameat2, dir, from.as_ptr(), dir, to.as_ptr(), flags) as c_int
        });
        match renamed {
            Err(libc::EINVAL | libc::ENOSYS) => {}
            other => return other.map(drop),
        }
        // SAFETY: as above.
        retry(|| unsafe { libc::linkat(dir, from.as_ptr(), dir, to.as_ptr(), 0) })?;
        // SAFETY: as above.
        match retry(|| unsafe { libc::unlinkat(dir, from.as_ptr(), 0) }) {
            Err(libc::ENOENT) => Ok(()), // Somebody tidied up for us.
            other => other.map(drop),
        }
    }

    /// Rename; what was called `to` is replaced in one step.
    pub fn rename(&self, from: &str, to: &str) -> Os<()> {
        let (from, to) = (Name::new(from)?, Name::new(to)?);
        let dir = self.raw();
        // SAFETY: both names are NUL-terminated and outlive the call.
        retry(|| unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).map(drop)
    }

    /// Remove a file's name.
    pub fn unlink(&self, name: &str) -> Os<()> {
        let name = Name::new(name)?;
        // SAFETY: `name` is NUL-terminated and outlives the call.
        retry(|| unsafe { libc::unlinkat(self.raw(), name.as_ptr(), 0) }).map(drop)
    }

    /// Call `f` with the names of its entries, in no order; a name that is not UTF-8 is not one of ours
    /// and shows as "?". Allocates nothing.
    pub fn each(&self, mut f: impl FnMut(&str) -> Os<()>) -> Os<()> {
        // A descriptor of its own: the position in the listing belongs to the open file.
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the name is a literal.
        let fd = Fd::from_open(|| unsafe { libc::openat(self.raw(), c".".as_ptr(), flags) })?;
        let mut buf = [0_u8; 8_192];
        loop {
            // SAFETY: writes at most `buf.len()` bytes to `buf`.
            let n = retry_len(|| unsafe {
                let buf_len = buf.len();
                libc::syscall(libc::SYS_getdents64, fd.raw(), buf.as_mut_ptr(), buf_len) as isize
            })?;
            if n == 0 {
                return Ok(());
            }
            each_entry(&buf[..n.min(buf.len())], |name| {
                if name == b"." || name == b".." {
                    return Ok(());
                }
                f(std::str::from_utf8(name).unwrap_or("?"))
            })?;
        }
    }

    /// The names of its entries, in no order.
    pub fn list(&self) -> Os<Vec<String>> {
        let mut names = Vec::new();
        self.each(|name| {
            names.try_reserve(1).map_err(|_| libc::ENOMEM)?;
            names.push(name.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    /// What lies under a name; a symbolic link itself, not what it points to.
    pub fn stat_of(&self, name: &str) -> Os<Stat> {
        let name = Name::new(name)?;
        Stat::at(self.raw(), name.as_c_str(), libc::AT_SYMLINK_NOFOLLOW)
    }

    /// Make its entries durable.
    pub fn sync(&self) -> Os<()> {
        sync_dir(&self.fd)
    }

    /// The directory that this one is in, wherever it is by now.
    pub fn parent(&self) -> Os<Dir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the name is a literal.
        let fd = Fd::from_open(|| unsafe { libc::openat(self.raw(), c"..".as_ptr(), flags) })?;
        Ok(Dir { fd })
    }

    /// Set the permission bits, whatever the umask.
    pub fn chmod(&self, mode: u32) -> Os<()> {
        self.fd.chmod(mode)
    }
}

/// Call `f` with each name of a buffer that `getdents64` filled.
fn each_entry(mut buf: &[u8], mut f: impl FnMut(&[u8]) -> Os<()>) -> Os<()> {
    // struct linux_dirent64: u64 ino, i64 offset, u16 record length, u8 type, then the name.
    const NAME_AT: usize = 19;
    while let Some(len) = buf.get(16..18) {
        let len = usize::from(u16::from_ne_bytes([len[0], len[1]]));
        let name = buf.get(NAME_AT..len).ok_or(libc::EIO)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        f(&name[..end])?;
        buf = &buf[len..];
    }
    Ok(())
}

fn sync_dir(fd: &Fd) -> Os<()> {
    match fd.sync_all() {
        // Said by file systems on which there is nothing to do.
        Err(libc::EINVAL | libc::EROFS) => Ok(()),
        other => other,
    }
}

/// Create a directory; its mode is subject to the umask.
pub fn make_dir(path: &Path, mode: u32) -> Os<()> {
    let c = c_path(path)?;
    // SAFETY: `c` is NUL-terminated and outlives the call.
    retry(|| unsafe { libc::mkdir(c.as_ptr(), mode as libc::mode_t) }).map(drop)
}

/// Remove an empty directory.
pub fn remove_dir(path: &Path) -> Os<()> {
    let c = c_path(path)?;
    // SAFETY: `c` is NUL-terminated and outlives the call.
    retry(|| unsafe { libc::rmdir(c.as_ptr()) }).map(drop)
}

/// Make durable that `path` exists, or no longer does.
pub fn sync_parent(path: &Path) -> Os<()> {
    match path.parent() {
        None => Ok(()),
        Some(p) if p.as_os_str().is_empty() => sync_dir(&open_dir(Path::new("."))?),
        Some(p) => sync_dir(&open_dir(p)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::Temp;
    use super::*;

    #[test]
    fn rename_never_replaces() {
        let temp = Temp::new();
        let dir = temp.dir();
        dir.create_new("a").unwrap().write_at(b"a", 0).unwrap();
        dir.create_new("b").unwrap();
        assert_eq!(dir.create_new("a").err(), Some(libc::EEXIST));
        assert_eq!(dir.rename_noreplace("a", "b"), Err(libc::EEXIST));
        assert_eq!(dir.rename_noreplace("a", "c"), Ok(()));
        assert_eq!(dir.rename_noreplace("a", "d"), Err(libc::ENOENT));
        let mut names = dir.list().unwrap();
        names.sort();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(dir.stat_of("c").unwrap().size, 1);
        dir.sync().unwrap();
        sync_parent(&temp.0).unwrap();
        dir.unlink("b").unwrap();
        assert_eq!(dir.unlink("b"), Err(libc::ENOENT));
        assert_eq!(remove_dir(&temp.0), Err(libc::ENOTEMPTY));
    }

    #[test]
    fn only_regular_files_open() {
        let temp = Temp::new();
        let dir = temp.dir();
        make_dir(&temp.0.join("sub"), 0o700).unwrap();
        std::os::unix::fs::symlink("file", temp.0.join("link")).unwrap();
        let pipe = c_path(&temp.0.join("pipe")).unwrap();
        // SAFETY: `pipe` is NUL-terminated.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        dir.create_new("file").unwrap();
        for writable in [false, true] {
            assert!(dir.open_file("file", writable).is_ok());
            for other in ["sub", "link", "pipe", "", "a/b", "nul\0"] {
                assert_eq!(dir.open_file(other, writable).err(), Some(libc::EINVAL), "{other}");
            }
            let missing = "n".repeat(255);
            assert_eq!(dir.open_file(&missing, writable).err(), Some(libc::ENOENT));
            assert_eq!(dir.open_file(&(missing + "n"), writable).err(), Some(libc::ENAMETOOLONG));
        }
        assert!(!dir.stat_of("sub").unwrap().is_file);
        assert_eq!(Dir::open(&temp.0.join("file")).err(), Some(libc::ENOTDIR));
    }

    #[test]
    fn lists_more_than_one_buffer() {
        let temp = Temp::new();
        let dir = temp.dir();
        for i in 0..300 {
            dir.create_new(&format!("{i:0>100}")).unwrap();
        }
        let mut names = dir.list().unwrap();
        names.sort();
        assert_eq!(names.len(), 300);
        assert_eq!(names[299], format!("{:0>100}", 299));
    }
}
