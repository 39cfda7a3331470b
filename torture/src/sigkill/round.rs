//! A round: one channel, a dozen processes at it, a hundred of them killed, and the reckoning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{bail, ensure, Context, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::aim::{self, Followed};
use super::locks;
use super::reckoning;
use super::state::{State, GROUPS, NAMES, SLOTS};
use super::work::{Part, Worker, CALLS};
use crate::abi::*;
use crate::pool::{describe, rng, Checked};
use crate::process::{self, now_ms, sleep_us};

/// Nobody may make no progress for so long. It only ends a hang.
const PATIENCE_MS: u64 = 60_000;

/// The processes of a round; those of one namespace live and die together.
const CREWS: [&[Part]; 12] = [
    &[Part::Consumer { group: 0, immune: true }],
    &[Part::Consumer { group: 1, immune: true }],
    &[Part::Consumer { group: 2, immune: true }],
    &[Part::Producer(0)],
    &[Part::Producer(1)],
    &[Part::Consumer { group: 0, immune: false }],
    &[Part::Observer],
    &[Part::Mover],
    &[Part::Churn],
    &[Part::Opener],
    &[Part::Producer(2), Part::Consumer { group: 0, immune: false }],
    &[Part::Consumer { group: 1, immune: false }, Part::Churn],
];

/// What was done to whom.
#[derive(Default, Debug)]
pub struct Figures {
    pub kills: u64,
    pub processes: u64,
    pub namespaces: u64,
    pub with_locks: u64,
    pub in_the_middle: u64,
    pub locks: BTreeMap<&'static str, u64>,
    pub aimed: u64,
    pub hit: u64,
}

pub struct Round<'a> {
    lib: Lib,
    pub path: PathBuf,
    pub options: Options,
    s: &'a State,
    rng: ChaCha8Rng,
    seeds: (u64, u64, u64),
    pids: [libc::pid_t; CREWS.len()],
    born: [u64; CREWS.len()],
    pub figures: Figures,
}

