//! Round trips through two channels: spinning, in a call that blocks, or by `poll` on the consumer's eventfd.

use anyhow::{ensure, Result};

use super::Ours;
use crate::abi::*;
use crate::peer::RoundTrips;
use crate::round_trip::same;
use crate::spec::Wait;

/// Get ready, as the first or as the second of the two.
pub fn begin(ours: &Ours, first: bool) -> Result<RoundTrips<'_>> {
    let (lib, wait) = (ours.lib, ours.wait);
    let (out, back) = if first { (ours.channel, ours.back) } else { (ours.back, ours.channel) };
    let (producer, consumer) = (ours.produce_on(out)?, ours.subscribe(back, 0)?);
    let fd = match wait {
        // SAFETY: the handle is this thread's.
        Wait::Poll => unsafe { (lib.dc_consumer_fd)(consumer) },
        _ => -1,
    };
    ensure!(wait != Wait::Poll || fd >= 0, "dc_consumer_fd: {}", lib.why(fd));
    Ok(Box::new(move |turns| {
        let mut message = Message::default();
        let send = |bytes: &[u8]| {
            // SAFETY: the handle is this thread's.
            let code = unsafe { (lib.dc_send)(producer, bytes.as_ptr().cast(), bytes.len(), -1) };
            lib.ok(code, "dc_send")
        };
        let timeout = if wait == Wait::Block { -1 } else { 0 };
        let receive = || {
            loop {
                // SAFETY: the handle is this thread's.
                let code = unsafe { (lib.dc_recv)(consumer, &mut message, timeout) };
                if code == DC_OK {
                    break;
                }
                ensure!(code == DC_AGAIN, "dc_recv: {}", lib.why(code));
                match wait {
                    Wait::Poll => readable(fd)?,
                    _ => std::hint::spin_loop(),
                }
            }
            // SAFETY: valid until the next receiving call.
            same(unsafe { message.payload() })
        };
        let times = turns.play(send, receive)?;
        // SAFETY: not used again.
        unsafe {
            (lib.dc_producer_close)(producer);
            (lib.dc_consumer_close)(consumer);
        }
        Ok(times)
    }))
}

/// Sleep until there is something to read.
fn readable(fd: i32) -> Result<()> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid struct.
    let code = unsafe { libc::poll(&mut poll, 1, -1) };
    ensure!(code == 1, "poll: {}", std::io::Error::last_os_error());
    Ok(())
}
