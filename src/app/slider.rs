//! The slider that a panel is about: wide, with its number beside it.
//! Knows nothing of what it moves.

use super::theme::palette;
use egui::{Slider, Ui};
use std::ops::RangeInclusive;

/// Whether it was moved. `names` are those of the slider and of its number, for those who cannot see it.
pub(crate) fn slider(
    ui: &mut Ui,
    value: &mut f64,
    range: RangeInclusive<f64>,
    [name, number]: [&str; 2],
    style: impl FnOnce(Slider<'_>) -> Slider<'_>,
) -> bool {
    let p = palette(ui);
    ui.spacing_mut().slider_width = (ui.available_width() - 58.0).max(80.0);
    let moved = ui.scope(|ui| {
        let visuals = ui.visuals_mut();
        visuals.selection.bg_fill = p.accent;
        for state in [
            &mut visuals.widgets.inactive,
            &mut visuals.widgets.hovered,
            &mut visuals.widgets.active,
        ] {
            state.fg_stroke.color = p.text;
        }
        let shown = style(Slider::new(value, range).smart_aim(false));
        let response = ui.name_inputs(number, |ui| ui.add(shown));
        let (enabled, now) = (ui.is_enabled(), *value);
        response.widget_info(|| egui::WidgetInfo::slider(enabled, now, name));
        // No hover text here: it would cover the numbers while they are being dragged. The label above has it.
        response.changed()
    });
    moved.inner
}
