//! The window while things go on: what was asked for and has not happened yet, what begins, and how far all of it is.

use crate::still::{Still, still};
use crate::story;
use app::layout::LayoutName;
use app::theme;
use data::Split;
use egui::accesskit::Role;
use egui_kittest::{
    Harness,
    kittest::{NodeT, Queryable},
};
use event::{Event, Stamped, Steer, Unit};
use lab::{Command, JobResult, ModelJob, RunStore};
use measure::images::{ImageDetail, ImageRef};
use measure::pruning::Spread;
use measure::{Pruning, Question};
use methods::Method;
use model::{Density, cost, zoo};
use record::experiment::PRESETS;
use record::{Experiment, ModelRef, RunId, RunState, Status};
use std::sync::Arc;
use train::OracleShare;
use view::flips::flips;
use view::frontier::{CostAxis, frontier};
use view::runs::HiddenRuns;
use view::search::{SearchChoice, TrialValue, search};
use view::{network, presets};

/// A window of this layout over a store.
fn window(store: RunStore, layout: LayoutName) -> Harness<'static, Still> {
    let mut harness = still(store, egui::Theme::Light, theme::WINDOW);
    harness.state_mut().state.layouts.go(layout);
    harness.run_ok();
    harness
}

/// The next event of a run.
fn say(store: &mut RunStore, id: RunId, event: Event) {
    let run = store.run(id).expect("a run");
    let (seq, at) = (run.events, run.elapsed_secs + 0.5);
    store.apply(id, &Stamped { seq, at, event });
}

#[test]
fn orders_are_queued_for_the_next_trial_until_it_follows_them() {
    let mut store = story::searched();
    let id = store.runs[2].id;
    let mut densities = store.runs[2].searches[0].current().expect("trials").densities.to_vec();
    densities[3] = 0.25;
    let orders = [
        Steer::Lock { site: 1, density: 0.5 },
        Steer::Propose { densities },
        Steer::Budget { most: 5.27e6 },
    ];
    for order in &orders {
        store.ordered(id, order.clone());
    }
    let mut harness = window(store, LayoutName::Watch);
    let said = "Queued for trial 80: conv1 held at 0.50; a manual proposal; budget moved to 5.27 M MACs";
    assert!(harness.query_all_by_label(said).count() >= 2, "in both panels");
    harness.get_by_label_contains("0.25 proposed for the next trial");
    harness.get_by_label_contains("held at 0.50 from the next trial on");
    let view = search(&harness.state().store, SearchChoice::default(), TrialValue::Top1).expect("searches");
    let ghosts: Vec<Option<f32>> = view.sites.iter().map(|s| s.proposed).collect();
    assert_eq!(ghosts[1..4], [Some(0.5), None, Some(0.25)]);
    // Another bar that is dragged adds to what is proposed.
    harness.state_mut().asked.clear();
    harness
        .get_by_role_and_label(Role::Slider, "Density of conv4")
        .set_value_accesskit(0.75);
    harness.run_ok();
    let [Command::Steer(_, Steer::Propose { densities })] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert_eq!(densities[3..5], [0.25, 0.75]);
    let store = &mut harness.state_mut().store;
    say(store, id, Event::Steered(orders[0].clone()));
    say(store, id, Event::Steered(orders[1].clone()));
    let refused = Event::Refused {
        steer: orders[2].clone(),
        why: "too little".into(),
    };
    say(store, id, refused);
    harness.run_ok();
    assert!(harness.state().store.orders.is_empty());
    assert!(harness.query_by_label_contains("Queued for").is_none());
    assert!(harness.query_by_label_contains("for the next trial").is_none());
}

