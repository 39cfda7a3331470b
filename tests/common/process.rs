//! Processes of a test: the test program run again, to play a role instead of testing.
//!
//! A test file with roles has a test named `child_role` that calls [`play`]. Parent and child talk
//! through pipes: the child [`mark`]s what it reached, the parent [`Child::tell`]s it to go on.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdout, Command, Stdio};

const ROLE: &str = "DISK_CHAN_TEST_ROLE";

/// A process that plays a role; killed when dropped.
pub struct Child {
    process: std::process::Child,
    out: BufReader<ChildStdout>,
}

impl Child {
    pub fn start(role: &str, args: &[&str]) -> Child {
        let mut words = vec![role];
        words.extend(args);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child_role", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, words.join("\x1f"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Child { process, out }
    }

    /// Waits until it has marked this; what it wrote behind the mark.
    pub fn expect(&mut self, name: &str) -> String {
        self.expect_or_end(name, "").unwrap_or_default()
    }

    /// The next of these marks; `None` at the last one.
    pub fn expect_or_end(&mut self, name: &str, end: &str) -> Option<String> {
        let (mark, end) = (format!("@{name} "), format!("@{end} "));
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "it ended before \"{name}\"");
            if let Some(rest) = line.strip_prefix(&mark) {
                return Some(rest.trim_end().to_string());
            }
            if line.starts_with(&end) {
                return None;
            }
        }
    }

    /// Lets it go on from [`told`].
    pub fn tell(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: plain integers; the child is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.process.id() as i32, signal) }, 0);
    }

    /// Stops it, and waits until it is stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.process.id());
        super::until("it stops", || {
            let s = std::fs::read_to_string(&stat).unwrap();
            s.rsplit(')').next().unwrap().trim_start().starts_with('T')
        });
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        assert_eq!(
            self.process.wait().unwrap().signal(),
            Some(libc::SIGKILL),
            "it ended by itself"
        );
    }

    pub fn succeed(mut self) {
        // Read on, or it might block on a full pipe.
        let mut rest = String::new();
        while self.out.read_line(&mut rest).unwrap_or(0) > 0 {}
        assert!(self.process.wait().unwrap().success(), "the process failed (see above)");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: plays its role. In the test run itself: nothing.
pub fn play(act: impl FnOnce(&str, &[&str])) {
    let Ok(words) = std::env::var(ROLE) else {
        return;
    };
    // SAFETY: plain integers. It must not outlive its test, nor hang for ever.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(100);
    }
    let words: Vec<&str> = words.split('\x1f').collect();
    act(words[0], &words[1..]);
}

/// In a child: tells the parent what was reached.
pub fn mark(name: &str, rest: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n@{name} {rest}\n").unwrap();
    out.flush().unwrap();
}

/// In a child: waits for the parent's word.
pub fn told() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// In a child: waits to be killed.
pub fn forever() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}

/// In a child: forks; the forked process ends with the result, which the caller gets.
pub fn in_fork(raw: bool, act: impl FnOnce() -> bool) -> bool {
    // SAFETY: the forked process only runs `act` and exits; no other thread of the child holds locks
    // that it needs.
    let pid = unsafe {
        if raw {
            libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32
        } else {
            libc::fork()
        }
    };
    assert!(pid >= 0);
    if pid == 0 {
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or(false);
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the status lives during the call.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status == 0
}
