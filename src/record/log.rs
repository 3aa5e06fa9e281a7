//! The lines of `events.jsonl` as events: whole lines alone, in order, many at a time.
//! Knows nothing of what events mean, but that most of them are training steps.

use anyhow::{Context, Result, ensure};
use crossbeam_channel::bounded;
use event::{Event, Stamped};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::thread::Builder;

/// Bytes that are read at a time: enough for all threads, and nothing beside a run's state.
const CHUNK: usize = 8 << 20;

/// Bytes of the longest line that can be an event.
pub(crate) const LONGEST: usize = 64 << 20;

/// Shows every event of a log to `see`, in order, until that gives false. Gives how many bytes are whole lines.
/// A damaged end is left out: a line that the run was killed while writing, or what a power cut left in place of lines.
///
/// # Errors
/// The file cannot be read; a line that is no event.
pub fn read(file: &Path, see: &mut dyn FnMut(Stamped) -> bool) -> Result<u64> {
    std::thread::scope(|scope| {
        // One chunk is read while the one before it is seen.
        let (send, got) = bounded(1);
        let parse = || {
            // Nobody listens once enough was seen.
            if let Err(e) = chunks_of(file, &mut |chunk| send.send(Ok(chunk)).is_ok()) {
                drop(send.send(Err(e)));
            }
            drop(send);
        };
        Builder::new().name("read log".into()).spawn_scoped(scope, parse)?;
        let mut whole = 0;
        for chunk in got {
            let Chunk { events, bytes } = chunk?;
            for event in events.into_iter().flatten() {
                if !see(event.into()) {
                    return Ok(whole);
                }
            }
            whole += bytes;
        }
        Ok(whole)
    })
}

/// Some whole lines of a log.
struct Chunk {
    /// Their events, in order, by the thread that parsed them.
    events: Vec<Vec<ParsedEvent>>,
    bytes: u64,
}

/// Parses a log chunk by chunk until `take` gives false.
fn chunks_of(file: &Path, take: &mut dyn FnMut(Chunk) -> bool) -> Result<()> {
    let cannot = || format!("cannot read {}", file.display());
    let mut source = File::open(file).with_context(cannot)?;
    let (mut rest, mut lines, mut whole) = (Vec::new(), 0, 0);
    loop {
        let had = rest.len();
        let n = (&mut source)
            .take(CHUNK as u64)
            .read_to_end(&mut rest)
            .with_context(cannot)?;
        let newest = &rest[had..];
        let Some(end) = newest.iter().rposition(|b| *b == b'\n').map(|i| had + i + 1) else {
            // A line longer than a chunk goes on; or this is the torn end.
            if n > 0 && rest.len() <= LONGEST {
                continue;
            }
            ensure!(
                n == 0 || is_damage(file, whole)?,
                "{}: line {} is not an event",
                file.display(),
                lines + 1
            );
            return Ok(());
        };
        let parts = split(&rest[..end], rayon::current_num_threads());
        let parsed: Vec<Parsed> = parts.into_par_iter().map(parse_all).collect();
        let mut events = Vec::with_capacity(parsed.len());
        let mut is_good = true;
        let mut bytes = 0;
        for part in parsed {
            lines += part.events.len();
            bytes += part.bytes;
            events.push(part.events);
            is_good = part.is_good;
            if !is_good {
                break;
            }
        }
        whole += bytes;
        ensure!(
            is_good || is_damage(file, whole)?,
            "{}: line {} is not an event",
            file.display(),
            lines + 1
        );
        if !take(Chunk { events, bytes }) || !is_good {
            return Ok(());
        }
        rest.drain(..end);
    }
}

/// Whether a log holds nothing but damage from a byte on: no line of JSON.
fn is_damage(file: &Path, from: u64) -> Result<bool> {
    let cannot = || format!("cannot read {}", file.display());
    let mut source = File::open(file).with_context(cannot)?;
    source.seek(SeekFrom::Start(from)).with_context(cannot)?;
    let mut source = BufReader::new(source);
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let mut part = (&mut source).take(CHUNK as u64);
        if part.read_until(b'\n', &mut line).with_context(cannot)? == 0 {
            return Ok(true);
        }
        let is_whole = line.ends_with(b"\n");
        too_long |= line.len() > LONGEST;
        if is_whole && !too_long && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&line).is_ok()
        {
            return Ok(false);
        }
        if is_whole || too_long {
            line.clear();
        }
        too_long &= !is_whole;
    }
}

/// All events of a run folder.
///
/// # Errors
/// As [`read`].
pub fn read_events(run: &Path) -> Result<Vec<Stamped>> {
    let mut events = Vec::new();
    read(&run.join("events.jsonl"), &mut |stamped| {
        events.push(stamped);
        true
    })?;
    Ok(events)
}

