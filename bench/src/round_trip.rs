//! One message to and fro, again and again, and how long each took.

use std::path::Path;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::peer::Peer;
use crate::run::Spec;

/// Round trips before those that count.
const WARM: usize = 5_000;

fn file(dir: &Path) -> std::path::PathBuf {
    dir.join("percentiles")
}

pub fn role(spec: &Spec, peer: &dyn Peer, control: &Control, role: usize) -> Result<()> {
    let first = role == 0;
    let trips = peer.round_trips(first)?;
    control.ready_and_wait()?;
    let mut times = trips(WARM + spec.messages as usize)?;
    control.ended(role);
    if first {
        let times = &mut times[WARM..];
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let text = serde_json::to_string(&[at(0.5), at(0.9), at(0.99), at(0.999)])?;
        std::fs::write(file(&control.dir), text)?;
    }
    Ok(())
}

pub fn percentiles(dir: &Path) -> Result<[u64; 4]> {
    let text = std::fs::read_to_string(file(dir)).context("no percentiles were written")?;
    Ok(serde_json::from_str(&text)?)
}
