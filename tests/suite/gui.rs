//! The window driven by accessible labels: on a store made by hand for pictures, and on the real engine for the story.

use crate::still::{Still, still};
use crate::story;
use crate::story::density;
use app::layout::LayoutName;
use app::state::{Overlay, PathEntry, UiState};
use app::{Effect, FileRequest, PanelName, SaveContent, Saving, UiAction, layout, theme};
use egui::accesskit::Role;
use egui_kittest::{
    Harness,
    kittest::{NodeT, Queryable},
};
use event::Steer;
use lab::{Command, JobResult, ModelJob, RunStore, Session, Workspace};
use measure::images::ImageRef;
use methods::Method;
use record::{Experiment, ModelRef, RunSummary, Status};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use train::device::DeviceName;

fn settled(mut harness: Harness<'static, Still>) -> Harness<'static, Still> {
    harness.run_ok();
    harness
}

#[test]
fn the_window_looks_as_it_should_in_the_light() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.snapshot("light");
}

/// A picture of a layout with a search that works.
fn searching(theme: egui::Theme, layout: LayoutName, size: [f32; 2]) -> Harness<'static, Still> {
    let mut harness = still(story::searched(), theme, size);
    harness.state_mut().state.layouts.go(layout);
    settled(harness)
}

#[test]
fn a_search_looks_as_it_should() {
    searching(egui::Theme::Light, LayoutName::Watch, theme::WINDOW).snapshot("search");
}

#[test]
fn runs_beside_each_other_look_as_they_should_in_a_small_window() {
    searching(egui::Theme::Dark, LayoutName::Compare, theme::WINDOW_LEAST).snapshot("compare");
}

#[test]
fn a_bar_of_a_site_that_is_dragged_becomes_a_proposal_and_a_tick_holds_it() {
    let mut harness = searching(egui::Theme::Light, LayoutName::Watch, theme::WINDOW);
    harness.state_mut().asked.clear();
    let id = harness.state().store.runs[2].id;
    let before = harness.state().store.runs[2].searches[0]
        .current()
        .expect("trials")
        .densities
        .clone();
    harness
        .get_by_role_and_label(Role::Slider, "Density of conv3")
        .set_value_accesskit(0.25);
    harness.run_ok();
    harness.get_by_role_and_label(Role::CheckBox, "Hold conv1").click();
    harness.run_ok();
    harness.get_by_role_and_label(Role::CheckBox, "Hold conv0").click();
    harness.run_ok();
    harness.get_by_label("Re-heat").click();
    harness.run_ok();
    let mut densities = before.to_vec();
    densities[3] = 0.25;
    let expected = [
        Steer::Propose { densities },
        Steer::Lock {
            site: 1,
            density: before[1],
        },
        Steer::Unlock { site: 0 },
        Steer::Reheat,
    ];
    assert_eq!(harness.state().asked, expected.map(|steer| Command::Steer(id, steer)));
}

#[test]
fn a_bar_of_a_layer_moves_its_gate_alone_and_a_held_one_leaves_the_slider_alone() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    harness
        .get_by_role_and_label(Role::Slider, "Density of conv3")
        .set_value_accesskit(0.9);
    harness.run_ok();
    harness.get_by_role_and_label(Role::CheckBox, "Hold conv3").click();
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::Slider, "Density")
        .set_value_accesskit(0.3);
    harness.run_ok();
    let with = |all: u32, third: u32| {
        let mut question = measure::probe::uniform(8, density(all));
        question.densities[3] = density(third);
        Command::Ask(question)
    };
    assert_eq!(harness.state().asked, [with(50, 90), with(30, 90)]);
}

/// A picture of a layout of a model with everything known of its images.
fn imaged(theme: egui::Theme, layout: LayoutName, size: [f32; 2]) -> Harness<'static, Still> {
    let mut harness = still(story::with_images(), theme, size);
    harness.state_mut().state.layouts.go(layout);
    settled(harness)
}

#[test]
fn a_model_looks_as_it_should() {
    imaged(egui::Theme::Light, LayoutName::Inspect, theme::WINDOW).snapshot("inspect");
}

#[test]
fn an_image_that_is_clicked_is_looked_at() {
    let mut harness = imaged(egui::Theme::Dark, LayoutName::Inspect, theme::WINDOW);
    harness.state_mut().asked.clear();
    harness.get_by_label_contains("image 5:").click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Look(ImageRef::Valid(5))]);
    harness.get_by_label_contains("Wrong (6)").click();
    harness.run_ok();
    assert!(harness.query_by_label_contains("image 5:").is_none());
    harness.get_by_label_contains("image 10:");
}

