//! The receiving side.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::{failed, Open};
use crate::channel::handles::task::{deferred, later, Listener};
use crate::consumer;
use crate::error::{Error, Result, DC_AGAIN};
use crate::options::{Message, Received, SubscribeOptions, ACK_RECEIVE};
use crate::sync::Mutex;

/// Receives messages, as a member of a group: each message of the channel goes to one consumer of every group.
///
/// Made by [`Producer::subscribe`](crate::Producer::subscribe) and [`Consumer::try_clone`]. A message is acknowledged as it
/// is received, as in disk-chan 0.3.0: it comes once, and a process that is killed takes with it what it was at work on.
/// ([`blocking`](crate::blocking) offers at least once.)
///
/// ```
/// # fn main() -> std::io::Result<()> { pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("channel");
/// let mut tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
/// let mut rx = tx.subscribe(0).await?;
/// tx.send("hello").await?;
/// let message = loop {
///     match rx.recv().await {
///         Some(message) => break message.to_vec(),
///         None => rx.next_page().await?,
///     }
/// };
/// assert_eq!(message, b"hello");
/// # Ok(()) }) }
/// ```
pub struct Consumer {
    open: Arc<Open>,
    group: usize,
    shared: Arc<Shared>,
}

/// What is locked for as long as it takes to look whether there is a message.
pub(super) struct Shared(Mutex<Inner>);

struct Inner {
    raw: consumer::Consumer,
    listener: Listener,
    /// What `recv`, which has no errors, leaves to `next_page`.
    failed: Option<io::Error>,
}

impl Shared {
    pub(super) fn give_back_ahead(&self) -> Result<()> {
        deferred(|| self.0.lock().raw.give_back_ahead())
    }
}

impl Consumer {
    pub(super) fn join(open: Arc<Open>, group: usize) -> Result<Consumer> {
        let options = SubscribeOptions { ack: ACK_RECEIVE, ..SubscribeOptions::default() };
        let raw = open.channel.subscribe(Some(group.to_string().as_bytes()), &options)?;
        let inner = Inner { raw, listener: Listener::default(), failed: None };
        Ok(Consumer { open, group, shared: Arc::new(Shared(Mutex::new(inner))) })
    }

    pub(super) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// Another consumer of the same group, for a task of its own.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> { pollster::block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("channel");
    /// let mut tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
    /// let rx = tx.subscribe(0).await?;
    /// let other = rx.try_clone().await?;
    /// tx.send("one").await?;
    /// tx.send("two").await?;
    /// assert_eq!(rx.recv().await, Some(&b"one"[..]));
    /// assert_eq!(other.recv().await, Some(&b"two"[..]));
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// At most 254 consumers a group; what the operating system refuses.
    pub async fn try_clone(&self) -> io::Result<Consumer> {
        self.open.subscribe(self.group).map_err(failed)
    }

    /// Receive the group's next message, or `None` at the end of this consumer's page: then call
    /// [`next_page`](Consumer::next_page), which also says what went wrong where that is why there is none.
    ///
    /// The bytes lie in the page, without a copy, and stay valid and unchanged until `next_page`: several may be held.
    ///
    /// Waits for a message without blocking the thread. Dropping the future before it is ready (a timeout, a branch of
    /// `select!`) loses nothing. Several tasks may wait for one consumer.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> { pollster::block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("channel");
    /// let mut tx = disk_chan::new(&path, 2_u32.pow(24), 16).await?;
    /// let rx = tx.subscribe(0).await?;
    /// tx.send("one").await?;
    /// tx.send("two").await?;
    /// let (one, two) = (rx.recv().await.unwrap(), rx.recv().await.unwrap());
    /// assert_eq!([one, two].concat(), b"onetwo");
    /// # Ok(()) }) }
    /// ```
    pub fn recv(&self) -> impl Future<Output = Option<&[u8]>> + use<'_> {
        Receiving { consumer: self, id: 0 }
    }

    /// Go on to the next page: what `recv` returned is given up. Never waits, and called early it skips nothing.
    ///
    /// ```compile_fail,E0502
    /// # async fn f(mut rx: disk_chan::Consumer) -> std::io::Result<()> {
    /// let message = rx.recv().await;
    /// rx.next_page().await?;
    /// println!("{message:?}"); // it lay in the page
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What kept [`recv`](Consumer::recv) from receiving: [`InvalidData`](io::ErrorKind::InvalidData), a message that is
    /// damaged on disk and was skipped (the next `recv` goes on); what the operating system refused.
    pub async fn next_page(&mut self) -> io::Result<()> {
        let mut inner = self.shared.0.lock();
        match inner.failed.take() {
            Some(e) => Err(e),
            None => inner.raw.next_page().map_err(failed),
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Consumer");
        all.field("channel", &self.open).field("group", &self.group).finish_non_exhaustive()
    }
}

