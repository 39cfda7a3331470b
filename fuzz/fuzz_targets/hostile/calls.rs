//! Handles, every call on them, and what their outcomes may be.

use super::channel::{body, is_body, GROUP};
use super::program::Step;
use disk_chan::raw::error::{DC_E_CORRUPT, DC_E_INTERNAL};
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Consumer, Error, Message, Options, Producer, Received, SubscribeOptions};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::path::Path;

/// Receiving calls of one step at most, however many messages the files pretend to have.
const CALLS: usize = 3_000;

/// What a program has open.
#[derive(Default)]
pub struct Handles {
    channels: [Option<Channel>; 3],
    producers: [Option<(Producer, Option<usize>)>; 2],
    consumers: [Option<Consumer>; 4],
    sent: u64,
}

/// A code is one of ours or the kernel's, and not the one of a bug.
fn tell<T>(what: &str, r: Result<T, Error>) -> Option<T> {
    match r {
        Ok(value) => Some(value),
        Err(e) => {
            let code = e.code();
            assert!((-4108..0).contains(&code) && code != DC_E_INTERNAL, "{what} gave {code}");
            None
        }
    }
}

fn at<T>(places: &mut [T], index: u8) -> &mut T {
    let n = places.len();
    &mut places[index as usize % n]
}

/// A message lies where it says, and is one that was sent.
fn sound(m: &Message, forged: bool) {
    assert!(!m.data.is_null() && m.data as usize % 8 == 0 && m.position != 0);
    // SAFETY: what `recv` says; a lie shows as a crash here.
    let payload = unsafe { std::slice::from_raw_parts(m.data, m.len) };
    std::hint::black_box(payload.iter().fold(0u8, |s, b| s ^ b));
    assert!(forged || is_body(payload), "a message nobody sent at {}", m.position);
}

impl Handles {
    pub fn any_open(&self) -> bool {
        self.channels.iter().any(Option::is_some)
            || self.producers.iter().any(Option::is_some)
            || self.consumers.iter().any(Option::is_some)
    }

    pub fn open(&mut self, dir: &Path, step: &Step, guard: u32) {
        let o = Options {
            flags: EXISTING | NO_THREAD | guard | (u32::from(step.b) & (READ_ONLY | PREPARED_ONLY)),
            durability: (step.c % 4).into(),
            stall_timeout_ms: 1,
            ..Options::default()
        };
        *at(&mut self.channels, step.a) = None;
        *at(&mut self.channels, step.a) = tell("open", Channel::open(dir, &o));
    }

    pub fn close(&mut self, step: &Step) {
        match step.b % 3 {
            0 => *at(&mut self.channels, step.a) = None,
            1 => *at(&mut self.producers, step.a) = None,
            _ => *at(&mut self.consumers, step.a) = None,
        }
    }

    pub fn producer(&mut self, step: &Step) {
        let Some(ch) = at(&mut self.channels, step.b) else { return };
        *at(&mut self.producers, step.a) = tell("producer", ch.producer()).map(|p| (p, None));
    }

    pub fn subscribe(&mut self, step: &Step) {
        let Some(ch) = at(&mut self.channels, step.b) else { return };
        let name = [None, Some(GROUP), Some(&b"new"[..])][(step.v % 3) as usize];
        let start = step.v >> 16;
        let o = SubscribeOptions {
            ack: (step.c & 3).into(),
            flags: u32::from(step.c >> 2 & 1),
            prefetch: u32::from(step.c >> 3) * 8,
            max_unacked: if step.v >> 8 & 1 == 1 { 5 } else { 0 },
            start: if start >> 47 == 1 { last(start as u32 % 100) } else { start },
        };
        *at(&mut self.consumers, step.a) = None;
        *at(&mut self.consumers, step.a) = tell("subscribe", ch.subscribe(name, &o));
    }

    pub fn send(&mut self, step: &Step) {
        let Some((p, _)) = at(&mut self.producers, step.a) else { return };
        for _ in 0..=step.b % 40 {
            self.sent += 1;
            if tell("send", p.send(&body(100 + self.sent % 9_000), 0)).is_none() {
                break;
            }
        }
        let _ = p.sent_position();
    }

    pub fn send_batch(&mut self, step: &Step) {
        let Some((p, _)) = at(&mut self.producers, step.a) else { return };
        let bodies: Vec<_> =
            (0..u64::from(step.b % 24)).map(|i| body(100 + self.sent + i)).collect();
        let batch: Vec<IoSlice> = bodies.iter().map(|b| IoSlice::new(b)).collect();
        let mut sent = 0;
        let all = tell("send_batch", p.send_batch(&batch, 0, &mut sent)).is_some();
        assert!(sent <= batch.len() && (!all || sent == batch.len()));
        self.sent += batch.len() as u64 % 9_000;
    }

