//! Refuses PyTorch files whose pickles name code: a state dict needs a handful of calls that rebuild tensors, and any other
//! is a reason to say what the file is.
//! Knows nothing of tensors or networks.
//!
//! burn's reader, which reads the tensors afterwards, runs no pickle either, but it refuses none: what it does not know it
//! skips. A file that would run a program in Python would be imported without a word, and a whole pickled model would be
//! read by guessing at its modules. So the names are looked at here first.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::rc::Rc;

/// Longest name that is looked at; no honest one is longer.
const LONGEST_NAME: u64 = 4096;
/// Largest pickle: names and shapes of tensors, no numbers.
const LARGEST_PICKLE: u64 = 8 << 20;
/// Pickles at the head of a file as PyTorch wrote it before 1.6: magic, protocol, system, the object, storage keys.
const LEGACY_PICKLES: usize = 5;

/// Refuses a PyTorch file whose pickles name anything but what rebuilds a state dict's tensors.
///
/// # Errors
/// One line with all such names; or a file that is cut short, or not from `torch.save`.
pub(crate) fn refuse_code(path: &Path) -> Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let called = if file.fill_buf()?.starts_with(b"PK") {
        of_zip(file)?
    } else {
        ensure!(
            file.fill_buf()?.first() == Some(&0x80),
            "not a PyTorch file (no ZIP and no pickle at its head)"
        );
        let mut called = BTreeSet::new();
        for _ in 0..LEGACY_PICKLES {
            if file.fill_buf()?.first() != Some(&0x80) {
                break;
            }
            calls(&mut (&mut file).take(LARGEST_PICKLE), &mut called)?;
        }
        called
    };
    let code: Vec<String> = called.into_iter().filter(|name| !is_harmless(name)).collect();
    ensure!(
        code.is_empty(),
        "holds pickled code ({}), which is not run; expected a state dict: torch.save(model.state_dict(), FILE)",
        code.join(", ")
    );
    Ok(())
}

fn of_zip(file: impl Read + Seek) -> Result<BTreeSet<String>> {
    let mut zip = zip::ZipArchive::new(file).context("the ZIP is cut short or damaged")?;
    let mut called = BTreeSet::new();
    for i in 0..zip.len() {
        let entry = zip.by_index(i)?;
        let name = entry.name()?.into_owned();
        if name.ends_with(".pkl") {
            calls(&mut BufReader::new(entry.take(LARGEST_PICKLE)), &mut called)?;
        } else if name == "byteorder" || name.ends_with("/byteorder") {
            let mut order = String::new();
            entry.take(16).read_to_string(&mut order)?;
            ensure!(
                order.trim() == "little",
                "holds numbers in {:?} byte order, expected little",
                order.trim()
            );
        }
    }
    Ok(called)
}

fn is_harmless(name: &str) -> bool {
    let Some((module, of)) = name.rsplit_once('.') else {
        return false;
    };
    match module {
        "collections" => of == "OrderedDict",
        "torch._utils" => {
            matches!(
                of,
                "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3" | "_rebuild_parameter"
            )
        }
        "torch" | "torch.storage" => of.ends_with("Storage") || matches!(of, "Size" | "device") || is_dtype(of),
        _ => false,
    }
}

fn is_dtype(name: &str) -> bool {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(
        kind,
        "float" | "bfloat" | "int" | "uint" | "bool" | "half" | "double" | "long"
    )
}

/// Walks one pickle to its end without running it; adds every `module.name` it would look up.
fn calls(from: &mut impl BufRead, called: &mut BTreeSet<String>) -> Result<()> {
    // STACK_GLOBAL takes the last two strings; a string may be recalled from the memo.
    let mut recent: [Option<Rc<str>>; 2] = [None, None];
    let mut memo: BTreeMap<u64, Option<Rc<str>>> = BTreeMap::new();
    let mut memoized = 0;
    loop {
        let op = byte(from)?;
        // Files before 1.6 say so in a pickle of their own: the key, then false.
        ensure!(
            op != 0x89 || recent[1].as_deref() != Some("little_endian"),
            "holds numbers in big byte order, expected little"
        );
        let text = match op {
            b'.' => return Ok(()),
            b'c' | b'i' => {
                called.insert(format!("{}.{}", line(from)?, line(from)?));
                None
            }
            0x93 => {
                let [module, name] = std::mem::take(&mut recent).map(|s| s.unwrap_or_else(|| "?".into()));
                called.insert(format!("{module}.{name}"));
                None
            }
            // Values written as lines: none of them is a name in the protocols that take names from the stack.
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'g' => {
                line(from)?;
                None
            }
            b'p' => {
                line(from)?;
                continue;
            }
            b'U' | 0x8c => Some(string(from, 1)?),
            b'T' | b'X' => Some(string(from, 4)?),
            0x8d => Some(string(from, 8)?),
            b'C' | 0x8a => skip(from, 1)?,
            b'B' | 0x8b => skip(from, 4)?,
            0x8e | 0x96 => skip(from, 8)?,
            b'q' | b'r' => {
                let at = number(from, if op == b'q' { 1 } else { 4 })?;
                memo.insert(at, recent[1].clone());
                continue;
            }
            0x94 => {
                memo.insert(memoized, recent[1].clone());
                memoized += 1;
                continue;
            }
            b'h' | b'j' => {
                let at = number(from, if op == b'h' { 1 } else { 4 })?;
                memo.get(&at).cloned().flatten()
            }
            0x80 | 0x95 => {
                number(from, if op == 0x80 { 1 } else { 8 })?;
                continue;
            }
            b'K' => pass(from, 1)?,
            b'M' => pass(from, 2)?,
            b'J' => pass(from, 4)?,
            b'G' => pass(from, 8)?,
            0x82..=0x84 => bail!("a pickle with an extension call, which is not run"),
            b'(' | b')' | b'0'..=b'2' | b'N' | b'Q' | b'R' | b']' | b'a' | b'b' | b'd' | b'e' | b'l' | b'o' => None,
            b's'..=b'u' | b'}' | 0x81 | 0x85..=0x89 | 0x8f..=0x92 | 0x97 | 0x98 => None,
            _ => bail!("not a pickle: byte 0x{op:02x} is not an instruction"),
        };
        recent = [recent[1].take(), text];
    }
}

