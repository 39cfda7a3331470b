//! Starting states and the calls that are stepped: a case's number and the seed determine both.
//!
//! A scenario is a few drivers run at full speed (some die holding things, some in the middle of a call, some stay
//! alive but stopped), perhaps another boot id, and a script that is stepped. Kinds say what the stepped
//! script does most; everything else is drawn.

use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::fmt::Write;

/// A driver that runs before the stepped one.
pub struct Setup {
    pub script: String,
    /// Step its last calls (behind `stop`) for so many changes, and kill it.
    pub changes: Option<u64>,
}

pub struct Scenario {
    pub kind: &'static str,
    pub setups: Vec<Setup>,
    /// The machine is started anew between the set-up and the stepped script.
    pub reboot: bool,
    pub stepped: String,
}

/// What calls a script makes: name and weight.
type Mix = &'static [(&'static str, u32)];

struct Kind {
    name: &'static str,
    stepped: Mix,
    /// Calls stepped, at most.
    calls: u32,
    /// Drivers before.
    setups: u32,
    reboot: bool,
}

const ANY: Mix = &[
    ("send", 10),
    ("batch", 4),
    ("reserve", 3),
    ("recv", 10),
    ("recv-batch", 4),
    ("ack", 4),
    ("nack", 2),
    ("subscribe", 3),
    ("close-consumer", 2),
    ("close-producer", 1),
    ("producer", 1),
    ("seek", 1),
    ("sync", 1),
    ("maintain", 1),
    ("delete-group", 1),
    ("next-page", 1),
];

const fn kind(name: &'static str, stepped: Mix, calls: u32, setups: u32) -> Kind {
    Kind { name, stepped, calls, setups, reboot: false }
}

const KINDS: &[Kind] = &[
    kind("create", &[("send", 3), ("subscribe", 1), ("recv", 1)], 2, 0),
    kind("open", &[("stats", 1), ("send", 1), ("recv", 1)], 1, 3),
    kind("send", &[("send", 1)], 4, 2),
    kind("roll-over", &[("send", 4), ("batch", 1)], 9, 2),
    kind("batch", &[("batch", 1)], 2, 2),
    kind("reserve", &[("reserve", 3), ("send", 1)], 3, 2),
    kind("group creation", &[("subscribe", 4), ("recv", 1)], 3, 1),
    kind("receive", &[("recv", 3), ("recv-batch", 1), ("next-page", 1)], 6, 2),
    kind("acknowledge", &[("recv", 2), ("ack", 3), ("nack", 1), ("recv-batch", 1)], 6, 2),
    kind("adoption", &[("recv", 4), ("recv-batch", 1), ("ack", 1), ("nack", 1)], 5, 4),
    kind("seek", &[("seek", 3), ("recv", 2)], 4, 2),
    Kind {
        name: "recovery",
        stepped: &[("send", 1), ("recv", 1)],
        calls: 2,
        setups: 3,
        reboot: true,
    },
    kind("delete group", &[("delete-group", 3), ("subscribe", 1)], 2, 2),
    kind("destroy", &[("destroy", 1)], 1, 2),
    kind("flush", &[("sync", 2), ("send", 1), ("recv", 1)], 3, 2),
    kind("maintain", &[("maintain", 2), ("send", 2), ("recv", 1)], 4, 2),
    kind("close", &[("close-consumer", 2), ("close-producer", 1), ("close", 1)], 3, 2),
    kind("anything", ANY, 8, 3),
    kind("anything", ANY, 8, 3),
    kind("anything", ANY, 6, 4),
];

/// What a channel is.
struct Shape {
    pages: u32,
    slots: u32,
    retention: u32,
    checksum: u32,
    durability: u32,
}

/// Writes one script; knows what its calls may refer to.
struct Writer<'a> {
    rng: &'a mut ChaCha8Rng,
    shape: &'a Shape,
    next_id: &'a mut u64,
    /// Payloads are small where each store of the copy is an image.
    small: bool,
    text: String,
    producers: Vec<u32>,
    consumers: Vec<(u32, bool)>,
    handles: u32,
    open: bool,
}

