//! Cutting a stream of bytes into messages.

use crate::args::Cut;

/// What has been read and not yet cut off.
pub struct Cutter {
    cut: Cut,
    /// The largest message there is room for.
    most: u64,
    bytes: Vec<u8>,
    /// Of `bytes`: consumed.
    from: usize,
    /// Of `bytes`: looked through, without an end found.
    seen: usize,
}

/// A message, what is missing for one, or why there will be none.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A message as it is to be sent.
    Message(Vec<u8>),
    /// More has to be read.
    More,
    /// The message is larger than what fits; its length, where it is known.
    TooBig(Option<u64>),
}

impl Cutter {
    pub fn new(cut: Cut, most: u64) -> Cutter {
        Cutter { cut, most, bytes: Vec::new(), from: 0, seen: 0 }
    }

    /// Add what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.from);
        self.seen -= self.from;
        self.from = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are read and not part of a message yet.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.from
    }

    /// The next message.
    pub fn next(&mut self) -> Piece {
        match self.cut {
            Cut::LengthPrefixed => self.prefixed(),
            Cut::Nul => self.ended_by(0),
            Cut::Lines | Cut::Escape => self.ended_by(b'\n'),
        }
    }

    /// At the end of the input: a last message that nothing ends, as the last line of many files. `More`: there is
    /// none, or (`left` is not 0) it is cut short.
    pub fn last(&mut self) -> Piece {
        if self.cut == Cut::LengthPrefixed || self.left() == 0 {
            return Piece::More;
        }
        let message = self.bytes[self.from..].to_vec();
        self.from = self.bytes.len();
        self.seen = self.from;
        self.message(message)
    }

    fn prefixed(&mut self) -> Piece {
        let Some((head, rest)) = self.bytes[self.from..].split_first_chunk::<4>() else {
            return Piece::More;
        };
        let len = u32::from_le_bytes(*head);
        if u64::from(len) > self.most {
            return Piece::TooBig(Some(len.into()));
        }
        match rest.get(..len as usize) {
            None => Piece::More,
            Some(message) => {
                let message = message.to_vec();
                self.from += 4 + message.len();
                self.seen = self.from;
                Piece::Message(message)
            }
        }
    }

    fn ended_by(&mut self, end: u8) -> Piece {
        match self.bytes[self.seen..].iter().position(|&b| b == end) {
            Some(at) => {
                let at = self.seen + at;
                let message = self.bytes[self.from..at].to_vec();
                self.from = at + 1;
                self.seen = self.from;
                self.message(message)
            }
            None => {
                self.seen = self.bytes.len();
                // Escaped, a byte takes at most two.
                let factor = if self.cut == Cut::Escape { 2 } else { 1 };
                if self.left() as u64 > self.most.saturating_mul(factor) {
                    return Piece::TooBig(None);
                }
                Piece::More
            }
        }
    }

    fn message(&self, raw: Vec<u8>) -> Piece {
        let message = if self.cut == Cut::Escape { unescape(&raw) } else { raw };
        match message.len() as u64 {
            len if len > self.most => Piece::TooBig(Some(len)),
            _ => Piece::Message(message),
        }
    }
}

/// `\n`, `\0` and `\\` as the bytes they stand for; any other backslash as it is.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(raw.len());
    let mut rest = raw.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let meant = match (byte, rest.peek()) {
            (b'\\', Some(b'n')) => Some(b'\n'),
            (b'\\', Some(b'0')) => Some(0),
            (b'\\', Some(b'\\')) => Some(b'\\'),
            _ => None,
        };
        if meant.is_some() {
            rest.next();
        }
        message.push(meant.unwrap_or(byte));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever pieces a stream is read in, the messages are the same.
    fn cut(cut: Cut, stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
        let mut cutter = Cutter::new(cut, 1000);
        let mut messages = Vec::new();
        for bytes in stream.chunks(piece) {
            cutter.feed(bytes);
            while let Piece::Message(m) = cutter.next() {
                messages.push(m);
            }
        }
        if let Piece::Message(m) = cutter.last() {
            messages.push(m);
        }
        (messages, cutter.left())
    }

    #[test]
    fn the_same_in_any_pieces() {
        for piece in 1..20 {
            let (lines, left) = cut(Cut::Lines, b"one\n\ntwo\r\nlast", piece);
            assert_eq!(lines, [&b"one"[..], b"", b"two\r", b"last"]);
            assert_eq!(left, 0);
            let (nul, _) = cut(Cut::Nul, b"a\nb\0\0c\0", piece);
            assert_eq!(nul, [&b"a\nb"[..], b"", b"c"]);
            let (escaped, _) = cut(Cut::Escape, b"a\\nb\\\\n\\0\\x\n\\\n", piece);
            assert_eq!(escaped, [&b"a\nb\\n\0\\x"[..], b"\\"]);
            let stream = b"\x03\0\0\0abc\0\0\0\0\x02\0\0\0\n\0\x09\0\0\0x";
            let (prefixed, left) = cut(Cut::LengthPrefixed, stream, piece);
            assert_eq!(prefixed, [&b"abc"[..], b"", b"\n\0"]);
            assert_eq!(left, 5);
        }
    }

    #[test]
    fn what_cannot_fit_is_said_before_it_is_read() {
        let mut cutter = Cutter::new(Cut::LengthPrefixed, 1000);
        cutter.feed(&[0xff; 4]);
        assert_eq!(cutter.next(), Piece::TooBig(Some(u32::MAX.into())));
        let mut cutter = Cutter::new(Cut::Lines, 3);
        cutter.feed(b"abc");
        assert_eq!(cutter.next(), Piece::More);
        cutter.feed(b"d");
        assert_eq!(cutter.next(), Piece::TooBig(None));
        let mut cutter = Cutter::new(Cut::Lines, 3);
        cutter.feed(b"abcd\n");
        assert_eq!(cutter.next(), Piece::TooBig(Some(4)));
    }
}
