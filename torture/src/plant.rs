//! The harness proves itself: the library is built with one bug on purpose at a time, and somebody must
//! notice. `planted!` in `src/` marks where each bug is; a bug that nothing notices is a hole in the tests.
//!
//! Each row names who is expected to notice. Before that, the same tests are run on the library as it is:
//! who fails there finds nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::pool::{Common, Tally};

/// Who notices a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finder {
    /// A kind of torture, with these arguments.
    Torture(&'static str),
    /// The models whose names contain this.
    Model(&'static str),
    /// A test of a C program of `tests/c`.
    C(&'static str, &'static str),
    /// A test of a Rust program of `tests`.
    Rust(&'static str, &'static str),
}
use Finder::{Model, Rust, Torture, C};

/// A bug: its name in `planted!`, the sentence it breaks, who notices.
struct Plant {
    name: &'static str,
    bug: &'static str,
    finders: &'static [Finder],
}

const fn plant(name: &'static str, bug: &'static str, finders: &'static [Finder]) -> Plant {
    Plant { name, bug, finders }
}

include!("plant/table.rs");

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// The build tree that has the C tests.
    #[arg(long, default_value = "build")]
    pub build: PathBuf,
    /// Plant these alone.
    #[arg(long, value_delimiter = ',')]
    pub names: Vec<String>,
    /// Print the table as Markdown and do nothing.
    #[arg(long)]
    pub list: bool,
}

/// Where the project is, for cargo.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(command: &mut Command, limit: Duration) -> Result<Option<Output>> {
    // A file, not a pipe: children that outlive their parent would keep a pipe open.
    let mut out = tempfile::tempfile()?;
    command.stdin(std::process::Stdio::null()).stdout(out.try_clone()?).stderr(out.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    use std::io::{Read, Seek};
    let mut stdout = Vec::new();
    out.rewind()?;
    out.read_to_end(&mut stdout)?;
    Ok(Some(Output { status, stdout, stderr: Vec::new() }))
}

/// Build something with a bug (or none), and say where cargo put it.
fn cargo(arguments: &[&str], name: Option<&str>) -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(root()).arg("rustc").args(["--locked", "--message-format=json"]);
    command.args(arguments).arg("--target-dir").arg(root().join("target/plants"));
    if let Some(name) = name {
        command.args(["--", "--cfg", &format!("dc_plant=\"{name}\"")]);
    }
    let output = command.output().context("cargo")?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "cargo rustc {arguments:?} for {name:?}: {err}");
    let artifact = out.lines().rev().find(|l| l.contains("\"compiler-artifact\""));
    let line = artifact.context("cargo made nothing")?;
    let quoted = |key: &str| {
        let rest = &line[line.find(key)? + key.len()..];
        Some(PathBuf::from(&rest[..rest.find('"')?]))
    };
    quoted("\"executable\":\"")
        .or_else(|| quoted("\"filenames\":[\""))
        .context("cargo named no file")
}

/// What a finder needs: built once for each bug.
struct Built {
    /// A directory with the library under its names.
    lib: Option<tempfile::TempDir>,
    models: Option<PathBuf>,
    /// The bug, for what is built when it runs.
    flags: String,
}

impl Built {
    fn new(finders: &[Finder], name: Option<&str>) -> Result<Built> {
        let flags = name.map_or(String::new(), |n| format!("--cfg dc_plant=\"{n}\""));
        let mut built = Built { lib: None, models: None, flags };
        if finders.iter().any(|f| matches!(f, Torture(_) | C(..))) {
            let library = ["--release", "--lib", "--features", "capi", "--crate-type", "cdylib"];
            // The exact bytes that are shipped are tortured elsewhere; here building is what takes long.
            let faster = [
                "--config",
                "profile.release.lto=false",
                "--config",
                "profile.release.codegen-units=16",
            ];
            let file = cargo(&[&library[..], &faster[..]].concat(), name)?;
            let dir = tempfile::tempdir()?;
            for link in ["libdisk_chan.so", "libdisk_chan.so.0"] {
                std::fs::copy(&file, dir.path().join(link))?;
            }
            built.lib = Some(dir);
        }
        if finders.iter().any(|f| matches!(f, Model(_))) {
            built.models =
                Some(cargo(&["-p", "disk_chan_models", "--lib", "--profile", "test"], name)?);
        }
        Ok(built)
    }
}

