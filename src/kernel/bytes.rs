//! Forward convolution of bytes over active lists: inputs of eight unsigned bits, weights of eight signed ones for each filter,
//! sums of 32, then the epilogue in floats. Knows nothing of instruction sets, nor of where the scales come from.
//!
//! y = epilogue(s · t[f] · Σ w · (x − z)), with x = round(input / s) + z and w = round(weight / t[f]).
//!
//! Four products are one step of the tiles' inner loop, in one of two forms:
//!
//! 1. *Channels*: four channels of a pixel. Nothing is wasted while all channels are active, and a group of four is read if
//!    one of them is.
//! 2. *Rows*: one channel of four rows, of which a 3×3 kernel uses three. Every channel stands alone, so those that are not
//!    active cost nothing.
//!
//! Whichever reads fewer steps is taken for each list of channels; the sums are whole numbers, so both give the same bits.
#![expect(unsafe_code, reason = "threads quantize disjoint planes")]

use super::columns::{Columns, check_list};
use super::conv::{ConvCall, ConvPlan, Epilogue};
use super::kernel::Kernel;
use super::plane_passes::ByteMap;
use super::pool::{Pool, SharedPointer};
use super::scratch::{ByteScratch, PlanScratch};
use super::shape::{ConvShape, Layout};

/// One filter's weights as bytes, and what one step of them is worth: the largest magnitude is 127 steps.
pub fn signed_bytes(row: &[f32]) -> (f32, impl Iterator<Item = i8>) {
    // Not `max`, which would hide what is not a number.
    let larger = |most: f32, w: &f32| if w.abs() > most || w.is_nan() { w.abs() } else { most };
    let most = row.iter().fold(0.0, larger);
    let step = if most == 0.0 { 1.0 } else { most / LARGEST_BYTE };
    (step, row.iter().map(move |w| (w / step).round_ties_even() as i8))
}

/// Bytes in the place of a float.
const BYTES: usize = 4;

/// The largest magnitude of a weight: as many below zero as above.
pub const LARGEST_BYTE: f32 = 127.0;

/// A convolution of bytes, ready to run.
#[derive(Clone, Debug)]
pub struct BytePlan {
    kernel: Kernel,
    shape: ConvShape,
    input: Layout,
    output: Layout,
    residual: Option<Layout>,
    /// `None` with the reference.
    forms: Option<[ConvPlan; 2]>,
}

const CHANNELS: usize = 0;
const ROWS: usize = 1;

/// Weights as bytes.
#[derive(Clone, Debug, Default)]
pub struct ByteWeights {
    /// `[filters, in_channels, taps]`.
    bytes: Vec<i8>,
    /// By form, four in the place of a float.
    packed: [Vec<f32>; 2],
    /// t, by filter.
    scales: Vec<f32>,
    /// Σ over a channel's taps: `[in_channels, filters]`.
    sums: Vec<i32>,
}

