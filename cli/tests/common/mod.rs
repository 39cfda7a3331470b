//! Running the program, and knowing what a channel holds without it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use disk_chan::raw::options::{EXISTING, READ_ONLY};
use disk_chan::raw::{Channel, ChannelInfo, GroupInfo, Options};
use rustix::process::{kill_process, Pid, Signal};

/// A process that does not outlive its test, failed or not.
pub struct Running(Child);

impl Deref for Running {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended, and then neither does anything.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub trait Start {
    fn start(&mut self) -> Running;
}

impl Start for Command {
    fn start(&mut self) -> Running {
        Running(self.spawn().unwrap())
    }
}

/// A directory with a channel `c` in it.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Without a channel yet.
    pub fn empty() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// With one made with these options.
    pub fn with(options: &[&str]) -> Place {
        let place = Place::empty();
        ok(&place.run(&[&["create", "c"], options].concat(), b""));
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn channel(&self) -> PathBuf {
        self.path().join("c")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_disk-chan"));
        command.args(args).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The background of a script ignores Ctrl-C, and so would the program, which heeds that.
        let heed = || {
            for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
                // SAFETY: the default takes no handler.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: nothing but async-signal-safe calls.
        unsafe { command.pre_exec(heed) };
        command
    }

    /// Run to the end, with this on standard input.
    pub fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // Who does not read on need not be fed on.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output
    }

    /// Send these lines by the program.
    pub fn send(&self, lines: &[u8]) {
        ok(&self.run(&["send", "c"], lines));
    }

    pub fn info(&self) -> ChannelInfo {
        open(&self.channel(), READ_ONLY).stats().unwrap()
    }

    /// A group's figures; nothing but zeros where there is none yet.
    pub fn group(&self, name: &str) -> GroupInfo {
        open(&self.channel(), READ_ONLY).group_stats(name.as_bytes()).unwrap_or_default()
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.run(args, b"");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }
}

pub fn open(path: &Path, flags: u32) -> Channel {
    Channel::open(path, &Options { flags: flags | EXISTING, ..Options::default() }).unwrap()
}

/// It ended with 0 and had nothing to say; what it printed.
pub fn ok(output: &Output) -> Vec<u8> {
    assert_eq!(text(&output.stderr), "", "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output.stdout.clone()
}

/// It ended with this code and said this among other things.
pub fn failed(output: &Output, code: i32, said: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(text(&output.stderr).contains(said), "no {said:?} in {:?}", text(&output.stderr));
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The numbers 0 to `n`, a line each, filled up to `width`.
pub fn numbered(n: usize, width: usize) -> Vec<u8> {
    (0..n).flat_map(|i| format!("{i:0width$}\n").into_bytes()).collect()
}

/// The number that follows the program's name, or this text, on standard error.
pub fn number_before(said: &str, what: &str) -> u64 {
    let at = said.find(what).unwrap_or_else(|| panic!("no {what:?} in {said:?}"));
    let word = said[..at].split_whitespace().next_back().unwrap();
    word.replace(',', "").parse().unwrap_or_else(|e| panic!("{e}: {word:?} in {said:?}"))
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Wait until it is so, or fail.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Its exit code, which it has to reach by itself; that of a signal that killed it is negative.
pub fn ended(child: &mut Child) -> i32 {
    let mut status = None;
    until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

/// What it said on standard error; it has ended.
pub fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}