struct Receiving<'a> {
    consumer: &'a Consumer,
    /// Which of the tasks that wait for the consumer; 0: it does not wait.
    id: u64,
}

impl<'a> Future for Receiving<'a> {
    type Output = Option<&'a [u8]>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<&'a [u8]>> {
        let Receiving { consumer, id } = self.get_mut();
        let found = deferred(|| {
            let mut inner = consumer.shared.0.lock();
            match inner.raw.at_hand(0) {
                Some(message) if *id == 0 => Poll::Ready(Some(message)),
                Some(message) => inner.took(message, id),
                None => inner.receive(id, cx),
            }
        });
        found.map(|message| Some(consumer.bytes(message?)))
    }
}

/// Rounds of one poll after which it gives way: each means that there was news, and that others were faster.
const TRIES: u32 = 8;

impl Inner {
    fn receive(&mut self, id: &mut u64, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut message = Message::default();
        for _ in 0..TRIES {
            match self.raw.recv(&mut message, 0) {
                Ok(Received::Message) => return self.took(message, id),
                Ok(Received::EndOfPage) => {
                    self.raw.unlisten(&mut self.listener, id, false);
                    return Poll::Ready(None);
                }
                // The ring moved on while nobody of the group was there: as 0.3.0, go on with what there is.
                Ok(Received::Lagged) => continue,
                Err(e) if e.code() == DC_AGAIN => {}
                Err(e) => return self.fail(e, message.position, id),
            }
            match self.raw.listen(&mut self.listener, id, cx.waker()) {
                Ok(false) => return Poll::Pending,
                Ok(true) => {}
                Err(e) => return self.fail(e, 0, id),
            }
        }
        later(cx.waker().clone(), true);
        Poll::Pending
    }

    #[inline]
    fn took(&mut self, message: Message, id: &mut u64) -> Poll<Option<Message>> {
        if *id != 0 {
            self.raw.unlisten(&mut self.listener, id, true);
        }
        Poll::Ready(Some(message))
    }

    #[cold]
    fn fail(&mut self, e: Error, position: u64, id: &mut u64) -> Poll<Option<Message>> {
        self.failed.get_or_insert_with(|| crate::blocking::Error::at(e, position).into());
        self.raw.unlisten(&mut self.listener, id, false);
        Poll::Ready(None)
    }
}

impl Consumer {
    /// A message's bytes, for as long as the consumer is borrowed.
    #[inline(always)]
    fn bytes(&self, message: Message) -> &[u8] {
        // SAFETY: the engine keeps the page, and what lies in it is not written again, until this handle's `next_page` or
        // its end, both of which need the consumer unborrowed.
        unsafe { std::slice::from_raw_parts(message.data, message.len) }
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            let Receiving { consumer, id } = self;
            deferred(|| {
                let inner = &mut *consumer.shared.0.lock();
                inner.raw.unlisten(&mut inner.listener, id, false);
            });
        }
    }
}

const _: fn() = || {
    fn both<T: Send + Sync + Unpin>() {}
    both::<Consumer>();
    both::<Receiving<'_>>();
};
