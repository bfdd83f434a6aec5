//! The picture of the run, as an SVG file: each allocator's heap when most was live, how the heaps filled
//! over time, and what the calls cost.
//!
//! ```text
//!   title
//!   ┌ Knoll ─────┐ ┌ newlib ────┐ ┌ newlib-nano ┐    maps: a row is 2 KB, a block is drawn to scale,
//!   │████ ▒▒ ███ │ │██ ▒ ██ ▒▒█ │ │█ ▒▒ ██ █ ▒▒ │    its colour tells its size
//!   └────────────┘ └────────────┘ └─────────────┘
//!   figures          figures        figures
//!   legend
//!   ┌ live bytes and reach, over the calls ─────┐ ┌ instructions ┐
//!   └───────────────────────────────────────────┘ └──────────────┘
//! ```

use super::execute::{Counts, Measured};
use super::log::Moment;
use super::map::{HeapMap, Span, State};
use super::tables::{grouped, kilobytes, KINDS};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;
use svg::node::element::{self, Circle, Group, Line, Rectangle, Text};
use svg::Document;

/// One allocator's part of the picture.
pub struct Panel {
    pub name: &'static str,
    pub map: HeapMap,
    pub timeline: Vec<Moment>,
    pub measured: Measured,
    /// What one malloc could still give.
    pub largest: u64,
    pub smallest: Option<usize>,
}

/// What the picture is of.
pub struct Caption {
    pub title: String,
    pub subtitle: String,
    /// After which call the maps are.
    pub event: usize,
    /// How many calls there were.
    pub events: usize,
}

const WIDTH: f64 = 1240.0;
const MARGIN: f64 = 56.0;
const GUTTER: f64 = 36.0;
const ROW_BYTES: u32 = 2048;
const ROW_HEIGHT: f64 = 4.0;

const PAPER: &str = "#fbf9f4";
const INK: &str = "#2b2d33";
const FAINT: &str = "#7a7d85";
const RULE: &str = "#ddd8cc";
const FREE: &str = "#efeadd";
const OWN: &str = "#20222b";
/// Blocks by size: up to so many bytes, colour, meaning.
const CLASSES: [(u32, &str, &str); 6] = [
    (16, "#184e49", "1 – 16 B"),
    (32, "#237a6b", "17 – 32 B"),
    (64, "#4aa785", "33 – 64 B"),
    (256, "#9cc98b", "65 – 256 B"),
    (1024, "#f0c05a", "257 B – 1 KB"),
    (u32::MAX, "#e2793f", "over 1 KB"),
];
/// Allocators in the charts, in the order of the panels.
const LINES: [&str; 3] = ["#237a6b", "#c4572e", "#5b5f97"];

/// Draws everything into one file.
pub fn draw(path: &Path, caption: &Caption, panels: &[Panel]) -> Result<()> {
    let count = panels.len().max(1) as f64;
    let map_width = (WIDTH - 2.0 * MARGIN - GUTTER * (count - 1.0)) / count;
    let rows = panels.iter().map(|panel| panel.map.capacity.div_ceil(ROW_BYTES)).max().unwrap_or(1);
    let map_height = f64::from(rows) * ROW_HEIGHT;
    let maps_top = 150.0;
    let legend_top = maps_top + map_height + 178.0;
    let charts_top = legend_top + 84.0;
    let height = charts_top + 270.0;

    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .set("width", WIDTH)
        .set("height", height)
        .set("font-family", "Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif")
        .add(Rectangle::new().set("width", WIDTH).set("height", height).set("fill", PAPER))
        .add(text(MARGIN, 58.0, 27.0, INK, &caption.title).set("font-weight", 700))
        .add(text(MARGIN, 84.0, 14.5, FAINT, &caption.subtitle));
    for (index, panel) in panels.iter().enumerate() {
        let left = MARGIN + index as f64 * (map_width + GUTTER);
        document = document.add(map(panel, left, maps_top, map_width, index));
        document = document.add(figures(panel, left, maps_top + map_height + 26.0, map_width));
    }
    document = document
        .add(addresses(maps_top, rows))
        .add(legend(legend_top))
        .add(timeline(panels, caption, MARGIN, charts_top, 690.0, 200.0))
        .add(costs(panels, MARGIN + 690.0 + 84.0, charts_top, WIDTH - 2.0 * MARGIN - 690.0 - 84.0, 200.0));
    svg::save(path, &document).with_context(|| format!("cannot write {}", path.display()))
}

