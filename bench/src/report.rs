//! From outcomes to a table.

use std::fmt::Write;

use crate::peer::PeerName;
use crate::run::{Outcome, Spec, Workload};
use crate::suite::{Experiment, Unit};

/// What a peer reached in an experiment, round by round; an error: why it took no part.
pub struct Row {
    pub spec: Spec,
    pub outcomes: Result<Vec<Outcome>, String>,
}

impl Unit {
    fn of(self, spec: &Spec, outcome: &Outcome) -> f64 {
        match self {
            Unit::Messages => (spec.messages * spec.groups as u64) as f64 / outcome.seconds / 1e6,
            Unit::Bytes => (spec.messages * spec.size as u64) as f64 / outcome.seconds / 1e6,
            Unit::Nanoseconds => outcome.percentiles[0] as f64,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Messages => "million messages/s",
            Unit::Bytes => "MB/s",
            Unit::Nanoseconds => "ns, p50",
        }
    }

    /// How many times better `ours` is.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Unit::Nanoseconds => theirs / ours,
            _ => ours / theirs,
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// What else is worth saying of a peer.
fn notes(row: &Row, outcomes: &[Outcome]) -> String {
    let spec = &row.spec;
    let middle =
        |f: &dyn Fn(&Outcome) -> f64| median(&mut outcomes.iter().map(f).collect::<Vec<_>>());
    match spec.workload {
        Workload::Stream => String::new(),
        Workload::WriteThenRead => {
            let million = spec.messages as f64 / 1e6;
            format!(
                "wrote {}, read {}; {:.0} B of disk a message",
                figure(million / middle(&|o| o.writing)),
                figure(million / middle(&|o| o.seconds - o.writing)),
                middle(&|o| o.disk_bytes as f64) / spec.messages as f64
            )
        }
        Workload::RoundTrip => {
            let at = |i: usize| middle(&|o| o.percentiles[i] as f64);
            format!("p90 {:.0}, p99 {:.0}, p99.9 {:.0}", at(1), at(2), at(3))
        }
    }
}

/// The table of one experiment. The ratios are medians of the ratios of each round, in which all ran one after the other.
pub fn table(experiment: &Experiment, rows: &[Row]) -> String {
    let unit = experiment.unit;
    let values = |row: &Row| -> Option<Vec<f64>> {
        let outcomes = row.outcomes.as_ref().ok()?;
        Some(outcomes.iter().map(|o| unit.of(&row.spec, o)).collect())
    };
    let ours = rows.iter().find(|r| r.spec.peer == PeerName::Ours).and_then(values);
    let mut text = format!(
        "### {}\n\n| | {} | least, most | ours is better by | |\n|---|---|---|---|---|\n",
        experiment.title,
        unit.name()
    );
    for row in rows {
        let title = row.spec.peer.title();
        let (Some(mut own), Ok(outcomes)) = (values(row), &row.outcomes) else {
            let why = row.outcomes.as_ref().err().map_or("", String::as_str);
            let _ = writeln!(text, "| {title} | - | - | - | {} |", why.replace(['\n', '|'], " "));
            continue;
        };
        let mut ratios: Vec<f64> = match &ours {
            Some(ours) => ours.iter().zip(&own).map(|(a, b)| unit.ratio(*a, *b)).collect(),
            None => Vec::new(),
        };
        let ratio = match row.spec.peer {
            PeerName::Ours => "1".to_string(),
            _ => format!("{} ×", figure(median(&mut ratios))),
        };
        let middle = median(&mut own);
        let (least, most) =
            (own.first().copied().unwrap_or(middle), own.last().copied().unwrap_or(middle));
        let _ = writeln!(
            text,
            "| {title} | **{}** | {} to {} | {ratio} | {} |",
            figure(middle),
            figure(least),
            figure(most),
            notes(row, outcomes)
        );
    }
    text
}
