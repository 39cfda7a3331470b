//! The plots, as SVG: lines of one colour a peer in all of them, on white, with a legend beside.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{figure, figure_of_axis, height, peers_of, Results};
use crate::peer::PeerName;
use crate::spec::SHARES;
use crate::suite::Series;

const SIZE: (u32, u32) = (860, 440);
const LEGEND: u32 = 230;

struct Kind {
    file: &'static str,
    title: &'static str,
    horizontal: &'static str,
    vertical: &'static str,
    of: Of,
    logarithmic: bool,
}

enum Of {
    Series(Series),
    /// Of an experiment's times.
    Percentiles(&'static str),
}

const fn series(
    file: &'static str,
    title: &'static str,
    horizontal: &'static str,
    vertical: &'static str,
    series: Series,
    logarithmic: bool,
) -> Kind {
    Kind { file, title, horizontal, vertical, of: Of::Series(series), logarithmic }
}

const fn times(file: &'static str, title: &'static str, experiment: &'static str) -> Kind {
    Kind {
        file,
        title,
        horizontal: "percentile",
        vertical: "nanoseconds",
        of: Of::Percentiles(experiment),
        logarithmic: true,
    }
}

const MILLIONS: &str = "million messages/s";
const KINDS: &[Kind] = &[
    series("sizes.svg", "Throughput by message size", "bytes", "MB/s", Series::Size, true),
    times("trip.svg", "Round trip of 64 B, spinning", "trip"),
    times("trip-sleep.svg", "Round trip of 64 B, sleeping", "trip-sleep"),
    times("roll-over.svg", "Time of a send of 100 B, two million a second", "roll-over"),
    series(
        "durable.svg",
        "Durable messages, one a flush",
        "producers",
        "messages/s",
        Series::Committers,
        true,
    ),
    series("producers.svg", "Many to one", "producers", MILLIONS, Series::Producers, false),
    series("consumers.svg", "One to many", "consumers", MILLIONS, Series::Consumers, false),
    series("both.svg", "Many to many", "of each", MILLIONS, Series::Both, false),
    series("groups.svg", "Fan-out", "groups", "million deliveries/s", Series::Groups, false),
];

/// The same everywhere; what is raw is grey.
fn colour(peer: PeerName) -> RGBColor {
    match peer {
        PeerName::Ours => RGBColor(0, 60, 160),
        PeerName::OursNoChecksum => RGBColor(90, 160, 230),
        PeerName::DiskChan => RGBColor(200, 30, 30),
        PeerName::Crossbeam => RGBColor(240, 150, 60),
        PeerName::CrossbeamInline => RGBColor(200, 95, 0),
        PeerName::Aeron => RGBColor(0, 130, 90),
        PeerName::Iceoryx2 => RGBColor(150, 60, 170),
        PeerName::Lmdb => RGBColor(120, 80, 40),
        PeerName::Sqlite => RGBColor(0, 150, 170),
        PeerName::Zeromq => RGBColor(220, 80, 150),
        PeerName::Mq => RGBColor(110, 120, 0),
        PeerName::Redis => RGBColor(160, 0, 70),
        PeerName::Raw => RGBColor(120, 120, 120),
    }
}

/// The names along the horizontal axis, and each peer's points: where on it, how high.
struct Lines {
    places: Vec<String>,
    peers: Vec<(PeerName, Vec<(i32, f64)>)>,
}

fn lines(results: &Results, of: &Of) -> Lines {
    match of {
        Of::Series(series) => {
            let points = results.series(*series);
            let line = |peer| {
                let height = |(i, (_, m)): (usize, &(u64, &super::Measured))| {
                    Some((i as i32, height(*series, m, m.row(peer)?)?))
                };
                (peer, points.iter().enumerate().filter_map(height).collect())
            };
            let peers = peers_of(&points).into_iter().map(line).collect();
            Lines { places: points.iter().map(|(x, _)| figure_of_axis(*x)).collect(), peers }
        }
        Of::Percentiles(id) => {
            let rows = results.get(id).map_or(&[][..], |m| &m.rows);
            let line = |row: &super::Row| {
                let at = |i: usize| Some((i as i32, row.middle(|o| o.percentiles[i] as f64)?));
                let points: Vec<_> = (0..SHARES.len()).filter_map(at).collect();
                (!points.is_empty()).then_some((row.spec.peer, points))
            };
            let place = |share: &f64| match share {
                share if *share == 1.0 => "most".to_string(),
                share => format!("{}", (share * 1e6).round() / 1e4),
            };
            let places = SHARES.iter().map(place).collect();
            Lines { places, peers: rows.iter().filter_map(line).collect() }
        }
    }
}

/// There is something to draw.
pub fn has(results: &Results, file: &str) -> bool {
    let kind = KINDS.iter().find(|k| k.file == file);
    kind.is_some_and(|k| {
        let lines = lines(results, &k.of);
        lines.places.len() > 1 && lines.peers.iter().any(|p| p.1.len() > 1)
    })
}

/// Draw all for which there are figures into this directory.
pub fn draw(results: &Results, directory: &Path) -> Result<()> {
    for kind in KINDS.iter().filter(|k| has(results, k.file)) {
        let path = directory.join(kind.file);
        plot(kind, &lines(results, &kind.of), &path)
            .map_err(|e| anyhow!("{}: {e}", path.display()))?;
    }
    Ok(())
}

type Drawn<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn plot(kind: &Kind, lines: &Lines, path: &Path) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(SIZE.0 - LEGEND);
    let heights = || lines.peers.iter().flat_map(|p| p.1.iter().map(|point| point.1));
    let most = heights().fold(f64::MIN_POSITIVE, f64::max);
    let least = heights().filter(|h| *h > 0.0).fold(most, f64::min);
    let places = 0..(lines.places.len() as i32 - 1);
    let mut builder = ChartBuilder::on(&left);
    builder
        .caption(kind.title, ("sans-serif", 20).into_font().color(&BLACK))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(78);
    let label = |place: &i32| lines.places.get(*place as usize).cloned().unwrap_or_default();
    // The two kinds of axis are two types.
    macro_rules! chart {
        ($vertical:expr) => {{
            let mut chart = builder.build_cartesian_2d(places, $vertical)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .bold_line_style(RGBColor(225, 225, 225))
                .x_labels(lines.places.len())
                .y_labels(16)
                .x_label_formatter(&label)
                .y_label_formatter(&|v| figure(*v))
                .x_desc(kind.horizontal)
                .y_desc(kind.vertical)
                .label_style(("sans-serif", 14).into_font().color(&BLACK))
                .draw()?;
            for (peer, points) in &lines.peers {
                let style = colour(*peer).stroke_width(width(*peer));
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                let dot = |point: &(i32, f64)| Circle::new(*point, 3, colour(*peer).filled());
                chart.draw_series(points.iter().map(dot))?;
            }
        }};
    }
    if kind.logarithmic {
        chart!((least / 1.4..most * 1.4).log_scale());
    } else {
        chart!(0.0..most * 1.1);
    }
    legend(&right, lines)?;
    root.present()?;
    Ok(())
}

