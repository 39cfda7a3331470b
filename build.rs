//! Generates the C header beside the build (a test compares it with the committed one) and gives the
//! C library its soname and its hardening.

use std::env;
use std::path::{Path, PathBuf};

/// The files of the C ABI, in the header's order. Only these are read: nothing else can leak into it.
const SOURCES: [&str; 8] =
    ["version", "codes", "options", "message", "info", "channel", "producer", "consumer"];

/// Of the shared library:
/// - the soname carries the number of the ABI, which is not the version of the package;
/// - nodelete: a thread of the library may be running when a program calls dlclose;
/// - relro and now: no table of code pointers stays writable (rustc asks for it too; the promise is ours).
const LINK_ARGS: [&str; 4] =
    ["-Wl,-soname,libdisk_chan.so.0", "-Wl,-z,nodelete", "-Wl,-z,relro", "-Wl,-z,now"];

fn main() {
    for arg in LINK_ARGS {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/ffi");

    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let header = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("disk_chan.h");
    println!("cargo:rustc-env=DISK_CHAN_GENERATED_HEADER={}", header.display());
    // Whoever only uses the crate does not need the header: a failure here is the test's to report.
    if let Err(reason) = generate(&root, &header) {
        let _ = std::fs::remove_file(&header);
        println!("cargo:warning=the C header was not generated: {reason}");
    }
}

fn generate(root: &Path, header: &Path) -> Result<(), String> {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root.join("src/ffi").join(name).with_extension("rs"));
    }
    let mut text = Vec::new();
    builder.generate().map_err(|error| error.to_string())?.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    std::fs::write(header, polish(&text)).map_err(|error| error.to_string())
}

/// Puts negative constants in parentheses, as C programmers expect of a macro, and the attributes of a
/// function on one line.
fn polish(header: &str) -> String {
    let mut polished = String::with_capacity(header.len());
    for line in header.lines() {
        match line.rsplit_once(" -") {
            Some((name, digits))
                if line.starts_with("#define ") && digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                polished.extend([name, " (-", digits, ")\n"]);
            }
            _ => polished.extend([line, "\n"]),
        }
    }
    polished.replace("DC_API\nDC_WARN_UNUSED\n", "DC_API DC_WARN_UNUSED\n")
}
