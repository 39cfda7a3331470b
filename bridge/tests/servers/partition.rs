//! Partitions, made with network namespaces: three nodes, each in a namespace of its own, their veths on one bridge.
//!
//! The addresses are of 127.9.0.0/24, which no other network of the machine has; `route_localnet` lets them leave the
//! namespace, and a route in the table `local` that is longer than that of 127.0.0.0/8 sends them there. Needs root.

use std::time::Instant;

use crate::common::nats::{alone, server, Cluster, Settings};
use crate::common::scene::{Scene, STREAM};
use crate::common::{ms, ran, skipped, until_or};

struct Network {
    id: u32,
    nodes: usize,
}

fn ip(arguments: &str) -> bool {
    ran("ip", &arguments.split(' ').collect::<Vec<_>>())
}

/// Let addresses of 127.0.0.0/8 come and go on a device.
fn route_localnet(prefix: &[&str], device: &str) -> bool {
    let path = format!("/proc/sys/net/ipv4/conf/{device}/route_localnet");
    let script = format!("echo 1 >{path}");
    let all = [prefix, &["sh", "-c", &script]].concat();
    ran(all[0], &all[1..])
}

impl Network {
    fn new(nodes: usize) -> Option<Network> {
        let network = Network { id: std::process::id() % 100_000, nodes };
        if !network.build() {
            skipped("partitions are not shown: network namespaces need root, and ip (iproute2)");
            return None;
        }
        Some(network)
    }

    fn bridge(&self) -> String {
        format!("dcb{}", self.id)
    }
    fn namespace(&self, i: usize) -> String {
        format!("dcn{}-{i}", self.id)
    }
    fn link(&self, i: usize) -> String {
        format!("dcv{}-{i}", self.id)
    }
    fn address(&self, i: usize) -> String {
        format!("127.9.0.1{i}")
    }

    fn build(&self) -> bool {
        let bridge = self.bridge();
        let hub = ip(&format!("link add {bridge} type bridge"))
            && ip(&format!("link set {bridge} up"))
            && route_localnet(&["env"], &bridge)
            && ip(&format!("addr add 127.9.0.1/24 dev {bridge}"))
            && ip(&format!("route add 127.9.0.0/24 dev {bridge} src 127.9.0.1 table local"));
        hub && (0..self.nodes).all(|i| {
            let (namespace, link) = (self.namespace(i), self.link(i));
            let inside = format!("-n {namespace}");
            ip(&format!("netns add {namespace}"))
                && ip(&format!("link add {link} type veth peer name eth0 netns {namespace}"))
                && ip(&format!("link set {link} master {bridge} up"))
                && ip(&format!("{inside} link set lo up"))
                && ip(&format!("{inside} route del local 127.0.0.0/8 dev lo table local"))
                && ip(&format!("{inside} addr add {}/24 dev eth0", self.address(i)))
                && route_localnet(&["ip", "netns", "exec", &namespace], "eth0")
                && ip(&format!("{inside} link set eth0 up"))
        })
    }

    /// Node `i` reaches no other node, nor they it; who uses the cluster still reaches it, or not.
    fn cut(&self, i: usize, from_users: bool) {
        if from_users {
            assert!(ip(&format!("link set {} down", self.link(i))));
            return;
        }
        for other in (0..self.nodes).filter(|other| *other != i) {
            let to = self.address(other);
            assert!(ip(&format!(
                "-n {} route add blackhole {to}/32 table local",
                self.namespace(i)
            )));
        }
    }

    fn heal(&self, i: usize, from_users: bool) {
        if from_users {
            assert!(ip(&format!("link set {} up", self.link(i))));
            return;
        }
        for other in (0..self.nodes).filter(|other| *other != i) {
            let to = self.address(other);
            assert!(ip(&format!(
                "-n {} route del blackhole {to}/32 table local",
                self.namespace(i)
            )));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for i in 0..self.nodes {
            ip(&format!("netns del {}", self.namespace(i)));
        }
        ip(&format!("link del {}", self.bridge()));
    }
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn the_leader_is_cut_off_with_and_without_the_bridge() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let Some(network) = Network::new(3) else { return };
    let settings = Settings {
        addresses: (0..3).map(|i| network.address(i)).collect(),
        namespaces: (0..3).map(|i| network.namespace(i)).collect(),
        ..Settings::default()
    };
    let scene = Scene::new(Cluster::start_with(3, &settings));
    let writing = scene.write_on(50, ms(5));
    let bridge = scene.setup().with("forward", "pack_messages = 7").start();
    bridge.says("where things stand");
    for from_users in [false, true, false] {
        std::thread::sleep(ms(1500));
        let leader = scene.reader.leader(STREAM);
        let i: usize = leader[1..].parse().unwrap();
        let since = Instant::now();
        network.cut(i, from_users);
        // The others find a new leader, the old one goes on believing for a while.
        std::thread::sleep(ms(2000));
        until_or(
            60,
            || format!("another leader; the bridge said {}", bridge.said()),
            || scene.reader.leader(STREAM) != leader,
        );
        scene.recovered(
            &format!("leader cut off, from the bridge too: {from_users}"),
            &bridge,
            since,
        );
        std::thread::sleep(ms(5000));
        network.heal(i, from_users);
        std::thread::sleep(ms(3000));
    }
    scene.finish(writing, bridge);
}
