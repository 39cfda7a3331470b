//! How fast, and what flushing costs. Figures, not tests: what is asserted is that everything arrived.

use std::time::Instant;

use crate::common::channel::{self, Writer};
use crate::common::nats::{alone, server, Cluster, Settings};
use crate::common::scene::Scene;
use crate::common::until;

struct Case {
    name: &'static str,
    forward: &'static str,
    messages: u64,
}

const CASES: [Case; 3] = [
    Case { name: "one in flight", forward: "window = 1", messages: 3_000 },
    Case { name: "window 1,000", forward: "window = 1000", messages: 200_000 },
    Case { name: "100 packed", forward: "pack_messages = 100", messages: 1_000_000 },
];

/// Messages of 100 bytes a second, from a full channel.
fn measure(case: &Case, replicas: usize, jetstream: &str, divide: u64) {
    let settings = Settings { jetstream: jetstream.into(), ..Settings::default() };
    let mut scene = Scene::new(Cluster::start_with(replicas, &settings));
    let path = scene.cluster.dir.path().join("full.chan");
    (scene.channel, scene.path) = (channel::create(&path, 16 << 20), path);
    let count = case.messages / divide;
    let mut writer = Writer::new(&scene.channel, 100);
    // The first one makes the stream.
    writer.send(1);
    let setup = scene
        .setup()
        .with(
            "stream",
            &format!(
                "replicas = {replicas}\nallow_one_replica = true\nsubject = \"disk_chan.full\""
            ),
        )
        .with("forward", case.forward);
    let bridge = setup.start();
    scene.all_forwarded(&bridge);
    bridge.drain();
    writer.send(count);
    let bridge = setup.start();
    bridge.says("where things stand");
    let left = || channel::waiting(&scene.channel, "forwarder");
    let (begun, from) = (Instant::now(), left());
    until("all is forwarded", 300, || left() == 0);
    let rate = from as f64 / begun.elapsed().as_secs_f64();
    bridge.drain();
    let flushed = if jetstream.is_empty() { "" } else { ", sync_interval always" };
    println!("figure: R{replicas}, {}{flushed}: {rate:.0} messages/s", case.name);
    scene.verify(count + 1);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn figures() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    for replicas in [1, 3] {
        for case in &CASES {
            measure(case, replicas, "", 1);
        }
    }
    for case in &CASES {
        measure(case, 3, "sync_interval: always", 10);
    }
}
