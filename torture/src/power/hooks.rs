//! The library's calls of the C library, bound to the disk in memory.
//!
//! The machine code is that of the shipped shared object; only the addresses that the dynamic linker put
//! into its table of imports are replaced, in this process alone. What does not concern the disk in memory
//! (another path, another descriptor) goes to the C library as before. Everything here runs on the one
//! thread that checks; the library starts none (`DC_NO_THREAD`).

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_long, c_void, CStr};

use anyhow::{ensure, Result};
use libc::{off_t, size_t, ssize_t};

use super::ram::{Kind, Ram};

/// Where the disk in memory appears.
pub const ROOT: &str = "/disk-in-memory";
pub const CHANNEL: &str = "/disk-in-memory/channel";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

thread_local! {
    static RAM: RefCell<Option<Ram>> = const { RefCell::new(None) };
}

/// Work on the disk in memory; no call of the library is under way meanwhile.
pub fn with<R>(act: impl FnOnce(&mut Ram) -> R) -> R {
    RAM.with_borrow_mut(|ram| act(ram.as_mut().expect("bound first")))
}

/// `Some`: done here, as the C library would answer.
fn answer<R: From<i8>>(act: impl FnOnce(&mut Ram) -> Option<Result<R, i32>>) -> Option<R> {
    let done = RAM.with(|ram| match &mut *ram.borrow_mut() {
        Some(ram) => act(ram),
        None => None,
    })?;
    Some(done.unwrap_or_else(|errno| {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = errno };
        R::from(-1)
    }))
}

/// For a descriptor of ours.
fn ours<R: From<i8>>(fd: c_int, act: impl FnOnce(&mut Ram) -> Result<R, i32>) -> Option<R> {
    answer(|ram| ram.is_ours(fd).then(|| act(ram)))
}

/// # Safety
/// `path` is NULL or NUL-terminated, and outlives the use.
unsafe fn text<'a>(path: *const c_char) -> &'a str {
    if path.is_null() {
        return "";
    }
    // SAFETY: the caller's word.
    unsafe { CStr::from_ptr(path) }.to_str().unwrap_or("")
}

fn open_path(ram: &mut Ram, path: &str) -> Option<Result<c_int, i32>> {
    let kind = match path {
        CHANNEL if !ram.exists => return Some(Err(libc::ENOENT)),
        CHANNEL => Kind::Dir,
        ROOT => Kind::Parent,
        BOOT => Kind::Boot,
        _ => return None,
    };
    Some(Ok(ram.new_fd(kind, false)))
}

fn open_in(ram: &mut Ram, name: &str, flags: c_int) -> Result<c_int, i32> {
    let writable = flags & libc::O_ACCMODE != libc::O_RDONLY;
    match name {
        "." => return Ok(ram.new_fd(Kind::Dir, false)),
        ".." => return Ok(ram.new_fd(Kind::Parent, false)),
        _ => {}
    }
    let inode = match (ram.find(name), flags & libc::O_CREAT != 0) {
        (Some(_), true) => return Err(libc::EEXIST),
        (Some(inode), false) => inode,
        (None, true) => ram.create(name)?,
        (None, false) => return Err(libc::ENOENT),
    };
    Ok(ram.new_fd(Kind::File(inode), writable))
}

fn stat_of(ram: &Ram, kind: Kind) -> libc::stat {
    // SAFETY: a struct of integers.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    s.st_dev = 77;
    s.st_nlink = 1;
    match kind {
        Kind::File(inode) => {
            s.st_ino = inode as u64 + 100;
            s.st_size = ram.inodes[inode].len as i64;
            s.st_nlink = ram.inodes[inode].links.into();
            s.st_blocks = ram.blocks(inode) as i64;
            s.st_mode = libc::S_IFREG | 0o600;
        }
        Kind::Boot => s.st_mode = libc::S_IFREG | 0o444,
        Kind::Dir | Kind::Parent => s.st_mode = libc::S_IFDIR | 0o700,
    }
    s
}

