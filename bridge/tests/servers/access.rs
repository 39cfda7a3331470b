//! Getting in, and what does not fit: TLS, credentials, oversized messages, old servers.

use std::path::Path;

use crate::common::channel::{self, read_all};
use crate::common::nats::{alone, old_server, server, Cluster, Settings};
use crate::common::scene::Scene;
use crate::common::{ran, skipped};

const ONE: &str = "replicas = 1\nallow_one_replica = true";

#[test]
fn wrong_credentials_end_the_bridge() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let users =
        "accounts { A { jetstream: enabled, users: [ { user: bridge, password: right } ] } }";
    let settings = Settings { more: users.into(), ..Settings::default() };
    let scene = Scene::new(Cluster::start_with(1, &settings));
    scene.writer().send(3);
    let secret = scene.cluster.dir.path().join("password");
    let setup = scene.setup().with("stream", ONE);
    let with =
        setup.clone().with("cluster", &format!("user = \"bridge\"\npassword_file = {secret:?}"));
    std::fs::write(&secret, "wrong\n").unwrap();
    for wrong in [&setup, &with] {
        let mut bridge = wrong.start();
        bridge.ends_with(1);
        assert!(
            bridge.said().contains("check cluster.tls and the credentials"),
            "{}",
            bridge.said()
        );
    }
    std::fs::write(&secret, "right\n").unwrap();
    let bridge = with.start();
    scene.all_forwarded(&bridge);
    bridge.drain();
}

/// A certificate for loopback, and the authority that signed it.
fn certificates(dir: &Path) -> bool {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_string();
    std::fs::write(at("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let authority = |name: &str| {
        let (key, ca) = (at(&format!("{name}.key")), at(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        ran(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &subject,
                "-keyout",
                &key,
                "-out",
                &ca,
            ],
        )
    };
    authority("ca")
        && authority("stranger")
        && ran(
            "openssl",
            &[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=node",
                "-keyout",
                &at("node.key"),
                "-out",
                &at("node.csr"),
            ],
        )
        && ran(
            "openssl",
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                &at("node.csr"),
                "-CA",
                &at("ca.pem"),
                "-CAkey",
                &at("ca.key"),
                "-CAcreateserial",
                "-extfile",
                &at("ext"),
                "-out",
                &at("node.pem"),
            ],
        )
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn a_server_that_cannot_show_who_it_is_gets_nothing() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    if !certificates(dir.path()) {
        return skipped("TLS is not shown: there is no openssl here to make certificates");
    }
    let file = |name: &str| dir.path().join(name);
    let tls =
        format!("tls {{ cert_file: {:?}, key_file: {:?} }}", file("node.pem"), file("node.key"));
    let settings = Settings { more: tls, ..Settings::default() };
    let scene = Scene::new(Cluster::start_with(1, &settings));
    scene.writer().send(3);
    let trusting = |name: &str| {
        let lines = format!("required = true\nca = {:?}", file(name));
        scene.setup().with("stream", ONE).with("cluster.tls", &lines)
    };
    let mut wrong = trusting("stranger.pem").start();
    wrong.ends_with(1);
    assert!(wrong.said().contains("cannot connect"), "{}", wrong.said());
    assert_eq!(channel::waiting(&scene.channel, "forwarder"), 3);
    let bridge = trusting("ca.pem").start();
    scene.all_forwarded(&bridge);
    bridge.drain();
}

#[test]
fn an_oversized_message_goes_to_the_dead_letters_once() {
    let _alone = alone();
    if server().is_none() {
        return;
    }
    let scene = Scene::new(Cluster::start(1));
    let mut writer = scene.writer();
    writer.send(2);
    writer.raw(&[b'x'; 5000]);
    writer.send(2);
    let most = "max_message = 4000\npack_messages = 10";
    let setup = scene.setup().with("stream", ONE).with("forward", most);
    let mut bridge = setup.start();
    bridge.ends_with(1);
    assert!(bridge.said().contains("set forward.dead_letter"), "{}", bridge.said());
    let letters = scene.cluster.dir.path().join("letters.chan");
    let with = setup.with("forward", &format!("dead_letter = {letters:?}"));
    // Killed and started again: the letter is there once, and so is its mark.
    for _ in 0..3 {
        let mut bridge = with.start();
        scene.all_forwarded(&bridge);
        bridge.kill();
    }
    let channel = disk_chan::raw::Channel::open(&letters, &Default::default()).unwrap();
    let found = read_all(&channel);
    assert_eq!(found.len(), 1);
    assert_eq!(&found[0][8..], &[b'x'; 5000]);
    let messages = scene.reader.messages("S");
    let marks: Vec<_> = messages.iter().map(|m| m.header("Disk-Chan-Oversized")).collect();
    assert_eq!(marks, [None, Some("5000"), None]);
    let position = u64::from_le_bytes(found[0][..8].try_into().unwrap());
    assert_eq!(messages[1].number("Disk-Chan-Position"), position);
    assert!(messages[1].payload.is_empty());
}

#[test]
#[ignore = "minutes: make test-cluster"]
fn an_old_server_is_refused_and_works_if_allowed() {
    let _alone = alone();
    let Some(program) = old_server() else { return };
    let settings = Settings { program: Some(program), ..Settings::default() };
    let scene = Scene::new(Cluster::start_with(3, &settings));
    scene.writer().send(1000);
    let mut refused = scene.setup().start();
    refused.ends_with(3);
    assert!(refused.said().contains("older than 2.11"), "{}", refused.said());
    let allowed = scene.setup().with("cluster", "allow_old_server = true");
    let bridge = allowed.with("forward", "pack_messages = 10").start();
    bridge.says("known faults");
    scene.all_forwarded(&bridge);
    bridge.drain();
    scene.verify(1000);
}
