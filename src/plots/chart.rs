//! What a figure shows, as plain data: panels with axes, series and rules.
//! Knows nothing of views or of how it is drawn.

use super::colors::Color;
use serde::Serialize;
use view::NetworkView;

/// Panels above each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figure {
    /// What it is of; becomes part of the file's name.
    pub name: String,
    /// From the top.
    pub panels: Vec<Chart>,
}

impl Figure {
    /// Points in all panels.
    pub fn points(&self) -> usize {
        let series = self.panels.iter().flat_map(|c| &c.series);
        series.map(|s| s.points.len()).sum()
    }
}

/// One panel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chart {
    /// Along the bottom.
    pub x: ChartAxis,
    /// Along the side.
    pub y: ChartAxis,
    /// In the order in which they are drawn.
    pub series: Vec<Series>,
    /// Lines across the panel.
    pub rules: Vec<Rule>,
    /// A network that is drawn in place of axes; the series are its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<NetworkView>,
}

/// An axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChartAxis {
    /// What is counted, with its unit.
    pub label: String,
    pub(crate) include: Vec<f64>,
    pub(crate) within: Option<[f64; 2]>,
    /// Names of the values 0, 1, 2…; empty for numbers.
    pub names: Vec<String>,
    pub(crate) is_downward: bool,
}

impl ChartAxis {
    /// An axis of numbers.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::default()
        }
    }

    /// The same, with values that must be seen.
    pub fn including(mut self, values: &[f64]) -> Self {
        self.include = values.to_vec();
        self
    }

    /// The same, for values that cannot be smaller or larger: it ends there at the latest.
    pub(crate) fn within(mut self, ends: [f64; 2]) -> Self {
        self.within = Some(ends);
        self
    }

    /// The same, with values that rise downward.
    pub(crate) fn downward(mut self) -> Self {
        self.is_downward = true;
        self
    }

    pub(crate) fn of_names(label: impl Into<String>, names: Vec<String>) -> Self {
        Self {
            names,
            ..Self::new(label)
        }
    }
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SeriesKind {
    /// Joined.
    Line,
    /// As marks.
    Marks,
    /// Joined, with marks.
    LineAndMarks,
    /// Bars from zero, beside each other with those of other series.
    Bars,
    /// Cells of a heat map; the value is in [`DataPoint::value`].
    Cells,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Its name; series of one name share a line of the legend, those without have none.
    pub name: String,
    /// Its color.
    pub color: Color,
    /// How it is drawn.
    pub kind: SeriesKind,
    /// The number of its mark.
    pub mark: usize,
    pub(crate) is_faint: bool,
    /// Its points.
    pub points: Vec<DataPoint>,
}

impl Series {
    /// A series without points.
    pub fn new(name: impl Into<String>, color: Color, kind: SeriesKind) -> Self {
        Self {
            name: name.into(),
            color,
            kind,
            mark: 0,
            is_faint: false,
            points: Vec::new(),
        }
    }

    /// With these points.
    pub fn with(mut self, points: impl IntoIterator<Item = DataPoint>) -> Self {
        self.points = points.into_iter().collect();
        self
    }

    /// With another mark.
    pub fn marked(mut self, mark: usize) -> Self {
        self.mark = mark;
        self
    }

    /// Behind the others.
    pub fn faint(mut self) -> Self {
        self.is_faint = true;
        self
    }
}

/// One point.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DataPoint {
    /// Along the bottom.
    pub x: f64,
    /// Along the side.
    pub y: f64,
    /// Half the length of its error bar.
    pub error: Option<f64>,
    /// A cell's value, 0 to 1.
    pub value: f64,
    /// What else is known of it; only in tables.
    pub note: String,
}

impl DataPoint {
    /// A point of which nothing else is known.
    pub fn at(x: f64, y: f64) -> Self {
        Self {
            x,
            y,
            ..Self::default()
        }
    }

    /// With something else that is known.
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A line across the panel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// What it marks.
    pub name: String,
    /// From side to side; otherwise from bottom to top.
    pub(crate) is_level: bool,
    /// Where.
    pub at: f64,
}
