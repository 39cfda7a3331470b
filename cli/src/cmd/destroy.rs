//! `destroy`: remove a channel, after asking.

use std::io::{self, BufRead, IsTerminal};

use disk_chan::raw::Channel;

use super::open_to_look;
use crate::args::Destroy;
use crate::fail::{Ended, Failure, FAILURE, OK, USAGE};
use crate::units::messages;

pub fn run(args: &Destroy) -> Ended {
    let path = &args.at.channel;
    if !args.yes {
        if !io::stdin().is_terminal() {
            let text = "destroy has nobody to ask, and removed nothing: say --yes";
            return Err(Failure::new(USAGE, text));
        }
        let held = match open_to_look(path).and_then(|c| Ok(c.stats()?)) {
            Ok(info) => messages(info.messages),
            // A damaged channel can be destroyed as well.
            Err(failure) => failure.text,
        };
        eprint!("Remove {} ({held}) for good? [y/N] ", path.display());
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|e| Failure::io("cannot read the answer", &e))?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::new(FAILURE, "nothing was removed"));
        }
    }
    Channel::destroy(path)?;
    Ok(OK)
}
