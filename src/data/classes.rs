//! Classes by name: labels in the order that a model has them.

use super::class_names::{few, numbered_classes};
use super::dataset::Dataset;
use anyhow::{Result, bail};

impl Dataset {
    /// Gives the images the labels that a model with these classes has for them: classes are matched by name, in any order.
    /// Classes that have numbers for names are matched by number, if there are equally many. Says so if some of the model's
    /// classes have no images here.
    ///
    /// # Errors
    /// Classes that the model does not have; all are named. The labels are as they were.
    pub fn match_classes(&mut self, model: &[String]) -> Result<Option<String>> {
        if self.classes == model {
            return Ok(None);
        }
        let place = |class: &String| model.iter().position(|of_model| of_model == class);
        let places: Option<Vec<usize>> = self.classes.iter().map(place).collect();
        let Some(places) = places else {
            let is_numbered = |classes: &[String]| classes == numbered_classes(classes.len());
            let counts = self.classes.len() == model.len();
            if counts && (is_numbered(&self.classes) || is_numbered(model)) {
                self.classes = model.to_vec();
                return Ok(None);
            }
            let of = |names: &[String], others: &[String]| -> Vec<String> {
                names.iter().filter(|name| !others.contains(name)).cloned().collect()
            };
            let missing = of(model, &self.classes);
            let of_model = if missing.is_empty() {
                String::new()
            } else {
                format!("; the model has {}, not found here", few(&missing))
            };
            let strange = few(&of(&self.classes, model));
            bail!(
                "{}: the model has no class {strange}, expected the classes it was trained on, by name{of_model}",
                self.name
            );
        };
        for images in [&mut self.train, &mut self.test] {
            for label in &mut images.labels {
                *label = places[usize::from(*label)] as u16;
            }
        }
        let note = (places.len() < model.len()).then(|| {
            format!(
                "{} has {} of the model's {} classes: {}",
                self.name,
                places.len(),
                model.len(),
                few(&self.classes)
            )
        });
        self.classes = model.to_vec();
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageShape, Images};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn dataset(classes: &[&str]) -> Dataset {
        let labels: Vec<u16> = (0..classes.len() as u16).collect();
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let pixels = vec![0; labels.len()];
        let images = Images {
            pixels,
            labels,
            ..Images::empty(shape)
        };
        Dataset::new("toy".into(), names(classes), images.clone(), images, Vec::new()).unwrap()
    }

    #[test]
    fn classes_are_matched_by_name_in_any_order() {
        let mut same = dataset(&["a", "b"]);
        assert_eq!(same.match_classes(&names(&["a", "b"])).unwrap(), None);
        assert_eq!(same.test.labels, [0, 1]);
        let mut turned = dataset(&["a", "b", "c"]);
        assert_eq!(turned.match_classes(&names(&["c", "a", "b"])).unwrap(), None);
        assert_eq!(
            (turned.train.labels, turned.test.labels),
            (vec![1, 2, 0], vec![1, 2, 0])
        );
        assert_eq!(turned.classes, names(&["c", "a", "b"]));
    }

    #[test]
    fn some_of_the_classes_can_be_measured_and_that_is_said() {
        let mut some = dataset(&["c", "a"]);
        let note = some.match_classes(&names(&["a", "b", "c"])).unwrap();
        assert_eq!(note.as_deref(), Some("toy has 2 of the model's 3 classes: c, a"));
        assert_eq!(some.test.labels, [2, 0]);
    }

    #[test]
    fn a_class_that_the_model_does_not_have_is_named() {
        let mut renamed = dataset(&["disk", "tee", "zbar"]);
        let error = renamed
            .match_classes(&names(&["bar", "disk", "tee"]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "toy: the model has no class zbar, expected the classes it was trained on, by name; the model has bar, not found here"
        );
        assert_eq!(renamed.test.labels, [0, 1, 2]);
        let error = dataset(&["Disk"])
            .match_classes(&names(&["disk"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no class Disk") && error.contains("disk, not found"),
            "{error}"
        );
    }

    #[test]
    fn numbers_stand_for_any_names_if_there_are_equally_many() {
        let mut numbered = dataset(&["0", "1"]);
        assert_eq!(numbered.match_classes(&names(&["cat", "dog"])).unwrap(), None);
        assert_eq!(numbered.classes, names(&["cat", "dog"]));
        assert!(
            dataset(&["0", "1"])
                .match_classes(&names(&["cat", "dog", "eel"]))
                .is_err()
        );
        // By name where that goes: folders sort 10 before 2.
        let sorted = ["0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"];
        let mut sorted = dataset(&sorted);
        assert_eq!(sorted.match_classes(&numbered_classes(11)).unwrap(), None);
        assert_eq!(sorted.test.labels, [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
