//! Whether a training fits into memory, asked before it begins.
//! Knows nothing of how tensors are kept; it counts what cannot be avoided.

use anyhow::Result;
use event::BadInput;
use model::{NetSpec, Op};

/// Bytes a training step holds at least: for every convolution its planes as computed, as given on, and their gradient;
/// for every weight itself, its gradient, its velocity and two copies on the way.
///
/// # Errors
/// As [`NetSpec::shapes`].
pub(crate) fn needed(spec: &NetSpec, batch: usize) -> Result<u64> {
    let shapes = spec.shapes()?;
    let conv = |i: &usize| matches!(spec.nodes[*i].op, Op::Conv { .. } | Op::Add);
    let planes: u64 = (0..spec.nodes.len())
        .filter(conv)
        .map(|i| shapes[i].iter().product::<usize>() as u64)
        .sum();
    let params = model::cost::dense(spec)?.params;
    Ok(4 * (3 * planes * batch as u64 + 5 * params))
}

/// Bytes that are free, where the system says so.
pub(crate) fn free() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Refuses what cannot fit.
///
/// # Errors
/// [`BadInput`] with both numbers.
pub(crate) fn check(spec: &NetSpec, batch: usize, free: Option<u64>) -> Result<()> {
    let needed = needed(spec, batch)?;
    match free {
        Some(free) if needed > free => Err(BadInput(format!(
            "a training step of {batch} images needs at least {:.1} GiB, {:.1} GiB are free: a smaller train.batch or model.width may fit",
            gib(needed),
            gib(free)
        ))
        .into()),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    #[test]
    fn what_cannot_fit_is_refused_with_both_numbers() {
        let spec = zoo::build("m-cifarnet", [3, 32, 32], 10, 1.0).expect("builds");
        // 2·64·30² + 3·128·15² + 3·192·8² planes, 1,296,074 parameters.
        let planes = 2 * 64 * 900 + 3 * 128 * 225 + 3 * 192 * 64;
        assert_eq!(
            needed(&spec, 64).expect("counts"),
            4 * (3 * planes * 64 + 5 * 1_296_074)
        );
        let text = check(&spec, 64, Some(1 << 20)).expect_err("too much").to_string();
        assert!(text.contains("needs at least 0.2 GiB, 0.0 GiB are free"), "{text}");
        check(&spec, 64, Some(1 << 40)).expect("fits");
        check(&spec, 64, None).expect("nobody knows");
    }
}
