//! One case: record the lives of a scenario, cut the power wherever it matters, check every state.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use anyhow::{ensure, Context, Result};
use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::check::{Checker, Found, OWN_IDS};
use super::disk::Disk;
use super::promise::{History, Promise, Tracker};
use super::scenario::{Death, Scenario};
use super::states::{Cut, State};
use super::{again, hooks, Arguments};
use crate::abi::Lib;
use crate::driver::Driver;
use crate::pool::{rng, Checked};
use crate::trace::{Event, FileId, Image};
use crate::tracer::{stay_on_one_cpu, Tracer};

/// One state in so many has its recovery cut again.
const AGAIN: u64 = 5;
/// One state in so many is tried on a real file system as well.
const REAL: u64 = 997;

/// What all workers did, in memory they share.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Figures {
    events: AtomicU64,
    cuts: AtomicU64,
    exhaustive_cuts: AtomicU64,
    exhaustive: AtomicU64,
    drawn: AtomicU64,
    distinct: AtomicU64,
    again: AtomicU64,
    real: AtomicU64,
}

impl Figures {
    pub fn shared() -> Result<&'static Figures> {
        let (len, prot) = (std::mem::size_of::<Figures>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping of zeros, which are valid; it stays for ever.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0);
            ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
            Ok(&*at.cast())
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let n = |a: &AtomicU64| a.load(SeqCst);
        write!(
            f,
            "{} events, {} cuts; {} states of {} cuts tried in full, {} drawn of the others; {} of them \
             different; {} cuts of recoveries; {} on a real file system too",
            n(&self.events),
            n(&self.cuts),
            n(&self.exhaustive),
            n(&self.exhaustive_cuts),
            n(&self.drawn),
            n(&self.distinct),
            n(&self.again),
            n(&self.real)
        )
    }
}

pub struct Worker {
    arguments: Arguments,
    checker: Checker,
    driver: Driver,
    dir: tempfile::TempDir,
    figures: &'static Figures,
    /// States checked by this process: gives each its own boot id.
    boots: u64,
}

/// A life as it was recorded.
struct Recorded {
    script: String,
    start: Image,
    /// Calls before the recording began.
    before: Vec<Event>,
    events: Vec<Event>,
}

impl Worker {
    pub fn new(a: &Arguments, index: usize, figures: &'static Figures) -> Result<Worker> {
        stay_on_one_cpu(index);
        let lib = Lib::load(&a.common.lib)?;
        hooks::bind(lib.dc_open as *const _)?;
        Ok(Worker {
            arguments: a.clone(),
            checker: Checker { lib, own_ids: OWN_IDS },
            driver: Driver::build(&a.common.lib)?,
            dir: tempfile::tempdir_in(&a.common.scratch)?,
            figures,
            boots: 0,
        })
    }

    pub fn case(&mut self, case: u64, checked: &Checked) -> Result<()> {
        let seed = self.arguments.common.seed;
        let mut rng = rng(seed, "power", case);
        let scenario = Scenario::draw(case, &mut rng);
        let mut lives = Lives::new();
        let last = scenario.lives.len() - 1;
        for life in 0..last {
            let recorded = self.record(&scenario.lives[life], &lives)?;
            match scenario.deaths[life] {
                Death::Kill => lives.kill(&recorded, &mut rng),
                Death::Cut => self.cut_between(&mut lives, &recorded, checked, &mut rng)?,
            }
        }
        let recorded = self.record(&scenario.lives[last], &lives)?;
        self.figures.events.fetch_add(recorded.events.len() as u64, SeqCst);
        if self.arguments.common.only.is_some() {
            for (life, script) in scenario.lives.iter().enumerate() {
                let death = scenario.deaths.get(life);
                eprintln!("{}, life {life}, then {death:?}:\n{script}", scenario.flavour);
            }
        }
        self.cuts(lives, &recorded, checked, case)
    }

    /// Step a driver through a script, on the channel as the lives before left it.
    fn record(&self, script: &str, lives: &Lives) -> Result<Recorded> {
        let channel = self.dir.path().join("channel");
        let _ = std::fs::remove_dir_all(&channel);
        lives.image().write_to(&channel)?;
        let mut tracer = Tracer::start(&self.driver, script, &channel)?;
        let before = tracer.process.log()?;
        let (start, mut events) = (tracer.image.clone(), Vec::new());
        tracer.finish(&mut events)?;
        Ok(Recorded { script: script.to_string(), start, before, events })
    }

    /// The power goes somewhere in a life, and the machine comes up with one of the states.
    fn cut_between(
        &mut self,
        lives: &mut Lives,
        recorded: &Recorded,
        checked: &Checked,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let events = lives.begin(recorded);
        let end = moment(&events, rng);
        events[..end].iter().for_each(|e| lives.apply(e));
        let cut = Cut::new(&lives.disk, rng);
        let state = cut.draw(rng.random_range(0..50), rng);
        let promise = lives.history.promise(&lives.disk);
        let found = self.in_memory(&cut, &state, &promise, None, checked);
        let found = found.with_context(|| format!("between lives:{}", cut.describe(&state)))?;
        checked.add(1);
        let image = cut.image(&state);
        *lives = Lives::reborn(image, &promise, &found);
        Ok(())
    }

