//! Which versions were measured: of crates, as this workspace's Cargo.lock has them; of programs, as they say.

use super::PeerName::{self, *};
use crate::machine::said;

const LOCK: &str = include_str!("../../../Cargo.lock");

/// A line a peer that was built.
pub fn versions() -> Vec<String> {
    let crates = |peer| match peer {
        DiskChan => &["disk-chan"][..],
        Crossbeam => &["crossbeam-channel"],
        Aeron => &["rusteron-client", "rusteron-media-driver"],
        Iceoryx2 => &["iceoryx2"],
        Lmdb => &["lmdb-master-sys"],
        Sqlite => &["rusqlite", "libsqlite3-sys"],
        Zeromq => &["zmq", "zeromq-src"],
        Redis => &["redis"],
        _ => &[],
    };
    let line = |peer: PeerName| {
        let named: Vec<String> =
            crates(peer).iter().filter_map(|name| Some(format!("{name} {}", of(name)?))).collect();
        let program = match peer {
            Redis => said("redis-server", &["--version"]),
            _ => String::new(),
        };
        let named = named.into_iter().chain((!program.is_empty()).then_some(program));
        let named = named.collect::<Vec<_>>().join(", ");
        let title = if peer == Crossbeam { "crossbeam-channel" } else { peer.title() };
        (!named.is_empty()).then(|| format!("{title}: {named}"))
    };
    PeerName::ALL.into_iter().filter(|p| p.is_built()).filter_map(line).collect()
}

/// The version of a package in Cargo.lock.
fn of(package: &str) -> Option<&'static str> {
    let begin = format!("name = \"{package}\"\nversion = \"");
    let from = LOCK.find(&begin)? + begin.len();
    LOCK[from..].split('"').next()
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_those_that_were_locked() {
        assert_eq!(super::of("disk-chan"), Some("0.3.0"));
        assert_eq!(super::of("no-such-package"), None);
        assert!(super::versions()
            .iter()
            .any(|v| v.starts_with("disk-chan 0.3.0: disk-chan 0.3.0")));
    }
}
