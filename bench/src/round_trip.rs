//! One message to and fro, again and again, and how long each took.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::control::{now_ns, Control};
use crate::peer::Peer;
use crate::spec::{Spec, SHARES};

/// The message that goes to and fro.
pub const BALL: [u8; 64] = [7; 64];

/// Round trips before those that count.
fn warm(spec: &Spec) -> usize {
    (spec.messages / 4).min(5_000) as usize
}

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("percentiles")
}

pub fn role(spec: &Spec, peer: &dyn Peer, control: &Control, role: usize) -> Result<()> {
    let first = role == 0;
    let trips = peer.round_trips(first)?;
    control.ready_and_wait()?;
    let count = warm(spec) + spec.messages as usize;
    let mut times = trips(Turns { first, count, pause: Duration::from_micros(spec.pause) })?;
    control.ended(role);
    if first {
        let times = &mut times[warm(spec)..];
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        std::fs::write(file(&control.dir), serde_json::to_string(&SHARES.map(at))?)?;
    }
    Ok(())
}

pub fn percentiles(dir: &Path) -> Result<[u64; SHARES.len()]> {
    let text = std::fs::read_to_string(file(dir)).context("no percentiles were written")?;
    Ok(serde_json::from_str(&text)?)
}

/// How a process takes its part.
#[derive(Clone, Copy)]
pub struct Turns {
    /// It begins.
    pub first: bool,
    pub count: usize,
    /// Before each turn of the one who begins; untimed.
    pub pause: Duration,
}

impl Turns {
    /// Send and receive in turn, and take the time of each turn in nanoseconds.
    #[inline(always)]
    pub fn play(
        self,
        mut send: impl FnMut(&[u8]) -> Result<()>,
        mut receive: impl FnMut() -> Result<()>,
    ) -> Result<Vec<u64>> {
        let mut times = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            if self.first && !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
            let begin = now_ns();
            if self.first {
                send(&BALL)?;
            }
            receive()?;
            if !self.first {
                send(&BALL)?;
            }
            times.push(now_ns() - begin);
        }
        Ok(times)
    }
}

/// What came back is what was sent.
#[inline(always)]
pub fn same(message: &[u8]) -> Result<()> {
    ensure!(message == BALL, "another message came back");
    Ok(())
}
