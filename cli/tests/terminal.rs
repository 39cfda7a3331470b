//! What needs a terminal: `top`, the question of `destroy`, progress. tmux is the terminal, and what stands on its
//! screen is what a user would see.

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;

use common::*;

/// A tmux server of its own, with one window.
struct Terminal<'a> {
    place: &'a Place,
}

impl Terminal<'_> {
    /// Run a shell command in a new window; `None`: there is no tmux here.
    fn run<'a>(place: &'a Place, command: &str) -> Option<Terminal<'a>> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            // Past the test runner, which keeps to itself what a test that passes has printed.
            let _ = writeln!(std::io::stderr(), "SKIPPED: tmux is not installed: {command}");
            return None;
        }
        let terminal = Terminal { place };
        let program = Path::new(env!("CARGO_BIN_EXE_disk-chan")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        // The window stays, so that what the command has left behind can be read.
        let command = format!("{command}; echo code $?; exec sleep 1000");
        let size =
            ["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "30", "sh", "-c", &command];
        let status =
            terminal.tmux(&size).env("PATH", path).env("LC_ALL", "C.UTF-8").status().unwrap();
        assert!(status.success());
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.place.path().join("tmux")).args(args);
        command.current_dir(self.place.path()).env_remove("TMUX");
        command
    }

    fn press(&self, keys: &[&str]) {
        assert!(self.tmux(&[&["send-keys"][..], keys].concat()).status().unwrap().success());
    }

    fn screen(&self) -> String {
        text(&self.tmux(&["capture-pane", "-p"]).output().unwrap().stdout)
    }

    /// The screen, once it shows this.
    fn shows(&self, what: &str) -> String {
        self.until(what, |screen| screen.contains(what))
    }

    fn until(&self, what: &str, so: impl Fn(&str) -> bool) -> String {
        let begun = std::time::Instant::now();
        loop {
            let screen = self.screen();
            if so(&screen) {
                return screen;
            }
            assert!(begun.elapsed().as_secs() < 20, "no {what:?} on the screen:\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).stderr(Stdio::null()).status();
    }
}

/// The line of the screen that has this in it.
fn line<'a>(screen: &'a str, what: &str) -> &'a str {
    screen.lines().find(|l| l.contains(what)).unwrap_or_else(|| panic!("no {what:?}:\n{screen}"))
}

#[test]
fn top_on_a_channel_in_use() {
    let place = Place::with(&["--page-size=64K", "--retention=unread", "--max-pages=4"]);
    ok(&place.run(&["seek", "c", "idle", "earliest", "--create"], b""));
    let Some(terminal) = Terminal::run(&place, "disk-chan top c --interval 100ms") else {
        return;
    };
    terminal.shows("live       0 producers, 0 consumers; dead 0; 0 asleep");
    let mut reader = place.command(&["recv", "c", "busy", "-f"]).stdout(Stdio::null()).start();
    terminal.shows("1 consumers; dead 0; 1 asleep");
    let mut sender = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
    let mut to = sender.stdin.take().unwrap();
    for _ in 0..15 {
        to.write_all(&numbered(100, 10)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let screen = terminal.shows("live       1 producers, 1 consumers");
    let rate = number_before(line(&screen, " in ").split("out").next().unwrap(), "/s,");
    assert!((200..20_000).contains(&rate), "{screen}");
    let screen = terminal.shows("1,500 (");
    // Every page is 64 KiB of payload: 1,500 messages of 10 bytes take 16 bytes each.
    assert!(line(&screen, " pages ").contains("pages 1 of 4, the newest 37 % full"), "{screen}");
    let (busy, idle) = (line(&screen, "│busy"), line(&screen, "│idle"));
    assert!(idle.contains(" 1,500 ") && idle.contains('█'), "{screen}");
    assert!(busy.contains(" 1 ") && !busy.contains(" 1,500 "), "{screen}");
    // A sender that waits for room.
    let mut filler = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
    let mut fill = filler.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || fill.write_all(&numbered(20_000, 10)));
    terminal.shows("1 waiting for room");
    // The dead are seen as dead.
    signal(&filler, rustix::process::Signal::KILL);
    signal(&reader, rustix::process::Signal::KILL);
    terminal.shows("live       1 producers, 0 consumers; dead 2;");
    let _ = (ended(&mut filler), ended(&mut reader), feeder.join().unwrap());
    drop(to);
    assert_eq!(ended(&mut sender), 0);
    terminal.press(&["q"]);
    // The screen from before is back.
    let screen = terminal.shows("code 0");
    assert!(!screen.contains("pages"), "{screen}");
}

/// What stands before "/s" behind this word: "81.2k" is 81,200.
fn rate(screen: &str, word: &str) -> f64 {
    let line = line(screen, "/s, out ");
    let from = line.find(word).unwrap() + word.len();
    let shown = line[from..].split("/s").next().unwrap().trim();
    let (digits, factor) = match shown.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if shown.ends_with('k') { 1e3 } else { 1e6 }),
        None => (shown, 1.0),
    };
    digits.parse::<f64>().unwrap_or_else(|e| panic!("{e}: {shown:?} in {line}")) * factor
}

