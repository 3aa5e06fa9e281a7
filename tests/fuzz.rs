//! Readers of foreign bytes: whatever a file holds, they give a value or an error. No panic, no memory that the file is not worth.
//!
//! Case `n` of a reader is the same on every machine. SECATEUR_FUZZ_CASES sets how many there are; tests/fuzz.sh asks for a million.
#![expect(unsafe_code, reason = "an allocator that measures")]

mod models;

use data::{Split, cifar, idx};
use event::{Event, Stamped};
use formats::onnx_pb::{DimensionValue, ModelProto, StringStringEntryProto, TypeValue};
use formats::{Export, Import, Probe, export, import, onnx_bytes, onnx_model};
use model::spec::{NetSpec, Node, Op, Pad, Shift};
use model::{Checkpoint, Density, cost, zoo};
use models::operators;
use models::torch::{pt_bytes, safetensors_bytes, state_dict};
use models::{model, odd, percent};
use prost::Message;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use record::experiment::{Experiment, PRESETS};
use record::log::read_events;
use record::sweep::Shard;
use record::tournament::Tournament;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

thread_local! {
    /// Bytes that this thread holds, and the most it held since the case began.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Measuring;

fn note(change: isize) {
    // A thread that ends has no such cell any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + change, most.max(now + change)));
    });
}

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static GLOBAL: Measuring = Measuring;

/// What a reader may hold above what its file is worth: buffers of a fixed size.
const SPARE: isize = 8 << 20;
/// Bytes that a byte of a file may cost: a node of two bytes becomes a structure.
const WORTH: isize = 512;

/// What a reader may take for one of these small files, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a damaged copy.
type Damage = fn(&mut ChaCha8Rng, &[u8]) -> Vec<u8>;

/// Reads as many damaged copies of `seeds` as asked for.
fn fuzz(what: &str, seeds: &[Vec<u8>], damage: Damage, read: impl FnMut(&[u8])) {
    fuzz_within(what, seeds, damage, [SPARE, WORTH], read);
}

/// The same with other limits of memory.
fn fuzz_within(what: &str, seeds: &[Vec<u8>], damage: Damage, [spare, each]: [isize; 2], mut read: impl FnMut(&[u8])) {
    let asked = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let cases = asked("SECATEUR_FUZZ_CASES").unwrap_or(5000);
    let from = asked("SECATEUR_FUZZ_FROM").unwrap_or(0);
    let mut slowest = (Duration::ZERO, 0);
    for case in from..from + cases {
        let mut rng = ChaCha8Rng::seed_from_u64(case);
        let seed = &seeds[rng.random_range(0..seeds.len())];
        let bytes = damage(&mut rng, seed);
        HELD.set((0, 0));
        let began = Instant::now();
        let panicked = catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_err();
        let (_, most) = HELD.get();
        let took = began.elapsed();
        slowest = slowest.max((took, case));
        let worth = spare + each * bytes.len() as isize;
        let fault = if panicked {
            "a panic".to_owned()
        } else if took > PATIENCE {
            format!("{took:?}")
        } else if most > worth {
            format!("{most} bytes held")
        } else {
            continue;
        };
        let file = std::env::temp_dir().join("secateur-fuzz-case");
        let kept = std::fs::write(&file, &bytes).map_or_else(|e| e.to_string(), |()| file.display().to_string());
        panic!("{what}, case {case}: {fault} for a file of {} ({kept})", bytes.len());
    }
    println!("{what}: {cases} cases, the slowest took {slowest:?}");
}

/// Flips, overwrites, cuts, copies and inserts, a few times.
fn any_bytes(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    if rng.random_ratio(1, 50) {
        let mut noise = vec![0; rng.random_range(0..300)];
        rng.fill_bytes(&mut noise);
        return noise;
    }
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let n = rng.random_range(0..16).min(bytes.len() - at);
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + n)),
            4 => {
                let piece = bytes[at..at + n].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let number: u64 =
                    [0, 1, 127, 255, 65_535, u64::from(u32::MAX), i64::MAX as u64, u64::MAX][rng.random_range(0..8)];
                let width = [1, 2, 4, 8][rng.random_range(0..4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number.to_be_bytes()[8 - width..]);
            }
            _ => {
                let number: u64 = rng.random_range(0..1 << 40);
                let width = 4.min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
    }
    bytes
}