#[test]
fn any_key_can_be_edited_copied_as_a_command_and_put_back() {
    let mut harness = still(story::store(), egui::Theme::Light, theme::WINDOW);
    layout::show(&mut harness.state_mut().state.layouts.tree, PanelName::Experiment);
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::SpinButton, "width")
        .set_value_accesskit(0.5);
    harness.run_ok();
    assert_eq!(harness.state().state.draft.experiment.model.width, 0.5);
    harness.get_by_label("Copy as command").click();
    harness.run_ok();
    harness.get_by_label_contains("1 key changed");
    // It may be scrolled out of sight.
    harness.get_by_label("Undo model.width").click_accesskit();
    harness.run_ok();
    let draft = &harness.state().state.draft;
    assert_eq!(draft.experiment, draft.base);
    harness.get_by_label("Save as preset…").click();
    harness.run_ok();
    let saving = harness.state_mut().saving();
    assert_eq!(saving.name, "smoke.toml");
    let SaveContent::Bytes(bytes) = saving.content else {
        panic!("{saving:?}")
    };
    let text = String::from_utf8(bytes).expect("text");
    assert_eq!(
        Experiment::parse(&text, &[]).expect("reads"),
        harness.state().state.draft.base
    );
}

#[test]
fn a_plot_is_saved_from_its_menu() {
    let mut harness = settled(still(story::store(), egui::Theme::Dark, theme::WINDOW));
    for (entry, name, head) in [
        ("Save SVG…", "frontier.svg", &b"<svg"[..]),
        ("Save PNG…", "frontier.png", b"\x89PNG"),
        ("Save CSV…", "frontier.csv", b"series,"),
    ] {
        harness.get_by_label("Save or copy frontier").click();
        harness.run_ok();
        harness.get_by_label(entry).click();
        harness.run_ok();
        let saving = harness.state_mut().saving();
        assert_eq!(saving.name, name);
        let SaveContent::Bytes(bytes) = saving.content else {
            panic!("{name}")
        };
        assert!(bytes.starts_with(head), "{name}");
    }
}

#[test]
fn a_path_is_typed_for_saving_too() {
    let mut harness = still(RunStore::default(), egui::Theme::Light, theme::WINDOW);
    let request = FileRequest::Save(Saving {
        name: "a.csv".into(),
        content: SaveContent::Bytes(vec![1, 2]),
    });
    harness.state_mut().state.overlay = Some(Overlay::Path(PathEntry::instead_of_a_dialog(request)));
    harness.run_ok();
    harness.get_by_role_and_label(Role::Button, "Save").click();
    harness.run_ok();
    assert_eq!(
        harness.state().effects,
        [Effect::Write("a.csv".into(), SaveContent::Bytes(vec![1, 2]))]
    );
}

#[test]
fn runs_are_found_starred_hidden_and_thrown_away() {
    let mut harness = still(story::store(), egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(LayoutName::Compare);
    harness.run_ok();
    harness.get_by_label("Star 20260101T000000Z_smoke_0001").click();
    harness.run_ok();
    harness.get_by_role_and_label(Role::CheckBox, "Starred").click();
    harness.run_ok();
    assert!(harness.query_by_label("More about run 2 wide").is_none());
    harness.get_by_label("More about run 1 smoke").click();
    harness.run_ok();
    harness.get_by_label("Delete…").click();
    harness.run_ok();
    harness.get_by_label("Move to trash").click();
    harness.run_ok();
    assert_eq!(
        harness.state().effects,
        [Effect::Trash("runs/20260101T000000Z_smoke_0001".into())]
    );
    let hidden = |window: &Still| window.state.runs.hidden(&window.store).len();
    assert_eq!(hidden(harness.state()), 0);
    harness.get_by_label("More about run 1 smoke").click();
    harness.run_ok();
    harness.get_by_label("Hide").click();
    harness.run_ok();
    assert_eq!(hidden(harness.state()), 1);
}

#[test]
fn an_interrupted_run_is_resumed_from_the_list() {
    let mut store = story::store();
    store.runs[1].status = Status::Interrupted;
    store.runs[1].folder = Some("runs/b".into());
    store.folders = vec![earlier("c", Status::Interrupted)].into();
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(LayoutName::Compare);
    harness.run_ok();
    harness.state_mut().asked.clear();
    harness.get_by_label("Resume run 2").click();
    harness.run_ok();
    harness.get_by_label("Show c").click();
    harness.run_ok();
    assert_eq!(
        harness.state().asked,
        [Command::ResumeRun("runs/b".into()), Command::OpenRun("runs/c".into())]
    );
}

/// A run folder of an earlier day.
fn earlier(name: &str, status: Status) -> RunSummary {
    RunSummary {
        folder: Path::new("runs").join(name),
        status,
        method: "fbs",
        valid_top1: Some(0.914),
        test_top1: None,
        macs: Some(4_200_000),
        trouble: None,
    }
}

#[test]
fn all_runs_of_earlier_days_are_listed_and_found() {
    let mut store = story::store();
    let all = (0..2345)
        .rev()
        .map(|i| earlier(&format!("day{i:04}"), Status::Finished));
    store.folders = all.collect();
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(LayoutName::Compare);
    harness.run_ok();
    harness.get_by_label("Earlier runs: 2 345");
    harness.get_by_label_contains("day2344  valid 91.4 % · 4.20 M MACs");
    // Only what is in sight is laid out, and the rest can be scrolled to.
    let laid_out = |h: &Harness<'static, Still>| h.query_all_by_label_contains("Show day").count();
    assert!(laid_out(&harness) < 60, "{}", laid_out(&harness));
    for _ in 0..3 {
        harness.hover_at(egui::pos2(200.0, 500.0));
        harness.event(egui::Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: egui::vec2(0.0, -1e6),
            phase: egui::TouchPhase::Move,
            modifiers: egui::Modifiers::NONE,
            source: egui::MouseWheelSource::Unknown,
        });
        harness.run_ok();
    }
    harness.get_by_label("Show day0000");
    // The oldest of all, by a part of its name and what it did.
    harness.get_by_role_and_label(Role::TextInput, "Find runs").focus();
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::TextInput, "Find runs")
        .type_text("fbs Y0007");
    harness.run_ok();
    harness.get_by_label("1 of 2 347 runs match");
    harness.state_mut().asked.clear();
    harness.get_by_label("Show day0007").click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::OpenRun("runs/day0007".into())]);
    harness.get_by_role_and_label(Role::TextInput, "Find runs").focus();
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::TextInput, "Find runs")
        .type_text(" nowhere");
    harness.run_ok();
    harness.get_by_label("None of 2 347 runs matches");
}