/// Rates do not end with the first page, nor where pages come and go between two looks.
#[test]
fn top_over_many_pages() {
    let place = Place::with(&["--messages-per-page=100", "--page-size=64K", "--max-pages=2"]);
    let Some(terminal) = Terminal::run(&place, "disk-chan top c --interval 100ms") else {
        return;
    };
    terminal.shows("groups 0");
    let mut sender = place.command(&["send", "c"]).stdin(Stdio::piped()).start();
    let mut to = sender.stdin.take().unwrap();
    // Slowly: some looks a page.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let feeder = std::thread::spawn(move || {
        let pause = std::time::Duration::from_millis(30);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            to.write_all(&numbered(10, 10)).unwrap();
        }
        to
    });
    for newest in [3, 6, 9] {
        until("another page", || place.info().end >> 16 >= newest);
        terminal.until("a rate", |screen| rate(screen, " in ") > 20.0);
    }
    drop(stop);
    let mut to = feeder.join().unwrap();
    terminal.until("rest", |screen| rate(screen, " in ") == 0.0);
    // Two hundred pages at once, of which no look can see more than two.
    to.write_all(&numbered(20_000, 10)).unwrap();
    let screen = terminal.until("a high rate", |screen| rate(screen, " in ") > 4000.0);
    assert!(line(&screen, " pages ").contains(" of 2,"), "{screen}");
    drop(to);
    assert_eq!(ended(&mut sender), 0);
    terminal.until("rest", |screen| rate(screen, " in ") == 0.0);
    terminal.press(&["q"]);
    terminal.shows("code 0");
}

#[test]
fn keys_of_top() {
    let place = Place::with(&[]);
    place.send(&numbered(10, 1));
    for (group, at) in [("aaa", "latest"), ("bbb", "earliest"), ("ccc", "last:5")] {
        ok(&place.run(&["seek", "c", group, at, "--create"], b""));
    }
    let Some(terminal) = Terminal::run(&place, "disk-chan top c -i 100ms") else {
        return;
    };
    let order = |names: [&'static str; 3]| {
        terminal.until(&format!("the order {names:?}"), |screen| {
            let at = names.map(|n| screen.find(&format!("│{n}")).unwrap_or(usize::MAX));
            at.is_sorted() && at[2] != usize::MAX
        })
    };
    order(["aaa", "bbb", "ccc"]);
    terminal.press(&["Right", "Right", "Right"]);
    terminal.shows("sort by lag");
    order(["bbb", "ccc", "aaa"]);
    terminal.press(&["r"]);
    order(["aaa", "ccc", "bbb"]);
    terminal.press(&["Left"]);
    terminal.shows("sort by out/s");
    terminal.press(&["?"]);
    terminal.shows("this help, on and off");
    terminal.press(&["?"]);
    terminal.until("no help", |screen| !screen.contains("this help"));
    terminal.press(&["p"]);
    terminal.shows("PAUSED");
    place.send(&numbered(10, 1));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(terminal.screen().contains("messages   10 ("));
    terminal.press(&["p"]);
    terminal.shows("messages   20 (");
    terminal.press(&["-"]);
    terminal.shows("every 0.2 s");
    // The line under the cursor is shown in reverse.
    let reversed = |name: &str| {
        let output = terminal.tmux(&["capture-pane", "-p", "-e"]).output().unwrap();
        // Its attributes stand between the border and the name.
        let plain = |l: &&str| l.replace("\u{1b}[7m", "").contains(name);
        text(&output.stdout).lines().find(plain).unwrap().contains("\u{1b}[7m")
    };
    // By rates, which are all the same, and the other way round.
    order(["ccc", "bbb", "aaa"]);
    until("the first group is selected", || reversed("│ccc") && !reversed("│aaa"));
    terminal.press(&["Down", "Down", "Down", "Down"]);
    until("the last group is selected", || reversed("│aaa") && !reversed("│ccc"));
    terminal.press(&["Up", "Up"]);
    until("the first group is selected again", || reversed("│ccc") && !reversed("│aaa"));
    terminal.press(&["C-c"]);
    terminal.shows("code 0");
}

