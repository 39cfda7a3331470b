//! How far long work has come, on standard error, and only where that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or a running count where the total is not known; nothing where nobody looks.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn of(what: &str, total: Option<u64>) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::none();
        }
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left")
            }
            None => (ProgressBar::no_length(), "{spinner} {msg} {human_pos}, {per_sec}, {elapsed}"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// Nothing is shown.
    pub fn none() -> Progress {
        Progress(ProgressBar::hidden())
    }

    pub fn add(&self, n: u64) {
        self.0.inc(n);
    }

    pub fn set(&self, n: u64) {
        self.0.set_position(n);
    }

    pub fn shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// Take it from the screen.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