/// Whole lines in about equal parts.
fn split(mut lines: &[u8], parts: usize) -> Vec<&[u8]> {
    let each = lines.len().div_ceil(parts.max(1));
    let mut out = Vec::new();
    while lines.len() > each {
        let end = lines[each..]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(lines.len(), |i| each + i + 1);
        let (part, after) = lines.split_at(end);
        out.push(part);
        lines = after;
    }
    if !lines.is_empty() {
        out.push(lines);
    }
    out
}

enum ParsedEvent {
    Step {
        seq: u64,
        at: f64,
        step: u64,
        loss: f32,
        top1: f32,
        lr: f32,
    },
    Other(Box<Stamped>),
}

impl From<ParsedEvent> for Stamped {
    fn from(parsed: ParsedEvent) -> Self {
        match parsed {
            ParsedEvent::Step {
                seq,
                at,
                step,
                loss,
                top1,
                lr,
            } => Self {
                seq,
                at,
                event: Event::Step { step, loss, top1, lr },
            },
            ParsedEvent::Other(stamped) => *stamped,
        }
    }
}

/// The events of whole lines.
struct Parsed {
    events: Vec<ParsedEvent>,
    /// Their lines' bytes.
    bytes: u64,
    /// Whether these are all lines; else the next one is no event.
    is_good: bool,
}

fn parse_all(lines: &[u8]) -> Parsed {
    let mut out = Parsed {
        events: Vec::with_capacity(lines.len() / 96),
        bytes: 0,
        is_good: true,
    };
    for line in lines.split_inclusive(|b| *b == b'\n') {
        let parsed = step(line).or_else(|| {
            serde_json::from_slice(line)
                .ok()
                .map(|s| ParsedEvent::Other(Box::new(s)))
        });
        let Some(parsed) = parsed else {
            out.is_good = false;
            break;
        };
        out.events.push(parsed);
        out.bytes += line.len() as u64;
    }
    out
}

/// One line as an event.
pub fn parse(line: &[u8]) -> Option<Stamped> {
    step(line).map(Into::into).or_else(|| serde_json::from_slice(line).ok())
}

/// A training step as [`crate::folder::RunFolder::append`] writes it: ten times as fast as reading any JSON. None for whatever else.
fn step(line: &[u8]) -> Option<ParsedEvent> {
    let (seq, rest) = number(line.strip_prefix(b"{\"seq\":")?)?;
    let (at, rest) = number(rest.strip_prefix(b",\"at\":")?)?;
    let (step, rest) = number(rest.strip_prefix(b",\"event\":\"step\",\"step\":")?)?;
    let (loss, rest) = number::<f64>(rest.strip_prefix(b",\"loss\":")?)?;
    let (top1, rest) = number::<f64>(rest.strip_prefix(b",\"top1\":")?)?;
    let (lr, rest) = number::<f64>(rest.strip_prefix(b",\"lr\":")?)?;
    // As the JSON reader does: first the nearest float64.
    let [loss, top1, lr] = [loss as f32, top1 as f32, lr as f32];
    (rest == b"}\n").then_some(ParsedEvent::Step {
        seq,
        at,
        step,
        loss,
        top1,
        lr,
    })
}

/// A number and what follows it.
fn number<T: Number>(text: &[u8]) -> Option<(T, &[u8])> {
    let digit = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e');
    let end = text.iter().position(|b| !digit(b))?;
    let (digits, rest) = text.split_at(end);
    let value = T::quick(digits).or_else(|| std::str::from_utf8(digits).ok()?.parse().ok())?;
    Some((value, rest))
}

trait Number: std::str::FromStr {
    /// The number, if it is one of the many that need no care.
    fn quick(digits: &[u8]) -> Option<Self>;
}

impl Number for u64 {
    fn quick(digits: &[u8]) -> Option<Self> {
        // Eighteen digits cannot overflow.
        let short = (1..=18).contains(&digits.len());
        let add = |n: u64, b: &u8| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'));
        short.then(|| digits.iter().try_fold(0, add)).flatten()
    }
}

impl Number for f64 {
    /// Digits that make a whole number below 2⁵³, divided by a power of ten up to 10²²: both are exact, so their quotient is
    /// the nearest float64 (Clinger 1990).
    fn quick(digits: &[u8]) -> Option<Self> {
        let mut places = digits.splitn(2, |b| *b == b'.');
        let (whole, part) = (places.next()?, places.next().unwrap_or_default());
        if whole.is_empty() || whole.len() + part.len() > 18 {
            return None;
        }
        let add = |n: u64, b: &u8| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'));
        let n = whole.iter().chain(part).try_fold(0, add)?;
        (n < 1 << 53).then(|| n as f64 / POWERS[part.len()])
    }
}

