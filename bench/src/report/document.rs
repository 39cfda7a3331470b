//! The document: a summary, every table and plot, where this library loses, and how to do it again.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::summary::{losses, summary};
use super::{listed, plots, series_table, table, Results};
use crate::suite::Series;

/// Write `BENCHMARKS.md` and the plots below `docs`.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let plots = docs.join("plots");
    std::fs::create_dir_all(&plots)?;
    plots::draw(results, &plots)?;
    let path = docs.join("BENCHMARKS.md");
    std::fs::write(&path, document(results)).with_context(|| path.display().to_string())
}

/// A part of the document: title, experiments, plots (file, title, series, axis).
struct Part {
    title: &'static str,
    experiments: &'static [&'static str],
    plots: &'static [Plot],
}

struct Plot {
    file: &'static str,
    title: &'static str,
    table: Option<(Series, &'static str)>,
}

const fn plot(file: &'static str, title: &'static str) -> Plot {
    Plot { file, title, table: None }
}

const fn series(
    file: &'static str,
    title: &'static str,
    series: Series,
    axis: &'static str,
) -> Plot {
    Plot { file, title, table: Some((series, axis)) }
}

const PARTS: &[Part] = &[
    Part {
        title: "Throughput",
        experiments: &[
            "stream",
            "processes",
            "batches",
            "four",
            "store",
            "tasks",
            "tasks-in-turn",
            "kib",
            "64kib",
        ],
        plots: &[series("sizes.svg", "Throughput by message size, MB/s", Series::Size, "bytes")],
    },
    Part {
        title: "Latency",
        experiments: &["trip", "trip-block", "trip-sleep", "trip-poll", "roll-over"],
        plots: &[
            plot("trip.svg", "Round trip, spinning"),
            plot("trip-sleep.svg", "Round trip, sleeping"),
            plot("roll-over.svg", "Time of a send"),
        ],
    },
    Part {
        title: "Durability",
        experiments: &["durable-1", "durable-8", "durable-1000"],
        plots: &[series(
            "durable.svg",
            "Durable messages a second, one a flush",
            Series::Committers,
            "producers",
        )],
    },
    Part { title: "Resources", experiments: &["space", "open", "steady"], plots: &[] },
    Part {
        title: "Scaling",
        experiments: &[],
        plots: &[
            series("producers.svg", "Producers, one consumer", Series::Producers, "producers"),
            series("consumers.svg", "One producer, consumers", Series::Consumers, "consumers"),
            series("both.svg", "As many consumers as producers", Series::Both, "of each"),
            series("groups.svg", "Fan-out: each group gets all", Series::Groups, "groups"),
        ],
    },
];

const SHARES: &str =
    "Million messages received a second, all consumers together, while everybody sends or \
    receives what he can for a second; in brackets the slowest producer's or consumer's share, \
    whichever is less, of the mean of its kind.\n\n";

fn document(results: &Results) -> String {
    let mut text = String::from(HEAD);
    if results.scale != 1.0 {
        let _ = write!(
            text,
            "**Numbers of messages were multiplied by {}: a trial, no measurement.**\n\n",
            results.scale
        );
    }
    text.push_str(&summary(results));
    text.push_str(&losses(results));
    for part in PARTS {
        let _ = write!(text, "\n## {}\n", part.title);
        for measured in part.experiments.iter().filter_map(|id| results.get(id)) {
            let _ = write!(text, "\n{}", table(measured));
        }
        if part.experiments.is_empty() {
            let _ = write!(text, "\n{}", SHARES.trim_end());
            text.push('\n');
        }
        for plot in part.plots {
            let _ = write!(text, "\n### {}\n\n", plot.title);
            if plots::has(results, plot.file) {
                let _ = write!(text, "![{}](plots/{})\n\n", plot.title, plot.file);
            }
            if let Some((series, axis)) = plot.table {
                text.push_str(&series_table(results, series, axis));
            }
        }
    }
    text.push_str(&how(results));
    text
}

const HEAD: &str = "# Benchmarks\n\n\
    Written by `make bench`: this library as it ships (the release build of `libdisk_chan.so`, \
    through its C interface) beside what else a user could take. Every timed run is a process of \
    its own; in each round every peer of a workload runs once, one after the other, with the \
    machine's free memory touched before; every byte received is checked for content and order. \
    Figures are medians over the rounds, ratios are medians of the ratios within each round: from \
    minute to minute the machine's speed changes, so only ratios within a round are worth quoting. \
    The checksum and the crash safety are on unless a line says otherwise; options are the \
    defaults but for lossless retention with 16 pages, and pages enough where everything is \
    written before it is read. What a channel forwards to a cluster has its figures in \
    [CLUSTER.md](CLUSTER.md#figures).\n\n";

/// The machine, the peers, the commands.
fn how(results: &Results) -> String {
    let mut text = String::from("\n## Machine, peers, commands\n\n");
    text.push_str(&listed(&results.machine));
    let _ = writeln!(text, "- {}", results.date);
    text.push_str(
        "- With one producer and one consumer each stays on a CPU of its own (thread or process); \
         runs with more are not pinned.\n",
    );
    text.push_str("\nPeers:\n\n");
    text.push_str(&listed(&results.versions));
    for (peer, why) in &results.missing {
        let _ = writeln!(text, "- {peer}: left out: {why}");
    }
    text.push_str("\nWhich settings each was given, and why, is at the head of its file in `bench/src/peer`.\n");
    let _ = write!(
        text,
        "\n```\nmake bench          # all of this\nmake bench-quick    # ours, \
        disk-chan 0.3.0 and crossbeam-channel, in two minutes\n{}\n```\n",
        results.command
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_left_out_is_named() {
        let missing = vec![("zeromq".to_string(), "no C++ compiler".to_string())];
        let text = document(&Results { missing, ..Results::default() });
        assert!(text.contains("- zeromq: left out: no C++ compiler"), "{text}");
    }

    #[test]
    fn a_document_is_written_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(&Results::default(), dir.path()).unwrap();
        assert!(dir.path().join("BENCHMARKS.md").exists());
    }

    #[test]
    fn every_experiment_with_a_table_is_in_a_part() {
        let full = crate::suite::full(Path::new("lib"), 1.0);
        for experiment in full.iter().filter(|e| e.table) {
            let id = experiment.id.as_str();
            assert!(PARTS.iter().any(|p| p.experiments.contains(&id)), "{id}");
        }
    }
}
