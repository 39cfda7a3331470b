//! Redis Streams: a server of the run's own, reached through a Unix socket in the run's directory.
//!
//! Settings, after redis.io (pipelining, streams, persistence): `XADD` in pipelines of 1,000, or as many as are to be
//! durable together; `XREADGROUP ... NOACK` of 1,000 messages a call, since the group need not hand out again what a dead
//! consumer held; no snapshots. Where sends have to be durable: an append-only file with `appendfsync always`, with which
//! the server answers after the flush.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use redis::{cmd, Client, Connection, Pipeline, Value};

use super::{Peer, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::Spec;

/// Messages a pipeline, and a read.
const TOGETHER: usize = 1000;
const STREAM: &str = "q";

pub struct Redis {
    dir: PathBuf,
    together: usize,
    server: Option<Child>,
}

impl Redis {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Redis> {
        let files = dir.join("redis");
        std::fs::create_dir(&files)?;
        let durable = if spec.flush { ["yes", "always"] } else { ["no", "no"] };
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"]);
        command.arg(files.join("socket")).arg("--dir").arg(&files);
        command.args(["--appendonly", durable[0], "--appendfsync", durable[1]]);
        command.args(["--auto-aof-rewrite-percentage", "0", "--logfile"]).arg(files.join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let server = command.spawn().context("redis-server cannot be run")?;
        let mut redis = Redis::join(spec, dir)?;
        redis.server = Some(server);
        let mut connection = redis.connect()?;
        for group in 0..spec.groups {
            let mut create = cmd("XGROUP");
            create.arg("CREATE").arg(STREAM).arg(format!("g{group}")).arg("0").arg("MKSTREAM");
            create.exec(&mut connection)?;
        }
        Ok(redis)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Redis> {
        let together = if spec.flush { spec.batch } else { TOGETHER };
        Ok(Redis { dir: dir.join("redis"), together, server: None })
    }

    fn connect(&self) -> Result<Connection> {
        let client = Client::open(format!("redis+unix://{}", self.dir.join("socket").display()))?;
        for _ in 0..500 {
            if let Ok(connection) = client.get_connection() {
                return Ok(connection);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        bail!("the server does not answer: {log}")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Peer for Redis {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let mut connection = self.connect()?;
        Ok(Box::new(move || loop {
            let mut pipeline = Pipeline::with_capacity(self.together);
            let mut count = 0;
            while count < self.together {
                let Some(message) = maker.next() else { break };
                pipeline.cmd("XADD").arg(STREAM).arg("*").arg("m").arg(message).ignore();
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            pipeline.exec(&mut connection)?;
        }))
    }

    fn consumer<'a>(&'a self, group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let mut connection = self.connect()?;
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(format!("g{group}")).arg(checker.consumer()).arg("COUNT");
        read.arg(TOGETHER).arg("BLOCK").arg(2).arg("NOACK").arg("STREAMS").arg(STREAM).arg(">");
        Ok(Box::new(move || {
            while !checker.alone_and_done() {
                let reply: Value = read.query(&mut connection)?;
                if reply == Value::Nil {
                    if checker.all()? {
                        break;
                    }
                    continue;
                }
                each(&reply, &mut |message| checker.check(message))?;
            }
            Ok(())
        }))
    }

    fn disk_bytes(&self) -> u64 {
        super::disk_of(&self.dir)
    }
}

/// Hand on every message of a reply: `[[stream, [[id, ["m", message]], ...]]]`.
fn each(reply: &Value, hand: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let Value::Array(streams) = reply else { bail!("an unexpected reply: {reply:?}") };
    for stream in streams {
        let Value::Array(pair) = stream else { bail!("an unexpected reply: {stream:?}") };
        let Some(Value::Array(entries)) = pair.get(1) else { bail!("a stream without entries") };
        for entry in entries {
            let Value::Array(entry) = entry else { bail!("an unexpected entry: {entry:?}") };
            let Some(Value::Array(fields)) = entry.get(1) else { bail!("an entry without fields") };
            let Some(Value::BulkString(message)) = fields.get(1) else { bail!("no message") };
            hand(message)?;
        }
    }
    Ok(())
}
