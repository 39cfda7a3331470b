//! A producer: every way of sending, and what each said.

use std::ffi::c_void;
use std::ptr::null_mut;

use anyhow::Result;
use rand::Rng;

use super::work::{expect, Worker};
use crate::abi::*;
use crate::calls::part;
use crate::payload::{Load, HEAD};
use crate::process::sleep_us;

/// Bytes of a message at most.
const LONGEST: usize = 1200;

impl Worker<'_> {
    pub fn produce(&mut self, id: usize) -> Result<()> {
        while !self.s.stopped() {
            let channel = self.open()?;
            for _ in 0..self.rng.random_range(1..4) {
                self.produce_some(id, channel)?;
            }
            self.close(&[], channel);
        }
        Ok(())
    }

    /// The life of one handle.
    fn produce_some(&mut self, id: usize, channel: Handle) -> Result<()> {
        let mut p = null_mut();
        self.calls("dc_producer_open");
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_producer_open)(channel, &mut p) };
        self.lib.ok(code, "dc_producer_open")?;
        for _ in 0..self.rng.random_range(1..400) {
            if self.s.stopped() {
                break;
            }
            let many = if self.one_in(6) { self.rng.random_range(2..40) } else { 1 };
            let Some(first) = self.s.start(id, many) else {
                sleep_us(2000);
                self.beat();
                continue;
            };
            self.calls("dc_send");
            match self.rng.random_range(0..6) {
                _ if many > 1 => self.send_batch(p, id, first, many)?,
                0 | 1 => self.reserve(p, id, first)?,
                2 => self.send_parts(p, id, first)?,
                _ => self.send_one(p, id, first)?,
            }
            if self.one_in(50) {
                self.calls("dc_sync");
                // SAFETY: a producer of this process.
                let code = unsafe { (self.lib.dc_sync)(p, 20) };
                expect(&self.lib, code, "dc_sync", &[DC_OK, DC_AGAIN])?;
            }
            if self.one_in(4) {
                sleep_us(self.rng.random_range(0..1500));
            }
            self.fork_now_and_then();
        }
        // SAFETY: closed once.
        unsafe { (self.lib.dc_producer_close)(p) };
        Ok(())
    }

    fn load(&mut self, id: usize, sequence: u64) -> Vec<u8> {
        let len = self.rng.random_range(HEAD..LONGEST);
        Load { sender: id as u32, sequence }.bytes(if self.one_in(3) { len } else { len % 64 })
    }

    /// Until it is sent, or all is to stop; false: not sent.
    fn insist(&mut self, mut send: impl FnMut(&Lib) -> i32) -> Result<bool> {
        loop {
            let code = send(&self.lib);
            self.beat();
            if expect(&self.lib, code, "a send", &[DC_OK, DC_AGAIN])? == DC_OK {
                return Ok(true);
            }
            if self.s.stopped() {
                return Ok(false);
            }
            sleep_us(200);
        }
    }

    fn send_one(&mut self, p: Handle, id: usize, n: u64) -> Result<()> {
        let bytes = self.load(id, n);
        // SAFETY: valid pointers.
        if self.insist(|lib| unsafe { (lib.dc_send)(p, bytes.as_ptr().cast(), bytes.len(), 10) })? {
            self.s.has_returned(id, n);
        }
        Ok(())
    }

    fn send_parts(&mut self, p: Handle, id: usize, n: u64) -> Result<()> {
        let bytes = self.load(id, n);
        let (a, b) = bytes.split_at(self.rng.random_range(0..bytes.len()));
        let parts = [part(a), part(b)];
        // SAFETY: valid pointers.
        if self.insist(|lib| unsafe { (lib.dc_sendv)(p, parts.as_ptr(), 2, 10) })? {
            self.s.has_returned(id, n);
        }
        Ok(())
    }

    fn send_batch(&mut self, p: Handle, id: usize, first: u64, many: usize) -> Result<()> {
        let loads: Vec<_> = (0..many as u64).map(|i| self.load(id, first + i)).collect();
        let parts: Vec<_> = loads.iter().map(|l| part(l)).collect();
        let s = self.s;
        let mut done = 0;
        self.insist(|lib| {
            let mut sent = 0;
            let (rest, count) = (parts[done..].as_ptr(), many - done);
            // SAFETY: valid pointers.
            let code = unsafe { (lib.dc_send_batch)(p, rest, count, 10, &mut sent) };
            for i in done..done + sent {
                s.has_returned(id, first + i as u64);
            }
            done += sent;
            code
        })?;
        Ok(())
    }

    fn reserve(&mut self, p: Handle, id: usize, n: u64) -> Result<()> {
        let bytes = self.load(id, n);
        let more = self.rng.random_range(0..64);
        let mut to: *mut c_void = null_mut();
        // SAFETY: valid pointers.
        if !self.insist(|lib| unsafe { (lib.dc_reserve)(p, bytes.len() + more, 10, &mut to) })? {
            return Ok(());
        }
        // Here to be killed, or to be taken for suspended.
        match self.rng.random_range(0..30) {
            0 => sleep_us(self.rng.random_range(0..100_000)),
            1..10 => sleep_us(self.rng.random_range(0..1000)),
            _ => {}
        }
        if self.one_in(8) {
            // SAFETY: a reservation is held.
            return self.lib.ok(unsafe { (self.lib.dc_abort)(p) }, "dc_abort");
        }
        // SAFETY: reserved for at least as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len()) };
        // SAFETY: a reservation is held.
        if self.insist(|lib| unsafe { (lib.dc_commit)(p, bytes.len()) })? {
            self.s.has_returned(id, n);
        } else {
            // SAFETY: it is still held.
            self.lib.ok(unsafe { (self.lib.dc_abort)(p) }, "dc_abort")?;
        }
        Ok(())
    }

    /// A child that inherits every handle and may outlive this process.
    pub fn fork_now_and_then(&mut self) {
        if !self.one_in(400) {
            return;
        }
        let life = self.rng.random_range(0..100_000);
        // SAFETY: the children sleep and end; reaping those that have ended.
        unsafe {
            if libc::fork() == 0 {
                libc::usleep(life);
                libc::_exit(0);
            }
            while libc::waitpid(-1, null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}
