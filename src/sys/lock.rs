//! Locks on bytes of a file that belong to the open file, not to the process (OFD locks).
//!
//! The kernel frees them when the last descriptor of that open file is closed, so also at the death
//! of the process, at once and across PID namespaces. Two opens of one file exclude each other even
//! within one process. A length of 0 means: to the end, however long the file grows.

use std::ffi::{c_int, c_short};

use super::errno::{retry, Os};
use super::file::Fd;

fn fcntl(fd: &Fd, command: c_int, kind: c_int, at: u64, len: u64) -> Os<libc::flock> {
    // SAFETY: a struct of integers, for which zeros are a value (l_pid must be 0 here).
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as c_short;
    lock.l_whence = libc::SEEK_SET as c_short;
    lock.l_start = libc::off_t::try_from(at).map_err(|_| libc::EINVAL)?;
    lock.l_len = libc::off_t::try_from(len).map_err(|_| libc::EINVAL)?;
    // SAFETY: `lock` is a valid struct flock, which these commands read or write.
    retry(|| unsafe { libc::fcntl(fd.raw(), command, &raw mut lock) })?;
    Ok(lock)
}

fn try_lock(fd: &Fd, kind: c_int, at: u64, len: u64) -> Os<bool> {
    // Before taking it, so that no path closes a locked file as one without locks.
    fd.set_locked();
    match fcntl(fd, libc::F_OFD_SETLK, kind, at, len) {
        Ok(_) => Ok(true),
        Err(libc::EAGAIN | libc::EACCES) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Lock bytes for this open file alone; false when another holds any of them. `fd` is writable.
pub fn try_exclusive(fd: &Fd, byte: u64, len: u64) -> Os<bool> {
    try_lock(fd, libc::F_WRLCK, byte, len)
}

/// Lock bytes together with others who lock them shared. `fd` is readable.
pub fn try_shared(fd: &Fd, byte: u64, len: u64) -> Os<bool> {
    try_lock(fd, libc::F_RDLCK, byte, len)
}

/// Free bytes. Never in a forked child: there, it would free what the parent holds (`fd` is -1).
pub fn unlock(fd: &Fd, byte: u64, len: u64) {
    // Fails only for a descriptor that holds no lock.
    let _ = fcntl(fd, libc::F_OFD_SETLK, libc::F_UNLCK, byte, len);
}

/// Whether another open file holds a lock of either kind on any of the bytes. Readable or writable.
pub fn held_by_other(fd: &Fd, byte: u64, len: u64) -> Os<bool> {
    let found = fcntl(fd, libc::F_OFD_GETLK, libc::F_WRLCK, byte, len)?;
    Ok(c_int::from(found.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::Temp;
    use super::*;

    #[test]
    fn two_opens_of_one_file_exclude_each_other() {
        let temp = Temp::new();
        let dir = temp.dir();
        let a = dir.create_new("f").unwrap();
        let b = dir.open_file("f", true).unwrap();
        assert_eq!(try_exclusive(&a, 5, 2), Ok(true));
        assert_eq!(try_exclusive(&b, 6, 1), Ok(false));
        assert_eq!(try_shared(&b, 6, 1), Ok(false));
        assert_eq!(try_exclusive(&b, 7, 1), Ok(true));
        assert_eq!(held_by_other(&a, 0, 7), Ok(false));
        assert_eq!(held_by_other(&a, 0, 0), Ok(true));
        unlock(&a, 6, 1);
        assert_eq!(try_exclusive(&b, 6, 1), Ok(true));
        assert_eq!(try_exclusive(&b, 5, 1), Ok(false));
        drop(a);
        assert_eq!(try_exclusive(&b, 5, 1), Ok(true));
        assert_eq!(try_exclusive(&b, u64::MAX, 1), Err(libc::EINVAL));
    }

    #[test]
    fn shared_locks_coexist_and_can_be_taken_alone() {
        let temp = Temp::new();
        let dir = temp.dir();
        let a = dir.create_new("f").unwrap();
        let b = dir.open_file("f", false).unwrap();
        assert_eq!(try_shared(&a, 0, 1), Ok(true));
        assert_eq!(try_shared(&b, 0, 1), Ok(true));
        assert_eq!(try_exclusive(&a, 0, 1), Ok(false));
        drop(b);
        assert_eq!(try_exclusive(&a, 0, 1), Ok(true));
    }

    #[test]
    fn a_read_only_descriptor_sees_who_holds() {
        let temp = Temp::new();
        let dir = temp.dir();
        let writer = dir.create_new("f").unwrap();
        let reader = dir.open_file("f", false).unwrap();
        assert_eq!(held_by_other(&reader, 9, 1), Ok(false));
        assert_eq!(try_shared(&writer, 9, 1), Ok(true));
        assert_eq!(held_by_other(&reader, 9, 1), Ok(true));
        assert_eq!(held_by_other(&writer, 9, 1), Ok(false));
        assert_eq!(try_exclusive(&reader, 10, 1), Err(libc::EBADF));
    }
}
