//! The beginning and the end of a round, each in a process of its own: a channel with its groups, and
//! whether what is left is a channel like any other.

use std::path::Path;
use std::ptr::null_mut;

use anyhow::{ensure, Result};

use super::state::NAMES;
use crate::abi::*;
use crate::payload::Load;

/// Create the channel and its groups.
pub fn create(lib: &Lib, path: &Path, options: &Options) -> Result<()> {
    let options = Options { flags: DC_NEW, ..*options };
    let channel = lib.must_open(path, &options)?;
    for name in NAMES {
        let (code, c) = lib.subscribe(channel, Some(name), &SubscribeOptions::default());
        lib.ok(code, "dc_subscribe")?;
        lib.consumer_close(c);
    }
    lib.close(channel);
    Ok(())
}

/// Names and bytes of the files in a directory.
fn files(path: &Path) -> Result<Vec<(String, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into(), entry.metadata()?.blocks() * 512));
    }
    Ok(files)
}

/// Everybody is gone: what is left is a sound channel that works, within its bounds.
pub fn check(lib: &Lib, path: &Path, options: &Options) -> Result<()> {
    let (code, verified) = lib.verify(path);
    lib.ok(code, "dc_verify")?;
    ensure!(verified.corrupt == 0, "dc_verify: {verified:?}");
    let existing = Options { flags: DC_EXISTING | DC_NO_THREAD, ..Default::default() };
    let channel = lib.must_open(path, &existing)?;
    let (code, info) = lib.channel_stats(channel);
    lib.ok(code, "dc_channel_stats")?;
    ensure!(
        info.producers + info.consumers + info.recoveries + info.poisoned == 0,
        "after the end: {info:?}"
    );
    delete_others(lib, channel)?;
    use_it(lib, channel, options, info.end)?;
    let files = files(path)?;
    let count = |p: &str| files.iter().filter(|(n, _)| n.starts_with(p)).count() as u64;
    ensure!(count("tmp-") == 0, "left behind after a sweep: {files:?}");
    ensure!(count("page-") <= options.max_pages + 2, "pages: {files:?}");
    ensure!(count("group-") == NAMES.len() as u64, "groups: {files:?}");
    let bytes: u64 = files.iter().map(|(_, b)| b).sum();
    // Each page has its table; a group's file has a block for each entry ever used.
    let page = options.page_size + 16 * 251 + 3 * 4096;
    let bound = (options.max_pages + 2) * page + (NAMES.len() as u64) * (19 << 20) + (1 << 20);
    ensure!(bytes <= bound, "{bytes} bytes on disk, {bound} are the bound: {files:?}");
    lib.close(channel);
    lib.ok(lib.destroy(path), "dc_destroy")?;
    ensure!(!path.exists(), "destroyed, and still there");
    Ok(())
}

/// Groups that were being made and deleted by those who were killed can be deleted.
fn delete_others(lib: &Lib, channel: Handle) -> Result<()> {
    let mut name = [0; 256];
    let mut after = std::ptr::null();
    // SAFETY: valid pointers; `name` has room for every name.
    unsafe {
        while (lib.dc_group_next)(channel, after, name.as_mut_ptr(), name.len()) == DC_OK {
            after = name.as_ptr();
            let found = std::ffi::CStr::from_ptr(after);
            if !NAMES.contains(&found) {
                lib.ok((lib.dc_group_delete)(channel, after), "dc_group_delete")?;
            }
        }
    }
    Ok(())
}

/// Send through twice as many pages as there are, and receive everything in every group.
fn use_it(lib: &Lib, channel: Handle, options: &Options, end: u64) -> Result<()> {
    let (code, p) = lib.producer(channel);
    lib.ok(code, "dc_producer_open")?;
    let mut consumers = [null_mut(); NAMES.len()];
    let o = SubscribeOptions { flags: DC_AUTO_NEXT_PAGE, ..Default::default() };
    for (name, to) in NAMES.iter().zip(&mut consumers) {
        let (code, c) = lib.subscribe(channel, Some(name), &o);
        lib.ok(code, "dc_subscribe")?;
        *to = c;
    }
    let many = options.max_messages_per_page as u64 * (2 * options.max_pages + 3);
    for n in 0..many {
        let load = Load { sender: 0, sequence: n + (1 << 32) };
        lib.ok(lib.send(p, &load.bytes(40), 1000), "dc_send after the end")?;
        let position = lib.sent_position(p);
        ensure!(position >= end, "position {position:x} is before the end {end:x}");
        for (name, &c) in NAMES.iter().zip(&consumers) {
            let (code, got) = match lib.recv(c, 1000)? {
                // What retention dropped of those who are gone.
                (DC_LAGGED, _) if n == 0 => lib.recv(c, 1000)?,
                other => other,
            };
            lib.ok(code, "dc_recv after the end")?;
            let fine = got.is_some_and(|g| g.load == load && !g.flagged);
            ensure!(fine, "{name:?}: {got:?} after the end, not {load:?}");
        }
    }
    consumers.iter().for_each(|&c| lib.consumer_close(c));
    lib.producer_close(p);
    Ok(())
}
