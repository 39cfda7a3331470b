//! The types and functions of the header against those of the first header with this ABI number: what a program that was
//! compiled long ago relies on. New functions, and new fields behind the last of a struct that begins with its size, are
//! allowed; nothing else is.
//!
//! libabigail compares the debugging information of two libraries made from headers alone, in which every function is
//! defined and does nothing. A change that fails here wants a new ABI number: `disk_chan_abi` in CMakeLists.txt, the soname
//! in build.rs, and a new `tests/abi/first/disk_chan.h`.

use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The structs that begin with their size, so that the library takes each as large as its caller knows it (`src/ffi/sized.rs`).
/// A `dc_message` has no size, and lies in arrays: it never grows.
const MAY_GROW: [&str; 6] = [
    "dc_options",
    "dc_subscribe_options",
    "dc_channel_info",
    "dc_group_info",
    "dc_consumer_info",
    "dc_verify_info",
];

/// The later header without the fields that its structs have more than those of the earlier one: abidiff could be told to
/// pass over a struct that grew, and would then pass over whatever else was done to it.
fn without_growth(before: &str, after: &str) -> String {
    let mut cut = after.to_owned();
    for name in MAY_GROW {
        let begin = format!("typedef struct {name} {{\n");
        let end = format!("}} {name};\n");
        let inside = |header: &str| {
            let from = header.find(&begin).unwrap_or_else(|| panic!("no {name}")) + begin.len();
            from..from + header[from..].find(&end).unwrap()
        };
        // A field a line.
        let is_field = |line: &&str| !line.trim_start().starts_with("//") && line.ends_with(';');
        let fields = before[inside(before)].lines().filter(is_field).count();
        let range = inside(&cut);
        let kept: Vec<String> = cut[range.clone()]
            .lines()
            .filter(is_field)
            .take(fields)
            .map(|l| format!("{l}\n"))
            .collect();
        cut.replace_range(range, &kept.concat());
    }
    cut
}

/// Run it; its exit code and what it said. `None`: there is no such program.
fn run(command: &mut Command) -> Option<(i32, String)> {
    let output = command.env("LC_ALL", "C").output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
}

/// A library that defines every function of a header. What the header itself checks of its structs is left out: abidiff is to
/// see it.
fn stub(header: &str, dir: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let unchecked = |line: &&str| !line.starts_with("DC_STATIC_ASSERT(sizeof(");
    let lines: Vec<&str> = header.lines().filter(unchecked).collect();
    std::fs::write(folder.join("disk_chan.h"), lines.join("\n") + "\n").unwrap();
    let mut source = String::from("#include \"disk_chan.h\"\n#include <stdlib.h>\n");
    let mut functions = 0;
    for part in header.split("\nDC_API ").skip(1) {
        let prototype = part.split(';').next().unwrap().replace("DC_WARN_UNUSED", "");
        source += &format!("{prototype} {{ abort(); }}\n");
        functions += 1;
    }
    assert_eq!(functions, header.matches("\nDC_API").count());
    std::fs::write(folder.join("stub.c"), source).unwrap();
    let library = folder.join("libdisk_chan.so");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-g", "-O0", "-w", "-shared", "-fPIC", "-o"]).arg(&library);
    let (code, said) = run(cc.arg(folder.join("stub.c"))).expect("a C compiler");
    match code {
        0 => Ok(library),
        _ => Err(said),
    }
}

/// What abidiff says of a header that came after another: whether old programs go on working, and why not.
fn compare(before: &str, after: &str, dir: &Path) -> Option<Result<(), String>> {
    let old = stub(before, dir, "before").unwrap();
    let new = match stub(&without_growth(before, after), dir, "after") {
        Ok(new) => new,
        Err(said) => return Some(Err(said)),
    };
    let (code, said) = run(Command::new("abidiff").arg("--no-show-locs").args([old, new]))?;
    // Bits: 1 and 2 are failures, 4 is a change, 8 one that is surely incompatible.
    let harmless = |line: &str| {
        let line = line.trim();
        line.is_empty()
            || line.contains("Added function")
            || line.contains("changes summary:")
            || line.starts_with("[A] ")
    };
    Some(match code {
        0 => Ok(()),
        4 if said.lines().all(harmless) => Ok(()),
        _ => Err(said),
    })
}

