//! Views as text: what is shown for a store made by hand or folded from events.

use crate::story;
use crate::story::{answer, density as percent, events, store};
use event::{Ending, Event, Outcome, Verdict};
use expect_test::{Expect, expect};
use lab::RunStore;
use record::Status;
use serde::Serialize;
use view::curves::{CurveAxis, CurveMetric, CurveOptions, Curves};
use view::frontier::{CostAxis, PointSource};
use view::images::{ImageFilter, ImageOptions, ImageOrder};
use view::runs::HiddenRuns;
use view::saliency::SaliencyScope;
use view::search::{SearchChoice, TrialValue};
use view::wish::Requirement;
use view::{
    density, form, frontier, images, layers, model, notices, parallel, residuals, runs, saliency, search, text, times,
    volume,
};

/// One density for all gates of the story's model.
fn uniform(p: u32) -> measure::Question {
    measure::probe::uniform(8, percent(p))
}

fn check(view: &impl Serialize, expected: Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(view).expect("views can be written down"));
}

#[test]
fn nothing_is_shown_of_a_model_that_is_not_open() {
    let empty = RunStore::default();
    assert_eq!(density::density(&empty, &uniform(50)), None);
    assert_eq!(layers::layers(&empty, &uniform(50)), None);
    assert_eq!(saliency::saliency(&empty, SaliencyScope::All), None);
    assert_eq!(
        frontier::frontier(&empty, CostAxis::Macs, &HiddenRuns::new()).series,
        []
    );
    assert!(runs::runs(&empty).is_empty() && notices::notices(&empty).is_empty());
}

