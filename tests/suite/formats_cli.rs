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
