//! The verifier: an independent reader of the whole stream.

use std::time::Duration;

use async_nats::jetstream::consumer::{pull, AckPolicy, DeliverPolicy};
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::Context;
use async_nats::HeaderMap;
use futures_util::StreamExt;

pub struct Reader {
    runtime: tokio::runtime::Runtime,
    urls: Vec<String>,
}

/// A message of the stream.
pub struct Message {
    pub sequence: u64,
    pub headers: HeaderMap,
    pub payload: Vec<u8>,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
    pub fn number(&self, name: &str) -> u64 {
        self.header(name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

impl Reader {
    pub fn new(urls: Vec<String>) -> Reader {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Reader { runtime, urls }
    }

    async fn context(&self) -> Result<Context, async_nats::Error> {
        let client = async_nats::ConnectOptions::new()
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(2)))
            .connect(self.urls.clone())
            .await?;
        let mut context = async_nats::jetstream::new(client);
        context.set_timeout(Duration::from_secs(2));
        Ok(context)
    }

    /// Something with the stream, tried until it works.
    pub fn with<T>(
        &self,
        stream: &str,
        mut work: impl AsyncFnMut(&Context, Stream) -> Result<T, async_nats::Error>,
    ) -> T {
        self.runtime.block_on(async {
            let mut last = String::new();
            for _ in 0..120 {
                let tried = async {
                    let context = self.context().await?;
                    let at = context.get_stream(stream).await?;
                    work(&context, at).await
                };
                match tokio::time::timeout(Duration::from_secs(60), tried).await {
                    Ok(Ok(done)) => return done,
                    Ok(Err(e)) => last = e.to_string(),
                    Err(_) => last = "no answer within 60 s".into(),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("stream {stream}: {last}")
        })
    }

    /// Something with the account, tried until it works.
    pub fn with_context<T>(
        &self,
        mut work: impl AsyncFnMut(&Context) -> Result<T, async_nats::Error>,
    ) -> T {
        self.runtime.block_on(async {
            let mut last = String::new();
            for _ in 0..120 {
                match async { work(&self.context().await?).await }.await {
                    Ok(done) => return done,
                    Err(e) => last = e.to_string(),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("{last}")
        })
    }

    /// The stream is gone afterwards.
    pub fn delete(&self, stream: &str) {
        self.with_context(async |context| match context.delete_stream(stream).await {
            // An earlier try had its effect, and its answer came too late.
            Err(e) if e.to_string().contains("10059") => Ok(()),
            other => Ok(other.map(|_| ())?),
        });
    }

    pub fn info(&self, stream: &str) -> Info {
        self.with(stream, async |_, at| Ok(at.get_info().await?))
    }

    /// The stream's leader, once there is one.
    pub fn leader(&self, stream: &str) -> String {
        self.with(stream, async |_, at| {
            let leader = at.get_info().await?.cluster.and_then(|c| c.leader);
            Ok(leader.filter(|l| !l.is_empty()).ok_or("no leader")?)
        })
    }

    /// Every message of the stream, in its order.
    pub fn messages(&self, stream: &str) -> Vec<Message> {
        self.with(stream, async |_, at| {
            let state = at.get_info().await?.state;
            let consumer = at
                .create_consumer(pull::Config {
                    deliver_policy: DeliverPolicy::All,
                    ack_policy: AckPolicy::None,
                    memory_storage: true,
                    num_replicas: 1,
                    inactive_threshold: Duration::from_secs(60),
                    ..Default::default()
                })
                .await?;
            let mut all = Vec::new();
            while (all.len() as u64) < state.messages {
                let mut batch = consumer
                    .fetch()
                    .max_messages(1000)
                    .expires(Duration::from_secs(5))
                    .messages()
                    .await?;
                let before = all.len();
                while let Some(message) = batch.next().await {
                    let message = message?;
                    let sequence = message.info()?.stream_sequence;
                    let (message, _) = message.split();
                    all.push(Message {
                        sequence,
                        headers: message.headers.unwrap_or_default(),
                        payload: message.payload.to_vec(),
                    });
                }
                if all.len() == before {
                    return Err("the consumer got nothing".into());
                }
            }
            Ok(all)
        })
    }
}

/// The channel messages in a stream message, by the description in docs/CLUSTER.md.
pub fn unpacked(message: &Message) -> Vec<Vec<u8>> {
    let count = message.header("Disk-Chan-Count").map_or(1, |c| c.parse().unwrap());
    if count == 1 {
        return vec![message.payload.clone()];
    }
    let (mut rest, mut messages) = (&message.payload[..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        messages.push(rest[4..4 + len].to_vec());
        rest = &rest[4 + len..];
    }
    assert_eq!(messages.len(), count);
    messages
}

/// The stream has the numbers from `first` to `end`, each once, in order, and its headers agree.
pub fn numbers(messages: &[Message], first: u64, end: u64) {
    let mut next = first;
    let mut position = None;
    for (i, message) in messages.iter().enumerate() {
        let here = format!("message {i}, sequence {}", message.sequence);
        if let Some(before) = position {
            assert_eq!(
                message.number("Disk-Chan-Previous"),
                before,
                "{here}: the chain of positions"
            );
        }
        position = Some(message.number("Disk-Chan-Position"));
        for payload in unpacked(message) {
            let text = String::from_utf8(payload).unwrap();
            assert_eq!(
                text.parse::<u64>().unwrap(),
                next,
                "{here}: missing, doubled or out of order"
            );
            next += 1;
        }
    }
    assert_eq!(next, end, "how far the stream has come");
}