#[test]
fn everything_is_found_by_its_words() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::TextInput, "Find an action")
        .type_text("layout watch");
    harness.run_ok();
    harness.key_press(egui::Key::Enter);
    harness.run_ok();
    assert_eq!(harness.state().state.layouts.now, LayoutName::Watch);
    assert_eq!(harness.state().state.overlay, None);
    harness.key_press(egui::Key::F1);
    harness.run_ok();
    assert_eq!(harness.query_all_by_label("Layout: Watch search").count(), 1);
    harness.key_press(egui::Key::Escape);
    harness.run_ok();
    assert_eq!(harness.state().state.overlay, None);
}

#[test]
fn a_wish_on_the_frontier_chooses_a_density_to_go_to() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    harness.get_by_role_and_label(Role::CheckBox, "Limit loss").click();
    harness.run_ok();
    harness.get_by_label("Go there").click();
    harness.run_ok();
    let [Command::Ask(question)] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert!(question.densities.iter().all(|d| *d < density(100)));
}

#[test]
fn the_window_looks_as_it_should_in_the_dark() {
    let mut harness = settled(still(story::store(), egui::Theme::Dark, theme::WINDOW));
    harness.snapshot("dark");
}

#[test]
fn an_opened_model_is_asked_about_at_half_density() {
    let mut harness = still(story::store(), egui::Theme::Light, theme::WINDOW);
    harness.run_ok();
    let half = Command::Ask(measure::probe::uniform(8, density(50)));
    assert_eq!(harness.state().asked, [half]);
}

#[test]
fn dragging_the_slider_asks_each_time_and_stays_within_the_models_range() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    for value in [0.63, 0.2, 0.05] {
        harness
            .get_by_role_and_label(Role::Slider, "Density")
            .set_value_accesskit(value);
        harness.run_ok();
    }
    let asked = |p| Command::Ask(measure::probe::uniform(8, density(p)));
    assert_eq!(
        harness.state().asked,
        [asked(63), asked(20)],
        "5 % is below what the model was made for"
    );
}

#[test]
fn keys_move_the_slider() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.get_by_role_and_label(Role::Slider, "Density").focus();
    harness.run_ok();
    harness.key_press(egui::Key::ArrowRight);
    harness.run_ok();
    assert_eq!(harness.state().state.slider.density, density(51));
    harness.key_press_modifiers(egui::Modifiers::ALT, egui::Key::ArrowLeft);
    harness.run_ok();
    assert_eq!(harness.state().state.slider.density, density(50));
}

#[test]
fn train_starts_the_draft_with_its_changes() {
    let mut store = story::store();
    store.runs.pop();
    let mut harness = settled(still(store, egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    harness
        .get_by_role_and_label(Role::SpinButton, "Epochs")
        .set_value_accesskit(7.0);
    harness.run_ok();
    harness.get_by_label("Train").click();
    harness.run_ok();
    let [Command::Start(experiment)] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert_eq!((experiment.name.as_str(), experiment.train.epochs), ("smoke", 7));
}

#[test]
fn the_run_that_works_can_be_paused_and_stopped_and_a_finished_ones_model_opened() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    let id = harness.state().store.runs[1].id;
    harness.get_by_label("Pause").click();
    harness.run_ok();
    harness.get_by_label("Stop").click();
    harness.run_ok();
    harness.get_by_label("Open model of run 1").click();
    harness.run_ok();
    let model = ModelRef::File("runs/20260101T000000Z_smoke_0001/models/smoke.safetensors".into());
    assert_eq!(
        harness.state().asked,
        [Command::Pause(id), Command::Stop(id), Command::Open(model)]
    );
}

#[test]
fn a_farm_shows_its_tasks_and_is_stopped_as_a_whole() {
    let mut store = story::store();
    let task = |state, phase: &str| record::farm_status::FarmTaskStatus {
        state,
        phase: phase.into(),
        progress: 0.25,
        ..Default::default()
    };
    store.farms = vec![record::farm_status::FarmStatus {
        engine: "hq".into(),
        job: "7".into(),
        word: "run".into(),
        tasks: vec![
            task(record::farm_status::TaskState::Running, "epoch 1 of 2"),
            task(record::farm_status::TaskState::Waiting, ""),
        ],
        folder: "runs/farms/seeds-1".into(),
        is_followed: true,
    }];
    let mut harness = settled(still(store, egui::Theme::Light, theme::WINDOW));
    harness.state_mut().asked.clear();
    harness.get_by_label("Runs").click();
    harness.run_ok();
    harness.get_by_label("0 of 2 runs finished, 1 at work, 1 waiting; job 7 of hq");
    harness.get_by_label("Tasks").click();
    harness.run_ok();
    harness.run_ok();
    harness.get_by_label("epoch 1 of 2 · 25 %");
    harness.get_by_label("Stop farm seeds-1").click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::StopFarm("runs/farms/seeds-1".into())]);
}

