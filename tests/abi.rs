//! The types and functions of the header against those of the first header with this ABI number: what a program that was
//! compiled long ago relies on. New functions, and new fields behind a struct's last, are allowed; nothing else is.
//!
//! libabigail compares the debugging information of two libraries made from headers alone, in which every function is
//! defined and does nothing. A change that fails here wants a new ABI number: `disk_chan_abi` in CMakeLists.txt, the soname
//! in build.rs, and a new `tests/abi/first/disk_chan.h`.

use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Run it; its exit code and what it said. `None`: there is no such program.
fn run(command: &mut Command) -> Option<(i32, String)> {
    let output = command.env("LC_ALL", "C").output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
}

/// A library that defines every function of a header. It may not compile: the header checks the layout of its structs.
fn stub(header: &str, dir: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("disk_chan.h"), header).unwrap();
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
    let new = match stub(after, dir, "after") {
        Ok(new) => new,
        Err(said) => return Some(Err(said)),
    };
    let (code, said) = run(Command::new("abidiff").arg("--no-show-locs").args([old, new]))?;
    // Bits: 1 and 2 are failures, 4 is a change, 8 one that is surely incompatible. A struct that its user allocates and whose
    // first field is its size may grow; abidiff cannot know, and says 4 for that and for all that is not.
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
    let Some(added) =
        changed("\nDC_API void dc_close(", "\nDC_API void dc_new(int a);\nDC_API void dc_close(")
    else {
        return eprintln!("SKIPPED: no abidiff (the package abigail-tools)");
    };
    added.unwrap();
    for (from, to) in [
        ("uint32_t deliveries;\n} dc_message;", "uint64_t deliveries;\n} dc_message;"),
        ("  uint64_t position;\n  // 24:", "  int64_t position;\n  // 24:"),
        ("void dc_close(struct dc_channel *channel)", "void dc_close(struct dc_channel **channel)"),
        (
            "int dc_sync(struct dc_producer *producer, int timeout_ms)",
            "int dc_sync(struct dc_producer *producer)",
        ),
        ("DC_API uint32_t dc_version(void);", "uint32_t dc_version(void);"),
    ] {
        assert!(changed(from, to).unwrap().is_err(), "not seen: {to}");
    }
}
