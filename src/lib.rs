//! Secateur is a workbench for pruning the channels of convolutional networks, dynamically and automatically.
//!
//! Three things decide its shape: skipped work saves measured time, everything answers at once, and no number is shown
//! that was not measured. These pages are the map; `README.md` says how to use it.
//!
//! # The house
//!
//! | module | what it is | it knows nothing of |
//! |---|---|---|
//! | [`disk`] | writes that are whole or not at all | what is written |
//! | [`kernel`] | convolution arithmetic over lists of active channels and columns; the threads for it; all `unsafe` code | networks |
//! | [`data`] | images in, batches out: bundled Fashion-MNIST, IDX, CIFAR, folders of pictures | networks |
//! | [`model`] | a network as data: graph, weights, masks, cost, the model file; the burn module that trains it | how it is pruned |
//! | [`event`] | what a worker may say: one closed enum | who listens |
//! | [`infer`] | a checkpoint compiled to kernel calls that do only active work, norms measured anew under masks; latency as measured | burn, training |
//! | [`prune`] | which channels belong together, what matters least, what is nearest and sparse, and the knife | searches, methods |
//! | [`search`] | which density for which site under one budget: annealing and its rivals, and their frontier | networks |
//! | [`exchange`] | models to and from other programs' files: ONNX, PyTorch; each checked by a second runtime | burn, methods |
//! | [`train`] | the loop, the optimizer, norm statistics, measuring on the way | methods |
//! | [`methods`] | one paper, one file | threads, folders |
//! | [`run`] | experiments as data and as threads: presets, run folders, the store, the session | windows |
//! | [`view`] | what is shown, computed from the store; serializable | egui |
//! | [`export`] | bytes out of views: SVG, PNG, CSV, one HTML file | windows, where files go |
//! | [`cli`] | a front: arguments in, a line a fact out | egui |
//! | [`app`] | a front: the window | how anything is computed |
//!
//! Arrows go up the table only:
//! `disk → kernel → data → model → event → infer → prune → search → exchange → train → methods → run → view → export → { cli, app }`.
//! `tests/tidy.rs` holds them, and four sentences: only `app` names egui; only `model`, `train`, `run::device`,
//! `run::remote` and `cli::eval` name burn; only `kernel` has `unsafe`; no view reads a clock or a file.
//!
//! # How it moves
//!
//! A front makes [`run::Command`]s and reads [`run::RunStore`]; nothing else passes between them.
//!
//! ```text
//! front ── submit(Command) ──▶ Session ── one thread a run ──▶ methods ── emit(Event) ──┐
//!   ▲                            │                                                     │ events.jsonl, bounded channel
//!   └── store() ◀── pump folds ──┴──◀──────────────────────────────────────────────────┘
//!                                └── ask(Question) ──▶ probe: compiled engine ──▶ Answer, better and better
//! ```
//!
//! - *Record*: events, in order, logged before they are shown. A run's state is their fold, so a log replays to the same state,
//!   and up to any event to the state of that moment, which every panel can show in the run's place.
//! - *Question*: the newest replaces the older; the first answer rests on few images, later ones on more.
//! - *Emit is the only control point*: a paused run waits inside it, a stopped one gets an error from it and unwinds.
//!
//! # One layer, three forms
//!
//! Every convolution with what follows it is `relu(scale · norm(conv(x)) + shift)`: a norm gives scale and shift per
//! channel, an FBS gate per image and channel. It stands three times, and tests hold them equal:
//! [`model::conv_step`] in burn's operations (computed whole, then masked; any device), [`model::sparse_conv`] as one burn
//! operation with its own backward pass (skips; `flex`), and [`infer`] (skips; norms folded, nothing allocated).
//!
//! # To add a method
//!
//! `methods/x.rs` with its settings and procedure, one variant in [`methods::Method`], one file in `presets/` and its line
//! in [`run::experiment::PRESETS`], one test in `tests/`.

pub mod app;
pub mod cli;
pub mod data;
pub mod disk;
pub mod event;
pub mod exchange;
pub mod export;
pub mod infer;
pub mod kernel;
pub mod methods;
pub mod model;
pub mod prune;
pub mod run;
pub mod search;
pub mod train;
pub mod view;
