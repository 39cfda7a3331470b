//! The connection: servers, TLS, credentials, and what happens to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::config::ClusterConfig;
use crate::fail::{Failure, Result, FAILURE, REFUSED};
use crate::metrics::Metrics;

/// The oldest server that is trusted with the stream.
const OLDEST: (u64, u64) = (2, 11);

/// So many troubles in a row, and another node is tried.
const ELSEWHERE: u32 = 4;

pub struct Cluster {
    pub client: Client,
    /// Grows by one whenever the connection is lost, and whenever it is there again: odd while there is none.
    pub turns: watch::Receiver<u64>,
}

fn secret(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path.display(), &e))?;
    Ok(text.trim().to_string())
}

async fn options(config: &ClusterConfig) -> Result<ConnectOptions> {
    let mut options = ConnectOptions::new();
    if let (Some(user), Some(file)) = (&config.user, &config.password_file) {
        options = options.user_and_password(user.clone(), secret(file)?);
    }
    if let Some(file) = &config.token_file {
        options = options.token(secret(file)?);
    }
    if let Some(file) = &config.nkey_file {
        options = options.nkey(secret(file)?);
    }
    if let Some(file) = &config.credentials {
        let read = options.credentials_file(file).await;
        options = read.map_err(|e| Failure::io(file.display(), &e))?;
    }
    if let Some(ca) = &config.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if config.tls.first {
        options = options.tls_first();
    }
    Ok(options.require_tls(config.tls.required))
}

/// Whether waiting and trying again may help.
fn may_pass(e: &async_nats::ConnectError) -> bool {
    use async_nats::ConnectErrorKind as Kind;
    // What TLS has against the other side comes as an I/O error.
    let cause = std::error::Error::source(e).and_then(|e| e.downcast_ref::<std::io::Error>());
    if cause.is_some_and(|e| e.kind() == std::io::ErrorKind::InvalidData) {
        return false;
    }
    !matches!(
        e.kind(),
        Kind::Tls | Kind::Authentication | Kind::AuthorizationViolation | Kind::ServerParse
    )
}

impl Cluster {
    /// Connect, for as long as it takes; wrong certificates and credentials end it.
    pub async fn connect(
        config: &ClusterConfig,
        name: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Cluster> {
        let (turn, turns) = watch::channel(0);
        let turn = Arc::new(turn);
        let mut backoff = Backoff::new(config.backoff_min.0, config.backoff_max.0);
        let (first, most) = (config.backoff_min.0, config.backoff_max.0);
        loop {
            let (turn, watched) = (turn.clone(), metrics.clone());
            let options = options(config)
                .await?
                .name(name)
                .connection_timeout(config.connect_timeout.0)
                .request_timeout(Some(config.answer_timeout.0))
                .ping_interval(Duration::from_secs(5))
                .reconnect_delay_callback(move |attempts| {
                    // The first one at once: another node may be there.
                    let mut backoff = Backoff::new(first, most);
                    (1..attempts).fold(Duration::ZERO, |_, _| backoff.next())
                })
                .event_callback(move |event| {
                    note(event, &turn, &watched);
                    std::future::ready(())
                });
            match options.connect(config.servers.clone()).await {
                Ok(client) => {
                    metrics.connected.set(1);
                    return Ok(Cluster { client, turns });
                }
                Err(e) if may_pass(&e) => {
                    metrics.trouble(&format!("cannot connect: {e}"));
                    let pause = backoff.next();
                    tracing::warn!(error = %e, pause_ms = pause.as_millis() as u64, "cannot connect");
                    tokio::time::sleep(pause).await;
                }
                Err(e) => {
                    let text = "check cluster.tls and the credentials in the configuration";
                    return Err(Failure::new(FAILURE, format_args!("cannot connect: {e}; {text}")));
                }
            }
        }
    }

    /// Refuse servers that are known to lose what they acknowledged.
    pub fn check_version(&self, allow_old: bool) -> Result<()> {
        let version = self.client.server_info().version;
        if version_of(&version).is_some_and(|v| v >= OLDEST) {
            return Ok(());
        }
        let text =
            format!("the server is nats-server {version}, older than {}.{}", OLDEST.0, OLDEST.1);
        if allow_old {
            tracing::warn!(
                version,
                "{text}: known faults of JetStream may lose or reorder messages"
            );
            return Ok(());
        }
        let remedy = "upgrade it, or set cluster.allow_old_server";
        Err(Failure::new(REFUSED, format_args!("{text}: {remedy}")))
    }

    /// After trouble that does not pass: perhaps this node is cut off, and the others go on without it.
    pub async fn try_another(&self, attempts: u32) {
        if attempts % ELSEWHERE == 0 && self.is_connected() {
            tracing::warn!(attempts, "trying another node");
            // It fails where the connection is closed, which shows anyway.
            let _ = self.client.force_reconnect().await;
        }
    }

    /// Ends when a connection that is lost is there again; while it is there, never.
    pub async fn back(&self) {
        if self.is_connected() {
            std::future::pending::<()>().await;
        }
        let mut turns = self.turns.clone();
        // What tells of the loss may be a moment behind it.
        let again = async {
            let lost = turns.wait_for(|turn| turn % 2 == 1).await.is_ok();
            lost && turns.wait_for(|turn| turn % 2 == 0).await.is_ok()
        };
        if !again.await {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

fn version_of(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn note(event: Event, turn: &watch::Sender<u64>, metrics: &Metrics) {
    match event {
        Event::Connected => {
            metrics.connected.set(1);
            turn.send_modify(|turn| *turn += *turn % 2);
            tracing::info!("connected");
        }
        Event::Disconnected => {
            metrics.connected.set(0);
            metrics.reconnects.add(1);
            turn.send_modify(|turn| *turn += 1 - *turn % 2);
            tracing::warn!("connection lost");
        }
        Event::ServerError(e) => tracing::warn!(error = %e, "the server says"),
        Event::ClientError(e) => tracing::warn!(error = %e, "the connection says"),
        other => tracing::info!(event = %other, "the connection changes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, version) in [
            ("2.15.1", Some((2, 15))),
            ("2.9.10", Some((2, 9))),
            ("2.12.0-RC.1", Some((2, 12))),
            ("next", None),
        ] {
            assert_eq!(version_of(text), version, "{text}");
        }
        assert!(version_of("2.9.10") < Some(OLDEST));
    }
}
