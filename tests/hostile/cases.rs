//! What can be wrong with a channel: families of cases. Offsets are those of `docs/FORMAT.md`.

use crate::channel::{Case, Edit, Rng, Stranger, Template, GROUP};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of an entry of a group.
const ENTRY: u64 = 36_864;

fn group_file() -> String {
    format!("group-{:032x}", xxh3_128(GROUP))
}

fn page(n: u64) -> String {
    format!("page-{n:010x}")
}

/// The cases of a family, always the same ones in the same order: one in `every` of all there are, each
/// as it is and after a reboot.
pub fn family(name: &str, t: &Template) -> Vec<Case> {
    let (edits, every) = match name {
        "known" => (known(t), 1),
        "lengths" => (lengths(t), 2),
        "flips" => (flips(), 6),
        "control" => (control(), 5),
        "pages" => (pages(t), 6),
        "groups" => (groups(t), 8),
        "superblocks" => (superblocks(), 3),
        "strangers" => (strangers(t), 3),
        _ => panic!("no family {name}"),
    };
    let every = if std::env::var_os("DISK_CHAN_HOSTILE_ALL").is_some() { 1 } else { every };
    let mut rng = Rng(name.len() as u64);
    let both = |e: Vec<Edit>| [Case::new(e.clone(), false), Case::new(e, true)];
    edits.into_iter().flat_map(both).filter(|_| rng.next() % every == 0).collect()
}

/// What once did harm, or could most easily.
fn known(t: &Template) -> Vec<Vec<Edit>> {
    let channel = |at, v| Edit::Word("channel".into(), at, v);
    let group = |at, v| Edit::Word(group_file(), at, v);
    let mut edits = vec![Vec::new()];
    edits.extend([0, 1, 4, 5, 1 << 30, (1 << 38) - 1, u64::MAX].map(|v| vec![channel(8320, v)]));
    edits.extend([4, 1024, (1 << 38) - 1].map(|oldest: u64| vec![channel(8192, oldest << 26)]));
    edits.extend([2, u64::MAX].map(|v| vec![group(1152, v)]));
    edits.push(vec![group(1168, u64::MAX)]);
    edits.extend(
        [1 << 37 << 26, (1 << 54) - 1, u64::MAX].map(|v| vec![group(1024, v), group(1296, v)]),
    );
    for n in [1, 3] {
        let word = |at, v| vec![Edit::Word(page(n), at, v)];
        edits.extend([48, 72, 80].map(|at| word(at, u64::MAX - 1)));
        // An end in the middle.
        edits.push(word(4096 + 16 * 20, n << 34 | 3 << 32));
        // Nothing published.
        edits.push((0..51).map(|i| Edit::Word(page(n), 4096 + 16 * i, 0)).collect());
        edits.push(
            (0..51).map(|i| Edit::Word(page(n), 4096 + 16 * i, 0)).chain(word(256, 50)).collect(),
        );
        edits.push(vec![Edit::Put(page(n), Stranger::Directory)]);
    }
    let field = |at, v: u64| Edit::Field(at, v.to_le_bytes().to_vec());
    edits.push(vec![field(32, u64::MAX)]);
    // Without a bound on the pages, numbers far ahead of them, and pages far ahead of the numbers.
    for v in [1 << 30, (1 << 37) + 7, u64::MAX] {
        edits.push(vec![field(48, u64::MAX), channel(8320, v)]);
        edits.push(vec![field(48, u64::MAX), channel(9000, v)]);
    }
    edits.push(vec![Edit::Put(page((1 << 38) - 2), Stranger::Copy(2))]);
    edits.push(t.pages().map(|n| Edit::Put(n, Stranger::Nothing)).collect());
    let odd = (0..1024).flat_map(|h| [(12_288 + 128 * h, 1), (12_296 + 128 * h, u64::MAX - 2)]);
    edits.push(odd.map(|(at, v)| channel(at, v)).collect());
    edits
}

fn lengths(t: &Template) -> Vec<Vec<Edit>> {
    let mut rng = Rng(1);
    let mut edits = Vec::new();
    for f in &t.files {
        let mut lens = vec![0, 1, 8, 24, 512, 4095, 4096, 4097, 8191, 8192, 12_288, 36_864];
        lens.extend([f.len / 2, f.len - 4096, f.len - 1, f.len + 1, f.len + 4096]);
        lens.extend((0..8).map(|_| rng.next() % f.len));
        edits.extend(lens.into_iter().map(|n| vec![Edit::Length(f.name.clone(), n)]));
    }
    edits
}

