//! Names of classes in messages, and what is uneven about their labels.

/// How many times more images the largest class may have than the smallest before it is said.
const UNEVEN: usize = 10;

/// Names for classes that have none: "0", "1", …
pub(crate) fn numbered_classes(n: usize) -> Vec<String> {
    (0..n).map(|class| class.to_string()).collect()
}

/// The first few names.
pub(crate) fn few(names: &[String]) -> String {
    const FEW: usize = 10;
    let more = names.len().saturating_sub(FEW);
    let named = names[..names.len() - more].join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

/// What the owner of such labels should know.
pub(crate) fn label_notes(classes: &[String], labels: &[u16]) -> Vec<String> {
    let mut counts = vec![0_usize; classes.len()];
    labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    let with = |is: fn(usize) -> bool| -> Vec<String> {
        let those = classes.iter().zip(&counts).filter(|(_, count)| is(**count));
        those.map(|(class, _)| class.clone()).collect()
    };
    let (empty, some) = (with(|count| count == 0), with(|count| count > 0));
    let mut notes = Vec::new();
    if let [only] = &some[..] {
        notes.push(format!(
            "all training images are of one class, `{only}`: any model is always right"
        ));
    } else if counts.first() == Some(&0) && empty.len() == 1 && classes == numbered_classes(classes.len()) {
        notes.push("labels begin at 1: class 0 has no images, and what it costs is wasted".to_owned());
    } else if !empty.is_empty() {
        notes.push(format!("no training images of {}", few(&empty)));
    }
    let named = counts.iter().zip(classes).filter(|(count, _)| **count > 0);
    if let (Some((least, small)), Some((most, large))) = (named.clone().min(), named.max())
        && *most > UNEVEN * least
    {
        notes.push(format!(
            "classes are uneven: {most} training images of `{large}`, {least} of `{small}`"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_uneven_is_said() {
        let notes = |classes: &[&str], labels: &[u16]| {
            label_notes(&classes.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>(), labels)
        };
        assert!(notes(&["a", "b"], &[0, 1, 1, 1]).is_empty());
        assert_eq!(
            notes(&["a"], &[0, 0]),
            ["all training images are of one class, `a`: any model is always right"]
        );
        assert!(notes(&["0", "1", "2"], &[1, 2])[0].starts_with("labels begin at 1"));
        assert_eq!(notes(&["a", "b", "c"], &[0, 2]), ["no training images of b"]);
        let labels = [vec![0; 33], vec![1; 3]].concat();
        assert_eq!(
            notes(&["a", "b"], &labels),
            ["classes are uneven: 33 training images of `a`, 3 of `b`"]
        );
    }
}
