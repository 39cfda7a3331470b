//! `import`: the messages of a stream, each as soon as it is checked.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::rc::Rc;

use disk_chan::raw::options::NEW;
use disk_chan::raw::{Channel, Options};

use super::open_to_use;
use super::sender::{self, Counts, Sender};
use crate::args::Import;
use crate::fail::{warn, Ended, Failure, Result, DAMAGED, FAILURE, OK};
use crate::progress::Progress;
use crate::signals::Stop;
use crate::stream::{Broken, Header, Reader};
use crate::units::messages;

pub fn run(args: &Import) -> Ended {
    let (stop, counts) = sender::watch()?;
    let from = Source { file: open_source(args)?, stop: stop.clone() };
    let mut job = Job { args, stop: &stop, counts: &counts };
    let result = job.run(BufReader::new(from));
    match result {
        Err(failure) if stop.wanted() => {
            warn(&failure.text);
            Ok(stop.code(failure.code))
        }
        other => other.map(|()| OK),
    }
}

/// What is imported; reading it ends with the wish to end.
struct Source {
    file: File,
    stop: Rc<Stop>,
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.stop.read(&mut self.file, into)? {
            Some(n) => Ok(n),
            None => Err(io::Error::other("interrupted")),
        }
    }
}

fn open_source(args: &Import) -> Result<File> {
    match &args.input {
        Some(path) => File::open(path)
            .map_err(|e| Failure::io(format_args!("cannot read {}", path.display()), &e)),
        None => {
            let fd = io::stdin().as_fd().try_clone_to_owned();
            Ok(fd.map_err(|e| Failure::io("cannot use standard input", &e))?.into())
        }
    }
}

/// One run of `import`.
struct Job<'a> {
    args: &'a Import,
    stop: &'a Rc<Stop>,
    counts: &'a Counts,
}

impl Job<'_> {
    fn run(&mut self, from: impl Read) -> Result<()> {
        let mut reader = Reader::new(from).map_err(|b| self.broken(b, 0))?;
        let channel = self.channel(&reader.header)?;
        let (stop, counts) = (self.stop.clone(), self.counts.clone());
        let mut sender = Sender::new(channel, self.args.timeout, stop, counts)?;
        let progress = Progress::of("imported", None);
        let mut read = 0;
        while let Some(message) = reader.next().map_err(|b| self.broken(b, read))? {
            read += 1;
            if read > self.args.skip {
                sender.send(&[message]).map_err(|f| self.refused(f, read - 1))?;
            }
            progress.add(1);
        }
        progress.done();
        if self.args.sync {
            sender.sync()?;
        }
        Ok(())
    }

    fn channel(&self, header: &Header) -> Result<Channel> {
        let path = &self.args.at.channel;
        if !self.args.create {
            return open_to_use(path, 0);
        }
        let options = Options {
            page_size: header.page_size,
            max_pages: header.max_pages,
            max_messages_per_page: header.max_messages_per_page,
            retention: header.retention,
            checksum: header.checksum,
            flags: NEW,
            ..Options::default()
        };
        Channel::open(path, &options).map_err(|e| {
            Failure::from(e).with_remedy("--create makes a channel where there is none")
        })
    }

    /// How many were taken, and how to take the others; `read` were read whole.
    fn taken(&self, read: u64) -> String {
        let sent = self.counts.sent();
        let were = if sent == 1 { "was" } else { "were" };
        let taken = format!("{} {were} taken", messages(sent));
        match read.min(self.args.skip) + sent {
            0 => taken,
            all => format!("{taken}; --skip {all} imports the rest of an intact copy"),
        }
    }

    fn broken(&self, broken: Broken, read: u64) -> Failure {
        let (code, what) = match broken {
            Broken::Io(_) if self.stop.wanted() => (FAILURE, "interrupted".to_string()),
            Broken::Io(e) => (FAILURE, format!("cannot read the stream: {e}")),
            Broken::Cut => (DAMAGED, "the stream is cut off".to_string()),
            Broken::Damaged => (DAMAGED, "the stream is damaged here".to_string()),
            Broken::Foreign => (DAMAGED, "this is not a stream of `disk-chan export`".to_string()),
            Broken::Version(v) => {
                (FAILURE, format!("the stream has version {v}; a newer disk-chan reads it"))
            }
        };
        Failure::new(code, format!("{what}; {}", self.taken(read)))
    }

    fn refused(&self, failure: Failure, read: u64) -> Failure {
        Failure::new(failure.code, format!("{}; {}", failure.text, self.taken(read)))
    }
}
