//! disk-chan-bridge: from one machine to a cluster, a channel of disk_chan into a NATS JetStream stream, and back.
//!
//! `args` says what can be asked for, `config` what can be set; `forward` and `fetch` do it. `channel` is all that knows
//! the library, `cluster` and `stream` are the other side; `parcel` is what travels, `plan` what the bridge remembers.

mod args;
mod backoff;
mod channel;
mod cluster;
mod config;
mod fail;
mod fetch;
mod forward;
mod metrics;
mod parcel;
mod plan;
mod serve;
mod stop;
mod stream;
mod trailer;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::config::{Config, LogConfig, LogFormat, LogLevel};
use crate::fail::{Failure, Result};
use crate::metrics::Metrics;
use crate::stop::Stop;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Who cannot be told cannot be told.
            let text = format_args!("disk-chan-bridge: {}\n", failure.text);
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), text);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if let Command::Man = cli.command {
        let page =
            args::man().and_then(|page| std::io::Write::write_all(&mut std::io::stdout(), &page));
        return page.map_err(|e| Failure::io("cannot write the manual page", &e));
    }
    let config = Config::read(&cli.config)?;
    if cli.check {
        println!("{}: fine", cli.config.display());
        return Ok(());
    }
    log(&config.log);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::io("cannot start", &e))?;
    let ended = runtime.block_on(carry(cli.command, config));
    // What is left of a connection is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ended
}

async fn carry(command: Command, config: Config) -> Result<()> {
    let stop = Stop::watch()?;
    let metrics = Arc::new(Metrics::default());
    let direction = command.name();
    let labels = format!("direction=\"{direction}\",stream=\"{}\"", config.stream.name);
    serve::start(&config.serve, labels, metrics.clone()).await?;
    // While the cluster cannot be reached there is nothing to finish.
    let asked = stop.clone();
    match command {
        Command::Forward { when_behind } => {
            tokio::select! {
                opened = forward::Forward::open(config, when_behind, metrics, stop) => opened?.run().await,
                _ = asked.wanted() => Ok(()),
            }
        }
        Command::Man => Ok(()),
        Command::Fetch => {
            tokio::select! {
                opened = fetch::Fetch::open(config, metrics, stop) => opened?.run().await,
                _ = asked.wanted() => Ok(()),
            }
        }
    }
}

fn log(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    let to = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => to.with_ansi(false).init(),
        LogFormat::Json => to.json().init(),
    }
}