impl ByteWeights {
    /// What one step of a filter's weights is worth.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

/// The active channels of one plan. Setting them again reuses its memory.
#[derive(Clone, Debug)]
pub struct ByteColumns {
    form: usize,
    channels: Vec<u32>,
    groups: Vec<u32>,
    /// By form.
    columns: Option<[Columns; 2]>,
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct ByteCall<'a> {
    /// In the plan's input layout.
    pub input: &'a [f32],
    /// s, the step between bytes of the input, and z, the byte of zero.
    pub step: f32,
    /// See `step`.
    pub zero: u8,
    /// Made by this plan.
    pub weights: &'a ByteWeights,
    /// Made by this plan.
    pub columns: &'a ByteColumns,
    /// Filters to compute, ascending. Planes of others are not touched.
    pub filters: &'a [u32],
    /// Applied when storing.
    pub epilogue: Epilogue<'a>,
}

impl BytePlan {
    /// Reads [`Layout::input`], writes `output`, adds a residual in the layout given. `None` if sums could leave 32 bits.
    pub fn new(kernel: Kernel, shape: &ConvShape, output: Layout, residual: Option<Layout>) -> Option<Self> {
        let input = Layout::input(shape);
        let most = (shape.columns() as u64).checked_mul(255 * LARGEST_BYTE as u64)?;
        i32::try_from(most).ok()?;
        let dims = (shape.filters, shape.out_h(), shape.out_w());
        assert_eq!((output.channels, output.height, output.width), dims, "output layout");
        let [kh, kw] = shape.kernel;
        let s = shape.stride;
        let at = (output, residual);
        let channels = ConvPlan::bytes(
            kernel,
            shape,
            Layout {
                channels: shape.in_channels.div_ceil(BYTES),
                ..input
            },
            at,
            (0..kh * kw)
                .map(|t| (0, input.padded_offset(t / kw, t % kw) as u32))
                .collect(),
        );
        let len = input.phase_len;
        let groups = kh.div_ceil(BYTES);
        let rows = ConvPlan::bytes(
            kernel,
            shape,
            Layout {
                channel_len: (groups.max(s) * s * len).next_multiple_of(16),
                ..input
            },
            at,
            (0..groups * kw)
                .map(|t| (0, ((t / kw * s + t % kw % s) * len + t % kw / s) as u32))
                .collect(),
        );
        Some(Self {
            kernel,
            shape: *shape,
            input,
            output,
            residual,
            forms: channels.zip(rows).map(Into::into),
        })
    }

    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// Weights, `[filters, in_channels, kh, kw]`, to bytes.
    pub fn pack(&self, weights: &[f32]) -> ByteWeights {
        let (columns, taps) = (self.shape.columns(), self.shape.taps());
        assert_eq!(weights.len(), self.shape.filters * columns, "weights");
        let (mut bytes, mut scales) = (Vec::with_capacity(weights.len()), Vec::new());
        for row in weights.chunks_exact(columns.max(1)) {
            let (scale, row) = signed_bytes(row);
            bytes.extend(row);
            scales.push(scale);
        }
        let mut sums = vec![0; self.shape.in_channels * self.shape.filters];
        for (f, row) in bytes.chunks_exact(columns.max(1)).enumerate() {
            for (c, taps) in row.chunks_exact(taps).enumerate() {
                sums[c * self.shape.filters + f] = taps.iter().map(|&w| i32::from(w)).sum();
            }
        }
        ByteWeights {
            packed: if self.forms.is_some() {
                [self.packed_by_channels(&bytes), self.packed_by_rows(&bytes)]
            } else {
                Default::default()
            },
            bytes,
            scales,
            sums,
        }
    }

    fn packed_by_channels(&self, bytes: &[i8]) -> Vec<f32> {
        let (channels, taps) = (self.shape.in_channels, self.shape.taps());
        let at = |f: usize, c: usize, t: usize| match c < channels {
            true => bytes[(f * channels + c) * taps + t],
            false => 0,
        };
        let (groups, mut packed) = (channels.div_ceil(BYTES), Vec::new());
        for f in 0..self.shape.filters {
            for (group, t) in (0..groups).flat_map(|g| (0..taps).map(move |t| (g, t))) {
                packed.push(four(|i| at(f, group * BYTES + i, t)));
            }
        }
        packed
    }

    fn packed_by_rows(&self, bytes: &[i8]) -> Vec<f32> {
        let [kh, kw] = self.shape.kernel;
        let mut packed = Vec::new();
        for plane in bytes.chunks_exact(kh * kw) {
            for (group, x) in (0..kh.div_ceil(BYTES)).flat_map(|g| (0..kw).map(move |x| (g, x))) {
                packed.push(four(|i| plane.get((group * BYTES + i) * kw + x).copied().unwrap_or(0)));
            }
        }
        packed
    }

    /// An empty list, with room for all channels.
    pub fn columns(&self) -> ByteColumns {
        ByteColumns {
            form: CHANNELS,
            channels: Vec::with_capacity(self.shape.in_channels),
            groups: Vec::with_capacity(self.shape.in_channels.div_ceil(BYTES)),
            columns: self.forms.as_ref().map(|forms| forms.each_ref().map(ConvPlan::columns)),
        }
    }

    /// Lists all columns of the channels (ascending), in the form that has less to do.
    pub fn set_channels(&self, channels: &[u32], to: &mut ByteColumns) {
        check_list(channels, self.shape.in_channels, "channels");
        to.channels.clear();
        to.channels.extend_from_slice(channels);
        to.groups.clear();
        for group in channels.iter().map(|&c| c / BYTES as u32) {
            if to.groups.last() != Some(&group) {
                to.groups.push(group);
            }
        }
        let (Some(columns), [kh, _]) = (&mut to.columns, self.shape.kernel) else {
            return;
        };
        to.form = if to.groups.len() * kh <= channels.len() * kh.div_ceil(BYTES) {
            CHANNELS
        } else {
            ROWS
        };
        columns[to.form].set_channels(if to.form == CHANNELS { &to.groups } else { channels });
    }

