//! `tail` and `cat`: an observer, which takes nothing from anybody.

use std::time::{Duration, Instant};

use disk_chan::raw::options::{last, EARLIEST};
use disk_chan::raw::Channel;

use super::open_to_look;
use crate::args::{Cat, ShapeOptions, Tail};
use crate::fail::{Ended, Failure, Result, FAILURE};
use crate::output::{Output, Reader};
use crate::signals::{Patience, Stop};
use crate::walk::Walk;

pub fn tail(args: &Tail) -> Ended {
    run(&open_to_look(&args.at.channel)?, last(args.count), &args.shape, args.follow)
}

pub fn cat(args: &Cat) -> Ended {
    run(&open_to_look(&args.at.channel)?, EARLIEST, &args.shape, args.follow)
}

fn run(channel: &Channel, start: u64, shape: &ShapeOptions, follow: bool) -> Ended {
    let stop = Stop::watch(|| {})?;
    let mut output = Output::new(shape.shape(), shape.positions)?;
    let mut walk = Walk::observe(channel, start)?;
    let until = if follow { None } else { Some(End::of(channel)?) };
    let patience = Patience::new(None);
    while !stop.wanted() && output.reader() == Reader::There {
        match &until {
            Some(end) => {
                let batch = end.step(&mut walk)?;
                if batch.is_empty() {
                    break;
                }
                if output.write(batch)? == Reader::Left {
                    break;
                }
            }
            None => {
                let batch = walk.step(255, patience.slice_ms())?;
                if output.write(batch)? == Reader::Left {
                    break;
                }
            }
        }
    }
    Ok(stop.code(walk.code()))
}

/// The end of a channel as it was when somebody began to read it to its end: a producer that goes on
/// sending must not keep the reader for ever.
pub struct End(u64);

/// Longer than any `stall_timeout`: by then a claim in the way has been settled, or stepped over.
const SETTLED: Duration = Duration::from_secs(65);

impl End {
    pub fn of(channel: &Channel) -> Result<End> {
        Ok(End(channel.stats()?.end))
    }

    /// The next messages in front of the end; none: it is reached.
    pub fn step<'a>(&self, walk: &'a mut Walk<'_>) -> Result<&'a [disk_chan::raw::Message]> {
        let begun = Instant::now();
        let mut timeout_ms = 0;
        while walk.step(255, timeout_ms)?.is_empty() {
            if walk.passed(self.0)? {
                return Ok(&[]);
            }
            if begun.elapsed() > SETTLED {
                let text = "a message that somebody claimed and never finished is in the way";
                return Err(Failure::new(FAILURE, text).with_remedy("end its sender and repeat"));
            }
            timeout_ms = 50;
        }
        let batch = walk.last_batch();
        let before = batch.partition_point(|m| m.position < self.0);
        Ok(&batch[..before])
    }
}