fn text(x: f64, y: f64, size: f64, colour: &str, content: &str) -> Text {
    Text::new(content).set("x", round(x)).set("y", round(y)).set("font-size", size).set("fill", colour)
}

fn rule(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) -> Line {
    let line = Line::new().set("x1", round(x1)).set("y1", round(y1)).set("x2", round(x2)).set("y2", round(y2));
    line.set("stroke", colour).set("stroke-width", 1)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

// ---------------------------------------------------------------- maps

/// One allocator's heap: a row for each 2 KB, from the lowest address at the top.
fn map(panel: &Panel, left: f64, top: f64, width: f64, index: usize) -> Group {
    let height = f64::from(panel.map.capacity.div_ceil(ROW_BYTES)) * ROW_HEIGHT;
    let mut group = Group::new()
        .add(text(left, top - 16.0, 18.0, LINES[index % LINES.len()], panel.name).set("font-weight", 700))
        .add(text(left + width, top - 16.0, 13.0, FAINT, &sum(panel)).set("text-anchor", "end"))
        .add(
            Rectangle::new()
                .set("x", round(left))
                .set("y", top)
                .set("width", round(width))
                .set("height", height)
                .set("fill", FREE),
        );
    let own = panel.map.spans.iter().filter(|span| span.state == State::Own);
    group = group.add(shape(own, left, top, width, 0.0, OWN));
    let mut from = 0;
    for (to, colour, _) in CLASSES {
        let used = |span: &&Span| span.state == State::Used && span.size > from && span.size <= to;
        let shape = shape(panel.map.spans.iter().filter(used), left, top, width, 0.22, colour);
        group = group.add(shape);
        from = to;
    }
    group
}

fn sum(panel: &Panel) -> String {
    let facts = panel.map.facts();
    format!("{} blocks, {} live", grouped(facts.blocks.into()), kilobytes(facts.used.into()))
}

/// Spans as one path; `seam` pixels at the end of each are left out, so that neighbours stay apart.
fn shape<'a>(
    spans: impl Iterator<Item = &'a Span>,
    left: f64,
    top: f64,
    width: f64,
    seam: f64,
    colour: &str,
) -> element::Path {
    let scale = width / f64::from(ROW_BYTES);
    let bar = ROW_HEIGHT - 0.5;
    let mut data = String::new();
    for span in spans {
        let (mut at, end) = (span.offset, span.offset + span.size);
        while at < end {
            let row = at / ROW_BYTES;
            let stop = end.min((row + 1) * ROW_BYTES);
            let x = left + f64::from(at % ROW_BYTES) * scale;
            let long = f64::from(stop - at) * scale - if stop == end { seam } else { 0.0 };
            let y = top + f64::from(row) * ROW_HEIGHT;
            // Writing to a String cannot fail.
            let _ = write!(data, "M{} {}h{}v{bar}h-{}z", round(x), round(y), round(long), round(long));
            at = stop;
        }
    }
    element::Path::new().set("d", data).set("fill", colour)
}

/// Offsets in the heap, left of the first map.
fn addresses(top: f64, rows: u32) -> Group {
    let mut group = Group::new();
    for row in (0..=rows).step_by(32) {
        let y = top + f64::from(row) * ROW_HEIGHT;
        let label = format!("{} KB", row * (ROW_BYTES / 1024));
        group = group.add(text(MARGIN - 8.0, y + 4.0, 11.0, FAINT, &label).set("text-anchor", "end")).add(rule(
            MARGIN - 5.0,
            y,
            MARGIN - 1.0,
            y,
            FAINT,
        ));
    }
    group
}

