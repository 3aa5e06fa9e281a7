//! A figure as SVG, in points, so that text has the size that was asked for on paper.
//! Written by hand: a chart library would round to whole pixels and guess at text. Knows nothing of views.

use super::axis::{range, ticks};
use super::chart::{Chart, ChartAxis, DataPoint, Figure, Rule, Series, SeriesKind};
use super::colors::{Color, DARK, LIGHT, SurfaceColors, hex};
use super::legend::{LegendEntry, legend};
use super::strip;
use super::words;
use super::xml::{escape, num, put};
use serde::{Deserialize, Serialize};

/// How large, and on which surface.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Style {
    /// Width on paper.
    pub width_mm: f64,
    /// Height on paper.
    pub height_mm: f64,
    /// Size of text.
    pub font_pt: f64,
    /// Dots an inch, of a PNG.
    pub dpi: f64,
    /// On a dark surface.
    pub dark: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width_mm: 120.0,
            height_mm: 80.0,
            font_pt: 8.0,
            dpi: 300.0,
            dark: false,
        }
    }
}

impl Style {
    /// Width and height in points.
    pub fn points(&self) -> [f64; 2] {
        [self.width_mm, self.height_mm].map(|mm| mm * 72.0 / 25.4)
    }

    fn colors(&self) -> &'static SurfaceColors {
        if self.dark { &DARK } else { &LIGHT }
    }
}

/// Draws it.
pub fn svg(figure: &Figure, style: &Style) -> String {
    let [width, height] = style.points();
    let colors = style.colors();
    let mut out = String::new();
    let head = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{}mm" height="{}mm" viewBox="0 0 {} {}" font-family="Ubuntu, Helvetica, Arial, sans-serif" font-size="{}" role="img" aria-label="{}">"#,
        style.width_mm,
        style.height_mm,
        num(width),
        num(height),
        num(style.font_pt),
        escape(&figure.name)
    );
    out.push_str(&head);
    out.push('\n');
    let paper = hex(colors.paper);
    put(
        &mut out,
        format_args!(
            r#"<rect width="{}" height="{}" fill="{paper}"/>"#,
            num(width),
            num(height)
        ),
    );
    let each = height / figure.panels.len().max(1) as f64;
    for (i, chart) in figure.panels.iter().enumerate() {
        let place = Area {
            left: 0.0,
            top: each * i as f64,
            right: width,
            bottom: each * (i + 1) as f64,
        };
        match &chart.strip {
            Some(view) => strip::draw(&mut out, view, [0.0, place.top, width, each], style.font_pt, colors),
            None => ChartFrame::new(chart, place, style).draw(&mut out, chart),
        }
    }
    out.push_str("</svg>\n");
    out
}

#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// Where a panel's parts are, and how values become places.
struct ChartFrame {
    colors: &'static SurfaceColors,
    em: f64,
    plot: Area,
    x: [f64; 2],
    y: [f64; 2],
    legend: Vec<Vec<LegendEntry>>,
    top: f64,
    bottom: f64,
    left: f64,
}

/// Shares of a panel's width and height that names along its side, and its legend, may take.
const MOST_LABELS: f64 = 0.4;
const MOST_LEGEND: f64 = 0.35;

impl ChartFrame {
    fn new(chart: &Chart, place: Area, style: &Style) -> Self {
        let em = style.font_pt;
        let all = || chart.series.iter().flat_map(|s| &s.points);
        let x = range(&chart.x, all().map(|p| [p.x, p.x]), 0.02);
        let y = range(
            &chart.y,
            all().map(|p| [p.y - p.error.unwrap_or(0.0), p.y + p.error.unwrap_or(0.0)]),
            0.05,
        );
        let (wide, high) = (place.right - place.left, place.bottom - place.top);
        let shown = if chart.y.names.is_empty() {
            ticks(y, high / (2.4 * em)).into_iter().map(|t| t.1).collect()
        } else {
            chart.y.names.clone()
        };
        let labels = shown.iter().map(|text| words::width(text)).fold(1.0, f64::max);
        let title = if chart.y.label.is_empty() { 0.6 } else { 2.2 };
        let left = place.left + (em * (title + labels + 0.8)).min(wide * MOST_LABELS);
        let most_rows = (high * MOST_LEGEND / (1.5 * em)).max(1.0) as usize;
        let legend = legend(chart, (place.right - left) / em, most_rows);
        let mut plot = Area {
            left,
            top: place.top + em * (0.9 + 1.5 * legend.len() as f64),
            right: place.right - em * 1.2,
            bottom: place.bottom - em * 3.2,
        };
        // The last numbers below stand in the middle of their marks, and within the figure.
        let most = (plot.right - plot.left) / (5.0 * em);
        for (v, text) in chart.x.names.is_empty().then(|| ticks(x, most)).into_iter().flatten() {
            let (share, half) = ((v - x[0]) / (x[1] - x[0]), (words::width(&text) / 2.0 + 0.2) * em);
            let right = plot.left + (place.right - half - plot.left) / share.max(1e-9);
            plot.right = plot.right.min(right.max(plot.left + em));
        }
        Self {
            colors: style.colors(),
            em,
            plot,
            x,
            y,
            legend,
            top: place.top,
            bottom: place.bottom,
            left: place.left,
        }
    }

