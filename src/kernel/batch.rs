//! Convolutions of a whole batch over planes of a few positions, forward and back. Lanes are images, or channels for weight
//! gradients, and only the kernel positions that meet a pixel are multiplied. Weights are read once for many images, and their
//! gradient is written once: image by image they would be walked over and over, though they fit no near cache.
//! Knows nothing of active lists: inactive channels are zeros.
//!
//! ```text
//! x      [n, c, q]  → by position [c, q, n] → by channel, a block of channels at a time [q, n, lanes]
//! y      [f, p, n]  = Σ over (c, q, t) that meet in p: w[f, c, t] · x[c, q, n]          → [n, f, p]
//! dx     [c, q, n]  = Σ over (f, p, t) that meet in q: w[f, c, t] · dy[f, p, n]         → [n, c, q]
//! dw     [f, c, t]  = Σ over pairs (p, q) of t, images n: dy[f, p, n] · x[q, n, c]
//! ```
#![expect(
    unsafe_code,
    reason = "calls tiles with checked offsets, from threads that write to different places"
)]

use super::aligned::Aligned;
use super::conv_tile::{Bounds, ConvTask, ListedColumn};
use super::grad_tile::BatchGradTask;
use super::kernel::Kernel;
use super::lanes::LaneMap;
use super::pool::{Pool, SharedPointer};
use super::shape::ConvShape;
use super::tile::Tiles;

/// Images must be a multiple of this.
const IMAGES: usize = 16;

/// Vectors of images in a tile: few, so that their inputs stay near while all filters pass.
const VECTORS: usize = 2;

/// Filters that one task of a convolution computes.
const TASK_FILTERS: usize = 64;

/// The convolution of a batch and its gradients; owns all memory it needs.
pub struct BatchPlan {
    tiles: &'static Tiles,
    shape: ConvShape,
    /// By kernel position: output and input positions that meet there.
    pairs: Vec<Vec<[usize; 2]>>,
    /// What the memory below is for.
    images: usize,
    /// By output position; offsets are for this many images.
    forward: Vec<Vec<ListedColumn>>,
    /// By input position.
    back: Vec<Vec<ListedColumn>>,
    /// Where an image's lane is in a row of images.
    lanes: LaneMap,
    /// `[c, q, n]`.
    x: Aligned,
    /// `[f, p, n]`.
    y: Aligned,
    /// By block of channels, `[q, n, lanes]`.
    by_channel: Aligned,
    /// `[c, f, t]`.
    transposed: Vec<f32>,
}

impl BatchPlan {
    /// A plan, if planes are so small that it pays, and vectors fill them.
    pub fn new(kernel: Kernel, shape: &ConvShape) -> Option<Self> {
        shape.check();
        let (p, q) = (shape.out_h() * shape.out_w(), shape.in_h * shape.in_w);
        let fits =
            p <= 16 && q <= 64 && (shape.in_channels * q).is_multiple_of(16) && (shape.filters * p).is_multiple_of(16);
        let tiles = kernel.tiles.filter(|_| fits && shape.in_channels >= 64)?;
        let mut pairs = vec![Vec::new(); shape.taps()];
        for (t, pairs) in pairs.iter_mut().enumerate() {
            let (r, s) = (t / shape.kernel[1], t % shape.kernel[1]);
            for out in 0..p {
                let y = (out / shape.out_w() * shape.stride + r).checked_sub(shape.pad.top);
                let x = (out % shape.out_w() * shape.stride + s).checked_sub(shape.pad.left);
                if let (Some(y), Some(x)) = (y.filter(|&y| y < shape.in_h), x.filter(|&x| x < shape.in_w)) {
                    pairs.push([out, y * shape.in_w + x]);
                }
            }
        }
        Some(Self {
            tiles,
            shape: *shape,
            pairs,
            images: 0,
            forward: Vec::new(),
            back: Vec::new(),
            lanes: LaneMap::default(),
            x: Aligned::default(),
            y: Aligned::default(),
            by_channel: Aligned::default(),
            transposed: Vec::new(),
        })
    }

    /// Whether batches of so many images fill vectors.
    pub fn takes(&self, images: usize) -> bool {
        images > 0 && images.is_multiple_of(IMAGES)
    }

    /// Multiply-adds of an image: only those that meet a pixel.
    pub fn macs(&self) -> usize {
        self.pairs.iter().map(Vec::len).sum::<usize>() * self.shape.in_channels * self.shape.filters
    }

    fn positions(&self) -> [usize; 2] {
        [
            self.shape.out_h() * self.shape.out_w(),
            self.shape.in_h * self.shape.in_w,
        ]
    }