/// Words of a text put in each other's place, or by ones that are hard to bear.
fn any_text(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    if rng.random_ratio(1, 4) {
        return any_bytes(rng, seed);
    }
    const HARD: [&str; 14] = [
        "18446744073709551615",
        "-1",
        "0",
        "1e308",
        "1e-400",
        "null",
        "[]",
        "{}",
        "\"\"",
        "true",
        "0.5",
        "[[[[",
        "99999999999999999999",
        "\"\u{0}\"",
    ];
    let mut text = String::from_utf8_lossy(seed).into_owned();
    for _ in 0..rng.random_range(1..4) {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '"');
        let words: Vec<(usize, usize)> = text
            .char_indices()
            .filter(|&(i, c)| is_word(c) && !text[..i].chars().next_back().is_some_and(is_word))
            .map(|(i, _)| (i, text[i..].find(|c| !is_word(c)).map_or(text.len(), |n| i + n)))
            .collect();
        if words.is_empty() {
            break;
        }
        let (from, to) = words[rng.random_range(0..words.len())];
        let other = words[rng.random_range(0..words.len())];
        let with = if rng.random() {
            HARD[rng.random_range(0..HARD.len())].to_owned()
        } else {
            text[other.0..other.1].to_owned()
        };
        text.replace_range(from..to, &with);
    }
    text.into_bytes()
}

/// Damages the JSON at the head of a safetensors file, and says its new length.
fn any_header(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    if rng.random_ratio(1, 3) {
        return any_bytes(rng, seed);
    }
    let n = u64::from_le_bytes(seed[..8].try_into().expect("8 bytes")) as usize;
    let head = any_text(rng, &seed[8..8 + n]);
    [&(head.len() as u64).to_le_bytes()[..], &head, &seed[8 + n..]].concat()
}

fn little_models() -> Vec<Checkpoint> {
    let tiny = zoo::build("m-cifarnet", [1, 12, 12], 2, 0.02).expect("builds");
    [
        zoo::gated(&tiny, Shift::Eq1),
        zoo::build("lenet5", [1, 16, 16], 2, 0.05).expect("builds"),
        odd(),
    ]
    .into_iter()
    .chain(operators::all())
    .map(|spec| model(spec, 1))
    .collect()
}

#[test]
fn model_files() {
    let seeds: Vec<Vec<u8>> = little_models().iter().map(|m| m.to_bytes().expect("writes")).collect();
    fuzz("model file", &seeds, any_header, |bytes| {
        if let Ok(model) = Checkpoint::from_bytes(bytes) {
            drop(model.stats_at(Density::FULL));
            // Plans of larger networks take more than their files are worth.
            if cost::dense(model.spec()).is_ok_and(|cost| cost.peak_bytes < 1 << 15) {
                drop(infer::compile(&model, &infer::Options::default()));
                drop(onnx_bytes(&model, Density::FULL));
            }
        }
    });
}

#[test]
fn burn_packs() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("m.bpk");
    let pack = |model: &Checkpoint| {
        let options = Export {
            to: file.clone(),
            density: None,
            probe: Probe::default_for(model).expect("images"),
        };
        export(model, &options).expect("writes");
        std::fs::read(&file).expect("reads")
    };
    let seeds: Vec<Vec<u8>> = little_models()[..3].iter().map(pack).collect();
    let options = Import {
        file: file.clone(),
        ..Import::default()
    };
    let mut read = 0;
    fuzz("burn pack", &seeds, any_head, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        read += u32::from(import(&options).is_ok());
    });
    assert!(read > 0, "no file was read at all");
}

