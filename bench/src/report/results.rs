//! What was measured, as it is kept between measuring and telling.

use serde::{Deserialize, Serialize};

use super::median;
use crate::peer::PeerName;
use crate::spec::{Outcome, Spec};
use crate::suite::{Experiment, Series, Unit};

/// What a peer reached in an experiment, round by round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub spec: Spec,
    pub outcomes: Vec<Outcome>,
    /// Why it took no part, or no longer.
    pub why: Option<String>,
    /// That is a failure.
    pub failed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub experiment: Experiment,
    pub rows: Vec<Row>,
}

/// All of it, with what it was measured on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub machine: Vec<String>,
    pub versions: Vec<String>,
    /// Peers that could not be built, with the reason.
    pub missing: Vec<(String, String)>,
    pub date: String,
    pub command: String,
    /// What the numbers of messages were multiplied by.
    pub scale: f64,
    pub measured: Vec<Measured>,
}

impl Unit {
    pub fn of(self, spec: &Spec, outcome: &Outcome) -> f64 {
        match self {
            Unit::Messages => (spec.messages * spec.groups as u64) as f64 / outcome.seconds / 1e6,
            Unit::Bytes => (spec.messages * spec.size as u64) as f64 / outcome.seconds / 1e6,
            Unit::Rate => outcome.rate / 1e6,
            Unit::Durable => outcome.rate,
            Unit::Nanoseconds => outcome.percentiles[0] as f64,
            Unit::Tail => outcome.percentiles[4] as f64,
            Unit::Disk => outcome.disk_bytes as f64 / spec.messages as f64,
            Unit::Opening => outcome.opening[0] as f64 / 1e6,
            Unit::Calls => outcome.calls,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Unit::Messages | Unit::Rate => "million messages/s",
            Unit::Bytes => "MB/s",
            Unit::Durable => "messages/s",
            Unit::Nanoseconds => "ns, p50",
            Unit::Tail => "ns, p99.99",
            Unit::Disk => "B a message",
            Unit::Opening => "ms",
            Unit::Calls => "calls a million",
        }
    }

    pub fn more_is_better(self) -> bool {
        matches!(self, Unit::Messages | Unit::Bytes | Unit::Rate | Unit::Durable)
    }

    /// How many times better `ours` is.
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        if self.more_is_better() {
            ours / theirs
        } else {
            theirs / ours
        }
    }
}

impl Row {
    pub fn values(&self, unit: Unit) -> Vec<f64> {
        self.outcomes.iter().map(|o| unit.of(&self.spec, o)).collect()
    }

    /// The median over the rounds of something; `None`: it took no part.
    pub fn middle(&self, of: impl Fn(&Outcome) -> f64) -> Option<f64> {
        if self.why.is_some() || self.outcomes.is_empty() {
            return None;
        }
        Some(median(&mut self.outcomes.iter().map(of).collect::<Vec<_>>()))
    }
}

impl Measured {
    /// The row of a peer, as it is by default.
    pub fn row(&self, peer: PeerName) -> Option<&Row> {
        self.rows.iter().find(|r| r.spec.peer == peer && r.spec.variant.is_empty())
    }

    pub fn middle(&self, peer: PeerName) -> Option<f64> {
        let row = self.row(peer)?;
        row.middle(|o| self.experiment.unit.of(&row.spec, o))
    }

    /// How many times better ours is: the median of the ratios of each round, in which all ran one after the other.
    pub fn ratio(&self, row: &Row) -> Option<f64> {
        let ours = self.row(PeerName::Ours)?;
        if ours.why.is_some() || row.why.is_some() || row.outcomes.is_empty() {
            return None;
        }
        let unit = self.experiment.unit;
        let (ours, theirs) = (ours.values(unit), row.values(unit));
        let ratios = ours.iter().zip(&theirs).map(|(a, b)| unit.ratio(*a, *b));
        let mut ratios: Vec<f64> = ratios.filter(|r| !r.is_nan()).collect();
        (!ratios.is_empty()).then(|| median(&mut ratios))
    }

    pub fn ratio_to(&self, peer: PeerName) -> Option<f64> {
        self.ratio(self.row(peer)?)
    }

    /// The best of the others, and how many times better ours is.
    pub fn best_other(&self) -> Option<(&Row, f64)> {
        let others = self.rows.iter().filter(|r| r.spec.peer.is_other());
        let ratios = others.filter_map(|r| Some((r, self.ratio(r)?)));
        ratios.min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl Results {
    pub fn get(&self, id: &str) -> Option<&Measured> {
        self.measured.iter().find(|m| m.experiment.id == id)
    }

    /// The points of a plot, by what its horizontal axis has.
    pub fn series(&self, series: Series) -> Vec<(u64, &Measured)> {
        let mut points: Vec<(u64, &Measured)> = self
            .measured
            .iter()
            .flat_map(|m| m.experiment.points.iter().map(move |p| (p, m)))
            .filter(|((s, _), _)| *s == series)
            .map(|((_, x), m)| (*x, m))
            .collect();
        points.sort_by_key(|p| p.0);
        points
    }
}

#[cfg(test)]
pub mod tests {
    use std::path::Path;

    use super::*;

    /// An experiment of which each peer took so many seconds in each round, for a million messages.
    pub fn measured(id: &str, unit: Unit, peers: &[(PeerName, &[f64])]) -> Measured {
        let spec = |p| Spec::new(Path::new("lib"), p, 100, 1_000_000);
        let rows = peers.iter().map(|(peer, seconds)| Row {
            spec: spec(*peer),
            outcomes: seconds
                .iter()
                .map(|s| Outcome { seconds: *s, rate: 1e6 / s, ..Outcome::default() })
                .collect(),
            why: seconds.is_empty().then(|| "cannot | at all".to_string()),
            failed: false,
        });
        let rows: Vec<Row> = rows.collect();
        let specs = rows.iter().map(|r| r.spec.clone()).collect();
        Measured { experiment: Experiment::new(id, id, unit, specs), rows }
    }

    #[test]
    fn a_ratio_is_the_median_of_ratios_within_rounds() {
        let ours: &[f64] = &[1.0, 1.0, 2.0];
        let theirs: &[f64] = &[2.0, 3.0, 20.0];
        let two = [(PeerName::Ours, ours), (PeerName::Aeron, theirs), (PeerName::Mq, &[])];
        let speed = measured("a", Unit::Messages, &two);
        assert_eq!(speed.ratio_to(PeerName::Aeron), Some(3.0));
        assert_eq!(speed.ratio_to(PeerName::Mq), None);
        assert_eq!(speed.best_other().map(|b| b.0.spec.peer), Some(PeerName::Aeron));
        assert_eq!(speed.middle(PeerName::Ours), Some(1.0));
    }

    #[test]
    fn less_is_better_where_it_is() {
        assert_eq!(Unit::Nanoseconds.ratio(100.0, 300.0), 3.0);
        assert_eq!(Unit::Bytes.ratio(100.0, 300.0), 1.0 / 3.0);
    }
}
