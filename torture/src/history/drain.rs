//! Receiving all there is, through the C interface; handles close themselves.

use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};

use crate::abi::*;
use crate::driver::id_of;
use crate::trace::Got;

/// A death in a call is noticed in well under a second; machines are busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open channel.
pub struct Channel<'a> {
    pub lib: &'a Lib,
    handle: Handle,
}

impl<'a> Channel<'a> {
    /// Open, or create; while it is being destroyed, again.
    pub fn open(lib: &'a Lib, dir: &Path, flags: u32) -> Result<Channel<'a>> {
        let options = Options { flags: flags | DC_NO_THREAD, page_size: 0, ..Options::default() };
        let mut tries = 0;
        loop {
            match lib.open(dir, &options) {
                Ok(handle) => return Ok(Channel { lib, handle }),
                Err(DC_E_BUSY) if flags & DC_EXISTING == 0 && tries < 3 => tries += 1,
                Err(code) => bail!("dc_open: {}", lib.why(code)),
            }
        }
    }

    pub fn stats(&self) -> Result<ChannelInfo> {
        let mut info = ChannelInfo::default();
        // SAFETY: the handle is open, the struct valid.
        let code = unsafe { (self.lib.dc_channel_stats)(self.handle, &mut info) };
        self.lib.ok(code, "dc_channel_stats")?;
        Ok(info)
    }

    pub fn group_stats(&self, group: &str) -> Result<GroupInfo> {
        let (mut info, name) = (GroupInfo::default(), CString::new(group)?);
        // SAFETY: as above; the name is NUL-terminated.
        let code = unsafe { (self.lib.dc_group_stats)(self.handle, name.as_ptr(), &mut info) };
        self.lib.ok(code, "dc_group_stats")?;
        Ok(info)
    }

    pub fn groups(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map(|n| CString::new(n.as_str())).transpose()?;
            let after = after.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
            let mut name = [0u8; 256];
            // SAFETY: `name` has the room it is said to have.
            let code = unsafe {
                (self.lib.dc_group_next)(self.handle, after, name.as_mut_ptr().cast(), name.len())
            };
            if code == -libc::ENOENT {
                return Ok(names);
            }
            self.lib.ok(code, "dc_group_next")?;
            let len = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            names.push(String::from_utf8_lossy(&name[..len]).into_owned());
        }
    }

    pub fn subscribe(
        &self,
        group: Option<&str>,
        options: SubscribeOptions,
    ) -> Result<Consumer<'a>> {
        let name = group.map(CString::new).transpose()?;
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        let mut handle = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call.
        let code = unsafe { (self.lib.dc_subscribe)(self.handle, name, &options, &mut handle) };
        self.lib.ok(code, "dc_subscribe")?;
        let manual = options.ack == DC_ACK_MANUAL;
        Ok(Consumer { lib: self.lib, handle, manual, lagged: 0 })
    }

    pub fn producer(&self) -> Result<Producer<'a>> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: as above.
        let code = unsafe { (self.lib.dc_producer_open)(self.handle, &mut handle) };
        self.lib.ok(code, "dc_producer_open")?;
        Ok(Producer { lib: self.lib, handle })
    }
}

impl Drop for Channel<'_> {
    fn drop(&mut self) {
        // SAFETY: closed once.
        unsafe { (self.lib.dc_close)(self.handle) };
    }
}

pub struct Producer<'a> {
    lib: &'a Lib,
    handle: Handle,
}

impl Producer<'_> {
    /// Send one message; its code.
    pub fn send(&self, payload: &[u8], timeout: i32) -> i32 {
        // SAFETY: the payload is valid during the call.
        unsafe { (self.lib.dc_send)(self.handle, payload.as_ptr().cast(), payload.len(), timeout) }
    }

    pub fn position(&self) -> u64 {
        // SAFETY: the handle is open.
        unsafe { (self.lib.dc_sent_position)(self.handle) }
    }
}

impl Drop for Producer<'_> {
    fn drop(&mut self) {
        // SAFETY: closed once.
        unsafe { (self.lib.dc_producer_close)(self.handle) };
    }
}

pub struct Consumer<'a> {
    lib: &'a Lib,
    handle: Handle,
    manual: bool,
    /// How often a gap was told.
    pub lagged: u32,
}

impl Consumer<'_> {
    /// The next message; `None`: there is none within the time.
    pub fn next(&mut self, timeout: i32) -> Result<Option<Got>> {
        for _ in 0..1_000_000 {
            let mut message = Message::default();
            // SAFETY: the handle is open, the struct valid.
            match unsafe { (self.lib.dc_recv)(self.handle, &mut message, timeout) } {
                DC_OK => {
                    // SAFETY: received just now; the page is not left before `payload` is.
                    let payload = unsafe { message.payload() };
                    let mut got = Got { position: message.position, ..Got::default() };
                    (got.len, got.flags) = (message.len as u64, message.flags);
                    got.deliveries = message.deliveries;
                    let id = id_of(payload);
                    (got.whole, got.id) = (id.is_some(), id.unwrap_or(0));
                    if self.manual {
                        // SAFETY: the handle is open.
                        let code = unsafe { (self.lib.dc_ack)(self.handle, message.position) };
                        self.lib.ok(code, "dc_ack")?;
                    }
                    return Ok(Some(got));
                }
                DC_END_OF_PAGE => {
                    // SAFETY: the handle is open.
                    let code = unsafe { (self.lib.dc_next_page)(self.handle) };
                    self.lib.ok(code, "dc_next_page")?;
                }
                DC_LAGGED => self.lagged += 1,
                DC_AGAIN => return Ok(None),
                code => bail!("dc_recv: {} (position {})", self.lib.why(code), message.position),
            }
        }
        bail!("dc_recv does not come to an end")
    }

    /// All there is; as long as there should be more, `short`, some time is waited for it.
    pub fn drain(&mut self, short: impl Fn(usize) -> Result<bool>) -> Result<Vec<Got>> {
        let mut all = Vec::new();
        let mut since = None;
        loop {
            match self.next(0)? {
                Some(got) => all.push(got),
                None => {
                    let since = *since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE || !short(all.len())? {
                        return Ok(all);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            ensure!(all.len() < 1_000_000, "messages come without end");
        }
    }

    /// The next message, for which some time is waited.
    pub fn wait(&mut self) -> Result<Option<Got>> {
        match self.next(0)? {
            None => self.next(PATIENCE.as_millis() as i32),
            got => Ok(got),
        }
    }
}

impl Drop for Consumer<'_> {
    fn drop(&mut self) {
        // SAFETY: closed once.
        unsafe { (self.lib.dc_consumer_close)(self.handle) };
    }
}
