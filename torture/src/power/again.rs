//! The power goes a second time, while the channel is recovered or used after the first cut.
//!
//! At one of the flushes of the check the disk in memory kept what was on the disk and what was in memory.
//! Here each sector is as of one of the two. And once no power goes, but whoever recovers or uses the channel is
//! killed there: memory is as it was, and so is the boot.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::check::{Checker, Found, Step};
use super::hooks;
use super::promise::{page_of, GroupPromise, Promise, Sent, There};
use super::ram::{Ram, Snapshot, BLOCK};

const SECTOR: usize = 512;
/// States tried of each second cut.
const STATES: u64 = 4;
/// Words of the `channel` file.
const WINDOW: usize = 8192;
const DURABLE: usize = 8704;
const MARK: usize = 8736;

/// Try states of a second cut; how many.
pub fn cut(
    checker: &Checker,
    snapshot: &Snapshot,
    promise: &Promise,
    found: &Found,
    boots: &mut u64,
) -> Result<u64> {
    if found.drained.is_empty() && found.slots == 0 {
        return Ok(0);
    }
    let then = after(checker, snapshot, promise, found);
    // Without a power cut the page in use is gone on with, and what is not durable is there.
    let limit = if snapshot.step == Step::Opening { then.limit } else { u64::MAX };
    let killed = Promise { highest_page: promise.highest_page, limit, ..then.clone() };
    let killed_under = *boots;
    for n in 0..=STATES {
        *boots += 1;
        let boot = if n == STATES { killed_under } else { *boots };
        let mut rng = ChaCha8Rng::seed_from_u64(*boots);
        hooks::with(|ram| {
            ram.clear(boot);
            load(snapshot, ram, n, &mut rng);
        });
        let again = Checker { own_ids: checker.own_ids * 2, ..*checker };
        let promise = if n == STATES { &killed } else { &then };
        again.check(Path::new(hooks::CHANNEL), promise).with_context(|| {
            let how = ["all old", "all new", "mixed", "mixed", "killed"][n as usize];
            format!("{how}, at step {:?}, flush {} of the check", snapshot.step, snapshot.flush)
        })?;
    }
    Ok(STATES + 1)
}

/// What must hold after the second cut.
fn after(checker: &Checker, snapshot: &Snapshot, before: &Promise, found: &Found) -> Promise {
    let word = |at: usize| {
        let channel = snapshot.names.iter().find(|n| n.0 == "channel").map(|n| n.1);
        let block = channel.and_then(|c| snapshot.files[c].1.blocks.get(&((at / BLOCK) as u32)));
        let bytes = block.and_then(|b| b[at % BLOCK..at % BLOCK + 8].try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let (oldest, durable, mark) = (word(WINDOW) >> 26, word(DURABLE), word(MARK));
    // What recovery found once is on the disk, and is found again.
    let kept = |at: &&u64| page_of(**at) >= oldest;
    let mut required: BTreeSet<u64> = found.drained.keys().filter(kept).copied().collect();
    required.extend(found.messages.keys().filter(|at| **at < durable).filter(kept));
    let mut somewhere = before.somewhere.clone();
    let own = found.messages.iter().filter(|m| !found.drained.contains_key(m.0));
    somewhere.extend(own.map(|(_, m)| (m.id, *m)));
    if snapshot.step >= Step::Sending {
        let id = checker.own_ids + found.drained.len() as u64;
        somewhere.insert(id, Sent { id, len: super::check::OWN_LEN as u64 });
    }
    let group = |(name, first): &(String, Option<u64>)| {
        let before = before.groups.iter().find(|g| g.name == *name);
        let first = first.unwrap_or(u64::MAX);
        GroupPromise {
            name: name.clone(),
            there: There::Yes,
            low: before.map_or(0, |g| g.low),
            high: if snapshot.step == Step::Opening { first } else { u64::MAX },
        }
    };
    let last = found.drained.last_key_value().map_or(0, |m| m.0 + 1);
    let pages = snapshot.names.iter().filter_map(|n| n.0.strip_prefix("page-"));
    let highest_page = pages.filter_map(|n| u64::from_str_radix(n, 16).ok()).max().unwrap_or(0);
    // Before it was sent nobody had the position.
    let own = if snapshot.step >= Step::Syncing { found.last() } else { 0 };
    Promise {
        channel: There::Yes,
        sent: found.drained.clone(),
        somewhere,
        required: required.into_iter().collect(),
        limit: if before.checksum { u64::MAX } else { durable.max(mark).max(last) },
        highest: before.highest.max(own),
        highest_page: before.highest_page.max(highest_page),
        groups: found.groups.iter().map(group).collect(),
        ..before.clone()
    }
}

fn load(snapshot: &Snapshot, ram: &mut Ram, n: u64, rng: &mut ChaCha8Rng) {
    let newer = match n {
        0 => 0.0,
        1 | STATES => 1.0,
        _ => rng.random_range(0.05..0.95),
    };
    let names = if rng.random_bool(newer) { &snapshot.names } else { &snapshot.names_durable };
    for (old, new) in &snapshot.files {
        // All are made, so that their numbers are the same.
        let Some(inode) = ram.add(0) else { return };
        let len = if rng.random_bool(newer) { new.len } else { old.len };
        let blocks: BTreeSet<u32> = old.blocks.keys().chain(new.blocks.keys()).copied().collect();
        for number in blocks {
            let zeros = [0; BLOCK];
            let of = |f: &super::ram::Flushed| f.blocks.get(&number).map_or(zeros, |b| **b);
            let (mut block, new) = (of(old), of(new));
            for at in (0..BLOCK).step_by(SECTOR) {
                if rng.random_bool(newer) {
                    block[at..at + SECTOR].copy_from_slice(&new[at..at + SECTOR]);
                }
            }
            let at = number as usize * BLOCK;
            if at < len as usize {
                ram.write(inode, at, &block[..BLOCK.min(len as usize - at)]);
            }
        }
        ram.inodes[inode].len = len;
    }
    for (name, inode) in names {
        ram.link(name, *inode);
    }
}
