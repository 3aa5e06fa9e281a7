//! Depthwise convolution over active lists: every filter reads one channel. Knows nothing of instruction sets.
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets; threads write disjoint planes"
)]

use super::columns::check_list;
use super::conv::Epilogue;
use super::conv_tile::{ConvResidual, ConvTask, ListedColumn};
use super::depthwise_small::{MOST_POSITIONS, MOST_TAPS, OUTSIDE, SmallTask};
use super::depthwise_tile::{DepthwiseTask, most_vectors};
use super::kernel::Kernel;
use super::pool::{Pool, SharedPointer};
use super::reference;
use super::shape::{ConvShape, Layout};
use super::sweep::{Positions, Sweep};
use super::tile::Tiles;
use std::ops::Range;

/// A depthwise convolution, ready to run: filter f reads channel f / multiplier, with `filters / in_channels` the multiplier.
#[derive(Clone, Debug)]
pub struct DepthwisePlan {
    kernel: Kernel,
    shape: ConvShape,
    input: Layout,
    output: Layout,
    residual: Option<Layout>,
    multiplier: usize,
    /// Where each kernel position starts in a channel.
    offsets: Vec<u32>,
    /// Kernel positions that meet the image somewhere.
    meets: Vec<bool>,
    sweep: Option<Sweep>,
    small: Option<SmallPlanes>,
}

/// Planes of a few positions, whose filters are computed many at once.
#[derive(Clone, Debug)]
struct SmallPlanes {
    /// By kernel position: the input position it reads for each output position.
    sources: Vec<[u8; MOST_POSITIONS]>,
    /// By output position: its place in a plane.
    places: Vec<usize>,
}

impl SmallPlanes {
    fn fit(shape: &ConvShape) -> bool {
        let (inputs, outputs) = (shape.in_h * shape.in_w, shape.out_h() * shape.out_w());
        inputs.max(outputs) <= MOST_POSITIONS && shape.taps() <= MOST_TAPS
    }

    /// `None` where planes, or the kernel, are too large.
    fn new(shape: &ConvShape, output: &Layout) -> Option<Self> {
        if !Self::fit(shape) {
            return None;
        }
        let outputs = shape.out_h() * shape.out_w();
        let place = |q: usize| (q / shape.out_w(), q % shape.out_w());
        let source = |tap: usize, q: usize| {
            let (y, x) = place(q);
            let y = (y * shape.stride + tap / shape.kernel[1]).checked_sub(shape.pad.top)?;
            let x = (x * shape.stride + tap % shape.kernel[1]).checked_sub(shape.pad.left)?;
            (y < shape.in_h && x < shape.in_w).then_some((y * shape.in_w + x) as u8)
        };
        let sources =
            |tap: usize| std::array::from_fn(|q| if q < outputs { source(tap, q) } else { None }.unwrap_or(OUTSIDE));
        Some(Self {
            sources: (0..shape.taps()).map(sources).collect(),
            places: (0..outputs).map(|q| output.offset(0, place(q).0, place(q).1)).collect(),
        })
    }
}

/// The operands of one run.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseCall<'a> {
    /// In the plan's input layout.
    pub input: &'a [f32],
    /// `[filters, taps]`, contiguous.
    pub weights: &'a [f32],
    /// Made by this plan.
    pub taps: &'a DepthwiseTaps,
    /// Channels that are read, ascending. Filters of others have a sum of zero.
    pub channels: &'a [u32],
    /// Filters to compute, ascending. Planes of others are not touched.
    pub filters: &'a [u32],
    /// Applied when storing.
    pub epilogue: Epilogue<'a>,
}

/// The active kernel positions of one plan.
#[derive(Clone, Debug)]
pub struct DepthwiseTaps {
    list: Vec<ListedColumn>,
    active: usize,
}

impl DepthwiseTaps {
    /// How many are active.
    pub fn len(&self) -> usize {
        self.active
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.active == 0
    }
}

