//! What each system call that the library makes may plausibly fail with, and how.

// The names of system calls, as the kernel has them.
#![allow(non_upper_case_globals)]

use libc::*;

use super::inject::{Fault, Mode, Site};

const UNLOCK: u64 = 2;

/// The name of a call.
pub fn name(site: Site) -> String {
    let name = match site.call {
        SYS_openat => "openat",
        SYS_fallocate => "fallocate",
        SYS_ftruncate => "ftruncate",
        SYS_pread64 => "pread64",
        SYS_pwrite64 => "pwrite64",
        SYS_read => "read",
        SYS_write => "write",
        SYS_mmap => "mmap",
        SYS_munmap => "munmap",
        SYS_madvise => "madvise",
        SYS_fdatasync => "fdatasync",
        SYS_fsync => "fsync",
        SYS_renameat2 => "renameat2",
        SYS_renameat => "renameat",
        SYS_linkat => "linkat",
        SYS_unlinkat => "unlinkat",
        SYS_mkdir => "mkdir",
        SYS_rmdir => "rmdir",
        SYS_fchmod => "fchmod",
        SYS_fcntl => "fcntl",
        SYS_futex => "futex",
        SYS_getdents64 => "getdents64",
        SYS_getrandom => "getrandom",
        SYS_eventfd2 => "eventfd2",
        SYS_clone3 => "clone3",
        SYS_clone => "clone",
        SYS_fstatfs => "fstatfs",
        SYS_fstat => "fstat",
        SYS_newfstatat => "newfstatat",
        SYS_close => "close",
        SYS_mprotect => "mprotect",
        SYS_futex_waitv => "futex_waitv",
        SYS_clock_nanosleep => "clock_nanosleep",
        SYS_statx => "statx",
        SYS_lseek => "lseek",
        number => return format!("{number}"),
    };
    match site.sub {
        0 => name.into(),
        sub => format!("{name}/{sub:#x}"),
    }
}

/// The errnos of a call.
#[rustfmt::skip]
fn errnos(site: Site) -> &'static [i32] {
    match site.call {
        SYS_openat if site.sub & O_CREAT as u64 != 0 =>
            &[EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT, EIO, EACCES, EROFS, EINTR],
        SYS_openat => &[EMFILE, ENFILE, ENOMEM, EIO, EACCES, EINTR],
        SYS_fallocate => &[ENOSPC, EDQUOT, EIO, EINTR, EOPNOTSUPP, EFBIG],
        SYS_ftruncate => &[EIO, EINTR, EFBIG, ENOSPC, EDQUOT],
        SYS_pread64 | SYS_read => &[EIO, EINTR],
        SYS_pwrite64 => &[EIO, ENOSPC, EDQUOT, EINTR],
        SYS_write => &[EIO, EINTR],
        SYS_mmap => &[ENOMEM, EAGAIN, ENFILE],
        SYS_madvise if site.sub == MADV_POPULATE_WRITE as u64 =>
            &[EFAULT, ENOMEM, EIO, EHWPOISON, EAGAIN, EINTR, EINVAL],
        SYS_madvise => &[EINVAL, ENOMEM],
        SYS_fdatasync | SYS_fsync => &[EIO, ENOSPC, EDQUOT, EINTR],
        SYS_renameat2 | SYS_renameat =>
            &[EIO, ENOSPC, EDQUOT, EINVAL, ENOSYS, EACCES, EROFS, ENOMEM],
        SYS_linkat => &[EIO, ENOSPC, EDQUOT, EPERM, EMLINK],
        SYS_unlinkat => &[EIO, EACCES, EROFS, ENOMEM],
        SYS_mkdir => &[EIO, ENOSPC, EDQUOT, EACCES, EROFS],
        SYS_rmdir => &[EIO, EBUSY, EACCES],
        SYS_fchmod => &[EPERM, EIO, EROFS],
        SYS_fcntl if site.sub & 3 == UNLOCK => &[ENOLCK],
        SYS_fcntl => &[ENOLCK, EINTR],
        // FUTEX_WAIT, FUTEX_WAIT_BITSET; waking cannot fail.
        SYS_futex if matches!(site.sub, 0 | 9) => &[EINTR, EAGAIN],
        SYS_futex_waitv => &[EINTR, EAGAIN, ENOSYS],
        SYS_getdents64 => &[EIO, ENOMEM],
        SYS_getrandom => &[EINTR, ENOSYS],
        SYS_eventfd2 => &[EMFILE, ENFILE, ENOMEM],
        SYS_clone3 => &[EAGAIN, ENOMEM, ENOSYS],
        SYS_clone => &[EAGAIN, ENOMEM],
        SYS_fstatfs => &[EIO, EINTR, ENOSYS],
        SYS_fstat | SYS_newfstatat | SYS_statx => &[EIO, ENOMEM],
        SYS_mprotect => &[ENOMEM],
        SYS_close => &[EIO, EINTR],
        SYS_clock_nanosleep => &[EINTR],
        _ => &[],
    }
}

/// All faults of the `nth` call of a kind.
pub fn faults(site: Site, nth: u32) -> Vec<Fault> {
    let mut all = Vec::new();
    for &errno in errnos(site) {
        for &mode in modes(site, errno) {
            all.push(Fault { site, nth, errno, mode });
        }
    }
    all
}

fn modes(site: Site, errno: i32) -> &'static [Mode] {
    // What may have happened though it is said to have failed; a descriptor is closed in any case.
    let may_be_done = matches!(
        site.call,
        SYS_fdatasync
            | SYS_fsync
            | SYS_renameat2
            | SYS_renameat
            | SYS_linkat
            | SYS_unlinkat
            | SYS_ftruncate
            | SYS_pwrite64
            | SYS_fallocate
            | SYS_mkdir
            | SYS_rmdir
            | SYS_fchmod
    );
    match errno {
        _ if site.call == SYS_close => &[Mode::DoneOnce, Mode::DoneForever],
        EINTR if site.call == SYS_fallocate => &[Mode::Once, Mode::Burst, Mode::DoneOnce],
        EINTR | EAGAIN if site.call != SYS_mmap && site.call != SYS_clone => {
            &[Mode::Once, Mode::Burst]
        }
        EIO if may_be_done => &[Mode::Once, Mode::Forever, Mode::DoneOnce, Mode::DoneForever],
        _ => &[Mode::Once, Mode::Forever],
    }
}