struct Temp(PathBuf);
impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().join(format!("disk_chan-abi-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Temp(dir)
    }
}
impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn headers() -> [String; 2] {
    ["tests/abi/first/disk_chan.h", "include/disk_chan.h"]
        .map(|path| std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap())
}

#[test]
fn old_programs_go_on_working() {
    let [first, now] = headers();
    match compare(&first, &now, &Temp::new("kept").0) {
        None => eprintln!("SKIPPED: no abidiff (the package abigail-tools)"),
        Some(kept) => kept.unwrap(),
    }
}

/// The comparison itself sees what breaks a program, and lets pass what does not.
#[test]
fn changes_are_seen() {
    let [first, _] = headers();
    let temp = Temp::new("seen");
    let changed = |from: &str, to: &str| {
        let after = first.replacen(from, to, 1);
        assert_ne!(first, after, "there is no {from:?}");
        compare(&first, &after, &temp.0)
    };
    let changed_and_grown = |from: &str, to: &str| {
        let grown = first.replacen("} dc_options;", "  uint64_t more_yet;\n} dc_options;", 1);
        compare(&first, &grown.replacen(from, to, 1), &temp.0)
    };
    let kept = [
        ("\nDC_API void dc_close(", "\nDC_API void dc_new(int a);\nDC_API void dc_close("),
        ("} dc_options;", "  uint64_t more;\n} dc_options;"),
        ("} dc_options;", "  uint32_t more;\n  uint32_t and_more;\n} dc_options;"),
        ("} dc_subscribe_options;", "  uint64_t more;\n} dc_subscribe_options;"),
        ("} dc_channel_info;", "  uint64_t more;\n} dc_channel_info;"),
        ("} dc_group_info;", "  uint64_t more;\n} dc_group_info;"),
        ("} dc_consumer_info;", "  uint64_t more;\n} dc_consumer_info;"),
        ("} dc_verify_info;", "  uint64_t more;\n} dc_verify_info;"),
    ];
    for (from, to) in kept {
        let Some(kept) = changed(from, to) else {
            return eprintln!("SKIPPED: no abidiff (the package abigail-tools)");
        };
        kept.unwrap_or_else(|said| panic!("not kept: {to}: {said}"));
    }
    for (from, to) in [
        ("} dc_message;", "  uint64_t more;\n} dc_message;"),
        ("uint32_t deliveries;\n} dc_message;", "uint64_t deliveries;\n} dc_message;"),
        ("  uint32_t retention;\n", "  uint64_t more;\n  uint32_t retention;\n"),
        ("  // 24: messages of a page", "  uint64_t more;\n  // 24: messages of a page"),
        ("  uint32_t mode;\n  // 52", "  // 52"),
        ("  uint32_t mode;\n", "  uint64_t mode;\n"),
        ("  uint64_t position;\n  // 24:", "  int64_t position;\n  // 24:"),
        ("void dc_close(struct dc_channel *channel)", "void dc_close(struct dc_channel **channel)"),
        (
            "int dc_sync(struct dc_producer *producer, int timeout_ms)",
            "int dc_sync(struct dc_producer *producer)",
        ),
        ("DC_API uint32_t dc_version(void);", "uint32_t dc_version(void);"),
    ] {
        assert!(changed(from, to).unwrap().is_err(), "not seen: {to}");
        // Nor does a struct that grows as well hide it.
        let grown = changed_and_grown(from, to).unwrap();
        assert!(grown.is_err(), "not seen beside another field: {to}");
    }
}