#[test]
fn every_action_stands_in_the_menu() {
    let mut harness = settled(still(story::store(), egui::Theme::Dark, theme::WINDOW));
    harness.get_by_label("Menu").click();
    harness.run_ok();
    for action in UiAction::MENU {
        let label = action.words().label;
        assert!(harness.query_all_by_label_contains(&label).next().is_some(), "{label}");
    }
}

#[test]
fn an_empty_window_says_what_to_do() {
    let mut harness = still(RunStore::default(), egui::Theme::Light, theme::WINDOW_LEAST);
    harness.run_ok();
    for words in ["No model is open", "No points yet", "No curves yet", "No saliency yet"] {
        harness.get_by_label(words);
    }
}

#[test]
fn a_path_is_typed_where_there_is_no_dialog() {
    let mut harness = still(RunStore::default(), egui::Theme::Light, theme::WINDOW);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    harness.run_ok();
    harness.get_by_role(Role::TextInput).type_text("my/model.safetensors");
    harness.run_ok();
    harness.key_press(egui::Key::Enter);
    harness.run_ok();
    assert_eq!(
        harness.state().asked,
        [Command::Open(ModelRef::File("my/model.safetensors".into()))]
    );
    assert_eq!(harness.state().state.overlay, None);
}

#[test]
fn what_went_wrong_is_shown_once_and_stays_in_the_log() {
    let mut store = RunStore::default();
    store.notice("gone.safetensors: no such file".into());
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.run_ok();
    harness.get_by_label_contains("gone.safetensors");
    harness.get_by_label("Dismiss").click();
    harness.run_ok();
    assert!(harness.query_by_label_contains("gone.safetensors").is_none());
    harness.get_by_label("Log").click();
    harness.run_ok();
    harness.get_by_label_contains("gone.safetensors");
}

/// The window over the real engine.
struct Live {
    session: Session,
    state: UiState,
}