/// 10⁰ to 10¹⁸.
const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(events: &[Stamped]) -> Vec<u8> {
        let mut out = Vec::new();
        for event in events {
            out.extend(serde_json::to_vec(event).expect("writes"));
            out.push(b'\n');
        }
        out
    }

    fn log(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, bytes).expect("writes");
        (dir, path)
    }

    proptest! {
        #[test]
        fn the_quick_reader_reads_what_the_slow_one_does(
            seq: u64, at in 0f64..1e7, n: u64, loss in proptest::num::f32::NORMAL, top1 in 0f32..1.0, lr in 0f32..1.0
        ) {
            let event = Event::Step { step: n, loss, top1, lr };
            let line = lines(&[Stamped { seq, at, event }]);
            let slow: Stamped = serde_json::from_slice(&line).expect("reads");
            prop_assert_eq!(step(&line).map(Stamped::from), Some(slow));
        }

        #[test]
        fn quick_numbers_are_the_nearest_ones(whole in 0u64..100_000_000, part in "[0-9]{0,12}") {
            let text = format!("{whole}.{part}");
            let wanted: f64 = text.parse().expect("a number");
            let got = f64::quick(text.as_bytes());
            prop_assert!(got.is_none_or(|v| v.to_bits() == wanted.to_bits()), "{text}: {got:?}");
            prop_assert_eq!(u64::quick(whole.to_string().as_bytes()), Some(whole));
        }

        #[test]
        fn parts_are_whole_lines_and_make_the_whole(lengths in prop::collection::vec(0usize..40, 1..60), parts in 1usize..9) {
            let text: Vec<u8> = lengths.iter().flat_map(|&n| [vec![b'x'; n], vec![b'\n']].concat()).collect();
            let parts = split(&text, parts);
            prop_assert!(parts.iter().all(|p| p.ends_with(b"\n")));
            prop_assert_eq!(parts.concat(), text);
        }
    }

    #[test]
    fn events_come_in_order_and_a_torn_end_is_left_out() {
        let event = |seq: u64| Stamped {
            seq,
            at: 0.5,
            event: match seq % 3 {
                0 => Event::Warning {
                    text: "x".repeat(seq as usize % 70),
                },
                _ => Event::Step {
                    step: seq,
                    loss: 0.25,
                    top1: 0.5,
                    lr: 0.1,
                },
            },
        };
        let events: Vec<Stamped> = (0..5000).map(event).collect();
        let mut bytes = lines(&events);
        let whole = bytes.len() as u64;
        bytes.extend(b"{\"seq\":5000,");
        let (dir, path) = log(&bytes);
        assert_eq!(read_events(dir.path()).expect("reads"), events);
        assert_eq!(read(&path, &mut |_| true).expect("reads"), whole);
        let mut seen = 0;
        read(&path, &mut |_| {
            seen += 1;
            seen < 7
        })
        .expect("reads");
        assert_eq!(seen, 7);
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let warning = |seq| Stamped {
            seq,
            at: 0.0,
            event: Event::Warning { text: "x".into() },
        };
        let mut bytes = lines(&[warning(0), warning(1)]);
        bytes.extend(b"no event\n");
        bytes.extend(lines(&[warning(3)]));
        let (_dir, path) = log(&bytes);
        let error = read(&path, &mut |_| true).expect_err("broken").to_string();
        assert!(error.ends_with("line 3 is not an event"), "{error}");
    }

    #[test]
    fn what_a_power_cut_left_at_the_end_is_left_out() {
        let warning = |seq| Stamped {
            seq,
            at: 0.0,
            event: Event::Warning { text: "x".into() },
        };
        let good = lines(&[warning(0), warning(1)]);
        let nothing = vec![0; 5000];
        for end in [&b"\0\0\0\n"[..], b"\0\0\n{\"seq\":2,\n\0\n", b"\n", b"\xff\n", &nothing] {
            let (dir, path) = log(&[&good, end].concat());
            assert_eq!(read_events(dir.path()).expect("reads").len(), 2, "{end:?}");
            assert_eq!(read(&path, &mut |_| true).expect("reads"), good.len() as u64);
        }
        // What is no damage but not known either is kept: a newer version may have written it.
        let (_dir, path) = log(&[&good[..], b"\0\n{\"seq\":2,\"at\":0,\"event\":\"new\"}\n"].concat());
        read(&path, &mut |_| true).expect_err("events are lost");
    }

    #[test]
    fn a_log_without_line_ends_is_not_read_whole() {
        let (_dir, path) = log(b"");
        let file = File::options().write(true).open(&path).expect("opens");
        // Sparse: no disk holds it.
        file.set_len(200 << 20).expect("grows");
        assert_eq!(read(&path, &mut |_| true).expect("reads"), 0);
    }
}
