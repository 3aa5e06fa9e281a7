//! A front: the window. `logic` lets the session fold what has arrived, `ui` draws the store and hands commands back.
//! Knows nothing of tensors or kernels; the only files it writes are those its user saves, and where panels stood.

pub mod action;
pub(crate) mod dialog;
pub mod draft;
pub(crate) mod exporting;
pub mod figures;
pub(crate) mod frame_times;
pub mod import;
pub mod layout;
pub(crate) mod on_store_change;
pub mod overlay;
pub mod panels;
pub(crate) mod panes;
pub mod saved_window;
pub(crate) mod share_bar;
pub mod shell;
pub mod state;
pub mod theme;
pub mod toasts;
pub(crate) mod top_bar;
pub mod widgets;

pub use frame_times::{FrameTimes, bench_frame};

use anyhow::{Result, anyhow};
use dialog::{Dialog, DialogAnswer, FileRequest};
use disk::write_whole;
use lab::execute::Workspace;
use lab::{Command, ModelJob, Session};
use measure::ModelRef;
use record::replay;
use saved_window::SavedWindow;
use state::{Overlay, PathEntry, SaveContent, Saving, UiState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that `logic` may take for folding.
const PUMP: Duration = Duration::from_millis(8);
/// Frames are this far apart while a run talks: training needs the cores more than the eye needs frames.
const CALM_MILLIS: u64 = 100;
/// The same while somebody waits for an answer.
const EAGER_MILLIS: u64 = 10;

/// What the window opens on.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// A model file, a run folder or a preset file; otherwise the bundled model.
    pub what: Option<PathBuf>,
    /// Where runs are kept, and what they are trained on.
    pub workspace: Workspace,
}

/// Opens the window and returns when it is closed.
///
/// # Errors
/// There is no display, or the system lacks what a window needs; one line.
pub fn open(options: OpenOptions) -> Result<()> {
    run(Box::new(move |ctx| {
        let mut app = App::new(ctx, &options)?;
        app.remember(ctx);
        Ok(app)
    }))
}

const EARLIER: usize = 60;

/// Makes the app once the window stands.
type Make = Box<dyn FnOnce(&egui::Context) -> Result<App>>;

fn run(make: Make) -> Result<()> {
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

pub(crate) struct App {
    session: Session,
    state: UiState,
    /// An open file dialog, and what is to be saved with it.
    dialog: Option<(Dialog, Option<Saving>)>,
    /// How long a wake may wait, in milliseconds; shared with the threads that wake.
    patience: Arc<AtomicU64>,
    memory: Option<PathBuf>,
    is_dark: bool,
    bench: Option<frame_times::Stopwatch>,
}

impl App {
    /// A session that wakes this window, opening what was asked for.
    ///
    /// # Errors
    /// The system gives no more threads, or a built-in preset cannot be read.
    pub(crate) fn new(ctx: &egui::Context, options: &OpenOptions) -> Result<Self> {
        theme::apply(ctx);
        let patience = Arc::new(AtomicU64::new(EAGER_MILLIS));
        let (ring, wait) = (ctx.clone(), patience.clone());
        let wake = Arc::new(move || ring.request_repaint_after(Duration::from_millis(wait.load(Ordering::Relaxed))));
        let mut session = Session::new(options.workspace.clone(), wake)?;
        let mut state = UiState::new(options.workspace.device.clone())?;
        for command in open_first(options.what.as_deref(), &mut state) {
            session.submit(command);
        }
        Ok(Self {
            session,
            state,
            dialog: None,
            patience,
            memory: None,
            is_dark: false,
            bench: None,
        })
    }

    /// Puts the window back to how it was left; on the first day it opens with a card. Lists earlier runs.
    fn remember(&mut self, ctx: &egui::Context) {
        self.memory = saved_window::place();
        match self.memory.as_deref().and_then(SavedWindow::read) {
            Some(memory) => {
                if let Some(dark) = memory.dark {
                    ctx.set_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light });
                }
                memory.restore(&mut self.state);
            }
            None => self.state.overlay = Some(Overlay::Welcome),
        }
        self.state.runs.earlier = replay::newest_runs(self.session.runs(), EARLIER);
    }

    /// What the runs panel asks of the system.
    fn serve_runs(&mut self) {
        if let Some(folder) = self.state.runs.to_open.take()
            && let Err(e) = open::that_detached(&folder)
        {
            self.state
                .toasts
                .say(true, format!("cannot open {}: {e}", folder.display()));
        }
        let Some(folder) = self.state.runs.to_trash.take() else {
            return;
        };
        match trash::delete(&folder) {
            Ok(()) => {
                self.state
                    .toasts
                    .say(false, format!("{} is in the trash", folder.display()));
                self.state.runs.gone.insert(folder);
                self.state.runs.looking_back = None;
                self.session.submit(Command::Travel(None));
            }
            Err(e) => self
                .state
                .toasts
                .say(true, format!("cannot move {} to the trash: {e}", folder.display())),
        }
    }

    fn file_dialog(&mut self, ctx: &egui::Context) {
        if self.dialog.is_none() {
            let purpose = match &self.state.saving {
                Some(saving) => Some(FileRequest::Save(saving.name.clone())),
                None => std::mem::take(&mut self.state.wants_dialog).then_some(FileRequest::Open),
            };
            let Some(purpose) = purpose else { return };
            let (ctx, saving) = (ctx.clone(), self.state.saving.take());
            match Dialog::open(purpose, move || ctx.request_repaint()) {
                Ok(dialog) => self.dialog = Some((dialog, saving)),
                Err(e) => self.state.toasts.say(true, format!("cannot open a file dialog: {e}")),
            }
        }
        let Some(chosen) = self.dialog.as_ref().and_then(|(dialog, _)| dialog.answer()) else {
            return;
        };
        let saving = self.dialog.take().and_then(|(_, saving)| saving);
        match (chosen, saving) {
            (DialogAnswer::File(path), Some(saving)) => self.state.writing = Some((path, saving.content)),
            (DialogAnswer::File(path), None) => {
                if let Some(command) = shell::open_path(path, &mut self.state) {
                    self.session.submit(command);
                }
            }
            (DialogAnswer::NoDialog, saving) => {
                self.state.path_entry = Some(PathEntry::instead_of_a_dialog(saving));
            }
            (DialogAnswer::Cancelled, _) => {}
        }
    }

    /// Whether the newest answer is not yet about what is on the slider, or not yet over all images.
    fn is_waiting(&self) -> bool {
        let store = self.session.store();
        store.open.is_some() && store.answer.as_ref().is_none_or(|a| a.question != self.state.asked)
    }
}

