//! `export` and `import` as scripts meet them: fields, exit codes, one line for what is wrong.

use model::Checkpoint;
use std::path::Path;
use std::process::{Command, Output};

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(args)
        .output()
        .expect("starts")
}

fn last(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap_or("")).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn bundled() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/fbs-fashion.safetensors");
    path.to_string_lossy().into_owned()
}

#[test]
fn a_model_goes_out_and_what_came_out_is_measured() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    for (name, density) in [("m.onnx", "0.5"), ("m.safetensors", "0.5"), ("m.bpk", "1")] {
        let fact = last(&secateur(&[
            "export",
            &bundled(),
            "--to",
            &at(name),
            "--density",
            density,
            "--json",
        ]));
        let bytes = std::fs::metadata(at(name)).expect("written").len();
        assert_eq!(
            (fact["file"].as_str(), fact["bytes"].as_u64()),
            (Some(at(name).as_str()), Some(bytes)),
            "{fact}"
        );
        assert_eq!(
            (fact["n"].as_u64(), fact["top1_agreement"].as_f64()),
            (Some(64), Some(1.0)),
            "{fact}"
        );
        assert!(fact["max_abs_diff"].as_f64().is_some_and(|d| d < 1e-3), "{fact}");
    }
    let fact = last(&secateur(&[
        "import",
        &at("m.bpk"),
        "--to",
        &at("back.safetensors"),
        "--json",
    ]));
    assert_eq!(
        (fact["model"].as_str(), fact["layers"].as_u64()),
        (Some(at("back.safetensors").as_str()), Some(9)),
        "{fact}"
    );
    assert!(fact["params"].as_u64().is_some_and(|n| n > 100_000), "{fact}");
    let load = |path: String| Checkpoint::load(Path::new(&path)).expect("reads");
    // At one density the file has one density's statistics; the weights are all.
    assert_eq!(load(at("back.safetensors")).weights, load(bundled()).weights);
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(at("bad.onnx"), b"hello").expect("writes");
    std::fs::write(at("bad.pt"), b"hello").expect("writes");
    let (model, to) = (bundled(), at("out.safetensors"));
    let cases: [(&[&str], &str); 9] = [
        (
            &["export", &model, "--to", &at("m.tflite")],
            "expected a name ending in",
        ),
        (
            &["export", &model, "--to", &at("m.onnx"), "--density", "2"],
            "density 2",
        ),
        (
            &["export", "/no/such/model", "--to", &at("m.onnx")],
            "cannot read /no/such/model",
        ),
        (&["import", &at("bad.onnx"), "--to", &to], "not an ONNX file"),
        (
            &["import", &at("bad.pt"), "--arch", "vgg16", "--to", &to],
            "not a PyTorch file",
        ),
        (&["import", &at("bad.pt"), "--to", &to], "name it with --arch"),
        (
            &["import", &at("gone.pt"), "--arch", "vgg16", "--to", &to],
            "no such file",
        ),
        (
            &["import", &at("bad.onnx"), "--input", "3,32", "--to", &to],
            "expected C,H,W",
        ),
        (
            &["import", &model, "--classes", "7", "--to", &to],
            "is for 10 classes, asked for 7",
        ),
    ];
    for (args, expected) in cases {
        let output = secateur(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.lines().count() == 1 && text.contains(expected), "{args:?}: {text}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("folder").count(),
        2,
        "nothing was written"
    );
}

/// A pruned model of widths that vector code is slow on, and the one before, as files.
fn pruned(dir: &Path) -> [String; 2] {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let mut model = model::random_model(
        model::zoo::build("m-cifarnet", [1, 28, 28], 10, 0.25).expect("builds"),
        1,
    )
    .expect("builds");
    let whole = at("whole.safetensors");
    model.save(Path::new(&whole)).expect("saves");
    let sites = prune::Sites::new(
        &model,
        &prune::Scope::new(&[event::Dimension::Filter], 0.05, event::Unit::Macs),
    )
    .expect("sites");
    let masks = sites
        .masks(&vec![0.45; sites.list.len()], &model.weights)
        .expect("masks");
    model = prune::cut(&prune::apply(&model, &masks).expect("applies"))
        .expect("cuts")
        .checkpoint;
    let small = at("small.safetensors");
    model.save(Path::new(&small)).expect("saves");
    [whole, small]
}

