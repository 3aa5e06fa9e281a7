//! The menu of every plot: copy its image or its data, or save it as SVG, PNG or CSV in the chosen size.
//! Knows nothing of what is plotted; the figure is drawn from the view that is on screen.

use super::effects::{Effects, SaveContent, Saving};
use super::state::UiState;
use super::widgets;
use egui::{ColorImage, DragValue, Role, Ui};
use plots::{Figure, Style, png, svg, table};

/// `figure` is called only when something is done with it.
pub(crate) fn figure_menu(
    ui: &mut Ui,
    name: &str,
    state: &mut UiState,
    effects: &mut Effects,
    figure: impl Fn() -> Figure,
) {
    menu_with_table(ui, name, state, effects, [&figure, &figure]);
}

/// The same for a plot that is thinned for drawing: a function for the drawing, and one for the table.
pub(crate) fn menu_with_table(
    ui: &mut Ui,
    name: &str,
    state: &mut UiState,
    effects: &mut Effects,
    [drawing, table]: [&dyn Fn() -> Figure; 2],
) {
    let button = egui::Button::new("…")
        .min_size(egui::vec2(22.0, 22.0))
        .frame_when_inactive(false);
    let (response, inner) = egui::containers::menu::MenuButton::from_button(button)
        .config(
            egui::containers::menu::MenuConfig::default().close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside),
        )
        .ui(ui, |ui| menu(ui, state));
    let label = format!("Save or copy {name}");
    widgets::name_widget(&response, Role::Button, &label);
    response.on_hover_text("Copy or save this figure");
    if let Some(wanted) = inner.and_then(|i| i.inner) {
        let figure = if wanted.is_table() { table() } else { drawing() };
        if let Err(e) = serve(ui.ctx(), wanted, &figure, state, effects) {
            state.toasts.fail(&e);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Copy,
    CopyData,
    Save(&'static str),
}

impl Wanted {
    fn is_table(self) -> bool {
        matches!(self, Self::CopyData | Self::Save("csv"))
    }
}

fn menu(ui: &mut Ui, state: &mut UiState) -> Option<Wanted> {
    ui.set_min_width(190.0);
    let mut wanted = None;
    let entries = [
        (Wanted::Copy, "Copy image"),
        (Wanted::CopyData, "Copy data"),
        (Wanted::Save("svg"), "Save SVG…"),
        (Wanted::Save("png"), "Save PNG…"),
        (Wanted::Save("csv"), "Save CSV…"),
    ];
    for (what, label) in entries {
        if ui.button(label).clicked() {
            wanted = Some(what);
            ui.close();
        }
    }
    ui.separator();
    let style = &mut state.figure_style;
    let field = |ui: &mut Ui, [word, name]: [&str; 2], value: &mut f64, most: f64, unit: &str| {
        widgets::quiet(ui, word);
        let field = DragValue::new(value).range(1.0..=most).speed(0.5).max_decimals(1);
        let field = field.suffix(unit);
        ui.name_inputs(name, |ui| ui.add(field)).on_hover_text(name);
    };
    ui.horizontal(|ui| {
        field(ui, ["width", "Width on paper"], &mut style.width_mm, 2000.0, " mm");
        field(ui, ["height", "Height on paper"], &mut style.height_mm, 2000.0, " mm");
    });
    ui.horizontal(|ui| {
        field(ui, ["text", "Size of text"], &mut style.font_pt, 200.0, " pt");
        field(
            ui,
            ["images", "Dots per inch, for images"],
            &mut style.dpi,
            2400.0,
            " dpi",
        );
    });
    widgets::choice(ui, &mut style.dark, &[(false, "For paper"), (true, "Dark")]);
    wanted
}

fn serve(
    ctx: &egui::Context,
    wanted: Wanted,
    figure: &Figure,
    state: &mut UiState,
    effects: &mut Effects,
) -> anyhow::Result<()> {
    let style = state.figure_style;
    match wanted {
        Wanted::CopyData => ctx.copy_text(table::csv(figure)),
        Wanted::Copy => {
            // A clipboard image is pasted into slides and chats: half of what is printed is enough.
            let style = Style {
                dpi: (style.dpi / 2.0).max(96.0),
                ..style
            };
            let image = png::pixels(&svg::svg(figure, &style), &style)?;
            ctx.copy_image(ColorImage::from_rgba_unmultiplied(image.size, &image.rgba));
            state.toasts.tell("Copied the image");
            image.undrawn.iter().for_each(|text| state.toasts.fail(text));
        }
        Wanted::Save(kind) => {
            let bytes = match kind {
                "csv" => table::csv(figure).into_bytes(),
                "svg" => svg::svg(figure, &style).into_bytes(),
                _ => {
                    let file = png::png(&svg::svg(figure, &style), &style)?;
                    file.undrawn.iter().for_each(|text| state.toasts.fail(text));
                    file.bytes
                }
            };
            effects.save(Saving {
                name: format!("{}.{kind}", figure.name),
                content: SaveContent::Bytes(bytes),
            });
        }
    }
    Ok(())
}
