//! The dead letters: a channel for messages that the stream cannot take, each once, in the order of their positions.
//!
//! A letter is the position (8 bytes, little-endian) and the message.

use std::path::Path;

use crate::channel::{Sent, Sink};
use crate::config::Durability;
use crate::fail::{Failure, Result, FAILURE};

pub struct DeadLetters {
    sink: Sink,
    /// Position of the last letter.
    last: u64,
}

impl DeadLetters {
    pub fn open(path: &Path) -> Result<DeadLetters> {
        // It is the only copy there will be.
        let sink = Sink::open(path, Durability::Always)?;
        let last = match sink.newest()? {
            Some(letter) => position(&letter).ok_or_else(|| {
                let text =
                    "has messages that are no dead letters: give them a channel of their own";
                Failure::new(FAILURE, format_args!("channel {} {text}", path.display()))
            })?,
            None => 0,
        };
        Ok(DeadLetters { sink, last })
    }

    /// A letter that is there already is not put in again.
    pub fn put(&mut self, position: u64, data: &[u8]) -> Result<()> {
        if position <= self.last {
            return Ok(());
        }
        let letter = [&position.to_le_bytes()[..], data].concat();
        let len = letter.len();
        match tokio::task::block_in_place(|| self.sink.send(&[letter], 10_000))? {
            Sent::Some(1) => {
                self.last = position;
                Ok(())
            }
            Sent::Some(_) => Err(Failure::new(FAILURE, "the dead letters are full: read them, or make room")),
            Sent::TooBig => Err(Failure::new(
                FAILURE,
                format_args!(
                    "a message of {len} bytes does not fit the dead letters, where the largest has {}: make that \
                     channel with larger pages",
                    self.sink.max_message
                ),
            )),
        }
    }
}

fn position(letter: &[u8]) -> Option<u64> {
    let word = letter.get(..8)?;
    Some(u64::from_le_bytes(std::array::from_fn(|i| word[i])))
}