impl<'a> Round<'a> {
    pub fn new(lib: Lib, dir: &Path, s: &'a State, seed: u64, case: u64) -> Round<'a> {
        let mut rng = rng(seed, "sigkill", case);
        let retention = [DC_RETAIN_UNREAD, DC_RETAIN_LIVE, DC_RETAIN_RING][case as usize % 3];
        let options = Options {
            page_size: [65_536, 131_072][rng.random_range(0..2)],
            max_pages: rng.random_range(3..10),
            max_messages_per_page: rng.random_range(8..250),
            retention,
            checksum: if rng.random_range(0..4) == 0 { DC_CHECKSUM_OFF } else { DC_CHECKSUM_ON },
            stall_timeout_ms: [20, 100, 1000][rng.random_range(0..3)],
            ..Default::default()
        };
        let path = dir.join("channel");
        let (pids, born) = ([0; CREWS.len()], [0; CREWS.len()]);
        let seeds = (seed, case, 0);
        Round { lib, path, options, s, rng, seeds, pids, born, figures: Figures::default() }
    }

    /// Kill `kills` times and settle the accounts.
    pub fn run(&mut self, kills: u64, namespaces: bool, checked: &Checked) -> Result<()> {
        let (lib, path, options) = (self.lib, self.path.clone(), self.options);
        let made = process::spawn(&self.s.note, || reckoning::create(&lib, &path, &options))?;
        self.wait_for(made, "the process that creates the channel")?;
        let crews = if namespaces { CREWS.len() } else { CREWS.len() - 2 };
        for crew in 0..crews {
            self.start(crew)?;
            if crew + 1 == GROUPS {
                // Retention by the living needs somebody who always lives.
                while self.s.slots[..GROUPS].iter().any(|s| s.beat.load(SeqCst) < 4) {
                    self.look_after(&mut (0, now_ms()))?;
                    sleep_us(500);
                }
            }
        }
        let mut progress = (0, now_ms());
        for _ in 0..kills {
            sleep_us(self.rng.random_range(0..8000));
            let crew = self.rng.random_range(0..crews);
            let immune =
                CREWS[crew].iter().any(|p| matches!(p, Part::Consumer { immune: true, .. }));
            // In a ring nobody has to live.
            let crew = if immune && self.options.retention == DC_RETAIN_LIVE { 3 } else { crew };
            self.kill(crew)?;
            self.start(crew)?;
            self.look_after(&mut progress)?;
            checked.add(1);
        }
        self.finish(crews)
    }

    fn slot(crew: usize, member: usize) -> usize {
        CREWS[..crew].iter().map(|c| c.len()).sum::<usize>() + member
    }

    fn start(&mut self, crew: usize) -> Result<()> {
        let (lib, path, s) = (self.lib, &self.path, self.s);
        self.seeds.2 += 1;
        let (seed, case, birth) = self.seeds;
        let retention = self.options.retention;
        let live = |member: usize| {
            let slot = Round::slot(crew, member);
            let rng = rng(seed, "worker", case << 32 | birth << 8 | slot as u64);
            Worker { lib, s, path, slot, rng, retention }.run(CREWS[crew][member])
        };
        let pid = if CREWS[crew].len() == 1 {
            process::spawn(&s.note, || live(0))?
        } else {
            let init = || {
                let mut pids = Vec::new();
                for member in 0..CREWS[crew].len() {
                    pids.push(process::spawn(&s.note, || live(member))?);
                }
                reap(&mut pids)
            };
            let pid = process::spawn_in_namespace(&s.note, init)?;
            pid.context("namespaces were to be had a moment ago")?
        };
        (self.pids[crew], self.born[crew]) = (pid, now_ms());
        Ok(())
    }

    /// End a crew, some way or other.
    fn kill(&mut self, crew: usize) -> Result<()> {
        let pid = self.pids[crew];
        let mut victims = vec![pid];
        if CREWS[crew].len() > 1 {
            self.figures.namespaces += 1;
            victims.extend(children(pid));
        } else {
            match self.rng.random_range(0..4) {
                0 => {}
                1 => {
                    // SAFETY: our child.
                    unsafe { libc::kill(pid, libc::SIGSTOP) };
                }
                _ => self.aim_at(pid, CREWS[crew][0])?,
            }
        }
        let mut held = BTreeMap::new();
        for victim in &victims {
            for (kind, n) in locks::held(*victim, &self.path) {
                *held.entry(kind).or_default() += n;
            }
        }
        let status = process::kill(pid);
        ensure!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL,
            "{:?} ended by itself: {}: {}",
            CREWS[crew],
            describe(status),
            self.s.note.get().unwrap_or_default()
        );
        for (member, part) in CREWS[crew].iter().enumerate() {
            if let Part::Consumer { group, .. } = part {
                let slot = &self.s.slots[Round::slot(crew, member)];
                self.s.groups[*group].excused.fetch_add(slot.claims.load(SeqCst), SeqCst);
            }
        }
        let f = &mut self.figures;
        f.kills += 1;
        f.processes += victims.len() as u64;
        f.with_locks += u64::from(!held.is_empty());
        f.in_the_middle += u64::from(held.keys().any(|k| locks::is_brief(k)));
        held.into_iter().for_each(|(kind, n): (_, u64)| *f.locks.entry(kind).or_default() += n);
        Ok(())
    }

    fn aim_at(&mut self, pid: libc::pid_t, part: Part) -> Result<()> {
        let aim = aim::choose(part, &mut self.rng);
        let before = self.rng.random_range(0..2) == 0;
        let further = [0, 0, 1, 10, 100, 1000][self.rng.random_range(0..6)];
        let further = self.rng.random_range(0..=further);
        self.figures.aimed += 1;
        match aim::follow(pid, aim, before, further) {
            Followed::Hit => self.figures.hit += 1,
            Followed::Missed => {}
            Followed::Ended(status) => {
                let why = self.s.note.get().unwrap_or_default();
                bail!("process {pid} ended by itself: {}: {why}", describe(status));
            }
        }
        Ok(())
    }

    /// Nobody failed, nobody stands still.
    fn look_after(&mut self, progress: &mut (u64, u64)) -> Result<()> {
        if let Some(why) = self.s.note.get() {
            bail!("{why}");
        }
        let beats: u64 = self.s.slots.iter().map(|s| s.beat.load(SeqCst)).sum();
        let now = self.s.received() + beats;
        if now != progress.0 {
            *progress = (now, now_ms());
        }
        ensure!(now_ms() - progress.1 < PATIENCE_MS, "nobody does anything: {}", self.stuck());
        Ok(())
    }

