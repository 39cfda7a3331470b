//! The stream as the cluster has it: what it is, and what its last message says.

use std::collections::HashMap;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config as NatsConfig, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy,
    StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::Client;

use crate::config::{self, Config};
use crate::fail::{passing, Failure, Result, Trouble, FAILURE, REFUSED};
use crate::parcel::Stored;

/// The stream's metadata: which channel it belongs to.
const OWNER: &str = "disk_chan_channel";

/// Why a stream cannot be created, now or later. Too few nodes that are up, say, may pass.
const FINAL: [ErrorCode; 9] = [
    ErrorCode::BAD_REQUEST,
    ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ErrorCode::STREAM_CREATE,
    ErrorCode::STREAM_INVALID_CONFIG,
    ErrorCode::STREAM_MAX_BYTES_REQUIRED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
    ErrorCode::STREAM_NAME_EXIST,
    ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
    ErrorCode::STREAM_SUBJECT_OVERLAP,
];

/// What was seen of a stream.
#[derive(Clone, Debug)]
pub struct Seen {
    pub info: Info,
    pub created: u64,
    pub last_sequence: u64,
    pub last: Last,
}

/// The last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is not kept any more: purged, aged out, deleted; or there never was one.
    Gone,
    /// A bridge wrote it.
    Ours(Stored),
    /// Somebody else did.
    Foreign,
}

pub struct StreamAt {
    context: Context,
    name: String,
}

impl StreamAt {
    pub fn new(client: Client, config: &Config) -> StreamAt {
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(config.cluster.answer_timeout.0);
        StreamAt { context, name: config.stream.name.clone() }
    }

    /// The stream's state; `None`: there is no such stream.
    pub async fn info(&self) -> std::result::Result<Option<Info>, Trouble> {
        match self.context.get_stream(&self.name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(e) => match e.kind() {
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED
                        || error.error_code() == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT =>
                {
                    let text =
                        "JetStream is not enabled for this account: enable it on the servers";
                    Err(Failure::new(REFUSED, text).into())
                }
                _ => Err(passing(format_args!("cannot ask for stream {}: {e}", self.name))),
            },
        }
    }

    /// State and last message, both from the stream's leader.
    pub async fn look(&self) -> std::result::Result<Option<Seen>, Trouble> {
        let Some(info) = self.info().await? else { return Ok(None) };
        let last_sequence = info.state.last_sequence;
        let last = match last_sequence {
            0 => Last::Gone,
            sequence => self.message(sequence).await?,
        };
        let created = info.created.unix_timestamp_nanos() as u64;
        Ok(Some(Seen { info, created, last_sequence, last }))
    }

    /// For calls that need no state.
    pub async fn handle(&self) -> std::result::Result<Stream<()>, Trouble> {
        let got = self.context.get_stream_no_info(&self.name).await;
        got.map_err(|e| passing(format_args!("cannot ask for stream {}: {e}", self.name)))
    }

    async fn message(&self, sequence: u64) -> std::result::Result<Last, Trouble> {
        match self.handle().await?.get_raw_message(sequence).await {
            Ok(message) => Ok(Stored::of(&message.headers).map_or(Last::Foreign, Last::Ours)),
            Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(Last::Gone),
            Err(e) => Err(passing(format_args!(
                "cannot ask for message {sequence} of {}: {e}",
                self.name
            ))),
        }
    }

