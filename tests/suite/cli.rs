//! The command line as scripts meet it: fields, exit codes, one line for what is wrong.

use std::path::Path;
use std::process::{Command, Output};

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(args)
        .output()
        .expect("starts")
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}")))
        .collect()
}

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets/models/fbs-fashion.safetensors")
        .to_string_lossy()
        .into_owned()
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() {
    let file = tempfile::NamedTempFile::new().expect("temp file");
    std::fs::write(file.path(), b"not a model").expect("writes");
    let broken = file.path().to_string_lossy().into_owned();
    let model = model();
    let dir = tempfile::tempdir().expect("temp dir");
    let runs = dir.path().to_string_lossy().into_owned();
    let cases: [(&[&str], &str); 14] = [
        (&["run", "fbs-fashoin"], "did you mean fbs-fashion?"),
        (&["run", "smoke", "--set", "train.epohcs=1"], "did you mean epochs?"),
        (&["run", "smoke", "--set", "train.epochs"], "expected KEY=VALUE"),
        (
            &["run", "smoke", "--device", "gpu"],
            "expected flex, ndarray, wgpu or remote:HOST",
        ),
        (
            &["run", "smoke", "--data", "/no/such/folder", "--runs", &runs],
            "/no/such/folder",
        ),
        (
            &["run", "smoke", "--set", "model.arch=alexnet", "--runs", &runs],
            "unknown network alexnet",
        ),
        (&["eval", &model, "--density", "0"], "density 0, expected more than 0"),
        (&["eval", &model, "--density", "1.5"], "density 1.5"),
        (
            &["eval", &model, "--split", "exam"],
            "[possible values: train, valid, test]",
        ),
        (
            &["eval", &model, "--engine", "magic"],
            "[possible values: kernel, reference, burn]",
        ),
        (&["eval", &broken], "not a safetensors file"),
        (&["inspect", "/no/such/model"], "cannot read /no/such/model"),
        (
            &["bench", "sleep"],
            "[possible values: infer, train, search, frame, stream, answer, signal]",
        ),
        (&["evl"], "did you mean eval?"),
    ];
    for (args, expected) in cases {
        let output = secateur(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or("");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(
            last.starts_with("secateur: ") && last.contains(expected),
            "{args:?}: {text}"
        );
        assert!(output.stdout.is_empty(), "{args:?} wrote to stdout");
    }
}

/// Shares of the processors' time that others had: said where the system counts.
fn is_of_others(others: &serde_json::Value) -> bool {
    let is_share = |key: &str| others[key].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share));
    if cfg!(target_os = "linux") {
        is_share("programs") && is_share("steal")
    } else {
        others.is_null() || is_share("programs")
    }
}

