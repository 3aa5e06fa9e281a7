//! What a network gives: one vector of logits, or several values by name.
//! Knows nothing of how they are computed.

use super::spec::{NetSpec, Op};
use anyhow::Result;
use std::ops::Range;

/// One of a network's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOutput {
    /// What other programs call it.
    pub name: String,
    /// Sizes as they see it, without the batch.
    pub shape: Vec<usize>,
    /// Where its numbers, `[c, h, w]` of each part, are among all that the network gives.
    pub range: Range<usize>,
    /// Whether it says the class: the first output that is a vector.
    pub is_logits: bool,
}

impl NetSpec {
    /// What it gives, in order. A network without [`Op::Outputs`] gives `logits` alone.
    ///
    /// # Errors
    /// As [`NetSpec::shapes`].
    pub fn outputs(&self) -> Result<Vec<NetOutput>> {
        let shapes = self.shapes()?;
        let Some((last, shape)) = self.nodes.last().zip(shapes.last()) else {
            return Ok(Vec::new());
        };
        let Op::Outputs { heads } = &last.op else {
            let numbers = shape.iter().product();
            return Ok(vec![NetOutput {
                name: "logits".into(),
                shape: vec![numbers],
                range: 0..numbers,
                is_logits: true,
            }]);
        };
        let mut outputs: Vec<NetOutput> = Vec::new();
        for (head, &from) in heads.iter().zip(&last.inputs) {
            let first = outputs.last().map_or(0, |output| output.range.end);
            let range = first..first + shapes[from].iter().product::<usize>();
            if let (Some(axis), Some(output)) = (head.joins, outputs.last_mut()) {
                output.shape[axis] += head.shape[axis];
                output.range.end = range.end;
                continue;
            }
            let is_logits = head.shape.len() == 1 && !outputs.iter().any(|output| output.is_logits);
            outputs.push(NetOutput {
                name: head.name.clone(),
                shape: head.shape.clone(),
                range,
                is_logits,
            });
        }
        Ok(outputs)
    }

    /// Where the class logits are among all numbers that it gives; empty if there are none, as of a detector.
    ///
    /// # Errors
    /// As [`NetSpec::shapes`].
    pub fn logits(&self) -> Result<Range<usize>> {
        let logits = self.outputs()?.into_iter().find(|output| output.is_logits);
        Ok(logits.map_or(0..0, |output| output.range))
    }

    /// Number of classes: how many logits it gives.
    ///
    /// # Errors
    /// As [`NetSpec::shapes`].
    pub fn classes(&self) -> Result<usize> {
        Ok(self.logits()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;
    use crate::toy::{conv, node};

    fn spec(heads: Vec<Head>) -> NetSpec {
        NetSpec {
            name: "t".into(),
            input: [1, 2, 2],
            nodes: vec![
                node("x", Op::Input, &[]),
                node("a", conv(6, 1, 0, true), &[0]),
                node("pool", Op::GlobalAvgPool, &[1]),
                node("out", Op::Outputs { heads }, &[1, 2]),
            ],
        }
    }

    #[test]
    fn outputs_are_named_and_the_first_vector_is_the_logits() {
        let spec = spec(vec![Head::plain("map", &[6, 2, 2]), Head::plain("class", &[6])]);
        let outputs = spec.outputs().expect("fits");
        let told: Vec<_> = outputs
            .iter()
            .map(|o| (&*o.name, o.range.clone(), o.is_logits))
            .collect();
        assert_eq!(told, [("map", 0..24, false), ("class", 24..30, true)]);
        assert_eq!(
            (spec.classes().expect("fits"), spec.shapes().expect("fits")[3]),
            (6, [30, 1, 1])
        );
        let text = serde_json::to_string(&spec).expect("writes");
        assert_eq!(serde_json::from_str::<NetSpec>(&text).expect("reads"), spec);
    }

    #[test]
    fn parts_of_one_output_are_one_output() {
        let part = Head {
            joins: Some(1),
            ..Head::plain("boxes", &[6, 1])
        };
        let outputs = self::spec(vec![Head::plain("boxes", &[6, 4]), part])
            .outputs()
            .expect("fits");
        let told: Vec<_> = outputs.iter().map(|o| (&o.shape[..], o.range.clone())).collect();
        assert_eq!(told, [(&[6, 5][..], 0..30)]);
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused_by_name() {
        let map = || Head::plain("map", &[6, 2, 2]);
        let turned = Head {
            order: vec![0, 0, 1],
            ..map()
        };
        let cases = [
            (vec![map()], "node out: 1 outputs of 2 values"),
            (
                vec![map(), Head::plain("map", &[6])],
                "node out: two outputs are called \"map\"",
            ),
            (
                vec![map(), Head::plain("class", &[7])],
                "node out: output class has sizes [7], expected 6 numbers",
            ),
            (
                vec![turned, Head::plain("class", &[6])],
                "node out: output map has its axes in order [0, 0, 1]",
            ),
        ];
        for (heads, expected) in cases {
            let text = spec(heads).shapes().expect_err(expected).to_string();
            assert!(text.contains(expected), "{text}");
        }
        let mut early = spec(vec![map(), Head::plain("class", &[6])]);
        early.nodes.push(node("after", Op::Relu, &[3]));
        let text = early.shapes().expect_err("not last").to_string();
        assert!(text.contains("node out gives the outputs, expected it last"), "{text}");
    }
}
