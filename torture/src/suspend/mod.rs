//! `torture suspend`: one process stands still in the middle of a call, at any instruction; the others go
//! on. Then it is resumed, or killed.
//!
//! A case is a scene (a call, and the state of the channel around it) and forty points of that call: most of
//! them right after an instruction that changed a file of the channel or a system call, the others anywhere
//! in the library. For each point the scene is made anew, its process stepped to the point by ptrace and
//! left standing there, locks and all, while a fresh process opens, sends over the end of a page, receives
//! in the same group, in another one and as an observer, flushes, makes, moves and deletes a group. How
//! long each call took is kept. What everybody did stands in shared memory and is judged at the end.

mod log;
mod others;
mod scene;
mod stepper;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rand::seq::SliceRandom;
use rand::Rng;

use crate::abi::Lib;
use crate::pool::{describe, rng, Checked, Common, Run, Tally};
use crate::process::{self, now_ms, sleep_us, SharedMemory};
use log::{Kind, Log};
use scene::{Op, Scene, OPS, STALL};
use stepper::{Point, Stepper};

/// Points of a case.
const POINTS: u64 = 40;
/// Of these, anywhere in the library.
const ANYWHERE: u64 = 10;
/// A call that takes so many stall timeouts is too slow: generous, for a busy machine.
const TOO_SLOW: u64 = 30;

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// `--count`: points, forty a case at most; 10,080 if not said.
    #[command(flatten)]
    pub common: Common,
    /// With --only: this point of the case alone.
    #[arg(long)]
    pub point: Option<u64>,
}

/// What became of the points of one call.
#[derive(Default)]
struct Figures {
    points: AtomicU64,
    resumed: AtomicU64,
    killed: AtomicU64,
    /// By `Kind`: points at which such a call of the others waited for half a stall timeout or longer.
    delayed: [AtomicU64; 4],
    /// The longest such, in nanoseconds.
    longest: [AtomicU64; 4],
    busy: AtomicU64,
}

type Totals = [Figures; OPS.len()];

struct Case<'a> {
    lib: Lib,
    scene: Scene,
    scratch: &'a std::path::Path,
    figures: &'a Figures,
    loud: bool,
}

