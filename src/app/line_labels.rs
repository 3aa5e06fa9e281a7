//! What lines and marks of a plot are called: names at the ends of lines, and a row of marks above it, in place of a legend that
//! covers points. Knows nothing of what is plotted.

use crate::theme::palette;
use crate::widgets;
use egui::{Align2, Color32, Pos2, Rect, Role, Sense, Stroke, Ui, pos2, vec2};
use egui_plot::{MarkerShape, PlotPoint, PlotTransform};
use view::text;

/// Height of a label, and how many there are at most.
const LABEL: f32 = 13.0;
const MOST_LABELS: usize = 12;
/// Letters of a label at most.
const LABEL_LETTERS: usize = 30;

/// Where a line ends in the plot, what it is called, and its color.
pub(crate) type LineLabel = ([f64; 2], String, Color32);

/// Names at the ends of lines, apart from each other, in place of a legend that covers points.
pub(crate) fn labels_ui(ui: &Ui, transform: &PlotTransform, labels: Vec<LineLabel>) {
    let frame = *transform.frame();
    let place = |at: [f64; 2]| transform.position_from_point(&PlotPoint::new(at[0], at[1]));
    // The open model, what is measured now, and the newest runs.
    let skipped = labels.len().saturating_sub(MOST_LABELS);
    let is_first = |i: usize| i < MOST_LABELS / 3 || i >= MOST_LABELS / 3 + skipped;
    let mut placed: Vec<(Pos2, String, Color32)> = labels
        .into_iter()
        .enumerate()
        .filter(|(i, (at, ..))| is_first(*i) && frame.expand(1.0).contains(place(*at)))
        .map(|(_, (at, words, color))| (place(at), text::cut(&words, LABEL_LETTERS), color))
        .collect();
    placed.sort_by(|a, b| a.0.y.total_cmp(&b.0.y));
    let mut taken: Vec<Rect> = Vec::new();
    for (at, words, color) in placed {
        let wide = widgets::widest(ui, std::iter::once(words.as_str()));
        // Beside the end where there is room, else before it and above the line.
        let is_beside = at.x + 8.0 + wide < frame.right();
        let left = if is_beside {
            at.x + 8.0
        } else {
            (frame.right() - wide - 4.0).max(frame.left())
        };
        let top = if is_beside {
            at.y - LABEL / 2.0
        } else {
            at.y - LABEL - 6.0
        };
        let mut rect = Rect::from_min_size(pos2(left, top.max(frame.top())), vec2(wide, LABEL));
        while let Some(other) = taken.iter().find(|other| other.intersects(rect)) {
            rect = rect.translate(vec2(0.0, other.bottom() + 0.5 - rect.top()));
        }
        if rect.bottom() > frame.bottom() {
            continue;
        }
        let behind = palette(ui).tile.gamma_multiply(0.8);
        ui.painter().rect_filled(rect.expand2(vec2(2.0, 0.0)), 2.0, behind);
        widgets::put(ui, rect.left_center(), Align2::LEFT_CENTER, words, color);
        taken.push(rect);
    }
}

/// A row that says what the marks of the plot below mean.
pub(crate) fn marks_key(ui: &mut Ui, marks: &[(&str, MarkerShape, Color32)]) {
    ui.horizontal_wrapped(|ui| marks_ui(ui, marks));
}

/// The same in a row that wraps. Mark and word are one piece, so that no line breaks between them.
pub(crate) fn marks_ui(ui: &mut Ui, marks: &[(&str, MarkerShape, Color32)]) {
    let p = palette(ui);
    let space = std::mem::replace(&mut ui.spacing_mut().item_spacing.x, 4.0);
    for (name, shape, color) in marks {
        let wide = 14.0 + widgets::widest(ui, std::iter::once(*name));
        let (rect, response) = ui.allocate_exact_size(vec2(wide + 8.0, LABEL), Sense::hover());
        widgets::name_widget(&response, Role::Label, &format!("mark: {name}"));
        let at = pos2(rect.left() + 5.0, rect.center().y);
        let (stroke, painter) = (Stroke::new(1.2, *color), ui.painter());
        match shape {
            MarkerShape::Cross => {
                for d in [vec2(3.0, 3.0), vec2(3.0, -3.0)] {
                    painter.line_segment([at - d, at + d], stroke);
                }
            }
            MarkerShape::Diamond | MarkerShape::Down | MarkerShape::Up => {
                let [top, side, bottom] = match shape {
                    MarkerShape::Diamond => [-4.5, 0.0, 4.5],
                    MarkerShape::Down => [-3.0, -3.0, 4.0],
                    _ => [-4.0, 3.0, 3.0],
                };
                let corners = [[0.0, top], [4.5, side], [0.0, bottom], [-4.5, side]];
                let corners = corners.map(|[x, y]| at + vec2(x, y)).to_vec();
                painter.add(egui::Shape::convex_polygon(corners, *color, Stroke::NONE));
            }
            _ => drop(painter.circle_filled(at, 3.2, *color)),
        }
        let left = pos2(rect.left() + 14.0, rect.center().y);
        widgets::put(ui, left, Align2::LEFT_CENTER, *name, p.weak);
    }
    ui.spacing_mut().item_spacing.x = space;
}
