//! One timed run, in a process of its own: makes the channel, starts a thread or a process for each role, lets
//! them go at once, and prints what it took as a line of JSON.

use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::control::{Control, ROLES};
use crate::histogram::Histogram;
use crate::machine;
use crate::maker::{Maker, Watch};
use crate::payload::Checker;
use crate::peer::{self, Peer};
use crate::spec::{Outcome, Spec, Workload, SHARES};
use crate::{open, round_trip, tasks, window};

/// Do what a role does, from the gate to its end.
pub fn role(spec: &Spec, peer: &dyn Peer, control: &Control, role: usize) -> Result<()> {
    if spec.pinned {
        machine::pin(role % machine::cpus());
    }
    if spec.workload == Workload::RoundTrip {
        return round_trip::role(spec, peer, control, role);
    }
    let work = if role < spec.producers {
        let maker = Maker::new(role, spec.size, spec.share(role), spec.batch, watch(spec, control));
        peer.producer(maker)?
    } else {
        let group = (role - spec.producers) / spec.consumers;
        let first = spec.producers + group * spec.consumers;
        let mates = first..first + spec.consumers;
        let total = if spec.seconds > 0.0 { None } else { Some(spec.messages) };
        let checker = Checker::new(control, role, mates, spec.size, spec.producers, total);
        peer.consumer(group, checker)?
    };
    control.ready_and_wait()?;
    work()?;
    control.ended(role);
    Ok(())
}

fn watch<'a>(spec: &Spec, control: &'a Control) -> Watch<'a> {
    if spec.pace > 0 {
        let (consumers, period) = (spec.consuming(), spec.pace);
        Watch::Pace { control, consumers, period, times: Box::default() }
    } else if spec.seconds > 0.0 {
        // As many as are flushed at once, or a few where nothing is: a flush takes long.
        let few = if spec.flush { 1 } else { 16 };
        Watch::Stop { control, every: few.max(spec.batch as u64) }
    } else {
        Watch::Nothing
    }
}

/// A role in a process of its own.
pub fn role_process(spec: &Spec, dir: &Path, number: usize) -> Result<()> {
    if spec.workload == Workload::Open {
        return open::role(spec, dir);
    }
    let control = Control::join(dir)?;
    let done = peer::join(spec, dir).and_then(|p| role(spec, &*p, &control, number));
    if done.is_err() {
        control.failed();
    }
    done
}

/// Start these roles and wait for all of them; where they stand behind the gate, open it.
fn roles(spec: &Spec, peer: &dyn Peer, control: &Control, which: Range<usize>) -> Result<()> {
    let count = which.len() as u32;
    if !spec.processes {
        return std::thread::scope(|scope| {
            let threads: Vec<_> = which
                .map(|number| {
                    scope.spawn(move || {
                        role(spec, peer, control, number).inspect_err(|e| {
                            eprintln!("role {number}: {e}");
                            control.failed()
                        })
                    })
                })
                .collect();
            let gate = control.let_go(count);
            let joined = threads
                .into_iter()
                .map(|t| t.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?);
            joined.collect::<Result<Vec<()>>>()?;
            gate
        });
    }
    let mut children = Vec::new();
    for number in which {
        children.push(role_command(spec, &control.dir, number)?.spawn().context("no new process")?);
    }
    let gate = control.let_go(count);
    let mut ends = Vec::new();
    for child in &mut children {
        ends.push(child.wait()?.success());
    }
    gate?;
    ensure!(ends.iter().all(|good| *good), "a role failed");
    Ok(())
}

/// This program as one role of a run.
pub fn role_command(spec: &Spec, dir: &Path, number: usize) -> Result<Command> {
    let text = serde_json::to_string(spec)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["role", "--spec", &text, "--number", &number.to_string(), "--dir"]).arg(dir);
    command.stdin(Stdio::null());
    Ok(command)
}

