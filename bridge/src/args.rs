//! The command line.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_mangen::roff::{line_break, roman, Roff};

use crate::forward::Behind;

const EXIT_CODES: &str = "Exit codes:
  0  asked to end, and everything that was read is stored and acknowledged
     (or the time for that was over: then it stays in the channel)
  1  failed
  2  wrong arguments or configuration
  3  refused: a stream, server or setting that cannot keep the promise
  4  fenced out: another bridge has taken over; do not restart
  5  the cluster is behind what was acknowledged: somebody has to decide";

const CONFIGURATION: &str = "A TOML file. The least: [channel] path; [cluster] servers, a list such as \
    [\"nats://b:4222\"]; [stream] name. docs/CLUSTER.md of the sources lists every key with its default, \
    and says what is promised, what travels, and what to do when the bridge ends.";

const DECISIONS: &str = "forward --when-behind says what to do when the cluster lacks what was acknowledged to the \
    channel: stop (exit status 5, the default), resend (send again what the channel still has), or skip (leave the \
    gap, and go on after what was acknowledged).";

const SIGNALS: &str =
    "SIGTERM and SIGINT: read nothing more, wait for what is in flight (forward.drain_timeout), \
    end; a second one ends at once. Nothing is lost by SIGKILL.";

/// A channel of disk_chan into a NATS JetStream stream, and back
#[derive(Parser)]
#[command(name = "disk-chan-bridge", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration, a TOML file
    #[arg(long, global = true, default_value = "/etc/disk-chan-bridge.toml")]
    pub config: PathBuf,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long, global = true)]
    pub check: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// The channel's messages into the stream, effectively once and in order
    Forward {
        /// What to do when the cluster lacks what was acknowledged to the channel
        #[arg(long, value_enum, default_value_t)]
        when_behind: Behind,
    },
    /// The stream's messages into the channel, effectively once and in order
    Fetch,
    /// Print the manual page
    Man,
}

/// The manual page, in roff.
pub fn man() -> std::io::Result<Vec<u8>> {
    let lines = EXIT_CODES.lines().skip(1).flat_map(|line| [roman(line), line_break()]);
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]).text(lines.collect::<Vec<_>>());
    rest.control("SH", ["CONFIGURATION"]).text([roman(CONFIGURATION)]);
    rest.control("SH", ["DECISIONS"]).text([roman(DECISIONS)]);
    rest.control("SH", ["SIGNALS"]).text([roman(SIGNALS)]);
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command().after_help("")).section("1").render(&mut text)?;
    rest.to_writer(&mut text)?;
    Ok(text)
}

impl Command {
    pub fn name(&self) -> &'static str {
        match self {
            Command::Forward { .. } => "forward",
            Command::Fetch => "fetch",
            Command::Man => "man",
        }
    }
}