#[test]
fn a_search_that_begins_says_what_it_opens_and_then_where_it_is() {
    let mut store = story::store();
    store.runs.pop();
    let id = RunId(store.runs.len() as u32);
    let mut experiment = Experiment::load("densities-fashion", &[]).expect("preset");
    experiment.start = Some(ModelRef::Bundled);
    store.runs.push(RunState::new(id, Arc::new(experiment)));
    store.runs[1].status = Status::Running;
    let mut harness = window(store, LayoutName::Watch);
    assert_eq!(
        harness.query_all_by_label_contains(" begins").count(),
        2,
        "in both panels"
    );
    let opens = harness.query_all_by_label_contains("opening the bundled model, reading fashion-mnist");
    assert!(opens.count() >= 2, "in the search panel and at the top");
    for event in story::searching(1) {
        say(&mut harness.state_mut().store, id, event);
    }
    harness.run_ok();
    assert!(harness.query_by_label_contains(" begins").is_none());
    assert!(harness.query_all_by_label_contains("round 1, trial 2 of 120").count() >= 1);
}

/// A run of a hundred steps of a second, measured on 100 images of a tenth of a second each, then on 200 at its end.
#[test]
fn progress_and_the_time_left_count_the_measuring_at_the_end() {
    let experiment = Experiment::load("smoke", &[("method.kind".into(), "dense".into())]).expect("preset");
    let mut run = RunState::new(RunId(0), Arc::new(experiment));
    let (mut seq, mut at) = (0, 0.0);
    let mut say = |run: &mut RunState, event, secs: f64| {
        at += secs;
        run.apply(&Stamped { seq, at, event });
        seq += 1;
    };
    let spec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.1).expect("builds");
    let started = Event::Started {
        dense: cost::dense(&spec).expect("fits"),
        spec: Arc::new(spec),
        steps: 100,
        images: [1000, 100, 100],
        agreement: false,
    };
    say(&mut run, started, 3.0);
    assert_eq!((run.progress(), run.left_secs()), (0.0, None), "nothing is known yet");
    let step = |step| Event::Step {
        step,
        loss: 1.0,
        top1: 0.5,
        lr: 0.1,
    };
    let measured = |split| Event::Epoch {
        epoch: 1,
        split,
        density: Density::FULL,
        gates: Vec::new(),
        loss: 1.0,
        top1: 0.5,
        macs: 1,
        n: 100,
    };
    let left = |run: &RunState| run.left_secs().expect("known").round();
    say(&mut run, step(50), 50.0);
    say(&mut run, measured(Split::Valid), 10.0);
    assert_eq!(left(&run), 70.0);
    say(&mut run, step(100), 50.0);
    assert_eq!((left(&run), run.only_measures()), (20.0, true));
    assert!((run.progress() - 100.0 / 120.0).abs() < 1e-6, "{}", run.progress());
    let phase = Event::Phase {
        name: "measuring".into(),
        progress: 1.0,
    };
    say(&mut run, phase, 0.0);
    say(&mut run, measured(Split::Valid), 10.0);
    assert_eq!(left(&run), 10.0);
    say(&mut run, measured(Split::Test), 10.0);
    assert_eq!((run.progress(), left(&run)), (1.0, 0.0));
}

