//! The target slider and networks without images: on a store made by hand by accessible labels, and on the real engine.

use crate::still::{Still, still};
use crate::story;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use event::{Event, Stamped, Steer};
use expect_test::expect;
use lab::{Command, RunStore, Session, Workspace};
use measure::pruning::{FLOOR, Spread};
use measure::{Pruning, Question, probe};
use methods::Method;
use model::{Density, random_model, zoo};
use record::ModelRef;
use std::sync::Arc;
use std::time::{Duration, Instant};
use train::device::DeviceName;
use view::density::{Headline, density};
use view::frontier::{CostAxis, SeriesKind, frontier};
use view::network;
use view::runs::HiddenRuns;
use view::search::{SearchChoice, TrialValue, search};

fn at(times: f64) -> Pruning {
    Pruning {
        times,
        ..Pruning::default()
    }
}

/// The window over the story's model.
fn window(store: RunStore) -> Harness<'static, Still> {
    let mut harness = still(store, egui::Theme::Light, app::theme::WINDOW);
    harness.run_ok();
    harness.state_mut().asked.clear();
    harness
}

fn drag_target(harness: &mut Harness<'static, Still>, times: f64) {
    harness
        .get_by_role_and_label(Role::Slider, "Target rate")
        .set_value_accesskit(times);
    harness.run_ok();
}

#[test]
fn the_target_is_dragged_held_and_pruned_to() {
    let mut store = story::store();
    store.images_from = Some("fashion-mnist".into());
    let mut harness = window(store);
    let prune = |h: &Harness<'static, Still>| {
        h.get_by_role_and_label(Role::Button, "Prune to here")
            .accesskit_node()
            .is_disabled()
    };
    assert!(prune(&harness), "nothing is to be cut yet");
    drag_target(&mut harness, 4.0);
    let asked = |h: &Harness<'static, Still>| match h.state().asked.last() {
        Some(Command::Ask(question)) => question.clone(),
        other => panic!("{other:?}"),
    };
    let question = asked(&harness);
    assert_eq!(question.cut, Some(at(4.0)));
    assert_eq!(question.densities.len(), 8, "gates stay where they are");
    harness.get_by_role_and_label(Role::CheckBox, "Hold conv3").click();
    harness.run_ok();
    assert!(asked(&harness).cut.expect("a cut").held.contains("conv3"));
    harness
        .get_by_role_and_label(Role::ComboBox, "Spread of the cut")
        .click();
    harness.run_ok();
    harness.get_by_label("one threshold").click();
    harness.run_ok();
    assert_eq!(asked(&harness).cut.expect("a cut").spread, Spread::Threshold);
    // What is cut but not retrained is nothing to export.
    assert!(harness.get_by_label("Export model…").accesskit_node().is_disabled());
    harness.get_by_label("Prune to here").click();
    harness.run_ok();
    let Some(Command::Start(started)) = harness.state().asked.last() else {
        panic!("{:?}", harness.state().asked)
    };
    let Method::Uniform(config) = &started.method else {
        panic!("{:?}", started.method)
    };
    assert_eq!((config.target.times, config.floor), (4.0, FLOOR));
    assert_eq!(
        config.locks.iter().map(|l| l.layer.as_str()).collect::<Vec<_>>(),
        ["conv3"]
    );
    assert_eq!(
        (&started.start, started.data.source.as_str()),
        (&Some(ModelRef::Bundled), "fashion-mnist")
    );
}

#[test]
fn back_at_the_whole_network_nothing_is_cut() {
    let mut harness = window(story::store());
    drag_target(&mut harness, 3.0);
    drag_target(&mut harness, 1.0);
    assert_eq!(
        harness.state().asked.last(),
        Some(&Command::Ask(probe::uniform(8, story::density(50))))
    );
}