/// Tables of another machine, sweeps and tournaments: files that people write and copy.
#[test]
fn tables_and_plans() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("file");
    let spec = zoo::build("lenet5", [1, 16, 16], 2, 0.05).expect("builds");
    let table = infer::LatencyTable::measure(&model(spec.clone(), 1), 1, &mut || Ok(())).expect("times");
    let table = serde_json::to_vec(&table).expect("writes");
    fuzz("latency table", &[table], any_text, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        if let Ok(table) = infer::LatencyTable::load(&file) {
            drop(table.check_fits(&spec));
            assert!(table.ms(&[("conv0", 1, 25), ("conv1", usize::MAX, usize::MAX)]) >= 0.0);
        }
    });
    let sweep = b"preset = \"smoke\"\n[set]\nseed = [0, 1, 2]\n\"train.lr\" = [0.1, 0.05]\n".to_vec();
    let shard: Shard = "1/2".parse().expect("a shard");
    fuzz("sweep", &[sweep], any_text, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        drop(record::sweep::experiments(&file, shard, &[]));
    });
    let tournament = include_bytes!("../presets/tournament-small.toml").to_vec();
    fuzz("tournament", &[tournament], any_text, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        drop(Tournament::load(&file, &[]));
    });
}

#[test]
fn onnx_files() {
    let onnx = |m: &Checkpoint| onnx_bytes(m, percent(20)).expect("writes");
    let seeds: Vec<Vec<u8>> = little_models().iter().map(onnx).collect();
    let options = Import::default();
    fuzz("ONNX", &seeds, any_bytes, |bytes| drop(onnx_model(bytes, &options)));
}

/// Sends the first tensor of an ONNX file to some place, then perhaps damages the file.
fn any_place(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    const PARTS: [&str; 9] = [
        "..",
        ".",
        "",
        "secret",
        "model",
        "link",
        "weights.bin",
        "%2e%2e",
        "..\\secret",
    ];
    let mut proto = ModelProto::decode(seed).expect("decodes");
    let parts: Vec<&str> = (0..rng.random_range(1..5))
        .map(|_| PARTS[rng.random_range(0..PARTS.len())])
        .collect();
    let tensor = &mut proto.graph.as_mut().expect("a graph").initializer[0];
    tensor.raw_data.clear();
    tensor.data_location = Some(1);
    tensor.external_data = vec![StringStringEntryProto {
        key: "location".into(),
        value: parts.join("/"),
    }];
    let bytes = proto.encode_to_vec();
    if rng.random_ratio(1, 3) {
        any_bytes(rng, &bytes)
    } else {
        bytes
    }
}

#[test]
fn onnx_external_data() {
    const SECRET: f32 = 1234.5;
    let outer = tempfile::tempdir().expect("temp dir");
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).expect("folder");
    let file_of = |number: f32| number.to_le_bytes().repeat(1 << 12);
    std::fs::write(outer.path().join("secret"), file_of(SECRET)).expect("writes");
    std::fs::write(folder.join("weights.bin"), file_of(0.5)).expect("writes");
    #[cfg(unix)]
    std::os::unix::fs::symlink(outer.path(), folder.join("link")).expect("links");
    let file = folder.join("m.onnx");
    let options = Import {
        file: file.clone(),
        ..Import::default()
    };
    let seed = onnx_bytes(&little_models()[1], Density::FULL).expect("writes");
    let mut read_beside = 0;
    fuzz("ONNX with external data", &[seed], any_place, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        if let Ok(done) = import(&options) {
            let holds = |number: f32| done.model.weights.values().any(|a| a.data.contains(&number));
            assert!(!holds(SECRET), "read from outside the folder");
            read_beside += u32::from(holds(0.5));
        }
    });
    assert!(read_beside > 0, "no file was read at all");
}

/// Damages a file as a whole, or bytes near its head, where a PyTorch file has its pickle and a burn pack its sizes.
fn any_head(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    if rng.random_ratio(1, 3) {
        return any_bytes(rng, seed);
    }
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len().min(2000));
        bytes[at] = rng.random();
    }
    bytes
}

#[test]
fn state_dicts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dict = state_dict(&little_models()[1], str::to_owned);
    let kinds: [(&str, Vec<u8>, Damage); 3] = [
        ("m.safetensors", safetensors_bytes(&dict), any_header),
        ("m.pt", pt_bytes(&dict, b""), any_head),
        ("m.pt", pt_bytes(&dict, b""), any_zip),
    ];
    for (name, seed, damage) in kinds {
        let file = dir.path().join(name);
        let options = Import {
            file: file.clone(),
            arch: Some("lenet5".into()),
            ..Import::default()
        };
        fuzz(name, &[seed], damage, |bytes| {
            std::fs::write(&file, bytes).expect("writes");
            drop(import(&options));
        });
    }
}

