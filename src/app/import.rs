//! What is still asked of a file of another program before it can be opened: whose weights they are, and which images it is for.
//! Knows nothing of formats.

use super::effects::Effects;
use super::state::{ImportEntry, Overlay, UiState};
use super::theme::palette;
use super::widgets;
use egui::{Key, RichText, Role, Ui};
use lab::{Command, ModelJob};
use model::zoo;
use std::path::PathBuf;

/// What is asked of this file, as far as its name does not say it.
pub(crate) fn entry(file: PathBuf) -> ImportEntry {
    let ending = file.extension().map(|e| e.to_string_lossy().to_lowercase());
    // ONNX and packs hold their own graph; weights alone do not say their network.
    let is_weights = !matches!(ending.as_deref(), Some("onnx" | "bpk"));
    let stem = file
        .file_stem()
        .map_or_else(String::new, |n| n.to_string_lossy().to_lowercase());
    // Of names within names the longest: wide_resnet50_2 is no resnet50.
    let fits = |i: &usize| stem.contains(zoo::NAMES[*i]);
    let named = (0..zoo::NAMES.len()).filter(fits).max_by_key(|&i| zoo::NAMES[i].len());
    ImportEntry {
        file,
        arch: is_weights.then(|| named.unwrap_or(0)),
        input: String::new(),
        data: String::new(),
    }
}

/// The shape as typed: nothing, or three sizes.
fn shape(typed: &str) -> Result<Option<[usize; 3]>, String> {
    if typed.trim().is_empty() {
        return Ok(None);
    }
    let sizes: Vec<usize> = typed
        .split([',', '×', 'x', ' '])
        .filter(|s| !s.is_empty())
        .filter_map(|s| s.parse().ok())
        .collect();
    let shape = <[usize; 3]>::try_from(sizes).map(Some);
    shape.map_err(|_| "expected channels, height and width, such as 3, 32, 32".to_owned())
}

/// The form closes by importing or by being left.
pub(crate) fn import_ui(ui: &mut Ui, mut entry: ImportEntry, state: &mut UiState, effects: &mut Effects) {
    let mut done = false;
    let input = shape(&entry.input);
    let closes = widgets::modal(ui, "import", 18, 460.0, |ui| {
        ui.heading("Import a model");
        ui.add(egui::Label::new(entry.file.display().to_string()).wrap());
        widgets::quiet(
            ui,
            "Reading it runs no code from the file. The imported model is a new file; the original stays as it is.",
        );
        ui.add_space(6.0);
        if let Some(arch) = &mut entry.arch {
            ui.label("Architecture of the network");
            let combo = egui::ComboBox::from_id_salt("arch")
                .selected_text(zoo::NAMES[*arch])
                .width(220.0);
            let shown = combo.show_ui(ui, |ui| {
                for (i, name) in zoo::NAMES.iter().enumerate() {
                    ui.selectable_value(arch, i, *name);
                }
            });
            widgets::name_widget(&shown.response, Role::ComboBox, "Network");
        }
        let label = ui.label("Input: channels, height, width (empty if the file states it)");
        ui.add(
            egui::TextEdit::singleline(&mut entry.input)
                .desired_width(220.0)
                .hint_text("3, 32, 32"),
        )
        .labelled_by(label.id);
        if let Err(problem) = &input {
            ui.label(RichText::new(problem).color(palette(ui).bad));
        }
        let label = ui.label("Images to measure it on: a folder, or fashion-mnist (empty: choose later)");
        let field = egui::TextEdit::singleline(&mut entry.data).desired_width(f32::INFINITY);
        ui.add(field.hint_text("…/train/<class>/*.png")).labelled_by(label.id);
        ui.add_space(6.0);
        ui.horizontal(|ui| {
            let enter = ui.input(|i| i.key_pressed(Key::Enter));
            done = (widgets::primary(ui, input.is_ok(), "Import").clicked() || enter) && input.is_ok();
            if ui.button("Cancel").clicked() {
                ui.close();
            }
        });
    });
    if done {
        state.toasts.begin(format!("Importing {}…", entry.file.display()));
        effects.submit(Command::Work(ModelJob::Import {
            file: entry.file,
            arch: entry.arch.map(|i| zoo::NAMES[i].to_owned()),
            input: input.unwrap_or(None),
            classes: None,
            data: entry.data.trim().to_owned(),
        }));
    } else if !closes {
        state.overlay = Some(Overlay::Import(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_name_says_is_not_asked_again() {
        assert_eq!(
            entry("a/resnet18-cifar.pth".into()).arch.map(|i| zoo::NAMES[i]),
            Some("resnet18")
        );
        let wide = entry("wide_resnet50_2-9ba9bcbe.pth".into());
        assert_eq!(wide.arch.map(|i| zoo::NAMES[i]), Some("wide_resnet50_2"));
        assert_eq!(entry("net.onnx".into()).arch, None);
        assert_eq!(shape(" 3, 32,32 "), Ok(Some([3, 32, 32])));
        assert_eq!(shape(""), Ok(None));
        assert!(shape("3, 32").is_err());
    }
}
