//! A small channel, and edits of its files that make it one that no library wrote.

use crate::sparse::{self, Packed};
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Message, Options, SubscribeOptions};
use std::fs::File;
use std::os::unix::fs::{symlink, FileExt};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The group of the channel.
pub const GROUP: &[u8] = b"group";
/// Messages a page takes.
const SLOTS: u32 = 50;
/// Where the payload of its pages begins.
const PAYLOAD: u64 = 4096 + 4096;

/// Message `i`: its number, and bytes that follow from it.
pub fn body(i: usize) -> Vec<u8> {
    let mut b = (i as u64).to_le_bytes().to_vec();
    b.extend((0..i * 97 % 1500).map(|j| (i * 31 + j * 7) as u8));
    b
}

/// Whether somebody sent this.
pub fn is_body(b: &[u8]) -> bool {
    let i = b.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
    i < 1000 && b == body(i as usize)
}

/// The channel as it should be: three pages, a group with a cursor, an entry left with a lease, one left
/// with held words.
pub struct Template {
    pub files: Vec<Packed>,
}

impl Template {
    /// Make it, and keep it in a file for the children.
    pub fn make(to: &Path) -> Template {
        let dir = to.with_extension("dir");
        let o = Options {
            page_size: 64 << 10,
            max_pages: 4,
            max_messages_per_page: SLOTS,
            stall_timeout_ms: 5,
            flags: NO_THREAD,
            ..Options::default()
        };
        let ch = Channel::open(&dir, &o).unwrap();
        let mut p = ch.producer().unwrap();
        (0..130).for_each(|i| p.send(&body(i), 0).unwrap());
        let manual =
            SubscribeOptions { ack: ACK_MANUAL, flags: AUTO_NEXT_PAGE, ..Default::default() };
        let mut m = Message::default();
        let mut first = ch.subscribe(Some(GROUP), &manual).unwrap();
        let mut second = first.try_clone().unwrap();
        for _ in 0..9 {
            first.recv(&mut m, 0).unwrap();
            second.recv(&mut m, 0).unwrap();
        }
        first.ack(m.position - 6).unwrap();
        ch.sync(1000).unwrap();
        // The dead keep what they hold: pack while both live.
        let template = Template { files: sparse::pack(&dir) };
        drop((first, second, p, ch));
        Channel::destroy(&dir).unwrap();
        std::fs::write(to, sparse::encode(&template.files)).unwrap();
        template
    }

    pub fn load(from: &Path) -> Template {
        Template { files: sparse::decode(&std::fs::read(from).unwrap()) }
    }

    pub fn pages(&self) -> impl Iterator<Item = String> + '_ {
        self.files.iter().map(|f| f.name.clone()).filter(|n| n.starts_with("page-"))
    }

    pub fn word(&self, file: &str, at: u64) -> u64 {
        self.files.iter().find(|f| f.name == file).unwrap().word(at)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A word of a file, its offset and value.
    Word(String, u64, u64),
    /// A byte of a file, its offset and the bits that change.
    Flip(String, u64, u8),
    Length(String, u64),
    /// Written over a superblock field of both copies, and a checksum that fits.
    Field(u64, Vec<u8>),
    /// Take the file away and put this there.
    Put(String, Stranger),
}

/// What may lie where a file of the channel should.
#[derive(Clone, Copy, Debug)]
pub enum Stranger {
    Nothing,
    Directory,
    FullDirectory,
    DanglingLink,
    LinkToItself,
    LinkToChannel,
    LinkToZeros,
    Pipe,
    Socket,
    Zeros,
    Noise,
    /// A file of the channel, by the index of its name.
    Copy(usize),
    Unreadable,
}

/// A channel with something wrong.
pub struct Case {
    pub label: String,
    edits: Vec<Edit>,
    /// After a machine crash, so that it is recovered first.
    rebooted: bool,
    /// Payloads may differ from what was sent: checksums were switched off.
    pub unchecked: bool,
}

impl Case {
    pub fn new(edits: Vec<Edit>, rebooted: bool) -> Case {
        let reboot = if rebooted { ", after a reboot" } else { "" };
        let mut label = format!("{edits:?}{reboot}");
        label.truncate(300);
        // The kind of checksum may be another.
        let unchecked = edits.iter().any(|e| matches!(e, Edit::Field(72, _)));
        Case { label, edits, rebooted, unchecked }
    }

    /// Make the channel in a directory that does not exist yet.
    pub fn lay_out(&self, template: &Template, dir: &Path) {
        std::fs::create_dir(dir).unwrap();
        template.files.iter().for_each(|f| f.unpack(dir));
        if self.rebooted {
            write(dir, "channel", 9088, &[0x5A; 16]);
        }
        for edit in &self.edits {
            match edit {
                Edit::Word(f, at, w) => write(dir, f, *at, &w.to_le_bytes()),
                Edit::Flip(f, at, mask) => {
                    let mut byte = [0];
                    File::open(dir.join(f)).unwrap().read_exact_at(&mut byte, *at).unwrap();
                    write(dir, f, *at, &[byte[0] ^ mask]);
                }
                Edit::Length(f, len) => {
                    let file = File::options().write(true).open(dir.join(f)).unwrap();
                    file.set_len(*len).unwrap();
                }
                Edit::Field(at, bytes) => {
                    for copy in [0, 4096] {
                        write(dir, "channel", copy + at, bytes);
                        let mut block = [0; 4088];
                        File::open(dir.join("channel"))
                            .unwrap()
                            .read_exact_at(&mut block, copy)
                            .unwrap();
                        write(dir, "channel", copy + 4088, &xxh3_64(&block).to_le_bytes());
                    }
                }
                Edit::Put(f, stranger) => put(template, dir, f, *stranger),
            }
        }
    }
}

fn write(dir: &Path, file: &str, at: u64, bytes: &[u8]) {
    let f = File::options().write(true).open(dir.join(file)).unwrap();
    f.write_all_at(bytes, at).unwrap();
}

fn put(template: &Template, dir: &Path, name: &str, stranger: Stranger) {
    let path = dir.join(name);
    let _ = std::fs::remove_file(&path);
    let page_len = PAYLOAD + (64 << 10);
    match stranger {
        Stranger::Nothing => {}
        Stranger::Directory => std::fs::create_dir(path).unwrap(),
        Stranger::FullDirectory => std::fs::create_dir_all(path.join("page-0000000001")).unwrap(),
        Stranger::DanglingLink => symlink("nowhere", path).unwrap(),
        Stranger::LinkToItself => symlink(name, path).unwrap(),
        Stranger::LinkToChannel => symlink("channel", path).unwrap(),
        Stranger::LinkToZeros => symlink("/dev/zero", path).unwrap(),
        Stranger::Pipe => {
            let c = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: `c` is NUL-terminated.
            assert_eq!(unsafe { libc::mkfifo(c.as_ptr(), 0o600) }, 0);
        }
        Stranger::Socket => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        Stranger::Zeros => File::create(path).unwrap().set_len(page_len).unwrap(),
        Stranger::Noise => {
            let mut rng = Rng(7);
            let noise: Vec<u8> = (0..page_len / 8).flat_map(|_| rng.next().to_le_bytes()).collect();
            std::fs::write(path, noise).unwrap();
        }
        Stranger::Copy(i) => {
            Packed { name: name.to_string(), ..template.files[i].clone() }.unpack(dir);
        }
        Stranger::Unreadable => {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(&path, b"").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        }
    }
}

/// A fixed sequence of numbers (SplitMix64).
pub struct Rng(pub u64);
impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