#[test]
fn idx_files() {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3][..], &[7; 18]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &[1, 0]].concat();
    let packed = |bytes: &[u8]| {
        use std::io::Write;
        let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        gz.write_all(bytes).expect("packs");
        gz.finish().expect("packs")
    };
    let seeds = [images.clone(), labels.clone(), packed(&images), packed(&labels)];
    fuzz("IDX", &seeds, any_bytes, |bytes| {
        let input = |reader| idx::Input {
            name: "x".into(),
            reader,
            bytes: bytes.len() as u64,
        };
        let good = |reader: &'static [u8]| idx::Input {
            name: "y".into(),
            bytes: reader.len() as u64,
            reader,
        };
        drop(idx::read_pair(
            input(bytes),
            good(&[0, 0, 8, 1, 0, 0, 0, 2, 1, 0]),
            &mut |_| Ok(()),
        ));
        drop(idx::read_pair(
            good(&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9]),
            input(bytes),
            &mut |_| Ok(()),
        ));
    });
}

#[test]
fn cifar_files() {
    let dir = tempfile::tempdir().expect("temp dir");
    let record = [&[1][..], &[100; 3072]].concat();
    for i in 1..=5 {
        std::fs::write(dir.path().join(format!("data_batch_{i}.bin")), &record).expect("writes");
    }
    std::fs::write(dir.path().join("test_batch.bin"), &record).expect("writes");
    let names = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n".to_vec();
    let (file, meta) = (dir.path().join("data_batch_3.bin"), dir.path().join("batches.meta.txt"));
    let archive = tempfile::tempdir().expect("temp dir");
    let packed = archive.path().join("cifar.tar.gz");
    let tar = {
        let gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        tar.append_dir_all("cifar-10-batches-bin", dir.path()).expect("packs");
        tar.into_inner().and_then(|gz| gz.finish()).expect("packs")
    };
    let mut turn = 0;
    fuzz("CIFAR", &[record.clone(), names.clone(), tar], any_bytes, |bytes| {
        turn += 1;
        let (place, good): (&Path, &[u8]) = match turn % 3 {
            0 => (&file, &record),
            1 => (&meta, &names),
            _ => (&packed, &[]),
        };
        std::fs::write(place, bytes).expect("writes");
        if place == packed {
            drop(cifar::open_archive(place, &mut |_| Ok(())));
        } else {
            drop(cifar::open_folder(dir.path(), &mut |_| Ok(())));
        }
        std::fs::write(place, good).expect("writes");
    });
}

/// Writes hostile numbers into fields of the headers of a tar file, mends their checksums, and packs it.
fn any_tar(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    const FIELDS: [(usize, usize); 4] = [(124, 12), (0, 100), (345, 155), (257, 8)];
    let mut bytes = seed.to_vec();
    let heads: Vec<usize> = (0..seed.len() / 512)
        .map(|i| i * 512)
        .filter(|&at| seed[at + 257..].starts_with(b"ustar"))
        .collect();
    for _ in 0..rng.random_range(1..4) {
        let at = heads[rng.random_range(0..heads.len())];
        match rng.random_range(0..3) {
            // What an entry is: a file, a long name, a long link, extensions, a sparse file, a folder.
            0 => bytes[at + 156] = b"0LKxgS5\0"[rng.random_range(0..8)],
            1 => {
                let size = [0u64, 1, 511, 513, 0o77777777777, 1 << 28][rng.random_range(0..6)];
                bytes[at + 124..at + 136].copy_from_slice(format!("{size:011o}\0").as_bytes());
            }
            _ => {
                let (from, n) = FIELDS[rng.random_range(0..FIELDS.len())];
                let place = at + from + rng.random_range(0..n);
                bytes[place] = rng.random();
            }
        }
        bytes[at + 148..at + 156].fill(b' ');
        let sum: u32 = bytes[at..at + 512].iter().map(|&b| u32::from(b)).sum();
        bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    packed(&bytes)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gz.write_all(bytes).expect("packs");
    gz.finish().expect("packs")
}

#[test]
fn tar_structure() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut tar = tar::Builder::new(Vec::new());
    let long = "d".repeat(200);
    for (name, data) in [
        ("cifar/data_batch_1.bin".to_owned(), vec![1; 3073]),
        (format!("{long}/test_batch.bin"), vec![2; 3073]),
    ] {
        let mut head = tar::Header::new_gnu();
        head.set_size(data.len() as u64);
        head.set_mode(0o644);
        tar.append_data(&mut head, name, &data[..]).expect("packs");
    }
    let seed = tar.into_inner().expect("packs");
    let file = dir.path().join("c.tar.gz");
    std::fs::write(&file, packed(&seed)).expect("writes");
    cifar::open_archive(&file, &mut |_| Ok(())).expect("a long name is read");
    fuzz("tar", &[seed], any_tar, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        drop(cifar::open_archive(&file, &mut |_| Ok(())));
    });
}

