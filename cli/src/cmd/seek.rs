//! `seek` and `delete-group`: what is done to a group as a whole.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use disk_chan::raw::{Channel, Error, SubscribeOptions};

use super::{open_to_use, MISSING};
use crate::args::{DeleteGroup, Seek};
use crate::fail::{Ended, Failure, FAILURE, OK};

pub fn run(args: &Seek) -> Ended {
    let channel = open_to_use(&args.at.channel, 0)?;
    let name = args.group.as_bytes();
    match channel.group_stats(name) {
        Ok(_) => {}
        Err(e) if e.code() == MISSING && args.create => {}
        Err(e) => {
            return Err(named(e, &args.group, "--create makes it, `disk-chan groups` lists them"))
        }
    }
    let options = SubscribeOptions { start: args.to, ..SubscribeOptions::default() };
    let mut consumer = channel.subscribe(Some(name), &options)?;
    consumer.seek(args.to)?;
    Ok(OK)
}

pub fn delete_group(args: &DeleteGroup) -> Ended {
    let channel: Channel = open_to_use(&args.at.channel, 0)?;
    let deleted = channel.group_delete(args.group.as_bytes());
    deleted.map_err(|e| named(e, &args.group, "`disk-chan groups` lists those there are"))?;
    Ok(OK)
}

/// A failure about a group; where there is none of that name, with this remedy.
fn named(e: Error, group: &OsStr, remedy: &str) -> Failure {
    match e.code() {
        MISSING => {
            let text = format!("there is no group \"{}\"", super::groups::shown(group.as_bytes()));
            Failure::new(FAILURE, text).with_remedy(remedy)
        }
        _ => e.into(),
    }
}