#[test]
fn runs_are_compared_in_a_table_that_is_sorted_pinned_and_linked_to_the_frontier() {
    let mut store = story::searched();
    let mut deeper = (*store.runs[1].experiment).clone();
    (deeper.seed, deeper.train.lr) = (7, 0.05);
    store.runs[1].experiment = Arc::new(deeper);
    let mut harness = window(store, LayoutName::Compare);
    let order = |h: &Harness<'static, Still>| -> Vec<String> {
        let mut rows: Vec<(f32, String)> = h
            .root()
            .children_recursive()
            .filter_map(|n| Some((n.accesskit_node().label()?, n)))
            .filter(|(label, _)| label.starts_with("run ") && label.contains("MACs, "))
            .map(|(label, n)| (n.rect().top(), label))
            .collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows.into_iter().map(|(_, label)| label[..5].to_owned()).collect()
    };
    assert_eq!(order(&harness), ["run 3", "run 2", "run 1"], "the newest first");
    harness.get_by_label("Sort by macs").click();
    harness.run_ok();
    assert_eq!(order(&harness), ["run 1", "run 3", "run 2"], "the cheapest first");
    harness.get_by_label("Sort by macs").click();
    harness.run_ok();
    assert_eq!(order(&harness), ["run 2", "run 3", "run 1"], "and the other way round");
    harness.get_by_role_and_label(Role::CheckBox, "Pin run 1 smoke").click();
    harness.run_ok();
    harness.get_by_label_contains("−4.1 points · 1.65× more");
    // The pinned run itself is compared with none; the row of another says by how much, and which settings differ.
    harness.get_by_label_contains("run 2 wide: fbs, accuracy 87.2 % ± 1.5");
    harness.get_by_label_contains("lr 0.05");
    // Pointing at a row makes its run stand out in the frontier; a click shows its layers.
    let id = harness.state().store.runs[1].id;
    harness.get_by_label_contains("run 2 wide: fbs").hover();
    harness.run_ok();
    assert_eq!(harness.state().state.linked.now, Some(id));
    // The row, and what hovering over it says.
    let mut both = harness.query_all_by_label_contains("run 2 wide: fbs");
    both.next().expect("a row").click();
    drop(both);
    harness.run_ok();
    assert!(harness.state().state.frontier.shows_run(id));
}

#[test]
fn the_frontier_fits_all_or_what_is_near_the_best_and_costs_can_be_logarithmic() {
    let view = frontier(&story::searched(), CostAxis::Macs, &HiddenRuns::new());
    let [cost, top1] = view.near_best().expect("points");
    let all = view.series.iter().flat_map(|s| &s.points);
    let best = all.clone().map(|p| p.top1).fold(0.0, f64::max);
    assert!(
        top1[1] == best && top1[0] >= best - 0.05 && cost[0] < cost[1],
        "{cost:?} {top1:?}"
    );
    assert!(
        all.map(|p| p.top1).fold(1.0, f64::min) < top1[0],
        "what is far below is left out"
    );
    let mut harness = window(story::searched(), LayoutName::Compare);
    for name in ["Fit near the best", "Logarithmic cost axis", "Fit all"] {
        harness.get_by_role_and_label(Role::Button, name).click();
        harness.run_ok();
    }
    assert!(harness.query_by_label_contains("Frontier plot").is_some());
}

/// The place in the plot where the pointer becomes this, looked for along its middle.
fn place_with(harness: &mut Harness<'static, Still>, icon: egui::CursorIcon) -> egui::Pos2 {
    let rect = harness.get_by_label_contains("Frontier plot").rect();
    let mut x = rect.left() + 40.0;
    while x < rect.right() {
        let at = egui::pos2(x, rect.center().y);
        harness.hover_at(at);
        harness.run_ok();
        if harness.output().platform_output.cursor_icon == icon {
            return at;
        }
        x += 5.0;
    }
    panic!("nowhere in {rect:?}");
}

fn drag(harness: &mut Harness<'static, Still>, from: egui::Pos2, to: egui::Pos2) {
    harness.drag_at(from);
    harness.run_ok();
    harness.hover_at(to);
    harness.run_ok();
    harness.drop_at(to);
    harness.run_ok();
}

