//! A consumer of a group whose account must come out even: every way of acknowledging.

use std::sync::atomic::Ordering::SeqCst;

use anyhow::{bail, ensure, Result};
use rand::Rng;

use super::state::{GROUPS, NAMES, ONCE, PRODUCERS};
use super::work::{expect, Worker};
use crate::abi::*;
use crate::payload::Load;

/// Unacknowledged messages of a handle at most.
const UNACKED: u32 = 40;

/// A consumer's handle and what it has in hand.
struct Hand {
    consumer: Handle,
    group: usize,
    ack: u32,
    auto: bool,
    fd: i32,
    batch: usize,
    /// Messages it may have claimed without having been handed them.
    claims: u64,
    held: Vec<(Load, Message)>,
    /// What it received since it turned the page: still there, acknowledged or not.
    valid: Vec<(Load, Message)>,
    /// The first sequence of each producer that is not out of order.
    next: [u64; PRODUCERS],
}

impl Worker<'_> {
    pub fn consume(&mut self, group: usize, immune: bool) -> Result<()> {
        // Where retention asks for a live consumer there is one, between handles too. It never receives.
        if immune && self.retention == DC_RETAIN_LIVE {
            let channel = self.open()?;
            self.subscribe(channel, Some(NAMES[group]), &SubscribeOptions::default())?;
        }
        while self.s.drained.load(SeqCst) == 0 {
            let channel = self.open()?;
            for _ in 0..self.rng.random_range(1..4) {
                let mut hand = self.take_up(channel, group)?;
                for _ in 0..self.rng.random_range(1..600) {
                    if self.s.drained.load(SeqCst) != 0 {
                        break;
                    }
                    self.consume_some(&mut hand)?;
                    self.fork_now_and_then();
                }
                // What it holds comes again, and what it had claimed ahead comes late.
                self.excuse(&hand);
                self.calls("dc_consumer_close");
                // SAFETY: closed once.
                unsafe { (self.lib.dc_consumer_close)(hand.consumer) };
            }
            self.close(&[], channel);
        }
        Ok(())
    }

    fn take_up(&mut self, channel: Handle, group: usize) -> Result<Hand> {
        let ack = if group == ONCE { DC_ACK_RECEIVE } else { self.rng.random_range(1..3) };
        let auto = self.one_in(2);
        // The first group is strict: nothing is claimed but what is handed out at once.
        let (prefetch, batch) = match group {
            0 => (1, 1),
            _ => ([0, 1, 4, 32][self.rng.random_range(0..4)], self.rng.random_range(1..30)),
        };
        let o = SubscribeOptions {
            ack,
            max_unacked: UNACKED,
            prefetch,
            flags: if auto { DC_AUTO_NEXT_PAGE } else { 0 },
            ..Default::default()
        };
        let consumer = self.subscribe(channel, Some(NAMES[group]), &o)?;
        // DC_E_UNSUPPORTED where the open has no thread.
        // SAFETY: a consumer of this process.
        let fd = if self.one_in(3) { unsafe { (self.lib.dc_consumer_fd)(consumer) } } else { -1 };
        let claims = u64::from(prefetch.max(if prefetch == 0 { 32 } else { 1 })).max(batch as u64);
        self.s.slots[self.slot].claims.store(claims, SeqCst);
        let (held, valid, next) = (Vec::new(), Vec::new(), [0; PRODUCERS]);
        Ok(Hand { consumer, group, ack, auto, fd, batch, claims, held, valid, next })
    }

    fn excuse(&self, hand: &Hand) {
        if hand.group != 0 {
            self.s.groups[hand.group].excused.fetch_add(hand.claims, SeqCst);
        }
    }

    fn consume_some(&mut self, hand: &mut Hand) -> Result<()> {
        if hand.fd >= 0 {
            let mut poll = libc::pollfd { fd: hand.fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid struct.
            unsafe { libc::poll(&mut poll, 1, 20) };
        }
        let timeout = if hand.fd >= 0 || self.one_in(3) { 0 } else { 20 };
        let acks = hand.ack == DC_ACK_NEXT;
        if acks {
            hand.held.iter().for_each(|(l, _)| self.s.about_to_ack(hand.group, *l));
        }
        let mut got = [Message::default(); 30];
        let (mut count, mut code) = (0, DC_E_LIMIT);
        if hand.held.len() < UNACKED as usize || hand.ack != DC_ACK_MANUAL {
            self.calls(if hand.batch > 1 { "dc_recv_batch" } else { "dc_recv" });
            let most = hand.batch.min(UNACKED as usize - hand.held.len().min(39));
            // SAFETY: valid pointers, room for `most` messages.
            code = unsafe {
                if hand.batch > 1 {
                    let to = got.as_mut_ptr();
                    (self.lib.dc_recv_batch)(hand.consumer, to, most, timeout, &mut count)
                } else {
                    let code = (self.lib.dc_recv)(hand.consumer, &mut got[0], timeout);
                    count = usize::from(code == DC_OK);
                    code
                }
            };
            // Its group always has a live consumer under DC_RETAIN_LIVE.
            let lagged = self.lagged(self.retention != DC_RETAIN_RING);
            expect(&self.lib, code, "receiving", &[DC_OK, DC_AGAIN, DC_END_OF_PAGE, lagged])?;
        }
        if acks {
            for (load, _) in hand.held.drain(..) {
                self.s.acked(hand.group, load);
            }
        }
        for m in &got[..count] {
            self.account(hand, m)?;
        }
        if code == DC_END_OF_PAGE || self.one_in(40) {
            self.turn(hand)?;
        }
        if hand.ack == DC_ACK_MANUAL {
            self.acknowledge(hand, code)?;
        } else if hand.ack == DC_ACK_RECEIVE {
            hand.held.clear();
        }
        Ok(())
    }

    /// Enter a message just received.
    fn account(&mut self, hand: &mut Hand, m: &Message) -> Result<()> {
        // SAFETY: received just now.
        let load = Load::check(unsafe { m.payload() })?;
        let flagged = m.flags & DC_MESSAGE_REDELIVERED != 0;
        self.s.take(hand.group, load, flagged, m.deliveries)?;
        if !flagged {
            let next = &mut hand.next[load.sender as usize];
            if load.sequence < *next {
                self.s.groups[hand.group].late.fetch_add(1, SeqCst);
            }
            *next = (*next).max(load.sequence + 1);
        }
        hand.held.push((load, *m));
        if !hand.auto {
            hand.valid.push((load, *m));
        }
        Ok(())
    }

    /// The last moment at which what was received from this page must still be what it was.
    fn turn(&mut self, hand: &mut Hand) -> Result<()> {
        for (load, m) in hand.valid.drain(..) {
            // SAFETY: this page's pointers end with the call below.
            let now = Load::check(unsafe { m.payload() })?;
            ensure!(now == load, "{load:?} became {now:?} in the consumer's hand");
        }
        self.calls("dc_next_page");
        // SAFETY: a consumer of this process.
        self.lib.ok(unsafe { (self.lib.dc_next_page)(hand.consumer) }, "dc_next_page")
    }

    fn acknowledge(&mut self, hand: &mut Hand, code: i32) -> Result<()> {
        if hand.held.is_empty() {
            return Ok(());
        }
        if code == DC_OK && self.one_in(60) {
            self.calls("dc_nack");
            self.excuse(hand);
            hand.held.clear();
            // SAFETY: a consumer of this process.
            return self.lib.ok(unsafe { (self.lib.dc_nack)(hand.consumer) }, "dc_nack");
        }
        let all = code != DC_OK || hand.held.len() >= 30;
        if !all && !self.one_in(10) {
            return Ok(());
        }
        let upto = match all {
            true => u64::MAX - 1,
            false => hand.held[self.rng.random_range(0..hand.held.len())].1.position,
        };
        let (gone, kept) = hand.held.drain(..).partition(|(_, m)| m.position <= upto);
        let gone: Vec<_> = gone;
        hand.held = kept;
        gone.iter().for_each(|(l, _)| self.s.about_to_ack(hand.group, *l));
        self.calls("dc_ack");
        // SAFETY: a consumer of this process.
        let code = unsafe { (self.lib.dc_ack)(hand.consumer, upto) };
        self.lib.ok(code, "dc_ack")?;
        gone.iter().for_each(|(l, _)| self.s.acked(hand.group, *l));
        Ok(())
    }
}

/// Wait, in a process of its own, until every account is even; then let the consumers go.
pub fn drain(worker: &mut Worker<'_>) -> Result<()> {
    let o = Options { flags: DC_EXISTING | DC_NO_THREAD, ..Default::default() };
    let lib = worker.lib;
    let channel = lib.open(worker.path, &o).or_else(|c| bail!("dc_open: {}", lib.why(c)))?;
    loop {
        let mut left = 0;
        for name in &NAMES[..GROUPS] {
            let mut info = GroupInfo::default();
            // SAFETY: valid pointers.
            let code = unsafe { (lib.dc_group_stats)(channel, name.as_ptr(), &mut info) };
            lib.ok(code, "dc_group_stats")?;
            left += info.lag + info.unacked;
        }
        worker.beat();
        if left == 0 {
            break;
        }
        crate::process::sleep_us(5000);
    }
    worker.s.drained.store(1, SeqCst);
    // SAFETY: closed once.
    unsafe { (lib.dc_close)(channel) };
    Ok(())
}
