//! The system's file dialog on its own thread, so that a slow desktop does not hold the window.
//! Knows nothing of models.

use super::effects::FileRequest;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An answer that comes sooner than anyone can cancel means that there is no dialog on this desktop.
/// A busy machine takes its time to find out; who cancels faster than this gets a field to type a path into, and can leave it.
const TOO_SOON: Duration = Duration::from_millis(800);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialogAnswer {
    File(PathBuf),
    Cancelled,
    /// This desktop has none.
    NoDialog,
}

pub(crate) struct Dialog {
    answer: Receiver<DialogAnswer>,
    pub(crate) request: FileRequest,
}

/// Whether this desktop can have file dialogs at all: a busy machine may take long to find out that it has none. On Linux they
/// come over the session's bus, or from zenity.
fn may_have_dialogs() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let socket = bus.split(['=', ',', ';']).find(|part| part.starts_with('/'));
    let has_bus = match socket {
        Some(path) => std::path::Path::new(path).exists(),
        None => !bus.is_empty(),
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let has_zenity = std::env::split_paths(&folders).any(|folder| folder.join("zenity").is_file());
    has_bus || has_zenity
}

impl Dialog {
    /// Opens it and calls `wake` when it closes.
    ///
    /// # Errors
    /// A thread cannot be spawned.
    pub(crate) fn open(request: FileRequest, wake: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (say, answer) = bounded(1);
        let asked = request.clone();
        std::thread::Builder::new().name("file dialog".into()).spawn(move || {
            let began = Instant::now();
            let dialog = rfd::FileDialog::new();
            let models = ["safetensors", "onnx", "pt", "pth", "bpk"];
            let others = ["toml", "png", "jpg", "jpeg", "webp"];
            let chosen = match asked {
                FileRequest::Images => dialog.set_title("Images").pick_folder(),
                FileRequest::Open => dialog
                    .set_title("Open")
                    .add_filter("Models, images and presets", &[models, others].concat())
                    .add_filter("All files", &["*"])
                    .pick_file(),
                FileRequest::Save(saving) => dialog.set_title("Save").set_file_name(saving.name).save_file(),
            };
            drop(say.send(match chosen {
                Some(path) => DialogAnswer::File(path),
                None if began.elapsed() < TOO_SOON || !may_have_dialogs() => DialogAnswer::NoDialog,
                None => DialogAnswer::Cancelled,
            }));
            wake();
        })?;
        Ok(Self { answer, request })
    }

    /// The answer, once there is one.
    pub(crate) fn answer(&self) -> Option<DialogAnswer> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(DialogAnswer::NoDialog),
        }
    }
}
