//! Writing messages so that another program can tell them apart.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use disk_chan::raw::Message;

use crate::args::Shape;
use crate::fail::{warn, Failure, Result};
use crate::signals::reader_left;

const BUFFER: usize = 64 << 10;

/// Standard output. Not `io::Stdout`, which keeps what it could not write and writes it in the end after all.
pub struct Output {
    file: File,
    shape: Shape,
    positions: bool,
    warned: bool,
}

/// Whether anybody reads what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    There,
    Left,
}

impl Output {
    pub fn new(shape: Shape, positions: bool) -> Result<Output> {
        let file = io::stdout().as_fd().try_clone_to_owned();
        let file = file.map_err(|e| Failure::io("cannot use standard output", &e))?;
        Ok(Output { file: file.into(), shape, positions, warned: false })
    }

    /// Write messages, and have done so when this returns.
    pub fn write(&mut self, messages: &[Message]) -> Result<Reader> {
        let mut to = BufWriter::with_capacity(BUFFER, &self.file);
        let written = messages.iter().try_for_each(|m| {
            let data = payload(m);
            if let Some(text) = ambiguous(self.shape, data).filter(|_| !self.warned) {
                self.warned = true;
                warn(format_args!("the message at {}, and perhaps others, {text}", m.position));
            }
            if self.positions {
                write!(to, "{}\t", m.position)?;
            }
            one(self.shape, data, &mut to)
        });
        match written.and_then(|()| to.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(e) => {
                // Dropped, it would try to write the rest once more.
                let _ = to.into_parts();
                match e.kind() {
                    io::ErrorKind::BrokenPipe => Ok(Reader::Left),
                    _ => Err(Failure::io("cannot write to standard output", &e)
                        .with_remedy("make room there and repeat")),
                }
            }
        }
    }

    /// Whether anybody reads, as far as can be told without writing.
    pub fn reader(&self) -> Reader {
        if reader_left(self.file.as_fd()) {
            Reader::Left
        } else {
            Reader::There
        }
    }
}

/// The bytes of a message that was received.
pub fn payload(m: &Message) -> &[u8] {
    // SAFETY: a message that was received points to `len` bytes that stay as they are until its consumer's next
    // page, seek or end; nobody here looks at a message after that.
    unsafe { std::slice::from_raw_parts(m.data, m.len) }
}

fn one(shape: Shape, data: &[u8], to: &mut impl Write) -> io::Result<()> {
    match shape {
        Shape::Raw => to.write_all(data),
        Shape::LengthPrefixed => {
            // A page holds 4 GiB at most, and a message a little less.
            to.write_all(&(data.len() as u32).to_le_bytes())?;
            to.write_all(data)
        }
        Shape::Escape => {
            for &byte in data {
                match byte {
                    b'\n' => to.write_all(b"\\n")?,
                    0 => to.write_all(b"\\0")?,
                    b'\\' => to.write_all(b"\\\\")?,
                    _ => to.write_all(&[byte])?,
                }
            }
            to.write_all(b"\n")
        }
        Shape::Lines => to.write_all(data).and_then(|()| to.write_all(b"\n")),
        Shape::Nul => to.write_all(data).and_then(|()| to.write_all(&[0])),
    }
}

/// Why a message written in this shape is not told apart from several, and what to do about it.
fn ambiguous(shape: Shape, data: &[u8]) -> Option<&'static str> {
    match shape {
        Shape::Lines if data.contains(&b'\n') => {
            Some("holds newlines and reads like several: use --escape, --nul or --length-prefixed")
        }
        Shape::Nul if data.contains(&0) => {
            Some("holds NUL bytes and reads like several: use --length-prefixed")
        }
        _ => None,
    }
}