#[test]
fn a_goal_on_the_frontier_starts_a_search_and_leaves_what_train_starts() {
    let mut store = story::store();
    store.runs.pop();
    store.images_from = Some("fashion-mnist".into());
    let mut harness = window(store, LayoutName::Tune);
    let draft = harness.state().state.draft.clone();
    harness.get_by_role_and_label(Role::CheckBox, "Goal").click();
    harness.run_ok();
    harness.get_by_label_contains("goal: under 16.5 M MACs, above 91.7 %: ");
    let times = |h: &mut Harness<'static, Still>| {
        h.state_mut().asked.clear();
        h.get_by_role_and_label(Role::Button, "Search for the goal").click();
        h.run_ok();
        let [Command::Start(experiment)] = &h.state().asked[..] else {
            panic!("{:?}", h.state().asked)
        };
        let Method::Densities(config) = &experiment.method else {
            panic!("{:?}", experiment.method)
        };
        config.target.times
    };
    assert!((times(&mut harness) - 2.0).abs() < 0.01);
    // A drag in the plot draws the box anew.
    let from = place_with(&mut harness, egui::CursorIcon::Crosshair);
    drag(&mut harness, from, from - egui::vec2(0.0, 30.0));
    assert!(times(&mut harness) > 2.2, "{}", times(&mut harness));
    harness.get_by_role_and_label(Role::Button, "Search from here").click();
    harness.run_ok();
    assert_eq!(harness.state().state.draft, draft);
}

#[test]
fn the_budget_of_a_running_search_is_dragged_on_the_frontier() {
    let mut harness = window(story::searched(), LayoutName::Watch);
    harness.state_mut().asked.clear();
    let id = harness.state().store.runs[2].id;
    let before = harness.state().store.runs[2].searches[0].budget();
    let from = place_with(&mut harness, egui::CursorIcon::ResizeHorizontal);
    drag(&mut harness, from, from - egui::vec2(40.0, 0.0));
    let [Command::Steer(of, Steer::Budget { most })] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert!(
        *of == id && *most < before * 0.95 && *most > before * 0.3,
        "{most} {before}"
    );
}

#[test]
fn what_flips_first_is_shown_lights_up_and_is_protected_in_the_next_search() {
    let mut store = story::with_images();
    store.images_from = Some("fashion-mnist".into());
    // The slider has moved from 0.5 to 0.4: images 10 and 11 are said to be something else.
    let mut next = story::complete(40);
    let mut said = next.said.to_vec();
    (said[11], said[12]) = (5, 6);
    next.said = said.into();
    store.answered(next);
    let view = flips(&store, 100).expect("measured");
    assert_eq!(view.title, "2 of 40 answers changed from density 0.50 to density 0.40");
    assert_eq!(view.pairs, "Trouser → Sandal 1 · Pullover → Shirt 1");
    let survival = view.survival.as_ref().expect("measured by class");
    assert_eq!(
        (&survival.columns[..], survival.now),
        (&["0.5".to_owned(), "0.4".to_owned()][..], Some(1))
    );
    assert_eq!(
        survival.rows[0].name, "Ankle boot",
        "the class that loses most comes first"
    );
    let mut harness = window(store, LayoutName::Tune);
    harness.state_mut().asked.clear();
    harness
        .get_by_label("flipped image 11: Trouser → Sandal, it is Trouser")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Look(ImageRef::Valid(11))]);
    // What the session answers, and what can be done with it.
    let look = ImageDetail {
        picture: ImageRef::Valid(11),
        label: Some(1),
        ..story::look()
    };
    harness.state_mut().store.look = Some(look);
    harness.run_ok();
    harness.get_by_label("Protect image 11").click();
    harness.run_ok();
    harness.get_by_label("Protect Trouser").click();
    harness.run_ok();
    harness
        .get_by_role_and_label(Role::CheckBox, "Protect class Shirt")
        .click();
    harness.run_ok();
    harness.get_by_label("searches must keep: #111, Shirt, Trouser");
    harness.state_mut().asked.clear();
    harness.get_by_role_and_label(Role::Button, "Search from here").click();
    harness.run_ok();
    let [Command::Start(experiment)] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert_eq!(experiment.data.protect, ["#111", "Shirt", "Trouser"]);
}

