//! The window. `logic` lets the session fold what has arrived; `ui` draws views of the store and asks for effects.
//!
//! Start at [`open()`] and [`window_ui`]. A panel is a view (crate `view`) and its paint (`panels/`); all that can be done from
//! menu, keys and palette is a [`UiAction`]; all that a frame asks of the world outside is an [`Effect`], carried out in
//! `window.rs`. What the window itself remembers is [`state::UiState`].
//!
//! Knows nothing of tensors or kernels; the only files it writes are those its user saves, and its own look.

#![forbid(unsafe_code)]

mod action;
mod atlas;
mod dialog;
mod draft;
mod effects;
mod exporting;
mod figures;
mod frame_times;
mod import;
pub mod layout;
mod line_labels;
mod notify;
mod on_store_change;
mod open;
mod open_path;
mod overlay;
mod panel_name;
mod panels;
mod panes;
mod perform;
mod question;
mod ribbon;
mod saved_window;
mod share_bar;
mod shell;
mod slider;
pub mod state;
mod stopwatch;
pub mod theme;
mod toasts;
mod top_bar;
mod widgets;
mod window;

pub use action::{UiAction, Words};
pub use effects::{Effect, FileRequest, SaveContent, Saving};
pub use frame_times::{FrameLoad, bench_frame};
pub use open::open;
pub use open_path::open_path;
pub use panel_name::PanelName;
pub use shell::window_ui;
pub use stopwatch::FrameTimes;
pub use toasts::{Toast, Toasts};
pub use window::{OpenOptions, write};
