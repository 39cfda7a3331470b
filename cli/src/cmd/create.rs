//! `create`: a new channel.

use disk_chan::raw::options::NEW;
use disk_chan::raw::{Channel, Options};

use super::{info, print_json};
use crate::args::Create;
use crate::fail::{Ended, Failure, FAILURE, OK};

/// `-EEXIST`, as the library says it.
const EXISTS: i32 = -17;

pub fn run(args: &Create) -> Ended {
    let path = &args.at.channel;
    let options = Options { flags: NEW, ..args.options.options() };
    let channel = Channel::open(path, &options).map_err(|e| match e.code() {
        EXISTS => {
            let text = format!("{} is a channel already, and was left as it is", path.display());
            Failure::new(FAILURE, text)
                .with_remedy("choose another path, or remove it by `disk-chan destroy`")
        }
        _ => Failure::from(e),
    })?;
    if args.json {
        return print_json(&info::Figures::of(&channel.stats()?));
    }
    Ok(OK)
}
