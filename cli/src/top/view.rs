//! Drawing.

use std::collections::VecDeque;

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, TableState};
use ratatui::Frame;

use super::sample::{Group, Sampler};
use super::sort::Sort;
use super::Screen;
use crate::cmd::info::retention;
use crate::units::{bytes, count, short};

/// Widths of the columns of [`Sort::ALL`]; what is left is the sparkline's.
const WIDTHS: [u16; 7] = [20, 10, 8, 12, 9, 12, 9];

pub fn draw(frame: &mut Frame<'_>, s: &Sampler, groups: &[&Group], screen: &Screen) {
    let rows = [5, 3, 3].map(Constraint::Length).into_iter();
    let rows = rows.chain([Constraint::Min(3), Constraint::Length(1)]);
    let [head, flow, pages, table, foot] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Paragraph::new(figures(s)), head);
    let rates = last(&s.rates, flow.width.saturating_sub(2));
    let title = format!(" in {}/s, out {}/s ", short(s.rate_in()), short(s.rate_out));
    let block = Block::bordered().title(title);
    frame.render_widget(Sparkline::default().block(block).data(&rates).green(), flow);
    draw_pages(frame, s, pages);
    draw_groups(frame, groups, screen, table);
    let mode = if screen.paused { "  PAUSED" } else { "" };
    let keys = format!(
        " q quit  ? help  ↑↓ select  ←→ sort by {}  r reverse  p pause  +- every {:.1} s{mode}",
        screen.sort.title(),
        screen.interval.as_secs_f64()
    );
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(keys).style(reversed), foot);
    if screen.help {
        draw_help(frame);
    }
}

/// The lines at the top: what the channel is, what it holds, who is there.
fn figures(s: &Sampler) -> Vec<Line<'static>> {
    let i = &s.info;
    let name = Span::styled(format!("disk-chan top  {}", s.path.display()), Style::new().bold());
    let poisoned = match i.poisoned {
        0 => Span::raw(""),
        _ => Span::styled("  POISONED: a flush failed", Style::new().fg(Color::Red).bold()),
    };
    // Records whose owner is gone stay until somebody needs the place.
    let (dead, sleepers) = match s.participants {
        Some(p) => (
            p.records.saturating_sub(i.producers + i.consumers).to_string(),
            format!("{} asleep, {} waiting for room", p.sleeping, p.waiting),
        ),
        None => ("?".to_string(), "sleepers unknown".to_string()),
    };
    let durable = if i.durable >= i.end { "all" } else { "not all" };
    let kept = format!("{} ({})", count(i.messages), bytes(i.bytes));
    vec![
        Line::from(vec![name, poisoned]),
        Line::from(format!(
            "messages   {kept}, {} on disk, retention {}",
            bytes(i.disk_bytes),
            retention(i.retention)
        )),
        Line::from(format!(
            "live       {} producers, {} consumers; dead {dead}; {sleepers}",
            i.producers, i.consumers
        )),
        Line::from(format!(
            "positions  oldest {}  end {}  durable before {} ({durable})",
            i.oldest, i.end, i.durable
        )),
        Line::from(format!(
            "troubles   abandoned claims {}, machine crashes {}, torn by them {}",
            count(i.abandoned),
            i.recoveries,
            count(i.discarded)
        )),
    ]
}

/// A block for each page, as high as it is full.
fn draw_pages(frame: &mut Frame<'_>, s: &Sampler, area: Rect) {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let level = |fill: f64| LEVELS[(fill.clamp(0.0, 1.0) * 8.0).ceil() as usize];
    // Where they are too many, the newest.
    let skip = s.pages.len().saturating_sub(usize::from(area.width.saturating_sub(2)));
    let fills: String = s.pages.iter().skip(skip).map(|p| level(p.fill)).collect();
    let most = match s.info.max_pages {
        disk_chan::raw::options::UNLIMITED => "any number".to_string(),
        n => count(n),
    };
    let newest = match s.pages.last() {
        Some(p) => format!("the newest {:.0} % full", p.fill * 100.0),
        None => "none readable".to_string(),
    };
    let block = Block::bordered().title(format!(" pages {} of {most}, {newest} ", s.pages.len()));
    frame.render_widget(Paragraph::new(fills).block(block).cyan(), area);
}

fn draw_groups(frame: &mut Frame<'_>, groups: &[&Group], screen: &Screen, area: Rect) {
    let title = |sort: Sort| match sort == screen.sort {
        true => Span::styled(format!("{}*", sort.title()), Style::new().bold().underlined()),
        false => Span::raw(sort.title()),
    };
    let titles = Sort::ALL.map(|sort| match sort {
        Sort::Name => Line::from(title(sort)),
        _ => Line::from(title(sort)).right_aligned(),
    });
    let titles = titles.into_iter().chain([Line::from("lag of late")]);
    // A border each side, and a space before every column but the first.
    let taken = WIDTHS.iter().sum::<u16>() + WIDTHS.len() as u16 + 2;
    let left = area.width.saturating_sub(taken);
    let rows = groups.iter().map(|g| {
        let figures = [
            g.info.consumers.to_string(),
            short(g.rate),
            count(g.info.lag),
            count(g.info.unacked),
            count(g.info.redelivered),
            count(g.info.lost),
        ];
        let figures = figures.map(|f| Line::from(f).right_aligned());
        let cells = [Line::from(g.name.clone())].into_iter().chain(figures);
        Row::new(cells.chain([Line::from(line(&last(&g.lags, left)))]))
    });
    let widths = WIDTHS.map(Constraint::Length).into_iter().chain([Constraint::Min(0)]);
    let table = Table::new(rows, widths)
        .header(Row::new(titles))
        .block(Block::bordered().title(format!(" groups {} ", groups.len())))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default();
    state.select((!groups.is_empty()).then_some(screen.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

/// A sparkline of characters, in proportion to the largest of its values.
fn line(values: &[u64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let level = |v: &u64| LEVELS[(*v as f64 / most as f64 * 7.0).round() as usize];
    values.iter().map(level).collect()
}

/// The last values that a width has room for.
fn last(values: &VecDeque<u64>, width: u16) -> Vec<u64> {
    let skip = values.len().saturating_sub(usize::from(width));
    values.iter().skip(skip).copied().collect()
}

fn draw_help(frame: &mut Frame<'_>) {
    const TEXT: &str = "\
q, Esc, Ctrl-C   end
?, h             this help, on and off
↑ ↓ (k, j)       select a group
← →              sort by another column
r                the other way round
p, Space         pause
+ -              look more often, less often

in      messages sent, a second
out     messages received by all groups, a second
dead    killed participants whose places nobody has needed yet
asleep  consumers that wait for a message, by descriptor included
abandoned claims: messages begun by senders that were killed or
        stalled, and passed over";
    let area = frame.area();
    let (width, height) = (68.min(area.width), 17.min(area.height));
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    let area = Rect { x, y, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(TEXT).block(Block::bordered().title(" help ")), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines() {
        assert_eq!(line(&[0, 7, 14]), "▁▅█");
        assert_eq!(line(&[0, 0]), "▁▁");
        assert_eq!(line(&[]), "");
    }
}
