//! Killing where it hurts: a process is followed by ptrace from system call to system call until it has
//! taken a lock, or is about to rename, allocate, fork, ..., and then a few instructions further.

use std::ptr::null_mut;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::work::Part;
use crate::process::now_ms;

/// Where to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// After an exclusive lock of a byte in this range was taken.
    Lock(u64, u64),
    /// Before or after this system call.
    Call(i64),
}

const BASE: u64 = 1 << 32;

const FLUSH: Aim = Aim::Lock(BASE + 1, BASE + 1);
const PREPARE: Aim = Aim::Lock(BASE + 2, BASE + 2);
const BESIDE: Aim = Aim::Lock(BASE + 1025, BASE + 1100);
const MEMBER: Aim = Aim::Lock(BASE + 4096, BASE + 8191);
const HANDLE: Aim = Aim::Lock(BASE + 8192, BASE + 9300);
const SEEK: Aim = Aim::Lock(BASE - 1, BASE - 1);
const ENTRY: Aim = Aim::Lock(BASE, BASE + 509);
const FILE: Aim = Aim::Lock(1 << 40, 1 << 40);
const RENAME: Aim = Aim::Call(libc::SYS_renameat2);
const UNLINK: Aim = Aim::Call(libc::SYS_unlinkat);
const OPEN: Aim = Aim::Call(libc::SYS_openat);
const ALLOCATE: Aim = Aim::Call(libc::SYS_fallocate);
const POPULATE: Aim = Aim::Call(libc::SYS_madvise);
const SYNC: Aim = Aim::Call(libc::SYS_fdatasync);
const FUTEX: Aim = Aim::Call(libc::SYS_futex);
const FORK: Aim = Aim::Call(libc::SYS_clone);
const THREAD: Aim = Aim::Call(libc::SYS_clone3);
const UNMAP: Aim = Aim::Call(libc::SYS_munmap);

/// What such a process does in the middle of which it should be killed: locks that are held for a moment
/// only, and calls that change files or processes.
pub fn choose(part: Part, rng: &mut ChaCha8Rng) -> Aim {
    let aims: &[Aim] = match part {
        Part::Producer(_) => &[
            PREPARE, PREPARE, FILE, FILE, RENAME, UNLINK, ALLOCATE, POPULATE, FLUSH, SYNC, FUTEX,
            HANDLE, OPEN, THREAD, FORK, UNMAP,
        ],
        Part::Consumer { .. } => &[ENTRY, ENTRY, HANDLE, MEMBER, OPEN, FUTEX, FORK, THREAD, UNMAP],
        Part::Observer => &[HANDLE, MEMBER, OPEN, UNMAP],
        Part::Mover => &[SEEK, SEEK, SEEK, ENTRY, OPEN],
        Part::Churn => &[ENTRY, FILE, RENAME, UNLINK, ALLOCATE, SYNC],
        Part::Opener => &[MEMBER, FLUSH, BESIDE, SYNC, SYNC, OPEN, FUTEX],
    };
    aims[rng.random_range(0..aims.len())]
}

/// How following a process ended; but for `Ended` it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    Hit,
    /// It did not do so in time.
    Missed,
    /// It ended by itself, with this status.
    Ended(i32),
}

fn ptrace(request: u32, pid: libc::pid_t, data: usize) -> bool {
    // SAFETY: requests that take numbers only.
    unsafe { libc::ptrace(request, pid, null_mut::<u8>(), data) != -1 }
}

fn registers(pid: libc::pid_t) -> libc::user_regs_struct {
    // SAFETY: integers, of which zeros are a value; written by the kernel.
    unsafe {
        let mut regs: libc::user_regs_struct = std::mem::zeroed();
        libc::ptrace(libc::PTRACE_GETREGS, pid, null_mut::<u8>(), &mut regs);
        regs
    }
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: our child; valid pointer.
    while unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } == -1 {}
    status
}

/// Whether the call it is about to return from took an exclusive lock in this range.
fn took(pid: libc::pid_t, regs: &libc::user_regs_struct, from: u64, to: u64) -> bool {
    if regs.orig_rax as i64 != libc::SYS_fcntl
        || regs.rsi as i32 != libc::F_OFD_SETLK
        || regs.rax != 0
    {
        return false;
    }
    // SAFETY: integers, of which zeros are a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let len = std::mem::size_of::<libc::flock>();
    let own = libc::iovec { iov_base: (&raw mut lock).cast(), iov_len: len };
    let its = libc::iovec { iov_base: regs.rdx as *mut _, iov_len: len };
    // SAFETY: writes `len` bytes to `lock`.
    let read = unsafe { libc::process_vm_readv(pid, &own, 1, &its, 1, 0) };
    let start = lock.l_start as u64;
    read == len as isize && i32::from(lock.l_type) == libc::F_WRLCK && (from..=to).contains(&start)
}

/// Follow a child until it does what is aimed at, and up to `further` instructions more.
pub fn follow(pid: libc::pid_t, aim: Aim, before: bool, further: u32) -> Followed {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    if !ptrace(libc::PTRACE_SEIZE, pid, options as usize) || !ptrace(libc::PTRACE_INTERRUPT, pid, 0)
    {
        return Followed::Missed;
    }
    let until = now_ms() + 60;
    let (mut entering, mut request) = (true, libc::PTRACE_SYSCALL);
    let mut left = further;
    loop {
        let status = wait(pid);
        if !libc::WIFSTOPPED(status) {
            return Followed::Ended(status);
        }
        let signal = libc::WSTOPSIG(status);
        let mut forward = 0;
        if signal == libc::SIGTRAP | 0x80 {
            let regs = registers(pid);
            let hit = match aim {
                Aim::Lock(from, to) => !entering && took(pid, &regs, from, to),
                Aim::Call(call) => regs.orig_rax as i64 == call && entering == before,
            };
            entering = !entering;
            if hit {
                request = libc::PTRACE_SINGLESTEP;
            }
        } else if request == libc::PTRACE_SINGLESTEP && signal == libc::SIGTRAP {
            left = left.saturating_sub(1);
        } else if status >> 16 == 0 {
            forward = signal as usize;
        }
        if request == libc::PTRACE_SINGLESTEP && left == 0 {
            return Followed::Hit;
        }
        if now_ms() > until {
            return if request == libc::PTRACE_SINGLESTEP {
                Followed::Hit
            } else {
                Followed::Missed
            };
        }
        ptrace(request, pid, forward);
    }
}