impl Writer<'_> {
    fn line(&mut self, line: std::fmt::Arguments) {
        let _ = writeln!(self.text, "{line}");
    }

    fn open(&mut self) {
        let Shape { pages, slots, retention, checksum, durability } = *self.shape;
        self.line(format_args!(
            "open k0 page=65536 pages={pages} slots={slots} retention={retention} checksum={checksum} \
             durability={durability} stall=60000"
        ));
        self.open = true;
    }

    fn len(&mut self) -> u32 {
        let large = [3_000, 12_000, 30_000];
        if !self.small && self.rng.random_ratio(1, 12) {
            return *large.choose(self.rng).unwrap_or(&8);
        }
        *[8, 9, 20, 33, 64, 150].choose(self.rng).unwrap_or(&8)
    }

    fn ids(&mut self, count: u32) -> u64 {
        let id = *self.next_id;
        *self.next_id += u64::from(count);
        id
    }

    fn producer(&mut self) -> u32 {
        match self.producers.choose(self.rng) {
            Some(&p) => p,
            None => self.new_producer(),
        }
    }

    fn new_producer(&mut self) -> u32 {
        let p = self.handles;
        self.handles += 1;
        self.line(format_args!("producer p{p} k0"));
        self.producers.push(p);
        p
    }

    fn subscribe(&mut self) -> (u32, bool) {
        let c = self.handles;
        self.handles += 1;
        let group = ["a", "a", "a", "b", "-"][self.rng.random_range(0..5)];
        let ack = [1, 1, 2, 2, 3][self.rng.random_range(0..5)];
        let prefetch = [0, 0, 1, 2, 5][self.rng.random_range(0..5)];
        let unacked = if self.rng.random_ratio(1, 6) { 2 } else { 0 };
        let flags = u32::from(self.rng.random_ratio(1, 2));
        let start = if group == "b" { u64::MAX } else { 1 };
        self.line(format_args!(
            "subscribe c{c} k0 {group} ack={ack} prefetch={prefetch} max_unacked={unacked} flags={flags} start={start}"
        ));
        let made = (c, group != "-");
        self.consumers.push(made);
        made
    }

    fn consumer(&mut self) -> (u32, bool) {
        match self.consumers.choose(self.rng) {
            Some(&c) => c,
            None => self.subscribe(),
        }
    }

    fn call(&mut self, name: &str) {
        if !self.open {
            self.open();
        }
        match name {
            "send" => {
                let (p, len, id) = (self.producer(), self.len(), self.ids(1));
                let word = if self.rng.random_ratio(1, 6) { "sendv" } else { "send" };
                self.line(format_args!("{word} p{p} {id} {len}"));
            }
            "batch" => {
                let count = self.rng.random_range(2..=self.shape.slots * 2 + 2);
                let (p, len, id) = (self.producer(), self.len().min(150), self.ids(count));
                self.line(format_args!("batch p{p} {id} {count} {len}"));
            }
            "reserve" => self.reserve(),
            "producer" => drop(self.new_producer()),
            "subscribe" => drop(self.subscribe()),
            "close-producer" => {
                let p = self.producer();
                self.producers.retain(|&x| x != p);
                self.line(format_args!("close-producer p{p}"));
            }
            "close-consumer" => {
                let (c, grouped) = self.consumer();
                self.consumers.retain(|&x| x != (c, grouped));
                self.line(format_args!("close-consumer c{c}"));
            }
            "delete-group" => {
                self.consumers.clear();
                let group = ["a", "b"][self.rng.random_range(0..2)];
                self.line(format_args!("delete-group k0 {group}"));
            }
            "destroy" | "close" => {
                self.close();
                if name == "destroy" {
                    self.line(format_args!("destroy"));
                }
            }
            "maintain" => self.line(format_args!("maintain k0")),
            "stats" => self.line(format_args!("stats k0")),
            "sync" => {
                let p = self.producer();
                match self.rng.random_range(0..2) {
                    0 => self.line(format_args!("sync p{p}")),
                    _ => self.line(format_args!("channel-sync k0")),
                }
            }
            _ => self.consume(name),
        }
    }

    fn reserve(&mut self) {
        let (p, len, id) = (self.producer(), self.len(), self.ids(1));
        self.line(format_args!("reserve p{p} {id} {len}"));
        match self.rng.random_range(0..6) {
            0 => self.line(format_args!("abort p{p}")),
            // The reservation stays: other calls of this producer would be refused.
            1 => self.producers.retain(|&x| x != p),
            _ => {
                let len = if self.rng.random_ratio(1, 2) { len } else { len.min(8) };
                self.line(format_args!("commit p{p} {len}"));
            }
        }
    }

    fn consume(&mut self, name: &str) {
        let (c, grouped) = self.consumer();
        match name {
            "recv-batch" => {
                let most = self.rng.random_range(1..6);
                self.line(format_args!("recv-batch c{c} {most}"));
            }
            "next-page" => {
                self.line(format_args!("next-page c{c}"));
                self.line(format_args!("recv c{c}"));
            }
            "ack" if grouped => {
                let n = self.rng.random_range(-2..6);
                self.line(format_args!("ack c{c} {n}"));
            }
            "nack" if grouped => self.line(format_args!("nack c{c}")),
            "seek" if grouped => {
                let (n, m) = (self.rng.random_range(0..4), self.rng.random_range(0..4));
                let to = [
                    format!("got:{n}"),
                    format!("got:{n}+1"),
                    "earliest".into(),
                    "latest".into(),
                    format!("last:{m}"),
                ];
                let to = to[self.rng.random_range(0..5)].clone();
                self.line(format_args!("seek c{c} {to}"));
            }
            _ => self.line(format_args!("recv c{c}")),
        }
    }

    fn close(&mut self) {
        for p in std::mem::take(&mut self.producers) {
            self.line(format_args!("close-producer p{p}"));
        }
        for (c, _) in std::mem::take(&mut self.consumers) {
            self.line(format_args!("close-consumer c{c}"));
        }
        self.line(format_args!("close k0"));
        self.open = false;
    }

    fn calls(&mut self, mix: Mix, count: u32) {
        for _ in 0..count {
            if let Ok((name, _)) = mix.choose_weighted(self.rng, |m| m.1) {
                self.call(name);
            }
        }
    }
}

