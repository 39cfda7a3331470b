//! What the library writes is what `docs/FORMAT.md` says: a reader written from that document alone
//! (`reader`, which shares no line with the library) reads back what was sent.

#[path = "format/reader.rs"]
mod reader;

use disk_chan::raw::error::{DC_AGAIN, DC_E_CORRUPT, DC_E_FORMAT};
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Consumer, Message, Options, Producer, Received, SubscribeOptions};
use reader::{check, superblock, u32_at, u64_at, xxh3, Directory, Slot};
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

struct Temp(PathBuf);
impl Temp {
    fn new() -> Temp {
        static N: AtomicU64 = AtomicU64::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        Temp(std::env::temp_dir().join(format!("disk_chan-format-{}-{n}", std::process::id())))
    }
    fn dir(&self) -> Directory {
        Directory::read(&self.0)
    }
    /// Change bytes of a file behind the library's back.
    fn write(&self, file: &str, at: u64, bytes: &[u8]) {
        let f = std::fs::OpenOptions::new().write(true).open(self.0.join(file)).unwrap();
        f.write_all_at(bytes, at).unwrap();
    }
    /// As after a reboot: no process of this boot is the one that wrote.
    fn reboot(&self) {
        self.write("channel", 9088, &[0xEE; 16]);
    }
}
impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn small() -> Options {
    Options {
        page_size: 64 << 10,
        max_pages: 4,
        max_messages_per_page: 100,
        flags: NO_THREAD,
        ..Options::default()
    }
}

fn open(t: &Temp, o: &Options) -> Channel {
    Channel::open(&t.0, o).unwrap()
}

fn manual(c: &Channel, group: &[u8]) -> Consumer {
    let o = SubscribeOptions { ack: ACK_MANUAL, flags: AUTO_NEXT_PAGE, ..Default::default() };
    c.subscribe(Some(group), &o).unwrap()
}

fn take(c: &mut Consumer) -> Message {
    let mut m = Message::default();
    assert_eq!(c.recv(&mut m, 0).unwrap(), Received::Message);
    m
}

/// Message `i`: of any length from 0 to 1,999 bytes.
fn body(i: usize) -> Vec<u8> {
    (0..i * 37 % 2000).map(|j| (i + j) as u8).collect()
}

fn send(p: &mut Producer, numbers: std::ops::Range<usize>) {
    for i in numbers {
        p.send(&body(i), 0).unwrap();
    }
}

#[test]
fn checksums_are_those_of_the_test_vectors() {
    let document = include_str!("../docs/FORMAT.md");
    let uuid: Vec<u8> = (0..16).collect();
    let long: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    let cases: [(&[u8], u64); 4] =
        [(b"", 65_536), (b"hello", 65_536), (b"hello", 65_537), (&long, (1 << 54) - 1)];
    let mut found = vec![format!("`{:#018x}`", xxh3(&uuid))];
    found.extend(cases.iter().map(|(p, at)| format!("`{:#010x}`", check(&uuid, *at, p))));
    for vector in &found {
        assert!(document.contains(vector), "not in FORMAT.md: {vector} of {found:?}");
    }
    assert_eq!(reader::group_file(b"a"), "group-a96faf705af16834e6c632b61e964e1f");
}

#[test]
fn a_new_channel_has_the_documented_bytes() {
    let t = Temp::new();
    drop(open(&t, &Options { mode: 0o640, stall_timeout_ms: 77, ..small() }));
    let d = t.dir();
    assert_eq!(d.names(), ["channel"]);
    let c = d.file("channel");
    assert_eq!(c.len(), 208_896);
    assert_eq!(c[..4096], c[4096..8192]);
    let s = superblock(&c[..4096]).unwrap();
    assert_eq!((s.sequence, s.page_size, s.max_pages, s.slots), (1, 65_536, 4, 100));
    let rest = (s.retention, s.checksum, s.stall_timeout_ms, s.mode, s.state);
    assert_eq!(rest, (1, 1, 77, 0o640, 1));
    let words = [(8192, 1 << 26), (8320, 1), (8704, 65_536), (9000, 1025)];
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let hex: String = c[9088..9104].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, boot.trim().replace('-', ""));
    for at in (8192..c.len()).step_by(8).filter(|at| !(9088..9104).contains(at)) {
        let want = words.iter().find(|w| w.0 == at).map_or(0, |w| w.1);
        assert_eq!(u64_at(&c, at), want, "word at {at}");
    }
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&t.0), mode(&t.0.join("channel"))), (0o750, 0o640));
}

