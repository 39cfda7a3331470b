//! Runs experiments, round by round, and keeps what they took.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::machine::said;
use crate::peer;
use crate::report::{Measured, Row};
use crate::run::run_apart;
use crate::spec::{Outcome, Spec, Workload};
use crate::suite::Experiment;

/// A run that takes longer failed.
const LIMIT: Duration = Duration::from_secs(300);

/// Every peer of an experiment in turn, again and again. `missing`: why peers were not built, by feature.
pub fn measure(
    experiment: &Experiment,
    rounds: usize,
    scratch: &Path,
    missing: &[(String, String)],
) -> Measured {
    let row = |spec: &Spec| Row {
        spec: spec.clone(),
        outcomes: Vec::new(),
        why: not_at_all(spec, missing),
        failed: false,
    };
    let mut rows: Vec<Row> = experiment.specs.iter().map(row).collect();
    let rounds = rounds.min(experiment.rounds);
    for round in 0..rounds {
        for row in rows.iter_mut().filter(|r| r.why.is_none()) {
            eprintln!("{} {}/{rounds}: {}", experiment.id, round + 1, row.spec.title());
            match once(&row.spec, scratch) {
                Ok(outcome) => row.outcomes.push(outcome),
                Err(e) => {
                    eprintln!("    failed: {e:#}");
                    row.why = Some(format!("failed: {e:#}"));
                    row.failed = true;
                }
            }
        }
    }
    Measured { experiment: experiment.clone(), rows }
}

/// Why it is not even tried.
fn not_at_all(spec: &Spec, missing: &[(String, String)]) -> Option<String> {
    if let Some(why) = peer::cannot(spec) {
        return Some(why.to_string());
    }
    if spec.workload == Workload::Steady && said("strace", &["-V"]).is_empty() {
        return Some("strace is not installed".to_string());
    }
    let feature = spec.peer.feature()?;
    match missing.iter().find(|m| m.0 == feature) {
        Some((_, why)) => Some(format!("left out: {why}")),
        None if spec.peer.is_built() => None,
        None => Some("left out: not built into this program".to_string()),
    }
}

fn once(spec: &Spec, scratch: &Path) -> Result<Outcome> {
    match spec.workload {
        Workload::Steady => steady(spec, scratch),
        _ => run_apart(spec, scratch, LIMIT, &[]),
    }
}

/// What a run of twice as many messages has more, in system calls and page faults.
fn steady(spec: &Spec, scratch: &Path) -> Result<Outcome> {
    let counts = tempfile::NamedTempFile::new_in(scratch)?;
    let file = counts.path().to_string_lossy().into_owned();
    let run = |messages: u64| -> Result<(f64, Outcome)> {
        let spec = Spec { messages, ..spec.clone() };
        let before = ["strace", "-f", "-qq", "-c", "-o", file.as_str()];
        let outcome = run_apart(&spec, scratch, LIMIT, &before).context("under strace")?;
        let text = std::fs::read_to_string(&file)?;
        Ok((calls(&text).context("no total in what strace wrote")?, outcome))
    };
    let (few, first) = run(spec.messages)?;
    let (many, second) = run(2 * spec.messages)?;
    let million = spec.messages as f64 / 1e6;
    Ok(Outcome {
        calls: (many - few).max(0.0) / million,
        faults: (second.faults - first.faults).max(0.0) / million,
        ..second
    })
}

/// The total of a table of `strace -c`: its last line, whose fourth column counts calls.
fn calls(text: &str) -> Option<f64> {
    let total = text.lines().rev().find(|l| l.trim_end().ends_with("total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerName;

    #[test]
    fn the_total_of_strace() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.000300           3       100         2 futex\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.000500           4       123         2 total\n";
        assert_eq!(calls(text), Some(123.0));
        assert_eq!(calls(""), None);
    }

    #[test]
    fn who_is_not_built_is_named_with_the_reason() {
        let spec = |p| Spec::new(Path::new("lib"), p, 100, 1000);
        let missing = [("aeron".to_string(), "cmake is too old".to_string())];
        let why = not_at_all(&spec(PeerName::Aeron), &missing);
        assert_eq!(why.as_deref(), Some("left out: cmake is too old"));
        assert_eq!(not_at_all(&spec(PeerName::Mq), &missing), None);
        let four = Spec { consumers: 4, ..spec(PeerName::Aeron) };
        assert!(not_at_all(&four, &missing).unwrap().contains("groups"));
    }
}