    /// Cut before each flush and at the end.
    fn cuts(
        &mut self,
        mut lives: Lives,
        recorded: &Recorded,
        checked: &Checked,
        case: u64,
    ) -> Result<()> {
        let events = lives.begin(recorded);
        let cuts = events.iter().filter(|e| Disk::flushes(e)).count() as u64 + 1;
        let mut budget = self.arguments.states_per_case;
        let (mut number, mut at, mut distinct) = (0, 0, HashSet::new());
        for (index, event) in events.iter().map(Some).chain([None]).enumerate() {
            if event.is_none_or(Disk::flushes) {
                let mut rng = rng(self.arguments.common.seed, "cut", case << 16 | at);
                let cut = Cut::new(&lives.disk, &mut rng);
                let share = budget / (cuts - at);
                let promise = lives.history.promise(&lives.disk);
                let place = Place { case, cut: at, index, event, op: lives.op };
                let tried = self.states(
                    &cut,
                    &promise,
                    &place,
                    share,
                    &mut number,
                    checked,
                    &mut distinct,
                    &mut rng,
                )?;
                budget = budget.saturating_sub(tried).max(64 * (cuts - at));
                at += 1;
            }
            if let Some(event) = event {
                lives.apply(event);
            }
        }
        self.figures.cuts.fetch_add(cuts, SeqCst);
        self.figures.distinct.fetch_add(distinct.len() as u64, SeqCst);
        Ok(())
    }

    /// Try the states of one cut; how many.
    #[allow(clippy::too_many_arguments)]
    fn states(
        &mut self,
        cut: &Cut,
        promise: &Promise,
        place: &Place,
        share: u64,
        number: &mut u64,
        checked: &Checked,
        distinct: &mut HashSet<u64>,
        rng: &mut ChaCha8Rng,
    ) -> Result<u64> {
        let full = cut.exhaustive() && cut.states <= self.arguments.exhaustive;
        let count = if full { cut.states } else { share.max(64) };
        for n in 0..count {
            let state = if full { cut.nth(n) } else { cut.draw(n, rng) };
            let (this, wanted) = (*number, self.arguments.state);
            *number += 1;
            // Drawn even where it is not tried, for those after it to be the same.
            let again = rng.random::<u64>();
            if wanted.is_some_and(|w| w != this) {
                continue;
            }
            distinct.insert(cut.fingerprint(&state));
            let again = (again % AGAIN == 0 || wanted.is_some()).then_some(again);
            self.try_state(cut, &state, promise, again, this, checked).with_context(|| {
                let repeat = format!("--state {this}");
                format!("{repeat}: {place}; the disk has{}", cut.describe(&state))
            })?;
            checked.add(1);
        }
        let (cuts, states) = match full {
            true => (1, &self.figures.exhaustive),
            false => (0, &self.figures.drawn),
        };
        self.figures.exhaustive_cuts.fetch_add(cuts, SeqCst);
        states.fetch_add(count, SeqCst);
        Ok(count)
    }

    fn try_state(
        &mut self,
        cut: &Cut,
        state: &State,
        promise: &Promise,
        again: Option<u64>,
        number: u64,
        checked: &Checked,
    ) -> Result<()> {
        if self.arguments.state.is_some() {
            eprintln!("{promise:#x?}");
        }
        let found = self.in_memory(cut, state, promise, again, checked)?;
        if number % REAL == 0 || self.arguments.state.is_some() {
            let real = self.on_a_file_system(&cut.image(state), promise);
            let real = real.context("on a real file system")?;
            ensure!(
                real.messages.keys().eq(found.messages.keys()) && real.groups == found.groups,
                "a real file system and the disk in memory differ"
            );
            self.figures.real.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    fn in_memory(
        &mut self,
        cut: &Cut,
        state: &State,
        promise: &Promise,
        again: Option<u64>,
        checked: &Checked,
    ) -> Result<Found> {
        self.boots += 1;
        hooks::with(|ram| {
            ram.clear(self.boots);
            cut.load(state, ram);
            if let Some(again) = again {
                ram.plan((again >> 8) as u32 % 10);
            }
        });
        let found = self.checker.check(Path::new(hooks::CHANNEL), promise)?;
        let (open, snapshot, sound) = hooks::with(|ram| {
            let sound = self.boots % 1024 != 0 || ram.marks_are_true();
            (ram.opened(), ram.snapshot.take(), sound)
        });
        ensure!(open == 0, "{open} descriptors are left open");
        ensure!(sound, "harness: something was written where nothing was allocated");
        if let Some(snapshot) = snapshot {
            let tried = again::cut(&self.checker, &snapshot, promise, &found, &mut self.boots)
                .context("its recovery or use was cut again")?;
            self.figures.again.fetch_add(tried, SeqCst);
            checked.add(tried);
        }
        Ok(found)
    }

    fn on_a_file_system(&self, image: &Image, promise: &Promise) -> Result<Found> {
        let path = self.dir.path().join("state");
        let _ = std::fs::remove_dir_all(&path);
        other_boot(image.clone()).write_to(&path)?;
        let found = self.checker.check(&path, promise);
        let _ = std::fs::remove_dir_all(&path);
        found
    }
}

/// Where a cut is, for a report.
struct Place<'a> {
    case: u64,
    cut: u64,
    index: usize,
    event: Option<&'a Event>,
    op: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Place { case, cut, index, op, .. } = self;
        write!(f, "case {case}, cut {cut}, before event {index} ")?;
        match self.event {
            Some(event) => write!(f, "({event:?})")?,
            None => write!(f, "(the end)")?,
        }
        write!(f, " at line {op} of the script")
    }
}