    fn set_images(&mut self, n: usize) {
        assert!(self.takes(n), "{n} images do not fill vectors");
        if self.images == n {
            return;
        }
        let [p, q] = self.positions();
        let (channels, filters, taps) = (self.shape.in_channels, self.shape.filters, self.shape.taps());
        // By position, then the listed side's channels: (kernel position, the other side's position) of each meeting.
        let lists = |of: usize, positions: usize, count: usize| -> Vec<Vec<ListedColumn>> {
            let other = [p, q][1 - of];
            (0..positions)
                .map(|at| {
                    let meets = self.pairs.iter().enumerate().flat_map(|(t, pairs)| {
                        let here = pairs.iter().filter(move |pair| pair[of] == at);
                        here.map(move |pair| (t, pair[1 - of]))
                    });
                    let meets: Vec<(usize, usize)> = meets.collect();
                    let each = (0..count).flat_map(|c| meets.iter().map(move |&(t, from)| (c, t, from)));
                    each.map(|(c, t, from)| ListedColumn {
                        offset: ((c * other + from) * n) as u32,
                        weight: (c * taps + t) as u32,
                    })
                    .collect()
                })
                .collect()
        };
        (self.forward, self.back) = (lists(0, p, channels), lists(1, q, filters));
        let lanes = self.tiles.lanes;
        self.lanes = LaneMap::new(n / lanes, lanes, Vec::new(), |v, l| Some(v * lanes + l));
        self.x = Aligned::zeros(channels * q * n);
        self.y = Aligned::zeros(filters * p * n);
        let block = self.block();
        self.by_channel = Aligned::zeros(channels.next_multiple_of(block) * q * n);
        self.images = n;
    }

    /// Channels of a block of a weight gradient.
    fn block(&self) -> usize {
        self.tiles.batch_grad_size[1] * self.tiles.lanes
    }

    /// y `[n, filters, positions]` from x `[n, channels, positions]`.
    pub fn forward(&mut self, pool: &mut Pool, n: usize, x: &[f32], weights: &[f32], y: &mut [f32]) {
        self.set_images(n);
        let [p, q] = self.positions();
        let (channels, filters) = (self.shape.in_channels, self.shape.filters);
        assert_eq!(weights.len(), filters * self.shape.columns(), "weights");
        turn(self.tiles, pool, x, [n, channels * q], &mut self.x);
        let conv = BatchConv {
            tiles: self.tiles,
            lists: &self.forward,
            lanes: &self.lanes,
            images: n,
            weights,
            rows: filters,
        };
        conv.run(pool, &self.x, &mut self.y);
        turn(self.tiles, pool, &self.y, [filters * p, n], y);
    }

    /// dw, all of which is written, from x and dy.
    pub fn weight_grad(&mut self, pool: &mut Pool, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        self.set_images(n);
        let [p, q] = self.positions();
        assert_eq!(dw.len(), self.shape.filters * self.shape.columns(), "weight gradient");
        turn(self.tiles, pool, x, [n, self.shape.in_channels * q], &mut self.x);
        turn(self.tiles, pool, dy, [n, self.shape.filters * p], &mut self.y);
        self.weight_grad_by_position(pool, dw);
    }

    /// dx `[n, channels, positions]` of the batch whose dy [`Self::weight_grad`] was given last.
    pub fn input_grad(&mut self, pool: &mut Pool, weights: &[f32], dx: &mut [f32]) {
        let (n, q) = (self.images, self.positions()[1]);
        let (channels, filters, taps) = (self.shape.in_channels, self.shape.filters, self.shape.taps());
        assert_eq!(weights.len(), filters * channels * taps, "weights");
        self.transposed.resize(weights.len(), 0.0);
        let mut rows: Vec<&mut [f32]> = self.transposed.chunks_mut(8 * filters * taps).collect();
        pool.run_mut(&mut rows, &|task, rows| {
            for f in 0..filters {
                for (i, row) in rows.chunks_exact_mut(filters * taps).enumerate() {
                    let at = (f * channels + task * 8 + i) * taps;
                    row[f * taps..][..taps].copy_from_slice(&weights[at..][..taps]);
                }
            }
        });
        let conv = BatchConv {
            tiles: self.tiles,
            lists: &self.back,
            lanes: &self.lanes,
            images: n,
            weights: &self.transposed,
            rows: channels,
        };
        // x is no longer read.
        conv.run(pool, &self.y, &mut self.x);
        turn(self.tiles, pool, &self.x, [channels * q, n], dx);
    }

