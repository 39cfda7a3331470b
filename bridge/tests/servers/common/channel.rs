//! The channel's side, as an application has it.

use std::path::Path;

use disk_chan::raw::options::{AUTO_NEXT_PAGE, RETAIN_UNREAD};
use disk_chan::raw::{Channel, Message, Options, Producer, Received, SubscribeOptions};

/// A lossless channel with a forwarder's group, so that nothing goes before it was forwarded.
pub fn create(path: &Path, page_size: u64) -> Channel {
    let options =
        Options { page_size, max_pages: 64, retention: RETAIN_UNREAD, ..Options::default() };
    Channel::open(path, &options).unwrap()
}

/// Messages that say their number, of this many bytes at least.
pub fn text(number: u64, width: usize) -> Vec<u8> {
    format!("{number:0width$}").into_bytes()
}

/// Sends numbers one after the other.
pub struct Writer {
    producer: Producer,
    pub next: u64,
    pub width: usize,
}

impl Writer {
    pub fn new(channel: &Channel, width: usize) -> Writer {
        Writer { producer: channel.producer().unwrap(), next: 0, width }
    }

    pub fn send(&mut self, count: u64) {
        for _ in 0..count {
            let message = text(self.next, self.width);
            self.producer.send(&message, 60_000).unwrap();
            self.next += 1;
        }
    }

    pub fn raw(&mut self, message: &[u8]) {
        self.producer.send(message, 60_000).unwrap();
    }
}

/// Everything in the channel, as an observer sees it.
pub fn read_all(channel: &Channel) -> Vec<Vec<u8>> {
    let options = SubscribeOptions { flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    let mut observer = channel.subscribe(None, &options).unwrap();
    let mut message = Message::default();
    let mut all = Vec::new();
    while let Ok(received) = observer.recv(&mut message, 0) {
        if received == Received::Message {
            // SAFETY: valid until the next receiving call.
            all.push(unsafe { std::slice::from_raw_parts(message.data, message.len) }.to_vec());
        }
    }
    all
}

/// Messages that the group has not received or not acknowledged.
pub fn waiting(channel: &Channel, group: &str) -> u64 {
    match channel.group_stats(group.as_bytes()) {
        Ok(info) => info.lag + info.unacked,
        // No such group yet.
        Err(_) => channel.stats().unwrap().messages,
    }
}
