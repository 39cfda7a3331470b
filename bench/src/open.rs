//! How long a process that has never seen a channel takes to open it, and what memory that takes.

use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::control::{now_ns, Control};
use crate::machine;
use crate::payload::Checker;
use crate::peer;
use crate::run::role_command;
use crate::spec::{Outcome, Spec};

/// Have another process open what was written in `dir`.
pub fn measure(spec: &Spec, dir: &Path, outcome: Outcome) -> Result<Outcome> {
    Control::create(dir)?;
    let done = role_command(spec, dir, spec.producers)?.status()?.success();
    ensure!(done, "the process that opens it failed");
    let text = std::fs::read_to_string(dir.join("opened")).context("nothing was written")?;
    let (opening, grown) = serde_json::from_str(&text)?;
    Ok(Outcome { opening, grown, ..outcome })
}

/// The process that does it.
pub fn role(spec: &Spec, dir: &Path) -> Result<()> {
    let control = Control::join(dir)?;
    let number = spec.producers;
    let total = Some(spec.messages);
    let checker =
        Checker::new(&control, number, number..number + 1, spec.size, spec.producers, total);
    peer::load(spec)?;
    let (memory, begin) = (machine::resident(), now_ns());
    let opened = peer::join(spec, dir)?;
    let open = now_ns();
    let work = opened.consumer(0, checker)?;
    let ready = now_ns();
    let grown = machine::resident().saturating_sub(memory);
    let text = serde_json::to_string(&([open - begin, ready - begin], grown))?;
    std::fs::write(dir.join("opened"), text)?;
    // What was opened is what was written.
    work()
}
