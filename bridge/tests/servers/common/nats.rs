//! Real servers: three nodes on loopback, each a process of its own, which does not outlive its test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};

use super::{skipped, until};

fn found(arguments: &[&str]) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/nats.sh");
    let output = Command::new(script).args(arguments).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// The server's program; `None`, and a loud word about it, where it cannot be had.
pub fn server() -> Option<&'static Path> {
    static SERVER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let server = SERVER.get_or_init(|| found(&[]));
    if server.is_none() {
        skipped("there is no nats-server here: nothing of the bridge is shown against one");
    }
    server.as_deref()
}

/// One that is older than the bridge wants.
pub fn old_server() -> Option<PathBuf> {
    let server = found(&["old"]);
    if server.is_none() {
        skipped("there is no old nats-server here: what the bridge does with one is not shown");
    }
    server
}

/// One cluster at a time: the machine has other things to do.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub struct Node {
    pub name: String,
    pub address: String,
    pub port: u16,
    config: PathBuf,
    log: PathBuf,
    namespace: Option<String>,
    program: PathBuf,
    pub child: Option<Child>,
}

impl Node {
    pub fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(&self.log).unwrap();
        let server = &self.program;
        let mut command = match &self.namespace {
            Some(namespace) => {
                // It becomes the server: the same process.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(server);
                command
            }
            None => Command::new(server),
        };
        let child = command
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// As a power switch for this process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::CONT);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.address, self.port)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What differs from the least a node needs.
#[derive(Clone, Default)]
pub struct Settings {
    /// More lines of every node's configuration.
    pub more: String,
    /// Lines inside `jetstream { }`.
    pub jetstream: String,
    /// Where node *i* keeps its data; default: the test's directory.
    pub stores: Vec<PathBuf>,
    /// Their addresses; default: loopback.
    pub addresses: Vec<String>,
    /// Another program than [`server`].
    pub program: Option<PathBuf>,
    /// The network namespaces they run in; default: the test's.
    pub namespaces: Vec<String>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub dir: tempfile::TempDir,
}

impl Cluster {
    /// Configured, not started.
    pub fn prepare(count: usize, settings: &Settings) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let address = |i: usize| settings.addresses.get(i).cloned().unwrap_or("127.0.0.1".into());
        let routes: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let urls: Vec<String> =
            (0..count).map(|i| format!("nats-route://{}:{}", address(i), routes[i])).collect();
        let nodes = (0..count).map(|i| {
            let name = format!("n{i}");
            let store = settings.stores.get(i).cloned().unwrap_or(dir.path().join(&name));
            let (port, config) = (free_port(), dir.path().join(format!("{name}.conf")));
            let cluster = match count {
                1 => String::new(),
                _ => format!(
                    "cluster {{ name: T, listen: \"{}:{}\", routes: [{}] }}\n",
                    address(i),
                    routes[i],
                    urls.iter().map(|u| format!("{u:?}")).collect::<Vec<_>>().join(", ")
                ),
            };
            let text = format!(
                "server_name: {name}\nlisten: \"{}:{port}\"\njetstream {{ store_dir: {store:?}\n{} }}\n{cluster}{}\n",
                address(i), settings.jetstream, settings.more
            );
            std::fs::write(&config, text).unwrap();
            let log = dir.path().join(format!("{name}.log"));
            let namespace = settings.namespaces.get(i).cloned();
            let program = settings.program.clone().unwrap_or_else(|| server().unwrap().into());
            Node { name, address: address(i), port, config, log, namespace, program, child: None }
        });
        Cluster { nodes: nodes.collect(), dir }
    }

    /// Started, and able to answer.
    pub fn start(count: usize) -> Cluster {
        Cluster::start_with(count, &Settings::default())
    }

    pub fn start_with(count: usize, settings: &Settings) -> Cluster {
        let mut cluster = Cluster::prepare(count, settings);
        cluster.start_all();
        cluster
    }

    pub fn start_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|n| !n.is_running()) {
            node.start();
        }
        for node in &self.nodes {
            until(&format!("{} listens: {}", node.name, node.log()), 30, || {
                let at = format!("{}:{}", node.address, node.port).parse().unwrap();
                TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok()
            });
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|n| n.name == name).unwrap()
    }
}