#[test]
fn what_is_protected_reaches_the_search_that_works_as_an_order() {
    let mut store = story::searched();
    let id = store.runs[2].id;
    store.answered(story::complete(50));
    store.strip = Some(Arc::new(story::strip()));
    store.images_from = Some(store.runs[2].experiment.data.source.clone());
    let mut harness = window(store, LayoutName::Tune);
    harness.state_mut().asked.clear();
    let protect = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Steer::Protect { names }
    };
    harness
        .get_by_role_and_label(Role::CheckBox, "Protect class Shirt")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Steer(id, protect(&["Shirt"]))]);
    let Still { store, asked, .. } = harness.state_mut();
    store.ordered(id, protect(&["Shirt"]));
    asked.clear();
    harness.run_ok();
    harness.get_by_label("queued for the next trial: Shirt");
    harness
        .get_by_role_and_label(Role::CheckBox, "Protect class Bag")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Steer(id, protect(&["Bag", "Shirt"]))]);
    // Followed, it waits no longer, and the search says what it keeps.
    say(&mut harness.state_mut().store, id, Event::Steered(protect(&["Shirt"])));
    harness.run_ok();
    assert!(harness.query_by_label_contains("queued for the next trial").is_none());
    let view = search(&harness.state().store, SearchChoice::default(), TrialValue::Top1).expect("searches");
    assert_eq!(view.steered.last().expect("steered").text, "steered: Shirt protected");
    harness.state_mut().asked.clear();
    harness.get_by_role_and_label(Role::Button, "None").click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::Steer(id, protect(&[]))]);
    // A search on other images is not told.
    harness.state_mut().store.images_from = Some("elsewhere".into());
    harness.state_mut().asked.clear();
    harness
        .get_by_role_and_label(Role::CheckBox, "Protect class Bag")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().asked, []);
}

#[test]
fn presets_images_and_devices_are_grouped_and_say_what_they_take_and_need() {
    let groups = presets::presets();
    let n: usize = groups.iter().map(|g| g.presets.len()).sum();
    assert_eq!(n, PRESETS.len());
    let unknown = groups
        .iter()
        .flat_map(|g| &g.presets)
        .filter(|p| p.time == "not run yet");
    let unknown: Vec<&str> = unknown.map(|p| p.name).collect();
    assert_eq!(
        unknown,
        ["group-norm-fashion", "halp-fashion", "autocompress-vgg16-cifar-full"],
        "as the table of presets says"
    );
    let mut store = story::store();
    store.runs.pop();
    let mut harness = window(store, LayoutName::Tune);
    harness.get_by_role_and_label(Role::ComboBox, "Preset").click();
    harness.run_ok();
    for words in ["Train", "Prune", "Search and prune"] {
        assert!(harness.query_all_by_label(words).next().is_some(), "{words}");
    }
    harness
        .get_by_label("fbs-cifar · 66 minutes on one shared core · needs CIFAR-10")
        .click();
    harness.run_ok();
    assert_eq!(harness.state().state.draft.experiment.name, "fbs-cifar");
    harness.get_by_label("Images and device").click();
    harness.run_ok();
    harness.get_by_label("fashion-mnist (bundled)").click();
    harness.run_ok();
    assert_eq!(harness.state().state.draft.experiment.data.source, "fashion-mnist");
    harness.state_mut().asked.clear();
    harness.get_by_label("Images and device").click();
    harness.run_ok();
    harness.get_by_label_contains("flex · CPU").click();
    harness.run_ok();
    assert_eq!(harness.state().asked, [Command::UseDevice("flex".into())]);
}

