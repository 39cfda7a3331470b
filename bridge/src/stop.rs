//! SIGTERM and SIGINT as a wish to end: what is in flight is waited for.

use std::time::{Duration, Instant};

use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;

use crate::fail::{Failure, Result};

#[derive(Clone)]
pub struct Stop {
    since: watch::Receiver<Option<Instant>>,
}

impl Stop {
    /// From here on signals are noted; the second one ends the process at once, and nothing is lost by that.
    pub fn watch() -> Result<Stop> {
        let failed = |e: std::io::Error| Failure::io("cannot watch for signals", &e);
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
        let (wish, since) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                if wish.borrow().is_some() {
                    std::process::exit(130);
                }
                tracing::info!("asked to end");
                wish.send_replace(Some(Instant::now()));
            }
        });
        Ok(Stop { since })
    }

    pub fn is_wanted(&self) -> bool {
        self.since.borrow().is_some()
    }

    pub fn is_late(&self, after: Duration) -> bool {
        self.since.borrow().is_some_and(|since| since.elapsed() >= after)
    }

    /// Ends with the wish.
    pub async fn wanted(&self) {
        let _ = self.since.clone().wait_for(Option::is_some).await;
    }

    /// Ends so long after the wish.
    pub async fn late(&self, after: Duration) {
        self.wanted().await;
        let since = *self.since.borrow();
        if let Some(since) = since {
            tokio::time::sleep_until((since + after).into()).await;
        }
    }
}
