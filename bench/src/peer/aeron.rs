//! Aeron IPC, its C client and media driver: shared memory, nothing on disk, nothing kept.
//!
//! Settings, after its samples (`ExclusiveThroughput`, `EmbeddedPingPong`) and the performance section of its wiki: an
//! exclusive publication for each producer; term buffers of 64 MiB, not sparse and touched before, in `/dev/shm`; the
//! largest MTU, so that only messages of 64 KiB are fragmented; one driver thread, which backs off while there is nothing
//! to do, since the two CPUs are the producer's and the consumer's; consumers poll up to 128 fragments a call. Batches
//! are blocks of formatted fragments (`offer_block`), the only call that takes more than one message. The driver is a
//! thread of the process that starts the run, as `EmbeddedDriver` has it.

use std::path::Path;
use std::sync::{mpsc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{anyhow, bail, Context, Result};
use rusteron_client::{
    Aeron as Client, AeronContext, AeronExclusivePublication, AeronFragmentClosureAssembler,
    AeronHeader, AeronOfferError, AeronSubscription, Handlers, IntoCString,
};
use rusteron_media_driver::bindings::aeron_threading_mode_t;
use rusteron_media_driver::testing::EmbeddedDriver;
use rusteron_media_driver::AeronCError;

use super::{Peer, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::round_trip::same;
use crate::spec::Spec;

/// Bytes of a fragment at most, header included: the largest MTU.
const MTU: usize = 65_504;
const HEADER: usize = 32;
/// Fragments a poll.
const FRAGMENTS: usize = 128;
/// Polls without a message after which a consumer looks whether all are received.
const LOOK: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Aeron {
    dir: String,
    size: usize,
    batch: usize,
    driver: Option<Driver>,
}

/// The thread that has the driver; it ends when told.
struct Driver {
    thread: JoinHandle<()>,
    end: Mutex<mpsc::Sender<()>>,
}

fn configured(context: &rusteron_media_driver::AeronDriverContext) -> Result<(), AeronCError> {
    context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED)?;
    context.set_shared_idle_strategy(c"backoff")?;
    context.set_term_buffer_sparse_file(false)?;
    context.set_ipc_mtu_length(MTU)?;
    Ok(())
}

fn why(e: rusteron_client::AeronCError) -> anyhow::Error {
    anyhow!("Aeron: {e:?}: {}", Client::errmsg())
}

impl Aeron {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Aeron> {
        let (told, tell) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || match EmbeddedDriver::launch_with(configured) {
            Ok(driver) => {
                let _ = told.send(Ok(driver.dir().to_string()));
                let _ = ended.recv();
            }
            Err(e) => drop(told.send(Err(anyhow!("no media driver: {e:?}")))),
        });
        let own = tell.recv().context("the driver's thread ended")??;
        std::fs::write(dir.join("aeron"), &own)?;
        let mut aeron = Aeron::join(spec, dir)?;
        aeron.driver = Some(Driver { thread, end: Mutex::new(end) });
        Ok(aeron)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Aeron> {
        let dir = std::fs::read_to_string(dir.join("aeron"))?;
        Ok(Aeron { dir, size: spec.size, batch: spec.batch, driver: None })
    }

    fn client(&self) -> Result<Client> {
        let context = AeronContext::new().map_err(why)?;
        context.set_dir(&self.dir.clone().into_c_string()).map_err(why)?;
        context.set_pre_touch_mapped_memory(true).map_err(why)?;
        let client = Client::new(&context).map_err(why)?;
        client.start().map_err(why)?;
        Ok(client)
    }

    fn publication(&self, client: &Client, stream: i32) -> Result<AeronExclusivePublication> {
        let adding = client.async_add_exclusive_publication(c"aeron:ipc", stream).map_err(why)?;
        adding.poll_blocking(PATIENCE).map_err(why)
    }

    fn subscription(&self, client: &Client, stream: i32) -> Result<AeronSubscription> {
        let none = (Handlers::NONE, Handlers::NONE);
        let adding =
            client.async_add_subscription(c"aeron:ipc", stream, none.0, none.1).map_err(why)?;
        adding.poll_blocking(PATIENCE).map_err(why)
    }
}

impl Drop for Aeron {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            let _ = driver.end.lock().map(|end| end.send(()));
            let _ = driver.thread.join();
        }
    }
}

#[inline(always)]
fn offer(publication: &AeronExclusivePublication, message: &[u8]) -> Result<()> {
    loop {
        match publication.offer(message) {
            Ok(_) => return Ok(()),
            Err(e) if e.is_retryable() => std::hint::spin_loop(),
            Err(e) => bail!("offer: {e:?}"),
        }
    }
}

/// Formats blocks of fragments for a publication.
struct Block {
    bytes: Vec<u8>,
    session: i32,
    first_term: i32,
    shift: usize,
    term: i64,
    position: i64,
}

impl Block {
    fn new(publication: &AeronExclusivePublication) -> Result<Block> {
        let constants = publication.get_constants().map_err(why)?;
        Ok(Block {
            bytes: Vec::new(),
            session: constants.session_id(),
            first_term: constants.initial_term_id(),
            shift: constants.position_bits_to_shift(),
            term: constants.term_buffer_length() as i64,
            position: 0,
        })
    }

