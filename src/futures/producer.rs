//! The sending side.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{failed, Consumer, Open};
use crate::channel::handles::task::Listener;
use crate::error::{Result, DC_AGAIN};
use crate::producer;
use crate::sync::Mutex;

/// Sends messages to the channel that [`new`](crate::new) opened, and subscribes to it.
///
/// Each clone is a producer of its own, for a task of its own. A channel has at most 1,024 producers and consumers; clones
/// that have sent nothing yet do not count.
///
/// ```
/// # fn main() -> std::io::Result<()> { pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("channel");
/// let tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
/// let rx = tx.subscribe(0).await?;
/// for i in 0..3 {
///     let mut tx_c = tx.clone();
///     tx_c.send(format!("from clone {i}")).await?;
/// }
/// assert_eq!(rx.recv().await, Some("from clone 0".as_bytes()));
/// # Ok(()) }) }
/// ```
pub struct Producer {
    open: Arc<Open>,
    /// Made by the first send. The lock is for `Sync` alone: nobody ever takes it.
    own: Mutex<Option<Box<Own>>>,
}

struct Own {
    raw: producer::Producer,
    listener: Listener,
}

impl Own {
    fn new(open: &Open) -> Result<Box<Own>> {
        Ok(Box::new(Own { raw: open.channel.producer()?, listener: Listener::default() }))
    }
}

impl Producer {
    pub(super) fn first(open: Arc<Open>) -> Result<Producer> {
        let own = Own::new(&open)?;
        Ok(Producer { open, own: Mutex::new(Some(own)) })
    }

    /// The same as `clone`, for the sake of symmetry with [`Consumer::try_clone`]; it never fails.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> { pollster::block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("channel");
    /// let tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
    /// tx.try_clone().await?.send("hello").await?;
    /// # Ok(()) }) }
    /// ```
    pub async fn try_clone(&self) -> io::Result<Producer> {
        Ok(self.clone())
    }

    /// A new consumer of a group. Each message goes to one consumer of every group, beginning with the oldest message
    /// kept when the group's first consumer came. Any number names a group.
    ///
    /// A group lives on disk: later consumers go on where earlier ones ended. To the other interfaces its name is the
    /// number in decimal.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> { pollster::block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("channel");
    /// let mut tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
    /// tx.send("for both").await?;
    /// let (one, other) = (tx.subscribe(1).await?, tx.subscribe(7_000).await?);
    /// assert_eq!(one.recv().await, other.recv().await);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// At most 254 consumers a group, at least 64 groups; what the operating system refuses.
    pub async fn subscribe(&self, group: usize) -> io::Result<Consumer> {
        self.open.subscribe(group).map_err(failed)
    }

    /// Send one message. Waits, without blocking the thread, while the channel is full of what live consumers have not
    /// received; it is sent when the future is ready, and not at all where the future is dropped before.
    ///
    /// What was sent survives the end of the process at any moment, and outlives a crash of the machine once the kernel
    /// has written it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> { pollster::block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("channel");
    /// let mut tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
    /// tx.send("text").await?;
    /// tx.send(b"bytes").await?;
    /// tx.send(vec![1, 2, 3]).await?;
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput): the message can never fit a page. Others as of
    /// [`blocking::Producer::send`](crate::blocking::Producer::send).
    pub fn send<'a, V: AsRef<[u8]>>(
        &'a mut self,
        val: V,
    ) -> impl Future<Output = io::Result<()>> + use<'a, V> {
        Sending { producer: self, val, id: 0 }
    }

    /// The engine's producer.
    #[inline(always)]
    fn own(&mut self) -> Result<&mut Own> {
        let own = self.own.get_mut();
        if own.is_none() {
            *own = Some(Own::new(&self.open)?);
        }
        // It was made just now, or before.
        own.as_deref_mut().ok_or(crate::error::Error::silent(crate::error::DC_E_INTERNAL))
    }
}

impl Clone for Producer {
    fn clone(&self) -> Producer {
        Producer { open: self.open.clone(), own: Mutex::new(None) }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("channel", &self.open).finish_non_exhaustive()
    }
}

struct Sending<'a, V> {
    producer: &'a mut Producer,
    val: V,
    /// Which of the tasks that wait for the producer; 0: it does not wait.
    id: u64,
}

/// Nothing of it is pinned.
impl<V> Unpin for Sending<'_, V> {}

impl<V: AsRef<[u8]>> Future for Sending<'_, V> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Sending { producer, val, id } = self.get_mut();
        let own = match producer.own() {
            Ok(own) => own,
            Err(e) => return Poll::Ready(Err(failed(e))),
        };
        match own.raw.send(val.as_ref(), 0) {
            Ok(()) if *id == 0 => Poll::Ready(Ok(())),
            Err(e) if e.code() == DC_AGAIN => own.wait(val.as_ref(), id, cx),
            done => {
                own.raw.unlisten(&mut own.listener, id);
                Poll::Ready(done.map_err(failed))
            }
        }
    }
}

/// Tries of one poll after which it gives way: each means that there was room, and that others were faster.
const TRIES: u32 = 8;

impl Own {
    #[cold]
    fn wait(&mut self, data: &[u8], id: &mut u64, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TRIES {
            let done = match self.raw.listen(&mut self.listener, id, cx.waker()) {
                Ok(false) => return Poll::Pending,
                Ok(true) => self.raw.send(data, 0),
                Err(e) => Err(e),
            };
            match done {
                Err(e) if e.code() == DC_AGAIN => {}
                done => {
                    self.raw.unlisten(&mut self.listener, id);
                    return Poll::Ready(done.map_err(failed));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<V> Drop for Sending<'_, V> {
    fn drop(&mut self) {
        if self.id != 0 {
            if let Some(own) = self.producer.own.get_mut() {
                own.raw.unlisten(&mut own.listener, &mut self.id);
            }
        }
    }
}

const _: fn() = || {
    fn both<T: Send + Sync + Unpin>() {}
    both::<Producer>();
    both::<Sending<'_, Vec<u8>>>();
};
