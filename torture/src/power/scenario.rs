//! What is done before the power goes: scripts for the driver, drawn by chance within a flavour.

use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How a life of the channel ends before the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process is killed; another one goes on.
    Kill,
    /// The power goes; the machine comes up with one of the states.
    Cut,
}

/// Scripts, and what comes between them.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub flavour: &'static str,
    pub lives: Vec<String>,
    pub deaths: Vec<Death>,
}

const FLAVOURS: [&str; 8] =
    ["create", "sync", "always", "ring", "groups", "names", "destroy", "seek"];

impl Scenario {
    pub fn draw(case: u64, rng: &mut ChaCha8Rng) -> Scenario {
        let flavour = FLAVOURS[case as usize % FLAVOURS.len()];
        let deaths: Vec<Death> = match case as usize / FLAVOURS.len() % 5 {
            0 | 1 => vec![],
            2 => vec![Death::Kill],
            3 => vec![Death::Cut],
            _ => vec![Death::Cut, *[Death::Cut, Death::Kill].choose(rng).unwrap_or(&Death::Cut)],
        };
        let mut writer = Writer::new(flavour, rng);
        let count = deaths.len() + 1;
        let lives = (0..count).map(|life| writer.life(life, count, rng)).collect();
        Scenario { flavour, lives, deaths }
    }
}

struct Writer {
    flavour: &'static str,
    options: String,
    next_id: u64,
    slots: u64,
    lines: Vec<String>,
    consumers: usize,
    /// Consumers that are open: number, group.
    open: Vec<(usize, &'static str)>,
}

const GROUPS: [&str; 3] = ["a", "b", "c"];

impl Writer {
    fn new(flavour: &'static str, rng: &mut ChaCha8Rng) -> Writer {
        let ring = flavour == "ring";
        let slots = rng.random_range(2..=if ring { 3 } else { 6 });
        let retention = match flavour {
            "ring" if rng.random_bool(0.7) => 1,
            _ => rng.random_range(1..=3),
        };
        let pages = match (retention, flavour) {
            (1, "ring") => rng.random_range(2..=3),
            (1 | 2, _) => rng.random_range(2..=4),
            _ => rng.random_range(4..=8),
        };
        let durability = if flavour == "always" { 3 } else { 1 };
        let checksum = rng.random_range(1..=2);
        let options = format!(
            "page=65536 pages={pages} slots={slots} retention={retention} checksum={checksum} \
             durability={durability} stall=60000"
        );
        let (lines, open) = (Vec::new(), Vec::new());
        Writer { flavour, options, next_id: 1, slots, lines, consumers: 0, open }
    }

    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn life(&mut self, life: usize, lives: usize, rng: &mut ChaCha8Rng) -> String {
        self.lines.clear();
        self.open.clear();
        self.consumers = 0;
        // Later lives, and the making of a channel, are recorded from the first instruction on.
        let from_start = life > 0 || matches!(self.flavour, "create") || rng.random_ratio(1, 5);
        if from_start {
            self.line("stop");
        }
        let durability = if self.flavour == "always" { " durability=3" } else { "" };
        let open = match life {
            0 => format!("open k0 {}", self.options),
            // What a cut may have left is not always a channel.
            _ => format!("open k0 {}", self.options.clone() + durability),
        };
        self.line(open);
        self.line("producer p0 k0");
        if matches!(self.flavour, "groups" | "names" | "seek") || rng.random_ratio(1, 3) {
            self.subscribe(rng);
        }
        if !from_start {
            for _ in 0..rng.random_range(0..4) {
                self.step(rng);
            }
            self.line("channel-sync k0");
            self.line("stop");
        }
        let steps = match (self.flavour, lives) {
            ("create", _) => rng.random_range(1..5),
            ("ring", _) => rng.random_range(8..18),
            _ => rng.random_range(4..14),
        };
        for _ in 0..steps {
            self.step(rng);
        }
        if self.flavour == "destroy" {
            self.destroy(rng);
        }
        self.lines.join("\n")
    }

    fn id(&mut self, count: u64) -> u64 {
        self.next_id += count;
        self.next_id - count
    }

    fn len(rng: &mut ChaCha8Rng) -> u64 {
        match rng.random_range(0..8) {
            0 => 8,
            1 => rng.random_range(300..1200),
            _ => rng.random_range(9..64),
        }
    }