/// An image under another boot than this one.
fn other_boot(mut image: Image) -> Image {
    const BOOT_ID: u64 = 9088;
    if let Some(file) = image.names.get("channel").copied() {
        image.file(file).write(BOOT_ID, &[0xb1; 16]);
    }
    image
}

/// The disk, and what is known of it, through all lives.
struct Lives {
    disk: Disk,
    history: History,
    /// The line of the script that is being run.
    op: usize,
}

impl Lives {
    fn new() -> Lives {
        let start = Image::default();
        Lives { disk: Disk::new(&start), history: History::new(Tracker::default()), op: 0 }
    }

    fn reborn(image: Image, promise: &Promise, found: &Found) -> Lives {
        // A channel that was being destroyed is gone when it is opened.
        let tracker = match found.slots != 0 {
            true => Tracker::reborn(promise, found),
            false => Tracker::default(),
        };
        let disk = Disk::new(&other_boot(image));
        Lives { disk, history: History::new(tracker), op: 0 }
    }

    /// The files as those who look now see them.
    fn image(&self) -> Image {
        let exists = matches!(self.disk.directories.last(), Some((_, Some(_))));
        let mut image = Image { exists, names: self.disk.names(), ..Image::default() };
        for file in image.names.values() {
            if let Some(inode) = self.disk.files.get(file) {
                image.files.insert(*file, inode.now.clone().into());
            }
        }
        image
    }

    /// A recorded life begins: its events, with the files numbered as here.
    fn begin(&mut self, recorded: &Recorded) -> Vec<Event> {
        let mut numbers: BTreeMap<FileId, FileId> = BTreeMap::new();
        let names = self.disk.names();
        if recorded.before.is_empty() {
            for (name, file) in &recorded.start.names {
                if let Some(ours) = names.get(name) {
                    numbers.insert(*file, *ours);
                }
            }
        } else {
            // What was done before is on the disk.
            self.disk = Disk::new(&recorded.start);
            numbers.extend(recorded.start.files.keys().map(|f| (*f, *f)));
        }
        let mut next = self.disk.files.keys().max().map_or(0, |f| f + 1);
        let mut ours = |file: FileId| {
            *numbers.entry(file).or_insert_with(|| {
                next += 1;
                next - 1
            })
        };
        let all = [&recorded.before[..], &recorded.events].concat();
        self.history.process(&recorded.script, &all);
        for event in &recorded.before {
            self.history.apply(event, &self.disk);
        }
        // What a destroyed channel left behind says nothing of the next one.
        let names = recorded.start.names.keys().filter(|_| self.history.has_channel());
        for name in names.collect::<Vec<_>>() {
            let named = Event::Rename { from: String::new(), to: name.clone() };
            self.history.apply(&named, &self.disk);
        }
        recorded
            .events
            .iter()
            .cloned()
            .map(|mut event| {
                match &mut event {
                    Event::Store { file, .. }
                    | Event::Create { file, .. }
                    | Event::Resize { file, .. }
                    | Event::Punch { file, .. }
                    | Event::SyncFile { file } => *file = ours(*file),
                    _ => {}
                }
                event
            })
            .collect()
    }

    fn apply(&mut self, event: &Event) {
        self.disk.apply(event);
        self.history.apply(event, &self.disk);
        if let Event::Begin { op } = event {
            self.op = *op;
        }
    }

    /// The process is killed somewhere in a life.
    fn kill(&mut self, recorded: &Recorded, rng: &mut ChaCha8Rng) {
        let events = self.begin(recorded);
        let end = moment(&events, rng);
        events[..end].iter().for_each(|e| self.apply(e));
        self.history.killed(&self.disk);
    }
}

/// Somewhere in a life; every other time between two system calls that change the disk.
fn moment(events: &[Event], rng: &mut ChaCha8Rng) -> usize {
    let call =
        |e: &Event| !matches!(e, Event::Store { .. } | Event::Begin { .. } | Event::End { .. });
    let calls: Vec<usize> = (0..events.len()).filter(|i| call(&events[*i])).collect();
    match calls.choose(rng) {
        Some(at) if rng.random_bool(0.5) => at + 1,
        _ => rng.random_range(0..=events.len()),
    }
}