#[test]
fn a_model_without_images_says_what_it_wants_and_takes_a_path() {
    let mut store = story::store();
    store.strip = None;
    store.images_from = None;
    store.lack_images("cifar: no such file or folder".into());
    let mut answer = story::answer(50, 0);
    (answer.of, answer.right) = (0, 0);
    store.answer = Some(answer);
    let mut harness = window(store);
    harness.get_by_label("Accuracy needs images: 1×28×28, 10 classes");
    harness.get_by_label("needs images");
    assert!(harness.query_by_label_contains("measuring").is_none());
    // Each panel that needs some says so in place.
    harness.get_by_label("No answers yet");
    app::layout::show(&mut harness.state_mut().state.layouts.tree, app::PanelName::Images);
    harness.run_ok();
    let said = "The open model has no images to be measured on: give it some in the Density panel";
    assert!(
        harness.query_all_by_label(said).count() >= 2,
        "images and what breaks first"
    );
    harness.get_by_label("Use the bundled images").click();
    harness.run_ok();
    let question = probe::uniform(8, story::density(50));
    let wanted = Command::UseImages("fashion-mnist".into(), question.clone());
    assert_eq!(harness.state().asked, [wanted]);
    harness.get_by_label("Type a path…").click();
    harness.run_ok();
    let field = harness.get_by_role(Role::TextInput);
    field.type_text("pictures/mine");
    harness.run_ok();
    harness.get_by_role_and_label(Role::Button, "Measure").click();
    harness.run_ok();
    let wanted = Command::UseImages("pictures/mine".into(), question);
    assert_eq!(harness.state().asked.last(), Some(&wanted));
}

#[test]
fn the_first_steps_follow_what_is_done_and_can_be_called_back() {
    let mut store = story::store();
    store.runs.clear();
    store.images_from = Some("fashion-mnist".into());
    let mut harness = window(store);
    assert!(harness.query_by_label("This network sorts clothes.").is_none());
    harness.state_mut().state.ribbon.is_open = true;
    harness.run_ok();
    harness.get_by_label("This network sorts clothes.");
    drag_target(&mut harness, 2.0);
    harness.get_by_label("See what errs first");
    harness.get_by_label("Train a small network").click();
    harness.run_ok();
    assert!(matches!(harness.state().asked.last(), Some(Command::Start(e)) if e.name == "smoke"));
    harness.get_by_label("Close the ribbon").click();
    harness.run_ok();
    assert!(!harness.state().state.ribbon.is_open);
    harness.get_by_label("Menu").click();
    harness.run_ok();
    harness.get_by_label("First steps").click();
    harness.run_ok();
    assert!(harness.state().state.ribbon.is_open);
}

#[test]
fn a_slab_chooses_its_layer_and_a_run_that_works_is_followed() {
    let mut harness = window(story::store());
    harness.get_by_label_contains("Slab conv3").click();
    harness.run_ok();
    assert_eq!(harness.state().state.layer.as_deref(), Some("conv3"));
    let mut harness = window(story::searched());
    harness.get_by_label_contains("bundled model: ");
    harness.get_by_label("Follow the run").click();
    harness.run_ok();
    harness.get_by_label_contains("run 3 autocompress, trial 79: ");
}

#[test]
fn what_leads_is_said_in_few_words() {
    let said = |times, points, faster| {
        let h = Headline { times, points, faster };
        (h.work(), h.effect())
    };
    assert_eq!(
        said(3.94, Some(-0.0031), Some(2.41)),
        ("3.9× less work".into(), Some("−0.3 points · 2.4× faster".into()))
    );
    assert_eq!(
        said(1.0, Some(0.0001), Some(0.8)),
        (
            "The whole network".into(),
            Some("no accuracy lost · 1.25× slower".into())
        )
    );
    assert_eq!(said(12.3, None, None), ("12× less work".into(), None));
}

