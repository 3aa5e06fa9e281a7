//! The bar at the top: menu, layouts, the open model, the preset with its data and device, run controls with progress.
//! Knows nothing of panels.

use super::action::UiAction;
use super::effects::Effects;
use super::layout::LayoutName;
use super::state::UiState;
use super::theme::{self, palette};
use super::widgets;
use egui::{Align, Layout, Rect, RichText, Role, Ui, vec2};
use lab::{Command, RunStore};
use record::Status;
use train::device::DeviceName;
use view::{presets, runs, text};

pub(crate) fn top_bar_ui(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    menu(ui, store, state, effects);
    ui.add_space(4.0);
    layouts(ui, state, effects);
    widgets::on_the_right(ui, |ui| {
        let dark = ui.visuals().dark_mode;
        let words = UiAction::SwitchTheme.words();
        let label = if dark { "Light" } else { "Dark" };
        if ui.button(label).on_hover_text(words.tooltip).clicked() {
            effects.act(UiAction::SwitchTheme);
        }
        run_controls(ui, store, state, effects);
        ui.add_space(8.0);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| model(ui, store));
    });
}

fn layouts(ui: &mut Ui, state: &UiState, effects: &mut Effects) {
    ui.spacing_mut().item_spacing.x = 2.0;
    for name in LayoutName::ALL {
        let is_now = state.layouts.now == name;
        let button = ui.selectable_label(is_now, name.title());
        if button.on_hover_text(tooltip(ui, UiAction::Layout(name))).clicked() {
            effects.act(UiAction::Layout(name));
        }
    }
    ui.spacing_mut().item_spacing.x = 8.0;
}

/// The open model's name takes the space that is left; hovering shows what was cut off.
fn model(ui: &mut Ui, store: &RunStore) {
    let p = palette(ui);
    ui.add_space(12.0);
    let (name, about) = match &store.open {
        Some(m) => (
            m.name.clone(),
            format!("{} · {} · {}", m.header.method, m.header.spec.name, m.header.data),
        ),
        None => ("no model".to_owned(), "open one from the menu".to_owned()),
    };
    let text = format!("{name}  {about}");
    if ui.available_width() < 90.0 {
        return;
    }
    let mut job = egui::text::LayoutJob::default();
    let format = |font, color| egui::TextFormat::simple(font, color);
    job.append(&name, 0.0, format(theme::body(), p.text));
    job.append(&about, 8.0, format(theme::small(), p.weak));
    ui.add(egui::Label::new(job).truncate())
        .on_hover_text(format!("The open model: {text}"));
}

/// Right to left: what is outermost comes first.
fn run_controls(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    if let Some(run) = store.current() {
        let row = runs::row(run);
        let can = UiAction::Stop.is_possible(store, state);
        let stop = ui.add_enabled(can, egui::Button::new(UiAction::Stop.words().label));
        if stop.on_hover_text(tooltip(ui, UiAction::Stop)).clicked() {
            effects.act(UiAction::Stop);
        }
        let label = if run.status == Status::Paused {
            "Resume"
        } else {
            "Pause"
        };
        let hold = ui.add_enabled(can, egui::Button::new(label).min_size(vec2(70.0, 0.0)));
        if hold.on_hover_text(tooltip(ui, UiAction::PauseOrResume)).clicked() {
            effects.act(UiAction::PauseOrResume);
        }
        progress(ui, &row, store.waiting());
        return;
    }
    let train = widgets::primary(
        ui,
        UiAction::Train.is_possible(store, state),
        &UiAction::Train.words().label,
    );
    if train.on_hover_text(tooltip(ui, UiAction::Train)).clicked() {
        effects.act(UiAction::Train);
    }
    place_chooser(ui, store, state, effects);
    preset_chooser(ui, state, effects);
}

fn progress(ui: &mut Ui, row: &runs::RunRow, waiting: usize) {
    let p = palette(ui);
    let mut words = match row.status {
        Status::Running | Status::Paused => format!("{} · {}", row.title, row.detail),
        other => format!("{} · {other}", row.title),
    };
    if waiting > 0 {
        words += &format!(" · {waiting} queued");
    }
    let width = (ui.available_width() - 90.0).clamp(160.0, 330.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 32.0), egui::Sense::hover());
    widgets::name_widget(&response, Role::ProgressIndicator, &format!("Progress: {words}"));
    let share = format!("{:.0} %", row.progress * 100.0);
    let number = widgets::put(
        ui,
        rect.right_top() + vec2(0.0, 4.0),
        egui::Align2::RIGHT_TOP,
        share,
        p.weak,
    );
    let place = Rect::from_min_max(rect.min + vec2(0.0, 3.0), egui::pos2(number.left() - 8.0, rect.max.y));
    // How far it is matters more than the whole of its name.
    let rest = words.strip_prefix(&row.title).unwrap_or(&words);
    let room = place.width() - widgets::widest(ui, std::iter::once(rest));
    let text = widgets::small(widgets::fitting(ui, &row.title, room) + rest, p.text);
    let left = Layout::left_to_right(Align::Min);
    let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(place).layout(left));
    inner.add(egui::Label::new(text).truncate().selectable(false));
    let track = Rect::from_min_max(
        rect.left_bottom() - vec2(0.0, 8.0),
        rect.right_bottom() - vec2(0.0, 3.0),
    );
    let color = if row.is_stalled { p.warn } else { p.accent };
    widgets::bar(ui, track, row.progress, color, p.trough);
    if let Some(trouble) = &row.trouble {
        words += &format!("\n{trouble}");
    }
    response.on_hover_text(words);
}

