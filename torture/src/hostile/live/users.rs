//! A user of a channel that somebody else is writing over: every call, in any order, each with a limit.

use std::ffi::c_int;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use anyhow::{ensure, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BOUND;
use crate::abi::*;
use crate::hostile::bases::{message, GROUP};
use crate::hostile::work::{a_code, sound};

/// The calls, for whoever asks what a user is at.
pub const CALLS: [&str; 25] = [
    "dc_open",
    "dc_producer_open",
    "dc_subscribe",
    "dc_send",
    "dc_send_batch",
    "dc_reserve",
    "dc_commit",
    "dc_abort",
    "dc_sync",
    "dc_recv",
    "dc_recv_batch",
    "dc_next_page",
    "dc_ack",
    "dc_nack",
    "dc_seek",
    "dc_consumer_stats",
    "dc_channel_stats",
    "dc_group_stats",
    "dc_group_next",
    "dc_channel_sync",
    "dc_maintain",
    "dc_verify",
    "dc_group_delete",
    "dc_consumer_fd",
    "closing",
];

pub struct User<'a> {
    lib: Lib,
    dir: &'a Path,
    rng: ChaCha8Rng,
    place: &'a super::User,
    begin: Instant,
    guard: u32,
    channel: Handle,
    producer: Handle,
    consumers: [Handle; 2],
    sent: u64,
}

