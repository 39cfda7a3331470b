//! `torture hostile-live`: a hostile writer at work on the files of a channel, its words, lengths and names,
//! while processes use it by every call: in every other round under `DC_SIGBUS_GUARD`, in the others without
//! it, and then no file is cut. Each call ends with a code within a generous bound, and nothing crashes;
//! afterwards the channel, whatever is left of it, is used once more.
//!
//! A case is a round of a third of a second: one writer, three users. What is counted are calls.

mod users;
mod writer;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rand::Rng;

use super::bases::{self, Base};
use super::work;
use crate::abi::Lib;
use crate::pool::{self, Checked, Common, Run, Tally};
use crate::process::{self, Note, SharedMemory};

/// Rounds, if nobody says how many.
const ROUNDS: u64 = 2_000;
/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(330);
/// No call takes longer, though its words change under it. (The longest pause it may make by itself is a
/// sync that sees no progress: three stall timeouts and a second.)
const BOUND: Duration = Duration::from_secs(20);
const USERS: usize = 3;

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// `--count`: rounds.
    #[command(flatten)]
    common: Common,
}

/// What a user is at.
struct User {
    /// The call, by its index in `users::CALLS`.
    call: AtomicU32,
    /// When it began, in milliseconds from the round's beginning; 0: none.
    since: AtomicU64,
    calls: AtomicU64,
    slowest_us: AtomicU64,
}

/// What the processes of a round share.
struct Board {
    note: Note,
    users: [User; USERS],
    writes: AtomicU64,
}

/// What all rounds did.
#[derive(Default)]
struct Totals {
    calls: AtomicU64,
    writes: AtomicU64,
    slowest_us: AtomicU64,
}

pub fn run(a: &Arguments) -> Result<Tally> {
    // SAFETY: atomic words.
    let totals = unsafe { SharedMemory::<Totals>::zeroed() }?;
    let run = Run {
        kind: "hostile-live",
        common: &a.common,
        replay: String::new(),
        cases: a.common.count.unwrap_or(ROUNDS),
        limit: Duration::from_secs(90),
        enough: None,
    };
    let prepare = |_| -> Result<(Lib, Vec<Base>, tempfile::TempDir)> {
        super::limit_files();
        let lib = Lib::load(&a.common.lib)?;
        let dir = tempfile::Builder::new().prefix("torture-live-").tempdir_in(&a.common.scratch)?;
        let bases = bases::all(lib, &dir.path().join("base"))?;
        Ok((lib, bases, dir))
    };
    let tally = run.all(prepare, |(lib, bases, dir), case, checked| {
        round(*lib, bases, &dir.path().join("channel"), a.common.seed, case, checked, &totals)
    })?;
    println!(
        "{} calls beside {} writes; the slowest call took {} ms",
        totals.calls.load(SeqCst),
        totals.writes.load(SeqCst),
        totals.slowest_us.load(SeqCst) / 1000
    );
    Ok(tally)
}

fn round(
    lib: Lib,
    bases: &[Base],
    dir: &std::path::Path,
    seed: u64,
    case: u64,
    checked: &Checked,
    totals: &Totals,
) -> Result<()> {
    let mut rng = pool::rng(seed, "live", case);
    let base = &bases[rng.random_range(0..bases.len())];
    let guard = case % 2 == 0;
    base.lay_out(dir)?;
    // SAFETY: atomic words.
    let board = unsafe { SharedMemory::<Board>::zeroed() }?;
    let begin = Instant::now();
    let mut pids = Vec::new();
    for user in 0..USERS {
        let rng = pool::rng(seed, &format!("live user {user}"), case);
        let place = &board.users[user];
        pids.push(process::spawn(&board.note, || {
            users::User::new(lib, dir, rng, place, begin, guard).work(begin + ROUND)
        })?);
    }
    let hand = pool::rng(seed, "live writer", case);
    pids.push(process::spawn(&board.note, || {
        writer::write(dir, base, hand, begin + ROUND, guard, &board.writes)
    })?);
    let ended = wait(&pids, &board, begin);
    for user in &board.users {
        totals.calls.fetch_add(user.calls.load(SeqCst), SeqCst);
        totals.slowest_us.fetch_max(user.slowest_us.load(SeqCst), SeqCst);
    }
    totals.writes.fetch_add(board.writes.load(SeqCst), SeqCst);
    ended.with_context(|| base.name)?;
    checked.add(board.users.iter().map(|u| u.calls.load(SeqCst)).sum());
    // What is left of it, without anybody writing.
    let result = work::everything(lib, dir, case, false);
    let _ = std::fs::remove_dir_all(dir);
    result.context("afterwards")
}

/// Wait for all of them; whoever is in one call for too long hangs.
fn wait(pids: &[libc::pid_t], board: &Board, begin: Instant) -> Result<()> {
    let mut left: Vec<_> = pids.to_vec();
    let mut result = Ok(());
    while !left.is_empty() {
        left.retain(|&pid| match process::ended(pid) {
            None => true,
            Some(status) => {
                if libc::WIFSIGNALED(status) && result.is_ok() {
                    let who = pids.iter().position(|&p| p == pid).unwrap_or(USERS);
                    result = Err((who, libc::WTERMSIG(status)));
                }
                false
            }
        });
        let now = begin.elapsed().as_millis() as u64;
        for (i, user) in board.users.iter().enumerate() {
            let since = user.since.load(SeqCst);
            if since != 0 && left.contains(&pids[i]) && now > since + BOUND.as_millis() as u64 {
                left.iter().for_each(|&pid| {
                    process::kill(pid);
                });
                bail!("{} hangs", call_of(user));
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if let Err((who, signal)) = result {
        let what = board.users.get(who).map_or("the writer", call_of);
        bail!("signal {signal} in {what}");
    }
    let note = board.note.get();
    ensure!(note.is_none(), "{}", note.unwrap_or_default());
    Ok(())
}

fn call_of(user: &User) -> &'static str {
    users::CALLS[user.call.load(SeqCst) as usize % users::CALLS.len()]
}
