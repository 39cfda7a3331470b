//! What this library is to reach, as ratios within one run, and whether it does.

use crate::peer::PeerName::{self, *};
use crate::report::{figure, Measured, Results};
use crate::suite::{Series, Unit};

pub struct Target {
    pub experiment: &'static str,
    pub text: &'static str,
    pub check: Check,
}

pub enum Check {
    /// Better than a peer, so many times at least.
    Better(PeerName, f64),
    /// A time, at most so many times the peer's.
    Within(PeerName, f64),
    /// Writing, where reading follows: so many times the peer's speed at least.
    Writes(PeerName, f64),
    /// The third percentile, at most so many times the first.
    TailOfOwn(f64),
    /// The experiment's own figure, at most.
    AtMost(f64),
    /// So many times our own figure of another experiment at least.
    Own(&'static str, f64),
    /// Memory that opening takes, at most so many MiB more than with a hundredth of the messages.
    Grows(f64),
    /// The slowest share in every experiment of these plots, at least.
    Share(&'static [Series], f64),
    /// Messages a second in every experiment of these plots, at least so many times those of the first.
    Holds(&'static [Series], f64),
}

/// What was reached.
pub struct Reached {
    pub text: String,
    pub met: bool,
}

const fn target(experiment: &'static str, text: &'static str, check: Check) -> Target {
    Target { experiment, text, check }
}

const MANY: &[Series] = &[Series::Groups, Series::Producers, Series::Consumers, Series::Both];

pub const TARGETS: &[Target] = &[
    target("stream", "≥ 15 × disk-chan 0.3.0", Check::Better(DiskChan, 15.0)),
    target("stream", "≥ 1.5 × Aeron IPC", Check::Better(Aeron, 1.5)),
    target("stream", "≥ 4 × crossbeam inline", Check::Better(CrossbeamInline, 4.0)),
    target("processes", "≥ 1.5 × Aeron IPC", Check::Better(Aeron, 1.5)),
    target("batches", "≥ 3 × Aeron IPC", Check::Better(Aeron, 3.0)),
    target("four", "≥ 7 × disk-chan 0.3.0", Check::Better(DiskChan, 7.0)),
    target("four", "≥ crossbeam inline", Check::Better(CrossbeamInline, 1.0)),
    target("store", "≥ 5 × disk-chan 0.3.0 in total", Check::Better(DiskChan, 5.0)),
    target("store", "writes ≥ 1.5 × LMDB", Check::Writes(Lmdb, 1.5)),
    target("tasks", "≥ 7 × disk-chan 0.3.0", Check::Better(DiskChan, 7.0)),
    target("tasks-in-turn", "≥ 7 × disk-chan 0.3.0", Check::Better(DiskChan, 7.0)),
    target("kib", "≥ 0.8 × raw memcpy", Check::Better(Raw, 0.8)),
    target("kib", "≥ 1.5 × Aeron IPC", Check::Better(Aeron, 1.5)),
    target("64kib", "≥ 0.8 × raw memcpy", Check::Better(Raw, 0.8)),
    target("64kib", "≥ 1.5 × Aeron IPC", Check::Better(Aeron, 1.5)),
    target("trip", "p50 ≤ 1.25 × raw", Check::Within(Raw, 1.25)),
    target("trip", "p99 ≤ 2 × p50", Check::TailOfOwn(2.0)),
    target("trip-block", "p50 ≤ 1.1 × raw futex", Check::Within(Raw, 1.1)),
    target("trip-sleep", "p50 ≤ 1.1 × raw futex", Check::Within(Raw, 1.1)),
    target("trip-poll", "p50 ≤ 1.3 × raw eventfd", Check::Within(Raw, 1.3)),
    target("roll-over", "p99.99 < 20 µs", Check::AtMost(20_000.0)),
    target("durable-1", "≥ 0.9 × raw limit", Check::Better(Raw, 0.9)),
    target("durable-8", "≥ 5 × our single producer", Check::Own("durable-1", 5.0)),
    target("durable-1000", "≥ 1.3 × LMDB", Check::Better(Lmdb, 1.3)),
    target("space", "≤ 122 B a message", Check::AtMost(122.0)),
    target("open", "< 5 ms", Check::AtMost(5.0)),
    target("open", "memory does not grow with the channel", Check::Grows(1.0)),
    target("steady", "none a message (< 1 in 1,000)", Check::AtMost(1000.0)),
    target("groups-1", "slowest share ≥ 0.5 of the mean", Check::Share(MANY, 0.5)),
    target("groups-1", "no collapse: ≥ 0.25 × the first point", Check::Holds(MANY, 0.25)),
];

impl Target {
    /// `None`: it was not measured.
    pub fn reached(&self, results: &Results) -> Option<Reached> {
        let own = results.get(self.experiment)?;
        Some(match self.check {
            Check::Better(peer, least) => times(own.ratio_to(peer)?, |r| r >= least),
            Check::Within(peer, most) => times(1.0 / own.ratio_to(peer)?, |r| r <= most),
            Check::Writes(peer, least) => {
                let speed = |peer| Some(1.0 / own.row(peer)?.middle(|o| o.writing)?);
                times(speed(Ours)? / speed(peer)?, |r| r >= least)
            }
            Check::TailOfOwn(most) => {
                let at = |i: usize| own.row(Ours)?.middle(|o| o.percentiles[i] as f64);
                times(at(2)? / at(0)?, |r| r <= most)
            }
            Check::AtMost(most) => {
                let value = own.middle(Ours)?;
                let text = match own.experiment.unit {
                    Unit::Tail => format!("{} µs", figure(value / 1000.0)),
                    Unit::Disk => format!("{} B", figure(value)),
                    Unit::Opening => format!("{} ms", figure(value)),
                    _ => format!("{} a million", figure(value)),
                };
                Reached { text, met: value <= most }
            }
            Check::Own(other, least) => {
                times(own.middle(Ours)? / results.get(other)?.middle(Ours)?, |r| r >= least)
            }
            Check::Grows(most) => {
                let grown = |n: usize| own.rows.get(n)?.middle(|o| o.grown as f64 / 1048576.0);
                let more = grown(0)? - grown(1)?;
                Reached { text: format!("{} MiB more", figure(more.max(0.0))), met: more <= most }
            }
            Check::Share(series, least) => worst(results, series, share, least)?,
            Check::Holds(series, least) => collapse(results, series, least)?,
        })
    }
}

fn times(ratio: f64, met: impl Fn(f64) -> bool) -> Reached {
    Reached { text: format!("{} ×", figure(ratio)), met: met(ratio) }
}

/// The slower of the slowest producer and the slowest consumer.
fn share(measured: &Measured) -> Option<f64> {
    measured.row(Ours)?.middle(|o| o.slowest[0].min(o.slowest[1]))
}

/// The least of these, and where.
fn worst(
    results: &Results,
    series: &[Series],
    value: impl Fn(&Measured) -> Option<f64>,
    least: f64,
) -> Option<Reached> {
    let all = series.iter().flat_map(|s| results.series(*s)).filter_map(|(_, m)| {
        let found = value(m)?;
        Some((found, m.experiment.title.clone()))
    });
    let (worst, place) = all.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Reached { text: format!("{} ({place})", figure(worst)), met: worst >= least })
}

fn collapse(results: &Results, series: &[Series], least: f64) -> Option<Reached> {
    let mut worst: Option<(f64, String)> = None;
    for series in series {
        let points = results.series(*series);
        let first = points.first().and_then(|(_, m)| m.middle(Ours));
        for (_, measured) in points {
            let (Some(first), Some(own)) = (first, measured.middle(Ours)) else { continue };
            let held = own / first;
            if worst.as_ref().is_none_or(|w| held < w.0) {
                worst = Some((held, measured.experiment.title.clone()));
            }
        }
    }
    let (held, place) = worst?;
    Some(Reached { text: format!("{} × ({place})", figure(held)), met: held >= least })
}