impl<'a> User<'a> {
    pub fn new(
        lib: Lib,
        dir: &'a Path,
        rng: ChaCha8Rng,
        place: &'a super::User,
        begin: Instant,
        guarded: bool,
    ) -> User<'a> {
        let guard = if guarded { DC_SIGBUS_GUARD } else { 0 };
        let none = std::ptr::null_mut();
        let (channel, producer, consumers) = (none, none, [none; 2]);
        User { lib, dir, rng, place, begin, guard, channel, producer, consumers, sent: 1000 }
    }

    /// Use the channel until the round is over, and close what is open.
    pub fn work(mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.step()?;
        }
        self.close_all()
    }

    /// Make a call: it ends in time, with a code.
    fn call(&mut self, name: &str, call: impl FnOnce(&Lib) -> c_int) -> Result<c_int> {
        let index = CALLS.iter().position(|&c| c == name).unwrap_or(0);
        self.place.call.store(index as u32, SeqCst);
        self.place.since.store(self.begin.elapsed().as_millis() as u64 + 1, SeqCst);
        let start = Instant::now();
        let code = call(&self.lib);
        let took = start.elapsed();
        self.place.since.store(0, SeqCst);
        self.place.calls.fetch_add(1, SeqCst);
        self.place.slowest_us.fetch_max(took.as_micros() as u64, SeqCst);
        ensure!(took < BOUND, "{name} took {took:?}");
        a_code(self.lib, name, code)
    }

    fn step(&mut self) -> Result<()> {
        if self.channel.is_null() {
            return self.open();
        }
        match self.rng.random_range(0..100) {
            0..3 => self.close_all(),
            3..8 if self.producer.is_null() => self.producer(),
            3..15 => self.subscribe(),
            15..45 if !self.producer.is_null() => self.send(),
            15..45 => self.producer(),
            45..80 => self.receive(),
            80..90 => self.consumer_call(),
            _ => self.channel_call(),
        }
    }

    fn open(&mut self) -> Result<()> {
        let kind = [DC_NO_THREAD, DC_NO_THREAD, 0, DC_READ_ONLY][self.rng.random_range(0..4)];
        let o = Options {
            flags: DC_EXISTING | self.guard | kind,
            durability: self.rng.random_range(0..4),
            sync_interval_ms: 5,
            stall_timeout_ms: self.rng.random_range(1..20),
            ..Options::default()
        };
        let (path, mut channel) = (c_path(self.dir), std::ptr::null_mut());
        // SAFETY: valid pointers.
        self.call("dc_open", |lib| unsafe { (lib.dc_open)(path.as_ptr(), &o, &mut channel) })?;
        self.channel = channel;
        Ok(())
    }

    fn close_all(&mut self) -> Result<()> {
        let none = std::ptr::null_mut();
        let consumers = std::mem::replace(&mut self.consumers, [none; 2]);
        let producer = std::mem::replace(&mut self.producer, none);
        let channel = std::mem::replace(&mut self.channel, none);
        self.call("closing", |lib| {
            consumers.into_iter().for_each(|c| lib.consumer_close(c));
            lib.producer_close(producer);
            lib.close(channel);
            DC_OK
        })
        .map(drop)
    }

    fn producer(&mut self) -> Result<()> {
        let (channel, mut p) = (self.channel, std::ptr::null_mut());
        // SAFETY: a live handle, valid pointers.
        self.call("dc_producer_open", |lib| unsafe { (lib.dc_producer_open)(channel, &mut p) })?;
        self.producer = p;
        Ok(())
    }

    fn subscribe(&mut self) -> Result<()> {
        let place = self.rng.random_range(0..2);
        let old = std::mem::replace(&mut self.consumers[place], std::ptr::null_mut());
        self.lib.consumer_close(old);
        let group = [None, Some(GROUP), Some(c"new")][self.rng.random_range(0..3)];
        let o = SubscribeOptions {
            start: [0, DC_EARLIEST, DC_LATEST, u64::MAX - 9, 2 << 16][self.rng.random_range(0..5)],
            ack: self.rng.random_range(0..4),
            max_unacked: 30,
            prefetch: self.rng.random_range(0..20),
            flags: self.rng.random_range(0..2),
            ..SubscribeOptions::default()
        };
        let (channel, mut c) = (self.channel, std::ptr::null_mut());
        let name = group.map_or(std::ptr::null(), |g| g.as_ptr());
        // SAFETY: a live handle, valid pointers.
        self.call("dc_subscribe", |lib| unsafe { (lib.dc_subscribe)(channel, name, &o, &mut c) })?;
        self.consumers[place] = c;
        if !c.is_null() && self.rng.random_range(0..4) == 0 {
            // SAFETY: a live handle. A descriptor is no code.
            self.call("dc_consumer_fd", |lib| unsafe { (lib.dc_consumer_fd)(c) }.min(0))?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let p = self.producer;
        let timeout = self.rng.random_range(0..3);
        self.sent += 1;
        let bytes = message(self.sent);
        match self.rng.random_range(0..8) {
            0 => {
                let batch: Vec<_> = (0..self.rng.random_range(1..30)).map(message).collect();
                let mut sent = 0;
                self.call("dc_send_batch", |lib| {
                    let (code, n) = lib.send_batch(p, &batch, timeout);
                    sent = n;
                    code
                })?;
                ensure!(sent <= batch.len(), "{sent} of {} sent", batch.len());
            }
            1 => {
                if self.call("dc_reserve", |lib| lib.reserve(p, &bytes, timeout))? == DC_OK {
                    if self.rng.random_range(0..3) == 0 {
                        self.call("dc_abort", |lib| lib.abort(p))?;
                    } else if self.call("dc_commit", |lib| lib.commit(p, bytes.len()))? != DC_OK {
                        self.call("dc_abort", |lib| lib.abort(p))?;
                    }
                }
            }
            2 => drop(self.call("dc_sync", |lib| lib.sync(p, timeout))?),
            _ => {
                let code = self.call("dc_send", |lib| lib.send(p, &bytes, timeout))?;
                if code == DC_E_POISONED {
                    self.close_all()?;
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let c = self.consumers[self.rng.random_range(0..2)];
        let timeout = self.rng.random_range(0..3);
        let mut m = [Message::default(); 12];
        let mut n = 0;
        let code = if self.rng.random_range(0..4) == 0 {
            let max = self.rng.random_range(1..=m.len());
            // SAFETY: a live handle or NULL, valid pointers, room for `max`.
            self.call("dc_recv_batch", |lib| unsafe {
                (lib.dc_recv_batch)(c, m.as_mut_ptr(), max, timeout, &mut n)
            })?
        } else {
            n = 1;
            // SAFETY: a live handle or NULL, valid pointers.
            self.call("dc_recv", |lib| unsafe { (lib.dc_recv)(c, &mut m[0], timeout) })?
        };
        if code == DC_OK {
            ensure!((1..=m.len()).contains(&n), "{n} received");
            // What they hold is as the hand left it, but it is there to be read.
            m[..n].iter().try_for_each(|m| sound(m, false))?;
        }
        if code == DC_END_OF_PAGE {
            self.call("dc_next_page", |lib| lib.next_page(c))?;
        }
        Ok(())
    }

    fn consumer_call(&mut self) -> Result<()> {
        let c = self.consumers[self.rng.random_range(0..2)];
        let to = [DC_EARLIEST, DC_LATEST, u64::MAX - 5, 3 << 16 | 2, 1 << 50]
            [self.rng.random_range(0..5)];
        let mut info = ConsumerInfo::default();
        match self.rng.random_range(0..5) {
            0 => self.call("dc_ack", |lib| lib.ack(c, to)),
            1 => self.call("dc_nack", |lib| lib.nack(c)),
            2 => self.call("dc_next_page", |lib| lib.next_page(c)),
            3 => self.call("dc_seek", |lib| lib.seek(c, to)),
            // SAFETY: a live handle or NULL, valid pointers.
            _ => self
                .call("dc_consumer_stats", |lib| unsafe { (lib.dc_consumer_stats)(c, &mut info) }),
        }
        .map(drop)
    }

    fn channel_call(&mut self) -> Result<()> {
        let (ch, dir) = (self.channel, self.dir);
        let timeout = self.rng.random_range(0..5);
        let mut name = [0; 256];
        match self.rng.random_range(0..7) {
            0 => self.call("dc_channel_stats", |lib| lib.channel_stats(ch).0),
            1 => self.call("dc_group_stats", |lib| lib.group_stats(ch, GROUP).0),
            // SAFETY: a live handle, valid pointers.
            2 => self.call("dc_group_next", |lib| unsafe {
                (lib.dc_group_next)(ch, std::ptr::null(), name.as_mut_ptr(), name.len())
            }),
            3 => self.call("dc_channel_sync", |lib| lib.channel_sync(ch, timeout)),
            4 => self.call("dc_maintain", |lib| lib.maintain(ch, timeout)),
            5 => self.call("dc_verify", |lib| lib.verify(dir).0),
            _ => self.call("dc_group_delete", |lib| lib.group_delete(ch, c"new")),
        }
        .map(drop)
    }
}
