//! One timed run, in a process of its own: makes the channel, starts a thread or a process for each role, lets
//! them go at once, and prints what it took as a line of JSON.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use serde::{Deserialize, Serialize};

use crate::control::{Control, ROLES};
use crate::machine;
use crate::payload::{Checker, Maker};
use crate::peer::{self, Peer, PeerName};
use crate::round_trip;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Producers and consumers at the same time.
    Stream,
    /// Everything is written, then everything is read.
    WriteThenRead,
    /// One message to and fro.
    RoundTrip,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub workload: Workload,
    pub peer: PeerName,
    pub producers: usize,
    /// Of each group.
    pub consumers: usize,
    pub groups: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages a call.
    pub batch: usize,
    /// Of all producers together.
    pub messages: u64,
    /// Roles are processes instead of threads.
    pub processes: bool,
    /// Each role stays on one CPU.
    pub pinned: bool,
    pub lib: PathBuf,
}

/// What it took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub seconds: f64,
    /// Of these: writing, where that came first.
    pub writing: f64,
    /// Nanoseconds of a round trip, at these percentiles: 50, 90, 99, 99.9.
    pub percentiles: [u64; 4],
    /// Bytes of disk that the channel took at its end, where it is on disk.
    pub disk_bytes: u64,
}

impl Spec {
    pub fn roles(&self) -> usize {
        self.producers + self.groups * self.consumers
    }

    fn share(&self, producer: usize) -> u64 {
        let (n, p) = (self.messages, self.producers as u64);
        n / p + u64::from((producer as u64) < n % p)
    }

    fn producing(&self) -> Range<usize> {
        0..self.producers
    }

    fn consuming(&self) -> Range<usize> {
        self.producers..self.roles()
    }
}

/// Do what a role does, from the gate to its end.
pub fn role(spec: &Spec, peer: &dyn Peer, control: &Control, role: usize) -> Result<()> {
    if spec.pinned {
        machine::pin(role % machine::cpus());
    }
    if spec.workload == Workload::RoundTrip {
        return round_trip::role(spec, peer, control, role);
    }
    let work = if role < spec.producers {
        let maker = Maker::new(role, spec.size, spec.share(role), spec.batch);
        peer.producer(maker)?
    } else {
        let group = (role - spec.producers) / spec.consumers;
        let first = spec.producers + group * spec.consumers;
        let mates = first..first + spec.consumers;
        let checker = Checker::new(control, role, mates, spec.size, spec.producers, spec.messages);
        peer.consumer(group, checker)?
    };
    control.ready_and_wait()?;
    work()?;
    control.ended(role);
    Ok(())
}

/// A role in a process of its own.
pub fn role_process(spec: &Spec, dir: &Path, number: usize) -> Result<()> {
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
                        role(spec, peer, control, number).inspect_err(|_| control.failed())
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
    let own = std::env::current_exe()?;
    let text = serde_json::to_string(spec)?;
    let mut children = Vec::new();
    for number in which {
        let mut command = Command::new(&own);
        command
            .args(["role", "--spec", &text, "--number", &number.to_string(), "--dir"])
            .arg(&control.dir);
        children.push(command.stdin(Stdio::null()).spawn().context("cannot start a role")?);
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

/// A run, start to end.
pub fn run(spec: &Spec, scratch: &Path) -> Result<Outcome> {
    ensure!(spec.roles() <= ROLES && spec.roles() > 0, "1 to {ROLES} roles");
    let temp = tempfile::Builder::new().prefix("disk-chan-bench-").tempdir_in(scratch)?;
    let dir = temp.path();
    let peer = peer::create(spec, dir)?;
    let mut outcome = Outcome::default();
    match spec.workload {
        Workload::Stream => {
            let control = Control::create(dir)?;
            roles(spec, &*peer, &control, 0..spec.roles())?;
            outcome.seconds = control.seconds(0..spec.roles());
        }
        Workload::WriteThenRead => {
            for which in [spec.producing(), spec.consuming()] {
                let control = Control::create(dir)?;
                roles(spec, &*peer, &control, which.clone())?;
                let seconds = control.seconds(which.clone());
                outcome.seconds += seconds;
                if which.start == 0 {
                    outcome.writing = seconds;
                }
            }
        }
        Workload::RoundTrip => {
            let control = Control::create(dir)?;
            roles(spec, &*peer, &control, 0..2)?;
            outcome.seconds = control.seconds(0..2);
            outcome.percentiles = round_trip::percentiles(dir)?;
        }
    }
    outcome.disk_bytes = peer.disk_bytes();
    Ok(outcome)
}

/// A run in a process of its own, after the machine's memory was warmed; `Err`: what it said last.
pub fn run_apart(spec: &Spec, scratch: &Path, limit: Duration) -> Result<Outcome> {
    machine::warm();
    let text = serde_json::to_string(spec)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["one", "--spec", &text, "--scratch"]).arg(scratch);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let begin = std::time::Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("not done after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output()?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}", err.trim());
    serde_json::from_str(out.trim()).with_context(|| format!("a run printed {out:?}"))
}