impl Live {
    fn ui(&mut self, ui: &mut egui::Ui) {
        for effect in app::window_ui(ui, self.session.store(), &mut self.state) {
            match effect {
                Effect::Submit(command) => self.session.submit(command),
                // As on a desktop without file dialogs.
                Effect::FileDialog(request) => {
                    self.state.overlay = Some(Overlay::Path(PathEntry::instead_of_a_dialog(request)));
                }
                Effect::Write(path, content) => app::write(&path, content, &mut self.session, &mut self.state),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The window over the real engine with the bundled model, and what rings when there is news.
fn live(runs: &Path) -> (Harness<'static, Live>, crossbeam_channel::Receiver<()>) {
    let (ring, woken) = crossbeam_channel::bounded(1);
    let wake = Arc::new(move || {
        let _ = ring.try_send(());
    });
    let workspace = Workspace {
        runs: runs.to_path_buf(),
        device: DeviceName::Flex,
        threads: 2,
        farm: None,
    };
    let mut session = Session::new(workspace, wake).expect("threads");
    session.submit(Command::Open(ModelRef::Bundled));
    let state = UiState::new(DeviceName::Flex).expect("presets");
    let harness = Harness::builder()
        .with_size(theme::WINDOW)
        .with_context_setup(theme::apply)
        .build_ui_state(|ui, live: &mut Live| live.ui(ui), Live { session, state });
    (harness, woken)
}

/// Replaces what stands in the path field and presses Enter.
fn type_path(harness: &mut Harness<'_, Live>, path: &Path) {
    harness.step();
    harness.step();
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    harness.step();
    harness.get_by_role(Role::TextInput).type_text(&path.to_string_lossy());
    harness.step();
    harness.key_press(egui::Key::Enter);
    harness.step();
    harness.step();
}

/// Pumps and draws until something holds. Waits on the engine's own wake, never longer than four minutes in all.
fn until(
    harness: &mut Harness<'_, Live>,
    woken: &crossbeam_channel::Receiver<()>,
    what: &str,
    holds: impl Fn(&RunStore) -> bool,
) {
    let limit = Instant::now() + Duration::from_secs(240);
    loop {
        harness.state_mut().session.pump(Duration::from_millis(50));
        harness.step();
        if holds(harness.state().session.store()) {
            // What was asked for in the last frame is shown in the next.
            harness.step();
            return;
        }
        assert!(
            Instant::now() < limit,
            "waited in vain until {what}: {:?}",
            harness.state().session.store().notices
        );
        let _ = woken.recv_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_run_is_trained_held_and_stopped_on_the_real_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut harness, woken) = live(folder.path());
    until(&mut harness, &woken, "the bundled model is measured at 0.5", |s| {
        s.answer
            .as_ref()
            .is_some_and(|a| a.question.densities.iter().all(|&d| d == density(50)))
    });
    let half = harness.state().session.store().answer.as_ref().map_or(0, |a| a.macs);
    harness
        .get_by_role_and_label(Role::Slider, "Density")
        .set_value_accesskit(0.8);
    until(&mut harness, &woken, "the new density is measured", |s| {
        s.answer
            .as_ref()
            .is_some_and(|a| a.question.densities.iter().all(|&d| d == density(80)))
    });
    let more = harness.state().session.store().answer.as_ref().map_or(0, |a| a.macs);
    assert!(half > 0 && more > half, "{half} {more}");

    let draft = &mut harness.state_mut().state.draft.experiment;
    draft.data.limit = 256;
    draft.data.valid = data::Amount::Count(64);
    draft.train.log_every = 1;
    draft.train.epochs = 50;
    draft.model.width = 0.1;
    harness.step();
    harness.get_by_label("Train").click();
    until(&mut harness, &woken, "a step was trained", |s| {
        s.runs.first().is_some_and(|r| !r.steps.is_empty())
    });
    harness.get_by_label("Pause").click();
    until(&mut harness, &woken, "the run is paused", |s| {
        s.runs[0].status == Status::Paused
    });
    harness.get_by_label("Resume").click();
    until(&mut harness, &woken, "the run goes on", |s| {
        s.runs[0].status == Status::Running
    });
    harness.get_by_label("Stop").click();
    until(&mut harness, &woken, "the run ended", |s| s.runs[0].status.is_over());
    let store = harness.state().session.store();
    assert_eq!(
        store.runs[0].ending.as_ref().map(|e| e.outcome),
        Some(event::Outcome::Cancelled),
        "{:?}",
        store.runs[0].ending
    );
}

#[test]
fn times_that_were_taken_on_a_busy_machine_are_said_to_be_doubtful() {
    let mut store = story::store();
    let latency = store.answer.as_mut().and_then(|a| a.latency.as_mut()).expect("timed");
    latency.others = Some(infer::OtherWork {
        programs: 0.4,
        steal: 0.0,
    });
    let mut harness = settled(still(store, egui::Theme::Light, theme::WINDOW));
    harness.get_by_label_contains("Times are doubtful, the machine was busy: other programs had 40 %");
    let latency = harness
        .state_mut()
        .store
        .answer
        .as_mut()
        .and_then(|a| a.latency.as_mut());
    latency.expect("timed").others = None;
    harness.run_ok();
    assert!(harness.query_by_label_contains("Times are doubtful").is_none());
}

#[test]
fn a_model_that_cannot_be_measured_is_not_measured_for_good() {
    let mut store = story::store();
    store.answer = None;
    let mut harness = settled(still(store, egui::Theme::Light, theme::WINDOW));
    harness.get_by_label_contains("Measuring…");
    harness.state_mut().store.lack_answer("a worker panicked: odd".into());
    harness.run_ok();
    harness.get_by_label_contains("Not measured: a worker panicked: odd");
    assert!(harness.query_by_label_contains("Measuring…").is_none());
    harness.state_mut().store.answered(story::answer(50, 5000));
    harness.run_ok();
    assert!(harness.query_by_label_contains("Not measured").is_none());
}

/// A log of a million steps is opened in the drawn window, which then follows it: frames stay about as quick as without it.
#[test]
fn a_million_events_leave_the_window_quick() {
    const EVENTS: u64 = 1_000_000;
    const BURST: u64 = 5_000;
    let folder = tempfile::tempdir().expect("a folder");
    let experiment = Experiment::load("smoke", &[]).expect("preset");
    // Held, so that the window follows it.
    let written = record::folder::RunFolder::create(folder.path(), &experiment).expect("creates");
    let mut log = disk::Log::open(&written.path.join("events.jsonl"), None).expect("opens");
    let mut say = |from: u64, to: u64| {
        let mut lines = String::new();
        for seq in from..to {
            let (at, loss, top1) = (seq as f64 * 0.01, 2.0 - (seq * 7919 % 1009) as f64 * 1e-3, seq % 100);
            let step = format!("\"step\":{seq},\"loss\":{loss:.4},\"top1\":0.{top1:02},\"lr\":0.1");
            lines += &format!("{{\"seq\":{seq},\"at\":{at:.2},\"event\":\"step\",{step}}}\n");
        }
        log.append(lines.as_bytes()).expect("writes");
    };
    say(0, EVENTS);
    let (mut harness, _woken) = live(folder.path());
    harness.state_mut().state.layouts.go(LayoutName::Watch);
    layout::show(&mut harness.state_mut().state.layouts.tree, PanelName::Training);
    let frame = |harness: &mut Harness<'_, Live>| {
        let began = Instant::now();
        // As the window does.
        harness.state_mut().session.pump(Duration::from_millis(8));
        harness.step();
        began.elapsed().as_secs_f64() * 1e3
    };
    let events = |harness: &Harness<'_, Live>| harness.state().session.store().runs.first().map_or(0, |r| r.events);
    let half = |mut frames: Vec<f64>| {
        frames.sort_by(f64::total_cmp);
        frames[frames.len() / 2]
    };
    let empty = half((0..20).map(|_| frame(&mut harness)).collect());
    harness
        .state_mut()
        .session
        .submit(Command::OpenRun(written.path.clone()));
    let limit = Instant::now() + Duration::from_secs(240);
    let mut opening = Vec::new();
    while events(&harness) < EVENTS {
        opening.push(frame(&mut harness));
        assert!(Instant::now() < limit, "{} of {EVENTS} events", events(&harness));
    }
    let mut following = Vec::new();
    for burst in 1..=20 {
        let due = EVENTS + burst * BURST;
        say(due - BURST, due);
        while events(&harness) < due {
            following.push(frame(&mut harness));
            assert!(Instant::now() < limit, "{} of {due} events", events(&harness));
        }
    }
    let run = &harness.state().session.store().runs[0];
    assert_eq!((run.status, run.thinned > 0), (Status::Running, true));
    let [opening, following] = [opening, following].map(half);
    let says = format!("ms a frame: {empty:.1} empty, {opening:.1} opening, {following:.1} following");
    assert!(
        opening < 3.0 * empty + 50.0 && following < 3.0 * empty + 100.0,
        "{says}"
    );
}

#[test]
fn the_whole_story_from_a_slider_to_a_model_that_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut harness, woken) = live(folder.path());
    let is_measured = |percent: u32| {
        move |s: &RunStore| {
            let at = |a: &measure::probe::Answer| a.question.densities.iter().all(|&d| d == density(percent));
            s.answer.as_ref().is_some_and(at)
        }
    };
    until(&mut harness, &woken, "the bundled model is measured", is_measured(50));
    harness
        .get_by_role_and_label(Role::Slider, "Density")
        .set_value_accesskit(0.6);
    until(&mut harness, &woken, "0.6 is measured", is_measured(60));

    harness.get_by_role_and_label(Role::Button, "Search from here").click();
    until(&mut harness, &woken, "two trials were measured", |s| {
        s.runs
            .first()
            .is_some_and(|r| r.searches.first().is_some_and(|s| s.trials.len() >= 2))
    });
    let store = harness.state().session.store();
    let first = &store.runs[0].searches[0].trials[0].trial;
    assert!(store.runs[0].searches[0].steered.is_empty(), "nobody steered it yet");
    let near = first.densities.iter().all(|d| (d - 0.6).abs() < 0.011);
    assert!(near, "it begins with what was on the slider: {:?}", first.densities);
    harness.get_by_role_and_label(Role::CheckBox, "Hold conv1").click();
    until(&mut harness, &woken, "conv1 is held", |s| {
        matches!(
            s.runs[0].searches[0].steered.first().map(|s| &s.steer),
            Some(Steer::Lock { site: 1, .. })
        )
    });
    harness.get_by_role_and_label(Role::Button, "Stop").click();
    until(&mut harness, &woken, "the search is stopped", |s| {
        s.runs[0].status.is_over()
    });

    harness.get_by_role_and_label(Role::CheckBox, "Limit loss").click();
    harness.step();
    harness.step();
    harness.get_by_label("Save or copy frontier").click();
    harness.step();
    harness.step();
    harness.get_by_label("Save SVG…").click();
    let figure = folder.path().join("frontier.svg");
    type_path(&mut harness, &figure);
    let svg = std::fs::read_to_string(&figure).expect("the figure was saved");
    assert!(svg.starts_with("<svg"), "{svg:.60}");
    // The toast that says so stands where the next button is, in a window of this size.
    harness.get_by_label("Dismiss").click();
    harness.step();
    harness.step();
    harness.get_by_label("Export it…").click();
    let model = folder.path().join("chosen.safetensors");
    type_path(&mut harness, &model);
    until(&mut harness, &woken, "the model is exported", |s| !s.done.is_empty());
    let done = &harness.state().session.store().done[0];
    assert!(done.said.is_ok(), "{done:?}");

    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
    type_path(&mut harness, &model);
    until(&mut harness, &woken, "the exported model is open and measured", |s| {
        let opened = s.open.as_ref().is_some_and(|o| o.from == ModelRef::File(model.clone()));
        opened && s.answer.is_some()
    });
}

/// What was asked since, after pressing something.
fn asked_after(harness: &mut Harness<'static, Still>, press: &str) -> Vec<Command> {
    harness.state_mut().asked.clear();
    harness.get_by_label(press).click();
    harness.run_ok();
    harness.state().asked.clone()
}

#[test]
fn the_slider_becomes_the_start_of_a_search_at_what_it_costs() {
    let mut store = story::store();
    store.runs.pop();
    let mut harness = settled(still(store, egui::Theme::Light, theme::WINDOW));
    let asked = asked_after(&mut harness, "Search from here");
    let [Command::Start(experiment)] = &asked[..] else {
        panic!("{asked:?}")
    };
    let Method::Densities(config) = &experiment.method else {
        panic!("{:?}", experiment.method)
    };
    assert_eq!(config.search.first, [0.5; 8]);
    assert!((config.target.times - 32_964_416.0 / 8_366_368.0).abs() < 1e-9);
    assert_eq!(experiment.start, Some(ModelRef::Bundled));
    assert_eq!(harness.state().state.layouts.now, LayoutName::Watch);
    let saving = harness.state_mut();
    saving.state.layouts.go(LayoutName::Tune);
    harness.run_ok();
    harness.get_by_role_and_label(Role::Button, "Export model…").click();
    harness.run_ok();
    let saving = harness.state_mut().saving();
    assert_eq!(saving.name, "bundled-model-d0.5.onnx");
}

#[test]
fn channels_that_hardly_ever_fire_are_cut_with_one_click() {
    let mut harness = settled(still(story::with_images(), egui::Theme::Light, theme::WINDOW));
    harness.state_mut().state.saliency.rare = 0.3;
    harness.run_ok();
    let asked = asked_after(&mut harness, "Cut them");
    let [Command::Work(ModelJob::Cut { from, channels })] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(*from, ModelRef::Bundled);
    let answer = &harness.state().store.answer.as_ref().expect("measured").layers[3];
    let rare: Vec<usize> = (0..answer.channels).filter(|&c| answer.active[c] < 0.3).collect();
    assert_eq!(channels["conv3"], rare);
    // What came of it: the model is opened, and FBS on it is what Train would start.
    let job = ModelJob::Cut {
        from: ModelRef::Bundled,
        channels: channels.clone(),
    };
    harness.state_mut().store.done(JobResult {
        model: Some("cut.safetensors".into()),
        ..JobResult::new(job, Ok("Cut".into()))
    });
    harness.state_mut().asked.clear();
    harness.run_ok();
    let open = Command::Open(ModelRef::File("cut.safetensors".into()));
    assert_eq!(harness.state().asked, [open]);
    let draft = &harness.state().state.draft.experiment;
    assert_eq!(
        (draft.method.kind(), draft.start.clone()),
        ("fbs", Some(ModelRef::File("cut.safetensors".into())))
    );
}

#[test]
fn a_trial_that_is_looked_back_at_is_forked() {
    let mut store = story::searched();
    store.runs[2].folder = Some("runs/old".into());
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(LayoutName::Watch);
    let run = &harness.state().store.runs[2];
    let (id, was, trial) = (run.id, run.experiment.clone(), run.searches[0].trials[17].clone());
    harness.state_mut().state.search.look_at(id, 0, trial.trial.number);
    harness.run_ok();
    let asked = asked_after(&mut harness, "Fork");
    let [Command::Fork { origin, at, experiment }] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!((origin.to_str(), *at), (Some("runs/old"), trial.seq));
    assert_eq!(experiment.seed, was.seed + 1);
}

#[test]
fn a_run_is_looked_back_at_forked_and_colored() {
    let mut store = story::searched();
    let (id, seen) = (store.runs[0].id, store.runs[0].clone());
    assert!(!seen.is_live() && seen.events > 2);
    store.runs[0].folder = Some("runs/old".into());
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(LayoutName::Compare);
    harness.run_ok();
    let more = format!("More about {}", seen.title());
    harness.get_by_label(&more).click();
    harness.run_ok();
    harness.get_by_label("Color 4").click();
    harness.run_ok();
    let state = &harness.state().state;
    assert_eq!(state.runs.colors.get(&id), Some(&3));
    assert_eq!(state.runs.colors.len(), 1, "other runs keep theirs");
    harness.get_by_label(&more).click();
    harness.run_ok();
    harness.get_by_label("Look back…").click();
    harness.run_ok();
    harness.get_by_role_and_label(Role::Slider, "Event").focus();
    // An arrow in the same frame would move the focus on.
    harness.run_ok();
    let place = harness.get_by_role_and_label(Role::Slider, "Event").rect();
    harness.key_press(egui::Key::ArrowLeft);
    harness.state_mut().asked.clear();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Travel(Some((id, seen.events - 2)))]);
    // What the session does with it.
    let mut past = record::RunState::new(id, seen.experiment.clone());
    (past.events, past.phase, past.folder) = (2, "long ago".into(), seen.folder.clone().or(Some("runs/old".into())));
    harness.state_mut().store.look_back(past);
    harness.run_ok();
    harness.get_by_label_contains("long ago");
    // It is the same slider in the same place: who drags it goes on dragging.
    assert_eq!(harness.get_by_role_and_label(Role::Slider, "Event").rect(), place);
    let slider = harness.get_by_role_and_label(Role::Slider, "Event");
    assert!(slider.accesskit_node().is_focused());
    harness.state_mut().asked.clear();
    harness.key_press(egui::Key::ArrowLeft);
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Travel(Some((id, seen.events - 3)))]);
    let asked = asked_after(&mut harness, "Fork here");
    let [Command::Fork { at, .. }, Command::Travel(None)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(*at, seen.events - 3, "where the slider stands");
    harness.state_mut().store.come_back();
    let back = &harness.state().store.runs[0];
    assert_eq!((back.status, back.events), (seen.status, seen.events));
}

