//! What the figures come to: a line a workload, and where this library loses.

use std::fmt::Write;

use super::{capital, figure, listed, Measured, Results};
use crate::peer::PeerName;
use crate::suite::targets::{Reached, Target, TARGETS};

/// One line a workload.
pub fn summary(results: &Results) -> String {
    let mut text = String::from(
        "## Summary\n\n| workload | ours | best other | ratio | targets: reached |\n\
         |---|--:|--:|--:|---|\n",
    );
    for measured in results.measured.iter().filter(|m| m.experiment.table) {
        let experiment = &measured.experiment;
        let unit = experiment.unit;
        let ours = measured.middle(PeerName::Ours);
        let ours = ours.map_or("-".to_string(), |v| format!("{} {}", figure(v), unit.name()));
        let (other, ratio) = match measured.best_other() {
            Some((row, ratio)) => {
                let theirs = row.middle(|o| unit.of(&row.spec, o)).map_or("-".into(), figure);
                (format!("{}: {theirs}", row.spec.title()), format!("{} ×", figure(ratio)))
            }
            None => ("-".to_string(), "-".to_string()),
        };
        let _ = writeln!(
            text,
            "| {} | {ours} | {other} | {ratio} | {} |",
            capital(&experiment.title),
            reached(results, &experiment.id)
        );
    }
    for target in TARGETS.iter().filter(|t| t.experiment.starts_with("groups")) {
        let told = judged(results, target);
        let _ = writeln!(text, "| {SCALING} | | | | {told} |");
    }
    text
}

fn judged(results: &Results, target: &Target) -> String {
    match target.reached(results) {
        Some(Reached { text, met: true }) => format!("{}: {text}, met", target.text),
        Some(Reached { text, met: false }) => format!("{}: {text}, **not met**", target.text),
        None => format!("{}: not measured", target.text),
    }
}

fn reached(results: &Results, id: &str) -> String {
    let own = TARGETS.iter().filter(|t| t.experiment == id);
    own.map(|t| judged(results, t)).collect::<Vec<_>>().join("<br>")
}

/// What the figures say against this library.
pub fn losses(results: &Results) -> String {
    let (mut missed, mut unmeasured) = (Vec::new(), Vec::new());
    for target in TARGETS {
        let name = results.get(target.experiment).map_or(target.experiment, title);
        let line = format!("{}: {}", capital(name), target.text);
        match target.reached(results) {
            Some(Reached { met: true, .. }) => {}
            Some(Reached { text, .. }) => missed.push(format!("{line}: {text}")),
            None => unmeasured.push(line),
        }
    }
    let mut text = format!(
        "\n## Where we lose\n\nTargets that are not met:\n\n{}\nWorkloads in which another is faster, \
         or takes less:\n\n{}",
        listed(&missed),
        listed(&results.measured.iter().filter_map(slower).collect::<Vec<_>>())
    );
    if !unmeasured.is_empty() {
        let _ = write!(text, "\nTargets that were not measured:\n\n{}", listed(&unmeasured));
    }
    text
}

/// Targets of all the plots of scaling are kept with the first.
fn title(measured: &Measured) -> &str {
    let experiment = &measured.experiment;
    if experiment.table {
        &experiment.title
    } else {
        SCALING
    }
}

const SCALING: &str = "Fan-out, 1 to 64 producers and consumers";

/// Who is better than ours in this one.
fn slower(measured: &Measured) -> Option<String> {
    let unit = measured.experiment.unit;
    let others = measured.rows.iter().filter(|r| r.spec.peer.is_other());
    let better: Vec<String> = others
        .filter_map(|row| {
            let ratio = measured.ratio(row).filter(|r| *r < 1.0)?;
            let theirs = row.middle(|o| unit.of(&row.spec, o))?;
            Some(format!("{} {} ({} ×)", row.spec.title(), figure(theirs), figure(ratio)))
        })
        .collect();
    let title = capital(&measured.experiment.title);
    let ours = figure(measured.middle(PeerName::Ours)?);
    let better = (!better.is_empty()).then(|| better.join(", "))?;
    Some(format!("{title}: ours {ours} {}; {better}.", unit.name()))
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::measured;
    use super::*;
    use crate::suite::Unit;

    fn results() -> Results {
        let stream: [(PeerName, &[f64]); 4] = [
            (PeerName::Ours, &[1.0, 1.0]),
            (PeerName::DiskChan, &[20.0, 20.0]),
            (PeerName::Aeron, &[0.5, 0.5]),
            (PeerName::CrossbeamInline, &[]),
        ];
        let measured = vec![measured("stream", Unit::Messages, &stream)];
        Results { measured, ..Results::default() }
    }

    #[test]
    fn targets_are_told_met_or_not() {
        let text = summary(&results());
        assert!(text.contains("≥ 15 × disk-chan 0.3.0: 20.0 ×, met"), "{text}");
        assert!(text.contains("≥ 1.5 × Aeron IPC: 0.50 ×, **not met**"), "{text}");
        assert!(text.contains("≥ 4 × crossbeam inline: not measured"), "{text}");
        assert!(text.contains("Aeron IPC: 2.00 | 0.50 ×"), "{text}");
    }

    #[test]
    fn what_is_lost_is_said() {
        let text = losses(&results());
        assert!(text.contains("- Stream: ≥ 1.5 × Aeron IPC: 0.50 ×"), "{text}");
        assert!(
            text.contains("- Stream: ours 1.00 million messages/s; Aeron IPC 2.00 (0.50 ×)."),
            "{text}"
        );
    }
}