    /// From `x` and `y`, by position, which hold x and dy.
    fn weight_grad_by_position(&mut self, pool: &mut Pool, dw: &mut [f32]) {
        let (tiles, n, lanes) = (self.tiles, self.images, self.block());
        let [p, q] = self.positions();
        let (channels, filters, taps) = (self.shape.in_channels, self.shape.filters, self.shape.taps());
        let (x, dy, pairs) = (&self.x, &self.y, &self.pairs);
        let mut blocks: Vec<&mut [f32]> = self.by_channel.chunks_exact_mut(q * n * lanes).collect();
        pool.run_mut(&mut blocks, &|block, to| {
            let first = block * lanes;
            let here: Vec<u32> = (first..channels.min(first + lanes)).map(|c| c as u32).collect();
            for at in 0..q {
                // SAFETY: a row is the images of one channel at this position, and the block has a vector for each of them.
                unsafe {
                    let to = to[at * n * lanes..][..n * lanes].as_mut_ptr();
                    (tiles.transpose)(x[at * n..].as_ptr(), q * n, &here, n, to, lanes);
                }
            }
        });
        let by_channel = &self.by_channel;
        let blocks = channels.div_ceil(lanes);
        let chunks = filters.div_ceil(TASK_FILTERS);
        let to = SharedPointer(dw.as_mut_ptr());
        pool.run(blocks * chunks, &|task, _| {
            let (block, chunk) = (task / chunks, task % chunks);
            let here = lanes.min(channels - block * lanes);
            let end = filters.min((chunk + 1) * TASK_FILTERS);
            let most = tiles.batch_grad_size[0];
            let mut sums = [0.0f32; 8 * 64];
            let mut f = chunk * TASK_FILTERS;
            while f < end {
                let m = most.min(end - f);
                for (t, pairs) in pairs.iter().enumerate() {
                    let task = BatchGradTask {
                        input: by_channel[block * q * n * lanes..][..q * n * lanes].as_ptr(),
                        dy: dy.as_ptr(),
                        dy_plane: p * n,
                        images: n,
                        pairs,
                        sums: sums.as_mut_ptr(),
                    };
                    // SAFETY: pairs are of the shape, `m` filters from `f` exist, and sums hold eight rows of at most 64 lanes.
                    unsafe { tiles.batch_grad[m - 1](&task, f) }
                    for (i, sums) in sums.chunks_exact(lanes).take(m).enumerate() {
                        let row = (f + i) * channels + block * lanes;
                        for (c, &sum) in sums[..here].iter().enumerate() {
                            // SAFETY: filter, channel and kernel position exist, and no other task has this filter and channel.
                            unsafe { *to.get().add((row + c) * taps + t) = sum }
                        }
                    }
                }
                f += m;
            }
        });
    }
}

/// One direction of a convolution with images as lanes.
struct BatchConv<'a> {
    tiles: &'static Tiles,
    /// By position of the output.
    lists: &'a [Vec<ListedColumn>],
    lanes: &'a LaneMap,
    images: usize,
    /// `[rows, columns]`.
    weights: &'a [f32],
    /// Channels of the output.
    rows: usize,
}

impl BatchConv<'_> {
    /// `[rows, positions, images]` from `[channels, positions, images]`.
    fn run(&self, pool: &mut Pool, input: &[f32], output: &mut [f32]) {
        let (n, rows, lanes) = (self.images, self.rows, self.tiles.lanes);
        let positions = self.lists.len();
        assert_eq!(output.len(), rows * positions * n, "output");
        let all: Vec<u32> = (0..rows as u32).collect();
        let groups = (n / lanes).div_ceil(VECTORS);
        let chunks = rows.div_ceil(TASK_FILTERS);
        let to = SharedPointer(output.as_mut_ptr());
        pool.run(positions * groups * chunks, &|task, _| {
            let (at, chunk) = (task / chunks, task % chunks);
            let (position, first) = (at / groups, at % groups * VECTORS);
            let vectors = VECTORS.min(n / lanes - first);
            let columns = &self.lists[position];
            let last = columns.iter().map(|c| c.offset as usize + n).max().unwrap_or(0);
            assert!(last <= input.len(), "reads past the input");
            let conv = ConvTask {
                // The tile adds the first vector.
                input: input.as_ptr(),
                columns,
                weights: self.weights.as_ptr(),
                weight_row: self.weights.len() / rows,
                step: lanes,
                pitch: n,
                scale: None,
                shift: None,
                bounds: Bounds::NONE,
                // SAFETY: the position's images follow each other in every row's block.
                output: unsafe { to.get().add(position * n) },
                output_plane: positions * n,
                lanes: self.lanes,
                residual: None,
            };
            let most = self.tiles.conv.filters[vectors - 1];
            for rows in all[chunk * TASK_FILTERS..rows.min((chunk + 1) * TASK_FILTERS)].chunks(most) {
                // SAFETY: offsets are checked above, weights and output where the lists were made; tasks write to different
                // positions, images or rows.
                unsafe { self.tiles.conv.flat[vectors - 1][rows.len() - 1](&conv, rows, first) }
            }
        });
    }
}

/// `[rows, columns]` to `[columns, rows]`, both multiples of sixteen.
fn turn(tiles: &Tiles, pool: &mut Pool, from: &[f32], [rows, columns]: [usize; 2], to: &mut [f32]) {
    assert_eq!(from.len(), rows * columns, "what is turned");
    assert_eq!(to.len(), from.len(), "turned");
    let all: Vec<u32> = (0..rows as u32).collect();
    let each = columns.div_ceil(4 * pool.threads()).next_multiple_of(16);
    let mut parts: Vec<&mut [f32]> = to.chunks_mut(each * rows).collect();
    pool.run_mut(&mut parts, &|part, to| {
        // SAFETY: `to` has room for as many columns of every row as there are from this part's first on.
        unsafe {
            (tiles.transpose)(
                from[part * each..].as_ptr(),
                columns,
                &all,
                to.len() / rows,
                to.as_mut_ptr(),
                rows,
            );
        }
    });
}
