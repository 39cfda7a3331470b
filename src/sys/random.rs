//! Numbers that nobody else draws: identities of channels, names of temporary files.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;

/// 16 bytes from the kernel's generator; before it is seeded (early boot) or where it is forbidden,
/// mixed from clock, process and a counter: still unique, only easier to guess.
pub fn random_bytes() -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    // SAFETY: the buffer is 16 bytes long; requests up to 256 bytes are never cut short.
    let n = unsafe {
        libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK)
    };
    if n == bytes.len() as libc::c_long {
        return bytes;
    }
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only the uniqueness of the number matters.
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() } as u64;
    let low = mix(clock::now_ns() ^ pid.rotate_left(40));
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&mix(low ^ drawn ^ pid).to_le_bytes());
    bytes
}

/// A number that is hard to guess and differs from call to call.
pub fn unique() -> u64 {
    let b = random_bytes();
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ() {
        assert_ne!(unique(), unique());
        assert_ne!(random_bytes(), [0; 16]);
        assert_ne!(mix(1), mix(2));
    }
}