/// Writes what somebody saved; a model is written by the engine.
pub fn write(session: &mut Session, state: &mut UiState) {
    let Some((path, content)) = state.writing.take() else {
        return;
    };
    let bytes = match content {
        SaveContent::Bytes(bytes) => bytes,
        SaveContent::Model { from, densities } => {
            let to = path;
            state.toasts.say(false, format!("Exporting {}…", to.display()));
            return session.submit(Command::Work(ModelJob::Export { from, densities, to }));
        }
    };
    let place = path.display();
    match write_whole(&path, &bytes) {
        Ok(()) => state.toasts.say(false, format!("Saved {place}")),
        Err(e) => state.toasts.say(true, format!("{e:#}")),
    }
}

/// The first commands: what the window was opened on.
fn open_first(what: Option<&Path>, state: &mut UiState) -> Vec<Command> {
    let bundled = Command::Open(ModelRef::Bundled);
    let Some(path) = what else { return vec![bundled] };
    if !path.is_dir() {
        return vec![shell::open_path(path.to_path_buf(), state).unwrap_or(bundled)];
    }
    let config = path.join("config.toml");
    if config.is_file() {
        drop(shell::open_path(config, state));
    }
    let models = std::fs::read_dir(path.join("models"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let first = models
        .filter(|m| m.extension().is_some_and(|e| e == "safetensors"))
        .min();
    let model = first.map_or(bundled, |model| Command::Open(ModelRef::File(model)));
    vec![model, Command::OpenRun(path.to_path_buf())]
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _: &mut eframe::Frame) {
        if self.session.pump(PUMP) {
            ctx.request_repaint();
        }
        let patience = if self.is_waiting() { EAGER_MILLIS } else { CALM_MILLIS };
        self.patience.store(patience, Ordering::Relaxed);
        self.file_dialog(ctx);
        write(&mut self.session, &mut self.state);
        self.serve_runs();
        if ctx.input(|i| i.viewport().close_requested()) {
            // Runs end at their next check; nobody needs to watch.
            ctx.send_viewport_cmd(egui::ViewportCommand::Visible(false));
        }
        if self.state.wants_quit {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        if let Some(stopwatch) = &mut self.bench {
            stopwatch.start();
        }
        self.is_dark = ui.visuals().dark_mode;
        for command in shell::window_ui(ui, self.session.store(), &mut self.state) {
            self.session.submit(command);
        }
        if let Some(stopwatch) = &mut self.bench
            && stopwatch.stop(self.session.store())
        {
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        if let Some(file) = &self.memory {
            let memory = SavedWindow::of(&self.state, self.is_dark);
            // The window is gone: there is nobody to tell.
            drop(memory.write(file));
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        theme::of(visuals.dark_mode).ground.to_normalized_gamma_f32()
    }
}
