//! Tiles: how panels are framed, and how their tabs look.
//! Knows nothing of what panels show.

use super::effects::Effects;
use super::panel_name::PanelName;
use super::panels;
use super::state::UiState;
use super::theme::{self, palette};
use egui::{Color32, Rect, RichText, Stroke, Ui, Visuals, vec2};
use egui_tiles::{Behavior, SimplificationOptions, TabState, TileId, Tiles, UiResponse};
use lab::RunStore;

pub(crate) struct Panes<'a> {
    pub(crate) store: &'a RunStore,
    pub(crate) state: &'a mut UiState,
    pub(crate) effects: &'a mut Effects,
}

impl Behavior<PanelName> for Panes<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _: TileId, panel: &mut PanelName) -> UiResponse {
        let p = palette(ui);
        let rect = ui.max_rect();
        let round = egui::CornerRadius {
            nw: 0,
            ne: theme::TILE_RADIUS,
            sw: theme::TILE_RADIUS,
            se: theme::TILE_RADIUS,
        };
        ui.painter().rect_filled(rect, round, p.tile);
        let pad = f32::from(theme::PAD);
        let inside = Rect::from_min_max(rect.min + vec2(pad, pad * 0.75), rect.max - vec2(pad, pad));
        let mut inner = ui.new_child(egui::UiBuilder::new().max_rect(inside).id_salt(panel.title()));
        inner.shrink_clip_rect(inside.expand(pad * 0.5));
        panels::panel_ui(&mut inner, *panel, self.store, self.state, self.effects);
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, panel: &PanelName) -> egui::WidgetText {
        RichText::new(panel.title()).font(theme::body()).into()
    }

    fn tab_bar_height(&self, _: &egui::Style) -> f32 {
        theme::TAB_BAR
    }

    fn gap_width(&self, _: &egui::Style) -> f32 {
        theme::GAP
    }

    fn tab_title_spacing(&self, _: &Visuals) -> f32 {
        f32::from(theme::PAD)
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        theme::of(visuals.dark_mode).ground
    }

    fn tab_bg_color(&self, visuals: &Visuals, _: &Tiles<PanelName>, _: TileId, state: &TabState) -> Color32 {
        if state.active {
            theme::of(visuals.dark_mode).tile
        } else {
            Color32::TRANSPARENT
        }
    }

    fn tab_outline_stroke(&self, _: &Visuals, _: &Tiles<PanelName>, _: TileId, _: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _: &Visuals) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(&self, visuals: &Visuals, _: &Tiles<PanelName>, _: TileId, state: &TabState) -> Color32 {
        let p = theme::of(visuals.dark_mode);
        if state.active { p.text } else { p.weak }
    }

    fn resize_stroke(&self, style: &egui::Style, state: egui_tiles::ResizeState) -> Stroke {
        let p = theme::of(style.visuals.dark_mode);
        match state {
            egui_tiles::ResizeState::Idle => Stroke::NONE,
            _ => Stroke::new(2.0, p.accent),
        }
    }

    fn min_size(&self) -> f32 {
        120.0
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            all_panes_must_have_tabs: true,
            ..SimplificationOptions::default()
        }
    }
}
