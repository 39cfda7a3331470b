//! What the program says without a cluster: its configuration, its manual page.

use std::process::{Command, Output};

fn bridge(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_disk-chan-bridge")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_configuration_is_checked_and_nothing_else_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (channel, file) = (dir.path().join("orders.chan"), dir.path().join("bridge.toml"));
    let good = format!("[channel]\npath = {channel:?}\n[cluster]\nservers = [\"nats://127.0.0.1:1\"]\n[stream]\nname = \"S\"\n");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        bridge(&["fetch", "--check", "--config", file.to_str().unwrap()])
    };
    let fine = check(&good);
    assert_eq!((fine.status.code(), text(&fine.stderr).as_str()), (Some(0), ""));
    assert!(text(&fine.stdout).ends_with(": fine\n"));
    let bad = check(&format!("{good}replicas = 9\n"));
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("stream.replicas is 9"), "{}", text(&bad.stderr));
    assert!(!channel.exists());
    let missing = bridge(&["forward", "--config", "/none/such"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("/none/such"));
}

#[test]
fn a_channel_that_is_not_there_is_not_made_by_forward() {
    let dir = tempfile::tempdir().unwrap();
    let (channel, file) = (dir.path().join("orders.chan"), dir.path().join("bridge.toml"));
    let config = format!("[channel]\npath = {channel:?}\n[cluster]\nservers = [\"nats://127.0.0.1:1\"]\n[stream]\nname = \"S\"\n");
    std::fs::write(&file, config).unwrap();
    let ended = bridge(&["forward", "--config", file.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains("orders.chan"), "{}", text(&ended.stderr));
    assert!(!channel.exists());
}

#[test]
fn the_manual_page_names_every_exit_code() {
    let page = bridge(&["man"]);
    assert_eq!(page.status.code(), Some(0));
    let page = text(&page.stdout);
    for part in
        [".SH NAME", ".SH \"EXIT STATUS\"", "when\\-behind", "fenced out", ".SH CONFIGURATION"]
    {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
}

/// The unit starts what there is, and gives up on every exit code that a start again cannot mend.
#[test]
fn the_unit_agrees_with_the_program() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/disk-chan-bridge@.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let help = text(&bridge(&["forward", "--help"]).stdout);
    let lines = unit.lines().filter(|line| line.starts_with("ExecStart"));
    let flags: Vec<&str> = lines
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.starts_with("--"))
        .collect();
    assert_eq!(flags, ["--config", "--check", "--config"]);
    assert!(flags.iter().all(|flag| help.contains(flag)), "{help}");
    let page = text(&bridge(&["man"]).stdout);
    let prevented = unit.lines().find_map(|l| l.strip_prefix("RestartPreventExitStatus=")).unwrap();
    for code in prevented.split(' ') {
        assert!(
            page.contains(&format!("\n  {code}  ")),
            "the manual page knows no exit code {code}"
        );
    }
    assert_eq!(prevented, "2 3 4 5");
}