    pub fn reserve(&mut self, step: &Step) {
        let Some((p, reserved)) = at(&mut self.producers, step.a) else { return };
        match (step.b % 3, *reserved) {
            (0, _) => {
                let b = body(100 + u64::from(step.c));
                if let Some(to) = tell("reserve", p.reserve(b.len(), 0)) {
                    // SAFETY: as many bytes were reserved.
                    unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), to, b.len()) };
                    *reserved = Some(b.len());
                }
            }
            (1, len) => {
                if tell("commit", p.commit(len.unwrap_or(0))).is_some() {
                    *reserved = None;
                }
            }
            _ => {
                tell("abort", p.abort());
                *reserved = None;
            }
        }
    }

    pub fn recv(&mut self, step: &Step, forged: bool) {
        let Some(c) = at(&mut self.consumers, step.a) else { return };
        let mut m = Message::default();
        for _ in 0..=step.b % 20 {
            match c.recv(&mut m, i32::from(step.c & 1) * 2) {
                Ok(Received::Message) => sound(&m, forged),
                Ok(Received::EndOfPage) if step.c & 2 == 2 => {
                    tell("next_page", c.next_page());
                }
                Ok(_) => {}
                Err(e) => {
                    tell::<()>("recv", Err(e));
                    break;
                }
            }
        }
    }

    pub fn recv_batch(&mut self, step: &Step, forged: bool) {
        let Some(c) = at(&mut self.consumers, step.a) else { return };
        let mut messages = [const { MaybeUninit::uninit() }; 40];
        let mut received = 0;
        let room = &mut messages[..(step.b % 41) as usize];
        let most = room.len();
        let r = tell("recv_batch", c.recv_batch(room, 0, &mut received));
        assert!(received <= most && (received > 0) == matches!(r, Some(Received::Message)));
        for m in &messages[..received] {
            // SAFETY: the first `received` were written.
            sound(unsafe { m.assume_init_ref() }, forged);
        }
    }

    /// Receive until there is nothing.
    pub fn drain(&mut self, step: &Step, forged: bool) {
        let Some(c) = at(&mut self.consumers, step.a) else { return };
        let mut m = Message::default();
        for _ in 0..CALLS {
            match c.recv(&mut m, 0) {
                Ok(Received::Message) => {
                    sound(&m, forged);
                    if step.b & 1 == 1 {
                        let _ = c.ack(m.position);
                    }
                }
                Ok(Received::EndOfPage) => drop(tell("next_page", c.next_page())),
                Ok(Received::Lagged) => {}
                Err(e) if e.code() == DC_E_CORRUPT && m.position != 0 => {
                    m = Message::default();
                }
                Err(e) => {
                    tell::<()>("recv", Err(e));
                    return;
                }
            }
        }
        panic!("{CALLS} receiving calls, and no end");
    }

    pub fn consumer_call(&mut self, step: &Step) {
        let Some(c) = at(&mut self.consumers, step.a) else { return };
        match step.b % 6 {
            0 => drop(tell("ack", c.ack(step.v))),
            1 => drop(tell("nack", c.nack())),
            2 => drop(tell("seek", c.seek(step.v))),
            3 => drop(tell("seek", c.seek([EARLIEST, LATEST, last(3)][step.c as usize % 3]))),
            4 => drop(tell("next_page", c.next_page())),
            _ => drop(tell("consumer stats", c.stats())),
        }
    }

    pub fn clone(&mut self, step: &Step) {
        if step.b & 1 == 0 {
            let Some((p, _)) = at(&mut self.producers, step.a) else { return };
            let made = tell("producer clone", p.try_clone());
            *at(&mut self.producers, step.c) = made.map(|p| (p, None));
        } else {
            let Some(c) = at(&mut self.consumers, step.a) else { return };
            let made = tell("consumer clone", c.try_clone());
            *at(&mut self.consumers, step.c) = made;
        }
    }

    pub fn channel_call(&mut self, step: &Step, dir: &Path) {
        let Some(ch) = at(&mut self.channels, step.a) else { return };
        match step.b % 7 {
            0 => drop(tell("stats", ch.stats())),
            1 => {
                let mut after = None;
                for _ in 0..20 {
                    let Some(name) = tell("group_next", ch.group_next(after.as_deref())) else {
                        break;
                    };
                    tell("group_stats", ch.group_stats(&name));
                    after = Some(name);
                }
            }
            2 => drop(tell("sync", ch.sync(3))),
            3 => drop(tell("maintain", ch.maintain(0))),
            4 => drop(tell("group_delete", ch.group_delete(GROUP))),
            5 => verify(dir),
            _ => {
                if let Some((p, _)) = at(&mut self.producers, step.c) {
                    tell("producer sync", p.sync(3));
                }
            }
        }
    }
}

pub fn verify(dir: &Path) {
    if let Some(info) = tell("verify", Channel::verify(dir)) {
        assert!(info.pages < 1000 && info.groups < 1000, "{info:?}");
    }
}

/// After everything: open it anew, look, drain, send, destroy.
pub fn afterwards(dir: &Path, forged: bool) {
    verify(dir);
    let mut handles = Handles::default();
    let step = |a, b, c, v| Step { op: 0, a, b, c, v };
    handles.open(dir, &step(0, 0, 0, 0), 0);
    handles.subscribe(&step(0, 0, 4, 0));
    handles.subscribe(&step(1, 0, 0, 1));
    handles.producer(&step(0, 0, 0, 0));
    handles.send(&step(0, 17, 0, 0));
    handles.drain(&step(0, 0, 0, 0), forged);
    handles.drain(&step(1, 0, 0, 0), forged);
    handles.channel_call(&step(0, 0, 0, 0), dir);
    handles.channel_call(&step(0, 2, 0, 0), dir);
    drop(handles);
    tell("destroy", Channel::destroy(dir));
}