fn preset_chooser(ui: &mut Ui, state: &UiState, effects: &mut Effects) {
    let chosen = state.draft.preset_name().to_owned();
    let shown_name = if state.draft.experiment == state.draft.base {
        chosen.clone()
    } else {
        format!("{chosen}, changed")
    };
    let combo = egui::ComboBox::from_id_salt("preset")
        .selected_text(shown_name)
        .width(150.0)
        .height(ui.ctx().content_rect().height() * 0.8);
    let shown = combo.show_ui(ui, |ui| {
        ui.set_min_width(330.0);
        for group in presets::presets() {
            ui.label(RichText::new(group.title).strong());
            for preset in &group.presets {
                let row = ui.selectable_label(preset.name == chosen, preset.says());
                if row.on_hover_text(&preset.about).clicked() {
                    effects.act(UiAction::Preset(preset.index));
                }
            }
        }
    });
    widgets::name_widget(&shown.response, Role::ComboBox, "Preset");
    shown
        .response
        .on_hover_text(format!("Preset: {}", state.draft.experiment.about));
}

/// The images and the device that Train uses.
fn place_chooser(ui: &mut Ui, store: &RunStore, state: &mut UiState, effects: &mut Effects) {
    let now = state.draft.experiment.data.source.clone();
    let place = text::tail(&format!("{now} · {}", state.device), 26);
    let shown = ui.menu_button(widgets::small(place, palette(ui).weak), |ui| {
        ui.set_min_width(300.0);
        ui.label(RichText::new("Images").strong());
        for choice in presets::image_sources(store, &now) {
            if ui.selectable_label(choice.source == now, choice.words).clicked() {
                state.draft.experiment.data.source = choice.source;
                ui.close();
            }
        }
        ui.separator();
        ui.label(RichText::new("Device").strong());
        let devices = state
            .devices
            .get_or_insert_with(|| DeviceName::LOCAL.iter().map(DeviceName::probe).collect());
        for device in devices.iter() {
            let words = format!("{} · {}", device.device, device.detail);
            let is_now = device.device == state.device.to_string();
            let row = ui.add_enabled(device.available, egui::Button::selectable(is_now, words));
            if row.clicked()
                && let Ok(name) = DeviceName::parse(&device.device)
            {
                state.device = name;
                effects.submit(Command::UseDevice(device.device.clone()));
                ui.close();
            }
        }
    });
    widgets::name_widget(&shown.response, Role::Button, "Images and device");
    let about = "What Train uses: images, and the device it computes on";
    shown.response.on_hover_text(about);
}

fn menu(ui: &mut Ui, store: &RunStore, state: &UiState, effects: &mut Effects) {
    ui.menu_button("Menu", |ui| {
        ui.set_min_width(260.0);
        for action in UiAction::MENU {
            if matches!(
                action,
                UiAction::OpenModel | UiAction::LowerDensity | UiAction::Palette | UiAction::Quit
            ) {
                ui.separator();
            }
            entry(ui, action, store, state, effects);
        }
        ui.separator();
        type Belongs = fn(&UiAction) -> bool;
        let submenus: [(&str, Belongs); 3] = [
            ("Layouts", |a| matches!(a, UiAction::Layout(_))),
            ("Panels", |a| matches!(a, UiAction::Show(_))),
            ("Presets", |a| matches!(a, UiAction::Preset(_))),
        ];
        for (title, belongs) in submenus {
            ui.menu_button(title, |ui| {
                ui.set_min_width(220.0);
                for action in UiAction::all().filter(belongs) {
                    entry(ui, action, store, state, effects);
                }
            });
        }
    });
}

fn entry(ui: &mut Ui, action: UiAction, store: &RunStore, state: &UiState, effects: &mut Effects) {
    let words = action.words();
    let mut button = egui::Button::new(words.label);
    if let Some(keys) = action.keys() {
        button = button.shortcut_text(ui.ctx().format_shortcut(&keys));
    }
    let response = ui.add_enabled(action.is_possible(store, state), button);
    if response.on_hover_text(words.tooltip).clicked() {
        effects.act(action);
        ui.close();
    }
}

fn tooltip(ui: &Ui, action: UiAction) -> String {
    let keys = action.keys().map(|k| format!("  ({})", ui.ctx().format_shortcut(&k)));
    format!("{}{}", action.words().tooltip, keys.unwrap_or_default())
}
