//! The machine: its CPUs, its memory, and what it is.

use std::process::Command;

/// CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Keep the calling thread on one CPU.
pub fn pin(cpu: usize) {
    // SAFETY: a zeroed set is empty; the calls only read and write it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
    }
}

/// Touch free memory, so that the hypervisor gives it before the clock runs: first touch of what it has taken
/// back is many times slower.
pub fn warm() {
    let bytes = (available() / 2).min(3 << 29) as usize;
    // SAFETY: a private mapping of our own, written within its length, unmapped after.
    unsafe {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let map = libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0);
        if map == libc::MAP_FAILED {
            return;
        }
        // A hypervisor takes back large blocks; touched as large pages they are many fewer faults.
        libc::madvise(map, bytes, libc::MADV_HUGEPAGE);
        for at in (0..bytes).step_by(4096) {
            map.cast::<u8>().add(at).write_volatile(1);
        }
        libc::munmap(map, bytes);
    }
}

/// Bytes of memory that this process has.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    // SAFETY: a plain query.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// Page faults of this process so far.
pub fn page_faults() -> u64 {
    // SAFETY: a zeroed struct is a value, and the kernel fills it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        (usage.ru_minflt + usage.ru_majflt) as u64
    }
}

fn available() -> u64 {
    memory("MemAvailable:")
}

fn total() -> u64 {
    memory("MemTotal:")
}

fn memory(what: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(what));
    line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(1 << 20) << 10
}

/// The date, in coordinated universal time.
pub fn today() -> String {
    said("date", &["-u", "+%Y-%m-%d"])
}

pub fn said(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output();
    out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default()
}

/// What the figures were measured on, a line each.
pub fn facts(scratch: &std::path::Path) -> Vec<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(": ").nth(1));
    let fs = said("stat", &["-f", "-c", "%T", &scratch.to_string_lossy()]);
    vec![
        format!("{} CPUs ({}), {}", cpus(), model.unwrap_or("unknown"), std::env::consts::ARCH),
        format!("Linux {}", said("uname", &["-r"])),
        format!("{} GiB of memory", total() >> 30),
        format!("files on {fs}"),
        said("rustc", &["--version"]),
    ]
}