fn listing(ram: &mut Ram, fd: c_int, out: &mut [u8]) -> Result<c_long, i32> {
    let from = ram.open(fd)?.at as usize;
    let (mut at, mut next) = (0, from);
    for (name, inode) in &ram.names[from.min(ram.names.len())..] {
        let len = (19 + name.len() + 1).next_multiple_of(8);
        if at + len > out.len() {
            break;
        }
        let entry = &mut out[at..at + len];
        entry.fill(0);
        entry[..8].copy_from_slice(&(*inode as u64 + 100).to_le_bytes());
        entry[16..18].copy_from_slice(&(len as u16).to_le_bytes());
        entry[18] = libc::DT_REG;
        entry[19..19 + name.len()].copy_from_slice(name.as_bytes());
        at += len;
        next += 1;
    }
    ram.open(fd)?.at = next as u64;
    Ok(at as c_long)
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: as the C library's; arguments are passed on.
    unsafe {
        let path_text = text(path);
        answer(|ram| open_path(ram, path_text)).unwrap_or_else(|| libc::open(path, flags, mode))
    }
}

unsafe extern "C" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: as the C library's.
    unsafe {
        let name = text(path);
        ours(dir, |ram| open_in(ram, name, flags))
            .unwrap_or_else(|| libc::openat(dir, path, flags, mode))
    }
}

unsafe extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: as the C library's.
    ours(fd, |ram| ram.close(fd).map(|()| 0)).unwrap_or_else(|| unsafe { libc::close(fd) })
}

unsafe extern "C" fn read(fd: c_int, out: *mut c_void, len: size_t) -> ssize_t {
    let from = |ram: &mut Ram| {
        let open = *ram.open(fd)?;
        let rest = &ram.boot[(open.at as usize).min(ram.boot.len())..];
        let n = rest.len().min(len);
        // SAFETY: the caller's buffer has `len` bytes.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(rest.as_ptr(), n) };
        ram.open(fd)?.at += n as u64;
        Ok(n as ssize_t)
    };
    // SAFETY: as the C library's.
    ours(fd, from).unwrap_or_else(|| unsafe { libc::read(fd, out, len) })
}

unsafe extern "C" fn lseek(fd: c_int, at: off_t, whence: c_int) -> off_t {
    let seek = |ram: &mut Ram| match whence {
        libc::SEEK_CUR => Ok(ram.open(fd)?.at as off_t + at),
        _ => Err(libc::EINVAL),
    };
    // SAFETY: as the C library's.
    ours(fd, seek).unwrap_or_else(|| unsafe { libc::lseek(fd, at, whence) })
}

unsafe extern "C" fn pread(fd: c_int, out: *mut c_void, len: size_t, at: off_t) -> ssize_t {
    let from = |ram: &mut Ram| {
        let inode = ram.file(fd)?;
        let end = ram.inodes[inode].len as usize;
        let from = (at as usize).min(end);
        let n = len.min(end - from);
        // SAFETY: the caller's buffer has `len` bytes, which are not ours.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(ram.address(inode).add(from), n) };
        Ok(n as ssize_t)
    };
    // SAFETY: as the C library's.
    ours(fd, from).unwrap_or_else(|| unsafe { libc::pread(fd, out, len, at) })
}

unsafe extern "C" fn pwrite(fd: c_int, data: *const c_void, len: size_t, at: off_t) -> ssize_t {
    let to = |ram: &mut Ram| {
        let inode = ram.file(fd)?;
        // SAFETY: the caller's buffer has `len` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) };
        ram.write(inode, at as usize, bytes);
        Ok(len as ssize_t)
    };
    // SAFETY: as the C library's.
    ours(fd, to).unwrap_or_else(|| unsafe { libc::pwrite(fd, data, len, at) })
}

unsafe extern "C" fn fstat(fd: c_int, out: *mut libc::stat) -> c_int {
    let stat = |ram: &mut Ram| {
        let kind = ram.open(fd)?.kind;
        // SAFETY: the caller's struct.
        unsafe { out.write(stat_of(ram, kind)) };
        Ok(0)
    };
    // SAFETY: as the C library's.
    ours(fd, stat).unwrap_or_else(|| unsafe { libc::fstat(fd, out) })
}

