//! State dicts as PyTorch writes them, put together by hand.

use model::Density;
use model::checkpoint::Checkpoint;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;
use std::io::{Cursor, Write};

/// A state dict: name, shape, numbers.
pub(crate) type Dict = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A model as PyTorch would hold it, its modules called by `rename`.
pub(crate) fn state_dict(model: &Checkpoint, rename: impl Fn(&str) -> String) -> Dict {
    let mut out = Dict::new();
    for (name, a) in &model.weights {
        let (node, what) = name.rsplit_once('.').expect("a part");
        let what = match what {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
        out.insert(format!("{}.{what}", rename(node)), (a.shape.clone(), a.data.clone()));
    }
    for (node, m) in &model.stats[&Density::FULL] {
        out.insert(
            format!("{}.running_mean", rename(node)),
            (vec![m.mean.len()], m.mean.clone()),
        );
        out.insert(
            format!("{}.running_var", rename(node)),
            (vec![m.var.len()], m.var.clone()),
        );
        out.insert(format!("{}.num_batches_tracked", rename(node)), (vec![], vec![3.0]));
    }
    out
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// As a safetensors file.
pub(crate) fn safetensors_bytes(dict: &Dict) -> Vec<u8> {
    let data: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> =
        dict.iter().map(|(n, (s, d))| (n, (s, bytes_of(d)))).collect();
    let views = data
        .iter()
        .map(|(n, (s, d))| (*n, TensorView::new(Dtype::F32, s.to_vec(), d).expect("fits")));
    safetensors::serialize(views, None).expect("writes")
}

/// As `torch.save` writes a state dict. `extra` is pickled as one more item.
pub(crate) fn pt_bytes(dict: &Dict, extra: &[u8]) -> Vec<u8> {
    pt_bytes_in(b"little", dict, extra)
}

/// The same from a machine of this byte order.
pub(crate) fn pt_bytes_in(order: &[u8], dict: &Dict, extra: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut put = |name: String, bytes: &[u8]| {
        zip.start_file(name, stored).expect("starts");
        zip.write_all(bytes).expect("writes");
    };
    put("net/data.pkl".into(), &pickle(dict, extra));
    put("net/byteorder".into(), order);
    for (key, (_, data)) in dict.values().enumerate() {
        put(format!("net/data/{key}"), &bytes_of(data));
    }
    put("net/version".into(), b"3\n");
    zip.finish().expect("finishes").into_inner()
}

/// Protocol 2, as PyTorch's pickler does it.
fn pickle(dict: &Dict, extra: &[u8]) -> Vec<u8> {
    let text = |s: &str| [&b"X"[..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let number = |n: usize| [&b"J"[..], &(n as i32).to_le_bytes()].concat();
    let tuple = |numbers: &[usize]| {
        let inside: Vec<u8> = numbers.iter().flat_map(|&n| number(n)).collect();
        [&b"("[..], &inside, b"t"].concat()
    };
    let ordered: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = [&b"\x80\x02"[..], ordered, b"("].concat();
    for (key, (name, (shape, data))) in dict.iter().enumerate() {
        let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        let storage = [
            &b"("[..],
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text(&key.to_string()),
            &text("cpu"),
            &number(data.len()),
            b"tQ",
        ]
        .concat();
        out.extend(text(name));
        out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n(");
        out.extend(
            [
                &storage[..],
                &number(0),
                &tuple(shape),
                &tuple(&strides),
                b"\x89",
                ordered,
                b"tR",
            ]
            .concat(),
        );
    }
    out.extend_from_slice(extra);
    out.extend_from_slice(b"u.");
    out
}
