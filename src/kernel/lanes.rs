//! Where the lanes of each vector of positions live in a plane, as masked stores.
//! Knows nothing of why a lane is there or not.

use super::vector::LanePiece;

/// The part of a vector that needs no permutation: lane i belongs to `at + i` where `mask` says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub at: i32,
    pub mask: u16,
    /// Lanes that fall on padding, which is zero and may be written as such.
    pub zeros: u16,
}

/// By vector: its head, and the pieces of the lanes that fall elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneMap {
    pub heads: Vec<Head>,
    /// Where a vector's pieces start; one more than vectors.
    pub starts: Vec<u32>,
    pub pieces: Vec<LanePiece>,
}

impl LaneMap {
    #[inline(always)]
    pub(crate) fn pieces(&self, vector: usize) -> &[LanePiece] {
        &self.pieces[self.starts[vector] as usize..self.starts[vector + 1] as usize]
    }

    /// Whether vectors `first .. end` are heads alone.
    #[inline(always)]
    pub(crate) fn is_plain(&self, first: usize, end: usize) -> bool {
        self.starts[first] == self.starts[end]
    }

    /// `at(vector, lane)` is a lane's place in the plane, if it has one; places differ.
    /// `padding[i]` says that place i is padding of that plane.
    pub(crate) fn new(
        vectors: usize,
        lanes: usize,
        mut padding: Vec<bool>,
        at: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let mut map = Self {
            starts: vec![0],
            ..Self::default()
        };
        for v in 0..vectors {
            let mut rest: Vec<(usize, usize)> = (0..lanes).filter_map(|l| Some((at(v, l)?, l))).collect();
            let mut head = most_common_head(&rest);
            rest.retain(|&(at, lane)| at as i32 - lane as i32 != head.at || head.mask == 0);
            for lane in (0..lanes).filter(|l| head.mask != 0 && head.mask >> l & 1 == 0) {
                let place = usize::try_from(head.at + lane as i32).ok();
                // Taken once: two threads must not write the same zero.
                if let Some(padding) = place.and_then(|p| padding.get_mut(p))
                    && std::mem::take(padding)
                {
                    head.zeros |= 1 << lane;
                }
            }
            map.heads.push(head);
            rest.sort_unstable();
            while let [(first, _), ..] = rest[..] {
                let n = rest.partition_point(|p| p.0 < first + lanes);
                let mut piece = LanePiece {
                    at: first as i32,
                    ..LanePiece::default()
                };
                for (at, lane) in rest.drain(..n) {
                    piece.mask |= 1 << (at - first);
                    piece.index[at - first] = lane as u8;
                }
                map.pieces.push(piece);
            }
            map.starts.push(map.pieces.len() as u32);
        }
        map
    }
}

/// The head most lanes share, if that is at least half of them.
fn most_common_head(lanes: &[(usize, usize)]) -> Head {
    let mut best = (0, Head::default());
    for &(at, lane) in lanes {
        let at = at as i32 - lane as i32;
        let same = lanes.iter().filter(|p| p.0 as i32 - p.1 as i32 == at);
        let mask = same.fold(0u16, |mask, p| mask | 1 << p.1);
        if mask.count_ones() > best.0 {
            best = (mask.count_ones(), Head { at, mask, zeros: 0 });
        }
    }
    if best.0 as usize * 2 < lanes.len() {
        return Head::default();
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_one_head_with_a_hole_for_padding() {
        // Rows of three at pitch four, on both sides.
        let padding = (0..8).map(|i| i % 4 == 3).collect();
        let map = LaneMap::new(1, 8, padding, |_, l| (l % 4 < 3).then_some(l));
        let head = Head {
            at: 0,
            mask: 0b0111_0111,
            zeros: 0b1000_1000,
        };
        assert_eq!(map.heads, [head]);
        assert!(map.pieces.is_empty());
    }

    #[test]
    fn the_next_row_is_a_piece() {
        // Rows of three without padding, read at pitch four.
        let map = LaneMap::new(1, 8, Vec::new(), |_, l| (l % 4 < 3).then_some(l / 4 * 3 + l % 4));
        assert_eq!((map.heads[0].at, map.heads[0].mask, map.heads[0].zeros), (0, 0b111, 0));
        let mut index = [0; 16];
        index[..3].copy_from_slice(&[4, 5, 6]);
        let piece = LanePiece {
            at: 3,
            mask: 0b111,
            index,
        };
        assert_eq!(map.pieces, [piece]);
    }

    #[test]
    fn every_other_lane_is_packed() {
        // Even lanes to one phase, odd ones to another.
        let map = LaneMap::new(1, 8, Vec::new(), |_, l| Some(l % 2 * 100 + l / 2));
        assert_eq!(map.heads[0].mask, 0);
        assert_eq!(map.pieces.len(), 2);
        assert_eq!((map.pieces[1].at, map.pieces[1].mask), (100, 0b1111));
        assert_eq!(map.pieces[1].index[..4], [1, 3, 5, 7]);
    }
}