unsafe extern "C" fn fstatat(
    dir: c_int,
    path: *const c_char,
    out: *mut libc::stat,
    f: c_int,
) -> c_int {
    // SAFETY: as the C library's.
    unsafe {
        let name = text(path);
        let stat = |ram: &mut Ram| {
            let inode = ram.find(name).ok_or(libc::ENOENT)?;
            out.write(stat_of(ram, Kind::File(inode)));
            Ok(0)
        };
        ours(dir, stat).unwrap_or_else(|| libc::fstatat(dir, path, out, f))
    }
}

unsafe extern "C" fn statx(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: libc::c_uint,
    out: *mut libc::statx,
) -> c_int {
    let stat = |ram: &mut Ram| {
        // SAFETY: as the C library's.
        let kind = match unsafe { text(path) } {
            "" => ram.open(dir)?.kind,
            name => Kind::File(ram.find(name).ok_or(libc::ENOENT)?),
        };
        let s = stat_of(ram, kind);
        // SAFETY: a struct of integers; the caller's struct.
        unsafe {
            let mut x: libc::statx = std::mem::zeroed();
            x.stx_mask = libc::STATX_BASIC_STATS;
            (x.stx_dev_major, x.stx_dev_minor) = (libc::major(s.st_dev), libc::minor(s.st_dev));
            (x.stx_ino, x.stx_nlink) = (s.st_ino, s.st_nlink as u32);
            (x.stx_size, x.stx_blocks) = (s.st_size as u64, s.st_blocks as u64);
            x.stx_mode = s.st_mode as u16;
            out.write(x);
        }
        Ok(0)
    };
    // SAFETY: as the C library's.
    ours(dir, stat).unwrap_or_else(|| unsafe { libc::statx(dir, path, flags, mask, out) })
}

unsafe extern "C" fn fstatfs(fd: c_int, out: *mut libc::statfs) -> c_int {
    let stat = |_: &mut Ram| {
        // SAFETY: a struct of integers; the caller's struct.
        unsafe {
            let mut s: libc::statfs = std::mem::zeroed();
            s.f_type = libc::TMPFS_MAGIC;
            out.write(s);
        }
        Ok(0)
    };
    // SAFETY: as the C library's.
    ours(fd, stat).unwrap_or_else(|| unsafe { libc::fstatfs(fd, out) })
}

unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut libc::flock) -> c_int {
    let control = |ram: &mut Ram| {
        if command != libc::F_OFD_SETLK && command != libc::F_OFD_GETLK {
            return Ok(0);
        }
        // SAFETY: these commands take a lock.
        let lock = unsafe { &mut *argument };
        let (from, len) = (lock.l_start as u64, lock.l_len as u64);
        let exclusive = match c_int::from(lock.l_type) {
            libc::F_WRLCK => Some(true),
            libc::F_RDLCK => Some(false),
            _ => None,
        };
        if command == libc::F_OFD_SETLK {
            return ram.lock(fd, exclusive, from, len).map(|()| 0);
        }
        if !ram.locked(fd, exclusive == Some(true), from, len)? {
            lock.l_type = libc::F_UNLCK as i16;
        }
        Ok(0)
    };
    // SAFETY: as the C library's.
    ours(fd, control).unwrap_or_else(|| unsafe { libc::fcntl(fd, command, argument) })
}

unsafe extern "C" fn fallocate(fd: c_int, mode: c_int, at: off_t, len: off_t) -> c_int {
    let allocate = |ram: &mut Ram| {
        let inode = ram.file(fd)?;
        if mode == 0 {
            ram.allocate(inode, at as u64, len as u64)?;
        } else {
            ram.punch(inode, at as u64, len as u64);
        }
        Ok(0)
    };
    // SAFETY: as the C library's.
    ours(fd, allocate).unwrap_or_else(|| unsafe { libc::fallocate(fd, mode, at, len) })
}

