//! `top`: a channel live, on the whole screen.
//!
//! `sample` takes the figures and makes rates of them (`sent` of what was sent), `view` draws them; here is the loop that looks, draws and
//! listens to keys.

mod sample;
mod sent;
mod sort;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use self::sample::{Group, Sampler};
use self::sort::Sort;
use crate::args::Top;
use crate::cmd::open_to_look;
use crate::fail::{Ended, Failure, Result, OK, USAGE};
use crate::signals::Stop;

/// What the user has chosen.
pub struct Screen {
    sort: Sort,
    reversed: bool,
    /// The group under the cursor, by its place in the table.
    selected: usize,
    help: bool,
    paused: bool,
    interval: Duration,
}

pub fn run(args: &Top) -> Ended {
    let channel = open_to_look(&args.at.channel)?;
    if !std::io::stdout().is_terminal() {
        let text =
            "top draws on a terminal: `disk-chan info --json` and `groups --json` are for pipes";
        return Err(Failure::new(USAGE, text));
    }
    let mut sampler = Sampler::new(channel, &args.at.channel)?;
    let stop = Arc::new(Stop::watch(ratatui::restore)?);
    end_when_stuck(stop.clone());
    let mut screen = Screen {
        sort: Sort::Name,
        reversed: false,
        selected: 0,
        help: false,
        paused: false,
        interval: args.interval.clamp(Duration::from_millis(100), Duration::from_secs(60)),
    };
    let mut terminal =
        ratatui::try_init().map_err(|e| Failure::io("cannot use this terminal", &e))?;
    let ended = watch(&mut terminal, &mut sampler, &mut screen, &stop);
    ratatui::restore();
    ended.map(|()| stop.code(OK))
}

/// Whoever reads keys of a terminal that is gone reads its end, again and again, and never comes back to look at
/// the wish to end.
fn end_when_stuck(stop: Arc<Stop>) {
    std::thread::spawn(move || {
        while !stop.wanted() {
            std::thread::sleep(Duration::from_millis(200));
        }
        std::thread::sleep(Duration::from_secs(1));
        ratatui::restore();
        std::process::exit(stop.code(OK).into());
    });
}

fn watch(
    terminal: &mut DefaultTerminal,
    sampler: &mut Sampler,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<()> {
    let failed = |e: std::io::Error| Failure::io("cannot use this terminal", &e);
    let mut next = Instant::now();
    while !stop.wanted() {
        if Instant::now() >= next && !screen.paused {
            let begun = Instant::now();
            sampler.look()?;
            // A channel of very many pages takes its time to count: never spend most of it on that.
            next = begun + screen.interval.max(begun.elapsed() * 4);
        }
        let mut groups: Vec<&Group> = sampler.groups.iter().collect();
        screen.sort.apply(&mut groups, screen.reversed);
        screen.selected = screen.selected.min(groups.len().saturating_sub(1));
        terminal.draw(|frame| view::draw(frame, sampler, &groups, screen)).map_err(failed)?;
        let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        if event::poll(wait.max(Duration::from_millis(1))).map_err(failed)? {
            if let Event::Key(key) = event::read().map_err(failed)? {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                let ends = key.code == KeyCode::Char('q')
                    || (control && key.code == KeyCode::Char('c'))
                    || (key.code == KeyCode::Esc && !screen.help);
                if key.kind == KeyEventKind::Press {
                    if ends {
                        return Ok(());
                    }
                    pressed(screen, key.code);
                }
            }
        }
    }
    Ok(())
}

fn pressed(screen: &mut Screen, key: KeyCode) {
    match key {
        KeyCode::Char('?' | 'h') => screen.help = !screen.help,
        KeyCode::Esc => screen.help = false,
        KeyCode::Up | KeyCode::Char('k') => screen.selected = screen.selected.saturating_sub(1),
        // Held to the number of groups when it is drawn.
        KeyCode::Down | KeyCode::Char('j') => screen.selected = screen.selected.saturating_add(1),
        KeyCode::Right => screen.sort = screen.sort.step(1),
        KeyCode::Left => screen.sort = screen.sort.step(Sort::ALL.len() - 1),
        KeyCode::Char('r') => screen.reversed = !screen.reversed,
        KeyCode::Char('p' | ' ') => screen.paused = !screen.paused,
        KeyCode::Char('+') => {
            screen.interval = (screen.interval / 2).max(Duration::from_millis(100))
        }
        KeyCode::Char('-') => screen.interval = (screen.interval * 2).min(Duration::from_secs(60)),
        _ => {}
    }
}
