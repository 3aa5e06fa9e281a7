//! The four ready layouts, and where the panels of each are until somebody moves them.
//! Knows nothing of what panels show.

use super::panel_name::PanelName;
use egui_tiles::{Container, Linear, LinearDir, Tabs, Tile, TileId, Tiles, Tree};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A ready layout: panels for one kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LayoutName {
    /// A slider, and everything that follows from it.
    #[default]
    Tune,
    /// A search at work.
    Watch,
    /// Runs side by side.
    Compare,
    /// One model, layer by layer.
    Inspect,
}

impl LayoutName {
    /// All, in the order of the top bar.
    pub const ALL: [Self; 4] = [Self::Tune, Self::Watch, Self::Compare, Self::Inspect];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tune => "Tune density",
            Self::Watch => "Watch search",
            Self::Compare => "Compare runs",
            Self::Inspect => "Inspect a model",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Tune => "The density slider, and what accuracy, cost and time do with it",
            Self::Watch => "A search at work: trials, sites, residuals",
            Self::Compare => "Runs side by side: frontier and curves",
            Self::Inspect => "One model, layer by layer",
        }
    }

    /// Its panels in their original places.
    pub(crate) fn tree(self) -> Tree<PanelName> {
        use PanelName::{
            Compare, Density, Experiment, Flips, Frontier, Images, Layers, Log, Model, Network, Parallel, Residuals,
            Runs, Saliency, Search, Sites, Training, Volume,
        };
        let mut b = TreeBuilder(Tiles::default());
        let root = match self {
            Self::Tune => {
                let left = [b.tabs(&[Density]), b.tabs(&[Layers])];
                let left = b.split(LinearDir::Vertical, left, 0.67);
                let top = [b.tabs(&[Frontier]), b.tabs(&[Training, Experiment, Runs, Log])];
                let top = b.split(LinearDir::Horizontal, top, 0.5);
                let bottom = [b.tabs(&[Saliency, Images]), b.tabs(&[Flips])];
                let bottom = b.split(LinearDir::Horizontal, bottom, 0.5);
                let right = b.split(LinearDir::Vertical, [top, bottom], 0.6);
                let below = b.split(LinearDir::Horizontal, [left, right], 0.28);
                let strip = b.tabs(&[Network]);
                b.split(LinearDir::Vertical, [strip, below], 0.21)
            }
            Self::Watch => {
                let left = [b.tabs(&[Search]), b.tabs(&[Parallel, Residuals, Volume])];
                let left = b.split(LinearDir::Vertical, left, 0.62);
                let right = [
                    b.tabs(&[Sites, Layers]),
                    b.tabs(&[Frontier, Training, Experiment, Runs, Log]),
                ];
                let right = b.split(LinearDir::Vertical, right, 0.5);
                let below = b.split(LinearDir::Horizontal, [left, right], 0.6);
                let strip = b.tabs(&[Network]);
                b.split(LinearDir::Vertical, [strip, below], 0.21)
            }
            Self::Compare => {
                let left = [b.tabs(&[Runs, Experiment]), b.tabs(&[Log])];
                let left = b.split(LinearDir::Vertical, left, 0.7);
                let top = [b.tabs(&[Frontier]), b.tabs(&[Training, Search, Residuals, Volume])];
                let top = b.split(LinearDir::Horizontal, top, 0.52);
                let table = b.tabs(&[Compare]);
                let right = b.split(LinearDir::Vertical, [top, table], 0.62);
                b.split(LinearDir::Horizontal, [left, right], 0.28)
            }
            Self::Inspect => {
                let left = [b.tabs(&[Model, Saliency]), b.tabs(&[Images])];
                let left = b.split(LinearDir::Vertical, left, 0.52);
                let right = [b.tabs(&[Density]), b.tabs(&[Layers, Frontier, Log])];
                let right = b.split(LinearDir::Vertical, right, 0.44);
                b.split(LinearDir::Horizontal, [left, right], 0.68)
            }
        };
        Tree::new(egui::Id::unique("panels"), root, b.0)
    }
}

/// The layout on screen, and the others as they were left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layouts {
    /// Which one is on screen.
    pub now: LayoutName,
    /// Its panels.
    pub tree: Tree<PanelName>,
    left: BTreeMap<LayoutName, Tree<PanelName>>,
}

impl Default for Layouts {
    fn default() -> Self {
        Self {
            now: LayoutName::Tune,
            tree: LayoutName::Tune.tree(),
            left: BTreeMap::new(),
        }
    }
}

impl Layouts {
    /// Goes to another layout, as it was left.
    pub fn go(&mut self, name: LayoutName) {
        if name == self.now {
            return;
        }
        let next = self.left.remove(&name).unwrap_or_else(|| name.tree());
        let before = std::mem::replace(&mut self.tree, next);
        self.left.insert(self.now, before);
        self.now = name;
    }

    /// The layout on screen as it was at first.
    pub(crate) fn reset(&mut self) {
        self.tree = self.now.tree();
    }
}

struct TreeBuilder(Tiles<PanelName>);

impl TreeBuilder {
    fn tabs(&mut self, panels: &[PanelName]) -> TileId {
        let panes: Vec<TileId> = panels.iter().map(|&p| self.0.insert_pane(p)).collect();
        let mut tabs = Tabs::new(panes.clone());
        tabs.active = panes.first().copied();
        self.0.insert_new(Tile::Container(Container::Tabs(tabs)))
    }

    fn split(&mut self, dir: LinearDir, children: [TileId; 2], first: f32) -> TileId {
        let linear = Linear::new_binary(dir, children, first);
        self.0.insert_new(Tile::Container(Container::Linear(linear)))
    }
}

/// Brings a panel to the front: its tab if it has one, else a new tab beside the first panel.
pub fn show(tree: &mut Tree<PanelName>, panel: PanelName) {
    let found = tree.tiles.find_pane(&panel);
    if let Some(id) = found {
        tree.make_active(|tile, _| tile == id);
        return;
    }
    let id = tree.tiles.insert_pane(panel);
    let tabs = tree
        .tiles
        .tile_ids()
        .filter(|&t| matches!(tree.tiles.get(t), Some(Tile::Container(Container::Tabs(_)))));
    match tabs.min_by_key(|t| t.0) {
        Some(first) => {
            if let Some(Tile::Container(Container::Tabs(tabs))) = tree.tiles.get_mut(first) {
                tabs.add_child(id);
                tabs.set_active(id);
            }
        }
        None => tree.root = Some(tree.tiles.insert_tab_tile(vec![id])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_can_be_reached_in_every_layout() {
        for name in LayoutName::ALL {
            for panel in PanelName::ALL {
                let mut tree = name.tree();
                show(&mut tree, panel);
                let id = tree.tiles.find_pane(&panel).expect("stands somewhere");
                assert!(tree.active_tiles().contains(&id), "{name:?} {panel:?}");
            }
        }
    }

    #[test]
    fn a_layout_is_found_as_it_was_left_also_after_it_was_written_down() {
        let mut layouts = Layouts::default();
        layouts.go(LayoutName::Watch);
        show(&mut layouts.tree, PanelName::Saliency);
        let moved = layouts.tree.clone();
        layouts.go(LayoutName::Tune);
        let text = serde_json::to_string(&layouts).expect("writes");
        let mut back: Layouts = serde_json::from_str(&text).expect("reads");
        assert_eq!(layouts, back);
        back.go(LayoutName::Watch);
        assert_eq!(back.tree, moved);
        back.reset();
        assert_eq!(back.tree, LayoutName::Watch.tree());
    }
}
