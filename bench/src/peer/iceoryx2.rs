//! iceoryx2: zero-copy publish and subscribe between processes, nothing kept.
//!
//! Settings, after its documentation and its `benchmarks/`: `ipc` services of byte slices, written in place in a sample
//! that was lent; no overflow and `RetryUntilDelivered`, so that nothing is dropped; as deep a buffer as keeps 16 MiB of
//! messages, 4,096 at most. Consumers poll; round trips that sleep are woken by its event service.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::iceoryx2::port::listener::Listener;
use ::iceoryx2::port::notifier::Notifier;
use ::iceoryx2::port::publisher::Publisher;
use ::iceoryx2::port::subscriber::Subscriber;
use ::iceoryx2::port::update_connections::UpdateConnections;
use ::iceoryx2::prelude::*;
use anyhow::{anyhow, ensure, Result};

use super::{Peer, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::round_trip::same;
use crate::spec::{Spec, Wait};

/// Looks without a message after which a consumer asks whether all are received.
const LOOK: u32 = 1000;
/// No wait of producers for consumers takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

type Bus = ipc::Service;

pub struct Iceoryx2 {
    name: String,
    dir: PathBuf,
    spec: Spec,
}

fn why(e: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {e:?}")
}

impl Iceoryx2 {
    pub fn at(spec: &Spec, dir: &Path) -> Result<Iceoryx2> {
        set_log_level(LogLevel::Error);
        // The directory's name is that of no other run.
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Iceoryx2 { name, dir: dir.to_path_buf(), spec: spec.clone() })
    }

    /// What a consumer leaves in the run's directory when it has come so far.
    fn mark(&self, far: &str, consumer: usize) -> PathBuf {
        self.dir.join(format!("iceoryx2-{far}-{consumer}"))
    }

    /// A producer waits for all consumers. At its begin: what is sent before a subscriber has looked for publishers is
    /// dropped once its buffer is full. At its end: what a publisher has sent goes with it.
    fn wait_for_consumers(&self, far: &str) -> Result<()> {
        let since = Instant::now();
        for role in self.spec.consuming() {
            while !self.mark(far, role).exists() {
                ensure!(since.elapsed() < PATIENCE, "consumer {role} is not {far}");
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(())
    }

    fn node(&self) -> Result<Node<Bus>> {
        let node = NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled);
        node.create().map_err(why)
    }

    fn name(&self, way: &str) -> Result<ServiceName> {
        format!("{}-{way}", self.name).as_str().try_into().map_err(why)
    }

    /// The service; ports keep it.
    fn service(
        &self,
        node: &Node<Bus>,
        way: &str,
    ) -> Result<::iceoryx2::service::port_factory::publish_subscribe::PortFactory<Bus, [u8], ()>>
    {
        let depth = ((16 << 20) / self.spec.size).clamp(16, 4096);
        node.service_builder(&self.name(way)?)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(depth)
            .max_publishers(self.spec.producers.max(2))
            .max_subscribers((self.spec.groups * self.spec.consumers).max(2))
            .max_nodes(self.spec.roles() + 4)
            .open_or_create()
            .map_err(why)
    }

    fn publisher(&self, node: &Node<Bus>, way: &str) -> Result<Publisher<Bus, [u8], ()>> {
        let service = self.service(node, way)?;
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(self.spec.size)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        publisher.create().map_err(why)
    }

    fn subscriber(&self, node: &Node<Bus>, way: &str) -> Result<Subscriber<Bus, [u8], ()>> {
        self.service(node, way)?.subscriber_builder().create().map_err(why)
    }

    fn notifier(&self, node: &Node<Bus>, way: &str) -> Result<Notifier<Bus>> {
        let service = node.service_builder(&self.name(&format!("{way}-event"))?).event();
        service.open_or_create().map_err(why)?.notifier_builder().create().map_err(why)
    }

    fn listener(&self, node: &Node<Bus>, way: &str) -> Result<Listener<Bus>> {
        let service = node.service_builder(&self.name(&format!("{way}-event"))?).event();
        service.open_or_create().map_err(why)?.listener_builder().create().map_err(why)
    }
}

#[inline(always)]
fn publish(publisher: &Publisher<Bus, [u8], ()>, message: &[u8]) -> Result<()> {
    let sample = publisher.loan_slice_uninit(message.len()).map_err(why)?;
    sample.write_from_slice(message).send().map_err(why)?;
    Ok(())
}

impl Peer for Iceoryx2 {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let node = self.node()?;
        let publisher = self.publisher(&node, "to")?;
        Ok(Box::new(move || {
            let _node = node;
            self.wait_for_consumers("connected")?;
            while let Some(message) = maker.next() {
                publish(&publisher, message)?;
            }
            self.wait_for_consumers("done")
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let node = self.node()?;
        let subscriber = self.subscriber(&node, "to")?;
        Ok(Box::new(move || {
            let (_node, mut idle) = (node, 0);
            subscriber.update_connections().map_err(why)?;
            std::fs::write(self.mark("connected", checker.consumer()), "")?;
            while !checker.alone_and_done() {
                if let Some(sample) = subscriber.receive().map_err(why)? {
                    checker.check(sample.payload())?;
                    continue;
                }
                idle += 1;
                if idle % LOOK == 0 && checker.all()? {
                    break;
                }
                std::hint::spin_loop();
            }
            std::fs::write(self.mark("done", checker.consumer()), "")?;
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        let node = self.node()?;
        let (out, back) = if first { ("to", "fro") } else { ("fro", "to") };
        let publisher = self.publisher(&node, out)?;
        let subscriber = self.subscriber(&node, back)?;
        let (notifier, listener) = (self.notifier(&node, out)?, self.listener(&node, back)?);
        let sleeps = self.spec.wait != Wait::Spin;
        Ok(Box::new(move |turns| {
            let _node = node;
            let send = |bytes: &[u8]| {
                publish(&publisher, bytes)?;
                if sleeps {
                    notifier.notify().map_err(why)?;
                }
                Ok(())
            };
            turns.play(send, || loop {
                if let Some(sample) = subscriber.receive().map_err(why)? {
                    return same(sample.payload());
                }
                if sleeps {
                    listener.blocking_wait(|_| {}).map_err(why)?;
                } else {
                    std::hint::spin_loop();
                }
            })
        }))
    }
}