impl Case<'_> {
    /// Make the scene and let its process come to its mark.
    fn stage(&self, path: &std::path::Path, log: &Log) -> Result<Stepper> {
        let past = process::spawn(&log.note, || self.scene.past(&self.lib, path, log))?;
        let status = self.wait_for(past, log, "what was before")?;
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        let fine = killed || status == 0 && self.scene.op == Op::OpenNew;
        ensure!(fine, "before: {}: {}", describe(status), said(log));
        let target = process::spawn(&log.note, || self.scene.target(&self.lib, path, log))?;
        Stepper::new(target).with_context(|| format!("the target: {}", said(log)))
    }

    fn wait_for(&self, pid: libc::pid_t, log: &Log, what: &str) -> Result<i32> {
        let since = now_ms();
        loop {
            if let Some(status) = process::ended(pid) {
                return Ok(status);
            }
            if now_ms() - since > 40_000 {
                process::kill(pid);
                let call = others::CALLS.get(log.call.load(SeqCst) as usize).unwrap_or(&"?");
                bail!("{what} do not end: {call}");
            }
            sleep_us(50);
        }
    }

    fn points(&self) -> Result<Vec<Point>> {
        let dir = tempfile::Builder::new().prefix("suspend-").tempdir_in(self.scratch)?;
        let (path, log) = (dir.path().join("channel"), log()?);
        let mut stepper = self.stage(&path, &log)?;
        stepper.points(&path.to_string_lossy())
    }

    /// Suspend at one point, let others go on, resume or kill, and judge.
    fn point(&self, point: Point, kill: bool) -> Result<bool> {
        let dir = tempfile::Builder::new().prefix("suspend-").tempdir_in(self.scratch)?;
        let (path, log) = (dir.path().join("channel"), log()?);
        let log = &*log;
        let mut target = self.stage(&path, log)?;
        if !target.run_to(point)? {
            return Ok(false);
        }
        let run = |f: fn(&Scene, &Lib, &std::path::Path, &Log) -> Result<()>| {
            process::spawn(&log.note, || f(&self.scene, &self.lib, &path, log))
        };
        let others = run(others::others)?;
        let status = self.wait_for(others, log, "the others")?;
        ensure!(status == 0, "the others: {}: {}", describe(status), said(log));
        for kind in [Kind::Receive, Kind::Send, Kind::Open, Kind::Other] {
            let took = log.longest[kind as usize].load(SeqCst) / 1_000_000;
            ensure!(
                took < TOO_SLOW * u64::from(STALL),
                "slow: {kind:?} took {took} ms where the stall timeout is {STALL}"
            );
        }
        if !kill {
            target.resume(30_000).with_context(|| said(log))?;
            let code = log.code.load(SeqCst) as i32;
            let allowed = self.scene.allowed().contains(&code);
            ensure!(allowed, "resumed, its call returned {}", self.lib.name(code));
        }
        target.kill();
        let after = run(others::after)?;
        let status = self.wait_for(after, log, "those who come after")?;
        ensure!(status == 0, "after: {}: {}", describe(status), said(log));
        ensure!(!log.full(), "the log is too short");
        log::check(&log.events(), &self.scene.rules(kill))?;
        self.count(log, kill);
        Ok(true)
    }

    fn count(&self, log: &Log, kill: bool) {
        let f = self.figures;
        f.points.fetch_add(1, SeqCst);
        if kill { &f.killed } else { &f.resumed }.fetch_add(1, SeqCst);
        for kind in 0..4 {
            let waited = log.waited[kind].load(SeqCst);
            if waited > u64::from(STALL) * 500_000 {
                f.delayed[kind].fetch_add(1, SeqCst);
                f.longest[kind].fetch_max(waited, SeqCst);
            }
        }
        f.busy.fetch_add(u64::from(log.deleted.load(SeqCst) != 0), SeqCst);
        if self.loud {
            let ms = |k: Kind| log.waited[k as usize].load(SeqCst) / 1_000_000;
            println!(
                "    waited: receive {} ms, send {} ms, open {} ms, other {} ms",
                ms(Kind::Receive),
                ms(Kind::Send),
                ms(Kind::Open),
                ms(Kind::Other)
            );
        }
    }
}

fn said(log: &Log) -> String {
    log.note.get().unwrap_or_default()
}

fn log() -> Result<SharedMemory<Log>> {
    // SAFETY: atomics only.
    unsafe { SharedMemory::zeroed() }
}

/// Which points to try: most after a change or a system call, some anywhere in the library.
fn choose(points: &[Point], library: &[(u64, u64)], rng: &mut impl Rng) -> Vec<(Point, bool)> {
    let inside = |p: &&Point| library.iter().any(|l| (l.0..l.1).contains(&p.rip));
    let mut chosen = pick(points.iter().filter(|p| p.marked), POINTS - ANYWHERE, rng);
    chosen.extend(pick(points.iter().filter(inside), POINTS - chosen.len() as u64, rng));
    chosen.into_iter().map(|p| (p, rng.random_range(0..2) == 0)).collect()
}

/// Some of these, of as many different instructions as there are.
fn pick<'a>(from: impl Iterator<Item = &'a Point>, most: u64, rng: &mut impl Rng) -> Vec<Point> {
    let mut by_place: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
    from.for_each(|p| by_place.entry(p.rip).or_default().push(*p));
    let mut places: Vec<Vec<Point>> = by_place.into_values().collect();
    places.iter_mut().for_each(|p| p.shuffle(rng));
    places.shuffle(rng);
    let mut picked = Vec::new();
    while picked.len() < most as usize && !places.is_empty() {
        picked.extend(places.iter_mut().filter_map(Vec::pop).take(most as usize - picked.len()));
        places.retain(|p| !p.is_empty());
    }
    picked
}