/// Whether this finder found something wrong; `Err`: it could not look.
fn finds(finder: Finder, built: &Built, arguments: &Arguments) -> Result<Option<String>> {
    let lib = || built.lib.as_ref().context("no library was built").map(tempfile::TempDir::path);
    let mut command;
    match finder {
        Torture(words) => {
            command = Command::new(std::env::current_exe()?);
            command.args(words.split_whitespace()).arg("--fail-fast");
            command.arg("--lib").arg(lib()?.join("libdisk_chan.so"));
            command.arg("--jobs").arg(arguments.common.jobs.to_string());
        }
        Model(filter) => {
            command = Command::new(built.models.as_ref().context("no models were built")?);
            command.current_dir(root().join("models")).args([filter, "--test-threads=2"]);
        }
        C(program, test) => {
            command = Command::new(arguments.build.join("tests-c").join(program));
            command.arg(test).env("LD_LIBRARY_PATH", lib()?);
        }
        Rust(program, test) => {
            command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            command
                .current_dir(root())
                .args(["test", "--quiet", "--locked", "--test", program, test]);
            command.arg("--target-dir").arg(root().join("target/plants-tests"));
            command.env("RUSTFLAGS", &built.flags);
        }
    }
    let Some(output) = run(&mut command, Duration::from_secs(600))? else {
        bail!("{finder:?} does not end");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sign = |l: &&str| {
        (l.contains("FAILED") || l.contains("panicked at")) && !l.contains("should panic")
    };
    let line = text.lines().find(sign).map(|l| l.trim().chars().take(160).collect::<String>());
    if output.status.success() {
        ensure!(text.contains(" passed"), "{finder:?} ran nothing: {text}");
        ensure!(
            !text.contains(" 0 passed") && !text.starts_with("0 passed"),
            "{finder:?} ran nothing: {text}"
        );
        return Ok(None);
    }
    let tail: String = text.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
    line.map(Some).with_context(|| format!("{finder:?} could not look: {tail}"))
}

fn list() {
    println!("| bug | breaks | noticed by |\n|---|---|---|");
    for p in PLANTS {
        let finders: Vec<_> = p.finders.iter().map(words).collect();
        println!("| `{}` | {} | {} |", p.name, p.bug, finders.join(", "));
    }
}

fn words(finder: &Finder) -> String {
    match finder {
        Torture(words) => format!("`torture {words}`"),
        Model(filter) => format!("models `{filter}`"),
        C(_, test) | Rust(_, test) => format!("`{test}`"),
    }
}

/// Plant each bug and see who notices.
pub fn plants(arguments: &Arguments) -> Result<Tally> {
    if arguments.list {
        list();
        return Ok(Tally::default());
    }
    let wanted =
        |p: &&Plant| arguments.names.is_empty() || arguments.names.iter().any(|n| n == p.name);
    let plants: Vec<_> = PLANTS.iter().filter(wanted).collect();
    ensure!(!plants.is_empty(), "no such bug: torture plant --list names them");
    let all: Vec<_> = plants.iter().flat_map(|p| p.finders.iter().copied()).collect();
    let sound = Built::new(&all, None)?;
    let mut control = BTreeMap::new();
    let mut tally = Tally::default();
    for p in plants {
        let begin = Instant::now();
        let looked = Built::new(p.finders, Some(p.name)).and_then(|built| {
            for &finder in p.finders {
                if let Some(sign) = finds(finder, &built, arguments)? {
                    return Ok(Some((finder, sign)));
                }
            }
            Ok(None)
        });
        let (finder, sign) = match looked {
            Ok(Some(found)) => found,
            other => {
                tally.failed += 1;
                let why = other.err().map_or("nobody notices".into(), |e| format!("{e:#}"));
                println!("FAILED plant {}: {}: {why}", p.name, p.bug);
                continue;
            }
        };
        // What fails on the sound library too has noticed nothing.
        let cry_wolf = match control.get(&finder) {
            Some(known) => *known,
            None => {
                let known = finds(finder, &sound, arguments)?.is_some();
                control.insert(finder, known);
                known
            }
        };
        if cry_wolf {
            tally.failed += 1;
            println!("FAILED plant {}: {} fails without the bug too", p.name, words(&finder));
        } else {
            tally.passed += 1;
            println!("{:<24} {} ({:.0?}): {sign}", p.name, words(&finder), begin.elapsed());
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dir: &Path, out: &mut String) {
        for entry in std::fs::read_dir(dir).expect("a directory of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, out);
            } else {
                out.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }

    #[test]
    fn the_table_and_the_code_name_the_same_bugs() {
        let mut text = String::new();
        sources(&root().join("src"), &mut text);
        let mut marked: Vec<_> =
            text.split("planted!(\"").skip(1).filter_map(|t| t.split('"').next()).collect();
        let mut named: Vec<_> = PLANTS.iter().map(|p| p.name).collect();
        marked.sort_unstable();
        marked.dedup();
        named.sort_unstable();
        assert_eq!(marked, named);
        assert!(named.len() >= 20);
    }
}
