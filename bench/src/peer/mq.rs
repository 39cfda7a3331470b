//! POSIX message queues (`mq_overview(7)`): the kernel copies each message in and out, and blocks who finds the queue
//! full or empty, which loses nothing. As deep a queue as the kernel allows: sender and receiver then sleep least.

use std::ffi::CString;
use std::io::Error;
use std::path::Path;

use anyhow::{ensure, Result};

use super::{Peer, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::round_trip::same;
use crate::spec::{Spec, Wait};

/// Messages of a queue, the first of these that is granted; 10 is the default limit without privileges.
const DEPTHS: [i64; 4] = [8192, 1024, 256, 10];

pub struct Mq {
    names: [CString; 2],
    size: usize,
    wait: Wait,
    /// It is removed with this one.
    created: bool,
}

/// A queue that is open.
struct Queue(libc::mqd_t);

impl Mq {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Mq> {
        let mut mq = Mq::join(spec, dir)?;
        mq.created = true;
        for name in &mq.names {
            ensure!(
                DEPTHS.into_iter().any(|depth| mq.make(name, depth)),
                "mq_open: {}",
                Error::last_os_error()
            );
        }
        Ok(mq)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Mq> {
        // The directory's name is that of no other run.
        let own = dir.file_name().unwrap_or_default().to_string_lossy();
        let names = ["to", "fro"].map(|way| format!("/{own}-{way}"));
        let [to, fro] = names;
        let names = [CString::new(to)?, CString::new(fro)?];
        Ok(Mq { names, size: spec.size, wait: spec.wait, created: false })
    }

    fn make(&self, name: &CString, depth: i64) -> bool {
        // SAFETY: zeros are a value of it; the name ends with NUL.
        let queue = unsafe {
            let mut attributes: libc::mq_attr = std::mem::zeroed();
            attributes.mq_maxmsg = depth;
            attributes.mq_msgsize = self.size as i64;
            libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, &raw mut attributes)
        };
        drop(Queue(queue));
        queue >= 0
    }

    fn open(&self, which: usize) -> Result<Queue> {
        // SAFETY: the name ends with NUL.
        let queue = unsafe { libc::mq_open(self.names[which].as_ptr(), libc::O_RDWR) };
        ensure!(queue >= 0, "mq_open: {}", Error::last_os_error());
        Ok(Queue(queue))
    }
}

impl Queue {
    fn send(&self, message: &[u8]) -> Result<()> {
        // SAFETY: a valid slice.
        let code = unsafe { libc::mq_send(self.0, message.as_ptr().cast(), message.len(), 0) };
        ensure!(code == 0, "mq_send: {}", Error::last_os_error());
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        let (to, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: a valid slice.
        let code = unsafe { libc::mq_receive(self.0, to, len, std::ptr::null_mut()) };
        ensure!(code >= 0, "mq_receive: {}", Error::last_os_error());
        Ok(code as usize)
    }

    /// The same, for 2 milliseconds at most.
    fn receive_soon(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let (to, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: valid structs and a valid slice.
        let code = unsafe {
            let mut until: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &mut until);
            until.tv_nsec += 2_000_000;
            if until.tv_nsec >= 1_000_000_000 {
                until = libc::timespec { tv_sec: until.tv_sec + 1, tv_nsec: 0 };
            }
            libc::mq_timedreceive(self.0, to, len, std::ptr::null_mut(), &until)
        };
        if code < 0 && Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT) {
            return Ok(None);
        }
        ensure!(code >= 0, "mq_timedreceive: {}", Error::last_os_error());
        Ok(Some(code as usize))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: open, or a number that the kernel refuses; not used again.
        unsafe { libc::mq_close(self.0) };
    }
}

impl Drop for Mq {
    fn drop(&mut self) {
        for name in self.names.iter().filter(|_| self.created) {
            // SAFETY: the name ends with NUL.
            unsafe { libc::mq_unlink(name.as_ptr()) };
        }
    }
}

impl Peer for Mq {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let queue = self.open(0)?;
        Ok(Box::new(move || {
            while let Some(message) = maker.next() {
                queue.send(message)?;
            }
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let queue = self.open(0)?;
        Ok(Box::new(move || {
            let mut buffer = vec![0; self.size];
            while !checker.alone_and_done() {
                match queue.receive_soon(&mut buffer)? {
                    Some(len) => checker.check(&buffer[..len])?,
                    None if checker.all()? => break,
                    None => {}
                }
            }
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        ensure!(self.wait == Wait::Block, "waits in mq_receive");
        let (out, back) = if first { (0, 1) } else { (1, 0) };
        let (out, back) = (self.open(out)?, self.open(back)?);
        Ok(Box::new(move |turns| {
            let mut buffer = vec![0; self.size];
            turns.play(
                |message| out.send(message),
                || {
                    let len = back.receive(&mut buffer)?;
                    same(&buffer[..len])
                },
            )
        }))
    }
}
