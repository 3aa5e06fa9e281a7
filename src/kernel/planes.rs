//! Passes over whole planes and rows that are not convolutions, compiled once for each instruction set.
//! Knows nothing of layouts or of what the numbers mean.
//!
//! Sums are kept in sixteen strands whatever the instructions, and nothing is contracted, so every kernel gives
//! the same bits.
#![expect(unsafe_code, reason = "functions compiled for instructions the machine has")]

use super::Kernel;

const STRANDS: usize = 16;

/// What normalizing a plane comes to: y ↦ max(a·y + b, floor).
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Factor.
    pub a: f32,
    /// Addend.
    pub b: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

/// The gradient of what goes into an [`Affine`], as a function of what comes back:
/// dy = scale·dz − m1 − (y − mean)·m2, with dz = d + share where the output is above zero (or no ReLU was), else 0.
#[derive(Clone, Copy, Debug)]
pub struct AffineGrad {
    /// The forward pass.
    pub affine: Affine,
    /// Added to every gradient.
    pub share: f32,
    /// Mean of the plane's channel.
    pub mean: f32,
    /// Factor of dz.
    pub scale: f32,
    /// Addend.
    pub m1: f32,
    /// Factor of the centered input.
    pub m2: f32,
}

type GradSums = unsafe fn(&[f32], &[f32], &AffineGrad) -> (f32, f32);
type AddRows = unsafe fn(&[(u32, f32)], &[f32], &mut [f32]);

/// The functions of one instruction set.
#[derive(Debug)]
pub(crate) struct PlanePasses {
    pub sum: unsafe fn(&[f32]) -> f32,
    pub sum_abs: unsafe fn(&[f32]) -> f32,
    pub moments: unsafe fn(&[f32]) -> (f32, f32),
    pub affine: unsafe fn(&[f32], Affine, &mut [f32]) -> f32,
    pub(crate) grad_sums: GradSums,
    pub grad: unsafe fn(&[f32], &[f32], &AffineGrad, &mut [f32]),
    pub add: unsafe fn(&[f32], &mut [f32]),
    pub add_rows: AddRows,
    pub kth_largest: unsafe fn(&[u32], usize) -> u32,
}

static PLAIN: PlanePasses = PlanePasses {
    sum,
    sum_abs,
    moments,
    affine,
    grad_sums,
    grad,
    add,
    add_rows,
    kth_largest,
};

/// Passes over planes.
impl Kernel {
    fn passes(&self) -> &'static PlanePasses {
        self.tiles.map_or(&PLAIN, |tiles| &tiles.planes)
    }

    /// Σ x.
    pub fn sum(&self, plane: &[f32]) -> f32 {
        // SAFETY: a kernel exists only where its instructions do; so for all below.
        unsafe { (self.passes().sum)(plane) }
    }

    /// Σ |x|.
    pub fn sum_abs(&self, plane: &[f32]) -> f32 {
        // SAFETY: as above.
        unsafe { (self.passes().sum_abs)(plane) }
    }

    /// The mean, and the sum of squares around it.
    pub fn moments(&self, plane: &[f32]) -> (f32, f32) {
        // SAFETY: as above.
        unsafe { (self.passes().moments)(plane) }
    }

    /// Writes the affine image of `y` to `out`, of the same length, and gives its sum.
    pub fn affine(&self, y: &[f32], map: Affine, out: &mut [f32]) -> f32 {
        // SAFETY: as above.
        unsafe { (self.passes().affine)(y, map, out) }
    }

    /// Σ dz and Σ dz·(y − mean) of a plane.
    pub fn affine_grad_sums(&self, d: &[f32], y: &[f32], of: &AffineGrad) -> (f32, f32) {
        // SAFETY: as above.
        unsafe { (self.passes().grad_sums)(d, y, of) }
    }

    /// Writes dy of a row.
    pub fn affine_grad(&self, d: &[f32], y: &[f32], of: &AffineGrad, to: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.passes().grad)(d, y, of, to) }
    }

    /// `to += from`.
    pub fn add(&self, from: &[f32], to: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.passes().add)(from, to) }
    }

    /// `y += Σ x · row` over (row, x) pairs, rows of `y`'s length in `rows`. Terms are added in the order of the list, four at a time.
    pub fn add_rows(&self, x: &[(u32, f32)], rows: &[f32], y: &mut [f32]) {
        // SAFETY: as above.
        unsafe { (self.passes().add_rows)(x, rows, y) }
    }

    /// A limit that exactly `k` keys reach, or the k-th largest key if others equal it. `k` is at least 1 and at
    /// most the number of keys, which are below 2³¹.
    pub fn kth_largest(&self, keys: &[u32], k: usize) -> u32 {
        // SAFETY: as above.
        unsafe { (self.passes().kth_largest)(keys, k) }
    }
}

#[inline(always)]
fn strands(plane: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = plane.as_chunks::<STRANDS>();
    let mut strands = [0.0f32; STRANDS];
    for chunk in chunks {
        for (strand, &v) in strands.iter_mut().zip(chunk) {
            *strand += of(v);
        }
    }
    for (strand, &v) in strands.iter_mut().zip(rest) {
        *strand += of(v);
    }
    strands.iter().sum()
}

#[inline(always)]
pub(crate) fn sum(plane: &[f32]) -> f32 {
    strands(plane, |v| v)
}

#[inline(always)]
pub(crate) fn sum_abs(plane: &[f32]) -> f32 {
    strands(plane, f32::abs)
}

