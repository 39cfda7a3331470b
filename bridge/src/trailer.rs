//! What `fetch` puts behind each payload: which stream message it is. Payload and trailer are one channel message, so
//! both are in the channel or neither is, and the channel itself knows how far the stream was fetched.
//!
//! 32 bytes, little-endian: identity of the stream (8), sequence (8), place in the pack (4), messages in the pack (4),
//! flags (4), `DCF1` (4).

/// Bytes of a trailer.
pub const LEN: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"DCF1");

/// The message was too large for the stream: the payload is empty, and its bytes are in the forwarder's dead letters.
pub const OVERSIZED: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub stream: u64,
    pub sequence: u64,
    pub index: u32,
    pub count: u32,
    pub flags: u32,
}

/// Tells one stream from another of the same name: FNV-1a of its name and of the time it was created.
pub fn identity(name: &str, created: u64) -> u64 {
    let bytes = name.bytes().chain(created.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

impl Trailer {
    /// A payload and its trailer.
    pub fn behind(&self, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(payload.len() + LEN);
        message.extend_from_slice(payload);
        message.extend_from_slice(&self.stream.to_le_bytes());
        message.extend_from_slice(&self.sequence.to_le_bytes());
        for word in [self.index, self.count, self.flags, MAGIC] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message
    }

    /// That of a channel message; `None`: `fetch` did not write it.
    pub fn of(message: &[u8]) -> Option<Trailer> {
        let tail = message.get(message.len().checked_sub(LEN)?..)?;
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| tail[at + i]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| tail[at + i]));
        let (index, count) = (short(16), short(20));
        let ours = short(28) == MAGIC && index < count;
        let trailer =
            Trailer { stream: long(0), sequence: long(8), index, count, flags: short(24) };
        ours.then_some(trailer)
    }

    /// Whether it is the last one of its stream message.
    pub fn is_last(&self) -> bool {
        self.index + 1 == self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_found_behind_its_payload() {
        let trailer = Trailer { stream: 9, sequence: 70_000, index: 1, count: 3, flags: 0 };
        let message = trailer.behind(b"payload");
        assert_eq!((&message[..7], message.len()), (&b"payload"[..], 7 + LEN));
        assert_eq!(Trailer::of(&message), Some(trailer));
        assert_eq!(Trailer::of(&trailer.behind(b"")), Some(trailer));
        assert_eq!(Trailer::of(b"payload"), None);
        assert_eq!(Trailer::of(&[0; 64]), None);
        assert!(!trailer.is_last() && Trailer { index: 2, ..trailer }.is_last());
        assert_ne!(identity("S", 1), identity("S", 2));
        assert_ne!(identity("S", 1), identity("T", 1));
    }
}
