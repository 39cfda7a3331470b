//! What is done while system calls fail: short programs that between them make every call there is.

use std::os::unix::fs::FileExt;

use crate::abi::*;
use crate::ledger::{Event, Rules};
use crate::session::{noted, Consumer, Op, Session};

/// What a script has open.
#[derive(Default)]
pub struct State {
    pub channels: Vec<Handle>,
    pub producers: Vec<Handle>,
    pub consumers: Vec<Consumer>,
}

pub struct Script {
    pub name: &'static str,
    pub options: fn(&mut Options),
    /// Before anything fails.
    setup: fn(&Session, &mut State),
    /// While system calls fail.
    act: fn(&Session, &mut State),
    /// Another process has the channel open meanwhile.
    pub watched: bool,
}

#[rustfmt::skip]
pub const SCRIPTS: &[Script] = &[
    script("create", plain, nothing, create),
    script("ring", plain, opened, ring),
    script("lossless", lossless, opened, lossless_round),
    Script { watched: true, ..script("always", always, opened, durable_sends) },
    Script { watched: true, ..script("unchecked", unchecked, opened, durable_sends) },
    Script { watched: true, ..script("sync", plain, half_read, syncs) },
    script("look", plain, half_read, look),
    script("redeliver", plain, left_by_the_dead, redeliver),
    script("abandoned", plain, claimed_by_the_dead, redeliver),
    script("delete", plain, group_left, delete),
    script("destroy", plain, closed, destroy),
    script("recover", plain, crashed, create),
    script("thread", with_thread, nothing, thread),
    script("wait", lossless, opened, wait),
    script("guard", guarded, nothing, create),
    script("poisoned", plain, poisoned, create),
    script("many", plain, opened, many),
    script("prepared", prepared_only, opened, maintained),
];

const fn script(
    name: &'static str,
    options: fn(&mut Options),
    setup: fn(&Session, &mut State),
    act: fn(&Session, &mut State),
) -> Script {
    Script { name, options, setup, act, watched: false }
}

impl Script {
    pub fn rules(&self) -> Rules {
        let mut options = Options {
            page_size: 64 << 10,
            max_messages_per_page: 8,
            max_pages: 3,
            stall_timeout_ms: 100,
            flags: DC_NO_THREAD,
            ..Options::default()
        };
        (self.options)(&mut options);
        Rules { options, most: 200 }
    }
    pub fn setup(&self, s: &Session, state: &mut State) {
        (self.setup)(s, state)
    }
    pub fn act(&self, s: &Session, state: &mut State) {
        (self.act)(s, state)
    }
}

fn plain(_: &mut Options) {}
fn lossless(o: &mut Options) {
    o.retention = DC_RETAIN_UNREAD;
}
fn always(o: &mut Options) {
    o.durability = DC_SYNC_ALWAYS;
}
fn unchecked(o: &mut Options) {
    (o.durability, o.checksum) = (DC_SYNC_ALWAYS, DC_CHECKSUM_OFF);
}
fn with_thread(o: &mut Options) {
    (o.flags, o.durability, o.sync_interval_ms) = (0, DC_SYNC_INTERVAL, 5);
}
fn guarded(o: &mut Options) {
    o.flags |= DC_SIGBUS_GUARD;
}
fn prepared_only(o: &mut Options) {
    o.flags |= DC_PREPARED_ONLY;
}

impl State {
    fn open(&mut self, s: &Session) {
        self.channels.extend(s.open());
    }
    fn produce(&mut self, s: &Session) {
        self.producers.extend(self.channels.first().and_then(|&c| s.producer(c)));
    }
    fn join(&mut self, s: &Session, group: Option<u8>, flags: u32) {
        self.consumers.extend(self.channels.first().and_then(|&c| s.subscribe(c, group, flags)));
    }
    fn send(&self, s: &Session, count: u64) {
        for way in 0..count {
            self.producers.first().iter().for_each(|&&p| noted(s.send(p, way, 0)));
        }
    }
    fn receive(&mut self, s: &Session, most: usize) {
        self.consumers.iter_mut().for_each(|c| noted(s.receive(c, most, 0)));
    }
    fn ack(&self, s: &Session) {
        self.consumers.iter().filter(|c| c.group.is_some() && c.last > 0).for_each(|c| {
            s.ack(c, c.last);
        });
    }
    /// Close everything, the channel first.
    pub fn close(&mut self, s: &Session) {
        self.channels.drain(..).for_each(|c| s.end(Op::close, c, s.lib.dc_close));
        let consumers = self.consumers.drain(..);
        consumers.for_each(|c| s.end(Op::consumer_close, c.handle, s.lib.dc_consumer_close));
        let producers = self.producers.drain(..);
        producers.for_each(|p| s.end(Op::producer_close, p, s.lib.dc_producer_close));
    }
}

fn nothing(_: &Session, _: &mut State) {}

fn opened(s: &Session, state: &mut State) {
    state.open(s);
    state.produce(s);
    state.join(s, Some(0), 0);
}