#[test]
fn a_reader_made_from_the_document_finds_every_message() {
    for checksum in [CHECKSUM_ON, CHECKSUM_OFF] {
        let t = Temp::new();
        let ch = open(&t, &Options { max_pages: UNLIMITED, checksum, ..small() });
        let mut p = ch.producer().unwrap();
        send(&mut p, 0..150);
        let bodies: Vec<Vec<u8>> = (150..200).map(body).collect();
        let batch: Vec<IoSlice> = bodies.iter().map(|b| IoSlice::new(b)).collect();
        let mut sent = 0;
        p.send_batch(&batch, 0, &mut sent).unwrap();
        assert_eq!(sent, 50);
        // The reader, while the channel is open, and again after it was closed.
        for _ in 0..2 {
            let d = t.dir();
            let found = d.messages();
            assert_eq!(found.len(), 200);
            for (i, m) in found.iter().enumerate() {
                assert_eq!(m.payload, body(i), "message {i}");
                assert!(m.sound);
                assert_eq!(m.check == 0, checksum == CHECKSUM_OFF);
                assert!(i == 0 || found[i - 1].position < m.position);
            }
            assert_eq!(found[0].position, 65_536);
            assert_eq!(found[199].position, p.sent_position());
        }
        drop((p, ch));
        assert_eq!(t.dir().messages().len(), 200);
    }
}

#[test]
fn slots_and_tails_say_what_the_document_says() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    p.send(b"first", 0).unwrap();
    p.reserve(100, 0).unwrap();
    p.abort().unwrap();
    let at = p.reserve(100, 0).unwrap();
    // SAFETY: 100 bytes were reserved.
    unsafe { std::ptr::copy_nonoverlapping(b"third".as_ptr(), at, 5) };
    p.commit(5).unwrap();
    let d = t.dir();
    let page = d.page(1);
    assert_eq!(page.payload_at, 4096 + 4096);
    assert_eq!(page.bytes.len(), 8192 + 65_536);
    assert_eq!((page.count, page.units), (3, 1 + 13 + 13));
    // Page 1 in the upper 30 bits, the kind in two, the length below.
    assert_eq!(u64_at(&page.bytes, 4096), 1 << 34 | 1 << 32 | 5);
    assert_eq!(u64_at(&page.bytes, 4112), 1 << 34 | 2 << 32);
    assert_eq!(u64_at(&page.bytes, 4128), 1 << 34 | 1 << 32 | 5);
    assert_eq!(u32_at(&page.bytes, 4136), 14);
    assert_eq!(page.slot(1), Slot::Tombstone);
    assert_eq!(page.slot(3), Slot::Free);
    let header = [24, 48, 56, 64, 72, 80].map(|at| u64_at(&page.bytes, at));
    assert_eq!(header, [1, 0, 1, 0, 0, 1]);

    // Too large for what is left: the page is sealed, and the next one takes it.
    p.send(&[7; 65_536], 0).unwrap();
    let d = t.dir();
    let page = d.page(1);
    assert!(page.sealed && page.units > 8192);
    assert_eq!(page.slot(3), Slot::End);
    assert_eq!(u64_at(&page.bytes, 4096 + 3 * 16), 1 << 34 | 3 << 32);
    assert_eq!(u64_at(&page.bytes, 48), 4);
    assert_eq!(d.page(2).count, 1);
    assert_eq!(d.newest(), 2);
}