#[inline(always)]
pub(crate) fn moments(plane: &[f32]) -> (f32, f32) {
    let mean = sum(plane) / plane.len() as f32;
    (mean, strands(plane, |v| (v - mean) * (v - mean)))
}

impl Affine {
    #[inline(always)]
    fn at(self, y: f32) -> f32 {
        let z = self.a * y + self.b;
        if self.relu { z.max(0.0) } else { z }
    }
}

impl AffineGrad {
    #[inline(always)]
    fn dz(&self, d: f32, y: f32) -> f32 {
        if self.affine.at(y) > 0.0 || !self.affine.relu {
            d + self.share
        } else {
            0.0
        }
    }
}

#[inline(always)]
pub(crate) fn affine(y: &[f32], map: Affine, out: &mut [f32]) -> f32 {
    let (chunks, rest) = y.as_chunks::<STRANDS>();
    let (out_chunks, out_rest) = out.as_chunks_mut::<STRANDS>();
    let mut strands = [0.0f32; STRANDS];
    for (y, out) in chunks.iter().zip(out_chunks) {
        for ((strand, &y), out) in strands.iter_mut().zip(y).zip(out) {
            *out = map.at(y);
            *strand += *out;
        }
    }
    for ((strand, &y), out) in strands.iter_mut().zip(rest).zip(out_rest) {
        *out = map.at(y);
        *strand += *out;
    }
    strands.iter().sum()
}

#[inline(always)]
pub(crate) fn grad_sums(d: &[f32], y: &[f32], of: &AffineGrad) -> (f32, f32) {
    let (mut s1, mut s2) = ([0.0f32; STRANDS], [0.0f32; STRANDS]);
    let mut add = |lane: usize, d: f32, y: f32| {
        let dz = of.dz(d, y);
        s1[lane] += dz;
        s2[lane] += dz * (y - of.mean);
    };
    let ((d, d_rest), (y, y_rest)) = (d.as_chunks::<STRANDS>(), y.as_chunks::<STRANDS>());
    for (d, y) in d.iter().zip(y) {
        for lane in 0..STRANDS {
            add(lane, d[lane], y[lane]);
        }
    }
    for (lane, (&d, &y)) in d_rest.iter().zip(y_rest).enumerate() {
        add(lane, d, y);
    }
    (s1.iter().sum(), s2.iter().sum())
}

#[inline(always)]
pub(crate) fn grad(d: &[f32], y: &[f32], of: &AffineGrad, to: &mut [f32]) {
    for ((to, &d), &y) in to.iter_mut().zip(d).zip(y) {
        *to = of.scale * of.dz(d, y) - of.m1 - (y - of.mean) * of.m2;
    }
}

#[inline(always)]
pub(crate) fn add(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[inline(always)]
pub(crate) fn add_rows(x: &[(u32, f32)], rows: &[f32], y: &mut [f32]) {
    let len = y.len();
    let row = |i: u32| &rows[i as usize * len..][..len];
    let (fours, rest) = x.as_chunks::<4>();
    for [(a, p), (b, q), (c, r), (d, s)] in fours {
        let rows = row(*a).iter().zip(row(*b)).zip(row(*c).iter().zip(row(*d)));
        for (y, ((a, b), (c, d))) in y.iter_mut().zip(rows) {
            *y += (p * a + q * b) + (r * c + s * d);
        }
    }
    for (i, v) in rest {
        for (y, w) in y.iter_mut().zip(row(*i)) {
            *y += v * w;
        }
    }
}

/// Bit by bit from the highest: the largest limit that at least `k` keys reach.
#[inline(always)]
pub(crate) fn kth_largest(keys: &[u32], k: usize) -> u32 {
    let mut limit = 0;
    for bit in (0..31).rev() {
        let higher = limit | 1 << bit;
        let reach: u32 = keys.iter().map(|&key| u32::from(key as i32 >= higher as i32)).sum();
        if reach as usize >= k {
            limit = higher;
        }
        if reach as usize == k {
            break;
        }
    }
    limit
}

/// Defines every pass again with an instruction set's features, and the table of them.
macro_rules! plane_passes {
    ($($feature:meta),*) => {
        $crate::planes::plane_passes!(@each [$($feature),*]
            sum(plane: &[f32]) -> f32;
            sum_abs(plane: &[f32]) -> f32;
            moments(plane: &[f32]) -> (f32, f32);
            affine(y: &[f32], map: $crate::planes::Affine, out: &mut [f32]) -> f32;
            grad_sums(d: &[f32], y: &[f32], of: &$crate::planes::AffineGrad) -> (f32, f32);
            grad(d: &[f32], y: &[f32], of: &$crate::planes::AffineGrad, to: &mut [f32]) -> ();
            add(from: &[f32], to: &mut [f32]) -> ();
            add_rows(x: &[(u32, f32)], rows: &[f32], y: &mut [f32]) -> ();
            kth_largest(keys: &[u32], k: usize) -> u32;
        );
    };
    (@each $features:tt $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        mod planes {
            $($crate::planes::plane_passes!(@one $features $name($($arg: $type),*) -> $out);)*
        }
        const PLANES: $crate::planes::PlanePasses = $crate::planes::PlanePasses { $($name: planes::$name),* };
    };
    (@one [$($feature:meta),*] $name:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        $(#[$feature])*
        pub(super) unsafe fn $name($($arg: $type),*) -> $out {
            $crate::planes::$name($($arg),*)
        }
    };
}
pub(crate) use plane_passes;

#[cfg(test)]
mod tests {
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
