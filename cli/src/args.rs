//! What can be asked for on the command line.

mod options;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

pub use self::options::{ChannelOptions, Cut, CutOptions, Durability, Shape, ShapeOptions};
use crate::units;

/// The end of every help text, and of the manual.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; standard error says why and what to do
  2    the command line is wrong, or something has to be confirmed
  3    nothing to receive, or not all within the timeout
  4    something is damaged: a message, a structure of the channel, a stream
  130  ended by Ctrl-C (128 + the signal's number); nothing is lost: see `send` and `recv`
When the reader of a pipe has left (`| head`), commands that print messages end quietly with 0.";

/// Channels on disk, from the shell: make them, send, receive, watch, check, copy.
#[derive(Parser)]
#[command(name = "disk-chan", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make a new channel; refuse a directory that is one already
    Create(Create),
    /// Show what a channel is and what it holds
    Info(Show),
    /// Show every group: its consumers, position, lag and losses
    Groups(Show),
    /// Send lines, records or files as messages
    #[command(after_long_help = SEND_HELP)]
    Send(Send),
    /// Receive as a consumer of a group; acknowledge what has been written
    #[command(after_long_help = RECV_HELP)]
    Recv(Recv),
    /// Print the last messages without taking them from anybody
    Tail(Tail),
    /// Print every message kept without taking them from anybody
    Cat(Cat),
    /// Move a group to another place
    Seek(Seek),
    /// Delete a group that has no consumers
    DeleteGroup(DeleteGroup),
    /// Check every structure and checksum; change nothing
    Verify(Show),
    /// Write every message kept to a stream that `import` reads
    Export(Export),
    /// Send the messages of an exported stream
    Import(Import),
    /// Measure how fast a channel is in this directory
    Bench(Bench),
    /// Watch a channel: rates, groups, pages, participants
    Top(Top),
    /// Remove a channel and all its messages
    Destroy(Destroy),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, of one command where it is named
    Man {
        command: Option<String>,
        /// Write the page of each command to this directory instead
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "command", value_hint = ValueHint::DirPath)]
        all: Option<PathBuf>,
    },
}

const SEND_HELP: &str = "\
A last line that no newline ends is a message too. A carriage return belongs to its message.

On Ctrl-C nothing more is read; whole messages that were read are sent, as long as there is room within two
seconds, and what was read and not sent is reported by count. A second Ctrl-C ends at once, with the same report.

`disk-chan --help` lists the exit codes.";

const RECV_HELP: &str = "\
A message is acknowledged only after it was written and flushed: what a killed, interrupted or failed recv did
not write goes to the group's next consumer. Killed between writing and acknowledging, it is written again.

In lines, a message that holds newlines is written as it is, takes several lines, and is warned of once; the
other formats keep it whole. Without --follow and --timeout, what is there is received and nothing waited for.

`disk-chan --help` lists the exit codes.";

/// A path to a channel.
#[derive(Args)]
pub struct At {
    /// Directory of the channel
    #[arg(value_hint = ValueHint::DirPath)]
    pub channel: PathBuf,
}

#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub options: ChannelOptions,
    /// Print the new channel's figures as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    pub at: At,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Send {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub cut: CutOptions,
    /// Send each of these files as one message, instead of standard input
    #[arg(long, num_args = 1.., value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with_all = ["nul", "length_prefixed", "escape"])]
    pub file: Vec<PathBuf>,
    /// Wait for room so long at most; default: for ever
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Return only when all that was sent is on stable storage
    #[arg(long)]
    pub sync: bool,
    /// What a power cut may take; of this run, not of the channel
    #[arg(long, value_enum)]
    pub durability: Option<Durability>,
}

#[derive(Args)]
pub struct Recv {
    #[command(flatten)]
    pub at: At,
    /// Name of the group; made where there is none
    pub group: OsString,
    #[command(flatten)]
    pub shape: ShapeOptions,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Wait so long for each next message
    #[arg(long, value_parser = units::duration, value_name = "TIME", conflicts_with = "follow")]
    pub timeout: Option<Duration>,
    /// Wait for ever
    #[arg(short, long)]
    pub follow: bool,
    /// Where a new group starts: earliest, latest, last:N or a position
    #[arg(long, value_parser = units::place, default_value = "earliest", value_name = "PLACE")]
    pub start: u64,
    /// Messages written before one acknowledgement, at most
    #[arg(long, default_value_t = 255, value_parser = clap::value_parser!(u32).range(1..=255), value_name = "N")]
    pub batch: u32,
    /// Messages claimed ahead of need (1: none); default: the library's choice
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=255), value_name = "N")]
    pub prefetch: Option<u32>,
    /// Messages held unacknowledged at most; default 1,024
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096), value_name = "N")]
    pub max_unacked: Option<u32>,
}

#[derive(Args)]
pub struct Tail {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub shape: ShapeOptions,
    /// How many messages from the end
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    pub count: u32,
    /// Go on with what is sent from now on
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args)]
pub struct Cat {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub shape: ShapeOptions,
    /// Go on with what is sent from now on
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args)]
pub struct Seek {
    #[command(flatten)]
    pub at: At,
    /// Name of the group
    pub group: OsString,
    /// Where to: earliest, latest, last:N or a position
    #[arg(value_parser = units::place, value_name = "PLACE")]
    pub to: u64,
    /// Make the group where there is none
    #[arg(long)]
    pub create: bool,
}

#[derive(Args)]
pub struct DeleteGroup {
    #[command(flatten)]
    pub at: At,
    /// Name of the group
    pub group: OsString,
}

#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    pub at: At,
    /// Where to write; default: standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    pub at: At,
    /// What to read; default: standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub input: Option<PathBuf>,
    /// Make the channel, as the exported one was
    #[arg(long)]
    pub create: bool,
    /// Leave out the first N messages, which an earlier import has taken
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub skip: u64,
    /// Wait for room so long at most; default: for ever
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Return only when all that was sent is on stable storage
    #[arg(long)]
    pub sync: bool,
}

#[derive(Args)]
pub struct Bench {
    /// Where to make a channel for the time being
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// Bytes of a message
    #[arg(long, default_value = "100", value_parser = units::size, value_name = "BYTES")]
    pub size: u64,
    /// How long to measure in all
    #[arg(long, default_value = "10s", value_parser = units::duration, value_name = "TIME")]
    pub time: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Top {
    #[command(flatten)]
    pub at: At,
    /// Time between two looks
    #[arg(short, long, default_value = "1s", value_parser = units::duration, value_name = "TIME")]
    pub interval: Duration,
}

#[derive(Args)]
pub struct Destroy {
    #[command(flatten)]
    pub at: At,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
