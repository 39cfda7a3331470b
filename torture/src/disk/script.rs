//! Scripts for the driver, made from a seed: sends, acknowledgements, groups, roll-overs, and syncs between
//! them, on channels of every kind; and stops, at which something else makes the kernel write.

use std::fmt::Write;

use rand::seq::IndexedRandom;
use rand::Rng;

use crate::pool;

/// Scripts differ by number in kind, and by seed in what they do.
pub const KINDS: u64 = 8;

/// What a channel is, by number.
fn channel(number: u64) -> String {
    let (retention, pages) = [(3, 64), (1, 3), (3, 64), (1, 4)][(number % 4) as usize];
    let durability = [1, 3][(number / 2 % 2) as usize];
    let checksum = if number % KINDS >= 4 { 2 } else { 1 };
    let slots = [12, 40, 9, 16][(number % 4) as usize];
    format!("page=65536 pages={pages} slots={slots} retention={retention} durability={durability} checksum={checksum}")
}

/// A script of so many operations.
pub fn make(seed: u64, number: u64, operations: usize) -> String {
    let mut rng = pool::rng(seed, "script", number);
    let channel = channel(number);
    let mut script = format!("open k0 {channel}\nproducer p0 k0\n");
    let manual = rng.random_bool(0.5);
    let ack = if manual { 2 } else { 1 };
    let group = |c: usize, name: u64| format!("subscribe c{c} k0 g{name} ack={ack} flags=1\n");
    script += &group(0, 0);
    // Consumer n is of the group with the n-th of these numbers; no name is used twice.
    let (mut groups, mut names, mut id) = (vec![0], 1, 1_u64);
    let op = |script: &mut String, line: std::fmt::Arguments| {
        let _ = writeln!(script, "{line}");
    };
    for at in 0..operations {
        let len = *[8, 60, 300, 1500, 6000].choose(&mut rng).expect("not empty")
            + rng.random_range(0..90);
        match rng.random_range(0..100) {
            0..40 => {
                op(&mut script, format_args!("send p0 {id} {len}"));
                id += 1;
            }
            40..46 => {
                let count = rng.random_range(2..9);
                op(&mut script, format_args!("batch p0 {id} {count} {}", len.min(900)));
                id += count;
            }
            46..50 => {
                op(&mut script, format_args!("reserve p0 {id} {len}"));
                op(&mut script, format_args!("commit p0 {len}"));
                id += 1;
            }
            50..70 => {
                let c = rng.random_range(0..groups.len());
                for _ in 0..rng.random_range(1..6) {
                    op(&mut script, format_args!("recv c{c}"));
                }
                if manual && rng.random_bool(0.6) {
                    op(&mut script, format_args!("ack c{c} -1"));
                }
            }
            70..76 => op(&mut script, format_args!("sync p0")),
            76..84 => op(&mut script, format_args!("channel-sync k0")),
            84..86 => op(&mut script, format_args!("maintain k0")),
            86..87 => op(&mut script, format_args!("stats k0")),
            87..89 if groups.len() < 5 => {
                script += &group(groups.len(), names);
                groups.push(names);
                names += 1;
            }
            89..90 if at > operations / 2 && groups.len() > 1 => {
                let name = groups.pop().unwrap_or_default();
                op(&mut script, format_args!("close-consumer c{}", groups.len()));
                op(&mut script, format_args!("delete-group k0 g{name}"));
            }
            90..92 => {
                // All leave and come back.
                for c in 0..groups.len() {
                    op(&mut script, format_args!("close-consumer c{c}"));
                }
                op(&mut script, format_args!("close-producer p0"));
                op(&mut script, format_args!("close k0"));
                op(&mut script, format_args!("open k0 {channel}"));
                op(&mut script, format_args!("producer p0 k0"));
                for (c, name) in groups.iter().enumerate() {
                    script += &group(c, *name);
                }
            }
            _ => op(&mut script, format_args!("stop")),
        }
    }
    script
}