#[test]
fn the_target_is_spread_by_sensitivity_or_as_a_search_found_and_counted_in_milliseconds() {
    let mut harness = window(story::searched(), LayoutName::Tune);
    harness
        .get_by_role_and_label(Role::Slider, "Target rate")
        .set_value_accesskit(3.0);
    harness.run_ok();
    let choose = |h: &mut Harness<'static, Still>, combo: &str, what: &str| -> Pruning {
        h.state_mut().asked.clear();
        h.get_by_role_and_label(Role::ComboBox, combo).click();
        h.run_ok();
        h.get_by_label(what).click();
        h.run_ok();
        match h.state().asked.last() {
            Some(Command::Ask(question)) => question.cut.clone().expect("a cut"),
            other => panic!("{other:?}"),
        }
    };
    let cut = choose(&mut harness, "Spread of the cut", "sensitivity");
    assert_eq!((cut.spread, cut.times), (Spread::Sensitivity, 3.0));
    let cut = choose(&mut harness, "Spread of the cut", "best of a search");
    let best = harness.state().store.runs[2].searches[0]
        .best()
        .expect("trials")
        .densities[3];
    assert_eq!((cut.spread, cut.vector["conv3"]), (Spread::Vector, best));
    harness.get_by_label_contains("as trial 64 of run 3 autocompress");
    let cut = choose(&mut harness, "Target unit", "fewer ms");
    assert_eq!(cut.unit, Unit::Ms);
}

/// The story's network without gates.
fn without_gates() -> RunStore {
    let mut open = story::open_model();
    open.header.spec = zoo::build("m-cifarnet", [1, 28, 28], 10, 0.5).expect("builds");
    open.header.densities = vec![Density::FULL];
    open.header.metrics.clear();
    let mut answer = story::answer(100, 5000);
    answer.question = Question::default();
    RunStore {
        open: Some(Arc::new(open)),
        answer: Some(answer),
        ..RunStore::default()
    }
}

#[test]
fn an_edge_of_a_slab_sets_its_layer_and_proposes_to_a_search_that_is_followed() {
    let mut harness = window(without_gates(), LayoutName::Tune);
    let slab = |h: &Harness<'static, Still>| h.get_by_label_contains("Slab conv3").rect();
    let place = slab(&harness);
    harness.state_mut().asked.clear();
    drag(
        &mut harness,
        place.right_center() - egui::vec2(3.0, 0.0),
        place.center(),
    );
    let Some(Command::Ask(question)) = harness.state().asked.last() else {
        panic!("{:?}", harness.state().asked)
    };
    let cut = question.cut.as_ref().expect("a cut");
    assert!(
        cut.spread == Spread::Given && (0.4..0.6).contains(&cut.vector["conv3"]),
        "{cut:?}"
    );
    // The slider of the target takes over from there.
    harness
        .get_by_role_and_label(Role::Slider, "Target rate")
        .set_value_accesskit(2.0);
    harness.run_ok();
    let Some(Command::Ask(question)) = harness.state().asked.last() else {
        panic!()
    };
    assert_eq!(
        question.cut.as_ref().map(|c| (c.spread, c.times)),
        Some((Spread::Vector, 2.0))
    );

    let mut harness = window(story::searched(), LayoutName::Watch);
    // The strip shows the newest trial.
    let newest = &harness.state().store.runs[2].searches[0].trials;
    let shown = newest.last().expect("trials").trial.densities[3];
    harness.state_mut().asked.clear();
    harness.get_by_label_contains("Slab conv3").focus();
    harness.run_ok();
    harness.key_press(egui::Key::ArrowLeft);
    harness.run_ok();
    let [Command::Steer(id, Steer::Propose { densities })] = &harness.state().asked[..] else {
        panic!("{:?}", harness.state().asked)
    };
    assert!(
        densities[3] < shown && densities[3] > shown - 0.02 && densities.len() == 8,
        "{densities:?}"
    );
    // Its ghost stays until a trial has it.
    let (id, order) = (
        *id,
        Steer::Propose {
            densities: vec![0.3; 8],
        },
    );
    harness.state_mut().store.ordered(id, order);
    let view = network::of_run(&harness.state().store, id).expect("searches");
    assert_eq!(view.slabs[3].proposed.map(|d| (d * 10.0).round()), Some(3.0));
}

