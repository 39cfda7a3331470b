//! From channel messages to parcels.

use std::time::Instant;

use bytes::Bytes;

use super::Forward;
use crate::fail::{Failure, Result, FAILURE};
use crate::parcel::{Pack, Parcel};
use crate::plan::Place;

impl Forward {
    /// A message that was read.
    pub(super) fn take(&mut self, position: u64, data: &[u8]) -> Result<()> {
        if position <= self.read {
            // The cluster has it, or it is on its way.
            self.metrics.duplicates.add(1);
            return Ok(());
        }
        self.read = position;
        let most = match self.config.forward.max_message.0 {
            0 => self.payload_max,
            bytes => self.payload_max.min(bytes as usize),
        };
        if data.len() > most {
            self.finish_pack()?;
            return self.too_large(position, data);
        }
        // An earlier run has settled what this sequence holds; a publish of it may still be on its way.
        let settled = self.plan.place(self.next_sequence).filter(|p| p.previous == self.assigned);
        if settled.is_some_and(|place| position > place.last) && self.pack.count > 0 {
            // Its last messages are gone.
            self.finish_pack()?;
            return self.add(position, data, most);
        }
        if let Some(place) = settled.filter(|place| position <= place.last) {
            self.pack.add(position, data);
            if position == place.last {
                self.finish_pack()?;
            }
            return Ok(());
        }
        self.add(position, data, most)
    }

    fn add(&mut self, position: u64, data: &[u8], most: usize) -> Result<()> {
        let full = most.min(self.config.forward.pack_bytes.0 as usize);
        if self.pack.count > 0 && self.pack.len_with(data.len()) > full {
            self.finish_pack()?;
        }
        self.pack.add(position, data);
        if self.pack.count == self.config.forward.pack_messages {
            return self.finish_pack();
        }
        self.pack_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Close the pack that is being filled, if there is one.
    pub(super) fn finish_pack(&mut self) -> Result<()> {
        self.pack_since = None;
        if self.pack.count == 0 {
            return Ok(());
        }
        let (payload, count, last) = self.pack.take();
        self.make(payload, count, last, None)
    }

    /// Before the end: what an earlier run has settled is not cut short, but read again by the next one.
    pub(super) fn finish_or_drop_pack(&mut self) -> Result<()> {
        if self.pack_since.is_none() {
            self.pack = Pack::default();
        }
        self.finish_pack()
    }

    /// Too large for the stream: its bytes go to the dead letters, and a mark takes its place in the stream.
    fn too_large(&mut self, position: u64, data: &[u8]) -> Result<()> {
        let Some(letters) = &mut self.letters else {
            return Err(Failure::new(
                FAILURE,
                format_args!(
                    "the message at position {position} has {} bytes, more than the stream takes: raise max_payload \
                     of the servers, or set forward.dead_letter",
                    data.len()
                ),
            ));
        };
        letters.put(position, data)?;
        self.metrics.oversized.add(1);
        tracing::warn!(
            position,
            bytes = data.len(),
            "too large for the stream: it went to the dead letters"
        );
        self.make(Bytes::new(), 1, position, Some(data.len() as u64))
    }

    /// Give a parcel its sequence, for good.
    fn make(
        &mut self,
        payload: Bytes,
        count: usize,
        last: u64,
        oversized: Option<u64>,
    ) -> Result<()> {
        let (sequence, previous) = (self.next_sequence, self.assigned);
        self.plan.assign(Place { sequence, previous, last })?;
        self.next_sequence += 1;
        self.assigned = last;
        self.held += count;
        self.held_bytes += payload.len();
        let sent_at = Instant::now();
        let stored = false;
        self.made.push_back(Parcel {
            sequence,
            previous,
            last,
            count,
            oversized,
            payload,
            sent_at,
            stored,
        });
        Ok(())
    }
}
