//! What a worker is and has: its channel, its part, its generator; and the parts that do not produce or
//! consume for the account.

use std::ffi::{c_int, CStr, CString};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{bail, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::state::{State, GROUPS, NAMES};
use crate::abi::*;
use crate::payload::Load;

/// What a process does all its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Producer(usize),
    /// A consumer of this group; `immune`: never killed, so that the group always has a live consumer.
    Consumer {
        group: usize,
        immune: bool,
    },
    Observer,
    /// Moves a group of its own to and fro.
    Mover,
    /// Makes, drains and deletes groups.
    Churn,
    /// Opens, looks, flushes, maintains, closes.
    Opener,
}

pub struct Worker<'a> {
    pub lib: Lib,
    pub s: &'a State,
    pub path: &'a Path,
    pub slot: usize,
    pub rng: ChaCha8Rng,
    pub retention: u32,
}

/// An unknown code must be one of these, or the worker fails.
pub fn expect(lib: &Lib, code: c_int, call: &str, allowed: &[c_int]) -> Result<c_int> {
    if allowed.contains(&code) {
        return Ok(code);
    }
    bail!("{call}: {}", lib.why(code))
}

impl Worker<'_> {
    pub fn run(mut self, part: Part) -> Result<()> {
        match part {
            Part::Producer(id) => self.produce(id),
            Part::Consumer { group, immune } => self.consume(group, immune),
            Part::Observer => self.observe(),
            Part::Mover => self.move_about(),
            Part::Churn => self.churn(),
            Part::Opener => self.open_and_close(),
        }
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    /// A call returned: this worker is not stuck.
    pub fn beat(&self) {
        self.s.slots[self.slot].beat.fetch_add(1, SeqCst);
    }

    /// Before a call: what it would be stuck in.
    pub fn calls(&self, name: &'static str) {
        let id = CALLS.iter().position(|c| *c == name).map_or(0, |i| i as u32 + 1);
        self.s.slots[self.slot].call.store(id, SeqCst);
        self.beat();
    }

    pub fn open(&mut self) -> Result<Handle> {
        let flags = if self.one_in(3) { 0 } else { DC_NO_THREAD };
        let durability = match self.rng.random_range(0..10) {
            0 => DC_SYNC_ALWAYS,
            1 | 2 => DC_SYNC_INTERVAL,
            _ => DC_SYNC_NONE,
        };
        let sync_interval_ms = self.rng.random_range(1..50);
        let o = Options {
            flags: flags | DC_EXISTING,
            durability,
            sync_interval_ms,
            ..Default::default()
        };
        self.calls("dc_open");
        self.lib.open(self.path, &o).or_else(|code| bail!("dc_open: {}", self.lib.why(code)))
    }

    pub fn subscribe(
        &mut self,
        channel: Handle,
        group: Option<&CStr>,
        o: &SubscribeOptions,
    ) -> Result<Handle> {
        let mut consumer = null_mut();
        let name = group.map_or(std::ptr::null(), CStr::as_ptr);
        self.calls("dc_subscribe");
        // SAFETY: all pointers are valid during the call.
        let code = unsafe { (self.lib.dc_subscribe)(channel, name, o, &mut consumer) };
        // Only of groups that others delete, where the killer has stopped one in the middle of it.
        let deleted = group.is_some_and(|g| g.to_bytes().starts_with(b"churn"));
        if code != DC_E_BUSY || !deleted {
            self.lib.ok(code, "dc_subscribe")?;
        }
        Ok(consumer)
    }

    /// The code for what retention dropped, where it may drop: always but for what `keeps` it.
    pub fn lagged(&self, keeps: bool) -> c_int {
        if keeps {
            DC_OK
        } else {
            DC_LAGGED
        }
    }

    /// Receive and check one message of a group without an account (`keeps`: it loses nothing).
    fn receive(
        &mut self,
        consumer: Handle,
        timeout_ms: i32,
        keeps: bool,
    ) -> Result<Option<(Load, u64)>> {
        let mut m = Message::default();
        self.calls("dc_recv");
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_recv)(consumer, &mut m, timeout_ms) };
        let allowed = [DC_OK, DC_AGAIN, DC_END_OF_PAGE, self.lagged(keeps)];
        match expect(&self.lib, code, "dc_recv", &allowed)? {
            // SAFETY: received just now.
            DC_OK => Ok(Some((Load::check(unsafe { m.payload() })?, m.position))),
            DC_END_OF_PAGE => {
                // SAFETY: a consumer of this process.
                self.lib.ok(unsafe { (self.lib.dc_next_page)(consumer) }, "dc_next_page")?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Sees every message in the order sent, whoever dies.
    fn observe(&mut self) -> Result<()> {
        while !self.s.stopped() {
            let channel = self.open()?;
            let start = if self.one_in(2) { DC_EARLIEST } else { DC_LATEST - 20 };
            let o = SubscribeOptions { start, ..Default::default() };
            let observer = self.subscribe(channel, None, &o)?;
            let (mut next, mut last) = ([0; super::state::PRODUCERS], 0);
            for _ in 0..3000 {
                if self.s.stopped() {
                    break;
                }
                let Some((load, position)) = self.receive(observer, 5, false)? else { continue };
                let next = &mut next[load.sender as usize];
                if load.sequence < *next || position <= last {
                    bail!("an observer got {load:?} at {position:x} after {next} and {last:x}");
                }
                (*next, last) = (load.sequence + 1, position);
            }
            self.close(&[observer], channel);
        }
        Ok(())
    }

    /// Close consumers and their channel, in either order.
    pub fn close(&mut self, consumers: &[Handle], channel: Handle) {
        self.calls("dc_close");
        let first = self.one_in(2);
        // SAFETY: handles of this process, closed once.
        unsafe {
            if first {
                (self.lib.dc_close)(channel);
            }
            consumers.iter().for_each(|&c| (self.lib.dc_consumer_close)(c));
            if !first {
                (self.lib.dc_close)(channel);
            }
        }
        self.beat();
    }

    fn move_about(&mut self) -> Result<()> {
        let unread = self.retention == DC_RETAIN_UNREAD;
        while !self.s.stopped() {
            let channel = self.open()?;
            let o = SubscribeOptions { ack: self.rng.random_range(1..4), ..Default::default() };
            let consumer = self.subscribe(channel, Some(c"moved"), &o)?;
            for _ in 0..20 {
                let to = match self.rng.random_range(0..4) {
                    0 => DC_EARLIEST,
                    1 => DC_LATEST,
                    _ => DC_LATEST - self.rng.random_range(0..60),
                };
                self.calls("dc_seek");
                // SAFETY: a consumer of this process.
                let code = unsafe { (self.lib.dc_seek)(consumer, to) };
                expect(&self.lib, code, "dc_seek", &[DC_OK, DC_E_BUSY])?;
                for _ in 0..self.rng.random_range(1..100) {
                    self.receive(consumer, 1, unread)?;
                }
            }
            self.close(&[consumer], channel);
        }
        self.delete(c"moved", &[DC_OK, DC_E_BUSY, -libc::ENOENT])
    }

    fn delete(&mut self, name: &CStr, allowed: &[c_int]) -> Result<()> {
        let channel = self.open()?;
        self.calls("dc_group_delete");
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_group_delete)(channel, name.as_ptr()) };
        expect(&self.lib, code, "dc_group_delete", allowed)?;
        self.close(&[], channel);
        Ok(())
    }

    /// Several of these meet over the same names.
    fn churn(&mut self) -> Result<()> {
        let unread = self.retention == DC_RETAIN_UNREAD;
        let names: Vec<_> = (0..4).map(|n| CString::new(format!("churn{n}"))).collect();
        let names = names.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
        while !self.s.stopped() {
            let channel = self.open()?;
            for name in &names {
                let o = SubscribeOptions { start: DC_LATEST - 5, ..Default::default() };
                let consumer = self.subscribe(channel, Some(name), &o)?;
                if consumer.is_null() {
                    continue;
                }
                for _ in 0..self.rng.random_range(0..10) {
                    self.receive(consumer, 0, unread)?;
                }
                if self.one_in(2) {
                    // SAFETY: closed once.
                    unsafe { (self.lib.dc_consumer_close)(consumer) };
                    self.delete(name, &[DC_OK, DC_E_BUSY, -libc::ENOENT])?;
                } else {
                    self.delete(name, &[DC_E_BUSY])?;
                    // SAFETY: closed once.
                    unsafe { (self.lib.dc_consumer_close)(consumer) };
                }
            }
            self.close(&[], channel);
        }
        for name in &names {
            self.delete(name, &[DC_OK, DC_E_BUSY, -libc::ENOENT])?;
        }
        Ok(())
    }

    fn open_and_close(&mut self) -> Result<()> {
        while !self.s.stopped() {
            let channel = self.open()?;
            for _ in 0..self.rng.random_range(1..6) {
                let (mut info, mut group) = (ChannelInfo::default(), GroupInfo::default());
                let name = NAMES[self.rng.random_range(0..GROUPS)].as_ptr();
                self.calls("stats");
                // SAFETY: valid pointers, here and below.
                unsafe {
                    self.lib.ok((self.lib.dc_channel_stats)(channel, &mut info), "stats")?;
                    self.lib.ok((self.lib.dc_group_stats)(channel, name, &mut group), "stats")?;
                    if info.poisoned + info.recoveries != 0 {
                        bail!("poisoned or recovered: {info:?}");
                    }
                    self.calls("dc_channel_sync");
                    let code = (self.lib.dc_channel_sync)(channel, 20);
                    expect(&self.lib, code, "dc_channel_sync", &[DC_OK, DC_AGAIN])?;
                    self.calls("dc_maintain");
                    let code = (self.lib.dc_maintain)(channel, 1);
                    expect(&self.lib, code, "dc_maintain", &[DC_OK, DC_AGAIN])?;
                }
            }
            self.close(&[], channel);
            crate::process::sleep_us(self.rng.random_range(0..2000));
        }
        Ok(())
    }
}

/// Names of calls, by their numbers in `Slot::call`.
pub const CALLS: [&str; 17] = [
    "dc_open",
    "dc_close",
    "dc_subscribe",
    "dc_consumer_close",
    "dc_recv",
    "dc_recv_batch",
    "dc_next_page",
    "dc_ack",
    "dc_nack",
    "dc_seek",
    "dc_group_delete",
    "dc_channel_sync",
    "dc_maintain",
    "stats",
    "dc_producer_open",
    "dc_send",
    "dc_sync",
];
