//! Runs that time ends: who sent and received how much within a second, while everybody was at it.

use std::ops::Range;
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::control::{now_ns, Control};
use crate::spec::{Outcome, Spec};

/// What part of the window passes before it begins.
const BEFORE: f64 = 0.2;

/// Do `run`; where time is to end it, count what the roles `by` do within the window, and then stop it.
pub fn over(
    spec: &Spec,
    control: &Control,
    by: Range<usize>,
    outcome: &mut Outcome,
    run: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if spec.seconds == 0.0 {
        return run();
    }
    let counted = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watched(spec, control));
        let done = run().inspect_err(|_| control.failed());
        let counted = watcher.join();
        done.map(|()| counted)
    })?;
    let Ok(Some(counted)) = counted else { anyhow::bail!("the watching thread failed") };
    ensure!(!control.has_run_out(), "messages ran out before time was up");
    outcome.rate = counted.counts[by].iter().sum::<u64>() as f64 / counted.seconds;
    outcome.slowest = [spec.producing(), spec.consuming()].map(|r| slowest(&counted.counts[r]));
    Ok(())
}

struct Counted {
    seconds: f64,
    counts: Vec<u64>,
}

/// What each role counted in the window; `None`: the run failed before.
fn watched(spec: &Spec, control: &Control) -> Option<Counted> {
    let counts = || (0..spec.roles()).map(|r| control.told(r)).collect::<Vec<u64>>();
    while control.begun() == 0 {
        if control.has_failed() {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(Duration::from_secs_f64(spec.seconds * BEFORE));
    let (from, before) = (now_ns(), counts());
    std::thread::sleep(Duration::from_secs_f64(spec.seconds));
    let (to, after) = (now_ns(), counts());
    control.stop();
    let counts = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    Some(Counted { seconds: (to - from) as f64 / 1e9, counts })
}

/// The least count, as a share of the mean; 1 where there is nobody.
fn slowest(counts: &[u64]) -> f64 {
    let sum: u64 = counts.iter().sum();
    match counts.iter().min() {
        Some(0) => 0.0,
        Some(least) => *least as f64 * counts.len() as f64 / sum as f64,
        None => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_share() {
        assert_eq!(slowest(&[10, 10, 10]), 1.0);
        assert_eq!(slowest(&[0, 10]), 0.0);
        assert_eq!(slowest(&[5, 10, 15]), 0.5);
        assert_eq!(slowest(&[0, 0]), 0.0);
        assert_eq!(slowest(&[]), 1.0);
    }
}