    /// One more fragment: see `aeron_data_header_t`.
    fn add(&mut self, message: &[u8]) {
        let start = self.bytes.len();
        let offset = (self.position & (self.term - 1)) as i32 + start as i32;
        let id = self.first_term.wrapping_add((self.position >> self.shift) as i32);
        self.bytes.resize(start + (HEADER + message.len()).next_multiple_of(32), 0);
        let frame = &mut self.bytes[start..];
        frame[0..4].copy_from_slice(&((HEADER + message.len()) as i32).to_le_bytes());
        // Version 0; the begin and the end of a message; data.
        frame[4..8].copy_from_slice(&[0, 0xc0, 1, 0]);
        frame[8..12].copy_from_slice(&offset.to_le_bytes());
        frame[12..16].copy_from_slice(&self.session.to_le_bytes());
        frame[16..20].copy_from_slice(&STREAM.to_le_bytes());
        frame[20..24].copy_from_slice(&id.to_le_bytes());
        frame[HEADER..HEADER + message.len()].copy_from_slice(message);
    }

    /// Whether the term has room for so many messages of one size.
    fn fits(&self, count: usize, size: usize) -> bool {
        let bytes = count * (HEADER + size).next_multiple_of(32);
        (self.position & (self.term - 1)) + bytes as i64 <= self.term
    }

    fn offer(&mut self, publication: &AeronExclusivePublication) -> Result<()> {
        loop {
            match AeronOfferError::from_position(publication.offer_block(&self.bytes)) {
                Ok(position) => break self.position = position,
                Err(e) if e.is_retryable() => std::hint::spin_loop(),
                Err(e) => bail!("offer_block: {e:?}: {}", Client::errmsg()),
            }
        }
        self.bytes.clear();
        Ok(())
    }
}

const STREAM: i32 = 10;

/// What a poll hands messages to; an error ends it at the next look.
struct Receiver<'a> {
    checker: Checker<'a>,
    wrong: Option<anyhow::Error>,
}

impl Receiver<'_> {
    #[inline(always)]
    fn take(&mut self, message: &[u8]) {
        if let Err(e) = self.checker.check(message) {
            self.wrong.get_or_insert(e);
        }
    }
}

fn taken(receiver: &mut Receiver<'_>, message: &[u8], _: AeronHeader) {
    receiver.take(message);
}

impl Peer for Aeron {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let client = self.client()?;
        let publication = self.publication(&client, STREAM)?;
        if self.batch == 1 {
            return Ok(Box::new(move || {
                let _client = client;
                while let Some(message) = maker.next() {
                    offer(&publication, message)?;
                }
                Ok(())
            }));
        }
        let mut block = Block::new(&publication)?;
        Ok(Box::new(move || {
            let _client = client;
            loop {
                let parts = maker.next_batch();
                if parts.is_empty() {
                    return Ok(());
                }
                let whole = block.fits(parts.len(), self.size);
                for part in parts {
                    // SAFETY: the maker's own buffers, until its next batch.
                    let message =
                        unsafe { std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len) };
                    if whole {
                        block.add(message);
                    } else {
                        // The end of a term: each on its own, which fills it up and goes on in the next.
                        offer(&publication, message)?;
                    }
                }
                if whole {
                    block.offer(&publication)?;
                } else {
                    block.position = publication.position();
                }
            }
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, checker: Checker<'a>) -> Result<Work<'a>> {
        let client = self.client()?;
        let subscription = self.subscription(&client, STREAM)?;
        let mut assembler = AeronFragmentClosureAssembler::new().map_err(why)?;
        let whole = self.size <= MTU - HEADER;
        Ok(Box::new(move || {
            let _client = client;
            let (mut receiver, mut idle) = (Receiver { checker, wrong: None }, 0);
            while !receiver.checker.alone_and_done() {
                let count = if whole {
                    subscription.poll_fn(|message, _| receiver.take(message), FRAGMENTS)
                } else {
                    assembler.poll(&subscription, &mut receiver, taken, FRAGMENTS)
                };
                if let Some(e) = receiver.wrong.take() {
                    return Err(e);
                }
                if count.map_err(why)? > 0 {
                    idle = 0;
                    continue;
                }
                idle += 1;
                if idle % LOOK == 0 && receiver.checker.all()? {
                    break;
                }
                std::hint::spin_loop();
            }
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        let client = self.client()?;
        let (out, back) = if first { (STREAM, STREAM + 1) } else { (STREAM + 1, STREAM) };
        let publication = self.publication(&client, out)?;
        let subscription = self.subscription(&client, back)?;
        Ok(Box::new(move |turns| {
            let _client = client;
            let mut got = Ok(());
            turns.play(
                |bytes| offer(&publication, bytes),
                || {
                    while subscription.poll_fn(|m, _| got = same(m), 1).map_err(why)? == 0 {
                        std::hint::spin_loop();
                    }
                    std::mem::replace(&mut got, Ok(()))
                },
            )
        }))
    }
}
