//! Opens the window.

use super::theme;
use super::window::{App, OpenOptions};
use anyhow::{Context, Result, anyhow};

/// Opens the window and returns when it is closed.
///
/// # Errors
/// There is no display, or the system lacks what a window needs; one line.
pub fn open(options: OpenOptions) -> Result<()> {
    run(move |ctx| {
        let mut app = App::new(ctx, &options)?;
        app.restore(ctx);
        Ok(app)
    })
}

/// Opens a window and makes its application.
pub(crate) fn run(make: impl FnOnce(&egui::Context) -> Result<App> + 'static) -> Result<()> {
    if cfg!(target_os = "linux")
        && ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    {
        return Err(anyhow!(
            "no display: neither DISPLAY nor WAYLAND_DISPLAY is set; see `secateur --help` for work without a window"
        ));
    }
    let viewport = egui::ViewportBuilder::default()
        .with_title("Secateur")
        .with_app_id("secateur")
        .with_icon(icon()?)
        .with_inner_size(theme::WINDOW)
        .with_min_inner_size(theme::WINDOW_LEAST)
        .with_drag_and_drop(true);
    let native = eframe::NativeOptions {
        viewport,
        dithering: false,
        ..Default::default()
    };
    let create: eframe::AppCreator = Box::new(move |cc| Ok(Box::new(make(&cc.egui_ctx)?)));
    eframe::run_native("secateur", native, create)
        .map_err(|e| anyhow!("cannot open a window: {e}; is there a display, and libGL?"))
}

/// The window's icon. On Wayland the desktop entry has it.
fn icon() -> Result<egui::IconData> {
    eframe::icon_data::from_png_bytes(include_bytes!("../../assets/secateur.png")).context("the icon is damaged")
}