#[test]
fn an_image_is_played_through_the_network_beside_the_whole_one() {
    let mut store = story::with_images();
    store.images_from = Some("fashion-mnist".into());
    let view = network::open(
        &store,
        &measure::probe::uniform(8, story::density(50)),
        &Default::default(),
    );
    let play = network::play(&store, &view.expect("open")).expect("looked at");
    let ends = [&play.here, &play.whole].map(|ways| ways.last().expect("slabs")[1]);
    // At the ratio of the measured times.
    assert!(
        (ends[0] - 0.6091592 / 1.22).abs() < 1e-3 && (ends[1] - 1.0).abs() < 1e-9,
        "{ends:?}"
    );
    assert_eq!(play.active[3].iter().filter(|&&runs| runs).count(), 32);
    let mut harness = window(store, LayoutName::Tune);
    harness.get_by_role_and_label(Role::Button, "Play an image").click();
    harness.run_ok();
    harness.get_by_label("Playing image 3: Dress: 0.61 ms here, 1.22 ms in the whole network");
}

#[test]
fn gates_are_compared_with_what_is_largest_and_norm_scales_are_shown_while_slimming_trains() {
    let mut store = story::with_images();
    store.images_from = Some("fashion-mnist".into());
    let mut harness = window(store, LayoutName::Tune);
    harness.state_mut().asked.clear();
    harness.get_by_label("Compare gates").click();
    harness.run_ok();
    let job = ModelJob::Oracle {
        from: ModelRef::Bundled,
        density: story::density(50),
        source: "fashion-mnist".into(),
    };
    assert_eq!(harness.state().asked, [Command::Work(job.clone())]);
    let share = |i: usize| OracleShare {
        layer: format!("conv{i}"),
        channels: 32,
        chosen: 16,
        oracle_share: 0.6 + 0.02 * i as f64,
        chance: 0.5,
        n: 256,
    };
    harness.state_mut().store.done(JobResult {
        oracle: Some((0..8).map(share).collect()),
        ..JobResult::new(job, Ok("Compared".into()))
    });
    harness.run_ok();
    harness.get_by_label("Gates choose 67 % of an image's truly largest channels (chance: 50 %)");

    let mut store = story::store();
    let slimming = Experiment::load("slimming-fashion", &[]).expect("preset");
    store.runs[1].experiment = Arc::new(slimming);
    store.runs[1].folder = Some("runs/slim".into());
    let id = store.runs[1].id;
    let kept = Event::Kept {
        model: "models/latest.safetensors".into(),
        cost: cost::dense(&story::spec()).expect("fits"),
        top1: 0.5,
    };
    say(&mut store, id, kept);
    let mut harness = window(store, LayoutName::Tune);
    let job = ModelJob::Scales {
        run: id,
        file: "runs/slim/models/latest.safetensors".into(),
    };
    assert!(
        harness.state().asked.contains(&Command::Work(job.clone())),
        "{:?}",
        harness.state().asked
    );
    for scales in [vec![0.5; 100], [vec![0.001; 60], vec![0.6; 40]].concat()] {
        harness.state_mut().store.done(JobResult {
            scales: Some(scales.into()),
            ..JobResult::new(job.clone(), Ok("Read".into()))
        });
    }
    harness.run_ok();
    harness.get_by_label("Scales").click();
    harness.run_ok();
    harness.get_by_label_contains("Norm scales: run 2 slimming-fashion: 60 % of 100 scales are under 0.01");
}

#[test]
fn agreement_with_a_teacher_is_not_called_accuracy() {
    let mut store = story::searched();
    for run in &mut store.runs {
        run.agreement = true;
    }
    let view = search(&store, SearchChoice::default(), TrialValue::Top1).expect("searches");
    let svg = plots::svg::svg(
        &plots::figure::search(&view, TrialValue::Top1),
        &plots::Style::default(),
    );
    assert!(svg.contains("agreement, %") && !svg.contains("accuracy"), "{svg}");
    let html = plots::report::html(&store);
    assert!(html.contains("91.3 % agreement") && html.contains("Training: loss and agreement."));
    let mut harness = window(store, LayoutName::Compare);
    harness.get_by_label("Sort by agreement");
    assert!(harness.query_by_label("Sort by accuracy").is_none());
    harness.state_mut().state.layouts.go(LayoutName::Watch);
    harness.run_ok();
    harness.get_by_label("Agreement");
}

