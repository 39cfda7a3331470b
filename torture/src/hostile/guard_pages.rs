//! Runs this program again with `guard_pages.c` in front of libc, compiled on the spot: what the library
//! maps has memory that nobody may touch on both sides, so that reading beyond a mapping is a signal.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{ensure, Context, Result};

const SOURCE: &str = include_str!("guard_pages.c");
/// Set in the program that has them.
const DONE: &str = "TORTURE_GUARD_PAGES";

/// Return in a process that has them.
pub fn exec_with_them() -> Result<()> {
    if std::env::var_os(DONE).is_some() {
        // Loaded: the files are not needed any more.
        let library = std::env::var_os("LD_PRELOAD").unwrap_or_default();
        if let Some(dir) = std::path::Path::new(&library).parent() {
            let _ = std::fs::remove_dir_all(dir);
        }
        return Ok(());
    }
    let dir = std::env::temp_dir().join(format!("torture-guard-pages-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let (source, library) = (dir.join("guard_pages.c"), dir.join("guard_pages.so"));
    std::fs::write(&source, SOURCE)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-lpthread");
    let status = compiler.status().context("guard pages need a C compiler")?;
    ensure!(status.success(), "cc: {status}");
    let error = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("LD_PRELOAD", &library)
        .env(DONE, "1")
        .exec();
    Err(error).context("cannot run this program again")
}
