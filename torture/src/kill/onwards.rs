//! An image goes on in use: two processes at once, one sends, one receives, and a third checks what they leave.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::images::{apart, Bench};
use crate::driver::Driver;
use crate::history::{History, Rules};
use crate::trace::{Event, Image};

/// Ids that no scenario uses.
const IDS: u64 = 1 << 32;

/// Let two drivers use the image at the same time; then check it.
pub fn onwards(
    driver: &Driver,
    bench: &Bench,
    image: &Image,
    history: &History,
    rules: &Rules,
) -> Result<()> {
    let channel = bench.dir.join("onwards");
    let _ = std::fs::remove_dir_all(&channel);
    image.write_to(&channel)?;
    let result = used(driver, bench, &channel, history.clone(), rules).context("two go on with it");
    let _ = std::fs::remove_dir_all(&channel);
    result
}

fn used(
    driver: &Driver,
    bench: &Bench,
    channel: &Path,
    mut history: History,
    rules: &Rules,
) -> Result<()> {
    history.all_died();
    let seed = rules.seed / 64;
    let mut sends = "open k0 stall=60000 flags=1\nproducer p0 k0\n".to_string();
    for n in 0..6 {
        sends += &match (seed + n) % 4 {
            0 => format!("batch p0 {} 3 {}\n", IDS + 10 * n, 8 + seed % 90),
            _ => format!("send p0 {} {}\n", IDS + 10 * n, 8 + seed % 90),
        };
    }
    let (ack, prefetch) = (1 + seed % 2, seed / 2 % 3);
    let mut receives = format!(
        "open k0 stall=60000 flags=1\nsubscribe c0 k0 a ack={ack} prefetch={prefetch} flags=1\n"
    );
    for n in 0..8 + seed % 12 {
        receives += if ack == 2 && n % 3 == 2 { "ack c0 -1\n" } else { "recv c0\n" };
    }
    // Half of the time it dies with what it holds, claims made ahead included.
    let ends = if seed / 8 % 2 == 0 { "die\n" } else { "close-consumer c0\nclose k0\n" };
    receives += ends;
    let scripts = [sends, receives];
    let mut processes = Vec::new();
    for script in &scripts {
        processes.push(driver.start(script, channel, || {})?);
    }
    for process in &mut processes {
        while process.status.is_none() {
            process.wait(0)?;
        }
    }
    // What the second receives the first had sent by then: told in this order it makes sense.
    let mut told = String::new();
    for (script, process) in scripts.iter().zip(&mut processes) {
        let number = history.start(script)?;
        let log: Vec<Event> = process.log()?;
        told += &account(script, &log);
        log.iter()
            .try_for_each(|e| history.feed(number, e))
            .with_context(|| script.replace('\n', "; "))?;
        history.died(number);
    }
    history.at_once();
    apart(|| history.check(&bench.lib, channel, rules).map(drop)).context(told)
}

/// A script, and what each line of it came to: between the two there is no order.
fn account(script: &str, log: &[Event]) -> String {
    let mut text = String::new();
    for (op, line) in script.lines().enumerate() {
        let came_to = log.iter().find_map(|e| match e {
            Event::End { op: ended, outcome } if *ended == op => Some(outcome),
            _ => None,
        });
        let _ = match came_to {
            Some(o) if o.received.is_empty() => {
                write!(text, "{line}: {} ({} sent, the last at {:x})", o.code, o.sent, o.position)
            }
            Some(o) => {
                let got: Vec<_> = o.received.iter().map(|m| (m.id, m.position)).collect();
                write!(text, "{line}: {got:x?}")
            }
            None => write!(text, "{line}"),
        };
        let _ = writeln!(text);
    }
    text
}