/// Ended by a signal, it leaves the terminal as it was; and so when the screen is small.
#[test]
fn top_leaves_the_terminal_as_it_was() {
    let place = Place::with(&[]);
    let Some(terminal) = Terminal::run(&place, "sh -c 'echo $$ >pid; exec disk-chan top c'") else {
        return;
    };
    terminal.shows("groups 0");
    for (width, height) in [("10", "3"), ("300", "80"), ("110", "30")] {
        let size = ["resize-window", "-x", width, "-y", height];
        assert!(terminal.tmux(&size).status().unwrap().success());
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    terminal.shows("groups 0");
    let pid = std::fs::read_to_string(place.path().join("pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let screen = terminal.shows("code 143");
    assert!(!screen.contains("groups"), "{screen}");
    // Not on a terminal it says what to use instead.
    failed(&place.run(&["top", "c"], b""), 2, "info --json");
}

/// A terminal that is closed takes it along.
#[test]
fn top_ends_with_its_terminal() {
    let place = Place::with(&[]);
    let Some(terminal) = Terminal::run(&place, "sh -c 'echo $$ >pid; exec disk-chan top c'") else {
        return;
    };
    terminal.shows("groups 0");
    let pid = std::fs::read_to_string(place.path().join("pid")).unwrap();
    drop(terminal);
    let status = || std::fs::read_to_string(format!("/proc/{}/comm", pid.trim()));
    until("it has ended", || !status().is_ok_and(|name| name.trim() == "disk-chan"));
}

#[test]
fn destroy_asks() {
    let place = Place::with(&[]);
    place.send(b"one\ntwo\n");
    let Some(terminal) = Terminal::run(&place, "disk-chan destroy c; disk-chan destroy c") else {
        return;
    };
    terminal.shows("Remove c (2 messages) for good? [y/N]");
    terminal.press(&["Enter"]);
    terminal.shows("nothing was removed");
    assert!(place.channel().exists());
    terminal.press(&["y", "Enter"]);
    terminal.shows("code 0");
    assert!(!place.channel().exists());
}

/// Progress is for a terminal alone, and is gone in the end.
#[test]
fn progress_of_long_work() {
    let place = Place::with(&["--page-size=1M"]);
    place.send(&numbered(10_000, 1000));
    assert_eq!(place.run(&["verify", "c"], b"").stderr, b"");
    let work = "read x; disk-chan verify c; disk-chan export c >f; disk-chan import d --create <f";
    let Some(terminal) = Terminal::run(&place, work) else {
        return;
    };
    // Everything that is ever written to the screen.
    assert!(terminal.tmux(&["pipe-pane", "cat >written"]).status().unwrap().success());
    terminal.press(&["Enter"]);
    let screen = terminal.shows("code 0");
    assert!(line(&screen, "messages").contains("10,000"), "{screen}");
    let written = std::fs::read(place.path().join("written")).unwrap();
    for what in ["pages checked", "exported", "imported"] {
        assert!(text(&written).contains(what), "no {what:?} in {:?}", text(&written));
        assert!(!screen.contains(what), "{screen}");
    }
}
