//! A chart's legend: which names it has, and how they stand in rows.
//! Knows nothing of drawing.

use super::chart::{Chart, SeriesKind};
use super::colors::Color;
use super::words;

/// One name with the color and mark of its series.
#[derive(Clone)]
pub(crate) struct LegendEntry {
    /// As much of the name as there is room for.
    pub(crate) shown: String,
    pub(crate) name: String,
    /// None for what has no series.
    pub(crate) color: Option<Color>,
    pub(crate) mark: Option<usize>,
}

impl LegendEntry {
    /// With its mark, and the room to the next one; in heights of text.
    pub(crate) fn width(&self) -> f64 {
        MARK + words::width(&self.shown)
    }
}

/// Width of a mark and the room around it, in heights of text.
const MARK: f64 = 2.4;

/// Names in at most `most` rows no wider than `room` heights of text; long ones are shortened, and those that are left out are
/// counted. A single series needs no legend, nor does what looks like a series it is a part of ("run 1" and "run 1, round 2").
pub(crate) fn legend(chart: &Chart, room: f64, most: usize) -> Vec<Vec<LegendEntry>> {
    let mut entries: Vec<LegendEntry> = Vec::new();
    for series in chart
        .series
        .iter()
        .filter(|s| !s.name.is_empty() && s.kind != SeriesKind::Cells)
    {
        let mark = match series.kind {
            SeriesKind::Line => None,
            SeriesKind::Bars => Some(1),
            _ => Some(series.mark),
        };
        let is_said = |e: &LegendEntry| match series.name.strip_prefix(&e.name) {
            Some(rest) => {
                rest.is_empty() || (rest.starts_with(", ") && e.color == Some(series.color) && e.mark == mark)
            }
            None => false,
        };
        if !entries.iter().any(is_said) {
            entries.push(LegendEntry {
                shown: words::fit(&series.name, room - MARK),
                name: series.name.clone(),
                color: Some(series.color),
                mark,
            });
        }
    }
    if entries.len() < 2 {
        return Vec::new();
    }
    let all = entries.len();
    let mut rows: Vec<Vec<LegendEntry>> = Vec::new();
    let mut used = f64::MAX;
    for entry in entries {
        let width = entry.width();
        if used + width > room {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += width;
        if let Some(row) = rows.last_mut() {
            row.push(entry);
        }
    }
    if rows.len() > most {
        rows.truncate(most);
        count_rest(&mut rows, all, room);
    }
    rows
}

/// Puts "and 7 more" at the end, in place of as many names as that needs.
fn count_rest(rows: &mut [Vec<LegendEntry>], all: usize, room: f64) {
    loop {
        let left = all - rows.iter().map(Vec::len).sum::<usize>();
        let Some(last) = rows.last_mut() else { return };
        let text = format!("and {left} more");
        let rest = LegendEntry {
            shown: text.clone(),
            name: text,
            color: None,
            mark: None,
        };
        let used: f64 = last.iter().map(LegendEntry::width).sum();
        if used + rest.width() <= room || last.is_empty() {
            return last.push(rest);
        }
        last.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{ChartAxis, DataPoint, Series};

    fn chart(names: &[String]) -> Chart {
        let series = names.iter().enumerate().map(|(i, name)| {
            let series = Series::new(name, Color::Series(i), SeriesKind::Line);
            series.with([DataPoint::at(0.0, 1.0), DataPoint::at(1.0, 2.0)])
        });
        Chart {
            x: ChartAxis::new("x"),
            y: ChartAxis::new("y"),
            series: series.collect(),
            rules: Vec::new(),
            strip: None,
        }
    }

    #[test]
    fn names_of_any_length_and_number_stay_within_the_room() {
        let long: Vec<String> = (0..40).map(|i| format!("{} {i}", "W".repeat(i * 7))).collect();
        for (room, most) in [(40.0, 4), (12.0, 1), (3.0, 2), (200.0, 50)] {
            let rows = legend(&chart(&long), room, most);
            assert!(rows.len() <= most);
            let named = rows.iter().flatten().filter(|e| !e.name.starts_with("and ")).count();
            let rest = rows.iter().flatten().find(|e| e.name.starts_with("and "));
            assert!(rest.map_or(named == 40, |e| e.name == format!("and {} more", 40 - named)));
            for row in rows {
                let wide: f64 = row.iter().map(LegendEntry::width).sum();
                assert!(wide <= room + 1e-9 || row.len() == 1, "{wide} of {room}");
            }
        }
    }
}
