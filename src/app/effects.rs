//! What a frame asks for. Panels only ask: nothing outside of the window's state is changed while they are drawn.

use super::action::UiAction;
use lab::Command;
use model::Density;
use record::ModelRef;
use std::path::PathBuf;

/// Something to be done outside of the window's own state, once the frame is drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Submit this to the engine.
    Submit(Command),
    /// Let its user choose a file.
    FileDialog(FileRequest),
    /// Write this file.
    Write(PathBuf, SaveContent),
    /// Show a folder in the system's file manager.
    ShowFolder(PathBuf),
    /// Move a run's folder to the system's trash.
    Trash(PathBuf),
    /// Close the window.
    Quit,
}

/// What a file is chosen for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileRequest {
    /// To open a file that exists.
    #[default]
    Open,
    /// To measure the open model on the images in a folder.
    Images,
    /// To save this.
    Save(Saving),
}

impl FileRequest {
    /// What is said when no file was chosen.
    pub(crate) fn left(&self) -> &'static str {
        match self {
            Self::Open => "No file was chosen: nothing was opened",
            Self::Images => "No folder was chosen: images stay as they are",
            Self::Save(_) => "No file was chosen: nothing was saved",
        }
    }
}

/// Something to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saving {
    /// The name that is suggested.
    pub name: String,
    /// The file's content.
    pub content: SaveContent,
}

/// Content of a file to be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaveContent {
    /// These bytes, as they are.
    Bytes(Vec<u8>),
    /// A model: the file's extension says the format, and the engine writes and checks it.
    Model {
        /// Which one.
        from: ModelRef,
        /// One density per gate, or one for all.
        densities: Vec<Density>,
    },
}

/// All that a frame asks for, in order.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Actions change what is being drawn, so they wait until it is.
    pub(crate) actions: Vec<UiAction>,
    pub(crate) effects: Vec<Effect>,
}

impl Effects {
    pub(crate) fn act(&mut self, action: UiAction) {
        self.actions.push(action);
    }

    pub(crate) fn submit(&mut self, command: impl Into<Option<Command>>) {
        self.effects.extend(command.into().map(Effect::Submit));
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn save(&mut self, saving: Saving) {
        self.push(Effect::FileDialog(FileRequest::Save(saving)));
    }
}
