//! What the tests of `tests/` share: wakers that count, and other processes that play a role of the same test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{pin, Pin};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Long enough that only a lost wakeup or a hang runs into it.
pub const LONG: Duration = Duration::from_secs(60);

/// A waker that counts how often it was woken.
#[derive(Default)]
pub struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Woken {
    pub fn new() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    pub fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Wait until it was woken so often.
    pub fn wait(&self, count: usize) {
        let begin = Instant::now();
        while self.count() < count {
            assert!(begin.elapsed() < LONG, "woken {} times instead of {count}", self.count());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Poll once, with a waker that does nothing.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Poll a future to its end, without ever sleeping.
pub fn spin_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let begin = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(begin.elapsed() < LONG, "never ready");
    }
}

/// In a process that [`play`] started: the role, and where the channel lies.
pub fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var("DISK_CHAN_ROLE").ok()?;
    Some((role, std::env::var_os("DISK_CHAN_PATH")?.into()))
}

/// Run a test of this program in a process of its own, where [`role`] says what it is.
pub fn play(test: &str, role: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env("DISK_CHAN_ROLE", role)
        .env("DISK_CHAN_PATH", path)
        .spawn()
        .unwrap()
}

/// Threads of this process that the library started.
pub fn library_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |t: &std::fs::DirEntry| std::fs::read_to_string(t.path().join("comm")).ok();
    tasks.filter(|t| name(t.as_ref().unwrap()).as_deref() == Some("disk_chan\n")).count()
}