/// Every byte that means something.
fn flips() -> Vec<Vec<Edit>> {
    let channel = [0..96, 4088..4096, 4096..4192, 8184..8192, 8192..8200, 8320..8328, 8448..8456]
        .into_iter()
        .chain([8576..8584, 8704..8736, 8832..8840, 8960..9008, 9088..9112, 9216..9472])
        .chain([12_288..12_344, 12_416..12_472, 143_360..143_376]);
    let header = |n: u64| [0..88, 256..264, 4096..4096 + 16 * (n + 1)];
    let group = [0..48, 1024..1032, 1152..1200, 1280..1304, 4096..4128, 8192..8300]
        .into_iter()
        .chain([4096 + ENTRY..4128 + ENTRY, 8192 + ENTRY..8300 + ENTRY]);
    let of = |f: String, ranges: Vec<std::ops::Range<u64>>| {
        ranges.into_iter().flatten().map(move |at| (f.clone(), at))
    };
    let bytes = of("channel".into(), channel.collect())
        .chain(of(page(1), header(50).to_vec()))
        .chain(of(page(3), header(40).to_vec()))
        .chain(of(group_file(), group.collect()));
    let mut rng = Rng(2);
    let mut edits: Vec<_> =
        bytes.map(|(f, at)| vec![Edit::Flip(f, at, 1 << (rng.next() % 8))]).collect();
    // Several at once.
    for _ in 0..200 {
        let page = page(1 + rng.next() % 3);
        let some = [
            ("channel", 8192 + rng.next() % 1280),
            (&page, rng.next() % 4900),
            ("channel", 12_288 + rng.next() % 400),
        ];
        edits.push(
            some.iter().map(|(f, at)| Edit::Flip((*f).into(), *at, rng.next() as u8 | 1)).collect(),
        );
    }
    edits
}

/// Values at which arithmetic may go wrong.
const BOUNDS: [u64; 16] = [
    0,
    1,
    2,
    0xFFFF,
    1 << 26,
    (1 << 32) - 1,
    1 << 37,
    (1 << 38) - 2,
    (1 << 38) - 1,
    1 << 38,
    (1 << 54) - 1,
    1 << 63,
    (1 << 63) - 1,
    u64::MAX - 2,
    u64::MAX - 1,
    u64::MAX,
];

fn words(f: &str, offsets: &[u64], values: &[u64]) -> Vec<Vec<Edit>> {
    let each = offsets.iter().flat_map(|at| values.iter().map(move |v| (*at, *v)));
    each.map(|(at, v)| vec![Edit::Word(f.into(), at, v)]).collect()
}

fn control() -> Vec<Vec<Edit>> {
    let all =
        [8320, 8448, 8576, 8704, 8712, 8720, 8728, 8832, 8960, 8968, 8976, 8984, 8992, 9000, 9104]
            .into_iter()
            .chain([9216, 9336, 9344, 9464, 12_288, 12_296, 12_304, 12_312, 12_320, 12_328, 12_336])
            .chain([12_416, 12_424, 143_360]);
    let mut edits = words("channel", &all.collect::<Vec<u64>>(), &BOUNDS);
    // The window: oldest pages below, inside and above those there are; epochs.
    for oldest in [0, 1, 2, 3, 4, 5, 1024, 1 << 37, (1 << 38) - 1] {
        for epoch in [0, 5, (1 << 26) - 1] {
            edits.push(vec![Edit::Word("channel".into(), 8192, oldest << 26 | epoch)]);
        }
    }
    edits.extend(words("channel", &[8320], &[3, 4, 5, 100, 1 << 30]));
    // Positions: pages and slots that there are not.
    for page in [0, 1, 3, 4, 1 << 20, 1 << 37] {
        edits.extend(words(
            "channel",
            &[8704, 8992],
            &[page << 16, page << 16 | 49, page << 16 | 0xFFFF],
        ));
    }
    // All records taken for producers that are in the middle of a send.
    let odd = (0..1024).flat_map(|h| [(12_288 + 128 * h, 1), (12_296 + 128 * h, 7)]);
    edits.push(odd.map(|(at, v)| Edit::Word("channel".into(), at, v)).collect());
    // Everybody asleep, of all tags, with descriptors.
    let asleep = (0..16).flat_map(|w| [(9216 + 8 * w, u64::MAX), (9344 + 8 * w, u64::MAX)]);
    let armed = (0..1024).flat_map(|h| {
        [(16, 1), (24, h), (32, h * 7), (40, 1)].map(|(o, v)| (12_288 + 128 * h + o, v))
    });
    let summary = [(8448, u64::MAX), (8576, u64::MAX)];
    edits.push(
        asleep
            .chain(armed)
            .chain(summary)
            .map(|(at, v)| Edit::Word("channel".into(), at, v))
            .collect(),
    );
    edits
}