    fn step(&mut self, rng: &mut ChaCha8Rng) {
        let weights: [(&str, u32); 11] = match self.flavour {
            "create" | "sync" => [
                ("send", 8),
                ("batch", 3),
                ("sync", 4),
                ("channel-sync", 2),
                ("commit", 1),
                ("recv", 1),
                ("ack", 0),
                ("seek", 0),
                ("group", 0),
                ("delete", 0),
                ("maintain", 1),
            ],
            "always" => [
                ("send", 8),
                ("batch", 3),
                ("sync", 0),
                ("channel-sync", 1),
                ("commit", 2),
                ("recv", 2),
                ("ack", 1),
                ("seek", 0),
                ("group", 0),
                ("delete", 0),
                ("maintain", 1),
            ],
            "ring" => [
                ("send", 9),
                ("batch", 4),
                ("sync", 1),
                ("channel-sync", 1),
                ("commit", 1),
                ("recv", 1),
                ("ack", 0),
                ("seek", 0),
                ("group", 0),
                ("delete", 0),
                ("maintain", 2),
            ],
            "names" => [
                ("send", 4),
                ("batch", 1),
                ("sync", 1),
                ("channel-sync", 2),
                ("commit", 0),
                ("recv", 4),
                ("ack", 1),
                ("seek", 0),
                ("group", 4),
                ("delete", 4),
                ("maintain", 0),
            ],
            "seek" => [
                ("send", 4),
                ("batch", 2),
                ("sync", 1),
                ("channel-sync", 3),
                ("commit", 0),
                ("recv", 6),
                ("ack", 1),
                ("seek", 5),
                ("group", 1),
                ("delete", 0),
                ("maintain", 0),
            ],
            _ => [
                ("send", 5),
                ("batch", 2),
                ("sync", 1),
                ("channel-sync", 2),
                ("commit", 1),
                ("recv", 7),
                ("ack", 3),
                ("seek", 1),
                ("group", 1),
                ("delete", 1),
                ("maintain", 1),
            ],
        };
        let what = weights.choose_weighted(rng, |w| w.1).map_or("send", |w| w.0);
        match what {
            "batch" => {
                let count = rng.random_range(2..=self.slots + 1);
                let (id, len) = (self.id(count), Self::len(rng));
                self.line(format!("batch p0 {id} {count} {len}"));
            }
            "commit" => {
                let (id, len) = (self.id(1), Self::len(rng));
                self.line(format!("reserve p0 {id} {len}"));
                self.line(if rng.random_ratio(1, 5) {
                    "abort p0".to_string()
                } else {
                    format!("commit p0 {len}")
                });
            }
            "sync" => self.line("sync p0"),
            "channel-sync" => self.line("channel-sync k0"),
            "maintain" => self.line("maintain k0"),
            "group" => self.subscribe(rng),
            "delete" => self.delete(rng),
            "recv" | "ack" | "seek" => self.consume(what, rng),
            _ => {
                let (id, len) = (self.id(1), Self::len(rng));
                let call = if rng.random_ratio(1, 6) { "sendv" } else { "send" };
                self.line(format!("{call} p0 {id} {len}"));
            }
        }
    }

    fn subscribe(&mut self, rng: &mut ChaCha8Rng) {
        let group = GROUPS.choose(rng).copied().unwrap_or("a");
        let ack = rng.random_range(1..=3);
        let start =
            if rng.random_ratio(1, 4) { format!(" start={}", u64::MAX) } else { String::new() };
        let prefetch = rng.random_range(0..4);
        let c = self.consumers;
        self.consumers += 1;
        self.open.push((c, group));
        self.line(format!(
            "subscribe c{c} k0 {group} ack={ack} prefetch={prefetch} flags=1{start}"
        ));
    }

    fn consume(&mut self, what: &str, rng: &mut ChaCha8Rng) {
        let Some((c, _)) = self.open.choose(rng).copied() else { return self.subscribe(rng) };
        match what {
            "ack" if rng.random_ratio(1, 4) => self.line(format!("nack c{c}")),
            "ack" => self.line(format!("ack c{c} {}", -(rng.random_range(1..3)))),
            "seek" => {
                let to = match rng.random_range(0..5) {
                    0 => "earliest".to_string(),
                    1 => "latest".to_string(),
                    n => format!("got:{}+{}", rng.random_range(0..4), n % 2),
                };
                self.line(format!("seek c{c} {to}"));
            }
            _ if rng.random_ratio(1, 3) => {
                self.line(format!("recv-batch c{c} {}", rng.random_range(2..5)));
            }
            _ => self.line(format!("recv c{c}")),
        }
    }

    fn delete(&mut self, rng: &mut ChaCha8Rng) {
        let Some((_, group)) = self.open.choose(rng).copied() else { return };
        let of_group: Vec<usize> = self.open.iter().filter(|o| o.1 == group).map(|o| o.0).collect();
        for c in of_group {
            self.line(format!("close-consumer c{c}"));
        }
        self.open.retain(|o| o.1 != group);
        if rng.random_ratio(3, 4) {
            self.line(format!("delete-group k0 {group}"));
        }
    }

    fn destroy(&mut self, rng: &mut ChaCha8Rng) {
        for (c, _) in std::mem::take(&mut self.open) {
            self.line(format!("close-consumer c{c}"));
        }
        self.line("close-producer p0");
        self.line("close k0");
        self.line("destroy");
        if rng.random_bool(0.6) {
            self.line(format!("open k0 {}", self.options));
            self.line("producer p0 k0");
            for _ in 0..rng.random_range(0..4) {
                let (id, len) = (self.id(1), Self::len(rng));
                self.line(format!("send p0 {id} {len}"));
            }
            self.line("channel-sync k0");
        }
    }
}
