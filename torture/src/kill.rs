//! Kill at every instruction: each image of the channel's files between two instructions of a call is what a
//! SIGKILL there leaves, and is opened, drained and checked by a fresh process.
//!
//! A case is a scenario (`scenarios.rs`): set-up at full speed, then a script under the recorder (`tracer.rs`).
//! Each event of the recording that changed a file that has a name makes one image (`images.rs`); what must hold
//! of it follows from the calls that had returned, and the one that had not (`history.rs`). A share of
//! the images goes on in use by two processes at once (`onwards.rs`).

mod images;
mod onwards;
mod scenarios;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::driver::{Driver, Process};
use crate::history::{History, Rules, Tri};
use crate::pool::{Checked, Common, Run, Tally};
use crate::trace::{Event, Image};
use crate::tracer::{stay_on_one_cpu, Tracer};
use images::Bench;
use onwards::onwards;
use scenarios::{scenario, Scenario};

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// With --only: try this image alone.
    #[arg(long)]
    image: Option<u64>,
}

/// Where the boot id stands in `channel` (FORMAT.md, section 5).
const BOOT_ID: u64 = 9088;

/// `--count` counts images.
pub fn kill(a: &Arguments) -> Result<Tally> {
    let count = a.common.count.unwrap_or(20_000);
    let driver = Driver::build(&a.common.lib)?;
    let run = Run {
        kind: "kill",
        common: &a.common,
        replay: String::new(),
        cases: count / 20 + 20,
        limit: Duration::from_secs(300),
        enough: None,
    };
    let total = shared_counter()?;
    run.all(
        |index| {
            stay_on_one_cpu(index);
            images::bench(&a.common.lib, &a.common.scratch, index)
        },
        |bench, case, checked| {
            if total.load(SeqCst) >= count {
                return Ok(());
            }
            let case = Case {
                driver: &driver,
                bench,
                seed: a.common.seed,
                case,
                wordy: a.image.is_some(),
                verbose: a.common.only.is_some(),
            };
            case.run(
                a.image,
                &|n| {
                    total.fetch_add(n, SeqCst);
                    checked.add(n);
                },
                checked,
            )
        },
    )
}

fn shared_counter() -> Result<&'static AtomicU64> {
    let (prot, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, zeros, that stays for ever.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0);
        anyhow::ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Ok(&*at.cast())
    }
}

struct Case<'a> {
    driver: &'a Driver,
    bench: &'a Bench,
    seed: u64,
    case: u64,
    verbose: bool,
    wordy: bool,
}

impl Case<'_> {
    fn run(&self, only: Option<u64>, tried: &dyn Fn(u64), checked: &Checked) -> Result<()> {
        let scenario = scenario(self.seed, self.case);
        if self.verbose {
            for setup in &scenario.setups {
                println!("-- set-up, killed after changes: {:?}\n{}", setup.changes, setup.script);
            }
            println!("-- {}, reboot: {}\n{}", scenario.kind, scenario.reboot, scenario.stepped);
        }
        let channel = self.bench.dir.join("channel");
        let _ = std::fs::remove_dir_all(&channel);
        let mut history = History::default();
        // Alive, some of them, until the end of the case.
        let alive = self.set_up(&scenario, &mut history, &channel)?;
        checked.add(0);
        let result = self.step(&scenario, history, &channel, only, tried);
        drop(alive);
        let _ = std::fs::remove_dir_all(&channel);
        result.with_context(|| scenario.kind)
    }

    fn set_up(
        &self,
        scenario: &Scenario,
        history: &mut History,
        channel: &Path,
    ) -> Result<Vec<Process>> {
        let mut alive = Vec::new();
        for (at, setup) in scenario.setups.iter().enumerate() {
            let number = history.start(&setup.script)?;
            let feed = |history: &mut History, events: &[Event]| {
                events
                    .iter()
                    .try_for_each(|e| history.feed(number, e))
                    .with_context(|| format!("set-up {at}"))
            };
            if let Some(changes) = setup.changes {
                let mut tracer = Tracer::start(self.driver, &setup.script, channel)?;
                feed(history, &tracer.process.log()?)?;
                let mut events = Vec::new();
                let enough = |events: &[Event]| {
                    events.iter().filter(|e| e.changes()).count() as u64 >= changes
                };
                while !enough(&events) && tracer.next(&mut events)? {}
                feed(history, &events)?;
                drop(tracer);
                history.died(number);
                continue;
            }
            let mut process = self.driver.run(&setup.script, channel)?;
            feed(history, &process.log()?)?;
            if process.status.is_none() && !scenario.reboot {
                alive.push(process);
            } else {
                history.died(number);
            }
        }
        let file = channel.join("channel");
        if scenario.reboot && file.exists() {
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)?
                .write_all_at(&[0x5a; 16], BOOT_ID)?;
            history.reboot();
        }
        Ok(alive)
    }

    fn step(
        &self,
        scenario: &Scenario,
        mut history: History,
        channel: &Path,
        only: Option<u64>,
        tried: &dyn Fn(u64),
    ) -> Result<()> {
        let number = history.start(&scenario.stepped)?;
        let mut tracer = Tracer::start(self.driver, &scenario.stepped, channel)?;
        for event in tracer.process.log()? {
            history.feed(number, &event)?;
        }
        let mut image = tracer.image.clone();
        let mut events = Vec::new();
        let (mut at, mut n, mut goes_on) = (0, 0, true);
        while goes_on {
            goes_on = tracer.next(&mut events)?;
            while at < events.len() {
                let event = &events[at];
                history.feed(number, event)?;
                let visible = visible(&image, event);
                image.apply(event);
                at += 1;
                if !visible || !image.exists {
                    continue;
                }
                n += 1;
                // A long copy is thousands of images of the same kind.
                let sampled = n < 1_500 || n % 16 == self.case % 16;
                if only.map_or(sampled, |o| o == n) {
                    self.image(n, &image, &history, event, &tracer, at - 1)?;
                    tried(1);
                }
            }
        }
        Ok(())
    }

    /// One image.
    fn image(
        &self,
        n: u64,
        image: &Image,
        history: &History,
        event: &Event,
        tracer: &Tracer,
        at: usize,
    ) -> Result<()> {
        let rules =
            Rules { seed: self.seed ^ self.case.wrapping_mul(0x9E37_79B9) ^ n, ..Rules::default() };
        let words =
            || format!("image {n}, {}, {}", short(event), tracer.place_of(tracer.places[at]));
        if self.wordy {
            println!("{}", words());
        }
        let mut result = self.bench.check(image, history, &rules);
        if result.is_ok() && rules.seed % 64 == 0 && history.exists == Tri::Yes {
            result = onwards(self.driver, self.bench, image, history, &rules);
        }
        let Err(e) = result else { return Ok(()) };
        let kept = self.bench.keep(image, &format!("kill-{}-{}-{n}", self.seed, self.case))?;
        Err(e).with_context(|| format!("{} (--image {n}; the files: {})", words(), kept.display()))
    }
}

/// Whether an event changes what a fresh process would find.
fn visible(image: &Image, event: &Event) -> bool {
    let named = |file: &u32| image.names.values().any(|f| f == file);
    match event {
        Event::Store { file, .. } | Event::Resize { file, .. } | Event::Punch { file, .. } => {
            named(file)
        }
        other => other.changes(),
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Store { file, at, bytes } if bytes.len() <= 8 => {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            format!("file {file} at {at} = {:#x} ({} bytes)", u64::from_le_bytes(word), bytes.len())
        }
        Event::Store { file, at, bytes } => format!("file {file} at {at}, {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