fn byte(from: &mut impl BufRead) -> Result<u8> {
    Ok(number(from, 1)? as u8)
}

fn number(from: &mut impl BufRead, bytes: usize) -> Result<u64> {
    let mut buffer = [0; 8];
    from.read_exact(&mut buffer[..bytes])
        .context("the pickle is cut short")?;
    Ok(u64::from_le_bytes(buffer))
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut text = Vec::new();
    from.take(LONGEST_NAME).read_until(b'\n', &mut text)?;
    ensure!(text.pop() == Some(b'\n'), "the pickle is cut short");
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A string whose length stands before it, in so many bytes. The end of a very long one is not kept.
fn string(from: &mut impl BufRead, bytes: usize) -> Result<Rc<str>> {
    let n = number(from, bytes)?;
    let mut text = Vec::new();
    from.take(n.min(LONGEST_NAME)).read_to_end(&mut text)?;
    pass(from, n - text.len() as u64)?;
    Ok(String::from_utf8_lossy(&text).into())
}

/// Bytes whose number stands before them.
fn skip(from: &mut impl BufRead, bytes: usize) -> Result<Option<Rc<str>>> {
    let n = number(from, bytes)?;
    pass(from, n)
}

/// Passes over bytes that are no string.
fn pass(from: &mut impl BufRead, n: u64) -> Result<Option<Rc<str>>> {
    let passed = std::io::copy(&mut from.take(n), &mut std::io::sink())?;
    ensure!(passed == n, "the pickle is cut short");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls_of(mut pickle: &[u8]) -> Result<Vec<String>> {
        let mut called = BTreeSet::new();
        calls(&mut pickle, &mut called)?;
        Ok(called.into_iter().collect())
    }

    #[test]
    fn every_way_to_name_a_call_is_seen() {
        // Protocol 2, the text form.
        assert_eq!(
            calls_of(b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00ls\x85R.").expect("walks"),
            ["os.system"]
        );
        // Protocol 4: two strings, then two from the memo.
        let fresh = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93.";
        assert_eq!(calls_of(fresh).expect("walks"), ["os.system"]);
        let recalled = b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94\x30\x30h\x01h\x00\x93.";
        assert_eq!(calls_of(recalled).expect("walks"), ["os.system"]);
        // What cannot be known is named all the same.
        assert_eq!(calls_of(b"\x80\x04NN\x93.").expect("walks"), ["?.?"]);
        let by_line = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDictVos\nVsystem\n\x93.";
        assert_eq!(calls_of(by_line).expect("walks"), ["?.?"]);
        assert_eq!(calls_of(b"(i__main__\nNet\n.").expect("walks"), ["__main__.Net"]);
    }

    #[test]
    fn only_what_rebuilds_tensors_is_harmless() {
        let good = [
            "collections.OrderedDict",
            "torch._utils._rebuild_tensor_v2",
            "torch.FloatStorage",
            "torch.float32",
        ];
        assert!(good.iter().all(|name| is_harmless(name)));
        let bad = [
            "os.system",
            "builtins.eval",
            "torch.load",
            "torch.storage._load_from_bytes",
            "torch.hub.load",
            "?.?",
            "Storage",
        ];
        assert!(!bad.iter().any(|name| is_harmless(name)));
    }

    #[test]
    fn what_is_cut_short_or_no_pickle_is_said() {
        for (pickle, expected) in [
            (&b"\x80\x02X\xff\xff\xff\x7fab"[..], "cut short"),
            (b"\x80\x02", "cut short"),
            (b"\x80\x02\xff", "0xff"),
            (b"\x80\x02}X\x0d\x00\x00\x00little_endianq\x01\x89s.", "big byte order"),
        ] {
            let text = format!("{:#}", calls_of(pickle).expect_err(expected));
            assert!(text.contains(expected), "{text}");
        }
    }
}
