//! `recv`: a consumer of a group. Acknowledged is what was written and flushed, nothing else: whatever ends this
//! process, what it did not write goes to the next consumer.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use disk_chan::raw::options::ACK_MANUAL;
use disk_chan::raw::SubscribeOptions;

use super::open_to_use;
use crate::args::Recv;
use crate::fail::{Ended, Failure, NOTHING};
use crate::output::{Output, Reader};
use crate::signals::{Patience, Stop};
use crate::units::messages;
use crate::walk::Walk;

pub fn run(args: &Recv) -> Ended {
    // What it holds unacknowledged, a second signal may simply drop.
    let stop = Stop::watch(|| {})?;
    let mut output = Output::new(args.shape.shape(), args.shape.positions)?;
    let channel = open_to_use(&args.at.channel, 0)?;
    let options = SubscribeOptions {
        start: args.start,
        ack: ACK_MANUAL,
        max_unacked: args.max_unacked.unwrap_or(0),
        prefetch: args.prefetch.unwrap_or(0),
        ..SubscribeOptions::default()
    };
    let mut walk = Walk::join(&channel, args.group.as_bytes(), &options)?;
    let most = args.batch.min(args.max_unacked.unwrap_or(args.batch)) as u64;
    let wait = if args.follow { None } else { Some(args.timeout.unwrap_or(Duration::ZERO)) };
    let wanted = args.count.unwrap_or(u64::MAX);
    let mut done = 0;
    let mut patience = Patience::new(wait);
    while done < wanted && !stop.wanted() && output.reader() == Reader::There {
        let over = patience.over();
        let batch = walk.step((wanted - done).min(most) as usize, patience.slice_ms())?;
        let Some(last) = batch.last().map(|m| m.position) else {
            if over {
                break;
            }
            continue;
        };
        if output.write(batch)? == Reader::Left {
            return Ok(walk.code());
        }
        done += batch.len() as u64;
        walk.ack(last)?;
        patience = Patience::new(wait);
    }
    if stop.wanted() || output.reader() == Reader::Left {
        return Ok(stop.code(walk.code()));
    }
    if done == 0 && wanted > 0 && walk.corrupt == 0 {
        // Silent: a script asks the code, and an empty channel is no failure.
        return Ok(NOTHING);
    }
    if args.count.is_some() && done < wanted && walk.corrupt == 0 {
        let text = format!("{} of {} received: no more came in time", messages(done), wanted);
        return Err(Failure::new(NOTHING, text));
    }
    Ok(walk.code())
}
