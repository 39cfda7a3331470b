//! `export`: every message kept, as a stream.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

use disk_chan::raw::options::EARLIEST;

use super::look::End;
use super::open_to_look;
use crate::args::Export;
use crate::fail::{Ended, Failure, Result, FAILURE, USAGE};
use crate::output::payload;
use crate::progress::Progress;
use crate::stream::{Header, Writer};
use crate::units::messages;
use crate::walk::Walk;

pub fn run(args: &Export) -> Ended {
    let channel = open_to_look(&args.at.channel)?;
    let info = channel.stats()?;
    let end = End::of(&channel)?;
    let mut walk = Walk::observe(&channel, EARLIEST)?;
    let to = target(args)?;
    let failed = |e: io::Error| Failure::io("cannot write the stream, which is useless now", &e);
    let mut writer = Writer::new(BufWriter::new(&to), &Header::of(&info)).map_err(failed)?;
    // At the other end of a pipe stands another one, an import perhaps, that shows its progress on the same terminal.
    let progress = match to.metadata() {
        Ok(to) if to.is_file() => Progress::of("exported", Some(info.messages)),
        _ => Progress::none(),
    };
    loop {
        let batch = end.step(&mut walk)?;
        if batch.is_empty() {
            break;
        }
        for message in batch {
            writer.message(message.position, payload(message)).map_err(failed)?;
        }
        progress.add(batch.len() as u64);
    }
    writer.end().map_err(failed)?;
    if args.output.is_some() {
        to.sync_all().map_err(failed)?;
    }
    progress.done();
    if walk.lost > 0 {
        let text = format!(
            "{} went by retention while the others were exported; the stream is whole otherwise",
            messages(walk.lost)
        );
        return Err(Failure::new(FAILURE, text).with_remedy("repeat when less is being sent"));
    }
    Ok(walk.code())
}

fn target(args: &Export) -> Result<File> {
    match &args.output {
        Some(path) => File::create(path)
            .map_err(|e| Failure::io(format_args!("cannot write {}", path.display()), &e)),
        None if io::stdout().is_terminal() => {
            let text = "a stream is not for a terminal: give --output FILE, or a pipe";
            Err(Failure::new(USAGE, text))
        }
        None => {
            io::stdout().flush().map_err(|e| Failure::io("cannot use standard output", &e))?;
            let fd = io::stdout().as_fd().try_clone_to_owned();
            Ok(fd.map_err(|e| Failure::io("cannot use standard output", &e))?.into())
        }
    }
}
