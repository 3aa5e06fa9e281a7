//! Applies masks to a model: what they leave out becomes zero, and columns that read only zeros are masked too.

use super::groups::{Place, groups};
use super::values::{constants, conv_groups, of_column};
use anyhow::{Context, Result, ensure};
use model::checkpoint::Checkpoint;
use model::mask::{LayerMask, Masks, intersection, kept_entries};

/// Masks a model: what the masks (and those it has) leave out is zero, dead channels with their norm and gate, and is masked.
/// Columns that read channels which are zero everywhere are masked too, so that what is counted is what a cut would leave.
///
/// # Errors
/// A mask for an unknown layer or of another size, or masks that leave nothing of a layer.
pub fn apply(checkpoint: &Checkpoint, masks: &Masks) -> Result<Checkpoint> {
    checkpoint.check()?;
    let spec = checkpoint.spec();
    for (name, mask) in masks {
        let weight = checkpoint.weights.get(&format!("{name}.weight"));
        let weight = weight.with_context(|| format!("a mask for {name}, but {} has no such layer", spec.name))?;
        mask.check(name, weight.matrix())?;
    }
    let mut out = checkpoint.clone();
    out.masks = intersection(&out.masks, masks);
    check_not_empty(&out.masks, "")?;
    zero(&mut out)?;
    close(&mut out)?;
    check_not_empty(&out.masks, ": all it reads is cut")?;
    zero(&mut out)?;
    Ok(out)
}

fn check_not_empty(masks: &Masks, why: &str) -> Result<()> {
    for (name, mask) in masks {
        ensure!(mask.count() > 0, "the masks leave nothing of {name}{why}");
    }
    Ok(())
}

/// Zeroes what the masks leave out: weights, and of dead channels also bias, γ, β, φ and ρ. The masks stay.
///
/// # Errors
/// Masks that do not fit.
pub fn zero(checkpoint: &mut Checkpoint) -> Result<()> {
    for (name, kept) in kept_entries(&checkpoint.header.spec, &checkpoint.masks)? {
        let array = checkpoint
            .weights
            .get_mut(&name)
            .with_context(|| format!("{name} is missing"))?;
        let dead = array.data.iter_mut().zip(kept).filter(|(_, kept)| !kept);
        dead.for_each(|(v, _)| *v = 0.0);
    }
    Ok(())
}

/// Masks the columns of channels that all producers mask and that are zero where they are read.
fn close(checkpoint: &mut Checkpoint) -> Result<()> {
    let spec = checkpoint.header.spec.clone();
    let values = constants(checkpoint)?;
    let shapes = spec.shapes()?;
    for group in groups(&spec)?.list.iter().filter(|g| g.fixed.is_none()) {
        let is_masked = |c: usize, p: &Place| {
            let mask = checkpoint.masks.get(&spec.nodes[p.node].name);
            p.filter(c).is_none_or(|f| mask.is_some_and(|m| !m.filters[f]))
        };
        let dead: Vec<usize> = (0..group.channels)
            .filter(|&c| group.producers.iter().all(|p| is_masked(c, p)))
            .collect();
        for reader in &group.consumers {
            let name = &spec.nodes[reader.node].name;
            let [filters, columns] = checkpoint.weight(name).matrix();
            let from = spec.nodes[reader.node].inputs[0];
            let op = &spec.nodes[reader.node].op;
            let taps = columns * conv_groups(op) / shapes[from][0];
            for features in dead.iter().map(|&c| reader.features(c)).filter(|f| !f.is_empty()) {
                let mut read = features.clone().flat_map(|f| of_column(&values[from], op, f));
                if read.all(|v| *v == Some(0.0)) {
                    let mask = checkpoint.masks.entry(name.clone());
                    mask.or_insert_with(|| LayerMask::whole(filters, columns)).columns
                        [features.start * taps..features.end * taps]
                        .fill(false);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::surgery::cut;
    use super::*;
    use model::toy::{chain, filters, without};

    #[test]
    fn applied_masks_zero_the_channel_and_mask_who_reads_it() {
        let model = chain(1, false);
        let out = apply(&model, &without(&model, "a", &[1])).expect("applies");
        assert_eq!(out.weights["a.bias"].data, [0.5, 0.0, -1.0]);
        assert_eq!(out.weights["a.weight"].data[2..4], [0.0, 0.0]);
        assert_eq!(out.masks["b"].columns, (0..27).map(|c| c / 9 != 1).collect::<Vec<_>>());
        assert!(out.weights["b.weight"].data[9..18].iter().all(|w| *w == 0.0));
        // Masks add up.
        let both = apply(&out, &without(&model, "a", &[2])).expect("applies");
        assert_eq!(both.masks["a"].filters, [true, false, false]);
        assert_eq!(both.masks["b"].count(), 18);
        assert_eq!(filters(&cut(&both).expect("cuts").checkpoint, "a"), 1);
    }

    #[test]
    fn masks_that_do_not_fit_are_refused_in_a_line() {
        let model = chain(1, false);
        let named = |name: &str, mask: LayerMask| Masks::from([(name.to_owned(), mask)]);
        let of = |rows: usize, columns: usize| LayerMask::whole(rows, columns);
        let mut columns = of(2, 27);
        columns.columns.fill(false);
        columns.columns[9] = true;
        let mut starved = without(&model, "a", &[1]);
        starved.insert("b".into(), columns);
        let cases = [
            (named("c", of(1, 1)), "a mask for c, but chain has no such layer"),
            (named("flat", of(1, 1)), "a mask for flat, but chain has no such layer"),
            (named("b", of(2, 9)), "the mask of b is 2×9, expected 2×27"),
            (without(&model, "a", &[0, 1, 2]), "the masks leave nothing of a"),
            (starved, "the masks leave nothing of b: all it reads is cut"),
        ];
        for (masks, expected) in cases {
            assert_eq!(apply(&model, &masks).expect_err(expected).to_string(), expected);
        }
    }
}