#[test]
fn a_long_name_of_many_megabytes_takes_no_memory() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("c.tar.gz");
    for kind in *b"Lx" {
        let mut tar = tar::Builder::new(Vec::new());
        let name = vec![b'a'; 64 << 20];
        let mut head = tar::Header::new_gnu();
        head.set_entry_type(tar::EntryType::new(kind));
        head.set_size(name.len() as u64);
        head.set_cksum();
        tar.append(&head, &name[..]).expect("packs");
        std::fs::write(&file, packed(&tar.into_inner().expect("packs"))).expect("writes");
        drop(name);
        let (before, _) = HELD.get();
        HELD.set((before, before));
        let text = format!(
            "{:#}",
            cifar::open_archive(&file, &mut |_| Ok(())).expect_err("refused")
        );
        let (_, most) = HELD.get();
        assert!(text.contains("67108864 bytes that say the name"), "{text}");
        assert!(most - before < SPARE, "{} bytes held", most - before);
    }
}

/// Hostile numbers in the records of a ZIP: sizes, offsets, counts, lengths of names.
fn any_zip(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let heads: Vec<usize> = (0..seed.len().saturating_sub(22))
        .filter(|&at| seed[at..].starts_with(b"PK") && seed[at + 2] < 8)
        .collect();
    for _ in 0..rng.random_range(1..4) {
        let at = heads[rng.random_range(0..heads.len())] + rng.random_range(2..46);
        let number: u64 =
            [0, 1, 0xffff, 0x7fff_ffff, 0xffff_ffff, rng.random_range(0..1 << 32)][rng.random_range(0..6)];
        let width = [1, 2, 4][rng.random_range(0..3)].min(bytes.len().saturating_sub(at));
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
    bytes
}

/// Hostile numbers in an ONNX file that is otherwise whole: extents, attributes, and shapes of tensors.
fn any_numbers(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    const HARD: [i64; 14] = [
        0,
        1,
        2,
        3,
        -1,
        64,
        16_384,
        1 << 20,
        (1 << 20) + 1,
        1 << 31,
        -(1 << 31),
        1 << 62,
        i64::MAX,
        i64::MIN,
    ];
    let mut proto = ModelProto::decode(seed).expect("decodes");
    let graph = proto.graph.as_mut().expect("a graph");
    for _ in 0..rng.random_range(1..5) {
        let number = HARD[rng.random_range(0..HARD.len())];
        match rng.random_range(0..4) {
            0 => {
                let Some(TypeValue::TensorType(tensor)) = graph.input[0].r#type.as_mut().and_then(|t| t.value.as_mut())
                else {
                    continue;
                };
                let dims = &mut tensor.shape.get_or_insert_default().dim;
                let at = rng.random_range(0..dims.len());
                dims[at].value = Some(DimensionValue::DimValue(number));
            }
            1 => {
                let n = graph.initializer.len();
                let tensor = &mut graph.initializer[rng.random_range(0..n)];
                if tensor.dims.is_empty() {
                    continue;
                }
                let at = rng.random_range(0..tensor.dims.len());
                tensor.dims[at] = number;
            }
            _ => {
                let attributes: Vec<_> = graph.node.iter_mut().flat_map(|n| &mut n.attribute).collect();
                let n = attributes.len();
                let Some(a) = attributes.into_iter().nth(rng.random_range(0..n.max(1))) else {
                    continue;
                };
                a.i = number;
                let both = rng.random();
                let at = rng.random_range(0..a.ints.len().max(1));
                for (i, v) in a.ints.iter_mut().enumerate() {
                    if both || i == at {
                        *v = number;
                    }
                }
            }
        }
    }
    proto.encode_to_vec()
}

#[test]
fn onnx_numbers() {
    let onnx = |m: &Checkpoint| onnx_bytes(m, percent(20)).expect("writes");
    let seeds: Vec<Vec<u8>> = little_models().iter().map(onnx).collect();
    let options = Import::default();
    fuzz("ONNX numbers", &seeds, any_numbers, |bytes| {
        if let Ok(done) = onnx_model(bytes, &options) {
            let cost = cost::dense(done.model.spec()).expect("counts");
            // What was taken can be planned, and goes out again; plans of larger networks take more than their files are worth.
            if cost.peak_bytes < 1 << 15 {
                infer::compile(&done.model, &infer::Options::default())
                    .map(drop)
                    .expect("plans");
                onnx_bytes(&done.model, Density::FULL).map(drop).expect("writes");
            }
        }
    });
}

/// Found by `onnx_numbers`: inputs are laid out in as many phases as a stride has steps.
#[test]
fn a_stride_beyond_the_image_takes_no_memory() {
    let conv = Op::Conv {
        filters: 8,
        kernel: 3,
        stride: 500,
        pad: Pad::all(1),
        bias: true,
        groups: 1,
    };
    let ops = [Op::Input, conv, Op::Relu, Op::GlobalAvgPool, Op::Flatten];
    let ops = ops.into_iter().chain([Op::Linear { outputs: 2, bias: true }]);
    let node = |(i, op): (usize, Op)| Node {
        name: format!("node{i}"),
        op,
        inputs: i.checked_sub(1).into_iter().collect(),
    };
    let spec = NetSpec {
        name: "strided".into(),
        input: [8, 12, 12],
        nodes: ops.enumerate().map(node).collect(),
    };
    let model = model(spec, 1);
    HELD.set((0, 0));
    drop(infer::compile(&model, &infer::Options::default()).expect("plans"));
    let (_, most) = HELD.get();
    assert!(most < SPARE, "{most} bytes held");
}

#[test]
fn experiments() {
    let seeds: Vec<Vec<u8>> = PRESETS.iter().map(|(_, text)| text.as_bytes().to_vec()).collect();
    fuzz("experiment", &seeds, any_text, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(experiment) = Experiment::parse(text, &[]) {
            drop(experiment.check(""));
            drop(experiment.to_toml());
        }
    });
}

