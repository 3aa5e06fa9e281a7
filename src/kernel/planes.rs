//! Passes over whole planes and rows that are not convolutions, by the instructions of a kernel.
//! Knows nothing of layouts or of what the numbers mean.
#![expect(unsafe_code, reason = "functions compiled for instructions the machine has")]

use super::kernel::Kernel;
use super::plane_passes::{PLAIN, each_pass};

macro_rules! methods {
    (() $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// Passes over planes.
        impl Kernel {
            $($(#[$doc])*
            pub fn $name(&self, $($arg: $type),*) -> $out {
                let passes = self.tiles.map_or(&PLAIN, |tiles| &tiles.planes);
                // SAFETY: a kernel exists only where the processor has its instructions; passes ask for nothing else.
                unsafe { (passes.$name)($($arg),*) }
            })*
        }
    };
}
each_pass!(methods!());

#[cfg(test)]
mod tests {
    use super::super::plane_passes::{Affine, AffineGrad};
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            .collect()
    }

    #[test]
    fn every_kernel_does_the_same_to_a_plane() {
        for n in [1, 15, 16, 33, 900] {
            let (y, d) = (numbers(n, 1), numbers(n, 2));
            let of = AffineGrad {
                affine: Affine {
                    a: 1.5,
                    b: 0.1,
                    relu: true,
                },
                share: 0.25,
                mean: 0.125,
                scale: 2.0,
                m1: 0.5,
                m2: -0.75,
            };
            let run = |kernel: Kernel| {
                let (mut out, mut dy) = (vec![9.0; n], vec![9.0; n]);
                let sum = kernel.affine(&y, of.affine, &mut out);
                kernel.affine_grad(&d, &y, &of, &mut dy);
                let sums = kernel.affine_grad_sums(&d, &y, &of);
                kernel.add(&d, &mut out);
                let mut z = numbers(8, 3);
                if n >= 33 {
                    kernel.add_rows(&[(0, 1.0), (1, -2.0), (2, 0.5), (3, 3.0), (1, 0.25)], &y, &mut z);
                }
                let all = (kernel.sum(&y), kernel.sum_abs(&y), kernel.moments(&y));
                (out, dy, z, sum, sums, all)
            };
            let reference = Kernel::available().pop().expect("always there");
            let want = run(reference);
            for kernel in Kernel::available() {
                assert!(run(kernel) == want, "{kernel:?}, {n} numbers");
            }
            // Against sums in f64, one after the other.
            let dz = |i: usize| if 1.5 * y[i] + 0.1 > 0.0 { d[i] + 0.25 } else { 0.0 };
            let s2: f64 = (0..n).map(|i| f64::from(dz(i)) * (f64::from(y[i]) - 0.125)).sum();
            assert!((f64::from(want.4.1) - s2).abs() < 1e-3, "{} is not {s2}", want.4.1);
            for i in 0..n {
                assert_eq!(want.1[i], 2.0 * dz(i) - 0.5 - (y[i] - 0.125) * -0.75);
                assert_eq!(want.0[i], (1.5 * y[i] + 0.1).max(0.0) + d[i]);
            }
        }
    }

    #[test]
    fn relu_keeps_nan() {
        let y: Vec<f32> = (0..40)
            .map(|i| if i % 9 == 4 { f32::NAN } else { i as f32 - 20.0 })
            .collect();
        let map = Affine {
            a: 1.0,
            b: 0.5,
            relu: true,
        };
        for kernel in Kernel::available() {
            let mut out = vec![9.0; y.len()];
            assert!(kernel.affine(&y, map, &mut out).is_nan(), "{kernel:?}: the sum");
            for (y, out) in y.iter().zip(out) {
                let want = if y.is_nan() { f32::NAN } else { (y + 0.5).max(0.0) };
                assert_eq!(out.to_bits() << 1, want.to_bits() << 1, "{kernel:?}");
            }
        }
    }

    #[test]
    fn limits_are_reached_by_k_keys() {
        let keys = [5, 1, 9, 5, 0, 0x7fff_ffff, 5];
        for kernel in Kernel::available() {
            let reached = |k: usize| {
                let limit = kernel.kth_largest(&keys, k);
                keys.iter().filter(|&&key| key >= limit).count()
            };
            assert_eq!([1, 2, 5, 6, 7].map(reached), [1, 2, 5, 6, 7]);
            assert_eq!([3, 4].map(|k| kernel.kth_largest(&keys, k)), [5, 5]);
        }
    }

    #[test]
    fn moments_of_a_few_numbers() {
        assert_eq!(Kernel::best().moments(&[1.0, 2.0, 6.0]), (3.0, 14.0));
        assert_eq!(Kernel::best().sum_abs(&[1.0, -2.0, 6.0]), 9.0);
    }
}
