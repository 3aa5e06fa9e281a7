//! The application: `logic` lets the session fold what has arrived, `ui` draws the store, and effects are carried out here.

use super::dialog::{Dialog, DialogAnswer};
use super::effects::{Effect, FileRequest, SaveContent};
use super::notify::{self, LiveRuns};
use super::open_path::{open_path, use_images};
use super::saved_window::{self, WindowFile};
use super::shell::window_ui;
use super::state::{Overlay, PathEntry, UiState};
use super::stopwatch::Stopwatch;
use super::theme;
use anyhow::Result;
use disk::write_whole;
use lab::{Command, ModelJob, Session, Workspace};
use record::ModelRef;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that `logic` may take for folding.
const PUMP: Duration = Duration::from_millis(8);
/// Frames are this far apart while a run reports: training needs the cores more than the eye needs frames.
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

pub(crate) struct App {
    pub(crate) session: Session,
    pub(crate) state: UiState,
    /// An open file dialog, and the one that waits until it is closed.
    dialog: Option<Dialog>,
    next_dialog: Option<FileRequest>,
    /// How long a wake may wait, in milliseconds; shared with the threads that wake.
    patience: Arc<AtomicU64>,
    /// The file that the window's look is saved in.
    saved: Option<WindowFile>,
    live: LiveRuns,
    is_dark: bool,
    pub(crate) stopwatch: Option<Stopwatch>,
}

impl App {
    /// A session that wakes this window, opening what was asked for.
    ///
    /// # Errors
    /// A thread cannot be spawned, or a built-in preset cannot be read.
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
            next_dialog: None,
            patience,
            saved: None,
            live: LiveRuns::default(),
            is_dark: false,
            stopwatch: None,
        })
    }

    /// Restores the window as it was left; the first time, a ribbon says what to try. Lists all runs and watches them.
    pub(crate) fn restore(&mut self, ctx: &egui::Context) {
        let (file, saved, trouble) = saved_window::place().map_or((None, None, None), |path| {
            let (file, saved, trouble) = WindowFile::open(path);
            (Some(file), saved, trouble)
        });
        self.saved = file;
        match saved {
            Some(saved) => {
                if let Some(dark) = saved.dark {
                    ctx.set_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light });
                }
                saved.restore(&mut self.state);
            }
            None => self.state.ribbon.is_open = true,
        }
        trouble.into_iter().for_each(|text| self.state.toasts.fail(text));
        self.session.watch();
    }

    fn carry_out(&mut self, effect: Effect, ctx: &egui::Context) {
        match effect {
            Effect::Submit(command) => self.session.submit(command),
            Effect::FileDialog(request) => {
                self.next_dialog = Some(request);
                ctx.request_repaint();
            }
            Effect::Write(path, content) => write(&path, content, &mut self.session, &mut self.state),
            Effect::ShowFolder(folder) => {
                if let Err(e) = open::that_detached(&folder) {
                    self.state.toasts.fail(format!("cannot open {}: {e}", folder.display()));
                }
            }
            Effect::Trash(folder) => match trash::delete(&folder) {
                Ok(()) => {
                    let runs = &mut self.state.runs;
                    self.state
                        .toasts
                        .tell(format!("Moved {} to the trash", folder.display()));
                    runs.gone.insert(folder);
                    runs.looking_back = None;
                    self.session.submit(Command::Travel(None));
                }
                Err(e) => self
                    .state
                    .toasts
                    .fail(format!("cannot move {} to the trash: {e}", folder.display())),
            },
            Effect::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
        }
    }

    /// Opens the dialog that is asked for, and uses the path that one was closed with.
    fn file_dialog(&mut self, ctx: &egui::Context) {
        if self.dialog.is_none()
            && let Some(request) = self.next_dialog.take()
        {
            let ctx = ctx.clone();
            match Dialog::open(request, move || ctx.request_repaint()) {
                Ok(dialog) => self.dialog = Some(dialog),
                Err(e) => self.state.toasts.fail(format!("cannot open a file dialog: {e}")),
            }
        }
        let Some(dialog) = self.dialog.take() else { return };
        let Some(answer) = dialog.answer() else {
            self.dialog = Some(dialog);
            return;
        };
        match (answer, dialog.request) {
            (DialogAnswer::File(path), FileRequest::Save(saving)) => {
                write(&path, saving.content, &mut self.session, &mut self.state);
            }
            (DialogAnswer::File(path), FileRequest::Open) => {
                if let Some(command) = open_path(path, &mut self.state) {
                    self.session.submit(command);
                }
            }
            (DialogAnswer::File(path), FileRequest::Images) => {
                self.session.submit(use_images(&path, &self.state));
            }
            (DialogAnswer::NoDialog, request) => {
                self.state.overlay = Some(Overlay::Path(PathEntry::instead_of_a_dialog(request)));
            }
            // A dialog that could not open on a busy machine cannot be told from one that somebody closed: neither is silent.
            (DialogAnswer::Cancelled, request) => self.state.toasts.tell(request.left()),
        }
    }

    /// Whether the newest answer is about an earlier question.
    fn is_waiting(&self) -> bool {
        let store = self.session.store();
        let asked = &self.state.slider.asked;
        store.open.is_some() && store.answer.as_ref().is_none_or(|a| a.question != *asked)
    }
}

/// Writes what was saved; the engine writes models.
pub fn write(path: &Path, content: SaveContent, session: &mut Session, state: &mut UiState) {
    match content {
        SaveContent::Bytes(bytes) => match write_whole(path, &bytes) {
            Ok(()) => state.toasts.tell(format!("Saved {}", path.display())),
            Err(e) => state.toasts.fail(e),
        },
        SaveContent::Model { from, densities } => {
            state.toasts.begin(format!("Exporting {}…", path.display()));
            let to = path.to_path_buf();
            session.submit(Command::Work(ModelJob::Export { from, densities, to }));
        }
    }
}

/// The first commands: what the window was opened on.
fn open_first(what: Option<&Path>, state: &mut UiState) -> Vec<Command> {
    let bundled = Command::Open(ModelRef::Bundled);
    let Some(path) = what else { return vec![bundled] };
    if !path.is_dir() {
        return vec![open_path(path.to_path_buf(), state).unwrap_or(bundled)];
    }
    let config = path.join("config.toml");
    if config.is_file() {
        drop(open_path(config, state));
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
        let ended = self.live.ended(self.session.store());
        if !notify::is_looked_at(ctx) {
            ended.into_iter().for_each(|said| notify::show(ctx, said));
        }
        let patience = if self.is_waiting() { EAGER_MILLIS } else { CALM_MILLIS };
        self.patience.store(patience, Ordering::Relaxed);
        self.file_dialog(ctx);
        if ctx.input(|i| i.viewport().close_requested()) {
            // Runs end at their next check; nobody needs to watch.
            ctx.send_viewport_cmd(egui::ViewportCommand::Visible(false));
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.start(frame.info().cpu_usage);
        }
        self.is_dark = ui.visuals().dark_mode;
        for effect in window_ui(ui, self.session.store(), &mut self.state) {
            self.carry_out(effect, ui.ctx());
        }
        if let Some(file) = &mut self.saved
            && let Err(e) = file.keep(&mut self.state, self.is_dark)
        {
            self.state.toasts.fail(e);
        }
        if let Some(stopwatch) = &mut self.stopwatch
            && stopwatch.stop(self.session.store())
        {
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        if let Some(file) = &mut self.saved {
            // The window is gone: there is nobody to tell.
            drop(file.write(&mut self.state, self.is_dark));
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        theme::of(visuals.dark_mode).ground.to_normalized_gamma_f32()
    }
}