#[test]
fn event_logs() {
    let spec = zoo::build("lenet5", [1, 28, 28], 10, 0.1).expect("builds");
    let events = [
        Event::Started {
            dense: cost::dense(&spec).expect("cost"),
            spec: spec.into(),
            steps: 10,
            images: [5, 4, 3],
            agreement: false,
        },
        Event::Step {
            step: 3,
            loss: 0.5,
            top1: 0.25,
            lr: 0.01,
        },
        Event::Epoch {
            epoch: 1,
            split: Split::Valid,
            density: Density::FULL,
            gates: Vec::new(),
            loss: 0.5,
            top1: 0.5,
            macs: 7,
            n: 9,
        },
        Event::Warning { text: "hm".into() },
    ];
    let line = |(seq, event): (usize, &Event)| {
        serde_json::to_string(&Stamped {
            seq: seq as u64,
            at: 0.5,
            event: event.clone(),
        })
        .expect("writes")
            + "\n"
    };
    let log: String = events.iter().enumerate().map(line).collect();
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("events.jsonl");
    fuzz("event log", &[log.into_bytes()], any_text, |bytes| {
        std::fs::write(&file, bytes).expect("writes");
        drop(read_events(dir.path()));
    });
}

/// Numbers near a picture's beginning, where its sizes are, replaced by ones that are hard to bear. A PNG's checksum is mended,
/// or nothing of it would be read.
fn any_sizes(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    if rng.random_ratio(1, 3) {
        return any_bytes(rng, seed);
    }
    const HARD: [u32; 10] = [
        0,
        1,
        255,
        4096,
        16_384,
        60_000,
        65_535,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX,
    ];
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let (hard, width) = (HARD[rng.random_range(0..HARD.len())], [1, 2, 4][rng.random_range(0..3)]);
        let at = rng.random_range(0..bytes.len().min(240) - width);
        let digits = if rng.random() {
            hard.to_le_bytes()[..width].to_vec()
        } else {
            hard.to_be_bytes()[4 - width..].to_vec()
        };
        bytes[at..at + width].copy_from_slice(&digits);
    }
    if seed.starts_with(b"\x89PNG") {
        bytes[..16].copy_from_slice(&seed[..16]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    }
    bytes
}

