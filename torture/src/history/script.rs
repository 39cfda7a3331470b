//! The driver's scripts, as far as a history must understand them.

use anyhow::{bail, Context, Result};

/// Where a seek goes, or a group starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    Last(u64),
    /// At, or (true) behind, the n-th message that the consumer received.
    Got(usize, bool),
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Open {
        max_pages: u64,
        retention: u64,
    },
    /// Making a producer may make a page.
    Producer,
    Send {
        p: usize,
        first: u64,
        count: u64,
        len: u64,
    },
    Reserve {
        p: usize,
        id: u64,
    },
    Commit {
        p: usize,
        len: u64,
    },
    Abort {
        p: usize,
    },
    Subscribe {
        c: usize,
        group: Option<String>,
        ack: u64,
        start: Target,
    },
    Recv {
        c: usize,
        max: u64,
    },
    Ack {
        c: usize,
        n: i64,
    },
    Nack {
        c: usize,
    },
    Seek {
        c: usize,
        to: Target,
    },
    CloseConsumer {
        c: usize,
    },
    DeleteGroup {
        group: String,
    },
    Destroy,
    Other,
}

/// What each line of a script is.
pub fn parse(script: &str) -> Result<Vec<Op>> {
    script.lines().map(|l| line(l).with_context(|| format!("script: {l}"))).collect()
}

fn line(text: &str) -> Result<Op> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let word = |n: usize| words.get(n).copied().context("a word is missing");
    let number = |n: usize| -> Result<u64> { Ok(word(n)?.parse()?) };
    let handle = |n: usize| -> Result<usize> { Ok(word(n)?[1..].parse()?) };
    let value = |key: &str, otherwise: u64| -> Result<u64> {
        let found = words.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        Ok(found.map(str::parse).transpose()?.unwrap_or(otherwise))
    };
    Ok(match words.first().copied().unwrap_or("#") {
        "open" => Op::Open { max_pages: value("pages", 16)?, retention: value("retention", 1)? },
        "producer" => Op::Producer,
        "send" | "sendv" => {
            Op::Send { p: handle(1)?, first: number(2)?, count: 1, len: number(3)? }
        }
        "batch" => {
            Op::Send { p: handle(1)?, first: number(2)?, count: number(3)?, len: number(4)? }
        }
        "reserve" => Op::Reserve { p: handle(1)?, id: number(2)? },
        "commit" => Op::Commit { p: handle(1)?, len: number(2)? },
        "abort" => Op::Abort { p: handle(1)? },
        "subscribe" => {
            let group = Some(word(3)?.to_string()).filter(|g| g != "-");
            let start = start(value("start", 1)?)?;
            Op::Subscribe { c: handle(1)?, group, ack: value("ack", 1)?.max(1), start }
        }
        "recv" => Op::Recv { c: handle(1)?, max: 1 },
        "recv-batch" => Op::Recv { c: handle(1)?, max: number(2)? },
        "ack" => Op::Ack { c: handle(1)?, n: word(2)?.parse()? },
        "nack" => Op::Nack { c: handle(1)? },
        "seek" => Op::Seek { c: handle(1)?, to: target(word(2)?)? },
        "close-consumer" => Op::CloseConsumer { c: handle(1)? },
        "delete-group" => Op::DeleteGroup { group: word(2)?.to_string() },
        "destroy" => Op::Destroy,
        _ => Op::Other,
    })
}

fn start(value: u64) -> Result<Target> {
    Ok(match value {
        0 | 1 => Target::Earliest,
        u64::MAX => Target::Latest,
        n if n >= u64::MAX - (1 << 32) => Target::Last(u64::MAX - n),
        n => bail!("a history cannot follow a start at position {n}"),
    })
}

fn target(text: &str) -> Result<Target> {
    if let Some(n) = text.strip_prefix("got:") {
        let (n, behind) = n.split_once('+').map_or((n, false), |(n, _)| (n, true));
        return Ok(Target::Got(n.parse()?, behind));
    }
    Ok(match text {
        "earliest" => Target::Earliest,
        "latest" => Target::Latest,
        _ => Target::Last(text.strip_prefix("last:").context("a history follows got:N")?.parse()?),
    })
}