impl DepthwisePlan {
    /// Reads [`Layout::input`], writes `output`, adds a residual in the layout given. As many filters as channels, or a
    /// multiple.
    pub fn new(kernel: Kernel, shape: &ConvShape, output: Layout, residual: Option<Layout>) -> Self {
        shape.check();
        let has_tiles = kernel.tiles.is_some() && residual.is_none();
        let small = has_tiles.then(|| SmallPlanes::new(shape, &output)).flatten();
        let input = if residual.is_none() {
            Self::layout(kernel, shape)
        } else {
            Layout::input(shape)
        };
        let dims = (shape.filters, shape.out_h(), shape.out_w());
        for layout in [Some(&output), residual.as_ref()].into_iter().flatten() {
            assert_eq!((layout.channels, layout.height, layout.width), dims, "output layout");
        }
        assert!(
            shape.filters > 0 && shape.filters.is_multiple_of(shape.in_channels),
            "filters are not a multiple of channels"
        );
        assert!(
            input.len().max(output.len()) < u32::MAX as usize,
            "planes too large for offsets"
        );
        let [kh, kw] = shape.kernel;
        let meets = |k: usize, pad: usize, out: usize, size: usize| {
            (0..out).any(|y| (pad..pad + size).contains(&(y * shape.stride + k)))
        };
        let sweep = kernel.tiles.filter(|_| small.is_none()).map(|tiles| {
            let positions = Positions {
                rows: shape.out_h(),
                width: shape.out_w(),
                pitch: input.pitch,
                stride: 1,
                phase: [0, 0],
            };
            Sweep::new(&tiles.conv, &positions, &output, residual.as_ref())
        });
        let offsets: Vec<u32> = (0..kh * kw)
            .map(|t| input.padded_offset(t / kw, t % kw) as u32)
            .collect();
        if let (Some(sweep), Some(&last)) = (&sweep, offsets.iter().max()) {
            // What makes the tiles' raw loads sound.
            let end = (shape.in_channels - 1) * input.channel_len + last as usize + sweep.span();
            assert!(end <= input.len(), "reads past the input");
        }
        Self {
            kernel,
            shape: *shape,
            input,
            output,
            residual,
            multiplier: shape.filters / shape.in_channels,
            offsets,
            meets: (0..kh * kw)
                .map(|t| {
                    meets(t / kw, shape.pad.top, shape.out_h(), shape.in_h)
                        && meets(t % kw, shape.pad.left, shape.out_w(), shape.in_w)
                })
                .collect(),
            sweep,
            small,
        }
    }

    /// The layout that a plan without a residual reads.
    pub fn layout(kernel: Kernel, shape: &ConvShape) -> Layout {
        shape.check();
        if kernel.tiles.is_some() && SmallPlanes::fit(shape) {
            Layout::contiguous(shape.in_channels, shape.in_h, shape.in_w)
        } else {
            Layout::input(shape)
        }
    }

    /// The layout it reads.
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// The layout it writes.
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// The listed kernel positions (ky · kw + kx, ascending) of every filter.
    pub fn taps(&self, taps: &[u32]) -> DepthwiseTaps {
        let mut made = DepthwiseTaps {
            list: Vec::with_capacity(self.offsets.len()),
            active: 0,
        };
        self.set_taps(taps, &mut made);
        made
    }

    /// The same, reusing memory.
    pub fn set_taps(&self, taps: &[u32], to: &mut DepthwiseTaps) {
        check_list(taps, self.offsets.len(), "taps");
        to.active = taps.len();
        to.list.clear();
        // A position that only ever meets padding adds nothing.
        let meeting = taps.iter().filter(|&&t| self.meets[t as usize]);
        to.list.extend(meeting.map(|&t| ListedColumn {
            offset: self.offsets[t as usize],
            weight: t,
        }));
    }

    /// Computes the listed filters into `output`. Gives the number of weights that were read.
    pub fn run(&self, call: &DepthwiseCall, output: &mut [f32]) -> usize {
        self.check(call, output);
        match self.kernel.tiles {
            // SAFETY: `check` has passed; `output` is borrowed alone.
            Some(tiles) => unsafe { self.run_tiles(tiles, call, output.as_mut_ptr(), 0..call.filters.len()) },
            None => self.run_reference(call, output),
        }
        self.read(call)
    }

    /// The same with filters split over the pool's threads; the same bits.
    pub fn run_on(&self, pool: &mut Pool, call: &DepthwiseCall, output: &mut [f32]) -> usize {
        let Some(tiles) = self.kernel.tiles.filter(|_| pool.threads() > 1) else {
            return self.run(call, output);
        };
        self.check(call, output);
        let at = SharedPointer(output.as_mut_ptr());
        let parts = (pool.threads() * 2).min(call.filters.len().max(1));
        pool.run(parts, &|part, _| {
            let [from, to] = [part, part + 1].map(|i| call.filters.len() * i / parts);
            // SAFETY: `check` has passed; parts are disjoint, and `run` returns only when all have ended.
            unsafe { self.run_tiles(tiles, call, at.get(), from..to) }
        });
        self.read(call)
    }

    fn channel(&self, filter: u32) -> u32 {
        if self.multiplier == 1 {
            filter
        } else {
            filter / self.multiplier as u32
        }
    }

    fn read(&self, call: &DepthwiseCall) -> usize {
        let mut count = 0;
        self.runs(call, 0..call.filters.len(), |filters, is_read| {
            count += if is_read { filters.len() } else { 0 };
        });
        count * call.taps.active
    }

    fn check(&self, call: &DepthwiseCall, output: &[f32]) {
        check_list(call.filters, self.shape.filters, "filters");
        check_list(call.channels, self.shape.in_channels, "channels");
        assert!(
            call.taps.list.iter().all(|t| self
                .offsets
                .get(t.weight as usize)
                .is_some_and(|&offset| offset == t.offset)),
            "taps of another plan"
        );
        assert_eq!(call.weights.len(), self.shape.filters * self.offsets.len(), "weights");
        assert!(call.input.len() >= self.input.len(), "input too short");
        assert!(output.len() >= self.output.len(), "output too short");
        call.epilogue.check(self.shape.filters, self.residual.as_ref());
    }

