//! The system's file dialog on its own thread, so that a slow desktop does not hold the window.
//! Knows nothing of models.

use crossbeam_channel::{Receiver, bounded};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An answer that comes sooner than anyone can cancel means that there is no dialog on this desktop.
/// A busy machine takes its time to find out; who cancels faster than this gets a field to type a path into, and can leave it.
const TOO_SOON: Duration = Duration::from_millis(800);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialogAnswer {
    File(PathBuf),
    Cancelled,
    NoDialog,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileRequest {
    /// To choose a file that is there.
    Open,
    /// To choose where to save, with a name to begin with.
    Save(String),
}

pub(crate) struct Dialog {
    answer: Receiver<DialogAnswer>,
}

impl Dialog {
    /// Opens it and calls `wake` when it closes.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(crate) fn open(purpose: FileRequest, wake: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let (say, answer) = bounded(1);
        std::thread::Builder::new().name("file dialog".into()).spawn(move || {
            let began = Instant::now();
            let dialog = rfd::FileDialog::new();
            let chosen = match purpose {
                FileRequest::Open => dialog
                    .set_title("Open")
                    .add_filter(
                        "Models, pictures and presets",
                        &[
                            "safetensors",
                            "onnx",
                            "pt",
                            "pth",
                            "bpk",
                            "toml",
                            "png",
                            "jpg",
                            "jpeg",
                            "webp",
                        ],
                    )
                    .add_filter("All files", &["*"])
                    .pick_file(),
                FileRequest::Save(name) => dialog.set_title("Save").set_file_name(name).save_file(),
            };
            let chosen = match chosen {
                Some(path) => DialogAnswer::File(path),
                None if began.elapsed() < TOO_SOON => DialogAnswer::NoDialog,
                None => DialogAnswer::Cancelled,
            };
            drop(say.send(chosen));
            wake();
        })?;
        Ok(Self { answer })
    }

    /// The answer, once there is one.
    pub(crate) fn answer(&self) -> Option<DialogAnswer> {
        match self.answer.try_recv() {
            Ok(chosen) => Some(chosen),
            Err(crossbeam_channel::TryRecvError::Empty) => None,
            Err(crossbeam_channel::TryRecvError::Disconnected) => Some(DialogAnswer::NoDialog),
        }
    }
}