/// The figures below a map.
fn figures(panel: &Panel, left: f64, top: f64, width: f64) -> Group {
    let facts = panel.map.facts();
    let pair = |counts: Counts| format!("{:.0} / {}", counts.mean, grouped(counts.worst));
    let mut lines = vec![
        ("largest block malloc could give", kilobytes(panel.largest)),
        ("free, in how many pieces", format!("{}, {}", kilobytes(facts.free.into()), facts.pieces)),
        ("the allocator's own: maps, headers", kilobytes(facts.own.into())),
        ("malloc, instructions: mean / worst", pair(panel.measured.malloc)),
        ("free, instructions: mean / worst", pair(panel.measured.free)),
    ];
    if let Some(smallest) = panel.smallest {
        lines.push(("smallest heap for this script", kilobytes(smallest as u64)));
    }
    let mut group = Group::new();
    for (index, (name, value)) in lines.iter().enumerate() {
        let y = top + index as f64 * 22.0;
        group = group
            .add(text(left, y, 13.0, FAINT, name))
            .add(text(left + width, y, 13.5, INK, value).set("text-anchor", "end").set("font-weight", 600))
            .add(rule(left, y + 6.5, left + width, y + 6.5, RULE));
    }
    group
}

fn legend(top: f64) -> Group {
    let mut group = Group::new().add(text(MARGIN, top + 11.0, 13.0, INK, "A row is 2 KB. Live blocks by size:"));
    let mut x = MARGIN + 236.0;
    let classes = CLASSES.iter().map(|&(_, colour, meaning)| (colour, meaning));
    for (colour, meaning) in classes.chain([(OWN, "the allocator's own"), (FREE, "free")]) {
        group = group
            .add(
                Rectangle::new()
                    .set("x", x)
                    .set("y", top)
                    .set("width", 14)
                    .set("height", 14)
                    .set("rx", 2)
                    .set("fill", colour)
                    .set("stroke", if colour == FREE { RULE } else { colour }),
            )
            .add(text(x + 20.0, top + 11.5, 12.5, INK, meaning));
        x += 34.0 + meaning.chars().count() as f64 * 6.9;
    }
    group
}

// ---------------------------------------------------------------- charts

/// Live bytes as an area, and for each allocator how far up its heap is in use.
fn timeline(panels: &[Panel], caption: &Caption, left: f64, top: f64, width: f64, height: f64) -> Group {
    let capacity = panels.iter().map(|panel| panel.map.capacity).max().unwrap_or(1);
    let events = caption.events.max(1) as f64;
    let x = |event: usize| left + event as f64 / events * width;
    let y = |bytes: u32| top + height - f64::from(bytes) / f64::from(capacity) * height;
    let mut group = Group::new().add(
        text(left, top - 22.0, 15.0, INK, "How the heap filled: live bytes, and how far up each heap is in use")
            .set("font-weight", 600),
    );
    for quarter in 0..=4u32 {
        let bytes = capacity / 4 * quarter;
        let label = format!("{} KB", bytes / 1024);
        group = group
            .add(rule(left, y(bytes), left + width, y(bytes), RULE))
            .add(text(left - 8.0, y(bytes) + 4.0, 11.0, FAINT, &label).set("text-anchor", "end"));
    }
    if let Some(panel) = panels.first() {
        let mut data = format!("M{} {}", round(left), round(top + height));
        for moment in &panel.timeline {
            let _ = write!(data, "L{} {}", round(x(moment.event)), round(y(moment.live)));
        }
        let _ = write!(data, "L{} {}z", round(left + width), round(top + height));
        group = group.add(element::Path::new().set("d", data).set("fill", "#cfe3d4"));
    }
    for (index, panel) in panels.iter().enumerate().rev() {
        let mut data = String::new();
        for (number, moment) in panel.timeline.iter().enumerate() {
            let command = if number == 0 { 'M' } else { 'L' };
            let _ = write!(data, "{command}{} {}", round(x(moment.event)), round(y(moment.reach)));
        }
        let colour = LINES[index % LINES.len()];
        let line = element::Path::new().set("d", data).set("fill", "none").set("stroke", colour);
        group = group.add(line.set("stroke-width", 1.8).set("stroke-linejoin", "round"));
    }
    let peak = x(caption.event);
    group = group
        .add(rule(peak, top, peak, top + height, INK).set("stroke-dasharray", "3 3"))
        .add(text(peak - 6.0, top + height - 8.0, 11.5, INK, "the maps above").set("text-anchor", "end"));
    for quarter in 0..=4usize {
        let event = caption.events / 4 * quarter;
        let anchor = ["start", "middle", "middle", "middle", "end"][quarter];
        let label =
            if quarter == 4 { format!("{} calls", grouped(caption.events as u64)) } else { grouped(event as u64) };
        group = group.add(text(x(event), top + height + 18.0, 11.0, FAINT, &label).set("text-anchor", anchor));
    }
    group.add(key(panels, left, top + height + 42.0))
}