unsafe extern "C" fn ftruncate(fd: c_int, len: off_t) -> c_int {
    let resize = |ram: &mut Ram| {
        let inode = ram.file(fd)?;
        ram.resize(inode, len as u64).map(|()| 0)
    };
    // SAFETY: as the C library's.
    ours(fd, resize).unwrap_or_else(|| unsafe { libc::ftruncate(fd, len) })
}

unsafe extern "C" fn fchmod(fd: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: as the C library's.
    ours(fd, |_| Ok(0)).unwrap_or_else(|| unsafe { libc::fchmod(fd, mode) })
}

unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: as the C library's.
    ours(fd, |ram| ram.sync(fd).map(|()| 0)).unwrap_or_else(|| unsafe { libc::fsync(fd) })
}

unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, argument: *mut c_void) -> c_int {
    // SAFETY: as the C library's.
    ours(fd, |_| Err(libc::ENOTTY)).unwrap_or_else(|| unsafe { libc::ioctl(fd, request, argument) })
}

unsafe extern "C" fn mmap(
    at: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    from: off_t,
) -> *mut c_void {
    let map = |ram: &mut Ram| {
        let inode = ram.file(fd)?;
        Ok(ram.map(inode, len) as i64)
    };
    match ours(fd, map) {
        Some(address) => address as *mut c_void,
        // SAFETY: as the C library's.
        None => unsafe { libc::mmap(at, len, prot, flags, fd, from) },
    }
}

unsafe extern "C" fn munmap(at: *mut c_void, len: size_t) -> c_int {
    // SAFETY: as the C library's.
    answer(|ram| ram.owns(at as usize).then_some(Ok(0)))
        .unwrap_or_else(|| unsafe { libc::munmap(at, len) })
}

unsafe extern "C" fn madvise(at: *mut c_void, len: size_t, advice: c_int) -> c_int {
    // SAFETY: as the C library's.
    answer(|ram| ram.owns(at as usize).then_some(Ok(0)))
        .unwrap_or_else(|| unsafe { libc::madvise(at, len, advice) })
}

unsafe extern "C" fn mkdir(path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: as the C library's.
    unsafe {
        let name = text(path);
        let make = |ram: &mut Ram| {
            (name == CHANNEL).then(|| match std::mem::replace(&mut ram.exists, true) {
                true => Err(libc::EEXIST),
                false => Ok(0),
            })
        };
        answer(make).unwrap_or_else(|| libc::mkdir(path, mode))
    }
}

unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: as the C library's.
    unsafe {
        let name = text(path);
        let remove = |ram: &mut Ram| {
            (name == CHANNEL).then(|| {
                if !ram.names.is_empty() {
                    return Err(libc::ENOTEMPTY);
                }
                match std::mem::replace(&mut ram.exists, false) {
                    true => Ok(0),
                    false => Err(libc::ENOENT),
                }
            })
        };
        answer(remove).unwrap_or_else(|| libc::rmdir(path))
    }
}

unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as the C library's.
    unsafe {
        let name = text(path);
        ours(dir, |ram| ram.unlink(name).map(|()| 0))
            .unwrap_or_else(|| libc::unlinkat(dir, path, flags))
    }
}

unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY: the arguments are those of the system call named by `number`; passed on otherwise.
    unsafe {
        let here = match number {
            libc::SYS_renameat2 => {
                let (from, to) = (text(b as *const c_char), text(d as *const c_char));
                ours(a as c_int, |ram| ram.rename(from, to).map(|()| 0))
            }
            libc::SYS_getdents64 => {
                let out = std::slice::from_raw_parts_mut(b as *mut u8, c as usize);
                ours(a as c_int, |ram| listing(ram, a as c_int, out))
            }
            // What is drawn follows from the state, so that a replay draws the same.
            libc::SYS_getrandom => answer(|ram| {
                let out = std::slice::from_raw_parts_mut(a as *mut u8, b as usize);
                for byte in out {
                    ram.random ^= ram.random << 13;
                    ram.random ^= ram.random >> 7;
                    ram.random ^= ram.random << 17;
                    *byte = (ram.random >> 32) as u8;
                }
                Some(Ok(b))
            }),
            _ => None,
        };
        here.unwrap_or_else(|| libc::syscall(number, a, b, c, d, e, f))
    }
}

