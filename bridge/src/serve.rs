//! `/metrics` and `/health` over HTTP, for those who watch the bridge.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::ServeConfig;
use crate::fail::{Failure, Result};
use crate::metrics::Metrics;

/// Requests answered at the same time.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// Serve in the background; without an address there is nothing to do.
pub async fn start(config: &ServeConfig, labels: String, metrics: Arc<Metrics>) -> Result<()> {
    let Some(address) = config.listen else { return Ok(()) };
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|e| Failure::io(format!("cannot listen on {address}"), &e))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics and /health");
    }
    let (stall_after, labels) = (config.stall_after.0, Arc::new(labels));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((client, _)) = listener.accept().await else {
                // Out of descriptors, say.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (metrics, labels) = (metrics.clone(), labels.clone());
            tokio::spawn(async move {
                let answered = answer(client, &metrics, &labels, stall_after);
                // Who hangs up is not the bridge's trouble.
                let _ = tokio::time::timeout(PATIENCE, answered).await;
                drop(place);
            });
        }
    });
    Ok(())
}

async fn answer(
    mut client: TcpStream,
    metrics: &Metrics,
    labels: &str,
    stall_after: Duration,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    // Up to the empty line; nothing here needs more than the first one.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        if client.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let (status, kind, body) = reply(line, metrics, labels, stall_after);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await
}

fn reply(
    line: &[u8],
    metrics: &Metrics,
    labels: &str,
    stall_after: Duration,
) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.text(labels))
        }
        (Some(b"GET"), Some(b"/health")) => match metrics.health(stall_after) {
            Ok(()) => ("200 OK", TEXT, "ok\n".into()),
            Err(why) => ("503 Service Unavailable", TEXT, format!("{why}\n")),
        },
        (Some(b"GET"), _) => ("404 Not Found", TEXT, "/metrics or /health\n".into()),
        _ => ("405 Method Not Allowed", TEXT, "GET only\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let metrics = Metrics::default();
        let status = |line: &[u8]| reply(line, &metrics, "", PATIENCE).0;
        assert_eq!(status(b"GET /metrics HTTP/1.1"), "200 OK");
        assert_eq!(status(b"GET /health HTTP/1.1"), "503 Service Unavailable");
        assert_eq!(status(b"GET / HTTP/1.1"), "404 Not Found");
        assert_eq!(status(b"POST /metrics HTTP/1.1"), "405 Method Not Allowed");
        assert_eq!(status(b""), "405 Method Not Allowed");
        metrics.connected.set(1);
        assert_eq!(status(b"GET /health HTTP/1.1"), "200 OK");
    }
}
