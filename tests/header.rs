//! The committed C header: it is the generated one, it declares every call of the contract, and it
//! compiles alone, without a warning, as what it says it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/disk_chan.h");
const GENERATED: &str = env!("DISK_CHAN_GENERATED_HEADER");
/// Every symbol of the library, one a line, sorted: also what `tests/symbols.rs` compares with.
const SYMBOLS: &str = include_str!("abi/symbols.txt");

fn committed() -> String {
    fs::read_to_string(COMMITTED).unwrap_or_default()
}

#[test]
fn committed_header_is_the_generated_one() {
    let generated = fs::read_to_string(GENERATED)
        .expect("build.rs generated no header: see the warning of the build");
    let committed = committed();
    if committed != generated {
        let (a, b) = (committed.lines(), generated.lines());
        let line = 1 + a.zip(b).take_while(|(a, b)| a == b).count();
        panic!("include/disk_chan.h differs from src/ffi from line {line} on: run `make header`");
    }
}

/// What the header declares: the name before the first parenthesis of a line that is no comment.
fn declared(header: &str) -> BTreeSet<&str> {
    let kinds = ["DC_API ", "int ", "void ", "uint32_t ", "uint64_t ", "const "];
    header
        .lines()
        .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
        .filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .collect()
}

#[test]
fn every_call_is_declared() {
    let header = committed();
    let expected: BTreeSet<&str> = SYMBOLS.lines().collect();
    assert_eq!(expected.len(), 40, "the calls of the contract");
    assert_eq!(declared(&header), expected);
}

/// Values are pinned for good: what programs were compiled with must never mean anything else.
#[test]
fn values_are_pinned() {
    let header = committed();
    for pinned in PINNED {
        let line = format!("#define {pinned}\n");
        assert!(header.contains(&line), "the header no longer says {line}");
    }
    let macros = header.lines().filter(|line| line.starts_with("#define DC_"));
    let unpinned: Vec<&str> = macros
        .filter_map(|line| line.strip_prefix("#define "))
        .filter(|line| !PINNED.contains(line))
        .filter(|line| !FREE.contains(&line.split([' ', '(']).next().unwrap_or_default()))
        .collect();
    assert!(unpinned.is_empty(), "new constants, to be pinned here: {unpinned:?}");
}

const PINNED: &[&str] = &[
    "DC_OK 0",
    "DC_END_OF_PAGE 1",
    "DC_LAGGED 2",
    "DC_AGAIN (-4097)",
    "DC_E_ARGUMENT (-4098)",
    "DC_E_TOO_BIG (-4099)",
    "DC_E_CORRUPT (-4100)",
    "DC_E_FORMAT (-4101)",
    "DC_E_MISMATCH (-4102)",
    "DC_E_LIMIT (-4103)",
    "DC_E_BUSY (-4104)",
    "DC_E_FORKED (-4105)",
    "DC_E_POISONED (-4106)",
    "DC_E_STATE (-4107)",
    "DC_E_UNSUPPORTED (-4108)",
    "DC_E_INTERNAL (-4109)",
    "DC_UNLIMITED UINT64_MAX",
    "DC_RETAIN_RING 1",
    "DC_RETAIN_LIVE 2",
    "DC_RETAIN_UNREAD 3",
    "DC_SYNC_NONE 1",
    "DC_SYNC_INTERVAL 2",
    "DC_SYNC_ALWAYS 3",
    "DC_CHECKSUM_ON 1",
    "DC_CHECKSUM_OFF 2",
    "DC_EXISTING 1",
    "DC_NEW 2",
    "DC_READ_ONLY 4",
    "DC_NO_THREAD 8",
    "DC_PREPARED_ONLY 16",
    "DC_SIGBUS_GUARD 32",
    "DC_EARLIEST 1",
    "DC_LATEST UINT64_MAX",
    "DC_LAST(n) (UINT64_MAX - (uint64_t)(n))",
    "DC_ACK_NEXT 1",
    "DC_ACK_MANUAL 2",
    "DC_ACK_RECEIVE 3",
    "DC_AUTO_NEXT_PAGE 1",
    "DC_GROUP_NAME_MAX 255",
    "DC_MESSAGE_REDELIVERED 1",
];

/// Macros that are no values.
const FREE: &[&str] = &[
    "DC_API",
    "DC_WARN_UNUSED",
    "DC_STATIC_ASSERT",
    "DC_VERSION",
    "DC_VERSION_MAJOR",
    "DC_VERSION_MINOR",
    "DC_VERSION_PATCH",
    "DC_OPTIONS_INIT",
    "DC_SUBSCRIBE_OPTIONS_INIT",
    "DC_CHANNEL_INFO_INIT",
    "DC_GROUP_INFO_INIT",
    "DC_CONSUMER_INFO_INIT",
    "DC_VERIFY_INFO_INIT",
];

#[test]
fn header_compiles_alone_as_c_and_cpp() {
    let uses = "#include <disk_chan.h>\n#include <disk_chan.h>\n\
        dc_options a(void);\ndc_options a(void) { dc_options o = DC_OPTIONS_INIT; return o; }\n\
        dc_subscribe_options b(void);\n\
        dc_subscribe_options b(void) {\n\
            dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT; o.start = DC_LAST(5); return o; }\n\
        int c(dc_channel *channel);\n\
        int c(dc_channel *channel) {\n\
            dc_channel_info i = DC_CHANNEL_INFO_INIT; dc_group_info j = DC_GROUP_INFO_INIT;\n\
            dc_consumer_info k = DC_CONSUMER_INFO_INIT; dc_verify_info l = DC_VERIFY_INFO_INIT;\n\
            return dc_channel_stats(channel, &i) - DC_AGAIN + (int)(j.lag + k.lag + l.torn); }\n";
    let c = scratch("header.c", uses);
    let cpp = scratch("header.cpp", uses);
    for (compiler, standards, file) in [
        ("cc", ["c11", "c17"], &c),
        ("clang", ["c11", "c17"], &c),
        ("c++", ["c++17", "c++20"], &cpp),
        ("clang++", ["c++17", "c++20"], &cpp),
    ] {
        for standard in standards {
            compile(compiler, standard, file);
        }
    }
}

#[test]
fn quick_start_of_the_header_compiles() {
    let header = committed();
    let begin = header.find("QUICK START").expect("the header has a quick start");
    let program: String = header[begin..]
        .lines()
        .skip_while(|line| !line.contains("#include"))
        .map_while(|line| match line.strip_prefix(" *     ") {
            Some(code) => Some(code),
            None => (line == " *").then_some(""),
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(program.contains("return code"), "the whole program is found:\n{program}");
    compile("cc", "c11", &scratch("quick_start.c", &program));
    compile("c++", "c++17", &scratch("quick_start.cpp", &program));
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("write a scratch file");
    path
}

/// `cc` and `c++` must be there; others are asked where they are.
fn compile(compiler: &str, standard: &str, file: &Path) {
    let outcome = Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"])
        .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include"))
        .arg(file)
        .output();
    match outcome {
        Ok(output) => assert!(
            output.status.success(),
            "{compiler} -std={standard}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if compiler.starts_with("clang") => println!("{compiler} is not here: {error}"),
        Err(error) => panic!("{compiler}: {error}"),
    }
}
