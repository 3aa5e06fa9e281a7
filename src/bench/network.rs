//! Networks of the zoo at the size that is timed.

use anyhow::Result;
use model::{NetSpec, zoo};

/// A network of the zoo for images of this size; ResNets shrink large ones before their first block, as torchvision's do.
///
/// # Errors
/// An unknown network, or one that cannot be built at this width and size.
pub fn network(arch: &str, input: [usize; 3], classes: usize, width: f32) -> Result<NetSpec> {
    let [channels, height, w] = input;
    // Without the layers that shrink images a large one would be more than a network may take.
    let built = match arch.starts_with("resnet") {
        true => [channels, height.min(32), w.min(32)],
        false => input,
    };
    let mut spec = zoo::build(arch, built, classes, width)?;
    zoo::stem_for(&mut spec, arch, input);
    spec.input = input;
    spec.shapes()?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::cost;

    #[test]
    fn a_resnet_for_large_images_costs_what_torchvision_s_does() {
        let spec = network("resnet50", [3, 224, 224], 1000, 1.0).expect("builds");
        let macs = cost::dense(&spec).expect("cost").macs;
        assert!((4.0e9..4.2e9).contains(&(macs as f64)), "{macs}");
        let small = network("resnet18", [3, 32, 32], 10, 1.0).expect("builds");
        assert_eq!(small, zoo::build("resnet18", [3, 32, 32], 10, 1.0).expect("builds"));
    }
}