#[test]
fn page_files_are_reused_with_new_numbers() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    send(&mut p, 0..2000);
    let d = t.dir();
    let (oldest, newest) = (d.oldest(), d.newest());
    assert!(newest >= 20 && newest - oldest < 4, "window {oldest} to {newest}");
    assert!(d.names().len() <= 1 + 4 + 2, "{:?}", d.names());
    for number in oldest..=newest {
        let page = d.page(number);
        assert_eq!(page.sealed, number < newest);
        assert_eq!(u64_at(&page.bytes, 64), 0);
    }
    let found = d.messages();
    let first = 2000 - found.len();
    for (i, m) in found.iter().enumerate() {
        assert_eq!(m.payload, body(first + i));
        assert!(m.sound);
    }
    assert!(d.word(9000) > newest, "numbers in use are below the high-water mark");
}

#[test]
fn groups_and_entries_have_the_documented_words() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    send(&mut p, 0..10);
    let mut c = manual(&ch, b"a/../b");
    let held: Vec<u64> = (0..5).map(|_| take(&mut c).position).collect();
    assert_eq!(held, (0..5).map(|i| 65_536 + i).collect::<Vec<u64>>());
    c.ack(held[1]).unwrap();
    let g = t.dir().group(b"a/../b");
    assert_eq!(g.bytes.len(), 18_804_736);
    let e = g.entry(0);
    let (first, count, state) = e.lease();
    assert_eq!((first, state), (65_536, 2));
    assert_eq!((g.cursor, g.last), (65_536 + count, 0));
    assert_eq!((e.handed(), e.acked(), e.word(24)), (5, 2, 1));
    assert_eq!((g.word(1176), g.word(1184), g.word(1296)), (1, 1, 65_536 << 10));
    assert_eq!(g.needed_from(), held[2]);
    assert!(t.dir().word(8192) & 0x3FF_FFFF >= 2, "a group and a consumer came");

    ch.sync(1000).unwrap();
    assert_eq!(t.dir().group(b"a/../b").word(1296), held[2] << 10);
    assert_eq!(t.dir().word(8704), p.sent_position() + 1);

    // The entry outlives its owner; the next one turns its lease into held words.
    drop(c);
    let mut c = manual(&ch, b"a/../b");
    let again = take(&mut c);
    assert_eq!((again.position, again.deliveries), (held[2], 2));
    let g = t.dir().group(b"a/../b");
    let e = g.entry(0);
    assert_eq!((e.lease().2, e.word(24)), (0, 2));
    // Position and deliveries: handed out again; handed out before; claimed ahead, seen by nobody.
    let deliveries = |i| if i == 2 { 2 } else { u64::from(i < 5) };
    let want: Vec<(u64, u64)> = (2..10).map(|i| (65_536 + i, deliveries(i))).collect();
    assert_eq!(e.held(), want[..e.held().len()]);
    assert_eq!(e.held().len() as u64, count - 2);
}

#[test]
fn handles_leave_records_as_documented() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    let c = manual(&ch, b"g");
    let observer = ch.subscribe(None, &SubscribeOptions::default()).unwrap();
    p.send(b"x", 0).unwrap();
    let d = t.dir();
    let record = |h: usize, at: usize| d.word(12_288 + 128 * h + at);
    assert_eq!([record(0, 0), record(1, 0), record(2, 0), record(3, 0)], [1, 2, 2, 0]);
    assert!(record(0, 8) % 2 == 0 && record(0, 8) > 2);
    assert_eq!(record(0, 24), 1 << 63);
    assert_eq!(record(1, 24), xxh3(b"g") & (u64::MAX >> 1) | 1);
    assert_eq!(record(2, 24), 1 << 63 | 2);
    drop((p, c, observer));
    let d = t.dir();
    assert!((0..3).all(|h| d.word(12_288 + 128 * h) == 0));
}