/// Pumps until something holds, at most a minute.
fn until(session: &mut Session, what: &str, holds: impl Fn(&RunStore) -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds(session.store()) {
        session.pump(Duration::from_millis(20));
        assert!(
            Instant::now() < limit,
            "waited in vain until {what}: {:?} {:?}",
            session.store().notices,
            session.store().no_images
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A network of one's own: its file names images that are not there.
#[test]
fn without_images_a_cut_has_its_cost_and_time_and_with_them_its_accuracy_and_the_curve() {
    let dir = tempfile::tempdir().expect("temp dir");
    let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
    let mut model = random_model(spec, 1).expect("a model");
    model.header.data = "no/such/images".into();
    let path = dir.path().join("mine.safetensors");
    model.save(&path).expect("saves");
    let workspace = Workspace {
        runs: dir.path().join("runs"),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = Session::new(workspace, Arc::new(|| {})).expect("threads");
    session.submit(Command::Open(ModelRef::File(path)));
    let half = Question {
        densities: Vec::new(),
        cut: Some(Pruning { multiple: 1, ..at(2.0) }),
    };
    session.submit(Command::Ask(half.clone()));
    until(&mut session, "the cut is timed", |s| {
        s.answer.as_ref().is_some_and(|a| a.latency.is_some())
    });
    let store = session.store();
    assert!(
        store
            .no_images
            .as_deref()
            .is_some_and(|why| why.contains("no/such/images")),
        "{:?}",
        store.no_images
    );
    assert!(store.notices.is_empty(), "{:?}", store.notices);
    let view = density(store, &half).expect("open");
    let measured = view.measured.expect("timed");
    let target = view.target.expect("a target");
    assert_eq!((measured.n, measured.of), (0, 0));
    assert!(target.reached.is_some_and(|r| (2.0..2.4).contains(&r)), "{target:?}");
    assert!(measured.macs * 2 <= view.macs_dense && view.headline.is_some_and(|h| h.points.is_none()));
    assert!(
        frontier(store, CostAxis::Macs, &HiddenRuns::default())
            .series
            .is_empty(),
        "no accuracy, no points"
    );

    session.submit(Command::UseImages("fashion-mnist".into(), half.clone()));
    let is_whole = |s: &RunStore| s.answer.as_ref().is_some_and(|a| a.is_complete() && a.question == half);
    until(&mut session, "all images are measured", is_whole);
    let store = session.store();
    let view = frontier(store, CostAxis::Macs, &HiddenRuns::default());
    let curve = view.series.iter().find(|s| s.kind == SeriesKind::Cut).expect("a curve");
    assert!(curve.points.len() >= 6, "{curve:?}");
    assert!(curve.points.windows(2).all(|p| p[0].x <= p[1].x));
    let answer = store.answer.as_ref().expect("measured");
    // What is counted beforehand is what the engine then does.
    assert_eq!(answer.macs, measured.macs);
    assert!(answer.seen.iter().all(|s| s.macs == answer.macs));

    // Nothing cut is the model of the file again.
    session.submit(Command::Ask(Question::default()));
    until(&mut session, "the whole model is measured", |s| {
        s.answer.as_ref().is_some_and(|a| a.question.cut.is_none() && a.n > 0)
    });
    let dense = session.store().answer.as_ref().map(|a| a.macs);
    assert_eq!(dense, session.store().open.as_ref().map(|o| o.dense.macs));
}

/// Pictures that nobody has sorted will do: what is measured is agreement with the whole network, and is called so.
#[test]
fn on_pictures_without_classes_agreement_with_the_whole_network_is_measured_and_called_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (model, pictures) = (dir.path().join("mine.safetensors"), dir.path().join("pictures"));
    let spec = zoo::build("lenet5", [1, 28, 28], 10, 1.0).expect("builds");
    random_model(spec, 1).expect("a model").save(&model).expect("saves");
    std::fs::create_dir(&pictures).expect("a folder");
    for i in 0..40u32 {
        let pixel = |x: u32, y: u32| image::Luma([(x * (i + 1) * 7 + y * (i % 5) * 31) as u8]);
        let picture = image::GrayImage::from_fn(28, 28, pixel);
        picture.save(pictures.join(format!("{i}.png"))).expect("saves");
    }
    let workspace = Workspace {
        runs: dir.path().join("runs"),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = Session::new(workspace, Arc::new(|| {})).expect("threads");
    session.submit(Command::Open(ModelRef::File(model)));
    until(&mut session, "it opens", |s| s.no_images.is_some());
    let whole = Question::default();
    session.submit(Command::UseImages(
        pictures.to_string_lossy().into_owned(),
        whole.clone(),
    ));
    let is_whole = |s: &RunStore, asked: &Question| {
        s.answer
            .as_ref()
            .is_some_and(|a| a.is_complete() && a.question == *asked)
    };
    until(&mut session, "all are measured", |s| is_whole(s, &whole));
    let answer = session.store().answer.as_ref().expect("measured");
    // As many as the whole network names in a moment, and no less than this.
    assert!(
        answer.right == answer.n && answer.n >= 32,
        "{} of {}",
        answer.right,
        answer.n
    );
    let cut = Question {
        densities: Vec::new(),
        cut: Some(Pruning { multiple: 1, ..at(3.0) }),
    };
    session.submit(Command::Ask(cut.clone()));
    until(&mut session, "the cut is measured", |s| is_whole(s, &cut));
    let store = session.store();
    let view = density(store, &cut).expect("open");
    assert!(view.quality == "agreement" && !view.doubtful);
    let view = frontier(store, CostAxis::Macs, &HiddenRuns::default());
    assert_eq!(view.quality(), "agreement");
    let flips = view::flips::flips(store, 40).expect("measured");
    assert_eq!(flips.n, store.answer.as_ref().map_or(0, |a| a.n - a.right));
    assert!(
        flips
            .cells
            .iter()
            .all(|cell| cell.text.contains(", the whole network says "))
    );

    // In the window, and what is started from there learns from the whole network.
    let store = session.store().clone();
    let mut harness = window(store);
    harness.get_by_label("Agreement");
    drag_target(&mut harness, 3.0);
    harness.get_by_role_and_label(Role::Button, "Prune to here").click();
    harness.run_ok();
    let Some(Command::Start(experiment)) = harness.state().asked.last() else {
        panic!("{:?}", harness.state().asked)
    };
    assert_eq!(experiment.train.teacher.as_deref(), Some("self"));
    assert_eq!(experiment.data.source, pictures.to_string_lossy());
    // Without gates, a search from here is one over what layers keep, and trains nothing.
    harness.get_by_role_and_label(Role::Button, "Search from here").click();
    harness.run_ok();
    let Some(Command::Start(experiment)) = harness.state().asked.last() else {
        panic!("{:?}", harness.state().asked)
    };
    let Method::Random(config) = &experiment.method else {
        panic!("{:?}", experiment.method)
    };
    assert_eq!((config.retrain.epochs, config.target.times), (0, 3.0));
    assert!(experiment.start.is_some());
}

/// The first answer to a drag comes while it is still a drag, however many images there are.
#[test]
fn a_newer_target_is_answered_before_the_older_one_is_measured_to_its_end() {
    let dir = tempfile::tempdir().expect("temp dir");
    let workspace = Workspace {
        runs: dir.path().join("runs"),
        device: DeviceName::Flex,
        threads: 1,
        farm: None,
    };
    let mut session = Session::new(workspace, Arc::new(|| {})).expect("threads");
    session.submit(Command::Open(ModelRef::Bundled));
    until(&mut session, "it opens", |s| s.images_from.is_some());
    for times in [1.5, 2.0, 3.0] {
        let question = Question {
            densities: vec![Density::FULL; 8],
            cut: Some(at(times)),
        };
        session.submit(Command::Ask(question.clone()));
        until(&mut session, "it is answered", |s| {
            s.answer.as_ref().is_some_and(|a| a.question == question && a.n > 0)
        });
        let answer = session.store().answer.as_ref().expect("answered");
        assert!(answer.n < answer.of && answer.plan.as_ref().is_some_and(|p| p.times >= times * 0.999));
    }
}

#[test]
fn the_strip_in_words_and_the_same_as_a_figure() {
    let asked = probe::uniform(8, story::density(50));
    let view = network::open(&story::store(), &asked, &network::BeganAs::new()).expect("open");
    let lines: Vec<String> = view
        .slabs
        .iter()
        .map(|s| format!("{} {}, {:?} MACs, gate {:?}", s.name, s.short(), s.macs, s.gate))
        .collect();
    expect![[r#"
        conv0 16 of 32, [119008, 216352] MACs, gate Some(0)
        conv1 16 of 32, [1579648, 6252672] MACs, gate Some(1)
        conv2 32 of 64, [790592, 3127872] MACs, gate Some(2)
        conv3 32 of 64, [1570368, 6244928] MACs, gate Some(3)
        conv4 32 of 64, [1570368, 6244928] MACs, gate Some(4)
        conv5 48 of 96, [685152, 2720352] MACs, gate Some(5)
        conv6 48 of 96, [1025376, 4078176] MACs, gate Some(6)
        conv7 48 of 96, [1025376, 4078176] MACs, gate Some(7)
        classifier 10, [480, 960] MACs, gate None"#]]
    .assert_eq(&lines.join("\n"));
    assert!(view.slabs[3].says().contains("50 % of 64 channels run"));
    let figure = plots::figure::network(&view);
    let svg = plots::svg::svg(&figure, &plots::Style::default());
    assert_eq!(svg.matches("<title>").count(), view.slabs.len());
    assert!(svg.contains("32 of 64") && plots::table::csv(&figure).contains("conv3"));
}

#[test]
fn an_image_that_is_looked_at_is_looked_at_anew_where_the_slider_goes() {
    let mut harness = window(story::with_images());
    let is_look = |c: &Command| matches!(c, Command::Look(_));
    harness
        .get_by_role_and_label(Role::Slider, "Density")
        .set_value_accesskit(0.3);
    harness.run_ok();
    assert!(!harness.state().asked.iter().any(is_look), "nothing is known there yet");
    harness.state_mut().store.answer = Some(story::answer(30, 320));
    harness.run_ok();
    assert_eq!(harness.state().asked.iter().filter(|c| is_look(c)).count(), 1);
}

#[test]
fn a_budget_that_was_moved_below_the_best_is_said_so_and_a_run_that_only_measures_too() {
    let mut store = story::searched();
    let id = store.runs[2].id;
    let seq = store.runs[2].events;
    let moved = Event::Steered(Steer::Budget { most: 5.27e6 });
    store.apply(
        id,
        &Stamped {
            seq,
            at: 99.0,
            event: moved,
        },
    );
    let view = search(&store, SearchChoice::default(), TrialValue::Top1).expect("a search");
    let said: Vec<&str> = view.facts.iter().map(|f| f.text.as_str()).collect();
    assert!(
        said.iter()
            .any(|s| s.contains("5.27 M MACs, which was moved after that trial")),
        "{said:?}"
    );
    let wide = &mut store.runs[1];
    wide.steps_planned = wide.steps.last().map_or(0, |s| s.step);
    let row = view::runs::row(&store.runs[1]);
    assert!(row.detail.starts_with("training done, measuring · "), "{}", row.detail);
    assert!(row.progress < 1.0, "the measuring counts");
}

#[test]
fn what_is_lost_is_counted_on_the_images_that_both_were_measured_on() {
    let mut store = story::with_images();
    // The whole network was measured on the first ten images, all right; the cut on forty, of which the first ten are right, too.
    let labels = store.strip.as_ref().expect("images").labels.clone();
    let mut whole = story::complete(100);
    whole.said = labels[..10].to_vec().into();
    (whole.n, whole.right, whole.seen) = (10, 10, Vec::new().into());
    store.passed(whole);
    let mut cut = story::complete(50);
    cut.said = labels
        .iter()
        .enumerate()
        .map(|(i, l)| if i < 10 { *l } else { 99 })
        .collect();
    (cut.n, cut.right, cut.seen) = (40, 10, Vec::new().into());
    store.answered(cut.clone());
    let view = density(&store, &cut.question).expect("open");
    assert_eq!(view.headline.expect("measured").points, Some(0.0));
}