#[test]
fn an_export_is_timed_beside_what_it_was_and_said_to_be_slower_with_the_reason() {
    let dir = tempfile::tempdir().expect("temp dir");
    let [whole, small] = pruned(dir.path());
    let to = dir.path().join("small.onnx").to_string_lossy().into_owned();
    let fact = last(&secateur(&[
        "export",
        &small,
        "--to",
        &to,
        "--before",
        &whole,
        "--time-batch",
        "1,2",
        "--json",
    ]));
    let times = fact["times"].as_array().expect("times");
    assert_eq!((times.len(), fact["timed_by"].as_str()), (2, Some("rten")), "{fact}");
    for (t, batch) in times.iter().zip([1, 2]) {
        assert_eq!(t["batch"].as_u64(), Some(batch));
        assert!(
            t["ms"].as_f64().is_some_and(|ms| ms > 0.0) && t["ms_before"].as_f64().is_some_and(|ms| ms > 0.0),
            "{fact}"
        );
    }
    let bad = [
        vec!["export", &small, "--to", "x.bpk", "--time-with", "echo 1"],
        vec!["export", &small, "--to", &to, "--before", "/no/such/model"],
        vec!["export", &small, "--to", &to, "--time-batch", "0"],
    ];
    for args in bad {
        assert_eq!(secateur(&args).status.code(), Some(2), "{args:?}");
    }
    if cfg!(unix) {
        // A runtime in which everything narrower takes twice as long.
        let command = r#"f() { case "$1" in *before*) echo 1;; *) echo '{"ms": [2, 2, 9]}';; esac; }; f"#;
        let output = secateur(&[
            "export",
            &small,
            "--to",
            &to,
            "--before",
            &whole,
            "--time-with",
            command,
            "--json",
        ]);
        let fact = last(&output);
        assert_eq!(fact["slower"].as_bool(), Some(true), "{fact}");
        assert_eq!(fact["times"][0]["ms"].as_f64(), Some(2.0), "{fact}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("it became slower") && said.contains("no multiples of 8"),
            "{said}"
        );
        let output = secateur(&[
            "export",
            &small,
            "--to",
            &to,
            "--before",
            &whole,
            "--time-with",
            "false",
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("is written, but could not be timed"));
    }
}

#[test]
fn the_bundled_model_in_bytes_is_as_right_as_in_floats() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (bytes, onnx) = (at("int8.safetensors"), at("int8.onnx"));
    let out = secateur(&["quantize", &bundled(), "--out", &bytes, "--images", "64", "--json"]);
    assert!(last(&out)["step"].as_f64().is_some_and(|step| step > 0.0));
    let limit = "2000";
    for density in ["1", "0.5", "0.2"] {
        let eval = |precision: &[&str]| {
            let mut args = vec!["eval", &bytes, "--density", density, "--limit", limit, "--json"];
            args.extend(precision);
            last(&secateur(&args))
        };
        let [own, floats] = [eval(&[]), eval(&["--precision", "f32"])];
        assert_eq!([&own["precision"], &floats["precision"]], ["int8", "f32"]);
        let [a, b] = [&own, &floats].map(|line| line["top1"].as_f64().expect("a share"));
        assert!((a - b).abs() <= 0.005, "density {density}: {a} instead of {b}");
    }
    for range in ["entropy", "min-max"] {
        let other = at(&format!("{range}.safetensors"));
        let args = [
            "quantize",
            &bundled(),
            "--out",
            &other,
            "--images",
            "64",
            "--range",
            range,
            "--json",
        ];
        last(&secateur(&args));
        let lines = [&other, &bundled()].map(|model| {
            last(&secateur(&[
                "eval",
                model,
                "--density",
                "1",
                "--limit",
                limit,
                "--json",
            ]))
        });
        let [a, b] = lines.each_ref().map(|line| line["top1"].as_f64().expect("a share"));
        assert!((a - b).abs() <= 0.01, "{range}: {a} instead of {b}");
    }
    let fact = last(&secateur(&[
        "export",
        &bytes,
        "--to",
        &onnx,
        "--density",
        "0.5",
        "--json",
    ]));
    assert!(
        fact["top1_agreement"].as_f64().is_some_and(|share| share > 0.95),
        "{fact}"
    );
    let refused = |args: &[&str], text: &str| {
        let out = secateur(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{error}");
        assert!(error.contains(text), "{error}");
    };
    refused(
        &["eval", &bundled(), "--precision", "int8"],
        "make them by secateur quantize",
    );
    refused(
        &["eval", &bytes, "--engine", "burn", "--precision", "int8"],
        "burn computes in f32",
    );
    refused(
        &["quantize", &bundled(), "--out", &onnx, "--range", "percentile:20"],
        "50 < P <= 100",
    );
    refused(
        &[
            "quantize",
            &bundled(),
            "--out",
            &onnx,
            "--keep",
            "nobody",
            "--images",
            "8",
        ],
        "no convolution that could be int8",
    );
}
