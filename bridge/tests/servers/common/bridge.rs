//! The bridge as a process.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};

use super::until_or;

/// How the bridge is to run.
#[derive(Clone)]
pub struct Setup {
    pub dir: PathBuf,
    pub direction: &'static str,
    pub channel: PathBuf,
    pub stream: String,
    pub urls: Vec<String>,
    /// More lines of a section, as `(section, lines)`.
    pub more: Vec<(&'static str, String)>,
    pub arguments: Vec<String>,
}

impl Setup {
    pub fn new(
        dir: &Path,
        direction: &'static str,
        channel: &Path,
        stream: &str,
        urls: Vec<String>,
    ) -> Setup {
        Setup {
            dir: dir.into(),
            direction,
            channel: channel.into(),
            stream: stream.into(),
            urls,
            more: Vec::new(),
            arguments: Vec::new(),
        }
    }

    pub fn with(mut self, section: &'static str, lines: &str) -> Setup {
        self.more.push((section, lines.into()));
        self
    }

    pub fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.into());
        self
    }

    fn lines(&self, section: &str) -> String {
        self.more.iter().filter(|m| m.0 == section).map(|m| format!("{}\n", m.1)).collect()
    }

    pub fn config(&self) -> String {
        let mut text = format!(
            "[channel]\npath = {:?}\n{}[cluster]\nservers = {:?}\nbackoff_max = \"1s\"\nanswer_timeout = \"2s\"\n{}\
             [stream]\nname = {:?}\n{}",
            self.channel,
            self.lines("channel"),
            self.urls,
            self.lines("cluster"),
            self.stream,
            self.lines("stream"),
        );
        for section in ["cluster.tls", "forward", "fetch", "serve", "log"] {
            let lines = self.lines(section);
            if !lines.is_empty() {
                text.push_str(&format!("[{section}]\n{lines}"));
            }
        }
        text
    }

    pub fn command(&self) -> Command {
        let config = self.dir.join(format!("{}-{}.toml", self.direction, self.stream));
        std::fs::write(&config, self.config()).unwrap();
        // Another one than was built with the tests: with a bug on purpose, say.
        let other = std::env::var_os("DISK_CHAN_BRIDGE");
        let program = other.unwrap_or(env!("CARGO_BIN_EXE_disk-chan-bridge").into());
        let mut command = Command::new(program);
        command.arg(self.direction).arg("--config").arg(config).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    pub fn start(&self) -> Bridge {
        let log = self.dir.join(format!("{}-{}.log", self.direction, self.stream));
        let to = std::fs::File::options().append(true).create(true).open(&log).unwrap();
        let from = to.metadata().unwrap().len() as usize;
        Bridge { child: self.command().stderr(to).spawn().unwrap(), log, from }
    }
}

pub struct Bridge {
    pub child: Child,
    log: PathBuf,
    from: usize,
}

impl Bridge {
    /// What it has said so far.
    pub fn said(&self) -> String {
        let all = std::fs::read_to_string(&self.log).unwrap();
        all[self.from..].to_string()
    }

    pub fn says(&self, what: &str) {
        let all = || format!("the bridge says {what:?}; it said {}", self.said());
        until_or(60, all, || self.said().contains(what));
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// It ends by itself, with this code.
    pub fn ends_with(&mut self, code: i32) {
        let mut status = None;
        let (child, log) = (&mut self.child, &self.log);
        let all = || format!("the bridge ends; it said {}", std::fs::read_to_string(log).unwrap());
        until_or(60, all, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        let ended = status.code().unwrap_or_else(|| -status.signal().unwrap());
        assert_eq!(ended, code, "{}", self.said());
    }

    /// Asked to end, it finishes what it has begun.
    pub fn drain(mut self) {
        // It hears signals by the time it says something.
        self.says(" ");
        self.signal(Signal::TERM);
        self.ends_with(0);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.kill();
    }
}
