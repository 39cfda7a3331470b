//! From outcomes to tables, plots and the document that has them.

mod document;
mod plots;
mod results;
mod summary;

use std::fmt::Write;

pub use document::write;
pub use results::{Measured, Results, Row};

use crate::peer::PeerName;
use crate::spec::{Outcome, Spec, Workload};
use crate::suite::{Series, Unit};

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// A number with about three digits that mean something.
pub fn figure(value: f64) -> String {
    match value {
        v if !v.is_finite() => "-".to_string(),
        v if v >= 100.0 => grouped(v.round() as u64),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace(['\n', '|'], " ")
}

/// What else is worth saying of a peer.
fn notes(row: &Row, unit: Unit) -> String {
    let Spec { workload, pace, seconds, messages, .. } = row.spec;
    let middle = |f: &dyn Fn(&Outcome) -> f64| row.middle(f).unwrap_or(f64::NAN);
    let percentile = |i: usize| figure(middle(&|o| o.percentiles[i] as f64));
    let million = messages as f64 / 1e6;
    match (workload, unit) {
        (Workload::RoundTrip, _) => {
            format!("p90 {}, p99 {}, p99.9 {}", percentile(1), percentile(2), percentile(3))
        }
        (_, Unit::Tail) if pace > 0 => format!(
            "p50 {}, p99 {}, p99.9 {}, most {}",
            percentile(0),
            percentile(2),
            percentile(3),
            percentile(5)
        ),
        (Workload::WriteThenRead | Workload::TasksInTurn, Unit::Messages) => format!(
            "wrote {}, read {}{}",
            figure(million / middle(&|o| o.writing)),
            figure(million / middle(&|o| o.seconds - o.writing)),
            match middle(&|o| o.disk_bytes as f64) {
                bytes if bytes > 0.0 =>
                    format!("; {:.0} B of disk a message", bytes / messages as f64),
                _ => String::new(),
            }
        ),
        (Workload::Open, _) => format!(
            "ready to receive after {} ms; {} MiB of memory",
            figure(middle(&|o| o.opening[1] as f64 / 1e6)),
            figure(middle(&|o| o.grown as f64 / 1048576.0))
        ),
        (Workload::Steady, _) => {
            format!("{} page faults a million", figure(middle(&|o| o.faults)))
        }
        (_, Unit::Rate) if seconds > 0.0 => format!(
            "slowest producer {} of the mean, slowest consumer {}",
            figure(middle(&|o| o.slowest[0])),
            figure(middle(&|o| o.slowest[1]))
        ),
        _ => String::new(),
    }
}

/// The table of one experiment.
pub fn table(measured: &Measured) -> String {
    let experiment = &measured.experiment;
    let unit = experiment.unit;
    let mut text = format!("### {}\n\n", capital(&experiment.title));
    if !experiment.note.is_empty() {
        let _ = write!(text, "{}\n\n", experiment.note);
    }
    let _ = write!(
        text,
        "| | {} | least, most | ours is better by | |\n|---|--:|--:|--:|---|\n",
        unit.name()
    );
    for row in &measured.rows {
        let title = row.spec.title();
        if let Some(why) = &row.why {
            let _ = writeln!(text, "| {title} | - | - | - | {} |", cell(why));
            continue;
        }
        let mut own = row.values(unit);
        let ratio = match (row.spec.peer, row.spec.variant.as_str()) {
            (PeerName::Ours, "") => "1".to_string(),
            _ => measured.ratio(row).map_or("-".to_string(), |r| format!("{} ×", figure(r))),
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
            notes(row, unit)
        );
    }
    text
}

/// With its first letter large.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// A list of lines.
fn listed(lines: &[String]) -> String {
    if lines.is_empty() {
        return "- none\n".to_string();
    }
    lines.iter().map(|l| format!("- {l}\n")).collect()
}

/// What a point of a plot has on its vertical axis.
fn height(series: Series, measured: &Measured, row: &Row) -> Option<f64> {
    let unit = match series {
        Series::Size => Unit::Bytes,
        _ => measured.experiment.unit,
    };
    row.middle(|o| unit.of(&row.spec, o))
}

/// The peers that have a figure in most points of a plot.
fn peers_of(points: &[(u64, &Measured)]) -> Vec<PeerName> {
    let has = |peer, m: &Measured| m.row(peer).is_some_and(|r| r.middle(|_| 0.0).is_some());
    let often = |peer| 2 * points.iter().filter(|(_, m)| has(peer, m)).count() > points.len();
    PeerName::ALL.into_iter().filter(|p| often(*p)).collect()
}

/// The table of a plot: a line a point, a column a peer.
pub fn series_table(results: &Results, series: Series, axis: &str) -> String {
    let points = results.series(series);
    let peers = peers_of(&points);
    let mut text = format!("| {axis} |");
    for peer in &peers {
        let _ = write!(text, " {} |", peer.title());
    }
    let _ = writeln!(text, "\n|--:|{}", "--:|".repeat(peers.len()));
    for (x, measured) in points {
        let _ = write!(text, "| {} |", figure_of_axis(x));
        for peer in &peers {
            let row = measured.row(*peer);
            let value = row.and_then(|r| height(series, measured, r));
            let Some((row, value)) = row.zip(value) else {
                text.push_str(" - |");
                continue;
            };
            let share = row.middle(|o| o.slowest[0].min(o.slowest[1])).unwrap_or(1.0);
            let share = match measured.experiment.unit {
                Unit::Rate => format!(" ({})", figure(share)),
                _ => String::new(),
            };
            let _ = write!(text, " {}{share} |", figure(value));
        }
        text.push('\n');
    }
    text
}

fn figure_of_axis(x: u64) -> String {
    grouped(x)
}

#[cfg(test)]
mod tests {
    use super::results::tests::measured;
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let figures = [0.123, 1.234, 12.34, 123.4, 12_345.6, 1_234_567.0].map(figure);
        assert_eq!(figures, ["0.12", "1.23", "12.3", "123", "12,346", "1,234,567"]);
    }

    #[test]
    fn the_middle_of_an_even_number() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn a_table_names_who_takes_no_part() {
        let rows: [(PeerName, &[f64]); 3] =
            [(PeerName::Ours, &[1.0]), (PeerName::DiskChan, &[10.0]), (PeerName::Mq, &[])];
        let text = table(&measured("stream", Unit::Messages, &rows));
        assert!(text.contains("| disk_chan (this library) | **1.00** | 1.00 to 1.00 | 1 |"));
        assert!(text.contains("| disk-chan 0.3.0 | **0.10** | 0.10 to 0.10 | 10.0 × |"));
        assert!(text.contains("| POSIX message queue | - | - | - | cannot   at all |"), "{text}");
    }
}
