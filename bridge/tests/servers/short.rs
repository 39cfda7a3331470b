//! The share that runs with all other tests; the rest is `make test-cluster`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::bridge::Setup;
use crate::common::nats::{alone, free_port, server, Cluster};
use crate::common::scene::{Scene, STREAM};
use crate::common::{ms, until};
use crate::fetching::Target;

/// The bridge is killed at several points, with and without packing, and then the stream's leader.
#[test]
fn kills_lose_double_and_reorder_nothing() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let mut scene = Scene::new(Cluster::start(3));
    let writing = scene.write_on(50, ms(5));
    let plain = scene.setup();
    let packed = scene.setup().with("forward", "pack_messages = 50");
    let mut bridge = plain.start();
    bridge.says("where things stand");
    for i in 0..6u64 {
        std::thread::sleep(ms(50 + 170 * i % 400));
        bridge.kill();
        bridge = if i % 2 == 0 { packed.start() } else { plain.start() };
    }
    let leader = scene.reader.leader(STREAM);
    scene.cluster.node(&leader).kill();
    std::thread::sleep(ms(1500));
    scene.cluster.node(&leader).start();
    let end = scene.finish(writing, bridge);
    assert!(end > 1000, "{end} messages are too few to show anything");
}

#[test]
fn nothing_is_forwarded_where_the_promise_cannot_be_kept() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let scene = Scene::new(Cluster::start(1));
    scene.writer().send(3);
    // Three replicas of one server.
    let refused = |setup: &Setup, code: i32, said: &str| {
        let mut bridge = setup.start();
        bridge.ends_with(code);
        assert!(bridge.said().contains(said), "no {said:?} in {}", bridge.said());
    };
    refused(&scene.setup(), 3, "cannot create stream");
    let one = scene.setup().with("stream", "replicas = 1");
    refused(&one, 3, "has one replica");
    let allowed = one.clone().with("stream", "allow_one_replica = true");
    let bridge = allowed.start();
    bridge.says("ONE replica");
    scene.all_forwarded(&bridge);
    bridge.drain();
    scene.verify(3);
    // Another writer.
    scene.reader.with_context(async |context| {
        context.publish("disk_chan.orders_chan", "mine".into()).await?.await?;
        Ok(())
    });
    refused(&allowed, 3, "written by somebody else");
}

fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let mut answer = String::new();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_and_health_say_how_it_goes() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let mut scene = Scene::new(Cluster::start(1));
    let port = free_port();
    let one = "replicas = 1\nallow_one_replica = true";
    let setup =
        scene.setup().with("stream", one).with("serve", &format!("listen = \"127.0.0.1:{port}\""));
    scene.writer().send(500);
    let bridge = setup.with("log", "format = \"json\"").start();
    scene.all_forwarded(&bridge);
    until("it is well", 20, || get(port, "/health").starts_with("HTTP/1.1 200"));
    let has = |what: &str| get(port, "/metrics").contains(what);
    let label = "{direction=\"forward\",stream=\"S\"}";
    until("everything is counted", 20, || {
        has(&format!("\ndisk_chan_bridge_messages_total{label} 500\n"))
    });
    assert!(
        has(&format!("\ndisk_chan_bridge_stream_sequence{label} 500\n")),
        "{}",
        get(port, "/metrics")
    );
    // The server goes, the channel fills.
    scene.cluster.nodes[0].kill();
    let mut writer = scene.writer();
    writer.next = 500;
    writer.send(7);
    until("it is not well", 20, || get(port, "/health").starts_with("HTTP/1.1 503"));
    until("the lag is there", 20, || has(&format!("\ndisk_chan_bridge_lag{label} 7\n")));
    scene.cluster.start_all();
    scene.all_forwarded(&bridge);
    until("it is well again", 20, || get(port, "/health").starts_with("HTTP/1.1 200"));
    assert!(!has(&format!("\ndisk_chan_bridge_reconnects_total{label} 0\n")));
    // Every line of the log is an object with a level.
    for line in bridge.said().lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["level"].is_string(), "{line}");
    }
    bridge.drain();
    scene.verify(507);
}

/// The other direction, with a kill in the middle.
#[test]
fn what_was_forwarded_is_fetched_once() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let scene = Scene::new(Cluster::start(1));
    let target = Target::new(&scene);
    let one = "replicas = 1\nallow_one_replica = true";
    scene.writer().send(3000);
    let packed = scene.setup().with("stream", one).with("forward", "pack_messages = 30");
    let forward = packed.start();
    forward.says("where things stand");
    let mut fetch = target.setup(&scene).with("fetch", "batch = 7").start();
    for _ in 0..3 {
        std::thread::sleep(ms(150));
        fetch.kill();
        fetch = target.setup(&scene).start();
    }
    scene.all_forwarded(&forward);
    forward.drain();
    target.finish(&scene, fetch, 3000);
}