/// A run, start to end.
pub fn run(spec: &Spec, scratch: &Path) -> Result<Outcome> {
    ensure!(spec.roles() <= ROLES && spec.roles() > 0, "1 to {ROLES} roles");
    let temp = tempfile::Builder::new().prefix("disk-chan-bench-").tempdir_in(scratch)?;
    let dir = temp.path();
    if matches!(spec.workload, Workload::Tasks | Workload::TasksInTurn) {
        return tasks::run(spec, dir);
    }
    let mut outcome = Outcome::default();
    let peer = peer::create(spec, dir)?;
    match spec.workload {
        Workload::Stream | Workload::Steady => {
            let control = Control::create(dir)?;
            let run = || roles(spec, &*peer, &control, 0..spec.roles());
            let by = if spec.groups * spec.consumers > 0 { spec.consuming() } else { 0..1 };
            window::over(spec, &control, by, &mut outcome, run)?;
            outcome.seconds = control.seconds(0..spec.roles());
        }
        Workload::WriteThenRead => written_then_read(spec, dir, &*peer, &mut outcome)?,
        Workload::RoundTrip => {
            let control = Control::create(dir)?;
            roles(spec, &*peer, &control, 0..2)?;
            outcome.seconds = control.seconds(0..2);
            outcome.percentiles = round_trip::percentiles(dir)?;
        }
        Workload::Open => {
            roles(spec, &*peer, &Control::create(dir)?, spec.producing())?;
            outcome.disk_bytes = peer.disk_bytes();
            drop(peer);
            return open::measure(spec, dir, outcome);
        }
        Workload::Tasks | Workload::TasksInTurn => bail!("has no roles"),
    }
    if spec.pace > 0 {
        outcome.percentiles = times(dir, spec.producers)?;
    }
    outcome.disk_bytes = peer.disk_bytes();
    outcome.faults = machine::page_faults() as f64;
    Ok(outcome)
}

fn written_then_read(
    spec: &Spec,
    dir: &Path,
    peer: &dyn Peer,
    outcome: &mut Outcome,
) -> Result<()> {
    let control = Control::create(dir)?;
    let run = || roles(spec, peer, &control, spec.producing());
    window::over(spec, &control, spec.producing(), outcome, run)?;
    outcome.writing = control.seconds(spec.producing());
    let made: Vec<u64> = spec.producing().filter_map(|p| control.made_by(p)).collect();
    let control = Control::create(dir)?;
    for (producer, count) in made.into_iter().enumerate() {
        control.made_all(producer, count);
    }
    roles(spec, peer, &control, spec.consuming())?;
    outcome.seconds = outcome.writing + control.seconds(spec.consuming());
    Ok(())
}

/// Of the sends of all producers.
fn times(dir: &Path, producers: usize) -> Result<[u64; SHARES.len()]> {
    let mut all = Histogram::default();
    for producer in 0..producers {
        let path = dir.join(format!("times-{producer}"));
        all.add(&Histogram::read(&path).context("no times were written")?);
    }
    Ok(SHARES.map(|share| all.at(share)))
}

/// A run in a process of its own, after the machine's memory was warmed; `Err`: what it said last. `before`: what
/// runs it, with its arguments.
pub fn run_apart(spec: &Spec, scratch: &Path, limit: Duration, before: &[&str]) -> Result<Outcome> {
    machine::warm();
    let text = serde_json::to_string(spec)?;
    let own = std::env::current_exe()?;
    let mut command = match before.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(own);
            command
        }
        None => Command::new(own),
    };
    command.args(["one", "--spec", &text, "--scratch"]).arg(scratch);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("RUST_BACKTRACE", "0");
    // A group of its own, which ends with all that the run has started.
    let mut child = command.process_group(0).spawn()?;
    let begin = std::time::Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > limit {
            // SAFETY: plain integers; the child is not waited for yet, so the group is still its own.
            unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            child.wait()?;
            bail!("not done after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output()?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let why = err.trim().lines().next().unwrap_or("it failed and said nothing");
    ensure!(output.status.success(), "{}", why.trim_start_matches("Error: "));
    let last = out.trim().lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("a run printed {out:?}"))
}
