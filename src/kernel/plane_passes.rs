//! The passes over whole planes and rows that are not convolutions, and the table of them that an instruction set fills in.
//! Knows nothing of layouts or of what the numbers mean.
//!
//! Sums are kept in sixteen strands whatever the instructions, and nothing is contracted, so every kernel gives
//! the same bits.

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
        // Not `max`, which would hide NaN.
        if self.relu && z <= 0.0 { 0.0 } else { z }
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
pub(crate) fn affine_grad_sums(d: &[f32], y: &[f32], of: &AffineGrad) -> (f32, f32) {
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
pub(crate) fn affine_grad(d: &[f32], y: &[f32], of: &AffineGrad, to: &mut [f32]) {
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

/// How numbers become bytes: q = round(x · inverse) + zero, but at least 0 and at most 255.
#[derive(Clone, Copy, Debug)]
pub struct ByteMap {
    /// One over the step between bytes; 0 makes every number `zero`.
    pub inverse: f32,
    /// The byte of zero.
    pub zero: f32,
}

impl ByteMap {
    /// What leaves a byte empty.
    pub(crate) const NOTHING: Self = Self {
        inverse: 0.0,
        zero: 0.0,
    };

    /// Ties go to the even one: the addend leaves no room for halves.
    #[inline(always)]
    pub(crate) fn at(self, x: f32) -> u32 {
        const NO_HALVES: f32 = 12_582_912.0;
        let q = x * self.inverse + self.zero;
        // Not a number is 0; who asks is told so in another way.
        let q = if q > 0.0 { q } else { 0.0 };
        let q = if q < 255.0 { q } else { 255.0 };
        (q + NO_HALVES).to_bits() & 0xff
    }
}

/// Four planes as the bytes of one, from the lowest; tells whether all were numbers.
#[inline(always)]
pub(crate) fn to_bytes(from: [&[f32]; 4], maps: [ByteMap; 4], to: &mut [f32]) -> bool {
    let n = to.len();
    let [a, b, c, d] = from.map(|plane| &plane[..n]);
    let mut strange = 0u32;
    for i in 0..n {
        let bytes = maps[0].at(a[i]) | maps[1].at(b[i]) << 8 | maps[2].at(c[i]) << 16 | maps[3].at(d[i]) << 24;
        strange |=
            u32::from(a[i].is_nan()) | u32::from(b[i].is_nan()) | u32::from(c[i].is_nan()) | u32::from(d[i].is_nan());
        to[i] = f32::from_bits(bytes);
    }
    strange == 0
}

/// One plane as the lowest bytes of another; tells whether all were numbers.
#[inline(always)]
pub(crate) fn to_low_bytes(from: &[f32], map: ByteMap, to: &mut [f32]) -> bool {
    let mut strange = 0u32;
    for (to, &v) in to.iter_mut().zip(from) {
        strange |= u32::from(v.is_nan());
        *to = f32::from_bits(map.at(v));
    }
    strange == 0
}

/// Low bytes that lie `rows` further on become the second, third and fourth of the first `len`.
#[inline(always)]
pub(crate) fn join_bytes(plane: &mut [f32], rows: &[usize], len: usize) {
    const BLOCK: usize = 64;
    for start in (0..len).step_by(BLOCK) {
        // Rows lie behind: what is read here is not yet joined.
        let n = BLOCK.min(len - start);
        let mut block = [0u32; BLOCK];
        for (to, v) in block.iter_mut().zip(&plane[start..start + n]) {
            *to = v.to_bits();
        }
        for (k, row) in rows.iter().enumerate() {
            for (to, v) in block.iter_mut().zip(&plane[start + row..start + row + n]) {
                *to |= v.to_bits() << (8 * (k + 1));
            }
        }
        for (to, bits) in plane[start..start + n].iter_mut().zip(block) {
            *to = f32::from_bits(bits);
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

/// Hands the list of all passes to a macro, behind arguments of its own in parentheses.
macro_rules! each_pass {
    ($with:ident! ($($arguments:tt)*)) => {
        $with! {
            ($($arguments)*)
            /// Σ x.
            sum(plane: &[f32]) -> f32;
            /// Σ |x|.
            sum_abs(plane: &[f32]) -> f32;
            /// The mean, and the sum of squares around it.
            moments(plane: &[f32]) -> (f32, f32);
            /// Writes the affine image of `y` to `out`, of the same length, and gives its sum.
            affine(y: &[f32], map: $crate::Affine, out: &mut [f32]) -> f32;
            /// Σ dz and Σ dz·(y − mean) of a plane.
            affine_grad_sums(d: &[f32], y: &[f32], of: &$crate::AffineGrad) -> (f32, f32);
            /// Writes dy of a row.
            affine_grad(d: &[f32], y: &[f32], of: &$crate::AffineGrad, to: &mut [f32]) -> ();
            /// `to += from`.
            add(from: &[f32], to: &mut [f32]) -> ();
            /// `y += Σ x · row` over (row, x) pairs, rows of `y`'s length in `rows`. Terms are added in the order of the list,
            /// four at a time.
            add_rows(x: &[(u32, f32)], rows: &[f32], y: &mut [f32]) -> ();
            /// Makes four planes the bytes of `to`, from the lowest, each at least as long: bytes in the place of a float. Tells
            /// whether all were numbers.
            to_bytes(from: [&[f32]; 4], maps: [$crate::ByteMap; 4], to: &mut [f32]) -> bool;
            /// The same of a single plane, the other bytes empty.
            to_low_bytes(from: &[f32], map: $crate::ByteMap, to: &mut [f32]) -> bool;
            /// Makes low bytes `rows` behind the first `len` their second, third and fourth ones.
            join_bytes(plane: &mut [f32], rows: &[usize], len: usize) -> ();
            /// A limit that exactly `k` keys reach, or the k-th largest key if others equal it. `k` is at least 1 and at
            /// most the number of keys, which are below 2³¹.
            kth_largest(keys: &[u32], k: usize) -> u32;
        }
    };
}
pub(crate) use each_pass;

macro_rules! table {
    (() $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// The functions of one instruction set.
        #[derive(Debug)]
        pub(crate) struct PlanePasses {
            $(pub $name: unsafe fn($($type),*) -> $out,)*
        }

        /// Compiled for what every processor of the target has.
        pub(crate) static PLAIN: PlanePasses = PlanePasses { $($name),* };
    };
}
each_pass!(table!());

/// Defines every pass again with an instruction set's features, and the table of them.
macro_rules! compile_passes {
    ($features:tt $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        mod planes {
            $($crate::plane_passes::compile_pass! { $features $name($($arg: $type),*) -> $out })*
        }
        const PLANES: $crate::plane_passes::PlanePasses = $crate::plane_passes::PlanePasses {
            $($name: planes::$name),*
        };
    };
}

macro_rules! compile_pass {
    (($($feature:meta),*) $name:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        $(#[$feature])*
        pub(super) unsafe fn $name($($arg: $type),*) -> $out {
            $crate::plane_passes::$name($($arg),*)
        }
    };
}
pub(crate) use {compile_pass, compile_passes};
