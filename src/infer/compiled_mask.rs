//! The static mask of one layer in the form runs read. Knows nothing of kernels, gates or networks.

use anyhow::Result;
use model::mask::LayerMask;

/// The parts of one layer that are not masked. Setting it again reuses its memory.
#[derive(Clone, Debug)]
pub(crate) struct CompiledMask {
    taps: usize,
    filters: Vec<bool>,
    /// By input channel (of a group): whether any of its columns is active.
    channels: Vec<bool>,
    columns: Vec<bool>,
    splits_channels: bool,
}

impl CompiledMask {
    pub(crate) fn whole(filters: usize, channels: usize, taps: usize) -> Self {
        Self {
            taps,
            filters: vec![true; filters],
            channels: vec![true; channels],
            columns: vec![true; channels * taps],
            splits_channels: false,
        }
    }

    /// # Errors
    /// A mask of another layer's size.
    pub(crate) fn check(&self, name: &str, mask: &LayerMask) -> Result<()> {
        mask.check(name, [self.filters.len(), self.columns.len()])
    }

    /// Takes over a checked mask; `None` is all of the layer.
    pub(crate) fn set(&mut self, mask: Option<&LayerMask>) {
        match mask {
            Some(mask) => {
                self.filters.copy_from_slice(&mask.filters);
                self.columns.copy_from_slice(&mask.columns);
            }
            None => {
                self.filters.fill(true);
                self.columns.fill(true);
            }
        }
        self.splits_channels = false;
        for (channel, columns) in self.channels.iter_mut().zip(self.columns.chunks_exact(self.taps)) {
            *channel = columns.contains(&true);
            self.splits_channels |= *channel && columns.contains(&false);
        }
    }

    pub(crate) fn filter(&self, f: usize) -> bool {
        self.filters[f]
    }

    /// Whether input channel `c` is read at all.
    pub(crate) fn channel(&self, c: u32) -> bool {
        self.channels[c as usize]
    }

    /// Whether some channel is read in part only.
    pub(crate) fn splits_channels(&self) -> bool {
        self.splits_channels
    }

    pub(crate) fn column(&self, column: usize) -> bool {
        self.columns[column]
    }

    /// The columns of channel `c` that computed.
    pub(crate) fn columns_of(&self, c: u32) -> impl Iterator<Item = u32> {
        let all = c * self.taps as u32..(c + 1) * self.taps as u32;
        all.filter(|&column| self.columns[column as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_follow_from_their_columns() {
        let mut compiled = CompiledMask::whole(2, 3, 2);
        let mask = LayerMask {
            filters: vec![true, false],
            columns: vec![true, true, false, false, false, true],
            elements: vec![],
        };
        compiled.check("a", &mask).expect("fits");
        compiled.set(Some(&mask));
        assert_eq!([0, 1].map(|f| compiled.filter(f)), [true, false]);
        assert_eq!([0, 1, 2].map(|c| compiled.channel(c)), [true, false, true]);
        assert!(compiled.splits_channels());
        assert_eq!(compiled.columns_of(2).collect::<Vec<_>>(), [5]);
        compiled.set(Some(&LayerMask {
            columns: vec![true, true, false, false, true, true],
            ..mask
        }));
        assert!(!compiled.splits_channels());
        compiled.set(None);
        assert!(compiled.filter(1) && compiled.channel(1));
    }
}