fn pages(t: &Template) -> Vec<Vec<Edit>> {
    let mut edits = Vec::new();
    for n in [1, 3] {
        let f = page(n);
        edits.extend(words(&f, &[0, 8, 24, 32, 40, 48, 56, 64, 72, 80, 256], &BOUNDS));
        edits.extend(words(&f, &[48, 56], &[50, 51, 52, 30]));
        let tail = |count: u64, units: u64| units << 24 | count;
        let tails = [
            tail(0, 0),
            tail(0xFF_FFFF, 0),
            tail(0, (1 << 40) - 1),
            tail(50, 8192),
            tail(51, 0),
            tail(1, 8193),
            tail(0, 8192),
            tail(50, 0),
            tail(49, 8191),
            tail(0xFF_FFFF, (1 << 40) - 1),
        ];
        edits.extend(words(&f, &[256], &tails));
        edits.extend(slots(&f, n, t));
    }
    // Every claim of a page unpublished.
    let clear = (0..51).map(|i| Edit::Word(page(3), 4096 + 16 * i, 0));
    edits.push(clear.chain([Edit::Word(page(3), 256, 50)]).collect());
    // Page numbers that do not exist, and one that wraps the stamp.
    for n in [4, 5, 6, 1024, 1025, 1 << 30 | 1, (1 << 37) + 5, (1 << 38) - 2] {
        edits.push(vec![Edit::Put(page(n), Stranger::Copy(2)), Edit::Word(page(n), 24, n)]);
    }
    edits
}

/// Slot words of page `n`.
fn slots(f: &str, n: u64, t: &Template) -> Vec<Vec<Edit>> {
    let mut edits = Vec::new();
    let stamp = n << 34;
    let units: [u64; 7] = [0, 1, 8191, 8192, 8193, 1 << 31, (1 << 32) - 1];
    let lens: [u64; 7] = [0, 1, 8, 65_529, 65_536, 65_537, (1 << 32) - 1];
    for slot in [0, 7, 29, 30, 31, 49] {
        let (state, place) = (4096 + 16 * slot, 4104 + 16 * slot);
        let mut firsts =
            vec![0, 1, stamp, stamp | 2 << 32, stamp | 3 << 32, stamp | 3 << 32 | 9, u64::MAX];
        firsts.extend([(stamp + (1 << 34)) | 1 << 32 | 5, stamp | 2 << 32 | 77, 1 << 63]);
        edits.extend(words(f, &[state], &firsts));
        let sum = t.word(f, place) >> 32 << 32;
        for unit in units {
            edits.push(vec![Edit::Word(f.into(), place, sum | unit)]);
        }
        for len in lens {
            edits.push(vec![Edit::Word(f.into(), state, stamp | 1 << 32 | len)]);
            edits.push(vec![
                Edit::Word(f.into(), state, stamp | 1 << 32 | len),
                Edit::Word(f.into(), place, sum | units[len as usize % 7]),
            ]);
        }
    }
    // The last entry of the table, which holds an end mark at most.
    edits.extend(words(f, &[4096 + 800], &[stamp | 1 << 32 | 5, stamp | 2 << 32, u64::MAX]));
    edits
}

