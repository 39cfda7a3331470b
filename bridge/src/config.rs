//! The configuration: a TOML file. Every key has a default but the channel's path, the servers and the stream's name; a
//! key that is not known is an error, as is a value out of range.

mod units;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::units::{millis, seconds};
pub use self::units::{Size, Span};
use crate::channel::HELD_MAX;
use crate::fail::{Failure, Result, USAGE};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub channel: ChannelConfig,
    pub cluster: ClusterConfig,
    pub stream: StreamConfig,
    #[serde(default)]
    pub forward: ForwardConfig,
    #[serde(default)]
    pub fetch: FetchConfig,
    #[serde(default)]
    pub serve: ServeConfig,
    #[serde(default)]
    pub log: LogConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// The channel's directory; `fetch` creates it where there is none.
    pub path: PathBuf,
    /// The group that `forward` is the only member of.
    #[serde(default = "forwarder")]
    pub group: String,
    /// Where the bridge keeps what it assigned; default: the channel's path and `.bridge`.
    pub state: Option<PathBuf>,
    /// What `fetch` opens the channel with.
    #[serde(default)]
    pub durability: Durability,
}

fn forwarder() -> String {
    "forwarder".into()
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    None,
    #[default]
    Interval,
    Always,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// `nats://host:port` or `tls://host:port`; several nodes of one cluster.
    pub servers: Vec<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    /// A `.creds` file: JWT and seed.
    pub credentials: Option<PathBuf>,
    pub nkey_file: Option<PathBuf>,
    #[serde(default)]
    pub tls: TlsConfig,
    #[serde(default = "seconds::<5>")]
    pub connect_timeout: Span,
    /// How long an answer may take: to a publish, to a question.
    #[serde(default = "seconds::<5>")]
    pub answer_timeout: Span,
    #[serde(default = "millis::<100>")]
    pub backoff_min: Span,
    #[serde(default = "seconds::<10>")]
    pub backoff_max: Span,
    /// Go on with a server older than 2.11.
    #[serde(default)]
    pub allow_old_server: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    #[serde(default)]
    pub required: bool,
    /// The server speaks TLS from the first byte on.
    #[serde(default)]
    pub first: bool,
    /// Certificates that sign the servers'; default: the system's.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    pub name: String,
    /// `{channel}` the directory's name, `{stream}`, `{host}`, `{uuid}`.
    #[serde(default = "subject")]
    pub subject: String,
    /// Create the stream where there is none (`forward`).
    #[serde(default = "yes")]
    pub create: bool,
    #[serde(default = "three")]
    pub replicas: usize,
    /// 0: no limit.
    #[serde(default)]
    pub max_bytes: Size,
    /// 0: no limit.
    #[serde(default)]
    pub max_age: Span,
    #[serde(default)]
    pub discard: Discard,
    #[serde(default = "seconds::<120>")]
    pub duplicate_window: Span,
    #[serde(default)]
    pub compression: Compression,
    /// Go on with a stream of one replica.
    #[serde(default)]
    pub allow_one_replica: bool,
}