#[test]
fn pictures() {
    use data::{Fit, ImageShape, Reading};
    use image::{DynamicImage, ImageFormat, RgbaImage};
    let small = DynamicImage::from(RgbaImage::from_fn(12, 10, |x, y| {
        image::Rgba([x as u8 * 20, y as u8 * 25, (x * y) as u8, 255 - x as u8])
    }));
    let encoded = |picture: &DynamicImage, format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("encodes");
        bytes.into_inner()
    };
    let opaque = DynamicImage::from(small.to_rgb8());
    let mut seeds: Vec<Vec<u8>> = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ]
    .map(|format| encoded(&opaque, format))
    .to_vec();
    seeds.push(encoded(&small, ImageFormat::Png));
    seeds.push(encoded(&DynamicImage::from(small.to_luma16()), ImageFormat::Png));
    seeds.push(encoded(&DynamicImage::from(small.to_luma16()), ImageFormat::Tiff));
    let shape = ImageShape {
        channels: 3,
        height: 8,
        width: 9,
    };
    // What a picture may hold at most, a dozen times: decoders of JPEG keep coefficients of all its channels.
    fuzz_within("picture", &seeds, any_sizes, [192 << 20, 12 * 2048], |bytes| {
        for fit in [Fit::Crop, Fit::Letterbox] {
            let reading = Reading {
                fit,
                ..Reading::default()
            };
            if let Ok(planes) = data::picture_from_bytes(bytes, shape, &reading) {
                assert_eq!(planes.len(), shape.bytes());
            }
        }
    });
}

/// Requests that are left in a run's folder, read in pieces as they come.
#[test]
fn control_files() {
    use event::Steer;
    use record::control_file::{ControlRequest, take_requests};
    let requests = [
        ControlRequest::Pause,
        ControlRequest::Hold { by: "a window".into() },
        ControlRequest::Resume,
        ControlRequest::Steer(Steer::Budget { most: 0.5 }),
        ControlRequest::Steer(Steer::Propose {
            densities: vec![0.5, 1.0],
        }),
        ControlRequest::Stop,
    ];
    let line = |r: &ControlRequest| serde_json::to_string(r).expect("writes") + "\n";
    let file: String = requests.iter().map(line).collect();
    let mut whole = file.clone().into_bytes();
    assert_eq!(take_requests(&mut whole), requests);
    fuzz("control file", &[file.into_bytes()], any_text, |bytes| {
        let (mut rest, mut in_pieces) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(7) {
            rest.extend(piece);
            in_pieces.extend(take_requests(&mut rest));
        }
        let at_once = take_requests(&mut bytes.to_vec());
        // Numbers that are none equal nothing, not even themselves.
        assert_eq!(format!("{in_pieces:?}"), format!("{at_once:?}"));
    });
}

/// The settings and the manifest in a run's folder.
#[test]
fn run_folders() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = dir.path().join("run");
    std::fs::create_dir(&run).expect("folder");
    std::fs::write(run.join("events.jsonl"), b"").expect("writes");
    let smoke = Experiment::load("smoke", &[])
        .expect("preset")
        .to_toml()
        .expect("writes");
    let manifest =
        br#"{"state": "running", "data_checksum": "00ff", "origin": {"run": "a", "at": 3, "changes": ["x = 1"]}}"#;
    let seeds = [smoke.clone().into_bytes(), manifest.to_vec()];
    fuzz("run folder", &seeds, any_text, |bytes| {
        std::fs::write(run.join("config.toml"), bytes).expect("writes");
        drop(record::replay::replay(record::RunId(0), &run));
        std::fs::write(run.join("config.toml"), &smoke).expect("writes");
        std::fs::write(run.join("manifest.json"), bytes).expect("writes");
        drop(record::folder::RunFolder::reopen(&run, &mut |_| {}));
        drop(record::RunSummary::read(&run));
    });
}