fn groups(t: &Template) -> Vec<Vec<Edit>> {
    let f = group_file();
    let header = [0, 8, 24, 32, 1024, 1152, 1160, 1168, 1176, 1184, 1192, 1280, 1288, 1296];
    let mut edits = words(&f, &header, &BOUNDS);
    edits.extend(words(&f, &[24], &[4, 6, 255, 256]));
    edits.extend(words(&f, &[1176], &[3, 254, 255, 509, 510, 511, 1023, 1024]));
    let words_of_entries = [0, 8, 16, 24, 4096, 4104].map(|o| [4096 + o, 4096 + ENTRY + o]);
    edits.extend(words(&f, words_of_entries.as_flattened(), &BOUNDS));
    // Positions: cursor, floor, gap, leases and held words where there are no messages.
    let ends = [0, 49, 50, 0xFFFF];
    let positions = [0, 1, 2, 3, 4, 5, 2000, 1 << 37, (1 << 38) - 1]
        .map(|page: u64| ends.map(|slot| page << 16 | slot));
    for p in positions.into_iter().flatten() {
        for last in [0, 1, 509, 510, 1023] {
            edits.push(vec![Edit::Word(f.clone(), 1024, p << 10 | last)]);
        }
        edits.push(vec![Edit::Word(f.clone(), 1296, p << 10 | 7)]);
        edits.push(vec![Edit::Word(f.clone(), 1168, p)]);
        for (count, state) in [(1, 1), (255, 1), (1, 2), (255, 2), (0, 2), (3, 3)] {
            let lease = p << 10 | count << 2 | state;
            edits.push(vec![Edit::Word(f.clone(), 4096, lease)]);
            // Handed out and acknowledged more than there are.
            let progress = Edit::Word(f.clone(), 4104, 7 << 32 | 300);
            edits.push(vec![Edit::Word(f.clone(), 4096, lease), progress]);
        }
        let held = Edit::Word(f.clone(), 8192, p << 10 | 1023);
        edits.push(vec![held, Edit::Word(f.clone(), 4112, 1)]);
    }
    // A seek that somebody began and left, while the cursor's last claimer is undecided.
    let lease = t.word(&f, 4096) & !3 | 1;
    edits.push(vec![Edit::Word(f.clone(), 1152, 1), Edit::Word(f.clone(), 4096, lease)]);
    // An entry full of the same message.
    let full = (0..4096).map(|i| Edit::Word(f.clone(), 8192 + 8 * i, (1 << 16 | 3) << 10 | 2));
    edits.push(full.chain([Edit::Word(f.clone(), 4112, u64::MAX)]).collect());
    edits
}

/// Sound checksums over values that are not.
fn superblocks() -> Vec<Vec<Edit>> {
    let small = [0u32, 1, 2, 3, 4, 49, 51, 65_535, 65_536, 0o777, 0o1777, 60_000, 60_001, u32::MAX];
    let mut fields = vec![(16, vec![9; 16]), (0, b"DISKCHAM".to_vec())];
    for at in [8, 12, 64, 68, 72, 76, 80, 84, 88] {
        fields.extend(small.iter().map(|v| (at, v.to_le_bytes().to_vec())));
    }
    let sizes =
        [65_535, 65_537, 69_632, 131_072, 1 << 31, (1 << 32) - 4096, 1 << 32, (1 << 32) + 4096];
    for v in BOUNDS.into_iter().chain(sizes) {
        fields.extend([32, 40, 48].map(|at| (at, v.to_le_bytes().to_vec())));
    }
    fields.into_iter().map(|(at, bytes)| vec![Edit::Field(at, bytes)]).collect()
}

fn strangers(t: &Template) -> Vec<Vec<Edit>> {
    use Stranger::*;
    let kinds = [
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
        Copy(0),
        Copy(1),
        Copy(2),
        Copy(3),
        Unreadable,
    ];
    let mut names: Vec<String> = t.files.iter().map(|f| f.name.clone()).collect();
    names.extend([4, 5, 1024, 1025, (1 << 37) + 1, (1 << 38) - 2].map(page));
    names.extend([
        "tmp-0123456789abcdef".into(),
        "page-00000000zz".into(),
        "page-1".into(),
        "stranger".into(),
    ]);
    names.extend([format!("group-{:032x}", 5), "group-".to_string() + &"z".repeat(32)]);
    names.push(format!("group-{:032x}", xxh3_128(b"new")));
    let each = names.iter().flat_map(|n| kinds.iter().map(move |k| vec![Edit::Put(n.clone(), *k)]));
    each.collect()
}
