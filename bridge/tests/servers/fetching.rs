//! `fetch`: a stream into a channel, over crashes of the bridge and of nodes.

use std::path::PathBuf;

use disk_chan::raw::Channel;

use crate::common::bridge::{Bridge, Setup};
use crate::common::channel::{self, read_all};
use crate::common::nats::{alone, server, Cluster};
use crate::common::scene::{Scene, STREAM};
use crate::common::{below, ms, until, until_or};

/// Bytes of the trailer, as docs/CLUSTER.md has it.
const TRAILER: usize = 32;

/// What `fetch` put into a channel: numbers from 0 on, each once, in order; how many.
pub fn verify(channel: &Channel) -> u64 {
    let mut next = 0;
    let mut place = (0, 0);
    for message in read_all(channel) {
        let (payload, tail) = message.split_at(message.len() - TRAILER);
        let text = std::str::from_utf8(payload).unwrap();
        assert_eq!(text.parse::<u64>().unwrap(), next, "missing, doubled or out of order");
        next += 1;
        let sequence = u64::from_le_bytes(tail[8..16].try_into().unwrap());
        let index = u32::from_le_bytes(tail[16..20].try_into().unwrap());
        assert!((sequence, index + 1) > place, "its place in the stream");
        place = (sequence, index + 1);
    }
    next
}

/// A channel for `fetch`, beside the scene's.
pub struct Target {
    pub channel: Channel,
    pub path: PathBuf,
}

impl Target {
    pub fn new(scene: &Scene) -> Target {
        let path = scene.cluster.dir.path().join("fetched.chan");
        Target { channel: channel::create(&path, 4 << 20), path }
    }

    pub fn setup(&self, scene: &Scene) -> Setup {
        Setup::new(scene.cluster.dir.path(), "fetch", &self.path, STREAM, scene.cluster.urls())
    }

    /// All that the stream has is there; end the bridge and look at it.
    pub fn finish(&self, scene: &Scene, bridge: Bridge, end: u64) {
        until_or(
            120,
            || format!("all is fetched; the bridge said {}", bridge.said()),
            || self.channel.stats().unwrap().messages >= end,
        );
        bridge.drain();
        assert_eq!(verify(&self.channel), end);
        drop(scene.reader.info(STREAM));
    }
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn fetch_killed_at_twenty_random_points() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let scene = Scene::new(Cluster::start(3));
    let target = Target::new(&scene);
    let writing = scene.write_on(50, ms(5));
    let forward = scene.setup().with("forward", "pack_messages = 30").start();
    forward.says("where things stand");
    until("there is a stream", 30, || forward.said().contains("stream created"));
    let mut fetch = target.setup(&scene).start();
    for _ in 0..20 {
        std::thread::sleep(ms(below(700)));
        fetch.kill();
        fetch = target.setup(&scene).start();
    }
    let end = scene.finish(writing, forward);
    target.finish(&scene, fetch, end);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn fetch_goes_on_when_the_leader_is_killed() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let mut scene = Scene::new(Cluster::start(3));
    let target = Target::new(&scene);
    let writing = scene.write_on(50, ms(5));
    let forward = scene.setup().start();
    forward.says("where things stand");
    let fetch = target.setup(&scene).start();
    for _ in 0..3 {
        std::thread::sleep(ms(1000));
        let leader = scene.reader.leader(STREAM);
        scene.cluster.node(&leader).kill();
        std::thread::sleep(ms(4000));
        scene.cluster.node(&leader).start();
        std::thread::sleep(ms(2000));
    }
    let end = scene.finish(writing, forward);
    target.finish(&scene, fetch, end);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn fetch_refuses_what_it_cannot_keep_its_promise_with() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let scene = Scene::new(Cluster::start(1));
    scene.writer().send(10);
    let one = "replicas = 1\nallow_one_replica = true";
    let forward = scene.setup().with("stream", one).start();
    scene.all_forwarded(&forward);
    forward.drain();
    // A channel with messages of somebody else.
    let target = Target::new(&scene);
    channel::Writer::new(&target.channel, 1).send(1);
    let mut refused = target.setup(&scene).start();
    refused.ends_with(3);
    assert!(refused.said().contains("fetch did not write"), "{}", refused.said());
    drop(target);
    std::fs::remove_dir_all(scene.cluster.dir.path().join("fetched.chan")).unwrap();
    std::fs::remove_dir_all(scene.cluster.dir.path().join("fetched.chan.bridge")).unwrap();
    let target = Target::new(&scene);
    let fetch = target.setup(&scene).start();
    target.finish(&scene, fetch, 10);
    // The stream is another one now.
    scene.reader.delete(STREAM);
    let forward = scene.setup().with("stream", one).argument("--when-behind=resend").start();
    forward.says("stream created");
    let mut refused = target.setup(&scene).start();
    refused.ends_with(3);
    assert!(refused.said().contains("created anew"), "{}", refused.said());
}