    /// Calls `work` for stretches of the list whose channels are all active or all absent.
    fn runs<'a>(&self, call: &DepthwiseCall<'a>, range: Range<usize>, mut work: impl FnMut(&'a [u32], bool)) {
        let filters = &call.filters[range];
        if call.channels.len() == self.shape.in_channels {
            return work(filters, true);
        }
        let mut start = 0;
        let Some(&first) = filters.first() else { return };
        let mut channels = &call.channels[call.channels.partition_point(|&c| c < self.channel(first))..];
        let mut is_active = |f: u32| {
            let channel = self.channel(f);
            while let [c, rest @ ..] = channels
                && *c < channel
            {
                channels = rest;
            }
            channels.first() == Some(&channel)
        };
        let mut state = is_active(first);
        for (i, &f) in filters.iter().enumerate().skip(1) {
            let now = is_active(f);
            if now != state {
                work(&filters[start..i], state);
                (start, state) = (i, now);
            }
        }
        work(&filters[start..], state);
    }

    /// # Safety
    /// `check` has passed, and nobody else touches the planes of these filters.
    unsafe fn run_tiles(&self, tiles: &Tiles, call: &DepthwiseCall, output: *mut f32, range: Range<usize>) {
        if let Some(small) = &self.small {
            return self.runs(call, range, |filters, is_read| {
                let task = SmallTask {
                    input: call.input.as_ptr(),
                    positions: [self.input.height * self.input.width, small.places.len()],
                    multiplier: self.multiplier as u32,
                    weights: call.weights,
                    taps: self.offsets.len(),
                    list: if is_read { &call.taps.list } else { &[] },
                    sources: &small.sources,
                    scale: call.epilogue.scale,
                    shift: call.epilogue.shift,
                    bounds: call.epilogue.bounds(),
                    output,
                    output_plane: self.output.channel_len,
                    places: &small.places,
                };
                // SAFETY: `check` has bounded the planes; `SmallPlanes` has bounded positions and taps.
                unsafe { (tiles.depthwise_small)(&task, filters) }
            });
        }
        let Some(sweep) = self.sweep.as_ref().filter(|s| s.vectors > 0) else {
            return;
        };
        let most = most_vectors();
        let parts = sweep.vectors.div_ceil(most);
        self.runs(call, range, |filters, is_read| {
            let task = DepthwiseTask {
                conv: ConvTask {
                    input: call.input.as_ptr(),
                    columns: if is_read { &call.taps.list } else { &[] },
                    weights: call.weights.as_ptr(),
                    weight_row: self.offsets.len(),
                    step: sweep.step,
                    pitch: self.input.pitch,
                    scale: call.epilogue.scale,
                    shift: call.epilogue.shift,
                    bounds: call.epilogue.bounds(),
                    output,
                    output_plane: self.output.channel_len,
                    lanes: &sweep.lanes,
                    residual: call
                        .epilogue
                        .residual
                        .zip(self.residual)
                        .map(|(data, layout)| ConvResidual {
                            data: data.as_ptr(),
                            plane: layout.channel_len,
                            lanes: &sweep.residual,
                        }),
                },
                channel_len: self.input.channel_len,
                multiplier: self.multiplier as u32,
            };
            // A channel's planes whole, one after the other; where one tile is all of a plane, one call for all of them.
            let each = if parts == 1 { filters.len().max(1) } else { 1 };
            for filters in filters.chunks(each) {
                for part in 0..parts {
                    let [from, to] = [part, part + 1].map(|i| sweep.vectors * i / parts);
                    let with_tail = sweep.tail && part + 1 == parts;
                    let table = match (&tiles.depthwise_rows, &tiles.depthwise_tail) {
                        (Some(rows), _) if sweep.by_rows => rows,
                        (_, Some(tail)) if with_tail => tail,
                        _ => &tiles.depthwise,
                    };
                    // SAFETY: `new` has checked the furthest load; lanes are pixels of the output.
                    unsafe { table[to - from - 1](&task, filters, from) }
                }
            }
        });
    }

    fn run_reference(&self, call: &DepthwiseCall, output: &mut [f32]) {
        let taps = self.offsets.len();
        let shape = ConvShape {
            in_channels: 1,
            filters: 1,
            ..self.shape
        };
        for &f in call.filters {
            let channel = self.channel(f) as usize;
            let is_read = call.channels.binary_search(&(channel as u32)).is_ok();
            let read = |_: usize, y: usize, x: usize| call.input[self.input.offset(channel, y, x)];
            let f = f as usize;
            let weights = &call.weights[f * taps..][..taps];
            for (y, x) in (0..self.output.height).flat_map(|y| (0..self.output.width).map(move |x| (y, x))) {
                let columns = call.taps.list.iter().filter(|_| is_read).map(|t| t.weight as usize);
                let acc = reference::forward_at(&shape, &read, weights, columns, [0, y, x]);
                let added = call.epilogue.residual.zip(self.residual);
                let residual = added.map_or(0.0, |(data, layout)| data[layout.offset(f, y, x)]);
                output[self.output.offset(f, y, x)] = call.epilogue.at(f, acc, residual);
            }
        }
    }
}