#[test]
fn layers_are_timed_once_and_their_stairs_are_drawn() {
    let mut harness = imaged(egui::Theme::Light, LayoutName::Inspect, theme::WINDOW);
    harness.get_by_label("Measured times").click();
    harness.run_ok();
    let asked = asked_after(&mut harness, "Time layers");
    assert_eq!(asked, [Command::Work(ModelJob::Time(ModelRef::Bundled))]);
    harness.state_mut().store.done(story::timed());
    harness.run_ok();
    harness
        .get_by_label("conv3: 0.80 ms; half the filters take 50 % of it")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().state.layer.as_deref(), Some("conv3"));
}

#[test]
fn a_file_of_another_program_is_asked_about_before_it_is_imported() {
    let mut state = UiState::new(DeviceName::Flex).expect("presets");
    assert_eq!(app::open_path("a/vgg16-cifar.pth".into(), &mut state), None);
    let mut harness = still(RunStore::default(), egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.overlay = state.overlay;
    harness.run_ok();
    let asked = asked_after(&mut harness, "Import");
    let expected = ModelJob::Import {
        file: "a/vgg16-cifar.pth".into(),
        arch: Some("vgg16".into()),
        input: None,
        classes: None,
        data: String::new(),
    };
    assert_eq!(asked, [Command::Work(expected)]);
    assert_eq!(harness.state().state.overlay, None);
}

#[test]
fn a_run_in_trouble_says_so_where_it_is_seen() {
    let mut harness = still(story::store(), egui::Theme::Dark, theme::WINDOW);
    harness.state_mut().store.runs[1]
        .warnings
        .push("paused, the disk is full".into());
    harness.state_mut().state.layouts.go(LayoutName::Compare);
    harness.run_ok();
    harness.get_by_label("paused, the disk is full (2 warnings in the log)");
}

#[test]
fn a_preset_dropped_onto_the_window_becomes_the_draft_and_a_model_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let preset = folder.path().join("mine.toml");
    let text = record::experiment::PRESETS[0].1.replace("smoke", "mine");
    std::fs::write(&preset, text).expect("writes");
    let mut state = UiState::new(DeviceName::Flex).expect("presets");
    assert_eq!(app::open_path(preset, &mut state), None);
    assert_eq!(
        (state.draft.experiment.name.as_str(), state.draft.preset_name()),
        ("mine", "mine.toml")
    );
    let model = folder.path().join("m.safetensors");
    let open = Command::Open(ModelRef::File(model.clone()));
    assert_eq!(app::open_path(model, &mut state), Some(open));
    assert_eq!(app::open_path(folder.path().join("no.toml"), &mut state), None);
    let said: Vec<bool> = state.toasts.shown().iter().map(|t| t.is_error).collect();
    assert_eq!(said, [true], "a preset that is not there is said");
}

