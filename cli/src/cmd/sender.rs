//! Sending what was read, and knowing at any moment what of it was sent: for `send` and `import`.

use std::io::IoSlice;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use disk_chan::raw::error::{DC_AGAIN, DC_E_POISONED};
use disk_chan::raw::{Channel, Producer};

use super::SIGNAL;
use crate::fail::{warn, Failure, Result, FAILURE, NOTHING};
use crate::signals::{Patience, Stop};
use crate::units::{count, messages};

/// How long, once the wish to end is known, a send goes on waiting for room.
const GRACE: Duration = Duration::from_secs(2);

/// What was read and what was sent, for whoever ends the process.
#[derive(Clone, Default)]
pub struct Counts {
    read: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

impl Counts {
    pub fn sent(&self) -> u64 {
        self.sent.load(SeqCst)
    }

    /// "3 messages were sent, 2 were read and not sent".
    pub fn told(&self) -> String {
        let sent = self.sent();
        let left = self.read.load(SeqCst).saturating_sub(sent);
        let were = if sent == 1 { "was" } else { "were" };
        format!("{} {were} sent, {} read and not sent", messages(sent), count(left))
    }
}

pub struct Sender {
    channel: Channel,
    producer: Producer,
    timeout: Option<Duration>,
    stop: Rc<Stop>,
    counts: Counts,
}

/// From here on signals are watched for; a second one ends the process and says what was sent.
pub fn watch() -> Result<(Rc<Stop>, Counts)> {
    let counts = Counts::default();
    let told = counts.clone();
    let stop = Stop::watch(move || warn(format_args!("ended at once: {}", told.told())))?;
    Ok((Rc::new(stop), counts))
}

impl Sender {
    pub fn new(
        channel: Channel,
        timeout: Option<Duration>,
        stop: Rc<Stop>,
        counts: Counts,
    ) -> Result<Sender> {
        let producer = channel.producer()?;
        Ok(Sender { channel, producer, timeout, stop, counts })
    }

    /// The largest message there is room for.
    pub fn largest(&self) -> Result<u64> {
        Ok(self.channel.stats()?.max_message)
    }

    /// Send all of these, waiting for room. A failure says what was sent and what was not.
    pub fn send(&mut self, batch: &[Vec<u8>]) -> Result<()> {
        self.counts.read.fetch_add(batch.len() as u64, SeqCst);
        let slices: Vec<IoSlice<'_>> = batch.iter().map(|m| IoSlice::new(m)).collect();
        let mut done = 0;
        let mut patience = Patience::new(self.timeout);
        let mut grace: Option<Patience> = None;
        while done < slices.len() {
            if self.stop.wanted() {
                grace.get_or_insert_with(|| Patience::new(Some(GRACE)));
            }
            let over = patience.over() || grace.as_ref().is_some_and(Patience::over);
            let mut sent = 0;
            let result = self.producer.send_batch(&slices[done..], patience.slice_ms(), &mut sent);
            done += sent;
            self.counts.sent.fetch_add(sent as u64, SeqCst);
            match result {
                Ok(()) => {}
                Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) => {
                    if sent > 0 {
                        patience = Patience::new(self.timeout);
                    } else if over {
                        let text = format!("there was no room in time: {}", self.counts.told());
                        let remedy = "receive some, or give a longer --timeout";
                        return Err(Failure::new(NOTHING, text).with_remedy(remedy));
                    }
                }
                Err(e) => {
                    let unknown = e.code() == DC_E_POISONED;
                    let failure = Failure::from(e);
                    let mut text = format!("{}; {}", failure.text, self.counts.told());
                    if unknown {
                        text += "; whether the last of them were sent after all, nobody knows";
                    }
                    return Err(Failure::new(failure.code, text));
                }
            }
        }
        Ok(())
    }

    /// Wait until all that was sent is on stable storage.
    pub fn sync(&mut self) -> Result<()> {
        let patience = Patience::new(None);
        loop {
            match self.producer.sync(patience.slice_ms()) {
                Ok(()) => return Ok(()),
                Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) && !self.stop.wanted() => {}
                Err(e) if matches!(e.code(), DC_AGAIN | SIGNAL) => {
                    let text = "interrupted before all that was sent was on stable storage";
                    return Err(Failure::new(FAILURE, text).with_remedy("`send --sync` repeats it"));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}