    fn at_x(&self, v: f64) -> f64 {
        self.plot.left + (v - self.x[0]) / (self.x[1] - self.x[0]) * (self.plot.right - self.plot.left)
    }

    fn at_y(&self, v: f64) -> f64 {
        self.plot.bottom - (v - self.y[0]) / (self.y[1] - self.y[0]) * (self.plot.bottom - self.plot.top)
    }

    fn draw(&self, out: &mut String, chart: &Chart) {
        self.axes(out, chart);
        for rule in &chart.rules {
            self.rule(out, rule);
        }
        let bars: Vec<&Series> = chart.series.iter().filter(|s| s.kind == SeriesKind::Bars).collect();
        for series in &chart.series {
            match series.kind {
                SeriesKind::Bars => {
                    let i = bars.iter().position(|b| std::ptr::eq(*b, series)).unwrap_or(0);
                    self.bars(out, series, i, bars.len());
                }
                SeriesKind::Cells => self.cells(out, series),
                _ => self.marks_and_line(out, series),
            }
        }
        self.draw_legend(out);
    }

    fn axes(&self, out: &mut String, chart: &Chart) {
        let Area {
            left,
            top,
            right,
            bottom,
        } = self.plot;
        let (em, weak, grid) = (self.em, hex(self.colors.weak), hex(self.colors.grid));
        put(out, format_args!(r#"<g stroke="{grid}" stroke-width="0.4">"#));
        let (xs, ys) = (
            self.ticks(&chart.x, self.x, (right - left) / (5.0 * em)),
            self.ticks(&chart.y, self.y, (bottom - top) / (2.4 * em)),
        );
        for (v, _) in xs.iter().filter(|_| chart.x.names.is_empty()) {
            let x = num(self.at_x(*v));
            put(out, format_args!(r#"<path d="M{x} {}V{}"/>"#, num(top), num(bottom)));
        }
        for (v, _) in ys.iter().filter(|_| chart.y.names.is_empty()) {
            let y = num(self.at_y(*v));
            put(out, format_args!(r#"<path d="M{} {y}H{}"/>"#, num(left), num(right)));
        }
        put(out, format_args!("</g>"));
        put(out, format_args!(r#"<g fill="{weak}">"#));
        let room = (right - left) / em / xs.len().max(1) as f64 - 0.4;
        for (v, name) in &xs {
            let (x, y) = (num(self.at_x(*v)), num(bottom + 1.2 * em));
            let words = if chart.x.names.is_empty() {
                escape(name)
            } else {
                shortened(name, room)
            };
            put(
                out,
                format_args!(r#"<text x="{x}" y="{y}" text-anchor="middle">{words}</text>"#),
            );
        }
        let room = (left - self.left) / em - if chart.y.label.is_empty() { 0.6 } else { 2.4 };
        for (v, name) in &ys {
            let (x, y) = (num(left - 0.5 * em), num(self.at_y(*v) + 0.35 * em));
            let words = shortened(name, room);
            put(
                out,
                format_args!(r#"<text x="{x}" y="{y}" text-anchor="end">{words}</text>"#),
            );
        }
        let (x, y) = (num((left + right) / 2.0), num(bottom + 2.6 * em));
        let words = shortened(&chart.x.label, (right - self.left) / em);
        put(
            out,
            format_args!(r#"<text x="{x}" y="{y}" text-anchor="middle">{words}</text>"#),
        );
        let (x, y) = (num(self.left + 1.2 * em), num((top + bottom) / 2.0));
        let words = shortened(&chart.y.label, (self.bottom - self.top) / em);
        put(
            out,
            format_args!(r#"<text transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{words}</text>"#),
        );
        put(out, format_args!("</g>"));
    }

    fn ticks(&self, axis: &ChartAxis, range: [f64; 2], most: f64) -> Vec<(f64, String)> {
        if axis.names.is_empty() {
            return ticks(range, most);
        }
        let each = (axis.names.len() as f64 / most.max(1.0)).ceil().max(1.0) as usize;
        let names = axis.names.iter().enumerate().step_by(each);
        names.map(|(i, name)| (i as f64, name.clone())).collect()
    }

    fn rule(&self, out: &mut String, rule: &Rule) {
        let Area {
            left,
            top,
            right,
            bottom,
        } = self.plot;
        let path = if rule.is_level {
            let y = num(self.at_y(rule.at));
            format!("M{} {y}H{}", num(left), num(right))
        } else {
            let x = num(self.at_x(rule.at));
            format!("M{x} {}V{}", num(top), num(bottom))
        };
        let weak = hex(self.colors.weak);
        let name = escape(&rule.name);
        put(
            out,
            format_args!(
                r#"<path d="{path}" stroke="{weak}" stroke-width="0.7" stroke-dasharray="3 2"><title>{name}</title></path>"#
            ),
        );
    }

    fn marks_and_line(&self, out: &mut String, series: &Series) {
        let color = self.colors.hex(series.color);
        let opacity = if series.is_faint { 0.35 } else { 1.0 };
        let width = if series.is_faint { 0.5 } else { 1.1 };
        put(
            out,
            format_args!(
                r#"<g fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round" opacity="{opacity}">"#
            ),
        );
        if !series.name.is_empty() {
            put(out, format_args!("<title>{}</title>", escape(&series.name)));
        }
        // What is not a number leaves a gap.
        let can = |p: &&DataPoint| p.x.is_finite() && p.y.is_finite();
        if series.kind != SeriesKind::Marks && series.points.len() > 1 {
            let mut joins = false;
            let steps = series.points.iter().map(|p| {
                let command = if std::mem::replace(&mut joins, can(&p)) {
                    'L'
                } else {
                    'M'
                };
                let step = || format!("{command}{} {}", num(self.at_x(p.x)), num(self.at_y(p.y)));
                can(&p).then(step).unwrap_or_default()
            });
            put(out, format_args!(r#"<path d="{}"/>"#, steps.collect::<String>()));
        }
        for p in series.points.iter().filter(can).filter(|p| p.error.is_some()) {
            self.error_bar(out, p);
        }
        // A line of one point would not be seen.
        if series.kind != SeriesKind::Line || series.points.len() == 1 {
            let size = if series.is_faint { 0.16 } else { 0.24 } * self.em;
            let marks = series
                .points
                .iter()
                .filter(can)
                .map(|p| mark(series.mark, self.at_x(p.x), self.at_y(p.y), size));
            put(
                out,
                format_args!(
                    r#"<path d="{}" fill="{color}" stroke="none"/>"#,
                    marks.collect::<String>()
                ),
            );
        }
        put(out, format_args!("</g>"));
    }

    fn error_bar(&self, out: &mut String, p: &DataPoint) {
        let error = p.error.unwrap_or(0.0);
        let at = |v: f64| self.at_y(v.clamp(self.y[0], self.y[1]));
        let (x, low, high) = (self.at_x(p.x), at(p.y - error), at(p.y + error));
        let cap = 0.22 * self.em;
        let [x0, x1] = [x - cap, x + cap].map(num);
        let (x, low, high) = (num(x), num(low), num(high));
        put(
            out,
            format_args!(r#"<path d="M{x} {low}V{high}M{x0} {low}H{x1}M{x0} {high}H{x1}"/>"#),
        );
    }

    fn bars(&self, out: &mut String, series: &Series, i: usize, of: usize) {
        let color = self.colors.hex(series.color);
        let unit = (self.at_x(1.0) - self.at_x(0.0)).abs() * 0.8;
        let wide = unit / of as f64;
        put(out, format_args!(r#"<g fill="{color}">"#));
        for p in series.points.iter().filter(|p| p.y.is_finite()) {
            let x = self.at_x(p.x) - unit / 2.0 + wide * i as f64;
            let (top, zero) = (self.at_y(p.y), self.at_y(0.0));
            put(
                out,
                format_args!(
                    r#"<rect x="{}" y="{}" width="{}" height="{}"/>"#,
                    num(x),
                    num(top.min(zero)),
                    num(wide * 0.94),
                    num((zero - top).abs())
                ),
            );
        }
        put(out, format_args!("</g>"));
    }

    /// Rows are stretched over the whole width, as on screen.
    fn cells(&self, out: &mut String, series: &Series) {
        let n = series.points.len().max(1) as f64;
        let (wide, tall) = (
            (self.plot.right - self.plot.left) / n,
            (self.at_y(1.0) - self.at_y(0.0)).abs(),
        );
        put(out, format_args!(r#"<g shape-rendering="crispEdges">"#));
        for (i, p) in series.points.iter().enumerate() {
            let color = self.colors.hex(Color::Heat(p.value as f32));
            let (x, y) = (self.plot.left + wide * i as f64, self.at_y(p.y) - tall * 0.46);
            put(
                out,
                format_args!(
                    r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{color}"/>"#,
                    num(x),
                    num(y),
                    num(wide + 0.05),
                    num(tall * 0.92)
                ),
            );
        }
        put(out, format_args!("</g>"));
    }

    fn draw_legend(&self, out: &mut String) {
        let em = self.em;
        let text = hex(self.colors.text);
        for (row, entries) in self.legend.iter().enumerate() {
            let y = self.top + em * (1.5 + 1.5 * row as f64);
            let mut x = self.plot.left;
            for entry in entries {
                let color = entry.color.map(|c| self.colors.hex(c));
                match (color, entry.mark) {
                    (Some(color), Some(number)) => {
                        let path = mark(number, x + 0.4 * em, y - 0.33 * em, 0.28 * em);
                        put(out, format_args!(r#"<path d="{path}" fill="{color}"/>"#));
                    }
                    (Some(color), None) => {
                        let (x0, y) = (num(x), num(y - 0.33 * em));
                        put(
                            out,
                            format_args!(
                                r#"<path d="M{x0} {y}h{}" stroke="{color}" stroke-width="1.4"/>"#,
                                num(0.9 * em)
                            ),
                        );
                    }
                    (None, _) => {}
                }
                let words = titled(&entry.shown, &entry.name);
                let (tx, ty) = (num(x + 1.2 * em), num(y));
                put(
                    out,
                    format_args!(r#"<text x="{tx}" y="{ty}" fill="{text}">{words}</text>"#),
                );
                x += entry.width() * em;
            }
        }
    }
}

/// Text in at most `room` heights of text; its whole is said where the pointer stands on it.
fn shortened(text: &str, room: f64) -> String {
    titled(&words::fit(text, room), text)
}

fn titled(shown: &str, whole: &str) -> String {
    if shown == whole {
        return escape(whole);
    }
    format!("{}<title>{}</title>", escape(shown), escape(whole))
}

/// The outline of a mark: circle, square, triangles and diamond, in the order of the window's.
fn mark(number: usize, x: f64, y: f64, r: f64) -> String {
    let corners = |at: &[[f64; 2]]| {
        let steps = at.iter().enumerate().map(|(i, [dx, dy])| {
            let command = if i == 0 { 'M' } else { 'L' };
            format!("{command}{} {}", num(x + dx * r), num(y + dy * r))
        });
        steps.collect::<String>() + "Z"
    };
    match number % 7 {
        0 => {
            let [x0, d, r] = [x - r, 2.0 * r, r].map(num);
            format!("M{x0} {}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z", num(y))
        }
        1 => corners(&[[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
        2 => corners(&[[0.0, -1.2], [1.1, 0.8], [-1.1, 0.8]]),
        3 => corners(&[[0.0, -1.3], [1.1, 0.0], [0.0, 1.3], [-1.1, 0.0]]),
        4 => corners(&[[0.0, 1.2], [1.1, -0.8], [-1.1, -0.8]]),
        5 => corners(&[[-1.2, 0.0], [0.8, -1.1], [0.8, 1.1]]),
        _ => corners(&[[1.2, 0.0], [-0.8, -1.1], [-0.8, 1.1]]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_needless_digits() {
        assert_eq!(
            [1.0, 1.25, 0.004, -0.001, 120.5].map(num),
            ["1", "1.25", "0", "0", "120.5"]
        );
    }

    #[test]
    fn names_are_escaped_and_every_series_has_its_line_in_the_legend() {
        let line = |name: &str, n| {
            Series::new(name, Color::Series(n), SeriesKind::LineAndMarks)
                .with([DataPoint::at(0.0, 1.0), DataPoint::at(1.0, 2.0)])
        };
        let chart = Chart {
            x: ChartAxis::new("x"),
            y: ChartAxis::new("y"),
            series: vec![
                line("a < b & c", 0),
                line("d", 1),
                line("d", 1),
                line("d, round 1", 1),
                line("d, e", 2),
            ],
            rules: Vec::new(),
            strip: None,
        };
        let figure = Figure {
            name: "test".into(),
            panels: vec![chart],
        };
        let text = svg(&figure, &Style::default());
        assert!(text.contains(">a &lt; b &amp; c</text>"), "{text}");
        assert_eq!(text.matches(">d</text>").count(), 1);
        assert!(text.contains(">d, e</text>"), "of another color");
        assert!(!text.contains(">d, round 1</text>"), "looks like d");
        assert_eq!(figure.points(), 10);
    }
}