#[test]
fn density_shows_what_was_measured_beside_what_is_dense() {
    check(
        &density::density(&store(), &uniform(50)),
        expect![[r#"
            {
              "model": "bundled model",
              "quality": "accuracy",
              "asked": 0.5,
              "range": [
                0.2,
                1.0
              ],
              "target": {
                "most": 180.0,
                "reached": 1.0,
                "filters": [
                  544,
                  544
                ],
                "sensitivity": [
                  0,
                  8
                ],
                "has_norm_scales": false,
                "best": null
              },
              "headline": {
                "times": 3.9401106908039427,
                "points": -0.015649762821197455,
                "faster": null
              },
              "wants": null,
              "macs_nominal": 8366368,
              "macs_dense": 32964416,
              "no_answer": null,
              "fresh": true,
              "doubtful": false,
              "measured": {
                "density": 0.5,
                "n": 5000,
                "of": 5000,
                "top1": 0.9118,
                "interval": [
                  0.9036200750409025,
                  0.9193476456271816
                ],
                "macs": 8366368,
                "millis": [
                  0.5591592,
                  0.6091592,
                  0.7091592
                ],
                "millis_dense": null,
                "no_gain": null,
                "busy": null,
                "weight_bytes": [
                  396864,
                  1438720
                ],
                "activation_bytes": [
                  353256,
                  703336
                ],
                "peak_bytes": [
                  86528,
                  173056
                ]
              }
            }"#]],
    );
}

#[test]
fn an_answer_to_another_question_is_not_fresh_and_a_partial_one_has_a_wider_interval() {
    let mut store = store();
    store.answer = Some(answer(60, 320));
    let view = density::density(&store, &uniform(50)).expect("open");
    let measured = view.measured.expect("measured");
    assert!(!view.fresh && !measured.is_complete());
    assert_eq!((measured.n, measured.density), (320, 0.6));
    store.answer = Some(answer(60, 5000));
    let complete = density::density(&store, &uniform(60)).expect("open");
    let narrow = complete.measured.expect("measured");
    assert!(complete.fresh && narrow.plus_minus() * 3.0 < measured.plus_minus());
}

#[test]
fn layers_show_kept_channels_and_macs() {
    let view = layers::layers(&store(), &uniform(50)).expect("open");
    let lines: Vec<String> = view
        .rows
        .iter()
        .map(|r| {
            format!(
                "{} {} channels, kept {}, asked {}, {} of {} MACs",
                r.name,
                r.channels,
                text::percent(r.kept),
                text::percent(r.asked),
                text::count(r.macs.unwrap_or(0)),
                text::count(r.macs_dense)
            )
        })
        .collect();
    expect![[r#"
        conv0 32 channels, kept 50.0 %, asked 50.0 %, 119 k of 216 k MACs
        conv1 32 channels, kept 50.0 %, asked 50.0 %, 1.58 M of 6.25 M MACs
        conv2 64 channels, kept 50.0 %, asked 50.0 %, 791 k of 3.13 M MACs
        conv3 64 channels, kept 50.0 %, asked 50.0 %, 1.57 M of 6.24 M MACs
        conv4 64 channels, kept 50.0 %, asked 50.0 %, 1.57 M of 6.24 M MACs
        conv5 96 channels, kept 50.0 %, asked 50.0 %, 685 k of 2.72 M MACs
        conv6 96 channels, kept 50.0 %, asked 50.0 %, 1.03 M of 4.08 M MACs
        conv7 96 channels, kept 50.0 %, asked 50.0 %, 1.03 M of 4.08 M MACs"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn before_the_first_answer_layers_show_what_the_density_promises() {
    let mut store = store();
    let mut measured = layers::layers(&store, &uniform(50)).expect("open");
    // What is cut together is known with the answer.
    assert!(measured.rows.iter().all(|r| r.group.as_ref() == Some(&r.name)));
    measured.rows.iter_mut().for_each(|r| r.group = None);
    store.answer = None;
    let promised = layers::layers(&store, &uniform(50)).expect("open");
    assert!(measured.measured && !promised.measured);
    assert_eq!(
        measured.rows, promised.rows,
        "the story's answer is exactly what was promised"
    );
}

#[test]
fn saliency_is_relative_to_its_layer_and_said_in_words() {
    let view = saliency::saliency(&store(), SaliencyScope::All).expect("measured");
    assert!(
        view.rows
            .iter()
            .all(|r| r.saliency.iter().copied().fold(0.0, f32::max) == 1.0)
    );
    let said: Vec<String> = [(0, 0), (2, 17), (7, 3)]
        .iter()
        .filter_map(|&(l, c)| view.says(l, c))
        .collect();
    expect![[r#"
        conv0 channel 0: saliency 0.24, active in 8 % of images
        conv2 channel 17: saliency 0.75, active in 100 % of images
        conv7 channel 3: saliency 0.49, active in 95 % of images"#]]
    .assert_eq(&said.join("\n"));
    assert_eq!(view.says(99, 0), None);
    assert_eq!(view.says(0, 999), None);
}

#[test]
fn the_frontier_has_the_open_model_what_is_measured_now_and_the_last_epoch_of_each_run() {
    let mut view = frontier::frontier(&store(), CostAxis::Macs, &HiddenRuns::new());
    assert_eq!(view.series[0].points.len(), 17);
    view.series[0].points.drain(1..16);
    check(
        &view,
        expect![[r#"
            {
              "against": "Macs",
              "series": [
                {
                  "label": "bundled model, recorded",
                  "about": "validation images, recorded with the model",
                  "run": null,
                  "kind": "Recorded",
                  "mark": 0,
                  "is_agreement": false,
                  "seeds": 1,
                  "points": [
                    {
                      "source": {
                        "Recorded": 0.2
                      },
                      "x": 1558153.0,
                      "top1": 0.8740000128746033,
                      "spread": null,
                      "n": 5000,
                      "is_beaten": false
                    },
                    {
                      "source": {
                        "Recorded": 1.0
                      },
                      "x": 32964416.0,
                      "top1": 0.9274497628211975,
                      "spread": null,
                      "n": 5000,
                      "is_beaten": false
                    }
                  ]
                },
                {
                  "label": "run 1 smoke",
                  "about": "validation images, epoch 3",
                  "run": 0,
                  "kind": "Run",
                  "mark": 1,
                  "is_agreement": false,
                  "seeds": 1,
                  "points": [
                    {
                      "source": {
                        "Epoch": [
                          0,
                          0.25
                        ]
                      },
                      "x": 2187920.0,
                      "top1": 0.8731498718261719,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    },
                    {
                      "source": {
                        "Epoch": [
                          0,
                          0.5
                        ]
                      },
                      "x": 8366368.0,
                      "top1": 0.9021823406219482,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    },
                    {
                      "source": {
                        "Epoch": [
                          0,
                          1.0
                        ]
                      },
                      "x": 32964416.0,
                      "top1": 0.9177723526954651,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    }
                  ]
                },
                {
                  "label": "run 2 wide",
                  "about": "validation images, epoch 2",
                  "run": 1,
                  "kind": "Run",
                  "mark": 1,
                  "is_agreement": false,
                  "seeds": 1,
                  "points": [
                    {
                      "source": {
                        "Epoch": [
                          1,
                          0.25
                        ]
                      },
                      "x": 2187920.0,
                      "top1": 0.8277252316474915,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    },
                    {
                      "source": {
                        "Epoch": [
                          1,
                          0.5
                        ]
                      },
                      "x": 8366368.0,
                      "top1": 0.8567577600479126,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    },
                    {
                      "source": {
                        "Epoch": [
                          1,
                          1.0
                        ]
                      },
                      "x": 32964416.0,
                      "top1": 0.8723477125167847,
                      "spread": null,
                      "n": 2000,
                      "is_beaten": false
                    }
                  ]
                }
              ],
              "now": {
                "asked": "mean density 0.50",
                "x": 8366368.0,
                "top1": 0.9118,
                "interval": [
                  0.9036200750409025,
                  0.9193476456271816
                ]
              },
              "dense": 32964416.0,
              "reference": [
                0.9274497628211975,
                "bundled model at density 1"
              ]
            }"#]],
    );
}

#[test]
fn the_run_whose_model_is_open_is_not_drawn_twice() {
    let mut store = store();
    let model = store.runs[0]
        .ending
        .as_ref()
        .and_then(|e| e.model.clone())
        .expect("finished");
    let mut open = story::open_model();
    open.from = record::ModelRef::File(model.into());
    store.open = Some(std::sync::Arc::new(open));
    let labels: Vec<String> = frontier::frontier(&store, CostAxis::Macs, &HiddenRuns::new())
        .series
        .into_iter()
        .map(|s| s.label)
        .collect();
    assert_eq!(labels, ["bundled model, recorded", "run 2 wide"]);
}

#[test]
fn runs_are_listed_newest_first_with_what_they_do() {
    check(
        &runs::runs(&store()),
        expect![[r#"
            [
              {
                "id": 1,
                "title": "run 2 wide",
                "status": "running",
                "progress": 0.5,
                "detail": "epoch 3 of 3 · 0:21 left",
                "is_live": true,
                "model": null,
                "method": "fbs",
                "folder": null,
                "key": "run 2 wide",
                "past": null,
                "origin": null,
                "can_go_on": false,
                "trouble": "class 3: 1 picture could not be read and was left out",
                "is_stalled": false
              },
              {
                "id": 0,
                "title": "run 1 smoke",
                "status": "finished",
                "progress": 1.0,
                "detail": "valid 91.3 % · test 90.8 % · took 0:37",
                "is_live": false,
                "model": "runs/20260101T000000Z_smoke_0001/models/smoke.safetensors",
                "method": "fbs",
                "folder": "runs/20260101T000000Z_smoke_0001",
                "key": "20260101T000000Z_smoke_0001",
                "past": [
                  74,
                  74
                ],
                "origin": null,
                "can_go_on": false,
                "trouble": null,
                "is_stalled": false
              }
            ]"#]],
    );
}

#[test]
fn a_failed_run_says_why_in_the_list_and_in_the_log() {
    let mut store = store();
    let Event::Ended(ending) = story::finished() else {
        unreachable!()
    };
    let failed = Ending {
        outcome: Outcome::Failed,
        reason: Some("the loss is not a number at step 7".into()),
        model: None,
        valid_top1: None,
        test_top1: None,
        ..ending
    };
    story::add_run(&mut store, "hot", &[Event::Ended(failed)]);
    store.notice("broken.safetensors: not a safetensors file".into());
    assert_eq!(store.runs[2].status, Status::Failed);
    let row = &runs::runs(&store)[0];
    assert!(
        row.status == Status::Failed && row.detail.starts_with("the loss is not a number"),
        "{row:?}"
    );
    check(
        &notices::notices(&store),
        expect![[r#"
        [
          {
            "is_error": false,
            "from": "run 1 smoke",
            "text": "class 3: 1 picture could not be read and was left out"
          },
          {
            "is_error": false,
            "from": "run 1 smoke",
            "text": "finished; saved in runs/20260101T000000Z_smoke_0001"
          },
          {
            "is_error": false,
            "from": "run 2 wide",
            "text": "class 3: 1 picture could not be read and was left out"
          },
          {
            "is_error": true,
            "from": "run 3 hot",
            "text": "the loss is not a number at step 7"
          },
          {
            "is_error": true,
            "from": "workbench",
            "text": "broken.safetensors: not a safetensors file"
          }
        ]"#]],
    );
}

#[test]
fn curves_that_grow_are_the_curves_of_the_whole_log() {
    let options = CurveOptions {
        smoothing: 0.6,
        ..CurveOptions::default()
    };
    let mut growing = Curves::default();
    for steps in [0, 10, 84, 120] {
        let mut store = RunStore::default();
        story::add_run(&mut store, "smoke", &events(steps));
        let grown = growing.view(&store, options, &HiddenRuns::new());
        assert_eq!(
            grown,
            Curves::default().view(&store, options, &HiddenRuns::new()),
            "after {steps} steps"
        );
    }
}

#[test]
fn curves_of_a_run_that_is_looked_back_at_end_there_and_come_back_whole() {
    let mut store = story::searched();
    store.runs[0].folder = Some("runs/old".into());
    let mut curves = Curves::default();
    let options = CurveOptions::default();
    let whole = curves.view(&store, options, &HiddenRuns::new());
    let mut past = store.runs[0].clone();
    past.steps.truncate(past.steps.len() / 2);
    let half = past.steps.len();
    store.look_back(past);
    let shown = curves.view(&store, options, &HiddenRuns::new());
    assert_eq!(shown.runs[0].loss.raw.len(), half);
    store.come_back();
    assert_eq!(curves.view(&store, options, &HiddenRuns::new()), whole);
}

#[test]
fn curves_have_every_step_smoothed_beside_raw_and_validation_by_density() {
    let mut view = Curves::default().view(
        &store(),
        CurveOptions {
            along: CurveAxis::Seconds,
            smoothing: 0.9,
            ..CurveOptions::default()
        },
        &HiddenRuns::new(),
    );
    assert_eq!(view.runs.len(), 2);
    let run = &mut view.runs[0];
    assert_eq!((run.loss.raw.len(), run.loss.smooth.len(), run.lr.len()), (60, 60, 60));
    let spread = |c: &[[f64; 2]]| c.windows(2).map(|w| (w[1][1] - w[0][1]).abs()).sum::<f64>();
    assert!(spread(&run.loss.smooth) < spread(&run.loss.raw) / 2.0);
    check(
        &run.valid,
        expect![[r#"
        [
          {
            "density": 1.0,
            "points": [
              [
                11.0,
                0.8723477125167847
              ],
              [
                23.0,
                0.908025324344635
              ],
              [
                35.0,
                0.9177723526954651
              ]
            ]
          },
          {
            "density": 0.5,
            "points": [
              [
                11.0,
                0.8567577600479126
              ],
              [
                23.0,
                0.8924353122711182
              ],
              [
                35.0,
                0.9021823406219482
              ]
            ]
          },
          {
            "density": 0.25,
            "points": [
              [
                11.0,
                0.8277252316474915
              ],
              [
                23.0,
                0.8634028434753418
              ],
              [
                35.0,
                0.8731498718261719
              ]
            ]
          }
        ]"#]],
    );
}

#[test]
fn a_search_shows_its_trials_its_best_and_how_freely_it_accepts() {
    let mut view = search::search(&story::searched(), SearchChoice::default(), TrialValue::Top1).expect("searches");
    assert_eq!(view.marks.len(), 80);
    assert!(view.temperature.len() == 80 && view.acceptance.len() == 80);
    view.marks.drain(2..78);
    view.temperature.drain(1..79);
    view.acceptance.drain(1..79);
    view.best_so_far.drain(3..);
    view.sites.truncate(2);
    check(
        &view,
        expect![[r#"
            {
              "run": 2,
              "title": "run 3 autocompress",
              "names": [
                "round 1"
              ],
              "index": 0,
              "is_live": true,
              "quality": "accuracy",
              "unit": "macs",
              "budget": 26270208.0,
              "whole": 32837760.0,
              "trials": [
                80,
                120
              ],
              "facts": [
                {
                  "is_warning": false,
                  "text": "80 of 120 trials on 2 000 images: 10 best, 14 accepted, 56 rejected"
                },
                {
                  "is_warning": false,
                  "text": "The best trial spends 24.4 M MACs of a budget of 26.3 M MACs"
                },
                {
                  "is_warning": false,
                  "text": "7 of the last 50 trials were accepted. At temperature 9.7e-4, a typical loss of 0.0155 is accepted under 1 % of the time."
                }
              ],
              "marks": [
                {
                  "number": 0,
                  "value": 0.8537838459014893,
                  "verdict": "best"
                },
                {
                  "number": 1,
                  "value": 0.8681886792182922,
                  "verdict": "best"
                },
                {
                  "number": 78,
                  "value": 0.8837102651596069,
                  "verdict": "rejected"
                },
                {
                  "number": 79,
                  "value": 0.8936124444007874,
                  "verdict": "rejected"
                }
              ],
              "best_so_far": [
                [
                  0.0,
                  0.8537838459014893
                ],
                [
                  1.0,
                  0.8537838459014893
                ],
                [
                  1.0,
                  0.8681886792182922
                ]
              ],
              "temperature": [
                [
                  0.0,
                  0.019999999552965164
                ],
                [
                  79.0,
                  0.0009731176542118192
                ]
              ],
              "acceptance": [
                [
                  0.0,
                  0.44999998807907104
                ],
                [
                  79.0,
                  0.02974865213036537
                ]
              ],
              "steered": [
                {
                  "after": 40,
                  "text": "steered: conv0 held at 1.00",
                  "is_refused": false
                },
                {
                  "after": 60,
                  "text": "steered: re-heated",
                  "is_refused": false
                }
              ],
              "queued": null,
              "shown": {
                "number": 64,
                "verdict": "best",
                "text": "trial 64, best: 90.7 %, reward 0.9073, 24.4 M MACs, 223 k parameters"
              },
              "best": {
                "number": 64,
                "verdict": "best",
                "text": "trial 64, best: 90.7 %, reward 0.9073, 24.4 M MACs, 223 k parameters"
              },
              "sites": [
                {
                  "name": "conv0",
                  "label": "conv0",
                  "dimension": "filter",
                  "choices": 32,
                  "share": 0.0059287844237853006,
                  "tied": [],
                  "shown": 1.0,
                  "best": 1.0,
                  "held": 1.0,
                  "proposed": null,
                  "will_hold": null
                },
                {
                  "name": "conv1",
                  "label": "conv1",
                  "dimension": "filter",
                  "choices": 32,
                  "share": 0.18972110156112962,
                  "tied": [],
                  "shown": 0.668897,
                  "best": 0.668897,
                  "held": null,
                  "proposed": null,
                  "will_hold": null
                }
              ]
            }"#]],
    );
}

#[test]
fn a_search_can_be_looked_back_at_any_trial() {
    let store = story::searched();
    let id = store.runs[2].id;
    let at = |trial| {
        let chosen = SearchChoice {
            run: Some(id),
            search: Some(0),
            trial,
        };
        search::search(&store, chosen, TrialValue::Reward).expect("searches")
    };
    let (then, now) = (at(Some(3)), at(None));
    let said = |v: &search::SearchView| v.shown.as_ref().map(|t| t.text.clone()).unwrap_or_default();
    expect![[r#"
        trial 3, accepted: 86.3 %, reward 0.8634, 26.2 M MACs, 240 k parameters
        trial 64, best: 90.7 %, reward 0.9073, 24.4 M MACs, 223 k parameters"#]]
    .assert_eq(&format!("{}\n{}", said(&then), said(&now)));
    assert_ne!(then.sites[1].shown, now.sites[1].shown);
    assert_eq!(then.sites[1].best, now.sites[1].best);
}

/// A search whose trials all cost the same reward and met the same end.
fn monotone(verdict: Verdict, n: u64, temperature: f32) -> RunStore {
    let mut said = story::searching(n);
    for event in &mut said {
        if let Event::Trial(t) = event {
            (t.temperature, t.reward) = (temperature, 0.5 - 0.01 * t.number as f32);
            t.verdict = if t.number == 0 { Verdict::Best } else { verdict };
        }
    }
    let mut store = RunStore::default();
    story::add_run(&mut store, "autocompress", &said);
    store
}

#[test]
fn a_search_that_takes_everything_or_nothing_says_so_and_why() {
    let said = |store: &RunStore| {
        let view = search::search(store, SearchChoice::default(), TrialValue::Top1).expect("searches");
        view.facts.last().map(|f| format!("{} {}", f.is_warning, f.text))
    };
    expect!["true Still a random walk: each worse one of the last 20 trials was accepted. At temperature 1.00, a typical loss of 0.0100 is accepted 99 % of the time."].assert_eq(&said(&monotone(Verdict::Accepted, 60, 1.0)).unwrap_or_default());
    expect!["true Frozen: none of the last 20 trials was accepted. Re-heat the search or stop it. At temperature 1.0e-6, a typical loss of 0.350 is accepted 0 % of the time."]
        .assert_eq(&said(&monotone(Verdict::Rejected, 60, 1e-6)).unwrap_or_default());
    expect!["false 0 of the last 50 trials were accepted."]
        .assert_eq(&said(&monotone(Verdict::Rejected, 60, 0.0)).unwrap_or_default());
    expect!["false The best trial spends 22.5 M MACs of a budget of 26.3 M MACs"]
        .assert_eq(&said(&monotone(Verdict::Rejected, 10, 1e-6)).unwrap_or_default());
    // At its end it should be cold.
    let mut over = monotone(Verdict::Rejected, 60, 1e-6);
    std::sync::Arc::make_mut(&mut over.runs[0].searches[0].start).trials = 60;
    expect![
        "false 0 of the last 50 trials were accepted. At temperature 1.0e-6, a typical loss of 0.350 is accepted 0 % of the time."
    ]
    .assert_eq(&said(&over).unwrap_or_default());
}

#[test]
fn parallel_lines_end_with_the_best_and_the_one_looked_at() {
    let view = parallel::parallel(&story::searched(), SearchChoice::default()).expect("searches");
    assert_eq!((view.sites.len(), view.lines.len(), view.hidden), (8, 80, 0));
    let last: Vec<String> = view.lines[78..]
        .iter()
        .map(|l| {
            format!(
                "trial {} rank {:.2} best {} shown {}",
                l.number, l.rank, l.is_best, l.is_shown
            )
        })
        .collect();
    expect![[r#"
        trial 67 rank 0.96 best false shown false
        trial 64 rank 1.00 best true shown true"#]]
    .assert_eq(&last.join("\n"));
}

#[test]
fn residuals_fall_layer_by_layer() {
    let view = residuals::residuals(&story::searched(), SearchChoice::default()).expect("said");
    let rows: Vec<String> = view
        .rows
        .iter()
        .map(|r| {
            format!(
                "{} {:?}: {:.3} to {:.3}",
                r.layer, r.dimension, r.points[0][1], r.points[11][1]
            )
        })
        .collect();
    expect![[r#"
        conv0 Filter: 0.128 to 0.007
        conv1 Filter: 0.192 to 0.010
        conv2 Filter: 0.256 to 0.014
        conv3 Filter: 0.321 to 0.017"#]]
    .assert_eq(&rows.join("\n"));
    assert_eq!(view.worst().map(|(layer, _)| layer), Some("conv3"));
}

#[test]
fn points_that_no_other_beats_are_told_from_the_rest() {
    let view = frontier::frontier(&story::searched(), CostAxis::Macs, &HiddenRuns::new());
    let trials = view.series.last().expect("trials");
    assert_eq!(trials.label, "run 3 autocompress, round 1");
    let front: Vec<&frontier::FrontierPoint> = trials.points.iter().filter(|p| !p.is_beaten).collect();
    assert!(front.len() > 1 && front.len() < 80, "{}", front.len());
    assert!(front.is_sorted_by(|a, b| a.x < b.x && a.top1 < b.top1));
    for p in trials.points.iter().filter(|p| p.is_beaten) {
        assert!(
            trials
                .points
                .iter()
                .any(|q| !q.is_beaten && q.x <= p.x && q.top1 >= p.top1)
        );
    }
}

#[test]
fn a_hidden_run_is_in_no_plot_and_no_wish_is_relative_to_it() {
    let mut store = store();
    store.open = None;
    let all = frontier::frontier(&store, CostAxis::Macs, &HiddenRuns::new());
    let (best, whose) = all.reference.expect("a reference");
    let best_run = store.runs.iter().find(|run| whose.ends_with(&run.title()));
    let hidden = HiddenRuns::from([best_run.expect("the best is a run's").id]);
    let view = frontier::frontier(&store, CostAxis::Macs, &hidden);
    assert!(view.series.iter().all(|s| s.run.is_none_or(|id| !hidden.contains(&id))));
    assert!(view.reference.is_none_or(|(top1, from)| top1 < best && from != whose));
    let curves = Curves::default().view(&store, CurveOptions::default(), &hidden);
    assert!(!curves.runs.is_empty() && curves.runs.iter().all(|r| !hidden.contains(&r.id)));
}

#[test]
fn the_list_of_runs_is_narrowed_by_words_stars_and_what_is_hidden() {
    let store = store();
    let (mut marks, gone) = (runs::RunMarks::default(), std::collections::BTreeSet::new());
    let keys: Vec<String> = runs::runs(&store).into_iter().map(|r| r.key).collect();
    marks.stars.insert(keys[0].clone());
    marks.notes.insert(keys[1].clone(), "Baseline".into());
    let listed = |marks: &runs::RunMarks, words, only_starred, shows_hidden| {
        let filter = runs::RunFilter {
            words,
            only_starred,
            shows_hidden,
            marks,
            gone: &gone,
            looking_back: None,
        };
        let rows = runs::list(&store, &filter).rows;
        rows.into_iter().map(|r| r.key).collect::<Vec<_>>()
    };
    assert_eq!(listed(&marks, "", false, false), keys);
    assert_eq!(listed(&marks, "", true, false), keys[..1]);
    assert_eq!(listed(&marks, "bASEline", false, false), keys[1..2]);
    marks.hidden.insert(keys[1].clone());
    assert_eq!(listed(&marks, "baseline", false, false), [""; 0]);
    assert_eq!(listed(&marks, "baseline", false, true), keys[1..2]);
    assert_eq!(runs::hidden(&store, &marks, &gone).len(), 1);
}

#[test]
fn a_wish_chooses_the_cheapest_point_that_is_good_enough_or_the_best_that_is_cheap_enough() {
    let view = frontier::frontier(&store(), CostAxis::Macs, &HiddenRuns::new());
    assert_eq!(
        view.reference.as_ref().map(|r| r.1.as_str()),
        Some("bundled model at density 1")
    );
    let says = |wish| {
        let (s, i) = view.choose(wish)?;
        view.says(s, i)
    };
    let below = |below| Requirement {
        below: Some(below),
        most: None,
    };
    let most = |most| Requirement {
        below: None,
        most: Some(most),
    };
    expect![[r#"
        bundled model, recorded
        validation images, recorded with the model
        density 0.6
        91.8 % of 5 000 images
        12.4 M MACs"#]]
    .assert_eq(&says(below(0.01)).unwrap_or_default());
    expect![[r#"
        bundled model, recorded
        validation images, recorded with the model
        density 0.35
        89.8 % of 5 000 images
        4.45 M MACs"#]]
    .assert_eq(&says(most(5e6)).unwrap_or_default());
    assert_eq!(says(Requirement::default()), None);
    assert_eq!(
        says(Requirement {
            below: Some(0.001),
            most: Some(5e6)
        }),
        None,
        "nothing is both"
    );
}

#[test]
fn time_is_only_what_was_measured_here_and_parameters_do_not_change_with_density() {
    let mut store = store();
    assert_eq!(
        frontier::frontier(&store, CostAxis::Millis, &HiddenRuns::new()).series,
        []
    );
    let half = store.answer.clone().expect("measured");
    store.answered(half.clone());
    store.answered(half);
    store.answered(answer(80, 320));
    let view = frontier::frontier(&store, CostAxis::Millis, &HiddenRuns::new());
    let labels: Vec<&str> = view.series.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["bundled model, measured here"]);
    assert_eq!(
        view.series[0].points.len(),
        1,
        "an answer over part of the images is not kept"
    );
    let params = frontier::frontier(&store, CostAxis::Params, &HiddenRuns::new());
    let xs: Vec<f64> = params.series[0].points.iter().map(|p| p.x).collect();
    assert!(xs.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn runs_that_differ_in_their_seed_alone_are_averaged_with_their_spread() {
    let mut store = RunStore::default();
    for (seed, pace) in [(0, 1.0), (1, 0.8), (2, 0.9)] {
        let mut said = story::events_at_pace(120, pace);
        said.push(story::finished());
        story::add_run(&mut store, "smoke", &said);
        let run = store.runs.last_mut().expect("added");
        std::sync::Arc::make_mut(&mut run.experiment).seed = seed;
    }
    let view = frontier::frontier(&store, CostAxis::Macs, &HiddenRuns::new());
    assert_eq!(view.series.len(), 1);
    let one = &view.series[0];
    assert_eq!(
        (one.label.as_str(), one.seeds, one.points.len()),
        ("smoke, 3 seeds", 3, 3)
    );
    let tops: Vec<f64> = store
        .runs
        .iter()
        .map(|r| f64::from(r.epochs.last().expect("measured").top1))
        .collect();
    let mean = tops.iter().sum::<f64>() / 3.0;
    let sd = (tops.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let quarter = one
        .points
        .iter()
        .find(|p| p.source == PointSource::Epoch(store.runs[0].id, percent(25)))
        .expect("there");
    assert!((quarter.top1 - mean).abs() < 1e-9 && (quarter.spread.expect("seeds") - sd).abs() < 1e-9);
}

#[test]
fn a_picked_trial_has_its_sites_as_layers() {
    let store = story::searched();
    let id = store.runs[2].id;
    let view = layers::of_source(&store, &PointSource::Trial(id, 0, 3)).expect("there");
    assert_eq!(
        (view.title.as_str(), view.rows.len()),
        ("run 3 autocompress, trial 3", 8)
    );
    assert!(
        view.rows
            .iter()
            .all(|r| r.macs.is_none() && r.gate.is_none() && r.kept <= 1.0 && r.macs_dense > 0)
    );
    let epoch = layers::of_source(&store, &PointSource::Epoch(id, percent(50))).expect("there");
    assert!(epoch.rows.iter().all(|r| (r.asked - 0.5).abs() < 0.02) && !epoch.measured);
    assert_eq!(layers::of_source(&store, &PointSource::Recorded(percent(50))), None);
}

#[test]
fn images_are_sorted_and_filtered_by_what_was_measured_of_each() {
    let store = story::with_images();
    let numbers = |order, which| -> Vec<usize> {
        let options = ImageOptions { order, which, from: 0 };
        let view = images::images(&store, options, 6).expect("measured");
        view.cells.iter().map(|c| c.number).collect()
    };
    assert_eq!(numbers(ImageOrder::Number, ImageFilter::All), [0, 1, 2, 3, 4, 5]);
    assert_eq!(numbers(ImageOrder::Number, ImageFilter::Wrong), [3, 10, 17, 24, 31, 38]);
    assert_eq!(numbers(ImageOrder::Number, ImageFilter::Changed), [3, 17, 31]);
    let seen = store.answer.as_ref().map(|a| a.seen.clone()).expect("measured");
    let sure = numbers(ImageOrder::Confidence, ImageFilter::All);
    assert!(sure.is_sorted_by(|&a, &b| seen[a].confidence <= seen[b].confidence));
    let most = numbers(ImageOrder::Compute, ImageFilter::All);
    assert!(most.is_sorted_by(|&a, &b| seen[a].macs >= seen[b].macs));
    assert!(
        numbers(ImageOrder::Error, ImageFilter::All)
            .iter()
            .all(|&i| seen[i].said != seen[i].label)
    );
    let view = images::images(&store, ImageOptions::default(), 4).expect("measured");
    assert_eq!((view.n, view.counts), (40, [Some(6), Some(3)]));
    expect!["image 3: Dress; predicted Coat, 68 %; 8.31 M MACs; with all channels Dress"]
        .assert_eq(&view.cells[3].text);
    assert_eq!(
        images::images(&story::store(), ImageOptions::default(), 4),
        None,
        "not all were measured"
    );
}

#[test]
fn one_image_says_what_gating_changed() {
    check(
        &images::look(&story::with_images()),
        expect![[r#"
            {
              "title": "image 3: Dress",
              "classes": [
                [
                  "Dress",
                  0.04,
                  0.64,
                  true
                ],
                [
                  "Coat",
                  0.64,
                  0.04,
                  false
                ],
                [
                  "T-shirt/top",
                  0.04,
                  0.04,
                  false
                ],
                [
                  "Trouser",
                  0.04,
                  0.04,
                  false
                ],
                [
                  "Pullover",
                  0.04,
                  0.04,
                  false
                ]
              ],
              "cost": "8.37 M MACs, 25 % of the dense network",
              "active": [
                0.5,
                0.5,
                0.5,
                0.5,
                0.5,
                0.5,
                0.5,
                0.5
              ]
            }"#]],
    );
}

#[test]
fn saliency_of_a_class_and_of_an_image_is_theirs() {
    let store = story::with_images();
    let of = |of| saliency::saliency(&store, of).expect("measured");
    assert_eq!(
        (
            of(SaliencyScope::All).n,
            of(SaliencyScope::Class(3)).n,
            of(SaliencyScope::Image).n
        ),
        (Some(5000), Some(500), Some(1))
    );
    assert!(
        of(SaliencyScope::Image).rows[0]
            .active
            .iter()
            .all(|&a| a == 0.0 || a == 1.0)
    );
    assert_eq!(
        saliency::saliency(&story::store(), SaliencyScope::Image).map(|v| v.n),
        Some(Some(5000)),
        "nothing was looked at"
    );
}

#[test]
fn saved_macs_without_saved_time_are_pointed_out_with_the_reason() {
    let mut store = story::with_images();
    let why = |store: &RunStore| density::density(store, &uniform(50)).and_then(|d| d.measured?.no_gain);
    assert_eq!(why(&store), None);
    let answer = store.answer.as_mut().expect("measured");
    answer.dense_latency = answer.latency;
    expect!["MACs fell to 25 %, time only to 100 %. Memory traffic fell to 35 %. With one image at a time, small layers wait for memory and for threads to start, not for arithmetic, and every gate adds work of its own."].assert_eq(&why(&store).unwrap_or_default());
}

#[test]
fn a_machine_that_was_busy_is_said_beside_its_times() {
    let mut store = story::with_images();
    let busy = |store: &RunStore| density::density(store, &uniform(50)).and_then(|d| d.measured?.busy);
    assert_eq!(busy(&store), None);
    let latency = store.answer.as_mut().and_then(|a| a.latency.as_mut()).expect("timed");
    latency.others = Some(infer::OtherWork {
        programs: 0.05,
        steal: 0.31,
    });
    expect!["the machine was busy: the host took 31 % of the processors' time (steal)"]
        .assert_eq(&busy(&store).unwrap_or_default());
}

#[test]
fn the_model_is_a_table_with_what_is_left_and_what_is_tied() {
    let mut open = story::open_model();
    open.header.spec = ::model::zoo::build("resnet18", [3, 32, 32], 10, 0.25).expect("builds");
    let half: Vec<bool> = (0..16).map(|c| c % 2 == 0).collect();
    let name = open.header.spec.nodes[open.header.spec.convs()[1]].name.clone();
    let mask = ::model::mask::LayerMask {
        filters: half,
        columns: vec![true; 144],
        elements: Vec::new(),
    };
    open.masks = std::sync::Arc::new([(name.clone(), mask)].into());
    let view = model::model(&open).expect("fits");
    let rows: Vec<String> = view
        .rows
        .iter()
        .filter(|r| r.filters.is_some())
        .take(5)
        .map(|r| {
            let [now, before] = r.macs.map(text::count);
            format!(
                "{} {} {:?} -> {:?}: {now} of {before}, filters {:?}; {}",
                r.name, r.kind, r.input, r.output, r.filters, r.tied
            )
        })
        .collect();
    expect![[r#"
        stem conv 3×3 [3, 32, 32] -> [16, 32, 32]: 442 k of 442 k, filters Some([16, 16]); tied to stage1.0.conv2, stage1.1.conv2 by stage1.0.add, stage1.1.add
        stage1.0.conv1 conv 3×3 [16, 32, 32] -> [16, 32, 32]: 1.18 M of 2.36 M, filters Some([8, 16]); 
        stage1.0.conv2 conv 3×3 [16, 32, 32] -> [16, 32, 32]: 2.36 M of 2.36 M, filters Some([16, 16]); tied to stem, stage1.1.conv2 by stage1.0.add, stage1.1.add
        stage1.1.conv1 conv 3×3 [16, 32, 32] -> [16, 32, 32]: 2.36 M of 2.36 M, filters Some([16, 16]); 
        stage1.1.conv2 conv 3×3 [16, 32, 32] -> [16, 32, 32]: 2.36 M of 2.36 M, filters Some([16, 16]); tied to stem, stage1.0.conv2 by stage1.0.add, stage1.1.add"#]].assert_eq(&rows.join("\n"));
    assert!(view.macs[0] < view.macs[1] && view.from.is_none());
}

#[test]
fn the_form_has_every_key_with_its_meaning() {
    let base = record::Experiment::load("smoke", &[]).expect("preset");
    let draft = form::set(&base, "train.lr", &form::FieldValue::Number(0.05)).expect("sets");
    let view = form::form(&draft, &base, "smoke");
    let lines: Vec<String> = view
        .sections
        .iter()
        .flat_map(|s| &s.fields)
        .map(|f| {
            format!(
                "{} {:?}{}",
                f.key,
                f.value,
                f.preset.as_ref().map_or_else(String::new, |p| format!(", was {p}"))
            )
        })
        .collect();
    expect![[r#"
        about Text("A small elastic FBS network on a part of Fashion-MNIST")
        checkpoint_secs Number(20.0)
        name Text("smoke")
        seed Whole(0)
        start Unset
        data.augment.crop_pad Whole(0)
        data.augment.flip Flag(false)
        data.background Choice("gray")
        data.fit Choice("crop")
        data.limit Whole(8000)
        data.size Text("auto")
        data.source Text("fashion-mnist")
        data.valid Whole(2000)
        method.calibration Whole(2048)
        method.dense_start Number(0.1)
        method.draws Whole(4)
        method.floor Number(0.2)
        method.grid List("[1.0, 0.75, 0.5, 0.25]")
        method.kind Choice("fbs")
        method.lambda Number(1e-8)
        method.norm_statistics Choice("all")
        method.shift Choice("eq1")
        method.stages List("[]")
        method.subsample Choice("auto")
        model.arch Choice("m-cifarnet")
        model.dropout Number(0.0)
        model.width Number(0.25)
        train.batch Whole(128)
        train.clip_norm Number(5.0)
        train.epochs Whole(2)
        train.label_smoothing Number(0.0)
        train.log_every Whole(10)
        train.lr Number(0.05), was 0.1
        train.momentum Number(0.9)
        train.teacher_temperature Number(4.0)
        train.teacher_weight Number(0.9)
        train.warmup Number(0.2)
        train.weight_decay Number(0.0005)
        train.teacher Unset"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn the_hover_table_names_the_nearest_curve_first() {
    let options = CurveOptions::default();
    let view = Curves::default().view(&store(), options, &HiddenRuns::new());
    let [first, second] = [0, 1].map(|i| view.runs[i].loss.raw[20]);
    let near = |y: f64| -> Vec<u32> {
        let rows = view.at(CurveMetric::Loss, [first[0], y]);
        rows.iter().map(|r| r.run.0).collect()
    };
    assert_ne!(first[1], second[1]);
    assert_eq!((near(first[1]), near(second[1])), (vec![0, 1], vec![1, 0]));
    // The second run has not come so far.
    assert_eq!(view.at(CurveMetric::Loss, [119.0, 0.0]).len(), 1);
    let labels: Vec<String> = view
        .at(CurveMetric::Top1, [40.0, 0.0])
        .into_iter()
        .map(|r| r.label)
        .collect();
    assert!(
        labels.contains(&"run 1 smoke, valid at density 0.5".to_owned()),
        "{labels:?}"
    );
}

#[test]
fn curves_lie_along_epochs_too() {
    let options = CurveOptions {
        along: CurveAxis::Epochs,
        ..CurveOptions::default()
    };
    let view = Curves::default().view(&store(), options, &HiddenRuns::new());
    let epochs = f64::from(store().runs[0].experiment.train.epochs);
    let last = view.runs[0].loss.raw.last().expect("points")[0];
    assert!((last - epochs).abs() < 1e-9, "{last} of {epochs}");
}

#[test]
fn gates_are_followed_at_the_density_measured_last() {
    let mut said = events(40);
    let layers = answer(50, 5000).layers;
    said.push(Event::Layers { layers: layers.clone() });
    let mut store = RunStore::default();
    story::add_run(&mut store, "smoke", &said);
    let view = Curves::default().view(&store, CurveOptions::default(), &HiddenRuns::new());
    let active: Vec<f32> = layers.iter().flat_map(|l| l.active.clone()).collect();
    let share = |n: usize| n as f64 / active.len() as f64;
    let never = share(active.iter().filter(|&&a| a < 0.01).count());
    let always = share(active.iter().filter(|&&a| a > 0.99).count());
    let [a, b] = &view.runs[0].gates;
    assert!((a[0][1] - never).abs() < 1e-6 && (b[0][1] - always).abs() < 1e-6);
    assert!(never > 0.0 && always > 0.0);
}

#[test]
fn classes_use_a_layers_channels_on_one_scale() {
    let store = story::with_images();
    let view = saliency::by_class(&store, "conv3").expect("measured");
    assert_eq!((view.rows.len(), view.rows[0].name.as_str()), (10, "T-shirt/top"));
    let most = |row: usize| view.rows[row].saliency.iter().copied().fold(0.0, f32::max);
    // Saliency of class c is 1 + c/10 times that of all.
    assert!((most(9) - 1.0).abs() < 1e-6 && (most(0) - 1.0 / 1.9).abs() < 1e-6);
    assert_eq!(saliency::by_class(&store, "gone"), None);
}

#[test]
fn a_layer_keeps_its_most_active_channel_whatever_is_rare() {
    let view = saliency::saliency(&story::with_images(), SaliencyScope::All).expect("measured");
    let rare = view.rarely_active(2.0);
    for row in &view.rows {
        assert_eq!(rare[&row.name].len() + 1, row.active.len());
    }
    assert!(view.rarely_active(0.0).is_empty());
}

#[test]
fn times_of_layers_say_what_narrowing_saves() {
    let mut store = store();
    assert_eq!(times::times(&store), None);
    store.working.push(lab::ModelJob::Time(record::ModelRef::Bundled));
    assert!(times::is_timing(&store));
    store.done(story::timed());
    assert!(!times::is_timing(&store));
    let view = times::times(&store).expect("timed");
    expect!["0.80 ms; half the filters take 50 % of it"].assert_eq(&view.rows[3].says);
    expect!["conv3 with 16 of 64 filters: 0.20 ms per image, 25 % of the whole layer"]
        .assert_eq(&view.rows[3].says_at(1).expect("a step"));
}

#[test]
fn hypervolume_grows_with_trials_and_seeds_make_a_band() {
    let mut store = story::searched();
    let alone = volume::volume(&store).expect("searches");
    let [line] = &alone.lines[..] else {
        panic!("one run searches")
    };
    let images = store.runs.last().expect("the search").searches[0].start.images as u64;
    assert_eq!((line.after.len(), line.after[79].0), (80, 80 * images));
    assert!(
        line.after.is_sorted_by(|a, b| a.0 < b.0 && a.1[1] <= b.1[1]),
        "covered area never shrinks"
    );
    assert!(
        line.after
            .iter()
            .all(|(_, a)| a[0] == a[2] && (0.0..=1.0).contains(&a[1]))
    );
    // Another seed of the same recipe that covered half as much at first.
    let mut other = store.runs.last().expect("the search").clone();
    let ended = store.runs.first().and_then(|r| r.ending.clone());
    for run in [&mut other, store.runs.last_mut().expect("the search")] {
        run.ending = ended.clone();
    }
    let mut experiment = (*other.experiment).clone();
    // From the same start, so it validates on the same images.
    experiment.data.split_seed = Some(experiment.seed);
    experiment.seed += 1;
    other.experiment = experiment.into();
    other.searches[0].trials.drain(..60);
    store.runs.push(other);
    let both = volume::volume(&store).expect("searches");
    let [line] = &both.lines[..] else {
        panic!("one line for both seeds")
    };
    assert_eq!(line.after.len(), 20, "as far as both went");
    assert!(line.label.ends_with("2 seeds"));
    assert!(line.after.iter().all(|(_, a)| a[0] <= a[1] && a[1] <= a[2]) && line.after[0].1[0] < line.after[0].1[2]);
}
