//! A channel that is written to, a bridge, and a cluster: what nearly every test begins and ends with.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk_chan::raw::Channel;

use super::bridge::{Bridge, Setup};
use super::channel::{self, Writer};
use super::nats::Cluster;
use super::until_or;
use super::verify::{self, Reader};

pub const STREAM: &str = "S";
pub const GROUP: &str = "forwarder";

pub struct Scene {
    pub cluster: Cluster,
    pub reader: Reader,
    pub channel: Channel,
    pub path: PathBuf,
    /// What [`Scene::write_on`] has written.
    written: Arc<AtomicU64>,
}

impl Scene {
    pub fn new(cluster: Cluster) -> Scene {
        let path = cluster.dir.path().join("orders.chan");
        let reader = Reader::new(cluster.urls());
        Scene {
            reader,
            channel: channel::create(&path, 1 << 20),
            path,
            cluster,
            written: Arc::default(),
        }
    }

    pub fn setup(&self) -> Setup {
        Setup::new(self.cluster.dir.path(), "forward", &self.path, STREAM, self.cluster.urls())
    }

    pub fn writer(&self) -> Writer {
        Writer::new(&self.channel, 100)
    }

    /// Write so many messages a burst until told to stop.
    pub fn write_on(&self, burst: u64, pause: Duration) -> Writing {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut writer, stopped, written) = (self.writer(), stop.clone(), self.written.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                writer.send(burst);
                written.store(writer.next, Ordering::SeqCst);
                std::thread::sleep(pause);
            }
            writer.next
        });
        Writing { stop, thread: Some(thread) }
    }

    /// Wait until the stream has this many more messages acknowledged to the channel.
    pub fn all_forwarded(&self, bridge: &Bridge) {
        until_or(
            120,
            || format!("all is forwarded; the bridge said {}", bridge.said()),
            || channel::waiting(&self.channel, GROUP) == 0,
        );
    }

    /// Messages written by [`Scene::write_on`] and acknowledged to the channel, a burst more or less.
    fn acknowledged(&self) -> u64 {
        let waiting = channel::waiting(&self.channel, GROUP);
        self.written.load(Ordering::SeqCst).saturating_sub(waiting)
    }

    /// Time from then until more is acknowledged than can have been on its way.
    pub fn recovered(&self, what: &str, bridge: &Bridge, since: Instant) {
        let target = self.acknowledged() + 1500;
        until_or(
            300,
            || format!("forwarding goes on; the bridge said {}", bridge.said()),
            || self.acknowledged() > target,
        );
        println!("recovery: {what}: {:.1} s", since.elapsed().as_secs_f64());
    }

    /// The stream has all the numbers below `end`.
    pub fn verify(&self, end: u64) {
        verify::numbers(&self.reader.messages(STREAM), 0, end);
    }

    /// End the writer and the bridge, and look at everything.
    pub fn finish(&self, writing: Writing, bridge: Bridge) -> u64 {
        let end = writing.end();
        self.all_forwarded(&bridge);
        bridge.drain();
        self.verify(end);
        end
    }
}

pub struct Writing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Writing {
    /// How many were written.
    pub fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