fn replacement(name: &str) -> Option<*const c_void> {
    let function: *const () = match name {
        "open" | "open64" => open as *const (),
        "openat" => openat as *const (),
        "close" => close as *const (),
        "read" => read as *const (),
        "lseek64" => lseek as *const (),
        "pread" => pread as *const (),
        "pwrite" => pwrite as *const (),
        "fstat" | "fstat64" => fstat as *const (),
        "fstatat" => fstatat as *const (),
        "statx" => statx as *const (),
        "fstatfs" => fstatfs as *const (),
        "fcntl" => fcntl as *const (),
        "fallocate" => fallocate as *const (),
        "ftruncate" => ftruncate as *const (),
        "fchmod" => fchmod as *const (),
        "fsync" | "fdatasync" => fsync as *const (),
        "ioctl" => ioctl as *const (),
        "mmap" | "mmap64" => mmap as *const (),
        "munmap" => munmap as *const (),
        "madvise" => madvise as *const (),
        "mkdir" => mkdir as *const (),
        "rmdir" => rmdir as *const (),
        "unlinkat" => unlinkat as *const (),
        "syscall" => syscall as *const (),
        _ => return None,
    };
    Some(function.cast())
}

/// Bind the imports of the library that has this function; the disk in memory is empty then.
pub fn bind(function: *const c_void) -> Result<()> {
    // SAFETY: the library stays loaded; its dynamic section is what the linker itself went by.
    let bound = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let mut map: *mut LinkMap = std::ptr::null_mut();
        let found = dladdr1(function, &mut info, (&raw mut map).cast(), RTLD_DL_LINKMAP);
        ensure!(found != 0 && !map.is_null(), "cannot find the library's own tables");
        bind_map(&*map)?
    };
    ensure!(bound >= 20, "only {bound} imports were found: the library is linked otherwise");
    RAM.set(Some(Ram::new()?));
    Ok(())
}

const RTLD_DL_LINKMAP: c_int = 2;

extern "C" {
    fn dladdr1(
        at: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        f: c_int,
    ) -> c_int;
}

#[repr(C)]
struct LinkMap {
    base: usize,
    name: *const c_char,
    dynamic: *const [usize; 2],
}

/// # Safety
/// The map is that of a loaded library, and no other thread calls it.
unsafe fn bind_map(map: &LinkMap) -> Result<usize> {
    // Tags: DT_RELA and DT_RELASZ, DT_JMPREL and DT_PLTRELSZ; DT_STRTAB; DT_SYMTAB.
    const TABLES: [(usize, usize); 2] = [(7, 8), (23, 2)];
    const STRINGS: usize = 5;
    const SYMBOLS: usize = 6;
    let get = |tag: usize| {
        // SAFETY: the section ends with tag 0.
        let entries = (0..).map(|i| unsafe { *map.dynamic.add(i) });
        entries.take_while(|e| e[0] != 0).find(|e| e[0] == tag).map_or(0, |e| e[1])
    };
    let mut bound = 0;
    for (table, size) in TABLES {
        for at in (0..get(size)).step_by(24) {
            // SAFETY: tables as the ELF format has them; slots are writable after mprotect.
            unsafe {
                let [slot, info, _] = *((get(table) + at) as *const [usize; 3]);
                let (symbol, kind) = (info >> 32, info & 0xffff_ffff);
                if kind != 6 && kind != 7 {
                    continue;
                }
                let name = *((get(SYMBOLS) + symbol * 24) as *const u32) as usize;
                let name = text((get(STRINGS) + name) as *const c_char);
                if let Some(function) = replacement(name) {
                    let slot = (map.base + slot) as *mut *const c_void;
                    let page = (slot as usize & !4095) as *mut c_void;
                    let access = libc::PROT_READ | libc::PROT_WRITE;
                    ensure!(
                        libc::mprotect(page, 4096, access) == 0,
                        "mprotect: cannot bind {name}"
                    );
                    slot.write(function);
                    bound += 1;
                }
            }
        }
    }
    Ok(bound)
}