    /// Makes `scratch` large enough for its runs.
    pub fn make_room(&self, scratch: &mut PlanScratch) {
        let scratch = &mut scratch.bytes;
        let planes = self.forms.iter().flatten().map(|plan| plan.input().len()).max();
        grow(&mut scratch.planes, planes.unwrap_or(0));
        grow(&mut scratch.zeros, self.input.channel_len);
        grow(&mut scratch.scale, self.shape.filters);
        grow(&mut scratch.shift, self.shape.filters);
    }

    /// Computes the listed filters into `output`; with a pool, on all its threads, to the same bits.
    pub fn run(&self, pool: Option<&mut Pool>, call: &ByteCall, scratch: &mut PlanScratch, output: &mut [f32]) {
        self.make_room(scratch);
        let scratch = &mut scratch.bytes;
        call.epilogue.check(self.shape.filters, self.residual.as_ref());
        assert!(call.input.len() >= self.input.len(), "input too short");
        self.fold(call, scratch);
        let Some(forms) = &self.forms else {
            return self.run_reference(call, scratch, output);
        };
        let (Some(columns), form) = (&call.columns.columns, call.columns.form) else {
            unreachable!("columns of another plan")
        };
        let mut pool = pool;
        let are_numbers = self.quantize(pool.as_deref_mut(), call, scratch);
        if !are_numbers {
            // What is not a number has no byte, and must stay visible.
            call.filters.iter().for_each(|&f| scratch.shift[f as usize] = f32::NAN);
        }
        let conv = ConvCall {
            input: &scratch.planes,
            weights: &call.weights.packed[form],
            columns: &columns[form],
            filters: call.filters,
            epilogue: Epilogue {
                scale: Some(&scratch.scale),
                shift: Some(&scratch.shift),
                ..call.epilogue
            },
        };
        match pool {
            Some(pool) => forms[form].run_on(pool, &conv, output),
            None => forms[form].run(&conv, output),
        }
    }

    /// scale · (s · t · (Σ w·x − z · Σ w)) + shift as one factor and one addend of Σ w·x.
    fn fold(&self, call: &ByteCall, scratch: &mut ByteScratch) {
        let filters = self.shape.filters;
        for f in call.filters.iter().map(|&f| f as usize) {
            scratch.scale[f] = call.epilogue.scale.map_or(1.0, |s| s[f]) * call.step * call.weights.scales[f];
            scratch.shift[f] = call.epilogue.shift.map_or(0.0, |s| s[f]);
        }
        if call.zero == 0 {
            return;
        }
        for f in call.filters.iter().map(|&f| f as usize) {
            let sums = call
                .columns
                .channels
                .iter()
                .map(|&c| call.weights.sums[c as usize * filters + f]);
            scratch.shift[f] -= scratch.scale[f] * (sums.sum::<i32>() * i32::from(call.zero)) as f32;
        }
    }

