//! Receiving, as every command that prints or copies messages does it: pages turned, gaps and damage reported.

use std::mem::MaybeUninit;

use disk_chan::raw::error::{DC_AGAIN, DC_E_CORRUPT};
use disk_chan::raw::{Channel, Consumer, Message, Received, SubscribeOptions};

use crate::cmd::SIGNAL;
use crate::fail::{warn, Result, DAMAGED, OK};
use crate::units::messages;

/// A consumer or an observer on its way.
pub struct Walk<'a> {
    channel: &'a Channel,
    consumer: Consumer,
    /// None: an observer.
    group: Option<&'a [u8]>,
    received: Vec<MaybeUninit<Message>>,
    batch: Vec<Message>,
    /// Messages that retention dropped in front of this observer.
    pub lost: u64,
    /// Messages that were damaged and passed over.
    pub corrupt: u64,
}

impl<'a> Walk<'a> {
    /// An observer from `start` on.
    pub fn observe(channel: &'a Channel, start: u64) -> Result<Walk<'a>> {
        let options = SubscribeOptions { start, ..SubscribeOptions::default() };
        Walk::new(channel, None, &options)
    }

    /// A member of a group.
    pub fn join(
        channel: &'a Channel,
        group: &'a [u8],
        options: &SubscribeOptions,
    ) -> Result<Walk<'a>> {
        Walk::new(channel, Some(group), options)
    }

    fn new(
        channel: &'a Channel,
        group: Option<&'a [u8]>,
        options: &SubscribeOptions,
    ) -> Result<Walk<'a>> {
        let consumer = channel.subscribe(group, options)?;
        let received = vec![MaybeUninit::new(Message::default()); 255];
        Ok(Walk { channel, consumer, group, received, batch: Vec::new(), lost: 0, corrupt: 0 })
    }

    /// The next messages, at most `most`; none: nothing came in time. They are valid until the next step.
    pub fn step(&mut self, most: usize, timeout_ms: i32) -> Result<&[Message]> {
        self.batch.clear();
        loop {
            let most = most.min(self.received.len());
            self.received[0] = MaybeUninit::new(Message::default());
            let mut n = 0;
            match self.consumer.recv_batch(&mut self.received[..most], timeout_ms, &mut n) {
                Ok(Received::Message) => {
                    // SAFETY: all were initialised by `new`.
                    let message = |m: &MaybeUninit<Message>| unsafe { m.assume_init() };
                    self.batch.extend(self.received[..n].iter().map(message));
                    return Ok(&self.batch);
                }
                Ok(Received::EndOfPage) => self.consumer.next_page()?,
                Ok(Received::Lagged) => self.lagged()?,
                Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) => return Ok(&self.batch),
                Err(e) if e.code() == DC_E_CORRUPT => {
                    // SAFETY: as above.
                    let at = unsafe { self.received[0].assume_init() }.position;
                    if at == 0 {
                        // Not a message, but a file that was cut.
                        return Err(e.into());
                    }
                    self.corrupt += 1;
                    warn(format_args!("the message at {at} is damaged and was passed over"));
                    if self.group.is_some() {
                        self.consumer.ack(at)?;
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// What the last step returned.
    pub fn last_batch(&self) -> &[Message] {
        &self.batch
    }

    /// Acknowledge everything received up to this position.
    pub fn ack(&mut self, position: u64) -> Result<()> {
        Ok(self.consumer.ack(position)?)
    }

    /// Whether everything before `end` has been passed.
    pub fn passed(&self, end: u64) -> Result<bool> {
        Ok(self.consumer.stats()?.position >= end)
    }

    /// `OK`, or what to end with after damage.
    pub fn code(&self) -> u8 {
        if self.corrupt > 0 {
            DAMAGED
        } else {
            OK
        }
    }

    fn lagged(&mut self) -> Result<()> {
        match self.group {
            // The gap may be older than this consumer, and only the group knows how large it is.
            Some(group) => {
                let lost = self.channel.group_stats(group)?.lost;
                warn(format_args!(
                    "retention dropped messages before they were read: {} of this group so far",
                    messages(lost)
                ));
            }
            None => {
                let lost = self.consumer.stats()?.lost;
                let more = lost.saturating_sub(std::mem::replace(&mut self.lost, lost));
                warn(format_args!("retention dropped {} before they were read", messages(more)));
            }
        }
        Ok(())
    }
}
