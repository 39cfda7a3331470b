//! Time that only moves forward, and the identity of this run of the kernel.

use std::time::Duration;

use super::errno::Os;
use crate::sync::planted;

fn read(clock: libc::clockid_t) -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec; both clocks exist on every Linux this crate runs on, and a
    // refusal would leave the zeros.
    unsafe { libc::clock_gettime(clock, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Nanoseconds of `CLOCK_MONOTONIC`: the same clock in every process of this boot.
pub fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC).as_nanos() as u64
}

/// Milliseconds of `CLOCK_MONOTONIC_COARSE`: cheaper, behind by up to one timer tick.
pub fn coarse_ms() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE).as_millis() as u64
}

/// What tells this boot of the machine from the one before: the kernel's `boot_id`; where there is
/// none, the second of booting; where that neither, zeros. An error that may pass (no descriptor
/// left, say) is one: the wrong answer would make a channel recover from a crash that never was.
pub fn boot_id() -> Os<[u8; 16]> {
    if let Some(id) = text_of("/proc/sys/kernel/random/boot_id")?.and_then(|t| parse_uuid(&t)) {
        return Ok(id);
    }
    let mut id = [0; 16];
    if let Some(btime) = text_of("/proc/stat")?.and_then(|t| parse_btime(&t)) {
        id[..8].copy_from_slice(b"btime\0\0\0");
        id[8..].copy_from_slice(&btime.to_le_bytes());
    }
    Ok(id)
}

/// A file of the kernel's; `None`: there is none for this process, now or later.
fn text_of(path: &str) -> Os<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) => match e.raw_os_error() {
            None | Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::EPERM) => Ok(None),
            Some(errno) if !planted!("boot_id_substituted") => Err(errno),
            _ => Ok(None),
        },
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    let mut digits = 0;
    for c in text.trim().chars().filter(|c| *c != '-') {
        let digit = c.to_digit(16)? as u8;
        *id.get_mut(digits / 2)? |= if digits % 2 == 0 { digit << 4 } else { digit };
        digits += 1;
    }
    (digits == 32).then_some(id)
}

fn parse_btime(text: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_advance_and_agree() {
        let a = now_ns();
        let b = now_ns();
        assert!(a > 0 && b >= a);
        let coarse = coarse_ms();
        assert!(coarse.abs_diff(now_ns() / 1_000_000) < 1_000);
    }

    #[test]
    fn boot_id_is_stable_and_parsed() {
        assert_eq!(boot_id(), boot_id());
        assert_ne!(boot_id(), Ok([0; 16]));
        let id = parse_uuid("00112233-4455-6677-8899-aabbccddeeff\n");
        assert_eq!(id.map(u128::from_be_bytes), Some(0x00112233445566778899aabbccddeeff));
        assert_eq!(parse_uuid("00112233"), None);
        assert_eq!(parse_uuid("00112233-4455-6677-8899-aabbccddeeff0"), None);
        assert_eq!(parse_btime("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
        assert_eq!(parse_btime("cpu 1 2\n"), None);
    }
}