#[test]
fn both_themes_are_a_button_away_and_the_layout_can_be_reset() {
    let mut harness = settled(still(story::store(), egui::Theme::Light, theme::WINDOW));
    harness.get_by_label("Dark").click();
    harness.run_ok();
    assert_eq!(harness.ctx.theme(), egui::Theme::Dark);
    let first = harness.get_by_label("Saliency").rect();
    harness.state_mut().state.layouts.tree =
        egui_tiles::Tree::new_tabs(egui::Id::unique("panels"), vec![PanelName::Log, PanelName::Saliency]);
    harness.run_ok();
    assert_ne!(harness.get_by_label("Saliency").rect(), first);
    harness.get_by_label("Menu").click();
    harness.run_ok();
    harness.get_by_label_contains("Reset layout").click();
    harness.run_ok();
    assert_eq!(harness.get_by_label("Saliency").rect(), first);
}

/// What can be operated: label and place of every control that is not disabled.
fn controls(harness: &Harness<'static, Still>) -> Vec<(String, egui::Rect)> {
    let operable = [
        Role::Button,
        Role::CheckBox,
        Role::RadioButton,
        Role::Slider,
        Role::SpinButton,
        Role::ComboBox,
        Role::TextInput,
        Role::Link,
    ];
    let nodes = harness.root().children_recursive();
    nodes
        .filter(|node| operable.contains(&node.accesskit_node().role()) && !node.accesskit_node().is_disabled())
        .map(|node| (format!("{:?}", node.accesskit_node().label()), node.rect()))
        .collect()
}

#[test]
fn every_control_is_reached_by_the_keyboard_alone() {
    for layout in LayoutName::ALL {
        for store in [story::searched(), story::with_images()] {
            // So high that nothing is scrolled out of sight.
            let mut harness = still(store, egui::Theme::Dark, [1400.0, 2400.0]);
            harness.state_mut().state.layouts.go(layout);
            harness.run_ok();
            let mut missed = controls(&harness);
            for _ in 0..missed.len() + 50 {
                harness.key_press(egui::Key::Tab);
                harness.run_ok();
                let nodes = harness.root().children_recursive();
                let focused: Vec<egui::Rect> = nodes.filter(|n| n.is_focused()).map(|n| n.rect()).collect();
                missed.retain(|(_, rect)| !focused.iter().any(|f| f.contains(rect.center())));
            }
            assert!(missed.is_empty(), "{layout:?}: {missed:#?}");
        }
    }
}
