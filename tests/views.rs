//! Views as text: what is shown for a store made by hand or folded from events.

mod story;

use expect_test::{Expect, expect};
use secateur::event::{Ending, Event, Outcome};
use secateur::run::{RunStore, Status};
use secateur::view::curves::{Along, CurveOptions, Curves};
use secateur::view::{density, frontier, layers, notices, runs, saliency, text};
use serde::Serialize;
use story::{answer, density as percent, events, store};

fn check(view: &impl Serialize, expected: Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(view).expect("views can be written down"));
}

#[test]
fn nothing_is_shown_of_a_model_that_is_not_open() {
    let empty = RunStore::default();
    assert_eq!(density::density(&empty, percent(50)), None);
    assert_eq!(layers::layers(&empty, percent(50)), None);
    assert_eq!(saliency::saliency(&empty), None);
    assert_eq!(frontier::frontier(&empty).series, []);
    assert!(runs::runs(&empty).is_empty() && notices::notices(&empty).is_empty());
}

#[test]
fn density_shows_what_was_measured_beside_what_is_dense() {
    check(
        &density::density(&store(), percent(50)),
        expect![[r#"
        {
          "model": "bundled model",
          "asked": 0.5,
          "range": [
            0.2,
            1.0
          ],
          "macs_nominal": 8366368,
          "macs_dense": 32964416,
          "fresh": true,
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
    let view = density::density(&store, percent(50)).expect("open");
    let measured = view.measured.expect("measured");
    assert!(!view.fresh && !measured.is_complete());
    assert_eq!((measured.n, measured.density), (320, 0.6));
    store.answer = Some(answer(60, 5000));
    let complete = density::density(&store, percent(60)).expect("open");
    let narrow = complete.measured.expect("measured");
    assert!(complete.fresh && narrow.plus_minus() * 3.0 < measured.plus_minus());
}

#[test]
fn layers_show_kept_channels_and_macs() {
    let view = layers::layers(&store(), percent(50)).expect("open");
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
                text::count(r.macs),
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
    let measured = layers::layers(&store, percent(50)).expect("open");
    store.answer = None;
    let promised = layers::layers(&store, percent(50)).expect("open");
    assert!(measured.measured && !promised.measured);
    assert_eq!(
        measured.rows, promised.rows,
        "the story's answer is exactly what was promised"
    );
}

#[test]
fn saliency_is_relative_to_its_layer_and_said_in_words() {
    let view = saliency::saliency(&store()).expect("measured");
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
    let mut view = frontier::frontier(&store());
    assert_eq!(view.series[0].points.len(), 17);
    view.series[0].points.drain(1..16);
    check(
        &view,
        expect![[r#"
        {
          "series": [
            {
              "label": "bundled model, valid, recorded",
              "run": null,
              "points": [
                {
                  "density": 0.2,
                  "macs": 1558153,
                  "top1": 0.8740000128746033,
                  "n": 5000
                },
                {
                  "density": 1.0,
                  "macs": 32964416,
                  "top1": 0.9274497628211975,
                  "n": 5000
                }
              ]
            },
            {
              "label": "run 1 smoke, valid, epoch 3",
              "run": 0,
              "points": [
                {
                  "density": 0.25,
                  "macs": 2187920,
                  "top1": 0.8731498718261719,
                  "n": 2000
                },
                {
                  "density": 0.5,
                  "macs": 8366368,
                  "top1": 0.9021823406219482,
                  "n": 2000
                },
                {
                  "density": 1.0,
                  "macs": 32964416,
                  "top1": 0.9177723526954651,
                  "n": 2000
                }
              ]
            },
            {
              "label": "run 2 wide, valid, epoch 2",
              "run": 1,
              "points": [
                {
                  "density": 0.25,
                  "macs": 2187920,
                  "top1": 0.8277252316474915,
                  "n": 2000
                },
                {
                  "density": 0.5,
                  "macs": 8366368,
                  "top1": 0.8567577600479126,
                  "n": 2000
                },
                {
                  "density": 1.0,
                  "macs": 32964416,
                  "top1": 0.8723477125167847,
                  "n": 2000
                }
              ]
            }
          ],
          "now": {
            "density": 0.5,
            "macs": 8366368,
            "top1": 0.9118,
            "interval": [
              0.9036200750409025,
              0.9193476456271816
            ]
          },
          "macs_dense": 32964416
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
    open.from = secateur::run::ModelRef::File(model.into());
    store.open = Some(std::sync::Arc::new(open));
    let labels: Vec<String> = frontier::frontier(&store).series.into_iter().map(|s| s.label).collect();
    assert_eq!(labels, ["bundled model, valid, recorded", "run 2 wide, valid, epoch 2"]);
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
            "progress": 0.7,
            "detail": "epoch 3 of 3 · 0:11 left",
            "is_live": true,
            "is_failed": false,
            "model": null
          },
          {
            "id": 0,
            "title": "run 1 smoke",
            "status": "finished",
            "progress": 1.0,
            "detail": "valid 91.3 % · test 90.8 % · took 0:37",
            "is_live": false,
            "is_failed": false,
            "model": "runs/20260101T000000Z_smoke_0001/models/smoke.safetensors"
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
    assert_eq!(store.runs[2].status, Status::Ended);
    let row = &runs::runs(&store)[0];
    assert!(
        row.is_failed && row.detail.starts_with("the loss is not a number"),
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
            "text": "finished; kept in runs/20260101T000000Z_smoke_0001"
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
        along: Along::Steps,
        smoothing: 0.6,
    };
    let mut growing = Curves::default();
    for steps in [0, 10, 84, 120] {
        let mut store = RunStore::default();
        story::add_run(&mut store, "smoke", &events(steps));
        let grown = growing.view(&store, options);
        assert_eq!(grown, Curves::default().view(&store, options), "after {steps} steps");
    }
}

#[test]
fn curves_have_every_step_smoothed_beside_raw_and_validation_by_density() {
    let mut view = Curves::default().view(
        &store(),
        CurveOptions {
            along: Along::Seconds,
            smoothing: 0.9,
        },
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
