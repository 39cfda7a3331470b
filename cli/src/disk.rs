//! What the library's figures do not say, read from the files as `docs/FORMAT.md` describes them: how full each page is,
//! how many messages were ever sent, who sleeps, whose records the dead have left.
//!
//! Only looked at, with plain reads, and only where the format is the one known here. What cannot be read is `None`:
//! a page may be reused at any moment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use disk_chan::raw::ChannelInfo;

/// The format this module knows.
const FORMAT: u64 = 1;
const SLEEPERS: u64 = 9216;
const ROOM_WAITERS: u64 = 9344;
const WORDS: usize = 16;
const HANDLES: u64 = 12_288;
const HANDLE_LEN: usize = 128;
const HANDLE_COUNT: usize = 1024;
const PAGE_MAGIC: u64 = u64::from_le_bytes(*b"DCPAGE01");

/// The files of a channel.
pub struct Disk {
    directory: PathBuf,
    channel: Option<File>,
    max_units: u64,
    slots: u64,
}

/// How far a page is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Page {
    pub number: u64,
    /// Messages claimed in it.
    pub messages: u64,
    /// Of its slots or its bytes, whichever is nearer to its end: 0 to 1.
    pub fill: f64,
    buried: u64,
}

/// Who is there, as the records say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Participants {
    /// Records of producers and consumers, dead ones that nobody has cleaned up included.
    pub records: u64,
    /// Consumers asleep, or waiting by a descriptor.
    pub sleeping: u64,
    /// Producers waiting for room.
    pub waiting: u64,
}

/// The page a position lies in.
pub fn page_of(position: u64) -> u64 {
    position >> 16
}

impl Disk {
    pub fn new(path: &Path, info: &ChannelInfo) -> Disk {
        let known = info.format_version == FORMAT;
        Disk {
            directory: path.to_path_buf(),
            channel: known.then(|| File::open(path.join("channel")).ok()).flatten(),
            max_units: info.page_size / 8,
            slots: info.max_messages_per_page,
        }
    }

    /// A page's fill, unless it is gone.
    pub fn page(&self, number: u64) -> Option<Page> {
        self.channel.as_ref()?;
        let file = File::open(self.directory.join(format!("page-{number:010x}"))).ok()?;
        let mut header = [0; 264];
        file.read_exact_at(&mut header, 0).ok()?;
        let word = |at: usize| word(&header, at);
        if word(0) != PAGE_MAGIC || word(24) != number {
            return None;
        }
        let (claims, units) = (word(256) & 0xff_ffff, word(256) >> 24);
        // Sealed: ENDED says how many of the claims count.
        let messages = match word(48) {
            0 => claims.min(self.slots),
            ended => (ended - 1).min(self.slots),
        };
        let share = |part: u64, whole: u64| part.min(whole) as f64 / whole.max(1) as f64;
        let fill = share(claims, self.slots).max(share(units, self.max_units));
        Some(Page { number, messages, fill, buried: word(56) })
    }

    pub fn participants(&self) -> Option<Participants> {
        let file = self.channel.as_ref()?;
        let mut records = vec![0; HANDLE_LEN * HANDLE_COUNT];
        file.read_exact_at(&mut records, HANDLES).ok()?;
        let used = |record: &&[u8]| matches!(word(record, 0), 1 | 2);
        let records = records.chunks(HANDLE_LEN).filter(used).count() as u64;
        let (sleeping, waiting) = (self.bits(file, SLEEPERS)?, self.bits(file, ROOM_WAITERS)?);
        Some(Participants { records, sleeping, waiting })
    }

    fn bits(&self, file: &File, at: u64) -> Option<u64> {
        let mut set = [0; 8 * WORDS];
        file.read_exact_at(&mut set, at).ok()?;
        Some(set.iter().map(|b| u64::from(b.count_ones())).sum())
    }
}

impl Page {
    /// Messages in it; its claims that came to nothing are none.
    pub fn sent(&self) -> u64 {
        self.messages.saturating_sub(self.buried)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