#[test]
fn bench_says_what_others_had_of_the_processors() {
    let output = secateur(&[
        "bench",
        "infer",
        "--arch",
        "lenet5",
        "--batch",
        "1",
        "--seconds",
        "0.5",
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines(&output).iter().all(|line| is_of_others(&line["others"])));
}

#[test]
fn eval_prints_a_line_a_density_with_the_promised_fields() {
    let dir = tempfile::tempdir().expect("temp dir");
    let csv = dir.path().join("logits.csv").to_string_lossy().into_owned();
    let output = secateur(&[
        "eval",
        &model(),
        "--density",
        "1,0.5",
        "--limit",
        "200",
        "--json",
        "--logits",
        &csv,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    assert_eq!(lines.len(), 2);
    for (line, density) in lines.iter().zip([1.0, 0.5]) {
        assert_eq!(line["density"], density);
        assert_eq!(line["n"], 200);
        for field in [
            "top1",
            "macs",
            "macs_dense",
            "macs_conv",
            "params",
            "active_fraction",
            "images_per_s",
            "kernel",
        ] {
            assert!(!line[field].is_null(), "{field}");
        }
        for field in ["median", "p10", "p90"] {
            assert!(line["latency_ms"][field].as_f64().is_some_and(|v| v > 0.0), "{field}");
        }
        assert!(is_of_others(&line["latency_ms"]["others"]), "{line}");
    }
    assert!(lines[1]["macs"].as_u64() < lines[0]["macs"].as_u64());
    assert!(lines[1]["active_fraction"].as_f64() <= Some(0.51));
    let text = std::fs::read_to_string(csv).expect("logits");
    assert_eq!(text.lines().count(), 1 + 2 * 200);
    assert_eq!(text.lines().nth(1).expect("a row").split(',').count(), 3 + 10);
    for (asked, expected) in [
        ("found", "keeps no densities that a search found"),
        (
            "x",
            "invalid value 'x' for '--density <DENSITY>': expected a number up to 1, or found",
        ),
    ] {
        let output = secateur(&["eval", &model(), "--density", asked]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected) && output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn the_engines_agree_on_real_images() {
    let top1 = |engine: &str| {
        let output = secateur(&[
            "eval",
            &model(),
            "--density",
            "0.5",
            "--limit",
            "64",
            "--engine",
            engine,
            "--json",
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines(&output)[0]["top1"].as_f64().expect("a number")
    };
    let kernel = top1("kernel");
    assert_eq!(kernel, top1("burn"));
    assert_eq!(kernel, top1("reference"));
}

#[test]
fn inspect_lists_layers_and_a_total() {
    let output = secateur(&["inspect", &model(), "--json"]);
    let lines = lines(&output);
    let convs: Vec<_> = lines.iter().filter(|l| l["kind"] == "conv").collect();
    assert_eq!(convs.len(), 8);
    for field in [
        "name",
        "in",
        "out",
        "kernel",
        "stride",
        "hw",
        "macs",
        "params",
        "filters_kept",
        "columns_kept",
    ] {
        assert!(!convs[0][field].is_null(), "{field}");
    }
    let sum: u64 = lines
        .iter()
        .filter(|l| l["total"].is_null())
        .filter_map(|l| l["macs"].as_u64())
        .sum();
    assert_eq!(lines.last().expect("total")["macs"].as_u64(), Some(sum));
}

#[test]
fn lists_are_one_object_a_line() {
    for (command, least) in [("devices", 3), ("presets", 3), ("datasets", 2)] {
        assert!(lines(&secateur(&[command, "--json"])).len() >= least, "{command}");
    }
    // Names are a column, however long they are: what is said of each begins below what is said of the others.
    let presets = lines(&secateur(&["presets", "--json"]));
    let names: Vec<&str> = presets.iter().filter_map(|line| line["preset"].as_str()).collect();
    let shown = secateur(&["presets"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let begins: Vec<usize> = shown
        .lines()
        .zip(&names)
        .map(|(line, name)| {
            let said = line
                .strip_prefix(name)
                .unwrap_or_else(|| panic!("{line} is not of {name}"));
            line.len() - said.trim_start().len()
        })
        .collect();
    assert!(
        begins.len() == names.len() && begins.iter().all(|at| *at == begins[0]),
        "{shown}"
    );
}

#[test]
fn a_tiny_run_ends_finished_and_its_model_can_be_measured() {
    let dir = tempfile::tempdir().expect("temp dir");
    let runs = dir.path().to_string_lossy().into_owned();
    let shorter = [
        "data.limit=256",
        "data.valid=128",
        "train.epochs=1",
        "train.batch=32",
        "model.width=0.05",
        "method.calibration=64",
    ];
    let mut args = vec!["run", "smoke", "--json", "--runs", &runs];
    for s in &shorter {
        args.extend(["--set", s]);
    }
    let output = secateur(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    let last = lines.last().expect("events");
    assert_eq!(
        (last["event"].as_str(), last["outcome"].as_str()),
        (Some("ended"), Some("finished"))
    );
    for field in [
        "run",
        "model",
        "valid_top1",
        "test_top1",
        "macs",
        "macs_dense",
        "params",
        "params_dense",
    ] {
        assert!(!last[field].is_null(), "{field}");
    }
    let run = Path::new(last["run"].as_str().expect("a path"));
    for file in ["config.toml", "manifest.json", "events.jsonl"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let logged = std::fs::read_to_string(run.join("events.jsonl")).expect("log");
    assert_eq!(logged.lines().count(), lines.len(), "what is printed is what is logged");
    let eval = secateur(&[
        "eval",
        last["model"].as_str().expect("a path"),
        "--limit",
        "50",
        "--json",
    ]);
    assert_eq!(eval.status.code(), Some(0), "{}", String::from_utf8_lossy(&eval.stderr));
    // The same preset and seed say the same again.
    let again = secateur(&args);
    let strip = |o: &Output| -> Vec<serde_json::Value> {
        let drop = |mut v: serde_json::Value| {
            for key in ["at", "run", "model"] {
                v.as_object_mut().expect("object").remove(key);
            }
            v
        };
        self::lines(o).into_iter().map(drop).collect()
    };
    assert_eq!(strip(&output), strip(&again));
}

#[test]
fn bench_signal_prints_a_line_a_quick_score_and_shows_a_finished_measurement_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let runs = dir.path().to_string_lossy().into_owned();
    let small = [
        "data.limit=300",
        "data.valid=100",
        "train.epochs=2",
        "train.batch=50",
        "model.width=0.12",
        "method.images=50",
        "method.retrain.epochs=1",
    ];
    let mut args = vec![
        "bench",
        "signal",
        "--preset",
        "random-fashion",
        "--runs",
        &runs,
        "--json",
    ];
    args.extend(["--target", "4", "--candidates", "4", "--steps", "0,2"]);
    args.extend(small.iter().flat_map(|set| ["--set", *set]));
    let output = secateur(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = lines(&output);
    assert_eq!(said.len(), 2);
    for (line, steps) in said.iter().zip([0, 2]) {
        let number = |field: &str| line[field].as_f64().unwrap_or_else(|| panic!("{field}: {line}"));
        assert_eq!(
            (line["task"].as_str(), line["steps"].as_i64()),
            (Some("signal"), Some(steps))
        );
        assert!(
            number("low") <= number("high") && number("rank_correlation").abs() <= 1.0,
            "{line}"
        );
        assert!(
            (4.0..6.0).contains(&number("times")) && line["candidates"] == 4,
            "{line}"
        );
    }
    let run = said[0]["run"].as_str().expect("its folder");
    assert_eq!(lines(&secateur(&["bench", "signal", run, "--json"])), said);
    let output = secateur(&["bench", "signal", "--steps", "20,0", "--preset", "random-fashion"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && text.contains("expected rising numbers of steps"),
        "{text}"
    );
}

#[test]
fn eval_says_how_many_of_the_largest_channels_each_gate_finds() {
    let output = secateur(&[
        "eval",
        &model(),
        "--density",
        "0.5",
        "--limit",
        "100",
        "--oracle",
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = lines(&output);
    assert_eq!(lines.len(), 1 + 8, "the density and its gates");
    for line in &lines[1..] {
        let number = |field: &str| line[field].as_f64().unwrap_or_else(|| panic!("{field}: {line}"));
        assert_eq!((number("density"), number("n")), (0.5, 100.0));
        // A trained predictor knows more than chance.
        assert!(
            number("oracle_share") > number("chance") && number("oracle_share") <= 1.0,
            "{line}"
        );
    }
}

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = secateur(&["completions", shell]);
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && script.contains("tournament") && script.contains("time-batch"),
            "{shell}: {script}"
        );
    }
    assert_eq!(secateur(&["completions", "cmd"]).status.code(), Some(2));
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("deep/man");
    let output = secateur(&["man", &to.to_string_lossy(), "--json"]);
    assert!(output.status.success());
    assert!(
        lines(&output)[0]["file"]
            .as_str()
            .expect("file")
            .ends_with("secateur.1")
    );
    let page = std::fs::read_to_string(to.join("secateur-export.1")).expect("page");
    assert!(page.starts_with(".ie") && page.contains("time\\-with"), "{page}");
}

#[test]
fn a_table_that_came_over_a_pipe_is_what_a_search_counts_by() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let train = [
        "run",
        "dense-fashion",
        "--json",
        "--runs",
        &path("runs"),
        "--set",
        "data.limit=300",
        "--set",
        "data.valid=100",
        "--set",
        "train.epochs=3",
        "--set",
        "train.batch=50",
        "--set",
        "model.width=0.15",
    ];
    let trained = lines(&secateur(&train));
    let model = trained.last().expect("an ending")["model"]
        .as_str()
        .expect("a model")
        .to_owned();
    let over_a_pipe = Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["time-worker", "--threads", "1"])
        .stdin(std::fs::File::open(&model).expect("opens"))
        .output()
        .expect("starts");
    let table = &lines(&over_a_pipe)[0];
    assert!(table["machine"].as_str().is_some_and(|name| !name.is_empty()) && table["threads"] == 1);
    std::fs::write(path("table.json"), &over_a_pipe.stdout).expect("writes");
    let start = format!("start={model}");
    let search = |table: &str, runs: &str| {
        let table = format!("latency_table={table:?}");
        secateur(&[
            "run",
            "random-fashion",
            "--json",
            "--runs",
            &path(runs),
            "--set",
            &start,
            "--set",
            &table,
            "--set",
            "method.target={ unit = \"ms\", times = 1.3 }",
            "--set",
            "method.images=60",
            "--set",
            "method.trials=4",
            "--set",
            "method.retrain={ epochs = 1 }",
            "--set",
            "data.limit=300",
            "--set",
            "train.batch=50",
        ])
    };
    let trials = |output: &Output| -> Vec<String> {
        let said = lines(output);
        let trials = said.iter().filter(|l| l["event"] == "trial");
        trials
            .map(|t| format!("{} {} {}", t["densities"], t["spent"], t["top1"]))
            .collect()
    };
    let [first, again] = ["a", "b"].map(|runs| search(&path("table.json"), runs));
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(!trials(&first).is_empty());
    assert_eq!(trials(&first), trials(&again), "by one table, one search");
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(said.contains("not timed here: the budget was"), "{said}");

    // A table of twice the time: the same shares are left, counted in twice the milliseconds.
    let mut slow = table.clone();
    for key in ["factor", "besides"] {
        slow[key] = (2.0 * slow[key].as_f64().expect("a number")).into();
    }
    std::fs::write(path("slow.json"), slow.to_string()).expect("writes");
    let budget = |output: &Output| {
        let said = lines(output);
        let search = said.iter().find(|l| l["event"] == "search").expect("a search");
        search["budget"].as_f64().expect("a budget")
    };
    let slow = search(&path("slow.json"), "c");
    assert!((budget(&slow) / budget(&first) - 2.0).abs() < 1e-6);

    // Of another network, and none at all.
    let mut other = table.clone();
    other["surfaces"][0]["name"] = "another".into();
    std::fs::write(path("other.json"), other.to_string()).expect("writes");
    for (table, expected) in [
        ("other.json", "is of another network: layer"),
        ("none.json", "cannot read"),
    ] {
        let output = search(&path(table), "d");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.lines().last().is_some_and(|l| l.contains(expected)),
            "{expected}: {text}"
        );
    }
}