fn half_read(s: &Session, state: &mut State) {
    opened(s, state);
    state.send(s, 12);
    state.receive(s, 5);
    state.ack(s);
}

fn closed(s: &Session, state: &mut State) {
    half_read(s, state);
    state.close(s);
}

fn group_left(s: &Session, state: &mut State) {
    half_read(s, state);
    for c in state.consumers.drain(..) {
        s.end(Op::consumer_close, c.handle, s.lib.dc_consumer_close);
    }
}

fn crashed(s: &Session, state: &mut State) {
    half_read(s, state);
    s.within(Op::channel_sync, state.channels[0], -1, s.lib.dc_channel_sync);
    state.close(s);
    put(s, 9088, b"another boot id!");
    s.ledger.add(Event::Crash);
}

fn poisoned(s: &Session, state: &mut State) {
    closed(s, state);
    put(s, 8832, &1u64.to_le_bytes());
}

/// Change the channel file as FORMAT.md has it.
fn put(s: &Session, at: u64, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(s.path.join("channel"));
    if let Err(e) = file.and_then(|f| f.write_all_at(bytes, at)) {
        s.ledger.complain(&format!("cannot prepare the channel file: {e}"));
    }
}

/// Another process uses the channel and dies in the middle of it.
fn dying(s: &Session, act: impl FnOnce(&mut State)) {
    // SAFETY: the child uses the library anew and ends at once.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let mut state = State::default();
            state.open(s);
            act(&mut state);
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

fn left_by_the_dead(s: &Session, state: &mut State) {
    opened(s, state);
    state.send(s, 12);
    dying(s, |state| {
        state.join(s, Some(0), 0);
        state.receive(s, 4);
    });
}

fn claimed_by_the_dead(s: &Session, state: &mut State) {
    opened(s, state);
    state.send(s, 3);
    dying(s, |state| {
        state.produce(s);
        let mut to = std::ptr::null_mut();
        // SAFETY: a live handle, a valid pointer.
        s.call(Op::reserve, || unsafe { (s.lib.dc_reserve)(state.producers[0], 10, 0, &mut to) });
    });
    state.send(s, 3);
}

fn create(s: &Session, state: &mut State) {
    state.open(s);
    state.produce(s);
    state.send(s, 4);
    state.join(s, Some(0), 0);
    state.receive(s, 3);
    state.ack(s);
    state.channels.iter().for_each(|&c| noted(s.stats(c)));
}

fn ring(s: &Session, state: &mut State) {
    for _ in 0..5 {
        state.send(s, 8);
        state.receive(s, 6);
        state.ack(s);
    }
}

fn lossless_round(s: &Session, state: &mut State) {
    for _ in 0..3 {
        state.send(s, 26);
        state.receive(s, 20);
        state.ack(s);
    }
}

fn durable_sends(s: &Session, state: &mut State) {
    state.send(s, 9);
    state.producers.iter().for_each(|&p| noted(s.batch(p, 5, 0)));
    state.receive(s, 4);
    state.ack(s);
    state.send(s, 12);
}

fn syncs(s: &Session, state: &mut State) {
    let (channel, producer) = (state.channels[0], state.producers[0]);
    s.within(Op::sync, producer, 1000, s.lib.dc_sync);
    state.send(s, 6);
    s.within(Op::channel_sync, channel, 1000, s.lib.dc_channel_sync);
    state.receive(s, 4);
    state.ack(s);
    s.within(Op::channel_sync, channel, 1000, s.lib.dc_channel_sync);
    state.send(s, 2);
    s.within(Op::sync, producer, 1000, s.lib.dc_sync);
}

fn look(s: &Session, state: &mut State) {
    let (lib, channel) = (s.lib, state.channels[0]);
    state.join(s, None, DC_AUTO_NEXT_PAGE);
    state.receive(s, 9);
    for c in state.consumers.iter().filter(|c| c.group.is_none()) {
        // SAFETY: a live handle.
        s.call(Op::seek, || unsafe { (lib.dc_seek)(c.handle, DC_EARLIEST) });
    }
    for at in [DC_LATEST - 3, DC_EARLIEST] {
        let c = &state.consumers[0];
        // Moves the group back: what was acknowledged comes again.
        // SAFETY: a live handle.
        s.call(Op::seek, || unsafe { (lib.dc_seek)(c.handle, at) });
    }
    s.ledger.add(Event::Forget { group: 0, code: DC_E_BUSY });
    let mut clone = std::ptr::null_mut();
    let first = state.consumers[0].handle;
    // SAFETY: live handles, valid structs and names.
    unsafe {
        let cloned = s.call(Op::consumer_clone, || (lib.dc_consumer_clone)(first, &mut clone));
        if cloned == DC_OK {
            s.end(Op::consumer_close, clone, lib.dc_consumer_close);
        }
        s.call(Op::consumer_stats, || (lib.dc_consumer_stats)(first, &mut Default::default()));
        let mut name = [0; 256];
        s.call(Op::group_next, || {
            (lib.dc_group_next)(channel, std::ptr::null(), name.as_mut_ptr(), name.len())
        });
        let mut producer = std::ptr::null_mut();
        let cloned = s.call(Op::producer_clone, || {
            (lib.dc_producer_clone)(state.producers[0], &mut producer)
        });
        if cloned == DC_OK {
            s.end(Op::producer_close, producer, lib.dc_producer_close);
        }
        let path = c_path(s.path);
        let mut info = VerifyInfo::default();
        let code = s.call(Op::verify, || (lib.dc_verify)(path.as_ptr(), &mut info));
        if code == DC_OK && info.corrupt > 0 {
            s.ledger.complain(&format!("dc_verify: {info:?}"));
        }
    }
    s.group_stats(channel, 0);
    s.stats(channel);
    state.channels.extend(s.open_with(&Options { flags: DC_READ_ONLY, ..Options::default() }));
    if let Some(&reader) = state.channels.get(1) {
        state.consumers.extend(s.subscribe(reader, None, DC_AUTO_NEXT_PAGE));
        s.stats(reader);
    }
    state.receive(s, 4);
}

fn redeliver(s: &Session, state: &mut State) {
    state.receive(s, 30);
    state.join(s, Some(0), DC_AUTO_NEXT_PAGE);
    state.consumers.iter().take(1).for_each(|c| s.nack(c));
    state.receive(s, 30);
    state.ack(s);
    s.within(Op::sync, state.producers[0], 500, s.lib.dc_sync);
}

fn delete(s: &Session, state: &mut State) {
    let (channel, name) = (state.channels[0], crate::ledger::group_name(0));
    for _ in 0..2 {
        // SAFETY: a live handle, a valid name.
        let code =
            s.call(Op::group_delete, || unsafe { (s.lib.dc_group_delete)(channel, name.as_ptr()) });
        s.ledger.add(Event::Forget { group: 0, code });
    }
    state.join(s, Some(0), DC_AUTO_NEXT_PAGE);
    state.receive(s, 3);
    state.ack(s);
}

fn destroy(s: &Session, state: &mut State) {
    let path = c_path(s.path);
    s.ledger.add(Event::Destroy);
    for _ in 0..2 {
        // SAFETY: a valid path.
        s.call(Op::destroy, || unsafe { (s.lib.dc_destroy)(path.as_ptr()) });
    }
    create(s, state);
}

fn thread(s: &Session, state: &mut State) {
    let lib = s.lib;
    state.open(s);
    state.produce(s);
    state.join(s, Some(0), DC_AUTO_NEXT_PAGE);
    let fds = |state: &State| {
        for c in &state.consumers {
            // A number is an answer here: judge failures alone.
            // SAFETY: a live handle.
            s.call(Op::consumer_fd, || unsafe { (lib.dc_consumer_fd)(c.handle) }.min(0));
        }
        for &p in &state.producers {
            // SAFETY: a live handle.
            s.call(Op::producer_fd, || unsafe { (lib.dc_producer_fd)(p) }.min(0));
        }
    };
    fds(state);
    state.receive(s, 1);
    state.send(s, 6);
    std::thread::sleep(std::time::Duration::from_millis(12));
    state.receive(s, 9);
    state.ack(s);
    state.send(s, 6);
    fds(state);
    std::thread::sleep(std::time::Duration::from_millis(12));
    state.receive(s, 9);
}

fn wait(s: &Session, state: &mut State) {
    state.consumers.iter_mut().for_each(|c| noted(s.receive(c, 1, 3)));
    state.send(s, 26);
    state.producers.iter().for_each(|&p| noted(s.send(p, 0, 3)));
    state.receive(s, 30);
    state.consumers.iter_mut().for_each(|c| noted(s.receive(c, 1, 3)));
    state.ack(s);
    state.producers.iter().for_each(|&p| noted(s.send(p, 0, 3)));
}

fn many(s: &Session, state: &mut State) {
    state.join(s, Some(0), DC_AUTO_NEXT_PAGE);
    state.join(s, Some(1), DC_AUTO_NEXT_PAGE);
    state.join(s, None, DC_AUTO_NEXT_PAGE);
    state.produce(s);
    state.producers.iter().for_each(|&p| noted(s.batch(p, 10, 0)));
    state.consumers.iter_mut().for_each(|c| noted(s.receive_batch(c, 6, 0)));
    state.ack(s);
    for &p in &state.producers {
        let mut to = std::ptr::null_mut();
        // SAFETY: a live handle, a valid pointer.
        if s.call(Op::reserve, || unsafe { (s.lib.dc_reserve)(p, 100, 0, &mut to) }) == DC_OK {
            s.with(Op::abort, p, s.lib.dc_abort);
        }
    }
    state.send(s, 5);
    state.receive(s, 20);
    state.consumers.iter().skip(1).for_each(|c| s.nack(c));
    state.receive(s, 4);
}

fn maintained(s: &Session, state: &mut State) {
    for _ in 0..4 {
        state.send(s, 9);
        let channel = state.channels[0];
        s.within(Op::maintain, channel, 0, s.lib.dc_maintain);
        state.receive(s, 9);
        state.ack(s);
    }
}