fn subject() -> String {
    "disk_chan.{channel}".into()
}
fn yes() -> bool {
    true
}
fn three() -> usize {
    3
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// A full stream drops its oldest messages.
    Old,
    /// A full stream refuses new ones: they stay in the channel.
    #[default]
    New,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    S2,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardConfig {
    /// Publishes in flight at most.
    pub window: usize,
    /// Channel messages in one stream message at most; 1: no packing.
    pub pack_messages: usize,
    /// Bytes of a pack at most.
    pub pack_bytes: Size,
    /// How long a pack waits to be filled.
    pub pack_linger: Span,
    /// Larger messages go to `dead_letter`; 0: what the server takes.
    pub max_message: Size,
    /// A channel for messages too large for the stream.
    pub dead_letter: Option<PathBuf>,
    /// Channel messages a second at most; 0: no limit.
    pub rate: u64,
    /// How long a bridge that was asked to end waits for what is in flight.
    pub drain_timeout: Span,
}

impl Default for ForwardConfig {
    fn default() -> ForwardConfig {
        ForwardConfig {
            window: 1000,
            pack_messages: 1,
            pack_bytes: Size(64 << 10),
            pack_linger: millis::<5>(),
            max_message: Size(0),
            dead_letter: None,
            rate: 0,
            drain_timeout: seconds::<10>(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// Stream messages asked for at once.
    pub batch: usize,
    /// The durable consumer's name; default `disk-chan-` and the channel's UUID.
    pub consumer: Option<String>,
    /// Where an empty channel begins in the stream; 0: its oldest message.
    pub start_sequence: u64,
}

impl Default for FetchConfig {
    fn default() -> FetchConfig {
        FetchConfig { batch: 500, consumer: None, start_sequence: 0 }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Where `/metrics` and `/health` are served; default: nowhere.
    pub listen: Option<std::net::SocketAddr>,
    /// No progress for so long, with something to do: unhealthy.
    pub stall_after: Span,
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig { listen: None, stall_after: seconds::<30>() }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl Config {
    pub fn read(path: &Path) -> Result<Config> {
        let bad = |why: &dyn fmt::Display| {
            Failure::new(USAGE, format_args!("configuration {}: {why}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|e| bad(&e))?;
        Config::parse(&text).map_err(|why| bad(&why))
    }

    pub fn parse(text: &str) -> std::result::Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let name = &self.stream.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 255 || !name.chars().all(plain) {
            return Err(format!("stream.name is {name:?}: letters, digits, '-' and '_'"));
        }
        if self.cluster.servers.is_empty() {
            return Err("cluster.servers is empty: name at least one node".into());
        }
        if !(1..=5).contains(&self.stream.replicas) {
            return Err(format!("stream.replicas is {}: 1 to 5", self.stream.replicas));
        }
        if !(1..=HELD_MAX).contains(&self.forward.window) {
            return Err(format!("forward.window is {}: 1 to {HELD_MAX}", self.forward.window));
        }
        let most = HELD_MAX / 2;
        if !(1..=most).contains(&self.forward.pack_messages) {
            return Err(format!(
                "forward.pack_messages is {}: 1 to {most}",
                self.forward.pack_messages
            ));
        }
        if !(1..=10_000).contains(&self.fetch.batch) {
            return Err(format!("fetch.batch is {}: 1 to 10,000", self.fetch.batch));
        }
        if self.channel.group.is_empty() || self.channel.group.len() > 255 {
            return Err("channel.group has to have 1 to 255 bytes".into());
        }
        if self.cluster.answer_timeout.0 < Duration::from_millis(100) {
            return Err("cluster.answer_timeout is too short: at least \"100ms\"".into());
        }
        let ways = [
            self.cluster.user.is_some(),
            self.cluster.token_file.is_some(),
            self.cluster.credentials.is_some(),
            self.cluster.nkey_file.is_some(),
        ];
        if ways.iter().filter(|w| **w).count() > 1 {
            return Err("cluster: only one of user, token_file, credentials and nkey_file".into());
        }
        if self.cluster.user.is_some() != self.cluster.password_file.is_some() {
            return Err("cluster: user and password_file belong together".into());
        }
        if self.cluster.tls.certificate.is_some() != self.cluster.tls.key.is_some() {
            return Err("cluster.tls: certificate and key belong together".into());
        }
        for (key, file) in self.files() {
            std::fs::File::open(file).map_err(|e| format!("{key}: {}: {e}", file.display()))?;
        }
        self.subject("")?;
        Ok(())
    }

    /// The files that have to be there.
    fn files(&self) -> Vec<(&'static str, &Path)> {
        let c = &self.cluster;
        let named = [
            ("cluster.password_file", &c.password_file),
            ("cluster.token_file", &c.token_file),
            ("cluster.credentials", &c.credentials),
            ("cluster.nkey_file", &c.nkey_file),
            ("cluster.tls.ca", &c.tls.ca),
            ("cluster.tls.certificate", &c.tls.certificate),
            ("cluster.tls.key", &c.tls.key),
        ];
        named.into_iter().filter_map(|(key, path)| path.as_deref().map(|p| (key, p))).collect()
    }

    /// The template filled in; what cannot stand in a token of a subject becomes `_`.
    pub fn subject(&self, uuid: &str) -> std::result::Result<String, String> {
        let token = |text: &str| -> String {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            text.chars().map(|c| if fits(c) { c } else { '_' }).collect()
        };
        let channel = self.channel.path.file_name().unwrap_or_default().to_string_lossy();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let made = self
            .stream
            .subject
            .replace("{channel}", &token(&channel))
            .replace("{stream}", &self.stream.name)
            .replace("{host}", &token(host.trim()))
            .replace("{uuid}", &token(if uuid.is_empty() { "0" } else { uuid }));
        let plain = |t: &str| {
            !t.is_empty() && t.chars().all(|c| c.is_ascii_graphic() && !"*>{}".contains(c))
        };
        if made.len() > 200 || !made.split('.').all(plain) || made.starts_with('$') {
            return Err(format!(
                "stream.subject gives {made:?}: at most 200 characters in tokens between dots, no wildcards; \
                 {{channel}}, {{stream}}, {{host}} and {{uuid}} are filled in"
            ));
        }
        Ok(made)
    }

    pub fn state(&self) -> PathBuf {
        self.channel.state.clone().unwrap_or_else(|| {
            let mut name = self.channel.path.clone().into_os_string();
            name.push(".bridge");
            name.into()
        })
    }
}

#[cfg(test)]
mod tests;
