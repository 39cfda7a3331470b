//! Files are untrusted input: cut, flipped, made up or replaced, they give codes, never a crash, a hang,
//! or a message that nobody sent.
//!
//! Each case is a small channel with one thing wrong with it (`channel`, `cases`), used in every way the
//! API has (`workload`) by a child process: this test binary again, told by the environment which cases
//! to run. The parent sees crashes by the child's end, and hangs by cases that do not pass in time, and
//! starts another child behind the case that did it.
//!
//! By default a fixed sample of the cases runs; `DISK_CHAN_HOSTILE_ALL=1` runs them all, every byte of
//! every structure flipped among them (minutes). `DISK_CHAN_HOSTILE_KEEP=1` leaves a process that hangs.

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/channel.rs"]
mod channel;
#[path = "golden/sparse.rs"]
mod sparse;
#[path = "hostile/workload.rs"]
mod workload;

use channel::Template;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A case takes milliseconds; one that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a file at most: a made-up size must not fill the disk.
const FILE_LIMIT: u64 = 64 << 20;

const WHO: &str = "DISK_CHAN_HOSTILE_CASES";

struct Temp(PathBuf);
impl Temp {
    fn new(family: &str) -> Temp {
        // Memory where there is some: every case writes, and flushes, a channel.
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("disk_chan-hostile-{}-{family}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Temp(path)
    }
}
impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The child's side: run a family's cases from a given one on. A test without the environment.
#[test]
fn child() {
    let Ok(spec) = std::env::var(WHO) else { return };
    let (family, rest) = spec.split_once(' ').unwrap();
    let (start, base) = rest.split_once(' ').unwrap();
    let base = Path::new(base);
    let limit = libc::rlimit { rlim_cur: FILE_LIMIT, rlim_max: FILE_LIMIT };
    // SAFETY: `limit` is a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let template = Template::load(&base.join("template"));
    let progress = File::options().write(true).open(base.join("progress")).unwrap();
    let cases = cases::family(family, &template);
    for (i, case) in cases.iter().enumerate().skip(start.parse().unwrap()) {
        progress.write_all_at(&(i as u64 + 1).to_le_bytes(), 0).unwrap();
        let dir = base.join("channel");
        case.lay_out(&template, &dir);
        workload::run(&dir, case, i);
        let _ = std::fs::remove_dir_all(&dir);
    }
    progress.write_all_at(&u64::MAX.to_le_bytes(), 0).unwrap();
}

/// The parent's side: run a family, child after child, and report the cases that did harm.
fn family(name: &str) {
    let temp = Temp::new(name);
    let template = Template::make(&temp.0.join("template"));
    let cases = cases::family(name, &template);
    let progress = File::create_new(temp.0.join("progress")).unwrap();
    progress.write_all_at(&[0; 8], 0).unwrap();
    std::fs::File::options().read(true).open(temp.0.join("progress")).unwrap();
    let mut harm = Vec::new();
    let mut next = 0;
    while next < cases.len() && harm.len() < 40 {
        match child_from(name, next, &temp.0) {
            Ok(()) => break,
            Err((at, how)) => {
                harm.push(format!("{}: {how}", cases[at].label));
                next = at + 1;
                let _ = std::fs::remove_dir_all(temp.0.join("channel"));
            }
        }
    }
    assert!(harm.is_empty(), "{} of {} cases:\n{}", harm.len(), cases.len(), harm.join("\n"));
}

/// Run the cases from `start` on; which one did harm, and how.
fn child_from(family: &str, start: usize, base: &Path) -> Result<(), (usize, String)> {
    let log = File::create(base.join("log")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(WHO, format!("{family} {start} {}", base.display()))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let at = || {
        let mut word = [0; 8];
        File::open(base.join("progress")).unwrap().read_exact_at(&mut word, 0).unwrap();
        u64::from_le_bytes(word)
    };
    let (mut seen, mut since) = (at(), Instant::now());
    let how = loop {
        if let Some(status) = child.try_wait().unwrap() {
            if status.success() && at() == u64::MAX {
                return Ok(());
            }
            let log = std::fs::read_to_string(base.join("log")).unwrap_or_default();
            break match status.signal() {
                Some(signal) => format!("killed by signal {signal}; {}", log.trim()),
                None => format!("failed: {}", log.trim()),
            };
        }
        if at() != seen {
            (seen, since) = (at(), Instant::now());
        }
        if since.elapsed() > PATIENCE {
            if std::env::var_os("DISK_CHAN_HOSTILE_KEEP").is_some() {
                panic!("case {} hangs in process {}", at() - 1, child.id());
            }
            let _ = child.kill();
            let _ = child.wait();
            break "hangs".to_string();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Err((at().saturating_sub(1) as usize, how))
}

#[test]
fn the_channel_is_sound_where_nothing_is_wrong() {
    let temp = Temp::new("sound");
    let template = Template::make(&temp.0.join("template"));
    let dir = temp.0.join("channel");
    cases::family("known", &template)[0].lay_out(&template, &dir);
    workload::all_is_well(&dir);
}

/// A count that a handle keeps of its held words is its own, whatever becomes of the words.
#[test]
fn held_words_from_nowhere() {
    use disk_chan::raw::{options::*, Channel, Message, Options, Received, SubscribeOptions};
    let temp = Temp::new("held");
    let dir = temp.0.join("channel");
    let ch = Channel::open(&dir, &Options::default()).unwrap();
    let mut p = ch.producer().unwrap();
    (0..20).for_each(|i| p.send(&channel::body(i), 0).unwrap());
    // One message a claim: the earlier ones are put aside.
    let o = SubscribeOptions { ack: ACK_MANUAL, prefetch: 1, ..SubscribeOptions::default() };
    let mut c = ch.subscribe(Some(channel::GROUP), &o).unwrap();
    let mut m = Message::default();
    (0..5).for_each(|_| assert!(matches!(c.recv(&mut m, 0), Ok(Received::Message))));
    let group = format!("group-{:032x}", xxhash_rust::xxh3::xxh3_128(channel::GROUP));
    let file = File::options().write(true).open(dir.join(group)).unwrap();
    for i in 100..200 {
        file.write_all_at(&((1 << 16 | 3u64) << 10 | 1).to_le_bytes(), 8192 + 8 * i).unwrap();
    }
    file.write_all_at(&200u64.to_le_bytes(), 4096 + 16).unwrap();
    c.ack(m.position).unwrap();
    assert!(matches!(c.recv(&mut m, 0), Ok(Received::Message)));
}

#[test]
fn what_once_did_harm() {
    family("known");
}

#[test]
fn files_cut_or_lengthened() {
    family("lengths");
}

#[test]
fn bytes_flipped() {
    family("flips");
}

#[test]
fn words_of_the_shared_state_at_their_bounds() {
    family("control");
}

#[test]
fn words_of_pages_at_their_bounds() {
    family("pages");
}

#[test]
fn words_of_groups_at_their_bounds() {
    family("groups");
}

#[test]
fn superblocks_that_are_sound_and_wrong() {
    family("superblocks");
}

#[test]
fn strangers_in_place_of_files() {
    family("strangers");
}