fn case(
    a: &Arguments,
    lib: Lib,
    library: &[(u64, u64)],
    case: u64,
    totals: &Totals,
    checked: &Checked,
) -> Result<()> {
    let mut rng = rng(a.common.seed, "suspend", case);
    let scene = Scene::new(case, &mut rng);
    let figures = &totals[OPS.iter().position(|o| *o == scene.op).unwrap_or(0)];
    let loud = a.common.only.is_some();
    let here = Case { lib, scene, scratch: &a.common.scratch, figures, loud };
    let points = here.points()?;
    let chosen = choose(&points, library, &mut rng);
    if loud {
        println!("{scene:?}: {} instructions, {} points", points.len(), chosen.len());
    }
    let mut failures = Vec::new();
    for (n, (point, kill)) in chosen.iter().enumerate() {
        if a.point.is_some_and(|p| p != n as u64) {
            continue;
        }
        let words = || {
            let end = if *kill { "then killed" } else { "then resumed" };
            let place = stepper::place(point.rip);
            let Point { calls, steps, .. } = point;
            format!("point {n} (--point {n}), {calls} calls and {steps} instructions into {:?} at {place}, {end}", scene.op)
        };
        if loud {
            println!("  {}", words());
        }
        let mut result = here.point(*point, *kill);
        // A busy machine is slow now and then; what waits for somebody is slow every time.
        for _ in 0..2 {
            if result.as_ref().is_err_and(|e| e.to_string().starts_with("slow")) {
                result = here.point(*point, *kill);
            }
        }
        match result {
            Ok(true) => checked.add(1),
            Ok(false) => {}
            Err(e) => failures.push(format!("{}: {e:#}", words())),
        }
        // What waits for ever takes its time at every point.
        let enough = if a.common.fail_fast { 1 } else { 3 };
        if failures.len() >= enough {
            break;
        }
    }
    if !failures.is_empty() {
        bail!("{} of {} points: {}", failures.len(), chosen.len(), failures.join(" | "));
    }
    Ok(())
}

pub fn run(a: &Arguments) -> Result<Tally> {
    let count = a.common.count.unwrap_or(10_080);
    // SAFETY: counters only.
    let totals = unsafe { SharedMemory::<Totals>::zeroed() }?;
    let run = Run {
        kind: "suspend",
        common: &a.common,
        replay: String::new(),
        cases: count.div_ceil(POINTS),
        limit: Duration::from_secs(300),
        enough: None,
    };
    let name = a.common.lib.canonicalize().unwrap_or_default();
    let tally = run.all(
        |index| {
            crate::tracer::stay_on_one_cpu(index);
            let lib = Lib::load(&a.common.lib)?;
            let library = stepper::library(&name.to_string_lossy())?;
            ensure!(!library.is_empty(), "the library's code is not where it should be");
            Ok((lib, library))
        },
        |(lib, library), n, checked| case(a, *lib, library, n, &totals, checked),
    )?;
    report(&totals);
    Ok(tally)
}

fn report(totals: &Totals) {
    let n = |c: &AtomicU64| c.load(SeqCst);
    let sum = |f: &dyn Fn(&Figures) -> u64| totals.iter().map(f).sum::<u64>();
    println!(
        "suspend: {} points, {} resumed, {} killed; a stall timeout of {STALL} ms",
        sum(&|f| n(&f.points)),
        sum(&|f| n(&f.resumed)),
        sum(&|f| n(&f.killed))
    );
    let kinds = ["receiving", "sending", "opening", "other calls"];
    for (kind, name) in kinds.iter().enumerate() {
        println!(
            "  {name}: delayed (waited for half a stall timeout or more) at {} points, {} ms at most",
            sum(&|f| n(&f.delayed[kind])),
            totals.iter().map(|f| n(&f.longest[kind])).max().unwrap_or(0) / 1_000_000
        );
    }
    println!(
        "  subscribing to the very group whose deleter is suspended was refused at {} points",
        sum(&|f| n(&f.busy))
    );
    println!("  by call (points; delayed: receiving, sending, opening, other):");
    for (op, f) in OPS.iter().zip(totals).filter(|(_, f)| n(&f.points) > 0) {
        let delayed: Vec<_> = f.delayed.iter().map(|d| n(d).to_string()).collect();
        println!("    {:<14} {:>5}; {}", format!("{op:?}"), n(&f.points), delayed.join(", "));
    }
}