/// Case number `case`.
pub fn scenario(seed: u64, case: u64) -> Scenario {
    let mut rng = crate::pool::rng(seed, "kill", case);
    let kind = &KINDS[(case % KINDS.len() as u64) as usize];
    let shape = Shape {
        pages: rng.random_range(2..=4),
        slots: [2, 3, 4, 4, 6, 9][rng.random_range(0..6)],
        retention: [1, 1, 1, 2, 3][rng.random_range(0..5)],
        checksum: [1, 1, 2][rng.random_range(0..3)],
        durability: if kind.name == "flush" { [1, 3][rng.random_range(0..2)] } else { 1 },
    };
    let mut next_id = 1;
    let mut setups = Vec::new();
    let count = if kind.setups == 0 { 0 } else { rng.random_range(1..=kind.setups) };
    for at in 0..count {
        let mut w = writer(&mut rng, &shape, &mut next_id, false);
        w.open();
        let calls = w.rng.random_range(2..14);
        w.calls(ANY, calls);
        let last = at + 1 == count;
        let changes = match w.rng.random_range(0..10) {
            // Alive, but it lets others run: nothing can be destroyed, recovered or deleted then.
            0 | 1 if !["destroy", "recovery", "delete group"].contains(&kind.name) => {
                w.text.push_str("stop\n");
                None
            }
            2 => {
                w.close();
                None
            }
            3..=6 if last || kind.name == "adoption" => {
                w.text.push_str("stop\n");
                w.small = true;
                let calls = w.rng.random_range(1..4);
                w.calls(ANY, calls);
                Some(w.rng.random_range(1..120))
            }
            _ => {
                w.text.push_str("die\n");
                None
            }
        };
        setups.push(Setup { script: w.text, changes });
    }
    if kind.reboot && shape.checksum == 2 {
        // Without checksums only what was flushed is there after a reboot.
        let mut w = writer(&mut rng, &shape, &mut next_id, false);
        w.open();
        w.text.push_str("channel-sync k0\ndie\n");
        setups.push(Setup { script: w.text, changes: None });
    }
    let mut w = writer(&mut rng, &shape, &mut next_id, true);
    let steps_open =
        ["create", "open", "recovery", "destroy"].contains(&kind.name) || w.rng.random_ratio(1, 8);
    if steps_open {
        w.text.push_str("stop\n");
    } else {
        w.open();
        let calls = w.rng.random_range(0..6);
        w.calls(ANY, calls);
        w.text.push_str("stop\n");
    }
    let calls = w.rng.random_range(1..=kind.calls);
    w.calls(kind.stepped, calls);
    Scenario { kind: kind.name, setups, reboot: kind.reboot, stepped: w.text }
}

fn writer<'a>(
    rng: &'a mut ChaCha8Rng,
    shape: &'a Shape,
    next_id: &'a mut u64,
    small: bool,
) -> Writer<'a> {
    Writer {
        rng,
        shape,
        next_id,
        small,
        text: String::new(),
        producers: Vec::new(),
        consumers: Vec::new(),
        handles: 0,
        open: false,
    }
}
