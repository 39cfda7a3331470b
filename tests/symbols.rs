//! The shared library as the linker sees it: it exports the calls of the contract and nothing else, under
//! a soname with a number of its own, hardened, and never unloaded.

use std::path::PathBuf;
use std::process::Command;

const SYMBOLS: &str = include_str!("abi/symbols.txt");

/// Builds the library as it is shipped (a `cargo test` alone leaves none behind) and says where it is.
fn library() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["rustc", "--release", "--lib", "--features", "capi", "--crate-type", "cdylib"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the library does not build:\n{log}");
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.split('"').find(|word| word.ends_with("/libdisk_chan.so"));
    PathBuf::from(path.unwrap_or_else(|| panic!("cargo names no library:\n{messages}")))
}

fn run(tool: &str, arguments: &[&str], library: &PathBuf) -> String {
    let output = Command::new(tool).args(arguments).arg(library).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{tool} (of binutils) is needed: {error}"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn shared_library_keeps_its_abi() {
    let library = library();

    let table = run("nm", &["-D", "--defined-only"], &library);
    let mut exported: Vec<&str> =
        table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    exported.sort_unstable();
    let expected: Vec<&str> = SYMBOLS.lines().collect();
    assert_eq!(exported, expected, "exported symbols, and those of tests/abi/symbols.txt");

    let dynamic = run("readelf", &["-dW"], &library);
    assert!(dynamic.contains("Library soname: [libdisk_chan.so.0]"), "{dynamic}");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).unwrap_or_default();
    for flag in ["NODELETE", "NOW"] {
        assert!(flags.split_whitespace().any(|word| word == flag), "{flag} in {dynamic}");
    }
    let segments = run("readelf", &["-lW"], &library);
    assert!(segments.contains("GNU_RELRO"), "{segments}");
}