/// Whether somebody holds a lock that excludes one of `kind` on a byte.
fn locked(t: &Temp, file: &str, byte: i64, kind: i32) -> bool {
    use std::os::fd::AsRawFd;
    let f = std::fs::File::open(t.0.join(file)).unwrap();
    // SAFETY: a struct of integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (kind as i16, byte, 1);
    // SAFETY: `lock` is a valid struct flock.
    let asked = unsafe { libc::fcntl(f.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    assert_eq!(asked, 0);
    i32::from(lock.l_type) != libc::F_UNLCK
}

#[test]
fn locks_lie_where_the_document_says() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let p = ch.producer().unwrap();
    let c = manual(&ch, b"g");
    let (read, write) = (libc::F_RDLCK, libc::F_WRLCK);
    let held = |file: &str, byte, kind| locked(&t, file, byte, kind);
    let base = 1 << 32;
    assert!(held("channel", base, write) && !held("channel", base, read));
    assert!(!held("channel", base + 1, write) && !held("channel", base + 2, write));
    let members = (0..1024).filter(|m| held("channel", base + 4096 + m, read)).count();
    assert_eq!(members, 1, "one open, one member record, whichever");
    for handle in 0..3 {
        assert_eq!(held("channel", base + 8192 + handle, read), handle < 2);
    }
    assert!(held("page-0000000001", 1 << 40, write) && !held("page-0000000001", 1 << 40, read));
    let group = reader::group_file(b"g");
    assert!(held(&group, base, read) && !held(&group, base + 1, read));
    assert!(!held(&group, base - 1, read));
    let reading = open(&t, &Options { flags: READ_ONLY, ..Options::default() });
    assert!(held("channel", base + 3, write) && !held("channel", base + 3, read));
    drop(reading);
    assert!(!held("channel", base + 3, write));
    drop((p, c));
    assert!(!held("page-0000000001", 1 << 40, write) && !held(&group, base, read));
    drop(ch);
    assert!(!held("channel", base, write));
}

#[test]
fn one_sound_superblock_is_enough_and_a_newer_version_is_refused() {
    let t = Temp::new();
    send(&mut open(&t, &small()).producer().unwrap(), 0..3);
    for copy in [0, 4096] {
        let good = t.dir().file("channel");
        t.write("channel", copy + 300, &[1]);
        drop(open(&t, &Options::default()));
        let version = 2u32.to_le_bytes();
        t.write("channel", copy + 8, &version);
        let before = t.dir().file("channel");
        let refused = Channel::open(&t.0, &Options::default()).err().unwrap();
        assert_eq!(refused.code(), DC_E_FORMAT);
        assert!(t.dir().file("channel") == before, "nothing was changed");
        t.write("channel", 0, &good[..8192]);
    }
    t.write("channel", 300, &[1]);
    t.write("channel", 4096 + 300, &[1]);
    assert_eq!(Channel::open(&t.0, &Options::default()).err().unwrap().code(), DC_E_CORRUPT);
}

#[test]
fn the_superblock_with_the_higher_sequence_counts() {
    let t = Temp::new();
    send(&mut open(&t, &small()).producer().unwrap(), 0..3);
    let mut block = t.dir().file("channel")[4096..8192].to_vec();
    block[32] = 2; // sequence
    block[84] = 2; // being destroyed
    let sum = xxh3(&block[..4088]).to_le_bytes();
    block[4088..].copy_from_slice(&sum);
    t.write("channel", 4096, &block);
    let o = Options { flags: EXISTING, ..Options::default() };
    assert_eq!(Channel::open(&t.0, &o).err().unwrap().code(), -libc::ENOENT);
    assert!(t.dir().names().is_empty(), "whoever finds it finishes it");
}

#[test]
fn a_machine_crash_is_recovered_from_as_documented() {
    let t = Temp::new();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    let mut c = manual(&ch, b"g");
    send(&mut p, 1..21);
    let positions: Vec<u64> = (0..8).map(|_| take(&mut c).position).collect();
    c.ack(positions[3]).unwrap();
    ch.sync(1000).unwrap();
    c.ack(positions[5]).unwrap();
    send(&mut p, 21..31);
    drop((c, p, ch));
    // Sent after the flush: one payload and one slot did not reach the disk.
    let page = t.dir().page(1);
    let (unit, _) = page.place(25);
    t.write("page-0000000001", (page.payload_at + 8 * unit) as u64, b"torn");
    t.write("page-0000000001", 4096 + 16 * 28, &[0; 16]);
    t.reboot();

    let ch = open(&t, &small());
    let d = t.dir();
    assert_eq!((d.oldest(), d.newest()), (1, 1025));
    let words = [8976, 8984, 8992, 8704].map(|at| d.word(at));
    assert_eq!(words, [1, 1025, 65_536 + 20, 65_536 + 20]);
    assert!(d.word(9000) >= 1025 + 1024);
    let g = d.group(b"g");
    assert_eq!((g.cursor, g.last, g.word(1176)), (positions[4], 1023, 0));
    assert!(g.bytes[4096..].iter().all(|b| *b == 0));

    // The first who uses the page checks it.
    let mut c = manual(&ch, b"g");
    let at: Vec<u64> = (0..24).map(|_| take(&mut c).position & 0xFFFF).collect();
    let want: Vec<u64> = (4..30).filter(|s| ![25, 28].contains(s)).collect();
    assert_eq!(at, want);
    let mut m = Message::default();
    assert_eq!(c.recv(&mut m, 0).unwrap_err().code(), DC_AGAIN);
    let mut p = ch.producer().unwrap();
    p.send(b"after", 0).unwrap();
    assert_eq!(take(&mut c).position, 1025 << 16);
    let d = t.dir();
    let page = d.page(1);
    assert_eq!((page.count, page.units, page.sealed), (101, 0, true));
    assert_eq!(
        [page.slot(25), page.slot(28), page.slot(30)],
        [Slot::Tombstone, Slot::Tombstone, Slot::End]
    );
    let header = [48, 56, 64].map(|at| u64_at(&page.bytes, at));
    assert_eq!(header, [31, 2, 1]);
    assert_eq!(d.word(8968), 1, "one message was torn");
    assert_eq!(d.messages().len(), 29);
}

#[test]
fn nothing_follows_the_end_that_a_recovery_sets() {
    let t = Temp::new();
    let ch = open(&t, &small());
    send(&mut ch.producer().unwrap(), 1..31);
    drop(ch);
    // The last three payloads did not reach the disk; their slots did.
    let page = t.dir().page(1);
    for slot in 27..30 {
        let at = page.payload_at + 8 * page.place(slot).0;
        t.write("page-0000000001", at as u64, b"torn");
    }
    t.reboot();
    let ch = open(&t, &small());
    ch.producer().unwrap().send(b"after", 0).unwrap();
    let from = |start| {
        let flags = AUTO_NEXT_PAGE;
        let o = SubscribeOptions { start, flags, ..Default::default() };
        let mut c = ch.subscribe(None, &o).unwrap();
        take(&mut c).position
    };
    assert_eq!(from(EARLIEST), 65_536);
    assert_eq!(from(last(3)), 65_536 + 25);
    for slot in 27..31 {
        assert_eq!(from(65_536 + slot), 1025 << 16, "from slot {slot}");
    }
    assert_eq!(t.dir().word(8968), 3);
    assert_eq!(t.dir().word(8960), 0, "nobody's claim was skipped");
}

#[test]
fn a_spare_file_is_cleared_though_its_tail_did_not_reach_the_disk() {
    let t = Temp::new();
    let ch = open(&t, &small());
    send(&mut ch.producer().unwrap(), 1..131);
    drop(ch);
    // Page 1 is dropped, and its file not reused yet, when the machine crashes.
    let d = t.dir();
    assert!(d.newest() >= 2 && d.oldest() == 1);
    t.write("channel", 8192, &(d.word(8192) + (1 << 26)).to_le_bytes());
    t.write("page-0000000001", 256, &[0; 8]);
    t.reboot();
    let ch = open(&t, &small());
    let mut p = ch.producer().unwrap();
    send(&mut p, 1..131);
    let d = t.dir();
    assert!(!d.names().contains(&"page-0000000001"), "it was reused");
    let sent = d.messages();
    let sent = &sent[sent.len() - 130..];
    assert!(sent.iter().zip(1..).all(|(m, i)| m.sound && m.payload == body(i)));
}
