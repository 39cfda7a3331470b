//! The stream that `export` writes and `import` reads: `cli/README.md` has it as a table.
//!
//! Every check covers the check before it as well, so a record that is damaged, missing, doubled or out of its
//! place is noticed where it stands, and nothing behind it is taken.

use std::io::{self, Read, Write};

use disk_chan::raw::ChannelInfo;

const MAGIC: &[u8; 8] = b"DCEXPORT";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const RECORD: u8 = b'M';
const TRAILER: u8 = b'E';

/// What the exported channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub page_size: u64,
    pub max_pages: u64,
    pub max_messages_per_page: u32,
    pub retention: u32,
    pub checksum: u32,
    pub max_message: u64,
}

impl Header {
    pub fn of(info: &ChannelInfo) -> Header {
        Header {
            page_size: info.page_size,
            max_pages: info.max_pages,
            max_messages_per_page: info.max_messages_per_page as u32,
            retention: info.retention as u32,
            checksum: info.checksum as u32,
            max_message: info.max_message,
        }
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, &self.page_size.to_le_bytes());
        put(24, &self.max_pages.to_le_bytes());
        put(32, &self.max_messages_per_page.to_le_bytes());
        put(36, &self.retention.to_le_bytes());
        put(40, &self.checksum.to_le_bytes());
        put(48, &self.max_message.to_le_bytes());
        let check = crc(0, &[&bytes[..60]]);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// CRC-32 (IEEE) of the check before and these bytes.
fn crc(before: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Writes a stream.
pub struct Writer<W: Write> {
    to: W,
    check: u32,
    count: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(mut to: W, header: &Header) -> io::Result<Writer<W>> {
        let header = header.encode();
        to.write_all(&header)?;
        Ok(Writer { to, check: crc(0, &[&header[..60]]), count: 0, bytes: 0 })
    }

    pub fn message(&mut self, position: u64, data: &[u8]) -> io::Result<()> {
        let mut head = [RECORD; 13];
        head[1..9].copy_from_slice(&position.to_le_bytes());
        head[9..].copy_from_slice(&(data.len() as u32).to_le_bytes());
        self.check = crc(self.check, &[&head, data]);
        self.count += 1;
        self.bytes += data.len() as u64;
        self.to.write_all(&head)?;
        self.to.write_all(data)?;
        self.to.write_all(&self.check.to_le_bytes())
    }

    /// The trailer; how many messages the stream has.
    pub fn end(mut self) -> io::Result<u64> {
        let mut tail = [TRAILER; 17];
        tail[1..9].copy_from_slice(&self.count.to_le_bytes());
        tail[9..].copy_from_slice(&self.bytes.to_le_bytes());
        self.to.write_all(&tail)?;
        self.to.write_all(&crc(self.check, &[&tail]).to_le_bytes())?;
        self.to.flush()?;
        Ok(self.count)
    }
}

/// Why a stream cannot be read on.
#[derive(Debug)]
pub enum Broken {
    /// It ends too early.
    Cut,
    /// It does not agree with itself.
    Damaged,
    /// Its beginning is not that of an export.
    Foreign,
    /// It is of another version.
    Version(u32),
    Io(io::Error),
}

/// Reads a stream; nothing it returns is unchecked.
#[derive(Debug)]
pub struct Reader<R: Read> {
    from: R,
    pub header: Header,
    check: u32,
    count: u64,
    bytes: u64,
}

fn exactly(from: &mut impl Read, into: &mut [u8]) -> Result<(), Broken> {
    from.read_exact(into).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Cut,
        _ => Broken::Io(e),
    })
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

impl<R: Read> Reader<R> {
    pub fn new(mut from: R) -> Result<Reader<R>, Broken> {
        let mut bytes = [0; HEADER];
        exactly(&mut from, &mut bytes[..8])?;
        if &bytes[..8] != MAGIC {
            return Err(Broken::Foreign);
        }
        exactly(&mut from, &mut bytes[8..])?;
        let check = crc(0, &[&bytes[..60]]);
        if u32_at(&bytes, 60) != check {
            // Another version may be checked otherwise; damage is the likelier where this one is named.
            return Err(match u32_at(&bytes, 8) {
                VERSION => Broken::Damaged,
                other => Broken::Version(other),
            });
        }
        if u32_at(&bytes, 8) != VERSION {
            return Err(Broken::Version(u32_at(&bytes, 8)));
        }
        let header = Header {
            page_size: u64_at(&bytes, 16),
            max_pages: u64_at(&bytes, 24),
            max_messages_per_page: u32_at(&bytes, 32),
            retention: u32_at(&bytes, 36),
            checksum: u32_at(&bytes, 40),
            max_message: u64_at(&bytes, 48),
        };
        Ok(Reader { from, header, check, count: 0, bytes: 0 })
    }

    /// The next message; `None`: the stream is complete.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let mut kind = [0];
        exactly(&mut self.from, &mut kind)?;
        match kind[0] {
            RECORD => self.record().map(Some),
            TRAILER => self.trailer().map(|()| None),
            _ => Err(Broken::Damaged),
        }
    }

    fn record(&mut self) -> Result<Vec<u8>, Broken> {
        let mut head = [RECORD; 13];
        exactly(&mut self.from, &mut head[1..])?;
        let len = u32_at(&head, 9);
        if u64::from(len) > self.header.max_message {
            return Err(Broken::Damaged);
        }
        // As much memory as there are bytes, not as a damaged length says.
        let mut data = Vec::new();
        let limited = &mut (&mut self.from).take(len.into());
        let read = limited.read_to_end(&mut data).map_err(Broken::Io)?;
        if read < len as usize {
            return Err(Broken::Cut);
        }
        let check = crc(self.check, &[&head, &data]);
        self.agrees(check)?;
        self.check = check;
        self.count += 1;
        self.bytes += u64::from(len);
        Ok(data)
    }

    fn trailer(&mut self) -> Result<(), Broken> {
        let mut tail = [TRAILER; 17];
        exactly(&mut self.from, &mut tail[1..])?;
        self.agrees(crc(self.check, &[&tail]))?;
        if u64_at(&tail, 1) != self.count || u64_at(&tail, 9) != self.bytes {
            return Err(Broken::Damaged);
        }
        // What follows the end is not part of what was exported.
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Broken::Damaged),
            Err(e) => Err(Broken::Io(e)),
        }
    }

    fn agrees(&mut self, check: u32) -> Result<(), Broken> {
        let mut stored = [0; 4];
        exactly(&mut self.from, &mut stored)?;
        if u32::from_le_bytes(stored) != check {
            return Err(Broken::Damaged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
