//! Faults of nodes and bridges while `forward` is at work. After each the verifier reads the whole stream: nothing is
//! missing, doubled or out of order.

use std::time::Instant;

use crate::common::bridge::Setup;
use crate::common::channel;
use crate::common::nats::{alone, server, Cluster, Settings};
use crate::common::scene::{Scene, GROUP, STREAM};
use crate::common::{below, ms, ran, skipped, until, verify};
use rustix::process::Signal;

/// Each test twice: a stream message a channel message, and packed.
fn both(setup: impl Fn() -> Setup, i: u64) -> Setup {
    match i % 2 {
        0 => setup(),
        _ => setup().with("forward", "pack_messages = 50"),
    }
}

macro_rules! scene {
    () => {{
        if server().is_none() {
            return;
        }
        Scene::new(Cluster::start(3))
    }};
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn forward_killed_at_twenty_random_points() {
    let _alone = alone();
    let scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let mut bridge = scene.setup().start();
    bridge.says("where things stand");
    for i in 0..20 {
        std::thread::sleep(ms(below(700)));
        bridge.kill();
        bridge = both(|| scene.setup(), i).start();
    }
    scene.finish(writing, bridge);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn leader_killed_three_times() {
    let _alone = alone();
    let mut scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let bridge = scene.setup().with("forward", "pack_messages = 50").start();
    bridge.says("where things stand");
    for i in 0..3 {
        std::thread::sleep(ms(1000));
        let leader = scene.reader.leader(STREAM);
        let since = Instant::now();
        scene.cluster.node(&leader).kill();
        scene.recovered(&format!("leader killed, {i}"), &bridge, since);
        scene.cluster.node(&leader).start();
        std::thread::sleep(ms(3000));
    }
    scene.finish(writing, bridge);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn all_three_killed() {
    let _alone = alone();
    let mut scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let bridge = scene.setup().start();
    bridge.says("where things stand");
    for _ in 0..2 {
        std::thread::sleep(ms(1500));
        scene.cluster.nodes.iter_mut().for_each(|n| n.kill());
        std::thread::sleep(ms(1000));
        let since = Instant::now();
        scene.cluster.start_all();
        scene.recovered("all three killed, from their start", &bridge, since);
    }
    scene.finish(writing, bridge);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn two_of_three_down() {
    let _alone = alone();
    let mut scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let bridge = scene.setup().with("forward", "pack_messages = 50").start();
    bridge.says("where things stand");
    std::thread::sleep(ms(1000));
    let leader = scene.reader.leader(STREAM);
    scene.cluster.node(&leader).kill();
    let other = if leader == "n0" { "n1" } else { "n0" };
    scene.cluster.node(other).kill();
    // Without a majority nothing may be acknowledged.
    std::thread::sleep(ms(4000));
    let before = channel::waiting(&scene.channel, GROUP);
    std::thread::sleep(ms(2000));
    assert!(channel::waiting(&scene.channel, GROUP) > before, "acknowledged without a majority");
    let since = Instant::now();
    scene.cluster.start_all();
    scene.recovered("quorum lost, from its return", &bridge, since);
    scene.finish(writing, bridge);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn leader_suspended_three_times() {
    let _alone = alone();
    let mut scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let bridge = scene.setup().with("forward", "pack_messages = 7").start();
    bridge.says("where things stand");
    for i in 0..3 {
        std::thread::sleep(ms(1000));
        let leader = scene.reader.leader(STREAM);
        let since = Instant::now();
        scene.cluster.node(&leader).signal(Signal::STOP);
        // Another one leads; then the old one wakes up with what it had.
        scene.recovered(&format!("leader suspended, {i}"), &bridge, since);
        std::thread::sleep(ms(5000));
        scene.cluster.node(&leader).signal(Signal::CONT);
        std::thread::sleep(ms(2000));
    }
    scene.finish(writing, bridge);
}

/// What the plan is for: the publishes of a killed bridge lie in a suspended node, and arrive when the next one, which would
/// have packed otherwise, has done everything.
#[test]
#[ignore = "minutes: make test-cluster"]
fn publishes_of_an_earlier_run_arrive_late() {
    let _alone = alone();
    let scene = scene!();
    let mut writer = scene.writer();
    writer.send(100);
    // Ids are of no help: they are forgotten when it matters.
    let setup = scene.setup().with("stream", "duplicate_window = \"100ms\"");
    let bridge = setup.start();
    scene.all_forwarded(&bridge);
    bridge.drain();
    let leader = scene.reader.leader(STREAM);
    let others: Vec<_> = scene.cluster.nodes.iter().filter(|n| n.name != leader).collect();
    let through = |i: usize| Setup { urls: vec![others[i].url()], ..setup.clone() };
    let mut first = through(0).start();
    first.says("where things stand");
    others[0].signal(Signal::STOP);
    writer.send(500);
    until("it is all on its way", 30, || {
        scene.channel.group_stats(GROUP.as_bytes()).unwrap().unacked == 500
    });
    // Out of the bridge, into the node's socket.
    std::thread::sleep(ms(1000));
    first.kill();
    let second = through(1).with("forward", "pack_messages = 50").start();
    scene.all_forwarded(&second);
    std::thread::sleep(ms(1500));
    others[0].signal(Signal::CONT);
    std::thread::sleep(ms(2000));
    writer.send(50);
    scene.all_forwarded(&second);
    second.drain();
    scene.verify(650);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn an_outage_longer_than_the_duplicate_window() {
    let _alone = alone();
    let mut scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let setup = scene.setup().with("stream", "duplicate_window = \"1s\"");
    let mut bridge = setup.start();
    bridge.says("where things stand");
    for _ in 0..3 {
        std::thread::sleep(ms(1000));
        // In the middle of what is in flight, on both sides.
        scene.cluster.nodes.iter_mut().for_each(|n| n.kill());
        bridge.kill();
        std::thread::sleep(ms(3000));
        scene.cluster.start_all();
        bridge = setup.start();
        bridge.says("where things stand");
    }
    scene.finish(writing, bridge);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn purge_and_restart() {
    let _alone = alone();
    let scene = scene!();
    let writing = scene.write_on(50, ms(5));
    let mut seen = Vec::new();
    let mut bridge = both(|| scene.setup(), 1).start();
    bridge.says("where things stand");
    for i in 0..5 {
        std::thread::sleep(ms(500 + below(500)));
        bridge.kill();
        // What the bridge had in flight is stored by now, or never will be.
        std::thread::sleep(ms(1000));
        seen.extend(scene.reader.messages(STREAM));
        scene.reader.with(STREAM, async |_, at| Ok(at.purge().await?));
        bridge = both(|| scene.setup(), i).start();
    }
    let end = writing.end();
    scene.all_forwarded(&bridge);
    bridge.drain();
    seen.extend(scene.reader.messages(STREAM));
    verify::numbers(&seen, 0, end);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn of_two_bridges_one_is_fenced_out() {
    let _alone = alone();
    let scene = scene!();
    scene.writer().send(3000);
    let mut first = scene.setup().start();
    scene.all_forwarded(&first);
    // On this machine the second one does not even begin.
    let mut second = scene.setup().start();
    second.ends_with(4);
    // A copy of the channel, as of a restored backup or a cloned machine.
    scene.channel.sync(-1).unwrap();
    let copy = scene.cluster.dir.path().join("copy").join("orders.chan");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&scene.path).arg(&copy).status();
    assert!(copied.unwrap().success());
    let mut setup =
        Setup::new(copy.parent().unwrap(), "forward", &copy, STREAM, scene.cluster.urls());
    setup = setup.with("stream", "subject = \"disk_chan.orders_chan\"");
    let second = setup.start();
    second.says("where things stand");
    let copied = disk_chan::raw::Channel::open(&copy, &Default::default()).unwrap();
    let mut writer = channel::Writer::new(&copied, 100);
    writer.next = 3000;
    writer.send(100);
    until("the second one forwards", 30, || channel::waiting(&copied, GROUP) == 0);
    assert!(first.is_running());
    // The first one notices when it has something to forward, and forwards nothing.
    let mut writer = scene.writer();
    writer.next = 900_000;
    writer.send(10);
    first.ends_with(4);
    assert!(first.said().contains("another bridge has taken over"), "{}", first.said());
    writer = channel::Writer::new(&copied, 100);
    writer.next = 3100;
    writer.send(100);
    until("the second one goes on", 30, || channel::waiting(&copied, GROUP) == 0);
    second.drain();
    scene.verify(3200);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn a_cluster_that_is_behind_stops_the_bridge_until_somebody_decides() {
    let _alone = alone();
    let scene = scene!();
    let mut writer = scene.writer();
    writer.send(500);
    let bridge = scene.setup().start();
    scene.all_forwarded(&bridge);
    bridge.drain();
    // The stream is lost, and comes back empty.
    scene.reader.delete(STREAM);
    writer.send(100);
    let mut stopped = scene.setup().start();
    stopped.ends_with(5);
    assert!(stopped.said().contains("--when-behind"), "{}", stopped.said());
    assert_eq!(channel::waiting(&scene.channel, GROUP), 100, "nothing was acknowledged");
    // One way: leave the gap.
    let skipping = scene.setup().argument("--when-behind=skip").start();
    scene.all_forwarded(&skipping);
    skipping.drain();
    verify::numbers(&scene.reader.messages(STREAM), 500, 600);
    // From then on all is as ever.
    writer.send(10);
    let bridge = scene.setup().start();
    scene.all_forwarded(&bridge);
    bridge.drain();
    verify::numbers(&scene.reader.messages(STREAM), 500, 610);
    // The other way: send again what is still there.
    scene.reader.delete(STREAM);
    // Without the bridge's own memory, too.
    let mut state = scene.path.clone().into_os_string();
    state.push(".bridge");
    std::fs::remove_dir_all(state).unwrap();
    let mut stopped = scene.setup().start();
    stopped.ends_with(5);
    let resending = scene.setup().argument("--when-behind=resend").start();
    resending.says("where things stand");
    until("all is there again", 60, || scene.reader.info(STREAM).state.messages == 610);
    resending.drain();
    scene.verify(610);
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn a_full_server_disk_is_waited_for() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let Some(disks) = Disks::new(3, 48) else { return };
    // Not what the server takes for free, but what is.
    let jetstream = "max_file_store: 10GB".into();
    let settings = Settings { stores: disks.paths(), jetstream, ..Settings::default() };
    let scene = Scene::new(Cluster::start_with(3, &settings));
    let mut writer = channel::Writer::new(&scene.channel, 10_000);
    let bridge = scene.setup().start();
    bridge.says("where things stand");
    for _ in 0..80 {
        writer.send(100);
    }
    until("the disks are full", 120, || bridge.said().contains("asking the cluster"));
    let room = scene.channel.group_stats(GROUP.as_bytes()).unwrap();
    assert!(room.lag + room.unacked > 0, "something has to be left for when there is room");
    // Somebody makes room: on every node, and JetStream is switched on again by a restart.
    let mut scene = scene;
    disks.grow(300);
    scene.cluster.nodes.iter_mut().for_each(|n| n.kill());
    scene.cluster.start_all();
    scene.all_forwarded(&bridge);
    bridge.drain();
    scene.verify(writer.next);
}

/// Small file systems, which need root.
struct Disks {
    dir: tempfile::TempDir,
    count: usize,
}

impl Disks {
    fn new(count: usize, mib: usize) -> Option<Disks> {
        let disks = Disks { dir: tempfile::tempdir().unwrap(), count };
        for path in disks.paths() {
            std::fs::create_dir(&path).unwrap();
            let size = format!("size={mib}m");
            if !ran("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", path.to_str().unwrap()]) {
                skipped("a full disk of the servers is not shown: mounting one needs root");
                return None;
            }
        }
        Some(disks)
    }
    fn paths(&self) -> Vec<std::path::PathBuf> {
        (0..self.count).map(|i| self.dir.path().join(format!("d{i}"))).collect()
    }
    fn grow(&self, mib: usize) {
        for path in self.paths() {
            let size = format!("remount,size={mib}m");
            assert!(ran("mount", &["-o", &size, path.to_str().unwrap()]));
        }
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for path in self.paths() {
            ran("umount", &["-l", path.to_str().unwrap()]);
        }
    }
}
