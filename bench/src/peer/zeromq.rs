//! ZeroMQ over `ipc://` (Unix sockets): `PUSH` to `PULL`, which block when a queue is full and lose nothing.
//!
//! Settings, after the guide and libzmq's own `perf/` programs: one I/O thread; a high-water mark of 100,000 messages on
//! both sides, so that neither waits for the other within a burst; `ZMQ_LINGER` for ever, as by default, so that closing
//! loses nothing. Each consumer binds, each producer connects to all consumers, among which `PUSH` takes turns. Round
//! trips use a pair of sockets in each direction, as libzmq's `local_lat` and `remote_lat` do.

use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use zmq::{Context, Message, Socket, SocketType};

use super::{Peer, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::round_trip::same;
use crate::spec::Spec;

/// Messages that either side keeps for the other.
const HIGH_WATER: i32 = 100_000;
/// Milliseconds after which a consumer without messages looks whether all are received.
const LOOK: i32 = 2;

pub struct Zeromq {
    context: Context,
    dir: PathBuf,
    consumers: usize,
    /// Consumers that have begun.
    begun: std::sync::atomic::AtomicUsize,
}

impl Zeromq {
    pub fn at(spec: &Spec, dir: &Path) -> Result<Zeromq> {
        let (consumers, begun) = (spec.consumers, Default::default());
        Ok(Zeromq { context: Context::new(), dir: dir.to_path_buf(), consumers, begun })
    }

    fn socket(&self, kind: SocketType) -> Result<Socket> {
        let socket = self.context.socket(kind)?;
        socket.set_sndhwm(HIGH_WATER)?;
        socket.set_rcvhwm(HIGH_WATER)?;
        Ok(socket)
    }

    fn address(&self, name: &str) -> String {
        format!("ipc://{}/{name}", self.dir.display())
    }

    /// Bind to the first name of a consumer that is free.
    fn bound(&self) -> Result<Socket> {
        let socket = self.socket(zmq::PULL)?;
        socket.set_rcvtimeo(LOOK)?;
        let number = self.begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        socket.bind(&self.address(&format!("pull-{number}")))?;
        Ok(socket)
    }
}

impl Peer for Zeromq {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let socket = self.socket(zmq::PUSH)?;
        for consumer in 0..self.consumers {
            socket.connect(&self.address(&format!("pull-{consumer}")))?;
        }
        Ok(Box::new(move || {
            while let Some(message) = maker.next() {
                socket.send(message, 0)?;
            }
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let socket = self.bound()?;
        Ok(Box::new(move || {
            let mut message = Message::new();
            while !checker.alone_and_done() {
                match socket.recv(&mut message, 0) {
                    Ok(()) => checker.check(&message)?,
                    Err(zmq::Error::EAGAIN) if checker.all()? => break,
                    Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => {}
                    Err(e) => bail!("zmq_msg_recv: {e}"),
                }
            }
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        let socket = self.socket(zmq::PAIR)?;
        let address = self.address("pair");
        if first {
            socket.bind(&address)?;
        } else {
            socket.connect(&address)?;
        }
        Ok(Box::new(move |turns| {
            let mut message = Message::new();
            turns.play(
                |bytes| Ok(socket.send(bytes, 0)?),
                || {
                    socket.recv(&mut message, 0)?;
                    same(&message)
                },
            )
        }))
    }
}