#[test]
fn what_hovering_explains_stays_in_sight() {
    let mut harness = window(story::with_images(), LayoutName::Tune);
    let number = harness.get_by_label("8.37 M").rect();
    let caption = harness
        .query_all_by_label("MACs per image")
        .find(|node| node.rect().bottom() <= number.top() + 2.0 && node.rect().left() == number.left())
        .expect("the caption above the number")
        .rect();
    harness.hover_at(caption.center());
    harness.run_steps(40);
    let words = harness.get_by_label_contains("MACs: multiply–accumulates").rect();
    assert!(!words.intersects(number), "{words:?} over {number:?}");
}

#[test]
fn in_a_low_window_the_numbers_come_before_the_fold_and_nothing_is_cut_off_beside() {
    let mut store = story::with_images();
    store.images_from = Some("fashion-mnist".into());
    let mut harness = still(store, egui::Theme::Light, [1280.0, 720.0]);
    harness.state_mut().state.layouts.go(LayoutName::Tune);
    harness.run_ok();
    let layers = harness.get_by_label("Layers").rect();
    let rect = |label: &str| harness.get_by_role_and_label(Role::Label, label).rect();
    for number in ["91.2 %", "8.37 M", "0.61 ms"] {
        assert!(
            rect(number).bottom() < layers.top(),
            "{number} lies below the panel's edge"
        );
    }
    // What belongs together stands in one row.
    let combo = |label: &str| harness.get_by_role_and_label(Role::ComboBox, label).rect().center().y;
    assert!((combo("Spread of the cut") - combo("Widths that stay")).abs() < 2.0);
    let beside = harness.get_by_label("What breaks first").rect();
    let compare = harness.get_by_role_and_label(Role::Button, "Compare gates").rect();
    assert!(compare.right() < beside.left(), "{compare:?} is cut off");
    let button = harness.get_by_role_and_label(Role::Button, "Search from here").rect();
    assert!((button.center().y - combo("Method that prunes")).abs() < 4.0);
    // The list of keys fills the window, and what closes it stands at its top.
    harness.key_press(egui::Key::F1);
    harness.run_ok();
    let close = harness.get_by_role_and_label(Role::Button, "Close").rect();
    let first = harness.get_by_label_contains("Tab moves between controls").rect();
    assert!(close.top() <= first.top(), "{close:?}");
    let last = harness.get_by_label("Cut the open model to the target that its slider stands at, and retrain it, by the method that is chosen beside");
    assert!(last.rect().bottom() < 720.0, "more than ten of them are in sight");
}

#[test]
fn lines_and_marks_are_named_beside_their_plots_and_losses_can_be_logarithmic() {
    let mut harness = window(story::searched(), LayoutName::Watch);
    for mark in ["mark: best", "mark: accepted", "mark: rejected", "mark: steered"] {
        harness.get_by_label(mark);
    }
    let [trials, temperature] =
        ["Trials plot", "Temperature plot"].map(|plot| harness.get_by_role_and_label(Role::Image, plot).rect());
    assert!(temperature.height() < trials.height() / 2.0, "the trials have the room");
    harness.state_mut().state.layouts.go(LayoutName::Tune);
    harness.run_ok();
    harness.get_by_label("mark: valid at density 1");
    let log = "Logarithmic loss and rate axes";
    harness.get_by_role_and_label(Role::Button, log).click();
    harness.run_ok();
    harness.get_by_role_and_label(Role::Image, "Loss plot");
    harness.get_by_role_and_label(Role::Button, log).click();
    harness.run_ok();
}
