//! crossbeam-channel: in memory, in one process, no groups. Messages as vectors, or inline where their size is one of a few.

use anyhow::{bail, ensure, Result};
use crossbeam_channel::{bounded, Receiver, Sender};

use super::{Peer, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::{Spec, Workload};

/// Bytes that a channel holds at most.
const CAPACITY: usize = 16 << 20;

/// A message as it travels.
pub trait Parcel: AsRef<[u8]> + Send {
    fn pack(message: &[u8]) -> Self;
}

impl Parcel for Vec<u8> {
    fn pack(message: &[u8]) -> Self {
        message.to_vec()
    }
}

pub struct Inline<const N: usize>([u8; N]);

impl<const N: usize> AsRef<[u8]> for Inline<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> Parcel for Inline<N> {
    #[inline(always)]
    fn pack(message: &[u8]) -> Self {
        let mut inline = [0; N];
        inline.copy_from_slice(message);
        Inline(inline)
    }
}

pub struct Crossbeam<T> {
    /// Gone once every producer has its own: the receivers learn that nobody sends any more.
    sender: std::sync::Mutex<(Option<Sender<T>>, usize)>,
    receiver: Receiver<T>,
}

impl<T: Parcel> Crossbeam<T> {
    pub fn create(spec: &Spec) -> Result<Crossbeam<T>> {
        let capacity = match spec.workload {
            Workload::Stream => (CAPACITY / spec.size).clamp(16, 65_536),
            _ => spec.messages as usize,
        };
        let (sender, receiver) = bounded(capacity);
        Ok(Crossbeam { sender: std::sync::Mutex::new((Some(sender), spec.producers)), receiver })
    }
}

/// Of a size known when this was compiled.
pub fn inline(spec: &Spec) -> Result<Box<dyn Peer>> {
    Ok(match spec.size {
        16 => Box::new(Crossbeam::<Inline<16>>::create(spec)?),
        64 => Box::new(Crossbeam::<Inline<64>>::create(spec)?),
        100 => Box::new(Crossbeam::<Inline<100>>::create(spec)?),
        256 => Box::new(Crossbeam::<Inline<256>>::create(spec)?),
        1024 => Box::new(Crossbeam::<Inline<1024>>::create(spec)?),
        4096 => Box::new(Crossbeam::<Inline<4096>>::create(spec)?),
        other => bail!("no inline messages of {other} bytes"),
    })
}

impl<T: Parcel> Peer for Crossbeam<T> {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let mut first = self.sender.lock().unwrap_or_else(|e| e.into_inner());
        let Some(sender) = first.0.clone() else { bail!("more producers than were said") };
        first.1 -= 1;
        if first.1 == 0 {
            first.0 = None;
        }
        Ok(Box::new(move || {
            while let Some(message) = maker.next() {
                ensure!(sender.send(T::pack(message)).is_ok(), "nobody receives");
            }
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let receiver = self.receiver.clone();
        Ok(Box::new(move || {
            while let Ok(message) = receiver.recv() {
                checker.check(message.as_ref())?;
            }
            ensure!(checker.all()? || !checker.alone_and_done(), "not everything was received");
            Ok(())
        }))
    }
}
