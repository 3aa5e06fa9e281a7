//! Lists of active columns, as offsets a plan's tiles can follow.
//! Knows nothing of who chose them.

use super::conv_tile::ListedColumn;
use super::shape::Layout;

/// Where each kernel position of channel 0 starts, and in which sweep it takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TapTable {
    pub channels: usize,
    pub(crate) channel_len: usize,
    pub sweeps: usize,
    /// By kernel position: (sweep, offset).
    pub taps: Vec<(u32, u32)>,
}

/// The active columns of one plan. Setting it again reuses its memory.
#[derive(Clone, Debug)]
pub struct Columns {
    pub(crate) table: TapTable,
    pub(crate) lists: Vec<Vec<ListedColumn>>,
}

impl TapTable {
    pub(crate) fn new(input: &Layout, sweeps: usize, taps: Vec<(u32, u32)>) -> Self {
        Self {
            channels: input.channels,
            channel_len: input.channel_len,
            sweeps,
            taps,
        }
    }
}

impl Columns {
    pub(crate) fn new(table: &TapTable) -> Self {
        let lists = (0..table.sweeps)
            .map(|s| {
                let taps = table.taps.iter().filter(|t| t.0 as usize == s).count();
                Vec::with_capacity(taps * table.channels)
            })
            .collect();
        Self {
            table: table.clone(),
            lists,
        }
    }

    /// All columns of the listed channels (ascending).
    pub fn set_channels(&mut self, channels: &[u32]) {
        check_list(channels, self.table.channels, "channels");
        self.lists.iter_mut().for_each(Vec::clear);
        let taps = self.table.taps.len();
        if let [list] = &mut self.lists[..] {
            // All that a forward pass needs, for every image: no look at where each tap belongs.
            for &c in channels {
                let (first, weight) = (c * self.table.channel_len as u32, c * taps as u32);
                let columns = self.table.taps.iter().zip(weight..);
                list.extend(columns.map(|(tap, weight)| ListedColumn {
                    offset: first + tap.1,
                    weight,
                }));
            }
            return;
        }
        for &c in channels {
            for tap in 0..taps {
                self.push(c as usize, tap);
            }
        }
    }

    /// The listed columns (ascending) of the weight matrix: channel · kh · kw + ky · kw + kx.
    pub fn set_columns(&mut self, columns: &[u32]) {
        let taps = self.table.taps.len();
        check_list(columns, self.table.channels * taps, "columns");
        self.lists.iter_mut().for_each(Vec::clear);
        for &column in columns {
            self.push(column as usize / taps, column as usize % taps);
        }
    }

    /// How many columns are listed.
    pub fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// True when no column is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, channel: usize, tap: usize) {
        let (sweep, offset) = self.table.taps[tap];
        self.lists[sweep as usize].push(ListedColumn {
            offset: (channel * self.table.channel_len) as u32 + offset,
            weight: (channel * self.table.taps.len() + tap) as u32,
        });
    }
}

/// Panics unless the list is strictly ascending and below `n`.
pub(crate) fn check_list(list: &[u32], n: usize, what: &str) {
    assert!(list.is_sorted_by(|a, b| a < b), "{what} must ascend");
    assert!(
        list.last().is_none_or(|&last| (last as usize) < n),
        "{what} out of range"
    );
}
