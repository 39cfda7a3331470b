//! `send`: lines, records or files become messages.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::open_to_use;
use super::sender::{self, Counts, Sender};
use crate::args::{Cut, Send};
use crate::fail::{warn, Ended, Failure, Result, DAMAGED, FAILURE, OK};
use crate::input::{Cutter, Piece};
use crate::signals::Stop;
use crate::units::{count, messages};

/// Read at once at most. What is read is sent before more is read.
const CHUNK: usize = 64 << 10;

pub fn run(args: &Send) -> Ended {
    let channel = open_to_use(&args.at.channel, args.durability.map_or(0, |d| d as u32))?;
    let (stop, counts) = sender::watch()?;
    let mut sender = Sender::new(channel, args.timeout, stop.clone(), counts.clone())?;
    let mut job =
        Job { most: sender.largest()?, sender: &mut sender, stop: &stop, counts: &counts };
    let sent = match args.file.is_empty() {
        true => job.lines(args.cut.cut()),
        false => job.files(&args.file),
    };
    // What was sent is to be durable, however it ended.
    let synced = if args.sync { sender.sync() } else { Ok(()) };
    match sent {
        // Asked to end: what could not be sent is said, and the code is the signal's.
        Err(failure) if stop.wanted() => {
            warn(&failure.text);
            synced.map(|()| stop.code(failure.code))
        }
        Err(failure) => Err(failure),
        Ok(()) if stop.wanted() => {
            warn(format_args!("interrupted: {}", counts.told()));
            synced.map(|()| stop.code(OK))
        }
        Ok(()) => synced.map(|()| OK),
    }
}

/// Standard input without `io::Stdin`'s buffer, in which what was read could be forgotten.
fn standard_input() -> Result<File> {
    let fd = io::stdin().as_fd().try_clone_to_owned();
    Ok(fd.map_err(|e| Failure::io("cannot use standard input", &e))?.into())
}

/// One run of `send`.
struct Job<'a> {
    sender: &'a mut Sender,
    stop: &'a Stop,
    counts: &'a Counts,
    most: u64,
}

impl Job<'_> {
    fn lines(&mut self, cut: Cut) -> Result<()> {
        let mut from = standard_input()?;
        let mut cutter = Cutter::new(cut, self.most);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.stop.read(&mut from, &mut chunk);
            match read.map_err(|e| Failure::io("cannot read standard input", &e))? {
                Some(0) => return self.last(&mut cutter),
                Some(n) => cutter.feed(&chunk[..n]),
                None => {
                    self.unfinished(&cutter);
                    return Ok(());
                }
            }
            let mut batch = Vec::new();
            let piece = loop {
                match cutter.next() {
                    Piece::Message(message) => batch.push(message),
                    other => break other,
                }
            };
            let sent = self.sender.send(&batch);
            if sent.is_err() {
                self.unfinished(&cutter);
            }
            sent?;
            if let Piece::TooBig(len) = piece {
                return Err(self.too_big(len));
            }
        }
    }

    /// The input ends.
    fn last(&mut self, cutter: &mut Cutter) -> Result<()> {
        match cutter.last() {
            Piece::Message(message) => self.sender.send(&[message]),
            Piece::TooBig(len) => Err(self.too_big(len)),
            Piece::More if cutter.left() == 0 => Ok(()),
            Piece::More => {
                let left = count(cutter.left() as u64);
                let text =
                    format!("the input ends within a message, {left} bytes of which were read");
                let text = format!("{text}; {}", self.counts.told());
                Err(Failure::new(DAMAGED, text).with_remedy("send the rest again from there"))
            }
        }
    }

    /// Say what was read and is no message yet.
    fn unfinished(&self, cutter: &Cutter) {
        if cutter.left() > 0 {
            let left = count(cutter.left() as u64);
            warn(format_args!("{left} bytes of an unfinished message were read and not sent"));
        }
    }

    fn too_big(&self, len: Option<u64>) -> Failure {
        let sent = self.counts.sent();
        let most = count(self.most);
        let size = match len {
            Some(len) => format!("{} bytes", count(len)),
            None => format!("more than {most} bytes"),
        };
        let text = format!(
            "message {} has {size}, and at most {most} fit; {} before it, not what follows",
            count(sent + 1),
            match sent {
                1 => "1 message was sent".to_string(),
                n => format!("{} were sent", messages(n)),
            }
        );
        Failure::new(FAILURE, text).with_remedy("split it, or make a channel with larger pages")
    }

    fn files(&mut self, paths: &[PathBuf]) -> Result<()> {
        for path in paths {
            if self.stop.wanted() {
                break;
            }
            let message = whole(path, self.most).map_err(|failure| {
                let text = format!("{}; {}", failure.text, self.counts.told());
                Failure::new(failure.code, text)
            })?;
            self.sender.send(&[message])?;
        }
        Ok(())
    }
}

/// A file as one message; one that is too large is not read to its end.
fn whole(path: &Path, most: u64) -> Result<Vec<u8>> {
    let failed = |e| Failure::io(format_args!("cannot read {}", path.display()), &e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        let text = format!("{} has more than {} bytes", path.display(), count(most));
        return Err(Failure::new(FAILURE, text).with_remedy("make a channel with larger pages"));
    }
    Ok(bytes)
}