    /// Fills the planes that the listed columns read; tells whether all were numbers.
    fn quantize(&self, pool: Option<&mut Pool>, call: &ByteCall, scratch: &mut ByteScratch) -> bool {
        let Some(forms) = &self.forms else { return true };
        let form = call.columns.form;
        let len = forms[form].input().channel_len;
        let listed = if form == CHANNELS {
            &call.columns.groups
        } else {
            &call.columns.channels
        };
        let zeros = &scratch.zeros[..self.input.channel_len];
        let do_one = |i: usize, plane: &mut [f32]| match form {
            CHANNELS => self.quantize_group(call, i, zeros, plane),
            _ => self.quantize_rows(call, i, zeros, plane),
        };
        match pool {
            Some(pool) if pool.threads() > 1 => {
                let all_numbers = std::sync::atomic::AtomicBool::new(true);
                let at = SharedPointer(scratch.planes.as_mut_ptr());
                let parts = pool.threads();
                pool.run(parts, &|part, _| {
                    let [from, to] = [part, part + 1].map(|i| listed.len() * i / parts);
                    for &i in &listed[from..to] {
                        // SAFETY: planes are disjoint and in bounds of the buffer, which only these tasks touch.
                        let plane = unsafe { std::slice::from_raw_parts_mut(at.get().add(i as usize * len), len) };
                        if !do_one(i as usize, plane) {
                            all_numbers.store(false, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
                all_numbers.into_inner()
            }
            _ => listed.iter().fold(true, |all, &i| {
                all & do_one(i as usize, &mut scratch.planes[i as usize * len..][..len])
            }),
        }
    }

    fn map(call: &ByteCall) -> ByteMap {
        ByteMap {
            inverse: 1.0 / call.step,
            zero: f32::from(call.zero),
        }
    }

    /// Four channels; those that are not active become zeros that count for nothing.
    fn quantize_group(&self, call: &ByteCall, group: usize, zeros: &[f32], to: &mut [f32]) -> bool {
        let (mut from, mut maps) = ([zeros; BYTES], [ByteMap::NOTHING; BYTES]);
        let first = (group * BYTES) as u32;
        let start = call.columns.channels.partition_point(|&c| c < first);
        for &c in call.columns.channels[start..]
            .iter()
            .take_while(|&&c| c < first + BYTES as u32)
        {
            from[(c - first) as usize] = self.plane(call.input, c as usize);
            maps[(c - first) as usize] = Self::map(call);
        }
        self.kernel.to_bytes(from, maps, to)
    }

    /// One channel's rows, in steps of the stride.
    fn quantize_rows(&self, call: &ByteCall, channel: usize, zeros: &[f32], to: &mut [f32]) -> bool {
        let ([kh, _], s) = (self.shape.kernel, self.shape.stride);
        let (len, phase_len) = (rows_len(&self.shape, &self.input), self.input.phase_len);
        let plane = self.plane(call.input, channel);
        // Where row r of a window begins, in the phase of its columns.
        let row = |r: usize| r % s * s * phase_len + r / s * self.input.pitch;
        if kh <= BYTES {
            let phases = kh.min(s) * s * phase_len;
            let all = self.kernel.to_low_bytes(plane, Self::map(call), &mut to[..phases]);
            let mut rows = [0; BYTES - 1];
            rows[..kh - 1].iter_mut().zip(1..).for_each(|(to, r)| *to = row(r));
            for phase in 0..s {
                self.kernel
                    .join_bytes(&mut to[phase * phase_len..], &rows[..kh - 1], len);
            }
            return all;
        }
        let mut all = true;
        for (i, to) in to.chunks_exact_mut(phase_len).take(kh.div_ceil(BYTES) * s).enumerate() {
            let (group, phase) = (i / s, i % s);
            let (mut from, mut maps) = ([zeros; BYTES], [ByteMap::NOTHING; BYTES]);
            for r in group * BYTES..kh.min((group + 1) * BYTES) {
                from[r % BYTES] = &plane[row(r) + phase * phase_len..];
                maps[r % BYTES] = Self::map(call);
            }
            all &= self.kernel.to_bytes(from, maps, &mut to[..len]);
        }
        all
    }

    fn plane<'a>(&self, input: &'a [f32], channel: usize) -> &'a [f32] {
        &input[channel * self.input.channel_len..][..self.input.channel_len]
    }

    /// Loops over indices.
    fn run_reference(&self, call: &ByteCall, scratch: &ByteScratch, output: &mut [f32]) {
        let ([_, kw], taps, s) = (self.shape.kernel, self.shape.taps(), self.shape.stride);
        let map = Self::map(call);
        let byte = |c: usize, y: usize, x: usize| {
            let at = self.input.padded_offset(y, x);
            let x = self.plane(call.input, c)[at];
            if x.is_nan() { None } else { Some(map.at(x) as i32) }
        };
        for f in call.filters.iter().map(|&f| f as usize) {
            for (y, x) in (0..self.output.height).flat_map(|y| (0..self.output.width).map(move |x| (y, x))) {
                let mut sum = Some(0);
                for c in call.columns.channels.iter().map(|&c| c as usize) {
                    for t in 0..taps {
                        let w = call.weights.bytes[(f * self.shape.in_channels + c) * taps + t];
                        let x = byte(c, y * s + t / kw, x * s + t % kw);
                        sum = sum.zip(x).map(|(sum, x)| sum + i32::from(w) * x);
                    }
                }
                let residual = call.epilogue.residual.zip(self.residual);
                let residual = residual.map_or(0.0, |(data, layout)| data[layout.offset(f, y, x)]);
                let value = sum.map_or(f32::NAN, |sum| {
                    (sum as f32).mul_add(scratch.scale[f], scratch.shift[f]) + residual
                });
                output[self.output.offset(f, y, x)] = call.epilogue.bounds().clamp(value);
            }
        }
    }
}

/// Steps of a phase's rows that a convolution reads.
fn rows_len(shape: &ConvShape, input: &Layout) -> usize {
    input.phase_len - (shape.kernel[0] - 1) / shape.stride * input.pitch
}

/// Four bytes in the place of a float, from the lowest.
fn four(byte: impl Fn(usize) -> i8) -> f32 {
    f32::from_bits(u32::from_le_bytes(std::array::from_fn(|i| byte(i) as u8)))
}

fn grow(to: &mut Vec<f32>, len: usize) {
    if to.len() < len {
        to.resize(len, 0.0);
    }
}