    /// Create the stream, as the channel's.
    pub async fn create(
        &self,
        config: &Config,
        subject: &str,
        uuid: &str,
        old: bool,
    ) -> std::result::Result<(), Trouble> {
        let wanted = &config.stream;
        let nats = NatsConfig {
            name: wanted.name.clone(),
            subjects: vec![subject.to_string()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: wanted.replicas,
            max_bytes: match wanted.max_bytes.0 {
                0 => -1,
                bytes => bytes as i64,
            },
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_age: wanted.max_age.0,
            discard: match wanted.discard {
                config::Discard::New => DiscardPolicy::New,
                config::Discard::Old => DiscardPolicy::Old,
            },
            duplicate_window: wanted.duplicate_window.0,
            // Servers before 2.10 know neither of these.
            compression: (!old).then_some(match wanted.compression {
                config::Compression::None => Compression::None,
                config::Compression::S2 => Compression::S2,
            }),
            metadata: match old {
                true => HashMap::new(),
                false => HashMap::from([(OWNER.to_string(), uuid.to_string())]),
            },
            ..NatsConfig::default()
        };
        match self.context.create_stream(nats).await {
            Ok(_) => {
                tracing::info!(
                    stream = wanted.name,
                    subject,
                    replicas = wanted.replicas,
                    "stream created"
                );
                Ok(())
            }
            Err(e) => match e.kind() {
                CreateStreamErrorKind::JetStream(error) if FINAL.contains(&error.error_code()) => {
                    let text = "create it yourself, or change [stream] in the configuration";
                    let why = format_args!("cannot create stream {}: {error}; {text}", wanted.name);
                    Err(Failure::new(REFUSED, why).into())
                }
                _ => Err(passing(format_args!("cannot create stream {}: {e}", wanted.name))),
            },
        }
    }
}

/// Whether the stream is one to forward into; warns of what is allowed and should not be.
pub fn check(info: &Info, config: &Config, subject: &str, uuid: &str) -> Result<()> {
    let (stream, name) = (&info.config, &config.stream.name);
    let refuse = |why: &dyn std::fmt::Display| {
        Err(Failure::new(REFUSED, format_args!("stream {name} {why}")))
    };
    if let Some(owner) = stream.metadata.get(OWNER).filter(|owner| *owner != uuid) {
        return refuse(&format_args!(
            "belongs to channel {owner}, and this is channel {uuid}: forward into a stream of its own"
        ));
    }
    if stream.retention != RetentionPolicy::Limits {
        return refuse(&format_args!(
            "has {:?} retention, under which its last message, and with it the position, goes when it \
             is acknowledged: use Limits",
            stream.retention
        ));
    }
    if stream.mirror.is_some() || stream.sources.as_ref().is_some_and(|s| !s.is_empty()) {
        return refuse(&"is filled from another stream, and the bridge has to be its only writer");
    }
    if stream.no_ack || stream.sealed {
        return refuse(&"acknowledges nothing (no_ack) or is sealed");
    }
    if !stream.subjects.iter().any(|pattern| matches(pattern, subject)) {
        return refuse(&format_args!("takes {:?}, not subject {subject}", stream.subjects));
    }
    if stream.num_replicas < 2 {
        if !config.stream.allow_one_replica {
            return refuse(
                &"has one replica: what it acknowledged is lost with one disk; use 3, or set \
                  stream.allow_one_replica",
            );
        }
        tracing::warn!(
            stream = name,
            "the stream has ONE replica: what it acknowledged is lost with one disk"
        );
    }
    if stream.storage == StorageType::Memory {
        tracing::warn!(
            stream = name,
            "the stream is in MEMORY: it is lost when its servers restart together"
        );
    }
    if stream.max_messages_per_subject > 0 {
        tracing::warn!(stream = name, "max_msgs_per_subject drops messages that were acknowledged");
    }
    if stream.discard == DiscardPolicy::Old && (stream.max_bytes > 0 || stream.max_messages > 0) {
        tracing::warn!(stream = name, "a full stream drops its oldest messages (discard old)");
    }
    Ok(())
}

/// The largest payload that the server and the stream take.
pub fn payload_max(
    info: &Info,
    max_payload: usize,
    headers: usize,
) -> std::result::Result<usize, Failure> {
    let stream = usize::try_from(info.config.max_message_size).unwrap_or(0);
    let most = if stream > 0 { max_payload.min(stream) } else { max_payload };
    most.checked_sub(headers).filter(|left| *left > 0).ok_or_else(|| {
        Failure::new(
            FAILURE,
            format_args!("the server takes {most} bytes a message, less than the headers need"),
        )
    })
}

/// Whether a subject matches a pattern with `*` and `>`.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_match_patterns() {
        for (pattern, subject, does) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("a.>", "a", false),
            ("a.*", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.c", "a.b", false),
        ] {
            assert_eq!(matches(pattern, subject), does, "{pattern} {subject}");
        }
    }
}