fn width(peer: PeerName) -> u32 {
    if peer == PeerName::Ours {
        3
    } else {
        2
    }
}

/// The peers, in the order of their lines' ends.
fn legend(area: &DrawingArea<SVGBackend, plotters::coord::Shift>, lines: &Lines) -> Drawn {
    let mut peers: Vec<_> = lines.peers.iter().collect();
    let end = |points: &[(i32, f64)]| points.last().map_or(0.0, |p| p.1);
    peers.sort_by(|a, b| end(&b.1).total_cmp(&end(&a.1)));
    for (n, (peer, _)) in peers.into_iter().enumerate() {
        let y = 60 + 24 * n as i32;
        let style = colour(*peer).stroke_width(width(*peer) + 1);
        area.draw(&PathElement::new([(4, y), (28, y)], style))?;
        let font = ("sans-serif", 14).into_font().color(&BLACK);
        let font = font.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(peer.title().replace('`', ""), (36, y), font))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::measured;
    use super::*;
    use crate::suite::Unit;

    #[test]
    fn a_plot_has_a_line_a_peer() {
        let rows: [(PeerName, &[f64]); 3] =
            [(PeerName::Ours, &[1.0]), (PeerName::Aeron, &[2.0]), (PeerName::Mq, &[])];
        let point = |x| {
            let mut point = measured("p", Unit::Messages, &rows);
            point.experiment.points.push((Series::Size, x));
            point
        };
        let results = Results { measured: vec![point(100), point(16)], ..Results::default() };
        let dir = tempfile::tempdir().unwrap();
        assert!(has(&results, "sizes.svg") && !has(&results, "trip.svg"));
        draw(&results, dir.path()).unwrap();
        let svg = std::fs::read_to_string(dir.path().join("sizes.svg")).unwrap();
        assert!(svg.matches("<polyline").count() >= 2, "{svg}");
        assert!(svg.contains("Aeron IPC") && !svg.contains("POSIX"));
    }

    #[test]
    fn colours_differ() {
        for (n, peer) in PeerName::ALL.into_iter().enumerate() {
            for other in &PeerName::ALL[..n] {
                assert_ne!(colour(peer), colour(*other), "{}", peer.title());
            }
        }
    }
}