fn key(panels: &[Panel], left: f64, y: f64) -> Group {
    let mut group = Group::new()
        .add(
            Rectangle::new()
                .set("x", left)
                .set("y", round(y - 9.0))
                .set("width", 18)
                .set("height", 10)
                .set("fill", "#cfe3d4"),
        )
        .add(text(left + 25.0, y, 12.5, INK, "live bytes"));
    let mut x = left + 112.0;
    for (index, panel) in panels.iter().enumerate() {
        let line = rule(x, y - 4.0, x + 18.0, y - 4.0, LINES[index % LINES.len()]);
        group = group.add(line.set("stroke-width", 2.4)).add(text(x + 25.0, y, 12.5, INK, panel.name));
        x += 48.0 + panel.name.chars().count() as f64 * 7.4;
    }
    group
}

/// Instructions of each call on a logarithmic scale: mean, p99 and worst.
fn costs(panels: &[Panel], left: f64, top: f64, width: f64, height: f64) -> Group {
    let worst = panels.iter().flat_map(|panel| KINDS.map(|(_, counts)| counts(&panel.measured).worst)).max();
    let decades = (worst.unwrap_or(1).max(100) as f64).log10().ceil();
    let axis = left + 62.0;
    let x = |count: f64| axis + (count.max(10.0).log10() - 1.0) / (decades - 1.0) * (width - 62.0);
    let mut group =
        Group::new().add(text(left, top - 22.0, 15.0, INK, "Instructions of a call").set("font-weight", 600));
    for decade in 1..=decades as u32 {
        let count = 10u64.pow(decade);
        group = group
            .add(rule(x(count as f64), top, x(count as f64), top + height, RULE))
            .add(text(x(count as f64), top + height + 18.0, 11.0, FAINT, &grouped(count)).set("text-anchor", "middle"));
    }
    let band = height / KINDS.len() as f64;
    for (row, (name, counts)) in KINDS.iter().enumerate() {
        let middle = top + (row as f64 + 0.5) * band;
        group = group.add(text(left, middle + 4.0, 13.0, INK, name));
        for (index, panel) in panels.iter().enumerate() {
            let colour = LINES[index % LINES.len()];
            let y = middle + (index as f64 - (panels.len() as f64 - 1.0) / 2.0) * 16.0;
            let counts = counts(&panel.measured);
            let (mean, p99, worst) = (x(counts.mean), x(counts.p99 as f64), x(counts.worst as f64));
            group = group
                .add(rule(mean, y, worst, y, colour).set("stroke-width", 1.6))
                .add(rule(p99, y - 5.0, p99, y + 5.0, colour).set("stroke-width", 1.8))
                .add(Circle::new().set("cx", round(mean)).set("cy", round(y)).set("r", 4.2).set("fill", colour))
                .add(
                    Circle::new()
                        .set("cx", round(worst))
                        .set("cy", round(y))
                        .set("r", 3.8)
                        .set("fill", PAPER)
                        .set("stroke", colour)
                        .set("stroke-width", 1.8),
                );
        }
    }
    let y = top + height + 42.0;
    group
        .add(Circle::new().set("cx", left + 5.0).set("cy", y - 4.0).set("r", 4.2).set("fill", FAINT))
        .add(text(left + 15.0, y, 12.5, INK, "mean"))
        .add(rule(left + 66.0, y - 9.0, left + 66.0, y + 1.0, FAINT).set("stroke-width", 1.8))
        .add(text(left + 74.0, y, 12.5, INK, "p99"))
        .add(
            Circle::new()
                .set("cx", left + 121.0)
                .set("cy", y - 4.0)
                .set("r", 3.8)
                .set("fill", PAPER)
                .set("stroke", FAINT)
                .set("stroke-width", 1.8),
        )
        .add(text(left + 131.0, y, 12.5, INK, "worst"))
}
