//! `groups`: every group's figures.

use disk_chan::raw::{Channel, GroupInfo};
use serde::Serialize;

use super::{open_to_look, print, print_json, MISSING};
use crate::args::Show;
use crate::fail::{Ended, Result};
use crate::units::count;

/// A group by the names that scripts rely on: `cli/README.md`.
#[derive(Serialize)]
struct Figures {
    /// `null` where the name is not UTF-8.
    name: Option<String>,
    name_hex: String,
    consumers: u64,
    position: u64,
    lag: u64,
    unacked: u64,
    redelivered: u64,
    lost: u64,
}

pub fn run(args: &Show) -> Ended {
    let groups = all(&open_to_look(&args.at.channel)?)?;
    if args.json {
        let figures = |(name, info): &(Vec<u8>, GroupInfo)| Figures {
            name: String::from_utf8(name.clone()).ok(),
            name_hex: name.iter().map(|b| format!("{b:02x}")).collect(),
            consumers: info.consumers,
            position: info.position,
            lag: info.lag,
            unacked: info.unacked,
            redelivered: info.redelivered,
            lost: info.lost,
        };
        return print_json(&groups.iter().map(figures).collect::<Vec<_>>());
    }
    let head = ["group", "consumers", "position", "lag", "unacked", "redelivered", "lost"];
    let mut rows = vec![head.map(String::from)];
    for (name, info) in &groups {
        rows.push([
            shown(name),
            info.consumers.to_string(),
            info.position.to_string(),
            count(info.lag),
            count(info.unacked),
            count(info.redelivered),
            count(info.lost),
        ]);
    }
    print(&table(&rows))
}

/// All groups of a channel, by name; one that is deleted meanwhile is left out.
pub fn all(channel: &Channel) -> Result<Vec<(Vec<u8>, GroupInfo)>> {
    let mut groups: Vec<(Vec<u8>, GroupInfo)> = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let name = match channel.group_next(after.as_deref()) {
            Ok(name) => name,
            Err(e) if e.code() == MISSING => return Ok(groups),
            Err(e) => return Err(e.into()),
        };
        match channel.group_stats(&name) {
            Ok(info) => groups.push((name.clone(), info)),
            Err(e) if e.code() == MISSING => {}
            Err(e) => return Err(e.into()),
        }
        after = Some(name);
    }
}

/// A group's name as text, whatever it holds.
pub fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.contains(char::is_control) => text.to_string(),
        _ => name.escape_ascii().to_string(),
    }
}

/// The first column to the left, the others to the right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        text += &format!("{:w$}", row[0], w = widths[0]);
        for (cell, w) in row.iter().zip(&widths).skip(1) {
            text += &format!("  {cell:>w$}");
        }
        text.push('\n');
    }
    text
}
