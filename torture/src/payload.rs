//! Messages that can be checked alone: who sent it, which one it is, how long it is, and a fill that
//! follows from these.

use anyhow::{ensure, Result};

/// Bytes of the head of every message.
pub const HEAD: usize = 16;

/// Which message this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub sender: u32,
    pub sequence: u64,
}

fn fill(load: Load, len: usize, i: usize) -> u8 {
    let seed = load.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(load.sender) << 17;
    (seed >> (8 * (i % 8))) as u8 ^ (i >> 3) as u8 ^ len as u8
}

impl Load {
    /// The message, of `len` bytes (at least its head).
    pub fn bytes(self, len: usize) -> Vec<u8> {
        let len = len.max(HEAD);
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&self.sender.to_le_bytes());
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend((HEAD..len).map(|i| fill(self, len, i)));
        bytes
    }

    /// Take a received message apart; a torn or invented one is an error.
    pub fn check(bytes: &[u8]) -> Result<Load> {
        ensure!(bytes.len() >= HEAD, "a message of {} bytes: nobody sends such", bytes.len());
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let sequence = u64::from(word(8)) | u64::from(word(12)) << 32;
        let load = Load { sender: word(0), sequence };
        ensure!(
            word(4) as usize == bytes.len(),
            "{load:?}: {} bytes, not {}",
            bytes.len(),
            word(4)
        );
        for (i, &byte) in bytes.iter().enumerate().skip(HEAD) {
            ensure!(byte == fill(load, bytes.len(), i), "{load:?}: byte {i} is another's");
        }
        Ok(load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_shows() {
        let load = Load { sender: 3, sequence: 77 };
        let bytes = load.bytes(40);
        assert_eq!(Load::check(&bytes).expect("whole"), load);
        assert!(Load::check(&bytes[..39]).is_err());
        for i in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[i] ^= 0x10;
            assert!(Load::check(&torn).ok() != Some(load), "byte {i}");
        }
    }
}