    /// What everybody is in.
    fn stuck(&self) -> String {
        let call = |i: u32| CALLS.get((i as usize).wrapping_sub(1)).copied().unwrap_or("-");
        let calls = self.s.slots.iter().map(|s| call(s.call.load(SeqCst)));
        calls.collect::<Vec<_>>().join(" ")
    }

    /// Wait for a process to end well.
    fn wait_for(&mut self, pid: libc::pid_t, what: &str) -> Result<()> {
        let (mut beats, mut since) = (Vec::new(), now_ms());
        loop {
            if let Some(status) = process::ended(pid) {
                let why = self.s.note.get().unwrap_or_default();
                ensure!(status == 0, "{what}: {}: {why}", describe(status));
                return Ok(());
            }
            // Everybody's beat: each of them must go on, not only somebody.
            let now: Vec<_> = self.s.slots.iter().map(|s| s.beat.load(SeqCst)).collect();
            if now != beats {
                (beats, since) = (now, now_ms());
            }
            if now_ms() - since > PATIENCE_MS {
                bail!("{what} does not end: {}", self.stuck());
            }
            sleep_us(500);
        }
    }

    fn finish(&mut self, crews: usize) -> Result<()> {
        self.s.stop.store(1, SeqCst);
        let consumes = |c: usize| CREWS[c].iter().any(|p| matches!(p, Part::Consumer { .. }));
        for crew in (0..crews).filter(|&c| !consumes(c)) {
            self.wait_for(self.pids[crew], &format!("{:?} at the end", CREWS[crew]))?;
            self.pids[crew] = 0;
        }
        let (lib, s, path) = (self.lib, self.s, self.path.clone());
        let rng = rng(self.seeds.0, "drain", self.seeds.1);
        let retention = self.options.retention;
        let mut worker = Worker { lib, s, path: &path, slot: SLOTS - 1, rng, retention };
        let drain = process::spawn(&s.note, || super::consume::drain(&mut worker))?;
        self.wait_for(drain, "draining")?;
        for crew in (0..crews).filter(|&c| consumes(c)) {
            self.wait_for(self.pids[crew], &format!("{:?} at the end", CREWS[crew]))?;
            self.pids[crew] = 0;
        }
        self.settle()
    }

    fn settle(&mut self) -> Result<()> {
        let left = locks::left(&self.path);
        ensure!(left.is_empty(), "locks of nobody: {}", left.join("; "));
        for (group, name) in NAMES.iter().enumerate() {
            let g = &self.s.groups[group];
            let (name, excused) = (name.to_string_lossy(), g.excused.load(SeqCst));
            let (unnoted, late) = (g.unnoted.load(SeqCst), g.late.load(SeqCst));
            ensure!(unnoted <= excused, "{name}: {unnoted} flagged that nobody got ({excused})");
            ensure!(late <= excused, "{name}: {late} out of order, {excused} could be");
            if self.options.retention != DC_RETAIN_RING {
                let (missing, first) = self.s.missing(group);
                let lost = if group == super::state::ONCE { excused } else { 0 };
                ensure!(missing <= lost, "{name}: {missing} missing, the first is {first:?}");
            }
        }
        let (lib, path, options) = (self.lib, self.path.clone(), self.options);
        let check = process::spawn(&self.s.note, || reckoning::check(&lib, &path, &options))?;
        self.wait_for(check, "the check of what is left")
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        for pid in self.pids.iter().filter(|p| **p != 0) {
            process::kill(*pid);
        }
    }
}

/// The life of a namespace's first process: until all others have ended well.
fn reap(pids: &mut Vec<libc::pid_t>) -> Result<()> {
    while !pids.is_empty() {
        let mut status = 0;
        // SAFETY: valid pointer.
        let pid = unsafe { libc::waitpid(-1, &mut status, 0) };
        if pids.contains(&pid) {
            ensure!(status == 0, "a process in a namespace: {}", describe(status));
            pids.retain(|p| *p != pid);
        }
    }
    Ok(())
}

/// The children of a process, where the kernel tells.
fn children(pid: libc::pid_t) -> Vec<libc::pid_t> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default().split_whitespace().filter_map(|p| p.parse().ok()).collect()
}
