//! A stream message: one channel message as it is, or several packed. Its headers say which ones they are, so that the
//! cluster itself knows how far the channel has come. `docs/CLUSTER.md` has the format as a table.

use std::time::Instant;

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};

pub const CHANNEL: &str = "Disk-Chan-Channel";
pub const EPOCH: &str = "Disk-Chan-Epoch";
pub const POSITION: &str = "Disk-Chan-Position";
pub const PREVIOUS: &str = "Disk-Chan-Previous";
pub const COUNT: &str = "Disk-Chan-Count";
pub const OVERSIZED: &str = "Disk-Chan-Oversized";

/// Bytes that the headers of a message may take, its subject included.
pub const HEADERS_MAX: usize = 1024;

/// A run of the bridge: a number that grows with every run, and a random word that tells two of the same number apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub number: u64,
    pub writer: u64,
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.writer)
    }
}

impl std::str::FromStr for Epoch {
    type Err = ();
    fn from_str(text: &str) -> Result<Epoch, ()> {
        let (number, writer) = text.split_once('-').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        Ok(Epoch { number, writer: u64::from_str_radix(writer, 16).map_err(|_| ())? })
    }
}

/// What becomes one stream message; its place in the stream is settled before it is published.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Position of the last channel message before it.
    pub previous: u64,
    /// Position of its last channel message.
    pub last: u64,
    /// Channel messages in it.
    pub count: usize,
    /// A message that is too large for the stream: its length, while the dead-letter channel has its bytes.
    pub oversized: Option<u64>,
    pub payload: Bytes,
    pub sent_at: Instant,
    pub stored: bool,
}

impl Parcel {
    pub fn headers(&self, stream: &str, channel: &str, epoch: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", stream);
        headers.insert("Nats-Expected-Last-Sequence", (self.sequence - 1).to_string());
        headers.insert("Nats-Msg-Id", format!("{channel}:{}", self.last));
        headers.insert(CHANNEL, channel);
        headers.insert(EPOCH, epoch);
        headers.insert(POSITION, self.last.to_string());
        headers.insert(PREVIOUS, self.previous.to_string());
        if self.count > 1 {
            headers.insert(COUNT, self.count.to_string());
        }
        if let Some(len) = self.oversized {
            headers.insert(OVERSIZED, len.to_string());
        }
        headers
    }
}

/// What the headers of a stored message say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub channel: String,
    pub epoch: Epoch,
    pub position: u64,
    pub previous: u64,
    pub count: usize,
    pub oversized: Option<u64>,
}

impl Stored {
    /// `None`: no bridge has written this message.
    pub fn of(headers: &HeaderMap) -> Option<Stored> {
        let text = |name: &str| headers.get(name).map(|value| value.as_str());
        let number = |name: &str| text(name).map(str::parse::<u64>);
        Some(Stored {
            channel: text(CHANNEL)?.to_string(),
            epoch: text(EPOCH)?.parse().ok()?,
            position: number(POSITION)?.ok()?,
            previous: number(PREVIOUS)?.ok()?,
            count: number(COUNT).unwrap_or(Ok(1)).ok()? as usize,
            oversized: number(OVERSIZED).transpose().ok()?,
        })
    }
}

/// Channel messages on their way into one parcel.
#[derive(Default)]
pub struct Pack {
    bytes: BytesMut,
    pub count: usize,
    pub last: u64,
}

impl Pack {
    /// Bytes of the payload with one more message of this length.
    pub fn len_with(&self, len: usize) -> usize {
        self.bytes.len() + 4 + len
    }

    pub fn add(&mut self, position: u64, data: &[u8]) {
        self.bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(data);
        self.count += 1;
        self.last = position;
    }

    /// The payload: of a single message its bytes and nothing else.
    pub fn take(&mut self) -> (Bytes, usize, u64) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if self.count == 1 {
            bytes = bytes.split_off(4);
        }
        (bytes.freeze(), std::mem::take(&mut self.count), self.last)
    }
}

/// The messages of a payload; `None`: it is not a pack of so many.
pub fn unpack(payload: &Bytes, count: usize) -> Option<Vec<Bytes>> {
    if count == 1 {
        return Some(vec![payload.clone()]);
    }
    let mut rest = payload.clone();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 4 {
            return None;
        }
        let len = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if rest.len() - 4 < len {
            return None;
        }
        messages.push(rest.slice(4..4 + len));
        rest = rest.slice(4 + len..);
    }
    (messages.len() == count).then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_comes_apart_again() {
        let mut pack = Pack::default();
        let messages: [&[u8]; 4] = [b"one", b"", b"three", &[7; 300]];
        for (i, message) in messages.iter().enumerate() {
            pack.add(i as u64 + 10, message);
        }
        let (payload, count, last) = pack.take();
        assert_eq!((count, last), (4, 13));
        assert_eq!(unpack(&payload, 4).unwrap(), messages);
        assert_eq!(unpack(&payload, 3), None);
        assert_eq!(unpack(&payload.slice(1..), 4), None);
        assert_eq!(unpack(&payload.slice(..payload.len() - 1), 4), None);
        pack.add(14, b"alone");
        let (payload, count, _) = pack.take();
        assert_eq!((&payload[..], count), (&b"alone"[..], 1));
        assert_eq!(unpack(&payload, 1).unwrap(), [&b"alone"[..]]);
    }

    #[test]
    fn headers_say_what_was_said() {
        let parcel = Parcel {
            sequence: 12,
            previous: 65_540,
            last: 65_551,
            count: 11,
            oversized: None,
            payload: Bytes::new(),
            sent_at: Instant::now(),
            stored: false,
        };
        let epoch = Epoch { number: 7, writer: 0xabc };
        let headers = parcel.headers("S", "00ff", &epoch.to_string());
        assert_eq!(headers.get("Nats-Expected-Last-Sequence").unwrap().as_str(), "11");
        let stored = Stored::of(&headers).unwrap();
        let said = (stored.position, stored.previous, stored.count, stored.epoch, stored.oversized);
        assert_eq!(said, (65_551, 65_540, 11, epoch, None));
        let mut foreign = HeaderMap::new();
        foreign.insert(CHANNEL, "00ff");
        assert_eq!(Stored::of(&foreign), None);
        let mut bad = headers.clone();
        bad.insert(COUNT, "many");
        assert_eq!(Stored::of(&bad), None);
    }
}
